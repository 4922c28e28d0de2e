//! The portal's leaky bucket, counted on our side so that it never overflows on theirs.
//!
//! `limits.md`: every HTTP request adds one, the level falls by a rate each second, above the burst the portal
//! answers 503. Counted per portal and source address. Pure: the level lives in
//! [`PortalState`], which its owner stores, so a restart does not spend the bucket twice.

use crate::domain::Timestamp;
use crate::domain::portal::PortalState;

/// One request in the thousandths that the level is counted in.
const ONE: u64 = 1_000;

/// The size of a portal's bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeakyBucket {
    /// How fast it drains, in thousandths of a request per second.
    pub rate_milli_per_s: u32,
    /// How many requests it holds.
    pub burst: u32,
}

/// Whether a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Yes; it is counted already.
    Granted,
    /// Not before this moment. Nothing was counted.
    WaitUntil(Timestamp),
}

impl LeakyBucket {
    /// The ordinary cloud portal: 2 a second, 50 at once.
    pub const CLOUD: Self = Self { rate_milli_per_s: 2_000, burst: 50 };
    /// A cloud portal on the Enterprise plan: 5 a second, 250 at once.
    pub const ENTERPRISE: Self = Self { rate_milli_per_s: 5_000, burst: 250 };

    /// Takes room for one request, or says when there will be some.
    pub fn take(self, state: &mut PortalState, now: Timestamp) -> Take {
        let level = self.settle(state, now);
        let free_at = self.capacity_milli().saturating_sub(ONE);
        if level <= free_at {
            state.bucket_milli = level + ONE;
            state.bucket_at = now;
            return Take::Granted;
        }
        let wait_ms = ((level - free_at) * 1_000).div_ceil(self.rate());
        Take::WaitUntil(now.plus_ms(wait_ms))
    }

    /// The level at a moment, in thousandths of a request.
    pub fn level_milli(self, state: &PortalState, now: Timestamp) -> u64 {
        let drained = now.ms_since(state.bucket_at).saturating_mul(self.rate()) / 1_000;
        state.bucket_milli.saturating_sub(drained)
    }

    /// Counts requests that were sent without asking: the repeat after a rename.
    pub fn add(self, state: &mut PortalState, now: Timestamp, requests: u32) {
        let level = self.settle(state, now);
        state.bucket_milli = level.saturating_add(u64::from(requests) * ONE).min(self.level_max());
        state.bucket_at = now;
    }

    /// The portal says that its bucket is full: somebody else on our address fills it too.
    pub fn fill(self, state: &mut PortalState, now: Timestamp) {
        state.bucket_milli = self.capacity_milli().max(self.settle(state, now));
        state.bucket_at = now;
    }

    /// The level now. A clock that went back drains nothing, and is taken as it is: else the bucket would stand
    /// still until the old time is reached again.
    fn settle(self, state: &mut PortalState, now: Timestamp) -> u64 {
        if now < state.bucket_at {
            state.bucket_at = now;
        }
        // A level from before a change of settings, or from a damaged record, must not wait for days.
        state.bucket_milli = state.bucket_milli.min(self.level_max());
        self.level_milli(state, now)
    }

    /// What we use of the burst, in thousandths of a request: less by what drains in a second, because the portal may drain in whole seconds and
    /// requests do not arrive evenly. At least one request fits.
    pub fn capacity_milli(self) -> u64 {
        let burst = u64::from(self.burst) * ONE;
        burst.saturating_sub(self.rate()).max(ONE)
    }

    fn level_max(self) -> u64 {
        self.capacity_milli().saturating_mul(2)
    }

    fn rate(self) -> u64 {
        u64::from(self.rate_milli_per_s).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The portal's side: drains in whole seconds, as unfavourably as the docs allow.
    struct Portal {
        level: u64,
        second: i64,
    }

    impl Portal {
        fn request(&mut self, bucket: LeakyBucket, now: Timestamp) -> bool {
            let second = now.0.div_euclid(1_000);
            let drained = (second - self.second) as u64 * bucket.rate();
            self.level = self.level.saturating_sub(drained) + ONE;
            self.second = second;
            self.level <= u64::from(bucket.burst) * ONE
        }
    }

    proptest! {
        #[test]
        fn the_portal_never_refuses_even_across_restarts(
            start in 0_i64..2_000_000_000,
            rate in 100_u32..10_000,
            extra in 2_u32..200,
            pauses in prop::collection::vec((0_u64..1_500, 1_usize..80, any::<bool>()), 1..40),
        ) {
            let bucket = LeakyBucket { rate_milli_per_s: rate, burst: rate.div_ceil(1_000) + extra };
            let mut state = PortalState::default();
            let mut now = Timestamp(start);
            let mut portal = Portal { level: 0, second: now.0.div_euclid(1_000) };
            for (pause, tries, restart) in pauses {
                now = now.plus_ms(pause);
                if restart {
                    state = state.clone();
                }
                for _ in 0..tries {
                    if bucket.take(&mut state, now) == Take::Granted {
                        prop_assert!(portal.request(bucket, now));
                    }
                }
            }
        }

        #[test]
        fn the_promised_moment_is_true_and_not_late(
            rate in 1_u32..10_000,
            burst in 1_u32..300,
            level in 0_u64..400_000,
            now in 0_i64..1_000_000_000,
        ) {
            let bucket = LeakyBucket { rate_milli_per_s: rate, burst };
            let fresh = || PortalState { bucket_milli: level, bucket_at: Timestamp(now), ..PortalState::default() };
            if let Take::WaitUntil(at) = bucket.take(&mut fresh(), Timestamp(now)) {
                prop_assert_eq!(bucket.take(&mut fresh(), at), Take::Granted);
                let before = Timestamp(at.0 - 1);
                prop_assert_ne!(bucket.take(&mut fresh(), before), Take::Granted);
            }
        }
    }

    fn spend(bucket: LeakyBucket, state: &mut PortalState, now: Timestamp) -> usize {
        (0..1_000).take_while(|_| bucket.take(state, now) == Take::Granted).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut state = PortalState::default();
        let now = Timestamp(1_000_000);
        assert_eq!(spend(LeakyBucket::CLOUD, &mut state, now), 48);
        assert_eq!(spend(LeakyBucket::CLOUD, &mut state, now.plus_ms(500)), 1);
        assert_eq!(spend(LeakyBucket::CLOUD, &mut state, now.plus_ms(60_000)), 48);
    }

    #[test]
    fn a_slow_bucket_asked_often_still_drains() {
        let bucket = LeakyBucket { rate_milli_per_s: 100, burst: 2 };
        let mut state = PortalState::default();
        let granted =
            (0..60_000).filter(|ms| bucket.take(&mut state, Timestamp(*ms)) == Take::Granted).count();
        assert_eq!(granted, 1 + 6, "one at once, then one in ten seconds");
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_stop_the_work() {
        let bucket = LeakyBucket::CLOUD;
        let mut state = PortalState::default();
        spend(bucket, &mut state, Timestamp(10_000_000));
        let Take::WaitUntil(at) = bucket.take(&mut state, Timestamp(1_000)) else {
            panic!("the level must survive the jump")
        };
        assert!(at <= Timestamp(2_000), "{at:?}");
    }

    #[test]
    fn a_refusal_by_the_portal_fills_our_count() {
        let mut state = PortalState::default();
        let now = Timestamp(5_000);
        LeakyBucket::CLOUD.fill(&mut state, now);
        assert!(matches!(LeakyBucket::CLOUD.take(&mut state, now), Take::WaitUntil(_)));
        let mut state = PortalState { bucket_milli: u64::MAX, ..PortalState::default() };
        assert!(
            matches!(LeakyBucket::CLOUD.take(&mut state, now), Take::WaitUntil(at) if at < now.plus_ms(60_000))
        );
    }

    #[test]
    fn an_uncounted_request_is_added() {
        let mut state = PortalState::default();
        LeakyBucket::CLOUD.add(&mut state, Timestamp(0), 2);
        assert_eq!(LeakyBucket::CLOUD.level_milli(&state, Timestamp(0)), 2_000);
        assert_eq!(LeakyBucket::CLOUD.level_milli(&state, Timestamp(500)), 1_000);
    }
}
