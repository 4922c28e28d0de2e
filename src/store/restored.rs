//! The mark of a store that was made from a backup: it is older than the world.
//!
//! What was done after the backup is unknown to such a store: a document may have been sent, a signed copy may lie in its
//! folder. So whoever works with it must look before each write, until everything that the backup knew has come to its
//! end and what was told meanwhile has been told again. The store only keeps the mark; what follows from it is decided
//! in the saga (`Policy::doubt_until`).
//!
//! ```text
//! RESTORED    edobridge-restored 1
//!             started <ms>            added when the service starts for the first time
//! ```

use super::Store;
use super::disk::Disk;
use super::layout::Layout;
use crate::domain::Timestamp;
use sha2::{Digest, Sha256};
use std::io;

const MARK: &str = "edobridge-restored 1\n";
const STARTED: &str = "started ";

/// That a store was made from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// When the service first started with it; none if it never did.
    pub started: Option<Timestamp>,
}

/// Leaves the mark of a store that was just restored.
pub(super) fn mark(disk: &Disk, layout: &Layout) -> io::Result<()> {
    disk.replace(&layout.restored(), MARK.as_bytes())
}

/// What the mark says. One that cannot be read is still a mark.
fn parse(text: &str) -> Restored {
    let started = text.lines().find_map(|line| line.strip_prefix(STARTED)?.parse().ok());
    Restored { started: started.map(Timestamp) }
}

impl Store {
    /// A number that depends on this store and `text` alone: the same again in a store restored from a backup of it,
    /// another one in every other store.
    pub fn lot(&self, text: &str) -> u64 {
        let digest = Sha256::new().chain_update(self.0.shared.format.store).chain_update(text).finalize();
        u64::from_be_bytes(*digest.first_chunk().expect("a SHA-256 has 32 bytes"))
    }

    /// Whether this store was made from a backup. Blocking, one small file.
    ///
    /// # Errors
    /// What the disk says.
    pub fn restored(&self) -> io::Result<Option<Restored>> {
        let shared = &self.0.shared;
        let found = shared.host.disk.read_small(&shared.layout.restored())?;
        Ok(found.map(|bytes| parse(&String::from_utf8_lossy(&bytes))))
    }

    /// Notes when the service first started with a restored store; later calls change nothing. Durable when it
    /// returns. Blocking. Gives what is known then; nothing for a store that was not restored.
    ///
    /// # Errors
    /// What the disk says.
    pub fn note_restored_start(&self, now: Timestamp) -> io::Result<Option<Restored>> {
        match self.restored()? {
            Some(Restored { started: None }) => {
                let shared = &self.0.shared;
                let text = format!("{MARK}{STARTED}{}\n", now.0);
                shared.host.disk.replace(&shared.layout.restored(), text.as_bytes())?;
                Ok(Some(Restored { started: Some(now) }))
            }
            known => Ok(known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_cannot_be_read_is_still_a_mark() {
        assert_eq!(parse(MARK), Restored { started: None });
        assert_eq!(parse("edobridge-restored 1\nstarted 17\n"), Restored { started: Some(Timestamp(17)) });
        assert_eq!(parse("garbage\nstarted x\n"), Restored { started: None });
    }
}
