//! DocumentSaga: one actor per active saga. Load, decide, commit, act; one event at a time.
//!
//! A dormant saga has no actor: it costs bytes on disk, not memory. The actor holds nothing that the store does
//! not hold, so that losing it loses nothing; it ends when the scheduler drops its address. It knows no wire format and no provider: effects are values.

use super::crash_point::{self, CrashPoint};
use super::decision::{self, Applied, Beginning, Committed, Decider, Moment, in_flight};
use super::deliver::Deliver;
use super::effect_runner::EffectRunner;
use super::order::Order;
use super::{Parts, chance, panic_text};
use crate::domain::{NoticeId, SagaId};
use crate::limits;
use crate::saga::document::{DocumentSaga as Record, Event};
use actix::prelude::*;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

pub use super::decision::HandleError;

/// One active saga.
pub struct DocumentSaga {
    id: SagaId,
    parts: Arc<Parts>,
    runner: Arc<EffectRunner>,
    answers_to: Recipient<Deliver>,
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
pub struct Begin(pub Beginning);

/// The process was restarted: what was under way is of unknown outcome.
#[derive(Message)]
#[rtype(result = "Result<(), HandleError>")]
pub struct Recover;

/// The timer fired.
#[derive(Message)]
#[rtype(result = "Result<(), HandleError>")]
pub struct Tick;

impl DocumentSaga {
    /// An actor for the saga; it loads its record with the first message. What its effects come to goes to `answers_to`.
    pub fn new(
        id: SagaId,
        parts: Arc<Parts>,
        runner: Arc<EffectRunner>,
        answers_to: Recipient<Deliver>,
    ) -> Self {
        Self { id, parts, runner, answers_to }
    }

    fn worker(&self) -> Worker {
        Worker {
            id: self.id,
            parts: self.parts.clone(),
            runner: self.runner.clone(),
            answers_to: self.answers_to.clone(),
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
        self.atomically(async move { worker.begin(msg.0).await })
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
    answers_to: Recipient<Deliver>,
}

impl Worker {
    async fn recover(&self) -> Result<(), HandleError> {
        self.decide(async |decider| {
            let stored = decider.load().await?;
            let running = |token| self.runner.is_running(self.id, token);
            match decision::event_of_restart(&stored.saga, running) {
                Some(event) => decider.apply(stored, event, None).await,
                None => Ok(Applied::Unchanged(Box::new(stored.saga))),
            }
        })
        .await
        .map(drop)
    }

    async fn tick(&self) -> Result<(), HandleError> {
        self.decide(async |decider| {
            let stored = decider.load().await?;
            let running = |token| self.runner.is_running(self.id, token);
            match decision::event_of_timer(&stored.saga, self.parts.clock.now(), running) {
                Some(event) => decider.apply(stored, event, None).await,
                None => Ok(Applied::Unchanged(Box::new(stored.saga))),
            }
        })
        .await
        .map(drop)
    }

    async fn handle(&self, event: Event, notice: Option<NoticeId>) -> Result<Record, HandleError> {
        self.decide(async |decider| {
            let stored = decider.load().await?;
            decider.apply(stored, event, notice).await
        })
        .await
    }

    async fn begin(&self, order: Beginning) -> Result<Record, HandleError> {
        self.decide(async |decider| decider.begin(order).await).await
    }

    /// Decides and commits, then acts on what was committed.
    async fn decide(
        &self,
        work: impl AsyncFnOnce(&Decider<'_>) -> Result<Applied, HandleError>,
    ) -> Result<Record, HandleError> {
        let parts = &*self.parts;
        let moment = || Moment { now: parts.clock.now(), chance: chance() };
        let (store, policy, metrics) = (&parts.store, &parts.policy, &*parts.metrics);
        let decider = Decider { id: self.id, store, policy, metrics, moment: &moment };
        match work(&decider).await? {
            Applied::Unchanged(saga) => Ok(*saga),
            Applied::Committed(committed) => {
                let Committed { saga, before, event, effect } = *committed;
                crash_point::reach(CrashPoint::Committed);
                if let Some(event) = &event {
                    self.tell(before, &saga, event);
                }
                self.act(&saga, effect);
                self.hint(&saga);
                Ok(saga)
            }
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
            self.runner.start(order, self.answers_to.clone());
        }
    }
}
