//! Periods of the configuration, as the parts take them.

use crate::config::Period;

/// In milliseconds.
pub(super) fn pauses(periods: &[Period]) -> Vec<u64> {
    periods.iter().map(|p| p.as_ms()).collect()
}
