//! What is read of the account: statuses, files, documents with their routes, lists, people (c.4).

use super::account::{Account, Document, InnerNode, Node, NodeState};
use super::options::{Employee, Presence, StatusForm};
use super::statuses::{NAMES, answer, written};
use super::wire::{Content, Done, Outcome, PageQuery, QueryDocuments, Refused, page, uuid};
use crate::sandbox::ledger::Note;
use serde_json::{Value, json};

/// When the emulated employees were entered, UTC seconds.
const EMPLOYED_S: i64 = 1_700_000_000;

/// `DocumentBaseVM`.
pub(super) fn base(document: &Document, form: StatusForm) -> Value {
    json!({
        "id": document.id, "documentName": document.name, "documentNumber": document.number,
        "documentDate": document.date_s, "documentGroup": document.group,
        "documentAuthorEmployeeId": document.author, "createdOn": document.created_ms.div_euclid(1_000),
        "documentStatus": written(&document.status, form), "documentDirection": "Outbox",
    })
}

/// `DocumentExtendedVM`: the base and the route, which a fresh draft has not.
fn extended(document: &Document, form: StatusForm) -> Value {
    let mut card = base(document, form);
    card["documentRoute"] = match document.routes {
        0 => Value::Null,
        _ => json!({
            "external": {"nodes": document.nodes.iter().map(node).collect::<Vec<_>>()},
            "internal": {
                "routeActionOrderingType": document.order_type,
                "nodes": inner_nodes(document),
            },
        }),
    };
    card
}

fn node(node: &Node) -> Value {
    json!({
        "order": node.order, "counterpartyCompanyBin": node.bin, "counterpartyCompanyId": node.company_id,
        "comment": node.comment, "isIndividual": node.individual, "counterpartyCompanyEmails": node.emails,
        "isSignRequired": node.sign_required,
        "state": {
            "status": node.state,
            "completedOn": node.completed_ms.map(|ms| ms.div_euclid(1_000)),
            "rejectMetadata": node.reject_reason.as_ref().map(|reason| json!({"rejectReason": reason})),
        },
    })
}

/// Our own side: who was laid out, and the signer whom the save adds.
fn inner_nodes(document: &Document) -> Vec<Value> {
    let mut nodes: Vec<Value> = document.inner.iter().map(inner_node).collect();
    if let Some(save) = &document.save {
        let order = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let (employee_id, completed_ms) = (save.signer.clone(), Some(save.at_ms));
        nodes.push(inner_node(&InnerNode { order, employee_id, action: "SIGN".into(), completed_ms }));
    }
    nodes
}

fn inner_node(node: &InnerNode) -> Value {
    let state = if node.completed_ms.is_some() { NodeState::CompletedWithOk } else { NodeState::NotStarted };
    json!({
        "order": node.order, "employeeId": node.employee_id, "requiredAction": node.action,
        "state": {
            "status": state, "completedOn": node.completed_ms.map(|ms| ms.div_euclid(1_000)),
            "rejectMetadata": null,
        },
    })
}

/// A note of a read document.
fn read(document: &Document) -> Note {
    Note::read().fact("document_id", document.id.clone()).fact("status", document.status.clone())
}

fn found<'a>(account: &'a Account, id: &str) -> Result<Option<&'a Document>, Refused> {
    Ok(account.document(&uuid(id, "id")?))
}

/// What is said of a document that is not there.
fn absent(id: &str) -> Outcome {
    Ok(Done::new(Content::Absent, Note::read().fact("document_id", id).fact("error", "absent")))
}

/// The status of one document.
pub(super) fn status(account: &Account, id: &str) -> Outcome {
    match found(account, id)? {
        Some(document) => {
            let body = answer(&document.status, account.options.statuses);
            Ok(Done::new(Content::Bare(body), read(document)))
        }
        None => absent(id),
    }
}

/// One document with its route.
pub(super) fn single(account: &Account, id: &str) -> Outcome {
    match found(account, id)? {
        Some(document) => {
            let card = extended(document, account.options.statuses);
            Ok(Done::new(Content::Wrapped(card), read(document)))
        }
        None => absent(id),
    }
}

/// The form for people.
pub(super) fn print_form(account: &mut Account, id: &str) -> Outcome {
    let there = account.options.print_form == Presence::There;
    let Some(document) = account.document_mut(&uuid(id, "id")?).filter(|d| there && d.save.is_some()) else {
        return absent(id);
    };
    document.print_forms += 1;
    let bytes = document.print_form();
    let note = read(document).fact("size", bytes.len());
    Ok(Done::new(Content::File("application/pdf", bytes.into()), note))
}

/// The evidence.
pub(super) fn archive(account: &mut Account, id: &str) -> Outcome {
    let there = account.options.archive == Presence::There;
    let Some(document) = account.document_mut(&uuid(id, "id")?).filter(|d| there && d.save.is_some()) else {
        return absent(id);
    };
    document.archives += 1;
    let bytes = document.evidence();
    let note = read(document).fact("size", bytes.len());
    Ok(Done::new(Content::File("application/zip", bytes.into()), note))
}

/// The list of outgoing documents, the newest first; the order of the real one is not documented.
pub(super) fn list(account: &Account, asked: &QueryDocuments) -> Outcome {
    let statuses = asked.document_statuses.as_deref().unwrap_or_default();
    if let Some(unknown) = statuses.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(Refused::invalid(format!("the status {unknown} is unknown")));
    }
    let author = asked.document_author_id.as_deref().map(|id| uuid(id, "documentAuthorId")).transpose()?;
    let options = &account.options;
    let items: Vec<Value> = account
        .documents()
        .rev()
        .filter(|document| statuses.is_empty() || statuses.contains(&document.status))
        .filter(|document| is_between(document.date_s, asked.document_date_from, asked.document_date_to))
        .filter(|document| author.as_ref().is_none_or(|id| *id == document.author))
        .map(|document| extended(document, options.statuses))
        .collect();
    let note = Note::read().fact("found", items.len()).fact("skip", asked.skip);
    Ok(Done::new(page(items, asked.skip, asked.top, options.page_max), note))
}

/// Whether the bounds themselves are inside is not documented: here they are not. Zero is no bound.
fn is_between(date_s: u64, from: i64, to: i64) -> bool {
    let date = i64::try_from(date_s).unwrap_or(i64::MAX);
    (from == 0 || date > from) && (to == 0 || date < to)
}

/// Incoming documents: there are none.
pub(super) fn inbox(account: &Account, asked: &QueryDocuments) -> Outcome {
    Ok(Done::new(page(Vec::new(), asked.skip, asked.top, account.options.page_max), Note::read()))
}

/// Whose token it is.
pub(super) fn company(account: &Account) -> Outcome {
    let company = &account.options.company;
    let card = json!({
        "id": "33333333-4444-4555-8666-777777777777", "companyId": company.id, "companyBin": company.bin,
        "companyName": company.name,
    });
    Ok(Done::new(Content::Wrapped(card), Note::read()))
}

/// The company's people.
pub(super) fn employees(account: &Account, asked: &PageQuery) -> Outcome {
    let items = account.options.employees.iter().map(person).collect();
    Ok(Done::new(page(items, asked.skip, asked.top, account.options.page_max), Note::read()))
}

fn person(employee: &Employee) -> Value {
    json!({
        "id": employee.id, "nationalIdentificationNumber": employee.iin, "firstName": employee.first_name,
        "lastName": employee.last_name, "fullName": format!("{} {}", employee.last_name, employee.first_name),
        "position": employee.position, "email": employee.email, "createdOn": EMPLOYED_S,
    })
}

/// What somebody may do.
pub(super) fn rights(account: &Account, id: &str) -> Outcome {
    let id = uuid(id, "employeeId").map_err(|refused| refused.with_status(400))?;
    let employee = account.options.employee(&id);
    let employee = employee.ok_or_else(|| Refused::not_found("the employee").with_status(400))?;
    let card = json!({"employeeId": employee.id, "accountPermissions": employee.rights});
    Ok(Done::new(Content::Wrapped(card), Note::read().fact("employee_id", id)))
}
