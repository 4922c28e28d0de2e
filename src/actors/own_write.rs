//! What we wrote into a CRM item last, so that the event of our own change starts nothing.
//!
//! A change is ours as long as the item says that it was last changed at the second and by the user of our write.
//! The memory is durable: a stage that we moved just before a crash must not look like a person's move afterwards.
//! It is looked at only when a rule wants the item, so it costs a storm of events nothing.

use super::Parts;
use crate::domain::{CrmItem, PortalId, Timestamp};
use crate::store::{Cursor, StoreError};

fn name(portal: &PortalId, item: CrmItem) -> String {
    format!("own/{portal}/{}/{}", item.entity_type_id, item.id)
}

/// Remembers a write: when the portal says that it was made, and as whom.
///
/// # Errors
/// When the store takes nothing now.
pub async fn remember(
    parts: &Parts,
    portal: &PortalId,
    item: CrmItem,
    updated_at: Timestamp,
    updated_by: u64,
) -> Result<(), StoreError> {
    let cursor = Cursor { last_id: updated_by, baseline: 0, at: whole_second(updated_at) };
    parts.store.accept_all(Vec::new(), Some((name(portal, item), cursor))).await.map(drop)
}

/// Whether nobody has changed the item since our own last write.
///
/// # Errors
/// When the store cannot be read.
pub async fn is_last(
    parts: &Parts,
    portal: &PortalId,
    item: CrmItem,
    updated_at: Option<Timestamp>,
    updated_by: Option<u64>,
) -> Result<bool, StoreError> {
    let (Some(at), Some(by)) = (updated_at, updated_by) else { return Ok(false) };
    let known = parts.store.cursor(&name(portal, item)).await?;
    Ok(known.is_some_and(|ours| ours.at == whole_second(at) && ours.last_id == by))
}

/// Portals write whole seconds.
fn whole_second(moment: Timestamp) -> Timestamp {
    Timestamp(moment.0.div_euclid(1_000) * 1_000)
}
