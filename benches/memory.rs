//! What the real binary needs: size on disk, memory at rest, with 100,000 documents that wait for signatures, the
//! time to be ready again after SIGKILL with them, the same with a million (part `million`, only when it is named:
//! it takes many minutes and some 20 GB of disk), and memory while a file of 100 MB passes.
#![allow(clippy::print_stdout, reason = "a bench reports to the console")]

#[path = "../tests/support/mod.rs"]
mod stage;
mod support;
#[path = "support/million.rs"]
mod waiting;

use edobridge::commands::wiring;
use edobridge::config::{Config, Environment};
use edobridge::domain::{Clock as _, Timestamp};
use edobridge::saga::document::{Policy, Step};
use edobridge::store::{CommitError, Store};
use edobridge::telemetry::SystemClock;
use futures_util::future::try_join_all;
use stage::{Binary, Setting, Stage, get, pdf, wait_for};
use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::figures::{Targets, mebibytes};
use support::happy_path::{self, Files};
use support::process::{Memory, forget_peak, memory};
use support::{knobs, process};

const MIB: f64 = 1_048_576.0;
/// Documents made at the same time: fills the store's groups.
const CALLERS: u64 = 64;
/// The size of the large file, bytes.
const LARGE_FILE_BYTES: usize = 100_000_000;
/// Memory is at rest when it has not changed for so long.
const AT_REST: Duration = Duration::from_secs(3);
/// A process that is not at rest by then is measured as it is.
const AT_REST_MAX: Duration = Duration::from_secs(20);

/// How long a start is waited for: on a busy machine a million documents take minutes when the view is made anew.
const READY_MAX: Duration = Duration::from_secs(900);

/// A snapshot of 100,000 documents takes some seconds on a busy machine.
const SNAPSHOT_MAX: Duration = Duration::from_secs(30);

/// A real installation's settings, and time enough for a large file on a busy machine.
fn settings() -> Vec<(&'static str, String)> {
    let long = [
        "EDOBRIDGE__PORTALS__0__TIMEOUTS__READ",
        "EDOBRIDGE__PORTALS__0__TIMEOUTS__CALL",
        "EDOBRIDGE__PORTALS__0__TIMEOUTS__TRANSFER",
        "EDOBRIDGE__EASYDOCS__TIMEOUTS__READ",
        "EDOBRIDGE__EASYDOCS__TIMEOUTS__CALL",
        "EDOBRIDGE__EASYDOCS__TIMEOUTS__TRANSFER",
    ];
    let long = long.map(|name| (name, "5m".to_owned()));
    knobs::real_settings().into_iter().chain(long).collect()
}

/// The same, and so little journal between two snapshots that one is taken right after the start.
fn settings_with_snapshot() -> Vec<(&'static str, String)> {
    let small = [
        ("EDOBRIDGE__STORE__CHECKPOINT_EVERY_BYTES", "16MiB"),
        ("EDOBRIDGE__STORE__SNAPSHOT_EVERY_BYTES", "16MiB"),
        ("EDOBRIDGE__LOG__FILTER", "info"),
    ];
    settings().into_iter().chain(small.map(|(name, value)| (name, value.to_owned()))).collect()
}

/// Starts the binary; says how long it took until it was ready.
fn start(stage: &Stage, settings: &[(&str, String)]) -> (Binary, Duration) {
    let since = Instant::now();
    let mut binary = Binary::spawn(stage, settings);
    while get(stage.operator, "/health/ready").is_none_or(|(status, _)| status != 200) {
        let ended = binary.child.try_wait().expect("a child can be asked");
        assert!(ended.is_none(), "edobridge ended while starting:\n{}", binary.log_tail());
        assert!(since.elapsed() < READY_MAX, "edobridge is not ready:\n{}", binary.log_tail());
        std::thread::sleep(Duration::from_millis(5));
    }
    (binary, since.elapsed())
}

/// Memory once it does not change any more.
fn at_rest(pid: u32) -> Memory {
    let begun = Instant::now();
    let (mut last, mut since) = (memory(pid), Instant::now());
    while since.elapsed() < AT_REST && begun.elapsed() < AT_REST_MAX {
        std::thread::sleep(Duration::from_millis(100));
        let now = memory(pid);
        if now.resident.abs_diff(last.resident) > 64 << 10 {
            (last, since) = (now, Instant::now());
        }
    }
    memory(pid)
}

fn print_memory(what: &str, memory: Memory) {
    println!(
        "  {what:<28} resident {:>10}, of that heap and stacks {:>10}, peak {:>10}",
        mebibytes(memory.resident),
        mebibytes(memory.anonymous),
        mebibytes(memory.peak)
    );
}

fn binary_size(targets: &mut Targets) {
    println!("binary");
    let path = env!("CARGO_BIN_EXE_edobridge");
    let bytes = std::fs::metadata(path).expect("the binary was built").len();
    targets.at_most("size of the binary", bytes as f64 / 1e6, 25.0, "MB");
}

fn idle(targets: &mut Targets) {
    println!("at rest, no documents");
    let stage = Stage::new(&Setting::default());
    let (binary, took) = start(&stage, &settings());
    let memory = at_rest(binary.child.id());
    print_memory("at rest", memory);
    println!("  ready after {} ms", took.as_millis());
    targets.at_most("resident memory at rest", memory.resident as f64 / MIB, 40.0, "MiB");
}

// ---- dormant documents ---------------------------------------------------------------------------------------

fn dormant(targets: &mut Targets) {
    let documents = knobs::number("DOCUMENTS", 100_000);
    println!("{documents} documents that wait for signatures");
    let stage = Stage::new(&Setting::default());
    process::warn_unless_on_disk(stage.dir.path());
    let since = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(make_documents(&stage, documents));
    println!("  made in {:.1} s, three steps each", since.elapsed().as_secs_f64());

    let (binary, took) = start(&stage, &settings_with_snapshot());
    println!("  ready {} ms after an orderly stop", took.as_millis());
    after_snapshot(&binary, targets);
    binary.kill();

    let (binary, took) = start(&stage, &settings());
    let memory = at_rest(binary.child.id());
    print_memory("at rest after SIGKILL", memory);
    targets.at_most("resident memory with them", memory.resident as f64 / MIB, 120.0, "MiB");
    targets.at_most("peak of it while starting", memory.peak as f64 / MIB, 120.0, "MiB");
    targets.at_most("ready after SIGKILL", took.as_secs_f64(), 3.0, "s");
    binary.kill();
    after_power_cut(&stage, documents, targets);
}

/// The store was left open by another boot: the view is made anew from the snapshot and the journal.
fn after_power_cut(stage: &Stage, documents: u64, targets: &mut Targets) {
    let marker = store_dir(stage).join("OPEN");
    std::fs::write(&marker, "another-boot").expect("the mark of an open store is written");
    let (binary, took) = start(stage, &settings());
    print_memory("at rest after a power cut", at_rest(binary.child.id()));
    let seconds = took.as_secs_f64();
    targets.at_most("ready after a power cut", seconds, documents as f64 * 50e-6 + 1.0, "s");
}

fn store_dir(stage: &Stage) -> PathBuf {
    wiring::store_options(&config_of(stage)).dir
}

fn config_of(stage: &Stage) -> Config {
    let loaded = Config::load(Some(&stage.config_path), &Environment::of(settings()));
    loaded.unwrap_or_else(|errors| panic!("refused: {:#?}", errors.problems)).config
}

/// A snapshot reads the whole view, and what the view has read it keeps for a while.
fn after_snapshot(binary: &Binary, targets: &mut Targets) {
    let since = Instant::now();
    let is_taken =
        || std::fs::read_to_string(&binary.log).is_ok_and(|log| log.contains("a snapshot was taken"));
    while !is_taken() {
        if since.elapsed() > SNAPSHOT_MAX {
            println!("  no snapshot was due: too few documents");
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let memory = at_rest(binary.child.id());
    print_memory("at rest after a snapshot", memory);
    targets.at_most("resident memory after it", memory.resident as f64 / MIB, 120.0, "MiB");
}

async fn make_documents(stage: &Stage, documents: u64) {
    let config = config_of(stage);
    let (store, _) = Store::open(wiring::store_options(&config), &mut |_| {}).expect("a new store opens");
    let files = happy_path::spooled(&store).await.expect("the spool takes two small files");
    let (policy, now, next) = (wiring::policy(&config), SystemClock.now(), Cell::new(0));
    let makers = (0..CALLERS).map(|_| async {
        while next.get() < documents {
            let number = next.replace(next.get() + 1);
            make_document(&store, number, files, now, &policy).await?;
        }
        Ok::<(), CommitError>(())
    });
    try_join_all(makers).await.expect("a healthy store takes everything");
    assert_eq!(store.counts().await.of(Step::AwaitSignature), documents);
    store.close().await.expect("the store closes");
}

/// Walks one document to where it waits, as the service would.
async fn make_document(
    store: &Store,
    number: u64,
    files: Files,
    now: Timestamp,
    policy: &Policy,
) -> Result<(), CommitError> {
    let first = happy_path::commit_of(None, happy_path::first(number, now, policy));
    let mut stored = store.commit(first).await?;
    while stored.saga.step != Step::AwaitSignature {
        let next = happy_path::next(&stored.saga, files, now, policy).expect("the path leads there");
        stored = store.commit(happy_path::commit_of(Some(stored), next)).await?;
    }
    Ok(())
}

// ---- a large file --------------------------------------------------------------------------------------------

fn large_file(targets: &mut Targets) {
    println!("a file of {} MB passes", LARGE_FILE_BYTES / 1_000_000);
    let stage = Stage::new(&Setting::default());
    let (binary, _) = start(&stage, &settings());
    let pid = binary.child.id();
    // one small file first: connections, certificates and code pages are not the large file's
    pass(&stage, "small.pdf", pdf(1, 20_000), 1);
    let before = at_rest(pid);
    print_memory("before", before);
    if let Err(error) = forget_peak(pid) {
        println!("  the peak cannot be begun anew ({error}): it counts from the start of the process");
    }
    let since = Instant::now();
    pass(&stage, "large.pdf", pdf(2, LARGE_FILE_BYTES), 2);
    println!("  there and back in {:.1} s", since.elapsed().as_secs_f64());
    let after = memory(pid);
    print_memory("after", after);
    let extra = after.peak.saturating_sub(before.resident);
    targets.at_most("extra memory at the peak", extra as f64 / MIB, 32.0, "MiB");
}

fn pass(stage: &Stage, name: &str, bytes: Vec<u8>, copies: usize) {
    stage.drop_file(name, bytes);
    wait_for("the signed copy is in the folder", || stage.signed_copies().len() >= copies);
}

fn main() {
    if !knobs::is_bench() {
        return;
    }
    let mut targets = Targets::default();
    // all parts, or those that `EDOBRIDGE_BENCH_ONLY` names
    let only = knobs::text("ONLY");
    let is_wanted = |name: &str| only.as_ref().is_none_or(|only| only.contains(name));
    if is_wanted("binary") {
        binary_size(&mut targets);
    }
    if is_wanted("idle") {
        idle(&mut targets);
    }
    if is_wanted("dormant") {
        dormant(&mut targets);
    }
    if only.is_some() && is_wanted("million") {
        waiting::million(&mut targets);
    }
    if is_wanted("file") {
        large_file(&mut targets);
    }
    targets.finish();
}
