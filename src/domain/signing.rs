//! What our own signer is asked to sign, and the link that opens it.
//!
//! A link proves itself: it names the document, the unit and its end, and carries a MAC over these, the signer's name
//! and the digest of what is to be signed. So nothing has to be stored for a link, and a link dies with what it was
//! made for: another content, another signer or another unit, and the MAC fits no more.
//!
//! Knows no key but the one it is given, no clock and no store. Who waits for a signature is the saga's business.

use super::{FileDigest, SagaId, SpoolFile, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// Documents that one page shows and one POST brings: the array form of the signing agent, in one dialogue.
pub const DOCUMENTS_OF_A_PAGE_MAX: usize = 20;

/// What the MAC of a link begins with, so that no other use of the key can make one.
const MAC_CONTEXT: &[u8] = b"edobridge sign link v1";
/// Bytes of the MAC in a link: guessed online only, so 128 bits are plenty, and the link stays short enough for a chat.
const MAC_BYTES: usize = 16;
const HEAD_BYTES: usize = 16 + 4 + 8;
const TOKEN_BYTES: usize = HEAD_BYTES + MAC_BYTES;
/// Characters of a link's token; any other length is no link.
pub const TOKEN_CHARS: usize = TOKEN_BYTES.div_ceil(3) * 4 - (3 - TOKEN_BYTES % 3) % 3;

/// Who must sign, by the numbers of Kazakhstan's national PKI. Empty: whoever holds the link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerIdentity {
    /// IIN: 12 digits of a person.
    pub iin: Option<String>,
    /// BIN: 12 digits of an organisation.
    pub bin: Option<String>,
}

/// The bytes that a signature has to fit, until when, and which they are of their document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningUnit {
    /// The document.
    pub document: SagaId,
    /// Counts the units of one document: a unit that expires is made anew, and the old links die.
    pub number: u32,
    /// What is to be signed.
    pub content: SpoolFile,
    /// After this the service takes no signature for these bytes (`disposeOn` of iDocs).
    pub expires_at: Timestamp,
}

/// Whether the content is put into the signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encapsulation {
    /// The CMS holds the content.
    #[default]
    Attached,
    /// The CMS holds only its digest.
    Detached,
}

/// How far the signing of one unit is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Nobody has signed yet.
    Open,
    /// A signature is stored.
    Signed {
        /// SHA-256 of its bytes.
        by_cms: FileDigest,
    },
}

/// One document that waits for our signer, as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningTask {
    /// What is to be signed.
    pub unit: SigningUnit,
    /// Whose signature is wanted, in the words of the configuration.
    pub signer_name: String,
    /// The document's name: a file name, a stranger's text.
    pub name: String,
    /// Its number at the signing service.
    pub document_number: String,
    /// With whom it is made; empty if unknown.
    pub counterparty: String,
    /// In which form the service wants the signature.
    pub encapsulate: Encapsulation,
    /// Whose certificate is accepted.
    pub signer: SignerIdentity,
    /// Whether it is signed already.
    pub state: TaskState,
}

/// Why a link or a signature is refused. No variant tells anything of other documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningRefusal {
    /// No such link: never made, or made for a unit, signer or content that is no more.
    #[error("no such link")]
    Unknown,
    /// The link was ours and is over; a new one can be asked for.
    #[error("the link has expired")]
    Expired,
    /// Another signature is stored; the first one wins.
    #[error("already signed with another signature")]
    AlreadySigned,
    /// The store could not take it now; the same request may be repeated.
    #[error("not possible at the moment, try again")]
    Busy,
    /// The document is not waiting for a signature (cancelled, refused, not ready), or a link was sent just now.
    #[error("the document does not wait for a signature now")]
    NotNow,
}

/// What becomes of a wish for a new link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRenewal {
    /// The signer is sent it.
    Sent,
    /// The signer has no user in the portal: an operator has to hand it on.
    LeftToOperator,
}

/// A signature that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureAccepted {
    /// The same signature had been stored before.
    pub repeated: bool,
}

/// What the server could see in a signature before it stored it. It claims no legal validity: chain, revocation and
/// time are checked by the signing service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureEvidence {
    /// The numbers found in the certificate.
    pub signer: SignerIdentity,
    /// The certificate's common name.
    pub subject: String,
    /// The certificate's serial number, lower-case hex.
    pub serial_hex: String,
    /// When the certificate begins to be valid, by its own words: shown, not judged.
    pub valid_from: Timestamp,
    /// When it ends, likewise.
    pub valid_to: Timestamp,
    /// The digest algorithm as a dotted object identifier.
    pub digest_algorithm: String,
    /// Whether the signature's own `messageDigest` was compared with the content. Not so for GOST digests.
    pub digest_checked: bool,
    /// Whether the signature value was verified with the certificate's key. Not so for GOST keys.
    pub signature_checked: bool,
}

/// A signature that has passed the checks of the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDocument {
    /// The document.
    pub document: SagaId,
    /// Which of its units was signed.
    pub number: u32,
    /// The signature: CMS SignedData in binary, as the signer's program wrote it (DER, with some agents BER).
    pub cms: Vec<u8>,
    /// SHA-256 of `cms`: the same one again is a repeat, another one is refused.
    pub digest: FileDigest,
    /// What was seen in it.
    pub evidence: SignatureEvidence,
}

impl SignedDocument {
    /// A signature for `unit`; the digest is computed here, so that it cannot be another one's.
    pub fn new(unit: &SigningUnit, cms: Vec<u8>, evidence: SignatureEvidence) -> Self {
        let digest = FileDigest(Sha256::digest(&cms).into());
        Self { document: unit.document, number: unit.number, cms, digest, evidence }
    }
}

/// The key of the links. Whoever has it can make links, so it is kept as a secret.
#[derive(Clone)]
pub struct LinkKey(Zeroizing<[u8; 32]>);

impl LinkKey {
    /// Takes 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A text that no link of ours can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a signing link")]
pub struct InvalidSignLink;

/// A link's token, taken apart. Until [`SignLink::verify`] says yes, all of it is a stranger's word.
#[derive(Clone, PartialEq, Eq)]
pub struct SignLink {
    /// The document.
    pub document: SagaId,
    /// The number of its unit.
    pub number: u32,
    /// When the link dies.
    pub expires_at: Timestamp,
    mac: [u8; MAC_BYTES],
}

impl SignLink {
    /// A link to `unit` for the signer called `signer_name`, that dies at `expires_at`.
    pub fn issue(key: &LinkKey, unit: &SigningUnit, signer_name: &str, expires_at: Timestamp) -> Self {
        let (document, number) = (unit.document, unit.number);
        let head = head(document, number, expires_at);
        let full = mac_over(key, &head, signer_name, unit.content.digest).finalize().into_bytes();
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&full[..MAC_BYTES]);
        Self { document, number, expires_at, mac }
    }

    /// Takes a token apart.
    ///
    /// # Errors
    /// [`InvalidSignLink`] if it is not of a link's form. A well-formed token is not thereby ours: see
    /// [`SignLink::verify`].
    pub fn parse(token: &str) -> Result<Self, InvalidSignLink> {
        if token.len() != TOKEN_CHARS {
            return Err(InvalidSignLink);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidSignLink)?;
        let bytes: [u8; TOKEN_BYTES] = bytes.try_into().map_err(|_| InvalidSignLink)?;
        let (id, rest) = bytes.split_first_chunk::<16>().ok_or(InvalidSignLink)?;
        let (number, rest) = rest.split_first_chunk::<4>().ok_or(InvalidSignLink)?;
        let (expires_at, rest) = rest.split_first_chunk::<8>().ok_or(InvalidSignLink)?;
        Ok(Self {
            document: SagaId::from_be_bytes(*id),
            number: u32::from_be_bytes(*number),
            expires_at: Timestamp(i64::from_be_bytes(*expires_at)),
            mac: rest.try_into().map_err(|_| InvalidSignLink)?,
        })
    }

    /// Whether this link was made by us for `unit` and the signer called `signer_name`. Takes the same time for every
    /// wrong MAC. Says nothing of time: see [`SignLink::is_expired`].
    pub fn verify(&self, key: &LinkKey, unit: &SigningUnit, signer_name: &str) -> bool {
        let head = head(self.document, self.number, self.expires_at);
        let fits = mac_over(key, &head, signer_name, unit.content.digest).verify_truncated_left(&self.mac);
        fits.is_ok() && self.document == unit.document && self.number == unit.number
    }

    /// Whether the link is over at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }

    /// The text that stands in the address. It opens the document, so it belongs into no log.
    pub fn token(&self) -> String {
        let mut bytes = head(self.document, self.number, self.expires_at).to_vec();
        bytes.extend_from_slice(&self.mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl fmt::Debug for SignLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignLink")
            .field("document", &self.document)
            .field("number", &self.number)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

fn head(document: SagaId, number: u32, expires_at: Timestamp) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[..16].copy_from_slice(&document.to_be_bytes());
    bytes[16..20].copy_from_slice(&number.to_be_bytes());
    bytes[20..].copy_from_slice(&expires_at.0.to_be_bytes());
    bytes
}

/// Every part but the name has a fixed length and the digest comes last, so no two inputs are written the same way.
fn mac_over(key: &LinkKey, head: &[u8], signer_name: &str, content: FileDigest) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&*key.0).expect("HMAC takes a key of any length");
    mac.update(MAC_CONTEXT);
    mac.update(head);
    mac.update(signer_name.as_bytes());
    mac.update(&content.0);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> SigningUnit {
        SigningUnit {
            document: SagaId::from_u128(0x0198_f00d_dead_beef_0123_4567_89ab_cdef),
            number: 2,
            content: SpoolFile { digest: FileDigest([7; 32]), size_bytes: 10 },
            expires_at: Timestamp(5_000),
        }
    }

    fn key() -> LinkKey {
        LinkKey::new([9; 32])
    }

    #[test]
    fn a_link_reads_back_what_it_was_made_of_and_proves_itself() {
        let link = SignLink::issue(&key(), &unit(), "Айгуль", Timestamp(3_000));
        let token = link.token();
        assert_eq!(token.len(), TOKEN_CHARS);
        let read = SignLink::parse(&token).unwrap();
        assert_eq!(read, link);
        assert!(read.verify(&key(), &unit(), "Айгуль"));
        assert!(!read.is_expired(Timestamp(2_999)) && read.is_expired(Timestamp(3_000)));
    }

    #[test]
    fn a_link_dies_with_its_unit_its_content_its_signer_and_its_key() {
        let link = SignLink::issue(&key(), &unit(), "Айгуль", Timestamp(3_000));
        let next = SigningUnit { number: 3, ..unit() };
        let other = SigningUnit { document: SagaId::from_u128(1), ..unit() };
        let mut changed = unit();
        changed.content.digest = FileDigest([8; 32]);
        for unit in [next, other, changed] {
            assert!(!link.verify(&key(), &unit, "Айгуль"), "{unit:?}");
        }
        assert!(!link.verify(&key(), &unit(), "Айгул"));
        assert!(!link.verify(&LinkKey::new([8; 32]), &unit(), "Айгуль"));
    }

    #[test]
    fn no_changed_character_of_a_token_is_taken() {
        let token = SignLink::issue(&key(), &unit(), "Айгуль", Timestamp(3_000)).token();
        for at in 0..token.len() {
            for other in *b"AZaz09-_" {
                let mut changed = token.clone().into_bytes();
                if changed[at] == other {
                    continue;
                }
                changed[at] = other;
                let changed = String::from_utf8(changed).unwrap();
                let taken = SignLink::parse(&changed).is_ok_and(|l| l.verify(&key(), &unit(), "Айгуль"));
                assert!(!taken, "{at}: {changed}");
            }
        }
    }

    #[test]
    fn what_is_no_token_is_no_link() {
        let token = SignLink::issue(&key(), &unit(), "", Timestamp(3_000)).token();
        for bad in ["", "..", &token[1..], &format!("{token}A"), &token.replace(&token[..1], "="), "я"] {
            assert_eq!(SignLink::parse(bad), Err(InvalidSignLink), "{bad}");
        }
    }

    #[test]
    fn neither_key_nor_proof_is_printed() {
        let link = SignLink::issue(&key(), &unit(), "Айгуль", Timestamp(3_000));
        assert_eq!(format!("{:?}", key()), "***");
        assert!(!format!("{link:?}").contains("mac"), "{link:?}");
    }
}
