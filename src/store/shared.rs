//! What the store's threads and callers have in common.

use super::applier::Job;
use super::disk::Host;
use super::health::{Readiness, StoreHealth, StoreObserver};
use super::journal::Place;
use super::layout::{Format, Layout};
use super::options::StoreOptions;
use super::overlay::Counters;
use super::queue::{Bell, Closing, Queue};
use super::spool::Spool;
use super::state::State;
use crate::domain::Text;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How many of the last syncs the percentiles are taken over.
const SYNC_SAMPLES: usize = 512;

/// How long after a failed snapshot the next one is tried: it writes the whole state.
const SNAPSHOT_AGAIN: Duration = Duration::from_secs(60);

pub(super) struct Shared {
    pub options: StoreOptions,
    pub host: Host,
    pub layout: Layout,
    pub format: Format,
    pub place: Place,
    pub state: State,
    pub queue: Queue,
    pub spool: Spool,
    /// Wakes the applier.
    pub applier: Bell,
    /// Wakes the keeper.
    pub keeper: Bell,
    /// Wakes whoever counts the spool.
    pub stock: Bell,
    /// Wakes the writer when the overlay has room again.
    pub room: Bell,
    /// Work for the applier; none once it has ended.
    pub jobs: Mutex<Option<VecDeque<Job>>>,
    pub stop: Stop,
    pub gauges: Gauges,
    pub conditions: Mutex<Conditions>,
    pub observer: OnceLock<Arc<dyn StoreObserver>>,
    /// Set while the disk has less free space than wanted.
    pub disk_low: Arc<AtomicBool>,
}

impl Shared {
    pub fn conditions(&self) -> MutexGuard<'_, Conditions> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn jobs(&self) -> MutexGuard<'_, Option<VecDeque<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why new work is refused, if it is.
    pub fn intake_refusal(&self) -> Option<Text> {
        self.conditions().intake_refusal()
    }

    /// How the store is.
    pub fn health(&self) -> StoreHealth {
        let gauges = &self.gauges;
        let (overlay_entries, overlay_bytes) = self.state.overlay().size();
        let (sync_p50, sync_p99) = gauges.sync_percentiles();
        let sequence = gauges.sequence.load(Ordering::Acquire);
        StoreHealth {
            readiness: self.readiness(),
            sync_p50,
            sync_p99,
            queued: self.queue.len(),
            sequence,
            applied: gauges.applied.load(Ordering::Acquire),
            checkpoint: gauges.checkpoint.load(Ordering::Acquire),
            checkpoint_age: gauges.checkpoint_age(),
            journal_bytes: gauges.journal_on_disk.load(Ordering::Relaxed),
            journal_since_snapshot_bytes: gauges.journal_since_snapshot(),
            overlay_entries,
            overlay_bytes,
            view_bytes: gauges.view_bytes.load(Ordering::Relaxed),
            free_disk_bytes: gauges.free_disk.load(Ordering::Relaxed),
            spool_bytes: self.spool.bytes(),
            failed_groups: gauges.failed_groups.load(Ordering::Relaxed),
            view_reopened: gauges.view_reopened.load(Ordering::Relaxed),
        }
    }

    fn readiness(&self) -> Readiness {
        let reason = self.conditions().first();
        let reason = reason.or_else(|| match self.state.view() {
            Ok(_) => None,
            Err(error) => Some(error.text()),
        });
        reason.map_or(Readiness::Ready, Readiness::NotReady)
    }
}

/// Notices the death of a thread of the store. A store that is half dead must not look alive: everyone who waits
/// for that thread hears that the store is closed, and readiness says why.
pub(super) struct Deathwatch {
    pub shared: Arc<Shared>,
    pub thread: &'static str,
}

impl Drop for Deathwatch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let thread = self.thread;
        tracing::error!(thread, "a thread of the store has died");
        self.shared.conditions().dead = Some(Text::new(
            format!(
                "Поток хранилища «{thread}» завершился аварийно. Перезапустите edobridge; принятое не потеряно."
            ),
            format!(
                "The thread `{thread}` of the store has died. Restart edobridge; nothing accepted is lost."
            ),
        ));
        self.shared.queue.close(Closing::Abandon);
        drop(self.shared.jobs().take());
    }
}

/// What is wrong at the moment, each until it is right again.
#[derive(Debug, Default, Clone)]
pub(super) struct Conditions {
    /// The journal cannot be written.
    pub journal: Option<Text>,
    /// The disk is nearly full.
    pub disk: Option<Text>,
    /// No segment could be prepared for what comes.
    pub spare: Option<Text>,
    /// The files that are there cannot be counted.
    pub spool: Option<Text>,
    /// The store is stopping.
    pub closing: Option<Text>,
    /// A thread of the store has died: nothing goes on without a restart.
    pub dead: Option<Text>,
}

impl Conditions {
    fn first(&self) -> Option<Text> {
        let all = [&self.dead, &self.closing, &self.journal, &self.disk, &self.spare, &self.spool];
        all.into_iter().flatten().next().cloned()
    }
    fn intake_refusal(&self) -> Option<Text> {
        self.disk.clone().or_else(|| self.spare.clone())
    }
}

/// How the threads end.
#[derive(Default)]
pub(super) struct Stop(AtomicU8);

/// What a thread shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Go on.
    Run,
    /// The writer is done: carry everything into the view, make it durable, end.
    Finish,
    /// End at once, as if the process had died.
    Abandon,
}

impl Stop {
    pub fn course(&self) -> Course {
        match self.0.load(Ordering::Acquire) {
            0 => Course::Run,
            1 => Course::Finish,
            _ => Course::Abandon,
        }
    }
    pub fn finish(&self) {
        self.0.fetch_max(1, Ordering::AcqRel);
    }
    pub fn abandon(&self) {
        self.0.fetch_max(2, Ordering::AcqRel);
    }
}

/// Numbers that threads leave for whoever asks.
pub(super) struct Gauges {
    pub sequence: AtomicU64,
    pub applied: AtomicU64,
    pub checkpoint: AtomicU64,
    /// The number of the segment that is written to.
    pub segment: AtomicU64,
    /// Bytes of frames ever written by this process, plus what was found at opening.
    pub journal_written: AtomicU64,
    pub journal_at_checkpoint: AtomicU64,
    pub journal_at_snapshot: AtomicU64,
    pub snapshot_bytes: AtomicU64,
    pub journal_on_disk: AtomicU64,
    pub view_bytes: AtomicU64,
    pub free_disk: AtomicU64,
    pub failed_groups: AtomicU64,
    pub view_reopened: AtomicU64,
    began: Instant,
    checkpoint_at_ms: AtomicU64,
    syncs: Mutex<VecDeque<Duration>>,
    applied_counters: Mutex<Counters>,
    snapshot_not_before: Mutex<Option<Instant>>,
}

impl Default for Gauges {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            sequence: zero(),
            applied: zero(),
            checkpoint: zero(),
            segment: zero(),
            journal_written: zero(),
            journal_at_checkpoint: zero(),
            journal_at_snapshot: zero(),
            snapshot_bytes: zero(),
            journal_on_disk: zero(),
            view_bytes: zero(),
            free_disk: zero(),
            failed_groups: zero(),
            view_reopened: zero(),
            began: Instant::now(),
            checkpoint_at_ms: zero(),
            syncs: Mutex::default(),
            applied_counters: Mutex::default(),
            snapshot_not_before: Mutex::default(),
        }
    }
}

impl Gauges {
    pub fn note_sync(&self, took: Duration) {
        let mut syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        if syncs.len() == SYNC_SAMPLES {
            syncs.pop_front();
        }
        syncs.push_back(took);
    }

    fn sync_percentiles(&self) -> (Duration, Duration) {
        let syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<Duration> = syncs.iter().copied().collect();
        drop(syncs);
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied();
        (at(50).unwrap_or_default(), at(99).unwrap_or_default())
    }

    /// The view has everything up to this entry, where the counters were these.
    pub fn note_applied(&self, sequence: u64, counters: Counters) {
        *self.applied_counters.lock().unwrap_or_else(PoisonError::into_inner) = counters;
        self.applied.store(sequence, Ordering::Release);
    }

    pub fn applied_counters(&self) -> Counters {
        *self.applied_counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot failed: the next attempt comes later, whatever was written meanwhile.
    pub fn note_snapshot_failed(&self) {
        self.journal_at_snapshot.store(0, Ordering::Relaxed);
        *self.snapshot_not_before.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Instant::now() + SNAPSHOT_AGAIN);
    }

    /// Bytes of journal since the last snapshot was begun.
    pub fn journal_since_snapshot(&self) -> u64 {
        let written = self.journal_written.load(Ordering::Relaxed);
        written.saturating_sub(self.journal_at_snapshot.load(Ordering::Relaxed))
    }

    pub fn may_take_snapshot(&self) -> bool {
        let not_before = *self.snapshot_not_before.lock().unwrap_or_else(PoisonError::into_inner);
        not_before.is_none_or(|at| at <= Instant::now())
    }

    pub fn note_checkpoint(&self, sequence: u64) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.checkpoint_at_ms.store(now, Ordering::Relaxed);
        self.journal_at_checkpoint.store(self.journal_written.load(Ordering::Relaxed), Ordering::Relaxed);
        self.checkpoint.store(sequence, Ordering::Release);
    }

    fn checkpoint_age(&self) -> Duration {
        self.began
            .elapsed()
            .saturating_sub(Duration::from_millis(self.checkpoint_at_ms.load(Ordering::Relaxed)))
    }
}

/// The sentence for a journal that cannot be written.
pub(super) fn journal_trouble(error: &std::io::Error) -> Text {
    Text::new(
        format!(
            "Журнал не записывается на диск ({error}): новое не принимается. Проверьте диск и место на нём; работа продолжится сама."
        ),
        format!(
            "The journal cannot be written to disk ({error}): nothing new is accepted. Check the disk and its free space; the work then goes on by itself."
        ),
    )
}

/// The sentence for a disk that is nearly full.
pub(super) fn disk_trouble(free: u64, wanted: u64) -> Text {
    let (free, wanted) = (free >> 20, wanted >> 20);
    Text::new(
        format!(
            "На диске осталось {free} МиБ при необходимых {wanted} МиБ: новое не принимается, начатое продолжается. Освободите место."
        ),
        format!(
            "The disk has {free} MiB left, {wanted} MiB are wanted: nothing new is accepted, what was begun goes on. Free some space."
        ),
    )
}

/// The sentence for a view that there is no room for.
pub(super) fn view_room_trouble(needed: u64, free: u64) -> Text {
    let (needed, free) = (needed.div_ceil(1 << 20), free >> 20);
    Text::new(
        format!(
            "Представление данных строится заново, и на диске не хватает места: нужно около {needed} МиБ, свободно {free} МиБ. Принятое не потеряно. Освободите место; работа продолжится сама."
        ),
        format!(
            "The view is being made anew, and the disk has no room for it: about {needed} MiB are needed, {free} MiB are free. Nothing accepted is lost. Free some space; the work then goes on by itself."
        ),
    )
}

/// The sentence for a spare segment that cannot be made.
pub(super) fn spare_trouble(error: &std::io::Error) -> Text {
    Text::new(
        format!(
            "Нельзя подготовить место для журнала ({error}): новое не принимается, начатое продолжается. Освободите место на диске."
        ),
        format!(
            "Room for the journal cannot be prepared ({error}): nothing new is accepted, what was begun goes on. Free some space on the disk."
        ),
    )
}

/// The sentence for a spool whose files cannot be looked at.
pub(super) fn spool_trouble(error: &std::io::Error) -> Text {
    Text::new(
        format!(
            "Файлы документов не удаётся просмотреть ({error}): новые файлы не принимаются. Проверьте диск; работа продолжится сама."
        ),
        format!(
            "The files of documents cannot be looked through ({error}): no new files are taken. Check the disk; the work then goes on by itself."
        ),
    )
}
