//! What is remembered of the person behind a portal's credential between two looks.

use super::Timestamp;
use serde::{Deserialize, Serialize};

/// The last look at the owner of a webhook or an application. Empty before the first one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRecord {
    /// When the portal was asked last; none: never.
    pub checked_at: Option<Timestamp>,
    /// The user as whom we act.
    pub user_id: Option<u64>,
    /// Whether this user administrated the portal when that was last true, and nobody was told of a change since.
    pub was_admin: bool,
    /// Keys of the concerns that people have been told of; one that is over is forgotten, so that it is told again.
    pub told: Vec<String>,
}
