//! The authorisation server: codes, tokens, the trusted check of a token. One for this portal, at an address of its
//! own, as `oauth.bitrix24.tech` is. Source: `settings/oauth/*.md` of the Bitrix24 docs; statuses from live tests of
//! the SDKs (`bitrix24-rest.md` section 3).
//!
//! Knows the portal's applications and nothing else of it. Parameters are taken from the query and from a form.
//!
//! Invariants: an unknown `client_id` is an error with HTTP 200; a failed authorisation shows a page and never
//! redirects; no token, code or secret comes into the ledger.

use super::bitrix24::Ctx;
use super::bitrix24::apps::{NotGranted, Pair, Payment};
use super::bitrix24::limits::Operating;
use super::bitrix24::portal::OWNER_ID;
use super::bitrix24::rows::text;
use super::bitrix24::wire::{self, MethodError, Span};
use super::front::{Head, Reply, Request};
use super::ledger::Note;
use super::world::World;
use serde_json::{Value, json};
use std::sync::Arc;

/// The call's name for faults and ledger.
pub(crate) fn call_name(head: &Head) -> String {
    match head.segments()[..] {
        ["oauth", "authorize"] => "oauth.authorize".into(),
        ["oauth", "token"] => "oauth.token".into(),
        ["rest", "app.info" | "app.info.json"] => "oauth.app.info".into(),
        _ => "unknown".into(),
    }
}

/// Answers one request.
pub(crate) fn answer(world: &Arc<World>, request: &Request) -> Reply {
    let params = match wire::params(request) {
        Ok(params) => params,
        Err(why) => return refusal(400, "invalid_request", &why),
    };
    let call: fn(&mut Ctx<'_>, &Value) -> Reply = match request.head.segments()[..] {
        ["oauth", "authorize"] => authorize,
        ["oauth", "token"] => token,
        ["rest", "app.info" | "app.info.json"] => app_info,
        _ => return Reply::html(404),
    };
    world.portal_call(request.deliveries, |ctx| call(ctx, &params))
}

fn refusal(status: u16, code: &str, description: &str) -> Reply {
    let mut body = json!({"error": code});
    if !description.is_empty() {
        body["error_description"] = description.into();
    }
    Reply::json(status, &body).noted(Note::read().fact("error", code))
}

fn value(params: &Value, name: &str) -> String {
    params.get(name).map(text).unwrap_or_default()
}

/// Sends the browser of the portal's owner back to the application with a code.
pub(crate) fn authorize(ctx: &mut Ctx<'_>, params: &Value) -> Reply {
    let client_id = value(params, "client_id");
    let Some((spec, _)) = ctx.portal.apps.installed(&client_id) else {
        // A page of the portal: the application hears nothing.
        return Reply::html(404).noted(Note::read().fact("client_id", client_id));
    };
    let (mut target, scope) = (spec.redirect.clone(), spec.scope_list());
    let code = ctx.portal.apps.code(&client_id, OWNER_ID, ctx.now_ms);
    target
        .query_pairs_mut()
        .append_pair("code", code.expose())
        .append_pair("state", &value(params, "state"))
        .append_pair("domain", ctx.domain())
        .append_pair("member_id", &ctx.portal.member_id)
        .append_pair("scope", &scope)
        .append_pair("server_domain", ctx.oauth_domain());
    let note = Note::effect().fact("client_id", client_id);
    Reply { status: 302, ..Reply::default() }.header("Location", String::from(target)).noted(note)
}

fn token(ctx: &mut Ctx<'_>, params: &Value) -> Reply {
    let (grant_type, client_id) = (value(params, "grant_type"), value(params, "client_id"));
    let note = Note::read().fact("grant_type", grant_type.clone()).fact("client_id", client_id.clone());
    match pair(ctx, params, &grant_type, &client_id) {
        Ok((pair, kind)) => {
            let note = Note { effect: true, ..note };
            Reply::json(200, &token_body(ctx, &client_id, &pair, kind)).noted(note)
        }
        Err(mut refused) => {
            refused.note.facts.extend(note.facts);
            refused
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Granted {
    ByCode,
    ByRefresh,
}

fn pair(
    ctx: &mut Ctx<'_>,
    params: &Value,
    grant_type: &str,
    client_id: &str,
) -> Result<(Pair, Granted), Reply> {
    let name = match grant_type {
        "authorization_code" => "code",
        "refresh_token" => "refresh_token",
        _ => {
            return Err(refusal(400, "invalid_request", "Invalid grant_type parameter or parameter missing"));
        }
    };
    let Some(app) = ctx.portal.apps.all.get(client_id) else {
        // With 200 and without words: missing in the table of the docs, seen live.
        return Err(refusal(200, "wrong_client", ""));
    };
    if app.spec.client_secret.expose() != value(params, "client_secret") {
        return Err(refusal(400, "invalid_client", "The client credentials are invalid"));
    }
    if app.installation.is_none() {
        return Err(refusal(401, "NOT_INSTALLED", "Application is not installed"));
    }
    if app.payment == Payment::Ended {
        return Err(refusal(401, "PAYMENT_REQUIRED", "Payment required"));
    }
    let shown = value(params, name);
    if shown.is_empty() {
        return Err(refusal(400, "invalid_request", &format!("Missing parameter: {name}")));
    }
    let (granted, kind) = if name == "code" {
        (ctx.portal.apps.redeem(client_id, &shown, ctx.now_ms), Granted::ByCode)
    } else {
        (ctx.portal.apps.refresh(client_id, &shown, ctx.now_ms), Granted::ByRefresh)
    };
    let refused = |NotGranted| refusal(400, "invalid_grant", "Invalid or expired grant");
    granted.map(|pair| (pair, kind)).map_err(refused)
}

fn token_body(ctx: &Ctx<'_>, client_id: &str, pair: &Pair, kind: Granted) -> Value {
    let spec = ctx.portal.apps.all.get(client_id).map(|app| &app.spec);
    let mut body = json!({
        "access_token": pair.access.expose(), "refresh_token": pair.refresh.expose(),
        "expires_in": pair.expires_in_s, "client_endpoint": ctx.client_endpoint(),
        "server_endpoint": ctx.server_endpoint(),
        // The authorisation server here, not the portal.
        "domain": ctx.oauth_domain(),
        "member_id": ctx.portal.member_id, "scope": spec.map(|spec| spec.scope_list()).unwrap_or_default(),
        "status": spec.map_or("L", |spec| spec.status.letter()),
    });
    if kind == Granted::ByRefresh {
        body["expires"] = (pair.expires_ms / 1_000).into();
        body["user_id"] = pair.user_id.into();
    }
    body
}

/// What a token is worth, from the one who knows.
fn app_info(ctx: &mut Ctx<'_>, params: &Value) -> Reply {
    let shown = value(params, "auth");
    let dead = || refusal(400, "invalid_client", "The client credentials are invalid");
    let Some(grant) = ctx.portal.apps.known(&shown).filter(|grant| grant.is_good(ctx.now_ms)).cloned() else {
        return dead();
    };
    let Some((spec, installation)) = ctx.portal.apps.installed(&grant.client_id) else {
        return refusal(401, "NOT_INSTALLED", "Application is not installed");
    };
    let result = json!({
        "client_id": spec.client_id, "scope": spec.scope_list(), "expires": grant.until_ms / 1_000,
        "user_id": grant.user_id,
        "install": {
            "installed": installation.finished, "version": installation.version.to_string(),
            "status": spec.status.letter(), "scope": spec.scope_list(), "domain": ctx.domain(),
            "uri": ctx.origin, "client_endpoint": ctx.client_endpoint(), "member_id": ctx.portal.member_id,
            "member_type": ctx.portal.traits.member_type(),
        },
    });
    let operating = Operating { seconds: 0.0, reset_at: ctx.now_ms / 1_000 + 600 };
    let span = Span { start_ms: ctx.now_ms, finish_ms: ctx.now_ms, operating };
    let note = Note::read().fact("client_id", spec.client_id.clone());
    Reply::json(200, &json!({"result": result, "time": span.to_json()})).noted(note)
}

/// An error answer that a fault ordered.
pub(crate) fn error_reply(answer: &super::faults::ErrorAnswer) -> Reply {
    let mut reply = MethodError::from_fault(answer).reply();
    reply.headers.extend(answer.headers());
    reply
}
