//! Loaders: the threads that fill an empty view from a snapshot. Nearly all of that time is sled's, which spends it
//! on copying leaves: so there are two, and who reads and decodes the snapshot is a third.
//!
//! A loader takes runs: entries of one tree in the order of their keys. The view packs the history of a saga, reading
//! what is there: so all history of one saga goes in one run, or a pack would be made by two at once.

use super::keys::Tree;
use super::view::{View, ViewError, Writing};
use bytes::Bytes;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

/// How many there are.
const LOADERS: usize = 2;
/// How many runs wait for each: some hundred KiB.
const RUNS_WAITING: usize = 2;
/// Bytes of a key of HISTORY that tell the saga.
const SAGA_BYTES: usize = 16;

/// An entry of a snapshot.
pub(super) type Entry = (Tree, Vec<u8>, Bytes);

/// Runs on their way into the view.
pub(super) struct Loaders<'s> {
    ways: Vec<SyncSender<Vec<Entry>>>,
    threads: Vec<ScopedJoinHandle<'s, Result<(), ViewError>>>,
    /// Whose turn it is.
    turn: usize,
    /// The history of a saga that may go on in the next run.
    open: Vec<Entry>,
}

impl<'s> Loaders<'s> {
    /// Starts them.
    pub fn start<'e>(scope: &'s Scope<'s, 'e>, view: &'s View) -> Self {
        let (ways, receivers): (Vec<_>, Vec<_>) = (0..LOADERS).map(|_| sync_channel(RUNS_WAITING)).unzip();
        let threads = receivers.into_iter().map(|runs| scope.spawn(move || load(view, &runs))).collect();
        Self { ways, threads, turn: 0, open: Vec::new() }
    }

    /// Takes the next entries of a snapshot.
    pub fn take(&mut self, entries: Vec<Entry>) {
        let mut run = std::mem::take(&mut self.open);
        for entry in entries {
            if run.first().is_some_and(|first| first.0 != entry.0) {
                self.send(std::mem::take(&mut run));
            }
            run.push(entry);
        }
        if let Some((Tree::History, last, _)) = run.last() {
            let saga = last[..SAGA_BYTES.min(last.len())].to_vec();
            let begins = run.iter().rposition(|(_, key, _)| !key.starts_with(&saga)).map_or(0, |at| at + 1);
            self.open = run.split_off(begins);
        }
        self.send(run);
    }

    fn send(&mut self, run: Vec<Entry>) {
        if run.is_empty() {
            return;
        }
        self.turn = (self.turn + 1) % self.ways.len();
        // A loader that failed takes nothing more; `finish` tells why.
        drop(self.ways[self.turn].send(run));
    }

    /// Waits until everything is in the view.
    ///
    /// # Errors
    /// What the view said.
    pub fn finish(mut self) -> Result<(), ViewError> {
        let open = std::mem::take(&mut self.open);
        self.send(open);
        self.ways.clear();
        self.threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| ViewError::Failed("a loader of the view panicked".into()))?
        })
    }
}

fn load(view: &View, runs: &Receiver<Vec<Entry>>) -> Result<(), ViewError> {
    while let Ok(run) = runs.recv() {
        let pairs = run.iter().map(|(_, key, value)| (key.as_slice(), Some(value)));
        view.write(run[0].0, pairs, Writing::InBulk)?;
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
    fn what_is_loaded_in_pieces_of_any_size_is_all_there() {
        let sagas = (0..40u128).flat_map(|saga| {
            let id = SagaId::from_u128(saga);
            (0..saga as u64 % 37).map(move |revision| (Tree::History, keys::history(id, revision, 0)))
        });
        let others = (0..300u128).map(|saga| (Tree::Timer, keys::saga(SagaId::from_u128(saga))));
        let expected: Vec<(Tree, Vec<u8>)> = sagas.chain(others).collect();
        for piece in [1, 7, 10_000] {
            let dir = tempfile::tempdir().expect("a directory for the test");
            let view = View::open(dir.path(), 1 << 20).expect("a fresh view opens");
            std::thread::scope(|scope| {
                let mut loaders = Loaders::start(scope, &view);
                for entries in expected.chunks(piece) {
                    let entry =
                        |(tree, key): &(Tree, Vec<u8>)| (*tree, key.clone(), Bytes::copy_from_slice(key));
                    loaders.take(entries.iter().map(entry).collect());
                }
                loaders.finish().expect("loaded");
            });
            let all = |tree| {
                let pairs = view.scan(tree, (Bound::Unbounded, Bound::Unbounded), Direction::Forward, 10_000);
                pairs.expect("read").into_iter().map(move |(key, _)| (tree, key))
            };
            let found: Vec<(Tree, Vec<u8>)> = all(Tree::History).chain(all(Tree::Timer)).collect();
            assert_eq!(found, expected, "pieces of {piece}");
        }
    }

    #[test]
    fn a_view_that_refuses_is_told() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let view = View::open(dir.path(), 1 << 20).expect("a fresh view opens");
        let short = || vec![(Tree::History, vec![1; 20], Bytes::new()), (Tree::Timer, vec![1], Bytes::new())];
        let outcome = std::thread::scope(|scope| {
            let mut loaders = Loaders::start(scope, &view);
            (0..20).for_each(|_| loaders.take(short()));
            loaders.finish()
        });
        assert!(matches!(outcome, Err(ViewError::Failed(_))), "{outcome:?}");
    }
}
