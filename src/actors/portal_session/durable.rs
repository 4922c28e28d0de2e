//! What a session keeps on disk: the portal's state with what is paid ahead, and the account of the budget.

use super::PortalSession;
use super::shared_budget::Payer;
use crate::domain::portal_usage::HourUsage;
use crate::limits;
use actix::prelude::*;
use std::time::Duration;

/// Whether the durable state is being written. One write at a time: an older one must never overtake a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saving {
    No,
    Running,
    RunningAndWanted,
}

impl PortalSession {
    // ---- what is kept --------------------------------------------------------------------------------------

    /// Sees to it that some requests are on disk as spent before the first of them is sent.
    pub(super) fn pay_ahead(&mut self, ctx: &mut Context<Self>) {
        if self.budget.payer(self.now()) == Payer::Me {
            self.payment_due = true;
            self.save(ctx);
        }
    }

    /// Writes the durable state as it is then; what changes meanwhile is written after.
    pub(super) fn save(&mut self, ctx: &mut Context<Self>) {
        if self.saving != Saving::No {
            self.saving = Saving::RunningAndWanted;
            return;
        }
        self.saving = Saving::Running;
        let pays = std::mem::take(&mut self.payment_due);
        let (parts, id, mut state) = (self.parts.clone(), self.id.clone(), self.state.clone());
        self.budget.write_into(&mut state, self.now());
        let write = async move { parts.store.put_portal(&id, state).await };
        ctx.spawn(write.into_actor(self).map(move |written, this, ctx| {
            let again = std::mem::replace(&mut this.saving, Saving::No) == Saving::RunningAndWanted;
            if pays {
                this.budget.paid(&written);
            }
            if let Err(error) = written {
                tracing::warn!(portal = %this.id, %error, "cannot write the portal's state, calls wait");
                let soon = this.now().plus_ms(limits::SCAN_INTERVAL_MS);
                return this.wake_at(soon, ctx);
            }
            if again {
                this.save(ctx);
            }
            this.pump(ctx);
        }));
    }

    /// The account is written now and then; nothing is decided by it.
    pub(super) fn save_usage(&mut self) -> ResponseActFuture<Self, ()> {
        let hours = self.usage.take_unsaved();
        let (parts, id) = (self.parts.clone(), self.id.clone());
        let write = async move {
            let mut failed = Vec::new();
            for usage in hours {
                if parts.store.put_portal_usage(&id, &usage).await.is_err() {
                    failed.push(usage.hour);
                }
            }
            failed
        };
        Box::pin(write.into_actor(self).map(|failed, this, _| this.usage.not_saved(failed)))
    }

    pub(super) fn load(&self, ctx: &mut Context<Self>) {
        let (parts, id) = (self.parts.clone(), self.id.clone());
        let hour = HourUsage::hour_of(self.now());
        let load = async move {
            loop {
                let state = parts.store.portal(&id).await;
                let usage = parts.store.portal_usage(&id, hour, hour).await;
                match (state, usage) {
                    (Ok(state), Ok(usage)) => break (state.unwrap_or_default(), usage),
                    (Err(error), _) | (_, Err(error)) => {
                        tracing::warn!(portal = %id, %error, "cannot read the portal's state, will try again");
                        tokio::time::sleep(Duration::from_millis(limits::SCAN_INTERVAL_MS)).await;
                    }
                }
            }
        };
        ctx.spawn(load.into_actor(self).map(|(state, usage), this, ctx| {
            this.budget.recall(&state, this.now());
            this.state = state;
            this.usage.recall(usage);
            this.loaded = true;
            this.pump(ctx);
        }));
    }
}
