//! SenderList: the published addresses from which Bitrix24 sends, kept fresh.
//!
//! A second lock behind the application token, never in its place. Bitrix24 never resends an event, so a lock that has
//! jammed must open: a list that could not be refreshed for longer than its grace, or was never had, refuses nobody, and
//! says so. The last list lies in the data directory, so that a restart while its source is down changes nothing.

use super::Parts;
use crate::config::{Network, SenderRule};
use crate::domain::{Clock, Text, Timestamp};
use crate::providers::bitrix24::sender_nodes::{self, NodesError};
use crate::providers::http_client::HttpClient;
use actix::ArbiterHandle;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use url::Url;

/// Name of the file in the data directory.
const FILE_NAME: &str = "sender-list.json";
/// A file that is longer is not one of ours.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How the list is kept.
#[derive(Debug, Clone)]
pub struct SenderListSettings {
    /// Where it is published.
    pub url: Url,
    /// The way there.
    pub http: HttpClient,
    /// Pause between two looks, in milliseconds.
    pub refresh_ms: u64,
    /// So long an old list counts, in milliseconds.
    pub grace_ms: u64,
    /// Where the last list is kept.
    pub data_dir: PathBuf,
}

impl SenderListSettings {
    /// The same without a place to keep the list: for a look that is none of the service's.
    #[must_use]
    pub fn without_memory(mut self) -> Self {
        self.data_dir = PathBuf::new();
        self
    }
}

/// From where a portal takes events.
#[derive(Debug, Clone)]
pub struct Senders {
    /// Named by the operator.
    pub networks: Vec<Network>,
    /// Whether the published ones count.
    pub rule: SenderRule,
}

impl Senders {
    /// Whether an event may come from `address`. A list that does not count refuses nobody.
    pub fn admit(&self, address: IpAddr, list: Option<&SenderList>) -> bool {
        let is_named = self.networks.iter().any(|network| network.contains(address));
        match self.rule {
            SenderRule::Any => self.networks.is_empty() || is_named,
            SenderRule::Published => {
                let listed = list.map_or(Listed::Unknown, |list| list.verdict(address));
                is_named || listed != Listed::No
            }
        }
    }
}

/// The list, as doors ask it.
pub struct SenderList {
    settings: SenderListSettings,
    clock: Arc<dyn Clock>,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    networks: Vec<Network>,
    /// When it was fetched last; none: never.
    at: Option<Timestamp>,
    /// Why the last look failed.
    failure: Option<String>,
}

/// What the list says of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// It is one of the vendor's.
    Yes,
    /// It is not.
    No,
    /// There is no list that counts.
    Unknown,
}

/// The list, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderListView {
    /// How many addresses and ranges it has.
    pub networks: usize,
    /// When it was fetched last.
    pub at: Option<Timestamp>,
    /// Whether it counts now.
    pub counts: bool,
    /// Why the last look failed.
    pub failure: Option<String>,
}

/// As it lies in the data directory.
#[derive(Serialize, Deserialize)]
struct Kept {
    fetched_ms: i64,
    nodes: Vec<String>,
}

impl SenderList {
    /// The list that was kept, or none yet.
    pub fn open(settings: SenderListSettings, clock: Arc<dyn Clock>) -> Self {
        let known = match kept(&settings.data_dir) {
            Some(kept) => {
                let networks = networks(&kept.nodes);
                Known { networks, at: Some(Timestamp(kept.fetched_ms)), failure: None }
            }
            None => Known::default(),
        };
        Self { settings, clock, known: RwLock::new(known) }
    }

    /// Whether this address is one of the vendor's. Quick: doors ask for each event.
    pub fn verdict(&self, address: IpAddr) -> Listed {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if !self.counts(&known) {
            return Listed::Unknown;
        }
        match known.networks.iter().any(|network| network.contains(address)) {
            true => Listed::Yes,
            false => Listed::No,
        }
    }

    fn counts(&self, known: &Known) -> bool {
        let is_fresh = |at: Timestamp| self.clock.now().ms_since(at) <= self.settings.grace_ms;
        !known.networks.is_empty() && known.at.is_some_and(is_fresh)
    }

    /// For people.
    pub fn view(&self) -> SenderListView {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        SenderListView {
            networks: known.networks.len(),
            at: known.at,
            counts: self.counts(&known),
            failure: known.failure.clone(),
        }
    }

    /// What is wrong with it, if it does not count.
    pub fn complaint(&self) -> Option<Text> {
        let view = self.view();
        let why = view.failure.unwrap_or_else(|| "not fetched yet".to_owned());
        (!view.counts).then(|| {
            Text::new(
                format!("Список адресов Битрикс24 не действует ({why}): события принимаются с любого адреса, решает токен. Проверьте доступ к {}.", self.settings.url),
                format!("The list of Bitrix24's addresses does not count ({why}): events are taken from anywhere, the token decides. Check the way to {}.", self.settings.url),
            )
        })
    }

    /// One look at the published list.
    ///
    /// # Errors
    /// [`NodesError`]: the old list stays.
    pub async fn refresh(&self) -> Result<usize, NodesError> {
        match sender_nodes::fetch(&self.settings.http, &self.settings.url).await {
            Ok(nodes) => self.take(&nodes),
            Err(error) => {
                self.known.write().unwrap_or_else(PoisonError::into_inner).failure = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn take(&self, nodes: &[String]) -> Result<usize, NodesError> {
        let networks = networks(nodes);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if networks.is_empty() {
            known.failure = Some(NodesError::Misshapen.to_string());
            return Err(NodesError::Misshapen);
        }
        let (at, count) = (self.clock.now(), networks.len());
        *known = Known { networks, at: Some(at), failure: None };
        drop(known);
        if let Err(error) = keep(&self.settings.data_dir, &Kept { fetched_ms: at.0, nodes: nodes.to_vec() }) {
            tracing::warn!(%error, "the list of senders cannot be kept for the next start");
        }
        Ok(count)
    }
}

/// Addresses that can be read; a range that is everything would make the list pointless and is left out.
fn networks(nodes: &[String]) -> Vec<Network> {
    let parsed = nodes.iter().filter_map(|node| node.parse::<Network>().ok());
    parsed.filter(|network| !network.is_everything()).collect()
}

fn kept(data_dir: &Path) -> Option<Kept> {
    if data_dir.as_os_str().is_empty() {
        return None;
    }
    let path = data_dir.join(FILE_NAME);
    let is_ours = std::fs::metadata(&path).is_ok_and(|meta| meta.len() <= FILE_BYTES_MAX);
    let bytes = is_ours.then(|| std::fs::read(&path).ok()).flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// Written beside and renamed, so that a crash leaves no half list. A list that is lost is fetched again.
fn keep(data_dir: &Path, list: &Kept) -> std::io::Result<()> {
    if data_dir.as_os_str().is_empty() {
        return Ok(());
    }
    let fresh = data_dir.join(format!("{FILE_NAME}.new"));
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(list)?)?;
    std::fs::rename(&fresh, data_dir.join(FILE_NAME))
}

/// Keeps the list fresh until the process stops, where there is one.
pub(super) fn start(parts: &Arc<Parts>, arbiter: &ArbiterHandle) {
    let Some(list) = parts.sender_list.clone() else { return };
    let parts = parts.clone();
    arbiter.spawn(async move {
        while !parts.is_draining() {
            match list.refresh().await {
                Ok(count) => tracing::debug!(count, "the list of senders is fresh"),
                Err(error) => {
                    let counts = list.view().counts;
                    tracing::warn!(%error, counts, "the list of senders was not refreshed");
                }
            }
            measure(&parts);
            tokio::time::sleep(Duration::from_millis(list.settings.refresh_ms)).await;
        }
    });
}

/// The list into the metrics.
pub(super) fn measure(parts: &Parts) {
    let Some(list) = &parts.sender_list else { return };
    let view = list.view();
    let age = view.at.map(|at| Duration::from_millis(parts.clock.now().ms_since(at)));
    parts.metrics.set_sender_list(view.networks as u64, view.counts, age.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::http_client::HttpSettings;
    use crate::providers::test_server::{Reply, TestServer};
    use std::sync::atomic::{AtomicI64, Ordering};

    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    fn list_at(server: &TestServer, dir: &Path, clock: &Arc<Hand>) -> SenderList {
        let settings = SenderListSettings {
            url: server.url("/app.json").parse().unwrap(),
            http: HttpClient::new(&HttpSettings::default()).unwrap(),
            refresh_ms: 1_000,
            grace_ms: 60_000,
            data_dir: dir.to_owned(),
        };
        SenderList::open(settings, clock.clone())
    }

    #[tokio::test]
    async fn an_old_list_counts_for_its_grace_over_a_restart_and_then_refuses_nobody() {
        let server = TestServer::start(vec![
            Reply::status(503, "", ""),
            Reply::ok(r#"{"nodes":["203.0.113.7","198.51.100.0/24","0.0.0.0/0","nonsense"]}"#),
            Reply::status(503, "", ""),
        ]);
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand(AtomicI64::new(1_000_000)));
        let list = list_at(&server, dir.path(), &clock);
        let (ours, foreign) = ("203.0.113.7".parse().unwrap(), "192.0.2.1".parse().unwrap());
        assert!(list.refresh().await.is_err());
        assert_eq!(list.verdict(foreign), Listed::Unknown, "without a list nobody is refused");
        assert!(list.complaint().unwrap().en.contains("503"));
        assert_eq!(list.refresh().await.unwrap(), 2);
        assert_eq!((list.verdict(ours), list.verdict(foreign)), (Listed::Yes, Listed::No));
        assert_eq!((list.verdict("198.51.100.9".parse().unwrap()), list.complaint()), (Listed::Yes, None));
        assert!(list.refresh().await.is_err());
        let restarted = list_at(&server, dir.path(), &clock);
        for list in [&list, &restarted] {
            assert_eq!((list.verdict(ours), list.verdict(foreign)), (Listed::Yes, Listed::No));
        }
        clock.0.fetch_add(60_001, Ordering::Relaxed);
        for list in [&list, &restarted] {
            assert_eq!((list.verdict(foreign), list.view().counts), (Listed::Unknown, false));
        }
    }
}
