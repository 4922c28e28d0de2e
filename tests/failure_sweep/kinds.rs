//! Everything that can go wrong with one call, and what is known of it afterwards.

use edobridge::sandbox::{ErrorAnswer, FaultKind};

/// How long an answer is held back: beyond the timeouts of the configuration (1 s; 3 s with large files).
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Answers that come after we have given up.
    pub slow_ms: u64,
    /// Effects that come after we have given up, and before we have looked for the last time.
    pub held_ms: u64,
}

impl Patience {
    pub const SMALL: Self = Self { slow_ms: 1_500, held_ms: 1_250 };
    pub const LARGE: Self = Self { slow_ms: 3_600, held_ms: 3_250 };
}

/// One way to fail, with its name in reports.
pub type Kind = (&'static str, FaultKind);

/// What can happen to a call of ours.
pub fn of_call(call: &str, patience: Patience) -> Vec<Kind> {
    let mut kinds = vec![
        ("refuse", FaultKind::Refuse),
        ("cut_before", FaultKind::CutBefore),
        ("cut_after", FaultKind::CutAfter),
        ("html_200", FaultKind::Html(200)),
        ("html_502", FaultKind::Html(502)),
        ("html_404", FaultKind::Html(404)),
        ("html_after_200", FaultKind::HtmlAfter(200)),
        ("html_after_502", FaultKind::HtmlAfter(502)),
        ("truncated", FaultKind::Truncated),
        ("slow", FaultKind::Slow(patience.slow_ms)),
        ("slow_before", FaultKind::SlowBefore(patience.held_ms)),
        ("duplicate", FaultKind::Duplicate),
        ("empty_body", FaultKind::EmptyBody),
        ("status_500", FaultKind::status(500, "INTERNAL_SERVER_ERROR")),
        ("status_after_500", FaultKind::status_after(500, "INTERNAL_SERVER_ERROR")),
        ("status_after_503", FaultKind::status_after(503, "unavailable")),
    ];
    if is_read(call) {
        // nothing has an effect there: before it and after it are one and the same to us
        let same =
            ["cut_after", "html_after_200", "html_after_502", "status_after_500", "slow_before", "duplicate"];
        kinds.retain(|(name, _)| !same.contains(name));
    }
    let brief = |status, error: &str| FaultKind::Status(ErrorAnswer::new(status, error).retry_after_s(1));
    if call.starts_with("easydocs.") {
        // A page with 404 is a clean refusal there: see the refusals.
        kinds.retain(|(name, _)| *name != "html_404");
        kinds.push(("status_503", brief(503, "unavailable")));
        kinds.push(("status_429", brief(429, "too_many_requests")));
    } else {
        kinds.push(("query_limit", FaultKind::status(503, "QUERY_LIMIT_EXCEEDED")));
        kinds.push(("operation_limit", brief(429, "OPERATION_TIME_LIMIT")));
    }
    kinds
}

/// Calls that change nothing at the remote, whatever becomes of their answers.
fn is_read(call: &str) -> bool {
    const READS: [&str; 13] = [
        "disk.file.get",
        "disk.folder.getchildren",
        "download",
        "easydocs.download",
        "easydocs.status",
        "easydocs.search",
        "crm.item.list",
        "crm.item.get",
        "crm.item.fields",
        "crm.status.list",
        "crm.timeline.comment.list",
        "crm.documentgenerator.document.get",
        "crm.documentgenerator.document.list",
    ];
    READS.contains(&call)
}

/// What can happen to a delivery by the world to us.
pub fn of_delivery() -> Vec<Kind> {
    vec![
        ("refuse", FaultKind::Refuse),
        ("cut_before", FaultKind::CutBefore),
        ("cut_after", FaultKind::CutAfter),
        ("slow", FaultKind::Slow(700)),
        ("slow_before", FaultKind::SlowBefore(700)),
        ("duplicate", FaultKind::Duplicate),
    ]
}

/// What one command of a batch can suffer alone.
pub fn of_command() -> Vec<Kind> {
    vec![
        ("status_500", FaultKind::status(500, "INTERNAL_SERVER_ERROR")),
        ("status_after_500", FaultKind::status_after(500, "INTERNAL_SERVER_ERROR")),
        ("query_limit", FaultKind::status(503, "QUERY_LIMIT_EXCEEDED")),
        ("overdue_token", FaultKind::status(401, "expired_token")),
    ]
}

/// Whether the caller cannot know what became of a call that changes something.
pub fn leaves_doubt(kind: &FaultKind) -> bool {
    match kind {
        FaultKind::Status(answer) => answer.status >= 500 && answer.error != "QUERY_LIMIT_EXCEEDED",
        FaultKind::Html(status) | FaultKind::HtmlAfter(status) => !(400..500).contains(status),
        FaultKind::StatusAfter(_)
        | FaultKind::Refuse
        | FaultKind::CutBefore
        | FaultKind::CutAfter
        | FaultKind::Truncated
        | FaultKind::Slow(_)
        | FaultKind::SlowBefore(_)
        | FaultKind::EmptyBody => true,
        FaultKind::Duplicate => false,
    }
}

/// Whether the call has its effect all the same.
pub fn takes_effect(kind: &FaultKind) -> bool {
    match kind {
        FaultKind::Refuse | FaultKind::CutBefore | FaultKind::Status(_) | FaultKind::Html(_) => false,
        FaultKind::CutAfter
        | FaultKind::StatusAfter(_)
        | FaultKind::HtmlAfter(_)
        | FaultKind::Truncated
        | FaultKind::Slow(_)
        | FaultKind::SlowBefore(_)
        | FaultKind::Duplicate
        | FaultKind::EmptyBody => true,
    }
}

/// Whether the settling pause must be long enough for an effect that comes late.
pub fn is_held(kind: &FaultKind) -> bool {
    matches!(kind, FaultKind::SlowBefore(_))
}
