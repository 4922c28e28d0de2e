//! The safety net under the log: values registered as secrets are masked in every line, whoever logs them.
//!
//! It is a net, not the plan: code must not log secrets in the first place, and [`Secret`] sees to that. The net
//! catches what foreign code prints: a URL in an error, a header in a dump.

use crate::domain::Secret;
use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};
use tracing_subscriber::fmt::MakeWriter;

/// What stands in place of a secret.
const MASK: &str = "***";

/// Shorter values are not masked: they would occur in innocent text everywhere.
const SECRET_BYTES_MIN: usize = 6;

/// Forms of registered secrets at most; each costs a search in each line.
const FORMS_MAX: usize = 4_096;

/// The set of values to mask. Clones share it.
#[derive(Clone, Default)]
pub struct Redactor {
    forms: Arc<RwLock<Vec<Secret>>>,
}

impl Redactor {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Masks this secret from now on: as it is, as a URL or JSON spells it, and, if it is a URL, its last part.
    ///
    /// Bitrix24 webhooks are such URLs: `https://HOST/rest/USER/SECRET/`.
    pub fn register(&self, secret: &Secret) {
        let value = secret.expose();
        let mut forms = vec![value.to_owned(), url_encoded(value), json_escaped(value)];
        if let Ok(url) = url::Url::parse(value)
            && let Some(last) = url.path().trim_end_matches('/').rsplit('/').next()
        {
            forms.push(last.to_owned());
        }
        let mut known = self.forms.write().unwrap_or_else(PoisonError::into_inner);
        for form in forms.into_iter().filter(|form| form.len() >= SECRET_BYTES_MIN) {
            if known.len() < FORMS_MAX && !known.iter().any(|secret| secret.expose() == form) {
                known.push(Secret::new(form));
            }
        }
        // long ones first, so that a secret inside another one does not leave the rest of it standing
        known.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    }

    /// The text with every registered secret masked.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = self.forms.read().unwrap_or_else(PoisonError::into_inner);
        let mut masked = Cow::Borrowed(text);
        for secret in known.iter() {
            if masked.contains(secret.expose()) {
                masked = Cow::Owned(masked.replace(secret.expose(), MASK));
            }
        }
        masked
    }

    /// A maker of writers that mask what goes through them.
    pub fn wrap<M>(&self, inner: M) -> MaskedMaker<M> {
        MaskedMaker { redactor: self.clone(), inner }
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

fn url_encoded(value: &str) -> String {
    url::form_urlencoded::byte_serialize(value.as_bytes()).collect()
}

fn json_escaped(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted.trim_matches('"').to_owned()
}

/// Makes masking writers over those of `M`.
#[derive(Debug, Clone)]
pub struct MaskedMaker<M> {
    redactor: Redactor,
    inner: M,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for MaskedMaker<M> {
    type Writer = MaskedWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        MaskedWriter { redactor: self.redactor.clone(), inner: self.inner.make_writer(), line: Vec::new() }
    }
}

/// Gathers one log line, then writes it masked: a secret cannot slip through between two pieces.
#[derive(Debug)]
pub struct MaskedWriter<W: Write> {
    redactor: Redactor,
    inner: W,
    line: Vec<u8>,
}

/// A line longer than this is written in pieces.
const LINE_BYTES_MAX: usize = 1 << 20;

impl<W: Write> MaskedWriter<W> {
    fn pass_on(&mut self) -> io::Result<()> {
        if self.line.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.line);
        let written = self.inner.write_all(self.redactor.mask(&text).as_bytes());
        self.line.clear();
        written
    }
}

impl<W: Write> Write for MaskedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.len() >= LINE_BYTES_MAX {
            self.pass_on()?;
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.inner.flush()
    }
}

impl<W: Write> Drop for MaskedWriter<W> {
    fn drop(&mut self) {
        // the log cannot be told that the log failed
        let _ = self.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let redactor = Redactor::new();
        for secret in secrets {
            redactor.register(&Secret::new(*secret));
        }
        redactor
    }

    #[test]
    fn every_spelling_of_a_secret_is_masked() {
        let redactor = redactor(&["p@ss\"word/1", "https://portal.example/rest/1/abcdef123456/"]);
        for text in [
            "key p@ss\"word/1 end",
            "key p%40ss%22word%2F1 end",
            r#"key p@ss\"word/1 end"#,
            "key abcdef123456 end",
            "key https://portal.example/rest/1/abcdef123456/ end",
        ] {
            assert_eq!(redactor.mask(text), "key *** end");
        }
        assert_eq!(
            redactor.mask("https://portal.example/rest/1/abcdef123456/disk.file.get"),
            "***disk.file.get"
        );
    }

    #[test]
    fn text_without_secrets_is_left_alone_and_short_values_are_no_secrets() {
        let redactor = redactor(&["abc", "long-enough"]);
        assert!(matches!(redactor.mask("abc def"), Cow::Borrowed("abc def")));
    }

    #[test]
    fn a_secret_written_in_two_pieces_is_masked() {
        let mut out = Vec::new();
        let mut writer =
            MaskedWriter { redactor: redactor(&["hunter2-hunter2"]), inner: &mut out, line: Vec::new() };
        writer.write_all(b"a hunter2-").unwrap();
        writer.write_all(b"hunter2 b\n").unwrap();
        drop(writer);
        assert_eq!(String::from_utf8(out).unwrap(), "a *** b\n");
    }
}
