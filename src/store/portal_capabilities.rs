//! Where the capability map of a portal lies: in the tree PORTAL, under a key that no portal's name can be.
//!
//! Key: a byte of three (no portal's name begins so), the portal's name.

use super::Store;
use super::command::{Command, encoded};
use super::error::StoreError;
use super::keys::Tree;
use crate::domain::PortalId;
use crate::domain::portal_capabilities::CapabilityMap;

/// What a key of this kind begins with.
const MARK: u8 = 3;

/// Whether a key of the tree PORTAL holds a capability map, not a portal's state.
pub(super) fn is_map(key: &[u8]) -> bool {
    key.first() == Some(&MARK)
}

fn key(portal: &PortalId) -> Vec<u8> {
    [&[MARK][..], portal.as_str().as_bytes()].concat()
}

impl Store {
    /// Remembers what a portal can do.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_portal_capabilities(
        &self,
        portal: &PortalId,
        map: &CapabilityMap,
    ) -> Result<(), StoreError> {
        let value = encoded("what a portal can do", map)?;
        let key = key(portal);
        self.ask(|reply| Command::PutPortal { key, value, reply }).await?
    }

    /// What a portal could do when it was last asked; none: it was never asked.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn portal_capabilities(&self, portal: &PortalId) -> Result<Option<CapabilityMap>, StoreError> {
        self.record(Tree::Portal, &key(portal)).await
    }
}
