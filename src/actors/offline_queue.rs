//! OfflineQueue: fetches the events that the portal keeps for our application, and brings them into the inbox.
//!
//! Woken by `ONOFFLINEEVENT`, by the push server, or by a slow timer; a box without any inbound address lives on the
//! timer alone. Where the plan has it rows are reserved: they enter the inbox together with the reservation that is to
//! be cleared, in one commit, so that neither a crash nor a lost answer loses or forgets any. Elsewhere the portal
//! deletes rows as it sends them; what is lost between its answer and our commit is healed by a sweep.
//!
//! # Invariants
//! * **OQ-1** A reservation is cleared only after its rows are durable in the inbox.
//! * **OQ-2** After an unknown outcome of a reserving fetch, and at the start, reservations are looked for that nobody
//!   remembers, and are taken up.
//! * **OQ-3** Whenever the queue cannot be read, the portal is swept instead.

use super::found::{Channel, Found, Subject};
use super::item_sweep::ItemSweep;
use super::portal_session::PortalCaller;
use super::{Parts, error_chain};
use crate::domain::{Failure, FailureClass, PortalId, Timestamp};
use crate::providers::bitrix24::BitrixTrigger;
use crate::providers::bitrix24::capabilities::{FEATURE_CONNECTOR, FEATURE_RESERVES};
use crate::providers::bitrix24::offline::{self, Features, Fetch, Package, QueueRow};
use crate::saga::document::rule::{self, GeneratedFacts};
use crate::store::{NewNotice, NoticeKind, StoreError};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Content type of a reservation in the inbox.
pub const CONTENT_TYPE: &str = "application/vnd.edobridge.offline-package+json";
/// Packages fetched at the same time once there is more than one: they share a request, and each gets other rows.
const FETCHES_AT_ONCE: usize = 10;
/// How long the answer about the plan counts, so that a changed plan is noticed within a day.
const FEATURES_FOR: Duration = Duration::from_secs(24 * 3_600);
/// The registrations follow a change of the queue within a look or so: one sweep now, one at the next look.
const SWEEPS_AFTER_CHANGE: u8 = 2;
/// Pause before rows that the portal has deleted already are offered to a failing store again.
const STORE_PAUSE: Duration = Duration::from_millis(crate::limits::SCAN_INTERVAL_MS);

/// The bells of all queues: whoever hears that something lies in one rings.
#[derive(Debug, Default)]
pub struct QueueBells(Mutex<HashMap<PortalId, Arc<Notify>>>);

impl QueueBells {
    /// The bell of a portal.
    pub fn of(&self, portal: &PortalId) -> Arc<Notify> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(portal.clone()).or_default().clone()
    }

    /// Something lies in the queue of a portal.
    pub fn ring(&self, portal: &PortalId) {
        self.of(portal).notify_one();
    }
}

/// A reservation that is to be cleared, as a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its id at the portal.
    pub process_id: String,
    /// The connector under which it was made.
    pub connector: Option<String>,
}

impl Reservation {
    /// The inverse of the encoding in the inbox.
    ///
    /// # Errors
    /// When the bytes are no reservation.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    fn notice(&self, portal: &PortalId, now: Timestamp) -> NewNotice {
        NewNotice {
            kind: NoticeKind::OfflinePackage,
            portal: Some(portal.clone()),
            received_at: now,
            content_type: CONTENT_TYPE.to_owned(),
            body: serde_json::to_vec(self).unwrap_or_default().into(),
        }
    }
}

/// Why the queue was not read to its end; it is tried again.
#[derive(Debug, thiserror::Error)]
enum QueueError {
    #[error("the portal did not give its queue: {}", .0.reason.en)]
    Portal(Failure),
    #[error("the store is unavailable")]
    Store(#[from] StoreError),
}

impl From<Failure> for QueueError {
    fn from(failure: Failure) -> Self {
        Self::Portal(failure)
    }
}

/// Reads the queue of one portal.
pub struct OfflineQueue {
    parts: Arc<Parts>,
    portal: PortalId,
    caller: PortalCaller,
    /// The connector of our application; used only where the plan has it.
    connector: Option<String>,
    interval_ms: u64,
    /// What is done while the queue cannot be read, and how often at most.
    sweep: ItemSweep,
    sweep_interval: Duration,
}

/// What one task knows between its looks.
struct Knowledge {
    features: Option<(Features, Instant)>,
    /// The features at the last look that told them.
    last: Option<Features>,
    /// Whether there may be reservations that nobody remembers.
    forgotten: bool,
    swept: Option<Instant>,
    failures: u32,
    /// Sweeps that are due because the queue was changed for another: rows of the former one are read by nobody.
    sweeps_due: u8,
}

impl OfflineQueue {
    /// A reader of the queue of `portal` through `caller`.
    pub fn new(
        parts: Arc<Parts>,
        portal: PortalId,
        caller: PortalCaller,
        connector: Option<String>,
        interval_ms: u64,
        (sweep, sweep_interval): (ItemSweep, Duration),
    ) -> Self {
        Self { parts, portal, caller, connector, interval_ms, sweep, sweep_interval }
    }

    /// Reads until the process stops.
    pub async fn run(self) {
        let bell = self.parts.queue_bells.of(&self.portal);
        let mut known = Knowledge {
            features: None,
            last: None,
            forgotten: true,
            swept: None,
            failures: 0,
            sweeps_due: 0,
        };
        while !self.parts.is_draining() {
            self.look(&mut known).await;
            // A portal that refuses is asked more and more rarely, at most ten times the interval apart.
            let stretch = u64::from(known.failures.min(10)).max(1);
            let pause = Duration::from_millis(self.interval_ms * stretch);
            if tokio::time::timeout(pause, bell.notified()).await.is_ok() {
                self.parts.channels.woken(&self.portal, self.parts.clock.now());
            }
        }
    }

    async fn look(&self, known: &mut Knowledge) {
        let label = Channel::OfflineQueue.label();
        if !self.is_there() {
            return self.sweep_instead(known).await;
        }
        match self.drain(known).await {
            Ok(rows) => {
                known.failures = 0;
                if known.sweeps_due > 0 {
                    known.sweeps_due -= 1;
                    self.sweep.look().await;
                }
                self.parts.metrics.channel_looked(self.portal.as_str(), label);
                self.parts.channels.looked(&self.portal, self.parts.clock.now(), rows);
                if rows > 0 {
                    tracing::info!(portal = %self.portal, rows, "events were fetched from the offline queue");
                }
            }
            Err(error) => {
                known.failures = known.failures.saturating_add(1);
                known.features = None;
                self.parts.metrics.channel_failed(self.portal.as_str(), label);
                let (failures, reason) = (known.failures, error_chain(&error));
                tracing::warn!(portal = %self.portal, failures, %reason, "the offline queue was not read");
                self.sweep_instead(known).await;
                self.parts.channels.failed(&self.portal, &reason);
            }
        }
    }

    /// Whether the portal has a queue at all; a box without one is swept instead, and not asked for it each time.
    fn is_there(&self) -> bool {
        !self.parts.capabilities.lacks(&self.portal, offline::GET)
    }

    /// The queue is out of reach: what changed is asked for, as often as a portal without a queue is.
    async fn sweep_instead(&self, known: &mut Knowledge) {
        if known.swept.is_none_or(|at| at.elapsed() >= self.sweep_interval) {
            known.swept = Some(Instant::now());
            self.sweep.look().await;
        }
    }

    /// Whether a later look at the plan has not seen otherwise.
    fn still_holds(&self, features: Features) -> bool {
        let Some(map) = self.parts.capabilities.of(&self.portal) else { return true };
        map.feature(FEATURE_RESERVES).is_none_or(|reserves| reserves == features.reserves)
            && map.feature(FEATURE_CONNECTOR).is_none_or(|connector| connector == features.connector)
    }

    async fn features(&self, known: &mut Knowledge) -> Result<Features, QueueError> {
        match known.features {
            Some((features, at)) if at.elapsed() < FEATURES_FOR && self.still_holds(features) => Ok(features),
            Some(_) | None => {
                let features = offline::features(&self.caller).await?;
                if known.last.replace(features).is_some_and(|last| last.connector != features.connector) {
                    known.sweeps_due = SWEEPS_AFTER_CHANGE;
                }
                known.features = Some((features, Instant::now()));
                Ok(features)
            }
        }
    }

    /// Reads the queue to its end; says how many rows came.
    async fn drain(&self, known: &mut Knowledge) -> Result<usize, QueueError> {
        let features = self.features(known).await?;
        let connector = self.connector.as_deref().filter(|_| features.connector);
        if !features.reserves {
            return self.drain_deleting(connector).await;
        }
        let mut rows = 0;
        if known.forgotten {
            rows += self.adopt_forgotten(connector).await?;
            known.forgotten = false;
        }
        let fetched = self.drain_reserving(connector).await;
        // Rows may be reserved now under an id that never reached us.
        known.forgotten = fetched.is_err();
        Ok(rows + fetched?)
    }

    async fn adopt_forgotten(&self, connector: Option<&str>) -> Result<usize, QueueError> {
        let mut rows = 0;
        for process_id in offline::reserved(&self.caller, connector).await? {
            let package = offline::fetch(&self.caller, Fetch::Again(&process_id), connector).await?;
            tracing::info!(portal = %self.portal, rows = package.count, "a forgotten reservation of the offline queue was taken up");
            rows += package.count;
            self.accept(&Package { process_id: Some(process_id), ..package }, connector).await?;
        }
        Ok(rows)
    }

    async fn drain_reserving(&self, connector: Option<&str>) -> Result<usize, QueueError> {
        let (mut rows, mut at_once) = (0, 1);
        loop {
            let fetches = (0..at_once).map(|_| offline::fetch(&self.caller, Fetch::Reserving, connector));
            let mut more = true;
            let mut failed = None;
            for package in join_all(fetches).await {
                match package {
                    Ok(package) => {
                        rows += package.count;
                        more &= package.is_full();
                        // Also an empty reservation is cleared, where the portal makes one.
                        self.accept(&package, connector).await?;
                    }
                    Err(failure) => failed = Some(failure),
                }
            }
            match (failed, more) {
                (Some(failure), _) => return Err(failure.into()),
                (None, false) => return Ok(rows),
                (None, true) if self.parts.is_draining() => return Ok(rows),
                (None, true) => at_once = FETCHES_AT_ONCE,
            }
        }
    }

    /// The documented window of loss is between the portal's answer and our commit; a sweep covers it.
    async fn drain_deleting(&self, connector: Option<&str>) -> Result<usize, QueueError> {
        let mut rows = 0;
        while !self.parts.is_draining() {
            let package = offline::fetch(&self.caller, Fetch::Deleting, connector).await?;
            rows += package.count;
            while let Err(error) = self.accept(&package, connector).await {
                if self.parts.is_draining() {
                    return Err(error.into());
                }
                tracing::warn!(portal = %self.portal, %error, "the store does not take what the portal has deleted already");
                tokio::time::sleep(STORE_PAUSE).await;
            }
            if !package.is_full() {
                break;
            }
        }
        Ok(rows)
    }

    /// Rows that a rule listens to, and the reservation, in one commit.
    async fn accept(&self, package: &Package, connector: Option<&str>) -> Result<(), StoreError> {
        let now = self.parts.clock.now();
        // One row per subject: the queue keeps one per event name, and added and updated lead to one reading.
        let mut seen = BTreeSet::new();
        let mut notices: Vec<NewNotice> = Vec::new();
        for row in &package.rows {
            if let Some(found) = self.found(row).filter(|found| seen.insert(found.subject)) {
                notices.push(found.notice(&self.portal, now));
            }
        }
        if let Some(process_id) = package.process_id.clone() {
            let reservation = Reservation { process_id, connector: connector.map(str::to_owned) };
            notices.push(reservation.notice(&self.portal, now));
        }
        if notices.is_empty() {
            return Ok(());
        }
        self.parts.store.accept_all(notices, None).await?;
        self.parts.work_arrived.notify_one();
        Ok(())
    }

    fn found(&self, row: &QueueRow) -> Option<Found> {
        let rules = &self.parts.rules;
        let subject = match row.event.trigger()? {
            BitrixTrigger::CrmItemChanged { item }
                if rule::listens_to_items(rules, &self.portal, item.entity_type_id) =>
            {
                Subject::Item(item)
            }
            BitrixTrigger::DocumentGenerated { document_id, item } => {
                let facts = GeneratedFacts { template_id: None, item };
                rule::rule_for_generated(rules, &self.portal, facts)?;
                Subject::Generated(document_id)
            }
            BitrixTrigger::CrmItemChanged { .. }
            | BitrixTrigger::DriveFileAdded { .. }
            | BitrixTrigger::OfflineQueueFilled
            | BitrixTrigger::Other { .. } => return None,
        };
        Some(Found { subject, channel: Channel::OfflineQueue, changed_at: row.at })
    }
}

/// Clears a reservation at the portal: its rows are in the inbox since the notice is.
///
/// # Errors
/// The portal's failure, if a repeat may help. A portal that refuses for good has nothing reserved any more.
pub async fn clear(caller: &PortalCaller, reservation: &Reservation) -> Result<(), Failure> {
    match offline::clear(caller, &reservation.process_id, reservation.connector.as_deref()).await {
        Err(failure) if failure.class != FailureClass::Permanent => Err(failure),
        Err(failure) => {
            tracing::warn!(code = %failure.code, "the portal refuses to clear a reservation, which is left to it");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
