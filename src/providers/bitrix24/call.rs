//! One call of a REST method, whoever gets it executed, and what is learned beside its result.

use crate::domain::Failure;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::borrow::Cow;

/// Methods that the portal refuses inside a batch, or that answer for the request as a whole.
const ALONE: [&str; 5] = [
    "batch",
    "disk.folder.uploadfile",
    "disk.storage.uploadfile",
    "disk.file.uploadversion",
    "crm.documentgenerator.document.add",
];

/// One call of a REST method.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its name, as `disk.file.get`.
    pub method: Cow<'static, str>,
    /// Its parameters: a JSON object.
    pub params: Value,
}

impl Call {
    /// A call with its parameters.
    pub fn new(method: impl Into<Cow<'static, str>>, params: Value) -> Self {
        Self { method: method.into(), params }
    }

    /// Whether it may go in a batch with others.
    pub fn may_share(&self) -> bool {
        !ALONE.iter().any(|alone| alone.eq_ignore_ascii_case(&self.method))
    }
}

/// Somebody who gets calls executed: the owner of the portal's budget, or the bare [`Client`](super::client::Client).
pub trait Caller: Send + Sync {
    /// Executes one call.
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Result<Value, Failure>>;
}

/// What a method has cost so far, by its portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operating {
    /// The method; the portal may charge `batch` instead of what is inside, so both are noted.
    pub method: String,
    /// Execution time of the last ten minutes, in milliseconds.
    pub spent_ms: u64,
    /// Milliseconds until the oldest part of it is forgotten.
    pub reset_in_ms: Option<u64>,
}

/// A limit of the portal that a request ran into. The request was not executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitHit {
    /// Too many requests: everything to this portal waits.
    QueryRate {
        /// At least this long.
        pause_ms: u64,
    },
    /// The method's operating time is spent: only this method waits.
    Operation {
        /// The method.
        method: String,
        /// At least this long.
        pause_ms: u64,
    },
    /// The vendor blocked the portal: everything stops, a person must act.
    Overload {
        /// At least this long.
        pause_ms: u64,
    },
}

/// What was learned beside the results.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// HTTP requests that were sent; each counts in the portal's leaky bucket.
    pub requests: u32,
    /// Costs per method, in the order they came.
    pub operating: Vec<Operating>,
    /// The portal's new origin (`https://host`), if it was renamed. To be remembered: the old name dies one day.
    pub moved_to: Option<String>,
    /// Limits that were hit.
    pub limits: Vec<LimitHit>,
}

/// The outcomes of some calls, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Executed {
    /// One per call.
    pub results: Vec<Result<Value, Failure>>,
    /// What was learned.
    pub observed: Observed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_never_share() {
        assert!(!Call::new("disk.folder.uploadFile", Value::Null).may_share());
        assert!(Call::new("disk.file.get", Value::Null).may_share());
    }
}
