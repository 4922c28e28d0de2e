//! The verbs of the command line, one file each.

pub mod completions;
pub mod config_verbs;
pub mod console;
pub mod context;
pub mod exit;
pub mod sandbox;
pub mod wiring;

pub use context::Context;
