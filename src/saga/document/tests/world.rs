//! A small model of the outside that counts, and every way in which one or two calls to it can go wrong.
//!
//! The world executes orders honestly; the fault decides whether an order arrives and what of its answer comes
//! back. In the end there is exactly one document, one signed copy, one comment and one notice for each person,
//! and the saga is finished. Complete, not sampled: every call of the flow, every fault, and every pair of them.

use super::super::effect::{Effect, RobotStatus};
use super::super::event::{Answer, CallbackStatus, Event, OperatorAction, RobotHeard, StageKept};
use super::super::own_signature::{Holds, OwnAnswer, OwnEffect, OwnStatus, Process, Ticket};
use super::super::state::{DeliveredFile, DocumentSaga, Source, Step, TimerKind, Work};
use super::super::transition::{Context, IllegalEvent, Next, Policy, begin, begin_for_robot};
use super::fixture::*;
use crate::domain::{AttemptToken, Capabilities, Failure, Timestamp};
use std::collections::BTreeMap;

/// Enough for the longest flow with two faults, repeats, looks and two healings by a person.
const EVENTS_MAX: usize = 120;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    LostBefore,
    LostAfter,
    ServerErrorBefore,
    ServerErrorAfter,
    Permanent,
    Throttled,
    Auth,
    Transient,
    CrashBefore,
    CrashAfter,
    OverdueBefore,
    OverdueAfter,
    /// Done, and the answer comes only after the lease has run out.
    Late,
    PanicBefore,
    PanicAfter,
}

impl Fault {
    const ALL: [Self; 15] = [
        Self::LostBefore,
        Self::LostAfter,
        Self::ServerErrorBefore,
        Self::ServerErrorAfter,
        Self::Permanent,
        Self::Throttled,
        Self::Auth,
        Self::Transient,
        Self::CrashBefore,
        Self::CrashAfter,
        Self::OverdueBefore,
        Self::OverdueAfter,
        Self::Late,
        Self::PanicBefore,
        Self::PanicAfter,
    ];

    /// Whether the order has its effect all the same.
    fn is_done(self) -> bool {
        match self {
            Self::LostAfter
            | Self::ServerErrorAfter
            | Self::CrashAfter
            | Self::OverdueAfter
            | Self::Late
            | Self::PanicAfter => true,
            Self::LostBefore
            | Self::ServerErrorBefore
            | Self::Permanent
            | Self::Throttled
            | Self::Auth
            | Self::Transient
            | Self::CrashBefore
            | Self::OverdueBefore
            | Self::PanicBefore => false,
        }
    }

    /// Whether the outcome of a write is unknown afterwards.
    fn is_unknown(self) -> bool {
        !matches!(self, Self::Permanent | Self::Throttled | Self::Auth | Self::Transient)
    }

    /// What comes back; `None` where only the lease tells.
    fn event(self, token: AttemptToken) -> Option<Event> {
        let failed = |failure: Failure| Some(Event::Failed { token, failure });
        match self {
            Self::LostBefore | Self::LostAfter => failed(no_answer()),
            Self::ServerErrorBefore | Self::ServerErrorAfter => failed(server_error()),
            Self::Permanent => failed(permanent()),
            Self::Throttled => failed(throttled()),
            Self::Auth => failed(unauthorised()),
            Self::Transient => failed(unreachable()),
            Self::CrashBefore | Self::CrashAfter => Some(Event::AttemptLost { token }),
            Self::OverdueBefore | Self::OverdueAfter | Self::Late => None,
            Self::PanicBefore | Self::PanicAfter => Some(Event::Panicked { text: "broken".into() }),
        }
    }
}

/// Whether the signing service tells us by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callbacks {
    Arrive,
    AllLost,
}

/// The portal and the signing service.
#[derive(Debug, Default)]
struct World {
    /// External ids of the documents; the place in the list is the id.
    documents: Vec<String>,
    files: Vec<(u64, String)>,
    comments: Vec<String>,
    /// A notice with the same tag replaces the earlier one.
    notices: BTreeMap<(u64, String), String>,
    uploads_refused: usize,
    /// Ids of the files in the file field.
    field: Vec<u64>,
    stage: Option<String>,
    moves: usize,
    /// Tokens of the workflows that were answered, and what they were told.
    answered: Vec<(String, RobotStatus)>,
    /// The service where our own signer signs first.
    own: OwnRemote,
}

impl World {
    fn document_id(n: usize) -> String {
        format!("doc-{}", n + 1)
    }

    fn move_stage(&mut self, to: &str, from: &[String]) -> Answer {
        let stage = self.stage.get_or_insert_with(|| "C1:EXECUTING".to_owned());
        let before = stage.clone();
        if before != to {
            if !from.contains(&before) {
                return Answer::StageKept { stage: before, why: StageKept::MovedByOthers };
            }
            to.clone_into(stage);
            self.moves += 1;
        }
        Answer::StageMoved { from: before }
    }

    fn execute(&mut self, effect: &Effect) -> Result<Answer, Failure> {
        Ok(match effect {
            Effect::CreateDocument { external_id, .. } => {
                self.documents.push(external_id.clone());
                created(&Self::document_id(self.documents.len() - 1))
            }
            Effect::FindDocument { external_id } => {
                match self.documents.iter().position(|d| d == external_id) {
                    Some(n) => Answer::DocumentFound {
                        document_id: Self::document_id(n),
                        status: CallbackStatus::Other,
                        raw_status: "pending".into(),
                    },
                    None => Answer::DocumentNotFound,
                }
            }
            Effect::ReadStatus { .. } => status_read(CallbackStatus::Signed),
            Effect::ScanFolder { wanted_name, .. } => {
                let taken: Vec<String> = self.files.iter().map(|f| f.1.clone()).collect();
                Answer::FolderScanned {
                    highest_id: self.files.iter().map(|f| f.0).max().unwrap_or(0),
                    free_name: super::super::rule::free_name(wanted_name, &taken),
                }
            }
            Effect::Upload { folder_id, name, .. } => {
                if self.files.iter().any(|f| f.1 == *name) {
                    self.uploads_refused += 1;
                    return Err(name_taken());
                }
                let file_id = 100 + self.files.len() as u64;
                self.files.push((file_id, name.clone()));
                Answer::Uploaded {
                    file: DeliveredFile { file_id, name: name.clone(), folder_id: *folder_id },
                }
            }
            Effect::FindUpload { folder_id, name, above_id, .. } => {
                match self.files.iter().find(|f| f.1 == *name && f.0 > *above_id) {
                    Some((file_id, name)) => Answer::UploadFound {
                        file: DeliveredFile { file_id: *file_id, name: name.clone(), folder_id: *folder_id },
                    },
                    None => Answer::UploadNotFound,
                }
            }
            Effect::AddComment { text, .. } => {
                self.comments.push(text.clone());
                Answer::Commented { comment_id: self.comments.len() as u64 }
            }
            Effect::FindComment { mark, .. } => match self.comments.iter().position(|c| c.contains(mark)) {
                Some(n) => Answer::Commented { comment_id: n as u64 + 1 },
                None => Answer::CommentNotFound,
            },
            Effect::Notify { user_id, text, tag } => {
                self.notices.insert((*user_id, tag.clone()), text.clone());
                Answer::Notified
            }
            Effect::ScanField { .. } => Answer::FieldScanned { file_ids: self.field.clone() },
            Effect::AttachField { .. } => {
                let file_id = 7 + self.field.len() as u64;
                self.field.push(file_id);
                Answer::FieldAttached { file_id }
            }
            Effect::FindFieldFile { known, .. } => match self.field.iter().find(|id| !known.contains(id)) {
                Some(id) => Answer::FieldFileFound { file_id: *id },
                None => Answer::FieldFileNotFound,
            },
            Effect::MoveStage { to, from, .. } => self.move_stage(to, from),
            Effect::AnswerRobot { event_token, reply } => {
                let token = event_token.expose().to_owned();
                if self.answered.iter().any(|(known, _)| *known == token) {
                    return Ok(Answer::RobotAnswered { heard: RobotHeard::TooLate });
                }
                self.answered.push((token, reply.status));
                Answer::RobotAnswered { heard: RobotHeard::Yes }
            }
            Effect::ReadItem { .. }
            | Effect::PickSource { .. }
            | Effect::FetchSource { .. }
            | Effect::FetchSigned { .. } => good_answer(effect),
            Effect::Own(own) => self.own.execute(own),
        })
    }
}

/// A service where our own signer signs first.
#[derive(Debug, Default)]
struct OwnRemote {
    /// Numbers of the drafts.
    drafts: Vec<String>,
    routes: usize,
    units: u32,
    /// Units whose signature was saved.
    saves: Vec<String>,
    polls: usize,
    links: BTreeMap<String, String>,
    /// Numbers of documents that were sent with their signature.
    sent: Vec<String>,
    /// How often it was asked which document has become of one of those.
    process_polls: usize,
}

impl OwnRemote {
    fn status(&mut self) -> OwnStatus {
        if self.saves.is_empty() && self.sent.is_empty() {
            return OwnStatus::NotSent;
        }
        self.polls += 1;
        if self.polls < 2 { OwnStatus::InWork } else { OwnStatus::Signed }
    }

    fn execute(&mut self, effect: &OwnEffect) -> Answer {
        match effect {
            OwnEffect::CreateDraft(draft) => {
                self.drafts.push(draft.number.clone());
                good_answer(&Effect::Own(effect.clone()))
            }
            OwnEffect::FindDraft { number, .. } if !self.drafts.contains(number) => {
                Answer::Own(OwnAnswer::DraftNotFound)
            }
            OwnEffect::SetRoute { .. } => {
                self.routes += 1;
                good_answer(&Effect::Own(effect.clone()))
            }
            OwnEffect::FindRoute { .. } if self.routes == 0 => Answer::Own(OwnAnswer::RouteNotFound),
            OwnEffect::PrepareContent { .. } => {
                self.units += 1;
                Answer::Own(OwnAnswer::ContentReady {
                    content: spool(30),
                    ticket: Ticket::new(format!("ticket-{}", self.units)),
                    expires_at: START.plus_ms(90 * DAY),
                    holds: Holds::Original,
                })
            }
            OwnEffect::TellSigner { text, tag, .. } => {
                self.links.insert(tag.clone(), text.clone());
                good_answer(&Effect::Own(effect.clone()))
            }
            OwnEffect::SaveSignature { ticket, .. } => {
                let ticket = ticket.expose().to_owned();
                // The ticket is the key: a repeat changes nothing.
                if !self.saves.contains(&ticket) {
                    self.saves.push(ticket);
                }
                Answer::Own(OwnAnswer::SignatureSaved)
            }
            OwnEffect::ReadStatus { .. } => own_status(self.status()),
            OwnEffect::SendSigned(order) => {
                self.sent.push(order.number.clone());
                good_answer(&Effect::Own(effect.clone()))
            }
            OwnEffect::ReadProcess { .. } if self.process_polls == 0 => {
                self.process_polls += 1;
                Answer::Own(OwnAnswer::ProcessRead(Process::Running))
            }
            OwnEffect::UploadBlob { .. }
            | OwnEffect::FindDraft { .. }
            | OwnEffect::FindRoute { .. }
            | OwnEffect::SendSignature { .. }
            | OwnEffect::FetchPrintForm { .. }
            | OwnEffect::FetchArchive { .. }
            | OwnEffect::ReadProcess { .. } => good_answer(&Effect::Own(effect.clone())),
        }
    }
}

/// One run: the flow, its world, and what is to go wrong at which call.
struct Run<'a> {
    policy: &'a Policy,
    callbacks: Callbacks,
    /// How the people decide at the service.
    verdict: CallbackStatus,
    faults: &'a [(usize, Fault)],
    world: World,
    saga: DocumentSaga,
    now: Timestamp,
    order: Option<Effect>,
    /// Names of the calls that were made.
    calls: Vec<&'static str>,
    /// Codes of the dead letters that a person healed.
    letters: Vec<String>,
    late: Vec<Event>,
}

impl<'a> Run<'a> {
    fn new(policy: &'a Policy, callbacks: Callbacks, faults: &'a [(usize, Fault)]) -> Self {
        let cx = Context { now: START, policy, chance: 0 };
        let next =
            begin(saga_id(), &portal(), Source::CrmItem { item: ITEM }, None, cx).expect("a beginning");
        Self::of(next, policy, callbacks, faults)
    }

    /// Our own signer signs first.
    fn own(policy: &'a Policy, faults: &'a [(usize, Fault)]) -> Self {
        let cx = Context { now: START, policy, chance: 0 };
        let source = Source::DriveFile { file_id: 9_001 };
        let next = begin(saga_id(), &portal(), source, Some(OWN.into()), cx).expect("a beginning");
        Self::of(next, policy, Callbacks::AllLost, faults)
    }

    /// By order of a robot, and with all that a rule can wish for.
    fn rich(policy: &'a Policy, callbacks: Callbacks, faults: &'a [(usize, Fault)]) -> Self {
        let cx = Context { now: START, policy, chance: 0 };
        let rule = Some(RICH.to_owned());
        let next = begin_for_robot(saga_id(), &portal(), generated(), rule, wishes(), cx);
        Self::of(next.expect("a beginning"), policy, callbacks, faults)
    }

    fn of(next: Next, policy: &'a Policy, callbacks: Callbacks, faults: &'a [(usize, Fault)]) -> Self {
        Self {
            policy,
            callbacks,
            verdict: CallbackStatus::Signed,
            faults,
            world: World::default(),
            saga: next.saga,
            now: START,
            order: next.effect,
            calls: Vec::new(),
            letters: Vec::new(),
            late: Vec::new(),
        }
    }

    fn ended(mut self) -> Self {
        for _ in 0..EVENTS_MAX {
            if self.saga.step.is_finished() && self.late.is_empty() {
                return self;
            }
            self.step();
        }
        panic!("{:?} does not end: {:#?}", self.faults, self.saga);
    }

    fn step(&mut self) {
        if let Some(effect) = self.order.take() {
            return self.call(&effect);
        }
        if matches!(self.saga.work, Work::InFlight { .. }) {
            return self.fire();
        }
        // What came too late arrives while its look still waits.
        if let Some(event) = self.late.pop() {
            return self.tell(&event);
        }
        match self.saga.step {
            Step::Parked => self.heal(),
            Step::AwaitSigner => {
                let unit = self.saga.own.as_ref().map_or(0, |own| own.units);
                self.now = self.now.plus_ms(MINUTE);
                self.tell(&signature(unit, 40));
            }
            Step::AwaitSignature if self.saga.own.is_some() => self.fire(),
            Step::AwaitSignature if self.is_told_by_polls() => self.fire(),
            // Where nothing else tells, a callback does in the end, or the document would wait for ever.
            Step::AwaitSignature => self.people_sign(),
            Step::FindDocument if self.is_grace() && self.is_heard_of() => self.people_sign(),
            _ => self.fire(),
        }
    }

    fn is_grace(&self) -> bool {
        self.saga.timer.is_some_and(|t| t.kind == TimerKind::Grace)
    }

    fn is_told_by_polls(&self) -> bool {
        self.callbacks == Callbacks::AllLost && self.policy.poll.is_some()
    }

    fn is_heard_of(&self) -> bool {
        self.callbacks == Callbacks::Arrive && !self.world.documents.is_empty()
    }

    fn call(&mut self, effect: &Effect) {
        let fault = self.faults.iter().find(|(n, _)| *n == self.calls.len()).map(|(_, fault)| *fault);
        self.calls.push(effect.name());
        let token = AttemptToken(self.saga.last_token);
        let Some(fault) = fault else {
            let event = self.honest(effect, token);
            return self.tell(&event);
        };
        if fault.is_done() {
            let answer = self.honest(effect, token);
            if fault == Fault::Late {
                self.late.push(answer);
            }
        }
        if let Some(event) = fault.event(token) {
            self.tell(&event);
        }
    }

    fn honest(&mut self, effect: &Effect, token: AttemptToken) -> Event {
        match self.world.execute(effect) {
            Ok(answer) => Event::Answered { token, answer },
            Err(failure) => Event::Failed { token, failure },
        }
    }

    fn tell(&mut self, event: &Event) {
        let next = apply(&self.saga, event, self.now, self.policy, 0).expect("a legal event");
        self.saga = next.saga;
        if next.effect.is_some() {
            self.order = next.effect;
        }
    }

    fn fire(&mut self) {
        let timer = self.saga.timer.expect("SG-1");
        self.now = self.now.max(timer.due);
        self.tell(&Event::TimerFired { kind: timer.kind });
    }

    fn people_sign(&mut self) {
        self.now = self.now.plus_ms(MINUTE);
        let bound = self.saga.provider_document.clone();
        let event = Event::CallbackArrived {
            document_id: bound.unwrap_or_else(|| World::document_id(0)),
            external_id: Some(self.saga.external_id.clone()),
            status: self.verdict.clone(),
            raw_status: word(&self.verdict).into(),
        };
        self.tell(&event);
    }

    /// A person does what the dead letter says.
    fn heal(&mut self) {
        let dead = self.saga.dead_letter.clone().expect("a dead letter");
        self.letters.push(dead.code);
        self.now = self.now.plus_ms(HOUR);
        let tried = apply(&self.saga, &Event::Operator(retry()), self.now, self.policy, 0);
        let exists = !self.world.documents.is_empty() || !self.world.own.sent.is_empty();
        let action = match tried {
            Ok(_) => retry(),
            Err(IllegalEvent::Rejected(_)) if !exists => OperatorAction::SendAgain,
            Err(IllegalEvent::Rejected(_)) => bind(&World::document_id(0)),
            Err(fault) => panic!("{fault}"),
        };
        self.tell(&Event::Operator(action));
    }

    #[track_caller]
    fn check_one_of_each(&self) {
        let what = || format!("{:?}\ncalls {:?}\nletters {:?}", self.faults, self.calls, self.letters);
        let copies = usize::from(self.verdict == CallbackStatus::Signed);
        let ours = std::slice::from_ref(&self.saga.external_id);
        assert_eq!(self.world.documents, ours, "documents; {}", what());
        assert_eq!(self.world.files.len(), copies, "signed copies; {}", what());
        assert_eq!(self.world.comments.len(), 1, "comments; {}", what());
        let told: Vec<u64> = self.world.notices.keys().map(|k| k.0).collect();
        assert_eq!(told, [7, 8], "notices; {}", what());
        assert_eq!(self.saga.provider_document.as_deref(), Some("doc-1"), "{}", what());
        let adopted = self.saga.delivered.as_ref().map(|d| d.file_id);
        assert_eq!(adopted, self.world.files.first().map(|f| f.0), "{}", what());
        let rich = !self.saga.robots.is_empty();
        let in_field = if rich { copies } else { 0 };
        assert_eq!(self.world.field.len(), in_field, "files in the field; {}", what());
        assert_eq!(self.saga.field_file, self.world.field.first().copied(), "{}", what());
        assert_eq!(self.world.moves, usize::from(rich), "moves of the item; {}", what());
        let end = match self.verdict {
            CallbackStatus::Refused => RobotStatus::Refused,
            CallbackStatus::Signed | CallbackStatus::Other => RobotStatus::Signed,
        };
        let expected: &[_] = if rich { &[("token-1".to_owned(), end)] } else { &[] };
        assert_eq!(self.world.answered, expected, "answers to workflows; {}", what());
    }
}

impl Run<'_> {
    #[track_caller]
    fn check_one_own_signature(&self) {
        let what = || format!("{:?}\ncalls {:?}\nletters {:?}", self.faults, self.calls, self.letters);
        let own = &self.world.own;
        let whole = self.policy.own.service == Capabilities::of_idocs_v1();
        let (made, end) = if whole { ((0, 0, 1), "p7m") } else { ((1, 1, 0), "zip") };
        let counts = (own.drafts.len(), own.saves.len(), own.sent.len());
        assert_eq!(counts, made, "drafts, saves, sent whole; {}", what());
        let names: Vec<&str> = self.world.files.iter().map(|f| f.1.as_str()).collect();
        assert_eq!(names, ["contract_signed.pdf", &format!("contract_signed.{end}")], "{}", what());
        let marks = ["edobridge-our-turn:", "edobridge-their-turn:", "edobridge:"];
        for mark in marks {
            let count = self.world.comments.iter().filter(|c| c.contains(mark)).count();
            // A comment in between may be left out, the last one never.
            assert!(count == 1 || (count == 0 && mark != "edobridge:"), "{mark} {count}; {}", what());
        }
        let told: Vec<u64> = self.world.notices.keys().map(|k| k.0).collect();
        assert_eq!(told, [7, 8], "notices; {}", what());
        assert_eq!(self.saga.step, Step::Delivered, "{}", what());
        let state = self.saga.own.as_ref().expect("its own signature");
        assert_ne!(state.archive_delivered, self.saga.delivered, "two files; {}", what());
    }
}

#[test]
fn every_fault_of_every_call_of_our_own_signature_ends_with_one_of_each() {
    let policy = policy();
    let calls = {
        let run = Run::own(&policy, &[]).ended();
        run.check_one_own_signature();
        assert!(run.letters.is_empty(), "{:?}", run.letters);
        assert_eq!(run.world.own.links.len(), 1);
        run.calls.len()
    };
    assert_eq!(calls, 21);
    for call in 0..calls {
        for fault in Fault::ALL {
            let faults = [(call, fault)];
            let run = Run::own(&policy, &faults).ended();
            run.check_one_own_signature();
            for second in call + 1..run.calls.len() {
                for other in
                    [Fault::LostAfter, Fault::LostBefore, Fault::CrashAfter, Fault::Permanent, Fault::Late]
                {
                    let faults = [(call, fault), (second, other)];
                    Run::own(&policy, &faults).ended().check_one_own_signature();
                }
            }
        }
    }
}

#[test]
fn every_fault_of_every_call_of_a_document_sent_whole_ends_with_one_of_each() {
    let policy = whole();
    let calls = {
        let run = Run::own(&policy, &[]).ended();
        run.check_one_own_signature();
        assert!(run.letters.is_empty(), "{:?}", run.letters);
        run.calls.len()
    };
    assert_eq!(calls, 18);
    for call in 0..calls {
        for fault in Fault::ALL {
            let faults = [(call, fault)];
            let run = Run::own(&policy, &faults).ended();
            run.check_one_own_signature();
            let asked = run.letters.iter().any(|letter| letter == "create_unknown");
            let unknown = run.calls[call] == "send_signed" && fault.is_unknown() && fault != Fault::Late;
            let panicked = matches!(fault, Fault::PanicBefore | Fault::PanicAfter);
            assert_eq!(asked, unknown && !panicked, "{faults:?}: {:?} {:?}", run.calls, run.letters);
            for second in call + 1..run.calls.len() {
                for other in
                    [Fault::LostAfter, Fault::LostBefore, Fault::CrashAfter, Fault::Permanent, Fault::Late]
                {
                    let faults = [(call, fault), (second, other)];
                    Run::own(&policy, &faults).ended().check_one_own_signature();
                }
            }
        }
    }
}

fn run(policy: &Policy, callbacks: Callbacks, faults: &[(usize, Fault)]) -> usize {
    let run = Run::new(policy, callbacks, faults).ended();
    run.check_one_of_each();
    assert_eq!(run.saga.step, Step::Delivered);
    run.calls.len()
}

#[test]
fn an_honest_world_needs_each_call_once_and_no_person() {
    let policy = policy();
    let run = Run::new(&policy, Callbacks::Arrive, &[]).ended();
    run.check_one_of_each();
    assert_eq!((run.calls.len(), run.letters.len()), (9, 0));
}

#[test]
fn every_fault_of_every_call_ends_with_one_of_each() {
    let mut runs = 0;
    for policy in [policy(), unsearchable(), polling()] {
        for callbacks in [Callbacks::Arrive, Callbacks::AllLost] {
            for call in 0..run(&policy, callbacks, &[]) {
                for fault in Fault::ALL {
                    run(&policy, callbacks, &[(call, fault)]);
                    runs += 1;
                }
            }
        }
    }
    assert_eq!(runs, (5 * 9 + 10) * 15, "nine calls, ten where polls tell of the signature");
}

#[test]
fn every_fault_of_every_call_for_a_robot_ends_with_one_of_each() {
    for verdict in [CallbackStatus::Signed, CallbackStatus::Refused] {
        for policy in [policy(), unsearchable(), polling()] {
            let calls = {
                let mut run = Run::rich(&policy, Callbacks::Arrive, &[]);
                run.verdict = verdict.clone();
                run.ended().calls.len()
            };
            assert_eq!(calls, if verdict == CallbackStatus::Signed { 13 } else { 8 });
            for call in 0..calls {
                for fault in Fault::ALL {
                    let faults = [(call, fault)];
                    let mut run = Run::rich(&policy, Callbacks::Arrive, &faults);
                    run.verdict = verdict.clone();
                    run.ended().check_one_of_each();
                }
            }
        }
    }
}

#[test]
fn every_pair_of_faults_of_the_delivery_into_the_item_ends_with_one_of_each() {
    let policy = policy();
    for first in 6..13 {
        for fault in Fault::ALL {
            let faults = [(first, fault)];
            let run = Run::rich(&policy, Callbacks::Arrive, &faults).ended();
            run.check_one_of_each();
            for second in first + 1..run.calls.len() {
                for other in Fault::ALL {
                    let faults = [(first, fault), (second, other)];
                    Run::rich(&policy, Callbacks::Arrive, &faults).ended().check_one_of_each();
                }
            }
        }
    }
}

#[test]
fn every_pair_of_faults_ends_with_one_of_each() {
    let mut runs = 0;
    for policy in [policy(), unsearchable()] {
        for first in 0..9 {
            for fault in Fault::ALL {
                // The first fault makes more calls, such as looks and repeats; they fail too, in their turn.
                let calls = run(&policy, Callbacks::Arrive, &[(first, fault)]);
                for second in first + 1..calls {
                    for other in Fault::ALL {
                        run(&policy, Callbacks::Arrive, &[(first, fault), (second, other)]);
                        runs += 1;
                    }
                }
            }
        }
    }
    assert!(runs > 20_000, "{runs} pairs");
}

#[test]
fn every_fault_of_a_refused_document_tells_everybody_once() {
    let policy = policy();
    for call in 0..6 {
        for fault in Fault::ALL {
            let faults = [(call, fault)];
            let mut run = Run::new(&policy, Callbacks::Arrive, &faults);
            run.verdict = CallbackStatus::Refused;
            let run = run.ended();
            run.check_one_of_each();
            assert_eq!(run.saga.step, Step::Refused);
        }
    }
}

#[test]
fn a_person_is_asked_only_where_the_design_says_so() {
    let (searchable, unsearchable) = (policy(), unsearchable());
    for (policy, callbacks) in [
        (&searchable, Callbacks::AllLost),
        (&unsearchable, Callbacks::Arrive),
        (&unsearchable, Callbacks::AllLost),
    ] {
        for call in 0..9 {
            for fault in Fault::ALL {
                let faults = [(call, fault)];
                let run = Run::new(policy, callbacks, &faults).ended();
                let is_create = run.calls[call] == "create_document";
                let heard = fault.is_done() && callbacks == Callbacks::Arrive || fault == Fault::Late;
                let unknown = is_create && fault.is_unknown() && !policy.search_available && !heard;
                let expected: &[&str] = match fault {
                    Fault::PanicBefore | Fault::PanicAfter => &["panic"],
                    Fault::Permanent => &["http_400"],
                    _ if unknown => &["create_unknown"],
                    _ => &[],
                };
                assert_eq!(run.letters, expected, "{faults:?} {callbacks:?} {:?}", run.calls);
            }
        }
    }
}

#[test]
fn an_upload_that_surfaces_after_the_looks_is_refused_as_a_double_and_adopted() {
    let policy = policy();
    let mut run = Run::new(&policy, Callbacks::Arrive, &[(5, Fault::LostAfter)]);
    while !run.calls.contains(&"upload") {
        run.step();
    }
    // The folder shows the file only when the repeat arrives.
    let hidden = std::mem::take(&mut run.world.files);
    while run.calls.iter().filter(|c| **c == "upload").count() < 2 {
        if matches!(run.order, Some(Effect::Upload { .. })) {
            run.world.files.clone_from(&hidden);
        }
        run.step();
    }
    let run = run.ended();
    run.check_one_of_each();
    assert_eq!(run.world.uploads_refused, 1);
}

#[test]
fn with_the_dangerous_switch_a_double_is_possible_and_nothing_else_is() {
    let policy = dangerous();
    for fault in Fault::ALL {
        let faults = [(2, fault)];
        let run = Run::new(&policy, Callbacks::Arrive, &faults).ended();
        assert_eq!(run.saga.step, Step::Delivered);
        assert_eq!(run.world.documents.len(), 1 + usize::from(fault == Fault::ServerErrorAfter), "{fault:?}");
        assert_eq!((run.world.files.len(), run.world.comments.len(), run.world.notices.len()), (1, 1, 2));
    }
}
