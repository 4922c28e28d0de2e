//! The process itself.

use super::Metrics;
use super::labels::BuildLabels;
use super::registering::{FloatGauge, put};
use crate::domain::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug)]
pub(super) struct Process {
    start_time_seconds: FloatGauge,
    resident_memory_bytes: Gauge,
    panics: Counter,
}

impl Process {
    pub(super) fn register(r: &mut Registry) -> Self {
        let build: Family<BuildLabels, Gauge> =
            put(r, "build_info", "1, with the version of the program as a label", Family::default());
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        Self {
            start_time_seconds: put(
                r,
                "process_start_time_seconds",
                "When the process became ready, in Unix time",
                Gauge::default(),
            ),
            resident_memory_bytes: put(
                r,
                "process_resident_memory_bytes",
                "Resident memory of the process",
                Gauge::default(),
            ),
            panics: put(r, "process_panics", "Panics in any thread of the process", Counter::default()),
        }
    }

    /// What is known only by looking.
    pub(super) fn look(&self) {
        if let Some(bytes) = resident_memory_bytes() {
            self.resident_memory_bytes.set(bytes);
        }
    }
}

impl Metrics {
    /// The moment when the process became ready.
    pub fn set_started(&self, at: Timestamp) {
        self.process.start_time_seconds.set(at.0 as f64 / 1_000.0);
    }
    /// A panic happened, in any thread.
    pub fn panicked(&self) {
        self.process.panics.inc();
    }
}

/// Resident memory from `/proc/self/status`; nothing on systems without it.
fn resident_memory_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}
