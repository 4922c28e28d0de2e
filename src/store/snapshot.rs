//! Snapshots: the whole state at one entry of the journal, in one file. A backup is the same with the spool's
//! files in it.
//!
//! ```text
//! 0..8 "EDOSNAP1"   8..12 format 1   12..16 zero   then a zstd stream, then SHA-256 of all before, "EDOSNAPZ"
//! in the stream: records of type (1), length (4), CRC-32 of the payload (4), payload
//!   F  text of FORMAT                       first, once
//!   E  strict bincode of [(tree, key, value)]
//!   J  first entry (8), count (4), payload of a journal frame
//!   S  SHA-256 (32), size (8): a file of the spool begins; D chunks of it follow
//!   Z  last entry (8), entries (8), sagas (8), files (8), then the manifest, if any: the end
//! ```
//! All numbers little-endian. What is in the manifest: see `backup_manifest`.
//!
//! # How it is taken without stopping anything
//! The entries are read from the view in small steps, between which the applier goes on applying. So they show
//! no single moment: each is at least as new as the entry the view stood at when the reading began. The frames
//! that were applied meanwhile follow (J). Every operation is absolute, so entries plus frames give exactly the
//! state at the last of these frames: that is the entry the snapshot stands at.
//!
//! It deliberately does not know who asked, nor what becomes of the file.

use super::backup_manifest::Manifest;
use super::disk::{Disk, DiskFile};
use super::frame::Frame;
use super::keys::{TREES, Tree};
use super::overlay::Counters;
use super::records::{Blob, strict_decode, strict_encode, strict_view};
use super::view::Pair;
use crate::domain::FileDigest;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zstd::stream::{read::Decoder, write::Encoder};

const MAGIC: [u8; 8] = *b"EDOSNAP1";
const END_MAGIC: [u8; 8] = *b"EDOSNAPZ";
/// The newest layout of snapshots that we know.
pub(super) const FORMAT: u32 = 1;
const HEADER_BYTES: u64 = 16;
const TRAILER_BYTES: u64 = 40;
/// The fastest level: the disk, not the processor, has room to spare here.
const ZSTD_LEVEL: i32 = 1;
/// How much is gathered before it is written, and how large a chunk of a file is.
const CHUNK_BYTES: usize = 256 << 10;
/// The largest record: a frame. A hostile length in a damaged file cannot ask for more memory.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// The entry it stands at.
    pub sequence: u64,
    /// Entries that were read from the view; the frames may add to them.
    pub entries: u64,
    pub sagas: u64,
    pub files: u64,
}

/// One record of a snapshot.
#[derive(Debug)]
pub(super) enum Item {
    Format(String),
    Entries(Vec<(Tree, Vec<u8>, Bytes)>),
    Frame { first: u64, count: u32, payload: Vec<u8> },
    File { digest: FileDigest, size: u64 },
    Chunk(Vec<u8>),
    End(Totals, Manifest),
}

/// A snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("{0}")]
    Damaged(String),
    #[error("the snapshot has format {0}")]
    Newer(u32),
    #[error("it has {what} of version {found}, known up to {known}")]
    NewerStore { what: String, found: u32, known: u32 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Takes the tree, the key and the value of an entry.
pub(super) type VisitEntry<'v> = dyn FnMut(Tree, &[u8], &[u8]) -> Result<(), SnapshotError> + 'v;
/// Stored form of entries.
type EntriesV1 = Vec<(u8, Blob, Blob)>;

/// A snapshot that is being written. It counts only once [`SnapshotWriter::finish`] has returned.
pub(super) struct SnapshotWriter {
    file: DiskFile,
    encoder: Encoder<'static, Vec<u8>>,
    hash: Sha256,
    offset: u64,
    totals: Totals,
    manifest: Manifest,
}

impl SnapshotWriter {
    /// Begins the file `path`, replacing what is there.
    pub fn create(disk: &Disk, path: &Path, format: &str) -> io::Result<Self> {
        let file = disk.create(path)?;
        let encoder = Encoder::new(Vec::new(), ZSTD_LEVEL)?;
        let (totals, manifest) = (Totals::default(), Manifest::default());
        let mut writer = Self { file, encoder, hash: Sha256::new(), offset: 0, totals, manifest };
        let mut header = [0; HEADER_BYTES as usize];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        writer.write_raw(&header)?;
        writer.record(b'F', format.as_bytes())?;
        Ok(writer)
    }

    /// Adds entries of one tree.
    pub fn entries(&mut self, tree: Tree, pairs: Vec<Pair>) -> io::Result<()> {
        self.totals.entries += pairs.len() as u64;
        self.manifest.entries(tree, pairs.len());
        let stored: EntriesV1 =
            pairs.into_iter().map(|(k, v)| (tree.code(), Blob(k.into()), Blob(v))).collect();
        for part in stored.chunk_by(small_enough()) {
            let payload = strict_encode(&part).ok_or_else(|| io::Error::other("an entry is too large"))?;
            self.record(b'E', &payload)?;
        }
        Ok(())
    }

    /// Adds a frame of the journal.
    pub fn frame(&mut self, first: u64, count: u32, payload: &[u8]) -> io::Result<()> {
        let head = [&first.to_le_bytes()[..], &count.to_le_bytes()].concat();
        self.manifest.frame();
        self.record(b'J', &[&head, payload].concat())
    }

    /// Adds a file of the spool.
    pub fn file(&mut self, disk: &Disk, digest: FileDigest, path: &Path) -> io::Result<()> {
        let file = disk.open_read(path)?;
        let size = file.len()?;
        self.begin_file(digest, size)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < size {
            let got = file.read_at(&mut chunk, at)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.chunk(&chunk[..got])?;
            at += got as u64;
        }
        Ok(())
    }

    pub fn begin_file(&mut self, digest: FileDigest, size: u64) -> io::Result<()> {
        self.totals.files += 1;
        self.record(b'S', &[&digest.0[..], &size.to_le_bytes()].concat())
    }

    pub fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.manifest.chunk(bytes.len());
        self.record(b'D', bytes)
    }

    /// What the store counts at the entry that it will stand at; the frames may add to what is among the entries.
    pub fn set_counters(&mut self, counters: &Counters) {
        self.totals.sagas = counters.sagas.iter().sum();
        self.manifest.counted(counters);
    }

    /// As a program of before the manifest wrote it, with so many sagas.
    #[cfg(test)]
    pub fn forget_manifest(&mut self, sagas: u64) {
        self.manifest = Manifest::default();
        self.totals.sagas = sagas;
    }

    /// Takes over what the store counted whose snapshot or backup this is made from.
    pub fn take_counters(&mut self, totals: &Totals, manifest: &Manifest) {
        self.totals.sagas = totals.sagas;
        let contents = self.manifest.contents();
        self.manifest = manifest.with_contents(&contents);
    }

    /// How far it has come.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.offset
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    /// Ends the file, which stands at entry `sequence`, and makes its bytes durable (its name is the caller's
    /// business). Returns what it holds and the SHA-256.
    pub fn finish(mut self, sequence: u64) -> io::Result<(Totals, [u8; 32])> {
        self.totals.sequence = sequence;
        let totals = self.totals;
        let numbers = [totals.sequence, totals.entries, totals.sagas, totals.files];
        // A manifest of nothing is none, as in the files of older programs.
        let manifest = if self.manifest == Manifest::default() { Vec::new() } else { self.manifest.encode() };
        self.record(b'Z', &[numbers.map(u64::to_le_bytes).concat(), manifest].concat())?;
        let encoder = std::mem::replace(&mut self.encoder, Encoder::new(Vec::new(), ZSTD_LEVEL)?);
        self.write_raw(&encoder.finish()?)?;
        let sum: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
        self.write_raw(&[&sum[..], &END_MAGIC].concat())?;
        self.file.sync_all()?;
        Ok((totals, sum))
    }

    fn record(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
        self.encoder.write_all(&[kind])?;
        self.encoder.write_all(&len.to_le_bytes())?;
        self.encoder.write_all(&crc32fast::hash(payload).to_le_bytes())?;
        self.encoder.write_all(payload)?;
        if self.encoder.get_ref().len() >= CHUNK_BYTES {
            let ready = std::mem::take(self.encoder.get_mut());
            self.write_raw(&ready)?;
        }
        Ok(())
    }

    fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(())
    }
}

/// Groups entries so that a record stays near [`CHUNK_BYTES`].
fn small_enough() -> impl FnMut(&(u8, Blob, Blob), &(u8, Blob, Blob)) -> bool {
    let mut bytes = 0;
    move |a, b| {
        bytes += a.1.0.len() + a.2.0.len();
        let fits = bytes + b.1.0.len() + b.2.0.len() < CHUNK_BYTES;
        if !fits {
            bytes = 0;
        }
        fits
    }
}

/// Checks that every byte of the file is as it was written, without looking inside.
///
/// # Errors
/// [`SnapshotError::Damaged`], [`SnapshotError::Io`].
pub(super) fn check_sum(disk: &Disk, path: &Path) -> Result<[u8; 32], SnapshotError> {
    let file = disk.open_read(path)?;
    let body = body_end(&file)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < body {
        let want = (body - at).min(CHUNK_BYTES as u64);
        let got = file.read_at(&mut chunk[..usize::try_from(want).unwrap_or(CHUNK_BYTES)], at)?;
        if got == 0 {
            return Err(SnapshotError::Damaged("it was cut while being read".into()));
        }
        hash.update(&chunk[..got]);
        at += got as u64;
    }
    let mut trailer = [0; TRAILER_BYTES as usize];
    file.read_at(&mut trailer, body)?;
    let sum: [u8; 32] = hash.finalize().into();
    if trailer[..32] != sum || trailer[32..] != END_MAGIC {
        return Err(SnapshotError::Damaged("its SHA-256 does not fit".into()));
    }
    Ok(sum)
}

fn body_end(file: &DiskFile) -> Result<u64, SnapshotError> {
    let body = file.len()?.checked_sub(TRAILER_BYTES).filter(|body| *body >= HEADER_BYTES);
    let body = body.ok_or_else(|| SnapshotError::Damaged("it is too short".into()))?;
    let mut header = [0; HEADER_BYTES as usize];
    file.read_at(&mut header, 0)?;
    if header[..8] != MAGIC {
        return Err(SnapshotError::Damaged("it does not begin as a snapshot does".into()));
    }
    match u32::from_le_bytes([header[8], header[9], header[10], header[11]]) {
        FORMAT => Ok(body),
        other => Err(SnapshotError::Newer(other)),
    }
}

/// Gives every record to `visit`, in order, and returns the totals, which were compared with what was seen.
///
/// # Errors
/// [`SnapshotError::Damaged`] if anything is not as it must be, or `visit` says so; [`SnapshotError::Io`].
pub(super) fn read(
    disk: &Disk,
    path: &Path,
    visit: &mut dyn FnMut(Item) -> Result<(), SnapshotError>,
) -> Result<Totals, SnapshotError> {
    let file = disk.open_read(path)?;
    let body = body_end(&file)?;
    let part = Part { file: &file, at: HEADER_BYTES, end: body };
    let mut stream = Decoder::new(part)?;
    let (mut seen, mut found) = (Totals::default(), Manifest::default());
    loop {
        let item = read_record(&mut stream)?;
        match &item {
            Item::Entries(entries) => {
                seen.entries += entries.len() as u64;
                for run in entries.chunk_by(|a, b| a.0 == b.0) {
                    found.entries(run[0].0, run.len());
                }
            }
            Item::Frame { .. } => found.frame(),
            Item::Chunk(bytes) => found.chunk(bytes.len()),
            Item::File { .. } => seen.files += 1,
            Item::End(totals, manifest) => {
                seen.sequence = totals.sequence;
                seen.sagas = totals.sagas;
                if seen != *totals {
                    return Err(SnapshotError::Damaged(format!("it holds {seen:?} and says {totals:?}")));
                }
                // Only a program of before the manifest writes none.
                if *manifest != Manifest::default() && manifest.contents() != found.contents() {
                    return Err(SnapshotError::Damaged(format!("it holds {found:?} and says {manifest:?}")));
                }
                visit(item)?;
                return Ok(seen);
            }
            Item::Format(_) => {}
        }
        visit(item)?;
    }
}

/// Gives the frames in it to `visit`, in order, and looks at nothing else.
///
/// # Errors
/// As [`read`].
pub(super) fn read_frames(
    disk: &Disk,
    path: &Path,
    visit: &mut dyn FnMut(Frame<'_>) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    each_payload(disk, path, b'J', &mut |payload| match parse(b'J', payload)? {
        Item::Frame { first, count, payload } => visit(Frame { first, count, payload: &payload, len: 0 }),
        _ => Ok(()),
    })
}

/// Gives the entries in it to `visit`, in order, and looks at nothing else.
///
/// # Errors
/// As [`read`].
pub(super) fn read_entries(
    disk: &Disk,
    path: &Path,
    visit: &mut VisitEntry<'_>,
) -> Result<(), SnapshotError> {
    each_payload(disk, path, b'E', &mut |payload| {
        let bad = |what: &str| SnapshotError::Damaged(format!("entries: {what}"));
        let stored: Vec<(u8, &[u8], &[u8])> = strict_view(&payload).map_err(|e| bad(&e.to_string()))?;
        stored.into_iter().try_for_each(|(tree, key, value)| {
            visit(Tree::from_code(tree).ok_or_else(|| bad("an unknown tree"))?, key, value)
        })
    })
}

/// Gives the payloads of all records of this type to `visit`.
fn each_payload(
    disk: &Disk,
    path: &Path,
    wanted: u8,
    visit: &mut dyn FnMut(Vec<u8>) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    let file = disk.open_read(path)?;
    let body = body_end(&file)?;
    let mut stream = Decoder::new(Part { file: &file, at: HEADER_BYTES, end: body })?;
    loop {
        match read_payload(&mut stream)? {
            (kind, payload) if kind == wanted => visit(payload)?,
            (b'Z', _) => return Ok(()),
            (_, _) => {}
        }
    }
}

/// How many bytes a snapshot or backup has when it is unpacked: entries and frames, and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bulk {
    pub state: u64,
    pub files: u64,
}

/// Reads all of it and says how much room it wants.
///
/// # Errors
/// As [`read`].
pub(super) fn measure(disk: &Disk, path: &Path) -> Result<Bulk, SnapshotError> {
    let mut bulk = Bulk::default();
    read(disk, path, &mut |item| {
        match item {
            Item::Entries(entries) => {
                let bytes = |(_, key, value): &(Tree, Vec<u8>, Bytes)| (key.len() + value.len()) as u64;
                bulk.state += entries.iter().map(bytes).sum::<u64>();
            }
            Item::Frame { payload, .. } => bulk.state += payload.len() as u64,
            Item::Chunk(bytes) => bulk.files += bytes.len() as u64,
            Item::Format(_) | Item::File { .. } | Item::End(..) => {}
        }
        Ok(())
    })?;
    Ok(bulk)
}

/// A part of a file, for reading.
struct Part<'f> {
    file: &'f DiskFile,
    at: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read_at(&mut buffer[..room], self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

fn read_record(stream: &mut impl Read) -> Result<Item, SnapshotError> {
    let (kind, payload) = read_payload(stream)?;
    parse(kind, payload)
}

/// The type of the next record, and its payload.
fn read_payload(stream: &mut impl Read) -> Result<(u8, Vec<u8>), SnapshotError> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if len > RECORD_BYTES_MAX {
        return Err(SnapshotError::Damaged(format!("a record of {len} bytes")));
    }
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload)?;
    if crc32fast::hash(&payload).to_le_bytes() != head[5..9] {
        return Err(SnapshotError::Damaged("the checksum of a record does not fit".into()));
    }
    Ok((head[0], payload))
}

fn parse(kind: u8, payload: Vec<u8>) -> Result<Item, SnapshotError> {
    let bad = |what: &str| SnapshotError::Damaged(format!("a record of type {kind}: {what}"));
    let number = |at: usize| -> Result<u64, SnapshotError> {
        let bytes = payload.get(at..at + 8).ok_or_else(|| bad("too short"))?;
        Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| bad("too short"))?))
    };
    match kind {
        b'F' => Ok(Item::Format(String::from_utf8(payload).map_err(|_| bad("not text"))?)),
        b'E' => {
            let stored: EntriesV1 = strict_decode(&payload).map_err(|e| bad(&e.to_string()))?;
            let entry =
                |(tree, key, value): (u8, Blob, Blob)| Some((Tree::from_code(tree)?, key.0.into(), value.0));
            let entries: Option<Vec<_>> = stored.into_iter().map(entry).collect();
            Ok(Item::Entries(entries.ok_or_else(|| bad("an unknown tree"))?))
        }
        b'J' => {
            let first = number(0)?;
            let count = payload.get(8..12).and_then(|b| b.try_into().ok()).ok_or_else(|| bad("too short"))?;
            Ok(Item::Frame { first, count: u32::from_le_bytes(count), payload: payload[12..].to_vec() })
        }
        b'S' => {
            let digest = *payload.first_chunk().ok_or_else(|| bad("too short"))?;
            Ok(Item::File { digest: FileDigest(digest), size: number(32)? })
        }
        b'D' => Ok(Item::Chunk(payload)),
        b'Z' => {
            let totals =
                Totals { sequence: number(0)?, entries: number(8)?, sagas: number(16)?, files: number(24)? };
            let manifest = Manifest::decode(&payload[32..]).map_err(|what| bad(&what))?;
            Ok(Item::End(totals, manifest))
        }
        _ => Err(bad("unknown")),
    }
}

/// Where a walk over all trees stands, so that it can be made in steps.
#[derive(Debug, Clone, Default)]
pub(super) struct Walk {
    tree: usize,
    after: Option<Vec<u8>>,
}

impl Walk {
    /// Where to go on; none at the end.
    pub fn next(&self) -> Option<(Tree, Option<&Vec<u8>>)> {
        (self.tree < TREES).then(|| (Tree::ALL[self.tree], self.after.as_ref()))
    }
    /// Notes that these pairs were read of at most `asked`.
    pub fn advance(&mut self, pairs: &[Pair], asked: usize) {
        if pairs.len() < asked {
            self.tree += 1;
            self.after = None;
        } else {
            self.after = pairs.last().map(|(key, _)| key.clone());
        }
    }
}

/// The file of the snapshot that stands at this entry.
pub(super) fn path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:020}.snap"))
}

/// The entry in a snapshot's name.
pub(super) fn sequence_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".snap")?;
    (name.len() == 20).then(|| name.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(path: &Path) -> (Totals, [u8; 32]) {
        let disk = Disk::real();
        let mut writer = SnapshotWriter::create(&disk, path, "format text").expect("begun");
        let pairs = (0..500u16).map(|n| (n.to_be_bytes().to_vec(), Bytes::from(vec![7; 2_000]))).collect();
        writer.entries(Tree::Saga, pairs).expect("written");
        writer.entries(Tree::Timer, vec![(vec![1], Bytes::new())]).expect("written");
        let mut counters = Counters::default();
        counters.sagas[0] = 500;
        writer.set_counters(&counters);
        writer.frame(41, 2, b"payload").expect("written");
        writer.begin_file(FileDigest([5; 32]), 3).expect("written");
        writer.chunk(b"abc").expect("written");
        writer.finish(42).expect("finished")
    }

    #[test]
    fn a_snapshot_reads_back_what_was_written() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let path = path(dir.path(), 42);
        let (totals, sum) = sample(&path);
        assert_eq!(totals, Totals { sequence: 42, entries: 501, sagas: 500, files: 1 });
        assert_eq!(check_sum(&Disk::real(), &path).expect("whole"), sum);
        let (mut text, mut frames, mut chunks) = (String::new(), Vec::new(), Vec::new());
        let mut keys = Vec::new();
        let read = read(&Disk::real(), &path, &mut |item| {
            match item {
                Item::Format(format) => text = format,
                Item::Entries(entries) => keys.extend(entries.into_iter().map(|(tree, key, _)| (tree, key))),
                Item::Frame { first, count, payload } => frames.push((first, count, payload)),
                Item::Chunk(bytes) => chunks.extend(bytes),
                Item::File { .. } | Item::End(..) => {}
            }
            Ok(())
        });
        assert_eq!(read.expect("read"), totals);
        assert_eq!((text.as_str(), keys.len(), chunks.as_slice()), ("format text", 501, b"abc".as_slice()));
        assert_eq!(frames, [(41, 2, b"payload".to_vec())]);
        assert_eq!(sequence_of(&path), Some(42));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let path = path(dir.path(), 42);
        sample(&path);
        let bytes = std::fs::read(&path).expect("read");
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            std::fs::write(&path, &wrong).expect("planted");
            assert!(check_sum(&Disk::real(), &path).is_err(), "byte {at}");
            // The reader by itself must survive anything, whether or not it notices.
            let _ = read(&Disk::real(), &path, &mut |_| Ok(()));
        }
        for len in (0..bytes.len()).step_by(7) {
            std::fs::write(&path, &bytes[..len]).expect("planted");
            assert!(check_sum(&Disk::real(), &path).is_err(), "cut to {len}");
        }
    }
}
