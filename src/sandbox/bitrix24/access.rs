//! Who calls the portal's REST, and whether they are let in: the webhook by its path, an application by its token.
//! Source: `settings/how-to-call-rest-api/authorization.md`, `_includes/system-errors.md` of the Bitrix24 docs, and
//! live answers recorded by the SDKs where the two differ.
//!
//! Invariants: nobody is let in by anything but the webhook's own path or a token that lives; the `auth` parameter
//! never reaches a method.

use super::Ctx;
use super::apps::{Grant, GrantState, Payment};
use super::portal::{OWNER_ID, Owner};
use super::rows::text;
use super::traits::PortalKind;
use super::wire::MethodError;
use crate::sandbox::world::Reach;
use serde_json::Value;

/// Who makes a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The owner of the incoming webhook.
    Webhook,
    /// A user of an application.
    App(AppCaller),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AppCaller {
    pub(crate) client_id: String,
    pub(crate) user_id: u64,
    pub(crate) token: String,
    pub(crate) scopes: Vec<String>,
}

impl Caller {
    pub(crate) fn user_id(&self) -> u64 {
        match self {
            Self::Webhook => OWNER_ID,
            Self::App(app) => app.user_id,
        }
    }
    /// What its operating time is counted under, beside the method.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Webhook => "webhook",
            Self::App(app) => &app.client_id,
        }
    }
}

/// Lets the webhook's owner in.
pub(crate) fn webhook(ctx: &Ctx<'_>) -> Result<Caller, MethodError> {
    if ctx.portal.webhook_until_ms.is_some_and(|until| until <= ctx.now_ms) {
        // What a portal answers after the expiry date is not documented; the password is then simply not valid.
        return Err(MethodError::new(401, "INVALID_CREDENTIALS", "Invalid request credentials"));
    }
    if ctx.portal.owner == Owner::Dismissed || ctx.portal.is_dismissed(OWNER_ID) {
        return Err(unauthorised());
    }
    Ok(Caller::Webhook)
}

/// Lets an application in by the token among the parameters, and takes the token out of them.
pub(crate) fn application(ctx: &mut Ctx<'_>, params: &mut Value) -> Result<Caller, MethodError> {
    let token = params.as_object_mut().and_then(|map| map.remove("auth")).map(|auth| text(&auth));
    let token = token.filter(|token| !token.is_empty()).ok_or_else(no_auth)?;
    validated_by_the_box(ctx, params)?;
    if ctx.portal.traits.kind == PortalKind::Box && ctx.oauth_reach == Reach::Down {
        // "REST with app tokens does not work at all" then; the code is a guess.
        let why = "Server returned an unexpected response";
        return Err(MethodError::new(500, "ERROR_UNEXPECTED_ANSWER", why));
    }
    let grant = ctx
        .portal
        .apps
        .show(&token)
        .ok_or_else(|| MethodError::new(401, "invalid_token", "Unable to get application by token"))?;
    judge(ctx, &grant)?;
    let scopes = ctx.portal.apps.all.get(&grant.client_id).map(|app| app.spec.scopes.clone());
    let Grant { client_id, user_id, .. } = grant;
    Ok(Caller::App(AppCaller { client_id, user_id, token, scopes: scopes.unwrap_or_default() }))
}

fn judge(ctx: &Ctx<'_>, grant: &Grant) -> Result<(), MethodError> {
    let app = ctx.portal.apps.all.get(&grant.client_id);
    let Some(app) = app.filter(|app| app.installation.is_some() && grant.state == GrantState::Good) else {
        return Err(MethodError::new(401, "APPLICATION_NOT_FOUND", "Application not found"));
    };
    if !grant.is_good(ctx.now_ms) {
        return Err(MethodError::new(401, "expired_token", "The access token provided has expired."));
    }
    if app.payment == Payment::Ended {
        return Err(MethodError::new(401, "PAYMENT_REQUIRED", "Subscription has been ended"));
    }
    if ctx.portal.is_dismissed(grant.user_id) {
        return Err(unauthorised());
    }
    if app.closed_to.contains(&grant.user_id) {
        let why = "The user does not have access to the application.";
        return Err(MethodError::new(403, "user_access_error", why));
    }
    Ok(())
}

/// A box with its own token validator asks for one more parameter.
fn validated_by_the_box(ctx: &Ctx<'_>, params: &mut Value) -> Result<(), MethodError> {
    let Some((name, wanted)) = &ctx.portal.traits.validator else { return Ok(()) };
    let given = params.as_object_mut().and_then(|map| map.remove(name)).map(|value| text(&value));
    if given.as_deref() == Some(wanted) { Ok(()) } else { Err(no_auth()) }
}

fn no_auth() -> MethodError {
    MethodError::new(401, "NO_AUTH_FOUND", "Wrong authorization data")
}

fn unauthorised() -> MethodError {
    MethodError::new(401, "authorization_error", "Unable to authorize user")
}
