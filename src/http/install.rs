//! `POST /bitrix/install` and `POST /bitrix/app`: the pages that a portal opens in a frame, and ONAPPINSTALL.
//!
//! What a browser brings is a claim: it is confirmed at the authorisation server before anything is kept
//! (`settings/app-installation`). An application without pages gets the event ONAPPINSTALL at the same address.

use super::app_pages::{self, Framer};
use super::body::{self, BodyBounds};
use super::error::{ApiError, Code};
use super::intake::Reception;
use super::rate_limit::{RateLimit, Verdict};
use super::settings::PublicSettings;
use super::source;
use crate::actors::Engine;
use crate::actors::installations::{InstallError, Registry, Visitor};
use crate::config::Network;
use crate::domain::{InstallationStatus, Text};
use crate::providers::bitrix24::lifecycle::{Frame, Lifecycle};
use crate::saga::document::{DocumentSaga, Step};
use crate::store::DocumentFilter;
use crate::telemetry::metrics::NoticeSource;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

const DOOR: NoticeSource = NoticeSource::Bitrix24;
/// The form of a frame has less than 4 KiB.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Each request asks the authorisation server, so one address may not make many; a portal behind one address has
/// some people who open the page.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).expect("it is not zero");
/// Rows of the page.
const ROWS_MAX: usize = 20;

/// The doors of applications.
pub struct Door {
    engine: Engine,
    reception: Reception,
    body_timeout: Duration,
    trusted_proxies: Vec<Network>,
    limit: RateLimit,
}

impl Door {
    /// For the applications of `engine`.
    pub fn new(engine: Engine, reception: Reception, settings: &PublicSettings) -> Self {
        Self {
            engine,
            reception,
            body_timeout: settings.body_timeout,
            trusted_proxies: settings.trusted_proxies.clone(),
            limit: RateLimit::new(PER_MINUTE),
        }
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        self.engine.installations()
    }

    pub(super) fn source(&self, request: &HttpRequest) -> IpAddr {
        source::of(request, &self.trusted_proxies)
    }

    pub(super) fn refuse(&self, code: Code, source: IpAddr) -> ApiError {
        self.reception.refuse(DOOR, code, source)
    }

    /// # Errors
    /// 429 above the limit of one address.
    pub(super) fn let_in(&self, source: IpAddr) -> Result<(), ApiError> {
        match self.limit.check(source) {
            Verdict::Allowed => Ok(()),
            Verdict::Refused { retry_after_s } => {
                Err(self.refuse(Code::TooMany, source).retry_after_s(retry_after_s))
            }
        }
    }

    async fn body(&self, request: &HttpRequest, payload: Payload, source: IpAddr) -> Result<Bytes, ApiError> {
        self.let_in(source)?;
        let bounds = BodyBounds { bytes_max: BODY_BYTES_MAX, time_max: self.body_timeout };
        body::read(request, payload, bounds).await.map_err(|code| self.refuse(code, source))
    }

    fn frame(&self, request: &HttpRequest, body: &[u8], source: IpAddr) -> Result<Frame, ApiError> {
        Frame::decode(request.query_string(), body).map_err(|_| self.refuse(Code::Unreadable, source))
    }

    /// The page for a claim that was not carried out.
    fn failed(&self, frame: &Frame, error: &InstallError, source: IpAddr) -> HttpResponse {
        let code = code_of(error);
        // noted as any refusal is; the answer is a page, since a person looks at it
        let status = self.refuse(code, source).code.status();
        let language = app_pages::language_of(&frame.language);
        let framer = frame.domain.as_deref().map_or(Framer::Nobody, Framer::Claimed);
        app_pages::failed(status, language, &reason(error), &framer)
    }
}

fn code_of(error: &InstallError) -> Code {
    match error {
        InstallError::Unconfirmed | InstallError::NotAdministrator => Code::TokenRefused,
        InstallError::NotAdmitted(_) => Code::SenderRefused,
        InstallError::Unavailable(_) => Code::Unavailable,
    }
}

/// What a person is told.
pub(super) fn reason(error: &InstallError) -> Text {
    match error {
        InstallError::Unconfirmed => Text::new(
            "Сервер авторизации Битрикс24 не подтвердил вход. Откройте приложение из левого меню портала ещё раз.",
            "The Bitrix24 authorisation server did not confirm the visit. Open the application from the portal's left menu again.",
        ),
        InstallError::NotAdmitted(member_id) => Text::new(
            format!(
                "Этот портал не подключён к edobridge. Сообщите владельцу сервиса его member_id: {member_id}."
            ),
            format!(
                "This portal is not connected to edobridge. Tell the owner of the service its member_id: {member_id}."
            ),
        ),
        InstallError::NotAdministrator => Text::new(
            "Установить приложение может только администратор портала. Попросите его открыть эту страницу.",
            "Only an administrator of the portal can install the application. Ask one to open this page.",
        ),
        InstallError::Unavailable(text) => Text::new(
            format!("Сейчас не получилось: {} Откройте страницу ещё раз через несколько минут.", text.ru),
            format!("It did not work now: {} Open the page again in some minutes.", text.en),
        ),
    }
}

/// Carries out an event of an application's life that came to any of our doors.
///
/// # Errors
/// 403 for one that proves nothing, 503 if it can neither be confirmed nor stored now.
pub async fn carry_out(
    registry: &Arc<Registry>,
    reception: &Reception,
    event: &Lifecycle,
    source: IpAddr,
) -> Result<(), ApiError> {
    registry.live(event).await.map_err(|error| {
        if let InstallError::Unavailable(reason) = &error {
            tracing::error!(reason = %reason.en, "an event of an application's life was lost: open the application to heal");
        }
        reception.refuse(DOOR, code_of(&error), source)
    })
}

/// `POST /bitrix/install`.
///
/// # Errors
/// 429, 413, 408, 400 for a body that cannot be read, 403 or 503 for an event that was not carried out. What goes wrong
/// in a frame is told by a page.
pub async fn install(
    request: HttpRequest,
    payload: Payload,
    door: Data<Door>,
) -> Result<HttpResponse, ApiError> {
    let source = door.source(&request);
    let body = door.body(&request, payload, source).await?;
    if let Ok(Some(event)) = Lifecycle::decode(&body::content_type(&request), &body) {
        carry_out(door.registry(), &door.reception, &event, source).await?;
        return Ok(HttpResponse::Ok().content_type("application/json").body(r#"{"ok":true}"#));
    }
    let frame = door.frame(&request, &body, source)?;
    Ok(match door.registry().install(&frame.claim).await {
        Ok(visitor) => app_pages::installed(app_pages::language_of(&frame.language), &visitor.origin),
        Err(error) => door.failed(&frame, &error, source),
    })
}

/// `POST /bitrix/app`: the main page. An administrator who opens it heals an access that was lost.
///
/// # Errors
/// As [`install`].
pub async fn main_page(
    request: HttpRequest,
    payload: Payload,
    door: Data<Door>,
) -> Result<HttpResponse, ApiError> {
    let source = door.source(&request);
    let body = door.body(&request, payload, source).await?;
    let frame = door.frame(&request, &body, source)?;
    match door.registry().visit(&frame.claim).await {
        Ok(visitor) => documents(&door, &frame, &visitor).await,
        Err(error) => Ok(door.failed(&frame, &error, source)),
    }
}

async fn documents(door: &Door, frame: &Frame, visitor: &Visitor) -> Result<HttpResponse, ApiError> {
    let language = app_pages::language_of(&frame.language);
    let (Some(portal), Some(status)) = (&visitor.portal, visitor.status) else {
        let reason = reason(&InstallError::NotAdministrator);
        let framer = Framer::Portal(&visitor.origin);
        return Ok(app_pages::failed(StatusCode::FORBIDDEN, language, &reason, &framer));
    };
    let mut rows: Vec<DocumentSaga> = Vec::new();
    if status != InstallationStatus::Uninstalled {
        for step in Step::ALL {
            let filter = DocumentFilter {
                portal: Some(portal.clone()),
                steps: vec![step],
                ..DocumentFilter::default()
            };
            rows.extend(door.engine.store().list(filter, None, ROWS_MAX).await?.items);
        }
    }
    rows.sort_by_key(|saga| std::cmp::Reverse(saga.updated_at));
    rows.truncate(ROWS_MAX);
    let now = door.engine.clock().now();
    Ok(app_pages::documents(language, &visitor.origin, status, &rows, now))
}
