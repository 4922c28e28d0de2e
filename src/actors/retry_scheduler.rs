//! RetryScheduler: durable timers, the inbox, and the directory of active sagas.
//!
//! Restart is "run what is due": everything it does comes from the store, so a lost hint, a dead actor or a dead
//! process only delays. Hints arrive through one coalescing bell; a scan runs now and then all the same.

use super::decision::{Beginning, HandleError};
use super::deliver::Deliver;
use super::document_saga::{Begin, DocumentSaga, Handle, Recover, Tick};
use super::effect_runner::EffectRunner;
use super::notice_router::{NoticeRouter, Routed};
use super::{Parts, chance, new_saga_id};
use crate::domain::{NoticeId, PortalId, SagaId, Timestamp};
use crate::limits;
use crate::saga::document::transition::{reading_claim_of, source_claim};
use crate::saga::document::{DocumentSaga as Record, Event, RobotWishes, Source, Step};
use crate::store::{Agenda, AgendaQuery, DocumentFilter, Notice};
use actix::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// The clockwork of everything.
pub struct RetryScheduler {
    parts: Arc<Parts>,
    runner: Arc<EffectRunner>,
    router: Arc<NoticeRouter>,
    active: HashMap<SagaId, Active>,
    panics: HashMap<SagaId, u32>,
    in_hand: HashSet<NoticeId>,
    /// Of those in hand the ones that are only being settled.
    settling: usize,
    seen: Option<NoticeId>,
    last_rescan_ms: i64,
}

struct Active {
    address: Addr<DocumentSaga>,
    waiting: usize,
}

/// Make a new saga; answered when it is durable.
#[derive(Message)]
#[rtype(result = "Result<Record, HandleError>")]
pub struct Create {
    /// The portal.
    pub portal: PortalId,
    /// Where the file is.
    pub source: Source,
    /// The rule, if it is known.
    pub rule: Option<String>,
    /// What the robot wants that ordered it, if one did.
    pub robot: Option<RobotWishes>,
    /// The inbox entry that caused it.
    pub notice: Option<NoticeId>,
}

/// Whether the scheduler is alive, and how much it has in hand: for health and tests.
#[derive(Message)]
#[rtype(result = "Pulse")]
pub struct Ping;

/// Answer to [`Ping`].
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    /// Sagas with an actor.
    pub active: usize,
    /// Notices being routed.
    pub in_hand: usize,
}

/// Look at the store now; answered with when to look again.
#[derive(Message)]
#[rtype(result = "Pause")]
struct Look;

/// When to look at the store again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    /// Not before, whatever comes.
    at_least: Duration,
    /// Even if nothing comes.
    at_most: Duration,
}

impl RetryScheduler {
    /// A scheduler over the store of `parts`.
    pub fn new(parts: Arc<Parts>, runner: Arc<EffectRunner>, router: Arc<NoticeRouter>) -> Self {
        Self {
            parts,
            runner,
            router,
            active: HashMap::new(),
            panics: HashMap::new(),
            in_hand: HashSet::new(),
            settling: 0,
            seen: None,
            last_rescan_ms: 0,
        }
    }

    /// The saga's actor, started from nothing if it has none (or if it died).
    fn enlist(&mut self, id: SagaId, me: Addr<Self>) -> Addr<DocumentSaga> {
        let fresh = || DocumentSaga::new(id, self.parts.clone(), self.runner.clone(), me.recipient()).start();
        let waiting = self.active.get(&id).map_or(0, |a| a.waiting);
        let address = match self.active.get(&id) {
            Some(active) if active.address.connected() => active.address.clone(),
            Some(_) | None => fresh(),
        };
        self.active.insert(id, Active { address: address.clone(), waiting: waiting + 1 });
        address
    }

    /// The part of a new saga's id by which remotes know its document.
    ///
    /// A file gets the same one whenever this store takes it up, and a notice about an item too: so a store that was
    /// restored from a backup finds again what it did after the backup.
    fn lot_of(&self, create: &Create) -> u64 {
        let Create { portal, source, notice, .. } = create;
        match (reading_claim_of(portal, source), notice) {
            (None, _) => self.parts.store.lot(&source_claim(portal, source).lasting_text()),
            (Some(item), Some(notice)) => self.parts.store.lot(&format!("{}/{notice}", item.lasting_text())),
            (Some(_), None) => chance(),
        }
    }

    /// An answer came: an actor for which nothing waits is let go; a dormant saga costs no memory.
    fn release(&mut self, id: SagaId) {
        if let Some(active) = self.active.get_mut(&id) {
            active.waiting = active.waiting.saturating_sub(1);
            if active.waiting == 0 {
                self.active.remove(&id);
            }
        }
    }

    /// Counts panics of a saga; at the limit the saga is parked instead of being tried for ever.
    fn after<T>(&mut self, id: SagaId, outcome: &Result<T, HandleError>, me: &Addr<Self>) {
        self.release(id);
        let Err(HandleError::Panicked(text)) = outcome else {
            self.panics.remove(&id);
            return;
        };
        let count = self.panics.entry(id).or_insert(0);
        *count += 1;
        tracing::error!(saga.id = %id, panic = %text, count = *count, "handling a document panicked");
        if *count == limits::SAGA_PANICS_MAX {
            let deliver = Deliver { saga: id, event: Event::Panicked { text: text.clone() }, notice: None };
            let parked = me.send(deliver);
            actix::spawn(async move { drop(parked.await) });
        }
    }

    fn hands_free(&self) -> usize {
        limits::NOTICES_IN_HAND_MAX.saturating_sub(self.in_hand.len() - self.settling)
    }

    /// How many notices are read in one look: none while there is no hand for one that needs work.
    fn page(&self) -> usize {
        match self.hands_free() {
            0 => 0,
            _ => limits::NOTICES_SETTLING_MAX.saturating_sub(self.settling),
        }
    }

    fn look(&mut self) -> ResponseActFuture<Self, Pause> {
        let now = self.parts.clock.now();
        if now.0 - self.last_rescan_ms >= limits::INBOX_RESCAN_MS as i64 {
            self.last_rescan_ms = now.0;
            self.seen = None;
        }
        let (parts, after, notices_max) = (self.parts.clone(), self.seen, self.page());
        let query = AgendaQuery { now, after, notices_max, due_max: limits::DUE_PER_TICK };
        let work = async move { parts.store.agenda(query).await };
        Box::pin(work.into_actor(self).map(move |agenda, this, ctx| match agenda {
            Ok(agenda) => this.take_up(agenda, ctx),
            Err(error) => {
                tracing::warn!(%error, "cannot read the store, will look again");
                Pause { at_least: Duration::ZERO, at_most: Duration::from_millis(limits::SCAN_INTERVAL_MS) }
            }
        }))
    }

    fn take_up(&mut self, agenda: Agenda, ctx: &mut Context<Self>) -> Pause {
        let Agenda { notices, more_notices, due, next_due } = agenda;
        let found = !notices.is_empty();
        let all = self.take_notices(notices, ctx);
        if all && more_notices && self.page() > 0 {
            self.parts.work_arrived.notify_one();
        }
        self.fire(due.into_iter().map(|(_, id)| id).collect(), ctx);
        Pause {
            at_least: Duration::from_millis(if found { limits::LOOK_PAUSE_MS } else { 0 }),
            at_most: until_next(next_due, self.parts.clock.now()),
        }
    }

    /// Settles what is idle and starts routing of the rest; says whether there were hands for all.
    fn take_notices(&mut self, notices: Vec<Notice>, ctx: &mut Context<Self>) -> bool {
        let (mut idle, mut all) = (Vec::new(), true);
        for notice in notices {
            let why = self.router.is_idle(&notice);
            if why.is_none() && self.hands_free() == 0 {
                all = false;
                break;
            }
            self.seen = self.seen.max(Some(notice.id));
            if !self.in_hand.insert(notice.id) {
                continue;
            }
            match why {
                Some(why) => {
                    self.settling += 1;
                    idle.push((notice, why));
                }
                None => self.route(notice, ctx),
            }
        }
        if !idle.is_empty() {
            self.settle(idle, ctx);
        }
        all
    }

    fn settle(&mut self, idle: Vec<(Notice, &'static str)>, ctx: &mut Context<Self>) {
        let ids: Vec<NoticeId> = idle.iter().map(|(notice, _)| notice.id).collect();
        let router = self.router.clone();
        let work = async move { router.settle(idle).await };
        ctx.spawn(work.into_actor(self).map(move |settled, this, _| {
            if let Err(error) = settled {
                tracing::warn!(%error, notices = ids.len(), "notices wait for a later attempt");
            }
            let was_full = this.page() == 0;
            this.settling -= ids.len();
            for id in ids {
                this.in_hand.remove(&id);
            }
            if was_full {
                this.parts.work_arrived.notify_one();
            }
        }));
    }

    fn route(&mut self, notice: Notice, ctx: &mut Context<Self>) {
        let (id, router, me) = (notice.id, self.router.clone(), ctx.address());
        let work = async move { router.route(notice, &me).await };
        ctx.spawn(work.into_actor(self).map(move |routed, this, _| {
            this.in_hand.remove(&id);
            match routed {
                Routed::Settled | Routed::Held => {}
                Routed::Later(reason) => {
                    tracing::warn!(notice = %id, %reason, "a notice waits for a later attempt")
                }
            }
            // One look for many: a look for each free hand would cost more than the routing itself.
            let routing = this.in_hand.len() - this.settling;
            if routing == limits::NOTICES_IN_HAND_MAX / 2 || routing == 0 {
                this.parts.work_arrived.notify_one();
            }
        }));
    }

    fn fire(&mut self, due: Vec<SagaId>, ctx: &mut Context<Self>) {
        for id in due {
            if self.active.contains_key(&id)
                || self.panics.get(&id).is_some_and(|n| *n > limits::SAGA_PANICS_MAX)
            {
                continue;
            }
            let sent = self.enlist(id, ctx.address()).send(Tick);
            ctx.spawn(sent.into_actor(self).map(move |outcome, this, ctx| {
                this.after(id, &flatten(outcome, id), &ctx.address());
            }));
        }
    }

    /// In a store that was made from a backup: who waits asks anew, because what was told meanwhile is told no more.
    fn ask_anew(&mut self, ctx: &mut Context<Self>) {
        let now = self.parts.clock.now();
        if self.parts.policy.doubt_until.is_none_or(|until| until < now) {
            return;
        }
        let (parts, me) = (self.parts.clone(), ctx.address());
        let steps = vec![Step::AwaitSignature, Step::AwaitSigner];
        let filter = DocumentFilter { steps, updated_before: Some(now), ..DocumentFilter::default() };
        let work = async move {
            let mut place = None;
            loop {
                let page = match parts.store.list(filter.clone(), place, limits::DUE_PER_TICK).await {
                    Ok(page) => page,
                    Err(error) => {
                        tracing::warn!(%error, "cannot read who waits, will try again");
                        tokio::time::sleep(Duration::from_millis(limits::SCAN_INTERVAL_MS)).await;
                        continue;
                    }
                };
                for record in page.items {
                    let asked = Deliver { saga: record.id, event: Event::Restored, notice: None };
                    // Whoever fails to ask now is reminded or told by its deadline.
                    let _ = me.send(asked).await;
                }
                place = page.next;
                if place.is_none() {
                    break;
                }
            }
        };
        ctx.spawn(work.into_actor(self));
    }

    /// After a restart: every effect that was under way is of unknown outcome.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        let (parts, me) = (self.parts.clone(), ctx.address());
        let work = async move {
            let mut after = None;
            loop {
                let page = match parts.store.in_flight(after, limits::DUE_PER_TICK).await {
                    Ok(page) => page,
                    Err(error) => {
                        tracing::warn!(%error, "cannot read what was under way, will try again");
                        tokio::time::sleep(Duration::from_millis(limits::SCAN_INTERVAL_MS)).await;
                        continue;
                    }
                };
                let Some(last) = page.last() else { break };
                after = Some(*last);
                for id in page {
                    let _ = me.send(RecoverOne(id)).await;
                }
            }
        };
        ctx.spawn(work.into_actor(self));
    }
}

/// Tell one saga that its attempt was lost with the last process.
#[derive(Message)]
#[rtype(result = "()")]
struct RecoverOne(SagaId);

fn flatten<T>(outcome: Result<Result<T, HandleError>, MailboxError>, id: SagaId) -> Result<T, HandleError> {
    outcome.unwrap_or_else(|error| Err(HandleError::Panicked(format!("the actor of {id} is gone: {error}"))))
}

impl Actor for RetryScheduler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(limits::SCHEDULER_MAILBOX);
        self.recover(ctx);
        self.ask_anew(ctx);
        let (bell, me) = (self.parts.work_arrived.clone(), ctx.address());
        let ring = async move {
            while let Ok(Pause { at_least, at_most }) = me.send(Look).await {
                if !at_least.is_zero() {
                    tokio::time::sleep(at_least).await;
                }
                drop(tokio::time::timeout(at_most, bell.notified()).await);
            }
        };
        ctx.spawn(ring.into_actor(self));
    }
}

/// How long nothing can be due: to the next timer, at most one scan interval. A hint ends the wait early.
fn until_next(due: Option<Timestamp>, now: Timestamp) -> Duration {
    let longest = Duration::from_millis(limits::SCAN_INTERVAL_MS);
    // A due saga that is already in hand stays due until its commit: do not spin meanwhile.
    due.map_or(longest, |due| Duration::from_millis(due.ms_since(now).max(5)).min(longest))
}

impl Handler<Look> for RetryScheduler {
    type Result = ResponseActFuture<Self, Pause>;

    fn handle(&mut self, _: Look, _: &mut Self::Context) -> Self::Result {
        self.look()
    }
}

impl Handler<RecoverOne> for RetryScheduler {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, RecoverOne(id): RecoverOne, ctx: &mut Self::Context) -> Self::Result {
        let sent = self.enlist(id, ctx.address()).send(Recover);
        Box::pin(sent.into_actor(self).map(move |outcome, this, ctx| {
            this.after(id, &flatten(outcome, id), &ctx.address());
        }))
    }
}

impl Handler<Deliver> for RetryScheduler {
    type Result = ResponseActFuture<Self, Result<Record, HandleError>>;

    fn handle(&mut self, msg: Deliver, ctx: &mut Self::Context) -> Self::Result {
        let id = msg.saga;
        let sent = self.enlist(id, ctx.address()).send(Handle { event: msg.event, notice: msg.notice });
        Box::pin(sent.into_actor(self).map(move |outcome, this, ctx| {
            let outcome = flatten(outcome, id);
            this.after(id, &outcome, &ctx.address());
            outcome
        }))
    }
}

impl Handler<Create> for RetryScheduler {
    type Result = ResponseActFuture<Self, Result<Record, HandleError>>;

    fn handle(&mut self, msg: Create, ctx: &mut Self::Context) -> Self::Result {
        let id = new_saga_id(self.parts.clock.now(), self.lot_of(&msg));
        let Create { portal, source, rule, robot, notice } = msg;
        let begin = Begin(Beginning { portal, source, rule, robot, notice });
        let sent = self.enlist(id, ctx.address()).send(begin);
        Box::pin(sent.into_actor(self).map(move |outcome, this, ctx| {
            let outcome = flatten(outcome, id);
            this.after(id, &outcome, &ctx.address());
            outcome
        }))
    }
}

impl Handler<Ping> for RetryScheduler {
    type Result = MessageResult<Ping>;

    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> Self::Result {
        MessageResult(Pulse { active: self.active.len(), in_hand: self.in_hand.len() })
    }
}
