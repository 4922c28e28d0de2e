//! The handle of the emulated world: what people do in it, what goes wrong in it, what a witness sees of it.
//!
//! All operations are synchronous behind one mutex, which is never held while anything is sent or awaited. The one
//! exception is closing a port, which is awaited because it happens in the sandbox's own thread.
//!
//! Invariants: an operation that people do by hand changes the world and says so by the same events and callbacks
//! as the real services; reading changes nothing.

use super::bitrix24::access::Caller;
use super::bitrix24::events::{EventSpec, QUEUE_CALLS_MAX};
use super::bitrix24::portal::{Echo, OWNER_ID, Overload, Owner, Portal, User};
use super::bitrix24::traits::PortalTraits;
use super::bitrix24::tree::{NotMade, OnTaken, ROOT_ID};
use super::bitrix24::{CommandLine, Ctx, Inside};
use super::callbacks::{CallbackPolicy, CallbackSpec, deliver};
use super::documents::{Document, Documents, NewDocument, SIGNED, Script};
use super::easydocs::EasyDocsOptions;
use super::faults::{Fault, FaultKind, Faults};
use super::front::{Reply, Site};
use super::idocs;
use super::ledger::{Ledger, LedgerEntry, Note, Side};
use super::views::{CommentView, DocumentView, FileView, FolderView, NoticeView};
use super::{Limits, Mode};
use crate::domain::{CrmItem, Secret};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use url::Url;

/// An operation names something that is not there, or cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// No such folder, file, item, field or document.
    #[error("there is no {what} {id} in the sandbox")]
    Missing {
        /// What was looked for.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The folder has a live child of that name.
    #[error("the name `{0}` is taken in that folder")]
    NameTaken(String),
    /// No more faults can be set.
    #[error("too many faults are set, clear them first")]
    TooManyFaults,
}

pub(super) fn missing(what: &'static str, id: impl ToString) -> WorldError {
    WorldError::Missing { what, id: id.to_string() }
}

/// The present as the sandbox sees it, UTC milliseconds.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A moment as EasyDocs writes it: RFC 3339 with Z, whole seconds.
pub(crate) fn utc(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1_000)).unwrap_or_default().to_string()
}

/// What does not change while the sandbox runs.
pub(crate) struct Setting {
    pub(crate) mode: Mode,
    pub(crate) webhook_secret: Secret,
    pub(crate) application_token: Secret,
    pub(crate) easydocs_api_key: Secret,
    pub(crate) idocs_token: Secret,
    pub(crate) callback_secret: Secret,
    pub(crate) control_key: Option<Secret>,
    pub(crate) callback_policy: CallbackPolicy,
    /// `http://host:port` of each site, in the order of [`Site::ALL`].
    pub(crate) origins: [String; 6],
}

/// Whether a side can be reached at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Its ports are open.
    Up,
    /// Its ports are closed: a connection is refused before a byte is sent. Open connections are closed too.
    Down,
}

/// The wish for a site's port and what became of it.
pub(crate) struct Gate {
    pub(crate) wanted: watch::Sender<bool>,
    pub(crate) applied: watch::Sender<bool>,
}

impl Gate {
    fn new() -> Self {
        Self { wanted: watch::Sender::new(true), applied: watch::Sender::new(false) }
    }
}

struct State {
    portal: Portal,
    documents: Documents,
    faults: Faults,
    ledger: Ledger,
    event_target: Option<Url>,
    callback_url: Option<Url>,
    easydocs: EasyDocsOptions,
    idocs: idocs::Account,
}

/// Everything that [`super::SandboxOptions`] sets and that may change later.
pub(crate) struct Beginning {
    pub(crate) portal: Portal,
    pub(crate) easydocs: EasyDocsOptions,
    pub(crate) idocs: idocs::IDocsOptions,
    pub(crate) event_target: Option<Url>,
    pub(crate) callback_url: Option<Url>,
}

/// The emulated world. Made by [`super::Sandbox`]; shared by its servers and by whoever plays in it.
pub struct World {
    setting: Setting,
    state: Mutex<State>,
    gates: [Gate; 6],
    runtime: Handle,
    http: reqwest::Client,
    /// Turns of the platform's queue server.
    queue: Semaphore,
    /// Changes whenever the push server has something to say.
    push_news: watch::Sender<u64>,
}

impl World {
    pub(crate) fn new(
        setting: Setting,
        beginning: Beginning,
        runtime: Handle,
        http: reqwest::Client,
    ) -> Self {
        let Beginning { portal, easydocs, idocs, event_target, callback_url } = beginning;
        let state = State {
            portal,
            documents: Documents::new(),
            faults: Faults::default(),
            ledger: Ledger::default(),
            event_target,
            callback_url,
            easydocs,
            idocs: idocs::Account::new(idocs),
        };
        let gates = Site::ALL.map(|_| Gate::new());
        let queue = Semaphore::new(QUEUE_CALLS_MAX);
        Self {
            setting,
            state: Mutex::new(state),
            gates,
            runtime,
            http,
            queue,
            push_news: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in one request must not make the witness blind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn gate(&self, site: Site) -> &Gate {
        &self.gates[site as usize]
    }
    pub(crate) fn origin(&self, site: Site) -> &str {
        &self.setting.origins[site as usize]
    }
    pub(crate) fn mode(&self) -> Mode {
        self.setting.mode
    }
    pub(crate) fn webhook_secret(&self) -> &str {
        self.setting.webhook_secret.expose()
    }
    pub(crate) fn application_token(&self) -> &Secret {
        &self.setting.application_token
    }
    pub(crate) fn easydocs_api_key(&self) -> &str {
        self.setting.easydocs_api_key.expose()
    }
    pub(crate) fn idocs_token(&self) -> &str {
        self.setting.idocs_token.expose()
    }
    pub(crate) fn callback_secret(&self) -> &str {
        self.setting.callback_secret.expose()
    }
    pub(crate) fn control_key(&self) -> Option<&Secret> {
        self.setting.control_key.as_ref()
    }
    pub(crate) fn callback_policy(&self) -> CallbackPolicy {
        self.setting.callback_policy
    }
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }
    pub(crate) fn queue(&self) -> &Semaphore {
        &self.queue
    }
    pub(crate) fn push_news(&self) -> watch::Receiver<u64> {
        self.push_news.subscribe()
    }
    pub(crate) fn tell_push_news(&self) {
        self.push_news.send_modify(|n| *n += 1);
    }
    /// How long the portal takes for `calls` calls.
    pub(crate) fn time_of_calls(&self, calls: usize) -> Duration {
        self.state().portal.limits.call_time.saturating_mul(u32::try_from(calls).unwrap_or(u32::MAX))
    }
    pub(crate) fn portal_address(&self) -> Site {
        self.state().portal.address
    }
    pub(crate) fn event_target(&self) -> Option<Url> {
        self.state().event_target.clone()
    }
    pub(crate) fn easydocs_options(&self) -> EasyDocsOptions {
        self.state().easydocs.clone()
    }
    pub(crate) fn signed_file_url(&self, id: &str) -> String {
        format!("{}/documents/{id}/download", self.origin(Site::EasyDocs))
    }
    /// Where callbacks of a document go: the account's setting if there is one, else the document's own.
    pub(crate) fn callback_target(&self, document: &Document) -> Option<Url> {
        let set = self.state().callback_url.clone();
        set.or_else(|| document.callback_url.as_ref()?.parse().ok())
    }

    /// Starts something in the sandbox's thread; after the sandbox was stopped it is dropped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(task)
    }

    /// Counts a call and says what strikes it.
    pub(crate) fn strike(&self, call: &str) -> Option<FaultKind> {
        self.state().faults.on_call(call)
    }

    pub(crate) fn record(
        &self,
        side: Side,
        call: &str,
        note: Note,
        fault: Option<&FaultKind>,
        status: Option<u16>,
    ) {
        let fault = fault.map(FaultKind::name);
        self.state().ledger.write(now_ms(), side, call, note, fault, status);
    }

    pub(crate) fn with_portal<R>(&self, f: impl FnOnce(&mut Portal) -> R) -> R {
        f(&mut self.state().portal)
    }

    pub(crate) fn with_documents<R>(&self, f: impl FnOnce(&mut Documents) -> R) -> R {
        f(&mut self.state().documents)
    }

    pub(crate) fn with_idocs<R>(&self, f: impl FnOnce(&mut idocs::Account) -> R) -> R {
        f(&mut self.state().idocs)
    }

    /// Runs one call against the locked portal, then writes its lines and sends what it set off.
    pub(crate) fn portal_call(
        self: &Arc<Self>,
        deliveries: u32,
        call: impl FnOnce(&mut Ctx<'_>) -> Reply,
    ) -> Reply {
        let (reply, events, robot_calls, push_news) = {
            let mut state = self.state();
            let state = &mut *state;
            let now_ms = now_ms();
            let origin = self.origin(state.portal.address);
            let mut ctx = Ctx {
                portal: &mut state.portal,
                origin,
                oauth: self.origin(Site::OAuth),
                push: self.origin(Site::Push),
                now_ms,
                caller: Caller::Webhook,
                connector: String::new(),
                oauth_reach: if *self.gate(Site::OAuth).wanted.borrow() { Reach::Up } else { Reach::Down },
                inside: Inside::Request,
                events: Vec::new(),
                robot_calls: Vec::new(),
                push_news: false,
                lines: Vec::new(),
            };
            let reply = call(&mut ctx);
            let Ctx { events, robot_calls, push_news, lines, .. } = ctx;
            for CommandLine { call, note, fault, status } in lines {
                state.ledger.write(now_ms, Side::Bitrix24, &call, note, fault, Some(status));
            }
            (reply, events, robot_calls, push_news)
        };
        for event in events {
            self.fire(EventSpec { copies: event.copies.saturating_mul(deliveries), ..event });
        }
        if push_news {
            self.tell_push_news();
        }
        for call in robot_calls {
            self.send_robot(call);
        }
        reply
    }

    pub(crate) fn add_document(&self, new: NewDocument) -> (Document, Option<Script>) {
        let mut state = self.state();
        let script = state.documents.script_for(&new.file_name);
        (state.documents.add(new, now_ms()), script)
    }

    /// Sets a status without telling anybody.
    pub(crate) fn set_status(&self, id: &str, status: &str) {
        self.with_documents(|all| {
            if let Some(document) = all.get_mut(id) {
                document.status = status.to_owned();
            }
        });
    }
}

/// Addresses and switches.
impl World {
    /// `http://host:port/` of the portal at its present address.
    pub fn bitrix_url(&self) -> Url {
        self.site_url(self.portal_address())
    }
    pub(crate) fn site_url(&self, site: Site) -> Url {
        parsed(&format!("{}/", self.origin(site)))
    }
    /// Scheme, host and port of the portal at its present address.
    pub(crate) fn bitrix_origin(&self) -> String {
        self.origin(self.portal_address()).to_owned()
    }
    /// The incoming webhook at the portal's present address: a secret.
    pub fn webhook_url(&self) -> Url {
        let origin = self.origin(self.portal_address());
        parsed(&format!("{origin}/rest/{OWNER_ID}/{}/", self.webhook_secret()))
    }
    /// `http://host:port/` of the signing service.
    pub fn easydocs_url(&self) -> Url {
        self.site_url(Site::EasyDocs)
    }
    /// Sets where events go.
    pub fn set_event_target(&self, target: Option<Url>) {
        self.state().event_target = target;
    }
    /// Sets where all callbacks go, whatever the documents say.
    pub fn set_callback_url(&self, target: Option<Url>) {
        self.state().callback_url = target;
    }
    /// Sets whether changes made through REST fire events.
    pub fn set_echo(&self, echo: Echo) {
        self.state().portal.echo = echo;
    }
    /// Sets whether the owner of the webhook still works there.
    pub fn set_owner(&self, owner: Owner) {
        self.state().portal.owner = owner;
    }
    /// Sets the scopes of the webhook.
    pub fn set_scopes(&self, scopes: &[&str]) {
        self.state().portal.scopes = scopes.iter().map(|s| (*s).to_owned()).collect();
    }
    /// Sets what kind of portal it is and what it lacks.
    pub fn set_traits(&self, traits: PortalTraits) {
        self.state().portal.traits = traits;
    }
    /// Sets the published addresses of the servers that send events (`/webhook/app.json` at the portal's address).
    pub fn set_sender_nodes(&self, nodes: &[&str]) {
        self.state().portal.sender_nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
    }
    pub(crate) fn sender_nodes_reply(&self) -> Reply {
        Reply::json(200, &serde_json::json!({ "nodes": self.state().portal.sender_nodes }))
    }
    /// Sets a feature of the plan, as `feature.get` tells it.
    pub fn set_feature(&self, code: &str, on: bool) {
        self.state().portal.traits.features.insert(code.to_owned(), on);
    }
    /// Sets until when the incoming webhook works, UTC milliseconds; none: for ever.
    pub fn set_webhook_expiry(&self, until_ms: Option<i64>) {
        self.state().portal.webhook_until_ms = until_ms;
    }
    /// Lets the vendor block the portal's REST by hand, or open it again.
    pub fn set_overload(&self, overload: Overload) {
        self.state().portal.overload = overload;
    }
    /// Sets the portal's limits; what was counted so far stays.
    pub fn set_limits(&self, limits: Limits) {
        self.state().portal.limits = limits;
    }
    /// Sets what the signing service offers.
    pub fn set_easydocs(&self, options: EasyDocsOptions) {
        self.state().easydocs = options;
    }
    /// Renames the portal: the old address answers 302 from now on. Returns the new address.
    pub fn rename_portal(&self) -> Url {
        self.state().portal.address = Site::RenamedPortal;
        self.bitrix_url()
    }
    /// Opens or closes the ports of a side, and waits until it is so.
    pub async fn set_reach(&self, side: Side, reach: Reach) {
        let up = reach == Reach::Up;
        for site in Site::ALL.into_iter().filter(|site| site.side() == side) {
            let gate = self.gate(site);
            gate.wanted.send_replace(up);
            // Fails only when the sender is gone, and we hold it.
            let _ = gate.applied.subscribe().wait_for(|applied| *applied == up).await;
        }
    }
}

/// An address that we made ourselves from a socket address.
fn parsed(text: &str) -> Url {
    text.parse().expect("an origin made of a socket address is a URL")
}

/// Faults and ledger.
impl World {
    /// Sets a fault.
    ///
    /// # Errors
    ///
    /// When [`super::faults::FAULTS_MAX`] are set.
    pub fn add_fault(&self, fault: Fault) -> Result<(), WorldError> {
        if self.state().faults.add(fault) { Ok(()) } else { Err(WorldError::TooManyFaults) }
    }
    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }
    /// How many calls the faults that are set now have struck.
    pub fn faults_struck(&self) -> u32 {
        self.state().faults.struck()
    }
    /// The set faults with their counters, as JSON.
    pub fn faults_json(&self) -> Value {
        self.state().faults.to_json()
    }
    /// How often each call was made since the start, struck or not: what a sweep has to cover.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.state().faults.calls()
    }
    /// The whole ledger.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.ledger_after(0)
    }
    /// The ledger after entry number `n`.
    pub fn ledger_after(&self, n: u64) -> Vec<LedgerEntry> {
        self.state().ledger.after(n).cloned().collect()
    }
    /// The ledger's entries of one call.
    pub fn ledger_of(&self, call: &str) -> Vec<LedgerEntry> {
        self.state().ledger.of_call(call).cloned().collect()
    }
    /// Every callback attempt, with the answers it got.
    pub fn callbacks(&self) -> Vec<LedgerEntry> {
        self.ledger_of("callback")
    }
    /// Empties the ledger; the world stays.
    pub fn clear_ledger(&self) {
        self.state().ledger.clear();
    }
}

/// The portal, as its people use it.
impl World {
    /// The root folder of the only storage.
    pub fn root_folder(&self) -> u64 {
        ROOT_ID
    }
    /// Employs somebody.
    pub fn add_user(&self, name: &str, last_name: &str) -> u64 {
        let mut state = self.state();
        let id = state.portal.fresh_id();
        state.portal.users.insert(id, User::employee(name, last_name));
        id
    }
    /// Dismisses somebody: his tokens are refused, `user.get` says that he is not active.
    pub fn dismiss_user(&self, id: u64) {
        if let Some(user) = self.state().portal.users.get_mut(&id) {
            user.active = false;
        }
    }
    /// Makes somebody an administrator, or an ordinary employee again.
    pub fn set_admin(&self, id: u64, admin: bool) {
        if let Some(user) = self.state().portal.users.get_mut(&id) {
            user.admin = admin;
        }
    }
    /// Makes a folder.
    ///
    /// # Errors
    ///
    /// No such parent, or the name is taken.
    pub fn add_folder(&self, parent: u64, name: &str) -> Result<u64, WorldError> {
        let added = self.state().portal.tree.add_folder(parent, name, OWNER_ID, now_ms());
        added.map_err(|why| not_made(why, parent, name))
    }
    /// Puts a file into a folder, without an event: Drive has none by the docs.
    ///
    /// # Errors
    ///
    /// No such folder, or the name is taken.
    pub fn add_file(&self, folder: u64, name: &str, bytes: impl Into<Bytes>) -> Result<u64, WorldError> {
        let tree = &mut self.state().portal.tree;
        let added = tree.add_file(folder, name, bytes.into(), OWNER_ID, now_ms(), OnTaken::Refuse);
        added.map_err(|why| not_made(why, folder, name))
    }
    /// The same, with the event `ONDISKFILEADD` that the EasyDocs guide counts on.
    ///
    /// # Errors
    ///
    /// As [`World::add_file`].
    pub fn drop_file(
        self: &Arc<Self>,
        folder: u64,
        name: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<u64, WorldError> {
        let id = self.add_file(folder, name, bytes)?;
        self.fire_file_added(id);
        Ok(id)
    }
    /// Moves a file or a folder to the recycle bin.
    ///
    /// # Errors
    ///
    /// There is no such live object.
    pub fn remove(&self, id: u64) -> Result<(), WorldError> {
        let removed = self.state().portal.tree.mark_deleted(id, now_ms());
        removed.then_some(()).ok_or_else(|| missing("file or folder", id))
    }
}

fn not_made(why: NotMade, folder: u64, name: &str) -> WorldError {
    match why {
        NotMade::NoFolder => missing("folder", folder),
        NotMade::NameTaken => WorldError::NameTaken(name.to_owned()),
    }
}

/// The signing service, as its people use it.
impl World {
    /// Everybody signs; the callback goes out.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn sign(self: &Arc<Self>, document_id: &str) -> Result<(), WorldError> {
        self.report(document_id, SIGNED)
    }
    /// A participant refuses (`rejected`; the guide gives no reason); the callback goes out.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn refuse(self: &Arc<Self>, document_id: &str) -> Result<(), WorldError> {
        self.report(document_id, "rejected")
    }
    /// Sets any status (`declined`, `in_approval`, one nobody knows); the callback goes out.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn report(self: &Arc<Self>, document_id: &str, status: &str) -> Result<(), WorldError> {
        self.change_quietly(document_id, status)?;
        self.send_callback(document_id, CallbackSpec::of_status(status))
    }
    /// Sets a status and tells nobody: a lost callback.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn change_quietly(&self, document_id: &str, status: &str) -> Result<(), WorldError> {
        self.known(document_id)?;
        self.set_status(document_id, status);
        Ok(())
    }
    /// Sends a callback as ordered, right or wrong; the document's status stays.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn send_callback(self: &Arc<Self>, document_id: &str, spec: CallbackSpec) -> Result<(), WorldError> {
        self.known(document_id)?;
        drop(self.spawn(deliver(Arc::clone(self), document_id.to_owned(), spec)));
        Ok(())
    }
    /// Sets what becomes of every later document whose file name contains `part`.
    pub fn script(&self, part: &str, script: Script) {
        self.state().documents.script(part, script);
    }

    fn known(&self, document_id: &str) -> Result<(), WorldError> {
        let known = self.state().documents.get(document_id).is_some();
        known.then_some(()).ok_or_else(|| missing("document", document_id))
    }
}

/// What a witness sees.
impl World {
    /// All documents of the signing service, oldest first.
    pub fn documents(&self) -> Vec<DocumentView> {
        self.state().documents.iter().map(DocumentView::of).collect()
    }
    /// The documents with one `external_id`: more than one is a double.
    pub fn documents_of(&self, external_id: &str) -> Vec<DocumentView> {
        self.documents().into_iter().filter(|d| d.external_id == external_id).collect()
    }
    /// One document.
    pub fn document(&self, id: &str) -> Option<DocumentView> {
        self.state().documents.get(id).map(DocumentView::of)
    }
    /// The signed copy's bytes, whether the document is signed or not.
    pub fn signed_bytes(&self, id: &str) -> Option<Vec<u8>> {
        let document = self.state().documents.get(id).cloned();
        document.map(|d| d.signed_bytes())
    }
    /// Live folders.
    pub fn folders(&self) -> Vec<FolderView> {
        let state = self.state();
        let folders = state.portal.tree.folders();
        folders.map(|n| FolderView { id: n.id, parent: n.parent, name: n.name.clone() }).collect()
    }
    /// Live files of a folder, oldest first.
    pub fn files(&self, folder: u64) -> Vec<FileView> {
        let state = self.state();
        let nodes = state.portal.tree.children(folder).filter_map(|n| n.content.as_ref().map(|c| (n, c)));
        let view = |(n, c): (&super::bitrix24::tree::Node, &super::bitrix24::tree::Content)| FileView {
            id: n.id,
            folder_id: folder,
            name: n.name.clone(),
            size: c.bytes.len(),
            sha256: c.digest,
            created_by: n.created_by,
        };
        nodes.map(view).collect()
    }
    /// The bytes of a file of the Drive.
    pub fn file_bytes(&self, id: u64) -> Option<Bytes> {
        self.state().portal.tree.file(id).map(|(_, content)| content.bytes.clone())
    }
    /// Notices that a user still sees, oldest first.
    pub fn notices(&self, user_id: u64) -> Vec<NoticeView> {
        self.all_notices().into_iter().filter(|n| n.user_id == user_id).collect()
    }
    /// Notices that anybody still sees, oldest first.
    pub fn all_notices(&self) -> Vec<NoticeView> {
        let state = self.state();
        let notices = state.portal.notices.iter();
        notices.map(|n| NoticeView { id: n.id, user_id: n.user_id, text: n.text.clone() }).collect()
    }
    /// Comments in the timeline of an item, oldest first.
    pub fn comments(&self, item: CrmItem) -> Vec<CommentView> {
        self.all_comments().into_iter().filter(|c| c.item == item).collect()
    }
    /// All comments, oldest first.
    pub fn all_comments(&self) -> Vec<CommentView> {
        let state = self.state();
        let comments = state.portal.comments.iter();
        comments.map(|c| CommentView { id: c.id, item: c.item, text: c.text.clone() }).collect()
    }
    /// Everything at once, as the control plane shows it.
    pub fn state_json(&self) -> Value {
        let folders = self.folders();
        let files: Vec<FileView> = folders.iter().flat_map(|folder| self.files(folder.id)).collect();
        json!({
            "bitrix_url": self.bitrix_url(), "easydocs_url": self.easydocs_url(),
            "idocs_url": self.idocs_url(), "idocs": self.idocs(), "event_target": self.event_target(),
            "folders": folders, "files": files, "documents": self.documents(), "notices": self.all_notices(),
            "comments": self.all_comments(), "oauth_url": self.oauth_url(), "apps": self.apps(),
            "workflows": self.workflows(), "offline": self.offline_rows(), "calls": self.calls(), "faults": self.faults_json(),
        })
    }
}
