//! The durable store: what was accepted is not lost, what was done is not done twice.
//!
//! ```text
//!   callers ──▶ queue ──▶ writer: decide, one frame, one write, one fdatasync ──▶ overlay ──▶ answers
//!      ▲                     │                                                     │
//!      │                  journal/ (the truth)                                  applier, later, in bulk
//!      │                     │                                                     ▼
//!      └── reads ◀───────────┼──────────────── overlay over ◀──────────────────  view/ (sled)
//!                            ▼                                                     │
//!                     segments below the oldest ◀── snapshots/ (verified) ◀────────┘ checkpoint
//!                     kept snapshot are removed
//! ```
//!
//! The journal is the truth. The view is for reading, may be lost at any time, and is made anew from the newest
//! snapshot and the journal. The face consists of operations of the field (accept, commit, due, claim), never of
//! keys; it could stand before another engine.
//!
//! It deliberately does not know actors, HTTP, providers, the clock, or what the steps of a saga mean beyond
//! "live, parked, finished".
//!
//! # Invariants
//! * **ST-1** to **ST-9**: what holds over the whole store; see [`Rule`] and [`Store::check_invariants`].
//! * **SW**, **SJ**, **SS**, **SO**, **SA**, **SP**, **SR**: those of the parts, in their headers.
//!
//! # Where to read on
//! `keys` (what is stored where), `records` (how a value looks and may change), `decide` (what each operation
//! changes), `writer` and `journal` (durability), `applier` and `view` (sled), `open` (what is trusted after what).

mod agenda;
mod applier;
pub mod backup;
mod backup_manifest;
pub mod backup_restore;
mod bucket;
mod command;
pub mod commit;
mod decide;
pub mod disk;
mod document_v1;
mod document_v2;
pub mod error;
pub mod faults;
mod fold;
mod frame;
#[cfg(test)]
mod fuzz_tests;
mod group;
pub mod health;
mod inbox;
pub mod invariants;
mod journal;
mod keeper;
mod keys;
mod layout;
pub mod list;
mod loaders;
pub mod notice;
mod older;
pub mod open;
pub mod options;
mod overlay;
mod portal_capabilities;
pub mod portal_installations;
mod portal_owner;
pub mod portal_seal;
pub mod portal_seal_key;
mod portal_usage;
mod portal_workflows;
mod queries;
mod queue;
mod readers;
mod rebuild;
pub mod records;
pub mod restored;
#[cfg(test)]
mod samples;
mod segment;
mod shared;
mod snapshot;
mod snapshot_end;
pub mod spool;
mod spool_stock;
mod state;
mod threads;
pub mod upgrade;
mod view;
mod writer;

pub use agenda::{Agenda, AgendaQuery};
pub use backup::{BackupProgress, BackupReport, Counted, VerifyReport, verify_backup};
pub use backup_restore::restore_backup;
pub use commit::{Commit, Stored};
pub use error::{BackupError, CommitError, OpenError, SpoolError, StoreError};
pub use health::{Counts, GroupTiming, Readiness, StepCount, StoreHealth, StoreObserver};
pub use invariants::{InvariantReport, Rule, Violation};
pub use list::{DocumentFilter, ListCursor, Page};
pub use notice::{Accepted, Cursor, Fate, NewNotice, Notice, NoticeKind, ParkedNotice};
pub use open::{OpenProgress, OpenReport, ViewFate};
pub use options::StoreOptions;
pub use portal_installations::{Installations, KeyPlace, RekeyError, RekeyReport};
pub use portal_seal::{SealKey, SealRing};
pub use portal_seal_key::SealKeyError;
pub use records::{DecodeError, Kind};
pub use restored::Restored;
pub use spool::{Spool, SpoolWriter};

use crate::domain::portal::PortalState;
use crate::domain::{NoticeId, PortalId, SagaId, Text, Timestamp};
use crate::saga::document::{Claim, DocumentSaga, HistoryEntry};
use command::{Command, PreparedCommit, PreparedNotice, prepare_cursor, prepare_portal};
use disk::Host;
use group::{bad_key, decoded};
use keys::Tree;
use queue::Closing;
use readers::Readers;
use records::ClaimV1;
use shared::Shared;
use state::{Range, State};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use threads::Threads;
use tokio::sync::oneshot;

/// How many sagas are forgotten by one command: a command is one frame, and the writer's time.
const FORGET_CHUNK: usize = 16;
/// How many notices are settled by one command.
const SETTLE_CHUNK: usize = 1_024;
/// The longest page of any list.
pub const PAGE_MAX: usize = 1_000;

/// The store. Cheap to clone; all clones are one.
///
/// Every write is durable when its future is ready. A future that is dropped before may or may not have been
/// done, as with any remote call.
///
/// When the last clone is dropped without [`Store::close`], the store ends as if the process had died: nothing
/// acknowledged is lost, and the next start takes a little longer.
#[derive(Clone)]
pub struct Store(Arc<Handle>);

/// Ends the threads when the last clone is dropped.
struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
    readers: Mutex<Readers>,
    /// Held as long as the store is open.
    lock: Mutex<Option<File>>,
    /// See [`Store::write_documents_as`].
    documents_as: AtomicU16,
}

impl Handle {
    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, closing: Closing) -> Result<(), StoreError> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(threads) = threads else { return Ok(()) };
        let reason = Text::new("Хранилище закрывается.", "The store is closing.");
        self.shared.conditions().closing = Some(reason.clone());
        self.shared.queue.close(closing);
        if closing == Closing::Abandon {
            self.shared.stop.abandon();
        }
        let joined = threads.join(&self.shared);
        self.readers().end();
        // So that the directory can be opened again at once, by this very process if need be.
        if let Err(error) = applier::let_go(self.shared.state.take_view(reason)) {
            tracing::warn!(%error, "the view was not closed in time");
        }
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        joined
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.end(Closing::Abandon) {
            tracing::warn!(%error, "the store did not end well");
        }
    }
}

/// Waits for an answer, on a thread of its own: also a caller within a runtime may wait, as it may for the disk.
fn wait_for<T: Send, E: From<StoreError> + Send>(answer: oneshot::Receiver<Result<T, E>>) -> Result<T, E> {
    let answered = std::thread::scope(|scope| scope.spawn(|| answer.blocking_recv()).join());
    match answered {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) | Err(_) => Err(StoreError::Closed.into()),
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.0.shared.layout.dir).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `options.dir`, making it if it is not there. Blocking.
    ///
    /// # Errors
    /// See [`OpenError`]; its `text` names the remedy.
    pub fn open(
        options: StoreOptions,
        progress: &mut dyn FnMut(OpenProgress),
    ) -> Result<(Self, OpenReport), OpenError> {
        Self::open_on(options, Host::here(), progress)
    }

    /// The same on another host: for tests with a disk that fails, or that think they were restarted.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(
        options: StoreOptions,
        host: Host,
        progress: &mut dyn FnMut(OpenProgress),
    ) -> Result<(Self, OpenReport), OpenError> {
        open::open(options, host, progress)
    }

    /// Puts a notice into the inbox. An identical one that is pending or parked is not stored twice.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the disk is full or fails: the sender must not be told that it worked.
    pub async fn accept(&self, notice: NewNotice) -> Result<Accepted, StoreError> {
        let accepted = self.accept_all(vec![notice], None).await?;
        Ok(*accepted.first().expect("one notice gives one answer"))
    }

    /// Puts notices into the inbox and moves a poll's cursor, as one.
    ///
    /// # Errors
    /// As [`Store::accept`].
    pub async fn accept_all(
        &self,
        notices: Vec<NewNotice>,
        cursor: Option<(String, Cursor)>,
    ) -> Result<Vec<Accepted>, StoreError> {
        let notices = notices.iter().map(PreparedNotice::new).collect::<Result<Vec<_>, _>>()?;
        let cursor = prepare_cursor(cursor)?;
        self.ask(|reply| Command::Accept { notices, cursor, reply }).await?
    }

    /// Stores one step of one saga, whole or not at all.
    ///
    /// Prepared at once, so that what waits is small: records are of a kilobyte, and would be copied with each of the
    /// futures around this one.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn commit(&self, commit: Commit) -> impl Future<Output = Result<Stored, CommitError>> + Send + '_ {
        let prepared = self.prepared(commit);
        async move {
            let commit = prepared?;
            self.ask(|reply| Command::Commit { commit, reply }).await?
        }
    }

    fn prepared(&self, commit: Commit) -> Result<Box<PreparedCommit>, CommitError> {
        let mut commit = Box::new(PreparedCommit::new(commit)?);
        let version = self.0.documents_as.load(Ordering::Relaxed);
        if let Some(older) = older::document_as(version, &commit.saga) {
            commit.raw = older.into();
        }
        let files = commit.new_files();
        if !files.is_empty() {
            commit.pins = Some(self.spool().pin(&files)?);
        }
        Ok(commit)
    }

    /// From now on documents are written as the release with this version of the record did, wherever what they hold was
    /// known to it: for tests of an upgrade in mid-flight. 0 = the newest, as always in production.
    pub fn write_documents_as(&self, version: u16) {
        self.0.documents_as.store(version, Ordering::Relaxed);
    }

    /// The saga's record.
    ///
    /// # Errors
    /// [`StoreError::Record`] if it does not decode; [`StoreError::Unavailable`] while the view is rebuilt.
    pub async fn load(&self, id: SagaId) -> Result<Option<Stored>, StoreError> {
        let key = keys::saga(id);
        let Some(raw) = self.get(Tree::Saga, key.clone()).await? else { return Ok(None) };
        let saga = decoded(Tree::Saga, &key, &raw)?;
        Ok(Some(Stored { saga, raw, revived: 0 }))
    }

    /// Who holds `claim`; of a claim that is not exclusive, any holder. The holder may have been forgotten.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn claimed(&self, claim: &Claim) -> Result<Option<SagaId>, StoreError> {
        let key = keys::claim_prefix(claim);
        if claim.is_exclusive() {
            let Some(raw) = self.get(Tree::Claim, key.clone()).await? else { return Ok(None) };
            return Ok(Some(decoded::<ClaimV1>(Tree::Claim, &key, &raw)?.saga));
        }
        let claim = claim.clone();
        self.read(move |state| queries::holder(state, &claim)).await
    }

    /// The same for several claims in one reading: a hand-over to a reader costs more than what it reads.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn claimed_each<const N: usize>(
        &self,
        claims: [Claim; N],
    ) -> Result<[Option<SagaId>; N], StoreError> {
        self.read(move |state| {
            let mut holders = [None; N];
            for (holder, claim) in holders.iter_mut().zip(&claims) {
                *holder = queries::holder(state, claim)?;
            }
            Ok(holders)
        })
        .await
    }

    /// Sagas whose timer is at `now` or before, earliest first.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<(Timestamp, SagaId)>, StoreError> {
        let limit = limit.min(PAGE_MAX);
        self.read(move |state| queries::due(state, now, limit)).await
    }

    /// The earliest timer of all.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.due(Timestamp(i64::MAX), 1).await?.first().map(|(due, _)| *due))
    }

    /// Sagas with an effect under way, by id.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn in_flight(&self, after: Option<SagaId>, limit: usize) -> Result<Vec<SagaId>, StoreError> {
        let range = Range::after(after.map(keys::saga));
        let limit = limit.min(PAGE_MAX);
        let found = self.read(move |state| state.range(None, Tree::Outbox, range, limit)).await?;
        found.iter().map(|(key, _)| keys::parse_saga(key).ok_or_else(|| bad_key(Tree::Outbox, key))).collect()
    }

    /// Pending notices, oldest first.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn notices(&self, after: Option<NoticeId>, limit: usize) -> Result<Vec<Notice>, StoreError> {
        let limit = limit.min(PAGE_MAX);
        self.read(move |state| queries::notices(state, after, limit)).await
    }

    /// Takes a notice out of the inbox without a saga. One that is not there any more is fine.
    ///
    /// A notice that is to be parked while its `lookup` has been claimed meanwhile is not parked: it goes back
    /// to the end of the inbox under a new number, so that it cannot wait for a claim that came before it. (At
    /// most three times; then it is parked all the same.)
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn settle(&self, id: NoticeId, fate: Fate) -> Result<(), StoreError> {
        self.ask(|reply| Command::Settle { id, fate, reply }).await?
    }

    /// Takes notices out of the inbox of which nothing is to be made, many at once: one durable write for all.
    /// One that is not there any more is fine.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; some of them may be settled all the same.
    pub async fn settle_done(&self, mut ids: Vec<NoticeId>) -> Result<(), StoreError> {
        // Each is counted down once.
        ids.sort_unstable();
        ids.dedup();
        for ids in ids.chunks(SETTLE_CHUNK) {
            let ids = ids.to_vec();
            self.ask(|reply| Command::SettleDone { ids, reply }).await??;
        }
        Ok(())
    }

    /// What there is to do, in one reading: what [`Store::notices`], [`Store::due`] and [`Store::next_due`] tell.
    /// A page of notices ends early when their bodies are large.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn agenda(&self, query: AgendaQuery) -> Result<Agenda, StoreError> {
        let (notices_max, due_max) = (query.notices_max.min(PAGE_MAX), query.due_max.min(PAGE_MAX));
        let query = AgendaQuery { notices_max, due_max, ..query };
        self.read(move |state| agenda::read(state, query)).await
    }

    /// Notices that are kept for a person, oldest first.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn parked_notices(
        &self,
        after: Option<NoticeId>,
        limit: usize,
    ) -> Result<Vec<ParkedNotice>, StoreError> {
        let limit = limit.min(PAGE_MAX);
        self.read(move |state| queries::parked_notices(state, after, limit)).await
    }

    /// Throws a parked notice away; false if it was not there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn discard_parked(&self, id: NoticeId) -> Result<bool, StoreError> {
        self.ask(|reply| Command::Discard { id, reply }).await?
    }

    /// One page of sagas: step by step, newest first within a step. At most [`list::LIST_SCAN_MAX`] sagas are
    /// looked at, so a page may be short or empty and yet not the last: go by `next`.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn list(
        &self,
        filter: DocumentFilter,
        after: Option<ListCursor>,
        limit: usize,
    ) -> Result<Page<DocumentSaga>, StoreError> {
        let limit = limit.clamp(1, PAGE_MAX);
        self.read(move |state| queries::list(state, &filter, after, limit)).await
    }

    /// The last `limit` lines of a saga's history, oldest first.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn history(&self, id: SagaId, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        let limit = limit.min(PAGE_MAX);
        self.read(move |state| queries::history(state, id, limit)).await
    }

    /// How many there are of what. While the view is being rebuilt the ages are missing.
    pub async fn counts(&self) -> Counts {
        let counters = self.0.shared.state.overlay().counters();
        let ages = self.read(|state| Ok(queries::oldest(state))).await.unwrap_or_default();
        queries::counts(&counters, &ages)
    }

    /// What is remembered of a portal.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn portal(&self, id: &PortalId) -> Result<Option<PortalState>, StoreError> {
        self.record(Tree::Portal, id.as_str().as_bytes()).await
    }

    /// Remembers a portal's state.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_portal(&self, id: &PortalId, state: PortalState) -> Result<(), StoreError> {
        let (key, value) = prepare_portal(id, &state)?;
        self.ask(|reply| Command::PutPortal { key, value, reply }).await?
    }

    /// How far the poll called `name` has come.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn cursor(&self, name: &str) -> Result<Option<Cursor>, StoreError> {
        self.record(Tree::Cursor, name.as_bytes()).await
    }

    /// Removes finished sagas that were last changed before `before`, with history and claims; their claims on
    /// a source stay, because one source file is signed once, ever. Returns how many were removed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn forget_finished(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let ids =
            self.read(move |state| queries::finished_before(state, before, limit.min(PAGE_MAX))).await?;
        let mut forgotten = 0;
        for sagas in ids.chunks(FORGET_CHUNK) {
            let sagas = sagas.to_vec();
            forgotten += self.ask(|reply| Command::Forget { sagas, before, reply }).await??;
        }
        Ok(forgotten)
    }

    /// The directory of files.
    pub fn spool(&self) -> &Spool {
        &self.0.shared.spool
    }

    /// How the store is. Quick; reads no disk.
    pub fn health(&self) -> StoreHealth {
        self.0.shared.health()
    }

    /// From now on `observer` hears what the writer does. Only the first call counts.
    pub fn observe(&self, observer: Arc<dyn StoreObserver>) {
        let _first_counts = self.0.shared.observer.set(observer);
    }

    /// Writes everything, with the files of the spool, into the one new file `target`, while running.
    ///
    /// # Errors
    /// [`BackupError::TargetExists`], [`BackupError::Io`].
    pub async fn backup(
        &self,
        target: PathBuf,
        progress: impl FnMut(BackupProgress) + Send + 'static,
    ) -> Result<BackupReport, BackupError> {
        if target.exists() {
            return Err(BackupError::TargetExists { path: target });
        }
        let (reply, answer) = oneshot::channel();
        let (progress, hold) = (Box::new(progress), self.spool().hold());
        self.ask_applier(applier::Job::Backup { target, progress, hold, reply });
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The same as [`Store::backup`], blocking and untold.
    pub(crate) fn backup_blocking(&self, target: PathBuf) -> Result<BackupReport, BackupError> {
        let (reply, answer) = oneshot::channel();
        let (progress, hold) = (Box::new(|_| {}), self.spool().hold());
        self.ask_applier(applier::Job::Backup { target, progress, hold, reply });
        wait_for(answer)
    }

    /// Checks the rules that hold over the whole store. Reads everything.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the view cannot be read.
    pub async fn check_invariants(&self) -> Result<InvariantReport, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask_applier(applier::Job::Check { reply });
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The same, blocking.
    pub(crate) fn check_invariants_blocking(&self) -> Result<InvariantReport, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask_applier(applier::Job::Check { reply });
        wait_for(answer)
    }

    /// Stops taking work, finishes what was taken, and leaves the view durable, so that the next start is quick.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the view could not be made durable; nothing acknowledged is lost by that.
    pub async fn close(self) -> Result<(), StoreError> {
        let closing = tokio::task::spawn_blocking(move || self.close_blocking());
        closing.await.map_err(|_| StoreError::Closed)?
    }

    /// The same, blocking.
    ///
    /// # Errors
    /// As [`Store::close`].
    pub fn close_blocking(self) -> Result<(), StoreError> {
        self.0.end(Closing::Finish)
    }

    async fn ask<T, E>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Command,
    ) -> Result<Result<T, E>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.0.shared.queue.push(command(reply)).await?;
        answer.await.map_err(|_| StoreError::Closed)
    }

    fn ask_applier(&self, job: applier::Job) {
        // After the end nobody would answer: the job is dropped, and whoever asked hears "closed".
        if let Some(jobs) = &mut *self.0.shared.jobs() {
            jobs.push_back(job);
        }
        self.0.shared.applier.ring();
    }

    /// Reads on one of the readers' threads: it may block.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&State) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let read: readers::Read = Box::new(move |state| drop(reply.send(query(state))));
        let line = self.0.readers().line();
        line.push(read).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The value of a key: at once if the overlay knows it, else on a reader's thread.
    async fn get(&self, tree: Tree, key: Vec<u8>) -> Result<Option<bytes::Bytes>, StoreError> {
        if let Some(known) = self.0.shared.state.peek(tree, &key) {
            return Ok(known);
        }
        self.read(move |state| state.get(tree, &key)).await
    }

    async fn record<R: records::Record>(&self, tree: Tree, key: &[u8]) -> Result<Option<R>, StoreError> {
        let raw = self.get(tree, key.to_vec()).await?;
        raw.map(|raw| decoded(tree, key, &raw)).transpose()
    }
}
