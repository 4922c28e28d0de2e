//! Commands: what callers give to the writer, encoded by the caller so that the writer has little left to do.

use super::commit::{Commit, Stored};
use super::error::{CommitError, StoreError};
use super::keys;
use super::notice::{Accepted, Cursor, Fate, NewNotice, NoticeV1};
use super::records::{OutboxV1, Record, encode};
use super::spool::SpoolPins;
use crate::domain::portal::PortalState;
use crate::domain::{FileDigest, NoticeId, PortalId, SagaId, Timestamp};
use crate::saga::document::{Claim, DocumentSaga, Step, Work};
use bytes::Bytes;
use tokio::sync::oneshot;

/// The largest command: a frame holds it with room to spare.
pub(super) const COMMAND_BYTES_MAX: usize = 4 << 20;

/// Where an answer goes.
pub(super) type Reply<T, E = StoreError> = oneshot::Sender<Result<T, E>>;

/// One thing to be done durably.
pub(super) enum Command {
    Accept { notices: Vec<PreparedNotice>, cursor: Option<(Vec<u8>, Bytes)>, reply: Reply<Vec<Accepted>> },
    Commit { commit: Box<PreparedCommit>, reply: Reply<Stored, CommitError> },
    Settle { id: NoticeId, fate: Fate, reply: Reply<()> },
    SettleDone { ids: Vec<NoticeId>, reply: Reply<()> },
    Discard { id: NoticeId, reply: Reply<bool> },
    PutPortal { key: Vec<u8>, value: Bytes, reply: Reply<()> },
    PutInstallation { key: Vec<u8>, value: Option<Bytes>, reply: Reply<()> },
    Forget { sagas: Vec<SagaId>, before: Timestamp, reply: Reply<usize> },
}

impl Command {
    /// Answers without doing it.
    pub fn refuse(self, error: StoreError) {
        // A caller that is gone does not mind.
        match self {
            Self::Accept { reply, .. } => drop(reply.send(Err(error))),
            Self::Commit { reply, .. } => drop(reply.send(Err(error.into()))),
            Self::Settle { reply, .. }
            | Self::SettleDone { reply, .. }
            | Self::PutPortal { reply, .. }
            | Self::PutInstallation { reply, .. } => drop(reply.send(Err(error))),
            Self::Discard { reply, .. } => drop(reply.send(Err(error))),
            Self::Forget { reply, .. } => drop(reply.send(Err(error))),
        }
    }

    /// Whether nobody and nothing waits for it: what is settled as done without any work is only not offered again.
    pub fn may_wait(&self) -> bool {
        match self {
            Self::SettleDone { .. } => true,
            Self::Accept { .. }
            | Self::Commit { .. }
            | Self::Settle { .. }
            | Self::Discard { .. }
            | Self::PutPortal { .. }
            | Self::PutInstallation { .. }
            | Self::Forget { .. } => false,
        }
    }

    /// Whether it brings new work from outside, which is refused first when the disk fills up.
    pub fn is_intake(&self) -> bool {
        match self {
            Self::Accept { .. } => true,
            Self::Commit { .. }
            | Self::Settle { .. }
            | Self::SettleDone { .. }
            | Self::Discard { .. }
            | Self::PutPortal { .. }
            | Self::PutInstallation { .. }
            | Self::Forget { .. } => false,
        }
    }
}

/// A notice, encoded.
pub(super) struct PreparedNotice {
    pub dedupe: [u8; 32],
    pub value: Bytes,
}

impl PreparedNotice {
    pub fn new(notice: &NewNotice) -> Result<Self, StoreError> {
        let record = NoticeV1::from(notice);
        Ok(Self { dedupe: record.dedupe, value: encoded("a notice", &record)? })
    }
}

/// A commit, checked as far as it can be without the state, and encoded.
pub(super) struct PreparedCommit {
    pub previous: Option<Stored>,
    pub saga: DocumentSaga,
    pub raw: Bytes,
    pub history: Vec<(Vec<u8>, Bytes)>,
    pub outbox: Option<Bytes>,
    pub claims: Vec<Claim>,
    pub release: Vec<Claim>,
    pub consumed: Option<NoticeId>,
    pub enqueue: Vec<PreparedNotice>,
    /// Keeps the files that this commit is the first to name, until it is answered.
    pub pins: Option<SpoolPins>,
}

impl PreparedCommit {
    pub fn new(commit: Commit) -> Result<Self, StoreError> {
        check_rules(&commit)?;
        let Commit { previous, saga, history, claims, release, consumed, enqueue } = commit;
        let mut lines = Vec::with_capacity(history.len());
        for (index, entry) in (0u16..).zip(&history) {
            lines.push((keys::history(saga.id, saga.revision, index), encoded("a line of history", entry)?));
        }
        let outbox = match saga.work {
            Work::Idle => None,
            Work::InFlight { token, since } => Some(encoded("an order", &OutboxV1 { token, since })?),
        };
        let enqueue = enqueue.iter().map(PreparedNotice::new).collect::<Result<_, _>>()?;
        let raw = encoded("a saga", &saga)?;
        Ok(Self {
            previous,
            saga,
            raw,
            history: lines,
            outbox,
            claims,
            release,
            consumed,
            enqueue,
            pins: None,
        })
    }

    /// Files that the new record names and the old one does not.
    pub fn new_files(&self) -> Vec<FileDigest> {
        let before = self.previous.as_ref().map(|p| files_of(&p.saga)).unwrap_or_default();
        files_of(&self.saga).into_iter().filter(|d| !before.contains(d)).collect()
    }
}

/// The files that a saga keeps in the spool: none once it is finished.
pub(super) fn files_of(saga: &DocumentSaga) -> Vec<FileDigest> {
    if saga.step.is_finished() {
        return Vec::new();
    }
    let mut files: Vec<FileDigest> = saga.spool_files().map(|file| file.digest).collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// The rules that a record must keep by itself (ST-1) and against the one before it.
fn check_rules(commit: &Commit) -> Result<(), StoreError> {
    let saga = &commit.saga;
    let broken = |rule| Err(StoreError::Broken { saga: saga.id, rule });
    if saga.step.is_live() != saga.timer.is_some() {
        return broken("a live saga has exactly one timer, a finished or parked one none");
    }
    if commit.history.len() > usize::from(u16::MAX) {
        return broken("one step writes at most 65,535 lines of history");
    }
    match &commit.previous {
        Some(previous) if previous.saga.id != saga.id => {
            broken("a record is followed by one of the same saga")
        }
        Some(previous) if previous.saga.revision.checked_add(1) != Some(saga.revision) => {
            broken("revisions grow by one")
        }
        Some(_) | None => Ok(()),
    }
}

/// The stored bytes of a record.
pub(super) fn encoded<R: Record>(what: &'static str, record: &R) -> Result<Bytes, StoreError> {
    let too_large = |bytes| StoreError::TooLarge { what, bytes, max: COMMAND_BYTES_MAX };
    let bytes = encode(record).ok_or_else(|| too_large(usize::MAX))?;
    if bytes.len() > COMMAND_BYTES_MAX { Err(too_large(bytes.len())) } else { Ok(bytes.into()) }
}

/// A cursor, encoded.
pub(super) fn prepare_cursor(
    cursor: Option<(String, Cursor)>,
) -> Result<Option<(Vec<u8>, Bytes)>, StoreError> {
    cursor.map(|(name, cursor)| Ok((name.into_bytes(), encoded("a cursor", &cursor)?))).transpose()
}

/// A portal's state, encoded.
pub(super) fn prepare_portal(id: &PortalId, state: &PortalState) -> Result<(Vec<u8>, Bytes), StoreError> {
    Ok((id.as_str().as_bytes().to_vec(), encoded("a portal's state", state)?))
}

/// The index entry of a saga's step.
pub(super) fn step_key(saga: &DocumentSaga) -> Vec<u8> {
    keys::step(saga.step, saga.step_since, saga.id)
}

/// The index entry of a saga's timer.
pub(super) fn timer_key(saga: &DocumentSaga) -> Option<Vec<u8>> {
    saga.timer.map(|timer| keys::timer(timer.due, saga.id))
}

/// Where a step stands in counters.
pub(super) fn step_index(step: Step) -> usize {
    usize::from(step.code())
}
