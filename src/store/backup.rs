//! Backup: one file with everything, made while running; verified by restoring it aside.
//!
//! A backup that was never restored is a hope. So verifying is no look at checksums: the file is restored into a
//! directory of its own, every file of the spool is hashed from where it lies now, the directory is opened as a store,
//! what there is of each thing is compared with what the live store counted, and all invariants are checked.
//!
//! It deliberately does not know the file's layout (`snapshot`) nor how a store is made of it (`backup_restore`).

use super::Store;
use super::backup_restore::{self, Unpacked};
use super::disk::{Disk, list_dir};
use super::error::BackupError;
use super::invariants::InvariantReport;
use super::layout::Layout;
use super::options::StoreOptions;
use super::rebuild;
use super::snapshot::Bulk;
use super::spool;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How far a backup has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupProgress {
    /// Entries of the view written.
    pub entries: u64,
    /// Files of the spool written.
    pub files: u64,
    /// Bytes of the backup file so far.
    pub bytes: u64,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// Where it is.
    pub path: PathBuf,
    /// The journal entry it stands at.
    pub sequence: u64,
    /// Entries that were read from the view; what came meanwhile is in it as journal entries.
    pub entries: u64,
    /// Sagas.
    pub sagas: u64,
    /// Files of the spool.
    pub files: u64,
    /// Files of the spool that are not in it, because the disk gives other bytes than it was given. Known only to
    /// whoever made the backup.
    pub damaged_files: u64,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of all that precedes the trailer, hex.
    pub sha256: String,
}

/// How many there are of one thing: in the backup, and in the store that was restored from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Of what: the name of a step, of a tree, or of a counter.
    pub what: String,
    /// What the backup says; none where it says nothing.
    pub backup: Option<u64>,
    /// What was counted after the restore.
    pub restored: u64,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// What the backup holds.
    pub backup: BackupReport,
    /// What was counted in the store that was restored from it.
    pub counted: Vec<Counted>,
    /// Files of the spool that were read again from where they were restored to, and their bytes.
    pub hashed_files: u64,
    /// Their bytes.
    pub hashed_bytes: u64,
    /// Those of them whose bytes are not what their name says.
    pub wrong_files: u64,
    /// The invariants of the store that was restored from it.
    pub invariants: InvariantReport,
}

impl VerifyReport {
    /// How many violations are named in full.
    const NAMED_MAX: usize = 10;

    /// What is wrong, in words for developers; nothing if the backup is good.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .counted
            .iter()
            .filter(|line| line.backup.is_some_and(|then| then != line.restored))
            .map(|line| {
                let then = line.backup.unwrap_or_default();
                format!("{}: {then} in the backup, {} after the restore", line.what, line.restored)
            })
            .collect();
        if self.wrong_files > 0 {
            faults.push(format!("{} restored files have other bytes than their names say", self.wrong_files));
        }
        if self.hashed_files != self.backup.files {
            let (now, then) = (self.hashed_files, self.backup.files);
            faults.push(format!("{then} files in the backup, {now} after the restore"));
        }
        faults.extend(self.invariants.violations.iter().take(Self::NAMED_MAX).map(ToString::to_string));
        let unnamed = self.invariants.violation_count.saturating_sub(Self::NAMED_MAX as u64);
        if unnamed > 0 {
            faults.push(format!("{unnamed} more broken rules"));
        }
        faults
    }
}

/// Reads the whole of `file`, restores it into a temporary directory, opens that, counts, hashes, and checks the
/// invariants. The directory lies in `scratch`, or beside the file, is nobody else's to read, and is removed whatever
/// comes. Blocking; needs as much free space as a restore.
///
/// What is wrong with the restored store is in the report: see [`VerifyReport::faults`].
///
/// # Errors
/// [`BackupError::Damaged`] if a byte of the file is wrong, [`BackupError::NoRoom`], [`BackupError::Open`],
/// [`BackupError::Io`].
pub fn verify_backup(file: &Path, scratch: Option<&Path>) -> Result<VerifyReport, BackupError> {
    let scratch = Scratch::make(file, scratch)?;
    let (backup, unpacked) = backup_restore::unpack(&Disk::real(), file, &scratch.dir)?;
    let (hashed_files, hashed_bytes, wrong_files) = rehash(&scratch.dir)?;
    let mut options = StoreOptions::new(&scratch.dir);
    // It lives for a moment only: no room is kept, none is prepared beyond the least.
    options.min_free_bytes = 0;
    options.segment_bytes = 8 << 20;
    options.spool_bytes_max = u64::MAX;
    let (store, _) = Store::open(options, &mut |_| {})?;
    let counters = store.0.shared.state.overlay().counters();
    let invariants = store.check_invariants_blocking();
    let closed = store.close_blocking();
    let invariants = invariants?;
    closed?;
    let counted = counted(&unpacked, &counters, &invariants);
    scratch.remove()?;
    Ok(VerifyReport { backup, counted, hashed_files, hashed_bytes, wrong_files, invariants })
}

/// Puts side by side what the backup says and what is there now; what is nowhere is left out.
fn counted(
    unpacked: &Unpacked,
    counters: &super::overlay::Counters,
    invariants: &InvariantReport,
) -> Vec<Counted> {
    let manifest = &unpacked.manifest;
    let known = manifest.has_counters();
    let of_store = manifest.compared(counters).into_iter().map(|(what, then, restored)| Counted {
        what,
        backup: known.then_some(then),
        restored,
    });
    // Frames change the entries that were read before them: then only the store itself can tell how many there are.
    let still = known && manifest.is_without_frames();
    let of_trees = invariants.trees.iter().map(|(tree, restored)| Counted {
        what: format!("tree {tree}"),
        backup: still.then(|| manifest.entries_of(tree)),
        restored: *restored,
    });
    let lines = of_store.chain(of_trees);
    lines.filter(|line| line.restored > 0 || line.backup.is_some_and(|then| then > 0)).collect()
}

/// How many files there are in the spool of `dir`, how many bytes, and how many are not what their names say.
fn rehash(dir: &Path) -> Result<(u64, u64, u64), BackupError> {
    let spool = Layout::new(dir).spool();
    let (mut files, mut bytes, mut wrong) = (0, 0, 0);
    for (digest, path) in spool::files_in(&spool).map_err(io_error("listing", &spool))? {
        let (found, size) = spool::hash_of(&Disk::real(), &path).map_err(io_error("reading", &path))?;
        files += 1;
        bytes += size;
        wrong += u64::from(found != digest);
    }
    Ok((files, bytes, wrong))
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Io { doing, path, source }
}

/// Whether there is room for what `bulk` unpacks to, on the disk of `dir`, beside `file_bytes` of the backup itself.
///
/// The state is written once as a snapshot (as large as the backup at most), and once into the view.
pub(super) fn check_room(disk: &Disk, dir: &Path, bulk: Bulk, file_bytes: u64) -> Result<(), BackupError> {
    let needed = bulk.files.saturating_add(rebuild::room_for_view(bulk.state)).saturating_add(file_bytes);
    let free = disk.free_bytes(dir).map_err(io_error("asking for the free space of", dir))?;
    if free < needed {
        return Err(BackupError::NoRoom { dir: dir.to_owned(), needed, free });
    }
    Ok(())
}

/// A directory of our own that goes with us.
struct Scratch {
    dir: PathBuf,
}

/// Between the name of the backup and the process that verifies it.
const SCRATCH_MARK: &str = ".verify-";

impl Scratch {
    fn make(file: &Path, place: Option<&Path>) -> Result<Self, BackupError> {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let place = place.or_else(|| file.parent()).filter(|p| !p.as_os_str().is_empty());
        let place = place.unwrap_or(Path::new("."));
        remove_leftovers(place, &format!(".{name}{SCRATCH_MARK}"));
        let dir = place.join(format!(".{name}{SCRATCH_MARK}{}", std::process::id()));
        // What is in a store is nobody else's to read.
        std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(io_error("making", &dir))?;
        Ok(Self { dir })
    }

    fn remove(self) -> Result<(), BackupError> {
        std::fs::remove_dir_all(&self.dir).map_err(io_error("removing", &self.dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After `remove` it is gone; after a failure there is something better to say.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Removes what a verification left that was killed. Best effort: it only takes room.
fn remove_leftovers(place: &Path, prefix: &str) {
    for path in list_dir(place).unwrap_or_default() {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let process = name.strip_prefix(prefix).and_then(|id| id.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            tracing::warn!(path = %path.display(), "a verification left this behind, it is removed");
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::FaultyDisk;
    use super::*;
    use std::sync::Arc;

    #[test]
    fn room_is_asked_for_before_anything_is_written() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let faulty = Arc::new(FaultyDisk::default());
        faulty.set_free_bytes(Some(100 << 20));
        let disk = Disk::hooked(faulty);
        let bulk = |state, files| Bulk { state, files };
        assert!(check_room(&disk, dir.path(), bulk(10 << 20, 30 << 20), 1 << 20).is_ok());
        for (state, files) in [(23 << 20, 0), (0, 68 << 20), (u64::MAX, u64::MAX / 2)] {
            let refused = check_room(&disk, dir.path(), bulk(state, files), 1 << 20);
            assert!(matches!(refused, Err(BackupError::NoRoom { .. })), "{state} {files}");
        }
    }

    #[test]
    fn what_a_killed_verification_left_is_removed_and_what_a_living_one_needs_is_not() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        // Linux gives no process a number above 4,194,304.
        let (dead, alive) = (dir.path().join(".a.verify-4999999"), dir.path().join(".a.verify-1"));
        for leftover in [&dead, &alive] {
            std::fs::create_dir(leftover).expect("made");
        }
        let own = Scratch::make(&dir.path().join("a"), None).expect("made");
        assert!(!dead.exists() && alive.exists() && own.dir.exists());
        let gone = own.dir.clone();
        drop(own);
        assert!(!gone.exists());
    }
}
