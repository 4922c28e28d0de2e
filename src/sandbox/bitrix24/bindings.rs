//! Methods by which an application binds itself: `event.*`, `events`, `placement.*`.
//! Source: `api-reference/events/{event-bind,event-get,event-unbind,events}.md`,
//! `api-reference/widgets/placement-*.md` of the Bitrix24 docs.
//!
//! Invariants: a binding belongs to one installation and dies with it; the same handler is bound to an event once;
//! some errors of `placement.bind` come with HTTP 200, as the docs say.

use super::apps::{EventBinding, EventType, Installation, PlacementBinding};
use super::rows::{integer, text};
use super::wire::{Answer, MethodError};
use super::{Ctx, Outcome};
use crate::sandbox::ledger::Note;
use serde_json::{Map, Value, json};

/// Events that can be bound.
pub(crate) const EVENTS: &[&str] = &[
    "ONAPPINSTALL",
    "ONAPPUPDATE",
    "ONAPPUNINSTALL",
    "ONAPPPAYMENT",
    "ONAPPMETHODCONFIRM",
    "ONAPPTEST",
    "ONOFFLINEEVENT",
    "ONCRMLEADADD",
    "ONCRMLEADUPDATE",
    "ONCRMLEADDELETE",
    "ONCRMDEALADD",
    "ONCRMDEALUPDATE",
    "ONCRMDEALDELETE",
    "ONCRMDEALMOVETOCATEGORY",
    "ONCRMCONTACTADD",
    "ONCRMCONTACTUPDATE",
    "ONCRMCOMPANYADD",
    "ONCRMCOMPANYUPDATE",
    "ONCRMDYNAMICITEMADD",
    "ONCRMDYNAMICITEMUPDATE",
    "ONCRMDYNAMICITEMDELETE",
    "ONCRMDOCUMENTGENERATORDOCUMENTADD",
    "ONCRMDOCUMENTGENERATORDOCUMENTUPDATE",
    "ONCRMDOCUMENTGENERATORDOCUMENTDELETE",
    "ONCRMTIMELINECOMMENTADD",
    "ONCRMACTIVITYADD",
    "ONTASKADD",
    "ONTASKUPDATE",
];
/// Events whose name may end in the number of a smart process.
const DYNAMIC: &str = "ONCRMDYNAMICITEM";

/// Places of widgets: a part of the catalogue; Drive has none.
const PLACEMENTS: &[&str] = &[
    "CRM_DEAL_DETAIL_TAB",
    "CRM_DEAL_DETAIL_TOOLBAR",
    "CRM_DEAL_LIST_MENU",
    "CRM_DEAL_DOCUMENTGENERATOR_BUTTON",
    "CRM_DEAL_ACTIVITY_TIMELINE_MENU",
    "CRM_LEAD_DETAIL_TAB",
    "CRM_LEAD_DETAIL_TOOLBAR",
    "CRM_LEAD_LIST_MENU",
    "CRM_LEAD_DOCUMENTGENERATOR_BUTTON",
    "CRM_SMART_INVOICE_DETAIL_TAB",
    "CRM_SMART_INVOICE_DOCUMENTGENERATOR_BUTTON",
    "TASK_VIEW_TAB",
    "LEFT_MENU",
    "REST_APP_URI",
    "USER_PROFILE_MENU",
    "PAGE_BACKGROUND_WORKER",
];
/// Places that take one handler only.
const SINGLE: &[&str] = &["REST_APP_URI", "PAGE_BACKGROUND_WORKER"];

/// A parameter by its name in either case, as text.
pub(crate) fn given(params: &Value, name: &str) -> String {
    let found = params.as_object().and_then(|map| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)));
    found.map(|(_, value)| text(value)).unwrap_or_default()
}

/// A parameter by its name in either case.
pub(crate) fn given_value<'a>(params: &'a Value, name: &str) -> Option<&'a Value> {
    params.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Whether an event of that name exists here.
pub(crate) fn is_event(ctx: &Ctx<'_>, name: &str) -> bool {
    let suffixed = name.strip_prefix(DYNAMIC).and_then(|rest| rest.rsplit_once('_'));
    let known = EVENTS.contains(&name)
        || suffixed.is_some_and(|(verb, number)| {
            matches!(verb, "ADD" | "UPDATE" | "DELETE") && number.parse::<u32>().is_ok()
        });
    known && !ctx.portal.traits.lacks(name)
}

pub(crate) fn events(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    let names: Vec<&str> = EVENTS.iter().copied().filter(|name| is_event(ctx, name)).collect();
    Ok(Answer::of(names))
}

pub(crate) fn event_bind(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let event = given(params, "event").to_ascii_uppercase();
    if !is_event(ctx, &event) {
        return Err(MethodError::new(400, "ERROR_EVENT_NOT_FOUND", "Event not found"));
    }
    let kind = event_type(params);
    let handler = match kind {
        EventType::Online => given(params, "handler"),
        EventType::Offline => String::new(),
    };
    let auth_type = integer(&given(params, "auth_type").into()).and_then(|id| u64::try_from(id).ok());
    let user_id = ctx.caller.user_id();
    if !ctx.is_admin() && (kind == EventType::Offline || auth_type.is_some_and(|id| id != user_id)) {
        return Err(access_denied());
    }
    if kind == EventType::Online && handler.parse::<url::Url>().is_err() {
        return Err(MethodError::new(400, "ERROR_ARGUMENT", "Handler URL is not specified"));
    }
    let connector = given(params, "auth_connector");
    super::offline::connector_allowed(ctx, &connector)?;
    let min_timeout_s = given_value(params, "options").map(|options| given(options, "minTimeout"));
    let min_timeout_s = min_timeout_s.and_then(|seconds| seconds.parse().ok()).unwrap_or(1);
    let id = ctx.portal.fresh_id();
    let note = Note::effect().fact("event", event.clone()).fact("offline", kind == EventType::Offline);
    let binding = EventBinding {
        id,
        event,
        kind,
        handler,
        auth_type: auth_type.unwrap_or(0),
        connector,
        min_timeout_s,
    };
    let installation = installation(ctx)?;
    if installation.events.iter().any(|bound| same(bound, &binding)) {
        // The code is not documented; the words are.
        let why = "Unable to set event handler: Handler already binded";
        return Err(MethodError::new(400, "ERROR_CORE", why));
    }
    installation.events.push(binding);
    Ok(Answer::of(true).noted(note))
}

fn same(a: &EventBinding, b: &EventBinding) -> bool {
    a.event == b.event && a.kind == b.kind && a.handler == b.handler && a.connector == b.connector
}

fn event_type(params: &Value) -> EventType {
    if given(params, "event_type").eq_ignore_ascii_case("offline") {
        EventType::Offline
    } else {
        EventType::Online
    }
}

pub(crate) fn event_unbind(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let (event, handler) = (given(params, "event").to_ascii_uppercase(), given(params, "handler"));
    let (kind, connector) = (event_type(params), given(params, "auth_connector"));
    let auth_type = given(params, "auth_type").parse::<u64>().ok();
    let bound = &mut installation(ctx)?.events;
    let before = bound.len();
    bound.retain(|binding| {
        let meant = binding.event == event
            && binding.kind == kind
            && (kind == EventType::Online || binding.connector == connector)
            && (handler.is_empty() || binding.handler == handler)
            && auth_type.is_none_or(|user| binding.auth_type == user);
        !meant
    });
    let count = before - bound.len();
    let note = Note { effect: count > 0, ..Note::read().fact("event", event) };
    Ok(Answer::of(json!({"count": count})).noted(note))
}

pub(crate) fn event_get(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    let rows = installation(ctx)?.events.iter().map(|binding| match binding.kind {
        EventType::Online => json!({
            "event": binding.event, "handler": binding.handler, "auth_type": binding.auth_type.to_string(),
            "offline": 0,
        }),
        EventType::Offline => json!({
            "event": binding.event, "handler": "", "connector_id": binding.connector,
            "auth_type": binding.auth_type.to_string(), "offline": 1,
        }),
    });
    let rows: Vec<Value> = rows.collect();
    Ok(Answer::of(rows))
}

/// Sends ONAPPTEST back with the parameters of the call.
pub(crate) fn event_test(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let event = super::events::EventSpec::new("ONAPPTEST", json!({"QUERY": params}));
    ctx.events.push(event);
    Ok(Answer::of(true).noted(Note::effect()))
}

pub(crate) fn placement_list(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    let known = PLACEMENTS.iter().filter(|name| !ctx.portal.traits.lacks(name));
    let names: Vec<&str> = known.copied().collect();
    Ok(Answer::of(names))
}

pub(crate) fn placement_bind(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    ctx.must_be_admin()?;
    let placement = given(params, "PLACEMENT").to_ascii_uppercase();
    let dynamic = placement.starts_with("CRM_DYNAMIC_");
    if !(dynamic || PLACEMENTS.contains(&placement.as_str())) || ctx.portal.traits.lacks(&placement) {
        return Err(MethodError::new(400, "ERROR_PLACEMENT_NOT_FOUND", "Placement not found"));
    }
    let handler = given(params, "HANDLER");
    if handler.is_empty() {
        return Err(MethodError::new(200, "EMPTY_ERROR_HANDLER_URL", "Handler URL is not specified"));
    }
    if handler.parse::<url::Url>().is_err() {
        return Err(MethodError::new(400, "ERROR_WRONG_HANDLER_URL", "Wrong handler URL"));
    }
    let user_id = given(params, "USER_ID").parse().unwrap_or(0);
    let title = title(params);
    let bound = &mut installation(ctx)?.placements;
    let here = || bound.iter().filter(|binding| binding.placement == placement);
    if SINGLE.contains(&placement.as_str()) && here().count() > 0 {
        return Err(MethodError::new(200, "ERROR_PLACEMENT_MAX_COUNT", "Placement max count exceeded"));
    }
    if here().any(|binding| binding.handler == handler && binding.user_id == user_id) {
        let why = "Unable to set placement handler: Handler already binded";
        return Err(MethodError::new(400, "ERROR_CORE", why));
    }
    let note = Note::effect().fact("placement", placement.clone());
    bound.push(PlacementBinding { placement, handler, title, user_id });
    Ok(Answer::of(true).noted(note))
}

/// `TITLE`, or the one for Russian, or the first of `LANG_ALL`.
fn title(params: &Value) -> String {
    let plain = given(params, "TITLE");
    let Some(Value::Object(all)) = given_value(params, "LANG_ALL") else { return plain };
    let named = all.get("ru").or_else(|| all.values().next()).map(|words| given(words, "TITLE"));
    named.filter(|title| !title.is_empty()).unwrap_or(plain)
}

pub(crate) fn placement_unbind(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    ctx.must_be_admin()?;
    let placement = given(params, "PLACEMENT").to_ascii_uppercase();
    if placement.is_empty() {
        return Err(MethodError::new(400, "ERROR_ARGUMENT", "Argument 'PLACEMENT' is null or empty"));
    }
    let handler = given(params, "HANDLER");
    let bound = &mut installation(ctx)?.placements;
    let before = bound.len();
    bound.retain(|b| b.placement != placement || !(handler.is_empty() || b.handler == handler));
    let removed = before - bound.len();
    // The documented answer counts what was found and what was removed: four for two handlers.
    let note = Note { effect: removed > 0, ..Note::read().fact("placement", placement) };
    Ok(Answer::of(json!({"count": removed * 2})).noted(note))
}

pub(crate) fn placement_get(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    ctx.must_be_admin()?;
    let rows: Vec<Value> = installation(ctx)?.placements.iter().map(placement_row).collect();
    Ok(Answer::of(rows))
}

fn placement_row(binding: &PlacementBinding) -> Value {
    json!({
        "placement": binding.placement, "userId": binding.user_id, "handler": binding.handler,
        "title": binding.title, "description": "", "options": [], "langAll": Map::new(),
    })
}

/// The installation of the application that calls.
pub(crate) fn installation<'a>(ctx: &'a mut Ctx<'_>) -> Result<&'a mut Installation, MethodError> {
    let super::access::Caller::App(app) = &ctx.caller else { return Err(super::methods::wrong_auth_type()) };
    let missing = || MethodError::new(401, "APPLICATION_NOT_FOUND", "Application not found");
    ctx.portal.apps.installed_mut(&app.client_id).ok_or_else(missing)
}

pub(crate) fn access_denied() -> MethodError {
    MethodError::new(403, "ACCESS_DENIED", "Access denied!")
}
