//! From the configuration to the addresses that events may come from.

use super::error::WiringError;
use crate::actors::sender_list::{SenderList, SenderListSettings, Senders};
use crate::config::{self, Config};
use crate::domain::Clock;
use crate::providers::http_client::{HttpClient, HttpSettings};
use std::sync::Arc;
use std::time::Duration;

/// From where a portal takes events.
pub fn senders(portal: &config::PortalConfig) -> Senders {
    Senders { networks: portal.events_from.clone(), rule: portal.senders }
}

/// The published list of senders.
///
/// # Errors
/// [`WiringError`] if no HTTP client can be made.
pub fn sender_list(config: &Config) -> Result<SenderListSettings, WiringError> {
    let list = &config.sender_list;
    Ok(SenderListSettings {
        url: list.url.clone(),
        http: HttpClient::new(&HttpSettings {
            read_timeout: SENDER_LIST_TIMEOUT,
            total_timeout: SENDER_LIST_TIMEOUT,
            ..HttpSettings::default()
        })?,
        refresh_ms: list.refresh.as_ms(),
        grace_ms: list.grace.as_ms(),
        data_dir: config.data_dir.clone(),
    })
}

/// Nobody waits for the list: the next look comes soon.
const SENDER_LIST_TIMEOUT: Duration = Duration::from_secs(20);

/// The published list, where a portal takes no other addresses.
pub(super) fn sender_list_if_used(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<SenderList>>, WiringError> {
    let of_apps = config.apps.iter().map(|app| &app.portal);
    let is_used =
        config.portals.iter().chain(of_apps).any(|portal| portal.senders == config::SenderRule::Published);
    match is_used {
        true => Ok(Some(Arc::new(SenderList::open(sender_list(config)?, clock.clone())))),
        false => Ok(None),
    }
}
