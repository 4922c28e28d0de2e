//! From an older format to ours, with a way back.
//!
//! There is nothing to convert: records of older versions decode for ever (`records`), and become ours one by one when
//! they are next written. So the only step is the one that says so: FORMAT is replaced as a whole, before the first
//! record of ours can be written. Before it the older program goes on as ever; after it the older program refuses,
//! because it would meet records that it cannot read. There is no moment in between.
//!
//! What the older program needs, should the operator want it back, is what there was before that step: a backup, made
//! here as the older program would have made it, which `backup restore --replace` of that program takes. Where it cannot
//! be made the upgrade is refused, and nothing is changed.
//!
//! It was chosen over writing records in the older version for a while: that would need every record to be written in
//! two ways, and to say nothing new for as long, in every release. A backup costs space once.
//!
//! # Invariants
//! * **SU-1** A store whose FORMAT is older holds no record of ours.
//! * **SU-2** Once FORMAT is ours, the backup of what was before lies whole under its name.

use super::disk::{Disk, Host};
use super::error::OpenError;
use super::layout::{Format, Layout};
use super::open::{self, OpenProgress, Raise};
use super::options::StoreOptions;
use crate::domain::Text;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What the names of these backups begin with; the entry that they stand at follows.
pub const BEFORE_UPGRADE: &str = "before-upgrade-";
const END: &str = ".backup";
/// How many of them are kept: the one to go back to, and the one before it.
const KEEP: usize = 2;

/// Makes the backup of an older store, if it is one and such backups are wanted. Changes no record.
pub(super) fn keep_way_back(
    options: &StoreOptions,
    host: &Host,
    progress: &mut dyn FnMut(OpenProgress),
) -> Result<(), OpenError> {
    let Some(dir) = &options.way_back else { return Ok(()) };
    if !is_older(&Layout::new(&options.dir), &host.disk) {
        return Ok(());
    }
    let (store, _) = open::open_as(options.clone(), host.clone(), Raise::Never, progress)?;
    progress(OpenProgress::KeepingWayBack);
    let path = path_of(dir, store.health().sequence);
    let made = if path.exists() { Ok(()) } else { make(&store, dir, path.clone()) };
    let closed = store.close_blocking();
    made.map_err(|why| refused(dir, &why))?;
    closed.map_err(|error| refused(dir, &error.to_string()))?;
    tracing::info!(path = %path.display(), "the store is upgraded; this backup is the way back");
    thin_out(dir).map_err(|source| OpenError::Io { doing: "listing", path: dir.clone(), source })
}

/// Whether there is a store of an older format. What cannot be read is told by whoever opens it.
fn is_older(layout: &Layout, disk: &Disk) -> bool {
    let Ok(Some(bytes)) = disk.read_small(&layout.format()) else { return false };
    Format::parse(&String::from_utf8_lossy(&bytes)).is_ok_and(|found| found != Format::new(found.store))
}

fn make(store: &super::Store, dir: &Path, path: PathBuf) -> Result<(), String> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| e.to_string())?;
    let report = store.backup_blocking(path).map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })?;
    match report.damaged_files {
        0 => Ok(()),
        count => Err(format!("{count} files of the spool are damaged")),
    }
}

fn path_of(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{BEFORE_UPGRADE}{sequence:020}{END}"))
}

fn refused(dir: &Path, why: &str) -> OpenError {
    let dir = dir.display();
    OpenError::NoWayBack {
        reason: Text::new(
            format!(
                "Перед обновлением хранилища не удалось сделать его копию в {dir}: {why}. Хранилище не изменено, прежняя версия с ним работает. Освободите место и запустите снова; без копии вернуться к прежней версии нельзя ([store] backup_before_upgrade = false, если она не нужна)."
            ),
            format!(
                "The store could not be backed up into {dir} before its upgrade: {why}. It was not changed, and the version before works with it. Free some space and start again; without the backup there is no way back to that version ([store] backup_before_upgrade = false if none is wanted)."
            ),
        ),
    }
}

/// Removes all but the newest of these backups.
fn thin_out(dir: &Path) -> io::Result<()> {
    let mut paths = super::disk::list_dir(dir)?;
    paths.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix(BEFORE_UPGRADE)
            .and_then(|rest| rest.strip_suffix(END))
            .is_some_and(|number| number.len() == 20 && number.bytes().all(|b| b.is_ascii_digit()))
    });
    let surplus = paths.len().saturating_sub(KEEP);
    paths.iter().take(surplus).try_for_each(std::fs::remove_file)
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
