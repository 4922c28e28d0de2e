//! Portals: their budget, what is spent of it, and what is amiss with them. `portal` is a name of the configuration.

use super::Metrics;
use super::labels::{self, PortalLabels, PortalMethodLabels, RequestKind, RequestLabels, portal_labels};
use super::registering::{
    FloatGauge, Histograms, clamp, group_sizes, put, put_histogram, put_histograms, wait_seconds,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Portal {
    requests: Family<RequestLabels, Counter>,
    batch_calls: Histogram,
    bucket_requests: Family<PortalLabels, FloatGauge>,
    bucket_wait_seconds: Histograms<PortalLabels>,
    operating_seconds: Family<PortalMethodLabels, FloatGauge>,
    calls: Family<PortalMethodLabels, Counter>,
    call_wait_seconds: Family<PortalMethodLabels, Counter<f64, AtomicU64>>,
    waiting_calls: Family<PortalLabels, Gauge>,
    blocked: Family<PortalLabels, Gauge>,
    owner_concerns: Family<PortalLabels, Gauge>,
    hanging_workflows: Family<PortalLabels, Gauge>,
    released_workflows: Family<PortalLabels, Counter>,
    features_off: Family<PortalLabels, Gauge>,
    features_otherwise: Family<PortalLabels, Gauge>,
}

impl Portal {
    pub(super) fn register(r: &mut Registry) -> Self {
        Self {
            requests: put(r, "portal_requests", "Requests sent to a portal, by kind", Family::default()),
            batch_calls: put_histogram(r, "portal_batch_calls", "Calls packed into one batch", group_sizes),
            bucket_requests: put(
                r,
                "portal_bucket_requests",
                "Level of the leaky bucket of a portal, in requests",
                Family::default(),
            ),
            bucket_wait_seconds: put_histograms(
                r,
                "portal_bucket_wait_seconds",
                "Time that calls waited for the budget of a portal",
                wait_seconds,
            ),
            operating_seconds: put(
                r,
                "portal_operating_seconds",
                "Operating time of a method within ten minutes, as the portal reports it",
                Family::default(),
            ),
            calls: put(
                r,
                "portal_calls",
                "Calls of a method that had their turn, alone or in a batch",
                Family::default(),
            ),
            call_wait_seconds: put(
                r,
                "portal_call_wait_seconds",
                "Time that calls of a method waited for their turn, summed",
                Family::default(),
            ),
            waiting_calls: put(
                r,
                "portal_waiting_calls",
                "Calls that wait for the budget of a portal",
                Family::default(),
            ),
            blocked: put(
                r,
                "portal_blocked",
                "1 if a portal is paused as a whole, 0 if not",
                Family::default(),
            ),
            owner_concerns: put(
                r,
                "portal_owner_concerns",
                "What a person has to do about the owner or the expiry of a portal's webhook or application",
                Family::default(),
            ),
            hanging_workflows: put(
                r,
                "portal_hanging_workflows",
                "Workflows that probably wait for an answer to a robot's call that never reached us",
                Family::default(),
            ),
            released_workflows: put(
                r,
                "portal_released_workflows",
                "Workflows that waited although their document was finished, and were answered again",
                Family::default(),
            ),
            features_off: put(
                r,
                "portal_features_off",
                "Features that the rules of a portal want and that it cannot do",
                Family::default(),
            ),
            features_otherwise: put(
                r,
                "portal_features_otherwise",
                "Features that the rules of a portal want and that it does in a lesser way",
                Family::default(),
            ),
        }
    }
}

impl Metrics {
    /// A request went to a portal.
    pub fn portal_request(&self, portal: &str, kind: RequestKind) {
        self.portal.requests.get_or_create(&RequestLabels { portal: portal.to_owned(), kind }).inc();
    }
    /// So many calls went in one batch.
    pub fn batched(&self, calls: usize) {
        self.portal.batch_calls.observe(calls as f64);
    }
    /// Level of the leaky bucket: requests that have not leaked out yet.
    pub fn set_bucket(&self, portal: &str, requests: f64) {
        self.portal.bucket_requests.get_or_create(&portal_labels(portal)).set(requests);
    }
    /// A call waited so long for its turn.
    pub fn waited_for_budget(&self, portal: &str, wait: Duration) {
        self.portal.bucket_wait_seconds.get_or_create(&portal_labels(portal)).observe(wait.as_secs_f64());
    }
    /// A call of a method, alone or in a batch, has had its turn after waiting so long.
    pub fn portal_called(&self, portal: &str, method: &str, waited: Duration) {
        let labels = PortalMethodLabels { portal: portal.to_owned(), method: labels::portal_method(method) };
        self.portal.calls.get_or_create(&labels).inc();
        self.portal.call_wait_seconds.get_or_create(&labels).inc_by(waited.as_secs_f64());
    }
    /// Operating time of a method within ten minutes, as the portal reports it. Only of methods that we know.
    pub fn set_operating(&self, portal: &str, method: &str, seconds: f64) {
        let method = labels::portal_method(method);
        if method == labels::OTHER_METHOD {
            return;
        }
        let labels = PortalMethodLabels { portal: portal.to_owned(), method };
        self.portal.operating_seconds.get_or_create(&labels).set(seconds);
    }
    /// Calls that wait for their turn now.
    pub fn set_waiting_calls(&self, portal: &str, calls: u64) {
        self.portal.waiting_calls.get_or_create(&portal_labels(portal)).set(clamp(calls));
    }
    /// Whether the portal as a whole is paused: overload, refused credentials, an open circuit.
    pub fn set_portal_blocked(&self, portal: &str, blocked: bool) {
        self.portal.blocked.get_or_create(&portal_labels(portal)).set(i64::from(blocked));
    }
    /// What there is to worry about the owner of the portal's credential, and its expiry.
    pub fn set_owner_concerns(&self, portal: &str, count: u64) {
        let gauge = self.portal.owner_concerns.get_or_create(&portal_labels(portal));
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    /// Workflows that probably wait for an answer to a call that never reached us.
    pub fn set_hanging_workflows(&self, portal: &str, count: u64) {
        self.portal.hanging_workflows.get_or_create(&portal_labels(portal)).set(clamp(count));
    }
    /// A workflow that waited although its document was finished goes on.
    pub fn released_workflow(&self, portal: &str) {
        self.portal.released_workflows.get_or_create(&portal_labels(portal)).inc();
    }
    /// Wanted features that a portal cannot do.
    pub fn set_portal_features_off(&self, portal: &str, count: u64) {
        self.portal.features_off.get_or_create(&portal_labels(portal)).set(clamp(count));
    }
    /// Wanted features that a portal does in another, lesser way.
    pub fn set_portal_features_otherwise(&self, portal: &str, count: u64) {
        self.portal.features_otherwise.get_or_create(&portal_labels(portal)).set(clamp(count));
    }
}
