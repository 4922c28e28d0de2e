//! `[portals.second_channel]`: how changes are learned that the portal's webhook did not tell.

use super::units::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The second channel of a portal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondChannelConfig {
    /// Which ways are gone.
    pub mode: SecondChannelMode,
    /// Pause between two sweeps.
    pub sweep_interval: Period,
    /// So much of the time before the last sweep is swept again.
    pub sweep_overlap: Period,
    /// How far the very first sweep looks back.
    pub sweep_first: Period,
    /// Pause between two looks at the offline queue when nothing wakes us.
    pub offline_interval: Period,
    /// How long an event may be under way before the gap report counts it as missed.
    pub grace: Period,
    /// Whether the portal's push server is listened to.
    pub push: PushMode,
}

/// Which second channels are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecondChannelMode {
    /// The offline queue where an application is installed, and a sweep at the start; a regular sweep elsewhere.
    Auto,
    /// Only a regular sweep.
    Sweep,
    /// The offline queue and a regular sweep.
    Both,
    /// None: what the webhook loses stays lost.
    Off,
}

/// Whether the push server is listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PushMode {
    /// It is, and wakes the reading of the offline queue.
    On,
    /// It is not.
    Off,
}
