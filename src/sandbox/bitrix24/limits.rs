//! The portal's limits: the leaky bucket over all requests, and the operating time of each method.
//!
//! Knows no HTTP; time is an argument. Source: `limits.md` of the Bitrix24 docs.
//!
//! Invariants: a refused request adds nothing to the bucket; a blocked method adds nothing to its operating time.

use super::super::{Counters, Limits};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// State of the limits of one portal.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Level and its moment, by source address: all applications of one server share one bucket.
    buckets: BTreeMap<IpAddr, (f64, i64)>,
    methods: BTreeMap<String, VecDeque<(i64, u64)>>,
}

/// Operating time of one method, as answers carry it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Operating {
    pub(crate) seconds: f64,
    /// Unix seconds when the oldest part of the sum leaves; 0: the portal does not count, and says nothing.
    pub(crate) reset_at: i64,
}

impl Operating {
    /// What a box without counters says: nothing.
    pub(crate) const ABSENT: Self = Self { seconds: 0.0, reset_at: 0 };
}

impl Meter {
    /// Lets a request into the bucket of its source; `false` when it is over the brim.
    pub(crate) fn admit(&mut self, limits: &Limits, source: IpAddr, now_ms: i64) -> bool {
        let Some(rate) = limits.bucket_rate else { return true };
        let (level, at_ms) = self.buckets.entry(source).or_insert((0.0, now_ms));
        let passed_s = (now_ms - *at_ms).max(0) as f64 / 1_000.0;
        *level = (*level - passed_s * rate.per_second).max(0.0);
        *at_ms = now_ms;
        if *level + 1.0 > rate.burst {
            return false;
        }
        *level += 1.0;
        true
    }

    /// Whether the method's sum is above the limit before the call: then the call is refused.
    pub(crate) fn blocked(&mut self, limits: &Limits, method: &str, now_ms: i64) -> Option<Operating> {
        let limit_ms = limits.operating_limit_ms.filter(|_| limits.counters != Counters::Absent)?;
        let operating = self.operating(limits, method, now_ms);
        (operating.seconds * 1_000.0 > limit_ms as f64).then_some(operating)
    }

    /// Adds the time of one call and returns the new sum.
    pub(crate) fn charge(&mut self, limits: &Limits, method: &str, now_ms: i64) -> Operating {
        if limits.counters == Counters::Absent {
            return Operating::ABSENT;
        }
        let parts = self.methods.entry(method.to_owned()).or_default();
        let minute = now_ms - now_ms.rem_euclid(60_000);
        match parts.back_mut() {
            // A bucket a minute, named by its first call: that call's time decides when the bucket leaves.
            Some((first, sum)) if *first >= minute => *sum += limits.operating_call_ms,
            _ => parts.push_back((now_ms, limits.operating_call_ms)),
        }
        self.operating(limits, method, now_ms)
    }

    fn operating(&mut self, limits: &Limits, method: &str, now_ms: i64) -> Operating {
        let window_ms = i64::try_from(limits.operating_window.as_millis()).unwrap_or(i64::MAX);
        let parts = self.methods.entry(method.to_owned()).or_default();
        while parts.front().is_some_and(|(first, _)| first.saturating_add(window_ms) <= now_ms) {
            parts.pop_front();
        }
        let sum_ms: u64 = parts.iter().map(|(_, ms)| ms).sum();
        let first = parts.front().map_or(now_ms, |(first, _)| *first);
        // Rounded up: at the named second the block is certainly over.
        let reset_at = first.saturating_add(window_ms).saturating_add(999) / 1_000;
        Operating { seconds: sum_ms as f64 / 1_000.0, reset_at }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::BucketRate;
    use super::*;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    use std::time::Duration;

    #[test]
    fn the_bucket_lets_the_burst_through_and_then_its_rate() {
        let limits =
            Limits { bucket_rate: Some(BucketRate { per_second: 2.0, burst: 3.0 }), ..Limits::default() };
        let mut meter = Meter::default();
        let admitted = (0..5).filter(|_| meter.admit(&limits, HERE, 1_000)).count();
        assert_eq!(admitted, 3);
        assert!(!meter.admit(&limits, HERE, 1_400));
        assert!(meter.admit(&limits, THERE, 1_400), "another source has a bucket of its own");
        assert!(meter.admit(&limits, HERE, 1_500));
    }

    #[test]
    fn a_method_over_its_time_is_blocked_until_the_oldest_minute_leaves() {
        let limits = Limits {
            operating_limit_ms: Some(100),
            operating_call_ms: 60,
            operating_window: Duration::from_secs(5),
            ..Limits::default()
        };
        let mut meter = Meter::default();
        assert!(meter.blocked(&limits, "disk.file.get", 0).is_none());
        meter.charge(&limits, "disk.file.get", 0);
        assert!(meter.blocked(&limits, "disk.file.get", 10).is_none());
        meter.charge(&limits, "disk.file.get", 10);
        let blocked = meter.blocked(&limits, "disk.file.get", 20).expect("120 ms are above 100 ms");
        assert_eq!(blocked.reset_at, 5);
        assert!(meter.blocked(&limits, "crm.item.get", 20).is_none());
        assert!(meter.blocked(&limits, "disk.file.get", 5_000).is_none());
    }
}
