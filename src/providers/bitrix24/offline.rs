//! The offline queue: events that the portal keeps for an application until it fetches them.
//!
//! `api-reference/events/{offline-events,event-offline-get,event-offline-list,event-offline-clear}.md`. The queue holds
//! the present state, not the history: a thousand changes of one deal are one row. Needs an application and an
//! administrator. Rows carry no proof of who sent them and need none: we asked the portal itself.
//!
//! Two ways to read. *Reserved* (where the plan has it): rows are hidden under a `process_id` until they are cleared.
//! *Deleting*: rows are gone as soon as the portal has sent its answer, whether or not it arrives.

use super::client::{Call, Caller};
use super::drive::read;
use super::error::misshapen;
use super::events::IncomingEvent;
use super::item_pages::moment;
use super::wire;
use crate::domain::{Failure, Timestamp};
use crate::providers::remote::Nature;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Rows of one package: the most that one call gives (docs: `limit`, 50 by default).
pub const PACKAGE_ROWS: usize = 50;
/// `minTimeout` of [`WAKE_EVENT`](super::events::WAKE_EVENT): the least pause between two of them, in seconds. Under a storm the queue is read all the time.
pub const WAKE_PAUSE_S: u32 = 5;
/// Longest `process_id` that is taken: those of the docs have 32 characters.
const PROCESS_ID_BYTES_MAX: usize = 128;
/// Pages of the queue that are looked through for forgotten reservations: 1,000 rows.
const LIST_PAGES_MAX: usize = 20;

/// The method that reads the queue; old boxes have none.
pub const GET: &str = "event.offline.get";

/// What the portal's plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// `rest_offline_extended`: rows can be reserved, cleared later, and marked as failed.
    pub reserves: bool,
    /// `rest_auth_connector`: changes of our own can be kept out of the queue.
    pub connector: bool,
}

/// How rows are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch<'a> {
    /// New rows; the portal forgets them.
    Deleting,
    /// New rows; they are hidden until they are cleared.
    Reserving,
    /// The rows of an earlier reservation once more.
    Again(&'a str),
}

/// One row of the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueRow {
    /// The event.
    pub event: IncomingEvent,
    /// When it happened last, by the portal's clock.
    pub at: Option<Timestamp>,
}

/// Some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    /// The reservation, if there is one.
    pub process_id: Option<String>,
    /// The rows that can be read.
    pub rows: Vec<QueueRow>,
    /// How many came in all: a full package means that more may wait.
    pub count: usize,
}

impl Package {
    /// Whether more rows may wait.
    pub fn is_full(&self) -> bool {
        self.count >= PACKAGE_ROWS
    }
}

/// `feature.get` for both features. A portal that does not know one, or an old box without the method, has neither.
///
/// # Errors
/// As any read.
pub async fn features(caller: &dyn Caller) -> Result<Features, Failure> {
    Ok(Features {
        reserves: has(caller, "rest_offline_extended").await?,
        connector: has(caller, "rest_auth_connector").await?,
    })
}

async fn has(caller: &dyn Caller, code: &str) -> Result<bool, Failure> {
    let answer = match read(caller, "feature.get", json!({ "CODE": code })).await {
        Err(failure) if failure.code == "error_method_not_found" => return Ok(false),
        other => other?,
    };
    Ok(wire::member(&answer, "value").and_then(wire::truth).unwrap_or(false))
}

/// `event.offline.get`. With a connector that differs from that of the binding the queue looks empty.
///
/// # Errors
/// `wrong_auth_type` or `access_denied` by webhook. An unknown outcome is ambiguous: rows may be reserved under an id
/// that nobody knows ([`reserved`] finds it), or deleted.
pub async fn fetch(caller: &dyn Caller, how: Fetch<'_>, connector: Option<&str>) -> Result<Package, Failure> {
    let mut params = Map::new();
    params.insert("limit".into(), json!(PACKAGE_ROWS));
    params.insert("order".into(), json!({ "ID": "ASC" }));
    match how {
        Fetch::Deleting => drop(params.insert("clear".into(), json!(1))),
        Fetch::Reserving => drop(params.insert("clear".into(), json!(0))),
        Fetch::Again(process_id) => {
            params.insert("clear".into(), json!(0));
            params.insert("process_id".into(), json!(process_id));
        }
    }
    if let Some(connector) = connector {
        params.insert("auth_connector".into(), json!(connector));
    }
    let answer = caller.call(Call::new(GET, Value::Object(params))).await?;
    package_of(&answer).ok_or_else(|| misshapen(GET))
}

fn package_of(answer: &Value) -> Option<Package> {
    let rows = wire::member(answer, "events").and_then(wire::rows)?;
    let count = rows.len();
    let process_id = wire::member(answer, "process_id")
        .and_then(wire::filled)
        .filter(|id| id.len() <= PROCESS_ID_BYTES_MAX);
    Some(Package { process_id, rows: rows.into_iter().filter_map(row_of).collect(), count })
}

/// `EVENT_DATA` may be `false` instead of an object.
fn row_of(row: &Value) -> Option<QueueRow> {
    let name = wire::any_member(row, &["EVENT_NAME", "eventName"]).and_then(wire::filled)?;
    let data = wire::any_member(row, &["EVENT_DATA", "eventData"]).cloned().unwrap_or_default();
    let at = wire::any_member(row, &["TIMESTAMP_X", "timestampX"]).and_then(wire::text);
    Some(QueueRow { event: IncomingEvent::of_queue(&name, data), at: at.and_then(|text| moment(&text)) })
}

/// `event.offline.clear`: the rows of a reservation are done. Clearing the same twice changes nothing.
///
/// # Errors
/// As any call; an unknown outcome may be repeated.
pub async fn clear(caller: &dyn Caller, process_id: &str, connector: Option<&str>) -> Result<(), Failure> {
    let mut params = json!({ "process_id": process_id });
    if let Some(connector) = connector {
        params["auth_connector"] = json!(connector);
    }
    let cleared = caller.call(Call::new("event.offline.clear", params)).await;
    cleared.map(drop).map_err(|failure| Nature::Read.judge(failure))
}

/// `event.offline.list`: reservations that are not cleared, ours of an earlier life among them. A reserved row is
/// hidden from [`fetch`] for 30 days and then lost, so a reservation whose answer was lost must be looked for.
///
/// # Errors
/// As [`fetch`], never ambiguous.
pub async fn reserved(caller: &dyn Caller, connector: Option<&str>) -> Result<BTreeSet<String>, Failure> {
    const METHOD: &str = "event.offline.list";
    let mut found = BTreeSet::new();
    for page in 0..LIST_PAGES_MAX {
        let mut params = json!({ "order": { "ID": "ASC" }, "start": page * PACKAGE_ROWS });
        if let Some(connector) = connector {
            params["auth_connector"] = json!(connector);
        }
        let answer = read(caller, METHOD, params).await?;
        let rows = wire::rows(&answer).ok_or_else(|| Nature::Read.judge(misshapen(METHOD)))?;
        let id = |row: &&Value| wire::any_member(row, &["PROCESS_ID", "processId"]).and_then(wire::filled);
        found.extend(rows.iter().filter_map(id).filter(|id| id.len() <= PROCESS_ID_BYTES_MAX));
        if rows.len() < PACKAGE_ROWS {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::super::events::BitrixTrigger;
    use super::*;
    use crate::domain::CrmItem;

    #[tokio::test]
    async fn rows_are_events_and_a_row_without_data_is_no_obstacle() {
        let portal = Scripted::ok([json!({"process_id": "p1", "events": [
            {"ID": "1", "TIMESTAMP_X": "2026-01-01T10:00:05+03:00", "EVENT_NAME": "onCrmDealUpdate",
             "EVENT_DATA": {"FIELDS": {"ID": 7}}, "EVENT_ADDITIONAL": false, "MESSAGE_ID": "m1"},
            {"ID": "2", "TIMESTAMP_X": "yesterday", "EVENT_NAME": "ONCRMDEALUPDATE", "EVENT_DATA": false}
        ]})]);
        let package = fetch(&portal, Fetch::Reserving, Some("edo")).await.unwrap();
        assert_eq!((package.process_id.as_deref(), package.count), (Some("p1"), 2));
        let deal = BitrixTrigger::CrmItemChanged { item: CrmItem { entity_type_id: 2, id: 7 } };
        assert_eq!(package.rows[0].event.trigger(), Some(deal));
        assert_eq!(package.rows[0].at, Some(Timestamp(1_767_250_805_000)));
        assert_eq!((package.rows[1].event.trigger(), package.rows[1].at), (None, None));
        let params = &portal.calls()[0].params;
        assert_eq!((&params["clear"], &params["auth_connector"]), (&json!(0), &json!("edo")));
    }

    #[tokio::test]
    async fn a_deleting_fetch_and_a_repeated_one_say_so() {
        let empty = json!({"process_id": null, "events": []});
        let portal = Scripted::ok([empty.clone(), empty]);
        let package = fetch(&portal, Fetch::Deleting, None).await.unwrap();
        assert_eq!((package.process_id, package.count), (None, 0));
        fetch(&portal, Fetch::Again("p7"), None).await.unwrap();
        let calls = portal.calls();
        assert_eq!((&calls[0].params["clear"], calls[0].params.get("auth_connector")), (&json!(1), None));
        assert_eq!((&calls[1].params["clear"], &calls[1].params["process_id"]), (&json!(0), &json!("p7")));
    }

    #[tokio::test]
    async fn forgotten_reservations_are_found_over_all_pages() {
        let page: Vec<Value> = (0..50).map(|n| json!({"ID": n, "PROCESS_ID": "lost"})).collect();
        let portal = Scripted::ok([
            json!(page),
            json!([{"ID": 51, "PROCESS_ID": ""}, {"ID": 52, "PROCESS_ID": "other"}]),
        ]);
        let found = reserved(&portal, None).await.unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["lost", "other"]);
    }

    #[tokio::test]
    async fn features_of_the_plan_are_read_one_by_one() {
        let portal = Scripted::ok([json!({"value": "Y"}), json!({"value": "N"})]);
        assert_eq!(features(&portal).await.unwrap(), Features { reserves: true, connector: false });
        assert_eq!(portal.calls()[1].params, json!({"CODE": "rest_auth_connector"}));
    }
}
