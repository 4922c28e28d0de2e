//! The key of signing links that nobody configured: `data_dir/sign-link-key`, made when it is first needed.
//!
//! Whoever has it can make links to every document that waits for our signer, but no signatures. A new key makes all
//! links of the old one dead; signers ask for new ones.

use crate::domain::signing::LinkKey;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The file.
pub const FILE_NAME: &str = "sign-link-key";
/// A file that is longer is not one of ours.
const BYTES_MAX: u64 = 1_024;

/// A text that is no key. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key of signing links is 64 hex digits (`openssl rand -hex 32` makes one)")]
pub struct BadLinkKey;

/// The key file could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum LinkKeyError {
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
    /// It holds no key.
    #[error("{} is not usable", path.display())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BadLinkKey,
    },
}

/// Reads 64 hex digits; blanks around them are ignored.
///
/// # Errors
/// [`BadLinkKey`].
pub fn parse(text: &str) -> Result<LinkKey, BadLinkKey> {
    let text = text.trim();
    let mut bytes = Zeroizing::new([0_u8; 32]);
    if text.len() != 2 * bytes.len() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(BadLinkKey);
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| BadLinkKey)?;
    }
    Ok(LinkKey::new(*bytes))
}

/// The key in `data_dir`; makes it if there is none. Durable before it returns: a link that was sent must work after
/// a power cut.
///
/// # Errors
/// [`LinkKeyError`].
pub fn load_or_make(data_dir: &Path) -> Result<LinkKey, LinkKeyError> {
    let path = data_dir.join(FILE_NAME);
    let failed = |doing, source| LinkKeyError::Io { doing, path: path.clone(), source };
    let text = match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(data_dir, &path).map_err(|source| failed("making", source))?;
            read(&path)
        }
        other => other,
    };
    let text = text.map_err(|source| failed("reading", source))?;
    parse(&text).map_err(|source| LinkKeyError::Bad { path: path.clone(), source })
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    if fs::metadata(path)?.len() > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long for a key"));
    }
    fs::read_to_string(path).map(Zeroizing::new)
}

/// Written beside and linked into place: a crash leaves no half key, and the first of two makers wins.
fn make(data_dir: &Path, path: &Path) -> io::Result<()> {
    // two random UUIDs: 244 random bits from the system
    let (first, second) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let text = Zeroizing::new(format!("{}{}\n", first.simple(), second.simple()));
    let fresh = data_dir.join(format!("{FILE_NAME}.{}", uuid::Uuid::new_v4().simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => File::open(data_dir)?.sync_all(),
    }
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
        let link = SignLink::issue(&load_or_make(dir.path()).unwrap(), &unit, "A", Timestamp(9));
        assert!(link.verify(&load_or_make(dir.path()).unwrap(), &unit, "A"), "the same key again");
        let mode = fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_file_that_holds_no_key_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "abc\n").unwrap();
        assert!(load_or_make(dir.path()).unwrap_err().to_string().contains(FILE_NAME));
        assert_eq!(fs::read_to_string(dir.path().join(FILE_NAME)).unwrap(), "abc\n");
        assert!(parse(&"0g".repeat(32)).is_err() && parse(&"0a".repeat(32)).is_ok());
    }
}
