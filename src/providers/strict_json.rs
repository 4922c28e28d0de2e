//! JSON from strangers, read strictly: UTF-8 only, no member twice, bounded depth and size, nothing after the end.
//!
//! Two members of one name are how a signature check and its reader are made to see different documents, so they are
//! refused rather than resolved.

use serde::Deserialize as _;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// How deep notices may nest; the deepest documented one has 5 levels.
pub const DEPTH_MAX: usize = 16;
/// How many values one notice may hold; the largest sample has fewer than 100.
pub const VALUES_MAX: usize = 10_000;

/// Why a text is not taken as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotStrictJson {
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Not JSON, or JSON that breaks one of the rules; line and column say where.
    #[error("not acceptable JSON at line {line} column {column}: {what}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The parser's words; they never quote values.
        what: &'static str,
    },
}

/// Reads one JSON value.
///
/// # Errors
/// [`NotStrictJson`] says where and why not.
pub fn parse(bytes: &[u8]) -> Result<Value, NotStrictJson> {
    let text = std::str::from_utf8(bytes).map_err(|_| NotStrictJson::NotUtf8)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut left = VALUES_MAX;
    let value = Strict { depth_left: DEPTH_MAX, values_left: &mut left }
        .deserialize(&mut reader)
        .map_err(|error| syntax(&error))?;
    reader.end().map_err(|error| syntax(&error))?;
    Ok(value)
}

const DUPLICATE: &str = "a member appears twice";
const TOO_DEEP: &str = "nested too deep";
const TOO_MANY: &str = "too many values";

fn syntax(error: &serde_json::Error) -> NotStrictJson {
    let text = error.to_string();
    let ours = [DUPLICATE, TOO_DEEP, TOO_MANY].into_iter().find(|own| text.starts_with(own));
    let what = ours.unwrap_or(match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Syntax
        | serde_json::error::Category::Data
        | serde_json::error::Category::Io => "syntax error",
    });
    NotStrictJson::Syntax { line: error.line(), column: error.column(), what }
}

struct Strict<'l> {
    depth_left: usize,
    values_left: &'l mut usize,
}

impl Strict<'_> {
    fn inner(&mut self) -> Strict<'_> {
        Strict { depth_left: self.depth_left - 1, values_left: self.values_left }
    }
    fn descend<E: de::Error>(&self) -> Result<(), E> {
        if self.depth_left == 0 { Err(E::custom(TOO_DEEP)) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if *self.values_left == 0 {
            return Err(de::Error::custom(TOO_MANY));
        }
        *self.values_left -= 1;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        self.descend()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.inner())? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        self.descend()?;
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(self.inner())?;
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_json_reads_as_usual() {
        let text = r#" {"a":[1,-2,3.5,"x\u0414",true,null,{}],"b":{"c":[]}} "#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let deep = format!("{}1{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
        let many = format!("[{}1]", "1,".repeat(VALUES_MAX));
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"x":{"a":1,"\u0061":2}}"#,
            r#"{"a":1} x"#,
            r#"{"a":1}{"a":2}"#,
            r#"{"a":"\ud800"}"#,
            "{'a':1}",
            r#"{"a":1,}"#,
            r#"{"a":"#,
            "",
            "NaN",
            "\u{feff}{}",
            &deep,
            &many,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(60)]);
        }
        assert_eq!(parse(b"{\"a\":\"\xcf\xf0\"}"), Err(NotStrictJson::NotUtf8));
        let deepest = format!("{}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert!(parse(deepest.as_bytes()).is_ok());
    }

    #[test]
    fn an_error_names_the_place_and_quotes_nothing() {
        let error = parse(br#"{"secret":"hunter2","secret":"hunter3"}"#).unwrap_err();
        assert!(error.to_string().contains(DUPLICATE));
        assert!(!error.to_string().contains("hunter"));
    }
}
