//! Failures whose cause is here: no remote was asked, or none is to blame.

use crate::domain::{Failure, FailureClass, FailureKind, Text};

pub(super) fn local(class: FailureClass, code: &str, ru: &str, en: &str) -> Failure {
    Failure::new(class, FailureKind::Local, code, Text::new(ru, en))
}

pub(super) fn stopping() -> Failure {
    local(FailureClass::Throttled, "stopping", "edobridge останавливается.", "edobridge is stopping.")
}
