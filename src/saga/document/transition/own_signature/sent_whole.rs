//! A service without drafts (iDocs V1): the file itself is signed, one call creates, signs and sends the document, and its
//! id comes later.
//!
//! * Nothing is asked over there before the signature is given: the content to sign is ours, and has no end of its own.
//! * A sending that may have arrived is never repeated by itself, because nothing over there finds what it made. A late
//!   answer is waited for, then a person looks into the cabinet and decides.
//! * That the service refuses a number which it has seen proves nothing: it does so with the same error as everything else.

use super::super::super::own_signature::{Process, SignedOrder, Ticket};
use super::super::super::state::{DocumentSaga, Step, Timer, TimerKind};
use super::super::super::words;
use super::super::doubt::is_in_doubt;
use super::super::{Draft, IllegalEvent, missing, rejected};
use super::{draft_name, parts};
use crate::domain::{Failure, Text};

/// A content of ours does not die over there. Ten years, so that times can still be added to it.
const CONTENT_LIFE_MS: u64 = 10 * 365 * 86_400_000;

/// A process must have been asked so often before its time can be up: an outage uses up the time and asks nothing.
const PROCESS_LOOKS_MIN: u32 = 5;

/// The order to send everything at once.
pub(super) fn signed_order(saga: &DocumentSaga) -> Result<SignedOrder, IllegalEvent> {
    let (signer, own) = parts(saga)?;
    Ok(SignedOrder {
        file: saga.file.clone().ok_or_else(|| missing(saga, "the file"))?,
        cms: own.cms.ok_or_else(|| missing(saga, "the signature"))?,
        number: own.number.clone(),
        name: draft_name(saga),
        group: signer.group.clone(),
        employee_id: signer.employee_id.clone(),
        counterparty: signer.counterparty.clone(),
    })
}

impl Draft<'_> {
    /// Whether there is nothing over there that could be asked: no draft was made, and no document is known.
    pub(in super::super) fn is_unknown_over_there(&self) -> bool {
        self.next.saga.own.is_some() && self.next.saga.provider_document.is_none()
    }

    /// The content to sign is the file itself.
    pub(in super::super) fn sign_own_file(&mut self) -> Result<(), IllegalEvent> {
        self.settled();
        let file = self.next.saga.file.as_ref().ok_or_else(|| missing(&self.next.saga, "the file"))?;
        let content = file.bytes;
        let expires_at = self.cx.now.plus_ms(CONTENT_LIFE_MS);
        let number = self.new_unit(content, &Ticket::none(), expires_at)?;
        let digest = content.digest.to_hex();
        self.note(
            "content_ready",
            format!("Содержимое для подписи № {number}: сам файл, SHA-256 {digest}"),
            format!("Content to sign no. {number}: the file itself, SHA-256 {digest}"),
        );
        self.ask_for_signature()
    }

    pub(super) fn sent(&mut self, process: &str) -> Result<(), IllegalEvent> {
        self.settled();
        self.own()?.cms_blob_id = Some(process.to_owned());
        let key = words::plain(process);
        self.note(
            "sent_whole",
            format!("iDocs принял документ с подписью; ключ процесса {key}"),
            format!("iDocs has taken the document with its signature; the process key is {key}"),
        );
        self.enter(Step::AwaitProcess);
        self.ask_process_later(0);
        Ok(())
    }

    pub(super) fn process_read(&mut self, process: &Process) -> Result<(), IllegalEvent> {
        match process {
            Process::Running => {
                self.saga().last_failure = None;
                self.process_goes_on(0);
                Ok(())
            }
            Process::Document { document_id } => self.became(document_id),
            Process::Failed => {
                self.process_failed();
                Ok(())
            }
        }
    }

    /// Nobody knows yet. Asked again by the schedule, and for so long only.
    pub(in super::super) fn process_goes_on(&mut self, pause_ms: u64) {
        let end = self.next.saga.step_since.plus_ms(self.cx.policy.own.process_deadline_ms);
        let saga = self.saga();
        saga.tries = 0;
        saga.looks = saga.looks.saturating_add(1);
        if self.cx.now >= end && self.next.saga.looks >= PROCESS_LOOKS_MIN {
            self.process_overdue();
        } else {
            self.ask_process_later(pause_ms);
        }
    }

    fn ask_process_later(&mut self, pause_ms: u64) {
        let (policy, asked) = (self.cx.policy, self.next.saga.looks);
        let pause =
            policy.own.process.pause_ms(asked.saturating_add(1), policy.jitter_percent, self.cx.chance);
        self.later(pause.unwrap_or(policy.throttled_ms).max(pause_ms));
    }

    fn became(&mut self, document_id: &str) -> Result<(), IllegalEvent> {
        self.settled();
        self.bind(document_id);
        self.their_turn()
    }

    /// A person has found it in the cabinet.
    pub(in super::super) fn bound_whole(&mut self, document_id: &str) -> Result<(), IllegalEvent> {
        self.became(document_id)
    }

    /// A person has looked for it and not found it. The signature is the same; so is the number, by which two could be told
    /// to be one.
    pub(in super::super) fn send_whole_again(&mut self) -> Result<(), IllegalEvent> {
        if self.next.saga.step == Step::AwaitProcess {
            return Err(rejected(
                "iDocs принял документ и ещё обрабатывает его: дождитесь ответа или укажите id (bind).",
                "iDocs has taken the document and still works on it: wait for its answer, or name the id (bind).",
            ));
        }
        self.own()?.cms_blob_id = None;
        // A person has looked: nothing is left to doubt.
        self.saga().rounds = u32::from(is_in_doubt(&self.next.saga, self.cx));
        self.note("sent_again", "Отправлен заново по решению человека", "Sent again by a person");
        self.go(Step::SendSigned)
    }

    /// From an answer that was lost to the time at which a person is asked.
    pub(in super::super) fn await_late_answer(&mut self) {
        let due = self.cx.now.plus_ms(self.cx.policy.own.settle_ms);
        let saga = self.saga();
        saga.work = super::super::Work::Idle;
        saga.timer = Some(Timer { due, kind: TimerKind::Grace });
    }

    /// An answer to an older attempt names what exists over there.
    pub(super) fn sent_late(&mut self, process: &str) -> Result<(), IllegalEvent> {
        let known = self.next.saga.own.as_deref().and_then(|own| own.cms_blob_id.clone());
        match self.end_or_stuck() {
            Step::SendSigned | Step::FindSent if known.is_none() => return self.sent(process),
            _ if known.as_deref() == Some(process) => return Ok(()),
            _ => {}
        }
        let key = words::plain(process);
        self.note(
            "sent_late",
            format!("Запоздалый ответ: iDocs приняла и отправку с ключом процесса {key}. Проверьте кабинет iDocs."),
            format!("A late answer: iDocs has taken the sending with process key {key} too. Check the iDocs cabinet."),
        );
        Ok(())
    }

    /// The same for a question about the process.
    pub(super) fn process_read_late(&mut self, process: &Process) -> Result<(), IllegalEvent> {
        let Process::Document { document_id } = process else { return Ok(()) };
        if self.stuck_at() == Step::AwaitProcess && self.is_unknown_over_there() {
            return self.became(document_id);
        }
        if self.next.saga.provider_document.as_deref() != Some(document_id) {
            let id = words::plain(document_id);
            self.note(
                "second_document",
                format!(
                    "Запоздалый ответ: из прежней отправки получился документ {id}. Проверьте кабинет iDocs."
                ),
                format!(
                    "A late answer: an earlier sending has become document {id}. Check the iDocs cabinet."
                ),
            );
        }
        Ok(())
    }

    /// Refused in plain words, so that nothing was made. Which part of it was refused is not told, so that a signature is
    /// asked for anew once a person has mended the cause.
    pub(in super::super) fn sending_refused(&mut self, failure: &Failure) -> Result<(), IllegalEvent> {
        let own = self.own()?;
        own.refused_saves = own.refused_saves.saturating_add(1);
        (own.cms, own.cms_blob_id, own.signed_by) = (None, None, None);
        self.enter(Step::PrepareContent);
        self.park(
            &failure.code,
            Text::new(
                format!("iDocs отказался принять документ с подписью. {}", failure.reason.ru),
                format!("iDocs refused the document with its signature. {}", failure.reason.en),
            ),
            Text::new(
                "Устраните причину и выполните retry: подписант получит новую ссылку; cancel прекратит работу.",
                "Mend the cause and retry: the signer gets a new link; cancel stops the work.",
            ),
            failure.answer.clone(),
        );
        Ok(())
    }

    pub(in super::super) fn sending_unknown(&mut self) {
        let number = self.number_in_words();
        self.park(
            "create_unknown",
            Text::new(
                "Неизвестно, отправлен ли документ через iDocs: ответа не было, а найти его этим интерфейсом (V1) нечем.",
                "It is unknown whether iDocs has sent the document: no answer came, and this interface (V1) finds nothing.",
            ),
            // V1 makes its documents after it has answered (the guide on signing providers, e.3): who looks at once
            // may find none, and send a second.
            Text::new(
                format!("Через несколько минут (документ появляется не сразу) найдите в кабинете iDocs номер {number}: есть — bind <id>, нет — send-again (с той же подписью), cancel прекратит. Автоматически второй раз не отправляем."),
                format!("In a few minutes (a document takes its time to appear) look for number {number} in the iDocs cabinet: if it is there, bind <id>; if not, send-again (with the same signature); cancel stops. We never send it twice by ourselves."),
            ),
            None,
        );
    }

    fn process_overdue(&mut self) {
        let (asked, number) = (self.next.saga.looks, self.number_in_words());
        let key = self.process_in_words();
        self.park(
            "process_overdue",
            Text::new(
                format!("iDocs принял документ (ключ процесса {key}), но и после {asked} вопросов не назвал его id."),
                format!("iDocs has taken the document (process key {key}), but has not told its id after {asked} questions."),
            ),
            after_the_process(&number),
            None,
        );
    }

    fn process_failed(&mut self) {
        let (key, number) = (self.process_in_words(), self.number_in_words());
        self.park(
            "process_failed",
            Text::new(
                format!(
                    "iDocs принял документ (ключ процесса {key}), но сообщил, что создать его не удалось."
                ),
                format!(
                    "iDocs has taken the document (process key {key}), but says that it could not be made."
                ),
            ),
            after_the_process(&number),
            None,
        );
    }

    fn number_in_words(&self) -> String {
        self.next.saga.own.as_deref().map(|own| words::plain(&own.number)).unwrap_or_default()
    }

    fn process_in_words(&self) -> String {
        let own = self.next.saga.own.as_deref();
        own.and_then(|own| own.cms_blob_id.as_deref()).map(words::plain).unwrap_or_default()
    }
}

/// What a person does about a process that brings no document.
fn after_the_process(number: &str) -> Text {
    Text::new(
        format!(
            "Найдите в кабинете iDocs документ с номером {number}: есть — bind <id>; нет — retry спросит ещё раз, send-again отправит заново (с той же подписью), cancel прекратит."
        ),
        format!(
            "Look for number {number} in the iDocs cabinet: if it is there, bind <id>; if not, retry asks once more, send-again sends it anew (with the same signature), cancel stops."
        ),
    )
}
