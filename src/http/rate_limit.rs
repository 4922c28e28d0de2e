//! How many requests one source may make: GCRA (a leaky bucket kept as one number) per source address.
//!
//! Knows nothing of HTTP. The core takes the present as an argument; [`RateLimit`] adds a clock and a lock.
//!
//! Invariants:
//! - **RL-1** in any minute a source gets at most its quota at once, and its quota a minute in the long run;
//! - **RL-2** the table never holds more than [`SOURCES_MAX`] sources; the one that used the least of its quota is
//!   forgotten first, so that a flood from many addresses cannot wash out the record of a heavy one;
//! - **RL-3** a refused request does not prolong the refusal.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How many sources are remembered: about 1.5 MB, and far more than the honest senders of one installation.
pub const SOURCES_MAX: usize = 10_000;

const MINUTE_NS: u64 = 60_000_000_000;

/// What a limiter says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within the quota; it has been counted.
    Allowed,
    /// Over the quota.
    Refused {
        /// Seconds until one request would be allowed again, rounded up; at least 1.
        retry_after_s: u64,
    },
}

/// A sender as far as the limit goes: an IPv4 address, or the /64 network that one IPv6 customer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Sender {
    V4(Ipv4Addr),
    V6([u8; 8]),
}

impl From<IpAddr> for Sender {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The pure core: for each source the moment at which its bucket will be empty.
#[derive(Debug)]
pub struct Gcra {
    interval_ns: u64,
    tolerance_ns: u64,
    sources_max: usize,
    empty_at: HashMap<Sender, u64>,
    by_moment: BTreeSet<(u64, Sender)>,
}

impl Gcra {
    /// `per_minute` requests a minute from one source, all of them at once if it likes.
    pub fn new(per_minute: NonZeroU32, sources_max: usize) -> Self {
        let per_minute = u64::from(per_minute.get());
        let interval_ns = MINUTE_NS / per_minute;
        Self {
            interval_ns,
            tolerance_ns: interval_ns * (per_minute - 1),
            sources_max: sources_max.max(1),
            empty_at: HashMap::new(),
            by_moment: BTreeSet::new(),
        }
    }

    /// Counts one request of `source` at `now_ns` (nanoseconds on any clock that never goes back).
    pub fn check(&mut self, source: IpAddr, now_ns: u64) -> Verdict {
        let sender = Sender::from(source);
        let empty_at = self.empty_at.get(&sender).copied().unwrap_or(now_ns).max(now_ns);
        let ahead_ns = empty_at - now_ns;
        if ahead_ns > self.tolerance_ns {
            return Verdict::Refused {
                retry_after_s: (ahead_ns - self.tolerance_ns).div_ceil(1_000_000_000),
            };
        }
        self.remember(sender, empty_at.saturating_add(self.interval_ns));
        Verdict::Allowed
    }

    /// How many sources are remembered.
    pub fn sources(&self) -> usize {
        self.empty_at.len()
    }

    fn remember(&mut self, sender: Sender, empty_at: u64) {
        match self.empty_at.insert(sender, empty_at) {
            Some(before) => {
                self.by_moment.remove(&(before, sender));
            }
            None if self.empty_at.len() > self.sources_max => {
                if let Some((_, least)) = self.by_moment.pop_first() {
                    self.empty_at.remove(&least);
                }
            }
            None => {}
        }
        self.by_moment.insert((empty_at, sender));
    }
}

/// [`Gcra`] with a clock and a lock, for use from many threads.
#[derive(Debug)]
pub struct RateLimit {
    core: Mutex<Gcra>,
    started: Instant,
}

impl RateLimit {
    /// `per_minute` requests a minute from one source.
    pub fn new(per_minute: NonZeroU32) -> Self {
        Self { core: Mutex::new(Gcra::new(per_minute, SOURCES_MAX)), started: Instant::now() }
    }
    /// Counts one request of `source` now.
    pub fn check(&self, source: IpAddr) -> Verdict {
        let now_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.core.lock().unwrap_or_else(PoisonError::into_inner).check(source, now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn limit(per_minute: u32, sources_max: usize) -> Gcra {
        Gcra::new(NonZeroU32::new(per_minute).unwrap(), sources_max)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_quota_may_come_at_once_and_not_one_more() {
        let mut limit = limit(100, 10);
        for _ in 0..100 {
            assert_eq!(limit.check(address("192.0.2.1"), SECOND), Verdict::Allowed);
        }
        assert_eq!(limit.check(address("192.0.2.1"), SECOND), Verdict::Refused { retry_after_s: 1 });
        assert_eq!(limit.check(address("192.0.2.2"), SECOND), Verdict::Allowed, "another source is not hit");
    }

    #[test]
    fn whoever_waits_as_told_is_let_in_again() {
        let mut limit = limit(2, 10);
        let source = address("192.0.2.1");
        assert_eq!(limit.check(source, 0), Verdict::Allowed);
        assert_eq!(limit.check(source, 0), Verdict::Allowed);
        assert_eq!(limit.check(source, 0), Verdict::Refused { retry_after_s: 30 });
        assert_eq!(limit.check(source, 29 * SECOND), Verdict::Refused { retry_after_s: 1 });
        assert_eq!(limit.check(source, 30 * SECOND), Verdict::Allowed);
    }

    #[test]
    fn one_ipv6_customer_is_one_source_and_a_mapped_address_is_its_ipv4_self() {
        let mut limit = limit(1, 10);
        assert_eq!(limit.check(address("2001:db8:0:1::1"), 0), Verdict::Allowed);
        assert_ne!(limit.check(address("2001:db8:0:1:ffff::2"), 0), Verdict::Allowed);
        assert_eq!(limit.check(address("2001:db8:0:2::1"), 0), Verdict::Allowed);
        assert_eq!(limit.check(address("::ffff:192.0.2.1"), 0), Verdict::Allowed);
        assert_ne!(limit.check(address("192.0.2.1"), 0), Verdict::Allowed);
    }

    #[test]
    fn a_flood_from_many_addresses_does_not_wash_out_a_heavy_source() {
        let mut limit = limit(10, 100);
        let heavy = address("192.0.2.1");
        while limit.check(heavy, 0) == Verdict::Allowed {}
        for n in 0..10_000_u32 {
            limit.check(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)), u64::from(n));
            assert!(limit.sources() <= 100);
        }
        assert_ne!(limit.check(heavy, 10_000), Verdict::Allowed);
    }

    proptest! {
        #[test]
        fn no_source_ever_gets_more_than_its_quota_plus_the_refill(
            per_minute in 1_u32..200,
            pauses in proptest::collection::vec(0_u64..5 * SECOND, 1..400),
        ) {
            let mut limit = limit(per_minute, 10);
            let (mut now, mut allowed) = (0_u64, 0_u64);
            for pause in pauses {
                now += pause;
                match limit.check(address("192.0.2.1"), now) {
                    Verdict::Allowed => allowed += 1,
                    Verdict::Refused { retry_after_s } => prop_assert!((1..=61).contains(&retry_after_s)),
                }
                // the interval is rounded down to whole nanoseconds, hence the second one
                prop_assert!(allowed <= u64::from(per_minute) + now * u64::from(per_minute) / MINUTE_NS + 1);
            }
        }
    }
}
