//! Registering ourselves at a portal: events, placements, robots. Needs an application; a webhook may not.
//!
//! `api-reference/events/event-bind.md`, `api-reference/widgets/placement-bind.md`,
//! `api-reference/bizproc/bizproc-robot`. What is there already is a success, whatever words the portal has for it.

use super::client::{Call, Caller};
use super::drive::read;
use super::error::misshapen;
use super::events::WAKE_EVENT;
use super::{offline, wire};
use crate::domain::{Failure, FailureClass};
use crate::providers::remote::Nature;
use serde_json::{Map, Value, json};

/// What a registration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// It was not there before.
    Made,
    /// The portal had it already.
    Already,
}

/// An event as the portal has it for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventEntry {
    /// Upper case.
    pub name: String,
    /// Where it is posted; none for an offline event.
    pub handler: Option<String>,
    /// `connector_id` of an offline event, empty where it has none; none: the portal does not tell.
    pub connector: Option<String>,
}

/// `event.get`.
///
/// # Errors
/// `wrong_auth_type` or `access_denied` by webhook.
pub async fn events(caller: &dyn Caller) -> Result<Vec<EventEntry>, Failure> {
    let answer = read(caller, "event.get", json!({})).await?;
    let rows = wire::rows(&answer).ok_or_else(|| Nature::Read.judge(misshapen("event.get")))?;
    let entry = |row: &Value| {
        let offline = wire::member(row, "offline").and_then(wire::truth).unwrap_or(false);
        let handler = wire::member(row, "handler").and_then(wire::filled);
        Some(EventEntry {
            name: wire::member(row, "event").and_then(wire::filled)?.to_ascii_uppercase(),
            handler: if offline { None } else { handler },
            connector: wire::member(row, "connector_id").and_then(wire::text),
        })
    };
    Ok(rows.into_iter().filter_map(entry).collect())
}

/// `event.bind` of an event that is posted to `handler`, or kept for us if there is none.
///
/// # Errors
/// `error_event_not_found` where the portal has no such event, `access_denied` for a user without rights.
pub async fn bind_event(caller: &dyn Caller, name: &str, handler: Option<&str>) -> Result<Bound, Failure> {
    let params = match handler {
        // One word about many rows is enough.
        Some(handler) if name == WAKE_EVENT => {
            json!({ "event": name, "handler": handler, "options": { "minTimeout": offline::WAKE_PAUSE_S } })
        }
        Some(handler) => json!({ "event": name, "handler": handler }),
        None => json!({ "event": name, "event_type": "offline" }),
    };
    made_or_there(caller.call(Call::new("event.bind", params)).await)
}

/// `event.unbind` of an event that is posted to `handler`.
///
/// # Errors
/// `access_denied` for a user without rights; an unknown outcome may be repeated.
pub async fn unbind_event(caller: &dyn Caller, name: &str, handler: &str) -> Result<(), Failure> {
    let params = json!({ "event": name, "handler": handler });
    gone(caller.call(Call::new("event.unbind", params)).await)
}

/// `placement.unbind` of one page of ours.
///
/// # Errors
/// As [`unbind_event`].
pub async fn unbind_placement(caller: &dyn Caller, code: &str, handler: &str) -> Result<(), Failure> {
    let params = json!({ "PLACEMENT": code, "HANDLER": handler });
    gone(caller.call(Call::new("placement.unbind", params)).await)
}

/// `event.unbind` of an offline event that was bound with `connector` (empty: without any).
///
/// # Errors
/// `access_denied` for a user without rights. Unbinding twice changes nothing.
pub async fn unbind_offline(caller: &dyn Caller, name: &str, connector: &str) -> Result<(), Failure> {
    let params = json!({ "event": name, "event_type": "offline", "auth_connector": connector });
    gone(caller.call(Call::new("event.unbind", params)).await)
}

/// Taking away what is not there changes nothing, so an unknown outcome is repeated like a read.
fn gone(outcome: Result<Value, Failure>) -> Result<(), Failure> {
    outcome.map(drop).map_err(|failure| Nature::Read.judge(failure))
}

/// Registering the same twice changes nothing, so an unknown outcome is repeated like a read.
fn made_or_there(outcome: Result<Value, Failure>) -> Result<Bound, Failure> {
    match outcome.map_err(|failure| Nature::Read.judge(failure)) {
        Ok(_) => Ok(Bound::Made),
        Err(failure) if is_there(&failure) => Ok(Bound::Already),
        Err(failure) => Err(failure),
    }
}

/// The codes are not documented, the texts are all there is ("Unable to set event handler", "Handler already binded").
fn is_there(failure: &Failure) -> bool {
    let said = failure.answer.as_deref().unwrap_or_default().to_ascii_lowercase();
    let words = ["unable to set event handler", "already bind", "already bound", "already set"];
    failure.class == FailureClass::Permanent && words.iter().any(|words| said.contains(words))
}

/// `placement.get`: places with their handlers.
///
/// # Errors
/// As [`events`].
pub async fn placements(caller: &dyn Caller) -> Result<Vec<(String, String)>, Failure> {
    let answer = read(caller, "placement.get", json!({})).await?;
    let rows = wire::rows(&answer).ok_or_else(|| Nature::Read.judge(misshapen("placement.get")))?;
    let text = |row, name| wire::member(row, name).and_then(wire::filled);
    Ok(rows.into_iter().filter_map(|row| Some((text(row, "placement")?, text(row, "handler")?))).collect())
}

/// A placement to be bound.
#[derive(Debug, Clone, Copy)]
pub struct Placement<'a> {
    /// The place.
    pub code: &'a str,
    /// Our page.
    pub handler: &'a str,
    /// What people read, in Russian.
    pub title_ru: &'a str,
    /// The same in English.
    pub title_en: &'a str,
}

/// `placement.bind`. Some of its errors come with HTTP 200, which the envelope does not mind.
///
/// # Errors
/// `error_placement_not_found`, `error_wrong_handler_url`, `access_denied`.
pub async fn bind_placement(caller: &dyn Caller, placement: Placement<'_>) -> Result<Bound, Failure> {
    let params = json!({
        "PLACEMENT": placement.code,
        "HANDLER": placement.handler,
        "TITLE": placement.title_ru,
        "LANG_ALL": { "ru": { "TITLE": placement.title_ru }, "en": { "TITLE": placement.title_en } },
    });
    made_or_there(caller.call(Call::new("placement.bind", params)).await)
}

/// `bizproc.robot.list`: codes of our robots.
///
/// # Errors
/// `insufficient_scope` without `bizproc`, `access_denied` for who is no administrator.
pub async fn robots(caller: &dyn Caller) -> Result<Vec<String>, Failure> {
    let answer = read(caller, "bizproc.robot.list", json!({})).await?;
    let rows = wire::rows(&answer).ok_or_else(|| Nature::Read.judge(misshapen("bizproc.robot.list")))?;
    Ok(rows.into_iter().filter_map(wire::filled).collect())
}

/// `bizproc.robot.add`; `bizproc.robot.update` if the portal has it already, so that its properties are today's.
///
/// # Errors
/// `error_activity_validation_failure` and the like for parameters that the portal does not take.
pub async fn put_robot(
    caller: &dyn Caller,
    code: &str,
    handler: &str,
    fields: &Value,
) -> Result<Bound, Failure> {
    let mut params: Map<String, Value> = fields.as_object().cloned().unwrap_or_default();
    params.insert("CODE".to_owned(), code.into());
    params.insert("HANDLER".to_owned(), handler.into());
    let added = caller.call(Call::new("bizproc.robot.add", Value::Object(params.clone()))).await;
    match added.map_err(|failure| Nature::Read.judge(failure)) {
        Ok(_) => return Ok(Bound::Made),
        Err(failure) if failure.code == "error_activity_already_installed" => {}
        Err(failure) => return Err(failure),
    }
    params.remove("CODE");
    let update = json!({ "CODE": code, "FIELDS": params });
    let updated = caller.call(Call::new("bizproc.robot.update", update)).await;
    updated.map(|_| Bound::Already).map_err(|failure| Nature::Read.judge(failure))
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::super::error::from_code;
    use super::*;

    #[tokio::test]
    async fn what_is_bound_already_is_a_success() {
        let there = from_code(400, "error_core", None, "Unable to set event handler: Handler already binded");
        assert_eq!(made_or_there(Err(there)), Ok(Bound::Already));
        let denied = from_code(403, "access_denied", None, "Access denied");
        assert!(made_or_there(Err(denied)).is_err());
    }

    #[tokio::test]
    async fn events_are_listed_with_their_handlers() {
        let portal = Scripted::ok([json!([
            {"event": "ONCRMDEALADD", "handler": "https://e/bitrix/webhook", "auth_type": "0", "offline": 0},
            {"event": "oncrmdealupdate", "connector_id": "", "offline": "1"},
            {"handler": "x"},
        ])]);
        let found = events(&portal).await.unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].handler.as_deref(), Some("https://e/bitrix/webhook"));
        assert_eq!(
            found[1],
            EventEntry { name: "ONCRMDEALUPDATE".into(), handler: None, connector: Some(String::new()) }
        );
    }

    #[tokio::test]
    async fn an_offline_event_has_no_handler() {
        let portal = Scripted::ok([json!(true), json!(true)]);
        bind_event(&portal, "ONX", None).await.unwrap();
        bind_event(&portal, "ONX", Some("https://e/")).await.unwrap();
        assert_eq!(portal.calls()[0].params, json!({"event": "ONX", "event_type": "offline"}));
        assert_eq!(portal.calls()[1].params, json!({"event": "ONX", "handler": "https://e/"}));
    }
}
