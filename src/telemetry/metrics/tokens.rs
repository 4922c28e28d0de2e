//! Installations of our applications, and the renewal of their tokens.

use super::Metrics;
use super::labels::{InstallationLabels, TokenLabels, TokenOutcome};
use super::registering::{clamp, put};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug)]
pub(super) struct Tokens {
    renewals: Family<TokenLabels, Counter>,
    installations: Family<InstallationLabels, Gauge>,
}

impl Tokens {
    pub(super) fn register(r: &mut Registry) -> Self {
        Self {
            renewals: put(
                r,
                "token_renewals",
                "Renewals of tokens that ended, by outcome",
                Family::default(),
            ),
            installations: put(
                r,
                "installations",
                "Installations of our applications, by status",
                Family::default(),
            ),
        }
    }
}

impl Metrics {
    /// A renewal of tokens ended.
    pub fn token_renewed(&self, outcome: TokenOutcome) {
        self.tokens.renewals.get_or_create(&TokenLabels { outcome }).inc();
    }
    /// How many installations have this status.
    pub fn set_installations(&self, status: &'static str, count: u64) {
        let labels = InstallationLabels { status };
        self.tokens.installations.get_or_create(&labels).set(clamp(count));
    }
}
