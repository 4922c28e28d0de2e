//! Items of the CRM: `crm.item.*`, and what every change of an item sets off.
//! Source: `api-reference/crm/universal/**` of the Bitrix24 docs.
//!
//! Invariants: unknown field names in an update are passed over in silence; an update that changes nothing saves
//! nothing and fires no event; file fields are read as `{id,url,urlMachine}` and written as `["name", "base64"]`; a
//! file of a field that an update does not name again is gone, without a word; a deal that goes to another funnel
//! fires ONCRMDEALMOVETOCATEGORY and no update.

use super::names::{camel_name, upper_name};
use super::portal::{Field, FieldKind, Item, LinkKind};
use super::rows::{self, integer, text};
use super::wire::{Answer, MethodError, date};
use super::{Ctx, Outcome};
use crate::domain::CrmItem;
use crate::sandbox::ledger::Note;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Fields that every item has and `crm.item.update` may set, beside the user fields.
const COMMON_FIELDS: &[&str] = &[
    "title",
    "stageId",
    "categoryId",
    "assignedById",
    "originatorId",
    "originId",
    "xmlId",
    "opportunity",
    "currencyId",
    "contactId",
    "companyId",
    "comments",
    "sourceId",
];
/// Types that `crm.item.*` knows below the smart processes.
const ENTITY_TYPES: &[u32] = &[1, 2, 3, 4, 7, 8, 14, 31];
pub(crate) const LEAD: u32 = 1;
pub(crate) const DEAL: u32 = 2;

pub(crate) fn item_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let key = item_key(params)?;
    let item = ctx.portal.items.get(&key).ok_or_else(not_found)?;
    let row = ctx.item_row(key, item, params);
    Ok(Answer::of(json!({"item": row})).noted(item_note(Note::read(), key)))
}

pub(crate) fn item_list(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let wanted = entity_type(params)?;
    let named = named_ids(params);
    let keys = keys_of(ctx, wanted, named.as_deref());
    let rows = keys.iter().filter_map(|key| Some(ctx.item_row(*key, ctx.portal.items.get(key)?, params)));
    let mut page = rows::list(rows.collect(), params, &[], "id")?;
    page.select(params, "id");
    let note = Note::read().fact("entity_type_id", wanted).fact("rows", page.rows.len());
    Ok(page.answer(|rows| json!({"items": rows})).noted(note))
}

/// The ids that a filter names: a portal uses its index too, and ten thousand rows are dear.
fn named_ids(params: &Value) -> Option<Vec<u64>> {
    let filter = params.get("filter")?.as_object()?;
    let value = ["id", "@id", "=id", "ID", "@ID", "=ID"].iter().find_map(|name| filter.get(*name))?;
    let id = |value: &Value| integer(value).and_then(|id| u64::try_from(id).ok());
    match value {
        Value::Array(ids) => Some(ids.iter().filter_map(id).collect()),
        one => Some(id(one).into_iter().collect()),
    }
}

/// Keys of the items of a type, by id; only those named, if some are.
pub(crate) fn keys_of(ctx: &Ctx<'_>, entity_type_id: u32, named: Option<&[u64]>) -> Vec<CrmItem> {
    let key = |id: u64| CrmItem { entity_type_id, id };
    match named {
        Some(ids) => ids.iter().map(|id| key(*id)).filter(|key| ctx.portal.items.contains_key(key)).collect(),
        None => ctx.portal.items.range(key(0)..=key(u64::MAX)).map(|(key, _)| *key).collect(),
    }
}

pub(crate) fn item_fields(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let wanted = entity_type(params)?;
    Ok(Answer::of(json!({"fields": described_fields(ctx, wanted)})))
}

/// Every field of a type with its description.
pub(crate) fn described_fields(ctx: &Ctx<'_>, wanted: u32) -> Map<String, Value> {
    let mut fields = Map::new();
    for name in ["id", "createdTime", "updatedTime"].iter().chain(COMMON_FIELDS) {
        fields.insert((*name).to_owned(), field_description(name, "string", false));
    }
    for (name, kind) in user_fields(ctx, wanted) {
        let (kind, multiple) = match kind {
            FieldKind::Text => ("string", false),
            FieldKind::File => ("file", false),
            FieldKind::Files => ("file", true),
        };
        fields.insert(name.clone(), field_description(&name, kind, multiple));
    }
    fields
}

/// The user fields of a type: those that were declared, and those that an item has.
fn user_fields(ctx: &Ctx<'_>, entity_type_id: u32) -> BTreeMap<String, FieldKind> {
    let declared = ctx.portal.user_fields.iter().filter(|((of, _), _)| *of == entity_type_id);
    let mut fields: BTreeMap<String, FieldKind> =
        declared.map(|((_, name), kind)| (name.clone(), *kind)).collect();
    for key in keys_of(ctx, entity_type_id, None) {
        let found = ctx.portal.items.get(&key).into_iter().flat_map(|item| &item.fields);
        for (name, field) in found.filter(|(name, _)| name.starts_with("ufCrm")) {
            fields.entry(name.clone()).or_insert_with(|| field.kind());
        }
    }
    fields
}

fn field_description(name: &str, kind: &str, multiple: bool) -> Value {
    json!({
        "type": kind, "isRequired": false, "isReadOnly": false, "isImmutable": false, "isMultiple": multiple,
        "isDynamic": name.starts_with("ufCrm"), "title": name, "upperName": upper_name(name),
    })
}

pub(crate) fn item_add(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let entity_type_id = entity_type(params)?;
    let fields = given_fields(params)?;
    let id = ctx.portal.fresh_id();
    let key = CrmItem { entity_type_id, id };
    let mut item = Item { created_ms: ctx.now_ms, updated_ms: ctx.now_ms, ..Item::default() };
    item.created_by = ctx.caller.user_id();
    let begin = json!({
        "title": format!("#{id}"), "assignedById": ctx.caller.user_id(),
        "stageId": first_stage(entity_type_id, &fields), "categoryId": 0,
    });
    for (name, value) in begin.as_object().into_iter().flatten() {
        item.fields.insert(name.clone(), Field::Plain(value.clone()));
    }
    for (name, value) in &fields {
        set_field(ctx, key, &mut item, name, value, FileStyle::Item)?;
    }
    ctx.portal.items.insert(key, item.clone());
    let (event, data) = add_event(key);
    ctx.echo(event, data);
    Ok(Answer::of(json!({"item": ctx.item_row(key, &item, params)})).noted(item_note(Note::effect(), key)))
}

/// The first stage of the funnel that a new item is put into.
fn first_stage(entity_type_id: u32, fields: &Map<String, Value>) -> String {
    let funnel = fields.get("categoryId").and_then(integer).unwrap_or(0);
    match (entity_type_id, funnel) {
        (LEAD, _) | (DEAL, 0) => "NEW".into(),
        (DEAL, funnel) => format!("C{funnel}:NEW"),
        (dynamic, funnel) => format!("DT{dynamic}_{funnel}:NEW"),
    }
}

pub(crate) fn item_update(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let key = item_key(params)?;
    let fields = given_fields(params)?;
    let (item, note) = change(ctx, key, &fields, FileStyle::Item)?.ok_or_else(not_found)?;
    Ok(Answer::of(json!({"item": ctx.item_row(key, &item, params)})).noted(note))
}

/// The answer to a success is an empty list.
pub(crate) fn item_delete(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let key = item_key(params)?;
    ctx.portal.items.remove(&key).ok_or_else(not_found)?;
    let (event, data) = delete_event(key);
    ctx.echo(event, data);
    Ok(Answer::of(json!([])).noted(item_note(Note::effect(), key)))
}

pub(crate) fn given_fields(params: &Value) -> Result<Map<String, Value>, MethodError> {
    match params.get("fields") {
        Some(Value::Object(fields)) => Ok(fields.clone()),
        // An empty map as PHP writes it.
        Some(Value::Array(none)) if none.is_empty() => Ok(Map::new()),
        _ => Err(parameter_missing("fields")),
    }
}

/// Changes fields of an item, as any of the methods may; nothing if there is no such item.
pub(crate) fn change(
    ctx: &mut Ctx<'_>,
    key: CrmItem,
    fields: &Map<String, Value>,
    style: FileStyle,
) -> Result<Option<(Item, Note)>, MethodError> {
    let Some(before) = ctx.portal.items.get(&key).cloned() else { return Ok(None) };
    let mut item = before.clone();
    for (name, value) in fields {
        set_field(ctx, key, &mut item, name, value, style)?;
    }
    let mut note = item_note(Note::read(), key).fact("fields", fields.keys().cloned().collect::<Vec<_>>());
    if item.fields != before.fields {
        item.touch(&before, ctx.caller.user_id(), ctx.now_ms);
        ctx.portal.items.insert(key, item.clone());
        note.effect = true;
        if let Some(stage) = item.plain("stageId").filter(|stage| Some(*stage) != before.plain("stageId")) {
            note = note.fact("stage_id", stage.clone());
        }
        let (event, data) = change_event(key, &before, &item);
        ctx.echo(event, data);
    }
    Ok(Some((item, note)))
}

/// How a method writes files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileStyle {
    /// `["name", "base64"]`; what is not named again is gone.
    Item,
    /// `{"fileData": ["name", "base64"]}` of the deprecated methods; what is there stays unless `remove` is said.
    Old,
}

fn set_field(
    ctx: &mut Ctx<'_>,
    key: CrmItem,
    item: &mut Item,
    given: &str,
    value: &Value,
    style: FileStyle,
) -> Result<(), MethodError> {
    let name = if given.starts_with("UF_") { known_name(ctx, key, item, given) } else { given.to_owned() };
    let declared = ctx.portal.user_fields.get(&(key.entity_type_id, name.clone())).copied();
    let kind = item.fields.get(&name).map(Field::kind).or(declared);
    let new = match kind {
        Some(FieldKind::File) => Field::File(file_value(ctx, value)?),
        Some(FieldKind::Files) => {
            Field::Files(files_value(ctx, item.fields.get(&name), &name, value, style)?)
        }
        Some(FieldKind::Text) => Field::Plain(value.clone()),
        None if COMMON_FIELDS.contains(&name.as_str()) => Field::Plain(value.clone()),
        None => return Ok(()),
    };
    item.fields.insert(name, new);
    Ok(())
}

/// The name under which a field given by its original name is kept here.
fn known_name(ctx: &Ctx<'_>, key: CrmItem, item: &Item, given: &str) -> String {
    let declared = ctx.portal.user_fields.keys().filter(|(of, _)| *of == key.entity_type_id).map(|(_, n)| n);
    let found = item.fields.keys().chain(declared).find(|name| upper_name(name) == given);
    found.cloned().unwrap_or_else(|| camel_name(given))
}

fn files_value(
    ctx: &mut Ctx<'_>,
    before: Option<&Field>,
    name: &str,
    value: &Value,
    style: FileStyle,
) -> Result<Vec<u64>, MethodError> {
    let before = match before {
        Some(Field::Files(ids)) => ids.clone(),
        Some(Field::File(one)) => one.iter().copied().collect(),
        Some(Field::Plain(_)) | None => Vec::new(),
    };
    let values = match value {
        Value::Array(values) => values.clone(),
        Value::String(empty) if empty.is_empty() => Vec::new(),
        Value::Object(map) if style == FileStyle::Old => map.values().cloned().collect(),
        _ => return Err(not_valid(name)),
    };
    // A kept file must be one of this very field: another id is passed over.
    let own =
        |value: &Value| value.get("id").is_none_or(|id| id_of(id).is_some_and(|id| before.contains(&id)));
    let removed = |value: &Value| value.get("remove").is_some_and(super::drive::truthy);
    let mut kept = if style == FileStyle::Old { before.clone() } else { Vec::new() };
    for value in values.iter().filter(|value| own(value)) {
        if removed(value) {
            let gone = value.get("id").and_then(id_of);
            kept.retain(|id| Some(*id) != gone);
        } else if let Some(id) = file_value(ctx, value)?
            && !kept.contains(&id)
        {
            kept.push(id);
        }
    }
    Ok(kept)
}

fn id_of(value: &Value) -> Option<u64> {
    integer(value).and_then(|id| u64::try_from(id).ok())
}

/// `["name", "base64"]` stores a file, `{"id": N}` keeps one, empty text clears the field.
fn file_value(ctx: &mut Ctx<'_>, value: &Value) -> Result<Option<u64>, MethodError> {
    match value {
        Value::Array(pair) if pair.len() == 2 => {
            let bytes = STANDARD.decode(text(&pair[1])).map_err(|_| not_valid("file"))?;
            Ok(Some(ctx.portal.add_crm_file(&text(&pair[0]), bytes.into())))
        }
        Value::Object(given) if given.contains_key("fileData") => file_value(ctx, &given["fileData"]),
        Value::Object(kept) => {
            let id = kept.get("id").and_then(id_of);
            Ok(id.filter(|id| ctx.portal.crm_files.contains_key(id)))
        }
        Value::String(empty) if empty.is_empty() => Ok(None),
        _ => Err(not_valid("file")),
    }
}

/// An event with its data.
pub(crate) type Told = (&'static str, Value);

fn told(key: CrmItem, names: [&'static str; 5]) -> Told {
    let plain = json!({"FIELDS": {"ID": key.id}});
    let [lead, deal, contact, company, dynamic] = names;
    match key.entity_type_id {
        LEAD => (lead, plain),
        DEAL => (deal, plain),
        3 => (contact, plain),
        4 => (company, plain),
        // A smart process has one event for all types.
        n => (dynamic, json!({"FIELDS": {"ID": key.id, "ENTITY_TYPE_ID": n}})),
    }
}

/// The event of a new item.
pub(crate) fn add_event(key: CrmItem) -> Told {
    told(key, ["ONCRMLEADADD", "ONCRMDEALADD", "ONCRMCONTACTADD", "ONCRMCOMPANYADD", "ONCRMDYNAMICITEMADD"])
}

fn delete_event(key: CrmItem) -> Told {
    told(
        key,
        [
            "ONCRMLEADDELETE",
            "ONCRMDEALDELETE",
            "ONCRMCONTACTDELETE",
            "ONCRMCOMPANYDELETE",
            "ONCRMDYNAMICITEMDELETE",
        ],
    )
}

/// The event that a change of an item fires: one for a deal that went to another funnel, else the update.
pub(crate) fn change_event(key: CrmItem, before: &Item, after: &Item) -> Told {
    let funnel = |item: &Item| item.plain("categoryId").map(text).unwrap_or_default();
    if key.entity_type_id == DEAL && funnel(before) != funnel(after) {
        let stage = after.plain("stageId").map(text).unwrap_or_default();
        let fields = json!({"ID": key.id, "CATEGORY_ID": funnel(after), "STAGE_ID": stage});
        return ("ONCRMDEALMOVETOCATEGORY", json!({"FIELDS": fields}));
    }
    told(
        key,
        [
            "ONCRMLEADUPDATE",
            "ONCRMDEALUPDATE",
            "ONCRMCONTACTUPDATE",
            "ONCRMCOMPANYUPDATE",
            "ONCRMDYNAMICITEMUPDATE",
        ],
    )
}

impl Ctx<'_> {
    pub(crate) fn item_row(&self, key: CrmItem, item: &Item, params: &Value) -> Map<String, Value> {
        let original_names = params.get("useOriginalUfNames").is_some_and(super::drive::truthy);
        let shown = |name: &str| {
            let original = original_names && name.starts_with("ufCrm");
            if original { upper_name(name) } else { name.to_owned() }
        };
        let mut row = Map::new();
        for ((_, name), kind) in
            self.portal.user_fields.iter().filter(|((of, _), _)| *of == key.entity_type_id)
        {
            row.insert(shown(name), if *kind == FieldKind::Files { json!([]) } else { Value::Null });
        }
        row.insert("id".into(), key.id.into());
        row.insert("entityTypeId".into(), key.entity_type_id.into());
        row.insert("createdTime".into(), date(item.created_ms).into());
        row.insert("updatedTime".into(), date(item.updated_ms).into());
        row.insert("movedTime".into(), date(item.moved_ms.max(item.created_ms)).into());
        for (name, user_id) in
            [("createdBy", item.created_by), ("updatedBy", item.updated_by), ("movedBy", item.moved_by)]
        {
            row.insert(name.into(), user_id.max(1).into());
        }
        for (name, field) in &item.fields {
            row.insert(shown(name), self.field_value(field));
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

pub(crate) fn item_note(note: Note, key: CrmItem) -> Note {
    note.fact("entity_type_id", key.entity_type_id).fact("item_id", key.id)
}

pub(crate) fn not_found() -> MethodError {
    MethodError::new(400, "NOT_FOUND", "Элемент не найден")
}

pub(crate) fn parameter_missing(name: &str) -> MethodError {
    MethodError::new(400, "100", format!("Could not find value for parameter {{{name}}}"))
}

fn not_valid(name: &str) -> MethodError {
    MethodError::new(400, "CRM_FIELD_ERROR_VALUE_NOT_VALID", format!("Недопустимое значение поля {name}"))
}
