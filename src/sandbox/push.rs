//! The push server: `pull.application.*` of the portal, and the long poll at an address of its own.
//! Source: `settings/interactivity/**` of the Bitrix24 docs (`bitrix24-rest.md` section 10).
//!
//! It tells only what applications publish and what the server says of itself; a change in the CRM makes no message.
//! WebSockets are not emulated: their addresses are named and answer 404.
//!
//! Invariants: message ids grow; a poll with `mid` gets everything after it that is kept; a channel that ended or was
//! replaced is not known any more (404); a poll without news ends with 304 after the hold.

use super::bitrix24::access::Caller;
use super::bitrix24::bindings::{given, given_value};
use super::bitrix24::portal::OWNER_ID;
use super::bitrix24::rows::text;
use super::bitrix24::wire::{Answer, MethodError, date};
use super::bitrix24::{Ctx, Outcome};
use super::front::{Head, Reply, Request};
use super::ledger::Note;
use super::world::{World, now_ms};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Messages that are kept for those who come back with a position.
const MESSAGES_MAX: usize = 10_000;
/// How long a channel lives.
const CHANNEL_LIFE_MS: i64 = 12 * 3_600 * 1_000;
/// Where the messages of the older server begin and end.
const FRAME: (&str, &str) = ("#!NGINXNMS!#", "#!NGINXNME!#");
/// Path of the long poll.
const POLL_PATH: &str = "bitrix/sub";

/// Which push server the portal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushVersion {
    /// The vendor's for all cloud portals: version 5, `clientId`, answers in JSON.
    CloudV5,
    /// A box's own of version 4: answers in JSON.
    BoxV4,
    /// A box's own of version 3: each message framed in marks of nginx.
    BoxV3,
}

impl PushVersion {
    fn number(self) -> u32 {
        match self {
            Self::CloudV5 => 5,
            Self::BoxV4 => 4,
            Self::BoxV3 => 3,
        }
    }
}

/// What the server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushControl {
    /// `channel_expire` with `action: reconnect`: the new channel is in the message.
    Reconnect,
    /// `channel_expire` with `action: get_config`: the configuration has to be asked for again.
    GetConfig,
    /// `config_expire`.
    ConfigExpire,
    /// `server_restart`: the configuration has to be asked for again after a while.
    ServerRestart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelKind {
    Private,
    Shared,
}

impl ChannelKind {
    fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Shared => "shared",
        }
    }
}

#[derive(Debug, Clone)]
struct Channel {
    client_id: String,
    user_id: u64,
    kind: ChannelKind,
    start_ms: i64,
    state: ChannelState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelState {
    Live,
    /// It delivers what was said before, and is then not known any more.
    Replaced,
}

impl Channel {
    fn end_ms(&self) -> i64 {
        self.start_ms.saturating_add(CHANNEL_LIFE_MS)
    }
    fn to_json(&self, id: &str) -> Value {
        json!({"id": id, "start": date(self.start_ms), "end": date(self.end_ms()), "type": self.kind.name()})
    }
}

#[derive(Debug, Clone)]
struct Message {
    mid: u64,
    channel: String,
    at_ms: i64,
    text: Value,
}

/// Channels and messages.
#[derive(Debug)]
pub(crate) struct PushServer {
    version: PushVersion,
    channels: BTreeMap<String, Channel>,
    messages: VecDeque<Message>,
    mid: u64,
    hold: Duration,
    config_timestamp: i64,
}

impl Default for PushServer {
    fn default() -> Self {
        Self {
            version: PushVersion::CloudV5,
            channels: BTreeMap::new(),
            messages: VecDeque::new(),
            mid: 0,
            hold: Duration::from_secs(40),
            config_timestamp: now_ms() / 1_000,
        }
    }
}

impl PushServer {
    fn channel(&mut self, client_id: &str, user_id: u64, kind: ChannelKind, now_ms: i64) -> String {
        let own = |c: &Channel| {
            c.state == ChannelState::Live
                && c.client_id == client_id
                && c.user_id == user_id
                && c.kind == kind
        };
        self.channels.retain(|_, channel| now_ms < channel.end_ms());
        if let Some((id, _)) = self.channels.iter().find(|(_, channel)| own(channel)) {
            return id.clone();
        }
        let id = format!("{}:{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let channel = Channel {
            client_id: client_id.to_owned(),
            user_id,
            kind,
            start_ms: now_ms,
            state: ChannelState::Live,
        };
        self.channels.insert(id.clone(), channel);
        id
    }

    fn say(&mut self, channel: &str, text: Value, now_ms: i64) {
        if self.messages.len() >= MESSAGES_MAX {
            self.messages.pop_front();
        }
        self.mid += 1;
        self.messages.push_back(Message { mid: self.mid, channel: channel.to_owned(), at_ms: now_ms, text });
    }

    fn after(&self, mid: u64, channels: &[String]) -> Vec<Message> {
        self.messages.iter().filter(|m| m.mid > mid && channels.contains(&m.channel)).cloned().collect()
    }

    /// Says it in every private channel, and does what it says.
    fn control(&mut self, control: PushControl, now_ms: i64) {
        let private: Vec<(String, Channel)> = self
            .channels
            .iter()
            .filter(|(_, c)| c.kind == ChannelKind::Private && c.state == ChannelState::Live)
            .map(|(id, channel)| (id.clone(), channel.clone()))
            .collect();
        self.config_timestamp += 1;
        for (id, channel) in private {
            let (command, params) = match control {
                PushControl::Reconnect | PushControl::GetConfig => {
                    if let Some(old) = self.channels.get_mut(&id) {
                        old.state = ChannelState::Replaced;
                    }
                    let (client_id, user_id, kind) = (&channel.client_id, channel.user_id, channel.kind);
                    let fresh = self.channel(client_id, user_id, kind, now_ms);
                    let new = self.channels.get(&fresh).map(|new| new.to_json(&fresh));
                    let old = json!({"id": id, "type": channel.kind.name()});
                    let params = if control == PushControl::Reconnect {
                        json!({"action": "reconnect", "channel": old, "new_channel": new})
                    } else {
                        json!({"action": "get_config", "channel": old})
                    };
                    ("channel_expire", params)
                }
                PushControl::ConfigExpire => ("config_expire", json!({})),
                PushControl::ServerRestart => ("server_restart", json!({})),
            };
            let text = json!({"module_id": "pull", "command": command, "params": params});
            self.say(&id, text, now_ms);
        }
    }
}

/// `pull.application.config.get`: where and what to listen to.
pub(crate) fn config_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let Caller::App(app) = ctx.caller.clone() else {
        return Err(super::bitrix24::methods::wrong_auth_type());
    };
    let (now, address) = (ctx.now_ms, ctx.push);
    let push = &mut ctx.portal.push;
    if given_value(params, "REOPEN").is_some_and(super::bitrix24::drive::truthy) {
        push.channels.retain(|_, c| c.client_id != app.client_id || c.user_id != app.user_id);
    }
    let mut described = |kind| {
        let id = push.channel(&app.client_id, app.user_id, kind, now);
        push.channels.get(&id).map(|channel| channel.to_json(&id))
    };
    let (shared, private) = (described(ChannelKind::Shared), described(ChannelKind::Private));
    let version = push.version;
    let poll = format!("{address}/{POLL_PATH}/");
    let socket = format!("{}/bitrix/subws/", address.replace("http://", "ws://"));
    let mut config = json!({
        "server": {
            "version": version.number(), "server_enabled": true,
            "mode": if version == PushVersion::CloudV5 { "shared" } else { "personal" },
            // The second name is misspelt on every portal.
            "long_polling": poll, "long_pooling_secure": poll, "websocket_enabled": true,
            "websocket": socket, "websocket_secure": socket,
            "publish": format!("{address}/bitrix/pub/"), "publish_secure": format!("{address}/bitrix/pub/"),
            "config_timestamp": push.config_timestamp,
        },
        "api": {"revision_web": 19, "revision_mobile": 3},
        "channels": {"shared": shared, "private": private},
        "publicChannels": [],
        "exp": now / 1_000 + CHANNEL_LIFE_MS / 1_000,
    });
    if version == PushVersion::CloudV5 {
        config["clientId"] = ctx.portal.member_id.clone().into();
        config["jwt"] = Value::Null;
    }
    Ok(Answer::of(config))
}

/// `pull.application.event.add`: what applications tell each other.
pub(crate) fn event_add(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let Caller::App(app) = ctx.caller.clone() else {
        return Err(super::bitrix24::methods::wrong_auth_type());
    };
    let command = given(params, "COMMAND");
    if command.is_empty() {
        return Err(MethodError::new(400, "COMMAND_ERROR", "Command format error"));
    }
    let told = given_value(params, "PARAMS").cloned().unwrap_or_else(|| json!({}));
    let users: Vec<u64> = match given_value(params, "USER_ID") {
        Some(Value::Array(ids)) => ids.iter().filter_map(|id| text(id).parse().ok()).collect(),
        Some(id) => text(id).parse().into_iter().collect(),
        None => Vec::new(),
    };
    ctx.portal.push.publish(&app.client_id, &users, &command, told, ctx.now_ms);
    ctx.push_news = true;
    Ok(Answer::of(true).noted(Note::effect().fact("command", command)))
}

impl PushServer {
    /// Into the private channels of the users, or into the shared one.
    fn publish(&mut self, client_id: &str, users: &[u64], command: &str, params: Value, now_ms: i64) {
        let text = json!({"module_id": "application", "command": command, "params": params});
        if users.is_empty() {
            let shared = |c: &Channel| c.client_id == client_id && c.kind == ChannelKind::Shared;
            let ids: Vec<String> =
                self.channels.iter().filter(|(_, c)| shared(c)).map(|(id, _)| id.clone()).collect();
            ids.iter().for_each(|id| self.say(id, text.clone(), now_ms));
        }
        for user_id in users {
            let id = self.channel(client_id, *user_id, ChannelKind::Private, now_ms);
            self.say(&id, text.clone(), now_ms);
        }
    }
}

/// The call's name for faults and ledger.
pub(crate) fn call_name(head: &Head) -> String {
    if head.path.trim_start_matches('/').starts_with(POLL_PATH) {
        "push.poll".into()
    } else {
        "unknown".into()
    }
}

/// Answers one poll, when there is something to say or the hold is over.
pub(crate) async fn answer(world: &Arc<World>, request: &Request) -> Reply {
    let head = &request.head;
    let Some(rest) = head.path.trim_start_matches('/').strip_prefix(POLL_PATH) else {
        return Reply::html(404);
    };
    let named = head.query_value("CHANNEL_ID").unwrap_or_else(|| rest.trim_matches('/').to_owned());
    let named = named.replace("%3A", ":").replace("%3a", ":");
    let channels: Vec<String> = named.split('/').filter(|id| !id.is_empty()).map(str::to_owned).collect();
    let opened = world.with_portal(|portal| {
        let known = |id: &String| portal.push.channels.contains_key(id);
        let from = match (head.query_value("mid"), head.query_value("time")) {
            (Some(mid), _) => mid.parse().unwrap_or(0),
            // A position of the oldest server: the second of the last message and its number in it.
            (None, Some(_)) => position(&portal.push, head),
            (None, None) => portal.push.mid,
        };
        let replaced = |id: &String| {
            portal.push.channels.get(id).is_some_and(|channel| channel.state == ChannelState::Replaced)
        };
        let listens = !channels.is_empty()
            && channels.iter().all(known)
            && (!channels.iter().any(replaced) || !portal.push.after(from, &channels).is_empty());
        listens.then_some((from, portal.push.hold, portal.push.version))
    });
    let Some((from, hold, version)) = opened else { return Reply::html(404) };
    let mut news = world.push_news();
    let poll = async {
        loop {
            news.borrow_and_update();
            let messages = world.with_portal(|portal| portal.push.after(from, &channels));
            if !messages.is_empty() || news.changed().await.is_err() {
                return messages;
            }
        }
    };
    match tokio::time::timeout(hold, poll).await {
        Ok(messages) => written(&messages, version),
        Err(_) => Reply { status: 304, ..Reply::default() },
    }
}

fn position(push: &PushServer, head: &Head) -> u64 {
    let number = |name: &str| head.query_value(name).and_then(|value| value.parse::<i64>().ok()).unwrap_or(0);
    let (time, tag) = (number("time"), u64::try_from(number("tag")).unwrap_or(0));
    let seen = |m: &&Message| m.at_ms / 1_000 < time || (m.at_ms / 1_000 == time && m.mid <= tag);
    push.messages.iter().rev().find(seen).map_or(0, |m| m.mid)
}

fn written(messages: &[Message], version: PushVersion) -> Reply {
    let rows: Vec<Value> = messages.iter().map(message_row).collect();
    let note = Note::read().fact("messages", rows.len());
    if version == PushVersion::BoxV3 {
        let body: String = rows.iter().map(|row| format!("{}{row}{}", FRAME.0, FRAME.1)).collect();
        let reply = Reply { status: 200, body: body.into(), ..Reply::default() };
        return reply.header("Content-Type", "text/plain; charset=utf-8").noted(note);
    }
    Reply::json(200, &rows.into()).noted(note)
}

fn message_row(message: &Message) -> Value {
    json!({
        "id": message.mid, "mid": format!("{:020}", message.mid), "channel": message.channel,
        "tag": message.mid.to_string(), "time": (message.at_ms / 1_000).to_string(), "text": message.text,
        "extra": {"server_time": date(message.at_ms), "server_name": "sandbox"},
    })
}

/// The push server, as a test turns it.
impl World {
    /// Sets which push server the portal has, and how long a poll without news is held.
    pub fn set_push(&self, version: PushVersion, hold: Duration) {
        self.with_portal(|portal| {
            portal.push.version = version;
            portal.push.hold = hold;
        });
    }
    /// Tells the listeners of an application something: in the administrator's private channel.
    pub fn push_message(&self, client_id: &str, command: &str, params: Value) {
        self.with_portal(|portal| portal.push.publish(client_id, &[OWNER_ID], command, params, now_ms()));
        self.tell_push_news();
    }
    /// The server says something of itself in every private channel.
    pub fn push_control(&self, control: PushControl) {
        self.with_portal(|portal| portal.push.control(control, now_ms()));
        self.tell_push_news();
    }
}
