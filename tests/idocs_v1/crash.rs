//! The real binary, killed after every effect and after some commits (all of them with `EDOBRIDGE_TEST_IDOCS`) of a document
//! that goes through V1, and started again. The people go on with what they had.
//!
//! A process that dies between the sending and its answer leaves an unknown outcome: then, and only then, a person is asked.

use super::faults::{AT_ONCE, WIDER};
use super::people::{Old, options};
use super::support::{Binary, DEAL};
use edobridge::config::Environment;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// More crash points than one document has.
const POINTS_MAX: u32 = 100;
/// How long a run may take until it crashes or ends: far above what a loaded machine needs.
const RUN_MAX: Duration = Duration::from_secs(120);
/// What is still written after the world has seen all.
const QUIET: Duration = Duration::from_millis(700);
/// The calls that one document makes, at the least: fewer crashes would prove too little.
const CALLS_MIN: u32 = 14;

/// What a run of the binary came to.
#[derive(Debug, PartialEq, Eq)]
enum Run {
    Crashed { asked: usize },
    Ended,
}

/// What a sweep has seen.
#[derive(Debug, Default)]
struct Seen {
    crashed: u32,
    /// In how many of them a person was asked whether it was sent.
    asked: u32,
}

/// Every `step`-th passage of the point named by the variable, until a run has no more of them.
fn sweep(variable: &str, step: u32) -> Seen {
    let (next, over) = (AtomicU32::new(0), AtomicBool::new(false));
    let (seen, problems) = (Mutex::new(Seen::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let n = next.fetch_add(1, Ordering::SeqCst) * step + 1;
                    let problem = match catch_unwind(AssertUnwindSafe(|| one(variable, n))) {
                        Ok(Ok(Run::Crashed { asked })) if n < POINTS_MAX => {
                            let mut seen = seen.lock().expect("unbroken");
                            seen.crashed += 1;
                            seen.asked += u32::from(asked > 0);
                            continue;
                        }
                        Ok(Ok(Run::Ended)) => return over.store(true, Ordering::SeqCst),
                        Ok(Ok(Run::Crashed { .. })) => "no run ends".to_owned(),
                        Ok(Err(problem)) => problem,
                        Err(_) => "see above".to_owned(),
                    };
                    problems.lock().expect("unbroken").push(format!("{variable}={n}: {problem}"));
                    over.store(true, Ordering::SeqCst);
                }
            });
        }
    });
    let problems = problems.into_inner().expect("unbroken");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    seen.into_inner().expect("unbroken")
}

fn one(variable: &str, n: u32) -> Result<Run, String> {
    let mut old = Old::stopped(options(), "");
    let mut binary = Binary::spawn(&old.play.stage, &[(variable, n.to_string())]);
    binary.wait_ready(old.play.stage.operator);
    old.put_number(n);
    let crashed = until_over(&mut old, &mut binary);
    let log = binary.log_tail();
    binary.kill();
    let told = |problem: String| format!("{problem}\nlog of the first run:\n{log}");
    let crashed = crashed.map_err(told)?;
    old.start();
    old.run_to_the_end();
    old.judge().map_err(told)?;
    let signed = old.play.stage.world.notices(old.play.director);
    let ends = signed.iter().filter(|notice| notice.text.contains("подписан.")).count();
    if ends != 1 {
        return Err(told(format!("{ends} notices of the end")));
    }
    if old.letters.iter().any(|letter| letter != "create_unknown") || old.letters.len() > 1 {
        return Err(told(format!("a person was asked {:?}", old.letters)));
    }
    match (crashed, old.letters.len()) {
        (true, asked) => Ok(Run::Crashed { asked }),
        (false, 0) => Ok(Run::Ended),
        (false, _) => Err(told("a person was asked although nothing crashed".to_owned())),
    }
}

/// Whether it crashed, or else came to its end.
fn until_over(old: &mut Old, binary: &mut Binary) -> Result<bool, String> {
    let until = Instant::now() + RUN_MAX;
    let (mut ended, mut signed_by): (Option<Instant>, Option<String>) = (None, None);
    loop {
        if let Ok(Some(status)) = binary.child.try_wait() {
            return died(status);
        }
        if let Some(link) = old.play.link().filter(|link| signed_by.as_ref() != Some(link))
            && old.sign_at(&link)
        {
            signed_by = Some(link);
        }
        old.play.counterparty_signs();
        if ended.is_none() && has_ended(old) {
            ended = Some(Instant::now());
        }
        if ended.is_some_and(|ended| ended.elapsed() > QUIET) {
            return Ok(false);
        }
        if Instant::now() > until {
            return Err("the run neither crashed nor ended".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn died(status: std::process::ExitStatus) -> Result<bool, String> {
    use std::os::unix::process::ExitStatusExt as _;
    /// The signal of `abort`.
    const SIGABRT: i32 = 6;
    if status.signal() == Some(SIGABRT) { Ok(true) } else { Err(format!("it ended with {status}")) }
}

/// As far as the world can see: the files, the last comment, the last notice.
fn has_ended(old: &Old) -> bool {
    let world = &old.play.stage.world;
    old.judge().is_ok()
        && world.comments(DEAL).iter().any(|comment| comment.text.contains("edobridge:"))
        && world.notices(old.play.director).iter().any(|notice| notice.text.contains("подписан."))
}

#[test]
fn a_process_that_dies_after_any_call_sends_nothing_twice_and_asks_about_the_sending_alone() {
    let seen = sweep("EDOBRIDGE_TEST_CRASH_AFTER_EFFECTS", 1);
    assert!(seen.crashed >= CALLS_MIN, "only {} places to die at", seen.crashed);
    // The control: the one place where nobody can know it was met, and a person was asked there.
    assert_eq!(seen.asked, 1, "{seen:?}");
}

#[test]
fn a_process_that_dies_before_any_call_loses_nothing() {
    let step = if Environment::of_process().get(WIDER).is_some() { 1 } else { 4 };
    let seen = sweep("EDOBRIDGE_TEST_CRASH_AFTER_COMMITTED", step);
    assert!(seen.crashed >= CALLS_MIN / step, "only {} places to die at", seen.crashed);
    // The order to send may be on disk and nothing sent: that cannot be told from the other case.
    assert!(seen.asked <= 1, "{seen:?}");
}
