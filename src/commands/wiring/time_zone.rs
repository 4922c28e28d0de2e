//! The zone in which people read times.

use crate::config::Config;

/// In which zone people read times.
pub fn zone(config: &Config) -> jiff::tz::TimeZone {
    // validation has refused unknown names: what is left is a zone that the system's database lost meanwhile
    jiff::tz::TimeZone::get(&config.time.zone).unwrap_or(jiff::tz::TimeZone::UTC)
}
