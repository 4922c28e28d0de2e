//! The sessions of all portals. Portals come and go while the service runs: installing an application adds one.

use super::circuit::{Circuit, CircuitSettings, CircuitView};
use super::portal_session::PortalSession;
use crate::domain::PortalId;
use actix::Addr;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// One portal's way out.
#[derive(Clone)]
pub struct Entry {
    /// Who spends its budget.
    pub session: Addr<PortalSession>,
    /// Whether it can be reached.
    pub circuit: Arc<Mutex<Circuit>>,
}

/// All of them. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Sessions {
    settings: CircuitSettings,
    entries: Arc<RwLock<BTreeMap<PortalId, Entry>>>,
}

impl Sessions {
    /// None yet.
    pub fn new(settings: CircuitSettings) -> Self {
        Self { settings, entries: Arc::default() }
    }

    /// Adds a portal, or replaces its session.
    pub fn insert(&self, id: PortalId, session: Addr<PortalSession>) {
        let circuit = Arc::new(Mutex::new(Circuit::new(self.settings)));
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(id, Entry { session, circuit });
    }

    /// Takes a portal out; what it has under way ends by itself.
    pub fn remove(&self, id: &PortalId) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// A portal's way out.
    pub fn get(&self, id: &PortalId) -> Option<Entry> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// A portal's session.
    pub fn session(&self, id: &PortalId) -> Option<Addr<PortalSession>> {
        self.get(id).map(|entry| entry.session)
    }

    /// Whether there is such a portal.
    pub fn contains(&self, id: &PortalId) -> bool {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<(PortalId, Entry)> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }

    /// The circuits, for people.
    pub fn circuits(&self) -> Vec<(PortalId, CircuitView)> {
        let view = |c: &Mutex<Circuit>| c.lock().unwrap_or_else(PoisonError::into_inner).view();
        self.all().into_iter().map(|(id, entry)| (id, view(&entry.circuit))).collect()
    }
}
