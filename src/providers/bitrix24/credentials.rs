//! How a call proves itself: the secret path of an incoming webhook, or an application's access token.
//!
//! The token travels in the body as `auth`, never in an address (`settings/how-to-call-rest-api/authorization.md`).
//! Where tokens come from, and how they are renewed, is behind [`TokenSource`]; this file only says when a refusal is
//! a reason to renew: `expired_token`, and `invalid_token` once. Any other 401 is not.

use crate::domain::{Failure, Secret};
use crate::providers::spool_io::FramedFile;
use crate::providers::url_rules::Origin;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// Why a token is no good any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// Its hour is over.
    Expired,
    /// The portal does not know it (`invalid_token`): renewing may help, once.
    Unknown,
}

impl Stale {
    /// What a refusal says of the token; none if renewing it would not help.
    pub fn of(failure: &Failure) -> Option<Self> {
        match failure.code.as_str() {
            "expired_token" => Some(Self::Expired),
            "invalid_token" => Some(Self::Unknown),
            _ => None,
        }
    }
}

/// Keeps the tokens of one installation. Cheap to call; at most one renewal is under way at a time.
pub trait TokenSource: Send + Sync + fmt::Debug {
    /// The present access token.
    ///
    /// # Errors
    /// An [`Auth`](crate::domain::FailureClass::Auth) failure while an administrator has to authorise again.
    fn access(&self) -> BoxFuture<'_, Result<Secret, Failure>>;

    /// A token to use instead of `refused`: the present one if it is another already, else a renewed one, which is on
    /// disk when this returns.
    ///
    /// # Errors
    /// Never ambiguous: the call that was refused had no effect.
    fn instead_of<'a>(&'a self, refused: &'a Secret, why: Stale) -> BoxFuture<'a, Result<Secret, Failure>>;

    /// The portal answered at a new place.
    fn moved(&self, to: &Origin);
}

/// One access token that is not renewed: of a person whose browser brought it, to ask who that is.
#[derive(Debug, Clone)]
pub struct BorrowedToken(pub Secret);

impl TokenSource for BorrowedToken {
    fn access(&self) -> BoxFuture<'_, Result<Secret, Failure>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
    fn instead_of<'a>(&'a self, _: &'a Secret, _: Stale) -> BoxFuture<'a, Result<Secret, Failure>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
    fn moved(&self, _: &Origin) {}
}

/// What an application adds to its calls.
#[derive(Debug, Clone)]
pub struct AppAccess {
    /// Where its tokens are.
    pub tokens: Arc<dyn TokenSource>,
    /// `auth_connector` of every call that changes something, so that our own changes do not come back as offline
    /// events (`api-reference/events/offline-events.md`); none = not sent.
    pub auth_connector: Option<String>,
}

/// How a client proves itself.
#[derive(Debug)]
pub(super) enum Credentials {
    /// `rest/<user>/<secret>/`
    Webhook { path: Secret },
    /// An application.
    App(AppAccess),
}

impl Credentials {
    /// The path before the method's name.
    pub fn path(&self) -> &str {
        match self {
            Self::Webhook { path } => path.expose(),
            Self::App(_) => "rest/",
        }
    }

    /// The token to send, if this way in has one.
    pub async fn token(&self) -> Result<Option<Secret>, Failure> {
        match self {
            Self::Webhook { .. } => Ok(None),
            Self::App(app) => app.tokens.access().await.map(Some),
        }
    }

    /// A token for one more try after `failure`, if that may help.
    pub async fn after(&self, failure: &Failure, sent: Option<&Secret>) -> Option<Result<Secret, Failure>> {
        match (self, sent, Stale::of(failure)) {
            (Self::App(app), Some(sent), Some(why)) => Some(app.tokens.instead_of(sent, why).await),
            (Self::Webhook { .. } | Self::App(_), _, _) => None,
        }
    }

    /// The portal answered at a new place.
    pub fn moved(&self, to: &Origin) {
        if let Self::App(app) = self {
            app.tokens.moved(to);
        }
    }

    /// What goes into the parameters of a call of `method` besides its own.
    pub fn connector(&self, method: &str) -> Option<&str> {
        match self {
            Self::App(app) if changes_something(method) => app.auth_connector.as_deref(),
            Self::App(_) | Self::Webhook { .. } => None,
        }
    }
}

/// Last words of methods that only ask. `batch` is not among them: what is inside may change something.
const ASKING: [&str; 14] = [
    "get",
    "list",
    "fields",
    "current",
    "info",
    "profile",
    "scope",
    "methods",
    "events",
    "time",
    "admin",
    "getchildren",
    "getforapp",
    "instances",
];

/// Whether a method may change something at the portal.
pub fn changes_something(method: &str) -> bool {
    let last = method.rsplit('.').next().unwrap_or(method);
    !ASKING.iter().any(|word| word.eq_ignore_ascii_case(last))
}

/// A parameter that a box with its own token validator wants with each call.
#[derive(Debug, Clone)]
pub struct ExtraAuth {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

/// What goes into the body of a request besides the parameters of its call.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dress<'a> {
    /// `auth`.
    pub token: Option<&'a Secret>,
    /// `auth_connector`.
    pub connector: Option<&'a str>,
    /// For the box's own validator.
    pub extra: Option<&'a ExtraAuth>,
}

impl Dress<'_> {
    /// Whether there is nothing to add.
    pub fn is_empty(&self) -> bool {
        self.token.is_none() && self.connector.is_none() && self.extra.is_none()
    }
}

/// The parameters with `auth` and `auth_connector` in them; a connector that the call names by itself stays. Parameters that are no map cannot take any: they are sent
/// as they are, and the portal refuses them.
pub(super) fn dressed(params: &Value, dress: Dress<'_>) -> Value {
    let Dress { token, connector, extra } = dress;
    let mut params = match params {
        Value::Null => Value::Object(Map::new()),
        other => other.clone(),
    };
    if let Value::Object(map) = &mut params {
        if let Some(token) = token {
            map.insert("auth".to_owned(), Value::String(token.expose().to_owned()));
        }
        if let Some(connector) = connector
            && !map.contains_key("auth_connector")
        {
            map.insert("auth_connector".to_owned(), Value::String(connector.to_owned()));
        }
        if let Some(extra) = extra {
            map.insert(extra.name.clone(), Value::String(extra.value.expose().to_owned()));
        }
    }
    params
}

/// The same for a JSON text with a file in it, whose first byte is its opening brace.
pub(super) fn dressed_file(framed: &FramedFile, dress: Dress<'_>) -> FramedFile {
    let added = dressed(&Value::Null, dress).to_string();
    let inner = added.trim_start_matches('{').trim_end_matches('}');
    if inner.is_empty() {
        return framed.clone();
    }
    let rest = framed.prefix.strip_prefix(b"{").unwrap_or(&framed.prefix);
    let prefix = [b"{", inner.as_bytes(), b",", rest].concat();
    FramedFile { prefix: prefix.into(), ..framed.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_two_refusals_are_a_reason_to_renew() {
        use crate::providers::bitrix24::error::from_code;
        let of = |code| Stale::of(&from_code(401, code, None, ""));
        assert_eq!(of("expired_token"), Some(Stale::Expired));
        assert_eq!(of("invalid_token"), Some(Stale::Unknown));
        for code in [
            "no_auth_found",
            "authorization_error",
            "method_confirm_waiting",
            "payment_required",
            "application_not_found",
            "insufficient_scope",
            "",
        ] {
            assert_eq!(of(code), None, "{code}");
        }
    }

    #[test]
    fn what_changes_something_is_told_by_the_last_word() {
        for asking in ["disk.file.get", "crm.item.list", "disk.folder.getchildren", "profile", "app.info"] {
            assert!(!changes_something(asking), "{asking}");
        }
        for changing in ["crm.item.update", "disk.folder.uploadFile", "im.notify.system.add", "batch"] {
            assert!(changes_something(changing), "{changing}");
        }
    }

    #[test]
    fn the_token_goes_into_the_parameters() {
        let token = Secret::new("t0\"ken");
        let extra = ExtraAuth { name: "auth_provider".into(), value: Secret::new("ad") };
        let by_token = Dress { token: Some(&token), ..Dress::default() };
        let all = Dress { connector: Some("edobridge"), extra: Some(&extra), ..by_token };
        let sent = dressed(&json!({"id": 5}), all);
        let expected = json!({
            "id": 5, "auth": "t0\"ken", "auth_connector": "edobridge", "auth_provider": "ad"
        });
        assert_eq!(sent, expected);
        assert_eq!(dressed(&Value::Null, by_token), json!({"auth": "t0\"ken"}));
        assert_eq!(dressed(&json!({"id": 5}), Dress::default()), json!({"id": 5}));
        let own = dressed(&json!({"auth_connector": ""}), all);
        assert_eq!(own["auth_connector"], "", "a call that names its connector keeps it");
        assert!(!format!("{extra:?}").contains("ad\""), "{extra:?}");
    }
}
