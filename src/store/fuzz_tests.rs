//! What lies on the disk, mutated behind a checksum that fits: nothing panics, nothing asks for memory without bound, and
//! nothing means two things.
//!
//! Chance alone never gets past a CRC, so the sums are made right after each mutation: what is tested is the decoder
//! behind them, as a fault of ours (or somebody who edits files) would meet it. The corpus is the golden bytes of every
//! kind and version, and the kept stores. `EDOBRIDGE_FUZZ_RUNS` and `EDOBRIDGE_FUZZ_SEED` as in `tests/fuzz.rs`.

use super::frame::{self, Batch};
use super::invariants::InvariantReport;
use super::notice::{Cursor, NoticeV1, ParkedNoticeV1};
use super::portal_installations::InstallationV1;
use super::records::{
    ClaimV1, HEADER_BYTES, MetaV1, OutboxV1, PAYLOAD_BYTES_MAX, Record, SagaClaimsV1, decode, encode, reseal,
    strict_decode, strict_encode,
};
use super::snapshot;
use super::{Store, StoreOptions, restore_backup, segment};
use crate::domain::portal::PortalState;
use crate::domain::portal_capabilities::CapabilityMap;
use crate::domain::portal_owner::OwnerRecord;
use crate::domain::portal_usage::HourUsage;
use crate::domain::portal_workflows::WorkflowRecord;
use crate::saga::document::{DocumentSaga, HistoryEntry};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

const GOLDEN: &str = include_str!("../../tests/data/store_records.hex");
/// Mutations of each golden record by default.
const RECORD_RUNS: u64 = 2_500;
/// Mutations of a frame, and of a snapshot's records.
const FRAME_RUNS: u64 = 4_000;
const SNAPSHOT_RUNS: u64 = 400;
/// Whole stores with a mutated journal: each is opened.
const STORE_RUNS: u64 = 30;

#[expect(clippy::disallowed_methods, reason = "a wish of whoever runs the tests, not of the service")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// As many as wished for a night, in proportion.
fn runs(usual: u64) -> u64 {
    number("EDOBRIDGE_FUZZ_RUNS")
        .map_or(usual, |wished| wished.saturating_mul(usual).div_ceil(12_000).max(usual))
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn new(salt: u64) -> Self {
        Self(number("EDOBRIDGE_FUZZ_SEED").unwrap_or(0x0ED0_B21D).wrapping_add(salt))
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }
    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// One to three changes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const LENGTHS: [u64; 6] = [u64::MAX, 1 << 40, u32::MAX as u64, PAYLOAD_BYTES_MAX, 1 << 20, 0];
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(7) {
                0 | 1 if !bytes.is_empty() => {
                    let at = at.min(bytes.len() - 1);
                    bytes[at] ^= 1 << self.below(8);
                }
                2 if !bytes.is_empty() => {
                    let at = at.min(bytes.len() - 1);
                    bytes[at] = self.byte();
                }
                3 => bytes.truncate(at),
                4 => drop(bytes.splice(at..at, (0..self.below(9)).map(|n| n as u8).collect::<Vec<_>>())),
                5 => {
                    let end = (at + self.below(16)).min(bytes.len());
                    drop(bytes.splice(at..end, std::iter::empty()));
                }
                _ => {
                    let length = LENGTHS[self.below(LENGTHS.len())].to_le_bytes();
                    let end = (at + 8).min(bytes.len());
                    drop(bytes.splice(at..end, length));
                }
            }
        }
    }
}

// --- records --------------------------------------------------------------------------------------------------

fn golden() -> Vec<(u16, u16, Vec<u8>)> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let kind = words.next()?.parse().ok()?;
        let version = words.next()?.parse().ok()?;
        let hex = words.next()?;
        let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex");
        Some((kind, version, (0..hex.len() / 2).map(byte).collect()))
    };
    GOLDEN.lines().filter_map(line).collect()
}

/// Decodes a record of the kind; whether it was taken. Panics where it means two things.
fn judged(kind: u16, bytes: &[u8]) -> bool {
    match kind {
        1 => one::<DocumentSaga>(bytes),
        2 => one::<HistoryEntry>(bytes),
        3 => one::<NoticeV1>(bytes),
        4 => one::<PortalState>(bytes),
        5 => one::<Cursor>(bytes),
        6 => one::<ClaimV1>(bytes),
        7 => one::<OutboxV1>(bytes),
        8 => one::<ParkedNoticeV1>(bytes),
        9 => one::<MetaV1>(bytes),
        10 => one::<SagaClaimsV1>(bytes),
        11 => one::<InstallationV1>(bytes),
        21 => one::<HourUsage>(bytes),
        22 => one::<OwnerRecord>(bytes),
        24 => one::<WorkflowRecord>(bytes),
        25 => one::<CapabilityMap>(bytes),
        other => panic!("kind {other} has golden bytes and no judge here"),
    }
}

fn one<R: Record>(bytes: &[u8]) -> bool {
    let Ok(record) = decode::<R>(bytes) else { return false };
    let again = encode(&record).expect("what was decoded is small");
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version == R::VERSION {
        assert_eq!(again, bytes, "one value, two forms");
    } else {
        let raised = decode::<R>(&again).ok().and_then(|record| encode(&record));
        assert_eq!(raised, Some(again), "raised to the present version it is another value");
    }
    true
}

#[test]
fn a_mutated_record_is_refused_or_means_exactly_what_it_says() {
    let samples = golden();
    assert!(samples.len() >= super::Kind::ALL.len());
    let (mut taken, mut refused) = (0_u64, 0_u64);
    for (kind, version, sample) in &samples {
        assert!(judged(*kind, sample), "the golden bytes of kind {kind} version {version} are taken");
        let mut chance = Chance::new(u64::from(*kind) << 16 | u64::from(*version));
        for _ in 0..runs(RECORD_RUNS) {
            let mut payload = sample[HEADER_BYTES..].to_vec();
            if chance.below(20) == 0 {
                payload = (0..chance.below(300)).map(|_| chance.byte()).collect();
            }
            chance.mutate(&mut payload);
            let mut bytes = [&sample[..HEADER_BYTES], &payload].concat();
            reseal(&mut bytes);
            *if judged(*kind, &bytes) { &mut taken } else { &mut refused } += 1;
            // Another kind's bytes are never taken for this one's.
            let other = samples[chance.below(samples.len())].0;
            assert!(other == *kind || !judged(other, &bytes), "kind {kind} was taken for {other}");
        }
    }
    assert!(taken > 1_000 && refused > 1_000, "the judge sees nothing: {taken} taken, {refused} refused");
}

/// A length that is a lie, at every place where one may stand: 2^40 entries would be asked for before the first is read.
#[test]
fn a_hostile_length_anywhere_in_a_record_asks_for_no_memory() {
    for (kind, _, sample) in golden() {
        for at in HEADER_BYTES..sample.len().saturating_sub(8) {
            for length in [1_u64 << 40, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX - 1] {
                let mut bytes = sample.clone();
                bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
                reseal(&mut bytes);
                let _ = judged(kind, &bytes);
            }
        }
    }
}

// --- the journal ----------------------------------------------------------------------------------------------

/// The payload of a frame with a bit of everything.
fn frame_payload() -> Vec<u8> {
    let mut found = None;
    snapshot::read(&super::disk::Disk::real(), &kept(1), &mut |item| {
        if let snapshot::Item::Frame { payload, .. } = item {
            found = Some(payload);
        }
        Ok(())
    })
    .expect("a kept store reads");
    found.expect("it has a frame")
}

#[test]
fn a_mutated_frame_is_refused_or_reads_back_what_it_says() {
    let sample = frame_payload();
    let mut chance = Chance::new(1);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..runs(FRAME_RUNS) {
        let mut payload = sample.clone();
        chance.mutate(&mut payload);
        let count = if chance.below(4) == 0 { chance.below(5) as u32 } else { 1 };
        let bytes = frame::sealed(41, count, &payload);
        let batches = frame::parse(&bytes).and_then(|found| found.batches().ok());
        match batches {
            Some(batches) => {
                taken += 1;
                assert_eq!(batches.len(), count as usize);
                assert_eq!(strict_encode(&batches), Some(payload), "one frame, two forms");
            }
            None => refused += 1,
        }
        // Behind a sum that does not fit nothing is looked at.
        let mut wrong = bytes.clone();
        wrong[chance.below(frame::HEADER_BYTES)] ^= 1 << chance.below(8);
        assert!(frame::parse(&wrong).is_none(), "a changed header was believed");
        let header = segment::Header::decode(&bytes[..bytes.len().min(segment::HEADER_BYTES)]);
        assert!(!matches!(header, segment::HeaderState::Sound(_)), "a frame is no header of a segment");
    }
    assert!(taken > 20 && refused > 1_000, "the judge sees nothing: {taken} taken, {refused} refused");
    assert!(strict_decode::<Vec<Batch>>(&u64::MAX.to_le_bytes()).is_err());
}

fn kept(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/stores/documents-v{version}.backup"))
}

/// Everything a store knows is what it knew, or it says that it does not open.
#[test]
fn a_store_with_a_mutated_journal_opens_soundly_or_refuses() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let whole = dir.path().join("whole");
    restore_backup(&kept(3), &whole).expect("restored");
    let options = |dir: &Path| {
        let mut options = StoreOptions::new(dir);
        (options.segment_bytes, options.min_free_bytes) = (StoreOptions::SEGMENT_BYTES_MIN, 0);
        options
    };
    let (store, _) = Store::open(options(&whole), &mut |_| {}).expect("opens");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for n in 0..6_u8 {
        let notice = super::NewNotice {
            body: vec![n; 500].into(),
            ..super::samples::Samples::new(u64::from(n) + 3).new_notice()
        };
        runtime.block_on(store.accept(notice)).expect("accepted");
    }
    // Not closed: the journal is ahead of the view, as after a kill.
    drop(store);
    let journal = super::disk::list_dir(&whole.join("journal")).expect("listed");
    let segment = journal.iter().find(|path| segment::number_of(path).is_some()).expect("a segment").clone();
    let used = std::fs::read(&segment).expect("read");
    let end = used.iter().rposition(|b| *b != 0).expect("it was written into") + 1;
    let mut chance = Chance::new(2);
    let (mut opened, mut refused) = (0, 0);
    for run in 0..runs(STORE_RUNS) {
        let copy = dir.path().join(format!("run-{run}"));
        copy_dir(&whole, &copy);
        let mut bytes = used.clone();
        for _ in 0..=chance.below(3) {
            bytes[chance.below(end)] ^= 1 << chance.below(8);
        }
        if chance.below(4) == 0 {
            bytes.truncate(chance.below(end));
        }
        std::fs::write(copy.join("journal").join(segment.file_name().expect("a name")), bytes)
            .expect("planted");
        match Store::open(options(&copy), &mut |_| {}) {
            Ok((store, _)) => {
                opened += 1;
                let InvariantReport { violations, .. } = store.check_invariants_blocking().expect("checked");
                assert!(violations.is_empty(), "run {run}: {violations:#?}");
            }
            Err(error) => {
                refused += 1;
                assert!(!error.text().ru.is_empty(), "it says why");
            }
        }
        std::fs::remove_dir_all(&copy).expect("removed");
    }
    assert!(refused > 0, "no mutation was noticed: {opened} stores opened");
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for path in super::disk::list_dir(from).expect("listed") {
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

// --- snapshots and backups ------------------------------------------------------------------------------------

/// The records of a snapshot: type and payload.
fn records_of(path: &Path) -> Vec<(u8, Vec<u8>)> {
    let bytes = std::fs::read(path).expect("read");
    let stream = zstd::decode_all(&bytes[16..bytes.len() - 40]).expect("a stream");
    let (mut at, mut records) = (0, Vec::new());
    while at < stream.len() {
        let len = u32::from_le_bytes(stream[at + 1..at + 5].try_into().expect("four bytes")) as usize;
        records.push((stream[at], stream[at + 9..at + 9 + len].to_vec()));
        at += 9 + len;
    }
    records
}

/// A file of these records whose every sum fits.
fn snapshot_of(records: &[(u8, Vec<u8>)], path: &Path) {
    let mut stream = Vec::new();
    for (kind, payload) in records {
        stream.push(*kind);
        stream.extend(u32::try_from(payload.len()).expect("small").to_le_bytes());
        stream.extend(crc32fast::hash(payload).to_le_bytes());
        stream.extend(payload);
    }
    let mut bytes = b"EDOSNAP1\x01\0\0\0\0\0\0\0".to_vec();
    bytes.extend(zstd::encode_all(&stream[..], 1).expect("encoded"));
    let sum = Sha256::digest(&bytes);
    bytes.extend(sum);
    bytes.extend(b"EDOSNAPZ");
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_mutated_backup_whose_sums_fit_is_refused_or_restored_and_never_more() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let (path, target) = (dir.path().join("a.backup"), dir.path().join("restored"));
    let samples: Vec<_> = [1, 2, 3].map(|version| records_of(&kept(version))).to_vec();
    snapshot_of(&samples[2], &path);
    restore_backup(&path, &target).expect("unchanged it is a backup");
    std::fs::remove_dir_all(&target).expect("removed");
    let mut chance = Chance::new(3);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..runs(SNAPSHOT_RUNS) {
        let mut records = samples[chance.below(samples.len())].clone();
        let at = chance.below(records.len());
        match chance.below(6) {
            0 => drop(records.remove(at)),
            1 => {
                let other = chance.below(records.len());
                records.swap(at, other);
            }
            2 => records.insert(at, records[chance.below(records.len())].clone()),
            3 => records[at].0 = b"FEJSDZ?"[chance.below(7)],
            _ => chance.mutate(&mut records[at].1),
        }
        snapshot_of(&records, &path);
        match restore_backup(&path, &target) {
            Ok(_) => taken += 1,
            Err(_) => {
                refused += 1;
                assert!(!target.join("FORMAT").exists(), "what is refused makes no store");
            }
        }
        if target.exists() {
            let outside = super::disk::list_dir(dir.path()).expect("listed");
            assert_eq!(outside, [path.clone(), target.clone()], "nothing is written elsewhere");
            std::fs::remove_dir_all(&target).expect("removed");
        }
    }
    assert!(taken > 0 && refused > 100, "the judge sees nothing: {taken} taken, {refused} refused");
}
