//! The service that runs on this configuration, as another process of the same machine sees it.
//!
//! Asks its operator listener whether it is there and how it is, and carries the calls of its admin API. Knows nothing
//! of what is asked or ordered.

use super::ExitStatus;
use crate::config::Config;
use crate::domain::{Secret, Text};
use crate::http::error::ErrorBody;
use crate::http::operator_token::{self, TokenError};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How long a running service takes to answer a question: it is on this machine or near it.
const QUICK: Duration = Duration::from_secs(5);
/// How long an order may take that reads the whole store.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Longest answer that is read: a page of [`crate::http::admin_request::PAGE_MAX`] documents has about 1 MB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How a running service says it is (`GET /health/ready`).
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Readiness {
    /// Whether it takes work.
    pub ready: bool,
    /// Whether it is stopping.
    #[serde(default)]
    pub draining: bool,
    /// Why it takes none.
    #[serde(default)]
    pub reasons: Vec<Text>,
    /// Numbers.
    #[serde(default)]
    pub details: serde_json::Value,
}

/// Whether the service runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Presence {
    /// Nobody listens on the operator's address.
    Absent,
    /// It runs.
    Running(Readiness),
    /// Something listens there that does not answer as edobridge does.
    Unclear(Text),
}

/// Where the operator's token comes from; its file is read with the first call.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// From the configuration.
    Given(Secret),
    /// From `operator-token` in this directory.
    DataDir(PathBuf),
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

/// The service at the operator's address of a configuration.
#[derive(Debug, Clone)]
pub struct RunningService {
    address: SocketAddr,
    token: TokenSource,
}

impl RunningService {
    /// The service whose operator's listener is `listen`; nothing is asked yet.
    pub fn new(listen: SocketAddr, token: TokenSource) -> Self {
        Self { address: reachable(listen), token }
    }

    /// The service that `config` describes; nothing is asked yet.
    pub fn of(config: &Config) -> Self {
        let configured = config.operator.token.as_ref().filter(|token| token.is_resolved());
        let token = match configured {
            Some(token) => TokenSource::Given(token.secret().clone()),
            None => TokenSource::DataDir(config.data_dir.clone()),
        };
        Self::new(config.operator.listen, token)
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks whether it is there.
    pub async fn presence(&self) -> Presence {
        match self.readiness().await {
            Ok(readiness) => Presence::Running(readiness),
            Err(ClientError::NotRunning { .. }) => Presence::Absent,
            Err(error) => Presence::Unclear(error.text()),
        }
    }

    async fn readiness(&self) -> Result<Readiness, ClientError> {
        let url = format!("http://{}/health/ready", self.address);
        // not ready is answered with 503 and the same members
        let (status, body) = self.exchange(http_client(QUICK)?.get(url)).await?;
        serde_json::from_slice(&body).map_err(|_| self.foreign(status))
    }

    /// Gives an order that takes long, and waits until it is done, an hour at most. `path` is below `/admin/v1/`.
    ///
    /// # Errors
    /// [`ClientError`]; its text has the remedy.
    pub async fn order<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, ClientError> {
        self.call(Method::POST, path, PATIENCE, |request| request.json(body)).await
    }

    /// Calls the admin API; `path` is below `/admin/v1/`.
    ///
    /// # Errors
    /// [`ClientError`]; its text has the remedy.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        patience: Duration,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<T, ClientError> {
        let token = match &self.token {
            TokenSource::Given(token) => token.clone(),
            TokenSource::DataDir(dir) => operator_token::load(dir).map_err(ClientError::NoToken)?,
        };
        let url = format!("http://{}/admin/v1/{path}", self.address);
        let request = http_client(patience)?.request(method, url).bearer_auth(token.expose());
        let (status, body) = self.exchange(fill(request)).await?;
        if !status.is_success() {
            return Err(match serde_json::from_slice(&body) {
                Ok(body) => ClientError::Refused { status, body },
                Err(_) => self.foreign(status),
            });
        }
        serde_json::from_slice(&body).map_err(|_| self.foreign(status))
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let mut answer = request.send().await.map_err(|error| self.transport(error))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.transport(error))? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(self.foreign(status));
            }
            body.extend_from_slice(&piece);
        }
        Ok((status, body))
    }

    fn foreign(&self, status: StatusCode) -> ClientError {
        ClientError::Foreign { address: self.address, status }
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
fn http_client(patience: Duration) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tls_certs_only([])
        .connect_timeout(QUICK)
        .timeout(patience)
        .build()
        .map_err(ClientError::Client)
}

/// Who listens on every address listens on loopback.
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
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Answers each connection with the next text, and hands over what was asked.
    fn answering(answers: Vec<(u16, &'static str)>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 4_096];
                let count = stream.read(&mut buffer).unwrap();
                asked.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                )
                .unwrap();
            }
            asked
        });
        (address, thread)
    }

    fn service(address: SocketAddr, token: Option<&str>) -> RunningService {
        let token = match token {
            Some(token) => TokenSource::Given(Secret::new(token)),
            None => TokenSource::DataDir("/nonexistent".into()),
        };
        RunningService::new(address, token)
    }

    #[tokio::test]
    async fn nobody_at_the_address_means_that_it_does_not_run() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(service(free, None).presence().await, Presence::Absent);
    }

    #[tokio::test]
    async fn a_service_that_is_not_ready_says_why() {
        let (address, thread) =
            answering(vec![(503, r#"{"ready":false,"reasons":[{"ru":"диск","en":"disk"}],"details":{}}"#)]);
        let Presence::Running(readiness) = service(address, None).presence().await else { panic!("it runs") };
        assert!(!readiness.ready);
        assert_eq!(readiness.reasons, [Text::new("диск", "disk")]);
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn another_program_on_the_port_is_not_taken_for_the_service() {
        let (address, thread) = answering(vec![(200, "<html>hello</html>")]);
        assert!(matches!(service(address, None).presence().await, Presence::Unclear(_)));
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn an_order_carries_the_token_and_its_refusal_is_told_in_words() {
        let refusal = r#"{"code":"rejected","message":{"ru":"нет","en":"no"}}"#;
        let (address, thread) = answering(vec![(409, refusal), (200, r#"{"n":7}"#)]);
        let service = service(address, Some("t0ken"));
        let refused = service.order::<_, serde_json::Value>("x", &()).await;
        assert_eq!(refused.unwrap_err().text(), Text::new("нет", "no"));
        let done = service.order::<_, serde_json::Value>("x", &()).await.unwrap();
        assert_eq!(done["n"], 7);
        let asked = thread.join().unwrap();
        assert!(asked[0].starts_with("POST /admin/v1/x"), "{asked:?}");
        assert!(asked[0].to_lowercase().contains("authorization: bearer t0ken"), "{asked:?}");
    }

    #[tokio::test]
    async fn without_a_token_nothing_is_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = service(listener.local_addr().unwrap(), None);
        let refused = service.order::<_, serde_json::Value>("x", &()).await;
        assert!(refused.unwrap_err().text().en.contains("operator-token"));
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "nobody connected");
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        let at = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:9090"), "127.0.0.1:9090");
        assert_eq!(at("[::]:9090"), "[::1]:9090");
        assert_eq!(at("192.0.2.7:9090"), "192.0.2.7:9090");
    }
}
