//! For whom a verb prints what it has done.

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Tables and sentences.
    #[default]
    People,
    /// One JSON value on standard output; errors as JSON on standard error.
    Json,
}
