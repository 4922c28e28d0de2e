//! Events of the portal, as an outgoing webhook and as applications get them.
//! Source: `api-reference/events/{index,event-bind}.md` of the Bitrix24 docs.
//!
//! Knows nothing of what the receiver does with them.
//!
//! Invariants: the body is PHP's bracket form with encoded brackets, all scalars text; a webhook's `auth` has
//! exactly five members; every event is sent once and never again, whatever the answer; an application that has
//! not finished its installation gets none.

use super::apps::{EventType, Pair};
use super::portal::OWNER_ID;
use super::wire::encode_form;
use crate::domain::Secret;
use crate::sandbox::faults::FaultKind;
use crate::sandbox::front::{Site, pause};
use crate::sandbox::ledger::{Note, Side};
use crate::sandbox::world::{World, now_ms};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The portal's lasting id, as `auth[member_id]` carries it, unless the options give another.
pub const MEMBER_ID: &str = "5a4dbc0000000000000000000000b024";
/// Number of the outgoing webhook.
const HANDLER_ID: u32 = 975;
/// How the sender of the platform names itself (third-party log).
const USER_AGENT: &str = "Bitrix24 Webhook Engine";
/// Events that no outgoing webhook can get, only an application that has bound them.
const APPLICATIONS_ONLY: &[&str] = &["ONCRMDEALMOVETOCATEGORY", "ONOFFLINEEVENT"];

/// Who made the change that an event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A person: events of applications carry an access token of this user.
    User(u64),
    /// A robot, a workflow or an agent: events carry no tokens.
    Automation,
}

/// An event to be sent.
#[derive(Debug, Clone)]
pub struct EventSpec {
    /// Upper-case name, `ONCRMDEALUPDATE`.
    pub name: String,
    /// What stands under `data`; an empty map is not sent at all.
    pub data: Value,
    /// How often it is sent: two subscriptions make two calls.
    pub copies: u32,
    /// How long it lies in the platform's queue.
    pub delay: Duration,
    /// Another `auth[application_token]` than the portal's own, for a forged event of the outgoing webhook.
    pub application_token: Option<Secret>,
    /// Who made the change.
    pub by: Actor,
    /// `auth_connector` of the call that made the change: offline queues of that key are not told.
    pub connector: String,
}

impl EventSpec {
    /// An event sent once, at once, with the portal's own token, of a change by the administrator.
    pub fn new(name: impl Into<String>, data: Value) -> Self {
        Self {
            name: name.into(),
            data,
            copies: 1,
            delay: Duration::ZERO,
            application_token: None,
            by: Actor::User(OWNER_ID),
            connector: String::new(),
        }
    }
    /// The same of a change by a robot or a workflow: without tokens.
    #[must_use]
    pub fn by_automation(mut self) -> Self {
        self.by = Actor::Automation;
        self
    }
}

/// What stands in `auth` of an event of an application, beside the portal's name.
#[derive(Debug, Clone)]
pub(crate) enum Auth {
    /// An access token of this user.
    User(u64),
    /// A whole pair.
    Pair(Pair),
    /// The `application_token` of the installation, no others.
    TokenOnly,
    /// This `application_token`: the installation is gone already.
    Only(Secret),
    /// No token of any kind.
    Nothing,
}

/// An event on its way to one handler of an application.
#[derive(Debug, Clone)]
pub(crate) struct AppEvent {
    pub(crate) client_id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
    pub(crate) handler_id: Option<u64>,
    pub(crate) auth: Auth,
    pub(crate) target: Url,
}

/// The members of `auth`, in the order of the wire.
pub(crate) type AuthMembers = Vec<(&'static str, Value)>;

impl World {
    /// The body of an event of the outgoing webhook, byte for byte.
    pub fn event_body(&self, event: &EventSpec) -> String {
        let origin = self.bitrix_origin();
        let domain = origin.strip_prefix("http://").unwrap_or(&origin);
        let token = event.application_token.as_ref().unwrap_or(self.application_token());
        encode_form(&[
            ("event", event.name.clone().into()),
            ("event_handler_id", HANDLER_ID.into()),
            ("data", event.data.clone()),
            ("ts", (now_ms() / 1_000).into()),
            ("auth[domain]", domain.into()),
            ("auth[client_endpoint]", format!("{origin}/rest/").into()),
            ("auth[server_endpoint]", format!("{}/rest/", self.origin(Site::OAuth)).into()),
            ("auth[member_id]", self.member_id().into()),
            ("auth[application_token]", token.expose().into()),
        ])
    }

    /// The `auth` of whatever the portal posts to an application: events, robots.
    pub(crate) fn auth_members(&self, client_id: &str, auth: &Auth) -> AuthMembers {
        let origin = self.bitrix_origin();
        let domain = origin.strip_prefix("http://").unwrap_or(&origin).to_owned();
        let server = format!("{}/rest/", self.origin(Site::OAuth));
        self.with_portal(|portal| {
            let now = now_ms();
            let tokens = match auth {
                Auth::User(user_id) => {
                    let (token, until) = portal.apps.event_token(client_id, *user_id, now);
                    Some((*user_id, token, until, Value::Null))
                }
                Auth::Pair(pair) => {
                    let refresh = pair.refresh.expose().into();
                    Some((pair.user_id, pair.access.clone(), pair.expires_ms, refresh))
                }
                Auth::TokenOnly | Auth::Only(_) | Auth::Nothing => None,
            };
            let spec = portal.apps.all.get(client_id).map(|app| &app.spec);
            let installation = portal.apps.installed(client_id).map(|(_, installation)| installation);
            let own = installation.map(|found| found.application_token.expose().into());
            let application_token: Value = match auth {
                Auth::Only(token) => token.expose().into(),
                Auth::Nothing => Value::Null,
                Auth::User(_) | Auth::Pair(_) | Auth::TokenOnly => own.unwrap_or_default(),
            };
            let mut members = Vec::new();
            let (mut status, mut ends) = (Value::Null, Vec::new());
            if let Some((user_id, access, until, refresh)) = tokens {
                members.push(("auth[access_token]", access.expose().into()));
                members.push(("auth[expires]", (until / 1_000).into()));
                members.push(("auth[expires_in]", ((until - now) / 1_000).into()));
                members.push(("auth[scope]", spec.map(|s| s.scope_list()).unwrap_or_default().into()));
                status = spec.map_or("L", |s| s.status.letter()).into();
                ends.push(("auth[user_id]", user_id.into()));
                ends.push(("auth[refresh_token]", refresh));
            }
            members.push(("auth[domain]", domain.into()));
            members.push(("auth[server_endpoint]", server.into()));
            members.push(("auth[status]", status));
            members.push(("auth[client_endpoint]", format!("{origin}/rest/").into()));
            members.push(("auth[member_id]", portal.member_id.clone().into()));
            members.extend(ends);
            members.push(("auth[application_token]", application_token));
            members
        })
    }

    /// Sends an event to the outgoing webhook's address and to every application that has bound it, and puts it
    /// into the offline queues. Without a receiver it is lost, as on a portal.
    pub fn fire(self: &Arc<Self>, event: EventSpec) {
        self.queue_offline(&event);
        let world = Arc::clone(self);
        let handlers = self.handlers_of(&event);
        drop(self.spawn(async move {
            tokio::time::sleep(event.delay).await;
            for _ in 0..event.copies {
                let to_apps = join_all(handlers.iter().map(|one| send_to_app(&world, one)));
                tokio::join!(send(&world, &event), to_apps);
            }
        }));
    }

    /// Sends the event of a new file.
    pub fn fire_file_added(self: &Arc<Self>, file_id: u64) {
        self.fire(EventSpec::new("ONDISKFILEADD", json!({"FIELDS": {"ID": file_id}})));
    }

    /// The next events, however many receivers each has, are never delivered: a queue server that is down, or
    /// closed to this portal. Offline queues are not touched.
    pub fn lose_events(&self, deliveries: u32) {
        self.with_portal(|portal| portal.events_to_lose = deliveries);
    }

    fn loses_this_one(&self) -> bool {
        self.with_portal(|portal| {
            let lost = portal.events_to_lose > 0;
            portal.events_to_lose = portal.events_to_lose.saturating_sub(1);
            lost
        })
    }

    /// One delivery for each online binding of the event.
    fn handlers_of(&self, event: &EventSpec) -> Vec<AppEvent> {
        self.with_portal(|portal| {
            let installed =
                portal.apps.all.values().filter_map(|app| Some((app, app.installation.as_ref()?)));
            let finished = installed.filter(|(_, installation)| installation.finished);
            let bound =
                finished.flat_map(|(app, installation)| installation.events.iter().map(move |b| (app, b)));
            let meant = bound.filter(|(_, b)| b.kind == EventType::Online && fits(&b.event, event));
            let made = meant.filter_map(|(app, b)| {
                let auth = match event.by {
                    Actor::User(id) => Auth::User(if b.auth_type == 0 { id } else { b.auth_type }),
                    Actor::Automation => Auth::TokenOnly,
                };
                Some(AppEvent {
                    client_id: app.spec.client_id.clone(),
                    // What stands in the body of an event bound for one smart process is not documented: the
                    // bound name is sent.
                    name: b.event.clone(),
                    data: event.data.clone(),
                    handler_id: Some(b.id),
                    auth,
                    target: b.handler.parse().ok()?,
                })
            });
            made.collect()
        })
    }
}

/// Whether a bound name means this event: the name itself, or with the number of the smart process.
pub(crate) fn fits(bound: &str, event: &EventSpec) -> bool {
    let suffix = bound.strip_prefix(event.name.as_str()).map(|rest| rest.trim_start_matches('_'));
    match suffix {
        None => false,
        Some("") => true,
        Some(number) => {
            let entity_type = &event.data["FIELDS"]["ENTITY_TYPE_ID"];
            super::rows::text(entity_type) == number
        }
    }
}

async fn send(world: &Arc<World>, event: &EventSpec) {
    let note = Note::read().fact("event", event.name.clone()).fact("data", event.data.clone());
    let Some(target) = world.event_target() else { return };
    if APPLICATIONS_ONLY.contains(&event.name.as_str()) {
        return;
    }
    deliver(world, "event", note, target, || world.event_body(event)).await;
}

/// Sends one event to one handler of an application.
pub(crate) async fn send_to_app(world: &Arc<World>, event: &AppEvent) {
    let shown = if event.name == "ONAPPMETHODCONFIRM" { Value::Null } else { event.data.clone() };
    let note = Note::read()
        .fact("event", event.name.clone())
        .fact("data", shown)
        .fact("client_id", event.client_id.clone());
    let body = || {
        let mut members = vec![
            ("event", event.name.clone().into()),
            ("event_handler_id", event.handler_id.map_or(Value::Null, Value::from)),
            ("data", event.data.clone()),
            ("ts", (now_ms() / 1_000).into()),
        ];
        members.extend(world.auth_members(&event.client_id, &event.auth));
        encode_form(&members)
    };
    deliver(world, "event", note, event.target.clone(), body).await;
}

/// Calls that the queue server has under way at once. The real number is not documented; without one, a bulk edit
/// of ten thousand items would open as many sockets.
pub(crate) const QUEUE_CALLS_MAX: usize = 64;

/// Posts a form once, as the platform's queue server does, with what a fault makes of it.
pub(crate) async fn deliver(
    world: &Arc<World>,
    call: &'static str,
    note: Note,
    target: Url,
    body: impl Fn() -> String,
) {
    if call == "event" && world.loses_this_one() {
        return world.record(Side::Bitrix24, call, note.fact("lost", true), None, None);
    }
    let fault = world.strike(call);
    if matches!(fault, Some(FaultKind::Refuse | FaultKind::CutBefore)) {
        return world.record(Side::Bitrix24, call, note, fault.as_ref(), None);
    }
    if let Some(FaultKind::Slow(ms) | FaultKind::SlowBefore(ms)) = fault {
        pause(ms).await;
    }
    let times = if fault == Some(FaultKind::Duplicate) { 2 } else { 1 };
    for _ in 0..times {
        let Ok(_turn) = world.queue().acquire().await else { return };
        let posted = world
            .http()
            .post(target.clone())
            .header("User-Agent", USER_AGENT)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body())
            .send()
            .await;
        let status = posted.ok().map(|answer| answer.status().as_u16());
        world.record(Side::Bitrix24, call, note.clone(), fault.as_ref(), status);
    }
}
