//! Rules about the signing service.

use super::idocs::is_used;
use super::{EmptyPointer, PlainHttp, Report};
use crate::config::{Config, CreateMode, EasydocsConfig, Period, Size};
use crate::domain::SigningService;

pub(super) fn check(config: &Config, report: &mut Report) {
    let easydocs = &config.easydocs;
    report.service_url(
        "easydocs.base_url",
        &easydocs.base_url,
        PlainHttp::from(easydocs.dangerous_allow_http),
    );
    check_secrets(config, report);
    check_create(easydocs, report);
    check_reading(easydocs, report);
    check_callback(easydocs, report);
    check_signature(easydocs, report);
    check_times(easydocs, report);
    check_limits(easydocs, report);
    if easydocs.dangerous_repeat_create_on_5xx {
        report.warning(
            "easydocs.dangerous_repeat_create_on_5xx",
            "после ошибки 5xx документ может появиться в EasyDocs дважды: верните false, если это недопустимо",
            "after a 5xx a document may appear twice in EasyDocs: go back to false unless you accept that",
        );
    }
}

fn check_secrets(config: &Config, report: &mut Report) {
    let easydocs = &config.easydocs;
    if !is_used(config, SigningService::EasyDocs) {
        return;
    }
    if easydocs.api_key.is_none() {
        report.error(
            "easydocs.api_key",
            "есть правила, но нет ключа API EasyDocs: добавьте api_key = { file = \"…\" }",
            "there are rules but no API key of EasyDocs: add api_key = { file = \"…\" }",
        );
    }
    if !easydocs.signature.secrets.is_empty() {
        return;
    }
    if easydocs.can_ask_status() {
        report.warning(
            "easydocs.signature.secrets",
            "секрета нет, поэтому обратные вызовы EasyDocs отклоняются; о подписи узнаем только опросом: добавьте секрет",
            "there is no secret, so callbacks of EasyDocs are refused; signatures are noticed by polling only: add a secret",
        );
    } else {
        report.error(
            "easydocs.signature.secrets",
            "без секрета обратные вызовы отклоняются, а опрос статуса выключен: о подписи не узнать; добавьте секрет из EasyDocs",
            "without a secret callbacks are refused, and polling is off: a signature would go unnoticed; add the secret from EasyDocs",
        );
    }
}

fn check_create(easydocs: &EasydocsConfig, report: &mut Report) {
    let create = &easydocs.create;
    report.header_name("easydocs.auth.header", &easydocs.auth.header);
    report.path("easydocs.create.path", &create.path, None);
    report.pointer("easydocs.create.response.id", &create.response.id, EmptyPointer::Refused);
    report.pointer("easydocs.create.response.status", &create.response.status, EmptyPointer::Allowed);
    if create.success_codes.is_empty() || !create.success_codes.iter().all(|code| (200..300).contains(code)) {
        report.error(
            "easydocs.create.success_codes",
            "нужен непустой список кодов от 200 до 299",
            "a list of codes from 200 to 299 is needed, not an empty one",
        );
    }
    let fields = &create.fields;
    if fields.external_id.is_empty() {
        report.error(
            "easydocs.create.fields.external_id",
            "без нашего номера потерянный ответ не сопоставить с документом: верните external_id",
            "without our id a lost answer cannot be matched with its document: go back to external_id",
        );
    }
    match create.mode {
        CreateMode::JsonBase64 if fields.file_content.is_empty() => report.error(
            "easydocs.create.fields.file_content",
            "в режиме json_base64 файл передаётся в этом поле: укажите его имя",
            "in mode json_base64 the file travels in this member: give its name",
        ),
        CreateMode::Multipart if create.file_part.is_empty() => report.error(
            "easydocs.create.file_part",
            "в режиме multipart нужно имя части с файлом",
            "in mode multipart the part of the file needs a name",
        ),
        CreateMode::JsonBase64 | CreateMode::Multipart => {}
    }
    let names = [
        &fields.name,
        &fields.file_content,
        &fields.file_name,
        &fields.route_id,
        &fields.external_id,
        &fields.callback_url,
    ];
    for name in create.extra.keys().filter(|name| names.contains(name)) {
        report.error(
            format!("easydocs.create.extra.{name}"),
            "это поле заполняет сама программа: уберите его из extra",
            "the program fills this member itself: remove it from extra",
        );
    }
}

fn check_reading(easydocs: &EasydocsConfig, report: &mut Report) {
    report.path("easydocs.download.path", &easydocs.download.path, Some("{id}"));
    for (index, origin) in easydocs.download.allowed_origins.iter().enumerate() {
        let key = format!("easydocs.download.allowed_origins[{index}]");
        report.origin(&key, origin, PlainHttp::from(easydocs.dangerous_allow_http));
    }
    if !easydocs.health.path.is_empty() {
        report.path("easydocs.health.path", &easydocs.health.path, None);
    }
    if easydocs.can_ask_status() {
        report.path("easydocs.status.path", &easydocs.status.path, Some("{id}"));
        report.pointer("easydocs.status.status", &easydocs.status.status, EmptyPointer::Refused);
    }
    if easydocs.can_search() {
        let search = &easydocs.search;
        report.path("easydocs.search.path", &search.path, Some("{external_id}"));
        report.pointer("easydocs.search.items", &search.items, EmptyPointer::Allowed);
        report.pointer("easydocs.search.id", &search.id, EmptyPointer::Refused);
        report.pointer("easydocs.search.external_id", &search.external_id, EmptyPointer::Refused);
        report.pointer("easydocs.search.status", &search.status, EmptyPointer::Allowed);
    }
}

fn check_callback(easydocs: &EasydocsConfig, report: &mut Report) {
    let callback = &easydocs.callback;
    let fields = &callback.fields;
    for (name, pointer, empty) in [
        ("event", &fields.event, EmptyPointer::Allowed),
        ("document_id", &fields.document_id, EmptyPointer::Refused),
        ("external_id", &fields.external_id, EmptyPointer::Allowed),
        ("status", &fields.status, EmptyPointer::Refused),
        ("file_url", &fields.file_url, EmptyPointer::Allowed),
        ("timestamp", &fields.timestamp, EmptyPointer::Allowed),
    ] {
        report.pointer(&format!("easydocs.callback.fields.{name}"), pointer, empty);
    }
    report.number("easydocs.callback.answer_code", callback.answer_code.into(), 200..=299);
    for (name, names) in [("success", &callback.status.success), ("refused", &callback.status.refused)] {
        if names.is_empty() || names.iter().any(String::is_empty) {
            report.error(
                format!("easydocs.callback.status.{name}"),
                "нужно хотя бы одно непустое название статуса",
                "at least one name of a status is needed, and none may be empty",
            );
        }
    }
    if let Some(both) = callback.status.success.iter().find(|name| callback.status.refused.contains(name)) {
        report.error(
            "easydocs.callback.status.refused",
            format!("статус `{both}` значит и успех, и отказ: оставьте его в одном списке"),
            format!("the status `{both}` means both success and refusal: leave it in one list"),
        );
    }
}

fn check_signature(easydocs: &EasydocsConfig, report: &mut Report) {
    let signature = &easydocs.signature;
    report.header_name("easydocs.signature.header", &signature.header);
    let content = &signature.signed_content;
    if content != "raw_body" && !content.contains("{body}") {
        report.error(
            "easydocs.signature.signed_content",
            "подпись без тела запроса ничего не доказывает: укажите raw_body или шаблон с {body}",
            "a signature that does not cover the body proves nothing: give raw_body or a template with {body}",
        );
    }
    for (index, secret) in signature.secrets.iter().enumerate() {
        if secret.is_resolved() && secret.secret().expose().len() < CALLBACK_SECRET_BYTES_SHORT {
            report.warning(
                format!("easydocs.signature.secrets[{index}]"),
                format!("секрет короче {CALLBACK_SECRET_BYTES_SHORT} знаков можно подобрать: попросите у EasyDocs длиннее"),
                format!("a secret shorter than {CALLBACK_SECRET_BYTES_SHORT} characters can be guessed: ask EasyDocs for a longer one"),
            );
        }
    }
}

/// Below this a secret may be found by trying, offline, against one recorded callback.
const CALLBACK_SECRET_BYTES_SHORT: usize = 16;

fn check_times(easydocs: &EasydocsConfig, report: &mut Report) {
    let long = Period::from_ms(1)..=Period::from_secs(365 * 86_400);
    report.period("easydocs.deadline", easydocs.deadline, long.clone());
    report.period("easydocs.callback_grace", easydocs.callback_grace, long.clone());
    report.period("easydocs.settle", easydocs.settle, Period::from_ms(0)..=Period::from_secs(86_400));
    if easydocs.can_ask_status() {
        report.schedule("easydocs.poll", &easydocs.poll, &long);
    }
    for (index, after) in easydocs.reminders.iter().enumerate() {
        let key = format!("easydocs.reminders[{index}]");
        if *after >= easydocs.deadline {
            report.error(
                key,
                format!("напоминание через {after} не раньше срока {}: уменьшите его или продлите deadline", easydocs.deadline),
                format!("a reminder after {after} is not before the deadline of {}: lower it or raise the deadline", easydocs.deadline),
            );
        } else if index > 0 && *after <= easydocs.reminders[index - 1] {
            report.error(
                key,
                "напоминания должны идти по возрастанию",
                "reminders must be in ascending order",
            );
        }
    }
    let bounds = Period::from_ms(100)..=Period::from_secs(6 * 3_600);
    let timeouts = &easydocs.timeouts;
    for (name, value) in [
        ("connect", timeouts.connect),
        ("read", timeouts.read),
        ("call", timeouts.call),
        ("transfer", timeouts.transfer),
    ] {
        report.period(format!("easydocs.timeouts.{name}"), value, bounds.clone());
    }
}

fn check_limits(easydocs: &EasydocsConfig, report: &mut Report) {
    let limits = &easydocs.limits;
    let file = Size::from_bytes(1 << 10)..=Size::from_bytes(2 << 30);
    report.size(
        "easydocs.limits.callback_bytes",
        limits.callback_bytes,
        Size::from_bytes(1 << 10)..=Size::from_bytes(16 << 20),
    );
    report.size("easydocs.limits.upload_bytes", limits.upload_bytes, file.clone());
    report.size("easydocs.limits.download_bytes", limits.download_bytes, file);
    report.number("easydocs.limits.callback_per_minute", limits.callback_per_minute.into(), 1..=1_000_000);
    report.number("easydocs.limits.concurrent_calls", limits.concurrent_calls.into(), 1..=256);
}
