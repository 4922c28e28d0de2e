//! Whether the configuration can be used, and what it warns of.

use crate::commands::doctor::examination::Examination;
use crate::commands::doctor::finding::{Finding, Notebook, Verdict};
use crate::config::{ConfigErrors, Problem, Severity};
use crate::domain::{Language, Text};

/// What the section is called.
pub fn title() -> Text {
    Text::new("Конфигурация", "Configuration")
}

/// Writes what loading found.
pub async fn check(examination: &Examination, notes: Notebook) {
    let config = examination.config();
    let (portals, rules) = (config.portals.len(), config.rules.len());
    notes.add(Finding::ok(
        "config",
        format!("Конфигурация читается: порталов {portals}, правил {rules}."),
        format!("The configuration can be read: portals {portals}, rules {rules}."),
    ));
    notes.extend(examination.loaded.notes.iter().map(finding));
    if portals == 0 || rules == 0 {
        notes.add(
            Finding::warning(
                "rules",
                "Без порталов и правил подписывать нечего.",
                "Without portals and rules there is nothing to sign.",
            )
            .fix(
                "Начните с образца: edobridge config example > /etc/edobridge/edobridge.toml",
                "Start from the sample: edobridge config example > /etc/edobridge/edobridge.toml",
            ),
        );
    }
}

/// The lines for a configuration that cannot be used; nothing else can be checked then.
pub fn broken(errors: &ConfigErrors) -> Vec<Finding> {
    let mut findings: Vec<_> = errors.problems.iter().map(finding).collect();
    findings.push(Finding::skipped(
        "rest",
        "Остальное не проверено: сначала исправьте конфигурацию.",
        "The rest was not checked: mend the configuration first.",
    ));
    findings
}

fn finding(problem: &Problem) -> Finding {
    let verdict = match problem.severity {
        Severity::Error => Verdict::Problem,
        Severity::Warning => Verdict::Warning,
        Severity::Skipped => Verdict::Skipped,
    };
    let text = Text::new(problem.line(Language::Ru), problem.line(Language::En));
    Finding::of(verdict, "config", text)
}
