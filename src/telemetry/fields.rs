//! Names of span and event fields, so that one thing has one name in every log line.
//!
//! `tracing` macros need literal names; these constants are for code that reads or builds fields, and the list
//! to choose from.

/// The document's saga: [`SagaId`](crate::domain::SagaId) in full.
pub const SAGA_ID: &str = "saga.id";
/// The state of the saga.
pub const SAGA_STEP: &str = "saga.step";
/// The event that the saga is given.
pub const SAGA_EVENT: &str = "saga.event";
/// The attempt of an effect, from 1.
pub const SAGA_ATTEMPT: &str = "saga.attempt";
/// The rule that started the document.
pub const RULE_ID: &str = "rule.id";
/// Our name of a portal.
pub const PORTAL_ID: &str = "portal.id";
/// The signing service's id of the document.
pub const DOCUMENT_ID: &str = "document.id";
/// The notice in the inbox.
pub const NOTICE_ID: &str = "notice.id";
/// The remote system: `bitrix24`, `easydocs`.
pub const PROVIDER_NAME: &str = "provider.name";
/// The call: `disk.file.get`, `easydocs.create`.
pub const PROVIDER_CALL: &str = "provider.call";
/// The remote's HTTP status.
pub const PROVIDER_STATUS: &str = "provider.status";
/// The stable code of a failure.
pub const FAILURE_CODE: &str = "failure.code";
/// How it ended.
pub const OUTCOME: &str = "outcome";
/// Milliseconds it took.
pub const ELAPSED_MS: &str = "elapsed_ms";
