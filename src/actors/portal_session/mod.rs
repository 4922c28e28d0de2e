//! PortalSession: one per portal and credential. Everything we ask of a portal passes here and spends its budget.
//!
//! What waits is packed into batches; interactive work goes before background work, older work before newer. The
//! budget is shared with the other sessions of the portal and written to disk a little ahead of its use, so that a
//! crash may waste requests but never overspends them. It knows no document: it answers calls, and a limit of the
//! portal is answered as `Throttled`.
//!
//! | file | subject |
//! |---|---|
//! | `queue` | what goes next, and with what |
//! | `shared_budget`, `pauses` | the leaky bucket and the pauses that all sessions of a portal share |
//! | `ledger` | who used the budget |
//! | `overload` | the vendor's block: alarm, and the word when it is over |

pub mod ledger;
mod overload;
mod pauses;
mod queue;
pub mod shared_budget;
mod view;

pub use queue::Priority;
pub use shared_budget::{BucketLevel, Budgets};
pub use view::{BudgetReport, GiveBudget, SessionView, View};

use super::batch_room::BatchRoom;
use super::{Parts, PortalPauses, PortalSetup};
use crate::domain::portal::PortalState;
use crate::domain::portal_usage::HourUsage;
use crate::domain::{Failure, FailureClass, FailureKind, PortalId, Text, Timestamp};
use crate::limits;
use crate::providers::bitrix24::batch;
use crate::providers::bitrix24::operating::OperatingLedger;
use crate::providers::bitrix24::{Call, Caller, Client, LimitHit, Observed};
use crate::providers::url_rules::Origin;
use crate::telemetry::metrics::RequestKind;
use actix::prelude::*;
use futures_util::future::BoxFuture;
use ledger::UsageLedger;
use queue::{Choice, Outlook, Sharing, Ticket, WaitingWork};
use serde_json::Value;
use shared_budget::{Payer, SharedBudget, Spend};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Ask the portal; answered when the portal has answered, or has refused.
#[derive(Message)]
#[rtype(result = "Result<Value, Failure>")]
pub struct PortalCall {
    /// The call.
    pub call: Call,
    /// Who waits.
    pub priority: Priority,
    /// When the work behind it began: older work goes first. None: now.
    pub due: Option<Timestamp>,
}

/// Permission for one request outside the call queue (a download, an upload), paid from the same budget.
#[derive(Message)]
#[rtype(result = "Result<Pass, Failure>")]
pub struct TransferPass {
    /// What it is for.
    pub transfer: Transfer,
    /// When the work behind it began: older work goes first. None: now.
    pub due: Option<Timestamp>,
}

/// A request that carries a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// A file of the portal is fetched by its link.
    Download,
    /// A file is put into a folder.
    Upload,
    /// A file is put into a file field of a CRM item (on an old box by the method of its type).
    Attach,
    /// A comment is written with a file in it.
    CommentFile,
}

impl Transfer {
    /// Under which name it is accounted, and by which name the portal blocks it.
    pub fn method(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "disk.folder.uploadfile",
            Self::Attach => "crm.item.update",
            Self::CommentFile => "crm.timeline.comment.add",
        }
    }
}

/// A paid permission.
pub struct Pass {
    /// The way to the portal.
    pub client: Arc<Client>,
    /// Origins besides the portal's own that its files may come from.
    pub allowed: Arc<[Origin]>,
    /// One of the portal's few transfer slots, free again when this is dropped.
    _slot: oneshot::Sender<()>,
}

/// What a transfer taught about the portal's limits.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Learned {
    /// What was learned.
    pub observed: Observed,
    /// Whether the portal did what was asked.
    pub succeeded: bool,
}

/// Write the account of the budget: the process is about to stop.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SaveAccount;

/// The gate to one portal.
pub struct PortalSession {
    id: PortalId,
    parts: Arc<Parts>,
    client: Arc<Client>,
    allowed: Arc<[Origin]>,
    pauses: PortalPauses,
    budget: Arc<SharedBudget>,
    operating: OperatingLedger,
    usage: UsageLedger,
    state: PortalState,
    queue: WaitingWork<Work>,
    calls_in_flight: usize,
    transfers_in_flight: usize,
    transfers_max: usize,
    saving: Saving,
    payment_due: bool,
    loaded: bool,
    wake: Option<(Timestamp, SpawnHandle)>,
    overload: overload::Overload,
    batch_room: BatchRoom,
    last_failure: Option<Text>,
}

/// Whether the durable state is being written. One write at a time: an older one must never overtake a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saving {
    No,
    Running,
    RunningAndWanted,
}

/// What waits for its turn.
enum Work {
    /// A call; a read may have several askers.
    Call { call: Call, askers: Vec<Asker> },
    /// A transfer.
    Pass { transfer: Transfer, answer: oneshot::Sender<Result<Pass, Failure>> },
}

type Asker = oneshot::Sender<Result<Value, Failure>>;

impl Work {
    fn method(&self) -> &str {
        match self {
            Self::Call { call, .. } => &call.method,
            Self::Pass { transfer, .. } => transfer.method(),
        }
    }

    fn refuse(self, failure: &Failure) {
        // The asker may be gone; then nobody needs the answer.
        match self {
            Self::Call { askers, .. } => answer_all(askers, &Err(failure.clone())),
            Self::Pass { answer, .. } => drop(answer.send(Err(failure.clone()))),
        }
    }
}

fn answer_all(askers: Vec<Asker>, result: &Result<Value, Failure>) {
    for asker in askers {
        drop(asker.send(result.clone()));
    }
}

impl PortalSession {
    /// A session that will load its durable state when it starts.
    pub fn new(parts: Arc<Parts>, setup: PortalSetup) -> Self {
        let host = setup.client.origin().to_string();
        let budget = parts.budgets.of(setup.budget_key.as_deref().unwrap_or(&host), setup.bucket);
        Self {
            id: setup.id,
            parts,
            client: setup.client,
            allowed: setup.allowed_origins.into(),
            pauses: setup.pauses,
            budget,
            operating: OperatingLedger::new(setup.pauses.operating_slow_at_ms),
            usage: UsageLedger::default(),
            state: PortalState::default(),
            queue: WaitingWork::default(),
            calls_in_flight: 0,
            transfers_in_flight: 0,
            transfers_max: setup.transfers_max.max(1),
            saving: Saving::No,
            payment_due: false,
            loaded: false,
            wake: None,
            overload: overload::Overload::new(setup.administrators),
            batch_room: BatchRoom::default(),
            last_failure: None,
        }
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    // ---- what comes ----------------------------------------------------------------------------------------

    fn enqueue_call(&mut self, msg: PortalCall, asker: Asker, ctx: &mut Context<Self>) {
        let PortalCall { call, priority, due } = msg;
        let now = self.now();
        let due = due.unwrap_or(now);
        let same = batch::may_join(&call).then(|| format!("{}?{}", call.method, batch::query(&call.params)));
        if let Some(Work::Call { askers, .. }) =
            same.as_deref().and_then(|name| self.queue.join(priority, name, due))
        {
            return askers.push(asker);
        }
        let sharing = if call.may_share() { Sharing::Shared } else { Sharing::Alone };
        let load = Work::Call { call, askers: vec![asker] };
        self.enqueue(Ticket { priority, sharing, due, since: now, same, load }, ctx);
    }

    fn enqueue(&mut self, ticket: Ticket<Work>, ctx: &mut Context<Self>) {
        if self.queue.len() >= limits::PORTAL_QUEUE_MAX {
            return ticket.load.refuse(&throttled("queue_full", self.queue_full_pause_ms()));
        }
        if let Some((code, until)) = self.resting(&ticket, self.now()) {
            return self.hold_back(ticket, code, until);
        }
        self.queue.push(ticket);
        self.pump(ctx);
    }

    /// By then half of what waits has gone, if each needs a request of its own: no storm of those who come back.
    fn queue_full_pause_ms(&self) -> u64 {
        let per_second = self.budget.level(self.now()).map_or(f64::INFINITY, |level| level.per_second);
        let half_ms = self.queue.len() as f64 * 500.0 / per_second.max(0.01);
        (half_ms as u64).clamp(5_000, 600_000)
    }

    // ---- what goes -----------------------------------------------------------------------------------------

    /// Sends what may be sent now; if something must be waited for, comes back then.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if !self.loaded {
            return;
        }
        self.watch_overload(ctx);
        loop {
            let now = self.now();
            self.hold_back_resting(now);
            if self.queue.is_empty() {
                break;
            }
            if let Some(until) = self.budget.paused_until(now) {
                self.wake_at(until, ctx);
                break;
            }
            let choice = self.queue.choose(&self.outlook(now));
            match choice {
                Choice::Nothing => break,
                Choice::Later(until) => {
                    self.wake_at(until, ctx);
                    break;
                }
                Choice::Shared(_) | Choice::Single(..) => {}
            }
            self.pay_ahead(ctx);
            match self.budget.take(now) {
                Spend::Granted => self.send(choice, ctx),
                Spend::WaitUntil(until) => {
                    self.wake_at(until, ctx);
                    break;
                }
                Spend::Unpaid => {
                    // Our own payment wakes us; another session's does not.
                    self.wake_at(now.plus_ms(UNPAID_LOOK_MS), ctx);
                    break;
                }
            }
        }
        self.show_queue();
    }

    fn outlook(&self, now: Timestamp) -> Outlook {
        let all = limits::PORTAL_REQUESTS_MAX + limits::PORTAL_INTERACTIVE_REQUESTS;
        let scarcity = |requests| self.budget.level(now).map_or(0, |level| level.scarcity_ms(requests));
        // The portal may charge `batch` itself: while it rests, calls go one by one.
        let may_batch = self.operating.resting_until(&self.state, "batch", now).is_none();
        Outlook {
            now,
            room: if may_batch { self.batch_room.calls() } else { 1 },
            background_free: limits::PORTAL_REQUESTS_MAX.saturating_sub(self.calls_in_flight),
            interactive_free: all.saturating_sub(self.calls_in_flight),
            transfers_free: self.transfers_max.saturating_sub(self.transfers_in_flight),
            gather_ms: gather(self.pauses.gather_ms, scarcity(1.0)),
            contended_gather_ms: gather(self.pauses.gather_ms, scarcity(limits::GATHER_REQUESTS)),
        }
    }

    fn wake_at(&mut self, until: Timestamp, ctx: &mut Context<Self>) {
        if let Some((earlier, handle)) = self.wake {
            if earlier <= until {
                return;
            }
            ctx.cancel_future(handle);
        }
        let pause = Duration::from_millis(until.ms_since(self.now()).max(1));
        let handle = ctx.run_later(pause, |this, ctx| {
            this.wake = None;
            this.pump(ctx);
        });
        self.wake = Some((until, handle));
    }

    fn send(&mut self, choice: Choice, ctx: &mut Context<Self>) {
        match choice {
            Choice::Shared(leader) => {
                let room = self.outlook(self.now()).room;
                let tickets = self.queue.take_shared(leader, room);
                self.execute(tickets, ctx);
            }
            Choice::Single(class, sharing) => {
                if let Some(ticket) = self.queue.take_single(class, sharing) {
                    self.execute(vec![ticket], ctx);
                }
            }
            Choice::Later(_) | Choice::Nothing => {}
        }
        if let Some(level) = self.budget.level(self.now()) {
            self.parts.metrics.set_bucket(self.id.as_str(), level.level);
        }
    }

    fn execute(&mut self, tickets: Vec<Ticket<Work>>, ctx: &mut Context<Self>) {
        let shared = tickets.len() > 1;
        let (mut calls, mut answers) = (Vec::with_capacity(tickets.len()), Vec::with_capacity(tickets.len()));
        if shared {
            self.count("batch", |usage| usage.requests += 1);
        }
        for ticket in tickets {
            self.account(&ticket, shared);
            match ticket.load {
                Work::Call { call, askers } => {
                    calls.push(call);
                    answers.push(askers);
                }
                Work::Pass { answer, .. } => return self.let_pass(answer, ctx),
            }
        }
        if !calls.is_empty() {
            self.ask(calls, answers, ctx);
        }
    }

    fn let_pass(&mut self, answer: oneshot::Sender<Result<Pass, Failure>>, ctx: &mut Context<Self>) {
        self.parts.metrics.portal_request(self.id.as_str(), RequestKind::Transfer);
        self.transfers_in_flight += 1;
        let (slot, freed) = oneshot::channel();
        ctx.spawn(freed.into_actor(self).map(|_, this, ctx| {
            this.transfers_in_flight -= 1;
            this.pump(ctx);
        }));
        let pass = Pass { client: self.client.clone(), allowed: self.allowed.clone(), _slot: slot };
        drop(answer.send(Ok(pass)));
    }

    fn ask(&mut self, calls: Vec<Call>, answers: Vec<Vec<Asker>>, ctx: &mut Context<Self>) {
        self.calls_in_flight += 1;
        let kind = if calls.len() == 1 { RequestKind::Single } else { RequestKind::Batch };
        self.parts.metrics.portal_request(self.id.as_str(), kind);
        self.parts.metrics.batched(calls.len());
        let client = self.client.clone();
        let work = async move {
            let executed = client.execute(&calls).await;
            (calls, executed)
        };
        ctx.spawn(work.into_actor(self).map(|(calls, executed), this, ctx| {
            this.calls_in_flight -= 1;
            let succeeded = executed.results.iter().any(Result::is_ok);
            let failed = executed.results.iter().find_map(|r| r.as_ref().err());
            let all_failed = failed.filter(|_| !succeeded).map(|failure| failure.kind);
            this.batch_room.learn(executed.results.len(), all_failed);
            this.learn(&executed.observed, succeeded, failed, ctx);
            for ((call, askers), result) in calls.iter().zip(answers).zip(executed.results) {
                answer_all(askers, &result.map_err(|failure| this.with_our_pause(call, failure)));
            }
            this.pump(ctx);
        }));
    }

    // ---- what rests ----------------------------------------------------------------------------------------

    /// Whether the portal would refuse this anyway, and until when.
    fn resting(&self, ticket: &Ticket<Work>, now: Timestamp) -> Option<(&'static str, Timestamp)> {
        if let Some(until) = self.budget.overload_until(now) {
            return Some(("overload_limit", until));
        }
        let method = ticket.load.method();
        let until = match ticket.priority {
            Priority::Interactive => self.operating.refused_until(&self.state, method, now),
            Priority::Background => self.operating.resting_until(&self.state, method, now),
        };
        until.map(|until| ("operation_time_limit", until))
    }

    /// Answers what the portal would refuse anyway: a saga waits on disk, not here.
    fn hold_back_resting(&mut self, now: Timestamp) {
        self.state.blocked_until.retain(|(_, until)| *until > now);
        if !self.operating.has_resting(&self.state, now) && self.budget.overload_until(now).is_none() {
            return;
        }
        let mut queue = std::mem::take(&mut self.queue);
        for ticket in queue.take_out(|ticket| self.resting(ticket, now).is_some()) {
            if let Some((code, until)) = self.resting(&ticket, now) {
                self.hold_back(ticket, code, until);
            }
        }
        self.queue = queue;
    }

    /// The asker comes back when we let it through again, not when a general rule says so.
    fn with_our_pause(&self, call: &Call, failure: Failure) -> Failure {
        if (failure.class, failure.kind) != (FailureClass::Throttled, FailureKind::Limit) {
            return failure;
        }
        let now = self.now();
        let until = self
            .budget
            .overload_until(now)
            .or_else(|| self.operating.refused_until(&self.state, &call.method, now))
            .or_else(|| self.budget.paused_until(now));
        match until {
            Some(until) => failure.retry_after_ms(until.ms_since(now)),
            None => failure,
        }
    }

    fn hold_back(&mut self, ticket: Ticket<Work>, code: &str, until: Timestamp) {
        self.count(ticket.load.method(), |usage| usage.limited += 1);
        ticket.load.refuse(&throttled(code, until.ms_since(self.now())));
    }

    // ---- what was learned ----------------------------------------------------------------------------------

    /// What an answer taught us about limits and the address.
    fn learn(
        &mut self,
        observed: &Observed,
        succeeded: bool,
        failed: Option<&Failure>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.now();
        let mut changed = self.operating.learn(&mut self.state, observed, now);
        if let Some(origin) = &observed.moved_to {
            tracing::warn!(portal = %self.id, to = %origin, "the portal has moved");
            self.state.moved_to = Some(origin.clone());
            changed = true;
        }
        // The repeat after a rename was sent without asking.
        self.budget.add(now, observed.requests.saturating_sub(1));
        for hit in &observed.limits {
            tracing::warn!(portal = %self.id, ?hit, "the portal's limit was hit");
            changed |= self.learn_limit(hit, now);
        }
        let limited = observed.limits.iter().any(|hit| matches!(hit, LimitHit::QueryRate { .. }));
        if succeeded && !limited {
            self.budget.answered();
        }
        if succeeded {
            changed |= self.works_again(now);
        }
        if let Some(failure) = failed {
            self.last_failure = Some(failure.reason.clone());
        }
        for (method, grown_ms) in self.operating.take_grown() {
            self.count(&method, |usage| usage.operating_ms += grown_ms);
        }
        self.show_operating();
        if changed {
            self.save(ctx);
        }
    }

    /// Says whether the durable state changed.
    fn learn_limit(&mut self, hit: &LimitHit, now: Timestamp) -> bool {
        match hit {
            LimitHit::QueryRate { .. } => {
                self.budget.refused(self.pauses, now);
                self.count("batch", |usage| usage.limited += 1);
                false
            }
            LimitHit::Operation { method, .. } => {
                self.count(method, |usage| usage.limited += 1);
                false
            }
            LimitHit::Overload { .. } => {
                self.overloaded(now);
                true
            }
        }
    }

    // ---- what is kept --------------------------------------------------------------------------------------

    /// Sees to it that some requests are on disk as spent before the first of them is sent.
    fn pay_ahead(&mut self, ctx: &mut Context<Self>) {
        if self.budget.payer() == Payer::Me {
            self.payment_due = true;
            self.save(ctx);
        }
    }

    /// Writes the durable state as it is then; what changes meanwhile is written after.
    fn save(&mut self, ctx: &mut Context<Self>) {
        if self.saving != Saving::No {
            self.saving = Saving::RunningAndWanted;
            return;
        }
        self.saving = Saving::Running;
        let pays = std::mem::take(&mut self.payment_due);
        let (parts, id, mut state) = (self.parts.clone(), self.id.clone(), self.state.clone());
        self.budget.write_into(&mut state, self.now());
        let write = async move { parts.store.put_portal(&id, state).await };
        ctx.spawn(write.into_actor(self).map(move |written, this, ctx| {
            let again = std::mem::replace(&mut this.saving, Saving::No) == Saving::RunningAndWanted;
            if pays {
                this.budget.paid(&written);
            }
            if let Err(error) = written {
                tracing::warn!(portal = %this.id, %error, "cannot write the portal's state, calls wait");
                let soon = this.now().plus_ms(limits::SCAN_INTERVAL_MS);
                return this.wake_at(soon, ctx);
            }
            if again {
                this.save(ctx);
            }
            this.pump(ctx);
        }));
    }

    /// The account is written now and then; nothing is decided by it.
    fn save_usage(&mut self) -> ResponseActFuture<Self, ()> {
        let hours = self.usage.take_unsaved();
        let (parts, id) = (self.parts.clone(), self.id.clone());
        let write = async move {
            let mut failed = Vec::new();
            for usage in hours {
                if parts.store.put_portal_usage(&id, &usage).await.is_err() {
                    failed.push(usage.hour);
                }
            }
            failed
        };
        Box::pin(write.into_actor(self).map(|failed, this, _| this.usage.not_saved(failed)))
    }

    fn load(&self, ctx: &mut Context<Self>) {
        let (parts, id) = (self.parts.clone(), self.id.clone());
        let hour = HourUsage::hour_of(self.now());
        let load = async move {
            loop {
                let state = parts.store.portal(&id).await;
                let usage = parts.store.portal_usage(&id, hour).await;
                match (state, usage) {
                    (Ok(state), Ok(usage)) => break (state.unwrap_or_default(), usage),
                    (Err(error), _) | (_, Err(error)) => {
                        tracing::warn!(portal = %id, %error, "cannot read the portal's state, will try again");
                        tokio::time::sleep(Duration::from_millis(limits::SCAN_INTERVAL_MS)).await;
                    }
                }
            }
        };
        ctx.spawn(load.into_actor(self).map(|(state, usage), this, ctx| {
            this.budget.recall(&state, this.now());
            this.state = state;
            this.usage.recall(usage);
            this.loaded = true;
            this.pump(ctx);
        }));
    }

    // ---- what is counted -----------------------------------------------------------------------------------

    fn count(&mut self, method: &str, write: impl FnOnce(&mut crate::domain::portal_usage::MethodUsage)) {
        self.usage.count(method, self.parts.clock.now(), write);
    }

    fn account(&mut self, ticket: &Ticket<Work>, shared: bool) {
        let waited_ms = self.now().ms_since(ticket.since);
        let waited = Duration::from_millis(waited_ms);
        self.parts.metrics.waited_for_budget(self.id.as_str(), waited);
        self.parts.metrics.portal_called(self.id.as_str(), ticket.load.method(), waited);
        self.usage.count(ticket.load.method(), self.parts.clock.now(), |usage| {
            if shared {
                usage.commands += 1;
            } else {
                usage.requests += 1;
            }
            usage.waited_ms += waited_ms;
        });
    }

    fn show_operating(&self) {
        for (method, spent_ms) in self.operating.costs() {
            self.parts.metrics.set_operating(self.id.as_str(), method, spent_ms as f64 / 1_000.0);
        }
    }

    fn show_queue(&self) {
        let blocked = self.budget.overload_until(self.now()).is_some();
        self.parts.metrics.set_portal_blocked(self.id.as_str(), blocked);
        self.parts.metrics.set_waiting_calls(self.id.as_str(), self.queue.len() as u64);
    }
}

/// How soon a session looks again when another session of the same portal is paying, in milliseconds.
const UNPAID_LOOK_MS: u64 = 10;

/// No gathering is configured: then scarcity makes none either.
fn gather(configured_ms: u64, scarcity_ms: u64) -> u64 {
    if configured_ms == 0 { 0 } else { configured_ms + scarcity_ms }
}

fn throttled(code: &str, retry_after_ms: u64) -> Failure {
    Failure::new(
        FailureClass::Throttled,
        FailureKind::Limit,
        code,
        Text::new(
            format!("Портал ограничил запросы ({code}); повторим сами."),
            format!("The portal limits requests ({code}); we repeat by ourselves."),
        ),
    )
    .retry_after_ms(retry_after_ms.max(1_000))
}

impl Actor for PortalSession {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(limits::PORTAL_QUEUE_MAX);
        ctx.run_interval(Duration::from_millis(limits::USAGE_SAVE_MS), |this, ctx| {
            let saved = this.save_usage();
            ctx.spawn(saved);
        });
        self.load(ctx);
    }
}

impl Handler<PortalCall> for PortalSession {
    type Result = ResponseFuture<Result<Value, Failure>>;

    fn handle(&mut self, msg: PortalCall, ctx: &mut Self::Context) -> Self::Result {
        let (asker, answered) = oneshot::channel();
        self.enqueue_call(msg, asker, ctx);
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(session_lost())) })
    }
}

impl Handler<TransferPass> for PortalSession {
    type Result = ResponseFuture<Result<Pass, Failure>>;

    fn handle(&mut self, msg: TransferPass, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        let now = self.now();
        let ticket = Ticket {
            priority: Priority::Background,
            sharing: Sharing::Transfer,
            due: msg.due.unwrap_or(now),
            since: now,
            same: None,
            load: Work::Pass { transfer: msg.transfer, answer },
        };
        self.enqueue(ticket, ctx);
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(session_lost())) })
    }
}

impl Handler<Learned> for PortalSession {
    type Result = ();

    fn handle(&mut self, Learned { observed, succeeded }: Learned, ctx: &mut Self::Context) {
        self.learn(&observed, succeeded, None, ctx);
        self.pump(ctx);
    }
}

impl Handler<SaveAccount> for PortalSession {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: SaveAccount, _: &mut Self::Context) -> Self::Result {
        self.save_usage()
    }
}

/// The session ended while a request was under way: nobody knows what became of it.
fn session_lost() -> Failure {
    Failure::new(
        FailureClass::Ambiguous,
        FailureKind::Local,
        "session_lost",
        Text::new("Сеанс портала прервался.", "The portal's session was interrupted."),
    )
}

/// The adapters' way to the portal: every call goes through its session.
#[derive(Clone)]
pub struct PortalCaller {
    session: Addr<PortalSession>,
    priority: Priority,
    due: Option<Timestamp>,
}

impl PortalCaller {
    /// For a saga.
    pub fn background(session: Addr<PortalSession>) -> Self {
        Self { session, priority: Priority::Background, due: None }
    }
    /// For a person who waits.
    pub fn interactive(session: Addr<PortalSession>) -> Self {
        Self { session, priority: Priority::Interactive, due: None }
    }
    /// The same for work that began then: older work goes first.
    #[must_use]
    pub fn since(mut self, began: Timestamp) -> Self {
        self.due = Some(began);
        self
    }
}

impl Caller for PortalCaller {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Result<Value, Failure>> {
        let message = PortalCall { call, priority: self.priority, due: self.due };
        Box::pin(async move { self.session.send(message).await.unwrap_or_else(|_| Err(session_lost())) })
    }
}
