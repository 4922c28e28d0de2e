//! Where the account of a portal's budget lies: a ring of hours in the tree PORTAL.
//!
//! Key: a zero byte (no portal's name begins so), the portal's name, a zero byte, the hour's place in the ring (one
//! byte). A later hour takes the place of the one that is [`limits::USAGE_HOURS`] older, so nothing must be pruned; a
//! reader drops what is older than that by the hour in the record.

use super::Store;
use super::command::{Command, encoded};
use super::error::StoreError;
use super::keys::Tree;
use crate::domain::PortalId;
use crate::domain::portal_usage::HourUsage;
use crate::limits;

/// What a key of this kind begins with.
const MARK: u8 = 0;

/// Whether a key of the tree PORTAL holds an hour of the account, not a portal's state.
pub(super) fn is_hour(key: &[u8]) -> bool {
    key.first() == Some(&MARK)
}

fn key(portal: &PortalId, hour: u64) -> Vec<u8> {
    let place = (hour % limits::USAGE_HOURS) as u8;
    [&[MARK][..], portal.as_str().as_bytes(), &[0, place]].concat()
}

impl Store {
    /// Remembers what one hour of a portal's budget was used for.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_portal_usage(&self, portal: &PortalId, usage: &HourUsage) -> Result<(), StoreError> {
        let value = encoded("an hour of a portal's budget", usage)?;
        let key = key(portal, usage.hour);
        self.ask(|reply| Command::PutPortal { key, value, reply }).await?
    }

    /// What the hours from `first` to `last` were used for, oldest first, as far back as is kept.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn portal_usage(
        &self,
        portal: &PortalId,
        first: u64,
        last: u64,
    ) -> Result<Vec<HourUsage>, StoreError> {
        let oldest = (last + 1).saturating_sub(limits::USAGE_HOURS);
        let mut hours = Vec::new();
        for hour in first.max(oldest)..=last {
            let found: Option<HourUsage> = self.record(Tree::Portal, &key(portal, hour)).await?;
            hours.extend(found.filter(|usage| usage.hour == hour));
        }
        Ok(hours)
    }
}
