//! Keys: which tree holds what, under which bytes. The one place that knows.
//!
//! | code | tree | key | value |
//! |---|---|---|---|
//! | 0 | META | `"numbers"` | META: the next notice's number |
//! | 1 | SAGA | saga (16) | DOCUMENT |
//! | 2 | HISTORY | saga (16), revision (8), index (2) | HISTORY |
//! | 3 | TIMER | due ms (8), saga (16) | empty |
//! | 4 | STEP | step code (1), since ms (8), saga (16) | empty |
//! | 5 | OUTBOX | saga (16) | OUTBOX: token, since |
//! | 6 | CLAIM | kind (1), text; of a claim that is not exclusive also saga (16) at the end | CLAIM: saga, held or tombstone |
//! | 7 | SAGA_CLAIMS | saga (16) | SAGA_CLAIMS: every claim that it holds |
//! | 8 | NOTICE | notice (8) | NOTICE |
//! | 9 | PARKED | notice (8) | PARKED_NOTICE |
//! | 10 | LOOKUP | SHA-256 of the lookup text (32), notice (8) | empty |
//! | 11 | PORTAL | portal's name | PORTAL |
//! | 11 | PORTAL | 0 (1), portal's name, 0 (1), hour modulo [`USAGE_HOURS`](crate::limits::USAGE_HOURS) (1) | PORTAL_USAGE |
//! | 11 | PORTAL | 1 (1), portal's name | PORTAL_OWNER |
//! | 11 | PORTAL | 3 (1), portal's name | PORTAL_CAPABILITIES |
//! | 11 | PORTAL | 4 (1), portal's name | PORTAL_WORKFLOWS |
//! | 12 | CURSOR | poll's name | CURSOR |
//! | 13 | SPOOL_REF | SHA-256 of the file (32), saga (16) | empty |
//! | 14 | INSTALLATION | application's name, zero, portal's member_id | INSTALLATION: secrets sealed |
//!
//! All numbers big-endian, so that bytes sort as numbers do. The codes are stored in the journal, in snapshots
//! and in the names of the view's trees: they are never given to something else.
//!
//! A claim's text longer than [`CLAIM_TEXT_MAX`] is cut and completed by its SHA-256, under a kind of its own
//! (the kind's code plus 128): keys stay short, and no two claims share one.

use crate::domain::{FileDigest, InstallationKey, NoticeId, SagaId, Timestamp};
use crate::saga::document::{Claim, Step};
use sha2::{Digest, Sha256};

/// A tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum Tree {
    Meta = 0,
    Saga = 1,
    History = 2,
    Timer = 3,
    Step = 4,
    Outbox = 5,
    Claim = 6,
    SagaClaims = 7,
    Notice = 8,
    Parked = 9,
    Lookup = 10,
    Portal = 11,
    Cursor = 12,
    SpoolRef = 13,
    Installation = 14,
}

/// How many trees there are.
pub(super) const TREES: usize = 15;

impl Tree {
    /// Every tree, by code.
    pub const ALL: [Self; TREES] = [
        Self::Meta,
        Self::Saga,
        Self::History,
        Self::Timer,
        Self::Step,
        Self::Outbox,
        Self::Claim,
        Self::SagaClaims,
        Self::Notice,
        Self::Parked,
        Self::Lookup,
        Self::Portal,
        Self::Cursor,
        Self::SpoolRef,
        Self::Installation,
    ];
    /// The stored code.
    pub const fn code(self) -> u8 {
        self as u8
    }
    /// The inverse of [`Tree::code`].
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
    /// Where it stands in arrays.
    pub const fn index(self) -> usize {
        self as usize
    }
    /// Its name in the view and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Saga => "saga",
            Self::History => "history",
            Self::Timer => "timer",
            Self::Step => "step",
            Self::Outbox => "outbox",
            Self::Claim => "claim",
            Self::SagaClaims => "saga_claims",
            Self::Notice => "notice",
            Self::Parked => "parked",
            Self::Lookup => "lookup",
            Self::Portal => "portal",
            Self::Cursor => "cursor",
            Self::SpoolRef => "spool_ref",
            Self::Installation => "installation",
        }
    }
}

/// The only key of META.
pub(super) const NUMBERS: &[u8] = b"numbers";
/// The longest text of a claim that stands in a key as it is.
pub(super) const CLAIM_TEXT_MAX: usize = 200;

/// Key in SAGA, OUTBOX and SAGA_CLAIMS.
pub(super) fn saga(id: SagaId) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

/// Key in INSTALLATION. Neither part holds a zero byte.
pub(super) fn installation(key: &InstallationKey) -> Vec<u8> {
    [key.app.as_str().as_bytes(), b"\0", key.member_id.as_str().as_bytes()].concat()
}

/// Key in HISTORY.
pub(super) fn history(id: SagaId, revision: u64, index: u16) -> Vec<u8> {
    [&id.to_be_bytes()[..], &revision.to_be_bytes(), &index.to_be_bytes()].concat()
}

/// Key in TIMER.
pub(super) fn timer(due: Timestamp, id: SagaId) -> Vec<u8> {
    [&due.to_be_bytes()[..], &id.to_be_bytes()].concat()
}

/// What a key of TIMER says.
pub(super) fn parse_timer(key: &[u8]) -> Option<(Timestamp, SagaId)> {
    let (due, rest) = key.split_first_chunk()?;
    Some((Timestamp::from_be_bytes(*due), parse_saga(rest)?))
}

/// Key in STEP.
pub(super) fn step(step: Step, since: Timestamp, id: SagaId) -> Vec<u8> {
    [&[step.code()][..], &since.to_be_bytes(), &id.to_be_bytes()].concat()
}

/// What a key of STEP says.
pub(super) fn parse_step(key: &[u8]) -> Option<(Step, Timestamp, SagaId)> {
    let (code, rest) = key.split_first()?;
    let (since, rest) = rest.split_first_chunk()?;
    Some((Step::from_code(*code)?, Timestamp::from_be_bytes(*since), parse_saga(rest)?))
}

/// What a key that is a saga's id says.
pub(super) fn parse_saga(key: &[u8]) -> Option<SagaId> {
    Some(SagaId::from_be_bytes(key.try_into().ok()?))
}

/// Key in NOTICE and PARKED.
pub(super) fn notice(id: NoticeId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

/// The inverse of [`notice`].
pub(super) fn parse_notice(bytes: &[u8]) -> Option<NoticeId> {
    Some(NoticeId(u64::from_be_bytes(bytes.try_into().ok()?)))
}

/// What all keys of LOOKUP for this text begin with.
pub(super) fn lookup_prefix(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// Key in LOOKUP.
pub(super) fn lookup(text: &str, id: NoticeId) -> Vec<u8> {
    [&lookup_prefix(text)[..], &id.0.to_be_bytes()].concat()
}

/// What a key of LOOKUP says: which notice.
pub(super) fn parse_lookup(key: &[u8]) -> Option<NoticeId> {
    parse_notice(key.get(32..)?)
}

/// Key in SPOOL_REF.
pub(super) fn spool_ref(digest: FileDigest, id: SagaId) -> Vec<u8> {
    [&digest.0[..], &id.to_be_bytes()].concat()
}

/// What a key of SPOOL_REF says.
pub(super) fn parse_spool_ref(key: &[u8]) -> Option<(FileDigest, SagaId)> {
    let (digest, rest) = key.split_first_chunk()?;
    Some((FileDigest(*digest), parse_saga(rest)?))
}

/// Key in CLAIM when `holder` holds it.
pub(super) fn claim(claim: &Claim, holder: SagaId) -> Vec<u8> {
    let mut key = claim_prefix(claim);
    if !claim.is_exclusive() {
        key.extend_from_slice(&holder.to_be_bytes());
    }
    key
}

/// The whole key of an exclusive claim; of another one, what all its keys begin with.
pub(super) fn claim_prefix(claim: &Claim) -> Vec<u8> {
    match claim {
        Claim::Source(text) => claim_key(0, text.as_bytes()),
        Claim::Reading(text) => claim_key(1, text.as_bytes()),
        Claim::External(text) => claim_key(2, text.as_bytes()),
        Claim::ProviderDocument(text) => claim_key(3, text.as_bytes()),
        Claim::EchoName { portal, folder_id, name } => claim_key(4, &echo(portal.as_str(), *folder_id, name)),
        Claim::EchoFile { portal, file_id } => claim_key(5, &echo(portal.as_str(), *file_id, "")),
        Claim::EchoBytes { portal, item, digest } => {
            let what = format!("{}/{}", item.entity_type_id, digest.to_hex());
            claim_key(6, &echo(portal.as_str(), item.id, &what))
        }
        Claim::Workflow { portal, workflow_id } => claim_key(7, &echo(portal.as_str(), 0, workflow_id)),
    }
}

/// Length first, so that no portal's name runs into what follows.
fn echo(portal: &str, id: u64, name: &str) -> Vec<u8> {
    let len = u32::try_from(portal.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes()[..], portal.as_bytes(), &id.to_be_bytes(), name.as_bytes()].concat()
}

/// Claims that are not exclusive end with the holder, so their text must tell where it ends: its length leads.
fn claim_key(kind: u8, text: &[u8]) -> Vec<u8> {
    if text.len() <= CLAIM_TEXT_MAX {
        let len = u8::try_from(text.len()).expect("CLAIM_TEXT_MAX fits a byte");
        return [&[kind, len][..], text].concat();
    }
    [&[kind | 0x80][..], &text[..CLAIM_TEXT_MAX / 2], &Sha256::digest(text)[..]].concat()
}

/// What bounds all keys that begin with `prefix` from above; `None` = nothing does.
pub(super) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// A key for a message: tree and hex, cut.
pub(super) fn describe(tree: Tree, key: &[u8]) -> String {
    let hex: String = key.iter().take(40).map(|b| format!("{b:02x}")).collect();
    format!("{}/{hex}", tree.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CrmItem, PortalId};
    use std::collections::BTreeSet;

    const A: SagaId = SagaId::from_u128(7);

    #[test]
    fn codes_of_trees_are_their_places() {
        for (index, tree) in Tree::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(tree.code()), index);
            assert_eq!(Tree::from_code(tree.code()), Some(tree));
        }
        assert_eq!(Tree::from_code(15), None);
    }

    #[test]
    fn keys_read_back() {
        assert_eq!(parse_timer(&timer(Timestamp(5), A)), Some((Timestamp(5), A)));
        assert_eq!(parse_step(&step(Step::Upload, Timestamp(5), A)), Some((Step::Upload, Timestamp(5), A)));
        assert_eq!(parse_spool_ref(&spool_ref(FileDigest([9; 32]), A)), Some((FileDigest([9; 32]), A)));
        assert_eq!(parse_lookup(&lookup("x", NoticeId(3))), Some(NoticeId(3)));
        assert_eq!(parse_timer(b"short"), None);
    }

    #[test]
    fn keys_sort_as_what_they_mean() {
        assert!(timer(Timestamp(255), A) < timer(Timestamp(256), SagaId::from_u128(0)));
        assert!(history(A, 255, 9) < history(A, 256, 0));
        assert!(step(Step::ReadItem, Timestamp(9), A) < step(Step::FetchSource, Timestamp(0), A));
    }

    #[test]
    fn no_two_claims_share_a_key_and_none_is_the_beginning_of_another() {
        let long = "д".repeat(200);
        let longer = format!("{long}!");
        let echo_name = |portal: &str, folder_id, name: &str| Claim::EchoName {
            portal: PortalId(portal.into()),
            folder_id,
            name: name.into(),
        };
        let echo_bytes = |entity_type_id, id, byte| Claim::EchoBytes {
            portal: PortalId("p".into()),
            item: CrmItem { entity_type_id, id },
            digest: FileDigest([byte; 32]),
        };
        let claims = [
            Claim::Source("a".into()),
            Claim::Source("ab".into()),
            Claim::Source(String::new()),
            Claim::Source(long.clone()),
            Claim::Source(longer.clone()),
            Claim::Reading("a".into()),
            Claim::External("a".into()),
            Claim::ProviderDocument("a".into()),
            echo_name("p", 1, "x"),
            echo_name("p", 1, "xy"),
            echo_name("p1", 1, "x"),
            echo_name("p", 1, &long),
            echo_name("p", 1, &longer),
            Claim::EchoFile { portal: PortalId("p".into()), file_id: 1 },
            echo_bytes(2, 1, 1),
            echo_bytes(1, 1, 1),
            echo_bytes(2, 2, 1),
            echo_bytes(2, 1, 2),
            Claim::Workflow { portal: PortalId("p".into()), workflow_id: "w".into() },
            Claim::Workflow { portal: PortalId("p".into()), workflow_id: long.clone() },
        ];
        let keys: BTreeSet<Vec<u8>> = claims.iter().map(claim_prefix).collect();
        assert_eq!(keys.len(), claims.len());
        for a in &keys {
            for b in &keys {
                assert!(a == b || !b.starts_with(a), "{a:?} begins {b:?}");
            }
        }
        assert!(keys.iter().all(|k| k.len() <= CLAIM_TEXT_MAX + 2));
    }

    #[test]
    fn the_end_of_a_prefix_is_above_all_its_keys() {
        assert_eq!(prefix_end(&[1, 255]), Some(vec![2]));
        assert_eq!(prefix_end(&[255]), None);
        assert!(prefix_end(b"ab").is_some_and(|end| end > b"ab\xff\xff".to_vec()));
    }
}
