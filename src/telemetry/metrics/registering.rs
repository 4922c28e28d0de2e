//! What the groups of metrics share: how a metric is registered, and into which steps histograms are divided.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use std::sync::atomic::AtomicU64;

/// A gauge of seconds or of anything else with a fraction.
pub(super) type FloatGauge = Gauge<f64, AtomicU64>;
/// A family of histograms made by a plain function.
pub(super) type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Local work: an acknowledgement, a commit, a sync.
const LOCAL_SECONDS: [f64; 13] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
/// Calls to remotes, up to a long transfer.
const REMOTE_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0];
/// Waits for the portal's budget.
const WAIT_SECONDS: [f64; 10] = [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0];
/// How late a lost event was healed: from a quick look to a week.
const LATE_SECONDS: [f64; 11] =
    [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0, 604_800.0];
/// How many things went together: records in a sync, calls in a batch (50 at most).
const GROUP_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 50.0, 128.0, 512.0];

pub(super) fn local_seconds() -> Histogram {
    Histogram::new(LOCAL_SECONDS)
}
pub(super) fn remote_seconds() -> Histogram {
    Histogram::new(REMOTE_SECONDS)
}
pub(super) fn wait_seconds() -> Histogram {
    Histogram::new(WAIT_SECONDS)
}
pub(super) fn late_seconds() -> Histogram {
    Histogram::new(LATE_SECONDS)
}
pub(super) fn group_sizes() -> Histogram {
    Histogram::new(GROUP_SIZES)
}

/// Registers under a short name with the text that people read; prometheus-client adds the full stop.
pub(super) fn put<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

pub(super) fn put_histogram(
    registry: &mut Registry,
    name: &str,
    help: &str,
    make: fn() -> Histogram,
) -> Histogram {
    put(registry, name, help, make())
}

pub(super) fn put_histograms<L>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    make: fn() -> Histogram,
) -> Histograms<L>
where
    L: Clone
        + std::hash::Hash
        + Eq
        + prometheus_client::encoding::EncodeLabelSet
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    put(registry, name, help, Family::new_with_constructor(make))
}

pub(super) fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
