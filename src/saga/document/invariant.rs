//! What must be true of every record: checked before each commit, and over the whole store by `doctor`.

use super::state::{DocumentSaga, Outcome, RobotOrder, Step, TimerKind, Work};

/// A broken rule of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// Id of the invariant, see [`crate::saga`].
    pub id: &'static str,
    /// What is wrong.
    pub what: &'static str,
}

/// All broken rules of `saga`; empty = sound.
pub fn check(saga: &DocumentSaga) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut rule = |holds: bool, id: &'static str, what: &'static str| {
        if !holds {
            found.push(Violation { id, what });
        }
    };
    rule(saga.step.is_live() == saga.timer.is_some(), "SG-1", "a timer if and only if the saga is live");
    let in_flight = matches!(saga.work, Work::InFlight { .. });
    let lease = saga.timer.is_some_and(|t| t.kind == TimerKind::Lease);
    rule(in_flight == lease, "SG-2", "a lease if and only if an effect is under way");
    rule(
        saga.dead_letter.is_some() == (saga.step == Step::Parked),
        "SG-6",
        "a dead letter if and only if the saga is parked",
    );
    rule(
        saga.dead_letter.as_ref().is_none_or(|d| !d.reason.ru.is_empty() && !d.next_action.ru.is_empty()),
        "SG-6",
        "a dead letter has a reason and a next action",
    );
    rule(
        saga.step != Step::Delivered || (saga.outcome == Outcome::Signed && is_in_portal(saga)),
        "SG-4",
        "a delivered document is signed and lies in the portal",
    );
    rule(
        saga.step != Step::Refused || saga.outcome == Outcome::Refused,
        "SG-4",
        "a refused document was refused",
    );
    rule(
        !saga.step.is_finished() || !saga.robots.iter().any(RobotOrder::is_pending),
        "SG-7",
        "no workflow waits for a finished document",
    );
    rule(
        saga.ending.as_ref().is_none_or(|ending| ending.step.is_finished()),
        "SG-7",
        "an ending is a finished step",
    );
    let answers = saga.step == Step::AnswerRobot
        || saga.dead_letter.as_ref().is_some_and(|d| d.from == Step::AnswerRobot);
    rule(
        answers == saga.ending.is_some(),
        "SG-7",
        "an ending is known if and only if a workflow is answered",
    );
    if let Work::InFlight { token, .. } = saga.work {
        rule(token.0 == saga.last_token, "SG-3", "the attempt under way is the last one");
    }
    found
}

/// Whether the signed file is anywhere in the portal.
fn is_in_portal(saga: &DocumentSaga) -> bool {
    saga.delivered.is_some() || saga.field_file.is_some() || saga.comment_id.is_some()
}
