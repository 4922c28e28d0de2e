//! How many calls share one request: fewer after a batch that was not answered in time, more again as answers come.
//!
//! A portal works off a batch call by call within one timeout. After an outage much waits, so batches are as large as
//! they may be; on a slow portal none of them would ever be answered, and the same large batch would be tried for
//! ever. Knows nothing of what the calls are.

use crate::domain::FailureKind;
use crate::limits::BATCH_MAX;

/// The present size of a batch, from 1 to [`BATCH_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRoom(usize);

impl Default for BatchRoom {
    fn default() -> Self {
        Self(BATCH_MAX)
    }
}

impl BatchRoom {
    /// How many calls may go into the next request.
    pub fn calls(self) -> usize {
        self.0
    }

    /// Learns from a request with so many calls; `failed` is how all of them failed, none if one was answered.
    ///
    /// Only a request that used all the room says that there may be more: after an outage most requests are small, and
    /// growing by their success would bring the next full one too early. It grows slower than it shrinks, since each
    /// step too far costs a whole timeout.
    pub fn learn(&mut self, calls: usize, failed: Option<FailureKind>) {
        match failed {
            Some(FailureKind::NoAnswer) => self.0 = (calls / 2).clamp(1, self.0),
            None if calls >= self.0 => self.0 = (self.0 + self.0 / 4 + 1).min(BATCH_MAX),
            None => {}
            Some(
                FailureKind::Unreachable
                | FailureKind::ServerError
                | FailureKind::Garbled
                | FailureKind::Refused
                | FailureKind::Limit
                | FailureKind::Credentials
                | FailureKind::Local,
            ) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portal_too_slow_for_large_batches_gets_smaller_ones_until_it_answers() {
        let mut room = BatchRoom::default();
        assert_eq!(room.calls(), BATCH_MAX);
        for expected in [25, 12, 6, 3, 1, 1] {
            room.learn(room.calls(), Some(FailureKind::NoAnswer));
            assert_eq!(room.calls(), expected);
        }
        for expected in [2, 3, 4, 6, 8, 11, 14, 18, 23, 29, 37, 47, 50, 50] {
            room.learn(room.calls(), None);
            assert_eq!(room.calls(), expected);
        }
    }

    #[test]
    fn what_says_nothing_about_slowness_changes_nothing() {
        let mut room = BatchRoom::default();
        room.learn(50, Some(FailureKind::Unreachable));
        room.learn(50, Some(FailureKind::Limit));
        assert_eq!(room.calls(), BATCH_MAX);
        room.learn(20, Some(FailureKind::NoAnswer));
        room.learn(9, None);
        assert_eq!(
            room.calls(),
            10,
            "a small request that is answered does not show that larger ones would be"
        );
        // A straggler of an older, larger batch does not undo what was learned since.
        room.learn(4, Some(FailureKind::NoAnswer));
        room.learn(50, Some(FailureKind::NoAnswer));
        assert_eq!(room.calls(), 2);
    }
}
