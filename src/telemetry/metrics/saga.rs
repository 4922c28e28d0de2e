//! The sagas: where documents stand, and which of them stand still.

use super::Metrics;
use super::labels::{InvariantLabels, ReasonLabels, StateEventLabels, StateLabels};
use super::registering::{FloatGauge, clamp, put};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Saga {
    documents: Family<StateLabels, Gauge>,
    oldest_waiting_seconds: Family<StateLabels, FloatGauge>,
    transitions: Family<StateEventLabels, Counter>,
    timer_lag_seconds: FloatGauge,
    dead_letters: Gauge,
    dead_lettered: Family<ReasonLabels, Counter>,
    invariant_violations: Family<InvariantLabels, Counter>,
}

impl Saga {
    pub(super) fn register(r: &mut Registry) -> Self {
        Self {
            documents: put(r, "saga_documents", "Documents by state", Family::default()),
            oldest_waiting_seconds: put(
                r,
                "saga_oldest_waiting_seconds",
                "Age in its state of the document that has been there longest",
                Family::default(),
            ),
            transitions: put(
                r,
                "saga_transitions",
                "Committed transitions, by state left and event",
                Family::default(),
            ),
            timer_lag_seconds: put(
                r,
                "saga_timer_lag_seconds",
                "How long the most overdue timer has been due",
                Gauge::default(),
            ),
            dead_letters: put(r, "saga_dead_letters", "Documents that wait for a person", Gauge::default()),
            dead_lettered: put(
                r,
                "saga_dead_lettered",
                "Documents parked for a person, by reason",
                Family::default(),
            ),
            invariant_violations: put(
                r,
                "saga_invariant_violations",
                "Broken invariants found, by their id",
                Family::default(),
            ),
        }
    }
}

impl Metrics {
    /// Documents that are in `state` now, and the age of the one that has been there longest.
    pub fn set_documents(&self, state: &'static str, count: u64, oldest: Duration) {
        let labels = StateLabels { state };
        self.saga.documents.get_or_create(&labels).set(clamp(count));
        self.saga.oldest_waiting_seconds.get_or_create(&labels).set(oldest.as_secs_f64());
    }
    /// A transition was committed.
    pub fn transition(&self, state: &'static str, event: &'static str) {
        self.saga.transitions.get_or_create(&StateEventLabels { state, event }).inc();
    }
    /// How long the most overdue timer has been due.
    pub fn set_timer_lag(&self, lag: Duration) {
        self.saga.timer_lag_seconds.set(lag.as_secs_f64());
    }
    /// Dead letters that wait for a person now.
    pub fn set_dead_letters(&self, count: u64) {
        self.saga.dead_letters.set(clamp(count));
    }
    /// A saga was parked.
    pub fn dead_lettered(&self, reason: &'static str) {
        self.saga.dead_lettered.get_or_create(&ReasonLabels { reason }).inc();
    }
    /// An invariant was found broken.
    pub fn invariant_violated(&self, id: &'static str) {
        self.saga.invariant_violations.get_or_create(&InvariantLabels { id }).inc();
    }
}
