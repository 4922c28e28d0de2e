//! Headers that every answer carries, so that no answer of ours can be framed, sniffed, cached or scripted.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_SECURITY_POLICY, X_FRAME_OPTIONS};
use actix_web::middleware::{DefaultHeaders, Next};

/// Middleware: a page whose policy names who may frame it carries no `X-Frame-Options`, which knows only "nobody".
///
/// # Errors
/// Those of the handler.
pub async fn framing<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let mut answer = next.call(request).await?;
    let policy = answer.headers().get(CONTENT_SECURITY_POLICY).and_then(|value| value.to_str().ok());
    if policy.is_some_and(|policy| policy.contains("frame-ancestors http")) {
        answer.headers_mut().remove(X_FRAME_OPTIONS);
    }
    Ok(answer)
}

/// What a page may load, unless it says otherwise itself: nothing.
pub const CSP_NOTHING: &str =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The headers; an answer that sets one of them itself keeps its own.
pub fn security() -> DefaultHeaders {
    DefaultHeaders::new()
        .add(("X-Content-Type-Options", "nosniff"))
        .add(("X-Frame-Options", "DENY"))
        .add(("Referrer-Policy", "no-referrer"))
        .add(("Cache-Control", "no-store"))
        .add(("Cross-Origin-Resource-Policy", "same-origin"))
        .add(("Content-Security-Policy", CSP_NOTHING))
}
