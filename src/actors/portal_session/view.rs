//! What people are shown of a session: its queue, its blocks, and who used the budget.

use super::PortalSession;
use super::queue::Priority;
use super::shared_budget::BucketLevel;
use crate::domain::portal_usage::HourUsage;
use crate::domain::{PortalId, Text, Timestamp};
use actix::prelude::*;

/// What people are shown of a portal.
#[derive(Message)]
#[rtype(result = "SessionView")]
pub struct View;

/// Answer to [`View`].
#[derive(Debug, Clone)]
pub struct SessionView {
    /// The portal.
    pub id: PortalId,
    /// Scheme and host, no secret.
    pub address: String,
    /// Level of the bucket in requests.
    pub bucket_level: f64,
    /// Calls that wait.
    pub waiting: usize,
    /// Methods that are blocked, and until when.
    pub blocked: Vec<(String, Timestamp)>,
    /// The last failure, in words.
    pub last_failure: Option<Text>,
}

/// Who used the budget.
#[derive(Message)]
#[rtype(result = "BudgetReport")]
pub struct GiveBudget {
    /// How many hours back the account is wanted; the present one counts as the first.
    pub hours: u64,
}

/// Answer to [`GiveBudget`].
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetReport {
    /// The portal.
    pub id: PortalId,
    /// The leaky bucket; none if the portal has none.
    pub bucket: Option<BucketLevel>,
    /// Calls of people that wait.
    pub waiting_interactive: usize,
    /// Calls of sagas that wait.
    pub waiting_background: usize,
    /// Methods that the portal has blocked, and until when.
    pub blocked: Vec<(String, Timestamp)>,
    /// Nothing is sent until then, after QUERY_LIMIT_EXCEEDED.
    pub paused_until: Option<Timestamp>,
    /// The vendor has blocked the portal; the next attempt is made then.
    pub overload_until: Option<Timestamp>,
    /// What was used, hour by hour, oldest first.
    pub hours: Vec<HourUsage>,
}

impl Handler<View> for PortalSession {
    type Result = MessageResult<View>;

    fn handle(&mut self, _: View, _: &mut Self::Context) -> Self::Result {
        MessageResult(SessionView {
            id: self.id.clone(),
            address: self.client.origin().to_string(),
            bucket_level: self.budget.level(self.now()).map_or(0.0, |bucket| bucket.level),
            waiting: self.queue.len(),
            blocked: self.state.blocked_until.clone(),
            last_failure: self.last_failure.clone(),
        })
    }
}

impl Handler<GiveBudget> for PortalSession {
    type Result = ResponseActFuture<Self, BudgetReport>;

    fn handle(&mut self, msg: GiveBudget, _: &mut Self::Context) -> Self::Result {
        let (parts, id) = (self.parts.clone(), self.id.clone());
        let last = HourUsage::hour_of(self.now());
        let first = (last + 1).saturating_sub(msg.hours);
        let read = async move { parts.store.portal_usage(&id, first, last).await };
        Box::pin(read.into_actor(self).map(move |stored, this, _| {
            let stored = stored.unwrap_or_else(|error| {
                tracing::warn!(portal = %this.id, %error, "cannot read the account of the portal's budget");
                Vec::new()
            });
            this.report(this.usage.completed(stored, first))
        }))
    }
}

impl PortalSession {
    fn report(&self, hours: Vec<HourUsage>) -> BudgetReport {
        let now = self.now();
        BudgetReport {
            id: self.id.clone(),
            bucket: self.budget.level(now),
            waiting_interactive: self.queue.waiting(Priority::Interactive),
            waiting_background: self.queue.waiting(Priority::Background),
            blocked: self.state.blocked_until.clone(),
            paused_until: self.budget.paused_until(now),
            overload_until: self.budget.overload_until(now),
            hours,
        }
    }
}
