//! What we remember of a portal between restarts.

use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Durable state of one portal: its present address and its budget.
///
/// Kept so that a restart neither forgets a rename (HTTP 302) nor spends the leaky bucket twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct PortalState {
    /// `https://host` where the portal was last found, if it differs from the configured one.
    pub moved_to: Option<String>,
    /// Level of the leaky bucket in thousandths of a request, at `bucket_at`.
    pub bucket_milli: u64,
    /// When `bucket_milli` was true.
    pub bucket_at: Timestamp,
    /// Methods that the portal has blocked, with the moment when each opens again.
    pub blocked_until: Vec<(String, Timestamp)>,
    /// The whole portal is blocked (OVERLOAD_LIMIT) until then.
    pub overload_until: Option<Timestamp>,
}
