//! Methods of Drive: `disk.*`. Source: `api-reference/disk/**` of the Bitrix24 docs.
//!
//! Invariants: `disk.folder.uploadfile` answers `ID` as a number and `disk.file.get` as text, as the docs show;
//! a list of children holds live objects only; deleted files are still readable by id.

use super::portal::{LinkKind, OWNER_ID, PendingUpload};
use super::rows::{self, integer, text};
use super::tree::{Node, NotMade, OnTaken, ROOT_ID, STORAGE_ID};
use super::wire::{Answer, MethodError, date};
use super::{Ctx, Outcome};
use crate::sandbox::ledger::Note;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Fields that `filter` of a list of children may name.
const FILTER_FIELDS: &[&str] = &[
    "ID",
    "NAME",
    "TYPE",
    "CODE",
    "STORAGE_ID",
    "PARENT_ID",
    "CREATE_TIME",
    "UPDATE_TIME",
    "DELETE_TIME",
    "DELETED_TYPE",
];
/// Name of the multipart field of the second step.
pub(crate) const UPLOAD_FIELD: &str = "file";

pub(crate) fn storage_list(_: &mut Ctx<'_>, params: &Value) -> Outcome {
    let row = json!({
        "ID": STORAGE_ID.to_string(), "NAME": "Общий диск", "CODE": null, "MODULE_ID": "disk",
        "ENTITY_TYPE": "common", "ENTITY_ID": "shared_files_s1", "ROOT_OBJECT_ID": ROOT_ID.to_string(),
    });
    let rows = row.as_object().cloned().into_iter().collect();
    Ok(rows::list(rows, params, &[], "ID")?.answer(|rows| rows))
}

pub(crate) fn storage_children(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    if required_id(params)? != STORAGE_ID {
        return Err(no_entity(params));
    }
    children_of(ctx, ROOT_ID, params)
}

pub(crate) fn folder_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let folder = live_folder(ctx, params)?;
    let row = ctx.portal.tree.folder(folder).map(|node| ctx.row(node));
    Ok(Answer::of(row.unwrap_or_default()).noted(Note::read().fact("folder_id", folder)))
}

pub(crate) fn folder_children(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let folder = live_folder(ctx, params)?;
    children_of(ctx, folder, params)
}

fn children_of(ctx: &mut Ctx<'_>, folder: u64, params: &Value) -> Outcome {
    let rows = ctx.portal.tree.children(folder).map(|node| ctx.row(node)).collect();
    // By name unless asked otherwise: a client that needs the order of ids has to ask for it.
    let page = rows::list(rows, params, FILTER_FIELDS, "NAME")?;
    let note = Note::read().fact("folder_id", folder).fact("rows", page.rows.len());
    Ok(page.answer(|rows| rows).noted(note))
}

pub(crate) fn folder_add(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let parent = live_folder(ctx, params)?;
    let name = data_name(params).ok_or_else(name_missing)?;
    let id = ctx.portal.tree.add_folder(parent, &name, OWNER_ID, ctx.now_ms).map_err(not_made)?;
    let row = ctx.portal.tree.node(id).map(|node| ctx.row(node));
    let note = Note::effect().fact("folder_id", id).fact("name", name);
    Ok(Answer::of(row.unwrap_or_default()).noted(note))
}

pub(crate) fn file_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let id = required_id(params)?;
    let (node, _) = ctx.portal.tree.file(id).ok_or_else(|| no_entity(params))?;
    let note = Note::read().fact("file_id", id).fact("name", node.name.clone());
    Ok(Answer::of(ctx.row(node)).noted(note))
}

pub(crate) fn file_mark_deleted(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let id = required_id(params)?;
    let is_file = ctx.portal.tree.file(id).is_some();
    if !is_file || !ctx.portal.tree.mark_deleted(id, ctx.now_ms) {
        return Err(no_entity(params));
    }
    let row = ctx.portal.tree.node(id).map(|node| ctx.row(node));
    Ok(Answer::of(row.unwrap_or_default()).noted(Note::effect().fact("file_id", id)))
}

/// Both forms: with `fileContent` the file is stored; without it the answer says where to send it.
pub(crate) fn upload(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let folder = live_folder(ctx, params)?;
    let on_taken = match params.get("generateUniqueName") {
        Some(flag) if truthy(flag) => OnTaken::Number,
        _ => OnTaken::Refuse,
    };
    let Some(content) = params.get("fileContent") else {
        return Ok(first_step(ctx, folder, data_name(params), on_taken));
    };
    let name = data_name(params).ok_or_else(name_missing)?;
    let encoded = match content {
        Value::Array(pair) if pair.len() == 2 => pair[1].as_str(),
        _ => None,
    };
    let encoded = encoded.ok_or_else(|| MethodError::argument("fileContent"))?;
    let bytes = STANDARD.decode(encoded).map_err(|_| {
        MethodError::new(400, "ERROR_COULD_NOT_SAVE_FILE", "Could not save file: content is not base64")
    })?;
    store_file(ctx, folder, &name, bytes.into(), on_taken)
}

fn first_step(ctx: &mut Ctx<'_>, folder: u64, name: Option<String>, on_taken: OnTaken) -> Answer {
    let note = Note::read().fact("folder_id", folder).fact("step", "first");
    let token = ctx.portal.expect_upload(PendingUpload { folder, name, on_taken });
    let url = format!("{}/rest/upload.json?token=disk%7C{token}", ctx.origin);
    Answer::of(json!({"field": UPLOAD_FIELD, "uploadUrl": url})).noted(note)
}

/// Stores a file that came by either form, and answers with its row.
pub(crate) fn store_file(
    ctx: &mut Ctx<'_>,
    folder: u64,
    name: &str,
    bytes: Bytes,
    on_taken: OnTaken,
) -> Outcome {
    let added = ctx.portal.tree.add_file(folder, name, bytes, OWNER_ID, ctx.now_ms, on_taken);
    let id = added.map_err(not_made)?;
    let (node, content) = ctx.portal.tree.file(id).ok_or_else(|| MethodError::no_entity(&id.to_string()))?;
    let note = Note::effect()
        .fact("folder_id", folder)
        .fact("file_id", id)
        .fact("name", node.name.clone())
        .fact("size", content.bytes.len())
        .fact("sha256", content.digest.to_hex());
    let row = with_numbers(ctx.row(node));
    ctx.echo("ONDISKFILEADD", json!({"FIELDS": {"ID": id}}));
    Ok(Answer::of(row).noted(note))
}

/// The upload methods answer some numbers as numbers, where the reading ones answer text.
fn with_numbers(mut row: Map<String, Value>) -> Map<String, Value> {
    for field in ["ID", "FILE_ID", "DELETED_TYPE", "GLOBAL_CONTENT_VERSION"] {
        if let Some(number) = row.get(field).and_then(integer) {
            row.insert(field.into(), number.into());
        }
    }
    row.insert("DELETED_BY".into(), Value::Null);
    row
}

impl Ctx<'_> {
    /// A folder or a file as the reading methods print it.
    fn row(&self, node: &Node) -> Map<String, Value> {
        let deleted = node.deleted_ms.is_some();
        let mut row = json!({
            "ID": node.id.to_string(),
            "NAME": node.name,
            "CODE": null,
            "STORAGE_ID": STORAGE_ID.to_string(),
            "TYPE": "folder",
            "PARENT_ID": if node.parent == 0 { Value::Null } else { node.parent.to_string().into() },
            "DELETED_TYPE": if deleted { "3" } else { "0" },
            "CREATE_TIME": date(node.created_ms),
            "UPDATE_TIME": date(node.updated_ms),
            "DELETE_TIME": node.deleted_ms.map(date),
            "CREATED_BY": node.created_by.to_string(),
            "UPDATED_BY": node.created_by.to_string(),
            "DELETED_BY": if deleted { OWNER_ID.to_string() } else { "0".into() },
            "DETAIL_URL": format!("{}/docs/path/{}", self.origin, node.id),
        });
        if let Some(content) = &node.content {
            let link = self.portal.link(LinkKind::Drive, node.id, self.now_ms);
            row["TYPE"] = "file".into();
            row["GLOBAL_CONTENT_VERSION"] = "1".into();
            row["FILE_ID"] = content.file_id.to_string().into();
            row["SIZE"] = content.bytes.len().to_string().into();
            row["DOWNLOAD_URL"] = format!("{}{link}", self.origin).into();
        } else {
            row["REAL_OBJECT_ID"] = node.id.to_string().into();
        }
        row.as_object().cloned().unwrap_or_default()
    }
}

fn required_id(params: &Value) -> Result<u64, MethodError> {
    let id = params.get("id").ok_or_else(|| MethodError::argument("id"))?;
    integer(id).and_then(|id| u64::try_from(id).ok()).ok_or_else(|| MethodError::argument("id"))
}

fn live_folder(ctx: &Ctx<'_>, params: &Value) -> Result<u64, MethodError> {
    let id = required_id(params)?;
    ctx.portal.tree.folder(id).map(|node| node.id).ok_or_else(|| no_entity(params))
}

fn no_entity(params: &Value) -> MethodError {
    MethodError::no_entity(&params.get("id").map(text).unwrap_or_default())
}

fn data_name(params: &Value) -> Option<String> {
    params.get("data")?.get("NAME").map(text).filter(|name| !name.is_empty())
}

fn name_missing() -> MethodError {
    MethodError::new(400, "DISK_BASE_SERVICE_22001", "Поле NAME является обязательным для заполнения")
}

fn not_made(why: NotMade) -> MethodError {
    match why {
        NotMade::NoFolder => MethodError::no_entity("0"),
        NotMade::NameTaken => {
            MethodError::new(400, "DISK_OBJ_22000", "Файл или папка с таким именем уже есть")
        }
    }
}

pub(crate) fn truthy(value: &Value) -> bool {
    matches!(text(value).as_str(), "1" | "true" | "Y" | "y")
}
