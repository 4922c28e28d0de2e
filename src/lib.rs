//! edobridge: one binary between Bitrix24, 1C and e-signature services.

pub mod actors;
pub mod commands;
pub mod config;
pub mod domain;
pub mod http;
pub mod providers;
pub mod saga;
pub mod store;
pub mod telemetry;
