//! The landing: where small files of the spool arrive, many to one file of the disk, with one sync for all that came
//! together.
//!
//! A file of its own is made, written, synced, named, its directory synced, and in the end removed. Most files are needed
//! for a moment only, and that was a quarter of all the processor time that a document took.
//!
//! ```text
//! spool/landing/3   a slot: entries one behind the other, each at a multiple of 4096
//! entry             header: magic 8, store 16, generation 8, size 8, SHA-256 32, CRC-32 of these 4; then the bytes
//! ```
//! A slot is filled once from its beginning to its end. When nothing in it is needed any more it is filled anew, under the
//! next generation. What is needed for long in a slot that is full gets a file of its own, as does whatever somebody
//! wants to read at a path. What was let go can be read in its slot, by the service's own user, until its place is
//! filled anew.
//!
//! # Invariants
//! * **SL-1** Nobody hears that a file is kept before its entry is durable.
//! * **SL-2** A slot is filled anew only when nothing in it is needed: what was, was let go by the spool's sweep, or lies
//!   durable in a file of its own.
//! * **SL-3** Behind a write or a sync that failed nothing is written into that slot.
//! * **SL-4** After a start only what a record names is believed to be durable: it was before the record was. Of the rest
//!   nobody knows whether it was synced.

use super::{Inner, LEASE, Ledger, Spool};
use crate::domain::{FileDigest, SpoolFile};
use crate::store::disk::{Disk, DiskFile, list_dir};
use crate::store::error::SpoolError;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How large a slot grows.
const SLOT_BYTES: u64 = 8 << 20;
/// How many there are at most: what is full before its files are let go waits here for that.
const SLOTS_MAX: usize = 64;
/// Where entries begin.
const PAGE: u64 = 4_096;
/// How long the files of a full slot may stay in it.
const STAY: Duration = Duration::from_secs(10);
/// How many files one round of the keeper moves out: each is synced twice.
const MOVES_A_ROUND: usize = 32;
/// When an empty slot is given back to the disk, unless it is the only one.
const IDLE: Duration = Duration::from_secs(60);
const MAGIC: [u8; 8] = *b"EDOLAND1";
const HEADER_BYTES: usize = 76;

/// A small file on its way in.
pub(super) struct Arrival {
    pub bytes: Bytes,
    pub reply: oneshot::Sender<Result<SpoolFile, SpoolError>>,
}

/// Slots, what lies in them, and what is on its way there.
pub(super) struct Landing {
    dir: PathBuf,
    disk: Disk,
    /// Stands in every entry: bytes that a stranger has sent cannot look like one.
    store: [u8; 16],
    door: Mutex<Door>,
    came: Condvar,
    table: Mutex<Table>,
    /// Held by whoever gives files of their own to what has landed.
    moving: Mutex<()>,
}

/// Where arrivals wait.
#[derive(Default)]
struct Door {
    /// Whether there is a thread that takes them in.
    is_open: bool,
    waiting: Vec<Arrival>,
}

/// What lies where.
#[derive(Default)]
struct Table {
    index: HashMap<FileDigest, Landed>,
    slots: BTreeMap<u32, Slot>,
    next_generation: u64,
}

/// Where a file lies.
#[derive(Debug, Clone, Copy)]
struct Landed {
    slot: u32,
    /// Of its first byte.
    offset: u64,
    size: u64,
    /// Whether it is getting a file of its own.
    is_moving: bool,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    phase: Phase,
    /// How many of its files are in the index.
    needed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Filling,
    Full(Instant),
    Free(Instant),
}

impl Table {
    fn drop_landed(&mut self, digest: FileDigest) -> Option<Landed> {
        let landed = self.index.remove(&digest)?;
        if let Some(slot) = self.slots.get_mut(&landed.slot) {
            slot.needed -= 1;
        }
        self.free_if_done(landed.slot);
        Some(landed)
    }

    fn free_if_done(&mut self, number: u32) {
        if let Some(slot) = self.slots.get_mut(&number)
            && slot.needed == 0
            && matches!(slot.phase, Phase::Full(_))
        {
            slot.phase = Phase::Free(Instant::now());
        }
    }

    fn fill(&mut self, number: u32, needed: usize) {
        self.slots.insert(number, Slot { phase: Phase::Full(Instant::now()), needed });
        self.free_if_done(number);
    }

    /// A slot that may be filled, and whether its file has to be made.
    fn take_slot(&mut self) -> Option<(u32, bool)> {
        let free = self.slots.iter().find(|(_, slot)| matches!(slot.phase, Phase::Free(_)));
        let (number, is_new) = match free {
            Some((number, _)) => (*number, false),
            None if self.slots.len() < SLOTS_MAX => {
                ((0..).find(|number| !self.slots.contains_key(number))?, true)
            }
            None => return None,
        };
        self.slots.insert(number, Slot { phase: Phase::Filling, needed: 0 });
        Some((number, is_new))
    }

    /// What lies in full slots for longer than it should, or while no other slot is left.
    fn overstayed(&self) -> Vec<FileDigest> {
        let is_free = |slot: &Slot| matches!(slot.phase, Phase::Free(_));
        let is_crowded = self.slots.len() >= SLOTS_MAX && !self.slots.values().any(is_free);
        let over =
            |slot: &Slot| matches!(slot.phase, Phase::Full(since) if is_crowded || since.elapsed() >= STAY);
        let is_over = |landed: &Landed| self.slots.get(&landed.slot).is_some_and(over);
        self.index.iter().filter(|(_, landed)| is_over(landed)).map(|(digest, _)| *digest).collect()
    }

    fn idle_slot(&self) -> Option<u32> {
        let mut free = self.slots.iter().filter_map(|(number, slot)| match slot.phase {
            Phase::Free(since) => Some((*number, since)),
            Phase::Filling | Phase::Full(_) => None,
        });
        free.next();
        free.find(|(_, since)| since.elapsed() >= IDLE).map(|(number, _)| number)
    }
}

// ---- entries ---------------------------------------------------------------------------------------------------

/// What stands before the bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    generation: u64,
    size: u64,
    digest: FileDigest,
}

impl Header {
    fn encode(&self, store: &[u8; 16]) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(store);
        bytes[24..32].copy_from_slice(&self.generation.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.size.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.digest.0);
        let sum = crc32fast::hash(&bytes[..72]);
        bytes[72..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], store: &[u8; 16]) -> Option<Self> {
        let (body, sum) = bytes.get(..HEADER_BYTES)?.split_at(72);
        let is_ours = body[..8] == MAGIC && body[8..24] == *store;
        if !is_ours || sum != crc32fast::hash(body).to_le_bytes() {
            return None;
        }
        let number = |at: usize| body[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        Some(Self {
            generation: number(24)?,
            size: number(32)?,
            digest: FileDigest(body[40..].try_into().ok()?),
        })
    }
}

/// How many bytes of a slot a file takes.
fn room_of(size: u64) -> u64 {
    (HEADER_BYTES as u64 + size).next_multiple_of(PAGE)
}

/// The files of the newest generation in a slot, where each begins, and that generation.
///
/// Every page is looked at, also behind one that is damaged: a rotten entry takes nothing else with it.
fn read_slot(bytes: &[u8], store: &[u8; 16]) -> (Vec<(Header, u64)>, u64) {
    let at = |page: usize| Header::decode(bytes.get(page..)?, store);
    let pages = || (0..bytes.len()).step_by(PAGE as usize);
    let Some(newest) = pages().filter_map(|page| Some(at(page)?.generation)).max() else {
        return (Vec::new(), 0);
    };
    let (mut found, mut page) = (Vec::new(), 0);
    while page < bytes.len() {
        let header = at(page).filter(|header| header.generation == newest);
        let whole = header.and_then(|header| {
            let begin = page + HEADER_BYTES;
            let end = begin.checked_add(usize::try_from(header.size).ok()?)?;
            let is_sound = FileDigest(Sha256::digest(bytes.get(begin..end)?).into()) == header.digest;
            is_sound.then_some((header, begin as u64))
        });
        if let (Some(header), None) = (header, &whole) {
            tracing::warn!(
                digest = header.digest.to_hex(),
                "a small file is not whole: it was being written when the machine stopped, or the disk has damaged it"
            );
        }
        page += whole.map_or(PAGE, |(header, _)| room_of(header.size)) as usize;
        found.extend(whole);
    }
    (found, newest)
}

impl Landing {
    /// Reads what has landed before. Blocking.
    pub fn open(dir: PathBuf, disk: Disk, store: [u8; 16]) -> io::Result<Self> {
        disk.create_dir(&dir)?;
        let mut table = Table::default();
        let paths = list_dir(&dir)?;
        if !paths.is_empty() {
            // Whoever made one may have died before its name was durable.
            disk.sync_dir(&dir)?;
        }
        let mut slots = Vec::new();
        for path in paths {
            let Some(number) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                continue;
            };
            let (files, newest) = read_slot(&std::fs::read(&path)?, &store);
            slots.push((newest, number, files));
        }
        // What is there twice lies durable where it was written last: the first time its sync may have failed.
        slots.sort_by_key(|(newest, number, _)| (*newest, *number));
        for (newest, slot, files) in &slots {
            table.next_generation = table.next_generation.max(newest + 1);
            for (Header { size, digest, .. }, offset) in files {
                let landed = Landed { slot: *slot, offset: *offset, size: *size, is_moving: false };
                table.index.insert(*digest, landed);
            }
        }
        for (_, slot, _) in slots {
            let needed = table.index.values().filter(|landed| landed.slot == slot).count();
            table.fill(slot, needed);
        }
        Ok(Self {
            dir,
            disk,
            store,
            door: Mutex::default(),
            came: Condvar::new(),
            table: Mutex::new(table),
            moving: Mutex::default(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn path(&self, slot: u32) -> PathBuf {
        self.dir.join(slot.to_string())
    }

    /// Whether somebody takes files in.
    pub fn is_open(&self) -> bool {
        self.door().is_open
    }

    /// From now on somebody does; before the thread starts, so that nobody finds the door shut.
    pub fn open_door(&self) {
        self.door().is_open = true;
    }

    /// Nobody does any more: who waits at the door hears nothing.
    pub fn close_door(&self) {
        let mut door = self.door();
        door.is_open = false;
        door.waiting.clear();
        drop(door);
        self.came.notify_all();
    }

    /// Hands a file over; false if nobody takes it.
    pub fn give(&self, arrival: Arrival) -> bool {
        let mut door = self.door();
        if !door.is_open {
            return false;
        }
        door.waiting.push(arrival);
        drop(door);
        self.came.notify_one();
        true
    }

    /// Everything that waits, when something does; none when the door is shut.
    fn wait(&self) -> Option<Vec<Arrival>> {
        let door = self.door();
        let mut door = self
            .came
            .wait_while(door, |door| door.is_open && door.waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        door.is_open.then(|| std::mem::take(&mut door.waiting))
    }

    /// The size of a file that lies here.
    pub fn size_of(&self, digest: FileDigest) -> Option<u64> {
        self.table().index.get(&digest).map(|landed| landed.size)
    }

    /// Everything that lies here, with its size.
    pub fn files(&self) -> Vec<(FileDigest, u64)> {
        self.table().index.iter().map(|(digest, landed)| (*digest, landed.size)).collect()
    }

    /// Lets a file go that nobody needs: none if it does not lie here, its size if it did. One that is just getting a
    /// file of its own is not let go.
    pub fn let_go(&self, digest: FileDigest) -> LetGo {
        let mut table = self.table();
        match table.index.get(&digest) {
            None => LetGo::Elsewhere,
            Some(landed) if landed.is_moving => LetGo::NotNow,
            Some(_) => LetGo::Gone(table.drop_landed(digest).map_or(0, |landed| landed.size)),
        }
    }

    /// The bytes of a file that lies here; none if it does not, or has just got a file of its own.
    pub fn read(&self, digest: FileDigest) -> io::Result<Option<Bytes>> {
        let Some(landed) = self.table().index.get(&digest).copied() else { return Ok(None) };
        match self.bytes_of(digest, landed) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(_) if self.size_of(digest).is_none() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn bytes_of(&self, digest: FileDigest, landed: Landed) -> io::Result<Vec<u8>> {
        let file = self.disk.open_read(&self.path(landed.slot))?;
        let mut bytes = vec![0; usize::try_from(landed.size).map_err(io::Error::other)?];
        let got = file.read_at(&mut bytes, landed.offset)?;
        if got == bytes.len() && FileDigest(Sha256::digest(&bytes).into()) == digest {
            return Ok(bytes);
        }
        let why = format!("slot {} of the landing gives other bytes than it was given", landed.slot);
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }
}

/// What became of a file that nobody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LetGo {
    Elsewhere,
    NotNow,
    Gone(u64),
}

// ---- taking in -------------------------------------------------------------------------------------------------

/// The slot that is being filled.
struct Filling {
    slot: u32,
    file: DiskFile,
    at: u64,
    generation: u64,
}

/// A file that is written and not yet durable.
struct Staged {
    arrival: Arrival,
    file: SpoolFile,
    slot: u32,
    offset: u64,
}

/// Takes files in until the door is shut.
pub(in crate::store) fn run(spool: &Spool) {
    /// Also when it panics: nobody shall wait before a door behind which there is nobody.
    struct Shut<'a>(&'a Landing);
    impl Drop for Shut<'_> {
        fn drop(&mut self) {
            self.0.close_door();
        }
    }
    let inner = &*spool.0;
    let _shut = Shut(&inner.landing);
    let mut porter = Porter { inner, filling: None };
    while let Some(arrivals) = inner.landing.wait() {
        porter.take_in(arrivals);
    }
}

struct Porter<'s> {
    inner: &'s Inner,
    filling: Option<Filling>,
}

impl Porter<'_> {
    fn take_in(&mut self, arrivals: Vec<Arrival>) {
        let mut staged: Vec<Staged> = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            let digest = FileDigest(Sha256::digest(&arrival.bytes).into());
            let file = SpoolFile { digest, size_bytes: arrival.bytes.len() as u64 };
            if staged.iter().any(|other| other.file == file) {
                // It is known as soon as the other one is durable.
                self.settle_staged(&mut staged);
            }
            match self.inner.is_kept_already(file) {
                Ok(true) => self.inner.answer(arrival, Ok(file)),
                Err(error) => self.inner.answer(arrival, Err(error.into())),
                Ok(false) => match self.place(file, &arrival.bytes, &mut staged) {
                    Ok(Some((slot, offset))) => staged.push(Staged { arrival, file, slot, offset }),
                    Ok(None) => {
                        let kept = self.inner.keep_own(file, &arrival.bytes);
                        self.inner.answer(arrival, kept.map(|()| file).map_err(SpoolError::from));
                    }
                    Err(error) => self.inner.answer(arrival, Err(error.into())),
                },
            }
        }
        self.settle_staged(&mut staged);
    }

    /// Writes an entry; none if there is no slot for it.
    fn place(
        &mut self,
        file: SpoolFile,
        bytes: &[u8],
        staged: &mut Vec<Staged>,
    ) -> io::Result<Option<(u32, u64)>> {
        if self.filling.as_ref().is_some_and(|filling| filling.at + room_of(file.size_bytes) > SLOT_BYTES) {
            self.settle_staged(staged);
            self.close_slot();
        }
        if self.filling.is_none() {
            self.filling = self.inner.landing.begin_slot()?;
        }
        let Some(filling) = &mut self.filling else { return Ok(None) };
        let header = Header { generation: filling.generation, size: file.size_bytes, digest: file.digest };
        let at = filling.at;
        let head = header.encode(&self.inner.landing.store);
        let written = filling
            .file
            .write_all_at(&head, at)
            .and_then(|()| filling.file.write_all_at(bytes, at + HEADER_BYTES as u64));
        match written {
            Ok(()) => {
                filling.at += room_of(file.size_bytes);
                Ok(Some((filling.slot, at + HEADER_BYTES as u64)))
            }
            Err(error) => {
                self.settle_staged(staged);
                self.close_slot();
                Err(error)
            }
        }
    }

    /// Makes what is written durable, and tells those who wait for it.
    fn settle_staged(&mut self, staged: &mut Vec<Staged>) {
        let Some(filling) = self.filling.as_ref().filter(|_| !staged.is_empty()) else { return };
        let synced = filling.file.sync_data();
        if synced.is_err() {
            self.close_slot();
        }
        for Staged { arrival, file, slot, offset } in staged.drain(..) {
            let landed = Landed { slot, offset, size: file.size_bytes, is_moving: false };
            let outcome = match &synced {
                Ok(()) => {
                    self.inner.note_landed(file, landed);
                    self.inner.fresh().keep(file.digest, arrival.bytes.clone());
                    Ok(file)
                }
                Err(error) => Err(same_error(error).into()),
            };
            self.inner.answer(arrival, outcome);
        }
    }

    /// Nothing more is written into the slot.
    fn close_slot(&mut self) {
        if let Some(filling) = self.filling.take() {
            let mut table = self.inner.landing.table();
            let needed = table.slots.get(&filling.slot).map_or(0, |slot| slot.needed);
            table.fill(filling.slot, needed);
        }
    }
}

/// The same for each who waits.
fn same_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl Landing {
    fn begin_slot(&self) -> io::Result<Option<Filling>> {
        let mut table = self.table();
        let Some((slot, is_new)) = table.take_slot() else { return Ok(None) };
        let generation = table.next_generation;
        table.next_generation += 1;
        drop(table);
        let path = self.path(slot);
        let open = if is_new { self.make_slot(&path) } else { self.disk.open(&path) };
        match open {
            Ok(file) => Ok(Some(Filling { slot, file, at: 0, generation })),
            Err(error) => {
                // Whether it is there, and under a durable name, is not known: it is made anew.
                self.table().slots.remove(&slot);
                Err(error)
            }
        }
    }

    /// A new file under a durable name.
    fn make_slot(&self, path: &Path) -> io::Result<DiskFile> {
        let file = self.disk.create(path)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(file)
    }
}

impl Inner {
    /// Whether the spool has the file already; then it has a lease from now on.
    fn is_kept_already(&self, file: SpoolFile) -> io::Result<bool> {
        let mut ledger = self.ledger();
        let has_landed = self.landing.size_of(file.digest).is_some();
        let path = self.path(file.digest);
        let has_own = || path.metadata().is_ok_and(|m| m.len() == file.size_bytes);
        if !has_landed && !has_own() {
            return Ok(false);
        }
        lease(&mut ledger, file.digest);
        drop(ledger);
        if !has_landed {
            // Whoever gave it its name may have died before that was durable.
            self.disk.sync_dir(path.parent().unwrap_or(&self.dir))?;
        }
        // It counts once.
        self.give_back(file.size_bytes);
        Ok(true)
    }

    fn note_landed(&self, file: SpoolFile, landed: Landed) {
        let mut ledger = self.ledger();
        lease(&mut ledger, file.digest);
        let mut table = self.landing.table();
        table.index.insert(file.digest, landed);
        if let Some(slot) = table.slots.get_mut(&landed.slot) {
            slot.needed += 1;
        }
    }

    /// Gives back the room that was taken for a file that is not kept.
    fn answer(&self, arrival: Arrival, outcome: Result<SpoolFile, SpoolError>) {
        if outcome.is_err() {
            self.give_back(arrival.bytes.len() as u64);
        }
        // Whoever does not wait any more finds the file by its lease's end.
        let _ = arrival.reply.send(outcome);
    }

    /// Keeps a file that finds no place in the landing.
    fn keep_own(&self, file: SpoolFile, bytes: &[u8]) -> io::Result<()> {
        // First, or a sweep to which the file was named before could remove it as soon as it is there.
        lease(&mut self.ledger(), file.digest);
        self.write_own(file.digest, bytes).inspect_err(|_| {
            self.ledger().leases.remove(&file.digest);
        })
    }

    /// Writes a file of its own, durable with its name.
    fn write_own(&self, digest: FileDigest, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        let shard = path.parent().unwrap_or(&self.dir);
        self.make_shard(shard)?;
        let old = path.metadata().map(|m| m.len()).ok();
        if old == Some(bytes.len() as u64) {
            return self.disk.sync_dir(shard);
        }
        let temp = self.next_temp_path();
        let written = self.disk.create(&temp).and_then(|file| {
            file.write_all_at(bytes, 0)?;
            file.sync_all()?;
            self.disk.rename(&temp, &path)
        });
        if let Err(error) = written {
            // What cannot be removed now is removed at the next opening.
            let _ = self.disk.remove(&temp);
            return Err(error);
        }
        // One of the same digest and another size is damaged: ours takes its place.
        self.give_back(old.unwrap_or(0));
        self.disk.sync_dir(shard)
    }

    /// Forgets what has landed and has a file of its own as well: the process died when it had just got it. Its name is
    /// made durable first, for it may not be yet.
    pub(super) fn forget_moved(&self) -> io::Result<()> {
        for (digest, size) in self.landing.files() {
            let path = self.path(digest);
            if path.metadata().is_ok_and(|m| m.len() == size) {
                self.disk.sync_dir(path.parent().unwrap_or(&self.dir))?;
                self.landing.table().drop_landed(digest);
            }
        }
        Ok(())
    }
}

fn lease(ledger: &mut Ledger, digest: FileDigest) {
    ledger.leases.insert(digest, Instant::now() + LEASE);
}

// ---- moving out ------------------------------------------------------------------------------------------------

impl Spool {
    /// Gives a file of its own to what has landed. Blocking; nothing is done where it has one.
    pub(super) fn move_out(&self, digest: FileDigest) -> io::Result<()> {
        let landing = &self.0.landing;
        let _one = landing.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let landed = {
            let mut table = landing.table();
            let Some(landed) = table.index.get_mut(&digest) else { return Ok(()) };
            landed.is_moving = true;
            *landed
        };
        let moved = landing.bytes_of(digest, landed).and_then(|bytes| self.0.write_own(digest, &bytes));
        let mut table = landing.table();
        if moved.is_ok() {
            table.drop_landed(digest);
        } else if let Some(landed) = table.index.get_mut(&digest) {
            landed.is_moving = false;
        }
        moved
    }

    /// Gives everything that has landed a file of its own; for a backup, which copies files. One that the disk does not
    /// give back is left where it is, and told. Blocking.
    pub(in crate::store) fn move_all_out(&self) -> io::Result<u64> {
        let mut damaged = 0;
        for (digest, _) in self.0.landing.files() {
            match self.move_out(digest) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::error!(%error, digest = digest.to_hex(), "a file of the spool is damaged");
                    damaged += 1;
                }
                other => other?,
            }
        }
        Ok(damaged)
    }

    /// One round of making room in the landing. Blocking.
    pub(in crate::store) fn tidy_landing(&self) {
        let landing = &self.0.landing;
        let overstayed = landing.table().overstayed();
        for digest in overstayed.into_iter().take(MOVES_A_ROUND) {
            if let Err(error) = self.move_out(digest) {
                // It stays where it is, as good as before.
                tracing::warn!(%error, digest = digest.to_hex(), "a file cannot be moved out of the landing");
                break;
            }
        }
        let mut table = landing.table();
        if let Some(slot) = table.idle_slot() {
            // While the table is held nobody takes it.
            match self.0.disk.remove(&landing.path(slot)) {
                Ok(()) => drop(table.slots.remove(&slot)),
                Err(error) => tracing::warn!(%error, "an empty slot of the landing cannot be removed"),
            }
        }
    }
}

#[cfg(test)]
#[path = "landing_tests.rs"]
mod tests;
