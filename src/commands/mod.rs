//! The verbs of the command line, one file each: parse, call one function of the library, print.

#![expect(
    clippy::print_stderr,
    reason = "verbs speak to people: results on standard output, complaints on standard error"
)]

pub mod exit;
pub mod serve;
pub mod service;
pub mod wiring;

use crate::config::{Config, Environment, Loaded};
use crate::domain::Language;
use crate::telemetry::Redactor;
use clap::{Parser, Subcommand};
pub use exit::ExitStatus;
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
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Запустить службу. / Run the service.
    Serve(serve::ServeArgs),
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
}

/// Where the configuration lies if nobody says otherwise.
const USUAL_PLACES: [&str; 2] = ["edobridge.toml", "/etc/edobridge/edobridge.toml"];

impl Context {
    /// From what was typed and the process's variables.
    pub fn new(config: Option<PathBuf>) -> Self {
        let env = Environment::of_process();
        let usual = || USUAL_PLACES.iter().map(PathBuf::from).find(|path| path.is_file());
        let english = env.get("LANG").is_some_and(|lang| lang.starts_with("en") || lang.starts_with('C'));
        let language = if english { Language::En } else { Language::Ru };
        Self { config_path: config.or_else(usual), env, language }
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
    let context = Context::new(cli.config);
    actix::System::new().block_on(async move {
        match cli.verb {
            Verb::Serve(args) => serve::run(args, context).await,
        }
    })
}
