//! One HTTP client for every adapter: no redirects, no proxies, no repeats of its own, everything bounded.
//!
//! Knows nothing of what is called. It says how an exchange failed in the terms that matter: not one byte of the
//! request left ([`WireError::Unreachable`]), or the outcome is unknown ([`WireError::Silent`],
//! [`WireError::Cut`]).
//!
//! Invariant: no error of this module carries an address; webhook paths and download links are secrets.

use super::remote::{Nature, Remote, local};
use super::spool_io::{CountingSink, FramedFile, Received, SendWatch};
use crate::domain::{Failure, FailureClass, FailureKind, Text};
use bytes::Bytes;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER,
};
use reqwest::{Body, Certificate, RequestBuilder, Response, Url, redirect, retry};
use std::error::Error as _;
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, timeout, timeout_at};

/// How long an unused connection is kept. Shorter than what servers keep (nginx: 60 to 75 s), so that a request is
/// rarely written into a connection that is being closed, whose outcome would be unknown.
const POOL_IDLE: Duration = Duration::from_secs(15);
/// The longest pause that a `Retry-After` can ask of us.
const RETRY_AFTER_MS_MAX: u64 = 24 * 3_600 * 1_000;
/// How much of an error's text is kept.
const DETAIL_CHARS_MAX: usize = 300;

/// How patient the client is, and how it introduces itself.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Until the connection with TLS stands.
    pub connect_timeout: Duration,
    /// The longest silence: from the end of the request to the answer, and between two pieces of it.
    /// Bitrix24 works at most 60 s on one request (`limits.md`).
    pub read_timeout: Duration,
    /// The whole of an exchange whose bodies are small.
    pub total_timeout: Duration,
    /// A transfer slower than this counts as stuck, in bytes a second: a file of n bytes gets n / this on top.
    pub transfer_bytes_per_s_min: u64,
    /// `name/version`; Bitrix24's web server answers 404 to downloads without one.
    pub user_agent: String,
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// Further root certificates, PEM, for boxes with a certificate of their own authority.
    pub extra_root_pem: Vec<Vec<u8>>,
}

/// Whose certificates are trusted besides the extra ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// The system's authorities; there must be some.
    #[default]
    System,
    /// None: enough for the sandbox on loopback, on a machine without CA certificates.
    OnlyExtra,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(75),
            total_timeout: Duration::from_secs(120),
            transfer_bytes_per_s_min: 32 * 1024,
            user_agent: concat!("edobridge/", env!("CARGO_PKG_VERSION")).to_owned(),
            trust: Trust::System,
            extra_root_pem: Vec::new(),
        }
    }
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// An extra root certificate is not PEM.
    #[error("extra root certificate number {number} is not a PEM certificate")]
    RootCertificate {
        /// Its place in the list, from 1.
        number: usize,
    },
    /// TLS could not be set up: most often the system has no CA certificates.
    #[error("the TLS client could not be set up; is the package ca-certificates installed?")]
    Tls(#[source] reqwest::Error),
}

/// How an exchange failed. Never carries an address.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// No connection: not one byte of the request was sent.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The request was sent at least in part, and the time was up.
    #[error("no answer in time")]
    Silent,
    /// The connection broke before the whole answer had come.
    #[error("the connection broke: {0}")]
    Cut(String),
    /// The answer is longer than what is read.
    #[error("the answer is longer than {max} bytes")]
    TooLong {
        /// The bound in bytes.
        max: u64,
    },
    /// The file is larger than what is accepted.
    #[error("the file is larger than {max} bytes")]
    FileTooLarge {
        /// The bound in bytes.
        max: u64,
    },
    /// The content does not begin as it must; the beginning is kept.
    #[error("unexpected content")]
    Unexpected(Vec<u8>),
    /// The content came compressed although that was not asked for.
    #[error("unexpected content encoding")]
    Encoded,
    /// A file of ours cannot be read, or the sink cannot be written.
    #[error("{0}")]
    Local(String),
}

impl WireError {
    /// The failure of a call of this nature to this remote.
    pub fn failure(self, remote: Remote, nature: Nature) -> Failure {
        let failure = match self {
            WireError::Unreachable(detail) => unreachable(remote, &detail),
            WireError::Silent => no_answer(remote, "timeout"),
            WireError::Cut(_) => no_answer(remote, "connection_cut"),
            WireError::TooLong { .. } => remote.garbled("answer_too_long"),
            WireError::FileTooLarge { max } => remote.too_large(max),
            WireError::Unexpected(_) => remote.garbled("unexpected_content"),
            WireError::Encoded => remote.garbled("unexpected_encoding"),
            WireError::Local(detail) => local(FailureClass::Transient, "local_file", &detail),
        };
        nature.judge(failure)
    }
}

fn unreachable(remote: Remote, detail: &str) -> Failure {
    let name = remote.name();
    let reason = Text::new(
        format!(
            "{} недоступен, соединение не установлено ({detail}). Проверьте адрес, DNS, сеть и сертификат; \
             работа продолжится сама, когда связь появится.",
            name.ru
        ),
        format!(
            "{} cannot be reached, no connection was made ({detail}). Check the address, DNS, the network and the \
             certificate; work goes on by itself when the connection is back.",
            name.en
        ),
    );
    Failure::new(FailureClass::Transient, FailureKind::Unreachable, "unreachable", reason)
}

fn no_answer(remote: Remote, code: &str) -> Failure {
    let name = remote.name();
    let reason = Text::new(
        format!(
            "{} не ответил до конца: запрос отправлен, исход неизвестен. Сначала проверим, выполнен ли он.",
            name.ru
        ),
        format!(
            "{} gave no whole answer: the request was sent, its outcome is unknown. We look before repeating.",
            name.en
        ),
    );
    Failure::new(FailureClass::Ambiguous, FailureKind::NoAnswer, code, reason)
}

/// A whole answer with a bounded body.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, lower case, without parameters.
    pub content_type: String,
    /// Milliseconds of `Retry-After`, capped at a day.
    pub retry_after_ms: Option<u64>,
    /// `Location`, untrusted.
    pub location: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What is accepted as the content of a file.
#[derive(Debug, Clone, Copy)]
pub struct Accept {
    /// Bound in bytes.
    pub bytes_max: u64,
    /// What the content must begin with.
    pub starts_with: &'static [u8],
}

/// The HTTP client of the process; cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient {
    inner: reqwest::Client,
    read_timeout: Duration,
    total_timeout: Duration,
    bytes_per_s_min: u64,
}

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub struct Opened {
    /// The answer's head; its body is empty until [`HttpClient::read`].
    pub head: Answer,
    /// All its headers.
    pub headers: HeaderMap,
    response: Response,
    deadline: Instant,
}

impl HttpClient {
    /// Sets the client up.
    ///
    /// # Errors
    /// A root certificate is not PEM, or the system has no CA certificates.
    pub fn new(settings: &HttpSettings) -> Result<Self, HttpClientError> {
        let roots = extra_roots(&settings.extra_root_pem)?;
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(POOL_IDLE)
            .user_agent(&settings.user_agent);
        builder = match settings.trust {
            Trust::System if roots.is_empty() => builder,
            Trust::System => builder.tls_certs_merge(roots),
            Trust::OnlyExtra => builder.tls_certs_only(roots),
        };
        Ok(Self {
            inner: builder.build().map_err(HttpClientError::Tls)?,
            read_timeout: settings.read_timeout,
            total_timeout: settings.total_timeout,
            bytes_per_s_min: settings.transfer_bytes_per_s_min.max(1),
        })
    }

    /// Begins a GET.
    pub fn get(&self, url: Url) -> RequestBuilder {
        self.inner.get(url)
    }

    /// Begins a POST.
    pub fn post(&self, url: Url) -> RequestBuilder {
        self.inner.post(url)
    }

    /// Begins a request with any method.
    pub fn request(&self, method: reqwest::Method, url: Url) -> RequestBuilder {
        self.inner.request(method, url)
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// [`WireError`]; an answer of any status is not an error here.
    pub async fn exchange(&self, request: RequestBuilder, answer_max: u64) -> Result<Answer, WireError> {
        let opened = self.open(request, 0).await?;
        self.read(opened, answer_max).await
    }

    /// Sends a body with a file in it, in constant memory, and reads the whole answer.
    ///
    /// # Errors
    /// [`WireError::Local`] if the file is missing or damaged: then the remote got no whole request.
    pub async fn upload(
        &self,
        request: RequestBuilder,
        framed: &FramedFile,
        answer_max: u64,
    ) -> Result<Answer, WireError> {
        let (chunks, watch) = framed.open().await.map_err(|error| WireError::Local(error.to_string()))?;
        let length = framed.content_length();
        let request = request.header(CONTENT_LENGTH, length).body(Body::wrap_stream(chunks));
        let outcome = match self.open_moving(request, length, &watch).await {
            Ok(opened) => self.read(opened, answer_max).await,
            Err(error) => Err(error),
        };
        match watch.fault() {
            Some(text) => Err(WireError::Local(text.to_owned())),
            None => outcome,
        }
    }

    /// As [`HttpClient::open`], and gives up when the remote reads no further: the time for a large file is long, and
    /// a stuck connection should not take all of it.
    async fn open_moving(
        &self,
        request: RequestBuilder,
        upload_bytes: u64,
        watch: &SendWatch,
    ) -> Result<Opened, WireError> {
        let mut sending = pin!(self.open(request, upload_bytes));
        let mut seen = watch.chunks();
        loop {
            if let Ok(outcome) = timeout(self.read_timeout, &mut sending).await {
                return outcome;
            }
            let now = watch.chunks();
            if now == seen {
                return Err(WireError::Silent);
            }
            seen = now;
        }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`WireError::Unreachable`], [`WireError::Silent`] or [`WireError::Cut`].
    pub async fn open(&self, request: RequestBuilder, upload_bytes: u64) -> Result<Opened, WireError> {
        let start = Instant::now();
        let moving = self.transfer_time(upload_bytes);
        let silence = start + self.read_timeout + moving;
        let response = match timeout_at(silence, request.send()).await {
            Err(_) => return Err(WireError::Silent),
            Ok(Err(error)) => return Err(wire_error(error)),
            Ok(Ok(response)) => response,
        };
        let head = head_of(&response);
        let expected = response.content_length().unwrap_or(0);
        let deadline = start + self.total_timeout + moving + self.transfer_time(expected);
        Ok(Opened { head, headers: response.headers().clone(), response, deadline })
    }

    /// Reads the body of an answer, up to a bound.
    ///
    /// # Errors
    /// [`WireError::Cut`] for a truncated body, [`WireError::TooLong`] beyond the bound.
    pub async fn read(&self, mut opened: Opened, max: u64) -> Result<Answer, WireError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut opened, None).await? {
            if body.len() as u64 + chunk.len() as u64 > max {
                return Err(WireError::TooLong { max });
            }
            body.extend_from_slice(&chunk);
        }
        opened.head.body = body;
        Ok(opened.head)
    }

    /// Reads the first bytes of a body, for an error text; a broken connection just ends them.
    pub async fn read_beginning(&self, mut opened: Opened, max: usize) -> Answer {
        let mut body = Vec::new();
        while body.len() < max {
            match self.chunk(&mut opened, None).await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) | Err(_) => break,
            }
        }
        opened.head.body = body;
        opened.head
    }

    /// Pours the body of an answer into a sink.
    ///
    /// # Errors
    /// The bound is exceeded, the content begins otherwise than it must, the connection breaks before the announced
    /// length, or the sink fails. What is in the sink is then worthless.
    pub async fn receive(
        &self,
        mut opened: Opened,
        sink: &mut (dyn AsyncWrite + Unpin + Send),
        accept: Accept,
    ) -> Result<Received, WireError> {
        if opened.headers.get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes() != b"identity") {
            return Err(WireError::Encoded);
        }
        let max = accept.bytes_max;
        if opened.response.content_length().is_some_and(|announced| announced > max) {
            return Err(WireError::FileTooLarge { max });
        }
        // Without an announced length the time is that of the largest file.
        let announced = opened.response.content_length().is_some();
        let whole = opened.deadline + self.transfer_time(if announced { 0 } else { max });
        let mut next: Bytes = self.beginning(&mut opened, whole, accept.starts_with).await?.into();
        let mut counting = CountingSink::new(sink);
        loop {
            if counting.size_bytes() + next.len() as u64 > max {
                return Err(WireError::FileTooLarge { max });
            }
            counting.write(&next).await.map_err(|error| WireError::Local(error.to_string()))?;
            match self.chunk(&mut opened, Some(whole)).await? {
                Some(chunk) => next = chunk,
                None => break,
            }
        }
        counting.finish().await.map_err(|error| WireError::Local(error.to_string()))
    }

    async fn beginning(
        &self,
        opened: &mut Opened,
        whole: Instant,
        wanted: &[u8],
    ) -> Result<Vec<u8>, WireError> {
        let mut beginning = Vec::new();
        while beginning.len() < wanted.len() {
            match self.chunk(opened, Some(whole)).await? {
                Some(chunk) => beginning.extend_from_slice(&chunk),
                None => break,
            }
        }
        if beginning.starts_with(wanted) { Ok(beginning) } else { Err(WireError::Unexpected(beginning)) }
    }

    async fn chunk(&self, opened: &mut Opened, whole: Option<Instant>) -> Result<Option<Bytes>, WireError> {
        let silence = Instant::now() + self.read_timeout;
        let until = silence.min(whole.unwrap_or(opened.deadline));
        match timeout_at(until, opened.response.chunk()).await {
            Err(_) => Err(WireError::Silent),
            Ok(Err(error)) => Err(WireError::Cut(chain(error))),
            Ok(Ok(chunk)) => Ok(chunk),
        }
    }

    fn transfer_time(&self, bytes: u64) -> Duration {
        Duration::from_secs(bytes / self.bytes_per_s_min)
    }
}

fn extra_roots(pems: &[Vec<u8>]) -> Result<Vec<Certificate>, HttpClientError> {
    let mut roots = Vec::new();
    for (n, pem) in pems.iter().enumerate() {
        let none = || HttpClientError::RootCertificate { number: n + 1 };
        let bundle = Certificate::from_pem_bundle(pem).map_err(|_| none())?;
        if bundle.is_empty() {
            return Err(none());
        }
        roots.extend(bundle);
    }
    Ok(roots)
}

fn wire_error(error: reqwest::Error) -> WireError {
    if error.is_connect() || error.is_builder() {
        WireError::Unreachable(chain(error))
    } else if error.is_timeout() {
        WireError::Silent
    } else {
        WireError::Cut(chain(error))
    }
}

/// The texts of an error and its causes, without the address.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut texts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        // Some errors print their source themselves.
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        cause = next.source();
    }
    if texts.is_empty() {
        texts.push(error.to_string());
    }
    texts.join(": ").chars().take(DETAIL_CHARS_MAX).collect()
}

fn head_of(response: &Response) -> Answer {
    let headers = response.headers();
    let content_type = text_of(headers, &CONTENT_TYPE).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Answer {
        status: response.status().as_u16(),
        content_type,
        retry_after_ms: retry_after_ms(headers),
        location: text_of(headers, &LOCATION),
        body: Vec::new(),
    }
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// `Retry-After` in seconds, or as a date compared with the remote's own `Date`: our clock does not matter.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let wish = text_of(headers, &RETRY_AFTER)?;
    let wish = wish.trim();
    let ms = match wish.parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1_000),
        Err(_) => {
            let until = http_date_ms(wish)?;
            let now = http_date_ms(&text_of(headers, &DATE)?)?;
            u64::try_from(until.saturating_sub(now)).ok()?
        }
    };
    Some(ms.min(RETRY_AFTER_MS_MAX))
}

fn http_date_ms(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::spool_io::Coding;
    use crate::providers::spool_io::tests::{pattern, source_of};
    use crate::providers::test_server::{Reply, TestServer};

    pub(crate) fn impatient() -> HttpClient {
        HttpClient::new(&HttpSettings {
            connect_timeout: Duration::from_millis(500),
            read_timeout: Duration::from_millis(300),
            total_timeout: Duration::from_millis(600),
            ..HttpSettings::default()
        })
        .unwrap()
    }

    fn url(server: &TestServer, path: &str) -> Url {
        server.url(path).parse().unwrap()
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable_and_certainly_without_effect() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url: Url = format!("http://127.0.0.1:{port}/rest/1/s3cret/x?auth=s3cret").parse().unwrap();
        let http = impatient();
        let error = http.exchange(http.get(url), 100).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, WireError::Unreachable(_)), "{text}");
        let failure = error.failure(Remote::Portal, Nature::Write);
        assert_eq!((failure.class, failure.kind), (FailureClass::Transient, FailureKind::Unreachable));
        assert!(!format!("{text}{failure:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn silence_cuts_and_truncation_are_unknown_outcomes() {
        let server = TestServer::start(vec![
            Reply::Close,
            Reply::hold(Duration::from_secs(2)),
            Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{\"half\":"),
            Reply::raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            Reply::raw(b"not http at all\r\n\r\n"),
        ]);
        let http = impatient();
        for kind in ["closed", "held", "truncated", "half chunked", "no http"] {
            let error = http.exchange(http.post(url(&server, "/x?auth=s3cret")), 1_000).await.unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{kind}");
            let failure = error.failure(Remote::Portal, Nature::Write);
            let seen = (failure.class, failure.kind);
            assert_eq!(seen, (FailureClass::Ambiguous, FailureKind::NoAnswer), "{kind}");
        }
    }

    #[tokio::test]
    async fn a_body_that_trickles_for_ever_is_cut_off() {
        let server = TestServer::start(vec![Reply::trickle(Duration::from_millis(100), 40)]);
        let http = impatient();
        let error = http.exchange(http.get(url(&server, "/")), 1_000).await.unwrap_err();
        assert!(matches!(error, WireError::Silent), "{error:?}");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let server = TestServer::start(vec![Reply::status(302, "Location: http://127.0.0.1:1/x\r\n", "")]);
        let http = impatient();
        let answer = http.exchange(http.get(url(&server, "/a")), 100).await.unwrap();
        assert_eq!((answer.status, answer.location.as_deref()), (302, Some("http://127.0.0.1:1/x")));
    }

    #[tokio::test]
    async fn an_answer_beyond_the_bound_is_refused() {
        let server = TestServer::start(vec![Reply::ok("0123456789"), Reply::ok("0123456789")]);
        let http = impatient();
        let error = http.exchange(http.get(url(&server, "/")), 9).await.unwrap_err();
        assert!(matches!(error, WireError::TooLong { max: 9 }));
        assert_eq!(http.exchange(http.get(url(&server, "/")), 10).await.unwrap().body, b"0123456789");
    }

    #[tokio::test]
    async fn an_upload_is_streamed_with_its_length_and_right_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = pattern(300_000);
        let framed = FramedFile {
            prefix: "[\"".into(),
            file: source_of(&dir, &bytes),
            coding: Coding::Base64,
            suffix: "\"]".into(),
            then: None,
        };
        let server = TestServer::start(vec![Reply::ok("{}")]);
        let http = impatient();
        http.upload(http.post(url(&server, "/")), &framed, 100).await.unwrap();
        let seen = server.requests().remove(0);
        assert_eq!(seen.header("content-length"), Some(framed.content_length().to_string()));
        assert_eq!(seen.header("transfer-encoding"), None);
        let sent: Vec<String> = serde_json::from_slice(&seen.body).unwrap();
        use base64::Engine as _;
        assert_eq!(base64::engine::general_purpose::STANDARD.decode(&sent[0]).unwrap(), bytes);
    }

    #[tokio::test]
    async fn a_damaged_spool_file_is_our_fault_and_not_ambiguous() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = source_of(&dir, &pattern(200_000));
        file.facts.digest.0[0] ^= 1;
        let framed =
            FramedFile { prefix: "".into(), file, coding: Coding::Raw, suffix: "".into(), then: None };
        let server = TestServer::start(vec![Reply::ok("{}")]);
        let http = impatient();
        let error = http.upload(http.post(url(&server, "/")), &framed, 100).await.unwrap_err();
        let failure = error.failure(Remote::EasyDocs, Nature::Write);
        assert_eq!((failure.class, failure.kind), (FailureClass::Transient, FailureKind::Local));
        assert!(server.requests().iter().all(|seen| !seen.complete), "a whole request arrived");
    }

    #[tokio::test]
    async fn a_received_file_is_checked_counted_and_hashed() {
        let accept = Accept { bytes_max: 10, starts_with: b"%PDF-" };
        let server = TestServer::start(vec![
            Reply::ok("%PDF-1.7ab"),
            Reply::ok("<html>nginx</html>"),
            Reply::ok("<html>"),
            Reply::ok("%PDF-1.7abc"),
            Reply::status(200, "Content-Encoding: gzip\r\n", "%PDF-1"),
            Reply::ok("%PD"),
        ]);
        let http = impatient();
        let mut results = Vec::new();
        for _ in 0..6 {
            let mut sink = Vec::new();
            let opened = http.open(http.get(url(&server, "/")), 0).await.unwrap();
            let outcome = http.receive(opened, &mut sink, accept).await;
            results.push((outcome, sink));
        }
        assert_eq!(results[0].0.as_ref().unwrap().size_bytes, 10);
        assert_eq!(results[0].1, b"%PDF-1.7ab");
        assert!(matches!(results[1].0, Err(WireError::FileTooLarge { .. })));
        assert!(matches!(results[2].0, Err(WireError::Unexpected(_))));
        assert!(matches!(results[3].0, Err(WireError::FileTooLarge { max: 10 })));
        assert!(matches!(results[4].0, Err(WireError::Encoded)));
        assert!(matches!(results[5].0, Err(WireError::Unexpected(_))));
    }

    #[test]
    fn a_wish_for_a_pause_is_read_in_both_forms() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after_ms(&headers), None);
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(retry_after_ms(&headers), Some(7_000));
        headers.insert(RETRY_AFTER, "99999999999999999999".parse().unwrap());
        assert_eq!(retry_after_ms(&headers), None);
        headers.insert(RETRY_AFTER, "9999999999".parse().unwrap());
        assert_eq!(retry_after_ms(&headers), Some(RETRY_AFTER_MS_MAX));
        headers.insert(RETRY_AFTER, "Wed, 21 Oct 2026 07:28:30 GMT".parse().unwrap());
        assert_eq!(retry_after_ms(&headers), None, "without a Date it would need our clock");
        headers.insert(DATE, "Wed, 21 Oct 2026 07:28:00 GMT".parse().unwrap());
        assert_eq!(retry_after_ms(&headers), Some(30_000));
    }

    #[tokio::test]
    async fn a_remote_that_stops_reading_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let file = source_of(&dir, &pattern(20 * 1024 * 1024));
        let framed =
            FramedFile { prefix: "".into(), file, coding: Coding::Raw, suffix: "".into(), then: None };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let http = impatient();
        let sending = http.upload(http.post(url), &framed, 100);
        let error = timeout(Duration::from_secs(20), sending).await.expect("far below the file's time");
        let failure = error.unwrap_err().failure(Remote::Portal, Nature::Write);
        assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Ambiguous, "timeout"));
    }

    #[tokio::test]
    async fn loopback_works_without_any_certificate_authority() {
        let settings = HttpSettings { trust: Trust::OnlyExtra, ..HttpSettings::default() };
        let http = HttpClient::new(&settings).unwrap();
        let server = TestServer::start(vec![Reply::ok("{}")]);
        assert_eq!(http.exchange(http.get(url(&server, "/")), 100).await.unwrap().status, 200);
    }

    #[test]
    fn a_root_certificate_that_is_none_is_named() {
        let settings = HttpSettings { extra_root_pem: vec![b"nonsense".to_vec()], ..HttpSettings::default() };
        let error = HttpClient::new(&settings).unwrap_err();
        assert!(matches!(error, HttpClientError::RootCertificate { number: 1 }));
    }
}
