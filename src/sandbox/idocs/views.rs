//! What a witness sees of the emulated iDocs: plain values, copied out, and the questions that decide whether
//! something happened twice.

use super::account::{Account, BlobKind, Document, NodeState};
use crate::domain::FileDigest;
use crate::sandbox::bitrix24::tree::digest_of;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use url::Url;

fn hex<S: Serializer>(digest: &FileDigest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&digest.to_hex())
}

fn hex_if<S: Serializer>(digest: &Option<FileDigest>, serializer: S) -> Result<S::Ok, S::Error> {
    digest.map(|digest| digest.to_hex()).serialize(serializer)
}

/// The whole account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IDocsView {
    /// All documents, oldest first.
    pub documents: Vec<IDocsDocument>,
    /// Uploads of documents, used or not.
    pub document_blobs: usize,
    /// Uploads of signatures, used or not.
    pub signature_blobs: usize,
    /// Where webhooks go: a secret, so not in JSON.
    #[serde(skip)]
    pub subscription: Option<Url>,
}

impl IDocsView {
    pub(super) fn of(account: &Account) -> Self {
        let count = |kind| account.blobs().filter(|blob| blob.kind == kind).count();
        Self {
            documents: account.documents().map(IDocsDocument::of).collect(),
            document_blobs: count(BlobKind::Document),
            signature_blobs: count(BlobKind::Signature),
            subscription: account.subscription.clone(),
        }
    }

    /// One document.
    pub fn document(&self, id: &str) -> Option<&IDocsDocument> {
        self.documents.iter().find(|document| document.id == id)
    }
    /// The documents with a number: more than one is a double.
    pub fn of_number(&self, number: &str) -> Vec<&IDocsDocument> {
        self.documents.iter().filter(|document| document.number == number).collect()
    }
    /// The documents whose first file has these bytes.
    pub fn of_content(&self, digest: &FileDigest) -> Vec<&IDocsDocument> {
        let has = |document: &&IDocsDocument| document.files.first().is_some_and(|f| f.sha256 == *digest);
        self.documents.iter().filter(has).collect()
    }
    /// Drafts: nobody outside has seen them.
    pub fn drafts(&self) -> impl Iterator<Item = &IDocsDocument> {
        self.documents.iter().filter(|document| !document.is_sent())
    }
    /// Documents that our signer signed: they went to the counterparty.
    pub fn sent(&self) -> impl Iterator<Item = &IDocsDocument> {
        self.documents.iter().filter(|document| document.is_sent())
    }
    /// Documents that the counterparty signed too.
    pub fn finished(&self) -> impl Iterator<Item = &IDocsDocument> {
        self.documents.iter().filter(|document| document.status.starts_with("FINISHED"))
    }
    /// Numbers of which more than one document went to the counterparty.
    pub fn numbers_sent_twice(&self) -> Vec<String> {
        let numbers = self.sent().map(|document| document.number.clone());
        repeated(numbers)
    }
    /// Numbers of which there is more than one document, sent or not.
    pub fn numbers_created_twice(&self) -> Vec<String> {
        repeated(self.documents.iter().map(|document| document.number.clone()))
    }
    /// First files (SHA-256 in hex) that went to the counterparty more than once.
    pub fn files_sent_twice(&self) -> Vec<String> {
        let files = self.sent().filter_map(|document| document.files.first());
        repeated(files.map(|file| file.sha256.to_hex()))
    }
    /// Ids of documents whose counterparty was put on the route more than once.
    pub fn routed_twice(&self) -> Vec<String> {
        let twice = self.documents.iter().filter(|document| document.routes > 1);
        twice.map(|document| document.id.clone()).collect()
    }
}

fn repeated(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect()
}

/// A file of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IDocsFile {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: usize,
    /// SHA-256 of its bytes; lower-case hex in JSON.
    #[serde(serialize_with = "hex")]
    pub sha256: FileDigest,
}

/// A counterparty on a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IDocsNode {
    /// BIN or, for an individual, IIN.
    pub bin: String,
    /// How far it is.
    pub state: NodeState,
    /// Why it refused.
    pub reject_reason: Option<String>,
    /// Where it is written to.
    pub emails: Vec<String>,
}

/// The signature that sent a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IDocsSignature {
    /// Who signed, by the save.
    pub employee_id: String,
    /// SHA-256 of the CMS.
    #[serde(serialize_with = "hex")]
    pub sha256: FileDigest,
    /// SHA-256 of the content that was to be signed.
    #[serde(serialize_with = "hex")]
    pub content_sha256: FileDigest,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IDocsDocument {
    /// The service's id.
    pub id: String,
    /// The client's number.
    pub number: String,
    /// Name shown in the service.
    pub name: String,
    /// Present status, by name.
    pub status: String,
    /// Its files.
    pub files: Vec<IDocsFile>,
    /// Who gets it.
    pub nodes: Vec<IDocsNode>,
    /// Routes that took effect: more than one asks the counterparty twice, unless the options say otherwise.
    pub routes: u32,
    /// How often content to sign was generated.
    pub units: usize,
    /// How often content to sign was fetched.
    pub content_downloads: u32,
    /// The signature that sent it.
    pub signature: Option<IDocsSignature>,
    /// Saves that repeated the good one and were accepted without effect.
    pub repeated_saves: u32,
    /// SHA-256 of the print form that can be fetched once it is sent.
    #[serde(serialize_with = "hex_if")]
    pub print_form_sha256: Option<FileDigest>,
    /// SHA-256 that the archive has at present.
    #[serde(serialize_with = "hex_if")]
    pub archive_sha256: Option<FileDigest>,
    /// How often the print form was fetched.
    pub print_forms: u32,
    /// How often the archive was fetched.
    pub archives: u32,
    /// Webhooks sent.
    pub webhooks_sent: u32,
    /// Webhooks answered with 2xx.
    pub webhooks_acknowledged: u32,
    /// When it was created, UTC milliseconds.
    pub created_ms: i64,
}

impl IDocsDocument {
    /// Whether our signature sent it to the counterparty.
    pub fn is_sent(&self) -> bool {
        self.signature.is_some()
    }

    pub(super) fn of(document: &Document) -> Self {
        let sent = document.save.is_some();
        let file = |blob: &super::account::Blob| IDocsFile {
            name: blob.file_name.clone(),
            size: blob.bytes.len(),
            sha256: blob.digest,
        };
        let node = |node: &super::account::Node| IDocsNode {
            bin: node.bin.clone(),
            state: node.state,
            reject_reason: node.reject_reason.clone(),
            emails: node.emails.clone(),
        };
        Self {
            id: document.id.clone(),
            number: document.number.clone(),
            name: document.name.clone(),
            status: document.status.clone(),
            files: document.files.iter().map(file).collect(),
            nodes: document.nodes.iter().map(node).collect(),
            routes: document.routes,
            units: document.units.len(),
            content_downloads: document.units.iter().map(|unit| unit.downloads).sum(),
            signature: document.save.as_ref().map(|save| IDocsSignature {
                employee_id: save.signer.clone(),
                sha256: digest_of(&save.cms),
                content_sha256: digest_of(&save.content),
            }),
            repeated_saves: document.repeated_saves,
            print_form_sha256: sent.then(|| digest_of(&document.print_form())),
            archive_sha256: sent.then(|| digest_of(&document.evidence())),
            print_forms: document.print_forms,
            archives: document.archives,
            webhooks_sent: document.webhooks_sent,
            webhooks_acknowledged: document.webhooks_acknowledged,
            created_ms: document.created_ms,
        }
    }
}
