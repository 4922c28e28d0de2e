//! What must hold in every run, whatever happens. Each law has an id for ever and a sentence for people.

use std::fmt;

/// One law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    I1,
    I2,
    I3,
    I4,
    I5,
    I6,
    I7,
    I8,
    I9,
    I10,
    I11,
    I12,
    I13,
    I14,
}

impl Law {
    pub fn sentence(self) -> &'static str {
        match self {
            Self::I1 => {
                "one source file makes at most one document at the signing service and one saved signature, and exactly one if it ends signed or refused; it is bound to that one, and what nothing finds is sent again by a person's word alone"
            }
            Self::I2 => {
                "the signed file comes back at most once to each of its places, and exactly once if the document ends delivered"
            }
            Self::I3 => {
                "each comment stands at most once in the timeline, and the last one exactly once where the rule wants it"
            }
            Self::I4 => {
                "a notice that is known to have arrived is never sent again, so that a crash repeats it at most once; everybody who must be told is told, and each workflow has one answer"
            }
            Self::I5 => "a remote sees only orders that are on disk, and each of them at most once",
            Self::I6 => "a live document has exactly one timer; a finished one and a dead letter have none",
            Self::I7 => "the portal's bucket never overflows, restarts included",
            Self::I8 => "the first terminal state stands, and what is finished stays finished",
            Self::I9 => {
                "no planted secret is in a history, a dead letter, an outcome, a comment or a notice about the end"
            }
            Self::I10 => {
                "every acknowledged notice ends once: it moves its document, is nothing for us, or is kept for a person"
            }
            Self::I11 => {
                "when faults stop, every document reaches its end or a dead letter within bounded time, and people can heal each of these"
            }
            Self::I12 => "what is stored only moves on: no acknowledged revision is ever lost or changed",
            Self::I13 => "the store opens after every crash, and its own rules hold (ST-1 to ST-9)",
            Self::I14 => "no decision breaks a rule of its own: nothing is parked by an internal fault",
        }
    }
}

/// A law that did not hold.
#[derive(Debug, Clone)]
pub struct Broken {
    pub law: Law,
    pub what: String,
}

impl Broken {
    pub fn new(law: Law, what: impl Into<String>) -> Self {
        Self { law, what: what.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken ({}): {}", self.law, self.law.sentence(), self.what)
    }
}
