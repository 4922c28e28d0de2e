//! Webhooks about changed statuses, their subscription and the history of events (c.9).
//!
//! Documented are the word `subscriptionUrl` and the path of the subscription; body, repeats and the paths of the
//! history are assumed: `GET .../document-status-changed-event/{id}` for one document, without the id for a period.
//!
//! Invariants: a delivery ends with the first 2xx or with the last attempt of the sandbox's policy; every attempt
//! has a ledger entry `idocs.webhook`.

use super::account::{Account, Event};
use super::wire::{Content, Done, Outcome, Refused, uuid};
use crate::sandbox::callbacks::{Member, Repeats};
use crate::sandbox::faults::FaultKind;
use crate::sandbox::front::{Head, pause};
use crate::sandbox::ledger::{Note, Side};
use crate::sandbox::world::{World, now_ms};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Deliveries of one order at most: a slip of a digit must not become a flood.
const COPIES_MAX: u32 = 1_000;

/// A webhook to be sent, with everything a test may want to be wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSpec {
    /// The status it reports.
    pub status: String,
    /// How often it is delivered, each time until acknowledged.
    pub copies: u32,
    /// How long it is held back: late, or out of order with others.
    pub delay: Duration,
    /// `documentId`.
    pub document_id: Member,
    /// Whether it is sent again when it is not acknowledged.
    pub repeats: Repeats,
    /// These bytes instead of a body made of the members.
    pub raw_body: Option<Bytes>,
}

impl WebhookSpec {
    /// The right webhook for a status.
    pub fn of_status(status: impl Into<String>) -> Self {
        Self {
            status: status.into(),
            copies: 1,
            delay: Duration::ZERO,
            document_id: Member::Own,
            repeats: Repeats::UntilAcknowledged,
            raw_body: None,
        }
    }
}

/// The body, with its members in the order of the assumed sample.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    document_id: Option<&'a str>,
    document_status: &'a str,
    occurred_on: i64,
}

impl Event {
    fn card(&self) -> Value {
        json!({
            "documentId": self.document_id, "documentStatus": self.status,
            "occurredOn": self.at_ms.div_euclid(1_000),
        })
    }
}

/// Delivers a webhook as often as ordered, each time until it is acknowledged.
pub(super) async fn deliver(world: Arc<World>, document_id: String, spec: WebhookSpec) {
    let occurred_on = now_ms().div_euclid(1_000);
    tokio::time::sleep(spec.delay).await;
    let told_id = match &spec.document_id {
        Member::Own => Some(document_id.as_str()),
        Member::Omitted => None,
        Member::Other(text) => Some(text.as_str()),
    };
    let body = Body { document_id: told_id, document_status: &spec.status, occurred_on };
    let made = || serde_json::to_vec(&body).map(Bytes::from).unwrap_or_default();
    let body = spec.raw_body.clone().unwrap_or_else(made);
    for copy in 1..=spec.copies.min(COPIES_MAX) {
        deliver_once(&world, &document_id, &spec, &body, copy).await;
    }
}

async fn deliver_once(world: &Arc<World>, document_id: &str, spec: &WebhookSpec, body: &Bytes, copy: u32) {
    let policy = world.callback_policy();
    let attempts = match spec.repeats {
        Repeats::UntilAcknowledged => policy.attempts_max,
        Repeats::None => 1,
    };
    for attempt in 1..=attempts {
        if attempt > 1 {
            tokio::time::sleep(policy.interval).await;
        }
        // Nobody has asked for webhooks, or does not any more.
        let Some(target) = world.with_idocs(|account| account.subscription.clone()) else { return };
        let note = Note::read()
            .fact("document_id", document_id)
            .fact("status", spec.status.clone())
            .fact("copy", copy)
            .fact("attempt", attempt);
        if attempt_delivery(world, document_id, target, body, note).await == Delivery::Acknowledged {
            return;
        }
    }
}

#[derive(PartialEq, Eq)]
enum Delivery {
    Acknowledged,
    Unanswered,
}

/// One attempt, with what a fault on `idocs.webhook` makes of it.
async fn attempt_delivery(
    world: &Arc<World>,
    document_id: &str,
    target: Url,
    body: &Bytes,
    note: Note,
) -> Delivery {
    let fault = world.strike("idocs.webhook");
    if matches!(fault, Some(FaultKind::Refuse | FaultKind::CutBefore)) {
        world.record(Side::IDocs, "idocs.webhook", note, fault.as_ref(), None);
        return Delivery::Unanswered;
    }
    if let Some(FaultKind::Slow(ms) | FaultKind::SlowBefore(ms)) = fault {
        pause(ms).await;
    }
    let times = if fault == Some(FaultKind::Duplicate) { 2 } else { 1 };
    let mut outcome = Delivery::Unanswered;
    for _ in 0..times {
        let request = world.http().post(target.clone()).header("Content-Type", "application/json");
        let answer = request.body(body.clone()).send().await;
        let status = answer.ok().map(|answer| answer.status().as_u16());
        let acknowledged = status.is_some_and(|status| (200..300).contains(&status));
        if acknowledged && fault != Some(FaultKind::CutAfter) {
            outcome = Delivery::Acknowledged;
        }
        world.with_idocs(|account| {
            if let Some(document) = account.document_mut(document_id) {
                document.webhooks_sent += 1;
                document.webhooks_acknowledged += u32::from(acknowledged);
            }
        });
        world.record(Side::IDocs, "idocs.webhook", note.clone(), fault.as_ref(), status);
    }
    outcome
}

/// The assumed body of a subscription.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Subscribe {
    subscription_url: String,
}

/// Sets where webhooks go.
pub(super) fn subscribe(account: &mut Account, asked: &Subscribe) -> Outcome {
    let url: Url =
        asked.subscription_url.parse().map_err(|_| Refused::invalid("subscriptionUrl is no URL"))?;
    account.subscription = Some(url);
    // The path of the receiver is a secret: the ledger does not get it.
    Ok(Done::new(subscription_card(account), Note::effect()))
}

/// Shows where webhooks go.
pub(super) fn subscription(account: &Account) -> Outcome {
    Ok(Done::new(subscription_card(account), Note::read()))
}

/// Ends the subscription.
pub(super) fn unsubscribe(account: &mut Account) -> Outcome {
    account.subscription = None;
    Ok(Done::new(Content::Nothing, Note::effect()))
}

fn subscription_card(account: &Account) -> Content {
    Content::Wrapped(json!({"subscriptionUrl": account.subscription}))
}

/// What happened to one document.
pub(super) fn history(account: &Account, id: &str) -> Outcome {
    let id = uuid(id, "documentId")?;
    let events: Vec<Value> =
        account.events().filter(|event| event.document_id == id).map(Event::card).collect();
    let note = Note::read().fact("document_id", id).fact("found", events.len());
    Ok(Done::new(Content::Bare(json!({"events": events})), note))
}

/// What happened between two moments, `from` and `to` in seconds; absent: no bound.
pub(super) fn period(account: &Account, head: &Head) -> Outcome {
    let bound = |name: &str| head.query_value(name).and_then(|text| text.parse::<i64>().ok());
    let (from, to) = (bound("from").unwrap_or(i64::MIN), bound("to").unwrap_or(i64::MAX));
    let inside = |event: &&Event| (from..=to).contains(&event.at_ms.div_euclid(1_000));
    let events: Vec<Value> = account.events().filter(inside).map(Event::card).collect();
    let note = Note::read().fact("found", events.len());
    Ok(Done::new(Content::Bare(json!({"events": events})), note))
}
