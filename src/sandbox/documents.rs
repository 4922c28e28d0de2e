//! The signing service's documents: what was created, what is to become of it, what its signed copy looks like.
//!
//! Knows no HTTP.
//!
//! Invariants: every create makes a new document, also with an `external_id` that is there already, because nothing
//! says that the real service would not (that is how a test sees a double); a signed copy depends on the original
//! and the document's id only, and differs from the original.

use super::bitrix24::tree::digest_of;
use crate::domain::FileDigest;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

/// First status of a document (the EasyDocs guide, create response).
pub(crate) const PENDING: &str = "pending";
/// Terminal status of success (the EasyDocs guide, callback).
pub(crate) const SIGNED: &str = "signed";
/// A status between, of the kind the user manual of EasyDocs speaks of; its name is assumed.
pub(crate) const IN_APPROVAL: &str = "in_approval";

/// What becomes of a document without anybody pressing a button.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// How it ends.
    pub outcome: Outcome,
    /// When, in milliseconds after the create; the mode's delay if absent.
    pub after_ms: Option<u64>,
    /// Statuses reported before the end, evenly spaced.
    pub intermediate: Vec<String>,
    /// How often each callback is sent, even if it was acknowledged.
    pub callback_copies: u32,
    /// Whether the last callback comes before the answer to the create.
    pub early_callback: Chosen,
    /// Whether the answer to the create is lost after its effect.
    pub lose_create_answer: Chosen,
}

/// Whether a peculiarity is wanted. A type of its own, so that a script reads as a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chosen {
    /// It is not.
    #[default]
    No,
    /// It is.
    Yes,
}

/// How a scripted document ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everybody signs.
    #[default]
    Signed,
    /// A participant refuses; status `rejected`.
    Rejected,
    /// A participant refuses; status `declined`. The guide knows both names.
    Declined,
    /// Nothing ever happens.
    Never,
}

impl Outcome {
    /// The status it leads to.
    pub(crate) fn status(self) -> Option<&'static str> {
        match self {
            Self::Signed => Some(SIGNED),
            Self::Rejected => Some("rejected"),
            Self::Declined => Some("declined"),
            Self::Never => None,
        }
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            outcome: Outcome::Signed,
            after_ms: None,
            intermediate: Vec::new(),
            callback_copies: 1,
            early_callback: Chosen::No,
            lose_create_answer: Chosen::No,
        }
    }
}

impl Script {
    /// The script that a marker in a file's name orders: `~refuse`, `~decline`, `~never`, `~thrice`, `~early`,
    /// `~lost`, alone or together (`offer~lost~thrice.pdf`).
    pub fn from_file_name(name: &str) -> Option<Self> {
        let mut script = Self::default();
        let mut found = false;
        for word in name.split('~').skip(1) {
            let word: String = word.chars().take_while(|c| c.is_ascii_alphabetic()).collect();
            found |= script.obey(&word);
        }
        found.then_some(script)
    }

    fn obey(&mut self, word: &str) -> bool {
        match word {
            "refuse" => self.outcome = Outcome::Rejected,
            "decline" => self.outcome = Outcome::Declined,
            "never" => self.outcome = Outcome::Never,
            "thrice" => self.callback_copies = 3,
            "early" => self.early_callback = Chosen::Yes,
            "lost" => self.lose_create_answer = Chosen::Yes,
            _ => return false,
        }
        true
    }

    /// When each status is reached, as pauses one after another.
    pub(crate) fn steps(&self, default_delay: Duration) -> Vec<(Duration, String)> {
        let whole = self.after_ms.map_or(default_delay, Duration::from_millis);
        let last = self.outcome.status().map(str::to_owned);
        let statuses: Vec<String> = self.intermediate.iter().cloned().chain(last).collect();
        let pause = whole / u32::try_from(statuses.len().max(1)).unwrap_or(u32::MAX);
        statuses.into_iter().map(|status| (pause, status)).collect()
    }
}

/// One document of the signing service.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) external_id: String,
    pub(crate) name: String,
    pub(crate) file_name: String,
    pub(crate) route_id: String,
    pub(crate) callback_url: Option<String>,
    pub(crate) bytes: Bytes,
    pub(crate) digest: FileDigest,
    /// Computed when first asked for: large files make it dear.
    signed_digest: OnceLock<FileDigest>,
    pub(crate) status: String,
    pub(crate) created_ms: i64,
    pub(crate) downloads: u32,
    pub(crate) callbacks_sent: u32,
    pub(crate) callbacks_acknowledged: u32,
}

impl Document {
    pub(crate) fn is_ended(&self) -> bool {
        [Outcome::Signed, Outcome::Rejected, Outcome::Declined]
            .iter()
            .any(|o| o.status() == Some(&self.status))
    }
    pub(crate) fn signed_bytes(&self) -> Vec<u8> {
        signed_copy(&self.bytes, &self.id)
    }
    pub(crate) fn signed_digest(&self) -> FileDigest {
        *self.signed_digest.get_or_init(|| digest_of(&self.signed_bytes()))
    }
}

/// What a create asks for.
#[derive(Debug)]
pub(crate) struct NewDocument {
    pub(crate) external_id: String,
    pub(crate) name: String,
    pub(crate) file_name: String,
    pub(crate) route_id: String,
    pub(crate) callback_url: Option<String>,
    pub(crate) bytes: Bytes,
}

/// All documents, and the scripts that wait for theirs.
#[derive(Debug)]
pub(crate) struct Documents {
    all: BTreeMap<String, Document>,
    scripts: Vec<(String, Script)>,
    prefix: String,
    next: u32,
}

impl Documents {
    pub(crate) fn new() -> Self {
        // Ids of two sandboxes differ, so that a client that outlives one is never answered by mistake.
        let prefix: String = uuid::Uuid::new_v4().simple().to_string().chars().take(6).collect();
        Self { all: BTreeMap::new(), scripts: Vec::new(), prefix, next: 0 }
    }

    pub(crate) fn add(&mut self, new: NewDocument, now_ms: i64) -> Document {
        self.next += 1;
        let document = Document {
            id: format!("ed-doc-{}-{:06}", self.prefix, self.next),
            external_id: new.external_id,
            name: new.name,
            file_name: new.file_name,
            route_id: new.route_id,
            callback_url: new.callback_url,
            digest: digest_of(&new.bytes),
            bytes: new.bytes,
            signed_digest: OnceLock::new(),
            status: PENDING.into(),
            created_ms: now_ms,
            downloads: 0,
            callbacks_sent: 0,
            callbacks_acknowledged: 0,
        };
        self.all.insert(document.id.clone(), document.clone());
        document
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Document> {
        self.all.get(id)
    }
    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Document> {
        self.all.get_mut(id)
    }
    /// All documents in the order of their creation.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Document> {
        self.all.values()
    }

    /// Sets the script of every later document whose file name contains `part`; the latest setting wins.
    pub(crate) fn script(&mut self, part: &str, script: Script) {
        self.scripts.retain(|(known, _)| known != part);
        self.scripts.insert(0, (part.to_owned(), script));
    }

    /// The script set for a file name, or else the one its markers order.
    pub(crate) fn script_for(&self, file_name: &str) -> Option<Script> {
        let set = self.scripts.iter().find(|(part, _)| file_name.contains(part.as_str()));
        set.map(|(_, script)| script.clone()).or_else(|| Script::from_file_name(file_name))
    }
}

/// The signed copy of a file: a PDF that begins with the original's bytes (or wraps them, if they are no PDF) and
/// carries the document's id; the same bytes at every call.
pub fn signed_copy(original: &[u8], document_id: &str) -> Vec<u8> {
    let mut copy = Vec::with_capacity(original.len() + 512);
    let is_pdf = original.starts_with(b"%PDF-");
    if !is_pdf {
        copy.extend_from_slice(b"%PDF-1.4\n% container of the emulated signing service\n");
    }
    copy.extend_from_slice(original);
    let digest = digest_of(original).to_hex();
    copy.extend_from_slice(
        format!("\n% signed: document {document_id}, original sha256 {digest}\n").as_bytes(),
    );
    if let Some(offset) = last_startxref(original).filter(|_| is_pdf) {
        // Readers look for the last of these: repeated, it still leads to the original's table.
        copy.extend_from_slice(format!("startxref\n{offset}\n").as_bytes());
    }
    copy.extend_from_slice(b"%%EOF\n");
    copy
}

fn last_startxref(pdf: &[u8]) -> Option<u64> {
    let tail = &pdf[pdf.len().saturating_sub(1_024)..];
    let text = String::from_utf8_lossy(tail);
    let after = text.rsplit_once("startxref")?.1;
    after.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_in_a_file_name_order_a_script() {
        let script = Script::from_file_name("offer~lost~thrice.pdf").expect("both markers are known");
        assert_eq!((script.callback_copies, script.lose_create_answer), (3, Chosen::Yes));
        assert_eq!(Script::from_file_name("~refuse.pdf").map(|s| s.outcome), Some(Outcome::Rejected));
        assert_eq!(Script::from_file_name("never refuse lost.pdf"), None);
        assert_eq!(Script::from_file_name("a~b.pdf"), None);
    }

    #[test]
    fn a_signed_copy_is_a_pdf_that_differs_from_its_original_and_repeats_exactly() {
        let pdf = b"%PDF-1.4\nx\nstartxref\n419\n%%EOF\n";
        let copy = signed_copy(pdf, "ed-doc-1");
        assert!(copy.starts_with(pdf) && copy.len() > pdf.len());
        assert!(copy.ends_with(b"startxref\n419\n%%EOF\n"));
        assert_eq!(copy, signed_copy(pdf, "ed-doc-1"));
        assert_ne!(copy, signed_copy(pdf, "ed-doc-2"));
        assert!(signed_copy(b"PK\x03\x04", "ed-doc-1").starts_with(b"%PDF-"));
    }

    #[test]
    fn steps_share_the_delay_evenly() {
        let script = Script { intermediate: vec![IN_APPROVAL.into()], ..Script::default() };
        let steps = script.steps(Duration::from_secs(2));
        assert_eq!(
            steps,
            [(Duration::from_secs(1), IN_APPROVAL.into()), (Duration::from_secs(1), SIGNED.into())]
        );
    }
}
