//! Before anybody signs: number and date are fixed, the draft is made, and the content to sign is fetched.
//!
//! * The document's number is unique and fixed before the draft is created: a draft of unknown outcome is found by it.
//! * Nobody is asked to sign what we did not send.

use super::super::super::own_signature::{ContentUnit, Holds, OwnSignature, OwnSigner, Telling, Ticket};
use super::super::super::state::{DocumentSaga, Step};
use super::super::super::{rule, words};
use super::super::{Draft, IllegalEvent};
use super::{NAME_CHARS_MAX, own_document_claim, parts};
use crate::domain::{SpoolFile, Text, Timestamp};

impl Draft<'_> {
    /// The file is here: number and date are fixed, and then everything begins.
    pub(in super::super) fn begin_own_signature(&mut self) -> Result<(), IllegalEvent> {
        let now = self.cx.now;
        if !self.next.saga.delivery.signer.as_deref().is_some_and(knows_counterparty) {
            self.no_counterparty();
            return Ok(());
        }
        if self.next.saga.own.is_none() {
            let number = number_of(&self.cx.policy.own.number_template, &self.next.saga);
            let own = OwnSignature { number, dated: now, ..OwnSignature::default() };
            self.saga().own = Some(Box::new(own));
        }
        self.go(Step::UploadBlob)
    }

    /// Found before anybody signs. The retry reads the item anew.
    fn no_counterparty(&mut self) {
        self.enter(Step::FetchSource);
        self.park(
            "no_counterparty",
            Text::new(
                "Неизвестно, кому отправить: БИН (ИИН) контрагента не состоит из 12 цифр.",
                "It is unknown whom to send it to: the counterparty's BIN (IIN) is not 12 digits.",
            ),
            Text::new(
                "Заполните поле карточки, названное в counterparty_bin_field правила (или сам counterparty_bin), и выполните retry.",
                "Fill the item's field that counterparty_bin_field of the rule names (or counterparty_bin itself), and retry.",
            ),
            None,
        );
    }

    pub(super) fn drafted(&mut self, document_id: &str, raw_status: &str) -> Result<(), IllegalEvent> {
        self.settled();
        if self.next.saga.provider_document.is_none() {
            self.saga().provider_document = Some(document_id.to_owned());
            self.next.claims.push(own_document_claim(document_id));
            let (id, number) =
                (words::plain(document_id), words::plain(&parts(&self.next.saga)?.1.number.clone()));
            self.note(
                "bound",
                format!("Черновик iDocs: {id}, номер {number}"),
                format!("iDocs draft: {id}, number {number}"),
            );
        }
        self.saga().provider_status = Some(raw_status.to_owned());
        self.go(Step::SetRoute)
    }

    /// For the history alone: the attempt goes on.
    pub(super) fn made_together(&mut self, others: u32) {
        if self.next.saga.step == Step::PrepareContent && self.is_in_flight() {
            let together = words::together(others);
            self.note("made_together", together.ru, together.en);
        }
    }

    pub(super) fn content_ready(
        &mut self,
        content: SpoolFile,
        ticket: &Ticket,
        expires_at: Timestamp,
        holds: Holds,
    ) -> Result<(), IllegalEvent> {
        self.settled();
        if holds == Holds::SomethingElse {
            self.other_content(content);
            return Ok(());
        }
        let now = self.cx.now;
        let own = self.own()?;
        own.units += 1;
        let number = own.units;
        own.unit = Some(ContentUnit { number, content, ticket: ticket.clone(), made_at: now, expires_at });
        (own.cms, own.cms_blob_id, own.signed_by) = (None, None, None);
        let digest = content.digest.to_hex();
        let original = self.next.saga.file.as_ref().map(|f| f.bytes.digest.to_hex()).unwrap_or_default();
        match holds {
            Holds::Original => self.note(
                "content_ready",
                format!("Содержимое для подписи № {number}: SHA-256 {digest}; внутри наш файл, SHA-256 {original}"),
                format!("Content to sign no. {number}: SHA-256 {digest}; our file is inside, SHA-256 {original}"),
            ),
            Holds::Unreadable | Holds::SomethingElse => self.note(
                "content_unchecked",
                format!("Содержимое для подписи № {number}: SHA-256 {digest}; что внутри наш файл, проверить нельзя: вид архива не известен"),
                format!("Content to sign no. {number}: SHA-256 {digest}; whether our file is inside cannot be checked: the archive's form is unknown"),
            ),
        }
        let told = self.next.saga.own.as_deref().is_some_and(|own| own.our_turn_told);
        if told { self.tell_signer() } else { self.tell_timeline(Telling::OurTurn) }
    }

    /// The hash guard: nobody is asked to sign what we did not send.
    fn other_content(&mut self, content: SpoolFile) {
        let digest = content.digest.to_hex();
        self.park(
            "content_differs",
            Text::new(
                format!("iDocs даёт подписать не тот файл, который мы отправили (архив SHA-256 {digest})."),
                format!("What iDocs gives to sign does not hold the file that we sent (archive SHA-256 {digest})."),
            ),
            Text::new(
                "Откройте черновик в кабинете iDocs и сравните файл. Retry возьмёт содержимое заново, cancel прекратит.",
                "Open the draft in the iDocs cabinet and compare the file. Retry takes the content anew, cancel stops.",
            ),
            None,
        );
    }
}

/// BIN and IIN have 12 digits (iDocs guide).
fn knows_counterparty(signer: &OwnSigner) -> bool {
    let bin = &signer.counterparty.bin;
    bin.len() == 12 && bin.bytes().all(|b| b.is_ascii_digit())
}

/// `{short}` is what makes it unique.
fn number_of(template: &str, saga: &DocumentSaga) -> String {
    let stem = saga.file.as_ref().map_or("", |file| rule::split_name(&file.name).0);
    let bare =
        template.replace("{short}", &saga.id.short().to_string()).replace("{portal}", saga.portal.as_str());
    let room = NAME_CHARS_MAX.saturating_sub(bare.replace("{name}", "").chars().count());
    let stem: String = stem.chars().filter(|c| !c.is_control()).take(room).collect();
    bare.replace("{name}", &stem)
}
