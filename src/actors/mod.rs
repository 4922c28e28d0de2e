//! Stand-in for the actors' face, so that the doors can be compiled before the actors are there.

use crate::domain::{Clock, PortalId, SagaId, Text, Timestamp};
use crate::saga::document::{DocumentSaga, OperatorAction, Source};
use crate::store::{Accepted, NewNotice, Store};
use crate::telemetry::metrics::Metrics;
use std::sync::Arc;

/// Cheap handle to everything that works.
#[derive(Clone)]
pub struct Engine {
    store: Store,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

/// A notice was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptError {
    /// Too much waits.
    Busy {
        /// Seconds.
        retry_after_s: u64,
    },
    /// Nothing can be stored.
    Unavailable {
        /// Why.
        reason: Text,
    },
}

/// An operator's order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperateError {
    /// No such document.
    NotFound,
    /// Not possible in its state.
    Rejected(Text),
    /// Nothing can be stored.
    Unavailable {
        /// Why.
        reason: Text,
    },
}

/// How the engine is.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineHealth {
    /// Whether it takes work.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<Text>,
    /// Whether it is stopping.
    pub draining: bool,
    /// Numbers.
    pub details: serde_json::Value,
}

/// One portal, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct PortalView {
    /// Its id.
    pub id: PortalId,
    /// Address without the secret.
    pub address: String,
    /// Requests in the bucket.
    pub bucket_level: f64,
    /// Blocked methods and until when.
    pub blocked_methods: Vec<(String, Timestamp)>,
    /// State of the circuit breaker.
    pub circuit: String,
    /// The last error.
    pub last_error: Option<Text>,
}

#[allow(clippy::unused_async, clippy::missing_errors_doc)]
impl Engine {
    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }
    /// The metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
    /// Durable when it returns.
    pub async fn accept(&self, _notice: NewNotice) -> Result<Accepted, AcceptError> {
        todo!()
    }
    /// Carries out an operator's order.
    pub async fn operate(&self, _id: SagaId, _action: OperatorAction) -> Result<DocumentSaga, OperateError> {
        todo!()
    }
    /// Sends a document by hand.
    pub async fn send(
        &self,
        _portal: PortalId,
        _source: Source,
        _rule: Option<String>,
    ) -> Result<SagaId, OperateError> {
        todo!()
    }
    /// How it is.
    pub fn health(&self) -> EngineHealth {
        todo!()
    }
    /// The portals.
    pub fn portals(&self) -> Vec<PortalView> {
        todo!()
    }
}
