//! `POST /bitrix/webhook`: events of Bitrix24, from outgoing webhooks and applications.
//!
//! Bitrix24 never sends an event again, whatever we answer (`api-reference/events`), so an authentic one is answered
//! with 200 as soon as, and only if, it is on disk. The proof is `auth[application_token]`; nothing signs the body.
//!
//! The token is blanked before the body is stored: it has done its work, and journals and backups need no keys.

use super::body::{self, BodyBounds};
use super::error::{ApiError, Code};
use super::intake::Reception;
use super::rate_limit::{RateLimit, Verdict};
use super::refusal::Surface;
use super::settings::{BitrixSettings, PortalGate, PublicSettings};
use super::source::{self, Network};
use crate::domain::{PortalId, Secret};
use crate::providers::bitrix24::events::{IncomingEvent, token_matches};
use crate::store::{NewNotice, NoticeKind};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::net::IpAddr;
use std::time::{Duration, Instant};

const SURFACE: Surface = Surface::BitrixWebhook;

/// Shorter tokens are not searched for in the body: they would blank ordinary text. Bitrix24's have 32 characters.
const TOKEN_BYTES_MIN: usize = 8;

/// The door.
pub struct Door {
    reception: Reception,
    settings: BitrixSettings,
    body_timeout: Duration,
    trusted_proxies: Vec<Network>,
    limit: Option<RateLimit>,
}

impl Door {
    /// Opens into `reception`.
    pub fn new(reception: Reception, settings: &PublicSettings) -> Self {
        Self {
            reception,
            settings: settings.bitrix.clone(),
            body_timeout: settings.body_timeout,
            trusted_proxies: settings.trusted_proxies.clone(),
            limit: settings.bitrix.per_minute.map(RateLimit::new),
        }
    }

    async fn take(&self, request: &HttpRequest, payload: Payload, source: IpAddr) -> Result<Taken, Refused> {
        if let Some(Verdict::Refused { retry_after_s }) = self.limit.as_ref().map(|limit| limit.check(source)) {
            return Err(Refused { code: Code::TooMany, retry_after_s: Some(retry_after_s) });
        }
        let bounds = BodyBounds { bytes_max: self.settings.body_bytes_max, time_max: self.body_timeout };
        let body = body::read(request, payload, bounds).await?;
        if body::is_encoded(request) {
            return Err(Code::EncodingRefused.into());
        }
        let content_type = body::content_type(request);
        self.judge(source, content_type, body).map_err(Refused::from)
    }

    /// Everything that can be decided without IO.
    fn judge(&self, source: IpAddr, content_type: String, body: Bytes) -> Result<Taken, Code> {
        let event = IncomingEvent::decode(Some(&content_type), &body).map_err(|_| Code::Unreadable)?;
        let gate = gate_of(&self.settings.portals, &event.application_token).ok_or(Code::TokenRefused)?;
        if !gate.senders.is_empty() && !source::any_contains(&gate.senders, source) {
            return Err(Code::SenderRefused);
        }
        if !self.settings.events.is_empty() && !self.settings.events.contains(&event.name) {
            return Ok(Taken::Unwanted);
        }
        let body = blanked(body, event.application_token.expose());
        Ok(Taken::Wanted { portal: gate.id.clone(), content_type, body })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Wanted { portal: PortalId, content_type: String, body: Bytes },
    Unwanted,
}

struct Refused {
    code: Code,
    retry_after_s: Option<u64>,
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Self { code, retry_after_s: None }
    }
}

/// The portal whose token this is. Looks at every token of every portal whatever it finds, so that the time tells
/// nothing.
fn gate_of<'g>(gates: &'g [PortalGate], given: &Secret) -> Option<&'g PortalGate> {
    gates.iter().fold(None, |found, gate| {
        let matches = token_matches(&gate.application_tokens, given);
        found.or(matches.then_some(gate))
    })
}

/// The body with every occurrence of the token, plain or percent-encoded, overwritten by stars.
fn blanked(body: Bytes, token: &str) -> Bytes {
    if token.len() < TOKEN_BYTES_MIN {
        return body;
    }
    let encoded: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let mut bytes = Vec::from(body);
    for needle in [token.as_bytes(), encoded.as_bytes()] {
        let mut from = 0;
        while let Some(at) = find(&bytes[from..], needle) {
            bytes[from + at..from + at + needle.len()].fill(b'*');
            from += at + needle.len();
        }
    }
    Bytes::from(bytes)
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// The handler.
///
/// # Errors
/// 429 over the limit, 413, 408, 400 for a body that cannot be read, 415 for an encoded one, 403 for a wrong token or
/// sender, 503 with `Retry-After` when it cannot be stored.
pub async fn webhook(
    request: HttpRequest,
    payload: Payload,
    door: Data<Door>,
) -> Result<HttpResponse, ApiError> {
    let since = Instant::now();
    let source = source::of(&request, &door.trusted_proxies);
    match door.take(&request, payload, source).await {
        Ok(Taken::Wanted { portal, content_type, body }) => {
            let notice = NewNotice {
                kind: NoticeKind::BitrixEvent,
                portal: Some(portal),
                received_at: door.reception.now(),
                content_type,
                body,
            };
            door.reception.store(SURFACE, notice, since).await?;
        }
        Ok(Taken::Unwanted) => door.reception.drop_unwanted(SURFACE, since),
        Err(Refused { code, retry_after_s }) => {
            let error = door.reception.refuse(SURFACE, code, source);
            return Err(match retry_after_s {
                Some(seconds) => error.retry_after_s(seconds),
                None => error,
            });
        }
    }
    Ok(HttpResponse::Ok().content_type("application/json").body(r#"{"ok":true}"#))
}
