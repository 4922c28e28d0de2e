//! All metrics of the process, in one struct that is passed around; there is no global registry.
//!
//! Names are `edobridge_<part>_<what>_<unit|total>`. Values that are known only by looking (files, memory) are
//! set by whoever looks, or read at the moment of [`Metrics::encode`].

mod channel;
mod effect;
mod exposition;
mod idocs;
mod ingress;
mod labels;
mod portal;
mod process;
mod registering;
mod saga;
mod store;
mod tokens;

pub use labels::{
    BulkOutcome, CallOutcome, CircuitState, GapCause, HealingChannel, HistoryOutcome, NoticeOutcome,
    NoticeSource, Provider, RefusalReason, RequestKind, TokenOutcome, TriggerKind, TriggerOutcome,
};

use channel::Channel;
use effect::Effect;
use idocs::Idocs;
use ingress::Ingress;
use portal::Portal;
use process::Process;
use prometheus_client::registry::Registry;
use saga::Saga;
use store::Store;
use tokens::Tokens;

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    ingress: Ingress,
    store: Store,
    saga: Saga,
    effect: Effect,
    portal: Portal,
    tokens: Tokens,
    idocs: Idocs,
    channel: Channel,
    process: Process,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero. Combinations of labels that are known beforehand exist from the start, so that an
    /// alert on a rate sees the first event.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("edobridge");
        let metrics = Self {
            ingress: Ingress::register(&mut registry),
            store: Store::register(&mut registry),
            saga: Saga::register(&mut registry),
            effect: Effect::register(&mut registry),
            tokens: Tokens::register(&mut registry),
            idocs: Idocs::register(&mut registry),
            portal: Portal::register(&mut registry),
            channel: Channel::register(&mut registry),
            process: Process::register(&mut registry),
            registry,
        };
        metrics.fill_closed_sets();
        metrics
    }

    fn fill_closed_sets(&self) {
        self.idocs.fill_closed_sets();
        self.ingress.fill_closed_sets();
    }

    /// The metrics in the text format of Prometheus, version 0.0.4.
    ///
    /// Its content type is [`Metrics::CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        self.process.look();
        exposition::prometheus_text(&self.registry)
    }

    /// Content type of [`Metrics::encode`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";
}

#[cfg(test)]
mod tests;
