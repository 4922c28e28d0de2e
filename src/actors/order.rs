//! One ordered effect, with what its attempt needs to know besides.

use crate::domain::{AttemptToken, PortalId, SagaId, Timestamp};
use crate::saga::document::Effect;

/// One ordered effect.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose it is.
    pub saga: SagaId,
    /// The portal of the document.
    pub portal: PortalId,
    /// When the document was taken up: at a busy portal the older one goes first.
    pub since: Timestamp,
    /// The fence of the attempt.
    pub token: AttemptToken,
    /// What to do.
    pub effect: Effect,
}
