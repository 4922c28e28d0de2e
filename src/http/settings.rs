//! What the two listeners are told. Plain values: where they come from is the wiring's business.

use crate::actors::sender_list::{SenderList, Senders};
use crate::config::Network;
use crate::domain::{PortalId, Secret};
use crate::providers::easydocs::settings::Settings as EasydocsProtocol;
use jiff::tz::TimeZone;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Everything the listeners are told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The listener that strangers reach.
    pub public: PublicSettings,
    /// The listener for the operator.
    pub operator: OperatorSettings,
}

/// The public listener.
#[derive(Debug, Clone)]
pub struct PublicSettings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that serve it.
    pub workers: usize,
    /// Connections open at one time over all workers; more wait in the kernel.
    pub max_connections: usize,
    /// A client that has not sent its request head by then is cut off.
    pub head_timeout: Duration,
    /// A client that has not sent its whole body by then gets 408 and is cut off.
    pub body_timeout: Duration,
    /// A connection without a request is closed after this time.
    pub keep_alive: Duration,
    /// Running requests get this long to end at a stop.
    pub drain: Duration,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// `POST /bitrix/webhook`.
    pub bitrix: BitrixSettings,
    /// `POST /easydocs/callback`; none = the path does not exist.
    pub easydocs: Option<EasydocsSettings>,
    /// `POST /idocs/callback/{secret}`; none = the path does not exist.
    pub idocs: Option<IdocsSettings>,
}

/// The door for hints of iDocs.
#[derive(Debug, Clone)]
pub struct IdocsSettings {
    /// Hints a minute from one source address.
    pub per_minute: NonZeroU32,
    /// The last part of the path.
    pub path_secret: Secret,
    /// How they are read.
    pub protocol: Arc<crate::providers::idocs::Settings>,
}

/// The door for events of Bitrix24.
#[derive(Debug, Clone)]
pub struct BitrixSettings {
    /// Largest event.
    pub body_bytes_max: usize,
    /// Events a minute from one source address; none = no limit. Bitrix24 never sends an event again, and one
    /// sending address serves many portals, so this is a fuse against floods and not a means of shaping.
    pub per_minute: Option<NonZeroU32>,
    /// Names of events that can start something, upper case; others are answered with 200 and dropped. Empty = all
    /// are kept.
    pub events: Vec<String>,
    /// Who may send.
    pub portals: Vec<PortalGate>,
}

/// One portal as a sender.
#[derive(Debug, Clone)]
pub struct PortalGate {
    /// Its id.
    pub id: PortalId,
    /// Each outgoing webhook of a portal has a token of its own, so several are valid.
    pub application_tokens: Vec<Secret>,
    /// Addresses it may send from.
    pub senders: Senders,
    /// `auth[member_id]` that its events must carry; none = the token decides alone.
    pub member_id: Option<String>,
}

impl PortalGate {
    /// Whether an event with the right token may come from `source` and call itself `member_id`.
    pub(super) fn may_send(
        &self,
        source: IpAddr,
        member_id: Option<&str>,
        list: Option<&SenderList>,
    ) -> bool {
        let known_address = self.senders.admit(source, list);
        let known_name = self.member_id.is_none() || self.member_id.as_deref() == member_id;
        known_address && known_name
    }
}

/// The door for callbacks of EasyDocs.
#[derive(Debug, Clone)]
pub struct EasydocsSettings {
    /// Callbacks a minute from one source address (the EasyDocs guide: about 100).
    pub per_minute: NonZeroU32,
    /// Addresses they may come from; empty = any.
    pub senders: Vec<Network>,
    /// How callbacks are signed and written, how large they may be, and how they are answered.
    pub protocol: Arc<EasydocsProtocol>,
}

/// The operator's listener.
#[derive(Debug, Clone)]
pub struct OperatorSettings {
    /// Where to listen; loopback unless there is a good reason.
    pub listen: SocketAddr,
    /// Bearer token of the admin API. An empty one opens nothing.
    pub token: Secret,
    /// In which zone pages show times.
    pub zone: TimeZone,
}

/// Threads for the operator's listener: one person and one scraper.
pub(super) const OPERATOR_WORKERS: usize = 1;
/// Connections of the operator's listener: some browsers, a scraper, a few commands.
pub(super) const OPERATOR_CONNECTIONS_MAX: usize = 64;
/// A body of the admin API: an id, a reason, a filter.
pub(super) const OPERATOR_BODY_BYTES_MAX: usize = 64 * 1024;
