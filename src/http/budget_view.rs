//! Who used the budget of a portal: the answer of `GET /admin/v1/portals/{id}/budget`.

use super::admin::Operator;
use super::document_view::rfc3339;
use super::error::{ApiError, Code};
use super::operator_view::BlockedMethod;
use crate::actors::portal_session::{BucketLevel, BudgetReport};
use crate::domain::PortalId;
use crate::domain::portal_usage::{HourUsage, MethodUsage};
use actix_web::HttpResponse;
use actix_web::web::Path;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A portal's budget: what is left, what waits, who used it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetView {
    /// The portal's id in the configuration.
    pub portal: String,
    /// The leaky bucket; none if the portal has no such limit.
    pub bucket: Option<BucketView>,
    /// Calls of people that wait.
    pub waiting_interactive: u64,
    /// Calls of documents that wait.
    pub waiting_background: u64,
    /// Methods that the portal has blocked.
    pub blocked_methods: Vec<BlockedMethod>,
    /// Nothing is sent until then, because the portal said that there were too many requests.
    pub paused_until: Option<String>,
    /// The vendor has blocked the portal; the next attempt is made then.
    pub blocked_until: Option<String>,
    /// Beginning of the first hour that is counted in.
    pub since: Option<String>,
    /// What each method used since then, the greatest user first.
    pub methods: Vec<MethodLine>,
    /// The same hour by hour, oldest first; hours without use are left out.
    pub hours: Vec<HourView>,
}

/// A leaky bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BucketView {
    /// Requests that have not leaked out yet.
    pub level: f64,
    /// Requests that we let in at most; a little less than the portal allows.
    pub capacity: f64,
    /// Requests that leak out each second.
    pub per_second: f64,
}

/// What one method used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodLine {
    /// Its name; `batch` counts the requests that others shared, `download` the files that were fetched.
    pub method: String,
    /// Requests that it had for itself.
    pub requests: u64,
    /// Calls that shared a request with others.
    pub batch_commands: u64,
    /// How long its calls waited for their turn, summed, in seconds.
    pub waited_s: f64,
    /// How much its operating time has grown by the portal's word, in seconds.
    pub operating_s: f64,
    /// Calls that a limit has refused or held back.
    pub limited: u64,
}

/// What one hour used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HourView {
    /// When it began.
    pub begins: String,
    /// By name.
    pub methods: Vec<MethodLine>,
}

impl From<MethodUsage> for MethodLine {
    fn from(usage: MethodUsage) -> Self {
        Self {
            method: usage.method,
            requests: usage.requests,
            batch_commands: usage.commands,
            waited_s: usage.waited_ms as f64 / 1_000.0,
            operating_s: usage.operating_ms as f64 / 1_000.0,
            limited: usage.limited,
        }
    }
}

impl From<HourUsage> for HourView {
    fn from(hour: HourUsage) -> Self {
        let begins = rfc3339(hour.begins());
        Self { begins, methods: hour.methods.into_iter().map(MethodLine::from).collect() }
    }
}

impl From<BucketLevel> for BucketView {
    fn from(bucket: BucketLevel) -> Self {
        Self { level: bucket.level, capacity: bucket.capacity, per_second: bucket.per_second }
    }
}

impl From<BudgetReport> for BudgetView {
    fn from(report: BudgetReport) -> Self {
        let blocked = report.blocked.into_iter();
        Self {
            portal: report.id.to_string(),
            bucket: report.bucket.map(BucketView::from),
            waiting_interactive: report.waiting_interactive as u64,
            waiting_background: report.waiting_background as u64,
            blocked_methods: blocked
                .map(|(method, until)| BlockedMethod { method, until: rfc3339(until) })
                .collect(),
            paused_until: report.paused_until.map(rfc3339),
            blocked_until: report.overload_until.map(rfc3339),
            since: report.hours.first().map(|hour| rfc3339(hour.begins())),
            methods: totals(&report.hours).into_iter().map(MethodLine::from).collect(),
            hours: report.hours.into_iter().map(HourView::from).collect(),
        }
    }
}

/// What each method used in all these hours, the greatest user first: by requests, then by calls in batches.
pub fn totals(hours: &[HourUsage]) -> Vec<MethodUsage> {
    let mut sums: BTreeMap<&str, MethodUsage> = BTreeMap::new();
    for usage in hours.iter().flat_map(|hour| &hour.methods) {
        let sum = sums.entry(&usage.method).or_default();
        sum.method.clone_from(&usage.method);
        sum.add(usage);
    }
    let mut all: Vec<MethodUsage> = sums.into_values().collect();
    all.sort_by_key(|usage| std::cmp::Reverse((usage.requests, usage.commands)));
    all
}

/// `GET /admin/v1/portals/{id}/budget`.
///
/// # Errors
/// `portal_not_found`.
pub async fn budget(operator: Operator, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let report = operator.engine().budget(&PortalId(id.into_inner())).await;
    Ok(HttpResponse::Ok().json(BudgetView::from(report.ok_or(Code::PortalNotFound)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(method: &str, requests: u64, commands: u64) -> MethodUsage {
        MethodUsage { method: method.into(), requests, commands, waited_ms: 1_500, ..MethodUsage::default() }
    }

    #[test]
    fn the_greatest_user_comes_first_and_hours_add_up() {
        let hours = vec![
            HourUsage { hour: 1, methods: vec![usage("batch", 3, 0), usage("download", 2, 0)] },
            HourUsage { hour: 2, methods: vec![usage("download", 5, 0), usage("disk.file.get", 0, 90)] },
        ];
        let report = BudgetReport {
            id: PortalId("main".into()),
            bucket: None,
            waiting_interactive: 0,
            waiting_background: 7,
            blocked: Vec::new(),
            paused_until: None,
            overload_until: None,
            hours,
        };
        let view = BudgetView::from(report);
        let names: Vec<&str> = view.methods.iter().map(|line| line.method.as_str()).collect();
        assert_eq!(names, ["download", "batch", "disk.file.get"]);
        assert_eq!((view.methods[0].requests, view.methods[0].waited_s), (7, 3.0));
        assert_eq!(view.since.as_deref(), Some("1970-01-01T01:00:00.000Z"));
    }
}
