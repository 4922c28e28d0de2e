//! Any sequence of events, likely or absurd: the invariants hold after each, no write of unknown outcome is ordered
//! again without a look between (SG-5), and a world that becomes fair brings every document to its end.

use super::super::effect::Effect;
use super::super::event::{
    Announcement, Answer, CallbackStatus, Event, Mend, OperatorAction, RobotHeard, StageKept,
};
use super::super::own_signature::{Holds, OwnAnswer, OwnEffect, OwnEvent, OwnStatus, Process};
use super::super::state::{Claim, Delivery, DocumentSaga, DriveCopy, Source, Step, TimerKind, Work};
use super::super::transition::{
    Context, IllegalEvent, Policy, begin, begin_for_robot, effect_of, look_step, reading_claim, source_claim,
};
use super::fixture::*;
use crate::domain::{AttemptToken, Failure, FailureClass, FailureKind, Text, Timestamp};
use crate::saga::retry::Schedule;
use proptest::prelude::*;

/// More than any fair world needs: fifteen calls, their looks, one healing by a person.
const FAIR_EVENTS_MAX: usize = 60;

/// Which attempt an answer claims to belong to.
#[derive(Debug, Clone, Copy)]
enum Token {
    Present,
    Older(u8),
    MadeUp,
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Act {
    /// The order under way is answered well; looks find what they look for, or do not.
    Good(Found),
    Answer(usize, Token),
    Fail(Failure, Token),
    Lost(Token),
    /// Time passes to the timer, and it fires.
    Due,
    Timer(TimerKind),
    Later(u64),
    Callback {
        document: u8,
        ours: Ours,
        status: CallbackStatus,
    },
    Triggered,
    Taken(u8),
    Panic,
    Person(OperatorAction),
    /// A robot wants the same document.
    Robot(u8),
    /// Our signer signs over the newest unit or an older one.
    Signature {
        older: bool,
        which: u8,
    },
    LinkAsked,
    StatusHint,
}

#[derive(Debug, Clone, Copy)]
enum Found {
    Something,
    Nothing,
}

/// Which external id a callback carries.
#[derive(Debug, Clone, Copy)]
enum Ours {
    Yes,
    Missing,
    Foreign,
}

fn any_token() -> impl Strategy<Value = Token> {
    prop_oneof![6 => Just(Token::Present), 2 => (1u8..5).prop_map(Token::Older), 1 => Just(Token::MadeUp)]
}

fn any_status() -> impl Strategy<Value = CallbackStatus> {
    prop_oneof![
        2 => Just(CallbackStatus::Signed),
        1 => Just(CallbackStatus::Refused),
        2 => Just(CallbackStatus::Other),
    ]
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let class = prop_oneof![
        1 => Just(FailureClass::Transient),
        1 => Just(FailureClass::Throttled),
        1 => Just(FailureClass::Auth),
        1 => Just(FailureClass::Permanent),
        3 => Just(FailureClass::Ambiguous),
    ];
    let kind = prop_oneof![
        Just(FailureKind::Unreachable),
        Just(FailureKind::NoAnswer),
        Just(FailureKind::ServerError),
        Just(FailureKind::Garbled),
        Just(FailureKind::Refused),
        Just(FailureKind::Limit),
        Just(FailureKind::Credentials),
        Just(FailureKind::Local),
    ];
    let code = prop_oneof![4 => Just("http_502"), 1 => Just("disk_obj_22000")];
    let pause = prop_oneof![3 => Just(None), 1 => any::<u64>().prop_map(Some)];
    (class, kind, code, pause).prop_map(|(class, kind, code, pause)| {
        let failure = Failure::new(class, kind, code, Text::new("Случай.", "Chance."));
        pause.map_or(failure.clone(), |ms| failure.retry_after_ms(ms))
    })
}

fn any_action() -> impl Strategy<Value = OperatorAction> {
    let mend = (
        proptest::option::weighted(0.3, prop_oneof![Just(FOLDER), Just(OTHER_FOLDER)]),
        proptest::option::weighted(0.2, Just("route-2".to_owned())),
        proptest::option::weighted(0.3, proptest::collection::vec(1u64..10, 0..4)),
        proptest::sample::subsequence(Announcement::ALL.to_vec(), 0..=5),
    )
        .prop_map(|(folder_id, route_id, notify, skip)| Mend { folder_id, route_id, notify, skip });
    prop_oneof![
        6 => Just(retry()),
        3 => mend.prop_map(OperatorAction::Retry),
        1 => Just(OperatorAction::SendAgain),
        1 => (1u8..4).prop_map(|n| bind(&format!("doc-{n}"))),
        1 => Just(cancel()),
    ]
}

fn any_act() -> impl Strategy<Value = Act> {
    let found = prop_oneof![Just(Found::Something), Just(Found::Nothing)];
    let kind = prop_oneof![
        Just(TimerKind::Lease),
        Just(TimerKind::Start),
        Just(TimerKind::Wait),
        Just(TimerKind::Grace)
    ];
    let ours = prop_oneof![4 => Just(Ours::Yes), 1 => Just(Ours::Missing), 1 => Just(Ours::Foreign)];
    let callback = (1u8..3, ours, any_status()).prop_map(|(document, ours, status)| Act::Callback {
        document,
        ours,
        status,
    });
    prop_oneof![
        30 => found.prop_map(Act::Good),
        3 => (0usize..46, any_token()).prop_map(|(n, token)| Act::Answer(n, token)),
        12 => (any_failure(), any_token()).prop_map(|(failure, token)| Act::Fail(failure, token)),
        4 => any_token().prop_map(Act::Lost),
        15 => Just(Act::Due),
        2 => kind.prop_map(Act::Timer),
        4 => (0u64..40 * DAY).prop_map(Act::Later),
        5 => callback,
        1 => Just(Act::Triggered),
        1 => (0u8..8).prop_map(Act::Taken),
        1 => Just(Act::Panic),
        5 => any_action().prop_map(Act::Person),
        2 => (1u8..4).prop_map(Act::Robot),
        3 => (proptest::bool::weighted(0.2), 40u8..42).prop_map(|(older, which)| Act::Signature { older, which }),
        1 => Just(Act::LinkAsked),
        1 => Just(Act::StatusHint),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0u32..4, 0u32..4, 0u32..101).prop_map(
        |(search_available, dangerous, poll, sent_whole, looks, rounds_max, jitter_percent)| Policy {
            search_available,
            repeat_create_on_server_error: dangerous,
            poll: poll.then(|| Schedule::endless([HOUR, 6 * HOUR])),
            looks,
            rounds_max,
            jitter_percent,
            own: if sent_whole { whole().own } else { policy().own },
            ..policy()
        },
    )
}

fn any_source() -> impl Strategy<Value = Source> {
    prop_oneof![
        3 => Just(Source::CrmItem { item: ITEM }),
        1 => Just(Source::DriveFile { file_id: 9_001 }),
        1 => Just(Source::CrmFile { item: ITEM, field: "ufCrmContract".into(), file_id: 9_001 }),
        1 => Just(Source::Generated { document_id: 61 }),
        2 => Just(generated()),
    ]
}

/// Steps that the plain rule does not know.
fn needs_rich(step: Step) -> bool {
    matches!(
        step,
        Step::AwaitPdf
            | Step::ScanField
            | Step::AttachField
            | Step::FindFieldFile
            | Step::MoveStage
            | Step::AnswerRobot
    )
}

/// The flow up to some step, so that the late ones are met as often as the early ones.
fn any_beginning() -> impl Strategy<Value = (Source, Step)> {
    let plain: Vec<Step> =
        Step::ALL.into_iter().filter(|step| !needs_rich(*step) && !is_own(*step)).collect();
    let rich: Vec<Step> = Step::ALL.into_iter().filter(|step| !is_own(*step)).collect();
    let own: Vec<Step> = Step::ALL.into_iter().filter(|step| is_own(*step)).collect();
    prop_oneof![
        3 => proptest::sample::select(own).prop_map(|step| (Source::DriveFile { file_id: 9_001 }, step)),
        1 => any_source().prop_map(|source| (source, Step::ReadItem)),
        2 => proptest::sample::select(plain).prop_map(|step| (Source::CrmItem { item: ITEM }, step)),
        2 => proptest::sample::select(rich).prop_map(|step| (generated(), step)),
    ]
}

/// The saga under test, and what an outside witness knows of its writes.
struct Witness {
    policy: Policy,
    saga: DocumentSaga,
    now: Timestamp,
    /// Writes whose outcome nobody knows yet.
    unknown: Vec<Step>,
}

impl Witness {
    fn new(policy: Policy, source: Source) -> Self {
        let cx = Context { now: START, policy: &policy, chance: 0 };
        let first = match source {
            Source::OfItem { .. } => {
                begin_for_robot(saga_id(), &portal(), source, Some(RICH.into()), wishes(), cx)
            }
            _ => begin(saga_id(), &portal(), source, None, cx),
        };
        let saga = first.expect("a beginning").saga;
        Self { policy, saga, now: START, unknown: Vec::new() }
    }

    /// From `step` on: what is unknown there follows from the way that leads to it.
    fn at(policy: Policy, source: Source, step: Step) -> Self {
        let rich = matches!(source, Source::OfItem { .. });
        let policy = match (is_whole(step), is_drafted(step)) {
            (true, _) => Policy { own: whole().own, ..policy },
            (false, true) => Policy { own: self::policy().own, ..policy },
            (false, false) => policy,
        };
        let story = match (rich, is_own(step)) {
            (true, _) => Story::rich(policy),
            (false, true) => Story::own(policy),
            (false, false) => Story::new(source, policy),
        }
        .to(step);
        let stuck = story.saga.dead_letter.as_ref().map_or(story.saga.step, |d| d.from);
        let writes = [
            Step::Create,
            Step::Upload,
            Step::AttachField,
            Step::Comment,
            Step::CreateDraft,
            Step::SetRoute,
            Step::SaveSignature,
            Step::SendSigned,
        ];
        let unknown = writes.into_iter().filter(|write| look_step(*write) == Some(stuck)).collect();
        Self { policy: story.policy, saga: story.saga, now: story.now, unknown }
    }

    fn order(&self) -> Option<Effect> {
        let cx = Context { now: self.now, policy: &self.policy, chance: 0 };
        match self.saga.work {
            Work::InFlight { .. } => effect_of(&self.saga, cx).ok(),
            Work::Idle => None,
        }
    }

    fn token(&self, token: Token) -> AttemptToken {
        let last = self.saga.last_token;
        AttemptToken(match token {
            Token::Present => last,
            Token::Older(n) => last.saturating_sub(u64::from(n)),
            Token::MadeUp => last + 1_000,
        })
    }

    fn event(&mut self, act: &Act) -> Option<Event> {
        Some(match act {
            Act::Good(found) => {
                let order = self.order()?;
                let answer = match found {
                    Found::Something => good_answer(&order),
                    Found::Nothing => empty_answer(&order),
                };
                Event::Answered { token: self.token(Token::Present), answer }
            }
            Act::Answer(n, token) => Event::Answered { token: self.token(*token), answer: any_answer(*n) },
            Act::Fail(failure, token) => {
                Event::Failed { token: self.token(*token), failure: failure.clone() }
            }
            Act::Lost(token) => Event::AttemptLost { token: self.token(*token) },
            Act::Due => {
                let timer = self.saga.timer?;
                self.now = self.now.max(timer.due);
                Event::TimerFired { kind: timer.kind }
            }
            Act::Timer(kind) => Event::TimerFired { kind: *kind },
            Act::Later(ms) => {
                self.now = self.now.plus_ms(*ms);
                return None;
            }
            Act::Callback { document, ours, status } => Event::CallbackArrived {
                document_id: format!("doc-{document}"),
                external_id: match ours {
                    Ours::Yes => Some(self.saga.external_id.clone()),
                    Ours::Missing => None,
                    Ours::Foreign => Some("b24-other".into()),
                },
                status: status.clone(),
                raw_status: word(status).into(),
            },
            Act::Triggered => Event::TriggeredAgain,
            Act::Taken(n) => Event::ClaimTaken { claim: any_claim(*n), by: other_saga() },
            Act::Panic => Event::Panicked { text: "broken".into() },
            Act::Person(action) => Event::Operator(action.clone()),
            Act::Robot(n) => Event::RobotAsked { order: robot(*n) },
            Act::Signature { older, which } => {
                let newest = self.saga.own.as_ref().map_or(0, |own| own.units);
                signature(newest.saturating_sub(u32::from(*older)), *which)
            }
            Act::LinkAsked => Event::Own(OwnEvent::LinkAsked),
            Act::StatusHint => Event::Own(OwnEvent::StatusHint),
        })
    }

    fn meet(&mut self, event: &Event, chance: u64) {
        let before = self.saga.clone();
        match apply(&before, event, self.now, &self.policy, chance) {
            Ok(next) => {
                self.saga = next.saga;
                self.look_after_writes(&before, event, next.effect.as_ref());
            }
            Err(IllegalEvent::Rejected(_)) => {
                assert!(matches!(event, Event::Operator(_) | Event::RobotAsked { .. } | Event::Own(_)));
            }
            Err(IllegalEvent::WrongAnswer { .. }) => assert!(matches!(event, Event::Answered { .. })),
            Err(e @ IllegalEvent::Incomplete { .. }) => panic!("{e}: {event:?} at {before:#?}"),
        }
    }

    /// SG-5, seen from outside: who ordered what, and how it ended.
    fn look_after_writes(&mut self, before: &DocumentSaga, event: &Event, effect: Option<&Effect>) {
        if let Work::InFlight { token, .. } = before.work
            && self.saga.work != before.work
        {
            if look_step(before.step).is_some() && !self.is_known(before.step, event, token) {
                self.unknown.push(before.step);
            }
            if let Event::Answered { token: answered, answer } = event
                && *answered == token
                && is_look_answer(answer)
            {
                self.unknown.retain(|write| look_step(*write) != Some(before.step));
            }
        }
        // Each comment of a document has a mark of its own: one in between that is given up is another's business.
        let telling = |saga: &DocumentSaga| saga.own.as_ref().map(|own| own.telling);
        if telling(before) != telling(&self.saga) {
            self.unknown.retain(|write| *write != Step::Comment);
        }
        // The first of two files was found, or told of late: the other one is another upload.
        let part = |saga: &DocumentSaga| saga.own.as_ref().map(|own| own.part);
        if part(before) != part(&self.saga) {
            self.unknown.retain(|write| *write != Step::Upload);
        }
        let Some(write) = effect.and_then(written) else { return };
        // A person may order a second create, and gives up the first upload by naming another folder.
        let by_hand = matches!(event, Event::Operator(OperatorAction::SendAgain));
        if by_hand || (write == Step::Upload && self.saga.delivery.folder_id != before.delivery.folder_id) {
            self.unknown.retain(|w| *w != write);
        }
        assert!(!self.unknown.contains(&write), "SG-5: {event:?}\n{before:#?}\n-> {:#?}", self.saga);
    }

    fn is_known(&self, step: Step, event: &Event, present: AttemptToken) -> bool {
        match event {
            Event::Answered { token, .. } => *token == present,
            Event::Failed { token, failure } if *token == present => {
                let accepted = step == Step::Create
                    && failure.kind == FailureKind::ServerError
                    && self.policy.repeat_create_on_server_error
                    && !self.policy.search_available;
                failure.class != FailureClass::Ambiguous || accepted
            }
            // A document that is bound is never created again, whatever its create says.
            Event::CallbackArrived { .. } => self.saga.provider_document.is_some(),
            _ => false,
        }
    }

    /// A folder mended while the upload was unknown is scanned first: the order to upload comes later.
    fn forget_old_folder(&mut self, before: &DocumentSaga) {
        if self.saga.delivery.folder_id != before.delivery.folder_id {
            self.unknown.retain(|write| *write != Step::Upload);
        }
    }

    /// From now on everything is answered well, people sign, a person heals what is parked.
    fn ends_fairly(&mut self) {
        for _ in 0..FAIR_EVENTS_MAX {
            if self.saga.step.is_finished() {
                return;
            }
            let event = self.fair_event();
            self.meet(&event, 0);
        }
        panic!("a fair world does not end it: {:#?}", self.saga);
    }

    fn fair_event(&mut self) -> Event {
        if let Some(order) = self.order() {
            let answer = match &order {
                Effect::Own(OwnEffect::PrepareContent { .. }) => content_ready(self.now, Holds::Original),
                order => good_answer(order),
            };
            return Event::Answered { token: self.token(Token::Present), answer };
        }
        if self.saga.step == Step::Parked {
            let tried = apply(&self.saga, &Event::Operator(retry()), self.now, &self.policy, 0);
            return Event::Operator(if tried.is_ok() { retry() } else { bind(DOCUMENT) });
        }
        if self.saga.step == Step::AwaitSigner
            && self
                .saga
                .own
                .as_ref()
                .and_then(|own| own.unit.as_ref())
                .is_some_and(|u| u.expires_at > self.now)
        {
            return signature(self.saga.own.as_ref().map_or(0, |own| own.units), 40);
        }
        if self.saga.step == Step::AwaitSigner {
            // The link has died: the signer asks for another.
            self.now = self.now.plus_ms(MINUTE);
            return Event::Own(OwnEvent::LinkAsked);
        }
        if self.saga.step == Step::AwaitSignature && self.saga.own.is_none() {
            return Event::CallbackArrived {
                document_id: self.saga.provider_document.clone().expect("bound"),
                external_id: None,
                status: CallbackStatus::Signed,
                raw_status: "signed".into(),
            };
        }
        let timer = self.saga.timer.expect("SG-1");
        self.now = self.now.max(timer.due);
        Event::TimerFired { kind: timer.kind }
    }
}

fn written(effect: &Effect) -> Option<Step> {
    match effect {
        Effect::CreateDocument { .. } => Some(Step::Create),
        Effect::Upload { .. } => Some(Step::Upload),
        Effect::AddComment { .. } => Some(Step::Comment),
        Effect::AttachField { .. } => Some(Step::AttachField),
        Effect::Own(OwnEffect::CreateDraft(_)) => Some(Step::CreateDraft),
        Effect::Own(OwnEffect::SaveSignature { .. }) => Some(Step::SaveSignature),
        Effect::Own(OwnEffect::SendSigned(_)) => Some(Step::SendSigned),
        Effect::ReadItem { .. }
        | Effect::FetchSource { .. }
        | Effect::FindDocument { .. }
        | Effect::ReadStatus { .. }
        | Effect::FetchSigned { .. }
        | Effect::ScanFolder { .. }
        | Effect::FindUpload { .. }
        | Effect::FindComment { .. }
        | Effect::PickSource { .. }
        | Effect::ScanField { .. }
        | Effect::FindFieldFile { .. }
        | Effect::MoveStage { .. }
        | Effect::AnswerRobot { .. }
        | Effect::Own(_)
        | Effect::Notify { .. } => None,
    }
}

fn is_look_answer(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::DocumentFound { .. }
            | Answer::DocumentNotFound
            | Answer::UploadFound { .. }
            | Answer::UploadNotFound
            | Answer::Commented { .. }
            | Answer::CommentNotFound
            | Answer::FieldFileFound { .. }
            | Answer::FieldFileNotFound
            | Answer::Own(
                OwnAnswer::DraftMade { .. } | OwnAnswer::DraftNotFound | OwnAnswer::StatusRead { .. }
            )
    )
}

fn any_answer(n: usize) -> Answer {
    let own = [
        OwnAnswer::BlobStored { blob_id: "blob-9".into() },
        OwnAnswer::DraftMade { document_id: "doc-9".into(), raw_status: "DRAFT".into() },
        OwnAnswer::DraftNotFound,
        OwnAnswer::RouteSet,
        OwnAnswer::SignerTold,
        OwnAnswer::SignatureStored { blob_id: "blob-9".into() },
        OwnAnswer::SignatureSaved,
        OwnAnswer::PrintForm(None),
        OwnAnswer::PrintForm(Some(spool(2))),
        OwnAnswer::Archive(None),
        OwnAnswer::Archive(Some(spool(31))),
        OwnAnswer::Sent { process: "process-9".into() },
        OwnAnswer::ProcessRead(Process::Running),
        OwnAnswer::ProcessRead(Process::Document { document_id: "doc-9".into() }),
        OwnAnswer::ProcessRead(Process::Failed),
    ];
    let statuses = [
        OwnStatus::NotSent,
        OwnStatus::InWork,
        OwnStatus::Signed,
        OwnStatus::Refused(None),
        OwnStatus::Withdrawn,
        OwnStatus::Unclear,
    ];
    let all = [
        item_wanted(ITEM, &[9_001, 9_002]),
        item_wanted(ITEM, &[]),
        not_wanted(),
        source_fetched(Some(FOLDER)),
        source_fetched(None),
        created(DOCUMENT),
        created("doc-2"),
        found(CallbackStatus::Signed),
        Answer::DocumentNotFound,
        status_read(CallbackStatus::Refused),
        Answer::SignedFetched { bytes: spool(3) },
        Answer::FolderScanned { highest_id: 0, free_name: "x.pdf".into() },
        Answer::Uploaded { file: copy() },
        Answer::UploadNotFound,
        Answer::Commented { comment_id: 1 },
        Answer::CommentNotFound,
        Answer::Notified,
        Answer::DocumentPicked { document_id: 61, delivery: rich_delivery() },
        Answer::PdfPending,
        Answer::FieldScanned { file_ids: vec![1] },
        Answer::FieldAttached { file_id: 2 },
        Answer::FieldFileFound { file_id: 2 },
        Answer::FieldFileNotFound,
        Answer::StageMoved { from: "C1:NEW".into() },
        Answer::StageKept { stage: "C1:X".into(), why: StageKept::MovedByOthers },
        Answer::RobotAnswered { heard: RobotHeard::TooLate },
        source_fetched_for(Delivery { drive: DriveCopy::NotWanted, ..rich_delivery() }, None),
    ];
    let own = own.map(Answer::Own).into_iter().chain(statuses.map(own_status));
    let contents =
        [Holds::Original, Holds::SomethingElse].map(|holds| content_ready(START.plus_ms(9 * DAY), holds));
    let all: Vec<Answer> = all.into_iter().chain(own).chain(contents).collect();
    all[n % all.len()].clone()
}

fn any_claim(n: u8) -> Claim {
    match n {
        0 => source_claim(&portal(), &Source::DriveFile { file_id: 9_001 }),
        1 => reading_claim(&portal(), ITEM),
        2 => Claim::External("b24-x".into()),
        3 => Claim::ProviderDocument(DOCUMENT.into()),
        4 => Claim::EchoName { portal: portal(), folder_id: FOLDER, name: "x".into() },
        5 => Claim::EchoFile { portal: portal(), file_id: 1 },
        6 => Claim::EchoBytes { portal: portal(), item: ITEM, digest: spool(2).digest },
        _ => Claim::Workflow { portal: portal(), workflow_id: "workflow-1".into() },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold_and_a_fair_world_ends_it(
        policy in any_policy(),
        (source, step) in any_beginning(),
        acts in proptest::collection::vec((any_act(), any::<u64>()), 0..80),
    ) {
        let mut witness = Witness::at(policy, source, step);
        for (act, chance) in &acts {
            let before = witness.saga.clone();
            if let Some(event) = witness.event(act) {
                witness.meet(&event, *chance);
                witness.forget_old_folder(&before);
            }
        }
        witness.ends_fairly();
        prop_assert!(witness.saga.step.is_finished());
        prop_assert_eq!(witness.saga.timer, None);
    }

    #[test]
    fn a_fair_world_needs_no_person_and_no_second_try(source in any_source(), policy in any_policy()) {
        let mut witness = Witness::new(policy, source);
        witness.ends_fairly();
        prop_assert_eq!(witness.saga.step, Step::Delivered);
        prop_assert!(witness.saga.last_token <= 14);
    }
}
