//! The public listener with the signing page, over a desk in memory, in a thread of this process.

use crate::desk::MemoryDesk;
use crate::exchange::{Answer, exchange};
use crate::support::PATIENCE;
use edobridge::actors::AcceptError;
use edobridge::domain::subject_pattern::SubjectPatterns;
use edobridge::domain::{Clock as _, Secret, SignerLanguage, Timestamp};
use edobridge::http::intake::Intake;
use edobridge::http::listener::signing_alone;
use edobridge::http::{BitrixSettings, PublicSettings, SigningParts, SigningSettings};
use edobridge::store::{Accepted, NewNotice};
use edobridge::telemetry::{Metrics, SystemClock};
use futures_util::future::{FutureExt as _, LocalBoxFuture, ready};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// The operator's token of every site.
pub const TOKEN: &str = "operator-token-of-the-signing-test";

/// Notices are nobody's business here.
struct NoNotices;

impl Intake for NoNotices {
    fn accept(&self, _: NewNotice) -> LocalBoxFuture<'_, Result<Accepted, AcceptError>> {
        ready(Err(AcceptError::Busy { retry_after_s: 1 })).boxed_local()
    }
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}

/// The site.
pub struct Site {
    pub desk: Arc<MemoryDesk>,
    pub address: SocketAddr,
    pub metrics: Arc<Metrics>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// In what a site differs from the ordinary one.
pub struct Wishes {
    pub agent_url: String,
    pub posts_per_minute: u32,
    pub body_bytes_max: usize,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { agent_url: "wss://127.0.0.1:13579/".into(), posts_per_minute: 10_000, body_bytes_max: 4 << 20 }
    }
}

impl Site {
    pub fn start(wishes: &Wishes) -> Self {
        let desk = Arc::new(MemoryDesk::new());
        let metrics = Arc::new(Metrics::new());
        let settings = SigningSettings {
            agent_url: wishes.agent_url.parse().expect("an address"),
            languages: SignerLanguage::ALL.to_vec(),
            patterns: SubjectPatterns::default(),
            posts_per_minute: NonZeroU32::new(wishes.posts_per_minute).expect("a limit"),
            body_bytes_max: wishes.body_bytes_max,
        };
        let parts = SigningParts { desk: Arc::clone(&desk) as _, settings };
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let own_metrics = Arc::clone(&metrics);
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let token = Secret::new(TOKEN);
                let (address, server) =
                    signing_alone(Arc::new(NoNotices), own_metrics, &public(), parts, &token)
                        .expect("a port");
                let handle = server.handle();
                ready.send(address).expect("the test waits");
                let serving = actix::spawn(server);
                let _ = stopped.await;
                handle.stop(false).await;
                let _ = serving.await;
            });
        });
        let address = started.recv_timeout(PATIENCE).expect("the site starts");
        Self { desk, address, metrics, stop: Some(stop), thread: Some(thread) }
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        exchange(self.address, "GET", path, headers, b"")
    }

    pub fn post(&self, path: &str, value: &serde_json::Value) -> Answer {
        let body = value.to_string();
        exchange(self.address, "POST", path, &[("Content-Type", "application/json")], body.as_bytes())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn public() -> PublicSettings {
    PublicSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        workers: 1,
        max_connections: 64,
        head_timeout: Duration::from_secs(30),
        body_timeout: Duration::from_secs(30),
        keep_alive: Duration::from_secs(30),
        drain: Duration::from_secs(1),
        trusted_proxies: Vec::new(),
        bitrix: BitrixSettings {
            body_bytes_max: 4_096,
            per_minute: None,
            events: Vec::new(),
            portals: Vec::new(),
        },
        easydocs: None,
        idocs: None,
    }
}
