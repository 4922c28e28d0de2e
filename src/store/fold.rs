//! Folding: what the operations of many frames come to, by key and in the order of a snapshot.
//!
//! A view that is made anew from a snapshot and the journal after it would cost a write at a random place for nearly
//! every operation: a minute for 800 MB, three quarters of it spent on moving pages in and out. Folded, the journal is
//! read once, sorted piece by piece, and merged with the snapshot; the view is then written in order, each place once.
//!
//! Memory is bounded: a fold gathers one piece while it sorts the one before, and a view is made from two folds.
//! Sorted pieces lie in files whose names are gone as soon as they are open, so that nothing of them survives the
//! process. What is no more than one piece, which is nearly every store, needs no file.
//!
//! It deliberately does not know frames' sequences, nor what keys mean: of two operations on a key the one that was
//! taken later counts.

use super::disk::{Disk, DiskFile};
use super::frame::{Frame, ReadBatch, ReadOp};
use super::keys::Tree;
use super::overlay::Left;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// How many bytes of keys and values a piece has. In the crate's own tests so few that every store made anew there goes
/// through files.
const PIECE_BYTES: usize = if cfg!(test) { 2 << 10 } else { 24 << 20 };
/// How much of a sorted piece is written and read at once.
const BLOCK_BYTES: usize = 128 << 10;
/// Before a block: the length of its payload, and the CRC-32 of that.
const BLOCK_HEAD_BYTES: usize = 8;
/// Before an entry in a block: its tree, the lengths of key and value.
const ENTRY_HEAD_BYTES: usize = 9;
/// In place of a value's length: the key is gone.
const GONE: u32 = u32::MAX;

/// Folding did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum FoldError {
    #[error("an operation on the unknown tree {0}")]
    UnknownTree(u8),
    /// A frame that cannot be understood.
    #[error("{0}")]
    Damaged(String),
    /// Of a sorted piece.
    #[error("sorting the journal: {0}")]
    Io(#[from] io::Error),
}

/// What became of one key: its value, or that it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub tree: Tree,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

impl Change {
    fn place(&self) -> (Tree, &[u8]) {
        (self.tree, &self.key)
    }
}

/// Takes operations in, in the order in which they happened.
pub(super) struct Fold {
    disk: Disk,
    dir: PathBuf,
    name: &'static str,
    left: Option<Left>,
    piece: Piece,
    /// The piece that is being sorted.
    sorting: Option<JoinHandle<io::Result<Run>>>,
    runs: Vec<Run>,
}

impl Fold {
    /// Nothing yet. Sorted pieces go to files in `dir` whose names begin with `name`.
    pub fn new(disk: &Disk, dir: &Path, name: &'static str) -> Self {
        Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            name,
            left: None,
            piece: Piece::default(),
            sorting: None,
            runs: Vec::new(),
        }
    }

    /// Leaves out what was left in the overlay.
    pub fn leaving(self, left: Option<Left>) -> Self {
        Self { left, ..self }
    }

    /// Takes the next batch.
    ///
    /// # Errors
    /// When it names a tree that we do not know, and that of the disk, when a piece was full. What is folded is lost
    /// then.
    pub fn take(&mut self, batch: &ReadBatch<'_>) -> Result<(), FoldError> {
        for op in &batch.ops {
            let (tree, key, value) = match *op {
                ReadOp::Put { tree, key, value } => (tree, key, Some(value)),
                ReadOp::Del { tree, key } => (tree, key, None),
            };
            let known = Tree::from_code(tree).ok_or(FoldError::UnknownTree(tree))?;
            if !self.left.as_ref().is_some_and(|left| left.holds(known, key)) {
                self.put(known, key, value)?;
            }
        }
        Ok(())
    }

    /// Takes all batches of a frame.
    ///
    /// # Errors
    /// As [`Fold::take`], and if the frame does not decode.
    pub fn take_frame(&mut self, frame: &Frame<'_>) -> Result<(), FoldError> {
        frame.batches().map_err(FoldError::Damaged)?.iter().try_for_each(|batch| self.take(batch))
    }

    fn put(&mut self, tree: Tree, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        self.piece.push(tree, key, value)?;
        if self.piece.bytes.len() < PIECE_BYTES {
            return Ok(());
        }
        self.await_sorted()?;
        let room = Piece { bytes: Vec::with_capacity(self.piece.bytes.capacity()), ops: Vec::new() };
        let full = std::mem::replace(&mut self.piece, room);
        let (disk, name) = (self.disk.clone(), format!("{}.{}.tmp", self.name, self.runs.len()));
        let path = self.dir.join(name);
        let sort = move || Run::write(&disk, &path, &full.sorted());
        self.sorting = Some(std::thread::Builder::new().name("store-fold".into()).spawn(sort)?);
        Ok(())
    }

    fn await_sorted(&mut self) -> io::Result<()> {
        let Some(sorting) = self.sorting.take() else { return Ok(()) };
        let run = sorting.join().map_err(|_| io::Error::other("sorting the journal panicked"))?;
        self.runs.push(run?);
        Ok(())
    }

    /// The sorted pieces, the oldest first.
    fn into_sources(mut self) -> io::Result<Vec<Source>> {
        self.await_sorted()?;
        let mut sources: Vec<Source> = self.runs.into_iter().map(Source::File).collect();
        sources.push(Source::Memory(self.piece.sorted().into_iter()));
        Ok(sources)
    }
}

// ---- one piece -------------------------------------------------------------------------------------------------

/// Operations in memory: keys and values one after the other, and where they lie.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    ops: Vec<OpAt>,
}

#[derive(Clone, Copy)]
struct OpAt {
    tree: Tree,
    at: u32,
    key_len: u32,
    /// [`GONE`] if there is none.
    value_len: u32,
}

impl Piece {
    fn push(&mut self, tree: Tree, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        let number = |len: usize| u32::try_from(len).map_err(io::Error::other);
        let (at, key_len) = (number(self.bytes.len())?, number(key.len())?);
        let value_len = value.map_or(Ok(GONE), |value| number(value.len()))?;
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.ops.push(OpAt { tree, at, key_len, value_len });
        Ok(())
    }

    /// In order, and only the last of each key.
    fn sorted(self) -> Sorted {
        let Self { bytes, mut ops } = self;
        let key = |op: &OpAt| (op.tree, &bytes[op.at as usize..][..op.key_len as usize]);
        // Those of one key stay in the order in which they were taken.
        ops.sort_by(|a, b| key(a).cmp(&key(b)));
        ops.dedup_by(|later, kept| {
            let is_same = key(later) == key(kept);
            if is_same {
                *kept = *later;
            }
            is_same
        });
        Sorted { bytes, ops }
    }
}

/// A piece in order.
struct Sorted {
    bytes: Vec<u8>,
    ops: Vec<OpAt>,
}

impl Sorted {
    fn get(&self, op: OpAt) -> (Tree, &[u8], Option<&[u8]>) {
        let (at, key_len) = (op.at as usize, op.key_len as usize);
        let value = (op.value_len != GONE).then(|| &self.bytes[at + key_len..][..op.value_len as usize]);
        (op.tree, &self.bytes[at..][..key_len], value)
    }

    fn into_iter(self) -> Remaining {
        Remaining { sorted: self, next: 0 }
    }
}

/// A piece in order of which some is taken.
struct Remaining {
    sorted: Sorted,
    next: usize,
}

impl Remaining {
    fn next(&mut self) -> Option<Change> {
        let op = *self.sorted.ops.get(self.next)?;
        self.next += 1;
        let (tree, key, value) = self.sorted.get(op);
        Some(Change { tree, key: key.to_vec(), value: value.map(<[u8]>::to_vec) })
    }
}

// ---- a sorted piece in a file ----------------------------------------------------------------------------------

/// A sorted piece in a file without a name.
struct Run {
    file: DiskFile,
    /// Where the next block begins.
    offset: u64,
    end: u64,
    block: Vec<u8>,
    /// Where the next entry begins in it.
    at: usize,
}

impl Run {
    fn write(disk: &Disk, path: &Path, sorted: &Sorted) -> io::Result<Self> {
        let file = disk.create(path)?;
        disk.remove(path)?;
        let mut run = Self { file, offset: 0, end: 0, block: vec![0; BLOCK_HEAD_BYTES], at: 0 };
        for op in &sorted.ops {
            let (tree, key, value) = sorted.get(*op);
            run.block.push(tree.code());
            run.block.extend_from_slice(&op.key_len.to_le_bytes());
            run.block.extend_from_slice(&op.value_len.to_le_bytes());
            run.block.extend_from_slice(key);
            run.block.extend_from_slice(value.unwrap_or_default());
            if run.block.len() >= BLOCK_BYTES {
                run.end_block()?;
            }
        }
        run.end_block()?;
        run.block.clear();
        Ok(run)
    }

    fn end_block(&mut self) -> io::Result<()> {
        let payload = &self.block[BLOCK_HEAD_BYTES..];
        let (len, sum) = (u32::try_from(payload.len()).map_err(io::Error::other)?, crc32fast::hash(payload));
        self.block[..4].copy_from_slice(&len.to_le_bytes());
        self.block[4..BLOCK_HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&self.block, self.end)?;
        self.end += self.block.len() as u64;
        self.block.truncate(BLOCK_HEAD_BYTES);
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Change>> {
        if self.at == self.block.len() && !self.read_block()? {
            return Ok(None);
        }
        let damaged =
            || io::Error::new(io::ErrorKind::InvalidData, "a sorted piece of the journal is damaged");
        let entry = self.block.get(self.at..).ok_or_else(damaged)?;
        let (head, rest) = entry.split_first_chunk::<ENTRY_HEAD_BYTES>().ok_or_else(damaged)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (key_len, value_len) = (number(1) as usize, number(5));
        let (key, rest) = rest.split_at_checked(key_len).ok_or_else(damaged)?;
        let value = match value_len {
            GONE => None,
            len => Some(rest.get(..len as usize).ok_or_else(damaged)?),
        };
        let tree = Tree::from_code(head[0]).ok_or_else(damaged)?;
        self.at += ENTRY_HEAD_BYTES + key_len + value.map_or(0, <[u8]>::len);
        Ok(Some(Change { tree, key: key.to_vec(), value: value.map(<[u8]>::to_vec) }))
    }

    /// False at the end.
    fn read_block(&mut self) -> io::Result<bool> {
        self.at = 0;
        loop {
            self.block.clear();
            if self.offset == self.end {
                return Ok(false);
            }
            let mut head = [0; BLOCK_HEAD_BYTES];
            let got = self.file.read_at(&mut head, self.offset)?;
            let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let len = u64::from(number(0));
            self.offset += BLOCK_HEAD_BYTES as u64;
            if got < BLOCK_HEAD_BYTES || len > self.end - self.offset {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.block.resize(number(0) as usize, 0);
            let got = self.file.read_at(&mut self.block, self.offset)?;
            self.offset += len;
            if got as u64 != len || crc32fast::hash(&self.block) != number(4) {
                let what = "a sorted piece of the journal does not read back as it was written";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            if !self.block.is_empty() {
                return Ok(true);
            }
        }
    }
}

// ---- all of it -------------------------------------------------------------------------------------------------

enum Source {
    Memory(Remaining),
    File(Run),
}

impl Source {
    fn next(&mut self) -> io::Result<Option<Change>> {
        match self {
            Self::Memory(remaining) => Ok(remaining.next()),
            Self::File(run) => run.next(),
        }
    }
}

/// The next change of a source; a later source is newer, and its change comes before that of an older one.
struct Head {
    change: Change,
    source: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.change.place().cmp(&other.change.place()).then(other.source.cmp(&self.source))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// What all operations come to: one change for each key, in the order of trees and keys.
pub(super) struct Folded {
    sources: Vec<Source>,
    heads: BinaryHeap<Reverse<Head>>,
}

impl Folded {
    /// What `older` and then `newer` come to.
    ///
    /// # Errors
    /// That of the disk.
    pub fn of(older: Fold, newer: Fold) -> io::Result<Self> {
        let mut sources = older.into_sources()?;
        sources.extend(newer.into_sources()?);
        let mut folded = Self { sources, heads: BinaryHeap::new() };
        for source in 0..folded.sources.len() {
            folded.advance(source)?;
        }
        Ok(folded)
    }

    fn advance(&mut self, source: usize) -> io::Result<()> {
        if let Some(change) = self.sources[source].next()? {
            self.heads.push(Reverse(Head { change, source }));
        }
        Ok(())
    }

    /// The next one.
    ///
    /// # Errors
    /// That of the disk.
    pub fn next(&mut self) -> io::Result<Option<Change>> {
        let Some(Reverse(Head { change, source })) = self.heads.pop() else { return Ok(None) };
        self.advance(source)?;
        while let Some(Reverse(older)) = self.heads.peek()
            && older.change.place() == change.place()
        {
            let source = older.source;
            self.heads.pop();
            self.advance(source)?;
        }
        Ok(Some(change))
    }

    /// Whether the next one lies below this key.
    pub fn is_below(&self, tree: Tree, key: &[u8]) -> bool {
        self.heads.peek().is_some_and(|Reverse(head)| head.change.place() < (tree, key))
    }

    /// Whether the next one is for this key.
    pub fn is_at(&self, tree: Tree, key: &[u8]) -> bool {
        self.heads.peek().is_some_and(|Reverse(head)| head.change.place() == (tree, key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::{Fault, FaultAt, FaultyDisk};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// What is written of a key: tree, key, value.
    type Written = (u8, Vec<u8>, Option<Vec<u8>>);

    fn batch(written: &[Written]) -> ReadBatch<'_> {
        let ops = written.iter().map(|(tree, key, value)| match value {
            Some(value) => ReadOp::Put { tree: *tree, key, value },
            None => ReadOp::Del { tree: *tree, key },
        });
        ReadBatch { ops: ops.collect() }
    }

    fn alone(fold: Fold) -> io::Result<Folded> {
        let nothing = Fold::new(&Disk::real(), Path::new("nowhere"), "nothing");
        Folded::of(nothing, fold)
    }

    fn all(mut folded: Folded) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some(change) = folded.next().expect("read back") {
            changes.push(change);
        }
        changes
    }

    fn written() -> impl Strategy<Value = Written> {
        let key = prop::collection::vec(0..4u8, 0..4);
        // Large enough that a few dozen fill a piece.
        let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..90));
        (0..4u8, key, value)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn of_many_operations_on_a_key_the_last_counts(
            batches in prop::collection::vec(prop::collection::vec(written(), 0..9), 0..120)
        ) {
            let dir = tempfile::tempdir().expect("a directory for the test");
            let [mut older, mut newer] =
                ["older", "newer"].map(|name| Fold::new(&Disk::real(), dir.path(), name));
            let mut model = BTreeMap::new();
            for (n, written) in batches.iter().enumerate() {
                let fold = if n < batches.len() / 2 { &mut older } else { &mut newer };
                fold.take(&batch(written)).expect("taken");
                for (tree, key, value) in written {
                    model.insert((*tree, key.clone()), value.clone());
                }
            }
            let folded = Folded::of(older, newer).expect("sorted");
            let names = std::fs::read_dir(dir.path()).expect("listed").count();
            prop_assert_eq!(names, 0, "a sorted piece has kept its name");
            let changes = all(folded).into_iter().map(|c| ((c.tree.code(), c.key), c.value));
            prop_assert_eq!(changes.collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
        }
    }

    fn many() -> Vec<Written> {
        (0..400u16).map(|n| (1, n.to_be_bytes().to_vec(), Some(vec![7; 40]))).collect()
    }

    #[test]
    fn what_was_left_in_the_overlay_is_left_out() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let left = Left { from: vec![5], complete: 0 };
        let mut fold = Fold::new(&Disk::real(), dir.path(), "fold").leaving(Some(left));
        let (notice, saga) = (Tree::Notice.code(), Tree::Saga.code());
        let written: Vec<Written> = [(notice, 4), (notice, 5), (notice, 6), (saga, 6)]
            .map(|(tree, key)| (tree, vec![key], None))
            .into();
        fold.take(&batch(&written)).expect("taken");
        let kept = all(alone(fold).expect("sorted")).into_iter().map(|c| (c.tree, c.key));
        assert_eq!(kept.collect::<Vec<_>>(), [(Tree::Saga, vec![6]), (Tree::Notice, vec![4])]);
    }

    #[test]
    fn a_disk_that_fails_while_a_piece_is_written_is_told() {
        const ENOSPC: i32 = 28;
        let faults = Arc::new(FaultyDisk::default());
        let dir = tempfile::tempdir().expect("a directory for the test");
        faults.plan(Fault::once(FaultAt::Write, "fold.", ENOSPC));
        let mut fold = Fold::new(&Disk::hooked(faults), dir.path(), "fold");
        let taken = many().chunks(10).try_for_each(|written| fold.take(&batch(written)));
        let told = taken.and_then(|()| alone(fold).map(drop).map_err(FoldError::Io));
        let kind = match told {
            Err(FoldError::Io(error)) => error.kind(),
            other => panic!("{other:?}"),
        };
        assert_eq!(kind, io::ErrorKind::StorageFull);
    }

    #[test]
    fn every_changed_byte_of_a_sorted_piece_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let mut piece = Piece::default();
        for (_, key, value) in many().iter().take(20) {
            piece.push(Tree::Saga, key, value.as_deref()).expect("small");
        }
        let mut run = Run::write(&Disk::real(), &dir.path().join("piece"), &piece.sorted()).expect("written");
        let mut whole = vec![0; usize::try_from(run.end).expect("small")];
        run.file.read_at(&mut whole, 0).expect("read");
        for at in 0..whole.len() {
            run.file.write_all_at(&[whole[at] ^ 0x10], at as u64).expect("planted");
            (run.offset, run.at) = (0, 0);
            run.block.clear();
            let read = std::iter::from_fn(|| run.next().transpose()).collect::<io::Result<Vec<_>>>();
            assert!(read.is_err(), "byte {at}");
            run.file.write_all_at(&whole[at..=at], at as u64).expect("mended");
        }
    }

    #[test]
    fn a_tree_that_nobody_knows_is_refused() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let mut fold = Fold::new(&Disk::real(), dir.path(), "fold");
        let refused = fold.take(&batch(&[(250, vec![1], None)]));
        assert!(matches!(refused, Err(FoldError::UnknownTree(250))), "{refused:?}");
    }
}
