//! Bytes of files: downloads by link, and the second step of an upload.
//! Source: `api-reference/files/*.md`, `api-reference/disk/folder/disk-folder-upload-file.md` of the Bitrix24 docs.
//!
//! Invariants: a download needs a `User-Agent`, or it is a 404 that still carries the file's name; a link works
//! only with its query unchanged; an upload token is spent by its first use, right or wrong.

use super::drive::{UPLOAD_FIELD, store_file};
use super::portal::LinkKind;
use super::wire::{MethodError, Span, envelope};
use super::{admit, limits::Operating};
use crate::sandbox::front::{Reply, Request};
use crate::sandbox::ledger::Note;
use crate::sandbox::world::{World, now_ms};
use actix_multipart::{Field, Multipart};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, future, stream};
use std::sync::Arc;

/// Serves a file by its link.
pub(crate) fn download(world: &Arc<World>, request: &Request, kind: LinkKind) -> Reply {
    world.portal_call(1, |ctx| {
        let Some(id) = ctx.portal.follow(kind, &request.head.query, ctx.now_ms) else {
            // What a portal answers to a dead link is not documented; this is its code for lacking rights.
            return MethodError::new(403, "ACCESS_DENIED", "Access denied! Invalid token.").reply();
        };
        let file = match kind {
            LinkKind::Drive => ctx.portal.tree.file(id).map(|(node, c)| (node.name.clone(), c.bytes.clone())),
            LinkKind::Crm => ctx.portal.crm_files.get(&id).map(|f| (f.name.clone(), f.bytes.clone())),
        };
        let Some((name, bytes)) = file else { return Reply::html(404) };
        let note = Note::read().fact("file_id", id).fact("name", name.clone()).fact("size", bytes.len());
        let shown = format!("attachment; filename=\"{}\"; filename*=utf-8''{}", ascii(&name), encoded(&name));
        let polite = request.head.header("user-agent").is_some_and(|agent| !agent.is_empty());
        let reply = if polite {
            Reply { status: 200, body: bytes, ..Reply::default() }
                .header("Content-Type", "application/octet-stream")
        } else {
            Reply::html(404)
        };
        reply.header("Content-Disposition", shown).noted(note)
    })
}

fn ascii(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii() && c != '"' && !c.is_ascii_control() { c } else { '_' }).collect()
}

fn encoded(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

/// Takes the file of a two-step upload.
pub(crate) async fn second_step(world: &Arc<World>, request: &Request) -> Reply {
    let token = request.head.query_value("token").unwrap_or_default();
    let token = token.strip_prefix("disk|").unwrap_or_default().to_owned();
    let part = read_part(request).await;
    world.portal_call(request.deliveries, |ctx| {
        let start_ms = ctx.now_ms;
        let stored = admit(ctx, &request.head).and_then(|()| {
            let Some(upload) = ctx.portal.take_upload(&token) else {
                return Err(MethodError::new(403, "ACCESS_DENIED", "Access denied! Invalid token."));
            };
            let (file_name, bytes) = part.map_err(|why| MethodError::new(400, "ERROR_ARGUMENT", why))?;
            let name = upload.name.unwrap_or(file_name);
            store_file(ctx, upload.folder, &name, bytes, upload.on_taken)
        });
        let operating = Operating { seconds: 0.0, reset_at: start_ms / 1_000 + 600 };
        match stored {
            Ok(answer) => envelope(answer, Span { start_ms, finish_ms: now_ms(), operating }),
            Err(error) => error.reply(),
        }
    })
}

/// File name and bytes of the part that the first step named.
pub(crate) async fn read_part(request: &Request) -> Result<(String, Bytes), String> {
    let kind = request.head.header("content-type").unwrap_or("");
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(kind).map_err(|e| e.to_string())?);
    let body = stream::once(future::ready(Ok::<_, PayloadError>(request.body.clone())));
    let mut parts = Multipart::new(&headers, body);
    while let Some(part) = parts.next().await {
        let part = part.map_err(|e| e.to_string())?;
        if part.name() == Some(UPLOAD_FIELD) {
            return read_field(part).await;
        }
    }
    Err(format!("no part named `{UPLOAD_FIELD}`"))
}

async fn read_field(mut part: Field) -> Result<(String, Bytes), String> {
    let name = part.content_disposition().and_then(|d| d.get_filename().map(str::to_owned));
    let name = name.ok_or("the part has no file name")?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = part.next().await {
        bytes.extend_from_slice(&chunk.map_err(|e| e.to_string())?);
    }
    Ok((name, bytes.freeze()))
}
