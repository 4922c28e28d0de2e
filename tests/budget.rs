//! The portal's budget over real sockets: five hundred documents at once, a portal that hangs beside nineteen that
//! work, limits of one method and of the whole portal.

#![allow(clippy::print_stdout, reason = "a test reports to the console")]

mod support;

use edobridge::domain::{CrmItem, PortalId};
use edobridge::sandbox::faults::{ErrorAnswer, Fault, FaultKind};
use edobridge::sandbox::{BucketRate, LedgerEntry, Limits, Sandbox, SandboxOptions, Side, World};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{DEAL, InProcess, Setting, Stage, pdf, wait_for};

/// Faster than a cloud portal, so that the test stays short; the arithmetic is the same.
const RATE: BucketRate = BucketRate { per_second: 20.0, burst: 50.0 };

/// For a machine that is busy with other things.
const SLOW_RATE: BucketRate = BucketRate { per_second: 6.0, burst: 50.0 };

/// Documents that arrive at once.
const DOCUMENTS: usize = 500;

/// How much longer than the least time the work may take.
const TOLERANCE: f64 = 1.15;

fn stage_with(limits: Limits, rate: &str, more: &[(&str, &str)]) -> Stage {
    let stage =
        Stage::with_sandbox(&Setting::default(), SandboxOptions { limits, ..SandboxOptions::default() });
    let text = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
    let mut portal = format!("rate = {rate}\n");
    for (key, value) in more {
        portal.push_str(&format!("{key} = {value}\n"));
    }
    let text = text.replace("rate = \"box\"\n", &portal);
    std::fs::write(&stage.config_path, text).expect("the configuration is written");
    be_patient(&stage);
    stage
}

/// A batch of fifty takes its time on a slow machine: its outcome must not become unknown.
fn be_patient(stage: &Stage) {
    let text = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
    let text = text.replace("read = \"1s\"\ncall = \"2s\"", "read = \"90s\"\ncall = \"90s\"");
    std::fs::write(&stage.config_path, text).expect("the configuration is written");
}

/// What was asked of the portal.
#[derive(Debug, Default)]
struct Traffic {
    /// Calls by name, those within batches too.
    calls: BTreeMap<String, usize>,
    /// Calls that went in batches.
    in_batches: usize,
    refused: usize,
    first_ms: i64,
    last_ms: i64,
}

impl Traffic {
    fn of(ledger: &[LedgerEntry]) -> Self {
        let mut traffic = Self { first_ms: i64::MAX, ..Self::default() };
        for entry in ledger.iter().filter(|entry| entry.side == Side::Bitrix24 && entry.call != "event") {
            traffic.first_ms = traffic.first_ms.min(entry.at_ms);
            traffic.last_ms = traffic.last_ms.max(entry.at_ms);
            traffic.refused += usize::from(entry.status == Some(503));
            *traffic.calls.entry(entry.call.clone()).or_default() += 1;
            if entry.call == "batch" {
                traffic.in_batches += entry.facts["commands"].as_u64().unwrap_or(0) as usize;
            }
        }
        traffic
    }

    /// Every HTTP request: the ledger has a line for each, and one for each command of a batch.
    fn requests(&self) -> usize {
        self.calls.values().sum::<usize>() - self.in_batches
    }

    /// A file down and a file up cannot be shared; everything else fits into full batches.
    fn needed(&self) -> usize {
        let files = ["download", "disk.folder.uploadfile"];
        let count = |name: &str| self.calls.get(name).copied().unwrap_or(0);
        let shared = self.calls.values().sum::<usize>() - count("batch") - count(files[0]) - count(files[1]);
        2 * DOCUMENTS + shared.div_ceil(50)
    }

    fn seconds(&self) -> f64 {
        (self.last_ms - self.first_ms) as f64 / 1_000.0
    }

    fn print(&self) {
        let per_document = |count: usize| count as f64 / DOCUMENTS as f64;
        println!("{:.3} requests per document, {:.1} s", per_document(self.requests()), self.seconds());
        for (name, count) in &self.calls {
            println!("  {name}: {:.3}", per_document(*count));
        }
        println!("  of these in batches: {:.3}", per_document(self.in_batches));
    }
}

/// Takes five hundred documents through and says how much longer it took than the bucket demands.
fn ratio_at(rate: BucketRate) -> f64 {
    let limits = Limits { bucket_rate: Some(rate), ..Limits::default() };
    // Far above the rate of a cloud portal more hands are needed than one has by default.
    let more = [("transfers_max", "16")];
    let configured = format!("{{ per_second = {}, burst = {} }}", rate.per_second, rate.burst);
    let stage = stage_with(limits, &configured, &more);
    let service = InProcess::start(&stage);
    for n in 0..DOCUMENTS {
        stage.drop_file(&format!("Договор {n:03}.pdf"), pdf(n as u64, 1_000));
    }
    let patience = Instant::now() + Duration::from_secs(400);
    while stage.world.all_notices().len() < DOCUMENTS {
        let copies = stage.signed_copies().len();
        assert!(Instant::now() < patience, "{copies} of {DOCUMENTS} delivered");
        std::thread::sleep(Duration::from_millis(50));
    }
    let traffic = Traffic::of(&stage.world.ledger());
    traffic.print();
    assert_eq!(traffic.refused, 0, "QUERY_LIMIT_EXCEEDED");
    assert_eq!(stage.signed_copies().len(), DOCUMENTS);
    assert_eq!(stage.world.comments(DEAL).len(), DOCUMENTS);
    let needed = traffic.needed() as f64;
    let requests = traffic.requests() as f64;
    assert!(requests < TOLERANCE * needed, "{requests} requests, {needed} needed");
    let least_s = (needed - rate.burst) / rate.per_second;
    println!("least time {least_s:.1} s, ratio {:.3}", traffic.seconds() / least_s);
    service.stop();
    traffic.seconds() / least_s
}

#[test]
fn five_hundred_documents_at_once_take_the_least_time_that_the_bucket_allows() {
    let ratio = ratio_at(RATE);
    if ratio < TOLERANCE {
        return;
    }
    assert!(is_overloaded(), "{ratio:.3} times the least time");
    // A machine that has no time for twenty requests a second says nothing about their order.
    let ratio = ratio_at(SLOW_RATE);
    assert!(ratio < TOLERANCE, "{ratio:.3} times the least time");
}

/// Whether other programs want more than this machine has.
fn is_overloaded() -> bool {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|minute| minute.parse().ok()).unwrap_or(0.0);
    load > std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

#[test]
fn a_limit_of_one_method_pauses_that_method_and_nothing_else() {
    let limits = Limits {
        operating_limit_ms: Some(200),
        operating_call_ms: 60,
        operating_window: Duration::from_secs(2),
        ..Limits::default()
    };
    let stage = stage_with(limits, "\"box\"", &[("batch_gather", "\"0s\"")]);
    let service = InProcess::start(&stage);
    for n in 0..12 {
        stage.drop_file(&format!("d{n:02}.pdf"), pdf(n, 500));
    }
    wait_for("all are told in spite of the limit", || stage.world.all_notices().len() == 12);
    let ledger = stage.world.ledger();
    let blocked: Vec<_> =
        ledger.iter().filter(|e| e.side == Side::Bitrix24 && e.status == Some(429)).collect();
    assert!(!blocked.is_empty(), "the limit was never reached");
    // While one method was blocked, another was served.
    let first = blocked[0];
    let others = ledger.iter().filter(|e| e.side == Side::Bitrix24 && e.call != first.call);
    let meanwhile = others.filter(|e| {
        e.status == Some(200) && e.call != "event" && (first.at_ms..first.at_ms + 1_500).contains(&e.at_ms)
    });
    assert!(meanwhile.count() > 0, "everything stood still");
    // One refusal teaches: the method is not tried again and again until its time has come.
    assert!(blocked.len() < 24, "{} refusals", blocked.len());
    service.stop();
}

#[test]
fn while_the_batch_itself_is_refused_calls_go_one_by_one() {
    let stage = stage_with(Limits::default(), "\"box\"", &[("batch_gather", "\"200ms\"")]);
    let refused = FaultKind::status(429, "OPERATION_TIME_LIMIT");
    stage.world.add_fault(Fault::always("batch", refused)).expect("a fault");
    let service = InProcess::start(&stage);
    for n in 0..6 {
        stage.drop_file(&format!("d{n:02}.pdf"), pdf(n, 500));
    }
    wait_for("all are told without a batch", || stage.world.all_notices().len() == 6);
    assert_eq!(stage.world.ledger_of("batch").len(), 1, "one refusal is enough");
    service.stop();
}

#[test]
fn a_block_by_the_vendor_stops_the_portal_rings_the_alarm_and_ends_with_one_notice() {
    let administrator = "[1]";
    let more = [("overload_pause", "\"1500ms\""), ("administrators", administrator)];
    let stage = stage_with(Limits::default(), "\"box\"", &more);
    let service = InProcess::start(&stage);
    let block = ErrorAnswer::new(503, "OVERLOAD_LIMIT");
    stage.world.add_fault(Fault::nth("disk.file.get", 1, FaultKind::Status(block))).expect("a fault");
    stage.drop_file("one.pdf", pdf(1, 500));
    wait_for("the alarm", || service.engine.health().reasons.iter().any(|r| r.en.contains("OVERLOAD_LIMIT")));
    assert!(service.engine.health().ready, "other portals go on");
    let stopped = stage.world.ledger_of("disk.file.get")[0].at_ms;
    wait_for("the document and the word to the administrator", || {
        stage.world.notices(stage.user).len() == 1 && stage.world.notices(1).len() == 1
    });
    let next = stage.world.ledger().into_iter().find(|e| {
        e.side == Side::Bitrix24 && e.call != "event" && e.at_ms > stopped && e.status == Some(200)
    });
    let pause = next.expect("work went on").at_ms - stopped;
    assert!(pause >= 1_400, "the portal was asked again after {pause} ms");
    wait_for("the end of the alarm", || service.engine.health().reasons.is_empty());
    assert_eq!(stage.world.ledger_of("im.notify.system.add").len(), 2, "one notice each");
    service.stop();
}

#[test]
fn the_account_says_who_used_the_budget_also_after_a_restart() {
    let stage = stage_with(Limits::default(), "\"cloud\"", &[]);
    let service = InProcess::start(&stage);
    stage.drop_file("one.pdf", pdf(1, 500));
    wait_for("the notice", || stage.world.all_notices().len() == 1);
    let used = account(&service);
    assert_eq!((used["download"].0, used["disk.folder.uploadfile"].0), (1, 1), "{used:?}");
    assert_eq!(used["im.notify.system.add"].0 + used["im.notify.system.add"].1, 1, "{used:?}");
    service.stop();
    let service = InProcess::start(&stage);
    wait_for("the account is read", || account(&service).contains_key("download"));
    assert_eq!(account(&service)["download"].0, 1);
    let asked = |id: &str| {
        let (host, token) = (stage.operator, &stage.secrets().operator);
        let head =
            format!("GET /admin/v1/portals/{id}/budget HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        support::request(host, &format!("{head}Authorization: Bearer {token}\r\n\r\n")).expect("an answer")
    };
    let (status, body) = asked("main");
    assert!(status == 200 && body.contains("\"method\":\"download\""), "{status} {body}");
    assert_eq!(asked("nobody").0, 404);
    service.stop();
}

/// Requests and commands by method.
fn account(service: &InProcess) -> BTreeMap<String, (u64, u64)> {
    let report = service.ask(|engine| async move { engine.budget(&PortalId("main".into())).await });
    let mut used = BTreeMap::new();
    for method in report.expect("the portal is there").hours.into_iter().flat_map(|hour| hour.methods) {
        let sum: &mut (u64, u64) = used.entry(method.method).or_default();
        *sum = (sum.0 + method.requests, sum.1 + method.commands);
    }
    used
}

/// Portals beside the one of the stage.
const NEIGHBOURS: usize = 19;

/// A further portal of the same edobridge.
struct Neighbour {
    _sandbox: Sandbox,
    world: Arc<World>,
    folder: u64,
    user: u64,
}

impl Neighbour {
    fn new() -> Self {
        let sandbox = Sandbox::start_blocking(SandboxOptions::default()).expect("the sandbox starts");
        let world = sandbox.world();
        let user = world.add_user("Пётр", "Петров");
        let folder = world.add_folder(world.root_folder(), "Договоры").expect("a new folder");
        world.put_item(DEAL, &[("stageId", "C1:NEW".into())]);
        Self { _sandbox: sandbox, world, folder, user }
    }

    fn config(&self, id: &str) -> String {
        let (webhook, folder, user, CrmItem { id: deal, .. }) =
            (self.world.webhook_url(), self.folder, self.user, DEAL);
        format!(
            r#"
[[portals]]
id = "{id}"
webhook_url = "{webhook}"
application_tokens = ["token-of-{id}-0123456789"]
rate = "box"
dangerous_allow_http = true
[[rules]]
id = "rule-{id}"
portal = "{id}"
route_id = "route-1"
trigger = {{ kind = "folder", folder_id = {folder}, interval = "1s", existing = "send" }}
notify = [{user}]
crm_item = {{ entity = "deal", id = {deal} }}
"#
        )
    }
}

#[test]
fn a_portal_that_hangs_holds_up_none_of_nineteen_others() {
    let neighbours: Vec<Neighbour> = (0..NEIGHBOURS).map(|_| Neighbour::new()).collect();
    let more =
        neighbours.iter().enumerate().map(|(n, neighbour)| neighbour.config(&format!("p{n}"))).collect();
    let stage = Stage::new(&Setting { more, ..Setting::default() });
    be_patient(&stage);
    hang_portal(&stage);
    let service = InProcess::start(&stage);
    for n in 0..300 {
        stage.drop_file(&format!("hanging {n:03}.pdf"), pdf(n, 500));
    }
    let began = Instant::now();
    for (n, neighbour) in neighbours.iter().enumerate() {
        for file in 0..2 {
            let name = format!("contract {file}.pdf");
            let bytes = pdf((1_000 + 10 * n + file) as u64, 500);
            neighbour.world.add_file(neighbour.folder, &name, bytes).expect("a new file");
        }
    }
    wait_for("all documents of the nineteen", || {
        neighbours.iter().all(|neighbour| neighbour.world.notices(neighbour.user).len() == 2)
    });
    let took = began.elapsed();
    println!("nineteen portals were served in {:.1} s beside one that hangs", took.as_secs_f64());
    // Sooner than a single request to the hanging one has ended.
    let ended = stage.world.ledger_of("disk.file.get").len() + stage.world.ledger_of("batch").len();
    assert_eq!(ended, 0, "the hanging one answered");
    service.stop();
}

/// Every request to the portal is held for longer than the test waits; the signing service in the same world works.
fn hang_portal(stage: &Stage) {
    for target in ["disk.*", "batch", "crm.*", "im.*", "download"] {
        stage.world.add_fault(Fault::always(target, FaultKind::SlowBefore(80_000))).expect("a fault");
    }
}
