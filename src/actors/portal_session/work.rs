//! What waits in a session: a call with its askers, or a transfer.

use super::messages::{Pass, Transfer};
use crate::domain::Failure;
use crate::providers::bitrix24::Call;
use serde_json::Value;
use tokio::sync::oneshot;

/// What waits for its turn.
pub enum Work {
    /// A call; a read may have several askers.
    Call { call: Call, askers: Vec<Asker> },
    /// A transfer.
    Pass { transfer: Transfer, answer: oneshot::Sender<Result<Pass, Failure>> },
}

/// Where the answer of a call goes.
pub type Asker = oneshot::Sender<Result<Value, Failure>>;

impl Work {
    /// Under which name it is accounted, and blocked.
    pub fn method(&self) -> &str {
        match self {
            Self::Call { call, .. } => &call.method,
            Self::Pass { transfer, .. } => transfer.method(),
        }
    }

    /// Answers without having asked the portal.
    pub fn refuse(self, failure: &Failure) {
        // The asker may be gone; then nobody needs the answer.
        match self {
            Self::Call { askers, .. } => answer_all(askers, &Err(failure.clone())),
            Self::Pass { answer, .. } => drop(answer.send(Err(failure.clone()))),
        }
    }
}

/// Gives one answer to all who asked.
pub fn answer_all(askers: Vec<Asker>, result: &Result<Value, Failure>) {
    for asker in askers {
        drop(asker.send(result.clone()));
    }
}
