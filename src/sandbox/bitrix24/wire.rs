//! How the portal writes and reads: envelopes, PHP's bracket form, PHP's empty maps, dates.
//!
//! Written from the docs (`settings/how-to-call-rest-api`), with its own structs on purpose: were they shared with
//! the adapter, a wrong spelling would be wrong on both sides and no test would notice.
//!
//! Invariants: an empty map is written `[]`; a decoded body is at most [`DEPTH_MAX`] deep and has at most
//! [`PAIRS_MAX`] pairs.

use super::super::faults::ErrorAnswer;
use super::super::front::{Reply, Request};
use super::super::ledger::Note;
use super::limits::Operating;
use jiff::tz::{TimeZone, offset};
use serde_json::{Map, Value, json};

/// PHP's own default for `max_input_vars` is 1000; batches of files need more.
const PAIRS_MAX: usize = 10_000;
/// PHP's `max_input_nesting_level` is 64; nothing documented is deeper than 6.
const DEPTH_MAX: usize = 16;

/// What a method answers when it succeeds.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) result: Value,
    pub(crate) total: Option<usize>,
    pub(crate) next: Option<usize>,
    pub(crate) note: Note,
}

impl Answer {
    pub(crate) fn of(result: impl Into<Value>) -> Self {
        Self { result: result.into(), ..Self::default() }
    }
    #[must_use]
    pub(crate) fn noted(mut self, note: Note) -> Self {
        self.note = note;
        self
    }
}

/// What a method answers when it fails.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MethodError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) description: String,
    pub(crate) operating: Option<Operating>,
}

impl MethodError {
    pub(crate) fn new(status: u16, code: impl Into<String>, description: impl Into<String>) -> Self {
        Self { status, code: code.into(), description: description.into(), operating: None }
    }
    /// A parameter is missing or of the wrong type.
    pub(crate) fn argument(name: &str) -> Self {
        Self::new(400, "ERROR_ARGUMENT", format!("Invalid value of parameter {{{name}}}"))
    }
    /// Drive's words for an object that is not there.
    pub(crate) fn no_entity(id: &str) -> Self {
        Self::new(400, "ERROR_NOT_FOUND", format!("Could not find entity with id `{id}`"))
    }
    pub(crate) fn from_fault(answer: &ErrorAnswer) -> Self {
        Self::new(answer.status, answer.error.clone(), answer.description.clone())
    }
    /// As it stands in `result_error` of a batch.
    pub(crate) fn to_json(&self) -> Value {
        json!({"error": self.code, "error_description": self.description})
    }
    pub(crate) fn reply(&self) -> Reply {
        let mut body = self.to_json();
        if let Some(operating) = self.operating.filter(|operating| *operating != Operating::ABSENT) {
            body["time"] = json!({"operating": operating.seconds, "operating_reset_at": operating.reset_at});
        }
        Reply::json(self.status, &body).noted(Note::read().fact("error", self.code.clone()))
    }
}

/// Span of a call and its operating time, as `time` in the envelope.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start_ms: i64,
    pub(crate) finish_ms: i64,
    pub(crate) operating: Operating,
}

impl Span {
    pub(crate) fn to_json(self) -> Value {
        let seconds = |ms: i64| ms as f64 / 1_000.0;
        let duration = seconds(self.finish_ms - self.start_ms);
        let mut time = json!({
            "start": seconds(self.start_ms),
            "finish": seconds(self.finish_ms),
            "duration": duration,
            "processing": duration,
            "date_start": date(self.start_ms),
            "date_finish": date(self.finish_ms),
        });
        if self.operating != Operating::ABSENT {
            time["operating_reset_at"] = self.operating.reset_at.into();
            time["operating"] = self.operating.seconds.into();
        }
        time
    }
}

/// The envelope of a success.
pub(crate) fn envelope(answer: Answer, span: Span) -> Reply {
    let mut body = Map::new();
    body.insert("result".into(), answer.result);
    if let Some(next) = answer.next {
        body.insert("next".into(), next.into());
    }
    if let Some(total) = answer.total {
        body.insert("total".into(), total.into());
    }
    body.insert("time".into(), span.to_json());
    Reply::json(200, &Value::Object(body)).noted(answer.note)
}

/// A moment in the portal's zone (Moscow), as ISO 8601 with seconds.
pub(crate) fn date(ms: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    moment.to_zoned(TimeZone::fixed(offset(3))).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// A map as PHP encodes it: `[]` when empty, a list when its keys are exactly 0..n-1 in order.
pub(crate) fn php_map(pairs: Vec<(String, Value)>) -> Value {
    let is_list = pairs.iter().enumerate().all(|(i, (key, _))| *key == i.to_string());
    if is_list {
        pairs.into_iter().map(|(_, value)| value).collect()
    } else {
        Value::Object(pairs.into_iter().collect())
    }
}

/// All parameters of a request: those of the query, overlaid with those of the body.
///
/// # Errors
///
/// The words for the answer when the body cannot be read.
pub(crate) fn params(request: &Request) -> Result<Value, String> {
    let mut merged = decode_form(request.head.query.as_bytes())?;
    let body = if is_json(request) {
        serde_json::from_slice(&request.body).map_err(|e| format!("invalid JSON: {e}"))?
    } else {
        decode_form(&request.body)?
    };
    match (&mut merged, body) {
        (Value::Object(merged), Value::Object(body)) => merged.extend(body),
        (_, Value::Object(body)) => merged = Value::Object(body),
        (_, Value::Array(list)) if list.is_empty() => {}
        (merged, other) => *merged = other,
    }
    Ok(merged)
}

/// Whether the body says that it is JSON.
pub(crate) fn is_json(request: &Request) -> bool {
    let kind = request.head.header("content-type").unwrap_or("");
    !request.body.is_empty() && kind.to_ascii_lowercase().starts_with("application/json")
}

/// Decodes PHP's bracket form: `filter[>ID]=5&list[]=a` becomes a tree of maps, lists and texts.
pub(crate) fn decode_form(bytes: &[u8]) -> Result<Value, String> {
    let mut root = Map::new();
    for (n, (key, value)) in form_urlencoded::parse(bytes).enumerate() {
        if n >= PAIRS_MAX {
            return Err("too many parameters".into());
        }
        let path = key_path(&key);
        if path.len() > DEPTH_MAX {
            return Err("parameters nested too deep".into());
        }
        insert(&mut root, &path, value.into_owned());
    }
    Ok(Value::Object(root.into_iter().map(|(key, value)| (key, with_lists(value))).collect()))
}

/// `a[b][]` as its parts: `a`, `b`, empty.
fn key_path(key: &str) -> Vec<&str> {
    let Some((name, rest)) = key.split_once('[') else { return vec![key] };
    let mut path = vec![name];
    path.extend(rest.strip_suffix(']').unwrap_or(rest).split("]["));
    path
}

fn insert(map: &mut Map<String, Value>, path: &[&str], value: String) {
    let Some((first, rest)) = path.split_first() else { return };
    let key = if first.is_empty() { map.len().to_string() } else { (*first).to_owned() };
    if rest.is_empty() {
        map.insert(key, Value::String(value));
        return;
    }
    let inner = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    if let Value::Object(inner) = inner {
        insert(inner, rest, value);
    }
}

fn with_lists(value: Value) -> Value {
    let Value::Object(map) = value else { return value };
    let mut pairs: Vec<_> = map.into_iter().map(|(key, value)| (key, with_lists(value))).collect();
    if pairs.iter().all(|(key, _)| key.bytes().all(|b| b.is_ascii_digit())) {
        pairs.sort_by_key(|(key, _)| key.parse::<u64>().unwrap_or(u64::MAX));
    }
    if pairs.is_empty() { Value::Object(Map::new()) } else { php_map(pairs) }
}

/// Writes a tree as PHP's `http_build_query` does: encoded brackets, numbers as text, empty maps left out.
pub(crate) fn encode_form(tree: &[(&str, Value)]) -> String {
    let mut pairs = Vec::new();
    for (key, value) in tree {
        flatten(key, value, &mut pairs);
    }
    let encode = |text: &str| -> String {
        // The one character that the two encoders treat differently.
        form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('*', "%2A")
    };
    pairs.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect::<Vec<_>>().join("&")
}

fn flatten(key: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Bool(flag) => pairs.push((key.to_owned(), if *flag { "1".into() } else { "0".into() })),
        Value::Number(number) => pairs.push((key.to_owned(), number.to_string())),
        Value::String(text) => pairs.push((key.to_owned(), text.clone())),
        Value::Array(list) => {
            for (i, inner) in list.iter().enumerate() {
                flatten(&format!("{key}[{i}]"), inner, pairs);
            }
        }
        Value::Object(map) => {
            for (name, inner) in map {
                flatten(&format!("{key}[{name}]"), inner, pairs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_become_maps_and_lists() {
        let tree =
            decode_form(b"id=7&filter%5B%3EID%5D=5&fileContent[1]=QQ%3D%3D&fileContent[0]=a.pdf&x[]=1&x[]=2")
                .expect("a well-formed body");
        assert_eq!(
            tree,
            json!({"id": "7", "filter": {">ID": "5"}, "fileContent": ["a.pdf", "QQ=="], "x": ["1", "2"]})
        );
    }

    #[test]
    fn an_event_has_the_bytes_of_the_recorded_one() {
        let body = encode_form(&[
            ("event", json!("ONCRMDEALUPDATE")),
            ("event_handler_id", json!(975)),
            ("data", json!({"FIELDS": {"ID": 7405}})),
            ("nothing", json!({})),
        ]);
        assert_eq!(body, "event=ONCRMDEALUPDATE&event_handler_id=975&data%5BFIELDS%5D%5BID%5D=7405");
    }

    #[test]
    fn php_writes_an_empty_map_and_a_counted_map_as_lists() {
        assert_eq!(php_map(vec![]), json!([]));
        assert_eq!(php_map(vec![("0".into(), json!(1)), ("1".into(), json!(2))]), json!([1, 2]));
        assert_eq!(php_map(vec![("c0".into(), json!(1))]), json!({"c0": 1}));
    }

    #[test]
    fn dates_carry_the_zone_of_the_portal() {
        assert_eq!(date(1_748_772_000_000), "2025-06-01T13:00:00+03:00");
    }
}
