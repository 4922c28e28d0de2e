//! Buckets: many small pairs in one value of the view, in the order of their keys, as in the leaf of a B-tree.
//!
//! ```text
//! an item: bytes shared with the key before, own bytes, length of the value (LEB128 each), own bytes, value
//! ```
//! Neighbouring keys begin alike (a time, a saga's id, a portal), and only what differs is written.
//!
//! Pure: deliberately does not know where buckets lie, nor what keys mean. An item of a bucket counts only if its key
//! is below the key of the next bucket: so a bucket may be cut in two by writing the second part first, and whatever
//! happens between the two writes nothing is seen twice, or not at all.

use bytes::Bytes;
use std::ops::Bound;

/// Bytes before an item's own bytes: three lengths, each of one byte if it is below 128.
const HEAD_BYTES: usize = 3;

/// The bytes are not a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bucket is damaged")]
pub(super) struct Damaged;

/// A key and its new value; `None` = the key goes.
pub(super) type Edit<'a> = (&'a [u8], Option<&'a Bytes>);

/// The items of a bucket, one after the other.
pub(super) struct Items<'b> {
    rest: &'b [u8],
    key: Vec<u8>,
}

impl<'b> Items<'b> {
    /// Before the first.
    pub fn of(bucket: &'b [u8]) -> Self {
        Self { rest: bucket, key: Vec::new() }
    }

    /// Goes to the next item and says its value; none at the end.
    pub fn next(&mut self) -> Result<Option<&'b [u8]>, Damaged> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (shared, own, len) = (self.number()?, self.number()?, self.number()?);
        let (own, rest) = self.rest.split_at_checked(own).ok_or(Damaged)?;
        let (value, rest) = rest.split_at_checked(len).ok_or(Damaged)?;
        if shared > self.key.len() {
            return Err(Damaged);
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(own);
        self.rest = rest;
        Ok(Some(value))
    }

    /// The key of the item that was come to last.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    fn number(&mut self) -> Result<usize, Damaged> {
        let mut number = 0;
        for shift in [0, 7, 14, 21, 28] {
            let (byte, rest) = self.rest.split_first().ok_or(Damaged)?;
            self.rest = rest;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }
}

/// A bucket that is being made.
#[derive(Default)]
pub(super) struct Builder {
    bytes: Vec<u8>,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Builder {
    /// Adds an item, whose key must be above all before.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        let shared = self.shared(key);
        if self.bytes.is_empty() {
            self.first = key.to_vec();
        }
        for number in [shared, key.len() - shared, value.len()] {
            put_number(&mut self.bytes, number);
        }
        self.bytes.extend_from_slice(&key[shared..]);
        self.bytes.extend_from_slice(value);
        self.last.clear();
        self.last.extend_from_slice(key);
    }

    /// Whether an item may be added without its having more than about `room` bytes. The first always may.
    pub fn has_room(&self, room: usize, key: &[u8], value: &[u8]) -> bool {
        let item = || HEAD_BYTES + key.len() - self.shared(key) + value.len();
        self.bytes.is_empty() || self.bytes.len() + item() <= room
    }

    fn shared(&self, key: &[u8]) -> usize {
        self.last.iter().zip(key).take_while(|(a, b)| a == b).count()
    }

    /// Takes out what is made: its first key, its bytes; none if nothing was added.
    pub fn take(&mut self) -> Option<Piece> {
        let Self { bytes, first, .. } = std::mem::take(self);
        (!bytes.is_empty()).then_some(Piece { first, bytes })
    }
}

/// The largest number that is written; a value of so many bytes is none of ours.
const NUMBER_MAX: usize = u32::MAX as usize;

fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    debug_assert!(number <= NUMBER_MAX);
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// A bucket, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its first key.
    pub first: Vec<u8>,
    pub bytes: Vec<u8>,
}

/// The value of a key in a bucket.
pub(super) fn find<'b>(bucket: &'b [u8], key: &[u8]) -> Result<Option<&'b [u8]>, Damaged> {
    let mut items = Items::of(bucket);
    while let Some(value) = items.next()? {
        if items.key() >= key {
            return Ok((items.key() == key).then_some(value));
        }
    }
    Ok(None)
}

/// The bucket after the edits, which come in the order of their keys, cut into pieces of about `room` bytes at most.
/// Items at `end` or above are not its own any more and are left out. Nothing is left: no pieces.
pub(super) fn edited(
    old: &[u8],
    end: Option<&[u8]>,
    edits: &[Edit<'_>],
    room: usize,
) -> Result<Vec<Piece>, Damaged> {
    let mut whole = Builder::default();
    let mut push = |key: &[u8], value: Option<&[u8]>| value.map_or((), |value| whole.push(key, value));
    let (mut items, mut waiting) = (Items::of(old), edits.iter().peekable());
    while let Some(value) = items.next()? {
        if end.is_some_and(|end| items.key() >= end) {
            break;
        }
        while let Some((key, new)) = waiting.next_if(|(key, _)| *key < items.key()) {
            push(key, new.map(AsRef::as_ref));
        }
        match waiting.next_if(|(key, _)| *key == items.key()) {
            Some((key, new)) => push(key, new.map(AsRef::as_ref)),
            None => push(items.key(), Some(value)),
        }
    }
    let is_longer = !edits.is_empty() && edits.len() == waiting.len();
    waiting.for_each(|(key, new)| push(key, new.map(AsRef::as_ref)));
    let Some(whole) = whole.take() else { return Ok(Vec::new()) };
    let bytes = whole.bytes.len();
    if bytes <= room {
        return Ok(vec![whole]);
    }
    // What is only ever added at the end is never added to in the middle: such buckets stay as full as they are.
    cut(&whole.bytes, room, if is_longer { room } else { bytes.div_ceil(bytes.div_ceil(room)) })
}

/// Each piece but the last has at least its `share`, unless that leaves no room.
fn cut(bucket: &[u8], room: usize, share: usize) -> Result<Vec<Piece>, Damaged> {
    let (mut items, mut pieces, mut piece) = (Items::of(bucket), Vec::new(), Builder::default());
    while let Some(value) = items.next()? {
        if piece.bytes.len() >= share || !piece.has_room(room, items.key(), value) {
            pieces.extend(piece.take());
        }
        piece.push(items.key(), value);
    }
    pieces.extend(piece.take());
    Ok(pieces)
}

/// Whether a key lies within.
pub(super) fn contains((from, to): (Bound<&[u8]>, Bound<&[u8]>), key: &[u8]) -> bool {
    let above = match from {
        Bound::Included(from) => key >= from,
        Bound::Excluded(from) => key > from,
        Bound::Unbounded => true,
    };
    above
        && match to {
            Bound::Included(to) => key <= to,
            Bound::Excluded(to) => key < to,
            Bound::Unbounded => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn bucket(pairs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
        let mut builder = Builder::default();
        pairs.iter().for_each(|(key, value)| builder.push(key, value));
        builder.take().map_or(Vec::new(), |piece| piece.bytes)
    }

    fn pairs(bucket: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut items, mut found) = (Items::of(bucket), Vec::new());
        while let Some(value) = items.next().expect("sound") {
            found.push((items.key().to_vec(), value.to_vec()));
        }
        found
    }

    fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0u8..4, 0..max)
    }

    proptest! {
        #[test]
        fn an_edited_bucket_holds_what_a_map_would(
            old in proptest::collection::btree_map(bytes(6), bytes(40), 0..60),
            edits in proptest::collection::btree_map(bytes(6), proptest::option::of(bytes(200)), 0..40),
            end in proptest::option::of(bytes(4)),
            room in 30usize..400,
        ) {
            let is_own = |key: &Vec<u8>| end.as_ref().is_none_or(|end| key < end);
            let edits: BTreeMap<Vec<u8>, Option<Bytes>> =
                edits.into_iter().filter(|(k, _)| is_own(k)).map(|(k, v)| (k, v.map(Bytes::from))).collect();
            let listed: Vec<Edit<'_>> = edits.iter().map(|(k, v)| (k.as_slice(), v.as_ref())).collect();
            let pieces = edited(&bucket(&old), end.as_deref(), &listed, room).expect("sound");
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = old.into_iter().filter(|(k, _)| is_own(k)).collect();
            for (key, value) in edits {
                match value {
                    Some(value) => model.insert(key, value.to_vec()),
                    None => model.remove(&key),
                };
            }
            let found: Vec<_> = pieces.iter().flat_map(|piece| pairs(&piece.bytes)).collect();
            prop_assert_eq!(&found, &model.clone().into_iter().collect::<Vec<_>>());
            for piece in &pieces {
                let own = pairs(&piece.bytes);
                prop_assert_eq!(Some(&piece.first), own.first().map(|(key, _)| key));
                prop_assert!(own.len() == 1 || piece.bytes.len() <= room + 2 * HEAD_BYTES);
                for (key, value) in &own {
                    prop_assert_eq!(find(&piece.bytes, key).expect("sound"), Some(value.as_slice()));
                }
            }
        }

        #[test]
        fn what_is_no_bucket_is_refused_or_read_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut items = Items::of(&bytes);
            let mut read = 0;
            while let Ok(Some(_)) = items.next() {
                read += 1;
                prop_assert!(read <= bytes.len());
            }
            let _ = find(&bytes, b"key");
            let _ = edited(&bytes, Some(b"m"), &[(b"a", None)], 64);
        }
    }

    #[test]
    fn what_is_added_at_the_end_leaves_full_buckets_and_what_is_added_between_halves_them() {
        let old: BTreeMap<Vec<u8>, Vec<u8>> = (0..20u8).map(|n| (vec![7, n * 2], vec![n; 40])).collect();
        let (old, value) = (bucket(&old), Bytes::from(vec![1; 40]));
        let cut = |key: &[u8]| {
            let pieces = edited(&old, None, &[(key, Some(&value))], 1_000).expect("sound");
            pieces.iter().map(|piece| pairs(&piece.bytes).len()).collect::<Vec<_>>()
        };
        assert!(old.len() < 1_000);
        let longer: Vec<u8> = [&[7, 200][..], &[0; 90]].concat();
        assert_eq!(cut(&longer), [20, 1]);
        let between: Vec<u8> = [&[7, 19][..], &[0; 90]].concat();
        let halves = cut(&between);
        assert!(halves.len() == 2 && halves[0].abs_diff(halves[1]) <= 3, "{halves:?}");
    }
}
