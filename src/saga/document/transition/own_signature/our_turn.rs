//! The wait for our own signer: links, reminders, escalation, and the signature itself.
//!
//! * The first signature over a unit stands. It is kept until the service has it, so that the person need not sign twice.
//! * Whoever asks for a link gets one that works: an older one is dead as soon as there is a new content to sign.

use super::super::super::own_signature::Telling;
use super::super::super::state::{Step, WaitWork, Waiting};
use super::super::super::words;
use super::super::{Draft, IllegalEvent, failures, rejected};
use super::parts;
use crate::domain::{Failure, FailureClass, SpoolFile, Text, Timestamp};

/// A link is made anew on request at most this often: each costs calls and a notice.
const RENEWAL_MS_MIN: u64 = 60_000;

impl Draft<'_> {
    pub(super) fn tell_signer(&mut self) -> Result<(), IllegalEvent> {
        let has_user = self.next.saga.delivery.signer.as_ref().is_some_and(|signer| signer.user.is_some());
        if has_user {
            return self.go(Step::TellSigner);
        }
        self.wait_for_signer();
        Ok(())
    }

    pub(in super::super) fn wait_for_signer(&mut self) {
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
    pub(super) fn poll_own_later(&mut self, pause_ms: u64) {
        let (now, policy, chance) = (self.cx.now, self.cx.policy, self.cx.chance);
        if let Some(w) = self.saga().waiting.as_mut() {
            w.polls = w.polls.saturating_add(1);
            let pause = policy.own.poll.pause_ms(w.polls, policy.jitter_percent, chance);
            w.next_poll_at = pause.map(|ms| now.plus_ms(ms.max(pause_ms)));
        }
        self.rearm();
    }

    pub(in super::super) fn signer_timer(&mut self) -> Result<(), IllegalEvent> {
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

    pub(in super::super) fn escalated(&mut self) -> Result<(), IllegalEvent> {
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
        self.count_reminders(w, &self.cx.policy.own.reminders_ms);
        let now = self.cx.now;
        let lives = self.unit_now().is_some_and(|unit| unit.expires_at > now);
        if lives { self.tell_signer() } else { self.go(Step::PrepareContent) }
    }

    /// A failure while we wait for our signer changes only the clockwork.
    pub(in super::super) fn signer_wait_failed(&mut self, failure: &Failure) {
        let pause = failures::asked_pause_ms(failure);
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

    /// Where a signature is welcome: it waits for one, or is about to.
    fn takes_signature(&self) -> bool {
        match self.stuck_at() {
            Step::AwaitSigner | Step::TellSigner => true,
            Step::Comment | Step::FindComment => self.telling() == Telling::OurTurn,
            _ => false,
        }
    }

    pub(super) fn signature_given(
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
        self.must_take_signature()?;
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

    fn must_take_signature(&self) -> Result<(), IllegalEvent> {
        if self.takes_signature() {
            return Ok(());
        }
        Err(rejected(
            "Документ сейчас не ждёт нашей подписи.",
            "The document does not wait for our signature now.",
        ))
    }

    /// A link is handed out: only the history changes. It ends with the content, so an expired one has none.
    pub(super) fn link_given(&mut self, asked_by: &str) -> Result<(), IllegalEvent> {
        self.must_take_signature()?;
        let now = self.cx.now;
        if self.unit_now().is_none_or(|unit| unit.expires_at <= now) {
            return Err(rejected(
                "Срок содержимого на подпись истёк: retry возьмёт новое.",
                "The content to sign has expired: retry takes a new one.",
            ));
        }
        let who = words::plain(asked_by);
        self.note(
            "link_given",
            format!("Ссылка на подпись выдана оператору; запросил: {who}"),
            format!("A link to sign was given to the operator; asked for by: {who}"),
        );
        Ok(())
    }

    pub(super) fn link_asked(&mut self) -> Result<(), IllegalEvent> {
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
        if self.next.saga.delivery.signer.as_deref().is_some_and(|signer| signer.user.is_some()) {
            self.note("link_asked", "Запрошена новая ссылка", "A new link was asked for");
        } else {
            self.note(
                "link_wanted",
                "Подписант просит новую ссылку, а пользователя Битрикс24 у него нет: передайте её сами (edobridge documents sign-link)",
                "The signer asks for a new link and has no user in Bitrix24: hand one on (edobridge documents sign-link)",
            );
        }
        self.go(Step::PrepareContent)
    }
}
