//! From a webhook on the wire to its 200, over real sockets, by 1, 64 and 256 senders at once.
//!
//! | | what answers | what it shows |
//! |---|---|---|
//! | a | bare actix-web, no store | what HTTP alone allows |
//! | b | our doors in front of a plain log with group commit | what a durable answer can cost at best |
//! | s | our doors in front of our store, notices are settled unread | what the store adds |
//! | c | edobridge itself | what actors, routing and settling of every notice add |
//!
//! Each is a process of its own, so that its processor time can be told from the load's. `c` gets events that no rule
//! wants: each is accepted, routed and settled, that is two durable writes; what is left to work off after the last
//! answer is waited for, and counted as processor time of `c`.
#![allow(clippy::print_stdout, reason = "a bench reports to the console")]

#[path = "../tests/support/mod.rs"]
mod stage;
mod support;

use actix_web::{App, HttpResponse, HttpServer, web};
use edobridge::actors::AcceptError;
use edobridge::commands::wiring;
use edobridge::config::{Config, Environment};
use edobridge::domain::{Clock as _, NoticeId, Timestamp};
use edobridge::http::intake::Intake;
use edobridge::http::listener;
use edobridge::store::{Accepted, NewNotice, Store};
use edobridge::telemetry::{Metrics, SystemClock};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use stage::{Binary, Setting, Stage};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::figures::{Targets, median, millis, percentile, rate};
use support::group_log::GroupLog;
use support::load::{self, Webhook};
use support::process::OwnServer;
use support::{knobs, process};

const SENDERS: [usize; 3] = [1, 64, 256];
/// How long `c` may take to work off what a run has left.
const WORK_OFF_MAX: Duration = Duration::from_secs(120);

// ---- servers, each in a process of its own -------------------------------------------------------------------

/// Our doors in front of a plain log.
struct LogIntake(GroupLog);

impl Intake for LogIntake {
    fn accept(&self, notice: NewNotice) -> LocalBoxFuture<'_, Result<Accepted, AcceptError>> {
        async move {
            let id = NoticeId(self.0.append(record_of(&notice)).await);
            Ok(Accepted { id, fresh: true })
        }
        .boxed_local()
    }
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}

/// The same bytes as the store keeps of a notice: its fields, a digest, and two keys.
fn record_of(notice: &NewNotice) -> Vec<u8> {
    let mut record = Vec::with_capacity(notice.body.len() + 256);
    record.extend_from_slice(&[0; 120]);
    record.extend_from_slice(notice.content_type.as_bytes());
    record.extend_from_slice(&notice.body);
    record
}

/// How often the store alone settles what it has taken.
const SETTLE_EVERY: Duration = Duration::from_millis(5);

/// Our doors in front of our store.
struct StoreIntake {
    store: Store,
    /// What is to be settled: a store takes no more when too much piles up.
    taken: Arc<Mutex<Vec<NoticeId>>>,
}

impl StoreIntake {
    fn over(store: Store) -> Self {
        let taken = Arc::<Mutex<Vec<NoticeId>>>::default();
        let (settler, settled) = (store.clone(), Arc::clone(&taken));
        actix::spawn(async move {
            loop {
                tokio::time::sleep(SETTLE_EVERY).await;
                let ids = std::mem::take(&mut *settled.lock().expect("nobody dies with the lock"));
                if !ids.is_empty() {
                    settler.settle_done(ids).await.expect("a healthy store settles");
                }
            }
        });
        Self { store, taken }
    }
}

impl Intake for StoreIntake {
    fn accept(&self, notice: NewNotice) -> LocalBoxFuture<'_, Result<Accepted, AcceptError>> {
        async move {
            let accepted = self.store.accept(notice).await;
            let accepted = accepted.map_err(|error| AcceptError::Unavailable { reason: error.text() })?;
            self.taken.lock().expect("nobody dies with the lock").push(accepted.id);
            Ok(accepted)
        }
        .boxed_local()
    }
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}

fn config_of(path: &Path) -> Config {
    let loaded = Config::load(Some(path), &Environment::of(knobs::real_settings()));
    loaded.unwrap_or_else(|errors| panic!("the configuration is refused: {:#?}", errors.problems)).config
}

async fn serve_bare(workers: usize) {
    let server = HttpServer::new(|| {
        App::new().route(
            "/bitrix/webhook",
            web::post().to(|_: web::Bytes| async {
                HttpResponse::Ok().content_type("application/json").body(r#"{"ok":true}"#)
            }),
        )
    })
    .workers(workers)
    .disable_signals()
    .bind("127.0.0.1:0")
    .expect("a free port");
    process::announce(server.addrs()[0]);
    server.run().await.expect("the server runs until it is killed");
}

async fn serve_doors(config: &Config, intake: Arc<dyn Intake>) {
    let mut settings = wiring::http_settings(config).expect("the settings are usable").public;
    settings.listen = ([127, 0, 0, 1], 0).into();
    let opened = listener::public_alone(intake, Arc::new(Metrics::new()), &settings);
    let (address, server) = opened.expect("a free port");
    process::announce(address);
    server.await.expect("the server runs until it is killed");
}

/// `--serve <kind> <configuration> <directory>`.
fn serve(arguments: &[String]) {
    let [kind, config, dir] = arguments else { panic!("a server of this bench is started by the bench") };
    let (config, dir) = (config_of(Path::new(config)), Path::new(dir));
    actix::System::new().block_on(async {
        match kind.as_str() {
            "bare" => serve_bare(config.public.workers).await,
            "log" => {
                let log = GroupLog::create(&dir.join("plain-log")).expect("a new log is made");
                serve_doors(&config, Arc::new(LogIntake(log))).await;
            }
            "store" => {
                let mut options = wiring::store_options(&config);
                options.dir = dir.join("store-alone");
                let (store, _) = Store::open(options, &mut |_| {}).expect("a new store opens");
                serve_doors(&config, Arc::new(StoreIntake::over(store))).await;
            }
            other => panic!("there is no server `{other}`"),
        }
    });
}

// ---- measuring -----------------------------------------------------------------------------------------------

enum Server {
    Own(OwnServer),
    Whole { binary: Binary, address: SocketAddr },
}

impl Server {
    fn pid(&self) -> u32 {
        match self {
            Self::Own(server) => server.pid(),
            Self::Whole { binary, .. } => binary.child.id(),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Own(server) => server.address,
            Self::Whole { address, .. } => *address,
        }
    }
}

struct Contender {
    letter: char,
    name: &'static str,
    server: Server,
}

#[derive(Default)]
struct Runs {
    per_second: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    cpu_ms_per_thousand: Vec<f64>,
    load_cpu_ms_per_thousand: Vec<f64>,
    refused: u64,
    worked_off_s: f64,
}

/// All four, or those whose letters stand in `EDOBRIDGE_BENCH_ONLY` (for a profile of one of them).
fn contenders(stage: &Stage) -> Vec<Contender> {
    let only = knobs::text("ONLY");
    let wanted = [
        ('a', "bare actix-web", "bare"),
        ('b', "doors, plain log", "log"),
        ('s', "doors, our store", "store"),
        ('c', "edobridge", "whole"),
    ];
    let wanted = wanted.into_iter().filter(|(letter, ..)| only.as_ref().is_none_or(|o| o.contains(*letter)));
    wanted.map(|(letter, name, kind)| Contender { letter, name, server: start(stage, kind) }).collect()
}

fn start(stage: &Stage, kind: &str) -> Server {
    if kind == "whole" {
        let mut binary = Binary::spawn(stage, &knobs::real_settings());
        binary.wait_ready(stage.operator);
        return Server::Whole { binary, address: stage.public };
    }
    let (config, dir) = (stage.config_path.display().to_string(), stage.dir.path().display().to_string());
    Server::Own(OwnServer::start(&[kind, &config, &dir]))
}

/// Notices that wait in the inbox of the real binary.
fn pending(stage: &Stage) -> u64 {
    let (host, token) = (stage.operator, &stage.secrets().operator);
    let question = format!(
        "GET /admin/v1/counts HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    let (status, body) = stage::request(host, &question).expect("the operator's listener answers");
    assert_eq!(status, 200, "{body}");
    let counts: serde_json::Value = serde_json::from_str(&body).expect("the answer is JSON");
    counts["notices"].as_u64().expect("the answer has the number of notices")
}

fn wait_worked_off(stage: &Stage) -> Duration {
    let since = Instant::now();
    while pending(stage) > 0 {
        assert!(since.elapsed() < WORK_OFF_MAX, "{} notices are still waiting", pending(stage));
        std::thread::sleep(Duration::from_millis(20));
    }
    since.elapsed()
}

fn measure(contender: &Contender, stage: &Stage, senders: usize, last_id: &mut u64, runs: &mut Runs) {
    let (pid, me, address) = (contender.server.pid(), std::process::id(), contender.server.address());
    let webhook = Webhook::deal_changed(address, &stage.secrets().application_token);
    let (cpu, load_cpu, before) = (process::cpu_time(pid), process::cpu_time(me), *last_id);
    let outcome =
        actix::System::new().block_on(load::run(address, &webhook, senders, knobs::run_time(), last_id));
    let outcome = outcome.unwrap_or_else(|error| panic!("{}: the load broke off: {error}", contender.name));
    let load_cpu = process::cpu_time(me) - load_cpu;
    if matches!(contender.server, Server::Whole { .. }) {
        runs.worked_off_s = runs.worked_off_s.max(wait_worked_off(stage).as_secs_f64());
    }
    let thousands = (*last_id - before) as f64 / 1_000.0;
    let spent = process::cpu_time(pid) - cpu;
    runs.per_second.push(rate(outcome.answered, outcome.took));
    runs.p50_ms.push(percentile(&outcome.sorted_us, 500).as_secs_f64() * 1e3);
    runs.p99_ms.push(percentile(&outcome.sorted_us, 990).as_secs_f64() * 1e3);
    runs.cpu_ms_per_thousand.push(spent.as_secs_f64() * 1e3 / thousands);
    runs.load_cpu_ms_per_thousand.push(load_cpu.as_secs_f64() * 1e3 / thousands);
    runs.refused += outcome.refused;
}

fn print_row(contender: &Contender, runs: &Runs) {
    let name = format!("{}  {}", contender.letter, contender.name);
    let ms = |values: &[f64]| millis(Duration::from_secs_f64(median(values.to_vec()) / 1e3));
    println!(
        "  {name:<20} {:>9.0}/s   p50 {:>10}   p99 {:>10}   CPU {:>5.0} ms/1000 (load {:>3.0})",
        median(runs.per_second.clone()),
        ms(&runs.p50_ms),
        ms(&runs.p99_ms),
        median(runs.cpu_ms_per_thousand.clone()),
        median(runs.load_cpu_ms_per_thousand.clone()),
    );
    if runs.refused > 0 {
        println!("  {:<20} {} requests were not answered with 200", "", runs.refused);
    }
    if runs.worked_off_s > 0.2 {
        println!("  {:<20} worked off {:.1} s after the last answer", "", runs.worked_off_s);
    }
}

/// Median over the rounds of the ratio of rates within a round, in per cent: what disturbs one round disturbs both.
fn per_cent(of: &Runs, to: &Runs) -> f64 {
    median(of.per_second.iter().zip(&to.per_second).map(|(of, to)| of / to * 100.0).collect())
}

fn print_ratios(found: &BTreeMap<char, Runs>) {
    for (of, to) in [('b', 'a'), ('s', 'b'), ('c', 's'), ('c', 'b')] {
        if let (Some(of_runs), Some(to_runs)) = (found.get(&of), found.get(&to)) {
            print!("  {of}/{to} {:.0} %", per_cent(of_runs, to_runs));
        }
    }
    println!();
}

fn compare(
    contenders: &[Contender],
    stage: &Stage,
    senders: usize,
    last_id: &mut u64,
) -> BTreeMap<char, Runs> {
    let mut found: BTreeMap<char, Runs> = BTreeMap::new();
    for _ in 0..knobs::rounds() {
        for contender in contenders {
            measure(contender, stage, senders, last_id, found.entry(contender.letter).or_default());
        }
    }
    println!("{senders} senders");
    for contender in contenders {
        print_row(contender, &found[&contender.letter]);
    }
    print_ratios(&found);
    found
}

/// Ten thousand events as fast as they are taken: a bulk edit.
fn storm(contenders: &[Contender], stage: &Stage, last_id: &mut u64, targets: &mut Targets) {
    const EVENTS: u64 = 10_000;
    const SENDERS_OF_A_STORM: usize = 256;
    let Some(whole) = contenders.iter().find(|one| matches!(one.server, Server::Whole { .. })) else {
        return;
    };
    let address = whole.server.address();
    let webhook = Webhook::deal_changed(address, &stage.secrets().application_token);
    let outcome =
        actix::System::new().block_on(load::exactly(address, &webhook, SENDERS_OF_A_STORM, EVENTS, last_id));
    let outcome = outcome.unwrap_or_else(|error| panic!("the storm broke off: {error}"));
    let worked_off = wait_worked_off(stage);
    println!("{EVENTS} events by {SENDERS_OF_A_STORM} senders at once");
    println!(
        "  taken in {}, p99 {}, worked off {} later",
        millis(outcome.took),
        millis(percentile(&outcome.sorted_us, 990)),
        millis(worked_off)
    );
    assert_eq!(outcome.refused, 0, "none is refused");
    targets.at_most("a storm of 10,000 events", outcome.took.as_secs_f64(), 1.0, "s");
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--serve") {
        return serve(&arguments[at + 1..]);
    }
    if !knobs::is_bench() {
        return;
    }
    let stage = Stage::new(&Setting::default());
    process::warn_unless_on_disk(stage.dir.path());
    let contenders = contenders(&stage);
    let (mut last_id, mut targets) = (0, Targets::default());
    for senders in SENDERS {
        let found = compare(&contenders, &stage, senders, &mut last_id);
        if let (64, Some(log), Some(whole)) = (senders, found.get(&'b'), found.get(&'c')) {
            targets.at_least("rate of c against b", per_cent(whole, log), 85.0, "%");
            let (of_c, of_b) = (median(whole.p99_ms.clone()), median(log.p99_ms.clone()));
            targets.at_most("p99 of c", of_c, 50.0, "ms");
            targets.at_most("p99 of c against b", of_c / of_b.max(f64::EPSILON), 2.0, "times");
        }
    }
    storm(&contenders, &stage, &mut last_id, &mut targets);
    targets.finish();
}
