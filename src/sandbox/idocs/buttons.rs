//! The buttons of the emulated iDocs, under `/_sandbox/idocs/`. [`crate::sandbox::control`] has the rules for all.
//!
//! | call | what it does |
//! |---|---|
//! | `GET /_sandbox/idocs` | everything a witness sees of it |
//! | `GET /_sandbox/idocs/settings`, `POST` (some members) | how it behaves, see `IDocsOptions` |
//! | `POST /_sandbox/idocs/subscription` `{url}` | where webhooks go; null: nowhere |
//! | `POST /_sandbox/idocs/documents/ID/sign`, `/recall` | the counterparty signs; our people recall it |
//! | `POST /_sandbox/idocs/documents/ID/refuse` `{reason}` | the counterparty refuses |
//! | `POST /_sandbox/idocs/documents/ID/status` `{status, reason?, quiet?}` | any status, with the webhook or without |
//! | `POST /_sandbox/idocs/documents/ID/webhook` `{status, copies?, delay_ms?}` | a webhook, the status stays |
//! | `POST /_sandbox/idocs/documents/ID/expire` | links and tickets of its content to sign are dead |
//! | `POST /_sandbox/idocs/documents/ID/cms` `{iin?, bin?, form?}` | what a person's key would make of its newest content: `detached` or `attached`, base64 |

use super::options::IDocsOptions;
use super::webhooks::WebhookSpec;
use crate::sandbox::button_press::{Refusal, body, done};
use crate::sandbox::front::Request;
use crate::sandbox::signer::ScriptedSigner;
use crate::sandbox::world::{World, missing};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Answers a call that only shows; nothing if there is no such call.
pub(crate) fn show(world: &World, path: &[&str]) -> Option<Value> {
    match path {
        [] => Some(json!(world.idocs())),
        ["settings"] => Some(json!(world.idocs_options())),
        _ => None,
    }
}

/// Presses a button.
pub(crate) fn press(world: &Arc<World>, request: &Request, path: &[&str]) -> Result<Value, Refusal> {
    match path {
        ["settings"] => settings(world, body(request)?)?,
        ["subscription"] => {
            let asked: SubscriptionBody = body(request)?;
            world.set_idocs_subscription(asked.url);
        }
        ["documents", id, "sign"] => world.idocs_sign(id)?,
        ["documents", id, "recall"] => world.idocs_recall(id)?,
        ["documents", id, "expire"] => world.idocs_expire_units(id)?,
        ["documents", id, "refuse"] => {
            let asked: RefuseBody = body(request)?;
            world.idocs_refuse(id, &asked.reason)?;
        }
        ["documents", id, "status"] => status(world, id, &body(request)?)?,
        ["documents", id, "webhook"] => {
            let asked: WebhookBody = body(request)?;
            let (copies, delay) = (asked.copies.unwrap_or(1), Duration::from_millis(asked.delay_ms));
            let spec = WebhookSpec { copies, delay, ..WebhookSpec::of_status(asked.status) };
            world.idocs_send_webhook(id, spec)?;
        }
        ["documents", id, "cms"] => return cms(world, id, &body(request)?),
        _ => return Err(Refusal::NoSuchPath),
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscriptionBody {
    url: Option<Url>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefuseBody {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusBody {
    status: String,
    reason: Option<String>,
    #[serde(default)]
    quiet: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookBody {
    status: String,
    copies: Option<u32>,
    #[serde(default)]
    delay_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CmsBody {
    iin: Option<String>,
    bin: Option<String>,
    #[serde(default)]
    form: CmsForm,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum CmsForm {
    #[default]
    Detached,
    Attached,
}

/// Members that are not named stay what they are.
fn settings(world: &World, asked: Map<String, Value>) -> Result<(), Refusal> {
    let mut options = json!(world.idocs_options());
    if let Value::Object(members) = &mut options {
        members.extend(asked);
    }
    let options: IDocsOptions =
        serde_json::from_value(options).map_err(|why| Refusal::Unreadable(why.to_string()))?;
    world.set_idocs(options);
    Ok(())
}

fn status(world: &Arc<World>, id: &str, asked: &StatusBody) -> Result<(), Refusal> {
    let reason = asked.reason.as_deref();
    if asked.quiet {
        world.idocs_change_quietly(id, &asked.status, reason)?;
    } else {
        world.idocs_report(id, &asked.status, reason)?;
    }
    Ok(())
}

/// The director of the samples signs, unless somebody else is named.
fn cms(world: &World, id: &str, asked: &CmsBody) -> Result<Value, Refusal> {
    let content = world.idocs_content(id).ok_or_else(|| missing("content to sign of", id))?;
    let options = world.idocs_options();
    let first = options.employees.first().map_or("000000000000", |employee| employee.iin.as_str());
    let iin = asked.iin.as_deref().unwrap_or(first);
    let signer = ScriptedSigner::new(iin, asked.bin.as_deref().unwrap_or(&options.company.bin));
    let cms = match asked.form {
        CmsForm::Detached => signer.sign_detached(&content),
        CmsForm::Attached => signer.sign_attached(&content),
    };
    Ok(json!({"cms": STANDARD.encode(cms)}))
}
