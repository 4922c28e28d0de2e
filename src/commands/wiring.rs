//! From the configuration to the values that the parts take: the only place where the two meet.

use super::doctor::checks::needs::Needs;
use super::{restored_store, wiring_idocs};
use crate::actors::capability_watch::CapabilitySettings;
use crate::actors::channel_board::ChannelBoard;
use crate::actors::channel_mode::ChannelMode;
use crate::actors::circuit::CircuitSettings;
use crate::actors::features::WayIn;
use crate::actors::folder_watch::{Existing, WatchedFolder};
use crate::actors::gap_report::{GapReport, GapSettings};
use crate::actors::item_sweep::{Rounds, SweepSettings};
use crate::actors::offline_queue::QueueBells;
use crate::actors::owner_watch::{Expiry, OwnerSettings};
use crate::actors::portal_session::Budgets;
use crate::actors::second_channel::{CalledAs, ChannelSettings};
use crate::actors::sender_list::{SenderList, SenderListSettings, Senders};
use crate::actors::workflow_watch::WorkflowSettings;
use crate::actors::{Parts, PortalPauses, PortalSetup};
use crate::config::{self, Config, Period};
use crate::domain::{Clock, CrmItem, PortalId, Secret, SigningService, Text, Timestamp};
use crate::http;
use crate::limits;
use crate::providers::bitrix24::budget::LeakyBucket;
use crate::providers::bitrix24::capabilities::AskedAs;
use crate::providers::bitrix24::client::Encryption;
use crate::providers::bitrix24::credentials::{AppAccess, ExtraAuth};
use crate::providers::bitrix24::{Client, WebhookUrlError};
use crate::providers::easydocs::{self, settings};
use crate::providers::http_client::{HttpClient, HttpClientError, HttpSettings};
use crate::providers::url_rules::{Origin, UrlRefused};
use crate::saga::document::own_signature::{Counterparty, CounterpartyKind, OwnSigner};
use crate::saga::document::rule::EVERY_PORTAL;
use crate::saga::document::rule::{Addressee, IntoItem, ItemRule, OwnSignerRule, Rule, Trigger};
use crate::saga::document::transition::OwnPolicy;
use crate::saga::document::{CommentFile, DriveCopy, Occasion, Policy};
use crate::saga::retry::Schedule;
use crate::store::{Store, StoreError, StoreOptions};
use crate::telemetry::Metrics;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// What the store is told.
pub fn store_options(config: &Config) -> StoreOptions {
    let store = &config.store;
    StoreOptions {
        segment_bytes: store.segment_bytes.bytes(),
        checkpoint_every_bytes: store.checkpoint_every_bytes.bytes(),
        snapshot_every_bytes: store.snapshot_every_bytes.bytes(),
        keep_snapshots: store.keep_snapshots as usize,
        min_free_bytes: store.min_free_disk.bytes(),
        view_cache_bytes: store.view_cache.bytes(),
        spool_bytes_max: store.spool_max.bytes(),
        way_back: store.backup_before_upgrade.then(|| config.data_dir.join("backups")),
        ..StoreOptions::new(config.data_dir.join("store"))
    }
}

/// What decisions depend on.
pub fn policy(config: &Config) -> Policy {
    let (easydocs, retry) = (&config.easydocs, &config.retry);
    Policy {
        server_error: Schedule::finite(pauses(&retry.easydocs_server_error)),
        portal_error: Schedule::finite(pauses(&retry.portal_error)),
        outage: Schedule::finite(stretched(&retry.outage, retry.outage_give_up)),
        jitter_percent: u32::from(retry.jitter_percent),
        settle_ms: easydocs.settle.as_ms(),
        looks: LOOKS,
        rounds_max: ROUNDS_MAX,
        search_available: easydocs.can_search(),
        poll: easydocs.can_ask_status().then(|| Schedule::endless(pauses(&easydocs.poll))),
        callback_grace_ms: easydocs.callback_grace.as_ms(),
        create_is_idempotent: easydocs.create.idempotent_by_external_id,
        repeat_create_on_server_error: easydocs.dangerous_repeat_create_on_5xx,
        reminders_ms: pauses(&easydocs.reminders),
        deadline_ms: easydocs.deadline.as_ms(),
        lease_ms: lease_ms(config),
        throttled_ms: THROTTLED_MS,
        pdf_pause_ms: retry.pdf_pause.as_ms(),
        pdf_wait_ms: retry.pdf_wait.as_ms(),
        doubt_until: None,
        language: config.language.into(),
        own: own_policy(config),
    }
}

/// Where our own signer signs first. Without the section no rule leads there.
fn own_policy(config: &Config) -> OwnPolicy {
    let idocs = config.idocs.as_ref();
    OwnPolicy {
        number_template: idocs.map_or_else(|| "{short}".to_owned(), |i| i.document_number_template.clone()),
        poll: Schedule::endless(idocs.map_or_else(|| vec![60_000], super::wiring_idocs::status_poll)),
        reminders_ms: pauses(&config.signing_page.signer_reminders),
        escalation_ms: config.signing_page.signer_deadline.as_ms(),
        counterparty_reminders_ms: idocs.map(|i| pauses(&i.reminders)).unwrap_or_default(),
        deadline_ms: idocs.map_or(config.easydocs.deadline, |i| i.deadline).as_ms(),
        settle_ms: idocs.map_or(config.easydocs.settle, |i| i.settle).as_ms(),
        service: idocs
            .map_or_else(|| SigningService::Idocs.capabilities(), super::wiring_idocs::capabilities),
        process: Schedule::endless(idocs.map_or_else(|| vec![60_000], |i| pauses(&i.v1.process_poll))),
        process_deadline_ms: idocs.map_or(config.easydocs.deadline, |i| i.v1.process_deadline).as_ms(),
        whole_file_end: idocs.map(|i| i.v1.file_end.clone()).unwrap_or_default(),
    }
}

/// Two looks that find nothing, with a pause between them, before a write is repeated: one alone may have come
/// before a slow request became visible.
const LOOKS: u32 = 2;

/// Unknown outcomes of one write in a row before a person is asked.
const ROUNDS_MAX: u32 = 5;

/// Pause after a limit that named none: the EasyDocs guide's ten seconds.
const THROTTLED_MS: u64 = 10_000;

/// Longer than the longest transfer, so that a lease never ends before its attempt.
fn lease_ms(config: &Config) -> u64 {
    let apps = config.apps.iter().map(|app| &app.portal);
    let portals = config.portals.iter().chain(apps).map(|p| p.timeouts.transfer.as_ms());
    let services =
        config.idocs.iter().map(|idocs| idocs.timeouts.transfer).chain([config.easydocs.timeouts.transfer]);
    portals.chain(services.map(Period::as_ms)).max().unwrap_or(0) * 2 + 60_000
}

pub(super) fn pauses(periods: &[Period]) -> Vec<u64> {
    periods.iter().map(|p| p.as_ms()).collect()
}

/// The listed pauses, the last one repeated until they add up to `give_up`.
fn stretched(periods: &[Period], give_up: Period) -> Vec<u64> {
    let mut delays = pauses(periods);
    let last = delays.last().copied().unwrap_or(60_000).max(1_000);
    let mut total: u64 = delays.iter().sum();
    while total < give_up.as_ms() && delays.len() < STRETCHED_MAX {
        delays.push(last);
        total += last;
    }
    delays
}

/// Bounds the list: ten years of hourly attempts.
const STRETCHED_MAX: usize = 100_000;

/// When circuits open.
pub fn circuit(config: &Config) -> CircuitSettings {
    let circuit = &config.retry.circuit;
    CircuitSettings {
        failures_to_open: circuit.failures,
        probe_after_ms: circuit.probe_interval.as_ms(),
        probe_after_ms_max: circuit.probe_interval_max.as_ms(),
    }
}

/// The rules, as the flow reads them.
pub fn rules(config: &Config) -> Vec<Rule> {
    config.rules.iter().map(|one| rule(config, one)).collect()
}

/// Who of ours signs first: only where the rule names iDocs.
fn own_signer(config: &Config, rule: &config::RuleConfig) -> Option<OwnSignerRule> {
    if !rule.service.capabilities().needs_signing_page() {
        return None;
    }
    let known = config.idocs.as_ref().and_then(|idocs| idocs.signer(&rule.signer));
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let kind = if rule.counterparty_is_individual {
        CounterpartyKind::Individual
    } else {
        CounterpartyKind::Company
    };
    Some(OwnSignerRule {
        signer: OwnSigner {
            name: rule.signer.clone(),
            employee_id: known.map(|signer| signer.employee_id.clone()).unwrap_or_default(),
            user: known.and_then(|signer| signer.bitrix_user),
            escalate_to: known.map(|signer| signer.escalate_to.clone()).unwrap_or_default(),
            group: rule.document_group.clone(),
            counterparty: Counterparty {
                bin: rule.counterparty_bin.clone(),
                email: rule.counterparty_email.clone(),
                kind,
            },
        },
        bin_field: given(&rule.counterparty_bin_field),
        email_field: given(&rule.counterparty_email_field),
    })
}

fn rule(config: &Config, rule: &config::RuleConfig) -> Rule {
    Rule {
        id: rule.id.clone(),
        portal: rule.portal.clone(),
        trigger: trigger(&rule.trigger),
        include: rule.include.iter().map(|p| p.as_str().to_owned()).collect(),
        exclude: rule.exclude.iter().map(|p| p.as_str().to_owned()).collect(),
        size_min: rule.min_size.bytes(),
        size_max: rule.max_size.bytes(),
        route_id: rule.route_id.clone(),
        deliver_to: match rule.deliver_to {
            config::Delivery::Same | config::Delivery::Nowhere => None,
            config::Delivery::Folder(id) => Some(id),
        },
        suffix: rule.suffix.clone(),
        comment: rule.comment,
        notify: rule.notify.iter().map(addressee).collect(),
        notify_on: rule.notify_on.iter().map(occasion).collect(),
        item: item(&rule.crm_item),
        drive: match rule.deliver_to {
            config::Delivery::Nowhere => DriveCopy::NotWanted,
            config::Delivery::Same | config::Delivery::Folder(_) => DriveCopy::Wanted,
        },
        into_item: into_item(rule),
        signer: own_signer(config, rule),
    }
}

fn into_item(rule: &config::RuleConfig) -> IntoItem {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    IntoItem {
        field: given(&rule.into_field),
        comment_file: if rule.comment_file { CommentFile::Attached } else { CommentFile::None },
        stage_on_signed: given(&rule.stage_on_signed),
        stage_on_refused: given(&rule.stage_on_refused),
        stages_from: rule.stages_from.clone(),
    }
}

fn trigger(trigger: &config::Trigger) -> Trigger {
    match trigger {
        config::Trigger::Robot => Trigger::Robot,
        config::Trigger::Folder { folder_id, .. } => Trigger::Folder { folder_id: *folder_id },
        config::Trigger::FileEvent { folders: config::Folders::Any } => {
            Trigger::FileEvent { folders: Vec::new() }
        }
        config::Trigger::FileEvent { folders: config::Folders::Only(ids) } => {
            Trigger::FileEvent { folders: ids.clone() }
        }
        config::Trigger::DealStage { entity_type_id, stages, file_field } => Trigger::Stage {
            entity_type_id: *entity_type_id,
            stages: stages.clone(),
            file_field: file_field.clone(),
        },
        config::Trigger::GeneratedDocument { templates, entity_types } => {
            Trigger::Generated { template_ids: templates.clone(), entity_type_ids: entity_types.clone() }
        }
    }
}

fn addressee(recipient: &config::Recipient) -> Addressee {
    match recipient {
        config::Recipient::Responsible => Addressee::Responsible,
        config::Recipient::Creator => Addressee::Creator,
        config::Recipient::User(id) => Addressee::User(*id),
    }
}

fn occasion(occasion: &config::Occasion) -> Occasion {
    match occasion {
        config::Occasion::Signed => Occasion::Signed,
        config::Occasion::Refused => Occasion::Refused,
        config::Occasion::Reminder => Occasion::Reminder,
    }
}

fn item(source: &config::CrmItemSource) -> ItemRule {
    match source {
        config::CrmItemSource::None => ItemRule::None,
        config::CrmItemSource::Fixed { entity_type_id, id } => {
            ItemRule::Fixed(CrmItem { entity_type_id: *entity_type_id, id: *id })
        }
        config::CrmItemSource::FromName { entity_type_id, template } => {
            ItemRule::FromName { entity_type_id: *entity_type_id, before: template.before().to_owned() }
        }
    }
}

/// The folders that are polled.
pub fn watches(config: &Config) -> Vec<WatchedFolder> {
    let watch = |rule: &config::RuleConfig| match &rule.trigger {
        config::Trigger::Folder { folder_id, interval, overlap, existing } => Some(WatchedFolder {
            portal: rule.portal.clone(),
            folder_id: *folder_id,
            interval_ms: interval.as_ms(),
            overlap: u64::from(*overlap),
            existing: match existing {
                config::Existing::Skip => Existing::Skip,
                config::Existing::Send => Existing::Send,
            },
        }),
        config::Trigger::FileEvent { .. }
        | config::Trigger::DealStage { .. }
        | config::Trigger::GeneratedDocument { .. }
        | config::Trigger::Robot => None,
    };
    let mut all: Vec<WatchedFolder> = Vec::new();
    for folder in config.rules.iter().filter_map(watch) {
        // Two rules may share a folder: it is polled once, as often as the more eager rule wants.
        match all
            .iter_mut()
            .find(|known| known.portal == folder.portal && known.folder_id == folder.folder_id)
        {
            Some(known) => known.interval_ms = known.interval_ms.min(folder.interval_ms),
            None => all.push(folder),
        }
    }
    all
}

/// A value of the configuration that a part cannot use, although it is well-formed.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// An HTTP client cannot be made.
    #[error("an HTTP client cannot be made")]
    Http(#[from] HttpClientError),
    /// The address of a portal's webhook is not usable.
    #[error("the webhook address of portal {portal} is not usable")]
    Webhook {
        /// Which portal.
        portal: PortalId,
        /// What is wrong; never quotes the address.
        #[source]
        source: WebhookUrlError,
    },
    /// An address is not an origin.
    #[error("{key} is not usable as an origin")]
    Origin {
        /// The key.
        key: &'static str,
        /// What is wrong.
        #[source]
        source: UrlRefused,
    },
    /// EasyDocs is not configured well.
    #[error("the section easydocs is not usable")]
    EasyDocs(#[from] easydocs::client::SettingsError),
    /// The template of what callbacks sign is not readable.
    #[error("easydocs.signature.signed_content is not usable")]
    SignedContent(#[from] easydocs::settings::BadSignedContent),
    /// A key that seals tokens is none.
    #[error("{key} is not usable")]
    SealKey {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong; never quotes it.
        #[source]
        source: crate::store::portal_seal::BadSealKey,
    },
    /// The made seal key cannot be read or made.
    #[error("the seal key is not usable")]
    SealKeyFile(#[from] crate::store::SealKeyError),
    /// A pattern for a certificate's subject is none.
    #[error("{key} is not usable")]
    SubjectPattern {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong.
        #[source]
        source: crate::domain::subject_pattern::InvalidSubjectPattern,
    },
    /// iDocs is not configured well.
    #[error("the section idocs is not usable")]
    Idocs(#[from] crate::providers::idocs::client::SettingsError),
    /// The template of a route is not readable.
    #[error("idocs.route.template is not usable")]
    Route(#[from] crate::providers::idocs::route_template::BadRouteTemplate),
    /// The key of the signing links cannot be read or made.
    #[error("the key of the signing links is not usable")]
    LinkKey(#[from] super::signing_link_key::LinkKeyError),
    /// The operator's token cannot be read or made.
    #[error("the operator's token is not usable")]
    Token(#[from] http::operator_token::TokenError),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
}

impl WiringError {
    /// The sentence for a person: the whole chain, since each link names a key or a file.
    pub fn text(&self) -> Text {
        let chain = crate::actors::error_chain(self);
        Text::new(
            format!("Настройка непригодна: {chain}. Проверьте её командой `edobridge config check`."),
            format!("A setting is not usable: {chain}. Check it with `edobridge config check`."),
        )
    }
}

/// What all actors share.
///
/// # Errors
/// [`WiringError`] for a value that cannot be used.
pub fn parts(
    config: &Config,
    store: Store,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<Parts, WiringError> {
    let first = config.portals.first();
    let gaps = Arc::new(GapReport::new(gap_settings(config), clock.now(), metrics.clone()));
    let senders = sender_list_if_used(config, &clock)?;
    let policy = restored_store::with_doubt(policy(config), &store, clock.now());
    Ok(Parts {
        store,
        clock,
        metrics,
        gaps,
        queue_bells: QueueBells::default(),
        policy,
        rules: rules(config),
        easydocs: Arc::new(easydocs_settings(config)?),
        idocs: wiring_idocs::parts(config)?,
        callback_url: callback_url(config),
        notify_client_id: first.map_or_else(|| "edobridge".to_owned(), |p| p.notify_client_id.clone()),
        signing_calls_max: config.easydocs.limits.concurrent_calls as usize,
        small_upload_bytes_max: limits::SMALL_UPLOAD_BYTES_MAX,
        circuit: circuit(config),
        budgets: Budgets::default(),
        sender_list: senders,
        channels: ChannelBoard::default(),
        capabilities: Arc::default(),
        owners: Arc::default(),
        workflows: Arc::default(),
        installations: OnceLock::new(),
        work_arrived: Arc::new(Notify::new()),
        draining: AtomicBool::new(false),
    })
}

/// Whose webhooks may miss something, and how long their events may be under way.
fn gap_settings(config: &Config) -> GapSettings {
    let mute = config.portals.iter().filter(|portal| portal.application_tokens.is_empty());
    GapSettings {
        grace_ms: config.portals.iter().map(|p| (p.id.clone(), p.second_channel.grace.as_ms())).collect(),
        without_webhook: mute.map(|portal| portal.id.clone()).collect(),
    }
}

/// Where EasyDocs is told to send callbacks.
fn callback_url(config: &Config) -> Option<String> {
    let base = config.public.base_url.as_ref()?;
    Some(format!("{}/easydocs/callback", base.as_str().trim_end_matches('/')))
}

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
fn workflows(portal: &config::PortalConfig) -> WorkflowSettings {
    WorkflowSettings {
        interval_ms: Some(portal.workflow_check_interval.as_ms()).filter(|ms| *ms > 0),
        silent_ms: portal.workflow_silent_after.as_ms(),
        administrators: portal.administrators.clone(),
    }
}

/// The second channels of a portal.
fn channel(portal: &config::PortalConfig) -> Result<ChannelSettings, WiringError> {
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

/// The certificates of a private authority, as an HTTP client takes them.
pub fn roots(file: Option<&config::CaFile>) -> Vec<Vec<u8>> {
    file.map(|file| file.pem().to_vec()).into_iter().collect()
}

/// The certificates of all private authorities of the configuration, for questions that carry no secret.
pub fn all_roots(config: &Config) -> Vec<Vec<u8>> {
    let of_apps = config.apps.iter().flat_map(|app| [app.ca_file.as_ref(), app.portal.ca_file.as_ref()]);
    let of_portals = config.portals.iter().map(|portal| portal.ca_file.as_ref());
    of_portals.chain(of_apps).chain([config.easydocs.ca_file.as_ref()]).flat_map(roots).collect()
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

/// A client of EasyDocs.
///
/// # Errors
/// [`WiringError`] for settings that cannot be used.
pub fn easydocs_client(config: &Config) -> Result<easydocs::Client, WiringError> {
    let times = &config.easydocs.timeouts;
    let http = HttpClient::new(&HttpSettings {
        connect_timeout: times.connect.as_duration(),
        read_timeout: times.read.as_duration(),
        total_timeout: times.call.as_duration(),
        extra_root_pem: roots(config.easydocs.ca_file.as_ref()),
        ..HttpSettings::default()
    })?;
    Ok(easydocs::Client::new(http, easydocs_settings(config)?)?)
}

pub(super) fn origins(key: &'static str, urls: &[url::Url]) -> Result<Vec<Origin>, WiringError> {
    let parse =
        |url: &url::Url| Origin::parse(url.as_str()).map_err(|source| WiringError::Origin { key, source });
    urls.iter().map(parse).collect()
}

/// How EasyDocs is spoken to.
///
/// # Errors
/// [`WiringError`] for an origin or a template that cannot be read.
pub fn easydocs_settings(config: &Config) -> Result<easydocs::Settings, WiringError> {
    let e = &config.easydocs;
    Ok(easydocs::Settings {
        base_url: e.base_url.to_string(),
        auth: settings::Auth {
            header: e.auth.header.clone(),
            scheme: e.auth.scheme.clone(),
            api_key: e.api_key.as_ref().map_or_else(|| Secret::new(""), |key| key.secret().clone()),
        },
        create: create_settings(&e.create),
        download: settings::Download {
            path: e.download.path.clone(),
            allowed_origins: origins("easydocs.download.allowed_origins", &e.download.allowed_origins)?,
            prefer: settings::DownloadFrom::Template,
        },
        health_path: Some(e.health.path.clone()).filter(|path| !path.is_empty()),
        status: e.can_ask_status().then(|| settings::Status {
            path: e.status.path.clone(),
            status: e.status.status.clone(),
            external_id: String::new(),
            file_url: String::new(),
        }),
        search: e.can_search().then(|| settings::Search {
            path: e.search.path.clone(),
            items: e.search.items.clone(),
            id: e.search.id.clone(),
            external_id: e.search.external_id.clone(),
            status: e.search.status.clone(),
        }),
        callback: callback_shape(&e.callback),
        signature: signature(&e.signature)?,
        limits: settings::Limits {
            callback_bytes: e.limits.callback_bytes.bytes(),
            download_bytes: e.limits.download_bytes.bytes(),
            upload_bytes: e.limits.upload_bytes.bytes(),
        },
    })
}

fn create_settings(create: &config::CreateConfig) -> settings::Create {
    let fields = &create.fields;
    settings::Create {
        method: match create.method {
            config::CreateMethod::Post => "POST".to_owned(),
            config::CreateMethod::Put => "PUT".to_owned(),
        },
        path: create.path.clone(),
        mode: match create.mode {
            config::CreateMode::JsonBase64 => settings::CreateMode::JsonBase64,
            config::CreateMode::Multipart => settings::CreateMode::Multipart,
        },
        fields: settings::CreateFields {
            name: fields.name.clone(),
            file_content: match create.mode {
                config::CreateMode::JsonBase64 => fields.file_content.clone(),
                config::CreateMode::Multipart => create.file_part.clone(),
            },
            file_name: fields.file_name.clone(),
            route_id: fields.route_id.clone(),
            external_id: fields.external_id.clone(),
            callback_url: fields.callback_url.clone(),
        },
        extra: create.extra.clone(),
        response_id: create.response.id.clone(),
        response_status: create.response.status.clone(),
        success_codes: create.success_codes.clone(),
    }
}

fn callback_shape(callback: &config::CallbackConfig) -> settings::CallbackShape {
    let fields = &callback.fields;
    settings::CallbackShape {
        event: fields.event.clone(),
        document_id: fields.document_id.clone(),
        external_id: fields.external_id.clone(),
        status: fields.status.clone(),
        file_url: fields.file_url.clone(),
        timestamp: fields.timestamp.clone(),
        events: callback.events.clone(),
        success: callback.status.success.clone(),
        refused: callback.status.refused.clone(),
        answer_code: callback.answer_code,
        answer_body: callback.answer_body.clone(),
    }
}

fn signature(signature: &config::SignatureConfig) -> Result<settings::Signature, WiringError> {
    Ok(settings::Signature {
        header: signature.header.clone(),
        algorithm: match signature.algorithm {
            config::SignatureAlgorithm::HmacSha256 => settings::Algorithm::HmacSha256,
            config::SignatureAlgorithm::HmacSha1 => settings::Algorithm::HmacSha1,
            config::SignatureAlgorithm::HmacSha512 => settings::Algorithm::HmacSha512,
        },
        encoding: match signature.encoding {
            config::SignatureEncoding::Hex => settings::Encoding::Hex,
            config::SignatureEncoding::Base64 => settings::Encoding::Base64,
            config::SignatureEncoding::Base64url => settings::Encoding::Base64Url,
            config::SignatureEncoding::Auto => settings::Encoding::Auto,
        },
        prefix: signature.prefix.clone(),
        signed_content: signature.signed_content.parse()?,
        secrets: signature.secrets.iter().map(|s| s.secret().clone()).collect(),
    })
}

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
            idocs: wiring_idocs::door(config)?,
        },
        operator: http::OperatorSettings { listen: config.operator.listen, token, zone: zone(config) },
    })
}

/// In which zone people read times.
pub fn zone(config: &Config) -> jiff::tz::TimeZone {
    // validation has refused unknown names: what is left is a zone that the system's database lost meanwhile
    jiff::tz::TimeZone::get(&config.time.zone).unwrap_or(jiff::tz::TimeZone::UTC)
}

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

fn sender_list_if_used(
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

fn portal_gate(portal: &config::PortalConfig) -> http::PortalGate {
    http::PortalGate {
        id: portal.id.clone(),
        member_id: portal.member_id.clone(),
        application_tokens: portal.application_tokens.iter().map(|t| t.secret().clone()).collect(),
        senders: senders(portal),
    }
}
