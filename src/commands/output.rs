//! How a command talks: tables and sentences for people, JSON for programs; the same content either way.

use super::ExitStatus;
use super::console::write_line;
use super::format::Format;
use super::running_service::ClientError;
use super::table::harmless;
use crate::domain::{Language, Text};
use jiff::tz::TimeZone;
use serde::Serialize;
use std::io;

/// Where the words go.
#[derive(Debug, Clone)]
pub struct Output {
    /// For whom.
    pub format: Format,
    /// In which language.
    pub language: Language,
    /// In which zone times are shown to people; JSON has UTC.
    pub zone: TimeZone,
}

impl Output {
    /// Prints `value` as JSON, or what `people` makes of it.
    pub fn show<T: Serialize>(&self, value: &T, people: impl FnOnce() -> String) {
        let text = match self.format {
            Format::People => people(),
            Format::Json => json(value),
        };
        write_line(&mut io::stdout().lock(), &text);
    }

    /// A sentence beside the result: for people only.
    pub fn remark(&self, text: &Text) {
        match self.format {
            Format::People => write_line(&mut io::stderr().lock(), &harmless(self.words(text))),
            Format::Json => {}
        }
    }

    /// Says what went wrong.
    pub fn fail(&self, error: &ClientError) -> ExitStatus {
        let text = match self.format {
            Format::People => harmless(self.words(&error.text())),
            Format::Json => json(&error.body()),
        };
        write_line(&mut io::stderr().lock(), &text);
        error.exit_status()
    }

    /// Says what the caller has to do differently.
    pub fn misuse(&self, text: &Text) -> ExitStatus {
        let code = "misuse".to_owned();
        let words = match self.format {
            Format::People => harmless(self.words(text)),
            Format::Json => json(&crate::http::error::ErrorBody { code, message: text.clone() }),
        };
        write_line(&mut io::stderr().lock(), &words);
        ExitStatus::Misuse
    }

    /// The text in the reader's language.
    pub fn words<'t>(&self, text: &'t Text) -> &'t str {
        text.get(self.language)
    }

    /// The literal in the reader's language.
    pub fn word(&self, ru: &'static str, en: &'static str) -> &'static str {
        match self.language {
            Language::Ru => ru,
            Language::En => en,
        }
    }

    /// A moment of the API, in the reader's zone: `2026-02-03 07:05:06`.
    pub fn moment(&self, rfc3339: &str) -> String {
        rfc3339.parse::<jiff::Timestamp>().map_or_else(
            |_| rfc3339.to_owned(),
            |moment| moment.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        )
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"code\":\"{error}\"}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_the_readers_zone() {
        let zone = TimeZone::get("Asia/Almaty").unwrap();
        let output = Output { format: Format::People, language: Language::Ru, zone };
        assert_eq!(output.moment("2026-02-03T04:05:06.789Z"), "2026-02-03 09:05:06");
        assert_eq!(output.moment("?"), "?");
    }
}
