//! Claims of portals and people: confirmed at the authorisation server, carried out for administrators only.

use super::*;

impl Registry {
    /// Asks the authorisation server whether a claim is true.
    ///
    /// # Errors
    /// [`InstallError`].
    pub async fn confirm(&self, claim: &Claim) -> Result<Confirmed, InstallError> {
        let mut last = InstallError::Unconfirmed;
        for (asker, host) in self.askers(claim.server_endpoint.as_deref()) {
            match asker.oauth.app_info(&host, &claim.tokens.access).await {
                Ok(info) => return self.judge(claim, info, host),
                Err(OauthFailure { refusal: Refusal::Unavailable, failure }) => {
                    last = InstallError::Unavailable(failure.reason);
                }
                Err(_) => {}
            }
        }
        Err(last)
    }

    /// Whom to ask: the host that is named, or all that are configured. A host that nobody configured is not asked.
    pub(super) fn askers(&self, endpoint: Option<&str>) -> Vec<(Arc<AppSetup>, Origin)> {
        let mut all: Vec<(Arc<AppSetup>, Origin)> = Vec::new();
        for app in &self.apps {
            let hosts = match endpoint {
                Some(endpoint) => app.oauth.host_of(endpoint).into_iter().collect(),
                None => app.oauth.hosts().to_vec(),
            };
            for host in hosts {
                if !all.iter().any(|(_, known)| *known == host) {
                    all.push((app.clone(), host));
                }
            }
        }
        all
    }

    pub(super) fn judge(
        &self,
        claim: &Claim,
        info: AppInfo,
        host: Origin,
    ) -> Result<Confirmed, InstallError> {
        let app = self.apps.iter().find(|app| app.oauth.client_id() == info.client_id);
        let app = app.filter(|app| app.oauth.hosts().contains(&host)).ok_or(InstallError::Unconfirmed)?;
        if info.member_id != claim.member_id {
            return Err(InstallError::Unconfirmed);
        }
        if !info.portal.is_https() && app.transport == Transport::HttpsOnly {
            return Err(InstallError::Unconfirmed);
        }
        if !app.admits(&info.member_id) {
            return Err(InstallError::NotAdmitted(info.member_id));
        }
        Ok(Confirmed { app: app.clone(), host, info })
    }

    pub(super) async fn is_administrator(
        &self,
        confirmed: &Confirmed,
        access: &Secret,
    ) -> Result<bool, InstallError> {
        let borrowed = AppAccess { tokens: Arc::new(BorrowedToken(access.clone())), auth_connector: None };
        let info = &confirmed.info;
        let client = (confirmed.app.make_visitor)(&info.member_id, info.portal.clone(), borrowed);
        match account::profile(&client).await {
            Ok(profile) => Ok(profile.is_admin && profile.id == info.user_id),
            Err(failure) if failure.class == FailureClass::Transient => {
                Err(InstallError::Unavailable(failure.reason))
            }
            Err(_) => Ok(false),
        }
    }

    /// Takes over an installation or an update that an administrator has made, or heals one by being opened. Durable
    /// when it returns; bindings follow in the background.
    ///
    /// # Errors
    /// [`InstallError`]: nothing was changed.
    pub async fn install(self: &Arc<Self>, claim: &Claim) -> Result<Visitor, InstallError> {
        let confirmed = self.confirm(claim).await?;
        self.install_confirmed(claim, confirmed).await
    }

    pub(super) async fn install_confirmed(
        self: &Arc<Self>,
        claim: &Claim,
        confirmed: Confirmed,
    ) -> Result<Visitor, InstallError> {
        if claim.tokens.refresh.is_empty() {
            return Err(InstallError::Unconfirmed);
        }
        if !self.is_administrator(&confirmed, &claim.tokens.access).await? {
            return Err(InstallError::NotAdministrator);
        }
        let _turn = self.installing.lock().await;
        let key = InstallationKey { app: confirmed.app.id.clone(), member_id: claim.member_id.clone() };
        let it = match self.keeper(&key) {
            Some(keeper) => self.reinstall(&keeper, claim, &confirmed).await?,
            None => self.first_install(key.clone(), claim, &confirmed).await?,
        };
        self.refresh_gates();
        self.notes().unbound.insert(key);
        self.wake.notify_one();
        // documents that waited for this portal need not wait for their next turn
        self.parts.work_arrived.notify_one();
        tracing::info!(installation = %it.key, portal = %it.portal, user.id = it.user_id, "the application is installed");
        Ok(Visitor { origin: confirmed.info.portal, portal: Some(it.portal), status: Some(it.status) })
    }

    pub(super) async fn first_install(
        self: &Arc<Self>,
        key: InstallationKey,
        claim: &Claim,
        confirmed: &Confirmed,
    ) -> Result<Installation, InstallError> {
        let records = self.records.as_ref().ok_or(InstallError::Unconfirmed)?;
        if self.keepers().len() >= INSTALLATIONS_MAX {
            return Err(InstallError::NotAdmitted(key.member_id));
        }
        let now = self.parts.clock.now();
        let mut it = Installation {
            portal: self.portal_name(&key, &confirmed.app),
            key,
            origin: String::new(),
            oauth_origin: String::new(),
            scopes: Vec::new(),
            user_id: 0,
            status: InstallationStatus::Active,
            plan: String::new(),
            version: 0,
            installed_at: now,
            updated_at: now,
            uninstalled_at: None,
            refreshed_at: now,
            refresh_began_at: None,
            tokens: None,
            application_tokens: Vec::new(),
        };
        self.renew(&mut it, claim, confirmed);
        records.put(&it).await.map_err(|error| InstallError::Unavailable(error.text()))?;
        self.take_on(it.clone());
        Ok(it)
    }

    /// The name of the configuration, else the `member_id`; two applications of one portal need two names.
    pub(super) fn portal_name(&self, key: &InstallationKey, app: &AppSetup) -> PortalId {
        if let Some((name, _)) = app.named.get(&key.member_id) {
            return name.clone();
        }
        let plain = key.member_id.portal_id();
        if self.sessions.contains(&plain) { PortalId(format!("{plain}-{}", key.app)) } else { plain }
    }

    pub(super) async fn reinstall(
        self: &Arc<Self>,
        keeper: &Arc<TokenKeeper>,
        claim: &Claim,
        confirmed: &Confirmed,
    ) -> Result<Installation, InstallError> {
        let was = keeper.installation();
        let changed = keeper.change(|it| self.renew(it, claim, confirmed)).await;
        let it = changed.map_err(|failure| InstallError::Unavailable(failure.reason))?;
        if was.status == InstallationStatus::Uninstalled && self.sessions.begin_anew(&it.portal).is_some() {
            self.start_watches(&it);
        }
        if was.origin != it.origin
            && let Some(client) = self.notes().clients.get(&it.key)
        {
            client.move_to(confirmed.info.portal.clone());
        }
        Ok(it)
    }

    pub(super) fn renew(&self, it: &mut Installation, claim: &Claim, confirmed: &Confirmed) {
        let now = self.parts.clock.now();
        let info = &confirmed.info;
        it.origin = info.portal.to_string();
        it.oauth_origin = confirmed.host.to_string();
        it.scopes = info.scopes.clone();
        it.user_id = info.user_id;
        it.status = InstallationStatus::Active;
        it.plan = info.plan.clone();
        it.version = info.version;
        it.updated_at = now;
        it.uninstalled_at = None;
        it.refreshed_at = now;
        it.refresh_began_at = None;
        it.tokens = Some(TokenPair {
            access: claim.tokens.access.clone(),
            refresh: claim.tokens.refresh.clone(),
            expires_at: now.plus_ms(claim.tokens.expires_in_s.saturating_mul(1_000)),
        });
        it.add_application_token(&claim.application_token);
    }

    /// Somebody has opened our page in a portal. An administrator who does that heals a dead installation; for
    /// everybody else it is only shown.
    ///
    /// # Errors
    /// [`InstallError::Unconfirmed`] for a page that no portal has opened.
    pub async fn visit(self: &Arc<Self>, claim: &Claim) -> Result<Visitor, InstallError> {
        let confirmed = self.confirm(claim).await?;
        let key = InstallationKey { app: confirmed.app.id.clone(), member_id: claim.member_id.clone() };
        let known = self.keeper(&key).map(|keeper| keeper.installation());
        let works = known.as_ref().is_some_and(|it| it.status == InstallationStatus::Active);
        let origin = confirmed.info.portal.clone();
        if !works {
            match self.install_confirmed(claim, confirmed).await {
                Err(InstallError::NotAdministrator) => {}
                other => return other,
            }
        }
        let status = known.as_ref().map(|it| it.status);
        Ok(Visitor { origin, portal: known.map(|it| it.portal), status })
    }

    /// A portal says that our application was removed. Says whether the proof was right; a wrong one changes nothing.
    ///
    /// # Errors
    /// [`InstallError::Unavailable`] if it cannot be written down now.
    pub async fn uninstall(&self, member_id: &MemberId, proof: &Secret) -> Result<bool, InstallError> {
        let proven = |keeper: &Arc<TokenKeeper>| {
            let it = keeper.installation();
            let right = token_matches(&it.application_tokens, proof);
            it.key.member_id == *member_id && right
        };
        let Some(keeper) = self.keepers().into_iter().find(proven) else { return Ok(false) };
        let now = self.parts.clock.now();
        let changed = keeper.change(|it| {
            it.status = InstallationStatus::Uninstalled;
            it.uninstalled_at = Some(now);
            it.tokens = None;
            it.refresh_began_at = None;
        });
        let it = changed.await.map_err(|failure| InstallError::Unavailable(failure.reason))?;
        self.refresh_gates();
        self.notes().unbound.remove(&it.key);
        self.sessions.retire(&it.portal);
        tracing::warn!(installation = %it.key, portal = %it.portal, "the application was removed from the portal");
        Ok(true)
    }

    /// Takes an event of an application's life: carried out, or safe in the inbox.
    ///
    /// # Errors
    /// [`InstallError::Unconfirmed`] for one that proves nothing; [`InstallError::Unavailable`]: it was not taken.
    pub async fn live(self: &Arc<Self>, event: &Lifecycle) -> Result<(), InstallError> {
        match event {
            Lifecycle::Installed(claim) => self.take_claim(claim).await,
            Lifecycle::Uninstalled { member_id, application_token } => {
                match self.uninstall(member_id, application_token).await? {
                    true => Ok(()),
                    false => Err(InstallError::Unconfirmed),
                }
            }
            Lifecycle::PaymentChanged { member_id } | Lifecycle::MethodConfirmed { member_id } => {
                self.hint(member_id);
                Ok(())
            }
        }
    }

    /// An unproven word about a portal: asks the authorisation server, at most once a minute.
    pub fn hint(self: &Arc<Self>, member_id: &MemberId) {
        let now = self.parts.clock.now();
        for keeper in self.keepers() {
            let it = keeper.installation();
            if it.key.member_id != *member_id || it.status != InstallationStatus::Active {
                continue;
            }
            let mut notes = self.notes();
            let last = notes.hinted.insert(it.key.clone(), now);
            if last.is_some_and(|last| now.ms_since(last) < HINT_PAUSE_MS) {
                notes.hinted.insert(it.key.clone(), last.unwrap_or(now));
                continue;
            }
            drop(notes);
            let me = self.clone();
            self.arbiter.spawn(async move { me.ask_again(&keeper).await });
        }
        self.parts.work_arrived.notify_one();
    }

    /// What the authorisation server says now of plan, scopes and version.
    pub(super) async fn ask_again(&self, keeper: &Arc<TokenKeeper>) {
        let it = keeper.installation();
        let (Some(app), Some(pair), Ok(host)) =
            (self.app(&it.key.app), it.tokens, Origin::parse(&it.oauth_origin))
        else {
            return;
        };
        match app.oauth.app_info(&host, &pair.access).await {
            Ok(info) if info.member_id == it.key.member_id => {
                let changed = keeper.change(|it| {
                    it.plan = info.plan.clone();
                    it.scopes = info.scopes.clone();
                    it.version = info.version;
                });
                if let Err(failure) = changed.await {
                    tracing::warn!(installation = %it.key, code = %failure.code, "news of a portal were not stored");
                }
            }
            Ok(_) => {}
            Err(refused) => {
                tracing::info!(installation = %it.key, code = %refused.failure.code, "no news of a portal");
            }
        }
    }
}
