//! The authorisation server of Bitrix24: codes and refresh tokens become pairs, and a token from outside is checked.
//!
//! Sources: `settings/oauth/*.md`, `api-reference/common/system/app-info.md`, statuses from live tests of the official
//! SDKs. Always the OAuth host, never the portal: a box need not forward `/oauth/token/`. Only hosts of the
//! configuration are called, whatever a portal or a browser says. Secrets go in a form body; `app.info` alone is
//! documented as GET with the token in its query, on the vendor's own host.
//!
//! Errors come with any status (`wrong_client` with 200), so the key `error` decides.

use super::error;
use super::wire;
use crate::domain::{Failure, FailureClass, FailureKind, MemberId, Secret, Text};
use crate::providers::http_client::{Answer, HttpClient};
use crate::providers::redaction::Redactor;
use crate::providers::remote::{Nature, Remote};
use crate::providers::url_rules::{AllowedOrigins, Origin, UrlRefused, encode_segment};
use reqwest::Url;
use reqwest::header::ACCEPT;
use serde_json::Value;

/// Longest answer that is read; real ones have less than 2 KiB.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Longest token that is taken; real ones have 70 characters.
const TOKEN_BYTES_MAX: usize = 1_024;
/// Life of an access token where the answer names none, in seconds (`settings/oauth`).
const EXPIRES_S: u64 = 3_600;

/// What a refusal of the authorisation server means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The code or refresh token is used, too old or unknown: a person must authorise again.
    Grant,
    /// Our `client_id` or `client_secret` is wrong: the configuration must be mended.
    Client,
    /// The application is not installed at the portal any more.
    Removed,
    /// The paid time is over.
    Payment,
    /// The request itself is refused (`invalid_request`, a scope).
    Request,
    /// No usable answer: network, 5xx, HTML. Nothing is known.
    Unavailable,
}

/// A call of the authorisation server that gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OauthFailure {
    /// What it means.
    pub refusal: Refusal,
    /// In the terms of the rest of the house; never ambiguous, no secrets.
    pub failure: Box<Failure>,
}

/// A pair of tokens with what the server said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Sent with calls.
    pub access: Secret,
    /// Gives the next pair, once.
    pub refresh: Secret,
    /// Seconds that the access token lives.
    pub expires_in_s: u64,
    /// Whose portal it is for.
    pub member_id: MemberId,
}

/// What the authorisation server knows of an access token: the only trusted word on a token from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppInfo {
    /// Which application it is for.
    pub client_id: String,
    /// Which portal.
    pub member_id: MemberId,
    /// The portal's origin, from `install.client_endpoint`.
    pub portal: Origin,
    /// The user behind it.
    pub user_id: u64,
    /// What it may, lower case.
    pub scopes: Vec<String>,
    /// Version of the application at the portal.
    pub version: u32,
    /// `L`, `F`, `D`, `T`, `P`.
    pub plan: String,
    /// Whether the installation is finished: events and widgets work only then.
    pub is_installed: bool,
}

/// The application as the authorisation server knows it.
#[derive(Debug, Clone)]
pub struct ClientKeys {
    /// Public.
    pub client_id: String,
    /// Ours alone.
    pub client_secret: Secret,
}

/// Speaks with the authorisation servers for one application.
#[derive(Debug, Clone)]
pub struct OauthClient {
    http: HttpClient,
    keys: ClientKeys,
    hosts: Vec<Origin>,
    allowed: AllowedOrigins,
    redactor: Redactor,
}

impl OauthClient {
    /// For the application with `keys`, calling nothing but `hosts`.
    pub fn new(http: HttpClient, keys: ClientKeys, hosts: Vec<Origin>) -> Self {
        let redactor = Redactor::new([keys.client_secret.clone()]);
        let allowed = AllowedOrigins::new(hosts.iter().cloned());
        Self { http, keys, hosts, allowed, redactor }
    }

    /// Its `client_id`.
    pub fn client_id(&self) -> &str {
        &self.keys.client_id
    }

    /// The hosts of the configuration, in its order.
    pub fn hosts(&self) -> &[Origin] {
        &self.hosts
    }

    /// The host that `server_endpoint` or `server_domain` names, if it may be called.
    ///
    /// # Errors
    /// [`UrlRefused`]: a stranger's host, which must never see a token or our secret.
    pub fn host_of(&self, endpoint: &str) -> Result<Origin, UrlRefused> {
        let absolute =
            if endpoint.contains("://") { endpoint.to_owned() } else { self.with_scheme(endpoint) };
        let url = self.allowed.check(&absolute)?;
        Origin::of(&url).ok_or(UrlRefused::Unreadable)
    }

    /// `server_domain` comes without a scheme; plain http is meant only where the configuration has such a host.
    fn with_scheme(&self, host: &str) -> String {
        let plain = format!("http://{host}");
        let known = Origin::parse(&plain).is_ok_and(|origin| self.hosts.contains(&origin));
        if known { plain } else { format!("https://{host}") }
    }

    /// Where a person authorises the application: `https://PORTAL/oauth/authorize/?client_id=…&state=…`.
    pub fn authorize_url(&self, portal: &Origin, state: &str) -> String {
        let id = encode_segment(&self.keys.client_id);
        format!("{portal}/oauth/authorize/?client_id={id}&state={}", encode_segment(state))
    }

    /// Exchanges the code of a redirect (it lives 30 s).
    ///
    /// # Errors
    /// [`Refusal::Grant`] for a code that is used or too old.
    pub async fn exchange(&self, host: &Origin, code: &Secret) -> Result<Grant, OauthFailure> {
        self.grant(host, "authorization_code", "code", code).await
    }

    /// Exchanges a refresh token. The server forgets it at once: the new pair must be on disk before its first use.
    ///
    /// # Errors
    /// [`Refusal::Grant`] if it is used or too old; after [`Refusal::Unavailable`] it may have been used up all the same.
    pub async fn refresh(&self, host: &Origin, token: &Secret) -> Result<Grant, OauthFailure> {
        self.grant(host, "refresh_token", "refresh_token", token).await
    }

    async fn grant(
        &self,
        host: &Origin,
        grant_type: &str,
        name: &str,
        value: &Secret,
    ) -> Result<Grant, OauthFailure> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", grant_type)
            .append_pair("client_id", &self.keys.client_id)
            .append_pair("client_secret", self.keys.client_secret.expose())
            .append_pair(name, value.expose())
            .finish();
        let url = self.address(host, "/oauth/token/")?;
        let request = self
            .http
            .post(url)
            .header(ACCEPT, "application/json")
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let answer = self.http.exchange(request, ANSWER_BYTES_MAX).await.map_err(unreachable)?;
        self.grant_in(&answer)
    }

    /// What the answer to a token request gives.
    ///
    /// # Errors
    /// What it says went wrong, or that it is none.
    pub fn grant_in(&self, answer: &Answer) -> Result<Grant, OauthFailure> {
        let body = self.open(answer)?;
        grant_of(&body).ok_or_else(|| self.misshapen(answer))
    }

    /// Asks what an access token is worth: application, portal, user.
    ///
    /// # Errors
    /// [`Refusal::Client`] is what a dead token gets here (`invalid_client`), [`Refusal::Removed`] without the application.
    pub async fn app_info(&self, host: &Origin, access: &Secret) -> Result<AppInfo, OauthFailure> {
        let mut url = self.address(host, "/rest/app.info")?;
        url.query_pairs_mut().append_pair("auth", access.expose());
        let request = self.http.get(url).header(ACCEPT, "application/json");
        let answer = self.http.exchange(request, ANSWER_BYTES_MAX).await.map_err(unreachable)?;
        let body = self.open(&answer)?;
        wire::member(&body, "result").and_then(app_info_of).ok_or_else(|| self.misshapen(&answer))
    }

    fn address(&self, host: &Origin, path: &str) -> Result<Url, OauthFailure> {
        self.allowed.check(&format!("{host}{path}")).map_err(|refused| OauthFailure {
            refusal: Refusal::Request,
            failure: Remote::BitrixOauth.refused_url(&refused).into(),
        })
    }

    fn open(&self, answer: &Answer) -> Result<Value, OauthFailure> {
        let body = serde_json::from_slice::<Value>(&answer.body).ok().filter(Value::is_object);
        let Some(body) = body else { return Err(self.unreadable(answer)) };
        match wire::member(&body, "error").filter(|error| !error.is_null()) {
            Some(code) => Err(self.refused(answer, &error::code_of(code))),
            None if answer.is_success() => Ok(body),
            None => Err(self.unreadable(answer)),
        }
    }

    fn refused(&self, answer: &Answer, code: &str) -> OauthFailure {
        let refusal = match code {
            "invalid_grant" | "bad_verification_code" | "expired_token" => Refusal::Grant,
            "invalid_client" | "wrong_client" => Refusal::Client,
            "not_installed" | "application_not_found" | "error_oauth" => Refusal::Removed,
            "payment_required" => Refusal::Payment,
            "invalid_request" | "invalid_scope" | "insufficient_scope" => Refusal::Request,
            _ if answer.status >= 500 || answer.status == 429 => return self.unreadable(answer),
            _ => Refusal::Request,
        };
        let failure = refusal_failure(refusal, code).answer(&self.redactor.cut_bytes(&answer.body));
        OauthFailure { refusal, failure: failure.into() }
    }

    fn unreadable(&self, answer: &Answer) -> OauthFailure {
        let failure = match answer.status {
            500.. => Remote::BitrixOauth.server_error(answer.status),
            429 => Remote::BitrixOauth.throttled(429),
            _ => Remote::BitrixOauth.garbled("oauth_garbled"),
        };
        let failure = Nature::Read.judge(failure).answer(&self.redactor.cut_bytes(&answer.body));
        OauthFailure { refusal: Refusal::Unavailable, failure: failure.into() }
    }

    /// The body of a success may hold tokens, so none of it is shown.
    fn misshapen(&self, _: &Answer) -> OauthFailure {
        let failure = Nature::Read.judge(Remote::BitrixOauth.garbled("oauth_misshapen"));
        OauthFailure { refusal: Refusal::Unavailable, failure: failure.into() }
    }
}

fn unreachable(error: crate::providers::http_client::WireError) -> OauthFailure {
    let failure = error.failure(Remote::BitrixOauth, Nature::Read);
    OauthFailure { refusal: Refusal::Unavailable, failure: failure.into() }
}

fn token_at(map: &Value, name: &str) -> Option<Secret> {
    let text = wire::member(map, name).and_then(wire::filled)?;
    (text.len() <= TOKEN_BYTES_MAX).then(|| Secret::new(text))
}

/// The answer to a token request. `domain` in it is the OAuth host, and `client_endpoint` what it says: neither is
/// used, the portal's place comes from `app.info` and from redirects.
fn grant_of(body: &Value) -> Option<Grant> {
    let member_id: Result<MemberId, _> = wire::member(body, "member_id").and_then(wire::filled)?.parse();
    Some(Grant {
        access: token_at(body, "access_token")?,
        refresh: token_at(body, "refresh_token")?,
        expires_in_s: wire::member(body, "expires_in").and_then(wire::number).unwrap_or(EXPIRES_S),
        member_id: member_id.ok()?,
    })
}

fn app_info_of(result: &Value) -> Option<AppInfo> {
    let install = wire::member(result, "install")?;
    let text = |map, name| wire::member(map, name).and_then(wire::filled);
    let scopes = text(result, "scope").unwrap_or_default();
    Some(AppInfo {
        client_id: text(result, "client_id")?,
        member_id: text(install, "member_id")?.parse().ok()?,
        portal: Origin::parse(&text(install, "client_endpoint")?).ok()?,
        user_id: wire::member(result, "user_id").and_then(wire::id)?,
        scopes: scopes.split(',').map(|s| s.trim().to_ascii_lowercase()).filter(|s| !s.is_empty()).collect(),
        version: wire::member(install, "version").and_then(wire::number).unwrap_or(0).try_into().unwrap_or(0),
        plan: text(install, "status").unwrap_or_default(),
        is_installed: wire::member(install, "installed").and_then(wire::truth).unwrap_or(false),
    })
}

/// The sentences of this table are read by administrators of portals as well as by operators.
fn refusal_failure(refusal: Refusal, code: &str) -> Failure {
    let text = match refusal {
        Refusal::Grant => needs_authorisation(),
        Refusal::Client => Text::new(
            "Сервер авторизации Bitrix24 не знает наше приложение: сверьте client_id и client_secret с карточкой приложения и перезапустите службу.",
            "The Bitrix24 authorisation server does not know our application: compare client_id and client_secret with the application's card and restart the service.",
        ),
        Refusal::Removed => Text::new(
            "Приложение на портале удалено. Установите его заново.",
            "The application was removed from the portal. Install it again.",
        ),
        Refusal::Payment => Text::new(
            "Тариф или подписка портала закончились. Продлите их, работа продолжится сама.",
            "The portal's plan or subscription has ended. Renew it, work goes on by itself.",
        ),
        Refusal::Request | Refusal::Unavailable => Text::new(
            "Сервер авторизации Bitrix24 отказал. Причина в его ответе.",
            "The Bitrix24 authorisation server refused. Its answer says why.",
        ),
    };
    Failure::new(FailureClass::Auth, FailureKind::Credentials, code, text)
}

/// What the portal's administrator has to do when the tokens are dead for good.
pub fn needs_authorisation() -> Text {
    Text::new(
        "Доступ приложения к порталу устарел или утрачен. Администратор портала должен открыть приложение edobridge в Битрикс24 (левое меню → edobridge): доступ обновится сам, а работа, которая ждёт, продолжится.",
        "The application's access to the portal has ended or was lost. An administrator of the portal must open the edobridge application in Bitrix24 (left menu → edobridge): the access is renewed by that, and the work that waits goes on.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::http_client::HttpSettings;
    use crate::providers::test_server::{Reply, TestServer};

    fn client(server: &TestServer) -> (OauthClient, Origin) {
        let host = Origin::parse(&server.url("/")).unwrap();
        let keys = ClientKeys { client_id: "local.1".into(), client_secret: Secret::new("cl1entsecret") };
        let http = HttpClient::new(&HttpSettings::default()).unwrap();
        (OauthClient::new(http, keys, vec![host.clone()]), host)
    }

    const PAIR: &str = r#"{"access_token":"acc","refresh_token":"ref","expires_in":3600,"member_id":"m1",
        "domain":"oauth.bitrix.info","client_endpoint":"https://p.example/rest/"}"#;

    #[tokio::test]
    async fn a_refresh_is_a_form_that_keeps_secrets_out_of_the_address() {
        let server = TestServer::start(vec![Reply::ok(PAIR)]);
        let (client, host) = client(&server);
        let grant = client.refresh(&host, &Secret::new("old&token")).await.unwrap();
        assert_eq!(
            (grant.access.expose(), grant.refresh.expose(), grant.expires_in_s),
            ("acc", "ref", 3_600)
        );
        assert_eq!(grant.member_id.as_str(), "m1");
        let seen = server.requests().remove(0);
        assert_eq!(seen.line(), "POST /oauth/token/ HTTP/1.1");
        let body = String::from_utf8(seen.body).unwrap();
        assert_eq!(
            body,
            "grant_type=refresh_token&client_id=local.1&client_secret=cl1entsecret&refresh_token=old%26token"
        );
    }

    #[tokio::test]
    async fn every_documented_error_has_its_meaning_whatever_its_status() {
        let table = [
            (200, r#"{"error":"wrong_client"}"#, Refusal::Client),
            (400, r#"{"error":"invalid_client"}"#, Refusal::Client),
            (401, r#"{"error":"invalid_client"}"#, Refusal::Client),
            (400, r#"{"error":"invalid_grant","error_description":"ref cl1entsecret"}"#, Refusal::Grant),
            (400, r#"{"error":"bad_verification_code"}"#, Refusal::Grant),
            (400, r#"{"error":"invalid_request"}"#, Refusal::Request),
            (403, r#"{"error":"insufficient_scope"}"#, Refusal::Request),
            (401, r#"{"error":"NOT_INSTALLED"}"#, Refusal::Removed),
            (401, r#"{"error":"PAYMENT_REQUIRED"}"#, Refusal::Payment),
            (502, "<html>", Refusal::Unavailable),
            (200, "<html>", Refusal::Unavailable),
            (429, r#"{"error":"x"}"#, Refusal::Unavailable),
            (200, r#"{"access_token":"acc","member_id":"m1"}"#, Refusal::Unavailable),
        ];
        let server =
            TestServer::start(table.iter().map(|(s, body, _)| Reply::status(*s, "", body)).collect());
        let (client, host) = client(&server);
        for (status, body, refusal) in table {
            let refused = client.refresh(&host, &Secret::new("t")).await.unwrap_err();
            assert_eq!(refused.refusal, refusal, "{status} {body}");
            assert_ne!(refused.failure.class, FailureClass::Ambiguous, "{status} {body}");
            assert!(!format!("{refused:?}").contains("cl1entsecret"), "{status} {body}");
        }
    }

    #[tokio::test]
    async fn app_info_tells_application_portal_and_user() {
        let server = TestServer::start(vec![Reply::ok(
            r#"{"result":{"client_id":"local.1","scope":"crm,disk, IM","user_id":"7","install":{"installed":true,
            "version":"3","status":"L","member_id":"m1","domain":"p.example","client_endpoint":"https:\/\/p.example\/rest\/"}}}"#,
        )]);
        let (client, host) = client(&server);
        let info = client.app_info(&host, &Secret::new("acc")).await.unwrap();
        assert_eq!(info.scopes, ["crm", "disk", "im"]);
        assert_eq!((info.client_id.as_str(), info.user_id, info.version), ("local.1", 7, 3));
        assert_eq!((info.portal.to_string().as_str(), info.is_installed), ("https://p.example", true));
    }

    #[tokio::test]
    async fn a_host_that_nobody_configured_is_never_called() {
        let server = TestServer::start(vec![]);
        let (client, host) = client(&server);
        assert_eq!(client.host_of(&format!("{host}/rest/")).unwrap(), host);
        assert_eq!(client.host_of(host.to_string().strip_prefix("http://").unwrap()).unwrap(), host);
        for evil in
            ["https://evil.example/rest/", "evil.example", "https://oauth.bitrix.info.evil.example/", ""]
        {
            assert!(client.host_of(evil).is_err(), "{evil}");
        }
        let evil = Origin::parse("https://evil.example").unwrap();
        assert!(client.refresh(&evil, &Secret::new("t")).await.is_err());
        assert!(client.app_info(&evil, &Secret::new("t")).await.is_err());
        assert!(server.requests().is_empty());
    }
}
