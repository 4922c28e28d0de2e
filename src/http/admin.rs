//! `/admin/v1`: everything an operator may see and order, for the command line and for programs.
//!
//! Every request carries `Authorization: Bearer TOKEN`. A handler gets to the engine only through [`Operator`], which
//! exists only for the holder of the token, so that none can forget to ask for it.
//!
//! | method and path | query or body | answer |
//! |---|---|---|
//! | `GET /documents` | [`DocumentQuery`] | [`DocumentList`] |
//! | `GET /documents/{id}` | | [`DocumentCard`] |
//! | `POST /documents/send` | [`SendRequest`] | 202, [`Sent`] |
//! | `POST /documents/retry` | [`RetryManyRequest`] | [`RetriedMany`] |
//! | `POST /documents/{id}/retry` | [`RetryRequest`] | [`DocumentCard`] |
//! | `POST /documents/{id}/send-again` | | [`DocumentCard`] |
//! | `POST /documents/{id}/bind` | [`BindRequest`] | [`DocumentCard`] |
//! | `POST /documents/{id}/sign-link` | [`SignLinkRequest`] | [`SignLinkView`]: a link for our signer |
//! | `POST /documents/{id}/cancel` | [`CancelRequest`] | [`DocumentCard`] |
//! | `POST /documents/{id}/discard` | [`CancelRequest`] | [`Discarded`]: cancelled, and everything that was known of it |
//! | `GET /parked-notices` | [`NoticeQuery`] | [`ParkedNoticeList`] |
//! | `DELETE /parked-notices/{id}` | | [`ParkedNoticeView`]: gone, and what it was |
//! | `GET /portals` | | [`PortalList`] |
//! | `GET /portals/{id}/budget` | | [`BudgetView`](super::budget_view::BudgetView) |
//! | `GET /gaps` | | [`super::gap_view::GapList`] |
//! | `GET /counts` | | [`CountsView`] |
//! | `POST /backup`, `POST /store-check` | | see [`super::maintenance`] |
//!
//! Errors are [`ErrorBody`](super::error::ErrorBody).

use super::admin_request::{
    BindRequest, CancelRequest, DocumentQuery, NoticeQuery, RetryManyRequest, RetryRequest, SendRequest,
    SignLinkRequest,
};
use super::document_view::{DocumentCard, DocumentLine, HISTORY_MAX};
use super::error::{ApiError, Code};
use super::intake::Reception;
use super::operator_access::OperatorAccess;
use super::operator_view::{
    CountsView, Discarded, DocumentList, ParkedNoticeList, ParkedNoticeView, PortalLine, PortalList,
    RetriedMany, RetryFailure, Sent, SignLinkView,
};
use super::source;
use crate::actors::Engine;
use crate::domain::{NoticeId, SagaId, Text, Timestamp};
use crate::saga::document::{DocumentSaga, OperatorAction};
use crate::store::ListCursor;
use crate::telemetry::metrics::NoticeSource;
use actix_web::web::{Data, Json, Path, Query};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use jiff::tz::TimeZone;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Pages that one retry by filter looks at: with [`crate::store::list::LIST_SCAN_MAX`] documents each, a bound on the
/// time of one request. `more` then says that it was not all.
const RETRY_PAGES_MAX: usize = 50;

/// What the handlers work with.
pub struct Desk {
    engine: Engine,
    access: OperatorAccess,
    reception: Reception,
    zone: TimeZone,
    turn: Arc<AtomicBool>,
}

impl Desk {
    /// For the holder of the token in `access`; pages show times in `zone`.
    pub fn new(engine: Engine, access: OperatorAccess, reception: Reception, zone: TimeZone) -> Self {
        Self { engine, access, reception, zone, turn: Arc::default() }
    }
    /// What works.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
    /// In which zone pages show times; JSON has UTC.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }
    /// Who is the operator.
    pub fn access(&self) -> &OperatorAccess {
        &self.access
    }
}

/// Proof that the request carries the operator's token, and the way to the engine.
pub struct Operator {
    desk: Data<Desk>,
}

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        ready(admit(request))
    }
}

fn admit(request: &HttpRequest) -> Result<Operator, ApiError> {
    let Some(desk) = request.app_data::<Data<Desk>>() else {
        return Err(ApiError::new(Code::Internal));
    };
    if desk.access.has_bearer(request) {
        return Ok(Operator { desk: desk.clone() });
    }
    // no proxy is trusted to name the source here: it is for the log only
    Err(desk.reception.refuse(NoticeSource::Operator, Code::Unauthorised, source::of(request, &[])))
}

impl Operator {
    /// Set while somebody reads the whole store by the operator's order.
    pub(super) fn turn(&self) -> &Arc<AtomicBool> {
        &self.desk.turn
    }

    /// What works.
    pub(super) fn engine(&self) -> &Engine {
        &self.desk.engine
    }

    fn card(&self, saga: &DocumentSaga, history: &[crate::saga::document::HistoryEntry]) -> DocumentCard {
        let mut card = DocumentCard::new(saga, history, self.engine().clock().now());
        card.line.why = self.engine().why(saga);
        card
    }

    fn line(&self, saga: &DocumentSaga, now: Timestamp) -> DocumentLine {
        DocumentLine { why: self.engine().why(saga), ..DocumentLine::new(saga, now) }
    }

    async fn card_of(&self, id: SagaId) -> Result<DocumentCard, ApiError> {
        let stored = self.engine().store().load(id).await?;
        let saga = stored.ok_or(Code::DocumentNotFound)?.saga;
        let history = self.engine().store().history(id, HISTORY_MAX).await?;
        Ok(self.card(&saga, &history))
    }

    /// Carries out one order and shows what came of it.
    async fn order(&self, id: SagaId, action: OperatorAction) -> Result<DocumentCard, ApiError> {
        let what = action_name(&action);
        match self.engine().operate(id, action).await {
            Ok(saga) => {
                tracing::info!(saga.id = %id, action = what, saga.step = saga.step.name(), "operator's order done");
                // the order is durable: a history that cannot be read now must not make it look undone
                let history = self.engine().store().history(id, HISTORY_MAX).await.unwrap_or_default();
                Ok(self.card(&saga, &history))
            }
            Err(error) => {
                let error = ApiError::from(error);
                tracing::warn!(saga.id = %id, action = what, code = %error, "operator's order not done");
                Err(error)
            }
        }
    }
}

fn action_name(action: &OperatorAction) -> &'static str {
    match action {
        OperatorAction::Retry(_) => "retry",
        OperatorAction::SendAgain => "send_again",
        OperatorAction::Bind { .. } => "bind",
        OperatorAction::Cancel { .. } => "cancel",
    }
}

fn saga_id(text: &str) -> Result<SagaId, ApiError> {
    text.parse().map_err(|_| {
        let words = Text::new(
            "Идентификатор документа — 32 шестнадцатеричные цифры, с дефисами или без.",
            "A document's id has 32 hex digits, with or without hyphens.",
        );
        ApiError::with(Code::InvalidRequest, words)
    })
}

/// `GET /admin/v1/documents`.
///
/// # Errors
/// `invalid_request`, `unavailable`.
pub async fn list(operator: Operator, query: Query<DocumentQuery>) -> Result<HttpResponse, ApiError> {
    let engine = operator.engine();
    let page = engine.store().list(query.filter()?, query.place()?, query.page_limit()?).await?;
    let now = engine.clock().now();
    Ok(HttpResponse::Ok().json(DocumentList {
        items: page.items.iter().map(|saga| operator.line(saga, now)).collect(),
        next: page.next.map(|cursor| cursor.to_string()),
    }))
}

/// `GET /admin/v1/documents/{id}`.
///
/// # Errors
/// `document_not_found`, `invalid_request`, `unavailable`.
pub async fn show(operator: Operator, id: Path<String>) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(operator.card_of(saga_id(&id)?).await?))
}

/// `POST /admin/v1/documents/send`.
///
/// # Errors
/// `rejected` (no such portal or rule, already sent), `invalid_request`, `unavailable`.
pub async fn send(operator: Operator, request: Json<SendRequest>) -> Result<HttpResponse, ApiError> {
    let (portal, source, rule) = request.parts()?;
    let id = operator.engine().send(portal, source, rule).await?;
    tracing::info!(saga.id = %id, "operator sent a document");
    Ok(HttpResponse::Accepted().json(Sent { id: id.to_string() }))
}

/// `POST /admin/v1/documents/{id}/retry`.
///
/// # Errors
/// `document_not_found`, `rejected`, `invalid_request`, `unavailable`.
pub async fn retry(
    operator: Operator,
    id: Path<String>,
    request: Json<RetryRequest>,
) -> Result<HttpResponse, ApiError> {
    let card = operator.order(saga_id(&id)?, OperatorAction::Retry(request.mend()?)).await?;
    Ok(HttpResponse::Ok().json(card))
}

/// `POST /admin/v1/documents/{id}/send-again`.
///
/// # Errors
/// `document_not_found`, `rejected`, `invalid_request`, `unavailable`.
pub async fn send_again(operator: Operator, id: Path<String>) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(operator.order(saga_id(&id)?, OperatorAction::SendAgain).await?))
}

/// `POST /admin/v1/documents/{id}/bind`.
///
/// # Errors
/// `document_not_found`, `rejected`, `invalid_request`, `unavailable`.
pub async fn bind(
    operator: Operator,
    id: Path<String>,
    request: Json<BindRequest>,
) -> Result<HttpResponse, ApiError> {
    let action = OperatorAction::Bind { document_id: request.document_id()? };
    Ok(HttpResponse::Ok().json(operator.order(saga_id(&id)?, action).await?))
}

/// `POST /admin/v1/documents/{id}/sign-link`.
///
/// # Errors
/// `document_not_found`, `rejected` (it does not wait for our signature), `invalid_request`, `unavailable`.
pub async fn sign_link(
    operator: Operator,
    id: Path<String>,
    request: Json<SignLinkRequest>,
) -> Result<HttpResponse, ApiError> {
    let (id, asked_by) = (saga_id(&id)?, request.asked_by()?);
    let given = operator.engine().sign_link(id, &asked_by).await?;
    tracing::info!(saga.id = %id, asked_by, "a link to sign was given to the operator");
    Ok(HttpResponse::Ok().json(SignLinkView::from(&given)))
}

/// `POST /admin/v1/documents/{id}/cancel`.
///
/// # Errors
/// `document_not_found`, `rejected`, `invalid_request`, `unavailable`.
pub async fn cancel(
    operator: Operator,
    id: Path<String>,
    request: Json<CancelRequest>,
) -> Result<HttpResponse, ApiError> {
    let action = OperatorAction::Cancel { reason: request.reason()? };
    Ok(HttpResponse::Ok().json(operator.order(saga_id(&id)?, action).await?))
}

/// `POST /admin/v1/documents/{id}/discard`.
///
/// # Errors
/// `document_not_found`, `rejected`, `invalid_request`, `unavailable`.
pub async fn discard(
    operator: Operator,
    id: Path<String>,
    request: Json<CancelRequest>,
) -> Result<HttpResponse, ApiError> {
    let (id, reason) = (saga_id(&id)?, request.reason()?);
    // read before: a cancelled document has forgotten why it was stopped
    let dump = operator.card_of(id).await?;
    operator.order(id, OperatorAction::Cancel { reason }).await?;
    Ok(HttpResponse::Ok().json(Discarded { dump }))
}

/// `POST /admin/v1/documents/retry`.
///
/// # Errors
/// `invalid_request`, `unavailable`. What fails for one document is told in the answer, not as an error.
pub async fn retry_many(
    operator: Operator,
    request: Json<RetryManyRequest>,
) -> Result<HttpResponse, ApiError> {
    let mend = request.mend()?;
    let mut answer = matching(&operator, &request).await?;
    if !request.dry_run {
        // ids were gathered first: a retried document leaves the list that is being paged through
        for id in answer.matched.iter().filter_map(DocumentLine::saga_id) {
            match operator.order(id, OperatorAction::Retry(mend.clone())).await {
                Ok(_) => answer.retried += 1,
                Err(error) => answer.failed.push(RetryFailure {
                    id: id.to_string(),
                    code: error.code.name().to_owned(),
                    message: error.message(),
                }),
            }
        }
    }
    Ok(HttpResponse::Ok().json(answer))
}

async fn matching(operator: &Operator, request: &RetryManyRequest) -> Result<RetriedMany, ApiError> {
    let (filter, limit) = (request.filter()?, request.limit()?);
    let engine = operator.engine();
    let now = engine.clock().now();
    let mut answer = RetriedMany { dry_run: request.dry_run, ..RetriedMany::default() };
    let mut place: Option<ListCursor> = None;
    for _ in 0..RETRY_PAGES_MAX {
        let page = engine.store().list(filter.clone(), place, limit - answer.matched.len()).await?;
        answer.matched.extend(page.items.iter().map(|saga| operator.line(saga, now)));
        place = page.next;
        if place.is_none() || answer.matched.len() >= limit {
            break;
        }
    }
    answer.more = place.is_some();
    Ok(answer)
}

/// `GET /admin/v1/parked-notices`.
///
/// # Errors
/// `invalid_request`, `unavailable`.
pub async fn parked_notices(operator: Operator, query: Query<NoticeQuery>) -> Result<HttpResponse, ApiError> {
    let limit = query.page_limit()?;
    let notices = operator.engine().store().parked_notices(query.after.map(NoticeId), limit).await?;
    let items: Vec<_> = notices.iter().map(ParkedNoticeView::from).collect();
    let next = if items.len() < limit { None } else { items.last().map(|last| last.id) };
    Ok(HttpResponse::Ok().json(ParkedNoticeList { items, next }))
}

/// `DELETE /admin/v1/parked-notices/{id}`.
///
/// # Errors
/// `notice_not_found`, `invalid_request`, `unavailable`.
pub async fn discard_notice(operator: Operator, id: Path<u64>) -> Result<HttpResponse, ApiError> {
    let id = NoticeId(id.into_inner());
    let store = operator.engine().store();
    let found = store.parked_notices(id.0.checked_sub(1).map(NoticeId), 1).await?;
    let parked = found.into_iter().find(|parked| parked.notice.id == id).ok_or(Code::NoticeNotFound)?;
    if !store.discard_parked(id).await? {
        return Err(Code::NoticeNotFound.into());
    }
    tracing::info!(notice = id.0, "operator discarded a parked notice");
    Ok(HttpResponse::Ok().json(ParkedNoticeView::from(&parked)))
}

/// `GET /admin/v1/portals`.
///
/// # Errors
/// None of its own.
pub async fn portals(operator: Operator) -> Result<HttpResponse, ApiError> {
    let items = operator.engine().portals().await.into_iter().map(PortalLine::from).collect();
    Ok(HttpResponse::Ok().json(PortalList { items }))
}

/// `GET /admin/v1/counts`.
///
/// # Errors
/// None of its own.
pub async fn counts(operator: Operator) -> Result<HttpResponse, ApiError> {
    let counts = operator.engine().store().counts().await;
    Ok(HttpResponse::Ok().json(CountsView::from(&counts)))
}
