//! The emulated EasyDocs. Source: the EasyDocs guide as far as it goes (create, download, `me`, callback); search
//! and status are not documented and can be switched off.
//!
//! Invariants: every call needs the bearer key; a create with a member that the guide does not know is refused; a
//! create is not idempotent.

use super::Mode;
use super::callbacks::{CallbackSpec, deliver, play};
use super::documents::{Chosen, Document, IN_APPROVAL, NewDocument, SIGNED, Script};
use super::faults::ErrorAnswer;
use super::front::{Fate, Head, Reply, Request};
use super::ledger::Note;
use super::world::{World, utc};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a create waits for its own early callback to be answered.
const EARLY_CALLBACK_WAIT: Duration = Duration::from_secs(5);
/// Longest name or id that is taken.
const TEXT_CHARS_MAX: usize = 1_024;

/// What the emulated service offers beyond the guide, and where it refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EasyDocsOptions {
    /// `GET /api/v1/documents?external_id=`, which the guide does not have.
    pub search: Capability,
    /// `GET /api/v1/documents/{id}`, which the guide does not have.
    pub status: Capability,
    /// Route ids that exist; empty: all of them.
    pub routes: Vec<String>,
    /// Largest file in bytes; the real limit is not stated.
    pub file_bytes_max: usize,
}

impl Default for EasyDocsOptions {
    fn default() -> Self {
        let file_bytes_max = 256 * 1024 * 1024;
        Self { search: Capability::On, status: Capability::On, routes: Vec::new(), file_bytes_max }
    }
}

/// Whether the service can do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// It can.
    On,
    /// The path is not there: 404.
    Off,
}

/// The call's name for faults and ledger.
pub(crate) fn call_name(head: &Head) -> String {
    let name = match (head.method.as_str(), &head.segments()[..]) {
        ("POST", ["api", "v1", "documents"]) => "easydocs.create",
        ("GET", ["api", "v1", "documents"]) => "easydocs.search",
        ("GET", ["api", "v1", "documents", _]) => "easydocs.status",
        ("GET", ["documents", _, "download"]) => "easydocs.download",
        ("GET", ["api", "v1", "me"]) => "easydocs.me",
        _ => "easydocs.unknown",
    };
    name.to_owned()
}

/// Answers one request.
pub(crate) async fn answer(world: &Arc<World>, request: &Request) -> Reply {
    let key = request.head.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if key != Some(world.easydocs_api_key()) {
        return error(401, "unauthorized", "the api key is missing or wrong");
    }
    let options = world.easydocs_options();
    match (call_name(&request.head).as_str(), &request.head.segments()[..]) {
        ("easydocs.create", _) => create(world, request, &options).await,
        ("easydocs.search", _) if options.search == Capability::On => search(world, request),
        ("easydocs.status", [.., id]) if options.status == Capability::On => status(world, id),
        ("easydocs.download", [_, id, _]) => download(world, id),
        ("easydocs.me", _) => Reply::json(200, &json!({"id": "sandbox-company", "name": "Песочница"})),
        _ => error(404, "not_found", "no such path"),
    }
}

/// The create request, with the members of the guide and no others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateRequest {
    name: String,
    file_content: String,
    file_name: String,
    route_id: String,
    external_id: String,
    callback_url: Option<String>,
}

async fn create(world: &Arc<World>, request: &Request, options: &EasyDocsOptions) -> Reply {
    let new = match checked(request, options) {
        Ok(new) => new,
        Err(reply) => return reply,
    };
    let (document, script) = world.add_document(new);
    let copies = script.as_ref().map_or(1, |s| s.callback_copies).saturating_mul(request.deliveries);
    let fate = match &script {
        Some(script) if script.lose_create_answer == Chosen::Yes => Fate::Lost,
        _ => Fate::Sent,
    };
    let note = Note::effect()
        .fact("document_id", document.id.clone())
        .fact("external_id", document.external_id.clone())
        .fact("name", document.file_name.clone())
        .fact("route_id", document.route_id.clone())
        .fact("size", document.bytes.len())
        .fact("sha256", document.digest.to_hex());
    set_going(world, &document, script, copies).await;
    let body = json!({
        "id": document.id,
        "status": document.status,
        "name": document.name,
        "created_at": utc(document.created_ms),
    });
    Reply { fate, ..Reply::json(201, &body).noted(note) }
}

/// Lets the script, or else the mode, decide what becomes of a new document.
async fn set_going(world: &Arc<World>, document: &Document, script: Option<Script>, copies: u32) {
    let (script, delay) = match (script, world.mode()) {
        (Some(script), Mode::Auto { sign_after, .. }) => (script, sign_after),
        (Some(script), Mode::Explicit) => (script, Duration::ZERO),
        (None, Mode::Auto { sign_after, intermediate }) => {
            let intermediate = match intermediate {
                Chosen::Yes => vec![IN_APPROVAL.to_owned()],
                Chosen::No => Vec::new(),
            };
            (Script { intermediate, ..Script::default() }, sign_after)
        }
        (None, Mode::Explicit) => return,
    };
    match (script.early_callback, script.outcome.status()) {
        (Chosen::Yes, Some(status)) => {
            world.set_status(&document.id, status);
            let spec = CallbackSpec { copies, ..CallbackSpec::of_status(status) };
            let delivery = world.spawn(deliver(Arc::clone(world), document.id.clone(), spec));
            // Too late or never answered: the create is answered all the same, the repeats go on.
            let _ = tokio::time::timeout(EARLY_CALLBACK_WAIT, delivery).await;
        }
        _ => drop(world.spawn(play(Arc::clone(world), document.id.clone(), script.steps(delay), copies))),
    }
}

fn checked(request: &Request, options: &EasyDocsOptions) -> Result<NewDocument, Reply> {
    let kind = request.head.header("content-type").unwrap_or("");
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        return Err(error(415, "unsupported_media_type", "the body must be application/json"));
    }
    let asked: CreateRequest = serde_json::from_slice(&request.body)
        .map_err(|why| error(400, "validation_error", &why.to_string()))?;
    for text in [&asked.name, &asked.file_name, &asked.route_id, &asked.external_id] {
        if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
            return Err(error(400, "validation_error", "a member is empty or too long"));
        }
    }
    if !options.routes.is_empty() && !options.routes.contains(&asked.route_id) {
        return Err(error(400, "validation_error", "route_id is unknown"));
    }
    let bytes = STANDARD
        .decode(&asked.file_content)
        .map_err(|_| error(400, "validation_error", "file_content is not base64"))?;
    if bytes.is_empty() {
        return Err(error(400, "validation_error", "file_content is empty"));
    }
    if bytes.len() > options.file_bytes_max {
        return Err(error(413, "file_too_large", "the file is too large"));
    }
    Ok(NewDocument {
        external_id: asked.external_id,
        name: asked.name,
        file_name: asked.file_name,
        route_id: asked.route_id,
        callback_url: asked.callback_url,
        bytes: bytes.into(),
    })
}

fn search(world: &Arc<World>, request: &Request) -> Reply {
    let Some(external_id) = request.head.query_value("external_id") else {
        return error(400, "validation_error", "external_id is missing");
    };
    let found: Vec<Value> = world.with_documents(|all| {
        all.iter().filter(|d| d.external_id == external_id).map(|d| card(world, d)).collect()
    });
    let note = Note::read().fact("external_id", external_id).fact("found", found.len());
    Reply::json(200, &json!({"total": found.len(), "items": found})).noted(note)
}

fn status(world: &Arc<World>, id: &str) -> Reply {
    match world.with_documents(|all| all.get(id).map(|d| card(world, d))) {
        Some(card) => Reply::json(200, &card).noted(Note::read().fact("document_id", id)),
        None => error(404, "not_found", "no such document"),
    }
}

fn card(world: &World, document: &Document) -> Value {
    let mut card = json!({
        "id": document.id, "external_id": document.external_id, "status": document.status, "name": document.name,
        "created_at": utc(document.created_ms),
    });
    if document.status == SIGNED {
        card["signed_file_url"] = world.signed_file_url(&document.id).into();
    }
    card
}

fn download(world: &Arc<World>, id: &str) -> Reply {
    let document = world.with_documents(|all| {
        let document = all.get_mut(id)?;
        document.downloads += u32::from(document.status == SIGNED);
        Some(document.clone())
    });
    let Some(document) = document else { return error(404, "not_found", "no such document") };
    if document.status != SIGNED {
        return error(409, "not_signed", "the document is not signed yet");
    }
    let bytes = Bytes::from(document.signed_bytes());
    let note = Note::read().fact("document_id", id).fact("size", bytes.len());
    Reply { status: 200, body: bytes, ..Reply::default() }
        .header("Content-Type", "application/pdf")
        .header("Content-Disposition", "attachment; filename=\"document.pdf\"")
        .noted(note)
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    // Only that a 4xx has a body is documented; its members are assumed.
    Reply::json(status, &json!({"error": code, "message": message})).noted(Note::read().fact("error", code))
}

/// An error answer that a fault ordered.
pub(crate) fn error_reply(answer: &ErrorAnswer) -> Reply {
    let mut reply = error(answer.status, &answer.error, &answer.description);
    reply.headers.extend(answer.headers());
    reply
}
