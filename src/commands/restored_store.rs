//! What a store that was made from a backup means for the documents in it: how long they are in doubt.

use crate::domain::Timestamp;
use crate::saga::document::transition::Policy;
use crate::store::{Restored, Store};

/// How long after the first start documents count as possibly known to the world, where they can be looked for: a day,
/// in which every sweep and every slow channel has come by. A look costs two calls and half a minute.
const SEARCHED_MS: u64 = 86_400_000;

/// The same where the signing service cannot be searched, so that each such document becomes a question: long enough
/// for the sweeps that begin at the start to find again what was found before the loss.
const ASKED_MS: u64 = 15 * 60_000;

/// The policy for `store`, which notes that it is started if it was restored.
pub(super) fn with_doubt(policy: Policy, store: &Store, now: Timestamp) -> Policy {
    let started = match store.note_restored_start(now) {
        Ok(None) => return policy,
        Ok(Some(Restored { started })) => started.unwrap_or(now),
        // A mark that cannot be read now: rather a look too many than a document twice.
        Err(error) => {
            tracing::warn!(%error, "whether the store was restored cannot be noted, its documents are doubted");
            now
        }
    };
    let searched = policy.search_available || policy.create_is_idempotent;
    let until = started.plus_ms(if searched { SEARCHED_MS } else { ASKED_MS });
    if now <= until {
        tracing::warn!("this store was restored from a backup: writes are looked for before they are made");
    }
    Policy { doubt_until: Some(until), ..policy }
}
