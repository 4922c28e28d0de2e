//! `edobridge doctor`: the go-live checklist, each line with its remedy.
//!
//! The checklist is that of the EasyDocs guide (signing-providers reference, a.10) and of our own promises. Checks of
//! different subjects run at the same time, each with a bound on its time; what does not end in time is a problem,
//! since the service would wait there too. Nothing is changed anywhere, but for `--write-test`, a file of 200 KiB
//! beside the store whose syncs are timed, and the opening of a store that nobody has open.
//!
//! Invariant: no line carries a secret. Reasons of failed calls come with their secrets cut, raw answers are not
//! shown, and the console masks what is registered.

pub mod checks;
pub mod examination;
pub mod finding;
pub mod report;

use super::console::Console;
use super::exit::ExitStatus;
use super::running_service::RunningService;
use super::{Context, problem_view};
use crate::config::Config;
use crate::domain::Text;
use crate::telemetry::SystemClock;
use checks::{
    application, clock, configuration, data_dir, easydocs, idocs, portal, public_address, senders, store,
};
use clap::Args;
use examination::{Examination, WriteTest};
use finding::{Finding, Notebook};
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use report::{Report, Section};
use std::rc::Rc;
use std::time::Duration;

/// Longest time of one section: a portal with hundreds of rules is asked within its two requests a second.
const SECTION_TIME_MAX: Duration = Duration::from_secs(180);

/// Проверка перед запуском: доступ, папки, ключи, диск. / The go-live checklist, each line with the fix.
///
/// Checks the configuration, the data directory, the speed of the disk, the store, the clock, every portal with its
/// rules, EasyDocs, and whether our callback address can be reached. Works while the service runs and while it does
/// not. Ends with 0 only if there is no problem.
#[derive(Debug, Clone, Args)]
#[command(
    after_long_help = "Secrets that are systemd credentials can be read while the service runs:\n  sudo -u edobridge CREDENTIALS_DIRECTORY=/run/credentials/edobridge.service edobridge doctor"
)]
pub struct DoctorArgs {
    /// Put a tiny file into each folder where signed files go, and move it to the recycle bin.
    #[arg(long)]
    pub write_test: bool,
    /// Do not ask portals, EasyDocs or the public address: only what is on this machine.
    #[arg(long, conflicts_with = "write_test")]
    pub offline: bool,
}

/// Runs the checklist.
pub async fn run(args: DoctorArgs, context: Context) -> ExitStatus {
    let console = Console::new(&context);
    let (loaded, console) = match Config::check(context.config_path.as_deref(), &context.env) {
        Ok(_) => match problem_view::load(&context, console) {
            Ok(ready) => ready,
            Err(status) => return status,
        },
        Err(errors) => {
            let findings = configuration::broken(&errors);
            let report = Report::new(vec![Section { title: configuration::title(), findings }]);
            report.print(&console);
            return report.status();
        }
    };
    let service = RunningService::of(&loaded.config);
    let presence = service.presence().await;
    let write_test = if args.write_test { WriteTest::Do } else { WriteTest::Leave };
    let examination = Examination {
        loaded,
        service,
        presence,
        clock: Rc::new(SystemClock),
        write_test,
        console: console.clone(),
    };
    let report =
        examine(&examination, if args.offline { Reach::ThisMachine } else { Reach::Everywhere }).await;
    report.print(&console);
    report.status()
}

/// How far the checks go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing is asked of remotes.
    ThisMachine,
    /// Everything.
    Everywhere,
}

struct Check<'e> {
    title: Text,
    notes: Notebook,
    work: LocalBoxFuture<'e, ()>,
}

/// Runs all checks and gathers what they say.
pub async fn examine(examination: &Examination, reach: Reach) -> Report {
    let checks = plan(examination, reach);
    let beside = Text::new("проверено", "checked");
    let total = checks.len() as u64;
    let bar = examination.console.progress(total, examination.console.word(&beside).to_owned());
    let mut books = Vec::new();
    let running = FuturesUnordered::new();
    for check in checks {
        books.push((check.title.clone(), check.notes.clone()));
        running.push(bounded(check, SECTION_TIME_MAX));
    }
    running.for_each(|()| async { bar.inc(1) }).await;
    bar.finish_and_clear();
    Report::new(
        books.into_iter().map(|(title, notes)| Section { title, findings: notes.findings() }).collect(),
    )
}

async fn bounded(check: Check<'_>, time_max: Duration) {
    if tokio::time::timeout(time_max, check.work).await.is_err() {
        let seconds = time_max.as_secs();
        let late = Finding::problem(
            "time",
            format!("Проверка не закончилась за {seconds} с."),
            format!("The check did not end within {seconds} s."),
        );
        check.notes.add(late.fix(
            "Повторите; если не поможет, проверьте сеть до этого адреса.",
            "Try again; if that does not help, check the network on the way there.",
        ));
    }
}

/// What is checked, in the order of the report.
fn plan(examination: &Examination, reach: Reach) -> Vec<Check<'_>> {
    let mut checks = vec![
        check(configuration::title(), |notes| Box::pin(configuration::check(examination, notes))),
        check(data_dir::title(), |notes| Box::pin(data_dir::check(examination, notes))),
        check(store::title(), |notes| Box::pin(store::check(examination, notes))),
    ];
    if reach == Reach::ThisMachine {
        return checks;
    }
    checks.push(check(clock::title(), |notes| Box::pin(clock::check(examination, notes))));
    for app in &examination.config().apps {
        checks.push(check(application::title(app), |notes| {
            Box::pin(application::check(examination, app, notes))
        }));
    }
    for entry in &examination.config().portals {
        checks.push(check(portal::title(entry), |notes| Box::pin(portal::check(examination, entry, notes))));
    }
    if senders::is_wanted(examination.config()) {
        checks.push(check(senders::title(), |notes| Box::pin(senders::check(examination, notes))));
    }
    checks.push(check(easydocs::title(), |notes| Box::pin(easydocs::check(examination, notes))));
    if examination.config().idocs.is_some() {
        checks.push(check(idocs::title(), |notes| Box::pin(idocs::check(examination, notes))));
    }
    checks.push(check(public_address::title(), |notes| Box::pin(public_address::check(examination, notes))));
    checks
}

fn check<'e>(title: Text, work: impl FnOnce(Notebook) -> LocalBoxFuture<'e, ()>) -> Check<'e> {
    let notes = Notebook::default();
    Check { title, work: work(notes.clone()), notes }
}

#[cfg(test)]
mod tests;
