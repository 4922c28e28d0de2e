//! `POST /idocs/callback/{secret}`: hints of iDocs that a document's status has changed.
//!
//! Nothing is known of a signature on them (`reference/signing-providers.md` c.9), so the path holds a secret that nobody
//! can guess, and a hint is never believed: it makes the status be read with our own token. A wrong secret and a path
//! that does not exist get the same answer.

use super::body::{self, BodyBounds};
use super::error::{ApiError, Code};
use super::intake::Reception;
use super::rate_limit::{RateLimit, Verdict};
use super::settings::IdocsSettings;
use super::source;
use crate::config::Network;
use crate::providers::idocs::events::{self, Unreadable};
use crate::store::{NewNotice, NoticeKind};
use crate::telemetry::metrics::NoticeSource;
use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

const DOOR: NoticeSource = NoticeSource::Idocs;

/// The door.
pub struct Door {
    reception: Reception,
    settings: IdocsSettings,
    body_timeout: Duration,
    trusted_proxies: Vec<Network>,
    limit: RateLimit,
}

impl Door {
    /// Opens into `reception`.
    pub fn new(
        reception: Reception,
        settings: IdocsSettings,
        body_timeout: Duration,
        trusted_proxies: Vec<Network>,
    ) -> Self {
        let limit = RateLimit::new(settings.per_minute);
        Self { reception, settings, body_timeout, trusted_proxies, limit }
    }

    async fn read(&self, request: &HttpRequest, payload: Payload) -> Result<(String, Bytes), Code> {
        let bytes_max = usize::try_from(self.settings.protocol.limits.callback_bytes).unwrap_or(usize::MAX);
        let bounds = BodyBounds { bytes_max, time_max: self.body_timeout };
        let body = body::read(request, payload, bounds).await?;
        if body::is_encoded(request) {
            return Err(Code::EncodingRefused);
        }
        match events::parse_event(&self.settings.protocol, &body) {
            // what names no document is kept for a person: it shows that the pointers of the configuration are wrong
            Ok(_) | Err(Unreadable::NoDocument { .. }) => Ok((body::content_type(request), body)),
            Err(Unreadable::TooLong { .. }) => Err(Code::TooLarge),
            Err(Unreadable::Json(_)) => Err(Code::Unreadable),
        }
    }
}

/// The handler.
///
/// # Errors
/// 404 for a wrong secret, 429 with `Retry-After`, 413, 408, 415, 400, and 503 with `Retry-After` when it cannot be
/// stored.
pub async fn callback(
    request: HttpRequest,
    secret: Path<String>,
    payload: Payload,
    door: Data<Door>,
) -> Result<HttpResponse, ApiError> {
    let since = Instant::now();
    let source = source::of(&request, &door.trusted_proxies);
    if let Verdict::Refused { retry_after_s } = door.limit.check(source) {
        return Err(door.reception.refuse(DOOR, Code::TooMany, source).retry_after_s(retry_after_s));
    }
    let known = door.settings.path_secret.expose().as_bytes();
    if !bool::from(known.ct_eq(secret.as_bytes())) {
        return Err(door.reception.refuse(DOOR, Code::NotFound, source));
    }
    let (content_type, body) =
        door.read(&request, payload).await.map_err(|code| door.reception.refuse(DOOR, code, source))?;
    let notice = NewNotice {
        kind: NoticeKind::IdocsCallback,
        portal: None,
        received_at: door.reception.now(),
        content_type,
        body,
    };
    door.reception.store(DOOR, notice, since).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(r#"{"ok":true}"#))
}

#[cfg(test)]
mod tests {
    use super::super::listener::public_doors;
    use super::super::routes;
    use super::super::settings::PublicSettings;
    use super::super::test_support::{FakeIntake, public_settings, reception};
    use super::*;
    use crate::domain::Secret;
    use crate::providers::idocs::Settings;
    use actix_web::App;
    use actix_web::test::{TestRequest, call_service, init_service};
    use std::num::NonZeroU32;
    use std::sync::Arc;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const HINT: &str = r#"{"documentId":"5ad1f3a6-2b4e-4f0e-9b3e-0a7a9d4e8c11","documentStatus":"FINISHED"}"#;

    async fn outcome(secret: &str, body: &str) -> (u16, Vec<NoticeKind>) {
        let intake = Arc::new(FakeIntake::default());
        let idocs = IdocsSettings {
            per_minute: NonZeroU32::new(100).unwrap(),
            path_secret: Secret::new(SECRET),
            protocol: Arc::new(Settings::default()),
        };
        let settings = PublicSettings { idocs: Some(idocs), ..public_settings() };
        let doors = public_doors(&reception(&intake).0, &settings);
        let app = init_service(App::new().configure(|config| routes::public(config, &doors))).await;
        let request = TestRequest::post()
            .uri(&format!("/idocs/callback/{secret}"))
            .peer_addr("192.0.2.1:5000".parse().unwrap())
            .set_payload(body.to_owned());
        let status = call_service(&app, request.to_request()).await.status().as_u16();
        (status, intake.taken().iter().map(|notice| notice.kind).collect())
    }

    #[actix_web::test]
    async fn a_hint_at_the_secret_path_is_stored_and_any_other_path_does_not_exist() {
        assert_eq!(outcome(SECRET, HINT).await, (200, vec![NoticeKind::IdocsCallback]));
        for wrong in ["x", "0123456789abcdef0123456789abcdeF", "0123456789abcdef0123456789abcde"] {
            assert_eq!(outcome(wrong, HINT).await, (404, vec![]), "{wrong}");
        }
    }

    #[actix_web::test]
    async fn what_is_no_json_is_refused_and_what_names_no_document_is_kept_for_a_person() {
        assert_eq!(outcome(SECRET, "{").await, (400, vec![]));
        assert_eq!(outcome(SECRET, "{}").await, (200, vec![NoticeKind::IdocsCallback]));
    }
}
