//! The published list of senders, where a portal takes events from it only.

use crate::actors::sender_list::SenderList;
use crate::commands::doctor::examination::Examination;
use crate::commands::doctor::finding::{Finding, Notebook};
use crate::commands::wiring;
use crate::config::{Config, SenderRule};
use crate::domain::Text;
use crate::telemetry::SystemClock;
use std::sync::Arc;

/// What the section is called.
pub fn title() -> Text {
    Text::new("Адреса отправителей", "Addresses of senders")
}

/// Whether any portal takes events from the published list only.
pub fn is_wanted(config: &Config) -> bool {
    let of_apps = config.apps.iter().map(|app| &app.portal);
    config.portals.iter().chain(of_apps).any(|portal| portal.senders == SenderRule::Published)
}

/// Fetches the list.
pub async fn check(examination: &Examination, notes: Notebook) {
    let config = examination.config();
    let settings = match wiring::sender_list(config) {
        Ok(settings) => settings,
        Err(error) => return notes.add(Finding::problem("senders", error.text().ru, error.text().en)),
    };
    // a list of its own: what the service has kept is the service's
    let list = SenderList::open(settings.without_memory(), Arc::new(SystemClock));
    match list.refresh().await {
        Ok(count) => notes.add(Finding::ok(
            "senders",
            format!("Список адресов Битрикс24 получен: {count}."),
            format!("The list of Bitrix24's addresses was fetched: {count}."),
        )),
        Err(error) => notes.add(
            Finding::problem(
                "senders",
                format!("Список адресов Битрикс24 не получен: {error}."),
                format!("The list of Bitrix24's addresses was not fetched: {error}."),
            )
            .fix(
                format!("Откройте доступ к {} или верните senders = \"any\". Пока списка нет, решает токен.", config.sender_list.url),
                format!("Open the way to {}, or set senders = \"any\". As long as there is no list, the token decides.", config.sender_list.url),
            ),
        ),
    }
    if config.public.trusted_proxies.is_empty() {
        notes.add(
            Finding::warning(
                "senders",
                "trusted_proxies пуст: если перед edobridge стоит прокси, все события придут с его адреса и будут отвергнуты.",
                "trusted_proxies is empty: if a proxy stands before edobridge, all events come from its address and are refused.",
            )
            .fix("Впишите адрес прокси в [public] trusted_proxies.", "Put the proxy's address into [public] trusted_proxies."),
        );
    }
}
