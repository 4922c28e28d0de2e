//! What people do with applications: register, install, open, update, remove, pay; and what the portal then sends.
//! Source: `settings/app-installation/**`, `settings/app-uninstallation.md`, `api-reference/common/events/*.md`,
//! `settings/oauth/simple-way.md` of the Bitrix24 docs.
//!
//! Invariants: ONAPPINSTALL goes to the installation path of an application without pages only; the other lifecycle
//! events go to the handlers bound for them, and to that path; a frame carries a fresh pair of tokens every time.

use super::apps::{AppSpec, EventType, Interface, NewToken, Pair, Payment, TokenLives, fresh_token};
use super::events::{AppEvent, Auth};
use super::portal::{Confirmation, OWNER_ID};
use super::traits::FrameFields;
use super::wire::encode_form;
use crate::domain::Secret;
use crate::sandbox::front::Site;
use crate::sandbox::ledger::{Note, Side};
use crate::sandbox::world::{World, WorldError, now_ms};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use url::Url;

/// What an installation made, for whoever has to compare.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The portal's lasting id.
    pub member_id: String,
    /// An access token of the administrator who installed.
    pub access_token: Secret,
    /// Its refresh token.
    pub refresh_token: Secret,
    /// The token of its events.
    pub application_token: Secret,
}

/// Which page of an application is opened, and by whom.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameSpec {
    /// Whose browser it is.
    pub user_id: u64,
    /// `DEFAULT` for the main page (or the installation page, until it is installed), else a bound placement.
    pub placement: String,
    /// `PLACEMENT_OPTIONS`, as a tree.
    pub options: Value,
}

impl FrameSpec {
    /// The administrator opens the main page.
    pub fn main_page() -> Self {
        Self { user_id: OWNER_ID, placement: "DEFAULT".into(), options: json!({"any": "1"}) }
    }
    /// The administrator opens a widget of an item.
    pub fn widget(placement: impl Into<String>, options: Value) -> Self {
        Self { user_id: OWNER_ID, placement: placement.into(), options }
    }
}

/// The POST by which a portal fills a frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The page's address with the query that the portal adds.
    pub url: Url,
    /// The form.
    pub body: String,
    /// The access token in it.
    pub access_token: Secret,
}

/// What the page answered.
#[derive(Debug, Clone)]
pub struct FrameAnswer {
    /// HTTP status; 0 when nothing answered.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The page.
    pub body: String,
}

/// Whether the data of an application is to be deleted with it; goes over the wire as `CLEAN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clean {
    /// `1`.
    Everything,
    /// `0`: it may be installed again.
    Nothing,
}

/// What an application has bound, as a witness sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppView {
    /// Its `client_id`.
    pub client_id: String,
    /// Whether it is in the portal.
    pub installed: bool,
    /// Whether its installation was finished: events and widgets work.
    pub finished: bool,
    /// Counted by updates.
    pub version: u32,
    /// Bound online events with their handlers.
    pub events: Vec<(String, String)>,
    /// Bound offline events with their `auth_connector`.
    pub offline_events: Vec<(String, String)>,
    /// Widgets with their handlers.
    pub placements: Vec<(String, String)>,
    /// Codes of robots with their handlers.
    pub robots: Vec<(String, String)>,
}

fn missing(client_id: &str) -> WorldError {
    WorldError::Missing { what: "application", id: client_id.to_owned() }
}

/// Applications, as vendor, administrator and users use them.
impl World {
    /// Registers an application, or changes its registration.
    pub fn register_app(&self, spec: AppSpec) {
        self.with_portal(|portal| portal.apps.register(spec));
    }

    /// An administrator installs an application. One without pages gets ONAPPINSTALL and is installed; one with
    /// pages has to be opened and to finish: [`World::open_frame`] or [`World::finish_install`].
    ///
    /// # Errors
    ///
    /// No such application is registered.
    pub fn install_app(self: &Arc<Self>, client_id: &str) -> Result<Installed, WorldError> {
        let made = self.with_portal(|portal| {
            let pair = portal.apps.install(client_id, OWNER_ID, now_ms())?;
            let (spec, installation) = portal.apps.installed(client_id)?;
            let target = (spec.interface == Interface::ApiOnly).then(|| spec.install.clone());
            let installed = Installed {
                member_id: portal.member_id.clone(),
                access_token: pair.access.clone(),
                refresh_token: pair.refresh.clone(),
                application_token: installation.application_token.clone(),
            };
            Some((installed, pair, target))
        });
        let (installed, pair, target) = made.ok_or_else(|| missing(client_id))?;
        if let Some(target) = target {
            let data = json!({"VERSION": "1", "ACTIVE": "Y", "INSTALLED": "Y", "LANGUAGE_ID": "ru"});
            self.send_lifecycle(client_id, "ONAPPINSTALL", data, Auth::Pair(pair), vec![target.into()]);
        }
        Ok(installed)
    }

    /// The page has called `BX24.installFinish()`: from now on events are delivered and widgets shown.
    ///
    /// # Errors
    ///
    /// The application is not installed.
    pub fn finish_install(&self, client_id: &str) -> Result<(), WorldError> {
        self.with_portal(|portal| portal.apps.installed_mut(client_id).map(|found| found.finished = true))
            .ok_or_else(|| missing(client_id))
    }

    /// The vendor's new version: bindings vanish; ONAPPUPDATE goes out; one with pages has to finish again.
    ///
    /// # Errors
    ///
    /// The application is not installed.
    pub fn update_app(self: &Arc<Self>, client_id: &str, token: NewToken) -> Result<(), WorldError> {
        let targets = self.lifecycle_targets(client_id, "ONAPPUPDATE");
        let made = self.with_portal(|portal| {
            let before = portal.apps.update(client_id, token)?;
            let user_id = portal.apps.installed(client_id)?.1.user_id;
            Some((before, portal.apps.grant(client_id, user_id, now_ms())))
        });
        let (before, pair) = made.ok_or_else(|| missing(client_id))?;
        let (version, previous) = ((before + 1).to_string(), before.to_string());
        let data = json!({"VERSION": version, "PREVIOUS_VERSION": previous, "LANGUAGE_ID": "ru"});
        self.send_lifecycle(client_id, "ONAPPUPDATE", data, Auth::Pair(pair), targets);
        Ok(())
    }

    /// An administrator removes an application: its tokens are useless, ONAPPUNINSTALL goes out.
    ///
    /// # Errors
    ///
    /// The application is not installed.
    pub fn uninstall_app(self: &Arc<Self>, client_id: &str, clean: Clean) -> Result<(), WorldError> {
        let targets = self.lifecycle_targets(client_id, "ONAPPUNINSTALL");
        let gone = self.with_portal(|portal| {
            portal.offline.forget(client_id);
            portal.apps.uninstall(client_id)
        });
        let token = gone.ok_or_else(|| missing(client_id))?.application_token;
        let clean = match clean {
            Clean::Everything => 1,
            Clean::Nothing => 0,
        };
        let data = json!({"LANGUAGE_ID": "ru", "CLEAN": clean});
        self.send_lifecycle(client_id, "ONAPPUNINSTALL", data, Auth::Only(token), targets);
        Ok(())
    }

    /// The paid time ends or is paid again; ONAPPPAYMENT goes out, without any token, as the docs show it.
    ///
    /// # Errors
    ///
    /// The application is not installed.
    pub fn set_payment(self: &Arc<Self>, client_id: &str, payment: Payment) -> Result<(), WorldError> {
        let told = self.with_portal(|portal| {
            let app = portal.apps.all.get_mut(client_id)?;
            app.payment = payment;
            let version = app.installation.as_ref()?.version.to_string();
            let (expired, days) = match payment {
                Payment::Current => ("N", 30),
                Payment::Ended => ("Y", -1),
            };
            Some(json!({
                "CODE": app.spec.code, "VERSION": version, "STATUS": app.spec.status.letter(),
                "PAYMENT_EXPIRED": expired, "DAYS": days, "LANGUAGE_ID": "ru",
            }))
        });
        let data = told.ok_or_else(|| missing(client_id))?;
        let targets = self.lifecycle_targets(client_id, "ONAPPPAYMENT");
        self.send_lifecycle(client_id, "ONAPPPAYMENT", data, Auth::Nothing, targets);
        Ok(())
    }

    /// From now on a call of this method waits for an administrator's permission, token by token.
    pub fn guard_method(&self, method: &str) {
        self.with_portal(|portal| portal.guarded.insert(method.to_ascii_lowercase()));
    }

    /// The administrator answers every call of the method that waits; ONAPPMETHODCONFIRM goes out for each.
    ///
    /// # Errors
    ///
    /// Nobody waits for it.
    pub fn confirm_method(self: &Arc<Self>, method: &str, answer: Confirmation) -> Result<(), WorldError> {
        let method = method.to_ascii_lowercase();
        let asked = self.with_portal(|portal| portal.answer_confirmations(&method, answer));
        if asked.is_empty() {
            return Err(WorldError::Missing { what: "call that waits for permission", id: method });
        }
        for (client_id, token) in asked {
            let confirmed = u8::from(answer == Confirmation::Granted).to_string();
            let data = json!({"TOKEN": token, "METHOD": method, "CONFIRMED": confirmed, "LANGUAGE_ID": "ru"});
            let targets = self.lifecycle_targets(&client_id, "ONAPPMETHODCONFIRM");
            self.send_lifecycle(&client_id, "ONAPPMETHODCONFIRM", data, Auth::TokenOnly, targets);
        }
        Ok(())
    }

    /// The address that the application sends its administrator to, on the portal.
    pub fn authorize_url(&self, client_id: &str, state: &str) -> Url {
        let mut url = self.bitrix_url();
        url.set_path("/oauth/authorize/");
        url.query_pairs_mut().append_pair("client_id", client_id).append_pair("state", state);
        url
    }

    /// Closes or opens an application to a user.
    pub fn close_app_to(&self, client_id: &str, user_id: u64) {
        self.with_portal(|portal| {
            if let Some(app) = portal.apps.all.get_mut(client_id) {
                app.closed_to.insert(user_id);
            }
        });
    }

    /// Makes the POST that fills a frame, without sending it.
    ///
    /// # Errors
    ///
    /// The application is not installed, or has no such widget.
    pub fn frame(&self, client_id: &str, spec: &FrameSpec) -> Result<Frame, WorldError> {
        let origin = self.bitrix_origin();
        let oauth = self.origin(Site::OAuth).to_owned();
        self.with_portal(|portal| {
            let (app, installation) = portal.apps.installed(client_id)?;
            let widget = installation.placements.iter().find(|bound| bound.placement == spec.placement);
            let page: Url = match spec.placement.as_str() {
                "DEFAULT" if installation.finished => app.handler.clone(),
                "DEFAULT" => app.install.clone(),
                _ => widget.filter(|_| installation.finished)?.handler.parse().ok()?,
            };
            let (status, scope) = (app.status.letter(), app.scope_list());
            let token = installation.application_token.clone();
            let current = portal.traits.frame == FrameFields::Current;
            let since_2026 = |value: String| if current { Value::from(value) } else { Value::Null };
            let pair = portal.apps.grant(client_id, spec.user_id, now_ms());
            let body = encode_form(&[
                ("AUTH_ID", pair.access.expose().into()),
                ("AUTH_EXPIRES", pair.expires_in_s.into()),
                ("REFRESH_ID", pair.refresh.expose().into()),
                ("SERVER_ENDPOINT", since_2026(format!("{oauth}/rest/"))),
                ("APPLICATION_TOKEN", since_2026(token.expose().to_owned())),
                ("APPLICATION_SCOPE", since_2026(scope)),
                ("member_id", portal.member_id.clone().into()),
                ("status", status.into()),
                ("PLACEMENT", spec.placement.clone().into()),
                ("PLACEMENT_OPTIONS", php_json(&spec.options).into()),
            ]);
            Some(Frame { url: framed(page, &origin), body, access_token: pair.access })
        })
        .ok_or_else(|| missing(client_id))
    }

    /// Opens a frame as a browser does: sends it, and when the page of an unfinished installation calls
    /// `BX24.installFinish`, the installation is finished.
    ///
    /// # Errors
    ///
    /// As [`World::frame`].
    pub async fn open_frame(
        self: &Arc<Self>,
        client_id: &str,
        spec: &FrameSpec,
    ) -> Result<FrameAnswer, WorldError> {
        let frame = self.frame(client_id, spec)?;
        let (world, client_id) = (Arc::clone(self), client_id.to_owned());
        let (say, said) = tokio::sync::oneshot::channel();
        // In the sandbox's own thread: a pooled connection belongs to the runtime that opened it.
        drop(self.spawn(async move {
            let _ = say.send(post_frame(&world, &client_id, frame).await);
        }));
        let nothing = FrameAnswer { status: 0, headers: BTreeMap::new(), body: String::new() };
        Ok(said.await.unwrap_or(nothing))
    }

    fn lifecycle_targets(&self, client_id: &str, event: &str) -> Vec<LifecycleTarget> {
        self.with_portal(|portal| {
            let Some((spec, installation)) = portal.apps.installed(client_id) else { return Vec::new() };
            let bound =
                installation.events.iter().filter(|b| b.event == event && b.kind == EventType::Online);
            let mut targets: Vec<LifecycleTarget> = bound
                .filter_map(|b| {
                    Some(LifecycleTarget { url: b.handler.parse().ok()?, handler_id: Some(b.id) })
                })
                .collect();
            if spec.interface == Interface::ApiOnly && !targets.iter().any(|t| t.url == spec.install) {
                targets.push(spec.install.clone().into());
            }
            targets
        })
    }

    fn send_lifecycle(
        self: &Arc<Self>,
        client_id: &str,
        name: &str,
        data: Value,
        auth: Auth,
        targets: Vec<LifecycleTarget>,
    ) {
        for LifecycleTarget { url, handler_id } in targets {
            let event = AppEvent {
                client_id: client_id.to_owned(),
                name: name.to_owned(),
                data: data.clone(),
                handler_id,
                auth: auth.clone(),
                target: url,
            };
            let world = Arc::clone(self);
            drop(self.spawn(async move { super::events::send_to_app(&world, &event).await }));
        }
    }
}

struct LifecycleTarget {
    url: Url,
    handler_id: Option<u64>,
}

impl From<Url> for LifecycleTarget {
    fn from(url: Url) -> Self {
        Self { url, handler_id: None }
    }
}

/// JSON as PHP writes it into a form: slashes escaped.
fn php_json(value: &Value) -> String {
    value.to_string().replace('/', "\\/")
}

fn framed(mut page: Url, origin: &str) -> Url {
    let domain = origin.strip_prefix("http://").unwrap_or(origin);
    page.query_pairs_mut()
        .append_pair("DOMAIN", domain)
        .append_pair("PROTOCOL", "0")
        .append_pair("LANG", "ru")
        .append_pair("APP_SID", &fresh_token()[..32]);
    page
}

async fn post_frame(world: &Arc<World>, client_id: &str, frame: Frame) -> FrameAnswer {
    let request = world
        .http()
        .post(frame.url)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Referer", world.bitrix_url().as_str())
        .body(frame.body);
    let mut answer = FrameAnswer { status: 0, headers: BTreeMap::new(), body: String::new() };
    if let Ok(got) = request.send().await {
        answer.status = got.status().as_u16();
        let headers =
            got.headers().iter().filter_map(|(n, v)| Some((n.to_string(), v.to_str().ok()?.to_owned())));
        answer.headers = headers.collect();
        answer.body = got.text().await.unwrap_or_default();
    }
    let note = Note::read().fact("client_id", client_id);
    world.record(Side::Bitrix24, "frame", note, None, Some(answer.status).filter(|status| *status > 0));
    if answer.status == 200 && answer.body.contains("installFinish") {
        let _ = world.finish_install(client_id);
    }
    answer
}

/// Tokens and people, as a test turns them.
impl World {
    /// Sets how long tokens made from now on live.
    pub fn set_token_lives(&self, lives: TokenLives) {
        self.with_portal(|portal| portal.apps.lives = lives);
    }
    /// All access tokens expire now (`expired_token`).
    pub fn expire_tokens(&self) {
        self.with_portal(|portal| portal.apps.expire_access(now_ms()));
    }
    /// All access tokens become unknown (`invalid_token`).
    pub fn forget_tokens(&self) {
        self.with_portal(|portal| portal.apps.forget_access());
    }
    /// All refresh tokens expire now (`invalid_grant`): somebody has to authorise again.
    pub fn expire_refresh_tokens(&self) {
        self.with_portal(|portal| portal.apps.expire_refresh(now_ms()));
    }
    /// How many refreshes were granted since the start.
    pub fn refreshes(&self) -> u64 {
        self.with_portal(|portal| portal.apps.refreshes)
    }
    /// How often each access token was shown to the portal's REST, refused or not.
    pub fn token_uses(&self) -> BTreeMap<String, u64> {
        self.with_portal(|portal| portal.apps.uses())
    }
    /// A pair for a user, as if he had authorised the application.
    pub fn grant_tokens(&self, client_id: &str, user_id: u64) -> (Secret, Secret) {
        let Pair { access, refresh, .. } =
            self.with_portal(|portal| portal.apps.grant(client_id, user_id, now_ms()));
        (access, refresh)
    }
    /// What the registered applications have bound.
    pub fn apps(&self) -> Vec<AppView> {
        self.with_portal(|portal| portal.apps.all.values().map(app_view).collect())
    }
    /// The portal's lasting id.
    pub fn member_id(&self) -> String {
        self.with_portal(|portal| portal.member_id.clone())
    }
    /// `http://host:port/` of the authorisation server.
    pub fn oauth_url(&self) -> Url {
        self.site_url(Site::OAuth)
    }
}

fn app_view(app: &super::apps::App) -> AppView {
    let mut view = AppView {
        client_id: app.spec.client_id.clone(),
        installed: app.installation.is_some(),
        finished: false,
        version: 0,
        events: Vec::new(),
        offline_events: Vec::new(),
        placements: Vec::new(),
        robots: Vec::new(),
    };
    let Some(found) = &app.installation else { return view };
    view.finished = found.finished;
    view.version = found.version;
    for binding in &found.events {
        match binding.kind {
            EventType::Online => view.events.push((binding.event.clone(), binding.handler.clone())),
            EventType::Offline => {
                view.offline_events.push((binding.event.clone(), binding.connector.clone()));
            }
        }
    }
    view.placements = found.placements.iter().map(|b| (b.placement.clone(), b.handler.clone())).collect();
    view.robots = found.robots.iter().map(|b| (b.code.clone(), b.handler.clone())).collect();
    view
}
