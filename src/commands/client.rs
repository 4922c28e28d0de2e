//! A small client of the admin API: the commands speak with the running service, never with its store.

use super::ExitStatus;
use super::output::Output;
use crate::domain::SagaId;
use crate::domain::{Secret, Text};
use crate::http::admin_request::{
    BindRequest, CancelRequest, DocumentQuery, NoticeQuery, RetryManyRequest, RetryRequest, SendRequest,
};
use crate::http::document_view::{DocumentCard, DocumentLine};
use crate::http::error::ErrorBody;
use crate::http::gap_view::GapList;
use crate::http::operator_token::{self, TokenError};
use crate::http::operator_view::{
    Discarded, DocumentList, ParkedNoticeList, ParkedNoticeView, PortalList, RetriedMany, Sent,
};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Longest answer that is read: a page of [`crate::http::admin_request::PAGE_MAX`] documents has about 1 MB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A retry of many documents commits each of them.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(300);
/// The service is on this machine or near it.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
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

/// Where the token comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// From the configuration.
    Given(Secret),
    /// From `operator-token` in this directory.
    DataDir(PathBuf),
}

/// A client of one service.
#[derive(Debug, Clone)]
pub struct AdminClient {
    address: SocketAddr,
    token: TokenSource,
}

/// A call of the admin API failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("nothing listens on {address}")]
    NotRunning {
        /// Where.
        address: SocketAddr,
    },
    /// The token's file cannot be read.
    #[error("no operator token")]
    NoToken(#[source] TokenError),
    /// The service said no.
    #[error("{}", .body.code)]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What it said.
        body: ErrorBody,
    },
    /// The answer is not one of edobridge's.
    #[error("the answer of {address} is not one of edobridge's (HTTP {status})")]
    Foreign {
        /// Who answered.
        address: SocketAddr,
        /// The HTTP status.
        status: StatusCode,
    },
    /// No whole answer came.
    #[error("no answer from {address}")]
    NoAnswer {
        /// From whom.
        address: SocketAddr,
        /// How it ended.
        #[source]
        source: reqwest::Error,
    },
    /// The client could not be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

impl ClientError {
    /// The sentence for a person, with the remedy.
    pub fn text(&self) -> Text {
        match self {
            Self::NotRunning { address } => Text::new(
                format!("edobridge не работает на http://{address}: запустите `edobridge serve`."),
                format!("edobridge is not running at http://{address}: start it with `edobridge serve`."),
            ),
            Self::NoToken(error) => {
                let (path, source) = (error.path.display(), &error.source);
                Text::new(
                    format!(
                        "Не прочитан токен оператора {path}: {source}. Его создаёт `edobridge serve`; читать его может только владелец (sudo -u edobridge …), либо задайте [operator] token."
                    ),
                    format!(
                        "The operator token {path} cannot be read: {source}. `edobridge serve` makes it; only its owner may read it (sudo -u edobridge …), or set [operator] token."
                    ),
                )
            }
            Self::Refused { body, .. } => body.message.clone(),
            Self::Foreign { address, status } => Text::new(
                format!(
                    "На http://{address} отвечает не edobridge (HTTP {status}). Проверьте [operator] listen."
                ),
                format!(
                    "Something else than edobridge answers at http://{address} (HTTP {status}). Check [operator] listen."
                ),
            ),
            Self::NoAnswer { address, source } => Text::new(
                format!("http://{address} не ответил: {source}. Сделано ли это, покажет `documents show`."),
                format!(
                    "No answer from http://{address}: {source}. `documents show` tells whether it was done."
                ),
            ),
            Self::Client(source) => Text::new(
                format!("HTTP-клиент не создан: {source}."),
                format!("The HTTP client cannot be made: {source}."),
            ),
        }
    }
    /// The same for programs.
    pub fn body(&self) -> ErrorBody {
        let code = match self {
            Self::Refused { body, .. } => return body.clone(),
            Self::NotRunning { .. } => "not_running",
            Self::NoToken(_) => "no_token",
            Self::Foreign { .. } => "foreign_answer",
            Self::NoAnswer { .. } => "no_answer",
            Self::Client(_) => "client",
        };
        ErrorBody { code: code.to_owned(), message: self.text() }
    }
    /// Misuse if the request was wrong in itself, else a problem.
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Refused { status, .. } if *status == StatusCode::BAD_REQUEST => ExitStatus::Misuse,
            Self::Refused { .. }
            | Self::NotRunning { .. }
            | Self::NoToken(_)
            | Self::Foreign { .. }
            | Self::NoAnswer { .. }
            | Self::Client(_) => ExitStatus::ProblemFound,
        }
    }
}

type Answer<T> = Result<T, ClientError>;

impl AdminClient {
    /// Of the service whose operator's listener is `listen`. The token's file is read with the first call.
    pub fn new(listen: SocketAddr, token: TokenSource) -> Self {
        Self { address: reachable(listen), token }
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
        self.call(Method::DELETE, &format!("parked-notices/{id}"), |request| request).await
    }
    /// The portals.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn portals(&self) -> Answer<PortalList> {
        self.get("portals", &()).await
    }
    /// What the portals' webhooks have missed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn gaps(&self) -> Answer<GapList> {
        self.get("gaps", &()).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &(impl Serialize + Sync)) -> Answer<T> {
        self.call(Method::GET, path, |request| request.query(query)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Answer<T> {
        self.call(Method::POST, path, |request| request.json(body)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        fill: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Answer<T> {
        let token = match &self.token {
            TokenSource::Given(token) => token.clone(),
            TokenSource::DataDir(dir) => operator_token::load(dir).map_err(ClientError::NoToken)?,
        };
        let url = format!("http://{}/admin/v1/{path}", self.address);
        let request = http_client()?.request(method, url).bearer_auth(token.expose());
        let answer = fill(request).send().await.map_err(|error| self.transport(error))?;
        let status = answer.status();
        let body = self.body(answer).await?;
        if !status.is_success() {
            return Err(match serde_json::from_slice(&body) {
                Ok(body) => ClientError::Refused { status, body },
                Err(_) => ClientError::Foreign { address: self.address, status },
            });
        }
        serde_json::from_slice(&body).map_err(|_| ClientError::Foreign { address: self.address, status })
    }

    async fn body(&self, mut answer: reqwest::Response) -> Answer<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.transport(error))? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(ClientError::Foreign { address: self.address, status: answer.status() });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn transport(&self, error: reqwest::Error) -> ClientError {
        if error.is_connect() {
            return ClientError::NotRunning { address: self.address };
        }
        ClientError::NoAnswer { address: self.address, source: error.without_url() }
    }
}

/// Plain HTTP to a near address: no proxy from the environment, no redirect that would carry the token elsewhere, and
/// no certificates of the system, which may have none.
fn http_client() -> Answer<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tls_certs_only([])
        .connect_timeout(CONNECT_TIME_MAX)
        .timeout(ANSWER_TIME_MAX)
        .build()
        .map_err(ClientError::Client)
}

/// "All addresses" is a place to listen on, not to go to.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::error::{ApiError, Code};
    use actix_web::{App, HttpRequest, HttpResponse, HttpServer, ResponseError as _, rt, web};
    use serde_json::json;

    fn client(address: SocketAddr) -> AdminClient {
        AdminClient::new(address, TokenSource::Given(Secret::new("s3cret")))
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
        let wrong = AdminClient::new(address, TokenSource::Given(Secret::new("wrong")));
        let error = wrong.documents(DocumentQuery::default(), 1).await.unwrap_err();
        assert_eq!(error.body().code, "unauthorised");
        assert_eq!(client(address).portals().await.unwrap_err().body().code, "foreign_answer");
    }

    #[actix_web::test]
    async fn a_missing_token_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let client = AdminClient::new(([127, 0, 0, 1], 1).into(), TokenSource::DataDir(dir.path().into()));
        let error = client.portals().await.unwrap_err();
        assert!(error.text().en.contains("operator-token"), "{}", error.text().en);
    }

    #[test]
    fn listening_everywhere_is_reached_on_loopback() {
        assert_eq!(reachable("0.0.0.0:9090".parse().unwrap()).to_string(), "127.0.0.1:9090");
        assert_eq!(reachable("[::]:9090".parse().unwrap()).to_string(), "[::1]:9090");
        assert_eq!(reachable("192.0.2.1:9090".parse().unwrap()).to_string(), "192.0.2.1:9090");
    }
}
