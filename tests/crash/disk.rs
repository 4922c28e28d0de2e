//! A disk that can be filled, and what becomes of a service whose disk is full.

use super::service::{assert_whole, is_idle, stop, stormy};
use super::support::{Binary, DEAL, Setting, Stage, get, pdf, wait_for};
use super::wire;
use edobridge::config::Environment;
use edobridge::sandbox::{EventSpec, Fault, FaultKind, Mode, SandboxOptions};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Megabytes that are enough for the few documents of a test.
const SMALL_MIB: u64 = 96;

/// A file system of its own for the data, so that it can be filled. Unmounted at the end.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None if this machine does not let us mount; a failure where continuous integration could.
    pub fn mount(at: &Path, mebibytes: u64) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the mount point is made");
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
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
    pub fn fill(&self, left: u64) {
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

    /// Lets nobody write, or again: a disk that fails is mounted so by the kernel.
    fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let mounted = Command::new("mount").args(["-o", &options]).arg(&self.0).output();
        assert!(mounted.as_ref().is_ok_and(|out| out.status.success()), "remount {how}: {mounted:?}");
    }

    pub fn empty(&self) {
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

/// A service on a small disk, with three documents that wait for signatures; none if this machine lets nobody mount.
fn with_three_waiting() -> Option<(Stage, SmallDisk, Binary)> {
    let stage = Stage::with_sandbox(
        &Setting::default(),
        SandboxOptions {
            mode: Mode::Explicit,
            callback_policy: stormy().callback_policy,
            ..SandboxOptions::default()
        },
    );
    let disk = SmallDisk::mount(&stage.data_dir(), SMALL_MIB)?;
    let binary = Binary::start(&stage);
    for n in 0..3 {
        stage.drop_file(&format!("storm-{n:05}.pdf"), pdf(n, 20_000));
    }
    wait_for("three documents wait for signatures", || waiting_documents(&stage) == 3);
    Some((stage, disk, binary))
}

/// The intake stops, and nothing else.
pub fn nearly_full() {
    fill_and_recover(Fullness::Low);
}

/// Nothing is lost, and it recovers by itself.
pub fn full() {
    fill_and_recover(Fullness::Full);
}

fn fill_and_recover(fullness: Fullness) {
    let Some((stage, disk, mut binary)) = with_three_waiting() else { return };
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
    assert_whole(&stage, 0);
}

/// A start on a disk without a byte left: everything can be read, nothing new is taken, and it goes on by itself.
pub fn start_on_full() {
    let Some((stage, disk, binary)) = with_three_waiting() else { return };
    let refused = Fault::nth("easydocs.create", 1, FaultKind::status(400, "bad_request"));
    stage.world.add_fault(refused).expect("there is room for a fault");
    stage.drop_file("storm-00003.pdf", pdf(3, 20_000));
    wait_for("a fourth is a dead letter", || dead_letters(&stage).len() == 1);
    assert!(stop(binary).success());

    disk.fill(0);
    // Twice, with the end of a process that had no time to tidy up between them.
    let mut binary = start_on(&stage);
    assert_readable_and_refusing(&stage);
    binary.kill();
    disk.fill(disk.free_bytes().min(128 << 10));
    binary = start_on(&stage);
    assert_readable_and_refusing(&stage);
    sign_all(&stage);
    let before = stage.world.callbacks().len();
    wait_for("callbacks are tried", || stage.world.callbacks().len() >= before + 3);
    assert!(stage.world.callbacks().iter().all(|call| call.status == Some(503)));

    disk.empty();
    wait_for("it recovers by itself", || get(stage.operator, "/health/ready").is_some_and(|(s, _)| s == 200));
    wait_for("what was begun ends", || {
        stage.signed_copies().len() == 3 && stage.world.all_notices().len() >= 3
    });
    assert_eq!(stage.world.documents().len(), 3, "nothing was made twice");
    wait_for("nothing waits", || waiting_documents(&stage) == 0);
    assert!(stop(binary).success());
    assert_whole(&stage, 1);
    refuses_without_reserve(&stage, &disk);
}

/// Without the reserve there is nothing to open it with: a clear word, and the next start with some room works.
fn refuses_without_reserve(stage: &Stage, disk: &SmallDisk) {
    let reserve = stage.data_dir().join("store/journal/reserve.spare");
    std::fs::remove_file(&reserve).expect("a process that had room has made it again");
    disk.fill(0);
    let word = refusal(stage);
    assert!(word.contains("место") || word.contains("space"), "{word}");
    disk.empty();
    assert!(stop(Binary::start(stage)).success());
    assert_whole(stage, 1);
}

/// Starts it where it cannot work; the sentence with which it ends.
fn refusal(stage: &Stage) -> String {
    let mut binary = Binary::spawn(stage, &[]);
    let mut status = None;
    wait_for("it ends", || {
        status = binary.child.try_wait().expect("the process can be asked");
        status.is_some()
    });
    let tail = binary.log_tail();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{tail}");
    let word = tail.lines().last().unwrap_or_default();
    assert!(word.starts_with("edobridge: ") && word.ends_with('.'), "{tail}");
    word.to_owned()
}

/// A start where nothing can be written, without a store and with one: a sentence that names the directory and says what
/// to do. Mounted for writing it goes on with everything.
pub fn start_on_read_only() {
    let stage = Stage::with_sandbox(&Setting::default(), SandboxOptions::default());
    let Some(disk) = SmallDisk::mount(&stage.data_dir(), SMALL_MIB) else { return };
    let dir = stage.data_dir().join("store").display().to_string();
    for what in ["before there is a store", "with a store"] {
        disk.remount("ro");
        let word = refusal(&stage);
        assert!(word.contains(&dir), "{what}: {word}");
        assert!(word.contains("read-only") || word.contains("только для чтения"), "{what}: {word}");
        assert!(word.contains("remount,rw") && word.contains("data_dir"), "{what}: {word}");
        disk.remount("rw");
        assert!(stop(Binary::start(&stage)).success(), "{what}");
    }
}

/// Starts it on a disk on which it will not be ready.
fn start_on(stage: &Stage) -> Binary {
    let mut binary = Binary::spawn(stage, &[]);
    binary.wait_ready(stage.operator);
    binary
}

fn dead_letters(stage: &Stage) -> Vec<Value> {
    let answer = wire::admin(stage.operator, &stage.secrets().operator, "documents?step=parked");
    answer.and_then(|a| a.json()["items"].as_array().cloned()).unwrap_or_default()
}

fn assert_readable_and_refusing(stage: &Stage) {
    wait_for("readiness says no", || get(stage.operator, "/health/ready").is_some_and(|(s, _)| s == 503));
    assert_refused_with_reason(stage);
    let letters = dead_letters(stage);
    assert_eq!(letters.len(), 1, "{letters:#?}");
    assert!(letters[0].to_string().contains("storm-00003.pdf"), "{letters:#?}");
    assert_eq!(waiting_documents(stage), 3);
    for page in ["/metrics", "/"] {
        let (status, body) = get(stage.operator, page).expect("an answer");
        assert!(status == 200 || status == 401 && page == "/", "{page}: {status}\n{body}");
    }
    wait_for("the metrics agree", || {
        let metrics = get(stage.operator, "/metrics").map(|(_, text)| text).unwrap_or_default();
        metrics.lines().any(|line| line == "edobridge_store_writable 0")
    });
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
