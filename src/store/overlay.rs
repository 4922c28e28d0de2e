//! The overlay: what is durable in the journal and not yet in the view, by key.
//!
//! Two layers. The writer adds to the upper one; the applier takes it as a whole, carries it into the view and
//! then drops it. A read asks the upper layer, the lower one, then the view. Because the applier is not in a
//! hurry, most of what a saga writes is overwritten or removed here and never costs the view anything.
//!
//! Notices live shortest of all: most are settled within milliseconds. The youngest of them therefore stay in the
//! upper layer when the rest is carried ([`Carry::Rest`]), and so are usually gone before they cost the view a
//! write, a removal, and the reads that go with both. What was carried is then complete only up to the entry before
//! the oldest notice that stayed ([`Left`]), and a checkpoint stands there.
//!
//! # Invariants
//! * **SO-1** Only what is durable is in here.
//! * **SO-2** The overlay over the view is the whole state, at every moment of the applier's work.
//! * **SO-3** A tombstone is left out only where the view certainly has no such key.
//! * **SO-4** A notice that stays is not in the view, and whoever makes the view anew leaves it out ([`Left`]):
//!   its removal leaves no tombstone.

use super::keys::{TREES, Tree};
use crate::saga::document::Step;
use bytes::Bytes;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one entry costs beside its bytes: two allocations, the tree's node, the slot.
const ENTRY_BYTES: usize = 128;
/// How long a notice stays when the rest is carried. One that is not settled by then waits for something.
const STAY: Duration = Duration::from_secs(3);
/// How many bytes of notices stay: some thousand of ordinary size.
pub(super) const STAY_BYTES: usize = 4 << 20;
/// Groups that come so close together share a mark: bounds their number.
const MARK_EVERY: Duration = Duration::from_millis(10);

/// What the applier takes out of the upper layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carry {
    /// All but the notices that are likely to be settled soon.
    Rest,
    /// Everything.
    All,
}

/// The counters that the writer keeps; rebuilt at opening from the indexes, never counted while running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    /// Sagas by the code of their step.
    pub sagas: [u64; Step::ALL.len()],
    pub notices: u64,
    pub parked: u64,
    pub in_flight: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self { sagas: [0; Step::ALL.len()], notices: 0, parked: 0, in_flight: 0 }
    }
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

/// Notices that stayed when the rest was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    /// All from this key on stayed.
    pub from: Vec<u8>,
    /// The entry before the oldest of them: up to there, what was carried is complete.
    pub complete: u64,
}

impl Left {
    /// Whether this is one of them.
    pub fn holds(&self, tree: Tree, key: &[u8]) -> bool {
        tree == Tree::Notice && key >= self.from.as_slice()
    }
}

/// About how much memory an entry takes.
fn size(key: &[u8], slot: &Slot) -> usize {
    ENTRY_BYTES + key.len() + slot.value.as_ref().map_or(0, Bytes::len)
}

/// The same if it is a notice that the view has never had, else nothing.
fn fresh_size(tree: Tree, key: &[u8], slot: &Slot) -> usize {
    if tree == Tree::Notice && slot.below == Below::Nothing { size(key, slot) } else { 0 }
}

/// One layer.
#[derive(Default)]
pub(super) struct Layer {
    trees: [BTreeMap<Vec<u8>, Slot>; TREES],
    entries: usize,
    bytes: usize,
    /// Of `bytes` those of notices that the view has never had.
    fresh_bytes: usize,
    /// The sequence of the last entry that is in it; zero = none.
    pub last: u64,
    /// The notices that were left out of it when it was taken.
    pub left: Option<Left>,
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
        match self.trees[tree.index()].entry(key) {
            Entry::Vacant(_) if value.is_none() && below == Below::Nothing => {}
            Entry::Vacant(place) => {
                let slot = Slot { value, below };
                self.entries += 1;
                self.bytes += size(place.key(), &slot);
                self.fresh_bytes += fresh_size(tree, place.key(), &slot);
                place.insert(slot);
            }
            Entry::Occupied(mut place) => {
                self.bytes -= size(place.key(), place.get());
                self.fresh_bytes -= fresh_size(tree, place.key(), place.get());
                if value.is_none() && place.get().below == Below::Nothing {
                    self.entries -= 1;
                    place.remove();
                    return;
                }
                place.get_mut().value = value;
                self.bytes += size(place.key(), place.get());
                self.fresh_bytes += fresh_size(tree, place.key(), place.get());
            }
        }
    }

    /// Takes the notices from `key` on out.
    fn split_notices(&mut self, key: &[u8]) -> BTreeMap<Vec<u8>, Slot> {
        let split = self.trees[Tree::Notice.index()].split_off(key);
        self.entries -= split.len();
        for (key, slot) in &split {
            self.bytes -= size(key, slot);
            self.fresh_bytes -= fresh_size(Tree::Notice, key, slot);
        }
        split
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

    /// The entry up to which nothing is missing, when it and what was taken before are carried.
    pub fn complete(&self) -> u64 {
        self.left.as_ref().map_or(self.last, |left| left.complete)
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
    /// Where notices of one time begin, by number and time.
    marks: VecDeque<Mark>,
}

/// Notices that came at about the same time.
struct Mark {
    /// The key of the first.
    first: Vec<u8>,
    /// The last entry of the group before it.
    before: u64,
    at: Instant,
}

impl Overlay {
    /// Puts one durable change on top.
    pub fn set(&mut self, tree: Tree, key: Vec<u8>, value: Option<Bytes>, below: Below) {
        let in_lower = self.lower.as_ref().is_some_and(|lower| lower.get(tree, &key).is_some());
        let below = if in_lower { Below::Maybe } else { below };
        if tree == Tree::Notice && value.is_some() && below == Below::Nothing {
            self.mark(&key);
        }
        self.upper.set(tree, key, value, below);
    }

    /// Numbers of notices only grow, so a mark holds for all from its first up to the next mark's.
    fn mark(&mut self, key: &[u8]) {
        let now = Instant::now();
        if self.marks.back().is_none_or(|mark| now.duration_since(mark.at) >= MARK_EVERY) {
            self.marks.push_back(Mark { first: key.to_vec(), before: self.upper.last, at: now });
        }
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
    pub fn take(&mut self, carry: Carry) -> Arc<Layer> {
        if let Some(lower) = &self.lower {
            return Arc::clone(lower);
        }
        let Layer { last, counters, .. } = self.upper;
        let fresh = Layer { last, counters, ..Layer::default() };
        let mut taken = std::mem::replace(&mut self.upper, fresh);
        match carry {
            Carry::All => self.marks.clear(),
            Carry::Rest => self.keep_notices(&mut taken),
        }
        let taken = Arc::new(taken);
        self.lower = Some(Arc::clone(&taken));
        taken
    }

    /// Leaves the youngest notices of `taken` in the upper layer.
    fn keep_notices(&mut self, taken: &mut Layer) {
        let now = Instant::now();
        let mut room = STAY_BYTES;
        let fits = |(key, slot): &(&Vec<u8>, &Slot)| {
            let left = room.checked_sub(size(key, slot));
            room = left.unwrap_or(0);
            left.is_some() && slot.below == Below::Nothing
        };
        let notices = taken.tree(Tree::Notice);
        let staying = notices.iter().rev().take_while(fits).count();
        // The last that goes, if any must.
        let going = notices.keys().rev().nth(staying).cloned();
        // Only whole marks stay: of the others it is not known after which entry they came.
        let stays = |mark: &Mark| {
            now.duration_since(mark.at) < STAY && going.as_ref().is_none_or(|going| mark.first > *going)
        };
        self.marks.retain(stays);
        let Some(first) = self.marks.front() else { return };
        let kept = taken.split_notices(&first.first);
        // Marks of notices that are settled already hold nothing back.
        let still = kept.keys().next().cloned();
        while self.marks.len() > 1 && still.as_ref().is_none_or(|key| *key >= self.marks[1].first) {
            self.marks.pop_front();
        }
        match (still, self.marks.front()) {
            (Some(from), Some(mark)) => taken.left = Some(Left { from, complete: mark.before }),
            (_, _) => self.marks.clear(),
        }
        for (key, slot) in kept {
            self.upper.set(Tree::Notice, key, slot.value, slot.below);
        }
    }

    /// The lower layer is in the view now. Returns it, so that it is freed outside the lock.
    pub fn drop_lower(&mut self) -> Option<Arc<Layer>> {
        self.lower.take()
    }

    /// About how many bytes wait for the applier: all but the notices that it would leave.
    pub fn waiting_bytes(&self) -> usize {
        self.upper.bytes - self.upper.fresh_bytes.min(STAY_BYTES)
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
        overlay.take(Carry::Rest);
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
        assert_eq!(overlay.take(Carry::Rest).last, 5);
        overlay.set(Tree::Saga, b"k".to_vec(), value("2"), Below::Maybe);
        assert_eq!(read(&overlay, b"k"), Some(Some(b"2".as_slice())));
        assert_eq!(overlay.take(Carry::Rest).last, 5, "the lower layer stays until it is dropped");
    }

    fn notice_key(number: u64) -> Vec<u8> {
        super::super::keys::notice(crate::domain::NoticeId(number))
    }

    /// An overlay with one group per number: a notice, and a saga that came with it.
    fn with_notices(numbers: std::ops::Range<u64>) -> Overlay {
        let mut overlay = Overlay::default();
        for number in numbers {
            overlay.set(Tree::Notice, notice_key(number), value("body"), Below::Nothing);
            overlay.set(Tree::Saga, notice_key(number), value("saga"), Below::Nothing);
            overlay.reached(number, Counters::default());
            // each group its own mark
            overlay.marks.iter_mut().for_each(|mark| mark.at -= MARK_EVERY);
        }
        overlay
    }

    #[test]
    fn young_notices_stay_when_the_rest_is_taken_and_it_is_known_what_is_complete_without_them() {
        let mut overlay = with_notices(1..11);
        for settled in [1, 2, 3, 7] {
            overlay.set(Tree::Notice, notice_key(settled), None, Below::Maybe);
        }
        let taken = overlay.take(Carry::Rest);
        assert_eq!((taken.tree(Tree::Notice).len(), taken.tree(Tree::Saga).len()), (0, 10));
        assert_eq!(taken.left, Some(Left { from: notice_key(4), complete: 3 }));
        assert_eq!((taken.last, taken.complete()), (10, 3));
        assert_eq!(overlay.upper().entries(), 6);
        overlay.drop_lower();
        for settled in [4, 5, 6, 8, 9, 10] {
            overlay.set(Tree::Notice, notice_key(settled), None, Below::Maybe);
        }
        assert_eq!(overlay.size(), (0, 0), "a notice that never left leaves no tombstone");
        let taken = overlay.take(Carry::Rest);
        assert_eq!((taken.left.clone(), taken.complete()), (None, 10));
    }

    #[test]
    fn a_notice_that_grows_old_or_has_too_many_behind_it_goes_with_the_rest() {
        let mut overlay = with_notices(1..4);
        overlay.marks[0].at -= STAY;
        let taken = overlay.take(Carry::Rest);
        assert_eq!(taken.left, Some(Left { from: notice_key(2), complete: 1 }));
        assert!(taken.get(Tree::Notice, &notice_key(1)).is_some());
        overlay.drop_lower();
        overlay.set(Tree::Notice, notice_key(1), None, Below::Maybe);
        assert!(
            overlay.get(Tree::Notice, &notice_key(1)).is_some(),
            "it was carried, so it needs a tombstone"
        );

        let mut overlay = with_notices(1..3);
        overlay.set(Tree::Notice, notice_key(3), Some(vec![0; STAY_BYTES].into()), Below::Nothing);
        let taken = overlay.take(Carry::Rest);
        assert_eq!((taken.left.clone(), taken.tree(Tree::Notice).len()), (None, 3));
    }

    #[test]
    fn all_is_taken_when_all_is_asked_for() {
        let mut overlay = with_notices(1..4);
        let taken = overlay.take(Carry::All);
        assert_eq!((taken.tree(Tree::Notice).len(), taken.complete()), (3, 3));
        overlay.drop_lower();
        assert_eq!((overlay.size(), overlay.waiting_bytes()), ((0, 0), 0));
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
