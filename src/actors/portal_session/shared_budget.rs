//! The budget of one portal, shared by all sessions that speak with it from this address.
//!
//! The portal counts requests per portal and source address, whatever the credential (`limits.md`): two webhooks of
//! one portal have one bucket. Requests are paid on disk a little ahead of their use, each session in its own record,
//! so that a crash may waste requests but never overspends them; after a restart the highest record counts.
//! Knows no queue and no call.
//!
//! Invariant: at every moment the level on disk is at least the level of what was sent. Both drain with time, so that a
//! payment made long ago pays for nothing: what is paid ahead is the difference of the two levels now, not a count.

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
    /// What was sent.
    level: PortalState,
    /// What is on disk: the next process takes it for sent.
    on_disk: PortalState,
    paying: Option<Payment>,
    pauses: LimitPauses,
    overload_until: Option<Timestamp>,
}

/// A payment under way.
#[derive(Debug)]
enum Payment {
    /// Somebody was told to pay.
    Ordered,
    /// This is being written. Later writes of the same payment say the same or more.
    Written(PortalState),
}

/// One request in the thousandths that levels are counted in.
const ONE: u64 = 1_000;

impl Inner {
    /// Requests that may be sent before more was sent than is on disk.
    fn paid_ahead(&self, bucket: LeakyBucket, now: Timestamp) -> u64 {
        let (on_disk, sent) = (bucket.level_milli(&self.on_disk, now), bucket.level_milli(&self.level, now));
        on_disk.saturating_sub(sent) / ONE
    }

    /// What must be on disk now: not less than there is, and the payment under way on top.
    fn to_write(&self, bucket: LeakyBucket, now: Timestamp) -> u64 {
        let spent = bucket.level_milli(&self.on_disk, now).max(bucket.level_milli(&self.level, now));
        let ahead = if self.paying.is_some() { limits::BUDGET_AHEAD } else { 0 };
        spent.saturating_add(ahead * ONE)
    }
}

fn level_of(bucket_milli: u64, bucket_at: Timestamp) -> PortalState {
    PortalState { bucket_milli, bucket_at, ..PortalState::default() }
}

/// The higher of two levels.
fn raise(bucket: LeakyBucket, level: &mut PortalState, found_milli: u64, now: Timestamp) {
    if found_milli > bucket.level_milli(level, now) {
        *level = level_of(found_milli, now);
    }
}

impl SharedBudget {
    /// A budget that nobody has used.
    pub fn new(bucket: Option<LeakyBucket>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                bucket,
                level: PortalState::default(),
                on_disk: PortalState::default(),
                paying: None,
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
    ///
    /// It holds what was paid ahead: more than the bucket was never sent, and a damaged record must not wait for days.
    pub fn recall(&self, state: &PortalState, now: Timestamp) {
        let mut inner = self.inner();
        inner.overload_until = inner.overload_until.max(state.overload_until);
        let Some(bucket) = inner.bucket else { return };
        let (found, capacity) = (bucket.level_milli(state, now), bucket.capacity_milli());
        let paid_max = (limits::BUDGET_LOW_WATER + 1 + limits::BUDGET_AHEAD) * ONE;
        raise(bucket, &mut inner.level, found.min(capacity), now);
        raise(bucket, &mut inner.on_disk, found.min(capacity + paid_max), now);
    }

    /// Takes room for one request.
    pub fn take(&self, now: Timestamp) -> Spend {
        let mut inner = self.inner();
        let Some(bucket) = inner.bucket else { return Spend::Granted };
        if inner.paid_ahead(bucket, now) == 0 {
            return Spend::Unpaid;
        }
        match bucket.take(&mut inner.level, now) {
            Take::Granted => Spend::Granted,
            Take::WaitUntil(until) => Spend::WaitUntil(until),
        }
    }

    /// Whether more must be paid; payment begins early, so that no request waits for the disk.
    pub fn payer(&self, now: Timestamp) -> Payer {
        let mut inner = self.inner();
        let Some(bucket) = inner.bucket else { return Payer::Nobody };
        if inner.paid_ahead(bucket, now) > limits::BUDGET_LOW_WATER {
            return Payer::Nobody;
        }
        if inner.paying.is_some() {
            return Payer::Another;
        }
        inner.paying = Some(Payment::Ordered);
        Payer::Me
    }

    /// The payment is on disk, or could not be written.
    pub fn paid<E>(&self, written: &Result<(), E>) {
        let mut inner = self.inner();
        if let (Some(Payment::Written(state)), Ok(())) = (inner.paying.take(), written) {
            inner.on_disk = state;
        }
    }

    /// Writes the level, with what is paid ahead and is being paid, into a state that is about to be stored.
    pub fn write_into(&self, state: &mut PortalState, now: Timestamp) {
        let mut inner = self.inner();
        let Some(bucket) = inner.bucket else { return };
        state.bucket_milli = inner.to_write(bucket, now);
        state.bucket_at = now;
        if let Some(Payment::Ordered) = inner.paying {
            inner.paying = Some(Payment::Written(level_of(state.bucket_milli, now)));
        }
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
        match budget.payer(NOW) {
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

    /// Sends `count` requests as fast as they are let, paying as the sessions do; what is on disk then, and when.
    fn send(budget: &SharedBudget, durable: &mut PortalState, mut now: Timestamp, count: u32) -> Timestamp {
        let mut sent = 0;
        while sent < count {
            if budget.payer(now) == Payer::Me {
                budget.write_into(durable, now);
                budget.paid(&Ok::<(), ()>(()));
            }
            match budget.take(now) {
                Spend::Granted => sent += 1,
                Spend::WaitUntil(until) => now = until,
                Spend::Unpaid => unreachable!("it was paid"),
            }
        }
        now
    }

    #[track_caller]
    fn check_crash(budget: &SharedBudget, bucket: LeakyBucket, durable: &PortalState, now: Timestamp) {
        let (found, sent) =
            (bucket.level_milli(durable, now), bucket.level_milli(&budget.inner().level, now));
        assert!(found >= sent, "a crash now would overspend: {found} of {sent} on disk");
        let next = SharedBudget::new(Some(bucket));
        next.recall(durable, now);
        assert!(bucket.level_milli(&next.inner().level, now) >= sent);
    }

    #[test]
    fn a_crash_overspends_nothing_where_the_bucket_is_smaller_than_a_payment() {
        let bucket = LeakyBucket { rate_milli_per_s: 1_000, burst: 4 };
        let budget = SharedBudget::new(Some(bucket));
        let (mut durable, mut now) = (PortalState::default(), NOW);
        for _ in 0..30 {
            now = send(&budget, &mut durable, now, 1);
            check_crash(&budget, bucket, &durable, now);
        }
    }

    #[test]
    fn a_payment_of_long_ago_pays_for_nothing() {
        let bucket = LeakyBucket::CLOUD;
        let budget = SharedBudget::new(Some(bucket));
        let mut durable = PortalState::default();
        let now = send(&budget, &mut durable, NOW, 1).plus_ms(60_000);
        assert_eq!(budget.take(now), Spend::Unpaid, "both levels have drained");
        let now = send(&budget, &mut durable, now, 5);
        check_crash(&budget, bucket, &durable, now);
    }

    #[test]
    fn crashes_in_a_row_do_not_pile_payments_up() {
        let bucket = LeakyBucket { rate_milli_per_s: 200, burst: 5 };
        let mut durable = PortalState::default();
        for _ in 0..50 {
            let budget = SharedBudget::new(Some(bucket));
            budget.recall(&durable, NOW);
            if budget.payer(NOW) == Payer::Me {
                budget.write_into(&mut durable, NOW);
            }
        }
        let next = SharedBudget::new(Some(bucket));
        next.recall(&durable, NOW);
        send(&next, &mut durable, NOW, 1);
        assert!(bucket.level_milli(&durable, NOW) <= bucket.capacity_milli() + 25_000, "{durable:?}");
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
        assert!(matches!(budget.payer(NOW), Payer::Me));
        assert_eq!(budget.payer(NOW), Payer::Another);
        budget.paid(&Err::<(), ()>(()));
        assert_eq!(budget.take(NOW), Spend::Unpaid);
        assert!(matches!(budget.payer(NOW), Payer::Me));
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
