//! The emulated outside world: one Bitrix24 portal with its authorisation and push servers, EasyDocs and iDocs, as real
//! HTTP servers on loopback, for the demo, for tests over real sockets, and for integrators (`edobridge sandbox`).
//!
//! Written from the references alone. It shares no wire code with the adapters and knows nothing of the rest of the
//! crate but `domain`: were a spelling shared, it would be wrong on both sides and no test would notice.
//!
//! | file | subject |
//! |---|---|
//! | `front` | sockets, HTTP/1.1, where faults strike |
//! | `bitrix24/` | the portal: methods by family, limits, events, applications, robots |
//! | `oauth`, `push` | the authorisation server, the push server |
//! | `easydocs`, `documents`, `callbacks` | the signing service |
//! | `idocs/` | the other signing service |
//! | `signer` | a person with a key, for tests and the demo |
//! | `faults`, `ledger` | what goes wrong on order, what happened |
//! | `items` | the CRM as people change it |
//! | `world` | the handle: what people do, what a witness sees |
//! | `control`, `buttons` | the same over HTTP, under `/_sandbox/` |
//!
//! Invariants: everything runs in one thread of its own, so that it can be started from any runtime or from none;
//! all state is in memory and gone with it; no secret and no file's bytes come into the ledger.

pub mod callbacks;
pub mod documents;
pub mod faults;
pub mod idocs;
pub mod ledger;
pub mod signer;
pub mod views;
pub mod world;

mod bitrix24;
mod button_press;
mod buttons;
mod control;
mod easydocs;
mod front;
mod items;
mod oauth;
mod push;
#[cfg(test)]
mod tests;

pub use bitrix24::apps::{AppKind, AppSpec, AppStatus, Interface, NewToken, Payment, TokenLives};
pub use bitrix24::events::{Actor, EventSpec, MEMBER_ID};
pub use bitrix24::generated::PdfPlan;
pub use bitrix24::lifecycle::{AppView, Clean, Frame, FrameAnswer, FrameSpec, Installed};
pub use bitrix24::offline::OfflineRowView;
pub use bitrix24::portal::{Confirmation, DownloadLinks, Echo, FieldKind, LinkUses, Overload, Owner};
pub use bitrix24::robots::{RobotRun, RobotSpec, WorkflowState, WorkflowView};
pub use bitrix24::traits::{FrameFields, PortalKind, PortalTraits};
pub use callbacks::{CallbackPolicy, CallbackSpec, Member, Repeats, Signature};
pub use control::KEY_HEADER;
pub use documents::{Chosen, Outcome, Script, signed_copy};
pub use easydocs::{Capability, EasyDocsOptions};
pub use faults::{ErrorAnswer, Fault, FaultKind, OnCalls};
pub use idocs::{IDocsDocument, IDocsOptions, IDocsView, WebhookSpec};
pub use ledger::{LedgerEntry, Side};
pub use push::{PushControl, PushVersion};
pub use signer::ScriptedSigner;
pub use world::{Reach, World, WorldError};

use crate::domain::Secret;
use actix_web::rt::net::TcpListener;
use bitrix24::portal::Portal;
use front::Site;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use url::Url;
use world::{Beginning, Setting};

/// What becomes of documents by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every document is signed after a while, unless a script or a marker in its file name says otherwise.
    Auto {
        /// How long after the create.
        sign_after: Duration,
        /// Whether an intermediate status is reported half-way.
        intermediate: Chosen,
    },
    /// Nothing happens until somebody presses a button; scripts and markers are obeyed here too.
    Explicit,
}

/// The leaky bucket of the portal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketRate {
    /// What leaks out every second; 2 in the cloud, 5 on Enterprise.
    pub per_second: f64,
    /// What fits in; 50 in the cloud, 250 on Enterprise.
    pub burst: f64,
}

impl BucketRate {
    /// The cloud's ordinary plans (docs, `limits.md`).
    pub const CLOUD: Self = Self { per_second: 2.0, burst: 50.0 };
}

/// How the portal counts operating time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counters {
    /// By method, the commands of a batch each by its own (the docs).
    ByMethod,
    /// The commands of a batch all by `batch`, and all carry its figure (measured by the JS SDK's team).
    ByBatch,
    /// Not at all, and no answer says anything: a box without Redis.
    Absent,
}

/// Limits of the portal. By default there are none, so that tests are not slowed down by accident.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Requests a second; none: unlimited, as on a box.
    pub bucket_rate: Option<BucketRate>,
    /// Operating time of one method in the window, in milliseconds; none: unlimited, as on a box.
    pub operating_limit_ms: Option<u64>,
    /// What one call adds to its method's operating time.
    pub operating_call_ms: u64,
    /// How long a call counts; ten minutes on a portal.
    pub operating_window: Duration,
    /// How it counts operating time.
    pub counters: Counters,
    /// How long the portal takes for a call, and for each command of a batch, one after another.
    pub call_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let operating_window = Duration::from_secs(600);
        Self {
            bucket_rate: None,
            operating_limit_ms: None,
            operating_call_ms: 40,
            operating_window,
            counters: Counters::ByMethod,
            call_time: Duration::ZERO,
        }
    }
}

/// How a sandbox is started. [`SandboxOptions::default`] is a fast, unlimited, automatic one on free ports.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// Where the portal listens; port 0 takes a free one. The address after a rename is a free port of this host.
    pub bitrix_addr: SocketAddr,
    /// Where the signing service listens; port 0 takes a free one.
    pub easydocs_addr: SocketAddr,
    /// Where iDocs and its webhooks' host listen; port 0 takes a free one.
    pub idocs_addr: SocketAddr,
    /// Where the authorisation server listens; port 0 takes a free one.
    pub oauth_addr: SocketAddr,
    /// Where the push server listens; port 0 takes a free one.
    pub push_addr: SocketAddr,
    /// The portal's lasting id: several sandboxes in one test need different ones.
    pub member_id: String,
    /// Cloud or box, and what it lacks.
    pub traits: PortalTraits,
    /// What becomes of documents by themselves.
    pub mode: Mode,
    /// The secret in the incoming webhook's path.
    pub webhook_secret: Secret,
    /// `auth[application_token]` of the outgoing webhook.
    pub application_token: Secret,
    /// The bearer key of EasyDocs.
    pub easydocs_api_key: Secret,
    /// The bearer token of iDocs.
    pub idocs_token: Secret,
    /// The key of the callbacks' signature.
    pub callback_secret: Secret,
    /// What the buttons (`/_sandbox/`) ask for; none: nothing, which is allowed on loopback only.
    pub control_key: Option<Secret>,
    /// Limits of the portal.
    pub limits: Limits,
    /// How download links live.
    pub links: DownloadLinks,
    /// Where `/bitrix/webhook` of edobridge is; none: events are lost.
    pub event_target: Option<Url>,
    /// Whether changes made through REST fire events.
    pub echo: Echo,
    /// Where all callbacks go, instead of each document's own `callback_url`.
    pub callback_url: Option<Url>,
    /// How callbacks are repeated.
    pub callback_policy: CallbackPolicy,
    /// What the signing service offers.
    pub easydocs: EasyDocsOptions,
    /// How iDocs behaves.
    pub idocs: IDocsOptions,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            bitrix_addr: any_port,
            easydocs_addr: any_port,
            idocs_addr: any_port,
            oauth_addr: any_port,
            push_addr: any_port,
            member_id: MEMBER_ID.into(),
            traits: PortalTraits::cloud(),
            mode: Mode::Auto { sign_after: Duration::from_millis(200), intermediate: Chosen::No },
            webhook_secret: Secret::new("sandboxwebhooksecret"),
            application_token: Secret::new("sandboxapplicationtoken"),
            easydocs_api_key: Secret::new("sandbox-easydocs-key"),
            idocs_token: Secret::new("sandbox-idocs-token"),
            callback_secret: Secret::new("sandbox-callback-secret"),
            control_key: None,
            limits: Limits::default(),
            links: DownloadLinks { lifetime: Duration::from_secs(600), uses: LinkUses::Many },
            event_target: None,
            echo: Echo::On,
            callback_url: None,
            callback_policy: CallbackPolicy::default(),
            easydocs: EasyDocsOptions::default(),
            idocs: IDocsOptions::default(),
        }
    }
}

/// A running sandbox. Dropping it closes its ports, without waiting.
#[derive(Debug)]
pub struct Sandbox {
    world: Arc<World>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    done: Option<oneshot::Receiver<()>>,
}

impl Sandbox {
    /// Starts the servers; they accept connections when this returns.
    ///
    /// # Errors
    ///
    /// A port cannot be opened, no thread or HTTP client can be made, or the buttons would be open to the network
    /// without a key.
    pub async fn start(options: SandboxOptions) -> io::Result<Self> {
        let (ready, begun) = spawn(options)?;
        begun.finish(ready.await)
    }

    /// The same from a place without a runtime; must not be called inside one.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::start`].
    pub fn start_blocking(options: SandboxOptions) -> io::Result<Self> {
        let (ready, begun) = spawn(options)?;
        begun.finish(ready.blocking_recv())
    }

    /// The handle of the world.
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.world)
    }
    /// `http://host:port/` of the portal.
    pub fn bitrix_url(&self) -> Url {
        self.world.bitrix_url()
    }
    /// The incoming webhook, `http://host:port/rest/1/SECRET/`.
    pub fn webhook_url(&self) -> Url {
        self.world.webhook_url()
    }
    /// `http://host:port/` of the signing service.
    pub fn easydocs_url(&self) -> Url {
        self.world.easydocs_url()
    }
    /// `http://host:port/` of iDocs.
    pub fn idocs_url(&self) -> Url {
        self.world.idocs_url()
    }
    /// `http://host:port/` of the authorisation server.
    pub fn oauth_url(&self) -> Url {
        self.world.oauth_url()
    }

    /// Closes everything and waits until it is closed.
    pub async fn stop(mut self) {
        self.stop.take();
        if let Some(done) = self.done.take() {
            let _ = done.await;
        }
        if let Some(thread) = self.thread.take() {
            // It has said that it is done: this does not block.
            let _ = thread.join();
        }
    }
}

type Ready = oneshot::Receiver<io::Result<Arc<World>>>;

/// A sandbox whose thread runs and whose ports may not be open yet.
struct Begun {
    stop: oneshot::Sender<()>,
    done: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Begun {
    fn finish(self, ready: Result<io::Result<Arc<World>>, oneshot::error::RecvError>) -> io::Result<Sandbox> {
        let world =
            ready.map_err(|_| io::Error::other("the sandbox's thread ended before it was ready"))??;
        let Self { stop, done, thread } = self;
        Ok(Sandbox { world, stop: Some(stop), thread: Some(thread), done: Some(done) })
    }
}

fn spawn(options: SandboxOptions) -> io::Result<(Ready, Begun)> {
    let (say_ready, ready) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let (say_done, done) = oneshot::channel();
    let thread = std::thread::Builder::new().name("sandbox".into()).spawn(move || {
        run(options, say_ready, stopped);
        let _ = say_done.send(());
    })?;
    Ok((ready, Begun { stop, done, thread }))
}

/// The sandbox's thread, from its first to its last moment.
fn run(
    options: SandboxOptions,
    ready: oneshot::Sender<io::Result<Arc<World>>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = match actix_web::rt::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async move {
        match open(options).await {
            Ok(world) => {
                let _ = ready.send(Ok(world));
                // An error means that the handle was dropped, which is an order to stop as well.
                let _ = stopped.await;
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

impl SandboxOptions {
    /// Whether strangers could press the buttons: they send files to wherever the buttons say.
    pub fn is_open_to_strangers(&self) -> bool {
        let addresses =
            [self.bitrix_addr, self.easydocs_addr, self.oauth_addr, self.push_addr, self.idocs_addr];
        self.control_key.is_none() && addresses.iter().any(|address| !address.ip().is_loopback())
    }
}

async fn open(options: SandboxOptions) -> io::Result<Arc<World>> {
    if options.is_open_to_strangers() {
        let why = "the control plane needs a key where the sandbox does not listen on loopback";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let after_rename = SocketAddr::new(options.bitrix_addr.ip(), 0);
    let mut listeners = Vec::new();
    let SandboxOptions { bitrix_addr, easydocs_addr, oauth_addr, push_addr, idocs_addr, .. } = options;
    for addr in [bitrix_addr, after_rename, easydocs_addr, oauth_addr, push_addr, idocs_addr] {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        listeners.push((listener, addr));
    }
    let origins = [0, 1, 2, 3, 4, 5].map(|i: usize| format!("http://{}", listeners[i].1));
    let world = Arc::new(world(options, origins)?);
    for (site, (listener, addr)) in Site::ALL.into_iter().zip(listeners) {
        actix_web::rt::spawn(front::keep(site, listener, addr, Arc::clone(&world)));
    }
    Ok(world)
}

fn world(options: SandboxOptions, origins: [String; 6]) -> io::Result<World> {
    let http = http_client(options.callback_policy.timeout)?;
    let mut portal = Portal::new(options.limits, options.links, options.echo, world::now_ms());
    portal.member_id = options.member_id;
    portal.traits = options.traits;
    let setting = Setting {
        mode: options.mode,
        webhook_secret: options.webhook_secret,
        application_token: options.application_token,
        easydocs_api_key: options.easydocs_api_key,
        idocs_token: options.idocs_token,
        callback_secret: options.callback_secret,
        control_key: options.control_key,
        callback_policy: options.callback_policy,
        origins,
    };
    let beginning = Beginning {
        portal,
        easydocs: options.easydocs,
        idocs: options.idocs,
        event_target: options.event_target,
        callback_url: options.callback_url,
    };
    Ok(World::new(setting, beginning, tokio::runtime::Handle::current(), http))
}

/// The client for events and callbacks. Without the system's certificates it still reaches plain HTTP.
fn http_client(timeout: Duration) -> io::Result<reqwest::Client> {
    let builder = || {
        let no_redirects = reqwest::redirect::Policy::none();
        reqwest::Client::builder().no_proxy().redirect(no_redirects).timeout(timeout)
    };
    builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(io::Error::other)
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("bitrix_url", &self.bitrix_url().as_str()).finish_non_exhaustive()
    }
}
