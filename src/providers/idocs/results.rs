//! How a document stands, and what comes back of it: the status, the print form for people, the archive for evidence.

use super::answer::Body;
use super::client::{Call, Client, Place, lacking};
use super::settings::Version;
use super::status::Status;
use super::{ids, v1};
use crate::domain::{Failure, Text};
use crate::providers::http_client::Accept;
use crate::providers::remote::Nature;
use crate::providers::spool_io::Received;
use serde_json::Value;
use tokio::io::AsyncWrite;

/// What a fetch gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The file is in the sink.
    File(Received),
    /// The service has none: some documents were seen without a print form.
    Missing,
}

impl Client {
    /// Asks for the status of a document.
    ///
    /// # Errors
    /// Permanent if there is no such document.
    pub async fn status(&self, document: &str) -> Result<Status, Failure> {
        self.require(Call::Status)?;
        let path = match self.settings.version {
            Version::V3 => {
                format!("/sync/single/document/GetDocumentStatusByDocumentId/{}", ids::document(document)?)
            }
            Version::V1 => format!("/ExternalDocuments/{}", v1_document(document)?),
        };
        let body = self.get(&path).await?;
        self.status_of(&body)
            .ok_or_else(|| lacking("no_status", Nature::Read, &body.into_value(), &self.redactor))
    }

    /// A status in any of the forms that were seen: a member, a bare name, a bare number.
    fn status_of(&self, body: &Body) -> Option<Status> {
        let statuses = &self.settings.statuses;
        match body {
            Body::Empty => None,
            Body::Text(name) => statuses.of(&Value::String(name.clone())),
            Body::Json(value @ (Value::String(_) | Value::Number(_))) => statuses.of(value),
            Body::Json(value) => statuses.of(value.pointer(self.status_pointer())?),
        }
    }

    fn status_pointer(&self) -> &str {
        match self.settings.version {
            Version::V3 => "/documentStatus",
            Version::V1 => &self.settings.v1.status,
        }
    }

    /// Fetches the print form (PDF) into a sink.
    ///
    /// # Errors
    /// Never ambiguous; a document without one is no failure.
    pub async fn print_form(
        &self,
        document: &str,
        sink: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<Fetched, Failure> {
        self.require(Call::PrintForm)?;
        if self.settings.version == Version::V1 && !self.settings.v1.print_form {
            return Ok(Fetched::Missing);
        }
        let path = match self.settings.version {
            Version::V3 => {
                format!("/sync/single/document/GetDocumentPrintFormByDocumentId/{}", ids::document(document)?)
            }
            Version::V1 => format!("/ExternalDocuments/{}/PrintForm", v1_document(document)?),
        };
        let accept = Accept { bytes_max: self.settings.limits.print_form_bytes, starts_with: b"%PDF-" };
        self.fetch_result(&path, accept, sink).await
    }

    /// Fetches the archive of the original and its signatures (V3: a zip; V1: whatever `/File` gives) into a sink.
    ///
    /// # Errors
    /// Never ambiguous; a document without one is no failure.
    pub async fn archive(
        &self,
        document: &str,
        sink: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<Fetched, Failure> {
        self.require(Call::Archive)?;
        if self.settings.version == Version::V1 && !self.settings.v1.file {
            return Ok(Fetched::Missing);
        }
        let bytes_max = self.settings.limits.archive_bytes;
        let (path, starts_with): (_, &'static [u8]) = match self.settings.version {
            Version::V3 => (
                format!("/sync/single/document/GetDocumentArchiveByDocumentId/{}", ids::document(document)?),
                b"PK",
            ),
            Version::V1 => (format!("/ExternalDocuments/{}/File", v1_document(document)?), b""),
        };
        self.fetch_result(&path, Accept { bytes_max, starts_with }, sink).await
    }

    async fn fetch_result(
        &self,
        path: &str,
        accept: Accept,
        sink: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<Fetched, Failure> {
        let place = self.address(Place::Interface, path)?;
        Ok(self.fetch(place, accept, sink).await?.map_or(Fetched::Missing, Fetched::File))
    }
}

fn v1_document(document: &str) -> Result<String, Failure> {
    v1::plain(document, Text::new("Номер документа", "The document id"))
}
