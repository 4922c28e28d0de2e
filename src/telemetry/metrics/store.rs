//! The store: how long it takes, what lies in it, whether it takes more.

use super::Metrics;
use super::registering::{FloatGauge, clamp, group_sizes, local_seconds, put, put_histogram};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Store {
    commit_seconds: Histogram,
    sync_seconds: Histogram,
    group_records: Histogram,
    journal_bytes: Gauge,
    view_lag_records: Gauge,
    checkpoint_age_seconds: FloatGauge,
    snapshot_age_seconds: FloatGauge,
    inbox_pending: Gauge,
    outbox_pending: Gauge,
    spool_bytes: Gauge,
    spool_files: Gauge,
    disk_free_bytes: Gauge,
    writable: Gauge,
    rebuilds: Counter,
}

impl Store {
    pub(super) fn register(r: &mut Registry) -> Self {
        Self {
            commit_seconds: put_histogram(
                r,
                "store_commit_seconds",
                "Time from the request for a commit to its durability",
                local_seconds,
            ),
            sync_seconds: put_histogram(
                r,
                "store_sync_seconds",
                "Time of one sync of the journal",
                local_seconds,
            ),
            group_records: put_histogram(
                r,
                "store_group_records",
                "Records that one sync of the journal made durable",
                group_sizes,
            ),
            journal_bytes: put(r, "store_journal_bytes", "Size of the journal on disk", Gauge::default()),
            view_lag_records: put(
                r,
                "store_view_lag_records",
                "Durable records that the view does not show yet",
                Gauge::default(),
            ),
            checkpoint_age_seconds: put(
                r,
                "store_checkpoint_age_seconds",
                "Time since the last checkpoint",
                Gauge::default(),
            ),
            snapshot_age_seconds: put(
                r,
                "store_snapshot_age_seconds",
                "Time since the last verified snapshot",
                Gauge::default(),
            ),
            inbox_pending: put(
                r,
                "store_inbox_pending",
                "Notices accepted but not applied yet",
                Gauge::default(),
            ),
            outbox_pending: put(
                r,
                "store_outbox_pending",
                "Effects ordered but not confirmed yet",
                Gauge::default(),
            ),
            spool_bytes: put(
                r,
                "store_spool_bytes",
                "Size of the files kept until their delivery",
                Gauge::default(),
            ),
            spool_files: put(
                r,
                "store_spool_files",
                "Number of the files kept until their delivery",
                Gauge::default(),
            ),
            disk_free_bytes: put(
                r,
                "store_disk_free_bytes",
                "Free space on the disk of the store",
                Gauge::default(),
            ),
            writable: put(r, "store_writable", "1 if the store takes commits, 0 if not", Gauge::default()),
            rebuilds: put(
                r,
                "store_view_rebuilds",
                "Times the view was thrown away and rebuilt",
                Counter::default(),
            ),
        }
    }
}

impl Metrics {
    /// A commit was durable after so long.
    pub fn committed(&self, took: Duration) {
        self.store.commit_seconds.observe(took.as_secs_f64());
    }
    /// One sync of the journal took so long and covered so many records.
    pub fn synced(&self, took: Duration, records: usize) {
        self.store.sync_seconds.observe(took.as_secs_f64());
        self.store.group_records.observe(records as f64);
    }
    /// Size of all journal segments on disk.
    pub fn set_journal_bytes(&self, bytes: u64) {
        self.store.journal_bytes.set(clamp(bytes));
    }
    /// Durable records that the view does not show yet.
    pub fn set_view_lag_records(&self, records: u64) {
        self.store.view_lag_records.set(clamp(records));
    }
    /// Time since the last checkpoint.
    pub fn set_checkpoint_age(&self, age: Duration) {
        self.store.checkpoint_age_seconds.set(age.as_secs_f64());
    }
    /// Time since the last verified snapshot.
    pub fn set_snapshot_age(&self, age: Duration) {
        self.store.snapshot_age_seconds.set(age.as_secs_f64());
    }
    /// Notices accepted but not applied yet.
    pub fn set_inbox_pending(&self, notices: u64) {
        self.store.inbox_pending.set(clamp(notices));
    }
    /// Effects ordered but not confirmed yet.
    pub fn set_outbox_pending(&self, effects: u64) {
        self.store.outbox_pending.set(clamp(effects));
    }
    /// Files kept until their delivery.
    pub fn set_spool(&self, files: u64, bytes: u64) {
        self.store.spool_files.set(clamp(files));
        self.store.spool_bytes.set(clamp(bytes));
    }
    /// Free space where the store lies.
    pub fn set_disk_free_bytes(&self, bytes: u64) {
        self.store.disk_free_bytes.set(clamp(bytes));
    }
    /// Whether the store takes commits.
    pub fn set_writable(&self, writable: bool) {
        self.store.writable.set(i64::from(writable));
    }
    /// The view was thrown away and rebuilt.
    pub fn view_rebuilt(&self) {
        self.store.rebuilds.inc();
    }
}
