//! Questions that need more than one key. Blocking: called on threads that may block.

use super::error::StoreError;
use super::group::{bad_key, decoded};
use super::health::{Counts, StepCount};
use super::keys::{self, Tree};
use super::list::{DocumentFilter, LIST_SCAN_MAX, ListCursor, Page};
use super::notice::{Notice, NoticeV1, ParkedNotice, ParkedNoticeV1};
use super::overlay::Counters;
use super::records::ClaimV1;
use super::state::{Range, State};
use crate::domain::{NoticeId, SagaId, Timestamp};
use crate::saga::document::{Claim, DocumentSaga, HistoryEntry, Step};
use std::ops::Bound;

/// How many index entries a list reads in one go.
const LIST_CHUNK: usize = 100;

/// Pending notices after a number.
pub(super) fn notices(
    state: &State,
    after: Option<NoticeId>,
    limit: usize,
) -> Result<Vec<Notice>, StoreError> {
    let found = state.range(None, Tree::Notice, Range::after(after.map(keys::notice)), limit)?;
    found.iter().map(|(key, raw)| notice(key, raw)).collect()
}

/// The notice of a pair.
pub(super) fn notice(key: &[u8], raw: &[u8]) -> Result<Notice, StoreError> {
    let id = keys::parse_notice(key).ok_or_else(|| bad_key(Tree::Notice, key))?;
    Ok(decoded::<NoticeV1>(Tree::Notice, key, raw)?.into_notice(id))
}

/// Up to `limit` timers at `now` or before, earliest first.
pub(super) fn due(
    state: &State,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(Timestamp, SagaId)>, StoreError> {
    let mut range = Range::all();
    range.to = Bound::Included(keys::timer(now, SagaId::from_u128(u128::MAX)));
    let found = state.range(None, Tree::Timer, range, limit)?;
    found.iter().map(|(key, _)| keys::parse_timer(key).ok_or_else(|| bad_key(Tree::Timer, key))).collect()
}

/// Who holds a claim; of one that is not exclusive, any holder.
pub(super) fn holder(state: &State, claim: &Claim) -> Result<Option<SagaId>, StoreError> {
    let key = keys::claim_prefix(claim);
    let found = if claim.is_exclusive() {
        state.get(Tree::Claim, &key)?.map(|raw| (key, raw))
    } else {
        state.range(None, Tree::Claim, Range::prefix(&key), 1)?.into_iter().next()
    };
    found.map(|(key, raw)| Ok(decoded::<ClaimV1>(Tree::Claim, &key, &raw)?.saga)).transpose()
}

/// Parked notices after a number.
pub(super) fn parked_notices(
    state: &State,
    after: Option<NoticeId>,
    limit: usize,
) -> Result<Vec<ParkedNotice>, StoreError> {
    let found = state.range(None, Tree::Parked, Range::after(after.map(keys::notice)), limit)?;
    let parked = |(key, raw): &(Vec<u8>, bytes::Bytes)| {
        let id = keys::parse_notice(key).ok_or_else(|| bad_key(Tree::Parked, key))?;
        Ok(decoded::<ParkedNoticeV1>(Tree::Parked, key, raw)?.into_parked(id))
    };
    found.iter().map(parked).collect()
}

/// The last lines of a saga's history, the oldest first.
pub(super) fn history(state: &State, id: SagaId, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
    let mut found = state.range(None, Tree::History, Range::prefix(&keys::saga(id)).backward(), limit)?;
    found.reverse();
    found.iter().map(|(key, raw)| decoded(Tree::History, key, raw)).collect()
}

/// When the oldest saga of each step entered it. A step that cannot be read is left out.
pub(super) fn oldest(state: &State) -> Vec<(Step, Timestamp)> {
    let first = |step: Step| {
        let found = state.range(None, Tree::Step, Range::prefix(&[step.code()]), 1).ok()?;
        let (_, since, _) = keys::parse_step(&found.first()?.0)?;
        Some((step, since))
    };
    Step::ALL.into_iter().filter_map(first).collect()
}

/// The counts, with ages.
pub(super) fn counts(counters: &Counters, ages: &[(Step, Timestamp)]) -> Counts {
    let count = |step: Step| StepCount {
        step,
        count: counters.sagas[usize::from(step.code())],
        oldest_since: ages.iter().find(|(s, _)| *s == step).map(|(_, since)| *since),
    };
    Counts {
        sagas: Step::ALL.into_iter().map(count).collect(),
        notices: counters.notices,
        parked_notices: counters.parked,
        in_flight: counters.in_flight,
    }
}

/// Finished sagas that entered their last step before `before`, the oldest first of each step.
pub(super) fn finished_before(
    state: &State,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<SagaId>, StoreError> {
    let mut ids = Vec::new();
    for step in Step::ALL.into_iter().filter(|s| s.is_finished()) {
        let mut range = Range::prefix(&[step.code()]);
        range.to = Bound::Excluded(keys::step(step, before, SagaId::from_u128(0)));
        for (key, _) in state.range(None, Tree::Step, range, limit - ids.len())? {
            let (_, _, id) = keys::parse_step(&key).ok_or_else(|| bad_key(Tree::Step, &key))?;
            ids.push(id);
        }
        if ids.len() == limit {
            break;
        }
    }
    Ok(ids)
}

/// One page of sagas.
pub(super) fn list(
    state: &State,
    filter: &DocumentFilter,
    after: Option<ListCursor>,
    limit: usize,
) -> Result<Page<DocumentSaga>, StoreError> {
    let steps = if filter.steps.is_empty() { Step::ALL.to_vec() } else { filter.steps.clone() };
    let begin = after.and_then(|c| steps.iter().position(|s| *s == c.step)).unwrap_or(0);
    let mut page = Page { items: Vec::new(), next: None };
    let mut looked_at = 0;
    for (index, step) in steps.iter().enumerate().skip(begin) {
        let mut place = after.filter(|_| index == begin);
        loop {
            let chunk = LIST_CHUNK.min(LIST_SCAN_MAX - looked_at);
            let entries = step_entries(state, *step, place, chunk)?;
            for entry in &entries {
                looked_at += 1;
                place = Some(*entry);
                if let Some(saga) = fitting(state, filter, *entry)? {
                    // It went on while this was read, and was met again: what it is now counts.
                    page.items.retain(|met: &DocumentSaga| met.id != saga.id);
                    page.items.push(saga);
                }
                if page.items.len() == limit || looked_at == LIST_SCAN_MAX {
                    page.next = place;
                    return Ok(page);
                }
            }
            if entries.len() < chunk {
                break;
            }
        }
    }
    Ok(page)
}

/// Entries of one step, the newest first, after a place.
fn step_entries(
    state: &State,
    step: Step,
    after: Option<ListCursor>,
    limit: usize,
) -> Result<Vec<ListCursor>, StoreError> {
    let mut range = Range::prefix(&[step.code()]).backward();
    if let Some(place) = after {
        range.to = Bound::Excluded(keys::step(step, place.since, place.saga));
    }
    let found = state.range(None, Tree::Step, range, limit)?;
    let place = |key: &Vec<u8>| {
        let (step, since, saga) = keys::parse_step(key).ok_or_else(|| bad_key(Tree::Step, key))?;
        Ok(ListCursor { step, since, saga })
    };
    found.iter().map(|(key, _)| place(key)).collect()
}

/// The saga of an index entry, if it is wanted. One that has moved on meanwhile is shown where it is now.
fn fitting(
    state: &State,
    filter: &DocumentFilter,
    entry: ListCursor,
) -> Result<Option<DocumentSaga>, StoreError> {
    let key = keys::saga(entry.saga);
    let Some(raw) = state.get(Tree::Saga, &key)? else { return Ok(None) };
    let saga: DocumentSaga = decoded(Tree::Saga, &key, &raw)?;
    Ok(fits(filter, &saga).then_some(saga))
}

fn fits(filter: &DocumentFilter, saga: &DocumentSaga) -> bool {
    let name = || saga.file.as_ref().map(|f| f.name.to_lowercase()).unwrap_or_default();
    let code = saga.dead_letter.as_ref().map(|d| &d.code);
    filter.portal.as_ref().is_none_or(|portal| *portal == saga.portal)
        && filter.rule.as_ref().is_none_or(|rule| *rule == saga.delivery.rule)
        && filter.name_contains.as_ref().is_none_or(|part| name().contains(&part.to_lowercase()))
        && filter.updated_from.is_none_or(|from| saga.updated_at >= from)
        && filter.updated_before.is_none_or(|before| saga.updated_at < before)
        && filter.dead_letter_code.as_ref().is_none_or(|wanted| Some(wanted) == code)
}
