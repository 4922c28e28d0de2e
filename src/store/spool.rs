//! The spool: files that must be kept until delivery, named by the SHA-256 of their bytes.
//!
//! ```text
//! spool/tmp/17         being written; removed when its writer is dropped, and at opening
//! spool/ab/ab34…       whole, durable, named by what it is
//! spool/landing/3      small ones, many to a file: see `landing`
//! ```
//! It deliberately does not know sagas: who needs a file is told by the references in the state, and asked for
//! when a file is a candidate for removal.
//!
//! What it holds is counted by `spool_stock` after the opening. Until that is done nothing is
//! begun and nothing is removed.
//!
//! # Invariants
//! * **SP-1** A file under its digest, and one that has landed, is whole and durable.
//! * **SP-2** A file is removed only when no record names it, no commit that is under way names it, and a day has
//!   passed since it was finished if none ever did.
//! * **SP-3** The spool never holds more than its bound.

mod fresh;
mod landing;
mod writer;

use self::fresh::Fresh;
use self::landing::{Landing, LetGo};
use self::writer::BUFFER_BYTES;
use super::disk::{Disk, list_dir};
use super::error::{SpoolError, StoreError};
use crate::domain::FileDigest;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub(super) use self::landing::run as take_in;
pub use self::writer::SpoolWriter;

/// Where files are while they are being written.
const TEMP_DIR: &str = "tmp";
/// Where small files arrive.
const LANDING_DIR: &str = "landing";
/// How long a finished file is kept that no commit has named: longer than any pause between fetching a file and
/// committing it, a full disk mended by a person included.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// Every finished file of the spool in `dir` that is a file of its own; it need not be open. Blocking.
pub(super) fn files_in(dir: &Path) -> io::Result<Vec<(FileDigest, PathBuf)>> {
    let mut files = Vec::new();
    for shard in shards_in(dir)? {
        let paths = list_dir(&shard)?;
        files.extend(paths.into_iter().filter_map(|path| Some((digest_of(&path)?, path))));
    }
    Ok(files)
}

/// The directories of finished files.
fn shards_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut shards = list_dir(dir)?;
    shards.retain(|path| !path.ends_with(TEMP_DIR) && !path.ends_with(LANDING_DIR) && path.is_dir());
    Ok(shards)
}

/// The SHA-256 of the bytes that the disk gives now, and how many there are. Blocking.
pub(super) fn hash_of(disk: &Disk, path: &Path) -> io::Result<(FileDigest, u64)> {
    let (file, mut hash, mut at) = (disk.open_read(path)?, Sha256::new(), 0);
    let mut chunk = vec![0; BUFFER_BYTES];
    loop {
        match file.read_at(&mut chunk, at)? {
            0 => return Ok((FileDigest(hash.finalize().into()), at)),
            got => {
                hash.update(&chunk[..got]);
                at += got as u64;
            }
        }
    }
}

/// The directory of files. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Spool(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    disk: Disk,
    bytes_max: u64,
    /// Set by the watch over the disk.
    disk_low: Arc<AtomicBool>,
    counted: watch::Sender<Counted>,
    next_temp: AtomicU64,
    ledger: Mutex<Ledger>,
    fresh: Mutex<Fresh>,
    landing: Landing,
    /// Directories of finished files whose own names are known to be durable.
    durable_shards: Mutex<BTreeSet<PathBuf>>,
}

/// Whether it is known what the spool holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Counted {
    NotYet,
    /// It could not be looked through, for this reason; it is tried again.
    Failed(String),
    Whole,
}

/// Who needs what, beside the references in the state.
#[derive(Default)]
struct Ledger {
    /// Bytes of finished and unfinished files.
    held: u64,
    /// Finished files that no commit has named yet.
    leases: HashMap<FileDigest, Instant>,
    /// Files that commits under way are about to name.
    pins: HashMap<FileDigest, u32>,
    /// Files that perhaps nobody needs any more.
    candidates: Vec<FileDigest>,
    /// How many backups are reading: nothing is removed meanwhile.
    holds: u32,
}

impl Spool {
    /// Opens the spool in `dir` of the store with this id, and removes what was being written when the process died.
    /// Blocking.
    pub(super) fn open(
        dir: &Path,
        store: [u8; 16],
        disk: Disk,
        bytes_max: u64,
        disk_low: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let inner = Inner {
            dir: dir.to_owned(),
            landing: Landing::open(dir.join(LANDING_DIR), disk.clone(), store)?,
            disk,
            bytes_max,
            disk_low,
            counted: watch::Sender::new(Counted::NotYet),
            next_temp: AtomicU64::new(1),
            ledger: Mutex::default(),
            fresh: Mutex::default(),
            durable_shards: Mutex::default(),
        };
        inner.disk.create_dir(&inner.temp_dir())?;
        for path in list_dir(&inner.temp_dir())? {
            inner.disk.remove(&path)?;
        }
        inner.forget_moved()?;
        Ok(Self(Arc::new(inner)))
    }

    /// The directories of finished files.
    pub(super) fn shards(&self) -> io::Result<Vec<PathBuf>> {
        shards_in(&self.0.dir)
    }

    /// What has landed, with its size.
    pub(super) fn landed(&self) -> Vec<(FileDigest, u64)> {
        self.0.landing.files()
    }

    /// Does not believe any more that a file has landed, which no record names. Only before anything lands.
    pub(super) fn disown_landed(&self, digest: FileDigest) {
        let _ = self.0.landing.let_go(digest);
    }

    /// From now on small files land; somebody must [`take_in`] what comes.
    pub(super) fn open_landing(&self) {
        self.0.landing.open_door();
    }

    /// Nothing lands any more.
    pub(super) fn close_landing(&self) {
        self.0.landing.close_door();
    }

    /// The spool was looked through: from now on files are begun and removed.
    pub(super) fn note_counted(&self, held: u64, unneeded: Vec<FileDigest>) {
        self.0.ledger().held = held;
        self.suspect(unneeded);
        self.0.counted.send_replace(Counted::Whole);
    }

    /// The spool could not be looked through.
    pub(super) fn note_uncounted(&self, error: &io::Error) {
        self.0.counted.send_replace(Counted::Failed(error.to_string()));
    }

    /// Waits until it is known what the spool holds, or that this cannot be known now.
    async fn counted(&self) -> Result<(), SpoolError> {
        let mut news = self.0.counted.subscribe();
        let is_known = |counted: &Counted| *counted != Counted::NotYet;
        let counted = news.wait_for(is_known).await.map_err(io::Error::other)?;
        match &*counted {
            Counted::Failed(why) => Err(SpoolError::Io(io::Error::other(why.clone()))),
            Counted::Whole | Counted::NotYet => Ok(()),
        }
    }

    /// Every finished file that is a file of its own. Blocking.
    pub(super) fn files(&self) -> io::Result<Vec<(FileDigest, PathBuf)>> {
        files_in(&self.0.dir)
    }

    /// Begins a file. The disk is not touched before the buffer is full or the file is finished. Waits after a start
    /// until the files that are there are counted: with a million of them some seconds.
    ///
    /// # Errors
    /// [`SpoolError::Full`] and [`SpoolError::DiskLow`] when nothing more is taken, [`SpoolError::Io`] while the files
    /// that are there cannot be counted.
    pub async fn create(&self) -> Result<SpoolWriter, SpoolError> {
        self.counted().await?;
        self.0.check_room(0)?;
        Ok(SpoolWriter::new(self))
    }

    /// Where the file with this digest lies when it is a file of its own, whether or not it is there.
    pub fn path(&self, digest: FileDigest) -> PathBuf {
        self.0.path(digest)
    }

    /// Where the file with this digest can be read, which may have to be made a file of its own for that; if there is
    /// none, where it would be.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn readable(&self, digest: FileDigest) -> io::Result<PathBuf> {
        if self.0.landing.size_of(digest).is_some() {
            let spool = self.clone();
            blocking(move || spool.move_out(digest)).await??;
        }
        Ok(self.path(digest))
    }

    /// The bytes of a small file that has no file of its own; they are what its digest says. Of any other none: it can be
    /// read at its [`Spool::path`].
    ///
    /// # Errors
    /// What the disk says; other bytes than were written.
    pub async fn small(&self, digest: FileDigest) -> io::Result<Option<Bytes>> {
        if self.0.landing.size_of(digest).is_none() {
            return Ok(None);
        }
        let spool = self.clone();
        blocking(move || spool.0.landing.read(digest)).await?
    }

    /// The size of the file with this digest.
    ///
    /// # Errors
    /// What the disk says; it is not there.
    pub fn size_of(&self, digest: FileDigest) -> io::Result<u64> {
        match self.0.landing.size_of(digest) {
            Some(size) => Ok(size),
            // It may have got a file of its own this very moment: then that is there by now.
            None => Ok(self.0.path(digest).metadata()?.len()),
        }
    }

    /// The bytes of a file that came in a moment ago, for whoever sends it on; once. They are those that were hashed for
    /// its name, so that what is sent is what was received; whoever gets none reads the file and compares.
    pub fn take_fresh(&self, digest: FileDigest) -> Option<Bytes> {
        self.0.fresh().take(digest)
    }

    /// How many bytes of files there are, with those that are being written.
    pub fn bytes(&self) -> u64 {
        self.0.ledger().held
    }

    /// Keeps these files until the pins are dropped; for a commit that is about to name them.
    ///
    /// # Errors
    /// [`StoreError::SpoolFileMissing`] if one is not there.
    pub(super) fn pin(&self, digests: &[FileDigest]) -> Result<SpoolPins, StoreError> {
        let mut pins = SpoolPins { inner: Arc::clone(&self.0), digests: Vec::new() };
        let mut ledger = self.0.ledger();
        for digest in digests {
            let known = ledger.pins.contains_key(digest) || ledger.leases.contains_key(digest);
            if !known && self.size_of(*digest).is_err() {
                drop(ledger);
                return Err(StoreError::SpoolFileMissing { digest: *digest });
            }
            *ledger.pins.entry(*digest).or_default() += 1;
            pins.digests.push(*digest);
        }
        drop(ledger);
        Ok(pins)
    }

    /// Notes files that perhaps nobody needs any more.
    pub(super) fn suspect(&self, digests: Vec<FileDigest>) {
        self.0.ledger().candidates.extend(digests);
    }

    /// Removes the candidates that nobody needs, and forgets the bytes that nobody came for. Returns how many files it
    /// removed. Blocking.
    pub(super) fn sweep(&self, is_referenced: impl Fn(FileDigest) -> Result<bool, StoreError>) -> u64 {
        self.0.fresh().forget_old(Instant::now());
        if *self.0.counted.borrow() != Counted::Whole {
            return 0;
        }
        let mut swept = 0;
        for digest in self.0.take_candidates(Instant::now()) {
            // Under the lock: nobody can begin to need the file between the question and the removal.
            let mut ledger = self.0.ledger();
            if ledger.holds > 0 {
                // A hold that came while these were being looked at.
                ledger.candidates.push(digest);
                continue;
            }
            if ledger.pins.contains_key(&digest) || ledger.leases.contains_key(&digest) {
                continue;
            }
            match is_referenced(digest) {
                Ok(true) => {}
                Ok(false) => swept += self.0.remove(&mut ledger, digest),
                Err(_) => ledger.candidates.push(digest),
            }
        }
        swept
    }

    /// Removes nothing until the hold is dropped; for a backup that copies files, and a check that looks for them.
    pub(super) fn hold(&self) -> SpoolHold {
        self.0.ledger().holds += 1;
        SpoolHold(Arc::clone(&self.0))
    }
}

impl Inner {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn fresh(&self) -> MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn temp_dir(&self) -> PathBuf {
        self.dir.join(TEMP_DIR)
    }
    fn next_temp_path(&self) -> PathBuf {
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        self.temp_dir().join(number.to_string())
    }
    fn path(&self, digest: FileDigest) -> PathBuf {
        let hex = digest.to_hex();
        self.dir.join(&hex[..2]).join(hex)
    }

    /// Takes room for `more` bytes.
    fn check_room(&self, more: u64) -> Result<(), SpoolError> {
        if self.disk_low.load(Ordering::Relaxed) {
            return Err(SpoolError::DiskLow);
        }
        let mut ledger = self.ledger();
        let held = ledger.held.saturating_add(more);
        if held > self.bytes_max {
            return Err(SpoolError::Full { held, max: self.bytes_max });
        }
        ledger.held = held;
        Ok(())
    }

    /// Gives back room that was taken.
    fn give_back(&self, bytes: u64) {
        let mut ledger = self.ledger();
        ledger.held = ledger.held.saturating_sub(bytes);
    }

    /// Makes the directory of a finished file, durable with its name. Each once: somebody else who is making it may
    /// not have synced its name yet, and whoever made it earlier may have died before he could.
    fn make_shard(&self, shard: &Path) -> io::Result<()> {
        let mut durable = self.durable_shards.lock().unwrap_or_else(PoisonError::into_inner);
        if !durable.contains(shard) {
            self.disk.create_dir(shard)?;
            durable.insert(shard.to_owned());
        }
        Ok(())
    }

    /// Candidates, and leases that have run out.
    fn take_candidates(&self, now: Instant) -> Vec<FileDigest> {
        let mut ledger = self.ledger();
        if ledger.holds > 0 {
            return Vec::new();
        }
        let over: Vec<FileDigest> =
            ledger.leases.iter().filter(|(_, until)| **until <= now).map(|(digest, _)| *digest).collect();
        for digest in &over {
            ledger.leases.remove(digest);
        }
        let mut candidates = std::mem::take(&mut ledger.candidates);
        candidates.extend(over);
        candidates
    }

    fn remove(&self, ledger: &mut Ledger, digest: FileDigest) -> u64 {
        match self.landing.let_go(digest) {
            LetGo::Gone(size) => {
                ledger.held = ledger.held.saturating_sub(size);
                return 1;
            }
            LetGo::NotNow => {
                ledger.candidates.push(digest);
                return 0;
            }
            LetGo::Elsewhere => {}
        }
        let path = self.path(digest);
        let size = path.metadata().map_or(0, |m| m.len());
        match self.disk.remove(&path) {
            Ok(()) => {
                ledger.held = ledger.held.saturating_sub(size);
                1
            }
            Err(_) => {
                ledger.candidates.push(digest);
                0
            }
        }
    }
}

/// The digest that a file's name says.
pub(super) fn digest_of(path: &Path) -> Option<FileDigest> {
    let name = path.file_name()?.to_str()?;
    if name.len() != 64 || !name.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&name[at..at + 2], 16).ok()?;
    }
    Some(FileDigest(digest))
}

/// Runs blocking work on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

/// Files that a commit under way is about to name.
pub(super) struct SpoolPins {
    inner: Arc<Inner>,
    digests: Vec<FileDigest>,
}

impl SpoolPins {
    /// The commit is durable: from now on the references keep the files.
    pub fn referenced(&self) {
        let mut ledger = self.inner.ledger();
        for digest in &self.digests {
            ledger.leases.remove(digest);
        }
    }
}

impl Drop for SpoolPins {
    fn drop(&mut self) {
        let mut ledger = self.inner.ledger();
        for digest in &self.digests {
            if let Some(pins) = ledger.pins.get_mut(digest) {
                *pins -= 1;
                if *pins == 0 {
                    ledger.pins.remove(digest);
                    if !ledger.leases.contains_key(digest) {
                        ledger.candidates.push(*digest);
                    }
                }
            }
        }
    }
}

/// Nothing is removed while this exists.
pub(super) struct SpoolHold(Arc<Inner>);

impl Drop for SpoolHold {
    fn drop(&mut self) {
        self.0.ledger().holds -= 1;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::fresh::{FRESH_BYTES_MAX, FRESH_FOR};
    use super::*;
    use crate::domain::SpoolFile;
    use tokio::io::AsyncWriteExt;

    fn opened(bytes_max: u64) -> (tempfile::TempDir, Spool, Arc<AtomicBool>) {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let low = Arc::new(AtomicBool::new(false));
        let opened =
            Spool::open(&dir.path().join("spool"), [1; 16], Disk::real(), bytes_max, Arc::clone(&low));
        let spool = opened.expect("it opens");
        spool.note_counted(0, Vec::new());
        (dir, spool, low)
    }

    pub(in crate::store) async fn keep(spool: &Spool, bytes: &[u8]) -> Result<SpoolFile, SpoolError> {
        let mut writer = spool.create().await?;
        writer.write_all(bytes).await?;
        writer.finish().await
    }

    #[tokio::test]
    async fn a_file_lies_under_the_digest_of_its_bytes() {
        let (_dir, spool, _) = opened(10 << 20);
        let bytes = vec![7; BUFFER_BYTES * 2 + 1];
        let file = keep(&spool, &bytes).await.expect("kept");
        assert_eq!(file.size_bytes, bytes.len() as u64);
        assert_eq!(file.digest.0, <[u8; 32]>::from(Sha256::digest(&bytes)));
        assert_eq!(std::fs::read(spool.path(file.digest)).expect("there"), bytes);
        assert_eq!(keep(&spool, &bytes).await.expect("again"), file);
        assert_eq!(spool.bytes(), file.size_bytes, "the same file counts once");
        assert_eq!(list_dir(&spool.0.temp_dir()).expect("listed"), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn a_writer_that_is_dropped_leaves_nothing_behind() {
        let (_dir, spool, _) = opened(10 << 20);
        let mut writer = spool.create().await.expect("begun");
        writer.write_all(&[1; BUFFER_BYTES + 5]).await.expect("written");
        writer.flush().await.expect("flushed");
        assert_eq!(spool.bytes(), BUFFER_BYTES as u64, "the rest is gathered");
        drop(writer);
        assert_eq!(spool.bytes(), 0);
        assert_eq!(list_dir(&spool.0.temp_dir()).expect("listed"), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn the_bytes_of_a_small_file_are_at_hand_for_a_moment_and_once() {
        let (_dir, spool, _) = opened(100 << 20);
        let small = keep(&spool, b"a contract").await.expect("kept");
        let large = keep(&spool, &vec![7; BUFFER_BYTES + 1]).await.expect("kept");
        assert_eq!(spool.take_fresh(small.digest).as_deref(), Some(b"a contract".as_slice()));
        assert_eq!(spool.take_fresh(small.digest), None);
        assert_eq!(spool.take_fresh(large.digest), None);
        let first = keep(&spool, &[0; BUFFER_BYTES]).await.expect("kept");
        for byte in 1..=FRESH_BYTES_MAX / BUFFER_BYTES {
            keep(&spool, &[byte as u8; BUFFER_BYTES]).await.expect("kept");
        }
        let held = spool.0.fresh().bytes;
        assert!(held <= FRESH_BYTES_MAX && held > FRESH_BYTES_MAX - 2 * BUFFER_BYTES, "{held}");
        assert_eq!(spool.take_fresh(first.digest), None, "the oldest made room");
        spool.0.fresh().forget_old(Instant::now() + FRESH_FOR);
        assert_eq!(spool.0.fresh().bytes, 0);
    }

    #[tokio::test]
    async fn the_bound_and_a_low_disk_are_told_as_what_they_are() {
        let (_dir, spool, low) = opened(100);
        assert!(matches!(keep(&spool, &[1; 101]).await, Err(SpoolError::Full { held: 101, max: 100 })));
        assert_eq!(spool.bytes(), 0);
        keep(&spool, &[1; 100]).await.expect("up to the bound");
        low.store(true, Ordering::Relaxed);
        assert!(matches!(spool.create().await.map(drop), Err(SpoolError::DiskLow)));
    }

    #[tokio::test]
    async fn a_file_goes_only_when_nobody_needs_it() {
        let (_dir, spool, _) = opened(1 << 20);
        let file = keep(&spool, b"bytes").await.expect("kept");
        let sweep = |referenced: bool| {
            spool.suspect(vec![file.digest]);
            spool.sweep(|_| Ok(referenced))
        };
        assert_eq!(sweep(false), 0, "finished and not named yet");
        let pins = spool.pin(&[file.digest]).expect("there");
        pins.referenced();
        assert_eq!(sweep(false), 0, "a commit is about to name it");
        drop(pins);
        let hold = spool.hold();
        assert_eq!(sweep(false), 0, "a backup is reading");
        drop(hold);
        assert_eq!(sweep(true), 0, "a record names it");
        assert_eq!(sweep(false), 1);
        assert!(matches!(spool.pin(&[file.digest]), Err(StoreError::SpoolFileMissing { .. })));
        assert_eq!(spool.bytes(), 0);
    }

    #[tokio::test]
    async fn opening_removes_what_was_being_written() {
        let (dir, spool, low) = opened(1 << 20);
        std::fs::write(spool.0.temp_dir().join("99"), b"half").expect("planted");
        let again =
            Spool::open(&dir.path().join("spool"), [1; 16], Disk::real(), 1 << 20, low).expect("it opens");
        assert_eq!(list_dir(&again.0.temp_dir()).expect("listed"), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn nothing_is_begun_or_removed_before_it_is_known_what_is_there() {
        let (dir, spool, low) = opened(1 << 20);
        let file = keep(&spool, b"kept").await.expect("kept");
        let again =
            Spool::open(&dir.path().join("spool"), [1; 16], Disk::real(), 1 << 20, low).expect("it opens");
        let mut begun = Box::pin(again.create());
        assert!(futures_util::poll!(begun.as_mut()).is_pending());
        again.suspect(vec![file.digest]);
        assert_eq!(again.sweep(|_| Ok(false)), 0);
        again.note_uncounted(&io::Error::other("the disk is broken"));
        let refused = begun.await.map(drop);
        assert!(matches!(&refused, Err(SpoolError::Io(why)) if why.to_string().contains("broken")));
        again.note_counted(4, Vec::new());
        assert!(again.create().await.is_ok());
        assert_eq!((again.sweep(|_| Ok(false)), again.bytes()), (1, 0));
    }
}
