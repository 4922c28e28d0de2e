//! Adapters to the outside: Bitrix24 and the signing services, as typed calls over HTTP.
//!
//! An adapter turns one wish into one exchange and its outcome into a value or a
//! [`Failure`](crate::domain::Failure) whose class says what may be done next. It deliberately does not know the
//! saga, the store, the configuration or any actor: who retries, waits, remembers and spends the budget lives above.
//!
//! Invariants:
//! - **PR-1** no request is repeated by itself, except the one repeat after a portal's rename (HTTP 302), where the
//!   first request certainly was not executed;
//! - **PR-2** credentials go to their own origin only, and no redirect is followed to an origin that is not allowed;
//! - **PR-3** no error, log line or `Debug` output carries a secret;
//! - **PR-4** an outcome that is not known to be "nothing happened" is
//!   [`Ambiguous`](crate::domain::FailureClass::Ambiguous) when the call had an effect;
//! - **PR-5** every body, in both directions, has a bound, and a file is never held in memory whole.

pub mod bitrix24;
pub mod cms;
pub mod easydocs;
pub mod http_client;
pub mod idocs;
pub mod redaction;
pub mod remote;
pub mod spool_io;
pub mod strict_json;
pub mod url_rules;

#[cfg(test)]
pub(crate) mod test_server;
