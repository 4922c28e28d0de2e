//! What Bitrix24's refusals mean: a table from code to class, with the remedy in words.
//!
//! Sources: `error-codes.md`, `_includes/system-errors.md` and the method pages of the REST docs, what the official
//! SDKs handle besides, and the EasyDocs guide's table. The HTTP status decides nothing where there is a code: the
//! same code comes with 400, 401 or 403, and inside a batch with 200.

use super::wire;
use crate::domain::FailureClass::{Ambiguous, Auth, Permanent, Throttled, Transient};
use crate::domain::FailureKind::{Credentials, Limit, Refused, ServerError};
use crate::domain::{Failure, FailureClass, FailureKind, Text};
use crate::providers::http_client::Answer;
use crate::providers::redaction::Redactor;
use crate::providers::remote::Remote;
use serde_json::Value;

/// Pause after `QUERY_LIMIT_EXCEEDED`; the caller lets it grow (the EasyDocs guide: 10 s, then exponentially).
pub const QUERY_LIMIT_PAUSE_MS: u64 = 10_000;
/// Pause after `OPERATION_TIME_LIMIT` when the portal does not say when the method opens (the guide: 10 min).
pub const OPERATION_PAUSE_MS: u64 = 600_000;
/// Longest pause that is taken from `operating_reset_at`: buckets are ten minutes, more is a wrong clock.
const OPERATION_PAUSE_MS_MAX: u64 = 1_200_000;
/// Pause after `OVERLOAD_LIMIT`: a manual block by the vendor; hammering makes it longer.
pub const OVERLOAD_PAUSE_MS: u64 = 3_600_000;
/// Pause after `PORTAL_DELETED`: it may come back, but not in seconds.
const PORTAL_GONE_PAUSE_MS: u64 = 3_600_000;
/// How much of a remote's code is kept as ours.
const CODE_CHARS_MAX: usize = 64;

struct Rule {
    code: &'static str,
    class: FailureClass,
    kind: FailureKind,
    pause_ms: Option<u64>,
    advice: Advice,
}

#[derive(Clone, Copy)]
enum Advice {
    Rate,
    Operating,
    Overload,
    Token,
    Webhook,
    Dismissed,
    AppGone,
    Scope,
    Access,
    Context,
    Confirm,
    Payment,
    PortalGone,
    Internal,
    Method,
    Missing,
    Batch,
    Request,
    NameTaken,
    NotSaved,
    FileTooLarge,
    Plan,
}

const fn rule(code: &'static str, class: FailureClass, kind: FailureKind, advice: Advice) -> Rule {
    Rule { code, class, kind, pause_ms: None, advice }
}

const fn pausing(
    code: &'static str,
    class: FailureClass,
    kind: FailureKind,
    ms: u64,
    advice: Advice,
) -> Rule {
    Rule { code, class, kind, pause_ms: Some(ms), advice }
}

/// Codes are compared without case (`expired_token` comes as `EXPIRED_TOKEN` too).
static RULES: [Rule; 63] = [
    pausing("query_limit_exceeded", Throttled, Limit, QUERY_LIMIT_PAUSE_MS, Advice::Rate),
    pausing("operation_time_limit", Throttled, Limit, OPERATION_PAUSE_MS, Advice::Operating),
    pausing("overload_limit", Throttled, Limit, OVERLOAD_PAUSE_MS, Advice::Overload),
    rule("expired_token", Auth, Credentials, Advice::Token),
    rule("invalid_token", Auth, Credentials, Advice::Token),
    rule("no_auth_found", Auth, Credentials, Advice::Webhook),
    rule("invalid_credentials", Auth, Credentials, Advice::Webhook),
    rule("authorization_error", Auth, Credentials, Advice::Dismissed),
    rule("user_access_error", Auth, Credentials, Advice::Dismissed),
    rule("allowed_only_intranet_user", Auth, Credentials, Advice::Dismissed),
    rule("application_not_found", Auth, Credentials, Advice::AppGone),
    rule("error_oauth", Auth, Credentials, Advice::AppGone),
    rule("not_installed", Auth, Credentials, Advice::AppGone),
    rule("wrong_client", Auth, Credentials, Advice::AppGone),
    rule("invalid_client", Auth, Credentials, Advice::AppGone),
    rule("invalid_grant", Auth, Credentials, Advice::AppGone),
    rule("bad_verification_code", Auth, Credentials, Advice::AppGone),
    rule("insufficient_scope", Auth, Credentials, Advice::Scope),
    rule("invalid_scope", Auth, Credentials, Advice::Scope),
    rule("method_confirm_waiting", Auth, Credentials, Advice::Confirm),
    rule("method_confirm_denied", Permanent, Refused, Advice::Confirm),
    rule("payment_required", Auth, Credentials, Advice::Payment),
    rule("access_denied", Permanent, Refused, Advice::Access),
    rule("docgen_access_error", Permanent, Refused, Advice::Access),
    rule("-", Permanent, Refused, Advice::Access),
    rule("wrong_auth_type", Permanent, Refused, Advice::Context),
    pausing("portal_deleted", Transient, ServerError, PORTAL_GONE_PAUSE_MS, Advice::PortalGone),
    rule("internal_server_error", Ambiguous, ServerError, Advice::Internal),
    rule("error_unexpected_answer", Ambiguous, ServerError, Advice::Internal),
    rule("error_manifest_is_not_available", Permanent, Refused, Advice::Method),
    rule("error_method_not_found", Permanent, Refused, Advice::Method),
    rule("error_not_found", Permanent, Refused, Advice::Missing),
    rule("not_found", Permanent, Refused, Advice::Missing),
    rule("owner_not_found", Permanent, Refused, Advice::Missing),
    rule("entity_type_not_supported", Permanent, Refused, Advice::Method),
    rule("error_batch_method_not_allowed", Permanent, Refused, Advice::Batch),
    rule("error_batch_length_exceeded", Transient, Refused, Advice::Batch),
    rule("invalid_request", Permanent, Refused, Advice::Request),
    rule("error_argument", Permanent, Refused, Advice::Request),
    rule("invalid_arg_value", Permanent, Refused, Advice::Request),
    rule("crm_field_error_value_not_valid", Permanent, Refused, Advice::Request),
    rule("disk_base_service_22001", Permanent, Refused, Advice::Request),
    rule("user_id_empty", Permanent, Refused, Advice::Request),
    rule("message_empty", Permanent, Refused, Advice::Request),
    rule("attach_oversize", Permanent, Refused, Advice::Request),
    rule("attach_error", Permanent, Refused, Advice::Request),
    rule("error_core", Permanent, Refused, Advice::Request),
    rule("", Permanent, Refused, Advice::Request),
    rule("0", Permanent, Refused, Advice::Request),
    rule("100", Permanent, Refused, Advice::Request),
    rule("160", Permanent, Refused, Advice::Request),
    rule("400", Permanent, Refused, Advice::Request),
    rule("422", Permanent, Refused, Advice::Request),
    rule("510", Permanent, Refused, Advice::Request),
    rule("disk_obj_22000", Permanent, Refused, Advice::NameTaken),
    rule("error_could_not_save_file", Transient, Refused, Advice::NotSaved),
    rule("disk_file_22002", Transient, Refused, Advice::NotSaved),
    rule("disk_file_22005", Permanent, Refused, Advice::Access),
    rule("disk_file_22006", Permanent, Refused, Advice::FileTooLarge),
    rule("create_dynamic_item_restricted", Permanent, Refused, Advice::Plan),
    rule("update_dynamic_item_restricted", Permanent, Refused, Advice::Plan),
    rule("docgen_limit_error", Permanent, Refused, Advice::Plan),
    rule("error_event_not_found", Permanent, Refused, Advice::Method),
];

impl Advice {
    fn text(self) -> Text {
        let (ru, en) = match self {
            Advice::Rate => (
                "Портал ограничил частоту запросов. Запрос не выполнен и повторится после паузы; если это часто, \
                 проверьте, нет ли других интеграций с этого же адреса, и пресет лимита в настройках.",
                "The portal limits the rate of requests. This one was not executed and is repeated after a pause; if \
                 it happens often, look for other integrations on this address and check the rate preset.",
            ),
            Advice::Operating => (
                "Портал временно закрыл метод: исчерпано его время выполнения. Запрос повторится, когда метод откроется.",
                "The portal closed the method for a while: its operating time is spent. The request is repeated when \
                 the method opens.",
            ),
            Advice::Overload => (
                "Bitrix24 заблокировал портал за перегрузку. Запросы остановлены; обратитесь в поддержку Bitrix24.",
                "Bitrix24 blocked the portal for overload. Requests are stopped; contact Bitrix24 support.",
            ),
            Advice::Token => (
                "Портал не принял токен. Проверьте адрес входящего вебхука и создайте его заново, если он отозван.",
                "The portal did not accept the token. Check the incoming webhook's address and create a new webhook \
                 if it was revoked.",
            ),
            Advice::Webhook => (
                "Портал не принял вебхук: неверный адрес, вебхук удалён, истёк или изменён администратором. \
                 Создайте входящий вебхук заново и впишите его адрес в настройки.",
                "The portal did not accept the webhook: a wrong address, or it was deleted, expired or edited by an \
                 administrator. Create the incoming webhook again and put its address into the configuration.",
            ),
            Advice::Dismissed => (
                "Портал не пускает сотрудника, от имени которого работает вебхук: он уволен или не имеет доступа. \
                 Создайте вебхук от действующего сотрудника.",
                "The portal does not let in the user behind the webhook: dismissed, or without access. Create the \
                 webhook under an active user.",
            ),
            Advice::AppGone => (
                "Приложение на портале удалено или не установлено. Установите его заново.",
                "The application is removed from the portal or not installed. Install it again.",
            ),
            Advice::Scope => (
                "Вебхуку не хватает прав. Добавьте ему права disk, crm, im и user_brief на портале.",
                "The webhook lacks a scope. Give it disk, crm, im and user_brief on the portal.",
            ),
            Advice::Access => (
                "Портал отказал в доступе. Дайте сотруднику, от имени которого работает вебхук, права на этот файл, \
                 папку или элемент CRM.",
                "The portal denied access. Give the user behind the webhook the rights on this file, folder or CRM item.",
            ),
            Advice::Context => (
                "Этот метод нельзя вызвать вебхуком, нужно приложение.",
                "This method cannot be called by a webhook, an application is needed.",
            ),
            Advice::Confirm => (
                "Метод ждёт разрешения администратора портала или запрещён им. Подтвердите его на портале.",
                "The method waits for the permission of the portal's administrator, or was denied. Confirm it on the portal.",
            ),
            Advice::Payment => (
                "Тариф или подписка портала закончились. Продлите их, работа продолжится сама.",
                "The portal's plan or subscription has ended. Renew it, work goes on by itself.",
            ),
            Advice::PortalGone => (
                "Портал удалён или его публичная часть закрыта. Проверьте портал; запрос повторится позже.",
                "The portal is deleted or its public part is closed. Check the portal; the request is repeated later.",
            ),
            Advice::Internal => (
                "Внутренняя ошибка портала, исход неизвестен. Обычно это проходит само.",
                "An internal error of the portal, the outcome is unknown. It usually passes by itself.",
            ),
            Advice::Method => (
                "Портал не знает такого метода или объекта: нет модуля, права вебхука или обновления. \
                 Запустите `edobridge doctor`.",
                "The portal does not know this method or type: a module, a scope or an update is missing. Run \
                 `edobridge doctor`.",
            ),
            Advice::Missing => (
                "На портале нет такого объекта: он удалён, или вебхуку он не виден. Проверьте номер и права.",
                "The portal has no such object: it is deleted, or the webhook cannot see it. Check the id and the rights.",
            ),
            Advice::Batch => (
                "Портал не выполняет этот метод в пакете. Это ошибка edobridge, сообщите о ней разработчикам.",
                "The portal does not execute this method in a batch. This is a fault of edobridge, please report it.",
            ),
            Advice::Request => (
                "Портал не принял запрос: неверные данные или нет прав. Причина в ответе портала.",
                "The portal did not accept the request: wrong data, or no rights. The portal's answer says why.",
            ),
            Advice::NameTaken => (
                "Файл или папка с таким именем уже есть. Проверьте папку.",
                "A file or folder of this name exists already. Look into the folder.",
            ),
            Advice::NotSaved => (
                "Портал не смог сохранить файл. Проверьте свободное место на Диске портала; запрос повторится.",
                "The portal could not save the file. Check the free space of the portal's Drive; the request is repeated.",
            ),
            Advice::FileTooLarge => (
                "Файл больше, чем разрешает портал. Увеличьте предел на портале или уменьшите файл.",
                "The file is larger than the portal allows. Raise the portal's limit or make the file smaller.",
            ),
            Advice::Plan => (
                "Тариф портала не разрешает это действие. Смените тариф или измените правило.",
                "The portal's plan does not allow this. Change the plan or the rule.",
            ),
        };
        Text::new(ru, en)
    }
}

/// The value of `error` in an envelope, as a code to compare: a text, a number, or REST 3.0's object.
pub fn code_of(error: &Value) -> String {
    let code = match error {
        Value::Object(object) => object.get("code").and_then(wire::text),
        Value::String(_) | Value::Number(_) => wire::text(error),
        Value::Null | Value::Bool(_) | Value::Array(_) => None,
    };
    code.unwrap_or_default().trim().to_ascii_lowercase()
}

/// The failure that an error envelope means.
///
/// `answer` is the redacted beginning of the body, `reset_in_ms` the time until the method opens, where known.
pub fn from_code(status: u16, code: &str, reset_in_ms: Option<u64>, answer: &str) -> Failure {
    // `""`, `0` and their like say nothing; with a 5xx the outcome is as unknown as without a code.
    let says_something = |rule: &&Rule| !(matches!(rule.advice, Advice::Request) && status >= 500);
    let failure = match RULES.iter().find(|rule| rule.code == code).filter(says_something) {
        Some(rule) => of_rule(rule, reset_in_ms),
        None if status >= 500 => {
            Failure { code: our_code(code, status), ..Remote::Portal.server_error(status) }
        }
        None if status == 429 => Failure { code: our_code(code, status), ..Remote::Portal.throttled(status) },
        None => Failure::new(Permanent, Refused, our_code(code, status), Advice::Request.text()),
    };
    failure.answer(answer)
}

/// The failure of one call within a batch that the portal answered with 200: it is that call's alone, whatever class
/// the others have. A code of the table means there what it means elsewhere, so `access_denied` is for good.
///
/// A code that no table names is judged by its HTTP status elsewhere, and here there is none: it may be the portal's
/// own fault. So its outcome is unknown: a read is repeated by its schedule, a write is looked for, and a person is
/// asked when that has not helped, minutes later than if the call had been alone.
pub fn in_batch(code: &str, reset_in_ms: Option<u64>, answer: &str) -> Failure {
    if RULES.iter().any(|rule| rule.code == code) {
        return from_code(200, code, reset_in_ms, answer);
    }
    let code = our_code(code, 0);
    Failure::new(Ambiguous, ServerError, code, Advice::Internal.text()).answer(answer)
}

fn of_rule(rule: &Rule, reset_in_ms: Option<u64>) -> Failure {
    let mut failure = Failure::new(rule.class, rule.kind, our_code(rule.code, 0), rule.advice.text());
    failure.retry_after_ms = match rule.advice {
        Advice::Operating => reset_in_ms.map(|ms| ms.clamp(1_000, OPERATION_PAUSE_MS_MAX)).or(rule.pause_ms),
        _ => rule.pause_ms,
    };
    failure
}

/// The failure that an answer without an envelope means: HTML, nothing, half a JSON text.
pub fn from_status(answer: &Answer, redactor: &Redactor) -> Failure {
    let status = answer.status;
    let remote = Remote::Portal;
    let mut failure = match status {
        401 | 403 => Failure::new(Auth, Credentials, format!("http_{status}"), Advice::Webhook.text()),
        408 => remote.not_executed(status),
        413 => Failure::new(Permanent, Refused, "http_413", Advice::FileTooLarge.text()),
        429 => Failure { retry_after_ms: Some(QUERY_LIMIT_PAUSE_MS), ..remote.throttled(status) },
        // A page instead of an envelope comes from the web server in front: REST was not reached.
        300..=499 => remote.not_executed(status),
        500.. => remote.server_error(status),
        _ => remote.garbled("garbled_answer"),
    };
    if answer.retry_after_ms.is_some() {
        failure.retry_after_ms = answer.retry_after_ms;
    }
    failure.answer(&redactor.cut_bytes(&answer.body))
}

/// A call that the portal did not come to: its name is in neither map of the batch's answer.
pub fn not_executed() -> Failure {
    let reason = Text::new(
        "Портал не дошёл до этого запроса в пакете. Он будет повторён.",
        "The portal did not come to this request of the batch. It will be repeated.",
    );
    Failure::new(Transient, Refused, "not_executed", reason)
}

/// An answer that came, was no error, and does not have the shape of this method.
pub fn misshapen(method: &str) -> Failure {
    let mut failure = Remote::Portal.garbled("misshapen_answer");
    failure.reason.ru = format!("Ответ портала на {method} не такой, как описано. {}", failure.reason.ru);
    failure.reason.en =
        format!("The portal's answer to {method} is not as documented. {}", failure.reason.en);
    failure
}

/// A code that is safe in logs and filters.
fn our_code(code: &str, status: u16) -> String {
    if code.is_empty() {
        return if status >= 500 { format!("http_{status}") } else { "empty_code".to_owned() };
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if code.len() > CODE_CHARS_MAX || !code.chars().all(safe) || code == "-" {
        return "refused".to_owned();
    }
    if code.bytes().all(|b| b.is_ascii_digit()) { format!("code_{code}") } else { code.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The whole table as an operator would read it: code, HTTP status, class, kind, our code, pause in seconds.
    const EXPECTED: &str = include_str!("../../../tests/data/bitrix24-errors.txt");

    #[test]
    fn every_documented_code_has_its_class() {
        let mut lines = String::new();
        for rule in &RULES {
            let f = from_code(400, rule.code, None, "");
            let pause = f.retry_after_ms.map_or("-".into(), |ms| (ms / 1000).to_string());
            lines += &format!("{:?} {:?} {:?} {} {}\n", rule.code, f.class, f.kind, f.code, pause);
        }
        assert_eq!(lines, EXPECTED, "\n{lines}");
    }

    #[test]
    fn every_failure_has_a_remedy_in_both_languages() {
        for rule in &RULES {
            let reason = from_code(400, rule.code, None, "").reason;
            for text in [&reason.ru, &reason.en] {
                assert!(text.ends_with('.') && text.len() > 40, "{text}");
            }
            assert!(reason.ru.chars().any(|c| ('а'..='я').contains(&c)));
        }
    }

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<_> = RULES.iter().map(|rule| rule.code).collect();
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn the_code_is_found_in_every_form_it_comes_in() {
        for (error, code) in [
            (json!("EXPIRED_TOKEN"), "expired_token"),
            (json!(""), ""),
            (json!(0), "0"),
            (json!("1048582"), "1048582"),
            (json!(200_040_300_010_u64), "200040300010"),
            (json!({"code": "BITRIX_REST_V3_EXCEPTION_X", "message": "m"}), "bitrix_rest_v3_exception_x"),
            (json!(["x"]), ""),
        ] {
            assert_eq!(code_of(&error), code);
        }
    }

    #[test]
    fn an_unknown_code_is_judged_by_its_status() {
        for (status, code, class, ours) in [
            (400, "brand_new", Permanent, "brand_new"),
            (200, "200040300010", Permanent, "code_200040300010"),
            (200, "communication type is not defined", Permanent, "refused"),
            (500, "brand_new", Ambiguous, "brand_new"),
            (503, "", Ambiguous, "http_503"),
            (429, "new_limit", Throttled, "new_limit"),
        ] {
            let failure = from_code(status, code, None, "");
            assert_eq!((failure.class, failure.code.as_str()), (class, ours), "{status} {code}");
        }
    }

    #[test]
    fn within_a_batch_known_codes_keep_their_class_and_unknown_ones_leave_the_outcome_open() {
        for (code, class) in [
            ("access_denied", Permanent),
            ("insufficient_scope", Auth),
            ("", Permanent),
            ("0", Permanent),
            ("query_limit_exceeded", Throttled),
            ("internal_server_error", Ambiguous),
            ("brand_new", Ambiguous),
            ("communication type is not defined", Ambiguous),
        ] {
            assert_eq!(in_batch(code, None, "").class, class, "{code}");
        }
    }

    #[test]
    fn the_method_opens_when_the_portal_says() {
        let pause = |reset| from_code(429, "operation_time_limit", reset, "").retry_after_ms;
        assert_eq!(pause(Some(42_000)), Some(42_000));
        assert_eq!(pause(None), Some(OPERATION_PAUSE_MS));
        assert_eq!(pause(Some(0)), Some(1_000));
        assert_eq!(pause(Some(u64::MAX)), Some(OPERATION_PAUSE_MS_MAX));
    }

    #[test]
    fn answers_without_an_envelope_are_judged_by_status() {
        for (status, class, kind) in [
            (200, Ambiguous, FailureKind::Garbled),
            (302, Transient, FailureKind::Garbled),
            (400, Transient, FailureKind::Garbled),
            (401, Auth, Credentials),
            (403, Auth, Credentials),
            (404, Transient, FailureKind::Garbled),
            (408, Transient, FailureKind::Garbled),
            (413, Permanent, Refused),
            (429, Throttled, Limit),
            (500, Ambiguous, ServerError),
            (502, Ambiguous, ServerError),
            (504, Ambiguous, ServerError),
        ] {
            let answer = Answer { status, body: b"<html>".to_vec(), ..Answer::default() };
            let failure = from_status(&answer, &Redactor::default());
            assert_eq!((failure.class, failure.kind), (class, kind), "{status}");
            assert_eq!(failure.answer.as_deref(), Some("<html>"));
        }
    }
}
