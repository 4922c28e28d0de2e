//! A disk under a process that may die at any write: from that moment on nothing reaches it. And one that may fail under
//! a process that lives: the journal and the spool are refused, once or until somebody mends it.

use edobridge::store::disk::{Answer, DiskHook, DiskOp};
use edobridge::store::faults::{FaultyDisk, Surviving};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where in the next write of the journal the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Before a byte is written.
    Unwritten,
    /// After so many bytes.
    Torn(usize),
    /// When all is written and nothing is synced.
    Unsynced,
}

/// How the disk fails under a living process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ailment {
    /// 28 ENOSPC, 5 EIO.
    pub errno: i32,
    pub at: Organ,
    pub lasts: Lasts,
}

/// Which operations fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Organ {
    /// A write, after so many bytes.
    Writes(usize),
    Syncs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    Once,
    UntilMended,
}

/// Whether a sync makes anything durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honesty {
    Honest,
    /// It says so and does not: for a negative control.
    Lies,
}

#[derive(Default)]
struct Fate {
    dead: bool,
    armed: Option<Death>,
    ailment: Option<Ailment>,
}

pub struct MortalDisk {
    inner: FaultyDisk,
    fate: Mutex<Fate>,
    honesty: Honesty,
}

impl MortalDisk {
    pub fn new(honesty: Honesty) -> Self {
        Self { inner: FaultyDisk::default(), fate: Mutex::default(), honesty }
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn arm(&self, death: Death) {
        self.fate().armed = Some(death);
    }

    /// Takes the plan back if it has not struck; says whether it has.
    pub fn disarm(&self) -> bool {
        let mut fate = self.fate();
        fate.armed = None;
        fate.dead
    }

    /// From now on it fails.
    pub fn ail(&self, ailment: Ailment) {
        self.fate().ailment = Some(ailment);
    }

    /// Takes an ailment back that has not struck and does not last.
    pub fn recover(&self) {
        let mut fate = self.fate();
        fate.ailment = fate.ailment.filter(|ailment| ailment.lasts == Lasts::UntilMended);
    }

    /// Somebody mends it.
    pub fn mend(&self) {
        self.fate().ailment = None;
    }

    pub fn is_ailing(&self) -> bool {
        self.fate().ailment.is_some()
    }

    /// Nothing reaches the disk any more.
    pub fn die(&self) {
        self.fate().dead = true;
    }

    /// The next process may use it.
    pub fn revive(&self) {
        *self.fate() = Fate::default();
    }

    /// The power went too: what no sync has covered is gone.
    pub fn cut_power(&self) -> io::Result<()> {
        self.inner.cut_power(Surviving::None)
    }
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Fate {
    /// What an ailment makes of this operation. The journal and the spool suffer: what the store does on threads of its
    /// own, whenever it likes, would make another run of a seed.
    fn suffers(&mut self, op: &DiskOp<'_>) -> Option<Answer> {
        let ailment = self.ailment?;
        let failed = || io::Error::from_raw_os_error(ailment.errno);
        let answer = match (ailment.at, op) {
            (Organ::Writes(bytes), DiskOp::Write { path, len, .. }) if is_ours(path) => {
                Answer::Torn(bytes.min(len.saturating_sub(1)), failed())
            }
            (Organ::Syncs, DiskOp::Sync { path }) if is_ours(path) => Answer::Fail(failed()),
            _ => return None,
        };
        if ailment.lasts == Lasts::Once {
            self.ailment = None;
        }
        Some(answer)
    }
}

fn is_ours(path: &Path) -> bool {
    is_segment(path) || path.components().any(|part| part.as_os_str() == "spool")
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

impl DiskHook for MortalDisk {
    fn before(&self, op: &DiskOp<'_>) -> Answer {
        let mut fate = self.fate();
        if fate.dead {
            return Answer::Fail(gone());
        }
        if let Some(answer) = fate.suffers(op) {
            drop(fate);
            // So that a power cut knows what was there before.
            if let Answer::Torn(..) = answer {
                drop(self.inner.before(op));
            }
            return answer;
        }
        match (fate.armed, op) {
            (Some(Death::Unwritten), DiskOp::Write { path, .. })
            | (Some(Death::Unsynced), DiskOp::Sync { path })
                if is_segment(path) =>
            {
                fate.dead = true;
                Answer::Fail(gone())
            }
            (Some(Death::Torn(bytes)), DiskOp::Write { path, .. }) if is_segment(path) => {
                fate.dead = true;
                drop(fate);
                // So that a power cut knows what was there before.
                drop(self.inner.before(op));
                Answer::Torn(bytes, gone())
            }
            _ => {
                drop(fate);
                self.inner.before(op)
            }
        }
    }

    fn after(&self, op: &DiskOp<'_>) {
        let lies = self.honesty == Honesty::Lies && matches!(op, DiskOp::Sync { path } if is_segment(path));
        if !lies {
            self.inner.after(op);
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        self.inner.free_bytes()
    }
}
