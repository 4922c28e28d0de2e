//! The writer: one thread that decides, writes, syncs, and only then answers.
//!
//! Everything that waits is decided one after the other and goes into one frame with one sync; while that sync
//! runs, the next group gathers by itself. Nobody who waits is delayed for that (`queue`).
//!
//! It deliberately does not touch sled except for reading.
//!
//! # Invariants
//! * **SW-1** Nobody is answered "done" before the frame with his command is durable, nor "refused" because of a
//!   command whose frame is not durable.
//! * **SW-2** The overlay shows a group only when it is durable.

use super::command::{COMMAND_BYTES_MAX, Command};
use super::decide;
use super::error::{CommitError, StoreError};
use super::frame::{self, Op};
use super::group::{Changes, Decided, Group};
use super::health::GroupTiming;
use super::inbox::Inbox;
use super::journal::{AppendError, Appended, Journal};
use super::keys::{self, Tree};
use super::overlay::Below;
use super::queue::{Queued, Taken};
use super::records::{Blob, MetaV1, PAYLOAD_BYTES_MAX, encode};
use super::shared::{Course, Shared, journal_trouble};
use crate::domain::Text;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long after a failure the journal is tried again.
const MEND_EVERY: Duration = Duration::from_secs(1);
/// How large the overlay's upper layer may grow before the writer waits for the applier.
pub(super) const OVERLAY_BYTES_MAX: usize = 12 << 20;
/// How large it is when the applier is called at once.
pub(super) const OVERLAY_BYTES_CALL: usize = 6 << 20;
/// The largest group, whatever the options say.
const GROUP_BYTES_MAX: usize = 3 << 20;
/// How long the writer waits for the applier before it says that it is stuck.
const ROOM_PATIENCE: Duration = Duration::from_secs(30);

/// How long the writer waits for a view that is being opened again before it decides without it.
const VIEW_PATIENCE: Duration = Duration::from_secs(3);

const _: () = assert!(
    GROUP_BYTES_MAX + COMMAND_BYTES_MAX < PAYLOAD_BYTES_MAX as usize,
    "a group and one command more make one frame"
);

/// Answers one caller, when it is known whether the group is durable.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(super) struct Writer {
    shared: Arc<Shared>,
    journal: Journal,
    next_notice: u64,
    inbox: Inbox,
    /// Before this moment a failed journal is not tried again.
    mend_at: Instant,
    /// The size of a frame for which there was no room.
    needs_room: Option<usize>,
    /// The largest command that fits into a frame with what is before it.
    command_bytes_max: usize,
    group_bytes_max: usize,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, journal: Journal, next_notice: u64, inbox: Inbox) -> Self {
        let frame = Journal::frame_bytes_max(shared.options.segment_bytes);
        // A group below its bound and one command more make a frame: it must fit a segment and a payload.
        let command_bytes_max = COMMAND_BYTES_MAX.min(frame / 2 - 4_096);
        let group_bytes_max = shared.options.group_bytes_max.clamp(1, GROUP_BYTES_MAX.min(frame / 2 - 4_096));
        let mend_at = Instant::now();
        Self {
            shared,
            journal,
            next_notice,
            inbox,
            mend_at,
            needs_room: None,
            command_bytes_max,
            group_bytes_max,
        }
    }

    /// Works until the queue is closed.
    pub fn run(mut self) {
        loop {
            let patience = self.is_ailing().then_some(MEND_EVERY);
            match self.shared.queue.take(patience) {
                Taken::Commands(commands) => self.work(commands),
                Taken::Nothing => drop(self.mend()),
                Taken::Closed => break,
            }
        }
    }

    fn work(&mut self, mut commands: VecDeque<Queued>) {
        if commands.iter().any(|queued| !queued.command.is_intake()) {
            self.wait_for_view();
        }
        while !commands.is_empty() {
            if let Err(error) = self.mend().and_then(|()| self.wait_for_room()) {
                for queued in commands {
                    queued.command.refuse(error.clone());
                }
                return;
            }
            self.work_group(&mut commands);
        }
    }

    fn work_group(&mut self, commands: &mut VecDeque<Queued>) {
        let shared = Arc::clone(&self.shared);
        let counters = shared.state.overlay().counters();
        let inbox = std::mem::take(&mut self.inbox);
        let mut group = Group::new(&shared.state, &inbox, counters, self.next_notice);
        let mut answers = Vec::with_capacity(commands.len());
        while group.bytes < self.group_bytes_max
            && let Some(queued) = commands.pop_front()
        {
            answers.push((self.decide(&mut group, queued.command), queued.since));
        }
        let durable = self.write(&mut group);
        let decided = group.end();
        self.inbox = inbox;
        if durable.is_ok() {
            self.publish(decided);
        }
        for (answer, since) in answers {
            answer(durable.clone());
            if let Some(observer) = self.shared.observer.get() {
                observer.command(since.elapsed());
            }
        }
    }

    fn decide(&self, group: &mut Group<'_>, command: Command) -> Answer {
        if command.is_intake()
            && let Some(reason) = self.shared.intake_refusal()
        {
            return Box::new(move |_| command.refuse(StoreError::Unavailable { reason }));
        }
        match command {
            Command::Accept { notices, cursor, reply } => {
                let outcome = decide::accept(group, notices, cursor);
                self.stage(group, outcome, move |result| drop(reply.send(result)))
            }
            Command::Commit { mut commit, reply } => {
                let pins = commit.pins.take();
                let outcome = decide::commit(group, *commit);
                self.stage(group, outcome, move |result: Result<_, CommitError>| {
                    if let (Ok(_), Some(pins)) = (&result, &pins) {
                        pins.referenced();
                    }
                    drop(reply.send(result));
                })
            }
            Command::Settle { id, fate, reply } => {
                let outcome = decide::settle(group, id, fate).map(|changes| (changes, ()));
                self.stage(group, outcome, move |result| drop(reply.send(result)))
            }
            Command::SettleDone { ids, reply } => {
                let outcome = decide::settle_done(group, &ids).map(|changes| (changes, ()));
                self.stage(group, outcome, move |result| drop(reply.send(result)))
            }
            Command::Discard { id, reply } => {
                let outcome = decide::discard(group, id);
                self.stage(group, outcome, move |result| drop(reply.send(result)))
            }
            Command::PutPortal { key, value, reply } => {
                let outcome = Ok((decide::put_portal(group, key, value), ()));
                self.stage(group, outcome, move |result| drop(reply.send(result)))
            }
            Command::PutInstallation { key, value, reply } => {
                let outcome = Ok((decide::put_installation(group, key, value), ()));
                self.stage(group, outcome, move |result| drop(reply.send(result)))
            }
            Command::Forget { sagas, before, reply } => {
                let outcome = decide::forget(group, &sagas, before);
                self.stage(group, outcome, move |result| drop(reply.send(result)))
            }
        }
    }

    /// Takes the changes into the group, if there are any, and keeps the answer for later.
    fn stage<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        group: &mut Group<'_>,
        outcome: Result<(Changes, T), E>,
        send: impl FnOnce(Result<T, E>) + Send + 'static,
    ) -> Answer {
        let outcome = outcome.and_then(|(changes, value)| {
            let bytes = changes.bytes();
            if bytes > self.command_bytes_max {
                let max = self.command_bytes_max;
                return Err(StoreError::TooLarge { what: "a command", bytes, max }.into());
            }
            if !changes.is_empty() {
                group.take(changes);
            }
            Ok(value)
        });
        Box::new(move |durable| send(durable.map_err(E::from).and(outcome)))
    }

    fn write(&mut self, group: &mut Group<'_>) -> Result<(), StoreError> {
        let Some(last) = group.batches.last_mut() else { return Ok(()) };
        if group.next_notice != self.next_notice {
            let numbers =
                encode(&MetaV1 { next_notice: group.next_notice }).expect("sixteen bytes are not too large");
            let numbers = Bytes::from(numbers);
            let (key, value) = (Blob(Bytes::from_static(keys::NUMBERS)), Blob(numbers.clone()));
            last.ops.push(Op::Put { tree: Tree::Meta.code(), key, value });
            group.staged.set(Tree::Meta, keys::NUMBERS.to_vec(), Some(numbers), Below::Maybe);
        }
        let frame = frame::encode(self.journal.next(), &group.batches);
        let frame = frame.expect("a group and one command stay below the largest payload");
        let count = u32::try_from(group.batches.len()).expect("a group has fewer commands than bytes");
        match self.journal.append(&frame, count) {
            Ok(appended) => {
                self.note(&appended, group.batches.len(), frame.len());
                Ok(())
            }
            Err(error) => Err(self.failed(&error, frame.len())),
        }
    }

    fn note(&self, appended: &Appended, commands: usize, bytes: usize) {
        let gauges = &self.shared.gauges;
        gauges.note_sync(appended.sync);
        gauges.journal_written.fetch_add(bytes as u64, Ordering::Relaxed);
        if gauges.segment.swap(self.journal.segment_number(), Ordering::AcqRel)
            != self.journal.segment_number()
        {
            self.shared.keeper.ring();
        }
        if let Some(observer) = self.shared.observer.get() {
            observer.group(GroupTiming { commands, bytes, write: appended.write, sync: appended.sync });
        }
    }

    fn failed(&mut self, error: &AppendError, frame_bytes: usize) -> StoreError {
        self.shared.gauges.failed_groups.fetch_add(1, Ordering::Relaxed);
        let (AppendError::NoRoom(source) | AppendError::Unknown(source)) = error;
        tracing::error!(error = %source, in_doubt = self.journal.is_in_doubt(), "a group was not written to the journal");
        let reason = journal_trouble(source);
        self.shared.conditions().journal = Some(reason.clone());
        match error {
            AppendError::NoRoom(_) => {
                self.needs_room = Some(frame_bytes);
                self.mend_at = Instant::now() + MEND_EVERY;
            }
            AppendError::Unknown(_) => {
                // At once, so that the callers hear a certain "no" whenever that is possible (`journal` SJ-3).
                self.mend_at = Instant::now();
                drop(self.mend());
            }
        }
        StoreError::Unavailable { reason }
    }

    fn publish(&mut self, decided: Decided) {
        let Decided { staged, inbox_changes, counters, next_notice, released_files } = decided;
        self.next_notice = next_notice;
        for change in inbox_changes {
            self.inbox.apply(change);
        }
        let last = self.journal.next() - 1;
        let mut overlay = self.shared.state.overlay_mut();
        for (tree, key, slot) in staged.into_entries() {
            overlay.set(tree, key, slot.value, slot.below);
        }
        overlay.reached(last, counters);
        let full = overlay.waiting_bytes() >= OVERLAY_BYTES_CALL;
        drop(overlay);
        self.shared.gauges.sequence.store(last, Ordering::Release);
        if full {
            self.shared.applier.ring();
        }
        if !released_files.is_empty() {
            self.shared.spool.suspect(released_files);
            self.shared.keeper.ring();
        }
    }

    /// Whether something has to be mended before the next group.
    fn is_ailing(&self) -> bool {
        self.journal.is_in_doubt() || self.needs_room.is_some()
    }

    /// Deals with a group that failed, if there is one.
    fn mend(&mut self) -> Result<(), StoreError> {
        if !self.is_ailing() {
            return Ok(());
        }
        let refusal =
            |reason: &Option<Text>| StoreError::Unavailable { reason: reason.clone().unwrap_or_default() };
        if Instant::now() < self.mend_at {
            return Err(refusal(&self.shared.conditions().journal));
        }
        let mended =
            self.journal.mend().and_then(|()| self.journal.ensure_room(self.needs_room.unwrap_or(0)));
        let mut conditions = self.shared.conditions();
        match mended {
            Ok(()) => {
                tracing::warn!("the journal can be written again; the failed group does not count");
                self.needs_room = None;
                conditions.journal = None;
                Ok(())
            }
            Err(error) => {
                self.mend_at = Instant::now() + MEND_EVERY;
                conditions.journal = Some(journal_trouble(&error));
                Err(refusal(&conditions.journal))
            }
        }
    }

    /// A view that is being opened again is usually back in a moment: better to wait than to refuse. Those who only
    /// need what the overlay knows are served in any case, and so are new notices.
    fn wait_for_view(&self) {
        let began = Instant::now();
        while self.shared.state.view().is_err()
            && began.elapsed() < VIEW_PATIENCE
            && self.shared.stop.course() == Course::Run
        {
            self.shared.applier.ring();
            self.shared.room.sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the overlay has room: the applier must not fall behind without bound.
    fn wait_for_room(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        loop {
            if self.shared.state.overlay().waiting_bytes() < OVERLAY_BYTES_MAX {
                return Ok(());
            }
            if self.shared.stop.course() == Course::Abandon {
                return Err(StoreError::Closed);
            }
            if self.shared.state.view().is_err() || began.elapsed() > ROOM_PATIENCE {
                return Err(StoreError::Unavailable { reason: behind() });
            }
            self.shared.applier.ring();
            self.shared.room.sleep(Duration::from_millis(50));
        }
    }
}

fn behind() -> Text {
    Text::new(
        "Представление данных не успевает за журналом или открывается заново: новое не принимается. Проверьте диск; работа продолжится сама.",
        "The view is far behind the journal or is being opened again: nothing new is accepted. Check the disk; the work then goes on by itself.",
    )
}
