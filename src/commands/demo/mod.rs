//! `edobridge demo`: the main job on real files, with nothing else installed.
//!
//! The sandbox plays Bitrix24 and EasyDocs in this process; edobridge runs as a process of its own, from this very
//! program, so that it can be killed. Documents go the whole way, and a witness in the sandbox judges the end.
//!
//! | file | subject |
//! |---|---|
//! | `scenario`, `pdf` | which documents, what is done to them, what is expected |
//! | `stage` | the sandbox, furnished |
//! | `child`, `config_text`, `workspace` | the process, its configuration, its folder |
//! | `performance`, `watch` | the order of events, what edobridge says meanwhile |
//! | `verdict` | did everything end right |
//! | `view`, `report` | what the person sees |
//!
//! Invariants: the exit code is 0 only when every document ended right by the witness's word; no process and no file
//! is left behind, except by `--keep`, and the log after a failure.

mod child;
mod config_text;
mod pdf;
mod performance;
mod report;
mod scenario;
mod stage;
mod verdict;
mod view;
mod watch;
mod workspace;

use super::{Context, ExitStatus};
use crate::domain::{Language, Text};
use child::Farewell;
use clap::Args;
use performance::{DemoError, Outcome, Performance};
use scenario::{FilesError, Kill, Scenario};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use view::{View, ViewKind};

/// Lines of the log that are shown after a failure.
const TAIL_LINES: usize = 30;
/// How long edobridge may take to end; its own drain is 3 s.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Показать основную работу на настоящих файлах. / Show the main job on real files.
///
/// Starts an emulated Bitrix24 and EasyDocs and a real edobridge on this machine's loopback, sends documents through
/// the full cycle, lets answers get lost, callbacks come early and three times, kills edobridge with SIGKILL in the
/// middle and starts it again. In the end a witness compares what lies in the portal with what EasyDocs produced.
/// Exit code 0 means that every document ended right.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Your own files instead of the default set (at most 40, each at most 100 MiB).
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Leave everything running in the end and print the addresses; stop with Ctrl-C.
    #[arg(long)]
    pub keep: bool,

    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,

    /// Do not kill edobridge in the middle.
    #[arg(long)]
    pub no_kill: bool,

    /// How long people take to sign, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=60))]
    pub seconds_to_sign: u64,

    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(10..=3600))]
    pub timeout: u64,
}

impl DemoArgs {
    fn scenario(&self, language: Language) -> Result<Scenario, FilesError> {
        let kill = if self.no_kill { Kill::Never } else { Kill::InTheMiddle };
        let sign_after = Duration::from_secs(self.seconds_to_sign);
        if self.files.is_empty() {
            return Ok(Scenario::default_set(kill, sign_after, language));
        }
        Scenario::own_files(&self.files, kill, sign_after)
    }
    fn output(&self) -> Output {
        if self.json { Output::Json } else { Output::People }
    }
}

/// For whom the result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    People,
    Json,
}

/// Runs the demo. Progress goes to standard error, the result to standard output.
pub async fn run(args: DemoArgs, context: Context) -> ExitStatus {
    let language = context.language;
    let scenario = match args.scenario(language) {
        Ok(scenario) => scenario,
        Err(error) => {
            complain(error.text().get(language));
            return ExitStatus::Misuse;
        }
    };
    let kind = match args.output() {
        Output::People => ViewKind::fitting(),
        Output::Json => ViewKind::Plain,
    };
    let view = View::new(kind, language, &scenario.documents);
    let timeout = Duration::from_secs(args.timeout);
    match Performance::prepare(scenario, view, &context, timeout).await {
        Ok(performance) => play(performance, &args, language).await,
        Err(error) => {
            failed(&error, None, args.output(), language);
            ExitStatus::ProblemFound
        }
    }
}

async fn play(mut performance: Performance, args: &DemoArgs, language: Language) -> ExitStatus {
    let played = tokio::select! {
        played = performance.play() => played,
        () = stop_signal() => Err(DemoError::Interrupted),
    };
    performance.close_view();
    let status = match &played {
        Ok(outcome) => concluded(&mut performance, outcome, args, language),
        Err(error) => broken_off(&mut performance, error, args.output(), language),
    };
    if args.keep && played.is_ok() {
        show_addresses(&performance, args.output(), language);
        stop_signal().await;
    }
    leave(performance, language).await;
    status
}

/// The demo came to its end: says how.
fn concluded(
    performance: &mut Performance,
    outcome: &Outcome,
    args: &DemoArgs,
    language: Language,
) -> ExitStatus {
    match args.output() {
        Output::People => {
            print(&report::for_people(&performance.scenario, outcome, language));
        }
        Output::Json => print_json(&report::for_programs(&performance.scenario, outcome)),
    }
    if outcome.verdict.is_right() {
        return ExitStatus::Fine;
    }
    leave_log(performance, language);
    ExitStatus::ProblemFound
}

/// The demo did not come to its end: says why.
fn broken_off(
    performance: &mut Performance,
    error: &DemoError,
    output: Output,
    language: Language,
) -> ExitStatus {
    match error {
        DemoError::Interrupted => failed(error, None, output, language),
        DemoError::Sandbox(_)
        | DemoError::Workspace(_)
        | DemoError::Start(_)
        | DemoError::Client(_)
        | DemoError::World(_)
        | DemoError::Address(_)
        | DemoError::Died(_)
        | DemoError::TooLate(_) => {
            failed(error, Some(performance), output, language);
            leave_log(performance, language);
        }
    }
    ExitStatus::ProblemFound
}

fn failed(error: &DemoError, performance: Option<&Performance>, output: Output, language: Language) {
    if output == Output::Json {
        print_json(&report::error_for_programs(error, performance.map(|p| p.service.log())));
    }
    complain(error.text().get(language));
}

/// Leaves the folder with the log where it is, and shows the end of the log.
fn leave_log(performance: &mut Performance, language: Language) {
    performance.workspace.keep();
    let log = performance.service.log().display();
    let text = Text::new(
        format!("Журнал edobridge оставлен в {log}; его конец:"),
        format!("The log of edobridge was left in {log}; its end:"),
    );
    complain(text.get(language));
    for line in performance.service.log_tail(TAIL_LINES) {
        complain(&format!("  | {line}"));
    }
}

fn show_addresses(performance: &Performance, output: Output, language: Language) {
    match output {
        Output::People => print(&report::addresses(performance, language)),
        Output::Json => print_json(&report::addresses_for_programs(performance)),
    }
}

/// Ends edobridge first, so that it does not see its world vanish.
async fn leave(mut performance: Performance, language: Language) {
    let farewell = performance.service.stop(END_WITHIN).await;
    let text = match farewell {
        Farewell::WasNotRunning | Farewell::Clean => None,
        Farewell::Unclean(status) => Some(Text::new(
            format!("edobridge завершился с ошибкой: {status}"),
            format!("edobridge did not end cleanly: {status}"),
        )),
        Farewell::Killed => Some(Text::new(
            "edobridge не завершился по SIGTERM, его пришлось убить",
            "edobridge did not end on SIGTERM and had to be killed",
        )),
    };
    if let Some(text) = text {
        complain(text.get(language));
    }
    performance.stage.close().await;
}

/// Waits for Ctrl-C or SIGTERM.
async fn stop_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Signals that cannot be heard end the process at once, which is fine too.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn print(text: &str) {
    // Nobody reads a closed standard output; the exit code still tells.
    drop(writeln!(io::stdout(), "{text}"));
}

fn print_json(value: &serde_json::Value) {
    print(&format!("{value:#}"));
}

fn complain(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}
