//! Ids from iDocs: strings from outside, checked before they go into a path or a request.

use crate::domain::{Failure, FailureClass, FailureKind, Text};
use serde_json::Value;
use uuid::Uuid;

/// Longest id that is not a UUID (V1's process keys, blobs).
const ID_BYTES_MAX: usize = 128;

/// An id as V3 spells it: a UUID with hyphens, in lower case whatever the letters were.
pub fn uuid_of(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() != 36 {
        return None;
    }
    Uuid::try_parse(text).ok().map(|id| id.hyphenated().to_string())
}

/// An id of any form that is safe as one step of a path: 1 to 128 of `A-Z a-z 0-9 . _ ~ -`, and no `.` or `..`.
pub(super) fn plain_of(text: &str) -> Option<String> {
    let text = text.trim();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
    let fits = (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed);
    (fits && !matches!(text, "." | "..")).then(|| text.to_owned())
}

/// A UUID at a member of an answer.
pub(super) fn uuid_at(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).and_then(uuid_of)
}

/// A text at a member of an answer, if it is there and not empty.
pub(super) fn text_at(value: &Value, pointer: &str) -> Option<String> {
    let text = value.pointer(pointer).and_then(Value::as_str)?;
    (!text.trim().is_empty()).then(|| text.to_owned())
}

/// The id, or the failure that nothing was sent because of it.
pub(super) fn checked(id: &str, what: Text) -> Result<String, Failure> {
    uuid_of(id).ok_or_else(|| {
        let reason = Text::new(
            format!("{} для iDocs имеет недопустимый вид, запрос не отправлен. Нужен UUID.", what.ru),
            format!(
                "{} for iDocs has a form that is not allowed, nothing was sent. A UUID is needed.",
                what.en
            ),
        );
        Failure::new(FailureClass::Permanent, FailureKind::Local, "bad_id", reason)
    })
}

/// [`checked`] for a document.
pub(super) fn document(id: &str) -> Result<String, Failure> {
    checked(id, Text::new("Номер документа", "The document id"))
}

/// [`checked`] for an employee.
pub(super) fn employee(id: &str) -> Result<String, Failure> {
    checked(id, Text::new("Номер сотрудника", "The employee id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_taken_in_any_case_and_nothing_else_is() {
        let id = "3f2c1d50-6a7b-4c8d-9e01-23456789abcd";
        assert_eq!(uuid_of(&id.to_uppercase()).as_deref(), Some(id));
        for bad in ["", "../x", "3f2c1d506a7b4c8d9e0123456789abcd", "{3f2c1d50-6a7b-4c8d-9e01-23456789abcd}"]
        {
            assert_eq!(uuid_of(bad), None, "{bad}");
        }
        assert_eq!(document("../../x").unwrap_err().code, "bad_id");
    }

    #[test]
    fn another_id_stays_one_step_of_a_path() {
        assert_eq!(plain_of(" a.B_9~- ").as_deref(), Some("a.B_9~-"));
        for bad in ["", ".", "..", "a/b", "a?b", "a%2f", "ж", &"x".repeat(129)] {
            assert_eq!(plain_of(bad), None, "{bad}");
        }
    }
}
