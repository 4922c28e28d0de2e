//! The emulated Bitrix24 portal, called by an incoming webhook. Source: `settings/how-to-call-rest-api/**` of the
//! Bitrix24 docs; where the docs and recorded answers disagree, the comment at the place says what was chosen.
//!
//! One file per family of methods; `wire` has the forms, `portal` and `tree` the state, `limits` the limits.
//!
//! Invariants: a call with a wrong secret, over a limit or outside the scopes changes nothing; events that calls
//! set off are sent once, as the platform does, and never again.

pub(crate) mod batch;
pub(crate) mod crm;
pub(crate) mod drive;
pub(crate) mod events;
pub(crate) mod limits;
pub(crate) mod methods;
pub(crate) mod notices;
pub(crate) mod portal;
pub(crate) mod rows;
pub(crate) mod transfers;
pub(crate) mod tree;
pub(crate) mod wire;

use super::faults::ErrorAnswer;
use super::front::{Head, Reply, Request, Site};
use super::ledger::Note;
use super::world::World;
use events::EventSpec;
use portal::{LinkKind, OWNER_ID, Owner, Portal};
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
    pub(crate) now_ms: i64,
    /// Events that the call set off.
    pub(crate) events: Vec<EventSpec>,
    /// Ledger lines of the commands of a batch.
    pub(crate) lines: Vec<CommandLine>,
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
            portal::Echo::On => self.events.push(EventSpec::new(name, data)),
            portal::Echo::Off => {}
        }
    }
}

/// The call's name for faults and ledger.
pub(crate) fn call_name(head: &Head) -> String {
    match head.segments()[..] {
        ["rest", "upload.json"] => "upload.second_step".into(),
        ["disk" | "crm", "download"] => "download".into(),
        ["rest", _, _, method] => method_name(method),
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
        ["rest", user, secret, _] => rest(world, request, user, secret),
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

fn rest(world: &Arc<World>, request: &Request, user: &str, secret: &str) -> Reply {
    if user != OWNER_ID.to_string() || secret != world.webhook_secret() {
        // 403 in the system table of the docs, 401 on live portals.
        return MethodError::new(401, "INVALID_CREDENTIALS", "Invalid request credentials").reply();
    }
    world.portal_call(request.deliveries, |ctx| match called(ctx, request) {
        Ok(reply) => reply,
        Err(error) => error.reply(),
    })
}

fn called(ctx: &mut Ctx<'_>, request: &Request) -> Result<Reply, MethodError> {
    admit(ctx)?;
    if ctx.portal.owner == Owner::Dismissed {
        return Err(MethodError::new(401, "authorization_error", "Unable to authorize user"));
    }
    let start_ms = ctx.now_ms;
    let name = call_name(&request.head);
    let (answer, operating) = if name == "batch" {
        batch::run(ctx, request)?
    } else {
        let params = wire::params(request).map_err(|why| MethodError::new(400, "INVALID_REQUEST", why))?;
        methods::dispatch(ctx, &name, &params)?
    };
    Ok(wire::envelope(answer, Span { start_ms, finish_ms: super::world::now_ms(), operating }))
}

/// Lets a request into the portal's leaky bucket.
pub(crate) fn admit(ctx: &mut Ctx<'_>) -> Result<(), MethodError> {
    let portal = &mut *ctx.portal;
    if portal.meter.admit(&portal.limits, ctx.now_ms) {
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
