//! `[sender_list]`: the published list of the vendor's servers that send events.

use super::units::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// Where the list is, and how long it counts. Used only for portals with `senders = "published"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SenderListConfig {
    /// Where the vendor publishes it.
    pub url: Url,
    /// Pause between two looks.
    pub refresh: Period,
    /// A list that cannot be refreshed counts this long; after that only tokens decide, and it is an alarm.
    pub grace: Period,
    /// Allows `http://` to a loopback address, for the sandbox. Refused for any other host.
    pub dangerous_allow_http: bool,
}

/// Whose events a portal takes, besides the proof of its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SenderRule {
    /// Anybody's; where `events_from` is not empty, only those.
    Any,
    /// Those of the published list and of `events_from`.
    Published,
}
