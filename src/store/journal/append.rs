//! Appending: the writer's handle, and how it mends itself after a failed write or sync; see the header of `journal`.

use super::Place;
use super::walk::walk;
use crate::store::disk::DiskFile;
use crate::store::segment::{self, Header, HeaderState, Window};
use std::io;
use std::time::{Duration, Instant};

/// What a disk writes at once: the last acknowledged block is written again as a whole when mending.
const BLOCK_BYTES: u64 = 4_096;

/// The writer's handle.
pub(in crate::store) struct Journal {
    place: Place,
    active: Active,
    /// The sequence of the next entry.
    next: u64,
    /// Up to where the active segment may hold bytes of a failed group; the writer must mend first.
    doubt: Option<u64>,
}

/// The segment that is written to.
pub(super) struct Active {
    pub file: DiskFile,
    pub number: u64,
    /// Where the next frame goes.
    pub offset: u64,
    pub header: HeaderFate,
}

/// Whether a segment has its header yet: that is written together with the first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFate {
    Pending,
    Written,
}

/// What an append took.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Appended {
    pub write: Duration,
    pub sync: Duration,
}

/// Why an append failed.
#[derive(Debug)]
pub(in crate::store) enum AppendError {
    /// There was no room for it; not a byte was written.
    NoRoom(io::Error),
    /// Writing or syncing failed: [`Journal::mend`] before anything else.
    Unknown(io::Error),
}

impl Journal {
    /// Goes on with entry `next` in the segment `active`.
    pub(super) fn resume(place: Place, active: Active, next: u64) -> Self {
        Self { place, active, next, doubt: None }
    }

    /// The sequence that the next entry gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of the segment that is written to.
    pub fn segment_number(&self) -> u64 {
        self.active.number
    }

    /// The largest frame that fits into a segment.
    pub fn frame_bytes_max(segment_bytes: u64) -> usize {
        usize::try_from(segment_bytes).unwrap_or(usize::MAX) - segment::HEADER_BYTES
    }

    /// Whether a failed group has to be dealt with first.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Writes one frame with `count` entries, which begin at [`Journal::next`], and makes it durable.
    pub fn append(&mut self, frame: &[u8], count: u32) -> Result<Appended, AppendError> {
        debug_assert!(self.doubt.is_none(), "SJ-3: a journal in doubt is mended before it is written to");
        self.make_room(frame.len() as u64).map_err(AppendError::NoRoom)?;
        let end = self.active.offset + frame.len() as u64;
        let appended = self.write_and_sync(frame).map_err(|error| {
            self.doubt = Some(end);
            AppendError::Unknown(error)
        })?;
        self.active.offset = end;
        self.active.header = HeaderFate::Written;
        self.next += u64::from(count);
        Ok(appended)
    }

    fn write_and_sync(&self, frame: &[u8]) -> io::Result<Appended> {
        let began = Instant::now();
        if self.active.header == HeaderFate::Pending {
            self.active.file.write_all_at(&self.header(self.active.number).encode(), 0)?;
        }
        self.active.file.write_all_at(frame, self.active.offset)?;
        let written = Instant::now();
        self.active.file.sync_data()?;
        Ok(Appended { write: written - began, sync: written.elapsed() })
    }

    fn header(&self, number: u64) -> Header {
        Header { number, first: self.next, store: self.place.store }
    }

    /// Makes sure that a frame of so many bytes can be written next.
    ///
    /// # Errors
    /// When no further segment can be had.
    pub fn ensure_room(&mut self, bytes: usize) -> io::Result<()> {
        self.make_room(bytes as u64)
    }

    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if self.active.offset + bytes <= self.place.segment_bytes {
            return Ok(());
        }
        let number = self.active.number + 1;
        let file = self.take_blank(number)?;
        self.active =
            Active { file, number, offset: segment::HEADER_BYTES as u64, header: HeaderFate::Pending };
        Ok(())
    }

    /// The blank segment `number`: prepared beforehand, or now, or the reserve.
    fn take_blank(&self, number: u64) -> io::Result<DiskFile> {
        let _guard = self.place.lock();
        if let Err(error) = self.place.prepare(number) {
            let reserve = segment::reserve_path(&self.place.dir);
            if !reserve.exists() {
                return Err(error);
            }
            tracing::warn!(%error, "the reserve of the journal is being used");
            self.place.disk.rename(&reserve, &segment::path(&self.place.dir, number))?;
            self.place.disk.sync_dir(&self.place.dir)?;
        }
        self.place.disk.open(&segment::path(&self.place.dir, number))
    }

    /// Makes sure that the failed group does not count and that the next one can be taken; see the header.
    ///
    /// # Errors
    /// When the disk still refuses; to be tried again later.
    pub fn mend(&mut self) -> io::Result<()> {
        let Some(doubt) = self.doubt else { return Ok(()) };
        match self.clean_in_place(doubt) {
            Ok(file) => self.active.file = file,
            Err(in_place) => self.fence().map_err(|fence| {
                io::Error::new(fence.kind(), format!("{in_place}; and with a fresh segment: {fence}"))
            })?,
        }
        self.doubt = None;
        Ok(())
    }

    fn clean_in_place(&self, doubt: u64) -> io::Result<DiskFile> {
        let file = self.place.disk.open(self.active.file.path())?;
        let keep = match self.active.header {
            HeaderFate::Pending => 0,
            HeaderFate::Written => self.active.offset,
        };
        let block = keep - keep % BLOCK_BYTES;
        self.check_acknowledged(&file, keep)?;
        let mut tail = vec![0; usize::try_from(keep - block).unwrap_or(0)];
        if file.read_at(&mut tail, block)? != tail.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all_at(&tail, block)?;
        segment::write_zeros(&file, keep, doubt.min(self.place.segment_bytes))?;
        file.sync_data()?;
        Ok(file)
    }

    /// Reads back what was acknowledged in this segment.
    fn check_acknowledged(&self, file: &DiskFile, keep: u64) -> io::Result<()> {
        if keep == 0 {
            return Ok(());
        }
        let HeaderState::Sound(header) = Header::decode(Window::new(file).at(0, segment::HEADER_BYTES)?)
        else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the segment's header cannot be read back",
            ));
        };
        let walked = walk(file, header.first, self.next, &mut |_| Ok(()));
        let walked = walked.map_err(|e| io::Error::other(e.to_string()))?;
        if walked.expected != self.next || walked.offset != keep {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "acknowledged entries cannot be read back",
            ));
        }
        Ok(())
    }

    /// Begins a fresh segment whose header says that everything from [`Journal::next`] on is in it.
    fn fence(&mut self) -> io::Result<()> {
        let number = self.active.number + 1;
        let file = self.take_blank(number)?;
        let fenced = file.write_all_at(&self.header(number).encode(), 0).and_then(|()| file.sync_data());
        if let Err(error) = fenced {
            // Not used again: its blocks may be bad, and a half-written header must not stay in the sequence.
            self.place.disk.remove(file.path())?;
            return Err(error);
        }
        self.active =
            Active { file, number, offset: segment::HEADER_BYTES as u64, header: HeaderFate::Written };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, put};
    use super::*;
    use crate::store::faults::{Fault, FaultAt};
    use std::sync::atomic::AtomicU64;

    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;

    #[test]
    fn a_failed_sync_never_lets_its_group_come_back_even_if_it_reached_the_disk() {
        for torn_bytes in [0, 1, 30, 1_000] {
            let bench = Bench::new();
            let mut journal = bench.open().expect("it opens").0;
            put(&mut journal, b"first").expect("durable");
            let at = if torn_bytes == 0 { FaultAt::Sync } else { FaultAt::Write };
            bench.faults.plan(Fault { torn_bytes, ..Fault::once(at, ".seg", EIO) });
            assert!(matches!(put(&mut journal, b"failed"), Err(AppendError::Unknown(_))));
            assert!(journal.is_in_doubt());
            journal.mend().expect("mended");
            assert_eq!(journal.segment_number(), 1, "mended in its place");
            drop(journal);
            assert_eq!(bench.values(), [b"first".to_vec()], "torn at {torn_bytes}");
            let mut journal = bench.open().expect("it opens").0;
            put(&mut journal, b"second").expect("durable");
            drop(journal);
            assert_eq!(bench.values(), [b"first".to_vec(), b"second".to_vec()], "torn at {torn_bytes}");
        }
    }

    #[test]
    fn a_segment_that_cannot_be_mended_is_fenced_off() {
        for first in [None, Some(b"first".as_slice())] {
            let bench = Bench::new();
            let mut journal = bench.open().expect("it opens").0;
            if let Some(first) = first {
                put(&mut journal, first).expect("durable");
            }
            bench.faults.plan(Fault::always(FaultAt::Sync, "0001.seg", EIO));
            assert!(matches!(put(&mut journal, b"failed"), Err(AppendError::Unknown(_))));
            // What the mending in place wrote is taken back, as if it had never reached the disk.
            let before = std::fs::read(bench.file(1)).expect("read");
            journal.mend().expect("mended");
            assert_eq!(journal.segment_number(), 2, "a fresh segment");
            put(&mut journal, b"second").expect("durable");
            drop(journal);
            bench.faults.clear();
            std::fs::write(bench.file(1), before).expect("planted");
            let expected: Vec<Vec<u8>> =
                first.into_iter().chain([b"second".as_slice()]).map(<[u8]>::to_vec).collect();
            assert_eq!(bench.values(), expected);
        }
    }

    #[test]
    fn while_the_disk_refuses_everything_nothing_is_taken_and_it_mends_later() {
        let bench = Bench::new();
        let mut journal = bench.open().expect("it opens").0;
        put(&mut journal, b"first").expect("durable");
        bench.faults.plan(Fault::always(FaultAt::Sync, "", EIO));
        bench.faults.plan(Fault::always(FaultAt::Create, "", EIO));
        assert!(put(&mut journal, b"failed").is_err());
        assert!(journal.mend().is_err());
        assert!(journal.is_in_doubt());
        bench.faults.clear();
        journal.mend().expect("mended");
        put(&mut journal, b"second").expect("durable");
        drop(journal);
        assert_eq!(bench.values(), [b"first".to_vec(), b"second".to_vec()]);
    }

    #[test]
    fn on_a_full_disk_the_reserve_is_used_and_then_nothing_is_written() {
        let bench = Bench::new();
        let mut journal = bench.open().expect("it opens").0;
        bench.place().prepare_ahead(&AtomicU64::new(1)).expect("prepared");
        bench.faults.plan(Fault::always(FaultAt::Create, "", ENOSPC));
        let large = vec![7; 20 << 10];
        let mut written = 0;
        let refused = loop {
            match put(&mut journal, &large) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, AppendError::NoRoom(_)) && !journal.is_in_doubt());
        assert_eq!(written, 9, "three to each of: the active segment, the next one, the reserve");
        bench.faults.clear();
        put(&mut journal, &large).expect("there is room again");
        drop(journal);
        assert_eq!(bench.values().len(), 10);
    }
}
