//! How fast the disk makes things durable: every accepted event waits for one such sync.
//!
//! Measures what the journal does: overwriting a prepared file and syncing its data. The file is removed again.

use std::fs::{File, OpenOptions, remove_file};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Syncs that are timed: half a second on a good disk, some seconds on a bad one.
pub const ROUNDS: usize = 50;
/// What one of them makes durable, bytes: a page, as a small group of the journal.
pub const BLOCK_BYTES: usize = 4_096;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncTimes {
    /// Half of the syncs were as quick.
    pub p50: Duration,
    /// 99 of 100 were as quick; of [`ROUNDS`] that is the slowest.
    pub p99: Duration,
}

impl SyncTimes {
    /// The percentiles of some times; zero of none.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(rank).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99) }
    }
}

/// Removes the file of the measurement, whatever happens.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // a file that cannot be removed was told of by the measurement already, or is found by its name
        let _ = remove_file(&self.0);
    }
}

/// Measures in `dir`. Blocking; also proves that `dir` can be written to.
///
/// # Errors
/// Those of the file system.
pub fn measure(dir: &Path) -> io::Result<SyncTimes> {
    let path = dir.join(format!(".edobridge-doctor-{}", uuid::Uuid::new_v4().simple()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let _scratch = Scratch(path);
    prepare(&file)?;
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        times.push(one(&file, round)?);
    }
    Ok(SyncTimes::of(times))
}

/// The journal's segments are written full of zeros before use, so that a sync has no metadata to write.
fn prepare(file: &File) -> io::Result<()> {
    file.write_all_at(&vec![0; ROUNDS * BLOCK_BYTES], 0)?;
    file.sync_all()
}

fn one(file: &File, round: usize) -> io::Result<Duration> {
    let since = Instant::now();
    file.write_all_at(&[0xed; BLOCK_BYTES], (round * BLOCK_BYTES) as u64)?;
    file.sync_data()?;
    Ok(since.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let times = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(
            SyncTimes::of(times),
            SyncTimes { p50: Duration::from_millis(50), p99: Duration::from_millis(99) }
        );
        let few = vec![Duration::from_millis(7), Duration::from_millis(1)];
        assert_eq!(SyncTimes::of(few).p99, Duration::from_millis(7));
        assert_eq!(SyncTimes::of(Vec::new()).p50, Duration::ZERO);
    }

    #[test]
    fn a_measurement_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let times = measure(dir.path()).unwrap();
        assert!(times.p50 <= times.p99);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(measure(&dir.path().join("absent")).is_err());
    }
}
