//! What is wrong with a configuration, where it stands, and what to do about it.
//!
//! Every problem names its place (file and line, environment variable, or the built-in default) and is a
//! sentence with the remedy in Russian and in English. A problem never quotes the value of a secret.

use crate::domain::{Language, Text};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Parts the two languages of a message that has to travel through a serde error.
const LANGUAGE_SEPARATOR: char = '\u{1f}';

/// Packs both languages into one text for `serde::de::Error::custom`; [`unpack`] takes them apart again.
pub(super) fn bilingual(ru: &str, en: &str) -> String {
    format!("{en}{LANGUAGE_SEPARATOR}{ru}")
}

/// The two languages of a message packed by [`bilingual`], if it was.
pub(super) fn unpack(message: &str) -> Option<Text> {
    message.split_once(LANGUAGE_SEPARATOR).map(|(en, ru)| Text::new(ru, en))
}

/// Where the value of one key came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built into the binary (`default.toml`).
    Default,
    /// A line of the configuration file, counted from 1.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line where the key stands.
        line: usize,
    },
    /// An environment variable.
    Env {
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env { name } => write!(f, "env {name}"),
        }
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The service does not start with it.
    Error,
    /// It works, but somebody should look.
    Warning,
    /// Something could not be checked here, such as a secret that only the service can read.
    Skipped,
}

impl Severity {
    /// The word for people.
    pub fn word(self) -> Text {
        match self {
            Self::Error => Text::new("ошибка", "error"),
            Self::Warning => Text::new("предупреждение", "warning"),
            Self::Skipped => Text::new("не проверено", "not checked"),
        }
    }
}

/// One thing that is wrong, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The key, as `portals[0].webhook_url`; empty if the whole file is meant.
    pub key: String,
    /// Where the key stands; for an absent key, where its section begins.
    pub origin: Origin,
    /// What is wrong and what to do.
    pub text: Text,
}

impl Problem {
    /// One line for a person: place, key, sentence.
    pub fn line(&self, language: Language) -> String {
        let key = if self.key.is_empty() { String::new() } else { format!(" {}:", self.key) };
        format!("{}:{key} {}", self.origin, self.text.get(language))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(Language::En))
    }
}

/// Everything that keeps a configuration from being used. Never empty, errors first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} problem(s): {}", .problems.len(), summary(.problems))]
pub struct ConfigErrors {
    /// All that was found: errors, and the warnings beside them.
    pub problems: Vec<Problem>,
}

/// How many problems the one-line `Display` of [`ConfigErrors`] spells out.
const SUMMARY_PROBLEMS_MAX: usize = 5;

fn summary(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().take(SUMMARY_PROBLEMS_MAX).map(Problem::to_string).collect();
    lines.join("; ")
}
