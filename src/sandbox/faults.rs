//! Faults on order: what goes wrong, at which call, at which repetition of it.
//!
//! Knows the names of calls, and nothing of sockets: `front` turns a kind into bytes or into their absence.
//!
//! Invariants: a fault counts the calls that match it from the moment it was set; at most one fault strikes a
//! call, the earliest set one; the same list of faults over the same calls strikes the same calls.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many faults may be set at once: enough for any sweep, too few to slow a call down.
pub const FAULTS_MAX: usize = 1_000;

/// One fault: which call it waits for, which repetitions it strikes, what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Name of the call as the ledger prints it (`disk.file.get`, `download`, `upload.second_step`,
    /// `easydocs.create`, `easydocs.download`, `oauth.token`, `oauth.authorize`, `oauth.app.info`, `push.poll`,
    /// `callback`, `event`, `robot`, those of `idocs.*`); `disk.*` for all that begin so, `*` for all.
    pub target: String,
    /// Which of the matching calls are struck.
    #[serde(default)]
    pub on_calls: OnCalls,
    /// What happens to them.
    pub kind: FaultKind,
}

impl Fault {
    /// Strikes every call of this name until the faults are cleared.
    pub fn always(target: impl Into<String>, kind: FaultKind) -> Self {
        Self { target: target.into(), on_calls: OnCalls::Always, kind }
    }
    /// Strikes only the `n`-th call from now, counted from 1.
    pub fn nth(target: impl Into<String>, n: u32, kind: FaultKind) -> Self {
        Self { target: target.into(), on_calls: OnCalls::Nth(n), kind }
    }
    /// Strikes the first `n` calls from now.
    pub fn first(target: impl Into<String>, n: u32, kind: FaultKind) -> Self {
        Self { target: target.into(), on_calls: OnCalls::First(n), kind }
    }

    fn matches(&self, call: &str) -> bool {
        match self.target.strip_suffix('*') {
            Some(prefix) => call.starts_with(prefix),
            None => self.target == call,
        }
    }
}

/// Which of the matching calls a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCalls {
    /// All of them.
    #[default]
    Always,
    /// Only this one, counted from 1.
    Nth(u32),
    /// This many from the beginning.
    First(u32),
}

impl OnCalls {
    fn strikes(self, seen: u32) -> bool {
        match self {
            Self::Always => true,
            Self::Nth(n) => seen == n,
            Self::First(n) => seen <= n,
        }
    }
}

/// What happens to a struck call. "The effect" is what the call was meant to do.
///
/// For the calls that the sandbox itself makes (`callback`, `event`, `robot`, `idocs.webhook`): `Refuse` and `CutBefore` lose the
/// delivery, `CutAfter` delivers it and forgets the answer, `Slow` and `SlowBefore` deliver it late, `Duplicate`
/// delivers it twice; the other kinds do nothing there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The connection is accepted and reset after the head of the request; no effect.
    Refuse,
    /// The request is read, the connection is closed without an answer; no effect.
    CutBefore,
    /// The effect is done, the connection is closed without an answer.
    CutAfter,
    /// This answer instead of the effect.
    Status(ErrorAnswer),
    /// This answer after the effect was done.
    StatusAfter(ErrorAnswer),
    /// A page of HTML with this status, as from the web server in front; no effect.
    Html(u16),
    /// A page of HTML with this status after the effect was done.
    HtmlAfter(u16),
    /// The effect is done, the right answer breaks off in its middle.
    Truncated,
    /// The effect is done at once, the right answer comes this many milliseconds late.
    Slow(u64),
    /// The request is held for this many milliseconds; then everything goes right.
    SlowBefore(u64),
    /// Everything goes right, and what the effect sets off (callback, event) is delivered twice.
    Duplicate,
    /// The effect is done, the answer is a 200 with nothing in it.
    EmptyBody,
}

impl FaultKind {
    /// An error answer before the effect.
    pub fn status(status: u16, error: impl Into<String>) -> Self {
        Self::Status(ErrorAnswer::new(status, error))
    }
    /// An error answer after the effect.
    pub fn status_after(status: u16, error: impl Into<String>) -> Self {
        Self::StatusAfter(ErrorAnswer::new(status, error))
    }

    /// The kind's stable name, as the ledger prints it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::CutBefore => "cut_before",
            Self::CutAfter => "cut_after",
            Self::Status(_) => "status",
            Self::StatusAfter(_) => "status_after",
            Self::Html(_) => "html",
            Self::HtmlAfter(_) => "html_after",
            Self::Truncated => "truncated",
            Self::Slow(_) => "slow",
            Self::SlowBefore(_) => "slow_before",
            Self::Duplicate => "duplicate",
            Self::EmptyBody => "empty_body",
        }
    }

    /// Whether one command of a batch can suffer it alone; the others can only strike the whole request.
    pub(crate) fn fits_one_command(&self) -> bool {
        matches!(self, Self::Status(_) | Self::StatusAfter(_))
    }
}

/// An answer that says no, in the JSON that the struck side uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorAnswer {
    /// HTTP status.
    pub status: u16,
    /// The code: `error`, in iDocs `errorCode`.
    #[serde(default)]
    pub error: String,
    /// The words: `error_description` on the portal, `message` in EasyDocs, `errorDescription` in iDocs.
    #[serde(default)]
    pub description: String,
    /// Seconds for a `Retry-After` header; Bitrix24 is not known to send one.
    #[serde(default)]
    pub retry_after_s: Option<u32>,
}

impl ErrorAnswer {
    /// An answer without words of its own.
    pub fn new(status: u16, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            description: "fault set in the sandbox".into(),
            retry_after_s: None,
        }
    }
    /// The same with a `Retry-After` header.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        self.retry_after_s.map(|s| ("Retry-After", s.to_string())).into_iter().collect()
    }
}

/// The faults that are set, with their counters, and a count of all calls.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Vec<Armed>,
    calls: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    seen: u32,
    struck: u32,
}

impl Faults {
    /// Adds a fault; `false` when the list is full.
    pub(crate) fn add(&mut self, fault: Fault) -> bool {
        let fits = self.armed.len() < FAULTS_MAX;
        if fits {
            self.armed.push(Armed { fault, seen: 0, struck: 0 });
        }
        fits
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    /// Counts one call and says what strikes it.
    pub(crate) fn on_call(&mut self, call: &str) -> Option<FaultKind> {
        *self.calls.entry(call.to_owned()).or_default() += 1;
        let mut chosen = None;
        for armed in self.armed.iter_mut().filter(|a| a.fault.matches(call)) {
            armed.seen = armed.seen.saturating_add(1);
            if chosen.is_none() && armed.fault.on_calls.strikes(armed.seen) {
                armed.struck += 1;
                chosen = Some(armed.fault.kind.clone());
            }
        }
        chosen
    }

    /// How often each call was made, struck or not.
    pub(crate) fn calls(&self) -> BTreeMap<String, u64> {
        self.calls.clone()
    }

    /// How many calls were struck by the faults that are set now.
    pub(crate) fn struck(&self) -> u32 {
        self.armed.iter().map(|a| a.struck).sum()
    }

    pub(crate) fn to_json(&self) -> Value {
        self.armed.iter().map(|a| json!({"fault": a.fault, "seen": a.seen, "struck": a.struck})).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_only_the_repetitions_it_was_set_for() {
        let mut faults = Faults::default();
        faults.add(Fault::nth("disk.file.get", 2, FaultKind::CutAfter));
        let struck: Vec<bool> = (0..4).map(|_| faults.on_call("disk.file.get").is_some()).collect();
        assert_eq!(struck, [false, true, false, false]);
        assert_eq!(faults.on_call("download"), None);
        assert_eq!(faults.struck(), 1);
    }

    #[test]
    fn a_star_covers_a_family_and_the_earliest_fault_wins() {
        let mut faults = Faults::default();
        faults.add(Fault::first("disk.*", 1, FaultKind::Truncated));
        faults.add(Fault::always("*", FaultKind::EmptyBody));
        assert_eq!(faults.on_call("disk.folder.get"), Some(FaultKind::Truncated));
        assert_eq!(faults.on_call("disk.folder.get"), Some(FaultKind::EmptyBody));
        assert_eq!(faults.on_call("easydocs.create"), Some(FaultKind::EmptyBody));
    }

    #[test]
    fn a_fault_reads_back_from_the_json_a_person_would_write() {
        let text = r#"{"target":"easydocs.create","on_calls":{"nth":1},"kind":{"status":{"status":503,"error":"busy"}}}"#;
        let fault: Fault = serde_json::from_str(text).expect("the documented form is readable");
        assert!(matches!(fault.kind, FaultKind::Status(ref a) if a.status == 503 && a.error == "busy"));
        assert!(serde_json::from_str::<Fault>(r#"{"target":"a","kind":"refuse","oops":1}"#).is_err());
    }
}
