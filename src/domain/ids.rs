//! Identifiers as types, so that one can never be given where another is meant.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The id of one saga: a UUIDv7 made when its trigger was accepted, so that ids sort by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SagaId(u128);

impl SagaId {
    /// Wraps a number; randomness is the caller's business.
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }
    /// The id as a number.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
    /// Big-endian bytes: they sort as the ids do, and are what keys of the store hold.
    pub const fn to_be_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
    /// The inverse of [`SagaId::to_be_bytes`].
    pub const fn from_be_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
    /// The last eight hex digits: random, short enough for a comment or a table.
    pub fn short(self) -> String {
        format!("{:08x}", self.0 as u32)
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl fmt::Debug for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a saga id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a document id: 32 hex digits are expected, with or without hyphens")]
pub struct InvalidSagaId(pub String);

impl FromStr for SagaId {
    type Err = InvalidSagaId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidSagaId(text.chars().take(64).collect()));
        }
        u128::from_str_radix(&digits, 16).map(Self).map_err(|_| InvalidSagaId(text.to_owned()))
    }
}

/// The number of one accepted notice in the inbox: grows, never repeats within a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NoticeId(pub u64);

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a portal in our configuration. It stays when the portal's address changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortalId(pub String);

impl PortalId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PortalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fences one attempt of an effect: its answer must carry the same number, or it is a straggler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptToken(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saga_id_reads_back_what_it_prints() {
        let id = SagaId::from_u128(0x0198_f00d_dead_beef_0123_4567_89ab_cdef);
        assert_eq!(id.to_string().parse::<SagaId>(), Ok(id));
        assert_eq!(id.to_string().replace('-', "").parse::<SagaId>(), Ok(id));
        assert_eq!(id.short(), "89abcdef");
    }

    #[test]
    fn what_is_not_an_id_is_named_in_the_error() {
        for text in ["", "42", "zz98f00d-dead-beef-0123-456789abcdef"] {
            assert!(text.parse::<SagaId>().is_err(), "{text}");
        }
    }
}
