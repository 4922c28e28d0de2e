//! How the store is: numbers for metrics, and one sentence when it is not ready.

use crate::domain::{Text, Timestamp};
use crate::saga::document::Step;
use std::time::Duration;

/// Whether the store takes work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It does not take new work, and this is why. It mends itself when it can.
    NotReady(Text),
}

/// The state of the store at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreHealth {
    /// Whether it takes work.
    pub readiness: Readiness,
    /// Median time of the last syncs of the journal.
    pub sync_p50: Duration,
    /// 99th percentile of the same.
    pub sync_p99: Duration,
    /// Commands that wait for the writer.
    pub queued: usize,
    /// The last durable entry of the journal.
    pub sequence: u64,
    /// The last entry that the view has.
    pub applied: u64,
    /// The last entry that the view has durably.
    pub checkpoint: u64,
    /// Time since the last checkpoint.
    pub checkpoint_age: Duration,
    /// Bytes of journal segments on disk.
    pub journal_bytes: u64,
    /// Bytes of journal since the last snapshot.
    pub journal_since_snapshot_bytes: u64,
    /// Entries that the view does not have yet.
    pub overlay_entries: usize,
    /// Their bytes.
    pub overlay_bytes: usize,
    /// Bytes of the view on disk.
    pub view_bytes: u64,
    /// Free bytes on the disk, for us.
    pub free_disk_bytes: u64,
    /// Bytes of files in the spool.
    pub spool_bytes: u64,
    /// Groups of commands that failed since the start.
    pub failed_groups: u64,
    /// How often the view was opened again since the start.
    pub view_reopened: u64,
}

/// How many there are of what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Sagas per step, every step once, in stored order.
    pub sagas: Vec<StepCount>,
    /// Notices that wait in the inbox.
    pub notices: u64,
    /// Notices that are kept for a person.
    pub parked_notices: u64,
    /// Sagas with an effect under way.
    pub in_flight: u64,
}

/// The sagas of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepCount {
    /// Which step.
    pub step: Step,
    /// How many.
    pub count: u64,
    /// When the oldest of them entered it.
    pub oldest_since: Option<Timestamp>,
}

impl Counts {
    /// How many sagas are in `step`.
    pub fn of(&self, step: Step) -> u64 {
        self.sagas.iter().find(|c| c.step == step).map_or(0, |c| c.count)
    }
}

/// Hears what the writer does; for metrics. Called on the writer's thread: must be quick and must not block.
pub trait StoreObserver: Send + Sync + 'static {
    /// A group of commands was made durable.
    fn group(&self, group: GroupTiming);
    /// One command was answered, so long after it was given.
    fn command(&self, waited: Duration);
}

/// What one group took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupTiming {
    /// Commands in it.
    pub commands: usize,
    /// Bytes written.
    pub bytes: usize,
    /// Time of the write.
    pub write: Duration,
    /// Time of the sync.
    pub sync: Duration,
}
