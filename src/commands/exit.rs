//! Exit codes that mean something to a script.

use std::process::ExitCode;

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: done, nothing to complain about.
    Fine,
    /// 1: done or tried, and there is a problem that the output names.
    ProblemFound,
    /// 2: the command or the configuration cannot be understood.
    Misuse,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Fine => Self::SUCCESS,
            ExitStatus::ProblemFound => Self::from(1),
            ExitStatus::Misuse => Self::from(2),
        }
    }
}
