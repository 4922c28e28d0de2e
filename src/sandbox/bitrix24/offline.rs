//! The queue of offline events: `event.offline.*`, and ONOFFLINEEVENT that tells of it.
//! Source: `api-reference/events/{offline-events,event-offline-*,on-offline-event}.md` of the Bitrix24 docs.
//!
//! Invariants: one row for one object and event, with the last time, unless the earlier row is reserved; a row is in
//! the queue of its application and `auth_connector` and is seen with that key only; a change made by a call with the
//! key of a queue is not put there; a row given out with `clear=1` is gone.

use super::access::Caller;
use super::apps::EventType;
use super::bindings::{access_denied, given, given_value};
use super::events::{Actor, AppEvent, Auth, EventSpec, fits, send_to_app};
use super::portal::Portal;
use super::rows::{self, text};
use super::wire::{Answer, MethodError, date};
use super::{Ctx, Outcome};
use crate::sandbox::ledger::Note;
use crate::sandbox::world::{World, now_ms};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Rows that wait at most: a client that never reads must not fill the memory.
const ROWS_MAX: usize = 200_000;
/// Rows of one answer when `limit` says nothing, and at most.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 1_000;

/// All queues of the portal.
#[derive(Debug, Default)]
pub(crate) struct OfflineQueue {
    rows: BTreeMap<u64, Row>,
    /// The last row of each object and event, by application, key, name and data: it may be gone already.
    last: BTreeMap<(String, String, String, String), u64>,
    next_id: u64,
    /// When ONOFFLINEEVENT went out last and whether one is on its way, by binding.
    wakes: BTreeMap<u64, Wake>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Wake {
    last_ms: i64,
    pending: bool,
}

#[derive(Debug, Clone)]
struct Row {
    client_id: String,
    connector: String,
    event: String,
    data: Value,
    by: Actor,
    message_id: String,
    at_ms: i64,
    process_id: Option<String>,
    marked: Marked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marked {
    Fine,
    Failed,
}

/// A row of an offline queue, as a witness sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfflineRowView {
    /// Its number.
    pub id: u64,
    /// Whose queue.
    pub client_id: String,
    /// The queue's `auth_connector`; empty: none.
    pub connector: String,
    /// Upper-case name.
    pub event: String,
    /// The `process_id` that has it reserved.
    pub reserved_by: Option<String>,
    /// Whether it was given back by `event.offline.error`.
    pub failed: bool,
}

impl OfflineQueue {
    fn put(&mut self, client_id: &str, connector: &str, event: &EventSpec, now_ms: i64) {
        let key = (client_id.to_owned(), connector.to_owned(), event.name.clone(), event.data.to_string());
        let row = self.last.get(&key).and_then(|id| self.rows.get_mut(id));
        if let Some(row) = row.filter(|row| row.process_id.is_none() && row.marked == Marked::Fine) {
            row.at_ms = now_ms;
            return;
        }
        if self.rows.len() >= ROWS_MAX {
            self.rows.pop_first();
        }
        if self.last.len() >= ROWS_MAX {
            self.last.clear();
        }
        self.next_id += 1;
        self.last.insert(key, self.next_id);
        let row = Row {
            client_id: client_id.to_owned(),
            connector: connector.to_owned(),
            event: event.name.clone(),
            data: event.data.clone(),
            by: event.by,
            message_id: uuid::Uuid::new_v4().simple().to_string(),
            at_ms: now_ms,
            process_id: None,
            marked: Marked::Fine,
        };
        self.rows.insert(self.next_id, row);
    }

    fn of<'a>(&'a self, client_id: &'a str, connector: &'a str) -> impl Iterator<Item = (u64, &'a Row)> {
        let own = move |row: &Row| row.client_id == client_id && row.connector == connector;
        self.rows.iter().filter(move |(_, row)| own(row)).map(|(id, row)| (*id, row))
    }

    /// Forgets the queues of an application that was removed.
    pub(crate) fn forget(&mut self, client_id: &str) {
        self.rows.retain(|_, row| row.client_id != client_id);
    }
}

impl Row {
    fn to_json(&self, id: u64) -> Map<String, Value> {
        let additional = match self.by {
            Actor::User(user_id) => json!({"user_id": user_id.to_string()}),
            // Nothing is `false` here, not an empty map.
            Actor::Automation => false.into(),
        };
        let empty = self.data.as_object().is_none_or(Map::is_empty);
        let row = json!({
            "ID": id.to_string(), "TIMESTAMP_X": date(self.at_ms), "EVENT_NAME": self.event,
            "EVENT_DATA": if empty { false.into() } else { texts(&self.data) },
            "EVENT_ADDITIONAL": additional, "MESSAGE_ID": self.message_id,
        });
        row.as_object().cloned().unwrap_or_default()
    }
}

/// The same tree with all scalars as text.
fn texts(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(name, inner)| (name.clone(), texts(inner))).collect(),
        Value::Array(list) => list.iter().map(texts).collect(),
        scalar => text(scalar).into(),
    }
}

/// Who asks: an administrator's application, and the queue's key.
fn asked(ctx: &Ctx<'_>) -> Result<(String, String), MethodError> {
    let Caller::App(app) = &ctx.caller else { return Err(super::methods::wrong_auth_type()) };
    ctx.must_be_admin()?;
    let connector = ctx.connector.clone();
    if !connector.is_empty() && !ctx.portal.traits.has_feature("rest_auth_connector") {
        return Err(not_in_plan());
    }
    Ok((app.client_id.clone(), connector))
}

/// What a portal answers on a plan without the feature is not documented; it is refused, so that nobody relies on it.
fn not_in_plan() -> MethodError {
    MethodError::new(403, "ACCESS_DENIED", "The feature is not available on the portal's plan")
}

/// Refuses a key of an offline binding on a plan without it.
pub(crate) fn connector_allowed(ctx: &Ctx<'_>, connector: &str) -> Result<(), MethodError> {
    let allowed = connector.is_empty() || ctx.portal.traits.has_feature("rest_auth_connector");
    if allowed { Ok(()) } else { Err(not_in_plan()) }
}

pub(crate) fn get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let (client_id, connector) = asked(ctx)?;
    let clear = given_value(params, "clear").is_none_or(super::drive::truthy);
    if !clear && !ctx.portal.traits.has_feature("rest_offline_extended") {
        return Err(not_in_plan());
    }
    let process = Some(given(params, "process_id")).filter(|id| !id.is_empty());
    let failed = given_value(params, "error").is_some_and(super::drive::truthy);
    let limit = given(params, "limit").parse().unwrap_or(LIMIT).min(LIMIT_MAX);
    let wanted = |row: &Row| match (&process, failed) {
        (Some(process), _) => row.process_id.as_ref() == Some(process),
        (None, true) => row.marked == Marked::Failed,
        (None, false) => row.process_id.is_none() && row.marked == Marked::Fine,
    };
    let queue = &mut ctx.portal.offline;
    let rows = queue.of(&client_id, &connector).filter(|(_, row)| wanted(row));
    let rows = rows::arranged(rows.map(|(id, row)| row.to_json(id)).collect(), params, "ID")?;
    let rows: Vec<_> = rows.into_iter().take(limit).collect();
    let ids: Vec<u64> = rows.iter().filter_map(|row| text(&row["ID"]).parse().ok()).collect();
    let fresh = || uuid::Uuid::new_v4().simple().to_string();
    let process = if clear { None } else { Some(process.unwrap_or_else(fresh)) };
    for id in &ids {
        if clear {
            queue.rows.remove(id);
        } else if let Some(row) = queue.rows.get_mut(id) {
            row.process_id.clone_from(&process);
            row.marked = Marked::Fine;
        }
    }
    let note = Note { effect: !ids.is_empty(), ..Note::read().fact("rows", ids.len()).fact("clear", clear) };
    let events: Vec<Value> = rows.into_iter().map(Value::Object).collect();
    Ok(Answer::of(json!({"process_id": process, "events": events})).noted(note))
}

pub(crate) fn list(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let (client_id, connector) = asked(ctx)?;
    let rows = ctx.portal.offline.of(&client_id, &connector).map(|(id, row)| {
        let mut shown = row.to_json(id);
        shown.insert("PROCESS_ID".into(), row.process_id.clone().unwrap_or_default().into());
        shown.insert("ERROR".into(), u8::from(row.marked == Marked::Failed).to_string().into());
        shown
    });
    Ok(rows::list(rows.collect(), params, &[], "ID")?.answer(|rows| rows))
}

pub(crate) fn clear(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let ids = named(ctx, params)?;
    ids.iter().for_each(|id| drop(ctx.portal.offline.rows.remove(id)));
    let note = Note { effect: !ids.is_empty(), ..Note::read().fact("rows", ids.len()) };
    Ok(Answer::of(true).noted(note))
}

pub(crate) fn error(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let ids = named(ctx, params)?;
    for id in &ids {
        if let Some(row) = ctx.portal.offline.rows.get_mut(id) {
            row.marked = Marked::Failed;
            row.process_id = None;
        }
    }
    let note = Note { effect: !ids.is_empty(), ..Note::read().fact("rows", ids.len()) };
    Ok(Answer::of(true).noted(note))
}

/// Rows of a package: those named by `id`, else by `message_id`, else all.
fn named(ctx: &Ctx<'_>, params: &Value) -> Result<Vec<u64>, MethodError> {
    // These two have no `auth_connector`: the package's number says it all.
    let Caller::App(app) = &ctx.caller else { return Err(super::methods::wrong_auth_type()) };
    if !ctx.is_admin() {
        return Err(access_denied());
    }
    let process = given(params, "process_id");
    if process.is_empty() {
        return Err(MethodError::new(400, "ERROR_ARGUMENT", "Argument 'PROCESS_ID' is null or empty"));
    }
    let list = |name: &str| match given_value(params, name) {
        Some(Value::Array(values)) => Some(values.iter().map(text).collect::<Vec<_>>()),
        Some(one) if !text(one).is_empty() => Some(vec![text(one)]),
        _ => None,
    };
    let (ids, messages) = (list("id"), list("message_id"));
    let meant = |id: u64, row: &Row| match (&ids, &messages) {
        (Some(ids), _) => ids.contains(&id.to_string()),
        (None, Some(messages)) => messages.contains(&row.message_id),
        (None, None) => true,
    };
    let own = |row: &Row| row.client_id == app.client_id && row.process_id.as_deref() == Some(&*process);
    let rows = ctx.portal.offline.rows.iter().filter(|(id, row)| own(row) && meant(**id, row));
    Ok(rows.map(|(id, _)| *id).collect())
}

/// An ONOFFLINEEVENT to be sent, and how long it has to wait yet.
struct Waking {
    binding: u64,
    wait_ms: i64,
    event: AppEvent,
}

impl World {
    /// Puts an event into the queues that want it, and wakes their owners.
    pub(crate) fn queue_offline(self: &Arc<Self>, event: &EventSpec) {
        let wakings = self.with_portal(|portal| enqueue(portal, event, now_ms()));
        for Waking { binding, wait_ms, mut event } in wakings {
            let world = Arc::clone(self);
            drop(self.spawn(async move {
                tokio::time::sleep(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))).await;
                let pair = world.with_portal(|portal| {
                    portal.offline.wakes.insert(binding, Wake { last_ms: now_ms(), pending: false });
                    let user_id = portal.apps.installed(&event.client_id)?.1.user_id;
                    Some(portal.apps.grant(&event.client_id, user_id, now_ms()))
                });
                let Some(pair) = pair else { return };
                event.auth = Auth::Pair(pair);
                send_to_app(&world, &event).await;
            }));
        }
    }
    /// The rows of all offline queues, oldest first.
    pub fn offline_rows(&self) -> Vec<OfflineRowView> {
        let view = |(id, row): (&u64, &Row)| OfflineRowView {
            id: *id,
            client_id: row.client_id.clone(),
            connector: row.connector.clone(),
            event: row.event.clone(),
            reserved_by: row.process_id.clone(),
            failed: row.marked == Marked::Failed,
        };
        self.with_portal(|portal| portal.offline.rows.iter().map(view).collect())
    }
}

fn enqueue(portal: &mut Portal, event: &EventSpec, now_ms: i64) -> Vec<Waking> {
    let (mut queued, mut wakings) = (Vec::new(), Vec::new());
    for app in portal.apps.all.values() {
        let Some(installation) = app.installation.as_ref().filter(|found| found.finished) else { continue };
        let wants = |connector: &str| connector.is_empty() || connector != event.connector;
        let offline = installation.events.iter().filter(|b| b.kind == EventType::Offline);
        let before = queued.len();
        for binding in offline.filter(|b| fits(&b.event, event) && wants(&b.connector)) {
            queued.push((app.spec.client_id.clone(), binding.connector.clone()));
        }
        if queued.len() == before {
            continue;
        }
        let online = installation.events.iter().filter(|b| b.kind == EventType::Online);
        for binding in online.filter(|b| b.event == "ONOFFLINEEVENT") {
            let Ok(target) = binding.handler.parse() else { continue };
            let wake = portal.offline.wakes.entry(binding.id).or_default();
            let between_ms = i64::try_from(binding.min_timeout_s).unwrap_or(i64::MAX).saturating_mul(1_000);
            if !wake.pending {
                wake.pending = true;
                let event = AppEvent {
                    client_id: app.spec.client_id.clone(),
                    name: binding.event.clone(),
                    data: json!({}),
                    handler_id: Some(binding.id),
                    auth: Auth::TokenOnly,
                    target,
                };
                let wait_ms = wake.last_ms.saturating_add(between_ms).saturating_sub(now_ms).max(0);
                wakings.push(Waking { binding: binding.id, wait_ms, event });
            }
        }
    }
    for (client_id, connector) in queued {
        portal.offline.put(&client_id, &connector, event, now_ms);
    }
    wakings
}
