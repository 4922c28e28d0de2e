//! The older external API V1, as far as one public client shows it: one call with the file and its signature.
//!
//! There is no draft, no route and no unit of content: our signer signs the file itself, and a single call creates,
//! signs and sends the document. It answers a process key; the document's id comes later. Nothing finds a document whose
//! answer was lost (reference e.3): that is for a person to look up in the account. What V1 has besides (status, print
//! form, file) lies with the calls of V3.
//!
//! The flow above it is that of documents that are sent whole. What is published nowhere is a setting
//! ([`V1Settings`](super::settings::V1Settings)): the values of `Type` and `Position`, where `WorkflowInfo` holds the
//! document's id and says that nothing comes of it, where the status is, which files can be fetched. A repeated number was
//! seen to give HTTP 500, the answer of everything else that goes wrong: it is never taken for a proof that the first
//! sending arrived.

use super::client::{Call, Client, lacking};
use super::route_template::{Counterparty, CounterpartyKind};
use super::{blobs, error, ids};
use crate::domain::{Failure, FailureKind, Text};
use crate::providers::remote::{Nature, Remote};
use crate::providers::spool_io::{Coding, FileSource, FramedFile};
use serde_json::{Value, json};

/// A document with the signature over its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDocument {
    /// Its name as people see it.
    pub name: String,
    /// Its number. A second document with one number was seen to give HTTP 500.
    pub number: String,
    /// Its group: one of the ten names of the guide.
    pub group: String,
    /// To whom it goes.
    pub counterparty: Counterparty,
    /// The file.
    pub file: FileSource,
    /// The file's name with its end.
    pub file_name: String,
    /// Who signed.
    pub employee: String,
    /// The signature in DER, over the file's own bytes.
    pub cms: FileSource,
}

/// What became of a sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Process {
    /// Not known yet: asked too early, V1 answers with an error page.
    NotYet,
    /// It has become this document.
    Document(String),
    /// The service says that nothing comes of it, where it is known how it says so.
    Failed,
}

impl Client {
    /// Creates, signs and sends in one call (V1 only); gives the process key. Class `blind`: nothing finds a document
    /// whose answer was lost.
    ///
    /// # Errors
    /// Ambiguous whenever the document may have been sent.
    pub async fn send_signed(&self, document: &SignedDocument) -> Result<String, Failure> {
        self.require(Call::SendSigned)?;
        self.check_file(document.file.facts.size_bytes, &document.file_name)?;
        document.counterparty.check()?;
        let signature_max = self.settings.limits.signature_bytes;
        if document.cms.facts.size_bytes > signature_max {
            return Err(Remote::Idocs.too_large(signature_max));
        }
        let framed = self.framed(document)?;
        let content_type = &self.settings.content_type;
        let value = self
            .send_file("/ExternalDocumentFromFiles", content_type, &framed, Nature::Write)
            .await?
            .into_value();
        let key = value.as_str().and_then(ids::plain_of);
        key.ok_or_else(|| lacking("no_process_key", Nature::Write, &value, &self.redactor))
    }

    /// Signature and file come last, one after the other, so that neither is held in memory.
    fn framed(&self, document: &SignedDocument) -> Result<FramedFile, Failure> {
        let (v1, counterparty) = (&self.settings.v1, &document.counterparty);
        let mut body = json!({
            "DocumentName": document.name,
            "DocumentNumber": document.number,
            "Group": document.group,
            // spelled so over there
            "Reciever": {
                "BIN": counterparty.bin,
                "Email": counterparty.emails.first(),
                "IsIndividual": counterparty.kind == CounterpartyKind::Individual,
            },
            "FileName": document.file_name,
            "FileMimeType": blobs::mime_of(&document.file_name),
            "FileLength": document.file.facts.size_bytes,
        });
        if let (false, Some(members)) = (v1.document_type.is_empty(), body.as_object_mut()) {
            members.insert("Type".to_owned(), json!(v1.document_type));
        }
        let step = json!({
            "Position": v1.position,
            "EmployeeId": plain(&document.employee, employee_words())?,
            "SignType": "CMS",
        });
        let (body, step) = (body.to_string(), step.to_string());
        let (body, step) = (open_end(&body), open_end(&step));
        let file = FramedFile {
            prefix: "\"}],\"FileBodyAsBase64String\":\"".into(),
            file: document.file.clone(),
            coding: Coding::Base64,
            suffix: "\"}".into(),
            then: None,
        };
        Ok(FramedFile {
            prefix: format!("{body},\"Steps\":[{step},\"SignBodyAsBase64String\":\"").into(),
            file: document.cms.clone(),
            coding: Coding::Base64,
            suffix: "".into(),
            then: Some(Box::new(file)),
        })
    }

    /// Asks what became of a sending (V1 only).
    ///
    /// # Errors
    /// Never ambiguous.
    pub async fn process(&self, key: &str) -> Result<Process, Failure> {
        self.require(Call::Process)?;
        let key = plain(key, Text::new("Ключ процесса", "The process key"))?;
        let path = format!("/ExternalDocumentFromFiles/{key}/WorkflowInfo");
        let value = match self.get(&path).await {
            Ok(body) => body.into_value(),
            Err(failure) if is_too_early(&failure) => return Ok(Process::NotYet),
            Err(failure) => return Err(failure),
        };
        let v1 = &self.settings.v1;
        if let Some(id) = value.pointer(&v1.document_id).and_then(id_text) {
            let bad = || lacking("bad_document_id", Nature::Read, &value, &self.redactor);
            return ids::plain_of(&id).map(Process::Document).ok_or_else(bad);
        }
        // an empty pointer would be the whole answer
        let told = Some(&v1.failed).filter(|pointer| !pointer.is_empty());
        let failed = told.and_then(|pointer| value.pointer(pointer)).is_some_and(says_something);
        Ok(if failed { Process::Failed } else { Process::NotYet })
    }
}

/// How V1 says that a process is young was seen once, as a page with 500; a 404 is taken for the same. The flow asks for
/// a limited time only.
fn is_too_early(failure: &Failure) -> bool {
    failure.kind == FailureKind::ServerError
        || matches!(failure.code.as_str(), "http_404" | "http_410" | "resource_not_found")
}

/// An id as text, whether it is written as a text or as a number.
fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(id) if !id.trim().is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a member that tells of a failure holds one: a text, a list of errors, `true`.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(said) => *said,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// An object to which further members are written.
fn open_end(object: &str) -> &str {
    object.strip_suffix('}').unwrap_or(object)
}

fn employee_words() -> Text {
    Text::new("Номер сотрудника", "The employee id")
}

/// The form of V1's ids is not documented: anything that stays one step of a path.
pub(super) fn plain(id: &str, what: Text) -> Result<String, Failure> {
    ids::plain_of(id).ok_or_else(|| {
        error::local(
            "bad_id",
            format!("{} для iDocs имеет недопустимый вид, запрос не отправлен.", what.ru),
            format!("{} for iDocs has a form that is not allowed, nothing was sent.", what.en),
        )
    })
}
