//! Events of the portal, as an outgoing webhook sends them. Source: `api-reference/events/index.md`.
//!
//! Knows nothing of what the receiver does with them.
//!
//! Invariants: the body is PHP's bracket form with encoded brackets, all scalars text, `auth` with exactly the five
//! members of an outgoing webhook; every event is sent once and never again, whatever the answer.

use super::wire::encode_form;
use crate::domain::Secret;
use crate::sandbox::faults::FaultKind;
use crate::sandbox::front::pause;
use crate::sandbox::ledger::{Note, Side};
use crate::sandbox::world::{World, now_ms};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The portal's lasting id, as `auth[member_id]` carries it.
pub const MEMBER_ID: &str = "5a4dbc0000000000000000000000b024";
/// Number of the outgoing webhook.
const HANDLER_ID: u32 = 975;
/// How the sender of the platform names itself (third-party log).
const USER_AGENT: &str = "Bitrix24 Webhook Engine";

/// An event to be sent.
#[derive(Debug, Clone)]
pub struct EventSpec {
    /// Upper-case name, `ONCRMDEALUPDATE`.
    pub name: String,
    /// What stands under `data`; an empty map is not sent at all.
    pub data: Value,
    /// How often it is sent: two subscriptions make two calls.
    pub copies: u32,
    /// How long it lies in the platform's queue.
    pub delay: Duration,
    /// Another `auth[application_token]` than the portal's own, for a forged event.
    pub application_token: Option<Secret>,
}

impl EventSpec {
    /// An event sent once, at once, with the portal's own token.
    pub fn new(name: impl Into<String>, data: Value) -> Self {
        Self { name: name.into(), data, copies: 1, delay: Duration::ZERO, application_token: None }
    }
}

impl World {
    /// The body of an event, byte for byte.
    pub fn event_body(&self, event: &EventSpec) -> String {
        let origin = self.origin(self.portal_address());
        let domain = origin.strip_prefix("http://").unwrap_or(origin);
        let token = event.application_token.as_ref().unwrap_or(self.application_token());
        encode_form(&[
            ("event", event.name.clone().into()),
            ("event_handler_id", HANDLER_ID.into()),
            ("data", event.data.clone()),
            ("ts", (now_ms() / 1_000).into()),
            ("auth[domain]", domain.into()),
            ("auth[client_endpoint]", format!("{origin}/rest/").into()),
            ("auth[server_endpoint]", "https://oauth.bitrix24.tech/rest/".into()),
            ("auth[member_id]", MEMBER_ID.into()),
            ("auth[application_token]", token.expose().into()),
        ])
    }

    /// Sends an event to the outgoing webhook's address; without an address it is lost, as on a portal.
    pub fn fire(self: &Arc<Self>, event: EventSpec) {
        let world = Arc::clone(self);
        self.spawn(async move {
            tokio::time::sleep(event.delay).await;
            for _ in 0..event.copies {
                send(&world, &event).await;
            }
        });
    }

    /// Sends the event of a new file.
    pub fn fire_file_added(self: &Arc<Self>, file_id: u64) {
        self.fire(EventSpec::new("ONDISKFILEADD", json!({"FIELDS": {"ID": file_id}})));
    }
}

async fn send(world: &Arc<World>, event: &EventSpec) {
    let note = Note::read().fact("event", event.name.clone()).fact("data", event.data.clone());
    let Some(target) = world.event_target() else { return };
    let fault = world.strike("event");
    if matches!(fault, Some(FaultKind::Refuse | FaultKind::CutBefore)) {
        return world.record(Side::Bitrix24, "event", note, fault.as_ref(), None);
    }
    if let Some(FaultKind::Slow(ms) | FaultKind::SlowBefore(ms)) = fault {
        pause(ms).await;
    }
    let times = if fault == Some(FaultKind::Duplicate) { 2 } else { 1 };
    for _ in 0..times {
        let posted = world
            .http()
            .post(target.clone())
            .header("User-Agent", USER_AGENT)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(world.event_body(event))
            .send()
            .await;
        let status = posted.ok().map(|answer| answer.status().as_u16());
        world.record(Side::Bitrix24, "event", note.clone(), fault.as_ref(), status);
    }
}
