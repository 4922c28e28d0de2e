//! Our own signer signs first: draft, route, content to sign, the wait for a person, the save, and both signed files.
//!
//! * A signature belongs to one unit. A unit that the service forgot, or whose signature it refused, is made anew; the
//!   old link is dead from then on.
//! * The first signature over a unit stands. It is kept until the service has it, so that the person need not sign twice.
//! * The document's number is unique and fixed before the draft is created: a draft of unknown outcome is found by it.

use super::super::own_signature::{
    ContentUnit, CounterpartyKind, DraftOrder, Holds, OwnAnswer, OwnEffect, OwnEvent, OwnSignature,
    OwnSigner, OwnStatus, SignedPart, Telling, Ticket,
};
use super::super::state::{Claim, DocumentSaga, Step, WaitWork, Waiting};
use super::super::{rule, words};
use super::{Context, Draft, IllegalEvent, missing, rejected};
use crate::domain::{Failure, FailureClass, SpoolFile, Text, Timestamp};

/// A link is made anew on request at most this often: each costs calls and a notice.
const RENEWAL_MS_MIN: u64 = 60_000;

/// How often the service may refuse a signature of this document before a person must look at it.
const REFUSED_SAVES_MAX: u32 = 3;

/// Lengths of name and number (iDocs guide: 1 to 256 characters).
const NAME_CHARS_MAX: usize = 256;

/// Names of a service whose ids are unique only within it.
const ID_SPACE: &str = "idocs/";

/// The name under which a document of the service is claimed: ids are unique within one service only.
pub fn own_document_claim(document_id: &str) -> Claim {
    Claim::ProviderDocument(format!("{ID_SPACE}{document_id}"))
}

/// What depends on the configuration where our own signer signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPolicy {
    /// The document's number at the service: `{short}` is our short id, `{name}` the stem of the file.
    pub number_template: String,
    /// When the status is asked while the counterparty has it.
    pub poll: crate::saga::retry::Schedule,
    /// Reminders to our signer, counted from the start of the wait, growing.
    pub reminders_ms: Vec<u64>,
    /// When somebody else is told that our signer does not sign.
    pub escalation_ms: u64,
    /// Reminders while the counterparty is waited for, counted from the start of that wait, growing.
    pub counterparty_reminders_ms: Vec<u64>,
    /// When a waiting document becomes a dead letter: counted for each of the two waits.
    pub deadline_ms: u64,
    /// Pause before a look, so that a request that is still being worked on can become visible.
    pub settle_ms: u64,
}

/// The signer and what has been done, both of which these steps need.
fn parts(saga: &DocumentSaga) -> Result<(&OwnSigner, &OwnSignature), IllegalEvent> {
    let signer = saga.delivery.signer.as_deref().ok_or_else(|| missing(saga, "who of us signs"))?;
    let own = saga.own.as_deref().ok_or_else(|| missing(saga, "its own signature"))?;
    Ok((signer, own))
}

fn draft_name(saga: &DocumentSaga) -> String {
    let name = saga.file.as_ref().map_or("", |file| rule::split_name(&file.name).0);
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    if name.trim().is_empty() { saga.external_id.clone() } else { name }
}

/// The order of a step that belongs to our own signature.
pub(super) fn own_effect_of(saga: &DocumentSaga, cx: Context<'_>) -> Result<OwnEffect, IllegalEvent> {
    let (signer, own) = parts(saga)?;
    let document = || saga.provider_document.clone().ok_or_else(|| missing(saga, "the document's id"));
    let unit = || own.unit.clone().ok_or_else(|| missing(saga, "the content to sign"));
    Ok(match saga.step {
        Step::UploadBlob => {
            OwnEffect::UploadBlob { file: saga.file.clone().ok_or_else(|| missing(saga, "the file"))? }
        }
        Step::CreateDraft => OwnEffect::CreateDraft(DraftOrder {
            blob_id: own.blob_id.clone().ok_or_else(|| missing(saga, "the uploaded file"))?,
            number: own.number.clone(),
            name: draft_name(saga),
            dated: own.dated,
            group: signer.group.clone(),
        }),
        Step::FindDraft => {
            OwnEffect::FindDraft { number: own.number.clone(), name: draft_name(saga), dated: own.dated }
        }
        Step::SetRoute => OwnEffect::SetRoute {
            document_id: document()?,
            employee_id: signer.employee_id.clone(),
            counterparty: signer.counterparty.clone(),
        },
        Step::PrepareContent => OwnEffect::PrepareContent {
            document_id: document()?,
            employee_id: signer.employee_id.clone(),
            original: saga.file.as_ref().ok_or_else(|| missing(saga, "the file"))?.bytes.digest,
        },
        Step::TellSigner => OwnEffect::TellSigner {
            user_id: signer.user.ok_or_else(|| missing(saga, "a user to tell"))?,
            text: words::invitation(saga, cx.now, cx.policy.language),
            tag: format!("edobridge|{}|sign|{}", saga.id.short(), own.told),
            signer: signer.name.clone(),
            unit: unit()?,
        },
        Step::SendSignature => {
            OwnEffect::SendSignature { cms: own.cms.ok_or_else(|| missing(saga, "the signature"))? }
        }
        Step::SaveSignature => OwnEffect::SaveSignature {
            document_id: document()?,
            employee_id: signer.employee_id.clone(),
            blob_id: own.cms_blob_id.clone().ok_or_else(|| missing(saga, "the uploaded signature"))?,
            ticket: unit()?.ticket,
        },
        Step::FindSave | Step::AwaitSigner | Step::AwaitSignature => {
            OwnEffect::ReadStatus { document_id: document()? }
        }
        Step::FetchSigned => OwnEffect::FetchPrintForm { document_id: document()? },
        Step::FetchArchive => OwnEffect::FetchArchive { document_id: document()? },
        _ => return Err(missing(saga, "anything to sign by ourselves")),
    })
}

/// Which of the escalation's people is told now.
pub(super) fn escalation_user(saga: &DocumentSaga) -> Result<u64, IllegalEvent> {
    let (signer, own) = parts(saga)?;
    let user = signer.escalate_to.get(own.escalated as usize);
    user.copied().ok_or_else(|| missing(saga, "a person to tell"))
}

/// The file that is being delivered.
pub(super) fn file_in_delivery(saga: &DocumentSaga) -> Option<SpoolFile> {
    match saga.own.as_deref() {
        Some(own) if own.part == SignedPart::Archive => own.archive,
        _ => saga.signed,
    }
}

/// The name that the file in delivery should have.
pub(super) fn name_in_delivery(saga: &DocumentSaga, print_form: String) -> String {
    match saga.own.as_deref() {
        Some(own) if own.part == SignedPart::Archive => {
            format!("{}.zip", print_form.strip_suffix(".pdf").unwrap_or(&print_form))
        }
        _ => print_form,
    }
}

impl Draft<'_> {
    fn own(&mut self) -> Result<&mut OwnSignature, IllegalEvent> {
        if self.next.saga.own.is_none() {
            return Err(missing(&self.next.saga, "its own signature"));
        }
        Ok(self.saga().own.get_or_insert_default())
    }

    fn unit_now(&self) -> Option<&ContentUnit> {
        self.next.saga.own.as_deref().and_then(|own| own.unit.as_ref())
    }

    /// The file is here: number and date are fixed, and then everything begins.
    pub(super) fn begin_own_signature(&mut self) -> Result<(), IllegalEvent> {
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

    pub(super) fn own_answered(&mut self, answer: &OwnAnswer) -> Result<(), IllegalEvent> {
        if self.next.saga.own.is_none() {
            return Err(super::wrong_own(self.next.saga.step, answer));
        }
        match (self.next.saga.step, answer) {
            (Step::UploadBlob, OwnAnswer::BlobStored { blob_id }) => {
                self.settled();
                self.own()?.blob_id = Some(blob_id.clone());
                self.go(Step::CreateDraft)
            }
            (Step::CreateDraft | Step::FindDraft, OwnAnswer::DraftMade { document_id, raw_status }) => {
                self.drafted(document_id, raw_status)
            }
            (Step::FindDraft, OwnAnswer::DraftNotFound) => self.not_found(Step::CreateDraft),
            (Step::SetRoute, OwnAnswer::RouteSet) => {
                self.settled();
                self.note("route_set", "Подписанты назначены в iDocs", "The signers are set in iDocs");
                self.go(Step::PrepareContent)
            }
            (Step::PrepareContent, OwnAnswer::ContentReady { content, ticket, expires_at, holds }) => {
                self.content_ready(*content, ticket, *expires_at, *holds)
            }
            (Step::TellSigner, OwnAnswer::SignerTold) => {
                self.settled();
                self.own()?.told += 1;
                self.note("signer_told", "Подписанту отправлена ссылка", "The signer was sent the link");
                self.wait_for_signer();
                Ok(())
            }
            (Step::SendSignature, OwnAnswer::SignatureStored { blob_id }) => {
                self.settled();
                self.own()?.cms_blob_id = Some(blob_id.clone());
                self.go(Step::SaveSignature)
            }
            (Step::SaveSignature, OwnAnswer::SignatureSaved) => self.saved(),
            (Step::FindSave, OwnAnswer::StatusRead { status, raw_status }) => {
                self.save_looked_for(status, raw_status)
            }
            (Step::AwaitSigner, OwnAnswer::StatusRead { status, raw_status }) => {
                self.looked_while_waiting(status, raw_status)
            }
            (Step::AwaitSignature, OwnAnswer::StatusRead { status, raw_status }) => {
                self.own_status(status, raw_status)
            }
            (Step::FetchSigned, OwnAnswer::PrintForm(file)) => self.print_form(*file),
            (Step::FetchArchive, OwnAnswer::Archive(file)) => self.archive(*file),
            (step, answer) => Err(super::wrong_own(step, answer)),
        }
    }

    /// An answer to an older attempt is worth something only where it names what exists.
    pub(super) fn own_straggler(&mut self, answer: &OwnAnswer) -> Result<(), IllegalEvent> {
        match answer {
            OwnAnswer::DraftMade { document_id, raw_status } if self.stuck_at() == Step::FindDraft => {
                self.drafted(document_id, raw_status)
            }
            _ => Ok(()),
        }
    }

    // ---- draft and content ---------------------------------------------------------------------------------

    fn drafted(&mut self, document_id: &str, raw_status: &str) -> Result<(), IllegalEvent> {
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

    fn content_ready(
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

    // ---- the timeline --------------------------------------------------------------------------------------

    /// A comment in between, if the rule wants comments at all.
    fn tell_timeline(&mut self, telling: Telling) -> Result<(), IllegalEvent> {
        let wanted = self.next.saga.delivery.comment && self.next.saga.crm_item.is_some();
        self.own()?.telling = telling;
        if wanted { self.go(Step::Comment) } else { self.timeline_told() }
    }

    /// What the comment under way tells.
    pub(super) fn telling(&self) -> Telling {
        self.next.saga.own.as_deref().map_or(Telling::TheEnd, |own| own.telling)
    }

    /// The comment in between stands, or is given up: it holds up nothing.
    pub(super) fn timeline_told(&mut self) -> Result<(), IllegalEvent> {
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
    pub(super) fn timeline_failed(&mut self, reason: &Text) -> Result<(), IllegalEvent> {
        self.note(
            "comment_left_out",
            format!("Комментарий о ходе подписания не записан: {}", reason.ru),
            format!("The comment on how the signing goes was not written: {}", reason.en),
        );
        self.timeline_told()
    }

    // ---- the wait for our signer ---------------------------------------------------------------------------

    fn tell_signer(&mut self) -> Result<(), IllegalEvent> {
        let has_user = self.next.saga.delivery.signer.as_ref().is_some_and(|signer| signer.user.is_some());
        if has_user {
            return self.go(Step::TellSigner);
        }
        self.wait_for_signer();
        Ok(())
    }

    pub(super) fn wait_for_signer(&mut self) {
        self.settled();
        let (now, policy) = (self.cx.now, self.cx.policy);
        self.enter(Step::AwaitSigner);
        let saga = self.saga();
        if saga.waiting.is_none() {
            saga.waiting = Some(Waiting {
                since: now,
                next_poll_at: None,
                polls: 0,
                next_reminder_at: policy.own.reminders_ms.first().map(|ms| now.plus_ms(*ms)),
                reminders: 0,
                deadline_at: Some(now.plus_ms(policy.own.escalation_ms.min(policy.own.deadline_ms))),
                doing: WaitWork::Nothing,
            });
        }
        self.poll_own_later(0);
    }

    /// The next look at the status, by the schedule; the document may be signed in the service's cabinet.
    fn poll_own_later(&mut self, pause_ms: u64) {
        let (now, policy, chance) = (self.cx.now, self.cx.policy, self.cx.chance);
        if let Some(w) = self.saga().waiting.as_mut() {
            w.polls = w.polls.saturating_add(1);
            let pause = policy.own.poll.pause_ms(w.polls, policy.jitter_percent, chance);
            w.next_poll_at = pause.map(|ms| now.plus_ms(ms.max(pause_ms)));
        }
        self.rearm();
    }

    pub(super) fn signer_timer(&mut self) -> Result<(), IllegalEvent> {
        let now = self.cx.now;
        let Some(w) = self.next.saga.waiting.clone() else {
            self.wait_for_signer();
            return Ok(());
        };
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        // Asked before anything is concluded from the time: it may be signed in the cabinet long since.
        let in_time = w.deadline_at.is_none_or(|end| w.next_poll_at.is_some_and(|at| at <= end));
        if is_due(w.next_poll_at) && in_time {
            self.do_while_waiting(WaitWork::Poll);
            return self.start();
        }
        if is_due(w.deadline_at) {
            return self.escalate(&w);
        }
        if is_due(w.next_reminder_at) {
            return self.remind_signer(&w);
        }
        self.rearm();
        Ok(())
    }

    /// First the others are told, then a person must decide.
    fn escalate(&mut self, w: &Waiting) -> Result<(), IllegalEvent> {
        let (signer, own) = parts(&self.next.saga)?;
        if (own.escalated as usize) < signer.escalate_to.len() {
            self.do_while_waiting(WaitWork::Escalation);
            return self.start();
        }
        let end = w.since.plus_ms(self.cx.policy.own.deadline_ms);
        if end > self.cx.now {
            if let Some(w) = self.saga().waiting.as_mut() {
                w.deadline_at = Some(end);
            }
            self.rearm();
            return Ok(());
        }
        let days = self.cx.now.ms_since(w.since) / 86_400_000;
        self.park(
            "signer_deadline",
            Text::new(
                format!("Наш подписант не подписал документ за {days} дн."),
                format!("Our signer has not signed the document within {days} day(s)."),
            ),
            Text::new(
                "Retry сделает новую ссылку и будет ждать дальше, cancel прекратит. Подписать можно и сейчас, пока ссылка жива.",
                "Retry makes a new link and goes on waiting, cancel stops. It can still be signed while the link lives.",
            ),
            None,
        );
        Ok(())
    }

    pub(super) fn escalated(&mut self) -> Result<(), IllegalEvent> {
        self.saga().last_failure = None;
        self.own()?.escalated += 1;
        self.note(
            "escalated",
            "Сообщили, что наш подписант не подписывает",
            "Told that our signer does not sign",
        );
        self.rearm();
        Ok(())
    }

    /// One reminder for all that are due, with a link that works.
    fn remind_signer(&mut self, w: &Waiting) -> Result<(), IllegalEvent> {
        let times = &self.cx.policy.own.reminders_ms;
        let due = times.iter().take_while(|ms| w.since.plus_ms(**ms) <= self.cx.now).count();
        let sent = (w.reminders + 1).max(u32::try_from(due).unwrap_or(u32::MAX));
        let next = times.get(sent as usize).map(|ms| w.since.plus_ms(*ms));
        if let Some(w) = self.saga().waiting.as_mut() {
            w.reminders = sent;
            w.next_reminder_at = next;
        }
        let now = self.cx.now;
        let lives = self.unit_now().is_some_and(|unit| unit.expires_at > now);
        if lives { self.tell_signer() } else { self.go(Step::PrepareContent) }
    }

    /// A failure while we wait for our signer changes only the clockwork.
    pub(super) fn signer_wait_failed(&mut self, failure: &Failure) {
        let pause = super::failures::asked_pause_ms(failure);
        match self.waiting_for() {
            WaitWork::Escalation => {
                if failure.class == FailureClass::Permanent {
                    // That person cannot be told: the next one can.
                    let _ = self.own().map(|own| own.escalated += 1);
                    self.note(
                        "escalation_failed",
                        format!("Сообщить не удалось: {}", failure.reason.ru),
                        format!("This person could not be told: {}", failure.reason.en),
                    );
                    self.rearm();
                    return;
                }
                self.saga().tries += 1;
                let again = self.cx.now.plus_ms(self.outage_pause_ms(self.next.saga.tries).max(pause));
                if let Some(w) = self.saga().waiting.as_mut() {
                    w.deadline_at = Some(again);
                }
                self.rearm();
            }
            WaitWork::Poll | WaitWork::Reminder | WaitWork::Nothing => self.poll_own_later(pause),
        }
    }

    // ---- facts from people ---------------------------------------------------------------------------------

    pub(super) fn own_event(&mut self, event: &OwnEvent) -> Result<(), IllegalEvent> {
        match event {
            OwnEvent::SignatureGiven { unit, cms, signer, checks } => {
                self.signature_given(*unit, *cms, signer, checks)
            }
            OwnEvent::LinkAsked => self.link_asked(),
            OwnEvent::StatusHint => self.status_hint(),
        }
    }

    /// Where a signature is welcome: it waits for one, or is about to.
    fn takes_signature(&self) -> bool {
        match self.stuck_at() {
            Step::AwaitSigner | Step::TellSigner => true,
            Step::Comment | Step::FindComment => self.telling() == Telling::OurTurn,
            _ => false,
        }
    }

    fn signature_given(
        &mut self,
        unit: u32,
        cms: SpoolFile,
        signer: &str,
        checks: &Text,
    ) -> Result<(), IllegalEvent> {
        let own = self.next.saga.own.as_deref();
        if let Some(known) = own.and_then(|own| own.cms) {
            return if known.digest == cms.digest {
                Ok(())
            } else {
                Err(rejected(
                    "Документ уже подписан: действует первая подпись.",
                    "The document is already signed: the first signature stands.",
                ))
            };
        }
        if !self.takes_signature() {
            return Err(rejected(
                "Документ сейчас не ждёт нашей подписи.",
                "The document does not wait for our signature now.",
            ));
        }
        let now = self.cx.now;
        if !self.unit_now().is_some_and(|present| present.number == unit && present.expires_at > now) {
            return Err(rejected(
                "Срок ссылки истёк: запросите новую.",
                "The link has expired: ask for a new one.",
            ));
        }
        let own = self.own()?;
        own.cms = Some(cms);
        own.signed_by = Some(signer.to_owned());
        own.telling = Telling::TheEnd;
        own.our_turn_told = true;
        let (signer, digest) = (words::plain(signer), cms.digest.to_hex());
        self.note(
            "signature_given",
            format!("Подпись получена: {signer}; CMS SHA-256 {digest}. {}", checks.ru),
            format!("The signature was given: {signer}; CMS SHA-256 {digest}. {}", checks.en),
        );
        self.settled();
        self.go(Step::SendSignature)
    }

    fn link_asked(&mut self) -> Result<(), IllegalEvent> {
        let now = self.cx.now;
        if self.stuck_at() != Step::AwaitSigner {
            return Err(rejected(
                "Документ сейчас не ждёт нашей подписи.",
                "The document does not wait for our signature now.",
            ));
        }
        let fresh = self.unit_now().is_some_and(|unit| now.ms_since(unit.made_at) < RENEWAL_MS_MIN);
        if fresh {
            return Ok(());
        }
        self.note("link_asked", "Запрошена новая ссылка", "A new link was asked for");
        self.go(Step::PrepareContent)
    }

    /// The service's word is a hint only: what counts is the status that we read.
    pub(super) fn status_hint(&mut self) -> Result<(), IllegalEvent> {
        let waits = matches!(self.next.saga.step, Step::AwaitSignature | Step::AwaitSigner);
        if !waits || self.next.saga.own.is_none() {
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

    // ---- the save ------------------------------------------------------------------------------------------

    fn saved(&mut self) -> Result<(), IllegalEvent> {
        self.settled();
        self.note(
            "signature_saved",
            "Наша подпись сохранена, документ у контрагента",
            "Our signature is saved, the counterparty has the document",
        );
        self.their_turn()
    }

    fn their_turn(&mut self) -> Result<(), IllegalEvent> {
        let told = self.next.saga.own.as_deref().is_some_and(|own| own.their_turn_told);
        if told {
            self.wait();
            return Ok(());
        }
        self.tell_timeline(Telling::TheirTurn)
    }

    /// Still a draft: the save did not work. Refused, or the ticket is dead: a new unit, and a person signs again.
    fn save_looked_for(&mut self, status: &OwnStatus, raw: &str) -> Result<(), IllegalEvent> {
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
    pub(super) fn save_refused(&mut self, failure: &Failure) -> Result<(), IllegalEvent> {
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

    // ---- the statuses --------------------------------------------------------------------------------------

    fn looked_while_waiting(&mut self, status: &OwnStatus, raw: &str) -> Result<(), IllegalEvent> {
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

    fn own_status(&mut self, status: &OwnStatus, raw: &str) -> Result<(), IllegalEvent> {
        use super::super::event::CallbackStatus;
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

    // ---- the signed files ----------------------------------------------------------------------------------

    fn print_form(&mut self, file: Option<SpoolFile>) -> Result<(), IllegalEvent> {
        self.settled();
        self.saga().signed = file;
        match file {
            Some(bytes) => {
                let (size, digest) = (bytes.size_bytes, bytes.digest.to_hex());
                self.note(
                    "signed_fetched",
                    format!("Печатная форма получена, {size} байт, SHA-256 {digest}"),
                    format!("The print form was fetched, {size} bytes, SHA-256 {digest}"),
                );
            }
            None => self.note(
                "no_print_form",
                "Печатной формы у iDocs нет: берём архив",
                "iDocs has no print form: the archive is taken",
            ),
        }
        self.go(Step::FetchArchive)
    }

    fn archive(&mut self, file: Option<SpoolFile>) -> Result<(), IllegalEvent> {
        self.settled();
        let has_print_form = self.next.saga.signed.is_some();
        match file {
            Some(bytes) => {
                let (size, digest) = (bytes.size_bytes, bytes.digest.to_hex());
                self.note(
                    "archive_fetched",
                    format!("Архив с оригиналом и подписями получен, {size} байт, SHA-256 {digest}"),
                    format!(
                        "The archive of original and signatures was fetched, {size} bytes, SHA-256 {digest}"
                    ),
                );
            }
            None if has_print_form => self.note(
                "no_archive",
                "Архива у iDocs нет: доставляем только печатную форму",
                "iDocs has no archive: only the print form is delivered",
            ),
            None => {
                self.nothing_to_deliver();
                return Ok(());
            }
        }
        let own = self.own()?;
        own.archive = file;
        own.part = if has_print_form { SignedPart::PrintForm } else { SignedPart::Archive };
        if !has_print_form {
            self.saga().signed = file;
        }
        self.deliver_signed()
    }

    fn nothing_to_deliver(&mut self) {
        self.enter(Step::FetchSigned);
        self.park(
            "no_signed_file",
            Text::new(
                "Документ подписан, но iDocs не отдаёт ни печатной формы, ни архива.",
                "The document is signed, but iDocs gives neither a print form nor an archive.",
            ),
            Text::new("Повторите позже (retry).", "Retry later."),
            None,
        );
    }

    /// One of the two files lies in its place: is there another one?
    pub(super) fn next_part(&mut self) -> bool {
        let Some(own) = self.next.saga.own.as_deref() else { return false };
        let more =
            own.part == SignedPart::PrintForm && own.archive.is_some() && own.archive_delivered.is_none();
        if more && let Some(own) = self.saga().own.as_deref_mut() {
            own.part = SignedPart::Archive;
        }
        more
    }

    /// Whether the service is one where our own signer signs.
    pub(super) fn signs_first(&self) -> bool {
        self.next.saga.delivery.signer.is_some()
    }
}

/// Marks a refused save in the last failure, so that the look that follows knows why it looks.
const REFUSED_SAVE: &str = "save_refused:";

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

/// How a counterparty is called in words.
pub fn counterparty_words(signer: &OwnSigner) -> Text {
    let bin = &signer.counterparty.bin;
    match signer.counterparty.kind {
        CounterpartyKind::Company => Text::new(format!("БИН {bin}"), format!("BIN {bin}")),
        CounterpartyKind::Individual => Text::new(format!("ИИН {bin}"), format!("IIN {bin}")),
    }
}
