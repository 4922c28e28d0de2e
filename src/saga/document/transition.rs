//! The business rule: `transition(saga, event, context) -> Next`. Pure; tested as a table and by simulation.
//!
//! Decide here, commit in the store, act in the effect runner. Whatever is not listed as a change leaves the
//! saga as it is: repeats, stragglers and late contradictions are recorded, never acted on.

mod answers;
mod callbacks;
mod crm;
mod destination;
mod doubt;
mod failures;
mod orders;
mod own_signature;
mod people;
mod robots;
mod waiting;

pub use orders::effect_of;
pub use own_signature::{OwnPolicy, own_document_claim};
pub use robots::{RobotWishes, begin_for_robot, reply_of};

use super::effect::{self, Effect};
use super::event::{Answer, Event};
use super::own_signature::OwnAnswer;
use super::state::{
    Claim, DeadLetter, Delivery, DocumentSaga, Ending, HistoryEntry, ItemPick, LastFailure, Outcome,
    RobotOrder, Source, Step, Timer, TimerKind, Work,
};
use super::words;
use crate::domain::{AttemptToken, CrmItem, Language, PortalId, SagaId, Text, Timestamp};
use crate::saga::retry::Schedule;
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
    /// The signing service is known to answer a repeated create of one external id with the first document: then an
    /// unknown outcome is simply repeated.
    pub create_is_idempotent: bool,
    /// The operator accepts possible doubles: repeat a create after 5xx as the guide says. Only where the service
    /// cannot be searched: a search keeps the promise of one document, so it goes first wherever it exists.
    pub repeat_create_on_server_error: bool,
    /// Reminders to the people named by the rule, counted from the start of the wait, growing.
    pub reminders_ms: Vec<u64>,
    /// When a waiting document becomes a dead letter.
    pub deadline_ms: u64,
    /// How long an attempt may take before its outcome counts as unknown. Longer than any timeout of a call.
    pub lease_ms: u64,
    /// Pause after a limit of the remote that named no pause.
    pub throttled_ms: u64,
    /// Pause between two looks whether the PDF of a generated document is there (Bitrix24 docs: 30 to 40 s).
    pub pdf_pause_ms: u64,
    /// How long the PDF of a generated document is waited for before a person is asked.
    pub pdf_wait_ms: u64,
    /// Documents taken up until then may be ahead of their records, because the store was made from a backup: their
    /// writes are looked for before they are made. None = the store was never restored.
    pub doubt_until: Option<Timestamp>,
    /// Language of notices and comments.
    pub language: Language,
    /// Where our own signer signs first.
    pub own: OwnPolicy,
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
        self.saga != *before
            || !self.history.is_empty()
            || !self.claims.is_empty()
            || !self.release.is_empty()
            || !self.spawn.is_empty()
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
///
/// # Errors
/// [`IllegalEvent::Incomplete`] never in practice: every source has what its first step needs.
pub fn begin(
    id: SagaId,
    portal: &PortalId,
    source: Source,
    rule: Option<String>,
    cx: Context<'_>,
) -> Result<Next, IllegalEvent> {
    let mut draft = opened(id, portal, source, rule, cx);
    draft.start()?;
    Ok(draft.next)
}

/// The first record of a saga and its names; the first order is not given yet.
fn opened<'a>(
    id: SagaId,
    portal: &PortalId,
    source: Source,
    rule: Option<String>,
    cx: Context<'a>,
) -> Draft<'a> {
    let (step, claims) = match reading_claim_of(portal, &source) {
        Some(reading) => (Step::ReadItem, vec![reading]),
        None => (
            Step::FetchSource,
            vec![source_claim(portal, &source), Claim::External(effect::external_id(portal, &source, id))],
        ),
    };
    let crm_item = match &source {
        Source::CrmFile { item, .. } | Source::OfItem { item, .. } => Some(*item),
        Source::CrmItem { .. } | Source::DriveFile { .. } | Source::Generated { .. } => None,
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
        field_baseline: None,
        field_file: None,
        robots: Vec::new(),
        ending: None,
        own: None,
    };
    let mut draft = Draft::of(&saga, cx);
    draft.next.claims = claims;
    draft.note("triggered", "Документ принят в работу", "The document was taken up");
    draft
}

/// The exclusive name of a source: one saga per source file, for ever.
pub fn source_claim(portal: &PortalId, source: &Source) -> Claim {
    Claim::Source(match source {
        Source::DriveFile { file_id } => format!("{portal}/drive/{file_id}"),
        Source::CrmItem { item } => format!("{portal}/crm/{item}"),
        Source::CrmFile { item, field, file_id } => format!("{portal}/crm/{item}/{field}/{file_id}"),
        Source::Generated { document_id } => format!("{portal}/generated/{document_id}"),
        Source::OfItem { item, pick } => format!("{portal}/crm/{item}/{}", pick_name(pick)),
    })
}

fn pick_name(pick: &ItemPick) -> String {
    match pick {
        ItemPick::Field(field) => format!("field/{field}"),
        ItemPick::LatestGenerated => "generated".to_owned(),
    }
}

/// The exclusive name under which a source is being read that does not name its file yet; none if it does.
pub fn reading_claim_of(portal: &PortalId, source: &Source) -> Option<Claim> {
    match source {
        Source::CrmItem { item } => Some(reading_claim(portal, *item)),
        Source::OfItem { item, pick } => {
            Some(Claim::Reading(format!("{portal}/crm/{item}/{}", pick_name(pick))))
        }
        Source::DriveFile { .. } | Source::CrmFile { .. } | Source::Generated { .. } => None,
    }
}

/// The exclusive name under which a CRM item is being read: further triggers join the reader.
pub fn reading_claim(portal: &PortalId, item: CrmItem) -> Claim {
    Claim::Reading(format!("{portal}/crm/{item}"))
}

/// What happens next to `saga` because of `event`.
///
/// # Errors
/// [`IllegalEvent::Rejected`] for an order of a person that does not fit; the other variants are faults of ours,
/// and the caller parks the saga with them: [`Event::Panicked`] with the error's text.
pub fn transition(saga: &DocumentSaga, event: &Event, cx: Context<'_>) -> Result<Next, IllegalEvent> {
    let mut draft = Draft::of(saga, cx);
    match event {
        Event::TriggeredAgain => draft.triggered_again(),
        Event::CallbackArrived { document_id, external_id, status, raw_status } => {
            draft.callback(document_id, external_id.as_deref(), status, raw_status)?;
        }
        Event::TimerFired { kind } => draft.timer(*kind)?,
        Event::Answered { token, answer } if draft.is_current(*token) => draft.answered(answer)?,
        Event::Answered { token, answer } if draft.was_ours(*token) => draft.straggler(answer)?,
        Event::Failed { token, failure } if draft.is_current(*token) => draft.failed(failure)?,
        Event::AttemptLost { token } if draft.is_current(*token) => draft.attempt_lost()?,
        Event::StillRunning { token } if draft.is_current(*token) => draft.extend_lease(),
        Event::Answered { .. }
        | Event::Failed { .. }
        | Event::AttemptLost { .. }
        | Event::StillRunning { .. } => {}
        Event::ClaimTaken { claim, by } => draft.claim_taken(claim, *by)?,
        Event::Panicked { text } => draft.panicked(text),
        Event::Operator(action) => draft.operator(action)?,
        Event::RobotAsked { order } => draft.robot_asked(order)?,
        Event::Own(event) => draft.own_event(event)?,
        Event::Restored => draft.ask_anew()?,
    }
    Ok(draft.next)
}

/// The class of a step's effect and where its look step is.
pub fn step_class(step: Step) -> StepClass {
    match step {
        Step::Create
        | Step::Upload
        | Step::Comment
        | Step::AttachField
        | Step::CreateDraft
        | Step::SetRoute
        | Step::SaveSignature => StepClass::Probe,
        // An upload that is repeated leaves a blob that nobody refers to.
        Step::Notify
        | Step::MoveStage
        | Step::AnswerRobot
        | Step::UploadBlob
        | Step::TellSigner
        | Step::SendSignature => StepClass::Keyed,
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
        | Step::Parked
        | Step::AwaitPdf
        | Step::ScanField
        | Step::FindFieldFile
        | Step::FindDraft
        | Step::FindRoute
        | Step::PrepareContent
        | Step::AwaitSigner
        | Step::FindSave
        | Step::FetchArchive
        | Step::FindSent
        | Step::AwaitProcess => StepClass::Read,
        Step::SendSigned => StepClass::Blind,
    }
}

/// Where a write of unknown outcome is looked for; none for steps that may simply be repeated. For a blind write that is
/// where a late answer is waited for, since nothing can be asked.
pub(crate) fn look_step(step: Step) -> Option<Step> {
    match step {
        Step::Create => Some(Step::FindDocument),
        Step::Upload => Some(Step::FindUpload),
        Step::Comment => Some(Step::FindComment),
        Step::AttachField => Some(Step::FindFieldFile),
        Step::CreateDraft => Some(Step::FindDraft),
        Step::SetRoute => Some(Step::FindRoute),
        Step::SaveSignature => Some(Step::FindSave),
        Step::SendSigned => Some(Step::FindSent),
        Step::ReadItem
        | Step::FetchSource
        | Step::FindDocument
        | Step::AwaitSignature
        | Step::FetchSigned
        | Step::ScanFolder
        | Step::FindUpload
        | Step::FindComment
        | Step::Notify
        | Step::Delivered
        | Step::Refused
        | Step::Ignored
        | Step::Cancelled
        | Step::Parked
        | Step::AwaitPdf
        | Step::ScanField
        | Step::FindFieldFile
        | Step::MoveStage
        | Step::AnswerRobot
        | Step::UploadBlob
        | Step::FindDraft
        | Step::FindRoute
        | Step::PrepareContent
        | Step::TellSigner
        | Step::AwaitSigner
        | Step::SendSignature
        | Step::FindSave
        | Step::FetchArchive
        | Step::FindSent
        | Step::AwaitProcess => None,
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

    /// Whether this saga ever made the attempt: a made-up number is nobody's answer.
    fn was_ours(&self, token: AttemptToken) -> bool {
        (1..=self.next.saga.last_token).contains(&token.0)
    }

    /// The step that a retry goes on with: the present one, or the one that a dead letter stopped at.
    fn stuck_at(&self) -> Step {
        self.next.saga.dead_letter.as_ref().map_or(self.next.saga.step, |dead| dead.from)
    }

    fn is_in_flight(&self) -> bool {
        matches!(self.next.saga.work, Work::InFlight { .. })
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
        // A new link is made in the middle of the wait for our signer: its clockwork goes on.
        let waits = matches!(
            step,
            Step::AwaitSignature | Step::AwaitSigner | Step::PrepareContent | Step::TellSigner
        );
        if !waits {
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
        if self.must_look_first() {
            return self.look_first();
        }
        if self.next.saga.step == Step::PrepareContent && self.is_unknown_over_there() {
            return self.sign_own_file();
        }
        let effect = effect_of(&self.next.saga, self.cx)?;
        let (now, lease) = (self.cx.now, self.cx.policy.lease_ms);
        let saga = self.saga();
        saga.last_token += 1;
        // Triggers that came before this read began are answered by it.
        saga.read_again = 0;
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

    /// Comes to the end: at once, or after the workflows that wait for it are answered.
    fn close(&mut self, step: Step, code: &str, reason: Text) -> Result<(), IllegalEvent> {
        let ending = Ending { step, code: code.to_owned(), reason };
        if self.next.saga.robots.iter().any(RobotOrder::is_pending) {
            self.saga().ending = Some(ending);
            return self.go(Step::AnswerRobot);
        }
        self.seal(ending);
        Ok(())
    }

    fn seal(&mut self, ending: Ending) {
        let now = self.cx.now;
        self.enter(ending.step);
        let saga = self.saga();
        saga.ending = None;
        if ending.step == Step::Ignored {
            let (code, reason) = (ending.code.clone(), ending.reason.clone());
            saga.last_failure = Some(LastFailure { at: now, code, reason });
        }
        self.note(&ending.code, ending.reason.ru, ending.reason.en);
    }

    /// Stops for a person. A write that is under way has an unknown outcome: going on means looking (SG-5).
    fn park(&mut self, code: &str, reason: Text, next_action: Text, answer: Option<String>) {
        let now = self.cx.now;
        let stuck = self.stuck_at();
        let from = look_step(stuck).filter(|_| self.is_in_flight()).unwrap_or(stuck);
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

    /// A trigger that arrives while the item is being read may tell of a change that the read has not seen.
    fn triggered_again(&mut self) {
        if self.next.saga.step == Step::ReadItem && self.is_in_flight() {
            let saga = self.saga();
            saga.read_again = saga.read_again.saturating_add(1);
        }
    }

    fn panicked(&mut self, text: &str) {
        let text = words::plain(text);
        let reason = Text::new(
            format!("Обработка документа прервана внутренней ошибкой: {text}"),
            format!("Handling the document was broken off by an internal fault: {text}"),
        );
        if self.next.saga.step.is_finished() {
            self.note("panic", reason.ru, reason.en);
            return;
        }
        let next_action = Text::new(
            "Пришлите нам дамп (documents show --json), затем повторите (retry).",
            "Send us the dump (documents show --json), then retry.",
        );
        self.park("panic", reason, next_action, None);
    }

    fn timer(&mut self, kind: TimerKind) -> Result<(), IllegalEvent> {
        let present = self.next.saga.timer;
        if present.is_none_or(|t| t.kind != kind || t.due > self.cx.now) {
            return Ok(());
        }
        match kind {
            TimerKind::Start => self.start(),
            TimerKind::Wait if self.next.saga.step == Step::AwaitSigner => self.signer_timer(),
            TimerKind::Wait => self.wait_timer(),
            TimerKind::Grace if self.next.saga.step == Step::FindSent => {
                self.sending_unknown();
                Ok(())
            }
            TimerKind::Grace => {
                self.create_unknown();
                Ok(())
            }
            TimerKind::Lease => self.overdue(),
        }
    }
}

fn wrong(step: Step, answer: &Answer) -> IllegalEvent {
    let answer = format!("{answer:?}").chars().take(80).collect();
    IllegalEvent::WrongAnswer { step: step.name(), answer }
}

fn wrong_own(step: Step, answer: &OwnAnswer) -> IllegalEvent {
    let answer = format!("{answer:?}").chars().take(80).collect();
    IllegalEvent::WrongAnswer { step: step.name(), answer }
}

fn rejected(ru: &str, en: &str) -> IllegalEvent {
    IllegalEvent::Rejected(Text::new(ru, en))
}

fn missing(saga: &DocumentSaga, what: &'static str) -> IllegalEvent {
    IllegalEvent::Incomplete { step: saga.step.name(), what }
}
