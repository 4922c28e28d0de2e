//! The applier: one thread that carries the overlay into the view, moves the checkpoint, takes snapshots, and
//! opens the view again when it failed.
//!
//! It is not in a hurry: an acknowledgement never waits for it, and the longer a change rests in the overlay the
//! more likely a later one makes it needless. Since it alone writes to the view, the view stands still between
//! its steps; snapshots and checks use that.
//!
//! # Invariants
//! * **SA-1** A checkpoint is written only after everything up to it is durable in the view.
//! * **SA-2** Segments are removed only below the oldest kept snapshot, and snapshots are kept only when they were
//!   read back whole.

use super::backup::{BackupProgress, BackupReport};
use super::error::{BackupError, StoreError};
use super::invariants::{self, InvariantReport};
use super::layout::encode_checkpoint;
use super::overlay::{Carry, Layer, Left};
use super::rebuild;
use super::shared::{Course, Shared, view_room_trouble};
use super::snapshot::{SnapshotWriter, Walk};
use super::snapshot_end::{self, Ending};
use super::spool::SpoolHold;
use super::view::{Direction, View, ViewError};
use super::writer::OVERLAY_BYTES_CALL;
use crate::domain::Text;
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The name of a snapshot that is being taken.
pub(super) const TAKING: &str = "taking.tmp";
/// How long a change rests in the overlay at most.
const REST: Duration = Duration::from_secs(1);
/// How many entries a snapshot reads in one step, between which the applier looks at its other work.
const STEP_ENTRIES: usize = 512;
/// How long a view that failed is waited for to be let go by its readers.
const LET_GO: Duration = Duration::from_secs(10);
/// How long after a failed attempt the view is opened again, and a failed snapshot or checkpoint is repeated.
const AGAIN: Duration = Duration::from_secs(1);

/// Work that someone asks the applier for.
pub(super) enum Job {
    /// Write everything into one file.
    Backup {
        target: PathBuf,
        progress: Box<dyn FnMut(BackupProgress) + Send>,
        hold: SpoolHold,
        reply: oneshot::Sender<Result<BackupReport, BackupError>>,
    },
    /// Check the rules over the whole store.
    Check { reply: oneshot::Sender<Result<InvariantReport, StoreError>> },
}

/// A snapshot that is being taken.
struct Taking {
    writer: SnapshotWriter,
    walk: Walk,
    /// The entry that the view stood at when the reading began.
    from: u64,
    purpose: Purpose,
}

/// What a snapshot is for.
pub(super) enum Purpose {
    /// For ourselves: covers the journal below it.
    Own,
    /// For an operator.
    Backup {
        target: PathBuf,
        progress: Box<dyn FnMut(BackupProgress) + Send>,
        hold: SpoolHold,
        reply: oneshot::Sender<Result<BackupReport, BackupError>>,
    },
}

/// How far the view goes. What is above, and what was left, is in the overlay.
pub(super) struct Carried {
    /// Everything up to this entry is in the view, but for what was left.
    pub last: u64,
    pub left: Option<Left>,
}

impl Carried {
    /// The entry up to which nothing is missing.
    pub fn complete(&self) -> u64 {
        self.left.as_ref().map_or(self.last, |left| left.complete)
    }
}

pub(super) struct Applier {
    shared: Arc<Shared>,
    taking: Option<Taking>,
    ending: Option<JoinHandle<()>>,
    /// Before this moment nothing that failed is tried again.
    again_at: Instant,
    carried: Carried,
    remaking: Remaking,
}

/// What earlier attempts at making the view anew have come to.
#[derive(Default)]
struct Remaking {
    /// Whether the view that failed was set aside; what is in its place is only half-made.
    is_set_aside: bool,
    /// How much room is needed, once there was too little.
    room_needed: Option<u64>,
}

impl Applier {
    /// `carried` is the entry up to which the view has everything.
    pub fn new(shared: Arc<Shared>, carried: u64) -> Self {
        let carried = Carried { last: carried, left: None };
        Self {
            shared,
            taking: None,
            ending: None,
            again_at: Instant::now(),
            carried,
            remaking: Remaking::default(),
        }
    }

    /// Works until told to stop. Returns whether everything is durable in the view.
    pub fn run(mut self) -> Result<(), StoreError> {
        loop {
            match self.shared.stop.course() {
                Course::Run => self.turn(),
                Course::Finish => return self.finish(),
                Course::Abandon => {
                    drop(self.shared.jobs().take());
                    self.wait_for_ending();
                    return Ok(());
                }
            }
        }
    }

    fn turn(&mut self) {
        if let Err(error) = self.work() {
            self.again_at = Instant::now() + AGAIN;
            tracing::error!(%error, "the view could not be written");
            self.refuse_jobs();
        }
        if self.taking.is_none() || Instant::now() < self.again_at {
            self.shared.applier.sleep(self.pause());
        }
    }

    /// How long there is nothing to do.
    fn pause(&self) -> Duration {
        let overlay = self.shared.state.overlay();
        let rested = overlay.upper().born().map_or(REST, |born| REST.saturating_sub(born.elapsed()));
        drop(overlay);
        rested.max(self.again_at.saturating_duration_since(Instant::now())).min(REST)
    }

    fn work(&mut self) -> Result<(), ViewError> {
        if Instant::now() < self.again_at {
            return Ok(());
        }
        if let Some(trouble) = self.shared.state.view_trouble() {
            return self.reopen(&trouble);
        }
        let Ok(view) = self.shared.state.view() else {
            return self.reopen(&ViewError::Failed("it was not opened again yet".into()));
        };
        let began = Instant::now();
        if self.is_apply_due() {
            self.apply(&view, Carry::Rest)?;
        }
        if self.is_checkpoint_due() {
            self.checkpoint(&view)?;
        }
        self.take_snapshot_steps(&view, began.elapsed())?;
        self.take_job(&view)
    }

    /// Works on the snapshot for as long as the other work of this turn took, one step at least. With one step a turn
    /// a snapshot would stand still under a load that keeps the applier busy, and the journal would grow meanwhile.
    fn take_snapshot_steps(&mut self, view: &View, share: Duration) -> Result<(), ViewError> {
        let began = Instant::now();
        for_a_share(share, &mut || began.elapsed(), &mut || {
            self.take_snapshot_step(view)?;
            Ok(self.taking.is_some())
        })
    }

    fn is_apply_due(&self) -> bool {
        let overlay = self.shared.state.overlay();
        let upper = overlay.upper();
        overlay.has_lower()
            || overlay.waiting_bytes() >= OVERLAY_BYTES_CALL
            || upper.born().is_some_and(|born| born.elapsed() >= REST)
    }

    /// Carries everything that was durable when it began into the view, and says up to where that goes.
    fn apply_all(&mut self, view: &View) -> Result<u64, ViewError> {
        // What was left below by a failure first; the second time there is nothing below.
        self.apply(view, Carry::All)?;
        self.apply(view, Carry::All)?;
        Ok(self.carried.last)
    }

    /// Carries what is in the overlay into the view.
    fn apply(&mut self, view: &View, carry: Carry) -> Result<(), ViewError> {
        let layer = self.shared.state.overlay_mut().take(carry);
        let applied = view.apply(&layer);
        if let Err(error) = &applied {
            self.shared.state.view_failed(error.clone());
            return applied;
        }
        self.applied(&layer);
        Ok(())
    }

    fn applied(&mut self, layer: &Layer) {
        self.carried = Carried { last: layer.last, left: layer.left.clone() };
        let gone = self.shared.state.overlay_mut().drop_lower();
        drop(gone);
        self.shared.gauges.note_applied(layer.complete(), layer.counters);
        self.shared.room.ring();
    }

    fn is_checkpoint_due(&self) -> bool {
        let gauges = &self.shared.gauges;
        let written = gauges.journal_written.load(Ordering::Relaxed);
        let since = written.saturating_sub(gauges.journal_at_checkpoint.load(Ordering::Relaxed));
        since >= self.shared.options.checkpoint_every_bytes
    }

    /// Makes the view durable and says so.
    fn checkpoint(&self, view: &View) -> Result<(), ViewError> {
        let sequence = self.shared.gauges.applied.load(Ordering::Acquire);
        write_checkpoint(&self.shared, view, sequence)?;
        self.shared.gauges.note_checkpoint(sequence);
        self.shared.gauges.view_bytes.store(view.size_on_disk(), Ordering::Relaxed);
        Ok(())
    }

    // --- snapshots --------------------------------------------------------------------------------------------

    fn is_snapshot_due(&self) -> bool {
        let gauges = &self.shared.gauges;
        if !gauges.may_take_snapshot() {
            return false;
        }
        // A large state is not written anew for a small change: the work stays in proportion to what was written.
        let wanted = self.shared.options.snapshot_every_bytes;
        gauges.journal_since_snapshot() >= wanted.max(2 * gauges.snapshot_bytes.load(Ordering::Relaxed))
    }

    fn begin_own_snapshot(&mut self) {
        let path = self.shared.layout.snapshots().join(TAKING);
        match SnapshotWriter::create(&self.shared.host.disk, &path, &self.shared.format.to_text()) {
            Ok(writer) => self.begin(writer, Purpose::Own),
            Err(error) => self.snapshot_failed(&error, None),
        }
    }

    fn begin(&mut self, writer: SnapshotWriter, purpose: Purpose) {
        let gauges = &self.shared.gauges;
        gauges.journal_at_snapshot.store(gauges.journal_written.load(Ordering::Relaxed), Ordering::Relaxed);
        let from = gauges.applied.load(Ordering::Acquire);
        self.taking = Some(Taking { writer, walk: Walk::default(), from, purpose });
    }

    fn take_snapshot_step(&mut self, view: &View) -> Result<(), ViewError> {
        let Some(mut taking) = self.taking.take() else { return Ok(()) };
        let Some((tree, after)) = taking.walk.next() else {
            // What was read may be newer than where the view is complete: it must be complete to there, at least.
            match self.apply_all(view) {
                Ok(to) => self.end_snapshot(taking, to),
                Err(error) => {
                    // Ended as failed when the view is opened again.
                    self.taking = Some(taking);
                    return Err(error);
                }
            }
            return Ok(());
        };
        let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        let pairs = view.scan(tree, (from, Bound::Unbounded), Direction::Forward, STEP_ENTRIES);
        let pairs = match pairs {
            Ok(pairs) => pairs,
            Err(error) => {
                drop(self.shared.state.view_failed(error.clone()));
                // Ended as failed when the view is opened again.
                self.taking = Some(taking);
                return Err(error);
            }
        };
        taking.walk.advance(&pairs, STEP_ENTRIES);
        match taking.writer.entries(tree, pairs) {
            Ok(()) => {
                if let Purpose::Backup { progress, .. } = &mut taking.purpose {
                    let totals = taking.writer.totals();
                    progress(BackupProgress {
                        entries: totals.entries,
                        files: 0,
                        bytes: taking.writer.bytes(),
                    });
                }
                self.taking = Some(taking);
            }
            Err(error) => self.snapshot_failed(&error, Some(taking)),
        }
        Ok(())
    }

    /// Frames, files, trailer, reading back: on a thread of its own, because it takes long.
    fn end_snapshot(&mut self, taking: Taking, to: u64) {
        self.wait_for_ending();
        let Taking { writer, from, purpose, .. } = taking;
        let counters = self.shared.gauges.applied_counters();
        let ending = Ending { shared: Arc::clone(&self.shared), writer, from, to, counters, purpose };
        let spawned = std::thread::Builder::new()
            .name("store-snapshot".into())
            .spawn(move || snapshot_end::run(ending));
        match spawned {
            Ok(handle) => self.ending = Some(handle),
            Err(error) => self.snapshot_failed(&error, None),
        }
    }

    fn snapshot_failed(&mut self, error: &io::Error, taking: Option<Taking>) {
        tracing::error!(%error, "a snapshot was not taken");
        self.shared.gauges.note_snapshot_failed();
        let Some(Taking { writer, purpose, .. }) = taking else { return };
        let path = writer.path();
        drop(writer);
        // What cannot be removed now is replaced by the next attempt.
        let _ = self.shared.host.disk.remove(&path);
        if let Purpose::Backup { reply, .. } = purpose {
            let source = io::Error::new(error.kind(), error.to_string());
            let _ = reply.send(Err(BackupError::Io { doing: "writing", path, source }));
        }
    }

    fn wait_for_ending(&mut self) {
        if let Some(ending) = self.ending.take()
            && ending.join().is_err()
        {
            tracing::error!("the end of a snapshot panicked");
        }
    }

    // --- jobs -------------------------------------------------------------------------------------------------

    fn take_job(&mut self, view: &View) -> Result<(), ViewError> {
        if self.taking.is_some() || self.ending.as_ref().is_some_and(|e| !e.is_finished()) {
            return Ok(());
        }
        let job = self.shared.jobs().as_mut().and_then(std::collections::VecDeque::pop_front);
        match job {
            Some(Job::Check { reply }) => {
                // A document that ends while the view is being read would take its files away under the check.
                let hold = self.shared.spool.hold();
                let applied = self.apply_all(view);
                let failed = |error| self.shared.state.view_failed(error);
                let _ = reply.send(applied.clone().map_err(failed).and_then(|_| self.check(view)));
                drop(hold);
                applied?;
            }
            Some(Job::Backup { target, progress, hold, reply }) => {
                // Everything that was acknowledged before the backup was asked for shall be in it.
                if let Err(error) = self.apply_all(view) {
                    let failed = self.shared.state.view_failed(error.clone());
                    drop(reply.send(Err(failed.into())));
                    return Err(error);
                }
                let path = target.with_extension("partial");
                match SnapshotWriter::create(&self.shared.host.disk, &path, &self.shared.format.to_text()) {
                    Ok(writer) => self.begin(writer, Purpose::Backup { target, progress, hold, reply }),
                    Err(source) => drop(reply.send(Err(BackupError::Io { doing: "making", path, source }))),
                }
            }
            None if self.is_snapshot_due() => self.begin_own_snapshot(),
            None => {}
        }
        Ok(())
    }

    /// While the view cannot be opened again, whoever asks for something hears why instead of waiting: a disk may
    /// stay full, or read-only, for long.
    fn refuse_jobs(&self) {
        let Err(away) = self.shared.state.view() else { return };
        let jobs = self.shared.jobs().as_mut().map(std::mem::take).unwrap_or_default();
        for job in jobs {
            match job {
                Job::Check { reply } => drop(reply.send(Err(away.clone()))),
                Job::Backup { reply, .. } => drop(reply.send(Err(away.clone().into()))),
            }
        }
    }

    /// The view stands still while this runs, and holds everything up to some entry, counters included.
    fn check(&self, view: &View) -> Result<InvariantReport, StoreError> {
        let state = &self.shared.state;
        let counters = self.shared.gauges.applied_counters();
        invariants::check(view, &counters, &self.shared.spool).map_err(|error| state.view_failed(error))
    }

    // --- a view that failed -----------------------------------------------------------------------------------

    /// Opens the view again; if it is not to be believed, makes it anew.
    fn reopen(&mut self, trouble: &ViewError) -> Result<(), ViewError> {
        // What an attempt without room has said stays said while the next one is made.
        let reason = self.room_trouble().unwrap_or_else(|| {
            Text::new(
                format!(
                    "Представление данных открывается заново после ошибки: {trouble}. Принятое не потеряно."
                ),
                format!(
                    "The view is being opened again after an error: {trouble}. Nothing accepted is lost."
                ),
            )
        });
        tracing::error!(error = %trouble, "the view failed and is opened again");
        if let Some(taking) = self.taking.take() {
            self.snapshot_failed(&io::Error::other("the view failed"), Some(taking));
        }
        let old = self.shared.state.take_view(reason);
        let applied = self.shared.gauges.applied.load(Ordering::Acquire);
        let believed = matches!(trouble, ViewError::Full(_));
        if !believed {
            rebuild::suspect(&self.shared.layout, &self.shared.host.disk);
        }
        let_go(old)?;
        let view = if believed {
            rebuild::reopen(&self.shared, believed, &self.carried)?
        } else {
            self.remake(applied).inspect_err(|error| {
                if matches!(error, ViewError::Full(_)) {
                    self.tell_no_room();
                }
            })?
        };
        self.remaking = Remaking::default();
        self.shared.state.give_view(Arc::new(view));
        self.shared.room.ring();
        self.shared.gauges.view_reopened.fetch_add(1, Ordering::Relaxed);
        tracing::info!(rebuilt = !believed, "the view is open again");
        Ok(())
    }

    /// Makes the view anew, durable up to `applied`.
    fn remake(&mut self, applied: u64) -> Result<View, ViewError> {
        let (layout, disk) = (&self.shared.layout, &self.shared.host.disk);
        // Only the view that was in use is worth a look later.
        let put_away =
            if self.remaking.is_set_aside { layout.remove_view() } else { layout.set_view_aside(disk) };
        put_away.map_err(ViewError::of_disk)?;
        self.remaking.is_set_aside = true;
        let view = rebuild::reopen(&self.shared, false, &self.carried)?;
        write_checkpoint(&self.shared, &view, applied)?;
        self.shared.gauges.note_checkpoint(applied);
        rebuild::trust(layout, disk).map_err(ViewError::of_disk)?;
        Ok(view)
    }

    /// Says that there is no room to make the view anew, and gives back what the attempt has taken of it.
    fn tell_no_room(&mut self) {
        let (layout, disk) = (&self.shared.layout, &self.shared.host.disk);
        if let Err(error) = layout.remove_view() {
            tracing::warn!(%error, "a view that is not whole cannot be removed");
        }
        let gauges = &self.shared.gauges;
        self.remaking.room_needed.get_or_insert_with(|| {
            rebuild::room_needed(disk, &layout.snapshots(), gauges.journal_since_snapshot())
        });
        // There is none that could be taken: only what is said to those who ask for it changes.
        if let Some(reason) = self.room_trouble() {
            drop(self.shared.state.take_view(reason));
        }
    }

    /// The sentence for a lack of room, once an attempt has found one.
    fn room_trouble(&self) -> Option<Text> {
        let free = self.shared.host.disk.free_bytes(&self.shared.layout.dir).unwrap_or(0);
        self.remaking.room_needed.map(|needed| view_room_trouble(needed, free))
    }

    // --- the end ----------------------------------------------------------------------------------------------

    fn finish(&mut self) -> Result<(), StoreError> {
        self.wait_for_ending();
        // Whoever still asks for something hears that the store is closed.
        drop(self.shared.jobs().take());
        if let Some(taking) = self.taking.take() {
            self.snapshot_failed(&io::Error::other("the store was closed"), Some(taking));
        }
        let view = self.shared.state.view()?;
        let shared = Arc::clone(&self.shared);
        let failed = |error: ViewError| shared.state.view_failed(error);
        // The writer is done, so then nothing is left.
        self.apply_all(&view).map_err(failed)?;
        let unavailable = |error: ViewError| StoreError::Unavailable {
            reason: Text::new(
                format!(
                    "Не удалось записать контрольную точку ({error}). Принятое не потеряно; следующий запуск будет дольше."
                ),
                format!(
                    "The checkpoint could not be written ({error}). Nothing accepted is lost; the next start takes longer."
                ),
            ),
        };
        self.checkpoint(&view).map_err(unavailable)?;
        let (disk, marker) = (&self.shared.host.disk, self.shared.layout.open_marker());
        let unmarked = disk.remove(&marker).and_then(|()| disk.sync_dir(&self.shared.layout.dir));
        unmarked.map_err(|error| unavailable(ViewError::Failed(error.to_string())))
    }
}

/// Repeats `step` until `share` has passed or it says that there is no more to do; once at least.
fn for_a_share<E>(
    share: Duration,
    elapsed: &mut dyn FnMut() -> Duration,
    step: &mut dyn FnMut() -> Result<bool, E>,
) -> Result<(), E> {
    while step()? && elapsed() < share {}
    Ok(())
}

/// Makes the view durable and says so in CHECKPOINT (SA-1).
pub(super) fn write_checkpoint(shared: &Shared, view: &View, sequence: u64) -> Result<(), ViewError> {
    view.flush(&shared.host.disk).inspect_err(|error| drop(shared.state.view_failed(error.clone())))?;
    // The view is not to blame if this fails: the old checkpoint stays good, and it is tried again.
    let written = shared.host.disk.replace(&shared.layout.checkpoint(), &encode_checkpoint(sequence));
    written.map_err(|error| {
        let said = format!("CHECKPOINT cannot be written: {error}");
        ViewError::of_disk(io::Error::new(error.kind(), said))
    })
}

/// Waits until nobody reads from the old view, and closes it.
pub(super) fn let_go(old: Option<Arc<View>>) -> Result<(), ViewError> {
    let Some(mut old) = old else { return Ok(()) };
    let deadline = Instant::now() + LET_GO;
    loop {
        match Arc::try_unwrap(old) {
            Ok(view) => {
                view.close();
                return Ok(());
            }
            Err(still) if Instant::now() < deadline => {
                old = still;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return Err(ViewError::Failed("readers do not let the old view go".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// How long a step of the snapshot takes here.
    const STEP: Duration = Duration::from_millis(7);

    /// A turn of an applier whose other work took so long; says how many steps it took, of which so many are left.
    fn steps_of_a_turn(other_work: Duration, left: u32) -> u32 {
        let steps = Cell::new(0);
        let outcome = for_a_share(other_work, &mut || STEP * steps.get(), &mut || {
            steps.set(steps.get() + 1);
            Ok::<_, ()>(steps.get() < left)
        });
        assert_eq!(outcome, Ok(()));
        steps.get()
    }

    #[test]
    fn a_snapshot_gets_half_of_a_busy_appliers_time_and_no_more_than_a_step_beyond_it() {
        for millis in 0..200 {
            let other_work = Duration::from_millis(millis);
            let spent = STEP * steps_of_a_turn(other_work, u32::MAX);
            assert!(spent >= other_work, "{spent:?} of {other_work:?}: the snapshot falls behind");
            assert!(spent < other_work + STEP || spent == STEP, "{spent:?}: {other_work:?} of work wait");
        }
    }

    #[test]
    fn an_applier_without_other_work_looks_at_it_again_after_each_step_of_a_snapshot() {
        assert_eq!(steps_of_a_turn(Duration::ZERO, u32::MAX), 1);
    }

    #[test]
    fn a_snapshot_that_is_read_or_fails_takes_no_more_of_the_turn() {
        assert_eq!(steps_of_a_turn(Duration::from_secs(60), 3), 3);
        let mut steps = 0;
        let failed = for_a_share(Duration::from_secs(60), &mut || Duration::ZERO, &mut || {
            steps += 1;
            if steps == 3 { Err("the view failed") } else { Ok(true) }
        });
        assert_eq!((failed, steps), (Err("the view failed"), 3));
    }
}
