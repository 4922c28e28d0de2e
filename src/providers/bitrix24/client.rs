//! Speaks with one portal, by webhook or as an application: a call alone, or many in a batch.
//!
//! Spends no budget and waits for nothing: its owner does, told by what was [`Observed`]. The portal may have been
//! renamed: then it answers 302, the request was not executed, and it is sent once more to the new host
//! (`settings/how-to-call-rest-api/change-domen.md`).

use super::batch;
pub use super::call::{Call, Caller, Executed, LimitHit, Observed, Operating};
use super::credentials::{self, AppAccess, Credentials, Dress, ExtraAuth};
use super::envelope::{self, Envelope, Spent};
use super::error;
use crate::domain::{Failure, Secret};
use crate::providers::http_client::{Answer, HttpClient};
use crate::providers::redaction::Redactor;
use crate::providers::remote::{Nature, Remote};
use crate::providers::spool_io::FramedFile;
use crate::providers::url_rules::{Origin, UrlRefused};
use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use tracing::debug;

/// Longest answer that is read: fifty pages of fifty rows stay well below.
const ANSWER_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Why a text is not the address of an incoming webhook. Never quotes the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookUrlError {
    /// It breaks the rules for addresses.
    #[error("the webhook address is not usable")]
    Url(#[source] UrlRefused),
    /// Its path is not `/rest/<user>/<secret>/`.
    #[error("the webhook address must look like https://portal/rest/1/secret/")]
    Path,
}

/// One portal as seen through one incoming webhook, or by one application.
#[derive(Debug)]
pub struct Client {
    http: HttpClient,
    origin: RwLock<Origin>,
    credentials: Credentials,
    redactor: Redactor,
    own_mark_withheld: AtomicBool,
    extra_auth: Option<ExtraAuth>,
}

/// Whether the way to a portal must be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// It must; plain http is for this machine only, the sandbox.
    Required,
    /// The operator has accepted the danger for this one box.
    DangerouslyWaived,
}

/// Whether `auth_connector` goes with our changes, where one is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnMark {
    /// It does.
    Sent,
    /// The portal's plan does not have it (`feature.get`, `rest_auth_connector`).
    Withheld,
}

/// What a request carries.
pub(super) enum Payload<'p> {
    /// A JSON object.
    Json(&'p Value),
    /// A JSON text with a file in it.
    Framed(&'p FramedFile),
}

impl Client {
    /// A client for the webhook `https://portal/rest/<user>/<secret>/`, at `moved_to` if the portal was renamed since.
    ///
    /// # Errors
    /// [`WebhookUrlError`] if one of the addresses is not usable.
    pub fn new(http: HttpClient, webhook: &Secret, moved_to: Option<&str>) -> Result<Self, WebhookUrlError> {
        Self::of_webhook(http, webhook, moved_to, Encryption::Required)
    }

    /// [`Client::new`], where plain http may be allowed to the webhook's own host.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn of_webhook(
        http: HttpClient,
        webhook: &Secret,
        moved_to: Option<&str>,
        encryption: Encryption,
    ) -> Result<Self, WebhookUrlError> {
        let own = match encryption {
            Encryption::Required => Origin::parse(webhook.expose()),
            Encryption::DangerouslyWaived => Origin::parse_unencrypted(webhook.expose()),
        }
        .map_err(WebhookUrlError::Url)?;
        let url = Url::parse(webhook.expose()).map_err(|_| WebhookUrlError::Path)?;
        let segments: Vec<&str> = url.path().trim_matches('/').split('/').collect();
        let [rest, user, secret] = segments.as_slice() else { return Err(WebhookUrlError::Path) };
        let plain =
            |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let numeric = !user.is_empty() && user.bytes().all(|b| b.is_ascii_digit());
        if *rest != "rest" || !numeric || !plain(secret) || url.query().is_some() {
            return Err(WebhookUrlError::Path);
        }
        let place = moved_to.map_or(Ok(own), Origin::parse);
        Ok(Self {
            http,
            origin: RwLock::new(place.map_err(WebhookUrlError::Url)?),
            credentials: Credentials::Webhook { path: Secret::new(format!("rest/{user}/{secret}/")) },
            redactor: Redactor::new([Secret::new(*secret)]),
            own_mark_withheld: AtomicBool::new(false),
            extra_auth: None,
        })
    }

    /// A client of an application that is installed at `portal`. The caller has verified that place.
    pub fn of_app(http: HttpClient, portal: Origin, access: AppAccess) -> Self {
        Self {
            http,
            origin: RwLock::new(portal),
            credentials: Credentials::App(access),
            redactor: Redactor::default(),
            own_mark_withheld: AtomicBool::new(false),
            extra_auth: None,
        }
    }

    /// The same client, which sends one more parameter with each call. It is for this box alone: redirects to another
    /// host are then not followed. Signed links (downloads, the second step of an upload) are the portal's own and stay as
    /// they are.
    #[must_use]
    pub fn with_extra_auth(mut self, extra: Option<ExtraAuth>) -> Self {
        if let Some(extra) = &extra {
            self.redactor = self.redactor.and(extra.value.clone());
        }
        self.extra_auth = extra;
        self
    }

    /// Whether our changes carry our mark from now on. Before the plan is known they do: it is only a mark.
    pub fn mark_own_changes(&self, mark: OwnMark) {
        self.own_mark_withheld.store(mark == OwnMark::Withheld, Ordering::Relaxed);
    }

    fn connector(&self, method: &str) -> Option<&str> {
        let is_withheld = self.own_mark_withheld.load(Ordering::Relaxed);
        self.credentials.connector(method).filter(|_| !is_withheld)
    }

    /// The portal was found at another place by a way that proves it.
    pub fn move_to(&self, place: Origin) {
        *self.origin.write().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Where the portal is now.
    pub fn origin(&self) -> Origin {
        self.origin.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The HTTP client underneath, for downloads.
    pub fn http(&self) -> &HttpClient {
        &self.http
    }

    /// Cuts this portal's secrets.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Executes some calls: one alone as itself, several as one `batch`. Never repeats by itself, but for a rename.
    ///
    /// A call that may not share ([`Call::may_share`]) must be alone; calls beyond
    /// [`BATCH_CALLS_MAX`](batch::BATCH_CALLS_MAX) come back as not executed.
    pub async fn execute(&self, calls: &[Call]) -> Executed {
        let mut observed = Observed::default();
        let results = match calls {
            [] => Vec::new(),
            [call] => {
                let payload = Payload::Json(&call.params);
                vec![self.request(&call.method, payload, &mut observed).await]
            }
            many => match self.batch(many, &mut observed).await {
                Ok(outer) => batch::outcomes(many, &outer, &self.redactor, &mut observed),
                Err(failure) => many.iter().map(|_| Err(failure.clone())).collect(),
            },
        };
        Executed { results, observed }
    }

    async fn batch(&self, calls: &[Call], observed: &mut Observed) -> Result<Value, Failure> {
        let marked: Vec<Call> = calls.iter().map(|call| self.marked(call)).collect();
        self.request("batch", Payload::Json(&batch::params(&marked)), observed).await
    }

    /// A call as it stands in a batch: the token goes with the batch, the connector with each call.
    fn marked(&self, call: &Call) -> Call {
        let connector = self.connector(&call.method);
        match connector {
            None => call.clone(),
            Some(_) => {
                let dress = Dress { connector, ..Dress::default() };
                Call::new(call.method.clone(), credentials::dressed(&call.params, dress))
            }
        }
    }

    /// One request and the result of its envelope. An application's token that is refused as too old is renewed and
    /// the request sent once more: it had no effect.
    pub(super) async fn request(
        &self,
        method: &str,
        payload: Payload<'_>,
        observed: &mut Observed,
    ) -> Result<Value, Failure> {
        let token = self.credentials.token().await?;
        let first = self.attempt(method, &payload, token.as_ref(), observed).await;
        let Err(refused) = &first else { return first };
        match self.credentials.after(refused, token.as_ref()).await {
            None => first,
            Some(renewed) => self.attempt(method, &payload, Some(&renewed?), observed).await,
        }
    }

    async fn attempt(
        &self,
        method: &str,
        payload: &Payload<'_>,
        token: Option<&Secret>,
        observed: &mut Observed,
    ) -> Result<Value, Failure> {
        let dress = Dress { token, connector: self.connector(method), extra: self.extra_auth.as_ref() };
        let answer = match payload {
            _ if dress.is_empty() => self.post(method, payload, observed).await?,
            Payload::Json(params) => {
                let params = credentials::dressed(params, dress);
                self.post(method, &Payload::Json(&params), observed).await?
            }
            Payload::Framed(framed) => {
                let framed = credentials::dressed_file(framed, dress);
                self.post(method, &Payload::Framed(&framed), observed).await?
            }
        };
        debug!(
            provider.name = "bitrix24",
            provider.call = method,
            provider.status = answer.status,
            "answered"
        );
        let Envelope { outcome, spent } = envelope::open(&answer, &self.redactor);
        note(method, &outcome, spent, observed);
        outcome
    }

    /// Sends the request; once more at the new place if the portal was renamed.
    async fn post(
        &self,
        method: &str,
        payload: &Payload<'_>,
        observed: &mut Observed,
    ) -> Result<Answer, Failure> {
        let first = self.send(method, payload, observed).await?;
        let Some(place) = self.new_place(&first) else { return Ok(first) };
        observed.moved_to = Some(place.to_string());
        self.credentials.moved(&place);
        self.move_to(place);
        self.send(method, payload, observed).await
    }

    async fn send(
        &self,
        method: &str,
        payload: &Payload<'_>,
        observed: &mut Observed,
    ) -> Result<Answer, Failure> {
        let url = self.address(method)?;
        observed.requests += 1;
        let request =
            self.http.post(url).header(ACCEPT, "application/json").header(CONTENT_TYPE, "application/json");
        let outcome = match payload {
            Payload::Json(params) => {
                self.http.exchange(request.body(params.to_string()), ANSWER_BYTES_MAX).await
            }
            Payload::Framed(framed) => self.http.upload(request, framed, ANSWER_BYTES_MAX).await,
        };
        outcome.map_err(|error| error.failure(Remote::Portal, Nature::Write))
    }

    fn address(&self, method: &str) -> Result<Url, Failure> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'_';
        let text = format!("{}/{}{method}.json", self.origin(), self.credentials.path());
        match Url::parse(&text) {
            Ok(url) if method.bytes().all(plain) => Ok(url),
            Ok(_) | Err(_) => Err(error::from_code(404, "error_method_not_found", None, "")),
        }
    }

    /// The origin that a redirect names, if it is another one that may be called.
    ///
    /// The portal is believed because it proved itself by TLS. So it cannot lead us from https to http, which would
    /// send the webhook's secret in the clear to whatever listens on this machine; http is for a sandbox only.
    fn new_place(&self, answer: &Answer) -> Option<Origin> {
        if !matches!(answer.status, 301 | 302 | 307 | 308) || self.extra_auth.is_some() {
            return None;
        }
        let place = Origin::parse(answer.location.as_deref()?).ok()?;
        let here = self.origin();
        (place != here && (place.is_https() || !here.is_https())).then_some(place)
    }
}

fn note(method: &str, outcome: &Result<Value, Failure>, spent: Spent, observed: &mut Observed) {
    batch::note_spent(method, spent, observed);
    if let Err(failure) = outcome {
        batch::note_limit(method, failure, observed);
    }
}

impl Caller for Client {
    /// Without a budget: for `doctor`, which asks little.
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Result<Value, Failure>> {
        Box::pin(async move {
            let mut observed = Observed::default();
            self.request(&call.method, Payload::Json(&call.params), &mut observed).await
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::credentials::{Stale, TokenSource};
    use super::*;
    use crate::domain::{FailureClass, FailureKind};
    use crate::providers::http_client::HttpSettings;
    use crate::providers::test_server::{Reply, TestServer};
    use serde_json::json;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    pub(crate) const SECRET: &str = "s3cretwebhook";

    pub(crate) fn client_of(server: &TestServer) -> Client {
        let settings = HttpSettings {
            connect_timeout: Duration::from_millis(500),
            read_timeout: Duration::from_millis(400),
            ..HttpSettings::default()
        };
        let http = HttpClient::new(&settings).unwrap();
        Client::new(http, &Secret::new(server.url(&format!("/rest/17/{SECRET}/"))), None).unwrap()
    }

    fn get(id: u64) -> Call {
        Call::new("disk.file.get", json!({"id": id}))
    }

    #[tokio::test]
    async fn one_call_is_a_json_post_to_the_webhook() {
        let server = TestServer::start(vec![Reply::ok(
            r#"{"result":{"ID":"5"},"time":{"finish":10,"operating":1.5,"operating_reset_at":20}}"#,
        )]);
        let executed = client_of(&server).execute(&[get(5)]).await;
        assert_eq!(executed.results[0].as_ref().unwrap()["ID"], "5");
        assert_eq!(executed.observed.requests, 1);
        let expected =
            Operating { method: "disk.file.get".into(), spent_ms: 1_500, reset_in_ms: Some(10_000) };
        assert_eq!(executed.observed.operating, vec![expected]);
        let seen = server.requests().remove(0);
        assert_eq!(seen.line(), format!("POST /rest/17/{SECRET}/disk.file.get.json HTTP/1.1"));
        assert_eq!(seen.header("content-type").as_deref(), Some("application/json"));
        assert!(seen.header("user-agent").unwrap().starts_with("edobridge/"));
        assert_eq!(seen.json(), json!({"id": 5}));
    }

    #[tokio::test]
    async fn several_calls_share_one_request() {
        let server = TestServer::start(vec![Reply::ok(
            r#"{"result":{"result":{"c0":1},"result_error":{"c1":{"error":"ACCESS_DENIED"}}},"time":{"operating":2}}"#,
        )]);
        let executed = client_of(&server).execute(&[get(5), get(6)]).await;
        assert_eq!(executed.results[0], Ok(json!(1)));
        assert_eq!(executed.results[1].as_ref().unwrap_err().code, "access_denied");
        assert_eq!(executed.observed.operating[0].method, "batch");
        assert_eq!(
            server.requests()[0].json()["cmd"],
            json!({"c0": "disk.file.get?id=5", "c1": "disk.file.get?id=6"})
        );
    }

    #[tokio::test]
    async fn a_renamed_portal_gets_the_same_post_at_its_new_place() {
        let new = TestServer::start(vec![Reply::ok(r#"{"result":1}"#), Reply::ok(r#"{"result":2}"#)]);
        let location = format!("Location: {}\r\n", new.url("/whatever?x=1"));
        let old = TestServer::start(vec![Reply::status(302, &location, "<html>moved</html>")]);
        let client = client_of(&old);
        let executed = client.execute(&[get(5)]).await;
        assert_eq!(executed.results[0], Ok(json!(1)));
        assert_eq!(executed.observed.requests, 2);
        assert_eq!(executed.observed.moved_to, Some(new.url("")));
        let second = client.execute(&[get(6)]).await;
        assert_eq!((second.observed.requests, second.observed.moved_to), (1, None));
        let seen = new.requests();
        assert_eq!(seen[0].line(), format!("POST /rest/17/{SECRET}/disk.file.get.json HTTP/1.1"));
        assert_eq!(seen[0].json(), json!({"id": 5}));
        assert_eq!(seen[1].json(), json!({"id": 6}));
        assert_eq!(old.requests().len(), 1);
    }

    #[tokio::test]
    async fn a_redirect_to_nowhere_useful_is_not_followed() {
        for location in ["Location: http://elsewhere.example/\r\n", "Location: /auth/\r\n", ""] {
            let server = TestServer::start(vec![Reply::status(302, location, "<html>")]);
            let executed = client_of(&server).execute(&[get(5)]).await;
            let failure = executed.results[0].as_ref().unwrap_err();
            assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Transient, "http_302"));
            assert_eq!(executed.observed.moved_to, None);
        }
    }

    #[test]
    fn a_portal_behind_tls_cannot_lead_us_to_plain_http() {
        let http = HttpClient::new(&HttpSettings::default()).unwrap();
        let webhook = Secret::new(format!("https://portal.example/rest/17/{SECRET}/"));
        let client = Client::new(http, &webhook, None).unwrap();
        let led_to = |location: &str| {
            let answer = Answer { status: 302, location: Some(location.to_owned()), ..Answer::default() };
            client.new_place(&answer).map(|place| place.to_string())
        };
        assert_eq!(led_to("http://127.0.0.1:9090/"), None);
        assert_eq!(led_to("http://localhost/rest/"), None);
        assert_eq!(led_to("https://user@new.example/"), None);
        assert_eq!(led_to("https://new.example/rest/"), Some("https://new.example".to_owned()));
    }

    #[tokio::test]
    async fn a_rename_that_leads_in_a_circle_ends() {
        let third = TestServer::start(vec![]);
        let hop = format!("Location: {}\r\n", third.url("/"));
        let second = TestServer::start(vec![Reply::status(302, &hop, "")]);
        let hop = format!("Location: {}\r\n", second.url("/"));
        let first = TestServer::start(vec![Reply::status(302, &hop, "")]);
        let executed = client_of(&first).execute(&[get(5)]).await;
        assert_eq!(executed.results[0].as_ref().unwrap_err().code, "http_302");
        assert_eq!(executed.observed.requests, 2);
    }

    #[tokio::test]
    async fn limits_are_told_apart() {
        let server = TestServer::start(vec![
            Reply::status(503, "", r#"{"error":"QUERY_LIMIT_EXCEEDED"}"#),
            Reply::status(
                429,
                "",
                r#"{"error":"OPERATION_TIME_LIMIT","time":{"finish":10,"operating_reset_at":70}}"#,
            ),
            Reply::status(503, "", r#"{"error":"OVERLOAD_LIMIT"}"#),
        ]);
        let client = client_of(&server);
        let mut hits = Vec::new();
        for _ in 0..3 {
            let executed = client.execute(&[get(5), get(6)]).await;
            assert!(
                executed.results.iter().all(|r| r.as_ref().unwrap_err().class == FailureClass::Throttled)
            );
            hits.extend(executed.observed.limits);
        }
        let expected = vec![
            LimitHit::QueryRate { pause_ms: 10_000 },
            LimitHit::Operation { method: "batch".into(), pause_ms: 60_000 },
            LimitHit::Overload { pause_ms: 3_600_000 },
        ];
        assert_eq!(hits, expected);
    }

    #[tokio::test]
    async fn unknown_outcomes_are_ambiguous_and_nothing_shows_the_secret() {
        let echo = format!("<html>https://h/rest/17/{SECRET}/x?auth=tok3n</html>");
        let server = TestServer::start(vec![
            Reply::Close,
            Reply::hold(Duration::from_secs(2)),
            Reply::status(502, "", &echo),
            Reply::status(200, "", &echo),
            Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"result\":{\"ID\":"),
            Reply::ok(r#"{"result":{"ID":"#),
        ]);
        let client = client_of(&server);
        for kind in [
            FailureKind::NoAnswer,
            FailureKind::NoAnswer,
            FailureKind::ServerError,
            FailureKind::Garbled,
            FailureKind::NoAnswer,
            FailureKind::Garbled,
        ] {
            let executed = client.execute(&[get(5)]).await;
            let failure = executed.results[0].as_ref().unwrap_err();
            assert_eq!((failure.class, failure.kind), (FailureClass::Ambiguous, kind), "{failure:?}");
            let shown = format!("{failure:?} {client:?}");
            assert!(!shown.contains(SECRET) && !shown.contains("tok3n"), "{shown}");
        }
    }

    #[test]
    fn only_webhook_addresses_are_taken() {
        let http = HttpClient::new(&HttpSettings::default()).unwrap();
        let try_it = |text: &str, moved: Option<&str>| {
            Client::new(http.clone(), &Secret::new(text), moved).map(|client| client.origin().to_string())
        };
        assert_eq!(try_it("https://p.bitrix24.ru/rest/1/abc123/", None).unwrap(), "https://p.bitrix24.ru");
        assert_eq!(try_it("https://p.bitrix24.ru/rest/1/abc123", None).unwrap(), "https://p.bitrix24.ru");
        let moved = try_it("https://p.bitrix24.ru/rest/1/abc/", Some("https://new.bitrix24.ru"));
        assert_eq!(moved.unwrap(), "https://new.bitrix24.ru");
        for bad in [
            "https://p.bitrix24.ru/",
            "https://p.bitrix24.ru/rest/abc/1/",
            "https://p.bitrix24.ru/rest/1/",
            "https://p.bitrix24.ru/rest/1/abc/profile.json",
            "https://p.bitrix24.ru/rest/1/abc/?x=1",
            "http://p.bitrix24.ru/rest/1/abc/",
            "p.bitrix24.ru/rest/1/abc/",
        ] {
            let error = try_it(bad, None).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("abc"), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_method_name_cannot_leave_its_place_in_the_path() {
        let server = TestServer::start(vec![]);
        let call = Call::new("../../evil", json!({}));
        let executed = client_of(&server).execute(&[call]).await;
        assert!(executed.results[0].is_err());
        assert!(server.requests().is_empty());
    }

    /// Tokens `t0`, `t1`, …: each renewal gives the next.
    #[derive(Debug, Default)]
    struct Numbered {
        renewed: Mutex<Vec<(String, Stale)>>,
        moved: Mutex<Vec<String>>,
    }

    impl TokenSource for Numbered {
        fn access(&self) -> BoxFuture<'_, Result<Secret, Failure>> {
            let number = self.renewed.lock().unwrap().len();
            Box::pin(async move { Ok(Secret::new(format!("t{number}"))) })
        }
        fn instead_of<'a>(
            &'a self,
            refused: &'a Secret,
            why: Stale,
        ) -> BoxFuture<'a, Result<Secret, Failure>> {
            self.renewed.lock().unwrap().push((refused.expose().to_owned(), why));
            self.access()
        }
        fn moved(&self, to: &Origin) {
            self.moved.lock().unwrap().push(to.to_string());
        }
    }

    fn app_of(server: &TestServer, connector: Option<&str>) -> (Client, Arc<Numbered>) {
        let tokens = Arc::new(Numbered::default());
        let access = AppAccess { tokens: tokens.clone(), auth_connector: connector.map(str::to_owned) };
        let http = HttpClient::new(&HttpSettings::default()).unwrap();
        (Client::of_app(http, Origin::parse(&server.url("/")).unwrap(), access), tokens)
    }

    #[tokio::test]
    async fn an_application_sends_its_token_in_the_body_only() {
        let server = TestServer::start(vec![
            Reply::ok(r#"{"result":1}"#),
            Reply::ok(r#"{"result":{"result":{"c0":1,"c1":2}}}"#),
        ]);
        let (client, _) = app_of(&server, Some("edo"));
        client.execute(&[get(5)]).await.results.remove(0).unwrap();
        client.execute(&[get(5), Call::new("im.notify.system.add", json!({"USER_ID": 1}))]).await;
        let seen = server.requests();
        assert_eq!(seen[0].line(), "POST /rest/disk.file.get.json HTTP/1.1");
        assert_eq!(seen[0].json(), json!({"id": 5, "auth": "t0"}));
        let batch = seen[1].json();
        assert_eq!((batch["auth"].as_str(), batch["auth_connector"].as_str()), (Some("t0"), Some("edo")));
        assert_eq!(batch["cmd"]["c0"], "disk.file.get?id=5");
        let notice = batch["cmd"]["c1"].as_str().unwrap();
        assert!(notice.contains("auth_connector=edo") && !notice.contains("t0"), "{notice}");
    }

    #[tokio::test]
    async fn a_plan_without_connectors_gets_none() {
        let server =
            TestServer::start(vec![Reply::ok(r#"{"result":true}"#), Reply::ok(r#"{"result":true}"#)]);
        let (client, _) = app_of(&server, Some("edo"));
        let notice = || Call::new("im.notify.system.add", json!({"USER_ID": 1}));
        client.mark_own_changes(OwnMark::Withheld);
        client.execute(&[notice()]).await;
        client.mark_own_changes(OwnMark::Sent);
        client.execute(&[notice()]).await;
        let seen = server.requests();
        assert_eq!(seen[0].json(), json!({"USER_ID": 1, "auth": "t0"}));
        assert_eq!(seen[1].json()["auth_connector"], "edo");
    }

    #[tokio::test]
    async fn a_box_gets_its_own_parameter_once_with_each_request_and_nobody_else_does() {
        let elsewhere = TestServer::start(vec![Reply::ok(r#"{"result":1}"#)]);
        let location = format!("Location: {}\r\n", elsewhere.url("/login"));
        let server = TestServer::start(vec![
            Reply::ok(r#"{"result":1}"#),
            Reply::ok(r#"{"result":{"result":{"c0":1,"c1":2}}}"#),
            Reply::status(302, &location, "<html>log in</html>"),
            Reply::status(400, "", r#"{"error":"x","error_description":"got domain-7 wrong"}"#),
        ]);
        let (client, _) = app_of(&server, None);
        let extra = ExtraAuth { name: "auth_provider".into(), value: Secret::new("domain-7") };
        let client = client.with_extra_auth(Some(extra));
        assert_eq!(client.execute(&[get(5)]).await.results[0], Ok(json!(1)));
        client.execute(&[get(5), get(6)]).await;
        let led_away = client.execute(&[get(5)]).await;
        assert_eq!(led_away.results[0].as_ref().unwrap_err().code, "http_302");
        assert!(elsewhere.requests().is_empty(), "a sign-in page gets no secret of ours");
        let refused = client.execute(&[get(5)]).await;
        let shown = format!("{refused:?} {client:?}");
        assert!(!shown.contains("domain-7"), "{shown}");
        let seen = server.requests();
        assert_eq!(seen[0].json(), json!({"id": 5, "auth": "t0", "auth_provider": "domain-7"}));
        assert_eq!(seen[1].json()["auth_provider"], "domain-7");
        assert!(!seen[1].json()["cmd"].to_string().contains("domain-7"), "commands carry none");
    }

    #[test]
    fn plain_http_to_a_box_is_for_its_own_webhook_only() {
        let http = HttpClient::new(&HttpSettings::default()).unwrap();
        let webhook = Secret::new("http://box.corp.local/rest/1/abc123/");
        let of =
            |encryption, moved: Option<&str>| Client::of_webhook(http.clone(), &webhook, moved, encryption);
        assert!(of(Encryption::Required, None).is_err());
        let client = of(Encryption::DangerouslyWaived, None).unwrap();
        assert_eq!(client.origin().to_string(), "http://box.corp.local");
        assert!(of(Encryption::DangerouslyWaived, Some("http://other.corp.local")).is_err());
        let led_to = |location: &str| {
            let answer = Answer { status: 302, location: Some(location.to_owned()), ..Answer::default() };
            client.new_place(&answer).map(|place| place.to_string())
        };
        assert_eq!(led_to("http://other.corp.local/"), None);
        assert_eq!(led_to("https://box.corp.local/"), Some("https://box.corp.local".to_owned()));
    }

    #[tokio::test]
    async fn an_expired_token_is_renewed_once_and_the_call_repeated() {
        let server = TestServer::start(vec![
            Reply::status(401, "", r#"{"error":"expired_token"}"#),
            Reply::ok(r#"{"result":7}"#),
            Reply::status(401, "", r#"{"error":"EXPIRED_TOKEN"}"#),
            Reply::status(401, "", r#"{"error":"expired_token"}"#),
        ]);
        let (client, tokens) = app_of(&server, None);
        let executed = client.execute(&[get(5)]).await;
        assert_eq!(executed.results[0], Ok(json!(7)));
        assert_eq!(executed.observed.requests, 2);
        assert_eq!(server.requests()[1].json()["auth"], "t1");
        let failure = client.execute(&[get(5)]).await.results.remove(0).unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Auth, "expired_token"));
        assert_eq!(
            *tokens.renewed.lock().unwrap(),
            [("t0".into(), Stale::Expired), ("t1".into(), Stale::Expired)]
        );
    }

    #[tokio::test]
    async fn a_401_with_another_code_renews_nothing() {
        let codes = ["NO_AUTH_FOUND", "authorization_error", "METHOD_CONFIRM_WAITING", "PAYMENT_REQUIRED"];
        let reply = |code: &&str| Reply::status(401, "", &format!(r#"{{"error":"{code}"}}"#));
        let server = TestServer::start(codes.iter().map(reply).collect());
        let (client, tokens) = app_of(&server, None);
        for code in codes {
            let failure = client.execute(&[get(5)]).await.results.remove(0).unwrap_err();
            assert_eq!((failure.class, failure.code), (FailureClass::Auth, code.to_ascii_lowercase()));
        }
        assert!(tokens.renewed.lock().unwrap().is_empty());
        assert_eq!(server.requests().len(), codes.len());
    }

    #[tokio::test]
    async fn a_renamed_portal_is_told_to_whoever_keeps_the_installation() {
        let new = TestServer::start(vec![Reply::ok(r#"{"result":1}"#)]);
        let location = format!("Location: {}\r\n", new.url("/x"));
        let old = TestServer::start(vec![Reply::status(302, &location, "")]);
        let (client, tokens) = app_of(&old, None);
        assert_eq!(client.execute(&[get(5)]).await.results[0], Ok(json!(1)));
        assert_eq!(*tokens.moved.lock().unwrap(), [new.url("")]);
        assert_eq!(new.requests()[0].json()["auth"], "t0");
    }
}
