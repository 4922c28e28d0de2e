//! The table of methods, the way to each, and the service methods (`scope`, `method.get`, `app.info`, `server.time`).
//! Source: `api-reference/common/system/*.md` of the Bitrix24 docs.
//!
//! Invariants: names are compared in lower case; a method outside the webhook's scopes, or one that needs an
//! application, is refused before it is charged or run.

use super::limits::Operating;
use super::rows::text;
use super::wire::{Answer, MethodError, date};
use super::{Ctx, Outcome, crm, drive, notices};
use serde_json::{Value, json};

/// One method of the portal.
struct Method {
    name: &'static str,
    /// The scope it needs; none for service methods.
    scope: Option<&'static str>,
    run: fn(&mut Ctx<'_>, &Value) -> Outcome,
}

const fn method(
    name: &'static str,
    scope: Option<&'static str>,
    run: fn(&mut Ctx<'_>, &Value) -> Outcome,
) -> Method {
    Method { name, scope, run }
}

const METHODS: &[Method] = &[
    method("scope", None, scope),
    method("profile", None, notices::profile),
    method("method.get", None, method_get),
    method("app.info", None, app_info),
    method("server.time", None, server_time),
    method("user.get", Some("user_brief"), notices::user_get),
    method("user.current", Some("user_brief"), notices::user_current),
    method("disk.storage.getlist", Some("disk"), drive::storage_list),
    method("disk.storage.getchildren", Some("disk"), drive::storage_children),
    method("disk.folder.get", Some("disk"), drive::folder_get),
    method("disk.folder.getchildren", Some("disk"), drive::folder_children),
    method("disk.folder.addsubfolder", Some("disk"), drive::folder_add),
    method("disk.folder.uploadfile", Some("disk"), drive::upload),
    method("disk.file.get", Some("disk"), drive::file_get),
    method("disk.file.markdeleted", Some("disk"), drive::file_mark_deleted),
    method("crm.item.get", Some("crm"), crm::item_get),
    method("crm.item.list", Some("crm"), crm::item_list),
    method("crm.item.update", Some("crm"), crm::item_update),
    method("crm.item.fields", Some("crm"), crm::item_fields),
    method("crm.deal.get", Some("crm"), crm::deal_get),
    method("crm.timeline.comment.add", Some("crm"), crm::comment_add),
    method("crm.timeline.comment.list", Some("crm"), crm::comment_list),
    method("crm.timeline.comment.get", Some("crm"), crm::comment_get),
    method("im.notify", Some("im"), notices::notify),
    method("im.notify.system.add", Some("im"), notices::notify),
    method("im.notify.personal.add", Some("im"), notices::notify),
];

/// Beginnings of names that a webhook may not call.
const APPLICATION_ONLY: &[&str] =
    &["event.", "placement.", "userfieldtype.", "bizproc.robot.", "pull.application."];

/// Calls one method, with everything that stands before it.
pub(crate) fn dispatch(
    ctx: &mut Ctx<'_>,
    name: &str,
    params: &Value,
) -> Result<(Answer, Operating), MethodError> {
    if name == "events" || APPLICATION_ONLY.iter().any(|prefix| name.starts_with(prefix)) {
        let why = "Current authorization type is denied for this method";
        return Err(MethodError::new(403, "WRONG_AUTH_TYPE", why));
    }
    let Some(method) = METHODS.iter().find(|m| m.name == name) else {
        return Err(MethodError::new(404, "ERROR_METHOD_NOT_FOUND", "Method not found!"));
    };
    if !in_scope(ctx, method) {
        let why = "The request requires higher privileges than provided by the webhook token";
        return Err(MethodError::new(403, "insufficient_scope", why));
    }
    let portal = &mut *ctx.portal;
    if let Some(operating) = portal.meter.blocked(&portal.limits, name, ctx.now_ms) {
        let why = "Method is blocked due to operation time limit.";
        let error = MethodError::new(429, "OPERATION_TIME_LIMIT", why);
        return Err(MethodError { operating: Some(operating), ..error });
    }
    let operating = portal.meter.charge(&portal.limits, name, ctx.now_ms);
    let answer = (method.run)(ctx, params)?;
    Ok((answer, operating))
}

fn in_scope(ctx: &Ctx<'_>, method: &Method) -> bool {
    method.scope.is_none_or(|needed| ctx.portal.scopes.iter().any(|s| s == needed))
}

fn scope(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    Ok(Answer::of(ctx.portal.scopes.clone()))
}

fn method_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let name = params.get("name").map(text).unwrap_or_default().to_ascii_lowercase();
    let method = METHODS.iter().find(|m| m.name == name);
    let available = method.is_some_and(|m| in_scope(ctx, m));
    Ok(Answer::of(json!({"isExisting": method.is_some(), "isAvailable": available})))
}

/// By webhook: the scopes and the licence only (b24pysdk), though the page says that an application is required.
fn app_info(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    Ok(Answer::of(json!({"SCOPE": ctx.portal.scopes, "LICENSE": "ru_project"})))
}

fn server_time(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    Ok(Answer::of(date(ctx.now_ms)))
}
