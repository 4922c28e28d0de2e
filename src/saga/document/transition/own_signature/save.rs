//! The save of our signature: with it the document goes to the counterparty.
//!
//! A signature belongs to one unit. A unit that the service forgot, or whose signature it refused, is made anew; the old
//! link is dead from then on.

use super::super::super::own_signature::{OwnStatus, Telling};
use super::super::super::state::Step;
use super::super::{Draft, IllegalEvent};
use crate::domain::{Failure, Text};

/// How often the service may refuse a signature of this document before a person must look at it.
const REFUSED_SAVES_MAX: u32 = 3;

/// Marks a refused save in the last failure, so that the look that follows knows why it looks.
const REFUSED_SAVE: &str = "save_refused:";

impl Draft<'_> {
    pub(super) fn saved(&mut self) -> Result<(), IllegalEvent> {
        self.settled();
        self.note(
            "signature_saved",
            "Наша подпись сохранена, документ у контрагента",
            "Our signature is saved, the counterparty has the document",
        );
        self.their_turn()
    }

    pub(super) fn their_turn(&mut self) -> Result<(), IllegalEvent> {
        let told = self.next.saga.own.as_deref().is_some_and(|own| own.their_turn_told);
        if told {
            self.wait();
            return Ok(());
        }
        self.tell_timeline(Telling::TheirTurn)
    }

    /// Still a draft: the save did not work. Refused, or the ticket is dead: a new unit, and a person signs again.
    pub(super) fn save_looked_for(&mut self, status: &OwnStatus, raw: &str) -> Result<(), IllegalEvent> {
        if *status != OwnStatus::NotSent {
            self.record_status(raw);
            self.saved()?;
            return Ok(());
        }
        let now = self.cx.now;
        let refused = self.next.saga.last_failure.as_ref().is_some_and(|f| f.code.starts_with(REFUSED_SAVE));
        let lives = self.unit_now().is_some_and(|unit| unit.expires_at > now);
        if !refused && lives {
            return self.not_found(Step::SaveSignature);
        }
        self.sign_anew()
    }

    fn sign_anew(&mut self) -> Result<(), IllegalEvent> {
        let own = self.own()?;
        own.refused_saves += 1;
        let refused = own.refused_saves;
        (own.cms, own.cms_blob_id, own.signed_by) = (None, None, None);
        self.note(
            "sign_anew",
            "iDocs не принял подпись: нужна новая",
            "iDocs did not take the signature: a new one is needed",
        );
        if refused >= REFUSED_SAVES_MAX {
            self.enter(Step::PrepareContent);
            self.park(
                "signature_refused",
                Text::new(
                    format!("iDocs не принял подпись {refused} раза подряд."),
                    format!("iDocs refused the signature {refused} times in a row."),
                ),
                Text::new(
                    "Проверьте сертификат подписанта и его права в iDocs; retry сделает новую ссылку.",
                    "Check the signer's certificate and rights in iDocs; retry makes a new link.",
                ),
                None,
            );
            return Ok(());
        }
        self.go(Step::PrepareContent)
    }

    /// A save that was refused in plain words: is it saved all the same (a repeat), or must a person sign again?
    pub(in super::super) fn save_refused(&mut self, failure: &Failure) -> Result<(), IllegalEvent> {
        if let Some(last) = self.saga().last_failure.as_mut() {
            last.code = format!("{REFUSED_SAVE}{}", failure.code);
        }
        let (ru, en) = (failure.reason.ru.clone(), failure.reason.en.clone());
        self.note(
            "save_refused",
            format!("Сохранение подписи отклонено: {ru}"),
            format!("The save was refused: {en}"),
        );
        self.go(Step::FindSave)
    }
}
