//! PHP's bracket forms (`data[FIELDS][ID]=7`) as a tree, the way Bitrix24 sends its events.
//!
//! Written by hand because the crates fail on what really comes: percent-encoded brackets, lists with gaps, `a[]`
//! beside `a[x]`. Stricter than PHP on purpose: what PHP would silently rename or overwrite is refused. The result
//! is maps and texts only; numeric keys stay keys (`data[BOT][567]` is a map), see [`listed`] for the list view.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How long a form may be, in bytes; the largest sample has 3 KiB.
pub const FORM_BYTES_MAX: usize = 1024 * 1024;
/// How many pairs a form may have.
pub const PAIRS_MAX: usize = 5_000;
/// How deep the brackets may nest.
pub const DEPTH_MAX: usize = 16;
/// How long a key may be, decoded, in bytes.
pub const KEY_BYTES_MAX: usize = 1_024;

/// Why a form is refused. Never quotes values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Longer than [`FORM_BYTES_MAX`].
    #[error("the form is longer than {FORM_BYTES_MAX} bytes")]
    TooLong,
    /// More than [`PAIRS_MAX`] pairs.
    #[error("the form has more than {PAIRS_MAX} pairs")]
    TooManyPairs,
    /// Deeper than [`DEPTH_MAX`].
    #[error("the form nests deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// A key longer than [`KEY_BYTES_MAX`].
    #[error("a key is longer than {KEY_BYTES_MAX} bytes")]
    KeyTooLong,
    /// A key or a value is not UTF-8 after decoding.
    #[error("the form is not UTF-8")]
    NotUtf8,
    /// Brackets that do not pair, a key without a name, a NUL.
    #[error("a key is malformed")]
    MalformedKey,
    /// One key is both a text and a map.
    #[error("a key is both a value and a map")]
    Conflict,
    /// One key has two values.
    #[error("a key appears twice")]
    Duplicate,
}

#[derive(Default)]
struct Branch {
    members: BTreeMap<String, Node>,
    /// The index that the next `[]` gets: one above the largest seen. Kept, not computed: computing made forms with
    /// many `a[]` quadratic.
    next_index: u64,
}

enum Node {
    Text(String),
    Branch(Branch),
}

/// Decodes a form into maps and texts.
///
/// # Errors
/// [`FormError`]; nothing is ever guessed or replaced.
pub fn decode(form: &[u8]) -> Result<Value, FormError> {
    decode_without(form, "")
}

/// The same without the pairs of the map `unwanted` (none if it is empty), which are not looked at: for a form that
/// was decoded whole before.
///
/// # Errors
/// As [`decode`], of what is looked at.
pub fn decode_without(form: &[u8], unwanted: &str) -> Result<Value, FormError> {
    let is_unwanted = |pair: &[u8]| {
        let rest = pair.strip_prefix(unwanted.as_bytes()).filter(|_| !unwanted.is_empty());
        rest.is_some_and(|rest| {
            rest.starts_with(b"[") || rest.starts_with(b"%5B") || rest.starts_with(b"%5b")
        })
    };
    if form.len() > FORM_BYTES_MAX {
        return Err(FormError::TooLong);
    }
    let pairs: Vec<&[u8]> = form.split(|b| *b == b'&').filter(|pair| !pair.is_empty()).collect();
    if pairs.len() > PAIRS_MAX {
        return Err(FormError::TooManyPairs);
    }
    let mut root = Branch::default();
    for pair in pairs.into_iter().filter(|pair| !is_unwanted(pair)) {
        let at = pair.iter().position(|b| *b == b'=');
        let (key, value) = at.map_or((pair, &pair[pair.len()..]), |n| (&pair[..n], &pair[n + 1..]));
        let key = unescape(key)?;
        insert(&mut root, &path(&key)?, unescape(value)?)?;
    }
    Ok(root.into_value())
}

/// The form with the values of the chosen keys overwritten by stars, byte by byte, however they were escaped.
///
/// `chosen` is asked with the last segment of each key (`b` of `a[b]`); a key that cannot be read is left alone.
pub fn starred(form: &[u8], chosen: impl Fn(&str) -> bool) -> Vec<u8> {
    let mut starred = form.to_vec();
    let mut start = 0;
    for pair in form.split(|b| *b == b'&') {
        if let Some(at) = pair.iter().position(|b| *b == b'=')
            && let Ok(key) = unescape(&pair[..at])
            && path(&key).is_ok_and(|path| path.last().is_some_and(|last| chosen(last)))
        {
            starred[start + at + 1..start + pair.len()].fill(b'*');
        }
        start += pair.len() + 1;
    }
    starred
}

/// The same tree with every map whose keys are exactly `0..n-1` turned into a list.
pub fn listed(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let dense = !map.is_empty() && (0..map.len()).all(|n| map.contains_key(&n.to_string()));
            if dense {
                let mut map = map;
                let items = (0..map.len()).collect::<Vec<_>>();
                items.iter().filter_map(|n| map.remove(&n.to_string())).map(listed).collect()
            } else {
                map.into_iter().map(|(key, value)| (key, listed(value))).collect()
            }
        }
        Value::Array(items) => items.into_iter().map(listed).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}

/// `+` is a blank, `%XX` a byte; a `%` without two hex digits stays, as in PHP.
fn unescape(text: &[u8]) -> Result<String, FormError> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return std::str::from_utf8(text).map(str::to_owned).map_err(|_| FormError::NotUtf8);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let escaped = (byte == b'%').then(|| text.get(at + 1..at + 3).and_then(hex_byte)).flatten();
        bytes.push(match (escaped, byte) {
            (Some(decoded), _) => decoded,
            (None, b'+') => b' ',
            (None, other) => other,
        });
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(bytes).map_err(|_| FormError::NotUtf8)
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let (high, low) = (digit(*digits.first()?)?, digit(*digits.get(1)?)?);
    u8::try_from(high * 16 + low).ok()
}

/// `a[b][]` is the path `a`, `b`, and an empty segment for "the next index".
fn path(key: &str) -> Result<Vec<&str>, FormError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(FormError::KeyTooLong);
    }
    let (name, mut rest) = key.split_at(key.find('[').unwrap_or(key.len()));
    if name.is_empty() || key.contains('\0') || name.contains(']') {
        return Err(FormError::MalformedKey);
    }
    let mut path = vec![name];
    while let Some(inner) = rest.strip_prefix('[') {
        let end = inner.find(']').ok_or(FormError::MalformedKey)?;
        if inner[..end].contains('[') {
            return Err(FormError::MalformedKey);
        }
        path.push(&inner[..end]);
        rest = &inner[end + 1..];
        if path.len() > DEPTH_MAX {
            return Err(FormError::TooDeep);
        }
    }
    if rest.is_empty() { Ok(path) } else { Err(FormError::MalformedKey) }
}

fn insert(root: &mut Branch, path: &[&str], value: String) -> Result<(), FormError> {
    let (last, way) = path.split_last().ok_or(FormError::MalformedKey)?;
    let mut branch = root;
    for segment in way {
        let name = branch.name_of(segment);
        let node = branch.members.entry(name).or_insert_with(|| Node::Branch(Branch::default()));
        branch = match node {
            Node::Branch(inner) => inner,
            Node::Text(_) => return Err(FormError::Conflict),
        };
    }
    let name = branch.name_of(last);
    match branch.members.get(&name) {
        None => {
            branch.members.insert(name, Node::Text(value));
            Ok(())
        }
        Some(Node::Text(_)) => Err(FormError::Duplicate),
        Some(Node::Branch(_)) => Err(FormError::Conflict),
    }
}

impl Branch {
    /// The key that a segment means here; PHP takes plain decimal numbers for indexes.
    fn name_of(&mut self, segment: &str) -> String {
        if segment.is_empty() {
            let index = self.next_index;
            // At the end of all numbers the next one is taken twice, and so refused, as in PHP.
            self.next_index = index.saturating_add(1);
            return index.to_string();
        }
        let index = segment.parse::<u64>().ok().filter(|n| n.to_string() == segment);
        if let Some(index) = index {
            self.next_index = self.next_index.max(index.saturating_add(1));
        }
        segment.to_owned()
    }

    fn into_value(self) -> Value {
        let members = self.members.into_iter().map(|(key, node)| match node {
            Node::Text(text) => (key, Value::String(text)),
            Node::Branch(branch) => (key, branch.into_value()),
        });
        Value::Object(members.collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_recorded_shape_decodes_as_php_would() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bitrix24-events");
        let mut seen = 0;
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ext| ext != "form") {
                continue;
            }
            let expected: Value =
                serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
            let decoded = decode(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(listed(decoded), expected["body"], "{}", path.display());
            seen += 1;
        }
        assert_eq!(seen, 19);
    }

    #[test]
    fn brackets_gaps_and_appends_follow_php() {
        for (form, expected) in [
            ("a=1&b=x+y%20z", json!({"a": "1", "b": "x y z"})),
            ("a%5Bb%5D%5Bc%5D=1", json!({"a": {"b": {"c": "1"}}})),
            ("a[b]=1&a[c]=2", json!({"a": {"b": "1", "c": "2"}})),
            ("a[3]=x&a[7]=y", json!({"a": {"3": "x", "7": "y"}})),
            ("a[]=1&a[]=2&a[x]=3&a[]=4", json!({"a": {"0": "1", "1": "2", "x": "3", "2": "4"}})),
            ("a[5]=1&a[]=2", json!({"a": {"5": "1", "6": "2"}})),
            ("a[05]=1&a[]=2", json!({"a": {"05": "1", "0": "2"}})),
            ("a[][b]=1&a[][b]=2", json!({"a": {"0": {"b": "1"}, "1": {"b": "2"}}})),
            ("a", json!({"a": ""})),
            ("a=", json!({"a": ""})),
            ("a=b=c", json!({"a": "b=c"})),
            ("a=%zz%4", json!({"a": "%zz%4"})),
            ("&&a=1&", json!({"a": "1"})),
            ("", json!({})),
            ("a=%D0%94", json!({"a": "Д"})),
        ] {
            assert_eq!(decode(form.as_bytes()).unwrap(), expected, "{form}");
        }
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        let deep = format!("a{}=1", "[b]".repeat(DEPTH_MAX + 1));
        let long_key = format!("{}=1", "k".repeat(KEY_BYTES_MAX + 1));
        let many = "a[]=1&".repeat(PAIRS_MAX + 1);
        let long = "a".repeat(FORM_BYTES_MAX + 1);
        for (form, error) in [
            ("a[b=1", FormError::MalformedKey),
            ("a]b=1", FormError::MalformedKey),
            ("a[b]c=1", FormError::MalformedKey),
            ("a[b[c]]=1", FormError::MalformedKey),
            ("[a]=1", FormError::MalformedKey),
            ("=1", FormError::MalformedKey),
            ("a%00b=1", FormError::MalformedKey),
            ("a[b]=2&a=1", FormError::Conflict),
            ("a=1&a[b]=2", FormError::Conflict),
            ("a=1&a=2", FormError::Duplicate),
            ("a[x]=1&a[x]=2", FormError::Duplicate),
            ("a=%CF%F0", FormError::NotUtf8),
            ("%FF=1", FormError::NotUtf8),
            (&deep, FormError::TooDeep),
            (&long_key, FormError::KeyTooLong),
            (&many, FormError::TooManyPairs),
            (&long, FormError::TooLong),
        ] {
            assert_eq!(decode(form.as_bytes()), Err(error), "{}", &form[..form.len().min(40)]);
        }
    }

    #[test]
    fn an_unwanted_map_is_left_out_and_nothing_else() {
        let form = b"a=1&auth[x]=2&auth%5By%5D=3&auth=4&authz[b]=5&auth%5b%5d=%FF";
        assert_eq!(
            decode_without(form, "auth").unwrap(),
            json!({"a": "1", "auth": "4", "authz": {"b": "5"}})
        );
    }

    #[test]
    fn a_huge_index_allocates_nothing() {
        let form = b"a[18446744073709551615]=x&a[4294967295]=y";
        assert_eq!(decode(form).unwrap()["a"]["4294967295"], "y");
    }

    /// `http_build_query` as PHP writes it.
    fn php_encode(prefix: &str, value: &Value, out: &mut Vec<String>) {
        let escaped = |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        match value {
            Value::String(text) => out.push(format!("{}={}", escaped(prefix), escaped(text))),
            Value::Object(map) => {
                for (key, inner) in map {
                    let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}[{key}]") };
                    php_encode(&key, inner, out);
                }
            }
            Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let key = prop_oneof!["[A-Za-z_]{1,8}", "[0-9]{1,3}", "[а-яё :.%&=+-]{1,6}"];
        let text = prop_oneof![".{0,12}", "[а-яёЁ&=+%\\[\\] ]{0,8}"];
        let leaf = text.prop_map(Value::String);
        let node = leaf.prop_recursive(4, 40, 5, {
            let key = key.clone();
            move |inner| {
                prop::collection::btree_map(key.clone(), inner, 1..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect()))
            }
        });
        prop::collection::btree_map(key, node, 0..5).prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn whatever_php_encodes_is_read_back(tree in tree()) {
            let mut pairs = Vec::new();
            php_encode("", &tree, &mut pairs);
            prop_assert_eq!(decode(pairs.join("&").as_bytes()).unwrap(), tree);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes).map(listed);
        }
    }
}
