//! Names and numbers of a document's statuses. Source: `ExternalNodeStatus` of the snapshot; the numbers are
//! positions, which an integrator's code confirms for 10 and 16.

use super::options::StatusForm;
use serde_json::{Value, json};

/// All names, in the snapshot's order: the position is the number.
pub(super) const NAMES: [&str; 18] = [
    "NONE",
    "DRAFT",
    "IN_PROCESS",
    "IN_PROCESS_BY_SENDER",
    "REJECTED_BY_SENDER_EMPLOYEE",
    "SENT_BY_SENDER",
    "RECALLED_BY_SENDER",
    "IN_NEW",
    "IN_PROCESS_BY_RECIPIENT",
    "REJECTED_BY_RECIPIENT_EMPLOYEE",
    "FINISHED",
    "REJECTED_BY_RECIPIENT",
    "REJECTED_BY_COMPANY",
    "WAITING_FOR_SENDER",
    "REJECTED_BY_SENDER",
    "REJECTED_BY_EMPLOYEE",
    "FINISHED_BY_COMPANY",
    "FINISHED_EDITABLE",
];

pub(super) const DRAFT: &str = "DRAFT";
pub(super) const SENT: &str = "SENT_BY_SENDER";
pub(super) const RECEIVED: &str = "IN_PROCESS_BY_RECIPIENT";
pub(super) const FINISHED: &str = "FINISHED";
pub(super) const REFUSED: &str = "REJECTED_BY_RECIPIENT";
pub(super) const REFUSED_BY_COMPANY: &str = "REJECTED_BY_COMPANY";
pub(super) const RECALLED: &str = "RECALLED_BY_SENDER";

/// Whether nothing follows by itself.
pub(super) fn is_final(status: &str) -> bool {
    status.starts_with(FINISHED) || status == RECALLED || is_refusal(status)
}

/// The two that happen inside one side are not: somebody else there may still decide.
pub(super) fn is_refusal(status: &str) -> bool {
    let inside = ["REJECTED_BY_SENDER_EMPLOYEE", "REJECTED_BY_RECIPIENT_EMPLOYEE"].contains(&status);
    status.starts_with("REJECTED_BY_") && !inside
}

/// A status inside an object.
pub(super) fn written(status: &str, form: StatusForm) -> Value {
    match form {
        StatusForm::Name | StatusForm::BareNumber => json!(status),
        StatusForm::Number => number(status),
    }
}

/// The whole answer of the status call.
pub(super) fn answer(status: &str, form: StatusForm) -> Value {
    match form {
        StatusForm::BareNumber => number(status),
        StatusForm::Name | StatusForm::Number => json!({"documentStatus": written(status, form)}),
    }
}

/// A status that has no number keeps its name.
fn number(status: &str) -> Value {
    NAMES.iter().position(|name| *name == status).map_or_else(|| json!(status), |n| json!(n))
}
