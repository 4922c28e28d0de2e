//! What can go wrong with a call to a remote system, in the only terms that a saga decides by.

use super::text::Text;
use serde::{Deserialize, Serialize};

/// What may be done after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// It certainly had no effect; try again by the schedule.
    Transient,
    /// It was refused because of a limit and had no effect; wait, and do not count it as an attempt.
    Throttled,
    /// Our credentials were refused; it had no effect. Waiting work is not dead, a person mends the access.
    Auth,
    /// It had no effect and a repeat would change nothing.
    Permanent,
    /// It may or may not have had its effect. Look before repeating, or ask a person.
    Ambiguous,
}

/// How the failure looked, for choosing a schedule and for metrics. A closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureKind {
    /// No connection was made: not one byte was sent.
    Unreachable,
    /// The request was sent, and no whole answer came (cut, timed out).
    NoAnswer,
    /// The remote answered 5xx.
    ServerError,
    /// An answer came that cannot be what was asked for: HTML, truncated, of the wrong shape.
    Garbled,
    /// The remote answered 4xx, or an error envelope that says the request is wrong.
    Refused,
    /// A limit of the remote: 429, QUERY_LIMIT_EXCEEDED, OPERATION_TIME_LIMIT.
    Limit,
    /// 401 and 403 about our credentials.
    Credentials,
    /// Something on our side: spool full, file missing, circuit open.
    Local,
}

/// One failed call: its class, and what a person needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What may be done now.
    pub class: FailureClass,
    /// How it looked.
    pub kind: FailureKind,
    /// Stable code for logs and filters: the remote's own code in lower case, or ours (`http_502`, `timeout`).
    pub code: String,
    /// One sentence for the operator, with the remedy where one is known. No secrets.
    pub reason: Text,
    /// Milliseconds until a repeat makes sense, where the remote said so (`Retry-After`, `operating_reset_at`).
    pub retry_after_ms: Option<u64>,
    /// The beginning of the remote's answer, secrets cut, at most [`Failure::ANSWER_BYTES_MAX`].
    pub answer: Option<String>,
}

impl Failure {
    /// How much of a remote's answer is kept for a person.
    pub const ANSWER_BYTES_MAX: usize = 2_048;

    /// A failure without an answer to show.
    pub fn new(class: FailureClass, kind: FailureKind, code: impl Into<String>, reason: Text) -> Self {
        Self { class, kind, code: code.into(), reason, retry_after_ms: None, answer: None }
    }
    /// The same with the remote's wish for a pause.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
    /// The same with the beginning of the answer, which must have its secrets cut already.
    #[must_use]
    pub fn answer(mut self, text: &str) -> Self {
        let mut end = text.len().min(Self::ANSWER_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.answer = Some(text[..end].to_owned());
        self
    }
    /// Whether the outage schedule (days) fits rather than the one for answered errors (few tries).
    pub fn is_outage(&self) -> bool {
        matches!(self.kind, FailureKind::Unreachable | FailureKind::NoAnswer | FailureKind::Credentials)
    }
}
