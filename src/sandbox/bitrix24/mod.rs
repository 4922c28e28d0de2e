//! The emulated Bitrix24 portal, called by an incoming webhook and by applications. Source: `settings/how-to-call-rest-api/**` of the
//! Bitrix24 docs; where the docs and recorded answers disagree, the comment at the place says what was chosen.
//!
//! One file per family of methods; `wire` has the forms, `portal`, `tree` and `apps` the state, `access` who is let
//! in, `limits` the limits, `traits` what this portal lacks.
//!
//! Invariants: a call with a wrong secret or token, over a limit or outside the scopes changes nothing; events that calls
//! set off are sent once, as the platform does, and never again.

pub(crate) mod access;
pub(crate) mod apps;
pub(crate) mod batch;
pub(crate) mod bindings;
pub(crate) mod crm;
pub(crate) mod crm_old;
pub(crate) mod drive;
pub(crate) mod events;
pub(crate) mod generated;
pub(crate) mod lifecycle;
pub(crate) mod limits;
pub(crate) mod methods;
pub(crate) mod names;
pub(crate) mod notices;
pub(crate) mod offline;
pub(crate) mod portal;
pub(crate) mod robots;
pub(crate) mod rows;
pub(crate) mod service;
pub(crate) mod stages;
pub(crate) mod timeline;
pub(crate) mod traits;
pub(crate) mod transfers;
pub(crate) mod tree;
pub(crate) mod wire;

use super::faults::ErrorAnswer;
use super::front::{Head, Reply, Request, Site};
use super::ledger::Note;
use super::world::{Reach, World};
use access::Caller;
use events::{Actor, EventSpec};
use portal::{LinkKind, OWNER_ID, Overload, Portal};
use serde_json::Value;
use std::sync::Arc;
use wire::{Answer, MethodError, Span};

pub(crate) use batch::command_names;

/// What a method comes to.
pub(crate) type Outcome = Result<Answer, MethodError>;

/// What a method works with: the locked portal, and what has to be said afterwards.
pub(crate) struct Ctx<'a> {
    pub(crate) portal: &'a mut Portal,
    /// Scheme, host and port under which the portal is reached now.
    pub(crate) origin: &'a str,
    /// The same of the authorisation server.
    pub(crate) oauth: &'a str,
    /// The same of the push server.
    pub(crate) push: &'a str,
    pub(crate) now_ms: i64,
    pub(crate) caller: Caller,
    /// `auth_connector` of the call.
    pub(crate) connector: String,
    /// Whether the authorisation server can be reached: a box asks it about every token.
    pub(crate) oauth_reach: Reach,
    /// Whether a command of a batch runs.
    pub(crate) inside: Inside,
    /// Events that the call set off.
    pub(crate) events: Vec<EventSpec>,
    /// Robots that the call started.
    pub(crate) robot_calls: Vec<robots::RobotCall>,
    /// Whether the push server has something to say after it.
    pub(crate) push_news: bool,
    /// Ledger lines of the commands of a batch.
    pub(crate) lines: Vec<CommandLine>,
}

/// Where a method runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    Request,
    Batch,
}

/// One command of a batch as the ledger shall show it.
pub(crate) struct CommandLine {
    pub(crate) call: String,
    pub(crate) note: Note,
    pub(crate) fault: Option<&'static str>,
    pub(crate) status: u16,
}

impl Ctx<'_> {
    /// Sets off an event, if the portal is set to echo changes made through REST.
    pub(crate) fn echo(&mut self, name: &str, data: Value) {
        match self.portal.echo {
            portal::Echo::On => {
                let by = Actor::User(self.caller.user_id());
                let connector = self.connector.clone();
                self.events.push(EventSpec { by, connector, ..EventSpec::new(name, data) });
            }
            portal::Echo::Off => {}
        }
    }

    /// Whether the caller is an administrator of the portal.
    pub(crate) fn is_admin(&self) -> bool {
        self.portal.users.get(&self.caller.user_id()).is_some_and(|user| user.admin)
    }
    /// Refuses everybody else.
    pub(crate) fn must_be_admin(&self) -> Result<(), MethodError> {
        if self.is_admin() { Ok(()) } else { Err(bindings::access_denied()) }
    }
    /// Scopes of the caller.
    pub(crate) fn scopes(&self) -> Vec<String> {
        match &self.caller {
            Caller::Webhook => self.portal.scopes.clone(),
            Caller::App(app) => app.scopes.clone(),
        }
    }
    /// Host and port of the portal, as `auth[domain]` has them.
    pub(crate) fn domain(&self) -> &str {
        self.origin.strip_prefix("http://").unwrap_or(self.origin)
    }
    /// Host and port of the authorisation server.
    pub(crate) fn oauth_domain(&self) -> &str {
        self.oauth.strip_prefix("http://").unwrap_or(self.oauth)
    }
    pub(crate) fn client_endpoint(&self) -> String {
        format!("{}/rest/", self.origin)
    }
    pub(crate) fn server_endpoint(&self) -> String {
        format!("{}/rest/", self.oauth)
    }
}

/// The call's name for faults and ledger.
pub(crate) fn call_name(head: &Head) -> String {
    match head.segments()[..] {
        ["rest", "upload.json"] => "upload.second_step".into(),
        ["disk" | "crm", "download"] => "download".into(),
        ["oauth", "authorize"] => "oauth.authorize".into(),
        ["webhook", "app.json"] => "sender.nodes".into(),
        ["rest", _, _, method] | ["rest", method] => method_name(method),
        _ => "unknown".into(),
    }
}

fn method_name(segment: &str) -> String {
    let name = segment.to_ascii_lowercase();
    name.strip_suffix(".json").map(str::to_owned).unwrap_or(name)
}

/// Answers one request to either address of the portal.
pub(crate) async fn answer(world: &Arc<World>, site: Site, request: &Request) -> Reply {
    if let Some(reply) = misdirected(world, site, &request.head) {
        return reply;
    }
    match request.head.segments()[..] {
        ["rest", "upload.json"] => transfers::second_step(world, request).await,
        ["disk", "download"] => transfers::download(world, request, LinkKind::Drive),
        ["crm", "download"] => transfers::download(world, request, LinkKind::Crm),
        ["oauth", "authorize"] => super::oauth::answer(world, request),
        // the vendor publishes it elsewhere; here it has no host of its own
        ["webhook", "app.json"] => world.sender_nodes_reply(),
        ["rest", user, secret, _] => by_webhook(world, request, user, secret),
        ["rest", _] => world.portal_call(request.deliveries, |ctx| spoken(called(ctx, request, Door::Token))),
        _ => Reply::html(404),
    }
}

/// A renamed portal sends everybody on with 302 and a page; an address that is not in use yet knows nothing.
fn misdirected(world: &World, site: Site, head: &Head) -> Option<Reply> {
    let current = world.portal_address();
    if current == site {
        return None;
    }
    if site == Site::RenamedPortal {
        return Some(Reply::html(404));
    }
    let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
    let target = format!("{}{}{query}", world.origin(current), head.path);
    Some(Reply::html(302).header("Location", target))
}

/// How a request says whose it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Path,
    Token,
}

fn by_webhook(world: &Arc<World>, request: &Request, user: &str, secret: &str) -> Reply {
    if user != OWNER_ID.to_string() || secret != world.webhook_secret() {
        // 403 in the system table of the docs, 401 on live portals.
        return MethodError::new(401, "INVALID_CREDENTIALS", "Invalid request credentials").reply();
    }
    world.portal_call(request.deliveries, |ctx| spoken(called(ctx, request, Door::Path)))
}

fn spoken(outcome: Result<Reply, MethodError>) -> Reply {
    outcome.unwrap_or_else(|error| error.reply())
}

fn called(ctx: &mut Ctx<'_>, request: &Request, door: Door) -> Result<Reply, MethodError> {
    admit(ctx, &request.head)?;
    let start_ms = ctx.now_ms;
    let name = call_name(&request.head);
    let params = wire::params(request).map_err(|why| MethodError::new(400, "INVALID_REQUEST", why));
    let mut params = match (params, name.as_str()) {
        (Ok(params), _) => params,
        // A batch reads its commands by itself, and more tolerantly.
        (Err(_), "batch") if door == Door::Path => Value::Null,
        (Err(error), _) => return Err(error),
    };
    ctx.caller = match door {
        Door::Path => access::webhook(ctx)?,
        Door::Token => access::application(ctx, &mut params)?,
    };
    ctx.connector = bindings::given(&params, "auth_connector");
    let (answer, operating) =
        if name == "batch" { batch::run(ctx, request)? } else { methods::dispatch(ctx, &name, &params)? };
    let span = Span { start_ms, finish_ms: super::world::now_ms(), operating };
    let mut reply = wire::envelope(answer, span);
    if let Caller::App(app) = &ctx.caller {
        reply.note = reply.note.fact("client_id", app.client_id.clone());
    }
    Ok(reply)
}

/// Lets a request into the portal's leaky bucket, unless the vendor has blocked the portal.
pub(crate) fn admit(ctx: &mut Ctx<'_>, head: &Head) -> Result<(), MethodError> {
    let portal = &mut *ctx.portal;
    if portal.overload == Overload::Blocked {
        return Err(MethodError::new(503, "OVERLOAD_LIMIT", "REST API is blocked due to overload."));
    }
    if portal.meter.admit(&portal.limits, head.source, ctx.now_ms) {
        Ok(())
    } else {
        Err(MethodError::new(503, "QUERY_LIMIT_EXCEEDED", "Too many requests"))
    }
}

/// An error answer that a fault ordered.
pub(crate) fn error_reply(answer: &ErrorAnswer) -> Reply {
    let mut reply = MethodError::from_fault(answer).reply();
    reply.headers.extend(answer.headers());
    reply
}
