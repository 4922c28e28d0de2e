//! The doors: one listener for strangers (Bitrix24, EasyDocs), one for the operator.
//!
//! A door limits, verifies, has the notice stored and answers; what the notice means is decided behind it. Knows
//! nothing of sagas' rules, remote calls or the disk.
//!
//! Invariants:
//! - **HT-1** 200 is answered to a notice only after it is durable;
//! - **HT-2** a request that is not authentic leaves no trace but a metric and a log line of bounded rate;
//! - **HT-3** head, body, connection, source: everything that a stranger can make large, long or many has a bound;
//! - **HT-4** no answer carries a secret, and every answer carries the headers of [`headers`];
//! - **HT-5** what the operator may order is behind the operator's token, without exception.

pub mod admin;
pub mod admin_request;
pub mod app_pages;
pub mod bitrix24;
pub mod body;
pub mod budget_view;
pub mod document_view;
pub mod easydocs;
pub mod error;
pub mod gap_view;
pub mod headers;
pub mod health;
mod idocs;
pub mod install;
pub mod intake;
pub mod listener;
pub mod maintenance;
pub mod oauth;
pub mod operator_access;
pub mod operator_token;
pub mod operator_view;
pub mod pages;
pub mod rate_limit;
pub mod refusal;
pub mod robots;
pub mod routes;
pub mod settings;
pub mod signing_page;
pub mod slow_clients;
pub mod source;

#[cfg(test)]
pub(crate) mod test_support;

pub use listener::{ListenError, Running, serve, serve_with};
pub use settings::{
    BitrixSettings, EasydocsSettings, IdocsSettings, OperatorSettings, PortalGate, PublicSettings, Settings,
};
pub use signing_page::{SigningParts, SigningSettings};
