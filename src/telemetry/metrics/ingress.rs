//! What comes in: notices, refusals, triggers, the list of senders, requests.

use super::Metrics;
use super::labels::{
    HttpLabels, NoticeLabels, NoticeOutcome, NoticeSource, RefusalLabels, RefusalReason, RouteLabels,
    SourceLabels, TriggerKind, TriggerLabels, TriggerOutcome,
};
use super::registering::{FloatGauge, Histograms, clamp, local_seconds, put, put_histograms};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Ingress {
    notices: Family<NoticeLabels, Counter>,
    ack_seconds: Histograms<SourceLabels>,
    refused: Family<RefusalLabels, Counter>,
    triggers: Family<TriggerLabels, Counter>,
    sender_list_addresses: Gauge,
    sender_list_counts: Gauge,
    sender_list_age_seconds: FloatGauge,
    requests: Family<HttpLabels, Counter>,
    request_seconds: Histograms<RouteLabels>,
}

impl Ingress {
    pub(super) fn register(r: &mut Registry) -> Self {
        Self {
            notices: put(
                r,
                "ingress_notices",
                "Notices answered with success, by sender and by what they were",
                Family::default(),
            ),
            ack_seconds: put_histograms(
                r,
                "ingress_ack_seconds",
                "Time from the first byte of a notice to its durable acknowledgement",
                local_seconds,
            ),
            refused: put(
                r,
                "ingress_refused",
                "Requests that were refused, by sender and reason",
                Family::default(),
            ),
            triggers: put(
                r,
                "trigger_files",
                "Files and events that rules looked at, by trigger and outcome; healed ones were missed by events and found by looking",
                Family::default(),
            ),
            sender_list_addresses: put(
                r,
                "ingress_sender_list_addresses",
                "Addresses and ranges in the published list of senders, where one is used",
                Gauge::default(),
            ),
            sender_list_counts: put(
                r,
                "ingress_sender_list_counts",
                "1 if the published list of senders is used and counts, 0 if not",
                Gauge::default(),
            ),
            sender_list_age_seconds: put(
                r,
                "ingress_sender_list_age_seconds",
                "Age of the published list of senders, where one is used",
                FloatGauge::default(),
            ),
            requests: put(
                r,
                "http_requests",
                "HTTP requests answered, by route and status",
                Family::default(),
            ),
            request_seconds: put_histograms(
                r,
                "http_request_seconds",
                "Time to answer an HTTP request, by route",
                local_seconds,
            ),
        }
    }

    pub(super) fn fill_closed_sets(&self) {
        for &source in NoticeSource::ALL {
            for &outcome in NoticeOutcome::ALL {
                drop(self.notices.get_or_create(&NoticeLabels { source, outcome }));
            }
            for &reason in RefusalReason::ALL {
                drop(self.refused.get_or_create(&RefusalLabels { source, reason }));
            }
        }
        for &trigger in TriggerKind::ALL {
            for &outcome in TriggerOutcome::ALL {
                drop(self.triggers.get_or_create(&TriggerLabels { trigger, outcome }));
            }
        }
    }
}

impl Metrics {
    /// A notice was taken durably, or recognised as nothing new; `ack` is from its first byte to the answer.
    pub fn notice(&self, source: NoticeSource, outcome: NoticeOutcome, ack: Duration) {
        self.ingress.notices.get_or_create(&NoticeLabels { source, outcome }).inc();
        self.ingress.ack_seconds.get_or_create(&SourceLabels { source }).observe(ack.as_secs_f64());
    }
    /// A request was refused and left no trace but this.
    pub fn refused(&self, source: NoticeSource, reason: RefusalReason) {
        self.ingress.refused.get_or_create(&RefusalLabels { source, reason }).inc();
    }
    /// The published list of senders: its length, whether it counts, how old it is.
    pub fn set_sender_list(&self, addresses: u64, counts: bool, age: Duration) {
        self.ingress.sender_list_addresses.set(clamp(addresses));
        self.ingress.sender_list_counts.set(i64::from(counts));
        self.ingress.sender_list_age_seconds.set(age.as_secs_f64());
    }
    /// A rule looked at a file or an event.
    pub fn triggered(&self, trigger: TriggerKind, outcome: TriggerOutcome) {
        self.ingress.triggers.get_or_create(&TriggerLabels { trigger, outcome }).inc();
    }
    /// An HTTP request was answered. `route` is the pattern of the route, never the path.
    pub fn http(&self, route: &'static str, status: u16, took: Duration) {
        self.ingress.requests.get_or_create(&HttpLabels { route, status }).inc();
        self.ingress.request_seconds.get_or_create(&RouteLabels { route }).observe(took.as_secs_f64());
    }
}
