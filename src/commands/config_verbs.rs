//! `edobridge config …`: whether the configuration can be used, what it amounts to, what could be in it.
//!
//! Shows no secret: places and stars only.

use super::console::Console;
use super::exit::ExitStatus;
use super::format::Format;
use super::{Context, problem_view};
use crate::config::{self, Config, ConfigErrors, DEFAULT_TOML, Loaded, Origin, Origins, Problem, Severity};
use crate::domain::Text;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};

/// Проверить, показать и объяснить конфигурацию. / Check, show and explain the configuration.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ConfigVerb,
}

/// What can be done with a configuration.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigVerb {
    /// Проверить: файл, строка, что исправить. / Name every problem with file, line and remedy.
    ///
    /// Sends nothing anywhere: whether keys and folders are right is the business of `edobridge doctor`.
    /// Secrets that only the service can read (systemd credentials) are reported as not checked.
    Check(CheckArgs),
    /// Показать действующие значения и откуда они. / Print the effective values, each with its origin.
    Show,
    /// Вывести JSON-схему файла для редакторов. / Print the JSON schema of the file, for editors.
    Schema,
    /// Вывести все ключи с пояснениями. / Print every key with its default and its explanation.
    Default,
    /// Вывести образец файла. / Print a sample file to start from.
    ///
    /// Example: edobridge config example > edobridge.toml
    Example,
}

/// Options of `config check`.
#[derive(Debug, Clone, Default, Args)]
pub struct CheckArgs {
    /// End with 1 on warnings too.
    #[arg(long)]
    pub strict: bool,
}

/// Does what was asked.
pub async fn run(args: ConfigArgs, context: Context) -> ExitStatus {
    let console = Console::new(&context);
    match args.verb {
        ConfigVerb::Check(check) => {
            let outcome = Config::check(context.config_path.as_deref(), &context.env);
            checked(&Verdict::of(&outcome, &check), &outcome, console)
        }
        ConfigVerb::Show => match problem_view::load(&context, console) {
            Ok((loaded, console)) => shown(&loaded, &console),
            Err(status) => status,
        },
        ConfigVerb::Schema => {
            console.json(&config::schema());
            ExitStatus::Fine
        }
        ConfigVerb::Default => {
            console.line(DEFAULT_TOML);
            ExitStatus::Fine
        }
        ConfigVerb::Example => {
            console.line(EXAMPLE_TOML);
            ExitStatus::Fine
        }
    }
}

/// The sample that is installed with the service.
const EXAMPLE_TOML: &str = include_str!("../../deploy/edobridge.toml");

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    problems: Vec<Problem>,
    status: ExitStatus,
}

impl Verdict {
    fn of(outcome: &Result<Loaded, ConfigErrors>, check: &CheckArgs) -> Self {
        let problems = match outcome {
            Ok(loaded) => &loaded.notes,
            Err(errors) => &errors.problems,
        };
        let counts = |severity| match severity {
            Severity::Error => true,
            Severity::Warning => check.strict,
            Severity::Skipped => false,
        };
        let bad = outcome.is_err() || problems.iter().any(|problem| counts(problem.severity));
        let status = if bad { ExitStatus::ProblemFound } else { ExitStatus::Fine };
        Self { problems: problems.clone(), status }
    }
}

fn checked(verdict: &Verdict, outcome: &Result<Loaded, ConfigErrors>, console: Console) -> ExitStatus {
    let console = match outcome {
        Ok(loaded) => console.in_language(loaded.config.language.into()),
        Err(_) => console,
    };
    match console.format() {
        Format::Json => console.json(&problem_view::as_json(&verdict.problems, verdict.status)),
        Format::People => {
            verdict.problems.iter().for_each(|problem| console.line(problem_view::line(problem, &console)));
            console.say(&summary(outcome, verdict));
        }
    }
    verdict.status
}

fn summary(outcome: &Result<Loaded, ConfigErrors>, verdict: &Verdict) -> Text {
    let Ok(loaded) = outcome else {
        let errors = verdict.problems.iter().filter(|p| p.severity == Severity::Error).count();
        return Text::new(
            format!("С такой конфигурацией служба не запустится. Ошибок: {errors}."),
            format!("The service does not start with this configuration. Errors: {errors}."),
        );
    };
    let (portals, rules) = (loaded.config.portals.len(), loaded.config.rules.len());
    let (verdict_ru, verdict_en) = match verdict.status {
        ExitStatus::Fine => ("Конфигурация годится.", "The configuration can be used."),
        ExitStatus::ProblemFound | ExitStatus::Misuse => (
            "Конфигурация годится, но предупреждения считаются ошибками (--strict).",
            "The configuration can be used, but warnings count as errors (--strict).",
        ),
    };
    Text::new(
        format!(
            "{verdict_ru} Порталов: {portals}, правил: {rules}. Доступ и папки проверит `edobridge doctor`."
        ),
        format!(
            "{verdict_en} Portals: {portals}, rules: {rules}. Access and folders are checked by `edobridge doctor`."
        ),
    )
}

fn shown(loaded: &Loaded, console: &Console) -> ExitStatus {
    match console.format() {
        Format::People => console.line(loaded.show()),
        Format::Json => console.json(&Effective::of(loaded)),
    }
    ExitStatus::Fine
}

/// The effective configuration, for programs.
#[derive(Debug, Clone, Serialize)]
struct Effective {
    /// All values; secrets are places or stars.
    values: Value,
    /// Where each value that is not a default came from, by its full key.
    origins: Map<String, Value>,
}

impl Effective {
    fn of(loaded: &Loaded) -> Self {
        // every type of the configuration serialises: `config show` prints them all, and a test does this
        let values = serde_json::to_value(&loaded.config).unwrap_or_default();
        let mut origins = Map::new();
        gather(&values, "", &loaded.origins, &mut origins);
        Self { values, origins }
    }
}

fn gather(value: &Value, key: &str, origins: &Origins, out: &mut Map<String, Value>) {
    let origin = origins.of(key);
    if !key.is_empty() && origin != Origin::Default {
        out.insert(key.to_owned(), origin.to_string().into());
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                gather(value, &key, origins, out);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                gather(value, &format!("{key}[{index}]"), origins, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn check(toml: &str) -> Result<Loaded, ConfigErrors> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edobridge.toml");
        std::fs::write(&path, toml).unwrap();
        Config::check(Some(&path), &Environment::default())
    }

    const PORTAL: &str =
        "[[portals]]\nid = \"main\"\nwebhook_url = \"https://p.example/rest/1/planted7secret/\"\n";

    #[test]
    fn a_wrong_key_ends_with_one_and_a_warning_does_so_only_when_strict() {
        let wrong = check("nonsense = 1");
        assert_eq!(Verdict::of(&wrong, &CheckArgs::default()).status, ExitStatus::ProblemFound);
        // a literal secret in a file that everybody can read is a warning
        let warned = check(PORTAL);
        assert!(warned.is_ok());
        assert_eq!(Verdict::of(&warned, &CheckArgs::default()).status, ExitStatus::Fine);
        assert_eq!(Verdict::of(&warned, &CheckArgs { strict: true }).status, ExitStatus::ProblemFound);
    }

    #[test]
    fn what_could_not_be_checked_here_is_no_reason_to_fail() {
        let outcome = check("[operator]\ntoken = { credential = \"operator-token\" }");
        let verdict = Verdict::of(&outcome, &CheckArgs::default());
        assert!(verdict.problems.iter().any(|p| p.severity == Severity::Skipped), "{verdict:?}");
        assert_eq!(verdict.status, ExitStatus::Fine);
    }

    #[test]
    fn the_effective_configuration_tells_origins_and_no_secrets() {
        let loaded = check(PORTAL).unwrap();
        let shown = serde_json::to_string(&Effective::of(&loaded)).unwrap();
        assert!(!shown.contains("planted7secret"), "{shown}");
        let effective = Effective::of(&loaded);
        assert_eq!(effective.values["portals"][0]["webhook_url"], "***");
        let origin = effective.origins["portals[0].webhook_url"].as_str().unwrap();
        assert!(origin.ends_with("edobridge.toml:3"), "{origin}");
        assert!(!effective.origins.contains_key("store.segment_bytes"));
    }

    #[test]
    fn the_printed_defaults_are_a_configuration() {
        assert!(check(DEFAULT_TOML).is_ok());
    }

    #[test]
    fn the_printed_sample_is_a_configuration() {
        let outcome = check(EXAMPLE_TOML);
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}
