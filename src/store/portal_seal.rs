//! Seals secrets before they are stored: XChaCha20-Poly1305 with a key that is not in the store.
//!
//! A journal, a snapshot or a backup alone opens no portal. What is sealed is bound to its kind, its place and its
//! key (associated data), so that a sealed text moved elsewhere does not open.

use chacha20poly1305::aead::{Aead as _, Generate as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce: long enough to be chosen at random for ever.
pub(super) const NONCE_BYTES: usize = 24;

/// A key. `Debug` prints its id only; memory is wiped on drop.
#[derive(Clone)]
pub struct SealKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyId,
}

/// Names a key without giving it away.
pub(super) type KeyId = [u8; 8];

/// A text that is no key. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a seal key is 64 hex digits (`openssl rand -hex 32` makes one)")]
pub struct BadSealKey;

impl SealKey {
    /// A new key from the system's randomness.
    pub fn generate() -> Self {
        let mut key = chacha20poly1305::Key::generate();
        let made = Self::of(Zeroizing::new(key.into()));
        key.zeroize();
        made
    }

    fn of(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"edobridge seal key id");
        hash.update(&bytes[..]);
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = KeyId::default();
        id.copy_from_slice(&digest[..8]);
        Self { bytes, id }
    }

    /// Reads 64 hex digits; blanks around them are ignored.
    ///
    /// # Errors
    /// [`BadSealKey`].
    pub fn parse(text: &str) -> Result<Self, BadSealKey> {
        let text = text.trim();
        if text.len() != 2 * KEY_BYTES || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadSealKey);
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| BadSealKey)?;
        }
        Ok(Self::of(bytes))
    }

    /// The text that [`SealKey::parse`] reads: for the key file only.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Its id, for people: tells keys apart and gives nothing away.
    pub fn id_text(&self) -> String {
        hex(self.id)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }
}

impl PartialEq for SealKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", hex(self.id))
    }
}

/// A key's id, for people.
pub(super) fn hex(id: KeyId) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key that seals, and older ones that still open.
#[derive(Debug, Clone)]
pub struct SealRing {
    present: SealKey,
    older: Vec<SealKey>,
}

/// What a sealed text looks like in a record.
pub(super) struct Sealed {
    pub key_id: KeyId,
    pub nonce: [u8; NONCE_BYTES],
    pub bytes: Vec<u8>,
}

impl SealRing {
    /// Seals with `present`; opens what `older` keys have sealed, too.
    pub fn new(present: SealKey, older: Vec<SealKey>) -> Self {
        Self { present, older }
    }

    /// The same ring with further keys that still open.
    #[must_use]
    pub fn with_older(mut self, keys: Vec<SealKey>) -> Self {
        for key in keys {
            if key != self.present && !self.older.contains(&key) {
                self.older.push(key);
            }
        }
        self
    }

    /// All its keys, the sealing one first.
    pub fn keys(&self) -> Vec<SealKey> {
        std::iter::once(&self.present).chain(&self.older).cloned().collect()
    }

    /// The key that seals.
    pub fn present(&self) -> &SealKey {
        &self.present
    }

    /// Seals `text` for one place. Associated data: the key's id and `place`, which names kind and key of the record.
    pub(super) fn seal(&self, place: &[u8], text: &[u8]) -> Sealed {
        let nonce = XNonce::generate();
        let aad = [&self.present.id[..], place].concat();
        let sealed = self.present.cipher().encrypt(&nonce, Payload { msg: text, aad: &aad });
        Sealed {
            key_id: self.present.id,
            nonce: nonce.into(),
            bytes: sealed.expect("a text of some kilobytes is far below the cipher's limit"),
        }
    }

    /// The text; none if no key of the ring fits, or it was changed or moved.
    pub(super) fn open(&self, place: &[u8], sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
        let key = std::iter::once(&self.present).chain(&self.older).find(|key| key.id == sealed.key_id)?;
        let aad = [&key.id[..], place].concat();
        let payload = Payload { msg: &sealed.bytes, aad: &aad };
        key.cipher().decrypt(&XNonce::from(sealed.nonce), payload).ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> SealRing {
        SealRing::new(SealKey::generate(), Vec::new())
    }

    #[test]
    fn what_was_sealed_opens_only_unchanged_at_its_place_and_with_its_key() {
        let ring = ring();
        let sealed = ring.seal(b"place", b"t0ken");
        assert_eq!(ring.open(b"place", &sealed).unwrap().as_slice(), b"t0ken");
        assert!(ring.open(b"elsewhere", &sealed).is_none());
        assert!(super::SealRing::new(SealKey::generate(), vec![]).open(b"place", &sealed).is_none());
        let mut changed = Sealed { bytes: sealed.bytes.clone(), ..ring.seal(b"place", b"") };
        changed.nonce = sealed.nonce;
        changed.bytes[0] ^= 1;
        assert!(ring.open(b"place", &changed).is_none());
        assert!(!sealed.bytes.windows(5).any(|w| w == b"t0ken"));
    }

    #[test]
    fn an_older_key_of_the_ring_still_opens_and_never_seals() {
        let old = ring();
        let sealed = old.seal(b"p", b"text");
        let new = SealRing::new(SealKey::generate(), vec![old.present().clone()]);
        assert_eq!(new.open(b"p", &sealed).unwrap().as_slice(), b"text");
        assert_eq!(hex(new.seal(b"p", b"text").key_id), new.present().id_text());
    }

    #[test]
    fn a_key_reads_back_what_its_file_holds_and_prints_only_its_id() {
        let key = SealKey::generate();
        assert_eq!(SealKey::parse(&format!("{}\n", *key.to_text())).unwrap(), key);
        assert!(!format!("{key:?}").contains(&key.to_text()[..16]));
        let odd = format!("+{}", "0".repeat(63));
        for text in ["", "abc", &"g".repeat(64), &"ä".repeat(32), &odd] {
            assert!(SealKey::parse(text).is_err(), "{text}");
        }
    }
}
