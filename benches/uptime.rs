//! 72 hours of uptime by a clock that runs fast: documents come all the time and are forgotten after a while; memory,
//! journal, spool and data directory must come to rest.
//!
//! The remotes answer at once and remember nothing, so that they grow no slower with time.
//! The service runs in a process of its own, with the clock of this bench in place of the system's: what waits, waits a
//! shorter time, and nothing else is different. `EDOBRIDGE_BENCH_SPEED` (600) times as fast, `EDOBRIDGE_BENCH_HOURS`
//! (72), `EDOBRIDGE_BENCH_PER_HOUR` (60) documents an hour. Faster than that, the pauses of a busy machine become hours, in
//! which attempts count as lost.
#![allow(clippy::print_stdout, reason = "a bench reports to the console")]

#[path = "../tests/support/mod.rs"]
mod stage;
mod support;

use edobridge::commands::service::Service;
use edobridge::config::{Config, Environment};
use edobridge::domain::{Clock, Timestamp};
use edobridge::telemetry::{Metrics, SystemClock};
use stage::{Setting, Stage, get, request};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::figures::{Targets, mebibytes};
use support::knobs;
use support::load::{self, Webhook};
use support::process::{self, OwnServer};
use support::remotes::{self, Counts};

/// Hours between two lines of the output.
const SHOWN_HOURS: u64 = 6;
/// Ids of source files; the copies that come back have others.
const FIRST_FILE: u64 = 1_000_000;

/// Runs so many times as fast as the system's clock, from the same beginning.
struct FastClock {
    began: Timestamp,
    since: Instant,
    speed: u64,
}

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        let ms = self.since.elapsed().as_millis() as u64 * self.speed;
        Timestamp(self.began.0.saturating_add_unsigned(ms))
    }
}

fn speed() -> u64 {
    knobs::number("SPEED", 600).max(1)
}

/// `--serve remotes <our address> <secret of the callbacks>`, `--serve service <configuration>`
fn serve(arguments: &[String]) {
    match arguments {
        [kind, target, secret] if kind == "remotes" => {
            let target = (target.parse().expect("an address"), secret.clone());
            actix::System::new().block_on(remotes::serve(Some(target)));
        }
        [kind, path] if kind == "service" => serve_edobridge(path),
        _ => panic!("the servers are started by the bench"),
    }
}

fn serve_edobridge(path: &str) {
    let loaded = Config::load(Some(Path::new(path)), &Environment::of(settings()));
    let config =
        loaded.unwrap_or_else(|errors| panic!("the configuration is refused: {:#?}", errors.problems)).config;
    let clock = FastClock { began: SystemClock.now(), since: Instant::now(), speed: speed() };
    actix::System::new().block_on(async {
        let started = Service::start(&config, Arc::new(clock), Arc::new(Metrics::new()), |_| {}).await;
        let service = started.unwrap_or_else(|error| panic!("edobridge does not start: {error}"));
        process::announce(service.public_addr());
        std::future::pending::<()>().await;
    });
}

/// Small enough that everything that turns over does so many times.
fn settings() -> Vec<(&'static str, String)> {
    [
        ("EDOBRIDGE__STORE__KEEP_FINISHED", "6h"),
        ("EDOBRIDGE__STORE__SEGMENT_BYTES", "1MiB"),
        ("EDOBRIDGE__STORE__CHECKPOINT_EVERY_BYTES", "1MiB"),
        ("EDOBRIDGE__STORE__SNAPSHOT_EVERY_BYTES", "4MiB"),
        ("EDOBRIDGE__STORE__MIN_FREE_DISK", "256MiB"),
        ("EDOBRIDGE__PUBLIC__WEBHOOK_PER_MINUTE", "10000000"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

#[derive(Debug, Clone, Copy)]
struct Look {
    hour: u64,
    resident: u64,
    directory: u64,
    documents: u64,
}

/// What the store consists of, each part with what it has on the disk.
fn parts_of(path: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(path) else { return String::new() };
    let mut parts: Vec<(String, u64)> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), directory_bytes(&entry.path())))
        .collect();
    parts.sort();
    parts.iter().map(|(name, bytes)| format!("  {name} {}", mebibytes(*bytes))).collect()
}

fn directory_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => directory_bytes(&entry.path()),
            // What is on the disk, not what the file's length says: segments are made ahead.
            Ok(found) => std::os::unix::fs::MetadataExt::blocks(&found) * 512,
            Err(_) => 0,
        })
        .sum()
}

/// All documents on record, whatever their step.
fn documents_on_record(stage: &Stage) -> u64 {
    let (host, token) = (stage.operator, &stage.secrets().operator);
    let question = format!(
        "GET /admin/v1/counts HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    let (status, body) = request(host, &question).expect("the operator's listener answers");
    assert_eq!(status, 200, "{body}");
    let counts: serde_json::Value = serde_json::from_str(&body).expect("the answer is JSON");
    let steps = counts["steps"].as_array().expect("the answer lists the steps");
    steps.iter().filter_map(|step| step["count"].as_u64()).sum()
}

/// Each hour is looked at, because the directory rises and falls with each snapshot; every sixth is shown.
fn look(stage: &Stage, server: &OwnServer, hour: u64) -> Look {
    let found = Look {
        hour,
        resident: process::memory(server.pid()).resident,
        directory: directory_bytes(&stage.data_dir()),
        documents: documents_on_record(stage),
    };
    if hour.is_multiple_of(SHOWN_HOURS) {
        println!(
            "  hour {:>3}   resident {:>10}   data directory {:>10}   documents on record {:>6}  {}",
            found.hour,
            mebibytes(found.resident),
            mebibytes(found.directory),
            found.documents,
            parts_of(&stage.data_dir().join("store"))
        );
    }
    found
}

fn most(looks: &[Look], of: impl Fn(&Look) -> u64) -> f64 {
    looks.iter().map(of).max().unwrap_or_default() as f64
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--serve") {
        return serve(&arguments[at + 1..]);
    }
    if !knobs::is_bench() {
        return;
    }
    let (hours, per_hour) = (knobs::number("HOURS", 72), knobs::number("PER_HOUR", 60));
    let stage = Stage::new(&Setting::default());
    process::warn_unless_on_disk(stage.dir.path());
    let (public, secrets) = (stage.public, stage.secrets());
    let world = OwnServer::start(&["remotes", &public.to_string(), &secrets.callback]);
    remotes::point_at(&stage.config_path, stage.folder, public, world.address);
    let server = OwnServer::start(&["service", &stage.config_path.display().to_string()]);
    assert!(get(stage.operator, "/health/live").is_some(), "the service answers");
    println!("{hours} hours, {per_hour} documents an hour, {} times as fast", speed());
    let hour = Duration::from_secs_f64(3_600.0 / speed() as f64);
    let webhook = Webhook::file_added(public, &secrets.application_token);
    let (since, mut looks, mut last_file) = (Instant::now(), Vec::new(), FIRST_FILE);
    for n in 1..=hours {
        let sent = load::exactly(public, &webhook, 1, per_hour, &mut last_file);
        let sent = actix::System::new().block_on(sent).expect("the service takes events all the time");
        assert_eq!(sent.refused, 0, "every event is taken");
        std::thread::sleep(hour.mul_f64(n as f64).saturating_sub(since.elapsed()));
        looks.push(look(&stage, &server, n));
    }
    let sent = last_file - FIRST_FILE;
    let counts = || Counts::of(&get(world.address, "/counts").expect("the remotes answer").1);
    let patience = Instant::now() + stage::PATIENCE;
    while counts().notices < sent && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(50));
    }
    let Counts { creates, uploads, notices, .. } = counts();
    println!("  {sent} documents sent, {creates} created, {uploads} signed copies, {notices} notices");
    assert_eq!((creates, uploads, notices), (sent, sent, sent), "each document has one of each");
    let (_, later) = looks.split_at(looks.len() / 3);
    let (middle, last) = later.split_at(later.len() / 2);
    let mut targets = Targets::default();
    let growth = |of: fn(&Look) -> u64| most(last, of) / most(middle, of).max(1.0) * 100.0;
    targets.at_most("memory, the last third against the one before", growth(|l| l.resident), 105.0, "%");
    targets.at_most("data directory, likewise", growth(|l| l.directory), 110.0, "%");
    let kept = (6 * per_hour) as f64;
    targets.at_most(
        "documents on record against those of six hours",
        most(last, |l| l.documents) / kept,
        1.6,
        "",
    );
    targets.finish();
}
