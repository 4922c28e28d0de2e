//! `POST /easydocs/callback`: notices of EasyDocs, delivered at least once.
//!
//! The order is fixed (`reference/signing-providers.md` e.1, rule 2), cheapest and safest first: rate limit, size,
//! encoding, type, signature over the raw bytes, parse, store, answer. An authentic notice that cannot be used now is
//! the saga's business and gets 200: how often EasyDocs repeats a refused one is unknown.

use super::body::{self, BodyBounds};
use super::error::{ApiError, Code};
use super::intake::Reception;
use super::rate_limit::{RateLimit, Verdict};
use super::settings::EasydocsSettings;
use super::source::{self, any_contains};
use crate::config::Network;
use crate::providers::easydocs::callback::{self, Unreadable};
use crate::store::{NewNotice, NoticeKind};
use crate::telemetry::metrics::NoticeSource;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::net::IpAddr;
use std::time::{Duration, Instant};

const DOOR: NoticeSource = NoticeSource::Easydocs;

/// The door.
pub struct Door {
    reception: Reception,
    settings: EasydocsSettings,
    answer_code: StatusCode,
    body_timeout: Duration,
    trusted_proxies: Vec<Network>,
    limit: RateLimit,
}

impl Door {
    /// Opens into `reception`.
    pub fn new(
        reception: Reception,
        settings: EasydocsSettings,
        body_timeout: Duration,
        trusted_proxies: Vec<Network>,
    ) -> Self {
        // a code that is no code would make the sender repeat for ever
        let answer_code = StatusCode::from_u16(settings.protocol.callback.answer_code);
        let answer_code = answer_code.unwrap_or(StatusCode::OK);
        let limit = RateLimit::new(settings.per_minute);
        Self { reception, settings, answer_code, body_timeout, trusted_proxies, limit }
    }

    async fn verified(&self, request: &HttpRequest, payload: Payload) -> Result<(String, Bytes), Code> {
        let bytes_max = usize::try_from(self.settings.protocol.limits.callback_bytes).unwrap_or(usize::MAX);
        let bounds = BodyBounds { bytes_max, time_max: self.body_timeout };
        let body = body::read(request, payload, bounds).await?;
        if body::is_encoded(request) {
            return Err(Code::EncodingRefused);
        }
        let content_type = body::content_type(request);
        if !body::is_json(&content_type) {
            return Err(Code::TypeRefused);
        }
        let headers: Vec<(&str, &[u8])> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        callback::verify(&self.settings.protocol, &headers, &body).map_err(|_| Code::SignatureRefused)?;
        match callback::parse(&self.settings.protocol, &body) {
            // authentic JSON without what we need is kept for a person: to refuse it would lose it
            Ok(_) | Err(Unreadable::Member { .. }) => Ok((content_type, body)),
            Err(Unreadable::TooLong { .. }) => Err(Code::TooLarge),
            Err(Unreadable::Json(_)) => Err(Code::Unreadable),
        }
    }

    fn limited(&self, source: IpAddr) -> Result<(), ApiError> {
        if !self.settings.senders.is_empty() && !any_contains(&self.settings.senders, source) {
            return Err(self.reception.refuse(DOOR, Code::SenderRefused, source));
        }
        match self.limit.check(source) {
            Verdict::Allowed => Ok(()),
            Verdict::Refused { retry_after_s } => {
                Err(self.reception.refuse(DOOR, Code::TooMany, source).retry_after_s(retry_after_s))
            }
        }
    }
}

/// The handler.
///
/// # Errors
/// 429 with `Retry-After`, 413, 408, 415, 401, 400, and 503 with `Retry-After` when it cannot be stored.
pub async fn callback(
    request: HttpRequest,
    payload: Payload,
    door: Data<Door>,
) -> Result<HttpResponse, ApiError> {
    let since = Instant::now();
    let source = source::of(&request, &door.trusted_proxies);
    door.limited(source)?;
    let (content_type, body) =
        door.verified(&request, payload).await.map_err(|code| door.reception.refuse(DOOR, code, source))?;
    let notice = NewNotice {
        kind: NoticeKind::EasyDocsCallback,
        portal: None,
        received_at: door.reception.now(),
        content_type,
        body,
    };
    door.reception.store(DOOR, notice, since).await?;
    Ok(HttpResponse::build(door.answer_code)
        .content_type("application/json")
        .body(door.settings.protocol.callback.answer_body.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::listener::public_doors;
    use super::super::routes::{self, PublicDoors};
    use super::super::settings::PublicSettings;
    use super::super::test_support::{FakeIntake, public_settings, reception};
    use super::*;
    use crate::actors::AcceptError;
    use crate::domain::{Secret, Text};
    use crate::providers::easydocs::settings::Settings;
    use actix_web::App;
    use actix_web::dev::{Service, ServiceResponse};
    use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};
    use actix_web::test::{TestRequest, init_service, read_body};
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use std::num::NonZeroU32;
    use std::sync::Arc;

    const SIGNATURE: &str = "X-EasyDocs-Signature";
    const SIGNED: &str = r#"{"event":"document.status_changed","document_id":"d-1","status":"signed"}"#;

    fn settings(per_minute: u32) -> PublicSettings {
        let mut protocol = Settings::default();
        protocol.signature.secrets = vec![Secret::new("old-secret"), Secret::new("test-secret")];
        protocol.limits.callback_bytes = 1_024;
        let per_minute = NonZeroU32::new(per_minute).unwrap();
        let easydocs = EasydocsSettings { per_minute, senders: Vec::new(), protocol: Arc::new(protocol) };
        PublicSettings { easydocs: Some(easydocs), ..public_settings() }
    }

    fn signature(secret: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body);
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A request with everything right but what the caller changes.
    fn post(body: &[u8]) -> TestRequest {
        unsigned(body).insert_header((SIGNATURE, signature("test-secret", body)))
    }

    fn unsigned(body: &[u8]) -> TestRequest {
        TestRequest::post()
            .uri("/easydocs/callback")
            .peer_addr("192.0.2.1:5000".parse().unwrap())
            .insert_header((CONTENT_TYPE, "application/json"))
            .set_payload(body.to_vec())
    }

    async fn answer(doors: &PublicDoors, request: TestRequest) -> ServiceResponse {
        let app = init_service(App::new().configure(|config| routes::public(config, doors))).await;
        app.call(request.to_request()).await.unwrap()
    }

    async fn outcome(request: TestRequest) -> (u16, usize) {
        let intake = Arc::new(FakeIntake::default());
        let doors = public_doors(&reception(&intake).0, &settings(100));
        let status = answer(&doors, request).await.status().as_u16();
        (status, intake.taken().len())
    }

    #[actix_web::test]
    async fn an_authentic_callback_is_stored_as_it_came_and_answered_as_configured() {
        let intake = Arc::new(FakeIntake::default());
        let doors = public_doors(&reception(&intake).0, &settings(100));
        let answered = answer(&doors, post(SIGNED.as_bytes())).await;
        assert_eq!(answered.status().as_u16(), 200);
        assert_eq!(read_body(answered).await, r#"{"ok":true}"#);
        let [notice] = &intake.taken()[..] else { panic!("one notice") };
        assert_eq!((notice.kind, &notice.body[..]), (NoticeKind::EasyDocsCallback, SIGNED.as_bytes()));
    }

    #[actix_web::test]
    async fn a_callback_from_another_address_than_the_named_ones_is_refused_unread() {
        for (network, expected) in [("192.0.2.0/24", (200, 1)), ("198.51.100.0/24", (403, 0))] {
            let intake = Arc::new(FakeIntake::default());
            let mut settings = settings(100);
            if let Some(easydocs) = &mut settings.easydocs {
                easydocs.senders = vec![network.parse().unwrap()];
            }
            let doors = public_doors(&reception(&intake).0, &settings);
            let status = answer(&doors, post(SIGNED.as_bytes())).await.status().as_u16();
            assert_eq!((status, intake.taken().len()), expected, "{network}");
        }
    }

    #[actix_web::test]
    async fn both_secrets_are_valid_while_one_replaces_the_other() {
        let body = SIGNED.as_bytes();
        let old = unsigned(body).insert_header((SIGNATURE, signature("old-secret", body)));
        assert_eq!(outcome(old).await, (200, 1));
        let foreign = unsigned(body).insert_header((SIGNATURE, signature("new-secret", body)));
        assert_eq!(outcome(foreign).await, (401, 0));
    }

    #[actix_web::test]
    async fn a_forged_callback_gets_401_whether_or_not_it_can_be_read() {
        for body in [SIGNED.as_bytes(), b"{", b"", b"\xff\xfe"] {
            assert_eq!(outcome(unsigned(body)).await, (401, 0));
            let wrong = unsigned(body).insert_header((SIGNATURE, signature("test-secret", b"other body")));
            assert_eq!(outcome(wrong).await, (401, 0));
            let twice = post(body).append_header((SIGNATURE, signature("test-secret", body)));
            assert_eq!(outcome(twice).await, (401, 0));
        }
    }

    #[actix_web::test]
    async fn authentic_but_unreadable_json_gets_400() {
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(64), "]".repeat(64));
        let twice = r#"{"document_id":"a","document_id":"b","status":"signed"}"#;
        for body in ["{", "", "{} x", twice, &deep] {
            assert_eq!(outcome(post(body.as_bytes())).await, (400, 0), "{body}");
        }
        assert_eq!(outcome(post(b"{\"a\":\"\xcf\"}")).await, (400, 0));
    }

    #[actix_web::test]
    async fn authentic_json_that_says_too_little_is_kept_for_a_person() {
        for body in ["{}", r#"{"event":"x","document_id":"../..","status":"signed"}"#] {
            assert_eq!(outcome(post(body.as_bytes())).await, (200, 1), "{body}");
        }
    }

    #[actix_web::test]
    async fn the_order_of_refusals_is_size_encoding_type_signature() {
        let large = vec![b' '; 1_025];
        let gzip = ("content-encoding", "gzip");
        let text = ("content-type", "text/plain");
        assert_eq!(outcome(unsigned(&large).insert_header(gzip).insert_header(text)).await, (413, 0));
        assert_eq!(outcome(post(SIGNED.as_bytes()).insert_header(gzip)).await, (415, 0));
        assert_eq!(outcome(unsigned(SIGNED.as_bytes()).insert_header(text)).await, (415, 0));
        assert_eq!(outcome(post(&vec![b' '; 1_024])).await, (400, 0), "the bound itself is allowed");
    }

    #[actix_web::test]
    async fn the_limit_counts_before_anything_is_looked_at() {
        let intake = Arc::new(FakeIntake::default());
        let doors = public_doors(&reception(&intake).0, &settings(2));
        for _ in 0..2 {
            assert_eq!(answer(&doors, unsigned(b"")).await.status().as_u16(), 401);
        }
        let refused = answer(&doors, post(SIGNED.as_bytes())).await;
        assert_eq!(refused.status().as_u16(), 429);
        assert_eq!(refused.headers().get(RETRY_AFTER).unwrap(), "30");
        assert_eq!(intake.taken().len(), 0);
    }

    #[actix_web::test]
    async fn no_200_while_the_queue_is_full() {
        let intake = Arc::new(FakeIntake::default());
        let (reception, metrics) = reception(&intake);
        let doors = public_doors(&reception, &settings(100));
        intake.refuse_with(AcceptError::Busy { retry_after_s: 7 });
        let refused = answer(&doors, post(SIGNED.as_bytes())).await;
        assert_eq!(refused.status().as_u16(), 503);
        assert_eq!(refused.headers().get(RETRY_AFTER).unwrap(), "7");
        intake.refuse_with(AcceptError::Unavailable { reason: Text::default() });
        assert_eq!(answer(&doors, post(SIGNED.as_bytes())).await.status().as_u16(), 503);
        let text = metrics.encode();
        for reason in ["busy", "store_unavailable"] {
            let line = format!(r#"{{source="easydocs",reason="{reason}"}} 1"#);
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
}
