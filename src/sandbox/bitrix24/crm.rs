//! Methods of the CRM: `crm.item.*`, `crm.deal.get`, `crm.timeline.comment.*`.
//! Source: `api-reference/crm/universal/**`, `api-reference/crm/timeline/**` of the Bitrix24 docs.
//!
//! Invariants: unknown field names in an update are passed over in silence; an update that changes nothing fires
//! no event; file fields are read as `{id,url,urlMachine}` and written as `["name", "base64"]`.

use super::portal::{Comment, Field, Item, LinkKind, OWNER_ID};
use super::rows::{self, integer, text};
use super::wire::{Answer, MethodError, date};
use super::{Ctx, Outcome};
use crate::domain::CrmItem;
use crate::sandbox::ledger::Note;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Fields that every item has and `crm.item.update` may set, beside the user fields.
const COMMON_FIELDS: &[&str] =
    &["title", "stageId", "categoryId", "assignedById", "originatorId", "originId"];
/// Types that `crm.item.*` knows below the smart processes.
const ENTITY_TYPES: &[u32] = &[1, 2, 3, 4, 7, 8, 14, 31];
const DEAL: u32 = 2;

pub(crate) fn item_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let key = item_key(params)?;
    let item = ctx.portal.items.get(&key).ok_or_else(not_found)?;
    let row = ctx.item_row(key, item, params);
    Ok(Answer::of(json!({"item": row})).noted(item_note(Note::read(), key)))
}

pub(crate) fn item_list(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let wanted = entity_type(params)?;
    // As an index does for a database: ten thousand rows are not made to be thrown away.
    let ids = params.get("filter").and_then(|filter| filter.get("@id")).and_then(Value::as_array);
    let ids: Option<Vec<Option<i64>>> = ids.map(|ids| ids.iter().map(integer).collect());
    let listed = |id: u64| ids.as_ref().is_none_or(|ids| ids.contains(&i64::try_from(id).ok()));
    let items = ctx.portal.items.iter().filter(|(key, _)| key.entity_type_id == wanted && listed(key.id));
    let rows = items.map(|(key, item)| ctx.item_row(*key, item, params)).collect();
    let page = rows::list(rows, params, &[], "id")?;
    Ok(page.answer(|rows| json!({"items": rows})).noted(Note::read().fact("entity_type_id", wanted)))
}

pub(crate) fn item_fields(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let wanted = entity_type(params)?;
    let mut fields = Map::new();
    for name in ["id", "createdTime", "updatedTime"].iter().chain(COMMON_FIELDS) {
        fields.insert((*name).to_owned(), field_description(name, "string", false));
    }
    for item in ctx.portal.items.iter().filter(|(key, _)| key.entity_type_id == wanted).map(|(_, item)| item)
    {
        for (name, field) in item.fields.iter().filter(|(name, _)| name.starts_with("ufCrm")) {
            let (kind, multiple) = match field {
                Field::Plain(_) => ("string", false),
                Field::File(_) => ("file", false),
                Field::Files(_) => ("file", true),
            };
            fields.insert(name.clone(), field_description(name, kind, multiple));
        }
    }
    Ok(Answer::of(json!({"fields": fields})))
}

fn field_description(name: &str, kind: &str, multiple: bool) -> Value {
    json!({
        "type": kind, "isRequired": false, "isReadOnly": false, "isImmutable": false, "isMultiple": multiple,
        "isDynamic": name.starts_with("ufCrm"), "title": name, "upperName": upper_name(name),
    })
}

pub(crate) fn item_update(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let key = item_key(params)?;
    let before = ctx.portal.items.get(&key).ok_or_else(not_found)?.clone();
    let Some(Value::Object(fields)) = params.get("fields") else { return Err(parameter_missing("fields")) };
    let mut item = before.clone();
    for (name, value) in fields {
        set_field(ctx, &mut item, name, value)?;
    }
    let changed = item.fields != before.fields;
    let mut note = item_note(Note::read(), key);
    if changed {
        item.updated_ms = ctx.now_ms;
        ctx.portal.items.insert(key, item.clone());
        note.effect = true;
        let (event, data) = update_event(key);
        ctx.echo(event, data);
    }
    Ok(Answer::of(json!({"item": ctx.item_row(key, &item, params)})).noted(note))
}

fn set_field(ctx: &mut Ctx<'_>, item: &mut Item, name: &str, value: &Value) -> Result<(), MethodError> {
    let new = match item.fields.get(name) {
        Some(Field::File(_)) => Field::File(file_value(ctx, value)?),
        Some(Field::Files(_)) => {
            let Value::Array(values) = value else { return Err(not_valid(name)) };
            let files = values.iter().map(|v| file_value(ctx, v)).collect::<Result<Vec<_>, _>>()?;
            Field::Files(files.into_iter().flatten().collect())
        }
        Some(Field::Plain(_)) => Field::Plain(value.clone()),
        None if COMMON_FIELDS.contains(&name) => Field::Plain(value.clone()),
        None => return Ok(()),
    };
    item.fields.insert(name.to_owned(), new);
    Ok(())
}

/// `["name", "base64"]` stores a file, `{"id": N}` keeps one, empty text clears the field.
fn file_value(ctx: &mut Ctx<'_>, value: &Value) -> Result<Option<u64>, MethodError> {
    match value {
        Value::Array(pair) if pair.len() == 2 => {
            let bytes = STANDARD.decode(text(&pair[1])).map_err(|_| not_valid("file"))?;
            Ok(Some(ctx.portal.add_crm_file(&text(&pair[0]), bytes.into())))
        }
        Value::Object(kept) => {
            let id = kept.get("id").and_then(integer).and_then(|id| u64::try_from(id).ok());
            Ok(id.filter(|id| ctx.portal.crm_files.contains_key(id)))
        }
        Value::String(empty) if empty.is_empty() => Ok(None),
        _ => Err(not_valid("file")),
    }
}

/// The event that a change of an item fires. A smart process has one event for all types.
pub(crate) fn update_event(key: CrmItem) -> (&'static str, Value) {
    let plain = json!({"FIELDS": {"ID": key.id}});
    match key.entity_type_id {
        1 => ("ONCRMLEADUPDATE", plain),
        DEAL => ("ONCRMDEALUPDATE", plain),
        3 => ("ONCRMCONTACTUPDATE", plain),
        4 => ("ONCRMCOMPANYUPDATE", plain),
        n => ("ONCRMDYNAMICITEMUPDATE", json!({"FIELDS": {"ID": key.id, "ENTITY_TYPE_ID": n}})),
    }
}

/// The deprecated reading of a deal: names in capitals, all scalars text.
pub(crate) fn deal_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let id = params.get("id").or_else(|| params.get("ID")).and_then(integer).unwrap_or(0);
    let key = CrmItem { entity_type_id: DEAL, id: u64::try_from(id).unwrap_or(0) };
    // The old methods answer the empty code for everything; only the words differ.
    let item = ctx.portal.items.get(&key).ok_or_else(|| MethodError::new(400, "", "Not found"))?;
    let row = ctx.item_row(key, item, &Value::Null);
    let upper = row.into_iter().map(|(name, value)| (upper_name(&name), old_value(value)));
    let mut upper: Map<String, Value> = upper.collect();
    for (old, new) in [("CREATED_TIME", "DATE_CREATE"), ("UPDATED_TIME", "DATE_MODIFY")] {
        if let Some(value) = upper.remove(old) {
            upper.insert(new.into(), value);
        }
    }
    upper.remove("ENTITY_TYPE_ID");
    Ok(Answer::of(upper).noted(item_note(Note::read(), key)))
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

/// `assignedById` as `ASSIGNED_BY_ID`, `ufCrmContract` as `UF_CRM_CONTRACT`, `ufCrm_16` as `UF_CRM_16`.
fn upper_name(name: &str) -> String {
    let mut upper = String::with_capacity(name.len() + 8);
    let mut previous = '_';
    for c in name.chars() {
        if c.is_ascii_uppercase() && previous.is_ascii_lowercase() {
            upper.push('_');
        }
        upper.push(c.to_ascii_uppercase());
        previous = c;
    }
    upper
}

impl Ctx<'_> {
    fn item_row(&self, key: CrmItem, item: &Item, params: &Value) -> Map<String, Value> {
        let original_names = params.get("useOriginalUfNames").is_some_and(super::drive::truthy);
        let mut row = Map::new();
        row.insert("id".into(), key.id.into());
        row.insert("entityTypeId".into(), key.entity_type_id.into());
        row.insert("createdTime".into(), date(item.created_ms).into());
        row.insert("updatedTime".into(), date(item.updated_ms).into());
        for (name, field) in &item.fields {
            let user_field = name.starts_with("ufCrm");
            let name = if user_field && original_names { upper_name(name) } else { name.clone() };
            row.insert(name, self.field_value(field));
        }
        row
    }

    fn field_value(&self, field: &Field) -> Value {
        match field {
            Field::Plain(value) => value.clone(),
            Field::File(id) => id.map_or(Value::Null, |id| self.crm_file_value(id)),
            Field::Files(ids) => ids.iter().map(|id| self.crm_file_value(*id)).collect(),
        }
    }

    fn crm_file_value(&self, id: u64) -> Value {
        let machine = format!("{}{}", self.origin, self.portal.link(LinkKind::Crm, id, self.now_ms));
        json!({"id": id, "url": format!("{}/crm/file/{id}", self.origin), "urlMachine": machine})
    }
}

pub(crate) fn comment_add(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let Some(Value::Object(fields)) = params.get("fields") else { return Err(parameter_missing("fields")) };
    let text_of = |name: &str| fields.get(name).map(text).unwrap_or_default();
    if text_of("COMMENT").is_empty() && !fields.contains_key("FILES") {
        return Err(MethodError::new(400, "INVALID_ARG_VALUE", "Empty comment message"));
    }
    let item = find_item(ctx, &text_of("ENTITY_TYPE"), &text_of("ENTITY_ID"))
        .ok_or_else(|| MethodError::new(400, "OWNER_NOT_FOUND", "Owner was not found"))?;
    let comment =
        Comment { id: ctx.portal.fresh_id(), item, text: text_of("COMMENT"), created_ms: ctx.now_ms };
    let note = item_note(Note::effect(), item).fact("comment_id", comment.id);
    let id = comment.id;
    ctx.portal.comments.push(comment);
    ctx.echo("ONCRMTIMELINECOMMENTADD", json!({"ID": id}));
    Ok(Answer::of(id).noted(note))
}

pub(crate) fn comment_list(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let filter = params.get("filter");
    let value = |name: &str| filter.and_then(|f| f.get(name)).map(text).unwrap_or_default();
    let Some(item) = find_item(ctx, &value("ENTITY_TYPE"), &value("ENTITY_ID")) else {
        // The empty code is the documented one here.
        return Err(MethodError::new(400, "", "Access denied."));
    };
    let rows = ctx.portal.comments.iter().filter(|c| c.item == item).map(comment_row).collect();
    let page = rows::list(rows, params, &[], "ID")?;
    Ok(page.answer(|rows| rows).noted(item_note(Note::read(), item)))
}

pub(crate) fn comment_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let id = params.get("id").and_then(integer).ok_or_else(|| parameter_missing("id"))?;
    let comment = ctx.portal.comments.iter().find(|c| i64::try_from(c.id) == Ok(id)).ok_or_else(not_found)?;
    Ok(Answer::of(comment_row(comment)))
}

fn comment_row(comment: &Comment) -> Map<String, Value> {
    let row = json!({
        "ID": comment.id.to_string(),
        "ENTITY_ID": comment.item.id.to_string(),
        "ENTITY_TYPE": comment.item.timeline_type(),
        "CREATED": date(comment.created_ms),
        "COMMENT": comment.text,
        "AUTHOR_ID": OWNER_ID.to_string(),
        "FILES": [],
    });
    row.as_object().cloned().unwrap_or_default()
}

fn find_item(ctx: &Ctx<'_>, kind: &str, id: &str) -> Option<CrmItem> {
    let id: u64 = id.parse().ok()?;
    ctx.portal.items.keys().find(|key| key.id == id && key.timeline_type() == kind).copied()
}

fn entity_type(params: &Value) -> Result<u32, MethodError> {
    let number =
        params.get("entityTypeId").and_then(integer).ok_or_else(|| parameter_missing("entityTypeId"))?;
    match u32::try_from(number) {
        Ok(n) if n >= 128 || ENTITY_TYPES.contains(&n) => Ok(n),
        Ok(5) => Err(MethodError::new(400, "ENTITY_TYPE_NOT_SUPPORTED", "Entity type is not supported")),
        _ => Err(not_found()),
    }
}

fn item_key(params: &Value) -> Result<CrmItem, MethodError> {
    let entity_type_id = entity_type(params)?;
    let id = params.get("id").and_then(integer).ok_or_else(|| parameter_missing("id"))?;
    Ok(CrmItem { entity_type_id, id: u64::try_from(id).map_err(|_| not_found())? })
}

fn item_note(note: Note, key: CrmItem) -> Note {
    note.fact("entity_type_id", key.entity_type_id).fact("item_id", key.id)
}

fn not_found() -> MethodError {
    MethodError::new(400, "NOT_FOUND", "Элемент не найден")
}

fn parameter_missing(name: &str) -> MethodError {
    MethodError::new(400, "100", format!("Could not find value for parameter {{{name}}}"))
}

fn not_valid(name: &str) -> MethodError {
    MethodError::new(400, "CRM_FIELD_ERROR_VALUE_NOT_VALID", format!("Недопустимое значение поля {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_from_the_new_form_to_the_old_one() {
        assert_eq!(upper_name("assignedById"), "ASSIGNED_BY_ID");
        assert_eq!(upper_name("ufCrmContract"), "UF_CRM_CONTRACT");
        assert_eq!(upper_name("ufCrm_3_DIGIT10"), "UF_CRM_3_DIGIT10");
    }
}
