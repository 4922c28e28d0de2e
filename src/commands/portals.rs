//! `edobridge portals …`: the portals of the configuration, and how they treat us now.

use super::ExitStatus;
use super::client::{ClientError, Context};
use super::console::Console;
use super::output::Output;
use super::portal_budget::budget_sheet;
use super::table::{sheet, table};
use super::{offline_store, wiring};
use crate::actors::features::Standing;
use crate::config::Config;
use crate::domain::{Language, Text};
use crate::http::budget_view::BudgetView;
use crate::http::gap_view::{GapList, PortalGaps};
use crate::http::oauth::{AuthorizeRequest, Rekeyed};
use crate::http::operator_view::{BindingLine, PortalLine, PortalList};
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
    /// Gives the address at which an administrator of a portal authorises an application
    Authorize {
        /// The application, by its id in `[[apps]]`
        #[arg(long)]
        app: String,
        /// The portal's address, `https://portal.example`
        portal: String,
    },
    /// Seals the stored tokens anew: with a new key of our own, or with the present store.seal_key
    Rekey,
    /// Forgets an installation now, not only after the 7 days; documents of the portal stay
    Remove {
        /// The portal, as `portals list` shows it
        id: String,
        /// Really forget it
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the verb.
pub async fn run(args: PortalsArgs, context: &Context, process: &super::Context) -> ExitStatus {
    let output = &context.output;
    match args.verb {
        PortalsVerb::List => match context.client.portals().await {
            Ok(portals) => {
                output.show(&portals, || portals_table(&portals, output));
                ExitStatus::Fine
            }
            Err(error) => output.fail(&error),
        },
        PortalsVerb::Show { id } => match context.client.portals().await {
            Ok(portals) => {
                let known = portals.items.iter().any(|portal| portal.id == id);
                let budget = if known { context.client.budget(&id).await.ok() } else { None };
                // a service of an older version has no report: the rest is shown all the same
                let gaps = context.client.gaps().await.unwrap_or_default();
                show(&portals, &gaps, &id, budget, output)
            }
            Err(error) => output.fail(&error),
        },
        PortalsVerb::Authorize { app, portal } => authorize(app, portal, context).await,
        PortalsVerb::Rekey => rekey(context, process).await,
        PortalsVerb::Remove { id, yes } => remove(&id, yes, context).await,
    }
}

async fn authorize(app: String, portal: String, context: &Context) -> ExitStatus {
    match context.client.authorize(&AuthorizeRequest { app, portal }).await {
        Ok(begun) => {
            context.output.show(&begun, || {
                let word = context.output.word(
                    "Администратор портала открывает этот адрес (один раз, 10 минут):",
                    "An administrator of the portal opens this address (once, 10 minutes):",
                );
                format!("{word}\n{}", begun.url)
            });
            ExitStatus::Fine
        }
        Err(error) => context.output.fail(&error),
    }
}

async fn remove(id: &str, yes: bool, context: &Context) -> ExitStatus {
    if !yes {
        return context.output.misuse(&Text::new(
            format!("Токены портала «{id}» будут забыты, его документы остановятся до новой установки. Если так и надо, добавьте --yes."),
            format!("The tokens of portal `{id}` will be forgotten, and its documents stand still until it is installed again. If that is what you want, add --yes."),
        ));
    }
    match context.client.remove_portal(id).await {
        Ok(removed) => {
            context.output.show(&removed, || removed.id.clone());
            ExitStatus::Fine
        }
        Err(error) => context.output.fail(&error),
    }
}

/// By the running service, or in its store while it does not run.
async fn rekey(context: &Context, process: &super::Context) -> ExitStatus {
    let output = &context.output;
    let report = match context.client.rekey().await {
        Ok(report) => report,
        Err(ClientError::NotRunning { .. }) => {
            let console = Console::new(process);
            let config = match process.load() {
                Ok(loaded) => loaded.config,
                Err(status) => return status,
            };
            match rekey_offline(&config, &console).await {
                Ok(report) => report,
                Err(text) => {
                    console.fail(&text);
                    return ExitStatus::ProblemFound;
                }
            }
        }
        Err(error) => return output.fail(&error),
    };
    output.show(&report, || {
        format!(
            "{}: {}\n{}: {}",
            output.word("запечатано новым ключом", "sealed with the new key"),
            report.resealed,
            output.word("не открыто ни одним ключом", "opened by no key"),
            report.unreadable
        )
    });
    if report.unreadable == 0 { ExitStatus::Fine } else { ExitStatus::ProblemFound }
}

async fn rekey_offline(config: &Config, console: &Console) -> Result<Rekeyed, Text> {
    let (store, _) = offline_store::open(config, console).await.map_err(|closed| closed.text(config))?;
    let records = wiring::apps::records(config, &store).map_err(|error| error.text())?;
    let report = records.rekey().await.map_err(|error| {
        let why = crate::actors::error_chain(&error);
        Text::new(format!("Ключ не сменён: {why}."), format!("The key was not changed: {why}."))
    })?;
    store.close().await.map_err(|error| error.text())?;
    Ok(Rekeyed { resealed: report.resealed, unreadable: report.unreadable })
}

/// Everything about one portal.
#[derive(Serialize)]
struct Details<'a> {
    #[serde(flatten)]
    portal: &'a PortalLine,
    /// What its webhook has missed.
    gaps: Option<&'a PortalGaps>,
    /// None: the service could not tell.
    budget: Option<BudgetView>,
}

fn show(
    portals: &PortalList,
    gaps: &GapList,
    id: &str,
    budget: Option<BudgetView>,
    output: &Output,
) -> ExitStatus {
    let Some(portal) = portals.items.iter().find(|portal| portal.id == id) else {
        let known = portals.items.iter().map(|portal| portal.id.as_str()).collect::<Vec<_>>().join(", ");
        return output.misuse(&Text::new(
            format!("Портала «{id}» нет. Есть: {known}."),
            format!("There is no portal `{id}`. There are: {known}."),
        ));
    };
    let gaps = gaps.portals.iter().find(|gaps| gaps.portal == id);
    let details = Details { portal, gaps, budget };
    output.show(&details, || {
        let budget = details.budget.as_ref().map(|budget| budget_sheet(budget, output)).unwrap_or_default();
        let channel = gaps.map(|gaps| channel_sheet(gaps, output)).unwrap_or_default();
        portal_sheet(portal, output) + &channel + &budget
    });
    ExitStatus::Fine
}

fn portals_table(portals: &PortalList, output: &Output) -> String {
    let head = match output.language {
        Language::Ru => ["id", "адрес", "запросов в ведре", "защита", "выключено", "последняя ошибка"],
        Language::En => ["id", "address", "requests in bucket", "circuit", "switched off", "last error"],
    };
    let row = |portal: &PortalLine| {
        vec![
            portal.id.clone(),
            portal.address.clone(),
            format!("{:.1}", portal.bucket_level),
            portal.circuit.clone(),
            switched_off(portal),
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
        (output.word("приложение", "application"), installation(portal, output)),
        (output.word("регистрации", "bindings"), bindings(portal, output)),
        (output.word("действуем от имени", "acts as"), owner(portal, output)),
        (output.word("вебхук действует до", "webhook expires"), expiry(portal)),
        (output.word("внимание", "attention"), concerns(portal, output)),
        (output.word("зависшие процессы", "hanging workflows"), hanging(portal, output)),
        (output.word("умеет портал", "the portal can"), capability(portal, output)),
        (output.word("второй канал", "second channel"), channel(portal, output)),
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

fn installation(portal: &PortalLine, output: &Output) -> String {
    let Some(it) = &portal.installation else { return String::new() };
    let advice = it.advice.as_ref().map(|text| format!(". {}", output.words(text))).unwrap_or_default();
    format!("{} @ {}: {}{advice}", it.app, it.member_id, it.status)
}

fn bindings(portal: &PortalLine, output: &Output) -> String {
    let bindings = portal.installation.iter().flat_map(|it| &it.bindings);
    let one = |binding: &BindingLine| match &binding.problem {
        None => binding.what.clone(),
        Some(problem) => format!("{} ✗ {}", binding.what, output.words(problem)),
    };
    bindings.map(one).collect::<Vec<_>>().join("\n")
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

/// One line for each workflow whose call was lost.
fn hanging(portal: &PortalLine, output: &Output) -> String {
    let hanging = portal.workflows.iter().flat_map(|workflows| &workflows.hanging);
    hanging.map(|one| output.words(&one.text)).collect::<Vec<_>>().join("\n")
}

fn channel(portal: &PortalLine, output: &Output) -> String {
    let Some(line) = &portal.channel else { return String::new() };
    if let Some(why) = &line.idle {
        return format!("{}: {}", line.mode, output.words(why));
    }
    let moment = |at: &Option<String>| at.as_ref().map_or_else(|| "—".to_owned(), |at| output.moment(at));
    let failure = line.failure.iter().map(|why| format!("\n✗ {why}")).collect::<String>();
    format!(
        "{}: {}; {} {}, {} {}{failure}",
        line.mode,
        line.running.join(", "),
        output.word("смотрел", "looked"),
        moment(&line.looked_at),
        output.word("разбужен", "woken"),
        moment(&line.woken_at),
    )
}

/// Names of features that the portal cannot do; `portals show` says why.
fn switched_off(portal: &PortalLine) -> String {
    let features = portal.capability.iter().flat_map(|known| &known.features);
    let off = features.filter(|one| one.state == Standing::Off.name());
    off.map(|one| one.feature.as_str()).collect::<Vec<_>>().join(", ")
}

fn capability(portal: &PortalLine, output: &Output) -> String {
    let Some(known) = &portal.capability else { return String::new() };
    let at = match &known.checked_at {
        Some(at) => format!("{} {}", output.word("опрошен", "asked"), output.moment(at)),
        None => output.word("ещё не опрошен", "not asked yet").to_owned(),
    };
    let features = known.features.iter().map(|one| format!("✗ {}", output.words(&one.text)));
    let unread = known.unread.iter().map(|why| output.words(why).to_owned());
    std::iter::once(at).chain(features).chain(unread).collect::<Vec<_>>().join("\n")
}

fn last_error(portal: &PortalLine, output: &Output) -> String {
    portal.last_error.as_ref().map(|text| output.words(text).to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::format::Format;
    use super::*;
    use crate::http::operator_view::{
        BlockedMethod, CapabilityLine, ChannelLine, ConcernLine, FeatureLine, OwnerLine,
    };

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
            installation: None,
            workflows: None,
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
            capability: Some(CapabilityLine {
                checked_at: Some("2026-02-03T04:05:06Z".into()),
                features: vec![FeatureLine {
                    feature: "timeline".into(),
                    state: "off".into(),
                    text: Text::new("нет", "no comments"),
                }],
                unread: None,
            }),
            channel: Some(ChannelLine {
                mode: "sweep".into(),
                running: vec!["sweep".into()],
                idle: None,
                interval_ms: Some(180_000),
                looked_at: Some("2026-02-03T04:05:06Z".into()),
                found_at: None,
                woken_at: None,
                failure: Some("no rights".into()),
            }),
        };
        let shown = portal_sheet(&portal, &output);
        assert!(shown.contains("Anna (id 17)") && shown.contains("soon over"), "{shown}");
        assert!(shown.contains("2027-01-31") && shown.contains("✗ no comments"), "{shown}");
        assert!(
            shown.contains("sweep: sweep; looked 2026-02-03") && shown.contains("✗ no rights"),
            "{shown}"
        );
        assert!(shown.contains("crm.item.get → 2026-02-03 04:05:06") && shown.contains("12.3"), "{shown}");
        let portals = PortalList { items: vec![portal] };
        assert_eq!(show(&portals, &GapList::default(), "other", None, &output), ExitStatus::Misuse);
        let gaps = PortalGaps { lost: 2, before_start: 1, late_ms_max: 90_500, ..PortalGaps::default() };
        let sheet = channel_sheet(&gaps, &output);
        assert!(sheet.contains("of these never came") && sheet.contains("90.5 s"), "{sheet}");
        let table = portals_table(&portals, &output);
        assert!(table.contains("https://p.example") && table.contains("timeline"), "{table}");
    }
}
