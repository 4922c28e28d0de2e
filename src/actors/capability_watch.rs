//! CapabilityWatch: asks a portal what it can do, when it comes for the first time and daily.
//!
//! A look that fails changes nothing: what was known stays, and what was never known is tried. What is new is logged
//! once, with its reason.

use super::features::{Shortfall, Standing, WayIn};
use super::portal_session::{PortalCaller, PortalSession};
use super::session_registry::Sessions;
use super::{Parts, chance};
use crate::domain::{Failure, PortalId, Timestamp};
use crate::providers::bitrix24::Client;
use crate::providers::bitrix24::capabilities::{self, METHODS};
use actix::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// The first pause after a look that failed; doubles up to [`RETRY_MS_MAX`].
const RETRY_MS: u64 = 60_000;
/// The longest such pause.
const RETRY_MS_MAX: u64 = 3_600_000;
/// A look that is due at the start of the process comes this late at most: not at every portal at once.
const SPREAD_MS_MAX: u64 = 60_000;
/// How often it is looked whether the portal still has the session that the watch was started with.
const STILL_THERE_MS: u64 = 5_000;

/// How a portal is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapabilitySettings {
    /// Pause between two looks, in milliseconds; none: nobody looks.
    pub interval_ms: Option<u64>,
    /// How we come to it.
    pub way_in: WayIn,
}

/// Starts the watch of `portal` in `arbiter`, if one is wanted. What is remembered of it counts from now on.
pub fn start(
    parts: &Arc<Parts>,
    portal: &PortalId,
    sessions: &Sessions,
    client: &Arc<Client>,
    settings: CapabilitySettings,
    arbiter: &ArbiterHandle,
) {
    let known = parts.capabilities.enter(portal, client.clone(), settings, &parts.rules);
    tell(parts, portal, &known);
    let (Some(interval_ms), Some(session)) = (settings.interval_ms, sessions.session(portal)) else { return };
    let watch = CapabilityWatch {
        parts: parts.clone(),
        portal: portal.clone(),
        sessions: sessions.clone(),
        session,
        way_in: settings.way_in,
        interval_ms,
    };
    arbiter.spawn(watch.run());
}

/// The watch of one portal.
struct CapabilityWatch {
    parts: Arc<Parts>,
    portal: PortalId,
    sessions: Sessions,
    session: Addr<PortalSession>,
    way_in: WayIn,
    interval_ms: u64,
}

impl CapabilityWatch {
    async fn run(self) {
        let mut pause_ms = self.first_pause_ms();
        let mut failures: u32 = 0;
        while self.pause(pause_ms).await {
            let caller = PortalCaller::background(self.session.clone());
            let since = self.parts.clock.now();
            pause_ms = match look(&self.parts, &self.portal, &caller, self.way_in, since).await {
                Ok(()) => {
                    failures = 0;
                    self.interval_ms
                }
                Err(_) => {
                    failures = failures.saturating_add(1);
                    (RETRY_MS << (failures - 1).min(10)).min(RETRY_MS_MAX).min(self.interval_ms)
                }
            };
        }
    }

    /// A portal of which nothing is known is asked at once.
    fn first_pause_ms(&self) -> u64 {
        let Some(map) = self.parts.capabilities.of(&self.portal) else { return 0 };
        let age_ms = self.parts.clock.now().ms_since(map.checked_at);
        match self.interval_ms.saturating_sub(age_ms) {
            0 => chance() % SPREAD_MS_MAX.min(self.interval_ms),
            rest => rest,
        }
    }

    /// Whether the portal is still ours to watch after this pause.
    async fn pause(&self, pause_ms: u64) -> bool {
        let until = tokio::time::Instant::now() + Duration::from_millis(pause_ms);
        loop {
            let is_ours = self.sessions.session(&self.portal).is_some_and(|now| now == self.session);
            if !is_ours || self.parts.is_draining() {
                return false;
            }
            let rest = until.saturating_duration_since(tokio::time::Instant::now());
            if rest.is_zero() {
                return true;
            }
            tokio::time::sleep(rest.min(Duration::from_millis(STILL_THERE_MS))).await;
        }
    }
}

/// Asks the portal, unless somebody has done that since `since`, and remembers the answer.
///
/// # Errors
/// The portal told nothing: what was known stays.
pub(super) async fn look(
    parts: &Parts,
    portal: &PortalId,
    caller: &PortalCaller,
    way_in: WayIn,
    since: Timestamp,
) -> Result<(), Failure> {
    let turn = parts.capabilities.turn(portal);
    let _turn = turn.lock().await;
    let before = parts.capabilities.of(portal);
    if before.as_ref().is_some_and(|map| map.checked_at >= since && map.asked_as == way_in.asked_as.name()) {
        return Ok(());
    }
    let seen = match capabilities::read_map(caller, way_in.asked_as, &METHODS, parts.clock.now()).await {
        Ok(seen) => seen,
        Err(failure) => {
            tracing::warn!(portal = %portal, code = %failure.code, "the portal does not say what it can do; what was known stays");
            parts.capabilities.unread(portal, failure.reason.clone());
            return Err(failure);
        }
    };
    let map = match before.as_deref() {
        Some(before) => before.clone().with(seen),
        None => seen,
    };
    if let Err(error) = parts.store.put_portal_capabilities(portal, &map).await {
        tracing::warn!(portal = %portal, %error, "what the portal can do cannot be remembered");
    }
    let news = parts.capabilities.put(portal, map, &parts.rules);
    tell(parts, portal, &news);
    Ok(())
}

fn tell(parts: &Parts, portal: &PortalId, news: &[Shortfall]) {
    for one in news {
        let (feature, text) = (one.feature.name(), one.text());
        match one.standing {
            Standing::Off => tracing::warn!(portal = %portal, feature, "{}", text.en),
            Standing::Otherwise => tracing::info!(portal = %portal, feature, "{}", text.en),
        }
    }
    measure(parts, portal);
}

/// The present state into the metrics.
fn measure(parts: &Parts, portal: &PortalId) {
    let Some(view) = parts.capabilities.view(portal) else { return };
    let count = |standing| view.shortfalls.iter().filter(|one| one.standing == standing).count() as u64;
    parts.metrics.set_portal_features_off(portal.as_str(), count(Standing::Off));
    parts.metrics.set_portal_features_otherwise(portal.as_str(), count(Standing::Otherwise));
}
