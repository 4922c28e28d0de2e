//! What a witness sees of the emulated world: plain values, copied out.

use super::documents::Document;
use crate::domain::{CrmItem, FileDigest};
use serde::{Serialize, Serializer};

fn hex<S: Serializer>(digest: &FileDigest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&digest.to_hex())
}

/// A live folder of the Drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FolderView {
    /// Drive id.
    pub id: u64,
    /// Drive id of the folder around it; 0 for the root.
    pub parent: u64,
    /// Name.
    pub name: String,
}

/// A live file of the Drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileView {
    /// Drive id.
    pub id: u64,
    /// Drive id of its folder.
    pub folder_id: u64,
    /// Name.
    pub name: String,
    /// Bytes.
    pub size: usize,
    /// SHA-256 of its bytes; lower-case hex in JSON.
    #[serde(serialize_with = "hex")]
    pub sha256: FileDigest,
    /// The user who put it there.
    pub created_by: u64,
}

/// A document of the signing service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DocumentView {
    /// The service's id.
    pub id: String,
    /// The client's id.
    pub external_id: String,
    /// Name shown in the service.
    pub name: String,
    /// Name of the file.
    pub file_name: String,
    /// The route of signing.
    pub route_id: String,
    /// Present status.
    pub status: String,
    /// SHA-256 of the uploaded bytes.
    #[serde(serialize_with = "hex")]
    pub sha256: FileDigest,
    /// SHA-256 that the signed copy has or would have.
    #[serde(serialize_with = "hex")]
    pub signed_sha256: FileDigest,
    /// When it was created, UTC milliseconds.
    pub created_ms: i64,
    /// How often the signed copy was fetched.
    pub downloads: u32,
    /// Callbacks sent.
    pub callbacks_sent: u32,
    /// Callbacks answered with 2xx.
    pub callbacks_acknowledged: u32,
}

impl DocumentView {
    pub(crate) fn of(document: &Document) -> Self {
        Self {
            id: document.id.clone(),
            external_id: document.external_id.clone(),
            name: document.name.clone(),
            file_name: document.file_name.clone(),
            route_id: document.route_id.clone(),
            status: document.status.clone(),
            sha256: document.digest,
            signed_sha256: document.signed_digest(),
            created_ms: document.created_ms,
            downloads: document.downloads,
            callbacks_sent: document.callbacks_sent,
            callbacks_acknowledged: document.callbacks_acknowledged,
        }
    }
}

/// A notice that its receiver still sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NoticeView {
    /// The notice's id.
    pub id: u64,
    /// Who sees it.
    pub user_id: u64,
    /// Its text.
    pub text: String,
}

/// A comment in the timeline of a CRM item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommentView {
    /// The comment's id.
    pub id: u64,
    /// Whose timeline.
    pub item: CrmItem,
    /// Its text.
    pub text: String,
}
