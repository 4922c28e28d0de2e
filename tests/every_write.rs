//! Every write, every crash: a document's life through the store, whose files (those of sled included) lie behind a
//! layer that sees every change. For each of the W changes and syncs, what a power cut or a death at that moment leaves
//! is made anew by the strictest rules of POSIX, opened, and compared with what was acknowledged before it. And each
//! of the W is made to fail: disk full, I/O error, read-only. Then the same with the real binary and its W, and a second
//! cut during the recovery from the first.
//!
//! The layer stands between the program and the C library, so it sees what is done through that; a test compares the
//! files of the whole life with those that the trace explains, so nothing gets past it unseen.
//!
//! By default every cut is judged in all four ways, and every change fails in one way, in turn; of the real binary every
//! fourth change, and of two cuts every so many-th. With `EDOBRIDGE_EVERY_WRITE=all` reordering is tried with several
//! seeds, every change fails in every way, that of the real binary too (8 minutes on 2 cores), and no first or second cut
//! is left out, each in one way (20 minutes). `EDOBRIDGE_EVERY_WRITE_AT=n` judges the cut after change n, or lets change
//! n fail, alone.
#![allow(clippy::print_stdout, reason = "what was counted is shown")]

mod counts;
mod support;
mod wire;

#[path = "every_write/cuts.rs"]
mod cuts;
#[path = "every_write/image.rs"]
mod image;
#[path = "every_write/judge.rs"]
mod judge;
#[path = "every_write/life.rs"]
mod life;
#[path = "every_write/play.rs"]
mod play;
#[path = "every_write/second_cut.rs"]
mod second_cut;
#[path = "every_write/service.rs"]
mod service;
#[path = "every_write/service_faults.rs"]
mod service_faults;
#[path = "every_write/trace.rs"]
mod trace;

use cuts::{Begun, Left, Tally, judge_cuts};
use image::{Cut, Image, Syncs};
use judge::{Judge, Told, Verdict};
use life::Session;
use play::{Manner, Player};
use service::{Said, Served, Witness};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Instant;
use tempfile::TempDir;
use trace::{Fault, Line};

fn variable(name: &str) -> Option<String> {
    edobridge::config::Environment::of_process().get(name).map(str::to_owned)
}

/// Whether everything is judged, and not each in turn.
fn is_whole() -> bool {
    variable("EDOBRIDGE_EVERY_WRITE").as_deref() == Some("all")
}

/// Where files are kept in memory: what the disk does is made by the trace, so a real one would only cost time.
fn ground() -> TempDir {
    const ROOM_BYTES: u64 = 512 << 20;
    let has_room =
        rustix::fs::statvfs("/dev/shm").is_ok_and(|there| there.f_bavail * there.f_frsize >= ROOM_BYTES);
    let in_memory = if has_room { TempDir::new_in("/dev/shm").ok() } else { None };
    in_memory.unwrap_or_else(|| TempDir::new().expect("a directory for the test"))
}

// --- a life in a process of its own ------------------------------------------------------------------------------

/// The child of the tests below: plays a life behind the layer.
#[test]
fn child_that_lives() {
    let (Some(root), Some(life)) = (variable("EVERY_WRITE_ROOT"), variable("EVERY_WRITE_LIFE")) else {
        return;
    };
    let manner = match variable("EVERY_WRITE_MANNER").as_deref() {
        Some("die") => Manner::Die,
        _ => Manner::Recover,
    };
    let life = life_called(&life);
    Player::new(Path::new(&root), manner, &life).play(&life);
}

fn life_called(name: &str) -> Vec<Session> {
    match name {
        "whole" => life::whole(),
        "short" => life::short(),
        other => panic!("there is no life called {other}"),
    }
}

/// A life that was played.
struct Played {
    ground: TempDir,
    lines: Vec<Line>,
    output: Output,
}

impl Played {
    fn play(life: &str, manner: Manner, fault: Option<(u32, Fault)>) -> Self {
        let ground = ground();
        let (root, trace) = (root_in(&ground), ground.path().join("trace"));
        std::fs::create_dir(&root).expect("the root is made");
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.args(["--exact", "child_that_lives", "--nocapture"]).env("EVERY_WRITE_LIFE", life);
        if manner == Manner::Die {
            child.env("EVERY_WRITE_MANNER", "die");
        }
        child.envs(trace::variables(&root, &trace, fault));
        let output = child.stdin(Stdio::null()).output().expect("the child runs");
        let lines = trace::read(&trace);
        Self { ground, lines, output }
    }

    fn root(&self) -> PathBuf {
        root_in(&self.ground)
    }

    fn words(&self) -> String {
        let Output { stdout, stderr, status } = &self.output;
        format!("{status}\n{}\n{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))
    }
}

fn root_in(ground: &TempDir) -> PathBuf {
    let ground = ground.path().canonicalize().expect("the directory is there");
    ground.join("root")
}

/// W: the changes and syncs.
fn changes(lines: &[Line]) -> usize {
    lines.iter().filter(|line| line.is_change).count()
}

// --- cuts ------------------------------------------------------------------------------------------------------

/// The number of the one change that is to be looked at, if a person wants that.
fn only() -> Option<usize> {
    variable("EDOBRIDGE_EVERY_WRITE_AT").and_then(|n| n.parse().ok())
}

fn judge_life(lines: &[Line], life: &[Session], syncs: Syncs, cuts: &[Cut]) -> Tally {
    let deeds = life::deeds(life);
    judge_cuts(
        lines,
        Begun::with(syncs),
        only(),
        |_| cuts.to_vec(),
        Told::hear,
        || {
            let judge = Judge::new(&deeds);
            move |left: &Left<Told>, dir: &Path| judge.judge(&left.files, dir, &left.told, left.cut)
        },
    )
}

#[test]
fn whatever_a_cut_at_any_write_leaves_all_that_was_acknowledged_is_there() {
    let began = Instant::now();
    let played = Played::play("whole", Manner::Recover, None);
    assert!(played.output.status.success(), "{}", played.words());
    let life = life::whole();
    assert_the_trace_is_whole(&played, &life);
    let writes = changes(&played.lines);
    let lived = began.elapsed();
    let tally = judge_life(&played.lines, &life, Syncs::Honest, &Cut::ALL);
    println!("every write: W = {writes}, lived in {lived:?}, all in {:?}", began.elapsed());
    tally.print();
    tally.assert_clean();
    assert!(writes > 200, "too few writes to prove anything: {writes}");
    if only().is_none() && !is_whole() {
        counts::hold_above("every_write.cuts", tally.by_cut.values().map(|c| c.opened as u64).sum());
    }
}

/// Nothing has got past the layer, and the life is what it is thought to be.
fn assert_the_trace_is_whole(played: &Played, life: &[Session]) {
    let mut image = Image::new(Syncs::Honest);
    played.lines.iter().for_each(|line| image.advance(line));
    let (explained, there) = (image.after(Cut::Death, 0), image::read(&played.root()));
    let differing: Vec<_> = explained
        .keys()
        .chain(there.keys())
        .filter(|path| explained.get(*path) != there.get(*path))
        .collect();
    assert!(differing.is_empty(), "the trace does not explain {differing:?}");
    let told = Told::of(&played.lines);
    let deeds = life::deeds(life);
    assert_eq!((told.done, told.begun, told.refusals, told.has_ended), (deeds.len(), deeds.len(), 0, true));
    // What is there to break: segments are changed, snapshots taken, old journal removed, the view written.
    for part in ["view/db", ".snap", "0002.seg", "CHECKPOINT", "spool/"] {
        assert!(
            there.keys().any(|path| path.contains(part)),
            "the life leaves no {part}: {:?}",
            there.keys()
        );
    }
    let judge = Judge::new(&deeds);
    for (name, before) in judge.backups(&told) {
        let target = played.ground.path().join(format!("restored-{name}"));
        judge
            .restored(&life::backup_path(&played.root(), name), &target, before)
            .expect("the backup is good");
    }
}

#[test]
fn an_acknowledgement_before_the_sync_is_caught() {
    let played = Played::play("whole", Manner::Recover, None);
    assert!(played.output.status.success(), "{}", played.words());
    let tally = judge_life(&played.lines, &life::whole(), Syncs::JournalLies, &[Cut::Dropped]);
    let missing =
        tally.wrong.iter().filter(|what| what.contains("missing") || what.contains("no backup")).count();
    println!("a journal whose syncs do nothing: {missing} cuts are found out, {} in all", tally.wrong.len());
    assert!(missing > 20, "it was not noticed: {:?}", tally.wrong);
}

/// No cut makes the store refuse; what the judge does with a refusal is shown with damage that no cut leaves.
#[test]
fn a_store_that_is_damaged_is_refused_in_clear_words_and_its_backup_brings_it_back() {
    let played = Played::play("whole", Manner::Recover, None);
    assert!(played.output.status.success(), "{}", played.words());
    let mut image = Image::new(Syncs::Honest);
    played.lines.iter().for_each(|line| image.advance(line));
    let mut files = image.after(Cut::Dropped, 0);
    let is_used = |bytes: &[u8]| bytes[..64].iter().any(|byte| *byte != 0);
    let segments = files.iter_mut().filter(|(path, _)| path.ends_with(".seg"));
    let used = segments.filter_map(|(_, bytes)| bytes.as_mut().filter(|bytes| is_used(bytes)));
    used.last().expect("a segment is in use")[100] ^= 1;
    let judge = Judge::new(&life::deeds(&life::whole()));
    let told = Told::of(&played.lines);
    let verdict = judge.judge(&files, &played.ground.path().join("damaged"), &told, Cut::Dropped);
    match verdict {
        Ok(Verdict::Refused { text, facts }) => {
            assert!(text.contains(".seg") && facts > 5, "{text}, {facts}")
        }
        other => panic!("{other:?}"),
    }
}

// --- two cuts --------------------------------------------------------------------------------------------------

/// The child of the test below: recovers from a cut behind the layer.
#[test]
fn child_that_recovers() {
    if let (Some(root), Some(boot)) = (variable("EVERY_WRITE_ROOT"), variable("EVERY_WRITE_BOOT")) {
        second_cut::recover(Path::new(&root), &boot);
    }
}

/// After every so many-th change there is a first cut, in the ordinary run.
const FIRST_CUTS: usize = 20;
/// And during the recovery from it a second one, after every so many-th.
const SECOND_CUTS: usize = 5;

/// The way of cutting whose turn it is: with a step that meets all of them.
fn in_turn(number: usize, step: usize, shift: usize) -> Option<Cut> {
    let is_chosen = is_whole() || number % step == shift % step;
    let turn = if is_whole() { number + shift } else { number / step + shift };
    is_chosen.then(|| Cut::ALL[turn % Cut::ALL.len()])
}

#[test]
fn a_cut_during_the_recovery_from_a_cut_loses_nothing_either() {
    let began = Instant::now();
    let played = Played::play("whole", Manner::Recover, None);
    assert!(played.output.status.success(), "{}", played.words());
    let firsts = second_cut::firsts(&played.lines, |number| match only() {
        Some(only) => (only == number).then(|| Cut::ALL[number % Cut::ALL.len()]),
        None => in_turn(number, FIRST_CUTS, FIRST_CUTS / 2),
    });
    let mut tally = Tally::default();
    for (n, first) in firsts.iter().enumerate() {
        let ground = played.ground.path().join(format!("recovery-{n}"));
        let cuts = |number| in_turn(number, SECOND_CUTS, n).into_iter().collect();
        tally.add(second_cut::judge(first, &ground, Syncs::Honest, cuts));
    }
    println!("two cuts: {} recoveries, all in {:?}", firsts.len(), began.elapsed());
    tally.print();
    tally.assert_clean();
    // A journal whose syncs do nothing, during the recovery only.
    let first = &firsts[firsts.len() / 2];
    let ground = played.ground.path().join("control");
    let control = second_cut::judge(first, &ground, Syncs::JournalLies, |_| vec![Cut::Dropped]);
    let missing = control.wrong.iter().filter(|what| what.contains("between two cuts is missing")).count();
    println!("  with a journal whose syncs do nothing, {missing} second cuts are found out");
    assert!(missing > 0, "it was not noticed: {:?}", control.wrong);
    let opened: usize = tally.by_cut.values().map(|counts| counts.opened).sum();
    assert!(only().is_some() || opened > 100, "too few to prove anything: {opened}");
}

// --- faults ----------------------------------------------------------------------------------------------------

/// Processes at the same time: most of such a life is waiting until the store looks again.
const LIVES: usize = 40;

/// A change that fails, and what the process then does.
#[derive(Debug, Clone, Copy)]
struct Case {
    number: u32,
    fault: Fault,
    manner: Manner,
}

impl Case {
    fn name(&self) -> String {
        format!("change {}, {}, {:?}", self.number, self.fault.name(), self.manner)
    }
}

/// Every change with every fault, or with one of them in turn.
fn cases(writes: usize) -> Vec<Case> {
    let manners = [Manner::Recover, Manner::Die];
    let ways: Vec<(Fault, Manner)> =
        Fault::ALL.iter().flat_map(|fault| manners.map(|manner| (*fault, manner))).collect();
    let numbers = 1..=u32::try_from(writes).expect("few");
    let numbers = numbers.filter(|n| only().is_none_or(|only| only == *n as usize));
    let chosen = |number: u32| {
        // Neighbouring changes belong together (write and sync): each kind of change meets each way sooner or later.
        let turn = number as usize * 3 % ways.len();
        if is_whole() { ways.clone() } else { vec![ways[turn]] }
    };
    let cases =
        |number| chosen(number).into_iter().map(move |(fault, manner)| Case { number, fault, manner });
    numbers.flat_map(cases).collect()
}

/// What came of the cases of one fault.
#[derive(Default)]
struct Suffered {
    runs: usize,
    struck: usize,
    refused: usize,
    died: usize,
    facts: usize,
}

#[test]
fn whichever_write_fails_nothing_is_acknowledged_that_is_not_there_and_it_recovers() {
    let began = Instant::now();
    let clean = Played::play("short", Manner::Recover, None);
    assert!(clean.output.status.success(), "{}", clean.words());
    let writes = changes(&clean.lines);
    let cases = Mutex::new(cases(writes).into_iter());
    let suffered = Mutex::new(BTreeMap::<Fault, Suffered>::new());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..LIVES {
            scope.spawn(|| {
                let judge = Judge::new(&life::deeds(&life::short()));
                while let Some(case) = { cases.lock().expect("no panic").next() } {
                    let mut one = Suffered::default();
                    if let Err(what) = suffer(&judge, case, &mut one) {
                        wrong.lock().expect("no panic").push(format!("{}: {what}", case.name()));
                    }
                    suffered.lock().expect("no panic").entry(case.fault).or_default().add(&one);
                }
            });
        }
    });
    let (suffered, wrong) = (suffered.into_inner().expect("no panic"), wrong.into_inner().expect("no panic"));
    println!("every fault: W = {writes}, all in {:?}", began.elapsed());
    for (fault, Suffered { runs, struck, refused, died, facts }) in &suffered {
        let name = fault.name();
        println!(
            "  {name:<24} {runs} runs, {struck} struck, {refused} refusals, {died} deaths, {facts} facts checked"
        );
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    if only().is_none() {
        let refused: usize = suffered.values().map(|s| s.refused).sum();
        assert!(refused > writes / 5, "too few faults were noticed to prove anything: {refused}");
    }
}

impl Suffered {
    fn add(&mut self, other: &Self) {
        let Self { runs, struck, refused, died, facts } = other;
        self.runs += runs;
        self.struck += struck;
        self.refused += refused;
        self.died += died;
        self.facts += facts;
    }
}

/// Plays a life in which a change fails; then opens what it left, as it is and after a power cut at its end.
fn suffer(judge: &Judge, case: Case, suffered: &mut Suffered) -> Result<(), String> {
    let played = Played::play("short", case.manner, Some((case.number, case.fault)));
    let told = Told::of(&played.lines);
    let struck = played.lines.iter().any(|line| line.failed.is_some());
    suffered.runs += 1;
    suffered.struck += usize::from(struck);
    suffered.refused += told.refusals;
    let has_died = case.manner == Manner::Die && told.refusals > 0;
    suffered.died += usize::from(has_died);
    let has_ended = played.output.status.success() && told.has_ended;
    if !has_died && !has_ended {
        return Err(format!("it ended with no word: {}", played.words()));
    }
    let mut image = Image::new(Syncs::Honest);
    played.lines.iter().for_each(|line| image.advance(line));
    for cut in [Cut::Death, Cut::Dropped, Cut::Reordered] {
        let dir = played.ground.path().join(cut.name());
        let files = image.after(cut, u64::from(case.number));
        match judge.judge(&files, &dir, &told, cut) {
            Ok(Verdict::Opened { facts, .. }) => suffered.facts += facts,
            Ok(refused) => return Err(format!("then {}: {refused:?}", cut.name())),
            Err(what) => return Err(format!("then {}: {what}", cut.name())),
        }
    }
    Ok(())
}

// --- the real binary --------------------------------------------------------------------------------------------

#[test]
fn what_the_real_binary_said_to_anyone_is_known_after_a_cut_at_any_write() {
    let began = Instant::now();
    let served = service::serve();
    let mut said = Said::default();
    served.lines.iter().for_each(|line| said.hear(line));
    assert!(said.is_whole(), "the document was not heard going its whole way: {said:?}");
    let writes = changes(&served.lines);
    let tally = judge_service(&served, Syncs::Honest, &Cut::ALL);
    println!("the real binary: W = {writes}, all in {:?}", began.elapsed());
    tally.print();
    tally.assert_clean();
    assert!(writes > 100, "too few writes to prove anything: {writes}");
    // And what would be if the journal's syncs did nothing.
    let control = judge_service(&served, Syncs::JournalLies, &[Cut::Dropped]);
    let missing = control.wrong.iter().filter(|what| what.contains("missing")).count();
    println!("  with a journal whose syncs do nothing, {missing} cuts are found out");
    assert!(only().is_some() || missing > 20, "it was not noticed: {:?}", control.wrong);
}

fn judge_service(served: &Served, syncs: Syncs, cuts: &[Cut]) -> Tally {
    judge_cuts(
        &served.lines,
        Begun::with(syncs),
        only(),
        |_| cuts.to_vec(),
        Said::hear,
        || {
            let witness = Witness::new(&served.options);
            move |left: &Left<Said>, dir: &Path| witness.judge(left, dir)
        },
    )
}

/// Services at the same time: most of such a life is waiting as well.
const SERVICES: usize = 8;
/// Every so many-th change fails, in the ordinary run.
const STEP: u32 = 4;

/// Each change with each fault, or every so many-th with one of them; what comes after takes turns.
fn service_cases(writes: usize) -> Vec<service_faults::Case> {
    use service_faults::{After, Case};
    const AFTER: [After; 3] = [After::Mended, After::PowerCut, After::Killed];
    let numbers = 1..=u32::try_from(writes).expect("few");
    let is_chosen = |n: &u32| match only() {
        Some(only) => only == *n as usize,
        None => is_whole() || n % STEP == STEP / 2,
    };
    let chosen = numbers.filter(is_chosen).enumerate();
    let cases = chosen.flat_map(|(turn, number)| {
        let faults: Vec<Fault> = match is_whole() || only().is_some() {
            true => Fault::ALL.to_vec(),
            false => vec![Fault::ALL[turn % Fault::ALL.len()]],
        };
        faults.into_iter().enumerate().map(move |(n, fault)| {
            let after = AFTER[(turn + n) % AFTER.len()];
            Case { number, fault, after }
        })
    });
    cases.collect()
}

#[test]
fn whichever_write_of_the_real_binary_fails_it_says_so_and_all_comes_to_its_end() {
    use service_faults::{After, Case, Suffered};
    let began = Instant::now();
    let clean = service::serve();
    let writes = changes(&clean.lines);
    let cases = Mutex::new(service_cases(writes).into_iter());
    let suffered = Mutex::new(BTreeMap::<Fault, Suffered>::new());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SERVICES {
            scope.spawn(|| {
                while let Some(case) = { cases.lock().expect("no panic").next() } {
                    match service_faults::suffer(case) {
                        Ok(one) => {
                            suffered.lock().expect("no panic").entry(case.fault).or_default().add(&one);
                        }
                        Err(what) => {
                            wrong.lock().expect("no panic").push(format!("{}: {what}", case.name()));
                        }
                    }
                }
            });
        }
    });
    let (suffered, wrong) = (suffered.into_inner().expect("no panic"), wrong.into_inner().expect("no panic"));
    println!("every fault of the real binary: W = {writes}, all in {:?}", began.elapsed());
    let mut all = Suffered::default();
    for (fault, one) in &suffered {
        println!("  {:<24} {one:?}", fault.name());
        all.add(one);
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    // A disk that hushes its failures up: the judge must see what is not there.
    let answers = service_faults::before_answers(&clean.lines);
    assert!(answers.len() >= 2, "the clean run says nothing: {answers:?}");
    for number in answers.into_iter().take(2).map(|number| number.saturating_sub(8)) {
        let case = Case { number, fault: Fault::Hushed, after: After::PowerCut };
        let what = service_faults::suffer(case).expect_err("failures that were hushed up were not noticed");
        println!("  hushed up from {number} on: {}", what.lines().next().unwrap_or_default());
        assert!(what.contains("missing"), "something else was noticed: {what}");
    }
    if only().is_none() {
        assert!(all.struck * 2 > all.runs && all.not_ready + all.ended > 0, "nothing was struck: {all:?}");
    }
}
