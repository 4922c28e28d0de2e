//! edobridge: one binary between Bitrix24, 1C and e-signature services.

pub mod commands;
pub mod config;
pub mod domain;
pub mod limits;
pub mod saga;
pub mod sandbox;
pub mod store;
pub mod telemetry;
