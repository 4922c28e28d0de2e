//! Readers: the few threads on which reads of the view happen.
//!
//! Not the runtime's own blocking threads: those are many, and each that touches the view leaves its share of
//! freed memory behind in an arena of its own (measured: 30 MiB more after 20,000 reads). A few are enough: a
//! read takes microseconds, or one access of the disk.

use super::error::StoreError;
use super::shared::Shared;
use super::state::State;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::Semaphore;

/// How many threads read: one may wait for the disk while the other serves from memory.
const THREADS: usize = 2;
/// How many reads may wait; later callers wait outside.
const WAITING_MAX: usize = 1_024;

/// One read: asks, and sends the answer itself.
pub(super) type Read = Box<dyn FnOnce(&State) + Send>;

/// What waits for a reader. A read wakes one reader, and none if one is awake that will see it.
pub(super) struct Line {
    waiting: Mutex<Waiting>,
    came: Condvar,
    places: Semaphore,
}

#[derive(Default)]
struct Waiting {
    reads: VecDeque<Read>,
    asleep: usize,
    closed: bool,
}

impl Line {
    fn new() -> Self {
        Self { waiting: Mutex::default(), came: Condvar::new(), places: Semaphore::new(WAITING_MAX) }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a read to the readers; waits while too many wait.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn push(&self, read: Read) -> Result<(), StoreError> {
        let place = self.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(StoreError::Closed);
        }
        // Given back by the reader that takes it.
        place.forget();
        waiting.reads.push_back(read);
        let wake = waiting.asleep > 0;
        drop(waiting);
        if wake {
            self.came.notify_one();
        }
        Ok(())
    }

    /// The next read; none when nothing will come any more.
    fn take(&self) -> Option<Read> {
        let mut waiting = self.waiting();
        loop {
            if let Some(read) = waiting.reads.pop_front() {
                self.places.add_permits(1);
                return Some(read);
            }
            if waiting.closed {
                return None;
            }
            waiting.asleep += 1;
            waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.asleep -= 1;
        }
    }

    fn close(&self) {
        self.waiting().closed = true;
        self.places.close();
        self.came.notify_all();
    }
}

pub(super) struct Readers {
    line: Arc<Line>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let mut readers = Self { line: Arc::new(Line::new()), threads: Vec::with_capacity(THREADS) };
        for number in 0..THREADS {
            let (shared, line) = (Arc::clone(shared), Arc::clone(&readers.line));
            let named = std::thread::Builder::new().name(format!("store-reader-{number}"));
            readers.threads.push(named.spawn(move || work(&shared, &line))?);
        }
        Ok(readers)
    }

    /// The way to the readers.
    pub fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// Ends them; what waits is still answered.
    pub fn end(&mut self) {
        self.line.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader of the store has died");
            }
        }
    }
}

impl Drop for Readers {
    /// Threads that were started before one could not be are ended too.
    fn drop(&mut self) {
        self.end();
    }
}

fn work(shared: &Shared, line: &Line) {
    while let Some(read) = line.take() {
        // Whoever asked hears nothing and takes the store for closed; the others are served.
        if catch_unwind(AssertUnwindSafe(|| read(&shared.state))).is_err() {
            tracing::error!("a read of the store panicked");
        }
    }
}
