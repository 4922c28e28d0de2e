//! Loaders: the threads that fill an empty view from a snapshot. Nearly all of that time is sled's, which spends it
//! on copying leaves: so there are two, and who reads, decodes and packs the snapshot is a third.
//!
//! What a loader gets is packed already ([`Packer`]): entries of sled, none of which depends on another. So it does not
//! matter who puts which of them when.

use super::keys::Tree;
use super::view::{Packed, Packer, View, ViewError};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

/// How many there are.
const LOADERS: usize = 2;
/// How many entries of sled go to a loader at once: some hundred KiB.
const RUN_ENTRIES: usize = 64;
/// How many runs wait for each.
const RUNS_WAITING: usize = 2;

/// Runs on their way into the view.
pub(super) struct Loaders<'s> {
    ways: Vec<SyncSender<Vec<Packed>>>,
    threads: Vec<ScopedJoinHandle<'s, Result<(), ViewError>>>,
    /// Whose turn it is.
    turn: usize,
    packer: Packer,
    run: Vec<Packed>,
}

impl<'s> Loaders<'s> {
    /// Starts them.
    pub fn start<'e>(scope: &'s Scope<'s, 'e>, view: &'s View) -> Self {
        let (ways, receivers): (Vec<_>, Vec<_>) = (0..LOADERS).map(|_| sync_channel(RUNS_WAITING)).unzip();
        let threads = receivers.into_iter().map(|runs| scope.spawn(move || load(view, &runs))).collect();
        Self { ways, threads, turn: 0, packer: Packer::default(), run: Vec::new() }
    }

    /// Takes the next pair; they come in the order of trees and keys.
    ///
    /// # Errors
    /// If they do not.
    pub fn take(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        self.packer.push(tree, key, value, &mut self.run)?;
        if self.run.len() >= RUN_ENTRIES {
            self.send();
        }
        Ok(())
    }

    fn send(&mut self) {
        let run = std::mem::replace(&mut self.run, Vec::with_capacity(RUN_ENTRIES));
        self.turn = (self.turn + 1) % self.ways.len();
        // A loader that failed takes nothing more; `finish` tells why.
        drop(self.ways[self.turn].send(run));
    }

    /// Waits until everything is in the view.
    ///
    /// # Errors
    /// What the view said.
    pub fn finish(mut self) -> Result<(), ViewError> {
        self.packer.finish(&mut self.run);
        self.send();
        self.ways.clear();
        self.threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| ViewError::Failed("a loader of the view panicked".into()))?
        })
    }
}

fn load(view: &View, runs: &Receiver<Vec<Packed>>) -> Result<(), ViewError> {
    while let Ok(run) = runs.recv() {
        view.load(&run)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::super::view::Direction;
    use super::*;
    use crate::domain::SagaId;
    use std::ops::Bound;

    #[test]
    fn what_is_loaded_is_all_there() {
        // Enough for several runs of each loader.
        let sagas = (0..900u128).flat_map(|saga| {
            let id = SagaId::from_u128(saga);
            (0..saga as u64 % 37).map(move |revision| (Tree::History, keys::history(id, revision, 0)))
        });
        let others = (0..9_000u128).map(|saga| (Tree::Timer, keys::saga(SagaId::from_u128(saga))));
        let expected: Vec<(Tree, Vec<u8>)> = sagas.chain(others).collect();
        let dir = tempfile::tempdir().expect("a directory for the test");
        let view = View::open(dir.path(), 1 << 20).expect("a fresh view opens");
        std::thread::scope(|scope| {
            let mut loaders = Loaders::start(scope, &view);
            for (tree, key) in &expected {
                loaders.take(*tree, key, key).expect("in order");
            }
            loaders.finish().expect("loaded");
        });
        let all = |tree| {
            let pairs = view.scan(tree, (Bound::Unbounded, Bound::Unbounded), Direction::Forward, 100_000);
            pairs.expect("read").into_iter().map(move |(key, _)| (tree, key))
        };
        let found: Vec<(Tree, Vec<u8>)> = all(Tree::History).chain(all(Tree::Timer)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn entries_that_no_snapshot_of_ours_has_are_refused() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let view = View::open(dir.path(), 1 << 20).expect("a fresh view opens");
        for (tree, key) in [(Tree::Saga, b"a"), (Tree::Meta, b"c")] {
            let outcome = std::thread::scope(|scope| {
                let mut loaders = Loaders::start(scope, &view);
                loaders.take(Tree::Saga, b"b", b"").expect("in order");
                let taken = loaders.take(tree, key, b"");
                loaders.finish().expect("the rest is sound");
                taken
            });
            assert!(matches!(outcome, Err(ViewError::Failed(_))), "{outcome:?}");
        }
    }
}
