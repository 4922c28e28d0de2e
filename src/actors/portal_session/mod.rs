//! PortalSession: one per portal and credential. Everything we ask of a portal passes here and spends its budget.
//!
//! What waits is packed into batches; interactive work goes before background work, older work before newer. The
//! budget is shared with the other sessions of the portal and written to disk a little ahead of its use, so that a
//! crash may waste requests but never overspends them. It knows no document: it answers calls, and a limit of the
//! portal is answered as `Throttled`.
//!
//! | file | subject |
//! |---|---|
//! | `messages`, `work` | what a session is asked, and what waits |
//! | `queue` | what goes next, and with what |
//! | `shared_budget`, `pauses` | the leaky bucket and the pauses that all sessions of a portal share |
//! | `limits_met` | what is learned of limits, and held back because of them |
//! | `durable` | what is written, and when |
//! | `ledger` | who used the budget |
//! | `overload` | the vendor's block: alarm, and the word when it is over |

mod durable;
pub mod ledger;
mod limits_met;
mod messages;
mod overload;
mod pauses;
mod queue;
pub mod shared_budget;
mod view;
mod work;

pub use messages::{Learned, Pass, PortalCall, PortalCaller, SaveAccount, Transfer, TransferPass};
pub use queue::Priority;
pub use shared_budget::{BucketLevel, Budgets};
pub use view::{BudgetReport, GiveBudget, SessionView, View};

use super::batch_room::BatchRoom;
use super::{Parts, PortalPauses, PortalSetup};
use crate::domain::portal::PortalState;
use crate::domain::portal_usage::MethodUsage;
use crate::domain::{Failure, PortalId, Text, Timestamp};
use crate::limits;
use crate::providers::bitrix24::operating::OperatingLedger;
use crate::providers::bitrix24::{Call, Client, batch};
use crate::providers::url_rules::Origin;
use crate::telemetry::metrics::RequestKind;
use actix::prelude::*;
use durable::Saving;
use ledger::UsageLedger;
use limits_met::throttled;
use messages::session_lost;
use queue::{Choice, Outlook, Sharing, Ticket, WaitingWork};
use serde_json::Value;
use shared_budget::{SharedBudget, Spend};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use work::{Asker, Work, answer_all};

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

    // ---- what is counted ----------------------------------------------------------------------------------

    fn count(&mut self, method: &str, write: impl FnOnce(&mut MethodUsage)) {
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
