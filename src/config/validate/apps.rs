//! Rules about applications.

use super::{PlainHttp, Report, is_plain_name, portals};
use crate::config::{AppConfig, AppKind, Config, Members, Period};

/// More applications than one service needs: each is a product of its own.
const APPS_MAX: usize = 20;

/// The longest life of a refresh token that older documentation names is 28 days: an idle portal must be renewed
/// well before.
const KEEP_ALIVE_DAYS_MAX: u64 = 27;

pub(super) fn check(config: &Config, report: &mut Report) {
    report.number("apps", config.apps.len() as u64, 0..=APPS_MAX as u64);
    if !config.apps.is_empty() && config.public.base_url.is_none() {
        report.error(
            "public.base_url",
            "есть приложение, поэтому нужен адрес, по которому нас видит Битрикс24",
            "there is an application, so the address is needed at which Bitrix24 sees us",
        );
    }
    for (index, app) in config.apps.iter().enumerate() {
        let key = format!("apps[{index}]");
        check_names(&key, app, &config.apps[..index], report);
        check_hosts(&key, app, report);
        portals::check_budget(&format!("{key}.portal"), &app.portal, report);
        portals::check_timeouts(&format!("{key}.portal"), &app.portal, report);
        let days = |days: u64| Period::from_secs(days * 86_400);
        report.period(format!("{key}.keep_alive"), app.keep_alive, days(1)..=days(KEEP_ALIVE_DAYS_MAX));
        if app.kind == AppKind::Local && app.members == Members::Any {
            report.warning(
                format!("{key}.members"),
                "локальное приложение живёт на одном портале: лучше назвать его member_id, чем разрешать любой",
                "a local application lives in one portal: better name its member_id than allow any",
            );
        }
    }
}

fn check_names(key: &str, app: &AppConfig, earlier: &[AppConfig], report: &mut Report) {
    if !is_plain_name(app.id.as_str()) {
        report.error(
            format!("{key}.id"),
            "имя приложения: от 1 до 64 латинских букв, цифр, дефисов и подчёркиваний",
            "the name of an application is 1 to 64 letters, digits, hyphens and underscores",
        );
    }
    if earlier.iter().any(|other| other.id == app.id || other.client_id == app.client_id) {
        report.error(
            format!("{key}.id"),
            "имя или client_id уже у другого приложения",
            "the name or the client_id belongs to another application already",
        );
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if app.client_id.is_empty() || app.client_id.len() > 128 || !app.client_id.bytes().all(plain) {
        report.error(
            format!("{key}.client_id"),
            "скопируйте «Код приложения (client_id)» из карточки приложения целиком",
            "copy the \"application code (client_id)\" from the application's card whole",
        );
    }
}

fn check_hosts(key: &str, app: &AppConfig, report: &mut Report) {
    if app.oauth_hosts.is_empty() {
        report.error(
            format!("{key}.oauth_hosts"),
            "нужен хотя бы один сервер авторизации, обычно https://oauth.bitrix24.tech/",
            "at least one authorisation server is needed, usually https://oauth.bitrix24.tech/",
        );
    }
    for (index, host) in app.oauth_hosts.iter().enumerate() {
        report.origin(
            &format!("{key}.oauth_hosts[{index}]"),
            host,
            PlainHttp::from(app.dangerous_allow_http),
        );
    }
}
