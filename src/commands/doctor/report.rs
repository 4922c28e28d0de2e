//! The report: sections of findings, for people and for programs.

use super::finding::{Finding, Verdict};
use crate::commands::console::{Console, Style};
use crate::commands::exit::ExitStatus;
use crate::commands::format::Format;
use crate::domain::Text;
use serde::Serialize;

/// The findings about one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    /// What it is about.
    pub title: Text,
    /// Its lines, in the order of the checks.
    pub findings: Vec<Finding>,
}

/// How many lines ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// As they should be.
    pub ok: usize,
    /// Not looked at.
    pub skipped: usize,
    /// To be looked at.
    pub warning: usize,
    /// Not working.
    pub problem: usize,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether there is no problem.
    pub fine: bool,
    /// How many lines ended how.
    pub tally: Tally,
    /// The sections, in the order of the go-live checklist.
    pub sections: Vec<Section>,
}

impl Report {
    /// A report of these sections; empty ones are left out.
    pub fn new(sections: Vec<Section>) -> Self {
        let mut tally = Tally::default();
        for finding in sections.iter().flat_map(|section| &section.findings) {
            match finding.verdict {
                Verdict::Ok => tally.ok += 1,
                Verdict::Skipped => tally.skipped += 1,
                Verdict::Warning => tally.warning += 1,
                Verdict::Problem => tally.problem += 1,
            }
        }
        let sections = sections.into_iter().filter(|section| !section.findings.is_empty()).collect();
        Self { fine: tally.problem == 0, tally, sections }
    }

    /// What the process ends with.
    pub fn status(&self) -> ExitStatus {
        if self.fine { ExitStatus::Fine } else { ExitStatus::ProblemFound }
    }

    /// Prints it.
    pub fn print(&self, console: &Console) {
        match console.format() {
            Format::Json => console.json(self),
            Format::People => {
                for section in &self.sections {
                    print_section(section, console);
                }
                console.line("");
                let style = if self.fine { Style::Good } else { Style::Bad };
                console.line(console.paint(style, console.word(&self.summary())));
            }
        }
    }

    fn summary(&self) -> Text {
        let Tally { ok, skipped, warning, problem } = self.tally;
        let counts = Text::new(
            format!("В порядке: {ok}, проблем: {problem}, внимание: {warning}, не проверено: {skipped}."),
            format!("Fine: {ok}, problems: {problem}, warnings: {warning}, not checked: {skipped}."),
        );
        let (ru, en) = match (problem, warning) {
            (0, 0) => ("Можно работать.", "Ready to work."),
            (0, _) => {
                ("Работать можно, но посмотрите предупреждения.", "Ready to work, but look at the warnings.")
            }
            (_, _) => ("Сначала исправьте проблемы.", "Mend the problems first."),
        };
        Text::new(format!("{} {ru}", counts.ru), format!("{} {en}", counts.en))
    }
}

fn print_section(section: &Section, console: &Console) {
    console.line(format!("\n{}", console.paint(Style::Heading, console.word(&section.title))));
    for finding in &section.findings {
        let word = format!("{:>12}", console.word(&finding.verdict.word()));
        let word = console.paint(style(finding.verdict), &word);
        console.line(format!("{word}  {}", console.word(&finding.text)));
        if let Some(fix) = &finding.fix {
            let fix = format!("{:>12}  → {}", "", console.word(fix));
            console.line(if finding.verdict == Verdict::Ok {
                console.paint(Style::Faint, &fix)
            } else {
                fix
            });
        }
    }
}

fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Ok => Style::Good,
        Verdict::Skipped => Style::Faint,
        Verdict::Warning => Style::Warning,
        Verdict::Problem => Style::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: Vec<Finding>) -> Report {
        Report::new(vec![
            Section { title: Text::new("а", "a"), findings },
            Section { title: Text::new("б", "b"), findings: Vec::new() },
        ])
    }

    #[test]
    fn only_a_problem_makes_the_process_end_with_one() {
        let warned = report(vec![
            Finding::ok("a", "", ""),
            Finding::warning("b", "", ""),
            Finding::skipped("c", "", ""),
        ]);
        assert_eq!((warned.status(), warned.fine), (ExitStatus::Fine, true));
        assert_eq!(warned.tally, Tally { ok: 1, skipped: 1, warning: 1, problem: 0 });
        let broken = report(vec![Finding::ok("a", "", ""), Finding::problem("b", "", "")]);
        assert_eq!(broken.status(), ExitStatus::ProblemFound);
        assert!(broken.summary().en.ends_with("Mend the problems first."));
    }

    #[test]
    fn a_section_without_lines_is_left_out() {
        assert_eq!(report(vec![Finding::ok("a", "", "")]).sections.len(), 1);
    }
}
