//! How a verb ended, as the shell sees it.

/// Exit code of a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// Everything is fine: 0.
    Fine,
    /// A problem was found: 1.
    ProblemFound,
    /// The command line or the configuration is wrong: 2.
    Misuse,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(match status {
            ExitStatus::Fine => 0,
            ExitStatus::ProblemFound => 1,
            ExitStatus::Misuse => 2,
        })
    }
}
