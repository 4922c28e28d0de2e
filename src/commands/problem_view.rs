//! A configuration that a verb needs, and how the problems of one are told.

use super::Context;
use super::console::{Console, Style};
use super::exit::ExitStatus;
use super::format::Format;
use crate::config::{Config, Loaded, Problem, Severity};
use crate::domain::Text;
use serde::Serialize;
use serde_json::{Value, json};

/// The configuration as far as it can be read here (secrets may be readable by the service only), and the console
/// in its language, masking its secrets. Problems are printed.
///
/// # Errors
/// The status to end with.
pub fn load(context: &Context, console: Console) -> Result<(Loaded, Console), ExitStatus> {
    match Config::check(context.config_path.as_deref(), &context.env) {
        Ok(loaded) => {
            let console = console.in_language(loaded.config.language.into());
            loaded.config.secrets().into_iter().for_each(|secret| console.redactor().register(secret));
            Ok((loaded, console))
        }
        Err(errors) => {
            match console.format() {
                Format::Json => console.json(&as_json(&errors.problems, ExitStatus::Misuse)),
                Format::People => {
                    errors.problems.iter().for_each(|problem| console.note(line(problem, &console)));
                }
            }
            Err(ExitStatus::Misuse)
        }
    }
}

/// One line for a person: how bad, where, which key, what to do.
pub fn line(problem: &Problem, console: &Console) -> String {
    let word = console.word(&problem.severity.word()).to_owned();
    format!("{}: {}", console.paint(style(problem.severity), &word), problem.line(console.language()))
}

/// The same for programs.
pub fn as_json(problems: &[Problem], status: ExitStatus) -> Value {
    let problems: Vec<_> = problems.iter().map(ProblemView::from).collect();
    json!({ "fine": status == ExitStatus::Fine, "problems": problems })
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Error => Style::Bad,
        Severity::Warning => Style::Warning,
        Severity::Skipped => Style::Faint,
    }
}

/// A problem of the configuration, for programs.
#[derive(Debug, Clone, Serialize)]
struct ProblemView {
    /// `error`, `warning` or `skipped`.
    severity: &'static str,
    /// The key, as `portals[0].webhook_url`; empty if the whole file is meant.
    key: String,
    /// Where the key stands: `FILE:LINE`, `env NAME` or `default`.
    origin: String,
    /// What is wrong and what to do.
    text: Text,
}

impl From<&Problem> for ProblemView {
    fn from(problem: &Problem) -> Self {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Skipped => "skipped",
        };
        let (key, text) = (problem.key.clone(), problem.text.clone());
        Self { severity, key, origin: problem.origin.to_string(), text }
    }
}
