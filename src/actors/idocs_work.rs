//! The orders about our own signature: to iDocs, and to the signer by a notice with the link. A part of the runner: it
//! translates and decides nothing about a document.

use super::effect_runner::{EffectRunner, Order, local};
use crate::domain::{Failure, FailureClass};
use crate::saga::document::{Answer, OwnEffect};

impl EffectRunner {
    pub(super) async fn own_signature(&self, _order: &Order, _effect: &OwnEffect) -> Result<Answer, Failure> {
        Err(local(
            FailureClass::Permanent,
            "idocs_off",
            "Раздела [idocs] в конфигурации нет.",
            "There is no [idocs] section in the configuration.",
        ))
    }
}
