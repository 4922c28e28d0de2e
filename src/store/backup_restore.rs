//! A store made from a backup.
//!
//! It deliberately does not know who wants it: a person after a loss, or a verification.
//!
//! # Invariants
//! * **BR-1** Nothing is written before every byte of the backup was checked and there is room for all of it.
//! * **BR-2** FORMAT comes last: a directory without it is not a store, so half a restore is never opened as one.
//! * **BR-3** A restored store says so (`restored`): it is older than the world, and must look before it writes.

use super::backup::{BackupReport, check_room, io_error};
use super::backup_manifest::Manifest;
use super::disk::{Disk, DiskFile, list_dir};
use super::error::BackupError;
use super::layout::{Format, FormatError, Layout};
use super::snapshot::{self, Item, SnapshotError, SnapshotWriter, Totals};
use super::snapshot_end;
use super::{restored, segment};
use crate::domain::FileDigest;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Makes a store in `target_dir` from `file`. Blocking.
///
/// # Errors
/// [`BackupError::TargetNotEmpty`] if there is anything in `target_dir`; [`BackupError::Damaged`];
/// [`BackupError::NoRoom`]; [`BackupError::Newer`].
pub fn restore_backup(file: &Path, target_dir: &Path) -> Result<BackupReport, BackupError> {
    unpack(&Disk::real(), file, target_dir).map(|(report, _)| report)
}

/// What a backup says beyond its totals.
pub(super) struct Unpacked {
    pub manifest: Manifest,
}

/// The same, and what the backup says of itself.
pub(super) fn unpack(
    disk: &Disk,
    file: &Path,
    target_dir: &Path,
) -> Result<(BackupReport, Unpacked), BackupError> {
    if !list_dir(target_dir).map_err(io_error("listing", target_dir))?.is_empty() {
        return Err(BackupError::TargetNotEmpty { dir: target_dir.to_owned() });
    }
    let sum = snapshot::check_sum(disk, file).map_err(|e| unusable(file, e))?;
    let bulk = snapshot::measure(disk, file).map_err(|e| unusable(file, e))?;
    let file_bytes = file.metadata().map_err(io_error("reading", file))?.len();
    disk.create_dir(target_dir).map_err(io_error("making", target_dir))?;
    check_room(disk, target_dir, bulk, file_bytes)?;
    let layout = Layout::new(target_dir);
    for dir in [layout.snapshots(), layout.journal()] {
        disk.create_dir(&dir).map_err(io_error("making", &dir))?;
    }
    let mut restoring = Restoring {
        disk: disk.clone(),
        layout: layout.clone(),
        format: String::new(),
        out: None,
        file: None,
        manifest: Manifest::default(),
    };
    let totals =
        snapshot::read(disk, file, &mut |item| restoring.take(item)).map_err(|e| unusable(file, e))?;
    let manifest = restoring.manifest.clone();
    restoring.finish(totals).map_err(|e| unusable(file, e))?;
    let report = snapshot_end::report(file, totals, &sum).map_err(io_error("reading", file))?;
    Ok((report, Unpacked { manifest }))
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
    manifest: Manifest,
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
            Item::End(_, manifest) => {
                self.manifest = manifest;
                self.end_file()
            }
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

    /// A segment that says where the journal goes on. Without it the store could be opened only once before something
    /// is written: a journal of nothing behind a checkpoint looks like one that was lost.
    fn begin_journal(&self, sequence: u64) -> Result<(), SnapshotError> {
        let damaged = || SnapshotError::Damaged("its format is lost".into());
        let store = Format::parse(&self.format).map_err(|_| damaged())?.store;
        let dir = self.layout.journal();
        let file = self.disk.create(&segment::path(&dir, 1))?;
        let first = sequence.checked_add(1).ok_or_else(damaged)?;
        file.write_all_at(&segment::Header { number: 1, first, store }.encode(), 0)?;
        file.sync_all()?;
        Ok(self.disk.sync_dir(&dir)?)
    }

    fn finish(&mut self, totals: Totals) -> Result<(), SnapshotError> {
        let mut out = self.out.take().ok_or_else(|| SnapshotError::Damaged("it is empty".into()))?;
        out.take_counters(&totals, &self.manifest);
        let tmp = out.path();
        out.finish(totals.sequence)?;
        self.disk.rename(&tmp, &snapshot::path(&self.layout.snapshots(), totals.sequence))?;
        self.disk.sync_dir(&self.layout.snapshots())?;
        self.begin_journal(totals.sequence)?;
        restored::mark(&self.disk, &self.layout)?;
        Ok(self.disk.replace(&self.layout.format(), self.format.as_bytes())?)
    }
}
