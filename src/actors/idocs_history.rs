//! The history of an iDocs account, asked once for all documents instead of each document's status.
//!
//! The guide says that a list of events over a period can be read, and not where (reference c.9), so this works only
//! where its path is configured. What it tells is a hint, exactly as a webhook's: the status is read with the token and
//! that counts. A document is still asked by itself now and then (`idocs.history.document_poll`), because nobody
//! documents that the list is complete.
//!
//! Invariants:
//! - the periods that were read overlap and leave no gap: one that could not be read is a part of the next;
//! - the same news moves a document a few times at most, should the two calls spell a status differently.

use super::Parts;
use super::deliver::Deliver;
use crate::domain::{Failure, SagaId, Timestamp};
use crate::providers::idocs::events::PastStatus;
use crate::saga::document::transition::own_document_claim;
use crate::saga::document::{DocumentSaga as Record, Event, OwnEvent, Step};
use crate::telemetry::metrics::HistoryOutcome;
use actix::{ArbiterHandle, Recipient};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often one piece of news makes the status of its document be read.
const HINTS_MAX: u8 = 3;

/// When the history is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryPlan {
    /// Pause between two questions, in milliseconds.
    pub interval_ms: u64,
    /// Each question reaches so far into the period of the one before: events may be listed late.
    pub overlap_ms: u64,
    /// The first question after a start reaches so far back: what is older was found by the documents' own polls.
    pub first_ms: u64,
}

/// Asks for as long as the engine runs; nothing where no history can be read.
pub(super) fn start(parts: &Arc<Parts>, answers_to: &Recipient<Deliver>, arbiter: &ArbiterHandle) {
    let Some(plan) = parts.idocs.as_ref().and_then(|idocs| idocs.history) else { return };
    let (parts, answers_to) = (parts.clone(), answers_to.clone());
    arbiter.spawn(async move {
        let from = back(parts.clock.now(), plan.first_ms);
        Watch { parts, answers_to, plan, from, hinted: BTreeMap::new() }.run().await;
    });
}

fn back(at: Timestamp, ms: u64) -> Timestamp {
    Timestamp(at.0.saturating_sub_unsigned(ms))
}

/// A document at iDocs and a status that it has come to.
type News = (String, String);

struct Watch {
    parts: Arc<Parts>,
    answers_to: Recipient<Deliver>,
    plan: HistoryPlan,
    /// Everything before this was listed.
    from: Timestamp,
    hinted: BTreeMap<News, u8>,
}

impl Watch {
    async fn run(mut self) {
        while !self.parts.is_draining() {
            tokio::time::sleep(Duration::from_millis(self.plan.interval_ms)).await;
            let looked = self.look().await;
            self.count(&looked);
            match looked {
                Ok(0) => {}
                Ok(hints) => tracing::debug!(hints, "the history of iDocs tells of changed statuses"),
                Err(failure) => tracing::warn!(
                    code = %failure.code,
                    reason = %failure.reason.en,
                    "the history of iDocs cannot be read: documents are asked one by one, more rarely"
                ),
            }
        }
    }

    fn count(&self, looked: &Result<usize, Failure>) {
        let metrics = &self.parts.metrics;
        metrics.idocs_history(HistoryOutcome::Asked);
        match looked {
            Ok(hints) => (0..*hints).for_each(|_| metrics.idocs_history(HistoryOutcome::Used)),
            Err(_) => metrics.idocs_history(HistoryOutcome::Failed),
        }
    }

    /// Asks for what is new, and makes the documents that it names be looked at. Gives their number.
    async fn look(&mut self) -> Result<usize, Failure> {
        let Some(idocs) = &self.parts.idocs else { return Ok(0) };
        let now = self.parts.clock.now();
        let news = newest(idocs.client.events_between(self.from, now).await?);
        let listed: BTreeSet<&News> = news.iter().collect();
        self.hinted.retain(|known, _| listed.contains(known));
        let mut hints = 0;
        for (document, status) in news {
            hints += usize::from(self.hint(document, status).await);
        }
        self.from = back(now, self.plan.overlap_ms);
        Ok(hints)
    }

    /// A document that is busy now is hinted at by the next question, which overlaps this one.
    async fn hint(&mut self, document: String, status: String) -> bool {
        let Some((saga, record)) = self.record_of(&document).await else { return false };
        let told = self.hinted.get(&(document.clone(), status.clone())).copied().unwrap_or(0);
        if !is_news(&record, &status) || told >= HINTS_MAX {
            return false;
        }
        let deliver = Deliver { saga, event: Event::Own(OwnEvent::StatusHint), notice: None };
        match self.answers_to.send(deliver).await {
            Ok(Ok(_)) => {
                self.hinted.insert((document, status), told + 1);
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(saga.id = %saga, error = %error, "a hint of iDocs' history was not delivered");
                false
            }
            // the engine is stopping
            Err(_) => false,
        }
    }

    /// Documents that people send in the cabinet are not ours; a store that cannot be read now is asked the next time.
    async fn record_of(&self, document: &str) -> Option<(SagaId, Record)> {
        let store = &self.parts.store;
        let saga = store.claimed(&own_document_claim(document)).await.ok()??;
        let stored = store.load(saga).await.ok()??;
        Some((saga, stored.saga))
    }
}

/// Whether the document waits and has not been seen in this status.
fn is_news(record: &Record, status: &str) -> bool {
    matches!(record.step, Step::AwaitSignature | Step::AwaitSigner)
        && record.provider_status.as_deref() != Some(status)
}

/// The last status of each document: by its moment where moments are told, else by its place in the list.
fn newest(events: Vec<PastStatus>) -> Vec<News> {
    let mut last: BTreeMap<String, (Option<Timestamp>, String)> = BTreeMap::new();
    for event in events {
        let known = last.get(&event.document_id).and_then(|(at, _)| *at);
        if known.is_none() || event.occurred_on.is_none() || event.occurred_on >= known {
            last.insert(event.document_id, (event.occurred_on, event.status.raw));
        }
    }
    last.into_iter().map(|(document, (_, status))| (document, status)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::idocs::{Status, StatusClass};

    fn event(document: &str, status: &str, at: Option<i64>) -> PastStatus {
        PastStatus {
            document_id: document.into(),
            status: Status { class: StatusClass::InWork, raw: status.into() },
            occurred_on: at.map(Timestamp),
        }
    }

    #[test]
    fn the_last_status_of_a_document_counts_whatever_the_order_of_the_list() {
        let events = vec![
            event("a", "FINISHED", Some(9)),
            event("a", "SENT_BY_SENDER", Some(5)),
            event("b", "SENT_BY_SENDER", None),
            event("b", "FINISHED", None),
            event("c", "SENT_BY_SENDER", Some(5)),
            event("c", "IN_NEW", Some(5)),
        ];
        let news = |document: &str, status: &str| (document.to_owned(), status.to_owned());
        assert_eq!(newest(events), [news("a", "FINISHED"), news("b", "FINISHED"), news("c", "IN_NEW")]);
    }
}
