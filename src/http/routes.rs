//! Which path leads where: the surfaces of both listeners in one place. The paths are a contract (DESIGN, section 8).

use super::admin::{self, Desk};
use super::error::{ApiError, Code};
use super::settings::OPERATOR_BODY_BYTES_MAX;
use super::{
    bitrix24, budget_view, easydocs, gap_view, health, idocs, install, maintenance, oauth, pages, robots,
    signing_page,
};
use crate::actors::Engine;
use crate::domain::Text;
use crate::telemetry::metrics::Metrics;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, Route, guard};
use std::sync::Arc;
use std::time::Instant;

/// Events of Bitrix24.
pub const BITRIX_WEBHOOK: &str = "/bitrix/webhook";
/// Installation of an application: the page in the frame, or ONAPPINSTALL.
pub const BITRIX_INSTALL: &str = "/bitrix/install";
/// The main page of an application.
pub const BITRIX_APP: &str = "/bitrix/app";
/// Where the browser comes back to with a code.
pub const BITRIX_OAUTH: &str = "/bitrix/oauth";
/// Robots of workflows in Bitrix24.
pub const BITRIX_ROBOT: &str = "/bitrix/robot/{code}";
/// Callbacks of EasyDocs.
pub const EASYDOCS_CALLBACK: &str = "/easydocs/callback";
/// Notices of iDocs; `{secret}` is what nobody can guess.
pub const IDOCS_CALLBACK: &str = "/idocs/callback/{secret}";

/// The page where our own signer signs.
pub const SIGN_PAGE: &str = "/sign/{token}";
/// Its style and scripts.
pub const SIGN_ASSET: &str = "/sign/assets/{name}";
/// What is signed, as a file.
pub const SIGN_CONTENT: &str = "/sign/{token}/content/{document}";
/// A new link instead of one that is over.
pub const SIGN_RENEW: &str = "/sign/{token}/renew";
/// A signature that was made elsewhere; on the operator's listener.
pub const SIGNATURE_API: &str = "/api/v1/documents/{id}/signature";

/// Every route's pattern, as a label of metrics: paths themselves are strangers' text.
pub const PATTERNS: [&str; 36] = [
    SIGN_PAGE,
    SIGN_ASSET,
    SIGN_CONTENT,
    SIGN_RENEW,
    SIGNATURE_API,
    BITRIX_WEBHOOK,
    BITRIX_ROBOT,
    EASYDOCS_CALLBACK,
    BITRIX_INSTALL,
    BITRIX_APP,
    BITRIX_OAUTH,
    "/",
    "/metrics",
    "/health/live",
    "/health/ready",
    "/admin/v1/documents",
    "/admin/v1/documents/send",
    "/admin/v1/documents/retry",
    "/admin/v1/documents/{id}",
    "/admin/v1/documents/{id}/retry",
    "/admin/v1/documents/{id}/send-again",
    "/admin/v1/documents/{id}/bind",
    "/admin/v1/documents/{id}/sign-link",
    "/admin/v1/documents/{id}/cancel",
    "/admin/v1/documents/{id}/discard",
    "/admin/v1/parked-notices",
    "/admin/v1/parked-notices/{id}",
    "/admin/v1/portals",
    "/admin/v1/portals/authorize",
    "/admin/v1/portals/rekey",
    "/admin/v1/portals/{id}",
    "/admin/v1/portals/{id}/budget",
    "/admin/v1/gaps",
    "/admin/v1/counts",
    "/admin/v1/backup",
    "/admin/v1/store-check",
];

/// The doors of the public listener.
#[derive(Clone)]
pub struct PublicDoors {
    /// `POST /bitrix/webhook`.
    pub bitrix: Data<bitrix24::Door>,
    /// `/bitrix/install`, `/bitrix/app`, `/bitrix/oauth`; none where no application is configured.
    pub apps: Option<Data<install::Door>>,
    /// `POST /easydocs/callback`.
    pub easydocs: Option<Data<easydocs::Door>>,
    /// `POST /idocs/callback/{secret}`.
    pub idocs: Option<Data<idocs::Door>>,
    /// `/sign/…`; none where nobody of ours signs.
    pub signing: Option<Data<signing_page::Door>>,
    /// Signatures made elsewhere, where they are taken on this listener; the operator's one has them otherwise.
    pub signatures: Option<Data<signing_page::SignatureApi>>,
}

/// The routes of the public listener.
pub fn public(config: &mut ServiceConfig, doors: &PublicDoors) {
    config.app_data(doors.bitrix.clone());
    config.service(resource(BITRIX_WEBHOOK, "POST").route(web::post().to(bitrix24::webhook)));
    if let Some(door) = &doors.apps {
        config.app_data(door.clone());
        config
            .service(resource(BITRIX_INSTALL, "POST").route(web::post().to(install::install)))
            .service(resource(BITRIX_APP, "POST").route(web::post().to(install::main_page)))
            .service(resource(BITRIX_OAUTH, "GET").route(web::get().to(oauth::come_back)));
    }
    config.service(resource(BITRIX_ROBOT, "POST").route(web::post().to(robots::robot)));
    if let Some(door) = &doors.easydocs {
        config.app_data(door.clone());
        config.service(resource(EASYDOCS_CALLBACK, "POST").route(web::post().to(easydocs::callback)));
    }
    if let Some(door) = &doors.idocs {
        config.app_data(door.clone());
        config.service(resource(IDOCS_CALLBACK, "POST").route(web::post().to(idocs::callback)));
    }
    if let Some(door) = &doors.signing {
        signing(config, door);
    }
    if let Some(api) = &doors.signatures {
        signatures(config, api);
    }
    config.default_service(web::to(not_found));
}

/// The signing page. Fixed words come before `{token}`: the first that fits wins.
fn signing(config: &mut ServiceConfig, door: &Data<signing_page::Door>) {
    let paths = web::PathConfig::default().error_handler(|_, _| ApiError::new(Code::NotFound).into());
    config.app_data(door.clone()).app_data(paths);
    config
        .service(resource(SIGN_ASSET, "GET, HEAD").route(get().to(signing_page::asset)))
        .service(resource(SIGN_RENEW, "POST").route(web::post().to(signing_page::renew)))
        .service(resource(SIGN_CONTENT, "GET, HEAD").route(get().to(signing_page::content)))
        .service(
            resource(SIGN_PAGE, "GET, HEAD, POST")
                .route(get().to(signing_page::page))
                .route(web::post().to(signing_page::submit)),
        );
}

/// Where programs bring signatures that were made elsewhere.
pub fn signatures(config: &mut ServiceConfig, api: &Data<signing_page::SignatureApi>) {
    config.app_data(api.clone());
    config.service(resource(SIGNATURE_API, "POST").route(web::post().to(signing_page::by_operator)));
}

/// The routes of the operator's listener.
pub fn operator(config: &mut ServiceConfig, engine: &Engine, desk: &Data<Desk>) {
    config.app_data(Data::new(engine.clone())).app_data(desk.clone());
    config
        .app_data(
            web::JsonConfig::default()
                .limit(OPERATOR_BODY_BYTES_MAX)
                .error_handler(|error, _| invalid(&error).into()),
        )
        .app_data(web::QueryConfig::default().error_handler(|error, _| invalid(&error).into()))
        .app_data(web::PathConfig::default().error_handler(|error, _| invalid(&error).into()));
    config
        .service(resource("/", "GET, HEAD").route(get().to(pages::overview)))
        .service(resource("/metrics", "GET, HEAD").route(get().to(health::metrics)))
        .service(resource("/health/live", "GET, HEAD").route(get().to(health::live)))
        .service(resource("/health/ready", "GET, HEAD").route(get().to(health::ready)))
        .service(web::scope("/admin/v1").configure(admin_routes).default_service(web::to(not_found)));
    config.default_service(web::to(not_found));
}

/// Fixed words come before `{id}`: the first that fits wins.
fn admin_routes(config: &mut ServiceConfig) {
    config
        .service(resource("/documents", "GET").route(web::get().to(admin::list)))
        .service(resource("/documents/send", "POST").route(web::post().to(admin::send)))
        .service(resource("/documents/retry", "POST").route(web::post().to(admin::retry_many)))
        .service(resource("/documents/{id}", "GET").route(web::get().to(admin::show)))
        .service(resource("/documents/{id}/retry", "POST").route(web::post().to(admin::retry)))
        .service(resource("/documents/{id}/send-again", "POST").route(web::post().to(admin::send_again)))
        .service(resource("/documents/{id}/bind", "POST").route(web::post().to(admin::bind)))
        .service(resource("/documents/{id}/sign-link", "POST").route(web::post().to(admin::sign_link)))
        .service(resource("/documents/{id}/cancel", "POST").route(web::post().to(admin::cancel)))
        .service(resource("/documents/{id}/discard", "POST").route(web::post().to(admin::discard)))
        .service(resource("/parked-notices", "GET").route(web::get().to(admin::parked_notices)))
        .service(resource("/parked-notices/{id}", "DELETE").route(web::delete().to(admin::discard_notice)))
        .service(resource("/portals", "GET").route(web::get().to(admin::portals)))
        .service(resource("/portals/authorize", "POST").route(web::post().to(oauth::authorize)))
        .service(resource("/portals/rekey", "POST").route(web::post().to(oauth::rekey)))
        .service(resource("/portals/{id}", "DELETE").route(web::delete().to(oauth::remove)))
        .service(resource("/portals/{id}/budget", "GET").route(web::get().to(budget_view::budget)))
        .service(resource("/gaps", "GET").route(web::get().to(gap_view::gaps)))
        .service(resource("/counts", "GET").route(web::get().to(admin::counts)))
        .service(resource("/backup", "POST").route(web::post().to(maintenance::backup)))
        .service(resource("/store-check", "POST").route(web::post().to(maintenance::store_check)));
}

fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A resource that answers methods other than `allowed` with 405 and says which there are.
fn resource(path: &str, allowed: &'static str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(move || async move {
        let mut answer = ApiError::new(Code::MethodNotAllowed).error_response();
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        answer
    }))
}

async fn not_found(_: HttpRequest) -> HttpResponse {
    ApiError::new(Code::NotFound).error_response()
}

/// What the framework could not read of an admin request. Its words name the member, and the operator sent it.
fn invalid(error: &dyn std::fmt::Display) -> ApiError {
    let error = error.to_string();
    ApiError::with(
        Code::InvalidRequest,
        Text::new(format!("Запрос не прочитан: {error}."), format!("The request cannot be read: {error}.")),
    )
}

/// Middleware: counts and times every request by its route's pattern.
///
/// # Errors
/// Those of the handler.
pub async fn measure<B: MessageBody>(
    metrics: Arc<Metrics>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let since = Instant::now();
    let answer = next.call(request).await?;
    let pattern = answer.request().match_pattern();
    let known = pattern.and_then(|pattern| PATTERNS.into_iter().find(|known| *known == pattern));
    metrics.http(known.unwrap_or("other"), answer.status().as_u16(), since.elapsed());
    Ok(answer)
}
