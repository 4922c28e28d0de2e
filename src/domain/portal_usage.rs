//! Who used the budget of a portal: what each method cost, hour by hour.

use serde::{Deserialize, Serialize};

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

/// What one method cost within one hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodUsage {
    /// Its name; `batch`, `download` and `upload` are among them.
    pub method: String,
    /// HTTP requests that it had for itself.
    pub requests: u64,
    /// Calls that shared a request with others.
    pub commands: u64,
    /// How long its calls waited for their turn, summed, in milliseconds.
    pub waited_ms: u64,
    /// How much its operating time has grown by the portal's word, in milliseconds.
    pub operating_ms: u64,
    /// Calls that a limit of the portal refused, or that we held back because of one.
    pub limited: u64,
}

impl MethodUsage {
    /// Adds what another hour counted.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.commands = self.commands.saturating_add(other.commands);
        self.waited_ms = self.waited_ms.saturating_add(other.waited_ms);
        self.operating_ms = self.operating_ms.saturating_add(other.operating_ms);
        self.limited = self.limited.saturating_add(other.limited);
    }
}

/// What one hour cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourUsage {
    /// The hour, counted from the Unix epoch.
    pub hour: u64,
    /// By name.
    pub methods: Vec<MethodUsage>,
}

impl HourUsage {
    /// The hour that a moment belongs to.
    pub fn hour_of(at: super::Timestamp) -> u64 {
        u64::try_from(at.0.div_euclid(HOUR_MS)).unwrap_or(0)
    }

    /// When the hour begins.
    pub fn begins(&self) -> super::Timestamp {
        super::Timestamp(i64::try_from(self.hour).unwrap_or(0).saturating_mul(HOUR_MS))
    }
}
