//! The Drive in typed calls: files, folders, what lies in them (scope `disk`, `api-reference/disk`).
//!
//! Links for downloading are secrets and die soon: they are used at once and kept nowhere.

use super::client::{Call, Caller};
use super::error::misshapen;
use super::wire;
use crate::domain::{Failure, Secret};
use crate::providers::remote::Nature;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Rows of one page; the platform's fixed size.
pub const PAGE_ROWS: usize = 50;

/// A file on the Drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its id as an object of the Drive.
    pub id: u64,
    /// Name with extension.
    pub name: String,
    /// The folder it lies in (`PARENT_ID`).
    pub folder_id: u64,
    /// Size in bytes, as the portal says.
    pub size_bytes: Option<u64>,
    /// Counts the versions of its content, from 1 (`GLOBAL_CONTENT_VERSION`).
    pub version: u64,
    /// Who put it there; none for the system.
    pub created_by: Option<u64>,
    /// When, as the portal wrote it (server zone with offset); for people only.
    pub created_at: Option<String>,
    /// Whether it lies in the trash (`DELETED_TYPE` other than 0).
    pub in_trash: bool,
    /// Where to fetch it, now.
    pub download_url: Secret,
}

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder within.
    Folder,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id on the Drive.
    pub id: u64,
    /// File or folder.
    pub kind: EntryKind,
    /// Its name.
    pub name: String,
    /// Size in bytes; files only.
    pub size_bytes: Option<u64>,
    /// Counts the versions of a file's content.
    pub version: u64,
    /// Who put it there.
    pub created_by: Option<u64>,
    /// When, as the portal wrote it; for people only.
    pub created_at: Option<String>,
}

/// Which entries of a folder are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChildFilter {
    /// Only those with a greater id: newer ones, and the way to the next page.
    pub newer_than_id: Option<u64>,
    /// Only this very name.
    pub name: Option<String>,
    /// Only names that begin so. The portal is asked for names that contain it, the beginning is compared here.
    pub name_prefix: Option<String>,
}

/// One page of entries, by growing id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Ask again with this `newer_than_id`; none on the last page.
    pub continue_after: Option<u64>,
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderInfo {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The storage it belongs to.
    pub storage_id: Option<u64>,
    /// The folder above.
    pub parent_id: Option<u64>,
    /// Whether it lies in the trash.
    pub in_trash: bool,
}

/// `disk.file.get`.
///
/// # Errors
/// `error_not_found` if there is no such file or the webhook's user does not see it.
pub async fn file_get(caller: &dyn Caller, id: u64) -> Result<FileInfo, Failure> {
    const METHOD: &str = "disk.file.get";
    let answer = read(caller, METHOD, json!({ "id": id })).await?;
    file_of(&answer).ok_or_else(|| Nature::Read.judge(misshapen(METHOD)))
}

/// `disk.file.get`: the page of the file for people (`DETAIL_URL`), to be shown and never fetched. None where the
/// portal tells none.
///
/// # Errors
/// As [`file_get`].
pub async fn file_page(caller: &dyn Caller, id: u64) -> Result<Option<String>, Failure> {
    let answer = read(caller, "disk.file.get", json!({ "id": id })).await?;
    Ok(wire::member(&answer, "DETAIL_URL").and_then(wire::filled))
}

fn file_of(value: &Value) -> Option<FileInfo> {
    let field = |name| wire::member(value, name);
    Some(FileInfo {
        id: wire::id(field("ID")?)?,
        name: wire::filled(field("NAME")?)?,
        folder_id: wire::id(field("PARENT_ID")?)?,
        size_bytes: field("SIZE").and_then(wire::number),
        version: field("GLOBAL_CONTENT_VERSION").and_then(wire::number).unwrap_or(1),
        created_by: field("CREATED_BY").and_then(wire::id),
        created_at: field("CREATE_TIME").and_then(wire::filled),
        in_trash: is_in_trash(value),
        download_url: Secret::new(wire::filled(field("DOWNLOAD_URL")?)?),
    })
}

fn is_in_trash(value: &Value) -> bool {
    wire::member(value, "DELETED_TYPE").and_then(wire::number).unwrap_or(0) != 0
}

/// `disk.folder.getchildren`, one page. An empty folder and one that the user may not read look the same.
///
/// # Errors
/// `error_not_found` if there is no such folder.
pub async fn children(caller: &dyn Caller, folder_id: u64, filter: &ChildFilter) -> Result<Page, Failure> {
    const METHOD: &str = "disk.folder.getchildren";
    let params = json!({ "id": folder_id, "filter": filter_params(filter), "order": { "ID": "ASC" } });
    let answer = read(caller, METHOD, params).await?;
    let misshapen = || Nature::Read.judge(misshapen(METHOD));
    let rows = wire::rows(&answer).ok_or_else(misshapen)?;
    let full = rows.len() >= PAGE_ROWS;
    let mut entries = rows.into_iter().map(entry_of).collect::<Option<Vec<_>>>().ok_or_else(misshapen)?;
    // A page that does not lead on would be asked for again for ever.
    let last = entries.iter().map(|entry| entry.id).max();
    let continue_after = last.filter(|id| full && Some(*id) > filter.newer_than_id);
    entries.retain(|entry| filter.lets_pass(entry));
    entries.sort_by_key(|entry| entry.id);
    Ok(Page { entries, continue_after })
}

/// The greatest id in the folder, zero for an empty one: what comes later has a greater one.
///
/// # Errors
/// As [`children`].
pub async fn highest_id(caller: &dyn Caller, folder_id: u64) -> Result<u64, Failure> {
    const METHOD: &str = "disk.folder.getchildren";
    let params = json!({ "id": folder_id, "order": { "ID": "DESC" } });
    let answer = read(caller, METHOD, params).await?;
    let misshapen = || Nature::Read.judge(misshapen(METHOD));
    let rows = wire::rows(&answer).ok_or_else(misshapen)?;
    let entries = rows.into_iter().map(entry_of).collect::<Option<Vec<_>>>().ok_or_else(misshapen)?;
    Ok(entries.iter().map(|entry| entry.id).max().unwrap_or(0))
}

impl ChildFilter {
    /// The portal's filter is not trusted to be ours: names are compared again.
    fn lets_pass(&self, entry: &Entry) -> bool {
        self.newer_than_id.is_none_or(|id| entry.id > id)
            && self.name.as_ref().is_none_or(|name| *name == entry.name)
            && self.name_prefix.as_ref().is_none_or(|prefix| entry.name.starts_with(prefix))
    }
}

fn filter_params(filter: &ChildFilter) -> Value {
    let mut params = Map::new();
    if let Some(id) = filter.newer_than_id {
        params.insert(">ID".into(), id.into());
    }
    if let Some(name) = &filter.name {
        params.insert("NAME".into(), name.clone().into());
    }
    if let Some(prefix) = &filter.name_prefix {
        params.insert("%NAME".into(), prefix.clone().into());
    }
    Value::Object(params)
}

fn entry_of(value: &Value) -> Option<Entry> {
    let field = |name| wire::member(value, name);
    let kind = match wire::text(field("TYPE")?)?.as_str() {
        "folder" => EntryKind::Folder,
        _ => EntryKind::File,
    };
    Some(Entry {
        id: wire::id(field("ID")?)?,
        kind,
        name: wire::text(field("NAME")?)?,
        size_bytes: field("SIZE").and_then(wire::number),
        version: field("GLOBAL_CONTENT_VERSION").and_then(wire::number).unwrap_or(1),
        created_by: field("CREATED_BY").and_then(wire::id),
        created_at: field("CREATE_TIME").and_then(wire::filled),
    })
}

/// `disk.folder.get`.
///
/// # Errors
/// `error_not_found` if there is no such folder or the webhook's user does not see it.
pub async fn folder_get(caller: &dyn Caller, id: u64) -> Result<FolderInfo, Failure> {
    const METHOD: &str = "disk.folder.get";
    let answer = read(caller, METHOD, json!({ "id": id })).await?;
    let field = |name| wire::member(&answer, name);
    let found = field("ID").and_then(wire::id).zip(field("NAME").and_then(wire::text));
    let (id, name) = found.ok_or_else(|| Nature::Read.judge(misshapen(METHOD)))?;
    Ok(FolderInfo {
        id,
        name,
        storage_id: field("STORAGE_ID").and_then(wire::id),
        parent_id: field("PARENT_ID").and_then(wire::id),
        in_trash: is_in_trash(&answer),
    })
}

/// `disk.file.markdeleted`: puts a file into the trash, from where people can restore it.
///
/// # Errors
/// `access_denied` without the right to delete; the outcome may be ambiguous, a repeat is harmless.
pub async fn file_to_trash(caller: &dyn Caller, id: u64) -> Result<(), Failure> {
    caller.call(Call::new("disk.file.markdeleted", json!({ "id": id }))).await.map(|_| ())
}

/// A call that only asks: unknown outcomes are transient.
pub(super) async fn read(
    caller: &dyn Caller,
    method: impl Into<Cow<'static, str>>,
    params: Value,
) -> Result<Value, Failure> {
    caller.call(Call::new(method, params)).await.map_err(|failure| Nature::Read.judge(failure))
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::*;
    use crate::domain::FailureClass;

    fn file() -> Value {
        json!({"ID": "9043", "NAME": "договор.pdf", "CODE": null, "STORAGE_ID": "1357", "TYPE": "file",
               "PARENT_ID": 8996, "DELETED_TYPE": "0", "GLOBAL_CONTENT_VERSION": "2", "FILE_ID": "12",
               "SIZE": "12345", "CREATE_TIME": "2026-01-01T10:00:00+03:00", "CREATED_BY": "17",
               "DOWNLOAD_URL": "https://p/rest/17/abc/download/?token=t", "DETAIL_URL": "https://p/x"})
    }

    #[tokio::test]
    async fn a_file_is_read_with_numbers_as_texts() {
        let portal = Scripted::ok([file()]);
        let info = file_get(&portal, 9043).await.unwrap();
        assert_eq!((info.id, info.folder_id, info.version), (9043, 8996, 2));
        assert_eq!((info.size_bytes, info.created_by, info.in_trash), (Some(12_345), Some(17), false));
        assert_eq!(info.name, "договор.pdf");
        assert!(!format!("{info:?}").contains("token=t"));
        assert_eq!(portal.calls(), vec![Call::new("disk.file.get", json!({"id": 9043}))]);
    }

    #[tokio::test]
    async fn an_answer_that_is_no_file_is_a_passing_trouble_of_a_read() {
        for answer in [json!([]), json!(null), json!({"ID": 1}), json!(true)] {
            let failure = file_get(&Scripted::ok([answer]), 1).await.unwrap_err();
            assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Transient, "misshapen_answer"));
        }
    }

    #[tokio::test]
    async fn a_folder_is_read_page_by_page_by_growing_id() {
        let row = |n: u64| json!({"ID": n.to_string(), "TYPE": "file", "NAME": format!("f{n}"), "SIZE": n});
        let full: Vec<Value> = (101..=150).rev().map(row).collect();
        let portal = Scripted::ok([json!(full), json!([row(151)]), json!([])]);
        let filter = ChildFilter { newer_than_id: Some(100), ..ChildFilter::default() };
        let page = children(&portal, 8996, &filter).await.unwrap();
        assert_eq!((page.entries.len(), page.entries[0].id, page.continue_after), (50, 101, Some(150)));
        let next = ChildFilter { newer_than_id: page.continue_after, ..ChildFilter::default() };
        let page = children(&portal, 8996, &next).await.unwrap();
        assert_eq!((page.entries.len(), page.continue_after), (1, None));
        assert!(children(&portal, 8996, &next).await.unwrap().entries.is_empty());
        let expected = json!({"id": 8996, "filter": {">ID": 100}, "order": {"ID": "ASC"}});
        assert_eq!(portal.calls()[0].params, expected);
    }

    #[tokio::test]
    async fn a_portal_that_ignores_the_filter_does_not_fool_us() {
        let rows = json!([
            {"ID": 1, "TYPE": "file", "NAME": "a_signed.pdf"},
            {"ID": 2, "TYPE": "folder", "NAME": "a_signed (1).pdf"},
            {"ID": 3, "TYPE": "file", "NAME": "my a_signed.pdf"}
        ]);
        let by_prefix = ChildFilter { name_prefix: Some("a_signed".into()), ..ChildFilter::default() };
        let page = children(&Scripted::ok([rows.clone()]), 1, &by_prefix).await.unwrap();
        assert_eq!(page.entries.iter().map(|e| e.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(page.entries[1].kind, EntryKind::Folder);
        let by_name = ChildFilter { name: Some("a_signed.pdf".into()), ..ChildFilter::default() };
        let page = children(&Scripted::ok([rows]), 1, &by_name).await.unwrap();
        assert_eq!(page.entries.len(), 1);
    }

    #[tokio::test]
    async fn pages_that_do_not_lead_on_end() {
        let same: Vec<Value> = (1..=50).map(|n| json!({"ID": n, "TYPE": "file", "NAME": "x"})).collect();
        let filter = ChildFilter { newer_than_id: Some(50), ..ChildFilter::default() };
        let page = children(&Scripted::ok([json!(same)]), 1, &filter).await.unwrap();
        assert_eq!((page.entries.len(), page.continue_after), (0, None));
    }

    #[tokio::test]
    async fn a_folder_is_described() {
        let portal =
            Scripted::ok([json!({"ID": 5, "NAME": "Договоры", "STORAGE_ID": "7", "DELETED_TYPE": 3})]);
        let folder = folder_get(&portal, 5).await.unwrap();
        assert_eq!((folder.id, folder.storage_id, folder.in_trash), (5, Some(7), true));
    }
}
