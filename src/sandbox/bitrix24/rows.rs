//! Lists as the portal makes them: filter with operator prefixes, order, pages of 50.
//!
//! Works on rows of JSON with the field names of the answer; knows no method. Source: the pages on list methods
//! and `api-reference/disk/folder/disk-folder-get-children.md`.
//!
//! Invariants: a filter by a field that is not allowed is an error (a portal may pass it over in silence, which
//! would hide a mistake of ours); `start = -1` means no count, so neither `total` nor `next`.

use super::wire::{Answer, MethodError};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Rows of one page, fixed by the platform.
pub(crate) const PAGE_ROWS: usize = 50;

/// Applies `filter`, `order` and `start` of `params` to `rows`.
pub(crate) fn list(
    mut rows: Vec<Map<String, Value>>,
    params: &Value,
    fields: &[&str],
    default_order: &str,
) -> Result<Page, MethodError> {
    rows = filtered(rows, params, fields, default_order)?;
    let start = params.get("start").map_or(Some(0), integer).unwrap_or(0);
    let total = rows.len();
    let from = usize::try_from(start).unwrap_or(0).min(total);
    let page: Vec<_> = rows.drain(..).skip(from).take(PAGE_ROWS).collect();
    let end = from + page.len();
    let counted = start >= 0;
    Ok(Page { rows: page, total: counted.then_some(total), next: (counted && end < total).then_some(end) })
}

/// Applies `filter` and `order` only: for the one list that has a limit instead of pages.
pub(crate) fn arranged(
    rows: Vec<Map<String, Value>>,
    params: &Value,
    default_order: &str,
) -> Result<Vec<Map<String, Value>>, MethodError> {
    filtered(rows, params, &[], default_order)
}

/// The parameters in either case: the older families write them in capitals.
fn filtered(
    mut rows: Vec<Map<String, Value>>,
    params: &Value,
    fields: &[&str],
    default_order: &str,
) -> Result<Vec<Map<String, Value>>, MethodError> {
    let named = |lower: &str, upper: &str| params.get(lower).or_else(|| params.get(upper)).cloned();
    let conditions = conditions(named("filter", "FILTER").as_ref(), fields)?;
    rows.retain(|row| conditions.iter().all(|c| c.holds(row)));
    sort(&mut rows, named("order", "ORDER").as_ref(), default_order);
    Ok(rows)
}

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Map<String, Value>>,
    total: Option<usize>,
    next: Option<usize>,
}

impl Page {
    /// Leaves the fields that `select` names, if it names some; the id always stays.
    pub(crate) fn select(&mut self, params: &Value, id: &str) {
        let select = params.get("select").or_else(|| params.get("SELECT"));
        let Some(Value::Array(names)) = select else { return };
        let names: Vec<String> = names.iter().map(text).collect();
        if names.is_empty() || names.iter().any(|name| name == "*") {
            return;
        }
        for row in &mut self.rows {
            row.retain(|field, _| field == id || names.contains(field));
        }
    }
    /// The page as an answer whose `result` is made of the rows by `wrap`.
    pub(crate) fn answer(self, wrap: impl FnOnce(Value) -> Value) -> Answer {
        let rows = self.rows.into_iter().map(Value::Object).collect();
        Answer { result: wrap(rows), total: self.total, next: self.next, ..Answer::default() }
    }
}

#[derive(Debug)]
struct Condition {
    operator: Operator,
    field: String,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    In,
    NotIn,
    Contains,
    NotContains,
    Like,
}

/// Longest prefixes first: `>=` must not be read as `>`.
const PREFIXES: &[(&str, Operator)] = &[
    (">=", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=%", Operator::Like),
    ("%=", Operator::Like),
    ("!=", Operator::NotEqual),
    ("!@", Operator::NotIn),
    ("!%", Operator::NotContains),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("@", Operator::In),
    ("%", Operator::Contains),
    ("!", Operator::NotEqual),
    ("=", Operator::Equal),
];

fn conditions(filter: Option<&Value>, fields: &[&str]) -> Result<Vec<Condition>, MethodError> {
    let Some(Value::Object(filter)) = filter else { return Ok(Vec::new()) };
    filter.iter().map(|(key, value)| condition(key, value, fields)).collect()
}

fn condition(key: &str, value: &Value, fields: &[&str]) -> Result<Condition, MethodError> {
    let (operator, field) = PREFIXES
        .iter()
        .find_map(|(prefix, operator)| key.strip_prefix(prefix).map(|field| (*operator, field)))
        .unwrap_or((Operator::Equal, key));
    if !fields.is_empty() && !fields.contains(&field) {
        return Err(MethodError::new(400, "ERROR_ARGUMENT", format!("Unknown field of filter: {field}")));
    }
    Ok(Condition { operator, field: field.to_owned(), value: value.clone() })
}

impl Condition {
    fn holds(&self, row: &Map<String, Value>) -> bool {
        let actual = row.get(&self.field).unwrap_or(&Value::Null);
        let any = |check: &dyn Fn(&Value) -> bool| match &self.value {
            Value::Array(values) => values.iter().any(check),
            one => check(one),
        };
        let equal = || any(&|wanted| compare(actual, wanted) == Ordering::Equal);
        let contains = || any(&|wanted| text(actual).to_lowercase().contains(&text(wanted).to_lowercase()));
        match self.operator {
            Operator::Equal | Operator::In => equal(),
            Operator::NotEqual | Operator::NotIn => !equal(),
            Operator::Greater => compare(actual, &self.value) == Ordering::Greater,
            Operator::GreaterOrEqual => compare(actual, &self.value) != Ordering::Less,
            Operator::Less => compare(actual, &self.value) == Ordering::Less,
            Operator::LessOrEqual => compare(actual, &self.value) != Ordering::Greater,
            Operator::Contains => contains(),
            Operator::NotContains => !contains(),
            Operator::Like => any(&|wanted| like(&text(actual).to_lowercase(), &text(wanted).to_lowercase())),
        }
    }
}

/// SQL's LIKE with `%` only.
fn like(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('%') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('%').collect();
    let last = parts.pop().unwrap_or("");
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

fn sort(rows: &mut [Map<String, Value>], order: Option<&Value>, default_order: &str) {
    let keys: Vec<(String, bool)> = match order {
        Some(Value::Object(order)) if !order.is_empty() => {
            order.iter().map(|(k, v)| (k.clone(), text(v).eq_ignore_ascii_case("desc"))).collect()
        }
        _ => vec![(default_order.to_owned(), false)],
    };
    let null = Value::Null;
    rows.sort_by(|a, b| {
        keys.iter().fold(Ordering::Equal, |so_far, (key, descending)| {
            let one = compare(a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
            so_far.then(if *descending { one.reverse() } else { one })
        })
    });
}

/// Numbers by value even when they are text, times by moment, all else as text.
fn compare(a: &Value, b: &Value) -> Ordering {
    let (a, b) = (text(a), text(b));
    if let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) {
        return a.total_cmp(&b);
    }
    if let (Ok(a), Ok(b)) = (a.parse::<Timestamp>(), b.parse::<Timestamp>()) {
        return a.cmp(&b);
    }
    a.cmp(&b)
}

/// A scalar as PHP prints it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "1".into(),
        Value::Bool(false) | Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A whole number, given as number or text.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(n: usize) -> Vec<Map<String, Value>> {
        (1..=n)
            .map(|i| match json!({"ID": i.to_string(), "NAME": format!("Акт {i}.pdf"), "TYPE": "file"}) {
                Value::Object(row) => row,
                _ => Map::new(),
            })
            .collect()
    }

    fn ids(params: &Value) -> Vec<String> {
        let page = list(rows(60), params, &["ID", "NAME", "TYPE"], "ID").expect("the filter is allowed");
        page.rows.iter().map(|r| text(&r["ID"])).collect()
    }

    #[test]
    fn ids_compare_as_numbers_though_they_are_text() {
        assert_eq!(ids(&json!({"filter": {">ID": "9", "<=ID": 11}})), ["10", "11"]);
        assert_eq!(ids(&json!({"filter": {"@ID": [3, "100"]}})), ["3"]);
        assert_eq!(ids(&json!({"filter": {"=%NAME": "акт 1%.pdf", "<ID": 12}})), ["1", "10", "11"]);
        assert_eq!(ids(&json!({"filter": {"%NAME": "АКТ 60"}})), ["60"]);
        assert_eq!(ids(&json!({"filter": {"NAME": "Акт 7.pdf"}, "order": {"ID": "DESC"}})), ["7"]);
    }

    #[test]
    fn a_page_has_fifty_rows_and_names_the_next() {
        let first = list(rows(60), &json!({}), &[], "ID").expect("no filter");
        assert_eq!((first.rows.len(), first.total, first.next), (50, Some(60), Some(50)));
        let second = list(rows(60), &json!({"start": "50"}), &[], "ID").expect("no filter");
        assert_eq!((second.rows.len(), second.next), (10, None));
        let uncounted = list(rows(60), &json!({"start": -1}), &[], "ID").expect("no filter");
        assert_eq!((uncounted.rows.len(), uncounted.total, uncounted.next), (50, None, None));
    }

    #[test]
    fn an_unknown_filter_field_is_an_error() {
        let refused = list(rows(1), &json!({"filter": {"CREATED_BY": 1}}), &["ID"], "ID");
        assert_eq!(refused.err().map(|e| e.code), Some("ERROR_ARGUMENT".to_owned()));
    }
}
