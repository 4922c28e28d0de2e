//! The deprecated methods of the CRM, the only ones on old boxes: `crm.deal.*`, `crm.lead.*`.
//! Source: `api-reference/crm/{deals,leads}/**` of the Bitrix24 docs.
//!
//! Invariants: names are in capitals and all scalars text; every failure has the empty code, only the words differ; a
//! lead's stage is `STATUS_ID`; files are written as `{"fileData": ["name", "base64"]}`.

use super::bindings::given_value;
use super::crm::{self, DEAL, FileStyle, LEAD, add_event, item_note};
use super::names::{camel_name, upper_name};
use super::portal::{Field, Item};
use super::rows::{self, integer, text};
use super::wire::{Answer, MethodError};
use super::{Ctx, Outcome};
use crate::domain::CrmItem;
use crate::sandbox::ledger::Note;
use serde_json::{Map, Value, json};

pub(crate) fn deal_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    get(ctx, DEAL, params)
}
pub(crate) fn lead_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    get(ctx, LEAD, params)
}
pub(crate) fn deal_list(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    list(ctx, DEAL, params)
}
pub(crate) fn lead_list(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    list(ctx, LEAD, params)
}
pub(crate) fn deal_add(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    add(ctx, DEAL, params)
}
pub(crate) fn lead_add(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    add(ctx, LEAD, params)
}
pub(crate) fn deal_update(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    update(ctx, DEAL, params)
}
pub(crate) fn lead_update(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    update(ctx, LEAD, params)
}

pub(crate) fn deal_fields(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    fields(ctx, DEAL)
}
pub(crate) fn lead_fields(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    fields(ctx, LEAD)
}

fn fields(ctx: &mut Ctx<'_>, entity_type_id: u32) -> Outcome {
    let described = crm::described_fields(ctx, entity_type_id);
    let upper = described.into_iter().map(|(name, field)| (upper_name(&name), field));
    Ok(Answer::of(upper.collect::<Map<String, Value>>()))
}

/// The names that do not follow the rule of the two spellings.
fn exceptions(entity_type_id: u32) -> Vec<(&'static str, &'static str)> {
    let mut names = vec![("CREATED_TIME", "DATE_CREATE"), ("UPDATED_TIME", "DATE_MODIFY")];
    names.extend([
        ("CREATED_BY", "CREATED_BY_ID"),
        ("UPDATED_BY", "MODIFY_BY_ID"),
        ("MOVED_BY", "MOVED_BY_ID"),
    ]);
    if entity_type_id == LEAD {
        names.push(("STAGE_ID", "STATUS_ID"));
    }
    names
}

fn old_row(ctx: &Ctx<'_>, key: CrmItem, item: &Item) -> Map<String, Value> {
    let row = ctx.item_row(key, item, &Value::Null);
    let upper = row.into_iter().map(|(name, value)| (upper_name(&name), old_value(value)));
    let mut upper: Map<String, Value> = upper.collect();
    for (new, old) in exceptions(key.entity_type_id) {
        if let Some(value) = upper.remove(new) {
            upper.insert(old.into(), value);
        }
    }
    upper.remove("ENTITY_TYPE_ID");
    upper
}

fn old_value(value: Value) -> Value {
    match value {
        Value::Object(mut file) => {
            let (url, machine) = (file.remove("url"), file.remove("urlMachine"));
            json!({"id": file.remove("id"), "showUrl": url, "downloadUrl": machine})
        }
        Value::Array(list) => list.into_iter().map(old_value).collect(),
        Value::Null => Value::Null,
        scalar => text(&scalar).into(),
    }
}

fn key(entity_type_id: u32, params: &Value) -> CrmItem {
    let id = given_value(params, "id").and_then(integer).and_then(|id| u64::try_from(id).ok());
    CrmItem { entity_type_id, id: id.unwrap_or(0) }
}

fn not_found() -> MethodError {
    MethodError::new(400, "", "Not found")
}

fn get(ctx: &mut Ctx<'_>, entity_type_id: u32, params: &Value) -> Outcome {
    let key = key(entity_type_id, params);
    let item = ctx.portal.items.get(&key).ok_or_else(not_found)?;
    let row = old_row(ctx, key, item);
    Ok(Answer::of(row).noted(item_note(Note::read(), key)))
}

fn list(ctx: &mut Ctx<'_>, entity_type_id: u32, params: &Value) -> Outcome {
    let keys = crm::keys_of(ctx, entity_type_id, None);
    let rows = keys.iter().filter_map(|key| Some(old_row(ctx, *key, ctx.portal.items.get(key)?)));
    let mut page = rows::list(rows.collect(), params, &[], "ID")?;
    page.select(params, "ID");
    let note = Note::read().fact("entity_type_id", entity_type_id).fact("rows", page.rows.len());
    Ok(page.answer(|rows| rows).noted(note))
}

fn add(ctx: &mut Ctx<'_>, entity_type_id: u32, params: &Value) -> Outcome {
    let fields = new_names(entity_type_id, params)?;
    let id = ctx.portal.fresh_id();
    let key = CrmItem { entity_type_id, id };
    let mut item = Item { created_ms: ctx.now_ms, updated_ms: ctx.now_ms, ..Item::default() };
    item.fields.insert("stageId".into(), Field::Plain("NEW".into()));
    item.fields.insert("categoryId".into(), Field::Plain(0.into()));
    ctx.portal.items.insert(key, item);
    // The fields are set without an event of their own: the new item has one.
    let echo = ctx.events.len();
    crm::change(ctx, key, &fields, FileStyle::Old)?;
    ctx.events.truncate(echo);
    let (event, data) = add_event(key);
    ctx.echo(event, data);
    Ok(Answer::of(id).noted(item_note(Note::effect(), key)))
}

fn update(ctx: &mut Ctx<'_>, entity_type_id: u32, params: &Value) -> Outcome {
    let key = key(entity_type_id, params);
    let fields = new_names(entity_type_id, params)?;
    let (_, note) = crm::change(ctx, key, &fields, FileStyle::Old)?.ok_or_else(not_found)?;
    Ok(Answer::of(true).noted(note))
}

fn new_names(entity_type_id: u32, params: &Value) -> Result<Map<String, Value>, MethodError> {
    let fields = match given_value(params, "fields") {
        Some(Value::Object(fields)) => fields.clone(),
        _ => return Err(MethodError::new(400, "", "Parameter 'fields' must be array.")),
    };
    let exceptions = exceptions(entity_type_id);
    let new = |name: &str| {
        if name.starts_with("UF_") {
            return name.to_owned();
        }
        let regular = exceptions.iter().find(|(_, old)| *old == name).map_or(name, |(new, _)| new);
        camel_name(regular)
    };
    Ok(fields.into_iter().map(|(name, value)| (new(&name), value)).collect())
}
