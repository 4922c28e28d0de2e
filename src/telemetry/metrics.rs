//! All metrics of the process, in one struct that is passed around; there is no global registry.
//!
//! Names are `edobridge_<part>_<what>_<unit|total>`. Values that are known only by looking (files, memory) are
//! set by whoever looks, or read at the moment of [`Metrics::encode`].

mod exposition;
mod idocs;
mod labels;
mod tokens;

pub use labels::{
    BulkOutcome, CallOutcome, CircuitState, GapCause, HealingChannel, HistoryOutcome, NoticeOutcome,
    NoticeSource, Provider, RefusalReason, RequestKind, TokenOutcome, TriggerKind, TriggerOutcome,
};

use crate::domain::{FailureKind, Timestamp};
use labels::{
    BuildLabels, CallLabels, CallOutcomeLabels, GapLabels, HttpLabels, InvariantLabels, NoticeLabels,
    PortalChannelLabels, PortalLabels, PortalMethodLabels, PortalOutcomeLabels, ReasonLabels, RefusalLabels,
    RemoteLabels, RequestLabels, RetryLabels, RouteLabels, SourceLabels, StateEventLabels, StateLabels,
    TriggerLabels,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A gauge of seconds or of anything else with a fraction.
type FloatGauge = Gauge<f64, AtomicU64>;
/// A family of histograms made by a plain function.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Local work: an acknowledgement, a commit, a sync.
const LOCAL_SECONDS: [f64; 13] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
/// Calls to remotes, up to a long transfer.
const REMOTE_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0];
/// Waits for the portal's budget.
const WAIT_SECONDS: [f64; 10] = [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0];
/// How late a lost event was healed: from a quick look to a week.
const LATE_SECONDS: [f64; 11] =
    [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0, 604_800.0];
/// How many things went together: records in a sync, calls in a batch (50 at most).
const GROUP_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 50.0, 128.0, 512.0];

fn local_seconds() -> Histogram {
    Histogram::new(LOCAL_SECONDS)
}
fn remote_seconds() -> Histogram {
    Histogram::new(REMOTE_SECONDS)
}
fn wait_seconds() -> Histogram {
    Histogram::new(WAIT_SECONDS)
}
fn late_seconds() -> Histogram {
    Histogram::new(LATE_SECONDS)
}
fn group_sizes() -> Histogram {
    Histogram::new(GROUP_SIZES)
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    ingress: Ingress,
    store: Store,
    saga: Saga,
    effect: Effect,
    portal: Portal,
    tokens: tokens::Tokens,
    idocs: idocs::Idocs,
    channel: Channel,
    process: Process,
}

#[derive(Debug)]
struct Ingress {
    notices: Family<NoticeLabels, Counter>,
    ack_seconds: Histograms<SourceLabels>,
    refused: Family<RefusalLabels, Counter>,
    triggers: Family<TriggerLabels, Counter>,
    sender_list_addresses: Gauge,
    sender_list_counts: Gauge,
    sender_list_age_seconds: FloatGauge,
    requests: Family<HttpLabels, Counter>,
    request_seconds: Histograms<RouteLabels>,
}

#[derive(Debug)]
struct Store {
    commit_seconds: Histogram,
    sync_seconds: Histogram,
    group_records: Histogram,
    journal_bytes: Gauge,
    view_lag_records: Gauge,
    checkpoint_age_seconds: FloatGauge,
    snapshot_age_seconds: FloatGauge,
    inbox_pending: Gauge,
    outbox_pending: Gauge,
    spool_bytes: Gauge,
    spool_files: Gauge,
    disk_free_bytes: Gauge,
    writable: Gauge,
    rebuilds: Counter,
}

#[derive(Debug)]
struct Saga {
    documents: Family<StateLabels, Gauge>,
    oldest_waiting_seconds: Family<StateLabels, FloatGauge>,
    transitions: Family<StateEventLabels, Counter>,
    timer_lag_seconds: FloatGauge,
    dead_letters: Gauge,
    dead_lettered: Family<ReasonLabels, Counter>,
    invariant_violations: Family<InvariantLabels, Counter>,
}

#[derive(Debug)]
struct Effect {
    calls: Family<CallOutcomeLabels, Counter>,
    seconds: Histograms<CallLabels>,
    retries: Family<RetryLabels, Counter>,
    running: Family<RemoteLabels, Gauge>,
    circuit_state: Family<RemoteLabels, Gauge>,
}

#[derive(Debug)]
struct Portal {
    requests: Family<RequestLabels, Counter>,
    batch_calls: Histogram,
    bucket_requests: Family<PortalLabels, FloatGauge>,
    bucket_wait_seconds: Histograms<PortalLabels>,
    operating_seconds: Family<PortalMethodLabels, FloatGauge>,
    calls: Family<PortalMethodLabels, Counter>,
    call_wait_seconds: Family<PortalMethodLabels, Counter<f64, AtomicU64>>,
    waiting_calls: Family<PortalLabels, Gauge>,
    blocked: Family<PortalLabels, Gauge>,
    owner_concerns: Family<PortalLabels, Gauge>,
    hanging_workflows: Family<PortalLabels, Gauge>,
    released_workflows: Family<PortalLabels, Counter>,
    features_off: Family<PortalLabels, Gauge>,
    features_otherwise: Family<PortalLabels, Gauge>,
}

#[derive(Debug)]
struct Channel {
    gaps: Family<GapLabels, Counter>,
    late_seconds: Histograms<PortalChannelLabels>,
    looks: Family<PortalChannelLabels, Counter>,
    failed_looks: Family<PortalChannelLabels, Counter>,
    items_read: Family<PortalOutcomeLabels, Counter>,
    items_waiting: Family<PortalLabels, Gauge>,
}

#[derive(Debug)]
struct Process {
    start_time_seconds: FloatGauge,
    resident_memory_bytes: Gauge,
    panics: Counter,
}

/// Registers under a short name with the text that people read; prometheus-client adds the full stop.
fn put<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn put_histogram(registry: &mut Registry, name: &str, help: &str, make: fn() -> Histogram) -> Histogram {
    put(registry, name, help, make())
}

fn put_histograms<L>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    make: fn() -> Histogram,
) -> Histograms<L>
where
    L: Clone
        + std::hash::Hash
        + Eq
        + prometheus_client::encoding::EncodeLabelSet
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    put(registry, name, help, Family::new_with_constructor(make))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero. Combinations of labels that are known beforehand exist from the start, so that an
    /// alert on a rate sees the first event.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("edobridge");
        let metrics = Self {
            ingress: Ingress::register(&mut registry),
            store: Store::register(&mut registry),
            saga: Saga::register(&mut registry),
            effect: Effect::register(&mut registry),
            tokens: tokens::Tokens::register(&mut registry),
            idocs: idocs::Idocs::register(&mut registry),
            portal: Portal::register(&mut registry),
            channel: Channel::register(&mut registry),
            process: Process::register(&mut registry),
            registry,
        };
        metrics.fill_closed_sets();
        metrics
    }

    fn fill_closed_sets(&self) {
        self.idocs.fill_closed_sets();
        for &source in NoticeSource::ALL {
            for &outcome in NoticeOutcome::ALL {
                drop(self.ingress.notices.get_or_create(&NoticeLabels { source, outcome }));
            }
            for &reason in RefusalReason::ALL {
                drop(self.ingress.refused.get_or_create(&RefusalLabels { source, reason }));
            }
        }
        for &trigger in TriggerKind::ALL {
            for &outcome in TriggerOutcome::ALL {
                drop(self.ingress.triggers.get_or_create(&TriggerLabels { trigger, outcome }));
            }
        }
    }

    /// The metrics in the text format of Prometheus, version 0.0.4.
    ///
    /// Its content type is [`Metrics::CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        if let Some(bytes) = resident_memory_bytes() {
            self.process.resident_memory_bytes.set(bytes);
        }
        exposition::prometheus_text(&self.registry)
    }

    /// Content type of [`Metrics::encode`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";
}

/// What comes in.
impl Metrics {
    /// A notice was taken durably, or recognised as nothing new; `ack` is from its first byte to the answer.
    pub fn notice(&self, source: NoticeSource, outcome: NoticeOutcome, ack: Duration) {
        self.ingress.notices.get_or_create(&NoticeLabels { source, outcome }).inc();
        self.ingress.ack_seconds.get_or_create(&SourceLabels { source }).observe(ack.as_secs_f64());
    }
    /// A request was refused and left no trace but this.
    pub fn refused(&self, source: NoticeSource, reason: RefusalReason) {
        self.ingress.refused.get_or_create(&RefusalLabels { source, reason }).inc();
    }
    /// The published list of senders: its length, whether it counts, how old it is.
    pub fn set_sender_list(&self, addresses: u64, counts: bool, age: Duration) {
        self.ingress.sender_list_addresses.set(clamp(addresses));
        self.ingress.sender_list_counts.set(i64::from(counts));
        self.ingress.sender_list_age_seconds.set(age.as_secs_f64());
    }
    /// A rule looked at a file or an event.
    pub fn triggered(&self, trigger: TriggerKind, outcome: TriggerOutcome) {
        self.ingress.triggers.get_or_create(&TriggerLabels { trigger, outcome }).inc();
    }
    /// An HTTP request was answered. `route` is the pattern of the route, never the path.
    pub fn http(&self, route: &'static str, status: u16, took: Duration) {
        self.ingress.requests.get_or_create(&HttpLabels { route, status }).inc();
        self.ingress.request_seconds.get_or_create(&RouteLabels { route }).observe(took.as_secs_f64());
    }
}

/// The store.
impl Metrics {
    /// A commit was durable after so long.
    pub fn committed(&self, took: Duration) {
        self.store.commit_seconds.observe(took.as_secs_f64());
    }
    /// One sync of the journal took so long and covered so many records.
    pub fn synced(&self, took: Duration, records: usize) {
        self.store.sync_seconds.observe(took.as_secs_f64());
        self.store.group_records.observe(records as f64);
    }
    /// Size of all journal segments on disk.
    pub fn set_journal_bytes(&self, bytes: u64) {
        self.store.journal_bytes.set(clamp(bytes));
    }
    /// Durable records that the view does not show yet.
    pub fn set_view_lag_records(&self, records: u64) {
        self.store.view_lag_records.set(clamp(records));
    }
    /// Time since the last checkpoint.
    pub fn set_checkpoint_age(&self, age: Duration) {
        self.store.checkpoint_age_seconds.set(age.as_secs_f64());
    }
    /// Time since the last verified snapshot.
    pub fn set_snapshot_age(&self, age: Duration) {
        self.store.snapshot_age_seconds.set(age.as_secs_f64());
    }
    /// Notices accepted but not applied yet.
    pub fn set_inbox_pending(&self, notices: u64) {
        self.store.inbox_pending.set(clamp(notices));
    }
    /// Effects ordered but not confirmed yet.
    pub fn set_outbox_pending(&self, effects: u64) {
        self.store.outbox_pending.set(clamp(effects));
    }
    /// Files kept until their delivery.
    pub fn set_spool(&self, files: u64, bytes: u64) {
        self.store.spool_files.set(clamp(files));
        self.store.spool_bytes.set(clamp(bytes));
    }
    /// Free space where the store lies.
    pub fn set_disk_free_bytes(&self, bytes: u64) {
        self.store.disk_free_bytes.set(clamp(bytes));
    }
    /// Whether the store takes commits.
    pub fn set_writable(&self, writable: bool) {
        self.store.writable.set(i64::from(writable));
    }
    /// The view was thrown away and rebuilt.
    pub fn view_rebuilt(&self) {
        self.store.rebuilds.inc();
    }
}

/// The sagas.
impl Metrics {
    /// Documents that are in `state` now, and the age of the one that has been there longest.
    pub fn set_documents(&self, state: &'static str, count: u64, oldest: Duration) {
        let labels = StateLabels { state };
        self.saga.documents.get_or_create(&labels).set(clamp(count));
        self.saga.oldest_waiting_seconds.get_or_create(&labels).set(oldest.as_secs_f64());
    }
    /// A transition was committed.
    pub fn transition(&self, state: &'static str, event: &'static str) {
        self.saga.transitions.get_or_create(&StateEventLabels { state, event }).inc();
    }
    /// How long the most overdue timer has been due.
    pub fn set_timer_lag(&self, lag: Duration) {
        self.saga.timer_lag_seconds.set(lag.as_secs_f64());
    }
    /// Dead letters that wait for a person now.
    pub fn set_dead_letters(&self, count: u64) {
        self.saga.dead_letters.set(clamp(count));
    }
    /// A saga was parked.
    pub fn dead_lettered(&self, reason: &'static str) {
        self.saga.dead_lettered.get_or_create(&ReasonLabels { reason }).inc();
    }
    /// An invariant was found broken.
    pub fn invariant_violated(&self, id: &'static str) {
        self.saga.invariant_violations.get_or_create(&InvariantLabels { id }).inc();
    }
}

/// Calls to remotes.
impl Metrics {
    /// A call ended. `call` is a name from the closed set of calls that we make.
    pub fn called(&self, provider: Provider, call: &'static str, outcome: CallOutcome, took: Duration) {
        self.effect.calls.get_or_create(&CallOutcomeLabels { provider, call, outcome }).inc();
        self.effect.seconds.get_or_create(&CallLabels { provider, call }).observe(took.as_secs_f64());
    }
    /// A call will be repeated because of such a failure.
    pub fn will_retry(&self, provider: Provider, kind: FailureKind) {
        self.effect.retries.get_or_create(&RetryLabels { provider, kind: labels::failure_kind(kind) }).inc();
    }
    /// Calls that are running towards a remote now. `remote` is `easydocs` or the name of a portal.
    pub fn set_running(&self, remote: &str, calls: u64) {
        self.effect.running.get_or_create(&RemoteLabels { remote: remote.to_owned() }).set(clamp(calls));
    }
    /// The state of a remote's circuit breaker.
    pub fn set_circuit(&self, remote: &str, state: CircuitState) {
        self.effect
            .circuit_state
            .get_or_create(&RemoteLabels { remote: remote.to_owned() })
            .set(state as i64);
    }
}

/// The budget of portals. `portal` is its name in the configuration.
impl Metrics {
    /// A request went to a portal.
    pub fn portal_request(&self, portal: &str, kind: RequestKind) {
        self.portal.requests.get_or_create(&RequestLabels { portal: portal.to_owned(), kind }).inc();
    }
    /// So many calls went in one batch.
    pub fn batched(&self, calls: usize) {
        self.portal.batch_calls.observe(calls as f64);
    }
    /// Level of the leaky bucket: requests that have not leaked out yet.
    pub fn set_bucket(&self, portal: &str, requests: f64) {
        self.portal.bucket_requests.get_or_create(&portal_labels(portal)).set(requests);
    }
    /// A call waited so long for its turn.
    pub fn waited_for_budget(&self, portal: &str, wait: Duration) {
        self.portal.bucket_wait_seconds.get_or_create(&portal_labels(portal)).observe(wait.as_secs_f64());
    }
    /// A call of a method, alone or in a batch, has had its turn after waiting so long.
    pub fn portal_called(&self, portal: &str, method: &str, waited: Duration) {
        let labels = PortalMethodLabels { portal: portal.to_owned(), method: labels::portal_method(method) };
        self.portal.calls.get_or_create(&labels).inc();
        self.portal.call_wait_seconds.get_or_create(&labels).inc_by(waited.as_secs_f64());
    }
    /// Operating time of a method within ten minutes, as the portal reports it. Only of methods that we know.
    pub fn set_operating(&self, portal: &str, method: &str, seconds: f64) {
        let method = labels::portal_method(method);
        if method == labels::OTHER_METHOD {
            return;
        }
        let labels = PortalMethodLabels { portal: portal.to_owned(), method };
        self.portal.operating_seconds.get_or_create(&labels).set(seconds);
    }
    /// Calls that wait for their turn now.
    pub fn set_waiting_calls(&self, portal: &str, calls: u64) {
        self.portal.waiting_calls.get_or_create(&portal_labels(portal)).set(clamp(calls));
    }
    /// Whether the portal as a whole is paused: overload, refused credentials, an open circuit.
    pub fn set_portal_blocked(&self, portal: &str, blocked: bool) {
        self.portal.blocked.get_or_create(&portal_labels(portal)).set(i64::from(blocked));
    }
    /// What there is to worry about the owner of the portal's credential, and its expiry.
    pub fn set_owner_concerns(&self, portal: &str, count: u64) {
        let gauge = self.portal.owner_concerns.get_or_create(&portal_labels(portal));
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    /// Workflows that probably wait for an answer to a call that never reached us.
    pub fn set_hanging_workflows(&self, portal: &str, count: u64) {
        self.portal.hanging_workflows.get_or_create(&portal_labels(portal)).set(clamp(count));
    }
    /// A workflow that waited although its document was finished goes on.
    pub fn released_workflow(&self, portal: &str) {
        self.portal.released_workflows.get_or_create(&portal_labels(portal)).inc();
    }
    /// Wanted features that a portal cannot do.
    pub fn set_portal_features_off(&self, portal: &str, count: u64) {
        self.portal.features_off.get_or_create(&portal_labels(portal)).set(clamp(count));
    }
    /// Wanted features that a portal does in another, lesser way.
    pub fn set_portal_features_otherwise(&self, portal: &str, count: u64) {
        self.portal.features_otherwise.get_or_create(&portal_labels(portal)).set(clamp(count));
    }
}

/// How changes of a portal are learned. `portal` is its name in the configuration.
impl Metrics {
    /// A change that the webhook did not tell was found by a second channel; so late, if that is known.
    pub fn gap_healed(&self, portal: &str, channel: HealingChannel, cause: GapCause, late: Option<Duration>) {
        let portal = portal.to_owned();
        self.channel.gaps.get_or_create(&GapLabels { portal: portal.clone(), channel, cause }).inc();
        if let Some(late) = late {
            let labels = PortalChannelLabels { portal, channel };
            self.channel.late_seconds.get_or_create(&labels).observe(late.as_secs_f64());
        }
    }
    /// A second channel has looked at the portal.
    pub fn channel_looked(&self, portal: &str, channel: HealingChannel) {
        let labels = PortalChannelLabels { portal: portal.to_owned(), channel };
        self.channel.looks.get_or_create(&labels).inc();
    }
    /// A second channel could not look.
    pub fn channel_failed(&self, portal: &str, channel: HealingChannel) {
        let labels = PortalChannelLabels { portal: portal.to_owned(), channel };
        self.channel.failed_looks.get_or_create(&labels).inc();
    }
    /// So many CRM items were asked for after events, and how that ended.
    pub fn items_read(&self, portal: &str, outcome: CallOutcome, items: usize) {
        let labels = PortalOutcomeLabels { portal: portal.to_owned(), outcome };
        self.channel.items_read.get_or_create(&labels).inc_by(items as u64);
    }
    /// Items that events spoke of and that wait to be read.
    pub fn set_items_waiting(&self, portal: &str, items: u64) {
        self.channel.items_waiting.get_or_create(&portal_labels(portal)).set(clamp(items));
    }
}

/// The process.
impl Metrics {
    /// The moment when the process became ready.
    pub fn set_started(&self, at: Timestamp) {
        self.process.start_time_seconds.set(at.0 as f64 / 1_000.0);
    }
    /// A panic happened, in any thread.
    pub fn panicked(&self) {
        self.process.panics.inc();
    }
}

fn portal_labels(portal: &str) -> PortalLabels {
    PortalLabels { portal: portal.to_owned() }
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Resident memory from `/proc/self/status`; nothing on systems without it.
fn resident_memory_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

impl Ingress {
    fn register(r: &mut Registry) -> Self {
        Self {
            notices: put(
                r,
                "ingress_notices",
                "Notices answered with success, by sender and by what they were",
                Family::default(),
            ),
            ack_seconds: put_histograms(
                r,
                "ingress_ack_seconds",
                "Time from the first byte of a notice to its durable acknowledgement",
                local_seconds,
            ),
            refused: put(
                r,
                "ingress_refused",
                "Requests that were refused, by sender and reason",
                Family::default(),
            ),
            triggers: put(
                r,
                "trigger_files",
                "Files and events that rules looked at, by trigger and outcome; healed ones were missed by events and found by looking",
                Family::default(),
            ),
            sender_list_addresses: put(
                r,
                "ingress_sender_list_addresses",
                "Addresses and ranges in the published list of senders, where one is used",
                Gauge::default(),
            ),
            sender_list_counts: put(
                r,
                "ingress_sender_list_counts",
                "1 if the published list of senders is used and counts, 0 if not",
                Gauge::default(),
            ),
            sender_list_age_seconds: put(
                r,
                "ingress_sender_list_age_seconds",
                "Age of the published list of senders, where one is used",
                FloatGauge::default(),
            ),
            requests: put(
                r,
                "http_requests",
                "HTTP requests answered, by route and status",
                Family::default(),
            ),
            request_seconds: put_histograms(
                r,
                "http_request_seconds",
                "Time to answer an HTTP request, by route",
                local_seconds,
            ),
        }
    }
}

impl Store {
    fn register(r: &mut Registry) -> Self {
        Self {
            commit_seconds: put_histogram(
                r,
                "store_commit_seconds",
                "Time from the request for a commit to its durability",
                local_seconds,
            ),
            sync_seconds: put_histogram(
                r,
                "store_sync_seconds",
                "Time of one sync of the journal",
                local_seconds,
            ),
            group_records: put_histogram(
                r,
                "store_group_records",
                "Records that one sync of the journal made durable",
                group_sizes,
            ),
            journal_bytes: put(r, "store_journal_bytes", "Size of the journal on disk", Gauge::default()),
            view_lag_records: put(
                r,
                "store_view_lag_records",
                "Durable records that the view does not show yet",
                Gauge::default(),
            ),
            checkpoint_age_seconds: put(
                r,
                "store_checkpoint_age_seconds",
                "Time since the last checkpoint",
                Gauge::default(),
            ),
            snapshot_age_seconds: put(
                r,
                "store_snapshot_age_seconds",
                "Time since the last verified snapshot",
                Gauge::default(),
            ),
            inbox_pending: put(
                r,
                "store_inbox_pending",
                "Notices accepted but not applied yet",
                Gauge::default(),
            ),
            outbox_pending: put(
                r,
                "store_outbox_pending",
                "Effects ordered but not confirmed yet",
                Gauge::default(),
            ),
            spool_bytes: put(
                r,
                "store_spool_bytes",
                "Size of the files kept until their delivery",
                Gauge::default(),
            ),
            spool_files: put(
                r,
                "store_spool_files",
                "Number of the files kept until their delivery",
                Gauge::default(),
            ),
            disk_free_bytes: put(
                r,
                "store_disk_free_bytes",
                "Free space on the disk of the store",
                Gauge::default(),
            ),
            writable: put(r, "store_writable", "1 if the store takes commits, 0 if not", Gauge::default()),
            rebuilds: put(
                r,
                "store_view_rebuilds",
                "Times the view was thrown away and rebuilt",
                Counter::default(),
            ),
        }
    }
}

impl Saga {
    fn register(r: &mut Registry) -> Self {
        Self {
            documents: put(r, "saga_documents", "Documents by state", Family::default()),
            oldest_waiting_seconds: put(
                r,
                "saga_oldest_waiting_seconds",
                "Age in its state of the document that has been there longest",
                Family::default(),
            ),
            transitions: put(
                r,
                "saga_transitions",
                "Committed transitions, by state left and event",
                Family::default(),
            ),
            timer_lag_seconds: put(
                r,
                "saga_timer_lag_seconds",
                "How long the most overdue timer has been due",
                Gauge::default(),
            ),
            dead_letters: put(r, "saga_dead_letters", "Documents that wait for a person", Gauge::default()),
            dead_lettered: put(
                r,
                "saga_dead_lettered",
                "Documents parked for a person, by reason",
                Family::default(),
            ),
            invariant_violations: put(
                r,
                "saga_invariant_violations",
                "Broken invariants found, by their id",
                Family::default(),
            ),
        }
    }
}

impl Effect {
    fn register(r: &mut Registry) -> Self {
        Self {
            calls: put(
                r,
                "effect_calls",
                "Calls to remotes that ended, by provider, call and outcome",
                Family::default(),
            ),
            seconds: put_histograms(
                r,
                "effect_seconds",
                "Duration of calls to remotes, by provider and call",
                remote_seconds,
            ),
            retries: put(
                r,
                "effect_retries",
                "Calls that will be repeated, by provider and kind of failure",
                Family::default(),
            ),
            running: put(r, "effect_running", "Calls that are running now, by remote", Family::default()),
            circuit_state: put(
                r,
                "effect_circuit_state",
                "Circuit breaker of a remote: 0 closed, 1 half open, 2 open",
                Family::default(),
            ),
        }
    }
}

impl Portal {
    fn register(r: &mut Registry) -> Self {
        Self {
            requests: put(r, "portal_requests", "Requests sent to a portal, by kind", Family::default()),
            batch_calls: put_histogram(r, "portal_batch_calls", "Calls packed into one batch", group_sizes),
            bucket_requests: put(
                r,
                "portal_bucket_requests",
                "Level of the leaky bucket of a portal, in requests",
                Family::default(),
            ),
            bucket_wait_seconds: put_histograms(
                r,
                "portal_bucket_wait_seconds",
                "Time that calls waited for the budget of a portal",
                wait_seconds,
            ),
            operating_seconds: put(
                r,
                "portal_operating_seconds",
                "Operating time of a method within ten minutes, as the portal reports it",
                Family::default(),
            ),
            calls: put(
                r,
                "portal_calls",
                "Calls of a method that had their turn, alone or in a batch",
                Family::default(),
            ),
            call_wait_seconds: put(
                r,
                "portal_call_wait_seconds",
                "Time that calls of a method waited for their turn, summed",
                Family::default(),
            ),
            waiting_calls: put(
                r,
                "portal_waiting_calls",
                "Calls that wait for the budget of a portal",
                Family::default(),
            ),
            blocked: put(
                r,
                "portal_blocked",
                "1 if a portal is paused as a whole, 0 if not",
                Family::default(),
            ),
            owner_concerns: put(
                r,
                "portal_owner_concerns",
                "What a person has to do about the owner or the expiry of a portal's webhook or application",
                Family::default(),
            ),
            hanging_workflows: put(
                r,
                "portal_hanging_workflows",
                "Workflows that probably wait for an answer to a robot's call that never reached us",
                Family::default(),
            ),
            released_workflows: put(
                r,
                "portal_released_workflows",
                "Workflows that waited although their document was finished, and were answered again",
                Family::default(),
            ),
            features_off: put(
                r,
                "portal_features_off",
                "Features that the rules of a portal want and that it cannot do",
                Family::default(),
            ),
            features_otherwise: put(
                r,
                "portal_features_otherwise",
                "Features that the rules of a portal want and that it does in a lesser way",
                Family::default(),
            ),
        }
    }
}

impl Channel {
    fn register(r: &mut Registry) -> Self {
        Self {
            gaps: put(
                r,
                "channel_gaps",
                "Changes that no event of the webhook told and a second channel found, by channel and cause",
                Family::default(),
            ),
            late_seconds: put_histograms(
                r,
                "channel_late_seconds",
                "Time from a change that the webhook missed to its discovery",
                late_seconds,
            ),
            looks: put(r, "channel_looks", "Looks of a second channel at a portal", Family::default()),
            failed_looks: put(
                r,
                "channel_failed_looks",
                "Looks of a second channel that failed",
                Family::default(),
            ),
            items_read: put(
                r,
                "channel_items_read",
                "CRM items that were asked for after events, by how that ended",
                Family::default(),
            ),
            items_waiting: put(
                r,
                "channel_items_waiting",
                "CRM items that events spoke of and that wait to be read",
                Family::default(),
            ),
        }
    }
}

impl Process {
    fn register(r: &mut Registry) -> Self {
        let build: Family<BuildLabels, Gauge> =
            put(r, "build_info", "1, with the version of the program as a label", Family::default());
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        Self {
            start_time_seconds: put(
                r,
                "process_start_time_seconds",
                "When the process became ready, in Unix time",
                Gauge::default(),
            ),
            resident_memory_bytes: put(
                r,
                "process_resident_memory_bytes",
                "Resident memory of the process",
                Gauge::default(),
            ),
            panics: put(r, "process_panics", "Panics in any thread of the process", Counter::default()),
        }
    }
}

#[cfg(test)]
mod tests;
