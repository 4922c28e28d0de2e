//! A group: commands decided one after the other, each seeing what the ones before it did, to be written in one
//! frame. Nothing in here is durable or visible to anyone else yet.
//!
//! It deliberately does not know files, threads or callers.

use super::error::StoreError;
use super::frame::{Batch, Op};
use super::inbox::{ByIdentity, Identity, Inbox};
use super::keys::{self, Tree};
use super::overlay::{Below, Counters, Layer};
use super::records::{Blob, DecodeError, Record, decode};
use super::state::{Range, State};
use super::view::Pair;
use crate::domain::{FileDigest, NoticeId};
use bytes::Bytes;

/// The group that is being gathered.
pub(super) struct Group<'s> {
    state: &'s State,
    /// What the commands so far change, net.
    pub staged: Layer,
    inbox: &'s Inbox,
    /// What they change in the inbox.
    pub inbox_changes: ByIdentity<Option<NoticeId>>,
    /// What they change, one batch per command.
    pub batches: Vec<Batch>,
    /// What they change in the counters.
    pub counters: Counters,
    /// The number that the next notice gets.
    pub next_notice: u64,
    /// Files that lost a reference.
    pub released_files: Vec<FileDigest>,
    /// About how many bytes the frame will have.
    pub bytes: usize,
}

impl<'s> Group<'s> {
    pub fn new(state: &'s State, inbox: &'s Inbox, counters: Counters, next_notice: u64) -> Self {
        Self {
            state,
            inbox,
            inbox_changes: ByIdentity::default(),
            staged: Layer::default(),
            batches: Vec::new(),
            counters,
            next_notice,
            released_files: Vec::new(),
            bytes: 0,
        }
    }

    /// The value of a key, as the next command sees it.
    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.staged.get(tree, key) {
            Some(slot) => Ok(slot.value.clone()),
            None => self.state.get(tree, key),
        }
    }

    /// The record under a key.
    pub fn record<R: Record>(&self, tree: Tree, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.get(tree, key)?.map(|raw| decoded(tree, key, &raw)).transpose()
    }

    /// Pairs of a range, as the next command sees them.
    pub fn range(&self, tree: Tree, range: Range, limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.state.range(Some(&self.staged), tree, range, limit)
    }

    /// The number under which a notice is known, as the next command sees it.
    pub fn known_notice(&self, identity: &Identity) -> Option<NoticeId> {
        match self.inbox_changes.get(identity) {
            Some(changed) => *changed,
            None => self.inbox.get(identity),
        }
    }

    /// How many notices are known, about.
    pub fn known_notices(&self) -> usize {
        self.inbox.len() + self.inbox_changes.len()
    }

    /// Lets go of what it was decided against.
    pub fn end(self) -> Decided {
        let Self { staged, inbox_changes, counters, next_notice, released_files, .. } = self;
        Decided { staged, inbox_changes, counters, next_notice, released_files }
    }

    /// Takes a command's changes in.
    pub fn take(&mut self, changes: Changes) {
        let Changes { puts, inbox, counters, next_notice, released_files } = changes;
        self.inbox_changes.extend(inbox);
        self.counters = counters;
        self.next_notice = next_notice;
        self.released_files.extend(released_files);
        let mut batch = Batch { ops: Vec::with_capacity(puts.len() + 1) };
        for (tree, key, value, below) in puts {
            batch.ops.push(op(tree, &key, value.as_ref()));
            self.staged.set(tree, key, value, below);
        }
        self.bytes += batch.encoded_len();
        self.batches.push(batch);
    }
}

/// What is left of a group when it is durable: what everyone may see now.
pub(super) struct Decided {
    pub staged: Layer,
    pub inbox_changes: ByIdentity<Option<NoticeId>>,
    pub counters: Counters,
    pub next_notice: u64,
    pub released_files: Vec<FileDigest>,
}

fn op(tree: Tree, key: &[u8], value: Option<&Bytes>) -> Op {
    let (tree, key) = (tree.code(), Blob(Bytes::copy_from_slice(key)));
    match value {
        Some(value) => Op::Put { tree, key, value: Blob(value.clone()) },
        None => Op::Del { tree, key },
    }
}

/// The record in `raw`, or which key does not decode.
pub(super) fn decoded<R: Record>(tree: Tree, key: &[u8], raw: &[u8]) -> Result<R, StoreError> {
    decode(raw).map_err(|source| StoreError::Record { key: keys::describe(tree, key), source })
}

/// A key that is not what its tree holds.
pub(super) fn bad_key(tree: Tree, key: &[u8]) -> StoreError {
    StoreError::Record { key: keys::describe(tree, key), source: DecodeError::Foreign }
}

/// What one command changes; thrown away if the command turns out to be impossible.
pub(super) struct Changes {
    puts: Vec<(Tree, Vec<u8>, Option<Bytes>, Below)>,
    inbox: ByIdentity<Option<NoticeId>>,
    /// The counters after it.
    pub counters: Counters,
    next_notice: u64,
    /// Files that lose a reference.
    pub released_files: Vec<FileDigest>,
}

impl Changes {
    pub fn new(group: &Group<'_>) -> Self {
        Self {
            puts: Vec::new(),
            inbox: ByIdentity::default(),
            counters: group.counters,
            next_notice: group.next_notice,
            released_files: Vec::new(),
        }
    }
    /// A key that is not there gets a value.
    ///
    /// That it is not there *now* is enough for the overlay: if the view still has an older value, the overlay
    /// has the tombstone, and keeps it.
    pub fn put_new(&mut self, tree: Tree, key: Vec<u8>, value: Bytes) {
        self.puts.push((tree, key, Some(value), Below::Nothing));
    }
    /// A key gets a value, whether or not it has one.
    pub fn put(&mut self, tree: Tree, key: Vec<u8>, value: Bytes) {
        self.puts.push((tree, key, Some(value), Below::Maybe));
    }
    /// A key is gone.
    pub fn del(&mut self, tree: Tree, key: Vec<u8>) {
        self.puts.push((tree, key, None, Below::Maybe));
    }
    /// What these changes alone say of a key: `None` = nothing.
    pub fn get(&self, tree: Tree, key: &[u8]) -> Option<Option<&Bytes>> {
        let fits = |p: &&(Tree, Vec<u8>, Option<Bytes>, Below)| p.0 == tree && p.1 == key;
        self.puts.iter().rev().find(fits).map(|p| p.2.as_ref())
    }
    /// A notice is known under this number from now on, or not at all.
    pub fn know_notice(&mut self, identity: Identity, id: Option<NoticeId>) {
        self.inbox.insert(identity, id);
    }
    /// What these changes alone say of a notice: `None` = nothing.
    pub fn known_notice(&self, identity: &Identity) -> Option<Option<NoticeId>> {
        self.inbox.get(identity).copied()
    }
    /// The number of a new notice.
    pub fn number_notice(&mut self) -> NoticeId {
        let id = NoticeId(self.next_notice);
        self.next_notice += 1;
        id
    }
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty()
    }
    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        self.puts.iter().map(|p| 21 + p.1.len() + p.2.as_ref().map_or(0, Bytes::len)).sum()
    }
}
