//! The clockwork of the wait for signatures: polls, reminders, the deadline, all on one timer.
//!
//! Callbacks stay the main channel: whatever fails here moves only the clock. The order of what is due matters
//! after a long standstill: ask the service first (it may be signed long since), then the deadline, then remind.

use super::super::state::{Occasion, Step, Timer, TimerKind, WaitWork, Waiting};
use super::super::words;
use super::{Draft, IllegalEvent};
use crate::domain::{Failure, FailureClass, Text, Timestamp};
use crate::saga::retry::Schedule;

impl<'a> Draft<'a> {
    pub(super) fn wait(&mut self) {
        self.settled();
        let (now, policy) = (self.cx.now, self.cx.policy);
        let poll = self.poll_schedule().and_then(|s| s.pause_ms(1, policy.jitter_percent, self.cx.chance));
        let (reminders, deadline) = (self.reminders_ms(), self.deadline_ms());
        self.enter(Step::AwaitSignature);
        self.saga().waiting = Some(Waiting {
            since: now,
            next_poll_at: poll.map(|ms| now.plus_ms(ms)),
            polls: 0,
            next_reminder_at: reminders.first().map(|ms| now.plus_ms(*ms)),
            reminders: 0,
            deadline_at: Some(now.plus_ms(deadline)),
            doing: WaitWork::Nothing,
        });
        self.rearm();
    }

    /// Where the service can be asked, and when.
    fn poll_schedule(&self) -> Option<&'a Schedule> {
        let policy = self.cx.policy;
        if self.signs_first() { Some(&policy.own.poll) } else { policy.poll.as_ref() }
    }

    fn reminders_ms(&self) -> &'a [u64] {
        let policy = self.cx.policy;
        if self.signs_first() { &policy.own.counterparty_reminders_ms } else { &policy.reminders_ms }
    }

    fn deadline_ms(&self) -> u64 {
        let policy = self.cx.policy;
        if self.signs_first() { policy.own.deadline_ms } else { policy.deadline_ms }
    }

    /// Sets the one timer of the wait to the nearest of its three reasons (SG-1).
    pub(super) fn rearm(&mut self) {
        let fallback = self.cx.now.plus_ms(self.deadline_ms());
        let saga = self.saga();
        saga.work = super::Work::Idle;
        let due = saga.waiting.as_mut().and_then(|w| {
            w.doing = WaitWork::Nothing;
            [w.next_poll_at, w.next_reminder_at, w.deadline_at].into_iter().flatten().min()
        });
        saga.timer = Some(Timer { due: due.unwrap_or(fallback), kind: TimerKind::Wait });
    }

    pub(super) fn wait_timer(&mut self) -> Result<(), IllegalEvent> {
        let now = self.cx.now;
        let Some(w) = self.next.saga.waiting.clone() else {
            self.wait();
            return Ok(());
        };
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        // A poll that was due before the deadline is made before it: the callback may have been lost while we
        // were down. The next poll then lies after the deadline, so this cannot go on for ever.
        let in_time = w.deadline_at.is_none_or(|end| w.next_poll_at.is_some_and(|at| at <= end));
        if is_due(w.next_poll_at) && in_time {
            self.do_while_waiting(WaitWork::Poll);
            return self.start();
        }
        if is_due(w.deadline_at) {
            self.deadline(&w);
            return Ok(());
        }
        if is_due(w.next_reminder_at) {
            return self.remind(&w);
        }
        self.rearm();
        Ok(())
    }

    pub(super) fn do_while_waiting(&mut self, doing: WaitWork) {
        if let Some(w) = self.saga().waiting.as_mut() {
            w.doing = doing;
        }
    }

    pub(super) fn waiting_for(&self) -> WaitWork {
        self.next.saga.waiting.as_ref().map_or(WaitWork::Nothing, |w| w.doing)
    }

    fn deadline(&mut self, w: &Waiting) {
        let days = self.cx.now.ms_since(w.since) / 86_400_000;
        let service = words::service(&self.next.saga);
        self.park(
            "deadline",
            Text::new(
                format!("Документ не подписан за {days} дн., уведомления не было."),
                format!("The document was not signed within {days} day(s), and no callback came."),
            ),
            Text::new(
                format!("Посмотрите документ в кабинете {service}. Retry продолжит ждать, cancel прекратит; уведомление о подписи или отказе продолжит работу само."),
                format!("Look at the document in the {service} cabinet. Retry goes on waiting, cancel stops; a callback about the signature or a refusal goes on by itself."),
            ),
            None,
        );
    }

    /// Counts all reminders that are due as one that is sent now, and sets the next.
    pub(super) fn count_reminders(&mut self, w: &Waiting, times: &[u64]) {
        let due = times.iter().take_while(|ms| w.since.plus_ms(**ms) <= self.cx.now).count();
        let sent = (w.reminders + 1).max(u32::try_from(due).unwrap_or(u32::MAX));
        let next = times.get(sent as usize).map(|ms| w.since.plus_ms(*ms));
        if let Some(w) = self.saga().waiting.as_mut() {
            w.reminders = sent;
            w.next_reminder_at = next;
        }
    }

    /// Sends one reminder for all that are due: after a standstill people are not told twice in a row.
    fn remind(&mut self, w: &Waiting) -> Result<(), IllegalEvent> {
        self.count_reminders(w, self.reminders_ms());
        let delivery = &self.next.saga.delivery;
        if delivery.notify.is_empty() || !delivery.notify_on.contains(&Occasion::Reminder) {
            self.rearm();
            return Ok(());
        }
        self.do_while_waiting(WaitWork::Reminder);
        self.note("reminded", "Отправляем напоминание", "Sending a reminder");
        self.start()
    }

    /// The reminder reached its reader.
    pub(super) fn reminded(&mut self) {
        let saga = self.saga();
        saga.tries = 0;
        saga.last_failure = None;
        self.rearm();
    }

    /// The status was read and is not terminal.
    pub(super) fn polled(&mut self) {
        self.saga().last_failure = None;
        self.poll_later(0);
    }

    /// The next poll by the schedule, but not before `pause_ms` have passed.
    fn poll_later(&mut self, pause_ms: u64) {
        let (now, policy, chance) = (self.cx.now, self.cx.policy, self.cx.chance);
        let schedule = self.poll_schedule();
        if let Some(w) = self.saga().waiting.as_mut() {
            w.polls = w.polls.saturating_add(1);
            w.next_poll_at = schedule
                .and_then(|s| s.pause_ms(w.polls.saturating_add(1), policy.jitter_percent, chance))
                .map(|ms| now.plus_ms(ms.max(pause_ms)));
        }
        self.rearm();
    }

    /// A failure during the wait changes only the clockwork.
    pub(super) fn wait_failed(&mut self, failure: &Failure) {
        match self.waiting_for() {
            WaitWork::Reminder => self.reminder_failed(failure),
            WaitWork::Poll | WaitWork::Nothing | WaitWork::Escalation => {
                self.poll_later(super::failures::asked_pause_ms(failure));
            }
        }
    }

    fn reminder_failed(&mut self, failure: &Failure) {
        let pause = match failure.class {
            FailureClass::Permanent => None,
            FailureClass::Throttled => Some(self.throttled_pause_ms(failure)),
            FailureClass::Auth => Some(self.auth_pause_ms()),
            FailureClass::Transient | FailureClass::Ambiguous => {
                self.saga().tries += 1;
                let pause = self.outage_pause_ms(self.next.saga.tries);
                Some(pause.max(super::failures::asked_pause_ms(failure)))
            }
        };
        match pause {
            Some(pause) => {
                let again = self.cx.now.plus_ms(pause);
                if let Some(w) = self.saga().waiting.as_mut() {
                    w.next_reminder_at = Some(again);
                    w.reminders = w.reminders.saturating_sub(1);
                }
            }
            // Nobody can be reminded that way (the user is gone): the next reminder will try again.
            None => self.note(
                "reminder_failed",
                format!("Напоминание не отправлено: {}", failure.reason.ru),
                format!("The reminder was not sent: {}", failure.reason.en),
            ),
        }
        self.rearm();
    }
}
