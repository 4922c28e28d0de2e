//! Deliver: a fact on its way to the saga that it concerns. Whoever sends it need not know who passes it on.

use super::decision::HandleError;
use crate::domain::{NoticeId, SagaId};
use crate::saga::document::{DocumentSaga as Record, Event};
use actix::prelude::*;

/// Give an event to a saga; answered when the decision is durable.
#[derive(Message)]
#[rtype(result = "Result<Record, HandleError>")]
pub struct Deliver {
    /// The saga.
    pub saga: SagaId,
    /// The fact.
    pub event: Event,
    /// The inbox entry that caused it.
    pub notice: Option<NoticeId>,
}
