//! Actors: orchestration only. Receive, load, decide, commit, start, report; no business rule and no wire format.
//!
//! ```text
//! http ──▶ WebhookIngress ──▶ inbox ┄bell┄▶ RetryScheduler ──▶ NoticeRouter ──▶ DocumentSaga ──▶ EffectRunner ──▶ PortalSession / EasyDocs
//!                                                 ▲  timers                          │                   │
//!                                                 └──────────── Deliver(event) ◀─────┴───────────────────┘
//! ```
//! Start order: sessions, runner, scheduler, watches; an ingress on each thread with doors, when it is first asked. Stop order: the reverse, each waiting for what it
//! has in hand, at most [`STOP_PATIENCE`]; what is cut off is repeated or looked for after the next start.

mod batch_room;
pub mod bindings;
pub mod capability_board;
pub mod capability_watch;
pub mod channel_board;
pub mod channel_mode;
pub mod circuit;
mod circuit_call;
mod crash_point;
pub mod decision;
pub mod deliver;
pub mod document_saga;
pub mod effect_runner;
mod error_chain;
mod fair_turns;
pub mod features;
pub mod folder;
pub mod folder_watch;
pub mod found;
pub mod gap_report;
pub mod idocs_bulk;
pub mod idocs_history;
pub mod idocs_work;
pub mod installations;
pub mod item_reader;
mod item_rules;
pub mod item_sweep;
mod item_work;
mod local_failure;
pub mod notice_router;
pub mod notice_way;
pub mod offline_queue;
pub mod order;
pub mod own_write;
pub mod owner_watch;
pub mod portal_session;
mod portal_work;
pub mod push_channel;
pub mod retry_scheduler;
mod robot_desk;
pub mod second_channel;
pub mod sender_list;
pub mod session_registry;
pub mod signing_desk;
pub mod signing_link_order;
pub mod signing_links;
pub mod signing_room;
mod spooled_file;
pub mod token_keeper;
pub mod trigger;
pub mod webhook_ingress;
pub mod workflow_watch;

pub use error_chain::error_chain;
pub use webhook_ingress::AcceptError;

use crate::domain::{Clock, PortalId, SagaId, Text, Timestamp};
use crate::providers::bitrix24::Client;
use crate::providers::bitrix24::budget::LeakyBucket;
use crate::providers::easydocs;
use crate::providers::url_rules::Origin;
use crate::saga::document::rule::rule_for_field;
use crate::saga::document::{
    DocumentSaga as Record, Event, OperatorAction, OwnEvent, Policy, Rule, Source, Step, words,
};
use crate::store::{Accepted, NewNotice, Readiness, Store, StoreHealth};
use crate::telemetry::metrics::CircuitState;
use crate::telemetry::metrics::Metrics;
use actix::prelude::*;
use capability_board::{CapabilityBoard, CapabilityView};
use capability_watch::CapabilitySettings;
use channel_board::{ChannelBoard, ChannelView};
use circuit::{CircuitSettings, CircuitView};
use decision::HandleError;
use deliver::Deliver;
use effect_runner::EffectRunner;
use folder_watch::WatchedFolder;
use gap_report::{Gap, GapReport, GapTotals};
use idocs_work::IdocsParts;
use installations::{Apps, InstallationView, Registry};
use item_reader::ItemReader;
use notice_router::NoticeRouter;
use offline_queue::QueueBells;
use owner_watch::{OwnerBoard, OwnerSettings, OwnerView};
use portal_session::{BudgetReport, Budgets, GiveBudget, PortalSession, SaveAccount, View};
use retry_scheduler::{Ping, RetryScheduler};
use second_channel::ChannelSettings;
use sender_list::SenderList;
use session_registry::Sessions;
use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use webhook_ingress::Ingresses;
use workflow_watch::{WorkflowBoard, WorkflowSettings, WorkflowsView};

/// How long a stop waits for effects under way.
pub const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// What all actors share.
pub struct Parts {
    /// The truth.
    pub store: Store,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// What decisions depend on.
    pub policy: Policy,
    /// The rules of the configuration.
    pub rules: Vec<Rule>,
    /// How EasyDocs speaks.
    pub easydocs: Arc<easydocs::Settings>,
    /// iDocs, if it is configured.
    pub idocs: Option<IdocsParts>,
    /// Where EasyDocs sends its callbacks, if it is told per document.
    pub callback_url: Option<String>,
    /// `CLIENT_ID` of our notices: by webhook the TAG works only with one (Bitrix24 docs, `im.notify.system.add`).
    pub notify_client_id: String,
    /// Calls to the signing service at one time.
    pub signing_calls_max: usize,
    /// Largest file by one base64 upload, in bytes.
    pub small_upload_bytes_max: u64,
    /// When circuits open.
    pub circuit: CircuitSettings,
    /// The budgets of the portals.
    pub budgets: Budgets,
    /// What the webhooks have missed.
    pub gaps: Arc<GapReport>,
    /// Rung when something lies in a portal's offline queue.
    pub queue_bells: QueueBells,
    /// The published addresses of senders, where a portal takes no others.
    pub sender_list: Option<Arc<SenderList>>,
    /// How the second channels are doing.
    pub channels: ChannelBoard,
    /// What the portals can do.
    pub capabilities: Arc<CapabilityBoard>,
    /// What is known of the people behind the portals' credentials.
    pub owners: Arc<OwnerBoard>,
    /// What is known of the workflows that our robots made wait.
    pub workflows: Arc<WorkflowBoard>,
    /// The installations, once they are started: they hold these parts themselves.
    pub installations: OnceLock<Weak<Registry>>,
    /// Rung when something may be due. Coalesces; a lost ring costs one scan interval.
    pub work_arrived: Arc<Notify>,
    /// Set when the process is stopping.
    pub draining: AtomicBool,
}

impl Parts {
    /// Whether the process is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// One portal as the engine needs it.
pub struct PortalSetup {
    /// Its name.
    pub id: PortalId,
    /// Its client.
    pub client: Arc<Client>,
    /// Its budget; none = unlimited (a box).
    pub bucket: Option<LeakyBucket>,
    /// Portals with one key share one budget: `member_id`. None: the address decides.
    pub budget_key: Option<String>,
    /// Users of the portal who are told when a block by the vendor is over.
    pub administrators: Vec<u64>,
    /// Origins besides the portal's own that its files may come from.
    pub allowed_origins: Vec<Origin>,
    /// How long its limits are respected.
    pub pauses: PortalPauses,
    /// File transfers under way at one time: each holds a socket and a spool file.
    pub transfers_max: usize,
    /// How changes are learned that its webhook did not tell.
    pub channel: ChannelSettings,
    /// How the person behind its credential is watched.
    pub owner: OwnerSettings,
    /// How workflows that hang are looked for.
    pub workflows: WorkflowSettings,
    /// How it is asked what it can do.
    pub capability: CapabilitySettings,
}

/// How long the limits of a portal are respected, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortalPauses {
    /// The first pause after QUERY_LIMIT_EXCEEDED; doubles with each further one.
    pub query_limit_ms: u64,
    /// The longest of these.
    pub query_limit_ms_max: u64,
    /// Background calls of a method rest when its operating time has reached this.
    pub operating_slow_at_ms: u64,
    /// Pause of the whole portal after OVERLOAD_LIMIT.
    pub overload_ms: u64,
    /// Calls that wait are gathered this long into one batch.
    pub gather_ms: u64,
}

/// The running actors. Cheap to clone; the face that doors and verbs use.
#[derive(Clone)]
pub struct Engine {
    parts: Arc<Parts>,
    runner: Arc<EffectRunner>,
    ingresses: Ingresses,
    scheduler: Addr<RetryScheduler>,
    sessions: Sessions,
    installations: Arc<Registry>,
    arbiters: Arc<[ArbiterHandle]>,
}

/// Why an order of a person was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OperateError {
    /// No such document.
    #[error("no such document")]
    NotFound,
    /// It does not fit the document's state; the text says what would.
    #[error("{}", .0.en)]
    Rejected(Text),
    /// The store or the scheduler cannot do it now.
    #[error("{}", .reason.en)]
    Unavailable {
        /// Why.
        reason: Text,
    },
}

/// A portal, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct PortalView {
    /// Its name.
    pub id: PortalId,
    /// Scheme and host, no secret.
    pub address: String,
    /// Requests in the leaky bucket.
    pub bucket_level: f64,
    /// Calls that wait for their turn.
    pub waiting_calls: usize,
    /// Methods that are blocked, and until when.
    pub blocked_methods: Vec<(String, Timestamp)>,
    /// State of the circuit breaker: `closed`, `half_open`, `open`.
    pub circuit: String,
    /// The last failure, in words.
    pub last_error: Option<Text>,
    /// How it is reached, if by an application.
    pub installation: Option<InstallationView>,
    /// The person behind the credential; none before the first look.
    pub owner: Option<OwnerView>,
    /// The workflows that our robots made wait; none before the first look.
    pub workflows: Option<WorkflowsView>,
    /// What it can do; none before it is known at all.
    pub capability: Option<CapabilityView>,
    /// How its second channels are doing.
    pub channel: Option<ChannelView>,
}

/// Whether the engine can take work.
#[derive(Debug, Clone)]
pub struct EngineHealth {
    /// Whether new notices are accepted.
    pub ready: bool,
    /// Why not, or what is wrong all the same.
    pub reasons: Vec<Text>,
    /// Whether the process is stopping.
    pub draining: bool,
    /// Numbers for people.
    pub details: serde_json::Value,
}

impl Engine {
    /// Starts all actors. Must be called inside an actix system.
    pub fn start(
        parts: Arc<Parts>,
        portals: Vec<PortalSetup>,
        easydocs: Arc<easydocs::Client>,
        watches: Vec<WatchedFolder>,
        apps: Option<Apps>,
    ) -> Self {
        let decisions = Arbiter::new();
        let remotes = Arbiter::with_tokio_rt(remotes_runtime);
        let sessions = Sessions::new(parts.circuit);
        sender_list::start(&parts, &remotes.handle());
        let mut by_webhook = Vec::new();
        for portal in portals {
            let (id, shared, channel) = (portal.id.clone(), parts.clone(), portal.channel.clone());
            let owner = portal.owner.clone();
            let (client, capability) = (portal.client.clone(), portal.capability);
            let session = PortalSession::start_in_arbiter(&remotes.handle(), move |_| {
                PortalSession::new(shared, portal)
            });
            sessions.insert(id.clone(), session.clone());
            if let Some(tenure) = sessions.tenure(&id) {
                owner_watch::start(&parts, &id, &session, tenure, &owner, &remotes.handle());
            }
            capability_watch::start(&parts, &id, &sessions, &client, capability, &remotes.handle());
            second_channel::start(&parts, &id, &sessions, &channel, &remotes.handle());
            by_webhook.push((id, session));
        }
        let runner = Arc::new(EffectRunner::new(parts.clone(), remotes.handle(), sessions.clone(), easydocs));
        let (shared, run) = (parts.clone(), runner.clone());
        let items = Arc::new(ItemReader::new(parts.clone(), sessions.clone()));
        let scheduler = RetryScheduler::start_in_arbiter(&decisions.handle(), move |_| {
            let router = Arc::new(NoticeRouter::new(shared.clone(), items, run.clone()));
            RetryScheduler::new(shared, run, router)
        });
        idocs_history::start(&parts, &scheduler.clone().recipient(), &remotes.handle());
        let ingresses = Ingresses::new(&parts);
        let installations =
            Registry::start(parts.clone(), apps, sessions.clone(), remotes.handle(), watches, runner.clone());
        for (id, session) in by_webhook {
            if let Some(tenure) = sessions.tenure(&id) {
                installations.watch(&id, &session, &tenure);
            }
        }
        let arbiters = [decisions.handle(), remotes.handle()].into();
        Self { parts, runner, ingresses, scheduler, sessions, installations, arbiters }
    }

    /// The published addresses of senders, where a portal takes no others.
    pub fn sender_list(&self) -> Option<Arc<SenderList>> {
        self.parts.sender_list.clone()
    }

    /// The installations of our applications.
    pub fn installations(&self) -> &Arc<Registry> {
        &self.installations
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// The numbers.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.parts.metrics
    }

    /// The present.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// Puts a verified notice into the inbox. Durable when it returns.
    ///
    /// # Errors
    /// [`AcceptError`]: nothing was accepted, the sender must not get a 200.
    pub async fn accept(&self, notice: NewNotice) -> Result<Accepted, AcceptError> {
        self.ingresses.accept(notice).await
    }

    /// Carries out an order of a person.
    ///
    /// # Errors
    /// [`OperateError`], with words for that person.
    pub async fn operate(&self, id: SagaId, action: OperatorAction) -> Result<Record, OperateError> {
        let deliver = Deliver { saga: id, event: Event::Operator(action), notice: None };
        match self.scheduler.send(deliver).await {
            Ok(outcome) => outcome.map_err(operate_error),
            Err(_) => Err(OperateError::Unavailable { reason: stopping() }),
        }
    }

    /// Tells a document of a fact about our own signature; durable when it returns.
    ///
    /// # Errors
    /// [`OperateError`], with words for a person.
    pub async fn tell_own(&self, id: SagaId, event: OwnEvent) -> Result<Record, OperateError> {
        let deliver = Deliver { saga: id, event: Event::Own(event), notice: None };
        match self.scheduler.send(deliver).await {
            Ok(outcome) => outcome.map_err(operate_error),
            Err(_) => Err(OperateError::Unavailable { reason: stopping() }),
        }
    }

    /// Sends a file for signing by order of a person: durable when it returns, worked off like any trigger.
    ///
    /// # Errors
    /// [`OperateError::Rejected`] when a document has this source already or the portal is unknown.
    pub async fn send(
        &self,
        portal: PortalId,
        source: Source,
        rule: Option<String>,
    ) -> Result<SagaId, OperateError> {
        if !self.sessions.contains(&portal) {
            let text = format!("\"{portal}\"");
            return Err(OperateError::Rejected(Text::new(
                format!("Портала {text} нет в конфигурации."),
                format!("There is no portal {text} in the configuration."),
            )));
        }
        let (source, rule) = self.with_rule_of_field(&portal, source, rule)?;
        let create = retry_scheduler::Create { portal, source, rule, robot: None, notice: None };
        match self.scheduler.send(create).await {
            Ok(Ok(record)) => Ok(record.id),
            Ok(Err(HandleError::Taken { by })) => Err(OperateError::Rejected(Text::new(
                format!("Этот файл уже ведёт документ {by}."),
                format!("This file already belongs to document {by}."),
            ))),
            Ok(Err(error)) => Err(operate_error(error)),
            Err(_) => Err(OperateError::Unavailable { reason: stopping() }),
        }
    }

    /// A file of a file field gets its rule at once, and its one name: see [`rule_for_field`].
    fn with_rule_of_field(
        &self,
        portal: &PortalId,
        source: Source,
        rule: Option<String>,
    ) -> Result<(Source, Option<String>), OperateError> {
        let Source::CrmFile { item, field, file_id } = source else {
            return Ok((source, rule));
        };
        let rules = &self.parts.rules;
        let Some((rule, spelled)) =
            rule_for_field(rules, portal, item.entity_type_id, &field, rule.as_deref())
        else {
            return Err(OperateError::Rejected(Text::new(
                format!(
                    "Ни одно правило портала не берёт файлы из поля {field}, или названного правила нет: укажите правило (rule)."
                ),
                format!(
                    "No rule of the portal takes files from field {field}, or the one named does not exist: name a rule."
                ),
            )));
        };
        let source = Source::CrmFile { item, field: spelled.to_owned(), file_id };
        Ok((source, Some(rule.id.clone())))
    }

    /// What the webhooks have missed, in numbers by portal and with the latest gaps, newest first.
    pub fn gaps(&self) -> (BTreeMap<PortalId, GapTotals>, Vec<Gap>) {
        self.parts.gaps.view(self.parts.clock.now())
    }

    /// Whether work is taken, and why not.
    pub fn health(&self) -> EngineHealth {
        let store = self.parts.store.health();
        let mut reasons: Vec<Text> = match &store.readiness {
            Readiness::Ready => Vec::new(),
            Readiness::NotReady(reason) => vec![reason.clone()],
        };
        let store_ready = reasons.is_empty();
        let alive = self.scheduler.connected();
        if !alive {
            reasons.push(Text::new(
                "Внутренний планировщик остановлен; перезапустите службу.",
                "The internal scheduler has stopped; restart the service.",
            ));
        }
        reasons.extend(self.installations.complaints());
        reasons.extend(self.parts.budgets.alarms());
        reasons.extend(self.parts.owners.alarms());
        reasons.extend(self.sender_list().and_then(|list| list.complaint()));
        let draining = self.parts.is_draining();
        if draining {
            reasons.push(stopping());
        }
        let circuits: BTreeMap<String, String> =
            self.runner.circuits().into_iter().map(|(name, view)| (name, view.name().to_owned())).collect();
        let details = serde_json::json!({
            "store": store_details(&store),
            "circuits": circuits,
            "effects_under_way": self.runner.running_count(),
            "owners": self.parts.owners.codes(),
            "features": self.parts.capabilities.codes(),
        });
        EngineHealth { ready: store_ready && alive && !draining, reasons, draining, details }
    }

    /// Whether the scheduler still answers: for the watchdog.
    pub async fn is_responsive(&self) -> bool {
        matches!(tokio::time::timeout(Duration::from_secs(10), self.scheduler.send(Ping)).await, Ok(Ok(_)))
    }

    /// The portals, for people.
    pub async fn portals(&self) -> Vec<PortalView> {
        let circuits: BTreeMap<String, CircuitView> = self.runner.circuits().into_iter().collect();
        let mut views = Vec::new();
        let installed = self.installations.views();
        for (id, entry) in self.sessions.all() {
            let Ok(view) = entry.session.send(View).await else { continue };
            let circuit = circuits.get(id.as_str()).copied().unwrap_or(CircuitView::Closed);
            let (owner, workflows) = (self.parts.owners.of(&id), self.parts.workflows.of(&id));
            views.push(PortalView {
                workflows,
                installation: installed.iter().find(|it| it.portal == id).cloned(),
                owner,
                capability: self.parts.capabilities.view(&id),
                channel: self.parts.channels.of(&id),
                id: view.id,
                address: view.address,
                bucket_level: view.bucket_level,
                waiting_calls: view.waiting,
                blocked_methods: view.blocked,
                circuit: circuit.name().to_owned(),
                last_error: view.last_failure,
            });
        }
        views
    }

    /// Who used the budget of each portal in so many hours.
    pub async fn budgets(&self, hours: u64) -> Vec<BudgetReport> {
        let all = self.sessions.all();
        let asked = all.iter().map(|(_, entry)| entry.session.send(GiveBudget { hours }));
        futures_util::future::join_all(asked).await.into_iter().filter_map(Result::ok).collect()
    }

    /// Who used the budget of a portal; none if there is no such portal.
    pub async fn budget(&self, portal: &PortalId) -> Option<BudgetReport> {
        self.sessions.session(portal)?.send(GiveBudget { hours: crate::limits::USAGE_HOURS }).await.ok()
    }

    /// Stops taking work and waits, at most [`STOP_PATIENCE`], for effects under way.
    pub async fn drain(&self) {
        self.parts.draining.store(true, Ordering::Relaxed);
        let until = tokio::time::Instant::now() + STOP_PATIENCE;
        while self.runner.running_count() > 0 && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for (_, entry) in self.sessions.all() {
            let _ = tokio::time::timeout_at(until, entry.session.send(SaveAccount)).await;
        }
    }

    /// Ends the actors: their addresses are dropped with their arbiters.
    pub fn stop_actors(&self) {
        for arbiter in self.arbiters.iter() {
            arbiter.stop();
        }
    }

    /// Writes what only the actors know into the metrics.
    pub async fn measure(&self, now: Timestamp) {
        let metrics = &self.parts.metrics;
        for (remote, view) in self.runner.circuits() {
            let state = match view {
                CircuitView::Closed => CircuitState::Closed,
                CircuitView::HalfOpen => CircuitState::HalfOpen,
                CircuitView::Open => CircuitState::Open,
            };
            metrics.set_circuit(&remote, state);
        }
        self.parts.gaps.tick(now);
        sender_list::measure(&self.parts);
        if let Ok(due) = self.parts.store.next_due().await {
            let lag = due.map_or(0, |due| now.ms_since(due));
            metrics.set_timer_lag(Duration::from_millis(lag));
        }
    }

    /// Why a document stands still, with what only the actors know.
    pub fn why(&self, saga: &Record) -> Text {
        let why = words::why(saga, self.parts.clock.now());
        match self.runner.made_together(saga.id) {
            Some(others) if saga.step == Step::PrepareContent => {
                let together = words::together(others);
                Text::new(format!("{} {}.", why.ru, together.ru), format!("{} {}.", why.en, together.en))
            }
            Some(_) | None => why,
        }
    }

    /// Rings the bell: something may be due, of documents or of installations.
    pub fn hint(&self) {
        self.parts.work_arrived.notify_one();
        self.installations.look_now();
    }
}

fn operate_error(error: HandleError) -> OperateError {
    match error {
        HandleError::NotFound(_) => OperateError::NotFound,
        HandleError::Rejected(text) => OperateError::Rejected(text),
        HandleError::Store(error) => OperateError::Unavailable { reason: error.text() },
        error @ (HandleError::Taken { .. } | HandleError::Panicked(_) | HandleError::Restless(_)) => {
            let text = error_chain(&error);
            OperateError::Unavailable {
                reason: Text::new(format!("Не удалось: {text}"), format!("This failed: {text}")),
            }
        }
    }
}

fn store_details(health: &StoreHealth) -> serde_json::Value {
    serde_json::json!({
        "sequence": health.sequence,
        "applied": health.applied,
        "checkpoint": health.checkpoint,
        "checkpoint_age_s": health.checkpoint_age.as_secs(),
        "sync_p50_us": health.sync_p50.as_micros() as u64,
        "sync_p99_us": health.sync_p99.as_micros() as u64,
        "journal_bytes": health.journal_bytes,
        "view_bytes": health.view_bytes,
        "spool_bytes": health.spool_bytes,
        "free_disk_bytes": health.free_disk_bytes,
        "failed_groups": health.failed_groups,
        "queued": health.queued,
    })
}

fn stopping() -> Text {
    Text::new("edobridge останавливается.", "edobridge is stopping.")
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// A number for jitter. Every thread asks the system for randomness once and goes on from there by itself (SplitMix64): a
/// document needs some twenty of them.
fn chance() -> u64 {
    thread_local! {
        static PLACE: Cell<u64> = Cell::new(uuid::Uuid::new_v4().as_u64_pair().0);
    }
    let place = PLACE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    PLACE.set(place);
    let mixed = (place ^ (place >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Where effects run: one thread for the sockets, a few for files.
fn remotes_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(crate::limits::FILE_THREADS_MAX)
        .thread_keep_alive(std::time::Duration::from_millis(crate::limits::FILE_THREAD_IDLE_MS))
        .build()
        .expect("a runtime starts as every thread of this process did")
}

/// A UUIDv7 from the given clock and random bits, so that ids sort by age on any clock.
fn new_saga_id(now: Timestamp, random: u64) -> SagaId {
    let millis = u128::from(now.0.max(0) as u64) & 0xffff_ffff_ffff;
    let low = u128::from(random & 0x3fff_ffff_ffff_ffff) | (0b10 << 62);
    let middle = u128::from(chance() & 0x0fff) | 0x7000;
    SagaId::from_u128((millis << 80) | (middle << 64) | low)
}
