//! edobridge: one binary between Bitrix24, 1C and e-signature services.

pub mod domain;
pub mod providers;
pub mod saga;
pub mod store;
