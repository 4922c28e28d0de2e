//! The real binary, killed after every commit and after every effect of an iDocs document, and started again.
//!
//! After a commit means before the call that it orders; after an effect means after the call, before we know of it. The
//! people go on with what they had: the director with the last link, the counterparty with what was sent.

use super::play::Play;
use super::support::{Binary, DEAL, InProcess, pdf};
use super::sweep::{AT_ONCE, WIDER};
use edobridge::config::Environment;
use edobridge::sandbox::IDocsOptions;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// More crash points than one document has.
const POINTS_MAX: u32 = 120;
/// How long a run may take until it crashes or ends: far above what a loaded machine needs.
const RUN_MAX: Duration = Duration::from_secs(120);
/// What is still written after the world has seen all.
const QUIET: Duration = Duration::from_millis(700);

/// What a run of the binary came to.
#[derive(Debug, PartialEq, Eq)]
enum Run {
    Crashed,
    Ended,
}

/// Every `step`-th passage of the point named by the variable, until a run has no more of them; how many crashed.
fn sweep(variable: &str, step: u32) -> u32 {
    let (next, over) = (AtomicU32::new(0), AtomicBool::new(false));
    let (crashed, problems) = (AtomicU32::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let n = next.fetch_add(1, Ordering::SeqCst) * step + 1;
                    match catch_unwind(AssertUnwindSafe(|| one(variable, n))) {
                        Ok(Ok(Run::Crashed)) if n < POINTS_MAX => {
                            crashed.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(Ok(Run::Crashed)) => {
                            problems.lock().expect("unbroken").push("no run ends".to_owned());
                            over.store(true, Ordering::SeqCst);
                        }
                        Ok(Ok(Run::Ended)) => over.store(true, Ordering::SeqCst),
                        Ok(Err(problem)) => {
                            problems.lock().expect("unbroken").push(format!("{variable}={n}: {problem}"));
                        }
                        Err(_) => {
                            problems.lock().expect("unbroken").push(format!("{variable}={n}: see above"));
                            over.store(true, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().expect("unbroken");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    crashed.into_inner()
}

fn one(variable: &str, n: u32) -> Result<Run, String> {
    let mut play = Play::stopped(IDocsOptions::default(), "", &[]);
    let mut binary = Binary::spawn(&play.stage, &[(variable, n.to_string())]);
    binary.wait_ready(play.stage.operator);
    play.put("contract.pdf", pdf(u64::from(n), 2_000));
    let run = until_over(&mut play, &mut binary);
    let log = binary.log_tail();
    binary.kill();
    let run = run.map_err(|problem| format!("{problem}\n{log}"))?;
    play.service = Some(InProcess::start(&play.stage));
    play.run_to_the_end();
    play.judge().map_err(|problem| format!("{problem}\nlog of the first run:\n{log}"))?;
    match play.healed {
        0 => Ok(run),
        n => Err(format!("a person had to help {n} times\nlog of the first run:\n{log}")),
    }
}

fn until_over(play: &mut Play, binary: &mut Binary) -> Result<Run, String> {
    let until = Instant::now() + RUN_MAX;
    let (mut ended, mut signed_by): (Option<Instant>, Option<String>) = (None, None);
    loop {
        if let Ok(Some(status)) = binary.child.try_wait() {
            return died(status);
        }
        if play.link().is_some() && signed_by != play.link() && play.director_tries() {
            signed_by = play.link();
        }
        play.counterparty_signs();
        if ended.is_none() && has_ended(play) {
            ended = Some(Instant::now());
        }
        if ended.is_some_and(|ended| ended.elapsed() > QUIET) {
            return Ok(Run::Ended);
        }
        if Instant::now() > until {
            return Err("the run neither crashed nor ended".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn died(status: std::process::ExitStatus) -> Result<Run, String> {
    use std::os::unix::process::ExitStatusExt as _;
    /// The signal of `abort`.
    const SIGABRT: i32 = 6;
    if status.signal() == Some(SIGABRT) { Ok(Run::Crashed) } else { Err(format!("it ended with {status}")) }
}

/// As far as the world can see: the files, the last comment, the last notice.
fn has_ended(play: &Play) -> bool {
    let world = &play.stage.world;
    play.judge().is_ok()
        && world.comments(DEAL).iter().any(|comment| comment.text.contains("edobridge:"))
        && world.notices(play.director).iter().any(|notice| notice.text.contains("подписан."))
}

/// The calls to iDocs and to the portal that one document makes, at the least: fewer crashes would prove too little.
const CALLS_MIN: u32 = 16;

#[test]
fn a_process_that_dies_after_any_call_of_the_flow_makes_nothing_twice() {
    let crashed = sweep("EDOBRIDGE_TEST_CRASH_AFTER_EFFECTS", 1);
    assert!(crashed >= CALLS_MIN, "only {crashed} places to die at");
}

#[test]
fn a_process_that_dies_before_any_call_of_the_flow_loses_nothing() {
    let step = if Environment::of_process().get(WIDER).is_some() { 1 } else { 2 };
    let crashed = sweep("EDOBRIDGE_TEST_CRASH_AFTER_COMMITTED", step);
    assert!(crashed >= CALLS_MIN / step, "only {crashed} places to die at");
}
