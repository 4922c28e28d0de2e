//! What every verb is given: where the configuration is, whom to speak to, and the variables of the process.

use super::console::{Console, Format};
use super::exit::ExitStatus;
use crate::config::{Config, ConfigErrors, Environment, Loaded, Problem};
use crate::domain::{Language, Text};
use crate::telemetry::Redactor;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Where a packaged installation keeps its configuration.
const INSTALLED_CONFIG: &str = "/etc/edobridge/edobridge.toml";

/// Names the configuration file, unless `--config` does.
const CONFIG_VARIABLE: &str = "EDOBRIDGE_CONFIG";

/// A larger file is not looked into for its language; loading it will say what is wrong.
const PEEK_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Options of every verb.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArgs {
    /// Configuration file [default: $EDOBRIDGE_CONFIG, else /etc/edobridge/edobridge.toml if it is there]
    #[arg(long, short = 'c', global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the result as JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
    /// Language of messages [default: `language` of the configuration]
    #[arg(long, global = true, value_name = "LANG")]
    pub language: Option<LanguageArg>,
}

/// A language by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LanguageArg {
    /// Russian
    Ru,
    /// English
    En,
}

impl From<LanguageArg> for Language {
    fn from(language: LanguageArg) -> Self {
        match language {
            LanguageArg::Ru => Self::Ru,
            LanguageArg::En => Self::En,
        }
    }
}

/// What a verb works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The configuration file; none = built-in defaults and variables alone.
    pub config: Option<PathBuf>,
    /// The variables of the process.
    pub env: Environment,
    /// The reader's language.
    pub language: Language,
    /// Where to speak to.
    pub console: Console,
}

impl Context {
    /// The context that the command line and the process ask for.
    pub fn new(args: &GlobalArgs, env: Environment) -> Self {
        let config = args
            .config
            .clone()
            .or_else(|| env.get(CONFIG_VARIABLE).map(PathBuf::from))
            .or_else(|| Some(PathBuf::from(INSTALLED_CONFIG)).filter(|path| path.exists()));
        let language = match args.language {
            Some(language) => language.into(),
            None => configured_language(config.as_deref(), &env),
        };
        let format = if args.json { Format::Json } else { Format::People };
        let console = Console::of_process(format, language, &env);
        Self { config, env, language, console }
    }

    /// The configuration, with all its secrets. What is wrong with it is printed.
    ///
    /// # Errors
    /// The status to end with.
    pub fn load(&self) -> Result<Loaded, ExitStatus> {
        self.told(Config::load(self.config.as_deref(), &self.env))
    }

    /// The configuration as far as it can be read here: secrets may be readable by the service only.
    ///
    /// # Errors
    /// The status to end with.
    pub fn load_without_secrets(&self) -> Result<Loaded, ExitStatus> {
        self.told(Config::check(self.config.as_deref(), &self.env))
    }

    fn told(&self, outcome: Result<Loaded, ConfigErrors>) -> Result<Loaded, ExitStatus> {
        match outcome {
            Ok(loaded) => {
                self.redactor(&loaded.config);
                Ok(loaded)
            }
            Err(errors) => {
                self.refuse(&errors);
                Err(ExitStatus::ProblemFound)
            }
        }
    }

    fn refuse(&self, errors: &ConfigErrors) {
        match self.console.format() {
            Format::People => {
                for problem in &errors.problems {
                    let word = problem.severity.word();
                    self.console.note(format!(
                        "{}: {}",
                        self.console.word(&word),
                        problem.line(self.language)
                    ));
                }
            }
            Format::Json => {
                let problems: Vec<_> = errors.problems.iter().map(ProblemView::from).collect();
                self.console.json(&serde_json::json!({ "fine": false, "problems": problems }));
            }
        }
    }

    /// The mask of this process's output, knowing the secrets of `config` from now on.
    pub fn redactor(&self, config: &Config) -> Redactor {
        let redactor = self.console.redactor();
        config.secrets().into_iter().for_each(|secret| redactor.register(secret));
        redactor.clone()
    }
}

/// A problem of the configuration, for programs.
#[derive(Debug, Clone, Serialize)]
pub struct ProblemView {
    /// `error`, `warning` or `skipped`.
    pub severity: &'static str,
    /// The key, as `portals[0].webhook_url`; empty if the whole file is meant.
    pub key: String,
    /// Where the key stands: `FILE:LINE`, `env NAME` or `default`.
    pub origin: String,
    /// What is wrong and what to do.
    pub text: Text,
}

impl From<&Problem> for ProblemView {
    fn from(problem: &Problem) -> Self {
        use crate::config::Severity;
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Skipped => "skipped",
        };
        Self {
            severity,
            key: problem.key.clone(),
            origin: problem.origin.to_string(),
            text: problem.text.clone(),
        }
    }
}

/// The language that the configuration asks for, even if the rest of it cannot be used.
fn configured_language(config: Option<&Path>, env: &Environment) -> Language {
    let wanted = env.get("EDOBRIDGE__LANGUAGE").map(str::to_owned).or_else(|| language_in(config?));
    match wanted.as_deref() {
        Some("en") => Language::En,
        Some(_) | None => Language::default(),
    }
}

fn language_in(path: &Path) -> Option<String> {
    let size = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?.len();
    if size > PEEK_BYTES_MAX {
        return None;
    }
    let table: toml::Table = std::fs::read_to_string(path).ok()?.parse().ok()?;
    table.get("language")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(toml: &str, env: &[(&str, &str)], args: GlobalArgs) -> Context {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edobridge.toml");
        std::fs::write(&path, toml).unwrap();
        let args = GlobalArgs { config: Some(path), ..args };
        Context::new(&args, Environment::of(env.iter().copied()))
    }

    #[test]
    fn the_language_is_found_even_if_the_configuration_is_wrong() {
        let none = GlobalArgs::default();
        assert_eq!(context("language = \"en\"\nnonsense = 1", &[], none.clone()).language, Language::En);
        assert_eq!(context("not toml at all [", &[], none.clone()).language, Language::Ru);
        let by_env = context("", &[("EDOBRIDGE__LANGUAGE", "en")], none.clone());
        assert_eq!(by_env.language, Language::En);
        let asked = GlobalArgs { language: Some(LanguageArg::Ru), ..none };
        assert_eq!(context("language = \"en\"", &[], asked).language, Language::Ru);
    }

    #[test]
    fn a_variable_names_the_configuration_unless_the_command_line_does() {
        let env = Environment::of([("EDOBRIDGE_CONFIG", "/from/env.toml")]);
        let by_env = Context::new(&GlobalArgs::default(), env.clone());
        assert_eq!(by_env.config, Some(PathBuf::from("/from/env.toml")));
        let args = GlobalArgs { config: Some("/from/args.toml".into()), ..GlobalArgs::default() };
        assert_eq!(Context::new(&args, env).config, Some(PathBuf::from("/from/args.toml")));
    }
}
