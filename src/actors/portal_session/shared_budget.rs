//! The budget of one portal, shared by all sessions that speak with it from this address.
//!
//! The portal counts requests per portal and source address, whatever the credential (`limits.md`): two webhooks of
//! one portal have one bucket. Requests are paid on disk a little ahead of their use, each session in its own record,
//! so that a crash may waste requests but never overspends them; after a restart the highest record counts.
//! Knows no queue and no call.

use super::pauses::LimitPauses;
use crate::actors::PortalPauses;
use crate::domain::portal::PortalState;
use crate::domain::{PortalId, Text, Timestamp};
use crate::limits;
use crate::providers::bitrix24::budget::{LeakyBucket, Take};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Whether a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spend {
    /// Yes; it is counted already.
    Granted,
    /// Not before this moment.
    WaitUntil(Timestamp),
    /// First some requests must be paid on disk.
    Unpaid,
}

/// Who writes the next requests as spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payer {
    /// Whoever asked: [`SharedBudget::write_into`], to disk, then [`SharedBudget::paid`].
    Me,
    /// Another session is writing.
    Another,
    /// Enough is paid for now, or there is no bucket.
    Nobody,
}

/// One portal's budget.
#[derive(Debug)]
pub struct SharedBudget {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// None: the portal has no such limit (a box).
    bucket: Option<LeakyBucket>,
    level: PortalState,
    /// Requests that are on disk as spent and were not sent yet.
    paid_ahead: u64,
    paying: bool,
    pauses: LimitPauses,
    overload_until: Option<Timestamp>,
}

impl SharedBudget {
    /// A budget that nobody has used.
    pub fn new(bucket: Option<LeakyBucket>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                bucket,
                level: PortalState::default(),
                paid_ahead: 0,
                paying: false,
                pauses: LimitPauses::default(),
                overload_until: None,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Two configurations of one portal: the more careful one counts.
    fn restrict(&self, other: Option<LeakyBucket>) {
        let mut inner = self.inner();
        inner.bucket = match (inner.bucket, other) {
            (Some(a), Some(b)) => Some(LeakyBucket {
                rate_milli_per_s: a.rate_milli_per_s.min(b.rate_milli_per_s),
                burst: a.burst.min(b.burst),
            }),
            (a, b) => a.or(b),
        };
    }

    /// What a session finds on disk when it starts.
    pub fn recall(&self, state: &PortalState, now: Timestamp) {
        let mut inner = self.inner();
        inner.overload_until = inner.overload_until.max(state.overload_until);
        let Some(bucket) = inner.bucket else { return };
        if bucket.level_milli(state, now) > bucket.level_milli(&inner.level, now) {
            inner.level.bucket_milli = state.bucket_milli;
            inner.level.bucket_at = state.bucket_at;
        }
    }

    /// Takes room for one request.
    pub fn take(&self, now: Timestamp) -> Spend {
        let mut inner = self.inner();
        let Some(bucket) = inner.bucket else { return Spend::Granted };
        if inner.paid_ahead == 0 {
            return Spend::Unpaid;
        }
        match bucket.take(&mut inner.level, now) {
            Take::Granted => {
                inner.paid_ahead -= 1;
                Spend::Granted
            }
            Take::WaitUntil(until) => Spend::WaitUntil(until),
        }
    }

    /// Whether more must be paid; payment begins early, so that no request waits for the disk.
    pub fn payer(&self) -> Payer {
        let mut inner = self.inner();
        if inner.bucket.is_none() || inner.paid_ahead > limits::BUDGET_LOW_WATER {
            return Payer::Nobody;
        }
        if inner.paying {
            return Payer::Another;
        }
        inner.paying = true;
        Payer::Me
    }

    /// The payment is on disk, or could not be written.
    pub fn paid<E>(&self, written: &Result<(), E>) {
        let mut inner = self.inner();
        inner.paying = false;
        if written.is_ok() {
            inner.paid_ahead += limits::BUDGET_AHEAD;
        }
    }

    /// Writes the level, with what is paid ahead and is being paid, into a state that is about to be stored.
    pub fn write_into(&self, state: &mut PortalState, now: Timestamp) {
        let inner = self.inner();
        let Some(bucket) = inner.bucket else { return };
        let mut level = inner.level.clone();
        let ahead = inner.paid_ahead + if inner.paying { limits::BUDGET_AHEAD } else { 0 };
        bucket.add(&mut level, now, ahead as u32);
        state.bucket_milli = level.bucket_milli;
        state.bucket_at = level.bucket_at;
    }

    /// Counts requests that were sent without asking.
    pub fn add(&self, now: Timestamp, requests: u32) {
        let mut inner = self.inner();
        if let Some(bucket) = inner.bucket.filter(|_| requests > 0) {
            bucket.add(&mut inner.level, now, requests);
        }
    }

    /// The portal has refused a request because its bucket is full: everybody waits.
    pub fn refused(&self, pauses: PortalPauses, now: Timestamp) {
        let mut inner = self.inner();
        inner.pauses.hit(pauses, now);
        if let Some(bucket) = inner.bucket {
            bucket.fill(&mut inner.level, now);
        }
    }

    /// The portal has answered: the next pause is a short one again.
    pub fn answered(&self) {
        self.inner().pauses.answered();
    }

    /// Until when nothing may be sent after a refusal.
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.inner().pauses.until(now)
    }

    /// The vendor has blocked the portal, for all who speak with it.
    pub fn overloaded(&self, until: Timestamp) {
        let mut inner = self.inner();
        inner.overload_until = inner.overload_until.max(Some(until));
    }

    /// Until when the vendor's block is believed to last.
    pub fn overload_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.inner().overload_until.filter(|until| *until > now)
    }

    /// Level and size of the bucket in requests; none if the portal has no such limit.
    pub fn level(&self, now: Timestamp) -> Option<BucketLevel> {
        let inner = self.inner();
        let bucket = inner.bucket?;
        Some(BucketLevel {
            level: bucket.level_milli(&inner.level, now) as f64 / 1_000.0,
            capacity: bucket.capacity_milli() as f64 / 1_000.0,
            per_second: f64::from(bucket.rate_milli_per_s) / 1_000.0,
        })
    }
}

/// How full a bucket is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketLevel {
    /// Requests that have not leaked out yet.
    pub level: f64,
    /// Requests that we let in at most; a little less than the portal allows.
    pub capacity: f64,
    /// Requests that leak out each second.
    pub per_second: f64,
}

impl BucketLevel {
    /// How long gathering calls is worth the wait, in milliseconds: nothing while requests are plenty, up to the
    /// time in which `requests` leak out when there are none left.
    pub fn scarcity_ms(&self, requests: f64) -> u64 {
        let full = (self.level / self.capacity.max(1.0)).clamp(0.0, 1.0);
        let interval_ms = 1_000.0 / self.per_second.max(0.001);
        ((full * full * interval_ms * requests) as u64).min(limits::GATHER_MS_MAX)
    }
}

/// The budgets of all portals, and which of them the vendor has blocked.
#[derive(Debug, Default)]
pub struct Budgets {
    shared: Mutex<HashMap<String, Weak<SharedBudget>>>,
    alarms: Mutex<BTreeMap<PortalId, Timestamp>>,
}

impl Budgets {
    /// The budget of the portal that `key` names: `member_id` or host. Whoever asks with one key gets one budget.
    pub fn of(&self, key: &str, bucket: Option<LeakyBucket>) -> Arc<SharedBudget> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.get(key).and_then(Weak::upgrade) {
            known.restrict(bucket);
            return known;
        }
        shared.retain(|_, budget| budget.strong_count() > 0);
        let fresh = Arc::new(SharedBudget::new(bucket));
        shared.insert(key.to_owned(), Arc::downgrade(&fresh));
        fresh
    }

    /// The vendor has blocked `portal` until then, or it works again.
    pub fn set_alarm(&self, portal: &PortalId, until: Option<Timestamp>) {
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        match until {
            Some(until) => drop(alarms.insert(portal.clone(), until)),
            None => drop(alarms.remove(portal)),
        }
    }

    /// One sentence for each portal that the vendor has blocked.
    pub fn alarms(&self) -> Vec<Text> {
        let alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.keys().map(blocked_by_vendor).collect()
    }
}

fn blocked_by_vendor(portal: &PortalId) -> Text {
    Text::new(
        format!(
            "Портал «{portal}» заблокирован поставщиком (OVERLOAD_LIMIT), его документы ждут. Напишите в поддержку \
             Битрикс24; работа продолжится сама."
        ),
        format!(
            "Portal \"{portal}\" is blocked by the vendor (OVERLOAD_LIMIT) and its documents wait. Write to Bitrix24's \
             support; work goes on by itself."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn pay(budget: &SharedBudget) -> Option<PortalState> {
        match budget.payer() {
            Payer::Me => {
                let mut durable = PortalState::default();
                budget.write_into(&mut durable, NOW);
                budget.paid(&Ok::<(), ()>(()));
                Some(durable)
            }
            Payer::Another | Payer::Nobody => None,
        }
    }

    fn spend_all(budget: &SharedBudget) -> u64 {
        let mut spent = 0;
        loop {
            pay(budget);
            match budget.take(NOW) {
                Spend::Granted => spent += 1,
                Spend::WaitUntil(_) => return spent,
                Spend::Unpaid => unreachable!("it was paid"),
            }
        }
    }

    #[test]
    fn two_credentials_of_one_portal_share_one_bucket() {
        let budgets = Budgets::default();
        let one = budgets.of("member", Some(LeakyBucket::CLOUD));
        let two = budgets.of("member", Some(LeakyBucket::CLOUD));
        let other = budgets.of("other", Some(LeakyBucket::CLOUD));
        assert_eq!(spend_all(&one), 48);
        assert_eq!(spend_all(&two), 0);
        assert_eq!(spend_all(&other), 48);
    }

    #[test]
    fn the_more_careful_of_two_settings_counts() {
        let budgets = Budgets::default();
        let one = budgets.of("member", None);
        assert_eq!(one.level(NOW), None);
        let _two = budgets.of("member", Some(LeakyBucket { rate_milli_per_s: 1_000, burst: 5 }));
        assert_eq!(spend_all(&one), 4);
    }

    #[test]
    fn nothing_is_sent_that_is_not_on_disk_as_spent() {
        let budget = SharedBudget::new(Some(LeakyBucket::CLOUD));
        assert_eq!(budget.take(NOW), Spend::Unpaid);
        let mut durable = PortalState { bucket_at: NOW, ..PortalState::default() };
        let mut sent = 0;
        for _ in 0..40 {
            if let Some(written) = pay(&budget) {
                durable = written;
            }
            if budget.take(NOW) == Spend::Granted {
                sent += 1;
            }
            assert!(durable.bucket_milli >= sent * 1_000, "a crash now would overspend: {sent}");
        }
        let after_restart = SharedBudget::new(Some(LeakyBucket::CLOUD));
        after_restart.recall(&durable, NOW);
        assert!(sent + spend_all(&after_restart) <= 48);
    }

    #[test]
    fn a_crash_spends_nothing_twice_where_the_bucket_is_smaller_than_a_payment() {
        let bucket = LeakyBucket { rate_milli_per_s: 1_000, burst: 4 };
        let budget = SharedBudget::new(Some(bucket));
        let mut durable = PortalState::default();
        let mut now = NOW;
        // A burst, then a request each second, as fast as the bucket lets them: all of one payment.
        for _ in 0..10 {
            if budget.payer() == Payer::Me {
                budget.write_into(&mut durable, now);
                budget.paid(&Ok::<(), ()>(()));
            }
            match budget.take(now) {
                Spend::Granted => {}
                Spend::WaitUntil(until) => {
                    now = until;
                    assert_eq!(budget.take(now), Spend::Granted);
                }
                Spend::Unpaid => unreachable!("it was paid"),
            }
        }
        let level = bucket.level_milli(&budget.inner().level, now);
        assert!(bucket.level_milli(&durable, now) >= level, "a crash now would overspend");
    }

    #[test]
    fn of_several_records_the_highest_counts() {
        let budget = SharedBudget::new(Some(LeakyBucket::CLOUD));
        for milli in [10_000, 40_000, 5_000] {
            budget
                .recall(&PortalState { bucket_milli: milli, bucket_at: NOW, ..PortalState::default() }, NOW);
        }
        assert_eq!(spend_all(&budget), 8);
    }

    #[test]
    fn a_payment_that_failed_pays_nothing_and_one_session_pays_at_a_time() {
        let budget = SharedBudget::new(Some(LeakyBucket::CLOUD));
        assert!(matches!(budget.payer(), Payer::Me));
        assert_eq!(budget.payer(), Payer::Another);
        budget.paid(&Err::<(), ()>(()));
        assert_eq!(budget.take(NOW), Spend::Unpaid);
        assert!(matches!(budget.payer(), Payer::Me));
    }

    #[test]
    fn the_scarcer_requests_are_the_longer_calls_gather() {
        let level = |level| BucketLevel { level, capacity: 48.0, per_second: 2.0 };
        assert_eq!(level(0.0).scarcity_ms(10.0), 0);
        assert_eq!(level(24.0).scarcity_ms(10.0), 1_250);
        assert_eq!(level(48.0).scarcity_ms(10.0), 5_000);
        assert_eq!(level(96.0).scarcity_ms(1_000.0), limits::GATHER_MS_MAX);
    }

    #[test]
    fn a_blocked_portal_is_named_until_it_works_again() {
        let (budgets, portal) = (Budgets::default(), PortalId("main".to_owned()));
        budgets.set_alarm(&portal, Some(NOW));
        assert!(budgets.alarms()[0].en.contains("main"));
        budgets.set_alarm(&portal, None);
        assert!(budgets.alarms().is_empty());
    }
}
