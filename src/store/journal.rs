//! The journal: an append-only sequence of frames in segments. It is the truth; everything else is made from it.
//!
//! Two halves. [`Survey`] reads what is there, before anything is changed: where it ends, what is torn, what is
//! damaged. [`Journal`] is the writer's handle: append a frame, sync, and mend itself after a failure.
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

use super::disk::{Disk, DiskFile, list_dir};
use super::error::OpenError;
use super::frame::{self, ReadBatch};
use super::segment::{self, Header, HeaderState, Window};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a disk writes at once: the last acknowledged block is written again as a whole when mending.
const BLOCK_BYTES: u64 = 4_096;

/// Where a journal lives and what it must be.
#[derive(Clone)]
pub(super) struct Place {
    pub disk: Disk,
    pub dir: PathBuf,
    /// Id of the store: a segment of another store is never taken for ours.
    pub store: [u8; 16],
    pub segment_bytes: u64,
    /// Held while a blank segment is made or taken: the keeper makes them ahead, the writer in need, and neither
    /// may put a blank one in the place of one that the other has begun to use.
    pub preparing: Arc<Mutex<()>>,
}

impl Place {
    /// Makes sure that the blank segment `number` is there; whoever holds [`Place::preparing`] calls this.
    fn prepare(&self, number: u64) -> io::Result<PathBuf> {
        let path = segment::path(&self.dir, number);
        if !path.exists() {
            segment::prepare(&self.disk, &path, self.segment_bytes)?;
        }
        Ok(path)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.preparing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the segment after the one that `active` names, and the reserve, if they are not there yet.
    ///
    /// # Errors
    /// When there is no room for them.
    pub fn prepare_ahead(&self, active: &AtomicU64) -> io::Result<()> {
        let guard = self.lock();
        self.prepare(active.load(Ordering::Acquire) + 1)?;
        drop(guard);
        let _guard = self.lock();
        let reserve = segment::reserve_path(&self.dir);
        let there = reserve.metadata().is_ok_and(|m| m.len() == self.segment_bytes);
        if there { Ok(()) } else { segment::prepare(&self.disk, &reserve, self.segment_bytes) }
    }
}

/// A sound segment.
#[derive(Debug, Clone)]
struct Found {
    path: PathBuf,
    header: Header,
}

/// What there is of a journal, before anything is changed.
pub(super) struct Survey {
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
        Ok(Journal { place, active, next: end.unwrap_or(fresh_next), doubt: None })
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

fn damaged(path: &Path, offset: u64, detail: impl Into<String>) -> OpenError {
    OpenError::DamagedJournal { segment: path.to_owned(), offset, detail: detail.into() }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Io { doing: "reading", path, source }
}

fn open_segment(disk: &Disk, path: &Path) -> Result<DiskFile, OpenError> {
    disk.open_read(path).map_err(unreadable(path))
}

/// The segment files of a journal.
struct Files {
    /// With a sound header, by number.
    used: Vec<Found>,
    /// Without one, behind all that are used: prepared, or torn at their first write.
    blank: Vec<PathBuf>,
    /// Without one, before one that is used: given up after a failed first write, or damaged.
    lost_headers: Vec<PathBuf>,
    /// The highest number.
    highest: u64,
}

fn find_segments(place: &Place) -> Result<Files, OpenError> {
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

/// How far the sound frames of a segment go.
struct Walked {
    /// Byte after the last one that counts.
    offset: u64,
    /// The sequence after it.
    expected: u64,
    /// Sound frames behind the fence.
    abandoned: u64,
}

/// Why a walk did not come to its end.
enum WalkError {
    Io(io::Error),
    /// A sound frame cannot be understood, or whoever visits it has had enough.
    Stopped {
        offset: u64,
        detail: String,
    },
}

impl WalkError {
    fn in_segment(self, path: &Path) -> OpenError {
        match self {
            Self::Io(source) => unreadable(path)(source),
            Self::Stopped { offset, detail } => damaged(path, offset, detail),
        }
    }
}

impl std::fmt::Display for WalkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Stopped { offset, detail } => write!(f, "at byte {offset}: {detail}"),
        }
    }
}

/// Visits the frames of a segment from `expected` on, below `limit`.
fn walk(
    file: &DiskFile,
    mut expected: u64,
    limit: u64,
    visit: &mut dyn FnMut(frame::Frame<'_>) -> Result<(), String>,
) -> Result<Walked, WalkError> {
    let mut window = Window::new(file);
    let mut offset = segment::HEADER_BYTES as u64;
    while let Some(frame) = window.frame(offset).map_err(WalkError::Io)? {
        if frame.first != expected || frame.last() >= limit {
            break;
        }
        visit(frame).map_err(|detail| WalkError::Stopped { offset, detail })?;
        expected = frame.last() + 1;
        offset += frame.len as u64;
    }
    let abandoned =
        if expected == limit { count_frames(&mut window, offset).map_err(WalkError::Io)? } else { 0 };
    Ok(Walked { offset, expected, abandoned })
}

fn count_frames(window: &mut Window<'_>, mut offset: u64) -> io::Result<u64> {
    let mut count = 0;
    while let Some(frame) = window.frame(offset)? {
        count += 1;
        offset += frame.len as u64;
    }
    Ok(count)
}

/// Reads the frames with sequences `from..=to` of a journal that is being written; all of them are durable.
///
/// # Errors
/// When a segment is gone or unreadable, in words.
pub(super) fn read_range(
    place: &Place,
    from: u64,
    to: u64,
    visit: &mut dyn FnMut(frame::Frame<'_>) -> Result<(), String>,
) -> Result<(), String> {
    if from > to {
        return Ok(());
    }
    let segments = find_segments(place).map_err(|e| e.to_string())?.used;
    let start =
        segments.iter().rposition(|s| s.header.first <= from).ok_or("the journal does not reach back")?;
    let mut reached = from;
    for (index, segment) in segments.iter().enumerate().skip(start) {
        let limit = segments.get(index + 1).map_or(u64::MAX, |n| n.header.first);
        if segment.header.first > to {
            break;
        }
        let file = open_segment(&place.disk, &segment.path).map_err(|e| e.to_string())?;
        walk(&file, segment.header.first, limit, &mut |frame| {
            if frame.last() < from || frame.first > to {
                return Ok(());
            }
            reached = frame.last() + 1;
            visit(frame)
        })
        .map_err(|e| format!("{}: {e}", segment.path.display()))?;
    }
    if reached > to {
        Ok(())
    } else {
        Err(format!("the journal ends at entry {}, {to} was expected", reached - 1))
    }
}

/// Removes segments all of whose entries are `upto` or below. Returns how many remain.
pub(super) fn remove_covered(place: &Place, upto: u64) -> io::Result<usize> {
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

/// The writer's handle.
pub(super) struct Journal {
    place: Place,
    active: Active,
    /// The sequence of the next entry.
    next: u64,
    /// Up to where the active segment may hold bytes of a failed group; the writer must mend first.
    doubt: Option<u64>,
}

struct Active {
    file: DiskFile,
    number: u64,
    /// Where the next frame goes.
    offset: u64,
    header: HeaderFate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeaderFate {
    Pending,
    Written,
}

/// What an append took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appended {
    pub write: Duration,
    pub sync: Duration,
}

/// Why an append failed.
#[derive(Debug)]
pub(super) enum AppendError {
    /// There was no room for it; not a byte was written.
    NoRoom(io::Error),
    /// Writing or syncing failed: [`Journal::mend`] before anything else.
    Unknown(io::Error),
}

impl Journal {
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
    use super::super::disk::Host;
    use super::super::faults::{Fault, FaultAt, FaultyDisk};
    use super::super::frame::{Batch, Op, ReadOp};
    use super::super::records::Blob;
    use super::*;
    use bytes::Bytes;

    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    const SEGMENT: u64 = 64 << 10;

    struct Bench {
        dir: tempfile::TempDir,
        disk: Disk,
        faults: Arc<FaultyDisk>,
    }

    impl Bench {
        fn new() -> Self {
            let faults = Arc::new(FaultyDisk::default());
            let disk = Disk::hooked(faults.clone());
            assert!(Host::here().boot_id.is_some(), "this test runs on Linux");
            Self { dir: tempfile::tempdir().expect("a directory for the test"), disk, faults }
        }
        fn place(&self) -> Place {
            Place {
                disk: self.disk.clone(),
                dir: self.dir.path().to_owned(),
                store: [9; 16],
                segment_bytes: SEGMENT,
                preparing: Arc::default(),
            }
        }
        fn open(&self) -> Result<(Journal, Vec<Vec<u8>>, u64), OpenError> {
            let survey = Survey::take(self.place())?;
            let torn = survey.torn_bytes;
            let mut values = Vec::new();
            survey.replay(
                1,
                &mut |_, batch| {
                    values.extend(batch.ops.into_iter().map(value));
                    Ok(())
                },
                &mut |_, _| {},
            )?;
            Ok((survey.start(1)?, values, torn))
        }
        fn values(&self) -> Vec<Vec<u8>> {
            self.open().expect("it opens").1
        }
        fn file(&self, number: u64) -> PathBuf {
            segment::path(self.dir.path(), number)
        }
    }

    fn value(op: ReadOp<'_>) -> Vec<u8> {
        match op {
            ReadOp::Put { value, .. } => value.to_vec(),
            ReadOp::Del { key, .. } => key.to_vec(),
        }
    }

    fn put(journal: &mut Journal, value: &[u8]) -> Result<Appended, AppendError> {
        let op = Op::Put { tree: 1, key: Blob(Bytes::new()), value: Blob(Bytes::copy_from_slice(value)) };
        let frame = frame::encode(journal.next(), &vec![Batch { ops: vec![op] }]).expect("small");
        journal.append(&frame, 1)
    }

    fn filled(bench: &Bench, values: &[&[u8]]) {
        let mut journal = bench.open().expect("it opens").0;
        for value in values {
            put(&mut journal, value).expect("durable");
        }
    }

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

    #[test]
    fn a_segment_of_another_store_is_not_ours() {
        let bench = Bench::new();
        filled(&bench, &[b"first"]);
        let other = Place { store: [8; 16], ..bench.place() };
        assert!(matches!(Survey::take(other), Err(OpenError::DamagedJournal { .. })));
    }

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
