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
//! Events about an installation come once, as all events do: they are written into the inbox, sealed, before anything
//! is asked about them, and leave it when they are carried out or refuted.
//!
//! Invariants: **IN-1** nothing of a claim takes effect before `app.info` has confirmed it; **IN-2** an installation is on
//! disk before its session starts; **IN-3** one installation is changed by one caller at a time.

mod authorisation;
mod binding;
mod claims;
mod inbox;
mod upkeep;

pub use inbox::WorkedOff;

use super::bindings::{self, Binding, EventMode, Wants};
use super::folder_watch::{FolderWatch, WatchedFolder};
use super::owner_watch::OwnerSettings;
use super::portal_session::{PortalCaller, PortalSession};
use super::second_channel::ChannelSettings;
use super::sender_list::Senders;
use super::session_registry::{Sessions, Tenure};
use super::token_keeper::{TokenKeeper, Tokens};
use super::workflow_watch::WorkflowSettings;
use super::{Parts, PortalSetup};
use super::{capability_watch, effect_runner::EffectRunner, owner_watch, second_channel, workflow_watch};
use crate::config::Members;
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
use crate::providers::url_rules::Origin;
use crate::saga::document::rule::EVERY_PORTAL;
use crate::store::{Installations, RekeyError, RekeyReport};
use actix::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
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

/// Makes a client that asks a portal before it has a session.
pub type MakeVisitor = Arc<dyn Fn(&MemberId, Origin, AppAccess) -> Client + Send + Sync>;

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
    pub named: BTreeMap<MemberId, (PortalId, Senders)>,
    /// Where events of the others may come from.
    pub senders: Senders,
    /// Asks a portal who somebody is, before it is known.
    pub make_visitor: MakeVisitor,
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
    /// Addresses it may send from.
    pub senders: Senders,
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
    runner: Arc<EffectRunner>,
    keepers: RwLock<BTreeMap<InstallationKey, Arc<TokenKeeper>>>,
    gates: RwLock<Arc<Vec<InstalledGate>>>,
    notes: Mutex<Notes>,
    installing: tokio::sync::Mutex<()>,
    claims: Mutex<inbox::Pending>,
    wake: Notify,
}

/// What need not survive a restart.
#[derive(Default)]
struct Notes {
    unbound: BTreeSet<InstallationKey>,
    bindings: BTreeMap<InstallationKey, Vec<BindingView>>,
    /// The mark under which offline events were bound.
    marked: BTreeMap<InstallationKey, String>,
    hinted: BTreeMap<InstallationKey, crate::domain::Timestamp>,
    told: BTreeMap<InstallationKey, crate::domain::Timestamp>,
    states: Vec<Authorisation>,
    clients: BTreeMap<InstallationKey, Arc<Client>>,
    watched: BTreeMap<InstallationKey, Watched>,
}

/// How a portal is watched: needed again when a removed application comes back.
#[derive(Clone)]
struct Watched {
    channel: ChannelSettings,
    owner: OwnerSettings,
    workflows: WorkflowSettings,
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
        runner: Arc<EffectRunner>,
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
            runner,
            keepers: RwLock::default(),
            gates: RwLock::default(),
            notes: Mutex::default(),
            installing: tokio::sync::Mutex::new(()),
            claims: Mutex::default(),
            wake: Notify::new(),
        });
        drop(registry.parts.installations.set(Arc::downgrade(&registry)));
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

    /// The installations of these parts; none while they are started.
    pub fn of(parts: &Parts) -> Option<Arc<Self>> {
        parts.installations.get().and_then(Weak::upgrade)
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
        let watched = Watched {
            channel: setup.channel.clone(),
            owner: setup.owner.clone(),
            workflows: setup.workflows.clone(),
        };
        self.notes().watched.insert(it.key.clone(), watched);
        let (client, capability) = (setup.client.clone(), setup.capability);
        let parts = self.parts.clone();
        let session =
            PortalSession::start_in_arbiter(&self.arbiter, move |_| PortalSession::new(parts, setup));
        self.sessions.insert(it.portal.clone(), session);
        capability_watch::start(&self.parts, &it.portal, &self.sessions, &client, capability, &self.arbiter);
        if it.status != InstallationStatus::Uninstalled {
            self.start_watches(&it);
        }
    }

    /// Starts everything that asks the portal by itself, in the portal's present tenure.
    fn start_watches(&self, it: &Installation) {
        let watched = self.notes().watched.get(&it.key).cloned();
        let (Some(watched), Some(session), Some(tenure)) =
            (watched, self.sessions.session(&it.portal), self.sessions.tenure(&it.portal))
        else {
            return;
        };
        let (parts, portal, arbiter) = (&self.parts, &it.portal, &self.arbiter);
        self.watch(portal, &session, &tenure);
        owner_watch::start(parts, portal, &session, tenure.clone(), &watched.owner, arbiter);
        second_channel::start(parts, portal, &self.sessions, &watched.channel, arbiter);
        let installer = it.user_id;
        workflow_watch::start(
            parts,
            portal,
            &session,
            tenure,
            &watched.workflows,
            installer,
            &self.runner,
            arbiter,
        );
    }

    /// Starts the polling of folders that rules name for this portal.
    pub(super) fn watch(&self, portal: &PortalId, session: &Addr<PortalSession>, tenure: &Tenure) {
        let ours =
            |folder: &&WatchedFolder| folder.portal == *portal || folder.portal.as_str() == EVERY_PORTAL;
        for folder in self.watches.iter().filter(ours) {
            let folder = WatchedFolder { portal: portal.clone(), ..folder.clone() };
            let (parts, session, tenure) = (self.parts.clone(), session.clone(), tenure.clone());
            FolderWatch::start_in_arbiter(&self.arbiter, move |_| {
                FolderWatch::new(parts, session, tenure, folder)
            });
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
