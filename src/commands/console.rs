//! How verbs speak: results on standard output, the way there on standard error.
//!
//! A result is for people (with colours and tables on a terminal) or for programs (one JSON value); a verb asks
//! [`Console::format`] once and prints one of the two. A reader that has gone away (`edobridge … | head`) is no error.
//! Nothing here decides what is said.
//!
//! Invariant: whatever is printed goes through the mask of registered secrets, as the log does.

use super::Context;
use super::format::Format;
use crate::config::Environment;
use crate::domain::{Language, Text};
use crate::telemetry::Redactor;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Whether results are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With ANSI sequences.
    On,
    /// Plain text.
    Off,
}

/// What a piece of text means; how that looks is this file's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A heading.
    Heading,
    /// All is well.
    Good,
    /// Somebody should look.
    Warning,
    /// Something is wrong.
    Bad,
    /// Less important.
    Faint,
}

/// Columns of a table where the width of the terminal is not told.
const COLUMNS_DEFAULT: u16 = 110;
/// Pause between two frames of a moving line.
const TICK: Duration = Duration::from_millis(120);

/// Where a verb speaks to.
#[derive(Debug, Clone)]
pub struct Console {
    format: Format,
    colour: Colour,
    language: Language,
    columns: u16,
    redactor: Redactor,
}

impl Console {
    /// A console on the process's own streams, as the command line and the variables ask for it.
    pub fn new(context: &Context) -> Self {
        Self::of_process(context.format, context.language, &context.env)
    }

    /// The same by its parts. Colours need a terminal, and no `NO_COLOR` (no-color.org).
    pub fn of_process(format: Format, language: Language, env: &Environment) -> Self {
        let colour = colour(env, io::stdout().is_terminal());
        let columns = env.get("COLUMNS").and_then(|text| text.parse().ok()).unwrap_or(COLUMNS_DEFAULT);
        Self { format, colour, language, columns, redactor: Redactor::new() }
    }

    /// The same in another language.
    #[must_use]
    pub fn in_language(mut self, language: Language) -> Self {
        self.language = language;
        self
    }

    /// Whom results are for.
    pub fn format(&self) -> Format {
        self.format
    }
    /// The reader's language.
    pub fn language(&self) -> Language {
        self.language
    }
    /// Whose secrets are masked; register more as they become known.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The statement in the reader's language.
    pub fn word<'t>(&self, text: &'t Text) -> &'t str {
        text.get(self.language)
    }

    /// Prints a line of the result.
    pub fn line(&self, text: impl AsRef<str>) {
        self.write(&mut io::stdout().lock(), text.as_ref());
    }

    /// Prints a statement of the result.
    pub fn say(&self, text: &Text) {
        self.line(self.word(text));
    }

    /// Prints the result as JSON.
    pub fn json(&self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.line(text),
            Err(error) => self.note(format!("edobridge: the result cannot be written as JSON: {error}")),
        }
    }

    /// Prints a remark beside the result, on standard error.
    pub fn note(&self, text: impl AsRef<str>) {
        self.write(&mut io::stderr().lock(), text.as_ref());
    }

    /// Prints why a verb did not do its work, on standard error; for programs in the shape of the admin API's errors.
    pub fn fail(&self, text: &Text) {
        match self.format {
            Format::People => self.note(format!("edobridge: {}", self.word(text))),
            Format::Json => self.note(serde_json::json!({ "code": "failed", "message": text }).to_string()),
        }
    }

    fn write(&self, out: &mut impl Write, text: &str) {
        let masked: Cow<'_, str> = self.redactor.mask(text);
        write_line(out, &masked);
    }

    /// The text in the colour of its meaning, if colours are on.
    pub fn paint(&self, style: Style, text: &str) -> String {
        let sequence = match style {
            Style::Heading => "1",
            Style::Good => "32",
            Style::Warning => "33",
            Style::Bad => "1;31",
            Style::Faint => "2",
        };
        match self.colour {
            Colour::On => format!("\x1b[{sequence}m{text}\x1b[0m"),
            Colour::Off => text.to_owned(),
        }
    }

    /// Rows under a header, wrapped to the terminal.
    pub fn table<R: IntoIterator<Item = String>>(
        &self,
        header: &[&str],
        rows: impl IntoIterator<Item = R>,
    ) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(self.columns);
        if !header.is_empty() {
            table.set_header(header.iter().copied());
        }
        for row in rows {
            table.add_row(row.into_iter().collect::<Vec<_>>());
        }
        let text = table.to_string();
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    /// A moving line with a message on standard error; nothing where that is no terminal, or for programs.
    pub fn spinner(&self, message: impl Into<Cow<'static, str>>) -> ProgressBar {
        let bar = self.bar(None, "{spinner} {msg} [{elapsed}]");
        bar.set_message(message);
        bar.enable_steady_tick(TICK);
        bar
    }

    /// A bar that counts to `total`, under the same condition.
    pub fn progress(&self, total: u64, message: impl Into<Cow<'static, str>>) -> ProgressBar {
        let bar = self.bar(Some(total), "{spinner} {pos}/{len} {msg}");
        bar.set_message(message);
        bar.enable_steady_tick(TICK);
        bar
    }

    fn bar(&self, total: Option<u64>, template: &str) -> ProgressBar {
        let shown = self.format == Format::People && io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(total, target);
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

/// Writes a line to a stream of the process.
pub(super) fn write_line(out: &mut impl Write, text: &str) {
    // a reader that closed the pipe has seen what it wanted; there is nobody left to tell about other errors
    let _gone = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
}

fn colour(env: &Environment, terminal: bool) -> Colour {
    let refused =
        env.get("NO_COLOR").is_some_and(|value| !value.is_empty()) || env.get("TERM") == Some("dumb");
    if terminal && !refused { Colour::On } else { Colour::Off }
}

/// A number of bytes as people read it: `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    bytesize::ByteSize::b(count).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn console() -> Console {
        Console::of_process(Format::People, Language::En, &Environment::of([("COLUMNS", "40")]))
    }

    #[test]
    fn colours_need_a_terminal_and_nobody_who_refuses_them() {
        let none: [(&str, &str); 0] = [];
        assert_eq!(colour(&Environment::of(none), true), Colour::On);
        assert_eq!(colour(&Environment::of(none), false), Colour::Off);
        assert_eq!(colour(&Environment::of([("NO_COLOR", "1")]), true), Colour::Off);
        assert_eq!(colour(&Environment::of([("NO_COLOR", "")]), true), Colour::On);
        assert_eq!(colour(&Environment::of([("TERM", "dumb")]), true), Colour::Off);
    }

    #[test]
    fn a_registered_secret_is_masked_in_whatever_is_printed() {
        let console = console();
        console.redactor().register(&Secret::new("https://p.example/rest/1/planted7secret/"));
        let mut out = Vec::new();
        console.write(&mut out, "calling https://p.example/rest/1/planted7secret/profile");
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("calling") && !text.contains("planted7secret"), "{text}");
    }

    #[test]
    fn a_table_keeps_to_the_width_of_the_terminal() {
        let long = "word ".repeat(30);
        let table = console().table(&["a", "b"], [vec!["one".to_owned(), long]]);
        assert!(table.lines().count() > 3, "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 40), "{table}");
    }

    #[test]
    fn without_colours_nothing_is_added_to_a_text() {
        let mut console = console();
        console.colour = Colour::Off;
        assert_eq!(console.paint(Style::Bad, "x"), "x");
        console.colour = Colour::On;
        assert_eq!(console.paint(Style::Bad, "x"), "\x1b[1;31mx\x1b[0m");
    }
}
