//! The account of a portal's budget: which methods used it, hour by hour.
//!
//! Counts what is sent, by method; knows nothing of why. Holds the present hour and those that are not stored yet: with
//! many portals the rest would fill the memory. Its owner stores the hours that have changed, now and then: a crash may
//! forget a minute of an account that nothing is decided by.

use crate::domain::Timestamp;
use crate::domain::portal_usage::{HourUsage, MethodUsage};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};

/// Under which name the methods above [`limits::USAGE_METHODS_MAX`] are counted together.
pub const OTHER: &str = "other";

/// What one portal's budget was used for.
#[derive(Debug, Default)]
pub struct UsageLedger {
    hours: BTreeMap<u64, BTreeMap<String, MethodUsage>>,
    /// Hours that were counted in since they were stored last.
    unsaved: BTreeSet<u64>,
}

impl UsageLedger {
    /// Takes up what was stored of the present hour; what was counted meanwhile stays.
    pub fn recall(&mut self, stored: Vec<HourUsage>) {
        for HourUsage { hour, methods } in stored {
            let counted = self.hours.entry(hour).or_default();
            for usage in methods {
                let known = counted.entry(usage.method.clone()).or_insert_with(|| named(&usage.method));
                known.add(&usage);
            }
        }
    }

    /// Counts something for a method.
    pub fn count(&mut self, method: &str, now: Timestamp, write: impl FnOnce(&mut MethodUsage)) {
        let hour = HourUsage::hour_of(now);
        if !self.hours.contains_key(&hour) {
            self.forget_stored();
        }
        let methods = self.hours.entry(hour).or_default();
        let full = methods.len() >= limits::USAGE_METHODS_MAX && !methods.contains_key(method);
        let name = if full { OTHER } else { method };
        write(methods.entry(name.to_owned()).or_insert_with(|| named(name)));
        self.unsaved.insert(hour);
    }

    /// A new hour begins: what is stored leaves the memory, and of the rest what is too old to be told.
    fn forget_stored(&mut self) {
        let unsaved = &self.unsaved;
        self.hours.retain(|hour, _| unsaved.contains(hour));
        while self.hours.len() as u64 >= limits::USAGE_HOURS {
            self.hours.pop_first();
        }
    }

    /// The hours that changed since this was asked last.
    pub fn take_unsaved(&mut self) -> Vec<HourUsage> {
        let hours = std::mem::take(&mut self.unsaved);
        hours.into_iter().filter_map(|hour| self.hour(hour)).collect()
    }

    /// These could not be stored: the next attempt takes them again.
    pub fn not_saved(&mut self, hours: impl IntoIterator<Item = u64>) {
        self.unsaved.extend(hours);
    }

    fn hour(&self, hour: u64) -> Option<HourUsage> {
        let methods = self.hours.get(&hour)?.values().cloned().collect();
        Some(HourUsage { hour, methods })
    }

    /// The hours that are in memory, oldest first.
    pub fn hours(&self) -> Vec<HourUsage> {
        self.hours.keys().filter_map(|hour| self.hour(*hour)).collect()
    }

    /// The stored hours with those in memory, which know more, in their places.
    pub fn completed(&self, stored: Vec<HourUsage>, first: u64) -> Vec<HourUsage> {
        let mut all: BTreeMap<u64, HourUsage> = stored.into_iter().map(|usage| (usage.hour, usage)).collect();
        all.extend(self.hours().into_iter().map(|usage| (usage.hour, usage)));
        all.into_values().filter(|usage| usage.hour >= first).collect()
    }
}

fn named(method: &str) -> MethodUsage {
    MethodUsage { method: method.to_owned(), ..MethodUsage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const NOW: Timestamp = Timestamp(1_000 * HOUR_MS as i64);

    #[test]
    fn each_hour_has_an_account_of_its_own() {
        let mut ledger = UsageLedger::default();
        ledger.count("disk.file.get", NOW, |usage| usage.commands += 1);
        ledger.count("disk.file.get", NOW.plus_ms(HOUR_MS - 1), |usage| usage.commands += 1);
        ledger.count("disk.file.get", NOW.plus_ms(HOUR_MS), |usage| usage.requests += 1);
        let hours = ledger.hours();
        assert_eq!(hours.iter().map(|h| h.hour).collect::<Vec<_>>(), [1_000, 1_001]);
        assert_eq!((hours[0].methods[0].commands, hours[1].methods[0].requests), (2, 1));
        assert_eq!(hours[1].begins(), NOW.plus_ms(HOUR_MS));
    }

    #[test]
    fn a_restart_goes_on_with_what_was_stored() {
        let mut before = UsageLedger::default();
        before.count("batch", NOW, |usage| usage.requests += 5);
        let stored = before.take_unsaved();
        let mut after = UsageLedger::default();
        after.count("batch", NOW, |usage| usage.requests += 1);
        after.recall(stored);
        assert_eq!(after.hours()[0].methods[0].requests, 6);
        assert_eq!(after.take_unsaved()[0].methods[0].requests, 6);
        assert!(after.take_unsaved().is_empty());
    }

    #[test]
    fn an_account_of_days_is_put_together_from_store_and_memory() {
        let mut ledger = UsageLedger::default();
        ledger.count("batch", NOW, |usage| usage.requests += 7);
        let stored =
            |hour, requests| HourUsage { hour, methods: vec![MethodUsage { requests, ..named("batch") }] };
        let all = ledger.completed(vec![stored(998, 1), stored(999, 2), stored(1_000, 5)], 999);
        let told: Vec<(u64, u64)> = all.iter().map(|hour| (hour.hour, hour.methods[0].requests)).collect();
        assert_eq!(told, [(999, 2), (1_000, 7)]);
    }

    #[test]
    fn what_could_not_be_stored_is_offered_again() {
        let mut ledger = UsageLedger::default();
        ledger.count("batch", NOW, |usage| usage.requests += 1);
        let offered = ledger.take_unsaved();
        ledger.not_saved(offered.iter().map(|hour| hour.hour));
        assert_eq!(ledger.take_unsaved(), offered);
    }

    #[test]
    fn the_account_is_bounded_in_methods_and_in_hours() {
        let mut ledger = UsageLedger::default();
        for n in 0..limits::USAGE_METHODS_MAX + 10 {
            ledger.count(&format!("m{n}"), NOW, |usage| usage.requests += 1);
        }
        let hour = &ledger.hours()[0];
        assert_eq!(hour.methods.len(), limits::USAGE_METHODS_MAX + 1);
        assert_eq!(hour.methods.iter().find(|m| m.method == OTHER).map(|m| m.requests), Some(10));
        for n in 0..2 * limits::USAGE_HOURS {
            ledger.count("m", NOW.plus_ms(n * HOUR_MS), |usage| usage.requests += 1);
        }
        assert_eq!(ledger.hours().len() as u64, limits::USAGE_HOURS, "even if nothing could be stored");
        ledger.take_unsaved();
        ledger.count("m", NOW.plus_ms(2 * limits::USAGE_HOURS * HOUR_MS), |usage| usage.requests += 1);
        assert_eq!(ledger.hours().len(), 1, "what is stored leaves the memory");
    }
}
