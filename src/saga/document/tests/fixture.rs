//! A story is told step by step: `given(Step::Upload).fails(no_answer()).then([At(Step::FindUpload), …])`.

use super::super::effect::Effect;
use super::super::event::{Answer, CallbackStatus, Event, Mend, OperatorAction, RobotHeard, WantedFile};
use super::super::own_signature::{
    Counterparty, CounterpartyKind, Holds, OwnAnswer, OwnEffect, OwnEvent, OwnSigner, OwnStatus, Process,
    Ticket,
};
use super::super::rule::SourceFacts;
use super::super::state::{
    Claim, CommentFile, DeliveredFile, Delivery, DocumentSaga, EventToken, ItemPick, Occasion, Outcome,
    RobotOrder, RobotWait, Source, Step, TimerKind, Work,
};
use super::super::transition::{
    Context, IllegalEvent, Next, OwnPolicy, Policy, RobotWishes, begin, begin_for_robot, effect_of,
    transition,
};
use super::super::{effect, invariant};
use crate::domain::{
    AttemptToken, Capabilities, CrmItem, Failure, FailureClass, FailureKind, FileDigest, Language, PortalId,
    SagaId, SigningService, SpoolFile, Text, Timestamp,
};
use crate::saga::retry::Schedule;

pub const SECOND: u64 = 1_000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;
pub const START: Timestamp = Timestamp(1_700_000_000_000);
pub const ITEM: CrmItem = CrmItem { entity_type_id: 2, id: 501 };
pub const FOLDER: u64 = 77;
pub const OTHER_FOLDER: u64 = 88;
pub const DOCUMENT: &str = "doc-1";
/// The rule that wishes for everything.
pub const RICH: &str = "rich";
/// The rule by which our own signer signs first.
pub const OWN: &str = "own";
/// How long a content to sign lives.
pub const UNIT_LIFE: u64 = 2 * DAY;
pub const COPY_NAME: &str = "contract_signed.pdf";

/// No jitter, so that times can be told exactly.
pub fn policy() -> Policy {
    Policy {
        create_is_idempotent: false,
        server_error: Schedule::finite([10 * SECOND, 30 * SECOND]),
        portal_error: Schedule::finite([5 * SECOND, 15 * SECOND, MINUTE]),
        outage: Schedule::finite([SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR]),
        jitter_percent: 0,
        settle_ms: 15 * SECOND,
        looks: 2,
        rounds_max: 3,
        search_available: true,
        poll: None,
        callback_grace_ms: HOUR,
        repeat_create_on_server_error: false,
        reminders_ms: vec![DAY, 3 * DAY],
        deadline_ms: 14 * DAY,
        lease_ms: 2 * MINUTE,
        throttled_ms: 10 * SECOND,
        pdf_pause_ms: 35 * SECOND,
        pdf_wait_ms: 30 * MINUTE,
        doubt_until: None,
        language: Language::Ru,
        own: OwnPolicy {
            number_template: "{name}-{short}".into(),
            poll: Schedule::endless([HOUR, 6 * HOUR]),
            reminders_ms: vec![DAY, 3 * DAY],
            escalation_ms: 4 * DAY,
            counterparty_reminders_ms: vec![DAY, 3 * DAY],
            deadline_ms: 14 * DAY,
            settle_ms: 15 * SECOND,
            service: SigningService::Idocs.capabilities(),
            process: Schedule::endless([2 * SECOND, 10 * SECOND, MINUTE]),
            process_deadline_ms: HOUR,
            whole_file_end: "p7m".into(),
        },
    }
}

/// The service takes file and signature at once, and knows no drafts.
pub fn whole() -> Policy {
    let own = OwnPolicy { service: Capabilities::of_idocs_v1(), ..policy().own };
    Policy { own, ..policy() }
}

pub fn unsearchable() -> Policy {
    Policy { search_available: false, ..policy() }
}

pub fn dangerous() -> Policy {
    Policy { repeat_create_on_server_error: true, ..unsearchable() }
}

pub fn polling() -> Policy {
    Policy { poll: Some(Schedule::endless([HOUR, 6 * HOUR])), ..policy() }
}

pub fn portal() -> PortalId {
    PortalId("main".into())
}

pub fn saga_id() -> SagaId {
    SagaId::from_u128(0x0198_f00d_dead_beef_0123_4567_89ab_cdef)
}

pub fn other_saga() -> SagaId {
    SagaId::from_u128(0x0198_f00d_dead_beef_0123_4567_0000_0001)
}

pub fn spool(n: u8) -> SpoolFile {
    SpoolFile { digest: FileDigest([n; 32]), size_bytes: 1_000 + u64::from(n) }
}

pub fn delivery() -> Delivery {
    Delivery {
        rule: "contracts".into(),
        route_id: "route-1".into(),
        folder_id: Some(FOLDER),
        suffix: "_signed".into(),
        comment: true,
        notify: vec![7, 8],
        notify_on: vec![Occasion::Signed, Occasion::Refused, Occasion::Reminder],
        ..Delivery::default()
    }
}

/// Everything at once: Drive, field, comment with the file, stages.
pub fn rich_delivery() -> Delivery {
    Delivery {
        rule: RICH.into(),
        field: Some("UF_CRM_SIGNED".into()),
        comment_file: CommentFile::Attached,
        stage_on_signed: Some("C1:WON".into()),
        stage_on_refused: Some("C1:LOSE".into()),
        stages_from: vec!["C1:NEW".into()],
        item_stage: Some("C1:EXECUTING".into()),
        ..delivery()
    }
}

/// Our director signs first, then the company with this BIN.
pub fn own_delivery() -> Delivery {
    let counterparty = Counterparty {
        bin: "123456789012".into(),
        email: "office@example.kz".into(),
        kind: CounterpartyKind::Company,
    };
    let signer = OwnSigner {
        name: "director".into(),
        employee_id: "employee-1".into(),
        user: Some(17),
        escalate_to: vec![18],
        group: "Legal".into(),
        counterparty,
    };
    Delivery { rule: OWN.into(), signer: Some(Box::new(signer)), ..delivery() }
}

fn delivery_of(rule: Option<&str>) -> Delivery {
    match rule {
        Some(RICH) => rich_delivery(),
        Some(OWN) => own_delivery(),
        _ => delivery(),
    }
}

pub fn own_status(status: OwnStatus) -> Answer {
    let raw_status = match status {
        OwnStatus::NotSent => "DRAFT",
        OwnStatus::InWork => "IN_PROCESS_BY_RECIPIENT",
        OwnStatus::Signed => "FINISHED",
        OwnStatus::Refused(_) => "REJECTED_BY_RECIPIENT",
        OwnStatus::Withdrawn => "RECALLED_BY_SENDER",
        OwnStatus::Unclear => "FINISHED_EDITABLE",
    };
    Answer::Own(OwnAnswer::StatusRead { status, raw_status: raw_status.into() })
}

pub fn content_ready(now: Timestamp, holds: Holds) -> Answer {
    Answer::Own(OwnAnswer::ContentReady {
        content: spool(30),
        ticket: Ticket::new("ticket"),
        expires_at: now.plus_ms(UNIT_LIFE),
        holds,
    })
}

fn own_answer(effect: &OwnEffect) -> Answer {
    Answer::Own(match effect {
        OwnEffect::UploadBlob { .. } => OwnAnswer::BlobStored { blob_id: "blob-1".into() },
        OwnEffect::CreateDraft(_) | OwnEffect::FindDraft { .. } => {
            OwnAnswer::DraftMade { document_id: DOCUMENT.into(), raw_status: "DRAFT".into() }
        }
        OwnEffect::SetRoute { .. } | OwnEffect::FindRoute { .. } => OwnAnswer::RouteSet,
        OwnEffect::PrepareContent { .. } => return content_ready(START.plus_ms(30 * DAY), Holds::Original),
        OwnEffect::TellSigner { .. } => OwnAnswer::SignerTold,
        OwnEffect::SendSignature { .. } => OwnAnswer::SignatureStored { blob_id: "blob-2".into() },
        OwnEffect::SaveSignature { .. } => OwnAnswer::SignatureSaved,
        OwnEffect::ReadStatus { .. } => return own_status(OwnStatus::Signed),
        OwnEffect::FetchPrintForm { .. } => OwnAnswer::PrintForm(Some(spool(2))),
        OwnEffect::FetchArchive { .. } => OwnAnswer::Archive(Some(spool(31))),
        OwnEffect::SendSigned(_) => OwnAnswer::Sent { process: "process-1".into() },
        OwnEffect::ReadProcess { .. } => {
            OwnAnswer::ProcessRead(Process::Document { document_id: DOCUMENT.into() })
        }
    })
}

/// A workflow that waits for the end.
pub fn robot(n: u8) -> RobotOrder {
    RobotOrder {
        workflow_id: format!("workflow-{n}"),
        event_token: EventToken::new(format!("token-{n}")),
        waits: RobotWait::UntilTheEnd,
        answered_at: None,
    }
}

pub fn wishes() -> RobotWishes {
    RobotWishes { order: Some(robot(1)), item: Some(ITEM), ..RobotWishes::default() }
}

/// The newest generated document of a deal.
pub fn generated() -> Source {
    Source::OfItem { item: ITEM, pick: ItemPick::LatestGenerated }
}

pub fn copy() -> DeliveredFile {
    DeliveredFile { file_id: 9_100, name: COPY_NAME.into(), folder_id: FOLDER }
}

pub fn failure(class: FailureClass, kind: FailureKind, code: &str) -> Failure {
    Failure::new(class, kind, code, Text::new("Так сказала проверка.", "The test said so.")).answer("<html>")
}
pub fn no_answer() -> Failure {
    failure(FailureClass::Ambiguous, FailureKind::NoAnswer, "timeout")
}
pub fn server_error() -> Failure {
    failure(FailureClass::Ambiguous, FailureKind::ServerError, "http_502")
}
pub fn unreachable() -> Failure {
    failure(FailureClass::Transient, FailureKind::Unreachable, "connect")
}
pub fn throttled() -> Failure {
    failure(FailureClass::Throttled, FailureKind::Limit, "query_limit_exceeded")
}
pub fn unauthorised() -> Failure {
    failure(FailureClass::Auth, FailureKind::Credentials, "http_401")
}
pub fn permanent() -> Failure {
    failure(FailureClass::Permanent, FailureKind::Refused, "http_400")
}
pub fn name_taken() -> Failure {
    failure(FailureClass::Permanent, FailureKind::Refused, "disk_obj_22000")
}

/// A good answer to any effect. Looks find what they look for.
pub fn good_answer(effect: &Effect) -> Answer {
    match effect {
        Effect::ReadItem { item } => item_wanted(*item, &[9_001]),
        Effect::FetchSource { rule, .. } => source_fetched_for(delivery_of(rule.as_deref()), Some(FOLDER)),
        Effect::CreateDocument { .. } => created(DOCUMENT),
        Effect::FindDocument { .. } => found(CallbackStatus::Other),
        Effect::ReadStatus { .. } => status_read(CallbackStatus::Other),
        Effect::FetchSigned { .. } => Answer::SignedFetched { bytes: spool(2) },
        Effect::ScanFolder { wanted_name, .. } => {
            Answer::FolderScanned { highest_id: 9_050, free_name: wanted_name.clone() }
        }
        Effect::Upload { .. } => Answer::Uploaded { file: copy() },
        Effect::FindUpload { .. } => Answer::UploadFound { file: copy() },
        Effect::AddComment { .. } | Effect::FindComment { .. } => Answer::Commented { comment_id: 41 },
        Effect::Notify { .. } => Answer::Notified,
        Effect::PickSource { pick: ItemPick::LatestGenerated, rule, .. } => {
            Answer::DocumentPicked { document_id: 61, delivery: delivery_of(Some(rule.as_str())) }
        }
        Effect::PickSource { item, pick: ItemPick::Field(field), rule } => Answer::ItemWanted {
            item: *item,
            files: vec![WantedFile { field: field.clone(), file_id: 9_001 }],
            delivery: delivery_of(Some(rule.as_str())),
        },
        Effect::ScanField { .. } => Answer::FieldScanned { file_ids: vec![5, 6] },
        Effect::AttachField { .. } => Answer::FieldAttached { file_id: 7 },
        Effect::FindFieldFile { .. } => Answer::FieldFileFound { file_id: 7 },
        Effect::MoveStage { .. } => Answer::StageMoved { from: "C1:EXECUTING".into() },
        Effect::AnswerRobot { .. } => Answer::RobotAnswered { heard: RobotHeard::Yes },
        Effect::Own(own) => own_answer(own),
    }
}

/// What a look says that finds nothing; for other effects the good answer.
pub fn empty_answer(effect: &Effect) -> Answer {
    match effect {
        Effect::FindDocument { .. } => Answer::DocumentNotFound,
        Effect::FindUpload { .. } => Answer::UploadNotFound,
        Effect::FindComment { .. } => Answer::CommentNotFound,
        Effect::FindFieldFile { .. } => Answer::FieldFileNotFound,
        Effect::Own(OwnEffect::FindDraft { .. }) => Answer::Own(OwnAnswer::DraftNotFound),
        Effect::Own(OwnEffect::FindRoute { .. }) => Answer::Own(OwnAnswer::RouteNotFound),
        other => good_answer(other),
    }
}

pub fn item_wanted(item: CrmItem, files: &[u64]) -> Answer {
    let file = |id: &u64| WantedFile { field: "ufCrmContract".into(), file_id: *id };
    Answer::ItemWanted { item, files: files.iter().map(file).collect(), delivery: delivery() }
}
pub fn source_fetched(folder_id: Option<u64>) -> Answer {
    source_fetched_for(delivery(), folder_id)
}
pub fn source_fetched_for(delivery: Delivery, folder_id: Option<u64>) -> Answer {
    let facts = SourceFacts { name: "contract.pdf".into(), folder_id, ..SourceFacts::default() };
    Answer::SourceFetched { facts, bytes: spool(1), delivery, crm_item: Some(ITEM) }
}
pub fn created(id: &str) -> Answer {
    Answer::Created { document_id: id.into(), raw_status: "pending".into() }
}
pub fn word(status: &CallbackStatus) -> &'static str {
    match status {
        CallbackStatus::Signed => "signed",
        CallbackStatus::Refused => "rejected",
        CallbackStatus::Other => "in_progress",
    }
}
pub fn found(status: CallbackStatus) -> Answer {
    let raw_status = word(&status).into();
    Answer::DocumentFound { document_id: DOCUMENT.into(), status, raw_status }
}
pub fn status_read(status: CallbackStatus) -> Answer {
    let raw_status = word(&status).into();
    Answer::StatusRead { status, raw_status }
}
pub fn not_wanted() -> Answer {
    Answer::NotWanted {
        code: "no_rule".into(), reason: Text::new("Нет правила.", "No rule wants it.")
    }
}
pub fn folder(folder_id: u64) -> Mend {
    Mend { folder_id: Some(folder_id), ..Mend::default() }
}
pub fn retry() -> OperatorAction {
    OperatorAction::Retry(Mend::default())
}
pub fn bind(id: &str) -> OperatorAction {
    OperatorAction::Bind { document_id: id.into() }
}
pub fn cancel() -> OperatorAction {
    OperatorAction::Cancel { reason: "не нужен".into() }
}

/// One transition, with the rules that hold for every one of them.
pub fn apply(
    saga: &DocumentSaga,
    event: &Event,
    now: Timestamp,
    policy: &Policy,
    chance: u64,
) -> Result<Next, IllegalEvent> {
    let cx = Context { now, policy, chance };
    let next = transition(saga, event, cx)?;
    assert_eq!(next, transition(saga, event, cx).expect("the same again"), "the function is pure");
    check_next(saga, &next, cx);
    Ok(next)
}

fn check_next(before: &DocumentSaga, next: &Next, cx: Context<'_>) {
    let after = &next.saga;
    let seen = || format!("{before:#?}\n-> {next:#?}");
    assert_eq!(invariant::check(after), Vec::new(), "{}", seen());
    assert_eq!(after.revision, before.revision, "the store counts revisions");
    assert_eq!((after.id, after.created_at, &after.portal), (before.id, before.created_at, &before.portal));
    if before.step.is_finished() {
        assert_eq!(after.step, before.step, "finished is finished: {}", seen());
        assert_eq!(next.effect, None);
    }
    if before.outcome != Outcome::Open {
        assert_eq!(after.outcome, before.outcome, "SG-4: {}", seen());
    }
    if let Some(id) = &before.provider_document {
        assert_eq!(after.provider_document.as_ref(), Some(id), "a document is bound once: {}", seen());
    }
    if after.provider_document != before.provider_document {
        let id = after.provider_document.clone().expect("bound");
        let id = if after.own.is_some() { format!("idocs/{id}") } else { id };
        assert!(next.claims.contains(&Claim::ProviderDocument(id)), "a bound id is claimed");
    }
    assert!(after.last_token - before.last_token <= 1, "one order at a time");
    let ordered = after.last_token > before.last_token;
    assert_eq!(ordered, next.effect.is_some(), "SG-2: a new token if and only if an order: {}", seen());
    if let Some(effect) = &next.effect {
        assert_eq!(effect_of(after, cx).as_ref(), Ok(effect), "the record names its order");
    }
    check_complete(after, cx);
    if after.step != before.step {
        assert!(!next.history.is_empty() || after.step.is_live(), "the end is in the history: {}", seen());
    }
    for line in &next.history {
        assert!(!line.text.ru.is_empty() && !line.text.en.is_empty() && line.at == cx.now);
    }
    if next.saga == *before {
        assert!(next.effect.is_none());
    }
}

/// A live record can always give its order: otherwise its timer would fire into a fault for ever.
fn check_complete(saga: &DocumentSaga, cx: Context<'_>) {
    if saga.step == Step::AwaitSignature {
        assert!(saga.provider_document.is_some() && saga.waiting.is_some(), "{saga:#?}");
        assert_eq!(saga.outcome, Outcome::Open, "{saga:#?}");
    } else if saga.step == Step::AwaitSigner {
        assert!(
            saga.waiting.is_some() && saga.own.as_ref().is_some_and(|own| own.cms.is_none()),
            "{saga:#?}"
        );
    } else if saga.step == Step::FindSent {
        // nothing can be ordered there: its timer asks a person
        assert_eq!(saga.timer.map(|timer| timer.kind), Some(TimerKind::Grace), "{saga:#?}");
    } else if saga.step.is_live() {
        assert!(effect_of(saga, cx).is_ok(), "{saga:#?}");
    }
    if let Some(dead) = &saga.dead_letter {
        assert!(dead.from.is_live(), "{saga:#?}");
        assert!(!dead.reason.en.is_empty() && !dead.next_action.en.is_empty());
    }
}

/// What can be expected of the last transition.
#[derive(Debug, Clone, PartialEq)]
pub enum Is {
    /// It stands at this step.
    At(Step),
    /// It ordered the effect of this name.
    Ordered(&'static str),
    /// It ordered nothing.
    NothingOrdered,
    /// The timer has this meaning and fires after so many milliseconds.
    Due(TimerKind, u64),
    /// The history got this line.
    Noted(&'static str),
    /// It became a dead letter of this step with this code.
    DeadLetter(Step, &'static str),
    /// Nothing at all is different.
    Unchanged,
    /// So many failures count.
    Tries(u32),
    /// So many unknown outcomes count.
    Rounds(u32),
    /// It took this name.
    Took(Claim),
    /// It gave this name back.
    GaveBack(Claim),
    /// The outcome is this.
    Outcome(Outcome),
}

pub struct Story {
    pub saga: DocumentSaga,
    pub policy: Policy,
    pub now: Timestamp,
    pub last: Next,
    /// The record before the last event.
    before: DocumentSaga,
    /// Names of all orders so far.
    pub orders: Vec<&'static str>,
}

/// The document of a deal, driven to `step` under [`policy`]; its order is under way where the step has one.
///
/// Steps that the plain rule does not know are reached with the rich one and a workflow that waits.
pub fn given(step: Step) -> Story {
    match step {
        Step::AwaitPdf
        | Step::ScanField
        | Step::AttachField
        | Step::FindFieldFile
        | Step::MoveStage
        | Step::AnswerRobot => given_rich(step),
        _ if is_whole(step) => given_whole(step),
        _ if is_own(step) => given_own(step),
        _ => Story::new(Source::CrmItem { item: ITEM }, policy()).to(step),
    }
}

/// The document that a robot ordered, with everything that a rule can wish for.
pub fn given_rich(step: Step) -> Story {
    Story::rich(policy()).to(step)
}

/// Steps that only a document knows which our own signer signs first.
pub fn is_own(step: Step) -> bool {
    step.code() >= Step::UploadBlob.code()
}

/// Steps that only a document knows which is sent together with our signature.
pub fn is_whole(step: Step) -> bool {
    matches!(step, Step::SendSigned | Step::FindSent | Step::AwaitProcess)
}

/// Steps that only a document knows of which a draft is made first.
pub fn is_drafted(step: Step) -> bool {
    is_own(step)
        && !is_whole(step)
        && !matches!(step, Step::TellSigner | Step::AwaitSigner | Step::FetchArchive)
}

/// The document that is sent together with our signature.
pub fn given_whole(step: Step) -> Story {
    Story::own(whole()).to(step)
}

/// The document that our director signs first.
pub fn given_own(step: Step) -> Story {
    Story::own(policy()).to(step)
}

/// The same under another policy.
pub fn given_under(policy: Policy, step: Step) -> Story {
    Story::new(Source::CrmItem { item: ITEM }, policy).to(step)
}

/// A dead letter that stopped at `from`.
pub fn given_parked(from: Step) -> Story {
    let story = match from {
        Step::AwaitSignature => given(from).after(14 * DAY).fires(),
        Step::AwaitSigner => (0..8).fold(given(from).after(14 * DAY), |story, _| match story.saga.work {
            _ if story.saga.step == Step::Parked => story,
            Work::Idle => story.fires(),
            Work::InFlight { .. } => match story.order() {
                Effect::Own(OwnEffect::ReadStatus { .. }) => story.answers(own_status(OwnStatus::NotSent)),
                _ => story.goes_on(),
            },
        }),
        Step::FindSent => given(from).fires(),
        Step::SaveSignature | Step::SendSigned => {
            given(from).fails(throttled()).when(Event::Panicked { text: "broken".into() })
        }
        Step::FindDocument => {
            (0..3).fold(given(from), |s, _| s.fails(server_error()).fires_if(TimerKind::Start))
        }
        _ => given(from).fails(permanent()),
    };
    assert_eq!(story.saga.dead_letter.as_ref().map(|d| d.from), Some(from), "{:#?}", story.saga);
    story
}

impl Story {
    pub fn new(source: Source, policy: Policy) -> Self {
        let cx = Context { now: START, policy: &policy, chance: 0 };
        let first = begin(saga_id(), &portal(), source, None, cx).expect("a beginning");
        Self::of(first, policy)
    }

    pub fn rich(policy: Policy) -> Self {
        let cx = Context { now: START, policy: &policy, chance: 0 };
        let rule = Some(RICH.to_owned());
        let first = begin_for_robot(saga_id(), &portal(), generated(), rule, wishes(), cx);
        Self::of(first.expect("a beginning"), policy)
    }

    pub fn own(policy: Policy) -> Self {
        let cx = Context { now: START, policy: &policy, chance: 0 };
        let source = Source::DriveFile { file_id: 9_001 };
        let first = begin(saga_id(), &portal(), source, Some(OWN.into()), cx).expect("a beginning");
        Self::of(first, policy)
    }

    fn of(first: Next, policy: Policy) -> Self {
        let mut orders = Vec::new();
        orders.extend(first.effect.as_ref().map(Effect::name));
        let saga = first.saga.clone();
        assert_eq!(invariant::check(&saga), Vec::new());
        Self { before: saga.clone(), saga, policy, now: START, last: first, orders }
    }

    /// Goes the shortest way to `step`. A loop, not a recursion: stories are large.
    pub fn to(self, step: Step) -> Self {
        let mut way = vec![step];
        let first = self.saga.step;
        while let Some(before) = way
            .last()
            .filter(|last| **last != first)
            .and_then(|last| before(*last, self.is_rich(), self.is_own(), self.is_whole()))
        {
            way.push(before);
        }
        way.into_iter().rev().fold(self, Self::enter)
    }

    /// From the step before `step` into it.
    fn enter(self, step: Step) -> Self {
        match step {
            step if step == self.saga.step => self,
            Step::ReadItem => self,
            Step::AwaitPdf => self.answers(Answer::PdfPending).fires(),
            Step::FindDocument | Step::FindUpload | Step::FindFieldFile | Step::FindComment => {
                self.fails(no_answer()).fires()
            }
            Step::FindDraft | Step::FindRoute | Step::FindSave => self.fails(no_answer()).fires(),
            Step::SendSignature | Step::SendSigned => self.signs(),
            Step::FindSent => self.fails(no_answer()),
            Step::AwaitProcess => self.goes_on().fires(),
            Step::TellSigner | Step::AwaitSignature if self.is_own() => self.goes_on().goes_on(),
            Step::FetchSigned if self.is_own() => self.fires().goes_on(),
            Step::FetchSigned => self.hears(CallbackStatus::Signed),
            Step::Ignored => self.answers(not_wanted()).ends(),
            Step::Cancelled => self.person(cancel()).ends(),
            Step::Parked => self.fails(permanent()),
            Step::Refused => self.hears(CallbackStatus::Refused).ends(),
            Step::AnswerRobot => self.goes_on().goes_on(),
            Step::Delivered => self.ends(),
            Step::FetchSource
            | Step::Create
            | Step::AwaitSignature
            | Step::ScanFolder
            | Step::Upload
            | Step::ScanField
            | Step::AttachField
            | Step::Comment
            | Step::MoveStage
            | Step::Notify
            | Step::UploadBlob
            | Step::CreateDraft
            | Step::SetRoute
            | Step::PrepareContent
            | Step::TellSigner
            | Step::AwaitSigner
            | Step::SaveSignature
            | Step::FetchArchive => self.goes_on(),
        }
    }

    /// Everything goes well until the end.
    fn ends(mut self) -> Self {
        while !self.saga.step.is_finished() {
            self = self.goes_on();
        }
        self
    }

    pub fn is_own(&self) -> bool {
        self.saga.delivery.signer.is_some() || self.saga.delivery.rule == OWN
    }

    pub fn is_whole(&self) -> bool {
        self.is_own() && self.policy.own.service == Capabilities::of_idocs_v1()
    }

    pub fn is_rich(&self) -> bool {
        !self.saga.robots.is_empty()
    }

    pub fn token(&self) -> AttemptToken {
        AttemptToken(self.saga.last_token)
    }

    /// The order under way.
    pub fn order(&self) -> Effect {
        assert!(matches!(self.saga.work, Work::InFlight { .. }), "nothing is under way");
        effect_of(&self.saga, Context { now: self.now, policy: &self.policy, chance: 0 }).expect("an order")
    }

    pub fn tries(&self, event: &Event) -> Result<Next, IllegalEvent> {
        apply(&self.saga, event, self.now, &self.policy, 0)
    }

    #[track_caller]
    pub fn when(mut self, event: Event) -> Self {
        match self.tries(&event) {
            Ok(next) => {
                self.before = std::mem::replace(&mut self.saga, next.saga.clone());
                self.orders.extend(next.effect.as_ref().map(Effect::name));
                self.last = next;
                self
            }
            Err(e) => panic!("{e}: {event:?} at {:#?}", self.saga),
        }
    }

    /// The order of a person is rejected in words.
    #[track_caller]
    pub fn rejects(self, action: OperatorAction) -> Self {
        match self.tries(&Event::Operator(action.clone())) {
            Err(IllegalEvent::Rejected(text)) => assert!(!text.ru.is_empty() && !text.en.is_empty()),
            other => panic!("{action:?} was not rejected: {other:?}"),
        }
        self
    }

    /// The answer is called a fault of ours.
    #[track_caller]
    pub fn faults(self, answer: Answer) -> Self {
        let event = Event::Answered { token: self.token(), answer };
        let result = self.tries(&event);
        assert!(matches!(result, Err(IllegalEvent::WrongAnswer { .. })), "{event:?}: {result:?}");
        self
    }

    #[track_caller]
    pub fn answers(self, answer: Answer) -> Self {
        let token = self.token();
        self.when(Event::Answered { token, answer })
    }
    /// The order under way is answered well.
    #[track_caller]
    pub fn goes_on(self) -> Self {
        let answer = good_answer(&self.order());
        self.answers(answer)
    }
    /// The look under way finds nothing.
    #[track_caller]
    pub fn finds_nothing(self) -> Self {
        let answer = empty_answer(&self.order());
        self.answers(answer)
    }
    #[track_caller]
    pub fn fails(self, failure: Failure) -> Self {
        let token = self.token();
        self.when(Event::Failed { token, failure })
    }
    /// The process that ran the attempt is gone.
    #[track_caller]
    pub fn crashes(self) -> Self {
        let token = self.token();
        self.when(Event::AttemptLost { token })
    }
    pub fn after(mut self, ms: u64) -> Self {
        self.now = self.now.plus_ms(ms);
        self
    }
    /// Time passes until the timer is due, and it fires.
    #[track_caller]
    pub fn fires(mut self) -> Self {
        let timer = self.saga.timer.expect("a timer");
        self.now = self.now.max(timer.due);
        self.when(Event::TimerFired { kind: timer.kind })
    }
    pub fn fires_if(self, kind: TimerKind) -> Self {
        if self.saga.timer.is_some_and(|t| t.kind == kind) { self.fires() } else { self }
    }
    #[track_caller]
    pub fn hears(self, status: CallbackStatus) -> Self {
        let external_id = Some(self.saga.external_id.clone());
        self.hears_of(DOCUMENT, external_id, status)
    }
    #[track_caller]
    pub fn hears_of(self, document_id: &str, external_id: Option<String>, status: CallbackStatus) -> Self {
        let raw_status = word(&status).to_owned();
        self.when(Event::CallbackArrived { document_id: document_id.into(), external_id, status, raw_status })
    }
    #[track_caller]
    pub fn person(self, action: OperatorAction) -> Self {
        self.when(Event::Operator(action))
    }
    /// Our signer signs over the newest unit.
    #[track_caller]
    pub fn signs(self) -> Self {
        let unit = self.saga.own.as_ref().map_or(0, |own| own.units);
        self.when(signature(unit, 40))
    }
    /// An answer to the attempt with this number.
    #[track_caller]
    pub fn late(self, token: u64, answer: Answer) -> Self {
        self.when(Event::Answered { token: AttemptToken(token), answer })
    }

    #[track_caller]
    pub fn then<const N: usize>(self, expected: [Is; N]) -> Self {
        for is in expected {
            assert!(self.holds(&is), "expected {is:?}, but: {:#?}\nafter {:#?}", self.last, self.before);
        }
        self
    }

    fn holds(&self, is: &Is) -> bool {
        let next = &self.last;
        match is {
            Is::At(step) => self.saga.step == *step,
            Is::Ordered(name) => next.effect.as_ref().map(Effect::name) == Some(name),
            Is::NothingOrdered => next.effect.is_none(),
            Is::Due(kind, ms) => {
                self.saga.timer.is_some_and(|t| t.kind == *kind && t.due == self.now.plus_ms(*ms))
            }
            Is::Noted(what) => next.history.iter().any(|h| h.what == *what),
            Is::DeadLetter(from, code) => {
                self.saga.dead_letter.as_ref().is_some_and(|d| d.from == *from && d.code == *code)
            }
            Is::Unchanged => !next.changes(&self.before),
            Is::Tries(n) => self.saga.tries == *n,
            Is::Rounds(n) => self.saga.rounds == *n,
            Is::Took(claim) => next.claims.contains(claim),
            Is::GaveBack(claim) => next.release.contains(claim),
            Is::Outcome(outcome) => self.saga.outcome == *outcome,
        }
    }
}

/// The step from which `step` is entered on the shortest way.
fn before(step: Step, rich: bool, own: bool, whole: bool) -> Option<Step> {
    Some(match step {
        Step::AwaitSignature if whole => Step::AwaitProcess,
        Step::TellSigner if whole => Step::FetchSource,
        Step::SendSigned => Step::AwaitSigner,
        Step::FindSent | Step::AwaitProcess => Step::SendSigned,
        Step::AwaitSignature if own => Step::SaveSignature,
        Step::ScanFolder if own => Step::FetchArchive,
        Step::UploadBlob => Step::FetchSource,
        Step::CreateDraft => Step::UploadBlob,
        Step::FindDraft | Step::SetRoute => Step::CreateDraft,
        Step::FindRoute | Step::PrepareContent => Step::SetRoute,
        Step::TellSigner => Step::PrepareContent,
        Step::AwaitSigner => Step::TellSigner,
        Step::SendSignature => Step::AwaitSigner,
        Step::SaveSignature => Step::SendSignature,
        Step::FindSave => Step::SaveSignature,
        Step::FetchArchive => Step::FetchSigned,
        Step::ReadItem => return None,
        Step::FetchSource | Step::Ignored => Step::ReadItem,
        Step::Create | Step::AwaitPdf => Step::FetchSource,
        Step::AwaitSignature | Step::FindDocument | Step::Parked => Step::Create,
        Step::FetchSigned | Step::Refused | Step::Cancelled => Step::AwaitSignature,
        Step::ScanFolder => Step::FetchSigned,
        Step::Upload => Step::ScanFolder,
        Step::FindUpload | Step::ScanField => Step::Upload,
        Step::AttachField => Step::ScanField,
        Step::FindFieldFile => Step::AttachField,
        Step::Comment => {
            if rich {
                Step::AttachField
            } else {
                Step::Upload
            }
        }
        Step::FindComment | Step::MoveStage => Step::Comment,
        Step::Notify => {
            if rich {
                Step::MoveStage
            } else {
                Step::Comment
            }
        }
        Step::AnswerRobot | Step::Delivered => Step::Notify,
    })
}

/// A signature over this unit.
pub fn signature(unit: u32, n: u8) -> Event {
    Event::Own(OwnEvent::SignatureGiven {
        unit,
        cms: spool(n),
        signer: "CN=ДИРЕКТОР, SERIALNUMBER=IIN990101300123".into(),
        checks: Text::new("Проверено: дайджест.", "Checked: the digest."),
    })
}

pub fn mark(saga: &DocumentSaga) -> String {
    effect::comment_mark(saga)
}
