//! Comments in timelines: `crm.timeline.comment.*`. Source: `api-reference/crm/timeline/**` of the Bitrix24 docs.
//!
//! Invariants: files of a comment lie on the Drive, outside every folder that a person sees; `FILES` of an answer is
//! a map by Drive id, or a list when it is empty; an update with `FILES` drops all old ones.

use super::crm::{item_note, not_found, parameter_missing};
use super::portal::Comment;
use super::rows::{self, integer, text};
use super::tree::OnTaken;
use super::wire::{Answer, MethodError, date};
use super::{Ctx, Outcome};
use crate::domain::CrmItem;
use crate::sandbox::ledger::Note;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

pub(crate) fn comment_add(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let Some(Value::Object(fields)) = params.get("fields") else { return Err(parameter_missing("fields")) };
    let text_of = |name: &str| fields.get(name).map(text).unwrap_or_default();
    if text_of("COMMENT").is_empty() && !fields.contains_key("FILES") {
        return Err(MethodError::new(400, "INVALID_ARG_VALUE", "Empty comment message"));
    }
    let item = find_item(ctx, &text_of("ENTITY_TYPE"), &text_of("ENTITY_ID"))
        .ok_or_else(|| MethodError::new(400, "OWNER_NOT_FOUND", "Owner was not found"))?;
    let files = store_files(ctx, fields.get("FILES"))?;
    let (id, author, created_ms) = (ctx.portal.fresh_id(), ctx.caller.user_id(), ctx.now_ms);
    let comment = Comment { id, item, text: text_of("COMMENT"), created_ms, author, files };
    let note = item_note(Note::effect(), item).fact("comment_id", id).fact("files", comment.files.len());
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
    let rows = ctx.portal.comments.iter().filter(|c| c.item == item).map(|c| ctx.comment_row(c)).collect();
    let page = rows::list(rows, params, &[], "ID")?;
    Ok(page.answer(|rows| rows).noted(item_note(Note::read(), item)))
}

pub(crate) fn comment_get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let id = params.get("id").and_then(integer).ok_or_else(|| parameter_missing("id"))?;
    let comment = ctx.portal.comments.iter().find(|c| i64::try_from(c.id) == Ok(id)).ok_or_else(not_found)?;
    Ok(Answer::of(ctx.comment_row(comment)))
}

pub(crate) fn comment_update(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let id = params.get("id").and_then(integer).ok_or_else(|| parameter_missing("id"))?;
    let Some(Value::Object(fields)) = params.get("fields") else { return Err(parameter_missing("fields")) };
    let files = fields.get("FILES").map(|files| store_files(ctx, Some(files))).transpose()?;
    let found = ctx.portal.comments.iter_mut().find(|c| i64::try_from(c.id) == Ok(id));
    let comment = found.ok_or_else(not_found)?;
    if let Some(words) = fields.get("COMMENT") {
        comment.text = text(words);
    }
    comment.files = files.unwrap_or_else(|| comment.files.clone());
    let note = item_note(Note::effect(), comment.item).fact("comment_id", id);
    Ok(Answer::of(true).noted(note))
}

/// Success is `null`.
pub(crate) fn comment_delete(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let id = params.get("id").and_then(integer).ok_or_else(|| parameter_missing("id"))?;
    let before = ctx.portal.comments.len();
    ctx.portal.comments.retain(|c| i64::try_from(c.id) != Ok(id));
    if ctx.portal.comments.len() == before {
        return Err(not_found());
    }
    Ok(Answer::of(Value::Null).noted(Note::effect().fact("comment_id", id)))
}

/// `[["name", "base64"], …]`, put on the Drive; their ids.
fn store_files(ctx: &mut Ctx<'_>, files: Option<&Value>) -> Result<Vec<u64>, MethodError> {
    let Some(Value::Array(files)) = files else { return Ok(Vec::new()) };
    let wrong = || MethodError::new(400, "INVALID_ARG_VALUE", "Invalid value of argument FILES");
    let mut decoded: Vec<(String, Bytes)> = Vec::new();
    for file in files {
        let (Some(name), Some(content)) = (file.get(0), file.get(1)) else { return Err(wrong()) };
        decoded.push((text(name), STANDARD.decode(text(content)).map_err(|_| wrong())?.into()));
    }
    let (user, now) = (ctx.caller.user_id(), ctx.now_ms);
    let tree = &mut ctx.portal.tree;
    let folder = tree.attachments();
    let put = |(name, bytes): (String, Bytes)| {
        tree.add_file(folder, &name, bytes, user, now, OnTaken::Number).map_err(|_| wrong())
    };
    decoded.into_iter().map(put).collect()
}

impl Ctx<'_> {
    fn comment_row(&self, comment: &Comment) -> Map<String, Value> {
        let files = comment.files.iter().filter_map(|id| Some((id.to_string(), self.attached_file(*id)?)));
        comment_row(comment, super::wire::php_map(files.collect()))
    }

    fn attached_file(&self, id: u64) -> Option<Value> {
        let (node, content) = self.portal.tree.file(id)?;
        let link = self.portal.link(super::portal::LinkKind::Drive, id, self.now_ms);
        Some(json!({
            "id": id, "date": date(node.created_ms), "type": "file", "name": node.name,
            "size": content.bytes.len(), "image": false, "authorId": node.created_by, "authorName": "",
            "urlPreview": "", "urlShow": format!("{}{link}", self.origin),
            "urlDownload": format!("{}{link}", self.origin),
        }))
    }
}

fn comment_row(comment: &Comment, files: Value) -> Map<String, Value> {
    let row = json!({
        "ID": comment.id.to_string(),
        "ENTITY_ID": comment.item.id.to_string(),
        "ENTITY_TYPE": comment.item.timeline_type(),
        "CREATED": date(comment.created_ms),
        "COMMENT": comment.text,
        "AUTHOR_ID": comment.author.to_string(),
        "FILES": files,
    });
    row.as_object().cloned().unwrap_or_default()
}

fn find_item(ctx: &Ctx<'_>, kind: &str, id: &str) -> Option<CrmItem> {
    let id: u64 = id.parse().ok()?;
    ctx.portal.items.keys().find(|key| key.id == id && key.timeline_type() == kind).copied()
}
