//! Callbacks of the signing service: written, signed, sent, and sent again until they are acknowledged.
//!
//! Source: the EasyDocs guide for header, members and "at least once"; the hash (HMAC-SHA256, lower-case hex, over
//! the raw bytes) is the assumption of `signing-providers.md` a.7.
//!
//! Invariants: what is signed is exactly what is sent; a delivery ends with the first 2xx or with the policy's last
//! attempt; every attempt has a ledger entry.

use super::documents::{Document, SIGNED};
use super::faults::FaultKind;
use super::front::pause;
use super::ledger::{Note, Side};
use super::world::{World, now_ms, utc};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use std::sync::Arc;
use std::time::Duration;

/// Header of the signature (the EasyDocs guide).
pub const SIGNATURE_HEADER: &str = "X-EasyDocs-Signature";
/// Deliveries of one order at most: a slip of a digit must not become a flood.
const COPIES_MAX: u32 = 1_000;

/// How a callback is repeated until it is acknowledged. The real service's rule is not documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackPolicy {
    /// Pause between two attempts.
    pub interval: Duration,
    /// Attempts at most.
    pub attempts_max: u32,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

impl Default for CallbackPolicy {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), attempts_max: 120, timeout: Duration::from_secs(10) }
    }
}

/// A callback to be sent, with everything a test may want to be wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackSpec {
    /// The status it reports.
    pub status: String,
    /// How often it is delivered, each time until acknowledged.
    pub copies: u32,
    /// How long it is held back: late, or out of order with others.
    pub delay: Duration,
    /// How it is signed.
    pub signature: Signature,
    /// `signed_file_url`.
    pub file_url: Member,
    /// `external_id`.
    pub external_id: Member,
    /// Whether it is sent again when it is not acknowledged.
    pub repeats: Repeats,
    /// These bytes instead of a body made of the members.
    pub raw_body: Option<Bytes>,
}

impl CallbackSpec {
    /// The right callback for a status.
    pub fn of_status(status: impl Into<String>) -> Self {
        Self {
            status: status.into(),
            copies: 1,
            delay: Duration::ZERO,
            signature: Signature::Right,
            file_url: Member::Own,
            external_id: Member::Own,
            repeats: Repeats::UntilAcknowledged,
            raw_body: None,
        }
    }
}

/// How a callback is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// With the shared secret.
    Right,
    /// With another secret.
    Forged,
    /// Not at all.
    Missing,
}

/// What stands in a member of a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// What belongs there.
    Own,
    /// The member is left out.
    Omitted,
    /// Something else.
    Other(String),
}

impl Member {
    fn choose(&self, own: Option<String>) -> Option<String> {
        match self {
            Self::Own => own,
            Self::Omitted => None,
            Self::Other(text) => Some(text.clone()),
        }
    }
}

/// Whether an unacknowledged callback is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// As the policy says.
    UntilAcknowledged,
    /// One attempt.
    None,
}

/// The body, with its members in the order of the guide's example.
#[derive(Serialize)]
struct CallbackBody<'a> {
    event: &'a str,
    document_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_file_url: Option<String>,
    timestamp: String,
}

/// HMAC-SHA256 of the bytes in lower-case hex, as the header carries it.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("an HMAC key may have any length");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect()
}

fn body(world: &World, document: &Document, spec: &CallbackSpec) -> Bytes {
    if let Some(raw) = &spec.raw_body {
        return raw.clone();
    }
    let own_url = (spec.status == SIGNED).then(|| world.signed_file_url(&document.id));
    let body = CallbackBody {
        event: "document.status_changed",
        document_id: &document.id,
        external_id: spec.external_id.choose(Some(document.external_id.clone())),
        status: &spec.status,
        signed_file_url: spec.file_url.choose(own_url),
        timestamp: utc(now_ms()),
    };
    serde_json::to_vec(&body).map(Bytes::from).unwrap_or_default()
}

/// Walks a document through its steps, unless somebody ended it by hand before.
pub(crate) async fn play(world: Arc<World>, id: String, steps: Vec<(Duration, String)>, copies: u32) {
    for (pause, status) in steps {
        tokio::time::sleep(pause).await;
        let open = world.with_documents(|all| all.get(&id).is_some_and(|d| !d.is_ended()));
        if !open {
            return;
        }
        world.set_status(&id, &status);
        let spec = CallbackSpec { copies, ..CallbackSpec::of_status(status) };
        world.spawn(deliver(Arc::clone(&world), id.clone(), spec));
    }
}

/// Delivers a callback as often as ordered, each time until it is acknowledged.
pub(crate) async fn deliver(world: Arc<World>, id: String, spec: CallbackSpec) {
    tokio::time::sleep(spec.delay).await;
    let Some(document) = world.with_documents(|all| all.get(&id).cloned()) else { return };
    let body = body(&world, &document, &spec);
    for copy in 1..=spec.copies.min(COPIES_MAX) {
        deliver_once(&world, &document, &spec, &body, copy).await;
    }
}

async fn deliver_once(world: &Arc<World>, document: &Document, spec: &CallbackSpec, body: &Bytes, copy: u32) {
    let policy = world.callback_policy();
    let attempts = match spec.repeats {
        Repeats::UntilAcknowledged => policy.attempts_max,
        Repeats::None => 1,
    };
    for attempt in 1..=attempts {
        if attempt > 1 {
            tokio::time::sleep(policy.interval).await;
        }
        let note = Note::read()
            .fact("document_id", document.id.clone())
            .fact("external_id", document.external_id.clone())
            .fact("status", spec.status.clone())
            .fact("copy", copy)
            .fact("attempt", attempt);
        if attempt_delivery(world, document, spec, body, note).await == Delivery::Acknowledged {
            return;
        }
    }
}

#[derive(PartialEq, Eq)]
enum Delivery {
    Acknowledged,
    Unanswered,
}

/// One attempt, with what a fault on `callback` makes of it.
async fn attempt_delivery(
    world: &Arc<World>,
    document: &Document,
    spec: &CallbackSpec,
    body: &Bytes,
    note: Note,
) -> Delivery {
    let fault = world.strike("callback");
    if matches!(fault, Some(FaultKind::Refuse | FaultKind::CutBefore)) {
        world.record(Side::EasyDocs, "callback", note, fault.as_ref(), None);
        return Delivery::Unanswered;
    }
    if let Some(FaultKind::Slow(ms) | FaultKind::SlowBefore(ms)) = fault {
        pause(ms).await;
    }
    let times = if fault == Some(FaultKind::Duplicate) { 2 } else { 1 };
    let mut outcome = Delivery::Unanswered;
    for _ in 0..times {
        let status = post(world, document, spec, body).await;
        let acknowledged = status.is_some_and(|s| (200..300).contains(&s));
        if acknowledged && fault != Some(FaultKind::CutAfter) {
            outcome = Delivery::Acknowledged;
        }
        world.with_documents(|all| {
            if let Some(document) = all.get_mut(&document.id) {
                document.callbacks_sent += 1;
                document.callbacks_acknowledged += u32::from(acknowledged);
            }
        });
        world.record(Side::EasyDocs, "callback", note.clone(), fault.as_ref(), status);
    }
    outcome
}

async fn post(world: &Arc<World>, document: &Document, spec: &CallbackSpec, body: &Bytes) -> Option<u16> {
    let target = world.callback_target(document)?;
    let mut request = world.http().post(target).header("Content-Type", "application/json").body(body.clone());
    match spec.signature {
        Signature::Right => request = request.header(SIGNATURE_HEADER, sign(world.callback_secret(), body)),
        Signature::Forged => request = request.header(SIGNATURE_HEADER, sign("not the secret", body)),
        Signature::Missing => {}
    }
    request.send().await.ok().map(|answer| answer.status().as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_of_known_bytes_under_a_known_secret_is_the_known_one() {
        let body = br#"{"event":"document.status_changed","document_id":"ed-doc-uuid-1235","external_id":"b24-file-9044","status":"rejected","timestamp":"2025-06-01T12:31:00Z"}"#;
        let expected = "ac20a3a60b0639e2295ada3d1ec2c890e74ab56add688076e31ff75975520ba4";
        assert_eq!(sign("test-secret", body), expected);
    }
}
