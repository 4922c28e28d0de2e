//! `[retry]`: when failed calls are repeated, and when a remote is left alone for a while.

use super::units::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Schedules of repetition. A schedule is the list of pauses between tries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryConfig {
    /// After a 5xx of EasyDocs. One try more than there are pauses, then the document is parked.
    pub easydocs_server_error: Vec<Period>,
    /// After a portal's 5xx, HTML or other answer that makes no sense. Then the document is parked.
    pub portal_error: Vec<Period>,
    /// While a remote cannot be reached or refuses our credentials. The last pause repeats until `outage_give_up`.
    pub outage: Vec<Period>,
    /// An outage that has lasted this long for one document parks it.
    pub outage_give_up: Period,
    /// Each pause is lengthened by a random part of itself up to this many percent, against storms.
    pub jitter_percent: u8,
    /// Pause between two looks whether Bitrix24 has made the PDF of a generated document.
    pub pdf_pause: Period,
    /// A PDF that is not there after this time stops the document for a person.
    pub pdf_wait: Period,
    /// When a remote is left alone.
    pub circuit: CircuitConfig,
}

/// `[retry.circuit]`: the circuit breaker of each remote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CircuitConfig {
    /// So many failures in a row open the circuit: nothing is sent.
    pub failures: u32,
    /// First pause before a single probe; doubles with each probe that fails.
    pub probe_interval: Period,
    /// Longest pause between probes.
    pub probe_interval_max: Period,
}
