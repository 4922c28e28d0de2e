//! Methods of people and their notices: `im.*`, `user.*`, `profile`.
//! Source: `api-reference/chats/notifications/*.md`, `api-reference/user/*.md` of the Bitrix24 docs.
//!
//! Invariants: by webhook a TAG counts only together with CLIENT_ID; a new notice with a TAG removes every earlier
//! one with the same TAG and CLIENT_ID, whoever got it: the docs call it unique within the application.

use super::portal::{Notice, User};
use super::rows::{self, text};
use super::wire::{Answer, MethodError};
use super::{Ctx, Outcome};
use crate::sandbox::ledger::Note;
use serde_json::{Map, Value, json};

/// All three notify methods; the old one names its parameters in either case and calls the receiver `to`.
pub(crate) fn notify(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let given = upper_keys(params);
    let value = |name: &str| given.get(name).map(text).filter(|v| !v.is_empty());
    let user = value("USER_ID").or_else(|| value("TO")).and_then(|id| id.parse::<u64>().ok());
    let user = user.ok_or_else(|| MethodError::new(400, "USER_ID_EMPTY", "User ID can't be empty"))?;
    let text =
        value("MESSAGE").ok_or_else(|| MethodError::new(400, "MESSAGE_EMPTY", "Message can't be empty"))?;
    if !ctx.portal.users.contains_key(&user) {
        // The documented answer for a notice that could not be made is `false`, not an error.
        return Ok(Answer::of(false).noted(Note::read().fact("user_id", user)));
    }
    let tag = value("TAG").zip(value("CLIENT_ID")).map(|(tag, client)| format!("{client}|{tag}"));
    let mut note = Note::effect().fact("user_id", user).fact("tag", value("TAG"));
    if tag.is_some() {
        let before = ctx.portal.notices.len();
        ctx.portal.notices.retain(|n| n.tag != tag);
        note = note.fact("replaced", before - ctx.portal.notices.len());
    }
    let id = ctx.portal.fresh_id();
    ctx.portal.notices.push(Notice { id, user_id: user, text, tag });
    Ok(Answer::of(id).noted(note.fact("notice_id", id)))
}

fn upper_keys(params: &Value) -> Map<String, Value> {
    let Value::Object(map) = params else { return Map::new() };
    map.iter().map(|(key, value)| (key.to_ascii_uppercase(), value.clone())).collect()
}

pub(crate) fn user_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let given = upper_keys(params);
    let mut asked = Map::new();
    // `user.get` takes the filter under both names, and bare field names too.
    asked.insert("filter".into(), given.get("FILTER").cloned().unwrap_or_else(|| bare_filter(&given)));
    asked.insert("start".into(), given.get("START").cloned().unwrap_or(Value::Null));
    let rows = ctx.portal.users.iter().map(|(id, user)| ctx.user_row(*id, user)).collect();
    Ok(rows::list(rows, &Value::Object(asked), &[], "ID")?.answer(|rows| rows))
}

fn bare_filter(given: &Map<String, Value>) -> Value {
    given.get("ID").map_or(Value::Null, |id| json!({"ID": id}))
}

pub(crate) fn user_current(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    let id = ctx.caller.user_id();
    let user = ctx.portal.users.get(&id).map(|user| ctx.user_row(id, user));
    Ok(Answer::of(user.unwrap_or_default()))
}

pub(crate) fn profile(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    let id = ctx.caller.user_id();
    let (name, last_name) = match ctx.portal.users.get(&id) {
        Some(user) => (user.name.clone(), user.last_name.clone()),
        None => Default::default(),
    };
    Ok(Answer::of(json!({
        "ID": id.to_string(), "ADMIN": ctx.is_admin(), "NAME": name, "LAST_NAME": last_name, "PERSONAL_GENDER": "",
        "TIME_ZONE": "Europe/Moscow",
    })))
}

impl Ctx<'_> {
    fn user_row(&self, id: u64, user: &User) -> Map<String, Value> {
        user_row(id, user, !self.portal.is_dismissed(id))
    }
}

fn user_row(id: u64, user: &User, active: bool) -> Map<String, Value> {
    let row = json!({
        "ID": id.to_string(), "ACTIVE": active, "NAME": user.name, "LAST_NAME": user.last_name, "SECOND_NAME": "",
        // Unreadable dates come as empty maps, which PHP writes with braces here.
        "LAST_ACTIVITY_DATE": {}, "TIMESTAMP_X": {}, "USER_TYPE": "employee", "WORK_POSITION": "",
    });
    row.as_object().cloned().unwrap_or_default()
}
