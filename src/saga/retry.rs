//! Retry schedules as data: a list of pauses, jittered by a given number.

/// Pauses between attempts, in milliseconds. The list ends where patience ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Pause before the second attempt, the third, and so on.
    pub delays_ms: Vec<u64>,
    /// What happens when the list is used up.
    pub then: Exhausted,
}

/// What follows the last listed pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// Give up: a dead letter.
    GiveUp,
    /// Go on with the last pause (polls and reminders that must never end by themselves).
    RepeatLast,
}

impl Schedule {
    /// A schedule that gives up after its list.
    pub fn finite(delays_ms: impl Into<Vec<u64>>) -> Self {
        Self { delays_ms: delays_ms.into(), then: Exhausted::GiveUp }
    }
    /// A schedule that goes on with its last pause.
    pub fn endless(delays_ms: impl Into<Vec<u64>>) -> Self {
        Self { delays_ms: delays_ms.into(), then: Exhausted::RepeatLast }
    }
    /// The pause after the `tries`-th failed attempt (1 = the first), or `None` when patience is over.
    ///
    /// `chance` is any number; it moves the pause by at most `jitter_percent` to either side, so that many
    /// sagas that failed together do not come back together.
    pub fn pause_ms(&self, tries: u32, jitter_percent: u32, chance: u64) -> Option<u64> {
        let index = tries.saturating_sub(1) as usize;
        let delay = match (self.delays_ms.get(index), self.then) {
            (Some(delay), _) => *delay,
            (None, Exhausted::RepeatLast) => *self.delays_ms.last()?,
            (None, Exhausted::GiveUp) => return None,
        };
        Some(jittered(delay, jitter_percent, chance))
    }
}

/// `delay_ms` moved by up to `percent` per cent either way, chosen by `chance`.
pub fn jittered(delay_ms: u64, percent: u32, chance: u64) -> u64 {
    let span =
        delay_ms / 100 * u64::from(percent.min(100)) + delay_ms % 100 * u64::from(percent.min(100)) / 100;
    if span == 0 {
        return delay_ms;
    }
    (delay_ms - span).saturating_add(chance % span.saturating_mul(2).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finite_schedule_gives_up_after_its_list() {
        let s = Schedule::finite([1_000, 2_000]);
        assert_eq!(s.pause_ms(1, 0, 7), Some(1_000));
        assert_eq!(s.pause_ms(2, 0, 7), Some(2_000));
        assert_eq!(s.pause_ms(3, 0, 7), None);
    }

    #[test]
    fn an_endless_schedule_repeats_its_last_pause() {
        assert_eq!(Schedule::endless([10, 20]).pause_ms(99, 0, 0), Some(20));
        assert_eq!(Schedule::endless([]).pause_ms(1, 0, 0), None);
    }

    #[test]
    fn jitter_stays_within_its_bounds_and_reaches_both() {
        let all: Vec<u64> = (0..1_000).map(|c| jittered(1_000, 20, c)).collect();
        assert_eq!(all.iter().min(), Some(&800));
        assert_eq!(all.iter().max(), Some(&1_200));
        assert_eq!(jittered(0, 20, 5), 0);
        assert_eq!(
            jittered(u64::MAX, 100, u64::MAX - 1),
            u64::MAX - 1,
            "the largest pause overflows nothing"
        );
    }
}
