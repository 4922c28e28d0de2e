//! Applications of the portal: what a vendor registered, what the portal installed, the tokens of both.
//! Source: `settings/oauth/*.md`, `settings/app-installation/**` of the Bitrix24 docs.
//!
//! Knows no HTTP and sends nothing; time is an argument.
//!
//! Invariants: a refresh token works once and its successor is made in the same step; a code works once; an
//! installation has one `application_token`; deleting or updating an application forgets all its bindings.

use crate::domain::Secret;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use url::Url;

/// Scopes that an application of the connector asks for.
const SCOPES: &[&str] = &["crm", "disk", "im", "user_brief", "bizproc", "placement", "pull"];
/// Tokens of each kind that are remembered: a hundred bursts of ten thousand events, tens of megabytes.
const TOKENS_MAX: usize = 1_000_000;

/// Where an application comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppKind {
    /// Made in the portal itself, for this portal only.
    Local,
    /// Installed from the Market.
    Market,
}

/// Whether an application has pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interface {
    /// It opens in a frame; it is installed when its page has called `BX24.installFinish()`.
    Pages,
    /// "Uses API only": the portal posts ONAPPINSTALL to the installation path, and it is installed at once.
    ApiOnly,
}

/// What the portal's owner has paid for; the letter goes over the wire as `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppStatus {
    /// `L`.
    Local,
    /// `F`.
    Free,
    /// `D`.
    Demo,
    /// `T`.
    Trial,
    /// `P`.
    Paid,
}

impl AppStatus {
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Local => "L",
            Self::Free => "F",
            Self::Demo => "D",
            Self::Trial => "T",
            Self::Paid => "P",
        }
    }
}

/// Whether the paid time of an application lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payment {
    /// It works.
    Current,
    /// Every call by its tokens, and every new token, is refused with `PAYMENT_REQUIRED`.
    Ended,
}

/// An application as its vendor registered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppSpec {
    /// `client_id`: `local.…` for a local one, `app.…` from the Market.
    pub client_id: String,
    /// `client_secret`.
    #[serde(with = "exposed")]
    pub client_secret: Secret,
    /// The code of the Market's page; a local application has its `client_id` here.
    pub code: String,
    /// Where it comes from.
    pub kind: AppKind,
    /// Whether it has pages.
    pub interface: Interface,
    /// Scopes that it asks for.
    pub scopes: Vec<String>,
    /// The main page.
    pub handler: Url,
    /// The installation page, or the address of ONAPPINSTALL for one without pages.
    pub install: Url,
    /// Where `/oauth/authorize/` sends the browser back to.
    pub redirect: Url,
    /// What the portal's owner has paid for.
    pub status: AppStatus,
}

/// A sandbox's secret may be read and written by its control plane.
mod exposed {
    use crate::domain::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(_: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

impl AppSpec {
    /// A local application with pages, served by edobridge at `base` under its documented paths.
    pub fn local(base: &Url) -> Self {
        let at = |path: &str| base.join(path).expect("a path joins every base that can be one");
        Self {
            client_id: "local.5a4db000000001.00000001".into(),
            client_secret: Secret::new("sandboxclientsecret"),
            code: "local.5a4db000000001.00000001".into(),
            kind: AppKind::Local,
            interface: Interface::Pages,
            scopes: SCOPES.iter().map(|scope| (*scope).to_owned()).collect(),
            handler: at("/bitrix/app"),
            install: at("/bitrix/install"),
            redirect: at("/bitrix/oauth"),
            status: AppStatus::Local,
        }
    }
    /// The same without pages: ONAPPINSTALL goes to the installation path.
    pub fn local_api_only(base: &Url) -> Self {
        Self { interface: Interface::ApiOnly, ..Self::local(base) }
    }
    /// An application of the Market with pages.
    pub fn market(base: &Url) -> Self {
        Self {
            client_id: "app.5a4db000000002.00000002".into(),
            code: "sandbox.edobridge".into(),
            kind: AppKind::Market,
            status: AppStatus::Free,
            ..Self::local(base)
        }
    }
    /// The scopes as the wire has them.
    pub(crate) fn scope_list(&self) -> String {
        self.scopes.join(",")
    }
}

/// Whether an event of a binding is posted or queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventType {
    Online,
    Offline,
}

/// One `event.bind`.
#[derive(Debug, Clone)]
pub(crate) struct EventBinding {
    pub(crate) id: u64,
    pub(crate) event: String,
    pub(crate) kind: EventType,
    /// Empty for an offline one.
    pub(crate) handler: String,
    pub(crate) auth_type: u64,
    /// `auth_connector`; empty: none.
    pub(crate) connector: String,
    /// `options[minTimeout]` of ONOFFLINEEVENT, in seconds.
    pub(crate) min_timeout_s: u64,
}

/// One `placement.bind`.
#[derive(Debug, Clone)]
pub(crate) struct PlacementBinding {
    pub(crate) placement: String,
    pub(crate) handler: String,
    pub(crate) title: String,
    pub(crate) user_id: u64,
}

/// One `bizproc.robot.add`.
#[derive(Debug, Clone)]
pub(crate) struct RobotBinding {
    pub(crate) code: String,
    pub(crate) handler: String,
    pub(crate) auth_user_id: u64,
    /// `Y`, `N`, or empty: waits (current docs).
    pub(crate) use_subscription: String,
    /// The registration as it was given, with names in capitals.
    pub(crate) given: serde_json::Value,
}

/// An application in this portal.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) application_token: Secret,
    pub(crate) version: u32,
    /// The administrator who installed it.
    pub(crate) user_id: u64,
    /// Whether `BX24.installFinish()` was called, or never needed to be.
    pub(crate) finished: bool,
    pub(crate) events: Vec<EventBinding>,
    pub(crate) placements: Vec<PlacementBinding>,
    pub(crate) robots: Vec<RobotBinding>,
}

impl Installation {
    fn new(user_id: u64, finished: bool) -> Self {
        Self {
            application_token: Secret::new(fresh_token()),
            version: 1,
            user_id,
            finished,
            events: Vec::new(),
            placements: Vec::new(),
            robots: Vec::new(),
        }
    }
    /// Forgets events, widgets and robots, as a portal does at an update.
    fn forget_bindings(&mut self) {
        self.events.clear();
        self.placements.clear();
        self.robots.clear();
    }
}

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) spec: AppSpec,
    pub(crate) payment: Payment,
    pub(crate) installation: Option<Installation>,
    /// Users to whom the application is not opened.
    pub(crate) closed_to: BTreeSet<u64>,
}

/// Whose token it is and how long it works.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) user_id: u64,
    pub(crate) until_ms: i64,
    pub(crate) state: GrantState,
    /// How often it was shown to the portal's REST, refused or not.
    pub(crate) uses: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrantState {
    Good,
    /// Used up (a refresh token or a code), or taken away.
    Spent,
}

impl Grant {
    pub(crate) fn is_good(&self, now_ms: i64) -> bool {
        self.state == GrantState::Good && now_ms < self.until_ms
    }
}

/// A fresh pair; the refresh token stays secret to whoever asked for it.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) access: Secret,
    pub(crate) refresh: Secret,
    pub(crate) user_id: u64,
    pub(crate) expires_ms: i64,
    pub(crate) expires_in_s: i64,
}

/// How long tokens and codes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLives {
    /// An access token; an hour on a portal.
    pub access: Duration,
    /// A refresh token; 180 days on a portal.
    pub refresh: Duration,
    /// A code; 30 seconds on a portal.
    pub code: Duration,
}

impl Default for TokenLives {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3_600);
        Self { access: Duration::from_secs(3_600), refresh: day * 180, code: Duration::from_secs(30) }
    }
}

fn ms(life: Duration) -> i64 {
    i64::try_from(life.as_millis()).unwrap_or(i64::MAX)
}

/// Why a token of the second kind or a code makes no pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotGranted;

/// All applications and all tokens.
#[derive(Debug, Default)]
pub(crate) struct Apps {
    pub(crate) all: BTreeMap<String, App>,
    pub(crate) lives: TokenLives,
    access: BTreeMap<String, Grant>,
    refresh: BTreeMap<String, Grant>,
    codes: BTreeMap<String, Grant>,
    /// The token that events of one application and user carry now.
    event_tokens: BTreeMap<(String, u64), Secret>,
    pub(crate) refreshes: u64,
}

impl Apps {
    /// Adds or replaces an application; a replaced one keeps its installation.
    pub(crate) fn register(&mut self, spec: AppSpec) {
        let before = self.all.remove(&spec.client_id);
        let (installation, payment, closed_to) = match before {
            Some(app) => (app.installation, app.payment, app.closed_to),
            None => (None, Payment::Current, BTreeSet::new()),
        };
        self.all.insert(spec.client_id.clone(), App { spec, payment, installation, closed_to });
    }

    pub(crate) fn installed(&self, client_id: &str) -> Option<(&AppSpec, &Installation)> {
        let app = self.all.get(client_id)?;
        app.installation.as_ref().map(|installation| (&app.spec, installation))
    }
    pub(crate) fn installed_mut(&mut self, client_id: &str) -> Option<&mut Installation> {
        self.all.get_mut(client_id)?.installation.as_mut()
    }

    /// Installs an application anew: without bindings, with a fresh `application_token`. `None` if unknown.
    pub(crate) fn install(&mut self, client_id: &str, user_id: u64, now_ms: i64) -> Option<Pair> {
        let app = self.all.get_mut(client_id)?;
        let finished = app.spec.interface == Interface::ApiOnly;
        app.installation = Some(Installation::new(user_id, finished));
        Some(self.grant(client_id, user_id, now_ms))
    }

    /// Updates an installed application: bindings gone, the page has to finish again. The old version number.
    pub(crate) fn update(&mut self, client_id: &str, application_token: NewToken) -> Option<u32> {
        let app = self.all.get_mut(client_id)?;
        let finished = app.spec.interface == Interface::ApiOnly;
        let installation = app.installation.as_mut()?;
        installation.forget_bindings();
        installation.finished = finished;
        installation.version += 1;
        if application_token == NewToken::Fresh {
            installation.application_token = Secret::new(fresh_token());
        }
        Some(installation.version - 1)
    }

    /// Removes an installation and makes its tokens useless.
    pub(crate) fn uninstall(&mut self, client_id: &str) -> Option<Installation> {
        let installation = self.all.get_mut(client_id)?.installation.take()?;
        let books = [&mut self.access, &mut self.refresh, &mut self.codes];
        for grant in books.into_iter().flat_map(|book| book.values_mut()) {
            if grant.client_id == client_id {
                grant.state = GrantState::Spent;
            }
        }
        self.event_tokens.retain(|(owner, _), _| owner != client_id);
        Some(installation)
    }

    /// Makes a pair for a user of an application.
    pub(crate) fn grant(&mut self, client_id: &str, user_id: u64, now_ms: i64) -> Pair {
        let access = self.access_token(client_id, user_id, now_ms);
        let refresh = fresh_token();
        let until_ms = now_ms.saturating_add(ms(self.lives.refresh));
        keep(&mut self.refresh, refresh.clone(), grant_of(client_id, user_id, until_ms));
        Pair {
            access,
            refresh: Secret::new(refresh),
            user_id,
            expires_ms: now_ms.saturating_add(ms(self.lives.access)),
            expires_in_s: ms(self.lives.access) / 1_000,
        }
    }

    fn access_token(&mut self, client_id: &str, user_id: u64, now_ms: i64) -> Secret {
        let token = fresh_token();
        let until_ms = now_ms.saturating_add(ms(self.lives.access));
        keep(&mut self.access, token.clone(), grant_of(client_id, user_id, until_ms));
        Secret::new(token)
    }

    /// The access token that an event carries: one is used for many, as long as it lives half its time yet.
    pub(crate) fn event_token(&mut self, client_id: &str, user_id: u64, now_ms: i64) -> (Secret, i64) {
        let key = (client_id.to_owned(), user_id);
        let half = ms(self.lives.access) / 2;
        if let Some(token) = self.event_tokens.get(&key)
            && let Some(grant) = self.access.get(token.expose())
            && grant.is_good(now_ms.saturating_add(half))
        {
            return (token.clone(), grant.until_ms);
        }
        let token = self.access_token(client_id, user_id, now_ms);
        self.event_tokens.insert(key, token.clone());
        (token, now_ms.saturating_add(ms(self.lives.access)))
    }

    /// Looks an access token up, and counts the use.
    pub(crate) fn show(&mut self, token: &str) -> Option<Grant> {
        let grant = self.access.get_mut(token)?;
        grant.uses += 1;
        Some(grant.clone())
    }
    /// Looks an access token up without counting: the OAuth server asks, not the portal.
    pub(crate) fn known(&self, token: &str) -> Option<&Grant> {
        self.access.get(token)
    }

    /// A code for the way back from `/oauth/authorize/`.
    pub(crate) fn code(&mut self, client_id: &str, user_id: u64, now_ms: i64) -> Secret {
        let code = fresh_token();
        let until_ms = now_ms.saturating_add(ms(self.lives.code));
        keep(&mut self.codes, code.clone(), grant_of(client_id, user_id, until_ms));
        Secret::new(code)
    }

    /// Spends a code.
    pub(crate) fn redeem(&mut self, client_id: &str, code: &str, now_ms: i64) -> Result<Pair, NotGranted> {
        let user_id = spend(&mut self.codes, client_id, code, now_ms)?;
        Ok(self.grant(client_id, user_id, now_ms))
    }

    /// Spends a refresh token and makes its successor. The old access token works until its end.
    pub(crate) fn refresh(&mut self, client_id: &str, token: &str, now_ms: i64) -> Result<Pair, NotGranted> {
        let user_id = spend(&mut self.refresh, client_id, token, now_ms)?;
        self.refreshes += 1;
        Ok(self.grant(client_id, user_id, now_ms))
    }

    /// Lets all access tokens expire now.
    pub(crate) fn expire_access(&mut self, now_ms: i64) {
        self.access.values_mut().for_each(|grant| grant.until_ms = grant.until_ms.min(now_ms));
    }
    /// Makes all access tokens unknown, as when the vendor resets them.
    pub(crate) fn forget_access(&mut self) {
        self.access.clear();
        self.event_tokens.clear();
    }
    /// Lets all refresh tokens expire now: a person has to authorise again.
    pub(crate) fn expire_refresh(&mut self, now_ms: i64) {
        self.refresh.values_mut().for_each(|grant| grant.until_ms = grant.until_ms.min(now_ms));
    }
    /// How often each access token was shown to the portal.
    pub(crate) fn uses(&self) -> BTreeMap<String, u64> {
        self.access.iter().filter(|(_, g)| g.uses > 0).map(|(token, g)| (token.clone(), g.uses)).collect()
    }
}

/// What becomes of the `application_token` at an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewToken {
    /// It stays.
    Same,
    /// It is another one from now on.
    Fresh,
}

fn grant_of(client_id: &str, user_id: u64, until_ms: i64) -> Grant {
    Grant { client_id: client_id.to_owned(), user_id, until_ms, state: GrantState::Good, uses: 0 }
}

fn keep(book: &mut BTreeMap<String, Grant>, token: String, grant: Grant) {
    if book.len() >= TOKENS_MAX {
        book.pop_first();
    }
    book.insert(token, grant);
}

fn spend(
    book: &mut BTreeMap<String, Grant>,
    client_id: &str,
    token: &str,
    now_ms: i64,
) -> Result<u64, NotGranted> {
    let grant = book.get_mut(token).ok_or(NotGranted)?;
    if grant.client_id != client_id || !grant.is_good(now_ms) {
        return Err(NotGranted);
    }
    grant.state = GrantState::Spent;
    Ok(grant.user_id)
}

/// As long as a portal's (70 characters in the docs' examples).
pub(crate) fn fresh_token() -> String {
    let part = || uuid::Uuid::new_v4().simple().to_string();
    format!("{}{}5a4db0", part(), part())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps() -> (Apps, String, Pair) {
        let base = "http://127.0.0.1:8080/".parse().expect("a URL");
        let spec = AppSpec::local(&base);
        let client = spec.client_id.clone();
        let mut apps = Apps::default();
        apps.register(spec);
        let pair = apps.install(&client, 1, 1_000).expect("it is registered");
        (apps, client, pair)
    }

    #[test]
    fn a_refresh_kills_the_old_refresh_token_and_leaves_the_access_token() {
        let (mut apps, client, old) = apps();
        let new = apps.refresh(&client, old.refresh.expose(), 2_000).expect("the token is good");
        assert_eq!(apps.refresh(&client, old.refresh.expose(), 2_001).err(), Some(NotGranted));
        assert!(apps.show(old.access.expose()).is_some_and(|grant| grant.is_good(3_000)));
        assert!(apps.show(new.access.expose()).is_some_and(|grant| grant.is_good(3_000)));
        assert_eq!(apps.refreshes, 1);
        apps.expire_access(3_000);
        assert!(apps.show(new.access.expose()).is_some_and(|grant| !grant.is_good(3_000)));
    }

    #[test]
    fn a_code_works_once_within_its_time_and_for_its_own_application() {
        let (mut apps, client, _) = apps();
        let (code, late) = (apps.code(&client, 1, 0), apps.code(&client, 1, 0));
        assert_eq!(apps.redeem("other", code.expose(), 1).err(), Some(NotGranted));
        assert!(apps.redeem(&client, code.expose(), 29_999).is_ok());
        assert_eq!(apps.redeem(&client, code.expose(), 29_999).err(), Some(NotGranted));
        assert_eq!(apps.redeem(&client, late.expose(), 30_000).err(), Some(NotGranted));
    }

    #[test]
    fn an_update_forgets_bindings_and_an_uninstall_makes_tokens_useless() {
        let (mut apps, client, pair) = apps();
        let installation = apps.installed_mut(&client).expect("installed");
        installation.finished = true;
        installation.placements.push(PlacementBinding {
            placement: "CRM_DEAL_DETAIL_TAB".into(),
            handler: String::new(),
            title: String::new(),
            user_id: 0,
        });
        let before = installation.application_token.clone();
        assert_eq!(apps.update(&client, NewToken::Fresh), Some(1));
        let after = apps.installed_mut(&client).expect("installed");
        assert!(after.placements.is_empty() && !after.finished && after.application_token != before);
        assert!(apps.uninstall(&client).is_some());
        assert!(apps.show(pair.access.expose()).is_some_and(|grant| !grant.is_good(1_001)));
        assert!(apps.refresh(&client, pair.refresh.expose(), 1_001).is_err());
    }
}
