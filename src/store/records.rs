//! Stored values: one header for all, strict bincode inside, one frozen type per version.
//!
//! ```text
//! byte  0      1       2..4   4..6      6..10                        10..
//!       magic  layout  kind   version   CRC-32 of 0..6 and payload   payload
//!       E5     01      u16    u16       u32                          strict bincode 1.3.3
//! ```
//! All numbers little-endian. Strict: fixint, trailing bytes refused, a size limit. See DESIGN 5.5 for what goes
//! wrong without each of these.
//!
//! # How to change a stored type
//! 1. Copy the present struct to a new one with the next number; never edit the old one.
//! 2. Write `From<V1> for V2`, raise `Record::VERSION`, extend `Record::decode_payload`.
//! 3. Add golden bytes for the new version; the old golden bytes stay for ever.
//! 4. An enum grows only at its end.
//!
//! # Invariants
//! * **SR-1** What was encoded by any released version decodes in every later one.
//! * **SR-2** A version above the known one is [`DecodeError::Newer`]; the value is left untouched.
//! * **SR-3** A flipped bit or a cut anywhere is an error, never another value.

use super::document_v1::DocumentSagaV1;
use super::document_v2::DocumentSagaV2;
use super::notice::{Cursor, NoticeV1, ParkedNoticeV1};
use super::portal_installations::InstallationV1;
use crate::domain::portal::PortalState;
use crate::domain::portal_capabilities::CapabilityMap;
use crate::domain::portal_owner::OwnerRecord;
use crate::domain::portal_usage::HourUsage;
use crate::domain::portal_workflows::WorkflowRecord;
use crate::domain::{AttemptToken, SagaId, Timestamp};
use crate::saga::document::{Claim, DocumentSaga, HistoryEntry};
use bincode::Options;
use bytes::Bytes;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// First byte of every stored value.
const MAGIC: u8 = 0xE5;
/// Second byte: the layout of the header itself.
const LAYOUT: u8 = 1;
/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 10;
/// The largest payload that is encoded or decoded: above the largest command, so that a hostile length inside
/// a damaged value cannot ask for more memory.
pub(super) const PAYLOAD_BYTES_MAX: u64 = 8 << 20;

/// What a stored value is. The number is stored; it is never given to something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Kind {
    /// A document's saga.
    Document = 1,
    /// One line of a saga's history.
    History = 2,
    /// A pending notice.
    Notice = 3,
    /// What we remember of a portal.
    Portal = 4,
    /// How far a poll has come.
    Cursor = 5,
    /// Who holds a claim.
    Claim = 6,
    /// An effect that was ordered and has not answered.
    Outbox = 7,
    /// A notice kept for a person.
    ParkedNotice = 8,
    /// The store's own numbers.
    Meta = 9,
    /// All claims of one saga.
    SagaClaims = 10,
    /// Our application at a portal.
    Installation = 11,
    /// One hour of the account of a portal's budget.
    PortalUsage = 21,
    /// The last look at the owner of a portal's credential.
    PortalOwner = 22,
    /// What is known of the workflows of a portal that our robots made wait.
    PortalWorkflows = 24,
    /// What a portal can do.
    PortalCapabilities = 25,
}

impl Kind {
    /// Every kind with the newest version that this program reads and writes.
    pub const ALL: [(Self, u16); 15] = [
        (Self::Document, 3),
        (Self::History, 1),
        (Self::Notice, 1),
        (Self::Portal, 1),
        (Self::Cursor, 1),
        (Self::Claim, 1),
        (Self::Outbox, 1),
        (Self::ParkedNotice, 1),
        (Self::Meta, 1),
        (Self::SagaClaims, 1),
        (Self::Installation, 1),
        (Self::PortalUsage, 1),
        (Self::PortalOwner, 1),
        (Self::PortalWorkflows, 1),
        (Self::PortalCapabilities, 1),
    ];
    /// The stored number.
    pub fn code(self) -> u16 {
        self as u16
    }
}

/// Why a stored value cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It has fewer bytes than a header.
    #[error("the value has only {0} bytes")]
    Short(usize),
    /// It does not begin as our values do.
    #[error("the value does not begin with our mark")]
    Foreign,
    /// The checksum does not fit: rot, or a torn write.
    #[error("the checksum does not fit")]
    Checksum,
    /// It is something else.
    #[error("the value is of kind {found}, kind {expected} was expected")]
    Kind {
        /// What it says it is.
        found: u16,
        /// What its place says it is.
        expected: u16,
    },
    /// It was written by a newer program.
    #[error("the value has version {found}, this program knows versions up to {known}")]
    Newer {
        /// Its version.
        found: u16,
        /// The newest that we know.
        known: u16,
    },
    /// The payload is not what the kind and version say.
    #[error("the payload does not decode: {0}")]
    Payload(String),
}

/// A type that is stored as a value.
pub(super) trait Record: Sized + Serialize {
    /// Its kind.
    const KIND: Kind;
    /// The version that is written.
    const VERSION: u16 = 1;
    /// Reads the payload of `version`, which is between 1 and [`Record::VERSION`].
    fn decode_payload(version: u16, payload: &[u8]) -> Result<Self, DecodeError>;
}

/// Types whose only version is the first decode themselves.
macro_rules! first_version {
    ($($type:ty => $kind:ident),* $(,)?) => {$(
        impl Record for $type {
            const KIND: Kind = Kind::$kind;
            fn decode_payload(_version: u16, payload: &[u8]) -> Result<Self, DecodeError> {
                strict_decode(payload)
            }
        }
    )*};
}

impl Record for DocumentSaga {
    const KIND: Kind = Kind::Document;
    const VERSION: u16 = 3;
    fn decode_payload(version: u16, payload: &[u8]) -> Result<Self, DecodeError> {
        match version {
            1 => strict_decode::<DocumentSagaV1>(payload).map(Self::from),
            2 => strict_decode::<DocumentSagaV2>(payload).map(Self::from),
            _ => strict_decode(payload),
        }
    }
}

first_version! {
    HistoryEntry => History,
    NoticeV1 => Notice,
    PortalState => Portal,
    Cursor => Cursor,
    ClaimV1 => Claim,
    OutboxV1 => Outbox,
    ParkedNoticeV1 => ParkedNotice,
    MetaV1 => Meta,
    SagaClaimsV1 => SagaClaims,
    InstallationV1 => Installation,
    HourUsage => PortalUsage,
    OwnerRecord => PortalOwner,
    WorkflowRecord => PortalWorkflows,
    CapabilityMap => PortalCapabilities,
}

/// Who holds a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClaimV1 {
    pub saga: SagaId,
    pub state: ClaimState,
}

/// Whether the holder still exists. Append-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ClaimState {
    /// It does.
    Held,
    /// It was forgotten; the claim stays so that the same file is not signed again.
    Tombstone,
}

/// All claims of one saga, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct SagaClaimsV1 {
    pub claims: Vec<Claim>,
}

/// An effect that was ordered and has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutboxV1 {
    pub token: AttemptToken,
    pub since: Timestamp,
}

/// The store's own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MetaV1 {
    /// The number that the next accepted notice gets.
    pub next_notice: u64,
}

/// Raw bytes inside a record: written at once, where `Vec<u8>` would go byte by byte; cheap to clone.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Blob(pub Bytes);

/// What is inside may be a secret: only its length is shown.
impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlobVisitor;
        impl Visitor<'_> for BlobVisitor {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(BlobVisitor)
    }
}

/// The bincode of the house: fixint little-endian, trailing bytes refused, limited.
fn strict() -> impl Options {
    bincode::DefaultOptions::new()
        .with_little_endian()
        .with_fixint_encoding()
        .reject_trailing_bytes()
        .with_limit(PAYLOAD_BYTES_MAX)
}

/// Strict bincode of `value`; `None` if it is larger than [`PAYLOAD_BYTES_MAX`].
pub(super) fn strict_encode<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    strict().serialize(value).ok()
}

/// The inverse of [`strict_encode`].
pub(super) fn strict_decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    strict_view(payload)
}

/// The same where what is read may point into `payload`.
pub(super) fn strict_view<'p, T: Deserialize<'p>>(payload: &'p [u8]) -> Result<T, DecodeError> {
    strict().deserialize(payload).map_err(|e| DecodeError::Payload(e.to_string()))
}

/// The stored bytes of `record`; `None` if it is larger than the store takes.
pub(super) fn encode<R: Record>(record: &R) -> Option<Vec<u8>> {
    encode_version(R::KIND, R::VERSION, record)
}

/// The stored bytes of one version of a kind.
pub(super) fn encode_version<T: Serialize>(kind: Kind, version: u16, record: &T) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&[MAGIC, LAYOUT]);
    bytes.extend_from_slice(&kind.code().to_le_bytes());
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    strict().serialize_into(&mut bytes, record).ok()?;
    let sum = checksum(&bytes);
    bytes[6..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    Some(bytes)
}

/// Makes the checksum of a changed value fit.
#[cfg(test)]
pub(super) fn reseal(bytes: &mut [u8]) {
    let sum = checksum(bytes);
    bytes[6..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
}

/// A value as an older program wrote it.
#[cfg(test)]
pub(super) fn encode_as<T: Serialize>(kind: Kind, version: u16, record: &T) -> Vec<u8> {
    let mut bytes = vec![MAGIC, LAYOUT];
    bytes.extend_from_slice(&kind.code().to_le_bytes());
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&strict_encode(record).expect("samples are small"));
    let sum = checksum(&bytes);
    bytes[6..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The record in `bytes`.
pub(super) fn decode<R: Record>(bytes: &[u8]) -> Result<R, DecodeError> {
    let payload = check(bytes)?;
    let kind = u16::from_le_bytes([bytes[2], bytes[3]]);
    if kind != R::KIND.code() {
        return Err(DecodeError::Kind { found: kind, expected: R::KIND.code() });
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version == 0 || version > R::VERSION {
        return Err(DecodeError::Newer { found: version, known: R::VERSION });
    }
    R::decode_payload(version, payload)
}

/// The payload of `bytes`, if length, mark and checksum are right.
fn check(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    if bytes.len() < HEADER_BYTES {
        return Err(DecodeError::Short(bytes.len()));
    }
    if bytes[0] != MAGIC || bytes[1] != LAYOUT {
        return Err(DecodeError::Foreign);
    }
    if bytes[6..HEADER_BYTES] != checksum(bytes).to_le_bytes() {
        return Err(DecodeError::Checksum);
    }
    Ok(&bytes[HEADER_BYTES..])
}

/// CRC-32 of everything but the place of the sum itself.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..6]);
    hasher.update(&bytes[HEADER_BYTES..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::samples::Samples;
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Debug;

    /// The bytes of each kind and version that was ever written: `kind version hex`. Lines are only ever added.
    const GOLDEN: &str = include_str!("../../tests/data/store_records.hex");

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn golden(kind: Kind, version: u16) -> Vec<u8> {
        let wanted = format!("{} {version} ", kind.code());
        let line = GOLDEN.lines().find_map(|line| line.strip_prefix(&wanted)).unwrap_or_default();
        (0..line.len() / 2)
            .map(|at| u8::from_str_radix(&line[2 * at..2 * at + 2], 16).expect("hex"))
            .collect()
    }

    fn keeps_its_bytes<R: Record + PartialEq + Debug>(sample: &R) {
        let bytes = encode(sample).expect("small");
        let frozen = golden(R::KIND, R::VERSION);
        assert_eq!(
            hex(&bytes),
            hex(&frozen),
            "the stored form of kind {} has changed: see the header of this file",
            R::KIND.code()
        );
        assert_eq!(&decode::<R>(&frozen).expect("the frozen bytes decode"), sample);
    }

    #[test]
    fn stored_bytes_stay_as_they_are() {
        let samples = || Samples::new(0);
        keeps_its_bytes(&samples().saga());
        keeps_its_bytes(&samples().history());
        keeps_its_bytes(&samples().notice());
        keeps_its_bytes(&samples().portal_state());
        keeps_its_bytes(&samples().cursor());
        keeps_its_bytes(&samples().claim());
        keeps_its_bytes(&samples().outbox());
        keeps_its_bytes(&samples().parked());
        keeps_its_bytes(&samples().meta());
        keeps_its_bytes(&samples().claims());
        keeps_its_bytes(&samples().installation());
        keeps_its_bytes(&samples().portal_usage());
        keeps_its_bytes(&samples().portal_owner());
        keeps_its_bytes(&samples().portal_workflows());
        keeps_its_bytes(&samples().portal_capabilities());
    }

    /// A document of version 1 becomes the same document with none of the later wishes.
    #[test]
    fn a_document_of_the_first_version_is_read_as_it_was_meant() {
        let old = Samples::new(0).saga_v1();
        let frozen = golden(Kind::Document, 1);
        assert_eq!(hex(&frozen[HEADER_BYTES..]), hex(&strict_encode(&old).expect("small")));
        let read = decode::<DocumentSaga>(&frozen).expect("the frozen bytes decode");
        assert_eq!(read, DocumentSaga::from(old.clone()));
        assert_eq!((read.id, read.step, &read.source), (old.id, old.step, &old.source));
        assert_eq!((&read.delivery.rule, read.delivery.comment), (&old.delivery.rule, old.delivery.comment));
        assert_eq!(read.delivery.drive, crate::saga::document::DriveCopy::Wanted);
        assert!(read.robots.is_empty() && read.ending.is_none() && read.delivery.field.is_none());
    }

    /// A document of version 2 is one that nobody of ours signs first.
    #[test]
    fn a_document_of_the_second_version_is_read_as_it_was_meant() {
        let old = Samples::new(0).saga_v2();
        let frozen = golden(Kind::Document, 2);
        assert_eq!(hex(&frozen[HEADER_BYTES..]), hex(&strict_encode(&old).expect("small")));
        let read = decode::<DocumentSaga>(&frozen).expect("the frozen bytes decode");
        assert_eq!((read.id, read.step, &read.robots), (old.id, old.step, &old.robots));
        assert_eq!((&read.delivery.field, &read.ending), (&old.delivery.field, &old.ending));
        assert!(read.own.is_none() && read.delivery.signer.is_none());
    }

    #[test]
    fn every_kind_and_version_has_frozen_bytes() {
        for (kind, newest) in Kind::ALL {
            for version in 1..=newest {
                assert!(!golden(kind, version).is_empty(), "kind {} version {version}", kind.code());
            }
        }
    }

    /// Enums are stored by their place: one that moves turns every old record into another.
    #[test]
    fn codes_of_enums_stay_as_they_are() {
        use crate::domain::{CrmItem, FailureClass};
        use crate::saga::document::state::WaitWork;
        use crate::saga::document::{Outcome, Source, Step, TimerKind, Work};
        use crate::store::NoticeKind;
        let code = |bytes: Option<Vec<u8>>| bytes.expect("small")[..4].to_vec();
        for (place, step) in (0u32..).zip(Step::ALL) {
            assert_eq!(code(strict_encode(&step)), place.to_le_bytes(), "{step:?}");
            assert_eq!(u32::from(step.code()), place);
        }
        for (place, kind) in (0u32..).zip(NoticeKind::ALL) {
            assert_eq!(code(strict_encode(&kind)), place.to_le_bytes(), "{kind:?}");
        }
        let file =
            Source::CrmFile { item: CrmItem { entity_type_id: 2, id: 1 }, field: "f".into(), file_id: 1 };
        let order = Work::InFlight { token: AttemptToken(1), since: Timestamp(1) };
        assert_eq!(code(strict_encode(&file)), 2u32.to_le_bytes());
        assert_eq!(code(strict_encode(&order)), 1u32.to_le_bytes());
        assert_eq!(code(strict_encode(&TimerKind::Grace)), 3u32.to_le_bytes());
        assert_eq!(code(strict_encode(&WaitWork::Reminder)), 2u32.to_le_bytes());
        assert_eq!(code(strict_encode(&Outcome::Refused)), 2u32.to_le_bytes());
        assert_eq!(code(strict_encode(&ClaimState::Tombstone)), 1u32.to_le_bytes());
        let missing = crate::domain::portal_capabilities::Presence::Missing;
        assert_eq!(code(strict_encode(&missing)), 2u32.to_le_bytes());
        assert_eq!(code(strict_encode(&FailureClass::Ambiguous)), 4u32.to_le_bytes());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_an_error() {
        let bytes = encode(&Samples::new(0).saga()).expect("small");
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<DocumentSaga>(&wrong).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(decode::<DocumentSaga>(&bytes[..len]).is_err(), "cut to {len}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(decode::<DocumentSaga>(&longer).is_err());
    }

    /// A value with a sound checksum and another header.
    fn with_header(at: usize, value: u16) -> Vec<u8> {
        let mut bytes = encode(&Samples::new(0).cursor()).expect("small");
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        let sum = checksum(&bytes);
        bytes[6..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn a_newer_version_and_another_kind_are_told_as_what_they_are() {
        assert_eq!(decode::<Cursor>(&with_header(4, 2)), Err(DecodeError::Newer { found: 2, known: 1 }));
        assert_eq!(decode::<Cursor>(&with_header(4, 0)), Err(DecodeError::Newer { found: 0, known: 1 }));
        assert_eq!(decode::<Cursor>(&with_header(2, 1)), Err(DecodeError::Kind { found: 1, expected: 5 }));
        assert_eq!(decode::<Cursor>(b"short"), Err(DecodeError::Short(5)));
        assert_eq!(decode::<Cursor>(&[0; 40]), Err(DecodeError::Foreign));
    }

    #[test]
    fn a_hostile_length_asks_for_no_memory() {
        let payload = u64::MAX.to_le_bytes();
        assert!(strict_decode::<Vec<u64>>(&payload).is_err());
        assert!(strict_decode::<Blob>(&(1u64 << 40).to_le_bytes()).is_err());
    }

    fn round_trip<R: Record + PartialEq + Debug>(sample: R) {
        let bytes = encode(&sample).expect("small");
        assert_eq!(decode::<R>(&bytes), Ok(sample));
    }

    proptest! {
        #[test]
        fn every_record_reads_back_what_was_written(seed in any::<u64>()) {
            let mut samples = Samples::new(seed);
            round_trip(samples.saga());
            round_trip(samples.history());
            round_trip(samples.notice());
            round_trip(samples.portal_state());
            round_trip(samples.cursor());
            round_trip(samples.claim());
            round_trip(samples.outbox());
            round_trip(samples.parked());
            round_trip(samples.meta());
            round_trip(samples.claims());
            round_trip(samples.installation());
            round_trip(samples.portal_usage());
            round_trip(samples.portal_owner());
            round_trip(samples.portal_workflows());
            round_trip(samples.portal_capabilities());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode::<DocumentSaga>(&bytes);
            let _ = strict_decode::<DocumentSaga>(&bytes);
            let _ = strict_decode::<ParkedNoticeV1>(&bytes);
            let _ = strict_decode::<SagaClaimsV1>(&bytes);
            let _ = super::super::frame::parse(&bytes).map(|frame| frame.batches().is_ok());
        }
    }
}
