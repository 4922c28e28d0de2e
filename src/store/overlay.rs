//! The overlay: what is durable in the journal and not yet in the view, by key.
//!
//! Two layers. The writer adds to the upper one; the applier takes it as a whole, carries it into the view and
//! then drops it. A read asks the upper layer, the lower one, then the view. Because the applier is not in a
//! hurry, most of what a saga writes is overwritten or removed here and never costs the view anything.
//!
//! # Invariants
//! * **SO-1** Only what is durable is in here.
//! * **SO-2** The overlay over the view is the whole state, at every moment of the applier's work.
//! * **SO-3** A tombstone is left out only where the view certainly has no such key.

use super::keys::{TREES, Tree};
use crate::saga::document::Step;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

/// What one entry costs beside its bytes: two allocations, the tree's node, the slot.
const ENTRY_BYTES: usize = 128;

/// The counters that the writer keeps; rebuilt at opening from the indexes, never counted while running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    /// Sagas by the code of their step.
    pub sagas: [u64; Step::ALL.len()],
    pub notices: u64,
    pub parked: u64,
    pub in_flight: u64,
}

/// Whether the view may have a value below this entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Below {
    /// It has none: the key was never used before.
    Nothing,
    /// It may.
    Maybe,
}

/// What a layer says of a key.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// The value; `None` = the key is not there.
    pub value: Option<Bytes>,
    pub below: Below,
}

/// One layer.
#[derive(Default)]
pub(super) struct Layer {
    trees: [BTreeMap<Vec<u8>, Slot>; TREES],
    entries: usize,
    bytes: usize,
    /// The sequence of the last entry that is in it; zero = none.
    pub last: u64,
    /// The counters at that entry.
    pub counters: Counters,
    born: Option<Instant>,
}

impl Layer {
    /// What it says of the key; `None` = nothing.
    pub fn get(&self, tree: Tree, key: &[u8]) -> Option<&Slot> {
        self.trees[tree.index()].get(key)
    }

    /// Notes that the key has this value (`None`: is not there).
    pub fn set(&mut self, tree: Tree, key: Vec<u8>, value: Option<Bytes>, below: Below) {
        self.born.get_or_insert_with(Instant::now);
        let map = &mut self.trees[tree.index()];
        let size =
            |key: &[u8], slot: &Slot| ENTRY_BYTES + key.len() + slot.value.as_ref().map_or(0, Bytes::len);
        let known = map.get(&key).map(|slot| (slot.below, size(&key, slot)));
        let below = known.map_or(below, |(below, _)| below);
        if let Some((_, old)) = known {
            self.entries -= 1;
            self.bytes -= old;
        }
        if value.is_none() && below == Below::Nothing {
            map.remove(&key);
            return;
        }
        let slot = Slot { value, below };
        self.entries += 1;
        self.bytes += size(&key, &slot);
        map.insert(key, slot);
    }

    /// The entries of one tree, in order.
    pub fn tree(&self, tree: Tree) -> &BTreeMap<Vec<u8>, Slot> {
        &self.trees[tree.index()]
    }

    /// The entries of a range.
    pub fn range(
        &self,
        tree: Tree,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = (&Vec<u8>, &Slot)> {
        self.trees[tree.index()].range::<[u8], _>((from, to))
    }

    /// Everything in it, tree by tree.
    pub fn into_entries(self) -> impl Iterator<Item = (Tree, Vec<u8>, Slot)> {
        let trees = Tree::ALL.into_iter().zip(self.trees);
        trees.flat_map(|(tree, entries)| entries.into_iter().map(move |(key, slot)| (tree, key, slot)))
    }

    /// How many entries it has.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When its first entry came.
    pub fn born(&self) -> Option<Instant> {
        self.born
    }
}

/// Both layers.
#[derive(Default)]
pub(super) struct Overlay {
    upper: Layer,
    lower: Option<Arc<Layer>>,
}

impl Overlay {
    /// Puts one durable change on top.
    pub fn set(&mut self, tree: Tree, key: Vec<u8>, value: Option<Bytes>, below: Below) {
        let in_lower = self.lower.as_ref().is_some_and(|lower| lower.get(tree, &key).is_some());
        let below = if in_lower { Below::Maybe } else { below };
        self.upper.set(tree, key, value, below);
    }

    /// Notes up to which sequence it is complete, and the counters there.
    pub fn reached(&mut self, sequence: u64, counters: Counters) {
        self.upper.last = sequence;
        self.upper.counters = counters;
    }

    /// The counters as they are now.
    pub fn counters(&self) -> Counters {
        self.upper.counters
    }

    /// What it says of the key; `None` = ask the view.
    pub fn get(&self, tree: Tree, key: &[u8]) -> Option<&Slot> {
        self.upper.get(tree, key).or_else(|| self.lower.as_ref()?.get(tree, key))
    }

    /// The layers, the one that counts most first.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.upper).chain(self.lower.as_deref())
    }

    /// The upper layer alone.
    pub fn upper(&self) -> &Layer {
        &self.upper
    }

    /// Makes the upper layer the lower one, for the applier. If there is a lower one already, that one.
    pub fn take(&mut self) -> Arc<Layer> {
        let upper = &mut self.upper;
        Arc::clone(self.lower.get_or_insert_with(|| {
            let (last, counters) = (upper.last, upper.counters);
            let taken = std::mem::replace(upper, Layer { last, counters, ..Layer::default() });
            Arc::new(taken)
        }))
    }

    /// The lower layer is in the view now. Returns it, so that it is freed outside the lock.
    pub fn drop_lower(&mut self) -> Option<Arc<Layer>> {
        self.lower.take()
    }

    /// Whether the applier is at work.
    pub fn has_lower(&self) -> bool {
        self.lower.is_some()
    }

    /// Entries and bytes of both layers.
    pub fn size(&self) -> (usize, usize) {
        self.layers().fold((0, 0), |(entries, bytes), l| (entries + l.entries(), bytes + l.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &'static str) -> Option<Bytes> {
        Some(Bytes::from_static(text.as_bytes()))
    }

    fn read<'a>(overlay: &'a Overlay, key: &[u8]) -> Option<Option<&'a [u8]>> {
        overlay.get(Tree::Saga, key).map(|slot| slot.value.as_deref())
    }

    #[test]
    fn what_was_never_in_the_view_leaves_no_trace_when_removed() {
        let mut overlay = Overlay::default();
        overlay.set(Tree::Saga, b"new".to_vec(), value("1"), Below::Nothing);
        overlay.set(Tree::Saga, b"new".to_vec(), None, Below::Maybe);
        overlay.set(Tree::Saga, b"old".to_vec(), None, Below::Maybe);
        assert_eq!(read(&overlay, b"new"), None);
        assert_eq!(read(&overlay, b"old"), Some(None));
        assert_eq!(overlay.size().0, 1);
    }

    #[test]
    fn a_key_on_its_way_into_the_view_keeps_its_tombstone() {
        let mut overlay = Overlay::default();
        overlay.set(Tree::Saga, b"k".to_vec(), value("1"), Below::Nothing);
        overlay.take();
        overlay.set(Tree::Saga, b"k".to_vec(), None, Below::Nothing);
        assert_eq!(read(&overlay, b"k"), Some(None));
        overlay.drop_lower();
        assert_eq!(read(&overlay, b"k"), Some(None));
    }

    #[test]
    fn the_upper_layer_hides_the_lower_one() {
        let mut overlay = Overlay::default();
        overlay.set(Tree::Saga, b"k".to_vec(), value("1"), Below::Maybe);
        overlay.reached(5, Counters::default());
        assert_eq!(overlay.take().last, 5);
        overlay.set(Tree::Saga, b"k".to_vec(), value("2"), Below::Maybe);
        assert_eq!(read(&overlay, b"k"), Some(Some(b"2".as_slice())));
        assert_eq!(overlay.take().last, 5, "the lower layer stays until it is dropped");
    }

    #[test]
    fn sizes_follow_every_change() {
        let mut overlay = Overlay::default();
        for text in ["a", "aaaa", ""] {
            overlay.set(Tree::Saga, b"k".to_vec(), value(text), Below::Nothing);
            assert_eq!(overlay.size(), (1, ENTRY_BYTES + 1 + text.len()));
        }
        overlay.set(Tree::Saga, b"k".to_vec(), None, Below::Nothing);
        assert_eq!(overlay.size(), (0, 0));
    }
}
