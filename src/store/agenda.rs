//! What there is to do: new notices and due timers, in one reading, because they are asked for together and often.

use super::error::StoreError;
use super::keys::{self, Tree};
use super::notice::Notice;
use super::queries;
use super::state::{Range, State};
use crate::domain::{NoticeId, SagaId, Timestamp};

/// How many notices are read in one go.
const CHUNK: usize = 64;
/// A page ends when its notices have so many bytes: bodies may be large.
const BYTES_MAX: usize = 1 << 20;

/// Which part of the work is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgendaQuery {
    /// Timers up to this moment are due.
    pub now: Timestamp,
    /// Notices behind this one.
    pub after: Option<NoticeId>,
    /// At most so many notices.
    pub notices_max: usize,
    /// At most so many sagas.
    pub due_max: usize,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agenda {
    /// Pending notices, oldest first.
    pub notices: Vec<Notice>,
    /// Whether there may be more of them.
    pub more_notices: bool,
    /// Sagas whose timer is due, earliest first.
    pub due: Vec<(Timestamp, SagaId)>,
    /// The earliest timer of all.
    pub next_due: Option<Timestamp>,
}

/// Reads it. Blocking.
pub(super) fn read(state: &State, query: AgendaQuery) -> Result<Agenda, StoreError> {
    // As a rule nothing is due: the first timer of all tells that alone.
    let next_due = queries::due(state, Timestamp(i64::MAX), 1)?.first().map(|(first, _)| *first);
    let due = match next_due {
        Some(first) if first <= query.now => queries::due(state, query.now, query.due_max)?,
        Some(_) | None => Vec::new(),
    };
    let mut agenda = Agenda { notices: Vec::new(), more_notices: query.notices_max > 0, due, next_due };
    let (mut after, mut bytes) = (query.after.map(keys::notice), 0);
    while agenda.more_notices && agenda.notices.len() < query.notices_max && bytes < BYTES_MAX {
        let want = CHUNK.min(query.notices_max - agenda.notices.len());
        let found = state.range(None, Tree::Notice, Range::after(after), want)?;
        for (key, raw) in &found {
            bytes += raw.len();
            agenda.notices.push(queries::notice(key, raw)?);
        }
        agenda.more_notices = found.len() == want;
        after = found.into_iter().last().map(|(key, _)| key);
    }
    Ok(agenda)
}
