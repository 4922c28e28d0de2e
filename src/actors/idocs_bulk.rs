//! Content to sign, made for many documents by one request where many want it at the same time.
//!
//! A document that wants its content waits a moment here. Where enough others do, one push asks for all of them, and one
//! question after another what has been made; each document then fetches its own bytes, as it would after asking alone.
//! It holds none of the account's turns while it waits, so that hours over there hold up nobody else.
//!
//! Only generating content goes this way: it is a read by nature (a repeat gives a newer unit, and only the newest
//! counts), and the answer names its document. What that answer does not settle is settled by the single call: a
//! document that is left over, whatever the reason, asks alone, and its own answer says what is wrong with it.
//!
//! It deliberately does not know what a document does with its content, and keeps nothing: after a crash each document
//! asks again. A unit that is made late for a push that was given up may end the life of the one that was asked for
//! alone; then the save is refused, and the signer is asked anew, as after any content that has died.
//!
//! Invariants:
//! - a unit reaches only the document that its answer names, and that document's latest attempt;
//! - documents that wait and pushes under way are bounded; whoever finds no room asks alone, at once;
//! - each request takes a turn of the account and passes its circuit, as every single call does.

use super::Parts;
use super::circuit::Circuit;
use super::circuit_call::through;
use super::decision::in_flight;
use super::deliver::Deliver;
use super::fair_turns::FairTurns;
use super::local_failure::{local, stopping};
use super::order::Order;
use crate::domain::{AttemptToken, Failure, FailureClass, FailureKind, PortalId, SagaId, Timestamp};
use crate::providers::idocs::bulk::PollPlan;
use crate::providers::idocs::bulk_contents::{ContentOperation, ContentWish, PUSHED_AT_ONCE_MAX};
use crate::providers::idocs::{Client, Content};
use crate::saga::document::{Effect, Event, OwnEffect, OwnEvent};
use crate::telemetry::metrics::BulkOutcome;
use actix::{ArbiterHandle, Recipient};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Pushes under way at one time: what the service works on for us is bounded, and so are the questions about it.
const PUSHES_MAX: usize = 8;
/// Documents that wait here at one time.
const WAITING_MAX: usize = PUSHES_MAX * PUSHED_AT_ONCE_MAX;
/// After so many failed pushes in a row the account is taken for one where they do not work ...
const FAILURES_MAX: u32 = 2;
/// ... for this long: then it is tried again.
const REST_MS: u64 = 10 * 60_000;
/// How late a stop of the process is noticed by a pause.
const SLICE_MS: u64 = 200;

/// When content is made for many documents at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkPlan {
    /// So many documents make a push worth its wait; at least two.
    pub from: usize,
    /// How long a document waits for others, in milliseconds.
    pub gather_ms: u64,
    /// When results are asked for, and when they are given up.
    pub poll: PollPlan,
}

/// Where documents wait for each other.
pub(super) struct ContentBulk {
    parts: Arc<Parts>,
    client: Arc<Client>,
    plan: BulkPlan,
    circuit: Arc<Mutex<Circuit>>,
    calls: FairTurns,
    arbiter: ArbiterHandle,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    gathering: Vec<Waiter>,
    pushes: usize,
    /// Documents of pushes under way, with how many others share theirs.
    pushed: BTreeMap<SagaId, u32>,
    /// Pushes that failed since the last one that did not.
    failures: u32,
    /// No pushes before.
    rests_until: Option<Timestamp>,
}

/// A document that waits.
struct Waiter {
    saga: SagaId,
    token: AttemptToken,
    portal: PortalId,
    wish: ContentWish,
    answers_to: Recipient<Deliver>,
    told: oneshot::Sender<Told>,
}

/// What a document that waited is told.
enum Told {
    /// Here is its content.
    Made(Content),
    /// It asks alone.
    Alone,
    /// It fails as its single call would.
    Failed(Failure),
}

impl ContentBulk {
    /// The place of an account; none where content is never made for many at once.
    pub(super) fn new(
        parts: &Arc<Parts>,
        circuit: &Arc<Mutex<Circuit>>,
        calls: &FairTurns,
        arbiter: &ArbiterHandle,
    ) -> Option<Arc<Self>> {
        let idocs = parts.idocs.as_ref()?;
        Some(Arc::new(Self {
            client: idocs.client.clone(),
            plan: idocs.bulk.clone()?,
            parts: parts.clone(),
            circuit: circuit.clone(),
            calls: calls.clone(),
            arbiter: arbiter.clone(),
            inner: Mutex::default(),
        }))
    }

    /// With how many others the content of this document is being made; none: it is not, or it asks alone.
    pub(super) fn others_of(&self, saga: SagaId) -> Option<u32> {
        self.inner().pushed.get(&saga).copied()
    }

    /// The unit of a document that wants its content, if it was made together with others; none: it is to ask alone.
    ///
    /// # Errors
    /// What its own call would have failed with: no attempt of its own is worth making now.
    pub(super) async fn unit_for(
        self: &Arc<Self>,
        order: &Order,
        answers_to: &Recipient<Deliver>,
    ) -> Result<Option<Content>, Failure> {
        let Some(told) = self.join(order, answers_to) else { return Ok(None) };
        match told.await {
            Ok(Told::Made(content)) => Ok(Some(content)),
            Ok(Told::Failed(failure)) => Err(failure),
            // dropped without a word: whoever gathered has panicked
            Ok(Told::Alone) | Err(_) => Ok(None),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the document among those that gather; none where it has to ask alone.
    fn join(
        self: &Arc<Self>,
        order: &Order,
        answers_to: &Recipient<Deliver>,
    ) -> Option<oneshot::Receiver<Told>> {
        let Effect::Own(OwnEffect::PrepareContent { document_id, employee_id, .. }) = &order.effect else {
            return None;
        };
        // what cannot be sent would spoil the push of the others; alone it says what is wrong
        let wish = ContentWish::new(document_id, employee_id).ok()?;
        let (told, hears) = oneshot::channel();
        let (portal, answers_to) = (order.portal.clone(), answers_to.clone());
        let waiter = Waiter { saga: order.saga, token: order.token, portal, wish, answers_to, told };
        let first = {
            let mut inner = self.inner();
            let full = inner.gathering.len() + inner.pushed.len() >= WAITING_MAX;
            let rests = inner.rests_until.is_some_and(|until| self.parts.clock.now() < until);
            if full || rests || self.parts.is_draining() {
                return None;
            }
            let same = |other: &Waiter| other.wish.document() == waiter.wish.document();
            if let Some(place) = inner.gathering.iter().position(same) {
                // of two units of one document only the newest counts, and one push tells no order
                drop(inner.gathering.swap_remove(place).told.send(Told::Failed(superseded())));
            }
            inner.gathering.push(waiter);
            inner.gathering.len() == 1
        };
        if first {
            let me = self.clone();
            self.arbiter.spawn(async move { me.gather().await });
        }
        Some(hears)
    }

    async fn gather(self: Arc<Self>) {
        let over = self.pause(self.plan.gather_ms).await;
        let gathered = std::mem::take(&mut self.inner().gathering);
        if over == Pause::CutShort {
            return self.tell_all(gathered, || Told::Failed(stopping()));
        }
        if gathered.len() < self.plan.from.max(2) {
            return self.tell_all(gathered, || Told::Alone);
        }
        for group in groups(gathered) {
            let Some(place) = self.begin(&group) else {
                self.tell_all(group, || Told::Alone);
                continue;
            };
            self.arbiter.spawn(async move { place.bulk.make(group).await });
        }
    }

    /// Takes one of the places for pushes.
    fn begin(self: &Arc<Self>, group: &[Waiter]) -> Option<Place> {
        let mut inner = self.inner();
        if inner.pushes == PUSHES_MAX {
            return None;
        }
        inner.pushes += 1;
        inner.pushed.extend(group.iter().map(|waiter| (waiter.saga, others(group))));
        let sagas = group.iter().map(|waiter| waiter.saga).collect();
        Some(Place { bulk: self.clone(), sagas })
    }

    /// One push, from its first request to the last document that it was for.
    async fn make(&self, group: Vec<Waiter>) {
        let group = self.still_wanted(group).await;
        let Some(portal) = group.first().map(|waiter| waiter.portal.clone()) else { return };
        let wishes: Vec<ContentWish> = group.iter().map(|waiter| waiter.wish.clone()).collect();
        self.parts.metrics.idocs_bulk(BulkOutcome::Pushed, wishes.len());
        match self.call(&portal, self.client.push_contents(&wishes)).await {
            Ok(operations) => {
                self.inner().failures = 0;
                say_so(&group).await;
                self.follow(&portal, operations, group).await;
            }
            Err(failure) => self.not_pushed(&failure, group),
        }
    }

    /// Asks for results until every document has its unit, nothing can come any more, or the time is over.
    async fn follow(&self, portal: &PortalId, mut operations: BTreeSet<String>, mut group: Vec<Waiter>) {
        let (since, mut asked) = (self.parts.clock.now(), 0);
        while !group.is_empty() && !operations.is_empty() {
            let Some(pause_ms) = self.plan.poll.pause_ms(asked, since, self.parts.clock.now()) else {
                tracing::warn!(
                    documents = group.len(),
                    "content is not made in time, each document asks alone"
                );
                break;
            };
            if self.pause(pause_ms).await == Pause::CutShort {
                return self.tell_all(group, || Told::Failed(stopping()));
            }
            group = self.still_wanted(group).await;
            asked = asked.saturating_add(1);
            match self.call(portal, self.client.content_operations(&operations)).await {
                Ok(told) => {
                    for (id, operation) in told {
                        if operation != ContentOperation::Running {
                            operations.remove(&id);
                        }
                        self.hand_out(operation, &mut group);
                    }
                }
                // no later question would fare better; the single calls say why
                Err(failure) if matches!(failure.class, FailureClass::Permanent | FailureClass::Auth) => {
                    break;
                }
                Err(failure) => {
                    tracing::debug!(code = %failure.code, "results of a push cannot be asked for now");
                }
            }
        }
        self.alone(group);
    }

    /// Gives what an operation came to to the document that it names.
    fn hand_out(&self, operation: ContentOperation, group: &mut Vec<Waiter>) {
        let (document, told) = match operation {
            ContentOperation::Running | ContentOperation::Over => return,
            // it lay there for too long
            ContentOperation::Done { content, .. } if content.dispose_on <= self.parts.clock.now() => return,
            ContentOperation::Done { document, content } => (document, Told::Made(content)),
            ContentOperation::Failed { document, failure } => (document, Told::Failed(failure)),
        };
        let Some(place) = group.iter().position(|waiter| waiter.wish.document() == document) else { return };
        let outcome = match told {
            Told::Made(_) => BulkOutcome::Done,
            Told::Alone | Told::Failed(_) => BulkOutcome::Failed,
        };
        self.parts.metrics.idocs_bulk(outcome, 1);
        self.tell(group.swap_remove(place), told);
    }

    /// A push that failed: to each document as its single call would have, so that its own pauses are kept, and units of
    /// a push that was taken all the same come before newer ones. A clean refusal may be the push's own fault, and sends
    /// each to its single call.
    fn not_pushed(&self, failure: &Failure, group: Vec<Waiter>) {
        tracing::warn!(code = %failure.code, documents = group.len(), "content was not asked for together");
        let of_the_way = failure.class == FailureClass::Throttled || failure.kind == FailureKind::Unreachable;
        if !of_the_way {
            self.count_failure();
        }
        if failure.class == FailureClass::Permanent {
            return self.alone(group);
        }
        self.parts.metrics.idocs_bulk(BulkOutcome::Failed, group.len());
        self.tell_all(group, || Told::Failed(failure.clone()));
    }

    fn count_failure(&self) {
        let now = self.parts.clock.now();
        let mut inner = self.inner();
        inner.failures = inner.failures.saturating_add(1);
        if inner.failures >= FAILURES_MAX {
            inner.rests_until = Some(now.plus_ms(REST_MS));
            inner.failures = 0;
        }
    }

    /// Without those that were cancelled meanwhile, or that have begun a newer attempt.
    async fn still_wanted(&self, group: Vec<Waiter>) -> Vec<Waiter> {
        let mut wanted = Vec::with_capacity(group.len());
        for waiter in group {
            // a store that cannot be read now says nothing against it
            let stands = match self.parts.store.load(waiter.saga).await {
                Ok(Some(stored)) => in_flight(&stored.saga) == Some(waiter.token),
                Ok(None) => false,
                Err(_) => true,
            };
            if stands {
                wanted.push(waiter);
            } else {
                self.parts.metrics.idocs_bulk(BulkOutcome::LeftOut, 1);
                self.tell(waiter, Told::Failed(superseded()));
            }
        }
        wanted
    }

    fn alone(&self, group: Vec<Waiter>) {
        self.parts.metrics.idocs_bulk(BulkOutcome::FellBack, group.len());
        self.tell_all(group, || Told::Alone);
    }

    fn tell_all(&self, group: Vec<Waiter>, told: impl Fn() -> Told) {
        for waiter in group {
            self.tell(waiter, told());
        }
    }

    fn tell(&self, waiter: Waiter, told: Told) {
        self.inner().pushed.remove(&waiter.saga);
        // nobody listens when the engine stops
        drop(waiter.told.send(told));
    }

    /// A request as the single calls are made: one of the account's turns, and through its circuit.
    async fn call<T>(
        &self,
        portal: &PortalId,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let _turn = self.calls.take(portal).await;
        through(&self.circuit, "iDocs", &self.parts, request).await
    }

    async fn pause(&self, ms: u64) -> Pause {
        let mut left = ms;
        while left > 0 {
            if self.parts.is_draining() {
                return Pause::CutShort;
            }
            let slice = left.min(SLICE_MS);
            tokio::time::sleep(Duration::from_millis(slice)).await;
            left -= slice;
        }
        Pause::Over
    }
}

/// A place for a push; free again when dropped, after a panic too.
struct Place {
    bulk: Arc<ContentBulk>,
    sagas: Vec<SagaId>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.bulk.inner();
        inner.pushes -= 1;
        for saga in &self.sagas {
            inner.pushed.remove(saga);
        }
    }
}

fn others(group: &[Waiter]) -> u32 {
    u32::try_from(group.len().saturating_sub(1)).unwrap_or(u32::MAX)
}

/// How a pause ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    Over,
    /// The process is stopping.
    CutShort,
}

/// Groups of like size, each small enough for one push.
fn groups<T>(mut gathered: Vec<T>) -> Vec<Vec<T>> {
    let count = gathered.len().div_ceil(PUSHED_AT_ONCE_MAX).max(1);
    let size = gathered.len().div_ceil(count).max(1);
    let mut all = Vec::with_capacity(count);
    while gathered.len() > size {
        let rest = gathered.split_off(size);
        all.push(std::mem::replace(&mut gathered, rest));
    }
    all.push(gathered);
    all
}

/// Into the history of each: the wait may be long.
async fn say_so(group: &[Waiter]) {
    let others = others(group);
    let told = group.iter().map(|waiter| {
        let event = Event::Own(OwnEvent::MadeTogether { others });
        waiter.answers_to.send(Deliver { saga: waiter.saga, event, notice: None })
    });
    for outcome in join_all(told).await {
        match outcome {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a line of history is missing"),
            // the engine is stopping
            Err(_) => return,
        }
    }
}

/// Nobody waits for it: what it says is dropped.
fn superseded() -> Failure {
    local(
        FailureClass::Transient,
        "superseded",
        "Этой попытки больше никто не ждёт.",
        "Nobody waits for this attempt any more.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_documents_are_split_into_groups_of_like_size_and_nobody_is_lost() {
        for (gathered, sizes) in [
            (0, vec![0]),
            (2, vec![2]),
            (50, vec![50]),
            (51, vec![26, 25]),
            (52, vec![26, 26]),
            (101, vec![34, 34, 33]),
            (400, vec![50; 8]),
        ] {
            let all = groups((0..gathered).collect());
            assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "{gathered}");
            assert_eq!(all.concat(), (0..gathered).collect::<Vec<_>>());
        }
    }
}
