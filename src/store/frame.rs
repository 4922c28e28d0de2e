//! Frames: what is written and synced at once.
//!
//! ```text
//! 0..4   magic "EBF1"      4..8   payload length    8..16  sequence of the first batch
//! 16..20 number of batches 20..24 CRC-32 of bytes 0..20 and the payload
//! 24..   payload: strict bincode of the batches; then zeros up to a multiple of eight
//! ```
//! Little-endian. A frame is one group of commands: it counts whole or not at all.
//!
//! It deliberately does not know files.

use super::records::{Blob, PAYLOAD_BYTES_MAX, strict_encode, strict_view};
use serde::{Deserialize, Serialize};

/// First four bytes of every frame.
pub(super) const MAGIC: [u8; 4] = *b"EBF1";
/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 24;
/// Frames begin at multiples of this: few places to look for one after damage.
pub(super) const ALIGN: usize = 8;

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Op {
    /// The key has this value from now on.
    Put {
        /// Code of the tree.
        tree: u8,
        /// The key.
        key: Blob,
        /// The value.
        value: Blob,
    },
    /// The key is not there from now on.
    Del {
        /// Code of the tree.
        tree: u8,
        /// The key.
        key: Blob,
    },
}

impl Op {
    /// About how many bytes it takes in a frame.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => 21 + key.0.len() + value.0.len(),
            Self::Del { key, .. } => 13 + key.0.len(),
        }
    }
}

/// The changes of one command: they happen together. It has one sequence number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Batch {
    pub ops: Vec<Op>,
}

impl Batch {
    /// About how many bytes it takes in a frame.
    pub fn encoded_len(&self) -> usize {
        8 + self.ops.iter().map(Op::encoded_len).sum::<usize>()
    }
}

/// An [`Op`] that is read: it points into its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(super) enum ReadOp<'f> {
    Put { tree: u8, key: &'f [u8], value: &'f [u8] },
    Del { tree: u8, key: &'f [u8] },
}

/// A [`Batch`] that is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(super) struct ReadBatch<'f> {
    #[serde(borrow)]
    pub ops: Vec<ReadOp<'f>>,
}

/// A frame that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Sequence of its first batch.
    pub first: u64,
    /// How many batches it has.
    pub count: u32,
    /// Its payload.
    pub payload: &'a [u8],
    /// How many bytes it takes with header and padding.
    pub len: usize,
}

impl<'f> Frame<'f> {
    /// Sequence of its last batch.
    pub fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }
    /// Its batches.
    pub fn batches(&self) -> Result<Vec<ReadBatch<'f>>, String> {
        let batches: Vec<ReadBatch<'f>> = strict_view(self.payload).map_err(|e| e.to_string())?;
        if batches.len() == self.count as usize {
            Ok(batches)
        } else {
            Err(format!("{} batches where {} were announced", batches.len(), self.count))
        }
    }
}

/// The bytes of a frame with any payload.
#[cfg(test)]
pub(super) fn sealed(first: u64, count: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a small payload");
    framed(first, count, len, payload)
}

/// The bytes of a frame; `None` if it is larger than a payload may be.
pub(super) fn encode(first: u64, batches: &Vec<Batch>) -> Option<Vec<u8>> {
    let payload = strict_encode(batches)?;
    let len = u32::try_from(payload.len()).ok()?;
    let count = u32::try_from(batches.len()).ok()?;
    Some(framed(first, count, len, &payload))
}

fn framed(first: u64, count: u32, len: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((HEADER_BYTES + payload.len()).next_multiple_of(ALIGN));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&checksum(&bytes, payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    bytes
}

/// The frame at the beginning of `bytes`, if there is a whole and sound one.
pub(super) fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    if header[..4] != MAGIC {
        return None;
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let end = HEADER_BYTES.checked_add(number(4) as usize)?;
    let payload = bytes.get(HEADER_BYTES..end)?;
    if number(20) != checksum(&header[..20], payload) {
        return None;
    }
    let first = u64::from(number(8)) | u64::from(number(12)) << 32;
    let count = number(16);
    let padded = end.next_multiple_of(ALIGN);
    (count > 0 && first > 0 && padded <= bytes.len() && first.checked_add(u64::from(count)).is_some())
        .then_some(Frame { first, count, payload, len: padded })
}

/// How many bytes the frame takes whose header begins `bytes`, if one may begin there.
pub(super) fn peek_len(bytes: &[u8]) -> Option<usize> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let fits = header[..4] == MAGIC && u64::from(len) <= PAYLOAD_BYTES_MAX;
    fits.then(|| (HEADER_BYTES + len as usize).next_multiple_of(ALIGN))
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn batches() -> Vec<Batch> {
        let put = Op::Put {
            tree: 3,
            key: Blob(Bytes::from_static(b"key")),
            value: Blob(Bytes::from_static(b"value")),
        };
        let del = Op::Del { tree: 250, key: Blob(Bytes::from_static(&[0, 255])) };
        vec![Batch { ops: vec![put.clone(), del] }, Batch::default(), Batch { ops: vec![put] }]
    }

    #[test]
    fn a_frame_reads_back_what_was_written() {
        let bytes = encode(41, &batches()).expect("small");
        let frame = parse(&bytes).expect("whole");
        assert_eq!((frame.first, frame.last(), frame.len), (41, 43, bytes.len()));
        let read = frame.batches().expect("sound");
        assert_eq!(strict_encode(&read), strict_encode(&batches()));
        assert_eq!(read[0].ops[0], ReadOp::Put { tree: 3, key: b"key", value: b"value" });
        assert_eq!(read[0].ops[1], ReadOp::Del { tree: 250, key: &[0, 255] });
        assert_eq!(bytes.len() % ALIGN, 0);
    }

    #[test]
    fn the_bytes_of_a_frame_stay_as_they_are() {
        let golden = "4542463169000000290000000000000003000000081d584e";
        let bytes = encode(41, &batches()).expect("small");
        let hex: String = bytes[..HEADER_BYTES].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, golden);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = encode(1, &batches()).expect("small");
        assert_eq!(peek_len(&bytes), Some(bytes.len()));
        let end = HEADER_BYTES + u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        for bit in 0..end * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&wrong), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), None, "cut to {len}");
        }
    }
}
