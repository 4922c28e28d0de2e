//! Which notices are known: the pending and the parked ones, by what they are.
//!
//! Kept in memory by the writer and made anew at opening from the notices themselves. So a notice can be
//! accepted without a look into the view: a webhook is taken even while the view is being opened again.
//!
//! # Invariant
//! * **SI-1** It names exactly the notices that are pending or parked, and each under one number.

use crate::domain::NoticeId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// What a notice is: the first half of its SHA-256. Two notices that share it by chance are not to be expected
/// (2^-64 at four milliards of notices at once).
pub(super) type Identity = [u8; 16];

/// The identity within a digest.
pub(super) fn identity(dedupe: &[u8; 32]) -> Identity {
    *dedupe.first_chunk().expect("sixteen of thirty-two bytes")
}

/// A map by identity. A part of a SHA-256 needs no hashing: whoever wants many to collide must search as many bodies.
pub(super) type ByIdentity<T> = HashMap<Identity, T, BuildHasherDefault<DigestHasher>>;

/// Takes eight bytes of the digest as they are.
#[derive(Default)]
pub(super) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut eight = [0; 8];
            eight[..part.len()].copy_from_slice(part);
            self.0 ^= u64::from_le_bytes(eight);
        }
    }
    // The length of an array is hashed before it, and tells nothing here.
    fn write_usize(&mut self, _: usize) {}
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The known notices. About 50 bytes each.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    known: ByIdentity<NoticeId>,
}

/// What a command changes: a number, or that it is not known any more.
pub(super) type InboxChange = (Identity, Option<NoticeId>);

impl Inbox {
    /// The number under which it is known.
    pub fn get(&self, identity: &Identity) -> Option<NoticeId> {
        self.known.get(identity).copied()
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }
    /// Makes a change.
    pub fn apply(&mut self, (identity, id): InboxChange) {
        match id {
            Some(id) => drop(self.known.insert(identity, id)),
            None => drop(self.known.remove(&identity)),
        }
        // After a flood the memory is given back.
        if self.known.capacity() > 4_096 && self.known.len() < self.known.capacity() / 8 {
            self.known.shrink_to(self.known.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_the_number_of_notices() {
        let mut inbox = Inbox::default();
        let name = |n: u64| {
            identity(&{
                let mut digest = [0; 32];
                digest[..8].copy_from_slice(&n.to_le_bytes());
                digest
            })
        };
        for n in 0..50_000 {
            inbox.apply((name(n), Some(NoticeId(n))));
        }
        assert_eq!((inbox.len(), inbox.get(&name(7))), (50_000, Some(NoticeId(7))));
        for n in 0..50_000 {
            inbox.apply((name(n), None));
        }
        assert_eq!((inbox.len(), inbox.get(&name(7))), (0, None));
        assert!(inbox.known.capacity() < 5_000);
    }
}
