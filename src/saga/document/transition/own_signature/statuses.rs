//! What the service says of the document: hints that make its status be read, and what each status amounts to.

use super::super::super::event::CallbackStatus;
use super::super::super::own_signature::OwnStatus;
use super::super::super::state::{Step, WaitWork};
use super::super::super::words;
use super::super::{Draft, IllegalEvent};
use crate::domain::Text;

impl Draft<'_> {
    /// The service's word is a hint only: what counts is the status that we read.
    pub(in super::super) fn status_hint(&mut self) -> Result<(), IllegalEvent> {
        let waits = matches!(self.next.saga.step, Step::AwaitSignature | Step::AwaitSigner);
        if !waits || self.next.saga.own.is_none() || self.is_unknown_over_there() {
            return Ok(());
        }
        if self.is_in_flight() {
            if self.waiting_for() == WaitWork::Poll {
                self.own()?.hinted = true;
            }
            return Ok(());
        }
        self.do_while_waiting(WaitWork::Poll);
        self.start()
    }

    /// A hint that came during the read: what was read may be older.
    fn read_once_more(&mut self) -> Result<bool, IllegalEvent> {
        let hinted = std::mem::take(&mut self.own()?.hinted);
        if hinted {
            self.do_while_waiting(WaitWork::Poll);
            self.start()?;
        }
        Ok(hinted)
    }

    pub(super) fn looked_while_waiting(&mut self, status: &OwnStatus, raw: &str) -> Result<(), IllegalEvent> {
        self.saga().last_failure = None;
        if *status == OwnStatus::NotSent {
            if !self.read_once_more()? {
                self.poll_own_later(0);
            }
            return Ok(());
        }
        self.note(
            "signed_elsewhere",
            "Документ отправлен из кабинета iDocs, не по нашей ссылке",
            "The document was sent from the iDocs cabinet, not by our link",
        );
        self.own()?.their_turn_told = true;
        self.wait();
        self.own_status(status, raw)
    }

    pub(super) fn own_status(&mut self, status: &OwnStatus, raw: &str) -> Result<(), IllegalEvent> {
        match status {
            OwnStatus::NotSent | OwnStatus::InWork => {
                self.heard(&CallbackStatus::Other, raw, Self::polled)?;
                // Only where the read did not end the wait.
                if self.next.saga.step == Step::AwaitSignature {
                    self.read_once_more()?;
                }
                Ok(())
            }
            OwnStatus::Signed => self.heard(&CallbackStatus::Signed, raw, |_| {}),
            OwnStatus::Refused(reason) => {
                self.own()?.refusal.clone_from(reason);
                self.heard(&CallbackStatus::Refused, raw, |_| {})
            }
            OwnStatus::Withdrawn => {
                self.record_status(raw);
                let text = Text::new(
                    "Документ отозван в кабинете iDocs.",
                    "The document was withdrawn in the iDocs cabinet.",
                );
                self.close(Step::Cancelled, "withdrawn", text)
            }
            OwnStatus::Unclear => {
                self.unclear(raw);
                Ok(())
            }
        }
    }

    fn unclear(&mut self, raw: &str) {
        self.record_status(raw);
        let raw = words::plain(raw);
        self.park(
            "status_unclear",
            Text::new(
                format!("Что значит статус «{raw}», неизвестно: подписан документ или нет, решает человек."),
                format!(
                    "What the status \"{raw}\" means is unknown: whether it is signed is a person's decision."
                ),
            ),
            Text::new(
                "Внесите статус в idocs.status (success или in_work) и выполните retry.",
                "Put the status into idocs.status (success or in_work) and retry.",
            ),
            None,
        );
    }
}
