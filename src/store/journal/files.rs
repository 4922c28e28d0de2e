//! The segment files of a journal: which there are, what their headers say, and which are not needed any more.

use super::Place;
use crate::store::disk::{Disk, DiskFile, list_dir};
use crate::store::error::OpenError;
use crate::store::segment::{self, Header, HeaderState};
use std::io;
use std::path::{Path, PathBuf};

/// A sound segment.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub path: PathBuf,
    pub header: Header,
}

/// The segment files of a journal.
pub(super) struct Files {
    /// With a sound header, by number.
    pub used: Vec<Found>,
    /// Without one, behind all that are used: prepared, or torn at their first write.
    pub blank: Vec<PathBuf>,
    /// Without one, before one that is used: given up after a failed first write, or damaged.
    pub lost_headers: Vec<PathBuf>,
    /// The highest number.
    pub highest: u64,
}

pub(super) fn find_segments(place: &Place) -> Result<Files, OpenError> {
    let io = |source| OpenError::Io { doing: "listing", path: place.dir.clone(), source };
    let mut files = Files { used: Vec::new(), blank: Vec::new(), lost_headers: Vec::new(), highest: 0 };
    for path in list_dir(&place.dir).map_err(io)? {
        let Some(number) = segment::number_of(&path) else { continue };
        files.highest = number;
        let mut head = [0; segment::HEADER_BYTES];
        let file = place.disk.open_read(&path).map_err(io)?;
        let got = file.read_at(&mut head, 0).map_err(io)?;
        match Header::decode(&head[..got]) {
            HeaderState::Sound(header) => {
                check_header(place, &path, number, &header, files.used.last())?;
                files.lost_headers.append(&mut files.blank);
                files.used.push(Found { path, header });
            }
            HeaderState::Blank | HeaderState::Unsound => files.blank.push(path),
            HeaderState::Newer(found) => {
                return Err(OpenError::Newer { what: "journal".into(), found, known: segment::FORMAT });
            }
        }
    }
    Ok(files)
}

fn check_header(
    place: &Place,
    path: &Path,
    number: u64,
    header: &Header,
    before: Option<&Found>,
) -> Result<(), OpenError> {
    if header.store != place.store {
        return Err(damaged(path, 0, "it belongs to another store"));
    }
    if header.number != number {
        return Err(damaged(path, 0, format!("it says that it is segment {}", header.number)));
    }
    if before.is_some_and(|b| b.header.first > header.first) {
        return Err(damaged(path, 0, "it begins before the segment that precedes it"));
    }
    Ok(())
}

/// Removes segments all of whose entries are `upto` or below. Returns how many remain.
pub(in crate::store) fn remove_covered(place: &Place, upto: u64) -> io::Result<usize> {
    let segments = find_segments(place).map_err(|e| io::Error::other(e.to_string()))?.used;
    let mut removed = 0;
    for pair in segments.windows(2) {
        if pair[1].header.first <= upto.saturating_add(1) {
            place.disk.remove(&pair[0].path)?;
            removed += 1;
        }
    }
    if removed > 0 {
        place.disk.sync_dir(&place.dir)?;
    }
    Ok(segments.len() - removed)
}

pub(super) fn damaged(path: &Path, offset: u64, detail: impl Into<String>) -> OpenError {
    OpenError::DamagedJournal { segment: path.to_owned(), offset, detail: detail.into() }
}

pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Io { doing: "reading", path, source }
}

pub(super) fn open_segment(disk: &Disk, path: &Path) -> Result<DiskFile, OpenError> {
    disk.open_read(path).map_err(unreadable(path))
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, filled};
    use super::super::{Survey, read_range};
    use super::*;

    #[test]
    fn a_segment_of_another_store_is_not_ours() {
        let bench = Bench::new();
        filled(&bench, &[b"first"]);
        let other = Place { store: [8; 16], ..bench.place() };
        assert!(matches!(Survey::take(other), Err(OpenError::DamagedJournal { .. })));
    }

    #[test]
    fn covered_segments_are_removed_and_what_remains_is_enough() {
        let bench = Bench::new();
        let large = vec![7; 20 << 10];
        filled(&bench, &[large.as_slice(); 8]);
        assert_eq!(remove_covered(&bench.place(), 5).expect("removed"), 2);
        let survey = Survey::take(bench.place()).expect("surveyed");
        assert_eq!((survey.first(), survey.last()), (Some(4), Some(8)));
        let too_early = survey.replay(3, &mut |_, _| Ok(()), &mut |_, _| {});
        assert!(matches!(too_early, Err(OpenError::MissingJournal { needed: 3, .. })));
        let mut seen = Vec::new();
        read_range(&bench.place(), 5, 7, &mut |frame| {
            seen.push(frame.first);
            Ok(())
        })
        .expect("read");
        assert_eq!(seen, [5, 6, 7]);
        assert!(read_range(&bench.place(), 5, 9, &mut |_| Ok(())).is_err());
    }
}
