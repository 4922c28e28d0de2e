//! The ledger: an ordered list of everything that was asked of the emulated world and of what it did.
//!
//! Knows nothing of what a call means; the callers supply the facts. It never holds a secret or a file's bytes.
//!
//! Invariants: `n` grows by one per entry and never repeats; an entry is written before its answer is sent, so
//! whoever has the answer finds the entry; at most [`LEDGER_ENTRIES_MAX`] entries are kept, the oldest go first.

use super::world::now_ms;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// How many entries are kept: hours of a busy test, some tens of megabytes.
pub const LEDGER_ENTRIES_MAX: usize = 200_000;

/// Facts of one call by name: `file_id`, `folder_id`, `name`, `sha256`, `external_id`, `document_id`, `user_id`, `tag`.
pub type Facts = BTreeMap<&'static str, Value>;

/// Whose call it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The portal; `event` is a call that the portal makes.
    Bitrix24,
    /// The signing service; `callback` is a call that the service makes.
    EasyDocs,
    /// The other signing service; `idocs.webhook` is a call that it makes.
    #[serde(rename = "idocs")]
    IDocs,
    /// The authorisation server of the portal.
    #[serde(rename = "oauth")]
    OAuth,
    /// The push server of the portal.
    Push,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LedgerEntry {
    /// Position, from 1.
    pub n: u64,
    /// When, UTC milliseconds: the moment of its effect, or without one that of its answer. What a slow answer shows is
    /// told later than it was there, and entries are in the order of the answers.
    pub at_ms: i64,
    /// Whose call it was.
    pub side: Side,
    /// The call's name; a command of a batch has its own entry under its own name, before the entry `batch`.
    pub call: String,
    /// What the call was about.
    pub facts: Facts,
    /// Whether the emulated world was changed by it.
    pub effect: bool,
    /// Name of the fault that struck it.
    pub fault: Option<&'static str>,
    /// HTTP status of the answer; none if no answer was sent (or, for `event` and `callback`, received).
    pub status: Option<u16>,
}

/// What is known of a call before it gets its place in the ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Note {
    pub(crate) facts: Facts,
    pub(crate) effect: bool,
    /// When the world was changed; none if that is not known.
    pub(crate) since_ms: Option<i64>,
}

impl Note {
    /// A call that only read.
    pub(crate) fn read() -> Self {
        Self::default()
    }
    /// A call that has just changed the world.
    pub(crate) fn effect() -> Self {
        Self { effect: true, since_ms: Some(now_ms()), ..Self::default() }
    }
    #[must_use]
    pub(crate) fn fact(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.facts.insert(name, value.into());
        self
    }
}

/// The list itself.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: VecDeque<LedgerEntry>,
    written: u64,
}

impl Ledger {
    pub(crate) fn write(
        &mut self,
        at_ms: i64,
        side: Side,
        call: &str,
        note: Note,
        fault: Option<&'static str>,
        status: Option<u16>,
    ) {
        self.written += 1;
        if self.entries.len() == LEDGER_ENTRIES_MAX {
            self.entries.pop_front();
        }
        let Note { facts, effect, since_ms } = note;
        let call = call.to_owned();
        self.entries.push_back(LedgerEntry {
            n: self.written,
            at_ms: since_ms.unwrap_or(at_ms),
            side,
            call,
            facts,
            effect,
            fault,
            status,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// All kept entries after number `n`, in order.
    pub(crate) fn after(&self, n: u64) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.iter().filter(move |e| e.n > n)
    }

    /// All kept entries of one call, in order.
    pub(crate) fn of_call(&self, call: &str) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.iter().filter(move |e| e.call == call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_after_a_clear_so_that_an_old_position_stays_true() {
        let mut ledger = Ledger::default();
        ledger.write(1, Side::Bitrix24, "scope", Note::read(), None, Some(200));
        ledger.clear();
        ledger.write(2, Side::EasyDocs, "easydocs.create", Note::effect(), Some("cut_after"), None);
        let entries: Vec<_> = ledger.after(1).collect();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].n, entries[0].effect, entries[0].status), (2, true, None));
    }
}
