//! Where a journal lives, and the blank segments that are made ahead of need.

use crate::store::disk::Disk;
use crate::store::segment;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a journal lives and what it must be.
#[derive(Clone)]
pub(in crate::store) struct Place {
    pub disk: Disk,
    pub dir: PathBuf,
    /// Id of the store: a segment of another store is never taken for ours.
    pub store: [u8; 16],
    pub segment_bytes: u64,
    /// Held while a blank segment is made or taken: the keeper makes them ahead, the writer in need, and neither
    /// may put a blank one in the place of one that the other has begun to use.
    pub preparing: Arc<Mutex<()>>,
}

impl Place {
    /// Makes sure that the blank segment `number` is there; whoever holds [`Place::preparing`] calls this.
    pub(super) fn prepare(&self, number: u64) -> io::Result<PathBuf> {
        let path = segment::path(&self.dir, number);
        if !path.exists() {
            segment::prepare(&self.disk, &path, self.segment_bytes)?;
        }
        Ok(path)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.preparing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the segment after the one that `active` names, and the reserve, if they are not there yet.
    ///
    /// # Errors
    /// When there is no room for them.
    pub fn prepare_ahead(&self, active: &AtomicU64) -> io::Result<()> {
        let guard = self.lock();
        self.prepare(active.load(Ordering::Acquire) + 1)?;
        drop(guard);
        let _guard = self.lock();
        let reserve = segment::reserve_path(&self.dir);
        let there = reserve.metadata().is_ok_and(|m| m.len() == self.segment_bytes);
        if there { Ok(()) } else { segment::prepare(&self.disk, &reserve, self.segment_bytes) }
    }
}
