//! Installations: the portals that have installed one of our applications, while the service runs.
//!
//! Whoever claims to be a portal is believed only after the authorisation server has said so (`app.info`), and is
//! allowed to change anything only as an administrator of that portal: any employee holds a valid token of the
//! application, and would otherwise put an application token or an address of their own into our records.
//!
//! Installing starts the portal's session, updating registers its bindings again, uninstalling (proven by the
//! application token) stops its calls and forgets it some days later. Payments and confirmations come without any
//! proof: they only make us ask.
//!
//! Invariants: **IN-1** nothing of a claim is kept before `app.info` has confirmed it; **IN-2** an installation is on
//! disk before its session starts; **IN-3** one installation is changed by one caller at a time.

use super::bindings::{self, Binding, EventMode, Wants};
use super::folder_watch::{FolderWatch, WatchedFolder};
use super::portal_session::{PortalCaller, PortalSession};
use super::second_channel::{self, ChannelSettings};
use super::session_registry::Sessions;
use super::token_keeper::{TokenKeeper, Tokens};
use super::{Parts, PortalSetup};
use crate::config::{Members, Network};
use crate::domain::{
    AppId, Failure, FailureClass, Installation, InstallationKey, InstallationStatus, MemberId, PortalId,
    Secret, Text, TokenPair,
};
use crate::providers::bitrix24::credentials::BorrowedToken;
use crate::providers::bitrix24::events::token_matches;
use crate::providers::bitrix24::lifecycle::{Claim, ClaimedTokens, Lifecycle};
use crate::providers::bitrix24::oauth::{AppInfo, OauthClient, OauthFailure, Refusal, needs_authorisation};
use crate::providers::bitrix24::registration::{self, Bound, Placement};
use crate::providers::bitrix24::{AppAccess, Client, account, notify};
use crate::providers::http_client::HttpClient;
use crate::providers::url_rules::Origin;
use crate::saga::document::rule::EVERY_PORTAL;
use crate::store::{Installations, RekeyError, RekeyReport};
use actix::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;

/// An uninstalled portal is forgotten after so long: administrators remove and install again to mend something.
pub const FORGET_AFTER_MS: u64 = 7 * 86_400_000;
/// Pause between two looks at what is to be done.
const UPKEEP_EVERY: Duration = Duration::from_secs(30);
/// Pause between two questions that an unproven hint may cause for one portal, in milliseconds.
const HINT_PAUSE_MS: u64 = 60_000;
/// Pause between two notices to an administrator, in milliseconds.
const NOTICE_PAUSE_MS: u64 = 86_400_000;
/// How long a person may take to authorise, in milliseconds.
pub const STATE_LIFE_MS: u64 = 10 * 60_000;
/// Authorisations under way; more are forgotten, oldest first.
const STATES_MAX: usize = 64;
/// Installations that one process takes on: each costs a session and its memory.
const INSTALLATIONS_MAX: usize = 1_000;

/// Makes the setting of a portal that has installed an application.
pub type MakePortal = Arc<dyn Fn(PortalId, &MemberId, Origin, AppAccess) -> PortalSetup + Send + Sync>;

/// Whether portals may be spoken to in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Never.
    HttpsOnly,
    /// On this machine: the sandbox.
    HttpToLoopback,
}

/// One application, as the engine needs it.
#[derive(Clone)]
pub struct AppSetup {
    /// Its name.
    pub id: AppId,
    /// Its way to the authorisation servers.
    pub oauth: OauthClient,
    /// Which portals without an entry of their own may install it.
    pub members: Members,
    /// `auth_connector` of its writing calls.
    pub auth_connector: Option<String>,
    /// Idle tokens are renewed after so long, in milliseconds.
    pub keep_alive_ms: u64,
    /// Whether plain http is allowed.
    pub transport: Transport,
    /// Portals with an entry of their own, and where their events may come from.
    pub named: BTreeMap<MemberId, (PortalId, Vec<Network>)>,
    /// Where events of the others may come from; empty = anywhere.
    pub senders: Vec<Network>,
    /// Asks a portal who somebody is, before it is known.
    pub http: HttpClient,
    /// Makes the setting of a portal.
    pub make_portal: MakePortal,
}

impl AppSetup {
    fn admits(&self, member_id: &MemberId) -> bool {
        self.named.contains_key(member_id) || self.members.admits(member_id)
    }
}

/// All applications and what is remembered of them.
pub struct Apps {
    /// The applications.
    pub list: Vec<AppSetup>,
    /// The records.
    pub records: Installations,
    /// What is on record.
    pub installed: Vec<Installation>,
    /// `https://our-host`, for the addresses that we register.
    pub base_url: Option<String>,
    /// Portals that are reached by webhook too: a way to tell their administrator.
    pub webhook_portals: BTreeMap<MemberId, PortalId>,
}

/// What proves events of an installed portal.
#[derive(Debug, Clone)]
pub struct InstalledGate {
    /// The portal.
    pub portal: PortalId,
    /// `member_id` that its events must carry.
    pub member_id: MemberId,
    /// Valid tokens.
    pub application_tokens: Vec<Secret>,
    /// Addresses it may send from; empty = any.
    pub senders: Vec<Network>,
}

/// Why a claim is not believed, or not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InstallError {
    /// The authorisation server does not confirm it, or names another portal or application.
    #[error("the claim is not confirmed")]
    Unconfirmed,
    /// The portal may not use this application here.
    #[error("portal {0} is not admitted")]
    NotAdmitted(MemberId),
    /// Only an administrator of the portal may do this.
    #[error("the user is no administrator of the portal")]
    NotAdministrator,
    /// It can neither be confirmed nor denied now.
    #[error("{}", .0.en)]
    Unavailable(Text),
}

/// A claim that the authorisation server has confirmed.
pub struct Confirmed {
    app: Arc<AppSetup>,
    host: Origin,
    info: AppInfo,
}

impl Confirmed {
    /// The portal's place.
    pub fn portal_origin(&self) -> &Origin {
        &self.info.portal
    }
}

/// Whether all bindings were answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    All,
    Later,
}

/// Who has opened a page of ours.
pub struct Visitor {
    /// The portal's place, for the frame.
    pub origin: Origin,
    /// What the portal is called; none if it has not installed the application.
    pub portal: Option<PortalId>,
    /// Whether the portal's access works now.
    pub status: Option<InstallationStatus>,
}

/// The outcome of one binding, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingView {
    /// `event ONCRMDEALADD`.
    pub label: String,
    /// None = it is there.
    pub problem: Option<Text>,
}

/// An installation, for people. No secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct InstallationView {
    /// As it is on record.
    pub key: InstallationKey,
    /// What the portal is called.
    pub portal: PortalId,
    /// Where it is.
    pub origin: String,
    /// Whether it works.
    pub status: InstallationStatus,
    /// What to do if it does not.
    pub advice: Option<Text>,
    /// Whose tokens are used.
    pub user_id: u64,
    /// What it may.
    pub scopes: Vec<String>,
    /// `L`, `F`, `D`, `T`, `P`.
    pub plan: String,
    /// When it was installed.
    pub installed_at: crate::domain::Timestamp,
    /// When its tokens were renewed.
    pub refreshed_at: crate::domain::Timestamp,
    /// When it was removed.
    pub uninstalled_at: Option<crate::domain::Timestamp>,
    /// What was registered at the portal, when it was last looked at.
    pub bindings: Vec<BindingView>,
}

/// All installations of the running service.
pub struct Registry {
    parts: Arc<Parts>,
    apps: Vec<Arc<AppSetup>>,
    records: Option<Installations>,
    base_url: Option<String>,
    webhook_portals: BTreeMap<MemberId, PortalId>,
    sessions: Sessions,
    arbiter: ArbiterHandle,
    watches: Vec<WatchedFolder>,
    keepers: RwLock<BTreeMap<InstallationKey, Arc<TokenKeeper>>>,
    gates: RwLock<Arc<Vec<InstalledGate>>>,
    notes: Mutex<Notes>,
    installing: tokio::sync::Mutex<()>,
    wake: Notify,
}

/// What need not survive a restart.
#[derive(Default)]
struct Notes {
    unbound: BTreeSet<InstallationKey>,
    bindings: BTreeMap<InstallationKey, Vec<BindingView>>,
    hinted: BTreeMap<InstallationKey, crate::domain::Timestamp>,
    told: BTreeMap<InstallationKey, crate::domain::Timestamp>,
    states: Vec<Authorisation>,
    clients: BTreeMap<InstallationKey, Arc<Client>>,
}

/// An authorisation that was begun.
struct Authorisation {
    state: Secret,
    app: AppId,
    at: crate::domain::Timestamp,
}

impl Registry {
    /// Starts the sessions of everything on record. `apps` is none where no application is configured.
    pub fn start(
        parts: Arc<Parts>,
        apps: Option<Apps>,
        sessions: Sessions,
        arbiter: ArbiterHandle,
        watches: Vec<WatchedFolder>,
    ) -> Arc<Self> {
        let (list, records, installed, base_url, webhook_portals) = match apps {
            Some(apps) => {
                (apps.list, Some(apps.records), apps.installed, apps.base_url, apps.webhook_portals)
            }
            None => (Vec::new(), None, Vec::new(), None, BTreeMap::new()),
        };
        let registry = Arc::new(Self {
            parts,
            apps: list.into_iter().map(Arc::new).collect(),
            records,
            base_url,
            webhook_portals,
            sessions,
            arbiter,
            watches,
            keepers: RwLock::default(),
            gates: RwLock::default(),
            notes: Mutex::default(),
            installing: tokio::sync::Mutex::new(()),
            wake: Notify::new(),
        });
        for installation in installed {
            registry.take_on(installation);
        }
        registry.refresh_gates();
        if registry.records.is_some() {
            let me = registry.clone();
            registry.arbiter.spawn(async move { me.upkeep_for_ever().await });
        }
        registry
    }

    /// Starts what a recorded installation needs.
    fn take_on(self: &Arc<Self>, installation: Installation) {
        let key = installation.key.clone();
        let Some(app) = self.app(&key.app) else {
            tracing::warn!(installation = %key, "its application is not configured any more");
            return;
        };
        let Some(records) = self.records.clone() else { return };
        let (clock, metrics) = (self.parts.clock.clone(), self.parts.metrics.clone());
        let keeper = TokenKeeper::new(app.oauth.clone(), records, clock, metrics, installation);
        self.keepers.write().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), keeper.clone());
        // a removed one has a session too: its documents then wait instead of failing for an unknown portal
        self.start_session(&app, &keeper);
        if keeper.installation().status != InstallationStatus::Uninstalled {
            self.notes().unbound.insert(key);
        }
    }

    fn start_session(&self, app: &AppSetup, keeper: &Arc<TokenKeeper>) {
        let it = keeper.installation();
        let Ok(origin) = Origin::parse(&it.origin) else {
            tracing::error!(installation = %it.key, "its address is not usable");
            return;
        };
        let access = AppAccess {
            tokens: Arc::new(Tokens(keeper.clone())),
            auth_connector: app.auth_connector.clone(),
        };
        let setup = (app.make_portal)(it.portal.clone(), &it.key.member_id, origin, access);
        self.notes().clients.insert(it.key.clone(), setup.client.clone());
        let channel = ChannelSettings { connector: app.auth_connector.clone(), ..setup.channel.clone() };
        let parts = self.parts.clone();
        let session =
            PortalSession::start_in_arbiter(&self.arbiter, move |_| PortalSession::new(parts, setup));
        self.watch(&it.portal, &session);
        self.sessions.insert(it.portal.clone(), session);
        second_channel::start(&self.parts, &it.portal, &self.sessions, &channel, &self.arbiter);
    }

    /// Starts the polling of folders that rules name for this portal.
    pub(super) fn watch(&self, portal: &PortalId, session: &Addr<PortalSession>) {
        let ours =
            |folder: &&WatchedFolder| folder.portal == *portal || folder.portal.as_str() == EVERY_PORTAL;
        for folder in self.watches.iter().filter(ours) {
            let folder = WatchedFolder { portal: portal.clone(), ..folder.clone() };
            let (parts, session) = (self.parts.clone(), session.clone());
            FolderWatch::start_in_arbiter(&self.arbiter, move |_| FolderWatch::new(parts, session, folder));
        }
    }

    fn app(&self, id: &AppId) -> Option<Arc<AppSetup>> {
        self.apps.iter().find(|app| app.id == *id).cloned()
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keeper(&self, key: &InstallationKey) -> Option<Arc<TokenKeeper>> {
        self.keepers.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keepers(&self) -> Vec<Arc<TokenKeeper>> {
        self.keepers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether any application is configured.
    pub fn has_apps(&self) -> bool {
        !self.apps.is_empty()
    }

    /// The application with this name.
    pub fn app_setup(&self, id: &str) -> Option<Arc<AppSetup>> {
        self.apps.iter().find(|app| app.id.as_str() == id).cloned()
    }

    // ---- what doors ask ------------------------------------------------------------------------------------

    /// What proves events of installed portals. Quick: doors ask for each event.
    pub fn gates(&self) -> Arc<Vec<InstalledGate>> {
        self.gates.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refresh_gates(&self) {
        let gate = |keeper: Arc<TokenKeeper>| {
            let it = keeper.installation();
            let app = self.app(&it.key.app)?;
            let senders = app.named.get(&it.key.member_id).map_or(&app.senders, |(_, senders)| senders);
            (it.status != InstallationStatus::Uninstalled).then(|| InstalledGate {
                portal: it.portal,
                member_id: it.key.member_id,
                application_tokens: it.application_tokens,
                senders: senders.clone(),
            })
        };
        let gates = Arc::new(self.keepers().into_iter().filter_map(gate).collect());
        *self.gates.write().unwrap_or_else(PoisonError::into_inner) = gates;
    }

    // ---- claims --------------------------------------------------------------------------------------------

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
    fn askers(&self, endpoint: Option<&str>) -> Vec<(Arc<AppSetup>, Origin)> {
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

    fn judge(&self, claim: &Claim, info: AppInfo, host: Origin) -> Result<Confirmed, InstallError> {
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

    async fn is_administrator(&self, confirmed: &Confirmed, access: &Secret) -> Result<bool, InstallError> {
        let borrowed = AppAccess { tokens: Arc::new(BorrowedToken(access.clone())), auth_connector: None };
        let client = Client::of_app(confirmed.app.http.clone(), confirmed.info.portal.clone(), borrowed);
        match account::profile(&client).await {
            Ok(profile) => Ok(profile.is_admin && profile.id == confirmed.info.user_id),
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

    async fn install_confirmed(
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

    async fn first_install(
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
    fn portal_name(&self, key: &InstallationKey, app: &AppSetup) -> PortalId {
        if let Some((name, _)) = app.named.get(&key.member_id) {
            return name.clone();
        }
        let plain = key.member_id.portal_id();
        if self.sessions.contains(&plain) { PortalId(format!("{plain}-{}", key.app)) } else { plain }
    }

    async fn reinstall(
        self: &Arc<Self>,
        keeper: &Arc<TokenKeeper>,
        claim: &Claim,
        confirmed: &Confirmed,
    ) -> Result<Installation, InstallError> {
        let was = keeper.installation();
        let changed = keeper.change(|it| self.renew(it, claim, confirmed)).await;
        let it = changed.map_err(|failure| InstallError::Unavailable(failure.reason))?;
        if was.origin != it.origin
            && let Some(client) = self.notes().clients.get(&it.key)
        {
            client.move_to(confirmed.info.portal.clone());
        }
        Ok(it)
    }

    fn renew(&self, it: &mut Installation, claim: &Claim, confirmed: &Confirmed) {
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
        tracing::warn!(installation = %it.key, portal = %it.portal, "the application was removed from the portal");
        Ok(true)
    }

    /// Carries out an event of an application's life.
    ///
    /// # Errors
    /// [`InstallError::Unconfirmed`] for one that proves nothing.
    pub async fn live(self: &Arc<Self>, event: &Lifecycle) -> Result<(), InstallError> {
        match event {
            Lifecycle::Installed(claim) => self.install(claim).await.map(drop),
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
    async fn ask_again(&self, keeper: &Arc<TokenKeeper>) {
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

    // ---- full authorisation ---------------------------------------------------------------------------------

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

    fn take_state(&self, state: &Secret) -> Option<Arc<AppSetup>> {
        let now = self.parts.clock.now();
        let mut notes = self.notes();
        let known = |one: &Authorisation| token_matches(std::slice::from_ref(&one.state), state);
        let at = notes.states.iter().position(known)?;
        let found = notes.states.remove(at);
        drop(notes);
        (now.ms_since(found.at) < STATE_LIFE_MS).then(|| self.app(&found.app)).flatten()
    }

    // ---- upkeep --------------------------------------------------------------------------------------------

    async fn upkeep_for_ever(self: Arc<Self>) {
        while !self.parts.is_draining() {
            self.upkeep().await;
            drop(tokio::time::timeout(UPKEEP_EVERY, self.wake.notified()).await);
        }
    }

    async fn upkeep(&self) {
        for keeper in self.keepers() {
            let it = keeper.installation();
            match it.status {
                InstallationStatus::Active => self.keep_well(&keeper, &it).await,
                InstallationStatus::NeedsAuthorisation => self.tell_administrator(&it).await,
                InstallationStatus::Uninstalled => self.forget_in_time(&it).await,
            }
        }
        self.measure();
    }

    async fn keep_well(&self, keeper: &Arc<TokenKeeper>, it: &Installation) {
        self.notes().told.remove(&it.key);
        if let Some(app) = self.app(&it.key.app) {
            keeper.keep_alive(app.keep_alive_ms).await;
        }
        // taken out first: an update that comes meanwhile puts it in again, and its bindings are made anew
        let wanted = self.notes().unbound.remove(&it.key);
        if wanted && self.bind(it).await == Tried::Later {
            self.notes().unbound.insert(it.key.clone());
        }
    }

    async fn forget_in_time(&self, it: &Installation) {
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
        notes.clients.remove(key);
        tracing::warn!(installation = %key, "an installation was forgotten");
        Ok(true)
    }

    /// Once a day, where a webhook still lets us speak to the portal.
    async fn tell_administrator(&self, it: &Installation) {
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

    fn measure(&self) {
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

    // ---- bindings ------------------------------------------------------------------------------------------

    /// Registers everything that the portal must know of us. What could not be tried now is tried again later; what
    /// was refused is shown to people.
    async fn bind(&self, it: &Installation) -> Tried {
        let Some(session) = self.sessions.session(&it.portal) else { return Tried::Later };
        let caller = PortalCaller::background(session);
        let wanted = bindings::wanted(Wants { portal: &it.portal, rules: &self.parts.rules });
        let mut views = Vec::new();
        let mut tried = Tried::All;
        let there = match self.there(&caller, &wanted).await {
            Ok(there) => there,
            Err(failure) => {
                tracing::warn!(installation = %it.key, code = %failure.code, "bindings cannot be read, will try again");
                return Tried::Later;
            }
        };
        for binding in &wanted {
            let outcome = match there.contains(&binding.label()) {
                true => Ok(Bound::Already),
                false => self.bind_one(&caller, binding).await,
            };
            let problem = outcome.as_ref().err().map(|failure| failure.reason.clone());
            if let Err(failure) = &outcome {
                let later = failure.class != FailureClass::Permanent;
                if later {
                    tried = Tried::Later;
                }
                tracing::warn!(
                    installation = %it.key, binding = binding.label(), code = %failure.code, later,
                    "a binding was not made"
                );
            }
            views.push(BindingView { label: binding.label(), problem });
        }
        self.notes().bindings.insert(it.key.clone(), views);
        if tried == Tried::All {
            tracing::info!(installation = %it.key, count = wanted.len(), "the bindings are made");
        }
        tried
    }

    /// Labels of what the portal has already. Robots are put again each time: their properties may have changed.
    async fn there(&self, caller: &PortalCaller, wanted: &[Binding]) -> Result<BTreeSet<String>, Failure> {
        let mut there = BTreeSet::new();
        let events = registration::events(caller).await?;
        let places = if wanted.iter().any(|binding| matches!(binding, Binding::Placement { .. })) {
            registration::placements(caller).await?
        } else {
            Vec::new()
        };
        for binding in wanted {
            let found = match binding {
                Binding::Event { name, mode: EventMode::Online } => {
                    let handler = self.address(bindings::EVENTS_PATH);
                    events.iter().any(|event| event.name == *name && event.handler == handler)
                }
                Binding::Event { name, mode: EventMode::Offline } => {
                    events.iter().any(|event| event.name == *name && event.handler.is_none())
                }
                Binding::Placement { code, path, .. } => {
                    let handler = self.address(path).unwrap_or_default();
                    places.iter().any(|(place, at)| place == code && *at == handler)
                }
                Binding::Robot { .. } => false,
            };
            if found {
                there.insert(binding.label());
            }
        }
        Ok(there)
    }

    async fn bind_one(&self, caller: &PortalCaller, binding: &Binding) -> Result<Bound, Failure> {
        match binding {
            Binding::Event { name, mode: EventMode::Online } => {
                let handler = self.address(bindings::EVENTS_PATH).ok_or_else(no_address)?;
                registration::bind_event(caller, name, Some(&handler)).await
            }
            Binding::Event { name, mode: EventMode::Offline } => {
                registration::bind_event(caller, name, None).await
            }
            Binding::Placement { code, path, title_ru, title_en } => {
                let handler = self.address(path).ok_or_else(no_address)?;
                let placement = Placement { code, handler: &handler, title_ru, title_en };
                registration::bind_placement(caller, placement).await
            }
            Binding::Robot { code, path, params } => {
                let handler = self.address(path).ok_or_else(no_address)?;
                registration::put_robot(caller, code, &handler, params).await
            }
        }
    }

    fn address(&self, path: &str) -> Option<String> {
        self.base_url.as_ref().map(|base| format!("{}{path}", base.trim_end_matches('/')))
    }

    // ---- for people ----------------------------------------------------------------------------------------

    /// All installations, for people.
    pub fn views(&self) -> Vec<InstallationView> {
        let notes = self.notes();
        let view = |keeper: &Arc<TokenKeeper>| {
            let it = keeper.installation();
            InstallationView {
                bindings: notes.bindings.get(&it.key).cloned().unwrap_or_default(),
                advice: advice(&it),
                key: it.key,
                portal: it.portal,
                origin: it.origin,
                status: it.status,
                user_id: it.user_id,
                scopes: it.scopes,
                plan: it.plan,
                installed_at: it.installed_at,
                refreshed_at: it.refreshed_at,
                uninstalled_at: it.uninstalled_at,
            }
        };
        self.keepers().iter().map(view).collect()
    }

    /// What is wrong with installations, for health.
    pub fn complaints(&self) -> Vec<Text> {
        let complaint = |it: Installation| match it.status {
            InstallationStatus::NeedsAuthorisation => Some(Text::new(
                format!("Портал {}: {}", it.portal, needs_authorisation().ru),
                format!("Portal {}: {}", it.portal, needs_authorisation().en),
            )),
            InstallationStatus::Active | InstallationStatus::Uninstalled => None,
        };
        self.keepers().iter().filter_map(|keeper| complaint(keeper.installation())).collect()
    }

    /// Seals everything anew; see [`Installations::rekey`]; none where no application is configured.
    ///
    /// # Errors
    /// The store's.
    pub async fn rekey(&self) -> Result<Option<RekeyReport>, RekeyError> {
        // no renewal may write between the reading of a record and its sealing
        let keepers = self.keepers();
        let mut held = Vec::with_capacity(keepers.len());
        for keeper in &keepers {
            held.push(keeper.hold().await);
        }
        match &self.records {
            Some(records) => records.rekey().await.map(Some),
            None => Ok(None),
        }
    }
}

fn advice(it: &Installation) -> Option<Text> {
    match it.status {
        InstallationStatus::Active => None,
        InstallationStatus::NeedsAuthorisation if it.refresh_began_at.is_some() => {
            let text = needs_authorisation();
            Some(Text::new(
                format!("Ответ на обновление токенов был потерян. {}", text.ru),
                format!("The answer to a renewal of tokens was lost. {}", text.en),
            ))
        }
        InstallationStatus::NeedsAuthorisation => Some(needs_authorisation()),
        InstallationStatus::Uninstalled => Some(Text::new(
            "Приложение удалено с портала; через 7 дней запись о нём исчезнет. Чтобы работа продолжилась, установите его снова.",
            "The application was removed from the portal; after 7 days it is forgotten. To let the work go on, install it again.",
        )),
    }
}

fn no_address() -> Failure {
    Failure::new(
        FailureClass::Permanent,
        crate::domain::FailureKind::Local,
        "no_base_url",
        Text::new("Не задан public.base_url.", "public.base_url is not set."),
    )
}
