//! Cuts secrets out of texts that a person will read: answers of remotes, error texts, addresses.
//!
//! Two nets: the secrets that we know literally, and the places where secrets live (`token=`, `auth=`, `Bearer`,
//! webhook paths, members like `"uploadUrl"`). It would rather cut too much than too little.

use crate::domain::Secret;

/// What stands in the place of a secret.
const MASK: &str = "***";
/// Shorter literal secrets are not searched for: they would shred ordinary text.
const LITERAL_BYTES_MIN: usize = 6;
/// Members of a query string whose value is secret; matched as a suffix, so `access_token=` is in.
const QUERY_KEYS: [&str; 10] = [
    "token=",
    "auth=",
    "secret=",
    "password=",
    "key=",
    "code=",
    "sign=",
    "signature=",
    "token_id=",
    "auth_id=",
];
/// Members of JSON whose text is secret; matched as a suffix of the name.
const JSON_KEYS: [&str; 8] =
    ["token\"", "secret\"", "password\"", "key\"", "url\"", "urlmachine\"", "auth\"", "signature\""];
/// Words before credentials in headers.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];

/// Knows the secrets of one remote and cuts them from texts.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    literals: Vec<Secret>,
}

impl Redactor {
    /// Cuts these secrets besides the known places; too short ones are ignored.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        Self { literals: secrets.into_iter().filter(|s| s.expose().len() >= LITERAL_BYTES_MIN).collect() }
    }

    /// One more secret to cut.
    #[must_use]
    pub fn and(mut self, secret: Secret) -> Self {
        self.literals.extend(Some(secret).filter(|s| s.expose().len() >= LITERAL_BYTES_MIN));
        self
    }

    /// The text with its secrets replaced by `***` and its control characters by blanks.
    pub fn cut(&self, text: &str) -> String {
        let mut text: String =
            text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        for secret in &self.literals {
            if text.contains(secret.expose()) {
                text = text.replace(secret.expose(), MASK);
            }
        }
        let text = cut_after(&text, &JSON_KEYS, json_value);
        let text = cut_after(&text, &QUERY_KEYS, query_value);
        let text = cut_after(&text, &SCHEMES, query_value);
        cut_after(&text, &["/rest/", "\\/rest\\/"], webhook_secret)
    }

    /// The same for bytes of unknown encoding.
    pub fn cut_bytes(&self, bytes: &[u8]) -> String {
        self.cut(&String::from_utf8_lossy(bytes))
    }
}

/// Replaces what `value` finds after each mark; marks are lower case, the text is compared without case.
fn cut_after(text: &str, marks: &[&str], value: fn(&str) -> Option<(usize, usize)>) -> String {
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    let mut at = 0;
    while let Some((start, mark)) = next_mark(&lower, marks, at) {
        at = start + mark.len();
        let Some((from, to)) = value(&text[at..]) else { continue };
        if at + from < done {
            continue;
        }
        out.push_str(&text[done..at + from]);
        out.push_str(MASK);
        done = at + to;
        at = at.max(done);
    }
    out.push_str(&text[done..]);
    out
}

fn next_mark<'m>(lower: &str, marks: &[&'m str], at: usize) -> Option<(usize, &'m str)> {
    marks.iter().filter_map(|mark| lower[at..].find(mark).map(|n| (at + n, *mark))).min_by_key(|(n, _)| *n)
}

/// The value of a query member: up to the next separator.
fn query_value(rest: &str) -> Option<(usize, usize)> {
    let end = rest.find(|c: char| c.is_whitespace() || "&\"'<>#;,)}]\\".contains(c)).unwrap_or(rest.len());
    (end > 0).then_some((0, end))
}

/// A JSON string after its member's name: between the quotes, escapes skipped. A cut text counts as secret too.
fn json_value(rest: &str) -> Option<(usize, usize)> {
    let after_colon = rest.trim_start().strip_prefix(':')?.trim_start();
    let body = after_colon.strip_prefix('"')?;
    let from = rest.len() - body.len();
    let mut escaped = false;
    for (n, c) in body.char_indices() {
        match c {
            '"' if !escaped => return (n > 0).then_some((from, from + n)),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    Some((from, rest.len()))
}

/// `/rest/1/SECRET/` and `/rest/api/1/SECRET/`: the segment after the user's number.
fn webhook_secret(rest: &str) -> Option<(usize, usize)> {
    let separator = |c: char| c == '/' || c == '\\';
    let mut at = 0;
    for _ in 0..2 {
        let segment = rest[at..].split(separator).next()?;
        let numeric = !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit());
        at += segment.len();
        at += rest[at..].len() - rest[at..].trim_start_matches(separator).len();
        if numeric {
            let (_, len) = query_value(rest[at..].split(separator).next()?)?;
            return Some((at, at + len));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_secrets_disappear_wherever_they_stand() {
        let redactor = Redactor::new([Secret::new("s3cretvalue"), Secret::new("ab")]);
        assert_eq!(redactor.cut("x s3cretvalue y ab"), "x *** y ab");
    }

    #[test]
    fn places_of_secrets_are_cut_without_knowing_the_secret() {
        let r = Redactor::default();
        for (text, expected) in [
            ("GET /x?auth=abc&y=1", "GET /x?auth=***&y=1"),
            ("u?ACCESS_TOKEN=abc def", "u?ACCESS_TOKEN=*** def"),
            (r#"{"uploadUrl":"https://h/x?a=1","field":"file"}"#, r#"{"uploadUrl":"***","field":"file"}"#),
            (r#"{"DOWNLOAD_URL" : "https:\/\/h\/","n":1}"#, r#"{"DOWNLOAD_URL" : "***","n":1}"#),
            (r#"{"access_token":"a\"b","c":"d"}"#, r#"{"access_token":"***","c":"d"}"#),
            (r#"{"token":"cut in the mid"#, r#"{"token":"***"#),
            ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
            ("https://h/rest/17/qwertyuiop/disk.file.get", "https://h/rest/17/***/disk.file.get"),
            ("https://h/rest/api/17/qwertyuiop/x", "https://h/rest/api/17/***/x"),
            (r"https:\/\/h\/rest\/1\/qwertyuiop\/x", r"https:\/\/h\/rest\/1\/***\/x"),
            ("https://h/rest/disk.file.get", "https://h/rest/disk.file.get"),
            ("nothing to hide", "nothing to hide"),
        ] {
            assert_eq!(r.cut(text), expected, "{text}");
        }
    }

    #[test]
    fn control_characters_become_blanks() {
        assert_eq!(Redactor::default().cut("a\u{1b}[31mb\nc\0"), "a [31mb\nc ");
    }
}
