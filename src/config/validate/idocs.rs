//! Rules about iDocs, its rules and the people who sign.

use super::{EmptyPointer, PlainHttp, Report};
use crate::config::{
    Config, CrmItemSource, IdocsConfig, IdocsRoutePreset, IdocsSigner, IdocsVersion, Period, RuleConfig, Size,
};
use crate::domain::SigningService;

/// The groups of documents (the guide).
const DOCUMENT_GROUPS: [&str; 10] = [
    "Accounting",
    "Financial",
    "Legal",
    "Constitutive",
    "HR",
    "Paperwork",
    "Purchase",
    "Warehouse",
    "Organizational",
    "General",
];

/// The longest number and name of a document (the guide).
const NUMBER_CHARS_MAX: usize = 256;
/// What `{short}`, `{name}` and `{portal}` may need in the worst case is cut to fit; the fixed part must leave them room.
const TEMPLATE_CHARS_MAX: usize = 200;
/// More people than one company lets sign.
const SIGNERS_MAX: usize = 200;
/// An address that is protected by nothing else must not be guessed.
const PATH_SECRET_BYTES_MIN: usize = 32;

pub(super) fn check(config: &Config, report: &mut Report) {
    check_signing_page(config, report);
    if let Some(idocs) = &config.idocs {
        check_places(idocs, report);
        check_secrets(config, idocs, report);
        check_naming(idocs, report);
        check_signers(idocs, report);
        check_route(idocs, report);
        check_statuses(idocs, report);
        check_webhook(config, idocs, report);
        check_history(idocs, report);
        check_times(idocs, report);
        check_limits(idocs, report);
    }
}

/// Whether any rule sends to this service.
pub(super) fn is_used(config: &Config, service: SigningService) -> bool {
    config.rules.iter().any(|rule| rule.service == service)
}

fn check_places(idocs: &IdocsConfig, report: &mut Report) {
    let http = PlainHttp::from(idocs.dangerous_allow_http);
    report.service_url("idocs.base_url", &idocs.base_url, http);
    report.service_url("idocs.webhooks_base_url", &idocs.webhooks_base_url, http);
    if idocs.base_url.path().contains("/api/") {
        report.error(
            "idocs.base_url",
            "уберите /api/… из адреса: номер интерфейса добавит программа по api_version",
            "remove /api/… from the address: the program adds it by api_version",
        );
    }
    for (index, origin) in idocs.download.allowed_origins.iter().enumerate() {
        report.origin(&format!("idocs.download.allowed_origins[{index}]"), origin, http);
    }
    for (key, value) in
        [("content_type", &idocs.content_type), ("cms.part_content_type", &idocs.cms.part_content_type)]
    {
        if !is_media_type(value) {
            report.error(
                format!("idocs.{key}"),
                "это не тип содержимого: пример — application/json",
                "this is no content type: an example is application/json",
            );
        }
    }
}

fn is_media_type(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.split_once('/').is_some_and(|(kind, rest)| part(kind) && part(rest))
}

fn check_secrets(config: &Config, idocs: &IdocsConfig, report: &mut Report) {
    if idocs.token.is_none() && is_used(config, SigningService::Idocs) {
        report.error(
            "idocs.token",
            "есть правила iDocs, но нет токена компании: запросите его у менеджера iDocs, token = { file = \"…\" }",
            "there are rules for iDocs but no token of the company: ask the iDocs manager, token = { file = \"…\" }",
        );
    }
}

fn check_naming(idocs: &IdocsConfig, report: &mut Report) {
    let template = &idocs.document_number_template;
    if template.matches("{short}").count() != 1 {
        report.error(
            "idocs.document_number_template",
            "в номере должно быть ровно одно {short}: только по нему находится документ, ответ о создании которого потерян",
            "the number must have exactly one {short}: only by it a document is found whose create went unanswered",
        );
    }
    if template.chars().count() > TEMPLATE_CHARS_MAX || template.trim() != template {
        report.error(
            "idocs.document_number_template",
            format!("номер у iDocs не длиннее {NUMBER_CHARS_MAX} знаков: оставьте в шаблоне до {TEMPLATE_CHARS_MAX}, без пробелов по краям"),
            format!("a number has at most {NUMBER_CHARS_MAX} characters: leave the template at most {TEMPLATE_CHARS_MAX}, without blanks around it"),
        );
    }
    let mut rest = template.as_str();
    while let Some((_, tail)) = rest.split_once('{') {
        let name = tail.split_once('}').map(|(name, _)| name);
        if !matches!(name, Some("short" | "name" | "portal")) {
            report.error(
                "idocs.document_number_template",
                "в шаблоне номера бывают только {short}, {name} и {portal}",
                "a template of a number may have {short}, {name} and {portal} only",
            );
        }
        rest = tail;
    }
    if !idocs.author_employee_id.is_empty() && !is_uuid(&idocs.author_employee_id) {
        bad_employee("idocs.author_employee_id", report);
    }
    if !idocs.cms.file_name.to_ascii_lowercase().ends_with(".cms")
        || idocs.cms.file_name.contains(['/', '\\', '"'])
    {
        report.error(
            "idocs.cms.file_name",
            "имя файла подписи должно оканчиваться на .cms, без косых черт и кавычек",
            "the name of the signature's file must end in .cms, without slashes and quotes",
        );
    }
    let is_extension =
        |end: &String| !end.is_empty() && end.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if idocs.upload.extensions.is_empty() || !idocs.upload.extensions.iter().all(is_extension) {
        report.error(
            "idocs.upload.extensions",
            "перечислите окончания имён строчными буквами без точки: [\"pdf\", \"docx\"]",
            "list ends of names in lower case and without the dot: [\"pdf\", \"docx\"]",
        );
    }
}

fn bad_employee(key: impl Into<String>, report: &mut Report) {
    report.error(
        key,
        "номер сотрудника в iDocs — UUID; `edobridge doctor` покажет список сотрудников",
        "the id of an employee at iDocs is a UUID; `edobridge doctor` lists the employees",
    );
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

fn is_twelve_digits(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn check_signers(idocs: &IdocsConfig, report: &mut Report) {
    report.number("idocs.signers", idocs.signers.len() as u64, 0..=SIGNERS_MAX as u64);
    for (index, signer) in idocs.signers.iter().enumerate() {
        check_signer(&format!("idocs.signers[{index}]"), signer, &idocs.signers[..index], report);
    }
}

fn check_signer(key: &str, signer: &IdocsSigner, earlier: &[IdocsSigner], report: &mut Report) {
    let length = signer.name.chars().count();
    if signer.name.trim() != signer.name || !(1..=100).contains(&length) {
        report.error(
            format!("{key}.name"),
            "имя подписанта: от 1 до 100 знаков, без пробелов по краям",
            "the name of a signer has 1 to 100 characters, without blanks around it",
        );
    }
    if earlier.iter().any(|other| other.name == signer.name) {
        report.error(
            format!("{key}.name"),
            "это имя уже у другого подписанта: правила не смогут их различить",
            "this name belongs to another signer already: rules could not tell them apart",
        );
    }
    if !is_uuid(&signer.employee_id) {
        bad_employee(format!("{key}.employee_id"), report);
    }
    for (name, value) in [("iin", &signer.iin), ("bin", &signer.bin)] {
        if value.as_deref().is_some_and(|digits| !digits.is_empty() && !is_twelve_digits(digits)) {
            report.error(
                format!("{key}.{name}"),
                "ИИН и БИН состоят из 12 цифр",
                "IIN and BIN have 12 digits",
            );
        }
    }
    if signer.bitrix_user.is_none() && signer.escalate_to.is_empty() {
        report.warning(
            format!("{key}.bitrix_user"),
            "никто не получит ссылку на подписание: укажите bitrix_user или escalate_to, иначе выдавайте её сами (documents sign-link)",
            "nobody gets the link to sign: set bitrix_user or escalate_to, or hand it out yourself (documents sign-link)",
        );
    }
    if signer.bitrix_user == Some(0) || signer.escalate_to.contains(&0) {
        report.error(
            format!("{key}.bitrix_user"),
            "номера сотрудников Битрикс24 начинаются с 1",
            "ids of users of Bitrix24 begin with 1",
        );
    }
}

fn check_route(idocs: &IdocsConfig, report: &mut Report) {
    let route = &idocs.route;
    match route.preset {
        IdocsRoutePreset::Template => {
            let parsed = serde_json::from_str::<serde_json::Value>(&route.template);
            if !parsed.is_ok_and(|value| value.is_object()) || !route.template.contains("{bin}") {
                report.error(
                    "idocs.route.template",
                    "нужен объект JSON, в котором есть \"{bin}\": без него контрагент не указан",
                    "a JSON object with \"{bin}\" in it is needed: without it the counterparty is not named",
                );
            }
        }
        IdocsRoutePreset::Guide if route.required_action_type.is_empty() => report.error(
            "idocs.route.required_action_type",
            "руководство требует это поле: спросите значение у iDocs, вероятнее всего SIGN",
            "the guide asks for this member: get its value from iDocs, most likely SIGN",
        ),
        IdocsRoutePreset::Guide | IdocsRoutePreset::Snapshot | IdocsRoutePreset::SnapshotPayer => {}
    }
}

fn check_statuses(idocs: &IdocsConfig, report: &mut Report) {
    let lists = idocs.status.lists();
    for (name, list) in [lists[2], lists[3]] {
        if list.is_empty() {
            report.error(
                format!("idocs.status.{name}"),
                "нужно хотя бы одно название статуса",
                "at least one name of a status is needed",
            );
        }
    }
    for (index, (name, list)) in lists.iter().enumerate() {
        if list.iter().any(|status| status.is_empty() || status.trim() != status) {
            report.error(
                format!("idocs.status.{name}"),
                "название статуса не бывает пустым и без пробелов по краям",
                "a name of a status is not empty and has no blanks around it",
            );
        }
        for (other, earlier) in &lists[..index] {
            if let Some(both) = list.iter().find(|status| earlier.contains(status)) {
                report.error(
                    format!("idocs.status.{name}"),
                    format!("статус `{both}` есть и в списке {other}: оставьте его в одном"),
                    format!("the status `{both}` is in the list {other} too: leave it in one"),
                );
            }
        }
    }
}

fn check_webhook(config: &Config, idocs: &IdocsConfig, report: &mut Report) {
    let webhook = &idocs.webhook;
    report.path("idocs.webhook.subscription_path", &webhook.subscription_path, None);
    report.pointer("idocs.webhook.fields.document_id", &webhook.fields.document_id, EmptyPointer::Refused);
    report.pointer("idocs.webhook.fields.status", &webhook.fields.status, EmptyPointer::Allowed);
    report.pointer("idocs.webhook.fields.occurred_on", &webhook.fields.occurred_on, EmptyPointer::Allowed);
    if webhook.url_field.is_empty() {
        report.error(
            "idocs.webhook.url_field",
            "нужно имя поля, в котором iDocs ждёт наш адрес: subscriptionUrl",
            "the name of the member is needed in which iDocs expects our address: subscriptionUrl",
        );
    }
    match &webhook.path_secret {
        Some(secret) if secret.is_resolved() => check_path_secret(secret.secret().expose(), report),
        Some(_) => {}
        None if webhook.subscribe && is_used(config, SigningService::Idocs) => report.warning(
            "idocs.webhook.path_secret",
            "без секретной части адреса уведомления iDocs не принимаются, об изменениях скажет только опрос: задайте её (openssl rand -hex 24)",
            "without the secret part of the address notices of iDocs are not taken and only polling tells of changes: set it (openssl rand -hex 24)",
        ),
        None => {}
    }
    if webhook.subscribe && webhook.path_secret.is_some() && config.public.base_url.is_none() {
        report.error(
            "public.base_url",
            "чтобы подписаться на уведомления iDocs, нужен адрес, по которому нас видят: укажите его или idocs.webhook.subscribe = false",
            "to subscribe to notices of iDocs the address is needed at which we are seen: set it, or idocs.webhook.subscribe = false",
        );
    }
}

fn check_path_secret(secret: &str, report: &mut Report) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if secret.len() < PATH_SECRET_BYTES_MIN || secret.len() > 128 || !secret.bytes().all(plain) {
        report.error(
            "idocs.webhook.path_secret",
            format!("секретная часть адреса: от {PATH_SECRET_BYTES_MIN} до 128 латинских букв и цифр (openssl rand -hex 24)"),
            format!("the secret part of the address has {PATH_SECRET_BYTES_MIN} to 128 letters and digits (openssl rand -hex 24)"),
        );
    }
}

fn check_history(idocs: &IdocsConfig, report: &mut Report) {
    let history = &idocs.history;
    if !history.document_path.is_empty() {
        report.path("idocs.history.document_path", &history.document_path, Some("{id}"));
    }
    if !history.period_path.is_empty() {
        report.path("idocs.history.period_path", &history.period_path, Some("{from}"));
        report.path("idocs.history.period_path", &history.period_path, Some("{to}"));
    }
    let day = Period::from_secs(1)..=Period::from_secs(86_400);
    report.period(
        "idocs.history.interval",
        history.interval,
        Period::from_ms(100)..=Period::from_secs(86_400),
    );
    report.period("idocs.history.overlap", history.overlap, day);
    report.period(
        "idocs.history.document_poll",
        history.document_poll,
        Period::from_ms(100)..=Period::from_secs(30 * 86_400),
    );
    report.pointer("idocs.v1.document_id", &idocs.v1.document_id, EmptyPointer::Refused);
    report.pointer("idocs.history.items", &history.items, EmptyPointer::Allowed);
    report.pointer("idocs.history.fields.document_id", &history.fields.document_id, EmptyPointer::Refused);
    report.pointer("idocs.history.fields.status", &history.fields.status, EmptyPointer::Refused);
    report.pointer("idocs.history.fields.occurred_on", &history.fields.occurred_on, EmptyPointer::Allowed);
}

fn check_times(idocs: &IdocsConfig, report: &mut Report) {
    let long = Period::from_ms(1)..=Period::from_secs(365 * 86_400);
    report.period("idocs.deadline", idocs.deadline, long.clone());
    report.period("idocs.settle", idocs.settle, Period::from_ms(0)..=Period::from_secs(86_400));
    report.period(
        "idocs.query.around",
        idocs.query.around,
        Period::from_ms(0)..=Period::from_secs(30 * 86_400),
    );
    report.schedule("idocs.poll", &idocs.poll, &long);
    report.schedule("idocs.bulk.poll", &idocs.bulk.poll, &long);
    report.period("idocs.bulk.deadline", idocs.bulk.deadline, long);
    report.period("idocs.bulk.gather", idocs.bulk.gather, Period::from_ms(1)..=Period::from_secs(60));
    check_reminders("idocs.reminders", &idocs.reminders, ("deadline", idocs.deadline), report);
    let bounds = Period::from_ms(100)..=Period::from_secs(6 * 3_600);
    let times = &idocs.timeouts;
    for (name, value) in
        [("connect", times.connect), ("read", times.read), ("call", times.call), ("transfer", times.transfer)]
    {
        report.period(format!("idocs.timeouts.{name}"), value, bounds.clone());
    }
}

/// Ascending, and before what they remind of.
fn check_reminders(key: &str, reminders: &[Period], (name, deadline): (&str, Period), report: &mut Report) {
    for (index, after) in reminders.iter().enumerate() {
        let key = format!("{key}[{index}]");
        if *after >= deadline {
            report.error(
                key,
                format!("напоминание через {after} не раньше срока {deadline}: уменьшите его или продлите {name}"),
                format!("a reminder after {after} is not before the deadline of {deadline}: lower it or raise {name}"),
            );
        } else if index > 0 && *after <= reminders[index - 1] {
            report.error(
                key,
                "напоминания должны идти по возрастанию",
                "reminders must be in ascending order",
            );
        }
    }
}

fn check_limits(idocs: &IdocsConfig, report: &mut Report) {
    let limits = &idocs.limits;
    let file = Size::from_bytes(1 << 10)..=Size::from_bytes(2 << 30);
    let small = Size::from_bytes(1 << 10)..=Size::from_bytes(16 << 20);
    report.size("idocs.limits.callback_bytes", limits.callback_bytes, small);
    for (name, value) in [
        ("limits.content_bytes", limits.content_bytes),
        ("limits.signature_bytes", limits.signature_bytes),
        ("limits.print_form_bytes", limits.print_form_bytes),
        ("limits.archive_bytes", limits.archive_bytes),
        ("upload.max_bytes", idocs.upload.max_bytes),
    ] {
        report.size(format!("idocs.{name}"), value, file.clone());
    }
    report.number("idocs.limits.callback_per_minute", limits.callback_per_minute.into(), 1..=1_000_000);
    report.number("idocs.limits.concurrent_calls", limits.concurrent_calls.into(), 1..=256);
    match idocs.bulk.from {
        0 => {}
        from => report.number("idocs.bulk.from", from.into(), 2..=50),
    }
    report.number("idocs.query.page_size", idocs.query.page_size.into(), 1..=1_000);
    report.number("idocs.query.pages_max", idocs.query.pages_max.into(), 1..=10_000);
    if limits.content_bytes < idocs.upload.max_bytes {
        report.error(
            "idocs.limits.content_bytes",
            "архив на подпись содержит сам файл, поэтому не может быть меньше upload.max_bytes",
            "the archive to be signed holds the file itself, so it cannot be smaller than upload.max_bytes",
        );
    }
}

fn check_signing_page(config: &Config, report: &mut Report) {
    let page = &config.signing_page;
    let long = Period::from_secs(60)..=Period::from_secs(365 * 86_400);
    report.period("signing_page.signer_deadline", page.signer_deadline, long.clone());
    report.period("signing_page.link_ttl", page.link_ttl, long);
    check_reminders(
        "signing_page.signer_reminders",
        &page.signer_reminders,
        ("signer_deadline", page.signer_deadline),
        report,
    );
}

/// What a rule for iDocs needs besides what every rule needs.
pub(super) fn check_rule(
    key: &str,
    rule: &RuleConfig,
    from_item: bool,
    config: &Config,
    report: &mut Report,
) {
    let Some(idocs) = &config.idocs else {
        return report.error(
            format!("{key}.service"),
            "правило для iDocs, а раздела [idocs] нет: добавьте его с токеном и подписантами",
            "the rule is for iDocs, but there is no section [idocs]: add it with the token and the signers",
        );
    };
    let signers: Vec<&str> = idocs.signers.iter().map(|signer| signer.name.as_str()).collect();
    if !signers.contains(&rule.signer.as_str()) {
        let known = if signers.is_empty() { "-".to_owned() } else { signers.join(", ") };
        report.error(
            format!("{key}.signer"),
            format!("подписанта `{}` нет; есть: {known}", rule.signer),
            format!("there is no signer `{}`; there are: {known}", rule.signer),
        );
    }
    if !DOCUMENT_GROUPS.contains(&rule.document_group.as_str()) {
        let known = DOCUMENT_GROUPS.join(", ");
        report.error(
            format!("{key}.document_group"),
            format!("такой группы документов у iDocs нет; есть: {known}"),
            format!("iDocs has no such group of documents; there are: {known}"),
        );
    }
    if rule.max_size > idocs.upload.max_bytes {
        let limit = idocs.upload.max_bytes;
        report.error(
            format!("{key}.max_size"),
            format!("больше, чем принимает iDocs ({limit}): уменьшите его"),
            format!("more than iDocs takes ({limit}): lower it"),
        );
    }
    if !rule.route_id.is_empty() {
        report.warning(
            format!("{key}.route_id"),
            "iDocs не знает маршрутов по номеру: уберите route_id",
            "iDocs knows no routes by id: remove route_id",
        );
    }
    if idocs.api_version == IdocsVersion::V1 {
        report.error(
            "idocs.api_version",
            "по правилам документы идут только через V3: интерфейс V1 не знает черновиков; попросите у iDocs токен V3",
            "documents of rules go through V3 only: the interface V1 knows no drafts; ask iDocs for a token of V3",
        );
    }
    check_counterparty(key, rule, from_item, report);
}

fn check_counterparty(key: &str, rule: &RuleConfig, from_item: bool, report: &mut Report) {
    let (fixed, field) = (&rule.counterparty_bin, &rule.counterparty_bin_field);
    if fixed.is_empty() == field.is_empty() {
        report.error(
            format!("{key}.counterparty_bin"),
            "укажите контрагента одним из двух: counterparty_bin (12 цифр) или counterparty_bin_field (поле карточки CRM)",
            "name the counterparty by one of the two: counterparty_bin (12 digits) or counterparty_bin_field (a field of the CRM item)",
        );
    }
    if !fixed.is_empty() && !is_twelve_digits(fixed) {
        report.error(
            format!("{key}.counterparty_bin"),
            "БИН (или ИИН физического лица) состоит из 12 цифр",
            "a BIN (or the IIN of an individual) has 12 digits",
        );
    }
    let email = &rule.counterparty_email;
    if !email.is_empty() && (!rule.counterparty_email_field.is_empty() || !looks_like_email(email)) {
        report.error(
            format!("{key}.counterparty_email"),
            "нужен один адрес вида имя@хост, и только одно из двух: counterparty_email или counterparty_email_field",
            "one address such as name@host is needed, and only one of the two: counterparty_email or counterparty_email_field",
        );
    }
    let is_field = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    for (name, value) in
        [("counterparty_bin_field", field), ("counterparty_email_field", &rule.counterparty_email_field)]
    {
        if value.is_empty() {
            continue;
        }
        if !is_field(value) {
            report.error(
                format!("{key}.{name}"),
                "код поля: латинские буквы, цифры и подчёркивания, например UF_CRM_BIN",
                "the code of a field has letters, digits and underscores, such as UF_CRM_BIN",
            );
        }
        if !from_item && rule.crm_item == CrmItemSource::None {
            report.error(
                format!("{key}.crm_item"),
                "контрагент берётся из карточки CRM, а правило не говорит, из какой: задайте crm_item",
                "the counterparty is read from a CRM item, and the rule does not say which: set crm_item",
            );
        }
    }
}

fn looks_like_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty()
            && host.contains('.')
            && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}
