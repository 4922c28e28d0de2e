//! `GET /bitrix/oauth`, where the browser comes back to with a code, and what the operator may order of installations.
//!
//! A code is worth something only with a `state` that we gave out ourselves, once and for ten minutes: otherwise a
//! stranger could send an administrator's browser here with a code of their own portal.

use super::admin::Operator;
use super::app_pages::{self, Framer};
use super::error::{ApiError, Code};
use super::install::{self, Door};
use crate::actors::installations::STATE_LIFE_MS;
use crate::domain::{Language, Secret, Text};
use crate::store::RekeyError;
use actix_web::web::{Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

/// What the portal's redirect carries (`settings/oauth`). Its `domain`, `member_id` and `scope` are claims that the
/// exchange answers better.
#[derive(Deserialize)]
pub struct ComeBack {
    code: Option<String>,
    state: Option<String>,
    server_domain: Option<String>,
}

/// `GET /bitrix/oauth`.
///
/// # Errors
/// 429 over the limit of one address, 400 without a code.
pub async fn come_back(
    request: HttpRequest,
    query: Query<ComeBack>,
    door: Data<Door>,
) -> Result<HttpResponse, ApiError> {
    let source = door.source(&request);
    door.let_in(source)?;
    let ComeBack { code, state, server_domain } = query.into_inner();
    let (Some(code), Some(state)) = (code, state) else {
        return Err(door.refuse(Code::Unreadable, source));
    };
    let (code, state) = (Secret::new(code), Secret::new(state));
    Ok(match door.registry().authorised(&state, &code, server_domain.as_deref()).await {
        Ok(_) => app_pages::authorised(Language::Ru),
        Err(error) => {
            let status = door.refuse(Code::TokenRefused, source).code.status();
            app_pages::failed(status, Language::Ru, &install::reason(&error), &Framer::Nobody)
        }
    })
}

/// Body of `POST /admin/v1/portals/authorize`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizeRequest {
    /// The application, by its id in the configuration.
    pub app: String,
    /// The portal's address, `https://portal.example`.
    pub portal: String,
}

/// Answer of `POST /admin/v1/portals/authorize`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Authorization {
    /// What an administrator of the portal must open.
    pub url: String,
    /// For so many seconds, once.
    pub valid_s: u64,
}

/// Answer of `POST /admin/v1/portals/rekey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rekeyed {
    /// Installations that are sealed with the present key now.
    pub resealed: usize,
    /// Installations that no key opens; each heals when an administrator opens the application.
    pub unreadable: usize,
}

/// Answer of `DELETE /admin/v1/portals/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The portal whose installation is forgotten.
    pub id: String,
}

/// `POST /admin/v1/portals/authorize`.
///
/// # Errors
/// `invalid_request` for an application or an address that cannot be used.
pub async fn authorize(
    operator: Operator,
    request: Json<AuthorizeRequest>,
) -> Result<HttpResponse, ApiError> {
    let registry = operator.engine().installations();
    let url = registry.authorize_url(&request.app, &request.portal).map_err(|_| {
        ApiError::with(
            Code::InvalidRequest,
            Text::new(
                "Нет такого приложения в [[apps]], или адрес портала не вида https://портал.",
                "There is no such application in [[apps]], or the portal's address is not https://portal.",
            ),
        )
    })?;
    Ok(HttpResponse::Ok().json(Authorization { url, valid_s: STATE_LIFE_MS / 1_000 }))
}

/// `POST /admin/v1/portals/rekey`: seals all tokens anew with the key that the service was started with.
///
/// # Errors
/// `rejected` where no application is configured, `unavailable`.
pub async fn rekey(operator: Operator) -> Result<HttpResponse, ApiError> {
    let report = operator.engine().installations().rekey().await.map_err(not_rekeyed)?;
    let report = report.ok_or_else(|| {
        let text = Text::new("Приложений в настройках нет.", "No application is configured.");
        ApiError::with(Code::Rejected, text)
    })?;
    tracing::info!(resealed = report.resealed, unreadable = report.unreadable, "tokens were sealed anew");
    Ok(HttpResponse::Ok().json(Rekeyed { resealed: report.resealed, unreadable: report.unreadable }))
}

fn not_rekeyed(error: RekeyError) -> ApiError {
    match error {
        RekeyError::Store(error) => error.into(),
        RekeyError::Key(error) => {
            let why = crate::actors::error_chain(&error);
            let text = Text::new(
                format!("Файл ключа не изменён: {why}."),
                format!("The key file was not changed: {why}."),
            );
            ApiError::with(Code::Unavailable, text)
        }
    }
}

/// `DELETE /admin/v1/portals/{id}`: forgets an installation at once.
///
/// # Errors
/// `rejected` if the portal has no installation, `unavailable`.
pub async fn remove(operator: Operator, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let registry = operator.engine().installations();
    let found = registry.views().into_iter().find(|view| view.portal.as_str() == id.as_str());
    let removed = match found {
        Some(view) => registry.remove(&view.key).await?,
        None => false,
    };
    if removed {
        return Ok(HttpResponse::Ok().json(Removed { id: id.into_inner() }));
    }
    Err(ApiError::with(
        Code::Rejected,
        Text::new(
            "У этого портала нет установленного приложения; портал с вебхуком убирают из настроек.",
            "This portal has no installed application; one with a webhook is removed from the configuration.",
        ),
    ))
}
