//! PortalSession: one per portal. Everything we ask of a portal passes here and spends its budget.
//!
//! What waits is packed into batches; interactive work goes before background work. The budget is written to
//! disk a little ahead of its use, so that a crash may waste requests but never overspends them. It knows no
//! document: it answers calls, and a limit of the portal is answered as `Throttled`.

use super::batch_room::BatchRoom;
use super::{Parts, PortalPauses, PortalSetup};
use crate::domain::portal::PortalState;
use crate::domain::{Failure, FailureClass, FailureKind, PortalId, Text, Timestamp};
use crate::limits;
use crate::providers::bitrix24::budget::{LeakyBucket, Take};
use crate::providers::bitrix24::operating::OperatingLedger;
use crate::providers::bitrix24::{Call, Caller, Client, LimitHit, Observed};
use crate::providers::url_rules::Origin;
use crate::telemetry::metrics::RequestKind;
use actix::prelude::*;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A person.
    Interactive,
    /// A saga.
    Background,
}

/// Ask the portal; answered when the portal has answered, or has refused.
#[derive(Message)]
#[rtype(result = "Result<Value, Failure>")]
pub struct PortalCall {
    /// The call.
    pub call: Call,
    /// Who waits.
    pub priority: Priority,
}

/// Permission for one request outside the call queue (a download, an upload), paid from the same budget.
#[derive(Message)]
#[rtype(result = "Result<Pass, Failure>")]
pub struct TransferPass;

/// A paid permission.
pub struct Pass {
    /// The way to the portal.
    pub client: Arc<Client>,
    /// Origins besides the portal's own that its files may come from.
    pub allowed: Arc<[Origin]>,
    /// One of the portal's few transfer slots, given back when the transfer has ended.
    _slot: OwnedSemaphorePermit,
}

/// What a transfer taught about the portal's limits.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Learned(pub Observed);

/// What people are shown of a portal.
#[derive(Message)]
#[rtype(result = "SessionView")]
pub struct View;

/// Answer to [`View`].
#[derive(Debug, Clone)]
pub struct SessionView {
    /// The portal.
    pub id: PortalId,
    /// Scheme and host, no secret.
    pub address: String,
    /// Level of the bucket in requests.
    pub bucket_level: f64,
    /// Calls that wait.
    pub waiting: usize,
    /// Methods that are blocked, and until when.
    pub blocked: Vec<(String, Timestamp)>,
    /// The last failure, in words.
    pub last_failure: Option<Text>,
}

/// The gate to one portal.
pub struct PortalSession {
    id: PortalId,
    parts: Arc<Parts>,
    client: Arc<Client>,
    allowed: Arc<[Origin]>,
    pauses: PortalPauses,
    transfers: Arc<Semaphore>,
    /// None: the portal has no such limit (a box).
    bucket: Option<LeakyBucket>,
    ledger: OperatingLedger,
    state: PortalState,
    /// Requests that are already on disk as spent.
    paid_ahead: u64,
    queue: VecDeque<Waiting>,
    in_flight: usize,
    paying: bool,
    loaded: bool,
    wake: Option<SpawnHandle>,
    paused_until: Option<Timestamp>,
    limit_hits: u32,
    batch_room: BatchRoom,
    last_failure: Option<Text>,
}

struct Waiting {
    work: Work,
    since: Instant,
}

enum Work {
    Call { call: Call, answer: oneshot::Sender<Result<Value, Failure>> },
    Pass { slot: OwnedSemaphorePermit, answer: oneshot::Sender<Result<Pass, Failure>> },
}

impl Work {
    fn refuse(self, failure: Failure) {
        // The asker may be gone; then nobody needs the answer.
        match self {
            Self::Call { answer, .. } => drop(answer.send(Err(failure))),
            Self::Pass { answer, .. } => drop(answer.send(Err(failure))),
        }
    }
}

impl PortalSession {
    /// A session that will load its durable state when it starts.
    pub fn new(parts: Arc<Parts>, setup: PortalSetup) -> Self {
        Self {
            id: setup.id,
            parts,
            client: setup.client,
            allowed: setup.allowed_origins.into(),
            pauses: setup.pauses,
            transfers: Arc::new(Semaphore::new(setup.transfers_max.max(1))),
            bucket: setup.bucket,
            ledger: OperatingLedger::new(setup.pauses.operating_slow_at_ms),
            state: PortalState::default(),
            paid_ahead: 0,
            queue: VecDeque::new(),
            in_flight: 0,
            paying: false,
            loaded: false,
            wake: None,
            paused_until: None,
            limit_hits: 0,
            batch_room: BatchRoom::default(),
            last_failure: None,
        }
    }

    fn enqueue(&mut self, work: Work, priority: Priority, ctx: &mut Context<Self>) {
        if self.queue.len() >= limits::PORTAL_QUEUE_MAX {
            work.refuse(throttled("queue_full", 5_000));
            return;
        }
        let waiting = Waiting { work, since: Instant::now() };
        match priority {
            Priority::Interactive => {
                self.queue.push_front(waiting);
                self.pump(ctx);
            }
            Priority::Background => {
                self.queue.push_back(waiting);
                self.gather(ctx);
            }
        }
    }

    /// A saga can wait a little, so that the calls of several share one request.
    fn gather(&mut self, ctx: &mut Context<Self>) {
        if self.pauses.gather_ms == 0 || self.queue.len() >= limits::BATCH_MAX {
            return self.pump(ctx);
        }
        let until = self.parts.clock.now().plus_ms(self.pauses.gather_ms);
        self.wake_at(until, ctx);
    }

    /// Sends what may be sent now; if something must be waited for, comes back then.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        while self.loaded && !self.queue.is_empty() && self.in_flight < limits::PORTAL_REQUESTS_MAX {
            let now = self.parts.clock.now();
            if self.refuse_blocked(now) {
                continue;
            }
            if let Some(until) = self.paused_until.filter(|until| *until > now) {
                return self.wake_at(until, ctx);
            }
            if let Some(bucket) = self.bucket {
                if self.paid_ahead == 0 {
                    return self.pay_ahead(bucket, ctx);
                }
                match bucket.take(&mut self.state, now) {
                    Take::Granted => self.paid_ahead -= 1,
                    Take::WaitUntil(until) => return self.wake_at(until, ctx),
                }
                self.parts.metrics.set_bucket(self.id.as_str(), self.bucket_level(now));
            }
            self.send_next(ctx);
        }
    }

    /// Answers calls that the portal would refuse anyway; says whether there were any.
    fn refuse_blocked(&mut self, now: Timestamp) -> bool {
        self.state.blocked_until.retain(|(_, until)| *until > now);
        if let Some(until) = self.state.overload_until.filter(|until| *until > now) {
            for waiting in self.queue.drain(..) {
                waiting.work.refuse(throttled("overload_limit", until.ms_since(now)));
            }
            return true;
        }
        let before = self.queue.len();
        let mut kept = VecDeque::with_capacity(before);
        for waiting in self.queue.drain(..) {
            let until = match &waiting.work {
                Work::Call { call, .. } => self.ledger.resting_until(&self.state, &call.method, now),
                Work::Pass { .. } => None,
            };
            match until {
                Some(until) => waiting.work.refuse(throttled("operation_time_limit", until.ms_since(now))),
                None => kept.push_back(waiting),
            }
        }
        self.queue = kept;
        self.queue.len() != before
    }

    fn wake_at(&mut self, until: Timestamp, ctx: &mut Context<Self>) {
        if self.wake.is_none() {
            let pause = Duration::from_millis(until.ms_since(self.parts.clock.now()).max(1));
            self.wake = Some(ctx.run_later(pause, |this, ctx| {
                this.wake = None;
                this.pump(ctx);
            }));
        }
    }

    /// Writes some requests as spent before the first of them is sent.
    fn pay_ahead(&mut self, bucket: LeakyBucket, ctx: &mut Context<Self>) {
        if self.paying {
            return;
        }
        self.paying = true;
        let now = self.parts.clock.now();
        let mut state = self.state.clone();
        bucket.add(&mut state, now, limits::BUDGET_AHEAD as u32);
        let (parts, id) = (self.parts.clone(), self.id.clone());
        let write = async move { parts.store.put_portal(&id, state).await };
        ctx.spawn(write.into_actor(self).map(|written, this, ctx| {
            this.paying = false;
            match written {
                Ok(()) => this.paid_ahead = limits::BUDGET_AHEAD,
                Err(error) => {
                    tracing::warn!(portal = %this.id, %error, "cannot write the portal's budget, calls wait");
                    let soon = this.parts.clock.now().plus_ms(limits::SCAN_INTERVAL_MS);
                    return this.wake_at(soon, ctx);
                }
            }
            this.pump(ctx);
        }));
    }

    fn bucket_level(&self, now: Timestamp) -> f64 {
        self.bucket.map_or(0.0, |bucket| bucket.level_milli(&self.state, now) as f64 / 1_000.0)
    }

    fn remember(&self) {
        let (parts, id, mut state) = (self.parts.clone(), self.id.clone(), self.state.clone());
        if let Some(bucket) = self.bucket {
            bucket.add(&mut state, self.parts.clock.now(), self.paid_ahead as u32);
        }
        actix::spawn(async move {
            if let Err(error) = parts.store.put_portal(&id, state).await {
                tracing::warn!(portal = %id, %error, "cannot write the portal's state");
            }
        });
    }

    fn send_next(&mut self, ctx: &mut Context<Self>) {
        let Some(first) = self.queue.pop_front() else {
            return;
        };
        self.parts.metrics.waited_for_budget(self.id.as_str(), first.since.elapsed());
        match first.work {
            Work::Pass { slot, answer } => {
                self.parts.metrics.portal_request(self.id.as_str(), RequestKind::Transfer);
                drop(answer.send(Ok(Pass {
                    client: self.client.clone(),
                    allowed: self.allowed.clone(),
                    _slot: slot,
                })));
            }
            Work::Call { call, answer } => {
                let mut calls = vec![(call, answer)];
                // The portal may charge `batch` itself: while it rests, calls go one by one.
                let now = self.parts.clock.now();
                let may_batch = self.ledger.resting_until(&self.state, "batch", now).is_none();
                if may_batch && calls[0].0.may_share() {
                    self.pack(&mut calls);
                }
                self.execute(calls, ctx);
            }
        }
    }

    /// Takes more calls from the queue into the same request.
    fn pack(&mut self, calls: &mut Vec<(Call, oneshot::Sender<Result<Value, Failure>>)>) {
        let mut kept = VecDeque::with_capacity(self.queue.len());
        while let Some(waiting) = self.queue.pop_front() {
            match waiting.work {
                Work::Call { call, answer } if calls.len() < self.batch_room.calls() && call.may_share() => {
                    self.parts.metrics.waited_for_budget(self.id.as_str(), waiting.since.elapsed());
                    calls.push((call, answer));
                }
                work => kept.push_back(Waiting { work, since: waiting.since }),
            }
        }
        self.queue = kept;
    }

    fn execute(
        &mut self,
        calls: Vec<(Call, oneshot::Sender<Result<Value, Failure>>)>,
        ctx: &mut Context<Self>,
    ) {
        self.in_flight += 1;
        let kind = if calls.len() == 1 { RequestKind::Single } else { RequestKind::Batch };
        self.parts.metrics.portal_request(self.id.as_str(), kind);
        self.parts.metrics.batched(calls.len());
        let client = self.client.clone();
        let (calls, answers): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
        let work = async move { client.execute(&calls).await };
        ctx.spawn(work.into_actor(self).map(|executed, this, ctx| {
            this.in_flight -= 1;
            let succeeded = executed.results.iter().any(Result::is_ok);
            let failed = executed.results.iter().find_map(|r| r.as_ref().err());
            let all_failed = failed.filter(|_| !succeeded).map(|failure| failure.kind);
            this.batch_room.learn(executed.results.len(), all_failed);
            this.learn(&executed.observed, succeeded, failed);
            for (answer, result) in answers.into_iter().zip(executed.results) {
                drop(answer.send(result));
            }
            this.pump(ctx);
        }));
    }

    /// What an answer taught us about limits and the address.
    fn learn(&mut self, observed: &Observed, succeeded: bool, failed: Option<&Failure>) {
        let now = self.parts.clock.now();
        let mut changed = self.ledger.learn(&mut self.state, observed, now);
        if let Some(origin) = &observed.moved_to {
            tracing::warn!(portal = %self.id, to = %origin, "the portal has moved");
            self.state.moved_to = Some(origin.clone());
            changed = true;
        }
        // The repeat after a rename was sent without asking.
        let unasked = observed.requests.saturating_sub(1);
        if let Some(bucket) = self.bucket.filter(|_| unasked > 0) {
            bucket.add(&mut self.state, now, unasked);
        }
        let mut limited = false;
        for hit in &observed.limits {
            tracing::warn!(portal = %self.id, ?hit, "the portal's limit was hit");
            match hit {
                LimitHit::QueryRate { .. } => limited = true,
                LimitHit::Overload { .. } => {
                    self.state.overload_until = Some(now.plus_ms(self.pauses.overload_ms));
                    changed = true;
                }
                LimitHit::Operation { .. } => {}
            }
        }
        if limited {
            self.limit_hits = self.limit_hits.saturating_add(1);
            self.paused_until = Some(now.plus_ms(query_limit_pause_ms(self.pauses, self.limit_hits)));
            if let Some(bucket) = self.bucket {
                bucket.fill(&mut self.state, now);
            }
        } else if succeeded {
            self.limit_hits = 0;
        }
        if let Some(failure) = failed {
            self.last_failure = Some(failure.reason.clone());
        }
        self.report_blocks(now);
        if changed {
            self.remember();
        }
    }
}

impl PortalSession {
    fn report_blocks(&self, now: Timestamp) {
        let metrics = &self.parts.metrics;
        for (method, spent_ms) in self.ledger.costs() {
            if let Some(known) = METHODS.iter().find(|m| **m == method) {
                metrics.set_operating(self.id.as_str(), known, spent_ms as f64 / 1_000.0);
            }
        }
        let blocked = self.state.overload_until.is_some_and(|until| until > now);
        metrics.set_portal_blocked(self.id.as_str(), blocked);
        metrics.set_waiting_calls(self.id.as_str(), self.queue.len() as u64);
    }
}

/// Methods whose operating time is shown: labels of a metric must come from a closed set.
const METHODS: [&str; 8] = [
    "batch",
    "disk.file.get",
    "disk.folder.getchildren",
    "disk.folder.uploadfile",
    "crm.item.get",
    "crm.timeline.comment.add",
    "crm.timeline.comment.list",
    "im.notify.system.add",
];

/// Doubles with each QUERY_LIMIT_EXCEEDED in a row, up to the configured maximum.
fn query_limit_pause_ms(pauses: PortalPauses, hits: u32) -> u64 {
    let doubled = pauses.query_limit_ms.saturating_mul(1 << hits.saturating_sub(1).min(20));
    doubled.min(pauses.query_limit_ms_max)
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
        let (parts, id) = (self.parts.clone(), self.id.clone());
        let load = async move {
            loop {
                match parts.store.portal(&id).await {
                    Ok(state) => break state.unwrap_or_default(),
                    Err(error) => {
                        tracing::warn!(portal = %id, %error, "cannot read the portal's state, will try again");
                        tokio::time::sleep(Duration::from_millis(limits::SCAN_INTERVAL_MS)).await;
                    }
                }
            }
        };
        ctx.spawn(load.into_actor(self).map(|state, this, ctx| {
            this.state = state;
            this.loaded = true;
            this.pump(ctx);
        }));
    }
}

impl Handler<PortalCall> for PortalSession {
    type Result = ResponseFuture<Result<Value, Failure>>;

    fn handle(&mut self, msg: PortalCall, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        self.enqueue(Work::Call { call: msg.call, answer }, msg.priority, ctx);
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(session_lost())) })
    }
}

impl Handler<TransferPass> for PortalSession {
    type Result = ResponseFuture<Result<Pass, Failure>>;

    fn handle(&mut self, _: TransferPass, ctx: &mut Self::Context) -> Self::Result {
        let (transfers, me) = (self.transfers.clone(), ctx.address());
        Box::pin(async move {
            let slot = transfers.acquire_owned().await.map_err(|_| session_lost())?;
            me.send(PaidPass { slot }).await.unwrap_or_else(|_| Err(session_lost()))
        })
    }
}

/// A transfer that has its slot asks for its share of the budget.
#[derive(Message)]
#[rtype(result = "Result<Pass, Failure>")]
struct PaidPass {
    slot: OwnedSemaphorePermit,
}

impl Handler<PaidPass> for PortalSession {
    type Result = ResponseFuture<Result<Pass, Failure>>;

    fn handle(&mut self, msg: PaidPass, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        self.enqueue(Work::Pass { slot: msg.slot, answer }, Priority::Background, ctx);
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(session_lost())) })
    }
}

impl Handler<Learned> for PortalSession {
    type Result = ();

    fn handle(&mut self, Learned(observed): Learned, ctx: &mut Self::Context) {
        self.learn(&observed, observed.limits.is_empty(), None);
        self.pump(ctx);
    }
}

impl Handler<View> for PortalSession {
    type Result = MessageResult<View>;

    fn handle(&mut self, _: View, _: &mut Self::Context) -> Self::Result {
        MessageResult(SessionView {
            id: self.id.clone(),
            address: self.client.origin().to_string(),
            bucket_level: self.bucket_level(self.parts.clock.now()),
            waiting: self.queue.len(),
            blocked: self.state.blocked_until.clone(),
            last_failure: self.last_failure.clone(),
        })
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
}

impl PortalCaller {
    /// For a saga.
    pub fn background(session: Addr<PortalSession>) -> Self {
        Self { session, priority: Priority::Background }
    }
    /// For a person who waits.
    pub fn interactive(session: Addr<PortalSession>) -> Self {
        Self { session, priority: Priority::Interactive }
    }
}

impl Caller for PortalCaller {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Result<Value, Failure>> {
        let message = PortalCall { call, priority: self.priority };
        Box::pin(async move { self.session.send(message).await.unwrap_or_else(|_| Err(session_lost())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_after_a_query_limit_starts_at_ten_seconds_and_grows_to_five_minutes() {
        let guide = PortalPauses {
            query_limit_ms: 10_000,
            query_limit_ms_max: 300_000,
            operating_slow_at_ms: 300_000,
            overload_ms: 3_600_000,
            gather_ms: 20,
        };
        let pauses: Vec<u64> = (1..=7).map(|hits| query_limit_pause_ms(guide, hits)).collect();
        assert_eq!(pauses, [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    }
}
