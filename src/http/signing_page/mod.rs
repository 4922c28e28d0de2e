//! `/sign/{token}`: the page on which our own signer signs, and where the signature comes back to.
//!
//! The page works without the internet and without anybody's library: it is written by the server, one script of ours
//! talks to the signing agent on the signer's computer, and everything else is forbidden by its policy. What waits for
//! a signature is known by the [`SigningDesk`]; what a signature has to be like, by [`crate::providers::cms`].
//!
//! Invariants:
//! - **SP-1** a link opens what the desk gives for it and nothing else; every wrong link gets the same page;
//! - **SP-2** a signature is given to the desk only after the checks of its own document;
//! - **SP-3** no token, content or signature is logged;
//! - **SP-4** a repeated submission is answered as the first one.

mod assets;
mod content;
mod language;
mod operator;
mod page;
mod submission;
mod words;

pub use operator::{SignatureApi, by_operator};
pub use submission::{DocumentAnswer, Submission, SubmissionAnswer};

use super::body::{self, BodyBounds};
use super::error::{ApiError, Code};
use super::intake::Reception;
use super::rate_limit::{RateLimit, Verdict};
use super::settings::PublicSettings;
use super::source;
use crate::actors::signing_desk::SigningDesk;
use crate::config::Network;
use crate::domain::SignerLanguage;
use crate::domain::signing::{LinkRenewal, SignLink, SigningRefusal, SigningTask};
use crate::domain::subject_pattern::SubjectPatterns;
use crate::telemetry::metrics::NoticeSource;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

pub(super) use assets::asset;
pub(super) use content::content;

const DOOR: NoticeSource = NoticeSource::SigningPage;
/// Submissions of the largest size that are taken at one time; each is held some three times over while it is looked
/// at. Smaller ones share the same room, and a detached signature takes next to none of it.
const LARGEST_AT_ONCE: usize = 4;
/// The unit in which room is counted, in bytes.
const ROOM_UNIT_BYTES: usize = 1024;
/// A document inside its signature goes up over a mobile line: 20 MB at 1 Mbit/s.
const BODY_TIME_MIN: Duration = Duration::from_secs(180);
/// Pages and files that one source may ask for, for each POST that it may make: scripts, styles, files, reloads.
const LOOKS_PER_POST: u32 = 20;
/// Seconds after which a repeat makes sense while too much is under way.
const BUSY_RETRY_AFTER_S: u64 = 5;

/// What the page is told by the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct SigningSettings {
    /// The signing agent's socket, as the signer's browser sees it.
    pub agent_url: Url,
    /// Languages offered; the first one is that of a browser that asks for none of them.
    pub languages: Vec<SignerLanguage>,
    /// Where IIN and BIN stand in a certificate.
    pub patterns: SubjectPatterns,
    /// Submissions a minute from one source address.
    pub posts_per_minute: NonZeroU32,
    /// Largest body of one submission, in bytes.
    pub body_bytes_max: usize,
}

/// What the listeners need to serve the page.
#[derive(Clone)]
pub struct SigningParts {
    /// What is behind the page.
    pub desk: Arc<dyn SigningDesk>,
    /// What the page is told.
    pub settings: SigningSettings,
}

/// The door.
pub struct Door {
    desk: Arc<dyn SigningDesk>,
    settings: SigningSettings,
    reception: Reception,
    posts: RateLimit,
    looks: RateLimit,
    room: Semaphore,
    body_timeout: Duration,
    trusted_proxies: Vec<Network>,
}

impl Door {
    /// In front of a desk. `public` gives times and proxies.
    pub fn new(parts: SigningParts, reception: Reception, public: &PublicSettings) -> Self {
        let SigningParts { desk, settings } = parts;
        let posts = settings.posts_per_minute;
        Self {
            desk,
            reception,
            posts: RateLimit::new(posts),
            looks: RateLimit::new(posts.saturating_mul(LOOKS_PER_POST.try_into().unwrap_or(NonZeroU32::MIN))),
            room: Semaphore::new(LARGEST_AT_ONCE * room_units(settings.body_bytes_max)),
            body_timeout: public.body_timeout.max(BODY_TIME_MIN),
            trusted_proxies: public.trusted_proxies.clone(),
            settings,
        }
    }

    /// Which languages the page has, the default first.
    fn languages(&self) -> &[SignerLanguage] {
        &self.settings.languages
    }

    /// What a link opens. What is not of a link's form does not reach the desk.
    async fn open(&self, token: &str) -> Result<Vec<SigningTask>, SigningRefusal> {
        SignLink::parse(token).map_err(|_| SigningRefusal::Unknown)?;
        let tasks = self.desk.open(token).await?;
        if tasks.is_empty() { Err(SigningRefusal::Unknown) } else { Ok(tasks) }
    }

    fn source(&self, request: &HttpRequest) -> IpAddr {
        source::of(request, &self.trusted_proxies)
    }

    fn limited(&self, limit: &RateLimit, source: IpAddr) -> Result<(), ApiError> {
        match limit.check(source) {
            Verdict::Allowed => Ok(()),
            Verdict::Refused { retry_after_s } => {
                Err(self.reception.refuse(DOOR, Code::TooMany, source).retry_after_s(retry_after_s))
            }
        }
    }

    /// Room for the body of `request`; the largest one where it does not say how large it is.
    fn room(&self, request: &HttpRequest) -> Result<SemaphorePermit<'_>, ApiError> {
        let length =
            request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let bytes_max = self.settings.body_bytes_max;
        let units = room_units(length.unwrap_or(bytes_max).min(bytes_max));
        let room = self.room.try_acquire_many(u32::try_from(units).unwrap_or(u32::MAX));
        room.map_err(|_| ApiError::new(Code::Busy).retry_after_s(BUSY_RETRY_AFTER_S))
    }

    async fn body(&self, request: &HttpRequest, payload: Payload) -> Result<actix_web::web::Bytes, Code> {
        let bounds = BodyBounds { bytes_max: self.settings.body_bytes_max, time_max: self.body_timeout };
        let body = body::read(request, payload, bounds).await?;
        if body::is_encoded(request) { Err(Code::EncodingRefused) } else { Ok(body) }
    }
}

fn room_units(bytes: usize) -> usize {
    bytes.div_ceil(ROOM_UNIT_BYTES).max(1)
}

/// The status of a refused link: the same for whatever is not known, so that nothing can be found out by trying.
fn status_of(refusal: SigningRefusal) -> StatusCode {
    match refusal {
        SigningRefusal::Unknown => StatusCode::NOT_FOUND,
        SigningRefusal::Expired => StatusCode::GONE,
        SigningRefusal::AlreadySigned | SigningRefusal::NotNow => StatusCode::CONFLICT,
        SigningRefusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The answer to a program whose link is refused.
fn refused(refusal: SigningRefusal) -> HttpResponse {
    let mut answer = HttpResponse::build(status_of(refusal));
    if refusal == SigningRefusal::Busy {
        answer.insert_header((RETRY_AFTER, BUSY_RETRY_AFTER_S));
    }
    answer.json(serde_json::json!({
        "code": words::refusal_code(refusal),
        "message": words::refusal(refusal),
    }))
}

/// `GET /sign/{token}`.
///
/// # Errors
/// 429 for a source that asks too often. A link that opens nothing gets a page.
pub(super) async fn page(
    request: HttpRequest,
    token: Path<String>,
    door: Data<Door>,
) -> Result<HttpResponse, ApiError> {
    door.limited(&door.looks, door.source(&request))?;
    let language = language::of(&request, door.languages());
    Ok(match door.open(&token).await {
        Ok(tasks) => page::tasks(&door.settings, language, &token, &tasks),
        Err(refusal) => page::refused(&door.settings, language, &token, refusal),
    })
}

/// `POST /sign/{token}`: signatures, as JSON.
///
/// # Errors
/// 429, 413, 408, 415, 400, 503. A refused link is answered with 404, 409, 410 or 503 and words in three languages; what
/// is the matter with one signature stands in the answer of 200.
pub(super) async fn submit(
    request: HttpRequest,
    payload: Payload,
    token: Path<String>,
    door: Data<Door>,
) -> Result<HttpResponse, ApiError> {
    let source = door.source(&request);
    door.limited(&door.posts, source)?;
    let _room = door.room(&request)?;
    // a page of another site cannot send this type without asking first
    if !body::is_json(&body::content_type(&request)) {
        return Err(door.reception.refuse(DOOR, Code::TypeRefused, source));
    }
    // before the body: whoever has no link is not listened to
    let tasks = match door.open(&token).await {
        Ok(tasks) => tasks,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let body =
        door.body(&request, payload).await.map_err(|code| door.reception.refuse(DOOR, code, source))?;
    let sent = Submission::read(&body).map_err(|_| door.reception.refuse(DOOR, Code::Unreadable, source))?;
    drop(body);
    let answer = submission::take(&door, &token, &tasks, sent).await;
    Ok(HttpResponse::Ok().json(answer))
}

/// `POST /sign/{token}/renew`: sends a new link to the signer, by the way by which the first one came; `sent` is false
/// where there is no such way and an operator has to hand one on.
///
/// # Errors
/// 429, 415.
pub(super) async fn renew(
    request: HttpRequest,
    token: Path<String>,
    door: Data<Door>,
) -> Result<HttpResponse, ApiError> {
    let source = door.source(&request);
    door.limited(&door.posts, source)?;
    if !body::is_json(&body::content_type(&request)) {
        return Err(door.reception.refuse(DOOR, Code::TypeRefused, source));
    }
    if SignLink::parse(&token).is_err() {
        return Ok(refused(SigningRefusal::Unknown));
    }
    Ok(match door.desk.renew(&token).await {
        Ok(renewal) => {
            let sent = renewal == LinkRenewal::Sent;
            HttpResponse::Accepted().json(serde_json::json!({ "sent": sent }))
        }
        Err(refusal) => refused(refusal),
    })
}
