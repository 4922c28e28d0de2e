//! Where a new backup goes: a path that was named, or a directory beside the store.

use super::backup_retention;
use crate::config::Config;
use crate::domain::Text;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

/// Directory for backups within the data directory, unless another file is named.
const BACKUPS: &str = "backups";

/// The absolute path of the new file. The default directory is made, for the user of the service.
pub(super) fn place_of(named: Option<&Path>, config: &Config) -> Result<PathBuf, Text> {
    let Some(file) = named else {
        return default_place(config);
    };
    let mut file = std::path::absolute(file).map_err(|error| unusable(file, &error))?;
    if file.is_dir() {
        file = backup_retention::place_in(&file, jiff::Timestamp::now());
    }
    if file.starts_with(config.data_dir.join("store")) {
        return Err(Text::new(
            "Файл копии не может лежать внутри самого хранилища: назовите другой каталог.",
            "The backup cannot lie within the store itself: name another directory.",
        ));
    }
    Ok(file)
}

fn default_place(config: &Config) -> Result<PathBuf, Text> {
    let dir = std::path::absolute(config.data_dir.join(BACKUPS))
        .map_err(|error| unusable(&config.data_dir, &error))?;
    if !dir.is_dir() {
        make_for_owner(&dir, &config.data_dir).map_err(|error| unusable(&dir, &error))?;
    }
    Ok(backup_retention::place_in(&dir, jiff::Timestamp::now()))
}

/// Makes a directory that belongs to whom `like` belongs, even if root makes it.
fn make_for_owner(dir: &Path, like: &Path) -> std::io::Result<()> {
    let owner = std::fs::metadata(like)?;
    DirBuilder::new().mode(0o700).create(dir)?;
    if owner.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    chown(dir, Some(owner.uid()), Some(owner.gid()))
}

/// The sentence for a path that will not do.
pub(super) fn unusable(path: &Path, error: &std::io::Error) -> Text {
    let path = path.display();
    Text::new(
        format!("{path} не подходит: {error}. Назовите файл сами: --to /каталог/имя."),
        format!("{path} cannot be used: {error}. Name a file yourself: --to /directory/name."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::defaults();
        config.data_dir = dir.path().to_owned();
        (dir, config)
    }

    #[test]
    fn without_a_name_the_backup_lies_in_the_data_directory_for_its_owner_only() {
        let (dir, config) = config();
        let file = place_of(None, &config).unwrap();
        assert_eq!(file.parent(), Some(dir.path().join(BACKUPS).as_path()));
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("edobridge-20") && name.ends_with("Z.backup"), "{name}");
        assert_eq!(std::fs::metadata(dir.path().join(BACKUPS)).unwrap().mode() & 0o777, 0o700);
        assert!(!file.exists(), "only the place is made");
    }

    #[test]
    fn a_backup_within_the_store_is_refused() {
        let (dir, config) = config();
        assert!(place_of(Some(&dir.path().join("store/x.backup")), &config).is_err());
        assert!(place_of(Some(Path::new("x.backup")), &config).unwrap().is_absolute());
    }
}
