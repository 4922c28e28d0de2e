//! Calls to remotes: how they end, how long they take, circuits.

use super::Metrics;
use super::labels::{
    self, CallLabels, CallOutcome, CallOutcomeLabels, CircuitState, Provider, RemoteLabels, RetryLabels,
};
use super::registering::{Histograms, clamp, put, put_histograms, remote_seconds};
use crate::domain::FailureKind;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Effect {
    calls: Family<CallOutcomeLabels, Counter>,
    seconds: Histograms<CallLabels>,
    retries: Family<RetryLabels, Counter>,
    running: Family<RemoteLabels, Gauge>,
    circuit_state: Family<RemoteLabels, Gauge>,
}

impl Effect {
    pub(super) fn register(r: &mut Registry) -> Self {
        Self {
            calls: put(
                r,
                "effect_calls",
                "Calls to remotes that ended, by provider, call and outcome",
                Family::default(),
            ),
            seconds: put_histograms(
                r,
                "effect_seconds",
                "Duration of calls to remotes, by provider and call",
                remote_seconds,
            ),
            retries: put(
                r,
                "effect_retries",
                "Calls that will be repeated, by provider and kind of failure",
                Family::default(),
            ),
            running: put(r, "effect_running", "Calls that are running now, by remote", Family::default()),
            circuit_state: put(
                r,
                "effect_circuit_state",
                "Circuit breaker of a remote: 0 closed, 1 half open, 2 open",
                Family::default(),
            ),
        }
    }
}

impl Metrics {
    /// A call ended. `call` is a name from the closed set of calls that we make.
    pub fn called(&self, provider: Provider, call: &'static str, outcome: CallOutcome, took: Duration) {
        self.effect.calls.get_or_create(&CallOutcomeLabels { provider, call, outcome }).inc();
        self.effect.seconds.get_or_create(&CallLabels { provider, call }).observe(took.as_secs_f64());
    }
    /// A call will be repeated because of such a failure.
    pub fn will_retry(&self, provider: Provider, kind: FailureKind) {
        self.effect.retries.get_or_create(&RetryLabels { provider, kind: labels::failure_kind(kind) }).inc();
    }
    /// Calls that are running towards a remote now. `remote` is `easydocs` or the name of a portal.
    pub fn set_running(&self, remote: &str, calls: u64) {
        self.effect.running.get_or_create(&RemoteLabels { remote: remote.to_owned() }).set(clamp(calls));
    }
    /// The state of a remote's circuit breaker.
    pub fn set_circuit(&self, remote: &str, state: CircuitState) {
        self.effect
            .circuit_state
            .get_or_create(&RemoteLabels { remote: remote.to_owned() })
            .set(state as i64);
    }
}
