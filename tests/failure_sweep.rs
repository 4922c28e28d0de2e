//! Every remote call of the flow, every way to fail, and a crash after every commit: the sandbox's ledger shows
//! exactly one document, one signed copy with the right bytes, one comment and one notice, and the store no saga
//! without a timer.
//!
//! Complete, not sampled: the calls are discovered by clean runs, each is swept at each of its places with each kind
//! of failure, and a call that no list below names fails the test. `EDOBRIDGE_TEST_SWEEP=part of a name` plays a
//! part of the cases.

#[path = "counts/mod.rs"]
mod proof_counts;
mod support;

#[path = "failure_sweep/crash.rs"]
mod crash;
#[path = "failure_sweep/flow.rs"]
mod flow;
#[path = "failure_sweep/kinds.rs"]
mod kinds;
#[path = "failure_sweep/play.rs"]
mod play;

use edobridge::config::Environment;
use edobridge::sandbox::{Echo, Fault, FaultKind, Side};
use flow::{Flow, twice};
use kinds::{Kind, Patience};
use play::{Case, Ending};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Cases at the same time: most of a case is waiting.
const THREADS: usize = 12;
/// Calls that change something: a repeat needs a look first.
const WRITES: [&str; 5] = [
    "easydocs.create",
    "disk.folder.uploadfile",
    "upload.second_step",
    "crm.timeline.comment.add",
    "crm.item.update",
];
/// Calls that the world makes to us.
const DELIVERIES: [&str; 3] = ["event", "callback", "robot"];

/// Calls of an installation: they are made before a document begins, and `tests/apps.rs` is about them.
const BEFORE: [&str; 6] =
    ["oauth.app.info", "profile", "event.get", "event.bind", "bizproc.robot.add", "bizproc.robot.update"];

/// Which calls of a flow are swept, from which of their places on.
struct Sweep {
    flow: Flow,
    calls: Vec<(&'static str, u32)>,
}

fn sweeps() -> Vec<Sweep> {
    let of = |flow: Flow, calls: &[(&'static str, u32)]| Sweep { flow, calls: calls.to_vec() };
    vec![
        of(
            Flow::signed(),
            &[
                ("event", 1),
                ("disk.file.get", 1),
                ("download", 1),
                ("easydocs.create", 1),
                ("callback", 1),
                ("easydocs.download", 1),
                ("disk.folder.getchildren", 1),
                ("disk.folder.uploadfile", 1),
                ("crm.timeline.comment.add", 1),
                ("im.notify.system.add", 1),
            ],
        ),
        of(Flow::large(), &[("disk.folder.uploadfile", 1), ("upload.second_step", 1)]),
        of(Flow::refused(), &[("callback", 1), ("crm.timeline.comment.add", 1), ("im.notify.system.add", 1)]),
        of(Flow::polled(), &[("easydocs.status", 1)]),
        of(Flow::searched(), &[("easydocs.search", 1)]),
        of(Flow::upload_lost(), &[("disk.folder.getchildren", 3), ("disk.file.get", 2), ("download", 2)]),
        of(Flow::comment_lost(), &[("crm.timeline.comment.list", 1)]),
        of(Flow::deal(), &[("event", 1), ("crm.item.list", 1), ("crm.item.get", 1), ("download", 1)]),
        of(
            Flow::item(),
            &[
                ("crm.item.get", 3),
                ("crm.item.fields", 1),
                ("crm.status.list", 1),
                ("crm.item.update", 1),
                ("crm.timeline.comment.add", 1),
            ],
        ),
        of(
            Flow::generated(),
            &[
                ("event", 1),
                ("crm.documentgenerator.document.get", 1),
                ("crm.documentgenerator.document.list", 1),
            ],
        ),
        of(Flow::application(), &[("robot", 1), ("oauth.token", 1), ("bizproc.event.send", 1)]),
        of(Flow::watched(), &[("disk.folder.getchildren", 1)]),
        of(Flow::unsearchable(), &[("easydocs.create", 1)]),
        of(Flow::unsearchable_and_silent(), &[("easydocs.create", 1)]),
        of(Flow::crowd(), &[("batch", 1)]),
    ]
}

/// A group of cases, for the report.
struct Job {
    group: String,
    name: String,
    work: Box<dyn FnOnce() -> (u32, Vec<String>) + Send>,
}

#[test]
fn nothing_is_lost_and_nothing_happens_twice_whatever_fails() {
    let began = Instant::now();
    let mut jobs = crash_jobs();
    jobs.extend(fault_jobs());
    jobs.extend(refusal_jobs());
    jobs.extend(crowd_jobs());
    jobs.extend(outage_jobs());
    mix(&mut jobs);
    let only = Environment::of_process().get("EDOBRIDGE_TEST_SWEEP").map(str::to_owned);
    if let Some(part) = &only {
        jobs.retain(|job| job.name.contains(part.as_str()));
    }
    let Done { counts, problems, mut times } = run(jobs);
    times.sort_unstable();
    report(&counts, times.last(), began);
    assert!(problems.is_empty(), "{} cases failed:\n\n{}", problems.len(), problems.join("\n\n"));
    if only.is_none() {
        proof_counts::hold_above("failure_sweep.cases", counts.values().map(|n| u64::from(*n)).sum());
    }
}

/// The long ones first, the others in an order that puts no two dear ones of a kind side by side; the same in every run.
fn mix(jobs: &mut [Job]) {
    let hash = |name: &str| BuildHasherDefault::<DefaultHasher>::default().hash_one(name);
    jobs.sort_by_key(|job| (!job.group.starts_with("crash"), hash(&job.name)));
}

/// Written past the test's capture, because the number of cases belongs to the result.
fn report(counts: &BTreeMap<String, u32>, slowest: Option<&(u128, String)>, began: Instant) {
    let mut err = std::io::stderr().lock();
    for (group, count) in counts {
        let _ = writeln!(err, "failure sweep: {group}: {count} cases");
    }
    let total: u32 = counts.values().sum();
    if let Some((ms, name)) = slowest {
        let _ = writeln!(err, "failure sweep: the slowest took {ms} ms: {name}");
    }
    let _ = writeln!(err, "failure sweep: {total} cases in all, {} s", began.elapsed().as_secs());
}

// ---- the pool ----------------------------------------------------------------------------------------------------

/// What came out.
#[derive(Default)]
struct Done {
    counts: BTreeMap<String, u32>,
    problems: Vec<String>,
    /// Milliseconds and names.
    times: Vec<(u128, String)>,
}

fn run(jobs: Vec<Job>) -> Done {
    let queue = Mutex::new(VecDeque::from(jobs));
    let done = Mutex::new(Done::default());
    in_threads(|| work_off(&queue, &done));
    done.into_inner().expect("no thread dies with the lock")
}

fn in_threads(work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(&work);
        }
    });
}

fn work_off(queue: &Mutex<VecDeque<Job>>, done: &Mutex<Done>) {
    loop {
        let job = queue.lock().expect("no thread dies with the lock").pop_front();
        let Some(Job { group, name, work }) = job else { return };
        let began = Instant::now();
        let (count, problems) = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            (1, vec![format!("panicked: {}", text.unwrap_or_default())])
        });
        let took = began.elapsed().as_millis();
        if let Some(problem) = problems.first() {
            let line = problem.lines().next().unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "failure sweep: {name} ({took} ms): {line}");
        }
        let mut done = done.lock().expect("no thread dies with the lock");
        *done.counts.entry(group).or_insert(0) += count;
        done.problems.extend(problems.into_iter().map(|problem| format!("{name} ({took} ms): {problem}")));
        done.times.push((took, name));
    }
}

fn job(group: &str, case: Case) -> Job {
    let name = case.name.clone();
    let work = Box::new(move || (1, play::play(&case).err().into_iter().collect()));
    Job { group: group.to_owned(), name, work }
}

// ---- every call, every fault -------------------------------------------------------------------------------------

/// Runs every flow once with no more wrong than it needs, and lists its calls with how often they are made.
///
/// Without the echo of our own upload, whose handling depends on which of two events is quicker.
fn discover(flow: &Flow) -> BTreeMap<String, u64> {
    let stage = flow.stage(&[]);
    stage.world.set_echo(Echo::Off);
    let case = Case {
        name: format!("{}: clean", flow.name),
        flow: flow.clone(),
        faults: Vec::new(),
        ending: Ending::Alone,
        edits: Vec::new(),
    };
    if let Err(problem) = play::play_on(&case, &stage) {
        panic!("the clean run of `{}` fails: {problem}", flow.name);
    }
    let mut calls = stage.world.calls();
    if flow.way_in == flow::WayIn::Application {
        // what an installation needs is no document's business
        calls.retain(|call, _| !BEFORE.contains(&call.as_str()));
    }
    calls
}

fn discover_all(sweeps: &[Sweep]) -> Vec<BTreeMap<String, u64>> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    in_threads(|| {
        while let n = next.fetch_add(1, Ordering::SeqCst)
            && let Some(sweep) = sweeps.get(n)
        {
            let calls = discover(&sweep.flow);
            found.lock().expect("no thread dies with the lock").insert(n, calls);
        }
    });
    found.into_inner().expect("no thread dies with the lock").into_values().collect()
}

fn fault_jobs() -> Vec<Job> {
    let sweeps = sweeps();
    let found = discover_all(&sweeps);
    let known: BTreeSet<&str> = sweeps.iter().flat_map(|s| s.calls.iter().map(|(call, _)| *call)).collect();
    let mut jobs = Vec::new();
    for (sweep, calls) in sweeps.iter().zip(found) {
        let strange: Vec<&String> = calls.keys().filter(|call| !known.contains(call.as_str())).collect();
        assert!(strange.is_empty(), "`{}` makes the calls {strange:?}, sweep them", sweep.flow.name);
        for (call, first) in &sweep.calls {
            let made = calls.get(*call).copied().unwrap_or(0);
            assert!(made >= u64::from(*first), "`{}` does not make the call `{call}`", sweep.flow.name);
            jobs.extend(jobs_of_call(&sweep.flow, call, *first, places(&sweep.flow, made)));
        }
    }
    jobs
}

/// The last place of a call that is swept: a poll goes on for ever, and a crowd's batches differ from run to run.
fn places(flow: &Flow, made: u64) -> u32 {
    match flow.name {
        "watched" | "polled" | "crowd" => 1,
        _ => u32::try_from(made).unwrap_or(u32::MAX),
    }
}

fn jobs_of_call(flow: &Flow, call: &'static str, first: u32, last: u32) -> Vec<Job> {
    let patience = if is_large(flow) { Patience::LARGE } else { Patience::SMALL };
    let kinds =
        if DELIVERIES.contains(&call) { kinds::of_delivery() } else { kinds::of_call(call, patience) };
    let mut jobs = Vec::new();
    for n in first..=last {
        for kind in &kinds {
            let once = vec![Fault::nth(call, n, kind.1.clone())];
            jobs.push(job(flow.name, case_of(flow, call, format!("#{n}"), kind, once)));
            if is_repeated(flow, call, &kind.1) {
                let two = twice(call, n, &kind.1);
                jobs.push(job(flow.name, case_of(flow, call, format!("#{n},{}", n + 1), kind, two)));
            }
        }
    }
    jobs
}

/// Large files take a debug build longer than the usual timeouts.
fn is_large(flow: &Flow) -> bool {
    flow.bytes > 1_000_000
}

/// Whether a call that failed so is made a second time by itself.
fn is_repeated(flow: &Flow, call: &str, kind: &FaultKind) -> bool {
    let lost = matches!(call, "event" | "robot");
    let settled = *kind == FaultKind::Duplicate;
    let found = WRITES.contains(&call) && kinds::takes_effect(kind);
    let asked = call == "easydocs.create" && !flow.setting.search && kinds::leaves_doubt(kind);
    let delivered = call == "callback" && matches!(kind, FaultKind::Slow(_) | FaultKind::SlowBefore(_));
    // the second channel looks again after its interval, which no case waits for
    let rare = call == "crm.documentgenerator.document.list";
    // an authorisation server is waited for longer than any case holds it back
    let awaited = call == "oauth.token" && matches!(kind, FaultKind::Slow(_) | FaultKind::SlowBefore(_));
    !(rare || awaited || lost || settled || found || asked || delivered)
}

fn case_of(flow: &Flow, call: &str, place: String, kind: &Kind, faults: Vec<Fault>) -> Case {
    let name = format!("{}: {call} {place} {}", flow.name, kind.0);
    // An effect that comes after we have given up must be visible before the last look.
    let edits: Vec<(&str, &str)> =
        if kinds::is_held(&kind.1) { vec![("settle = \"300ms\"", "settle = \"700ms\"")] } else { Vec::new() };
    Case { name, flow: flow.clone(), faults, ending: ending_of(flow, call, &kind.1), edits }
}

fn ending_of(flow: &Flow, call: &str, kind: &FaultKind) -> Ending {
    match call {
        "event" | "robot" if matches!(kind, FaultKind::Refuse | FaultKind::CutBefore) => Ending::Untriggered,
        // the old refresh token is used up, and the new pair is lost with the answer
        "oauth.token" if kinds::takes_effect(kind) => Ending::PersonForAccess,
        "easydocs.create" if !flow.setting.search && kinds::leaves_doubt(kind) => {
            let silent = flow.signing == flow::Signing::OnceAwaited;
            match (kinds::takes_effect(kind), silent) {
                // A held create and its callback may come after the grace.
                (true, false) if kinds::is_held(kind) => Ending::PersonForCreate,
                (true, false) => Ending::Alone,
                (true, true) | (false, _) => Ending::Person(&["create_unknown"]),
            }
        }
        _ => Ending::Alone,
    }
}

// ---- refusals ----------------------------------------------------------------------------------------------------

/// Clean refusals of each call, for ever: a dead letter with its reason; mended and retried, it ends right.
fn refusal_jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for (flow, call, kinds, ending) in refusals() {
        for (name, kind) in kinds {
            jobs.push(job(
                "refused for good",
                Case {
                    name: format!("{}: {call} always {name}", flow.name),
                    flow: flow.clone(),
                    faults: vec![Fault::always(call, kind)],
                    ending: ending.clone(),
                    edits: Vec::new(),
                },
            ));
        }
    }
    jobs
}

type Refusal = (Flow, &'static str, Vec<Kind>, Ending);

fn refusals() -> Vec<Refusal> {
    let portal = || {
        vec![
            ("access_denied", FaultKind::status(403, "ACCESS_DENIED")),
            ("not_found", FaultKind::status(400, "ERROR_NOT_FOUND")),
            ("argument", FaultKind::status(400, "ERROR_ARGUMENT")),
        ]
    };
    let service = || {
        vec![
            ("400", FaultKind::status(400, "validation_error")),
            ("422", FaultKind::status(422, "route_unknown")),
        ]
    };
    let bad_key = || {
        vec![
            ("401", FaultKind::status(401, "NO_AUTH_FOUND")),
            ("token", FaultKind::status(401, "expired_token")),
        ]
    };
    const PORTAL: Ending = Ending::Person(&["access_denied", "error_not_found", "error_argument"]);
    const SERVICE: Ending = Ending::Person(&["http_400", "http_422"]);
    let mut all = Vec::new();
    for (flow, call) in [
        (Flow::signed(), "disk.file.get"),
        (Flow::signed(), "download"),
        (Flow::signed(), "disk.folder.getchildren"),
        (Flow::signed(), "disk.folder.uploadfile"),
        (Flow::signed(), "crm.timeline.comment.add"),
        (Flow::signed(), "im.notify.system.add"),
        (Flow::refused(), "im.notify.system.add"),
        (Flow::large(), "upload.second_step"),
        (Flow::comment_lost(), "crm.timeline.comment.list"),
        (Flow::deal(), "crm.item.get"),
        (Flow::item(), "crm.item.update"),
        (Flow::generated(), "crm.documentgenerator.document.get"),
    ] {
        all.push((flow.clone(), call, portal(), PORTAL));
        // A link that is refused is an old link: a new one is taken, and after a few the person is asked.
        if call != "download" {
            all.push((flow, call, bad_key(), Ending::Waits));
        }
    }
    for call in ["easydocs.create", "easydocs.download"] {
        all.push((Flow::signed(), call, service(), SERVICE));
        all.push((
            Flow::signed(),
            call,
            vec![("401", FaultKind::status(401, "unauthorized"))],
            Ending::Waits,
        ));
    }
    all.push((Flow::searched(), "easydocs.search", service(), Ending::Person(&["create_unknown"])));
    all.push((Flow::polled(), "easydocs.status", service(), Ending::Waits));
    all.push((Flow::watched(), "disk.folder.getchildren", portal(), Ending::Waits));
    all.push((Flow::doubles_accepted(), "easydocs.create", service(), SERVICE));
    all
}

// ---- batches -----------------------------------------------------------------------------------------------------

/// What one command of a batch suffers alone, and batches beyond the first.
fn crowd_jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    let flow = Flow::crowd();
    let commands =
        ["disk.file.get", "disk.folder.getchildren", "crm.timeline.comment.add", "im.notify.system.add"];
    for call in commands {
        for kind in kinds::of_command() {
            // The first two calls have requests of their own; the others share the third.
            for n in [3, 5] {
                let faults = vec![Fault::nth(call, n, kind.1.clone())];
                jobs.push(job("crowd", case_of(&flow, call, format!("#{n}"), &kind, faults)));
            }
        }
    }
    for kind in kinds::of_call("batch", Patience::SMALL) {
        let faults = vec![Fault::nth("batch", 3, kind.1.clone())];
        jobs.push(job("crowd", case_of(&flow, "batch", "#3".to_owned(), &kind, faults)));
    }
    let doubles = Flow::doubles_accepted();
    for kind in [("status_500", FaultKind::status(500, "x")), ("html_502", FaultKind::Html(502))] {
        for faults in
            [vec![Fault::nth("easydocs.create", 1, kind.1.clone())], twice("easydocs.create", 1, &kind.1)]
        {
            let name = format!("{}: create {} x{}", doubles.name, kind.0, faults.len());
            let (flow, ending, edits) = (doubles.clone(), Ending::Alone, Vec::new());
            jobs.push(job("doubles accepted", Case { name, flow, faults, ending, edits }));
        }
    }
    jobs
}

// ---- outages -----------------------------------------------------------------------------------------------------

/// Closed ports: from the beginning, or once the document is at the signing service.
fn outage_jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for flow in [Flow::signed(), Flow::refused(), Flow::deal(), Flow::watched(), Flow::unsearchable()] {
        for side in [Side::Bitrix24, Side::EasyDocs] {
            for when in [play::When::FromTheBeginning, play::When::OnceCreated] {
                let name = format!("{}: {side:?} closed {when:?}", flow.name);
                let flow = flow.clone();
                let work = move || (1, play::play_outage(&flow, side, when).err().into_iter().collect());
                jobs.push(Job { group: "outage".to_owned(), name, work: Box::new(work) });
            }
        }
    }
    jobs
}

// ---- crashes -----------------------------------------------------------------------------------------------------

fn crash_jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    let flows = [
        (Flow::signed(), Ending::Alone),
        (Flow::refused(), Ending::Alone),
        (Flow::polled(), Ending::Alone),
        (Flow::deal(), Ending::Alone),
        (Flow::item(), Ending::Alone),
        (Flow::generated(), Ending::Alone),
        (Flow::application(), Ending::PersonForAccess),
        (Flow::watched(), Ending::Alone),
        (Flow::upload_lost(), Ending::Alone),
        (Flow::comment_lost(), Ending::Alone),
        (Flow::unsearchable(), Ending::PersonForCreate),
        (Flow::large(), Ending::Alone),
    ];
    for (flow, ending) in flows {
        for (point, variable) in crash::POINTS {
            let name = format!("{}: crash after {point}", flow.name);
            let (flow, ending) = (flow.clone(), ending.clone());
            let work = move || crash::sweep(&flow, variable, &ending);
            jobs.push(Job { group: format!("crash after {point}"), name, work: Box::new(work) });
        }
    }
    jobs
}
