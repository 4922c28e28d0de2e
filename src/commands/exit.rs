//! What the process tells its caller when a verb ends.

use std::process::{ExitCode, Termination};

/// The outcome of a verb, as scripts and systemd see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// All is well: 0.
    Fine,
    /// Something is wrong that a person should see: 1.
    ProblemFound,
    /// The verb was called in a way that makes no sense: 2, as clap does.
    Misuse,
}

impl ExitStatus {
    /// The number of the process.
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::ProblemFound => 1,
            Self::Misuse => 2,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        ExitCode::from(status.code())
    }
}

impl Termination for ExitStatus {
    fn report(self) -> ExitCode {
        self.into()
    }
}
