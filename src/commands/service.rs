//! The running service as one value: store, actors and doors, started and stopped in order.
//!
//! `serve`, the tests and the benches start it the same way.

use super::wiring::{self, WiringError};
use crate::actors::Engine;
use crate::config::Config;
use crate::domain::{Clock, Text, Timestamp};
use crate::http;
use crate::saga::document::Step;
use crate::store::{
    Counts, GroupTiming, OpenError, OpenProgress, OpenReport, Readiness, Store, StoreError, StoreObserver,
};
use crate::telemetry::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A running edobridge.
pub struct Service {
    engine: Engine,
    doors: http::Running,
    /// How the store was opened.
    pub opened: OpenReport,
}

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store did not open.
    #[error("the store did not open")]
    Store(#[from] OpenError),
    /// The store opened but cannot be read.
    #[error("the store cannot be read")]
    Read(#[from] StoreError),
    /// A value of the configuration cannot be used.
    #[error("the configuration cannot be used")]
    Wiring(#[from] WiringError),
    /// A listener could not be opened.
    #[error("a listener could not be opened")]
    Doors(#[from] http::ListenError),
    /// Opening the store was interrupted.
    #[error("opening the store was interrupted")]
    Interrupted,
}

impl StartError {
    /// The sentence for a person, with the remedy.
    pub fn text(&self) -> Text {
        match self {
            Self::Store(error) => error.text(),
            Self::Read(error) => error.text(),
            Self::Wiring(error) => error.text(),
            Self::Doors(error) => error.text(),
            Self::Interrupted => {
                Text::new("Открытие хранилища прервано.", "Opening the store was interrupted.")
            }
        }
    }
}

impl Service {
    /// Opens the store, starts the actors, opens the doors. Inside an actix system.
    ///
    /// # Errors
    /// [`StartError`]; whatever was started by then is stopped again.
    pub async fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        mut progress: impl FnMut(OpenProgress) + Send + 'static,
    ) -> Result<Self, StartError> {
        let options = wiring::store_options(config);
        let opening = tokio::task::spawn_blocking(move || Store::open(options, &mut progress));
        let (store, opened) = opening.await.map_err(|_| StartError::Interrupted)??;
        store.observe(Arc::new(Observer(metrics.clone())));
        let parts = Arc::new(wiring::parts(config, store.clone(), clock, metrics)?);
        let idocs = parts.idocs.as_ref().map(|idocs| idocs.client.clone());
        let portals = wiring::portals(config, &store).await?;
        let easydocs = Arc::new(wiring::easydocs_client(config)?);
        let apps = wiring::apps::apps(config, &store).await?;
        let installed = apps.iter().flat_map(|apps| &apps.installed).map(|it| it.portal.clone());
        let known = portals.iter().map(|portal| portal.id.clone()).chain(installed);
        parts.capabilities.recall(&store, known).await;
        let engine = Engine::start(parts.clone(), portals, easydocs, wiring::watches(config), apps);
        let signing = wiring::idocs::signing(config, &engine, &parts)?;
        let doors = http::serve_with(engine.clone(), wiring::http_settings(config)?, signing)?;
        if let Some(client) = idocs {
            wiring::idocs::subscribe(config, client);
        }
        let upkeep = Upkeep {
            keep_finished_ms: config.store.keep_finished.as_ms(),
            sync_latency_max: config.store.max_sync_latency.as_duration(),
        };
        actix::spawn(housekeeping(engine.clone(), upkeep));
        Ok(Self { engine, doors, opened })
    }

    /// The actors.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where the world reaches us.
    pub fn public_addr(&self) -> SocketAddr {
        self.doors.public_addr
    }

    /// Where the operator reaches us.
    pub fn operator_addr(&self) -> SocketAddr {
        self.doors.operator_addr
    }

    /// Stops in order: no new work, what is under way ends or is given up, the store is closed cleanly.
    ///
    /// # Errors
    /// When the store could not be closed cleanly; nothing is lost, the next start takes longer.
    pub async fn stop(self) -> Result<(), StoreError> {
        self.engine.drain().await;
        self.doors.stop().await;
        let store = self.engine.store().clone();
        self.engine.stop_actors();
        store.close().await
    }
}

struct Observer(Arc<Metrics>);

impl StoreObserver for Observer {
    fn group(&self, timing: GroupTiming) {
        self.0.synced(timing.sync, timing.commands);
    }

    fn command(&self, waited: Duration) {
        self.0.committed(waited);
    }
}

/// Pause between two looks at the numbers.
const GAUGES_EVERY: Duration = Duration::from_secs(5);
/// Time between two removals of old finished documents, by the service's clock.
const RETENTION_EVERY_MS: u64 = 10 * 60 * 1_000;
/// Finished documents removed at once: keeps a removal from holding up commits.
const RETENTION_BATCH: usize = 200;

/// What housekeeping goes by.
#[derive(Debug, Clone, Copy)]
struct Upkeep {
    keep_finished_ms: u64,
    sync_latency_max: Duration,
}

/// Numbers for operators, and the end of what nobody needs any more.
async fn housekeeping(engine: Engine, upkeep: Upkeep) {
    let mut last: Option<Timestamp> = None;
    while !engine.health().draining {
        let now = engine.clock().now();
        measure(&engine, now).await;
        // A clock that was set back must not put it off for ever.
        if last.is_none_or(|last| now < last || now.ms_since(last) >= RETENTION_EVERY_MS) {
            last = Some(now);
            forget(&engine, Timestamp(now.0.saturating_sub_unsigned(upkeep.keep_finished_ms))).await;
            warn_of_slow_disk(&engine, upkeep.sync_latency_max);
        }
        tokio::time::sleep(GAUGES_EVERY).await;
    }
}

/// The disk decides how fast events can be accepted; a slow one is named before senders feel it.
fn warn_of_slow_disk(engine: &Engine, most: Duration) {
    let health = engine.store().health();
    if health.sync_p99 > most {
        tracing::warn!(
            sync_p99_ms = health.sync_p99.as_millis() as u64,
            allowed_ms = most.as_millis() as u64,
            "the disk syncs slowly: every accepted event waits for it"
        );
    }
}

async fn forget(engine: &Engine, before: Timestamp) {
    loop {
        match engine.store().forget_finished(before, RETENTION_BATCH).await {
            Ok(0) => return,
            Ok(count) => tracing::info!(count, "old finished documents were removed"),
            Err(error) => {
                tracing::warn!(%error, "old finished documents could not be removed");
                return;
            }
        }
    }
}

async fn measure(engine: &Engine, now: Timestamp) {
    let (metrics, health) = (engine.metrics(), engine.store().health());
    metrics.set_journal_bytes(health.journal_bytes);
    metrics.set_view_lag_records(health.sequence.saturating_sub(health.applied));
    metrics.set_checkpoint_age(health.checkpoint_age);
    metrics.set_disk_free_bytes(health.free_disk_bytes);
    metrics.set_spool(0, health.spool_bytes);
    metrics.set_writable(health.readiness == Readiness::Ready);
    let counts: Counts = engine.store().counts().await;
    metrics.set_inbox_pending(counts.notices);
    metrics.set_outbox_pending(counts.in_flight);
    metrics.set_dead_letters(counts.of(Step::Parked));
    for step in &counts.sagas {
        let oldest = step.oldest_since.map_or(0, |since| now.ms_since(since));
        metrics.set_documents(step.step.name(), step.count, Duration::from_millis(oldest));
    }
    engine.measure(now).await;
}
