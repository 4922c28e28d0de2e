//! The view: the state in sled, for reading. It can be lost and made anew from snapshot and journal.
//!
//! The only file that names sled. It deliberately does not know commands, sequences of commands or durability:
//! it takes changes, answers reads, and flushes when told.
//!
//! # What was measured on sled 0.34.7, and what follows
//! * A leaf holds 8 to 16 entries whatever their size, and each page costs 200 to 500 bytes of memory for ever.
//!   So the fewer entries the better: what every document has is packed into buckets ([`bucket`]), some thirty pairs of
//!   an index, or some records, to an entry. See [`Form`]. An entry that is written costs some 12 us whatever its size.
//! * The cache's bound counts only accesses that have gone through a shard's queue; a queue is looked at when
//!   its 64 places are full, and there are 256 shards. So up to 16,000 leaves lie in memory uncounted (20,000
//!   random reads: 45 MiB more, with a cache of 1 MiB as with one of 16). Reading a key [`TOUCHES`] times fills
//!   the queue of its leaf's shard that much sooner: the same reads then cost 4 MiB. How often
//!   depends on how large the leaves of a tree are. Only where the view is [`LARGE`].
//! * `apply_batch` pegs the log and rolls the buffer twice per tree; we need no atomicity here (replaying the
//!   journal is idempotent), so changes go in one by one: the same speed, 30 MiB less memory while filling.
//! * A panic or an error inside leaves it in an unknown state: every call is caught, and the caller must throw
//!   the view away and open it again.

use super::bucket::{self, Builder, Damaged, Edit, Items, contains};
use super::disk::{Disk, is_full, list_dir};
use super::keys::{TREES, Tree};
use super::overlay::Layer;
use bytes::Bytes;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a key is read when it is read or written once. See the header.
const TOUCHES: usize = 4;
/// The same in trees whose leaves are large.
const TOUCHES_HEAVY: usize = 16;
/// The same when a tree with large leaves is read from end to end, where each leaf comes once.
const TOUCHES_SCAN: usize = 32;
/// A view of so many bytes on disk is large. A smaller one may lie in memory as a whole, and nothing of it is read more
/// often than it is asked for: that was a twelfth of the processor time of a document.
const LARGE: u64 = 8 << 20;
/// About how many bytes a bucket has at most: an edit writes all of it, and the fewer there are the less memory and time
/// they take.
const BUCKET_BYTES: usize = 1 << 10;
/// The same where pairs are larger.
const BUCKET_BYTES_HEAVY: usize = 2 << 10;
/// How much larger buckets are that are loaded from a snapshot: most of them are not changed for long, and the first
/// edit cuts them.
const LOADED: usize = 2;
/// The version of how pairs lie in the view; that of before it was written was 1. A view of another version is made anew,
/// by older programs as well.
const VERSION: u8 = 2;

/// Key and value.
pub(super) type Pair = (Vec<u8>, Bytes);
/// Takes a bucket and the key of the next one; false when it has enough.
type Visit<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> Result<bool, Damaged> + 'a;
/// Bounds of a scan.
pub(super) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// In which order a range is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Backward,
}

/// The view failed; it must not be used any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ViewError {
    /// The disk was full: opening it again and replaying is enough.
    #[error("the disk is full: {0}")]
    Full(String),
    /// Anything else: it is not believed any more and made anew.
    #[error("{0}")]
    Failed(String),
}

impl ViewError {
    /// Of what the view is made from.
    pub fn of_disk(error: io::Error) -> Self {
        classify(sled::Error::Io(error))
    }
}

/// The open view.
pub(super) struct View {
    /// There until it is dropped.
    db: Option<sled::Db>,
    trees: Vec<sled::Tree>,
    dir: PathBuf,
    /// Whether it would be felt if all of it lay in memory.
    is_large: AtomicBool,
}

/// The sequence up to which everything is in, in sled's own default tree.
const APPLIED: &[u8] = b"applied";
/// Whose view this is, and its [`VERSION`]; written when it is complete. Version 1 wrote no version, and takes what is
/// longer than an id for the view of another store.
const STORE: &[u8] = b"store";

/// Whose view it is that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Of the store with this id, and complete.
    Store([u8; 16]),
    /// It was written by a program that lays pairs out otherwise.
    OtherVersion,
    /// It was not completed.
    Nobody,
}

/// How the pairs of a tree lie in sled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each is an entry.
    Plain,
    /// Many to an entry, of about so many bytes.
    Buckets(usize),
}

/// What every document has is in buckets. What is gone again within seconds, and what there are few of, is not.
const fn form(tree: Tree) -> Form {
    match tree {
        Tree::Saga | Tree::History => Form::Buckets(BUCKET_BYTES_HEAVY),
        Tree::Timer | Tree::Step | Tree::Claim | Tree::SagaClaims | Tree::SpoolRef => {
            Form::Buckets(BUCKET_BYTES)
        }
        Tree::Meta
        | Tree::Outbox
        | Tree::Notice
        | Tree::Parked
        | Tree::Lookup
        | Tree::Portal
        | Tree::Cursor
        | Tree::Installation => Form::Plain,
    }
}

impl View {
    /// Opens or makes the view in `dir`. On a thread of its own, because sled panics on some damage.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, ViewError> {
        #[cfg(test)]
        stop::at_opening()?;
        let path = dir.to_owned();
        let opening =
            std::thread::Builder::new().name("view-open".into()).spawn(move || open_here(&path, cache_bytes));
        let opening = opening.map_err(|e| ViewError::Failed(format!("no thread to open it: {e}")))?;
        let opened = opening
            .join()
            .map_err(|panic| ViewError::Failed(format!("it panicked: {}", words(panic.as_ref()))))?;
        let (db, trees) = opened.map_err(classify)?;
        let view = Self { db: Some(db), trees, dir: dir.to_owned(), is_large: AtomicBool::new(true) };
        view.measure();
        Ok(view)
    }

    /// Whose view this is.
    pub fn owner(&self) -> Result<Owner, ViewError> {
        let value = guarded(|| self.db().get(STORE))?;
        Ok(match value.as_deref() {
            None => Owner::Nobody,
            Some([id @ .., VERSION]) => id.try_into().map_or(Owner::OtherVersion, Owner::Store),
            Some(_) => Owner::OtherVersion,
        })
    }

    /// Marks the view as complete and as belonging to this store.
    pub fn set_store(&self, id: &[u8; 16]) -> Result<(), ViewError> {
        let value = [&id[..], &[VERSION]].concat();
        guarded(|| self.db().insert(STORE, value).map(drop))
    }

    /// Everything up to this entry is in, and perhaps some of what follows.
    pub fn applied(&self) -> Result<u64, ViewError> {
        let value = guarded(|| self.db().get(APPLIED))?;
        Ok(value.and_then(|v| v.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// The value of a key.
    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        let sled = &self.trees[tree.index()];
        match form(tree) {
            Form::Plain => guarded(|| {
                self.touch(tree, key)?;
                Ok(sled.get(key)?.map(bytes))
            }),
            Form::Buckets(_) => {
                let found = guarded(|| bucket_of(sled, key))?;
                let Some((first, bucket)) = found else { return Ok(None) };
                guarded(|| self.touch(tree, &first))?;
                Ok(bucket::find(&bucket, key).map_err(damaged)?.map(Bytes::copy_from_slice))
            }
        }
    }

    /// Up to `limit` pairs within `bounds`.
    pub fn scan(
        &self,
        tree: Tree,
        bounds: Bounds<'_>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, ViewError> {
        if is_empty(bounds) {
            return Ok(Vec::new());
        }
        match form(tree) {
            Form::Plain => self.scan_plain(tree, bounds, direction, limit),
            Form::Buckets(_) => match direction {
                Direction::Forward => self.scan_buckets(tree, bounds, limit),
                Direction::Backward => self.scan_buckets_backward(tree, bounds, limit),
            },
        }
    }

    fn scan_plain(
        &self,
        tree: Tree,
        bounds: Bounds<'_>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, ViewError> {
        let sled = &self.trees[tree.index()];
        let pairs = guarded(|| collect(sled.range::<&[u8], _>(bounds), direction, limit))?;
        let pairs: Vec<Pair> = pairs.into_iter().map(|(k, v)| (k.to_vec(), bytes(v))).collect();
        let times = if is_heavy(tree) { TOUCHES_SCAN } else { TOUCHES };
        // One key of every leaf, about: enough to count the leaves.
        guarded(|| pairs.iter().step_by(8).try_for_each(|(key, _)| self.touch_times(tree, key, times)))?;
        Ok(pairs)
    }

    fn scan_buckets(&self, tree: Tree, bounds: Bounds<'_>, limit: usize) -> Result<Vec<Pair>, ViewError> {
        let mut pairs = Vec::new();
        self.each_bucket(tree, bounds, &mut |bucket, end| {
            let mut items = Items::of(bucket);
            while let Some(value) = items.next()? {
                if pairs.len() == limit || end.is_some_and(|end| items.key() >= end) {
                    break;
                }
                if contains(bounds, items.key()) {
                    pairs.push((items.key().to_vec(), Bytes::copy_from_slice(value)));
                }
            }
            Ok(pairs.len() < limit)
        })?;
        Ok(pairs)
    }

    /// Gives every pair of a tree in buckets to `visit`, in order.
    pub fn each_small(&self, tree: Tree, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), ViewError> {
        debug_assert!(matches!(form(tree), Form::Buckets(_)));
        self.each_bucket(tree, (Bound::Unbounded, Bound::Unbounded), &mut |bucket, end| {
            let mut items = Items::of(bucket);
            while let Some(value) = items.next()? {
                if end.is_some_and(|end| items.key() >= end) {
                    break;
                }
                visit(items.key(), value);
            }
            Ok(true)
        })
    }

    /// Gives the buckets that may hold keys within the bounds to `visit`, each with the key of the next one, at which it
    /// ends, until `visit` says that it has enough.
    fn each_bucket(&self, tree: Tree, bounds: Bounds<'_>, visit: &mut Visit<'_>) -> Result<(), ViewError> {
        let mut iter = self.buckets(tree, bounds)?;
        let (mut held, mut seen): (Option<sled::IVec>, usize) = (None, 0);
        loop {
            let next = guarded(|| iter.next().transpose())?;
            if let Some(bucket) = held
                && !visit(&bucket, next.as_ref().map(|(key, _)| key.as_ref())).map_err(damaged)?
            {
                return Ok(());
            }
            let Some((key, bucket)) = next else { return Ok(()) };
            self.touch_scanned(tree, &key, &mut seen)?;
            held = Some(bucket);
        }
    }

    fn scan_buckets_backward(
        &self,
        tree: Tree,
        bounds: Bounds<'_>,
        limit: usize,
    ) -> Result<Vec<Pair>, ViewError> {
        let mut iter = self.buckets(tree, bounds)?;
        let (mut pairs, mut end, mut seen) = (Vec::new(), None::<sled::IVec>, 0);
        while pairs.len() < limit {
            let Some((key, bucket)) = guarded(|| iter.next_back().transpose())? else { break };
            self.touch_scanned(tree, &key, &mut seen)?;
            let (mut items, before) = (Items::of(&bucket), pairs.len());
            while let Some(value) = items.next().map_err(damaged)? {
                let is_own = end.as_ref().is_none_or(|end| items.key() < end.as_ref());
                if is_own && contains(bounds, items.key()) {
                    pairs.push((items.key().to_vec(), Bytes::copy_from_slice(value)));
                }
            }
            pairs[before..].reverse();
            end = Some(key);
        }
        pairs.truncate(limit);
        Ok(pairs)
    }

    /// The buckets that may hold keys within the bounds.
    fn buckets(&self, tree: Tree, bounds: Bounds<'_>) -> Result<sled::Iter, ViewError> {
        let sled = &self.trees[tree.index()];
        let from = guarded(|| first_bucket(sled, bounds.0))?;
        guarded(|| Ok(sled.range::<&[u8], _>((from.as_ref().map(AsRef::as_ref), bounds.1))))
    }

    /// Counts the leaves that a scan reads: about one bucket of each.
    fn touch_scanned(&self, tree: Tree, key: &[u8], seen: &mut usize) -> Result<(), ViewError> {
        *seen += 1;
        if *seen % 4 != 1 {
            return Ok(());
        }
        guarded(|| self.touch_times(tree, key, TOUCHES_SCAN))
    }

    /// Carries a layer in and notes how far it goes.
    pub fn apply(&self, layer: &Layer) -> Result<(), ViewError> {
        for tree in Tree::ALL {
            let entries = layer.tree(tree).iter().map(|(key, slot)| (key.as_slice(), slot.value.as_ref()));
            self.write(tree, entries)?;
        }
        self.measure();
        self.set_applied(layer.complete())
    }

    /// Notes that everything up to this entry is in.
    pub fn set_applied(&self, sequence: u64) -> Result<(), ViewError> {
        guarded(|| self.db().insert(APPLIED, &sequence.to_be_bytes()[..]).map(drop))
    }

    /// Writes changes of one tree, which must come in the order of their keys.
    pub fn write<'a>(
        &self,
        tree: Tree,
        entries: impl Iterator<Item = (&'a [u8], Option<&'a Bytes>)>,
    ) -> Result<(), ViewError> {
        if let Form::Buckets(room) = form(tree) {
            return self.write_buckets(tree, room, entries);
        }
        for (key, value) in entries {
            guarded(|| self.put(tree, key, value.map(AsRef::as_ref)))?;
        }
        Ok(())
    }

    fn write_buckets<'a>(
        &self,
        tree: Tree,
        room: usize,
        entries: impl Iterator<Item = Edit<'a>>,
    ) -> Result<(), ViewError> {
        let sled = &self.trees[tree.index()];
        let mut entries = entries.peekable();
        while let Some((key, _)) = entries.peek() {
            let place = guarded(|| place_of(sled, key))?;
            let mut edits = Vec::new();
            let is_here = |edit: &Edit<'_>| place.end.as_ref().is_none_or(|end| edit.0 < end.as_ref());
            while let Some(edit) = entries.next_if(is_here) {
                edits.push(edit);
            }
            self.edit_bucket(tree, room, &place, &edits)?;
        }
        Ok(())
    }

    fn edit_bucket(
        &self,
        tree: Tree,
        room: usize,
        place: &Place,
        edits: &[Edit<'_>],
    ) -> Result<(), ViewError> {
        let pieces = bucket::edited(&place.bucket, place.end.as_deref(), edits, room);
        let pieces = pieces.map_err(damaged)?;
        let Some((head, rest)) = pieces.split_first() else { return self.remove_bucket(tree, &place.first) };
        // The last first, and the head at the end: so at each moment every item lies in exactly one bucket that counts.
        for piece in rest.iter().rev() {
            guarded(|| self.put(tree, &piece.first, Some(&piece.bytes)))?;
        }
        if head.bytes == place.bucket.as_ref() {
            return Ok(());
        }
        guarded(|| self.put(tree, &place.first, Some(&head.bytes)))
    }

    /// The bucket before it takes its place: what a kill in the middle of a cut has left there beyond its end would
    /// count again, so that goes first.
    fn remove_bucket(&self, tree: Tree, first: &[u8]) -> Result<(), ViewError> {
        let sled = &self.trees[tree.index()];
        let before = guarded(|| sled.range::<&[u8], _>(..first).next_back().transpose())?;
        if let Some((key, bucket)) = before {
            let own = bucket::edited(&bucket, Some(first), &[], usize::MAX).map_err(damaged)?;
            let own = own.first().map_or(&[][..], |piece| &piece.bytes);
            if own != bucket.as_ref() {
                guarded(|| self.put(tree, &key, Some(own)))?;
            }
        }
        guarded(|| self.put(tree, first, None))
    }

    fn put(&self, tree: Tree, key: &[u8], value: Option<&[u8]>) -> sled::Result<()> {
        #[cfg(test)]
        stop::here()?;
        let sled = &self.trees[tree.index()];
        match value {
            Some(value) => sled.insert(key, value)?,
            None => sled.remove(key)?,
        };
        self.touch(tree, key)
    }

    /// Fills the access queue of the key's leaf; see the header.
    fn touch(&self, tree: Tree, key: &[u8]) -> sled::Result<()> {
        self.touch_times(tree, key, if is_heavy(tree) { TOUCHES_HEAVY } else { TOUCHES })
    }

    fn touch_times(&self, tree: Tree, key: &[u8], times: usize) -> sled::Result<()> {
        if !self.is_large.load(Ordering::Relaxed) {
            return Ok(());
        }
        let sled = &self.trees[tree.index()];
        (1..times).try_for_each(|_| sled.get(key).map(drop))
    }

    /// Puts what a [`Packer`] has packed into an empty view.
    pub fn load(&self, packed: &[Packed]) -> Result<(), ViewError> {
        packed.iter().try_for_each(|entry| {
            let sled = &self.trees[entry.tree.index()];
            guarded(|| sled.insert(&entry.key, entry.value.as_ref()).map(drop))
        })
    }

    /// Makes everything that was applied durable: sled's flush reaches only the kernel (it never calls
    /// fdatasync), so its files and directories are synced here.
    pub fn flush(&self, disk: &Disk) -> Result<(), ViewError> {
        guarded(|| self.db().flush().map(drop))?;
        self.measure();
        sync_files(disk, &self.dir).map_err(ViewError::of_disk)
    }

    fn measure(&self) {
        self.is_large.store(self.size_on_disk() >= LARGE, Ordering::Relaxed);
    }

    /// Closes it.
    pub fn close(self) {}

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("it is taken out only when the view is dropped")
    }

    /// Bytes on disk.
    pub fn size_on_disk(&self) -> u64 {
        guarded(|| self.db().size_on_disk()).unwrap_or(0)
    }
}

/// Sled syncs its file when its last handle goes, and panics if that fails. Nothing is lost by that, and whoever drops
/// a view, perhaps because its disk has just failed, is to say so in words.
impl Drop for View {
    fn drop(&mut self) {
        let (trees, db) = (std::mem::take(&mut self.trees), self.db.take());
        let _ = catch_unwind(AssertUnwindSafe(move || {
            drop(trees);
            drop(db);
        }));
    }
}

fn open_here(dir: &Path, cache_bytes: u64) -> sled::Result<(sled::Db, Vec<sled::Tree>)> {
    let config = sled::Config::new().path(dir).cache_capacity(cache_bytes).flush_every_ms(None);
    let db = config.mode(sled::Mode::LowSpace).open()?;
    let mut trees = Vec::with_capacity(TREES);
    for tree in Tree::ALL {
        trees.push(db.open_tree(tree.name())?);
    }
    Ok((db, trees))
}

/// A bucket, and where it lies.
struct Place {
    /// Its key in sled; all its keys are this or above.
    first: sled::IVec,
    bucket: sled::IVec,
    /// The key of the next one, from which on keys are not its own.
    end: Option<sled::IVec>,
}

/// The bucket in which a key lies if it is there.
fn bucket_of(sled: &sled::Tree, key: &[u8]) -> sled::Result<Option<(sled::IVec, sled::IVec)>> {
    sled.range::<&[u8], _>(..=key).next_back().transpose()
}

/// The same for writing: what lies below all buckets belongs to the one whose key is empty, which may have to be made.
fn place_of(sled: &sled::Tree, key: &[u8]) -> sled::Result<Place> {
    let (first, bucket) = bucket_of(sled, key)?.unwrap_or_default();
    let after = (Bound::Excluded(first.as_ref()), Bound::Unbounded);
    let next = sled.range::<&[u8], _>(after).next().transpose()?;
    Ok(Place { end: next.map(|(key, _)| key), first, bucket })
}

/// Where the buckets begin that may hold keys above this bound.
fn first_bucket(sled: &sled::Tree, from: Bound<&[u8]>) -> sled::Result<Bound<sled::IVec>> {
    let (Bound::Included(key) | Bound::Excluded(key)) = from else { return Ok(Bound::Unbounded) };
    let found = bucket_of(sled, key)?;
    Ok(found.map_or(Bound::Unbounded, |(first, _)| Bound::Included(first)))
}

fn damaged(error: Damaged) -> ViewError {
    ViewError::Failed(error.to_string())
}

/// Removes what a kill during an earlier opening left behind: sled takes `snap.<n>.generating` for a snapshot and
/// refuses to open for ever after (reproduced 3 of 3; nothing is lost by the removal). Returns how many.
pub(super) fn remove_leftovers(disk: &Disk, dir: &Path) -> io::Result<u32> {
    let mut removed = 0;
    for path in list_dir(dir)? {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            disk.remove(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn sync_files(disk: &Disk, dir: &Path) -> io::Result<()> {
    for path in list_dir(dir)? {
        if path.is_dir() {
            sync_files(disk, &path)?;
        } else {
            match disk.open(&path).and_then(|file| file.sync_data()) {
                // Sled removes blob files and old snapshots in the background; what is gone need not be durable.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced?,
            }
        }
    }
    disk.sync_dir(dir)
}

/// Whether the leaves of a tree are large.
fn is_heavy(tree: Tree) -> bool {
    match tree {
        Tree::Saga
        | Tree::History
        | Tree::Notice
        | Tree::Parked
        | Tree::Timer
        | Tree::Step
        | Tree::Claim
        | Tree::SagaClaims
        | Tree::SpoolRef => true,
        Tree::Meta | Tree::Outbox | Tree::Lookup | Tree::Portal | Tree::Cursor | Tree::Installation => false,
    }
}

fn collect(
    iter: sled::Iter,
    direction: Direction,
    limit: usize,
) -> sled::Result<Vec<(sled::IVec, sled::IVec)>> {
    match direction {
        Direction::Forward => iter.take(limit).collect(),
        Direction::Backward => iter.rev().take(limit).collect(),
    }
}

fn bytes(value: sled::IVec) -> Bytes {
    Bytes::copy_from_slice(&value)
}

/// Runs a call of sled; a panic is an error like any other.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, ViewError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(classify),
        Err(panic) => Err(ViewError::Failed(format!("it panicked: {}", words(panic.as_ref())))),
    }
}

fn classify(error: sled::Error) -> ViewError {
    match error {
        sled::Error::Io(e) if is_full(&e) => ViewError::Full(e.to_string()),
        other => ViewError::Failed(other.to_string()),
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".into())
}

/// Whether nothing can be within; sled panics on some of these.
fn is_empty((from, to): Bounds<'_>) -> bool {
    match (from, to) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Excluded(b))
        | (Bound::Excluded(a), Bound::Included(b)) => a >= b,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

// --- loading --------------------------------------------------------------------------------------------------

/// An entry of sled, ready to be put into an empty view.
#[derive(Debug)]
pub(super) struct Packed {
    tree: Tree,
    key: Vec<u8>,
    value: Bytes,
}

/// Makes entries of sled out of pairs that come in the order of trees and keys, as full as they may be: nothing has to
/// be read, and nothing written twice.
#[derive(Default)]
pub(super) struct Packer {
    /// What came last.
    last: Option<(Tree, Vec<u8>)>,
    /// The bucket that is being filled, and whether another of this tree was before it.
    bucket: Builder,
    is_later: bool,
}

impl Packer {
    /// Takes the next pair; what is complete goes to `out`.
    ///
    /// # Errors
    /// [`ViewError::Failed`] if it is not above the pair before.
    pub fn push(
        &mut self,
        tree: Tree,
        key: &[u8],
        value: &[u8],
        out: &mut Vec<Packed>,
    ) -> Result<(), ViewError> {
        match &self.last {
            Some((last, _)) if tree.index() > last.index() => self.finish(out),
            Some((last, before)) if tree == *last && key > before.as_slice() => {}
            Some(_) => return Err(ViewError::Failed("entries of a snapshot are not in order".into())),
            None => {}
        }
        match form(tree) {
            Form::Plain => {
                out.push(Packed { tree, key: key.to_vec(), value: Bytes::copy_from_slice(value) });
            }
            Form::Buckets(room) => {
                if !self.bucket.has_room(LOADED * room, key, value) {
                    self.end_bucket(tree, out);
                }
                self.bucket.push(key, value);
            }
        }
        let (last, before) = self.last.get_or_insert_with(|| (tree, Vec::new()));
        *last = tree;
        before.clear();
        before.extend_from_slice(key);
        Ok(())
    }

    /// Gives out what is not complete.
    pub fn finish(&mut self, out: &mut Vec<Packed>) {
        if let Some((tree, _)) = self.last.take() {
            self.end_bucket(tree, out);
        }
        self.is_later = false;
    }

    fn end_bucket(&mut self, tree: Tree, out: &mut Vec<Packed>) {
        if let Some(piece) = self.bucket.take() {
            // The first bucket holds whatever lies below the others.
            let key = if std::mem::replace(&mut self.is_later, true) { piece.first } else { Vec::new() };
            out.push(Packed { tree, key, value: piece.bytes.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::super::overlay::Below;
    use super::*;
    use crate::domain::SagaId;

    fn opened() -> (tempfile::TempDir, View) {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let view = View::open(dir.path(), 1 << 20).expect("a fresh view opens");
        (dir, view)
    }

    fn line(text: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn layer(entries: &[(Tree, Vec<u8>, Option<Bytes>)]) -> Layer {
        let mut layer = Layer::default();
        for (tree, key, value) in entries {
            layer.set(*tree, key.clone(), value.clone(), Below::Maybe);
        }
        layer.last = 7;
        layer
    }

    #[test]
    fn packed_history_reads_as_if_it_were_not() {
        let (_dir, view) = opened();
        let (a, b) = (SagaId::from_u128(1), SagaId::from_u128(2));
        let keys: Vec<Vec<u8>> = (0..40).map(|r| keys::history(a, r, 0)).collect();
        let mut entries: Vec<_> =
            keys.iter().map(|k| (Tree::History, k.clone(), line(&format!("{k:?}")))).collect();
        entries.push((Tree::History, keys::history(b, 15, 3), line("other")));
        view.apply(&layer(&entries)).expect("applied");

        let all =
            |bounds, direction, limit| view.scan(Tree::History, bounds, direction, limit).expect("scanned");
        let (low, high) = (keys::saga(a), keys::prefix_end(&keys::saga(a)).expect("an end"));
        let bounds = (Bound::Included(low.as_slice()), Bound::Excluded(high.as_slice()));
        let forward: Vec<Vec<u8>> =
            all(bounds, Direction::Forward, 100).into_iter().map(|(k, _)| k).collect();
        assert_eq!(forward, keys);
        let last: Vec<Vec<u8>> = all(bounds, Direction::Backward, 3).into_iter().map(|(k, _)| k).collect();
        assert_eq!(last, [keys[39].clone(), keys[38].clone(), keys[37].clone()]);
        let after = (Bound::Excluded(keys[16].as_slice()), Bound::Included(keys[18].as_slice()));
        let middle: Vec<Vec<u8>> = all(after, Direction::Forward, 100).into_iter().map(|(k, _)| k).collect();
        assert_eq!(middle, keys[17..=18]);
        assert_eq!(view.get(Tree::History, &keys::history(b, 15, 3)).expect("read"), line("other"));
        assert_eq!(view.get(Tree::History, &keys::history(b, 15, 4)).expect("read"), None);
        assert_eq!(view.applied().expect("read"), 7);
    }

    #[test]
    fn removing_the_last_line_of_a_bucket_removes_the_bucket() {
        let (_dir, view) = opened();
        let key = keys::history(SagaId::from_u128(1), 3, 0);
        view.apply(&layer(&[(Tree::History, key.clone(), line("x"))])).expect("applied");
        view.apply(&layer(&[(Tree::History, key, None)])).expect("applied");
        assert_eq!(view.trees[Tree::History.index()].len(), 0);
    }

    #[test]
    fn an_interrupted_opening_leaves_nothing_that_stops_the_next_one() {
        let (dir, view) = opened();
        view.apply(&layer(&[(Tree::Saga, vec![1], line("x"))])).expect("applied");
        view.flush(&Disk::real()).expect("flushed");
        drop(view);
        std::fs::write(dir.path().join("snap.00000000FFFFFFFF.generating"), b"half").expect("planted");
        assert!(
            View::open(dir.path(), 1 << 20).is_err(),
            "sled has mended this itself: drop the work-around"
        );
        assert_eq!(remove_leftovers(&Disk::real(), dir.path()).expect("removed"), 1);
        let view = View::open(dir.path(), 1 << 20).expect("it opens again");
        assert_eq!(view.get(Tree::Saga, &[1]).expect("read"), line("x"));
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod packed_tests;

/// Lets a test cut a write in the middle, or fail an opening.
#[cfg(test)]
pub(super) mod stop {
    use super::{ViewError, classify};
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static OPENING: Cell<Option<i32>> = const { Cell::new(None) };
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// What the disk says to a view that is opened on this thread; `None` = it is sound.
    pub fn opening(errno: Option<i32>) {
        OPENING.set(errno);
    }

    pub fn at_opening() -> Result<(), ViewError> {
        let failed = |errno| classify(sled::Error::Io(io::Error::from_raw_os_error(errno)));
        OPENING.get().map_or(Ok(()), |errno| Err(failed(errno)))
    }

    /// So many entries are still written on this thread; `None` = all.
    pub fn after(writes: Option<u32>) {
        LEFT.set(writes);
    }

    pub fn here() -> sled::Result<()> {
        match LEFT.get() {
            Some(0) => Err(sled::Error::Unsupported("stopped by a test".into())),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
