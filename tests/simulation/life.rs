//! One seed: a clock, a queue of what will happen, a process that lives and dies, and a disk that outlives it.
//!
//! The clock is one number that jumps to whatever comes next. The process sees it through a wall clock that people
//! put forward and back.

use super::chance::Chance;
use super::disk::{Ailment, Death, Honesty, Lasts, MortalDisk, Organ};
use super::laws::{Broken, Law};
use super::plan::{DAY, HOUR, MINUTE, Plan, Portal, SECOND, START};
use super::sabotage::Sabotage;
use super::trace::Trace;
use super::witness::{About, Witness};
use super::world::{Order, World};
use edobridge::actors::portal_session::shared_budget::SharedBudget;
use edobridge::domain::portal::PortalState;
use edobridge::domain::{AttemptToken, SagaId, Timestamp};
use edobridge::providers::bitrix24::budget::LeakyBucket;
use edobridge::providers::{easydocs, idocs};
use edobridge::saga::document::DocumentSaga;
use edobridge::store::disk::{Disk, Host};
use edobridge::store::{AgendaQuery, DocumentFilter, NoticeKind, Readiness, Store, StoreError, StoreOptions};
use edobridge::telemetry::Metrics;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

/// More than any run needs; a run that needs more turns in a circle.
const TURNS_MAX: u64 = 60_000;
/// How long after the chaos everything must have come to its end.
const PATIENCE_MS: u64 = 45 * DAY;

/// Why a piece of work was broken off.
#[derive(Debug)]
pub enum Stop {
    /// The process died.
    Crashed,
    /// A law does not hold.
    Broken(Broken),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// A notice on its way to our door.
#[derive(Debug, Clone)]
pub struct Letter {
    pub portal: Portal,
    pub kind: NoticeKind,
    pub content_type: &'static str,
    pub body: String,
    pub about: About,
    /// How often it is sent again if nobody acknowledges it.
    pub tries: u32,
}

/// What will happen.
#[derive(Debug, Clone)]
pub enum Happening {
    /// Somebody sends us a notice.
    Send(Letter),
    /// People at EasyDocs decide.
    Decide(String),
    /// The counterparty at iDocs decides.
    Counterparty(String),
    /// Our signer signs.
    Signs(SagaId, u32),
    /// Somebody turns the wall clock, by so many milliseconds.
    Clock(i64),
    /// The process dies between two steps.
    Kill,
    /// An operator does something.
    Meddle,
    /// The disk refuses everything until it is mended.
    BreakDown,
    /// Somebody mends the disk.
    Mend,
    /// What was refused by the disk is tried again.
    LookAgain,
    /// A remote carries out a request whose sender has given up.
    Linger(Order),
    /// The process asks the budget for a call.
    Call(Order),
    /// The request reaches the remote.
    Execute(Order),
    /// The answer reaches the process.
    Arrive(Order, Box<super::calls::Returned>),
}

impl Happening {
    /// Whether it dies with the process.
    fn is_of_process(&self) -> bool {
        matches!(self, Self::Call(_) | Self::Execute(_) | Self::Arrive(..))
    }
}

/// What was met.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub seeds: u64,
    pub virtual_ms: u64,
    pub documents: u64,
    pub commits: u64,
    pub calls: u64,
    pub faults: u64,
    pub kills: u64,
    pub power_cuts: u64,
    pub in_commits: u64,
    pub notices: u64,
    pub clock_jumps: u64,
    pub healings: u64,
    pub older_records: u64,
    pub delivered: u64,
    pub refused: u64,
    /// Those that were delivered and had gone to iDocs in one piece.
    pub delivered_whole: u64,
    /// Sendings of unknown outcome about which a person was asked.
    pub unknown_sendings: u64,
    /// What people then found in the cabinet, and bound.
    pub bound: u64,
    /// What they did not find, and had sent again.
    pub sent_again: u64,
    /// What iDocs had already, and answered with an error.
    pub refused_repeats: u64,
    /// Seeds in which the portal's bucket was nearly full.
    pub full_buckets: u64,
    /// Seeds with documents at two portals.
    pub two_portals: u64,
    /// What the disk has refused to the living process.
    pub refusals: u64,
    /// How often the disk refused everything for a while.
    pub break_downs: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        let Self {
            seeds,
            virtual_ms,
            documents,
            commits,
            calls,
            faults,
            kills,
            power_cuts,
            in_commits,
            notices,
            clock_jumps,
            healings,
            older_records,
            delivered,
            refused,
            delivered_whole,
            unknown_sendings,
            bound,
            sent_again,
            refused_repeats,
            full_buckets,
            two_portals,
            refusals,
            break_downs,
        } = other;
        self.seeds += seeds;
        self.virtual_ms += virtual_ms;
        self.documents += documents;
        self.commits += commits;
        self.calls += calls;
        self.faults += faults;
        self.kills += kills;
        self.power_cuts += power_cuts;
        self.in_commits += in_commits;
        self.notices += notices;
        self.clock_jumps += clock_jumps;
        self.healings += healings;
        self.older_records += older_records;
        self.delivered += delivered;
        self.refused += refused;
        self.delivered_whole += delivered_whole;
        self.unknown_sendings += unknown_sendings;
        self.bound += bound;
        self.sent_again += sent_again;
        self.refused_repeats += refused_repeats;
        self.full_buckets += full_buckets;
        self.two_portals += two_portals;
        self.refusals += refusals;
        self.break_downs += break_downs;
    }
}

/// How a seed ended.
pub struct End {
    pub tally: Tally,
    pub trace: u64,
    pub broken: Option<Broken>,
}

/// What the process holds of a portal.
pub struct Session {
    pub budget: SharedBudget,
    pub state: PortalState,
}

/// A run.
pub struct Life {
    pub plan: Plan,
    pub sabotage: Option<Sabotage>,
    pub chance: Chance,
    pub now_ms: u64,
    skew_ms: i64,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    /// That of each portal.
    worlds: [World; 2],
    pub witness: Witness,
    pub trace: Trace,
    pub tally: Tally,
    pub metrics: Metrics,
    pub easydocs: easydocs::Settings,
    pub idocs: idocs::Settings,
    /// Nothing goes wrong any more.
    pub calm: bool,
    disk: Arc<MortalDisk>,
    dir: TempDir,
    boot: u32,
    version: u16,
    next_saga: u64,
    // ---- what dies with the process
    store: Option<Store>,
    pub running: BTreeSet<(SagaId, AttemptToken)>,
    /// Each portal's.
    pub sessions: [Session; 2],
    to_recover: Vec<SagaId>,
    /// Until what was refused is tried again.
    rests: bool,
}

/// How long after a refusal by the disk it is tried again.
const REST_MS: u64 = MINUTE;
/// How long the store may need, in true time, until it works on a disk that was mended.
const MENDING: std::time::Duration = std::time::Duration::from_secs(60);

fn fresh_session(bucket: LeakyBucket) -> Session {
    Session { budget: SharedBudget::new(Some(bucket)), state: PortalState::default() }
}

/// A directory in memory where there is one: a process that dies loses nothing there either, and power cuts are made by
/// the disk of the simulation.
fn ground() -> TempDir {
    let in_memory = TempDir::new_in("/dev/shm").ok();
    in_memory.unwrap_or_else(|| tempfile::tempdir().expect("a directory for the test"))
}

impl Life {
    pub fn new(seed: u64, sabotage: Option<Sabotage>, loud: bool) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::of(&mut chance);
        let honesty = if sabotage == Some(Sabotage::DiskLies) { Honesty::Lies } else { Honesty::Honest };
        Self {
            worlds: Portal::ALL.map(|portal| World::new(&plan, portal)),
            version: plan.version,
            sessions: plan.buckets.map(fresh_session),
            plan,
            sabotage,
            chance,
            now_ms: 0,
            skew_ms: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            witness: Witness::default(),
            trace: Trace::new(loud),
            tally: Tally { seeds: 1, ..Tally::default() },
            metrics: Metrics::new(),
            easydocs: easydocs::Settings::default(),
            idocs: idocs::Settings::default(),
            calm: false,
            disk: Arc::new(MortalDisk::new(honesty)),
            dir: ground(),
            boot: 1,
            next_saga: 0,
            store: None,
            running: BTreeSet::new(),
            to_recover: Vec::new(),
            rests: false,
        }
    }

    /// The whole run.
    pub async fn lived(mut self) -> End {
        let broken = self.live().await.err();
        self.tally.virtual_ms = self.now_ms;
        self.tally.full_buckets = u64::from(self.worlds.iter().any(|world| world.bucket.is_nearly_full()));
        self.tally.two_portals = u64::from(self.plan.wishes.iter().any(|wish| wish.portal == Portal::Second));
        self.disk.die();
        self.store = None;
        End { tally: self.tally, trace: self.trace.hash(), broken }
    }

    async fn live(&mut self) -> Result<(), Broken> {
        self.open().await?;
        self.write_script();
        self.go_on(self.plan.chaos_ms).await?;
        self.calm_down().await?;
        self.come_to_an_end().await?;
        self.judge().await
    }

    // ---- the clock and the queue ---------------------------------------------------------------------------

    pub fn wall(&self) -> Timestamp {
        let shown = START.0 + i64::try_from(self.now_ms).expect("centuries") + self.skew_ms;
        Timestamp(shown)
    }

    /// When the wall clock will show this, if nobody turns it.
    fn when(&self, wall: Timestamp) -> u64 {
        let ms = wall.0 - START.0 - self.skew_ms;
        u64::try_from(ms).unwrap_or(0).max(self.now_ms)
    }

    pub fn later(&mut self, pause_ms: u64, what: Happening) {
        self.insert(pause_ms, what);
    }

    /// The same, to be taken back by its key.
    pub fn insert(&mut self, pause_ms: u64, what: Happening) -> (u64, u64) {
        self.sequence += 1;
        let key = (self.now_ms + pause_ms, self.sequence);
        self.queue.insert(key, what);
        key
    }

    pub fn remove(&mut self, key: (u64, u64)) {
        self.queue.remove(&key);
    }

    /// At the moment when the wall clock will show this.
    pub fn at_wall(&mut self, wall: Timestamp, what: Happening) {
        let at = self.when(wall);
        self.later(at - self.now_ms, what);
    }

    /// Whether a remote may still hear of this document.
    pub fn is_on_its_way(&self, saga: SagaId) -> bool {
        use Happening::{Call, Execute, Linger};
        let of_it = |what: &Happening| matches!(what, Call(o) | Execute(o) | Linger(o) if o.saga == saga);
        self.queue.values().any(of_it)
    }

    fn has_due(&self) -> bool {
        self.queue.keys().next().is_some_and(|(at, _)| *at <= self.now_ms)
    }

    pub fn turn_clock(&mut self, by_ms: i64) {
        self.tally.clock_jumps += 1;
        self.skew_ms += by_ms;
        if by_ms > 0 {
            self.worlds.iter_mut().for_each(|world| world.bucket.forgive());
        }
        self.trace.note(self.now_ms, format_args!("the wall clock is turned by {by_ms} ms"));
    }

    /// Works until this moment of the true clock.
    async fn go_on(&mut self, until_ms: u64) -> Result<(), Broken> {
        for _ in 0..TURNS_MAX {
            match self.turn().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(Stop::Crashed) => {
                    self.restart().await?;
                    continue;
                }
                Err(Stop::Broken(broken)) => return Err(broken),
            }
            let queued = self.queue.keys().next().map(|(at, _)| *at);
            let timer = if self.rests { None } else { self.next_timer().await };
            let timer = timer.map(|due| self.when(due));
            match queued.into_iter().chain(timer).min() {
                Some(next) if next <= until_ms => self.now_ms = self.now_ms.max(next),
                Some(_) | None => {
                    self.now_ms = self.now_ms.max(until_ms);
                    return Ok(());
                }
            }
        }
        Err(Broken::new(Law::I11, "the work never pauses"))
    }

    async fn next_timer(&self) -> Option<Timestamp> {
        if self.sabotage == Some(Sabotage::StopsTimers) {
            return None;
        }
        self.store().next_due().await.expect("the store of a living process reads")
    }

    /// One thing, if there is anything to do at this moment.
    async fn turn(&mut self) -> Result<bool, Stop> {
        if self.has_due() && self.chance.percent(80) {
            return self.happen().await;
        }
        if self.rests {
            return if self.has_due() { self.happen().await } else { Ok(false) };
        }
        if let Some(saga) = self.to_recover.pop() {
            self.recover(saga).await?;
            return Ok(true);
        }
        let query = AgendaQuery { now: self.wall(), after: None, notices_max: 3, due_max: 3 };
        let agenda = self.store().agenda(query).await.expect("the store of a living process reads");
        if !agenda.notices.is_empty() && (agenda.due.is_empty() || self.chance.percent(50)) {
            let which = usize::try_from(self.chance.below(agenda.notices.len() as u64)).expect("small");
            self.route(&agenda.notices[which]).await?;
            return Ok(true);
        }
        if !agenda.due.is_empty() && self.sabotage != Some(Sabotage::StopsTimers) {
            let which = usize::try_from(self.chance.below(agenda.due.len() as u64)).expect("small");
            self.tick(agenda.due[which].1).await?;
            return Ok(true);
        }
        if self.has_due() { self.happen().await } else { Ok(false) }
    }

    async fn happen(&mut self) -> Result<bool, Stop> {
        let Some((_, what)) = self.queue.pop_first() else { return Ok(false) };
        match what {
            Happening::Send(letter) => self.receive(letter).await?,
            Happening::Decide(paper) => self.people_decide(&paper),
            Happening::Counterparty(draft) => self.counterparty_decides(&draft),
            Happening::Signs(saga, unit) => self.signer_signs(saga, unit).await?,
            Happening::Clock(by_ms) => self.turn_clock(by_ms),
            Happening::Kill => return Err(Stop::Crashed),
            Happening::Meddle => self.meddle().await?,
            Happening::BreakDown => self.break_down(),
            Happening::Mend => self.mend_disk().await?,
            Happening::LookAgain => self.rests = false,
            Happening::Linger(order) => self.linger(&order).await?,
            Happening::Call(order) => self.call(order).await?,
            Happening::Execute(order) => self.execute(order).await?,
            Happening::Arrive(order, returned) => self.arrive(order, *returned).await?,
        }
        Ok(true)
    }

    // ---- the portals ---------------------------------------------------------------------------------------

    pub fn world(&self, portal: Portal) -> &World {
        &self.worlds[portal as usize]
    }

    pub fn world_mut(&mut self, portal: Portal) -> &mut World {
        &mut self.worlds[portal as usize]
    }

    pub fn worlds(&self) -> &[World] {
        &self.worlds
    }

    /// The portal whose documents this one of a signing service is among.
    pub fn portal_of(&self, document: &str) -> Portal {
        let is_there = |portal: &Portal| {
            let world = self.world(*portal);
            world.papers.contains_key(document) || world.drafts.contains_key(document)
        };
        Portal::ALL.into_iter().find(is_there).unwrap_or(Portal::Main)
    }

    // ---- the process ---------------------------------------------------------------------------------------

    /// The store of the living process.
    pub fn store(&self) -> Store {
        self.store.clone().expect("a process that lives has its store open")
    }

    /// Whether records are written as an earlier release did, where that release knew what they hold.
    pub fn writes_older(&self) -> bool {
        self.version != 0
    }

    pub fn new_saga_id(&mut self) -> SagaId {
        self.next_saga += 1;
        let chance = u128::from(self.chance.number());
        SagaId::from_u128((u128::from(self.now_ms) << 80) | (u128::from(self.next_saga) << 64) | chance)
    }

    /// A place between two steps where the process may die.
    pub fn may_die(&mut self) -> Result<(), Stop> {
        let dies = !self.calm && self.chance.permille(self.plan.crash_permille);
        if dies { Err(Stop::Crashed) } else { Ok(()) }
    }

    /// The next write may be the one in which the process dies.
    pub fn before_write(&mut self) {
        if self.calm {
            return;
        }
        self.ail_at_times();
        if !self.chance.permille(self.plan.crash_permille) {
            return;
        }
        let torn = usize::try_from(self.chance.below(900)).expect("small");
        self.disk.arm(self.chance.pick(&[Death::Unwritten, Death::Torn(torn), Death::Unsynced]));
    }

    /// Whether it was.
    pub fn after_write(&mut self) -> Result<(), Stop> {
        self.disk.recover();
        if self.disk.disarm() {
            self.tally.in_commits += 1;
            return Err(Stop::Crashed);
        }
        Ok(())
    }

    // ---- a disk that fails under it -----------------------------------------------------------------------

    fn ailment(&mut self, lasts: Lasts) -> Ailment {
        let torn = usize::try_from(self.chance.below(900)).expect("small");
        Ailment {
            errno: self.chance.pick(&[28, 5]),
            at: self.chance.pick(&[Organ::Writes(torn), Organ::Syncs]),
            lasts,
        }
    }

    /// The disk may fail at what is written next.
    pub fn ail_at_times(&mut self) {
        if !self.calm && self.chance.permille(self.plan.ailing_permille) && !self.disk.is_ailing() {
            let ailment = self.ailment(Lasts::Once);
            self.disk.ail(ailment);
        }
    }

    /// Whether what was refused waits to be tried again.
    pub fn rests(&self) -> bool {
        self.rests
    }

    pub fn recover_later(&mut self, saga: SagaId) {
        self.to_recover.push(saga);
    }

    fn break_down(&mut self) {
        let ailment = self.ailment(Lasts::UntilMended);
        self.trace.note(self.now_ms, format_args!("the disk breaks down: {ailment:?}"));
        self.disk.ail(ailment);
        self.tally.break_downs += 1;
    }

    /// Somebody mends the disk; the store finds out by itself, in true time.
    async fn mend_disk(&mut self) -> Result<(), Broken> {
        if !self.disk.is_ailing() {
            return Ok(());
        }
        self.disk.mend();
        self.trace.note(self.now_ms, format_args!("the disk is mended"));
        let until = Instant::now() + MENDING;
        while let Readiness::NotReady(reason) = self.store().health().readiness {
            if Instant::now() > until {
                return Err(Broken::new(Law::I11, format!("the disk is mended, and still: {}", reason.en)));
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        self.witness.refusals_are_certain();
        Ok(())
    }

    /// The store has refused something. Where the disk has not failed it must not; where it has, it is tried again.
    pub fn refused(&mut self, error: &StoreError) -> Result<(), Broken> {
        let StoreError::Unavailable { reason } = error else {
            return Err(Broken::new(Law::I13, format!("the store refuses: {error}")));
        };
        if self.calm || self.plan.ailing_permille == 0 && !self.disk.is_ailing() {
            return Err(Broken::new(Law::I13, format!("the store refuses on a sound disk: {}", reason.en)));
        }
        self.trace.note(self.now_ms, format_args!("the disk refuses"));
        self.tally.refusals += 1;
        if !self.disk.is_ailing() {
            self.witness.refusals_are_certain();
        }
        if !self.rests {
            self.rests = true;
            self.later(REST_MS, Happening::LookAgain);
        }
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), Broken> {
        let power = self.chance.percent(35);
        self.trace.note(self.now_ms, format_args!("the process dies, power: {power}"));
        self.disk.die();
        self.store = None;
        self.running.clear();
        self.to_recover.clear();
        if power {
            self.tally.power_cuts += 1;
            self.disk.cut_power().expect("what was written can be taken back");
            self.boot += 1;
        } else {
            self.tally.kills += 1;
        }
        // A process that dies on a broken disk starts again when it was mended.
        self.disk.revive();
        self.rests = false;
        if self.chance.percent(30) {
            // The next release: 1, then 2, then the newest.
            self.version = [0, 2, 0][usize::from(self.version)];
        }
        self.lose_calls()?;
        self.open().await
    }

    /// Requests that were on the wire may arrive all the same.
    fn lose_calls(&mut self) -> Result<(), Broken> {
        let of_process: Vec<(u64, u64)> =
            self.queue.iter().filter(|(_, what)| what.is_of_process()).map(|(key, _)| *key).collect();
        for key in of_process {
            if let Some(Happening::Execute(order)) = self.queue.remove(&key)
                && self.chance.percent(50)
            {
                self.carry_out(&order)?.ok();
            }
        }
        Ok(())
    }

    fn options(&self) -> StoreOptions {
        let mut options = StoreOptions::new(self.dir.path().join("store"));
        options.segment_bytes = 128 << 10;
        options.checkpoint_every_bytes = 64 << 10;
        options.snapshot_every_bytes = 192 << 10;
        options.min_free_bytes = 1 << 20;
        options
    }

    async fn open(&mut self) -> Result<(), Broken> {
        let host =
            Host { disk: Disk::hooked(self.disk.clone()), boot_id: Some(format!("boot-{}", self.boot)) };
        let opened = Store::open_on(self.options(), host, &mut |_| {});
        let (store, _) = opened.map_err(|error| Broken::new(Law::I13, error.to_string()))?;
        store.write_documents_as(self.version);
        self.store = Some(store.clone());
        self.sessions = self.plan.buckets.map(fresh_session);
        let unread = |error| Broken::new(Law::I13, format!("the store does not read: {error}"));
        let now = self.wall();
        for portal in Portal::ALL {
            let session = &mut self.sessions[portal as usize];
            session.state = store.portal(&portal.id()).await.map_err(unread)?.unwrap_or_default();
            if self.sabotage != Some(Sabotage::ForgetsBudget) {
                session.budget.recall(&session.state, now);
            }
        }
        let sagas = self.all().await?;
        self.witness.found(&sagas)?;
        self.to_recover = store.in_flight(None, 1_000).await.map_err(unread)?;
        Ok(())
    }

    /// All documents.
    pub async fn all(&self) -> Result<Vec<DocumentSaga>, Broken> {
        let page = self.store().list(DocumentFilter::default(), None, 1_000).await;
        let page =
            page.map_err(|error| Broken::new(Law::I13, format!("the store does not list: {error}")))?;
        Ok(page.items)
    }

    // ---- the script ----------------------------------------------------------------------------------------

    fn write_script(&mut self) {
        for wish in self.plan.wishes.clone() {
            self.write_triggers(&wish);
        }
        let chaos = self.plan.chaos_ms;
        for _ in 0..self.chance.below(4) {
            let at = self.chance.below(chaos);
            let by = match self.chance.below(3) {
                0 => -i64::try_from(self.chance.between(1, 30) * MINUTE).expect("small"),
                1 => i64::try_from(self.chance.between(1, 20) * HOUR).expect("small"),
                _ => i64::try_from(self.chance.between(1, 5) * DAY).expect("small"),
            };
            self.later(at, Happening::Clock(by));
        }
        for _ in 0..self.chance.below(6) {
            let at = self.chance.below(chaos);
            self.later(at, Happening::Meddle);
        }
        if self.plan.breaks_down {
            let at = self.chance.below(chaos / 2);
            self.later(at, Happening::BreakDown);
            let pause = self.chance.between(MINUTE, HOUR);
            self.later(at + pause, Happening::Mend);
        }
        if self.plan.storm {
            for _ in 0..self.chance.below(4) {
                let at = self.chance.below(30 * SECOND);
                self.later(at, Happening::Kill);
            }
        }
        for _ in 0..self.chance.below(2 + self.plan.crash_permille / 2) {
            let at = self.chance.below(chaos);
            self.later(at, Happening::Kill);
        }
    }

    async fn calm_down(&mut self) -> Result<(), Broken> {
        self.mend_disk().await?;
        self.calm = true;
        let is_rough = |what: &Happening| {
            use Happening::{BreakDown, Clock, Kill, Meddle};
            matches!(what, Clock(_) | Kill | Meddle | BreakDown)
        };
        self.queue.retain(|_, what| !is_rough(what));
        self.trace.note(self.now_ms, format_args!("calm"));
        Ok(())
    }

    /// Nothing goes wrong any more, people do their part, and an operator heals what is parked.
    async fn come_to_an_end(&mut self) -> Result<(), Broken> {
        let end = self.now_ms + PATIENCE_MS;
        let mut round = 0u32;
        while self.now_ms < end {
            // At first by itself: people at the signing services do their part, nobody of ours does anything.
            let heals = round > 30;
            let sagas = self.all().await?;
            let open: Vec<&DocumentSaga> = sagas.iter().filter(|saga| !saga.step.is_finished()).collect();
            if open.is_empty() && self.queue.is_empty() && self.is_inbox_empty().await {
                return Ok(());
            }
            for saga in open {
                match self.help(saga, heals).await {
                    Ok(()) => {}
                    Err(Stop::Crashed) => unreachable!("nobody dies in the calm"),
                    Err(Stop::Broken(broken)) => return Err(broken),
                }
            }
            self.go_on(self.now_ms + if round < 10 { 10 * MINUTE } else { 3 * HOUR }).await?;
            round += 1;
        }
        let stuck: Vec<String> = self.stuck().await?;
        Err(Broken::new(Law::I11, format!("after {} days: {stuck:?}", PATIENCE_MS / DAY)))
    }

    async fn is_inbox_empty(&self) -> bool {
        self.store().notices(None, 1).await.is_ok_and(|notices| notices.is_empty())
    }

    async fn stuck(&self) -> Result<Vec<String>, Broken> {
        let sagas = self.all().await?;
        let open = sagas.iter().filter(|saga| !saga.step.is_finished());
        let mut stuck: Vec<String> = open
            .map(|saga| {
                format!("{} {:?} {:?} {:?} {:?}", saga.id, saga.step, saga.work, saga.timer, saga.dead_letter)
            })
            .collect();
        stuck.push(format!("queue {:?}", self.queue.values().next()));
        stuck.push(format!("inbox empty: {}", self.is_inbox_empty().await));
        Ok(stuck)
    }
}

/// A short pause, as of a network.
pub fn moment_ms(chance: &mut Chance) -> u64 {
    chance.between(20, 3 * SECOND)
}
