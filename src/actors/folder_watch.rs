//! FolderWatch: the dependable trigger for a Drive folder, since the Drive has no official event.
//!
//! Polls one folder by file id, with an overlap, because ids may become visible out of order. What is found goes
//! into the inbox in the same commit as the cursor; the saga of a known file drops its repeat.

use super::Parts;
use super::folder;
use super::portal_session::{PortalCaller, PortalSession};
use super::session_registry::Tenure;
use super::trigger::{self, Trigger};
use crate::domain::{Failure, PortalId, Timestamp};
use crate::limits;
use crate::providers::bitrix24::drive;
use crate::saga::document::rule::{self, SourceFacts};
use crate::saga::document::transition::source_claim;
use crate::saga::document::{Claim, Source};
use crate::store::{Cursor, NewNotice, NoticeKind, StoreError};
use actix::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// One watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedFolder {
    /// The portal.
    pub portal: PortalId,
    /// The folder.
    pub folder_id: u64,
    /// Pause between polls, in milliseconds.
    pub interval_ms: u64,
    /// How many ids below the cursor are read again.
    pub overlap: u64,
    /// What happens to files that lie there at the first poll.
    pub existing: Existing,
}

/// What happens to files that lie in a folder when it is watched for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// They are left alone.
    Skip,
    /// They are sent for signing.
    Send,
}

/// The poller of one folder.
pub struct FolderWatch {
    parts: Arc<Parts>,
    session: Addr<PortalSession>,
    tenure: Tenure,
    folder: WatchedFolder,
}

/// Why a poll did not succeed; the next one comes anyway.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error("the portal did not list the folder: {}", .0.reason.en)]
    Portal(Failure),
    #[error("the store is unavailable")]
    Store(#[from] StoreError),
}

impl From<Failure> for PollError {
    fn from(failure: Failure) -> Self {
        Self::Portal(failure)
    }
}

impl FolderWatch {
    /// A poller of `folder` through `session`, for as long as `tenure` lasts.
    pub fn new(
        parts: Arc<Parts>,
        session: Addr<PortalSession>,
        tenure: Tenure,
        folder: WatchedFolder,
    ) -> Self {
        Self { parts, session, tenure, folder }
    }
}

impl Actor for FolderWatch {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let poller = Poller {
            parts: self.parts.clone(),
            caller: PortalCaller::background(self.session.clone()),
            folder: self.folder.clone(),
        };
        let work = self.tenure.clone().through(poller.run()).into_actor(self);
        // an actor with nothing to do would stay for ever
        ctx.spawn(work.map(|(), _, ctx| ctx.stop()));
    }
}

struct Poller {
    parts: Arc<Parts>,
    caller: PortalCaller,
    folder: WatchedFolder,
}

impl Poller {
    async fn run(self) {
        let mut failures: u32 = 0;
        while !self.parts.is_draining() {
            match self.poll().await {
                Ok(found) => {
                    failures = 0;
                    if found > 0 {
                        tracing::info!(
                            folder = self.folder.folder_id,
                            found,
                            "new files in a watched folder"
                        );
                    }
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let reason = super::error_chain(&error);
                    tracing::warn!(folder = self.folder.folder_id, failures, %reason, "a folder poll failed");
                }
            }
            // A portal that is down is asked more and more rarely, at most ten times the interval apart.
            let stretch = u64::from(failures.min(10)).max(1);
            tokio::time::sleep(Duration::from_millis(self.folder.interval_ms * stretch)).await;
        }
    }

    fn cursor_name(&self) -> String {
        format!("folder/{}/{}", self.folder.portal, self.folder.folder_id)
    }

    async fn poll(&self) -> Result<usize, PollError> {
        let now = self.parts.clock.now();
        let cursor = match self.parts.store.cursor(&self.cursor_name()).await? {
            Some(cursor) => cursor,
            None => self.first_cursor(now).await?,
        };
        let above = cursor.last_id.saturating_sub(self.folder.overlap).max(cursor.baseline);
        let files = folder::files_above(&self.caller, self.folder.folder_id, above).await?;
        let mut notices = Vec::new();
        let mut last_id = cursor.last_id;
        for file in files.into_iter().take(limits::FOLDER_POLL_FILES_MAX) {
            last_id = last_id.max(file.id);
            if self.is_news(&file).await? {
                notices.push(self.notice(file.id, now));
            }
        }
        if notices.is_empty() && last_id == cursor.last_id {
            return Ok(0);
        }
        let found = notices.len();
        let next = Cursor { last_id, baseline: cursor.baseline, at: now };
        self.parts.store.accept_all(notices, Some((self.cursor_name(), next))).await?;
        self.parts.work_arrived.notify_one();
        Ok(found)
    }

    /// The first look decides what "already there" means, durably, before anything is taken up.
    async fn first_cursor(&self, now: Timestamp) -> Result<Cursor, PollError> {
        let baseline = match self.folder.existing {
            Existing::Send => 0,
            Existing::Skip => drive::highest_id(&self.caller, self.folder.folder_id).await?,
        };
        let cursor = Cursor { last_id: baseline, baseline, at: now };
        self.parts.store.accept_all(Vec::new(), Some((self.cursor_name(), cursor))).await?;
        Ok(cursor)
    }

    async fn is_news(&self, file: &drive::Entry) -> Result<bool, PollError> {
        let facts = SourceFacts {
            name: file.name.clone(),
            folder_id: Some(self.folder.folder_id),
            size_bytes: file.size_bytes,
            ..SourceFacts::default()
        };
        if rule::rule_for_file(&self.parts.rules, &self.folder.portal, &facts).is_none() {
            return Ok(false);
        }
        let portal = self.folder.portal.clone();
        let source = source_claim(&portal, &Source::DriveFile { file_id: file.id });
        let echo_file = Claim::EchoFile { portal: portal.clone(), file_id: file.id };
        let name = rule::normalised_name(&file.name);
        let echo_name = Claim::EchoName { portal, folder_id: self.folder.folder_id, name };
        for claim in [source, echo_file, echo_name] {
            if self.parts.store.claimed(&claim).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn notice(&self, file_id: u64, now: Timestamp) -> NewNotice {
        NewNotice {
            kind: NoticeKind::FolderFile,
            portal: Some(self.folder.portal.clone()),
            received_at: now,
            content_type: trigger::CONTENT_TYPE.to_owned(),
            body: Trigger { source: Source::DriveFile { file_id }, rule: None }.encode().into(),
        }
    }
}
