//! The three styles in which iDocs answers, taken off in one place.
//!
//! Envelope `{"response": …, "errors": …}` (blobs, references, queries), bare object (create, content to sign, status)
//! and empty body (route, save): every call takes every style, since public clients saw them change. The content type
//! says `text/plain` for JSON (the guide), so that the content decides. A non-empty `errors` is a failure even with 200,
//! and a page of HTML is never an answer.

use super::error;
use crate::domain::Failure;
use crate::providers::http_client::Answer;
use crate::providers::redaction::Redactor;
use crate::providers::remote::{Nature, Remote};
use serde_json::Value;

/// What an answer holds once its style is taken off.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Nothing, `null`, or an envelope without a response.
    Empty,
    /// A value.
    Json(Value),
    /// A word that is no JSON, such as a bare name of a status.
    Text(String),
}

impl Body {
    /// The value; `Null` for what is none.
    pub fn into_value(self) -> Value {
        match self {
            Body::Empty => Value::Null,
            Body::Json(value) => value,
            Body::Text(text) => Value::String(text),
        }
    }
}

/// Reads an answer.
///
/// # Errors
/// What the answer says went wrong: by its errors, by its status, or because it is a page.
pub fn read(answer: &Answer, nature: Nature, redactor: &Redactor) -> Result<Body, Failure> {
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim_start_matches('\u{feff}').trim();
    if is_html(&answer.content_type, text) {
        return Err(error::of_page(answer, nature, redactor));
    }
    let parsed = serde_json::from_str::<Value>(text).ok();
    let errors = parsed.as_ref().map(error::listed).unwrap_or_default();
    if !answer.is_success() || !errors.is_empty() {
        return Err(error::of_answer(answer, &errors, nature, redactor));
    }
    match parsed {
        None if text.is_empty() => Ok(Body::Empty),
        None if is_word(text) => Ok(Body::Text(text.to_owned())),
        None => Err(error::misshapen("garbled_answer", answer, nature, redactor)),
        Some(value) => Ok(unwrapped(value)),
    }
}

/// Whether it is a page for people rather than an answer.
fn is_html(content_type: &str, text: &str) -> bool {
    content_type == "text/html" || text.starts_with('<')
}

/// One word of an enumeration, as `text/plain` may carry it.
fn is_word(text: &str) -> bool {
    text.len() <= 100 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn unwrapped(value: Value) -> Body {
    let value = match value {
        Value::Object(mut members) if is_envelope(&members) => members.remove("response").unwrap_or_default(),
        other => other,
    };
    if value.is_null() { Body::Empty } else { Body::Json(value) }
}

/// Only the two members of the envelope, and at least one of them.
fn is_envelope(members: &serde_json::Map<String, Value>) -> bool {
    !members.is_empty() && members.keys().all(|name| matches!(name.as_str(), "response" | "errors"))
}

/// The failure that the beginning of what should have been a file tells of.
pub(super) fn instead_of_file(head: &Answer, beginning: &[u8], redactor: &Redactor) -> Failure {
    let answer = Answer { body: beginning.to_vec(), ..head.clone() };
    match read(&answer, Nature::Read, redactor) {
        Err(failure) => failure,
        Ok(_) => error::misshapen("unexpected_content", &answer, Nature::Read, redactor),
    }
}

/// The failure of a remote that cannot be told what it means, for places that have no answer at hand.
pub(super) fn unclear(code: &str, nature: Nature) -> Failure {
    nature.judge(Remote::Idocs.garbled(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FailureClass, FailureKind};
    use serde_json::json;

    fn read_text(status: u16, content_type: &str, body: &str) -> Result<Body, Failure> {
        let answer = Answer {
            status,
            content_type: content_type.to_owned(),
            body: body.as_bytes().to_vec(),
            ..Answer::default()
        };
        read(&answer, Nature::Write, &Redactor::default())
    }

    #[test]
    fn all_three_styles_give_the_same_whatever_the_content_type_says() {
        for kind in ["text/plain", "application/json", "text/json", ""] {
            for body in [
                r#"{"response":{"id":"a"},"errors":null}"#,
                r#"{"response":{"id":"a"},"errors":[]}"#,
                r#"{"response":{"id":"a"}}"#,
                r#"{"id":"a"}"#,
                "\u{feff} {\"id\":\"a\"}\n",
            ] {
                assert_eq!(
                    read_text(200, kind, body).unwrap(),
                    Body::Json(json!({"id": "a"})),
                    "{kind} {body}"
                );
            }
            for body in ["", "  ", "null", r#"{"response":null,"errors":null}"#, r#"{"errors":[]}"#] {
                assert_eq!(read_text(200, kind, body).unwrap(), Body::Empty, "{kind} {body}");
            }
            assert_eq!(read_text(200, kind, "FINISHED").unwrap(), Body::Text("FINISHED".into()));
            assert_eq!(read_text(200, kind, "10").unwrap(), Body::Json(json!(10)));
        }
        // a bare object that happens to have a member of that name is not an envelope
        let bare = json!({"response": 1, "id": "a"});
        assert_eq!(read_text(200, "", &bare.to_string()).unwrap(), Body::Json(bare));
    }

    #[test]
    fn errors_are_a_failure_even_with_200() {
        let failure = read_text(
            200,
            "text/plain",
            r#"{"response":null,"errors":[{"errorCode":"VALIDATION_ERROR","errorDescription":"no number"}]}"#,
        )
        .unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, "validation_error"));
        let failure = read_text(200, "", r#"{"errors":{"documentDate":["bad"]}}"#).unwrap_err();
        assert_eq!(failure.class, FailureClass::Ambiguous);
    }

    #[test]
    fn a_page_or_nonsense_is_no_answer() {
        for (kind, body) in
            [("text/html", "ok"), ("text/plain", "<!DOCTYPE html><p>x"), ("", "not json at all")]
        {
            let failure = read_text(200, kind, body).unwrap_err();
            assert_eq!(
                (failure.class, failure.kind),
                (FailureClass::Ambiguous, FailureKind::Garbled),
                "{body}"
            );
        }
    }
}
