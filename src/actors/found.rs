//! What a second channel found, as a notice: which object changed, when, and which channel told it.
//!
//! The outgoing webhook is never resent, so the offline queue and the sweep look for what it has lost. What they
//! find takes the same way through the inbox as an event of the webhook, under a kind of its own, so that the gap
//! report can tell the two apart.

use crate::domain::{CrmItem, PortalId, Timestamp};
use crate::store::{NewNotice, NoticeKind};
use crate::telemetry::metrics::HealingChannel;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Content type of an encoded finding in the inbox.
pub const CONTENT_TYPE: &str = "application/vnd.edobridge.found+json";

/// What an event, of whichever channel, speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// An item of the CRM.
    Item(CrmItem),
    /// A document of the document generator, by its id.
    Generated(u64),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(item) => write!(f, "{item}"),
            Self::Generated(id) => write!(f, "generated:{id}"),
        }
    }
}

/// Which second channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The portal's offline queue (`event.offline.*`).
    OfflineQueue,
    /// A periodic question for what changed.
    Sweep,
}

impl Channel {
    /// Its label in metrics, and its name in the API.
    pub fn label(self) -> HealingChannel {
        match self {
            Self::OfflineQueue => HealingChannel::OfflineQueue,
            Self::Sweep => HealingChannel::Sweep,
        }
    }
}

/// A finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What changed.
    pub subject: Subject,
    /// Who told us.
    pub channel: Channel,
    /// When it changed, by the portal's clock; not known for a generated document.
    pub changed_at: Option<Timestamp>,
}

impl Found {
    /// Bytes for the inbox.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The inverse of [`Found::encode`].
    ///
    /// # Errors
    /// When the bytes are no finding.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The notice for the inbox. The same finding twice is one notice while the first is pending.
    pub fn notice(&self, portal: &PortalId, now: Timestamp) -> NewNotice {
        NewNotice {
            kind: NoticeKind::SecondChannel,
            portal: Some(portal.clone()),
            received_at: now,
            content_type: CONTENT_TYPE.to_owned(),
            body: self.encode().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_survives_the_inbox() {
        for subject in [Subject::Item(CrmItem { entity_type_id: 1046, id: 7 }), Subject::Generated(61)] {
            let found = Found { subject, channel: Channel::Sweep, changed_at: Some(Timestamp(5)) };
            assert_eq!(Found::decode(&found.encode()).ok(), Some(found));
        }
        assert!(Found::decode(b"{}").is_err());
    }
}
