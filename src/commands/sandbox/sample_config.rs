//! A configuration with which edobridge works against the emulator that runs.

use super::args::{AppArg, SandboxArgs};
use super::stage::{FILE_FIELD, RESPONSIBLE, STAGE};
use super::whereabouts::Whereabouts;

/// Last part of the address to which iDocs sends webhooks: not a secret here, but as long as a real one.
const IDOCS_PATH_SECRET: &str = "5a6d0b0c1e2f4a8b9c0d5a6d0b0c1e2f4a8b9c0d";
/// The counterparty in iDocs: any 12 digits will do, the emulator plays them all.
const COUNTERPARTY_BIN: &str = "123456789012";

/// The configuration, section by section.
pub(super) fn sample_config(at: &Whereabouts, args: &SandboxArgs) -> String {
    [ours(args), easydocs(at, args), idocs(at, args), application(at, args), portal(at, args), rules(at)]
        .concat()
}

/// Our own side.
fn ours(args: &SandboxArgs) -> String {
    let public = args.event_target.port_or_known_default().unwrap_or(8080);
    format!(
        r#"# edobridge against its own sandbox. Every key here opens nothing but the emulator.
data_dir = "edobridge-sandbox-data"

[public]
listen = "127.0.0.1:{public}"
base_url = "http://127.0.0.1:{public}/"

"#,
    )
}

/// EasyDocs: what its guide does not document can be left out.
fn easydocs(at: &Whereabouts, args: &SandboxArgs) -> String {
    let Whereabouts { easydocs_url, keys, .. } = at;
    let (search, status) = if args.documented_only {
        ("", "")
    } else {
        ("/api/v1/documents?external_id={external_id}", "/api/v1/documents/{id}")
    };
    format!(
        r#"[easydocs]
base_url = "{easydocs_url}"
api_key = "{api_key}"
poll = ["5s", "15s"]
dangerous_allow_http = true          # loopback only

[easydocs.search]
path = "{search}"
items = "/items"

[easydocs.status]
path = "{status}"

[easydocs.signature]
secrets = ["{callback_secret}"]

"#,
        api_key = keys.easydocs_api_key,
        callback_secret = keys.callback_secret,
    )
}

/// iDocs, with its director as our signer.
fn idocs(at: &Whereabouts, args: &SandboxArgs) -> String {
    let Whereabouts { idocs_url, idocs_webhooks_url, director, company_bin, keys, .. } = at;
    let history = if args.documented_only {
        ""
    } else {
        "/webhooks/document-events/document-status-changed-event/{id}"
    };
    format!(
        r#"[idocs]
base_url = "{idocs_url}"
webhooks_base_url = "{idocs_webhooks_url}"
token = "{idocs_token}"
poll = ["5s", "15s"]
settle = "2s"
dangerous_allow_http = true          # loopback only

[idocs.webhook]
path_secret = "{IDOCS_PATH_SECRET}"

[idocs.history]
document_path = "{history}"

[[idocs.signers]]
name = "director"
employee_id = "{director_id}"
iin = "{director_iin}"
bin = "{company_bin}"
bitrix_user = {RESPONSIBLE}

"#,
        idocs_token = keys.idocs_token,
        director_id = director.id,
        director_iin = director.iin,
    )
}

/// The application that is registered.
fn application(at: &Whereabouts, args: &SandboxArgs) -> String {
    let Whereabouts { member_id, client_id, client_secret, oauth_url, .. } = at;
    format!(
        r#"# Takes effect when a button installs the application; until then the portal is reached by its webhook.
[[apps]]
id = "sandbox"
kind = "{app_kind}"
client_id = "{client_id}"
client_secret = "{client_secret}"
oauth_hosts = ["{oauth_url}"]
members = ["{member_id}"]
dangerous_allow_http = true          # loopback only

"#,
        app_kind = match args.app {
            AppArg::Local | AppArg::ApiOnly => "local",
            AppArg::Market => "market",
        },
    )
}

/// The portal, by its webhook.
fn portal(at: &Whereabouts, args: &SandboxArgs) -> String {
    let Whereabouts { webhook_url, keys, .. } = at;
    format!(
        r#"[[portals]]
id = "sandbox"
webhook_url = "{webhook_url}"
application_tokens = ["{application_token}"]
administrators = [{RESPONSIBLE}]
rate = "{plan}"
dangerous_allow_http = true          # loopback only

"#,
        application_token = keys.application_token,
        plan = args.plan.name(),
    )
}

/// One rule for each way: a folder, a folder for iDocs, a stage of deals.
fn rules(at: &Whereabouts) -> String {
    format!(
        r#"[[rules]]
id = "folder"
portal = "sandbox"
route_id = "route-1"
trigger = {{ kind = "folder", folder_id = {inbox}, interval = "1s", existing = "send" }}
notify = ["creator"]

[[rules]]
id = "idocs"
portal = "sandbox"
service = "idocs"
signer = "director"
counterparty_bin = "{COUNTERPARTY_BIN}"
counterparty_email = "signer@example.com"
include = ["*.pdf", "*.doc", "*.docx", "*.xls", "*.xlsx", "*.txt"]
max_size = "15MB"
trigger = {{ kind = "folder", folder_id = {idocs_inbox}, interval = "1s", existing = "send" }}
notify = ["creator"]

[[rules]]
id = "deals"
portal = "sandbox"
route_id = "route-1"
trigger = {{ kind = "deal_stage", stages = ["{STAGE}"], file_field = "{field}" }}
deliver_to = {signed}
notify = ["responsible"]
"#,
        inbox = at.stage.inbox_folder,
        idocs_inbox = at.stage.idocs_folder,
        signed = at.stage.signed_folder,
        field = FILE_FIELD.1,
    )
}
