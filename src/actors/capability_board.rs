//! CapabilityBoard: what every portal can do, as the running service knows it, and the way to its CRM items that
//! follows from it.
//!
//! Filled from the store before the first work, and by looks at the portal. It takes away only what the portal has
//! denied.

use super::capability_watch::CapabilitySettings;
use super::features::{self, Feature, Shortfall, Standing, WayIn};
use crate::domain::portal_capabilities::CapabilityMap;
use crate::domain::{PortalId, Text, Timestamp};
use crate::providers::bitrix24::Client;
use crate::providers::bitrix24::capabilities::FEATURE_CONNECTOR;
use crate::providers::bitrix24::client::OwnMark;
use crate::providers::bitrix24::item_access::{ItemAccess, ItemMethods};
use crate::saga::document::Rule;
use crate::store::Store;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What all portals can do.
#[derive(Debug, Default)]
pub struct CapabilityBoard {
    portals: Mutex<BTreeMap<PortalId, Entry>>,
    /// Rung when the plan of a portal has changed: what was bound under the old one must be bound anew.
    news: Notify,
}

#[derive(Debug, Default)]
struct Entry {
    map: Option<Arc<CapabilityMap>>,
    items: Arc<ItemAccess>,
    client: Option<Arc<Client>>,
    settings: Option<CapabilitySettings>,
    shortfalls: Vec<Shortfall>,
    unread: Option<Text>,
    /// Held by whoever looks: two looks at one portal at once would tell nothing new.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What a portal can do, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityView {
    /// When it was asked last and answered.
    pub checked_at: Option<Timestamp>,
    /// Features that are wanted and do not work as they should.
    pub shortfalls: Vec<Shortfall>,
    /// Why the last look saw nothing.
    pub unread: Option<Text>,
}

impl CapabilityBoard {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<PortalId, Entry>> {
        self.portals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the plan of a portal has changed.
    pub(super) async fn plan_changed(&self) {
        self.news.notified().await;
    }

    /// Recalls what the store knows of these portals. What cannot be read is asked for anew.
    pub async fn recall(&self, store: &Store, portals: impl IntoIterator<Item = PortalId>) {
        for portal in portals {
            match store.portal_capabilities(&portal).await {
                Ok(Some(map)) => self.take(&portal, map),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(portal = %portal, %error, "what the portal can do is not remembered");
                }
            }
        }
    }

    /// A portal has come, or has come again: by this client, in this way. What is known to fall short there.
    pub(super) fn enter(
        &self,
        portal: &PortalId,
        client: Arc<Client>,
        settings: CapabilitySettings,
        rules: &[Rule],
    ) -> Vec<Shortfall> {
        let mut entries = self.entries();
        let entry = entries.entry(portal.clone()).or_default();
        entry.client = Some(client);
        entry.settings = Some(settings);
        let way_in = settings.way_in;
        // what was seen by another way in says nothing of this one
        if entry.map.as_ref().is_some_and(|map| map.asked_as != way_in.asked_as.name()) {
            entry.map = None;
        }
        entry.follow(portal, rules);
        entry.shortfalls.clone()
    }

    fn take(&self, portal: &PortalId, map: CapabilityMap) {
        self.entries().entry(portal.clone()).or_default().map = Some(Arc::new(map));
    }

    /// What a portal has said is put in the place of what was known; news among the shortfalls.
    pub(super) fn put(&self, portal: &PortalId, map: CapabilityMap, rules: &[Rule]) -> Vec<Shortfall> {
        let mut entries = self.entries();
        let entry = entries.entry(portal.clone()).or_default();
        let before = std::mem::take(&mut entry.shortfalls);
        let plan = entry.map.as_ref().map(|map| map.features.clone());
        if plan.is_some_and(|plan| plan != map.features) {
            self.news.notify_one();
        }
        entry.map = Some(Arc::new(map));
        entry.unread = None;
        entry.follow(portal, rules);
        entry.shortfalls.iter().filter(|one| !before.contains(one)).cloned().collect()
    }

    /// The portal could not be asked: what was known stays.
    pub(super) fn unread(&self, portal: &PortalId, why: Text) {
        self.entries().entry(portal.clone()).or_default().unread = Some(why);
    }

    pub(super) fn turn(&self, portal: &PortalId) -> Arc<tokio::sync::Mutex<()>> {
        self.entries().entry(portal.clone()).or_default().turn.clone()
    }

    /// What is known of a portal; none before it was asked for the first time.
    pub fn of(&self, portal: &PortalId) -> Option<Arc<CapabilityMap>> {
        self.entries().get(portal)?.map.clone()
    }

    /// How a portal is to be asked; none before it has entered, and where nobody is to look.
    pub(super) fn asked(&self, portal: &PortalId) -> Option<WayIn> {
        let settings = self.entries().get(portal)?.settings?;
        settings.interval_ms.map(|_| settings.way_in)
    }

    /// The way to the CRM items of a portal.
    pub fn items(&self, portal: &PortalId) -> Arc<ItemAccess> {
        self.entries().entry(portal.clone()).or_default().items.clone()
    }

    /// Whether the portal has said that it does not have this method.
    pub fn lacks(&self, portal: &PortalId, method: &str) -> bool {
        self.of(portal).is_some_and(|map| map.lacks(method))
    }

    /// For people.
    pub fn view(&self, portal: &PortalId) -> Option<CapabilityView> {
        let entries = self.entries();
        let entry = entries.get(portal)?;
        Some(CapabilityView {
            checked_at: entry.map.as_ref().map(|map| map.checked_at),
            shortfalls: entry.shortfalls.clone(),
            unread: entry.unread.clone(),
        })
    }

    /// Names of features that do not work as they should, by portal, for programs.
    pub fn codes(&self) -> BTreeMap<String, Vec<&'static str>> {
        let codes = |entry: &Entry| entry.shortfalls.iter().map(|one| one.feature.name()).collect::<Vec<_>>();
        self.entries()
            .iter()
            .map(|(portal, entry)| (portal.to_string(), codes(entry)))
            .filter(|(_, codes)| !codes.is_empty())
            .collect()
    }

    /// Whether this feature is off at a portal for want of methods. Scopes do not count: they may be given any moment.
    pub fn is_off(&self, portal: &PortalId, feature: Feature) -> bool {
        let off = |one: &Shortfall| {
            one.feature == feature
                && one.standing == Standing::Off
                && matches!(one.cause, features::Cause::Methods(_))
        };
        self.entries().get(portal).is_some_and(|entry| entry.shortfalls.iter().any(off))
    }
}

impl Entry {
    /// Draws the conclusions from the map.
    fn follow(&mut self, portal: &PortalId, rules: &[Rule]) {
        let (Some(map), Some(way_in)) = (&self.map, self.settings.map(|settings| settings.way_in)) else {
            self.shortfalls.clear();
            return;
        };
        self.shortfalls = features::shortfalls(map, &features::wanted(rules, portal, way_in));
        if map.presence("crm.item.get").is_some() {
            let old = features::speaks_old(map);
            self.items.tell(if old { ItemMethods::Old } else { ItemMethods::Universal });
        }
        if let (Some(client), Some(has_plan)) = (&self.client, map.feature(FEATURE_CONNECTOR)) {
            client.mark_own_changes(if has_plan { OwnMark::Sent } else { OwnMark::Withheld });
        }
    }
}
