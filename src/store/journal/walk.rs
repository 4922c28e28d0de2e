//! Reading: the frames of a segment one after the other, and those of a journal that is being written.

use super::Place;
use super::files::{damaged, find_segments, open_segment, unreadable};
use crate::store::disk::DiskFile;
use crate::store::error::OpenError;
use crate::store::frame;
use crate::store::segment::{self, Window};
use std::io;
use std::path::Path;

/// How far the sound frames of a segment go.
pub(super) struct Walked {
    /// Byte after the last one that counts.
    pub offset: u64,
    /// The sequence after it.
    pub expected: u64,
    /// Sound frames behind the fence.
    pub abandoned: u64,
}

/// Why a walk did not come to its end.
pub(super) enum WalkError {
    Io(io::Error),
    /// A sound frame cannot be understood, or whoever visits it has had enough.
    Stopped {
        offset: u64,
        detail: String,
    },
}

impl WalkError {
    pub(super) fn in_segment(self, path: &Path) -> OpenError {
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
pub(super) fn walk(
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
pub(in crate::store) fn read_range(
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
