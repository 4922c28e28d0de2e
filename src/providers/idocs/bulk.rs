//! Operations on many documents: pushed now, done over there some time later, from seconds to hours (the guide).
//!
//! Nothing ties a pushed operation to what we meant by it, and no order of the answers is documented. So one operation
//! goes with each push; results of many are then asked for at once, by their ids. How long to wait is
//! [`PollPlan`]'s; whoever waits lives above.
//!
//! The flow of a document uses one of them, for content to sign, and pushes several at once there: see
//! [`bulk_contents`](super::bulk_contents). Of the others:
//! - a create, a route or a save whose push was not answered could not be found again: the list of operations shows no
//!   data, so that they can be told from others by their time at best, and would lose what makes them happen once;
//! - a link to an archive names no document, so that each needs a push of its own: three requests instead of the one
//!   that fetches the archive at once;
//! - statuses and print forms have no such operation at all.

use super::client::{Call, Client, lacking};
use super::outbox::{DraftRef, NewDraft, moment};
use super::route_template::Counterparty;
use super::signing::{self, Content};
use super::{error, ids};
use crate::domain::{Failure, Timestamp};
use crate::providers::remote::Nature;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Operations asked about at once.
pub const ASKED_AT_ONCE_MAX: usize = 50;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BulkKind {
    /// A draft.
    CreateDraft,
    /// Its route.
    CreateRoute,
    /// Bytes to be signed.
    GenerateContent,
    /// A signature.
    SaveSignature,
    /// A link to a finished document.
    Download,
}

impl BulkKind {
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::CreateDraft => "/async/bulk/external/outbox/document/create",
            Self::CreateRoute => "/async/bulk/external/outbox/route/quick-route/create",
            Self::GenerateContent => "/async/bulk/external/outbox/signature/content-to-sign/generate",
            Self::SaveSignature => "/async/bulk/external/outbox/signature/quick-sign/save",
            Self::Download => "/async/documents/download/bulk-download",
        }
    }

    const fn nature(self) -> Nature {
        match self {
            Self::CreateDraft | Self::CreateRoute | Self::SaveSignature => Nature::Write,
            Self::GenerateContent | Self::Download => Nature::Read,
        }
    }
}

/// An operation to be pushed, with what its single call takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkOrder {
    /// [`Client::create_draft`].
    CreateDraft(NewDraft),
    /// [`Client::create_route`].
    CreateRoute {
        /// The draft.
        document: String,
        /// Our employee.
        employee: String,
        /// To whom.
        counterparty: Counterparty,
    },
    /// [`Client::generate_content`].
    GenerateContent {
        /// The draft.
        document: String,
        /// Who will sign.
        employee: String,
    },
    /// [`Client::save_signature`].
    SaveSignature {
        /// The draft.
        document: String,
        /// Who signed.
        employee: String,
        /// The uploaded signature.
        blob: String,
        /// The ticket of the signed unit.
        ticket: String,
    },
    /// A link to the archive of a document.
    Download {
        /// The document.
        document: String,
        /// In whose name; none: the company's.
        employee: Option<String>,
    },
}

/// An operation that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What it does.
    pub kind: BulkKind,
    /// Its id: a UUID in lower case.
    pub id: String,
    /// The document that it is about; none for a create.
    pub document: Option<String>,
}

/// What an operation gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationResult {
    /// A draft.
    Draft(DraftRef),
    /// Bytes to be signed.
    Content(Content),
    /// A link to a finished document.
    Link {
        /// Where it is, untrusted.
        link: String,
        /// When the link dies.
        dispose_on: Option<Timestamp>,
    },
    /// Done, and there is nothing to tell.
    Done,
}

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationState {
    /// Not done yet.
    Running,
    /// Done.
    Done(OperationResult),
    /// Not done; the class says whether that is certain.
    Failed(Failure),
    /// The service does not know it: whether it was done is unknown, look at the documents.
    Lost,
}

/// When a result is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollPlan {
    /// Pauses in milliseconds; the last one repeats.
    pub pauses_ms: Vec<u64>,
    /// After so many milliseconds the outcome counts as unknown.
    pub deadline_ms: u64,
}

impl PollPlan {
    /// The pause before the next question, `asked` times after the push at `since`; none when the time is over.
    pub fn pause_ms(&self, asked: u32, since: Timestamp, now: Timestamp) -> Option<u64> {
        let left = self.deadline_ms.checked_sub(now.ms_since(since)).filter(|left| *left > 0)?;
        let place = usize::try_from(asked).unwrap_or(usize::MAX).min(self.pauses_ms.len().checked_sub(1)?);
        Some(self.pauses_ms[place].min(left))
    }
}

impl Client {
    /// Pushes one operation.
    ///
    /// # Errors
    /// Ambiguous whenever a writing operation may have been taken: nothing lists operations with their data.
    pub async fn push(&self, order: &BulkOrder) -> Result<Operation, Failure> {
        self.require(Call::Bulk)?;
        let (kind, document, data) = self.order_data(order)?;
        let body = json!({"operations": [{"data": data}]});
        let value = self.post(kind.path(), &body, kind.nature()).await?.into_value();
        let unclear = |code| lacking(code, kind.nature(), &value, &self.redactor);
        let [pushed] = operations(&value) else { return Err(unclear("not_one_operation")) };
        let errors = error::listed_at(pushed, "operationErrors");
        if !errors.is_empty() {
            return Err(error::of_errors(&errors, kind.nature()));
        }
        let id = ids::uuid_at(pushed, "/operationId").ok_or_else(|| unclear("no_operation_id"))?;
        Ok(Operation { kind, id, document })
    }

    fn order_data(&self, order: &BulkOrder) -> Result<(BulkKind, Option<String>, Value), Failure> {
        Ok(match order {
            BulkOrder::CreateDraft(draft) => (BulkKind::CreateDraft, None, self.draft_body(draft)?),
            BulkOrder::CreateRoute { document, employee, counterparty } => {
                let data = self.route_body(document, employee, counterparty)?;
                (BulkKind::CreateRoute, Some(ids::document(document)?), data)
            }
            BulkOrder::GenerateContent { document, employee } => {
                let data = signing::content_body(document, employee)?;
                (BulkKind::GenerateContent, Some(ids::document(document)?), data)
            }
            BulkOrder::SaveSignature { document, employee, blob, ticket } => {
                let data = signing::signature_body(document, employee, blob, ticket)?;
                (BulkKind::SaveSignature, Some(ids::document(document)?), data)
            }
            BulkOrder::Download { document, employee } => {
                let id = ids::document(document)?;
                let employee = employee.as_deref().map(ids::employee).transpose()?;
                (BulkKind::Download, Some(id.clone()), json!({"documentId": id, "employeeId": employee}))
            }
        })
    }

    /// Asks how far operations of one kind are, at most [`ASKED_AT_ONCE_MAX`]; further ones are left out, and so are
    /// those that the answer does not name.
    ///
    /// # Errors
    /// Never ambiguous.
    pub async fn outcomes(
        &self,
        kind: BulkKind,
        asked: &[Operation],
    ) -> Result<BTreeMap<String, OperationState>, Failure> {
        self.require(Call::Bulk)?;
        let asked: Vec<&Operation> =
            asked.iter().filter(|operation| operation.kind == kind).take(ASKED_AT_ONCE_MAX).collect();
        let named: Vec<Value> = asked.iter().map(|operation| json!({"operationId": operation.id})).collect();
        let path = format!("{}/status", kind.path());
        let value = self.post(&path, &json!({"operations": named}), Nature::Read).await?.into_value();
        if !value.get("operations").is_some_and(Value::is_array) {
            return Err(lacking("no_list", Nature::Read, &value, &self.redactor));
        }
        let mut states = BTreeMap::new();
        for told in operations(&value) {
            let id = ids::uuid_at(told, "/operationId");
            if let Some(operation) = asked.iter().find(|operation| id.as_deref() == Some(&operation.id)) {
                states.insert(operation.id.clone(), self.state_of(operation, told));
            }
        }
        Ok(states)
    }

    fn state_of(&self, operation: &Operation, told: &Value) -> OperationState {
        let nature = operation.kind.nature();
        let errors = error::listed_at(told, "operationErrors");
        let status = told.pointer("/operationStatus").and_then(Value::as_str).unwrap_or_default();
        match status {
            "Created" | "InProcessing" => OperationState::Running,
            "NotFound" => OperationState::Lost,
            "CompletedWithOk" if errors.is_empty() => match self.result_of(operation, told) {
                Ok(result) => OperationState::Done(result),
                Err(failure) => OperationState::Failed(failure),
            },
            "CompletedWithOk" | "CompletedWithProcessingError" => {
                OperationState::Failed(error::of_errors(&errors, nature))
            }
            // an exception says nothing about what was done before it
            "CompletedWithProcessingException" => OperationState::Failed(error::of_errors(&[], nature)),
            _ => OperationState::Failed(lacking("operation_status", nature, told, &self.redactor)),
        }
    }

    fn result_of(&self, operation: &Operation, told: &Value) -> Result<OperationResult, Failure> {
        let nature = operation.kind.nature();
        let data = told.get("data").unwrap_or(&Value::Null);
        let unclear = |code| lacking(code, nature, told, &self.redactor);
        match operation.kind {
            BulkKind::CreateDraft => {
                self.draft_ref(data).map(OperationResult::Draft).ok_or_else(|| unclear("no_document_id"))
            }
            BulkKind::CreateRoute | BulkKind::SaveSignature => Ok(OperationResult::Done),
            BulkKind::GenerateContent => {
                let document = operation.document.as_deref().unwrap_or_default();
                self.content_of(document, data).map(OperationResult::Content)
            }
            BulkKind::Download => Ok(OperationResult::Link {
                link: ids::text_at(data, "/downloadLink").ok_or_else(|| unclear("no_download_link"))?,
                dispose_on: data.pointer("/disposeOn").and_then(moment),
            }),
        }
    }
}

pub(super) fn operations(value: &Value) -> &[Value] {
    value.get("operations").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
