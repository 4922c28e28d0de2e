//! The real binary on a disk that fails: one document, and at one of the writes the disk is full, broken or read-only,
//! once or until it is mended.
//!
//! What then must hold:
//! * what was answered with 200, and every call that has left, is known to the store: with the unsynced dropped, too;
//! * the process goes on, not ready and with a reason for as long as it takes nothing, or ends with a clear word;
//! * on a sound disk it comes to its end: one document, one file, one comment, one notice, and a store that is whole.

use crate::cuts::Left;
use crate::image::{self, Cut, Image, Syncs};
use crate::judge::Verdict;
use crate::service::{Said, Witness, stop, store_options};
use crate::support::{Binary, Ground, Setting, Stage, get, pdf};
use crate::trace::{self, Fault, Line};
use crate::wire;
use edobridge::saga::document::Step;
use edobridge::sandbox::callbacks::CallbackPolicy;
use edobridge::sandbox::{EventSpec, SandboxOptions};
use edobridge::store::{DocumentFilter, Store};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// How long the process may stand still without a word before that counts as silence.
const SILENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// What comes after the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The disk is mended under the living process.
    Mended,
    /// The process is killed, and starts on a sound disk.
    Killed,
    /// The power is cut, and what was not synced is gone; then the same.
    PowerCut,
}

/// A write that fails.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub number: u32,
    pub fault: Fault,
    pub after: After,
}

impl Case {
    pub fn name(&self) -> String {
        format!("change {}, {}, {:?}", self.number, self.fault.name(), self.after)
    }
}

/// What came of it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Suffered {
    pub runs: usize,
    pub struck: usize,
    /// It said that it takes nothing, and why.
    pub not_ready: usize,
    /// It ended by itself, with a clear word.
    pub ended: usize,
    /// It lived, and had to be started anew.
    pub restarted: usize,
    /// Sayings that were found to be kept.
    pub facts: usize,
}

impl Suffered {
    pub fn add(&mut self, other: &Self) {
        let Self { runs, struck, not_ready, ended, restarted, facts } = other;
        self.runs += runs;
        self.struck += struck;
        self.not_ready += not_ready;
        self.ended += ended;
        self.restarted += restarted;
        self.facts += facts;
    }
}

/// What a process on a failing disk has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The document is delivered and everybody was told.
    Done,
    /// It takes nothing, and says why.
    NotReady,
    /// The event was refused, though it is ready again.
    Refused,
    Ended(ExitStatus),
}

struct Trial {
    stage: Stage,
    root: PathBuf,
    trace: PathBuf,
    lift: PathBuf,
    file: u64,
    /// Whether the event was answered with 200.
    is_accepted: bool,
}

/// Plays one case.
///
/// # Errors
/// Which law is broken.
pub fn suffer(case: Case) -> Result<Suffered, String> {
    let mut trial = Trial::new();
    let mut variables = trace::variables(&trial.root, &trial.trace, Some((case.number, case.fault)));
    variables.push(("EVERY_WRITE_TALK", "1".to_owned()));
    variables.push(("EVERY_WRITE_LIFT", trial.lift.to_str().expect("paths are text").to_owned()));
    let mut binary = Binary::spawn(&trial.stage, &variables);
    let mut suffered = Suffered { runs: 1, ..Suffered::default() };
    let state = trial.watch(&mut binary)?;
    suffered.not_ready += usize::from(state == State::NotReady);
    suffered.ended += usize::from(matches!(state, State::Ended(_)));
    if state == State::NotReady {
        trial.says_so(&binary)?;
    }
    let alive = match (state, case.after) {
        (State::Ended(status), _) => {
            trial.clear_word(&binary, status)?;
            None
        }
        (_, After::Mended) => trial.mend(binary, &mut suffered)?,
        (_, After::Killed | After::PowerCut) => {
            binary.kill();
            None
        }
    };
    let lines = trace::read(&trial.trace);
    suffered.struck = usize::from(lines.iter().any(|line| line.failed.is_some()));
    // What was said until now is kept, whatever the disk dropped.
    suffered.facts += trial.kept(&lines, Cut::Dropped, case.number)?;
    suffered.facts += trial.kept(&lines, Cut::Reordered, case.number)?;
    let binary = match alive {
        Some(binary) => binary,
        None => trial.start_anew(&lines, case.after)?,
    };
    trial.come_to_an_end(binary)?;
    Ok(suffered)
}

impl Trial {
    fn new() -> Self {
        let callback_policy = CallbackPolicy {
            interval: Duration::from_millis(200),
            attempts_max: 10_000,
            timeout: Duration::from_secs(5),
        };
        let setting = Setting { ground: Ground::Memory, ..Setting::default() };
        let stage =
            Stage::with_sandbox(&setting, SandboxOptions { callback_policy, ..SandboxOptions::default() });
        std::fs::create_dir(stage.data_dir()).expect("the data directory is made");
        let root = stage.data_dir().canonicalize().expect("it is there");
        let (trace, lift) = (stage.dir.path().join("trace"), stage.dir.path().join("lift"));
        // The event is sent by us: the portal never repeats one, and here somebody must.
        let file = stage.world.add_file(stage.folder, "contract.pdf", pdf(1, 20_000)).expect("a new file");
        Self { stage, root, trace, lift, file, is_accepted: false }
    }

    fn is_done(&self) -> bool {
        let Self { stage, .. } = self;
        stage.signed_copies().len() == 1
            && stage.world.notices(stage.user).len() == 1
            && stage.world.all_comments().len() == 1
    }

    fn readiness(&self) -> Option<(u16, String)> {
        get(self.stage.operator, "/health/ready")
    }

    /// Sends the event; whether there was an answer.
    fn send_event(&mut self) -> Result<bool, String> {
        let spec = EventSpec::new("ONDISKFILEADD", json!({"FIELDS": {"ID": self.file}}));
        let body = self.stage.world.event_body(&spec);
        match wire::event(self.stage.public, &body).map(|heard| heard.status) {
            Some(200) => self.is_accepted = true,
            Some(503) | None => {}
            Some(other) => return Err(format!("the event was answered with {other}")),
        }
        Ok(self.is_accepted)
    }

    /// Lets it work until it is done, ends, or says that it takes nothing.
    fn watch(&mut self, binary: &mut Binary) -> Result<State, String> {
        let until = Instant::now() + SILENCE;
        let mut is_sent = false;
        loop {
            if let Ok(Some(status)) = binary.child.try_wait() {
                return Ok(State::Ended(status));
            }
            if self.is_done() {
                return Ok(State::Done);
            }
            match self.readiness() {
                Some((200, _)) if !is_sent => {
                    self.send_event()?;
                    is_sent = true;
                }
                // Refused, and ready again before anybody could look: a disk that fails once.
                Some((200, _)) if !self.is_accepted => return Ok(State::Refused),
                Some((503, _)) => return Ok(State::NotReady),
                Some(_) | None => {}
            }
            if Instant::now() > until {
                let sayings = binary.log_tail();
                return Err(format!("it stands still and says nothing:\n{sayings}"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Readiness has a reason in both languages, and the metrics agree, as long as it takes nothing.
    fn says_so(&self, binary: &Binary) -> Result<(), String> {
        let until = Instant::now() + SILENCE;
        loop {
            let Some((503, body)) = self.readiness() else { return Ok(()) };
            let ready: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
            let said = |language: &str| ready["reasons"][0][language].as_str().unwrap_or_default().to_owned();
            let (ru, en) = (said("ru"), said("en"));
            if ru.chars().count() < 20 || en.len() < 20 || ru == en {
                return Err(format!("not a clear word: {body}"));
            }
            let metrics = get(self.stage.operator, "/metrics").map(|(_, text)| text).unwrap_or_default();
            if metrics.lines().any(|line| line == "edobridge_store_writable 0") {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("the metrics say nothing of it:\n{}", binary.log_tail()));
            }
            std::thread::sleep(PAUSE * 5);
        }
    }

    /// It ended by itself: with the status for problems, and a sentence for people as the last thing.
    fn clear_word(&self, binary: &Binary, status: ExitStatus) -> Result<(), String> {
        let tail = binary.log_tail();
        let last = tail.lines().last().unwrap_or_default();
        let is_sentence = last.starts_with("edobridge: ") && last.ends_with('.') && last.chars().count() > 40;
        if status.code() == Some(1) && is_sentence && !tail.contains("panicked") {
            return Ok(());
        }
        Err(format!("it ended with {status} and no clear word:\n{tail}"))
    }

    /// The disk is sound again; a process that asks for a restart gets it.
    fn mend(&self, mut binary: Binary, suffered: &mut Suffered) -> Result<Option<Binary>, String> {
        std::fs::write(&self.lift, "").expect("the fault is lifted");
        let until = Instant::now() + SILENCE;
        loop {
            if let Ok(Some(status)) = binary.child.try_wait() {
                self.clear_word(&binary, status)?;
                return Ok(None);
            }
            match self.readiness() {
                Some((200, _)) => return Ok(Some(binary)),
                Some((503, body)) if body.contains("Restart edobridge") => {
                    suffered.restarted += 1;
                    binary.kill();
                    return Ok(None);
                }
                Some(_) | None => {}
            }
            if Instant::now() > until {
                return Err(format!("the disk is sound and it is not ready:\n{}", binary.log_tail()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// How many of the things said are known to the store after this cut; all must be.
    fn kept(&self, lines: &[Line], cut: Cut, seed: u32) -> Result<usize, String> {
        let (mut image, mut told) = (Image::new(Syncs::Honest), Said::default());
        for line in lines {
            image.advance(line);
            told.hear(line);
        }
        let files = image.after(cut, u64::from(seed));
        let left = Left { number: seed as usize, cut, files, told };
        let dir = self.stage.dir.path().join(format!("after {}", cut.name()));
        let witness = Witness::new(&store_options(&self.stage));
        match witness.judge(&left, &dir) {
            Ok(Verdict::Opened { facts, .. }) => Ok(facts),
            Ok(other) => Err(format!("{}: {other:?}", cut.name())),
            Err(what) => Err(format!("{}: {what}", cut.name())),
        }
    }

    /// On a sound disk, with what the fault has left.
    fn start_anew(&self, lines: &[Line], after: After) -> Result<Binary, String> {
        if after == After::PowerCut {
            let mut image = Image::new(Syncs::Honest);
            lines.iter().for_each(|line| image.advance(line));
            std::fs::remove_dir_all(&self.root).expect("the power is cut");
            image::write(&image.after(Cut::Dropped, 0), &self.root);
            // The power was cut: the mark of this boot is not of this boot.
            let marker = self.root.join("store/OPEN");
            if marker.exists() {
                std::fs::write(marker, "an earlier boot").expect("the mark is written");
            }
        }
        let mut binary = Binary::spawn(&self.stage, &[]);
        let until = Instant::now() + SILENCE;
        while self.readiness().is_none_or(|(status, _)| status != 200) {
            if let Ok(Some(status)) = binary.child.try_wait() {
                return Err(format!("on a sound disk it ends with {status}:\n{}", binary.log_tail()));
            }
            if Instant::now() > until {
                return Err(format!("on a sound disk it is not ready:\n{}", binary.log_tail()));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(binary)
    }

    /// One document, one file, one comment, one notice; nothing is left over, and the store is whole.
    fn come_to_an_end(&mut self, binary: Binary) -> Result<(), String> {
        let until = Instant::now() + SILENCE;
        while !self.is_accepted {
            self.send_event()?;
            if Instant::now() > until {
                return Err(format!("on a sound disk the event is refused:\n{}", binary.log_tail()));
            }
        }
        while !(self.is_done() && self.is_idle()) {
            if Instant::now() > until {
                let Self { stage, .. } = self;
                let (files, notices) = (stage.signed_copies().len(), stage.world.all_notices().len());
                let comments = stage.world.all_comments().len();
                let tail = binary.log_tail();
                return Err(format!(
                    "it does not end: {files} files, {notices} notices, {comments} comments\n{tail}"
                ));
            }
            std::thread::sleep(PAUSE);
        }
        let documents = self.stage.world.documents().len();
        if documents != 1 {
            return Err(format!("{documents} documents were made of one"));
        }
        stop(binary);
        self.whole()
    }

    fn is_idle(&self) -> bool {
        let counts = wire::admin(self.stage.operator, &self.stage.secrets().operator, "counts");
        let Some(counts) = counts.map(|heard| heard.json()) else { return false };
        counts["notices"] == json!(0) && counts["in_flight"] == json!(0)
    }

    fn whole(&self) -> Result<(), String> {
        let options = store_options(&self.stage);
        let (store, _) = Store::open(options, &mut |_| {}).map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let report = store.check_invariants().await.map_err(|error| error.to_string())?;
            if let Some(first) = report.violations.first() {
                return Err(format!("{} rules are broken, the first: {first}", report.violation_count));
            }
            let page = store.list(DocumentFilter::default(), None, 100).await;
            let sagas = page.map_err(|error| error.to_string())?.items;
            let steps: Vec<Step> =
                sagas.iter().map(|saga| saga.step).filter(|step| *step != Step::Ignored).collect();
            let parked = store.parked_notices(None, 10).await.map_err(|error| error.to_string())?.len();
            match (steps.as_slice(), parked, store.spool().bytes()) {
                ([Step::Delivered], 0, 0) => Ok(()),
                (steps, parked, bytes) => Err(format!(
                    "in the end: documents {steps:?}, {parked} parked notices, {bytes} bytes of files"
                )),
            }
        })
    }
}

/// Writes that come just before the first and the second answer of a clean run.
pub fn before_answers(lines: &[Line]) -> Vec<u32> {
    let (mut said, mut number, mut found) = (Said::default(), 0, Vec::new());
    for line in lines {
        number += u32::from(line.is_change);
        said.hear(line);
        if said.answers() > found.len() {
            found.push(number);
        }
    }
    found
}
