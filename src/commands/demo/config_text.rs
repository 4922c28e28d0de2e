//! The configuration file that the demo writes for its edobridge: TOML, with everything a person could want to read
//! in it said beside it.
//!
//! Knows the keys of the configuration, not how they are read. Invariant: the text passes the same checks as a
//! person's own file.

use crate::domain::{Language, Secret};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use url::Url;

/// Name of the only portal.
pub const PORTAL: &str = "demo";
/// Stage that a deal has to reach.
pub const STAGE: &str = "EXECUTING";
/// The deal's field with the file, as the configuration spells it; the portal's REST calls it `ufCrmContract`.
pub const FILE_FIELD: &str = "UF_CRM_CONTRACT";

/// What is different in every run.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Where edobridge keeps its data.
    pub data_dir: PathBuf,
    /// Where it listens for the world.
    pub public: SocketAddr,
    /// Where it listens for the operator.
    pub operator: SocketAddr,
    /// The operator's token.
    pub operator_token: Secret,
    /// The incoming webhook of the portal.
    pub webhook_url: Url,
    /// Token of the portal's events.
    pub application_token: Secret,
    /// The signing service.
    pub easydocs_url: Url,
    /// Its key.
    pub easydocs_api_key: Secret,
    /// Key of its callbacks' signature.
    pub callback_secret: Secret,
    /// iDocs.
    pub idocs_url: Url,
    /// Its host for webhooks.
    pub idocs_webhooks_url: Url,
    /// Its token.
    pub idocs_token: Secret,
    /// Who signs there for us: id, IIN and BIN.
    pub signer: [String; 3],
    /// The folder of documents that we sign first.
    pub idocs_folder: u64,
    /// The watched folder.
    pub inbox_folder: u64,
    /// The folder for signed copies of files from deals.
    pub deal_folder: u64,
    /// Language of notices.
    pub language: Language,
}

/// The whole file.
pub fn config_text(facts: &Facts) -> String {
    let mut text = String::from(
        "# Written by `edobridge demo`. Pauses are short so that there is something to see; the other values are\n\
         # those of a real installation. `edobridge config default` explains every key.\n\n",
    );
    for section in [server, portal, easydocs, idocs, retry, rules] {
        section(&mut text, facts).expect("writing into a String does not fail");
        text.push('\n');
    }
    text
}

type Written = std::fmt::Result;

/// A TOML string with its quotes.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn server(text: &mut String, facts: &Facts) -> Written {
    let language = match facts.language {
        Language::Ru => "ru",
        Language::En => "en",
    };
    writeln!(text, "data_dir = {}", quoted(&facts.data_dir.display().to_string()))?;
    writeln!(text, "language = \"{language}\"")?;
    writeln!(text, "\n[store]\nsegment_bytes = \"1MiB\"\nmin_free_disk = \"16MiB\"\nspool_max = \"4GiB\"")?;
    writeln!(text, "\n[public]\nlisten = \"{0}\"\nbase_url = \"http://{0}/\"\ndrain = \"3s\"", facts.public)?;
    writeln!(text, "\n[operator]\nlisten = \"{}\"", facts.operator)?;
    writeln!(text, "token = {}", quoted(facts.operator_token.expose()))?;
    writeln!(text, "\n[log]\nformat = \"human\"\nfilter = \"info\"")
}

fn portal(text: &mut String, facts: &Facts) -> Written {
    writeln!(text, "[[portals]]\nid = \"{PORTAL}\"")?;
    writeln!(text, "webhook_url = {}", quoted(facts.webhook_url.as_str()))?;
    writeln!(text, "application_tokens = [{}]", quoted(facts.application_token.expose()))?;
    writeln!(text, "rate = \"enterprise\"                # the sandbox enforces it: 5 a second, burst 250")?;
    writeln!(text, "query_limit_pause = \"1s\"")?;
    writeln!(text, "dangerous_allow_http = true         # the sandbox is on loopback")
}

fn easydocs(text: &mut String, facts: &Facts) -> Written {
    writeln!(text, "[easydocs]\nbase_url = {}", quoted(facts.easydocs_url.as_str()))?;
    writeln!(text, "api_key = {}", quoted(facts.easydocs_api_key.expose()))?;
    writeln!(text, "settle = \"1s\"\ncallback_grace = \"1m\"\ndangerous_allow_http = true")?;
    writeln!(text, "\n[easydocs.signature]\nsecrets = [{}]", quoted(facts.callback_secret.expose()))?;
    writeln!(
        text,
        "\n# A search is not documented for EasyDocs; the sandbox has one. Without it a create whose answer was lost\n\
         # waits for its callback instead, and is never repeated by itself either way.\n\
         [easydocs.search]\npath = \"/api/v1/documents?external_id={{external_id}}\"\nitems = \"/items\""
    )
}

fn idocs(text: &mut String, facts: &Facts) -> Written {
    let [employee, iin, bin] = &facts.signer;
    writeln!(text, "[idocs]\nbase_url = {}", quoted(facts.idocs_url.as_str()))?;
    writeln!(text, "webhooks_base_url = {}", quoted(facts.idocs_webhooks_url.as_str()))?;
    writeln!(text, "token = {}", quoted(facts.idocs_token.expose()))?;
    writeln!(text, "poll = [\"1s\", \"2s\"]\nsettle = \"1s\"\ndangerous_allow_http = true")?;
    writeln!(text, "\n[idocs.webhook]\npath_secret = {}", quoted(&path_secret()))?;
    writeln!(text, "\n[[idocs.signers]]\nname = \"director\"\nemployee_id = {}", quoted(employee))?;
    writeln!(text, "iin = {}\nbin = {}\nbitrix_user = 1", quoted(iin), quoted(bin))
}

/// What nobody guesses in the address for webhooks of iDocs.
fn path_secret() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn retry(text: &mut String, _: &Facts) -> Written {
    writeln!(text, "[retry]\neasydocs_server_error = [\"500ms\", \"1s\"]")?;
    writeln!(text, "portal_error = [\"500ms\", \"1s\", \"2s\", \"4s\"]")?;
    writeln!(text, "outage = [\"500ms\", \"1s\", \"2s\"]\noutage_give_up = \"10m\"")?;
    writeln!(text, "\n[retry.circuit]\nprobe_interval = \"500ms\"\nprobe_interval_max = \"2s\"")
}

fn rules(text: &mut String, facts: &Facts) -> Written {
    let (inbox, deals) = (facts.inbox_folder, facts.deal_folder);
    writeln!(text, "[[rules]]\nid = \"folder\"\nportal = \"{PORTAL}\"\nroute_id = \"17\"")?;
    writeln!(
        text,
        "trigger = {{ kind = \"folder\", folder_id = {inbox}, interval = \"500ms\", existing = \"send\" }}"
    )?;
    writeln!(text, "include = [\"*\"]")?;
    writeln!(
        text,
        "# Signed copies land in the watched folder, and nothing but the memory of them keeps them from being sent\n\
         # again. A real configuration excludes them by name as well.\nexclude = []"
    )?;
    writeln!(text, "notify = [\"creator\"]\nnotify_on = [\"signed\", \"refused\"]")?;
    let idocs = facts.idocs_folder;
    writeln!(text, "\n[[rules]]\nid = \"idocs\"\nportal = \"{PORTAL}\"\nservice = \"idocs\"")?;
    writeln!(text, "signer = \"director\"\ncounterparty_bin = \"123456789012\"\nmax_size = \"15MB\"")?;
    writeln!(
        text,
        "trigger = {{ kind = \"folder\", folder_id = {idocs}, interval = \"500ms\", existing = \"send\" }}"
    )?;
    writeln!(text, "notify = [\"creator\"]\nnotify_on = [\"signed\", \"refused\"]")?;
    writeln!(text, "\n[[rules]]\nid = \"deals\"\nportal = \"{PORTAL}\"\nroute_id = \"18\"")?;
    writeln!(
        text,
        "trigger = {{ kind = \"deal_stage\", stages = [\"{STAGE}\"], file_field = \"{FILE_FIELD}\" }}"
    )?;
    writeln!(text, "include = [\"*\"]\ndeliver_to = {deals}")?;
    writeln!(text, "notify = [\"responsible\"]\nnotify_on = [\"signed\", \"refused\"]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    fn facts() -> Facts {
        Facts {
            data_dir: "/tmp/a \"quoted\" folder".into(),
            public: ([127, 0, 0, 1], 20_001).into(),
            operator: ([127, 0, 0, 1], 20_002).into(),
            operator_token: Secret::new("0123456789abcdef0123"),
            webhook_url: "http://127.0.0.1:20003/rest/1/sandboxwebhooksecret/".parse().unwrap(),
            application_token: Secret::new("sandboxapplicationtoken"),
            easydocs_url: "http://127.0.0.1:20004/".parse().unwrap(),
            easydocs_api_key: Secret::new("sandbox-easydocs-key"),
            callback_secret: Secret::new("sandbox-callback-secret"),
            idocs_url: "http://127.0.0.1:20005/".parse().unwrap(),
            idocs_webhooks_url: "http://127.0.0.1:20005/api/1/".parse().unwrap(),
            idocs_token: Secret::new("sandbox-idocs-token"),
            signer: ["11111111-2222-4333-8444-555555555555", "000000000000", "210987654321"]
                .map(str::to_owned),
            idocs_folder: 6,
            inbox_folder: 7,
            deal_folder: 8,
            language: Language::Ru,
        }
    }

    #[test]
    fn the_configuration_passes_the_checks_of_a_real_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edobridge.toml");
        std::fs::write(&path, config_text(&facts())).unwrap();
        let loaded = Config::load(Some(&path), &Environment::default()).unwrap();
        let config = loaded.config;
        assert_eq!(config.data_dir, PathBuf::from("/tmp/a \"quoted\" folder"));
        assert_eq!(config.public.listen, facts().public);
        assert!(config.easydocs.can_search());
        let names: Vec<&str> = config.rules.iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(names, ["folder", "idocs", "deals"]);
        assert!(config.rules[0].takes_name("any.thing"));
    }
}
