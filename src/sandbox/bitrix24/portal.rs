//! The state of the emulated portal: people, Drive, CRM, notices, limits, links.
//!
//! Knows nothing of REST or sockets; the methods beside it read and change it.
//!
//! Invariants: ids are never used twice; a link names its object and its end and cannot be made by a client;
//! an upload token is good for one upload.

use super::super::Limits;
use super::super::front::Site;
use super::super::push::PushServer;
use super::apps::Apps;
use super::generated::{Generated, PdfPlan};
use super::limits::Meter;
use super::offline::OfflineQueue;
use super::robots::Workflows;
use super::traits::PortalTraits;
use super::tree::{OnTaken, Tree};
use crate::domain::CrmItem;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The user whose webhook it is.
pub(crate) const OWNER_ID: u64 = 1;
/// Upload tokens that wait for their second step; a client that never comes back must not fill the memory.
const UPLOADS_MAX: usize = 10_000;
/// Scopes of a webhook that may do everything the connector needs.
const SCOPES: &[&str] = &["crm", "disk", "im", "user_brief"];

/// Whether the employee whose webhook it is still works there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The webhook works.
    Active,
    /// Every call is refused with `authorization_error`.
    Dismissed,
}

/// Whether the vendor has blocked the portal's REST by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overload {
    /// It works.
    None,
    /// Every call is refused with `OVERLOAD_LIMIT`.
    Blocked,
}

/// Whether changes made through REST fire events, as they do on a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Echo {
    /// An upload fires `ONDISKFILEADD`, an update of an item fires its event.
    On,
    /// Only events fired by hand are sent.
    Off,
}

/// How download links live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadLinks {
    /// How long a link works. The real length is not documented.
    pub lifetime: Duration,
    /// How often it works.
    pub uses: LinkUses,
}

/// How often a download link works; the EasyDocs guide calls it "limited in time" and "one-time" by turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkUses {
    /// As often as wanted while it lives.
    Many,
    /// Once.
    Once,
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) last_name: String,
    pub(crate) admin: bool,
    pub(crate) active: bool,
}

impl User {
    pub(crate) fn employee(name: &str, last_name: &str) -> Self {
        Self { name: name.to_owned(), last_name: last_name.to_owned(), admin: false, active: true }
    }
}

/// An administrator's answer to a method that wants permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// Nobody has answered yet.
    Waiting,
    /// The token may call it.
    Granted,
    /// The token may not.
    Denied,
}

/// One CRM item; field names are those of `crm.item.*`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Item {
    pub(crate) fields: BTreeMap<String, Field>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    /// When its stage changed last; 0: never.
    pub(crate) moved_ms: i64,
    pub(crate) created_by: u64,
    pub(crate) updated_by: u64,
    pub(crate) moved_by: u64,
}

impl Item {
    /// The value of a field that is no file.
    pub(crate) fn plain(&self, name: &str) -> Option<&Value> {
        match self.fields.get(name) {
            Some(Field::Plain(value)) => Some(value),
            Some(Field::File(_) | Field::Files(_)) | None => None,
        }
    }
    /// Notes who has changed it, and whether its stage went with it.
    pub(crate) fn touch(&mut self, before: &Self, user_id: u64, now_ms: i64) {
        self.updated_ms = now_ms;
        self.updated_by = user_id;
        if self.plain("stageId") != before.plain("stageId") {
            self.moved_ms = now_ms;
            self.moved_by = user_id;
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field {
    Plain(Value),
    /// A user field for one file.
    File(Option<u64>),
    /// A user field for several files.
    Files(Vec<u64>),
}

impl Field {
    pub(crate) fn kind(&self) -> FieldKind {
        match self {
            Self::Plain(_) => FieldKind::Text,
            Self::File(_) => FieldKind::File,
            Self::Files(_) => FieldKind::Files,
        }
    }
}

/// What a user field of the CRM holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// Text, a number, a list: anything but a file.
    Text,
    /// One file.
    File,
    /// Several files.
    Files,
}

#[derive(Debug, Clone)]
pub(crate) struct CrmFile {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

#[derive(Debug, Clone)]
pub(crate) struct Comment {
    pub(crate) id: u64,
    pub(crate) item: CrmItem,
    pub(crate) text: String,
    pub(crate) created_ms: i64,
    pub(crate) author: u64,
    /// Drive ids.
    pub(crate) files: Vec<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) id: u64,
    pub(crate) user_id: u64,
    pub(crate) text: String,
    pub(crate) tag: Option<String>,
}

/// What the first step of an upload fixed for the second.
#[derive(Debug, Clone)]
pub(crate) struct PendingUpload {
    pub(crate) folder: u64,
    pub(crate) name: Option<String>,
    pub(crate) on_taken: OnTaken,
}

/// Which kind of file a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkKind {
    Drive,
    Crm,
}

impl LinkKind {
    fn name(self) -> &'static str {
        match self {
            Self::Drive => "disk",
            Self::Crm => "crm",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Portal {
    pub(crate) tree: Tree,
    pub(crate) users: BTreeMap<u64, User>,
    pub(crate) items: BTreeMap<CrmItem, Item>,
    pub(crate) crm_files: BTreeMap<u64, CrmFile>,
    /// User fields by type and name, beside those that items have.
    pub(crate) user_fields: BTreeMap<(u32, String), FieldKind>,
    /// Stages that were set, by directory (`DEAL_STAGE_1`).
    pub(crate) stages: BTreeMap<String, Vec<String>>,
    pub(crate) generated: BTreeMap<u64, Generated>,
    /// What becomes of the PDF of documents made through REST.
    pub(crate) pdf_plan: PdfPlan,
    pub(crate) comments: Vec<Comment>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) meter: Meter,
    pub(crate) limits: Limits,
    pub(crate) overload: Overload,
    pub(crate) scopes: Vec<String>,
    pub(crate) owner: Owner,
    pub(crate) echo: Echo,
    /// Where the portal answers now.
    pub(crate) address: Site,
    pub(crate) links: DownloadLinks,
    /// As `auth[member_id]` carries it.
    pub(crate) member_id: String,
    pub(crate) traits: PortalTraits,
    pub(crate) apps: Apps,
    pub(crate) offline: OfflineQueue,
    pub(crate) workflows: Workflows,
    pub(crate) push: PushServer,
    /// When the incoming webhook ends.
    pub(crate) webhook_until_ms: Option<i64>,
    /// How many deliveries of events are lost from now on.
    pub(crate) events_to_lose: u32,
    /// Published addresses of the servers that send events.
    pub(crate) sender_nodes: Vec<String>,
    /// Methods that want an administrator's permission.
    pub(crate) guarded: BTreeSet<String>,
    /// What was said to the tokens that asked, by method and token.
    confirmations: BTreeMap<(String, String), (String, Confirmation)>,
    uploads: BTreeMap<String, PendingUpload>,
    used_links: BTreeSet<String>,
    link_key: [u8; 16],
    next_id: u64,
}

impl Portal {
    pub(crate) fn new(limits: Limits, links: DownloadLinks, echo: Echo, now_ms: i64) -> Self {
        let owner = User { admin: true, ..User::employee("Анна", "Песочникова") };
        Self {
            tree: Tree::new(now_ms),
            users: BTreeMap::from([(OWNER_ID, owner)]),
            items: BTreeMap::new(),
            crm_files: BTreeMap::new(),
            user_fields: BTreeMap::new(),
            stages: BTreeMap::new(),
            generated: BTreeMap::new(),
            pdf_plan: PdfPlan::After(0),
            comments: Vec::new(),
            notices: Vec::new(),
            meter: Meter::default(),
            limits,
            overload: Overload::None,
            scopes: SCOPES.iter().map(|s| (*s).to_owned()).collect(),
            owner: Owner::Active,
            echo,
            address: Site::Portal,
            links,
            member_id: String::new(),
            traits: PortalTraits::cloud(),
            apps: Apps::default(),
            offline: OfflineQueue::default(),
            workflows: Workflows::default(),
            push: PushServer::default(),
            webhook_until_ms: None,
            events_to_lose: 0,
            sender_nodes: vec!["127.0.0.1".to_owned()],
            guarded: BTreeSet::new(),
            confirmations: BTreeMap::new(),
            uploads: BTreeMap::new(),
            used_links: BTreeSet::new(),
            link_key: *uuid::Uuid::new_v4().as_bytes(),
            next_id: 16,
        }
    }

    /// Whether somebody worked here and does no more.
    pub(crate) fn is_dismissed(&self, user_id: u64) -> bool {
        let left = self.users.get(&user_id).is_some_and(|user| !user.active);
        left || (user_id == OWNER_ID && self.owner == Owner::Dismissed)
    }

    /// What an administrator has said to this token about a guarded method; the first call asks.
    pub(crate) fn confirmation(&mut self, method: &str, client_id: &str, token: &str) -> Confirmation {
        let key = (method.to_owned(), token.to_owned());
        self.confirmations.entry(key).or_insert_with(|| (client_id.to_owned(), Confirmation::Waiting)).1
    }

    /// Answers all that wait for a method; whose they are and by which tokens.
    pub(crate) fn answer_confirmations(
        &mut self,
        method: &str,
        answer: Confirmation,
    ) -> Vec<(String, String)> {
        let waiting = self.confirmations.iter_mut().filter(|((asked, _), _)| asked == method);
        let mut told = Vec::new();
        for ((_, token), (client_id, state)) in waiting {
            if *state == Confirmation::Waiting {
                *state = answer;
                told.push((client_id.clone(), token.clone()));
            }
        }
        told
    }

    /// A fresh id for anything but Drive objects.
    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn add_crm_file(&mut self, name: &str, bytes: Bytes) -> u64 {
        let id = self.fresh_id();
        self.crm_files.insert(id, CrmFile { name: name.to_owned(), bytes });
        id
    }

    /// Path and query of a download link for an object, good for the configured time.
    pub(crate) fn link(&self, kind: LinkKind, id: u64, now_ms: i64) -> String {
        let lifetime = i64::try_from(self.links.lifetime.as_millis()).unwrap_or(i64::MAX);
        let query = self.link_query(kind, id, now_ms.saturating_add(lifetime));
        format!("/{}/download/?{query}", kind.name())
    }

    fn link_query(&self, kind: LinkKind, id: u64, until_ms: i64) -> String {
        let text = format!("{}|{id}|{until_ms}", kind.name());
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.link_key).expect("an HMAC key may have any length");
        mac.update(text.as_bytes());
        let seal: String = mac.finalize().into_bytes()[..12].iter().map(|b| format!("{b:02x}")).collect();
        // The bars are encoded as a portal encodes them: a client that rewrites the query breaks the link.
        format!("fileId={id}&token={}%7C{id}%7C{until_ms}%7C{seal}", kind.name())
    }

    /// The object that a link's query leads to, if the link is ours, lives, and was not spent.
    pub(crate) fn follow(&mut self, kind: LinkKind, query: &str, now_ms: i64) -> Option<u64> {
        let mut parts = query.split_once("&token=")?.1.split("%7C").skip(1);
        let id: u64 = parts.next()?.parse().ok()?;
        let until_ms: i64 = parts.next()?.parse().ok()?;
        let ours = self.link_query(kind, id, until_ms) == query;
        let fresh = match self.links.uses {
            LinkUses::Many => true,
            LinkUses::Once => self.used_links.insert(query.to_owned()),
        };
        (ours && fresh && now_ms < until_ms).then_some(id)
    }

    /// Remembers an upload's first step and returns its token.
    pub(crate) fn expect_upload(&mut self, upload: PendingUpload) -> String {
        if self.uploads.len() >= UPLOADS_MAX {
            self.uploads.pop_first();
        }
        let token = uuid::Uuid::new_v4().simple().to_string();
        self.uploads.insert(token.clone(), upload);
        token
    }

    /// Spends an upload token.
    pub(crate) fn take_upload(&mut self, token: &str) -> Option<PendingUpload> {
        self.uploads.remove(token)
    }
}
