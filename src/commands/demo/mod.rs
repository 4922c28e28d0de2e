//! `edobridge demo`: the main job on real files, with nothing else installed.
//!
//! The sandbox plays Bitrix24, EasyDocs and iDocs in this process; edobridge runs as a process of its own, from this very
//! program, so that it can be killed. Documents go the whole way, and a witness in the sandbox judges the end.
//!
//! | file | subject |
//! |---|---|
//! | `scenario`, `pdf` | which documents, what is done to them, what is expected |
//! | `stage` | the sandbox, furnished |
//! | `child`, `config_text`, `workspace` | the process, its configuration, its folder |
//! | `performance`, `watch` | the order of events, what edobridge says meanwhile |
//! | `own_signature` | the document of iDocs, which our side signs first |
//! | `verdict` | did everything end right |
//! | `view`, `report` | what the person sees |
//!
//! Invariants: the exit code is 0 only when every document ended right by the witness's word; no process and no file
//! is left behind, except by `--keep`, and the log after a failure.

mod child;
mod config_text;
mod own_signature;
mod pdf;
mod performance;
mod report;
mod scenario;
mod stage;
mod verdict;
mod view;
mod watch;
mod workspace;

use super::format::Format;
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
/// Starts an emulated Bitrix24, EasyDocs and iDocs and a real edobridge on this machine's loopback, sends documents through
/// the full cycle, lets answers get lost, callbacks come early and three times, kills edobridge with SIGKILL in the
/// middle and starts it again. In the end a witness compares what lies in the portal with what EasyDocs produced.
/// One document goes through iDocs: a scripted signer signs for our side first, the counterparty after.
/// Exit code 0 means that every document ended right.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Your own files instead of the default set (at most 40, each at most 100 MiB).
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Leave everything running in the end and print the addresses; stop with Ctrl-C.
    #[arg(long)]
    pub keep: bool,

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
}

/// For whom, and in which language.
#[derive(Debug, Clone, Copy)]
struct Voice {
    format: Format,
    language: Language,
}

/// Runs the demo. Progress goes to standard error, the result to standard output.
pub async fn run(args: DemoArgs, context: Context) -> ExitStatus {
    let voice = Voice { format: context.format, language: context.language };
    let scenario = match args.scenario(voice.language) {
        Ok(scenario) => scenario,
        Err(error) => {
            complain(error.text().get(voice.language));
            return ExitStatus::Misuse;
        }
    };
    let kind = match voice.format {
        Format::People => ViewKind::fitting(),
        Format::Json => ViewKind::Plain,
    };
    let view = View::new(kind, voice.language, &scenario.documents);
    let timeout = Duration::from_secs(args.timeout);
    match Performance::prepare(scenario, view, &context, timeout).await {
        Ok(performance) => play(performance, &args, voice).await,
        Err(error) => {
            voice.fail(&error, None);
            ExitStatus::ProblemFound
        }
    }
}

async fn play(mut performance: Performance, args: &DemoArgs, voice: Voice) -> ExitStatus {
    let played = tokio::select! {
        played = performance.play() => played,
        () = stop_signal() => Err(DemoError::Interrupted),
    };
    performance.close_view();
    let status = match &played {
        Ok(outcome) => {
            voice.conclude(&performance, outcome, args);
            if outcome.verdict.is_right() { ExitStatus::Fine } else { ExitStatus::ProblemFound }
        }
        Err(error) => {
            voice.fail(error, Some(&performance));
            ExitStatus::ProblemFound
        }
    };
    if status != ExitStatus::Fine && !matches!(played, Err(DemoError::Interrupted)) {
        voice.leave_log(&mut performance);
    }
    if args.keep && played.is_ok() {
        stop_signal().await;
    }
    leave(performance, voice).await;
    status
}

impl Voice {
    /// The demo came to its end: says how, and where everything is if it stays.
    fn conclude(self, performance: &Performance, outcome: &Outcome, args: &DemoArgs) {
        match self.format {
            Format::People => {
                print(&report::for_people(&performance.scenario, outcome, self.language));
                if args.keep {
                    print(&report::addresses(performance, self.language));
                }
            }
            Format::Json => {
                let mut result = report::for_programs(&performance.scenario, outcome);
                if args.keep {
                    result["addresses"] = report::addresses_for_programs(performance);
                }
                print_json(&result);
            }
        }
    }

    /// The demo did not come to its end: says why.
    fn fail(self, error: &DemoError, performance: Option<&Performance>) {
        match self.format {
            Format::People => {}
            Format::Json => {
                print_json(&report::error_for_programs(error, performance.map(|p| p.service.log())));
            }
        }
        complain(error.text().get(self.language));
    }

    /// Leaves the folder with the log where it is, and shows the end of the log.
    fn leave_log(self, performance: &mut Performance) {
        performance.workspace.keep();
        let log = performance.service.log().display();
        let text = Text::new(
            format!("Журнал edobridge оставлен в {log}; его конец:"),
            format!("The log of edobridge was left in {log}; its end:"),
        );
        complain(text.get(self.language));
        for line in performance.service.log_tail(TAIL_LINES) {
            complain(&format!("  | {line}"));
        }
    }
}

/// Ends edobridge first, so that it does not see its world vanish.
async fn leave(mut performance: Performance, voice: Voice) {
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
        complain(text.get(voice.language));
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
