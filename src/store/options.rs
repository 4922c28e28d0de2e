//! What the store is told at opening: its directory and its bounds.

use std::path::PathBuf;

/// Where the store lives and how large its parts may grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// The directory that belongs to this store alone.
    pub dir: PathBuf,
    /// Size of one journal segment, bytes. Preallocated and zeroed before use.
    pub segment_bytes: u64,
    /// After how many journal bytes the view is flushed and the checkpoint moves: bounds the replay at start.
    pub checkpoint_every_bytes: u64,
    /// After how many journal bytes a snapshot is taken and older segments are dropped: bounds a rebuild.
    pub snapshot_every_bytes: u64,
    /// How many verified snapshots are kept; at least one.
    pub keep_snapshots: usize,
    /// With less free disk than this nothing new is accepted; what is under way goes on.
    pub min_free_bytes: u64,
    /// Cache of the view, bytes.
    ///
    /// Measured on sled 0.34.7: the figure bounds only what its access queues have already seen, so the real
    /// size is a few times this one (see `view`).
    pub view_cache_bytes: u64,
    /// How many bytes of files the spool may hold.
    pub spool_bytes_max: u64,
    /// How many bytes of commands share one write and one sync.
    pub group_bytes_max: usize,
    /// How many commands may wait for the writer; later callers wait outside, without memory in the queue.
    pub queue_max: usize,
    /// Where an older store is backed up before it is upgraded; none = it is not, and there is no way back.
    pub way_back: Option<PathBuf>,
}

impl StoreOptions {
    /// The defaults for a store in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 16 << 20,
            checkpoint_every_bytes: 16 << 20,
            snapshot_every_bytes: 128 << 20,
            keep_snapshots: 2,
            min_free_bytes: 256 << 20,
            view_cache_bytes: 4 << 20,
            spool_bytes_max: 4 << 30,
            group_bytes_max: 1 << 20,
            queue_max: 4_096,
            way_back: None,
        }
    }

    /// The smallest segment that is allowed: below it one notice would not fit into a frame.
    pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
}
