//! From the configuration to the doors: what they listen on, and whom they let in.

use super::easydocs::easydocs_settings;
use super::error::WiringError;
use super::idocs;
use super::senders::senders;
use super::time_zone::zone;
use crate::config::{self, Config};
use crate::http;
use std::num::NonZeroU32;
use std::sync::Arc;

/// What the doors are told.
///
/// # Errors
/// [`WiringError`] when the operator's token can neither be read nor made.
pub fn http_settings(config: &Config) -> Result<http::Settings, WiringError> {
    let (public, e) = (&config.public, &config.easydocs);
    let token = match &config.operator.token {
        Some(token) => token.secret().clone(),
        None => http::operator_token::load_or_make(&config.data_dir)?,
    };
    Ok(http::Settings {
        public: http::PublicSettings {
            listen: public.listen,
            workers: public.workers,
            max_connections: public.max_connections,
            head_timeout: public.head_timeout.as_duration(),
            body_timeout: public.body_timeout.as_duration(),
            keep_alive: public.keep_alive.as_duration(),
            drain: public.drain.as_duration(),
            trusted_proxies: public.trusted_proxies.clone(),
            bitrix: http::BitrixSettings {
                body_bytes_max: public.webhook_bytes.as_usize(),
                per_minute: NonZeroU32::new(public.webhook_per_minute),
                events: Vec::new(),
                portals: config.portals.iter().map(portal_gate).collect(),
            },
            easydocs: Some(http::EasydocsSettings {
                senders: e.callback_from.clone(),
                per_minute: NonZeroU32::new(e.limits.callback_per_minute).unwrap_or(NonZeroU32::MIN),
                protocol: Arc::new(easydocs_settings(config)?),
            }),
            idocs: idocs::door(config)?,
        },
        operator: http::OperatorSettings { listen: config.operator.listen, token, zone: zone(config) },
    })
}

fn portal_gate(portal: &config::PortalConfig) -> http::PortalGate {
    http::PortalGate {
        id: portal.id.clone(),
        member_id: portal.member_id.clone(),
        application_tokens: portal.application_tokens.iter().map(|t| t.secret().clone()).collect(),
        senders: senders(portal),
    }
}
