//! Notices of changed statuses, the subscription to them, and past statuses where their path is configured.
//!
//! Nothing is known of a signature on notices, so that one is only a hint: it names a document whose status is then
//! read with the token. What it says itself is shown and never believed.

use super::client::{Client, Place, lacking};
use super::ids;
use super::outbox::{moment, seconds};
use super::settings::{EventFields, History, Settings};
use super::status::Status;
use crate::domain::{Failure, Timestamp};
use crate::providers::idocs::error;
use crate::providers::remote::Nature;
use crate::providers::strict_json::{self, NotStrictJson};
use serde_json::{Map, Value, json};

/// Longest text of a notice that is kept.
const TEXT_CHARS_MAX: usize = 200;
/// Most entries of a history that are kept.
const ENTRIES_MAX: usize = 10_000;

/// What a notice points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHint {
    /// The document whose status is worth reading: a UUID in lower case.
    pub document_id: String,
    /// What the notice says of it; for people.
    pub raw_status: Option<String>,
    /// When; for people.
    pub occurred_on: Option<String>,
}

/// Why a notice cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Larger than the limit.
    #[error("the body is longer than {max} bytes")]
    TooLong {
        /// The limit in bytes.
        max: u64,
    },
    /// Not JSON, or not JSON as we accept it.
    #[error("the body is not acceptable JSON")]
    Json(#[source] NotStrictJson),
    /// It names no document.
    #[error("the member `{pointer}` is missing or no UUID")]
    NoDocument {
        /// The JSON pointer that was looked at.
        pointer: String,
    },
}

/// One past status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastStatus {
    /// The document.
    pub document_id: String,
    /// What its status was.
    pub status: Status,
    /// Since when, if told.
    pub occurred_on: Option<Timestamp>,
}

/// A list of past statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastList {
    /// How many entries it has.
    pub entries: usize,
    /// Those of them that name a document and a status.
    pub readable: Vec<PastStatus>,
}

/// Reads a notice.
///
/// # Errors
/// [`Unreadable`]: 413, 400, or stored for a person.
pub fn parse_event(settings: &Settings, raw_body: &[u8]) -> Result<EventHint, Unreadable> {
    let max = settings.limits.callback_bytes;
    if raw_body.len() as u64 > max {
        return Err(Unreadable::TooLong { max });
    }
    let body = strict_json::parse(raw_body).map_err(Unreadable::Json)?;
    let fields = &settings.webhook.fields;
    let no_document = || Unreadable::NoDocument { pointer: fields.document_id.clone() };
    Ok(EventHint {
        document_id: ids::uuid_at(&body, &fields.document_id).ok_or_else(no_document)?,
        raw_status: shown(&body, &fields.status),
        occurred_on: shown(&body, &fields.occurred_on),
    })
}

/// A text or a number for people; an empty pointer is nothing.
fn shown(body: &Value, pointer: &str) -> Option<String> {
    let text = match body.pointer(pointer).filter(|_| !pointer.is_empty())? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect())
}

impl Client {
    /// Tells iDocs where to send notices. Creates the subscription or changes it (the guide), so that a repeat is safe.
    ///
    /// # Errors
    /// Never ambiguous; without it only polling tells of changes.
    pub async fn subscribe(&self, our_url: &str) -> Result<(), Failure> {
        let webhook = &self.settings.webhook;
        let mut body = Map::new();
        body.insert(webhook.url_field.clone(), json!(our_url));
        let path = &webhook.subscription_path;
        self.post_to(Place::Webhooks, path, &Value::Object(body), Nature::Read).await.map(|_| ())
    }

    /// Whether past statuses of one document can be read.
    pub fn can_read_history(&self) -> bool {
        self.settings.history.as_ref().is_some_and(|history| !history.document_path.is_empty())
    }

    /// The past statuses of a document, in the service's order.
    ///
    /// # Errors
    /// `no_history_path` if its path is not configured.
    pub async fn history(&self, document: &str) -> Result<Vec<PastStatus>, Failure> {
        let history = self.configured_history(|history| &history.document_path)?;
        let id = ids::document(document)?;
        let all = self.past(history, &history.document_path.replace("{id}", &id)).await?.readable;
        Ok(all.into_iter().filter(|entry| entry.document_id == id).collect())
    }

    /// The status changes of all documents in a period: what notices may have missed.
    ///
    /// # Errors
    /// `no_history_path` if its path is not configured.
    pub async fn events_between(&self, from: Timestamp, to: Timestamp) -> Result<Vec<PastStatus>, Failure> {
        Ok(self.list_between(from, to).await?.readable)
    }

    /// The same, with how many entries the list has in all: to see whether the pointers into them are right.
    ///
    /// # Errors
    /// As [`Client::events_between`].
    pub async fn list_between(&self, from: Timestamp, to: Timestamp) -> Result<PastList, Failure> {
        let history = self.configured_history(|history| &history.period_path)?;
        let path = history.period_path.replace("{from}", &seconds(from).to_string());
        self.past(history, &path.replace("{to}", &seconds(to).to_string())).await
    }

    fn configured_history(&self, path: impl Fn(&History) -> &String) -> Result<&History, Failure> {
        self.settings.history.as_ref().filter(|history| !path(history).is_empty()).ok_or_else(|| {
            error::local(
                "no_history_path",
                "Путь истории событий iDocs не настроен: руководство его не называет. Узнайте его и впишите в idocs.history.",
                "The path of iDocs' event history is not configured: the guide does not name it. Ask for it and fill in idocs.history.",
            )
        })
    }

    async fn past(&self, history: &History, path: &str) -> Result<PastList, Failure> {
        let value = self.get_from(Place::Webhooks, path).await?.into_value();
        let list = match value.pointer(&history.items) {
            Some(Value::Array(list)) => list.as_slice(),
            None | Some(Value::Null) if value.is_null() => &[],
            _ => return Err(lacking("no_list", Nature::Read, &value, &self.redactor)),
        };
        let readable = list.iter().take(ENTRIES_MAX).filter_map(|entry| self.entry(&history.fields, entry));
        Ok(PastList { entries: list.len(), readable: readable.collect() })
    }

    fn entry(&self, fields: &EventFields, entry: &Value) -> Option<PastStatus> {
        Some(PastStatus {
            document_id: ids::uuid_at(entry, &fields.document_id)?,
            status: self.settings.statuses.of(entry.pointer(&fields.status)?)?,
            occurred_on: entry.pointer(&fields.occurred_on).and_then(moment),
        })
    }
}
