//! The full authorisation outside of a frame: an address with a state of ours, and the way back with a code.

use super::*;

impl Registry {
    /// Where an administrator authorises an application outside of a frame, for one that has no pages. The address is
    /// good for [`STATE_LIFE_MS`] and for one use.
    ///
    /// # Errors
    /// [`InstallError::Unconfirmed`] for an application or address that cannot be used.
    pub fn authorize_url(&self, app: &str, portal: &str) -> Result<String, InstallError> {
        let app = self.app(&AppId(app.to_owned())).ok_or(InstallError::Unconfirmed)?;
        let portal = Origin::parse(portal).map_err(|_| InstallError::Unconfirmed)?;
        if !portal.is_https() && app.transport == Transport::HttpsOnly {
            return Err(InstallError::Unconfirmed);
        }
        let state = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let url = app.oauth.authorize_url(&portal, &state);
        let now = self.parts.clock.now();
        let mut notes = self.notes();
        notes.states.retain(|known| now.ms_since(known.at) < STATE_LIFE_MS);
        if notes.states.len() >= STATES_MAX {
            notes.states.remove(0);
        }
        notes.states.push(Authorisation { state: Secret::new(state), app: app.id.clone(), at: now });
        Ok(url)
    }

    /// The browser came back with a code: exchanges it and installs.
    ///
    /// # Errors
    /// [`InstallError::Unconfirmed`] for a state that we did not give out, or a second use of it.
    pub async fn authorised(
        self: &Arc<Self>,
        state: &Secret,
        code: &Secret,
        server_domain: Option<&str>,
    ) -> Result<Visitor, InstallError> {
        let app = self.take_state(state).ok_or(InstallError::Unconfirmed)?;
        let host = match server_domain {
            Some(named) => app.oauth.host_of(named).ok(),
            None => app.oauth.hosts().first().cloned(),
        };
        let host = host.ok_or(InstallError::Unconfirmed)?;
        let grant = app.oauth.exchange(&host, code).await.map_err(|refused| match refused.refusal {
            Refusal::Unavailable => InstallError::Unavailable(refused.failure.reason),
            _ => InstallError::Unconfirmed,
        })?;
        let claim = Claim {
            member_id: grant.member_id,
            tokens: ClaimedTokens {
                access: grant.access,
                refresh: grant.refresh,
                expires_in_s: grant.expires_in_s,
            },
            application_token: Secret::new(""),
            server_endpoint: Some(host.to_string()),
        };
        self.install(&claim).await
    }

    pub(super) fn take_state(&self, state: &Secret) -> Option<Arc<AppSetup>> {
        let now = self.parts.clock.now();
        let mut notes = self.notes();
        let known = |one: &Authorisation| token_matches(std::slice::from_ref(&one.state), state);
        let at = notes.states.iter().position(known)?;
        let found = notes.states.remove(at);
        drop(notes);
        (now.ms_since(found.at) < STATE_LIFE_MS).then(|| self.app(&found.app)).flatten()
    }
}
