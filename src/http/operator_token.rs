//! The operator's token in `data_dir/operator-token`: made at the first start, read by the commands.
//!
//! Whoever may read the file is the operator; so it is readable by its owner only.

use crate::domain::Secret;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "operator-token";

/// A file that is longer is not one of ours.
const BYTES_MAX: u64 = 1_024;

/// The token could not be read or made.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {} failed", path.display())]
pub struct TokenError {
    doing: &'static str,
    /// Which file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The token in `data_dir`.
///
/// # Errors
/// [`TokenError`] if there is none, it is empty, or it may not be read.
pub fn load(data_dir: &Path) -> Result<Secret, TokenError> {
    let path = data_dir.join(FILE_NAME);
    read(&path).map_err(|source| TokenError { doing: "reading", path, source })
}

/// The same; makes the token if there is none. Durable before it returns, so that a token that was shown stays valid.
///
/// # Errors
/// [`TokenError`].
pub fn load_or_make(data_dir: &Path) -> Result<Secret, TokenError> {
    let path = data_dir.join(FILE_NAME);
    match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(data_dir, &path).map_err(|source| TokenError { doing: "making", path, source })
        }
        other => other.map_err(|source| TokenError { doing: "reading", path, source }),
    }
}

fn read(path: &Path) -> io::Result<Secret> {
    if fs::metadata(path)?.len() > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long for a token"));
    }
    let text = fs::read_to_string(path)?;
    match text.trim() {
        "" => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
        token => Ok(Secret::new(token)),
    }
}

/// Written beside and linked into place, so that a crash leaves no half token and the first of two makers wins.
fn make(data_dir: &Path, path: &Path) -> io::Result<Secret> {
    // two random UUIDs: 244 random bits from the system
    let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let fresh = data_dir.join(format!("{FILE_NAME}.{}", uuid::Uuid::new_v4().simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(format!("{token}\n").as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return read(path),
        Err(error) => return Err(error),
    }
    File::open(data_dir)?.sync_all()?;
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_token_is_made_once_is_long_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap_err().source.kind(), io::ErrorKind::NotFound);
        let made = load_or_make(dir.path()).unwrap();
        assert_eq!(made.expose().len(), 64);
        assert!(load_or_make(dir.path()).unwrap() == made && load(dir.path()).unwrap() == made);
        let mode = fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn an_empty_file_is_an_error_and_not_an_empty_token() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "\n").unwrap();
        assert!(load_or_make(dir.path()).is_err());
    }
}
