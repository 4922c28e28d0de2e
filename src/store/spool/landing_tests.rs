//! The landing: what is kept, what is let go, and what is believed after a start.

use super::super::tests::keep;
use super::*;
use crate::store::disk::{Answer, DiskHook, DiskOp};
use crate::store::faults::{Fault, FaultAt, FaultyDisk};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

const STORE: [u8; 16] = [7; 16];

/// A spool with somebody who takes in.
struct Bench {
    dir: tempfile::TempDir,
    spool: Spool,
    porter: Option<JoinHandle<()>>,
}

impl Bench {
    fn new(disk: Disk) -> Self {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let spool = opened(&dir, disk);
        let mut bench = Self { dir, spool, porter: None };
        bench.begin();
        bench
    }

    fn begin(&mut self) {
        self.spool.note_counted(self.spool.landed().iter().map(|(_, size)| size).sum(), Vec::new());
        self.spool.open_landing();
        let spool = self.spool.clone();
        self.porter = Some(std::thread::spawn(move || run(&spool)));
    }

    fn end(&mut self) {
        self.spool.close_landing();
        if let Some(porter) = self.porter.take() {
            porter.join().expect("it does not panic");
        }
    }

    /// As after a kill: nothing is said to anybody.
    fn reopen(&mut self) {
        self.end();
        self.spool = opened(&self.dir, Disk::real());
        self.begin();
    }

    fn slot(&self, number: u32) -> PathBuf {
        self.spool.0.landing.path(number)
    }

    fn has_own(&self, file: SpoolFile) -> bool {
        self.spool.path(file.digest).is_file()
    }

    fn has_landed(&self, file: SpoolFile) -> bool {
        self.spool.0.landing.size_of(file.digest).is_some()
    }

    fn let_go(&self, file: SpoolFile) -> u64 {
        self.spool.0.ledger().leases.clear();
        self.spool.suspect(vec![file.digest]);
        self.spool.sweep(|_| Ok(false))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.end();
    }
}

fn opened(dir: &tempfile::TempDir, disk: Disk) -> Spool {
    let low = Arc::new(AtomicBool::new(false));
    Spool::open(&dir.path().join("spool"), STORE, disk, 1 << 30, low).expect("it opens")
}

fn content(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; 200 << 10];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes
}

#[tokio::test]
async fn a_small_file_lands_and_is_there_again_after_a_kill() {
    let mut bench = Bench::new(Disk::real());
    let small = keep(&bench.spool, b"a contract").await.expect("kept");
    let empty = keep(&bench.spool, b"").await.expect("kept");
    let again = keep(&bench.spool, b"a contract").await.expect("kept");
    assert_eq!((again, bench.spool.bytes()), (small, 10), "the same file counts once");
    assert!(bench.has_landed(small) && !bench.has_own(small));
    bench.reopen();
    assert!(bench.has_landed(small) && bench.has_landed(empty));
    let path = bench.spool.readable(small.digest).await.expect("readable");
    assert_eq!(std::fs::read(path).expect("there"), b"a contract");
    assert!(!bench.has_landed(small) && bench.has_own(small));
    assert_eq!(bench.spool.bytes(), 10);
}

#[tokio::test]
async fn many_at_once_share_few_syncs() {
    struct Counting(AtomicU32);
    impl DiskHook for Counting {
        fn before(&self, _: &DiskOp<'_>) -> Answer {
            Answer::Go
        }
        fn after(&self, op: &DiskOp<'_>) {
            if matches!(op, DiskOp::Sync { .. }) {
                self.0.fetch_add(1, Ordering::Relaxed);
                // As long as a disk takes: the others come meanwhile.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        fn free_bytes(&self) -> Option<u64> {
            None
        }
    }
    let counting = Arc::new(Counting(AtomicU32::new(0)));
    let bench = Bench::new(Disk::hooked(counting.clone()));
    let files: Vec<[u8; 4]> = (0..100_u32).map(u32::to_le_bytes).collect();
    let kept = futures_util::future::join_all(files.iter().map(|bytes| keep(&bench.spool, bytes))).await;
    assert!(kept.iter().all(|kept| kept.as_ref().is_ok_and(|file| bench.has_landed(*file))));
    let syncs = counting.0.load(Ordering::Relaxed);
    assert!(syncs < 50, "{syncs} syncs for 100 files");
}

#[tokio::test]
async fn a_slot_is_filled_anew_when_nothing_in_it_is_needed() {
    let mut bench = Bench::new(Disk::real());
    let a_slot = u32::try_from(SLOT_BYTES / room_of(200 << 10)).expect("few");
    let mut kept = Vec::new();
    for number in 0..=a_slot {
        kept.push(keep(&bench.spool, &content(number)).await.expect("kept"));
    }
    assert!(bench.slot(1).exists(), "the last one found the first slot full");
    for file in &kept[1..a_slot as usize] {
        assert_eq!(bench.let_go(*file), 1);
    }
    let more = async |from: u32, to: u32| {
        let mut kept = Vec::new();
        for number in from..to {
            kept.push(keep(&bench.spool, &content(number)).await.expect("kept"));
        }
        kept
    };
    let others = more(1_000, 1_000 + a_slot).await;
    assert!(bench.slot(2).exists(), "one file is still needed in the first slot");
    assert_eq!(bench.let_go(kept[0]), 1);
    let later = more(2_000, 2_000 + a_slot).await;
    assert!(!bench.slot(3).exists(), "the first slot was free again");
    bench.reopen();
    for file in others.iter().chain(&later).chain([&kept[a_slot as usize]]) {
        assert!(bench.has_landed(*file));
    }
    assert!(!bench.has_landed(kept[0]) && !bench.has_landed(kept[1]), "the new generation counts alone");
}

#[tokio::test]
async fn what_stays_long_in_a_full_slot_gets_a_file_of_its_own() {
    let bench = Bench::new(Disk::real());
    let first = keep(&bench.spool, &content(1)).await.expect("kept");
    for number in 2..60 {
        keep(&bench.spool, &content(number)).await.expect("kept");
    }
    bench.spool.tidy_landing();
    assert!(bench.has_landed(first), "it has just come");
    let long_ago = Instant::now().checked_sub(STAY).expect("the machine is up for longer");
    for slot in bench.spool.0.landing.table().slots.values_mut() {
        if let Phase::Full(since) = &mut slot.phase {
            *since = long_ago;
        }
    }
    let in_first = || {
        let table = bench.spool.0.landing.table();
        table.index.values().filter(|landed| landed.slot == 0).count()
    };
    while in_first() > 0 {
        let before = in_first();
        bench.spool.tidy_landing();
        assert!(in_first() < before);
    }
    assert!(bench.has_own(first));
    assert_eq!(bench.spool.bytes(), 59 * (200 << 10), "moving changes nothing in what is held");
    let landed = bench.spool.landed().len();
    assert!(landed > 0, "the slot that is being filled is left alone");
    assert_eq!(bench.spool.move_all_out().expect("moved"), 0);
    assert_eq!((bench.spool.landed().len(), bench.spool.files().expect("listed").len()), (0, 59));
}

#[tokio::test]
async fn when_every_slot_is_taken_files_are_kept_as_their_own() {
    let bench = Bench::new(Disk::real());
    take_every_slot(&bench.spool);
    let file = keep(&bench.spool, b"a contract").await.expect("kept");
    assert!(bench.has_own(file) && !bench.has_landed(file));
    assert_eq!(bench.let_go(file), 1);
    assert!(!bench.has_own(file));
    assert_eq!(bench.spool.bytes(), 0);
}

/// Every slot is taken: what comes gets a file of its own at once.
fn take_every_slot(spool: &Spool) {
    for number in 0..u32::try_from(SLOTS_MAX).expect("few") {
        spool.0.landing.table().slots.insert(number, Slot { phase: Phase::Filling, needed: 1 });
    }
}

#[tokio::test]
async fn a_file_that_finds_no_slot_is_leased_before_a_sweep_can_see_it() {
    /// Sweeps as soon as a file has its name, when somebody had named it for removal before.
    #[derive(Default)]
    struct Sweeping(Mutex<Option<Spool>>, AtomicU32);
    impl DiskHook for Sweeping {
        fn before(&self, _: &DiskOp<'_>) -> Answer {
            Answer::Go
        }
        fn after(&self, op: &DiskOp<'_>) {
            let DiskOp::Rename { to, .. } = op else { return };
            let digest = crate::store::spool::digest_of(to).expect("a file of the spool");
            let spool = self.0.lock().unwrap_or_else(PoisonError::into_inner).take().expect("one file");
            spool.suspect(vec![digest]);
            let removed = spool.sweep(|_| Ok(false));
            self.1.store(u32::try_from(removed).expect("few") + 10, Ordering::SeqCst);
        }
        fn free_bytes(&self) -> Option<u64> {
            None
        }
    }
    let sweeping = Arc::new(Sweeping::default());
    let bench = Bench::new(Disk::hooked(sweeping.clone()));
    take_every_slot(&bench.spool);
    *sweeping.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(bench.spool.clone());
    let file = keep(&bench.spool, b"a contract").await.expect("kept");
    assert_eq!(sweeping.1.load(Ordering::SeqCst), 10, "it was swept, and nothing was removed");
    assert!(bench.has_own(file), "it is there as it was told");
    assert!(bench.spool.0.ledger().leases.contains_key(&file.digest));
}

#[tokio::test]
async fn a_file_that_finds_no_slot_and_cannot_be_written_leaves_no_lease() {
    let faults = Arc::new(FaultyDisk::default());
    let bench = Bench::new(Disk::hooked(faults.clone()));
    take_every_slot(&bench.spool);
    faults.plan(Fault::once(FaultAt::Write, "tmp", 28));
    assert!(keep(&bench.spool, b"a contract").await.is_err());
    assert_eq!(faults.struck(), 1);
    let leases = bench.spool.0.ledger().leases.len();
    assert_eq!((leases, bench.spool.bytes()), (0, 0), "its room and its lease are given back");
    let file = keep(&bench.spool, b"a contract").await.expect("the fault is gone");
    assert!(bench.has_own(file));
}

#[tokio::test]
async fn a_sync_that_fails_is_told_and_nothing_is_written_behind_it() {
    struct Failing(AtomicBool);
    impl DiskHook for Failing {
        fn before(&self, op: &DiskOp<'_>) -> Answer {
            let fails = matches!(op, DiskOp::Sync { .. }) && self.0.swap(false, Ordering::SeqCst);
            if fails { Answer::Fail(io::Error::from_raw_os_error(28)) } else { Answer::Go }
        }
        fn after(&self, _: &DiskOp<'_>) {}
        fn free_bytes(&self) -> Option<u64> {
            None
        }
    }
    let failing = Arc::new(Failing(AtomicBool::new(false)));
    let mut bench = Bench::new(Disk::hooked(failing.clone()));
    let before = keep(&bench.spool, b"before").await.expect("kept");
    failing.0.store(true, Ordering::SeqCst);
    let refused = keep(&bench.spool, b"refused").await;
    let is_full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
    assert!(matches!(&refused, Err(SpoolError::Io(error)) if is_full(error)), "{refused:?}");
    assert_eq!(bench.spool.bytes(), 6, "its room is given back");
    let after = keep(&bench.spool, b"after").await.expect("kept");
    let slot = |file: SpoolFile| bench.spool.0.landing.table().index[&file.digest].slot;
    assert_eq!((slot(before), slot(after)), (0, 1));
    bench.reopen();
    assert!(bench.has_landed(before) && bench.has_landed(after));
}

#[tokio::test]
async fn what_has_landed_is_read_without_a_file_of_its_own() {
    let bench = Bench::new(Disk::real());
    let file = keep(&bench.spool, b"a contract").await.expect("kept");
    for _ in 0..2 {
        let bytes = bench.spool.small(file.digest).await.expect("read");
        assert_eq!(bytes.as_deref(), Some(b"a contract".as_slice()));
    }
    assert!(bench.has_landed(file) && !bench.has_own(file));
    bench.spool.move_out(file.digest).expect("moved");
    assert_eq!(bench.spool.small(file.digest).await.expect("asked"), None);
}

#[tokio::test]
async fn what_is_there_twice_is_believed_where_it_was_written_last() {
    let mut bench = Bench::new(Disk::real());
    let file = keep(&bench.spool, b"a contract").await.expect("kept");
    bench.end();
    // As if the first sync had failed, and the same file had come again.
    let again = Header { generation: 7, size: 10, digest: file.digest };
    std::fs::write(bench.slot(1), [&again.encode(&STORE)[..], b"a contract"].concat()).expect("planted");
    bench.reopen();
    let table = bench.spool.0.landing.table();
    assert_eq!(table.index[&file.digest].slot, 1);
    let phases: Vec<bool> = table.slots.values().map(|slot| matches!(slot.phase, Phase::Free(_))).collect();
    assert_eq!(phases, [true, false]);
}

#[tokio::test]
async fn a_slot_that_could_not_be_made_is_made_anew() {
    struct Failing(AtomicU32);
    impl DiskHook for Failing {
        fn before(&self, op: &DiskOp<'_>) -> Answer {
            let is_slot = |path: &Path| path.parent().is_some_and(|dir| dir.ends_with("landing"));
            let fails = match op {
                DiskOp::Open { path, create: true } => is_slot(path) && self.0.load(Ordering::SeqCst) == 2,
                DiskOp::SyncDir { path } => path.ends_with("landing") && self.0.load(Ordering::SeqCst) == 1,
                _ => false,
            };
            if !fails {
                return Answer::Go;
            }
            self.0.fetch_sub(1, Ordering::SeqCst);
            Answer::Fail(io::Error::from_raw_os_error(30))
        }
        fn after(&self, op: &DiskOp<'_>) {
            if matches!(op, DiskOp::SyncDir { path } if path.ends_with("landing")) {
                self.0.fetch_add(10, Ordering::SeqCst);
            }
        }
        fn free_bytes(&self) -> Option<u64> {
            None
        }
    }
    let failing = Arc::new(Failing(AtomicU32::new(0)));
    let bench = Bench::new(Disk::hooked(failing.clone()));
    failing.0.store(2, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(keep(&bench.spool, b"a contract").await.is_err());
    }
    let file = keep(&bench.spool, b"a contract").await.expect("the fault is gone");
    assert!(bench.has_landed(file));
    assert_eq!(failing.0.load(Ordering::SeqCst), 10, "its name was made durable in the end");
}

#[tokio::test]
async fn a_damaged_entry_takes_no_other_with_it_and_is_never_given_out() {
    let mut bench = Bench::new(Disk::real());
    let mut kept = Vec::new();
    for bytes in [b"one", b"two", b"tri"] {
        kept.push(keep(&bench.spool, bytes).await.expect("kept"));
    }
    bench.end();
    let mut bytes = std::fs::read(bench.slot(0)).expect("read");
    bytes[PAGE as usize + HEADER_BYTES] ^= 1;
    std::fs::write(bench.slot(0), &bytes).expect("written");
    bench.begin();
    for refused in [
        bench.spool.readable(kept[1].digest).await.map(drop),
        bench.spool.small(kept[1].digest).await.map(drop),
    ] {
        assert_eq!(refused.expect_err("it is damaged").kind(), io::ErrorKind::InvalidData);
    }
    assert_eq!(bench.spool.move_all_out().expect("the others are moved"), 1);
    bench.reopen();
    assert!(bench.has_own(kept[0]) && bench.has_own(kept[2]));
    assert!(!bench.has_landed(kept[1]), "it is not believed again");
}

#[tokio::test]
async fn a_file_that_had_just_got_its_own_when_the_process_died_is_there_once() {
    let mut bench = Bench::new(Disk::real());
    let file = keep(&bench.spool, b"a contract").await.expect("kept");
    bench.spool.0.write_own(file.digest, b"a contract").expect("written");
    bench.reopen();
    assert!(bench.has_own(file) && !bench.has_landed(file));
}

#[test]
fn bytes_of_strangers_are_no_entries() {
    let header = |generation, bytes: &[u8]| {
        let digest = FileDigest(Sha256::digest(bytes).into());
        Header { generation, size: bytes.len() as u64, digest }
    };
    let inner = b"planted";
    let mut outer = vec![0; 3 * PAGE as usize];
    // At a page of the slot: the entry begins one header before.
    let at = PAGE as usize - HEADER_BYTES;
    outer[at..at + HEADER_BYTES].copy_from_slice(&header(9, inner).encode(&[8; 16]));
    outer[at + HEADER_BYTES..at + HEADER_BYTES + inner.len()].copy_from_slice(inner);
    let whole = header(3, &outer);
    let slot = [&whole.encode(&STORE)[..], &outer].concat();
    assert_eq!(read_slot(&slot, &STORE), (vec![(whole, HEADER_BYTES as u64)], 3));
    for bit in 0..HEADER_BYTES * 8 {
        let mut wrong = slot.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(read_slot(&wrong, &STORE).0, [], "bit {bit}");
    }
    for len in 0..slot.len() {
        assert_eq!(read_slot(&slot[..len], &STORE).0, [], "cut at {len}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_happens_to_one_entry_the_others_are_found(
        hurt in 0_usize..3, wounds in proptest::collection::vec((0_usize..6_000, 1_u8..), 1..40),
    ) {
        let files = [vec![1; 5_000], vec![2; 3_000], vec![3; 9_000]];
        let (mut slot, mut begins) = (Vec::new(), Vec::new());
        for bytes in &files {
            let digest = FileDigest(Sha256::digest(bytes).into());
            let header = Header { generation: 2, size: bytes.len() as u64, digest };
            begins.push(slot.len());
            slot.extend_from_slice(&header.encode(&STORE));
            slot.extend_from_slice(bytes);
            slot.resize(slot.len().next_multiple_of(PAGE as usize), 0);
        }
        for (at, change) in wounds {
            slot[begins[hurt] + at % (HEADER_BYTES + files[hurt].len())] ^= change;
        }
        let found: Vec<u64> = read_slot(&slot, &STORE).0.into_iter().map(|(_, offset)| offset).collect();
        let expected = |entry: &usize| *entry != hurt;
        for entry in (0..3).filter(expected) {
            proptest::prop_assert!(found.contains(&((begins[entry] + HEADER_BYTES) as u64)));
        }
    }
}
