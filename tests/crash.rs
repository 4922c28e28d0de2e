//! The real binary under a storm of events, killed at random moments: what was acknowledged ends exactly once.
//!
//! The witness reads only the sandbox's world and the acknowledgements; it knows nothing of the store.
//! `EDOBRIDGE_CRASH_KILLS=n` for more kills (50 by default), `EDOBRIDGE_CRASH_SEED=n` to repeat a run's choices.
#![allow(clippy::print_stdout, reason = "the run's numbers are for people")]

mod support;
mod wire;

use edobridge::commands::wiring;
use edobridge::config::{Config, Environment};
use edobridge::sandbox::callbacks::CallbackPolicy;
use edobridge::sandbox::{EventSpec, Fault, FaultKind, Mode, SandboxOptions};
use edobridge::store::{DocumentFilter, InvariantReport, Store, ViewFate};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Binary, DEAL, PATIENCE, Setting, Stage, get, pdf, wait_for};

// ---- the storm ---------------------------------------------------------------------------------------------

/// Kills by default: what continuous integration runs.
const KILLS: usize = 50;
/// New events per life of the process.
const EVENTS_PER_LIFE: usize = 7;
/// Senders at one time.
const SENDERS: usize = 3;
/// How long the last process may need for what the storm has left: far above what a slow machine takes.
const ENDING_MAX: Duration = Duration::from_secs(150);

#[test]
fn every_acknowledged_event_ends_once_however_often_the_process_is_killed() {
    let kills = number("EDOBRIDGE_CRASH_KILLS").map_or(KILLS, |n| n as usize);
    let seed = number("EDOBRIDGE_CRASH_SEED").unwrap_or_else(random_seed);
    println!("crash: seed {seed}, {kills} kills");
    let stage = Stage::with_sandbox(&Setting::default(), stormy());
    be_patient(&stage);
    let storm = Storm::new(&stage, seed);
    let mut dice = Dice(seed | 1);
    let mut ready = Readiness::default();
    let survivor = std::thread::scope(|scope| {
        // Also when a kill fails: senders that nobody stops would hang the test instead of failing it.
        let _over = SetAtEnd(&storm.over);
        for n in 0..SENDERS {
            let storm = &storm;
            scope.spawn(move || storm.send(Dice(seed.wrapping_mul(n as u64 + 3) | 1)));
        }
        for kill in 0..kills {
            storm.allowed.fetch_add(EVENTS_PER_LIFE, Ordering::SeqCst);
            live_and_die(&stage, &End::by(&mut dice), kill, &mut ready);
        }
        let mut survivor = Binary::spawn(&stage, &[]);
        let since = Instant::now();
        survivor.wait_ready(stage.operator);
        ready.note(since.elapsed());
        wait_long("all events are sent", || storm.is_calm(), || survivor.log_tail());
        survivor
    });
    let acknowledged = storm.report(kills, &ready);
    assert!(acknowledged >= kills, "too few events got through to prove anything: {acknowledged}");
    wait_long(
        "every acknowledged event ends",
        || storm.faults(&stage).is_empty(),
        || format!("{:#?}\n{}\n{}", storm.faults(&stage), dead_letters(&stage), survivor.log_tail()),
    );
    wait_long("the process has nothing left to do", || is_idle(&stage), || survivor.log_tail());
    assert!(stop(survivor).success(), "a graceful stop ends with 0");
    assert_whole(&stage);
    // Once more, now that nothing runs: nothing has happened twice meanwhile.
    assert_eq!(storm.faults(&stage), Vec::<String>::new());
}

/// A sandbox that signs quickly and repeats its callbacks often enough for a process that lives half a second.
fn stormy() -> SandboxOptions {
    let callback_policy = CallbackPolicy {
        interval: Duration::from_millis(300),
        attempts_max: 10_000,
        timeout: Duration::from_secs(5),
    };
    SandboxOptions { callback_policy, ..SandboxOptions::default() }
}

/// Nothing is lost on this wire, so a call that takes long means a busy machine, not a lost answer.
fn be_patient(stage: &Stage) {
    let config = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
    let patient =
        config.replace("read = \"1s\"", "read = \"30s\"").replace("call = \"2s\"", "call = \"30s\"");
    assert_ne!(config, patient, "the timeouts are where they were");
    std::fs::write(&stage.config_path, patient).expect("the configuration is written");
}

/// When a life ends.
enum End {
    /// So long after the process was started: mostly before it is ready.
    AfterStart(Duration),
    /// So long after it was ready for the first time.
    AfterReady(Duration),
}

impl End {
    fn by(dice: &mut Dice) -> Self {
        if dice.one_in(3) {
            Self::AfterStart(Duration::from_millis(3 + dice.below(900)))
        } else {
            Self::AfterReady(Duration::from_millis(3 + dice.below(1_500)))
        }
    }
}

/// Times from the start of the process to its first "ready".
#[derive(Default)]
struct Readiness {
    longest: Duration,
    reached: usize,
}

impl Readiness {
    fn note(&mut self, took: Duration) {
        self.reached += 1;
        self.longest = self.longest.max(took);
    }
}

fn live_and_die(stage: &Stage, end: &End, number: usize, ready: &mut Readiness) {
    let mut binary = Binary::spawn(stage, &[]);
    let since = Instant::now();
    let mut ready_at = None;
    loop {
        if ready_at.is_none() && get(stage.operator, "/health/ready").is_some_and(|(status, _)| status == 200)
        {
            ready_at = Some(Instant::now());
            ready.note(since.elapsed());
        }
        let left = match end {
            End::AfterStart(life) => life.saturating_sub(since.elapsed()),
            End::AfterReady(life) => ready_at.map_or(PATIENCE, |at| life.saturating_sub(at.elapsed())),
        };
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(Duration::from_millis(if ready_at.is_some() { 100 } else { 5 })));
        if let Ok(Some(status)) = binary.child.try_wait() {
            panic!("life {number}: the process ended by itself with {status}:\n{}", binary.log_tail());
        }
        assert!(since.elapsed() < PATIENCE, "life {number}: it is not ready:\n{}", binary.log_tail());
    }
    binary.kill();
}

/// One file in the folder, and what became of the event that tells of it.
struct Sent {
    file_id: u64,
    /// Name up to its number: `storm-00007`.
    stem: String,
    refused: bool,
    acknowledged: bool,
}

/// All events, and the queue of those that must be sent (again).
struct Storm<'s> {
    stage: &'s Stage,
    seed: u64,
    allowed: AtomicUsize,
    over: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: Vec<Sent>,
    /// Places in `events`.
    waiting: VecDeque<usize>,
    sending: usize,
    attempts: usize,
}

impl<'s> Storm<'s> {
    fn new(stage: &'s Stage, seed: u64) -> Self {
        Self {
            stage,
            seed,
            allowed: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A sender: now a new event, now one that was not answered, now one that was.
    fn send(&self, mut dice: Dice) {
        while !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5 + dice.below(40)));
            // A closed port is no attempt: nothing was sent, and nobody could have answered.
            let Some(stream) = wire::connect(self.stage.public) else { continue };
            let Some(place) = self.take(&mut dice) else { continue };
            let file_id = self.state().events[place].file_id;
            let body = self
                .stage
                .world
                .event_body(&EventSpec::new("ONDISKFILEADD", json!({"FIELDS": {"ID": file_id}})));
            let answered = wire::event_over(stream, &body).is_some_and(|heard| heard.status == 200);
            self.settle(place, answered, &mut dice);
        }
    }

    fn take(&self, dice: &mut Dice) -> Option<usize> {
        let mut state = self.state();
        let may_be_new = state.events.len() < self.allowed.load(Ordering::SeqCst);
        let place = if may_be_new && (state.waiting.is_empty() || dice.one_in(2)) {
            let event = self.drop_file(state.events.len(), dice);
            state.events.push(event);
            state.events.len() - 1
        } else {
            state.waiting.pop_front()?
        };
        state.sending += 1;
        state.attempts += 1;
        Some(place)
    }

    /// What is not answered is mostly sent again, as a sweep would, and sometimes given up. What is answered is
    /// sometimes sent again all the same.
    fn settle(&self, place: usize, answered: bool, dice: &mut Dice) {
        let mut state = self.state();
        state.sending -= 1;
        let again =
            if answered { dice.one_in(6) } else { state.events[place].acknowledged || !dice.one_in(12) };
        state.events[place].acknowledged |= answered;
        if again {
            state.waiting.push_back(place);
        }
    }

    fn is_calm(&self) -> bool {
        let state = self.state();
        state.sending == 0
            && state.waiting.is_empty()
            && state.events.len() >= self.allowed.load(Ordering::SeqCst)
    }

    fn drop_file(&self, number: usize, dice: &mut Dice) -> Sent {
        // The marker tells the sandbox what becomes of the document.
        let marker = match dice.below(20) {
            0..12 => "",
            12..14 => "~thrice",
            14..16 => "~early",
            16..18 => "~lost",
            _ => "~refuse",
        };
        let stem = format!("storm-{number:05}");
        let bytes = 500 + dice.below(60_000) as usize;
        let file = pdf(self.seed.wrapping_add(number as u64), bytes);
        let added = self.stage.world.add_file(self.stage.folder, &format!("{stem}{marker}.pdf"), file);
        let file_id = added.expect("a name that is not there yet");
        Sent { file_id, stem, refused: marker == "~refuse", acknowledged: false }
    }

    /// Prints the run's numbers; how many events were acknowledged.
    fn report(&self, kills: usize, ready: &Readiness) -> usize {
        let state = self.state();
        let acknowledged = state.events.iter().filter(|e| e.acknowledged).count();
        println!(
            "crash: {kills} kills, {} events in {} attempts, {acknowledged} acknowledged, {} given up; \
             ready in {} of {} lives, after {} ms at most",
            state.events.len(),
            state.attempts,
            state.events.len() - acknowledged,
            ready.reached,
            kills + 1,
            ready.longest.as_millis(),
        );
        acknowledged
    }

    /// The witness: in words, every event that has not ended as it must.
    fn faults(&self, stage: &Stage) -> Vec<String> {
        let seen = Seen::of(stage);
        self.state().events.iter().filter_map(|event| seen.fault_of(event)).collect()
    }
}

/// What the outside world shows, by the number of the event.
#[derive(Default)]
struct Seen {
    documents: BTreeMap<String, Vec<[u8; 32]>>,
    copies: BTreeMap<String, Vec<[u8; 32]>>,
    notices: BTreeMap<String, usize>,
    comments: BTreeMap<String, usize>,
}

impl Seen {
    fn of(stage: &Stage) -> Self {
        let mut seen = Self::default();
        for document in stage.world.documents() {
            seen.documents.entry(stem_in(&document.file_name)).or_default().push(document.signed_sha256.0);
        }
        for copy in stage.signed_copies() {
            seen.copies.entry(stem_in(&copy.name)).or_default().push(copy.sha256.0);
        }
        for notice in stage.world.all_notices() {
            *seen.notices.entry(stem_in(&notice.text)).or_default() += 1;
        }
        for comment in stage.world.comments(DEAL) {
            *seen.comments.entry(stem_in(&comment.text)).or_default() += 1;
        }
        seen
    }

    fn fault_of(&self, event: &Sent) -> Option<String> {
        let documents = self.documents.get(&event.stem).map_or(&[][..], Vec::as_slice);
        let copies = self.copies.get(&event.stem).map_or(&[][..], Vec::as_slice);
        let told = |from: &BTreeMap<String, usize>| from.get(&event.stem).copied().unwrap_or(0);
        let (notices, comments) = (told(&self.notices), told(&self.comments));
        let nothing = documents.is_empty() && copies.is_empty() && notices == 0 && comments == 0;
        if nothing && !event.acknowledged {
            return None;
        }
        let right_bytes = if event.refused { copies.is_empty() } else { copies == documents };
        if documents.len() == 1 && right_bytes && notices == 1 && comments == 1 {
            return None;
        }
        Some(format!(
            "{}{}: {} documents, {} copies (right: {right_bytes}), {notices} notices, {comments} comments",
            event.stem,
            if event.acknowledged { "" } else { " (never acknowledged)" },
            documents.len(),
            copies.len(),
        ))
    }
}

fn stem_in(text: &str) -> String {
    text.find("storm-").and_then(|at| text.get(at..at + 11)).unwrap_or("unknown").to_owned()
}

fn dead_letters(stage: &Stage) -> String {
    let answer = wire::admin(stage.operator, &stage.secrets().operator, "documents?step=parked&limit=5");
    answer.map_or_else(|| "no answer".to_owned(), |heard| heard.body)
}

/// Whether no document is live and no notice waits, as the operator sees it.
fn is_idle(stage: &Stage) -> bool {
    let Some(heard) = wire::admin(stage.operator, &stage.secrets().operator, "counts") else { return false };
    let counts = heard.json();
    let finished = ["delivered", "refused", "ignored", "cancelled"];
    let live = counts["steps"].as_array().into_iter().flatten().filter(|step| {
        !finished.contains(&step["step"].as_str().unwrap_or_default()) && step["count"] != json!(0)
    });
    live.count() == 0 && counts["notices"] == json!(0) && counts["in_flight"] == json!(0)
}

// ---- the store afterwards ------------------------------------------------------------------------------------

struct Opened {
    view: ViewFate,
    invariants: InvariantReport,
    unfinished: Vec<String>,
    waiting_notices: usize,
    parked_notices: usize,
    spool_bytes: u64,
}

/// Opens the store by the library, reads everything, closes it.
fn open_store(stage: &Stage) -> Opened {
    let loaded = Config::load(Some(&stage.config_path), &Environment::of([("", ""); 0]));
    let loaded = loaded.unwrap_or_else(|errors| panic!("the test's configuration: {:#?}", errors.problems));
    let (store, report) = Store::open(wiring::store_options(&loaded.config), &mut |_| {})
        .expect("the store opens by the library");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let opened = runtime.block_on(async {
        let mut unfinished = Vec::new();
        let mut place = None;
        loop {
            let page = store.list(DocumentFilter::default(), place, 500).await.expect("the store lists");
            let open = page.items.iter().filter(|saga| !saga.step.is_finished());
            unfinished.extend(open.map(|saga| format!("{} {:?} {:?}", saga.id, saga.step, saga.dead_letter)));
            place = page.next;
            if place.is_none() {
                break;
            }
        }
        Opened {
            view: report.view,
            invariants: store.check_invariants().await.expect("the store can be checked"),
            unfinished,
            waiting_notices: store.notices(None, 10).await.expect("the inbox can be read").len(),
            parked_notices: store.parked_notices(None, 10).await.expect("parked notices can be read").len(),
            spool_bytes: store.spool().bytes(),
        }
    });
    store.close_blocking().expect("the store closes");
    opened
}

/// Clean, finished, empty.
fn assert_whole(stage: &Stage) {
    let opened = open_store(stage);
    assert_eq!(opened.view, ViewFate::Trusted, "after a graceful stop nothing needs to be rebuilt");
    let violations: Vec<String> = opened.invariants.violations.iter().map(ToString::to_string).collect();
    assert!(opened.invariants.is_clean(), "{violations:#?}");
    assert!(opened.invariants.sagas > 0, "there is something in the store");
    assert_eq!(opened.unfinished, Vec::<String>::new(), "every saga is finished");
    assert_eq!(opened.waiting_notices, 0, "nothing waits in the inbox");
    assert_eq!(opened.parked_notices, 0, "nothing is left for a person");
    assert_eq!(opened.spool_bytes, 0, "no file is kept longer than needed");
}

// ---- stopping and starting -----------------------------------------------------------------------------------

#[test]
fn sigterm_lets_work_under_way_end_and_the_next_start_goes_on_with_the_rest() {
    let stage = Stage::new(&Setting::default());
    let slow = Fault::first("easydocs.create", 2, FaultKind::SlowBefore(700));
    stage.world.add_fault(slow).expect("there is room for a fault");
    let binary = Binary::start(&stage);
    let files: Vec<u64> =
        (0..6).map(|n| stage.drop_file(&format!("storm-{n:05}.pdf"), pdf(n, 3_000))).collect();
    wait_for("a create under way", || stage.world.calls().get("easydocs.create").is_some_and(|n| *n >= 2));
    let since = Instant::now();
    let status = stop(binary);
    assert_eq!(status.code(), Some(0), "{}", support::tail(&stage.dir.path().join("edobridge.log")));
    assert!(since.elapsed() < Duration::from_secs(25), "the stop took {:?}", since.elapsed());
    // Callbacks that found no listener come again; events do not, and all six were acknowledged before the signal or
    // were sent to a process that still answered.
    let is_ours = |data: &Value| data["FIELDS"]["ID"].as_u64().is_some_and(|id| files.contains(&id));
    let events = stage.world.ledger_of("event");
    let acknowledged =
        events.iter().filter(|e| e.status == Some(200) && e.facts.get("data").is_some_and(is_ours)).count();
    assert!(acknowledged >= 2, "two creates were under way: {events:#?}");
    let binary = Binary::start(&stage);
    wait_for("every acknowledged document ends", || stage.world.all_notices().len() >= acknowledged);
    wait_for("the process has nothing left to do", || is_idle(&stage));
    assert_eq!(stage.world.documents().len(), acknowledged);
    assert_eq!(stage.signed_copies().len(), acknowledged);
    assert_eq!(stage.world.comments(DEAL).len(), acknowledged);
    assert_eq!(stage.world.all_notices().len(), acknowledged);
    assert!(stop(binary).success());
    assert_whole(&stage);
}

#[test]
fn a_second_process_on_the_same_store_is_refused_with_a_clear_sentence() {
    let stage = Stage::new(&Setting::default());
    let first = Binary::start(&stage);
    for (lang, words) in [
        ("en_US.UTF-8", "already open in another edobridge process"),
        ("ru_RU.UTF-8", "уже открыто другим процессом"),
    ] {
        let second = Command::new(env!("CARGO_BIN_EXE_edobridge"))
            .args(["--config".as_ref(), stage.config_path.as_os_str(), "serve".as_ref()])
            .env("LANG", lang)
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        let said = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    assert_eq!(get(stage.operator, "/health/ready").map(|(status, _)| status), Some(200));
    stage.drop_file("storm-00001.pdf", pdf(1, 2_000));
    wait_for("the first goes on", || stage.signed_copies().len() == 1);
    assert!(stop(first).success());
}

// ---- a full disk ---------------------------------------------------------------------------------------------

/// A file system of its own for the data, so that it can be filled. Unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None if this machine does not let us mount; a failure where continuous integration could.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the mount point is made");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"]).arg(at).output();
        if mounted.as_ref().is_ok_and(|out| out.status.success()) {
            return Some(Self(at.to_owned()));
        }
        let in_ci =
            Environment::of_process().get("CI") == Some("true") && rustix::process::geteuid().is_root();
        assert!(!in_ci, "a small disk cannot be mounted although this is root in CI: {mounted:?}");
        println!("crash: the full disk is not tried, a tmpfs cannot be mounted here: {mounted:?}");
        None
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).expect("the disk says how full it is");
        stat.f_bavail * stat.f_frsize
    }

    /// Takes all but `left` bytes.
    fn fill(&self, left: u64) {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler())
            .expect("the filler opens");
        while self.free_bytes() > left {
            let piece = vec![0x55; (self.free_bytes() - left).min(1 << 20) as usize];
            if file.write_all(&piece).is_err() {
                break;
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("the filler is removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// How full the disk gets.
#[derive(Clone, Copy)]
enum Fullness {
    /// Below what the configuration wants to keep free.
    Low,
    /// Not a byte is left.
    Full,
}

#[test]
fn a_nearly_full_disk_stops_the_intake_and_nothing_else() {
    fill_and_recover(Fullness::Low);
}

#[test]
fn a_full_disk_loses_nothing_and_recovers_by_itself() {
    fill_and_recover(Fullness::Full);
}

fn fill_and_recover(fullness: Fullness) {
    let stage = Stage::with_sandbox(
        &Setting::default(),
        SandboxOptions {
            mode: Mode::Explicit,
            callback_policy: stormy().callback_policy,
            ..SandboxOptions::default()
        },
    );
    let Some(disk) = SmallDisk::mount(&stage.data_dir()) else { return };
    let mut binary = Binary::start(&stage);
    for n in 0..3 {
        stage.drop_file(&format!("storm-{n:05}.pdf"), pdf(n, 20_000));
    }
    wait_for("three documents wait for signatures", || waiting_documents(&stage) == 3);
    let slow = Fault::always("easydocs.create", FaultKind::SlowBefore(900));
    stage.world.add_fault(slow).expect("there is room for a fault");
    stage.drop_file("storm-00003.pdf", pdf(3, 20_000));
    wait_for("a fourth is being created", || stage.world.calls().get("easydocs.create") == Some(&4));

    disk.fill(match fullness {
        Fullness::Low => 8 << 20,
        Fullness::Full => 0,
    });
    wait_for("readiness fails", || {
        get(stage.operator, "/health/ready").is_some_and(|(status, _)| status == 503)
    });
    assert_refused_with_reason(&stage);
    match fullness {
        Fullness::Low => wait_for("what is under way goes on", || waiting_documents(&stage) == 4),
        Fullness::Full => wait_for("the create is over", || stage.world.documents().len() == 4),
    }
    let before = stage.world.callbacks().len();
    sign_all(&stage);
    wait_for("callbacks are tried", || stage.world.callbacks().len() >= before + 4);
    assert!(
        stage.world.callbacks().iter().all(|call| call.status == Some(503)),
        "{:#?}",
        stage.world.callbacks()
    );
    assert_refused_with_reason(&stage);
    assert_eq!(stage.world.documents().len(), 4, "nothing is created anew");
    assert!(binary.child.try_wait().expect("the process can be asked").is_none(), "it lives");

    stage.world.clear_faults();
    disk.empty();
    wait_for("it recovers by itself", || get(stage.operator, "/health/ready").is_some_and(|(s, _)| s == 200));
    wait_for("what was accepted before ends", || is_told(&stage));
    let file = stage.world.add_file(stage.folder, "storm-00009.pdf", pdf(9, 2_000)).expect("a new name");
    assert_eq!(wire::event(stage.public, &added(&stage, file)).expect("an answer").status, 200);
    wait_for("new work is taken up", || waiting_documents(&stage) == 1);
    sign_all(&stage);
    wait_for("and ends", || stage.signed_copies().len() == 5 && is_idle(&stage));
    assert_eq!(stage.world.documents().len(), 5);
    assert_eq!(stage.world.comments(DEAL).len(), 5);
    assert_eq!(stage.world.all_notices().len(), 5);
    assert!(stop(binary).success());
    assert_whole(&stage);
}

fn is_told(stage: &Stage) -> bool {
    stage.signed_copies().len() == 4 && stage.world.all_notices().len() == 4
}

fn added(stage: &Stage, file_id: u64) -> String {
    stage.world.event_body(&EventSpec::new("ONDISKFILEADD", json!({"FIELDS": {"ID": file_id}})))
}

/// No 200, a reason for the operator, and everything can still be read.
fn assert_refused_with_reason(stage: &Stage) {
    let refused = wire::event(stage.public, &added(stage, 999_999)).expect("an answer");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("Retry-After").is_some(), "{refused:?}");
    let (status, body) = get(stage.operator, "/health/ready").expect("health answers");
    assert_eq!(status, 503, "{body}");
    let ready: Value = serde_json::from_str(&body).expect("health is JSON");
    let reason = ready["reasons"][0]["en"].as_str().unwrap_or_default();
    assert!(reason.contains("disk") || reason.contains("space"), "{body}");
    assert!(ready["reasons"][0]["ru"].as_str().is_some_and(|ru| !ru.is_empty()), "{body}");
    assert_eq!(get(stage.operator, "/health/live").expect("it lives").0, 200);
    let list = wire::admin(stage.operator, &stage.secrets().operator, "documents").expect("an answer");
    assert_eq!(list.status, 200, "{list:?}");
    assert!(list.json()["items"].as_array().is_some_and(|items| items.len() >= 3), "{list:?}");
}

fn waiting_documents(stage: &Stage) -> usize {
    let answer = wire::admin(stage.operator, &stage.secrets().operator, "documents?step=await_signature");
    answer.filter(|a| a.status == 200).and_then(|a| a.json()["items"].as_array().map(Vec::len)).unwrap_or(0)
}

fn sign_all(stage: &Stage) {
    for document in stage.world.documents().iter().filter(|d| d.status == "pending") {
        stage.world.sign(&document.id).expect("it exists");
    }
}

// ---- tools ---------------------------------------------------------------------------------------------------

/// SIGTERM, and the end of the process.
fn stop(mut binary: Binary) -> ExitStatus {
    let pid = rustix::process::Pid::from_child(&binary.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the process lives");
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = binary.child.try_wait().expect("the process can be asked") {
            return status;
        }
        assert!(Instant::now() < until, "SIGTERM does not end it:\n{}", binary.log_tail());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn wait_long(what: &str, mut done: impl FnMut() -> bool, evidence: impl Fn() -> String) {
    let until = Instant::now() + ENDING_MAX;
    while !done() {
        assert!(Instant::now() < until, "waited in vain: {what}\n{}", evidence());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn number(name: &str) -> Option<u64> {
    Environment::of_process().get(name)?.parse().ok()
}

fn random_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

struct SetAtEnd<'f>(&'f AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// xorshift64: choices that a seed repeats.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
