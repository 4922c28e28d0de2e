//! ItemSweep: asks a portal now and then for what changed lately, since Bitrix24 never resends an event.
//!
//! One question per type of items that a rule listens to, narrowed to the stages of the rules: so a quiet portal costs
//! one call a round and type. Items that a rule wants go into the inbox in the same commit as the cursor. It also lists
//! new generated documents. What it cannot see: a stage that an item has entered and left between two sweeps.
//!
//! # Invariants
//! * **IS-1** The cursor moves in the commit that stores what was found below it.
//! * **IS-2** The cursor follows the portal's clock (`updatedTime`), ours only before the first item was seen.

use super::found::{Channel, Found, Subject};
use super::item_rules::{self, Verdict};
use super::portal_session::PortalCaller;
use super::{Parts, error_chain};
use crate::domain::{Failure, PortalId, Timestamp};
use crate::providers::bitrix24::documentgenerator;
use crate::providers::bitrix24::item_pages::{self, Changed, Listed};
use crate::saga::document::rule::{self, GeneratedFacts};
use crate::store::{Cursor, NewNotice, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Pages of one type in one round: 1,000 items. What is beyond goes on in the next round, from a stored place.
const PAGES_MAX: usize = 20;

/// How a portal is swept. Times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepSettings {
    /// Pause between two rounds.
    pub interval_ms: u64,
    /// So much of the time before the cursor is asked for again.
    pub overlap_ms: u64,
    /// How far the very first sweep looks back.
    pub first_ms: u64,
    /// How often.
    pub rounds: Rounds,
}

/// How often a portal is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounds {
    /// Once, when the process starts: what came while nobody listened. Then another channel takes over.
    AtStart,
    /// Again and again.
    ForEver,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// Everything was looked at.
    Well,
    /// Something could not be looked at.
    InVain,
}

/// Why a round did not succeed; the next one comes anyway.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error("the portal did not list: {}", .0.reason.en)]
    Portal(Failure),
    #[error("the store is unavailable")]
    Store(#[from] StoreError),
}

impl From<Failure> for SweepError {
    fn from(failure: Failure) -> Self {
        Self::Portal(failure)
    }
}

/// Sweeps one portal.
pub struct ItemSweep {
    parts: Arc<Parts>,
    portal: PortalId,
    caller: PortalCaller,
    settings: SweepSettings,
}

impl ItemSweep {
    /// A sweep of `portal` through `caller`.
    pub fn new(parts: Arc<Parts>, portal: PortalId, caller: PortalCaller, settings: SweepSettings) -> Self {
        Self { parts, portal, caller, settings }
    }

    /// Sweeps until the process stops, or once.
    pub async fn run(self) {
        let mut failures: u32 = 0;
        while !self.parts.is_draining() {
            match self.look().await {
                Looked::Well if self.settings.rounds == Rounds::AtStart => return,
                Looked::Well => failures = 0,
                Looked::InVain => failures = failures.saturating_add(1),
            }
            // A portal that is down is asked more and more rarely, at most ten times the interval apart.
            let stretch = u64::from(failures.min(10)).max(1);
            tokio::time::sleep(Duration::from_millis(self.settings.interval_ms * stretch)).await;
        }
    }

    /// One round, counted and logged.
    pub async fn look(&self) -> Looked {
        let (portal, label) = (self.portal.as_str(), Channel::Sweep.label());
        match self.round().await {
            Ok(found) => {
                self.parts.metrics.channel_looked(portal, label);
                self.parts.channels.looked(&self.portal, self.parts.clock.now(), found);
                if found > 0 {
                    tracing::info!(portal, found, "a sweep found changes that a rule wants");
                }
                Looked::Well
            }
            Err(error) => {
                self.parts.metrics.channel_failed(portal, label);
                let reason = error_chain(&error);
                self.parts.channels.failed(&self.portal, &reason);
                tracing::warn!(portal, %reason, "a sweep failed");
                Looked::InVain
            }
        }
    }

    /// One look at everything that the rules listen to. One type that cannot be listed does not hide the others.
    async fn round(&self) -> Result<usize, SweepError> {
        let (mut found, mut broken) = (0, None);
        for type_id in self.listed_types() {
            match self.items(type_id).await {
                Ok(count) => found += count,
                Err(error) => broken = Some(error),
            }
        }
        if self.lists_generated() {
            match self.generated().await {
                Ok(count) => found += count,
                Err(error) => broken = Some(error),
            }
        }
        broken.map_or(Ok(found), Err)
    }

    /// Types whose items the portal can list at all: a box without lists is not asked for them again and again.
    fn listed_types(&self) -> BTreeSet<u32> {
        match self.parts.capabilities.lacks(&self.portal, item_pages::METHOD) {
            true => BTreeSet::new(),
            false => item_rules::types(&self.parts, &self.portal),
        }
    }

    fn lists_generated(&self) -> bool {
        item_rules::listens_to_generated(&self.parts, &self.portal)
            && !self.parts.capabilities.lacks(&self.portal, documentgenerator::LIST_METHOD)
    }

    // ---- items ---------------------------------------------------------------------------------------------

    /// Cursor: `baseline` is the second from which this round asks, `last_id` the item after which it goes on (zero:
    /// it begins), `at` the latest change that was seen.
    async fn items(&self, type_id: u32) -> Result<usize, SweepError> {
        let name = format!("items/{}/{type_id}", self.portal);
        let Some(mut cursor) = self.parts.store.cursor(&name).await? else {
            let from = Timestamp(self.parts.clock.now().0.saturating_sub_unsigned(self.settings.first_ms));
            let cursor = Cursor { last_id: 0, baseline: seconds(from), at: from };
            self.parts.store.accept_all(Vec::new(), Some((name.clone(), cursor))).await?;
            if self.settings.first_ms == 0 {
                return Ok(0);
            }
            return self.pages(type_id, &name, cursor).await;
        };
        // A round that was broken off by a change of the rules or the configuration begins anew.
        cursor.baseline = cursor.baseline.min(seconds(cursor.at));
        self.pages(type_id, &name, cursor).await
    }

    async fn pages(&self, type_id: u32, name: &str, mut cursor: Cursor) -> Result<usize, SweepError> {
        let (stages, fields) = item_rules::wishes(&self.parts, &self.portal, type_id);
        let since = Timestamp(
            (cursor.baseline as i64).saturating_mul(1_000).saturating_sub_unsigned(self.settings.overlap_ms),
        );
        let mut found = 0;
        for _ in 0..PAGES_MAX {
            let wanted =
                Changed { entity_type_id: type_id, stages: &stages, since, after_id: cursor.last_id };
            let page = item_pages::changed(&self.caller, wanted, &fields).await?;
            let notices = self.wanted(&page.items).await?;
            found += notices.len();
            let latest = page.items.iter().filter_map(Listed::updated_at).max();
            let at = cursor.at.max(latest.unwrap_or(cursor.at));
            let next = match page.continue_after {
                Some(last_id) => Cursor { last_id, baseline: cursor.baseline, at },
                None => Cursor { last_id: 0, baseline: seconds(at), at },
            };
            if next != cursor || !notices.is_empty() {
                self.store(notices, name, next).await?;
            }
            cursor = next;
            if page.continue_after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn wanted(&self, rows: &[Listed]) -> Result<Vec<NewNotice>, SweepError> {
        let mut notices = Vec::new();
        for row in rows {
            match item_rules::judge(&self.parts, &self.portal, row).await? {
                Verdict::Wanted | Verdict::NoSuchField => {
                    let subject = Subject::Item(row.item.item);
                    notices.push(self.notice(subject, row.updated_at()));
                }
                Verdict::NotWanted | Verdict::AllTaken | Verdict::OwnWrite => {}
            }
        }
        Ok(notices)
    }

    // ---- generated documents -------------------------------------------------------------------------------

    /// Cursor: `last_id` is the highest id that was seen, `baseline` the one below which nothing is ours.
    async fn generated(&self) -> Result<usize, SweepError> {
        let name = format!("generated/{}", self.portal);
        let Some(mut cursor) = self.parts.store.cursor(&name).await? else {
            let highest = documentgenerator::highest_id(&self.caller).await?;
            let cursor = Cursor { last_id: highest, baseline: highest, at: self.parts.clock.now() };
            self.store(Vec::new(), &name, cursor).await?;
            return Ok(0);
        };
        let mut found = 0;
        for _ in 0..PAGES_MAX {
            let (rows, next) = documentgenerator::newer(&self.caller, cursor.last_id).await?;
            let mut notices = Vec::new();
            for row in &rows {
                let facts = GeneratedFacts { template_id: row.template_id, item: row.item };
                if rule::rule_for_generated(&self.parts.rules, &self.portal, facts).is_some() {
                    notices.push(self.notice(Subject::Generated(row.id), row.made_at));
                }
            }
            found += notices.len();
            if let Some(last_id) = rows.iter().map(|row| row.id).max() {
                cursor = Cursor { last_id, baseline: cursor.baseline, at: self.parts.clock.now() };
                self.store(notices, &name, cursor).await?;
            }
            if next.is_none() {
                break;
            }
        }
        Ok(found)
    }

    // ---- both ----------------------------------------------------------------------------------------------

    fn notice(&self, subject: Subject, changed_at: Option<Timestamp>) -> NewNotice {
        let found = Found { subject, channel: Channel::Sweep, changed_at };
        found.notice(&self.portal, self.parts.clock.now())
    }

    async fn store(&self, notices: Vec<NewNotice>, name: &str, cursor: Cursor) -> Result<(), SweepError> {
        let arrived = !notices.is_empty();
        self.parts.store.accept_all(notices, Some((name.to_owned(), cursor))).await?;
        if arrived {
            self.parts.work_arrived.notify_one();
        }
        Ok(())
    }
}

fn seconds(moment: Timestamp) -> u64 {
    u64::try_from(moment.0.div_euclid(1_000)).unwrap_or(0)
}
