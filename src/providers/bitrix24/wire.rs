//! Bitrix24's scalars and containers as they really come: a number or its text, `Y`, `1` or `true`, `[]` for `{}`.
//!
//! `settings/how-to-call-rest-api`, `api-reference/data-types.md` and recorded answers: the same field is a number
//! in one method and a text in its neighbour.

use serde_json::{Map, Value};

/// An id or a count: a non-negative whole number, or its decimal text.
pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64().or_else(|| whole(n.as_f64()?)),
        Value::String(text) => digits(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An id: a [`number`] above zero.
pub fn id(value: &Value) -> Option<u64> {
    number(value).filter(|n| *n > 0)
}

/// A text; numbers are written out.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A text that is not empty.
pub fn filled(value: &Value) -> Option<String> {
    text(value).filter(|text| !text.is_empty())
}

/// A truth value: `true`, `"Y"`, `1`, `"1"`, and their opposites.
pub fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::Number(n) => n.as_u64().filter(|n| *n < 2).map(|n| n == 1),
        Value::String(text) => match text.as_str() {
            "Y" | "y" | "1" | "true" => Some(true),
            "N" | "n" | "0" | "false" | "" => Some(false),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A fraction of seconds or the like: a number or its text.
pub fn fraction(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
    .filter(|f| f.is_finite())
}

/// A member of a map; nothing where `[]`, `null` or `false` stands for the empty map.
pub fn member<'v>(map: &'v Value, name: &str) -> Option<&'v Value> {
    map.as_object()?.get(name)
}

/// The first member that is there: the platform spells names in upper case, camel case or lower case.
pub fn any_member<'v>(map: &'v Value, names: &[&str]) -> Option<&'v Value> {
    names.iter().find_map(|name| member(map, name)).filter(|value| !value.is_null())
}

/// Rows of a list: an array, or a map whose keys are numbers (PHP lists with gaps), in the order of the numbers.
/// Anything empty is no rows; a map with other keys is not a list.
pub fn rows(value: &Value) -> Option<Vec<&Value>> {
    match value {
        Value::Array(items) => Some(items.iter().collect()),
        Value::Object(map) => numbered(map),
        Value::Null | Value::Bool(false) => Some(Vec::new()),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The values of a map whose keys are all whole numbers, in their order.
pub fn numbered(map: &Map<String, Value>) -> Option<Vec<&Value>> {
    let mut items = map.iter().map(|(k, v)| digits(k).map(|n| (n, v))).collect::<Option<Vec<_>>>()?;
    items.sort_by_key(|(n, _)| *n);
    Some(items.into_iter().map(|(_, v)| v).collect())
}

fn digits(text: &str) -> Option<u64> {
    // `parse` alone would take `+5`.
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// PHP prints large sums as floats at times (`9043.0`).
fn whole(f: f64) -> Option<u64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    (f.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&f)).then_some(f as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_come_as_numbers_or_texts() {
        for (value, expected) in [
            (json!(9043), Some(9043)),
            (json!("9043"), Some(9043)),
            (json!(9043.0), Some(9043)),
            (json!("0"), Some(0)),
            (json!(9043.5), None),
            (json!(-1), None),
            (json!("+5"), None),
            (json!(" 5"), None),
            (json!(""), None),
            (json!(null), None),
            (json!("99999999999999999999"), None),
        ] {
            assert_eq!(number(&value), expected, "{value}");
        }
        assert_eq!(id(&json!("0")), None);
    }

    #[test]
    fn truth_has_many_spellings() {
        for yes in [json!(true), json!("Y"), json!(1), json!("1")] {
            assert_eq!(truth(&yes), Some(true), "{yes}");
        }
        for no in [json!(false), json!("N"), json!(0), json!("0"), json!("")] {
            assert_eq!(truth(&no), Some(false), "{no}");
        }
        assert_eq!(truth(&json!("maybe")), None);
    }

    #[test]
    fn rows_survive_php_lists_with_gaps() {
        let gaps = json!({"10": "c", "2": "b", "0": "a"});
        assert_eq!(rows(&gaps), Some(vec![&json!("a"), &json!("b"), &json!("c")]));
        assert_eq!(rows(&json!([])), Some(vec![]));
        assert_eq!(rows(&json!({})), Some(vec![]));
        assert_eq!(rows(&json!(false)), Some(vec![]));
        assert_eq!(rows(&json!({"a": 1})), None);
    }
}
