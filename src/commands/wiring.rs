//! From the configuration to the values that the parts take: the only place where the two meet.

mod authorities;
mod doors;
mod easydocs;
mod error;
mod origins;
mod pauses;
mod policy;
mod portal;
mod portal_watches;
mod rules;
mod senders;
mod time_zone;

pub mod apps;
pub mod idocs;
pub mod signing;

pub use authorities::{all_roots, roots};
pub use doors::http_settings;
pub use easydocs::{easydocs_client, easydocs_settings};
pub use error::WiringError;
pub use policy::{circuit, policy};
pub use portal::{PortalKit, extra_auth, portal_client, portal_kit, portals, way_in};
pub use portal_watches::owner;
pub use rules::{rules, watches};
pub use senders::{sender_list, senders};
pub use time_zone::zone;

use super::restored_store;
use crate::actors::Parts;
use crate::actors::channel_board::ChannelBoard;
use crate::actors::gap_report::{GapReport, GapSettings};
use crate::actors::offline_queue::QueueBells;
use crate::actors::portal_session::Budgets;
use crate::config::Config;
use crate::domain::Clock;
use crate::limits;
use crate::store::{Store, StoreOptions};
use crate::telemetry::Metrics;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// What the store is told.
pub fn store_options(config: &Config) -> StoreOptions {
    let store = &config.store;
    StoreOptions {
        segment_bytes: store.segment_bytes.bytes(),
        checkpoint_every_bytes: store.checkpoint_every_bytes.bytes(),
        snapshot_every_bytes: store.snapshot_every_bytes.bytes(),
        keep_snapshots: store.keep_snapshots as usize,
        min_free_bytes: store.min_free_disk.bytes(),
        view_cache_bytes: store.view_cache.bytes(),
        spool_bytes_max: store.spool_max.bytes(),
        way_back: store.backup_before_upgrade.then(|| config.data_dir.join("backups")),
        ..StoreOptions::new(config.data_dir.join("store"))
    }
}

/// What all actors share.
///
/// # Errors
/// [`WiringError`] for a value that cannot be used.
pub fn parts(
    config: &Config,
    store: Store,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<Parts, WiringError> {
    let first = config.portals.first();
    let gaps = Arc::new(GapReport::new(gap_settings(config), clock.now(), metrics.clone()));
    let senders = senders::sender_list_if_used(config, &clock)?;
    let policy = restored_store::with_doubt(policy(config), &store, clock.now());
    Ok(Parts {
        store,
        clock,
        metrics,
        gaps,
        queue_bells: QueueBells::default(),
        policy,
        rules: rules(config),
        easydocs: Arc::new(easydocs_settings(config)?),
        idocs: idocs::parts(config)?,
        callback_url: easydocs::callback_url(config),
        notify_client_id: first.map_or_else(|| "edobridge".to_owned(), |p| p.notify_client_id.clone()),
        signing_calls_max: config.easydocs.limits.concurrent_calls as usize,
        small_upload_bytes_max: limits::SMALL_UPLOAD_BYTES_MAX,
        circuit: circuit(config),
        budgets: Budgets::default(),
        sender_list: senders,
        channels: ChannelBoard::default(),
        capabilities: Arc::default(),
        owners: Arc::default(),
        workflows: Arc::default(),
        installations: OnceLock::new(),
        work_arrived: Arc::new(Notify::new()),
        draining: AtomicBool::new(false),
    })
}

/// Whose webhooks may miss something, and how long their events may be under way.
fn gap_settings(config: &Config) -> GapSettings {
    let mute = config.portals.iter().filter(|portal| portal.application_tokens.is_empty());
    GapSettings {
        grace_ms: config.portals.iter().map(|p| (p.id.clone(), p.second_channel.grace.as_ms())).collect(),
        without_webhook: mute.map(|portal| portal.id.clone()).collect(),
    }
}
