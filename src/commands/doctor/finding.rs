//! What a check says: one line with its verdict, its subject and the remedy.

use crate::domain::{Failure, FailureClass, Text};
use serde::Serialize;
use std::cell::RefCell;
use std::rc::Rc;

/// How a check ended, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is as it should be.
    Ok,
    /// It could not be looked at; the line says how to do that.
    Skipped,
    /// It works, but somebody should look.
    Warning,
    /// It does not work.
    Problem,
}

impl Verdict {
    /// How bad a failed question is: a limit that was hit says nothing about the set-up.
    pub fn of_failure(failure: &Failure) -> Self {
        match failure.class {
            FailureClass::Throttled => Self::Warning,
            FailureClass::Transient
            | FailureClass::Auth
            | FailureClass::Permanent
            | FailureClass::Ambiguous => Self::Problem,
        }
    }

    /// The word for people.
    pub fn word(self) -> Text {
        match self {
            Self::Ok => Text::new("ок", "ok"),
            Self::Skipped => Text::new("не проверено", "not checked"),
            Self::Warning => Text::new("внимание", "warning"),
            Self::Problem => Text::new("проблема", "problem"),
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it ended.
    pub verdict: Verdict,
    /// Stable name of the check.
    pub check: &'static str,
    /// What was found, as a sentence.
    pub text: Text,
    /// What to do, or what else to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Text>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, ru: impl Into<String>, en: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, check, text: Text::new(ru, en), fix: None }
    }
    /// Not looked at.
    pub fn skipped(check: &'static str, ru: impl Into<String>, en: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, ..Self::ok(check, ru, en) }
    }
    /// Somebody should look.
    pub fn warning(check: &'static str, ru: impl Into<String>, en: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, ..Self::ok(check, ru, en) }
    }
    /// It does not work.
    pub fn problem(check: &'static str, ru: impl Into<String>, en: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem, ..Self::ok(check, ru, en) }
    }
    /// The line for a secret that only the service can read.
    pub fn unread_secret(check: &'static str) -> Self {
        Self::skipped(check, "Секрет здесь не читается, проверить нельзя.", "The secret cannot be read here, so this was not checked.")
            .fix(
                "Пока служба работает: sudo -u edobridge CREDENTIALS_DIRECTORY=/run/credentials/edobridge.service edobridge doctor",
                "While the service runs: sudo -u edobridge CREDENTIALS_DIRECTORY=/run/credentials/edobridge.service edobridge doctor",
            )
    }
    /// With what is known already in both languages.
    pub fn of(verdict: Verdict, check: &'static str, text: Text) -> Self {
        Self { verdict, check, text, fix: None }
    }
    /// With the remedy.
    #[must_use]
    pub fn fix(mut self, ru: impl Into<String>, en: impl Into<String>) -> Self {
        self.fix = Some(Text::new(ru, en));
        self
    }
    /// With the reason of a failed call after the statement; its own remedy is part of that reason.
    #[must_use]
    pub fn because(mut self, failure: &Failure) -> Self {
        self.text.ru = format!("{} {} [{}]", self.text.ru, failure.reason.ru, failure.code);
        self.text.en = format!("{} {} [{}]", self.text.en, failure.reason.en, failure.code);
        self
    }
}

/// Where checks of one section write their lines as they go, so that a check that runs out of time has not worked in
/// vain.
#[derive(Debug, Clone, Default)]
pub struct Notebook(Rc<RefCell<Vec<Finding>>>);

impl Notebook {
    /// Writes one line.
    pub fn add(&self, finding: Finding) {
        self.0.borrow_mut().push(finding);
    }
    /// Writes some lines.
    pub fn extend(&self, findings: impl IntoIterator<Item = Finding>) {
        self.0.borrow_mut().extend(findings);
    }
    /// What was written so far.
    pub fn findings(&self) -> Vec<Finding> {
        self.0.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FailureClass, FailureKind};

    #[test]
    fn verdicts_are_ordered_by_how_bad_they_are() {
        assert!(Verdict::Ok < Verdict::Skipped && Verdict::Skipped < Verdict::Warning);
        assert!(Verdict::Warning < Verdict::Problem);
    }

    #[test]
    fn a_failed_call_is_told_with_its_reason_and_code_but_not_with_its_answer() {
        let reason = Text::new("Нет прав.", "No rights.");
        let failure = Failure::new(FailureClass::Permanent, FailureKind::Refused, "access_denied", reason)
            .answer("raw answer");
        let finding = Finding::problem("x", "Не вышло.", "Failed.").because(&failure);
        assert_eq!(finding.text.en, "Failed. No rights. [access_denied]");
        assert!(!serde_json::to_string(&finding).unwrap().contains("raw answer"));
    }
}
