//! The older external API V1 of the emulated iDocs, as far as one public client shows it (`signing-providers.md`, c.1):
//! one call takes the file with its signature, answers the key of a process, and the process tells the document later.
//!
//! What nobody knows is a switch in `V1Options`. Documents are those of the account, so that people, statuses and the
//! witness's view are the same as with V3.
//!
//! Invariants: a document is made by one call and is sent at once; a refused call leaves nothing; who asks too early is
//! shown an error page and not told why.

use super::account::{Account, BlobKind, Document, NewDocument, Node, NodeState, Save, fresh_id};
use super::cms;
use super::life::set_going;
use super::options::{
    FileOfV1, IDocsOptions, Presence, ProcessFate, RIGHT_TO_SIGN, RepeatedNumber, TooEarly,
};
use super::sending::GROUPS;
use super::statuses::{SENT, written};
use crate::sandbox::documents::{Chosen, Script};
use crate::sandbox::front::{Fate, Reply, Request};
use crate::sandbox::ledger::Note;
use crate::sandbox::world::{World, now_ms};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest name and number, in characters: those of V3, since V1's are not known.
const TEXT_CHARS_MAX: usize = 256;

/// A call of V1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum V1Call<'a> {
    Send,
    Process(&'a str),
    Document(&'a str),
    PrintForm(&'a str),
    File(&'a str),
}

impl<'a> V1Call<'a> {
    pub(super) fn of(method: &str, path: &[&'a str]) -> Option<Self> {
        match (method, path) {
            ("POST", ["ExternalDocumentFromFiles"]) => Some(Self::Send),
            ("GET", ["ExternalDocumentFromFiles", key, "WorkflowInfo"]) => Some(Self::Process(key)),
            ("GET", ["ExternalDocuments", id]) => Some(Self::Document(id)),
            ("GET", ["ExternalDocuments", id, "PrintForm"]) => Some(Self::PrintForm(id)),
            ("GET", ["ExternalDocuments", id, "File"]) => Some(Self::File(id)),
            _ => None,
        }
    }

    /// Its name for faults and ledger.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Send => "idocs.v1.send",
            Self::Process(_) => "idocs.v1.process",
            Self::Document(_) => "idocs.v1.document",
            Self::PrintForm(_) => "idocs.v1.print_form",
            Self::File(_) => "idocs.v1.file",
        }
    }
}

/// What was ordered and is being made.
#[derive(Debug, Default)]
pub(super) struct Processes(BTreeMap<String, Process>);

#[derive(Debug)]
struct Process {
    /// None: nothing comes of it.
    document_id: Option<String>,
    ready_ms: i64,
}

impl World {
    /// Every process of a sending by V1 tells its document from now on, however slow it was meant to be.
    pub fn idocs_end_processes(&self) {
        self.with_idocs(|account| {
            account.processes.0.values_mut().for_each(|process| process.ready_ms = i64::MIN);
        });
    }
}

/// `ExternalDocumentFromFiles`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Sending {
    document_name: String,
    document_number: String,
    group: String,
    #[serde(default, rename = "Type")]
    kind: Option<String>,
    reciever: Reciever,
    file_name: String,
    file_mime_type: String,
    file_length: u64,
    #[serde(rename = "FileBodyAsBase64String")]
    file: String,
    steps: Vec<Step>,
}

/// Spelled so over there.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Reciever {
    #[serde(rename = "BIN")]
    bin: String,
    email: Option<String>,
    is_individual: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Step {
    position: u32,
    employee_id: String,
    #[serde(rename = "SignBodyAsBase64String")]
    signature: String,
    sign_type: String,
}

/// What a call that is not done is answered.
enum No {
    /// In plain words, as far as anybody knows.
    Refused(u16, String),
    /// The page that V1 shows for everything it has not thought of.
    ErrorPage(&'static str),
}

fn refused(why: impl Into<String>) -> No {
    No::Refused(400, why.into())
}

/// Answers one call.
pub(super) async fn answer(world: &Arc<World>, request: &Request, call: V1Call<'_>) -> Reply {
    let answered = match call {
        V1Call::Send => send(world, request).await,
        V1Call::Process(key) => world.with_idocs(|account| process(account, key)),
        V1Call::Document(id) => world.with_idocs(|account| document(account, id)),
        V1Call::PrintForm(id) => world.with_idocs(|account| print_form(account, id)),
        V1Call::File(id) => world.with_idocs(|account| file(account, id)),
    };
    match answered {
        Ok(reply) => reply,
        Err(No::Refused(status, why)) => {
            let note = Note::read().fact("why", why.clone());
            Reply::json(status, &json!({"Message": why})).noted(note)
        }
        Err(No::ErrorPage(why)) => Reply::html(500).noted(Note::read().fact("why", why)),
    }
}

async fn send(world: &Arc<World>, request: &Request) -> Result<Reply, No> {
    let asked: Sending = serde_json::from_slice(&request.body).map_err(|why| refused(why.to_string()))?;
    let names = [asked.file_name.clone(), asked.document_name.clone()];
    let script = world.with_documents(|all| names.iter().find_map(|name| all.script_for(name)));
    let lost = script.as_ref().is_some_and(|script| script.lose_create_answer == Chosen::Yes);
    let kind = asked.kind.clone();
    let (key, document) = world.with_idocs(|account| made(account, asked, script, now_ms()))?;
    let mut note = Note::effect().fact("process", key.clone()).fact("type", kind);
    if let Some(document) = document {
        note = note
            .fact("document_id", document.id.clone())
            .fact("number", document.number.clone())
            .fact("sha256", document.files.first().map(|file| file.digest.to_hex()));
        set_going(world, &document, request.deliveries).await;
    }
    let fate = if lost { Fate::Lost } else { Fate::Sent };
    Ok(Reply { fate, ..Reply::json(200, &json!(key)) }.noted(note))
}

/// The key of the process, and the document unless nothing comes of it.
fn made(
    account: &mut Account,
    asked: Sending,
    script: Option<Script>,
    now_ms: i64,
) -> Result<(String, Option<Document>), No> {
    let options = account.options.clone();
    let (bytes, cms, signer) = checked(&options, &asked)?;
    let taken = account.documents().any(|document| document.number == asked.document_number);
    if taken && options.v1.same_number == RepeatedNumber::ErrorPage {
        return Err(No::ErrorPage("the number is taken"));
    }
    let key = fresh_id();
    let ready_ms = match options.v1.process {
        ProcessFate::NeverEnds => i64::MAX,
        ProcessFate::Ends | ProcessFate::Fails => {
            now_ms.saturating_add(i64::try_from(options.v1.process_ms).unwrap_or(i64::MAX))
        }
    };
    let document = (options.v1.process != ProcessFate::Fails)
        .then(|| documented(account, asked, (bytes, cms, signer), script, now_ms));
    let document_id = document.as_ref().map(|document| document.id.clone());
    account.processes.0.insert(key.clone(), Process { document_id, ready_ms });
    Ok((key, document))
}

/// File, signature and signer, as far as they are looked at.
fn checked(options: &IDocsOptions, asked: &Sending) -> Result<(Bytes, Bytes, String), No> {
    for (text, what) in [(&asked.document_name, "DocumentName"), (&asked.document_number, "DocumentNumber")] {
        if text.trim().is_empty() || text.chars().count() > TEXT_CHARS_MAX {
            return Err(refused(format!("{what} must have 1 to {TEXT_CHARS_MAX} characters")));
        }
    }
    if !GROUPS.contains(&asked.group.as_str()) {
        return Err(refused("Group is unknown"));
    }
    let bin = &asked.reciever.bin;
    if bin.len() != 12 || !bin.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused("BIN must have 12 digits"));
    }
    let bytes = decoded(&asked.file, "FileBodyAsBase64String")?;
    if bytes.len() as u64 != asked.file_length || bytes.len() > options.upload_bytes_max {
        return Err(refused("FileLength is wrong, or the file is too large"));
    }
    let name = asked.file_name.to_lowercase();
    if !options.extensions.iter().any(|end| name.ends_with(end.as_str())) || asked.file_mime_type.is_empty() {
        return Err(refused("the file is of a kind that is not taken"));
    }
    let [step] = &asked.steps[..] else { return Err(refused("Steps must have one entry")) };
    if options.v1.position.is_some_and(|position| position != step.position) {
        return Err(refused("Position is wrong"));
    }
    let employee = options.employee(&step.employee_id).ok_or_else(|| refused("EmployeeId is unknown"))?;
    if !employee.may(RIGHT_TO_SIGN) || step.sign_type != "CMS" {
        return Err(refused("the employee may not sign, or SignType is not CMS"));
    }
    let signature = decoded(&step.signature, "SignBodyAsBase64String")?;
    if let Some(why) = cms::fault(&signature, &bytes, options.signature) {
        return Err(refused(why));
    }
    Ok((bytes, signature, employee.id.clone()))
}

fn decoded(text: &str, what: &str) -> Result<Bytes, No> {
    let bytes = STANDARD.decode(text).map_err(|_| refused(format!("{what} is not Base64")))?;
    if bytes.is_empty() { Err(refused(format!("{what} is empty"))) } else { Ok(bytes.into()) }
}

/// The document, made, signed and sent in one go.
fn documented(
    account: &mut Account,
    asked: Sending,
    (bytes, cms, signer): (Bytes, Bytes, String),
    script: Option<Script>,
    now_ms: i64,
) -> Document {
    let file = account.add_blob(BlobKind::Document, asked.file_name, bytes.clone(), now_ms);
    let signature = account.add_blob(BlobKind::Signature, "signature.cms".into(), cms.clone(), now_ms);
    let new = NewDocument {
        name: asked.document_name,
        number: asked.document_number,
        date_s: u64::try_from(now_ms.div_euclid(1_000)).unwrap_or(0),
        group: asked.group,
        author: signer.clone(),
        files: vec![file],
        script,
    };
    let id = account.add_document(new, now_ms).id;
    let save =
        Save { ticket: String::new(), blob_id: signature.id, signer, content: bytes, cms, at_ms: now_ms };
    let to = node(&asked.reciever);
    let document = account.document_mut(&id).expect("it was added just now");
    document.nodes.push(to);
    document.routes = 1;
    document.send(save, now_ms);
    let document = document.clone();
    account.remember(&id, SENT, now_ms);
    document
}

/// Who is to sign: this is a signing service.
fn node(to: &Reciever) -> Node {
    Node {
        order: 0,
        bin: to.bin.clone(),
        company_id: fresh_id(),
        comment: None,
        individual: to.is_individual,
        emails: to.email.iter().cloned().collect(),
        sign_required: true,
        state: NodeState::NotStarted,
        completed_ms: None,
        reject_reason: None,
    }
}

fn process(account: &Account, key: &str) -> Result<Reply, No> {
    let process = account.processes.0.get(key).ok_or(No::ErrorPage("no such process"))?;
    let note = Note::read().fact("process", key.to_owned());
    let ready = now_ms() >= process.ready_ms;
    let card = match (&process.document_id, ready, account.options.v1.too_early) {
        (_, false, TooEarly::ErrorPage) => return Err(No::ErrorPage("asked too early")),
        (_, false, TooEarly::NoDocument) => json!({"ProcessId": key, "DocumentId": null, "Fault": null}),
        (Some(id), true, _) => json!({"ProcessId": key, "DocumentId": id, "Fault": null}),
        (None, true, _) => {
            json!({"ProcessId": key, "DocumentId": null, "Fault": "the signature is not valid"})
        }
    };
    Ok(Reply::json(200, &card).noted(note))
}

fn known<'a>(account: &'a Account, id: &str) -> Result<&'a Document, No> {
    account.document(id).ok_or_else(|| No::Refused(404, "there is no such document".into()))
}

fn document(account: &Account, id: &str) -> Result<Reply, No> {
    let document = known(account, id)?;
    let card: Value = json!({
        "Id": document.id, "DocumentName": document.name, "DocumentNumber": document.number,
        "SystemDocumentStatus": written(&document.status, account.options.statuses),
    });
    let note = Note::read().fact("document_id", document.id.clone()).fact("status", document.status.clone());
    Ok(Reply::json(200, &card).noted(note))
}

fn print_form(account: &mut Account, id: &str) -> Result<Reply, No> {
    let presence = account.options.print_form;
    let bytes = known(account, id)?.print_form();
    counted(account, id, |document| document.print_forms += 1);
    fetched(presence, "application/pdf", bytes.into(), id)
}

fn file(account: &mut Account, id: &str) -> Result<Reply, No> {
    let (presence, form) = (account.options.archive, account.options.v1.file);
    let document = known(account, id)?;
    let (kind, bytes) = match form {
        FileOfV1::Archive => ("application/zip", document.evidence().into()),
        FileOfV1::Original => {
            let first = document.files.first().map(|file| file.bytes.clone());
            ("application/octet-stream", first.unwrap_or_default())
        }
    };
    counted(account, id, |document| document.archives += 1);
    fetched(presence, kind, bytes, id)
}

fn counted(account: &mut Account, id: &str, count: impl FnOnce(&mut Document)) {
    if let Some(document) = account.document_mut(id) {
        count(document);
    }
}

fn fetched(presence: Presence, kind: &'static str, body: Bytes, id: &str) -> Result<Reply, No> {
    if presence == Presence::Missing {
        return Err(No::Refused(404, "there is none".into()));
    }
    let note = Note::read().fact("document_id", id.to_owned()).fact("size", body.len());
    Ok(Reply { status: 200, body, ..Reply::default() }.header("Content-Type", kind).noted(note))
}
