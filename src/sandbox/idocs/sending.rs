//! The steps of sending a document: draft, route, content to sign, save (c.3, steps 2 to 6).
//!
//! Works on the account alone; what a step sets off is the matter of [`super::life`].
//!
//! Invariants: a refused step changes nothing; a save that repeats the good one changes nothing but its count.

use super::account::{
    Account, BlobKind, Document, InnerNode, NewDocument, Node, NodeState, Save, Unit, fresh_id,
};
use super::cms;
use super::options::{
    IDocsOptions, RIGHT_TO_CREATE, RIGHT_TO_SIGN, RepeatedRoute, RepeatedSave, RouteShape, SameNumber,
};
use super::queries::base;
use super::statuses::DRAFT;
use super::wire::{
    Content, CreateDocument, CreateRoute, Done, ErrorCode, ExternalNode, GenerateContent, Metadata, Outcome,
    Refused, SaveSignature, uuid,
};
use crate::sandbox::documents::{Chosen, Script};
use crate::sandbox::front::Fate;
use crate::sandbox::ledger::Note;
use serde_json::json;

/// `DocumentGroupType`.
pub(super) const GROUPS: [&str; 10] = [
    "Accounting",
    "Financial",
    "Legal",
    "Constitutive",
    "HR",
    "Paperwork",
    "Purchase",
    "Warehouse",
    "Organizational",
    "General",
];
/// `RouteOrderType`.
const ORDER_TYPES: [&str; 3] = ["NONE", "PARALLEL", "SEQUENTIAL"];
/// `RouteActionEnum`.
const ACTIONS: [&str; 4] = ["SIGN", "APPROVE", "INFORM", "REJECT"];
/// Longest name and number, in characters (the guide).
const TEXT_CHARS_MAX: usize = 256;
/// Later than this a date cannot be in seconds: whoever sends milliseconds is told so.
const DATE_S_MAX: u64 = 100_000_000_000;
/// Digits of a BIN or an IIN.
const BIN_DIGITS: usize = 12;

/// Which route call it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RouteKind {
    /// Counterparties only.
    Quick,
    /// Counterparties and our own people.
    Full,
}

/// The names by which a script for a new document is looked up: those of its files, and its own.
pub(super) fn names(account: &Account, asked: &CreateDocument) -> Vec<String> {
    let blob = |id: &str| account.blob(id, BlobKind::Document).map(|blob| blob.file_name.clone());
    let files = asked.document_binary_contents.iter().filter_map(|content| blob(&content.blob_id));
    files.chain([asked.document_metadata.document_name.clone()]).collect()
}

/// Makes a draft.
pub(super) fn create(
    account: &mut Account,
    asked: CreateDocument,
    script: Option<Script>,
    now_ms: i64,
) -> Outcome {
    let CreateDocument { document_metadata: metadata, document_binary_contents: contents } = asked;
    check_metadata(account, &metadata)?;
    if contents.is_empty() {
        return Err(Refused::invalid("documentBinaryContents is empty"));
    }
    let mut files = Vec::new();
    for content in contents {
        let id = uuid(&content.blob_id, "blobId")?;
        let blob = account.blob(&id, BlobKind::Document);
        files.push(blob.cloned().ok_or_else(|| Refused::not_found("the blob"))?);
    }
    let author = author(&account.options, metadata.document_author_employee_id.as_deref())?;
    let fate = match &script {
        Some(script) if script.lose_create_answer == Chosen::Yes => Fate::Lost,
        _ => Fate::Sent,
    };
    let new = NewDocument {
        name: metadata.document_name,
        number: metadata.document_number,
        date_s: metadata.document_date,
        group: metadata.document_group,
        author,
        files,
        script,
    };
    let document = account.add_document(new, now_ms);
    let note = about(Note::effect(), &document)
        .fact("name", document.name.clone())
        .fact("files", document.files.len())
        .fact("sha256", document.files.first().map(|file| file.digest.to_hex()));
    let content = Content::Bare(base(&document, account.options.statuses));
    Ok(Done { fate, ..Done::new(content, note) })
}

fn check_metadata(account: &Account, metadata: &Metadata) -> Result<(), Refused> {
    for (text, what) in
        [(&metadata.document_name, "documentName"), (&metadata.document_number, "documentNumber")]
    {
        if text.trim().is_empty() || text.chars().count() > TEXT_CHARS_MAX {
            return Err(Refused::invalid(format!("{what} must have 1 to {TEXT_CHARS_MAX} characters")));
        }
    }
    if metadata.document_date > DATE_S_MAX {
        return Err(Refused::invalid("documentDate is in seconds"));
    }
    if !GROUPS.contains(&metadata.document_group.as_str()) {
        return Err(Refused::invalid("documentGroup is unknown"));
    }
    let taken = account.documents().any(|document| document.number == metadata.document_number);
    if taken && account.options.same_number == SameNumber::Refuse {
        return Err(Refused::invalid("documentNumber is taken"));
    }
    Ok(())
}

fn author(options: &IDocsOptions, named: Option<&str>) -> Result<String, Refused> {
    match (named, options.employees.first()) {
        (Some(id), _) => employee(options, id, "documentAuthorEmployeeId", RIGHT_TO_CREATE),
        (None, Some(first)) => Ok(first.id.clone()),
        (None, None) => Err(Refused::not_found("an author")),
    }
}

/// The id of an employee who has a right.
fn employee(options: &IDocsOptions, id: &str, what: &str, right: &str) -> Result<String, Refused> {
    let id = uuid(id, what)?;
    let employee = options.employee(&id).ok_or_else(|| Refused::not_found(what))?;
    if !employee.may(right) {
        return Err(Refused::new(ErrorCode::PermissionError, format!("{what} lacks the right {right}")));
    }
    Ok(id)
}

/// Lays out who gets the document.
pub(super) fn route(account: &mut Account, asked: CreateRoute, kind: RouteKind) -> Outcome {
    let options = account.options.clone();
    employee(&options, &asked.employee_id, "employeeId", RIGHT_TO_CREATE)?;
    let nodes = checked_nodes(&options, &asked)?;
    let inner = checked_inner(&options, &asked, kind)?;
    let document = draft(account, &asked.document_id)?;
    match (document.routes, options.repeated_route) {
        (0, _) | (_, RepeatedRoute::Append) => {}
        (_, RepeatedRoute::Replace) => {
            document.nodes.clear();
            document.inner.clear();
        }
        (_, RepeatedRoute::Refuse) => return Err(Refused::invalid("the document has a route")),
    }
    document.order_type = asked.route.external.route_order_type.unwrap_or_else(|| "NONE".into());
    document.nodes.extend(nodes);
    document.inner.extend(inner);
    document.routes += 1;
    let note = about(Note::effect(), document)
        .fact("routes", document.routes)
        .fact("bins", json!(document.nodes.iter().map(|node| node.bin.clone()).collect::<Vec<_>>()));
    Ok(Done::new(Content::Nothing, note))
}

fn checked_nodes(options: &IDocsOptions, asked: &CreateRoute) -> Result<Vec<Node>, Refused> {
    let external = &asked.route.external;
    if external.nodes.is_empty() {
        return Err(Refused::invalid("route.external.nodes is empty"));
    }
    if external.route_order_type.as_deref().is_some_and(|name| !ORDER_TYPES.contains(&name)) {
        return Err(Refused::invalid("routeOrderType is unknown"));
    }
    check_shape(options.route_shape, asked)?;
    external.nodes.iter().map(node).collect()
}

fn node(asked: &ExternalNode) -> Result<Node, Refused> {
    let bin = &asked.counterparty_bin;
    if bin.len() != BIN_DIGITS || !bin.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refused::invalid("counterpartyBin must have 12 digits"));
    }
    if let Some(unit) = &asked.org_unit_id {
        uuid(unit, "orgUnitId")?;
    }
    let action = asked.required_action_type.as_deref();
    if action.is_some_and(|name| !ACTIONS.contains(&name)) {
        return Err(Refused::invalid("requiredActionType is unknown"));
    }
    // Without either member the counterparty is asked to sign: this is a signing service.
    let by_action = action.is_none_or(|name| name == "SIGN");
    Ok(Node {
        order: asked.order,
        bin: bin.clone(),
        company_id: fresh_id(),
        comment: asked.comment.clone(),
        individual: asked.is_individual,
        emails: asked.counterparty_emails.clone().unwrap_or_default(),
        sign_required: asked.is_sign_required_by_counterparty.unwrap_or(by_action),
        state: NodeState::NotStarted,
        completed_ms: None,
        reject_reason: None,
    })
}

/// Guide and snapshot know different members.
fn check_shape(shape: RouteShape, asked: &CreateRoute) -> Result<(), Refused> {
    let external = &asked.route.external;
    let with_action = external.nodes.iter().filter(|node| node.required_action_type.is_some()).count();
    let with_flag = external.nodes.iter().filter(|n| n.is_sign_required_by_counterparty.is_some()).count();
    let payer = [asked.is_sender_payer, asked.route.is_sender_payer, external.is_sender_payer];
    let payer = payer.into_iter().chain(external.nodes.iter().map(|n| n.is_sender_payer));
    let says_payer = payer.flatten().count() > 0;
    let of_snapshot = with_flag > 0
        || external.route_order_type.is_some()
        || external.is_sign_required_by_sender.is_some()
        || external.nodes.iter().any(|node| node.org_unit_id.is_some());
    match shape {
        RouteShape::Any => Ok(()),
        RouteShape::Guide if of_snapshot || says_payer => {
            Err(Refused::invalid("the route has unknown members"))
        }
        RouteShape::Guide if with_action < external.nodes.len() => {
            Err(Refused::invalid("requiredActionType is required"))
        }
        RouteShape::Guide => Ok(()),
        RouteShape::Snapshot | RouteShape::SnapshotWithPayer if with_action > 0 => {
            Err(Refused::invalid("requiredActionType is not a member"))
        }
        RouteShape::Snapshot if says_payer => Err(Refused::invalid("isSenderPayer is not a member")),
        RouteShape::Snapshot | RouteShape::SnapshotWithPayer if with_flag < external.nodes.len() => {
            Err(Refused::invalid("isSignRequiredByCounterparty is required"))
        }
        RouteShape::Snapshot => Ok(()),
        RouteShape::SnapshotWithPayer if says_payer => Ok(()),
        RouteShape::SnapshotWithPayer => {
            Err(Refused::new(ErrorCode::BillingError, "it is not said who pays for the document"))
        }
    }
}

fn checked_inner(
    options: &IDocsOptions,
    asked: &CreateRoute,
    kind: RouteKind,
) -> Result<Vec<InnerNode>, Refused> {
    let inner = match (&asked.route.internal, kind) {
        (None, _) => return Ok(Vec::new()),
        (Some(_), RouteKind::Quick) => return Err(Refused::invalid("a quick route has no internal part")),
        (Some(inner), RouteKind::Full) => inner,
    };
    if !ORDER_TYPES.contains(&inner.route_action_ordering_type.as_str()) {
        return Err(Refused::invalid("routeActionOrderingType is unknown"));
    }
    let nodes = inner.nodes.as_deref().unwrap_or_default().iter();
    nodes
        .map(|node| {
            let employee_id = uuid(&node.employee_id, "employeeId")?;
            if options.employee(&employee_id).is_none() || !ACTIONS.contains(&node.required_action.as_str()) {
                return Err(Refused::invalid("an internal node is wrong"));
            }
            let action = node.required_action.clone();
            Ok(InnerNode { order: node.order, employee_id, action, completed_ms: None })
        })
        .collect()
}

/// A document that was not sent yet.
fn draft<'a>(account: &'a mut Account, id: &str) -> Result<&'a mut Document, Refused> {
    let id = uuid(id, "documentId")?;
    let document = account.document_mut(&id).ok_or_else(|| Refused::not_found("the document"))?;
    if document.status != DRAFT {
        return Err(Refused::invalid("the document is not a draft any more"));
    }
    Ok(document)
}

/// Makes content to sign; `origin` is where the link leads.
pub(super) fn generate(account: &mut Account, asked: &GenerateContent, origin: &str, now_ms: i64) -> Outcome {
    let options = account.options.clone();
    let signer = employee(&options, &asked.signed_by_employee_id, "signedByEmployeeId", RIGHT_TO_SIGN)?;
    let document = draft(account, &asked.document_id)?;
    if document.routes == 0 {
        return Err(Refused::invalid("the document has no route"));
    }
    let unit = document.generate(&options, &signer, now_ms);
    let origin = options.link_origin.as_deref().unwrap_or(origin);
    let note = about(Note::effect(), document).fact("units", document.units.len());
    let body = json!({
        "documentId": document.id,
        "downloadLink": format!("{origin}/api/v3/sync/sign-content/download//{}", unit.link_id),
        "disposeOn": unit.dispose_s,
        "idempotencyTicket": unit.ticket,
    });
    Ok(Done::new(Content::Bare(body), note))
}

/// The bytes behind a download link.
pub(super) fn download(account: &mut Account, link_id: &str, now_ms: i64) -> Outcome {
    let Some((document_id, unit)) = account.unit_mut(link_id).filter(|(_, unit)| unit.is_alive(now_ms))
    else {
        return Err(Refused::not_found("the content to sign").with_status(404));
    };
    unit.downloads += 1;
    let note = Note::read().fact("document_id", document_id).fact("size", unit.bytes.len());
    Ok(Done::new(Content::File("application/zip", unit.bytes.clone()), note))
}

/// Whether a good save sent the document or repeated the one that did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saved {
    Sent,
    Repeated,
}

/// Stores a signature and sends the document.
pub(super) fn save(
    account: &mut Account,
    asked: &SaveSignature,
    now_ms: i64,
) -> Result<(Saved, Done), Refused> {
    let options = account.options.clone();
    let signer = employee(&options, &asked.signed_by_employee_id, "signedByEmployeeId", RIGHT_TO_SIGN)?;
    let blob_id = uuid(&asked.signature_binary_content.blob_id, "blobId")?;
    let blob = account.blob(&blob_id, BlobKind::Signature).cloned();
    let id = uuid(&asked.document_id, "documentId")?;
    let document = account.document_mut(&id).ok_or_else(|| Refused::not_found("the document"))?;
    if let Some(save) = document.save.clone() {
        let same =
            save.ticket == asked.idempotency_ticket && save.blob_id == blob_id && save.signer == signer;
        if !same || options.repeated_save == RepeatedSave::Refuse {
            return Err(Refused::invalid("the document is signed and sent"));
        }
        document.repeated_saves += 1;
        let note = about(Note::read(), document).fact("repeated", true);
        return Ok((Saved::Repeated, Done::new(Content::Nothing, note)));
    }
    let blob = blob.ok_or_else(|| Refused::not_found("the signature"))?;
    let unit = unit_for(document, &asked.idempotency_ticket, &signer, now_ms)?;
    if let Some(why) = cms::fault(&blob.bytes, &unit.bytes, options.signature) {
        return Err(Refused::invalid(why));
    }
    let save =
        Save { ticket: unit.ticket, blob_id, signer, content: unit.bytes, cms: blob.bytes, at_ms: now_ms };
    document.send(save, now_ms);
    let note = about(Note::effect(), document).fact("blob_id", blob.id).fact("sha256", blob.digest.to_hex());
    Ok((Saved::Sent, Done::new(Content::Nothing, note)))
}

fn unit_for(document: &Document, ticket: &str, signer: &str, now_ms: i64) -> Result<Unit, Refused> {
    if document.status != DRAFT {
        return Err(Refused::invalid("the document is not a draft any more"));
    }
    if document.routes == 0 {
        return Err(Refused::invalid("the document has no route"));
    }
    let unit = document.units.iter().find(|unit| unit.ticket == ticket);
    let unit = unit.ok_or_else(|| Refused::invalid("idempotencyTicket is not of this document"))?;
    if !unit.is_alive(now_ms) {
        return Err(Refused::invalid("idempotencyTicket has expired"));
    }
    if unit.signer != signer {
        return Err(Refused::invalid("the content was made for another signer"));
    }
    Ok(unit.clone())
}

fn about(note: Note, document: &Document) -> Note {
    note.fact("document_id", document.id.clone()).fact("number", document.number.clone())
}
