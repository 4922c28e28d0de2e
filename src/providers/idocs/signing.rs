//! The bytes that our signer signs, and the signature over them.
//!
//! Link, ticket and time of expiry of one answer are one unit: the signature fits only these bytes, the save only this
//! ticket. Each generated unit is a new one, perhaps with other bytes (reference e.3), so that only the newest may be
//! used and parts of two must never be mixed.

use super::client::{Call, Client, lacking};
use super::outbox::moment;
use super::{error, ids};
use crate::domain::{Failure, FailureClass, FailureKind, Text, Timestamp};
use crate::providers::http_client::Accept;
use crate::providers::remote::{Nature, Remote};
use crate::providers::spool_io::Received;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::io::AsyncWrite;

/// Longest ticket; the sample is a UUID, nothing is documented.
const TICKET_BYTES_MAX: usize = 512;
/// What a zip begins with, an empty one too.
const ZIP_BEGINNING: &[u8] = b"PK";

/// One unit of content to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Where the bytes are, for a while. Untrusted until [`Client::download_content`] has judged it.
    pub link: String,
    /// When link and ticket die.
    pub dispose_on: Timestamp,
    /// Goes with the signature over exactly these bytes.
    pub ticket: String,
}

impl Client {
    /// Asks for bytes to be signed. A repeat is safe and gives a new unit.
    ///
    /// # Errors
    /// Never ambiguous.
    pub async fn generate_content(&self, document: &str, employee: &str) -> Result<Content, Failure> {
        self.require(Call::GenerateContent)?;
        let body = content_body(document, employee)?;
        let path = "/sync/external/outbox/signature/content-to-sign/generate";
        let value = self.post(path, &body, Nature::Read).await?.into_value();
        self.content_of(document, &value)
    }

    pub(super) fn content_of(&self, document: &str, value: &Value) -> Result<Content, Failure> {
        let unclear = |code| lacking(code, Nature::Read, value, &self.redactor);
        let told = ids::uuid_at(value, "/documentId");
        if told.is_some() && told != ids::uuid_of(document) {
            return Err(unclear("other_document"));
        }
        let ticket = ids::text_at(value, "/idempotencyTicket").filter(|t| t.len() <= TICKET_BYTES_MAX);
        Ok(Content {
            link: ids::text_at(value, "/downloadLink").ok_or_else(|| unclear("no_download_link"))?,
            dispose_on: value
                .pointer("/disposeOn")
                .and_then(moment)
                .ok_or_else(|| unclear("no_dispose_on"))?,
            ticket: ticket.ok_or_else(|| unclear("no_ticket"))?,
        })
    }

    /// Fetches the bytes to be signed into a sink: a zip of the original files.
    ///
    /// The link is used as it was given, and in its other spelling after a 404: links come with a double slash before
    /// the id, and two revisions of a public client disagree on which spelling the service knows.
    ///
    /// # Errors
    /// `content_gone` when neither spelling is known: the unit has expired, and a new one is to be generated.
    pub async fn download_content(
        &self,
        link: &str,
        sink: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<Received, Failure> {
        self.require(Call::GenerateContent)?;
        let place = self.files.check(link).map_err(|refused| Remote::Idocs.refused_url(&refused))?;
        let accept = Accept { bytes_max: self.settings.limits.content_bytes, starts_with: ZIP_BEGINNING };
        let other = other_spelling(&place);
        for place in std::iter::once(place).chain(other) {
            if let Some(file) = self.fetch(place, accept, sink).await? {
                return Ok(file);
            }
        }
        Err(content_gone())
    }

    /// Saves the signature that was uploaded as a blob, with the ticket of the unit that it was made over: the service
    /// checks it and sends the document. Class `keyed` by the ticket as far as known; after an unknown outcome look
    /// whether the status has left DRAFT.
    ///
    /// # Errors
    /// Ambiguous whenever the signature may have been saved.
    pub async fn save_signature(
        &self,
        document: &str,
        employee: &str,
        blob: &str,
        ticket: &str,
    ) -> Result<(), Failure> {
        self.require(Call::SaveSignature)?;
        let body = signature_body(document, employee, blob, ticket)?;
        let path = "/sync/external/outbox/signature/quick-sign/save";
        self.post(path, &body, Nature::Write).await.map(|_| ())
    }
}

pub(super) fn content_body(document: &str, employee: &str) -> Result<Value, Failure> {
    Ok(json!({"documentId": ids::document(document)?, "signedByEmployeeId": ids::employee(employee)?}))
}

pub(super) fn signature_body(
    document: &str,
    employee: &str,
    blob: &str,
    ticket: &str,
) -> Result<Value, Failure> {
    if ticket.is_empty() || blob.is_empty() {
        return Err(error::local(
            "no_ticket",
            "Подпись без билета или без файла сохранить нельзя, запрос не отправлен.",
            "A signature without its ticket or its file cannot be saved, nothing was sent.",
        ));
    }
    Ok(json!({
        "documentId": ids::document(document)?,
        "signedByEmployeeId": ids::employee(employee)?,
        "signatureBinaryContent": {"blobId": blob},
        "idempotencyTicket": ticket,
    }))
}

/// The link with its double slash made single, or with one made double before the last step.
pub(super) fn other_spelling(place: &Url) -> Option<Url> {
    let path = place.path();
    let other = if path.contains("//") {
        let mut single = path.to_owned();
        while single.contains("//") {
            single = single.replace("//", "/");
        }
        single
    } else {
        let (before, last) = path.rsplit_once('/')?;
        if before.is_empty() || last.is_empty() {
            return None;
        }
        format!("{before}//{last}")
    };
    let mut url = place.clone();
    url.set_path(&other);
    Some(url)
}

fn content_gone() -> Failure {
    let reason = Text::new(
        "Срок содержимого на подпись в iDocs истёк. Оно запрашивается заново, и подписывать нужно новое.",
        "The content to be signed has expired at iDocs. It is asked for anew, and the new one has to be signed.",
    );
    Failure::new(FailureClass::Permanent, FailureKind::Refused, CONTENT_GONE, reason)
}

/// Code of the failure that says: generate a new unit.
pub const CONTENT_GONE: &str = "content_gone";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_spelling_of_a_link_is_found_both_ways() {
        for (from, to) in [
            ("https://h/api/v3/download//0a4d?x=1", Some("https://h/api/v3/download/0a4d?x=1")),
            ("https://h/api/v3/download/0a4d", Some("https://h/api/v3/download//0a4d")),
            ("https://h/a///b//c", Some("https://h/a/b/c")),
            ("https://h/a", None),
            ("https://h/", None),
        ] {
            let other = other_spelling(&Url::parse(from).unwrap());
            assert_eq!(other.as_ref().map(Url::as_str), to, "{from}");
        }
    }
}
