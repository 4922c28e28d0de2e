//! The verbs of the command line, one file each.

pub mod client;
pub mod dead_letters;
pub mod documents;
pub mod output;
pub mod portals;
pub mod table;

/// How a command ended, as the process tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// Fine: 0.
    Fine,
    /// Something is wrong, or was not done: 1.
    Problem,
    /// The command was called wrongly: 2, as clap has it.
    Misuse,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(match status {
            ExitStatus::Fine => 0,
            ExitStatus::Problem => 1,
            ExitStatus::Misuse => 2,
        })
    }
}
