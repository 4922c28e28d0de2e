//! A storm: the real binary among senders, signers and a world in bad weather, killed at random moments.
//!
//! It makes a history and judges nothing but that the storm was one; the judge is the witness, from the history's file.
//! A long run is many storms, each with a world and a store of its own: so a failure is found soon after its cause, and
//! memory stays flat for a whole night.

use super::disk::SmallDisk;
use super::history::{self, Copy, Document, Fate, Record, Recorder, Search, Service, Source, now_ms, stem};
use super::people::{Director, Operator};
use super::service::{assert_whole, stop};
use super::support::kazakhstan::{Kazakhstan, Manners, PATH_SECRET};
use super::support::{Binary, DEAL, PATIENCE, Setting, Stage, get, pdf};
use super::weather::{Deck, Dice, End, HELD_MS, Weather, faults, side};
use super::wire;
use edobridge::domain::{FileDigest, Secret};
use edobridge::sandbox::callbacks::CallbackPolicy;
use edobridge::sandbox::{EventSpec, Fault, FaultKind, IDocsDocument, Reach, SandboxOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// New events per life of the process.
const EVENTS_PER_LIFE: usize = 5;
/// And when the weather is at its worst.
const EVENTS_IN_WEATHER: usize = 3;
/// Documents under way at one time: every start takes up all of them, and a life in which it gets no further than that
/// would bring none of them on.
const BACKLOG: usize = 40;
/// Senders at one time.
const SENDERS: usize = 3;
/// An impatient sender goes away after so long.
const IMPATIENCE: Duration = Duration::from_millis(400);
/// How long the last process may need for what the storm has left: far above what a slow machine takes.
const ENDING_MAX: Duration = Duration::from_secs(400);
/// Pause between two looks of the director.
const DIRECTOR_PAUSE: Duration = Duration::from_millis(150);
/// The signing service's patience with our answers: shorter than most stops, so that callbacks are given up, too.
const CALLBACK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long before a write of unknown outcome is looked for, twice: together well above the latest effect.
const SETTLE_MS: u64 = 1_500;
const _: () = assert!(2 * SETTLE_MS > 2 * HELD_MS, "a look must come after the latest effect");
/// Room for the data of a storm without kills, and for each kill.
const DISK_MIB: u64 = 96;
const DISK_KIB_PER_KILL: u64 = 700;
/// How long a full disk is waited to be noticed.
const NOTICE_MAX: Duration = Duration::from_secs(4);
/// Orders of the operator for one document at most.
const HELPS_MAX: usize = 6;
/// From so many kills on a storm must have had every weather.
const WHOLE_STORM: usize = 25;

/// What a storm is made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Its number in the run.
    pub number: usize,
    pub seed: u64,
    pub kills: usize,
    pub search: Search,
    pub rules: Rules,
}

/// Whether the service is given a chance to keep its promises. Where it is not, the witness must see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    Kept,
    /// The service is told that a create may be repeated, which is not so, while the first answers to creates are lost.
    Doubled,
    /// Its store is thrown away while everything that was acknowledged is still to be done.
    Forgotten,
}

/// Answers to creates that are lost where doubles are wanted.
const DOUBLES: u32 = 3;

/// The numbers of a storm.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub kills: usize,
    pub stops: usize,
    pub full_disks: usize,
    pub outages: usize,
    /// Starts that a full disk has prevented.
    pub refused_starts: usize,
    pub events: usize,
    pub attempts: usize,
    pub forged: usize,
    /// Answers that sent a sender away for want of room.
    pub turned_away: usize,
    pub faults: BTreeMap<&'static str, u64>,
    pub starts: usize,
    pub longest_start: Duration,
}

impl Report {
    /// Adds the numbers of another storm.
    pub fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.stops += other.stops;
        self.full_disks += other.full_disks;
        self.outages += other.outages;
        self.refused_starts += other.refused_starts;
        self.events += other.events;
        self.attempts += other.attempts;
        self.forged += other.forged;
        self.turned_away += other.turned_away;
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        self.starts += other.starts;
        self.longest_start = self.longest_start.max(other.longest_start);
    }
}

/// Plays a storm to its end and tells where its history is.
///
/// # Panics
/// If the service ends by itself, does not start, does not come to rest, or leaves a store that is not whole.
pub fn play(plan: Plan, folder: &Path, killed: impl Fn()) -> (PathBuf, Report) {
    let Ground { stage, disk, kazakh, director } = ground(plan);
    let history = folder.join(format!("storm-{}-{:016x}.jsonl", plan.number, plan.seed));
    let storm = Storm::new(&stage, disk.as_ref(), kazakh, plan, &history);
    let survivor = std::thread::scope(|scope| {
        let _over = SetAtEnd(&storm.over);
        for n in 0..SENDERS {
            let storm = &storm;
            scope.spawn(move || storm.send(Dice::new(plan.seed ^ (n as u64 + 1).wrapping_mul(0x51_7c_c1))));
        }
        scope.spawn(|| storm.direct(director));
        match plan.rules {
            Rules::Kept => {}
            Rules::Doubled => storm.allow(),
            Rules::Forgotten => storm.forget(),
        }
        storm.kill_often(&killed);
        let survivor = storm.last_life();
        storm.to_rest(&survivor);
        survivor
    });
    assert!(stop(survivor).success(), "a graceful stop ends with 0");
    if plan.rules == Rules::Kept {
        assert_whole(&stage, storm.left_in_store());
    }
    storm.close()
}

// ---- the ground --------------------------------------------------------------------------------------------------

/// Where a storm is played.
pub struct Ground {
    pub stage: Stage,
    // After the stage, so that it is unmounted before the directory is removed: fields are dropped in this order.
    pub disk: Option<SmallDisk>,
    /// The folder whose files go to iDocs.
    pub kazakh: u64,
    /// Who signs with our own signature.
    pub director: u64,
}

/// A world with both signing services, and a configuration for it.
pub fn ground(plan: Plan) -> Ground {
    let callback_policy = CallbackPolicy {
        interval: Duration::from_millis(300),
        attempts_max: 10_000,
        timeout: CALLBACK_TIMEOUT,
    };
    let setting = Setting { search: plan.search == Search::On, callback_grace: "4s", ..Setting::default() };
    let stage =
        Stage::with_sandbox(&setting, SandboxOptions { callback_policy, ..SandboxOptions::default() });
    let there = Kazakhstan::settle_in(&stage);
    let hints = format!("http://{}/idocs/callback/{PATH_SECRET}", stage.public);
    stage.world.set_idocs_subscription(hints.parse().ok());
    write_config(&stage, there);
    if plan.rules == Rules::Doubled {
        double_creates(&stage);
    }
    let room = DISK_MIB + plan.kills as u64 * DISK_KIB_PER_KILL / 1_024;
    let disk = SmallDisk::mount(&stage.data_dir(), room);
    Ground { stage, disk, kazakh: there.folder, director: there.director }
}

fn write_config(stage: &Stage, there: Kazakhstan) {
    let before = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
    let mut config = before;
    for (old, new) in [
        ("settle = \"150ms\"", format!("settle = \"{SETTLE_MS}ms\"")),
        // Short enough for the slow weather, long enough for a busy machine.
        ("read = \"1s\"\ncall = \"2s\"", "read = \"1500ms\"\ncall = \"2500ms\"".to_owned()),
        ("rate = \"box\"", "rate = \"box\"\nquery_limit_pause = \"300ms\"".to_owned()),
    ] {
        assert!(config.contains(old), "`{old}` is where it was");
        config = config.replace(old, &new);
    }
    config.push_str(&there.config(
        stage,
        &Manners {
            settle: &format!("{SETTLE_MS}ms"),
            patience: ("1500ms", "2500ms"),
            trigger: "{ kind = \"file_event\", folders = [FOLDER] }",
            more: "",
        },
    ));
    std::fs::write(&stage.config_path, config).expect("the configuration is written");
}

fn double_creates(stage: &Stage) {
    let config = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
    let lie = "[easydocs.create]\nidempotent_by_external_id = true\n";
    std::fs::write(&stage.config_path, config + lie).expect("the configuration is written");
    let lost = Fault::first("easydocs.create", DOUBLES, FaultKind::CutAfter);
    stage.world.add_fault(lost).expect("it is the first");
}

// ---- the storm ---------------------------------------------------------------------------------------------------

/// One file in a folder, and what became of the event that tells of it.
struct Sent {
    file_id: u64,
    stem: String,
    acknowledged: bool,
}

/// What a sender does next.
enum Errand {
    Genuine {
        /// In the list of events.
        place: usize,
        file_id: u64,
        stem: String,
    },
    Forged {
        file_id: u64,
        stem: String,
    },
}

struct Storm<'s> {
    stage: &'s Stage,
    disk: Option<&'s SmallDisk>,
    kazakh: u64,
    plan: Plan,
    allowed: AtomicUsize,
    over: AtomicBool,
    state: Mutex<State>,
    history: Mutex<Recorder>,
    report: Mutex<Report>,
    /// Documents that may lawfully still be stopped in the end.
    stopped: AtomicUsize,
}

#[derive(Default)]
struct State {
    events: Vec<Sent>,
    /// Places in `events`.
    waiting: VecDeque<usize>,
    sending: usize,
}

impl<'s> Storm<'s> {
    fn new(stage: &'s Stage, disk: Option<&'s SmallDisk>, kazakh: u64, plan: Plan, history: &Path) -> Self {
        let mut recorder = Recorder::create(history);
        let Plan { seed, kills, search, .. } = plan;
        recorder.write(&Record::Began { at_ms: now_ms(), seed, kills, search });
        Self {
            stage,
            disk,
            kazakh,
            plan,
            allowed: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            state: Mutex::default(),
            history: Mutex::new(recorder),
            report: Mutex::default(),
            stopped: AtomicUsize::new(0),
        }
    }

    fn note(&self, record: &Record) {
        lock(&self.history).write(record);
    }

    fn happened(&self, event: impl Into<String>) {
        self.note(&Record::Happened { at_ms: now_ms(), event: event.into() });
    }

    fn count(&self, count: impl FnOnce(&mut Report)) {
        count(&mut lock(&self.report));
    }

    // ---- senders ---------------------------------------------------------------------------------------------

    /// A sender: now a new event, now one that was not answered, now one that was, now and then a forgery.
    fn send(&self, mut dice: Dice) {
        while !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(dice.millis(5..45));
            // A closed port is no attempt: nothing was sent, and nobody could have answered.
            let Some(stream) = wire::connect(self.stage.public) else { continue };
            match self.take(&mut dice) {
                Some(Errand::Genuine { place, file_id, stem }) => {
                    self.tell(stream, place, file_id, stem, &mut dice);
                }
                Some(Errand::Forged { file_id, stem }) => self.forge(stream, file_id, stem),
                None => {}
            }
        }
    }

    fn tell(&self, stream: TcpStream, place: usize, file_id: u64, stem: String, dice: &mut Dice) {
        if dice.one_in(6) {
            let _ = stream.set_read_timeout(Some(IMPATIENCE));
        }
        self.note(&Record::Tried { at_ms: now_ms(), stem: stem.clone() });
        let heard = wire::event_over(stream, &self.body(file_id, None));
        let status = heard.map(|heard| heard.status);
        if status == Some(200) {
            self.note(&Record::Acknowledged { at_ms: now_ms(), stem });
        }
        self.count(|report| {
            report.attempts += 1;
            report.turned_away += usize::from(status == Some(503));
        });
        self.settle(place, status == Some(200), dice);
    }

    fn body(&self, file_id: u64, token: Option<&str>) -> String {
        let mut event = EventSpec::new("ONDISKFILEADD", json!({"FIELDS": {"ID": file_id}}));
        event.application_token = token.map(Secret::new);
        self.stage.world.event_body(&event)
    }

    /// An event that only a forger tells of must have no effect, whatever goes on.
    fn forge(&self, stream: TcpStream, file_id: u64, stem: String) {
        let heard = wire::event_over(stream, &self.body(file_id, Some("not-the-application-token")));
        let status = heard.map(|heard| heard.status);
        self.note(&Record::Forged { at_ms: now_ms(), stem, status });
        self.count(|report| report.forged += 1);
    }

    fn take(&self, dice: &mut Dice) -> Option<Errand> {
        let mut state = lock(&self.state);
        let may_be_new = state.events.len() < self.allowed.load(Ordering::SeqCst);
        let place = if may_be_new && (state.waiting.is_empty() || dice.one_in(2)) {
            let event = self.drop_file(state.events.len(), dice);
            let (file_id, stem) = (event.file_id, event.stem.clone());
            state.events.push(event);
            if dice.one_in(20) {
                // Nobody else ever tells of this file.
                return Some(Errand::Forged { file_id, stem });
            }
            state.events.len() - 1
        } else {
            state.waiting.pop_front()?
        };
        state.sending += 1;
        let event = &state.events[place];
        Some(Errand::Genuine { place, file_id: event.file_id, stem: event.stem.clone() })
    }

    /// What is not answered is mostly sent again, as a sweep would, and sometimes given up. What is answered is
    /// sometimes sent again all the same.
    fn settle(&self, place: usize, answered: bool, dice: &mut Dice) {
        let mut state = lock(&self.state);
        state.sending -= 1;
        let event = &mut state.events[place];
        let again = if answered { dice.one_in(6) } else { event.acknowledged || !dice.one_in(12) };
        event.acknowledged |= answered;
        if again {
            state.waiting.push_back(place);
        }
    }

    fn is_calm(&self) -> bool {
        let state = lock(&self.state);
        state.sending == 0
            && state.waiting.is_empty()
            && state.events.len() >= self.allowed.load(Ordering::SeqCst)
    }

    /// Puts a file into one of the folders; the marker in its name tells the sandbox what becomes of the document.
    fn drop_file(&self, number: usize, dice: &mut Dice) -> Sent {
        let marker = match dice.below(20) {
            0..12 => "",
            12..14 => "~thrice",
            14..16 => "~early",
            16..18 => "~lost",
            _ => "~refuse",
        };
        let (service, folder) = if dice.one_in(4) {
            (Service::IDocs, self.kazakh)
        } else {
            (Service::EasyDocs, self.stage.folder)
        };
        let stem = stem(number);
        let bytes = pdf(self.plan.seed.wrapping_add(number as u64), 500 + dice.below(60_000) as usize);
        let sha256 = hex(&bytes);
        let added = self.stage.world.add_file(folder, &format!("{stem}{marker}.pdf"), bytes);
        let file_id = added.expect("a name that is not there yet");
        let fate = if marker == "~refuse" { Fate::Refused } else { Fate::Signed };
        let source = Source { at_ms: now_ms(), stem: stem.clone(), file_id, service, fate, sha256 };
        self.note(&Record::Source(source));
        Sent { file_id, stem, acknowledged: false }
    }

    fn direct(&self, user: u64) {
        let mut director = Director::new(self.stage, user);
        while !self.over.load(Ordering::SeqCst) {
            director.look();
            std::thread::sleep(DIRECTOR_PAUSE);
        }
    }

    // ---- lives -----------------------------------------------------------------------------------------------

    fn kill_often(&self, killed: &impl Fn()) {
        let mut dice = Dice::new(self.plan.seed);
        let mut deck = Deck::default();
        for life in 0..self.plan.kills {
            self.allow();
            let weather = match deck.draw(&mut dice) {
                Weather::FullDisk if self.disk.is_none() => Weather::Fair,
                weather => weather,
            };
            self.happened(format!("life {life}: {weather:?}"));
            self.live_and_die(life, weather, &mut dice);
            self.take_over_ledger();
            killed();
        }
    }

    /// One life in which everything is acknowledged and nothing done, and then nobody remembers it.
    fn forget(&self) {
        let world = &self.stage.world;
        let deaf = Fault::always("disk.file.get", FaultKind::status(503, "UNAVAILABLE"));
        world.add_fault(deaf).expect("it is the first");
        self.allow();
        let mut life = Life::begin(self, 0);
        life.until_ready();
        while !self.is_calm() {
            life.last(Duration::from_millis(20));
            assert!(life.since.elapsed() < PATIENCE, "events are not taken:\n{}", life.binary.log_tail());
        }
        life.binary.kill();
        world.clear_faults();
        std::fs::remove_dir_all(self.stage.data_dir().join("store")).expect("the store was there");
    }

    /// New events for the next life, unless too much is under way.
    fn allow(&self) {
        let notices = self.stage.world.all_notices();
        let ended = notices.iter().filter(|notice| !notice.text.contains("/sign/")).count();
        let room = ended + lock(&self.report).forged + BACKLOG;
        let wanted = self.allowed.load(Ordering::SeqCst) + EVENTS_PER_LIFE;
        self.allowed.fetch_max(wanted.min(room), Ordering::SeqCst);
    }

    fn live_and_die(&self, life: usize, weather: Weather, dice: &mut Dice) {
        let world = &self.stage.world;
        for fault in faults(weather, dice) {
            world.add_fault(fault).expect("a life has few faults");
        }
        let full_from_the_start = weather == Weather::FullDisk && dice.one_in(3);
        if full_from_the_start {
            self.fill(dice);
        }
        let mut life = Life::begin(self, life);
        let end = End::of(weather, dice);
        if let End::AfterReady(_) = end {
            if full_from_the_start {
                self.send_more();
                life.last(dice.millis(300..900));
                self.empty_disk();
                // What it could do nothing about is not its start.
                life.since = Instant::now();
            }
            if life.until_ready() {
                self.pass(weather, full_from_the_start, &mut life, dice);
            }
        }
        let (End::AfterStart(rest) | End::AfterReady(rest)) = end;
        life.last(rest);
        life.binary.kill();
        self.count(|report| report.kills += 1);
        world.clear_faults();
    }

    /// What happens in the middle of a life.
    fn pass(&self, weather: Weather, was_full: bool, life: &mut Life<'_>, dice: &mut Dice) {
        match weather {
            Weather::Fair | Weather::Lossy | Weather::Lying | Weather::Slow => {}
            Weather::Down => {
                let side = side(dice);
                self.happened(format!("{side:?} is down"));
                self.count(|report| report.outages += 1);
                self.reach(side, Reach::Down);
                self.send_more();
                life.last(dice.millis(200..1_100));
                self.reach(side, Reach::Up);
            }
            Weather::Stopped => {
                life.last(dice.millis(50..600));
                life.signal(Signal::STOP);
                self.happened("stopped");
                self.count(|report| report.stops += 1);
                self.send_more();
                std::thread::sleep(dice.millis(1_700..3_200));
                // Sometimes it is killed where it stands.
                if !dice.one_in(3) {
                    life.signal(Signal::CONT);
                    self.happened("goes on");
                }
            }
            Weather::FullDisk if was_full => {}
            Weather::FullDisk => {
                life.last(dice.millis(50..500));
                self.fill(dice);
                life.until_refusing();
                self.send_more();
                life.last(dice.millis(100..900));
                self.empty_disk();
            }
        }
    }

    /// So that senders have something to do in the worst of it.
    fn send_more(&self) {
        self.allowed.fetch_add(EVENTS_IN_WEATHER, Ordering::SeqCst);
    }

    fn reach(&self, side: edobridge::sandbox::Side, reach: Reach) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(self.stage.world.set_reach(side, reach));
    }

    fn fill(&self, dice: &mut Dice) {
        let Some(disk) = self.disk else { return };
        // Not a byte, or less than the configuration wants to keep free.
        disk.fill(if dice.one_in(3) { 8 << 20 } else { 0 });
        self.happened("the disk is full");
        self.count(|report| report.full_disks += 1);
    }

    fn empty_disk(&self) {
        let Some(disk) = self.disk else { return };
        disk.empty();
        self.happened("there is room again");
    }

    fn take_over_ledger(&self) {
        let mut history = lock(&self.history);
        let entries = self.stage.world.ledger_after(history.seen());
        history.calls(&entries);
    }

    // ---- the end ---------------------------------------------------------------------------------------------

    fn last_life(&self) -> Binary {
        self.happened("the last life");
        let mut life = Life::begin(self, self.plan.kills);
        life.until_ready();
        life.binary
    }

    /// Until every sender is content, nothing is under way, and the operator has helped where a person is needed.
    fn to_rest(&self, survivor: &Binary) {
        let operator = Operator::new(self.stage, self.plan.search);
        let mut helps: BTreeMap<String, usize> = BTreeMap::new();
        let until = Instant::now() + ENDING_MAX;
        loop {
            let business = operator.business();
            if self.is_calm() && business.is_some_and(|b| b.live == 0) && self.is_quiet() {
                let stopped = business.map_or(0, |b| b.stopped);
                if stopped == 0 || !self.help(&operator, &mut helps) {
                    return;
                }
            }
            assert!(
                Instant::now() < until,
                "storm {} (seed {}) does not come to rest: {business:?}, senders calm: {}\n{}",
                self.plan.number,
                self.plan.seed,
                self.is_calm(),
                survivor.log_tail()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Whether no call was made since the last look, so that nothing comes late after the operator has looked.
    fn is_quiet(&self) -> bool {
        self.take_over_ledger();
        let before = lock(&self.history).seen();
        std::thread::sleep(Duration::from_millis(400));
        self.take_over_ledger();
        lock(&self.history).seen() == before
    }

    /// Whether anybody could be helped.
    fn help(&self, operator: &Operator<'_>, helps: &mut BTreeMap<String, usize>) -> bool {
        let mut helped = false;
        for stopped in operator.dead_letters().unwrap_or_default() {
            let times = helps.entry(stopped.document.clone()).or_default();
            if *times == HELPS_MAX {
                continue;
            }
            *times += 1;
            helped = true;
            let remedy = operator.help(&stopped);
            let (document, name, code) = (stopped.document, stopped.name, stopped.code);
            self.note(&Record::Helped { at_ms: now_ms(), document, name, code, remedy });
        }
        if !helped {
            self.look_at_dead_letters(operator);
        }
        helped
    }

    fn look_at_dead_letters(&self, operator: &Operator<'_>) {
        let left = operator.dead_letters().expect("the last process answers its operator");
        self.stopped.store(left.len(), Ordering::SeqCst);
        for stopped in left {
            let (document, name, code) = (stopped.document, stopped.name, stopped.code);
            self.note(&Record::DeadLetter { document, name, code });
        }
    }

    fn left_in_store(&self) -> usize {
        self.stopped.load(Ordering::SeqCst)
    }

    /// The last look at the world, now that nothing runs.
    fn close(self) -> (PathBuf, Report) {
        self.take_over_ledger();
        let world = &self.stage.world;
        for seen in world.documents() {
            let (id, name, created_ms) = (seen.id, seen.file_name, seen.created_ms);
            let (sha256, signed) = (seen.sha256.to_hex(), vec![seen.signed_sha256.to_hex()]);
            let service = Service::EasyDocs;
            self.note(&Record::Document(Document { service, id, name, created_ms, sha256, signed }));
        }
        for seen in &world.idocs().documents {
            self.note(&Record::Document(of_idocs(seen)));
        }
        for folder in [self.stage.folder, self.kazakh] {
            for file in world.files(folder).into_iter().filter(|file| file.name.contains("_signed")) {
                let (file_id, name, sha256) = (file.id, file.name, file.sha256.to_hex());
                self.note(&Record::Copy(Copy { file_id, name, sha256 }));
            }
        }
        for notice in world.all_notices() {
            self.note(&Record::Notice { id: notice.id, user: notice.user_id, text: notice.text });
        }
        for comment in world.comments(DEAL) {
            self.note(&Record::Comment { id: comment.id, text: comment.text });
        }
        let plan = self.plan;
        let mut report = self.report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        report.events = self.state.into_inner().map_or(0, |state| state.events.len());
        let history = self.history.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        report.faults.clone_from(history.faults());
        assert_stormy(plan, self.disk.is_some(), &report);
        (history.close(), report)
    }
}

/// A storm that never struck proves nothing.
fn assert_stormy(plan: Plan, has_disk: bool, report: &Report) {
    assert_eq!(report.kills, plan.kills);
    if plan.kills < WHOLE_STORM {
        return;
    }
    assert!(report.stops > 0 && report.outages > 0, "{report:?}");
    assert!(!has_disk || report.full_disks > 0, "{report:?}");
    assert!(report.faults.len() > 2, "too few kinds of faults have struck: {report:?}");
}

fn of_idocs(seen: &IDocsDocument) -> Document {
    let hex = |digest: &FileDigest| digest.to_hex();
    Document {
        service: Service::IDocs,
        id: seen.id.clone(),
        name: seen.name.clone(),
        created_ms: seen.created_ms,
        sha256: seen.files.first().map(|file| hex(&file.sha256)).unwrap_or_default(),
        signed: seen.print_form_sha256.iter().chain(&seen.archive_sha256).map(hex).collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    FileDigest(Sha256::digest(bytes).into()).to_hex()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Sets a flag also when its scope is left by a panic: a thread that nobody stops would hang the run instead of failing it.
pub struct SetAtEnd<'f>(pub &'f AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

// ---- one life ----------------------------------------------------------------------------------------------------

/// A process from its start to its death.
struct Life<'s> {
    storm: &'s Storm<'s>,
    number: usize,
    binary: Binary,
    since: Instant,
    over: bool,
}

impl<'s> Life<'s> {
    fn begin(storm: &'s Storm<'s>, number: usize) -> Self {
        let binary = Binary::spawn(storm.stage, &[]);
        Self { storm, number, binary, since: Instant::now(), over: false }
    }

    /// Lets it live on for a while.
    fn last(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while !self.has_ended() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Until it takes new work; false if it has ended instead, which only a full disk excuses.
    fn until_ready(&mut self) -> bool {
        while !self.has_ended() {
            if get(self.storm.stage.operator, "/health/ready").is_some_and(|(status, _)| status == 200) {
                let took = self.since.elapsed();
                self.storm.happened(format!("ready after {} ms", took.as_millis()));
                self.storm.count(|report| {
                    report.starts += 1;
                    report.longest_start = report.longest_start.max(took);
                });
                return true;
            }
            let log = || self.binary.log_tail();
            assert!(self.since.elapsed() < PATIENCE, "life {}: it is not ready:\n{}", self.number, log());
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Until it has noticed that it cannot take new work, if it does so soon.
    fn until_refusing(&mut self) {
        let until = Instant::now() + NOTICE_MAX;
        while !self.has_ended() && Instant::now() < until {
            if get(self.storm.stage.operator, "/health/ready").is_some_and(|(status, _)| status != 200) {
                self.storm.happened("takes nothing new");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        if !self.over {
            kill_process(Pid::from_child(&self.binary.child), signal).expect("the process lives");
        }
    }

    /// A full disk may keep it from starting; everything else is a failure.
    fn has_ended(&mut self) -> bool {
        if self.over {
            return true;
        }
        let Ok(Some(status)) = self.binary.child.try_wait() else { return false };
        let log = self.binary.log_tail();
        let excused = status.code() == Some(1) && log.contains("os error 28");
        assert!(excused, "life {}: the process ended by itself with {status}:\n{log}", self.number);
        let last = log.lines().last().unwrap_or_default();
        self.storm.happened(format!("refused to start, {status}: {last}"));
        self.storm.count(|report| report.refused_starts += 1);
        self.over = true;
        true
    }
}

/// Where histories are written.
pub fn folder_of_histories(kept: Option<&Path>) -> PathBuf {
    let folder = kept.map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash"), Path::to_owned);
    std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    folder
}

/// Reads a history that must be readable.
pub fn read_back(path: &Path) -> Vec<Record> {
    history::read(path).unwrap_or_else(|problem| panic!("{problem}"))
}
