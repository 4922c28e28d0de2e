//! Content to sign for many documents by one request: pushed now, made over there some time later.
//!
//! The one operation that may share a push with others. Generating is safe to repeat, since only the newest unit of a
//! document counts; and a finished operation names its document. So neither the order of the answers nor the ids of the
//! operations say what belongs to what, and an operation that names nobody is nobody's: its document asks alone.

use super::bulk::{ASKED_AT_ONCE_MAX, BulkKind, operations};
use super::client::{Call, Client, lacking};
use super::signing::{self, Content};
use super::{error, ids};
use crate::domain::Failure;
use crate::providers::remote::Nature;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Documents of one push: as many as can be asked about at once.
pub const PUSHED_AT_ONCE_MAX: usize = ASKED_AT_ONCE_MAX;

/// A document whose content is wanted, with ids that can be sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContentWish {
    document: String,
    employee: String,
}

impl ContentWish {
    /// A wish for the content of `document`, to be signed by `employee`.
    ///
    /// # Errors
    /// `bad_id` for an id that is no UUID: it would spoil the push of all others.
    pub fn new(document: &str, employee: &str) -> Result<Self, Failure> {
        Ok(Self { document: ids::document(document)?, employee: ids::employee(employee)? })
    }

    /// The document, spelled as the answers are matched.
    pub fn document(&self) -> &str {
        &self.document
    }
}

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentOperation {
    /// Not done yet.
    Running,
    /// Done, for the document that it names.
    Done {
        /// The document.
        document: String,
        /// Its newest unit.
        content: Content,
    },
    /// Not done, and it says for which document.
    Failed {
        /// The document.
        document: String,
        /// As the single call would fail.
        failure: Failure,
    },
    /// Over or unknown to the service, and nothing says whose it was.
    Over,
}

impl Client {
    /// Asks for content of several documents, at most [`PUSHED_AT_ONCE_MAX`]; further ones are left out. Gives the ids of
    /// the operations, in no order that means anything and perhaps fewer than were pushed.
    ///
    /// # Errors
    /// Never ambiguous: a push that was taken although its answer is lost makes units that nobody uses.
    pub async fn push_contents(&self, wishes: &[ContentWish]) -> Result<BTreeSet<String>, Failure> {
        self.require(Call::Bulk)?;
        let pushed = wishes.iter().take(PUSHED_AT_ONCE_MAX);
        let pushed = pushed
            .map(|wish| Ok(json!({"data": signing::content_body(&wish.document, &wish.employee)?})))
            .collect::<Result<Vec<Value>, Failure>>()?;
        let kind = BulkKind::GenerateContent;
        let value = self.post(kind.path(), &json!({"operations": pushed}), Nature::Read).await?.into_value();
        let known: BTreeSet<String> =
            operations(&value).iter().filter_map(|told| ids::uuid_at(told, "/operationId")).collect();
        if known.is_empty() {
            let errors = operations(&value).iter().flat_map(|told| error::listed_at(told, "operationErrors"));
            let errors: Vec<_> = errors.collect();
            return Err(match errors.is_empty() {
                true => lacking("no_operation_id", Nature::Read, &value, &self.redactor),
                false => error::of_errors(&errors, Nature::Read),
            });
        }
        Ok(known)
    }

    /// Asks how far operations of [`Client::push_contents`] are, at most [`ASKED_AT_ONCE_MAX`]. What the answer does not
    /// name is left out.
    ///
    /// # Errors
    /// Never ambiguous.
    pub async fn content_operations(
        &self,
        asked: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, ContentOperation>, Failure> {
        self.require(Call::Bulk)?;
        let named: Vec<Value> =
            asked.iter().take(ASKED_AT_ONCE_MAX).map(|id| json!({"operationId": id})).collect();
        let path = format!("{}/status", BulkKind::GenerateContent.path());
        let value = self.post(&path, &json!({"operations": named}), Nature::Read).await?.into_value();
        if !value.get("operations").is_some_and(Value::is_array) {
            return Err(lacking("no_list", Nature::Read, &value, &self.redactor));
        }
        let told = operations(&value).iter();
        let ours = told.filter_map(|told| Some((ids::uuid_at(told, "/operationId")?, told)));
        Ok(ours.filter(|(id, _)| asked.contains(id)).map(|(id, told)| (id, self.operation(told))).collect())
    }

    fn operation(&self, told: &Value) -> ContentOperation {
        let status = told.pointer("/operationStatus").and_then(Value::as_str).unwrap_or_default();
        if matches!(status, "Created" | "InProcessing") {
            return ContentOperation::Running;
        }
        let Some(document) = ids::uuid_at(told, "/data/documentId") else { return ContentOperation::Over };
        let errors = error::listed_at(told, "operationErrors");
        let made = match status {
            "CompletedWithOk" if errors.is_empty() => {
                self.content_of(&document, told.get("data").unwrap_or(&Value::Null))
            }
            "CompletedWithOk" | "CompletedWithProcessingError" | "CompletedWithProcessingException" => {
                Err(error::of_errors(&errors, Nature::Read))
            }
            // not found, or a word from the future
            _ => return ContentOperation::Over,
        };
        match made {
            Ok(content) => ContentOperation::Done { document, content },
            Err(failure) => ContentOperation::Failed { document, failure },
        }
    }
}
