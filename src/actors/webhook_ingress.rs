//! WebhookIngress: an authentic notice goes into the durable inbox, and only then is answered.
//!
//! It knows neither who sent the notice (the HTTP door has verified that) nor what it means (the scheduler
//! routes it): between a sender and its 200 stands nothing but one synced write.

use super::Parts;
use super::crash_point::{self, CrashPoint};
use crate::domain::Text;
use crate::limits;
use crate::store::{Accepted, NewNotice, NoticeKind, StoreError};
use crate::telemetry::metrics::NoticeSource;
use actix::prelude::*;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The door to the inbox.
pub struct WebhookIngress {
    parts: Arc<Parts>,
    /// Bounds what waits for the disk; a mailbox alone would bound only what waits for the actor.
    permits: Arc<Semaphore>,
}

/// Why a notice was not accepted. The sender must not get a 200.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcceptError {
    /// Too much is waiting for the disk.
    #[error("too many notices are waiting for the disk")]
    Busy {
        /// When to come back, in seconds.
        retry_after_s: u64,
    },
    /// The store does not accept now.
    #[error("{}", .reason.en)]
    Unavailable {
        /// Why, and what to do.
        reason: Text,
    },
}

/// Put a verified notice into the inbox; answered when it is on disk.
#[derive(Message)]
#[rtype(result = "Result<Accepted, AcceptError>")]
pub struct AcceptNotice(pub NewNotice);

impl WebhookIngress {
    /// An ingress in front of the store of `parts`.
    pub fn new(parts: Arc<Parts>) -> Self {
        Self { parts, permits: Arc::new(Semaphore::new(limits::INGRESS_WAITING_MAX)) }
    }
}

impl Actor for WebhookIngress {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(limits::INGRESS_WAITING_MAX);
    }
}

impl Handler<AcceptNotice> for WebhookIngress {
    type Result = ResponseFuture<Result<Accepted, AcceptError>>;

    fn handle(&mut self, AcceptNotice(notice): AcceptNotice, _: &mut Self::Context) -> Self::Result {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            return Box::pin(async { Err(AcceptError::Busy { retry_after_s: 1 }) });
        };
        let parts = self.parts.clone();
        Box::pin(async move {
            let outcome = accept(&parts, notice).await;
            drop(permit);
            outcome
        })
    }
}

/// Stores the notice durably and hints the scheduler; the hint may be lost, the notice may not.
pub(super) async fn accept(parts: &Parts, notice: NewNotice) -> Result<Accepted, AcceptError> {
    let accepted = parts.store.accept(notice).await.map_err(unavailable)?;
    crash_point::reach(CrashPoint::Accepted);
    parts.work_arrived.notify_one();
    Ok(accepted)
}

pub(super) fn source_of(kind: NoticeKind) -> NoticeSource {
    match kind {
        NoticeKind::BitrixEvent | NoticeKind::FolderFile | NoticeKind::FieldFile | NoticeKind::Robot => {
            NoticeSource::Bitrix24
        }
        NoticeKind::EasyDocsCallback => NoticeSource::Easydocs,
        NoticeKind::Operator => NoticeSource::Operator,
    }
}

fn unavailable(error: StoreError) -> AcceptError {
    AcceptError::Unavailable { reason: error.text() }
}
