//! One step forward and back with a real older binary: what it has begun is ended by today's, the way back works, and it
//! lets what is newer alone.
//!
//! By hand: `EDOBRIDGE_OLDER_BINARY=path cargo test --test backup older -- --nocapture`. Where none is named these tests
//! say so and prove nothing, and no promise names them: there, the kept stores in `tests/data/stores` stand for the older
//! binary. `older-binary-….backup` among them was made by a real one (`EDOBRIDGE_KEEP_OLDER=file` makes another).

use super::support::{Binary, PATIENCE, Setting, Stage, get, pdf, wait_for};
use super::{names, said, text, wire};
use edobridge::config::Environment;
use edobridge::sandbox::callbacks::CallbackPolicy;
use edobridge::sandbox::{Fault, FaultKind, Mode, SandboxOptions};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Keys of the configuration that came later.
const LATER_KEYS: [&str; 2] = ["owner_check_interval", "capability_check_interval"];

struct Older {
    program: PathBuf,
    config: PathBuf,
}

impl Older {
    /// The older binary, if there is one.
    fn program() -> Option<PathBuf> {
        let program = Environment::of_process().get("EDOBRIDGE_OLDER_BINARY").map(PathBuf::from);
        if program.is_none() {
            println!("backup: EDOBRIDGE_OLDER_BINARY names no older binary, nothing is tried with one");
        }
        program
    }

    /// The same with the stage's configuration as far as it knew it, and this data directory.
    fn of(program: &Path, stage: &Stage, data: &Path) -> Self {
        let program = program.to_owned();
        let written = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
        let known = written.lines().filter(|line| !LATER_KEYS.iter().any(|key| line.starts_with(key)));
        let known: Vec<&str> = known.collect();
        let known = known.join("\n").replace(&text(&stage.data_dir()), &text(data));
        let config = stage.dir.path().join("older.toml");
        std::fs::write(&config, known).expect("the configuration is written");
        Self { program, config }
    }

    fn run(&self, args: &[&str]) -> Output {
        let command = &mut Command::new(&self.program);
        command.arg("--config").arg(&self.config).args(args).output().expect("the older binary runs")
    }

    fn serve(&self, stage: &Stage) -> Child {
        let log = std::fs::File::create(stage.dir.path().join("older.log")).expect("a log");
        let mut child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the older binary starts");
        wait_for("the older binary is ready", || {
            let ended = child.try_wait().expect("the process can be asked");
            assert!(ended.is_none(), "the older binary ended: {ended:?}\n{}", older_log(stage));
            get(stage.operator, "/health/ready").is_some_and(|(status, _)| status == 200)
        });
        child
    }
}

fn older_log(stage: &Stage) -> String {
    super::support::tail(&stage.dir.path().join("older.log"))
}

fn stage() -> Stage {
    let callback_policy = CallbackPolicy {
        interval: Duration::from_millis(300),
        attempts_max: 10_000,
        timeout: Duration::from_secs(5),
    };
    let options = SandboxOptions { mode: Mode::Explicit, callback_policy, ..SandboxOptions::default() };
    Stage::with_sandbox(&Setting::default(), options)
}

fn at_step(stage: &Stage, step: &str) -> Vec<Value> {
    let path = format!("documents?step={step}&limit=100");
    let answer = wire::admin(stage.operator, &stage.secrets().operator, &path);
    answer.and_then(|heard| heard.json()["items"].as_array().cloned()).unwrap_or_default()
}

fn sign_all(stage: &Stage) {
    for document in stage.world.documents().iter().filter(|d| d.status == "pending") {
        stage.world.sign(&document.id).expect("it exists");
    }
}

fn kill(mut child: Child) {
    child.kill().expect("it lives");
    child.wait().expect("it has ended");
}

/// SIGTERM, and whether it ended well.
fn stop(child: &mut Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the process lives");
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("the process can be asked") {
            assert!(status.success(), "{status}");
            return;
        }
        assert!(Instant::now() < until, "SIGTERM does not end it");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every file with its SHA-256.
fn hashes(dir: &Path) -> BTreeMap<PathBuf, [u8; 32]> {
    let mut found = BTreeMap::new();
    for name in names(dir) {
        let path = dir.join(name);
        if path.is_dir() {
            found.extend(hashes(&path));
        } else {
            found.insert(path.clone(), Sha256::digest(std::fs::read(&path).expect("read")).into());
        }
    }
    found
}

/// Where `EDOBRIDGE_KEEP_OLDER` says so, a backup of the older binary's own making is kept for the tests of every day.
fn keep(older: &Older) {
    let Some(to) = Environment::of_process().get("EDOBRIDGE_KEEP_OLDER").map(str::to_owned) else { return };
    let made = older.run(&["backup", "create", "--to", &to]);
    assert!(made.status.success(), "{}", said(&made));
}

/// The backup that an upgrade has left.
fn way_back(stage: &Stage) -> PathBuf {
    let dir = stage.data_dir().join("backups");
    let found = names(&dir);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("before-upgrade-"), "{found:?}");
    dir.join(&found[0])
}

#[test]
fn older_work_in_flight_is_ended_by_todays_binary_and_the_older_one_refuses_what_is_newer() {
    let Some(program) = Older::program() else { return };
    let stage = stage();
    let older = Older::of(&program, &stage, &stage.data_dir());
    let child = older.serve(&stage);
    // Delivered, waiting, stopped for a person, waiting for another attempt, and two under way when the process dies.
    stage.drop_file("delivered.pdf", pdf(1, 20_000));
    wait_for("the first waits for its signature", || at_step(&stage, "await_signature").len() == 1);
    sign_all(&stage);
    wait_for("the first is delivered", || at_step(&stage, "delivered").len() == 1);
    for n in 0..2 {
        stage.drop_file(&format!("waiting-{n}.pdf"), pdf(10 + n, 20_000));
    }
    wait_for("two wait", || at_step(&stage, "await_signature").len() == 2);
    let fault = |fault| stage.world.add_fault(fault).expect("there is room for a fault");
    fault(Fault::nth("easydocs.create", 1, FaultKind::status(400, "bad_request")));
    stage.drop_file("stopped.pdf", pdf(20, 20_000));
    wait_for("one is stopped", || at_step(&stage, "parked").len() == 1);
    let before = stage.world.documents().len();
    fault(Fault::nth("easydocs.create", 1, FaultKind::Slow(60_000)));
    stage.drop_file("created.pdf", pdf(30, 20_000));
    wait_for("a create is done and not answered", || stage.world.documents().len() == before + 1);
    fault(Fault::always("disk.file.get", FaultKind::status(503, "unavailable")));
    stage.drop_file("unread.pdf", pdf(40, 20_000));
    wait_for("one cannot be read", || at_step(&stage, "fetch_source").len() == 1);
    kill(child);
    stage.world.clear_faults();

    let mut binary = Binary::start(&stage);
    println!("older binary: the way back is {}", way_back(&stage).display());
    wait_for("all but the stopped one wait", || at_step(&stage, "await_signature").len() == 4);
    let letter = at_step(&stage, "parked")[0]["id"].as_str().expect("an id").to_owned();
    let retried = super::edobridge(&stage, &["dead-letters", "retry", &letter]);
    assert!(retried.status.success(), "{}", said(&retried));
    wait_for("the stopped one waits as well", || at_step(&stage, "await_signature").len() == 5);
    sign_all(&stage);
    wait_for("all are delivered", || {
        at_step(&stage, "delivered").len() == 6 && stage.world.all_notices().len() >= 6
    });
    assert_eq!(stage.world.documents().len(), 6, "nothing was made twice");
    assert_eq!((stage.signed_copies().len(), stage.world.all_comments().len()), (6, 6));
    println!("older binary: six documents of it were ended, {} notices", stage.world.all_notices().len());
    stop(&mut binary.child);

    let there = hashes(&stage.data_dir());
    let refused = older.run(&["serve"]);
    println!("older binary on the upgraded store: {}\n{}", refused.status, said(&refused));
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let word = said(&refused);
    assert!(word.contains("newer") || word.contains("более новой"), "{word}");
    assert_eq!(there, hashes(&stage.data_dir()), "it was touched");
}

#[test]
fn older_binary_goes_on_from_the_backup_that_the_upgrade_has_left() {
    let Some(program) = Older::program() else { return };
    let stage = stage();
    let older = Older::of(&program, &stage, &stage.data_dir());
    let mut child = older.serve(&stage);
    for n in 0..3 {
        stage.drop_file(&format!("waiting-{n}.pdf"), pdf(10 + n, 300));
    }
    wait_for("three wait", || at_step(&stage, "await_signature").len() == 3);
    keep(&older);
    stop(&mut child);
    let mut binary = Binary::start(&stage);
    assert_eq!(at_step(&stage, "await_signature").len(), 3);
    stop(&mut binary.child);

    let restored = stage.dir.path().join("restored");
    let file = text(&way_back(&stage));
    let older = Older::of(&program, &stage, &restored);
    let said_of_it = older.run(&["backup", "verify", &file]);
    println!("older binary verifies the backup: {}\n{}", said_of_it.status, said(&said_of_it));
    assert!(said_of_it.status.success());
    let made = older.run(&["backup", "restore", "--to", &text(&restored), &file]);
    println!("older binary restores it: {}\n{}", made.status, said(&made));
    assert!(made.status.success());
    let mut child = older.serve(&stage);
    assert_eq!(at_step(&stage, "await_signature").len(), 3);
    sign_all(&stage);
    wait_for("all are delivered", || {
        at_step(&stage, "delivered").len() == 3 && stage.world.all_notices().len() >= 3
    });
    assert_eq!(stage.world.documents().len(), 3, "nothing was made twice");
    assert_eq!((stage.signed_copies().len(), stage.world.all_comments().len()), (3, 3));
    stop(&mut child);
}
