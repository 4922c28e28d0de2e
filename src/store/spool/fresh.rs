//! The spool's small files that were finished a moment ago, in memory: what comes in is as a rule sent on at once, and
//! need not be read from the disk for that.
//!
//! It deliberately does not know where files lie. What is not here is asked of the disk.

use crate::domain::FileDigest;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many bytes of files that were just finished are kept in memory as well: some three hundred ordinary contracts, as
/// many as come in while the commits that name them wait in a storm.
pub(super) const FRESH_BYTES_MAX: usize = 32 << 20;
/// What each of them counts beside its bytes: bounds their number.
const FRESH_PLACE_BYTES: usize = 1 << 10;
/// For how long. What comes in is as a rule sent on at once; what is not waits for long, and is read from the disk.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(5);

/// Small files that were finished a moment ago: the very bytes that were hashed for their names.
#[derive(Default)]
pub(super) struct Fresh {
    /// The oldest first.
    files: VecDeque<(Instant, FileDigest, Bytes)>,
    pub(super) bytes: usize,
}

impl Fresh {
    pub(super) fn keep(&mut self, digest: FileDigest, bytes: Bytes) {
        self.bytes += weight(&bytes);
        self.files.push_back((Instant::now(), digest, bytes));
        while self.bytes > FRESH_BYTES_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        self.bytes -= self.files.pop_front().map_or(0, |(_, _, bytes)| weight(&bytes));
    }

    pub(super) fn forget_old(&mut self, now: Instant) {
        while self.files.front().is_some_and(|(since, ..)| now.duration_since(*since) >= FRESH_FOR) {
            self.forget_oldest();
        }
        if self.files.is_empty() {
            self.files.shrink_to_fit();
        }
    }

    pub(super) fn take(&mut self, digest: FileDigest) -> Option<Bytes> {
        let at = self.files.iter().position(|(_, known, _)| *known == digest)?;
        let (_, _, bytes) = self.files.remove(at)?;
        self.bytes -= weight(&bytes);
        Some(bytes)
    }
}

/// What keeping these bytes costs: also an empty file takes a place.
fn weight(bytes: &Bytes) -> usize {
    bytes.len() + FRESH_PLACE_BYTES
}
