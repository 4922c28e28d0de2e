//! Stores of every version that records ever had, kept as backups in `tests/data/stores`: they open, are understood,
//! become ours, and there is a way back.
//!
//! The kept files were written by [`make`] (`EDOBRIDGE_KEEP_STORES=1 cargo test --lib store::upgrade` writes those that
//! are missing). They are only ever added: what a released program wrote stays as it was.

use super::super::backup_restore::{restore_backup, unpack};
use super::super::command::{files_of, step_key, timer_key};
use super::super::commit::Commit;
use super::super::faults::{DoneAllTheSame, Fault, FaultAt, FaultyDisk};
use super::super::frame::{Batch, Op};
use super::super::keys::{self, Tree};
use super::super::notice::{NewNotice, NoticeV1};
use super::super::records::{
    Blob, ClaimState, ClaimV1, Kind, MetaV1, SagaClaimsV1, encode_as, strict_encode,
};
use super::super::samples::Samples;
use super::super::snapshot::{self, Item, SnapshotWriter, Totals};
use super::super::{Store, verify_backup};
use super::*;
use crate::domain::{FileDigest, NoticeId, SagaId, SpoolFile, Timestamp};
use crate::saga::document::state::{SourceFile, TimerKind};
use crate::saga::document::{Claim, DocumentSaga, Step, Timer, Work};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::sync::Arc;

const FILE: &[u8] = b"%PDF-1.4 what was agreed upon";
/// The year 2200: no timer of a kept store is ever due.
const FAR: Timestamp = Timestamp(7_258_118_400_000);
/// Versions of documents that were ever written.
const VERSIONS: [u16; 3] = [1, 2, 3];

fn kept(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/stores/documents-v{version}.backup"))
}

#[expect(clippy::disallowed_methods, reason = "a wish of whoever runs the tests, not of the service")]
fn is_to_be_kept() -> bool {
    std::env::var_os("EDOBRIDGE_KEEP_STORES").is_some()
}

/// A document of each version, put where a store may hold it.
macro_rules! settled {
    ($sample:expr, $id:expr, $step:expr) => {{
        let mut saga = $sample;
        saga.id = SagaId::from_u128($id);
        saga.step = $step;
        saga.work = Work::Idle;
        saga.timer = $step.is_live().then_some(Timer { due: FAR, kind: TimerKind::Start });
        saga.step_since = Timestamp(1_700_000_000_000);
        saga.revision = 1;
        saga.dead_letter = None;
        saga.signed = None;
        let bytes =
            SpoolFile { digest: FileDigest(Sha256::digest(FILE).into()), size_bytes: FILE.len() as u64 };
        saga.file =
            Some(SourceFile { name: "contract.pdf".into(), folder_id: Some(7), version: None, bytes });
        saga
    }};
}

/// The bytes of a document as its version has them, and what it means today.
fn document(version: u16, id: u128, step: Step) -> (Vec<u8>, DocumentSaga) {
    let mut samples = Samples::of_kept_store(u64::try_from(id).expect("a small number"));
    match version {
        1 => {
            let old = settled!(samples.saga_v1(), id, step);
            (encode_as(Kind::Document, 1, &old), old.into())
        }
        2 => {
            let mut old = settled!(samples.saga_v2(), id, step);
            old.ending = None;
            (encode_as(Kind::Document, 2, &old), old.into())
        }
        _ => {
            let mut present = settled!(samples.saga(), id, step);
            (present.ending, present.own) = (None, None);
            (encode_as(Kind::Document, 3, &present), present)
        }
    }
}

fn documents(version: u16) -> Vec<(Vec<u8>, DocumentSaga)> {
    [(1, Step::Create), (2, Step::Delivered), (3, Step::Create)]
        .map(|(id, step)| document(version, id, step))
        .to_vec()
}

/// What a store holds of a document, in the order of the trees.
fn entries_of(raw: &[u8], saga: &DocumentSaga) -> Vec<(Tree, Vec<u8>, Vec<u8>)> {
    let claim = Claim::Source(format!("main/drive/{}", saga.id.as_u128()));
    let held = ClaimV1 { saga: saga.id, state: ClaimState::Held };
    let line = Samples::of_kept_store(1).history();
    let mut entries = vec![
        (Tree::Saga, keys::saga(saga.id), raw.to_vec()),
        (Tree::History, keys::history(saga.id, 0, 0), encode_as(Kind::History, 1, &line)),
        (Tree::Step, step_key(saga), Vec::new()),
        (Tree::Claim, keys::claim(&claim, saga.id), encode_as(Kind::Claim, 1, &held)),
        (
            Tree::SagaClaims,
            keys::saga(saga.id),
            encode_as(Kind::SagaClaims, 1, &SagaClaimsV1 { claims: vec![claim] }),
        ),
    ];
    entries.extend(timer_key(saga).map(|key| (Tree::Timer, key, Vec::new())));
    if !saga.step.is_finished() {
        entries.extend(
            files_of(saga).into_iter().map(|d| (Tree::SpoolRef, keys::spool_ref(d, saga.id), Vec::new())),
        );
    }
    entries
}

fn notice() -> (Tree, Vec<u8>, Vec<u8>) {
    let notice =
        NoticeV1::from(&NewNotice { body: "a callback".into(), ..Samples::of_kept_store(1).new_notice() });
    (Tree::Notice, keys::notice(NoticeId(1)), encode_as(Kind::Notice, 1, &notice))
}

/// What FORMAT said when documents had this version.
fn format(version: u16) -> String {
    let mut format = Format::new([version.to_be_bytes()[1]; 16]);
    // Small files did not land yet.
    let last = [10, 11, 25][usize::from(version) - 1];
    format.kinds.retain(|(kind, _)| *kind <= last);
    format.kinds[0].1 = version;
    format.to_text()
}

/// Writes the kept store of this version: two documents and a notice that were read, one that came meanwhile.
fn make(version: u16, path: &Path) {
    let disk = Disk::real();
    let mut writer = SnapshotWriter::create(&disk, path, &format(version)).expect("begun");
    let documents = documents(version);
    let (read, came) = documents.split_at(2);
    let mut entries: Vec<_> = read.iter().flat_map(|(raw, saga)| entries_of(raw, saga)).collect();
    entries.push(notice());
    entries.push((Tree::Meta, keys::NUMBERS.to_vec(), encode_as(Kind::Meta, 1, &MetaV1 { next_notice: 2 })));
    entries.sort();
    for run in entries.chunk_by(|a, b| a.0 == b.0) {
        let pairs = run.iter().map(|(_, key, value)| (key.clone(), Bytes::from(value.clone()))).collect();
        writer.entries(run[0].0, pairs).expect("written");
    }
    let put = |(tree, key, value): (Tree, Vec<u8>, Vec<u8>)| Op::Put {
        tree: tree.code(),
        key: Blob(key.into()),
        value: Blob(value.into()),
    };
    let ops = came.iter().flat_map(|(raw, saga)| entries_of(raw, saga)).map(put).collect();
    writer.frame(6, 1, &strict_encode(&vec![Batch { ops }]).expect("small")).expect("written");
    writer.begin_file(FileDigest(Sha256::digest(FILE).into()), FILE.len() as u64).expect("written");
    writer.chunk(FILE).expect("written");
    writer.forget_manifest(3);
    writer.finish(6).expect("finished");
}

/// Everything in a backup: compared instead of its bytes, which depend on the version of zstd.
fn contents(path: &Path) -> (Vec<String>, Totals) {
    snapshot::check_sum(&Disk::real(), path).expect("whole");
    let mut items = Vec::new();
    let totals = snapshot::read(&Disk::real(), path, &mut |item: Item| {
        items.push(format!("{item:?}"));
        Ok(())
    });
    (items, totals.expect("sound"))
}

struct Bench {
    dir: tempfile::TempDir,
    disk: Arc<FaultyDisk>,
}

impl Bench {
    /// A store restored from the kept one.
    fn of(version: u16) -> Self {
        let bench =
            Self { dir: tempfile::tempdir().expect("a directory for the test"), disk: Arc::default() };
        restore_backup(&kept(version), &bench.store()).expect("restored");
        bench
    }
    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }
    fn backups(&self) -> PathBuf {
        self.dir.path().join("backups")
    }
    fn open(&self) -> Result<Store, OpenError> {
        let mut options = StoreOptions::new(self.store());
        (options.segment_bytes, options.min_free_bytes) = (256 << 10, 0);
        options.way_back = Some(self.backups());
        let host = Host { disk: Disk::hooked(self.disk.clone()), boot_id: Some("boot".into()) };
        open::open(options, host, &mut |_| {}).map(|(store, _)| store)
    }
    fn format(&self) -> String {
        std::fs::read_to_string(self.store().join("FORMAT")).expect("there is a FORMAT")
    }
}

async fn is_sound(store: &Store, version: u16) {
    let report = store.check_invariants().await.expect("checked");
    assert!(report.is_clean(), "version {version}: {:#?}", report.violations);
    assert_eq!(report.sagas, 3);
}

/// The version of the record as it is stored.
fn version_of(raw: &[u8]) -> u16 {
    u16::from_le_bytes([raw[4], raw[5]])
}

#[test]
fn kept_stores_are_what_was_written_into_them() {
    for version in VERSIONS {
        let made = tempfile::NamedTempFile::new().expect("a file for the test");
        make(version, made.path());
        if !kept(version).exists() && is_to_be_kept() {
            std::fs::create_dir_all(kept(version).parent().expect("a directory")).expect("made");
            std::fs::copy(made.path(), kept(version)).expect("kept");
        }
        assert_eq!(contents(&kept(version)), contents(made.path()), "version {version}");
    }
    let newest = Kind::ALL.iter().find(|(kind, _)| *kind == Kind::Document).expect("documents are kept").1;
    assert_eq!(VERSIONS.last(), Some(&newest), "keep a store of the new version too");
}

#[tokio::test]
async fn a_store_of_every_version_opens_is_understood_and_becomes_ours_record_by_record() {
    for version in VERSIONS {
        let bench = Bench::of(version);
        let store = bench.open().expect("it opens");
        is_sound(&store, version).await;
        for (raw, saga) in documents(version) {
            let stored = store.load(saga.id).await.expect("read").expect("there");
            assert_eq!(stored.saga, saga);
            assert_eq!(stored.raw, raw, "nobody has written it yet");
        }
        assert_eq!(store.notices(None, 10).await.expect("read").len(), 1);
        let first = store.load(SagaId::from_u128(1)).await.expect("read").expect("there");
        let saga = DocumentSaga { revision: 2, tries: 5, ..first.saga.clone() };
        store.commit(Commit::new(Some(first), saga)).await.expect("stored");
        store.close().await.expect("closed");
        let store = bench.open().expect("it opens again");
        is_sound(&store, version).await;
        let versions = async |id| {
            version_of(&store.load(SagaId::from_u128(id)).await.expect("read").expect("there").raw)
        };
        assert_eq!((versions(1).await, versions(2).await, versions(3).await), (3, version, version));
        assert_eq!(bench.format(), Format::new([version.to_be_bytes()[1]; 16]).to_text());
    }
}

#[tokio::test]
async fn the_program_before_gets_back_what_there_was_before_the_upgrade() {
    for version in VERSIONS {
        let bench = Bench::of(version);
        let before = bench.format();
        let store = bench.open().expect("it opens");
        let first = store.load(SagaId::from_u128(1)).await.expect("read").expect("there");
        let saga = DocumentSaga { revision: 2, ..first.saga.clone() };
        store.commit(Commit::new(Some(first), saga)).await.expect("stored");
        store.close().await.expect("closed");
        assert_ne!(bench.format(), before, "the program before refuses it now");
        drop(bench.open().expect("it opens again"));
        let backups = super::super::disk::list_dir(&bench.backups()).expect("listed");
        let [way_back] = backups.as_slice() else { panic!("one backup: {backups:?}") };
        let verified = verify_backup(way_back, None).expect("verified");
        assert_eq!(verified.faults(), Vec::<String>::new());
        let again = bench.dir.path().join("again");
        unpack(&Disk::real(), way_back, &again).expect("restored");
        assert_eq!(std::fs::read_to_string(again.join("FORMAT")).expect("read"), before);
        let (items, _) = contents(way_back);
        for (raw, _) in documents(version) {
            let shown = format!("{:?}", Bytes::from(raw));
            assert!(items.iter().any(|item| item.contains(&shown)), "every record is as it was");
        }
    }
}

#[tokio::test]
async fn an_upgrade_that_is_broken_off_anywhere_leaves_the_old_store_or_the_new_one() {
    let (old, new) = (format(1), Format::new([1; 16]).to_text());
    let mut broken_off = 0;
    for at in [FaultAt::Write, FaultAt::Sync, FaultAt::Create, FaultAt::Rename] {
        for after in 0.. {
            let bench = Bench::of(1);
            let done_all_the_same = if after % 2 == 0 { DoneAllTheSame::No } else { DoneAllTheSame::Yes };
            let fault = Fault { after, done_all_the_same, ..Fault::always(at, "", 5) };
            bench.disk.plan(fault);
            let outcome = bench.open();
            let struck = bench.disk.struck();
            drop(outcome);
            bench.disk.clear();
            if struck == 0 {
                break;
            }
            broken_off += 1;
            let format = bench.format();
            assert!(format == old || format == new, "{at:?} {after}: {format}");
            if format == new {
                let backups = super::super::disk::list_dir(&bench.backups()).expect("listed");
                let whole = backups.iter().filter(|path| snapshot::check_sum(&Disk::real(), path).is_ok());
                assert_eq!(whole.count(), 1, "{at:?} {after}: no new store without a way back");
            }
            let store = bench.open().unwrap_or_else(|error| panic!("{at:?} {after}: {error}"));
            is_sound(&store, 1).await;
            store.close().await.expect("closed");
            assert_eq!(bench.format(), new);
        }
    }
    assert!(broken_off > 20, "too few places to prove anything: {broken_off}");
}

#[test]
fn without_room_for_the_way_back_nothing_is_changed() {
    let bench = Bench::of(2);
    bench.disk.plan(Fault::always(FaultAt::Write, BEFORE_UPGRADE, 28));
    let refused = bench.open().map(drop).expect_err("refused");
    assert!(matches!(&refused, OpenError::NoWayBack { .. }), "{refused}");
    assert!(refused.text().ru.contains("backup_before_upgrade"), "the way on is named");
    assert_eq!(bench.format(), format(2));
    bench.disk.clear();
    bench.open().expect("it opens when there is room");
}

/// As `doctor` does before the service starts: nothing is written, and it opens all the same.
#[tokio::test]
async fn a_restored_store_opens_as_often_as_one_likes_before_anything_is_written() {
    let bench = Bench::of(3);
    for _ in 0..3 {
        let store = bench.open().expect("it opens");
        is_sound(&store, 3).await;
        store.close().await.expect("closed");
    }
    drop(bench.open().expect("it opens"));
    let store = bench.open().expect("it opens after a death, too");
    let first = store.load(SagaId::from_u128(1)).await.expect("read").expect("there");
    let saga = DocumentSaga { revision: 2, ..first.saga.clone() };
    store.commit(Commit::new(Some(first), saga)).await.expect("stored");
    drop(store);
    let store = bench.open().expect("it opens");
    assert_eq!(store.load(SagaId::from_u128(1)).await.expect("read").expect("there").saga.revision, 2);
}

#[test]
fn the_newest_two_ways_back_are_kept_and_nothing_else_goes() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    for sequence in [7, 9, 10_000] {
        std::fs::write(path_of(dir.path(), sequence), "x").expect("planted");
    }
    let other = dir.path().join("before-upgrade-by-hand.backup");
    std::fs::write(&other, "x").expect("planted");
    thin_out(dir.path()).expect("thinned out");
    assert!(!path_of(dir.path(), 7).exists() && path_of(dir.path(), 9).exists());
    assert!(path_of(dir.path(), 10_000).exists() && other.exists());
}
