//! Turns at a remote that all portals share: a few at a time, portal by portal.
//!
//! A plain semaphore serves in the order of asking: behind five hundred documents of one portal, the only one of
//! another would wait for all of them. Here each portal has a line of its own, and the lines are served in a circle.

use crate::domain::PortalId;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The turns of one remote.
#[derive(Debug, Clone)]
pub struct FairTurns {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    free: usize,
    lines: BTreeMap<PortalId, VecDeque<oneshot::Sender<Turn>>>,
    /// Whose line was served last.
    last: Option<PortalId>,
}

/// One turn; given on when dropped.
#[derive(Debug)]
pub struct Turn {
    /// None: it was given back without having been used.
    turns: Option<FairTurns>,
}

impl FairTurns {
    /// So many turns at one time, at least one.
    pub fn new(turns: usize) -> Self {
        let inner = Inner { free: turns.max(1), lines: BTreeMap::new(), last: None };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    pub async fn take(&self, portal: &PortalId) -> Turn {
        let waiting = {
            let mut inner = self.inner();
            if inner.free > 0 && inner.lines.is_empty() {
                inner.free -= 1;
                inner.last = Some(portal.clone());
                return Turn { turns: Some(self.clone()) };
            }
            let (turn, waiting) = oneshot::channel();
            inner.lines.entry(portal.clone()).or_default().push_back(turn);
            waiting
        };
        self.serve();
        // A sender is dropped only with the turns themselves, and we hold them.
        waiting.await.unwrap_or(Turn { turns: None })
    }

    /// Gives free turns to those who wait.
    fn serve(&self) {
        loop {
            let Some(asker) = self.inner().next() else { return };
            if let Err(mut unused) = asker.send(Turn { turns: Some(self.clone()) }) {
                // The asker is gone: the turn goes to the next one, without coming back here by its drop.
                unused.turns = None;
                self.inner().free += 1;
            }
        }
    }
}

impl Inner {
    /// The first of the next line, whose turn is counted as taken.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        if self.free == 0 {
            return None;
        }
        let after = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.lines.range((after, Bound::Unbounded)).next().or_else(|| self.lines.iter().next());
        let portal = next.map(|(portal, _)| portal.clone())?;
        let line = self.lines.get_mut(&portal)?;
        let asker = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&portal);
        }
        self.last = Some(portal);
        self.free -= usize::from(asker.is_some());
        asker
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.inner().free += 1;
            turns.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    fn portal(name: &str) -> PortalId {
        PortalId(name.to_owned())
    }

    #[tokio::test]
    async fn a_portal_with_much_work_does_not_hold_up_one_with_little() {
        let turns = FairTurns::new(1);
        let held = turns.take(&portal("busy")).await;
        let mut waiting: Vec<(String, BoxFuture<'_, Turn>)> = Vec::new();
        for name in ["busy", "busy", "busy", "small"] {
            let turns = turns.clone();
            let asker = portal(name);
            let mut turn = async move { turns.take(&asker).await }.boxed();
            assert!((&mut turn).now_or_never().is_none());
            waiting.push((name.to_owned(), turn));
        }
        drop(held);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let ready = waiting
                .iter_mut()
                .enumerate()
                .find_map(|(n, (_, turn))| turn.now_or_never().map(|turn| (n, turn)));
            let (n, turn) = ready.expect("somebody always has the turn");
            order.push(waiting.remove(n).0);
            drop(turn);
        }
        assert_eq!(order, ["small", "busy", "busy", "busy"]);
    }

    #[tokio::test]
    async fn turns_of_those_who_left_are_not_lost() {
        let turns = FairTurns::new(2);
        let (one, two) = (turns.take(&portal("a")).await, turns.take(&portal("a")).await);
        {
            let asker = portal("b");
            let left = turns.take(&asker);
            assert!(left.now_or_never().is_none());
        }
        drop((one, two));
        let again = (turns.take(&portal("a")).await, turns.take(&portal("c")).await);
        assert!(turns.take(&portal("d")).now_or_never().is_none(), "never more than two");
        drop(again);
    }
}
