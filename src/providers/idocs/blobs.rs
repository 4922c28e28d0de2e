//! Files on their way to iDocs: each is uploaded as a blob of its own before anything refers to it.
//!
//! A repeat does no harm: it leaves an unused blob behind (reference e.3), so that an unknown outcome is a plain
//! transient failure.

use super::client::{Call, Client, lacking};
use super::{error, ids};
use crate::domain::Failure;
use crate::providers::remote::{Nature, Remote};
use crate::providers::spool_io::{Coding, FileSource, FramedFile};

/// The kinds of files that iDocs takes (the guide; xlsx from the snapshot).
const MIME_TYPES: [(&str, &str); 6] = [
    ("pdf", "application/pdf"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("txt", "text/plain"),
];

/// The content type of a file by the end of its name.
pub fn mime_of(file_name: &str) -> &'static str {
    let end = extension_of(file_name);
    let known = MIME_TYPES.iter().find(|(known, _)| *known == end);
    known.map_or("application/octet-stream", |(_, mime)| mime)
}

fn extension_of(file_name: &str) -> String {
    file_name.rsplit_once('.').map(|(_, end)| end.to_lowercase()).unwrap_or_default()
}

impl Client {
    /// Whether a file could be sent at all: its size and the end of its name.
    ///
    /// # Errors
    /// Permanent, with the remedy; nothing is sent.
    pub fn check_file(&self, size_bytes: u64, file_name: &str) -> Result<(), Failure> {
        let upload = &self.settings.upload;
        if size_bytes > upload.bytes_max {
            return Err(Remote::Idocs.too_large(upload.bytes_max));
        }
        let end = extension_of(file_name);
        if upload.extensions.contains(&end) {
            return Ok(());
        }
        let known = upload.extensions.join(", ");
        Err(error::local(
            "extension_not_accepted",
            format!(
                "iDocs не принимает файлы «.{end}», подходят: {known}. Сохраните документ, например, в PDF."
            ),
            format!(
                "iDocs does not take files \".{end}\", only: {known}. Save the document as PDF, for instance."
            ),
        ))
    }

    /// Uploads a file to be signed, in constant memory; gives the id of its blob.
    ///
    /// # Errors
    /// Never ambiguous.
    pub async fn upload_blob(&self, source: &FileSource, file_name: &str) -> Result<String, Failure> {
        self.require(Call::UploadBlob)?;
        self.check_file(source.facts.size_bytes, file_name)?;
        let part = Part { member: "documentContent", file_name, content_type: mime_of(file_name) };
        self.upload("/sync/blobs/document-content", &part, source).await
    }

    /// Uploads a signature (the CMS in DER); gives the id of its blob.
    ///
    /// # Errors
    /// Never ambiguous.
    pub async fn upload_signature(&self, source: &FileSource) -> Result<String, Failure> {
        self.require(Call::UploadSignature)?;
        let max = self.settings.limits.signature_bytes;
        if source.facts.size_bytes > max {
            return Err(Remote::Idocs.too_large(max));
        }
        let signature = &self.settings.signature;
        let part = Part {
            member: "signatureContent",
            file_name: &signature.file_name,
            content_type: &signature.content_type,
        };
        self.upload("/sync/blobs/document-signature-content", &part, source).await
    }

    async fn upload(&self, path: &str, part: &Part<'_>, source: &FileSource) -> Result<String, Failure> {
        let boundary = format!("edobridge-{}", uuid::Uuid::new_v4().simple());
        let framed = part.framed(source, &boundary);
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let body = self.send_file(path, &content_type, &framed, Nature::Read).await?.into_value();
        let id = ids::text_at(&body, "/blobId").and_then(|id| ids::plain_of(&id));
        id.ok_or_else(|| lacking("no_blob_id", Nature::Read, &body, &self.redactor))
    }
}

/// The one part of an upload.
struct Part<'p> {
    member: &'static str,
    file_name: &'p str,
    content_type: &'p str,
}

impl Part<'_> {
    fn framed(&self, source: &FileSource, boundary: &str) -> FramedFile {
        let (member, file_name, content_type) =
            (self.member, header_text(self.file_name), header_text(self.content_type));
        let prefix = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{member}\"; filename=\"{file_name}\"\r\n\
             Content-Type: {content_type}\r\n\r\n"
        );
        FramedFile {
            prefix: prefix.into(),
            file: source.clone(),
            coding: Coding::Raw,
            suffix: format!("\r\n--{boundary}--\r\n").into(),
            then: None,
        }
    }
}

/// A text that stands inside quotes in a part's header.
fn header_text(text: &str) -> String {
    text.chars().map(|c| if c == '"' || c == '\\' || c.is_control() { '_' } else { c }).collect()
}
