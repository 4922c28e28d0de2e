//! The seal key that nobody configured: `data_dir/seal-key`, made when it is first needed.
//!
//! A key beside the data protects backups and stray copies of the journal, not a stolen disk: a systemd credential
//! is better, and `doctor` says so. During `portals rekey` the key before lies in `seal-key.old` until nothing is
//! sealed with it any more, so that a crash in between loses nothing.

use super::portal_seal::{BadSealKey, SealKey, SealRing};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The present key.
pub const FILE_NAME: &str = "seal-key";
/// The key before, while a change is under way.
pub const OLD_FILE_NAME: &str = "seal-key.old";
/// A file that is longer is not one of ours.
const BYTES_MAX: u64 = 1_024;

/// The key file could not be read, made or changed.
#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    /// The file system refused.
    #[error("{doing} {} failed", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds no key.
    #[error("{} holds no seal key", path.display())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BadSealKey,
    },
}

/// Whether there is a key file in `data_dir`.
pub fn exists(data_dir: &Path) -> bool {
    data_dir.join(FILE_NAME).exists()
}

/// The ring of the key files in `data_dir`; makes the key if there is none. Durable before it returns: what is sealed
/// must be openable after a power cut.
///
/// # Errors
/// [`SealKeyError`].
pub fn load_or_make(data_dir: &Path) -> Result<SealRing, SealKeyError> {
    let path = data_dir.join(FILE_NAME);
    let older: Vec<SealKey> = read(&data_dir.join(OLD_FILE_NAME))?.into_iter().collect();
    if let Some(present) = read(&path)? {
        return Ok(SealRing::new(present, older));
    }
    let present = SealKey::generate();
    write_new(data_dir, &path, &present).map_err(|source| io_error("making", &path, source))?;
    tracing::warn!(file = %path.display(), key.id = present.id_text(), "a seal key was made: keep a copy apart from the backups");
    Ok(SealRing::new(present, older))
}

/// Makes a new present key; the one before becomes the old one. An unfinished change is finished first by its caller.
///
/// # Errors
/// [`SealKeyError`].
pub fn rotate(data_dir: &Path) -> Result<SealRing, SealKeyError> {
    let (path, old) = (data_dir.join(FILE_NAME), data_dir.join(OLD_FILE_NAME));
    let before = load_or_make(data_dir)?;
    if !old.exists() {
        let next = SealKey::generate();
        let change = || {
            // both names exist before the present one changes: at no moment is a key without a file
            fs::hard_link(&path, &old)?;
            sync_dir(data_dir)?;
            replace(data_dir, &path, &next)
        };
        change().map_err(|source| io_error("changing", &path, source))?;
        return Ok(SealRing::new(next, vec![before.present().clone()]));
    }
    Ok(before)
}

/// Ends a change: nothing is sealed with the old key any more.
///
/// # Errors
/// [`SealKeyError`].
pub fn forget_old(data_dir: &Path) -> Result<(), SealKeyError> {
    let old = data_dir.join(OLD_FILE_NAME);
    match fs::remove_file(&old).and_then(|()| sync_dir(data_dir)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error("removing", &old, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> SealKeyError {
    SealKeyError::Io { doing, path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<Option<SealKey>, SealKeyError> {
    let text = match fs::metadata(path).and_then(|meta| match meta.len() {
        0..=BYTES_MAX => fs::read_to_string(path),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long for a key")),
    }) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("reading", path, source)),
    };
    SealKey::parse(&text).map(Some).map_err(|source| SealKeyError::Bad { path: path.to_owned(), source })
}

/// Written beside and linked into place: a crash leaves no half key, and an existing one is never overwritten.
fn write_new(data_dir: &Path, path: &Path, key: &SealKey) -> io::Result<()> {
    let fresh = write_beside(data_dir, key)?;
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    linked?;
    sync_dir(data_dir)
}

fn replace(data_dir: &Path, path: &Path, key: &SealKey) -> io::Result<()> {
    fs::rename(write_beside(data_dir, key)?, path)?;
    sync_dir(data_dir)
}

fn write_beside(data_dir: &Path, key: &SealKey) -> io::Result<PathBuf> {
    let fresh = data_dir.join(format!("{FILE_NAME}.{}", uuid::Uuid::new_v4().simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(format!("{}\n", *key.to_text()).as_bytes())?;
    file.sync_all()?;
    Ok(fresh)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let made = load_or_make(dir.path()).unwrap();
        assert_eq!(load_or_make(dir.path()).unwrap().present(), made.present());
        let mode = fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_change_keeps_the_old_key_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let before = load_or_make(dir.path()).unwrap();
        let sealed = before.seal(b"p", b"text");
        let after = rotate(dir.path()).unwrap();
        assert_ne!(after.present(), before.present());
        assert!(after.open(b"p", &sealed).is_some());
        let again = load_or_make(dir.path()).unwrap();
        assert!(again.open(b"p", &sealed).is_some() && again.present() == after.present());
        assert_eq!(rotate(dir.path()).unwrap().present(), after.present(), "an unfinished change goes on");
        forget_old(dir.path()).unwrap();
        forget_old(dir.path()).unwrap();
        assert!(load_or_make(dir.path()).unwrap().open(b"p", &sealed).is_none());
    }

    #[test]
    fn a_file_without_a_key_is_an_error_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "oops").unwrap();
        assert!(matches!(load_or_make(dir.path()), Err(SealKeyError::Bad { .. })));
        assert_eq!(fs::read_to_string(dir.path().join(FILE_NAME)).unwrap(), "oops");
    }
}
