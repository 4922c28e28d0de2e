//! The way to the writer: a bounded queue that is emptied at once, so that everything that waits shares one sync.

use super::command::Command;
use super::error::StoreError;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

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
            match (waiting.closing, waiting.commands.is_empty()) {
                (Some(Closing::Abandon), _) | (Some(Closing::Finish), true) => return Taken::Closed,
                (Some(Closing::Finish) | None, false) => {
                    let taken = std::mem::take(&mut waiting.commands);
                    self.places.add_permits(taken.len());
                    return Taken::Commands(taken);
                }
                (None, true) => {}
            }
            waiting.asleep = true;
            waiting = match deadline {
                None => self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Taken::Nothing;
                    }
                    self.came.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
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
