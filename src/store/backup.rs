//! Backup: one file with everything, made while running; verify and restore.

use super::Store;
use super::disk::{Disk, DiskFile, list_dir};
use super::error::BackupError;
use super::invariants::InvariantReport;
use super::layout::{Format, FormatError, Layout};
use super::options::StoreOptions;
use super::snapshot::{self, Item, SnapshotError, SnapshotWriter, Totals};
use super::snapshot_end;
use crate::domain::FileDigest;
use sha2::{Digest, Sha256};
use std::io;
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
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of all that precedes the trailer, hex.
    pub sha256: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// What the backup holds.
    pub backup: BackupReport,
    /// The invariants of the store that was restored from it.
    pub invariants: InvariantReport,
}

/// Reads the whole of `file`, restores it into a temporary directory beside it, opens that, counts, and checks
/// the invariants. Blocking; needs as much free space as a restore.
///
/// # Errors
/// [`BackupError::Damaged`] if a byte is wrong, [`BackupError::Invariants`] if what was restored is not sound.
pub fn verify_backup(file: &Path) -> Result<VerifyReport, BackupError> {
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let dir = file.with_file_name(format!(".{name}.verify-{}", std::process::id()));
    let verified = verify_in(file, &dir);
    let removed = std::fs::remove_dir_all(&dir);
    let report = verified?;
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(BackupError::Io { doing: "removing", path: dir, source })
        }
        Ok(()) | Err(_) => Ok(report),
    }
}

fn verify_in(file: &Path, dir: &Path) -> Result<VerifyReport, BackupError> {
    let backup = restore_backup(file, dir)?;
    let mut options = StoreOptions::new(dir);
    // It lives for a moment only: no room is kept, none is prepared beyond the least.
    options.min_free_bytes = 0;
    options.segment_bytes = 8 << 20;
    options.spool_bytes_max = u64::MAX;
    let (store, _) = Store::open(options, &mut |_| {})?;
    let invariants = store.check_invariants_blocking();
    let closed = store.close_blocking();
    let invariants = invariants?;
    closed?;
    match invariants.violations.first() {
        None => Ok(VerifyReport { backup, invariants }),
        Some(first) => Err(BackupError::Invariants {
            count: usize::try_from(invariants.violation_count).unwrap_or(usize::MAX),
            first: first.to_string(),
        }),
    }
}

/// Makes a store in `target_dir` from `file`. Blocking.
///
/// # Errors
/// [`BackupError::TargetNotEmpty`] if there is anything in `target_dir`; [`BackupError::Damaged`].
pub fn restore_backup(file: &Path, target_dir: &Path) -> Result<BackupReport, BackupError> {
    let disk = Disk::real();
    if !list_dir(target_dir).map_err(io_error("listing", target_dir))?.is_empty() {
        return Err(BackupError::TargetNotEmpty { dir: target_dir.to_owned() });
    }
    let sum = snapshot::check_sum(&disk, file).map_err(|e| unusable(file, e))?;
    let layout = Layout::new(target_dir);
    for dir in [target_dir.to_owned(), layout.snapshots(), layout.journal()] {
        disk.create_dir(&dir).map_err(io_error("making", &dir))?;
    }
    let mut restoring = Restoring {
        disk: disk.clone(),
        layout: layout.clone(),
        format: String::new(),
        out: None,
        file: None,
    };
    let totals =
        snapshot::read(&disk, file, &mut |item| restoring.take(item)).map_err(|e| unusable(file, e))?;
    restoring.finish(totals).map_err(|e| unusable(file, e))?;
    snapshot_end::report(file, totals, &sum).map_err(io_error("reading", file))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Io { doing, path, source }
}

fn unusable(path: &Path, error: SnapshotError) -> BackupError {
    let path = path.to_owned();
    match error {
        SnapshotError::Damaged(detail) => BackupError::Damaged { path, detail },
        SnapshotError::Newer(found) => {
            BackupError::Newer { what: "backup".into(), found, known: snapshot::FORMAT }
        }
        SnapshotError::NewerStore { what, found, known } => BackupError::Newer { what, found, known },
        SnapshotError::Io(source) => BackupError::Io { doing: "restoring", path, source },
    }
}

/// A store that is being made from a backup: its snapshot without the files, and the files in their places.
struct Restoring {
    disk: Disk,
    layout: Layout,
    format: String,
    out: Option<SnapshotWriter>,
    file: Option<RestoredFile>,
}

/// A file of the spool that is being written.
struct RestoredFile {
    file: DiskFile,
    path: PathBuf,
    digest: FileDigest,
    size: u64,
    written: u64,
    hash: Sha256,
}

impl Restoring {
    fn take(&mut self, item: Item) -> Result<(), SnapshotError> {
        match item {
            Item::Format(text) => self.begin(text),
            Item::Entries(entries) => {
                let mut entries = entries.into_iter().peekable();
                while let Some((tree, key, value)) = entries.next() {
                    let mut run = vec![(key, value)];
                    while let Some((_, key, value)) = entries.next_if(|(next, ..)| *next == tree) {
                        run.push((key, value));
                    }
                    self.out()?.entries(tree, run)?;
                }
                Ok(())
            }
            Item::Frame { first, count, payload } => Ok(self.out()?.frame(first, count, &payload)?),
            Item::File { digest, size } => self.begin_file(digest, size),
            Item::Chunk(bytes) => self.chunk(&bytes),
            Item::End(_) => self.end_file(),
        }
    }

    fn begin(&mut self, text: String) -> Result<(), SnapshotError> {
        match Format::parse(&text) {
            Ok(_) => {}
            Err(FormatError::Newer { what, found, known }) => {
                return Err(SnapshotError::NewerStore { what, found, known });
            }
            Err(FormatError::Unreadable(detail)) => return Err(SnapshotError::Damaged(detail)),
        }
        let tmp = self.layout.snapshots().join("restoring.tmp");
        self.out = Some(SnapshotWriter::create(&self.disk, &tmp, &text)?);
        self.format = text;
        Ok(())
    }

    fn out(&mut self) -> Result<&mut SnapshotWriter, SnapshotError> {
        self.out.as_mut().ok_or_else(|| SnapshotError::Damaged("it does not begin with its format".into()))
    }

    fn begin_file(&mut self, digest: FileDigest, size: u64) -> Result<(), SnapshotError> {
        self.end_file()?;
        let hex = digest.to_hex();
        let shard = self.layout.spool().join(&hex[..2]);
        self.disk.create_dir(&shard)?;
        let path = shard.join(hex);
        let file = self.disk.create(&path)?;
        self.file = Some(RestoredFile { file, path, digest, size, written: 0, hash: Sha256::new() });
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let file = self.file.as_mut().ok_or_else(|| SnapshotError::Damaged("a part of no file".into()))?;
        file.file.write_all_at(bytes, file.written)?;
        file.written += bytes.len() as u64;
        file.hash.update(bytes);
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), SnapshotError> {
        let Some(RestoredFile { file, path, digest, size, written, hash }) = self.file.take() else {
            return Ok(());
        };
        let found = FileDigest(hash.finalize().into());
        if written != size || found != digest {
            return Err(SnapshotError::Damaged(format!("file {digest:?} is not what its name says")));
        }
        file.sync_all()?;
        Ok(self.disk.sync_dir(path.parent().unwrap_or(Path::new(".")))?)
    }

    /// FORMAT comes last: a directory without it is not a store, so half a restore is never opened as one.
    fn finish(&mut self, totals: Totals) -> Result<(), SnapshotError> {
        let mut out = self.out.take().ok_or_else(|| SnapshotError::Damaged("it is empty".into()))?;
        out.set_sagas(totals.sagas);
        let tmp = out.path();
        out.finish(totals.sequence)?;
        self.disk.rename(&tmp, &snapshot::path(&self.layout.snapshots(), totals.sequence))?;
        self.disk.sync_dir(&self.layout.snapshots())?;
        Ok(self.disk.replace(&self.layout.format(), self.format.as_bytes())?)
    }
}
