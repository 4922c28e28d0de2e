//! One event of one saga: load, decide, commit. What [`DocumentSaga`](super::document_saga::DocumentSaga) does with every
//! message, without the actor around it: the simulation in `tests/` drives the very same code under its own clock.
//!
//! It starts nothing: whoever calls it acts on what was committed, after the commit.

use super::trigger::{self, Trigger};
use crate::domain::{AttemptToken, NoticeId, PortalId, SagaId, Text, Timestamp};
use crate::saga::document::{
    Context, DocumentSaga as Record, Effect, Event, IllegalEvent, Next, Policy, RobotWishes, Source, Step,
    Work, begin, begin_for_robot, invariant, transition,
};
use crate::store::{Commit, CommitError, Fate, NewNotice, NoticeKind, Store, StoreError, Stored};
use crate::telemetry::metrics::Metrics;

/// How often a decision is made anew because the record changed below us or a name was taken. Each round reads
/// the present truth, so more than a few mean a fault of ours.
const ROUNDS_MAX: usize = 8;

/// The present, and any number for jitter.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The present.
    pub now: Timestamp,
    /// Any number.
    pub chance: u64,
}

/// A saga to make.
#[derive(Debug, Clone)]
pub struct Beginning {
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

/// What became of an event.
#[derive(Debug)]
pub enum Applied {
    /// It changed nothing; the notice that brought it is settled.
    Unchanged(Box<Record>),
    /// The decision is durable.
    Committed(Box<Committed>),
}

/// A durable decision.
#[derive(Debug)]
pub struct Committed {
    /// The record as it is stored.
    pub saga: Record,
    /// The step before; of a new saga its first one.
    pub before: Step,
    /// The event that was applied in the end: a taken name replaces the one that was offered.
    pub event: Option<Event>,
    /// What is to be done now.
    pub effect: Option<Effect>,
}

/// Decides for one saga.
pub struct Decider<'a> {
    /// The saga.
    pub id: SagaId,
    /// The truth.
    pub store: &'a Store,
    /// What decisions depend on.
    pub policy: &'a Policy,
    /// Where broken rules are counted.
    pub metrics: &'a Metrics,
    /// The present, asked anew for every decision.
    pub moment: &'a dyn Fn() -> Moment,
}

impl Decider<'_> {
    fn context(&self) -> Context<'_> {
        let Moment { now, chance } = (self.moment)();
        Context { now, policy: self.policy, chance }
    }

    /// The saga's record.
    ///
    /// # Errors
    /// [`HandleError::NotFound`], [`HandleError::Store`].
    pub async fn load(&self) -> Result<Stored, HandleError> {
        let found = self.store.load(self.id).await.map_err(HandleError::Store)?;
        found.ok_or(HandleError::NotFound(self.id))
    }

    /// Makes the saga.
    ///
    /// # Errors
    /// [`HandleError::Taken`] if another one has the source; else as [`Decider::apply`].
    pub async fn begin(&self, order: Beginning) -> Result<Applied, HandleError> {
        let cx = self.context();
        let (portal, source, rule) = (&order.portal, order.source, order.rule);
        let next = match order.robot {
            Some(wishes) => begin_for_robot(self.id, portal, source, rule, wishes, cx),
            None => begin(self.id, portal, source, rule, cx),
        };
        let next = next.map_err(|e| HandleError::Panicked(e.to_string()))?;
        let effect = next.effect.clone();
        let committing = self.store.commit(commit_of(None, next, order.notice, cx.now));
        match committing.await {
            Ok(Stored { saga, .. }) => {
                let committed = Committed { before: saga.step, saga, event: None, effect };
                Ok(Applied::Committed(Box::new(committed)))
            }
            Err(CommitError::ClaimTaken { by, .. }) => Err(HandleError::Taken { by }),
            Err(CommitError::Stale) => Err(HandleError::Taken { by: self.id }),
            Err(CommitError::Store(e)) => Err(HandleError::Store(e)),
        }
    }

    /// Applies `event` to the record as it was read; reads it again where it has changed meanwhile.
    ///
    /// # Errors
    /// [`HandleError::Rejected`] for an order that does not fit, [`HandleError::Store`] if nothing can be committed now,
    /// [`HandleError::Restless`] and [`HandleError::Panicked`] for faults of ours.
    pub async fn apply(
        &self,
        mut stored: Stored,
        mut event: Event,
        notice: Option<NoticeId>,
    ) -> Result<Applied, HandleError> {
        for _ in 0..ROUNDS_MAX {
            let Some((effect, committing)) = self.change(&stored, &event, notice)? else {
                self.settle(notice).await?;
                return Ok(Applied::Unchanged(Box::new(stored.saga)));
            };
            let before = stored.saga.step;
            match committing.await {
                Ok(Stored { saga, .. }) => {
                    let committed = Committed { saga, before, event: Some(event), effect };
                    return Ok(Applied::Committed(Box::new(committed)));
                }
                Err(CommitError::Stale) => stored = self.load().await?,
                Err(CommitError::ClaimTaken { claim, by }) => event = Event::ClaimTaken { claim, by },
                Err(CommitError::Store(e)) => return Err(HandleError::Store(e)),
            }
        }
        Err(HandleError::Restless(self.id))
    }

    /// The effect that an event asks for, and the commit of what it changes; none if it changes nothing.
    #[allow(clippy::type_complexity, reason = "a pair of two things that have names")]
    fn change(
        &self,
        stored: &Stored,
        event: &Event,
        notice: Option<NoticeId>,
    ) -> Result<Option<(Option<Effect>, impl Future<Output = Result<Stored, CommitError>>)>, HandleError>
    {
        let next = self.decide(&stored.saga, event)?;
        if !next.changes(&stored.saga) {
            return Ok(None);
        }
        let effect = next.effect.clone();
        let commit = commit_of(Some(stored.clone()), next, notice, (self.moment)().now);
        Ok(Some((effect, self.store.commit(commit))))
    }

    /// The pure decision; a fault of ours in it parks this saga and no other.
    fn decide(&self, saga: &Record, event: &Event) -> Result<Next, HandleError> {
        let fault = match transition(saga, event, self.context()) {
            Ok(next) => match invariant::check(&next.saga).first() {
                None => return Ok(next),
                Some(broken) => {
                    self.metrics.invariant_violated(broken.id);
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

    async fn settle(&self, notice: Option<NoticeId>) -> Result<(), HandleError> {
        match notice {
            Some(id) => self.store.settle(id, Fate::Done).await.map_err(HandleError::Store),
            None => Ok(()),
        }
    }
}

/// The attempt that the record says is under way.
pub fn in_flight(saga: &Record) -> Option<AttemptToken> {
    match saga.work {
        Work::InFlight { token, .. } => Some(token),
        Work::Idle => None,
    }
}

/// What a restart means to the saga: an attempt that nobody runs any more was lost.
pub fn event_of_restart(saga: &Record, is_running: impl FnOnce(AttemptToken) -> bool) -> Option<Event> {
    let token = in_flight(saga)?;
    (!is_running(token)).then_some(Event::AttemptLost { token })
}

/// What its timer means to the saga, if it is due: an attempt that is still run gets more time.
pub fn event_of_timer(
    saga: &Record,
    now: Timestamp,
    is_running: impl FnOnce(AttemptToken) -> bool,
) -> Option<Event> {
    let timer = saga.timer.filter(|timer| timer.due <= now)?;
    Some(match in_flight(saga) {
        Some(token) if is_running(token) => Event::StillRunning { token },
        _ => Event::TimerFired { kind: timer.kind },
    })
}

/// The commit of a decision: the next revision, and the work for others as notices.
fn commit_of(
    previous: Option<Stored>,
    next: Next,
    notice: Option<NoticeId>,
    received_at: Timestamp,
) -> Commit {
    let mut saga = next.saga;
    saga.revision = previous.as_ref().map_or(0, |p| p.saga.revision) + 1;
    let enqueue = next
        .spawn
        .into_iter()
        .map(|spawn| {
            let trigger = Trigger { source: spawn.source, rule: Some(spawn.rule) };
            NewNotice {
                kind: NoticeKind::FieldFile,
                portal: Some(saga.portal.clone()),
                received_at,
                content_type: trigger::CONTENT_TYPE.to_owned(),
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
