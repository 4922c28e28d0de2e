//! Plays one case to its end: sets the faults, lets edobridge work, is the person where one is needed, judges.

use super::flow::{Flow, Goal, ITEM, SIGNED_FIELD, Signing, Start, open_page, portal};
use super::support::{InProcess, Stage};
use edobridge::actors::OperateError;
use edobridge::domain::InstallationStatus;
use edobridge::domain::{Clock, SagaId, Timestamp};
use edobridge::saga::document::{
    DocumentSaga, Mend, OperatorAction, Outcome, Source, Step, TimerKind, Work, words,
};
use edobridge::sandbox::{Fault, Reach, Side, WorkflowState, World};
use edobridge::store::{DocumentFilter, Store};
use edobridge::telemetry::SystemClock;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How long a case may take: far above what a loaded machine needs.
const CASE_MAX: Duration = Duration::from_secs(120);
/// The world is quiet when nothing was asked of it for so long, although every document is finished (and so waits for
/// nothing: the invariants of the store are checked); above the pause between two tries of a callback.
const QUIET: Duration = Duration::from_millis(200);
/// Pauses of limits longer than this are skipped by the clock.
const SKIP_ABOVE_MS: u64 = 700;
/// Long enough for the circuit to open: five failures by the schedule of the configuration.
const OUTAGE: Duration = Duration::from_millis(2_500);
/// Answers of remotes that must be seen before an outage of credentials counts as one.
const STRUCK_ENOUGH: u32 = 3;

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// Unique in the sweep.
    pub name: String,
    pub flow: Flow,
    /// Set before those of the flow.
    pub faults: Vec<Fault>,
    pub ending: Ending,
    /// Replacements in the configuration besides the flow's.
    pub edits: Vec<(&'static str, &'static str)>,
}

/// How it has to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Right, with nobody's help.
    Alone,
    /// As a dead letter with one of these codes, then right with a person's help.
    Person(&'static [&'static str]),
    /// Right; a person may be needed for a create of unknown outcome, and for nothing else.
    PersonForCreate,
    /// It waits while the faults last, is no dead letter, and ends right when they are gone.
    Waits,
    /// Right; the tokens may be lost, and then nothing but an administrator who opens the application is needed.
    PersonForAccess,
    /// The trigger never reached us: nothing happens. Sent by a person, it ends right.
    Untriggered,
}

/// A clock that can be put forward, so that a limit's pause of minutes takes no minutes.
#[derive(Default)]
pub struct SkippingClock {
    ahead_ms: AtomicI64,
}

impl SkippingClock {
    fn skip(&self, ms: u64) {
        self.ahead_ms.fetch_add(i64::try_from(ms).unwrap_or(0), Ordering::SeqCst);
    }
}

impl Clock for SkippingClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.ahead_ms.load(Ordering::SeqCst))
    }
}

/// The documents as of a sequence of the store, durable and applied.
type Listed = ((u64, u64), Vec<DocumentSaga>);

/// A running edobridge and the world around it.
pub struct Play<'a> {
    flow: &'a Flow,
    stage: &'a Stage,
    service: InProcess,
    clock: Arc<SkippingClock>,
    runtime: Runtime,
    pub sources: Vec<Source>,
    until: Instant,
    /// Documents that were signed or refused by hand.
    signed: BTreeSet<String>,
    /// Dead letters that a person dealt with.
    helped: Vec<String>,
    /// The call that began it was lost: nobody can answer its workflow.
    call_lost: bool,
    listed: RefCell<Option<Listed>>,
}

/// When the ports of a side are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    FromTheBeginning,
    OnceCreated,
}

/// Plays a case from its beginning; says what is wrong with its end.
pub fn play(case: &Case) -> Result<(), String> {
    play_on(case, &case.flow.stage(&case.edits))
}

/// The same on a stage that is set already.
pub fn play_on(case: &Case, stage: &Stage) -> Result<(), String> {
    let mut play = Play::start(&case.flow, stage);
    case.flow.prepare(stage)?;
    set_faults(&stage.world, case);
    play.sources = case.flow.begin(stage);
    let outcome = play.finish(&case.ending).and_then(|()| play.judge_faults(case.faults.len()));
    outcome.map_err(|problem| format!("{problem}\n{}", play.report()))
}

/// Closes the ports of a side for a while.
pub fn play_outage(flow: &Flow, side: Side, when: When) -> Result<(), String> {
    let stage = flow.stage(&[]);
    let mut play = Play::start(flow, &stage);
    if when == When::FromTheBeginning {
        play.reach(side, Reach::Down);
    }
    play.sources = flow.begin(&stage);
    let outcome = play.outage(side, when).and_then(|()| play.finish(&Ending::Alone));
    outcome.map_err(|problem| format!("{problem}\n{}", play.report()))
}

fn set_faults(world: &World, case: &Case) {
    for fault in case.faults.iter().chain(&case.flow.base) {
        world.add_fault(fault.clone()).expect("a case has few faults");
    }
}

impl<'a> Play<'a> {
    pub fn new(flow: &'a Flow, stage: &'a Stage, service: InProcess, clock: Arc<SkippingClock>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            flow,
            stage,
            service,
            clock,
            runtime: runtime.expect("a runtime without threads"),
            sources: Vec::new(),
            until: Instant::now() + CASE_MAX,
            signed: BTreeSet::new(),
            helped: Vec::new(),
            call_lost: false,
            listed: RefCell::new(None),
        }
    }

    fn start(flow: &'a Flow, stage: &'a Stage) -> Self {
        let clock = Arc::new(SkippingClock::default());
        Self::new(flow, stage, InProcess::start_at(stage, clock.clone()), clock)
    }

    fn reach(&self, side: Side, reach: Reach) {
        self.runtime.block_on(self.world().set_reach(side, reach));
    }

    /// Until the outage was felt long enough for a circuit to open, but no longer.
    fn outage(&mut self, side: Side, when: When) -> Result<(), String> {
        while when == When::OnceCreated && self.world().documents().is_empty() {
            self.check_time("the document is created")?;
            std::thread::sleep(Duration::from_millis(2));
        }
        self.reach(side, Reach::Down);
        let end = Instant::now() + OUTAGE;
        while Instant::now() < end {
            let sagas = self.sagas()?;
            if let Some(parked) = sagas.iter().find(|saga| saga.step == Step::Parked) {
                return Err(format!("a dead letter instead of patience: {}", why(parked)));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.reach(side, Reach::Up);
        Ok(())
    }

    fn world(&self) -> &Arc<World> {
        &self.stage.world
    }

    fn store(&self) -> Store {
        self.service.engine.store().clone()
    }

    /// Read anew only if something was committed since: a case asks fifty times a second.
    fn sagas(&self) -> Result<Vec<DocumentSaga>, String> {
        let health = self.store().health();
        let sequence = (health.sequence, health.applied);
        if let Some((at, sagas)) = self.listed.borrow().as_ref()
            && *at == sequence
        {
            return Ok(sagas.clone());
        }
        let page = self.runtime.block_on(self.store().list(DocumentFilter::default(), None, 200));
        let sagas =
            page.map(|page| page.items).map_err(|error| format!("the store cannot be listed: {error}"))?;
        self.listed.replace(Some((sequence, sagas.clone())));
        Ok(sagas)
    }

    /// To the end, whatever it is, and judges it.
    pub fn finish(&mut self, ending: &Ending) -> Result<(), String> {
        match ending {
            Ending::Untriggered => self.untriggered()?,
            Ending::Waits => self.waits()?,
            Ending::Alone | Ending::Person(_) | Ending::PersonForCreate | Ending::PersonForAccess => {}
        }
        self.until_finished(ending)?;
        self.judge_help(ending)?;
        self.judge()
    }

    fn judge_help(&self, ending: &Ending) -> Result<(), String> {
        match ending {
            Ending::Person(codes) if self.helped.is_empty() => {
                Err(format!("nobody was asked; expected a dead letter with one of {codes:?}"))
            }
            Ending::Person(_)
            | Ending::PersonForCreate
            | Ending::PersonForAccess
            | Ending::Alone
            | Ending::Waits
            | Ending::Untriggered => Ok(()),
        }
    }

    fn check_time(&self, what: &str) -> Result<(), String> {
        if Instant::now() > self.until { Err(format!("waited in vain: {what}")) } else { Ok(()) }
    }

    // ---- what happens --------------------------------------------------------------------------------------

    fn untriggered(&mut self) -> Result<(), String> {
        self.call_lost = true;
        self.until_struck_and_quiet()?;
        let (sagas, documents) = (self.sagas()?.len(), self.world().documents().len());
        if (sagas, documents) != (0, 0) {
            return Err(format!("nobody told us, and yet: {sagas} sagas, {documents} documents"));
        }
        self.world().clear_faults();
        for source in self.sources.clone() {
            let sent = self.runtime.block_on(self.service.engine.send(portal(), source, None));
            sent.map_err(|error| format!("a person cannot send the file: {error}"))?;
        }
        Ok(())
    }

    fn waits(&mut self) -> Result<(), String> {
        loop {
            self.check_time("the faults strike often enough")?;
            let sagas = self.sagas()?;
            if let Some(parked) = sagas.iter().find(|saga| saga.step == Step::Parked) {
                return Err(format!("a dead letter instead of patience: {}", why(parked)));
            }
            if self.world().faults_struck() >= STRUCK_ENOUGH {
                self.world().clear_faults();
                return Ok(());
            }
            self.move_on(&sagas)?;
        }
    }

    fn until_finished(&mut self, ending: &Ending) -> Result<(), String> {
        loop {
            self.check_time("every document is finished")?;
            let sagas = self.sagas()?;
            for parked in sagas.iter().filter(|saga| saga.step == Step::Parked) {
                self.help(parked, ending)?;
            }
            if self.is_finished(&sagas) && self.is_quiet() && self.is_finished(&self.sagas()?) {
                return Ok(());
            }
            if *ending == Ending::PersonForAccess {
                self.heal_access()?;
            }
            self.move_on(&sagas)?;
        }
    }

    /// What the world, the clock and the signers do meanwhile.
    fn move_on(&mut self, sagas: &[DocumentSaga]) -> Result<(), String> {
        if self.flow.signing == Signing::OnceAwaited {
            self.sign_what_is_awaited(sagas)?;
        }
        self.skip_pauses(sagas);
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    /// The administrator does what health and notices ask for.
    fn heal_access(&self) -> Result<(), String> {
        let views = self.service.engine.installations().views();
        if views.iter().any(|view| view.status == InstallationStatus::NeedsAuthorisation) {
            open_page(self.stage)?;
        }
        Ok(())
    }

    fn sign_what_is_awaited(&mut self, sagas: &[DocumentSaga]) -> Result<(), String> {
        for saga in sagas.iter().filter(|saga| saga.step == Step::AwaitSignature) {
            let Some(id) = saga.provider_document.clone() else { continue };
            if self.signed.insert(id.clone()) {
                let signed = match self.flow.outcome {
                    Outcome::Refused => self.world().refuse(&id),
                    Outcome::Signed | Outcome::Open => self.world().sign(&id),
                };
                signed.map_err(|error| format!("bound to a document that does not exist: {error}"))?;
            }
        }
        Ok(())
    }

    /// Puts the clock forward where nothing is under way and everything waits for a limit to pass.
    fn skip_pauses(&self, sagas: &[DocumentSaga]) {
        let now = self.clock.now();
        if sagas.iter().any(|saga| saga.work != Work::Idle) {
            return;
        }
        let starts = sagas.iter().filter_map(|saga| saga.timer).filter(|t| t.kind == TimerKind::Start);
        if let Some(pause) = starts.map(|t| t.due.ms_since(now)).min().filter(|ms| *ms > SKIP_ABOVE_MS) {
            self.clock.skip(pause);
        }
    }

    fn is_finished(&self, sagas: &[DocumentSaga]) -> bool {
        let end = match self.flow.outcome {
            Outcome::Refused => Step::Refused,
            Outcome::Signed | Outcome::Open => Step::Delivered,
        };
        let counts = self.runtime.block_on(self.store().counts());
        sagas.iter().filter(|saga| saga.step == end).count() >= self.flow.documents
            && sagas.iter().all(|saga| saga.step.is_finished())
            && counts.notices == 0
    }

    /// Nothing is asked of the world any more, and whatever a fault holds back has come out.
    fn is_quiet(&self) -> bool {
        let before = self.world().ledger().len();
        std::thread::sleep(QUIET);
        let ledger = self.world().ledger();
        let struck = ledger.iter().filter(|entry| entry.fault.is_some()).count();
        // One line for all that strikes the commands of one batch.
        let all_out = self.flow.documents > 1 || struck >= self.world().faults_struck() as usize;
        ledger.len() == before && all_out
    }

    fn until_struck_and_quiet(&self) -> Result<(), String> {
        loop {
            self.check_time("the fault strikes")?;
            if self.world().faults_struck() > 0 && self.is_quiet() {
                return Ok(());
            }
        }
    }

    // ---- the person ----------------------------------------------------------------------------------------

    /// Does what the dead letter asks for.
    fn help(&mut self, saga: &DocumentSaga, ending: &Ending) -> Result<(), String> {
        let dead = saga.dead_letter.as_ref().ok_or("parked without a dead letter")?;
        let expected = match ending {
            Ending::Person(codes) => codes.contains(&dead.code.as_str()),
            Ending::PersonForCreate => dead.code == "create_unknown",
            Ending::Alone | Ending::Waits | Ending::Untriggered | Ending::PersonForAccess => false,
        };
        let worded = [&dead.reason, &dead.next_action].iter().all(|t| !t.ru.is_empty() && !t.en.is_empty());
        if !expected || !worded {
            return Err(format!("an unexpected dead letter `{}`: {}", dead.code, why(saga)));
        }
        if self.helped.len() > 4 * self.flow.documents {
            return Err(format!("helped in vain: {:?}", self.helped));
        }
        self.helped.push(dead.code.clone());
        let action = self.remedy(saga, &dead.code)?;
        match self.runtime.block_on(self.service.engine.operate(saga.id, action)) {
            // A late callback was quicker than the person.
            Ok(_) | Err(OperateError::Rejected(_)) => Ok(()),
            Err(error) => Err(format!("the person's order was not carried out: {error}")),
        }
    }

    fn remedy(&self, saga: &DocumentSaga, code: &str) -> Result<OperatorAction, String> {
        let searchable = self.flow.setting.search;
        if code != "create_unknown" || searchable {
            self.world().clear_faults();
            return Ok(OperatorAction::Retry(Mend::default()));
        }
        // Nothing may come late after the person has looked.
        while !self.is_quiet() {
            self.check_time("the world is quiet")?;
        }
        match self.world().documents_of(&saga.external_id).as_slice() {
            [] => Ok(OperatorAction::SendAgain),
            [only] => Ok(OperatorAction::Bind { document_id: only.id.clone() }),
            several => Err(format!("{} documents before anybody was asked", several.len())),
        }
    }

    // ---- the judgement -------------------------------------------------------------------------------------

    fn judge(&self) -> Result<(), String> {
        self.judge_world()?;
        self.judge_store()
    }

    /// A fault that never struck proves nothing. Those of the case stand before those of the flow.
    fn judge_faults(&self, of_case: usize) -> Result<(), String> {
        let armed = self.world().faults_json();
        let unused =
            armed.as_array().into_iter().flatten().take(of_case).filter(|armed| armed["struck"] == 0);
        let unused: Vec<String> = unused.map(|armed| armed["fault"].to_string()).collect();
        if unused.is_empty() { Ok(()) } else { Err(format!("never struck: {}", unused.join(", "))) }
    }

    fn judge_world(&self) -> Result<(), String> {
        let (world, flow) = (self.world(), self.flow);
        let n = flow.documents;
        expect("documents at EasyDocs", world.documents().len(), n)?;
        expect("comments", world.comments(ITEM).len(), n)?;
        expect("notices", world.notices(self.stage.user).len(), n)?;
        expect("notices to anybody", world.all_notices().len(), n)?;
        let copies = self.stage.signed_copies();
        let wanted = if flow.outcome == Outcome::Refused { 0 } else { n };
        if flow.start == Start::Robot && !self.call_lost {
            self.judge_workflows()?;
        }
        if flow.goal == Goal::Item {
            return self.judge_item();
        }
        expect("signed copies", copies.len(), wanted)?;
        if wanted > 0 { self.judge_copies() } else { Ok(()) }
    }

    /// Each workflow goes on, and knows how its document ended.
    fn judge_workflows(&self) -> Result<(), String> {
        for workflow in self.world().workflows() {
            match &workflow.state {
                WorkflowState::Released(values) if values["status"] == "signed" => {}
                other => return Err(format!("workflow {} is {other:?}", workflow.id)),
            }
        }
        Ok(())
    }

    /// The signed file is in the field once and at the comment once, and the deal has moved on.
    fn judge_item(&self) -> Result<(), String> {
        let world = self.world();
        let documents = world.documents();
        let signed: Vec<Vec<u8>> =
            documents.iter().filter_map(|document| world.signed_bytes(&document.id)).collect();
        let field: Vec<Vec<u8>> =
            world.item_files(ITEM, SIGNED_FIELD).into_iter().map(|(_, bytes)| bytes.to_vec()).collect();
        if field != signed {
            return Err(format!(
                "{} files in the field, {} were signed, or they differ",
                field.len(),
                signed.len()
            ));
        }
        for comment in world.comments(ITEM) {
            expect("files of a comment", world.comment_files(comment.id).len(), 1)?;
        }
        match world.item_stage(ITEM).as_deref() {
            Some("C1:WON") => Ok(()),
            other => Err(format!("the deal stands in {other:?}")),
        }
    }

    fn judge_copies(&self) -> Result<(), String> {
        let copies = self.stage.signed_copies();
        for n in 0..self.flow.documents {
            let (original, name) = (self.flow.file_name(n), self.flow.copy_name(n));
            let documents = self.world().documents();
            let document = documents.iter().find(|d| d.file_name == original);
            let document = document.ok_or_else(|| format!("EasyDocs has no document of {original}"))?;
            let copy = copies.iter().find(|c| c.name == name);
            let copy = copy.ok_or_else(|| format!("there is no {name} among {copies:?}"))?;
            if copy.sha256 != document.signed_sha256 {
                return Err(format!("{name} has other bytes than EasyDocs signed"));
            }
        }
        Ok(())
    }

    fn judge_store(&self) -> Result<(), String> {
        let report = self.runtime.block_on(self.store().check_invariants());
        let report = report.map_err(|error| format!("the store cannot be checked: {error}"))?;
        if !report.is_clean() {
            let list: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
            return Err(format!("broken invariants of the store: {}", list.join("; ")));
        }
        let counts = self.runtime.block_on(self.store().counts());
        expect("notices parked", counts.parked_notices as usize, 0)?;
        expect("effects under way", counts.in_flight as usize, 0)
    }

    // ---- for whoever has to mend it ------------------------------------------------------------------------

    pub fn report(&self) -> String {
        let mut out = ledger_text(self.world());
        for saga in self.sagas().unwrap_or_default() {
            let _ = writeln!(out, "saga {} {}: {}", saga.id, saga.step.name(), why(&saga));
            out.push_str(&self.history(saga.id));
        }
        out
    }

    fn history(&self, id: SagaId) -> String {
        let lines = self.runtime.block_on(self.store().history(id, 200)).unwrap_or_default();
        let line = |e: &edobridge::saga::document::HistoryEntry| {
            format!("    {} {} {}: {}\n", e.at.0, e.step.name(), e.what, e.text.en)
        };
        lines.iter().map(line).collect()
    }
}

fn expect(what: &str, found: usize, wanted: usize) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found} instead of {wanted}")) }
}

fn why(saga: &DocumentSaga) -> String {
    words::why(saga, saga.updated_at).en
}

/// The ledger, one line per call.
pub fn ledger_text(world: &World) -> String {
    let mut out = String::from("ledger:\n");
    for e in world.ledger() {
        let (fault, status) = (e.fault.unwrap_or("-"), e.status.map_or(0, |s| s));
        let facts = serde_json::to_string(&e.facts).unwrap_or_default();
        let effect = if e.effect { "effect" } else { "" };
        let _ = writeln!(out, "    {:3} {} {} {status} {fault} {effect} {facts}", e.n, e.at_ms, e.call);
    }
    out
}
