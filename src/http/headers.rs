//! Headers that every answer carries, so that no answer of ours can be framed, sniffed, cached or scripted.

use actix_web::middleware::DefaultHeaders;

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
