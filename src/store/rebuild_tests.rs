//! A view that is made anew on a full disk: told as what it is, and nothing that is sound is taken for damaged.

use super::super::disk::{Host, is_full};
use super::super::error::{OpenError, StoreError};
use super::super::faults::{Fault, FaultAt, FaultyDisk};
use super::super::frame::{self, Batch, Op};
use super::super::health::Readiness;
use super::super::notice::{Cursor, NewNotice, NoticeKind};
use super::super::open::{OpenReport, ViewFate};
use super::super::options::StoreOptions;
use super::super::records::Blob;
use super::super::snapshot::SnapshotWriter;
use super::super::view::stop;
use super::super::{PAGE_MAX, Store};
use super::*;
use crate::domain::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const NOTICES: usize = 100;

/// A store on a disk whose faults are planned, and a machine that can be restarted.
struct Bench {
    dir: tempfile::TempDir,
    faults: Arc<FaultyDisk>,
    boot: u32,
}

impl Bench {
    /// With notices in it that fill many pieces of a fold.
    async fn filled() -> (Self, Store) {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let bench = Self { dir, faults: Arc::default(), boot: 1 };
        let store = bench.open().expect("it opens").0;
        for number in 0..NOTICES {
            let notice = NewNotice {
                kind: NoticeKind::BitrixEvent,
                portal: None,
                received_at: Timestamp(1),
                content_type: "text/plain".into(),
                body: Bytes::from(format!("{number:0200}")),
            };
            // Notices rest beside a view that runs; a cursor does not.
            let cursor = Cursor { last_id: 1, baseline: 1, at: Timestamp(1) };
            let name = format!("{number:0100}");
            store.accept_all(vec![notice], Some((name, cursor))).await.expect("accepted");
        }
        (bench, store)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn open(&self) -> Result<(Store, OpenReport), OpenError> {
        let options = StoreOptions { segment_bytes: 256 << 10, ..StoreOptions::new(self.path()) };
        let boot_id = Some(format!("boot-{}", self.boot));
        Store::open_on(options, Host { disk: Disk::hooked(self.faults.clone()), boot_id }, &mut |_| {})
    }

    /// The sentence of a start that is refused for lack of room.
    fn no_room(&self) -> String {
        match self.open() {
            Err(error @ OpenError::NoRoom { .. }) => {
                let OpenError::NoRoom { dir, needed, .. } = &error else { return String::new() };
                assert_eq!(*dir, self.path());
                assert!((32 << 20..64 << 20).contains(needed), "{needed} bytes for hardly any state");
                let text = error.text();
                assert!(text.ru.contains("не хватает места") && text.ru.contains("Освободите"), "{text:?}");
                text.en
            }
            other => panic!("{:?}", other.map(|(_, report)| report)),
        }
    }

    /// Names in the store's directory that begin so.
    fn names(&self, begin: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("listed").map(|e| e.expect("an entry"));
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(begin)).collect()
    }

    /// The files that a view is made from.
    fn truth(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = ["journal", "snapshots"].map(|dir| std::fs::read_dir(self.path().join(dir)));
        let files = files.into_iter().flat_map(|dir| dir.expect("listed"));
        files
            .map(|file| file.expect("an entry").path())
            .map(|path| (path.clone(), std::fs::read(path).expect("read")))
            .collect()
    }
}

async fn notices(store: &Store) -> usize {
    store.notices(None, PAGE_MAX).await.expect("read").len()
}

#[tokio::test]
async fn a_start_that_has_no_room_to_make_the_view_anew_says_so_and_leaves_everything_as_it_is() {
    let (mut bench, store) = Bench::filled().await;
    drop(store);
    bench.boot += 1;
    let before = bench.truth();
    bench.faults.plan(Fault::always(FaultAt::Write, "fold.", ENOSPC));
    for _ in 0..2 {
        let said = bench.no_room();
        assert!(said.contains("has no room") && said.contains("MiB are needed"), "{said}");
        assert!(bench.truth() == before, "journal and snapshots are as they were");
        assert_eq!(bench.names("view"), [""; 0], "nothing is set aside, and nothing half-made keeps room");
    }
    bench.faults.clear();
    let (store, report) = bench.open().expect("there is room again");
    assert!(matches!(report.view, ViewFate::Rebuilt { .. }), "{report:?}");
    assert_eq!(notices(&store).await, NOTICES);
}

#[tokio::test]
async fn of_a_damaged_view_and_many_starts_without_room_one_view_is_set_aside() {
    let (bench, store) = Bench::filled().await;
    store.close().await.expect("closed");
    std::fs::write(bench.path().join("view/conf"), [7; 64]).expect("damaged");
    bench.faults.plan(Fault::always(FaultAt::Write, "fold.", ENOSPC));
    for _ in 0..3 {
        bench.no_room();
        assert_eq!(bench.names("view"), ["view.broken-1"], "the damaged one");
    }
    bench.faults.clear();
    let (store, _) = bench.open().expect("there is room again");
    assert_eq!(notices(&store).await, NOTICES);
}

#[tokio::test]
async fn a_view_that_has_no_room_to_be_opened_is_left_in_its_place() {
    let (bench, store) = Bench::filled().await;
    store.close().await.expect("closed");
    stop::opening(Some(ENOSPC));
    let refused = bench.open().map(|(_, report)| report);
    stop::opening(None);
    assert!(matches!(&refused, Err(OpenError::Io { source, .. }) if is_full(source)), "{refused:?}");
    let kept = (bench.names("view"), bench.names("SUSPECT"));
    assert_eq!(kept, (vec!["view".to_owned()], Vec::new()), "it is neither set aside nor doubted");
    let (store, report) = bench.open().expect("there is room again");
    assert_eq!(report.view, ViewFate::Trusted);
    assert_eq!(notices(&store).await, NOTICES);
}

#[tokio::test]
async fn a_view_that_cannot_be_opened_for_another_reason_is_set_aside_and_made_anew_when_it_can_be() {
    let (bench, store) = Bench::filled().await;
    store.close().await.expect("closed");
    stop::opening(Some(EIO));
    let refused = bench.open().map(|(_, report)| report);
    stop::opening(None);
    assert!(matches!(&refused, Err(OpenError::View { .. })), "the new one does not open either: {refused:?}");
    assert!(bench.names("view").contains(&"view.broken-1".to_owned()));
    let (store, report) = bench.open().expect("it opens");
    assert!(matches!(report.view, ViewFate::Rebuilt { .. }), "{report:?}");
    assert_eq!(notices(&store).await, NOTICES);
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_running_store_without_room_to_make_its_view_anew_says_so_until_there_is() {
    let (bench, store) = Bench::filled().await;
    eventually("all is in the view", || store.health().applied == store.health().sequence).await;
    bench.faults.plan(Fault::always(FaultAt::Write, "fold.", ENOSPC));
    bench.faults.set_free_bytes(Some(8 << 30));
    drop(store.0.shared.state.view_failed(ViewError::Failed("it is damaged".into())));
    eventually("the view is tried to be made anew, and again", || bench.faults.struck() >= 3).await;
    let refused = store.notices(None, 1).await.expect_err("there is no view");
    let Readiness::NotReady(reason) = store.health().readiness else { panic!("it is ready without a view") };
    assert!(matches!(&refused, StoreError::Unavailable { reason: told } if *told == reason), "{refused:?}");
    assert!(reason.ru.contains("не хватает места") && reason.ru.contains("Освободите"), "{reason:?}");
    assert!(reason.en.contains("8192 MiB are free"), "{reason:?}");
    assert!(reason.en.contains("has no room") && reason.en.contains("MiB are needed"), "{reason:?}");
    bench.faults.clear();
    eventually("it is ready again", || store.health().readiness == Readiness::Ready).await;
    assert_eq!(notices(&store).await, NOTICES);
    assert_eq!(bench.names("view.broken"), ["view.broken-1"], "what was half-made is not kept");
}

#[tokio::test]
async fn attempts_that_fail_for_another_reason_set_nothing_more_aside() {
    let (bench, store) = Bench::filled().await;
    eventually("all is in the view", || store.health().applied == store.health().sequence).await;
    bench.faults.plan(Fault::always(FaultAt::Write, "fold.", EIO));
    drop(store.0.shared.state.view_failed(ViewError::Failed("it is damaged".into())));
    eventually("the view is tried to be made anew, and again", || bench.faults.struck() >= 3).await;
    bench.faults.clear();
    eventually("it is ready again", || store.health().readiness == Readiness::Ready).await;
    assert_eq!(notices(&store).await, NOTICES);
    assert_eq!(bench.names("view.broken"), ["view.broken-1"], "the one that was in use");
}

/// A snapshot without entries, in which as much was applied while it was taken as fills many pieces.
fn snapshot_of_frames(dir: &Path) {
    let path = snapshot::path(dir, 100);
    let mut writer = SnapshotWriter::create(&Disk::real(), &path, "a format").expect("begun");
    for number in 1..=100_u64 {
        let (key, value) = (Blob(number.to_be_bytes().to_vec().into()), Blob(vec![7; 200].into()));
        let batch = Batch { ops: vec![Op::Put { tree: Tree::Saga.code(), key, value }] };
        let encoded = frame::encode(number, &vec![batch]).expect("small");
        let frame = frame::parse(&encoded).expect("sound");
        writer.frame(frame.first, frame.count, frame.payload).expect("written");
    }
    writer.finish(100).expect("finished");
}

#[test]
fn a_snapshot_is_not_to_blame_for_a_disk_that_is_full_while_it_is_read() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    snapshot_of_frames(dir.path());
    let faults = Arc::new(FaultyDisk::default());
    let gathered = |errno| {
        faults.plan(Fault::always(FaultAt::Write, "fold.snapshot", errno));
        let disk = Disk::hooked(faults.clone());
        let mut from = Vec::new();
        let origin = gather(&disk, dir.path(), None, &|error| error, &mut |sequence, _| {
            from.push(sequence);
            Ok(())
        });
        faults.clear();
        assert_eq!(from, [100], "no older snapshot is tried instead");
        origin.map(drop).expect_err("the disk refuses")
    };
    assert!(matches!(gathered(ENOSPC), ViewError::Full(said) if said.contains(".snap")));
    assert!(matches!(gathered(EIO), ViewError::Failed(said) if said.contains(".snap")));
}

#[test]
fn about_as_much_room_is_asked_for_as_snapshot_and_journal_take_in_the_view() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let base = room_needed(&Disk::real(), dir.path(), 0);
    assert_eq!(
        room_needed(&Disk::real(), dir.path(), 1_000) - base,
        4_000,
        "sorted once, three times in the view"
    );
    snapshot_of_frames(dir.path());
    let with_snapshot = room_needed(&Disk::real(), dir.path(), 0) - base;
    assert!((3 * 20_000..3 * 30_000).contains(&with_snapshot), "{with_snapshot}");
}
