//! Backups as an operator meets them: made under load by the real binary, verified, restored after a total loss into a
//! world that went on meanwhile. The witness reads only the sandbox's world and the acknowledgements.
#![allow(clippy::print_stdout, reason = "the run's numbers are for people")]

mod support;
mod wire;

#[path = "backup/older_binary.rs"]
mod older_binary;

use edobridge::commands::wiring;
use edobridge::config::{Config, Environment};
use edobridge::sandbox::callbacks::CallbackPolicy;
use edobridge::sandbox::{EventSpec, Fault, FaultKind, SandboxOptions};
use edobridge::store::{BackupError, BackupReport, Store, restore_backup, verify_backup};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Binary, DEAL, InProcess, Setting, Stage, pdf, wait_for};

// ---- the verb ------------------------------------------------------------------------------------------------

/// Runs the binary with the stage's configuration and waits for its end.
fn edobridge(stage: &Stage, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edobridge"))
        .args(args)
        .arg("--config")
        .arg(&stage.config_path)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

/// Everything that it said, for messages.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

#[track_caller]
fn expect(output: Output, code: i32) -> Output {
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    output
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

// ---- damage --------------------------------------------------------------------------------------------------

/// A stopped service with documents that wait for a signature, so that their files are kept.
fn stage_with_waiting_documents(count: u64) -> Stage {
    let stage = Stage::new(&Setting::default());
    let service = InProcess::start(&stage);
    for n in 0..count {
        stage.drop_file(&format!("contract-{n}~never.pdf"), pdf(n, 20_000));
    }
    wait_for("the documents wait", || {
        let counts = service.ask(|engine| async move { engine.store().counts().await });
        counts.of(edobridge::saga::document::Step::AwaitSignature) == count && counts.notices == 0
    });
    service.stop();
    stage
}

fn backup_by_library(stage: &Stage, name: &str) -> BackupReport {
    let loaded = Config::load(Some(&stage.config_path), &Environment::of([("", ""); 0]));
    let loaded = loaded.unwrap_or_else(|errors| panic!("the test's configuration: {:#?}", errors.problems));
    let (store, _) = Store::open(wiring::store_options(&loaded.config), &mut |_| {}).expect("it opens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let report = runtime.block_on(store.backup(stage.dir.path().join(name), |_| {})).expect("made");
    store.close_blocking().expect("closed");
    report
}

/// The files of the spool of a stopped service that have a file of their own: all of them after a backup.
fn spool_files(stage: &Stage) -> Vec<PathBuf> {
    let spool = stage.data_dir().join("store/spool");
    let shards = std::fs::read_dir(&spool).expect("a spool").map(|e| e.expect("an entry").path());
    let shards = shards.filter(|path| !path.ends_with("tmp") && !path.ends_with("landing"));
    let files = shards.flat_map(|shard| std::fs::read_dir(shard).expect("a shard"));
    files.map(|e| e.expect("an entry").path()).collect()
}

/// Where a small file landed it can be found again until the place is used anew: a backup has given it a file of its own,
/// and that shall be all there is.
fn forget_landed(stage: &Stage) {
    std::fs::remove_file(stage.data_dir().join("store/spool/landing/0")).expect("removed");
}

#[test]
fn every_kind_of_damage_to_a_backup_is_found_and_nothing_is_left_behind() {
    let stage = stage_with_waiting_documents(4);
    let report = backup_by_library(&stage, "a.backup");
    let file = report.path.clone();
    let scratch = stage.dir.path().join("scratch");
    std::fs::create_dir(&scratch).expect("made");
    let good = verify_backup(&file, Some(&scratch)).expect("it can be verified");
    assert_eq!(good.faults(), Vec::<String>::new());
    assert_eq!((good.hashed_files, good.backup.files), (4, 4));
    let waiting = good.counted.iter().find(|line| line.what == "await_signature").expect("counted");
    assert_eq!((waiting.backup, waiting.restored), (Some(4), 4));
    let sagas = good.counted.iter().find(|line| line.what == "tree saga").expect("counted");
    assert_eq!((sagas.backup, sagas.restored), (Some(4), 4), "of a quiet store every tree is compared");

    let whole = std::fs::read(&file).expect("read");
    let wrong = stage.dir.path().join("wrong.backup");
    let step = (whole.len() / 60).max(1);
    let mut found = 0;
    // The last byte too: it is of the trailer.
    for at in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&wrong, &bytes).expect("planted");
        let refused = verify_backup(&wrong, Some(&scratch));
        assert!(matches!(refused, Err(BackupError::Damaged { .. } | BackupError::Newer { .. })), "byte {at}");
        found += 1;
    }
    for len in [0, 1, 15, 16, 55, whole.len() / 3, whole.len() - 40, whole.len() - 1] {
        std::fs::write(&wrong, &whole[..len]).expect("planted");
        let refused = verify_backup(&wrong, Some(&scratch));
        assert!(matches!(refused, Err(BackupError::Damaged { .. })), "cut to {len}");
        found += 1;
    }
    for more in [&b"\0"[..], &whole[..100], &whole[whole.len() - 40..]] {
        std::fs::write(&wrong, [&whole[..], more].concat()).expect("planted");
        let refused = verify_backup(&wrong, Some(&scratch));
        assert!(matches!(refused, Err(BackupError::Damaged { .. })), "{} more bytes", more.len());
        found += 1;
    }
    println!("backup: {found} damages found in a file of {} bytes", whole.len());
    assert_eq!(names(&scratch), Vec::<String>::new(), "what was restored for the moment is gone");
    let target = stage.dir.path().join("never");
    assert!(restore_backup(&wrong, &target).is_err());
    assert!(!target.join("FORMAT").exists(), "a damaged backup makes no store");
}

#[test]
fn files_that_are_lost_or_rotten_on_the_disk_are_named_and_spoil_no_backup() {
    let stage = stage_with_waiting_documents(3);
    backup_by_library(&stage, "sound.backup");
    forget_landed(&stage);
    let files = spool_files(&stage);
    let [lost, rotten, _] = files.as_slice() else { panic!("three files: {files:?}") };
    let mut bytes = std::fs::read(rotten).expect("read");
    bytes[5_000] ^= 1;
    std::fs::write(rotten, bytes).expect("planted");
    let path = text(&stage.dir.path().join("rotten.backup"));
    let made = expect(edobridge(&stage, &["backup", "create", "--json", "--to", &path]), 1);
    assert_eq!(json_of(&made)["damaged_files"], 1, "{}", said(&made));
    let verified = expect(edobridge(&stage, &["backup", "verify", "--json", &path]), 1);
    let faults = json_of(&verified)["faults"].to_string();
    assert!(faults.contains("ST-6"), "{faults}");
    std::fs::remove_file(rotten).expect("removed");
    std::fs::remove_file(lost).expect("removed");
    let path = text(&stage.dir.path().join("lost.backup"));
    expect(edobridge(&stage, &["backup", "create", "--to", &path]), 0);
    let verified = expect(edobridge(&stage, &["backup", "verify", "--json", &path]), 1);
    assert_eq!(json_of(&verified)["store_check"]["violation_count"], 2, "{}", said(&verified));
    // Better most of it than nothing: it can be restored all the same.
    let to = text(&stage.dir.path().join("restored"));
    expect(edobridge(&stage, &["backup", "restore", &path, "--to", &to]), 0);
}

#[test]
fn a_file_that_rots_where_it_landed_takes_no_other_with_it() {
    let stage = stage_with_waiting_documents(3);
    let slot = stage.data_dir().join("store/spool/landing/0");
    let mut bytes = std::fs::read(&slot).expect("small files land in the first slot");
    bytes[5_000] ^= 1;
    std::fs::write(&slot, bytes).expect("planted");
    let path = text(&stage.dir.path().join("rotten.backup"));
    expect(edobridge(&stage, &["backup", "create", "--to", &path]), 0);
    let verified = json_of(&expect(edobridge(&stage, &["backup", "verify", "--json", &path]), 1));
    assert_eq!(verified["store_check"]["violation_count"], 1, "{verified:#}");
    assert_eq!(verified["hashed_files"], 2, "{verified:#}");
}

#[test]
fn a_plan_keeps_as_many_backups_as_it_says_and_none_goes_before_the_new_one_is_good() {
    let stage = stage_with_waiting_documents(1);
    let dir = stage.dir.path().join("plan");
    std::fs::create_dir(&dir).expect("made");
    for day in 1..=4 {
        std::fs::write(dir.join(format!("edobridge-2020010{day}T031700Z.backup")), "old").expect("planted");
    }
    std::fs::write(dir.join("by-hand.backup"), "precious").expect("planted");
    let plan = ["backup", "create", "--json", "--verify", "--keep", "2", &text(&dir)];
    let made = json_of(&expect(edobridge(&stage, &plan), 0));
    assert_eq!(made["removed"].as_array().map(Vec::len), Some(3), "{made:#}");
    assert_eq!(made["verified"]["faults"], json!([]));
    let left = names(&dir);
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.contains(&"by-hand.backup".to_owned()) && left[1].contains("20200104"), "{left:?}");
    // A backup that is not good takes nothing with it.
    forget_landed(&stage);
    std::fs::remove_file(&spool_files(&stage)[0]).expect("removed");
    let spoiled = expect(edobridge(&stage, &plan), 1);
    assert_eq!(json_of(&spoiled)["removed"], json!([]), "{}", said(&spoiled));
    assert_eq!(names(&dir).len(), 4);
    expect(edobridge(&stage, &["backup", "create", "--keep", "2", "--to", &text(&dir.join("x"))]), 2);
}

// ---- total loss ----------------------------------------------------------------------------------------------

/// New events in all.
const EVENTS: usize = 90;
/// Backups that are made meanwhile.
const BACKUPS: usize = 3;
/// The one that is restored: the world is well ahead of it.
const RESTORED: usize = 1;

/// A sandbox that signs quickly, and repeats its callbacks until somebody takes them.
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

/// The events of the storm that were acknowledged, by the stem of their file's name.
#[derive(Default)]
struct Acknowledged(Mutex<BTreeMap<String, u64>>);

impl Acknowledged {
    fn stems(&self) -> BTreeSet<String> {
        self.0.lock().expect("nobody panics with it").keys().cloned().collect()
    }
    fn len(&self) -> usize {
        self.0.lock().expect("nobody panics with it").len()
    }
    fn note(&self, stem: String, file_id: u64) {
        self.0.lock().expect("nobody panics with it").insert(stem, file_id);
    }
}

fn stem(number: usize) -> String {
    format!("storm-{number:05}")
}

fn stem_in(text: &str) -> String {
    text.find("storm-").and_then(|at| text.get(at..at + 11)).unwrap_or("unknown").to_owned()
}

fn tell(stage: &Stage, file_id: u64) -> bool {
    let event = EventSpec::new("ONDISKFILEADD", json!({"FIELDS": {"ID": file_id}}));
    let Some(stream) = wire::connect(stage.public) else { return false };
    wire::event_over(stream, &stage.world.event_body(&event)).is_some_and(|heard| heard.status == 200)
}

/// Puts files into the folder and tells of each, until all are told or it is stopped.
fn storm(stage: &Stage, acknowledged: &Acknowledged, over: &AtomicBool) {
    for number in 0..EVENTS {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let marker = ["", "", "~refuse", "", "~thrice"][number % 5];
        let name = format!("{}{marker}.pdf", stem(number));
        let bytes = pdf(number as u64, 700 + 400 * (number % 20));
        let file_id = stage.world.add_file(stage.folder, &name, bytes).expect("a new name");
        if tell(stage, file_id) {
            acknowledged.note(stem(number), file_id);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the outside world shows of each event: documents, signed copies, notices, comments.
fn seen(stage: &Stage) -> BTreeMap<String, [usize; 4]> {
    let mut seen: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    let mut count = |text: &str, place: usize| seen.entry(stem_in(text)).or_default()[place] += 1;
    stage.world.documents().iter().for_each(|document| count(&document.file_name, 0));
    stage.signed_copies().iter().for_each(|copy| count(&copy.name, 1));
    stage.world.all_notices().iter().for_each(|notice| count(&notice.text, 2));
    stage.world.comments(DEAL).iter().for_each(|comment| count(&comment.text, 3));
    seen
}

/// What is wrong in the end with the events of these stems.
fn unfinished(stage: &Stage, stems: &BTreeSet<String>) -> Vec<String> {
    let seen = seen(stage);
    let fault = |stem: &String| {
        let there = seen.get(stem).copied().unwrap_or_default();
        let number: usize = stem[6..].parse().expect("a number");
        let copies = usize::from(number % 5 != 2);
        (there != [1, copies, 1, 1]).then(|| format!("{stem}: {there:?}"))
    };
    stems.iter().filter_map(fault).collect()
}

/// Whatever was told to anybody: nothing of it happened twice.
fn doubles(stage: &Stage) -> Vec<String> {
    let twice = |(stem, there): (String, [usize; 4])| {
        there.iter().any(|n| *n > 1).then(|| format!("{stem}: {there:?}"))
    };
    seen(stage).into_iter().filter_map(twice).collect()
}

fn dead_letters(stage: &Stage) -> String {
    let answer = wire::admin(stage.operator, &stage.secrets().operator, "documents?step=parked&limit=5");
    answer.map_or_else(|| "no answer".to_owned(), |heard| heard.body)
}

#[test]
fn after_a_total_loss_everything_acknowledged_before_the_backup_ends_once_in_a_world_that_went_on() {
    let stage = Stage::with_sandbox(&Setting::default(), stormy());
    be_patient(&stage);
    let binary = Binary::start(&stage);
    let (acknowledged, over) = (Acknowledged::default(), AtomicBool::new(false));
    let file = |n: usize| stage.dir.path().join(format!("{n}.backup"));
    let mut known = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| storm(&stage, &acknowledged, &over));
        for n in 0..BACKUPS {
            wait_for("events for the next backup", || acknowledged.len() >= (n + 1) * EVENTS / 5);
            known.push(acknowledged.stems());
            expect(edobridge(&stage, &["backup", "create", "--to", &text(&file(n))]), 0);
        }
        wait_for("the world goes on", || {
            acknowledged.len() >= EVENTS - 5 && stage.signed_copies().len() > 20
        });
        over.store(true, Ordering::SeqCst);
    });
    binary.kill();
    std::fs::remove_dir_all(stage.data_dir()).expect("everything is lost");
    for (n, before) in known.iter().enumerate() {
        let verified = expect(edobridge(&stage, &["backup", "verify", "--json", &text(&file(n))]), 0);
        let documents = json_of(&verified)["backup"]["documents"].as_u64().unwrap_or(0);
        println!("backup {n}: {documents} documents, {} events acknowledged before", before.len());
    }
    let ahead = seen(&stage);
    expect(edobridge(&stage, &["backup", "restore", &text(&file(RESTORED))]), 0);
    let binary = Binary::start(&stage);
    let evidence = || format!("{:#?}\n{}\n{}", doubles(&stage), dead_letters(&stage), binary.log_tail());
    wait_or(
        "what was acknowledged before the backup ends",
        || unfinished(&stage, &known[RESTORED]),
        &evidence,
    );
    assert_eq!(doubles(&stage), Vec::<String>::new(), "\n{}", evidence());

    // What came after the backup is unknown to the store. When a sweep, or a person, tells of it again, it is found.
    let all = acknowledged.stems();
    let lost: Vec<u64> = acknowledged.0.lock().expect("nobody panics with it").values().copied().collect();
    for file_id in lost {
        wait_for("every event is taken", || tell(&stage, file_id));
    }
    wait_or("what was acknowledged after the backup ends too", || unfinished(&stage, &all), &evidence);
    assert_eq!(doubles(&stage), Vec::<String>::new(), "\n{}", evidence());
    println!(
        "backup: {} events, {} before the backup; {} documents were out there when all was lost",
        all.len(),
        known[RESTORED].len(),
        ahead.values().filter(|there| there[0] > 0).count(),
    );
    expect(edobridge(&stage, &["doctor", "--json"]), 0);
}

#[track_caller]
fn wait_or(what: &str, mut wrong: impl FnMut() -> Vec<String>, evidence: &impl Fn() -> String) {
    let until = std::time::Instant::now() + support::PATIENCE;
    loop {
        let faults = wrong();
        if faults.is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < until, "waited in vain: {what}: {faults:#?}\n{}", evidence());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_cannot_be_found_after_a_restore_is_a_question_and_not_a_second_document() {
    let setting = Setting { search: false, callback_grace: "1s", ..Setting::default() };
    let stage = Stage::new(&setting);
    let binary = Binary::start(&stage);
    let limited = Fault::always("easydocs.create", FaultKind::status(429, "too_many"));
    stage.world.add_fault(limited).expect("there is room for a fault");
    stage.drop_file("contract.pdf", pdf(1, 2_000));
    wait_for("the create is refused", || stage.world.faults_struck() > 0);
    let file = stage.dir.path().join("a.backup");
    expect(edobridge(&stage, &["backup", "create", "--to", &text(&file)]), 0);
    stage.world.clear_faults();
    wait_for("the document is done", || stage.world.all_notices().len() == 1);
    binary.kill();
    std::fs::remove_dir_all(stage.data_dir()).expect("everything is lost");
    expect(edobridge(&stage, &["backup", "restore", &text(&file)]), 0);
    let _binary = Binary::start(&stage);
    wait_for("a person is asked", || dead_letters(&stage).contains("create_unknown"));
    assert_eq!(stage.world.documents().len(), 1, "it was not sent a second time");
    // The person has looked, and the answer goes on from there.
    let document = stage.world.documents()[0].id.clone();
    let listed = json_of(&expect(edobridge(&stage, &["documents", "list", "--json"]), 0));
    let id = listed["items"][0]["id"].as_str().expect("an id").to_owned();
    expect(edobridge(&stage, &["documents", "bind", &id, &document]), 0);
    assert_eq!(stage.world.documents().len(), 1);
}

#[test]
fn a_store_that_is_there_is_set_aside_only_when_told_and_never_while_it_is_in_use() {
    let stage = Stage::new(&Setting::default());
    let binary = Binary::start(&stage);
    let file = text(&stage.dir.path().join("a.backup"));
    expect(edobridge(&stage, &["backup", "create", "--to", &file]), 0);
    let used = expect(edobridge(&stage, &["backup", "restore", "--replace", &file]), 1);
    assert!(said(&used).contains("Остановите службу"), "{}", said(&used));
    binary.kill();
    let refused = expect(edobridge(&stage, &["backup", "restore", &file]), 1);
    assert!(said(&refused).contains("--replace"), "the way on is named: {}", said(&refused));
    let replaced = expect(edobridge(&stage, &["backup", "restore", "--json", "--replace", &file]), 0);
    let aside = json_of(&replaced)["set_aside"].as_str().map(PathBuf::from).expect("it is told where");
    assert!(aside.join("FORMAT").exists(), "nothing was thrown away");
    // As the next steps say: looked at first, then started.
    for _ in 0..2 {
        expect(edobridge(&stage, &["doctor", "--offline", "--json"]), 0);
    }
    drop(Binary::start(&stage));
}

// ---- what is in deploy/ --------------------------------------------------------------------------------------

#[test]
fn the_nightly_unit_is_what_the_binary_and_systemd_understand() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/edobridge-backup.service");
    let unit_text = std::fs::read_to_string(&unit).expect("the unit is there");
    let line = unit_text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/edobridge "));
    let line = line.expect("the unit runs the binary itself");
    let stage = stage_with_waiting_documents(1);
    let place = stage.dir.path().join("nightly");
    std::fs::create_dir(&place).expect("made");
    let words = line.split(' ').map(|word| match word {
        "/etc/edobridge/edobridge.toml" => text(&stage.config_path),
        "/var/backups/edobridge" => text(&place),
        other => other.to_owned(),
    });
    let output =
        Command::new(env!("CARGO_BIN_EXE_edobridge")).args(words).output().expect("the binary starts");
    expect(output, 0);
    assert_eq!(names(&place).len(), 1);
    // Where systemd is: what it thinks of the units, but for the binary that is not installed here.
    let units = ["edobridge-backup.service", "edobridge-backup.timer"].map(|name| unit.with_file_name(name));
    match Command::new("systemd-analyze").arg("verify").args(units).output() {
        Ok(output) => {
            let is_ours =
                |line: &&str| line.contains("edobridge-backup") && !line.contains("is not executable");
            let complaints: Vec<String> = said(&output).lines().filter(is_ours).map(str::to_owned).collect();
            assert_eq!(complaints, Vec::<String>::new());
        }
        Err(_) => println!("backup: no systemd here, its word on the units is missing"),
    }
}

#[test]
fn a_kept_store_of_every_version_is_verified_by_todays_binary() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stores");
    let stage = Stage::new(&Setting::default());
    let files = names(&kept);
    assert!(files.len() >= 3, "{files:?}");
    for name in files {
        let copy = stage.dir.path().join(&name);
        std::fs::copy(kept.join(&name), &copy).expect("copied");
        let verified = expect(edobridge(&stage, &["backup", "verify", "--json", &text(&copy)]), 0);
        assert_eq!(json_of(&verified)["store_check"]["documents"], 3, "{name}: {}", said(&verified));
    }
}
