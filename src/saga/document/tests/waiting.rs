//! The clockwork of the wait, by the millisecond: polls, reminders, the deadline, and what a standstill does to it.

use super::super::event::{CallbackStatus, OperatorAction};
use super::super::state::{Outcome, Step, TimerKind};
use super::super::transition::Policy;
use super::fixture::{Is::*, *};
use crate::saga::retry::Schedule;

#[test]
fn reminders_come_at_their_times_and_the_deadline_at_its_own() {
    given(Step::AwaitSignature)
        .then([Due(TimerKind::Wait, DAY)])
        .fires()
        .then([Ordered("notify"), Noted("reminded"), Due(TimerKind::Lease, 2 * MINUTE)])
        .goes_on()
        .then([At(Step::AwaitSignature), Due(TimerKind::Wait, 2 * DAY), NothingOrdered])
        .fires()
        .then([Ordered("notify")])
        .goes_on()
        .then([Due(TimerKind::Wait, 11 * DAY)])
        .fires()
        .then([DeadLetter(Step::AwaitSignature, "deadline"), NothingOrdered]);
}

#[test]
fn a_timer_that_fires_too_early_or_with_another_meaning_does_nothing() {
    let story = given(Step::AwaitSignature);
    let early = super::super::event::Event::TimerFired { kind: TimerKind::Wait };
    let other = super::super::event::Event::TimerFired { kind: TimerKind::Grace };
    story
        .after(DAY - 1)
        .when(early.clone())
        .then([Unchanged])
        .after(1)
        .when(other)
        .then([Unchanged])
        .when(early)
        .then([Ordered("notify")]);
}

#[test]
fn polls_follow_their_schedule_and_go_on_with_its_last_pause() {
    let mut story = given_under(polling(), Step::AwaitSignature).then([Due(TimerKind::Wait, HOUR)]);
    for _ in 0..3 {
        story = story
            .fires()
            .then([Ordered("read_status")])
            .answers(status_read(CallbackStatus::Other))
            .then([At(Step::AwaitSignature), Due(TimerKind::Wait, 6 * HOUR), NothingOrdered]);
    }
}

#[test]
fn a_poll_that_finds_the_end_goes_on_as_a_callback_would() {
    let polled = || given_under(polling(), Step::AwaitSignature).fires();
    polled().answers(status_read(CallbackStatus::Signed)).then([Ordered("fetch_signed")]);
    polled()
        .answers(status_read(CallbackStatus::Refused))
        .then([Ordered("add_comment"), Outcome(Outcome::Refused)]);
}

#[test]
fn a_callback_during_a_poll_wins_and_the_polls_answer_is_dropped() {
    let story = given_under(polling(), Step::AwaitSignature).fires();
    let poll = story.saga.last_token;
    story
        .hears(CallbackStatus::Signed)
        .then([Ordered("fetch_signed")])
        .late(poll, status_read(CallbackStatus::Refused))
        .then([Unchanged]);
}

#[test]
fn a_failed_poll_is_the_next_polls_business() {
    for failure in [unreachable(), server_error(), no_answer(), unauthorised(), permanent()] {
        let story = given_under(polling(), Step::AwaitSignature).fires().fails(failure).then([
            At(Step::AwaitSignature),
            Due(TimerKind::Wait, 6 * HOUR),
            Tries(0),
        ]);
        assert!(story.saga.last_failure.is_some(), "shown while it lasts");
        let story = story.fires().answers(status_read(CallbackStatus::Other));
        assert_eq!(story.saga.last_failure, None, "and no longer");
    }
}

#[test]
fn a_poll_obeys_the_pause_that_the_service_asks_for() {
    given_under(polling(), Step::AwaitSignature)
        .fires()
        .fails(throttled().retry_after_ms(8 * HOUR))
        .then([Due(TimerKind::Wait, 8 * HOUR)]);
}

#[test]
fn a_failed_reminder_comes_again_soon_and_a_hopeless_one_with_the_next() {
    given(Step::AwaitSignature)
        .fires()
        .fails(unreachable())
        .then([Due(TimerKind::Wait, SECOND), Tries(1)])
        .fires()
        .then([Ordered("notify")])
        .fails(unreachable())
        .then([Due(TimerKind::Wait, 10 * SECOND), Tries(2)])
        .fires()
        .goes_on()
        .then([Due(TimerKind::Wait, 2 * DAY - 11 * SECOND), Tries(0)]);
    given(Step::AwaitSignature)
        .fires()
        .fails(permanent())
        .then([Due(TimerKind::Wait, 2 * DAY), Noted("reminder_failed")]);
}

#[test]
fn a_reminder_lost_in_a_crash_is_sent_again_with_the_same_tag() {
    let story = given(Step::AwaitSignature).fires();
    let before = story.order();
    let story = story.crashes().then([Ordered("notify")]);
    assert_eq!(story.order(), before);
}

#[test]
fn after_a_standstill_people_get_one_reminder_and_not_all_that_were_missed() {
    given(Step::AwaitSignature)
        .after(5 * DAY)
        .fires()
        .then([Ordered("notify")])
        .goes_on()
        .then([Due(TimerKind::Wait, 9 * DAY)]);
}

#[test]
fn after_a_standstill_the_service_is_asked_before_people_are_reminded_or_the_deadline_strikes() {
    let late = || given_under(polling(), Step::AwaitSignature).after(20 * DAY).fires();
    late()
        .then([Ordered("read_status")])
        .answers(status_read(CallbackStatus::Signed))
        .then([Ordered("fetch_signed")]);
    late()
        .answers(status_read(CallbackStatus::Other))
        .then([At(Step::AwaitSignature), NothingOrdered])
        .fires()
        .then([DeadLetter(Step::AwaitSignature, "deadline")]);
}

#[test]
fn nobody_to_remind_means_no_reminder_and_still_a_deadline() {
    let mut story = given(Step::AwaitSignature);
    story.saga.delivery.notify.clear();
    story
        .fires()
        .then([NothingOrdered, Due(TimerKind::Wait, 2 * DAY)])
        .fires()
        .then([Due(TimerKind::Wait, 11 * DAY)])
        .fires()
        .then([DeadLetter(Step::AwaitSignature, "deadline")]);
}

#[test]
fn no_reminders_and_no_polls_leave_the_deadline_alone_on_the_timer() {
    let policy = Policy { reminders_ms: vec![], poll: None, ..policy() };
    given_under(policy, Step::AwaitSignature).then([Due(TimerKind::Wait, 14 * DAY)]);
}

#[test]
fn polls_that_have_an_end_leave_the_deadline_alone_on_the_timer() {
    let policy = Policy { poll: Some(Schedule::finite([HOUR])), reminders_ms: vec![], ..policy() };
    given_under(policy, Step::AwaitSignature)
        .fires()
        .answers(status_read(CallbackStatus::Other))
        .then([Due(TimerKind::Wait, 14 * DAY - HOUR)]);
}

#[test]
fn after_the_deadline_a_person_lets_it_wait_on_with_a_fresh_clock() {
    given_parked(Step::AwaitSignature).person(retry()).then([
        At(Step::AwaitSignature),
        Due(TimerKind::Wait, DAY),
        NothingOrdered,
    ]);
}

#[test]
fn while_people_sign_there_is_nothing_to_retry_but_it_can_be_cancelled() {
    given(Step::AwaitSignature)
        .rejects(retry())
        .rejects(OperatorAction::SendAgain)
        .rejects(bind("doc-2"))
        .person(cancel())
        .then([At(Step::Cancelled), NothingOrdered]);
}

#[test]
fn an_answer_to_something_else_than_what_was_asked_is_a_fault() {
    given(Step::AwaitSignature).fires().faults(status_read(CallbackStatus::Signed));
    given_under(polling(), Step::AwaitSignature).fires().faults(super::super::event::Answer::Notified);
}

#[test]
fn polls_that_are_always_overdue_do_not_keep_the_deadline_away() {
    given_under(polling(), Step::AwaitSignature)
        .after(20 * DAY)
        .fires()
        .answers(status_read(CallbackStatus::Other))
        .after(7 * HOUR)
        .fires()
        .then([DeadLetter(Step::AwaitSignature, "deadline"), NothingOrdered]);
}
