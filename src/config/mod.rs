//! The configuration: one TOML file, overlaid by environment variables, on top of built-in defaults.
//!
//! It knows nothing of the parts that it configures: they get plain values from it. It does not watch the file;
//! a change needs a restart.
//!
//! Invariants:
//! - CF-1: an unknown key, a wrong type or a broken rule stops the start; every problem names its place and remedy.
//! - CF-2: no secret is ever printed: not by `Debug`, not by `show`, not by a problem.
//! - CF-3: `default.toml` is the only source of defaults.
//! - CF-4: only `environment` reads the variables of the process.

mod app;
mod channel;
mod closed_network;
mod decode;
mod easydocs;
mod environment;
mod idocs;
mod network;
mod pattern;
mod portal;
mod problem;
mod retry;
mod rule;
mod schema;
mod secret_ref;
mod sender_list;
mod server;
mod show;
mod signing_page;
mod source;
mod units;
mod validate;

pub use app::{AppConfig, AppKind, Members};
pub use channel::{PushMode, SecondChannelConfig, SecondChannelMode};
pub use closed_network::{CaFile, ExtraAuthConfig};
pub use easydocs::{
    AuthConfig, CallbackConfig, CallbackFields, CallbackStatuses, CreateConfig, CreateFields, CreateMethod,
    CreateMode, CreateResponse, DownloadConfig, EasydocsConfig, EasydocsLimits, EasydocsTimeouts,
    HealthConfig, SearchConfig, SignatureAlgorithm, SignatureConfig, SignatureEncoding, StatusConfig,
};
pub use environment::{ENV_PREFIX, Environment};
pub use idocs::{
    IdocsBulk, IdocsCms, IdocsConfig, IdocsDownload, IdocsEventFields, IdocsHistory, IdocsLimits, IdocsQuery,
    IdocsRoute, IdocsRoutePreset, IdocsSigner, IdocsStatuses, IdocsTimeouts, IdocsUpload, IdocsV1,
    IdocsVersion, IdocsWebhook, SigningPageConfig,
};
pub use network::{InvalidNetwork, Network};
pub use pattern::{NamePattern, NameTemplate};
pub use portal::{ExplicitRate, PortalConfig, PortalTimeouts, Rate, RateLimit, RatePreset};
pub use problem::{ConfigErrors, Origin, Problem, Severity};
pub use retry::{CircuitConfig, RetryConfig};
pub use rule::{CrmItemSource, Delivery, Existing, Folders, Occasion, Recipient, RuleConfig, Trigger};
pub use schema::schema;
pub use secret_ref::{SecretRef, SecretSource};
pub use sender_list::{SenderListConfig, SenderRule};
pub use server::{LanguageCode, LogConfig, LogFormat, OperatorConfig, PublicConfig, StoreConfig, TimeConfig};
pub use signing_page::PageLanguage;
pub use source::{DEFAULT_TOML, Origins};
pub use units::{InvalidPeriod, InvalidSize, Period, Size};

use crate::domain::{AppId, PortalId, Secret, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything that can be configured. See `default.toml` for what each key means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the journal, the view, the spool, snapshots and the operator token.
    pub data_dir: PathBuf,
    /// Language of notices and of the command line.
    pub language: LanguageCode,
    /// The durable store.
    pub store: StoreConfig,
    /// The public listener.
    pub public: PublicConfig,
    /// The operator's listener.
    pub operator: OperatorConfig,
    /// Logging.
    pub log: LogConfig,
    /// How moments are shown.
    pub time: TimeConfig,
    /// The signing service.
    pub easydocs: EasydocsConfig,
    /// The signing service of Kazakhstan; none: it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idocs: Option<IdocsConfig>,
    /// How long our own signers have.
    pub signing_page: SigningPageConfig,
    /// The published list of senders of events.
    pub sender_list: SenderListConfig,
    /// Repetition of failed calls.
    pub retry: RetryConfig,
    /// Our applications in Bitrix24.
    #[serde(default)]
    pub apps: Vec<AppConfig>,
    /// The portals.
    #[serde(default)]
    pub portals: Vec<PortalConfig>,
    /// The rules.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
}

impl Config {
    /// Reads and checks a configuration: defaults, then the file, then variables `EDOBRIDGE__…`; reads its secrets.
    ///
    /// # Errors
    /// All problems that keep it from being used, as far as one run can find them.
    pub fn load(path: Option<&Path>, env: &Environment) -> Result<Loaded, ConfigErrors> {
        examine(path, env, Secrets::Required).into_loaded()
    }

    /// The same, but a secret that cannot be read here (only the service can) is a [`Severity::Skipped`] problem.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn check(path: Option<&Path>, env: &Environment) -> Result<Loaded, ConfigErrors> {
        examine(path, env, Secrets::MayBeElsewhere).into_loaded()
    }

    /// The built-in defaults: no portals, no rules.
    pub fn defaults() -> Self {
        let mut tree = source::defaults();
        tree.remove("portal_defaults");
        tree.remove("app_defaults");
        tree.remove("rule_defaults");
        tree.remove("idocs");
        Self::deserialize(tree).expect("the built-in default.toml decodes: a test reads it")
    }

    /// The portal with this name.
    pub fn portal(&self, id: &PortalId) -> Option<&PortalConfig> {
        self.portals.iter().find(|portal| portal.id == *id)
    }

    /// The application with this name.
    pub fn app(&self, id: &AppId) -> Option<&AppConfig> {
        self.apps.iter().find(|app| app.id == *id)
    }

    /// The rule with this name.
    pub fn rule(&self, id: &str) -> Option<&RuleConfig> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// Every secret that has a value, for the safety net of the log.
    pub fn secrets(&self) -> Vec<&Secret> {
        let portals = self.portals.iter().flat_map(|p| p.webhook_url.iter().chain(&p.application_tokens));
        let of_apps = self.apps.iter().map(|app| &app.portal);
        let extra =
            self.portals.iter().chain(of_apps).filter_map(|p| p.extra_auth.as_ref()).map(|e| &e.value);
        let apps = self.apps.iter().map(|app| &app.client_secret);
        let seals = self.store.seal_key.iter().chain(&self.store.old_seal_keys);
        let others =
            self.easydocs.api_key.iter().chain(&self.easydocs.signature.secrets).chain(&self.operator.token);
        let idocs = self.idocs.iter().flat_map(|idocs| idocs.token.iter().chain(&idocs.webhook.path_secret));
        portals
            .chain(extra)
            .chain(apps)
            .chain(seals)
            .chain(others)
            .chain(idocs)
            .filter(|secret| secret.is_resolved())
            .map(SecretRef::secret)
            .collect()
    }

    /// Every place of a secret with its key.
    fn secret_refs_mut(&mut self) -> Vec<(String, &mut SecretRef)> {
        let mut refs = Vec::new();
        for (p, portal) in self.portals.iter_mut().enumerate() {
            if let Some(webhook) = &mut portal.webhook_url {
                refs.push((format!("portals[{p}].webhook_url"), webhook));
            }
            for (t, token) in portal.application_tokens.iter_mut().enumerate() {
                refs.push((format!("portals[{p}].application_tokens[{t}]"), token));
            }
            if let Some(extra) = &mut portal.extra_auth {
                refs.push((format!("portals[{p}].extra_auth.value"), &mut extra.value));
            }
        }
        for (a, app) in self.apps.iter_mut().enumerate() {
            refs.push((format!("apps[{a}].client_secret"), &mut app.client_secret));
            for (t, token) in app.portal.application_tokens.iter_mut().enumerate() {
                refs.push((format!("apps[{a}].portal.application_tokens[{t}]"), token));
            }
            if let Some(extra) = &mut app.portal.extra_auth {
                refs.push((format!("apps[{a}].portal.extra_auth.value"), &mut extra.value));
            }
        }
        if let Some(key) = &mut self.store.seal_key {
            refs.push(("store.seal_key".to_owned(), key));
        }
        for (k, key) in self.store.old_seal_keys.iter_mut().enumerate() {
            refs.push((format!("store.old_seal_keys[{k}]"), key));
        }
        if let Some(key) = &mut self.easydocs.api_key {
            refs.push(("easydocs.api_key".to_owned(), key));
        }
        for (s, secret) in self.easydocs.signature.secrets.iter_mut().enumerate() {
            refs.push((format!("easydocs.signature.secrets[{s}]"), secret));
        }
        if let Some(idocs) = &mut self.idocs {
            let places =
                [("token", &mut idocs.token), ("webhook.path_secret", &mut idocs.webhook.path_secret)];
            let given = places.into_iter().filter_map(|(key, secret)| Some((key, secret.as_mut()?)));
            refs.extend(given.map(|(key, secret)| (format!("idocs.{key}"), secret)));
        }
        if let Some(token) = &mut self.operator.token {
            refs.push(("operator.token".to_owned(), token));
        }
        refs
    }

    /// Every file of certificates with its key.
    fn ca_files_mut(&mut self) -> Vec<(String, &mut CaFile)> {
        let mut files = Vec::new();
        for (p, portal) in self.portals.iter_mut().enumerate() {
            files.extend(portal.ca_file.as_mut().map(|file| (format!("portals[{p}].ca_file"), file)));
        }
        for (a, app) in self.apps.iter_mut().enumerate() {
            files.extend(app.ca_file.as_mut().map(|file| (format!("apps[{a}].ca_file"), file)));
            let of_portals = app.portal.ca_file.as_mut();
            files.extend(of_portals.map(|file| (format!("apps[{a}].portal.ca_file"), file)));
        }
        files.extend(self.easydocs.ca_file.as_mut().map(|file| ("easydocs.ca_file".to_owned(), file)));
        files
    }
}

/// A configuration that may be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Where each came from.
    pub origins: Origins,
    /// Warnings, and what could not be checked.
    pub notes: Vec<Problem>,
}

impl Loaded {
    /// The effective configuration as TOML with the origin of each key; secrets are `***`.
    pub fn show(&self) -> String {
        show::show(&self.config, &self.origins)
    }
}

/// Whether a secret that cannot be read is an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Required,
    MayBeElsewhere,
}

/// What an examination found.
struct Findings {
    config: Option<Config>,
    origins: Origins,
    problems: Vec<Problem>,
}

impl Findings {
    fn into_loaded(mut self) -> Result<Loaded, ConfigErrors> {
        self.problems.sort_by_key(|problem| problem.severity);
        let broken = self.problems.iter().any(|problem| problem.severity == Severity::Error);
        match self.config {
            Some(config) if !broken => Ok(Loaded { config, origins: self.origins, notes: self.problems }),
            Some(_) | None => Err(ConfigErrors { problems: self.problems }),
        }
    }
    fn note(&mut self, severity: Severity, key: &str, text: Text) {
        let origin = self.origins.nearest(key);
        let problem = Problem { severity, key: key.to_owned(), origin, text };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

fn examine(path: Option<&Path>, env: &Environment, secrets: Secrets) -> Findings {
    let mut source = source::gather(path, env);
    // a file that is not TOML was not merged, so that whatever its absence breaks is not worth telling
    let unread = source.problems.iter().any(|problem| problem.key.is_empty());
    let decoded = decode::decode(&mut source, &source::defaults());
    let mut findings = Findings { config: None, origins: source.origins, problems: source.problems };
    if unread {
        return findings;
    }
    for fault in &decoded.faults {
        findings.note(Severity::Error, &fault.key, fault.text.clone());
    }
    if let Some(mut config) = decoded.config {
        let base = path.and_then(Path::parent).unwrap_or(Path::new(""));
        read_secrets(&mut config, env, base, secrets, &mut findings);
        for (key, file) in config.ca_files_mut() {
            if let Err(text) = file.read(base) {
                findings.note(Severity::Error, &key, text);
            }
        }
        warn_of_readable_files(&mut config, path, env, base, &mut findings);
        if !decoded.incomplete {
            check_rules(&config, &decoded.faults, secrets, &mut findings);
        }
        findings.config = Some(config);
    }
    findings
}

/// Notes broken rules, except about keys whose value was no value and stands mended here.
fn check_rules(config: &Config, faults: &[decode::Fault], secrets: Secrets, findings: &mut Findings) {
    for found in validate::validate(config) {
        let told = faults.iter().any(|fault| fault.key == found.key);
        // a start that fails for an unread secret need not tell what could not be checked without it
        let untellable = found.severity == Severity::Skipped && secrets == Secrets::Required;
        if !told && !untellable {
            findings.note(found.severity, &found.key, found.text);
        }
    }
}

fn read_secrets(
    config: &mut Config,
    env: &Environment,
    base: &Path,
    secrets: Secrets,
    findings: &mut Findings,
) {
    let severity = match secrets {
        Secrets::Required => Severity::Error,
        Secrets::MayBeElsewhere => Severity::Skipped,
    };
    for (key, secret) in config.secret_refs_mut() {
        if let Err(text) = secret.resolve(env, base) {
            let severity = if *secret.source() == SecretSource::Literal { Severity::Error } else { severity };
            findings.note(severity, &key, text);
        }
    }
}

/// Names files with secrets that every user of the machine can read.
fn warn_of_readable_files(
    config: &mut Config,
    path: Option<&Path>,
    env: &Environment,
    base: &Path,
    findings: &mut Findings,
) {
    for (key, secret) in config.secret_refs_mut() {
        let in_config_file = matches!(findings.origins.of(&key), Origin::File { .. });
        let file = match secret.source() {
            SecretSource::Literal if in_config_file => path.map(Path::to_owned),
            SecretSource::Literal | SecretSource::Env(_) => None,
            SecretSource::File(_) | SecretSource::Credential(_) => secret.file(env, base),
        };
        if let Some(file) = file.filter(|file| is_readable_by_everybody(file)) {
            let file = file.display();
            let text = Text::new(
                format!("секрет лежит в файле {file}, который могут читать все: выполните chmod 600 {file}"),
                format!("the secret is in the file {file}, which everybody can read: run chmod 600 {file}"),
            );
            findings.note(Severity::Warning, &key, text);
        }
    }
}

fn is_readable_by_everybody(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests;
