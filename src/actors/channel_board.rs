//! ChannelBoard: how the second channels of all portals are doing, for people: which run, when they looked last, when
//! something woke them, why none runs.
//!
//! Remembers the present only; what was missed and healed is the gap report's.

use super::channel_mode::ChannelMode;
use crate::domain::{PortalId, Text, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The second channels of all portals.
#[derive(Debug, Default)]
pub struct ChannelBoard(Mutex<BTreeMap<PortalId, ChannelView>>);

/// The second channels of one portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelView {
    /// As it is configured.
    pub mode: ChannelMode,
    /// What runs: `offline_queue`, `sweep`, `push`.
    pub running: Vec<&'static str>,
    /// Why nothing runs.
    pub idle: Option<Text>,
    /// Pause between two looks, in milliseconds; none: one at the start is enough.
    pub interval_ms: Option<u64>,
    /// When a channel looked last and saw.
    pub looked_at: Option<Timestamp>,
    /// When it brought something last.
    pub found_at: Option<Timestamp>,
    /// When an event or the push server woke it last.
    pub woken_at: Option<Timestamp>,
    /// Why the last look saw nothing.
    pub failure: Option<String>,
}

impl ChannelView {
    /// Channels of a portal, before their first look.
    pub fn new(mode: ChannelMode, running: Vec<&'static str>, interval_ms: Option<u64>) -> Self {
        Self {
            mode,
            running,
            idle: None,
            interval_ms,
            looked_at: None,
            found_at: None,
            woken_at: None,
            failure: None,
        }
    }
}

impl ChannelBoard {
    /// The channels of a portal are started anew.
    pub(super) fn start(&self, portal: &PortalId, view: ChannelView) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(portal.clone(), view);
    }

    fn change(&self, portal: &PortalId, write: impl FnOnce(&mut ChannelView)) {
        if let Some(view) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(portal) {
            write(view);
        }
    }

    /// A channel has looked, and found so much.
    pub(super) fn looked(&self, portal: &PortalId, now: Timestamp, found: usize) {
        self.change(portal, |view| {
            view.looked_at = Some(now);
            view.failure = None;
            if found > 0 {
                view.found_at = Some(now);
            }
        });
    }

    /// A channel could not look.
    pub(super) fn failed(&self, portal: &PortalId, why: &str) {
        self.change(portal, |view| view.failure = Some(why.to_owned()));
    }

    /// A channel was woken before its time.
    pub(super) fn woken(&self, portal: &PortalId, now: Timestamp) {
        self.change(portal, |view| view.woken_at = Some(now));
    }

    /// How a portal's channels are doing; none before they were started.
    pub fn of(&self, portal: &PortalId) -> Option<ChannelView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(portal).cloned()
    }
}
