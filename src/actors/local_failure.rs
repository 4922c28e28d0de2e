//! Failures whose cause is here: no remote was asked, or none is to blame.

use crate::domain::{Failure, FailureClass, FailureKind, Text};

/// A failure of ours, with its code and its words.
pub(super) fn local(class: FailureClass, code: &str, ru: &str, en: &str) -> Failure {
    Failure::new(class, FailureKind::Local, code, Text::new(ru, en))
}

/// The process ends: no attempt is counted, the next start goes on.
pub(super) fn stopping() -> Failure {
    local(FailureClass::Throttled, "stopping", "edobridge останавливается.", "edobridge is stopping.")
}
