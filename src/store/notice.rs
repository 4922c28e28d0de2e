//! Notices: what was accepted from outside and waits to be applied.

use super::records::{Blob, HEADER_BYTES};
use crate::domain::{NoticeId, PortalId, Text, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// What a notice is. Append-only: the order is the stored code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NoticeKind {
    /// An event of Bitrix24, in its form encoding or as JSON, after verification.
    BitrixEvent,
    /// A callback of EasyDocs, after verification of its signature.
    EasyDocsCallback,
    /// A file found in a watched folder.
    FolderFile,
    /// A file found in a field of a CRM item.
    FieldFile,
    /// A wish of an operator: send, retry, cancel, discard.
    Operator,
    /// A robot of a workflow, after verification.
    Robot,
    /// A change that a second channel found: the offline queue or a sweep.
    SecondChannel,
    /// A reservation in a portal's offline queue that is still to be cleared there.
    OfflinePackage,
    /// A hint of iDocs that a document's status has changed.
    IdocsCallback,
    /// What a portal says of an installation of our application, sealed and not yet confirmed.
    AppClaim,
}

impl NoticeKind {
    /// Every kind, in stored order.
    pub const ALL: [Self; 10] = [
        Self::BitrixEvent,
        Self::EasyDocsCallback,
        Self::FolderFile,
        Self::FieldFile,
        Self::Operator,
        Self::Robot,
        Self::SecondChannel,
        Self::OfflinePackage,
        Self::IdocsCallback,
        Self::AppClaim,
    ];
    /// Stable name for metrics, logs and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::BitrixEvent => "bitrix_event",
            Self::EasyDocsCallback => "easydocs_callback",
            Self::FolderFile => "folder_file",
            Self::FieldFile => "field_file",
            Self::Operator => "operator",
            Self::Robot => "robot",
            Self::SecondChannel => "second_channel",
            Self::OfflinePackage => "offline_package",
            Self::IdocsCallback => "idocs_callback",
            Self::AppClaim => "app_claim",
        }
    }
}

/// A notice before it is accepted.
#[derive(Clone, PartialEq, Eq)]
pub struct NewNotice {
    /// What it is.
    pub kind: NoticeKind,
    /// The portal it is about, if that is known at the door.
    pub portal: Option<PortalId>,
    /// When it came.
    pub received_at: Timestamp,
    /// How `body` is encoded; not part of the notice's identity.
    pub content_type: String,
    /// The bytes as they came. They may hold secrets of the sender: never log them.
    pub body: Bytes,
}

/// Bodies hold what remote systems sent, tokens included: only their length is shown.
impl fmt::Debug for NewNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, bytes) = (self.kind, self.body.len());
        f.debug_struct("NewNotice").field("kind", &kind).field("body_bytes", &bytes).finish_non_exhaustive()
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, kind, bytes) = (self.id, self.kind, self.body.len());
        f.debug_struct("Notice")
            .field("id", &id)
            .field("kind", &kind)
            .field("body_bytes", &bytes)
            .finish_non_exhaustive()
    }
}

impl NewNotice {
    /// SHA-256 over kind, portal and body: equal notices are one while the first is pending or parked.
    pub(super) fn dedupe(&self) -> [u8; 32] {
        let portal = self.portal.as_ref().map_or("", PortalId::as_str);
        let mut hash = Sha256::new();
        hash.update([self.kind as u8, u8::from(self.portal.is_some())]);
        hash.update((portal.len() as u64).to_le_bytes());
        hash.update(portal.as_bytes());
        hash.update(&self.body);
        hash.finalize().into()
    }
}

/// What became of a notice at the door. It is durable in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its number.
    pub id: NoticeId,
    /// Whether it is new; false: an identical one is pending or parked under this number.
    pub fresh: bool,
}

/// A notice that waits in the inbox.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its number.
    pub id: NoticeId,
    /// What it is.
    pub kind: NoticeKind,
    /// The portal it is about.
    pub portal: Option<PortalId>,
    /// When it came.
    pub received_at: Timestamp,
    /// How `body` is encoded.
    pub content_type: String,
    /// The bytes as they came.
    pub body: Bytes,
}

/// What becomes of a notice that starts or moves no saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Nothing is to be done with it: a duplicate, or about nothing of ours.
    Done,
    /// It cannot be applied now and is kept for a person.
    Parked {
        /// Why, in words.
        reason: Text,
        /// An id at the signing service (theirs or ours): when a saga claims it, the notice comes back by itself.
        lookup: Option<String>,
    },
}

/// A notice that is kept for a person, or until a saga claims its `lookup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedNotice {
    /// The notice.
    pub notice: Notice,
    /// Why it was parked.
    pub reason: Text,
    /// What brings it back by itself.
    pub lookup: Option<String>,
}

/// How far a poll of a remote list has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The highest id that was seen.
    pub last_id: u64,
    /// The id below which everything was there before we began.
    pub baseline: u64,
    /// When the poll was made.
    pub at: Timestamp,
}

/// How often a notice may come back to the inbox by itself: a lookup that is claimed and yet does not help must
/// not turn for ever.
pub(super) const ROUNDS_MAX: u8 = 3;

/// Stored form of a pending notice, version 1. Frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NoticeV1 {
    /// Kept, so that removal need not hash the body again; first, so that it is read without the rest.
    pub dedupe: [u8; 32],
    /// How often it came back to the inbox.
    pub rounds: u8,
    pub kind: NoticeKind,
    pub portal: Option<PortalId>,
    pub received_at: Timestamp,
    pub content_type: String,
    pub body: Blob,
}

impl NoticeV1 {
    pub fn into_notice(self, id: NoticeId) -> Notice {
        Notice {
            id,
            kind: self.kind,
            portal: self.portal,
            received_at: self.received_at,
            content_type: self.content_type,
            body: self.body.0,
        }
    }
    /// The digest of the notice that is stored as `raw`.
    pub fn dedupe_of(raw: &[u8]) -> Option<&[u8; 32]> {
        raw.get(HEADER_BYTES..)?.first_chunk()
    }
}

impl From<&NewNotice> for NoticeV1 {
    fn from(new: &NewNotice) -> Self {
        Self {
            dedupe: new.dedupe(),
            rounds: 0,
            kind: new.kind,
            portal: new.portal.clone(),
            received_at: new.received_at,
            content_type: new.content_type.clone(),
            body: Blob(new.body.clone()),
        }
    }
}

/// Stored form of a parked notice, version 1. Frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ParkedNoticeV1 {
    pub notice: NoticeV1,
    pub reason: Text,
    pub lookup: Option<String>,
}

impl ParkedNoticeV1 {
    /// The digest of the notice that is stored as `raw`: the notice comes first, and the digest first in it.
    pub fn dedupe_of(raw: &[u8]) -> Option<&[u8; 32]> {
        NoticeV1::dedupe_of(raw)
    }
    pub fn into_parked(self, id: NoticeId) -> ParkedNotice {
        ParkedNotice { notice: self.notice.into_notice(id), reason: self.reason, lookup: self.lookup }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::records::encode;

    fn notice(kind: NoticeKind, portal: Option<&str>, body: &'static str) -> NewNotice {
        NewNotice {
            kind,
            portal: portal.map(|p| PortalId(p.into())),
            received_at: Timestamp(1),
            content_type: "text/plain".into(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn kind_portal_and_body_make_a_notice_what_it_is() {
        let one = notice(NoticeKind::BitrixEvent, Some("p"), "body");
        let later = NewNotice { received_at: Timestamp(2), content_type: "x".into(), ..one.clone() };
        assert_eq!(one.dedupe(), later.dedupe());
        for other in [
            notice(NoticeKind::Operator, Some("p"), "body"),
            notice(NoticeKind::BitrixEvent, None, "body"),
            notice(NoticeKind::BitrixEvent, Some("pb"), "ody"),
            notice(NoticeKind::BitrixEvent, Some(""), "body"),
        ] {
            assert_ne!(one.dedupe(), other.dedupe(), "{other:?}");
        }
    }

    #[test]
    fn a_body_is_not_printed() {
        let new = notice(NoticeKind::BitrixEvent, None, "application_token=hunter2");
        let kept = NoticeV1::from(&new);
        let shown = format!("{new:?} {kept:?} {:?}", kept.clone().into_notice(NoticeId(1)));
        assert!(shown.contains("BitrixEvent") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_digest_is_read_from_the_stored_bytes() {
        let new = notice(NoticeKind::FolderFile, Some("p"), "body");
        let raw = encode(&NoticeV1::from(&new)).expect("small");
        assert_eq!(NoticeV1::dedupe_of(&raw), Some(&new.dedupe()));
        let parked = ParkedNoticeV1 { notice: NoticeV1::from(&new), reason: Text::default(), lookup: None };
        let raw = encode(&parked).expect("small");
        assert_eq!(ParkedNoticeV1::dedupe_of(&raw), Some(&new.dedupe()));
    }
}
