//! The older external API V1, as far as one public client shows it: one call with the file and its signature.
//!
//! There is no draft, no route and no unit of content: our signer signs the file itself, and a single call creates,
//! signs and sends the document. It answers a process key; the document's id comes later. Nothing finds a document whose
//! answer was lost (reference e.3): that is for a person to look up in the account. What V1 has besides (status, print
//! form, file) lies with the calls of V3.
//!
//! No flow is built on it, and rules with it are refused: over which bytes the signature is and whether attached, the
//! values of `Type` and `Position`, the shape of `WorkflowInfo`, how a failed process differs from a young one, and the
//! meaning of `SystemDocumentStatus` are published nowhere.

use super::client::{Call, Client, lacking};
use super::route::{Counterparty, CounterpartyKind};
use super::{blobs, error, ids};
use crate::domain::{Failure, FailureKind};
use crate::providers::remote::{Nature, Remote};
use crate::providers::spool_io::{Coding, FileSource, FramedFile};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The largest signature: a detached one has a few kilobytes, and V1 takes it inside the request.
const SIGNATURE_BYTES_MAX: usize = 1024 * 1024;

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
    /// The signature in DER.
    pub cms: Vec<u8>,
}

/// What became of a sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Process {
    /// Not known yet: asked too early, V1 answers with an error page.
    NotYet,
    /// It has become this document.
    Document(String),
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
        if document.cms.is_empty() || document.cms.len() > SIGNATURE_BYTES_MAX {
            return Err(Remote::Idocs.too_large(SIGNATURE_BYTES_MAX as u64));
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

    /// All members but the file, which comes last, so that it is never held in memory.
    fn framed(&self, document: &SignedDocument) -> Result<FramedFile, Failure> {
        let counterparty = &document.counterparty;
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
            "Steps": [{
                "Position": 0,
                "EmployeeId": ids::employee(&document.employee)?,
                "SignBodyAsBase64String": STANDARD.encode(&document.cms),
                "SignType": "CMS",
            }],
        });
        let kind = &self.settings.v1.document_type;
        if let (false, Some(members)) = (kind.is_empty(), body.as_object_mut()) {
            members.insert("Type".to_owned(), json!(kind));
        }
        let text = body.to_string();
        let open = text.strip_suffix('}').unwrap_or(&text);
        Ok(FramedFile {
            prefix: format!("{open},\"FileBodyAsBase64String\":\"").into(),
            file: document.file.clone(),
            coding: Coding::Base64,
            suffix: "\"}".into(),
            then: None,
        })
    }

    /// Asks what became of a sending (V1 only).
    ///
    /// # Errors
    /// Never ambiguous.
    pub async fn process(&self, key: &str) -> Result<Process, Failure> {
        self.require(Call::Process)?;
        let key = ids::plain_of(key).ok_or_else(|| {
            error::local(
                "bad_id",
                "Ключ процесса iDocs имеет недопустимый вид, запрос не отправлен.",
                "The iDocs process key has a form that is not allowed, nothing was sent.",
            )
        })?;
        let path = format!("/ExternalDocumentFromFiles/{key}/WorkflowInfo");
        let value = match self.get(&path).await {
            Ok(body) => body.into_value(),
            Err(failure) if failure.kind == FailureKind::ServerError => return Ok(Process::NotYet),
            Err(failure) => return Err(failure),
        };
        Ok(match value.pointer(&self.settings.v1.document_id) {
            Some(Value::String(id)) => {
                let id = ids::plain_of(id);
                let bad = || lacking("bad_document_id", Nature::Read, &value, &self.redactor);
                Process::Document(id.ok_or_else(bad)?)
            }
            Some(_) | None => Process::NotYet,
        })
    }
}
