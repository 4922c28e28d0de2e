//! A trigger of our own making (a polled folder, a further file of an item, an order of a person) as a notice.

use crate::saga::document::Source;
use serde::{Deserialize, Serialize};

/// Content type of an encoded trigger in the inbox.
pub const CONTENT_TYPE: &str = "application/vnd.edobridge.trigger+json";

/// Which file is to be signed, and by which rule if that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Where the file is.
    pub source: Source,
    /// The rule that wants it.
    pub rule: Option<String>,
}

impl Trigger {
    /// Bytes for the inbox.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
    /// The inverse of [`Trigger::encode`].
    ///
    /// # Errors
    /// When the bytes are not a trigger.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
