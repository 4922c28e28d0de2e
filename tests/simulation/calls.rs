//! From a committed order to its answer: the budget (real), the request on its way, what goes wrong with it, and the
//! answer's commit.

use super::laws::{Broken, Law};
use super::life::{Happening, Life, Stop, moment_ms};
use super::plan::{FOLDER, HOUR, MINUTE, Portal};
use super::sabotage::Sabotage;
use super::sent_whole::is_sending;
use super::witness::ORDERED_PANIC;
use super::world::{FieldFile, News, Order, Reply, SECRET, answer_of, bytes_of, failure, is_for_portal};
use edobridge::actors::decision::{
    Applied, Committed, Decider, Moment, event_of_restart, event_of_timer, in_flight,
};
use edobridge::actors::document_saga::HandleError;
use edobridge::actors::portal_session::shared_budget::{Payer, SharedBudget, Spend};
use edobridge::domain::{Failure, FailureClass, FailureKind, NoticeId, SagaId, SpoolFile, Text};
use edobridge::saga::document::rule::normalised_name;
use edobridge::saga::document::transition::source_claim;
use edobridge::saga::document::{
    Answer, Claim, Context, DocumentSaga, Effect, Event, Source, Step, WantedFile, transition,
};
use edobridge::store::{SpoolError, Store, StoreError, Stored};
use std::cell::Cell;
use tokio::io::AsyncWriteExt;

/// What comes back of a call.
#[expect(clippy::large_enum_variant, reason = "it is kept in a box")]
#[derive(Debug, Clone)]
pub enum Returned {
    Reply(Reply),
    Failed(Failure),
    /// Handling it panics.
    Panicked,
}

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Not one byte was sent.
    Unreachable,
    LostBefore,
    LostAfter,
    /// The sender gives up; the remote carries it out a little later.
    Lingers,
    ServerErrorBefore,
    ServerErrorAfter,
    Throttled,
    Auth,
    Permanent,
    /// The task is gone and tells nothing: only the lease does.
    VanishedBefore,
    VanishedAfter,
    /// As before, and the answer comes when nobody waits for it any more.
    Zombie,
    /// It takes longer than the lease, and its process lives.
    Slow,
    PanicBefore,
    PanicAfter,
}

impl Fault {
    const ALL: [Self; 15] = [
        Self::Unreachable,
        Self::LostBefore,
        Self::LostAfter,
        Self::Lingers,
        Self::ServerErrorBefore,
        Self::ServerErrorAfter,
        Self::Throttled,
        Self::Auth,
        Self::Permanent,
        Self::VanishedBefore,
        Self::VanishedAfter,
        Self::Zombie,
        Self::Slow,
        Self::PanicBefore,
        Self::PanicAfter,
    ];

    /// What was seen of a service that takes everything in one call, and what differs for whoever waits for its answer.
    const OF_SENDING: [Self; 7] = [
        Self::Unreachable,
        Self::LostBefore,
        Self::LostAfter,
        Self::Lingers,
        Self::ServerErrorBefore,
        Self::ServerErrorAfter,
        Self::Permanent,
    ];

    /// Whether nothing is done, and nobody here can know that.
    fn seems_done(self) -> bool {
        matches!(self, Self::LostBefore | Self::ServerErrorBefore | Self::VanishedBefore | Self::PanicBefore)
    }

    fn is_done(self) -> bool {
        matches!(
            self,
            Self::LostAfter
                | Self::ServerErrorAfter
                | Self::VanishedAfter
                | Self::Zombie
                | Self::Slow
                | Self::PanicAfter
        )
    }
}

fn no_answer() -> Failure {
    failure(FailureClass::Ambiguous, FailureKind::NoAnswer, "timeout")
}

impl Life {
    // ---- decisions -----------------------------------------------------------------------------------------

    /// Gives an event to a saga: the production's load, decide and commit; then acts.
    pub async fn deliver(
        &mut self,
        id: SagaId,
        event: Event,
        notice: Option<NoticeId>,
    ) -> Result<Result<(), HandleError>, Stop> {
        self.may_die()?;
        let store = self.store();
        let stored = match store.load(id).await {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(Err(HandleError::NotFound(id))),
            Err(error) => return Err(Broken::new(Law::I13, format!("{id} cannot be read: {error}")).into()),
        };
        if self.sabotage == Some(Sabotage::ActsBeforeCommit) {
            self.act_early(&stored, &event)?;
        }
        self.witness.commits(id);
        self.before_write();
        let rejected =
            (self.sabotage == Some(Sabotage::IgnoresRefusals)).then(|| (stored.clone(), event.clone()));
        let consumed = notice.filter(|_| self.sabotage != Some(Sabotage::KeepsNotices));
        let outcome = {
            let (moment, policy, metrics) = (self.moments(), &self.plan.policy, &self.metrics);
            let decider = Decider { id, store: &store, policy, metrics, moment: &moment };
            decider.apply(stored, event, consumed).await
        };
        drop(store);
        self.after_write()?;
        if let (Err(HandleError::Store(StoreError::Unavailable { .. })), Some((stored, event))) =
            (&outcome, rejected)
        {
            self.act_early(&stored, &event)?;
        }
        self.concluded(outcome, notice)
    }

    /// The present, and a chance that is another one with every question.
    pub fn moments(&mut self) -> impl Fn() -> Moment + use<> {
        let (now, chance) = (self.wall(), Cell::new(self.chance.number()));
        move || {
            chance.set(chance.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            Moment { now, chance: chance.get() >> 1 }
        }
    }

    fn act_early(&mut self, stored: &Stored, event: &Event) -> Result<(), Stop> {
        let cx = Context { now: self.wall(), policy: &self.plan.policy, chance: 0 };
        let Ok(next) = transition(&stored.saga, event, cx) else { return Ok(()) };
        if let (Some(effect), Some(token)) = (next.effect, in_flight(&next.saga)) {
            let portal = Portal::of(&stored.saga.portal);
            self.carry_out(&Order { portal, saga: stored.saga.id, token, effect })?.ok();
        }
        Ok(())
    }

    pub fn concluded(
        &mut self,
        outcome: Result<Applied, HandleError>,
        notice: Option<NoticeId>,
    ) -> Result<Result<(), HandleError>, Stop> {
        let committed = match outcome {
            Ok(Applied::Unchanged(saga)) => {
                self.trace
                    .note(self.now_ms, format_args!("{} unchanged at {:?}", saga.id.short(), saga.step));
                self.end_notice(notice);
                return Ok(Ok(()));
            }
            Ok(Applied::Committed(committed)) => committed,
            Err(HandleError::Panicked(text)) => return Err(Broken::new(Law::I14, text).into()),
            Err(HandleError::Restless(id)) => {
                return Err(Broken::new(Law::I14, format!("{id} is restless")).into());
            }
            Err(HandleError::Store(error)) if !matches!(error, StoreError::SpoolFileMissing { .. }) => {
                self.refused(&error)?;
                return Ok(Err(HandleError::Store(error)));
            }
            Err(error) => return Ok(Err(error)),
        };
        let Committed { saga, before, event, effect } = *committed;
        self.trace.note(
            self.now_ms,
            format_args!(
                "{} r{} {:?} -> {:?} by {} orders {:?}",
                saga.id.short(),
                saga.revision,
                before,
                saga.step,
                event.as_ref().map_or("begin", Event::name),
                effect.as_ref().map(Effect::name)
            ),
        );
        self.tally.commits += 1;
        self.tally.older_records += u64::from(self.writes_older());
        self.witness.committed(&saga, event.as_ref())?;
        self.judge_binding(&saga)?;
        let asks = saga.dead_letter.as_ref().is_some_and(|letter| letter.from == Step::FindSent);
        self.tally.unknown_sendings += u64::from(asks && before != Step::Parked);
        self.end_notice(notice);
        self.may_die()?;
        self.act(&saga, effect);
        Ok(Ok(()))
    }

    fn end_notice(&mut self, notice: Option<NoticeId>) {
        if let Some(notice) = notice {
            self.witness.ended(notice);
        }
    }

    fn act(&mut self, saga: &DocumentSaga, effect: Option<Effect>) {
        if let (Some(effect), Some(token)) = (effect, in_flight(saga)) {
            self.running.insert((saga.id, token));
            let portal = Portal::of(&saga.portal);
            self.later(0, Happening::Call(Order { portal, saga: saga.id, token, effect }));
        }
    }

    async fn record(&self, id: SagaId) -> Result<DocumentSaga, Stop> {
        let found = self.store().load(id).await;
        let found = found.map_err(|error| Broken::new(Law::I13, format!("{id} cannot be read: {error}")))?;
        found.map(|stored| stored.saga).ok_or_else(|| Broken::new(Law::I12, format!("{id} is gone")).into())
    }

    /// What was under way when the process died.
    pub async fn recover(&mut self, id: SagaId) -> Result<(), Stop> {
        let saga = self.record(id).await?;
        let running = |token| self.running.contains(&(id, token));
        let Some(mut event) = event_of_restart(&saga, running) else { return Ok(()) };
        if let (Some(Sabotage::TakesLostForUndone), Event::AttemptLost { token }) = (self.sabotage, &event) {
            let failure = failure(FailureClass::Transient, FailureKind::Unreachable, "connect");
            event = Event::Failed { token: *token, failure };
        }
        self.accepted(id, event).await?;
        if self.rests() {
            self.recover_later(id);
        }
        Ok(())
    }

    pub async fn tick(&mut self, id: SagaId) -> Result<(), Stop> {
        let saga = self.record(id).await?;
        let running = |token| self.running.contains(&(id, token));
        match event_of_timer(&saga, self.wall(), running) {
            Some(event) => self.accepted(id, event).await,
            None => Ok(()),
        }
    }

    /// An event that nobody may refuse.
    async fn accepted(&mut self, id: SagaId, event: Event) -> Result<(), Stop> {
        let name = event.name();
        match self.deliver(id, event, None).await? {
            // Its timer stays due.
            Ok(()) | Err(HandleError::Store(StoreError::Unavailable { .. })) => Ok(()),
            Err(error) => Err(Broken::new(Law::I14, format!("{name} for {id}: {error}")).into()),
        }
    }

    // ---- the call ------------------------------------------------------------------------------------------

    /// Nothing is sent that is not on disk as spent.
    pub async fn call(&mut self, order: Order) -> Result<(), Stop> {
        self.may_die()?;
        if is_for_portal(&order.effect) {
            let mixes = self.sabotage == Some(Sabotage::MixesBudgets);
            let payer = if mixes { Portal::Main } else { order.portal };
            let now = self.wall();
            if self.budget(payer).payer(now) == Payer::Me && !self.pay_ahead(payer).await? {
                self.later(MINUTE, Happening::Call(order));
                return Ok(());
            }
            match self.budget(payer).take(now) {
                Spend::Granted => {
                    let level = self.budget(payer).level(now).map_or(0.0, |level| level.level);
                    self.trace.note(self.now_ms, format_args!("a request is sent, level {level:.3}"));
                    let now_ms = self.now_ms;
                    self.world_mut(order.portal).bucket.request(now_ms)?;
                }
                Spend::WaitUntil(until) => {
                    self.at_wall(until, Happening::Call(order));
                    return Ok(());
                }
                Spend::Unpaid => return Err(Broken::new(Law::I7, "paid, and yet unpaid").into()),
            }
        }
        let pause = moment_ms(&mut self.chance);
        self.later(pause, Happening::Execute(order));
        Ok(())
    }

    fn budget(&self, portal: Portal) -> &SharedBudget {
        &self.sessions[portal as usize].budget
    }

    /// Whether it is on disk.
    async fn pay_ahead(&mut self, portal: Portal) -> Result<bool, Stop> {
        let mut state = self.sessions[portal as usize].state.clone();
        self.budget(portal).write_into(&mut state, self.wall());
        self.before_write();
        let written = self.store().put_portal(&portal.id(), state.clone()).await;
        self.after_write()?;
        self.budget(portal).paid(&written);
        if let Err(error) = written {
            self.refused(&error)?;
            return Ok(false);
        }
        self.sessions[portal as usize].state = state;
        self.may_die()?;
        Ok(true)
    }

    fn fault(&mut self, effect: &Effect) -> Option<Fault> {
        if self.calm {
            return None;
        }
        let fault = if is_sending(effect) && self.chance.permille(self.plan.sending_fault_permille) {
            self.chance.pick(&Fault::OF_SENDING)
        } else if self.chance.permille(self.plan.fault_permille) {
            self.chance.pick(&Fault::ALL)
        } else {
            return None;
        };
        self.tally.faults += 1;
        Some(fault)
    }

    /// The request reaches the remote, or does not.
    pub async fn execute(&mut self, order: Order) -> Result<(), Stop> {
        let fault = self.fault(&order.effect);
        if let Some(fault) = fault {
            self.trace.note(self.now_ms, format_args!("fault {fault:?} at {}", order.effect.name()));
        }
        if is_sending(&order.effect) && fault.is_some_and(Fault::seems_done) {
            self.witness.sends(order.saga)?;
        }
        let done = fault.is_none_or(Fault::is_done);
        let reply = if done { Some(self.perform(&order).await?) } else { None };
        let honest = match reply {
            Some(Ok(reply)) => Returned::Reply(reply),
            Some(Err(failure)) => Returned::Failed(failure),
            None => Returned::Failed(no_answer()),
        };
        let pause = moment_ms(&mut self.chance);
        let failed = |class, kind, code| Returned::Failed(failure(class, kind, code));
        let (pause, returned) = match fault {
            None => (pause, honest),
            Some(Fault::Unreachable) => {
                (pause, failed(FailureClass::Transient, FailureKind::Unreachable, "connect"))
            }
            Some(Fault::LostBefore | Fault::LostAfter) => (pause, Returned::Failed(no_answer())),
            Some(Fault::Lingers) => {
                let within = self.plan.policy.settle_ms / 2;
                let lingers = self.chance.below(within);
                self.later(lingers, Happening::Linger(order.clone()));
                (0, Returned::Failed(no_answer()))
            }
            Some(Fault::ServerErrorBefore | Fault::ServerErrorAfter) => {
                (pause, failed(FailureClass::Ambiguous, FailureKind::ServerError, "http_502"))
            }
            Some(Fault::Throttled) => {
                let limit = failure(FailureClass::Throttled, FailureKind::Limit, "http_429");
                let asked = self.chance.below(3) * MINUTE;
                (pause, Returned::Failed(limit.retry_after_ms(asked)))
            }
            Some(Fault::Auth) => (pause, failed(FailureClass::Auth, FailureKind::Credentials, "http_401")),
            Some(Fault::Permanent) => {
                (pause, failed(FailureClass::Permanent, FailureKind::Refused, "http_400"))
            }
            Some(Fault::VanishedBefore | Fault::VanishedAfter) => {
                self.running.remove(&(order.saga, order.token));
                return Ok(());
            }
            Some(Fault::Zombie) => {
                self.running.remove(&(order.saga, order.token));
                (self.chance.below(2 * HOUR), honest)
            }
            Some(Fault::Slow) => (self.plan.policy.lease_ms + self.chance.below(HOUR), honest),
            Some(Fault::PanicBefore | Fault::PanicAfter) => (pause, Returned::Panicked),
        };
        self.later(pause, Happening::Arrive(order, Box::new(returned)));
        Ok(())
    }

    pub async fn linger(&mut self, order: &Order) -> Result<(), Stop> {
        drop(self.perform(order).await?);
        Ok(())
    }

    /// Does what is ordered. What the store must be asked for first is asked here, as the effect runner does.
    async fn perform(&mut self, order: &Order) -> Result<Result<Reply, Failure>, Stop> {
        let local = match &order.effect {
            Effect::ReadItem { item } => Some(self.read_item(order.portal, item.id).await?),
            Effect::FetchSource { source, .. } => self.own_copy(order.portal, source).await?,
            _ => None,
        };
        match local {
            None => Ok(self.carry_out(order)?),
            Some(answer) => {
                self.witness.carries_out(order)?;
                self.tally.calls += 1;
                Ok(Ok(Reply::Plain(answer)))
            }
        }
    }

    /// The remote does it; what it leads to will be heard of.
    pub fn carry_out(&mut self, order: &Order) -> Result<Result<Reply, Failure>, Broken> {
        self.witness.carries_out(order)?;
        self.tally.calls += 1;
        if matches!(order.effect, Effect::ReadItem { .. }) {
            return Ok(Err(no_answer()));
        }
        let wall = self.wall();
        let done = self.world_mut(order.portal).perform(order, wall)?;
        self.tally.refused_repeats += u64::from(is_sending(&order.effect) && done.is_err());
        let end = done.as_ref().map_or_else(|failure| failure.code.as_str(), |_| "done");
        self.trace.note(self.now_ms, format_args!("{} {} {end}", order.saga.short(), order.effect.name()));
        for news in std::mem::take(&mut self.world_mut(order.portal).news) {
            self.heard(order.portal, news);
        }
        Ok(done)
    }

    fn heard(&mut self, portal: Portal, news: News) {
        match news {
            News::Paper(id) => self.paper_appears(id),
            News::FileAdded(file) => self.file_appears(portal, file),
            News::ItemChanged(item) => self.item_changes(portal, item),
            News::Link(saga, unit) => self.link_arrives(saga, unit),
            News::Sent(id) => self.draft_is_sent(id),
        }
    }

    async fn claimed(&self, claim: &Claim) -> Result<Option<SagaId>, Stop> {
        let found = self.store().claimed(claim).await;
        Ok(found.map_err(|error| Broken::new(Law::I13, format!("claims cannot be read: {error}")))?)
    }

    async fn read_item(&self, portal: Portal, item: u64) -> Result<Answer, Stop> {
        let item = super::plan::deal(item);
        let field = super::plan::FIELD.to_owned();
        let mut files = Vec::new();
        for file_id in self.world(portal).wanted_files(item.id) {
            let source = Source::CrmFile { item, field: field.clone(), file_id };
            if self.claimed(&source_claim(&portal.id(), &source)).await?.is_none() {
                files.push(WantedFile { field: field.clone(), file_id });
            }
        }
        if files.is_empty() {
            let reason = Text::new("Правила нет.", "No rule wants it.");
            return Ok(Answer::NotWanted { code: "no_rule".into(), reason });
        }
        let delivery = super::plan::delivery(super::plan::Sort::OfItem);
        Ok(Answer::ItemWanted { item, files, delivery })
    }

    /// Our own signed copy is known by its id, its name or its bytes.
    async fn own_copy(&self, portal: Portal, source: &Source) -> Result<Option<Answer>, Stop> {
        let (claims, ours) = match source {
            Source::DriveFile { file_id } => {
                let Some(file) = self.world(portal).files.get(file_id) else { return Ok(None) };
                let name = normalised_name(&file.name);
                let echo = Claim::EchoFile { portal: portal.id(), file_id: *file_id };
                (
                    vec![echo, Claim::EchoName { portal: portal.id(), folder_id: FOLDER, name }],
                    file.put_by.is_some(),
                )
            }
            Source::CrmFile { item, file_id, .. } => {
                match self.world(portal).ours_in_field(item.id, *file_id) {
                    Some(digest) => {
                        (vec![Claim::EchoBytes { portal: portal.id(), item: *item, digest }], true)
                    }
                    None => return Ok(None),
                }
            }
            Source::CrmItem { .. } | Source::Generated { .. } | Source::OfItem { .. } => return Ok(None),
        };
        for claim in claims {
            if self.claimed(&claim).await?.is_some() {
                let reason = Text::new("Это наша подписанная копия.", "This is our own signed copy.");
                return Ok(Some(Answer::NotWanted { code: "own_copy".into(), reason }));
            }
        }
        if ours {
            return Err(Broken::new(
                Law::I2,
                format!("our own signed copy is sent for signature: {source:?}"),
            )
            .into());
        }
        Ok(None)
    }

    // ---- the answer ----------------------------------------------------------------------------------------

    /// The answer reaches the process and is committed; or the file that came with it is gone, and it is fetched again.
    pub async fn arrive(&mut self, order: Order, returned: Returned) -> Result<(), Stop> {
        self.may_die()?;
        let again = returned.clone();
        let mut event = match returned {
            Returned::Failed(failure) => self.failed(&order, failure),
            Returned::Panicked => Event::Panicked { text: ORDERED_PANIC.to_owned() },
            Returned::Reply(reply) => {
                let kept = match bytes_of(&reply) {
                    Some(bytes) => match self.keep(bytes).await? {
                        Some(kept) => Ok(Some(kept)),
                        None => Err(failure(FailureClass::Transient, FailureKind::Local, "spool")),
                    },
                    None => Ok(None),
                };
                match kept {
                    Ok(kept) => Event::Answered { token: order.token, answer: answer_of(reply, kept) },
                    Err(failure) => self.failed(&order, failure),
                }
            }
        };
        if self.sabotage == Some(Sabotage::MixesProcesses) {
            self.mix_processes(&order, &mut event);
        }
        if self.sabotage == Some(Sabotage::IgnoresFences)
            && let (Event::Answered { token, .. } | Event::Failed { token, .. }, Some(present)) =
                (&mut event, in_flight(&self.record(order.saga).await?))
        {
            *token = present;
        }
        let outcome = self.deliver(order.saga, event, None).await?;
        if let Err(HandleError::Store(StoreError::Unavailable { .. })) = outcome {
            // An answer in memory only would be an answer lost: it is offered until it is taken.
            self.later(MINUTE, Happening::Arrive(order, Box::new(again)));
            return Ok(());
        }
        self.running.remove(&(order.saga, order.token));
        match outcome {
            Ok(()) => Ok(()),
            Err(HandleError::Store(StoreError::SpoolFileMissing { .. })) => {
                let gone = failure(FailureClass::Transient, FailureKind::Local, "spool_file_missing");
                self.accepted(order.saga, Event::Failed { token: order.token, failure: gone }).await
            }
            Err(error) => Err(Broken::new(Law::I14, format!("{}: {error}", order.effect.name())).into()),
        }
    }

    fn failed(&self, order: &Order, mut failure: Failure) -> Event {
        let sending = is_sending(&order.effect);
        match self.sabotage {
            Some(Sabotage::SendsAgainUnasked) if sending && failure.class == FailureClass::Ambiguous => {
                failure.class = FailureClass::Transient;
            }
            Some(Sabotage::TakesErrorsForRefusals) if sending && failure.kind == FailureKind::ServerError => {
                failure.class = FailureClass::Permanent;
                failure.kind = FailureKind::Refused;
            }
            Some(Sabotage::RepeatsUnknown) if failure.class == FailureClass::Ambiguous => {
                failure.class = FailureClass::Transient;
            }
            Some(Sabotage::TellsSecrets) => failure.reason.en = format!("token {SECRET}-robot."),
            _ => {}
        }
        Event::Failed { token: order.token, failure }
    }

    /// Puts bytes into the real spool; none if the disk refuses them.
    pub async fn keep(&mut self, bytes: &[u8]) -> Result<Option<SpoolFile>, Stop> {
        self.ail_at_times();
        let kept = put(&self.store(), bytes).await;
        self.after_write()?;
        match kept {
            Ok(kept) => {
                self.may_die()?;
                Ok(Some(kept))
            }
            Err(error) => {
                let reason = error.text();
                self.refused(&StoreError::Unavailable { reason })?;
                Ok(None)
            }
        }
    }

    /// Whether a file in a field is ours, for the judge.
    pub fn is_ours(file: &FieldFile, saga: SagaId) -> bool {
        matches!(file, FieldFile::Ours(by, _) if *by == saga)
    }
}

async fn put(store: &Store, bytes: &[u8]) -> Result<SpoolFile, SpoolError> {
    let mut writer = store.spool().create().await?;
    writer.write_all(bytes).await?;
    writer.finish().await
}
