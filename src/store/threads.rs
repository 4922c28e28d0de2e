//! The threads of an open store: how they begin, and how they end.

use super::applier::Applier;
use super::error::{OpenError, StoreError};
use super::inbox::Inbox;
use super::journal::Journal;
use super::keeper;
use super::shared::{Deathwatch, Shared};
use super::spool;
use super::spool_stock;
use super::writer::Writer;
use crate::domain::Text;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

/// Starts a thread whose death does not go unnoticed.
fn watch<T: Send + 'static>(
    shared: &Arc<Shared>,
    thread: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let watch = Deathwatch { shared: Arc::clone(shared), thread };
    std::thread::Builder::new().name(thread.to_owned()).spawn(move || {
        let _watch = watch;
        work()
    })
}

/// The store's threads.
pub(super) struct Threads {
    writer: JoinHandle<()>,
    applier: JoinHandle<Result<(), StoreError>>,
    keeper: JoinHandle<()>,
    stock: JoinHandle<()>,
    landing: JoinHandle<()>,
}

impl Threads {
    /// Starts them. What comes back hears how many files nobody needed, when the spool is counted.
    pub fn start(
        shared: &Arc<Shared>,
        journal: Journal,
        next_notice: u64,
        inbox: Inbox,
    ) -> Result<(Self, Receiver<u64>), OpenError> {
        let failed =
            |source| OpenError::Io { doing: "starting threads for", path: shared.layout.dir.clone(), source };
        let writer = Writer::new(Arc::clone(shared), journal, next_notice, inbox);
        let applier = Applier::new(Arc::clone(shared), shared.gauges.applied.load(Ordering::Acquire));
        let (kept, counted) = (Arc::clone(shared), Arc::clone(shared));
        let (outcome, heard) = mpsc::channel();
        let spool = shared.spool.clone();
        spool.open_landing();
        let spawn = || -> io::Result<Self> {
            Ok(Self {
                keeper: watch(shared, "store-keeper", move || keeper::run(&kept))?,
                stock: watch(shared, "store-stock", move || spool_stock::run(&counted, outcome))?,
                landing: watch(shared, "store-landing", move || spool::take_in(&spool))?,
                applier: watch(shared, "store-applier", move || applier.run())?,
                writer: watch(shared, "store-writer", move || writer.run())?,
            })
        };
        spawn().map(|threads| (threads, heard)).map_err(|error| {
            shared.stop.abandon();
            shared.spool.close_landing();
            failed(error)
        })
    }

    /// Waits for all; the writer first, because the applier waits for what it leaves.
    pub fn join(self, shared: &Shared) -> Result<(), StoreError> {
        let died = || StoreError::Unavailable {
            reason: Text::new("Поток хранилища завершился аварийно.", "A thread of the store has died."),
        };
        let writer = self.writer.join();
        shared.stop.finish();
        shared.applier.ring();
        shared.keeper.ring();
        shared.stock.ring();
        shared.spool.close_landing();
        let applier = self.applier.join();
        let others = [self.keeper.join(), self.stock.join(), self.landing.join()];
        others.into_iter().fold(writer, Result::and).map_err(|_| died())?;
        applier.map_err(|_| died())?
    }
}
