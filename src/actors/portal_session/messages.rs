//! What a session is asked, and the adapters' way to it.

use super::PortalSession;
use super::queue::Priority;
use crate::domain::{Failure, FailureClass, FailureKind, Text, Timestamp};
use crate::providers::bitrix24::{Call, Caller, Client, Observed};
use crate::providers::url_rules::Origin;
use actix::prelude::*;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Ask the portal; answered when the portal has answered, or has refused.
#[derive(Message)]
#[rtype(result = "Result<Value, Failure>")]
pub struct PortalCall {
    /// The call.
    pub call: Call,
    /// Who waits.
    pub priority: Priority,
    /// When the work behind it began: older work goes first. None: now.
    pub due: Option<Timestamp>,
}

/// Permission for one request outside the call queue (a download, an upload), paid from the same budget.
#[derive(Message)]
#[rtype(result = "Result<Pass, Failure>")]
pub struct TransferPass {
    /// What it is for.
    pub transfer: Transfer,
    /// When the work behind it began: older work goes first. None: now.
    pub due: Option<Timestamp>,
}

/// A request that carries a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// A file of the portal is fetched by its link.
    Download,
    /// A file is put into a folder.
    Upload,
    /// A file is put into a file field of a CRM item (on an old box by the method of its type).
    FieldFile,
    /// A comment is written with a file in it.
    CommentFile,
}

impl Transfer {
    /// Under which name it is accounted, and by which name the portal blocks it.
    pub fn method(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "disk.folder.uploadfile",
            Self::FieldFile => "crm.item.update",
            Self::CommentFile => "crm.timeline.comment.add",
        }
    }
}

/// A paid permission.
pub struct Pass {
    /// The way to the portal.
    pub client: Arc<Client>,
    /// Origins besides the portal's own that its files may come from.
    pub allowed: Arc<[Origin]>,
    /// One of the portal's few transfer slots, free again when this is dropped.
    pub(super) _slot: oneshot::Sender<()>,
}

/// What a transfer taught about the portal's limits.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Learned {
    /// What was learned.
    pub observed: Observed,
    /// Whether the portal did what was asked.
    pub succeeded: bool,
}

/// Write the account of the budget: the process is about to stop.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SaveAccount;

/// The session ended while a request was under way: nobody knows what became of it.
pub(super) fn session_lost() -> Failure {
    Failure::new(
        FailureClass::Ambiguous,
        FailureKind::Local,
        "session_lost",
        Text::new("Сеанс портала прервался.", "The portal's session was interrupted."),
    )
}

/// The adapters' way to the portal: every call goes through its session.
#[derive(Clone)]
pub struct PortalCaller {
    session: Addr<PortalSession>,
    priority: Priority,
    due: Option<Timestamp>,
}

impl PortalCaller {
    /// For a saga.
    pub fn background(session: Addr<PortalSession>) -> Self {
        Self { session, priority: Priority::Background, due: None }
    }
    /// For a person who waits.
    pub fn interactive(session: Addr<PortalSession>) -> Self {
        Self { session, priority: Priority::Interactive, due: None }
    }
    /// The same for work that began then: older work goes first.
    #[must_use]
    pub fn since(mut self, began: Timestamp) -> Self {
        self.due = Some(began);
        self
    }
}

impl Caller for PortalCaller {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Result<Value, Failure>> {
        let message = PortalCall { call, priority: self.priority, due: self.due };
        Box::pin(async move { self.session.send(message).await.unwrap_or_else(|_| Err(session_lost())) })
    }
}
