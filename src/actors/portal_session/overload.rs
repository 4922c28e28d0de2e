//! OVERLOAD_LIMIT: the vendor's staff has blocked the portal. Everything stops, people are told, and when the portal
//! answers again its administrators hear of it once.
//!
//! The block is part of the durable state until the portal has answered: a restart neither hammers the portal nor
//! forgets to tell. Who is to be told is told by a notice with a TAG, so that a repeat replaces the first one.

use super::{PortalCaller, PortalSession};
use crate::domain::{Failure, FailureKind, Text, Timestamp};
use crate::providers::bitrix24::notify;
use actix::prelude::*;

/// What a session knows of the block besides its durable end.
#[derive(Debug)]
pub struct Overload {
    /// Users of the portal who are told when it works again.
    administrators: Vec<u64>,
    telling: Telling,
}

/// Whether the administrators are being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    NotBefore(Timestamp),
    Running,
}

impl Overload {
    /// Nothing is blocked; these users are told of the end of a block.
    pub fn new(administrators: Vec<u64>) -> Self {
        Self { administrators, telling: Telling::NotBefore(Timestamp(0)) }
    }
}

impl PortalSession {
    /// The portal has answered OVERLOAD_LIMIT: stop, and ring the alarm.
    pub(super) fn overloaded(&mut self, now: Timestamp) {
        let until = now.plus_ms(self.pauses.overload_ms);
        self.state.overload_until = Some(until);
        self.budget.overloaded(until);
        tracing::error!(portal = %self.id, "the vendor has blocked the portal (OVERLOAD_LIMIT), everything waits");
    }

    /// Keeps the alarm as it should be, and makes the first attempt after a block.
    pub(super) fn watch_overload(&mut self, ctx: &mut Context<Self>) {
        let known = self.state.overload_until.max(self.budget.overload_until(self.now()));
        self.parts.budgets.set_alarm(&self.id, known);
        let Some(until) = self.state.overload_until else { return };
        if until > self.now() {
            return self.wake_at(until, ctx);
        }
        match self.overload.telling {
            Telling::NotBefore(moment) if moment > self.now() => self.wake_at(moment, ctx),
            Telling::NotBefore(_) if !self.overload.administrators.is_empty() => {
                self.tell_administrators(ctx)
            }
            Telling::NotBefore(_) | Telling::Running => {}
        }
    }

    /// The portal has answered: says whether that ended a block. If administrators are to be told, the block ends
    /// with the notice.
    pub(super) fn works_again(&mut self, now: Timestamp) -> bool {
        let over = self.state.overload_until.is_some_and(|until| until <= now);
        let ended = over && self.overload.administrators.is_empty();
        if ended {
            self.block_ended();
        }
        ended
    }

    fn block_ended(&mut self) {
        self.state.overload_until = None;
        self.parts.budgets.set_alarm(&self.id, None);
        tracing::info!(portal = %self.id, "the portal answers again after a block by the vendor");
    }

    /// The notice is the first attempt too: if the block lasts, it is refused and comes again later.
    fn tell_administrators(&mut self, ctx: &mut Context<Self>) {
        self.overload.telling = Telling::Running;
        let caller = PortalCaller::background(ctx.address());
        let (people, client_id) = (self.overload.administrators.clone(), self.parts.notify_client_id.clone());
        let text = works_again_text(self.id.as_str());
        let text = text.get(self.parts.policy.language).to_owned();
        let tag = format!("edobridge-overload-{}", self.id);
        let tell = async move {
            for user in people {
                notify::system(&caller, user, &text, &tag, &client_id).await?;
            }
            Ok(())
        };
        ctx.spawn(tell.into_actor(self).map(|told: Result<(), Failure>, this, ctx| {
            let later = this.now().plus_ms(this.pauses.query_limit_ms_max);
            this.overload.telling = Telling::NotBefore(later);
            if let Err(failure) = &told {
                tracing::warn!(portal = %this.id, code = %failure.code, "cannot tell that the portal works again");
            }
            if told.map_or_else(|failure| shows_that_it_works(&failure), |()| true) {
                this.overload.telling = Telling::NotBefore(Timestamp(0));
                this.block_ended();
                this.save(ctx);
            }
            this.pump(ctx);
        }));
    }
}

/// A notice that the portal refuses for its own sake shows that the portal answers; it is not sent for ever.
fn shows_that_it_works(failure: &Failure) -> bool {
    match failure.kind {
        FailureKind::Refused => true,
        FailureKind::Unreachable
        | FailureKind::NoAnswer
        | FailureKind::ServerError
        | FailureKind::Garbled
        | FailureKind::Limit
        | FailureKind::Credentials
        | FailureKind::Local => false,
    }
}

fn works_again_text(portal: &str) -> Text {
    Text::new(
        format!(
            "Битрикс24 снова отвечает после блокировки (OVERLOAD_LIMIT). Документы портала «{}» пошли дальше сами.",
            notify::plain(portal)
        ),
        format!(
            "Bitrix24 answers again after a block (OVERLOAD_LIMIT). The documents of portal \"{}\" go on by \
             themselves.",
            notify::plain(portal)
        ),
    )
}
