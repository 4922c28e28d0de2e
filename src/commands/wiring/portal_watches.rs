//! From the configuration to what is watched at a portal: its owner, its workflows, what its webhook does not tell.

use super::authorities::roots;
use super::error::WiringError;
use super::time_zone::zone;
use crate::actors::channel_mode::ChannelMode;
use crate::actors::item_sweep::{Rounds, SweepSettings};
use crate::actors::owner_watch::{Expiry, OwnerSettings};
use crate::actors::second_channel::{CalledAs, ChannelSettings};
use crate::actors::workflow_watch::WorkflowSettings;
use crate::commands::doctor::checks::needs::Needs;
use crate::config::{self, Config};
use crate::domain::Timestamp;
use crate::providers::http_client::{HttpClient, HttpSettings};
use crate::saga::document::rule::EVERY_PORTAL;
use std::time::Duration;

/// How the owner of a portal's webhook is watched.
pub fn owner(portal: &config::PortalConfig, config: &Config) -> OwnerSettings {
    let rules: Vec<_> = config
        .rules
        .iter()
        .filter(|rule| rule.portal == portal.id || rule.portal.as_str() == EVERY_PORTAL)
        .collect();
    let expiry = |date: jiff::civil::Date| {
        let midnight = date.to_zoned(zone(config)).ok()?;
        Some(Expiry { at: Timestamp(midnight.timestamp().as_millisecond()), day: date.to_string() })
    };
    OwnerSettings {
        interval_ms: Some(portal.owner_check_interval.as_ms()).filter(|ms| *ms > 0),
        expires: portal.webhook_expires.and_then(expiry),
        scopes: Needs::of(&rules).scopes.into_iter().map(str::to_owned).collect(),
        administrators: portal.administrators.clone(),
    }
}

/// How workflows of a portal that hang are looked for.
pub(super) fn workflows(portal: &config::PortalConfig) -> WorkflowSettings {
    WorkflowSettings {
        interval_ms: Some(portal.workflow_check_interval.as_ms()).filter(|ms| *ms > 0),
        silent_ms: portal.workflow_silent_after.as_ms(),
        administrators: portal.administrators.clone(),
    }
}

/// The second channels of a portal.
pub(super) fn channel(portal: &config::PortalConfig) -> Result<ChannelSettings, WiringError> {
    let channel = &portal.second_channel;
    Ok(ChannelSettings {
        mode: match channel.mode {
            config::SecondChannelMode::Auto => ChannelMode::Auto,
            config::SecondChannelMode::Sweep => ChannelMode::Sweep,
            config::SecondChannelMode::Both => ChannelMode::Both,
            config::SecondChannelMode::Off => ChannelMode::Off,
        },
        called_as: if portal.webhook_url.is_some() { CalledAs::Webhook } else { CalledAs::Application },
        connector: None,
        sweep: SweepSettings {
            interval_ms: channel.sweep_interval.as_ms(),
            overlap_ms: channel.sweep_overlap.as_ms(),
            first_ms: channel.sweep_first.as_ms(),
            rounds: Rounds::ForEver,
        },
        offline_interval_ms: channel.offline_interval.as_ms(),
        push: match channel.push {
            config::PushMode::On => Some(HttpClient::new(&HttpSettings {
                read_timeout: PUSH_POLL_MAX,
                total_timeout: PUSH_POLL_MAX,
                extra_root_pem: roots(portal.ca_file.as_ref()),
                ..HttpSettings::default()
            })?),
            config::PushMode::Off => None,
        },
    })
}

/// Longer than a push server holds a poll without news (40 s in the vendor's default).
const PUSH_POLL_MAX: Duration = Duration::from_secs(90);
