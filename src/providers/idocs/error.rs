//! What an unwelcome answer of iDocs means: its error codes, its HTTP statuses, and pages instead of answers.
//!
//! The codes are those of the OpenAPI snapshot (`OperationErrorType`). Certain refusals had no effect; UNKNOWN and
//! INTERNAL_SERVER_ERROR say nothing about it, and neither does a code that we do not know with a 2xx.

use crate::domain::{Failure, FailureClass, FailureKind, Text};
use crate::providers::http_client::Answer;
use crate::providers::redaction::Redactor;
use crate::providers::remote::{Nature, Remote};
use serde_json::Value;

/// Pause after 429 without `Retry-After`; no limit is documented.
const THROTTLED_PAUSE_MS: u64 = 30_000;
/// How many errors of one answer are looked at.
const ERRORS_MAX: usize = 20;
/// Longest unknown code that is kept.
const CODE_CHARS_MAX: usize = 60;

/// `errorCode` of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorCode {
    /// UPLOADED_FILE_SIZE_ERROR.
    FileSize,
    /// UPLOADED_FILE_EXTENSION_ERROR.
    FileExtension,
    /// UPLOADED_FILE_CONTENT_PARSING_ERROR.
    FileContent,
    /// UNKNOWN.
    Unknown,
    /// INTERNAL_SERVER_ERROR.
    Internal,
    /// RESOURCE_NOT_FOUND.
    NotFound,
    /// VALIDATION_ERROR.
    Validation,
    /// PERMISSION_ERROR.
    Permission,
    /// BILLING_ERROR.
    Billing,
    /// A code that the snapshot does not have.
    Other(String),
}

/// The codes in the order of the snapshot, for an answer that writes them as numbers, as was seen with statuses.
const CODES: [(&str, ErrorCode); 9] = [
    ("UPLOADED_FILE_SIZE_ERROR", ErrorCode::FileSize),
    ("UPLOADED_FILE_EXTENSION_ERROR", ErrorCode::FileExtension),
    ("UPLOADED_FILE_CONTENT_PARSING_ERROR", ErrorCode::FileContent),
    ("UNKNOWN", ErrorCode::Unknown),
    ("INTERNAL_SERVER_ERROR", ErrorCode::Internal),
    ("RESOURCE_NOT_FOUND", ErrorCode::NotFound),
    ("VALIDATION_ERROR", ErrorCode::Validation),
    ("PERMISSION_ERROR", ErrorCode::Permission),
    ("BILLING_ERROR", ErrorCode::Billing),
];

impl ErrorCode {
    fn of(value: &Value) -> Self {
        let name = match value {
            Value::String(name) => name.trim(),
            Value::Number(number) => {
                let known = number.as_u64().and_then(|n| CODES.get(usize::try_from(n).ok()?));
                return known.map_or_else(|| Self::Other(number.to_string()), |(_, code)| code.clone());
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => "",
        };
        let known = CODES.iter().find(|(known, _)| *known == name).map(|(_, code)| code.clone());
        known.unwrap_or_else(|| {
            let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
            Self::Other(name.chars().filter(plain).take(CODE_CHARS_MAX).collect())
        })
    }

    /// As it stands in logs and filters.
    fn slug(&self) -> String {
        let known = CODES.iter().find(|(_, code)| code == self).map(|(name, _)| name.to_ascii_lowercase());
        match (known, self) {
            (Some(name), _) => name,
            (None, Self::Other(name)) if !name.is_empty() => name.to_ascii_lowercase(),
            (None, _) => "errors".to_owned(),
        }
    }

    /// Whether it is certain that nothing was done.
    fn is_refusal(&self) -> bool {
        match self {
            Self::FileSize
            | Self::FileExtension
            | Self::FileContent
            | Self::NotFound
            | Self::Validation
            | Self::Permission
            | Self::Billing => true,
            Self::Unknown | Self::Internal | Self::Other(_) => false,
        }
    }

    fn failure(&self) -> Failure {
        if !self.is_refusal() {
            return Failure { code: self.slug(), ..undecided() };
        }
        Failure::new(FailureClass::Permanent, FailureKind::Refused, self.slug(), self.reason())
    }

    fn reason(&self) -> Text {
        match self {
            Self::FileSize => Text::new(
                "iDocs не принял файл: он слишком большой (по руководству до 15 МБ). Уменьшите файл.",
                "iDocs did not accept the file: it is too large (15 MB by the guide). Make the file smaller.",
            ),
            Self::FileExtension => Text::new(
                "iDocs не принял файл такого вида. Подходят doc, docx, xls, xlsx, pdf и txt.",
                "iDocs does not accept files of this kind. It takes doc, docx, xls, xlsx, pdf and txt.",
            ),
            Self::FileContent => Text::new(
                "iDocs не смог прочитать файл. Откройте его, сохраните заново и отправьте ещё раз.",
                "iDocs could not read the file. Open it, save it anew and send it again.",
            ),
            Self::NotFound => Text::new(
                "В iDocs нет такого документа, файла или сотрудника. Проверьте документ в личном кабинете.",
                "iDocs has no such document, file or employee. Look for the document in the account.",
            ),
            Self::Permission => Text::new(
                "iDocs отказал: у сотрудника или токена нет на это прав. Проверьте права в личном кабинете.",
                "iDocs refused: the employee or the token has no right to this. Check the rights in the account.",
            ),
            Self::Billing => Text::new(
                "iDocs отказал из-за оплаты. Пополните счёт; если платить должны вы, поможет idocs.route.preset = \
                 \"snapshot_payer\". Потом отправьте документ ещё раз.",
                "iDocs refused because of payment. Top up the account; if it is you who pays, idocs.route.preset = \
                 \"snapshot_payer\" may help. Then send the document again.",
            ),
            Self::Validation | Self::Unknown | Self::Internal | Self::Other(_) => Text::new(
                "iDocs не принял запрос. Причина в ответе: исправьте данные документа, правило или настройки и \
                 отправьте документ ещё раз.",
                "iDocs refused the request. Its answer says why: correct the document's data, the rule or the \
                 configuration and send the document again.",
            ),
        }
    }
}

/// The errors of an answer; one nameless error for a non-empty member `errors` of another shape.
pub(super) fn listed(value: &Value) -> Vec<ErrorCode> {
    listed_at(value, "errors")
}

/// The same for the errors of one operation of many.
pub(super) fn listed_at(value: &Value, member: &str) -> Vec<ErrorCode> {
    let Some(errors) = value.as_object().and_then(|members| members.get(member)) else { return Vec::new() };
    match errors {
        Value::Array(errors) => errors
            .iter()
            .take(ERRORS_MAX)
            .map(|error| ErrorCode::of(error.get("errorCode").unwrap_or(&Value::Null)))
            .collect(),
        Value::Object(errors) if !errors.is_empty() => vec![ErrorCode::Other(String::new())],
        Value::String(text) if !text.is_empty() => vec![ErrorCode::Other(String::new())],
        Value::Object(_) | Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// The failure that these errors mean, without a status: the least certain of them decides.
pub(super) fn of_errors(errors: &[ErrorCode], nature: Nature) -> Failure {
    let doubt = errors.iter().find(|code| !code.is_refusal());
    let decisive = doubt.or_else(|| errors.first());
    nature.judge(decisive.map_or_else(undecided, ErrorCode::failure))
}

/// The failure that an answer means which is no page and no success.
pub(super) fn of_answer(
    answer: &Answer,
    errors: &[ErrorCode],
    nature: Nature,
    redactor: &Redactor,
) -> Failure {
    let status = answer.status;
    let certain = !errors.is_empty() && errors.iter().all(ErrorCode::is_refusal);
    let failure = match status {
        401 => refused_token(status),
        403 if errors.is_empty() => refused_token(status),
        429 => Failure { retry_after_ms: Some(THROTTLED_PAUSE_MS), ..Remote::Idocs.throttled(status) },
        408 | 425 => Remote::Idocs.not_executed(status),
        // what a server says that has lost itself is not certain, whatever it says
        500.. => Remote::Idocs.server_error(status),
        _ if certain => of_errors(errors, Nature::Write),
        400..=499 if errors.iter().all(|code| matches!(code, ErrorCode::Other(_))) => refused(status),
        400..=499 => of_errors(errors, Nature::Write),
        // a redirect that keeps the method was not executed
        301 | 307 | 308 => Remote::Idocs.not_executed(status),
        _ if !errors.is_empty() => of_errors(errors, Nature::Write),
        _ => Remote::Idocs.garbled(&format!("http_{status}")),
    };
    finished(failure, answer, nature, redactor)
}

/// The failure of a page of HTML: a proxy or a maintenance notice, and not the service, has answered.
pub(super) fn of_page(answer: &Answer, nature: Nature, redactor: &Redactor) -> Failure {
    let failure = match answer.status {
        401 | 403 | 429 | 500.. => return of_answer(answer, &[], nature, redactor),
        400..=499 => Remote::Idocs.not_executed(answer.status),
        _ => Remote::Idocs.garbled("html"),
    };
    finished(failure, answer, nature, redactor)
}

/// An answer with a success status that does not say what it must.
pub(super) fn misshapen(code: &str, answer: &Answer, nature: Nature, redactor: &Redactor) -> Failure {
    finished(Remote::Idocs.garbled(code), answer, nature, redactor)
}

fn finished(mut failure: Failure, answer: &Answer, nature: Nature, redactor: &Redactor) -> Failure {
    if answer.retry_after_ms.is_some() {
        failure.retry_after_ms = answer.retry_after_ms;
    }
    nature.judge(failure.answer(&redactor.cut_bytes(&answer.body)))
}

/// An error that does not say whether anything was done.
fn undecided() -> Failure {
    let reason = Text::new(
        "iDocs ответил ошибкой, по которой не понять, выполнен ли запрос. Сначала проверим, выполнен ли он.",
        "iDocs answered with an error that does not tell whether the request was executed. We look before repeating.",
    );
    Failure::new(FailureClass::Ambiguous, FailureKind::ServerError, "errors", reason)
}

fn refused_token(status: u16) -> Failure {
    let reason = Text::new(
        "iDocs не принял токен компании. Проверьте idocs.token или запросите новый у менеджера iDocs; документы ждут.",
        "iDocs did not accept the company's token. Check idocs.token or ask the iDocs manager for a new one; documents \
         wait.",
    );
    Failure::new(FailureClass::Auth, FailureKind::Credentials, format!("http_{status}"), reason)
}

fn refused(status: u16) -> Failure {
    let reason = match status {
        404 | 410 => ErrorCode::NotFound.reason(),
        413 => ErrorCode::FileSize.reason(),
        _ => ErrorCode::Validation.reason(),
    };
    Failure::new(FailureClass::Permanent, FailureKind::Refused, format!("http_{status}"), reason)
}

/// Something on our side keeps the call from being sent.
pub(super) fn local(code: &str, ru: impl Into<String>, en: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Permanent, FailureKind::Local, code, Text::new(ru, en))
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureClass::{Ambiguous, Auth, Permanent, Throttled, Transient};
    use serde_json::json;

    fn failure(status: u16, body: &str, nature: Nature) -> Failure {
        let answer = Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() };
        let errors = serde_json::from_str(body).as_ref().map(listed).unwrap_or_default();
        of_answer(&answer, &errors, nature, &Redactor::default())
    }

    fn with_codes(codes: &[&str]) -> String {
        let errors: Vec<_> = codes.iter().map(|code| json!({"errorCode": code})).collect();
        json!({"response": null, "errors": errors}).to_string()
    }

    #[test]
    fn every_code_has_its_class_with_200_and_with_400() {
        for (code, write, read) in [
            ("UPLOADED_FILE_SIZE_ERROR", Permanent, Permanent),
            ("UPLOADED_FILE_EXTENSION_ERROR", Permanent, Permanent),
            ("UPLOADED_FILE_CONTENT_PARSING_ERROR", Permanent, Permanent),
            ("UNKNOWN", Ambiguous, Transient),
            ("INTERNAL_SERVER_ERROR", Ambiguous, Transient),
            ("RESOURCE_NOT_FOUND", Permanent, Permanent),
            ("VALIDATION_ERROR", Permanent, Permanent),
            ("PERMISSION_ERROR", Permanent, Permanent),
            ("BILLING_ERROR", Permanent, Permanent),
        ] {
            for status in [200, 400] {
                for (nature, class) in [(Nature::Write, write), (Nature::Read, read)] {
                    let failure = failure(status, &with_codes(&[code]), nature);
                    assert_eq!(failure.class, class, "{code} {status} {nature:?}");
                    assert_eq!(failure.code, code.to_ascii_lowercase());
                }
            }
        }
    }

    #[test]
    fn every_status_without_a_code_has_its_class() {
        for (status, write, read) in [
            (301, Transient, Transient),
            (302, Ambiguous, Transient),
            (307, Transient, Transient),
            (400, Permanent, Permanent),
            (401, Auth, Auth),
            (403, Auth, Auth),
            (404, Permanent, Permanent),
            (408, Transient, Transient),
            (413, Permanent, Permanent),
            (415, Permanent, Permanent),
            (429, Throttled, Throttled),
            (500, Ambiguous, Transient),
            (502, Ambiguous, Transient),
            (503, Ambiguous, Transient),
        ] {
            for (nature, class) in [(Nature::Write, write), (Nature::Read, read)] {
                let failure = failure(status, "{}", nature);
                assert_eq!((failure.class, failure.code), (class, format!("http_{status}")), "{nature:?}");
            }
        }
    }

    #[test]
    fn the_token_is_blamed_by_the_status_and_never_by_a_code() {
        assert_eq!(failure(401, &with_codes(&["PERMISSION_ERROR"]), Nature::Write).class, Auth);
        assert_eq!(failure(403, &with_codes(&["PERMISSION_ERROR"]), Nature::Write).class, Permanent);
    }

    #[test]
    fn the_least_certain_of_several_errors_decides() {
        let certain = failure(400, &with_codes(&["VALIDATION_ERROR", "BILLING_ERROR"]), Nature::Write);
        assert_eq!((certain.class, certain.code.as_str()), (Permanent, "validation_error"));
        let unsure = failure(200, &with_codes(&["VALIDATION_ERROR", "UNKNOWN"]), Nature::Write);
        assert_eq!((unsure.class, unsure.code.as_str()), (Ambiguous, "unknown"));
        // a 5xx is not made certain by what it says
        assert_eq!(failure(500, &with_codes(&["VALIDATION_ERROR"]), Nature::Write).class, Ambiguous);
    }

    #[test]
    fn codes_from_the_future_and_codes_as_numbers_are_read_carefully() {
        let body = json!({"errors": [{"errorCode": "QUOTA_<b>"}]}).to_string();
        let new = failure(200, &body, Nature::Write);
        assert_eq!((new.class, new.code.as_str()), (Ambiguous, "quota_b"));
        assert_eq!(failure(400, &body, Nature::Write).class, Permanent);
        let number = failure(200, &json!({"errors": [{"errorCode": 8}]}).to_string(), Nature::Write);
        assert_eq!((number.class, number.code.as_str()), (Permanent, "billing_error"));
        let nameless = failure(200, &json!({"errors": [{}]}).to_string(), Nature::Read);
        assert_eq!((nameless.class, nameless.code.as_str()), (Transient, "errors"));
    }

    #[test]
    fn a_page_is_never_a_certain_refusal_of_the_service() {
        let page = |status, nature| {
            let body = b"<html>nginx</html>".to_vec();
            let answer = Answer { status, body, ..Answer::default() };
            of_page(&answer, nature, &Redactor::default()).class
        };
        for (status, write) in
            [(200, Ambiguous), (400, Transient), (404, Transient), (401, Auth), (502, Ambiguous)]
        {
            assert_eq!(page(status, Nature::Write), write, "{status}");
        }
        assert_eq!(page(502, Nature::Read), Transient);
    }

    #[test]
    fn the_answer_is_kept_for_a_person_without_secrets() {
        let body = r#"{"errors":[{"errorCode":"VALIDATION_ERROR","errorDescription":"number is taken"}],"token":"s3"}"#;
        let shown = failure(400, body, Nature::Write).answer.unwrap();
        assert!(shown.contains("number is taken") && !shown.contains("s3"), "{shown}");
    }
}
