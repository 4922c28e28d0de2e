//! `GET /sign/{token}/content/{document}`: the bytes that are signed, as a file to look at.
//!
//! Always a download of no type, so that no browser runs a stranger's file under our name.

use super::super::error::{ApiError, Code};
use super::{Door, refused};
use crate::domain::SagaId;
use crate::domain::signing::SigningRefusal;
use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::body::SizedStream;
use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::{Data, Path};
use std::fmt::Write as _;
use tokio_util::io::ReaderStream;

/// Characters of a name that are kept.
const NAME_CHARS_MAX: usize = 150;

/// The handler.
///
/// # Errors
/// 429. A refused link, and a document that the link does not open, are answered with 404, 409, 410 or 503.
pub(in super::super) async fn content(
    request: HttpRequest,
    path: Path<(String, String)>,
    door: Data<Door>,
) -> Result<HttpResponse, ApiError> {
    door.limited(&door.looks, door.source(&request))?;
    let (token, document) = path.into_inner();
    let tasks = match door.open(&token).await {
        Ok(tasks) => tasks,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let document = document.parse::<SagaId>().ok();
    let Some(task) = tasks.iter().find(|task| Some(task.unit.document) == document) else {
        return Ok(refused(SigningRefusal::Unknown));
    };
    let opened = match door.desk.content(task).await {
        Ok(source) => tokio::fs::File::open(&source.path).await,
        Err(error) => Err(error),
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(saga.id = %task.unit.document, %error, "the content to sign cannot be read");
            return Ok(refused(SigningRefusal::NotNow));
        }
    };
    let length = file.metadata().await.map_err(|_| Code::Unavailable)?.len();
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .insert_header((CONTENT_DISPOSITION, disposition(&task.name)))
        .body(SizedStream::new(length, ReaderStream::new(file))))
}

/// `Content-Disposition` with the name in UTF-8 (RFC 6266, RFC 8187), and a plain one for what cannot read that.
fn disposition(name: &str) -> String {
    let mut encoded = String::new();
    let kept = name.chars().filter(|c| !c.is_control() && !matches!(c, '/' | '\\')).take(NAME_CHARS_MAX);
    for byte in kept.collect::<String>().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            encoded.push(char::from(byte));
        } else {
            // writing to a string does not fail
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    if encoded.is_empty() {
        encoded.push_str("document");
    }
    format!("attachment; filename=\"document\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_breaks_out_of_its_header() {
        let header = disposition("a\"b\r\nX: 1\\../Договор 1.pdf");
        let name = header.rsplit("''").next().unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"%.-_".contains(&b)), "{header}");
        assert!(name.starts_with("a%22bX%3A%201..%D0%94") && name.ends_with("1.pdf"), "{header}");
        assert!(disposition("").ends_with("''document"));
    }
}
