//! How long and how much, from `EDOBRIDGE_BENCH_*`. The defaults are those of the published figures.

use edobridge::config::Environment;
use std::time::Duration;

/// The text of `EDOBRIDGE_BENCH_<name>`, if there is one.
pub fn text(name: &str) -> Option<String> {
    Environment::of_process().get(&format!("EDOBRIDGE_BENCH_{name}")).map(str::to_owned)
}

/// The number of `EDOBRIDGE_BENCH_<name>`, or `default` if there is none.
pub fn number(name: &str, default: u64) -> u64 {
    text(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("EDOBRIDGE_BENCH_{name} must be a whole number, not `{text}`"))
    })
}

/// How long one measurement lasts.
pub fn run_time() -> Duration {
    Duration::from_millis(number("MILLIS", 3_000))
}

/// How often each measurement is made; the median counts.
pub fn rounds() -> u64 {
    number("ROUNDS", 3).max(1)
}

/// Whether a missed target fails the bench.
pub fn is_strict() -> bool {
    number("STRICT", 0) != 0
}

/// Whether we were started by `cargo bench`; otherwise (`cargo test --all-targets`) there is nothing to do.
pub fn is_bench() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// What a real installation has and the test's configuration has not: whole segments, and a limit per source that
/// one loud source on loopback does not reach. As variables that overlay the configuration.
pub fn real_settings() -> Vec<(&'static str, String)> {
    [
        ("EDOBRIDGE__STORE__SEGMENT_BYTES", "16MiB"),
        ("EDOBRIDGE__STORE__MIN_FREE_DISK", "256MiB"),
        ("EDOBRIDGE__PUBLIC__WEBHOOK_PER_MINUTE", "10000000"),
        ("EDOBRIDGE__LOG__FILTER", "warn"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}
