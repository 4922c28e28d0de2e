//! `edobridge portals …`: the portals of the configuration, and how they treat us now.

use super::ExitStatus;
use super::client::Context;
use super::output::Output;
use super::portal_budget::budget_sheet;
use super::table::{sheet, table};
use crate::domain::{Language, Text};
use crate::http::budget_view::BudgetView;
use crate::http::gap_view::PortalGaps;
use crate::http::operator_view::{PortalLine, PortalList};
use clap::{Args, Subcommand};
use serde::Serialize;

/// The portals of the configuration.
#[derive(Debug, Clone, Args)]
pub struct PortalsArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: PortalsVerb,
}

/// What to do with portals.
#[derive(Debug, Clone, Subcommand)]
pub enum PortalsVerb {
    /// Lists the portals with the level of their leaky bucket and their last error
    List,
    /// Shows one portal
    Show {
        /// Its id in the configuration
        id: String,
    },
}

/// Runs the verb.
pub async fn run(args: PortalsArgs, context: &Context) -> ExitStatus {
    let portals = match context.client.portals().await {
        Ok(portals) => portals,
        Err(error) => return context.output.fail(&error),
    };
    match args.verb {
        PortalsVerb::List => {
            context.output.show(&portals, || portals_table(&portals, &context.output));
            ExitStatus::Fine
        }
        PortalsVerb::Show { id } => {
            let known = portals.items.iter().any(|portal| portal.id == id);
            let budget = if known { context.client.budget(&id).await.ok() } else { None };
            let gaps = context.client.gaps().await.ok();
            show(
                &portals,
                &id,
                Details { portal: None, budget, gaps: gaps.and_then(|all| all.of(&id)) },
                &context.output,
            )
        }
    }
}

/// Everything about one portal. What the service could not tell (one of an older version) is none.
#[derive(Default, Serialize)]
struct Details<'a> {
    #[serde(flatten)]
    portal: Option<&'a PortalLine>,
    budget: Option<BudgetView>,
    /// What its webhook has missed.
    gaps: Option<PortalGaps>,
}

fn show<'a>(portals: &'a PortalList, id: &str, details: Details<'a>, output: &Output) -> ExitStatus {
    let Some(portal) = portals.items.iter().find(|portal| portal.id == id) else {
        let known = portals.items.iter().map(|portal| portal.id.as_str()).collect::<Vec<_>>().join(", ");
        return output.misuse(&Text::new(
            format!("Портала «{id}» нет. Есть: {known}."),
            format!("There is no portal `{id}`. There are: {known}."),
        ));
    };
    let details = Details { portal: Some(portal), ..details };
    output.show(&details, || {
        let budget = details.budget.as_ref().map(|budget| budget_sheet(budget, output));
        let gaps = details.gaps.as_ref().map(|gaps| channel_sheet(gaps, output));
        portal_sheet(portal, output) + &budget.unwrap_or_default() + &gaps.unwrap_or_default()
    });
    ExitStatus::Fine
}

fn portals_table(portals: &PortalList, output: &Output) -> String {
    let head = match output.language {
        Language::Ru => ["id", "адрес", "запросов в ведре", "защита", "последняя ошибка"],
        Language::En => ["id", "address", "requests in bucket", "circuit", "last error"],
    };
    let row = |portal: &PortalLine| {
        vec![
            portal.id.clone(),
            portal.address.clone(),
            format!("{:.1}", portal.bucket_level),
            portal.circuit.clone(),
            last_error(portal, output),
        ]
    };
    table(&head, &portals.items.iter().map(row).collect::<Vec<_>>())
}

fn portal_sheet(portal: &PortalLine, output: &Output) -> String {
    let blocked = portal.blocked_methods.iter();
    let blocked = blocked.map(|method| format!("{} → {}", method.method, output.moment(&method.until)));
    sheet(&[
        ("id", portal.id.clone()),
        (output.word("адрес", "address"), portal.address.clone()),
        (output.word("запросов в ведре", "requests in bucket"), format!("{:.1}", portal.bucket_level)),
        (output.word("защита", "circuit"), portal.circuit.clone()),
        (output.word("методы на паузе", "paused methods"), blocked.collect::<Vec<_>>().join(", ")),
        (output.word("последняя ошибка", "last error"), last_error(portal, output)),
    ])
}

/// How the webhook and the second channel did since the start.
fn channel_sheet(gaps: &PortalGaps, output: &Output) -> String {
    let missed = gaps.lost + gaps.before_start;
    sheet(&[
        (output.word("событий от вебхука", "events by webhook"), gaps.heard.to_string()),
        (output.word("найдено вторым каналом", "found by second channel"), gaps.found.to_string()),
        (output.word("из них не пришло событием", "of these never came"), missed.to_string()),
        (
            output.word("найдено позже всего через", "latest found after"),
            format!("{:.1} s", gaps.late_ms_max as f64 / 1_000.0),
        ),
    ])
}

fn last_error(portal: &PortalLine, output: &Output) -> String {
    portal.last_error.as_ref().map(|text| output.words(text).to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::output::Format;
    use super::*;
    use crate::http::operator_view::BlockedMethod;

    #[test]
    fn a_portal_shows_its_pauses_and_an_unknown_one_those_that_there_are() {
        let output = Output { format: Format::People, language: Language::En, zone: jiff::tz::TimeZone::UTC };
        let portal = PortalLine {
            id: "main".into(),
            address: "https://p.example".into(),
            bucket_level: 12.34,
            blocked_methods: vec![BlockedMethod {
                method: "crm.item.get".into(),
                until: "2026-02-03T04:05:06Z".into(),
            }],
            circuit: "closed".into(),
            last_error: None,
        };
        let shown = portal_sheet(&portal, &output);
        assert!(shown.contains("crm.item.get → 2026-02-03 04:05:06") && shown.contains("12.3"), "{shown}");
        let portals = PortalList { items: vec![portal] };
        assert_eq!(show(&portals, "other", Details::default(), &output), ExitStatus::Misuse);
        let gaps = PortalGaps { lost: 2, before_start: 1, late_ms_max: 90_500, ..PortalGaps::default() };
        let sheet = channel_sheet(&gaps, &output);
        assert!(sheet.contains("of these never came") && sheet.contains("90.5 s"), "{sheet}");
        assert!(portals_table(&portals, &output).contains("https://p.example"));
    }
}
