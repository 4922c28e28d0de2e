//! Comments in between: the timeline says whose turn it is. They hold up nothing.

use super::super::super::own_signature::Telling;
use super::super::super::state::Step;
use super::super::{Draft, IllegalEvent};
use crate::domain::Text;

impl Draft<'_> {
    /// A comment in between, if the rule wants comments at all.
    pub(super) fn tell_timeline(&mut self, telling: Telling) -> Result<(), IllegalEvent> {
        let wanted = self.next.saga.delivery.comment && self.next.saga.crm_item.is_some();
        self.own()?.telling = telling;
        if wanted { self.go(Step::Comment) } else { self.timeline_told() }
    }

    /// What the comment under way tells.
    pub(in super::super) fn telling(&self) -> Telling {
        self.next.saga.own.as_deref().map_or(Telling::TheEnd, |own| own.telling)
    }

    /// The comment in between stands, or is given up: it holds up nothing.
    pub(in super::super) fn timeline_told(&mut self) -> Result<(), IllegalEvent> {
        self.settled();
        let own = self.own()?;
        match std::mem::take(&mut own.telling) {
            Telling::OurTurn => {
                own.our_turn_told = true;
                self.tell_signer()
            }
            Telling::TheirTurn => {
                own.their_turn_told = true;
                self.wait();
                Ok(())
            }
            Telling::TheEnd => self.move_stage(),
        }
    }

    /// A comment in between that cannot be written is noted and left out.
    pub(in super::super) fn timeline_failed(&mut self, reason: &Text) -> Result<(), IllegalEvent> {
        self.note(
            "comment_left_out",
            format!("Комментарий о ходе подписания не записан: {}", reason.ru),
            format!("The comment on how the signing goes was not written: {}", reason.en),
        );
        self.timeline_told()
    }
}
