//! Medians, percentiles, and whether a target was reached.

use super::knobs;
use std::time::Duration;

/// The middle one. Zero for none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The smallest of the sorted `values` below which `per_mille` thousandths of them lie.
pub fn percentile(sorted: &[u32], per_mille: usize) -> Duration {
    let at = (sorted.len() * per_mille).div_ceil(1_000).clamp(1, sorted.len().max(1)) - 1;
    Duration::from_micros(sorted.get(at).copied().unwrap_or_default().into())
}

/// Things a second.
pub fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(f64::EPSILON)
}

/// Milliseconds with two digits.
pub fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1_000.0)
}

/// Mebibytes with one digit.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1_u32 << 20))
}

/// The targets of one bench.
#[derive(Default)]
pub struct Targets {
    missed: u32,
}

impl Targets {
    /// Prints a figure that shall stay below `bound`.
    pub fn at_most(&mut self, what: &str, found: f64, bound: f64, unit: &str) {
        self.judge(found <= bound, format!("{what}: {found:.1} {unit}, wanted at most {bound} {unit}"));
    }

    /// Prints a figure that shall reach `bound`.
    pub fn at_least(&mut self, what: &str, found: f64, bound: f64, unit: &str) {
        self.judge(found >= bound, format!("{what}: {found:.1} {unit}, wanted at least {bound} {unit}"));
    }

    fn judge(&mut self, reached: bool, line: String) {
        let word = if reached { "reached" } else { "MISSED " };
        println!("  {word}  {line}");
        self.missed += u32::from(!reached);
    }

    /// Ends the process with 1 if something was missed and the run is strict.
    pub fn finish(self) {
        if self.missed > 0 && knobs::is_strict() {
            std::process::exit(1);
        }
    }
}
