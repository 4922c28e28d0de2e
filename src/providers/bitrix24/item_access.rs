//! Reading and changing CRM items on any portal: `crm.item.*` where it exists, the older methods on old boxes.
//!
//! Which of the two a portal has is data that is passed in, or learned from the first refusal and remembered
//! (`api-reference/crm/outdated`: the old methods still work everywhere, but files are safe only with the new ones).
//! It does not know why an item is changed, and never changes more than it is told.

use super::client::{Call, Caller};
use super::crm::{self, Item, item_of};
use super::drive::read;
use super::error::misshapen;
use super::item_pages::moment;
use super::wire;
use crate::domain::{CrmItem, Failure, Timestamp};
use crate::providers::remote::Nature;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// The code of a method that the portal does not have.
const NO_METHOD: &str = "error_method_not_found";

/// Which methods a portal has for its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemMethods {
    /// `crm.item.*`.
    Universal,
    /// `crm.deal.*`, `crm.lead.*` and their kin.
    Old,
}

/// Whether a field of an item takes one file or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// One; a new one takes the place of the old one.
    One,
    /// Several.
    Several,
}

/// The way to the items of one portal.
#[derive(Debug)]
pub struct ItemAccess {
    old: AtomicBool,
}

impl Default for ItemAccess {
    fn default() -> Self {
        Self::new(ItemMethods::Universal)
    }
}

impl ItemAccess {
    /// With what is known of the portal; [`ItemMethods::Universal`] where nothing is, the first refusal corrects it.
    pub fn new(methods: ItemMethods) -> Self {
        Self { old: AtomicBool::new(methods == ItemMethods::Old) }
    }

    /// The portal has said by itself which it has.
    pub fn tell(&self, methods: ItemMethods) {
        self.old.store(methods == ItemMethods::Old, Ordering::Relaxed);
    }

    /// What is known now.
    pub fn methods(&self) -> ItemMethods {
        if self.old.load(Ordering::Relaxed) { ItemMethods::Old } else { ItemMethods::Universal }
    }

    /// The methods for items of this type, and their name where they are the old ones.
    pub(super) fn methods_for(&self, entity_type_id: u32) -> Spoken {
        match (self.methods(), old_name(entity_type_id)) {
            (ItemMethods::Old, Some(name)) => Spoken::Old(name),
            (ItemMethods::Old, None) | (ItemMethods::Universal, _) => Spoken::Universal,
        }
    }

    /// Whether the failure says that only the old methods are there; if so, that is remembered.
    pub(super) fn learns_from(&self, entity_type_id: u32, failure: &Failure) -> bool {
        let old = failure.code == NO_METHOD
            && old_name(entity_type_id).is_some()
            && self.methods() == ItemMethods::Universal;
        if old {
            self.old.store(true, Ordering::Relaxed);
        }
        old
    }

    /// `crm.item.get`, or `crm.deal.get` and its kin.
    ///
    /// # Errors
    /// As [`crm::item_get`].
    pub async fn get(&self, caller: &dyn Caller, item: CrmItem) -> Result<Item, Failure> {
        if let Spoken::Old(name) = self.methods_for(item.entity_type_id) {
            return old_get(caller, name, item).await;
        }
        match crm::item_get(caller, item).await {
            Err(failure) if self.learns_from(item.entity_type_id, &failure) => {
                let name = old_name(item.entity_type_id).unwrap_or_default();
                old_get(caller, name, item).await
            }
            outcome => outcome,
        }
    }

    /// Moves an item to a stage: `crm.item.update`, or `crm.deal.update` and its kin. Setting the present stage again
    /// changes nothing and fires nothing, so a repeat is harmless.
    ///
    /// # Errors
    /// `access_denied`, or `refused` where the stage's rights forbid it; an unknown outcome is ambiguous.
    pub async fn set_stage(
        &self,
        caller: &dyn Caller,
        item: CrmItem,
        stage: &str,
    ) -> Result<Option<Change>, Failure> {
        if let Spoken::Old(name) = self.methods_for(item.entity_type_id) {
            return old_set_stage(caller, name, item, stage).await;
        }
        let params = json!({
            "entityTypeId": item.entity_type_id, "id": item.id, "fields": { "stageId": stage }
        });
        match caller.call(Call::new("crm.item.update", params)).await {
            Ok(answer) => Ok(change_of(&answer)),
            Err(failure) if self.learns_from(item.entity_type_id, &failure) => {
                let name = old_name(item.entity_type_id).unwrap_or_default();
                old_set_stage(caller, name, item, stage).await
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether a field takes one file or several: `crm.item.fields`, or `crm.deal.fields` and its kin. None if the
    /// type has no such field.
    ///
    /// # Errors
    /// `not_found` if there is no such type.
    pub async fn field_kind(
        &self,
        caller: &dyn Caller,
        entity_type_id: u32,
        field: &str,
    ) -> Result<Option<FieldKind>, Failure> {
        let answer = match self.methods_for(entity_type_id) {
            Spoken::Old(name) => read(caller, format!("crm.{name}.fields"), json!({})).await?,
            Spoken::Universal => {
                let params = json!({ "entityTypeId": entity_type_id, "useOriginalUfNames": "Y" });
                read(caller, "crm.item.fields", params).await?
            }
        };
        let fields = wire::member(&answer, "fields").unwrap_or(&answer);
        Ok(described(fields, field).map(|found| {
            match wire::member(found, "isMultiple").and_then(wire::truth) {
                Some(true) => FieldKind::Several,
                Some(false) | None => FieldKind::One,
            }
        }))
    }
}

/// A change that we made, as the portal tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When it was made, by the portal's clock.
    pub at: Timestamp,
    /// As whom.
    pub by: u64,
}

/// What the answer to `crm.item.update` tells of the change; old methods and old portals tell nothing.
pub(super) fn change_of(answer: &Value) -> Option<Change> {
    let item = wire::member(answer, "item")?;
    let at = wire::member(item, "updatedTime").and_then(wire::text).and_then(|text| moment(&text))?;
    Some(Change { at, by: wire::member(item, "updatedBy").and_then(wire::id)? })
}

/// How a portal's items of one type are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// `crm.item.*`.
    Universal,
    /// `crm.<name>.*`.
    Old(&'static str),
}

/// The name of a type's own methods; smart processes and invoices never had any.
fn old_name(entity_type_id: u32) -> Option<&'static str> {
    Some(match entity_type_id {
        1 => "lead",
        2 => "deal",
        3 => "contact",
        4 => "company",
        7 => "quote",
        _ => return None,
    })
}

/// A field's description, by its original name or in camel case; older portals tell the original one inside.
fn described<'v>(fields: &'v Value, field: &str) -> Option<&'v Value> {
    let direct = wire::any_member(fields, &[field, &crm::camel(field)]);
    direct.or_else(|| {
        fields.as_object()?.values().find(|described| {
            wire::member(described, "upperName").and_then(wire::text).as_deref() == Some(field)
        })
    })
}

async fn old_get(caller: &dyn Caller, name: &str, item: CrmItem) -> Result<Item, Failure> {
    let method = format!("crm.{name}.get");
    let answer = read(caller, method.clone(), json!({ "id": item.id })).await?;
    let found = answer.as_object().map(|members| modern(members.clone()));
    found
        .and_then(|value| item_of(item.entity_type_id, &value))
        .filter(|found| found.item == item)
        .ok_or_else(|| Nature::Read.judge(misshapen(&method)))
}

/// An item of an old method under the names of the new one; user fields keep theirs.
fn modern(members: Map<String, Value>) -> Value {
    let renamed = members.into_iter().map(|(name, value)| {
        let name = match name.as_str() {
            "ID" => "id".to_owned(),
            "TITLE" => "title".to_owned(),
            "STAGE_ID" | "STATUS_ID" => "stageId".to_owned(),
            "CATEGORY_ID" => "categoryId".to_owned(),
            "ASSIGNED_BY_ID" => "assignedById".to_owned(),
            "DATE_MODIFY" => "updatedTime".to_owned(),
            _ => name,
        };
        (name, value)
    });
    Value::Object(renamed.collect())
}

async fn old_set_stage(
    caller: &dyn Caller,
    name: &str,
    item: CrmItem,
    stage: &str,
) -> Result<Option<Change>, Failure> {
    let field = if matches!(item.entity_type_id, 1 | 7) { "STATUS_ID" } else { "STAGE_ID" };
    let params = json!({ "id": item.id, "fields": { field: stage } });
    caller.call(Call::new(format!("crm.{name}.update"), params)).await.map(|_| None)
}

/// The stages of an item's funnel in their order, from `crm.status.list`: the way from the first to the last.
///
/// # Errors
/// As any read.
pub async fn stages(
    caller: &dyn Caller,
    item: CrmItem,
    category: Option<u64>,
) -> Result<Vec<String>, Failure> {
    const METHOD: &str = "crm.status.list";
    let params = json!({
        "filter": { "ENTITY_ID": directory(item.entity_type_id, category) }, "order": { "SORT": "ASC" }
    });
    let answer = read(caller, METHOD, params).await?;
    let rows = wire::rows(&answer).ok_or_else(|| Nature::Read.judge(misshapen(METHOD)))?;
    let mut sorted: Vec<(u64, String)> = rows
        .into_iter()
        .filter_map(|row| {
            let id = wire::member(row, "STATUS_ID").and_then(wire::filled)?;
            Some((wire::member(row, "SORT").and_then(wire::number).unwrap_or(u64::MAX), id))
        })
        .collect();
    // The order is asked for and yet not believed: a wrong one would move people's items back.
    sorted.sort();
    Ok(sorted.into_iter().map(|(_, id)| id).collect())
}

/// The name of the directory that holds the stages (`api-reference/crm/status`, `ENTITY_ID`).
fn directory(entity_type_id: u32, category: Option<u64>) -> String {
    let category = category.unwrap_or(0);
    match entity_type_id {
        1 => "STATUS".to_owned(),
        2 if category == 0 => "DEAL_STAGE".to_owned(),
        2 => format!("DEAL_STAGE_{category}"),
        7 => "QUOTE_STATUS".to_owned(),
        31 => format!("SMART_INVOICE_STAGE_{category}"),
        other => format!("DYNAMIC_{other}_STAGE_{category}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::super::error::from_code;
    use super::*;

    const DEAL: CrmItem = CrmItem { entity_type_id: 2, id: 501 };

    fn missing() -> Result<Value, Failure> {
        Err(from_code(404, NO_METHOD, None, ""))
    }

    fn old_deal() -> Value {
        json!({
            "ID": "501", "TITLE": "Сделка", "STAGE_ID": "C1:EXECUTING", "CATEGORY_ID": "1", "ASSIGNED_BY_ID": "17",
            "UF_CRM_FILES": [{"id": 5, "showUrl": "/show", "downloadUrl": "/file.php?auth=&id=5"}]
        })
    }

    #[tokio::test]
    async fn an_old_box_is_learned_from_its_first_refusal_and_remembered() {
        let portal = Scripted::new([missing(), Ok(old_deal()), Ok(old_deal())]);
        let access = ItemAccess::default();
        for _ in 0..2 {
            let item = access.get(&portal, DEAL).await.unwrap();
            assert_eq!((item.item, item.stage_id.as_deref()), (DEAL, Some("C1:EXECUTING")));
            assert_eq!((item.category_id, item.assigned_by), (Some(1), Some(17)));
            assert_eq!(item.files("UF_CRM_FILES").unwrap()[0].id, 5);
        }
        let methods: Vec<_> = portal.calls().iter().map(|call| call.method.to_string()).collect();
        assert_eq!(methods, ["crm.item.get", "crm.deal.get", "crm.deal.get"]);
        assert_eq!(access.methods(), ItemMethods::Old);
    }

    #[tokio::test]
    async fn an_old_box_that_is_known_as_one_is_never_asked_for_the_new_methods() {
        let portal = Scripted::ok([old_deal(), json!(true)]);
        let access = ItemAccess::default();
        access.tell(ItemMethods::Old);
        access.get(&portal, DEAL).await.unwrap();
        access.set_stage(&portal, DEAL, "C1:WON").await.unwrap();
        let methods: Vec<_> = portal.calls().iter().map(|call| call.method.to_string()).collect();
        assert_eq!(methods, ["crm.deal.get", "crm.deal.update"]);
    }

    #[tokio::test]
    async fn a_missing_method_of_a_type_without_old_ones_is_a_plain_failure() {
        let portal = Scripted::new([missing()]);
        let access = ItemAccess::default();
        let dynamic = CrmItem { entity_type_id: 1046, id: 3 };
        assert_eq!(access.get(&portal, dynamic).await.unwrap_err().code, NO_METHOD);
        assert_eq!(access.methods(), ItemMethods::Universal);
    }

    #[tokio::test]
    async fn a_stage_is_set_by_whatever_the_portal_has() {
        let portal = Scripted::new([missing(), Ok(json!(true)), Ok(json!(true))]);
        let access = ItemAccess::default();
        assert_eq!(access.set_stage(&portal, DEAL, "C1:WON").await, Ok(None));
        access.set_stage(&portal, CrmItem { entity_type_id: 1, id: 7 }, "CONVERTED").await.unwrap();
        let calls = portal.calls();
        assert_eq!(calls[0].params["fields"], json!({"stageId": "C1:WON"}));
        assert_eq!(calls[1].params, json!({"id": 501, "fields": {"STAGE_ID": "C1:WON"}}));
        assert_eq!(calls[2].method, "crm.lead.update");
        assert_eq!(calls[2].params["fields"], json!({"STATUS_ID": "CONVERTED"}));
    }

    #[tokio::test]
    async fn a_change_of_ours_is_told_by_its_moment_and_its_user() {
        let item =
            json!({"item": {"id": 501, "updatedTime": "2026-01-01T10:00:00+03:00", "updatedBy": "17"}});
        let portal = Scripted::ok([item]);
        let change = ItemAccess::default().set_stage(&portal, DEAL, "C1:WON").await.unwrap();
        assert_eq!(change, Some(Change { at: Timestamp(1_767_250_800_000), by: 17 }));
    }

    #[tokio::test]
    async fn a_field_is_known_by_each_of_its_names() {
        for (fields, expected) in [
            (json!({"fields": {"UF_CRM_ONE": {"isMultiple": false}}}), Some(FieldKind::One)),
            (json!({"fields": {"ufCrmOne": {"isMultiple": "Y"}}}), Some(FieldKind::Several)),
            (
                json!({"fields": {"ufCrm_One": {"upperName": "UF_CRM_ONE", "isMultiple": true}}}),
                Some(FieldKind::Several),
            ),
            (json!({"UF_CRM_ONE": {"isMultiple": true}}), Some(FieldKind::Several)),
            (json!({"fields": []}), None),
        ] {
            let portal = Scripted::ok([fields]);
            assert_eq!(ItemAccess::default().field_kind(&portal, 2, "UF_CRM_ONE").await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn stages_come_in_their_order_whatever_the_portal_does() {
        let portal = Scripted::ok([json!([
            {"STATUS_ID": "C1:WON", "SORT": "30"}, {"STATUS_ID": "C1:NEW", "SORT": 10}, {"STATUS_ID": "C1:X", "SORT": 20}
        ])]);
        assert_eq!(stages(&portal, DEAL, Some(1)).await.unwrap(), ["C1:NEW", "C1:X", "C1:WON"]);
        assert_eq!(portal.calls()[0].params["filter"], json!({"ENTITY_ID": "DEAL_STAGE_1"}));
        for (type_id, category, expected) in [
            (1, None, "STATUS"),
            (2, Some(0), "DEAL_STAGE"),
            (31, Some(4), "SMART_INVOICE_STAGE_4"),
            (1046, Some(7), "DYNAMIC_1046_STAGE_7"),
        ] {
            assert_eq!(directory(type_id, category), expected);
        }
    }
}
