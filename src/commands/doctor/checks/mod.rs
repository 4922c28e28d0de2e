//! One file per subject of the checklist. Each has a `title` and a `check` that writes into a notebook.

pub mod application;
pub mod capabilities;
pub mod channel;
pub mod clock;
pub mod configuration;
pub mod data_dir;
pub mod disk_sync;
pub mod easydocs;
pub mod idocs;
pub mod needs;
pub mod owner;
pub mod portal;
pub mod public_address;
pub mod rules;
pub mod senders;
pub mod store;
pub mod visitor;
