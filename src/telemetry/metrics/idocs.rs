//! What iDocs is asked for many documents at once: content to sign, and the list of events.

use super::Metrics;
use super::labels::{BulkLabels, BulkOutcome, HistoryLabels, HistoryOutcome};
use super::registering::put;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug)]
pub(super) struct Idocs {
    bulk: Family<BulkLabels, Counter>,
    history: Family<HistoryLabels, Counter>,
}

impl Idocs {
    pub(super) fn register(r: &mut Registry) -> Self {
        Self {
            bulk: put(
                r,
                "idocs_bulk_documents",
                "Documents whose content to sign was asked for together with others', by what became of them",
                Family::default(),
            ),
            history: put(
                r,
                "idocs_history",
                "Questions for the events of the account, and what they told",
                Family::default(),
            ),
        }
    }

    pub(super) fn fill_closed_sets(&self) {
        for &outcome in BulkOutcome::ALL {
            drop(self.bulk.get_or_create(&BulkLabels { outcome }));
        }
        for &outcome in HistoryOutcome::ALL {
            drop(self.history.get_or_create(&HistoryLabels { outcome }));
        }
    }
}

impl Metrics {
    /// So many documents, in operations on many of them.
    pub fn idocs_bulk(&self, outcome: BulkOutcome, documents: usize) {
        self.idocs.bulk.get_or_create(&BulkLabels { outcome }).inc_by(documents as u64);
    }
    /// The list of events was asked for, or told something.
    pub fn idocs_history(&self, outcome: HistoryOutcome) {
        self.idocs.history.get_or_create(&HistoryLabels { outcome }).inc();
    }
}
