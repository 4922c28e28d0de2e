//! What a document is made of.

use serde::{Deserialize, Serialize};
use std::fmt;

/// SHA-256 of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileDigest(pub [u8; 32]);

impl FileDigest {
    /// Lower-case hex, 64 digits: also the file's name in the spool.
    pub fn to_hex(self) -> String {
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// A file that lies in our spool until it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolFile {
    /// What its bytes are.
    pub digest: FileDigest,
    /// How many bytes it has.
    pub size_bytes: u64,
}

/// One item of the CRM.
///
/// Type numbers: 1 lead, 2 deal, 3 contact, 4 company, 7 quote, 31 invoice, 128 and above smart processes
/// (Bitrix24 docs, `api-reference/crm/universal`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CrmItem {
    /// `entityTypeId` of the CRM.
    pub entity_type_id: u32,
    /// The item's id within its type.
    pub id: u64,
}

impl CrmItem {
    /// The name of the type as timeline comments want it (`ENTITY_TYPE`): `deal`, `lead`, `dynamic_1046`.
    pub fn timeline_type(self) -> String {
        match self.entity_type_id {
            1 => "lead".into(),
            2 => "deal".into(),
            3 => "contact".into(),
            4 => "company".into(),
            7 => "quote".into(),
            14 => "order".into(),
            n => format!("dynamic_{n}"),
        }
    }
}

impl fmt::Display for CrmItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.timeline_type(), self.id)
    }
}
