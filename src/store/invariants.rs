//! The rules that hold over the whole store, and the check of them.

use super::command::{files_of, step_key, timer_key};
use super::keys::{self, Tree};
use super::notice::{NoticeV1, ParkedNoticeV1};
use super::overlay::Counters;
use super::records::{ClaimState, ClaimV1, MetaV1, OutboxV1, Record, SagaClaimsV1, decode};
use super::snapshot::Walk;
use super::spool::Spool;
use super::view::{Direction, View, ViewError};
use crate::domain::portal::PortalState;
use crate::domain::{NoticeId, SagaId, SpoolFile};
use crate::saga::document::{DocumentSaga, HistoryEntry, Work};
use bytes::Bytes;
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
    /// The dedupe index and the lookup index fit the pending and parked notices.
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
    let mut check = Check { view, spool, report: InvariantReport::default(), counted: Counters::default() };
    let mut walk = Walk::default();
    while let Some((tree, after)) = walk.next() {
        let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        let pairs = view.scan(tree, (from, Bound::Unbounded), Direction::Forward, CHUNK)?;
        for (key, value) in &pairs {
            check.entry(tree, key, value)?;
        }
        check.report.entries += pairs.len() as u64;
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
            Tree::Portal => self.readable::<PortalState>(tree, key, value),
            Tree::Cursor => self.readable::<super::notice::Cursor>(tree, key, value),
            Tree::Saga => return self.saga(key, value),
            Tree::History => return self.history(key, value),
            Tree::Timer => return self.timer(key),
            Tree::Step => return self.step(key),
            Tree::Outbox => return self.outbox(key, value),
            Tree::Claim => return self.claim(key, value),
            Tree::SagaClaims => return self.saga_claims(key, value),
            Tree::Notice => return self.notice(key, value),
            Tree::Dedupe => return self.dedupe(key, value),
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
        let files = saga.file.as_ref().map(|f| f.bytes).into_iter().chain(saga.signed);
        for SpoolFile { digest, size_bytes } in files {
            if !self.is_there(Tree::SpoolRef, &keys::spool_ref(digest, saga.id))? {
                self.violation(Rule::Spool, Some(saga.id), format!("file {digest:?} is not referenced"));
            }
            let size = self.spool.path(digest).metadata().map(|m| m.len());
            if size.as_ref().ok() != Some(&size_bytes) {
                let detail = format!("file {digest:?} has {size:?}, the record says {size_bytes} bytes");
                self.violation(Rule::Spool, Some(saga.id), detail);
            }
        }
        Ok(())
    }

    fn history(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        self.readable::<HistoryEntry>(Tree::History, key, value);
        let owner = key.get(..16).and_then(keys::parse_saga);
        match owner {
            Some(id) if self.is_there(Tree::Saga, &keys::saga(id))? => {}
            Some(id) => self.violation(Rule::Records, Some(id), "history of a saga that is not there"),
            None => self.bad_key(Tree::History, key),
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
        self.dedupe_points_to(&notice, key)
    }

    fn parked(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        self.counted.parked += 1;
        let Some(parked) = self.decoded::<ParkedNoticeV1>(Tree::Parked, key, value) else { return Ok(()) };
        if let (Some(text), Some(id)) = (&parked.lookup, keys::parse_notice(key))
            && !self.is_there(Tree::Lookup, &keys::lookup(text, id))?
        {
            self.violation(Rule::Notices, None, format!("parked notice {id} is not in the lookup index"));
        }
        self.dedupe_points_to(&parked.notice, key)
    }

    fn dedupe_points_to(&mut self, notice: &NoticeV1, key: &[u8]) -> Result<(), ViewError> {
        let pointed = self.view.get(Tree::Dedupe, &notice.dedupe)?;
        if pointed.as_deref() != Some(key) {
            self.violation(Rule::Notices, None, format!("notice {} is not in the dedupe index", number(key)));
        }
        Ok(())
    }

    fn dedupe(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        let pending = self.read::<NoticeV1>(Tree::Notice, value)?;
        let parked = self.read::<ParkedNoticeV1>(Tree::Parked, value)?;
        let named = pending.or(parked.map(|p| p.notice));
        if named.is_none_or(|n| n.dedupe != key) {
            self.violation(Rule::Notices, None, format!("the dedupe index names notice {}", number(value)));
        }
        Ok(())
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
