//! The offline queue of events.
use super::events::EventSpec;
use crate::sandbox::world::World;
use std::sync::Arc;

impl World {
    pub(crate) fn queue_offline(self: &Arc<Self>, _event: &EventSpec) {}
}
