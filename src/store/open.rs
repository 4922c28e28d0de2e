//! Opening: what is trusted, what is replayed, what is rebuilt.

use crate::domain::Text;
use std::time::Duration;

/// What the opening is doing, for the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenProgress {
    /// The journal is being read.
    ReadingJournal {
        /// Bytes read.
        done: u64,
        /// Bytes to read.
        total: u64,
    },
    /// The view is thrown away and made anew, and this is why.
    RebuildingView {
        /// Why.
        reason: Text,
    },
    /// The snapshot is being loaded into the view.
    LoadingSnapshot {
        /// Entries loaded.
        done: u64,
    },
    /// The view is being opened.
    OpeningView,
    /// Indexes are being counted.
    Counting,
}

/// What became of the view at opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewFate {
    /// The store is new.
    Created,
    /// It was trusted, and the journal after the checkpoint applied to it.
    Trusted,
    /// It was made anew from snapshot and journal.
    Rebuilt {
        /// Why.
        reason: Text,
    },
}

/// What was found and done at opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// What became of the view.
    pub view: ViewFate,
    /// Journal entries that were applied again.
    pub replayed: u64,
    /// Bytes of an unfinished frame that were cut off the journal's end: never acknowledged.
    pub torn_bytes: u64,
    /// Frames that an earlier failed write left behind, fenced off by a later segment.
    pub abandoned_frames: u64,
    /// Leftovers of an interrupted start (`snap.*.generating`) that were removed.
    pub leftovers_removed: u32,
    /// Files of the spool that no record names and that were removed.
    pub spool_swept: u64,
    /// How long the opening took.
    pub took: Duration,
}
