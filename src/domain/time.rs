//! Points in time as UTC milliseconds: they survive a restart, and are an argument everywhere.

use serde::{Deserialize, Serialize};

/// Milliseconds of the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment moved by `ms` milliseconds; saturates.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        let ms = if ms > i64::MAX as u64 { i64::MAX } else { ms as i64 };
        Self(self.0.saturating_add(ms))
    }
    /// Milliseconds from `earlier` to this moment; zero if `earlier` is later (clocks jump).
    pub const fn ms_since(self, earlier: Self) -> u64 {
        let d = self.0.saturating_sub(earlier.0);
        if d < 0 { 0 } else { d as u64 }
    }
    /// The sign-less form that sorts as bytes; moments before 1970 become zero.
    pub const fn to_be_bytes(self) -> [u8; 8] {
        (if self.0 < 0 { 0 } else { self.0 as u64 }).to_be_bytes()
    }
    /// The inverse of [`Timestamp::to_be_bytes`].
    pub const fn from_be_bytes(bytes: [u8; 8]) -> Self {
        let value = u64::from_be_bytes(bytes);
        Self(if value > i64::MAX as u64 { i64::MAX } else { value as i64 })
    }
}

/// Where the present comes from. Production has one implementation, tests have another.
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Timestamp;
}
