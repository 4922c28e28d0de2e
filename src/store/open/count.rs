//! What is counted once, when the store is opened: the indexes, and which notices are known.

use crate::saga::document::Step;
use crate::store::error::StoreError;
use crate::store::group::decoded;
use crate::store::inbox::{Inbox, identity};
use crate::store::keys::{self, Tree};
use crate::store::notice::{NoticeV1, ParkedNoticeV1};
use crate::store::overlay::Counters;
use crate::store::records::MetaV1;
use crate::store::state::{Range, State};

/// How many index entries are counted in one go.
const COUNT_CHUNK: usize = 4_096;
/// How many notices: they are larger.
const NOTICE_CHUNK: usize = 64;

/// Counts the indexes, and notes which notices are known: once, here.
pub(super) fn count(state: &State) -> Result<(Counters, Inbox), StoreError> {
    let (mut counters, mut inbox) = (Counters::default(), Inbox::default());
    // One for each document there is.
    state.each_small(Tree::Step, &mut |key| {
        if let Some((step, _, _)) = keys::parse_step(key) {
            counters.sagas[usize::from(Step::code(step))] += 1;
        }
    })?;
    let mut know = |key: &[u8], dedupe: Option<&[u8; 32]>| {
        if let (Some(id), Some(dedupe)) = (keys::parse_notice(key), dedupe) {
            inbox.apply((identity(dedupe), Some(id)));
        }
    };
    each(state, Tree::Notice, NOTICE_CHUNK, |key, raw| {
        counters.notices += 1;
        know(key, NoticeV1::dedupe_of(raw));
    })?;
    each(state, Tree::Parked, NOTICE_CHUNK, |key, raw| {
        counters.parked += 1;
        know(key, ParkedNoticeV1::dedupe_of(raw));
    })?;
    each(state, Tree::Outbox, COUNT_CHUNK, |_, _| counters.in_flight += 1)?;
    Ok((counters, inbox))
}

fn each(
    state: &State,
    tree: Tree,
    chunk: usize,
    mut visit: impl FnMut(&[u8], &[u8]),
) -> Result<(), StoreError> {
    let mut range = Range::all();
    loop {
        let pairs = state.range(None, tree, range.clone(), chunk)?;
        for (key, value) in &pairs {
            visit(key, value);
        }
        match pairs.last() {
            Some((last, _)) if pairs.len() == chunk => range = Range::after(Some(last.clone())),
            Some(_) | None => return Ok(()),
        }
    }
}

/// The number that the next notice gets.
pub(super) fn next_notice(state: &State) -> Result<u64, StoreError> {
    match state.get(Tree::Meta, keys::NUMBERS)? {
        Some(raw) => Ok(decoded::<MetaV1>(Tree::Meta, keys::NUMBERS, &raw)?.next_notice),
        None => Ok(1),
    }
}
