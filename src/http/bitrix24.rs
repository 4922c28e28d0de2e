//! `POST /bitrix/webhook`: events of Bitrix24, from outgoing webhooks and applications.
//!
//! Bitrix24 never sends an event again, whatever we answer (`api-reference/events`), so an authentic one is answered
//! with 200 as soon as, and only if, it is on disk. The proof is `auth[application_token]`; nothing signs the body.
//!
//! Credentials are blanked before the body is stored: they have done their work, and journals and backups need no
//! keys. The token is looked for everywhere in the body besides, in case a sender repeats it under another name.

use super::body::{self, BodyBounds};
use super::error::{ApiError, Code};
use super::install;
use super::intake::Reception;
use super::rate_limit::{RateLimit, Verdict};
use super::settings::{BitrixSettings, PortalGate, PublicSettings};
use super::source;
use crate::actors::installations::{InstalledGate, Registry};
use crate::actors::sender_list::SenderList;
use crate::config::Network;
use crate::domain::{PortalId, Secret};
use crate::providers::bitrix24::events::{IncomingEvent, token_matches, without_credentials};
use crate::providers::bitrix24::lifecycle::{self, Lifecycle};
use crate::store::{NewNotice, NoticeKind};
use crate::telemetry::metrics::NoticeSource;
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const DOOR: NoticeSource = NoticeSource::Bitrix24;

/// Shorter tokens are not searched for in the body: they would blank ordinary text. Bitrix24's have 32 characters.
const TOKEN_BYTES_MIN: usize = 8;

/// The door.
pub struct Door {
    reception: Reception,
    settings: BitrixSettings,
    body_timeout: Duration,
    trusted_proxies: Vec<Network>,
    limit: Option<RateLimit>,
    installations: Option<Arc<Registry>>,
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
            installations: None,
        }
    }

    /// The same door, which also knows what to do with the life of applications.
    #[must_use]
    pub fn with_installations(mut self, registry: Arc<Registry>) -> Self {
        self.installations = Some(registry);
        self
    }

    /// Proxies whose word about the sender's address is believed.
    pub(super) fn trusted_proxies(&self) -> &[Network] {
        &self.trusted_proxies
    }

    /// What is behind the door.
    pub(super) fn reception(&self) -> &Reception {
        &self.reception
    }

    /// Notes a refusal and makes the answer.
    pub(super) fn refuse(&self, refused: Refused, source: IpAddr) -> ApiError {
        let error = self.reception.refuse(DOOR, refused.code, source);
        match refused.retry_after_s {
            Some(seconds) => error.retry_after_s(seconds),
            None => error,
        }
    }

    /// The portal that a token and an address prove: of an outgoing webhook, or of an installed application.
    pub(super) fn sender(
        &self,
        token: &Secret,
        member_id: Option<&str>,
        source: IpAddr,
    ) -> Result<PortalId, Code> {
        let (installed, list) = (self.reception.installed(), self.reception.sender_list());
        let gates = Gates { webhooks: &self.settings.portals, installed: &installed, list: list.as_deref() };
        sender_of(gates, token, member_id, source)
    }

    async fn take(&self, request: &HttpRequest, payload: Payload, source: IpAddr) -> Result<Taken, Refused> {
        let (content_type, body) = self.read(request, payload, source).await?;
        self.judge(source, content_type, body).map_err(Refused::from)
    }

    /// The body within its bounds, and what the sender calls it.
    pub(super) async fn read(
        &self,
        request: &HttpRequest,
        payload: Payload,
        source: IpAddr,
    ) -> Result<(String, Bytes), Refused> {
        if let Some(Verdict::Refused { retry_after_s }) = self.limit.as_ref().map(|limit| limit.check(source))
        {
            return Err(Refused { code: Code::TooMany, retry_after_s: Some(retry_after_s) });
        }
        let bounds = BodyBounds { bytes_max: self.settings.body_bytes_max, time_max: self.body_timeout };
        let body = body::read(request, payload, bounds).await?;
        if body::is_encoded(request) {
            return Err(Code::EncodingRefused.into());
        }
        Ok((body::content_type(request), body))
    }

    /// Everything that can be decided without IO.
    fn judge(&self, source: IpAddr, content_type: String, body: Bytes) -> Result<Taken, Code> {
        let event = IncomingEvent::decode(Some(&content_type), &body).map_err(|_| Code::Unreadable)?;
        if self.installations.is_some() && lifecycle::is_lifecycle(&event.name) {
            // it brings its own proof, and what it brings must not be stored as an event is
            let event = Lifecycle::decode(&content_type, &body).map_err(|_| Code::Unreadable)?;
            return event.map(|event| Taken::Life(Box::new(event))).ok_or(Code::Unreadable);
        }
        let portal = self.sender(&event.application_token, event.member_id.as_deref(), source)?;
        if !self.settings.events.is_empty() && !self.settings.events.contains(&event.name) {
            return Ok(Taken::Unwanted);
        }
        let body = blanked(without_credentials(&body).into(), event.application_token.expose());
        Ok(Taken::Wanted { portal, content_type, body })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Wanted {
        portal: PortalId,
        content_type: String,
        body: Bytes,
    },
    /// Of an application itself.
    Life(Box<Lifecycle>),
    Unwanted,
}

/// Why a request is not taken.
pub(super) struct Refused {
    code: Code,
    retry_after_s: Option<u64>,
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Self { code, retry_after_s: None }
    }
}

/// What events are judged by.
#[derive(Clone, Copy)]
pub(super) struct Gates<'a> {
    /// Of outgoing webhooks.
    pub webhooks: &'a [PortalGate],
    /// Of installed applications.
    pub installed: &'a [InstalledGate],
    /// The published addresses.
    pub list: Option<&'a SenderList>,
}

/// The portal that a token and an address prove: of an outgoing webhook, or of an installed application.
pub(super) fn sender_of(
    gates: Gates<'_>,
    token: &Secret,
    member_id: Option<&str>,
    source: IpAddr,
) -> Result<PortalId, Code> {
    let Gates { webhooks, installed, list } = gates;
    let gate = gate_of(webhooks, token);
    if let Some(gate) = gate
        && gate.may_send(source, member_id, list)
    {
        return Ok(gate.id.clone());
    }
    // its name is no secret: only its own tokens need be compared without haste
    let named = installed.iter().filter(|gate| Some(gate.member_id.as_str()) == member_id);
    let proven = named.fold(None, |found, gate| {
        let matches = token_matches(&gate.application_tokens, token);
        found.or(matches.then_some(gate))
    });
    match (proven, gate) {
        (Some(proven), _) if proven.senders.admit(source, list) => Ok(proven.portal.clone()),
        (Some(_), _) | (None, Some(_)) => Err(Code::SenderRefused),
        (None, None) => Err(Code::TokenRefused),
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
pub(super) fn blanked(body: Bytes, token: &str) -> Bytes {
    if token.len() < TOKEN_BYTES_MIN {
        return body;
    }
    let encoded: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let mut bytes = Vec::from(body);
    // an ordinary token is spelled alike in both forms
    let encoded = Some(encoded.as_bytes()).filter(|encoded| *encoded != token.as_bytes());
    for needle in std::iter::once(token.as_bytes()).chain(encoded) {
        let mut from = 0;
        while let Some(at) = find(&bytes[from..], needle) {
            bytes[from + at..from + at + needle.len()].fill(b'*');
            from += at + needle.len();
        }
    }
    Bytes::from(bytes)
}

/// Where `needle` begins. Compares only where its first byte stands: a call per place would cost more than the
/// whole decoding of an ordinary event.
fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle.first()?;
    let mut from = 0;
    while let Some(step) = hay.get(from..)?.iter().position(|byte| byte == first) {
        if hay[from + step..].starts_with(needle) {
            return Some(from + step);
        }
        from += step + 1;
    }
    None
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
            door.reception.store(DOOR, notice, since).await?;
        }
        Ok(Taken::Life(event)) => {
            let registry = door.installations.as_ref().ok_or(Code::Internal)?;
            install::carry_out(registry, &door.reception, &event, source).await?;
        }
        Ok(Taken::Unwanted) => door.reception.drop_unwanted(DOOR, since),
        Err(refused) => return Err(door.refuse(refused, source)),
    }
    Ok(HttpResponse::Ok().content_type("application/json").body(r#"{"ok":true}"#))
}

#[cfg(test)]
mod tests {
    use super::super::listener::public_doors;
    use super::super::routes::{self, PublicDoors};
    use super::super::test_support::{FakeIntake, public_settings, reception};
    use super::*;
    use crate::actors::AcceptError;
    use crate::domain::{Text, Timestamp};
    use actix_web::App;
    use actix_web::dev::{Service, ServiceResponse};
    use actix_web::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
    use actix_web::test::{TestRequest, init_service, read_body};
    use std::sync::Arc;

    const FORM: &str = "application/x-www-form-urlencoded";
    const EVENT: &str = "event=ONCRMDEALUPDATE&data%5BFIELDS%5D%5BID%5D=7405&ts=1766047124\
        &auth%5Bmember_id%5D=m1&auth%5Bapplication_token%5D=other-token-0002";

    fn doors(intake: &Arc<FakeIntake>, settings: &PublicSettings) -> PublicDoors {
        public_doors(&reception(intake).0, settings)
    }

    async fn answer(doors: &PublicDoors, request: TestRequest) -> ServiceResponse {
        let app = init_service(App::new().configure(|config| routes::public(config, doors))).await;
        app.call(request.to_request()).await.unwrap()
    }

    fn post(body: &str) -> TestRequest {
        TestRequest::post()
            .uri("/bitrix/webhook")
            .peer_addr("192.0.2.1:5000".parse().unwrap())
            .insert_header((CONTENT_TYPE, FORM))
            .set_payload(body.to_owned())
    }

    async fn status_of(settings: &PublicSettings, request: TestRequest) -> (u16, usize) {
        let intake = Arc::new(FakeIntake::default());
        let answer = answer(&doors(&intake, settings), request).await;
        (answer.status().as_u16(), intake.taken().len())
    }

    #[test]
    fn a_token_is_found_wherever_it_begins() {
        for (hay, at) in [("aab", Some(0)), ("aaab", Some(1)), ("xxaab", Some(2)), ("aa", None), ("", None)] {
            assert_eq!(find(hay.as_bytes(), b"aab"), at, "{hay}");
        }
    }

    #[actix_web::test]
    async fn an_authentic_event_is_stored_for_its_portal_without_its_token() {
        let intake = Arc::new(FakeIntake::default());
        let doors = doors(&intake, &public_settings());
        let answered = answer(&doors, post(EVENT)).await;
        assert_eq!(answered.status().as_u16(), 200);
        let [notice] = &intake.taken()[..] else { panic!("one notice") };
        assert_eq!(notice.kind, NoticeKind::BitrixEvent);
        assert_eq!(notice.portal, Some(PortalId("main".into())));
        assert_eq!(notice.received_at, Timestamp(1_000));
        let body = std::str::from_utf8(&notice.body).unwrap();
        assert_eq!(body.len(), EVENT.len());
        assert!(body.contains("=7405") && !body.contains("token-0002"), "{body}");
        assert_eq!(IncomingEvent::decode(Some(FORM), &notice.body).unwrap().trigger(), {
            IncomingEvent::decode(Some(FORM), EVENT.as_bytes()).unwrap().trigger()
        });
    }

    #[actix_web::test]
    async fn the_json_of_the_guide_is_taken_as_well() {
        let json = r#"{"event":"ONDISKFILEADD","data":{"FIELDS":{"ID":9043}},"auth":{"application_token":"first-token-0001"}}"#;
        let request = post(json).insert_header((CONTENT_TYPE, "application/json"));
        assert_eq!(status_of(&public_settings(), request).await, (200, 1));
    }

    #[actix_web::test]
    async fn what_is_not_authentic_leaves_nothing() {
        let settings = public_settings();
        for (body, status) in [
            ("event=ONCRMDEALUPDATE&auth[application_token]=wrong", 403),
            ("event=ONCRMDEALUPDATE&auth[application_token]=", 403),
            ("event=ONCRMDEALUPDATE", 403),
            ("auth[application_token]=other-token-0002", 400),
            ("event=A&data[x=1&auth[application_token]=other-token-0002", 400),
            ("", 400),
        ] {
            assert_eq!(status_of(&settings, post(body)).await, (status, 0), "{body}");
        }
        assert_eq!(status_of(&settings, post(&"x".repeat(4_097))).await, (413, 0));
        assert_eq!(
            status_of(&settings, post(EVENT).insert_header((CONTENT_ENCODING, "gzip"))).await,
            (415, 0)
        );
        let image = post(EVENT).insert_header((CONTENT_TYPE, "image/png"));
        assert_eq!(status_of(&settings, image).await, (400, 0));
    }

    #[actix_web::test]
    async fn a_portal_may_be_bound_to_addresses_and_to_its_member_id() {
        let mut settings = public_settings();
        settings.bitrix.portals[0].senders.networks = vec!["198.51.100.0/24".parse().unwrap()];
        assert_eq!(status_of(&settings, post(EVENT)).await, (403, 0));
        settings.bitrix.portals[0].senders.networks = vec!["192.0.2.0/24".parse().unwrap()];
        settings.bitrix.portals[0].member_id = Some("m2".into());
        assert_eq!(status_of(&settings, post(EVENT)).await, (403, 0));
        settings.bitrix.portals[0].member_id = Some("m1".into());
        assert_eq!(status_of(&settings, post(EVENT)).await, (200, 1));
    }

    #[actix_web::test]
    async fn an_event_that_nobody_wants_is_answered_with_200_and_dropped() {
        let mut settings = public_settings();
        settings.bitrix.events = vec!["ONDISKFILEADD".into()];
        assert_eq!(status_of(&settings, post(EVENT)).await, (200, 0));
        settings.bitrix.events = vec!["ONCRMDEALUPDATE".into()];
        assert_eq!(status_of(&settings, post(EVENT)).await, (200, 1));
    }

    #[actix_web::test]
    async fn no_200_while_nothing_can_be_stored() {
        let intake = Arc::new(FakeIntake::default());
        let doors = doors(&intake, &public_settings());
        intake.refuse_with(AcceptError::Unavailable {
            reason: Text::new("диск полон", "the disk is full")
        });
        let refused = answer(&doors, post(EVENT)).await;
        assert_eq!(refused.status().as_u16(), 503);
        assert_eq!(refused.headers().get(RETRY_AFTER).unwrap(), "10");
        let body = read_body(refused).await;
        assert!(!String::from_utf8_lossy(&body).contains("disk"), "the reason is not for strangers");
    }

    #[actix_web::test]
    async fn other_methods_and_paths_are_refused_shortly() {
        let intake = Arc::new(FakeIntake::default());
        let doors = doors(&intake, &public_settings());
        let refused = answer(&doors, TestRequest::get().uri("/bitrix/webhook")).await;
        assert_eq!(refused.status().as_u16(), 405);
        assert_eq!(refused.headers().get(ALLOW).unwrap(), "POST");
        for path in ["/", "/metrics", "/admin/v1/documents", "/easydocs/callback", "/bitrix/webhook/"] {
            let refused = answer(&doors, TestRequest::post().uri(path)).await;
            assert_eq!(refused.status().as_u16(), 404, "{path}");
        }
    }

    #[actix_web::test]
    async fn a_flood_of_one_source_is_stopped_and_told_when_to_come_again() {
        let mut settings = public_settings();
        settings.bitrix.per_minute = std::num::NonZeroU32::new(2);
        let intake = Arc::new(FakeIntake::default());
        let doors = doors(&intake, &settings);
        for _ in 0..2 {
            assert_eq!(answer(&doors, post(EVENT)).await.status().as_u16(), 200);
        }
        let refused = answer(&doors, post(EVENT)).await;
        assert_eq!(refused.status().as_u16(), 429);
        assert_eq!(refused.headers().get(RETRY_AFTER).unwrap(), "30");
        let other = post(EVENT).peer_addr("192.0.2.2:5000".parse().unwrap());
        assert_eq!(answer(&doors, other).await.status().as_u16(), 200);
    }

    #[test]
    fn a_token_is_blanked_in_either_spelling() {
        let body = Bytes::from_static(b"a=to%26ken%2F12&b=to&ken/12&to%26ken%2F12");
        let blank = blanked(body, "to&ken/12");
        assert_eq!(blank, "a=*************&b=*********&*************");
        assert_eq!(blanked(Bytes::from_static(b"a=x"), "x"), "a=x", "too short to be searched for");
    }
}
