//! What each command changes, decided against the state as the group sees it. Guards first, then changes: a
//! command that is refused leaves no trace.
//!
//! It deliberately does not know frames, files or callers. Only the writer calls it, so what is read here
//! cannot change before it is written.

use super::command::{PreparedCommit, PreparedNotice, encoded, files_of, step_index, step_key, timer_key};
use super::commit::Stored;
use super::error::{CommitError, StoreError};
use super::group::{Changes, Group, bad_key};
use super::inbox::{Identity, identity};
use super::keys::{self, Tree};
use super::notice::{Accepted, Fate, NoticeV1, ParkedNoticeV1, ROUNDS_MAX};
use super::records::{ClaimState, ClaimV1, SagaClaimsV1};
use super::state::Range;
use crate::domain::{FileDigest, NoticeId, SagaId, Text, Timestamp};
use crate::saga::document::{Claim, DocumentSaga, Work};
use bytes::Bytes;

/// How many parked notices one commit brings back; more of one lookup text is no honest remote.
const REVIVED_MAX: usize = 64;
/// How many notices may be pending or parked: each costs memory (`inbox`), and a pile of this size means that
/// nobody works on it.
const NOTICES_MAX: usize = 500_000;
/// How many history entries are removed in one go when a saga is forgotten.
const HISTORY_CHUNK: usize = 512;

fn inbox_full() -> Text {
    Text::new(
        format!(
            "Необработанных уведомлений накопилось {NOTICES_MAX}: новые не принимаются. Разберите отложенные и проверьте, идёт ли обработка."
        ),
        format!(
            "{NOTICES_MAX} notices have piled up: no new ones are taken. Sort out the parked ones, and check that work goes on."
        ),
    )
}

/// One less. A counter that would fall below zero has lost touch with the trees: the check (ST-9) finds that, a
/// panic of the writer would help nobody.
fn less(counter: &mut u64) {
    *counter = counter.saturating_sub(1);
}

// --- notices --------------------------------------------------------------------------------------------------

/// Puts notices into the inbox, with the cursor of the poll that found them.
pub(super) fn accept(
    group: &Group<'_>,
    notices: Vec<PreparedNotice>,
    cursor: Option<(Vec<u8>, Bytes)>,
) -> Result<(Changes, Vec<Accepted>), StoreError> {
    if group.known_notices() + notices.len() > NOTICES_MAX {
        return Err(StoreError::Unavailable { reason: inbox_full() });
    }
    let mut changes = Changes::new(group);
    let accepted = enqueue(group, &mut changes, notices);
    if let Some((name, value)) = cursor {
        changes.put(Tree::Cursor, name, value);
    }
    Ok((changes, accepted))
}

fn enqueue(group: &Group<'_>, changes: &mut Changes, notices: Vec<PreparedNotice>) -> Vec<Accepted> {
    let mut accepted = Vec::with_capacity(notices.len());
    for PreparedNotice { dedupe, value } in notices {
        let identity = identity(&dedupe);
        let known = changes.known_notice(&identity).unwrap_or_else(|| group.known_notice(&identity));
        accepted.push(match known {
            Some(id) => Accepted { id, fresh: false },
            None => Accepted { id: put_notice(changes, identity, value), fresh: true },
        });
    }
    accepted
}

fn put_notice(changes: &mut Changes, identity: Identity, value: Bytes) -> NoticeId {
    let id = changes.number_notice();
    changes.put_new(Tree::Notice, keys::notice(id), value);
    changes.know_notice(identity, Some(id));
    changes.counters.notices += 1;
    id
}

/// Takes the notice out of the inbox; false if it is not in it.
fn take_notice(group: &Group<'_>, changes: &mut Changes, id: NoticeId) -> Result<bool, StoreError> {
    let key = keys::notice(id);
    let Some(raw) = group.get(Tree::Notice, &key)? else { return Ok(false) };
    let identity = identity(NoticeV1::dedupe_of(&raw).ok_or_else(|| bad_key(Tree::Notice, &key))?);
    changes.del(Tree::Notice, key);
    changes.know_notice(identity, None);
    less(&mut changes.counters.notices);
    Ok(true)
}

/// Takes a notice out of the inbox without a saga.
pub(super) fn settle(group: &Group<'_>, id: NoticeId, fate: Fate) -> Result<Changes, StoreError> {
    let mut changes = Changes::new(group);
    match fate {
        Fate::Done => {
            take_notice(group, &mut changes, id)?;
        }
        Fate::Parked { reason, lookup } => {
            let Some(notice) = group.record::<NoticeV1>(Tree::Notice, &keys::notice(id))? else {
                return Ok(changes);
            };
            changes.del(Tree::Notice, keys::notice(id));
            less(&mut changes.counters.notices);
            if may_come_back(group, &notice, lookup.as_deref())? {
                requeue(&mut changes, notice)?;
            } else {
                park(&mut changes, id, ParkedNoticeV1 { notice, reason, lookup })?;
            }
        }
    }
    Ok(changes)
}

/// Takes notices of which nothing is to be made out of the inbox.
pub(super) fn settle_done(group: &Group<'_>, ids: &[NoticeId]) -> Result<Changes, StoreError> {
    let mut changes = Changes::new(group);
    for id in ids {
        take_notice(group, &mut changes, *id)?;
    }
    Ok(changes)
}

/// Whether what the notice waits for has happened already, between its reading and its parking.
fn may_come_back(group: &Group<'_>, notice: &NoticeV1, lookup: Option<&str>) -> Result<bool, StoreError> {
    let Some(text) = lookup else { return Ok(false) };
    if notice.rounds >= ROUNDS_MAX {
        return Ok(false);
    }
    for claim in [Claim::External(text.to_owned()), Claim::ProviderDocument(text.to_owned())] {
        let held = group.record::<ClaimV1>(Tree::Claim, &keys::claim_prefix(&claim))?;
        if held.is_some_and(|c| c.state == ClaimState::Held) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn park(changes: &mut Changes, id: NoticeId, parked: ParkedNoticeV1) -> Result<(), StoreError> {
    if let Some(text) = &parked.lookup {
        changes.put_new(Tree::Lookup, keys::lookup(text, id), Bytes::new());
    }
    changes.put_new(Tree::Parked, keys::notice(id), encoded("a parked notice", &parked)?);
    changes.counters.parked += 1;
    Ok(())
}

/// Puts a notice at the end of the inbox, under a new number, so that whoever walks the inbox meets it again.
fn requeue(changes: &mut Changes, mut notice: NoticeV1) -> Result<(), StoreError> {
    notice.rounds = notice.rounds.saturating_add(1);
    let value = encoded("a notice", &notice)?;
    put_notice(changes, identity(&notice.dedupe), value);
    Ok(())
}

/// Takes a parked notice out; none if it is not there.
fn take_parked(
    group: &Group<'_>,
    changes: &mut Changes,
    id: NoticeId,
) -> Result<Option<NoticeV1>, StoreError> {
    let key = keys::notice(id);
    let Some(parked) = group.record::<ParkedNoticeV1>(Tree::Parked, &key)? else { return Ok(None) };
    changes.del(Tree::Parked, key);
    if let Some(text) = &parked.lookup {
        changes.del(Tree::Lookup, keys::lookup(text, id));
    }
    less(&mut changes.counters.parked);
    Ok(Some(parked.notice))
}

/// Throws a parked notice away.
pub(super) fn discard(group: &Group<'_>, id: NoticeId) -> Result<(Changes, bool), StoreError> {
    let mut changes = Changes::new(group);
    let taken = take_parked(group, &mut changes, id)?;
    if let Some(notice) = &taken {
        changes.know_notice(identity(&notice.dedupe), None);
    }
    Ok((changes, taken.is_some()))
}

// --- commit ---------------------------------------------------------------------------------------------------

/// One step of one saga.
pub(super) fn commit(group: &Group<'_>, commit: PreparedCommit) -> Result<(Changes, Stored), CommitError> {
    let id = commit.saga.id;
    let before = group.get(Tree::Saga, &keys::saga(id))?;
    if before != commit.previous.as_ref().map(|p| p.raw.clone()) {
        return Err(CommitError::Stale);
    }
    let mut changes = Changes::new(group);
    if let Some(notice) = commit.consumed
        && !take_notice(group, &mut changes, notice)?
    {
        return Err(CommitError::Stale);
    }
    let revived = change_claims(group, &mut changes, id, &commit.claims, &commit.release)?;
    let previous = commit.previous.as_ref().map(|p| &p.saga);
    put_record(&mut changes, previous, &commit);
    change_indexes(&mut changes, previous, &commit.saga);
    change_outbox(&mut changes, previous, &commit);
    change_files(&mut changes, previous, &commit.saga);
    for (key, value) in commit.history {
        changes.put_new(Tree::History, key, value);
    }
    enqueue(group, &mut changes, commit.enqueue);
    Ok((changes, Stored { saga: commit.saga, raw: commit.raw, revived }))
}

fn put_record(changes: &mut Changes, previous: Option<&DocumentSaga>, commit: &PreparedCommit) {
    let (key, value) = (keys::saga(commit.saga.id), commit.raw.clone());
    match previous {
        Some(_) => changes.put(Tree::Saga, key, value),
        None => changes.put_new(Tree::Saga, key, value),
    }
}

fn change_indexes(changes: &mut Changes, previous: Option<&DocumentSaga>, saga: &DocumentSaga) {
    let (old, new) = (previous.map(step_key), step_key(saga));
    if old.as_ref() != Some(&new) {
        changes.put_new(Tree::Step, new, Bytes::new());
        if let Some(old) = old {
            changes.del(Tree::Step, old);
        }
    }
    if let Some(previous) = previous {
        less(&mut changes.counters.sagas[step_index(previous.step)]);
    }
    changes.counters.sagas[step_index(saga.step)] += 1;
    let (old, new) = (previous.and_then(timer_key), timer_key(saga));
    if old != new {
        if let Some(new) = new {
            changes.put_new(Tree::Timer, new, Bytes::new());
        }
        if let Some(old) = old {
            changes.del(Tree::Timer, old);
        }
    }
}

fn change_outbox(changes: &mut Changes, previous: Option<&DocumentSaga>, commit: &PreparedCommit) {
    let key = keys::saga(commit.saga.id);
    let was = previous.map_or(Work::Idle, |p| p.work);
    match (&commit.outbox, was) {
        (Some(_), was) if was == commit.saga.work => {}
        (Some(order), Work::Idle) => {
            changes.put_new(Tree::Outbox, key, order.clone());
            changes.counters.in_flight += 1;
        }
        (Some(order), Work::InFlight { .. }) => changes.put(Tree::Outbox, key, order.clone()),
        (None, Work::InFlight { .. }) => {
            changes.del(Tree::Outbox, key);
            less(&mut changes.counters.in_flight);
        }
        (None, Work::Idle) => {}
    }
}

fn change_files(changes: &mut Changes, previous: Option<&DocumentSaga>, saga: &DocumentSaga) {
    let old: Vec<FileDigest> = previous.map(files_of).unwrap_or_default();
    let new = files_of(saga);
    for digest in new.iter().filter(|d| !old.contains(d)) {
        changes.put_new(Tree::SpoolRef, keys::spool_ref(*digest, saga.id), Bytes::new());
    }
    for digest in old.into_iter().filter(|d| !new.contains(d)) {
        changes.del(Tree::SpoolRef, keys::spool_ref(digest, saga.id));
        changes.released_files.push(digest);
    }
}

/// Takes and gives up claims; returns how many parked notices came back because of them.
fn change_claims(
    group: &Group<'_>,
    changes: &mut Changes,
    id: SagaId,
    claims: &[Claim],
    release: &[Claim],
) -> Result<u32, CommitError> {
    if claims.is_empty() && release.is_empty() {
        return Ok(0);
    }
    let list_key = keys::saga(id);
    let before = group.record::<SagaClaimsV1>(Tree::SagaClaims, &list_key)?.unwrap_or_default();
    let mut list = before.clone();
    let mut revived = 0;
    for claim in claims {
        if list.claims.contains(claim) {
            continue;
        }
        take_claim(group, changes, id, claim)?;
        list.claims.push(claim.clone());
        revived += revive(group, changes, claim)?;
    }
    for claim in release {
        if let Some(at) = list.claims.iter().position(|c| c == claim) {
            list.claims.remove(at);
            changes.del(Tree::Claim, keys::claim(claim, id));
        }
    }
    if list.claims.is_empty() && before != list {
        changes.del(Tree::SagaClaims, list_key);
    } else if before != list {
        list.claims.sort();
        changes.put(Tree::SagaClaims, list_key, encoded("a saga's claims", &list)?);
    }
    Ok(revived)
}

fn take_claim(
    group: &Group<'_>,
    changes: &mut Changes,
    id: SagaId,
    claim: &Claim,
) -> Result<(), CommitError> {
    let key = keys::claim(claim, id);
    // Nobody else can hold the key of one that is not exclusive: it names its holder.
    if claim.is_exclusive()
        && let Some(holder) = group.record::<ClaimV1>(Tree::Claim, &key)?
        && holder.saga != id
    {
        return Err(CommitError::ClaimTaken { claim: claim.clone(), by: holder.saga });
    }
    changes.put(Tree::Claim, key, encoded("a claim", &ClaimV1 { saga: id, state: ClaimState::Held })?);
    Ok(())
}

/// Brings back the parked notices that waited for this claim.
fn revive(group: &Group<'_>, changes: &mut Changes, claim: &Claim) -> Result<u32, StoreError> {
    let (Claim::External(text) | Claim::ProviderDocument(text)) = claim else { return Ok(0) };
    let mut revived = 0;
    for (key, _) in group.range(Tree::Lookup, Range::prefix(&keys::lookup_prefix(text)), REVIVED_MAX)? {
        let id = keys::parse_lookup(&key).ok_or_else(|| bad_key(Tree::Lookup, &key))?;
        // Both kinds of id may be the same text: the second finds that the first has taken it already.
        if changes.get(Tree::Lookup, &key) == Some(None) {
            continue;
        }
        if let Some(notice) = take_parked(group, changes, id)? {
            requeue(changes, notice)?;
            revived += 1;
        }
    }
    Ok(revived)
}

// --- the rest -------------------------------------------------------------------------------------------------

/// Remembers a portal's state.
pub(super) fn put_portal(group: &Group<'_>, key: Vec<u8>, value: Bytes) -> Changes {
    let mut changes = Changes::new(group);
    changes.put(Tree::Portal, key, value);
    changes
}

/// Remembers an installation, or forgets it.
pub(super) fn put_installation(group: &Group<'_>, key: Vec<u8>, value: Option<Bytes>) -> Changes {
    let mut changes = Changes::new(group);
    match value {
        Some(value) => changes.put(Tree::Installation, key, value),
        None => changes.del(Tree::Installation, key),
    }
    changes
}

/// Removes those of the sagas that are finished and were last changed before `before`.
pub(super) fn forget(
    group: &Group<'_>,
    sagas: &[SagaId],
    before: Timestamp,
) -> Result<(Changes, usize), StoreError> {
    let mut changes = Changes::new(group);
    let mut forgotten = 0;
    for id in sagas {
        let Some(saga) = group.record::<DocumentSaga>(Tree::Saga, &keys::saga(*id))? else { continue };
        if saga.step.is_finished() && saga.updated_at < before {
            forget_one(group, &mut changes, &saga)?;
            forgotten += 1;
        }
    }
    Ok((changes, forgotten))
}

fn forget_one(group: &Group<'_>, changes: &mut Changes, saga: &DocumentSaga) -> Result<(), StoreError> {
    let key = keys::saga(saga.id);
    changes.del(Tree::Saga, key.clone());
    changes.del(Tree::Step, step_key(saga));
    less(&mut changes.counters.sagas[step_index(saga.step)]);
    if matches!(saga.work, Work::InFlight { .. }) {
        changes.del(Tree::Outbox, key.clone());
        less(&mut changes.counters.in_flight);
    }
    let mut range = Range::prefix(&key);
    loop {
        let lines = group.range(Tree::History, range.clone(), HISTORY_CHUNK)?;
        let Some((last, _)) = lines.last() else { break };
        range.from = std::ops::Bound::Excluded(last.clone());
        for (line, _) in lines {
            changes.del(Tree::History, line);
        }
    }
    let claims = group.record::<SagaClaimsV1>(Tree::SagaClaims, &key)?.unwrap_or_default();
    for claim in claims.claims {
        let claim_key = keys::claim(&claim, saga.id);
        match claim {
            Claim::Source(_) => {
                let tombstone = ClaimV1 { saga: saga.id, state: ClaimState::Tombstone };
                changes.put(Tree::Claim, claim_key, encoded("a claim", &tombstone)?);
            }
            Claim::Reading(_)
            | Claim::External(_)
            | Claim::ProviderDocument(_)
            | Claim::EchoName { .. }
            | Claim::EchoFile { .. }
            | Claim::EchoBytes { .. }
            | Claim::Workflow { .. } => changes.del(Tree::Claim, claim_key),
        }
    }
    changes.del(Tree::SagaClaims, key);
    Ok(())
}
