//! The journal: an append-only sequence of frames in segments. It is the truth; everything else is made from it.
//!
//! Two halves. [`Survey`] reads what is there, before anything is changed: where it ends, what is torn, what is
//! damaged. [`Journal`] is the writer's handle: append a frame, sync, and mend itself after a failure. Both stand on
//! `files` (which segments there are) and `walk` (the frames in one).
//!
//! It deliberately does not know what the operations mean.
//!
//! # Torn or damaged
//! A frame is written only after the sync of the one before it has returned. So an unsound frame with nothing
//! sound behind it is the torn tail of a group that nobody was told about: it is cut. An unsound frame with a
//! sound one of a later sequence behind it is damage to what was acknowledged: the start is refused, by name.
//!
//! # After a failed write or sync
//! The group is unknown: its bytes may be on the disk, and a second fsync would say "fine" about pages that
//! the kernel has already given up. So nothing is synced again. The handle is closed, the file opened anew,
//! what was acknowledged is read back, and the blocks from the last acknowledged byte on are **written again**
//! (that byte's own block as it should be, then zeros), which makes them dirty once more, and synced. If that
//! fails too, a fresh segment begins whose header fences the unknown group off (`segment` SS-1). Only then is
//! the next group taken, and only then do the callers of the failed group hear. Should both fail, they hear
//! that the outcome is unknown, nothing is taken, and it is tried again each second.
//!
//! # Invariants
//! * **SJ-1** [`Journal::append`] returns `Ok` only for a frame that is durable.
//! * **SJ-2** Sequences have no gap and no repeat among the frames that count.
//! * **SJ-3** A frame whose append failed never counts later, once [`Journal::mend`] has returned `Ok`.

mod append;
#[cfg(test)]
mod bench;
mod files;
mod place;
mod survey;
mod walk;

pub(super) use self::append::{AppendError, Appended, Journal};
pub(super) use self::files::remove_covered;
pub(super) use self::place::Place;
pub(super) use self::survey::Survey;
pub(super) use self::walk::read_range;
