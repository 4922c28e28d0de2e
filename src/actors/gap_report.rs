//! GapReport: what the outgoing webhook has missed and a second channel has healed, and how late.
//!
//! A change that a second channel finds is a gap if no event of the webhook spoke of that object at or after the
//! change, nor does within a time of grace: events lie in the vendor's queue for a while. Healing does not wait for
//! that: the change is in the inbox before it is judged here. The report is a lower bound: a lost event is not told
//! from one that was heard shortly before for the same object, and both then led to the same reading.
//!
//! Kept in memory since the start; the counters go to the metrics. Everything here has a bound.

use super::found::{Channel, Found, Subject};
use crate::domain::{PortalId, Timestamp};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::GapCause;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Objects of which the webhook spoke lately that are remembered: 100 bytes each.
const HEARD_MAX: usize = 20_000;
/// For so long, in milliseconds: longer than the slowest second channel plus the grace.
const HEARD_MS: u64 = 6 * 3_600_000;
/// Changes that wait for their grace to end.
const SUSPECTS_MAX: usize = 10_000;
/// Gaps that are kept for people.
const SHOWN_MAX: usize = 200;
/// Difference between the portal's clock and ours that is forgiven, in milliseconds.
const SKEW_MS: u64 = 30_000;

/// Portals write moments in whole seconds.
const SECOND_MS: u64 = 1_000;

/// What is known of the webhooks of the portals.
#[derive(Debug, Clone, Default)]
pub struct GapSettings {
    /// How long an event may be under way before it counts as missed, in milliseconds, by portal.
    pub grace_ms: BTreeMap<PortalId, u64>,
    /// Portals that send us no events at all, so that nothing can be missed.
    pub without_webhook: HashSet<PortalId>,
}

/// The grace of a portal that has no setting of its own, in milliseconds.
const GRACE_MS: u64 = 300_000;

/// One gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The portal.
    pub portal: PortalId,
    /// What changed.
    pub subject: Subject,
    /// Which channel healed it.
    pub channel: Channel,
    /// Why the webhook did not tell us, as far as that can be known.
    pub cause: GapCause,
    /// When it changed, by the portal's clock, if that is known.
    pub changed_at: Option<Timestamp>,
    /// When it was healed.
    pub healed_at: Timestamp,
}

impl Gap {
    /// How late it was healed, if that is known, in milliseconds.
    pub fn late_ms(&self) -> Option<u64> {
        self.changed_at.map(|changed| self.healed_at.ms_since(changed))
    }
}

/// Numbers of one portal since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GapTotals {
    /// Events of the webhook that spoke of objects of interest.
    pub heard: u64,
    /// Changes that a second channel found.
    pub found: u64,
    /// Of these: the webhook had told us, or told us within the grace.
    pub confirmed: u64,
    /// Of these: missed by the webhook while we were listening, and healed.
    pub lost: u64,
    /// Of these: made before this process started, so that an event may have come to nobody.
    pub before_start: u64,
    /// Of these: at a portal that sends us no events.
    pub only_channel: u64,
    /// Of these: not judged yet.
    pub undecided: u64,
    /// The latest healing of a gap, in milliseconds after the change.
    pub late_ms_max: u64,
}

/// The report. Shared by all who hear and find.
#[derive(Debug)]
pub struct GapReport {
    settings: GapSettings,
    started: Timestamp,
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    heard: HashMap<(PortalId, Subject), Timestamp>,
    /// The change that was found last of each object: a sweep may find it again before its document claims it.
    found: HashMap<(PortalId, Subject), Option<Timestamp>>,
    /// In the order in which they were heard, to forget the oldest first.
    heard_order: VecDeque<(Timestamp, PortalId, Subject)>,
    suspects: VecDeque<Suspect>,
    shown: VecDeque<Gap>,
    totals: BTreeMap<PortalId, GapTotals>,
}

#[derive(Debug)]
struct Suspect {
    gap: Gap,
    until: Timestamp,
}

impl GapReport {
    /// A report that begins now.
    pub fn new(settings: GapSettings, started: Timestamp, metrics: Arc<Metrics>) -> Self {
        Self { settings, started, metrics, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The webhook spoke of this object.
    pub fn heard(&self, portal: &PortalId, subject: Subject, at: Timestamp) {
        let mut inner = self.inner();
        inner.totals.entry(portal.clone()).or_default().heard += 1;
        inner.heard.insert((portal.clone(), subject), at);
        inner.heard_order.push_back((at, portal.clone(), subject));
        inner.forget_old(at);
    }

    /// A second channel found a change; it is in the inbox already.
    pub fn found(&self, portal: &PortalId, found: &Found, now: Timestamp) {
        let mut inner = self.inner();
        if inner.found.len() >= HEARD_MAX {
            inner.found.clear();
        }
        if inner.found.insert((portal.clone(), found.subject), found.changed_at) == Some(found.changed_at) {
            return;
        }
        let totals = inner.totals.entry(portal.clone()).or_default();
        totals.found += 1;
        if self.settings.without_webhook.contains(portal) {
            totals.only_channel += 1;
            return;
        }
        let before_start = found.changed_at.is_some_and(|at| at.plus_ms(SECOND_MS) <= self.started);
        let cause = if before_start { GapCause::BeforeStart } else { GapCause::Lost };
        let gap = Gap {
            portal: portal.clone(),
            subject: found.subject,
            channel: found.channel,
            cause,
            changed_at: found.changed_at,
            healed_at: now,
        };
        if inner.was_told(&gap) {
            inner.totals.entry(portal.clone()).or_default().confirmed += 1;
            return;
        }
        let grace = self.settings.grace_ms.get(portal).copied().unwrap_or(GRACE_MS);
        inner.suspects.push_back(Suspect { gap, until: now.plus_ms(grace) });
        if inner.suspects.len() > SUSPECTS_MAX
            && let Some(first) = inner.suspects.pop_front()
        {
            self.decide(&mut inner, first.gap);
        }
    }

    /// The numbers of each portal, and the latest gaps, newest first.
    pub fn view(&self, now: Timestamp) -> (BTreeMap<PortalId, GapTotals>, Vec<Gap>) {
        let mut inner = self.inner();
        self.judge_due(&mut inner, now);
        let mut totals = inner.totals.clone();
        for suspect in &inner.suspects {
            totals.entry(suspect.gap.portal.clone()).or_default().undecided += 1;
        }
        (totals, inner.shown.iter().rev().cloned().collect())
    }

    /// Judges what has waited out its grace.
    pub fn tick(&self, now: Timestamp) {
        self.judge_due(&mut self.inner(), now);
    }

    fn judge_due(&self, inner: &mut Inner, now: Timestamp) {
        let mut kept = VecDeque::with_capacity(inner.suspects.len());
        for suspect in std::mem::take(&mut inner.suspects) {
            if suspect.until <= now { self.decide(inner, suspect.gap) } else { kept.push_back(suspect) }
        }
        inner.suspects = kept;
    }

    fn decide(&self, inner: &mut Inner, gap: Gap) {
        let told = inner.was_told(&gap);
        let totals = inner.totals.entry(gap.portal.clone()).or_default();
        if told {
            totals.confirmed += 1;
            return;
        }
        match gap.cause {
            GapCause::Lost => totals.lost += 1,
            GapCause::BeforeStart => totals.before_start += 1,
        }
        let late_ms = gap.late_ms();
        totals.late_ms_max = totals.late_ms_max.max(late_ms.unwrap_or(0));
        self.metrics.gap_healed(
            gap.portal.as_str(),
            gap.channel.label(),
            gap.cause,
            late_ms.map(Duration::from_millis),
        );
        tracing::warn!(
            portal = %gap.portal,
            subject = %gap.subject,
            channel = gap.channel.label().as_str(),
            cause = gap.cause.as_str(),
            late_ms,
            "an event of the portal never came and was healed by the second channel"
        );
        inner.shown.push_back(gap);
        if inner.shown.len() > SHOWN_MAX {
            inner.shown.pop_front();
        }
    }
}

impl Inner {
    /// Whether the webhook spoke of the object at or after the change. Without a moment of change: ever lately.
    fn was_told(&self, gap: &Gap) -> bool {
        let Some(heard) = self.heard.get(&(gap.portal.clone(), gap.subject)) else { return false };
        gap.changed_at.is_none_or(|changed| heard.plus_ms(SKEW_MS) >= changed)
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some((at, _, _)) = self.heard_order.front() {
            if self.heard_order.len() <= HEARD_MAX && now.ms_since(*at) < HEARD_MS {
                break;
            }
            if let Some((at, portal, subject)) = self.heard_order.pop_front() {
                // Heard again since: then a later entry stands for it.
                let key = (portal, subject);
                if self.heard.get(&key) == Some(&at) {
                    self.heard.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CrmItem;

    const START: Timestamp = Timestamp(1_000_000_000);
    const MINUTE: u64 = 60_000;

    fn portal() -> PortalId {
        PortalId("main".into())
    }

    fn report() -> GapReport {
        let settings = GapSettings {
            grace_ms: [(portal(), MINUTE)].into(),
            without_webhook: [PortalId("mute".into())].into(),
        };
        GapReport::new(settings, START, Arc::new(Metrics::new()))
    }

    fn deal(id: u64, changed_at: Timestamp) -> Found {
        let subject = Subject::Item(CrmItem { entity_type_id: 2, id });
        Found { subject, channel: Channel::Sweep, changed_at: Some(changed_at) }
    }

    fn totals(report: &GapReport, now: Timestamp) -> GapTotals {
        report.view(now).0.remove(&portal()).unwrap_or_default()
    }

    #[test]
    fn a_change_that_no_event_told_is_a_gap_after_its_grace() {
        let report = report();
        let changed = START.plus_ms(10 * MINUTE);
        let found_at = changed.plus_ms(2 * MINUTE);
        report.found(&portal(), &deal(1, changed), found_at);
        report.found(&portal(), &deal(1, changed), found_at.plus_ms(200));
        assert_eq!(totals(&report, found_at).undecided, 1);
        let after = totals(&report, found_at.plus_ms(MINUTE));
        assert_eq!((after.found, after.lost, after.undecided), (1, 1, 0));
        assert_eq!(after.late_ms_max, 2 * MINUTE);
        let (_, shown) = report.view(found_at.plus_ms(MINUTE));
        assert_eq!(shown[0].late_ms(), Some(2 * MINUTE));
    }

    #[test]
    fn an_event_before_or_within_the_grace_is_no_gap() {
        let report = report();
        let changed = START.plus_ms(10 * MINUTE);
        let Found { subject, .. } = deal(1, changed);
        report.heard(&portal(), subject, changed.plus_ms(500));
        report.found(&portal(), &deal(1, changed), changed.plus_ms(MINUTE));
        let Found { subject, .. } = deal(2, changed);
        report.found(&portal(), &deal(2, changed), changed.plus_ms(MINUTE));
        report.heard(&portal(), subject, changed.plus_ms(MINUTE + 10_000));
        let seen = totals(&report, changed.plus_ms(10 * MINUTE));
        assert_eq!((seen.found, seen.confirmed, seen.lost), (2, 2, 0));
    }

    #[test]
    fn an_event_about_an_earlier_change_excuses_nothing() {
        let report = report();
        let changed = START.plus_ms(10 * MINUTE);
        let Found { subject, .. } = deal(1, changed);
        report.heard(&portal(), subject, START.plus_ms(MINUTE));
        report.found(&portal(), &deal(1, changed), changed.plus_ms(MINUTE));
        assert_eq!(totals(&report, changed.plus_ms(10 * MINUTE)).lost, 1);
    }

    #[test]
    fn what_changed_before_the_start_is_told_apart() {
        let report = report();
        report.found(&portal(), &deal(1, Timestamp(START.0 - 1_000)), START);
        let seen = totals(&report, START.plus_ms(10 * MINUTE));
        assert_eq!((seen.before_start, seen.lost), (1, 0));
    }

    #[test]
    fn a_portal_without_a_webhook_misses_nothing() {
        let report = report();
        let mute = PortalId("mute".into());
        report.found(&mute, &deal(1, START.plus_ms(1)), START.plus_ms(MINUTE));
        let seen = report.view(START.plus_ms(10 * MINUTE)).0.remove(&mute).unwrap();
        assert_eq!((seen.only_channel, seen.lost, seen.undecided), (1, 0, 0));
    }

    #[test]
    fn what_was_heard_is_remembered_within_bounds() {
        let report = report();
        for id in 0..HEARD_MAX as u64 + 500 {
            let Found { subject, .. } = deal(id, START);
            report.heard(&portal(), subject, START.plus_ms(id));
        }
        let inner = report.inner();
        assert!(inner.heard.len() <= HEARD_MAX && inner.heard_order.len() <= HEARD_MAX);
    }
}
