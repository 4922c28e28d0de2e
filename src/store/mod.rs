//! The durable store.

pub mod backup;
pub mod commit;
pub mod error;
pub mod health;
pub mod invariants;
pub mod list;
pub mod notice;
pub mod open;
pub mod options;
pub mod records;
pub mod spool;

pub use backup::{BackupProgress, BackupReport, VerifyReport, restore_backup, verify_backup};
pub use commit::{Commit, Stored};
pub use error::{BackupError, CommitError, OpenError, SpoolError, StoreError};
pub use health::{Counts, GroupTiming, Readiness, StepCount, StoreHealth, StoreObserver};
pub use invariants::{InvariantReport, Rule, Violation};
pub use list::{DocumentFilter, ListCursor, Page};
pub use notice::{Accepted, Cursor, Fate, NewNotice, Notice, NoticeKind, ParkedNotice};
pub use open::{OpenProgress, OpenReport, ViewFate};
pub use options::StoreOptions;
pub use records::{DecodeError, Kind};
pub use spool::{Spool, SpoolWriter};

use crate::domain::portal::PortalState;
use crate::domain::{NoticeId, PortalId, SagaId, Timestamp};
use crate::saga::document::{Claim, DocumentSaga, HistoryEntry};
use std::path::PathBuf;
use std::sync::Arc;

/// The store. Cheap to clone; all clones are one.
///
/// Every write is durable when its future is ready. A future that is dropped before may or may not have been
/// done, as with any remote call.
#[derive(Clone)]
pub struct Store(#[allow(dead_code)] Arc<()>);

#[allow(unused_variables, clippy::unused_async)]
impl Store {
    /// Opens the store in `options.dir`, making it if it is not there. Blocking.
    ///
    /// # Errors
    /// See [`OpenError`]; its `text` names the remedy.
    pub fn open(
        options: StoreOptions,
        progress: &mut dyn FnMut(OpenProgress),
    ) -> Result<(Self, OpenReport), OpenError> {
        todo!()
    }

    /// Puts a notice into the inbox. An identical one that is pending or parked is not stored twice.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the disk is full or fails: the sender must not be told that it worked.
    pub async fn accept(&self, notice: NewNotice) -> Result<Accepted, StoreError> {
        todo!()
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
        todo!()
    }

    /// Stores one step of one saga, whole or not at all.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit(&self, commit: Commit) -> Result<Stored, CommitError> {
        todo!()
    }

    /// The saga's record.
    ///
    /// # Errors
    /// [`StoreError::Record`] if it does not decode; [`StoreError::Unavailable`] while the view is rebuilt.
    pub async fn load(&self, id: SagaId) -> Result<Option<Stored>, StoreError> {
        todo!()
    }

    /// Who holds `claim`; of a claim that is not exclusive, any holder. The holder may have been forgotten.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn claimed(&self, claim: &Claim) -> Result<Option<SagaId>, StoreError> {
        todo!()
    }

    /// Sagas whose timer is at `now` or before, earliest first.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<(Timestamp, SagaId)>, StoreError> {
        todo!()
    }

    /// The earliest timer of all.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        todo!()
    }

    /// Sagas with an effect under way, by id.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn in_flight(&self, after: Option<SagaId>, limit: usize) -> Result<Vec<SagaId>, StoreError> {
        todo!()
    }

    /// Pending notices, oldest first.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn notices(&self, after: Option<NoticeId>, limit: usize) -> Result<Vec<Notice>, StoreError> {
        todo!()
    }

    /// Takes a notice out of the inbox without a saga. One that is not there any more is fine.
    ///
    /// A notice that is to be parked while its `lookup` has been claimed meanwhile is not parked: it goes back
    /// to the end of the inbox under a new number, so that it cannot wait for a claim that came before it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn settle(&self, id: NoticeId, fate: Fate) -> Result<(), StoreError> {
        todo!()
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
        todo!()
    }

    /// Throws a parked notice away; false if it was not there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn discard_parked(&self, id: NoticeId) -> Result<bool, StoreError> {
        todo!()
    }

    /// One page of sagas: step by step, newest first within a step.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn list(
        &self,
        filter: DocumentFilter,
        after: Option<ListCursor>,
        limit: usize,
    ) -> Result<Page<DocumentSaga>, StoreError> {
        todo!()
    }

    /// The last `limit` lines of a saga's history, oldest first.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn history(&self, id: SagaId, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        todo!()
    }

    /// How many there are of what. While the view is being rebuilt the ages are missing.
    pub async fn counts(&self) -> Counts {
        todo!()
    }

    /// What is remembered of a portal.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn portal(&self, id: &PortalId) -> Result<Option<PortalState>, StoreError> {
        todo!()
    }

    /// Remembers a portal's state.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_portal(&self, id: &PortalId, state: PortalState) -> Result<(), StoreError> {
        todo!()
    }

    /// How far the poll called `name` has come.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn cursor(&self, name: &str) -> Result<Option<Cursor>, StoreError> {
        todo!()
    }

    /// Removes finished sagas that were last changed before `before`, with history and claims; their claims on
    /// a source stay, because one source file is signed once, ever. Returns how many were removed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn forget_finished(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        todo!()
    }

    /// The directory of files.
    pub fn spool(&self) -> &Spool {
        todo!()
    }

    /// How the store is. Quick; reads no disk.
    pub fn health(&self) -> StoreHealth {
        todo!()
    }

    /// From now on `observer` hears what the writer does. Only the first call counts.
    pub fn observe(&self, observer: Arc<dyn StoreObserver>) {
        todo!()
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
        todo!()
    }

    /// Checks the rules that hold over the whole store. Reads everything.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the view cannot be read.
    pub async fn check_invariants(&self) -> Result<InvariantReport, StoreError> {
        todo!()
    }

    /// Stops taking work, finishes what was taken, and leaves the view durable, so that the next start is quick.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the view could not be made durable; nothing acknowledged is lost by that.
    pub async fn close(self) -> Result<(), StoreError> {
        todo!()
    }

    /// The same, blocking.
    ///
    /// # Errors
    /// As [`Store::close`].
    pub fn close_blocking(self) -> Result<(), StoreError> {
        todo!()
    }
}
