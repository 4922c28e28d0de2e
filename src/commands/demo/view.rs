//! What the person watches: on a terminal a line per document that moves, elsewhere a line per change.
//!
//! Knows no timing and asks nobody; it is told. Invariant: nothing of it goes to standard output, which belongs to
//! the result.

use super::scenario::{Planned, Trouble};
use super::watch::{Detail, Line};
use crate::domain::{Language, Text};
use crate::saga::document::Step;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

/// Stages of a document's way: noticed and fetched, created, waited for, signed copy fetched, uploaded, commented,
/// announced, over.
const STAGES: u64 = 8;
/// Pause between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(120);

/// How the progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewKind {
    /// Moving lines on a terminal.
    Moving,
    /// Plain lines, for a file or a pipe.
    Plain,
}

impl ViewKind {
    /// Moving if there is somebody to watch.
    pub fn fitting() -> Self {
        if io::stderr().is_terminal() { Self::Moving } else { Self::Plain }
    }
}

/// Where a document stands, for the eye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    stage: u64,
    mood: Mood,
    text: Text,
    /// What failed last, while it is being tried again.
    hitch: Option<Text>,
    /// Until the next attempt.
    pause: Option<Duration>,
}

/// The colour of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Queued,
    Working,
    Waiting,
    Troubled,
    Signed,
    Refused,
    Stopped,
}

impl Standing {
    /// Of a document that edobridge has not noticed yet, or that is described by a line of its admin API.
    pub fn of(line: Option<&Line>) -> Self {
        let Some(line) = line else {
            let text = Text::new("лежит в портале, ещё не замечен", "lies in the portal, not noticed yet");
            return Self::queued(text);
        };
        let (stage, mood) = line.step().map_or((0, Mood::Working), place);
        let text = if mood == Mood::Stopped { line.why.clone() } else { line.step_text.clone() };
        let Detail { hitch, pause } = line.detail.clone();
        let mood = if hitch.is_some() && mood == Mood::Working { Mood::Troubled } else { mood };
        Self { stage, mood, text, hitch, pause }
    }

    fn queued(text: Text) -> Self {
        Self { stage: 0, mood: Mood::Queued, text, hitch: None, pause: None }
    }

    /// Of a document that has not entered yet.
    pub fn not_entered() -> Self {
        let text = Text::new("ждёт своего выхода", "waits for its entrance");
        Self::queued(text)
    }

    /// The same while edobridge is dead: it may be known, but nobody works on it.
    #[must_use]
    pub fn while_dead(self) -> Self {
        match self.mood {
            Mood::Signed | Mood::Refused | Mood::Stopped => self,
            Mood::Queued | Mood::Working | Mood::Waiting | Mood::Troubled => {
                let text = Text::new(
                    format!("{} — edobridge не работает", self.text.ru),
                    format!("{} - edobridge is dead", self.text.en),
                );
                Self { mood: Mood::Troubled, text, hitch: None, pause: None, ..self }
            }
        }
    }

    /// Whether a person would call it the same: a pause that shrinks is no news.
    fn is_same(&self, other: &Self) -> bool {
        Self { pause: None, ..self.clone() } == Self { pause: None, ..other.clone() }
    }

    /// Step, pause and what failed, in one line.
    fn words(&self, language: Language) -> String {
        let mut words = self.text.get(language).to_owned();
        if let Some(pause) = self.pause {
            let (ru, en) = ("снова через", "again in");
            let again = Text::new(ru, en);
            words.push_str(&format!(", {} {:.1} s", again.get(language), pause.as_secs_f64()));
        }
        if let Some(hitch) = &self.hitch {
            words.push_str(&format!(" ({})", hitch.get(language)));
        }
        words
    }

    fn is_over(&self) -> bool {
        match self.mood {
            Mood::Signed | Mood::Refused | Mood::Stopped => true,
            Mood::Queued | Mood::Working | Mood::Waiting | Mood::Troubled => false,
        }
    }
}

fn place(step: Step) -> (u64, Mood) {
    match step {
        Step::ReadItem | Step::FetchSource | Step::AwaitPdf => (1, Mood::Working),
        Step::Create
        | Step::UploadBlob
        | Step::CreateDraft
        | Step::SetRoute
        | Step::PrepareContent
        | Step::TellSigner
        | Step::SendSignature
        | Step::SaveSignature
        | Step::SendSigned
        | Step::AwaitProcess => (2, Mood::Working),
        Step::FindDocument | Step::FindDraft | Step::FindRoute | Step::FindSave | Step::FindSent => {
            (2, Mood::Troubled)
        }
        Step::AwaitSignature | Step::AwaitSigner => (3, Mood::Waiting),
        Step::FetchSigned | Step::FetchArchive => (4, Mood::Working),
        Step::ScanFolder | Step::Upload | Step::ScanField | Step::AttachField => (5, Mood::Working),
        Step::FindUpload | Step::FindFieldFile => (5, Mood::Troubled),
        Step::Comment | Step::MoveStage => (6, Mood::Working),
        Step::FindComment => (6, Mood::Troubled),
        Step::Notify | Step::AnswerRobot => (7, Mood::Working),
        Step::Delivered => (STAGES, Mood::Signed),
        Step::Refused => (STAGES, Mood::Refused),
        Step::Ignored | Step::Cancelled | Step::Parked => (STAGES, Mood::Stopped),
    }
}

/// The progress on the screen.
pub struct View {
    language: Language,
    rows: Vec<Row>,
    screen: Screen,
}

struct Row {
    name: String,
    trouble: String,
    shown: Option<Standing>,
}

enum Screen {
    Moving { multi: MultiProgress, bars: Vec<ProgressBar> },
    Plain,
}

impl View {
    /// A line for each of the documents.
    pub fn new(kind: ViewKind, language: Language, documents: &[Planned]) -> Self {
        let row = |planned: &Planned| Row {
            name: planned.name.clone(),
            trouble: match planned.trouble {
                Trouble::Nothing => String::new(),
                trouble => format!(" · {}", trouble.words().get(language)),
            },
            shown: None,
        };
        let rows: Vec<Row> = documents.iter().map(row).collect();
        let screen = match kind {
            ViewKind::Plain => Screen::Plain,
            ViewKind::Moving => moving(&rows),
        };
        Self { language, rows, screen }
    }

    /// Says something about the whole.
    pub fn tell(&self, at: Duration, text: &Text) {
        let line = format!("[{:5.1} s] {}", at.as_secs_f64(), text.get(self.language));
        match &self.screen {
            // A screen that is gone is no reason to stop.
            Screen::Moving { multi, .. } => drop(multi.println(line)),
            Screen::Plain => say(&line),
        }
    }

    /// Shows where a document stands, `at` after the beginning, `age` after its entrance.
    pub fn show(&mut self, index: usize, standing: Standing, at: Duration, age: Duration) {
        let Some(row) = self.rows.get_mut(index) else { return };
        let changed = !row.shown.as_ref().is_some_and(|shown| shown.is_same(&standing));
        let text = standing.words(self.language);
        match &self.screen {
            Screen::Plain if changed => say(&format!("[{:5.1} s] {}: {text}", at.as_secs_f64(), row.name)),
            Screen::Plain => {}
            Screen::Moving { bars, .. } => {
                if let Some(bar) = bars.get(index).filter(|bar| !bar.is_finished()) {
                    bar.set_position(standing.stage);
                    bar.set_message(format!("{:4.1} s  {text}{}", age.as_secs_f64(), row.trouble));
                    if changed {
                        bar.set_style(style(standing.mood));
                    }
                    if standing.is_over() {
                        bar.abandon();
                    }
                }
            }
        }
        row.shown = Some(standing);
    }

    /// Leaves the last picture on the screen.
    pub fn close(&self) {
        match &self.screen {
            Screen::Moving { bars, .. } => bars.iter().for_each(ProgressBar::abandon),
            Screen::Plain => {}
        }
    }
}

fn say(line: &str) {
    // Nobody listens on a closed standard error; the result still counts.
    drop(writeln!(io::stderr(), "{line}"));
}

fn moving(rows: &[Row]) -> Screen {
    let multi = MultiProgress::new();
    let bar = |row: &Row| {
        let bar = multi.add(ProgressBar::new(STAGES));
        bar.set_style(style(Mood::Queued));
        bar.set_prefix(row.name.clone());
        bar.enable_steady_tick(TICK);
        bar
    };
    let bars = rows.iter().map(bar).collect();
    Screen::Moving { multi, bars }
}

fn style(mood: Mood) -> ProgressStyle {
    let (mark, colour) = match mood {
        Mood::Queued => ("·", "black.bright"),
        Mood::Working => ("{spinner:.cyan}", "cyan"),
        Mood::Waiting => ("{spinner:.blue}", "blue"),
        Mood::Troubled => ("{spinner:.yellow}", "yellow"),
        Mood::Signed => ("✓", "green"),
        Mood::Refused => ("✗", "magenta"),
        Mood::Stopped => ("!", "red"),
    };
    let template = format!("{mark} {{prefix:30!}} {{bar:16.{colour}/black.bright}} {{wide_msg}}");
    ProgressStyle::with_template(&template)
        .expect("the template is made of fixed parts: a test makes all of them")
        .progress_chars("━━╌")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: Step) -> Line {
        Line {
            id: "1".into(),
            name: "a.pdf".into(),
            step: step.name().into(),
            step_text: Text::new("шаг", "step"),
            why: Text::new("почему", "why"),
            detail: Detail::default(),
        }
    }

    #[test]
    fn every_step_has_a_style_and_only_the_last_stage_is_over() {
        for step in Step::ALL {
            let standing = Standing::of(Some(&line(step)));
            drop(style(standing.mood));
            assert_eq!(standing.is_over(), !step.is_live(), "{step:?}");
            assert_eq!(standing.is_over(), standing.stage == STAGES, "{step:?}");
        }
        drop(style(Standing::of(None).mood));
    }

    #[test]
    fn a_stopped_document_says_why() {
        assert_eq!(Standing::of(Some(&line(Step::Parked))).text.en, "why");
        assert_eq!(Standing::of(Some(&line(Step::Create))).text.en, "step");
    }

    #[test]
    fn a_failure_is_news_and_a_shrinking_pause_is_not() {
        let mut line = line(Step::FetchSigned);
        let before = Standing::of(Some(&line));
        line.detail.hitch = Some(Text::new("неудач: 1", "failures: 1"));
        line.detail.pause = Some(Duration::from_millis(900));
        let failed = Standing::of(Some(&line));
        line.detail.pause = Some(Duration::from_millis(400));
        let later = Standing::of(Some(&line));
        assert!(!failed.is_same(&before) && failed.is_same(&later));
        assert_eq!(later.words(Language::En), "step, again in 0.4 s (failures: 1)");
    }

    #[test]
    fn death_is_told_of_documents_that_are_not_over() {
        let waiting = Standing::of(Some(&line(Step::AwaitSignature)));
        assert!(waiting.while_dead().text.en.contains("dead"));
        let done = Standing::of(Some(&line(Step::Delivered)));
        assert_eq!(done.clone().while_dead(), done);
    }
}
