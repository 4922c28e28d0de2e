//! DocumentSaga: one actor per active saga. Load, decide, commit, act; one event at a time.
//!
//! A dormant saga has no actor: it costs bytes on disk, not memory. The actor holds nothing that the store does
//! not hold, so that losing it loses nothing; it ends when the scheduler drops its address. It knows no wire format and no provider: effects are values.

use super::crash_point::{self, CrashPoint};
use super::effect_runner::{EffectRunner, Order};
use super::retry_scheduler::RetryScheduler;
use super::{Parts, chance, panic_text};
use crate::domain::{AttemptToken, NoticeId, PortalId, SagaId, Text};
use crate::limits;
use crate::saga::document::{
    Context, DocumentSaga as Record, Event, IllegalEvent, Next, RobotWishes, Source, begin, begin_for_robot,
    invariant, transition,
};
use crate::store::{Commit, CommitError, Fate, NewNotice, NoticeKind, StoreError, Stored};
use actix::prelude::*;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// How often a decision is made anew because the record changed below us or a name was taken. Each round reads
/// the present truth, so more than a few mean a fault of ours.
const ROUNDS_MAX: usize = 8;

/// One active saga.
pub struct DocumentSaga {
    id: SagaId,
    parts: Arc<Parts>,
    runner: Arc<EffectRunner>,
    scheduler: Addr<RetryScheduler>,
}

/// Why an event could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// There is no such saga.
    #[error("no document {0}")]
    NotFound(SagaId),
    /// An order of a person that does not fit the state.
    #[error("{}", .0.en)]
    Rejected(Text),
    /// At creation: another saga has the source or is reading the item.
    #[error("the source belongs to document {by}")]
    Taken {
        /// The owner.
        by: SagaId,
    },
    /// The store cannot commit now; the event is not lost, it will be offered again.
    #[error("the store is unavailable")]
    Store(#[source] StoreError),
    /// Handling has panicked; the scheduler counts this.
    #[error("the handler panicked: {0}")]
    Panicked(String),
    /// The record kept changing below us.
    #[error("the record of {0} kept changing")]
    Restless(SagaId),
}

/// Apply an event; answered when the decision is durable.
#[derive(Message)]
#[rtype(result = "Result<Record, HandleError>")]
pub struct Handle {
    /// The fact.
    pub event: Event,
    /// The inbox entry that caused it, removed in the same commit.
    pub notice: Option<NoticeId>,
}

/// Create the saga; answered when it is durable.
#[derive(Message)]
#[rtype(result = "Result<Record, HandleError>")]
pub struct Begin {
    /// The portal.
    pub portal: PortalId,
    /// Where the file is.
    pub source: Source,
    /// The rule, if it is known.
    pub rule: Option<String>,
    /// What the robot wants that ordered it, if one did.
    pub robot: Option<RobotWishes>,
    /// The inbox entry that caused it, removed in the same commit.
    pub notice: Option<NoticeId>,
}

/// The process was restarted: what was under way is of unknown outcome.
#[derive(Message)]
#[rtype(result = "Result<(), HandleError>")]
pub struct Recover;

/// The timer fired.
#[derive(Message)]
#[rtype(result = "Result<(), HandleError>")]
pub struct Tick;

impl DocumentSaga {
    /// An actor for the saga; it loads its record with the first message.
    pub fn new(
        id: SagaId,
        parts: Arc<Parts>,
        runner: Arc<EffectRunner>,
        scheduler: Addr<RetryScheduler>,
    ) -> Self {
        Self { id, parts, runner, scheduler }
    }

    fn worker(&self) -> Worker {
        Worker {
            id: self.id,
            parts: self.parts.clone(),
            runner: self.runner.clone(),
            scheduler: self.scheduler.clone(),
        }
    }

    /// One message to the end before the next is taken, and no panic past this point: a panic in a handler
    /// would end the arbiter with every saga on it.
    fn atomically<T, F>(&self, work: F) -> AtomicResponse<Self, Result<T, HandleError>>
    where
        T: 'static,
        F: Future<Output = Result<T, HandleError>> + 'static,
    {
        let guarded = AssertUnwindSafe(work)
            .catch_unwind()
            .map(|out| out.unwrap_or_else(|panic| Err(HandleError::Panicked(panic_text(&*panic)))));
        AtomicResponse::new(Box::pin(guarded.into_actor(self)))
    }
}

impl Actor for DocumentSaga {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(limits::SAGA_MAILBOX);
    }
}

impl Handler<Handle> for DocumentSaga {
    type Result = AtomicResponse<Self, Result<Record, HandleError>>;

    fn handle(&mut self, msg: Handle, _: &mut Self::Context) -> Self::Result {
        let worker = self.worker();
        self.atomically(async move { worker.handle(msg.event, msg.notice).await })
    }
}

impl Handler<Begin> for DocumentSaga {
    type Result = AtomicResponse<Self, Result<Record, HandleError>>;

    fn handle(&mut self, msg: Begin, _: &mut Self::Context) -> Self::Result {
        let worker = self.worker();
        self.atomically(async move { worker.begin(msg).await })
    }
}

impl Handler<Recover> for DocumentSaga {
    type Result = AtomicResponse<Self, Result<(), HandleError>>;

    fn handle(&mut self, _: Recover, _: &mut Self::Context) -> Self::Result {
        let worker = self.worker();
        self.atomically(async move { worker.recover().await })
    }
}

impl Handler<Tick> for DocumentSaga {
    type Result = AtomicResponse<Self, Result<(), HandleError>>;

    fn handle(&mut self, _: Tick, _: &mut Self::Context) -> Self::Result {
        let worker = self.worker();
        self.atomically(async move { worker.tick().await })
    }
}

/// The loop of one message: load, decide, commit, act.
struct Worker {
    id: SagaId,
    parts: Arc<Parts>,
    runner: Arc<EffectRunner>,
    scheduler: Addr<RetryScheduler>,
}

impl Worker {
    async fn load(&self) -> Result<Stored, HandleError> {
        let found = self.parts.store.load(self.id).await.map_err(HandleError::Store)?;
        found.ok_or(HandleError::NotFound(self.id))
    }

    async fn recover(&self) -> Result<(), HandleError> {
        let stored = self.load().await?;
        if let Some(token) = in_flight(&stored.saga).filter(|t| !self.runner.is_running(self.id, *t)) {
            self.apply(stored, Event::AttemptLost { token }, None).await?;
        }
        Ok(())
    }

    async fn tick(&self) -> Result<(), HandleError> {
        let stored = self.load().await?;
        let Some(timer) = stored.saga.timer.filter(|t| t.due <= self.parts.clock.now()) else {
            return Ok(());
        };
        let event = match in_flight(&stored.saga) {
            Some(token) if self.runner.is_running(self.id, token) => Event::StillRunning { token },
            _ => Event::TimerFired { kind: timer.kind },
        };
        self.apply(stored, event, None).await.map(drop)
    }

    async fn handle(&self, event: Event, notice: Option<NoticeId>) -> Result<Record, HandleError> {
        let stored = self.load().await?;
        self.apply(stored, event, notice).await
    }

    async fn begin(&self, order: Begin) -> Result<Record, HandleError> {
        let cx = self.context();
        let (portal, source, rule) = (&order.portal, order.source, order.rule);
        let next = match order.robot {
            Some(wishes) => begin_for_robot(self.id, portal, source, rule, wishes, cx),
            None => begin(self.id, portal, source, rule, cx),
        };
        let next = next.map_err(|e| HandleError::Panicked(e.to_string()))?;
        let effect = next.effect.clone();
        match self.parts.store.commit(self.commit_of(None, next, order.notice)).await {
            Ok(stored) => {
                crash_point::reach(CrashPoint::Committed);
                self.act(&stored.saga, effect);
                self.hint(&stored.saga);
                Ok(stored.saga)
            }
            Err(CommitError::ClaimTaken { by, .. }) => Err(HandleError::Taken { by }),
            Err(CommitError::Stale) => Err(HandleError::Taken { by: self.id }),
            Err(CommitError::Store(e)) => Err(HandleError::Store(e)),
        }
    }

    fn context(&self) -> Context<'_> {
        Context { now: self.parts.clock.now(), policy: &self.parts.policy, chance: chance() }
    }

    async fn apply(
        &self,
        mut stored: Stored,
        event: Event,
        notice: Option<NoticeId>,
    ) -> Result<Record, HandleError> {
        let mut event = event;
        for _ in 0..ROUNDS_MAX {
            let next = self.decide(&stored.saga, &event)?;
            if !next.changes(&stored.saga) {
                self.settle(notice).await?;
                return Ok(stored.saga);
            }
            let effect = next.effect.clone();
            let before = stored.saga.step;
            match self.parts.store.commit(self.commit_of(Some(stored.clone()), next, notice)).await {
                Ok(committed) => {
                    crash_point::reach(CrashPoint::Committed);
                    self.tell(before, &committed.saga, &event);
                    self.act(&committed.saga, effect);
                    self.hint(&committed.saga);
                    return Ok(committed.saga);
                }
                Err(CommitError::Stale) => stored = self.load().await?,
                Err(CommitError::ClaimTaken { claim, by }) => event = Event::ClaimTaken { claim, by },
                Err(CommitError::Store(e)) => return Err(HandleError::Store(e)),
            }
        }
        Err(HandleError::Restless(self.id))
    }

    /// The pure decision; a fault of ours in it parks this saga and no other.
    fn decide(&self, saga: &Record, event: &Event) -> Result<Next, HandleError> {
        let fault = match transition(saga, event, self.context()) {
            Ok(next) => match invariant::check(&next.saga).first() {
                None => return Ok(next),
                Some(broken) => {
                    self.parts.metrics.invariant_violated(broken.id);
                    format!("{}: {}", broken.id, broken.what)
                }
            },
            Err(IllegalEvent::Rejected(text)) => return Err(HandleError::Rejected(text)),
            Err(fault) => fault.to_string(),
        };
        tracing::error!(saga.id = %self.id, %fault, ?event, "a decision broke a rule, the saga is parked");
        let parked = transition(saga, &Event::Panicked { text: fault }, self.context());
        parked.map_err(|e| HandleError::Panicked(e.to_string()))
    }

    fn commit_of(&self, previous: Option<Stored>, next: Next, notice: Option<NoticeId>) -> Commit {
        let mut saga = next.saga;
        saga.revision = previous.as_ref().map_or(0, |p| p.saga.revision) + 1;
        let received_at = self.parts.clock.now();
        let enqueue = next
            .spawn
            .into_iter()
            .map(|spawn| {
                let trigger = super::trigger::Trigger { source: spawn.source, rule: Some(spawn.rule) };
                NewNotice {
                    kind: NoticeKind::FieldFile,
                    portal: Some(saga.portal.clone()),
                    received_at,
                    content_type: super::trigger::CONTENT_TYPE.to_owned(),
                    body: trigger.encode().into(),
                }
            })
            .collect();
        Commit {
            previous,
            saga,
            history: next.history,
            claims: next.claims,
            release: next.release,
            consumed: notice,
            enqueue,
        }
    }

    async fn settle(&self, notice: Option<NoticeId>) -> Result<(), HandleError> {
        match notice {
            Some(id) => self.parts.store.settle(id, Fate::Done).await.map_err(HandleError::Store),
            None => Ok(()),
        }
    }

    fn tell(&self, before: crate::saga::document::Step, saga: &Record, event: &Event) {
        self.parts.metrics.transition(saga.step.name(), event.name());
        if before != saga.step {
            tracing::info!(
                saga.id = %self.id,
                saga.step = saga.step.name(),
                from = before.name(),
                saga.event = event.name(),
                "document moved"
            );
        }
        if let Some(dead) = saga.dead_letter.as_ref().filter(|_| before != saga.step) {
            self.parts.metrics.dead_lettered(dead.from.name());
            tracing::error!(saga.id = %self.id, code = %dead.code, "dead letter: a person is needed");
        }
    }

    /// A timer that is due before the scheduler would look again: without a hint it fires a scan interval late.
    fn hint(&self, saga: &Record) {
        let soon = self.parts.clock.now().plus_ms(limits::SCAN_INTERVAL_MS);
        if saga.timer.is_some_and(|timer| timer.due < soon) {
            self.parts.work_arrived.notify_one();
        }
    }

    /// Starts the effect that the commit has ordered; its answer comes back as an event, failure included.
    fn act(&self, saga: &Record, effect: Option<crate::saga::document::Effect>) {
        if let (Some(effect), Some(token)) = (effect, in_flight(saga)) {
            let (portal, since) = (saga.portal.clone(), saga.created_at);
            let order = Order { saga: self.id, portal, since, token, effect };
            self.runner.start(order, self.scheduler.clone());
        }
    }
}

fn in_flight(saga: &Record) -> Option<AttemptToken> {
    match saga.work {
        crate::saga::document::Work::InFlight { token, .. } => Some(token),
        crate::saga::document::Work::Idle => None,
    }
}
