//! The admin API in typed calls: the commands speak with the running service, never with its store.

use super::output::Output;
use super::running_service::RunningService;
pub use super::running_service::{ClientError, TokenSource};
use crate::config::Config;
use crate::domain::SagaId;
use crate::http::admin_request::{
    BindRequest, CancelRequest, DocumentQuery, NoticeQuery, RetryManyRequest, RetryRequest, SendRequest,
    SignLinkRequest,
};
use crate::http::budget_view::BudgetView;
use crate::http::document_view::{DocumentCard, DocumentLine};
use crate::http::gap_view::GapList;
use crate::http::oauth::{Authorization, AuthorizeRequest, Rekeyed, Removed};
use crate::http::operator_view::{
    Discarded, DocumentList, ParkedNoticeList, ParkedNoticeView, PortalList, RetriedMany, Sent, SignLinkView,
};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A retry of many documents commits each of them.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(300);
/// Calls that one list may take: each looks at a bounded number of documents.
const PAGES_MAX: usize = 1_000;

/// What a command works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The running service.
    pub client: AdminClient,
    /// The caller.
    pub output: Output,
}

/// A client of one service.
#[derive(Debug, Clone)]
pub struct AdminClient {
    service: RunningService,
}

type Answer<T> = Result<T, ClientError>;

impl AdminClient {
    /// Of the service that `config` describes.
    pub fn of(config: &Config) -> Self {
        Self { service: RunningService::of(config) }
    }

    /// Documents by `query`, at most `limit`, over as many pages as it takes.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn documents(&self, mut query: DocumentQuery, limit: usize) -> Answer<DocumentList> {
        let mut found: Vec<DocumentLine> = Vec::new();
        for _ in 0..PAGES_MAX {
            query.limit = Some((limit - found.len()).clamp(1, crate::http::admin_request::PAGE_MAX));
            let page: DocumentList = self.get("documents", &query).await?;
            found.extend(page.items);
            query.cursor = page.next;
            if query.cursor.is_none() || found.len() >= limit {
                break;
            }
        }
        Ok(DocumentList { items: found, next: query.cursor })
    }
    /// One document.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn document(&self, id: SagaId) -> Answer<DocumentCard> {
        self.get(&format!("documents/{id}"), &()).await
    }
    /// Sends a document by hand.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send(&self, request: &SendRequest) -> Answer<Sent> {
        self.post("documents/send", request).await
    }
    /// Lets a stopped document go on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn retry(&self, id: SagaId, request: &RetryRequest) -> Answer<DocumentCard> {
        self.post(&format!("documents/{id}/retry"), request).await
    }
    /// Lets many go on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn retry_many(&self, request: &RetryManyRequest) -> Answer<RetriedMany> {
        self.post("documents/retry", request).await
    }
    /// Creates the document at the signing service again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_again(&self, id: SagaId) -> Answer<DocumentCard> {
        self.post(&format!("documents/{id}/send-again"), &()).await
    }
    /// Says which document of the signing service it is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn bind(&self, id: SagaId, request: &BindRequest) -> Answer<DocumentCard> {
        self.post(&format!("documents/{id}/bind"), request).await
    }
    /// A link for its signer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sign_link(&self, id: SagaId, request: &SignLinkRequest) -> Answer<SignLinkView> {
        self.post(&format!("documents/{id}/sign-link"), request).await
    }
    /// Stops working on it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel(&self, id: SagaId, request: &CancelRequest) -> Answer<DocumentCard> {
        self.post(&format!("documents/{id}/cancel"), request).await
    }
    /// Cancels it and hands out what was known of it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn discard(&self, id: SagaId, request: &CancelRequest) -> Answer<Discarded> {
        self.post(&format!("documents/{id}/discard"), request).await
    }
    /// Notices that are kept for a person.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn parked_notices(&self, query: &NoticeQuery) -> Answer<ParkedNoticeList> {
        self.get("parked-notices", query).await
    }
    /// Throws one away.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn discard_notice(&self, id: u64) -> Answer<ParkedNoticeView> {
        self.service
            .call(Method::DELETE, &format!("parked-notices/{id}"), ANSWER_TIME_MAX, |request| request)
            .await
    }
    /// The portals.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn portals(&self) -> Answer<PortalList> {
        self.get("portals", &()).await
    }
    /// Who used the budget of a portal.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn budget(&self, portal: &str) -> Answer<BudgetView> {
        // An id is a name of the configuration: letters, digits and the like.
        self.get(&format!("portals/{portal}/budget"), &()).await
    }
    /// What the portals' webhooks have missed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn gaps(&self) -> Answer<GapList> {
        self.get("gaps", &()).await
    }

    /// Where an administrator authorises an application.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn authorize(&self, request: &AuthorizeRequest) -> Answer<Authorization> {
        self.post("portals/authorize", request).await
    }
    /// Seals all tokens anew.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rekey(&self) -> Answer<Rekeyed> {
        self.post("portals/rekey", &()).await
    }
    /// Forgets an installation; what it was.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_portal(&self, id: &str) -> Answer<Removed> {
        let path = format!("portals/{}", crate::providers::url_rules::encode_segment(id));
        self.service.call(Method::DELETE, &path, ANSWER_TIME_MAX, |request| request).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &(impl Serialize + Sync)) -> Answer<T> {
        self.service.call(Method::GET, path, ANSWER_TIME_MAX, |request| request.query(query)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Answer<T> {
        self.service.call(Method::POST, path, ANSWER_TIME_MAX, |request| request.json(body)).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::ExitStatus;
    use super::*;
    use crate::domain::Secret;
    use crate::http::error::{ApiError, Code};
    use actix_web::{App, HttpRequest, HttpResponse, HttpServer, ResponseError as _, rt, web};
    use serde_json::json;
    use std::net::SocketAddr;

    fn client(address: SocketAddr) -> AdminClient {
        with_token(address, "s3cret")
    }

    fn with_token(address: SocketAddr, token: &str) -> AdminClient {
        let token = TokenSource::Given(Secret::new(token));
        AdminClient { service: RunningService::new(address, token) }
    }

    /// A service that knows two documents on two pages, the first of which is empty.
    async fn documents(request: HttpRequest) -> HttpResponse {
        let bearer = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        if bearer != Some("Bearer s3cret") {
            return ApiError::new(Code::Unauthorised).error_response();
        }
        if request.query_string().contains("cursor=second") {
            let saga = crate::http::document_view::DocumentLine::new(
                &crate::http::test_support::stopped_saga("a.pdf", "x"),
                crate::domain::Timestamp(0),
            );
            return HttpResponse::Ok().json(json!({ "items": [saga], "next": null }));
        }
        HttpResponse::Ok().json(json!({ "items": [], "next": "second" }))
    }

    fn serve() -> SocketAddr {
        let server = HttpServer::new(|| {
            App::new()
                .route("/admin/v1/documents", web::get().to(documents))
                .route("/admin/v1/portals", web::get().to(|| async { "<html>" }))
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        let address = server.addrs()[0];
        rt::spawn(server.run());
        address
    }

    #[actix_web::test]
    async fn a_service_that_is_not_there_is_named_with_the_command_that_starts_it() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let error = client(address).portals().await.unwrap_err();
        assert_eq!(
            error.text().en,
            format!("edobridge is not running at http://{address}: start it with `edobridge serve`.")
        );
        assert_eq!(error.exit_status(), ExitStatus::ProblemFound);
    }

    #[actix_web::test]
    async fn an_empty_page_with_a_next_one_is_not_the_end_of_the_list() {
        let list = client(serve()).documents(DocumentQuery::default(), 10).await.unwrap();
        assert_eq!(list.items.len(), 1);
        assert_eq!(list.next, None);
    }

    #[actix_web::test]
    async fn what_the_service_says_is_told_and_what_is_not_the_service_is_recognised() {
        let address = serve();
        let wrong = with_token(address, "wrong");
        let error = wrong.documents(DocumentQuery::default(), 1).await.unwrap_err();
        assert_eq!(error.body().code, "unauthorised");
        assert_eq!(client(address).portals().await.unwrap_err().body().code, "foreign_answer");
    }
}
