//! Every call of the flow, every way to fail: one document, one route, one save, two files, and nobody's help.
//!
//! A fixed part of the cases plays by default; `EDOBRIDGE_TEST_IDOCS=all` plays all of them, any other text those whose
//! name has it.

use super::counts;
use super::play::{EVENTS_PATH, Play};
use super::support::{pdf, wait_for};
use edobridge::config::Environment;
use edobridge::sandbox::{Fault, FaultKind, IDocsOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases at one time: most of each is waiting.
pub const AT_ONCE: usize = 8;
/// Asks for more than the default part.
pub const WIDER: &str = "EDOBRIDGE_TEST_IDOCS";
/// Answers that come after we have given up (1 s), and effects that come before we have looked for the last time.
const SLOW_MS: u64 = 1_500;
const HELD_MS: u64 = 1_250;

/// Calls that change something at iDocs.
const WRITES: [&str; 7] = [
    "idocs.blob.document",
    "idocs.create",
    "idocs.route",
    "idocs.content",
    "idocs.blob.signature",
    "idocs.save",
    "idocs.subscribe",
];

/// Calls that only read. `idocs.list` is made to look for a draft, `idocs.events` where its path is configured.
const READS: [&str; 7] = [
    "idocs.single",
    "idocs.content.download",
    "idocs.status",
    "idocs.print_form",
    "idocs.archive",
    "idocs.list",
    "idocs.events",
];

/// What the world calls at our side.
const DELIVERY: &str = "idocs.webhook";

/// A way to fail, with its name.
pub type Kind = (&'static str, FaultKind);

/// How a call may fail that changes something.
pub fn of_write() -> Vec<Kind> {
    let mut kinds = of_read();
    kinds.extend([
        ("cut_after", FaultKind::CutAfter),
        ("status_after_500", FaultKind::status_after(500, "INTERNAL_SERVER_ERROR")),
        ("html_after_502", FaultKind::HtmlAfter(502)),
        ("slow_before", FaultKind::SlowBefore(HELD_MS)),
    ]);
    kinds
}

/// Before the effect and after it are one and the same to us there.
fn of_read() -> Vec<Kind> {
    vec![
        ("refuse", FaultKind::Refuse),
        ("cut_before", FaultKind::CutBefore),
        ("status_503", FaultKind::status(503, "UNKNOWN")),
        ("html_200", FaultKind::Html(200)),
        ("truncated", FaultKind::Truncated),
        ("empty_body", FaultKind::EmptyBody),
        ("slow", FaultKind::Slow(SLOW_MS)),
    ]
}

fn of_delivery() -> Vec<Kind> {
    vec![
        ("cut_before", FaultKind::CutBefore),
        ("cut_after", FaultKind::CutAfter),
        ("duplicate", FaultKind::Duplicate),
    ]
}

/// One case: what goes wrong, and in which configuration.
pub struct Case {
    pub name: String,
    faults: Vec<Fault>,
    edits: Vec<(&'static str, String)>,
}

impl Case {
    fn new(call: &str, kind: Kind) -> Self {
        let name = format!("{call} {}", kind.0);
        let mut case = Self { name, faults: vec![Fault::nth(call, 1, kind.1.clone())], edits: Vec::new() };
        if matches!(kind.1, FaultKind::SlowBefore(_)) {
            // the pause must be long enough for an effect that comes late
            case.edits.push(("settle = \"100ms\"", "settle = \"800ms\"".to_owned()));
        }
        match call {
            "idocs.list" => case.faults.push(Fault::nth("idocs.create", 1, FaultKind::CutAfter)),
            "idocs.events" => case.edits.extend(history_edits()),
            _ => {}
        }
        case
    }

    fn play(&self) -> Result<(), String> {
        let edits: Vec<(&str, &str)> = self.edits.iter().map(|(from, to)| (*from, to.as_str())).collect();
        let mut play = Play::with(IDocsOptions::default(), "", &edits, &self.faults);
        play.put("contract.pdf", pdf(7, 2_000));
        play.run_to_the_end();
        play.judge()?;
        if play.healed > 0 {
            return Err(format!("a person had to help {} times", play.healed));
        }
        match play.stage.world.faults_struck() {
            n if n as usize == self.faults.len() => Ok(()),
            n => Err(format!("{n} of {} faults struck", self.faults.len())),
        }
    }
}

/// The events of a period are asked for, often.
pub fn history_edits() -> Vec<(&'static str, String)> {
    let section = format!(
        "[idocs.history]\nperiod_path = \"{EVENTS_PATH}\"\ninterval = \"150ms\"\noverlap = \"10s\"\n\
         document_poll = \"2s\"\n[idocs.limits]"
    );
    vec![("[idocs.limits]", section)]
}

fn cases() -> Vec<Case> {
    let of = |calls: &[&str], kinds: fn() -> Vec<Kind>| -> Vec<Case> {
        calls.iter().flat_map(|call| kinds().into_iter().map(|kind| Case::new(call, kind))).collect()
    };
    let mut all = of(&WRITES, of_write);
    all.extend(of(&READS, of_read));
    all.extend(of(&[DELIVERY], of_delivery));
    // Twice in a row: the repeat is lost too.
    for call in ["idocs.create", "idocs.route", "idocs.save"] {
        let mut case = Case::new(call, ("cut_before twice", FaultKind::CutBefore));
        case.faults.push(Fault::nth(call, 2, FaultKind::CutBefore));
        all.push(case);
    }
    // A limit without a pause of its own means ten seconds: one write stands for all.
    all.push(Case::new("idocs.save", ("status_429", FaultKind::status(429, "UNKNOWN"))));
    all
}

/// The cases of this run.
fn chosen() -> Vec<Case> {
    let all = cases();
    counts::hold("idocs.cases_all", all.len() as u64);
    match Environment::of_process().get(WIDER) {
        Some("all") => all,
        Some(wanted) => all.into_iter().filter(|case| case.name.contains(wanted)).collect(),
        None => {
            let ours: Vec<Case> = all.into_iter().filter(is_in_every_run).collect();
            counts::hold("idocs.cases", ours.len() as u64);
            ours
        }
    }
}

/// What may double something plays in every run; of the others, one kind of each sort.
fn is_in_every_run(case: &Case) -> bool {
    let (call, kind) = case.name.split_once(' ').unwrap_or((&case.name, ""));
    let doubles = ["idocs.create", "idocs.route", "idocs.save", "idocs.content", "idocs.list"];
    match kind {
        "cut_after" | "cut_before" | "status_after_500" => true,
        "slow_before" | "empty_body" | "cut_before twice" | "html_200" => doubles.contains(&call),
        "status_503" => READS.contains(&call),
        _ => false,
    }
}

/// Plays cases, several at a time; gives what went wrong with each.
fn play_all(cases: &[Case]) -> Vec<String> {
    let (next, problems) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let problem = match catch_unwind(AssertUnwindSafe(|| case.play())) {
                        Ok(Ok(())) => continue,
                        Ok(Err(problem)) => problem,
                        Err(_) => "it panicked, see above".to_owned(),
                    };
                    let mut problems = problems.lock().expect("no case panics with it");
                    problems.push(format!("{}: {problem}", case.name));
                }
            });
        }
    });
    problems.into_inner().expect("no case panics with it")
}

#[test]
fn every_call_of_the_flow_may_fail_in_every_way_and_nothing_is_made_twice() {
    let cases = chosen();
    let problems = play_all(&cases);
    assert!(problems.is_empty(), "{} of {} cases:\n{}", problems.len(), cases.len(), problems.join("\n"));
}

/// So long the service works on a route: far longer than we wait for its answer.
const ROUTE_WORKED_ON_MS: u64 = 4_000;

/// A document whose route is still being set when we give up waiting, with this pause before a look. Nobody signs.
fn with_a_slow_route(settle: &'static str) -> Play {
    let slow = Fault::nth("idocs.route", 1, FaultKind::SlowBefore(ROUTE_WORKED_ON_MS));
    let play = Play::with(IDocsOptions::default(), "", &[("settle = \"100ms\"", settle)], &[slow]);
    play.put("contract.pdf", pdf(8, 2_000));
    play
}

fn routes(play: &Play) -> Option<u32> {
    play.documents().first().map(|document| document.routes)
}

#[test]
fn a_route_that_is_still_being_set_is_not_set_again() {
    let play = with_a_slow_route("settle = \"2500ms\"");
    play.waiting();
    assert_eq!((routes(&play), play.stage.world.calls().get("idocs.route")), (Some(1), Some(&1)));
}

#[test]
fn without_the_pause_a_route_would_be_set_twice() {
    // The control of the test above: the looks come too early, and both requests have their effect.
    let play = with_a_slow_route("settle = \"0ms\"");
    wait_for("the second route", || routes(&play) == Some(2));
}
