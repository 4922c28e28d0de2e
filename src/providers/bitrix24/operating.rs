//! Which methods of a portal have spent their operating time, learned from its answers.
//!
//! `limits.md`: the execution time of one method is summed over ten minutes; above the vendor's limit (480 s in the
//! docs' example) the method answers 429 until `operating_reset_at`, while other methods work on. A 429 is believed
//! most and is kept in [`PortalState`] over a restart; the sums only help not to run into it.

use super::client::{LimitHit, Observed};
use super::error::OPERATION_PAUSE_MS;
use crate::domain::Timestamp;
use crate::domain::portal::PortalState;
use std::collections::BTreeMap;

/// How many methods are remembered; we call about twenty.
pub const METHODS_MAX: usize = 128;

/// What each method has spent, as far as answers said it. Lost at a restart, and learned again from the next answer.
#[derive(Debug, Clone)]
pub struct OperatingLedger {
    methods: BTreeMap<String, Cost>,
    /// A method that has spent as much rests until a part of its time is forgotten.
    slow_at_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Cost {
    spent_ms: u64,
    reset_at: Timestamp,
    /// What was added since somebody asked last.
    grown_ms: u64,
}

impl OperatingLedger {
    /// An empty ledger; a method rests when it has spent `slow_at_ms` within the portal's window.
    pub fn new(slow_at_ms: u64) -> Self {
        Self { methods: BTreeMap::new(), slow_at_ms }
    }

    /// Learns from one exchange: costs go into the ledger, blocks into the portal's durable state.
    ///
    /// Returns whether the durable state changed and should be stored.
    pub fn learn(&mut self, state: &mut PortalState, observed: &Observed, now: Timestamp) -> bool {
        for cost in &observed.operating {
            let known = self.methods.get(&cost.method).copied();
            // A refusal may tell the sum without the portal's clock: then the reset told before stays.
            let told = cost.reset_in_ms.map(|ms| now.plus_ms(ms));
            let reset_at = told.or(known.map(|c| c.reset_at)).unwrap_or(now);
            // The sum falls when an old minute leaves; what was added meanwhile cannot be told, and is left out.
            let grown = cost.spent_ms.saturating_sub(known.map_or(0, |c| c.spent_ms));
            let grown_ms = known.map_or(0, |c| c.grown_ms) + grown;
            let cost_now = Cost { spent_ms: cost.spent_ms, reset_at, grown_ms };
            self.methods.insert(cost.method.clone(), cost_now);
        }
        while self.methods.len() > METHODS_MAX {
            let Some(least) = self.methods.iter().min_by_key(|(_, c)| c.spent_ms).map(|(m, _)| m.clone())
            else {
                break;
            };
            self.methods.remove(&least);
        }
        let blocked = state.blocked_until.len();
        state.blocked_until.retain(|(_, until)| *until > now);
        let mut changed = state.blocked_until.len() != blocked;
        for hit in &observed.limits {
            let pause_ms = self.pause_known_from_before(hit, now);
            changed |= note(state, hit, pause_ms, now);
        }
        changed
    }

    /// A refusal inside a batch may come without its time: then the reset that an earlier answer of the method named
    /// is nearer to the truth than the general ten minutes.
    fn pause_known_from_before(&self, hit: &LimitHit, now: Timestamp) -> Option<u64> {
        match hit {
            LimitHit::Operation { method, pause_ms } if *pause_ms == OPERATION_PAUSE_MS => {
                let reset_at = self.methods.get(method)?.reset_at;
                Some(reset_at.ms_since(now)).filter(|ms| *ms > 0)
            }
            LimitHit::Operation { .. } | LimitHit::QueryRate { .. } | LimitHit::Overload { .. } => None,
        }
    }

    /// Until when a method must rest; none if it may be called now.
    pub fn resting_until(&self, state: &PortalState, method: &str, now: Timestamp) -> Option<Timestamp> {
        let overload = state.overload_until;
        let blocked = state.blocked_until.iter().filter(|(m, _)| m == method).map(|(_, until)| *until).max();
        let nearly = self.methods.get(method).filter(|c| c.spent_ms >= self.slow_at_ms);
        let latest = [overload, blocked, nearly.map(|c| c.reset_at)].into_iter().flatten().max();
        latest.filter(|until| *until > now)
    }

    /// Until when the portal itself refuses a method: people need not wait for less.
    pub fn refused_until(&self, state: &PortalState, method: &str, now: Timestamp) -> Option<Timestamp> {
        let blocked = state.blocked_until.iter().filter(|(m, _)| m == method).map(|(_, until)| *until).max();
        [state.overload_until, blocked].into_iter().flatten().max().filter(|until| *until > now)
    }

    /// Whether any method rests: if none does, nothing that waits needs a look.
    pub fn has_resting(&self, state: &PortalState, now: Timestamp) -> bool {
        state.overload_until.is_some_and(|until| until > now)
            || state.blocked_until.iter().any(|(_, until)| *until > now)
            || self.methods.values().any(|c| c.spent_ms >= self.slow_at_ms && c.reset_at > now)
    }

    /// How much the operating time of each method has grown since this was asked last, in milliseconds.
    pub fn take_grown(&mut self) -> Vec<(String, u64)> {
        let grown = self.methods.iter_mut().filter(|(_, cost)| cost.grown_ms > 0);
        grown.map(|(method, cost)| (method.clone(), std::mem::take(&mut cost.grown_ms))).collect()
    }

    /// What each method has spent, in milliseconds, for metrics.
    pub fn costs(&self) -> impl Iterator<Item = (&str, u64)> {
        self.methods.iter().map(|(method, cost)| (method.as_str(), cost.spent_ms))
    }
}

fn note(state: &mut PortalState, hit: &LimitHit, known_ms: Option<u64>, now: Timestamp) -> bool {
    match hit {
        LimitHit::QueryRate { .. } => false,
        LimitHit::Overload { pause_ms } => {
            state.overload_until = Some(now.plus_ms(*pause_ms));
            true
        }
        LimitHit::Operation { method, pause_ms } => {
            state.blocked_until.retain(|(m, _)| m != method);
            if state.blocked_until.len() < METHODS_MAX {
                state.blocked_until.push((method.clone(), now.plus_ms(known_ms.unwrap_or(*pause_ms))));
            }
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::Operating;
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn blocked(method: &str, pause_ms: u64) -> Observed {
        let hit = LimitHit::Operation { method: method.into(), pause_ms };
        Observed { limits: vec![hit], ..Observed::default() }
    }

    #[test]
    fn a_blocked_method_rests_and_others_do_not() {
        let (mut ledger, mut state) = (OperatingLedger::new(432_000), PortalState::default());
        assert!(ledger.learn(&mut state, &blocked("crm.item.list", 60_000), NOW));
        assert_eq!(ledger.resting_until(&state, "crm.item.list", NOW), Some(NOW.plus_ms(60_000)));
        assert_eq!(ledger.resting_until(&state, "crm.item.get", NOW), None);
        assert_eq!(ledger.resting_until(&state, "crm.item.list", NOW.plus_ms(60_000)), None);
        let after_restart = OperatingLedger::new(432_000);
        assert!(after_restart.resting_until(&state, "crm.item.list", NOW).is_some());
    }

    #[test]
    fn a_refusal_without_a_time_lasts_until_the_reset_that_was_told_before() {
        let (mut ledger, mut state) = (OperatingLedger::new(432_000), PortalState::default());
        let operating = vec![Operating { method: "m".into(), spent_ms: 400_000, reset_in_ms: Some(40_000) }];
        ledger.learn(&mut state, &Observed { operating, ..Observed::default() }, NOW);
        let operating = vec![Operating { method: "m".into(), spent_ms: 481_000, reset_in_ms: None }];
        let refused = Observed { operating, ..blocked("m", OPERATION_PAUSE_MS) };
        ledger.learn(&mut state, &refused, NOW.plus_ms(5_000));
        assert_eq!(ledger.refused_until(&state, "m", NOW), Some(NOW.plus_ms(40_000)));
        ledger.learn(&mut state, &refused, NOW.plus_ms(50_000));
        assert_eq!(ledger.refused_until(&state, "m", NOW), Some(NOW.plus_ms(50_000 + OPERATION_PAUSE_MS)));
    }

    #[test]
    fn an_overload_stops_every_method() {
        let (mut ledger, mut state) = (OperatingLedger::new(432_000), PortalState::default());
        let hit = Observed { limits: vec![LimitHit::Overload { pause_ms: 5_000 }], ..Observed::default() };
        assert!(ledger.learn(&mut state, &hit, NOW));
        assert_eq!(ledger.resting_until(&state, "profile", NOW), Some(NOW.plus_ms(5_000)));
    }

    #[test]
    fn a_method_near_its_limit_rests_before_it_is_blocked() {
        let (mut ledger, mut state) = (OperatingLedger::new(432_000), PortalState::default());
        let cost = |spent_ms| Observed {
            operating: vec![Operating { method: "m".into(), spent_ms, reset_in_ms: Some(30_000) }],
            ..Observed::default()
        };
        assert!(!ledger.learn(&mut state, &cost(431_000), NOW));
        assert_eq!(ledger.resting_until(&state, "m", NOW), None);
        ledger.learn(&mut state, &cost(433_000), NOW);
        assert_eq!(ledger.resting_until(&state, "m", NOW), Some(NOW.plus_ms(30_000)));
        ledger.learn(&mut state, &cost(10), NOW);
        assert_eq!(ledger.resting_until(&state, "m", NOW), None);
    }

    #[test]
    fn a_person_is_refused_only_by_the_portal_itself() {
        let (mut ledger, mut state) = (OperatingLedger::new(432_000), PortalState::default());
        let operating = vec![Operating { method: "m".into(), spent_ms: 433_000, reset_in_ms: Some(30_000) }];
        assert!(!ledger.has_resting(&state, NOW));
        ledger.learn(&mut state, &Observed { operating, ..Observed::default() }, NOW);
        assert!(ledger.has_resting(&state, NOW) && ledger.resting_until(&state, "m", NOW).is_some());
        assert_eq!(ledger.refused_until(&state, "m", NOW), None);
        ledger.learn(&mut state, &blocked("m", 60_000), NOW);
        assert_eq!(ledger.refused_until(&state, "m", NOW), Some(NOW.plus_ms(60_000)));
    }

    #[test]
    fn what_a_method_has_cost_is_the_growth_of_its_sum() {
        let (mut ledger, mut state) = (OperatingLedger::new(432_000), PortalState::default());
        let mut see = |ledger: &mut OperatingLedger, spent_ms| {
            let operating = vec![Operating { method: "m".into(), spent_ms, reset_in_ms: None }];
            ledger.learn(&mut state, &Observed { operating, ..Observed::default() }, NOW);
        };
        see(&mut ledger, 500);
        see(&mut ledger, 700);
        assert_eq!(ledger.take_grown(), [("m".to_owned(), 700)]);
        see(&mut ledger, 300);
        assert!(ledger.take_grown().is_empty(), "an old minute has left");
        see(&mut ledger, 350);
        assert_eq!(ledger.take_grown(), [("m".to_owned(), 50)]);
    }

    #[test]
    fn old_blocks_are_forgotten_and_the_ledger_is_bounded() {
        let (mut ledger, mut state) = (OperatingLedger::new(432_000), PortalState::default());
        for n in 0..METHODS_MAX + 10 {
            let operating =
                vec![Operating { method: format!("m{n}"), spent_ms: n as u64, reset_in_ms: None }];
            ledger.learn(&mut state, &Observed { operating, ..blocked(&format!("m{n}"), 10) }, NOW);
        }
        assert_eq!(state.blocked_until.len(), METHODS_MAX);
        assert_eq!(ledger.costs().count(), METHODS_MAX);
        assert!(ledger.learn(&mut state, &Observed::default(), NOW.plus_ms(11)));
        assert!(state.blocked_until.is_empty());
    }
}
