//! The directory of a store, and its small files: format, checkpoint, markers.
//!
//! ```text
//! LOCK             held while open
//! FORMAT           what this store is: format, id, newest version of each kind of record; checked before all else
//! OPEN             there while open: the boot id of the kernel under which it was opened
//! SUSPECT          there when the view must not be believed: an I/O error, or a rebuild that was not finished
//! RESTORED         there when the store was made from a backup: see `restored`
//! CHECKPOINT       up to which entry the view is durable
//! journal/         segments
//! snapshots/       verified snapshots, named by the entry they stand at
//! view/            sled; view.broken-1 … were set aside
//! spool/           files
//! ```

use super::disk::{Disk, list_dir};
use super::error::OpenError;
use super::records::Kind;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The newest layout of a store that we know.
pub(super) const FORMAT: u32 = 1;
/// The landing of the spool, as FORMAT tells of it: not a record, but as unreadable to a program that does not know it.
/// Its number is that of no record, and its version.
const LANDING: (u16, u16) = (26, 1);
/// How many views that were set aside are kept, for whoever wants to know why.
const BROKEN_VIEWS_MAX: usize = 2;

/// The paths of a store.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub dir: PathBuf,
}

impl Layout {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }
    pub fn lock(&self) -> PathBuf {
        self.dir.join("LOCK")
    }
    pub fn format(&self) -> PathBuf {
        self.dir.join("FORMAT")
    }
    pub fn open_marker(&self) -> PathBuf {
        self.dir.join("OPEN")
    }
    pub fn suspect_marker(&self) -> PathBuf {
        self.dir.join("SUSPECT")
    }
    pub fn restored(&self) -> PathBuf {
        self.dir.join("RESTORED")
    }
    pub fn checkpoint(&self) -> PathBuf {
        self.dir.join("CHECKPOINT")
    }
    pub fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }
    pub fn snapshots(&self) -> PathBuf {
        self.dir.join("snapshots")
    }
    pub fn view(&self) -> PathBuf {
        self.dir.join("view")
    }
    pub fn spool(&self) -> PathBuf {
        self.dir.join("spool")
    }

    /// Takes the lock; it is held as long as the file lives.
    ///
    /// # Errors
    /// [`OpenError::Locked`], [`OpenError::Io`].
    pub fn take_lock(&self) -> Result<File, OpenError> {
        let path = self.lock();
        let io = |source| OpenError::Io { doing: "locking", path: path.clone(), source };
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: self.dir.clone() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// Sets the view aside under a name of its own, and removes the oldest of those set aside earlier.
    pub fn set_view_aside(&self, disk: &Disk) -> io::Result<()> {
        let broken = self.broken_views()?;
        let next = broken.last().map_or(1, |(number, _)| number + 1);
        if self.view().exists() {
            std::fs::rename(self.view(), self.dir.join(format!("view.broken-{next}")))?;
            disk.sync_dir(&self.dir)?;
        }
        for (_, path) in broken.iter().rev().skip(BROKEN_VIEWS_MAX - 1) {
            std::fs::remove_dir_all(path)?;
        }
        Ok(())
    }

    /// Removes the view: it is about to be made anew, and is not interesting in itself.
    pub fn remove_view(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(self.view()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn broken_views(&self) -> io::Result<Vec<(u32, PathBuf)>> {
        let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("view.broken-")?.parse().ok();
        let mut broken: Vec<(u32, PathBuf)> =
            list_dir(&self.dir)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
        broken.sort();
        Ok(broken)
    }
}

/// What a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    /// Its id: a random number, so that parts of two stores are never mixed.
    pub store: [u8; 16],
    /// The newest version of each kind of record that was ever written into it.
    pub kinds: Vec<(u16, u16)>,
}

/// Everything that a store of ours may hold, with its newest version.
fn known_kinds() -> impl Iterator<Item = (u16, u16)> {
    Kind::ALL.into_iter().map(|(kind, version)| (kind.code(), version)).chain([LANDING])
}

/// A format that this program cannot work with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FormatError {
    Unreadable(String),
    Newer { what: String, found: u32, known: u32 },
}

impl Format {
    /// That of a new store with this id.
    pub fn new(store: [u8; 16]) -> Self {
        Self { store, kinds: known_kinds().collect() }
    }

    /// The text of the file: lines of words, the last with the checksum of what precedes it.
    pub fn to_text(&self) -> String {
        let hex: String = self.store.iter().map(|b| format!("{b:02x}")).collect();
        let mut text = format!("edobridge-store\nformat {FORMAT}\nstore {hex}\n");
        for (kind, version) in &self.kinds {
            text.push_str(&format!("kind {kind} {version}\n"));
        }
        let sum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("crc {sum:08x}\n"));
        text
    }

    /// Reads the text and refuses what is newer than we are.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let unreadable = |what: &str| FormatError::Unreadable(what.to_owned());
        let (body, sum) = text.rsplit_once("crc ").ok_or_else(|| unreadable("it has no checksum"))?;
        if sum.trim_end() != format!("{:08x}", crc32fast::hash(body.as_bytes())) {
            return Err(unreadable("its checksum does not fit"));
        }
        let mut format = Self { store: [0; 16], kinds: Vec::new() };
        for line in body.lines() {
            format.take_line(line)?;
        }
        Ok(format)
    }

    fn take_line(&mut self, line: &str) -> Result<(), FormatError> {
        let bad = || FormatError::Unreadable(format!("its line `{line}` is not understood"));
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["edobridge-store"] => Ok(()),
            ["format", found] => newer("store", found.parse().map_err(|_| bad())?, FORMAT),
            ["store", hex] => {
                let number = u128::from_str_radix(hex, 16).map_err(|_| bad())?;
                self.store = number.to_be_bytes();
                Ok(())
            }
            ["kind", kind, version] => {
                let (kind, version): (u16, u16) =
                    (kind.parse().map_err(|_| bad())?, version.parse().map_err(|_| bad())?);
                let known = known_kinds().find(|(known, _)| *known == kind).map_or(0, |(_, version)| version);
                newer(&format!("records of kind {kind}"), version.into(), known.into())?;
                self.kinds.push((kind, version));
                Ok(())
            }
            _ => Err(bad()),
        }
    }
}

fn newer(what: &str, found: u32, known: u32) -> Result<(), FormatError> {
    if found > known { Err(FormatError::Newer { what: what.to_owned(), found, known }) } else { Ok(()) }
}

/// The file CHECKPOINT: magic, format, sequence, CRC-32.
const CHECKPOINT_MAGIC: [u8; 8] = *b"EDOCHKP1";

/// The bytes of a checkpoint at this entry.
pub(super) fn encode_checkpoint(sequence: u64) -> Vec<u8> {
    let mut bytes = CHECKPOINT_MAGIC.to_vec();
    bytes.extend_from_slice(&sequence.to_le_bytes());
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The entry that a checkpoint stands at; none if it is not sound.
pub(super) fn decode_checkpoint(bytes: &[u8]) -> Option<u64> {
    let bytes: &[u8; 20] = bytes.try_into().ok()?;
    let (body, sum) = bytes.split_at(16);
    (body[..8] == CHECKPOINT_MAGIC && sum == crc32fast::hash(body).to_le_bytes())
        .then(|| u64::from_le_bytes(body[8..].try_into().expect("eight of sixteen bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_reads_back_and_every_change_of_it_is_noticed() {
        let format = Format::new([7; 16]);
        let text = format.to_text();
        assert_eq!(Format::parse(&text), Ok(format));
        for at in 0..text.len() - 1 {
            let mut wrong = text.clone().into_bytes();
            wrong[at] ^= 1;
            assert!(Format::parse(&String::from_utf8_lossy(&wrong)).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_kind_of_record_is_named() {
        let mut format = Format::new([7; 16]);
        let known = format.kinds[0].1;
        format.kinds[0].1 = known + 7;
        let expected = FormatError::Newer {
            what: "records of kind 1".into(),
            found: u32::from(known) + 7,
            known: known.into(),
        };
        assert_eq!(Format::parse(&format.to_text()), Err(expected));
        format.kinds[0] = (999, 1);
        assert!(matches!(Format::parse(&format.to_text()), Err(FormatError::Newer { known: 0, .. })));
    }

    #[test]
    fn a_checkpoint_reads_back_and_every_flipped_bit_is_noticed() {
        let bytes = encode_checkpoint(99);
        assert_eq!(decode_checkpoint(&bytes), Some(99));
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_checkpoint(&wrong), None, "bit {bit}");
        }
    }

    #[test]
    fn of_the_views_that_were_set_aside_two_are_kept() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let layout = Layout::new(dir.path());
        for _ in 0..4 {
            std::fs::create_dir(layout.view()).expect("made");
            layout.set_view_aside(&Disk::real()).expect("set aside");
        }
        let numbers: Vec<u32> = layout.broken_views().expect("listed").into_iter().map(|(n, _)| n).collect();
        assert_eq!(numbers, [3, 4]);
    }
}
