//! Items of the CRM, as the portal's people use them: made, changed and moved by hand, one or ten thousand.
//!
//! Invariants: a change by hand fires the same events as one through REST; `put_*` and `*_quietly` fire none.

use super::bitrix24::crm::{add_event, change_event};
use super::bitrix24::events::EventSpec;
use super::bitrix24::portal::{Field, FieldKind, Item, OWNER_ID};
use super::views::FileView;
use super::world::{World, WorldError, now_ms};
use crate::domain::CrmItem;
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;

fn missing(item: CrmItem) -> WorldError {
    WorldError::Missing { what: "CRM item", id: item.to_string() }
}

impl World {
    /// Makes or replaces a CRM item. Field names are those of `crm.item.*` (`title`, `stageId`, `ufCrmContract`).
    pub fn put_item(&self, item: CrmItem, fields: &[(&str, Value)]) {
        let now = now_ms();
        let fields =
            fields.iter().map(|(name, value)| ((*name).to_owned(), Field::Plain(value.clone()))).collect();
        let made = Item { fields, created_ms: now, updated_ms: now, ..Item::default() };
        self.with_portal(|portal| portal.items.insert(item, made));
    }
    /// The same, with the event of a new item (`ONCRMDEALADD` and the like).
    pub fn add_item(self: &Arc<Self>, item: CrmItem, fields: &[(&str, Value)]) {
        self.put_item(item, fields);
        let (event, data) = add_event(item);
        self.fire(EventSpec::new(event, data));
    }
    /// Gives all items of a type a user field; what they have in it is not touched.
    pub fn declare_field(&self, entity_type_id: u32, name: &str, kind: FieldKind) {
        self.with_portal(|portal| portal.user_fields.insert((entity_type_id, name.to_owned()), kind));
    }
    /// Sets the stages of a directory (`DEAL_STAGE_1`, `STATUS`, `DYNAMIC_135_STAGE_20`) instead of the standard ones.
    pub fn set_stages(&self, directory: &str, stages: &[&str]) {
        let stages = stages.iter().map(|stage| (*stage).to_owned()).collect();
        self.with_portal(|portal| portal.stages.insert(directory.to_owned(), stages));
    }
    /// Gives an item a user field for one file, and puts a file there. Returns the file's id in the CRM.
    ///
    /// # Errors
    ///
    /// There is no such item.
    pub fn put_item_file(
        &self,
        item: CrmItem,
        field: &str,
        name: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<u64, WorldError> {
        self.with_file(item, field, name, bytes.into(), |_, id| Field::File(Some(id)))
    }
    /// The same for a user field with several files; adds to those that are there.
    ///
    /// # Errors
    ///
    /// There is no such item.
    pub fn add_item_file(
        &self,
        item: CrmItem,
        field: &str,
        name: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<u64, WorldError> {
        self.with_file(item, field, name, bytes.into(), |before, id| {
            let mut ids = before.map(file_ids).unwrap_or_default();
            ids.push(id);
            Field::Files(ids)
        })
    }

    fn with_file(
        &self,
        item: CrmItem,
        field: &str,
        name: &str,
        bytes: Bytes,
        put: impl FnOnce(Option<&Field>, u64) -> Field,
    ) -> Result<u64, WorldError> {
        self.with_portal(|portal| {
            let id = portal.add_crm_file(name, bytes);
            let found = portal.items.get_mut(&item)?;
            let new = put(found.fields.get(field), id);
            found.fields.insert(field.to_owned(), new);
            found.updated_ms = now_ms();
            Some(id)
        })
        .ok_or_else(|| missing(item))
    }

    /// Changes a field of an item by hand, with the event of it (`ONCRMDEALUPDATE` and the like).
    ///
    /// # Errors
    ///
    /// There is no such item.
    pub fn change_item(self: &Arc<Self>, item: CrmItem, field: &str, value: Value) -> Result<(), WorldError> {
        self.change_items(&[item], &[(field, value)])
    }
    /// Changes the same fields of many items, as a bulk edit does: one event for each, all at once.
    ///
    /// # Errors
    ///
    /// One of them does not exist; the others are changed.
    pub fn change_items(
        self: &Arc<Self>,
        items: &[CrmItem],
        fields: &[(&str, Value)],
    ) -> Result<(), WorldError> {
        let mut outcome = Ok(());
        for item in items {
            match self.change_by_hand(*item, fields) {
                Ok(event) => self.fire(event),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }
    /// Changes a field of an item and tells nobody: an event that was lost.
    ///
    /// # Errors
    ///
    /// There is no such item.
    pub fn change_item_quietly(&self, item: CrmItem, field: &str, value: Value) -> Result<(), WorldError> {
        self.change_by_hand(item, &[(field, value)]).map(drop)
    }
    /// Moves an item to another stage, with the event of it.
    ///
    /// # Errors
    ///
    /// There is no such item.
    pub fn move_item(self: &Arc<Self>, item: CrmItem, stage: &str) -> Result<(), WorldError> {
        self.change_item(item, "stageId", stage.into())
    }
    /// Moves an item to another funnel: a deal fires ONCRMDEALMOVETOCATEGORY and no update.
    ///
    /// # Errors
    ///
    /// There is no such item.
    pub fn move_to_category(
        self: &Arc<Self>,
        item: CrmItem,
        category: u64,
        stage: &str,
    ) -> Result<(), WorldError> {
        self.change_items(&[item], &[("categoryId", category.into()), ("stageId", stage.into())])
    }

    fn change_by_hand(&self, item: CrmItem, fields: &[(&str, Value)]) -> Result<EventSpec, WorldError> {
        self.with_portal(|portal| {
            let found = portal.items.get_mut(&item)?;
            let before = found.clone();
            for (name, value) in fields {
                found.fields.insert((*name).to_owned(), Field::Plain(value.clone()));
            }
            found.touch(&before, OWNER_ID, now_ms());
            let (event, data) = change_event(item, &before, found);
            Some(EventSpec::new(event, data))
        })
        .ok_or_else(|| missing(item))
    }
}

fn file_ids(field: &Field) -> Vec<u64> {
    match field {
        Field::Files(ids) => ids.clone(),
        Field::File(one) => one.iter().copied().collect(),
        Field::Plain(_) => Vec::new(),
    }
}

/// What a witness sees of the CRM.
impl World {
    /// A field of an item that is no file.
    pub fn item_field(&self, item: CrmItem, field: &str) -> Option<Value> {
        self.with_portal(|portal| portal.items.get(&item)?.plain(field).cloned())
    }
    /// The stage of an item.
    pub fn item_stage(&self, item: CrmItem) -> Option<String> {
        self.item_field(item, "stageId").and_then(|stage| stage.as_str().map(str::to_owned))
    }
    /// Name and bytes of the files in a field of an item, in their order.
    pub fn item_files(&self, item: CrmItem, field: &str) -> Vec<(String, Bytes)> {
        self.with_portal(|portal| {
            let ids = portal.items.get(&item).and_then(|found| found.fields.get(field)).map(file_ids);
            let files = ids.unwrap_or_default().into_iter().filter_map(|id| portal.crm_files.get(&id));
            files.map(|file| (file.name.clone(), file.bytes.clone())).collect()
        })
    }
    /// The files of a comment, oldest first; [`World::file_bytes`] has their bytes.
    pub fn comment_files(&self, comment_id: u64) -> Vec<FileView> {
        self.with_portal(|portal| {
            let ids = portal.comments.iter().find(|c| c.id == comment_id).map(|c| c.files.clone());
            let nodes = ids.unwrap_or_default().into_iter().filter_map(|id| portal.tree.file(id));
            let view = nodes.map(|(node, content)| FileView {
                id: node.id,
                folder_id: node.parent,
                name: node.name.clone(),
                size: content.bytes.len(),
                sha256: content.digest,
                created_by: node.created_by,
            });
            view.collect()
        })
    }
}
