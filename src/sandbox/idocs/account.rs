//! The company's account at the emulated iDocs: uploaded blobs, documents with their routes, content to sign and
//! signatures.
//!
//! Knows no HTTP and no JSON.
//!
//! Invariants: every create makes a new document; a document is sent by the first good save only; content to sign
//! differs byte by byte each time, so that a signature fits one unit alone; the first final status of a document
//! stays unless somebody sets another by hand.

use super::options::{IDocsOptions, OlderUnits};
use super::statuses::{self, DRAFT, FINISHED, RECEIVED, SENT};
use super::zip::{Entry, archive};
use crate::domain::FileDigest;
use crate::sandbox::bitrix24::tree::digest_of;
use crate::sandbox::documents::{Script, signed_copy};
use crate::sandbox::signer::ScriptedSigner;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use url::Url;

/// How many events of all documents are remembered: hours of a busy test.
const EVENTS_MAX: usize = 100_000;

/// What was uploaded.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) id: String,
    pub(super) kind: BlobKind,
    pub(super) file_name: String,
    pub(super) bytes: Bytes,
    pub(super) digest: FileDigest,
    pub(super) created_ms: i64,
}

/// By which call it was uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlobKind {
    Document,
    Signature,
}

/// The state of a node of a route, by the snapshot's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum NodeState {
    /// Nobody was asked yet.
    NotStarted,
    /// The counterparty has it.
    Active,
    /// It signed.
    CompletedWithOk,
    /// It refused.
    CompletedWithFail,
}

/// One counterparty.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) order: u32,
    pub(super) bin: String,
    pub(super) company_id: String,
    pub(super) comment: Option<String>,
    pub(super) individual: bool,
    pub(super) emails: Vec<String>,
    pub(super) sign_required: bool,
    pub(super) state: NodeState,
    pub(super) completed_ms: Option<i64>,
    pub(super) reject_reason: Option<String>,
}

/// One of our people on a full route.
#[derive(Debug, Clone)]
pub(super) struct InnerNode {
    pub(super) order: u32,
    pub(super) employee_id: String,
    pub(super) action: String,
    pub(super) completed_ms: Option<i64>,
}

/// Content to sign: bytes, link, ticket and end belong together.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) link_id: String,
    pub(super) ticket: String,
    pub(super) signer: String,
    pub(super) dispose_s: i64,
    /// Ended before its time.
    pub(super) dead: bool,
    pub(super) bytes: Bytes,
    pub(super) downloads: u32,
}

impl Unit {
    pub(super) fn is_alive(&self, now_ms: i64) -> bool {
        !self.dead && now_ms < self.dispose_s.saturating_mul(1_000)
    }
}

/// The save that sent a document.
#[derive(Debug, Clone)]
pub(super) struct Save {
    pub(super) ticket: String,
    pub(super) blob_id: String,
    pub(super) signer: String,
    pub(super) content: Bytes,
    pub(super) cms: Bytes,
    pub(super) at_ms: i64,
}

/// One document.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) number: String,
    pub(super) date_s: u64,
    pub(super) group: String,
    pub(super) author: String,
    pub(super) created_ms: i64,
    pub(super) files: Vec<Blob>,
    pub(super) status: String,
    pub(super) nodes: Vec<Node>,
    pub(super) inner: Vec<InnerNode>,
    pub(super) order_type: String,
    /// Routes that took effect.
    pub(super) routes: u32,
    pub(super) units: Vec<Unit>,
    pub(super) save: Option<Save>,
    /// Saves that repeated the good one and were accepted.
    pub(super) repeated_saves: u32,
    pub(super) script: Option<Script>,
    /// What the counterparty's signer made.
    pub(super) answer: Option<Bytes>,
    pub(super) print_forms: u32,
    pub(super) archives: u32,
    pub(super) webhooks_sent: u32,
    pub(super) webhooks_acknowledged: u32,
}

impl Document {
    pub(super) fn is_ended(&self) -> bool {
        statuses::is_final(&self.status)
    }

    /// A new unit; what becomes of older ones is the options' matter.
    pub(super) fn generate(&mut self, options: &IDocsOptions, signer: &str, now_ms: i64) -> Unit {
        if options.older_units == OlderUnits::Die {
            self.units.iter_mut().for_each(|unit| unit.dead = true);
        }
        let link_id = fresh_id();
        let life_ms = i64::try_from(options.unit_life().as_millis()).unwrap_or(i64::MAX);
        let unit = Unit {
            bytes: self.content(&link_id).into(),
            link_id,
            ticket: fresh_id(),
            signer: signer.to_owned(),
            dispose_s: now_ms.saturating_add(life_ms).div_euclid(1_000).saturating_add(1),
            dead: false,
            downloads: 0,
        };
        self.units.push(unit.clone());
        unit
    }

    fn content(&self, unit_id: &str) -> Vec<u8> {
        archive(&self.originals(), self.created_ms, unit_id)
    }

    /// The uploaded files under names that differ.
    fn originals(&self) -> Vec<Entry<'_>> {
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for (position, blob) in self.files.iter().enumerate() {
            let taken = entries.iter().any(|entry| entry.name == blob.file_name);
            let name =
                if taken { format!("{}-{}", position + 1, blob.file_name) } else { blob.file_name.clone() };
            entries.push(Entry { name, bytes: &blob.bytes });
        }
        entries
    }

    /// The form for people: a PDF that begins as the first file does, and names the document.
    pub(super) fn print_form(&self) -> Vec<u8> {
        let original = self.files.first().map_or(&[][..], |blob| &blob.bytes[..]);
        signed_copy(original, &self.id)
    }

    /// The evidence: originals, print form, signatures.
    pub(super) fn evidence(&self) -> Vec<u8> {
        let print_form = self.print_form();
        let mut entries = self.originals();
        entries.push(Entry { name: "print-form.pdf".into(), bytes: &print_form });
        if let Some(save) = &self.save {
            entries.push(Entry { name: "content-to-sign.zip".into(), bytes: &save.content });
            entries.push(Entry { name: "signatures/1-sender.cms".into(), bytes: &save.cms });
        }
        if let Some(answer) = &self.answer {
            entries.push(Entry { name: "signatures/2-recipient.cms".into(), bytes: answer });
        }
        archive(&entries, self.created_ms, &self.id)
    }

    fn receive(&mut self, now_ms: i64) {
        for node in self.nodes.iter_mut().filter(|node| node.state == NodeState::NotStarted) {
            if node.sign_required {
                node.state = NodeState::Active;
            } else {
                (node.state, node.completed_ms) = (NodeState::CompletedWithOk, Some(now_ms));
            }
        }
    }

    fn finish(&mut self, now_ms: i64) {
        for node in self.nodes.iter_mut().filter(|node| node.state != NodeState::CompletedWithOk) {
            (node.state, node.completed_ms) = (NodeState::CompletedWithOk, Some(now_ms));
        }
        if self.answer.is_none()
            && let (Some(save), Some(node)) = (&self.save, self.nodes.last())
        {
            // An individual's certificate names no company.
            let signer = match node.individual {
                true => ScriptedSigner::individual(&node.bin),
                false => ScriptedSigner::new("000000000002", &node.bin),
            };
            self.answer = Some(signer.sign_detached(&save.content).into());
        }
    }

    fn refuse(&mut self, reason: Option<&str>, now_ms: i64) {
        let open = |node: &&mut Node| matches!(node.state, NodeState::NotStarted | NodeState::Active);
        if let Some(node) = self.nodes.iter_mut().find(open) {
            (node.state, node.completed_ms) = (NodeState::CompletedWithFail, Some(now_ms));
            node.reject_reason = reason.map(str::to_owned);
        }
    }

    /// Sets a status and lets the route follow.
    pub(super) fn become_(&mut self, status: &str, reason: Option<&str>, now_ms: i64) {
        self.status = status.to_owned();
        if status == RECEIVED {
            self.receive(now_ms);
        } else if status.starts_with(FINISHED) {
            self.finish(now_ms);
        } else if statuses::is_refusal(status) {
            self.refuse(reason, now_ms);
        }
    }

    /// The save that sends it.
    pub(super) fn send(&mut self, save: Save, now_ms: i64) {
        for node in &mut self.inner {
            node.completed_ms = Some(now_ms);
        }
        self.save = Some(save);
        self.status = SENT.to_owned();
    }
}

/// One change of a status, as webhook and history tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) document_id: String,
    pub(super) status: String,
    pub(super) at_ms: i64,
}

/// What a create asks for.
pub(super) struct NewDocument {
    pub(super) name: String,
    pub(super) number: String,
    pub(super) date_s: u64,
    pub(super) group: String,
    pub(super) author: String,
    pub(super) files: Vec<Blob>,
    pub(super) script: Option<Script>,
}

/// The whole account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(super) options: IDocsOptions,
    blobs: BTreeMap<String, Blob>,
    documents: BTreeMap<String, Document>,
    /// Ids in the order of creation.
    order: Vec<String>,
    events: VecDeque<Event>,
    pub(super) operations: super::bulk::Operations,
    pub(super) processes: super::v1::Processes,
    pub(super) subscription: Option<Url>,
}

impl Account {
    pub(crate) fn new(options: IDocsOptions) -> Self {
        Self {
            options,
            blobs: BTreeMap::new(),
            documents: BTreeMap::new(),
            order: Vec::new(),
            events: VecDeque::new(),
            operations: super::bulk::Operations::default(),
            processes: super::v1::Processes::default(),
            subscription: None,
        }
    }

    pub(super) fn add_blob(&mut self, kind: BlobKind, file_name: String, bytes: Bytes, now_ms: i64) -> Blob {
        let digest = digest_of(&bytes);
        let blob = Blob { id: fresh_id(), kind, file_name, bytes, digest, created_ms: now_ms };
        self.blobs.insert(blob.id.clone(), blob.clone());
        blob
    }

    pub(super) fn blob(&self, id: &str, kind: BlobKind) -> Option<&Blob> {
        self.blobs.get(id).filter(|blob| blob.kind == kind)
    }

    pub(super) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.blobs.values()
    }

    pub(super) fn add_document(&mut self, new: NewDocument, now_ms: i64) -> Document {
        let document = Document {
            id: fresh_id(),
            name: new.name,
            number: new.number,
            date_s: new.date_s,
            group: new.group,
            author: new.author,
            created_ms: now_ms,
            files: new.files,
            status: DRAFT.into(),
            nodes: Vec::new(),
            inner: Vec::new(),
            order_type: "NONE".into(),
            routes: 0,
            units: Vec::new(),
            save: None,
            repeated_saves: 0,
            script: new.script,
            answer: None,
            print_forms: 0,
            archives: 0,
            webhooks_sent: 0,
            webhooks_acknowledged: 0,
        };
        self.remember(&document.id, DRAFT, now_ms);
        self.order.push(document.id.clone());
        self.documents.insert(document.id.clone(), document.clone());
        document
    }

    pub(super) fn document(&self, id: &str) -> Option<&Document> {
        self.documents.get(id)
    }
    pub(super) fn document_mut(&mut self, id: &str) -> Option<&mut Document> {
        self.documents.get_mut(id)
    }
    /// All documents in the order of their creation.
    pub(super) fn documents(&self) -> impl DoubleEndedIterator<Item = &Document> {
        self.order.iter().filter_map(|id| self.documents.get(id))
    }
    /// Puts other bytes in the place of a document's first file.
    pub(super) fn replace_file(&mut self, id: &str, bytes: Bytes) {
        if let Some(file) = self.documents.get_mut(id).and_then(|document| document.files.first_mut()) {
            (file.digest, file.bytes) = (digest_of(&bytes), bytes);
        }
    }
    /// The unit behind a link.
    pub(super) fn unit_mut(&mut self, link_id: &str) -> Option<(&str, &mut Unit)> {
        self.documents.values_mut().find_map(|document| {
            let Document { id, units, .. } = document;
            units.iter_mut().find(|unit| unit.link_id == link_id).map(|unit| (id.as_str(), unit))
        })
    }

    /// Notes that a document has a status now.
    pub(super) fn remember(&mut self, document_id: &str, status: &str, now_ms: i64) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            document_id: document_id.to_owned(),
            status: status.to_owned(),
            at_ms: now_ms,
        });
    }
    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
}

/// An id as the snapshot has them.
pub(super) fn fresh_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
