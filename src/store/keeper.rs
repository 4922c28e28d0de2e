//! The keeper: one thread that watches the free space, prepares segments ahead of the writer, and removes files
//! that nobody needs any more.

use super::error::StoreError;
use super::keys::Tree;
use super::shared::{Course, Shared, disk_trouble, spare_trouble};
use super::state::{Range, State};
use crate::domain::FileDigest;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often it looks.
const TICK: Duration = Duration::from_secs(1);
/// Free space must exceed the wanted one by this share before new work is taken again: no flutter at the edge.
const RECOVERY_SHARE: u64 = 20;

/// Works until told to stop.
pub(super) fn run(shared: &Arc<Shared>) {
    let (mut low, mut ticked, mut segment) = (false, None::<Instant>, 0);
    while shared.stop.course() == Course::Run {
        let is_tick = ticked.is_none_or(|at| at.elapsed() >= TICK);
        let written = shared.gauges.segment.load(Ordering::Acquire);
        if is_tick {
            low = watch_disk(shared, low);
            ticked = Some(Instant::now());
        }
        // It is woken for each document that ends: then there is only a file to be removed.
        if is_tick || written != segment {
            prepare_segments(shared);
            shared.spool.tidy_landing();
            segment = written;
        }
        sweep(shared);
        shared.keeper.sleep(TICK);
    }
}

/// Looks at the free space; `low` is what was found last time.
pub(super) fn watch_disk(shared: &Shared, low: bool) -> bool {
    let wanted = shared.options.min_free_bytes;
    let Ok(free) = shared.host.disk.free_bytes(&shared.layout.dir) else { return low };
    shared.gauges.free_disk.store(free, Ordering::Relaxed);
    let enough = if low { wanted.saturating_add(wanted / RECOVERY_SHARE) } else { wanted };
    let now_low = free < enough;
    shared.disk_low.store(now_low, Ordering::Relaxed);
    shared.conditions().disk = now_low.then(|| disk_trouble(free, wanted));
    if low != now_low {
        tracing::warn!(
            free_bytes = free,
            wanted_bytes = wanted,
            low = now_low,
            "the free space crossed its bound"
        );
    }
    now_low
}

/// The next segment, and the one that is kept for a full disk.
fn prepare_segments(shared: &Shared) {
    let prepared = shared.place.prepare_ahead(&shared.gauges.segment);
    let mut conditions = shared.conditions();
    match (&prepared, &conditions.spare) {
        (Err(error), None) => tracing::error!(%error, "no segment could be prepared"),
        (Ok(()), Some(_)) => tracing::info!("segments can be prepared again"),
        (Err(_), Some(_)) | (Ok(()), None) => {}
    }
    conditions.spare = prepared.err().map(|error| spare_trouble(&error));
    drop(conditions);
    let files = super::disk::list_dir(&shared.place.dir).map_or(0, |paths| paths.len());
    shared.gauges.journal_on_disk.store(files as u64 * shared.options.segment_bytes, Ordering::Relaxed);
}

/// Whether a record names the file.
pub(super) fn is_named(state: &State, digest: FileDigest) -> Result<bool, StoreError> {
    let found = state.range(None, Tree::SpoolRef, Range::prefix(&digest.0), 1)?;
    Ok(!found.is_empty())
}

/// Removes the files that nobody needs any more; returns how many.
pub(super) fn sweep(shared: &Shared) -> u64 {
    let swept = shared.spool.sweep(|digest| is_named(&shared.state, digest));
    if swept > 0 {
        tracing::debug!(swept, "files that nobody needs were removed");
    }
    swept
}
