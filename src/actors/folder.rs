//! Questions about a folder that take more than one page: what is new, and which names are taken.

use crate::domain::{Failure, FailureClass, FailureKind, Text};
use crate::limits;
use crate::providers::bitrix24::Caller;
use crate::providers::bitrix24::drive::{self, ChildFilter, Entry, EntryKind};

/// Files of the folder with an id above `above_id`, by growing id.
///
/// # Errors
/// As [`drive::children`].
pub async fn files_above(caller: &dyn Caller, folder_id: u64, above_id: u64) -> Result<Vec<Entry>, Failure> {
    collect(caller, folder_id, ChildFilter { newer_than_id: Some(above_id), ..ChildFilter::default() }).await
}

/// Names in the folder that begin with `prefix`.
///
/// # Errors
/// As [`drive::children`].
pub async fn names_with_prefix(
    caller: &dyn Caller,
    folder_id: u64,
    prefix: &str,
) -> Result<Vec<String>, Failure> {
    let filter = ChildFilter { name_prefix: Some(prefix.to_owned()), ..ChildFilter::default() };
    Ok(collect(caller, folder_id, filter).await?.into_iter().map(|entry| entry.name).collect())
}

async fn collect(
    caller: &dyn Caller,
    folder_id: u64,
    mut filter: ChildFilter,
) -> Result<Vec<Entry>, Failure> {
    let mut files = Vec::new();
    for _ in 0..limits::FOLDER_PAGES_MAX {
        let page = drive::children(caller, folder_id, &filter).await?;
        files.extend(page.entries.into_iter().filter(|entry| entry.kind == EntryKind::File));
        match page.continue_after {
            Some(id) => filter.newer_than_id = Some(id),
            None => return Ok(files),
        }
    }
    // More than that is not an answer to a question about what is new: a part of it would be a wrong one.
    Err(Failure::new(
        FailureClass::Permanent,
        FailureKind::Local,
        "folder_too_large",
        Text::new(
            format!("В папке {folder_id} слишком много новых файлов, чтобы найти в ней нужный."),
            format!("Folder {folder_id} has too many new files to find ours among them."),
        ),
    ))
}
