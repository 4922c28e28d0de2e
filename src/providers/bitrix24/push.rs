//! The portal's push server by long poll: where it is, what it says. For applications only.
//!
//! `settings/interactivity` of the docs and the vendor's own client. It tells what applications publish
//! (`pull.application.event.add`) and what the server says of itself, **not** that something changed in the CRM. So it
//! may wake somebody; it is never a source of events. Addresses of channels are keys and are treated as secrets.

use super::client::Caller;
use super::drive::read;
use super::error::misshapen;
use super::wire;
use crate::domain::{Failure, Secret};
use crate::providers::http_client::{HttpClient, WireError};
use crate::providers::remote::Nature;
use crate::providers::url_rules;
use serde_json::{Value, json};
use url::Url;

/// Longest answer of one poll that is read.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Messages of one answer that are looked at.
const MESSAGES_MAX: usize = 1_000;
/// From this version on an answer is one JSON array.
const JSON_FROM: u64 = 4;
/// From this version on a place is one `mid`; before, a `tag` and a `time`.
const MID_FROM: u64 = 3;
/// How messages are framed before [`JSON_FROM`].
const FRAME: (&str, &str) = ("#!NGINXNMS!#", "#!NGINXNME!#");

/// Whether channels that we had are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// The portal may name those that we had.
    Kept,
    /// The portal makes new ones: the old ones are not known any more.
    Renewed,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushConfig {
    version: u64,
    poll: Secret,
    channels: Vec<Secret>,
    client_id: Option<Secret>,
}

/// How far we have listened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    mid: Option<String>,
    tag: Option<String>,
    time: Option<String>,
}

/// What one poll brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Nothing within the time that the server holds a poll.
    Nothing,
    /// Something.
    Messages(Vec<Message>),
    /// The channel is not known any more.
    Gone,
}

/// What one message means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// An application has published something.
    Published,
    /// Our channel ends; here is its successor.
    Reconnect {
        /// The channel that ends.
        old: Secret,
        /// The new one.
        new: Secret,
    },
    /// The configuration must be asked for again.
    AskAgain,
    /// The server restarts: the configuration must be asked for again, not by all at once.
    Restart,
}

/// Why a poll brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The address that the portal named may not be used.
    #[error("the address of the push server is not usable")]
    Address(#[from] url_rules::UrlRefused),
    /// The connection failed.
    #[error("the push server was not reached")]
    Wire(#[from] WireError),
    /// It answered with a status that is none of its own.
    #[error("the push server answered {0}")]
    Status(u16),
    /// Its answer cannot be read.
    #[error("the push server's answer cannot be read")]
    Garbled,
}

/// The method that tells where the push server is; old boxes have none.
pub const CONFIG: &str = "pull.application.config.get";

/// `pull.application.config.get`.
///
/// # Errors
/// `wrong_auth_type` by webhook; `misshapen_answer` if no long poll is named.
pub async fn config(caller: &dyn Caller, channels: Channels) -> Result<PushConfig, Failure> {
    const METHOD: &str = CONFIG;
    let reopen = if channels == Channels::Renewed { "Y" } else { "N" };
    let answer = read(caller, METHOD, json!({ "CACHE": "N", "REOPEN": reopen })).await?;
    config_of(&answer).ok_or_else(|| Nature::Read.judge(misshapen(METHOD)))
}

fn config_of(answer: &Value) -> Option<PushConfig> {
    let server = wire::member(answer, "server")?;
    // The second name is misspelt on real portals.
    let names = ["long_polling_secure", "long_pooling_secure", "long_polling"];
    let poll = names.iter().find_map(|name| wire::member(server, name).and_then(wire::filled))?;
    let listed = wire::member(answer, "channels")?;
    let id = |kind| {
        wire::member(listed, kind).and_then(|c| wire::member(c, "id")).and_then(wire::filled).map(Secret::new)
    };
    let channels: Vec<Secret> = [id("private"), id("shared")].into_iter().flatten().collect();
    (!channels.is_empty()).then(|| PushConfig {
        version: wire::member(server, "version").and_then(wire::number).unwrap_or(JSON_FROM),
        poll: Secret::new(poll),
        channels,
        client_id: wire::member(answer, "clientId").and_then(wire::filled).map(Secret::new),
    })
}

impl PushConfig {
    /// Replaces a channel that ends.
    pub fn replace(&mut self, old: &Secret, new: Secret) {
        for channel in &mut self.channels {
            if channel.expose() == old.expose() {
                *channel = new.clone();
            }
        }
    }

    fn address(&self, place: &Place) -> Result<Url, url_rules::UrlRefused> {
        let mut url = url_rules::checked(self.poll.expose())?;
        let channels: Vec<&str> = self.channels.iter().map(Secret::expose).collect();
        let mut query = url.query_pairs_mut();
        query.append_pair("CHANNEL_ID", &channels.join("/"));
        if let Some(client_id) = &self.client_id {
            query.append_pair("clientId", client_id.expose());
        }
        if self.version >= JSON_FROM {
            query.append_pair("format", "json");
        }
        if let Some(mid) = place.mid.as_ref().filter(|_| self.version >= MID_FROM) {
            query.append_pair("mid", mid);
        } else if let (Some(tag), Some(time)) = (&place.tag, &place.time) {
            query.append_pair("tag", tag).append_pair("time", time);
        }
        drop(query);
        Ok(url)
    }
}

/// One long poll; `place` moves behind what was heard. Silence up to the client's own timeout is no error.
///
/// # Errors
/// [`PollError`]; nothing was heard then.
pub async fn poll(http: &HttpClient, config: &PushConfig, place: &mut Place) -> Result<Heard, PollError> {
    let request = http.get(config.address(place)?);
    let answer = match http.exchange(request, ANSWER_BYTES_MAX).await {
        Ok(answer) => answer,
        Err(WireError::Silent) => return Ok(Heard::Nothing),
        Err(error) => return Err(error.into()),
    };
    match answer.status {
        304 => Ok(Heard::Nothing),
        200 if answer.body.is_empty() => Ok(Heard::Nothing),
        200 => {
            let text = String::from_utf8(answer.body).map_err(|_| PollError::Garbled)?;
            let rows = rows_of(&text, config.version).ok_or(PollError::Garbled)?;
            if let Some(last) = rows.last() {
                place.follow(last);
            }
            Ok(Heard::Messages(rows.iter().map(message_of).collect()))
        }
        400..500 => Ok(Heard::Gone),
        other => Err(PollError::Status(other)),
    }
}

impl Place {
    fn follow(&mut self, row: &Value) {
        let text = |name| wire::member(row, name).and_then(wire::filled);
        self.mid = text("mid").or_else(|| text("id")).or_else(|| self.mid.take());
        self.tag = text("tag").or_else(|| self.tag.take());
        self.time = text("time").or_else(|| self.time.take());
    }
}

fn rows_of(text: &str, version: u64) -> Option<Vec<Value>> {
    if version >= JSON_FROM {
        let rows: Vec<Value> = serde_json::from_str(text).ok()?;
        return Some(rows.into_iter().take(MESSAGES_MAX).collect());
    }
    let framed = text.split(FRAME.0).skip(1).take(MESSAGES_MAX);
    framed.map(|part| serde_json::from_str(part.split_once(FRAME.1)?.0).ok()).collect()
}

fn message_of(row: &Value) -> Message {
    let Some(text) = wire::member(row, "text") else { return Message::Published };
    let word = |map, name| wire::member(map, name).and_then(wire::filled);
    if word(text, "module_id").as_deref() != Some("pull") {
        return Message::Published;
    }
    match word(text, "command").as_deref() {
        Some("channel_expire") => {
            let params = wire::member(text, "params").unwrap_or(&Value::Null);
            let id = |name| wire::member(params, name).and_then(|channel| word(channel, "id"));
            match (word(params, "action").as_deref(), id("channel"), id("new_channel")) {
                (Some("reconnect"), Some(old), Some(new)) => {
                    Message::Reconnect { old: Secret::new(old), new: Secret::new(new) }
                }
                _ => Message::AskAgain,
            }
        }
        Some("config_expire") => Message::AskAgain,
        Some("server_restart") => Message::Restart,
        Some(_) | None => Message::Published,
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::*;
    use crate::providers::http_client::HttpSettings;
    use crate::providers::test_server::{Reply, TestServer};
    use std::time::Duration;

    fn configured(server: &TestServer, version: u64) -> Value {
        json!({
            "server": {"version": version, "long_pooling_secure": server.url("/bitrix/sub/")},
            "channels": {"private": {"id": "ch4nnel:one"}, "shared": {"id": "ch4nnel:two"}},
            "clientId": "cl1ent"
        })
    }

    async fn config_at(server: &TestServer, version: u64) -> PushConfig {
        config(&Scripted::ok([configured(server, version)]), Channels::Kept).await.unwrap()
    }

    fn http() -> HttpClient {
        let settings = HttpSettings { read_timeout: Duration::from_millis(300), ..HttpSettings::default() };
        HttpClient::new(&settings).unwrap()
    }

    #[tokio::test]
    async fn both_kinds_of_servers_are_understood_and_the_place_moves_on() {
        let row = |mid: u32| json!({"mid": mid.to_string(), "tag": "7", "time": "100", "text": {"module_id": "application", "command": "x"}});
        let old = format!("{}{}{}", FRAME.0, row(5), FRAME.1);
        for (version, body) in [(5, json!([row(5)]).to_string()), (3, old)] {
            let server = TestServer::start(vec![Reply::ok(&body), Reply::status(304, "", "")]);
            let (config, mut place) = (config_at(&server, version).await, Place::default());
            let heard = poll(&http(), &config, &mut place).await.unwrap();
            assert_eq!(heard, Heard::Messages(vec![Message::Published]));
            assert_eq!(poll(&http(), &config, &mut place).await.unwrap(), Heard::Nothing);
            let line = server.requests()[1].line().to_owned();
            assert!(
                line.contains("CHANNEL_ID=ch4nnel%3Aone%2Fch4nnel%3Atwo") && line.contains("mid=5"),
                "{line}"
            );
            assert_eq!(line.contains("format=json"), version >= JSON_FROM, "{line}");
            assert!(!format!("{config:?}").contains("ch4nnel"));
        }
    }

    #[tokio::test]
    async fn an_unknown_channel_silence_and_nonsense_are_told_apart() {
        let server = TestServer::start(vec![
            Reply::status(404, "", "<html>"),
            Reply::hold(Duration::from_secs(2)),
            Reply::ok("<html>"),
            Reply::status(502, "", ""),
        ]);
        let (config, mut place) = (config_at(&server, 5).await, Place::default());
        assert_eq!(poll(&http(), &config, &mut place).await.unwrap(), Heard::Gone);
        assert_eq!(poll(&http(), &config, &mut place).await.unwrap(), Heard::Nothing);
        assert!(matches!(poll(&http(), &config, &mut place).await, Err(PollError::Garbled)));
        assert!(matches!(poll(&http(), &config, &mut place).await, Err(PollError::Status(502))));
    }

    #[test]
    fn what_the_server_says_of_itself_is_obeyed() {
        let say = |command: &str, params: Value| {
            message_of(&json!({"text": {"module_id": "pull", "command": command, "params": params}}))
        };
        let params = json!({"action": "reconnect", "channel": {"id": "a"}, "new_channel": {"id": "b"}});
        let reconnect = Message::Reconnect { old: Secret::new("a"), new: Secret::new("b") };
        assert_eq!(say("channel_expire", params), reconnect);
        assert_eq!(say("channel_expire", json!({"action": "get_config"})), Message::AskAgain);
        assert_eq!(say("config_expire", json!([])), Message::AskAgain);
        assert_eq!(say("server_restart", json!([])), Message::Restart);
    }

    #[tokio::test]
    async fn a_push_server_without_tls_is_not_called() {
        let answer = json!({
            "server": {"version": 5, "long_polling": "http://push.example/sub/"},
            "channels": {"private": {"id": "a"}}
        });
        let config = config(&Scripted::ok([answer]), Channels::Kept).await.unwrap();
        let refused = poll(&http(), &config, &mut Place::default()).await;
        assert!(matches!(refused, Err(PollError::Address(_))));
    }
}
