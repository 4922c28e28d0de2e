//! The key of the links to the signing page, in `data_dir/sign-link-key`: made at the first start that needs it.
//!
//! Whoever can read it can make links, so it is readable by its owner only. Without it (a restored backup) links that
//! were sent are dead, and the signer's reminder brings a new one: nothing is lost.

use crate::domain::signing::LinkKey;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "sign-link-key";

/// Bytes of the key; written as twice as many hex digits.
const KEY_BYTES: usize = 32;

/// The key could not be read or made.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {} failed", path.display())]
pub struct LinkKeyError {
    doing: &'static str,
    /// Which file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The key in `data_dir`; makes it if there is none. Durable before it returns, so that a link that was sent works.
///
/// # Errors
/// [`LinkKeyError`].
pub fn load_or_make(data_dir: &Path) -> Result<LinkKey, LinkKeyError> {
    let path = data_dir.join(FILE_NAME);
    match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(data_dir, &path).map_err(|source| LinkKeyError { doing: "making", path, source })
        }
        other => other.map_err(|source| LinkKeyError { doing: "reading", path, source }),
    }
}

fn read(path: &Path) -> io::Result<LinkKey> {
    let text = fs::read_to_string(path)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "it is not 64 hex digits");
    parse(text.trim()).map(LinkKey::new).ok_or_else(bad)
}

fn parse(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
        return None;
    }
    for (place, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(key)
}

/// Written beside and linked into place, so that a crash leaves no half key and the first of two makers wins.
fn make(data_dir: &Path, path: &Path) -> io::Result<LinkKey> {
    fs::create_dir_all(data_dir)?;
    // two random UUIDs: 244 random bits from the system
    let text = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let fresh = data_dir.join(format!("{FILE_NAME}.{}", uuid::Uuid::new_v4().simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    File::open(data_dir)?.sync_all()?;
    read(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::signing::{SignLink, SigningUnit};
    use crate::domain::{FileDigest, SagaId, SpoolFile, Timestamp};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let unit = SigningUnit {
            document: SagaId::from_u128(1),
            number: 1,
            content: SpoolFile { digest: FileDigest([1; 32]), size_bytes: 1 },
            expires_at: Timestamp(9),
        };
        let link = SignLink::issue(&load_or_make(dir.path()).unwrap(), &unit, "a", Timestamp(5));
        assert!(link.verify(&load_or_make(dir.path()).unwrap(), &unit, "a"), "the same key after a restart");
        let mode = fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_a_new_key() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(66)] {
            fs::write(dir.path().join(FILE_NAME), bad).unwrap();
            assert!(load_or_make(dir.path()).is_err(), "{bad}");
        }
    }
}
