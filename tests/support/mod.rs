//! A whole edobridge against the sandbox over real sockets: in this process, or as the real binary.
//!
//! Shared by the test executables; each uses a part of it.
#![allow(dead_code)]

pub mod kazakhstan;

use edobridge::commands::service::Service;
use edobridge::config::{Config, Environment};
use edobridge::domain::{Clock, CrmItem};
use edobridge::sandbox::{Sandbox, SandboxOptions, World};
use edobridge::telemetry::{Metrics, SystemClock};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// The deal that every test document belongs to.
pub const DEAL: CrmItem = CrmItem { entity_type_id: 2, id: 501 };

/// How long a test waits for a condition before it fails: far above what a slow machine needs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a setting differs in from the ordinary one.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Whether EasyDocs can be searched by our id.
    pub search: bool,
    /// Whether EasyDocs can be asked for a status.
    pub status: bool,
    /// Whether the folder is watched by polling.
    pub watched: bool,
    /// How long a create of unknown outcome waits for its callback.
    pub callback_grace: &'static str,
    /// Further lines at the end of the configuration.
    pub more: String,
    /// Where the data directory is.
    pub ground: Ground,
}

/// Where a stage keeps its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// On a disk, as in life.
    Disk,
    /// In memory where the system has such a place: for tests by the thousand that prove nothing about disks. A process
    /// that dies loses nothing there either.
    Memory,
}

impl Ground {
    fn directory(self) -> TempDir {
        let in_memory = || TempDir::new_in(MEMORY).ok();
        let made = if self == Self::Memory && has_room(MEMORY) { in_memory() } else { None };
        made.unwrap_or_else(|| TempDir::new().expect("a temporary directory"))
    }
}

/// Where Linux keeps files in memory.
const MEMORY: &str = "/dev/shm";

/// Containers often have 64 MiB there, which many stores at once would fill.
fn has_room(directory: &str) -> bool {
    const ROOM_BYTES: u64 = 1 << 30;
    rustix::fs::statvfs(directory).is_ok_and(|there| there.f_bavail * there.f_frsize >= ROOM_BYTES)
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            search: true,
            status: false,
            watched: false,
            callback_grace: "30s",
            more: String::new(),
            ground: Ground::Disk,
        }
    }
}

/// The outside world, the configuration and the data directory of one edobridge.
pub struct Stage {
    pub sandbox: Sandbox,
    pub world: Arc<World>,
    pub dir: TempDir,
    pub folder: u64,
    pub user: u64,
    pub public: SocketAddr,
    pub operator: SocketAddr,
    pub config_path: PathBuf,
    secrets: Secrets,
}

/// The secrets of the sandbox, to be planted and searched for.
#[derive(Debug, Clone)]
pub struct Secrets {
    pub webhook: String,
    pub application_token: String,
    pub api_key: String,
    pub callback: String,
    pub operator: String,
}

impl Stage {
    /// A world with one user, one folder and one deal, and a configuration for it.
    pub fn new(setting: &Setting) -> Self {
        Self::with_sandbox(setting, SandboxOptions::default())
    }

    /// The same with a sandbox of one's own making.
    pub fn with_sandbox(setting: &Setting, mut options: SandboxOptions) -> Self {
        options.easydocs.search = capability(setting.search);
        options.easydocs.status = capability(setting.status);
        let secrets = Secrets {
            webhook: options.webhook_secret.expose().to_owned(),
            application_token: options.application_token.expose().to_owned(),
            api_key: options.easydocs_api_key.expose().to_owned(),
            callback: options.callback_secret.expose().to_owned(),
            operator: "operator-token-of-the-test-0123456789".to_owned(),
        };
        let sandbox = Sandbox::start_blocking(options).expect("the sandbox starts on free ports");
        let world = sandbox.world();
        let user = world.add_user("Мария", "Иванова");
        let folder = world.add_folder(world.root_folder(), "Договоры").expect("a new folder");
        world.put_item(
            DEAL,
            &[("stageId", "C1:NEW".into()), ("assignedById", user.into()), ("title", "Сделка".into())],
        );
        let dir = setting.ground.directory();
        let (public, operator) = (free_address(), free_address());
        let config_path = dir.path().join("edobridge.toml");
        let stage = Self { sandbox, world, dir, folder, user, public, operator, config_path, secrets };
        std::fs::write(&stage.config_path, stage.config_text(setting)).expect("the configuration is written");
        stage.aim();
        stage
    }

    /// Tells the sandbox where edobridge listens.
    pub fn aim(&self) {
        let url = |path: &str| url::Url::parse(&format!("http://{}{path}", self.public)).ok();
        self.world.set_event_target(url("/bitrix/webhook"));
        self.world.set_callback_url(url("/easydocs/callback"));
    }

    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn config_text(&self, setting: &Setting) -> String {
        let webhook = self.sandbox.webhook_url();
        let easydocs = self.sandbox.easydocs_url();
        let Secrets { application_token, api_key, callback, operator: token, .. } = &self.secrets;
        let (public, operator, folder, user) = (self.public, self.operator, self.folder, self.user);
        let data = self.data_dir();
        let data = data.display();
        let search = if setting.search { "/api/v1/documents?external_id={external_id}" } else { "" };
        let status = if setting.status { "/api/v1/documents/{id}" } else { "" };
        let trigger = if setting.watched {
            format!("{{ kind = \"folder\", folder_id = {folder}, interval = \"1s\", existing = \"send\" }}")
        } else {
            format!("{{ kind = \"file_event\", folders = [{folder}] }}")
        };
        let grace = setting.callback_grace;
        let more = &setting.more;
        format!(
            r#"
data_dir = "{data}"
language = "ru"
[store]
segment_bytes = "1MiB"
min_free_disk = "16MiB"
[public]
listen = "{public}"
base_url = "http://{public}/"
[operator]
listen = "{operator}"
token = "{token}"
[log]
format = "json"
filter = "info"
[[portals]]
id = "main"
webhook_url = "{webhook}"
application_tokens = ["{application_token}"]
rate = "box"
owner_check_interval = "0s"
capability_check_interval = "0s"
dangerous_allow_http = true
[portals.timeouts]
connect = "2s"
read = "1s"
call = "2s"
transfer = "20s"
[easydocs]
base_url = "{easydocs}"
api_key = "{api_key}"
settle = "150ms"
callback_grace = "{grace}"
poll = ["300ms"]
dangerous_allow_http = true
[easydocs.search]
path = "{search}"
items = "/items"
[easydocs.status]
path = "{status}"
[easydocs.signature]
secrets = ["{callback}"]
[easydocs.limits]
callback_per_minute = 100000
[easydocs.timeouts]
connect = "2s"
read = "1s"
call = "2s"
transfer = "20s"
[retry]
easydocs_server_error = ["100ms", "200ms"]
portal_error = ["100ms", "200ms", "400ms", "400ms"]
outage = ["100ms", "200ms", "400ms", "1s"]
outage_give_up = "2m"
[retry.circuit]
failures = 5
probe_interval = "200ms"
probe_interval_max = "1s"
[[rules]]
id = "contracts"
portal = "main"
route_id = "route-1"
trigger = {trigger}
notify = [{user}]
crm_item = {{ entity = "deal", id = {deal} }}
{more}
"#,
            deal = DEAL.id,
        )
    }

    /// Puts a file into the folder; with an event trigger, the portal tells edobridge.
    pub fn drop_file(&self, name: &str, bytes: Vec<u8>) -> u64 {
        self.world.drop_file(self.folder, name, bytes).expect("the file is put into the folder")
    }

    /// Signed copies in the folder, by name.
    pub fn signed_copies(&self) -> Vec<edobridge::sandbox::views::FileView> {
        self.world.files(self.folder).into_iter().filter(|f| f.name.contains("_signed")).collect()
    }
}

fn capability(on: bool) -> edobridge::sandbox::Capability {
    if on { edobridge::sandbox::Capability::On } else { edobridge::sandbox::Capability::Off }
}

/// Where the search for free ports begins: below the range that the system gives to sockets without a port of their
/// own (32768 and above on Linux), so that nothing takes a free one before we do.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A free address on loopback that this process gives out once.
pub fn free_address() -> SocketAddr {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Test executables of several workplaces may run at once: each begins elsewhere.
    let first = (std::process::id().wrapping_mul(97) % u32::from(PORTS.end - PORTS.start)) as u16;
    loop {
        let n = GIVEN.fetch_add(1, Ordering::SeqCst).wrapping_add(first) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], PORTS.start + n));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A small file that looks like a PDF and differs by `seed`.
pub fn pdf(seed: u64, bytes: usize) -> Vec<u8> {
    let mut file = format!("%PDF-1.4\n% {seed}\n").into_bytes();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while file.len() < bytes.max(64) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.extend_from_slice(&state.to_le_bytes());
    }
    file.extend_from_slice(b"\n%%EOF\n");
    file
}

/// Waits until `done` holds; panics with `what` when patience ends.
#[track_caller]
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An edobridge in a thread of this process.
pub struct InProcess {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    pub engine: edobridge::actors::Engine,
}

impl InProcess {
    /// Starts it and waits until it is ready.
    pub fn start(stage: &Stage) -> Self {
        Self::start_at(stage, Arc::new(SystemClock))
    }

    /// The same with a clock of the test's own.
    pub fn start_at(stage: &Stage, clock: Arc<dyn Clock>) -> Self {
        let loaded = Config::load(Some(&stage.config_path), &Environment::of([("", ""); 0]))
            .unwrap_or_else(|errors| panic!("the test's configuration is refused: {:#?}", errors.problems));
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let metrics = Arc::new(Metrics::new());
                let service = match Service::start(&loaded.config, clock, metrics, |_| {}).await {
                    Ok(service) => service,
                    Err(error) => {
                        panic!("edobridge does not start: {}", edobridge::actors::error_chain(&error))
                    }
                };
                ready.send(service.engine().clone()).expect("the test waits");
                let _ = stopped.await;
                service.stop().await.expect("the store closes cleanly");
            });
        });
        let engine = match started.recv_timeout(PATIENCE) {
            Ok(engine) => engine,
            Err(_) => {
                let panic = thread.join();
                panic!("edobridge did not become ready: {panic:?}");
            }
        };
        Self { stop: Some(stop), thread: Some(thread), engine }
    }

    /// Runs a question about the store from outside its runtime.
    pub fn ask<T, F, Fut>(&self, question: F) -> T
    where
        F: FnOnce(edobridge::actors::Engine) -> Fut,
        Fut: Future<Output = T>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(question(self.engine.clone()))
    }

    /// Stops it in order.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("edobridge's thread panicked");
        }
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.end();
    }
}

/// The real binary.
pub struct Binary {
    pub child: Child,
    pub log: PathBuf,
}

impl Binary {
    /// Starts `edobridge serve` with further variables; does not wait.
    pub fn spawn(stage: &Stage, variables: &[(&str, String)]) -> Self {
        let log = stage.dir.path().join("edobridge.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("the log opens");
        let child = Command::new(env!("CARGO_BIN_EXE_edobridge"))
            .args(["--config".as_ref(), stage.config_path.as_os_str(), "serve".as_ref()])
            .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        Self { child, log }
    }

    /// Starts it and waits until it is ready.
    pub fn start(stage: &Stage) -> Self {
        let mut binary = Self::spawn(stage, &[]);
        binary.wait_ready(stage.operator);
        binary
    }

    /// Waits until it answers on the operator's listener.
    pub fn wait_ready(&mut self, operator: SocketAddr) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("edobridge ended with {status} while starting:\n{}", self.log_tail());
            }
            if get(operator, "/health/live").is_some_and(|(status, _)| status == 200) {
                return;
            }
            assert!(Instant::now() < until, "edobridge is not ready:\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(15));
        }
    }

    /// SIGKILL: nothing is tidied up.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a file.
pub fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// A plain GET, blocking; none if nobody answers.
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// Sends the bytes of a request and reads the whole answer; none if nobody answers.
pub fn request(address: SocketAddr, text: &str) -> Option<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split_whitespace().nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Some((status, body))
}
