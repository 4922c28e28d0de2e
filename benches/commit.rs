//! Durable writes a second of the store: notices accepted, and steps of documents committed, by one caller and by
//! 64 at once. Beside it the limit: a plain append file with group commit that takes records of the same size.
#![allow(clippy::print_stdout, reason = "a bench reports to the console")]

mod support;

use edobridge::domain::Timestamp;
use edobridge::saga::document::{Policy, Step};
use edobridge::store::{
    CommitError, GroupTiming, NewNotice, NoticeKind, Store, StoreError, StoreObserver, StoreOptions,
};
use futures_util::future::try_join_all;
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::figures::{median, rate};
use support::group_log::GroupLog;
use support::happy_path::{self, Files, NOW};
use support::{knobs, process};

/// One, and as many as the service has in hand at once.
const CALLERS: [usize; 2] = [1, 64];

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Accept,
    Commit,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept a notice",
            Self::Commit => "commit a step",
        }
    }
}

/// Counts what the store's writer does.
#[derive(Default)]
struct Groups {
    groups: AtomicU64,
    commands: AtomicU64,
    bytes: AtomicU64,
}

impl StoreObserver for Groups {
    fn group(&self, group: GroupTiming) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.commands.fetch_add(group.commands as u64, Ordering::Relaxed);
        self.bytes.fetch_add(group.bytes as u64, Ordering::Relaxed);
    }

    fn command(&self, _: Duration) {}
}

impl Groups {
    fn now(&self) -> [u64; 3] {
        [&self.groups, &self.commands, &self.bytes].map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// What is measured: a store that has its files, and a log on the same disk.
struct Bench {
    store: Store,
    groups: Arc<Groups>,
    log: GroupLog,
    files: Files,
    policy: Policy,
    /// Numbers of documents and notices, so that each is a new one.
    next: Cell<u64>,
}

/// One measurement.
struct Run {
    per_second: f64,
    cpu_us: f64,
    bytes: u64,
    group: f64,
}

impl Bench {
    async fn open(dir: &Path) -> Self {
        let (store, _) =
            Store::open(StoreOptions::new(dir.join("store")), &mut |_| {}).expect("a new store opens");
        let groups = Arc::new(Groups::default());
        store.observe(groups.clone());
        let log = GroupLog::create(&dir.join("log")).expect("a new log is made");
        let files = happy_path::spooled(&store).await.expect("the spool takes two small files");
        let bench = Self { store, groups, log, files, policy: happy_path::policy(), next: Cell::new(1) };
        bench.keep_files().await.expect("a healthy store takes everything");
        bench
    }

    /// A document that never ends and names both files, so that they stay in the spool although the others end.
    async fn keep_files(&self) -> Result<(), CommitError> {
        let first = happy_path::first(0, NOW, &self.policy);
        let mut stored = self.store.commit(happy_path::commit_of(None, first)).await?;
        while stored.saga.step != Step::ScanFolder {
            let next = happy_path::next(&stored.saga, self.files, NOW, &self.policy);
            let next = next.expect("the path leads there");
            stored = self.store.commit(happy_path::commit_of(Some(stored), next)).await?;
        }
        Ok(())
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    async fn accept(&self) -> Result<(), StoreError> {
        let body = format!(
            "event=ONCRMDEALUPDATE&data%5BFIELDS%5D%5BID%5D={:010}&ts=1766047124{}",
            self.number(),
            "&auth%5Bdomain%5D=portal.romashka.example".repeat(10)
        );
        let notice = NewNotice {
            kind: NoticeKind::BitrixEvent,
            portal: Some(happy_path::portal()),
            received_at: Timestamp(NOW.0),
            content_type: "application/x-www-form-urlencoded".to_owned(),
            body: body.into(),
        };
        self.store.accept(notice).await.map(drop)
    }

    /// Documents from trigger to delivery, one after the other; says how many steps that were.
    async fn live(&self, until: Instant) -> Result<u64, CommitError> {
        let mut commits = 0;
        while Instant::now() < until {
            commits += self.document().await?;
        }
        Ok(commits)
    }

    /// One document from trigger to delivery; says how many steps that were.
    async fn document(&self) -> Result<u64, CommitError> {
        let mut next = Some(happy_path::first(self.number(), NOW, &self.policy));
        let (mut previous, mut commits) = (None, 0);
        while let Some(step) = next {
            let stored = self.store.commit(happy_path::commit_of(previous, step)).await?;
            commits += 1;
            next = happy_path::next(&stored.saga, self.files, NOW, &self.policy);
            previous = Some(stored);
        }
        Ok(commits)
    }

    /// What a whole document costs on disk.
    async fn print_document(&self) {
        let [_, _, before] = self.groups.now();
        let commits = self.document().await.expect("a healthy store takes everything");
        let [_, _, after] = self.groups.now();
        println!(
            "a document from trigger to delivery: {commits} commits, {} bytes of journal",
            after - before
        );
    }

    async fn accepts(&self, until: Instant) -> Result<u64, StoreError> {
        let mut count = 0;
        while Instant::now() < until {
            self.accept().await?;
            count += 1;
        }
        Ok(count)
    }

    async fn store_run(&self, work: Work, callers: usize) -> Run {
        let (before, cpu, since) = (self.groups.now(), process::cpu_time(std::process::id()), Instant::now());
        let until = since + knobs::run_time();
        let counts = match work {
            Work::Accept => {
                try_join_all((0..callers).map(|_| self.accepts(until))).await.map_err(CommitError::from)
            }
            Work::Commit => try_join_all((0..callers).map(|_| self.live(until))).await,
        };
        let count: u64 = counts.expect("a healthy store takes everything").iter().sum();
        let took = since.elapsed();
        let after = self.groups.now();
        let [groups, commands, bytes] = [0, 1, 2].map(|at| after[at] - before[at]);
        Run {
            per_second: rate(count, took),
            cpu_us: cpu_us_each(cpu, count),
            bytes: bytes / commands.max(1),
            group: commands as f64 / groups.max(1) as f64,
        }
    }

    async fn log_run(&self, bytes: u64, callers: usize) -> Run {
        let (cpu, since) = (process::cpu_time(std::process::id()), Instant::now());
        let until = since + knobs::run_time();
        let record = vec![0x5a; usize::try_from(bytes).expect("records are small")];
        let append = async || {
            let mut count = 0;
            while Instant::now() < until {
                self.log.append(record.clone()).await;
                count += 1;
            }
            count
        };
        let count: u64 = futures_util::future::join_all((0..callers).map(|_| append())).await.iter().sum();
        Run { per_second: rate(count, since.elapsed()), cpu_us: cpu_us_each(cpu, count), bytes, group: 0.0 }
    }

    async fn compare(&self, work: Work, callers: usize) {
        let (mut stores, mut logs) = (Vec::new(), Vec::new());
        for _ in 0..knobs::rounds() {
            let run = self.store_run(work, callers).await;
            logs.push(self.log_run(run.bytes, callers).await);
            stores.push(run);
        }
        let of = |runs: &[Run], figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
        let (store, log) = (of(&stores, |run| run.per_second), of(&logs, |run| run.per_second));
        println!(
            "{:<16} {callers:>3} callers: store {store:>8.0}/s ({:.0} us CPU, {:.0} bytes, {:.1} in a sync), \
             plain log {log:>8.0}/s ({:.0} us CPU), {:.0} %",
            work.name(),
            of(&stores, |run| run.cpu_us),
            of(&stores, |run| run.bytes as f64),
            of(&stores, |run| run.group),
            of(&logs, |run| run.cpu_us),
            store / log * 100.0
        );
    }
}

/// Processor time of this whole process since `before`, microseconds for each of `count`.
fn cpu_us_each(before: Duration, count: u64) -> f64 {
    let spent = process::cpu_time(std::process::id()).saturating_sub(before);
    spent.as_secs_f64() * 1e6 / count.max(1) as f64
}

fn main() {
    if !knobs::is_bench() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    process::warn_unless_on_disk(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let bench = Bench::open(dir.path()).await;
        bench.print_document().await;
        for work in [Work::Accept, Work::Commit] {
            for callers in CALLERS {
                bench.compare(work, callers).await;
            }
        }
        bench.store.close().await.expect("the store closes");
    });
}
