//! One step of one saga, as the store takes it.

use super::notice::NewNotice;
use crate::domain::NoticeId;
use crate::saga::document::{Claim, DocumentSaga, HistoryEntry};
use bytes::Bytes;

/// Everything that one transition changes; it is stored whole or not at all.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The record as it was read; `None` creates the saga.
    pub previous: Option<Stored>,
    /// The record as it shall be. Its revision is the previous one plus one.
    pub saga: DocumentSaga,
    /// Lines for its history.
    pub history: Vec<HistoryEntry>,
    /// Claims that it takes now. Its own again is fine.
    pub claims: Vec<Claim>,
    /// Claims that it gives up now; what it does not hold is passed over. Applied after `claims`.
    pub release: Vec<Claim>,
    /// The notice that caused this; it leaves the inbox. If it is not there any more, the commit is stale.
    pub consumed: Option<NoticeId>,
    /// Notices that this step gives birth to.
    pub enqueue: Vec<NewNotice>,
}

impl Commit {
    /// A commit of `saga` alone.
    pub fn new(previous: Option<Stored>, saga: DocumentSaga) -> Self {
        Self {
            previous,
            saga,
            history: Vec::new(),
            claims: Vec::new(),
            release: Vec::new(),
            consumed: None,
            enqueue: Vec::new(),
        }
    }
}

/// A saga's record together with the very bytes that are stored.
///
/// A later commit is compared with these bytes, not with a re-encoded record: after a change of version the
/// two differ, and a re-encoded one would never match again.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The record.
    pub saga: DocumentSaga,
    pub(super) raw: Bytes,
    pub(super) revived: u32,
}

impl Stored {
    /// How many parked notices the commit that made this record brought back to the inbox.
    pub fn revived(&self) -> u32 {
        self.revived
    }
}
