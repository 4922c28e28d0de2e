//! Every call of V1, every way to fail: one document, two files; a person is asked where the sending has an unknown outcome,
//! and nowhere else.
//!
//! A fixed part of the cases plays by default; `EDOBRIDGE_TEST_IDOCS=all` plays all of them, any other text those whose
//! name has it.

use super::people::{Old, options};
use edobridge::config::Environment;
use edobridge::sandbox::{Fault, FaultKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases at one time: most of each is waiting.
pub const AT_ONCE: usize = 8;
/// Asks for more than the default part.
pub const WIDER: &str = "EDOBRIDGE_TEST_IDOCS";
/// An answer that comes after we have given up (1 s), and an effect that does.
const SLOW_MS: u64 = 1_500;
const HELD_MS: u64 = 1_250;

const SEND: &str = "idocs.v1.send";
const READS: [&str; 4] = ["idocs.v1.process", "idocs.v1.document", "idocs.v1.print_form", "idocs.v1.file"];

/// What a person must be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// Whether it was sent.
    Sending,
    /// To mend what the service refused in plain words.
    Refusal,
}

struct Case {
    name: String,
    fault: Fault,
    asked: Asked,
}

fn kinds() -> Vec<(&'static str, FaultKind)> {
    vec![
        ("refuse", FaultKind::Refuse),
        ("cut_before", FaultKind::CutBefore),
        ("status_503", FaultKind::status(503, "UNKNOWN")),
        ("html_200", FaultKind::Html(200)),
        ("html_500", FaultKind::Html(500)),
        ("truncated", FaultKind::Truncated),
        ("empty_body", FaultKind::EmptyBody),
        ("slow", FaultKind::Slow(SLOW_MS)),
    ]
}

fn cases() -> Vec<Case> {
    let case = |call: &str, kind: &str, fault: FaultKind, asked| Case {
        name: format!("{call} {kind}"),
        fault: Fault::nth(call, 1, fault),
        asked,
    };
    let after = [
        ("cut_after", FaultKind::CutAfter),
        ("status_after_500", FaultKind::status_after(500, "INTERNAL_SERVER_ERROR")),
        ("html_after_502", FaultKind::HtmlAfter(502)),
        ("slow_before", FaultKind::SlowBefore(HELD_MS)),
    ];
    let writes = kinds().into_iter().chain(after);
    let mut all: Vec<Case> = writes.map(|(kind, fault)| case(SEND, kind, fault, Asked::Sending)).collect();
    all.push(case(SEND, "status_400", FaultKind::status(400, "VALIDATION_ERROR"), Asked::Refusal));
    all.push(case(SEND, "duplicate", FaultKind::Duplicate, Asked::Nothing));
    for call in READS {
        all.extend(kinds().into_iter().map(|(kind, fault)| case(call, kind, fault, Asked::Nothing)));
    }
    all
}

/// What may double something plays in every run; of the reads, two kinds.
fn is_in_every_run(case: &Case) -> bool {
    case.name.starts_with(SEND) || case.name.ends_with("cut_before") || case.name.ends_with("html_200")
}

fn chosen() -> Vec<Case> {
    match Environment::of_process().get(WIDER) {
        Some("all") => cases(),
        Some(wanted) => cases().into_iter().filter(|case| case.name.contains(wanted)).collect(),
        None => cases().into_iter().filter(is_in_every_run).collect(),
    }
}

fn play(case: &Case, n: usize) -> Result<(), String> {
    // The pause before a person is asked must be long enough for an effect that comes late.
    let mut old = Old::stopped(options(), "");
    let text = std::fs::read_to_string(&old.play.stage.config_path).expect("the configuration");
    let text = text.replace("settle = \"100ms\"", "settle = \"800ms\"");
    std::fs::write(&old.play.stage.config_path, text).expect("the configuration is written");
    old.play.stage.world.add_fault(case.fault.clone()).expect("one fault");
    old.start();
    old.put_number(u32::try_from(n).unwrap_or(0));
    old.run_to_the_end();
    old.judge()?;
    let expected = match case.asked {
        Asked::Nothing => 0,
        Asked::Sending | Asked::Refusal => 1,
    };
    let is_unknown = |letter: &String| letter == "create_unknown";
    if old.letters.len() != expected || old.letters.iter().any(is_unknown) != (case.asked == Asked::Sending) {
        return Err(format!("a person was asked {:?}", old.letters));
    }
    match old.play.stage.world.faults_struck() {
        1 => Ok(()),
        n => Err(format!("{n} faults struck")),
    }
}

/// Plays cases, several at a time; gives what went wrong with each.
fn play_all(cases: &[Case]) -> Vec<String> {
    let (next, problems) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let Some(case) = cases.get(n) else { return };
                    let played = catch_unwind(AssertUnwindSafe(|| play(case, n)));
                    let problem = match played {
                        Ok(Ok(())) => continue,
                        Ok(Err(problem)) => problem,
                        Err(_) => "see above".to_owned(),
                    };
                    problems
                        .lock()
                        .expect("no case panics with it")
                        .push(format!("{}: {problem}", case.name));
                }
            });
        }
    });
    problems.into_inner().expect("no case panics with it")
}

#[test]
fn every_call_may_fail_in_every_way_and_a_person_is_asked_about_the_sending_alone() {
    let cases = chosen();
    assert!(!cases.is_empty(), "no case has that name");
    let problems = play_all(&cases);
    assert!(problems.is_empty(), "{} of {} cases:\n{}", problems.len(), cases.len(), problems.join("\n"));
}

#[test]
fn a_case_that_expects_no_question_is_not_passed_by_one_that_is_asked() {
    let mut wrong =
        cases().into_iter().find(|case| case.name == format!("{SEND} cut_after")).expect("a case");
    wrong.asked = Asked::Nothing;
    assert!(play(&wrong, 0).is_err_and(|problem| problem.contains("create_unknown")));
}
