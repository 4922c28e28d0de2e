//! The end of a snapshot: what was applied while it was read, the spool's files if it is a backup, the trailer,
//! the name; then it is read back, and only then does it count and free the journal below it.

use super::applier::Purpose;
use super::backup::{BackupProgress, BackupReport};
use super::error::{BackupError, StoreError};
use super::journal;
use super::overlay::Counters;
use super::shared::{Course, Shared};
use super::snapshot::{self, SnapshotError, SnapshotWriter, Totals};
use super::spool;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is needed to end a snapshot.
pub(super) struct Ending {
    pub shared: Arc<Shared>,
    pub writer: SnapshotWriter,
    /// The entry that the view stood at when the reading began, and when it ended.
    pub from: u64,
    pub to: u64,
    /// What there is at that entry.
    pub counters: Counters,
    pub purpose: Purpose,
}

/// Ends it, tells whom it concerns, and wakes the applier.
pub(super) fn run(ending: Ending) {
    let Ending { shared, mut writer, from, to, counters, purpose } = ending;
    writer.set_counters(&counters);
    let path = writer.path();
    match purpose {
        Purpose::Own => {
            if let Err(error) = end_own(&shared, writer, from, to) {
                tracing::error!(%error, "a snapshot was not taken");
                shared.gauges.note_snapshot_failed();
                // What cannot be removed now is replaced by the next attempt.
                let _ = shared.host.disk.remove(&path);
            }
        }
        Purpose::Backup { target, mut progress, hold, reply } => {
            let ended = end_backup(&shared, writer, from, to, &target, progress.as_mut());
            if ended.is_err() {
                let _ = shared.host.disk.remove(&path);
            }
            drop(hold);
            drop(reply.send(ended));
        }
    }
    shared.applier.ring();
}

fn end_own(shared: &Shared, mut writer: SnapshotWriter, from: u64, to: u64) -> Result<(), SnapshotError> {
    let tmp = writer.path();
    add_frames(shared, &mut writer, from, to)?;
    writer.finish(to)?;
    read_back(shared, &tmp)?;
    let path = snapshot::path(&shared.layout.snapshots(), to);
    shared.host.disk.rename(&tmp, &path)?;
    shared.host.disk.sync_dir(&shared.layout.snapshots())?;
    let bytes = path.metadata()?.len();
    shared.gauges.snapshot_bytes.store(bytes, Ordering::Relaxed);
    tracing::info!(sequence = to, bytes, "a snapshot was taken");
    prune(shared)?;
    Ok(())
}

fn add_frames(shared: &Shared, writer: &mut SnapshotWriter, from: u64, to: u64) -> Result<(), SnapshotError> {
    journal::read_range(&shared.place, from + 1, to, &mut |frame| {
        check_course(shared).map_err(|e| e.to_string())?;
        writer.frame(frame.first, frame.count, frame.payload).map_err(|e| e.to_string())
    })
    .map_err(SnapshotError::Damaged)
}

/// A store that is dropped must not wait for a long snapshot.
fn check_course(shared: &Shared) -> io::Result<()> {
    match shared.stop.course() {
        Course::Run | Course::Finish => Ok(()),
        Course::Abandon => Err(io::Error::other("the store was dropped")),
    }
}

fn read_back(shared: &Shared, path: &Path) -> Result<([u8; 32], Totals), SnapshotError> {
    let sum = snapshot::check_sum(&shared.host.disk, path)?;
    let totals = snapshot::read(&shared.host.disk, path, &mut |_| Ok(check_course(shared)?))?;
    Ok((sum, totals))
}

/// Removes snapshots beyond the number that is kept, and the journal that nobody needs any more: what is below
/// the oldest kept snapshot (so that each of them can be used) and below the checkpoint.
pub(super) fn prune(shared: &Shared) -> io::Result<()> {
    let mut snapshots = list(&shared.layout.snapshots())?;
    let keep = shared.options.keep_snapshots.max(1);
    let surplus = snapshots.len().saturating_sub(keep);
    for (_, path) in snapshots.drain(..surplus) {
        shared.host.disk.remove(&path)?;
    }
    if snapshots.len() < keep {
        return Ok(());
    }
    let oldest = snapshots.first().map_or(0, |(sequence, _)| *sequence);
    let upto = oldest.min(shared.gauges.checkpoint.load(Ordering::Acquire));
    journal::remove_covered(&shared.place, upto)?;
    Ok(())
}

/// The snapshots in a directory, the oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let paths = super::disk::list_dir(dir)?;
    Ok(paths.into_iter().filter_map(|path| Some((snapshot::sequence_of(&path)?, path))).collect())
}

fn end_backup(
    shared: &Shared,
    mut writer: SnapshotWriter,
    from: u64,
    to: u64,
    target: &Path,
    progress: &mut (dyn FnMut(BackupProgress) + Send),
) -> Result<BackupReport, BackupError> {
    let tmp = writer.path();
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::Io { doing, path, source }
    };
    let damaged =
        |error: SnapshotError| BackupError::Damaged { path: tmp.clone(), detail: error.to_string() };
    add_frames(shared, &mut writer, from, to).map_err(damaged)?;
    let mut damaged_files =
        shared.spool.move_all_out().map_err(io("moving files of", &shared.layout.spool()))?;
    for (digest, path) in shared.spool.files().map_err(io("listing", &shared.layout.spool()))? {
        check_course(shared).map_err(|_| StoreError::Closed)?;
        // A file that the disk does not give back as it was is of no use to anybody, and would make the whole backup
        // useless: it is left out and named. Its document finds it missing, and stops for a person.
        let (found, _) = spool::hash_of(&shared.host.disk, &path).map_err(io("reading", &path))?;
        if found != digest {
            tracing::error!(path = %path.display(), "a file of the spool is damaged and not in the backup");
            damaged_files += 1;
            continue;
        }
        writer.file(&shared.host.disk, digest, &path).map_err(io("copying", &path))?;
        let totals = writer.totals();
        progress(BackupProgress { entries: totals.entries, files: totals.files, bytes: writer.bytes() });
    }
    writer.finish(to).map_err(io("ending", &tmp))?;
    let (sum, totals) = read_back(shared, &tmp).map_err(damaged)?;
    shared.host.disk.rename(&tmp, target).map_err(io("naming", target))?;
    let dir = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    shared.host.disk.sync_dir(dir).map_err(io("syncing", dir))?;
    let report = report(target, totals, &sum).map_err(io("reading", target))?;
    Ok(BackupReport { damaged_files, ..report })
}

/// What a backup holds.
pub(super) fn report(path: &Path, totals: Totals, sum: &[u8; 32]) -> io::Result<BackupReport> {
    Ok(BackupReport {
        path: path.to_owned(),
        sequence: totals.sequence,
        entries: totals.entries,
        sagas: totals.sagas,
        files: totals.files,
        damaged_files: 0,
        bytes: path.metadata()?.len(),
        sha256: sum.iter().map(|b| format!("{b:02x}")).collect(),
    })
}
