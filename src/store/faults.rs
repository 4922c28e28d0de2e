//! Faults of the disk, for tests: the n-th write or sync fails, the disk is full, the power goes.
//!
//! Compiled in always, used by tests only: production opens the store on [`Disk::real`](super::disk::Disk::real).

use super::disk::{Answer, DiskHook, DiskOp};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a planned fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAt {
    /// A write.
    Write,
    /// A sync of a file.
    Sync,
    /// The making of a file.
    Create,
    /// A rename.
    Rename,
}

/// One planned fault.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which operations it is about.
    pub at: FaultAt,
    /// A part of the path; empty = every path.
    pub path_contains: &'static str,
    /// How many fitting operations pass before it strikes.
    pub after: u32,
    /// How many operations it strikes; `u32::MAX` = until it is cleared.
    pub times: u32,
    /// The errno: 28 ENOSPC, 5 EIO, 30 EROFS.
    pub errno: i32,
    /// Of a write: how many bytes are written all the same.
    pub torn_bytes: usize,
    /// Of a sync: whether it is done and only the answer is a failure.
    pub done_all_the_same: DoneAllTheSame,
}

/// Whether an operation that is reported as failed had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoneAllTheSame {
    /// It had.
    Yes,
    /// It had not.
    No,
}

impl Fault {
    /// Strikes once, at the next fitting operation.
    pub fn once(at: FaultAt, path_contains: &'static str, errno: i32) -> Self {
        Self {
            at,
            path_contains,
            after: 0,
            times: 1,
            errno,
            torn_bytes: 0,
            done_all_the_same: DoneAllTheSame::No,
        }
    }
    /// Strikes until it is cleared.
    pub fn always(at: FaultAt, path_contains: &'static str, errno: i32) -> Self {
        Self { times: u32::MAX, ..Self::once(at, path_contains, errno) }
    }
}

/// Which of the changes that no sync has covered survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surviving {
    /// None of them.
    None,
    /// Each with even chance, by this seed: the disk reorders.
    Some(u64),
}

/// A disk that fails as planned and remembers what no sync has covered.
#[derive(Default)]
pub struct FaultyDisk {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: Vec<Fault>,
    free_bytes: Option<u64>,
    unsynced: Vec<Change>,
    struck: u32,
}

/// A change that can be taken back.
enum Change {
    Wrote { path: PathBuf, offset: u64, before: Vec<u8>, len_before: u64 },
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
}

impl FaultyDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Plans a fault.
    pub fn plan(&self, fault: Fault) {
        self.state().faults.push(fault);
    }
    /// Takes all planned faults back.
    pub fn clear(&self) {
        self.state().faults.clear();
    }
    /// How many operations were struck so far.
    pub fn struck(&self) -> u32 {
        self.state().struck
    }
    /// What the disk says of its free space; `None` = the truth.
    pub fn set_free_bytes(&self, bytes: Option<u64>) {
        self.state().free_bytes = bytes;
    }
    /// Takes the power away: undoes what no sync has covered. The store must be closed or forgotten before.
    ///
    /// # Errors
    /// When the files cannot be changed.
    pub fn cut_power(&self, surviving: Surviving) -> io::Result<()> {
        let mut changes = std::mem::take(&mut self.state().unsynced);
        let mut chance = match surviving {
            Surviving::None => None,
            Surviving::Some(seed) => Some(seed | 1),
        };
        while let Some(change) = changes.pop() {
            let keep = chance.as_mut().is_some_and(|seed| {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *seed >> 63 == 1
            });
            if !keep {
                if let Change::Renamed { from, to, .. } = &change {
                    follow_rename(&mut changes, to, from);
                }
                undo(change)?;
            }
        }
        Ok(())
    }
}

fn undo(change: Change) -> io::Result<()> {
    match change {
        Change::Wrote { path, offset, before, len_before } => {
            let Ok(file) = fs::OpenOptions::new().write(true).open(&path) else { return Ok(()) };
            file.write_all_at(&before, offset)?;
            file.set_len(len_before.max(offset + before.len() as u64).min(file.metadata()?.len()))
        }
        Change::Renamed { from, to, replaced } => {
            fs::rename(&to, &from)?;
            replaced.map_or(Ok(()), |bytes| fs::write(&to, bytes))
        }
    }
}

impl State {
    fn strike(&mut self, at: FaultAt, path: &Path) -> Option<Fault> {
        let text = path.to_string_lossy();
        let index = self
            .faults
            .iter_mut()
            .position(|fault| fault.at == at && text.contains(fault.path_contains) && due(fault))?;
        self.struck += 1;
        let fault = self.faults[index].clone();
        if fault.times == 0 {
            self.faults.remove(index);
        }
        Some(fault)
    }
}

/// Whether the fault strikes now; counts down.
fn due(fault: &mut Fault) -> bool {
    if fault.after > 0 {
        fault.after -= 1;
        return false;
    }
    if fault.times != u32::MAX {
        fault.times -= 1;
    }
    true
}

fn error(fault: &Fault) -> io::Error {
    io::Error::from_raw_os_error(fault.errno)
}

fn remember_write(state: &mut State, path: &Path, file: &File, offset: u64, len: usize) {
    let len_before = file.metadata().map_or(0, |m| m.len());
    let mut before = vec![0; usize::try_from(len_before.saturating_sub(offset)).unwrap_or(0).min(len)];
    if file.read_exact_at(&mut before, offset).is_ok() {
        state.unsynced.push(Change::Wrote { path: path.to_owned(), offset, before, len_before });
    }
}

fn forget_writes(state: &mut State, synced: &Path) {
    state.unsynced.retain(|change| !matches!(change, Change::Wrote { path, .. } if path == synced));
}

fn forget_renames(state: &mut State, dir: &Path) {
    state.unsynced.retain(|change| !matches!(change, Change::Renamed { to, .. } if to.parent() == Some(dir)));
}

/// After a rename the file's unsynced writes belong to the new name.
fn follow_rename(changes: &mut [Change], old: &Path, new: &Path) {
    for change in changes {
        if let Change::Wrote { path, .. } = change
            && path == old
        {
            new.clone_into(path);
        }
    }
}

impl DiskHook for FaultyDisk {
    fn before(&self, op: &DiskOp<'_>) -> Answer {
        let mut state = self.state();
        match op {
            DiskOp::Write { path, file, offset, len } => {
                let fault = state.strike(FaultAt::Write, path);
                if fault.as_ref().is_none_or(|f| f.torn_bytes > 0) {
                    remember_write(&mut state, path, file, *offset, *len);
                }
                fault.map_or(Answer::Go, |f| Answer::Torn(f.torn_bytes, error(&f)))
            }
            DiskOp::Sync { path } => match state.strike(FaultAt::Sync, path) {
                Some(fault) => {
                    if fault.done_all_the_same == DoneAllTheSame::Yes {
                        forget_writes(&mut state, path);
                    }
                    Answer::Fail(error(&fault))
                }
                None => Answer::Go,
            },
            DiskOp::Open { path, create: true } => {
                state.strike(FaultAt::Create, path).map_or(Answer::Go, |f| Answer::Fail(error(&f)))
            }
            DiskOp::Rename { from, to } => match state.strike(FaultAt::Rename, to) {
                Some(fault) => Answer::Fail(error(&fault)),
                None => {
                    let replaced = fs::read(to).ok();
                    follow_rename(&mut state.unsynced, from, to);
                    state.unsynced.push(Change::Renamed {
                        from: from.to_path_buf(),
                        to: to.to_path_buf(),
                        replaced,
                    });
                    Answer::Go
                }
            },
            DiskOp::Open { create: false, .. } | DiskOp::SyncDir { .. } | DiskOp::Remove { .. } => Answer::Go,
        }
    }

    fn after(&self, op: &DiskOp<'_>) {
        match op {
            DiskOp::Sync { path } => forget_writes(&mut self.state(), path),
            DiskOp::SyncDir { path } => forget_renames(&mut self.state(), path),
            DiskOp::Open { .. } | DiskOp::Write { .. } | DiskOp::Rename { .. } | DiskOp::Remove { .. } => {}
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        self.state().free_bytes
    }
}
