//! What is remembered of a portal's workflows between two looks for those that hang.

use serde::{Deserialize, Serialize};

/// What the last look knew. Empty before the first one. Everything here is about workflows that still run, but for
/// the templates; so it is as small as what runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRecord {
    /// Templates from which a workflow has called our robots.
    pub templates: Vec<u64>,
    /// Workflows that have called our robots.
    pub heard: Vec<String>,
    /// Answers that nobody waits for: they are not given again.
    pub settled: Vec<String>,
    /// Suspects that people have been told of.
    pub told: Vec<String>,
}
