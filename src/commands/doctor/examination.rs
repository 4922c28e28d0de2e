//! What all checks of the checklist work with: the configuration, the service, the clock, and how far they may go.

use crate::commands::console::Console;
use crate::commands::running_service::{Presence, RunningService};
use crate::config::{Config, Loaded};
use crate::domain::Clock;
use std::rc::Rc;

/// Whether a folder may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteTest {
    /// A tiny file is put there and taken away.
    Do,
    /// It is only read.
    Leave,
}

/// What all checks work with.
pub struct Examination {
    /// The configuration, its origins and its warnings.
    pub loaded: Loaded,
    /// The service that runs on it, or not.
    pub service: RunningService,
    /// Whether it runs.
    pub presence: Presence,
    /// The present.
    pub clock: Rc<dyn Clock>,
    /// Whether folders may be written to.
    pub write_test: WriteTest,
    /// For the progress of opening a store.
    pub console: Console,
}

impl Examination {
    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }
    /// Whether the service runs.
    pub fn is_running(&self) -> bool {
        matches!(self.presence, Presence::Running(_))
    }
}
