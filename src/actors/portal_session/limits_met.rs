//! What a session learns of the portal's limits, and what it holds back because of them.

use super::PortalSession;
use super::queue::{Priority, Ticket};
use super::work::Work;
use crate::domain::{Failure, FailureClass, FailureKind, Text, Timestamp};
use crate::providers::bitrix24::{Call, LimitHit, Observed};
use actix::prelude::*;

/// The portal's code for a method whose operating time is spent.
const OPERATION_LIMIT: &str = "operation_time_limit";

/// When a call that was refused because of `batch` comes back to go alone, in milliseconds.
const ALONE_AGAIN_MS: u64 = 1_000;

impl PortalSession {
    // ---- what rests ----------------------------------------------------------------------------------------

    /// Whether the portal would refuse this anyway, and until when.
    pub(super) fn resting(&self, ticket: &Ticket<Work>, now: Timestamp) -> Option<(&'static str, Timestamp)> {
        if let Some(until) = self.budget.overload_until(now) {
            return Some(("overload_limit", until));
        }
        let method = ticket.load.method();
        let until = match ticket.priority {
            Priority::Interactive => self.operating.refused_until(&self.state, method, now),
            Priority::Background => self.operating.resting_until(&self.state, method, now),
        };
        until.map(|until| (OPERATION_LIMIT, until))
    }

    /// Answers what the portal would refuse anyway: a saga waits on disk, not here.
    pub(super) fn hold_back_resting(&mut self, now: Timestamp) {
        self.state.blocked_until.retain(|(_, until)| *until > now);
        if !self.operating.has_resting(&self.state, now) && self.budget.overload_until(now).is_none() {
            return;
        }
        let mut queue = std::mem::take(&mut self.queue);
        for ticket in queue.take_out(|ticket| self.resting(ticket, now).is_some()) {
            if let Some((code, until)) = self.resting(&ticket, now) {
                self.hold_back(ticket, code, until);
            }
        }
        self.queue = queue;
    }

    /// The asker comes back when we let it through again, not when a general rule says so.
    pub(super) fn with_our_pause(&self, call: &Call, failure: Failure) -> Failure {
        if (failure.class, failure.kind) != (FailureClass::Throttled, FailureKind::Limit) {
            return failure;
        }
        let now = self.now();
        let until = self
            .budget
            .overload_until(now)
            .or_else(|| self.operating.refused_until(&self.state, &call.method, now))
            .or_else(|| self.budget.paused_until(now));
        match until {
            Some(until) => failure.retry_after_ms(until.ms_since(now)),
            // Not this method was refused but the batch around it: alone it may go at once.
            None if failure.code == OPERATION_LIMIT => failure.retry_after_ms(ALONE_AGAIN_MS),
            None => failure,
        }
    }

    pub(super) fn hold_back(&mut self, ticket: Ticket<Work>, code: &str, until: Timestamp) {
        self.count(ticket.load.method(), |usage| usage.limited += 1);
        ticket.load.refuse(&throttled(code, until.ms_since(self.now())));
    }

    // ---- what was learned ----------------------------------------------------------------------------------

    /// What an answer taught us about limits and the address.
    pub(super) fn learn(
        &mut self,
        observed: &Observed,
        succeeded: bool,
        failed: Option<&Failure>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.now();
        let mut changed = self.operating.learn(&mut self.state, observed, now);
        if let Some(origin) = &observed.moved_to {
            tracing::warn!(portal = %self.id, to = %origin, "the portal has moved");
            self.state.moved_to = Some(origin.clone());
            changed = true;
        }
        // The repeat after a rename was sent without asking.
        self.budget.add(now, observed.requests.saturating_sub(1));
        for hit in &observed.limits {
            tracing::warn!(portal = %self.id, ?hit, "the portal's limit was hit");
            changed |= self.learn_limit(hit, now);
        }
        let limited = observed.limits.iter().any(|hit| matches!(hit, LimitHit::QueryRate { .. }));
        if succeeded && !limited {
            self.budget.answered();
        }
        if succeeded {
            changed |= self.works_again(now);
        }
        if let Some(failure) = failed {
            self.last_failure = Some(failure.reason.clone());
        }
        for (method, grown_ms) in self.operating.take_grown() {
            self.count(&method, |usage| usage.operating_ms += grown_ms);
        }
        self.show_operating();
        if changed {
            self.save(ctx);
        }
    }

    /// Says whether the durable state changed.
    pub(super) fn learn_limit(&mut self, hit: &LimitHit, now: Timestamp) -> bool {
        match hit {
            LimitHit::QueryRate { .. } => {
                self.budget.refused(self.pauses, now);
                self.count("batch", |usage| usage.limited += 1);
                false
            }
            LimitHit::Operation { method, .. } => {
                self.count(method, |usage| usage.limited += 1);
                false
            }
            LimitHit::Overload { .. } => {
                self.overloaded(now);
                true
            }
        }
    }
}

/// A limit of the portal: the asker comes back after that pause.
pub(super) fn throttled(code: &str, retry_after_ms: u64) -> Failure {
    Failure::new(
        FailureClass::Throttled,
        FailureKind::Limit,
        code,
        Text::new(
            format!("Портал ограничил запросы ({code}); повторим сами."),
            format!("The portal limits requests ({code}); we repeat by ourselves."),
        ),
    )
    .retry_after_ms(retry_after_ms.max(1_000))
}
