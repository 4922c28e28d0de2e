//! The real binary, killed after every single commit, effect and accepted notice; then started again.

use super::flow::{Flow, Goal};
use super::play::{Ending, Play, SkippingClock, ledger_text};
use super::support::{Binary, InProcess, Stage};
use edobridge::saga::document::Outcome;
use edobridge::sandbox::{WorkflowState, WorkflowView};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More crash points than any flow of one document can have.
const POINTS_MAX: u32 = 80;
/// How long a run may take until it crashes or ends.
const RUN_MAX: Duration = Duration::from_secs(60);
/// Nothing happens any more when nothing was asked of the world for so long.
const QUIET: Duration = Duration::from_millis(600);
/// The signal of `abort`.
const SIGABRT: i32 = 6;

/// A place where the process can be made to die, as its variable.
pub const POINTS: [(&str, &str); 3] = [
    ("accepted", "EDOBRIDGE_TEST_CRASH_AFTER_ACCEPTED"),
    ("committed", "EDOBRIDGE_TEST_CRASH_AFTER_COMMITTED"),
    ("effect", "EDOBRIDGE_TEST_CRASH_AFTER_EFFECTS"),
];

/// What a run of the binary came to.
#[derive(Debug, PartialEq, Eq)]
enum Run {
    Crashed,
    Ended,
}

/// Kills the binary after the first, second, … passage of a point, until a run has no more of them. Returns how many
/// runs crashed, and what went wrong.
pub fn sweep(flow: &Flow, variable: &str, ending: &Ending) -> (u32, Vec<String>) {
    let mut problems = Vec::new();
    for n in 1..=POINTS_MAX {
        let stage = flow.stage(&[]);
        for fault in &flow.base {
            stage.world.add_fault(fault.clone()).expect("a flow has few faults");
        }
        match one(flow, &stage, (variable, n), ending) {
            Ok(Run::Crashed) => {}
            Ok(Run::Ended) => return (n - 1, problems),
            Err(problem) => problems.push(format!("{variable}={n}: {problem}")),
        }
        if problems.len() > 3 {
            return (n, problems);
        }
    }
    problems.push(format!("{variable}: no run ended within {POINTS_MAX} crashes"));
    (POINTS_MAX, problems)
}

fn one(flow: &Flow, stage: &Stage, point: (&str, u32), ending: &Ending) -> Result<Run, String> {
    let mut binary = Binary::spawn(stage, &[(point.0, point.1.to_string())]);
    binary.wait_ready(stage.operator);
    flow.prepare(stage)?;
    let sources = flow.begin(stage);
    let run = until_over(flow, stage, &mut binary);
    let log = binary.log_tail();
    binary.kill();
    let run = run.map_err(|problem| format!("{problem}\n{}\nlog:\n{log}", ledger_text(&stage.world)))?;
    let clock = Arc::new(SkippingClock::default());
    let service = InProcess::start_at(stage, clock.clone());
    let mut play = Play::new(flow, stage, service, clock);
    play.sources = sources;
    let ended = play.finish(ending);
    ended
        .map(|()| run)
        .map_err(|problem| format!("{problem}\n{}\nlog of the first run:\n{log}", play.report()))
}

fn until_over(flow: &Flow, stage: &Stage, binary: &mut Binary) -> Result<Run, String> {
    let until = Instant::now() + RUN_MAX;
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        if let Ok(Some(status)) = binary.child.try_wait() {
            return died(status);
        }
        let entries = stage.world.ledger().len();
        if entries != seen {
            (seen, since) = (entries, Instant::now());
        }
        if has_ended(flow, stage) && since.elapsed() > QUIET {
            return Ok(Run::Ended);
        }
        if Instant::now() > until {
            return Err("the run neither crashed nor ended".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn died(status: ExitStatus) -> Result<Run, String> {
    use std::os::unix::process::ExitStatusExt;
    if status.signal() == Some(SIGABRT) { Ok(Run::Crashed) } else { Err(format!("it ended with {status}")) }
}

/// As far as the world can see.
fn has_ended(flow: &Flow, stage: &Stage) -> bool {
    let in_folder = flow.outcome != Outcome::Refused && flow.goal == Goal::Folder;
    let copies = if in_folder { flow.documents } else { 0 };
    let waits = |workflow: &WorkflowView| workflow.state == WorkflowState::Waiting;
    stage.world.notices(stage.user).len() == flow.documents
        && stage.signed_copies().len() == copies
        && !stage.world.workflows().iter().any(waits)
}
