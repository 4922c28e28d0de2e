//! What an unwelcome answer of EasyDocs means. The guide knows two kinds (4xx: correct the data, 5xx: try again, at
//! most three times); the rest is what HTTP says.

use crate::domain::{Failure, FailureClass, FailureKind, Text};
use crate::providers::http_client::Answer;
use crate::providers::redaction::Redactor;
use crate::providers::remote::{Nature, Remote};

/// Pause after 429 without `Retry-After`.
const THROTTLED_PAUSE_MS: u64 = 30_000;

/// The failure that an answer means which is not a success.
///
/// A 4xx certainly created nothing; after 5xx, a redirect or a 2xx that was not expected a document may exist.
pub fn of_answer(answer: &Answer, nature: Nature, redactor: &Redactor) -> Failure {
    let status = answer.status;
    let remote = Remote::EasyDocs;
    let mut failure = match status {
        401 | 403 => refused_key(status),
        408 | 425 => remote.not_executed(status),
        429 => Failure { retry_after_ms: Some(THROTTLED_PAUSE_MS), ..remote.throttled(status) },
        413 => too_large(),
        404 | 410 if nature == Nature::Read => missing(status),
        // A redirect that keeps the method was not executed; 302 and 303 are also how forms say "done, look there".
        301 | 307 | 308 => remote.not_executed(status),
        400..=499 => refused(status),
        500.. => remote.server_error(status),
        _ => remote.garbled(&format!("http_{status}")),
    };
    if answer.retry_after_ms.is_some() {
        failure.retry_after_ms = answer.retry_after_ms;
    }
    nature.judge(failure.answer(&redactor.cut_bytes(&answer.body)))
}

/// An answer with a success status that does not say what it must.
pub fn misshapen(code: &str, answer: &Answer, nature: Nature, redactor: &Redactor) -> Failure {
    nature.judge(Remote::EasyDocs.garbled(code).answer(&redactor.cut_bytes(&answer.body)))
}

fn refused_key(status: u16) -> Failure {
    let reason = Text::new(
        "EasyDocs не принял ключ API. Проверьте ключ и его права в личном кабинете и в настройках; документы ждут.",
        "EasyDocs did not accept the API key. Check the key and its rights in the account and in the configuration; \
         documents wait.",
    );
    Failure::new(FailureClass::Auth, FailureKind::Credentials, format!("http_{status}"), reason)
}

fn refused(status: u16) -> Failure {
    let reason = Text::new(
        format!(
            "EasyDocs не принял запрос (HTTP {status}). Причина в ответе: исправьте маршрут, файл или настройки и \
             отправьте документ ещё раз."
        ),
        format!(
            "EasyDocs refused the request (HTTP {status}). Its answer says why: correct the route, the file or the \
             configuration and send the document again."
        ),
    );
    Failure::new(FailureClass::Permanent, FailureKind::Refused, format!("http_{status}"), reason)
}

fn missing(status: u16) -> Failure {
    let reason = Text::new(
        "В EasyDocs нет такого документа или файла. Проверьте документ в личном кабинете и пути в настройках.",
        "EasyDocs has no such document or file. Look for the document in the account and check the paths in the \
         configuration.",
    );
    Failure::new(FailureClass::Permanent, FailureKind::Refused, format!("http_{status}"), reason)
}

fn too_large() -> Failure {
    let reason = Text::new(
        "EasyDocs не принял файл: он слишком большой. Уменьшите файл.",
        "EasyDocs did not accept the file: it is too large. Make the file smaller.",
    );
    Failure::new(FailureClass::Permanent, FailureKind::Refused, "http_413", reason)
}

/// The configuration does not allow this call.
pub fn misconfigured(code: &str, ru: &str, en: &str) -> Failure {
    Failure::new(FailureClass::Permanent, FailureKind::Local, code, Text::new(ru, en))
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureClass::{Ambiguous, Auth, Permanent, Throttled, Transient};
    use FailureKind::{Credentials, Garbled, Limit, Refused, ServerError};

    #[test]
    fn every_status_has_its_class() {
        for (status, write, read, kind) in [
            (204, Ambiguous, Transient, Garbled),
            (301, Transient, Transient, Garbled),
            (302, Ambiguous, Transient, Garbled),
            (303, Ambiguous, Transient, Garbled),
            (307, Transient, Transient, Garbled),
            (308, Transient, Transient, Garbled),
            (400, Permanent, Permanent, Refused),
            (401, Auth, Auth, Credentials),
            (403, Auth, Auth, Credentials),
            (404, Permanent, Permanent, Refused),
            (408, Transient, Transient, Garbled),
            (409, Permanent, Permanent, Refused),
            (410, Permanent, Permanent, Refused),
            (413, Permanent, Permanent, Refused),
            (422, Permanent, Permanent, Refused),
            (425, Transient, Transient, Garbled),
            (429, Throttled, Throttled, Limit),
            (500, Ambiguous, Transient, ServerError),
            (502, Ambiguous, Transient, ServerError),
            (503, Ambiguous, Transient, ServerError),
            (504, Ambiguous, Transient, ServerError),
        ] {
            let answer = Answer { status, body: b"{}".to_vec(), ..Answer::default() };
            for (nature, class) in [(Nature::Write, write), (Nature::Read, read)] {
                let failure = of_answer(&answer, nature, &Redactor::default());
                assert_eq!((failure.class, failure.kind), (class, kind), "{status} {nature:?}");
                assert_eq!(failure.code, format!("http_{status}"));
            }
        }
    }

    #[test]
    fn the_wish_for_a_pause_and_the_answer_are_kept() {
        let body =
            br#"{"error":"validation_error","message":"route_id is unknown","api_key":"k3y"}"#.to_vec();
        let answer = Answer { status: 429, retry_after_ms: Some(7_000), body, ..Answer::default() };
        let failure = of_answer(&answer, Nature::Write, &Redactor::default());
        assert_eq!(failure.retry_after_ms, Some(7_000));
        let shown = failure.answer.unwrap();
        assert!(shown.contains("route_id is unknown") && !shown.contains("k3y"), "{shown}");
        let plain = Answer { status: 429, ..Answer::default() };
        let failure = of_answer(&plain, Nature::Write, &Redactor::default());
        assert_eq!(failure.retry_after_ms, Some(THROTTLED_PAUSE_MS));
    }
}
