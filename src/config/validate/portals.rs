//! Rules about portals.

use super::{PlainHttp, Report, is_plain_name, scheme_complaint};
use crate::config::{
    Config, ExplicitRate, Period, PortalConfig, Rate, SecondChannelMode, SecretRef, SenderRule, Trigger,
};
use crate::domain::MemberId;
use url::Url;

/// More portals than one process can serve with its budget of connections.
const PORTALS_MAX: usize = 1_000;

pub(super) fn check(config: &Config, report: &mut Report) {
    if config.portals.is_empty() && config.apps.is_empty() && config.rules.is_empty() {
        report.warning(
            "portals",
            "нет ни одного портала и правила: служба запустится, но делать ей будет нечего",
            "there is no portal and no rule: the service starts, but has nothing to do",
        );
    }
    if config.portals.len() > PORTALS_MAX {
        report.error(
            "portals",
            format!("порталов больше {PORTALS_MAX}: разделите их между службами"),
            format!("there are more than {PORTALS_MAX} portals: divide them between services"),
        );
    }
    check_sender_list(config, report);
    for (index, portal) in config.portals.iter().enumerate() {
        let key = format!("portals[{index}]");
        check_id(&key, portal, &config.portals[..index], report);
        check_way_in(&key, portal, config, report);
        check_app(&key, portal, config, report);
        check_budget(&key, portal, report);
        check_owner(&key, portal, report);
        check_workflows(&key, portal, report);
        check_timeouts(&key, portal, report);
        check_second_channel(&key, portal, report);
        check_senders(&key, portal, config, report);
    }
}

fn check_id(key: &str, portal: &PortalConfig, earlier: &[PortalConfig], report: &mut Report) {
    if !is_plain_name(portal.id.as_str()) {
        report.error(
            format!("{key}.id"),
            "имя портала: от 1 до 64 латинских букв, цифр, дефисов и подчёркиваний",
            "the name of a portal is 1 to 64 letters, digits, hyphens and underscores",
        );
    }
    if earlier.iter().any(|other| other.id == portal.id) {
        report.error(
            format!("{key}.id"),
            format!("имя `{}` уже у другого портала: дайте другое", portal.id),
            format!("the name `{}` belongs to another portal already: give another one", portal.id),
        );
    }
}

/// There is exactly one way in.
fn check_way_in(key: &str, portal: &PortalConfig, config: &Config, report: &mut Report) {
    match (&portal.webhook_url, &portal.app) {
        (Some(webhook), None) => check_webhook(key, portal, webhook, report),
        (None, Some(app)) if config.app(app).is_none() => report.error(
            format!("{key}.app"),
            format!("приложения `{app}` нет в [[apps]]"),
            format!("there is no application `{app}` in [[apps]]"),
        ),
        (None, Some(_)) => {}
        (None, None) => report.error(
            format!("{key}.webhook_url"),
            "не хватает пути на портал: добавьте webhook_url (входящий вебхук) или app и member_id (приложение)",
            "there is no way to the portal: add webhook_url (incoming webhook), or app and member_id (application)",
        ),
        (Some(_), Some(_)) => report.error(
            format!("{key}.app"),
            "нужен один путь на портал: или webhook_url, или app",
            "one way to the portal is needed: either webhook_url or app",
        ),
    }
}

fn check_app(key: &str, portal: &PortalConfig, config: &Config, report: &mut Report) {
    let Some(app) = &portal.app else { return };
    let Some(member_id) = &portal.member_id else {
        return report.error(
            format!("{key}.member_id"),
            "портал с приложением узнаётся по member_id: добавьте его (он виден в `edobridge portals list` после установки)",
            "a portal with an application is known by its member_id: add it (`edobridge portals list` shows it after the installation)",
        );
    };
    if member_id.parse::<MemberId>().is_err() {
        report.error(
            format!("{key}.member_id"),
            "member_id состоит из латинских букв и цифр, обычно их 32",
            "a member_id has letters and digits, usually 32 of them",
        );
    }
    let same = |other: &&PortalConfig| other.app.as_ref() == Some(app) && other.member_id == portal.member_id;
    if config.portals.iter().filter(same).count() > 1 {
        report.error(
            format!("{key}.member_id"),
            "этот портал с этим приложением записан дважды",
            "this portal with this application is there twice",
        );
    }
}

/// Never quotes the address: its path is the secret.
fn check_webhook(key: &str, portal: &PortalConfig, webhook: &SecretRef, report: &mut Report) {
    let key = format!("{key}.webhook_url");
    if !webhook.is_resolved() {
        report.skipped(
            key,
            "секрет здесь не прочитан, поэтому вид адреса вебхука не проверен",
            "the secret was not read here, so the form of the webhook's address was not checked",
        );
        return;
    }
    let http = plain_http(portal);
    match Url::parse(webhook.secret().expose()) {
        Err(_) => report.error(key, WEBHOOK_FORM.0, WEBHOOK_FORM.1),
        Ok(url) => {
            if let Some((ru, en)) = scheme_complaint(&url, http) {
                report.error(key.as_str(), ru, en);
            }
            if url.scheme() == "http" && http == PlainHttp::AllowedToBox {
                report.warning(
                    key.as_str(),
                    "портал вызывается по http://: секрет вебхука и документы видит каждый по дороге; дайте коробке сертификат своего центра и укажите ca_file",
                    "the portal is called by http://: everybody on the way sees the webhook's secret and the documents; give the box a certificate of your own authority and set ca_file",
                );
            }
            if !is_webhook_path(&url) {
                report.error(key, WEBHOOK_FORM.0, WEBHOOK_FORM.1);
            }
        }
    }
}

const WEBHOOK_FORM: (&str, &str) = (
    "адрес входящего вебхука имеет вид https://ПОРТАЛ/rest/НОМЕР/КОД/: скопируйте его из настроек вебхука целиком, без имени метода",
    "the address of an incoming webhook has the form https://PORTAL/rest/NUMBER/CODE/: copy it whole from the webhook's settings, without the name of a method",
);

/// `/rest/USER/SECRET` (Bitrix24 docs, `local-integrations/local-webhooks.md`).
fn is_webhook_path(url: &Url) -> bool {
    let parts: Vec<&str> = url.path().trim_matches('/').split('/').collect();
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    match parts.as_slice() {
        ["rest", user, secret] => {
            plain && user.parse::<u64>().is_ok() && !secret.is_empty() && !secret.contains('.')
        }
        _ => false,
    }
}

pub(super) fn check_budget(key: &str, portal: &PortalConfig, report: &mut Report) {
    let hour = Period::from_secs(3_600);
    report.period(
        format!("{key}.query_limit_pause"),
        portal.query_limit_pause,
        Period::from_ms(10)..=portal.query_limit_pause_max.min(hour),
    );
    report.period(
        format!("{key}.query_limit_pause_max"),
        portal.query_limit_pause_max,
        Period::from_ms(10)..=hour,
    );
    report.period(format!("{key}.operating_slow_at"), portal.operating_slow_at, Period::from_secs(1)..=hour);
    report.period(
        format!("{key}.overload_pause"),
        portal.overload_pause,
        Period::from_ms(10)..=Period::from_secs(86_400),
    );
    report.period(
        format!("{key}.batch_gather"),
        portal.batch_gather,
        Period::from_ms(0)..=Period::from_secs(10),
    );
    report.number(format!("{key}.transfers_max"), portal.transfers_max.into(), 1..=64);
    report.number(format!("{key}.administrators"), portal.administrators.len() as u64, 0..=20);
    for (index, user) in portal.administrators.iter().enumerate() {
        report.number(format!("{key}.administrators[{index}]"), *user, 1..=u64::MAX);
    }
    if let Rate::Explicit(ExplicitRate { per_second, burst }) = portal.rate {
        if !(0.01..=1_000.0).contains(&per_second) {
            report.out_of_bounds(format!("{key}.rate"), &per_second, &0.01, &1_000.0);
        }
        report.number(format!("{key}.rate"), burst.into(), 1..=100_000);
    }
}

fn check_owner(key: &str, portal: &PortalConfig, report: &mut Report) {
    if portal.owner_check_interval.as_ms() > 0 {
        // a webhook that expires is warned of a week before: a look a day at least
        let bounds = Period::from_secs(1)..=Period::from_secs(86_400);
        report.period(format!("{key}.owner_check_interval"), portal.owner_check_interval, bounds);
    }
    if portal.capability_check_interval.as_ms() > 0 {
        // a box that was updated should be noticed within a week
        let bounds = Period::from_secs(1)..=Period::from_secs(7 * 86_400);
        report.period(format!("{key}.capability_check_interval"), portal.capability_check_interval, bounds);
    }
}

fn check_workflows(key: &str, portal: &PortalConfig, report: &mut Report) {
    let day = Period::from_secs(86_400);
    if portal.workflow_check_interval.as_ms() > 0 {
        // more often, looking would eat a real portal's budget; a sandbox has none to eat
        let least = if portal.dangerous_allow_http { Period::from_ms(50) } else { Period::from_secs(60) };
        let value = portal.workflow_check_interval;
        report.period(format!("{key}.workflow_check_interval"), value, least..=day);
    }
    let longest = Period::from_secs(30 * 86_400);
    let value = portal.workflow_silent_after;
    report.period(format!("{key}.workflow_silent_after"), value, Period::from_ms(0)..=longest);
}

pub(super) fn check_timeouts(key: &str, portal: &PortalConfig, report: &mut Report) {
    let bounds = Period::from_ms(100)..=Period::from_secs(6 * 3_600);
    let timeouts = &portal.timeouts;
    for (name, value) in [
        ("connect", timeouts.connect),
        ("read", timeouts.read),
        ("call", timeouts.call),
        ("transfer", timeouts.transfer),
    ] {
        report.period(format!("{key}.timeouts.{name}"), value, bounds.clone());
    }
    for (index, origin) in portal.allowed_download_origins.iter().enumerate() {
        let key = format!("{key}.allowed_download_origins[{index}]");
        report.origin(&key, origin, plain_http(portal));
    }
    check_extra_auth(key, portal, report);
    if portal.notify_client_id.is_empty() {
        report.error(
            format!("{key}.notify_client_id"),
            "без CLIENT_ID вебхук не может слать уведомления с меткой: оставьте edobridge",
            "without a CLIENT_ID a webhook cannot send notices with a tag: leave edobridge",
        );
    }
}

/// How far `http://` goes for a portal.
fn plain_http(portal: &PortalConfig) -> PlainHttp {
    if portal.dangerous_http_to_box {
        return PlainHttp::AllowedToBox;
    }
    PlainHttp::from(portal.dangerous_allow_http)
}

/// Names that calls have already.
const OWN_PARAMETERS: [&str; 4] = ["auth", "auth_connector", "cmd", "halt"];

fn check_extra_auth(key: &str, portal: &PortalConfig, report: &mut Report) {
    let Some(extra) = &portal.extra_auth else { return };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let is_name = (1..=64).contains(&extra.name.len()) && extra.name.bytes().all(plain);
    if !is_name || OWN_PARAMETERS.contains(&extra.name.to_ascii_lowercase().as_str()) {
        report.error(
            format!("{key}.extra_auth.name"),
            "имя параметра: до 64 латинских букв, цифр, дефисов и подчёркиваний, и не auth, auth_connector, cmd, halt",
            "the name of the parameter has up to 64 letters, digits, hyphens and underscores, and is not auth, auth_connector, cmd or halt",
        );
    }
}

fn check_second_channel(key: &str, portal: &PortalConfig, report: &mut Report) {
    let channel = &portal.second_channel;
    // more often, looking would eat a real portal's budget; a sandbox has none to eat
    let least = if portal.dangerous_allow_http { Period::from_ms(50) } else { Period::from_secs(10) };
    let day = Period::from_secs(86_400);
    report.period(format!("{key}.second_channel.sweep_interval"), channel.sweep_interval, least..=day);
    report.period(format!("{key}.second_channel.offline_interval"), channel.offline_interval, least..=day);
    for (name, value) in [("sweep_overlap", channel.sweep_overlap), ("grace", channel.grace)] {
        report.period(format!("{key}.second_channel.{name}"), value, Period::from_ms(0)..=day);
    }
    report.period(
        format!("{key}.second_channel.sweep_first"),
        channel.sweep_first,
        Period::from_ms(0)..=Period::from_secs(30 * 86_400),
    );
    if channel.mode == SecondChannelMode::Off {
        report.warning(
            format!("{key}.second_channel.mode"),
            "второй канал выключен: событие, которое Битрикс24 потеряет, не будет замечено никем; верните \"auto\"",
            "the second channel is off: an event that Bitrix24 loses is noticed by nobody; set it to \"auto\"",
        );
    }
}

/// The list of senders, where somebody uses it.
fn check_sender_list(config: &Config, report: &mut Report) {
    let list = &config.sender_list;
    report.service_url("sender_list.url", &list.url, PlainHttp::from(list.dangerous_allow_http));
    // more often than once a minute is against the vendor's wish; a sandbox has none
    let least = if list.dangerous_allow_http { Period::from_ms(50) } else { Period::from_secs(60) };
    report.period("sender_list.refresh", list.refresh, least..=Period::from_secs(86_400));
    report.period("sender_list.grace", list.grace, list.refresh..=Period::from_secs(30 * 86_400));
    let of_apps = config.apps.iter().map(|app| &app.portal);
    let is_used = config.portals.iter().chain(of_apps).any(|portal| portal.senders == SenderRule::Published);
    if is_used && config.public.trusted_proxies.is_empty() {
        report.warning(
            "public.trusted_proxies",
            "портал принимает события только с адресов Битрикс24: если перед edobridge стоит прокси, впишите его сюда, иначе все события придут с его адреса и будут отвергнуты",
            "a portal takes events from Bitrix24's addresses only: if a proxy stands before edobridge, name it here, or all events come from its address and are refused",
        );
    }
}

fn check_senders(key: &str, portal: &PortalConfig, config: &Config, report: &mut Report) {
    // what a sweep finds needs no events: a portal that cannot reach us at all is lived with
    let is_swept = portal.second_channel.mode != SecondChannelMode::Off;
    let is_found = |trigger: &Trigger| is_swept && trigger.is_swept();
    let of_portal =
        || config.rules.iter().filter(|rule| rule.portal == portal.id && rule.trigger.needs_events());
    let waits_for_events = of_portal().find(|rule| !is_found(&rule.trigger));
    if let Some(rule) = of_portal().find(|rule| is_found(&rule.trigger))
        && portal.application_tokens.is_empty()
        && portal.app.is_none()
    {
        let every = portal.second_channel.sweep_interval;
        report.warning(
            format!("{key}.application_tokens"),
            format!("правило `{}` ждёт событий, а токенов нет: изменения найдёт только обход, раз в {every}. Так и должно быть, если портал не может обратиться к нам; иначе добавьте токен из настроек исходящего вебхука", rule.id),
            format!("the rule `{}` waits for events, and there are no tokens: only a sweep finds what has changed, every {every}. That is as it should be where the portal cannot reach us; else add the token from the settings of the outgoing webhook", rule.id),
        );
    }
    if let Some(rule) = waits_for_events
        && portal.application_tokens.is_empty()
        && portal.app.is_none()
    {
        report.error(
            format!("{key}.application_tokens"),
            format!("правило `{}` ждёт событий портала: добавьте токен приложения из настроек исходящего вебхука", rule.id),
            format!("the rule `{}` waits for events of the portal: add the application token from the settings of the outgoing webhook", rule.id),
        );
    }
    for (index, network) in portal.events_from.iter().enumerate() {
        if network.is_everything() {
            report.warning(
                format!("{key}.events_from[{index}]"),
                "этот диапазон разрешает все адреса: уберите его, пустой список значит то же самое",
                "this range allows every address: remove it, an empty list means the same",
            );
        }
    }
}
