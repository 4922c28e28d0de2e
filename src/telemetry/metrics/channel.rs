//! How changes of a portal are learned that its webhook did not tell. `portal` is a name of the configuration.

use super::Metrics;
use super::labels::{
    CallOutcome, GapCause, GapLabels, HealingChannel, PortalChannelLabels, PortalLabels, PortalOutcomeLabels,
    portal_labels,
};
use super::registering::{Histograms, clamp, late_seconds, put, put_histograms};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Channel {
    gaps: Family<GapLabels, Counter>,
    late_seconds: Histograms<PortalChannelLabels>,
    looks: Family<PortalChannelLabels, Counter>,
    failed_looks: Family<PortalChannelLabels, Counter>,
    items_read: Family<PortalOutcomeLabels, Counter>,
    items_waiting: Family<PortalLabels, Gauge>,
}

impl Channel {
    pub(super) fn register(r: &mut Registry) -> Self {
        Self {
            gaps: put(
                r,
                "channel_gaps",
                "Changes that no event of the webhook told and a second channel found, by channel and cause",
                Family::default(),
            ),
            late_seconds: put_histograms(
                r,
                "channel_late_seconds",
                "Time from a change that the webhook missed to its discovery",
                late_seconds,
            ),
            looks: put(r, "channel_looks", "Looks of a second channel at a portal", Family::default()),
            failed_looks: put(
                r,
                "channel_failed_looks",
                "Looks of a second channel that failed",
                Family::default(),
            ),
            items_read: put(
                r,
                "channel_items_read",
                "CRM items that were asked for after events, by how that ended",
                Family::default(),
            ),
            items_waiting: put(
                r,
                "channel_items_waiting",
                "CRM items that events spoke of and that wait to be read",
                Family::default(),
            ),
        }
    }
}

impl Metrics {
    /// A change that the webhook did not tell was found by a second channel; so late, if that is known.
    pub fn gap_healed(&self, portal: &str, channel: HealingChannel, cause: GapCause, late: Option<Duration>) {
        let portal = portal.to_owned();
        self.channel.gaps.get_or_create(&GapLabels { portal: portal.clone(), channel, cause }).inc();
        if let Some(late) = late {
            let labels = PortalChannelLabels { portal, channel };
            self.channel.late_seconds.get_or_create(&labels).observe(late.as_secs_f64());
        }
    }
    /// A second channel has looked at the portal.
    pub fn channel_looked(&self, portal: &str, channel: HealingChannel) {
        let labels = PortalChannelLabels { portal: portal.to_owned(), channel };
        self.channel.looks.get_or_create(&labels).inc();
    }
    /// A second channel could not look.
    pub fn channel_failed(&self, portal: &str, channel: HealingChannel) {
        let labels = PortalChannelLabels { portal: portal.to_owned(), channel };
        self.channel.failed_looks.get_or_create(&labels).inc();
    }
    /// So many CRM items were asked for after events, and how that ended.
    pub fn items_read(&self, portal: &str, outcome: CallOutcome, items: usize) {
        let labels = PortalOutcomeLabels { portal: portal.to_owned(), outcome };
        self.channel.items_read.get_or_create(&labels).inc_by(items as u64);
    }
    /// Items that events spoke of and that wait to be read.
    pub fn set_items_waiting(&self, portal: &str, items: u64) {
        self.channel.items_waiting.get_or_create(&portal_labels(portal)).set(clamp(items));
    }
}
