//! Content to sign, made for many documents by one request: fewer requests, and nobody signs what is another's.

use super::play::Play;
use super::support::{Binary, InProcess, pdf, wait_for};
use super::sweep::{AT_ONCE, Kind, WIDER, of_write};
use edobridge::config::Environment;
use edobridge::domain::FileDigest;
use edobridge::domain::signing::SignLink;
use edobridge::saga::document::{DocumentSaga, OperatorAction, Step};
use edobridge::sandbox::idocs::BulkNames;
use edobridge::sandbox::{Fault, FaultKind, IDocsDocument, IDocsOptions};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const MANY: usize = 40;
/// At most this many requests for content of so many: half, so that a busy machine may gather badly.
const REQUESTS_MAX: usize = MANY / 2;
/// So long no operation of a test ends by itself.
const NEVER_MS: u64 = 3_600_000;

/// Documents wait for each other for a good while: a busy machine brings them on one by one.
const TOGETHER: &str = r#"bulk = { from = 2, gather = "3s", poll = ["200ms"], deadline = "10m" }"#;

/// Far above what a busy machine needs for a call: what is told apart here is not slowness.
const CALM: (&str, &str) = ("read = \"1s\"\ncall = \"2s\"", "read = \"20s\"\ncall = \"30s\"");

fn play(options: IDocsOptions, faults: &[Fault]) -> Play {
    Play::with(options, TOGETHER, &[CALM], faults)
}

fn slow() -> IDocsOptions {
    IDocsOptions { bulk_delay_ms: NEVER_MS, ..IDocsOptions::default() }
}

fn put(play: &Play, documents: usize) {
    for n in 0..documents {
        play.put(&format!("contract-{n}.pdf"), pdf(200 + n as u64, 2_000));
    }
}

fn count(play: &Play, call: &str) -> usize {
    play.stage.world.calls().get(call).copied().unwrap_or(0) as usize
}

fn at(sagas: &[DocumentSaga], step: Step) -> usize {
    sagas.iter().filter(|saga| saga.step == step).count()
}

fn until_all_wait(play: &Play, documents: usize) {
    play.until("all wait for the director", |sagas| at(sagas, Step::AwaitSigner) == documents);
}

/// Whether what this document gives its signer is what iDocs made for that draft, from the file that was sent.
fn is_of(play: &Play, saga: &DocumentSaga, draft: &IDocsDocument) -> bool {
    let unit = saga.own.as_ref().and_then(|own| own.unit.as_ref());
    let content = play.stage.world.idocs_content(&draft.id);
    let content = content.map(|bytes| FileDigest(Sha256::digest(&bytes).into()));
    unit.map(|unit| unit.content.digest) == content
        && saga.file.as_ref().map(|file| file.bytes.digest) == draft.files.first().map(|file| file.sha256)
}

fn draft_of<'d>(drafts: &'d [IDocsDocument], saga: &DocumentSaga) -> &'d IDocsDocument {
    let id = saga.provider_document.as_deref().expect("it has a draft");
    drafts.iter().find(|draft| draft.id == id).expect("iDocs has it")
}

#[track_caller]
fn each_has_its_own(play: &Play) {
    let drafts = play.documents();
    for saga in play.sagas().iter().filter(|saga| saga.step == Step::AwaitSigner) {
        assert!(is_of(play, saga, draft_of(&drafts, saga)), "{} would sign something else", saga.id);
    }
}

/// The link that each document's signer was sent last.
fn links(play: &Play) -> BTreeMap<String, String> {
    let notices = play.stage.world.notices(play.director);
    let paths = notices.iter().filter_map(|notice| {
        let start = notice.text.find("/sign/")?;
        let path: String = notice.text[start..].chars().take_while(|c| !c.is_whitespace()).collect();
        let link = SignLink::parse(path.rsplit('/').next()?).ok()?;
        Some((link.document.to_string(), path))
    });
    paths.collect()
}

fn director_signs_all(play: &Play) {
    let links = links(play);
    for saga in play.sagas() {
        let heard = play.post(&links[&saga.id.to_string()], &play.submission(&saga));
        assert!(heard.body.contains("\"accepted\":true"), "{}", heard.body);
    }
}

fn history(play: &Play, saga: &DocumentSaga) -> Vec<String> {
    let (id, service) = (saga.id, play.service.as_ref().expect("it runs"));
    let lines = service.ask(|engine| async move { engine.store().history(id, 100).await });
    lines.expect("the history").into_iter().map(|line| line.what).collect()
}

#[test]
fn many_documents_at_once_cost_few_requests_for_content_and_each_signs_its_own_bytes() {
    let play = play(IDocsOptions { receipt_delay_ms: NEVER_MS, ..IDocsOptions::default() }, &[]);
    put(&play, MANY);
    until_all_wait(&play, MANY);
    let (alone, pushes) = (count(&play, "idocs.content"), count(&play, "idocs.content.push"));
    assert!(pushes > 0 && alone + pushes <= REQUESTS_MAX, "{alone} requests alone and {pushes} pushes");
    each_has_its_own(&play);
    let (sagas, drafts) = (play.sagas(), play.documents());
    let (one, other) = (&sagas[0], draft_of(&drafts, &sagas[1]));
    assert!(!is_of(&play, one, other), "the control: another's content is noticed");
    assert!(history(&play, one).contains(&"content_ready".to_owned()), "{:?}", history(&play, one));
    director_signs_all(&play);
    wait_for("all are sent", || play.documents().iter().filter(|draft| draft.is_sent()).count() == MANY);
    let drafts = play.documents();
    assert_eq!(drafts.len(), MANY);
    assert!(drafts.iter().all(|draft| draft.routes == 1), "{drafts:?}");
    let done = play.metric("edobridge_idocs_bulk_documents_total{outcome=\"done\"}") as usize;
    assert!(done >= MANY - REQUESTS_MAX, "{done}");
}

#[test]
fn content_that_goes_out_under_the_name_of_another_document_is_never_offered_for_signing() {
    // All end before the first question, and each answer about several swaps their names.
    let options =
        IDocsOptions { bulk_names: BulkNames::Swapped, bulk_delay_ms: 10, ..IDocsOptions::default() };
    let idocs = TOGETHER.replace("200ms", "2s");
    let play = Play::with(options, &idocs, &[CALM], &[]);
    put(&play, 4);
    play.until("all are stopped or wait", |sagas| {
        sagas.len() == 4 && at(sagas, Step::Parked) + at(sagas, Step::AwaitSigner) == 4
    });
    let sagas = play.sagas();
    let differs =
        |saga: &&DocumentSaga| saga.dead_letter.as_ref().is_some_and(|dead| dead.code == "content_differs");
    let noticed = sagas.iter().filter(differs).count();
    assert!(noticed > 0 && noticed == at(&sagas, Step::Parked), "{sagas:?}");
    each_has_its_own(&play);
}

#[test]
fn operations_that_name_no_document_are_nobodys_and_each_document_asks_alone() {
    let play = play(IDocsOptions { bulk_names: BulkNames::Missing, ..IDocsOptions::default() }, &[]);
    put(&play, 3);
    until_all_wait(&play, 3);
    assert_eq!(count(&play, "idocs.content"), 3);
    each_has_its_own(&play);
}

#[test]
fn a_push_whose_answer_is_lost_makes_no_document_sign_something_that_is_dead() {
    let lost = Fault::nth("idocs.content.push", 1, FaultKind::CutAfter);
    let play = play(IDocsOptions { receipt_delay_ms: NEVER_MS, ..IDocsOptions::default() }, &[lost]);
    put(&play, 5);
    until_all_wait(&play, 5);
    assert_eq!(play.stage.world.faults_struck(), 1);
    each_has_its_own(&play);
    // The older units have killed none of these: the director is not asked twice.
    director_signs_all(&play);
    wait_for("all are sent", || play.documents().iter().all(IDocsDocument::is_sent));
}

#[test]
fn where_pushes_are_refused_every_document_asks_alone_and_in_the_end_at_once() {
    let refused = Fault::always("idocs.content.push", FaultKind::status(404, "RESOURCE_NOT_FOUND"));
    let play = play(IDocsOptions::default(), &[refused]);
    for round in 0..4 {
        for n in 0..3 {
            play.put(&format!("contract-{round}-{n}.pdf"), pdf(250 + 3 * round + n, 2_000));
        }
        until_all_wait(&play, 3 * (round as usize + 1));
    }
    assert_eq!(count(&play, "idocs.content"), 12);
    let pushes = count(&play, "idocs.content.push");
    assert!((1..=2).contains(&pushes), "{pushes} pushes: it is not tried for ever");
    each_has_its_own(&play);
}

#[test]
fn one_document_that_fails_stops_alone() {
    // Its operation says what is wrong and not with which document; the single call of the one left over does.
    let wrong = || FaultKind::status(400, "VALIDATION_ERROR");
    let faults = [Fault::nth("idocs.content.bulk", 1, wrong()), Fault::nth("idocs.content", 1, wrong())];
    let play = play(IDocsOptions::default(), &faults);
    put(&play, 5);
    play.until("one is stopped, the others wait", |sagas| {
        at(sagas, Step::Parked) == 1 && at(sagas, Step::AwaitSigner) == 4
    });
    each_has_its_own(&play);
    let stopped = play.sagas().into_iter().find(|saga| saga.step == Step::Parked).expect("one");
    assert_eq!(stopped.dead_letter.map(|dead| dead.code), Some("validation_error".to_owned()));
}

#[test]
fn content_that_is_not_made_in_time_is_asked_for_alone() {
    let play = Play::with(slow(), &TOGETHER.replace("10m", "1s"), &[CALM], &[]);
    put(&play, 3);
    until_all_wait(&play, 3);
    assert_eq!(count(&play, "idocs.content"), 3);
    each_has_its_own(&play);
}

#[test]
fn documents_that_wait_for_a_push_hold_up_nobody_say_so_and_a_cancelled_one_is_left_out() {
    let one_call = ("callback_per_minute = 100000", "callback_per_minute = 100000\nconcurrent_calls = 1");
    let play = Play::with(slow(), TOGETHER, &[CALM, one_call], &[]);
    put(&play, 3);
    wait_for("a push of all", || {
        let sagas = play.sagas();
        let together = |saga: &DocumentSaga| history(&play, saga).contains(&"made_together".to_owned());
        sagas.len() == 3 && sagas.iter().all(together)
    });
    let service = play.service.as_ref().expect("it runs");
    let waiting = play.sagas();
    let why = service.engine.why(&waiting[0]);
    assert!(why.en.contains("2 more") && why.ru.contains("ещё 2"), "{why:?}");
    // The one turn of the account is free.
    play.put("urgent.pdf", pdf(300, 2_000));
    until_all_wait(&play, 1);
    assert_eq!(count(&play, "idocs.content"), 1);
    let cancelled = waiting[0].id;
    let order = OperatorAction::Cancel { reason: "not needed".into() };
    let done = service.ask(|engine| async move { engine.operate(cancelled, order).await.map(drop) });
    assert!(done.is_ok(), "{done:?}");
    // The service forgets the operations: those that are still wanted ask alone.
    play.stage.world.idocs_forget_operations();
    until_all_wait(&play, 3);
    assert_eq!(count(&play, "idocs.content"), 3, "nothing was asked for the cancelled one");
    assert_eq!(at(&play.sagas(), Step::Cancelled), 1);
    each_has_its_own(&play);
}

#[test]
fn a_process_that_dies_while_content_is_made_asks_for_it_again_and_doubles_nothing() {
    let mut play = Play::stopped(slow(), TOGETHER, &[CALM]);
    let mut binary = Binary::spawn(&play.stage, &[]);
    binary.wait_ready(play.stage.operator);
    put(&play, 4);
    wait_for("a push", || count(&play, "idocs.content.push.status") > 0);
    binary.kill();
    play.stage.world.set_idocs(IDocsOptions::default());
    play.service = Some(InProcess::start(&play.stage));
    until_all_wait(&play, 4);
    each_has_its_own(&play);
    let drafts = play.documents();
    assert!(drafts.len() == 4 && drafts.iter().all(|draft| draft.routes == 1), "{drafts:?}");
}

/// What may befall a push, a question for its results, or one of its operations; the first of the list in every run.
const TROUBLES: [(&str, &[&str]); 3] = [
    (
        "idocs.content.push",
        &["cut_before", "cut_after", "status_503", "html_200", "empty_body", "slow_before"],
    ),
    ("idocs.content.push.status", &["cut_before", "truncated", "status_503", "empty_body"]),
    ("idocs.content.bulk", &["cut_before", "cut_after", "status_503"]),
];

/// Three documents, one trouble.
fn troubled(call: &str, kind: FaultKind) -> Result<(), String> {
    let pause = match kind {
        // long enough for units that are made late
        FaultKind::SlowBefore(_) => ("settle = \"100ms\"", "settle = \"1500ms\""),
        _ => ("settle = \"100ms\"", "settle = \"150ms\""),
    };
    let fault = Fault::nth(call, 1, kind);
    let play = Play::with(IDocsOptions::default(), TOGETHER, &[pause], &[fault]);
    put(&play, 3);
    play.until("all wait, or one is stopped", |sagas| {
        at(sagas, Step::AwaitSigner) == 3 || at(sagas, Step::Parked) > 0
    });
    let sagas = play.sagas();
    if let Some(stopped) = sagas.iter().find(|saga| saga.step == Step::Parked) {
        return Err(format!("a person had to help: {:?}", stopped.dead_letter));
    }
    let drafts = play.documents();
    match sagas.iter().find(|saga| !is_of(&play, saga, draft_of(&drafts, saga))) {
        Some(wrong) => Err(format!("{} would sign something else", wrong.id)),
        None if drafts.len() != 3 => Err(format!("not three drafts: {drafts:?}")),
        None if play.stage.world.faults_struck() == 0 => Err("nothing went wrong".to_owned()),
        None => Ok(()),
    }
}

#[test]
fn whatever_befalls_a_push_or_its_results_each_document_gets_its_own_content_and_nobody_helps() {
    let all = Environment::of_process().get(WIDER).is_some_and(|wanted| wanted == "all");
    let cases: Vec<(&str, Kind)> = TROUBLES
        .iter()
        .flat_map(|(call, kinds)| {
            let wanted = move |kind: &Kind| all || kinds.contains(&kind.0);
            of_write().into_iter().filter(wanted).map(move |kind| (*call, kind))
        })
        .collect();
    let (next, problems) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((call, (name, kind))) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = catch_unwind(AssertUnwindSafe(|| troubled(call, kind.clone())));
                    let problem = match played {
                        Ok(Ok(())) => continue,
                        Ok(Err(problem)) => problem,
                        Err(_) => "it panicked, see above".to_owned(),
                    };
                    problems
                        .lock()
                        .expect("no case panics with it")
                        .push(format!("{call} {name}: {problem}"));
                }
            });
        }
    });
    let problems = problems.into_inner().expect("no case panics with it");
    assert!(problems.is_empty(), "{} of {} cases:\n{}", problems.len(), cases.len(), problems.join("\n"));
}
