//! The present, as the operating system sees it.

use crate::domain::{Clock, Timestamp};
use std::time::{SystemTime, UNIX_EPOCH};

/// The clock of production. It may jump in both directions, as administrators and NTP please.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
        let now = SystemTime::now();
        // a machine set before 1970 counts as 1970: every later moment still sorts after it
        let ms = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_shows_this_century() {
        let (a, b) = (SystemClock.now(), SystemClock.now());
        assert!(a.0 > 1_700_000_000_000 && b >= a);
    }
}
