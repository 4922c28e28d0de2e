//! Sections about the process itself: its store, its two listeners, its log.

use super::network::Network;
use super::secret_ref::SecretRef;
use super::units::{Period, Size};
use crate::domain::Language;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use url::Url;

/// `language`: what people are addressed in, by notices in Bitrix24 and by the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LanguageCode {
    /// Russian.
    Ru,
    /// English.
    En,
}

impl From<LanguageCode> for Language {
    fn from(code: LanguageCode) -> Self {
        match code {
            LanguageCode::Ru => Self::Ru,
            LanguageCode::En => Self::En,
        }
    }
}

/// `[store]`: the durable journal, its view, and what is kept for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Key that seals the tokens of applications: 64 hex digits. Absent: the one in `data_dir/seal-key`, made when it is
    /// first needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal_key: Option<SecretRef>,
    /// Keys before it, which still open what they have sealed until `portals rekey` has run.
    pub old_seal_keys: Vec<SecretRef>,
    /// Size of one preallocated journal segment.
    pub segment_bytes: Size,
    /// A checkpoint (flush of the view) after so many bytes of journal: bounds the replay after a process death.
    pub checkpoint_every_bytes: Size,
    /// A verified snapshot after so many bytes of journal: bounds the rebuild after a power cut.
    pub snapshot_every_bytes: Size,
    /// How many verified snapshots are kept.
    pub keep_snapshots: u32,
    /// With less free disk than this nothing new is accepted and readiness fails; running work parks cleanly.
    pub min_free_disk: Size,
    /// Upper bound of all files kept in the spool until they are delivered.
    pub spool_max: Size,
    /// Memory of the view's page cache.
    pub view_cache: Size,
    /// A journal sync slower than this is logged as a warning and shown by `doctor`.
    pub max_sync_latency: Period,
    /// Finished documents (their history) are removed after this time.
    pub keep_finished: Period,
    /// Whether a store of an older version is backed up into `data_dir/backups` before it is upgraded.
    pub backup_before_upgrade: bool,
}

/// `[public]`: the listener that Bitrix24 and the signing service reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicConfig {
    /// Address and port to listen on; plain HTTP, TLS belongs to the proxy in front.
    pub listen: SocketAddr,
    /// How the world reaches this listener; callback addresses are built from it. Absent: no callbacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Url>,
    /// Worker threads of the listener.
    pub workers: usize,
    /// Connections open at one time; more wait in the kernel.
    pub max_connections: usize,
    /// Largest body of `POST /bitrix/webhook`.
    pub webhook_bytes: Size,
    /// Events a minute from one sender address; more get 429.
    pub webhook_per_minute: u32,
    /// A client that has not sent its request head by then is cut off.
    pub head_timeout: Period,
    /// A client that has not sent its whole body by then is cut off.
    pub body_timeout: Period,
    /// An idle connection is closed after this time.
    pub keep_alive: Period,
    /// Running requests and effects get this long to end when the service stops.
    pub drain: Period,
    /// Proxies whose `X-Forwarded-For` is believed. Empty: nobody's.
    pub trusted_proxies: Vec<Network>,
}

/// `[operator]`: the listener for metrics, health, pages and the admin API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorConfig {
    /// Address and port to listen on; loopback unless there is a good reason.
    pub listen: SocketAddr,
    /// Bearer token of the admin API. Absent: the one in `data_dir/operator-token`, made at the first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// `[log]`: what is logged and how. Logs go to standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// Levels in the notation of `tracing`: `info`, `info,edobridge::store=debug`.
    pub filter: String,
}

/// `[time]`: how moments are shown to people. Inside, everything is UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeConfig {
    /// IANA name of the zone.
    pub zone: String,
}
