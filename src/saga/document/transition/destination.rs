//! Where a signed document goes: the folder of its copy, the stage of its item.

use super::super::state::{DocumentSaga, Outcome};
use super::{IllegalEvent, missing};

/// The folder for the signed copy.
pub(super) fn folder_of(saga: &DocumentSaga) -> Result<u64, IllegalEvent> {
    saga.delivery
        .folder_id
        .or_else(|| saga.file.as_ref().and_then(|f| f.folder_id))
        .ok_or_else(|| missing(saga, "a folder for the signed copy"))
}

/// The stage that the outcome asks for, if the rule names one.
pub(super) fn wanted_stage(saga: &DocumentSaga) -> Option<&str> {
    match saga.outcome {
        Outcome::Refused => saga.delivery.stage_on_refused.as_deref(),
        Outcome::Signed | Outcome::Open => saga.delivery.stage_on_signed.as_deref(),
    }
}

/// The stages that the item may be moved out of: where it stood when it was sent, and what the rule adds.
pub(super) fn may_leave(saga: &DocumentSaga) -> Vec<String> {
    let delivery = &saga.delivery;
    let mut stages = delivery.stages_from.clone();
    stages.extend(delivery.item_stage.clone().filter(|stage| !stages.contains(stage)));
    stages
}
