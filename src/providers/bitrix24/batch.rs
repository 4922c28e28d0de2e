//! Many calls in one request: how `batch` is written and how its answer is read.
//!
//! `settings/how-to-call-rest-api/batch.md`: at most 50 commands, each a method with its own query string; the outer
//! status is 200 even when all failed. PHP turns maps with the keys 0..n-1 into lists, which loses the names of the
//! failed ones, so our names start with a letter.

use super::call::{Call, LimitHit, Observed, Operating};
use super::envelope::{self, Spent};
use super::error;
use super::wire;
use crate::domain::Failure;
use crate::providers::redaction::Redactor;
use crate::providers::url_rules::encode_segment;
use serde_json::{Map, Value, json};

/// Commands in one batch; more end with `ERROR_BATCH_LENGTH_EXCEEDED`.
pub const BATCH_CALLS_MAX: usize = 50;

/// Reads whose answer may serve several askers at once. `disk.file.get` is not among them: its download link may
/// work only once.
const JOINABLE: [&str; 5] = [
    "disk.folder.getchildren",
    "disk.folder.get",
    "crm.item.get",
    "crm.item.list",
    "crm.timeline.comment.list",
];

/// Whether two waiting calls that are equal may become one.
pub fn may_join(call: &Call) -> bool {
    JOINABLE.iter().any(|read| read.eq_ignore_ascii_case(&call.method))
}

/// The parameters of `batch` for these calls.
pub(super) fn params(calls: &[Call]) -> Value {
    let commands: Map<String, Value> = calls
        .iter()
        .take(BATCH_CALLS_MAX)
        .enumerate()
        .map(|(n, call)| (name(n), Value::String(command(call))))
        .collect();
    json!({ "halt": 0, "cmd": commands })
}

fn name(n: usize) -> String {
    format!("c{n}")
}

fn command(call: &Call) -> String {
    let query = query(&call.params);
    if query.is_empty() { call.method.to_string() } else { format!("{}?{query}", call.method) }
}

/// Parameters as PHP reads them from a query: `filter[ID]=5&select[0]=NAME`. Nothing is sent for `null` and for
/// empty containers, as PHP's own encoder does; truth is `1` and `0`.
pub fn query(params: &Value) -> String {
    let mut pairs = Vec::new();
    if let Value::Object(map) = params {
        for (key, value) in map {
            write_pairs(&encode_segment(key), value, &mut pairs);
        }
    }
    pairs.join("&")
}

fn write_pairs(key: &str, value: &Value, pairs: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Bool(b) => pairs.push(format!("{key}={}", u8::from(*b))),
        Value::Number(n) => pairs.push(format!("{key}={n}")),
        Value::String(text) => pairs.push(format!("{key}={}", encode_segment(text))),
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                write_pairs(&format!("{key}[{n}]"), item, pairs);
            }
        }
        Value::Object(map) => {
            for (inner, item) in map {
                write_pairs(&format!("{key}[{}]", encode_segment(inner)), item, pairs);
            }
        }
    }
}

/// The outcome of each call, from the `result` of the outer envelope; limits and times are noted.
pub(super) fn outcomes(
    calls: &[Call],
    outer: &Value,
    redactor: &Redactor,
    observed: &mut Observed,
) -> Vec<Result<Value, Failure>> {
    let part = |name| wire::member(outer, name);
    let (results, errors, times) = (part("result"), part("result_error"), part("result_time"));
    calls
        .iter()
        .enumerate()
        .map(|(n, call)| {
            let spent = entry(times, n).map(envelope::spent).unwrap_or_default();
            note_spent(&call.method, spent, observed);
            if n >= BATCH_CALLS_MAX {
                return Err(error::not_executed());
            }
            if let Some(error) = entry(errors, n).filter(|error| !error.is_null()) {
                return Err(failed(call, error, spent, redactor, observed));
            }
            entry(results, n).cloned().ok_or_else(error::not_executed)
        })
        .collect()
}

/// One entry by its name. A list instead of a map is the sign of an empty map.
fn entry(part: Option<&Value>, n: usize) -> Option<&Value> {
    wire::member(part?, &name(n))
}

fn failed(call: &Call, error: &Value, spent: Spent, redactor: &Redactor, observed: &mut Observed) -> Failure {
    // `{error, error_description}`; REST 3.0 style and bare codes are taken too.
    let code = error::code_of(wire::member(error, "error").unwrap_or(error));
    let answer = redactor.cut(&error.to_string());
    let failure = error::in_batch(&code, spent.reset_in_ms, &answer);
    note_limit(&call.method, &failure, observed);
    failure
}

/// Remembers what a method has cost.
pub(super) fn note_spent(method: &str, spent: Spent, observed: &mut Observed) {
    if let Some(spent_ms) = spent.operating_ms {
        observed.operating.push(Operating {
            method: method.to_owned(),
            spent_ms,
            reset_in_ms: spent.reset_in_ms,
        });
    }
}

/// Remembers a limit that was hit.
pub(super) fn note_limit(method: &str, failure: &Failure, observed: &mut Observed) {
    let pause_ms = failure.retry_after_ms.unwrap_or(error::QUERY_LIMIT_PAUSE_MS);
    let hit = match failure.code.as_str() {
        "operation_time_limit" => LimitHit::Operation { method: method.to_owned(), pause_ms },
        "overload_limit" => LimitHit::Overload { pause_ms },
        _ if failure.class == crate::domain::FailureClass::Throttled => LimitHit::QueryRate { pause_ms },
        _ => return,
    };
    // A whole batch that is refused names one limit, not fifty.
    if !observed.limits.contains(&hit) {
        observed.limits.push(hit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FailureClass;

    fn calls(n: usize) -> Vec<Call> {
        (0..n).map(|n| Call::new("disk.file.get", json!({"id": n}))).collect()
    }

    fn read(n: usize, outer: Value) -> (Vec<Result<Value, Failure>>, Observed) {
        let mut observed = Observed::default();
        (outcomes(&calls(n), &outer, &Redactor::default(), &mut observed), observed)
    }

    #[test]
    fn a_command_is_a_query_that_php_reads_back() {
        let call = Call::new(
            "disk.folder.getchildren",
            json!({"id": 5, "filter": {">ID": 7, "NAME": "Договор & Co [1]=.pdf"}, "order": {"ID": "ASC"},
                   "select": ["a", "b"], "flag": true, "none": null, "empty": []}),
        );
        let sent = params(&[call])["cmd"]["c0"].as_str().unwrap().to_owned();
        let (method, query) = sent.split_once('?').unwrap();
        assert_eq!(method, "disk.folder.getchildren");
        let read = super::super::forms::decode(query.as_bytes()).unwrap();
        let expected = json!({"id": "5", "filter": {">ID": "7", "NAME": "Договор & Co [1]=.pdf"},
            "order": {"ID": "ASC"}, "select": {"0": "a", "1": "b"}, "flag": "1"});
        assert_eq!(read, expected);
    }

    #[test]
    fn names_are_never_numeric_and_at_most_fifty() {
        let value = params(&calls(60));
        let commands = value["cmd"].as_object().unwrap();
        assert_eq!(commands.len(), BATCH_CALLS_MAX);
        assert!(commands.keys().all(|name| name.starts_with('c')));
    }

    #[test]
    fn each_call_gets_its_own_outcome() {
        let (results, _) = read(
            4,
            json!({"result": {"c0": {"ID": "1"}, "c2": null},
                   "result_error": {"c1": {"error": "ERROR_NOT_FOUND", "error_description": ""}},
                   "result_total": [], "result_next": [], "result_time": []}),
        );
        assert_eq!(results[0].as_ref().unwrap()["ID"], "1");
        assert_eq!(results[1].as_ref().unwrap_err().code, "error_not_found");
        assert_eq!(results[2].as_ref().unwrap(), &Value::Null, "null is a success");
        let absent = results[3].as_ref().unwrap_err();
        assert_eq!((absent.class, absent.code.as_str()), (FailureClass::Transient, "not_executed"));
    }

    #[test]
    fn empty_maps_come_as_lists() {
        let (results, _) = read(1, json!({"result": [], "result_error": {"c0": {"error": ""}}}));
        assert_eq!(results[0].as_ref().unwrap_err().code, "empty_code");
        let (results, _) = read(1, json!({"result": {"c0": []}, "result_error": []}));
        assert_eq!(results[0].as_ref().unwrap(), &json!([]));
        let (results, _) = read(1, json!([]));
        assert_eq!(results[0].as_ref().unwrap_err().code, "not_executed");
    }

    #[test]
    fn limits_inside_a_batch_are_noted_by_method() {
        let (results, observed) = read(
            2,
            json!({"result": {"c1": 1},
                   "result_error": {"c0": {"error": "OPERATION_TIME_LIMIT"}},
                   "result_time": {"c0": {"finish": 100, "operating": 481.0, "operating_reset_at": 150},
                                   "c1": {"operating": 3}}}),
        );
        assert_eq!(results[0].as_ref().unwrap_err().retry_after_ms, Some(50_000));
        let expected = LimitHit::Operation { method: "disk.file.get".into(), pause_ms: 50_000 };
        assert_eq!(observed.limits, vec![expected]);
        assert_eq!(observed.operating.len(), 2);
        assert_eq!(observed.operating[0].spent_ms, 481_000);
    }

    #[test]
    fn calls_beyond_the_limit_were_not_executed() {
        let (results, _) = read(51, json!({"result": {"c50": 1}}));
        assert_eq!(results[50].as_ref().unwrap_err().code, "not_executed");
    }

    #[test]
    fn only_reads_without_secrets_in_their_answers_are_joined() {
        let call = |method: &'static str| Call::new(method, json!({"id": 1}));
        assert!(may_join(&call("disk.folder.getchildren")));
        for method in ["disk.file.get", "crm.timeline.comment.add", "im.notify.system.add", "profile"] {
            assert!(!may_join(&call(method)), "{method}");
        }
    }
}
