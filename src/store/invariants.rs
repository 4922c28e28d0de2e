//! The rules that hold over the whole store, and the check of them.

use super::command::{files_of, step_key, timer_key};
use super::inbox::{Identity, identity};
use super::keys::{self, Tree};
use super::notice::{NoticeV1, ParkedNoticeV1};
use super::overlay::Counters;
use super::records::{ClaimState, ClaimV1, MetaV1, OutboxV1, Record, SagaClaimsV1, decode};
use super::snapshot::Walk;
use super::spool::Spool;
use super::view::{Direction, View, ViewError};
use super::{portal_capabilities, portal_owner, portal_usage, portal_workflows};
use crate::domain::portal::PortalState;
use crate::domain::portal_capabilities::CapabilityMap;
use crate::domain::portal_owner::OwnerRecord;
use crate::domain::portal_usage::HourUsage;
use crate::domain::portal_workflows::WorkflowRecord;
use crate::domain::{NoticeId, SagaId, SpoolFile};
use crate::saga::document::{DocumentSaga, HistoryEntry, Work};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;

/// How many entries are read in one go.
const CHUNK: usize = 512;

/// What the check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InvariantReport {
    /// Sagas that were looked at.
    pub sagas: u64,
    /// Index entries, claims, notices and references that were looked at.
    pub entries: u64,
    /// What is broken; at most [`InvariantReport::VIOLATIONS_MAX`] are listed.
    pub violations: Vec<Violation>,
    /// How many are broken in all.
    pub violation_count: u64,
    /// Entries by the name of their tree; empty trees are left out.
    pub trees: BTreeMap<&'static str, u64>,
}

impl InvariantReport {
    /// How many violations are listed in full.
    pub const VIOLATIONS_MAX: usize = 100;
    /// Whether all is well.
    pub fn is_clean(&self) -> bool {
        self.violation_count == 0
    }
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule; stable.
    pub rule: Rule,
    /// Whose, if it is one saga's.
    pub saga: Option<SagaId>,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.saga {
            Some(saga) => write!(f, "{} (saga {saga}): {}", self.rule.id(), self.detail),
            None => write!(f, "{}: {}", self.rule.id(), self.detail),
        }
    }
}

/// The rules over the whole store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A live saga has exactly one timer, a finished or parked one none.
    OneTimer,
    /// The timer index says what the records say.
    TimerIndex,
    /// The step index says what the records say.
    StepIndex,
    /// The outbox names exactly the sagas with an effect under way, with their tokens.
    Outbox,
    /// Every claim points to a saga that lists it, or is a tombstone; every listed claim exists.
    Claims,
    /// Every file that an unfinished saga names is referenced, every reference is named, and the file exists.
    Spool,
    /// Every value decodes.
    Records,
    /// No two pending or parked notices are the same; the lookup index fits the parked ones.
    Notices,
    /// The counters say what the trees say.
    Counters,
}

impl Rule {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            Self::OneTimer => "ST-1 one timer",
            Self::TimerIndex => "ST-2 timer index",
            Self::StepIndex => "ST-3 step index",
            Self::Outbox => "ST-4 outbox",
            Self::Claims => "ST-5 claims",
            Self::Spool => "ST-6 spool",
            Self::Records => "ST-7 records",
            Self::Notices => "ST-8 notices",
            Self::Counters => "ST-9 counters",
        }
    }
}

/// Checks everything in the view, which must stand still meanwhile and hold all that `counters` count.
pub(super) fn check(view: &View, counters: &Counters, spool: &Spool) -> Result<InvariantReport, ViewError> {
    let mut check = Check {
        view,
        spool,
        report: InvariantReport::default(),
        counted: Counters::default(),
        seen: HashMap::new(),
        last_owner: None,
    };
    let mut walk = Walk::default();
    while let Some((tree, after)) = walk.next() {
        let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        let pairs = view.scan(tree, (from, Bound::Unbounded), Direction::Forward, CHUNK)?;
        for (key, value) in &pairs {
            check.entry(tree, key, value)?;
        }
        check.report.entries += pairs.len() as u64;
        if !pairs.is_empty() {
            *check.report.trees.entry(tree.name()).or_default() += pairs.len() as u64;
        }
        walk.advance(&pairs, CHUNK);
    }
    if check.counted != *counters {
        let detail = format!("counted {:?}, kept {counters:?}", check.counted);
        check.violation(Rule::Counters, None, detail);
    }
    Ok(check.report)
}

/// A check that is going on.
struct Check<'a> {
    view: &'a View,
    spool: &'a Spool,
    report: InvariantReport,
    counted: Counters,
    /// The notices seen so far.
    seen: HashMap<Identity, String>,
    /// Whose history was looked at last.
    last_owner: Option<SagaId>,
}

impl Check<'_> {
    fn violation(&mut self, rule: Rule, saga: Option<SagaId>, detail: impl Into<String>) {
        self.report.violation_count += 1;
        if self.report.violations.len() < InvariantReport::VIOLATIONS_MAX {
            self.report.violations.push(Violation { rule, saga, detail: detail.into() });
        }
    }

    /// Each index entry is compared with the record, each record with the index entries: so a missing one and one
    /// too many are both found.
    fn entry(&mut self, tree: Tree, key: &[u8], value: &Bytes) -> Result<(), ViewError> {
        match tree {
            Tree::Meta => self.readable::<MetaV1>(tree, key, value),
            Tree::Portal if portal_usage::is_hour(key) => self.readable::<HourUsage>(tree, key, value),
            Tree::Portal if portal_owner::is_owner(key) => self.readable::<OwnerRecord>(tree, key, value),
            Tree::Portal if portal_workflows::is_workflows(key) => {
                self.readable::<WorkflowRecord>(tree, key, value);
            }
            Tree::Portal if portal_capabilities::is_map(key) => {
                self.readable::<CapabilityMap>(tree, key, value);
            }
            Tree::Portal => self.readable::<PortalState>(tree, key, value),
            Tree::Installation => {
                self.readable::<super::portal_installations::InstallationV1>(tree, key, value);
            }
            Tree::Cursor => self.readable::<super::notice::Cursor>(tree, key, value),
            Tree::Saga => return self.saga(key, value),
            Tree::History => return self.history(key, value),
            Tree::Timer => return self.timer(key),
            Tree::Step => return self.step(key),
            Tree::Outbox => return self.outbox(key, value),
            Tree::Claim => return self.claim(key, value),
            Tree::SagaClaims => return self.saga_claims(key, value),
            Tree::Notice => return self.notice(key, value),
            Tree::Parked => return self.parked(key, value),
            Tree::Lookup => return self.lookup(key),
            Tree::SpoolRef => return self.spool_ref(key),
        }
        Ok(())
    }

    fn readable<R: Record>(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        self.decoded::<R>(tree, key, value);
    }

    fn decoded<R: Record>(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Option<R> {
        match decode(value) {
            Ok(record) => Some(record),
            Err(error) => {
                self.violation(Rule::Records, None, format!("{}: {error}", keys::describe(tree, key)));
                None
            }
        }
    }

    fn read<R: Record>(&mut self, tree: Tree, key: &[u8]) -> Result<Option<R>, ViewError> {
        // One that does not decode is reported where its own tree is walked.
        Ok(self.view.get(tree, key)?.and_then(|value| decode(&value).ok()))
    }

    fn record_of(&mut self, id: SagaId) -> Result<Option<DocumentSaga>, ViewError> {
        self.read(Tree::Saga, &keys::saga(id))
    }

    fn is_there(&self, tree: Tree, key: &[u8]) -> Result<bool, ViewError> {
        Ok(self.view.get(tree, key)?.is_some())
    }

    fn bad_key(&mut self, tree: Tree, key: &[u8]) {
        self.violation(
            Rule::Records,
            None,
            format!("the key {} is not what its tree holds", keys::describe(tree, key)),
        );
    }

    fn saga(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        self.report.sagas += 1;
        let Some(saga) = self.decoded::<DocumentSaga>(Tree::Saga, key, value) else { return Ok(()) };
        let id = Some(saga.id);
        if keys::saga(saga.id) != key {
            self.bad_key(Tree::Saga, key);
        }
        self.counted.sagas[usize::from(saga.step.code())] += 1;
        if saga.step.is_live() != saga.timer.is_some() {
            self.violation(Rule::OneTimer, id, format!("step {}, timer {:?}", saga.step.name(), saga.timer));
        }
        if let Some(timer) = timer_key(&saga)
            && !self.is_there(Tree::Timer, &timer)?
        {
            self.violation(Rule::TimerIndex, id, "its timer is not in the index");
        }
        if !self.is_there(Tree::Step, &step_key(&saga))? {
            self.violation(Rule::StepIndex, id, "its step is not in the index");
        }
        if matches!(saga.work, Work::InFlight { .. }) && !self.is_there(Tree::Outbox, key)? {
            self.violation(Rule::Outbox, id, "its effect is not in the outbox");
        }
        self.saga_files(&saga)
    }

    fn saga_files(&mut self, saga: &DocumentSaga) -> Result<(), ViewError> {
        if saga.step.is_finished() {
            return Ok(());
        }
        for SpoolFile { digest, size_bytes } in saga.spool_files() {
            if !self.is_there(Tree::SpoolRef, &keys::spool_ref(digest, saga.id))? {
                self.violation(Rule::Spool, Some(saga.id), format!("file {digest:?} is not referenced"));
            }
            let size = self.spool.size_of(digest);
            if size.as_ref().ok() != Some(&size_bytes) {
                let detail = format!("file {digest:?} has {size:?}, the record says {size_bytes} bytes");
                self.violation(Rule::Spool, Some(saga.id), detail);
            }
        }
        Ok(())
    }

    fn history(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        self.readable::<HistoryEntry>(Tree::History, key, value);
        let Some(owner) = key.get(..16).and_then(keys::parse_saga) else {
            self.bad_key(Tree::History, key);
            return Ok(());
        };
        // The lines of one saga follow each other: it is looked up once.
        if self.last_owner != Some(owner) {
            if !self.is_there(Tree::Saga, &keys::saga(owner))? {
                self.violation(Rule::Records, Some(owner), "history of a saga that is not there");
            }
            self.last_owner = Some(owner);
        }
        Ok(())
    }

    fn timer(&mut self, key: &[u8]) -> Result<(), ViewError> {
        let Some((due, id)) = keys::parse_timer(key) else {
            self.bad_key(Tree::Timer, key);
            return Ok(());
        };
        let saga = self.record_of(id)?;
        if saga.is_none_or(|s| timer_key(&s).as_deref() != Some(key)) {
            self.violation(
                Rule::TimerIndex,
                Some(id),
                format!("a timer at {} that the record does not have", due.0),
            );
        }
        Ok(())
    }

    fn step(&mut self, key: &[u8]) -> Result<(), ViewError> {
        let Some((step, _, id)) = keys::parse_step(key) else {
            self.bad_key(Tree::Step, key);
            return Ok(());
        };
        let saga = self.record_of(id)?;
        if saga.is_none_or(|s| step_key(&s) != key) {
            self.violation(
                Rule::StepIndex,
                Some(id),
                format!("listed under {}, the record is not there", step.name()),
            );
        }
        Ok(())
    }

    fn outbox(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        self.counted.in_flight += 1;
        let Some(id) = keys::parse_saga(key) else {
            self.bad_key(Tree::Outbox, key);
            return Ok(());
        };
        let order = self.decoded::<OutboxV1>(Tree::Outbox, key, value);
        let saga = self.record_of(id)?;
        let work = order.map(|OutboxV1 { token, since }| Work::InFlight { token, since });
        if saga.map(|s| s.work) != work {
            self.violation(Rule::Outbox, Some(id), "the outbox has an effect that the record does not have");
        }
        Ok(())
    }

    fn claim(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        let Some(claim) = self.decoded::<ClaimV1>(Tree::Claim, key, value) else { return Ok(()) };
        let id = Some(claim.saga);
        match claim.state {
            ClaimState::Tombstone => {
                if self.is_there(Tree::Saga, &keys::saga(claim.saga))? {
                    self.violation(Rule::Claims, id, "a tombstone of a saga that is there");
                }
            }
            ClaimState::Held => {
                let list: SagaClaimsV1 =
                    self.read(Tree::SagaClaims, &keys::saga(claim.saga))?.unwrap_or_default();
                if !list.claims.iter().any(|c| keys::claim(c, claim.saga) == key) {
                    let detail = format!("{} is held and not listed", keys::describe(Tree::Claim, key));
                    self.violation(Rule::Claims, id, detail);
                }
            }
        }
        Ok(())
    }

    fn saga_claims(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        let Some(list) = self.decoded::<SagaClaimsV1>(Tree::SagaClaims, key, value) else { return Ok(()) };
        let Some(id) = keys::parse_saga(key) else {
            self.bad_key(Tree::SagaClaims, key);
            return Ok(());
        };
        if !self.is_there(Tree::Saga, key)? {
            self.violation(Rule::Claims, Some(id), "claims of a saga that is not there");
        }
        for claim in list.claims {
            let held = self.read::<ClaimV1>(Tree::Claim, &keys::claim(&claim, id))?;
            if held != Some(ClaimV1 { saga: id, state: ClaimState::Held }) {
                self.violation(Rule::Claims, Some(id), format!("{claim:?} is listed and not held"));
            }
        }
        Ok(())
    }

    fn notice(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        self.counted.notices += 1;
        let Some(notice) = self.decoded::<NoticeV1>(Tree::Notice, key, value) else { return Ok(()) };
        self.is_known_once(&notice, key);
        Ok(())
    }

    fn parked(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        self.counted.parked += 1;
        let Some(parked) = self.decoded::<ParkedNoticeV1>(Tree::Parked, key, value) else { return Ok(()) };
        if let (Some(text), Some(id)) = (&parked.lookup, keys::parse_notice(key))
            && !self.is_there(Tree::Lookup, &keys::lookup(text, id))?
        {
            self.violation(Rule::Notices, None, format!("parked notice {id} is not in the lookup index"));
        }
        self.is_known_once(&parked.notice, key);
        Ok(())
    }

    fn is_known_once(&mut self, notice: &NoticeV1, key: &[u8]) {
        if let Some(other) = self.seen.insert(identity(&notice.dedupe), number(key)) {
            self.violation(
                Rule::Notices,
                None,
                format!("notice {} is the same as notice {other}", number(key)),
            );
        }
    }

    fn lookup(&mut self, key: &[u8]) -> Result<(), ViewError> {
        let id = keys::parse_lookup(key).unwrap_or(NoticeId(0));
        let parked = self.read::<ParkedNoticeV1>(Tree::Parked, &keys::notice(id))?;
        if parked.and_then(|p| p.lookup).is_none_or(|text| keys::lookup(&text, id) != key) {
            self.violation(Rule::Notices, None, format!("the lookup index names notice {id}"));
        }
        Ok(())
    }

    fn spool_ref(&mut self, key: &[u8]) -> Result<(), ViewError> {
        let Some((digest, id)) = keys::parse_spool_ref(key) else {
            self.bad_key(Tree::SpoolRef, key);
            return Ok(());
        };
        let saga = self.record_of(id)?;
        if saga.is_none_or(|s| !files_of(&s).contains(&digest)) {
            self.violation(Rule::Spool, Some(id), format!("file {digest:?} is referenced and not named"));
        }
        Ok(())
    }
}

fn number(key: &[u8]) -> String {
    keys::parse_notice(key).map_or_else(|| "of no number".into(), |id| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::disk::Disk;
    use super::super::notice::NewNotice;
    use super::super::records::encode;
    use super::super::samples::Samples;
    use super::*;
    use crate::domain::{AttemptToken, FileDigest, Text, Timestamp};
    use crate::saga::document::state::{SourceFile, TimerKind};
    use crate::saga::document::{Claim, Step, Timer};
    use sha2::{Digest, Sha256};
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    /// A small sound state: two sagas, a pending and a parked notice, a file.
    struct Bench {
        _dir: tempfile::TempDir,
        view: View,
        spool: Spool,
        counters: Counters,
    }

    fn put(view: &View, tree: Tree, key: Vec<u8>, value: Bytes) {
        view.write(tree, std::iter::once((key.as_slice(), Some(&value)))).expect("written");
    }

    fn del(view: &View, tree: Tree, key: &[u8]) {
        view.write(tree, std::iter::once((key, None))).expect("written");
    }

    fn raw<R: Record>(record: &R) -> Bytes {
        encode(record).expect("small").into()
    }

    fn live() -> DocumentSaga {
        let bytes = SpoolFile { digest: FileDigest(Sha256::digest(b"bytes").into()), size_bytes: 5 };
        DocumentSaga {
            id: SagaId::from_u128(1),
            step: Step::Create,
            timer: Some(Timer { due: Timestamp(50), kind: TimerKind::Lease }),
            work: Work::InFlight { token: AttemptToken(3), since: Timestamp(40) },
            file: Some(SourceFile { name: "a".into(), folder_id: None, version: None, bytes }),
            signed: None,
            own: None,
            ..Samples::new(7).saga()
        }
    }

    fn finished() -> DocumentSaga {
        let mut saga = Samples::new(8).saga();
        saga.id = SagaId::from_u128(2);
        saga.step = Step::Delivered;
        saga.timer = None;
        saga.work = Work::Idle;
        saga
    }

    fn notice(body: &'static str) -> NoticeV1 {
        NoticeV1::from(&NewNotice { body: body.into(), ..Samples::new(1).new_notice() })
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory for the test");
            let view = View::open(&dir.path().join("view"), 1 << 20).expect("a fresh view opens");
            let low = Arc::new(AtomicBool::new(false));
            let spool =
                Spool::open(&dir.path().join("spool"), [1; 16], Disk::real(), 1 << 20, low).expect("opened");
            spool.note_counted(0, Vec::new());
            let bench = Self { _dir: dir, view, spool, counters: Counters::default() };
            bench.filled()
        }

        fn filled(mut self) -> Self {
            let view = &self.view;
            let (live, finished) = (live(), finished());
            let claim = Claim::Source("main:1".into());
            let held = ClaimV1 { saga: live.id, state: ClaimState::Held };
            let tombstone = ClaimV1 { saga: SagaId::from_u128(99), state: ClaimState::Tombstone };
            for saga in [&live, &finished] {
                put(view, Tree::Saga, keys::saga(saga.id), raw(saga));
                put(view, Tree::Step, step_key(saga), Bytes::new());
                put(view, Tree::History, keys::history(saga.id, 0, 0), raw(&Samples::new(1).history()));
                self.counters.sagas[usize::from(saga.step.code())] += 1;
            }
            put(view, Tree::Timer, timer_key(&live).expect("live"), Bytes::new());
            let order = OutboxV1 { token: AttemptToken(3), since: Timestamp(40) };
            put(view, Tree::Outbox, keys::saga(live.id), raw(&order));
            put(
                view,
                Tree::SagaClaims,
                keys::saga(live.id),
                raw(&SagaClaimsV1 { claims: vec![claim.clone()] }),
            );
            put(view, Tree::Claim, keys::claim(&claim, live.id), raw(&held));
            put(view, Tree::Claim, keys::claim(&Claim::Source("old".into()), live.id), raw(&tombstone));
            for digest in files_of(&live) {
                put(view, Tree::SpoolRef, keys::spool_ref(digest, live.id), Bytes::new());
            }
            let mut sink = self.spool.create_blocking().expect("begun");
            sink.write(b"bytes").expect("written");
            sink.finish().expect("kept");
            let (pending, parked) = (notice("pending"), notice("parked"));
            put(view, Tree::Notice, keys::notice(NoticeId(1)), raw(&pending));
            let parked =
                ParkedNoticeV1 { notice: parked, reason: Text::new("", ""), lookup: Some("x".into()) };
            put(view, Tree::Parked, keys::notice(NoticeId(2)), raw(&parked));
            put(view, Tree::Lookup, keys::lookup("x", NoticeId(2)), Bytes::new());
            put(view, Tree::Cursor, b"folder".to_vec(), raw(&Samples::new(1).cursor()));
            self.counters.notices = 1;
            self.counters.parked = 1;
            self.counters.in_flight = 1;
            self
        }

        fn rules(&self) -> Vec<Rule> {
            let report = check(&self.view, &self.counters, &self.spool).expect("checked");
            let mut rules: Vec<Rule> = report.violations.into_iter().map(|v| v.rule).collect();
            rules.sort();
            rules.dedup();
            rules
        }
    }

    #[test]
    fn a_sound_state_has_no_violation() {
        let bench = Bench::new();
        let report = check(&bench.view, &bench.counters, &bench.spool).expect("checked");
        assert!(report.is_clean(), "{:#?}", report.violations);
        assert_eq!((report.sagas, report.entries), (2, 16));
    }

    /// What is broken, and which rules must say so.
    type Planted = (&'static str, fn(&mut Bench), &'static [Rule]);

    const PLANTED: &[Planted] = &[
        (
            "a live saga without a timer",
            |b| {
                let saga = DocumentSaga { timer: None, ..live() };
                put(&b.view, Tree::Saga, keys::saga(saga.id), raw(&saga));
            },
            &[Rule::OneTimer, Rule::TimerIndex],
        ),
        (
            "a finished saga with a timer",
            |b| {
                let timer = Some(Timer { due: Timestamp(9), kind: TimerKind::Wait });
                let saga = DocumentSaga { timer, ..finished() };
                put(&b.view, Tree::Saga, keys::saga(saga.id), raw(&saga));
                put(&b.view, Tree::Timer, timer_key(&saga).expect("planted"), Bytes::new());
            },
            &[Rule::OneTimer],
        ),
        (
            "a timer that is not in the index",
            |b| del(&b.view, Tree::Timer, &timer_key(&live()).expect("live")),
            &[Rule::TimerIndex],
        ),
        (
            "a second timer in the index",
            |b| {
                put(&b.view, Tree::Timer, keys::timer(Timestamp(51), live().id), Bytes::new());
            },
            &[Rule::TimerIndex],
        ),
        (
            "a step that is not in the index",
            |b| del(&b.view, Tree::Step, &step_key(&live())),
            &[Rule::StepIndex],
        ),
        (
            "a saga under two steps",
            |b| {
                put(&b.view, Tree::Step, keys::step(Step::Parked, Timestamp(1), live().id), Bytes::new());
            },
            &[Rule::StepIndex],
        ),
        (
            "an effect that is not in the outbox",
            |b| {
                del(&b.view, Tree::Outbox, &keys::saga(live().id));
                b.counters.in_flight = 0;
            },
            &[Rule::Outbox],
        ),
        (
            "an outbox entry with another token",
            |b| {
                let order = OutboxV1 { token: AttemptToken(4), since: Timestamp(40) };
                put(&b.view, Tree::Outbox, keys::saga(live().id), raw(&order));
            },
            &[Rule::Outbox],
        ),
        (
            "an outbox entry of a finished saga",
            |b| {
                let order = OutboxV1 { token: AttemptToken(4), since: Timestamp(40) };
                put(&b.view, Tree::Outbox, keys::saga(finished().id), raw(&order));
                b.counters.in_flight = 2;
            },
            &[Rule::Outbox],
        ),
        (
            "a claim that nobody lists",
            |b| {
                let held = ClaimV1 { saga: finished().id, state: ClaimState::Held };
                put(
                    &b.view,
                    Tree::Claim,
                    keys::claim(&Claim::External("e".into()), finished().id),
                    raw(&held),
                );
            },
            &[Rule::Claims],
        ),
        (
            "a listed claim that is not held",
            |b| {
                del(&b.view, Tree::Claim, &keys::claim(&Claim::Source("main:1".into()), live().id));
            },
            &[Rule::Claims],
        ),
        (
            "claims of nobody",
            |b| {
                put(
                    &b.view,
                    Tree::SagaClaims,
                    keys::saga(SagaId::from_u128(5)),
                    raw(&SagaClaimsV1::default()),
                );
            },
            &[Rule::Claims],
        ),
        (
            "a tombstone of a saga that lives",
            |b| {
                let tombstone = ClaimV1 { saga: live().id, state: ClaimState::Tombstone };
                put(
                    &b.view,
                    Tree::Claim,
                    keys::claim(&Claim::Source("old".into()), live().id),
                    raw(&tombstone),
                );
            },
            &[Rule::Claims],
        ),
        (
            "a file that is not referenced",
            |b| {
                del(&b.view, Tree::SpoolRef, &keys::spool_ref(files_of(&live())[0], live().id));
            },
            &[Rule::Spool],
        ),
        (
            "a reference that no record names",
            |b| {
                put(&b.view, Tree::SpoolRef, keys::spool_ref(FileDigest([1; 32]), live().id), Bytes::new());
            },
            &[Rule::Spool],
        ),
        (
            "a file that is not there",
            |b| {
                std::fs::remove_file(b.spool.path(files_of(&live())[0])).expect("removed");
            },
            &[Rule::Spool],
        ),
        (
            "a record that does not decode",
            |b| {
                let mut bytes = raw(&live()).to_vec();
                bytes[40] ^= 1;
                put(&b.view, Tree::Saga, keys::saga(live().id), bytes.into());
            },
            &[Rule::TimerIndex, Rule::StepIndex, Rule::Outbox, Rule::Spool, Rule::Records, Rule::Counters],
        ),
        (
            "history of nobody",
            |b| {
                let line = raw(&Samples::new(1).history());
                put(&b.view, Tree::History, keys::history(SagaId::from_u128(5), 0, 0), line);
            },
            &[Rule::Records],
        ),
        (
            "the same notice twice",
            |b| {
                put(&b.view, Tree::Notice, keys::notice(NoticeId(7)), raw(&notice("parked")));
                b.counters.notices = 2;
            },
            &[Rule::Notices],
        ),
        (
            "a parked notice that cannot be looked up",
            |b| del(&b.view, Tree::Lookup, &keys::lookup("x", NoticeId(2))),
            &[Rule::Notices],
        ),
        (
            "a lookup of nothing",
            |b| {
                put(&b.view, Tree::Lookup, keys::lookup("y", NoticeId(2)), Bytes::new());
            },
            &[Rule::Notices],
        ),
        ("a counter that has lost touch", |b| b.counters.notices = 5, &[Rule::Counters]),
    ];

    #[test]
    fn each_planted_violation_is_found_under_its_rule() {
        for (name, plant, expected) in PLANTED {
            let mut bench = Bench::new();
            plant(&mut bench);
            assert_eq!(bench.rules(), *expected, "{name}");
        }
    }
}
