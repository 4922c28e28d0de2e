//! WebhookIngress: an authentic notice goes into the durable inbox, and only then is answered.
//!
//! It knows neither who sent the notice (the HTTP door has verified that) nor what it means (the scheduler
//! routes it): between a sender and its 200 stands nothing but one synced write.
//!
//! There is one on each thread whose doors ask for it: waking another thread for every notice, twice, would cost
//! more than anything else in here. It gives to the store as one what came in one turn of its thread; while that is
//! being synced, the next turn's notices are given.

use super::crash_point::{self, CrashPoint};
use super::{Parts, stopping};
use crate::domain::Text;
use crate::limits;
use crate::store::{Accepted, NewNotice, NoticeKind, StoreError};
use crate::telemetry::metrics::NoticeSource;
use actix::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::oneshot;

/// Where the outcome of one notice goes.
type Reply = oneshot::Sender<Result<Accepted, AcceptError>>;

/// The door to the inbox on one thread.
pub struct WebhookIngress {
    /// Not held: an ingress lives as long as its thread, which may be longer than the engine.
    parts: Weak<Parts>,
    gathered: Gathered,
    /// Notices that were taken and not answered.
    waiting: usize,
}

/// What came in this turn.
#[derive(Default)]
struct Gathered {
    notices: Vec<NewNotice>,
    replies: Vec<Reply>,
    bytes: usize,
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
#[rtype(result = "()")]
struct Accept {
    notice: NewNotice,
    reply: Reply,
}

/// Nothing more has come in this turn.
#[derive(Message)]
#[rtype(result = "()")]
struct EndOfTurn;

/// The ingresses of one engine. Cheap to clone.
#[derive(Clone)]
pub struct Ingresses {
    /// Tells engines of one process apart.
    number: u64,
    parts: Weak<Parts>,
}

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The ingresses of this thread, by engine.
    static HERE: RefCell<HashMap<u64, Addr<WebhookIngress>>> = RefCell::default();
}

impl Ingresses {
    /// Ingresses in front of the store of `parts`.
    pub fn new(parts: &Arc<Parts>) -> Self {
        Self { number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed), parts: Arc::downgrade(parts) }
    }

    /// Puts a notice into the inbox; durable when it returns. Must be called inside an actix system.
    ///
    /// # Errors
    /// [`AcceptError`]: the sender must not get a 200.
    pub async fn accept(&self, notice: NewNotice) -> Result<Accepted, AcceptError> {
        let (reply, answer) = oneshot::channel();
        match self.here().try_send(Accept { notice, reply }) {
            Ok(()) => {
                answer.await.unwrap_or_else(|_gone| Err(AcceptError::Unavailable { reason: stopping() }))
            }
            Err(SendError::Full(_)) => Err(busy()),
            Err(SendError::Closed(_)) => Err(AcceptError::Unavailable { reason: stopping() }),
        }
    }

    /// This thread's ingress, started if there is none.
    fn here(&self) -> Addr<WebhookIngress> {
        HERE.with_borrow_mut(|here| {
            if let Some(ingress) = here.get(&self.number).filter(|ingress| ingress.connected()) {
                return ingress.clone();
            }
            here.retain(|_, ingress| ingress.connected());
            let parts = Weak::clone(&self.parts);
            let ingress = WebhookIngress { parts, gathered: Gathered::default(), waiting: 0 }.start();
            here.insert(self.number, ingress.clone());
            ingress
        })
    }
}

impl WebhookIngress {
    /// Gives what was gathered to the store as one, and hints the scheduler; the hint may be lost, the notices may
    /// not.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        let Gathered { notices, replies, .. } = std::mem::take(&mut self.gathered);
        if notices.is_empty() {
            return;
        }
        let Some(parts) = self.parts.upgrade() else {
            // Whoever waits hears that the engine is stopping.
            drop(replies);
            return ctx.stop();
        };
        let count = replies.len();
        let work = async move {
            match accept_all(&parts, notices).await {
                Ok(accepted) => {
                    replies.into_iter().zip(accepted).for_each(|(reply, one)| answer(reply, Ok(one)))
                }
                Err(error) => replies.into_iter().for_each(|reply| answer(reply, Err(error.clone()))),
            }
        };
        ctx.spawn(work.into_actor(self).map(move |(), this, _| this.waiting -= count));
    }
}

/// A sender that is gone does not mind.
fn answer(reply: Reply, outcome: Result<Accepted, AcceptError>) {
    drop(reply.send(outcome));
}

fn busy() -> AcceptError {
    AcceptError::Busy { retry_after_s: 1 }
}

impl Actor for WebhookIngress {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(limits::INGRESS_WAITING_MAX);
    }
}

impl Handler<Accept> for WebhookIngress {
    type Result = ();

    fn handle(&mut self, Accept { notice, reply }: Accept, ctx: &mut Self::Context) {
        if self.waiting >= limits::INGRESS_WAITING_MAX {
            return answer(reply, Err(busy()));
        }
        let full = self.gathered.notices.len() == limits::INGRESS_GATHERED_MAX
            || self.gathered.bytes + notice.body.len() > limits::INGRESS_GATHERED_BYTES;
        if full {
            self.flush(ctx);
        }
        if self.gathered.notices.is_empty() {
            // Comes after everything that is in the mailbox now.
            ctx.notify(EndOfTurn);
        }
        self.waiting += 1;
        self.gathered.bytes += notice.body.len();
        self.gathered.notices.push(notice);
        self.gathered.replies.push(reply);
    }
}

impl Handler<EndOfTurn> for WebhookIngress {
    type Result = ();

    fn handle(&mut self, EndOfTurn: EndOfTurn, ctx: &mut Self::Context) {
        self.flush(ctx);
    }
}

/// Stores notices durably and hints the scheduler.
async fn accept_all(parts: &Parts, notices: Vec<NewNotice>) -> Result<Vec<Accepted>, AcceptError> {
    let accepted = parts.store.accept_all(notices, None).await.map_err(unavailable)?;
    crash_point::reach(CrashPoint::Accepted);
    parts.work_arrived.notify_one();
    Ok(accepted)
}

pub(super) fn source_of(kind: NoticeKind) -> NoticeSource {
    match kind {
        NoticeKind::BitrixEvent
        | NoticeKind::FolderFile
        | NoticeKind::FieldFile
        | NoticeKind::Robot
        | NoticeKind::SecondChannel
        | NoticeKind::OfflinePackage
        | NoticeKind::AppClaim => NoticeSource::Bitrix24,
        NoticeKind::EasyDocsCallback => NoticeSource::Easydocs,
        NoticeKind::IdocsCallback => NoticeSource::Idocs,
        NoticeKind::Operator => NoticeSource::Operator,
    }
}

fn unavailable(error: StoreError) -> AcceptError {
    AcceptError::Unavailable { reason: error.text() }
}
