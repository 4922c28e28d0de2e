//! The part of `edobridge portals show` about the budget: how much is left, what waits, who used it.

use super::output::Output;
use super::table::{sheet, table};
use crate::domain::Language;
use crate::http::budget_view::{BudgetView, MethodLine};

/// Methods that are shown; `--json` has all.
const METHODS_SHOWN: usize = 15;

/// The budget for people.
pub fn budget_sheet(budget: &BudgetView, output: &Output) -> String {
    let bucket = budget.bucket.map_or_else(String::new, |bucket| {
        format!("{:.1} / {:.0}, {:.1}/s", bucket.level, bucket.capacity, bucket.per_second)
    });
    let moment = |at: &Option<String>| at.as_deref().map(|at| output.moment(at)).unwrap_or_default();
    let waiting = format!("{} + {}", budget.waiting_interactive, budget.waiting_background);
    let lines = sheet(&[
        (output.word("ведро запросов", "bucket of requests"), bucket),
        (output.word("ждут: люди + документы", "waiting: people + documents"), waiting),
        (output.word("пауза до", "paused until"), moment(&budget.paused_until)),
        (output.word("заблокирован до", "blocked until"), moment(&budget.blocked_until)),
        (output.word("учёт с", "counted since"), moment(&budget.since)),
    ]);
    if budget.methods.is_empty() {
        return lines;
    }
    let head = match output.language {
        Language::Ru => ["метод", "запросов", "в пакетах", "ожидание, с", "operating, с", "ограничен"],
        Language::En => ["method", "requests", "in batches", "waited, s", "operating, s", "limited"],
    };
    let rows: Vec<Vec<String>> = budget.methods.iter().take(METHODS_SHOWN).map(row).collect();
    format!("{lines}{}\n", table(&head, &rows))
}

fn row(line: &MethodLine) -> Vec<String> {
    vec![
        line.method.clone(),
        line.requests.to_string(),
        line.batch_commands.to_string(),
        format!("{:.1}", line.waited_s),
        format!("{:.1}", line.operating_s),
        line.limited.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::format::Format;
    use super::*;
    use crate::http::budget_view::BucketView;

    #[test]
    fn the_budget_shows_what_is_left_and_who_used_it() {
        let output = Output { format: Format::People, language: Language::En, zone: jiff::tz::TimeZone::UTC };
        let budget = BudgetView {
            portal: "main".into(),
            bucket: Some(BucketView { level: 12.34, capacity: 48.0, per_second: 2.0 }),
            waiting_interactive: 0,
            waiting_background: 7,
            blocked_methods: Vec::new(),
            paused_until: None,
            blocked_until: Some("2026-02-03T04:05:06Z".into()),
            since: None,
            methods: vec![MethodLine {
                method: "download".into(),
                requests: 500,
                batch_commands: 0,
                waited_s: 12.5,
                operating_s: 0.0,
                limited: 0,
            }],
            hours: Vec::new(),
        };
        let shown = budget_sheet(&budget, &output);
        for wanted in ["12.3 / 48, 2.0/s", "0 + 7", "2026-02-03 04:05:06", "download", "500", "12.5"] {
            assert!(shown.contains(wanted), "{wanted} is missing in:\n{shown}");
        }
        assert!(!shown.contains("paused until"), "{shown}");
    }
}
