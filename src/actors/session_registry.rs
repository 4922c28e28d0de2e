//! The sessions of all portals. Portals come and go while the service runs: installing an application adds one.
//!
//! Whoever watches a portal for as long as the process runs does it within the portal's [`Tenure`]: the time in which
//! it has this session and wants to be asked. It is over as soon as the session is replaced or taken out, or the
//! application is removed; then the watch ends at once, and not with the process.

use super::circuit::{Circuit, CircuitSettings, CircuitView};
use super::portal_session::PortalSession;
use crate::domain::PortalId;
use actix::Addr;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;

/// One portal's way out.
#[derive(Clone)]
pub struct Entry {
    /// Who spends its budget.
    pub session: Addr<PortalSession>,
    /// Whether it can be reached.
    pub circuit: Arc<Mutex<Circuit>>,
    /// Told when the tenure is over.
    end: Arc<watch::Sender<bool>>,
}

/// The time in which a portal has one session and wants to be asked.
#[derive(Clone)]
pub struct Tenure {
    portal: PortalId,
    over: watch::Receiver<bool>,
}

impl Tenure {
    /// Does `work` for as long as the tenure lasts.
    pub async fn through(mut self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = work => {}
            // an error means that the registry itself is gone
            _ = self.over.wait_for(|over| *over) => {
                tracing::info!(portal = %self.portal, "a watch ends with the session that it was started for");
            }
        }
    }
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
        let entry = Entry { session, circuit, end: Arc::new(watch::Sender::new(false)) };
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = entries.insert(id, entry) {
            before.end.send_replace(true);
        }
    }

    /// Takes a portal out; its watches end, what it has under way ends by itself.
    pub fn remove(&self, id: &PortalId) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = entries.remove(id) {
            before.end.send_replace(true);
        }
    }

    /// Ends the watches of a portal. Its session stays, so that its documents wait instead of failing.
    pub fn retire(&self, id: &PortalId) {
        if let Some(entry) = self.get(id) {
            entry.end.send_replace(true);
        }
    }

    /// Begins a new tenure with the session that the portal has; none if there is no such portal.
    pub fn begin_anew(&self, id: &PortalId) -> Option<Addr<PortalSession>> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get_mut(id)?;
        entry.end.send_replace(true);
        entry.end = Arc::new(watch::Sender::new(false));
        Some(entry.session.clone())
    }

    /// The present tenure of a portal; none if there is no such portal.
    pub fn tenure(&self, id: &PortalId) -> Option<Tenure> {
        self.get(id).map(|entry| Tenure { portal: id.clone(), over: entry.end.subscribe() })
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
