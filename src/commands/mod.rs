//! The verbs of the command line, one file each: parse, call one function of the library, print.

#![expect(
    clippy::print_stderr,
    reason = "verbs speak to people: results on standard output, complaints on standard error"
)]

pub mod backup;
mod backup_contents;
mod backup_place;
mod backup_reading;
mod backup_restore;
mod backup_retention;
pub mod client;
pub mod completions;
pub mod config_verbs;
pub mod console;
pub mod dead_letters;
pub mod demo;
pub mod doctor;
pub mod documents;
pub mod exit;
pub mod format;
pub mod offline_store;
pub mod output;
mod portal_budget;
pub mod portals;
pub mod problem_view;
mod restored_store;
pub mod running_service;
pub mod sandbox;
pub mod serve;
pub mod service;
pub mod signing_link_key;
pub mod table;
pub mod wiring;

use crate::config::{Config, Environment, Loaded};
use crate::domain::Language;
use crate::telemetry::Redactor;
use clap::{CommandFactory as _, Parser, Subcommand};
pub use exit::ExitStatus;
use format::Format;
use output::Output;
use std::path::PathBuf;

/// edobridge: подпись документов Битрикс24 в EasyDocs. / Bitrix24 documents signed in EasyDocs.
///
/// One binary between Bitrix24, 1C and e-signature services. A file in Bitrix24 is sent along a signing route, and
/// the signed copy comes back to where it came from: nothing accepted is lost, nothing happens twice.
///
/// Start with `edobridge demo`; for a real portal: `edobridge config example`, `edobridge doctor`, `edobridge serve`.
#[derive(Debug, Parser)]
#[command(name = "edobridge", version, propagate_version = true)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, short, global = true, env = "EDOBRIDGE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Запустить службу. / Run the service.
    Serve(serve::ServeArgs),
    /// Проверка перед запуском. / The go-live checklist, each line with the fix.
    Doctor(doctor::DoctorArgs),
    /// Документы. / Documents: list, show, retry, cancel, send.
    Documents(documents::DocumentsArgs),
    /// Остановленные документы. / Dead letters: what waits for a person.
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Порталы. / Portals: address, budget, blocks.
    Portals(portals::PortalsArgs),
    /// Настройки. / The configuration: check, show, schema, default, example.
    Config(config_verbs::ConfigArgs),
    /// Резервная копия. / Backups: create, verify, restore.
    Backup(backup::BackupArgs),
    /// Песочница. / An emulated Bitrix24 and EasyDocs on loopback.
    Sandbox(sandbox::SandboxArgs),
    /// Подсказки оболочки. / Shell completions.
    Completions(completions::CompletionsArgs),
    /// Показать основную работу на настоящих файлах. / Show the main job on real files.
    Demo(demo::DemoArgs),
}

/// What every verb may need.
#[derive(Debug, Clone)]
pub struct Context {
    /// The configuration file, if one was named or found.
    pub config_path: Option<PathBuf>,
    /// Variables of the process.
    pub env: Environment,
    /// Language of messages before the configuration is read.
    pub language: Language,
    /// For whom results are printed.
    pub format: Format,
}

/// Where the configuration lies if nobody says otherwise.
const USUAL_PLACES: [&str; 2] = ["edobridge.toml", "/etc/edobridge/edobridge.toml"];

impl Context {
    /// From what was typed and the process's variables.
    pub fn new(config: Option<PathBuf>, format: Format) -> Self {
        let env = Environment::of_process();
        let usual = || USUAL_PLACES.iter().map(PathBuf::from).find(|path| path.is_file());
        let english = env.get("LANG").is_some_and(|lang| lang.starts_with("en") || lang.starts_with('C'));
        let language = if english { Language::En } else { Language::Ru };
        Self { config_path: config.or_else(usual), env, language, format }
    }

    /// The configuration, or the exit status after its problems were printed.
    ///
    /// # Errors
    /// [`ExitStatus::Misuse`].
    pub fn load(&self) -> Result<Loaded, ExitStatus> {
        Config::load(self.config_path.as_deref(), &self.env).map_err(|errors| {
            for problem in &errors.problems {
                eprintln!("edobridge: {}", problem.line(self.language));
            }
            ExitStatus::Misuse
        })
    }

    /// The way to the running service, for verbs that ask it.
    ///
    /// # Errors
    /// As [`Context::load`].
    pub fn client(&self) -> Result<client::Context, ExitStatus> {
        let config = self.load()?.config;
        let zone = wiring::zone(&config);
        let output = Output { format: self.format, language: config.language.into(), zone };
        Ok(client::Context { client: client::AdminClient::of(&config), output })
    }

    /// A net that masks every secret of the configuration in the log.
    pub fn redactor(&self, config: &Config) -> Redactor {
        let redactor = Redactor::new();
        for secret in config.secrets() {
            redactor.register(secret);
        }
        redactor
    }
}

/// Carries out what was typed.
pub fn run(cli: Cli) -> ExitStatus {
    let format = if cli.json { Format::Json } else { Format::People };
    let context = Context::new(cli.config, format);
    actix::System::new().block_on(async move {
        match cli.verb {
            Verb::Serve(args) => serve::run(args, context).await,
            Verb::Doctor(args) => doctor::run(args, context).await,
            Verb::Documents(args) => match context.client() {
                Ok(client) => documents::run(args, &client).await,
                Err(status) => status,
            },
            Verb::DeadLetters(args) => match context.client() {
                Ok(client) => dead_letters::run(args, &client).await,
                Err(status) => status,
            },
            Verb::Portals(args) => match context.client() {
                Ok(client) => portals::run(args, &client, &context).await,
                Err(status) => status,
            },
            Verb::Config(args) => config_verbs::run(args, context).await,
            Verb::Backup(args) => backup::run(args, context).await,
            Verb::Sandbox(args) => sandbox::run(args, context).await,
            Verb::Completions(args) => completions::run(&args, Cli::command()),
            Verb::Demo(args) => demo::run(args, context).await,
        }
    })
}
