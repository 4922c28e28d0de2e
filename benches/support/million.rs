//! A million documents that wait for signatures: how long until edobridge is ready with them, and how much memory it
//! takes, after an orderly stop, reads, a backup, a kill, and the loss of its view.
//!
//! `EDOBRIDGE_BENCH_DOCUMENTS` says how many, `EDOBRIDGE_BENCH_OWN_FILES=0` lets all share one file, and
//! `EDOBRIDGE_BENCH_STORE` names a directory in which the store is kept once it is made, so that another run begins
//! with a copy of it (a copy, because running changes it).

use super::stage::{Setting, Stage, request};
use super::support::figures::Targets;
use super::support::happy_path::{self, Files};
use super::support::process::Memory;
use super::support::{knobs, process};
use super::{MIB, at_rest, config_of, make_document, print_memory, settings, start, store_dir};
use edobridge::commands::wiring;
use edobridge::domain::{Clock as _, FileDigest, SagaId, SpoolFile, Timestamp};
use edobridge::saga::document::Step;
use edobridge::store::{CommitError, Store};
use edobridge::telemetry::SystemClock;
use futures_util::future::try_join_all;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Documents made at the same time: fills the store's groups.
const CALLERS: u64 = 256;
/// How many documents are read, at random places.
const READS: u64 = 10_000;
/// A backup of so many files takes minutes on a busy machine.
const BACKUP_MAX: Duration = Duration::from_secs(1_200);
/// The resident memory that is aimed at, MiB.
const RESIDENT: f64 = 400.0;
/// How long until it is ready, seconds.
const READY: f64 = 10.0;

/// The whole part.
pub fn million(targets: &mut Targets) {
    let documents = knobs::number("DOCUMENTS", 1_000_000);
    println!("{documents} documents that wait for signatures");
    let stage = Stage::new(&Setting::default());
    process::warn_unless_on_disk(stage.dir.path());
    prepare(&stage, documents);

    let (binary, took) = start(&stage, &settings());
    report(targets, "after an orderly stop", took, at_rest(binary.child.id()));
    let since = Instant::now();
    read_at_random(&stage, documents);
    println!("  {READS} reads in {:.1} s", since.elapsed().as_secs_f64());
    resident(targets, "after the reads", at_rest(binary.child.id()));
    let since = Instant::now();
    back_up(&stage);
    println!("  a backup in {:.1} s", since.elapsed().as_secs_f64());
    resident(targets, "after a backup", at_rest(binary.child.id()));
    binary.kill();

    let (binary, took) = start(&stage, &settings());
    report(targets, "after SIGKILL", took, at_rest(binary.child.id()));
    binary.kill();

    std::fs::write(store_dir(&stage).join("OPEN"), "another-boot")
        .expect("the mark of an open store is written");
    let (binary, took) = start(&stage, &settings());
    report(targets, "after a power cut", took, at_rest(binary.child.id()));
    binary.kill();
    let (binary, took) = start(&stage, &settings());
    report(targets, "after a kill after that", took, at_rest(binary.child.id()));
}

fn report(targets: &mut Targets, when: &str, took: Duration, memory: Memory) {
    targets.at_most(&format!("ready {when}"), took.as_secs_f64(), READY, "s");
    resident(targets, when, memory);
}

fn resident(targets: &mut Targets, when: &str, memory: Memory) {
    print_memory(when, memory);
    targets.at_most(&format!("resident {when}"), memory.resident as f64 / MIB, RESIDENT, "MiB");
    targets.at_most(&format!("peak {when}"), memory.peak as f64 / MIB, RESIDENT, "MiB");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("  load {}", load.trim());
}

// ---- making ----------------------------------------------------------------------------------------------------

/// Makes the store, or takes a copy of one that was kept.
fn prepare(stage: &Stage, documents: u64) {
    let kept = knobs::text("STORE").map(PathBuf::from);
    let dir = store_dir(stage);
    if let Some(kept) = kept.as_deref().filter(|kept| kept.exists()) {
        println!("  a copy of {}", kept.display());
        return copy(kept, &dir);
    }
    let since = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(make(stage, documents));
    println!("  made in {:.1} s", since.elapsed().as_secs_f64());
    if let Some(kept) = kept {
        copy(&dir, &kept);
    }
}

/// Files of the spool never change where each is one of the disk, so they are linked; everything else is copied.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the directory can be made");
    for entry in std::fs::read_dir(from).expect("the store can be listed") {
        let path = entry.expect("the store can be listed").path();
        let way = if path.ends_with("spool") { "-al" } else { "-a" };
        let status = Command::new("cp").arg(way).arg(&path).arg(to).status();
        assert!(status.is_ok_and(|status| status.success()), "{} cannot be copied", path.display());
    }
    let (from, to) = (from.join("spool/landing"), to.join("spool/landing"));
    for entry in std::fs::read_dir(&from).expect("the landing can be listed") {
        let slot = entry.expect("the landing can be listed").file_name();
        std::fs::remove_file(to.join(&slot)).expect("a link can be removed");
        std::fs::copy(from.join(&slot), to.join(&slot)).expect("a slot can be copied");
    }
}

async fn make(stage: &Stage, documents: u64) {
    let config = config_of(stage);
    let (store, _) = Store::open(wiring::store_options(&config), &mut |_| {}).expect("a new store opens");
    let shared = happy_path::spooled(&store).await.expect("the spool takes two small files");
    let own_files = knobs::number("OWN_FILES", 1) != 0;
    let (policy, now, next) = (wiring::policy(&config), SystemClock.now(), Cell::new(0));
    let makers = (0..CALLERS).map(|_| async {
        while next.get() < documents {
            let number = next.replace(next.get() + 1);
            let files = if own_files { own_file(&store, number, shared) } else { shared };
            make_document(&store, number, files, now, &policy).await?;
        }
        Ok::<(), CommitError>(())
    });
    try_join_all(makers).await.expect("a healthy store takes everything");
    assert_eq!(store.counts().await.of(Step::AwaitSignature), documents);
    store.close().await.expect("the store closes");
}

/// Puts the original of one document where the spool would, without syncing it: a million syncs take an hour.
fn own_file(store: &Store, number: u64, shared: Files) -> Files {
    let bytes = format!("%PDF-1.4 the original of document {number}");
    let digest = FileDigest(Sha256::digest(bytes.as_bytes()).into());
    put(&store.spool().path(digest), bytes.as_bytes()).expect("a file is written");
    Files { source: SpoolFile { digest, size_bytes: bytes.len() as u64 }, ..shared }
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::write(path, bytes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path.parent().expect("a file of the spool lies in a directory"))?;
            std::fs::write(path, bytes)
        }
        written => written,
    }
}

// ---- asking ----------------------------------------------------------------------------------------------------

/// When the documents were triggered, from the beginning of an id.
fn triggered_at(stage: &Stage) -> Timestamp {
    let list = ask(stage, "GET", "/admin/v1/documents?limit=1", "").expect("a list of documents").1;
    let list: serde_json::Value = serde_json::from_str(&list).expect("the list is JSON");
    let id: SagaId = list["items"][0]["id"].as_str().and_then(|id| id.parse().ok()).expect("a document");
    Timestamp(i64::try_from(id.as_u128() >> 80).expect("48 bits"))
}

fn read_at_random(stage: &Stage, documents: u64) {
    let (since, mut at) = (triggered_at(stage), 1_u64);
    for _ in 0..READS {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = happy_path::saga_id((at >> 33) % documents, since);
        let status = ask(stage, "GET", &format!("/admin/v1/documents/{id}"), "").map(|(status, _)| status);
        assert_eq!(status, Some(200), "document {id}");
    }
}

/// Asks the operator's listener.
fn ask(stage: &Stage, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let (address, token, len) = (stage.operator, &stage.secrets().operator, body.len());
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n");
    let about =
        format!("Content-Type: application/json\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
    request(address, &[head, about, body.to_owned()].concat())
}

fn back_up(stage: &Stage) {
    let path = stage.dir.path().join("million.backup");
    let asked = ask(stage, "POST", "/admin/v1/backup", &format!(r#"{{"to":"{}"}}"#, path.display()));
    // it takes longer than a request may wait for its answer: the file tells when it is there
    let until = Instant::now() + BACKUP_MAX;
    while asked.as_ref().is_none_or(|(status, _)| *status != 200) && !path.exists() {
        assert!(Instant::now() < until, "there is no backup: {asked:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
