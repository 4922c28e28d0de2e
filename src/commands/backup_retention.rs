//! How many backups are kept in a directory.
//!
//! Only files whose names we gave are looked at, so a backup that a person named is never removed.

use jiff::{SignedDuration, Timestamp};
use std::io;
use std::path::{Path, PathBuf};

const BEGIN: &str = "edobridge-";
const END: &str = ".backup";
/// Of a backup whose making was interrupted.
const HALF: &str = ".partial";
/// `20260203T070506Z`.
const TIME: &str = "%Y%m%dT%H%M%SZ";
const TIME_CHARS: usize = 16;

/// The name of a backup that is made at this moment. Names sort by age.
fn name_of(now: Timestamp) -> String {
    format!("{BEGIN}{}{END}", now.strftime(TIME))
}

/// A free place in `dir` for a backup that is made at this moment: of two in one second, the second bears the next one.
pub(super) fn place_in(dir: &Path, now: Timestamp) -> PathBuf {
    /// More are not made faster than time passes; then the name is taken, and the making says so.
    const SECONDS_AHEAD_MAX: i64 = 60;
    let later = |seconds| now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    let mut places = (0..SECONDS_AHEAD_MAX).map(|seconds| dir.join(name_of(later(seconds))));
    places.find(|place| !place.exists()).unwrap_or_else(|| dir.join(name_of(now)))
}

/// Whether we gave the name, and with which end.
fn is_ours(path: &Path, end: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let time = name.strip_prefix(BEGIN).and_then(|name| name.strip_suffix(end)).unwrap_or_default();
    let is_digit = |at: usize, b: u8| match at {
        8 => b == b'T',
        15 => b == b'Z',
        _ => b.is_ascii_digit(),
    };
    time.len() == TIME_CHARS && time.bytes().enumerate().all(|(at, b)| is_digit(at, b))
}

/// Removes the oldest backups beside `newest` until `keep` are left, `newest` being one of them, and what earlier
/// interrupted attempts left. Returns what was removed.
///
/// # Errors
/// What the file system says; some may be removed all the same.
pub(super) fn thin_out(newest: &Path, keep: usize) -> io::Result<Vec<PathBuf>> {
    let dir = newest.parent().unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(dir)?.map(|entry| entry.map(|e| e.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    // What bears a later time than the one just made comes from a clock that went wrong, or is being made now.
    paths.retain(|path| path.as_path() <= newest);
    let halves = paths.iter().filter(|path| is_ours(path, HALF)).cloned();
    let whole: Vec<PathBuf> = paths.iter().filter(|path| is_ours(path, END)).cloned().collect();
    let surplus = whole.len().saturating_sub(keep.max(1));
    let removed: Vec<PathBuf> = whole.into_iter().take(surplus).chain(halves).collect();
    for path in &removed {
        std::fs::remove_file(path)?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn two_of_one_second_have_two_names_that_sort_by_age() {
        let dir = tempfile::tempdir().unwrap();
        let now = "2026-02-03T07:05:06.9Z".parse().unwrap();
        let first = place_in(dir.path(), now);
        assert!(first.ends_with("edobridge-20260203T070506Z.backup"), "{first:?}");
        std::fs::write(&first, "").unwrap();
        let second = place_in(dir.path(), now);
        assert!(second > first && is_ours(&second, END), "{second:?}");
    }

    #[test]
    fn the_oldest_go_and_what_a_person_named_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |day: u32| format!("edobridge-202602{day:02}T031700Z.backup");
        let kept = ["edobridge-before-the-move.backup", "other.txt", "edobridge-20260201T031700Z.backup.txt"];
        for name in kept.iter().map(|name| (*name).to_owned()).chain((1..=5).map(at)) {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        std::fs::write(dir.path().join("edobridge-20260203T031700Z.partial"), "x").unwrap();
        let removed = thin_out(&dir.path().join(at(4)), 2).unwrap();
        assert_eq!(removed.len(), 3, "{removed:?}");
        let mut expected: Vec<String> = kept.iter().map(|name| (*name).to_owned()).collect();
        expected.extend([at(3), at(4), at(5)]);
        expected.sort();
        assert_eq!(names(dir.path()), expected);
    }

    #[test]
    fn our_names_are_known_again_and_sort_by_age() {
        let (older, newer) = (name_of(Timestamp::UNIX_EPOCH), name_of(Timestamp::constant(1_770_102_306, 0)));
        assert!(is_ours(Path::new(&older), END) && is_ours(Path::new(&newer), END));
        assert!(older < newer);
    }
}
