//! Uploads: one file part each, documents and signatures by different calls (c.3, steps 1 and 5).
//!
//! Invariants: a part of another name, a second part or a part without a file name is refused.

use super::account::{Account, Blob, BlobKind};
use super::cms::looks_binary;
use super::options::IDocsOptions;
use super::wire::{Content, Done, ErrorCode, Outcome, Refused};
use crate::sandbox::front::Request;
use crate::sandbox::ledger::Note;
use actix_multipart::{Field, Multipart};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, future, stream};
use serde_json::{Value, json};

impl BlobKind {
    /// The name of the file part.
    fn part(self) -> &'static str {
        match self {
            Self::Document => "documentContent",
            Self::Signature => "signatureContent",
        }
    }
}

/// A file as it came.
pub(super) struct Upload {
    name: String,
    bytes: Bytes,
}

/// The only part of an upload.
pub(super) async fn received(request: &Request, kind: BlobKind) -> Result<Upload, Refused> {
    let content_type = request.head.header("content-type").unwrap_or("");
    let value = HeaderValue::from_str(content_type).map_err(|why| Refused::invalid(why.to_string()))?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, value);
    let body = stream::once(future::ready(Ok::<_, PayloadError>(request.body.clone())));
    let mut parts = Multipart::new(&headers, body);
    let mut upload = None;
    while let Some(part) = parts.next().await {
        let part = part.map_err(|why| Refused::invalid(why.to_string()))?;
        if part.name() != Some(kind.part()) || upload.is_some() {
            return Err(Refused::invalid(format!("the only part must be `{}`", kind.part())));
        }
        upload = Some(read(part).await?);
    }
    upload.ok_or_else(|| Refused::invalid(format!("there is no part `{}`", kind.part())))
}

async fn read(mut part: Field) -> Result<Upload, Refused> {
    let shown = part.content_disposition();
    let extended = shown.and_then(|d| {
        let name = d.get_filename_ext()?;
        Some(String::from_utf8_lossy(&name.value).into_owned())
    });
    let name = extended.or_else(|| shown.and_then(|d| d.get_filename().map(str::to_owned)));
    let name = name.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Refused::invalid("the part has no file name"))?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = part.next().await {
        bytes.extend_from_slice(&chunk.map_err(|why| Refused::invalid(why.to_string()))?);
    }
    Ok(Upload { name, bytes: bytes.freeze() })
}

/// Keeps an upload, unless its size, extension or content is wrong.
pub(super) fn keep(account: &mut Account, kind: BlobKind, upload: Upload, now_ms: i64) -> Outcome {
    let Upload { name, bytes } = upload;
    check(&account.options, kind, &name, &bytes).map_err(|refused| refused.with_status(400))?;
    let blob = account.add_blob(kind, name, bytes, now_ms);
    let note = Note::effect()
        .fact("blob_id", blob.id.clone())
        .fact("name", blob.file_name.clone())
        .fact("size", blob.bytes.len())
        .fact("sha256", blob.digest.to_hex());
    Ok(Done::new(Content::Wrapped(card(&blob)), note))
}

fn check(options: &IDocsOptions, kind: BlobKind, name: &str, bytes: &[u8]) -> Result<(), Refused> {
    let extension = extension(name);
    let accepted = match kind {
        BlobKind::Document => options.extensions.contains(&extension),
        BlobKind::Signature => extension == ".cms",
    };
    if !accepted {
        let why = format!("the extension `{extension}` is not accepted");
        return Err(Refused::new(ErrorCode::UploadedFileExtensionError, why));
    }
    if bytes.len() > options.upload_bytes_max {
        let why = format!("the file is larger than {} bytes", options.upload_bytes_max);
        return Err(Refused::new(ErrorCode::UploadedFileSizeError, why));
    }
    let readable = match kind {
        BlobKind::Document => !bytes.is_empty(),
        BlobKind::Signature => looks_binary(bytes),
    };
    if !readable {
        return Err(Refused::new(ErrorCode::UploadedFileContentParsingError, "the content cannot be read"));
    }
    Ok(())
}

/// From the last dot on, in lower case.
fn extension(name: &str) -> String {
    name.rfind('.').map(|dot| name[dot..].to_lowercase()).unwrap_or_default()
}

/// `ClientUploadedBlobVM`; the length is in kilobytes, begun ones count.
fn card(blob: &Blob) -> Value {
    let extension = extension(&blob.file_name);
    let mime = match extension.as_str() {
        ".pdf" => "application/pdf",
        ".txt" => "text/plain",
        ".doc" => "application/msword",
        ".docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ".xls" => "application/vnd.ms-excel",
        ".xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ".cms" => "application/pkcs7-signature",
        _ => "application/octet-stream",
    };
    json!({
        "blobId": blob.id, "fileName": blob.file_name, "extension": extension, "mimeType": mime,
        "fileLength": blob.bytes.len().div_ceil(1_024), "createdOn": blob.created_ms.div_euclid(1_000),
    })
}
