//! The signing service speaks by itself: which document is meant, and what its word changes.
//!
//! Rules of the references, (e.1) 3 to 7: an authentic notice that cannot be used is recorded and changes nothing;
//! the first terminal state wins; a record without a document id is bound by our `external_id` and by nothing else.

use super::super::event::CallbackStatus;
use super::super::state::{Claim, Outcome, Step};
use super::super::words;
use super::own_signature::own_document_claim;
use super::{Draft, IllegalEvent};

impl Draft<'_> {
    pub(super) fn callback(
        &mut self,
        document_id: &str,
        external_id: Option<&str>,
        status: &CallbackStatus,
        raw: &str,
    ) -> Result<(), IllegalEvent> {
        if external_id.is_some_and(|e| e != self.next.saga.external_id) {
            self.note(
                "callback_foreign",
                "Уведомление с чужим external_id: записано, не применено",
                "A callback with a foreign external_id: recorded, not applied",
            );
            return Ok(());
        }
        if self.is_second_document(document_id) {
            return Ok(());
        }
        if self.next.saga.provider_document.is_none() && external_id.is_none() {
            self.unexpected(document_id, raw);
            return Ok(());
        }
        if self.next.saga.outcome != Outcome::Open {
            self.late_status(status, raw);
            return Ok(());
        }
        let stuck = self.end_or_stuck();
        if self.signs_first()
            || stuck.is_finished()
            || matches!(stuck, Step::ReadItem | Step::FetchSource | Step::AwaitPdf)
        {
            self.unexpected(document_id, raw);
            return Ok(());
        }
        self.bind(document_id);
        // A word in between ends the uncertainty about a create; it does not lift any other dead letter.
        let was_unknown = matches!(stuck, Step::Create | Step::FindDocument);
        self.heard(status, raw, if was_unknown { Self::wait } else { |_| {} })
    }

    fn unexpected(&mut self, document_id: &str, raw: &str) {
        let (id, raw) = (words::plain(document_id), words::plain(raw));
        self.note(
            "callback_unexpected",
            format!("Уведомление «{raw}» о документе {id} записано, не применено"),
            format!("The callback \"{raw}\" about document {id} was recorded, not applied"),
        );
    }

    pub(super) fn is_second_document(&mut self, document_id: &str) -> bool {
        let second = self.next.saga.provider_document.as_deref().is_some_and(|known| known != document_id);
        if second {
            let id = words::plain(document_id);
            self.note(
                "second_document",
                format!("Второй документ {id} с нашим external_id: записано, не применено. Проверьте кабинет EasyDocs."),
                format!("A second document {id} with our external_id: recorded, not applied. Check the EasyDocs cabinet."),
            );
        }
        second
    }

    /// After the terminal state: repeats are silent, a contradiction and a word in between go to the history.
    fn late_status(&mut self, status: &CallbackStatus, raw: &str) {
        let raw = words::plain(raw);
        match (status, self.next.saga.outcome) {
            (CallbackStatus::Signed, Outcome::Signed) | (CallbackStatus::Refused, Outcome::Refused) => {}
            (CallbackStatus::Signed, Outcome::Refused | Outcome::Open)
            | (CallbackStatus::Refused, Outcome::Signed | Outcome::Open) => self.note(
                "callback_conflict",
                format!("Противоречащее уведомление «{raw}»: первое конечное состояние остаётся в силе"),
                format!("A contradicting callback \"{raw}\": the first terminal state stands"),
            ),
            (CallbackStatus::Other, _) => self.note(
                "status_late",
                format!("Запоздалый статус «{raw}»: записан, не применён"),
                format!("A late status \"{raw}\": recorded, not applied"),
            ),
        }
    }

    pub(super) fn bind(&mut self, document_id: &str) {
        if self.next.saga.provider_document.is_none() {
            self.saga().provider_document = Some(document_id.to_owned());
            let claim = match self.next.saga.own {
                Some(_) => own_document_claim(document_id),
                None => Claim::ProviderDocument(document_id.to_owned()),
            };
            self.next.claims.push(claim);
            let (id, service) = (words::plain(document_id), words::service(&self.next.saga));
            self.note("bound", format!("Документ {service}: {id}"), format!("{service} document: {id}"));
        }
    }

    /// Applies what the service says; `in_between` is what a non-terminal word means here.
    pub(super) fn heard(
        &mut self,
        status: &CallbackStatus,
        raw: &str,
        in_between: fn(&mut Self),
    ) -> Result<(), IllegalEvent> {
        self.record_status(raw);
        match status {
            CallbackStatus::Signed => {
                self.settled();
                self.saga().outcome = Outcome::Signed;
                self.go(Step::FetchSigned)
            }
            CallbackStatus::Refused => {
                self.settled();
                self.saga().outcome = Outcome::Refused;
                self.announce()
            }
            CallbackStatus::Other => {
                in_between(self);
                Ok(())
            }
        }
    }

    pub(super) fn record_status(&mut self, raw: &str) {
        if self.next.saga.provider_status.as_deref() == Some(raw) {
            return;
        }
        self.saga().provider_status = Some(raw.to_owned());
        let raw = words::plain(raw);
        let service = words::service(&self.next.saga);
        self.note(
            "status",
            format!("Статус в {service}: «{raw}»"),
            format!("Status in {service}: \"{raw}\""),
        );
    }
}
