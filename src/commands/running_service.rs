//! The service that runs on this configuration, as another process of the same machine sees it.
//!
//! Asks its operator listener whether it is there and how it is, and gives it orders that take long. Knows nothing of
//! what is ordered.

use crate::config::Config;
use crate::domain::{Secret, Text};
use crate::http::error::ErrorBody;
use crate::http::operator_token;
use crate::providers::http_client::{Answer, HttpClient, HttpClientError, HttpSettings, WireError};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long a running service takes to answer a question: it is on this machine.
const QUICK: Duration = Duration::from_secs(5);
/// How long an order may take that reads the whole store.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

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

/// An order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDone(pub Text);

/// The service at the operator's address of a configuration.
#[derive(Debug, Clone)]
pub struct RunningService {
    address: SocketAddr,
    token: Option<Secret>,
    quick: HttpClient,
    patient: HttpClient,
}

impl RunningService {
    /// The service that `config` describes; nothing is asked yet.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn of(config: &Config) -> Result<Self, HttpClientError> {
        let configured = config.operator.token.as_ref().filter(|token| token.is_resolved());
        let token = match configured {
            Some(token) => Some(token.secret().clone()),
            None => operator_token::load(&config.data_dir).ok(),
        };
        let address = reachable(config.operator.listen);
        Ok(Self { address, token, quick: client(QUICK)?, patient: client(PATIENCE)? })
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks whether it is there.
    pub async fn presence(&self) -> Presence {
        let Some(url) = self.url("/health/ready") else { return Presence::Absent };
        match self.quick.exchange(self.quick.get(url), ANSWER_BYTES_MAX).await {
            Err(WireError::Unreachable(_)) => Presence::Absent,
            Err(error) => Presence::Unclear(self.unclear(&error.to_string())),
            Ok(answer) => match serde_json::from_slice(&answer.body) {
                Ok(readiness) => Presence::Running(readiness),
                Err(_) => Presence::Unclear(self.unclear(&format!("HTTP {}", answer.status))),
            },
        }
    }

    /// Gives an order and waits until it is done, an hour at most.
    ///
    /// # Errors
    /// [`NotDone`] in words, with the remedy.
    pub async fn order<B: Serialize, A: DeserializeOwned>(&self, path: &str, body: &B) -> Result<A, NotDone> {
        let token = self.token.as_ref().ok_or_else(no_token)?;
        let url = self.url(path).ok_or_else(|| NotDone(self.unclear(path)))?;
        let body = serde_json::to_vec(body).map_err(|error| NotDone(self.unclear(&error.to_string())))?;
        let request = self
            .patient
            .post(url)
            .header(AUTHORIZATION, format!("Bearer {}", token.expose()))
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let answer = self.patient.exchange(request, ANSWER_BYTES_MAX).await;
        self.judged(&answer.map_err(|error| NotDone(self.unclear(&error.to_string())))?)
    }

    fn judged<A: DeserializeOwned>(&self, answer: &Answer) -> Result<A, NotDone> {
        if answer.is_success()
            && let Ok(value) = serde_json::from_slice(&answer.body)
        {
            return Ok(value);
        }
        match serde_json::from_slice::<ErrorBody>(&answer.body) {
            Ok(error) => Err(NotDone(error.message)),
            Err(_) => Err(NotDone(self.unclear(&format!("HTTP {}", answer.status)))),
        }
    }

    fn url(&self, path: &str) -> Option<Url> {
        Url::parse(&format!("http://{}{path}", self.address)).ok()
    }

    fn unclear(&self, detail: &str) -> Text {
        let address = self.address;
        Text::new(
            format!(
                "По адресу оператора {address} ответили не так, как отвечает edobridge ({detail}). Проверьте operator.listen: не занят ли порт другой программой."
            ),
            format!(
                "What answers at the operator's address {address} is not edobridge as we know it ({detail}). Check operator.listen: another program may have the port."
            ),
        )
    }
}

fn no_token() -> NotDone {
    NotDone(Text::new(
        "Нет токена оператора: файл operator-token в каталоге данных не читается. Запустите команду от имени пользователя службы: sudo -u edobridge edobridge …",
        "There is no operator token: the file operator-token in the data directory cannot be read. Run this as the user of the service: sudo -u edobridge edobridge …",
    ))
}

fn client(patience: Duration) -> Result<HttpClient, HttpClientError> {
    HttpClient::new(&HttpSettings {
        connect_timeout: QUICK,
        read_timeout: patience,
        total_timeout: patience,
        ..HttpSettings::default()
    })
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
        let mut config = Config::defaults();
        config.operator.listen = address;
        let dir = tempfile::tempdir().unwrap();
        config.data_dir = dir.path().to_owned();
        if let Some(token) = token {
            std::fs::write(dir.path().join("operator-token"), token).unwrap();
        }
        RunningService::of(&config).unwrap()
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
        let refused = service.order::<_, serde_json::Value>("/admin/v1/x", &()).await;
        assert_eq!(refused, Err(NotDone(Text::new("нет", "no"))));
        let done = service.order::<_, serde_json::Value>("/admin/v1/x", &()).await.unwrap();
        assert_eq!(done["n"], 7);
        let asked = thread.join().unwrap();
        assert!(asked[0].starts_with("POST /admin/v1/x"), "{asked:?}");
        assert!(asked[0].to_lowercase().contains("authorization: bearer t0ken"), "{asked:?}");
    }

    #[tokio::test]
    async fn without_a_token_nothing_is_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = service(listener.local_addr().unwrap(), None);
        let refused = service.order::<_, serde_json::Value>("/admin/v1/x", &()).await;
        assert!(refused.unwrap_err().0.en.contains("operator-token"));
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
