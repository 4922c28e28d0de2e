//! Pauses after QUERY_LIMIT_EXCEEDED: each refusal in a row doubles them, an answer ends the row.

use crate::actors::PortalPauses;
use crate::domain::Timestamp;

/// Where the row of refusals stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitPauses {
    hits: u32,
    until: Option<Timestamp>,
}

impl LimitPauses {
    /// One more refusal. Requests that were under way together are refused together: they count once.
    pub fn hit(&mut self, pauses: PortalPauses, now: Timestamp) {
        if self.until(now).is_none() {
            self.hits = self.hits.saturating_add(1);
        }
        self.until = Some(now.plus_ms(pause_ms(pauses, self.hits)));
    }

    /// The portal has answered.
    pub fn answered(&mut self) {
        self.hits = 0;
    }

    /// Until when nothing may be sent.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| *until > now)
    }
}

/// Doubles with each refusal in a row, up to the configured maximum.
fn pause_ms(pauses: PortalPauses, hits: u32) -> u64 {
    let doubled = pauses.query_limit_ms.saturating_mul(1 << hits.saturating_sub(1).min(20));
    doubled.min(pauses.query_limit_ms_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: PortalPauses = PortalPauses {
        query_limit_ms: 10_000,
        query_limit_ms_max: 300_000,
        operating_slow_at_ms: 300_000,
        overload_ms: 3_600_000,
        gather_ms: 20,
    };

    #[test]
    fn the_pause_after_a_query_limit_starts_at_ten_seconds_and_grows_to_five_minutes() {
        let pauses: Vec<u64> = (1..=7).map(|hits| pause_ms(GUIDE, hits)).collect();
        assert_eq!(pauses, [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    }

    #[test]
    fn requests_refused_together_are_one_refusal_and_an_answer_ends_the_row() {
        let (mut pauses, now) = (LimitPauses::default(), Timestamp(5_000));
        pauses.hit(GUIDE, now);
        pauses.hit(GUIDE, now.plus_ms(5));
        assert_eq!(pauses.until(now), Some(now.plus_ms(10_005)));
        let later = now.plus_ms(20_000);
        assert_eq!(pauses.until(later), None);
        pauses.hit(GUIDE, later);
        assert_eq!(pauses.until(later), Some(later.plus_ms(20_000)));
        pauses.answered();
        let last = later.plus_ms(60_000);
        pauses.hit(GUIDE, last);
        assert_eq!(pauses.until(last), Some(last.plus_ms(10_000)));
    }
}
