//! A disk under a process that may die at any write: from that moment on nothing reaches it.

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

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

impl DiskHook for MortalDisk {
    fn before(&self, op: &DiskOp<'_>) -> Answer {
        let mut fate = self.fate();
        if fate.dead {
            return Answer::Fail(gone());
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
