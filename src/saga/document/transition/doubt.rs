//! Documents of a store that was made from a backup: the world is ahead of their records.
//!
//! After the backup was made such a document may have been sent, signed and delivered, and nothing here tells of it. So
//! every write of it counts as one of unknown outcome before it is made for the first time: it is looked for, and only
//! what is not there is done. What cannot be looked for stops for a person, as after any lost answer (SG-5).
//!
//! The same holds for documents that are taken up soon after the first start: a sweep finds again what was found between
//! the backup and the loss. They can be looked for because a file gets the same number at the signing service whenever
//! the same store takes it up (`Store::lot`).

use super::super::effect::Effect;
use super::super::rule;
use super::super::state::{DocumentSaga, Source, Step, WaitWork};
use super::{Context, Draft, IllegalEvent, look_step};
use crate::domain::Text;

/// Whether more may have been done for this document than its record knows.
pub(super) fn is_in_doubt(saga: &DocumentSaga, cx: Context<'_>) -> bool {
    cx.policy.doubt_until.is_some_and(|until| saga.created_at <= until)
}

/// Widens a look: what the record remembers of the folder or the field is older than our own copy there.
pub(super) fn widened(effect: Effect, saga: &DocumentSaga, cx: Context<'_>) -> Effect {
    match effect {
        _ if !is_in_doubt(saga, cx) => effect,
        Effect::FindUpload { folder_id, bytes, .. } => {
            // A copy is younger than its original, and a portal gives numbers in order.
            let above_id = match saga.source {
                Source::DriveFile { file_id } => file_id,
                Source::CrmItem { .. }
                | Source::CrmFile { .. }
                | Source::Generated { .. }
                | Source::OfItem { .. } => 0,
            };
            // Under any name: the one that was free then is taken now, by our own copy.
            Effect::FindUpload { folder_id, name: String::new(), bytes, above_id }
        }
        Effect::FindFieldFile { item, field, bytes, .. } => {
            Effect::FindFieldFile { item, field, bytes, known: Vec::new() }
        }
        other => other,
    }
}

impl Draft<'_> {
    /// Whether the present step is a write that must be looked for before it is made.
    pub(super) fn must_look_first(&self) -> bool {
        let saga = &self.next.saga;
        let repeatable = saga.step == Step::Create && self.cx.policy.create_is_idempotent;
        saga.rounds == 0 && look_step(saga.step).is_some() && !repeatable && is_in_doubt(saga, self.cx)
    }

    pub(super) fn look_first(&mut self) -> Result<(), IllegalEvent> {
        let write = self.next.saga.step;
        self.note(
            "restored",
            "Хранилище восстановлено из копии: сначала проверяем, не сделано ли это уже",
            "The store was restored from a backup: look first whether this was done already",
        );
        self.saga().rounds = 1;
        self.look_for(write)
    }

    /// Asks for what may have been told between the backup and the loss: nobody will tell it again.
    pub(super) fn ask_anew(&mut self) -> Result<(), IllegalEvent> {
        let saga = &self.next.saga;
        if !is_in_doubt(saga, self.cx) || self.is_in_flight() {
            return Ok(());
        }
        if saga.own.is_some() {
            return self.status_hint();
        }
        if saga.step != Step::AwaitSignature {
            return Ok(());
        }
        if self.cx.policy.poll.is_some() {
            self.do_while_waiting(WaitWork::Poll);
            return self.start();
        }
        if self.cx.policy.search_available {
            self.note(
                "restored",
                "Хранилище восстановлено из копии: спрашиваем, что с документом",
                "The store was restored from a backup: asking what became of the document",
            );
            return self.go(Step::FindDocument);
        }
        Ok(())
    }

    /// What looks like a signed copy may be our own, put there after the backup: it is not sent to be signed again
    /// unless a person says so.
    pub(super) fn may_be_own_copy(&self) -> bool {
        let saga = &self.next.saga;
        let suffix = &saga.delivery.suffix;
        let name = saga.file.as_ref().map(|file| rule::normalised_name(&file.name));
        let ends = format!("{}.pdf", suffix.to_lowercase());
        is_in_doubt(saga, self.cx)
            && matches!(saga.source, Source::DriveFile { .. } | Source::CrmFile { .. })
            && !suffix.is_empty()
            && name.is_some_and(|name| name.ends_with(&ends))
    }

    pub(super) fn park_possible_copy(&mut self) {
        self.enter(Step::Create);
        self.park(
            "maybe_own_copy",
            Text::new(
                "Похоже на нашу подписанную копию: хранилище восстановлено из резервной копии и могло её забыть.",
                "This looks like a signed copy of ours: the store was restored from a backup and may have forgotten it.",
            ),
            Text::new(
                "Откройте файл: если он уже подписан — cancel; если это новый документ — retry.",
                "Open the file: if it is signed already, cancel; if it is a new document, retry.",
            ),
            None,
        );
    }
}
