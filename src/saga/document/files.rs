//! The two files of a document: the one that is to be signed, and the signed copy.
//!
//! **Frozen layout**: both are stored inside the document's record, and its older versions share them.

use crate::domain::SpoolFile;
use serde::{Deserialize, Serialize};

/// The file that is to be signed, as it was when we fetched it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Name with extension.
    pub name: String,
    /// Folder it lies in, if it lies on the Drive.
    pub folder_id: Option<u64>,
    /// `GLOBAL_CONTENT_VERSION` of the Drive, if known.
    pub version: Option<u64>,
    /// Its bytes, in our spool.
    pub bytes: SpoolFile,
}

/// The signed copy in the portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredFile {
    /// Drive id.
    pub file_id: u64,
    /// The name it got.
    pub name: String,
    /// The folder it lies in.
    pub folder_id: u64,
}
