//! The packed trees against an ordinary map: what is written, removed, read forward and backward, cut in the middle of a
//! write, loaded and opened again must look as if nothing were packed.

use super::super::disk::Disk;
use super::super::overlay::{Below, Layer};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const CACHE_BYTES: u64 = 1 << 20;

type Model = BTreeMap<Vec<u8>, Bytes>;

fn opened() -> (tempfile::TempDir, View) {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let view = View::open(dir.path(), CACHE_BYTES).expect("a fresh view opens");
    (dir, view)
}

/// Keys of several lengths that share beginnings, so that some are the beginning of others.
fn key(number: u16) -> Vec<u8> {
    let head = [b"portal/".as_slice(), &(number / 7).to_be_bytes()].concat();
    [head, vec![b'k'; usize::from(number % 7)]].concat()
}

fn layer_of(tree: Tree, changes: &[(u16, Option<u8>)]) -> Layer {
    let mut layer = Layer::default();
    for (number, value) in changes {
        let value = value.map(|len| Bytes::from(vec![*number as u8; usize::from(len)]));
        layer.set(tree, key(*number), value, Below::Maybe);
    }
    layer.last = 1;
    layer
}

fn take_in(model: &mut Model, layer: &Layer, tree: Tree) {
    for (key, slot) in layer.tree(tree) {
        match &slot.value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

fn everything(view: &View, tree: Tree, direction: Direction) -> Vec<Pair> {
    view.scan(tree, (Bound::Unbounded, Bound::Unbounded), direction, usize::MAX).expect("read")
}

/// Whether the view shows exactly what the map holds, in every way in which it can be asked.
fn agrees(view: &View, tree: Tree, model: &Model) -> bool {
    let expected: Vec<Pair> = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut backward = everything(view, tree, Direction::Backward);
    backward.reverse();
    let mut each = Vec::new();
    view.each_small(tree, &mut |key, value| each.push((key.to_vec(), Bytes::copy_from_slice(value))))
        .expect("read");
    everything(view, tree, Direction::Forward) == expected
        && backward == expected
        && each == expected
        && model.iter().all(|(key, value)| view.get(tree, key).expect("read").as_ref() == Some(value))
}

fn changes() -> impl Strategy<Value = Vec<Vec<(u16, Option<u8>)>>> {
    let change = (0u16..3_000, prop_oneof![3 => (0u8..90).prop_map(Some), 1 => Just(None)]);
    // many at once, few at once, and neighbours, so that buckets are cut, edited and emptied
    let scattered = proptest::collection::vec(change, 1..400);
    let cleared =
        (0u16..3_000, 1u16..900).prop_map(|(from, len)| (from..from + len).map(|n| (n, None)).collect());
    let filled = (0u16..3_000, 1u16..300, 0u8..60)
        .prop_map(|(from, len, value)| (from..from + len).map(|n| (n, Some(value))).collect());
    proptest::collection::vec(prop_oneof![scattered, cleared, filled], 1..14)
}

/// A bound near some key.
fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    let somewhere = (0u16..3_100).prop_map(key);
    prop_oneof![
        1 => Just(Bound::Unbounded),
        3 => somewhere.clone().prop_map(Bound::Included),
        3 => somewhere.prop_map(Bound::Excluded),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn packed_pairs_read_as_if_they_were_not_packed(
        batches in changes(),
        asked in proptest::collection::vec((bound(), bound(), 1usize..200, 0u16..3_100), 12),
    ) {
        let (dir, view) = opened();
        let (tree, mut model) = (Tree::Claim, Model::new());
        for batch in &batches {
            let layer = layer_of(tree, batch);
            view.apply(&layer).expect("applied");
            take_in(&mut model, &layer, tree);
            prop_assert!(agrees(&view, tree, &model));
        }
        view.flush(&Disk::real()).expect("flushed");
        drop(view);
        let view = View::open(dir.path(), CACHE_BYTES).expect("it opens again");
        prop_assert!(agrees(&view, tree, &model));
        for (from, to, limit, number) in asked {
            let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
            let within = |(key, _): &(&Vec<u8>, &Bytes)| contains(bounds, key);
            let all: Vec<Pair> = model.iter().filter(within).map(|(k, v)| (k.clone(), v.clone())).collect();
            let forward: Vec<Pair> = all.iter().take(limit).cloned().collect();
            let backward: Vec<Pair> = all.iter().rev().take(limit).cloned().collect();
            prop_assert_eq!(view.scan(tree, bounds, Direction::Forward, limit).expect("read"), forward);
            prop_assert_eq!(view.scan(tree, bounds, Direction::Backward, limit).expect("read"), backward);
            let got = view.get(tree, &key(number)).expect("read");
            prop_assert_eq!(got.as_ref(), model.get(&key(number)));
        }
    }

    /// A kill loses the end of sled's log: so after any of the writes that a layer costs, what the layer does not touch is
    /// there exactly once, and replaying the layer gives what it would have given.
    #[test]
    fn a_write_that_is_cut_anywhere_hides_and_doubles_nothing(
        batches in changes(),
        cuts in proptest::collection::vec(0u32..24, 14),
    ) {
        let (_dir, view) = opened();
        let (tree, mut model) = (Tree::Claim, Model::new());
        for (batch, writes) in batches.iter().zip(cuts) {
            let layer = layer_of(tree, batch);
            stop::after(Some(writes));
            let _ = view.apply(&layer);
            stop::after(None);
            let mut now = Model::new();
            for (key, value) in everything(&view, tree, Direction::Forward) {
                prop_assert!(now.insert(key, value).is_none(), "seen twice");
            }
            let mut backward = everything(&view, tree, Direction::Backward);
            backward.reverse();
            prop_assert_eq!(backward, now.clone().into_iter().collect::<Vec<_>>());
            let touched = layer.tree(tree);
            let untouched = |model: &Model| -> Model {
                model.iter().filter(|(k, _)| !touched.contains_key(*k)).map(|(k, v)| (k.clone(), v.clone())).collect()
            };
            prop_assert_eq!(untouched(&now), untouched(&model));
            // the rest of what was above it in the journal, and it again
            view.apply(&layer).expect("applied again");
            take_in(&mut model, &layer, tree);
            prop_assert!(agrees(&view, tree, &model));
        }
    }

    #[test]
    fn what_is_loaded_is_what_would_have_been_written(
        batches in changes(),
        later in changes(),
    ) {
        let (_dir, view) = opened();
        let (tree, mut model) = (Tree::SpoolRef, Model::new());
        batches.iter().for_each(|batch| take_in(&mut model, &layer_of(tree, batch), tree));
        let (mut packer, mut packed) = (Packer::default(), Vec::new());
        for (key, value) in &model {
            packer.push(tree, key, value, &mut packed).expect("in order");
        }
        packer.finish(&mut packed);
        // the order in which threads put them does not matter
        packed.reverse();
        view.load(&packed).expect("loaded");
        prop_assert!(agrees(&view, tree, &model));
        for batch in &later {
            let layer = layer_of(tree, batch);
            view.apply(&layer).expect("applied");
            take_in(&mut model, &layer, tree);
        }
        prop_assert!(agrees(&view, tree, &model));
    }
}

/// A view with two buckets of which the first still holds what the second took over, as a kill between two writes leaves
/// it, and what it should look like.
fn cut_in_two() -> (tempfile::TempDir, View, Model) {
    let (dir, view) = opened();
    let layer = layer_of(Tree::Claim, &(0..60).map(|n| (n, Some(4))).collect::<Vec<_>>());
    view.apply(&layer).expect("applied");
    let mut model = Model::new();
    take_in(&mut model, &layer, Tree::Claim);
    let sled = &view.trees[Tree::Claim.index()];
    let (first, bucket) = sled.first().expect("read").expect("a bucket");
    let halves = bucket::edited(&bucket, None, &[], bucket.len() - 1).expect("sound");
    assert_eq!((first.len(), halves.len(), sled.len()), (0, 2, 1));
    sled.insert(&halves[1].first, halves[1].bytes.as_slice()).expect("written");
    (dir, view, model)
}

#[test]
fn what_a_kill_left_beyond_the_end_of_a_bucket_never_counts_again() {
    let (_dir, view, mut model) = cut_in_two();
    assert!(agrees(&view, Tree::Claim, &model));
    let second = view.trees[Tree::Claim.index()].last().expect("read").expect("a bucket").0;
    let gone: Vec<(u16, Option<u8>)> =
        (0..60).filter(|n| key(*n)[..] >= *second).map(|n| (n, None)).collect();
    let layer = layer_of(Tree::Claim, &gone);
    view.apply(&layer).expect("applied");
    take_in(&mut model, &layer, Tree::Claim);
    assert_eq!(view.trees[Tree::Claim.index()].len(), 1, "the second bucket is gone");
    assert!(agrees(&view, Tree::Claim, &model));
}

#[test]
fn the_judge_of_these_tests_sees_what_comes_back_and_what_is_lost() {
    let (_dir, view, mut model) = cut_in_two();
    let sled = &view.trees[Tree::Claim.index()];
    let second = sled.last().expect("read").expect("a bucket").0;
    // removed without looking at the bucket before it: its pairs come back
    sled.remove(&second).expect("removed");
    model.retain(|key, _| key[..] < *second);
    assert!(!agrees(&view, Tree::Claim, &model));

    let (_dir, view, model) = cut_in_two();
    // the first part first: until the second is written, its pairs are lost
    let sled = &view.trees[Tree::Claim.index()];
    let (second, _) = sled.pop_max().expect("read").expect("a bucket");
    let bucket = sled.first().expect("read").expect("a bucket").1;
    let head = bucket::edited(&bucket, Some(&second), &[], usize::MAX).expect("sound");
    sled.insert(b"", head[0].bytes.as_slice()).expect("written");
    assert!(!agrees(&view, Tree::Claim, &model));
}

#[test]
fn small_pairs_share_entries_and_a_tree_that_is_emptied_has_none() {
    let (_dir, view) = opened();
    let all: Vec<(u16, Option<u8>)> = (0..3_000).map(|n| (n, Some(8))).collect();
    view.apply(&layer_of(Tree::Timer, &all)).expect("applied");
    assert!(view.trees[Tree::Timer.index()].len() < 150);
    // one by one, from the middle on
    for n in (1_500..3_000).chain(0..1_500) {
        view.apply(&layer_of(Tree::Timer, &[(n, None)])).expect("applied");
    }
    assert_eq!(view.trees[Tree::Timer.index()].len(), 0);
}

#[test]
fn a_damaged_bucket_is_an_error_and_no_panic() {
    let (_dir, view) = opened();
    view.trees[Tree::Timer.index()].insert(b"", &[0xff_u8; 40][..]).expect("planted");
    assert!(matches!(view.get(Tree::Timer, b"x"), Err(ViewError::Failed(_))));
    let all = (Bound::Unbounded, Bound::Unbounded);
    assert!(view.scan(Tree::Timer, all, Direction::Forward, 9).is_err());
    assert!(view.scan(Tree::Timer, all, Direction::Backward, 9).is_err());
    assert!(view.apply(&layer_of(Tree::Timer, &[(1, Some(1))])).is_err());
}

#[test]
fn a_view_of_another_version_is_foreign_to_us_and_ours_to_older_programs() {
    let (_dir, view) = opened();
    let id = [7; 16];
    assert_eq!(view.owner().expect("read"), Owner::Nobody);
    view.set_store(&id).expect("written");
    assert_eq!(view.owner().expect("read"), Owner::Store(id));
    // version 1 wrote the id alone, and believed a view only if it found just that
    let written = view.db().get(STORE).expect("read").expect("there");
    assert_ne!(written.as_ref(), id);
    for other in [&id[..], &[&id[..], &[VERSION + 1]].concat(), b"", &[VERSION]] {
        view.db().insert(STORE, other).expect("written");
        assert_eq!(view.owner().expect("read"), Owner::OtherVersion, "{other:?}");
    }
}

#[test]
fn entries_that_are_not_in_order_are_refused() {
    let (mut packer, mut out) = (Packer::default(), Vec::new());
    let mut push = |tree, key: &[u8]| packer.push(tree, key, b"", &mut out);
    push(Tree::Timer, b"b").expect("the first");
    assert!(push(Tree::Timer, b"b").is_err());
    assert!(push(Tree::Timer, b"a").is_err());
    assert!(push(Tree::Saga, b"c").is_err());
    push(Tree::Step, b"a").expect("the next tree");
}
