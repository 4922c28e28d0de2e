//! Where the last look at a portal's workflows lies: in the tree PORTAL, under a key that no portal's name can be.
//!
//! Key: a byte of four (no portal's name begins so), the portal's name.

use super::Store;
use super::command::{Command, encoded};
use super::error::StoreError;
use super::keys::Tree;
use crate::domain::PortalId;
use crate::domain::portal_workflows::WorkflowRecord;

/// What a key of this kind begins with.
const MARK: u8 = 4;

/// Whether a key of the tree PORTAL holds a look at workflows, not a portal's state.
pub(super) fn is_workflows(key: &[u8]) -> bool {
    key.first() == Some(&MARK)
}

fn key(portal: &PortalId) -> Vec<u8> {
    [&[MARK][..], portal.as_str().as_bytes()].concat()
}

impl Store {
    /// Remembers a look at the workflows of a portal.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_portal_workflows(
        &self,
        portal: &PortalId,
        look: &WorkflowRecord,
    ) -> Result<(), StoreError> {
        let value = encoded("a look at a portal's workflows", look)?;
        let key = key(portal);
        self.ask(|reply| Command::PutPortal { key, value, reply }).await?
    }

    /// The last look; an empty one if there was none.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn portal_workflows(&self, portal: &PortalId) -> Result<WorkflowRecord, StoreError> {
        Ok(self.record(Tree::Portal, &key(portal)).await?.unwrap_or_default())
    }
}
