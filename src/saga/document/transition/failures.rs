//! Failures, lost attempts and taken names: what is repeated, what is looked for, what stops for a person.

use super::super::own_signature::Telling;
use super::super::state::{Claim, LastFailure, Step, Timer, TimerKind, Work};
use super::super::words;
use super::{Draft, IllegalEvent, effect_of, look_step, step_class};
use crate::domain::{Failure, FailureClass, FailureKind, SagaId, Text};
use crate::saga::retry::{Exhausted, Schedule, jittered};
use crate::saga::step::StepClass;

/// The portal's code for a name that is taken (Bitrix24 docs, `api-reference/disk`: DISK_OBJ_22000).
///
/// Its HTTP status on an upload is not documented, so it is recognised before the class of the failure.
pub(crate) const NAME_TAKEN: &str = "disk_obj_22000";

/// A pause asked for by a remote is believed up to a day: longer, and the document would seem forgotten.
pub(crate) const ASKED_PAUSE_MS_MAX: u64 = 86_400_000;

/// `Retry-After: 0` must not become a busy loop, since limits do not count as attempts.
pub(crate) const THROTTLED_MS_MIN: u64 = 1_000;

/// How often in a row a CRM item is read anew because another saga took its file in the meantime.
pub(crate) const TAKEN_MAX: u32 = 5;

/// The pause that the remote asked for, within reason; zero if it did not ask.
pub(super) fn asked_pause_ms(failure: &Failure) -> u64 {
    failure.retry_after_ms.unwrap_or(0).min(ASKED_PAUSE_MS_MAX)
}

/// Whether the remote was reached and answered: few tries help then.
fn is_answered(kind: FailureKind) -> bool {
    match kind {
        FailureKind::ServerError | FailureKind::Garbled | FailureKind::Refused => true,
        FailureKind::Unreachable
        | FailureKind::NoAnswer
        | FailureKind::Limit
        | FailureKind::Credentials
        | FailureKind::Local => false,
    }
}

impl Draft<'_> {
    pub(super) fn failed(&mut self, failure: &Failure) -> Result<(), IllegalEvent> {
        let now = self.cx.now;
        let saga = self.saga();
        saga.work = Work::Idle;
        saga.last_failure =
            Some(LastFailure { at: now, code: failure.code.clone(), reason: failure.reason.clone() });
        let step = saga.step;
        if step == Step::AwaitSignature {
            self.wait_failed(failure);
            return Ok(());
        }
        if step == Step::AwaitSigner {
            self.signer_wait_failed(failure);
            return Ok(());
        }
        // The service has taken it: whatever it answers meanwhile moves only the clockwork.
        let asks = step == Step::AwaitProcess && is_answered(failure.kind);
        if asks && matches!(failure.class, FailureClass::Transient | FailureClass::Ambiguous) {
            self.process_goes_on(asked_pause_ms(failure));
            return Ok(());
        }
        if self.is_unknown(step, failure) {
            self.saga().rounds += 1;
            return self.look(step);
        }
        match failure.class {
            FailureClass::Throttled => self.later(self.throttled_pause_ms(failure)),
            FailureClass::Auth => self.later(self.auth_pause_ms().max(asked_pause_ms(failure))),
            // The search is refused: it cannot tell, the callback still can.
            FailureClass::Permanent if step == Step::FindDocument => self.grace(),
            FailureClass::Permanent if step == Step::SaveSignature && is_of_the_signature(failure) => {
                return self.save_refused(failure);
            }
            FailureClass::Permanent if step == Step::SendSigned && is_refused_over_there(failure) => {
                return self.sending_refused(failure);
            }
            FailureClass::Permanent if self.is_told_in_between() => {
                return self.timeline_failed(&failure.reason);
            }
            FailureClass::Permanent => self.park_failed(failure),
            FailureClass::Transient | FailureClass::Ambiguous => self.try_again(failure),
        }
        Ok(())
    }

    /// A comment in between holds up nothing.
    fn is_told_in_between(&self) -> bool {
        matches!(self.next.saga.step, Step::Comment | Step::FindComment) && self.telling() != Telling::TheEnd
    }

    /// Whether the write may have had its effect, so that it must be looked for (SG-5).
    fn is_unknown(&self, step: Step, failure: &Failure) -> bool {
        let policy = self.cx.policy;
        if step == Step::Create && policy.create_is_idempotent {
            return false;
        }
        let accepted_double = step == Step::Create
            && failure.kind == FailureKind::ServerError
            && policy.repeat_create_on_server_error
            && !policy.search_available;
        let ambiguous = failure.class == FailureClass::Ambiguous
            && matches!(step_class(step), StepClass::Probe | StepClass::Blind);
        (ambiguous && !accepted_double) || (step == Step::Upload && failure.code == NAME_TAKEN)
    }

    pub(super) fn overdue(&mut self) -> Result<(), IllegalEvent> {
        let reason = Text::new(
            "Запрос не завершился в отведённое время.",
            "The request did not end in the time given.",
        );
        let failure = Failure::new(FailureClass::Ambiguous, FailureKind::NoAnswer, "attempt_overdue", reason);
        self.failed(&failure)
    }

    // ---- pauses --------------------------------------------------------------------------------------------

    pub(super) fn throttled_pause_ms(&self, failure: &Failure) -> u64 {
        let pause = failure.retry_after_ms.unwrap_or(self.cx.policy.throttled_ms);
        let pause = pause.clamp(THROTTLED_MS_MIN, ASKED_PAUSE_MS_MAX);
        pause + jittered(pause / 4, 100, self.cx.chance)
    }

    /// Grows with the time spent in the step, within the outage schedule. Waiting for a person who mends the
    /// access uses up no attempts: what fails afterwards has all of its own.
    pub(super) fn auth_pause_ms(&self) -> u64 {
        let policy = self.cx.policy;
        let (Some(first), Some(last)) =
            (policy.outage.delays_ms.iter().min(), policy.outage.delays_ms.iter().max())
        else {
            return policy.throttled_ms;
        };
        let so_far = self.cx.now.ms_since(self.next.saga.step_since);
        jittered((so_far / 2).clamp(*first, *last), policy.jitter_percent, self.cx.chance)
    }

    /// The pause after the `tries`-th failure of something that is never given up.
    pub(super) fn outage_pause_ms(&self, tries: u32) -> u64 {
        let policy = self.cx.policy;
        let endless = Schedule::endless(policy.outage.delays_ms.clone());
        endless.pause_ms(tries, policy.jitter_percent, self.cx.chance).unwrap_or(policy.throttled_ms)
    }

    fn try_again(&mut self, failure: &Failure) {
        let policy = self.cx.policy;
        let for_service = effect_of(&self.next.saga, self.cx).is_ok_and(|e| e.is_for_signing_service());
        let schedule = match (is_answered(failure.kind), for_service) {
            (true, true) => &policy.server_error,
            (true, false) => &policy.portal_error,
            (false, _) => &policy.outage,
        };
        let tries = self.count_try(failure.kind, schedule);
        match schedule.pause_ms(tries, policy.jitter_percent, self.cx.chance) {
            Some(pause) => {
                let settle = self.settle_before_repeat_ms(failure);
                self.later(pause.max(asked_pause_ms(failure)).max(settle));
            }
            None => self.park_failed(failure),
        }
    }

    /// Counts the failure and gives its number.
    ///
    /// Answered errors and outages share one counter but not their patience: an outage of a hundred tries
    /// typically ends with a single 502, which must not be taken for the hundred-and-first 5xx. More tries than
    /// answered errors could ever reach prove an outage before this one, so their count begins anew.
    fn count_try(&mut self, kind: FailureKind, schedule: &Schedule) -> u32 {
        let saga = self.saga();
        let few = schedule.then == Exhausted::GiveUp && is_answered(kind);
        if few && saga.tries as usize > schedule.delays_ms.len() {
            saga.tries = 0;
        }
        saga.tries = saga.tries.saturating_add(1);
        saga.tries
    }

    // ---- unknown outcomes ----------------------------------------------------------------------------------

    /// From a write of unknown outcome to its look step.
    fn look(&mut self, write: Step) -> Result<(), IllegalEvent> {
        if look_step(write).is_none() {
            return self.start();
        }
        match step_class(write) {
            StepClass::Blind => self.note(
                "outcome_unknown",
                "Исход отправки неизвестен, и найти её нечем: ждём запоздалого ответа, потом спросим человека",
                "The outcome of the sending is unknown, and nothing finds it: a late answer is waited for, then a person asked",
            ),
            StepClass::Read | StepClass::Keyed | StepClass::Probe => self.note(
                "outcome_unknown",
                "Исход запроса неизвестен: сначала проверяем, потом повторяем",
                "The outcome of the request is unknown: look first, then repeat",
            ),
        }
        self.look_for(write)
    }

    pub(super) fn look_for(&mut self, write: Step) -> Result<(), IllegalEvent> {
        let Some(look) = look_step(write) else {
            return self.start();
        };
        self.enter(look);
        if look == Step::FindSent {
            self.await_late_answer();
        } else if look == Step::FindDocument && !self.cx.policy.search_available {
            self.grace();
        } else {
            self.later(self.settle_ms());
        }
        Ok(())
    }

    fn settle_ms(&self) -> u64 {
        let policy = self.cx.policy;
        let step = self.next.saga.step;
        let at_service =
            matches!(step, Step::FindDraft | Step::FindRoute | Step::FindSave) || is_made_anew(step);
        if at_service { policy.own.settle_ms } else { policy.settle_ms }
    }

    /// The least pause before the repeat of something that is made anew; zero where nothing was being worked on.
    fn settle_before_repeat_ms(&self, failure: &Failure) -> u64 {
        let may_be_at_work = match failure.kind {
            FailureKind::NoAnswer | FailureKind::ServerError | FailureKind::Garbled => true,
            FailureKind::Refused
            | FailureKind::Unreachable
            | FailureKind::Limit
            | FailureKind::Credentials
            | FailureKind::Local => false,
        };
        if may_be_at_work && is_made_anew(self.next.saga.step) { self.settle_ms() } else { 0 }
    }

    /// A look found nothing: look again after a pause, then repeat the write; after too many rounds ask a person.
    pub(super) fn not_found(&mut self, write: Step) -> Result<(), IllegalEvent> {
        self.saga().looks += 1;
        if self.next.saga.looks < self.cx.policy.looks {
            self.later(self.settle_ms());
            return Ok(());
        }
        if self.next.saga.rounds >= self.cx.policy.rounds_max {
            self.park_exhausted();
            return Ok(());
        }
        // The name is taken and not by us: the same name would be refused for ever. In every other case the same
        // name is kept, because then the portal itself refuses a double that surfaces late.
        if write == Step::Upload && self.next.saga.last_failure.as_ref().is_some_and(|f| f.code == NAME_TAKEN)
        {
            self.note(
                "name_taken",
                "Имя занято чужим файлом: выбираем другое",
                "The name is taken: choosing another",
            );
            return self.go(Step::ScanFolder);
        }
        self.note("not_found", "Следов нет: повторяем", "No trace of it: repeating");
        self.go(write)
    }

    /// The process died in the middle. That is not the remote's failure and is not counted.
    pub(super) fn attempt_lost(&mut self) -> Result<(), IllegalEvent> {
        let step = self.next.saga.step;
        match step_class(step) {
            StepClass::Probe if step == Step::Create && self.cx.policy.create_is_idempotent => self.start(),
            StepClass::Probe | StepClass::Blind => self.look(step),
            StepClass::Read | StepClass::Keyed if is_made_anew(step) => {
                self.later(self.settle_ms());
                Ok(())
            }
            StepClass::Read | StepClass::Keyed => self.start(),
        }
    }

    fn grace(&mut self) {
        // It was created long since: its callback is waited for as ever.
        if self.next.saga.provider_document.is_some() {
            self.wait();
            return;
        }
        let due = self.next.saga.step_since.plus_ms(self.cx.policy.callback_grace_ms);
        let saga = self.saga();
        saga.work = Work::Idle;
        saga.timer = Some(Timer { due, kind: TimerKind::Grace });
    }

    // ---- dead letters --------------------------------------------------------------------------------------

    pub(super) fn create_unknown(&mut self) {
        self.park(
            "create_unknown",
            Text::new(
                "Неизвестно, создан ли документ в EasyDocs: ответа не было, уведомления тоже.",
                "It is unknown whether EasyDocs has the document: neither an answer nor a callback came.",
            ),
            by_hand(),
            None,
        );
    }

    fn park_failed(&mut self, failure: &Failure) {
        let at = self.next.saga.step;
        let (step, tries) = (words::step(at), self.next.saga.tries);
        let times = if tries > 1 {
            Text::new(format!(" Попыток: {tries}."), format!(" Attempts: {tries}."))
        } else {
            Text::default()
        };
        let next_action = next_action(at);
        let reason = Text::new(
            format!("Не удалось: {}. {}{}", step.ru, failure.reason.ru, times.ru),
            format!("This failed: {}. {}{}", step.en, failure.reason.en, times.en),
        );
        self.park(&failure.code, reason, next_action, failure.answer.clone());
    }

    fn park_exhausted(&mut self) {
        let step = words::step(self.next.saga.step);
        let rounds = self.next.saga.rounds;
        self.park(
            "unknown_outcome",
            Text::new(
                format!("Исход операции остался неизвестен {rounds} раз подряд: {}.", step.ru),
                format!("The outcome stayed unknown {rounds} times in a row: {}.", step.en),
            ),
            match self.stuck_at() {
                Step::FindComment => next_action(Step::FindComment),
                _ => Text::new(
                    "Проверьте удалённую систему и сеть, затем выполните retry.",
                    "Check the remote system and the network, then retry.",
                ),
            },
            None,
        );
    }

    // ---- names that belong to others -----------------------------------------------------------------------

    pub(super) fn claim_taken(&mut self, claim: &Claim, by: SagaId) -> Result<(), IllegalEvent> {
        match claim {
            Claim::Source(_) | Claim::Reading(_) => self.source_taken(by),
            Claim::External(id) | Claim::ProviderDocument(id) => {
                self.identity_taken(id, by);
                Ok(())
            }
            Claim::EchoName { .. }
            | Claim::EchoFile { .. }
            | Claim::EchoBytes { .. }
            | Claim::Workflow { .. } => Ok(()),
        }
    }

    fn source_taken(&mut self, by: SagaId) -> Result<(), IllegalEvent> {
        match self.next.saga.step {
            // Another saga has the file: read the item again, its taken files are left out this time. Counted in
            // `looks`, which a read has no other use for, so that failed reads before do not shorten it.
            Step::ReadItem if !self.is_in_flight() => Ok(()),
            Step::ReadItem if self.next.saga.looks < TAKEN_MAX => {
                self.saga().looks += 1;
                self.start()
            }
            Step::ReadItem => {
                self.park_contended(by);
                Ok(())
            }
            Step::FetchSource => {
                let reason = Text::new(
                    format!("Этот файл уже ведёт документ {by}."),
                    format!("This file already belongs to document {by}."),
                );
                self.not_wanted("duplicate", &reason)
            }
            // Only the two steps above ask for a source; a document that is out there is never dropped for one.
            _ => Ok(()),
        }
    }

    /// Not `Ignored`: the item may have other files that nobody has.
    fn park_contended(&mut self, by: SagaId) {
        self.park(
            "claims_contended",
            Text::new(
                format!("Файл карточки раз за разом оказывается занят; последний раз документом {by}."),
                format!("A file of the item is taken time and again; last by document {by}."),
            ),
            Text::new("Повторите позже (retry).", "Retry later."),
            None,
        );
    }

    fn identity_taken(&mut self, id: &str, by: SagaId) {
        let id = words::plain(id);
        let reason = Text::new(
            format!("Идентификатор {id} уже принадлежит документу {by}."),
            format!("The id {id} already belongs to document {by}."),
        );
        if self.next.saga.step.is_finished() {
            self.note("identity_conflict", reason.ru, reason.en);
            return;
        }
        let service = words::service(&self.next.saga);
        self.park(
            "identity_conflict",
            reason,
            Text::new(
                format!("Сверьте оба документа с кабинетом {service}; лишний отмените (cancel)."),
                format!("Compare both documents with the {service} cabinet; cancel the wrong one."),
            ),
            None,
        );
    }
}

/// Whether a refused save says something of the signature. An unpaid account or missing rights do not: the signature is
/// good, and asking the person for another one would end in the same refusal.
fn is_of_the_signature(failure: &Failure) -> bool {
    !matches!(failure.code.as_str(), "billing_error" | "permission_error")
}

/// Whether the service itself refused a sending, for what was in it. An unpaid account or missing rights say nothing of
/// that: the same signature is good once they are mended. What we refused ourselves was never sent.
fn is_refused_over_there(failure: &Failure) -> bool {
    failure.kind == FailureKind::Refused && is_of_the_signature(failure)
}

/// Steps that make something new each time, so that nothing needs to be looked for. A repeat still waits until the first
/// request can have ended: of two contents to sign the service may take the one that it made last for the valid one.
fn is_made_anew(step: Step) -> bool {
    matches!(step, Step::UploadBlob | Step::PrepareContent | Step::SendSignature)
}

/// What a person does about a step that failed for good.
fn next_action(at: Step) -> Text {
    match at {
        Step::FindDocument => by_hand(),
        Step::Comment | Step::FindComment => Text::new(
            "Устраните причину и выполните retry; retry --skip comment продолжит без комментария.",
            "Mend the cause and retry; retry --skip comment goes on without the comment.",
        ),
        Step::ScanField | Step::AttachField | Step::FindFieldFile => Text::new(
            "Устраните причину и выполните retry; retry --skip field продолжит без поля карточки, если файл возвращается и другим путём.",
            "Mend the cause and retry; retry --skip field goes on without the item's field, if the file comes back in another way too.",
        ),
        Step::MoveStage => Text::new(
            "Устраните причину и выполните retry; retry --skip stage продолжит без смены стадии.",
            "Mend the cause and retry; retry --skip stage goes on without moving the item.",
        ),
        Step::AnswerRobot => Text::new(
            "Устраните причину и выполните retry; retry --skip robot завершит документ без ответа бизнес-процессу.",
            "Mend the cause and retry; retry --skip robot ends the document without an answer to the workflow.",
        ),
        Step::Notify => Text::new(
            "Устраните причину и выполните retry; retry --notify назовёт других, retry --skip notices завершит без уведомлений.",
            "Mend the cause and retry; retry --notify names others, retry --skip notices ends without notices.",
        ),
        _ => Text::new(
            "Устраните причину и выполните retry; cancel прекратит работу.",
            "Mend the cause and retry; cancel stops the work.",
        ),
    }
}

/// What a person does about a create of unknown outcome.
fn by_hand() -> Text {
    Text::new(
        "Найдите в кабинете EasyDocs документ с этим именем: есть — bind <id>, нет — send-again. Автоматически второй раз не отправляем.",
        "Look for the document in the EasyDocs cabinet: if it is there, bind <id>; if not, send-again. We never send it twice by ourselves.",
    )
}
