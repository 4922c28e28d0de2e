//! Service methods: what the caller may do, what the portal has. Source: `api-reference/common/system/*.md` of the
//! Bitrix24 docs.
//!
//! Invariants: `app.info` answers an application about itself, and a webhook about scopes and licence only.

use super::access::Caller;
use super::apps::Payment;
use super::bindings::given;
use super::methods::{names, presence};
use super::wire::{Answer, date};
use super::{Ctx, Outcome};
use serde_json::{Value, json};

pub(crate) fn scope(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    Ok(Answer::of(ctx.scopes()))
}

pub(crate) fn method_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let (existing, available) = presence(ctx, &given(params, "name").to_ascii_lowercase());
    Ok(Answer::of(json!({"isExisting": existing, "isAvailable": available})))
}

/// Deprecated, and the only way on boxes without `method.get`.
pub(crate) fn methods(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let mut available = names(ctx);
    let full = matches!(given(params, "full").as_str(), "true" | "1" | "Y");
    available.retain(|name| full || presence(ctx, name).1);
    Ok(Answer::of(available))
}

pub(crate) fn feature_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let on = ctx.portal.traits.has_feature(&given(params, "CODE"));
    Ok(Answer::of(json!({"value": if on { "Y" } else { "N" }})))
}

pub(crate) fn app_info(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    let Caller::App(caller) = &ctx.caller else {
        // The scopes and the licence only (b24pysdk), though the page says that an application is required.
        return Ok(Answer::of(json!({"SCOPE": ctx.portal.scopes, "LICENSE": "ru_project"})));
    };
    let Some((spec, installation)) = ctx.portal.apps.installed(&caller.client_id) else {
        return Err(super::wire::MethodError::new(401, "APPLICATION_NOT_FOUND", "Application not found"));
    };
    let ended = ctx.portal.apps.all.get(&spec.client_id).is_some_and(|app| app.payment == Payment::Ended);
    Ok(Answer::of(json!({
        "ID": 7, "CODE": spec.code, "VERSION": installation.version, "STATUS": spec.status.letter(),
        "INSTALLED": installation.finished, "PAYMENT_EXPIRED": if ended { "Y" } else { "N" }, "DAYS": null,
        "LANGUAGE_ID": "ru", "LICENSE": "ru_project", "LICENSE_TYPE": "project", "LICENSE_FAMILY": "project",
    })))
}

pub(crate) fn server_time(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    Ok(Answer::of(date(ctx.now_ms)))
}

pub(crate) fn user_admin(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    Ok(Answer::of(ctx.is_admin()))
}
