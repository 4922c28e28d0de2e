//! From the configuration to one portal: its clients, its budget, its settings.

use super::authorities::roots;
use super::error::WiringError;
use super::origins::origins;
use super::portal_watches::{channel, owner, workflows};
use crate::actors::capability_watch::CapabilitySettings;
use crate::actors::features::WayIn;
use crate::actors::owner_watch::OwnerSettings;
use crate::actors::second_channel::ChannelSettings;
use crate::actors::workflow_watch::WorkflowSettings;
use crate::actors::{PortalPauses, PortalSetup};
use crate::config::{self, Config};
use crate::domain::PortalId;
use crate::providers::bitrix24::budget::LeakyBucket;
use crate::providers::bitrix24::capabilities::AskedAs;
use crate::providers::bitrix24::client::Encryption;
use crate::providers::bitrix24::credentials::{AppAccess, ExtraAuth};
use crate::providers::bitrix24::{Client, WebhookUrlError};
use crate::providers::http_client::{HttpClient, HttpSettings};
use crate::providers::url_rules::Origin;
use crate::store::Store;
use std::sync::Arc;

/// The portals that are reached by webhook, with their clients, at their last known addresses.
///
/// # Errors
/// [`WiringError`] for a webhook address that cannot be used.
pub async fn portals(config: &Config, store: &Store) -> Result<Vec<PortalSetup>, WiringError> {
    let mut setups = Vec::new();
    for portal in config.portals.iter().filter(|portal| portal.webhook_url.is_some()) {
        let moved_to = store.portal(&portal.id).await?.and_then(|state| state.moved_to);
        let kit = portal_kit(config, portal)?;
        let client = Arc::new(client_over(kit.http.clone(), portal, moved_to.as_deref())?);
        setups.push(kit.setup(portal.id.clone(), client, portal.member_id.clone()));
    }
    Ok(setups)
}

/// What the configuration says of a portal, ready for use; only its client is missing.
pub struct PortalKit {
    /// With the portal's timeouts.
    pub http: HttpClient,
    /// For a box with its own token validator.
    pub extra_auth: Option<ExtraAuth>,
    bucket: Option<LeakyBucket>,
    pauses: PortalPauses,
    transfers_max: usize,
    allowed_origins: Vec<Origin>,
    administrators: Vec<u64>,
    channel: ChannelSettings,
    owner: OwnerSettings,
    workflows: WorkflowSettings,
    capability: CapabilitySettings,
}

impl PortalKit {
    /// The client of the portal as an application.
    pub fn client(&self, origin: Origin, access: AppAccess) -> Client {
        Client::of_app(self.http.clone(), origin, access).with_extra_auth(self.extra_auth.clone())
    }

    /// The setting of the portal called `id`; portals with one `budget_key` share one budget.
    pub fn setup(&self, id: PortalId, client: Arc<Client>, budget_key: Option<String>) -> PortalSetup {
        PortalSetup {
            id,
            client,
            bucket: self.bucket,
            budget_key,
            administrators: self.administrators.clone(),
            channel: self.channel.clone(),
            owner: self.owner.clone(),
            workflows: self.workflows.clone(),
            capability: self.capability,
            pauses: self.pauses,
            transfers_max: self.transfers_max,
            allowed_origins: self.allowed_origins.clone(),
        }
    }
}

/// How we come to a portal, as far as its features depend on it. Whether our changes are marked only the application
/// tells.
pub fn way_in(portal: &config::PortalConfig) -> WayIn {
    let channel = &portal.second_channel;
    WayIn {
        asked_as: if portal.webhook_url.is_some() { AskedAs::Webhook } else { AskedAs::Application },
        reads_queue: match channel.mode {
            config::SecondChannelMode::Auto | config::SecondChannelMode::Both => true,
            config::SecondChannelMode::Sweep | config::SecondChannelMode::Off => false,
        },
        marks: false,
        listens_to_push: channel.push == config::PushMode::On,
    }
}

/// What the configuration says of a portal.
///
/// # Errors
/// [`WiringError`] for a value that cannot be used.
pub fn portal_kit(config: &Config, portal: &config::PortalConfig) -> Result<PortalKit, WiringError> {
    Ok(PortalKit {
        http: portal_http(portal)?,
        extra_auth: extra_auth(portal),
        bucket: portal.rate.limit().map(|limit| LeakyBucket {
            rate_milli_per_s: u32::try_from(limit.milli_per_second).unwrap_or(u32::MAX),
            burst: limit.burst,
        }),
        pauses: PortalPauses {
            query_limit_ms: portal.query_limit_pause.as_ms(),
            query_limit_ms_max: portal.query_limit_pause_max.as_ms(),
            operating_slow_at_ms: portal.operating_slow_at.as_ms(),
            overload_ms: portal.overload_pause.as_ms(),
            gather_ms: portal.batch_gather.as_ms(),
        },
        transfers_max: portal.transfers_max as usize,
        allowed_origins: origins("allowed_download_origins", &portal.allowed_download_origins)?,
        administrators: portal.administrators.clone(),
        channel: channel(portal)?,
        owner: owner(portal, config),
        workflows: workflows(portal),
        capability: CapabilitySettings {
            interval_ms: Some(portal.capability_check_interval.as_ms()).filter(|ms| *ms > 0),
            way_in: way_in(portal),
        },
    })
}

fn portal_http(portal: &config::PortalConfig) -> Result<HttpClient, WiringError> {
    let times = &portal.timeouts;
    Ok(HttpClient::new(&HttpSettings {
        connect_timeout: times.connect.as_duration(),
        read_timeout: times.read.as_duration(),
        total_timeout: times.call.as_duration(),
        extra_root_pem: roots(portal.ca_file.as_ref()),
        ..HttpSettings::default()
    })?)
}

/// The parameter that the portal's own validator wants.
pub fn extra_auth(portal: &config::PortalConfig) -> Option<ExtraAuth> {
    let extra = portal.extra_auth.as_ref()?;
    Some(ExtraAuth { name: extra.name.clone(), value: extra.value.secret().clone() })
}

/// A client of one portal by its webhook.
///
/// # Errors
/// [`WiringError`] for a webhook address that cannot be used, or a portal that has none.
pub fn portal_client(portal: &config::PortalConfig, moved_to: Option<&str>) -> Result<Client, WiringError> {
    client_over(portal_http(portal)?, portal, moved_to)
}

fn client_over(
    http: HttpClient,
    portal: &config::PortalConfig,
    moved_to: Option<&str>,
) -> Result<Client, WiringError> {
    let refused = |source| WiringError::Webhook { portal: portal.id.clone(), source };
    let webhook = portal.webhook_url.as_ref().ok_or_else(|| refused(WebhookUrlError::Path))?;
    let encryption = match portal.dangerous_http_to_box {
        true => Encryption::DangerouslyWaived,
        false => Encryption::Required,
    };
    let client = Client::of_webhook(http, webhook.secret(), moved_to, encryption);
    client.map(|client| client.with_extra_auth(extra_auth(portal))).map_err(refused)
}
