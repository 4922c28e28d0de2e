//! What is done from time to time: bindings that are missing, idle tokens, notices, old installations.

use super::*;

impl Registry {
    pub(super) async fn upkeep_for_ever(self: Arc<Self>) {
        while !self.parts.is_draining() {
            self.upkeep();
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.parts.capabilities.plan_changed() => {}
                () = tokio::time::sleep(UPKEEP_EVERY) => {}
            }
        }
    }

    /// Has the next look taken now.
    pub fn look_now(&self) {
        self.wake.notify_one();
    }

    /// Each portal in a task of its own: one that does not answer holds up no other.
    pub(super) fn upkeep(self: &Arc<Self>) {
        for keeper in self.keepers() {
            let me = self.clone();
            self.arbiter.spawn(async move { me.upkeep_of(&keeper).await });
        }
        self.measure();
    }

    async fn upkeep_of(&self, keeper: &Arc<TokenKeeper>) {
        let it = keeper.installation();
        match it.status {
            InstallationStatus::Active => self.keep_well(keeper, &it).await,
            InstallationStatus::NeedsAuthorisation => self.tell_administrator(&it).await,
            InstallationStatus::Uninstalled => self.forget_in_time(&it).await,
        }
    }

    pub(super) async fn keep_well(&self, keeper: &Arc<TokenKeeper>, it: &Installation) {
        self.notes().told.remove(&it.key);
        if let Some(app) = self.app(&it.key.app) {
            keeper.keep_alive(app.keep_alive_ms).await;
        }
        // taken out first: an update that comes meanwhile puts it in again, and its bindings are made anew
        let wanted = self.notes().unbound.remove(&it.key) || self.mark_has_changed(it);
        if wanted && self.bind(it).await == Tried::Later {
            self.notes().unbound.insert(it.key.clone());
        }
    }

    pub(super) async fn forget_in_time(&self, it: &Installation) {
        let now = self.parts.clock.now();
        if it.uninstalled_at.is_none_or(|at| now.ms_since(at) < FORGET_AFTER_MS) {
            return;
        }
        if let Err(error) = self.remove(&it.key).await {
            tracing::warn!(installation = %it.key, %error, "an old installation was not forgotten");
        }
    }

    /// Forgets an installation at once. Its documents stay and wait.
    ///
    /// # Errors
    /// The store's.
    pub async fn remove(&self, key: &InstallationKey) -> Result<bool, crate::store::StoreError> {
        let _turn = self.installing.lock().await;
        let (Some(records), Some(keeper)) = (&self.records, self.keeper(key)) else { return Ok(false) };
        records.remove(key).await?;
        self.keepers.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.sessions.remove(&keeper.installation().portal);
        self.refresh_gates();
        let mut notes = self.notes();
        notes.unbound.remove(key);
        notes.bindings.remove(key);
        notes.marked.remove(key);
        notes.clients.remove(key);
        notes.watched.remove(key);
        tracing::warn!(installation = %key, "an installation was forgotten");
        Ok(true)
    }

    /// Once a day, where a webhook still lets us speak to the portal.
    pub(super) async fn tell_administrator(&self, it: &Installation) {
        let now = self.parts.clock.now();
        let Some(session) =
            self.webhook_portals.get(&it.key.member_id).and_then(|id| self.sessions.session(id))
        else {
            return;
        };
        let told = self.notes().told.get(&it.key).copied();
        if told.is_some_and(|at| now.ms_since(at) < NOTICE_PAUSE_MS) {
            return;
        }
        self.notes().told.insert(it.key.clone(), now);
        let caller = PortalCaller::background(session);
        let text = needs_authorisation();
        let text = text.get(self.parts.policy.language);
        let tag = format!("edobridge-authorise-{}", it.key.app);
        let sent = notify::system(&caller, it.user_id, text, &tag, &self.parts.notify_client_id).await;
        if let Err(failure) = sent {
            tracing::warn!(installation = %it.key, code = %failure.code, "the administrator was not told");
        }
    }

    pub(super) fn measure(&self) {
        let all: Vec<InstallationStatus> = self.keepers().iter().map(|k| k.installation().status).collect();
        for status in [
            InstallationStatus::Active,
            InstallationStatus::NeedsAuthorisation,
            InstallationStatus::Uninstalled,
        ] {
            let count = all.iter().filter(|one| **one == status).count();
            self.parts.metrics.set_installations(status.name(), count as u64);
        }
    }
}
