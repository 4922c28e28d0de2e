//! The one thing that the doors want from what is behind them: take this notice, durably.
//!
//! A trait, so that the doors can be tested with a fake behind them.

use super::error::{ApiError, Code};
use super::refusal::{Refusals, door_name};
use crate::actors::installations::InstalledGate;
use crate::actors::sender_list::SenderList;
use crate::actors::{AcceptError, Engine};
use crate::domain::{Text, Timestamp};
use crate::store::{Accepted, NewNotice};
use crate::telemetry::metrics::{Metrics, NoticeOutcome, NoticeSource};
use actix_web::rt;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A disk that has not synced by then is as good as absent for a sender that waits.
const ACCEPT_TIME_MAX: Duration = Duration::from_secs(10);

/// Takes notices.
pub trait Intake: Send + Sync + 'static {
    /// Stores `notice`; durable when it answers `Ok`.
    ///
    /// # Errors
    /// [`AcceptError`]: nothing was taken, and the sender must not be told otherwise.
    fn accept(&self, notice: NewNotice) -> LocalBoxFuture<'_, Result<Accepted, AcceptError>>;
    /// The present.
    fn now(&self) -> Timestamp;
    /// What proves events of portals that have installed an application.
    fn installed(&self) -> Arc<Vec<InstalledGate>> {
        Arc::default()
    }
    /// The published addresses of senders, where a portal takes no others.
    fn sender_list(&self) -> Option<Arc<SenderList>> {
        None
    }
}

impl Intake for Engine {
    fn accept(&self, notice: NewNotice) -> LocalBoxFuture<'_, Result<Accepted, AcceptError>> {
        Engine::accept(self, notice).boxed_local()
    }
    fn now(&self) -> Timestamp {
        self.clock().now()
    }
    fn installed(&self) -> Arc<Vec<InstalledGate>> {
        self.installations().gates()
    }
    fn sender_list(&self) -> Option<Arc<SenderList>> {
        Engine::sender_list(self)
    }
}

/// A door's way to the intake, with its bookkeeping.
#[derive(Clone)]
pub struct Reception {
    intake: Arc<dyn Intake>,
    metrics: Arc<Metrics>,
    refusals: Arc<Refusals>,
}

impl Reception {
    /// Notices go to `intake`, numbers to `metrics`.
    pub fn new(intake: Arc<dyn Intake>, metrics: Arc<Metrics>) -> Self {
        let refusals = Arc::new(Refusals::new(Arc::clone(&metrics)));
        Self { intake, metrics, refusals }
    }
    /// The present.
    pub fn now(&self) -> Timestamp {
        self.intake.now()
    }
    /// What proves events of portals that have installed an application.
    pub fn installed(&self) -> Arc<Vec<InstalledGate>> {
        self.intake.installed()
    }
    /// The published addresses of senders, where a portal takes no others.
    pub fn sender_list(&self) -> Option<Arc<SenderList>> {
        self.intake.sender_list()
    }
    /// Notes a refusal and makes the answer.
    pub fn refuse(&self, door: NoticeSource, code: Code, source: IpAddr) -> ApiError {
        self.refusals.note(door, code, source);
        ApiError::new(code)
    }
    /// Notes an authentic notice that nobody wants.
    pub fn drop_unwanted(&self, door: NoticeSource, since: Instant) {
        self.metrics.notice(door, NoticeOutcome::Ignored, since.elapsed());
    }
    /// Stores a verified notice. `since` is when its request came.
    ///
    /// # Errors
    /// 503 with `Retry-After`; the reason is logged and not told to the sender.
    pub async fn store(&self, door: NoticeSource, notice: NewNotice, since: Instant) -> Result<(), ApiError> {
        // a store that hangs is told from one that is slow; if the notice is stored later all the same, nothing is lost
        let stored = rt::time::timeout(ACCEPT_TIME_MAX, self.intake.accept(notice)).await;
        match stored.unwrap_or_else(|_elapsed| Err(timed_out())) {
            Ok(Accepted { id, fresh }) => {
                let outcome = if fresh { NoticeOutcome::Accepted } else { NoticeOutcome::Duplicate };
                self.metrics.notice(door, outcome, since.elapsed());
                tracing::debug!(door = door_name(door), notice.id = id.0, fresh, "notice accepted");
                Ok(())
            }
            Err(error) => {
                self.refusals.note_unaccepted(door, &error);
                Err(ApiError::from(&error))
            }
        }
    }
}

fn timed_out() -> AcceptError {
    let reason = Text::new(
        "Хранилище не ответило за 10 с: проверьте диск.",
        "The store did not answer within 10 s: check the disk.",
    );
    AcceptError::Unavailable { reason }
}
