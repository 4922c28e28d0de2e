//! The table of methods and the way to each. Source: the pages of the methods in the Bitrix24 docs.
//!
//! Invariants: names are compared in lower case; a method that this portal lacks, one outside the caller's scopes, or
//! one that needs an application, is refused before it is charged or run.

use super::access::Caller;
use super::bindings::given;
use super::limits::Operating;
use super::portal::Confirmation;
use super::wire::{Answer, MethodError};
use super::{
    Ctx, Inside, Outcome, bindings, crm, crm_old, drive, generated, notices, offline, robots, service,
    stages, timeline,
};
use crate::sandbox::{Counters, push};
use serde_json::Value;

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
    method("scope", None, service::scope),
    method("profile", None, notices::profile),
    method("method.get", None, service::method_get),
    method("methods", None, service::methods),
    method("feature.get", None, service::feature_get),
    method("app.info", None, service::app_info),
    method("server.time", None, service::server_time),
    method("user.admin", None, service::user_admin),
    method("events", None, bindings::events),
    method("event.bind", None, bindings::event_bind),
    method("event.unbind", None, bindings::event_unbind),
    method("event.get", None, bindings::event_get),
    method("event.test", None, bindings::event_test),
    method("event.offline.get", None, offline::get),
    method("event.offline.list", None, offline::list),
    method("event.offline.clear", None, offline::clear),
    method("event.offline.error", None, offline::error),
    method("pull.application.config.get", Some("pull"), push::config_get),
    method("pull.application.event.add", Some("pull"), push::event_add),
    method("bizproc.robot.add", Some("bizproc"), robots::robot_add),
    method("bizproc.robot.update", Some("bizproc"), robots::robot_update),
    method("bizproc.robot.list", Some("bizproc"), robots::robot_list),
    method("bizproc.robot.delete", Some("bizproc"), robots::robot_delete),
    method("bizproc.event.send", Some("bizproc"), robots::event_send),
    method("bizproc.activity.log", Some("bizproc"), robots::activity_log),
    method("bizproc.workflow.instances", Some("bizproc"), robots::workflow_instances),
    method("bizproc.workflow.start", Some("bizproc"), robots::workflow_start),
    method("bizproc.workflow.terminate", Some("bizproc"), robots::workflow_terminate),
    method("bizproc.workflow.kill", Some("bizproc"), robots::workflow_terminate),
    method("placement.list", Some("placement"), bindings::placement_list),
    method("placement.bind", Some("placement"), bindings::placement_bind),
    method("placement.unbind", Some("placement"), bindings::placement_unbind),
    method("placement.get", Some("placement"), bindings::placement_get),
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
    method("crm.item.add", Some("crm"), crm::item_add),
    method("crm.item.delete", Some("crm"), crm::item_delete),
    method("crm.deal.get", Some("crm"), crm_old::deal_get),
    method("crm.deal.list", Some("crm"), crm_old::deal_list),
    method("crm.deal.add", Some("crm"), crm_old::deal_add),
    method("crm.deal.update", Some("crm"), crm_old::deal_update),
    method("crm.deal.fields", Some("crm"), crm_old::deal_fields),
    method("crm.lead.fields", Some("crm"), crm_old::lead_fields),
    method("crm.lead.get", Some("crm"), crm_old::lead_get),
    method("crm.lead.list", Some("crm"), crm_old::lead_list),
    method("crm.lead.add", Some("crm"), crm_old::lead_add),
    method("crm.lead.update", Some("crm"), crm_old::lead_update),
    method("crm.status.list", Some("crm"), stages::status_list),
    method("crm.category.list", Some("crm"), stages::category_list),
    method("crm.documentgenerator.document.get", Some("crm"), generated::get),
    method("crm.documentgenerator.document.list", Some("crm"), generated::list),
    method("crm.documentgenerator.document.add", Some("crm"), generated::add),
    method("crm.documentgenerator.document.enablepublicurl", Some("crm"), generated::enable_public_url),
    method("crm.timeline.comment.add", Some("crm"), timeline::comment_add),
    method("crm.timeline.comment.update", Some("crm"), timeline::comment_update),
    method("crm.timeline.comment.delete", Some("crm"), timeline::comment_delete),
    method("crm.timeline.comment.list", Some("crm"), timeline::comment_list),
    method("crm.timeline.comment.get", Some("crm"), timeline::comment_get),
    method("im.notify", Some("im"), notices::notify),
    method("im.notify.system.add", Some("im"), notices::notify),
    method("im.notify.personal.add", Some("im"), notices::notify),
];

/// Beginnings of names that a webhook may not call.
const APPLICATION_ONLY: &[&str] =
    &["event.", "placement.", "userfieldtype.", "bizproc.robot.", "pull.application.", "app.option."];

/// Names of all methods that this portal has.
pub(crate) fn names(ctx: &Ctx<'_>) -> Vec<&'static str> {
    METHODS.iter().map(|m| m.name).filter(|name| !ctx.portal.traits.lacks(name)).collect()
}

/// Whether this portal has a method, and whether the caller's scopes allow it.
pub(crate) fn presence(ctx: &Ctx<'_>, name: &str) -> (bool, bool) {
    let method = METHODS.iter().find(|m| m.name == name).filter(|_| !ctx.portal.traits.lacks(name));
    (method.is_some(), method.is_some_and(|m| in_scope(ctx, m)))
}

/// Calls one method, with everything that stands before it.
pub(crate) fn dispatch(
    ctx: &mut Ctx<'_>,
    name: &str,
    params: &Value,
) -> Result<(Answer, Operating), MethodError> {
    if ctx.caller == Caller::Webhook && needs_application(name) {
        return Err(wrong_auth_type());
    }
    let method = METHODS.iter().find(|m| m.name == name).filter(|_| !ctx.portal.traits.lacks(name));
    let Some(method) = method else {
        return Err(MethodError::new(404, "ERROR_METHOD_NOT_FOUND", "Method not found!"));
    };
    if !in_scope(ctx, method) {
        let why = "The request requires higher privileges than provided by the webhook token";
        return Err(MethodError::new(403, "insufficient_scope", why));
    }
    confirmed(ctx, name)?;
    let charged = match (ctx.inside, ctx.portal.limits.counters) {
        (Inside::Batch, Counters::ByBatch) => "batch",
        (Inside::Batch | Inside::Request, _) => name,
    };
    let key = format!("{}|{charged}", ctx.caller.key());
    let portal = &mut *ctx.portal;
    if let Some(operating) = portal.meter.blocked(&portal.limits, &key, ctx.now_ms) {
        let why = "Method is blocked due to operation time limit.";
        let error = MethodError::new(429, "OPERATION_TIME_LIMIT", why);
        return Err(MethodError { operating: Some(operating), ..error });
    }
    let operating = portal.meter.charge(&portal.limits, &key, ctx.now_ms);
    let answer = with_connector(ctx, params, method.run)?;
    Ok((answer, operating))
}

/// A command of a batch may have an `auth_connector` of its own; else that of the whole request counts.
fn with_connector(ctx: &mut Ctx<'_>, params: &Value, run: fn(&mut Ctx<'_>, &Value) -> Outcome) -> Outcome {
    let own = given(params, "auth_connector");
    let outer = ctx.connector.clone();
    if !own.is_empty() {
        ctx.connector = own;
    }
    let outcome = run(ctx, params);
    ctx.connector = outer;
    outcome
}

fn needs_application(name: &str) -> bool {
    matches!(name, "events" | "bizproc.event.send")
        || APPLICATION_ONLY.iter().any(|prefix| name.starts_with(prefix))
}

pub(crate) fn wrong_auth_type() -> MethodError {
    MethodError::new(403, "WRONG_AUTH_TYPE", "Current authorization type is denied for this method")
}

/// Some methods wait for an administrator, token by token.
fn confirmed(ctx: &mut Ctx<'_>, name: &str) -> Result<(), MethodError> {
    let Caller::App(app) = &ctx.caller else { return Ok(()) };
    if !ctx.portal.guarded.contains(name) {
        return Ok(());
    }
    match ctx.portal.confirmation(name, &app.client_id, &app.token) {
        Confirmation::Granted => Ok(()),
        Confirmation::Waiting => {
            Err(MethodError::new(401, "METHOD_CONFIRM_WAITING", "Waiting for confirmation"))
        }
        Confirmation::Denied => Err(MethodError::new(403, "METHOD_CONFIRM_DENIED", "Method call denied")),
    }
}

fn in_scope(ctx: &Ctx<'_>, method: &Method) -> bool {
    method.scope.is_none_or(|needed| ctx.scopes().iter().any(|s| s == needed))
}
