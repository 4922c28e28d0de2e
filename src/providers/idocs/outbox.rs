//! Drafts and what becomes of them: create, find by number, read with the route.
//!
//! iDocs takes no id of ours and knows no idempotent create, so that a create that went unanswered is found by its
//! number alone, which must therefore be unique (reference e.3).

use super::client::{Call, Client, lacking};
use super::status::{KNOWN_STATUSES, Status};
use super::{error, ids};
use crate::domain::{Failure, FailureClass, FailureKind, Text, Timestamp};
use crate::providers::remote::Nature;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Longest name and number of a document (the guide).
pub const NAME_CHARS_MAX: usize = 256;
/// Longest reason of a refusal that is kept.
const REASON_CHARS_MAX: usize = 1_000;
/// Values from here on cannot be seconds (the year 5138): somebody wrote milliseconds.
const SECONDS_MAX: i64 = 100_000_000_000;

/// A document to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDraft {
    /// Its name as people see it; cut to 256 characters.
    pub name: String,
    /// Its number, 1 to 256 characters: the only thing by which it is found again.
    pub number: String,
    /// Its date.
    pub date: Timestamp,
    /// Its group: one of the ten names of the guide.
    pub group: String,
    /// The employee in whose name it is created; none: the service decides.
    pub author: Option<String>,
    /// The files, uploaded before.
    pub blob_ids: Vec<String>,
}

/// A document that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftRef {
    /// Its id: a UUID in lower case.
    pub document_id: String,
    /// Its status, if it was told.
    pub status: Option<Status>,
}

/// What a search by number gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundDraft {
    /// Exactly one document has this number.
    One(DraftRef),
    /// None has.
    None,
    /// Several have: a person has to say which is ours.
    Several(Vec<String>),
}

/// How far one side of the route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Not its turn yet.
    NotStarted,
    /// Waited for.
    Active,
    /// Done.
    CompletedWithOk,
    /// Refused.
    CompletedWithFail,
    /// A word that we do not know.
    Unknown,
}

/// One counterparty of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteNode {
    /// BIN or IIN, if told.
    pub bin: Option<String>,
    /// How far it is.
    pub state: NodeState,
    /// When it was done; shown, never used for order.
    pub completed_on: Option<Timestamp>,
    /// Why it refused.
    pub reject_reason: Option<String>,
}

/// A document of ours with its route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxDocument {
    /// Its id.
    pub document_id: String,
    /// Its number, if told.
    pub number: Option<String>,
    /// Its status, if told.
    pub status: Option<Status>,
    /// The counterparties; empty before the route is set.
    pub counterparties: Vec<RouteNode>,
    /// Reasons of refusals inside our own company.
    pub own_reasons: Vec<String>,
}

impl OutboxDocument {
    /// Whether the route is set.
    pub fn route_is_set(&self) -> bool {
        !self.counterparties.is_empty()
    }

    /// Why it was refused: the counterparty's words, else our own people's. Text from outside, to be escaped where it
    /// is shown.
    pub fn refusal_reason(&self) -> Option<String> {
        let theirs: Vec<&str> =
            self.counterparties.iter().filter_map(|node| node.reject_reason.as_deref()).collect();
        let ours = self.own_reasons.iter().map(String::as_str);
        let reasons = if theirs.is_empty() { ours.collect() } else { theirs };
        (!reasons.is_empty()).then(|| reasons.join("; ").chars().take(REASON_CHARS_MAX).collect())
    }
}

impl Client {
    /// Creates a draft. Class `probe`: after an unknown outcome look for its number ([`Client::find_draft`]).
    ///
    /// # Errors
    /// Ambiguous whenever a document may exist: no answer, 5xx, HTML, an answer without an id.
    pub async fn create_draft(&self, draft: &NewDraft) -> Result<DraftRef, Failure> {
        self.require(Call::CreateDraft)?;
        let body = self.draft_body(draft)?;
        let path = "/sync/external/outbox/document/create";
        let answer = self.post(path, &body, Nature::Write).await?.into_value();
        self.draft_ref(&answer)
            .ok_or_else(|| lacking("no_document_id", Nature::Write, &answer, &self.redactor))
    }

    pub(super) fn draft_body(&self, draft: &NewDraft) -> Result<Value, Failure> {
        let number = draft.number.trim();
        if !(1..=NAME_CHARS_MAX).contains(&number.chars().count()) {
            return Err(error::local(
                "bad_document_number",
                "Номер документа для iDocs: от 1 до 256 знаков. Исправьте idocs.document_number_template.",
                "A document number for iDocs has 1 to 256 characters. Correct idocs.document_number_template.",
            ));
        }
        let mut metadata = Map::new();
        metadata.insert("documentName".into(), json!(named(&draft.name, number)));
        metadata.insert("documentNumber".into(), json!(number));
        metadata.insert("documentDate".into(), json!(seconds(draft.date)));
        metadata.insert("documentGroup".into(), json!(draft.group));
        if let Some(author) = &draft.author {
            metadata.insert("documentAuthorEmployeeId".into(), json!(ids::employee(author)?));
        }
        let blobs: Vec<Value> = draft.blob_ids.iter().map(|id| json!({"blobId": id})).collect();
        Ok(json!({"documentMetadata": metadata, "documentBinaryContents": blobs}))
    }

    /// Looks for a document by its number: first among drafts, then among all others. Numbers are compared exactly; of
    /// several with one number the one with this name is taken.
    ///
    /// # Errors
    /// `too_many_documents` when the list has more pages than are read: then nothing is known.
    pub async fn find_draft(
        &self,
        number: &str,
        name: &str,
        around: Timestamp,
        author: Option<&str>,
    ) -> Result<FoundDraft, Failure> {
        self.require(Call::FindDraft)?;
        let (number, author) = (number.trim(), author.map(ids::employee).transpose()?);
        let drafts = ["DRAFT"];
        let others: Vec<&str> =
            KNOWN_STATUSES.into_iter().filter(|status| !matches!(*status, "NONE" | "DRAFT")).collect();
        let mut found = BTreeMap::new();
        for statuses in [&drafts[..], &others[..]] {
            self.gather(statuses, number, around, author.as_deref(), &mut found).await?;
            if !found.is_empty() {
                break;
            }
        }
        Ok(choose(found, &named(name, number)))
    }

    /// Pages through the outbox and keeps what has this number.
    async fn gather(
        &self,
        statuses: &[&str],
        number: &str,
        around: Timestamp,
        author: Option<&str>,
        found: &mut BTreeMap<String, Candidate>,
    ) -> Result<(), Failure> {
        let query = self.settings.query;
        let from = Timestamp(around.0.saturating_sub_unsigned(query.around_ms));
        let mut skip: u64 = 0;
        for _ in 0..query.pages_max {
            let mut body = json!({
                "documentStatuses": statuses,
                "documentDateFrom": seconds(from),
                "documentDateTo": seconds(around.plus_ms(query.around_ms)),
                "skip": skip,
                "top": query.page_size,
            });
            if let (Some(author), Some(members)) = (author, body.as_object_mut()) {
                members.insert("documentAuthorId".into(), json!(author));
            }
            let page =
                self.post("/sync/external/documents-query/outbox", &body, Nature::Read).await?.into_value();
            let page =
                Page::of(&page).ok_or_else(|| lacking("no_list", Nature::Read, &page, &self.redactor))?;
            for item in page.items {
                self.keep(item, number, found)?;
            }
            skip += page.items.len() as u64;
            if page.is_last(skip) {
                return Ok(());
            }
        }
        Err(too_many())
    }

    fn keep(
        &self,
        item: &Value,
        number: &str,
        found: &mut BTreeMap<String, Candidate>,
    ) -> Result<(), Failure> {
        if item.pointer("/documentNumber").and_then(Value::as_str).map(str::trim) != Some(number) {
            return Ok(());
        }
        let draft = self
            .draft_ref(item)
            .ok_or_else(|| lacking("bad_document_id", Nature::Read, item, &self.redactor))?;
        let name = ids::text_at(item, "/documentName").unwrap_or_default();
        found.insert(draft.document_id.clone(), Candidate { draft, name });
        Ok(())
    }

    pub(super) fn draft_ref(&self, value: &Value) -> Option<DraftRef> {
        let status = value.pointer("/documentStatus").and_then(|status| self.settings.statuses.of(status));
        Some(DraftRef { document_id: ids::uuid_at(value, "/id")?, status })
    }

    /// Reads a document of ours with its route: whether the route is set, and why it was refused.
    ///
    /// # Errors
    /// Permanent if there is no such document.
    pub async fn outbox_document(&self, document: &str) -> Result<OutboxDocument, Failure> {
        self.require(Call::OutboxDocument)?;
        let id = ids::document(document)?;
        let path = format!("/sync/external/documents-query/single/outbox/{id}");
        let value = self.get(&path).await?.into_value();
        // What is not there is said by a 404 or an error code: an answer without anything is nobody's word.
        if value.is_null() {
            return Err(lacking("empty_answer", Nature::Read, &value, &self.redactor));
        }
        let draft = self.draft_ref(&value).filter(|draft| draft.document_id == id);
        let draft = draft.ok_or_else(|| lacking("other_document", Nature::Read, &value, &self.redactor))?;
        Ok(OutboxDocument {
            document_id: draft.document_id,
            number: ids::text_at(&value, "/documentNumber"),
            status: draft.status,
            counterparties: nodes(&value, "/documentRoute/external/nodes"),
            own_reasons: nodes(&value, "/documentRoute/internal/nodes")
                .into_iter()
                .filter_map(|node| node.reject_reason)
                .collect(),
        })
    }

    /// Whether a draft has its route.
    ///
    /// # Errors
    /// As [`Client::outbox_document`].
    pub async fn route_is_set(&self, document: &str) -> Result<bool, Failure> {
        Ok(self.outbox_document(document).await?.route_is_set())
    }
}

struct Candidate {
    draft: DraftRef,
    name: String,
}

fn choose(found: BTreeMap<String, Candidate>, name: &str) -> FoundDraft {
    let mut candidates: Vec<Candidate> = found.into_values().collect();
    if candidates.len() > 1 {
        let (named, others): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| candidate.name.trim() == name);
        candidates = if named.len() == 1 { named } else { named.into_iter().chain(others).collect() };
    }
    match candidates.pop() {
        None => FoundDraft::None,
        Some(only) if candidates.is_empty() => FoundDraft::One(only.draft),
        Some(last) => {
            let ids = candidates.into_iter().chain([last]).map(|candidate| candidate.draft.document_id);
            FoundDraft::Several(ids.collect())
        }
    }
}

/// One page of a list.
pub(super) struct Page<'v> {
    pub(super) items: &'v [Value],
    total: Option<u64>,
}

impl<'v> Page<'v> {
    /// None if it is no page. A page without items may have none at all (`pageItems` is nullable).
    pub(super) fn of(value: &'v Value) -> Option<Self> {
        let members = value.as_object()?;
        let items = match members.get("pageItems") {
            Some(Value::Array(items)) => items.as_slice(),
            Some(Value::Null) | None if members.contains_key("totalSize") => &[],
            _ => return None,
        };
        Some(Self { items, total: members.get("totalSize").and_then(Value::as_u64) })
    }

    /// Whether nothing follows, `seen` entries having been read.
    pub(super) fn is_last(&self, seen: u64) -> bool {
        self.items.is_empty() || self.total.is_some_and(|total| seen >= total)
    }
}

fn nodes(value: &Value, pointer: &str) -> Vec<RouteNode> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.map(|nodes| nodes.iter().map(node).collect()).unwrap_or_default()
}

fn node(value: &Value) -> RouteNode {
    let state = value.pointer("/state/status").and_then(Value::as_str).unwrap_or_default();
    RouteNode {
        bin: ids::text_at(value, "/counterpartyCompanyBin"),
        state: match state {
            "NotStarted" => NodeState::NotStarted,
            "Active" => NodeState::Active,
            "CompletedWithOk" => NodeState::CompletedWithOk,
            "CompletedWithFail" => NodeState::CompletedWithFail,
            _ => NodeState::Unknown,
        },
        completed_on: value.pointer("/state/completedOn").and_then(moment),
        reject_reason: ids::text_at(value, "/state/rejectMetadata/rejectReason").map(|reason| clean(&reason)),
    }
}

/// Text from outside on one line, bounded.
fn clean(text: &str) -> String {
    let plain = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(REASON_CHARS_MAX).collect()
}

/// The name as it is sent: cut, and the number where there is none.
fn named(name: &str, number: &str) -> String {
    let name = name.trim();
    let name = if name.is_empty() { number } else { name };
    name.chars().take(NAME_CHARS_MAX).collect::<String>().trim().to_owned()
}

/// Seconds of the epoch (the guide).
pub(super) fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1_000).max(0)
}

/// A moment from seconds of the epoch; milliseconds are recognised by their size.
pub(super) fn moment(value: &Value) -> Option<Timestamp> {
    let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())?;
    let ms = if number.abs() < SECONDS_MAX { number.saturating_mul(1_000) } else { number };
    Some(Timestamp(ms))
}

fn too_many() -> Failure {
    let reason = Text::new(
        "В iDocs слишком много документов за эти дни, чтобы найти наш по номеру. Найдите его в личном кабинете и \
         укажите, или увеличьте idocs.query.pages_max.",
        "iDocs has too many documents of these days to find ours by its number. Look for it in the account and name it, \
         or raise idocs.query.pages_max.",
    );
    Failure::new(FailureClass::Permanent, FailureKind::Local, "too_many_documents", reason)
}
