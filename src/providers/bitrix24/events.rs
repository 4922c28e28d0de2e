//! An event as Bitrix24 sends it, form or JSON, and what of it can start work.
//!
//! Decides nothing about trust: [`token_matches`] is the proof, its secrets are the caller's. An event carries ids
//! only and may be late, repeated, or an echo of our own writes, so it is a hint to look, never a fact to act on
//! (`api-reference/events/index.md`).

use super::forms::{self, FormError};
use super::wire;
use crate::domain::{CrmItem, Secret};
use crate::providers::strict_json::{self, NotStrictJson};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq as _};

/// The event that tells of rows in the offline queue (`on-offline-event.md`).
pub const WAKE_EVENT: &str = "ONOFFLINEEVENT";

/// Longest event name that is taken.
const NAME_BYTES_MAX: usize = 128;
/// Longest token, member id or domain that is taken.
pub(super) const AUTH_BYTES_MAX: usize = 512;

/// An event, decoded and not yet trusted.
#[derive(Clone, PartialEq)]
pub struct IncomingEvent {
    /// Upper case, as `ONCRMDEALUPDATE`.
    pub name: String,
    /// `data`: maps and texts, from a JSON body also numbers. May contain secrets.
    pub data: Value,
    /// Seconds of the Unix epoch when the queue sent it (not when the change was made).
    pub sent_at_s: Option<u64>,
    /// `auth[member_id]`: the portal, whatever its address.
    pub member_id: Option<String>,
    /// `auth[domain]`: the portal's host, as it says.
    pub domain: Option<String>,
    /// `auth[application_token]`; empty if there was none.
    pub application_token: Secret,
}

impl fmt::Debug for IncomingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingEvent")
            .field("name", &self.name)
            .field("member_id", &self.member_id)
            .field("domain", &self.domain)
            .field("sent_at_s", &self.sent_at_s)
            .finish_non_exhaustive()
    }
}

/// Why a body is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The content type is neither JSON nor a form.
    #[error("unsupported content type")]
    ContentType,
    /// A form that is refused.
    #[error("unreadable form")]
    Form(#[source] FormError),
    /// JSON that is refused.
    #[error("unreadable JSON")]
    Json(#[source] NotStrictJson),
    /// There is no usable `event`.
    #[error("no event name")]
    NoName,
}

/// What an event can start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BitrixTrigger {
    /// A file was put on the Drive. Not an event of the official list: named by the EasyDocs guide.
    DriveFileAdded {
        /// Its id on the Drive.
        file_id: u64,
    },
    /// A CRM item was added or changed.
    CrmItemChanged {
        /// Which.
        item: CrmItem,
    },
    /// The document generator made a document (`ONCRMDOCUMENTGENERATORDOCUMENTADD`).
    DocumentGenerated {
        /// Its id in the generator.
        document_id: u64,
        /// The item that it belongs to, as the event says.
        item: Option<CrmItem>,
    },
    /// Something lies in the offline queue (`ONOFFLINEEVENT`).
    OfflineQueueFilled,
    /// An event that starts nothing.
    Other {
        /// Its name.
        name: String,
    },
}

/// What an event is about, as far as its name alone tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// A file on the Drive.
    DriveFile,
    /// Items of this CRM type.
    CrmItem {
        /// Its `entityTypeId`.
        entity_type_id: u32,
    },
    /// Something that only its data tell.
    InItsData,
    /// Nothing that starts anything.
    Nothing,
}

impl IncomingEvent {
    /// What an event is about, by its name and without decoding the rest: of those that a portal sends most are of no
    /// rule's concern. For a body that was decoded before, when it was verified; none if it must be decoded to tell.
    pub fn topic_of_verified(content_type: &str, body: &[u8]) -> Option<Topic> {
        let is_form = content_type.starts_with("application/x-www-form-urlencoded") && !looks_like_json(body);
        // The one value of that key: a form that repeats a key does not decode.
        let name = body.split(|b| *b == b'&').find_map(|pair| pair.strip_prefix(b"event="))?;
        let is_plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        if !is_form || name.is_empty() || name.len() > NAME_BYTES_MAX || !name.iter().all(is_plain) {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?.to_ascii_uppercase();
        Some(match name.as_str() {
            "ONDISKFILEADD" => Topic::DriveFile,
            "ONCRMDOCUMENTGENERATORDOCUMENTADD" | WAKE_EVENT => Topic::InItsData,
            other => match crm_type(other) {
                CrmType::Fixed(entity_type_id) => Topic::CrmItem { entity_type_id },
                CrmType::Named => Topic::InItsData,
                CrmType::NotCrm => Topic::Nothing,
            },
        })
    }

    /// Decodes a body. What it begins with decides between JSON and form; the content type only rules out the rest.
    ///
    /// # Errors
    /// [`EventError`]; never quotes the body.
    pub fn decode(content_type: Option<&str>, body: &[u8]) -> Result<Self, EventError> {
        Self::of_tree(tree(content_type, body)?)
    }

    /// Decodes a body that was decoded before, when it was verified, without what only proves who sent it: most of a
    /// form is that.
    ///
    /// # Errors
    /// [`EventError`]; never quotes the body.
    pub fn decode_verified(content_type: &str, body: &[u8]) -> Result<Self, EventError> {
        Self::of_tree(tree_without(Some(content_type), body, "auth")?)
    }

    fn of_tree(mut tree: Value) -> Result<Self, EventError> {
        let name = wire::member(&tree, "event").and_then(wire::text).ok_or(EventError::NoName)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.' | b'-');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(EventError::NoName);
        }
        let auth = |key| {
            let value = wire::member(wire::member(&tree, "auth")?, key).and_then(wire::filled)?;
            (value.len() <= AUTH_BYTES_MAX).then_some(value)
        };
        Ok(Self {
            name: name.to_ascii_uppercase(),
            sent_at_s: wire::member(&tree, "ts").and_then(wire::number),
            member_id: auth("member_id"),
            domain: auth("domain"),
            application_token: Secret::new(auth("application_token").unwrap_or_default()),
            data: tree.as_object_mut().and_then(|map| map.remove("data")).unwrap_or_default(),
        })
    }

    /// An event of the offline queue: a name and its data, without proof of who sent it.
    pub fn of_queue(name: &str, data: Value) -> Self {
        Self {
            name: name.to_ascii_uppercase(),
            data,
            sent_at_s: None,
            member_id: None,
            domain: None,
            application_token: Secret::new(""),
        }
    }

    /// What the event can start; none if its name promises an id and there is no usable one.
    pub fn trigger(&self) -> Option<BitrixTrigger> {
        match self.name.as_str() {
            "ONDISKFILEADD" => {
                return self.object_id().map(|file_id| BitrixTrigger::DriveFileAdded { file_id });
            }
            "ONCRMDOCUMENTGENERATORDOCUMENTADD" => {
                let item = self.owner();
                return self
                    .object_id()
                    .map(|document_id| BitrixTrigger::DocumentGenerated { document_id, item });
            }
            WAKE_EVENT => return Some(BitrixTrigger::OfflineQueueFilled),
            _ => {}
        }
        let entity_type_id = match crm_type(&self.name) {
            CrmType::Fixed(id) => id,
            CrmType::Named => u32::try_from(self.field("ENTITY_TYPE_ID")?).ok()?,
            CrmType::NotCrm => return Some(BitrixTrigger::Other { name: self.name.clone() }),
        };
        let id = self.object_id()?;
        Some(BitrixTrigger::CrmItemChanged { item: CrmItem { entity_type_id, id } })
    }

    /// The id of the object. Its place differs between the docs, the SDKs and the guide.
    fn object_id(&self) -> Option<u64> {
        let nested = ["FIELDS", "fields", "FIELDS_AFTER", "FILE"];
        let inner = nested.iter().filter_map(|name| wire::member(&self.data, name));
        inner.chain([&self.data]).find_map(|map| wire::any_member(map, &["ID", "id"]).and_then(wire::id))
    }

    /// The CRM item that the object of the event belongs to.
    fn owner(&self) -> Option<CrmItem> {
        let entity_type_id = u32::try_from(self.field("ENTITY_TYPE_ID")?).ok()?;
        Some(CrmItem { entity_type_id, id: self.field("ENTITY_ID")? })
    }

    fn field(&self, name: &str) -> Option<u64> {
        let fields = wire::member(&self.data, "FIELDS").unwrap_or(&self.data);
        wire::member(fields, name).and_then(wire::id)
    }
}

/// The body as a tree, form or JSON.
pub(super) fn tree(content_type: Option<&str>, body: &[u8]) -> Result<Value, EventError> {
    tree_without(content_type, body, "")
}

/// The same; a form without its map `unwanted`.
fn tree_without(content_type: Option<&str>, body: &[u8], unwanted: &str) -> Result<Value, EventError> {
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let known = ["", "application/json", "text/json", "application/x-www-form-urlencoded", "text/plain"];
    if !known.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        return Err(EventError::ContentType);
    }
    if looks_like_json(body) || kind.to_ascii_lowercase().ends_with("/json") {
        strict_json::parse(body).map_err(EventError::Json)
    } else {
        forms::decode_without(body, unwanted).map_err(EventError::Form)
    }
}

fn looks_like_json(body: &[u8]) -> bool {
    body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
}

/// Which CRM type an event's name speaks of (`api-reference/crm/*/events`); deletions start nothing.
fn crm_type(name: &str) -> CrmType {
    match name {
        "ONCRMLEADADD" | "ONCRMLEADUPDATE" => CrmType::Fixed(1),
        "ONCRMDEALADD" | "ONCRMDEALUPDATE" | "ONCRMDEALMOVETOCATEGORY" => CrmType::Fixed(2),
        "ONCRMCONTACTADD" | "ONCRMCONTACTUPDATE" => CrmType::Fixed(3),
        "ONCRMCOMPANYADD" | "ONCRMCOMPANYUPDATE" => CrmType::Fixed(4),
        "ONCRMQUOTEADD" | "ONCRMQUOTEUPDATE" => CrmType::Fixed(7),
        "ONCRMDYNAMICITEMADD" | "ONCRMDYNAMICITEMUPDATE" => CrmType::Named,
        other => ["ONCRMDYNAMICITEMADD_", "ONCRMDYNAMICITEMUPDATE_"]
            .iter()
            .find_map(|prefix| other.strip_prefix(prefix)?.parse().ok())
            .map_or(CrmType::NotCrm, CrmType::Fixed),
    }
}

enum CrmType {
    /// The name says which.
    Fixed(u32),
    /// A field says which.
    Named,
    /// None of ours.
    NotCrm,
}

/// Members that carry credentials, in lower case: of an outgoing webhook, of an application, of a robot's call.
const CREDENTIALS: [&str; 6] =
    ["application_token", "access_token", "refresh_token", "token", "auth_id", "refresh_id"];

/// The body without its credentials, which have done their work when the event is verified: journals and backups
/// need no keys. A form keeps every other byte; JSON, where escapes hide a text, is written anew.
pub fn without_credentials(body: &[u8]) -> Vec<u8> {
    let is_credential = |name: &str| CREDENTIALS.iter().any(|known| known.eq_ignore_ascii_case(name));
    match strict_json::parse(body) {
        Ok(mut tree) => {
            star_members(&mut tree, &is_credential);
            tree.to_string().into_bytes()
        }
        Err(_) => forms::starred(body, is_credential),
    }
}

/// Depth is bounded by the parser.
fn star_members(tree: &mut Value, chosen: &dyn Fn(&str) -> bool) {
    match tree {
        Value::Object(members) => {
            for (name, value) in members {
                if chosen(name) && value.is_string() {
                    *value = Value::from("***");
                } else {
                    star_members(value, chosen);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| star_members(item, chosen)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a token is one of those that are valid: in constant time over all of them. An empty one never is.
pub fn token_matches(secrets: &[Secret], given: &Secret) -> bool {
    // Digests have one length, so not even the length of a secret shows.
    let given_digest = Sha256::digest(given.expose().as_bytes());
    let mut found = Choice::from(0);
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        found |= Sha256::digest(secret.expose().as_bytes()).ct_eq(&given_digest);
    }
    bool::from(found) && !given.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");
    const JSON: Option<&str> = Some("application/json; charset=utf-8");

    fn sample(name: &str) -> IncomingEvent {
        let path = format!("{}/tests/data/bitrix24-events/{name}.form", env!("CARGO_MANIFEST_DIR"));
        IncomingEvent::decode(FORM, &std::fs::read(path).unwrap()).unwrap()
    }

    fn crm(entity_type_id: u32, id: u64) -> Option<BitrixTrigger> {
        Some(BitrixTrigger::CrmItemChanged { item: CrmItem { entity_type_id, id } })
    }

    #[test]
    fn an_outgoing_webhook_reads_whole() {
        let event = sample("01-webhook-oncrmdealupdate");
        assert_eq!(event.name, "ONCRMDEALUPDATE");
        assert_eq!(event.member_id.as_deref(), Some("fa4e0001000000000000000000000000"));
        assert_eq!(event.domain.as_deref(), Some("portal.romashka.example"));
        assert_eq!(event.application_token.expose(), "fa4eappt0ken002xxxxxxxxxxxxxxxxx");
        assert_eq!(event.sent_at_s, Some(1_766_047_124));
        assert_eq!(event.trigger(), crm(2, 7405));
    }

    #[test]
    fn a_name_alone_never_says_what_the_whole_event_denies() {
        let names = [
            "ONDISKFILEADD",
            "onCrmDealUpdate",
            "ONCRMDYNAMICITEMADD",
            "ONCRMDYNAMICITEMUPDATE_1032",
            "ONCRMDYNAMICITEMUPDATE_x",
            "ONCRMDOCUMENTGENERATORDOCUMENTADD",
            "ONOFFLINEEVENT",
            "ONIMBOTMESSAGEADD",
            "ON%43RMDEALUPDATE",
            "ON:X",
            "",
        ];
        let bodies = names.iter().flat_map(|name| {
            let data = "data[FIELDS][ID]=7&data[FIELDS][ENTITY_TYPE_ID]=2&data[FIELDS][ENTITY_ID]=5";
            [
                format!("event={name}&{data}&ts=1"),
                format!("{data}&event={name}"),
                format!("event={name}"),
                format!("%65vent={name}&{data}"),
                format!(r#" {{"event":"ONDISKFILEADD","data":{{"x":"&event={name}&"}}}}"#),
            ]
        });
        let (mut told, mut silent) = (0, 0);
        for body in bodies {
            let topic = IncomingEvent::topic_of_verified(FORM.unwrap(), body.as_bytes());
            let trigger = IncomingEvent::decode(FORM, body.as_bytes()).ok().map(|event| event.trigger());
            let agrees = match (topic, &trigger) {
                (None, _) => {
                    silent += 1;
                    continue;
                }
                (Some(_), None) => false,
                (Some(Topic::InItsData), Some(_)) => true,
                (Some(Topic::Nothing), Some(found)) => matches!(found, Some(BitrixTrigger::Other { .. })),
                (Some(Topic::DriveFile), Some(found)) => {
                    matches!(found, None | Some(BitrixTrigger::DriveFileAdded { .. }))
                }
                (Some(Topic::CrmItem { entity_type_id }), Some(found)) => match found {
                    None => true,
                    Some(BitrixTrigger::CrmItemChanged { item }) => item.entity_type_id == entity_type_id,
                    Some(_) => false,
                },
            };
            told += 1;
            assert!(agrees, "{body}: {topic:?}, {trigger:?}");
        }
        assert!(told > 15 && silent > 15, "told of {told}, not of {silent}");
        assert_eq!(IncomingEvent::topic_of_verified("application/json", b"event=ONDISKFILEADD"), None);
    }

    #[test]
    fn samples_start_what_they_should() {
        assert_eq!(
            sample("02-webhook-oncrmleadadd")
                .trigger()
                .map(|t| matches!(t, BitrixTrigger::CrmItemChanged { item } if item.entity_type_id == 1)),
            Some(true)
        );
        assert!(matches!(
            sample("05-app-oncrmdealmovetocategory").trigger(),
            Some(BitrixTrigger::CrmItemChanged { item }) if item.entity_type_id == 2
        ));
        assert!(matches!(
            sample("06-app-oncrmdynamicitemupdate").trigger(),
            Some(BitrixTrigger::CrmItemChanged { item }) if item.entity_type_id >= 128
        ));
        assert_eq!(sample("14-app-onofflineevent").trigger(), Some(BitrixTrigger::OfflineQueueFilled));
        assert_eq!(
            sample("07-app-oncrmdocumentgeneratordocumentadd").trigger(),
            Some(BitrixTrigger::DocumentGenerated {
                document_id: 1869,
                item: Some(CrmItem { entity_type_id: 2, id: 7405 })
            })
        );
        for other in ["10-app-onappinstall", "08-app-ontaskupdate"] {
            assert!(matches!(sample(other).trigger(), Some(BitrixTrigger::Other { .. })), "{other}");
        }
    }

    #[test]
    fn a_new_file_is_found_in_every_shape() {
        let file = Some(BitrixTrigger::DriveFileAdded { file_id: 9043 });
        for form in [
            "event=ONDISKFILEADD&data%5BFIELDS%5D%5BID%5D=9043",
            "event=OnDiskFileAdd&data[ID]=9043",
            "event=ONDISKFILEADD&data[FIELDS_AFTER][ID]=9043",
        ] {
            assert_eq!(IncomingEvent::decode(FORM, form.as_bytes()).unwrap().trigger(), file, "{form}");
        }
        for json in [
            r#"{"event":"ONDISKFILEADD","data":{"FIELDS":{"ID":9043}},"auth":{"application_token":"tok"}}"#,
            r#"{"event":"ONDISKFILEADD","data":{"FIELDS":{"ID":"9043"}},"auth":{"application_token":"tok"}}"#,
            r#" {"event":"ONDISKFILEADD","data":{"id":9043},"auth":{"application_token":"tok"}}"#,
        ] {
            for kind in [JSON, FORM, None] {
                let event = IncomingEvent::decode(kind, json.as_bytes()).unwrap();
                assert_eq!(event.trigger(), file, "{json}");
                assert_eq!(event.application_token.expose(), "tok");
            }
        }
    }

    #[test]
    fn an_event_without_its_id_starts_nothing() {
        for form in [
            "event=ONDISKFILEADD",
            "event=ONDISKFILEADD&data[FIELDS][ID]=0",
            "event=ONDISKFILEADD&data[FIELDS][ID]=x",
            "event=ONCRMDEALUPDATE&data[FIELDS][TITLE]=x",
            "event=ONCRMDYNAMICITEMUPDATE&data[FIELDS][ID]=5",
        ] {
            assert_eq!(IncomingEvent::decode(FORM, form.as_bytes()).unwrap().trigger(), None, "{form}");
        }
        let suffixed = "event=ONCRMDYNAMICITEMUPDATE_1046&data[FIELDS][ID]=5";
        assert_eq!(IncomingEvent::decode(FORM, suffixed.as_bytes()).unwrap().trigger(), crm(1046, 5));
    }

    #[test]
    fn a_body_that_is_no_event_is_named_without_quoting_it() {
        for (kind, body) in [
            (Some("multipart/form-data; boundary=x"), "--x"),
            (Some("text/html"), "<html>"),
            (JSON, "event=hunter2"),
            (FORM, "hunter2[=1"),
            (FORM, "data[FIELDS][ID]=hunter2"),
            (JSON, r#"{"event":"hunter2 <script>"}"#),
            (JSON, r#"{"event":"a","event":"hunter2"}"#),
            (JSON, r#"["hunter2"]"#),
        ] {
            let error = IncomingEvent::decode(kind, body.as_bytes()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{body}");
        }
    }

    #[test]
    fn tokens_and_data_do_not_print() {
        let event = sample("13-app-onappmethodconfirm");
        assert!(!format!("{event:?}").contains("fa4eappt0ken"));
        assert!(!format!("{event:?}").contains("fa4eacce55"));
    }

    #[test]
    fn no_credential_outlives_the_verification_however_it_is_spelled() {
        let samples = format!("{}/tests/data/bitrix24-events", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(samples).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ext| ext != "form") {
                continue;
            }
            let body = std::fs::read(&path).unwrap();
            let cut = String::from_utf8(without_credentials(&body)).unwrap();
            for secret in ["fa4eappt0ken", "fa4eacce55", "fa4eref"] {
                assert!(!cut.contains(secret), "{}: {cut}", path.display());
            }
        }
        let odd = b"event=ONDISKFILEADD&data[ID]=5&auth%5Bapplic%61tion_token%5D=%73%65cret&AUTH_ID=x%79z";
        let cut = without_credentials(odd);
        assert_eq!(
            cut,
            b"event=ONDISKFILEADD&data[ID]=5&auth%5Bapplic%61tion_token%5D=**********&AUTH_ID=*****"
        );
        let json =
            br#"{"event":"ONDISKFILEADD","data":{"ID":5},"auth":{"application\u005ftoken":"\u0073ecret"}}"#;
        let cut = without_credentials(json);
        let event = IncomingEvent::decode(JSON, &cut).unwrap();
        assert_eq!(event.trigger(), Some(BitrixTrigger::DriveFileAdded { file_id: 5 }));
        assert_eq!(event.application_token.expose(), "***");
    }

    #[test]
    fn any_valid_token_opens_and_no_other() {
        let secrets = [Secret::new(""), Secret::new("one"), Secret::new("two")];
        assert!(token_matches(&secrets, &Secret::new("two")));
        assert!(token_matches(&secrets, &Secret::new("one")));
        for bad in ["", "on", "onetwo", "three"] {
            assert!(!token_matches(&secrets, &Secret::new(bad)), "{bad}");
        }
        assert!(!token_matches(&[], &Secret::new("one")));
    }
}
