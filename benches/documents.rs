//! Whole documents of 100 KiB a second, from the event to the last notice, with remotes that answer at once.
//!
//! | | what | what it shows |
//! |---|---|---|
//! | p | a pipe: the same adapters, no store, nothing remembered | what the calls themselves cost |
//! | c | edobridge itself | what it costs to lose nothing and to do nothing twice |
//!
//! Remotes and contenders are processes of their own on one machine, so that the processor time of each is its own. The pipe
//! asks for the status once where edobridge gets a callback. Beside the rates: processor time, commits, and bytes written
//! for each document.
#![allow(clippy::print_stdout, reason = "a bench reports to the console")]

#[path = "../tests/support/mod.rs"]
mod stage;
mod support;

use edobridge::commands::wiring;
use edobridge::config::{Config, Environment};
use edobridge::domain::{CrmItem, FileDigest, Secret, SpoolFile};
use edobridge::providers::bitrix24::client::Client as Portal;
use edobridge::providers::bitrix24::{crm, drive, notify, transfer};
use edobridge::providers::easydocs;
use edobridge::providers::http_client::{HttpClient, HttpSettings, Trust};
use edobridge::providers::spool_io::FileSource;
use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use stage::{Binary, DEAL, Setting, Stage};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use support::figures::{Targets, median, rate};
use support::load::{self, Webhook};
use support::process::OwnServer;
use support::remotes::{self, Counts, FOLDER};
use support::{knobs, process};
use tokio::io::AsyncWrite;

/// Documents that the pipe has in hand at once; as many senders bring events to edobridge.
const AT_ONCE: usize = 32;
/// A document that is not done by then never will be.
const ROUND_MAX: Duration = Duration::from_secs(300);
/// Ids of source files; the copies that come back have others.
const FIRST_FILE: u64 = 1_000_000;

fn documents() -> u64 {
    knobs::number("DOCUMENTS", 2_000)
}

// ---- the pipe ------------------------------------------------------------------------------------------------

struct Pipe {
    portal: Portal,
    easydocs: easydocs::Client,
    dir: std::path::PathBuf,
}

impl Pipe {
    fn new(remotes: SocketAddr, config: &Config, dir: &Path) -> Self {
        let http = || {
            let settings = HttpSettings { trust: Trust::OnlyExtra, ..HttpSettings::default() };
            HttpClient::new(&settings).expect("a client is made")
        };
        let webhook = Secret::new(format!("http://{remotes}/rest/1/benchsecret/"));
        let mut settings = wiring::easydocs_settings(config).expect("the settings are usable");
        settings.base_url = format!("http://{remotes}/");
        settings.status = Some(easydocs::settings::Status {
            path: "/api/v1/documents/{id}".into(),
            status: "/status".into(),
            external_id: String::new(),
            file_url: String::new(),
        });
        Self {
            portal: Portal::new(http(), &webhook, None).expect("the address is a webhook's"),
            easydocs: easydocs::Client::new(http(), settings).expect("the settings are usable"),
            dir: dir.to_owned(),
        }
    }

    /// What edobridge does with a document, straight on.
    async fn pass(&self, file_id: u64) {
        let info = drive::file_get(&self.portal, file_id).await.expect("the file is there");
        let allowed = transfer::allowed_at(&self.portal.origin(), []);
        let path = self.dir.join(format!("{file_id}.source"));
        let mut sink = Sink::create(&path).await;
        let got = transfer::download(&self.portal, &info.download_url, &allowed, &mut sink, 1 << 30).await;
        got.expect("the file is given");
        let source = FileSource::new(path, sink.facts());
        let request = easydocs::CreateRequest {
            name: info.name.clone(),
            file_name: info.name.clone(),
            route_id: "route-1".into(),
            external_id: format!("pipe-{file_id}"),
            callback_url: None,
            source: source.clone(),
        };
        let created = self.easydocs.create(&request).await.expect("the document is created");
        self.easydocs.status(&created.document_id).await.expect("its status is told");
        let path = self.dir.join(format!("{file_id}.signed"));
        let mut sink = Sink::create(&path).await;
        let got = self.easydocs.download(&created.document_id, None, &mut sink).await;
        got.expect("the signed file is given");
        let signed = FileSource::new(path, sink.facts());
        let name = format!("contract {file_id}_signed.pdf");
        let uploaded = transfer::upload_small(&self.portal, FOLDER, &name, &signed).await;
        uploaded.result.expect("the signed file is taken");
        let item = CrmItem { entity_type_id: 2, id: DEAL.id };
        crm::comment_add(&self.portal, item, "signed").await.expect("the comment is taken");
        notify::system(&self.portal, 1, "signed", "tag", "edobridge").await.expect("the notice is taken");
        for file in [source, signed] {
            tokio::fs::remove_file(&file.path).await.expect("the file was ours");
        }
    }
}

/// A file of the pipe, hashed on its way: what is sent is compared with what came.
struct Sink {
    file: tokio::fs::File,
    hash: Sha256,
    size_bytes: u64,
}

impl Sink {
    async fn create(path: &Path) -> Self {
        let file = tokio::fs::File::create(path).await.expect("a new file");
        Self { file, hash: Sha256::new(), size_bytes: 0 }
    }

    fn facts(self) -> SpoolFile {
        SpoolFile { digest: FileDigest(self.hash.finalize().into()), size_bytes: self.size_bytes }
    }
}

impl AsyncWrite for Sink {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.file).poll_write(cx, bytes))?;
        self.hash.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Poll::Ready(Ok(written))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(cx)
    }
}

/// `--serve pipe <remotes> <configuration> <directory>`: passes so many documents as each line of the input says.
async fn serve_pipe(arguments: &[String]) {
    let [remotes, config, dir] = arguments else { panic!("the pipe is started by the bench") };
    let remotes = remotes.parse().expect("an address");
    let dir = Path::new(dir).join("pipe");
    std::fs::create_dir(&dir).expect("a new directory");
    let pipe = Rc::new(Pipe::new(remotes, &config_of(Path::new(config)), &dir));
    process::announce(remotes);
    let mut first = FIRST_FILE;
    for line in std::io::stdin().lines() {
        let count: u64 = line.expect("the bench writes text").parse().expect("a number");
        let next = Cell::new(first);
        first += count;
        join_all((0..AT_ONCE).map(|_| async {
            while next.get() < first {
                next.set(next.get() + 1);
                pipe.pass(next.get() - 1).await;
            }
        }))
        .await;
        process::announce(remotes);
    }
}

fn config_of(path: &Path) -> Config {
    let loaded = Config::load(Some(path), &Environment::of(knobs::real_settings()));
    loaded.unwrap_or_else(|errors| panic!("the configuration is refused: {:#?}", errors.problems)).config
}

fn serve(arguments: &[String]) {
    actix::System::new().block_on(async {
        match (arguments[0].as_str(), &arguments[1..]) {
            ("remotes", []) => remotes::serve(None).await,
            ("remotes", [target, secret]) => {
                remotes::serve(Some((target.parse().expect("an address"), secret.clone()))).await;
            }
            ("pipe", rest) => serve_pipe(rest).await,
            (other, _) => panic!("there is no server `{other}`"),
        }
    });
}

// ---- measuring -----------------------------------------------------------------------------------------------

#[derive(Default)]
struct Runs {
    per_second: Vec<f64>,
    cpu_ms: Vec<f64>,
    remotes_cpu_ms: Vec<f64>,
    requests: Vec<f64>,
    journal_records: Vec<f64>,
    syncs: Vec<f64>,
    written_kib: Vec<f64>,
}

fn counts(remotes: SocketAddr) -> Counts {
    Counts::of(&stage::get(remotes, "/counts").expect("the remotes answer").1)
}

/// Bytes that the process has caused to be written to the disk (`man 5 proc`, `io`).
fn written_bytes(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).expect("the process is ours");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).expect("the kernel counts them")
}

/// The value of a metric without labels.
fn metric(stage: &Stage, name: &str) -> f64 {
    let (_, body) = stage::get(stage.operator, "/metrics").expect("the operator's listener answers");
    let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("there is no metric {name}"))
}

fn pipe_round(pipe: &mut OwnServer, remotes: &OwnServer, runs: &mut Runs) {
    let (cpu, remotes_cpu) = (process::cpu_time(pipe.pid()), process::cpu_time(remotes.pid()));
    let (before, since) = (counts(remotes.address), Instant::now());
    pipe.tell(&documents().to_string());
    note(runs, since.elapsed(), pipe.pid(), cpu, remotes, remotes_cpu, before);
}

fn note(
    runs: &mut Runs,
    took: Duration,
    pid: u32,
    cpu: Duration,
    remotes: &OwnServer,
    remotes_cpu: Duration,
    before: Counts,
) {
    let each = |total: f64| total / documents() as f64;
    let after = counts(remotes.address);
    for (what, done) in [
        ("documents", after.creates - before.creates),
        ("signed files", after.uploads - before.uploads),
        ("notices", after.notices - before.notices),
    ] {
        assert_eq!(done, documents(), "{what}: each document has exactly one");
    }
    runs.per_second.push(rate(documents(), took));
    runs.cpu_ms.push(each((process::cpu_time(pid) - cpu).as_secs_f64() * 1e3));
    runs.remotes_cpu_ms.push(each((process::cpu_time(remotes.pid()) - remotes_cpu).as_secs_f64() * 1e3));
    runs.requests.push(each((after.requests - before.requests) as f64));
}

fn whole_round(stage: &Stage, binary: &Binary, remotes: &OwnServer, next_file: &mut u64, runs: &mut Runs) {
    let pid = binary.child.id();
    let each = |total: f64| total / documents() as f64;
    let (cpu, remotes_cpu, written) =
        (process::cpu_time(pid), process::cpu_time(remotes.pid()), written_bytes(pid));
    let records = metric(stage, "edobridge_store_group_records_sum");
    let syncs = metric(stage, "edobridge_store_sync_seconds_count");
    let webhook = Webhook::file_added(stage.public, &stage.secrets().application_token);
    let (before, since) = (counts(remotes.address), Instant::now());
    let senders = AT_ONCE.min(usize::try_from(documents()).unwrap_or(AT_ONCE));
    let sent =
        actix::System::new().block_on(load::exactly(stage.public, &webhook, senders, documents(), next_file));
    assert_eq!(sent.expect("the load does not break off").refused, 0, "every event is taken");
    while counts(remotes.address).notices < before.notices + documents() {
        assert!(since.elapsed() < ROUND_MAX, "documents are missing: {:?}", counts(remotes.address));
        std::thread::sleep(Duration::from_millis(5));
    }
    note(runs, since.elapsed(), pid, cpu, remotes, remotes_cpu, before);
    runs.journal_records.push(each(metric(stage, "edobridge_store_group_records_sum") - records));
    runs.syncs.push(each(metric(stage, "edobridge_store_sync_seconds_count") - syncs));
    runs.written_kib.push(each((written_bytes(pid) - written) as f64 / 1_024.0));
}

fn print(name: &str, runs: &Runs) {
    println!(
        "  {name:<14} {:>7.0}/s   CPU {:>5.2} ms a document (remotes {:.2})   {:.1} requests",
        median(runs.per_second.clone()),
        median(runs.cpu_ms.clone()),
        median(runs.remotes_cpu_ms.clone()),
        median(runs.requests.clone()),
    );
    if !runs.syncs.is_empty() {
        println!(
            "  {:<14} a document: {:.1} journal records, {:.2} syncs of the journal, {:.0} KiB written",
            "",
            median(runs.journal_records.clone()),
            median(runs.syncs.clone()),
            median(runs.written_kib.clone()),
        );
    }
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
    let told = OwnServer::start(&["remotes", &stage.public.to_string(), &stage.secrets().callback]);
    let silent = OwnServer::start(&["remotes"]);
    remotes::point_at(&stage.config_path, stage.folder, stage.public, told.address);
    let (config, dir) = (stage.config_path.display().to_string(), stage.dir.path().display().to_string());
    let mut pipe = OwnServer::start(&["pipe", &silent.address.to_string(), &config, &dir]);
    let mut binary = Binary::spawn(&stage, &settings());
    binary.wait_ready(stage.operator);

    let (mut p, mut c, mut next_file) = (Runs::default(), Runs::default(), FIRST_FILE);
    for _ in 0..knobs::rounds() {
        pipe_round(&mut pipe, &silent, &mut p);
        whole_round(&stage, &binary, &told, &mut next_file, &mut c);
    }
    println!("{} documents of {} KiB a round", documents(), remotes::FILE_BYTES >> 10);
    print("p  pipe", &p);
    print("c  edobridge", &c);
    let ratio = c.per_second.iter().zip(&p.per_second).map(|(c, p)| c / p * 100.0).collect();
    let mut targets = Targets::default();
    targets.at_least("rate of c against p", median(ratio), 40.0, "%");
    targets.at_most("processor time of a document", median(c.cpu_ms), 2.0, "ms");
    targets.finish();
}

/// As many hands as the pipe has. The default is kinder to a portal: four transfers at one time.
fn settings() -> Vec<(&'static str, String)> {
    let hands = [("EDOBRIDGE__PORTALS__0__TRANSFERS_MAX", AT_ONCE.to_string())];
    knobs::real_settings().into_iter().chain(hands).collect()
}
