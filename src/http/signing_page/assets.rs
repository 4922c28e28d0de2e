//! `GET /sign/assets/{name}`: the page's own style and scripts, compiled in.

use super::super::error::{ApiError, Code};
use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::web::Path;
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const FILES: [(&str, &str, &str); 4] = [
    ("page.js", SCRIPT, include_str!("assets/page.js")),
    ("agent.js", SCRIPT, include_str!("assets/agent.js")),
    ("words.js", SCRIPT, include_str!("assets/words.js")),
    ("page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
];

/// One digest for all of them: they change together, with the program.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = Sha256::new();
    for (_, _, text) in FILES {
        hasher.update(text);
    }
    let digest: String = hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digest}\"")
});

/// The handler.
///
/// # Errors
/// 404.
pub(in super::super) async fn asset(
    request: HttpRequest,
    name: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let file = FILES.iter().find(|(own, _, _)| **own == *name).ok_or(Code::NotFound)?;
    let (_, content_type, text) = file;
    let known = request.headers().get(IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == TAG.as_bytes());
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    // may be kept, but is asked for each time: a page and its script must be of one version
    answer.insert_header((CACHE_CONTROL, "no-cache")).insert_header((ETAG, TAG.as_str()));
    Ok(if known { answer.finish() } else { answer.content_type(*content_type).body(*text) })
}
