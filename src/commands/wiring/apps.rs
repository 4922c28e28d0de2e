//! From the configuration to applications: their authorisation servers, the portals that may install them, and the
//! key that seals their tokens.

use super::authorities::roots;
use super::error::WiringError;
use super::portal::{PortalKit, portal_kit};
use super::senders::senders;
use crate::actors::installations::{AppSetup, Apps, MakePortal, MakeVisitor, Transport};
use crate::config::{AppConfig, Config, PortalConfig, SecretRef};
use crate::domain::{MemberId, PortalId};
use crate::providers::bitrix24::AppAccess;
use crate::providers::bitrix24::oauth::{ClientKeys, OauthClient};
use crate::providers::http_client::{HttpClient, HttpSettings};
use crate::providers::url_rules::Origin;
use crate::store::{Installations, KeyPlace, SealKey, SealRing, Store, portal_seal_key};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long an authorisation server is waited for: a person looks at the page meanwhile.
const OAUTH_TIMEOUT: Duration = Duration::from_secs(20);

/// The applications with what is on record of them; none if none is configured.
///
/// # Errors
/// [`WiringError`] for a value that cannot be used, a key that cannot be read, or a store that cannot.
pub async fn apps(config: &Config, store: &Store) -> Result<Option<Apps>, WiringError> {
    if config.apps.is_empty() {
        return Ok(None);
    }
    let records = records(config, store)?;
    let installed = records.all().await?;
    let list = config.apps.iter().map(|app| app_setup(config, app)).collect::<Result<_, _>>()?;
    Ok(Some(Apps {
        list,
        records,
        installed,
        base_url: config.public.base_url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned()),
        webhook_portals: webhook_portals(config),
    }))
}

/// The installations on record.
///
/// # Errors
/// [`WiringError`] for a key that cannot be read.
pub fn records(config: &Config, store: &Store) -> Result<Installations, WiringError> {
    let place = match &config.store.seal_key {
        Some(_) => KeyPlace::Configured,
        None => KeyPlace::File(config.data_dir.clone()),
    };
    Ok(Installations::new(store.clone(), seal_ring(config)?, place))
}

/// The keys that seal tokens: those of the configuration, or the one in the data directory, which is made if need be.
///
/// # Errors
/// [`WiringError`] for a key that is none, or a file that cannot be read or made.
pub fn seal_ring(config: &Config) -> Result<SealRing, WiringError> {
    let read = |key: &'static str, secret: &SecretRef| {
        SealKey::parse(secret.secret().expose()).map_err(|source| WiringError::SealKey { key, source })
    };
    let old: Vec<SealKey> = config
        .store
        .old_seal_keys
        .iter()
        .map(|secret| read("store.old_seal_keys", secret))
        .collect::<Result<_, _>>()?;
    let Some(present) = &config.store.seal_key else {
        let ring = portal_seal_key::load_or_make(&config.data_dir)?;
        return Ok(ring.with_older(old));
    };
    let ring = SealRing::new(read("store.seal_key", present)?, old);
    // whoever moves from the made key to a configured one need not name the old one
    if portal_seal_key::exists(&config.data_dir) {
        let made = portal_seal_key::load_or_make(&config.data_dir)?;
        return Ok(ring.with_older(made.keys()));
    }
    Ok(ring)
}

fn webhook_portals(config: &Config) -> BTreeMap<MemberId, PortalId> {
    let with_webhook = config.portals.iter().filter(|portal| portal.webhook_url.is_some());
    with_webhook
        .filter_map(|portal| Some((portal.member_id.as_ref()?.parse().ok()?, portal.id.clone())))
        .collect()
}

fn oauth_http(app: &AppConfig) -> Result<HttpClient, WiringError> {
    Ok(HttpClient::new(&HttpSettings {
        read_timeout: OAUTH_TIMEOUT,
        total_timeout: OAUTH_TIMEOUT,
        extra_root_pem: roots(app.ca_file.as_ref()),
        ..HttpSettings::default()
    })?)
}

/// The way to the authorisation servers of an application.
///
/// # Errors
/// [`WiringError`] for a host that cannot be used.
pub fn oauth_client(app: &AppConfig) -> Result<OauthClient, WiringError> {
    let hosts = app.oauth_hosts.iter().map(|url| Origin::parse(url.as_str()));
    let hosts = hosts
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| WiringError::Origin { key: "apps.oauth_hosts", source })?;
    let keys =
        ClientKeys { client_id: app.client_id.clone(), client_secret: app.client_secret.secret().clone() };
    Ok(OauthClient::new(oauth_http(app)?, keys, hosts))
}

fn app_setup(config: &Config, app: &AppConfig) -> Result<AppSetup, WiringError> {
    let oauth = oauth_client(app)?;
    let entries = entries(config, app);
    let named =
        entries.iter().map(|(member, entry)| (member.clone(), (entry.id.clone(), senders(entry)))).collect();
    Ok(AppSetup {
        id: app.id.clone(),
        oauth,
        members: app.members.clone(),
        auth_connector: Some(app.auth_connector.clone()).filter(|name| !name.is_empty()),
        keep_alive_ms: app.keep_alive.as_ms(),
        transport: if app.dangerous_allow_http { Transport::HttpToLoopback } else { Transport::HttpsOnly },
        named,
        senders: senders(&app.portal),
        make_visitor: make_visitor(config, &entries, &app.portal)?,
        make_portal: make_portal(config, &entries, &app.portal)?,
    })
}

/// Portals with an entry of their own for this application.
fn entries<'c>(config: &'c Config, app: &AppConfig) -> BTreeMap<MemberId, &'c PortalConfig> {
    let of_app = config.portals.iter().filter(|portal| portal.app.as_ref() == Some(&app.id));
    of_app.filter_map(|portal| Some((portal.member_id.as_ref()?.parse().ok()?, portal))).collect()
}

/// A visitor speaks to a portal as its session will: a box with its own authority or validator answers nobody else.
fn make_visitor(
    config: &Config,
    entries: &BTreeMap<MemberId, &PortalConfig>,
    default: &PortalConfig,
) -> Result<MakeVisitor, WiringError> {
    let kits = kits(config, entries)?;
    let default = portal_kit(config, default)?;
    Ok(Arc::new(move |member: &MemberId, origin: Origin, access: AppAccess| {
        kits.get(member).unwrap_or(&default).client(origin, access)
    }))
}

fn kits(
    config: &Config,
    entries: &BTreeMap<MemberId, &PortalConfig>,
) -> Result<BTreeMap<MemberId, PortalKit>, WiringError> {
    let kit = |(member, entry): (&MemberId, &&PortalConfig)| Ok((member.clone(), portal_kit(config, entry)?));
    entries.iter().map(kit).collect()
}

/// Everything that may fail is done here, so that an installation cannot fail because of the configuration.
fn make_portal(
    config: &Config,
    entries: &BTreeMap<MemberId, &PortalConfig>,
    default: &PortalConfig,
) -> Result<MakePortal, WiringError> {
    let prepared = kits(config, entries)?;
    let default = portal_kit(config, default)?;
    Ok(Arc::new(move |id: PortalId, member: &MemberId, origin: Origin, access: AppAccess| {
        let kit = prepared.get(member).unwrap_or(&default);
        let connector = access.auth_connector.clone();
        let client = Arc::new(kit.client(origin, access));
        let mut setup = kit.setup(id, client, Some(member.to_string()));
        setup.capability.way_in.marks = connector.is_some();
        setup.channel.connector = connector;
        setup
    }))
}
