//! The only trace of a refused request: one metric, and a log line that a flood cannot multiply.
//!
//! Nothing of the request's content is logged: it is a stranger's text.

use super::error::Code;
use crate::actors::AcceptError;
use crate::telemetry::metrics::{Metrics, NoticeSource, RefusalReason};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A reason is logged at most once in so many milliseconds for each door; in between it is counted.
const LOG_EVERY_MS: u64 = 10_000;

/// Counts and logs refusals.
pub struct Refusals {
    metrics: Arc<Metrics>,
    started: Instant,
    gates: Mutex<HashMap<(NoticeSource, Code), LogGate>>,
}

impl Refusals {
    /// With the metrics to count in.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, started: Instant::now(), gates: Mutex::default() }
    }

    /// Notes a verified notice that could not be taken: the operator learns why, the sender does not.
    pub fn note_unaccepted(&self, door: NoticeSource, error: &AcceptError) {
        let (code, why) = match error {
            AcceptError::Busy { .. } => (Code::Busy, "too much waits"),
            AcceptError::Unavailable { reason } => (Code::Unavailable, reason.en.as_str()),
        };
        if let Some(unlogged) = self.count(door, code) {
            let door = door_name(door);
            tracing::error!(door, why, unlogged, "a verified notice could not be stored");
        }
    }

    /// Notes one refusal.
    pub fn note(&self, door: NoticeSource, code: Code, source: IpAddr) {
        if let Some(unlogged) = self.count(door, code) {
            let (door, reason) = (door_name(door), code.name());
            tracing::warn!(door, reason, %source, unlogged, "request refused");
        }
    }

    /// Counts, and says whether a line may be logged now and how many were held back.
    fn count(&self, door: NoticeSource, code: Code) -> Option<u64> {
        self.metrics.refused(door, reason(code));
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry((door, code)).or_default().pass(now_ms)
    }
}

/// Name of a door for logs.
pub fn door_name(door: NoticeSource) -> &'static str {
    match door {
        NoticeSource::Bitrix24 => "bitrix24",
        NoticeSource::Easydocs => "easydocs",
        NoticeSource::Idocs => "idocs",
        NoticeSource::Operator => "operator",
        NoticeSource::SigningPage => "signing_page",
    }
}

/// The metric's coarser reason.
fn reason(code: Code) -> RefusalReason {
    match code {
        Code::TokenRefused | Code::SignatureRefused | Code::Unauthorised => RefusalReason::Forged,
        Code::SenderRefused => RefusalReason::Sender,
        Code::TooLarge => RefusalReason::Oversized,
        Code::EncodingRefused | Code::TypeRefused => RefusalReason::MediaType,
        Code::TooMany => RefusalReason::Rate,
        Code::TooSlow => RefusalReason::Slow,
        Code::Busy => RefusalReason::Busy,
        Code::Unavailable => RefusalReason::StoreUnavailable,
        Code::NotFound
        | Code::MethodNotAllowed
        | Code::BrokenBody
        | Code::Unreadable
        | Code::InvalidRequest
        | Code::DocumentNotFound
        | Code::NoticeNotFound
        | Code::PortalNotFound
        | Code::Rejected
        | Code::Internal => RefusalReason::Malformed,
    }
}

/// Lets one line pass per period.
#[derive(Debug, Default)]
struct LogGate {
    opens_at_ms: u64,
    unlogged: u64,
}

impl LogGate {
    /// How many lines were held back since the last one, if this one may pass.
    fn pass(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms < self.opens_at_ms {
            self.unlogged += 1;
            return None;
        }
        self.opens_at_ms = now_ms + LOG_EVERY_MS;
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_one_line_a_period_and_the_next_line_tells_how_many_are_missing() {
        let mut gate = LogGate::default();
        assert_eq!(gate.pass(0), Some(0));
        assert!((1..1_000).all(|ms| gate.pass(ms).is_none()));
        assert_eq!(gate.pass(LOG_EVERY_MS), Some(999));
        assert_eq!(gate.pass(LOG_EVERY_MS + 1), None);
    }
}
