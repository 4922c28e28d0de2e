//! A circuit breaker per remote, with half-open probes: no storm when a remote comes back.
//!
//! Pure: time is an argument. What it refuses is `Throttled`, so that a closed door is not counted as an
//! attempt of the document that stands before it.

use crate::domain::{Failure, FailureClass, FailureKind, Text, Timestamp};
use crate::saga::retry::jittered;

/// When a circuit opens and how it closes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitSettings {
    /// Outages in a row that open it.
    pub failures_to_open: u32,
    /// Pause before the first probe, in milliseconds.
    pub probe_after_ms: u64,
    /// Longest pause between probes, in milliseconds.
    pub probe_after_ms_max: u64,
}

/// The breaker of one remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    settings: CircuitSettings,
    failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Timestamp, pause_ms: u64 },
    HalfOpen { since: Timestamp, pause_ms: u64 },
}

/// What people are shown of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitView {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// One probe is under way.
    HalfOpen,
}

impl CircuitView {
    /// Stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Circuit {
    /// A closed circuit.
    pub fn new(settings: CircuitSettings) -> Self {
        Self { settings, failures: 0, state: State::Closed }
    }

    /// Whether a call may pass now.
    ///
    /// # Errors
    /// The pause in milliseconds after which to ask again.
    pub fn enter(&mut self, now: Timestamp, chance: u64) -> Result<(), u64> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until, pause_ms } if until <= now => {
                self.state = State::HalfOpen { since: now, pause_ms };
                Ok(())
            }
            State::Open { until, pause_ms } => {
                Err(until.ms_since(now) + jittered(pause_ms / 2 + 1, 100, chance))
            }
            // A probe that never came back must not keep the door shut.
            State::HalfOpen { since, pause_ms } if now.ms_since(since) > self.settings.probe_after_ms_max => {
                self.state = State::HalfOpen { since: now, pause_ms };
                Ok(())
            }
            State::HalfOpen { pause_ms, .. } => Err(jittered(pause_ms + 1, 50, chance)),
        }
    }

    /// The remote answered, whatever it said.
    pub fn answered(&mut self) {
        self.failures = 0;
        self.state = State::Closed;
    }

    /// Nobody answered.
    pub fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        let pause_ms = match self.state {
            State::Closed if self.failures < self.settings.failures_to_open => return,
            State::Closed => self.settings.probe_after_ms,
            State::HalfOpen { pause_ms, .. } => (pause_ms * 2).min(self.settings.probe_after_ms_max),
            // A straggler from before the door was shut says nothing new.
            State::Open { .. } => return,
        };
        self.state = State::Open { until: now.plus_ms(pause_ms), pause_ms };
    }

    /// For metrics and people.
    pub fn view(&self) -> CircuitView {
        match self.state {
            State::Closed => CircuitView::Closed,
            State::Open { .. } => CircuitView::Open,
            State::HalfOpen { .. } => CircuitView::HalfOpen,
        }
    }
}

/// The failure of a call that was not even tried.
pub fn refused(remote: &str, pause_ms: u64) -> Failure {
    Failure::new(
        FailureClass::Throttled,
        FailureKind::Local,
        "circuit_open",
        Text::new(
            format!("{remote} не отвечает; ждём, пока пробный запрос не пройдёт."),
            format!("{remote} does not answer; waiting until a probe succeeds."),
        ),
    )
    .retry_after_ms(pause_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: CircuitSettings =
        CircuitSettings { failures_to_open: 3, probe_after_ms: 1_000, probe_after_ms_max: 4_000 };

    fn opened() -> Circuit {
        let mut c = Circuit::new(SETTINGS);
        for _ in 0..3 {
            assert!(c.enter(Timestamp(0), 0).is_ok());
            c.failed(Timestamp(0));
        }
        c
    }

    #[test]
    fn three_outages_in_a_row_open_it_and_an_answer_between_does_not_count() {
        let mut c = Circuit::new(SETTINGS);
        c.failed(Timestamp(0));
        c.failed(Timestamp(0));
        c.answered();
        c.failed(Timestamp(0));
        assert_eq!(c.view(), CircuitView::Closed);
        assert_eq!(opened().view(), CircuitView::Open);
    }

    #[test]
    fn one_probe_at_a_time_passes_a_half_open_circuit() {
        let mut c = opened();
        assert!(c.enter(Timestamp(999), 0).is_err());
        assert!(c.enter(Timestamp(1_000), 0).is_ok());
        assert!(c.enter(Timestamp(1_000), 0).is_err());
        c.answered();
        assert!(c.enter(Timestamp(1_000), 0).is_ok());
        assert!(c.enter(Timestamp(1_000), 0).is_ok());
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_the_limit() {
        let mut c = opened();
        let mut now = 1_000;
        for pause in [2_000, 4_000, 4_000] {
            assert!(c.enter(Timestamp(now), 0).is_ok());
            c.failed(Timestamp(now));
            assert!(c.enter(Timestamp(now + pause - 1), 0).is_err());
            now += pause;
        }
    }

    #[test]
    fn a_probe_that_never_returns_does_not_shut_the_door_for_ever() {
        let mut c = opened();
        assert!(c.enter(Timestamp(1_000), 0).is_ok());
        assert!(c.enter(Timestamp(5_001), 0).is_ok());
    }
}
