//! Many CRM items in few calls: by their ids after a storm of events, or those that changed since a moment.
//!
//! `crm.item.list` gives 50 rows a call (`api-reference/crm/universal/crm-item-list.md`), fifty such calls share one
//! batch: 2,500 items cost one request. It gives no reasons: an item that is not in the answer may be deleted, or
//! may be hidden from the webhook's owner; who needs to know asks for that one with `crm.item.get`.

use super::client::Caller;
use super::crm::{Item, item_of};
use super::drive::{PAGE_ROWS, read};
use super::error::misshapen;
use super::wire;
use crate::domain::{Failure, Timestamp};
use crate::providers::remote::Nature;
use serde_json::{Map, Value, json};

/// Ids in one call: one page, so that no answer has a second one.
pub const IDS_MAX: usize = PAGE_ROWS;

/// The method of lists; old boxes have none.
pub const METHOD: &str = "crm.item.list";

/// Fields that every question asks for: what a rule looks at, and by what an echo of ours is known.
const FIELDS: [&str; 7] =
    ["id", "title", "stageId", "categoryId", "assignedById", "updatedTime", "updatedBy"];

/// An item as a list tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The item, with the fields that were asked for.
    pub item: Item,
    /// Who changed it last.
    pub updated_by: Option<u64>,
}

impl Listed {
    /// When the item was last changed, by the portal's clock; whole seconds.
    pub fn updated_at(&self) -> Option<Timestamp> {
        self.item.updated_at.as_deref().and_then(moment)
    }
}

/// One page of changed items.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedPage {
    /// The items, by growing id.
    pub items: Vec<Listed>,
    /// The id after which the next page begins; none: this was the last one.
    pub continue_after: Option<u64>,
}

/// Which changed items are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Changed<'a> {
    /// Type of the items.
    pub entity_type_id: u32,
    /// Only items in one of these stages; empty: in any.
    pub stages: &'a [String],
    /// Changed at this moment or later.
    pub since: Timestamp,
    /// With a greater id.
    pub after_id: u64,
}

/// The items with these ids (at most [`IDS_MAX`] of them count) that the portal shows us, with the file fields named.
///
/// # Errors
/// As any read; `not_found` if there is no such type, `error_method_not_found` on a box without `crm.item.*`.
pub async fn by_ids(
    caller: &dyn Caller,
    entity_type_id: u32,
    ids: &[u64],
    file_fields: &[String],
) -> Result<Vec<Listed>, Failure> {
    let wanted = ids.get(..IDS_MAX).unwrap_or(ids);
    let filter = json!({ "@id": wanted });
    let mut rows = list(caller, entity_type_id, filter, file_fields).await?;
    // The filter is not trusted: a portal that passes it over in silence would give us any items at all.
    rows.retain(|row| wanted.contains(&row.item.item.id));
    Ok(rows)
}

/// One page of items that changed, by growing id.
///
/// # Errors
/// As [`by_ids`].
pub async fn changed(
    caller: &dyn Caller,
    wanted: Changed<'_>,
    file_fields: &[String],
) -> Result<ChangedPage, Failure> {
    let mut filter = Map::new();
    if !wanted.stages.is_empty() {
        filter.insert("@stageId".into(), json!(wanted.stages));
    }
    filter.insert(">=updatedTime".into(), written(wanted.since).into());
    filter.insert(">id".into(), json!(wanted.after_id));
    let items = list(caller, wanted.entity_type_id, Value::Object(filter), file_fields).await?;
    let full = items.len() >= PAGE_ROWS;
    let last = items.iter().map(|row| row.item.item.id).max();
    let continue_after = last.filter(|id| full && *id > wanted.after_id);
    Ok(ChangedPage { items, continue_after })
}

async fn list(
    caller: &dyn Caller,
    entity_type_id: u32,
    filter: Value,
    file_fields: &[String],
) -> Result<Vec<Listed>, Failure> {
    let select: Vec<&str> = FIELDS.into_iter().chain(file_fields.iter().map(String::as_str)).collect();
    // Without a count (`start = -1`) a list over millions of items is answered at once.
    let params = json!({
        "entityTypeId": entity_type_id, "select": select, "filter": filter, "order": { "id": "ASC" },
        "useOriginalUfNames": "Y", "start": -1
    });
    let answer = read(caller, METHOD, params).await?;
    let misshapen = || Nature::Read.judge(misshapen(METHOD));
    let rows = wire::member(&answer, "items").and_then(wire::rows).ok_or_else(misshapen)?;
    let listed = |row: &Value| {
        let updated_by = wire::member(row, "updatedBy").and_then(wire::id);
        Some(Listed { item: item_of(entity_type_id, row)?, updated_by })
    };
    rows.into_iter().map(listed).collect::<Option<Vec<_>>>().ok_or_else(misshapen)
}

/// A moment as the portal writes it (RFC 3339 with its own offset); none if it is no such text.
pub fn moment(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|t| Timestamp(t.as_millisecond()))
}

/// A moment as a filter takes it, in whole seconds: with an offset, so that the portal's zone does not matter.
fn written(moment: Timestamp) -> String {
    let seconds = jiff::Timestamp::from_second(moment.0.div_euclid(1_000)).unwrap_or_default();
    seconds.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::*;

    fn row(id: u64) -> Value {
        json!({"id": id, "stageId": "C1:SIGN", "updatedTime": "2026-01-01T10:00:05+03:00", "updatedBy": "7"})
    }

    #[tokio::test]
    async fn fifty_items_are_asked_for_at_once_and_only_those_are_taken() {
        let portal = Scripted::ok([json!({"items": [row(5), row(6), row(99)]})]);
        let found = by_ids(&portal, 2, &[5, 6, 7], &["UF_CRM_F".to_owned()]).await.unwrap();
        let ids: Vec<u64> = found.iter().map(|row| row.item.item.id).collect();
        assert_eq!(ids, [5, 6]);
        assert_eq!(
            (found[0].updated_by, found[0].updated_at()),
            (Some(7), Some(Timestamp(1_767_250_805_000)))
        );
        let call = &portal.calls()[0];
        assert_eq!(call.params["filter"], json!({"@id": [5, 6, 7]}));
        assert_eq!(call.params["start"], json!(-1));
        assert!(call.params["select"].as_array().unwrap().contains(&json!("UF_CRM_F")));
    }

    #[tokio::test]
    async fn changed_items_come_page_by_page() {
        let full: Vec<Value> = (1..=50).map(row).collect();
        let portal = Scripted::ok([json!({"items": full}), json!({"items": []})]);
        let stages = ["C1:SIGN".to_owned()];
        let wanted =
            Changed { entity_type_id: 2, stages: &stages, since: Timestamp(1_767_250_805_900), after_id: 0 };
        let page = changed(&portal, wanted, &[]).await.unwrap();
        assert_eq!((page.items.len(), page.continue_after), (50, Some(50)));
        let page = changed(&portal, Changed { after_id: 50, ..wanted }, &[]).await.unwrap();
        assert_eq!((page.items.len(), page.continue_after), (0, None));
        let expected =
            json!({"@stageId": ["C1:SIGN"], ">=updatedTime": "2026-01-01T07:00:05+00:00", ">id": 50});
        assert_eq!(portal.calls()[1].params["filter"], expected);
    }
}
