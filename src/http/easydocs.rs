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
use super::source;
use crate::config::Network;
use crate::providers::easydocs::callback;
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
        // the configuration allows 2xx only; anything else would make the sender repeat for ever
        let answer_code = StatusCode::from_u16(settings.answer_code).unwrap_or(StatusCode::OK);
        let limit = RateLimit::new(settings.per_minute);
        Self { reception, settings, answer_code, body_timeout, trusted_proxies, limit }
    }

    async fn verified(&self, request: &HttpRequest, payload: Payload) -> Result<(String, Bytes), Code> {
        let bounds = BodyBounds { bytes_max: self.settings.body_bytes_max, time_max: self.body_timeout };
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
        callback::parse(&self.settings.protocol, &body).map_err(|_| Code::Unreadable)?;
        Ok((content_type, body))
    }

    fn limited(&self, source: IpAddr) -> Result<(), ApiError> {
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
        .body(door.settings.answer_body.clone()))
}
