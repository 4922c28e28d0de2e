//! `edobridge portals …`: the portals of the configuration, and how they treat us now.

use super::ExitStatus;
use super::client::Context;
use super::output::Output;
use super::table::{sheet, table};
use crate::domain::{Language, Text};
use crate::http::operator_view::{PortalLine, PortalList};
use clap::{Args, Subcommand};

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
        PortalsVerb::Show { id } => show(&portals, &id, &context.output),
    }
}

fn show(portals: &PortalList, id: &str, output: &Output) -> ExitStatus {
    let Some(portal) = portals.items.iter().find(|portal| portal.id == id) else {
        let known = portals.items.iter().map(|portal| portal.id.as_str()).collect::<Vec<_>>().join(", ");
        return output.misuse(&Text::new(
            format!("Портала «{id}» нет. Есть: {known}."),
            format!("There is no portal `{id}`. There are: {known}."),
        ));
    };
    output.show(portal, || portal_sheet(portal, output));
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
        (output.word("действуем от имени", "acts as"), owner(portal, output)),
        (output.word("вебхук действует до", "webhook expires"), expiry(portal)),
        (output.word("внимание", "attention"), concerns(portal, output)),
    ])
}

fn owner(portal: &PortalLine, output: &Output) -> String {
    let Some(owner) = &portal.owner else { return String::new() };
    let name = owner.name.clone().unwrap_or_default();
    let id = owner.user_id.map(|id| format!(" (id {id})")).unwrap_or_default();
    let at = owner.checked_at.as_ref().map(|at| format!(", {}", output.moment(at))).unwrap_or_default();
    format!("{name}{id}{at}")
}

fn expiry(portal: &PortalLine) -> String {
    portal.owner.as_ref().and_then(|owner| owner.expires_on.clone()).unwrap_or_default()
}

fn concerns(portal: &PortalLine, output: &Output) -> String {
    let concerns = portal.owner.iter().flat_map(|owner| &owner.concerns);
    concerns.map(|concern| output.words(&concern.text)).collect::<Vec<_>>().join(" ")
}

fn last_error(portal: &PortalLine, output: &Output) -> String {
    portal.last_error.as_ref().map(|text| output.words(text).to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::output::Format;
    use super::*;
    use crate::http::operator_view::{BlockedMethod, ConcernLine, OwnerLine};

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
            owner: Some(OwnerLine {
                user_id: Some(17),
                name: Some("Anna".into()),
                checked_at: None,
                expires_on: Some("2027-01-31".into()),
                concerns: vec![ConcernLine {
                    code: "webhook_expires_soon".into(),
                    text: Text::new("скоро", "soon over"),
                }],
                unseen: None,
            }),
        };
        let shown = portal_sheet(&portal, &output);
        assert!(shown.contains("Anna (id 17)") && shown.contains("soon over"), "{shown}");
        assert!(shown.contains("2027-01-31"), "{shown}");
        assert!(shown.contains("crm.item.get → 2026-02-03 04:05:06") && shown.contains("12.3"), "{shown}");
        let portals = PortalList { items: vec![portal] };
        assert_eq!(show(&portals, "other", &output), ExitStatus::Misuse);
        assert!(portals_table(&portals, &output).contains("https://p.example"));
    }
}
