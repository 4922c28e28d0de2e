//! The control plane: the buttons of the emulated world over HTTP, under `/_sandbox/` on every address of the
//! sandbox, so that a person with curl and a test press the same ones.
//!
//! | call | what it does |
//! |---|---|
//! | `GET /_sandbox/state` | everything a witness sees |
//! | `GET /_sandbox/ledger?after=N`, `DELETE` | the ledger, all or after entry N; empty it |
//! | `GET /_sandbox/faults`, `POST` (one fault or a list), `DELETE` | faults |
//! | `POST /_sandbox/users` `{name, last_name}` | employ somebody |
//! | `POST /_sandbox/folders` `{name, parent?}` | make a folder |
//! | `POST /_sandbox/files?name=&folder=&event=1` | put a file: raw body, or multipart with a part `file` |
//! | `DELETE /_sandbox/files/ID` | move to the recycle bin |
//! | `POST /_sandbox/deals` `{id, fields}` | make or replace a deal |
//! | `POST /_sandbox/deals/ID/files?field=&name=` | put a file into its user field: raw body |
//! | `POST /_sandbox/deals/ID/stage` `{stage}` | move it, with the event |
//! | `POST /_sandbox/documents/ID/sign`, `/refuse` | with the callback |
//! | `POST /_sandbox/documents/ID/status` `{status}` | any status, with the callback |
//! | `POST /_sandbox/documents/ID/callback` `{status, copies?, delay_ms?}` | a callback, the status stays |
//! | `POST /_sandbox/events` `{name, data, copies?, delay_ms?}` | fire an event |
//! | `POST /_sandbox/scripts` `{file_name, script}` | what becomes of later documents |
//! | `POST /_sandbox/settings` `{echo?, owner?, scopes?, event_target?, callback_url?}` | switches |
//! | `POST /_sandbox/rename` | rename the portal |
//! | `POST /_sandbox/outage` `{side, ms}` | close a side's ports for a while |
//!
//! [`super::idocs::buttons`] has those of iDocs, [`super::buttons`] those of applications, the CRM, robots, the offline queue and the push server.
//!
//! With a key ([`super::SandboxOptions::control_key`]) every call must carry it in `X-Sandbox-Key`; without one the
//! sandbox listens on loopback only. Control calls are not in the ledger and no fault strikes them.

use super::bitrix24::events::EventSpec;
use super::bitrix24::portal::{Echo, Owner};
use super::bitrix24::transfers::read_part;
use super::button_press::{Refusal, body, done, parsed_id};
use super::buttons;
use super::callbacks::CallbackSpec;
use super::documents::Script;
use super::faults::Fault;
use super::front::{Head, Reply, Request, pause};
use super::idocs;
use super::ledger::Side;
use super::world::{Reach, World, WorldError};
use crate::domain::CrmItem;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use url::Url;

/// First segment of every control path.
const PREFIX: &str = "_sandbox";
/// The header that carries the key.
pub const KEY_HEADER: &str = "x-sandbox-key";
/// `entityTypeId` of deals.
const DEAL: u32 = 2;

/// Whether a request is for the control plane.
pub(crate) fn is_control(head: &Head) -> bool {
    head.segments().first() == Some(&PREFIX)
}

/// Answers one control call.
pub(crate) async fn answer(world: &Arc<World>, request: &Request) -> Reply {
    match press(world, request).await {
        Ok(body) => Reply::json(200, &body),
        Err(Refusal::NoKey) => refusal(401, "the header X-Sandbox-Key does not carry the sandbox's key"),
        Err(Refusal::NoSuchPath) => refusal(404, "no such button, see the sandbox's documentation"),
        Err(Refusal::Unreadable(why)) => refusal(400, &why),
        Err(Refusal::World(error @ WorldError::Missing { .. })) => refusal(404, &error.to_string()),
        Err(Refusal::World(error @ (WorldError::NameTaken(_) | WorldError::TooManyFaults))) => {
            refusal(409, &error.to_string())
        }
    }
}

fn refusal(status: u16, why: &str) -> Reply {
    Reply::json(status, &json!({"error": why}))
}

async fn press(world: &Arc<World>, request: &Request) -> Result<Value, Refusal> {
    let head = &request.head;
    if !has_key(world, head) {
        return Err(Refusal::NoKey);
    }
    match (head.method.as_str(), &head.segments()[1..]) {
        ("GET", ["state"]) => Ok(world.state_json()),
        ("GET", ["ledger"]) => Ok(json!(world.ledger_after(number(head, "after").unwrap_or(0)))),
        ("DELETE", ["ledger"]) => {
            world.clear_ledger();
            Ok(done())
        }
        ("GET", ["apps", id, "authorize"]) => {
            let state = head.query_value("state").unwrap_or_default();
            Ok(json!({"url": world.authorize_url(id, &state)}))
        }
        ("GET", ["faults"]) => Ok(world.faults_json()),
        ("GET", ["idocs", path @ ..]) => idocs::buttons::show(world, path).ok_or(Refusal::NoSuchPath),
        ("GET", path) => buttons::show(world, path).ok_or(Refusal::NoSuchPath),
        ("DELETE", ["faults"]) => {
            world.clear_faults();
            Ok(done())
        }
        ("POST", ["faults"]) => add_faults(world, request),
        ("POST", ["files"]) => add_file(world, request).await,
        ("DELETE", ["files", id]) => world.remove(parsed_id(id)?).map(|()| done()).map_err(Refusal::from),
        ("POST", ["deals", id, "files"]) => add_deal_file(world, request, id),
        ("POST", ["documents", id, verb]) => document_verb(world, request, id, verb),
        ("POST", ["idocs", path @ ..]) => idocs::buttons::press(world, request, path),
        ("POST", ["rename"]) => Ok(json!({"bitrix_url": world.rename_portal()})),
        ("POST", path) => match buttons::press(world, request, path).await {
            Some(pressed) => pressed,
            None => post_json(world, request, path),
        },
        _ => Err(Refusal::NoSuchPath),
    }
}

fn has_key(world: &World, head: &Head) -> bool {
    let Some(key) = world.control_key() else { return true };
    let given = head.header(KEY_HEADER).unwrap_or_default();
    bool::from(given.as_bytes().ct_eq(key.expose().as_bytes()))
}

/// The buttons whose body is one small JSON map.
fn post_json(world: &Arc<World>, request: &Request, path: &[&str]) -> Result<Value, Refusal> {
    match path {
        ["users"] => {
            let asked: UserBody = body(request)?;
            return Ok(json!({"id": world.add_user(&asked.name, &asked.last_name)}));
        }
        ["folders"] => {
            let asked: FolderBody = body(request)?;
            let parent = asked.parent.unwrap_or_else(|| world.root_folder());
            return Ok(json!({"id": world.add_folder(parent, &asked.name)?}));
        }
        ["deals"] => {
            let asked: DealBody = body(request)?;
            let fields: Vec<(&str, Value)> =
                asked.fields.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
            world.put_item(CrmItem { entity_type_id: DEAL, id: asked.id }, &fields);
        }
        ["deals", id, "stage"] => {
            let asked: StageBody = body(request)?;
            world.move_item(CrmItem { entity_type_id: DEAL, id: parsed_id(id)? }, &asked.stage)?;
        }
        ["events"] => {
            let asked: EventBody = body(request)?;
            let delay = Duration::from_millis(asked.delay_ms);
            let event = EventSpec::new(asked.name, asked.data);
            world.fire(EventSpec { copies: asked.copies.unwrap_or(1), delay, ..event });
        }
        ["scripts"] => {
            let asked: ScriptBody = body(request)?;
            world.script(&asked.file_name, asked.script);
        }
        ["settings"] => settings(world, body(request)?),
        ["outage"] => outage(world, &body(request)?),
        _ => return Err(Refusal::NoSuchPath),
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserBody {
    name: String,
    #[serde(default)]
    last_name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderBody {
    name: String,
    parent: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DealBody {
    id: u64,
    #[serde(default)]
    fields: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StageBody {
    stage: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventBody {
    name: String,
    #[serde(default)]
    data: Value,
    copies: Option<u32>,
    #[serde(default)]
    delay_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptBody {
    file_name: String,
    script: Script,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsBody {
    echo: Option<Echo>,
    owner: Option<Owner>,
    scopes: Option<Vec<String>>,
    event_target: Option<Url>,
    callback_url: Option<Url>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutageBody {
    side: Side,
    ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallbackBody {
    status: String,
    copies: Option<u32>,
    #[serde(default)]
    delay_ms: u64,
}

fn add_faults(world: &World, request: &Request) -> Result<Value, Refusal> {
    let many = request.body.trim_ascii_start().starts_with(b"[");
    let faults: Vec<Fault> = if many { body(request)? } else { vec![body(request)?] };
    for fault in faults {
        world.add_fault(fault)?;
    }
    Ok(done())
}

async fn add_file(world: &Arc<World>, request: &Request) -> Result<Value, Refusal> {
    let head = &request.head;
    let multipart = head.header("content-type").is_some_and(|kind| kind.starts_with("multipart/"));
    let (part_name, bytes) = if multipart {
        let (name, bytes) = read_part(request).await.map_err(Refusal::Unreadable)?;
        (Some(name), bytes)
    } else {
        (None, request.body.clone())
    };
    let name = head.query_value("name").or(part_name);
    let name = name.ok_or_else(|| Refusal::Unreadable("the query has no `name`".into()))?;
    let folder = number(head, "folder").unwrap_or_else(|| world.root_folder());
    let id = match head.query_value("event").as_deref() {
        Some("1") => world.drop_file(folder, &name, bytes)?,
        _ => world.add_file(folder, &name, bytes)?,
    };
    Ok(json!({"id": id}))
}

fn add_deal_file(world: &Arc<World>, request: &Request, id: &str) -> Result<Value, Refusal> {
    let item = CrmItem { entity_type_id: DEAL, id: parsed_id(id)? };
    let (Some(field), Some(name)) = (request.head.query_value("field"), request.head.query_value("name"))
    else {
        return Err(Refusal::Unreadable("the query needs `field` and `name`".into()));
    };
    Ok(json!({"id": world.put_item_file(item, &field, &name, request.body.clone())?}))
}

fn document_verb(world: &Arc<World>, request: &Request, id: &str, verb: &str) -> Result<Value, Refusal> {
    match verb {
        "sign" => world.sign(id)?,
        "refuse" => world.refuse(id)?,
        "status" => {
            let asked: CallbackBody = body(request)?;
            world.report(id, &asked.status)?;
        }
        "callback" => {
            let asked: CallbackBody = body(request)?;
            let delay = Duration::from_millis(asked.delay_ms);
            let copies = asked.copies.unwrap_or(1);
            world
                .send_callback(id, CallbackSpec { copies, delay, ..CallbackSpec::of_status(asked.status) })?;
        }
        _ => return Err(Refusal::NoSuchPath),
    }
    Ok(done())
}

fn settings(world: &World, asked: SettingsBody) {
    if let Some(echo) = asked.echo {
        world.set_echo(echo);
    }
    if let Some(owner) = asked.owner {
        world.set_owner(owner);
    }
    if let Some(scopes) = asked.scopes {
        world.set_scopes(&scopes.iter().map(String::as_str).collect::<Vec<_>>());
    }
    if let Some(target) = asked.event_target {
        world.set_event_target(Some(target));
    }
    if let Some(target) = asked.callback_url {
        world.set_callback_url(Some(target));
    }
}

/// Answers at once: a side that closes its ports could not answer afterwards.
fn outage(world: &Arc<World>, asked: &OutageBody) {
    let (world_then, side, ms) = (Arc::clone(world), asked.side, asked.ms);
    drop(world.spawn(async move {
        // Lets the answer to this very call leave first.
        pause(50).await;
        world_then.set_reach(side, Reach::Down).await;
        pause(ms).await;
        world_then.set_reach(side, Reach::Up).await;
    }));
}

fn number(head: &Head, name: &str) -> Option<u64> {
    head.query_value(name)?.parse().ok()
}
