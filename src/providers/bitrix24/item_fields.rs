//! Files into file fields and comments of CRM items, streamed; what is there already stays.
//!
//! `crm.item.update` deletes silently every file of a multiple field that is not named again
//! (`api-reference/crm/universal`, files), so the field is read right before it is written, and the files found are
//! named. Between that read and the write another person's new file could still be lost: the portal offers no
//! condition, and the gap is one request wide. Unknown names of fields are ignored silently too, so the field is
//! written under the name under which it was read, and the answer must show the new file.

use super::client::{Caller, Client, Observed, Payload};
use super::crm::{Item, item_of};
use super::error::misshapen;
use super::item_access::{Change, FieldKind, ItemAccess, Spoken, change_of};
use super::wire;
use crate::domain::{CrmItem, Failure, FailureClass, FailureKind, Text};
use crate::providers::spool_io::{Coding, FileSource, FramedFile};
use serde_json::{Value, json};

/// A file field as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldState {
    /// Its name as this portal spells it.
    pub name: String,
    /// How many files it takes.
    pub kind: FieldKind,
    /// The ids of the files in it.
    pub file_ids: Vec<u64>,
}

/// The outcome of a write, and what was learned of the portal.
#[derive(Debug)]
pub struct Written<T> {
    /// What came of it; ambiguous means: look before repeating.
    pub result: Result<T, Failure>,
    /// What was learned.
    pub observed: Observed,
}

/// Reads the field: which files are in it, and whether it takes several.
///
/// # Errors
/// `no_such_field` if the item has none of this name; otherwise as [`ItemAccess::get`].
pub async fn field_state(
    access: &ItemAccess,
    caller: &dyn Caller,
    item: CrmItem,
    field: &str,
) -> Result<FieldState, Failure> {
    let read = access.get(caller, item).await?;
    let kind = access.field_kind(caller, item.entity_type_id, field).await?;
    match (read.spelling(field), kind) {
        (Some(name), Some(kind)) => Ok(FieldState { name, kind, file_ids: ids(&read, field) }),
        (None, _) | (_, None) => Err(no_such_field(item, field)),
    }
}

/// The ids of the files in a field; none if there is no such field.
pub fn ids(item: &Item, field: &str) -> Vec<u64> {
    item.files(field).unwrap_or_default().into_iter().map(|file| file.id).collect()
}

/// A file that was put into a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// The id that it got; none where the portal does not tell it (old methods).
    pub file_id: Option<u64>,
    /// The change that this was to the item.
    pub change: Option<Change>,
}

/// Puts a file into the field beside those of `state`, which must have been read just now.
///
/// Not safe to repeat: class `probe`.
///
/// # Errors
/// `field_is_taken` if the field takes one file and has one; `field_not_taken` if the portal ignored it.
pub async fn attach(
    access: &ItemAccess,
    client: &Client,
    item: CrmItem,
    state: &FieldState,
    name: &str,
    source: &FileSource,
) -> Written<Attached> {
    let mut observed = Observed::default();
    if state.kind == FieldKind::One && !state.file_ids.is_empty() {
        return Written { result: Err(field_is_taken(item, &state.name)), observed };
    }
    let spoken = access.methods_for(item.entity_type_id);
    let method = match spoken {
        Spoken::Universal => "crm.item.update".to_owned(),
        Spoken::Old(old) => format!("crm.{old}.update"),
    };
    let framed = attach_body(spoken, item, state, name, source);
    let result = client.request(&method, Payload::Framed(&framed), &mut observed).await;
    let result = result.and_then(|answer| match spoken {
        Spoken::Universal => {
            let file_id = Some(new_file(&answer, &method, item, state)?);
            Ok(Attached { file_id, change: change_of(&answer) })
        }
        Spoken::Old(_) => Ok(Attached { file_id: None, change: None }),
    });
    Written { result, observed }
}

fn new_file(answer: &Value, method: &str, item: CrmItem, state: &FieldState) -> Result<u64, Failure> {
    let read = wire::member(answer, "item").and_then(|value| item_of(item.entity_type_id, value));
    let read = read.ok_or_else(|| misshapen(method))?;
    // The newest: ids grow, and what a person added meanwhile came before our write.
    let new = ids(&read, &state.name).into_iter().filter(|id| !state.file_ids.contains(id)).max();
    new.ok_or_else(|| field_not_taken(item, &state.name))
}

fn attach_body(
    spoken: Spoken,
    item: CrmItem,
    state: &FieldState,
    name: &str,
    source: &FileSource,
) -> FramedFile {
    let (field, name) = (Value::from(state.name.as_str()), Value::from(name));
    let (open, close) = match spoken {
        Spoken::Universal => (format!(r#"[{name},""#), r#""]"#),
        Spoken::Old(_) => (format!(r#"{{"fileData":[{name},""#), r#""]}"#),
    };
    let kept: String = state.file_ids.iter().map(|id| format!(r#"{{"id":{id}}},"#)).collect();
    let (open, close) = match state.kind {
        FieldKind::One => (open, close.to_owned()),
        FieldKind::Several => (format!("[{kept}{open}"), format!("{close}]")),
    };
    let head = match spoken {
        Spoken::Universal => format!(
            r#"{{"entityTypeId":{},"id":{},"useOriginalUfNames":"Y","fields":{{{field}:{open}"#,
            item.entity_type_id, item.id
        ),
        Spoken::Old(_) => format!(r#"{{"id":{},"fields":{{{field}:{open}"#, item.id),
    };
    framed(head, source, format!("{close}}}}}"))
}

/// `crm.timeline.comment.add` with a file; the text must carry a mark by which
/// [`comment_find`](super::crm::comment_find) knows it. Answers the comment's id.
///
/// Not safe to repeat: class `probe`.
///
/// # Errors
/// As [`comment_add`](super::crm::comment_add).
pub async fn comment_with_files(
    client: &Client,
    item: CrmItem,
    text: &str,
    files: &[(&str, FileSource)],
) -> Written<u64> {
    const METHOD: &str = "crm.timeline.comment.add";
    let mut observed = Observed::default();
    let (kind, text) = (json!(item.timeline_type()), Value::from(text));
    let mut body: Option<FramedFile> = None;
    for (place, (name, source)) in files.iter().enumerate().rev() {
        let head = match place {
            0 => format!(
                r#"{{"fields":{{"ENTITY_ID":{},"ENTITY_TYPE":{kind},"COMMENT":{text},"FILES":[[{},""#,
                item.id,
                Value::from(*name)
            ),
            _ => format!(r#",[{},""#, Value::from(*name)),
        };
        let tail = if body.is_none() { r#""]]}}"# } else { r#""]"# };
        let rest = body.take().map(Box::new);
        body = Some(FramedFile { then: rest, ..framed(head, source, tail.to_owned()) });
    }
    let result = match &body {
        Some(body) => client.request(METHOD, Payload::Framed(body), &mut observed).await,
        None => Err(permanent(
            "no_file",
            "К комментарию нет файла.".to_owned(),
            "There is no file for the comment.".to_owned(),
        )),
    };
    let result = result.and_then(|answer| wire::id(&answer).ok_or_else(|| misshapen(METHOD)));
    Written { result, observed }
}

fn framed(head: String, source: &FileSource, tail: String) -> FramedFile {
    FramedFile {
        prefix: head.into(),
        file: source.clone(),
        coding: Coding::Base64,
        suffix: tail.into(),
        then: None,
    }
}

fn permanent(code: &str, ru: String, en: String) -> Failure {
    Failure::new(FailureClass::Permanent, FailureKind::Refused, code, Text::new(ru, en))
}

fn no_such_field(item: CrmItem, field: &str) -> Failure {
    permanent(
        "no_such_field",
        format!(
            "У карточки {item} нет файлового поля {field}. Проверьте ключ into_field правила и права вебхука."
        ),
        format!(
            "Item {item} has no file field {field}. Check into_field of the rule and the webhook's rights."
        ),
    )
}

fn field_is_taken(item: CrmItem, field: &str) -> Failure {
    permanent(
        "field_is_taken",
        format!(
            "Поле {field} карточки {item} хранит один файл, и он там уже есть: мы его не затираем. Сделайте поле множественным, укажите в правиле другое или уберите файл, затем повторите."
        ),
        format!(
            "Field {field} of item {item} holds one file and has one: it is not overwritten. Make the field multiple, name another in the rule or remove the file, then retry."
        ),
    )
}

/// The portal has executed the update, so nothing is unknown: it has simply left the field as it was.
fn field_not_taken(item: CrmItem, field: &str) -> Failure {
    permanent(
        "field_not_taken",
        format!(
            "Портал обновил карточку {item}, но файла в поле {field} нет. Проверьте, что поле файловое, доступно для записи и принимает такой файл."
        ),
        format!(
            "The portal updated item {item}, but the file is not in field {field}. Check that it is a file field, that it may be written and that it takes such a file."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::super::client::tests::client_of;
    use super::super::item_access::ItemMethods;
    use super::*;
    use crate::domain::{FileDigest, SpoolFile};
    use crate::providers::test_server::{Reply, TestServer};
    use sha2::{Digest as _, Sha256};
    use tempfile::TempDir;

    const DEAL: CrmItem = CrmItem { entity_type_id: 2, id: 501 };

    fn source(dir: &TempDir) -> FileSource {
        let path = dir.path().join("signed");
        std::fs::write(&path, b"%PDF-1.7").unwrap();
        let digest = FileDigest(Sha256::digest(b"%PDF-1.7").into());
        FileSource::new(path, SpoolFile { digest, size_bytes: 8 })
    }

    fn state(kind: FieldKind, file_ids: &[u64]) -> FieldState {
        FieldState { name: "UF_CRM_SIGNED".into(), kind, file_ids: file_ids.to_vec() }
    }

    async fn attached(methods: ItemMethods, state: &FieldState, answer: &str) -> (Written<Attached>, Value) {
        let dir = TempDir::new().unwrap();
        let server = TestServer::start(vec![Reply::ok(answer)]);
        let access = ItemAccess::new(methods);
        let written =
            attach(&access, &client_of(&server), DEAL, state, "договор \"1\".pdf", &source(&dir)).await;
        let body = server.requests().first().map_or(Value::Null, |seen| seen.json());
        (written, body)
    }

    #[tokio::test]
    async fn files_that_are_there_are_named_again() {
        let answer = r#"{"result":{"item":{"id":501,"UF_CRM_SIGNED":[
            {"id":5,"urlMachine":"u"},{"id":"6","urlMachine":"u"},{"id":9,"urlMachine":"u"}]}}}"#;
        let (written, body) =
            attached(ItemMethods::Universal, &state(FieldKind::Several, &[5, 6]), answer).await;
        assert_eq!(written.result.map(|attached| attached.file_id), Ok(Some(9)));
        assert_eq!(written.observed.requests, 1);
        let files = json!([{"id": 5}, {"id": 6}, ["договор \"1\".pdf", "JVBERi0xLjc="]]);
        assert_eq!(
            body,
            json!({"entityTypeId": 2, "id": 501, "useOriginalUfNames": "Y", "fields": {"UF_CRM_SIGNED": files}})
        );
    }

    #[tokio::test]
    async fn an_empty_single_field_gets_the_file_alone() {
        let answer = r#"{"result":{"item":{"id":501,"UF_CRM_SIGNED":{"id":9,"urlMachine":"u"}}}}"#;
        let (written, body) = attached(ItemMethods::Universal, &state(FieldKind::One, &[]), answer).await;
        assert_eq!(written.result.map(|attached| attached.file_id), Ok(Some(9)));
        assert_eq!(body["fields"]["UF_CRM_SIGNED"], json!(["договор \"1\".pdf", "JVBERi0xLjc="]));
    }

    #[tokio::test]
    async fn a_single_field_with_a_file_is_never_overwritten() {
        let (written, body) = attached(ItemMethods::Universal, &state(FieldKind::One, &[5]), "{}").await;
        assert_eq!(written.result.unwrap_err().code, "field_is_taken");
        assert_eq!(body, Value::Null, "nothing was sent");
    }

    #[tokio::test]
    async fn a_file_that_the_portal_ignored_is_not_called_delivered() {
        let answer = r#"{"result":{"item":{"id":501,"UF_CRM_SIGNED":[{"id":5,"urlMachine":"u"}]}}}"#;
        let (written, _) = attached(ItemMethods::Universal, &state(FieldKind::Several, &[5]), answer).await;
        assert_eq!(written.result.unwrap_err().code, "field_not_taken");
    }

    #[tokio::test]
    async fn an_old_box_is_given_the_file_in_its_own_form() {
        let (written, body) =
            attached(ItemMethods::Old, &state(FieldKind::Several, &[5]), r#"{"result":true}"#).await;
        assert_eq!(written.result, Ok(Attached { file_id: None, change: None }));
        let files = json!([{"id": 5}, {"fileData": ["договор \"1\".pdf", "JVBERi0xLjc="]}]);
        assert_eq!(body, json!({"id": 501, "fields": {"UF_CRM_SIGNED": files}}));
    }

    #[tokio::test]
    async fn a_comment_carries_its_file() {
        let dir = TempDir::new().unwrap();
        let server = TestServer::start(vec![Reply::ok(r#"{"result":77}"#)]);
        let client = client_of(&server);
        let written =
            comment_with_files(&client, DEAL, "готово\nedobridge:1", &[("a.pdf", source(&dir))]).await;
        assert_eq!(written.result, Ok(77));
        assert_eq!(
            server.requests()[0].json(),
            json!({"fields": {
                "ENTITY_ID": 501, "ENTITY_TYPE": "deal", "COMMENT": "готово\nedobridge:1",
                "FILES": [["a.pdf", "JVBERi0xLjc="]]
            }})
        );
    }

    #[tokio::test]
    async fn a_field_is_written_under_the_name_under_which_it_was_read() {
        let item = json!({"item": {"id": 501, "ufCrmSigned": [{"id": 5, "urlMachine": "u"}]}});
        let fields = json!({"fields": {"ufCrmSigned": {"isMultiple": true}}});
        let portal = Scripted::ok([item, fields]);
        let found = field_state(&ItemAccess::default(), &portal, DEAL, "UF_CRM_SIGNED").await.unwrap();
        let expected = FieldState { name: "ufCrmSigned".into(), kind: FieldKind::Several, file_ids: vec![5] };
        assert_eq!(found, expected);
        let portal = Scripted::ok([json!({"item": {"id": 501}}), json!({"fields": {}})]);
        let failure = field_state(&ItemAccess::default(), &portal, DEAL, "UF_X").await.unwrap_err();
        assert_eq!(failure.code, "no_such_field");
    }
}
