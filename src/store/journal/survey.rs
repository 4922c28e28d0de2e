//! The survey: what there is of a journal before anything is changed, its replay, and the handing over to a writer.

use super::append::{Active, HeaderFate};
use super::files::{Files, Found, damaged, find_segments, open_segment, unreadable};
use super::walk::{Walked, walk};
use super::{Journal, Place};
use crate::store::disk::list_dir;
use crate::store::error::OpenError;
use crate::store::frame::ReadBatch;
use crate::store::segment::{self, Window};
use std::io;
use std::path::{Path, PathBuf};

/// What there is of a journal, before anything is changed.
pub(in crate::store) struct Survey {
    place: Place,
    segments: Vec<Found>,
    /// Segments without a sound header that are followed by one in use.
    lost_headers: Vec<PathBuf>,
    /// The highest number of any segment file, used or blank.
    highest: u64,
    /// Where the last segment's sound frames end.
    tail_offset: u64,
    /// Bytes that are not zero behind it.
    pub torn_bytes: u64,
    /// The sequence after the last sound frame; none if there is no segment in use.
    end: Option<u64>,
}

impl Survey {
    /// Looks at the journal in `place`.
    ///
    /// # Errors
    /// [`OpenError::DamagedJournal`], [`OpenError::Newer`], [`OpenError::Io`].
    pub fn take(place: Place) -> Result<Self, OpenError> {
        let Files { used, blank, lost_headers, highest } = find_segments(&place)?;
        let mut survey =
            Self { place, segments: used, lost_headers, highest, tail_offset: 0, torn_bytes: 0, end: None };
        survey.survey_tail()?;
        let expected = survey.end.unwrap_or(1);
        for path in blank {
            let file = open_segment(&survey.place.disk, &path)?;
            let found = Window::new(&file).find_frame(0, expected).map_err(unreadable(&path))?;
            if let Some(at) = found {
                return Err(damaged(
                    &path,
                    0,
                    format!("its header is lost, a sound entry follows at byte {at}"),
                ));
            }
        }
        Ok(survey)
    }

    /// The sequence of the last entry; `None` if nothing was ever written.
    pub fn last(&self) -> Option<u64> {
        self.end.map(|end| end - 1)
    }

    /// The sequence of the oldest entry that is still there.
    pub fn first(&self) -> Option<u64> {
        self.segments.first().map(|s| s.header.first)
    }

    /// The file that holds entry `sequence`, or that should hold it.
    pub fn segment_of(&self, sequence: u64) -> PathBuf {
        let within = self.segments.iter().rev().find(|s| s.header.first <= sequence);
        match (within, self.end) {
            (Some(segment), Some(end)) if sequence < end => segment.path.clone(),
            _ => segment::path(&self.place.dir, self.segments.last().map_or(1, |s| s.header.number + 1)),
        }
    }

    /// How many bytes of journal there are behind entry `sequence`, up to a segment more.
    pub fn bytes_after(&self, sequence: u64) -> u64 {
        let needed = self.segments.iter().rev().take_while(|s| s.header.first > sequence + 1).count() as u64;
        needed * self.place.segment_bytes + self.tail_offset
    }

    /// How many segments begin behind entry `sequence`.
    pub fn segments_after(&self, sequence: u64) -> u64 {
        self.segments.iter().filter(|s| s.header.first > sequence + 1).count() as u64
    }

    fn survey_tail(&mut self) -> Result<(), OpenError> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        let file = open_segment(&self.place.disk, &last.path)?;
        let walked = walk(&file, last.header.first, u64::MAX, &mut |_| Ok(()));
        let walked = walked.map_err(|e| e.in_segment(&last.path))?;
        let mut window = Window::new(&file);
        let behind = window.find_frame(walked.offset, walked.expected).map_err(unreadable(&last.path))?;
        if let Some(at) = behind {
            return Err(damaged(&last.path, walked.offset, format!("a sound entry follows at byte {at}")));
        }
        self.torn_bytes = window.used_after(walked.offset).map_err(unreadable(&last.path))?;
        self.tail_offset = walked.offset;
        self.end = Some(walked.expected);
        Ok(())
    }

    /// Gives every entry of sequence `from` or later to `visit`, in order. Returns how many frames were fenced
    /// off among those read.
    ///
    /// # Errors
    /// [`OpenError::MissingJournal`] if it does not reach back to `from`, [`OpenError::DamagedJournal`].
    pub fn replay(
        &self,
        from: u64,
        visit: &mut dyn FnMut(u64, ReadBatch<'_>) -> Result<(), OpenError>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, OpenError> {
        if self.end.is_none_or(|end| end <= from) {
            return Ok(0);
        }
        let start = self.segments.iter().rposition(|s| s.header.first <= from);
        let Some(start) = start else {
            let oldest = self.first().unwrap_or(0);
            return Err(OpenError::MissingJournal {
                needed: from,
                detail: format!("the oldest entry is {oldest}"),
            });
        };
        let chosen = &self.segments[start..];
        let total = chosen.len() as u64 * self.place.segment_bytes;
        let mut abandoned = 0;
        for (index, segment) in chosen.iter().enumerate() {
            progress(index as u64 * self.place.segment_bytes, total);
            abandoned += self.replay_segment(segment, chosen.get(index + 1), from, visit)?;
        }
        progress(total, total);
        Ok(abandoned)
    }

    fn replay_segment(
        &self,
        segment: &Found,
        next: Option<&Found>,
        from: u64,
        visit: &mut dyn FnMut(u64, ReadBatch<'_>) -> Result<(), OpenError>,
    ) -> Result<u64, OpenError> {
        let file = open_segment(&self.place.disk, &segment.path)?;
        let limit = next.map_or(u64::MAX, |n| n.header.first);
        let mut failure = None;
        let walked = walk(&file, segment.header.first, limit, &mut |frame| {
            if frame.last() < from {
                return Ok(());
            }
            for (sequence, batch) in (frame.first..).zip(frame.batches()?) {
                if sequence >= from
                    && let Err(error) = visit(sequence, batch)
                {
                    failure = Some(error);
                    return Err("the visitor stopped".to_owned());
                }
            }
            Ok(())
        });
        if let Some(error) = failure {
            return Err(error);
        }
        let walked = walked.map_err(|e| e.in_segment(&segment.path))?;
        match next {
            Some(next) if walked.expected < limit => Err(self.gap(segment, next, &walked)),
            Some(_) | None => Ok(walked.abandoned),
        }
    }

    /// The segment ended before its successor begins: damaged, or files between them are missing.
    fn gap(&self, segment: &Found, next: &Found, walked: &Walked) -> OpenError {
        if next.header.number == segment.header.number + 1 {
            let detail = format!(
                "entry {} was expected here, the next file begins with {}",
                walked.expected, next.header.first
            );
            return damaged(&segment.path, walked.offset, detail);
        }
        let missing = segment::path(&self.place.dir, segment.header.number + 1);
        if self.lost_headers.contains(&missing) {
            return damaged(&missing, 0, "its header is lost");
        }
        OpenError::MissingJournal {
            needed: walked.expected,
            detail: format!("the file {} is missing", missing.display()),
        }
    }

    /// Cuts the torn tail, makes durable what was found, and hands the journal over to a writer, who goes on
    /// with the entry after the last one, or with `fresh_next` if there is none.
    ///
    /// What was found may never have been synced: the process may have died between a write and its sync. It is
    /// about to be acted upon, so it is synced now.
    ///
    /// # Errors
    /// [`OpenError::Io`].
    pub fn start(self, fresh_next: u64) -> Result<Journal, OpenError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { doing, path, source }
        };
        let Self { place, segments, highest, tail_offset, torn_bytes, end, lost_headers: _ } = self;
        let active = match segments.last() {
            Some(last) => {
                let file = place.disk.open(&last.path).map_err(io("opening", &last.path))?;
                if torn_bytes > 0 {
                    segment::write_zeros(&file, tail_offset, tail_offset + torn_bytes)
                        .map_err(io("cutting", &last.path))?;
                }
                file.sync_all().map_err(io("syncing", &last.path))?;
                Active { file, number: last.header.number, offset: tail_offset, header: HeaderFate::Written }
            }
            None => {
                let number = highest.max(1);
                let path = segment::path(&place.dir, number);
                // An unused segment may hold a torn first write: it is made anew, at its full size.
                segment::prepare(&place.disk, &path, place.segment_bytes).map_err(io("preparing", &path))?;
                let file = place.disk.open(&path).map_err(io("opening", &path))?;
                Active { file, number, offset: segment::HEADER_BYTES as u64, header: HeaderFate::Pending }
            }
        };
        remove_blanks_above(&place, active.number).map_err(io("listing", &place.dir))?;
        Ok(Journal::resume(place, active, end.unwrap_or(fresh_next)))
    }
}

/// Blank segments of an earlier run may have another size or a torn header: they are made anew when needed.
fn remove_blanks_above(place: &Place, number: u64) -> io::Result<()> {
    for path in list_dir(&place.dir)? {
        let blank = segment::number_of(&path).is_some_and(|n| n > number);
        if blank || path.extension().is_some_and(|e| e == "preparing") {
            place.disk.remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, filled, put};
    use super::*;
    use crate::store::disk::Disk;
    use crate::store::frame;

    fn sound_len(path: &Path) -> usize {
        let file = Disk::real().open_read(path).expect("opened");
        let walked = walk(&file, 1, u64::MAX, &mut |_| Ok(()));
        usize::try_from(walked.map_err(|e| e.to_string()).expect("walked").offset).expect("small")
    }
    #[test]
    fn what_was_appended_is_there_after_opening_again() {
        let bench = Bench::new();
        filled(&bench, &[b"a", b"bb"]);
        filled(&bench, &[b"ccc"]);
        assert_eq!(bench.values(), [b"a".to_vec(), b"bb".to_vec(), b"ccc".to_vec()]);
    }

    #[test]
    fn a_torn_last_frame_is_cut_at_whatever_byte_it_tore_and_nothing_else_is_lost() {
        let bench = Bench::new();
        filled(&bench, &[b"first", b"second"]);
        let begin = sound_len(&bench.file(1));
        filled(&bench, &[b"third"]);
        let whole = std::fs::read(bench.file(1)).expect("read");
        let end = sound_len(&bench.file(1));
        for cut in begin..end {
            let mut torn = whole.clone();
            torn[cut..end].fill(0);
            std::fs::write(bench.file(1), &torn).expect("planted");
            let (mut journal, values, torn_bytes) = bench.open().expect("it opens");
            if torn == whole {
                continue; // only padding was cut
            }
            assert_eq!(values, [b"first".to_vec(), b"second".to_vec()], "cut at {cut}");
            assert_eq!(torn_bytes > 0, cut > begin, "cut at {cut}");
            put(&mut journal, b"next").expect("durable");
            drop(journal);
            assert_eq!(bench.values().last(), Some(&b"next".to_vec()), "cut at {cut}");
        }
    }

    #[test]
    fn damage_before_a_sound_frame_is_refused_with_file_and_byte() {
        let bench = Bench::new();
        filled(&bench, &[b"first"]);
        let begin = sound_len(&bench.file(1));
        filled(&bench, &[b"second", b"third"]);
        let whole = std::fs::read(bench.file(1)).expect("read");
        let second = frame::parse(&whole[begin..]).expect("sound");
        for at in begin..begin + frame::HEADER_BYTES + second.payload.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 0x40;
            std::fs::write(bench.file(1), &wrong).expect("planted");
            match bench.open() {
                Err(OpenError::DamagedJournal { segment, offset, .. }) => {
                    assert_eq!((segment, offset), (bench.file(1), begin as u64));
                }
                other => panic!("byte {at}: {:?}", other.map(|(_, values, _)| values)),
            }
            assert_eq!(
                std::fs::read(bench.file(1)).expect("read"),
                wrong,
                "a refused journal is left as it is"
            );
        }
    }

    #[test]
    fn a_lost_segment_is_named() {
        let bench = Bench::new();
        let large = vec![7; 20 << 10];
        filled(&bench, &[large.as_slice(); 8]);
        assert!(bench.file(3).exists());
        let second = std::fs::read(bench.file(2)).expect("read");
        std::fs::remove_file(bench.file(2)).expect("removed");
        let missing = bench.open().map(|o| o.1).expect_err("refused").to_string();
        assert!(missing.contains("00000000000000000002.seg"), "{missing}");
        let mut wrong = second;
        wrong[3] ^= 1;
        std::fs::write(bench.file(2), &wrong).expect("planted");
        let damaged = bench.open().map(|o| o.1);
        assert!(
            matches!(damaged, Err(OpenError::DamagedJournal { segment, .. }) if segment == bench.file(2))
        );
    }

    #[test]
    fn a_lost_header_of_the_last_segment_is_damage_if_entries_follow() {
        let bench = Bench::new();
        filled(&bench, &[b"first"]);
        let mut bytes = std::fs::read(bench.file(1)).expect("read");
        bytes[..64].fill(0);
        std::fs::write(bench.file(1), &bytes).expect("planted");
        assert!(matches!(bench.open(), Err(OpenError::DamagedJournal { .. })));
    }
}
