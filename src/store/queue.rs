//! The way to the writer: a bounded queue that is emptied at once, so that everything that waits shares one sync.
//!
//! What nobody waits for ([`Command::may_wait`]) makes no sync of its own while there is company to be had: it waits for
//! the next command, though never longer than [`ALONE_MAX`]. Otherwise those who do wait would wait for its sync first.

use super::command::Command;
use super::error::StoreError;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long a command that may wait does so: ten times what a sync takes, and far below anything that a person or a
/// remote system would notice.
const ALONE_MAX: Duration = Duration::from_millis(10);

/// A command and when it was given.
pub(super) struct Queued {
    pub command: Command,
    pub since: Instant,
}

/// What the writer gets.
pub(super) enum Taken {
    /// Everything that waited.
    Commands(VecDeque<Queued>),
    /// Nothing came in time.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

/// How the queue ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// What waits is still done.
    Finish,
    /// What waits is dropped, as if the process had died.
    Abandon,
}

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    came: Condvar,
    places: Semaphore,
}

#[derive(Default)]
struct Waiting {
    commands: VecDeque<Queued>,
    /// Whether somebody waits for one of them.
    is_urgent: bool,
    closing: Option<Closing>,
    /// Whether the writer sleeps: one at work looks by itself, and needs no waking.
    asleep: bool,
}

impl Queue {
    pub fn new(places: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            came: Condvar::new(),
            places: Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a command to the writer; waits while the queue is full.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn push(&self, command: Command) -> Result<(), StoreError> {
        let place = self.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let mut waiting = self.waiting();
        if waiting.closing.is_some() {
            return Err(StoreError::Closed);
        }
        // Given back by the writer when it takes the command.
        place.forget();
        waiting.is_urgent |= !command.may_wait();
        waiting.commands.push_back(Queued { command, since: Instant::now() });
        let wake = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if wake {
            self.came.notify_one();
        }
        Ok(())
    }

    /// Takes everything that waits; waits for something, if given no longer than `at_most`.
    pub fn take(&self, at_most: Option<Duration>) -> Taken {
        let deadline = at_most.map(|d| Instant::now() + d);
        let mut waiting = self.waiting();
        loop {
            let oldest = waiting.commands.front().map(|queued| queued.since + ALONE_MAX);
            match (waiting.closing, oldest) {
                (Some(Closing::Abandon), _) | (Some(Closing::Finish), None) => return Taken::Closed,
                (Some(Closing::Finish), Some(_)) => return self.taken(waiting),
                (None, Some(until)) if waiting.is_urgent || until <= Instant::now() => {
                    return self.taken(waiting);
                }
                (None, _) => {}
            }
            waiting.asleep = true;
            waiting = match oldest.or(deadline) {
                None => self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if oldest.is_none() && left.is_zero() {
                        return Taken::Nothing;
                    }
                    self.came.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn taken(&self, mut waiting: MutexGuard<'_, Waiting>) -> Taken {
        waiting.is_urgent = false;
        let taken = std::mem::take(&mut waiting.commands);
        self.places.add_permits(taken.len());
        Taken::Commands(taken)
    }

    /// Takes nothing more. The first closing counts, unless the second abandons.
    pub fn close(&self, closing: Closing) {
        let mut waiting = self.waiting();
        if closing == Closing::Abandon {
            waiting.closing = Some(closing);
            waiting.commands.clear();
        } else {
            waiting.closing.get_or_insert(closing);
        }
        drop(waiting);
        self.places.close();
        self.came.notify_all();
    }

    /// How many commands wait.
    pub fn len(&self) -> usize {
        self.waiting().commands.len()
    }
}

/// Wakes a thread that sleeps until there is something to do. A ring while nobody sleeps is not lost.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    rang: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rang.notify_all();
    }

    /// Sleeps until it rings, at most so long.
    pub fn sleep(&self, at_most: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) = self
            .rang
            .wait_timeout_while(rung, at_most, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tokio::sync::oneshot;

    fn settling() -> Command {
        Command::SettleDone { ids: Vec::new(), reply: oneshot::channel().0 }
    }

    fn urgent() -> Command {
        Command::PutPortal { key: Vec::new(), value: Bytes::new(), reply: oneshot::channel().0 }
    }

    fn taken(queue: &Queue) -> usize {
        match queue.take(None) {
            Taken::Commands(commands) => commands.len(),
            Taken::Nothing | Taken::Closed => 0,
        }
    }

    #[tokio::test]
    async fn what_may_wait_goes_with_what_may_not() {
        let queue = Queue::new(8);
        for command in [settling(), settling(), urgent()] {
            queue.push(command).await.expect("there is room");
        }
        assert_eq!(taken(&queue), 3);
        // The next ones have to find company anew.
        let began = Instant::now();
        queue.push(settling()).await.expect("there is room");
        assert_eq!(taken(&queue), 1);
        assert!(began.elapsed() >= ALONE_MAX, "it went alone at once: {:?}", began.elapsed());
    }

    #[test]
    fn company_that_comes_later_ends_the_waiting() {
        let queue = Queue::new(8);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let push = |command| runtime.block_on(queue.push(command)).expect("there is room");
        let mut shortest = Duration::MAX;
        for _ in 0..50 {
            push(settling());
            let began = Instant::now();
            let both = std::thread::scope(|scope| {
                let taking = scope.spawn(|| taken(&queue));
                push(urgent());
                taking.join().expect("it takes")
            });
            shortest = shortest.min(began.elapsed());
            // On a machine that stands still for ten milliseconds the first goes alone.
            assert_eq!(both + if both == 1 { taken(&queue) } else { 0 }, 2);
        }
        assert!(shortest < ALONE_MAX, "none was ended by its company: {shortest:?}");
    }

    #[tokio::test]
    async fn the_end_waits_for_no_company() {
        let queue = Queue::new(8);
        queue.push(settling()).await.expect("there is room");
        queue.close(Closing::Finish);
        assert_eq!(taken(&queue), 1);
        assert!(matches!(queue.take(None), Taken::Closed));
    }
}
