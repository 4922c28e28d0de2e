//! Schedules, limits, credentials, leases, crashes, panics: when it comes back and when it stops.

use super::super::event::Event;
use super::super::state::{Step, TimerKind};
use super::super::transition::{Policy, look_step, step_class};
use super::super::words;
use super::fixture::{Is::*, *};
use crate::domain::{Failure, FailureClass, FailureKind};
use crate::saga::step::StepClass;

/// Steps whose effect only reads or is recognised when repeated.
const REPEATABLE: [Step; 8] = [
    Step::ReadItem,
    Step::FetchSource,
    Step::FindDocument,
    Step::FetchSigned,
    Step::ScanFolder,
    Step::FindUpload,
    Step::FindComment,
    Step::Notify,
];

#[test]
fn every_write_has_a_look_and_nothing_else_has_one() {
    for step in Step::ALL {
        let unknown = matches!(step_class(step), StepClass::Probe | StepClass::Blind);
        assert_eq!(look_step(step).is_some(), unknown, "{step:?}");
        if step.is_live() && !matches!(step, Step::AwaitSignature | Step::AwaitSigner | Step::FindSent) {
            assert_eq!(given(step).order().class(), step_class(step), "{step:?}");
        }
    }
}

#[test]
fn a_limit_is_not_an_attempt_however_often_it_is_met() {
    let mut story = given(Step::Upload);
    for _ in 0..50 {
        story = story
            .fails(throttled())
            .then([At(Step::Upload), Tries(0), Due(TimerKind::Start, 10 * SECOND)])
            .fires();
    }
    story.goes_on().then([Ordered("add_comment")]);
}

#[test]
fn the_pause_that_a_remote_asks_for_is_kept_within_reason() {
    for (asked, waits) in [(600 * SECOND, 600 * SECOND), (0, SECOND), (u64::MAX, DAY)] {
        given(Step::Upload).fails(throttled().retry_after_ms(asked)).then([Due(TimerKind::Start, waits)]);
    }
    given(Step::ReadItem)
        .fails(unreachable().retry_after_ms(30 * SECOND))
        .then([Due(TimerKind::Start, 30 * SECOND)]);
    given(Step::ReadItem).fails(unreachable().retry_after_ms(u64::MAX)).then([Due(TimerKind::Start, DAY)]);
}

#[test]
fn refused_credentials_wait_for_ever_with_growing_pauses_and_use_up_nothing() {
    let mut story = given(Step::FetchSigned);
    let mut pauses = Vec::new();
    for _ in 0..100 {
        story = story.fails(unauthorised()).then([At(Step::FetchSigned), Tries(0), NothingOrdered]);
        pauses.push(story.saga.timer.map_or(0, |t| t.due.ms_since(story.now)));
        story = story.fires();
    }
    assert_eq!((pauses[0], pauses[99]), (SECOND, HOUR));
    assert!(pauses.is_sorted(), "{pauses:?}");
    story.fails(unreachable()).then([At(Step::FetchSigned), Due(TimerKind::Start, SECOND), Tries(1)]);
}

#[test]
fn an_outage_is_waited_out_by_its_schedule_and_then_becomes_a_dead_letter_in_words() {
    let mut story = given(Step::FetchSource);
    for pause in [SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR] {
        story = story.fails(unreachable()).then([Due(TimerKind::Start, pause)]).fires();
    }
    let story = story.fails(unreachable()).then([DeadLetter(Step::FetchSource, "connect"), NothingOrdered]);
    let dead = story.saga.dead_letter.clone().expect("a dead letter");
    assert!(
        dead.reason.ru.contains("забираем файл") && dead.reason.ru.contains("Попыток: 6"),
        "{}",
        dead.reason.ru
    );
    assert!(dead.next_action.ru.contains("retry"));
    let why = words::why(&story.saga, story.now);
    assert!(why.ru.contains(&dead.reason.ru) && why.en.contains(&dead.next_action.en));
}

#[test]
fn answered_errors_have_the_few_tries_of_whoever_answers() {
    for (step, pauses) in [
        (Step::FetchSigned, &[10 * SECOND, 30 * SECOND][..]),
        (Step::ScanFolder, &[5 * SECOND, 15 * SECOND, MINUTE][..]),
    ] {
        let mut story = given(step);
        for pause in pauses {
            story = story.fails(server_error()).then([Due(TimerKind::Start, *pause)]).fires();
        }
        story.fails(server_error()).then([DeadLetter(step, "http_502")]);
    }
}

#[test]
fn the_502_at_the_end_of_an_outage_is_not_taken_for_the_last_of_many() {
    let mut story = given(Step::FetchSigned);
    for _ in 0..4 {
        story = story.fails(unreachable()).fires();
    }
    story
        .fails(server_error())
        .then([At(Step::FetchSigned), Due(TimerKind::Start, 10 * SECOND), Tries(1)])
        .fires()
        .fails(server_error())
        .fires()
        .fails(server_error())
        .then([DeadLetter(Step::FetchSigned, "http_502")]);
}

#[test]
fn an_unknown_outcome_of_a_read_is_only_a_failed_read() {
    for step in REPEATABLE {
        given(step).fails(no_answer()).then([At(step), Tries(1), Due(TimerKind::Start, SECOND)]);
    }
}

#[test]
fn a_lease_that_runs_out_counts_as_no_answer() {
    for step in REPEATABLE {
        let story = given(step).then([Due(TimerKind::Lease, 2 * MINUTE)]).fires();
        let story = story.then([At(step), Tries(1), Due(TimerKind::Start, SECOND), NothingOrdered]);
        assert_eq!(story.saga.last_failure.map(|f| f.code).as_deref(), Some("attempt_overdue"));
    }
    for (write, look) in [
        (Step::Create, Step::FindDocument),
        (Step::Upload, Step::FindUpload),
        (Step::Comment, Step::FindComment),
    ] {
        given(write).fires().then([At(look), NothingOrdered, Rounds(1), Due(TimerKind::Start, 15 * SECOND)]);
    }
}

#[test]
fn the_answer_after_the_lease_is_dropped_where_it_names_nothing() {
    let story = given(Step::FetchSource).fires();
    let late = story.saga.last_token;
    story.late(late, source_fetched(Some(FOLDER))).then([Unchanged]);
}

#[test]
fn a_crash_repeats_reads_and_notices_at_once_and_looks_for_writes() {
    for step in REPEATABLE {
        let story = given(step);
        let (order, token, rounds) = (story.order(), story.saga.last_token, story.saga.rounds);
        let story = story.crashes().then([At(step), Tries(0), Rounds(rounds)]);
        assert_eq!((story.order(), story.saga.last_token), (order, token + 1), "the same order, a new fence");
    }
    for (write, look) in [
        (Step::Create, Step::FindDocument),
        (Step::Upload, Step::FindUpload),
        (Step::Comment, Step::FindComment),
    ] {
        given(write)
            .crashes()
            .then([At(look), NothingOrdered, Noted("outcome_unknown"), Tries(0), Rounds(0)])
            .fires()
            .goes_on();
    }
}

#[test]
fn a_panic_parks_and_what_was_being_written_is_looked_for_before_it_is_repeated() {
    let waits = |s: &Step| matches!(s, Step::AwaitSignature | Step::AwaitSigner | Step::FindSent);
    for step in Step::ALL.into_iter().filter(|s| s.is_live() && !waits(s)) {
        let resumed = look_step(step).unwrap_or(step);
        let story = given(step)
            .when(Event::Panicked { text: "index out of bounds".into() })
            .then([DeadLetter(resumed, "panic"), NothingOrdered]);
        if step == Step::SendSigned {
            // nothing finds it: a person must look
            story.rejects(retry()).person(bind(DOCUMENT)).then([At(Step::Comment)]);
            continue;
        }
        story.person(retry()).then([At(resumed)]);
    }
}

#[test]
fn a_panic_over_a_finished_document_is_only_recorded() {
    for step in Step::ALL.into_iter().filter(|s| s.is_finished()) {
        given(step).when(Event::Panicked { text: "x".into() }).then([At(step), Noted("panic")]);
    }
}

#[test]
fn a_panic_over_a_dead_letter_keeps_the_step_to_go_on_with() {
    given_parked(Step::FindUpload)
        .when(Event::Panicked { text: "x".into() })
        .then([DeadLetter(Step::FindUpload, "panic")]);
}

#[test]
fn a_permanent_failure_stops_every_step_but_the_search_at_once() {
    for step in Step::ALL.into_iter().filter(|s| s.is_live()) {
        // A refused save is looked at first: the signature may be saved already.
        if matches!(step, Step::FindDocument | Step::AwaitSignature | Step::AwaitSigner | Step::SaveSignature)
        {
            continue;
        }
        // A sending that is refused needs a new signature; where its answer is waited for, nothing is under way.
        if matches!(step, Step::SendSigned | Step::FindSent) {
            continue;
        }
        given(step).fails(permanent()).then([DeadLetter(step, "http_400"), NothingOrdered]);
    }
}

#[test]
fn a_search_that_stays_unanswered_names_all_three_ways_out() {
    let story = (0..2).fold(given(Step::FindDocument), |s, _| s.fails(server_error()).fires());
    let story = story.fails(server_error()).then([DeadLetter(Step::FindDocument, "http_502")]);
    let action = story.saga.dead_letter.expect("a dead letter").next_action;
    assert!(action.ru.contains("bind") && action.en.contains("send-again"));
}

#[test]
fn jitter_moves_a_pause_within_its_bounds() {
    let policy = Policy { jitter_percent: 20, ..policy() };
    let story = given(Step::FetchSource);
    for chance in [0, 1, 399, 7_777_777, u64::MAX] {
        let event = Event::Failed { token: story.token(), failure: unreachable() };
        let next = apply(&story.saga, &event, story.now, &policy, chance).expect("a transition");
        let pause = next.saga.timer.expect("a timer").due.ms_since(story.now);
        assert!((800..=1_200).contains(&pause), "{pause}");
    }
}

#[test]
fn no_kind_of_failure_escapes_the_schedules() {
    use FailureKind::{Credentials, Garbled, Limit, Local, NoAnswer, Refused, ServerError, Unreachable};
    for kind in [Unreachable, NoAnswer, ServerError, Garbled, Refused, Limit, Credentials, Local] {
        let failure = Failure::new(FailureClass::Transient, kind, "x", crate::domain::Text::new("Р.", "R."));
        let answered = matches!(kind, ServerError | Garbled | Refused);
        let pause = if answered { 10 * SECOND } else { SECOND };
        given(Step::FetchSigned).fails(failure).then([
            At(Step::FetchSigned),
            Due(TimerKind::Start, pause),
            Tries(1),
        ]);
    }
}
