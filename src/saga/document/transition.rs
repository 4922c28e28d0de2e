//! The business rule: `transition(saga, event, context) -> Next`. Pure; tested as a table and by simulation.
//!
//! Decide here, commit in the store, act in the effect runner. Whatever is not listed as a change leaves the
//! saga as it is: repeats, stragglers and late contradictions are recorded, never acted on.

use super::effect::{self, Effect};
use super::event::{Answer, CallbackStatus, Event, Mend, OperatorAction};
use super::rule;
use super::state::{
    Claim, DeadLetter, DeliveredFile, Delivery, DocumentSaga, HistoryEntry, LastFailure, Occasion, Outcome, Source, Step, Timer, TimerKind, WaitWork, Waiting, Work,
};
use super::words;
use crate::domain::{
    AttemptToken, CrmItem, Failure, FailureClass, FailureKind, Language, PortalId, SagaId, Text, Timestamp,
};
use crate::saga::retry::{Schedule, jittered};
use crate::saga::step::StepClass;

/// Everything configurable that decisions depend on. All durations in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// After an answered error of the signing service (the EasyDocs guide: 3 attempts in all).
    pub server_error: Schedule,
    /// After an answered error of the portal.
    pub portal_error: Schedule,
    /// After an outage: nobody answered. Days long.
    pub outage: Schedule,
    /// Width of the jitter, in per cent of a pause.
    pub jitter_percent: u32,
    /// Pause before a look, so that a request that is still being worked on can become visible.
    pub settle_ms: u64,
    /// How many looks must find nothing before a write is repeated.
    pub looks: u32,
    /// How many unknown outcomes of one write are looked for before a person is asked.
    pub rounds_max: u32,
    /// Whether the signing service can be searched by our id.
    pub search_available: bool,
    /// Whether the signing service can be asked for a status, and when.
    pub poll: Option<Schedule>,
    /// How long a create of unknown outcome waits for its callback.
    pub callback_grace_ms: u64,
    /// The operator accepts possible doubles: repeat a create after 5xx as the guide says.
    pub repeat_create_on_server_error: bool,
    /// Reminders to the people named by the rule, counted from the start of the wait.
    pub reminders_ms: Vec<u64>,
    /// When a waiting document becomes a dead letter.
    pub deadline_ms: u64,
    /// How long an attempt may take before its outcome counts as unknown. Longer than any timeout of a call.
    pub lease_ms: u64,
    /// Pause after a limit of the remote that named no pause.
    pub throttled_ms: u64,
    /// Language of notices and comments.
    pub language: Language,
}

/// What a decision may depend on besides the saga and the event.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The present.
    pub now: Timestamp,
    /// The configuration.
    pub policy: &'a Policy,
    /// Any number, for jitter.
    pub chance: u64,
}

/// Work found on the way that gets a saga of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spawn {
    /// Where its file is.
    pub source: Source,
    /// The rule that wants it.
    pub rule: String,
}

/// The decision: what to commit, and what to do after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The new record.
    pub saga: DocumentSaga,
    /// What to do once the record is on disk.
    pub effect: Option<Effect>,
    /// Lines for the history.
    pub history: Vec<HistoryEntry>,
    /// Names to take.
    pub claims: Vec<Claim>,
    /// Names to give back.
    pub release: Vec<Claim>,
    /// Work for other sagas.
    pub spawn: Vec<Spawn>,
}

impl Next {
    /// Whether anything but the record's bookkeeping changed; if not, there is nothing to commit.
    pub fn changes(&self, before: &DocumentSaga) -> bool {
        self.saga != *before || !self.history.is_empty() || !self.claims.is_empty() || !self.spawn.is_empty()
    }
}

/// The event cannot be applied to this saga.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IllegalEvent {
    /// An order of a person that makes no sense here; the text says what would.
    #[error("{}", .0.en)]
    Rejected(Text),
    /// An answer of the wrong kind: a fault of ours.
    #[error("step {step} got an answer of the wrong kind: {answer}")]
    WrongAnswer {
        /// The step.
        step: &'static str,
        /// The answer, shortened.
        answer: String,
    },
    /// The record lacks what its step needs: a fault of ours.
    #[error("step {step} lacks {what}")]
    Incomplete {
        /// The step.
        step: &'static str,
        /// What is missing.
        what: &'static str,
    },
}

/// A new saga for `source`, with its first effect.
///
/// `rule` is given where the rule is already known (a file found in a CRM item).
pub fn begin(
    id: SagaId,
    portal: &PortalId,
    source: Source,
    rule: Option<String>,
    cx: Context<'_>,
) -> Result<Next, IllegalEvent> {
    let (step, claims) = match &source {
        Source::CrmItem { item } => (Step::ReadItem, vec![reading_claim(portal, *item)]),
        Source::DriveFile { .. } | Source::CrmFile { .. } => (
            Step::FetchSource,
            vec![source_claim(portal, &source), Claim::External(effect::external_id(portal, &source, id))],
        ),
    };
    let crm_item = match &source {
        Source::CrmFile { item, .. } => Some(*item),
        Source::CrmItem { .. } | Source::DriveFile { .. } => None,
    };
    let saga = DocumentSaga {
        id,
        revision: 0,
        created_at: cx.now,
        updated_at: cx.now,
        step_since: cx.now,
        step,
        work: Work::Idle,
        timer: None,
        last_token: 0,
        tries: 0,
        rounds: 0,
        looks: 0,
        portal: portal.clone(),
        external_id: effect::external_id(portal, &source, id),
        source,
        read_again: 0,
        delivery: Delivery { rule: rule.unwrap_or_default(), ..Delivery::default() },
        crm_item,
        file: None,
        provider_document: None,
        outcome: Outcome::Open,
        provider_status: None,
        waiting: None,
        signed: None,
        folder_baseline: None,
        upload_name: None,
        delivered: None,
        comment_id: None,
        notified: 0,
        dead_letter: None,
        last_failure: None,
    };
    let mut draft = Draft::of(&saga, cx);
    draft.next.claims = claims;
    draft.note("triggered", "Документ принят в работу", "The document was taken up");
    draft.start()?;
    Ok(draft.next)
}

/// The exclusive name of a source: one saga per source file, for ever.
pub fn source_claim(portal: &PortalId, source: &Source) -> Claim {
    Claim::Source(match source {
        Source::DriveFile { file_id } => format!("{portal}/drive/{file_id}"),
        Source::CrmItem { item } => format!("{portal}/crm/{item}"),
        Source::CrmFile { item, field, file_id } => format!("{portal}/crm/{item}/{field}/{file_id}"),
    })
}

/// The exclusive name under which a CRM item is being read: further triggers join the reader.
pub fn reading_claim(portal: &PortalId, item: CrmItem) -> Claim {
    Claim::Reading(format!("{portal}/crm/{item}"))
}

/// What happens next to `saga` because of `event`.
///
/// # Errors
/// [`IllegalEvent::Rejected`] for an order of a person that does not fit; the other variants are faults of ours,
/// and the caller parks the saga with them.
pub fn transition(saga: &DocumentSaga, event: &Event, cx: Context<'_>) -> Result<Next, IllegalEvent> {
    let mut draft = Draft::of(saga, cx);
    match event {
        Event::TriggeredAgain => draft.triggered_again(),
        Event::CallbackArrived { document_id, external_id, status, raw_status } => {
            draft.callback(document_id, external_id.as_deref(), status, raw_status)?;
        }
        Event::TimerFired { kind } => draft.timer(*kind)?,
        Event::Answered { token, answer } if draft.is_current(*token) => draft.answered(answer)?,
        Event::Answered { answer, .. } => draft.straggler(answer)?,
        Event::Failed { token, failure } if draft.is_current(*token) => draft.failed(failure)?,
        Event::AttemptLost { token } if draft.is_current(*token) => draft.attempt_lost()?,
        Event::StillRunning { token } if draft.is_current(*token) => draft.extend_lease(),
        Event::Failed { .. } | Event::AttemptLost { .. } | Event::StillRunning { .. } => {}
        Event::ClaimTaken { claim, by } => draft.claim_taken(claim, *by)?,
        Event::Panicked { text } => draft.park(
            "panic",
            Text::new(
                format!("Обработка документа трижды аварийно прервалась: {}", words::plain(text)),
                format!("Handling the document has panicked repeatedly: {}", words::plain(text)),
            ),
            Text::new(
                "Пришлите нам дамп (documents show --json), затем повторите.",
                "Send us the dump (documents show --json), then retry.",
            ),
            None,
        ),
        Event::Operator(action) => draft.operator(action)?,
    }
    Ok(draft.next)
}

/// The class of a step's effect and where its look step is.
pub fn step_class(step: Step) -> StepClass {
    match step {
        Step::Create | Step::Upload | Step::Comment => StepClass::Probe,
        Step::Notify => StepClass::Keyed,
        Step::ReadItem
        | Step::FetchSource
        | Step::FindDocument
        | Step::AwaitSignature
        | Step::FetchSigned
        | Step::ScanFolder
        | Step::FindUpload
        | Step::FindComment
        | Step::Delivered
        | Step::Refused
        | Step::Ignored
        | Step::Cancelled
        | Step::Parked => StepClass::Read,
    }
}

fn look_step(step: Step) -> Option<Step> {
    match step {
        Step::Create => Some(Step::FindDocument),
        Step::Upload => Some(Step::FindUpload),
        Step::Comment => Some(Step::FindComment),
        _ => None,
    }
}

/// The present version of the record under change.
struct Draft<'a> {
    next: Next,
    cx: Context<'a>,
}

impl<'a> Draft<'a> {
    fn of(saga: &DocumentSaga, cx: Context<'a>) -> Self {
        let next = Next {
            saga: saga.clone(),
            effect: None,
            history: Vec::new(),
            claims: Vec::new(),
            release: Vec::new(),
            spawn: Vec::new(),
        };
        Self { next, cx }
    }

    fn saga(&mut self) -> &mut DocumentSaga {
        self.next.saga.updated_at = self.cx.now;
        &mut self.next.saga
    }

    fn is_current(&self, token: AttemptToken) -> bool {
        matches!(self.next.saga.work, Work::InFlight { token: present, .. } if present == token)
    }

    fn note(&mut self, what: &str, ru: impl Into<String>, en: impl Into<String>) {
        let entry = HistoryEntry {
            at: self.cx.now,
            step: self.next.saga.step,
            what: what.to_owned(),
            text: Text::new(ru, en),
        };
        self.next.saga.updated_at = self.cx.now;
        self.next.history.push(entry);
    }

    /// Moves to another step with a clean slate; `rounds` belongs to a write and its look together and stays.
    fn enter(&mut self, step: Step) {
        let now = self.cx.now;
        let saga = self.saga();
        saga.step = step;
        saga.step_since = now;
        saga.work = Work::Idle;
        saga.timer = None;
        saga.tries = 0;
        saga.looks = 0;
        saga.dead_letter = None;
        if step != Step::AwaitSignature {
            saga.waiting = None;
        }
    }

    /// The write is settled: what was counted for it is forgotten.
    fn settled(&mut self) {
        let saga = self.saga();
        saga.rounds = 0;
        saga.last_failure = None;
    }

    /// Orders the step's effect (SG-2).
    fn start(&mut self) -> Result<(), IllegalEvent> {
        let effect = effect_of(&self.next.saga, self.cx)?;
        let (now, lease) = (self.cx.now, self.cx.policy.lease_ms);
        let saga = self.saga();
        saga.last_token += 1;
        saga.work = Work::InFlight { token: AttemptToken(saga.last_token), since: now };
        saga.timer = Some(Timer { due: now.plus_ms(lease), kind: TimerKind::Lease });
        self.next.effect = Some(effect);
        Ok(())
    }

    fn extend_lease(&mut self) {
        let due = self.cx.now.plus_ms(self.cx.policy.lease_ms);
        self.saga().timer = Some(Timer { due, kind: TimerKind::Lease });
    }

    fn go(&mut self, step: Step) -> Result<(), IllegalEvent> {
        self.enter(step);
        self.start()
    }

    fn later(&mut self, ms: u64) {
        let due = self.cx.now.plus_ms(ms);
        let saga = self.saga();
        saga.work = Work::Idle;
        saga.timer = Some(Timer { due, kind: TimerKind::Start });
    }

    fn finish(&mut self, step: Step) {
        self.enter(step);
    }

    fn park(&mut self, code: &str, reason: Text, next_action: Text, answer: Option<String>) {
        let (now, from) = (self.cx.now, self.next.saga.step);
        let from = match &self.next.saga.dead_letter {
            Some(dead) => dead.from,
            None => from,
        };
        let waiting = self.next.saga.waiting.take();
        self.enter(Step::Parked);
        let saga = self.saga();
        saga.waiting = waiting;
        saga.dead_letter = Some(DeadLetter {
            at: now,
            from,
            code: code.to_owned(),
            reason: reason.clone(),
            next_action,
            answer,
        });
        self.note("parked", reason.ru, reason.en);
    }

    // ---- triggers ------------------------------------------------------------------------------------------

    fn triggered_again(&mut self) {
        if self.next.saga.step == Step::ReadItem {
            self.saga().read_again += 1;
        }
    }

    // ---- the signing service speaks ------------------------------------------------------------------------

    fn callback(
        &mut self,
        document_id: &str,
        external_id: Option<&str>,
        status: &CallbackStatus,
        raw: &str,
    ) -> Result<(), IllegalEvent> {
        if external_id.is_some_and(|e| e != self.next.saga.external_id) {
            self.note(
                "callback_foreign",
                "Уведомление с чужим external_id: записано, не применено",
                "A callback with a foreign external_id: recorded, not applied",
            );
            return Ok(());
        }
        if self.is_second_document(document_id) {
            return Ok(());
        }
        if self.next.saga.outcome != Outcome::Open {
            self.late_status(status, raw);
            return Ok(());
        }
        if self.next.saga.step.is_finished() || self.is_before_create() {
            self.note(
                "callback_unexpected",
                format!("Уведомление «{}» записано, не применено", words::plain(raw)),
                format!("The callback \"{}\" was recorded, not applied", words::plain(raw)),
            );
            return Ok(());
        }
        let unbound = self.next.saga.provider_document.is_none();
        self.bind(document_id);
        self.heard(status, raw, unbound || self.next.saga.step != Step::AwaitSignature)
    }

    fn is_before_create(&self) -> bool {
        let step = self.next.saga.dead_letter.as_ref().map_or(self.next.saga.step, |d| d.from);
        matches!(step, Step::ReadItem | Step::FetchSource)
    }

    fn is_second_document(&mut self, document_id: &str) -> bool {
        let second = self.next.saga.provider_document.as_deref().is_some_and(|known| known != document_id);
        if second {
            let id = words::plain(document_id);
            self.note(
                "second_document",
                format!("Второй документ {id} с нашим external_id: записано, не применено. Проверьте кабинет EasyDocs."),
                format!("A second document {id} with our external_id: recorded, not applied. Check the EasyDocs cabinet."),
            );
        }
        second
    }

    fn late_status(&mut self, status: &CallbackStatus, raw: &str) {
        let contradicts = matches!(
            (status, self.next.saga.outcome),
            (CallbackStatus::Signed, Outcome::Refused) | (CallbackStatus::Refused, Outcome::Signed)
        );
        if contradicts {
            let raw = words::plain(raw);
            self.note(
                "callback_conflict",
                format!("Противоречащее уведомление «{raw}»: первое конечное состояние остаётся в силе"),
                format!("A contradicting callback \"{raw}\": the first terminal state stands"),
            );
        }
    }

    fn bind(&mut self, document_id: &str) {
        if self.next.saga.provider_document.is_none() {
            self.saga().provider_document = Some(document_id.to_owned());
            self.next.claims.push(Claim::ProviderDocument(document_id.to_owned()));
            let id = words::plain(document_id);
            self.note("bound", format!("Документ EasyDocs: {id}"), format!("EasyDocs document: {id}"));
        }
    }

    /// Applies what the service says; `(re)enters` the wait for a non-terminal word if asked to.
    fn heard(&mut self, status: &CallbackStatus, raw: &str, enter_wait: bool) -> Result<(), IllegalEvent> {
        let news = self.next.saga.provider_status.as_deref() != Some(raw);
        self.saga().provider_status = Some(raw.to_owned());
        if news {
            let raw = words::plain(raw);
            self.note(
                "status",
                format!("Статус в EasyDocs: «{raw}»"),
                format!("Status in EasyDocs: \"{raw}\""),
            );
        }
        match status {
            CallbackStatus::Signed => {
                self.settled();
                self.saga().outcome = Outcome::Signed;
                self.go(Step::FetchSigned)
            }
            CallbackStatus::Refused => {
                self.settled();
                self.saga().outcome = Outcome::Refused;
                self.announce()
            }
            CallbackStatus::Other if enter_wait => {
                self.wait();
                Ok(())
            }
            CallbackStatus::Other => Ok(()),
        }
    }

    // ---- the wait ------------------------------------------------------------------------------------------

    fn wait(&mut self) {
        self.settled();
        let (now, policy) = (self.cx.now, self.cx.policy);
        let poll = policy.poll.as_ref().and_then(|s| s.pause_ms(1, policy.jitter_percent, self.cx.chance));
        self.enter(Step::AwaitSignature);
        self.saga().waiting = Some(Waiting {
            since: now,
            next_poll_at: poll.map(|ms| now.plus_ms(ms)),
            polls: 0,
            next_reminder_at: policy.reminders_ms.first().map(|ms| now.plus_ms(*ms)),
            reminders: 0,
            deadline_at: Some(now.plus_ms(policy.deadline_ms)),
            doing: WaitWork::Nothing,
        });
        self.rearm();
    }

    /// Sets the one timer of the wait to the nearest of its three reasons (SG-1).
    fn rearm(&mut self) {
        let fallback = self.cx.now.plus_ms(self.cx.policy.deadline_ms);
        let saga = self.saga();
        saga.work = Work::Idle;
        let due = saga.waiting.as_mut().and_then(|w| {
            w.doing = WaitWork::Nothing;
            [w.next_poll_at, w.next_reminder_at, w.deadline_at].into_iter().flatten().min()
        });
        saga.timer = Some(Timer { due: due.unwrap_or(fallback), kind: TimerKind::Wait });
    }

    fn wait_timer(&mut self) -> Result<(), IllegalEvent> {
        let now = self.cx.now;
        let Some(w) = self.next.saga.waiting.clone() else {
            self.wait();
            return Ok(());
        };
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if is_due(w.deadline_at) {
            self.deadline(&w);
            return Ok(());
        }
        if is_due(w.next_reminder_at) {
            return self.remind(&w);
        }
        if is_due(w.next_poll_at) {
            self.do_while_waiting(WaitWork::Poll);
            return self.start();
        }
        self.rearm();
        Ok(())
    }

    fn do_while_waiting(&mut self, doing: WaitWork) {
        if let Some(w) = self.saga().waiting.as_mut() {
            w.doing = doing;
        }
    }

    fn deadline(&mut self, w: &Waiting) {
        let days = self.cx.now.ms_since(w.since) / 86_400_000;
        self.park(
            "deadline",
            Text::new(
                format!("Документ не подписан за {days} дн., уведомления не было."),
                format!("The document was not signed within {days} day(s), and no callback came."),
            ),
            Text::new(
                "Посмотрите документ в кабинете EasyDocs. Retry продолжит ждать, cancel прекратит; пришедшее уведомление продолжит работу само.",
                "Look at the document in the EasyDocs cabinet. Retry goes on waiting, cancel stops; a callback that arrives goes on by itself.",
            ),
            None,
        );
    }

    fn remind(&mut self, w: &Waiting) -> Result<(), IllegalEvent> {
        let sent = w.reminders + 1;
        let next = self.cx.policy.reminders_ms.get(sent as usize).map(|ms| w.since.plus_ms(*ms));
        if let Some(w) = self.saga().waiting.as_mut() {
            w.reminders = sent;
            w.next_reminder_at = next;
        }
        let delivery = &self.next.saga.delivery;
        if delivery.notify.is_empty() || !delivery.notify_on.contains(&Occasion::Reminder) {
            self.rearm();
            return Ok(());
        }
        self.do_while_waiting(WaitWork::Reminder);
        self.note("reminded", "Отправляем напоминание", "Sending a reminder");
        self.start()
    }

    fn polled(&mut self) {
        let (now, policy, chance) = (self.cx.now, self.cx.policy, self.cx.chance);
        if let Some(w) = self.saga().waiting.as_mut() {
            w.polls += 1;
            w.next_poll_at = policy
                .poll
                .as_ref()
                .and_then(|s| s.pause_ms(w.polls + 1, policy.jitter_percent, chance))
                .map(|ms| now.plus_ms(ms));
        }
        self.rearm();
    }

    fn waiting_for(&self) -> WaitWork {
        self.next.saga.waiting.as_ref().map_or(WaitWork::Nothing, |w| w.doing)
    }

    // ---- timers --------------------------------------------------------------------------------------------

    fn timer(&mut self, kind: TimerKind) -> Result<(), IllegalEvent> {
        let present = self.next.saga.timer;
        if present.is_none_or(|t| t.kind != kind || t.due > self.cx.now) {
            return Ok(());
        }
        match kind {
            TimerKind::Start => self.start(),
            TimerKind::Wait => self.wait_timer(),
            TimerKind::Grace => {
                self.create_unknown();
                Ok(())
            }
            TimerKind::Lease => self.failed(&Failure::new(
                FailureClass::Ambiguous,
                FailureKind::NoAnswer,
                "attempt_overdue",
                Text::new(
                    "Запрос не завершился в отведённое время.",
                    "The request did not end in the time given.",
                ),
            )),
        }
    }

    fn create_unknown(&mut self) {
        self.park(
            "create_unknown",
            Text::new(
                "Неизвестно, создан ли документ в EasyDocs: ответа не было, уведомления тоже.",
                "It is unknown whether EasyDocs has the document: neither an answer nor a callback came.",
            ),
            Text::new(
                "Найдите в кабинете EasyDocs документ с этим именем: есть — bind <id>, нет — send-again. Автоматически второй раз не отправляем.",
                "Look for the document in the EasyDocs cabinet: if it is there, bind <id>; if not, send-again. We never send it twice by ourselves.",
            ),
            None,
        );
    }

    // ---- answers -------------------------------------------------------------------------------------------

    fn answered(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        let step = self.next.saga.step;
        match (step, answer) {
            (Step::ReadItem, _) if self.next.saga.read_again > 0 => {
                self.saga().read_again = 0;
                self.start()
            }
            (Step::ReadItem, Answer::ItemWanted { item, files, delivery }) => {
                let Some((first, rest)) = files.split_first() else {
                    return Err(wrong(step, answer));
                };
                let of = |f: &super::event::WantedFile| Source::CrmFile {
                    item: *item,
                    field: f.field.clone(),
                    file_id: f.file_id,
                };
                let rule = delivery.rule.clone();
                self.next.spawn = rest.iter().map(|f| Spawn { source: of(f), rule: rule.clone() }).collect();
                self.item_wanted(*item, of(first), delivery.clone())
            }
            (Step::ReadItem | Step::FetchSource, Answer::NotWanted { code, reason }) => {
                self.not_wanted(code, reason);
                Ok(())
            }
            (Step::FetchSource, Answer::SourceFetched { facts, bytes, delivery, crm_item }) => {
                let file = super::state::SourceFile {
                    name: facts.name.clone(),
                    folder_id: facts.folder_id,
                    version: facts.version,
                    bytes: *bytes,
                };
                self.settled();
                let saga = self.saga();
                saga.crm_item = saga.crm_item.or(*crm_item);
                saga.delivery = delivery.clone();
                saga.file = Some(file);
                let (name, size) = (words::plain(&facts.name), bytes.size_bytes);
                self.note(
                    "fetched",
                    format!("Файл «{name}» получен, {size} байт"),
                    format!("The file \"{name}\" was fetched, {size} bytes"),
                );
                self.go(Step::Create)
            }
            (Step::Create, Answer::Created { document_id, raw_status }) => {
                self.bind(document_id);
                self.saga().provider_status = Some(raw_status.clone());
                self.wait();
                Ok(())
            }
            (Step::FindDocument, Answer::DocumentFound { document_id, status, raw_status }) => {
                self.bind(document_id);
                self.heard(status, raw_status, true)
            }
            (Step::FindDocument, Answer::DocumentNotFound) => self.not_found(Step::Create),
            (Step::AwaitSignature, Answer::StatusRead { status, raw_status }) => {
                self.heard(status, raw_status, false)?;
                if self.next.saga.step == Step::AwaitSignature {
                    self.polled();
                }
                Ok(())
            }
            (Step::AwaitSignature, Answer::Notified) => {
                self.rearm();
                Ok(())
            }
            (Step::FetchSigned, Answer::SignedFetched { bytes }) => {
                self.settled();
                self.saga().signed = Some(*bytes);
                let size = bytes.size_bytes;
                self.note(
                    "signed_fetched",
                    format!("Подписанный файл получен, {size} байт"),
                    format!("The signed file was fetched, {size} bytes"),
                );
                self.go(Step::ScanFolder)
            }
            (Step::ScanFolder, Answer::FolderScanned { highest_id, free_name }) => {
                self.scanned(*highest_id, free_name)
            }
            (Step::Upload, Answer::Uploaded { file }) | (Step::FindUpload, Answer::UploadFound { file }) => {
                self.delivered(file)
            }
            (Step::FindUpload, Answer::UploadNotFound) => self.not_found(Step::Upload),
            (Step::Comment | Step::FindComment, Answer::Commented { comment_id }) => {
                self.settled();
                self.saga().comment_id = Some(*comment_id);
                self.note("commented", "Комментарий в карточке записан", "The timeline comment was written");
                self.tell()
            }
            (Step::FindComment, Answer::CommentNotFound) => self.not_found(Step::Comment),
            (Step::Notify, Answer::Notified) => {
                self.settled();
                self.saga().notified += 1;
                self.tell()
            }
            _ => Err(wrong(step, answer)),
        }
    }

    fn item_wanted(&mut self, item: CrmItem, source: Source, delivery: Delivery) -> Result<(), IllegalEvent> {
        let portal = self.next.saga.portal.clone();
        self.next.release.push(reading_claim(&portal, item));
        self.next.claims.push(source_claim(&portal, &source));
        let external_id = effect::external_id(&portal, &source, self.next.saga.id);
        self.next.claims.push(Claim::External(external_id.clone()));
        self.settled();
        let saga = self.saga();
        saga.external_id = external_id;
        saga.source = source;
        saga.crm_item = Some(item);
        saga.delivery = delivery;
        self.note(
            "item_wanted",
            format!("Карточка {item}: правило подошло"),
            format!("Item {item}: a rule wants it"),
        );
        self.go(Step::FetchSource)
    }

    fn not_wanted(&mut self, code: &str, reason: &Text) {
        if let Source::CrmItem { item } = self.next.saga.source {
            let portal = self.next.saga.portal.clone();
            self.next.release.push(reading_claim(&portal, item));
        }
        self.finish(Step::Ignored);
        let now = self.cx.now;
        self.saga().last_failure =
            Some(LastFailure { at: now, code: code.to_owned(), reason: reason.clone() });
        self.note(code, reason.ru.clone(), reason.en.clone());
    }

    fn scanned(&mut self, highest_id: u64, free_name: &str) -> Result<(), IllegalEvent> {
        let folder_id = folder_of(&self.next.saga)?;
        let portal = self.next.saga.portal.clone();
        self.next.claims.push(Claim::EchoName { portal, folder_id, name: rule::normalised_name(free_name) });
        self.settled();
        let saga = self.saga();
        saga.folder_baseline = Some(highest_id);
        saga.upload_name = Some(free_name.to_owned());
        self.go(Step::Upload)
    }

    fn delivered(&mut self, file: &DeliveredFile) -> Result<(), IllegalEvent> {
        let portal = self.next.saga.portal.clone();
        self.next.claims.push(Claim::EchoFile { portal, file_id: file.file_id });
        self.settled();
        self.saga().delivered = Some(file.clone());
        let name = words::plain(&file.name);
        self.note(
            "uploaded",
            format!("Подписанный файл «{name}» лежит в папке {}", file.folder_id),
            format!("The signed file \"{name}\" lies in folder {}", file.folder_id),
        );
        self.announce()
    }

    fn announce(&mut self) -> Result<(), IllegalEvent> {
        if self.next.saga.delivery.comment && self.next.saga.crm_item.is_some() {
            self.go(Step::Comment)
        } else {
            self.tell()
        }
    }

    fn tell(&mut self) -> Result<(), IllegalEvent> {
        let occasion = match self.next.saga.outcome {
            Outcome::Refused => Occasion::Refused,
            Outcome::Signed | Outcome::Open => Occasion::Signed,
        };
        let wanted = self.next.saga.delivery.notify_on.contains(&occasion);
        if wanted && (self.next.saga.notified as usize) < self.next.saga.delivery.notify.len() {
            return self.go(Step::Notify);
        }
        if self.next.saga.notified > 0 {
            self.note("notified", "Люди оповещены", "People were told");
        }
        let end = match self.next.saga.outcome {
            Outcome::Refused => Step::Refused,
            Outcome::Signed | Outcome::Open => Step::Delivered,
        };
        self.finish(end);
        let text = words::step(end);
        self.note(end.name(), text.ru, text.en);
        Ok(())
    }

    /// A look found nothing: look again after a pause, then repeat the write; after too many rounds ask a person.
    fn not_found(&mut self, write: Step) -> Result<(), IllegalEvent> {
        self.saga().looks += 1;
        if self.next.saga.looks < self.cx.policy.looks {
            self.later(self.cx.policy.settle_ms);
            return Ok(());
        }
        if self.next.saga.rounds >= self.cx.policy.rounds_max {
            self.park_exhausted("unknown_outcome", None);
            return Ok(());
        }
        self.note("not_found", "Следов нет: повторяем", "No trace of it: repeating");
        self.go(write)
    }

    /// An answer to an older attempt. Only one is still worth something: the id of a document that exists.
    fn straggler(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        let Answer::Created { document_id, raw_status } = answer else {
            return Ok(());
        };
        if self.is_second_document(document_id) || self.next.saga.provider_document.is_some() {
            return Ok(());
        }
        let from = self.next.saga.dead_letter.as_ref().map_or(self.next.saga.step, |d| d.from);
        if matches!(from, Step::Create | Step::FindDocument) {
            self.bind(document_id);
            self.saga().provider_status = Some(raw_status.clone());
            self.wait();
        }
        Ok(())
    }

    // ---- failures ------------------------------------------------------------------------------------------

    fn failed(&mut self, failure: &Failure) -> Result<(), IllegalEvent> {
        let now = self.cx.now;
        self.saga().last_failure =
            Some(LastFailure { at: now, code: failure.code.clone(), reason: failure.reason.clone() });
        if self.next.saga.step == Step::AwaitSignature {
            self.wait_failed();
            return Ok(());
        }
        let step = self.next.saga.step;
        let name_taken = step == Step::Upload && failure.code == "disk_obj_22000";
        let unknown = failure.class == FailureClass::Ambiguous && step_class(step) == StepClass::Probe;
        let repeat_anyway = step == Step::Create
            && failure.kind == FailureKind::ServerError
            && self.cx.policy.repeat_create_on_server_error;
        if (unknown && !repeat_anyway) || name_taken {
            self.saga().rounds += 1;
            let failure = self.next.saga.last_failure.clone();
            self.look(step)?;
            self.saga().last_failure = failure;
            return Ok(());
        }
        match failure.class {
            FailureClass::Throttled => {
                let pause = failure.retry_after_ms.unwrap_or(self.cx.policy.throttled_ms);
                let jitter = jittered(pause / 4, 100, self.cx.chance);
                self.later(pause + jitter);
                Ok(())
            }
            FailureClass::Permanent if step == Step::FindDocument => {
                self.grace();
                Ok(())
            }
            FailureClass::Permanent => {
                self.park_failed(failure);
                Ok(())
            }
            FailureClass::Auth => {
                self.saga().tries += 1;
                let pause = self.auth_pause();
                self.later(pause);
                Ok(())
            }
            FailureClass::Transient | FailureClass::Ambiguous => {
                self.try_again(failure);
                Ok(())
            }
        }
    }

    fn auth_pause(&self) -> u64 {
        let (policy, tries) = (self.cx.policy, self.next.saga.tries);
        let endless = Schedule::endless(policy.outage.delays_ms.clone());
        endless.pause_ms(tries, policy.jitter_percent, self.cx.chance).unwrap_or(policy.throttled_ms)
    }

    fn try_again(&mut self, failure: &Failure) {
        self.saga().tries += 1;
        let policy = self.cx.policy;
        let for_service = effect_of(&self.next.saga, self.cx).is_ok_and(|e| e.is_for_signing_service());
        let schedule = match failure.kind {
            FailureKind::ServerError | FailureKind::Garbled | FailureKind::Refused if for_service => {
                &policy.server_error
            }
            FailureKind::ServerError | FailureKind::Garbled | FailureKind::Refused => &policy.portal_error,
            FailureKind::Unreachable
            | FailureKind::NoAnswer
            | FailureKind::Limit
            | FailureKind::Credentials
            | FailureKind::Local => &policy.outage,
        };
        match schedule.pause_ms(self.next.saga.tries, policy.jitter_percent, self.cx.chance) {
            Some(pause) => self.later(pause.max(failure.retry_after_ms.unwrap_or(0))),
            None => self.park_failed(failure),
        }
    }

    fn park_failed(&mut self, failure: &Failure) {
        let step = words::step(self.next.saga.step);
        let tries = self.next.saga.tries;
        let count = |ru: &str, en: &str| {
            if tries > 1 {
                Text::new(format!(" {ru}: {tries}."), format!(" {en}: {tries}."))
            } else {
                Text::default()
            }
        };
        let times = count("Попыток", "Attempts");
        self.park(
            &failure.code,
            Text::new(
                format!("Не удалось: {}. {}{}", step.ru, failure.reason.ru, times.ru),
                format!("This failed: {}. {}{}", step.en, failure.reason.en, times.en),
            ),
            Text::new(
                "Устраните причину и выполните retry; cancel прекратит работу.",
                "Mend the cause and retry; cancel stops the work.",
            ),
            failure.answer.clone(),
        );
    }

    fn park_exhausted(&mut self, code: &str, answer: Option<String>) {
        let step = words::step(self.next.saga.step);
        let rounds = self.next.saga.rounds;
        self.park(
            code,
            Text::new(
                format!("Исход операции остался неизвестен {rounds} раз подряд: {}.", step.ru),
                format!("The outcome stayed unknown {rounds} times in a row: {}.", step.en),
            ),
            Text::new(
                "Проверьте удалённую систему и сеть, затем выполните retry.",
                "Check the remote system and the network, then retry.",
            ),
            answer,
        );
    }

    /// A failure during the wait changes only the clockwork: callbacks stay the main channel.
    fn wait_failed(&mut self) {
        let (now, policy, chance) = (self.cx.now, self.cx.policy, self.cx.chance);
        match self.waiting_for() {
            WaitWork::Reminder => {
                let pause = policy.outage.pause_ms(1, policy.jitter_percent, chance).unwrap_or(60_000);
                if let Some(w) = self.saga().waiting.as_mut() {
                    let again = now.plus_ms(pause);
                    w.next_reminder_at = Some(w.next_reminder_at.map_or(again, |at| at.min(again)));
                    w.reminders = w.reminders.saturating_sub(1);
                }
                self.rearm();
            }
            WaitWork::Poll | WaitWork::Nothing => self.polled(),
        }
    }

    /// From a write of unknown outcome to its look step.
    fn look(&mut self, write: Step) -> Result<(), IllegalEvent> {
        let Some(look) = look_step(write) else {
            return self.start();
        };
        self.note(
            "outcome_unknown",
            "Исход запроса неизвестен: сначала проверяем, потом повторяем",
            "The outcome of the request is unknown: look first, then repeat",
        );
        self.enter(look);
        if look == Step::FindDocument && !self.cx.policy.search_available {
            self.grace();
        } else {
            self.later(self.cx.policy.settle_ms);
        }
        Ok(())
    }

    fn grace(&mut self) {
        let due = self.next.saga.step_since.plus_ms(self.cx.policy.callback_grace_ms);
        let saga = self.saga();
        saga.work = Work::Idle;
        saga.timer = Some(Timer { due, kind: TimerKind::Grace });
    }

    /// The process died in the middle. That is not the remote's failure and is not counted.
    fn attempt_lost(&mut self) -> Result<(), IllegalEvent> {
        let step = self.next.saga.step;
        match step_class(step) {
            StepClass::Probe => self.look(step),
            StepClass::Read | StepClass::Keyed | StepClass::Blind => self.start(),
        }
    }

    fn claim_taken(&mut self, claim: &Claim, by: SagaId) -> Result<(), IllegalEvent> {
        match claim {
            // Another saga has the file: read the item again, its taken files are left out this time.
            Claim::Source(_) if self.next.saga.step == Step::ReadItem && self.next.saga.tries < 5 => {
                self.saga().tries += 1;
                self.start()
            }
            Claim::Source(_) | Claim::Reading(_) => {
                let reason = Text::new(
                    format!("Этот файл уже ведёт документ {by}."),
                    format!("This file already belongs to document {by}."),
                );
                self.not_wanted("duplicate", &reason);
                Ok(())
            }
            Claim::External(id) | Claim::ProviderDocument(id) => {
                let id = words::plain(id);
                self.park(
                    "identity_conflict",
                    Text::new(
                        format!("Идентификатор {id} уже принадлежит документу {by}."),
                        format!("The id {id} already belongs to document {by}."),
                    ),
                    Text::new(
                        "Сверьте оба документа с кабинетом EasyDocs; лишний отмените (cancel).",
                        "Compare both documents with the EasyDocs cabinet; cancel the wrong one.",
                    ),
                    None,
                );
                Ok(())
            }
            Claim::EchoName { .. } | Claim::EchoFile { .. } => Ok(()),
        }
    }

    // ---- people --------------------------------------------------------------------------------------------

    fn operator(&mut self, action: &OperatorAction) -> Result<(), IllegalEvent> {
        if self.next.saga.step.is_finished() {
            return Err(rejected("Документ уже завершён.", "The document is already finished."));
        }
        match action {
            OperatorAction::Retry(mend) => self.retry(mend),
            OperatorAction::SendAgain => self.send_again(),
            OperatorAction::Bind { document_id } => self.bind_by_hand(document_id),
            OperatorAction::Cancel { reason } => {
                self.cancel(reason);
                Ok(())
            }
        }
    }

    fn retry(&mut self, mend: &Mend) -> Result<(), IllegalEvent> {
        let stuck = self.next.saga.dead_letter.as_ref().map_or(self.next.saga.step, |d| d.from);
        let idle = self.next.saga.work == Work::Idle;
        if self.next.saga.step != Step::Parked && !idle {
            return Err(rejected("Запрос уже выполняется.", "A request is already under way."));
        }
        self.mend(mend);
        self.note("retried", "Повтор по решению человека", "Retried by a person");
        self.saga().rounds = 0;
        match stuck {
            Step::AwaitSignature if self.next.saga.step != Step::Parked => Err(rejected(
                "Документ ждёт подписей; повторять нечего.",
                "The document waits for signatures; there is nothing to retry.",
            )),
            Step::AwaitSignature => {
                self.wait();
                Ok(())
            }
            Step::Create | Step::FindDocument if self.next.saga.provider_document.is_some() => {
                self.wait();
                Ok(())
            }
            Step::FindDocument if !self.cx.policy.search_available => Err(rejected(
                "Исход создания неизвестен, а поиск в EasyDocs не настроен: используйте send-again или bind <id>.",
                "The create's outcome is unknown and EasyDocs cannot be searched: use send-again or bind <id>.",
            )),
            step => self.go(step),
        }
    }

    fn mend(&mut self, mend: &Mend) {
        let saga = self.saga();
        if mend.folder_id.is_some() {
            saga.delivery.folder_id = mend.folder_id;
        }
        if let Some(route) = &mend.route_id {
            saga.delivery.route_id.clone_from(route);
        }
        if let Some(people) = &mend.notify {
            saga.delivery.notify.clone_from(people);
            saga.notified = 0;
        }
    }

    fn send_again(&mut self) -> Result<(), IllegalEvent> {
        let stuck = self.next.saga.dead_letter.as_ref().map_or(self.next.saga.step, |d| d.from);
        let unknown = matches!(stuck, Step::Create | Step::FindDocument) && self.next.saga.work == Work::Idle;
        if !unknown || self.next.saga.provider_document.is_some() {
            return Err(rejected(
                "Отправить заново можно только документ с неизвестным исходом создания.",
                "Only a document whose create has an unknown outcome can be sent again.",
            ));
        }
        self.saga().rounds = 0;
        self.note("sent_again", "Отправлен заново по решению человека", "Sent again by a person");
        self.go(Step::Create)
    }

    fn bind_by_hand(&mut self, document_id: &str) -> Result<(), IllegalEvent> {
        let stuck = self.next.saga.dead_letter.as_ref().map_or(self.next.saga.step, |d| d.from);
        if !matches!(stuck, Step::Create | Step::FindDocument) || self.next.saga.provider_document.is_some() {
            return Err(rejected(
                "Привязать id можно только к документу с неизвестным исходом создания.",
                "An id can be bound only to a document whose create has an unknown outcome.",
            ));
        }
        self.bind(document_id);
        self.wait();
        Ok(())
    }

    fn cancel(&mut self, reason: &str) {
        if let Source::CrmItem { item } = self.next.saga.source {
            let portal = self.next.saga.portal.clone();
            self.next.release.push(reading_claim(&portal, item));
        }
        let sent = self.next.saga.provider_document.is_some();
        self.finish(Step::Cancelled);
        let reason = words::plain(reason);
        let (ru, en) = if sent {
            (
                " В EasyDocs документ остаётся: отзыва у сервиса нет.",
                " It stays in EasyDocs: the service has no recall.",
            )
        } else {
            ("", "")
        };
        self.note(
            "cancelled",
            format!("Отменён человеком: {reason}.{ru}"),
            format!("Cancelled by a person: {reason}.{en}"),
        );
    }
}

fn wrong(step: Step, answer: &Answer) -> IllegalEvent {
    let answer = format!("{answer:?}").chars().take(80).collect();
    IllegalEvent::WrongAnswer { step: step.name(), answer }
}

fn rejected(ru: &str, en: &str) -> IllegalEvent {
    IllegalEvent::Rejected(Text::new(ru, en))
}

fn missing(saga: &DocumentSaga, what: &'static str) -> IllegalEvent {
    IllegalEvent::Incomplete { step: saga.step.name(), what }
}

fn folder_of(saga: &DocumentSaga) -> Result<u64, IllegalEvent> {
    saga.delivery
        .folder_id
        .or_else(|| saga.file.as_ref().and_then(|f| f.folder_id))
        .ok_or_else(|| missing(saga, "a folder for the signed copy"))
}

/// The effect of the saga's present step, from what the record holds.
///
/// # Errors
/// [`IllegalEvent::Incomplete`] when the record lacks what the step needs, [`IllegalEvent::WrongAnswer`] never.
pub fn effect_of(saga: &DocumentSaga, cx: Context<'_>) -> Result<Effect, IllegalEvent> {
    let document = || saga.provider_document.clone().ok_or_else(|| missing(saga, "the document's id"));
    let item = || saga.crm_item.ok_or_else(|| missing(saga, "the CRM item"));
    let signed = || saga.signed.ok_or_else(|| missing(saga, "the signed file"));
    let upload_name = || saga.upload_name.clone().ok_or_else(|| missing(saga, "the name of the copy"));
    let language = cx.policy.language;
    Ok(match saga.step {
        Step::ReadItem => match saga.source {
            Source::CrmItem { item } => Effect::ReadItem { item },
            Source::DriveFile { .. } | Source::CrmFile { .. } => {
                return Err(missing(saga, "a CRM item as its source"));
            }
        },
        Step::FetchSource => Effect::FetchSource {
            source: saga.source.clone(),
            rule: Some(saga.delivery.rule.clone()).filter(|r| !r.is_empty()),
        },
        Step::Create => Effect::CreateDocument {
            file: saga.file.clone().ok_or_else(|| missing(saga, "the file"))?,
            route_id: saga.delivery.route_id.clone(),
            external_id: saga.external_id.clone(),
        },
        Step::FindDocument => Effect::FindDocument { external_id: saga.external_id.clone() },
        Step::AwaitSignature => match saga.waiting.as_ref().map(|w| w.doing) {
            Some(WaitWork::Reminder) => Effect::Notify {
                user_id: *saga.delivery.notify.first().ok_or_else(|| missing(saga, "a person to remind"))?,
                text: words::reminder(saga, cx.now, language),
                tag: format!("edobridge|{}|reminder", saga.id.short()),
            },
            Some(WaitWork::Poll | WaitWork::Nothing) | None => {
                Effect::ReadStatus { document_id: document()? }
            }
        },
        Step::FetchSigned => Effect::FetchSigned { document_id: document()? },
        Step::ScanFolder => Effect::ScanFolder {
            folder_id: folder_of(saga)?,
            wanted_name: rule::signed_name(
                saga.file.as_ref().map(|f| f.name.as_str()).ok_or_else(|| missing(saga, "the file"))?,
                &saga.delivery.suffix,
            ),
        },
        Step::Upload => {
            Effect::Upload { folder_id: folder_of(saga)?, name: upload_name()?, bytes: signed()? }
        }
        Step::FindUpload => Effect::FindUpload {
            folder_id: folder_of(saga)?,
            name: upload_name()?,
            bytes: signed()?,
            above_id: saga.folder_baseline.unwrap_or(0),
        },
        Step::Comment => {
            let mark = effect::comment_mark(saga);
            Effect::AddComment { item: item()?, text: words::comment(saga, &mark, language) }
        }
        Step::FindComment => Effect::FindComment { item: item()?, mark: effect::comment_mark(saga) },
        Step::Notify => Effect::Notify {
            user_id: *saga
                .delivery
                .notify
                .get(saga.notified as usize)
                .ok_or_else(|| missing(saga, "a person to tell"))?,
            text: words::notice(saga, language),
            tag: format!("edobridge|{}|{}", saga.id.short(), saga.notified),
        },
        Step::Delivered | Step::Refused | Step::Ignored | Step::Cancelled | Step::Parked => {
            return Err(missing(saga, "anything to do"));
        }
    })
}
