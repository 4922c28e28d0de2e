//! Where the last look at a portal's owner lies: in the tree PORTAL, under a key that no portal's name can be.
//!
//! Key: a byte of one (no portal's name begins so), the portal's name.

use super::Store;
use super::command::{Command, encoded};
use super::error::StoreError;
use super::keys::Tree;
use crate::domain::PortalId;
use crate::domain::portal_owner::OwnerRecord;

/// What a key of this kind begins with.
const MARK: u8 = 1;

/// Whether a key of the tree PORTAL holds a look at the owner, not a portal's state.
pub(super) fn is_owner(key: &[u8]) -> bool {
    key.first() == Some(&MARK)
}

fn key(portal: &PortalId) -> Vec<u8> {
    [&[MARK][..], portal.as_str().as_bytes()].concat()
}

impl Store {
    /// Remembers a look at the owner of a portal's credential.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_portal_owner(&self, portal: &PortalId, look: &OwnerRecord) -> Result<(), StoreError> {
        let value = encoded("a look at a portal's owner", look)?;
        let key = key(portal);
        self.ask(|reply| Command::PutPortal { key, value, reply }).await?
    }

    /// The last look; an empty one if there was none.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn portal_owner(&self, portal: &PortalId) -> Result<OwnerRecord, StoreError> {
        Ok(self.record(Tree::Portal, &key(portal)).await?.unwrap_or_default())
    }
}
