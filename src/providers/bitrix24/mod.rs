//! The adapter to Bitrix24, by incoming webhook or as an application: calls, batches, files, events, tokens.
//!
//! Knows how the platform speaks (`apidocs.bitrix24.com`, and what its official SDKs were seen to handle): errors
//! with HTTP 200, `[]` for an empty map, numbers as strings, a renamed portal's 302. It does not know who waits for
//! the budget ([`budget`] only counts), who repeats, and what the calls are for.
//!
//! [`Client`] speaks; typed calls ([`drive`], [`crm`], [`notify`], [`account`]) go through [`Caller`], so that one
//! owner of the portal's budget can queue and batch them; files ([`transfer`]) never go in a batch.

pub mod account;
pub mod batch;
pub mod budget;
pub mod call;
pub mod capabilities;
pub mod client;
pub mod credentials;
pub mod crm;
pub mod documentgenerator;
pub mod drive;
pub mod envelope;
pub mod error;
pub mod events;
pub mod forms;
pub mod item_access;
pub mod item_fields;
pub mod item_pages;
pub mod lifecycle;
pub mod notify;
pub mod oauth;
pub mod offline;
pub mod operating;
pub mod push;
pub mod registration;
pub mod robots;
pub mod sender_nodes;
pub mod transfer;
pub mod wire;

pub use call::{Call, Caller, Executed, LimitHit, Observed, Operating};
pub use client::{Client, WebhookUrlError};
pub use credentials::{AppAccess, TokenSource};
pub use events::{BitrixTrigger, IncomingEvent, Topic, token_matches};
