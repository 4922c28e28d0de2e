//! One answer of the REST interface taken apart: `{result, time, …}` or `{error, error_description}`.
//!
//! The key `error` decides, not the HTTP status: errors come with 200 too, and a `null` result is a success
//! (`settings/how-to-call-rest-api/general-principles.md`, `error-codes.md`).

use super::error;
use super::wire;
use crate::domain::{Failure, FailureClass};
use crate::providers::http_client::Answer;
use crate::providers::redaction::Redactor;
use crate::providers::remote::Remote;
use serde_json::Value;

/// What the portal said of the time that a method took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Sum of the method's execution time in the last ten minutes, in milliseconds.
    pub operating_ms: Option<u64>,
    /// Milliseconds until a part of it is forgotten, by the portal's own clock.
    pub reset_in_ms: Option<u64>,
}

/// An answer taken apart.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// `result`, of any type (`null` is a success as well), or the failure that the envelope or the status means.
    pub outcome: Result<Value, Failure>,
    /// From `time`, which failures carry too.
    pub spent: Spent,
}

/// Takes an answer apart.
pub fn open(answer: &Answer, redactor: &Redactor) -> Envelope {
    let Ok(Value::Object(mut body)) = serde_json::from_slice::<Value>(&answer.body) else {
        return Envelope { outcome: Err(error::from_status(answer, redactor)), spent: Spent::default() };
    };
    let spent = body.get("time").map(spent).unwrap_or_default();
    let outcome = match body.get("error").filter(|error| !error.is_null()) {
        Some(error) => Err(refusal(answer, error, spent, redactor)),
        None => result_of(answer, body.remove("result"), redactor),
    };
    Envelope { outcome, spent }
}

fn refusal(answer: &Answer, error: &Value, spent: Spent, redactor: &Redactor) -> Failure {
    let code = error::code_of(error);
    let text = redactor.cut_bytes(&answer.body);
    let mut failure = error::from_code(answer.status, &code, spent.reset_in_ms, &text);
    let throttled = failure.class == FailureClass::Throttled;
    if throttled && let Some(ms) = answer.retry_after_ms {
        failure.retry_after_ms = Some(ms);
    }
    failure
}

fn result_of(answer: &Answer, result: Option<Value>, redactor: &Redactor) -> Result<Value, Failure> {
    match result {
        Some(result) if answer.is_success() => Ok(result),
        None if answer.is_success() => {
            Err(Remote::Portal.garbled("no_result").answer(&redactor.cut_bytes(&answer.body)))
        }
        Some(_) | None => Err(error::from_status(answer, redactor)),
    }
}

/// Reads `time`: `{start, finish, …, operating, operating_reset_at}`; every member may be missing or `null`.
///
/// The reset is given by the portal's clock, so it is compared with the portal's own `finish`, not with ours.
pub fn spent(time: &Value) -> Spent {
    let seconds = |name| wire::member(time, name).and_then(wire::fraction).filter(|s| *s >= 0.0);
    let finish = seconds("finish").or_else(|| seconds("start"));
    let reset = seconds("operating_reset_at").filter(|at| *at > 0.0);
    Spent {
        operating_ms: seconds("operating").map(|s| (s * 1_000.0) as u64),
        reset_in_ms: reset.zip(finish).map(|(at, now)| ((at - now).max(0.0) * 1_000.0) as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FailureKind;
    use serde_json::json;

    fn opened(status: u16, body: &str) -> Result<Value, Failure> {
        let answer = Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() };
        open(&answer, &Redactor::default()).outcome
    }

    #[test]
    fn every_type_of_result_is_a_success() {
        for result in [json!(true), json!(3465), json!([]), json!(null), json!("https://x"), json!({"a": 1})]
        {
            let body = json!({"result": result, "time": {"start": 1}}).to_string();
            assert_eq!(opened(200, &body).unwrap(), result);
        }
    }

    #[test]
    fn the_key_error_decides_whatever_the_status() {
        for (status, body, code) in [
            (200, r#"{"error":"","error_description":"Access denied."}"#, "empty_code"),
            (200, r#"{"error":0}"#, "code_0"),
            (200, r#"{"result":[],"error":"ACCESS_DENIED"}"#, "access_denied"),
            (400, r#"{"error":"ERROR_NOT_FOUND","error_description":"x"}"#, "error_not_found"),
            (401, r#"{"error":"expired_token"}"#, "expired_token"),
            (
                403,
                r#"{"error":{"code":"BITRIX_REST_V3_EXCEPTION_A","message":"m"}}"#,
                "bitrix_rest_v3_exception_a",
            ),
            (503, r#"{"error":"QUERY_LIMIT_EXCEEDED"}"#, "query_limit_exceeded"),
        ] {
            assert_eq!(opened(status, body).unwrap_err().code, code);
        }
    }

    #[test]
    fn what_is_no_envelope_is_an_unknown_outcome() {
        for body in ["", "<html>nginx</html>", r#"{"result":{"ID":"#, "[]", "5", "{}", "\"ok\""] {
            let failure = opened(200, body).unwrap_err();
            assert_eq!(failure.class, FailureClass::Ambiguous, "{body}");
            assert_eq!(failure.kind, FailureKind::Garbled, "{body}");
        }
        assert_eq!(opened(502, "<html>").unwrap_err().class, FailureClass::Ambiguous);
        assert_eq!(opened(500, r#"{"result":1}"#).unwrap_err().class, FailureClass::Ambiguous);
    }

    #[test]
    fn the_reset_is_measured_by_the_portals_clock() {
        let time = json!({"start": 100, "finish": 101.5, "operating": 12.25, "operating_reset_at": 161});
        assert_eq!(spent(&time), Spent { operating_ms: Some(12_250), reset_in_ms: Some(59_500) });
        assert_eq!(spent(&json!({"operating": null, "start": "x"})), Spent::default());
        assert_eq!(spent(&json!([])), Spent::default());
    }
}
