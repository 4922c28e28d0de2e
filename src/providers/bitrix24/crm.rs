//! The CRM in typed calls: an item with its file fields, and comments in its timeline (scope `crm`).
//!
//! Links of file fields (`urlMachine`) are secrets; an [`Item`] prints its fields' names only.

use super::client::{Call, Caller};
use super::drive::{PAGE_ROWS, read};
use super::error::misshapen;
use super::wire;
use crate::domain::{CrmItem, Failure, Secret};
use crate::providers::remote::Nature;
use serde_json::{Map, Value, json};
use std::fmt;

/// How many pages of comments are looked through for ours, newest first: 200 comments.
pub const COMMENT_PAGES_MAX: usize = 4;

/// One item of the CRM.
#[derive(Clone, PartialEq)]
pub struct Item {
    /// Which item.
    pub item: CrmItem,
    /// Its title.
    pub title: Option<String>,
    /// Its stage, as `C1:WON`.
    pub stage_id: Option<String>,
    /// Its funnel.
    pub category_id: Option<u64>,
    /// The responsible user.
    pub assigned_by: Option<u64>,
    /// When it was last changed, as the portal wrote it: for the next question of a sweep.
    pub updated_at: Option<String>,
    fields: Map<String, Value>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("item", &self.item)
            .field("stage_id", &self.stage_id)
            .field("assigned_by", &self.assigned_by)
            .field("fields", &self.fields.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A file in a field of a CRM item: it has no name here, its download tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrmFile {
    /// Its id; a new one for every new content.
    pub id: u64,
    /// Where to fetch it, now.
    pub url_machine: Secret,
}

impl Item {
    /// The name of a field as this portal spells it; none if the item has no such field.
    pub fn spelling(&self, field: &str) -> Option<String> {
        let camel = camel(field);
        [field, camel.as_str()].into_iter().find(|name| self.fields.contains_key(*name)).map(str::to_owned)
    }

    /// The text or number in a field, given as in [`Item::files`]; none if it is empty or not there.
    pub fn text(&self, field: &str) -> Option<String> {
        // People write a field as the portal's page shows it or as a program does; both are meant.
        let wanted = camel(field);
        let is_it = |name: &str| name == field || name == wanted || camel(name) == field;
        let value = self.fields.iter().find(|(name, _)| is_it(name)).map(|(_, value)| value)?;
        match value {
            Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The files in a field, given by its original name (`UF_CRM_CONTRACT`) or in camel case; in their order.
    /// None if the item has no such field.
    pub fn files(&self, field: &str) -> Option<Vec<CrmFile>> {
        let value = self.fields.get(field).or_else(|| self.fields.get(&camel(field)))?;
        if let Some(one) = file_of(value) {
            return Some(vec![one]);
        }
        let rows = wire::rows(value).unwrap_or_default();
        Some(rows.into_iter().filter_map(file_of).collect())
    }
}

/// The old methods give a `downloadUrl` below the portal instead of a `urlMachine`.
fn file_of(value: &Value) -> Option<CrmFile> {
    let id = wire::any_member(value, &["id", "ID"]).and_then(wire::id)?;
    let url =
        wire::any_member(value, &["urlMachine", "URL_MACHINE", "downloadUrl"]).and_then(wire::filled)?;
    Some(CrmFile { id, url_machine: Secret::new(url) })
}

/// `UF_CRM_MY_FILE` as `ufCrmMyFile`: the portal's own rule where `useOriginalUfNames` is not known yet.
pub(super) fn camel(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    for part in field.split('_').filter(|part| !part.is_empty()) {
        let lower = part.to_ascii_lowercase();
        let mut chars = lower.chars();
        match chars.next() {
            Some(first) if !out.is_empty() => {
                out.push(first.to_ascii_uppercase());
                out.push_str(chars.as_str());
            }
            _ => out.push_str(&lower),
        }
    }
    out
}

/// `crm.item.get`. Original names of user fields are asked for (crm 25.0.0); older portals answer in camel case.
///
/// # Errors
/// `not_found` if there is no such item or type, `access_denied` without rights.
pub async fn item_get(caller: &dyn Caller, item: CrmItem) -> Result<Item, Failure> {
    const METHOD: &str = "crm.item.get";
    let params = json!({
        "entityTypeId": item.entity_type_id, "id": item.id, "useOriginalUfNames": "Y"
    });
    let answer = read(caller, METHOD, params).await?;
    wire::member(&answer, "item")
        .and_then(|value| item_of(item.entity_type_id, value))
        .ok_or_else(|| Nature::Read.judge(misshapen(METHOD)))
}

pub(super) fn item_of(entity_type_id: u32, value: &Value) -> Option<Item> {
    let field = |name| wire::member(value, name);
    Some(Item {
        item: CrmItem { entity_type_id, id: wire::id(field("id")?)? },
        title: field("title").and_then(wire::filled),
        stage_id: wire::any_member(value, &["stageId", "statusId"]).and_then(wire::filled),
        category_id: field("categoryId").and_then(wire::number),
        assigned_by: field("assignedById").and_then(wire::id),
        updated_at: field("updatedTime").and_then(wire::filled),
        fields: value.as_object()?.clone(),
    })
}

/// Which items of a type are wanted; by growing id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemFilter {
    /// In one of these stages; empty means any.
    pub stages: Vec<String>,
    /// Changed at or after this moment, in the portal's own writing ([`Item::updated_at`]) or RFC 3339.
    pub updated_since: Option<String>,
    /// With a greater id: the way to the next page.
    pub newer_than_id: Option<u64>,
}

/// `crm.item.list`, one page with all fields: for sweeps after lost events. The second value leads to the next page.
///
/// # Errors
/// `not_found` if there is no such type, `access_denied` without rights.
pub async fn items(
    caller: &dyn Caller,
    entity_type_id: u32,
    filter: &ItemFilter,
) -> Result<(Vec<Item>, Option<u64>), Failure> {
    const METHOD: &str = "crm.item.list";
    let mut wanted = Map::new();
    if !filter.stages.is_empty() {
        wanted.insert("@stageId".into(), json!(filter.stages));
    }
    if let Some(since) = &filter.updated_since {
        wanted.insert(">=updatedTime".into(), json!(since));
    }
    if let Some(id) = filter.newer_than_id {
        wanted.insert(">id".into(), json!(id));
    }
    let params = json!({
        "entityTypeId": entity_type_id, "select": ["*", "uf_*"], "filter": wanted, "order": { "id": "ASC" },
        "useOriginalUfNames": "Y"
    });
    let answer = read(caller, METHOD, params).await?;
    let misshapen = || Nature::Read.judge(misshapen(METHOD));
    let rows = wire::member(&answer, "items").and_then(wire::rows).ok_or_else(misshapen)?;
    let full = rows.len() >= PAGE_ROWS;
    let items = rows.into_iter().map(|row| item_of(entity_type_id, row)).collect::<Option<Vec<_>>>();
    let items = items.ok_or_else(misshapen)?;
    let last = items.iter().map(|item| item.item.id).max();
    Ok((items, last.filter(|id| full && Some(*id) > filter.newer_than_id)))
}

/// `crm.timeline.comment.add`; the text must carry a mark by which [`comment_find`] knows it.
///
/// # Errors
/// `owner_not_found` if the item is gone; an unknown outcome is ambiguous: look by the mark before repeating.
pub async fn comment_add(caller: &dyn Caller, item: CrmItem, text: &str) -> Result<u64, Failure> {
    const METHOD: &str = "crm.timeline.comment.add";
    let fields = json!({ "ENTITY_ID": item.id, "ENTITY_TYPE": item.timeline_type(), "COMMENT": text });
    let answer = caller.call(Call::new(METHOD, json!({ "fields": fields }))).await?;
    wire::id(&answer).ok_or_else(|| misshapen(METHOD))
}

/// `crm.timeline.comment.list`: the newest comment of the item that contains the mark, among the newest 200.
///
/// # Errors
/// As any read; `empty_code` without rights on the item.
pub async fn comment_find(caller: &dyn Caller, item: CrmItem, mark: &str) -> Result<Option<u64>, Failure> {
    const METHOD: &str = "crm.timeline.comment.list";
    for page in 0..COMMENT_PAGES_MAX {
        let params = json!({
            "filter": { "ENTITY_ID": item.id, "ENTITY_TYPE": item.timeline_type() },
            "select": ["ID", "COMMENT"],
            "order": { "ID": "DESC" },
            "start": page * PAGE_ROWS
        });
        let answer = read(caller, METHOD, params).await?;
        let rows = wire::rows(&answer).ok_or_else(|| Nature::Read.judge(misshapen(METHOD)))?;
        let found = rows.iter().find(|row| {
            wire::member(row, "COMMENT").and_then(wire::text).is_some_and(|text| text.contains(mark))
        });
        if let Some(row) = found {
            return Ok(wire::member(row, "ID").and_then(wire::id));
        }
        if rows.len() < PAGE_ROWS {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::*;

    const DEAL: CrmItem = CrmItem { entity_type_id: 2, id: 501 };

    #[tokio::test]
    async fn an_item_gives_its_stage_and_files() {
        let portal = Scripted::ok([json!({"item": {
            "id": "501", "title": "Сделка", "stageId": "C1:PREPARATION", "categoryId": 1, "assignedById": "17",
            "UF_CRM_ONE": {"id": 5, "url": "/x", "urlMachine": "https://p/rest/f?token=a"},
            "ufCrmManyFiles": [{"id": "6", "urlMachine": "https://p/6"}, {"id": 7, "urlMachine": "https://p/7"}],
            "UF_CRM_EMPTY": [], "UF_CRM_NULL": null, "UF_CRM_FALSE": false, "UF_CRM_GAPS": {"3": {"id": 8, "urlMachine": "u"}}
        }})]);
        let item = item_get(&portal, DEAL).await.unwrap();
        assert_eq!(item.item, DEAL);
        assert_eq!((item.stage_id.as_deref(), item.assigned_by), (Some("C1:PREPARATION"), Some(17)));
        let ids = |field| item.files(field).map(|files| files.iter().map(|f| f.id).collect::<Vec<_>>());
        assert_eq!(ids("UF_CRM_ONE"), Some(vec![5]));
        assert_eq!(ids("UF_CRM_MANY_FILES"), Some(vec![6, 7]));
        assert_eq!(ids("UF_CRM_GAPS"), Some(vec![8]));
        for empty in ["UF_CRM_EMPTY", "UF_CRM_NULL", "UF_CRM_FALSE"] {
            assert_eq!(ids(empty), Some(vec![]), "{empty}");
        }
        assert_eq!(ids("UF_CRM_MISSING"), None);
        assert!(!format!("{item:?}").contains("token=a"));
    }

    #[test]
    fn user_fields_are_known_by_both_names() {
        assert_eq!(camel("UF_CRM_MY_FILE"), "ufCrmMyFile");
        assert_eq!(camel("UF_CRM_1689"), "ufCrm1689");
    }

    #[tokio::test]
    async fn a_comment_is_added_and_found_by_its_mark() {
        let portal = Scripted::ok([
            json!("77"),
            json!([{"ID": "80", "COMMENT": "other"}, {"ID": "77", "COMMENT": "signed [edo:1a2b]"}]),
            json!([]),
        ]);
        assert_eq!(comment_add(&portal, DEAL, "signed [edo:1a2b]").await.unwrap(), 77);
        assert_eq!(comment_find(&portal, DEAL, "edo:1a2b").await.unwrap(), Some(77));
        assert_eq!(comment_find(&portal, DEAL, "edo:1a2b").await.unwrap(), None);
        let fields = json!({"ENTITY_ID": 501, "ENTITY_TYPE": "deal", "COMMENT": "signed [edo:1a2b]"});
        assert_eq!(portal.calls()[0].params, json!({ "fields": fields }));
    }

    #[tokio::test]
    async fn the_search_for_a_comment_is_bounded() {
        let page: Vec<Value> = (0..50).map(|n| json!({"ID": n + 1, "COMMENT": "x"})).collect();
        let portal = Scripted::ok(vec![json!(page); COMMENT_PAGES_MAX + 3]);
        assert_eq!(comment_find(&portal, DEAL, "mark").await.unwrap(), None);
        let starts: Vec<_> = portal.calls().iter().map(|c| c.params["start"].clone()).collect();
        assert_eq!(starts, [0, 50, 100, 150]);
    }

    #[tokio::test]
    async fn a_comment_without_an_id_has_an_unknown_outcome() {
        let failure = comment_add(&Scripted::ok([json!(null)]), DEAL, "x").await.unwrap_err();
        assert_eq!(failure.class, crate::domain::FailureClass::Ambiguous);
    }

    #[tokio::test]
    async fn items_are_swept_page_by_page() {
        let row = |n: u64| json!({"id": n, "stageId": "NEW"});
        let full: Vec<Value> = (1..=50).map(row).collect();
        let portal = Scripted::ok([json!({"items": full}), json!({"items": []})]);
        let filter = ItemFilter { stages: vec!["NEW".into()], ..ItemFilter::default() };
        let (items_seen, next) = items(&portal, 2, &filter).await.unwrap();
        assert_eq!((items_seen.len(), next), (50, Some(50)));
        let filter = ItemFilter { newer_than_id: next, ..filter };
        assert_eq!(items(&portal, 2, &filter).await.unwrap(), (vec![], None));
        assert_eq!(portal.calls()[1].params["filter"], json!({"@stageId": ["NEW"], ">id": 50}));
    }
}
