//! The rules that hold over the whole store, and the check of them.

use crate::domain::SagaId;
use std::fmt;

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
