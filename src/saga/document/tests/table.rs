//! The complete table: every state with every kind of event, legal, stale and illegal.
//!
//! `table.txt` is the expectation. Under each event stand the results, and after each result the states that come
//! to it: `*` an order is under way, `~` a timer waits, `-` nothing changes, `rejected` and `fault` are errors.

use super::super::event::{Answer, CallbackStatus, Event, Mend, OperatorAction, RobotHeard, StageKept};
use super::super::own_signature::{Holds, OwnAnswer, OwnEvent, OwnStatus};
use super::super::state::{Claim, DocumentSaga, Step, TimerKind, Work};
use super::super::transition::{IllegalEvent, Next, source_claim};
use super::fixture::*;
use crate::domain::{AttemptToken, Failure, Timestamp};
use std::fmt::Write;

const EXPECTED: &str = include_str!("table.txt");

/// Every live step that orders something as soon as it is entered.
const WORKING: [Step; 28] = [
    Step::ReadItem,
    Step::FetchSource,
    Step::Create,
    Step::FindDocument,
    Step::FetchSigned,
    Step::ScanFolder,
    Step::Upload,
    Step::FindUpload,
    Step::Comment,
    Step::FindComment,
    Step::Notify,
    Step::AwaitPdf,
    Step::ScanField,
    Step::AttachField,
    Step::FindFieldFile,
    Step::MoveStage,
    Step::AnswerRobot,
    Step::UploadBlob,
    Step::CreateDraft,
    Step::FindDraft,
    Step::SetRoute,
    Step::FindRoute,
    Step::PrepareContent,
    Step::TellSigner,
    Step::SendSignature,
    Step::SaveSignature,
    Step::FindSave,
    Step::FetchArchive,
];

fn states() -> Vec<(String, Story)> {
    let mut all: Vec<(String, Story)> = Vec::new();
    for step in WORKING {
        all.push((format!("{}*", step.name()), given(step)));
    }
    for step in WORKING {
        all.push((format!("{}~", step.name()), given(step).fails(unreachable())));
    }
    all.push(("find_document~grace".into(), given_under(unsearchable(), Step::Create).fails(no_answer())));
    all.push(("await_signature~".into(), given(Step::AwaitSignature)));
    all.push(("await_signature*poll".into(), given_under(polling(), Step::AwaitSignature).fires()));
    all.push(("await_signature*reminder".into(), given(Step::AwaitSignature).fires()));
    all.push(("await_signer~".into(), given(Step::AwaitSigner)));
    all.push(("await_signer*poll".into(), given(Step::AwaitSigner).fires()));
    for step in Step::ALL.into_iter().filter(|s| s.is_finished()) {
        all.push((step.name().into(), given(step)));
    }
    for step in Step::ALL.into_iter().filter(|s| s.is_live()) {
        all.push((format!("parked<{}", step.name()), given_parked(step)));
    }
    all
}

fn answers() -> Vec<(&'static str, Answer)> {
    vec![
        ("item wanted", item_wanted(ITEM, &[9_001])),
        ("not wanted", not_wanted()),
        ("source fetched", source_fetched(Some(FOLDER))),
        ("created", created(DOCUMENT)),
        ("document found", found(CallbackStatus::Other)),
        ("document found signed", found(CallbackStatus::Signed)),
        ("document not found", Answer::DocumentNotFound),
        ("status read", status_read(CallbackStatus::Other)),
        ("status read refused", status_read(CallbackStatus::Refused)),
        ("signed fetched", Answer::SignedFetched { bytes: spool(2) }),
        ("folder scanned", Answer::FolderScanned { highest_id: 9_050, free_name: COPY_NAME.into() }),
        ("uploaded", Answer::Uploaded { file: copy() }),
        ("upload found", Answer::UploadFound { file: copy() }),
        ("upload not found", Answer::UploadNotFound),
        ("commented", Answer::Commented { comment_id: 41 }),
        ("comment not found", Answer::CommentNotFound),
        ("notified", Answer::Notified),
        ("document picked", Answer::DocumentPicked { document_id: 61, delivery: rich_delivery() }),
        ("pdf pending", Answer::PdfPending),
        ("field scanned", Answer::FieldScanned { file_ids: vec![5, 6] }),
        ("field attached", Answer::FieldAttached { file_id: 7 }),
        ("field file found", Answer::FieldFileFound { file_id: 7 }),
        ("field file not found", Answer::FieldFileNotFound),
        ("stage moved", Answer::StageMoved { from: "C1:EXECUTING".into() }),
        ("stage kept", Answer::StageKept { stage: "C1:X".into(), why: StageKept::MovedByOthers }),
        ("robot answered", Answer::RobotAnswered { heard: RobotHeard::Yes }),
        ("robot too late", Answer::RobotAnswered { heard: RobotHeard::TooLate }),
        ("blob stored", Answer::Own(OwnAnswer::BlobStored { blob_id: "blob-1".into() })),
        (
            "draft made",
            Answer::Own(OwnAnswer::DraftMade { document_id: DOCUMENT.into(), raw_status: "DRAFT".into() }),
        ),
        ("draft not found", Answer::Own(OwnAnswer::DraftNotFound)),
        ("route set", Answer::Own(OwnAnswer::RouteSet)),
        ("route not found", Answer::Own(OwnAnswer::RouteNotFound)),
        ("content ready", content_ready(START.plus_ms(30 * DAY), Holds::Original)),
        ("other content", content_ready(START.plus_ms(30 * DAY), Holds::SomethingElse)),
        ("signer told", Answer::Own(OwnAnswer::SignerTold)),
        ("signature stored", Answer::Own(OwnAnswer::SignatureStored { blob_id: "blob-2".into() })),
        ("signature saved", Answer::Own(OwnAnswer::SignatureSaved)),
        ("own draft", own_status(OwnStatus::NotSent)),
        ("own in work", own_status(OwnStatus::InWork)),
        ("own signed", own_status(OwnStatus::Signed)),
        ("own refused", own_status(OwnStatus::Refused(Some("цена".into())))),
        ("own withdrawn", own_status(OwnStatus::Withdrawn)),
        ("own unclear", own_status(OwnStatus::Unclear)),
        ("print form", Answer::Own(OwnAnswer::PrintForm(Some(spool(2))))),
        ("no print form", Answer::Own(OwnAnswer::PrintForm(None))),
        ("archive", Answer::Own(OwnAnswer::Archive(Some(spool(31))))),
        ("no archive", Answer::Own(OwnAnswer::Archive(None))),
    ]
}

fn failures() -> Vec<(&'static str, Failure)> {
    vec![
        ("transient", unreachable()),
        ("throttled", throttled()),
        ("auth", unauthorised()),
        ("permanent", permanent()),
        ("no answer", no_answer()),
        ("5xx", server_error()),
        ("name taken", name_taken()),
    ]
}

fn claims() -> Vec<(&'static str, Claim)> {
    let (portal, source) = (portal(), super::super::state::Source::DriveFile { file_id: 1 });
    vec![
        ("source", source_claim(&portal, &source)),
        ("reading", Claim::Reading("main/crm/deal:501".into())),
        ("external", Claim::External("b24-x".into())),
        ("provider document", Claim::ProviderDocument(DOCUMENT.into())),
        ("echo name", Claim::EchoName { portal: portal.clone(), folder_id: 1, name: "x".into() }),
        ("echo file", Claim::EchoFile { portal: portal.clone(), file_id: 1 }),
        ("echo bytes", Claim::EchoBytes { portal: portal.clone(), item: ITEM, digest: spool(2).digest }),
        ("workflow", Claim::Workflow { portal, workflow_id: "workflow-1".into() }),
    ]
}

fn actions() -> Vec<(&'static str, OperatorAction)> {
    let mend = |mend| OperatorAction::Retry(mend);
    vec![
        ("retry", retry()),
        ("retry with folder", mend(folder(OTHER_FOLDER))),
        ("retry with route", mend(Mend { route_id: Some("route-2".into()), ..Mend::default() })),
        ("retry with people", mend(Mend { notify: Some(vec![9]), ..Mend::default() })),
        ("retry with nobody", mend(Mend { notify: Some(vec![]), ..Mend::default() })),
        ("send again", OperatorAction::SendAgain),
        ("bind", bind(DOCUMENT)),
        ("cancel", cancel()),
    ]
}

/// An event for each state, since tokens and ids differ; the moment is that of the state's timer where one fires.
type Make = Box<dyn Fn(&DocumentSaga) -> Event>;

fn callback(id: &'static str, external: fn(&DocumentSaga) -> Option<String>, status: CallbackStatus) -> Make {
    Box::new(move |saga| Event::CallbackArrived {
        document_id: id.into(),
        external_id: external(saga),
        status: status.clone(),
        raw_status: word(&status).into(),
    })
}

fn events() -> Vec<(String, Make)> {
    let ours: fn(&DocumentSaga) -> Option<String> = |saga| Some(saga.external_id.clone());
    let mut all: Vec<(String, Make)> = vec![
        ("triggered again".into(), Box::new(|_| Event::TriggeredAgain)),
        ("callback signed".into(), callback(DOCUMENT, ours, CallbackStatus::Signed)),
        ("callback refused".into(), callback(DOCUMENT, ours, CallbackStatus::Refused)),
        ("callback in between".into(), callback(DOCUMENT, ours, CallbackStatus::Other)),
        ("callback without external id".into(), callback(DOCUMENT, |_| None, CallbackStatus::Signed)),
        ("callback of a stranger".into(), callback(DOCUMENT, |_| Some("x".into()), CallbackStatus::Signed)),
        ("callback of another document".into(), callback("doc-2", ours, CallbackStatus::Signed)),
    ];
    for (name, kind) in [
        ("lease", TimerKind::Lease),
        ("start", TimerKind::Start),
        ("wait", TimerKind::Wait),
        ("grace", TimerKind::Grace),
    ] {
        all.push((format!("timer {name}"), Box::new(move |_| Event::TimerFired { kind })));
    }
    for (name, answer) in answers() {
        let make = move |saga: &DocumentSaga| Event::Answered {
            token: AttemptToken(saga.last_token),
            answer: answer.clone(),
        };
        all.push((format!("answer: {name}"), Box::new(make)));
    }
    for (name, failure) in failures() {
        let make = move |saga: &DocumentSaga| Event::Failed {
            token: AttemptToken(saga.last_token),
            failure: failure.clone(),
        };
        all.push((format!("failure: {name}"), Box::new(make)));
    }
    let lost = |saga: &DocumentSaga| Event::AttemptLost { token: AttemptToken(saga.last_token) };
    all.push(("attempt lost".into(), Box::new(lost)));
    for (name, claim) in claims() {
        let make = move |_: &DocumentSaga| Event::ClaimTaken { claim: claim.clone(), by: other_saga() };
        all.push((format!("taken: {name}"), Box::new(make)));
    }
    let asked = |n| move |_: &DocumentSaga| Event::RobotAsked { order: robot(n) };
    all.push(("robot asks".into(), Box::new(asked(2))));
    all.push(("robot asks again".into(), Box::new(asked(1))));
    all.push((
        "signature given".into(),
        Box::new(|saga| signature(saga.own.as_ref().map_or(0, |own| own.units), 40)),
    ));
    all.push((
        "another signature".into(),
        Box::new(|saga| signature(saga.own.as_ref().map_or(0, |own| own.units), 41)),
    ));
    all.push(("signature over an older content".into(), Box::new(|_| signature(0, 42))));
    all.push(("link asked".into(), Box::new(|_| Event::Own(OwnEvent::LinkAsked))));
    all.push((
        "link given".into(),
        Box::new(|_| Event::Own(OwnEvent::LinkGiven { asked_by: "anna".into() })),
    ));
    all.push(("status hint".into(), Box::new(|_| Event::Own(OwnEvent::StatusHint))));
    all.push(("made together".into(), Box::new(|_| Event::Own(OwnEvent::MadeTogether { others: 39 }))));
    all.push(("panicked".into(), Box::new(|_| Event::Panicked { text: "index out of bounds".into() })));
    for (name, action) in actions() {
        all.push((format!("person: {name}"), Box::new(move |_| Event::Operator(action.clone()))));
    }
    all
}

/// The result in a few words.
fn outcome(before: &DocumentSaga, now: Timestamp, result: Result<Next, IllegalEvent>) -> String {
    let next = match result {
        Err(IllegalEvent::Rejected(_)) => return "rejected".into(),
        Err(IllegalEvent::WrongAnswer { .. }) => return "fault".into(),
        Err(e @ IllegalEvent::Incomplete { .. }) => panic!("{e}: {before:#?}"),
        Ok(next) if !next.changes(before) => return "-".into(),
        Ok(next) => next,
    };
    let saga = &next.saga;
    let mut text = match &saga.dead_letter {
        Some(_) if saga.dead_letter == before.dead_letter => "stays".into(),
        Some(dead) => format!("parked<{} {}", dead.from.name(), dead.code),
        None if saga.step == before.step && saga.work == before.work && saga.timer == before.timer => {
            "stays".into()
        }
        None => saga.step.name().into(),
    };
    if let Work::InFlight { .. } = saga.work
        && text != "stays"
    {
        text.push('*');
    }
    if let Some(timer) = saga.timer.filter(|t| t.kind != TimerKind::Lease && text != "stays") {
        let kind = format!("{:?}", timer.kind).to_lowercase();
        write!(text, "~{kind} {}s", timer.due.ms_since(now) / SECOND).expect("a string");
    }
    let notes: Vec<&str> = next
        .history
        .iter()
        .map(|h| h.what.as_str())
        .filter(|w| *w != "parked" && *w != saga.step.name())
        .collect();
    if !notes.is_empty() {
        write!(text, " [{}]", notes.join(" ")).expect("a string");
    }
    text
}

fn table() -> String {
    let states = states();
    let mut text = String::new();
    for (event, make) in events() {
        let mut rows: Vec<(String, Vec<&str>)> = Vec::new();
        for (name, story) in &states {
            let event = make(&story.saga);
            let fires = matches!(event, Event::TimerFired { .. });
            let due = story.saga.timer.map(|t| t.due).filter(|_| fires);
            let now = story.now.max(due.unwrap_or(story.now));
            let result = outcome(&story.saga, now, apply(&story.saga, &event, now, &story.policy, 0));
            match rows.iter_mut().find(|(r, _)| *r == result) {
                Some((_, names)) => names.push(name),
                None => rows.push((result, vec![name])),
            }
        }
        writeln!(text, "## {event}").expect("a string");
        for (result, names) in rows {
            writeln!(text, "{result} <= {}", names.join(" ")).expect("a string");
        }
        writeln!(text).expect("a string");
    }
    text
}

#[test]
fn every_state_meets_every_kind_of_event_as_the_table_says() {
    let actual = table().trim_end().to_owned();
    for (n, (line, expected)) in actual.lines().zip(EXPECTED.lines()).enumerate() {
        assert_eq!(line, expected, "line {} of table.txt; the whole table is now:\n{actual}", n + 1);
    }
    assert_eq!(actual.lines().count(), EXPECTED.lines().count(), "table.txt should be:\n{actual}");
}

#[test]
fn an_event_that_is_stale_or_made_up_changes_nothing_anywhere() {
    for (name, story) in states() {
        let (last, timer) = (story.saga.last_token, story.saga.timer);
        let mut stale = vec![
            Event::Failed { token: AttemptToken(last + 1), failure: permanent() },
            Event::AttemptLost { token: AttemptToken(last + 1) },
            Event::Failed { token: AttemptToken(last.saturating_sub(1)), failure: permanent() },
            Event::AttemptLost { token: AttemptToken(last.saturating_sub(1)) },
        ];
        for (_, answer) in answers() {
            stale.push(Event::Answered { token: AttemptToken(last + 1), answer: answer.clone() });
            stale.push(Event::Answered { token: AttemptToken(0), answer });
        }
        stale.extend(timer.filter(|t| t.due > story.now).map(|t| Event::TimerFired { kind: t.kind }));
        for event in stale {
            let next = story.tries(&event).expect("no error");
            assert!(!next.changes(&story.saga), "{name}: {event:?}: {next:#?}");
        }
    }
}

#[test]
fn the_table_covers_every_step_and_every_code() {
    let states = states();
    for step in Step::ALL {
        assert!(states.iter().any(|(_, s)| s.saga.step == step), "{step:?}");
        assert_eq!(Step::from_code(step.code()), Some(step));
        assert_eq!(Step::from_name(step.name()), Some(step));
    }
    for (name, story) in &states {
        let shown = name.trim_end_matches("grace").trim_end_matches("poll").trim_end_matches("reminder");
        match (shown.ends_with('*'), shown.ends_with('~')) {
            (true, _) => assert!(matches!(story.saga.work, Work::InFlight { .. }), "{name}"),
            (_, true) => assert!(story.saga.work == Work::Idle && story.saga.step.is_live(), "{name}"),
            _ => assert!(!story.saga.step.is_live(), "{name}"),
        }
    }
}
