//! The create: lost answers, early and repeated callbacks, 5xx with and without a search. One document, ever.

use super::super::event::{CallbackStatus, Event};
use super::super::state::{Claim, Outcome, Step, TimerKind};
use super::fixture::{Is::*, *};
use crate::domain::AttemptToken;

// ---- the answer is lost ------------------------------------------------------------------------------------

#[test]
fn a_lost_create_answer_is_searched_for_after_a_pause_and_the_document_adopted() {
    given(Step::Create)
        .fails(no_answer())
        .then([At(Step::FindDocument), NothingOrdered, Due(TimerKind::Start, 15 * SECOND), Rounds(1)])
        .fires()
        .then([Ordered("find_document"), Due(TimerKind::Lease, 2 * MINUTE)])
        .answers(found(CallbackStatus::Other))
        .then([
            At(Step::AwaitSignature),
            NothingOrdered,
            Noted("bound"),
            Took(Claim::ProviderDocument(DOCUMENT.into())),
            Rounds(0),
        ]);
}

#[test]
fn a_document_found_already_signed_is_fetched_at_once() {
    given(Step::FindDocument)
        .answers(found(CallbackStatus::Signed))
        .then([Ordered("fetch_signed"), Outcome(Outcome::Signed)]);
}

#[test]
fn a_document_found_refused_is_announced_at_once() {
    given(Step::FindDocument)
        .answers(found(CallbackStatus::Refused))
        .then([Ordered("add_comment"), Outcome(Outcome::Refused)]);
}

#[test]
fn a_create_is_repeated_only_after_the_search_found_nothing_as_often_as_it_must() {
    let story = given(Step::FindDocument)
        .finds_nothing()
        .then([At(Step::FindDocument), NothingOrdered, Due(TimerKind::Start, 15 * SECOND)])
        .fires()
        .finds_nothing()
        .then([Ordered("create_document"), Noted("not_found"), Rounds(1)]);
    let creates = story.orders.iter().filter(|o| **o == "create_document").count();
    assert_eq!(creates, 2);
    story.goes_on().then([At(Step::AwaitSignature)]);
}

#[test]
fn a_create_that_vanishes_round_after_round_ends_with_a_person() {
    let mut story = given(Step::Create);
    for round in 1..=3 {
        story =
            story.fails(no_answer()).then([Rounds(round)]).fires().finds_nothing().fires().finds_nothing();
    }
    let story = story.then([DeadLetter(Step::FindDocument, "unknown_outcome"), NothingOrdered]);
    assert_eq!(story.orders.iter().filter(|o| **o == "create_document").count(), 3);
    story.person(retry()).then([Ordered("find_document"), Rounds(0)]);
}

#[test]
fn without_a_search_the_callback_binds_the_document() {
    given_under(unsearchable(), Step::Create)
        .fails(no_answer())
        .then([At(Step::FindDocument), NothingOrdered, Due(TimerKind::Grace, HOUR)])
        .after(20 * MINUTE)
        .hears(CallbackStatus::Signed)
        .then([Ordered("fetch_signed"), Noted("bound"), Took(Claim::ProviderDocument(DOCUMENT.into()))]);
}

#[test]
fn without_a_search_and_a_callback_a_person_is_asked_and_nothing_is_sent_by_itself() {
    let story = given_under(unsearchable(), Step::Create)
        .fails(no_answer())
        .fires()
        .then([DeadLetter(Step::FindDocument, "create_unknown"), NothingOrdered]);
    let dead = story.saga.dead_letter.clone().expect("a dead letter");
    assert!(dead.next_action.ru.contains("send-again") && dead.next_action.ru.contains("bind"));
    assert_eq!(story.orders.iter().filter(|o| **o == "create_document").count(), 1);
    story.rejects(retry());
}

#[test]
fn after_the_grace_a_person_may_send_it_again() {
    given_under(unsearchable(), Step::Create)
        .fails(no_answer())
        .fires()
        .person(super::super::event::OperatorAction::SendAgain)
        .then([Ordered("create_document"), Noted("sent_again"), Rounds(0)])
        .goes_on()
        .then([At(Step::AwaitSignature)]);
}

#[test]
fn after_the_grace_a_person_may_bind_the_document_that_exists() {
    given_under(unsearchable(), Step::Create)
        .fails(no_answer())
        .fires()
        .person(bind("  doc-9 "))
        .then([
            At(Step::AwaitSignature),
            Took(Claim::ProviderDocument("doc-9".into())),
            Noted("bound_by_hand"),
        ])
        .hears_of("doc-9", None, CallbackStatus::Signed)
        .then([Ordered("fetch_signed")]);
}

#[test]
fn after_the_grace_a_late_callback_still_heals_the_dead_letter() {
    given_under(unsearchable(), Step::Create)
        .fails(no_answer())
        .fires()
        .after(3 * DAY)
        .hears(CallbackStatus::Refused)
        .then([Ordered("add_comment"), Outcome(Outcome::Refused)]);
}

#[test]
fn a_search_that_is_refused_leaves_the_grace_from_the_beginning_of_the_doubt() {
    given(Step::FindDocument)
        .after(10 * MINUTE)
        .fails(permanent())
        .then([At(Step::FindDocument), Due(TimerKind::Grace, 50 * MINUTE - 15 * SECOND)])
        .fires()
        .then([DeadLetter(Step::FindDocument, "create_unknown")]);
}

#[test]
fn the_answer_to_a_create_given_up_as_overdue_is_still_worth_its_id() {
    given(Step::Create)
        .fires()
        .then([At(Step::FindDocument), Noted("outcome_unknown")])
        .late(3, created(DOCUMENT))
        .then([At(Step::AwaitSignature), Noted("bound"), NothingOrdered]);
}

#[test]
fn the_answer_to_an_overdue_create_heals_even_the_dead_letter() {
    given_under(unsearchable(), Step::Create)
        .fires()
        .fires()
        .then([DeadLetter(Step::FindDocument, "create_unknown")])
        .late(3, created(DOCUMENT))
        .then([At(Step::AwaitSignature)]);
}

#[test]
fn a_made_up_attempt_number_binds_nothing() {
    given(Step::FindDocument)
        .late(99, created("doc-x"))
        .then([Unchanged])
        .late(0, created("doc-x"))
        .then([Unchanged]);
}

// ---- callbacks ---------------------------------------------------------------------------------------------

#[test]
fn a_callback_before_the_create_answer_binds_and_the_answer_then_changes_nothing() {
    given(Step::Create)
        .hears(CallbackStatus::Other)
        .then([At(Step::AwaitSignature), Noted("bound"), NothingOrdered])
        .late(3, created(DOCUMENT))
        .then([Unchanged]);
}

#[test]
fn a_signature_before_the_create_answer_goes_straight_to_the_signed_file() {
    given(Step::Create)
        .hears(CallbackStatus::Signed)
        .then([Ordered("fetch_signed"), Outcome(Outcome::Signed)])
        .late(3, created(DOCUMENT))
        .then([Unchanged])
        .goes_on()
        .then([Ordered("scan_folder")]);
}

#[test]
fn a_create_answer_with_another_id_than_the_callback_is_shown_and_not_applied() {
    given(Step::Create).hears(CallbackStatus::Other).late(3, created("doc-2")).then([
        At(Step::AwaitSignature),
        Noted("second_document"),
        NothingOrdered,
    ]);
}

#[test]
fn three_equal_callbacks_have_one_effect() {
    let story = given(Step::AwaitSignature)
        .hears(CallbackStatus::Signed)
        .then([Ordered("fetch_signed")])
        .hears(CallbackStatus::Signed)
        .then([Unchanged])
        .hears(CallbackStatus::Signed)
        .then([Unchanged]);
    assert_eq!(story.orders.iter().filter(|o| **o == "fetch_signed").count(), 1);
}

#[test]
fn rejected_and_declined_are_one_refusal() {
    let story = given(Step::AwaitSignature).hears(CallbackStatus::Refused).then([Ordered("add_comment")]);
    story
        .when(Event::CallbackArrived {
            document_id: DOCUMENT.into(),
            external_id: None,
            status: CallbackStatus::Refused,
            raw_status: "declined".into(),
        })
        .then([Unchanged]);
}

#[test]
fn a_callback_without_our_id_is_known_by_the_documents_id() {
    given(Step::AwaitSignature)
        .hears_of(DOCUMENT, None, CallbackStatus::Signed)
        .then([Ordered("fetch_signed")]);
}

#[test]
fn a_callback_without_our_id_binds_nothing() {
    given(Step::FindDocument).hears_of("doc-7", None, CallbackStatus::Signed).then([
        At(Step::FindDocument),
        Noted("callback_unexpected"),
        Outcome(Outcome::Open),
    ]);
}

#[test]
fn a_callback_with_anothers_external_id_is_recorded_and_not_applied() {
    for id in ["b24-main-deal-501-9001-89abcdeF", "", "b24-main-deal-501-9001-89abcdef "] {
        given(Step::AwaitSignature).hears_of(DOCUMENT, Some(id.into()), CallbackStatus::Signed).then([
            At(Step::AwaitSignature),
            Noted("callback_foreign"),
            NothingOrdered,
            Outcome(Outcome::Open),
        ]);
    }
}

#[test]
fn a_second_document_under_our_id_is_shown_and_not_applied() {
    let story = given(Step::AwaitSignature);
    let ours = Some(story.saga.external_id.clone());
    story.hears_of("doc-2", ours, CallbackStatus::Signed).then([
        At(Step::AwaitSignature),
        Noted("second_document"),
        NothingOrdered,
        Outcome(Outcome::Open),
    ]);
}

#[test]
fn a_word_in_between_is_recorded_once_and_moves_nothing() {
    let story = given(Step::AwaitSignature);
    let timer = story.saga.timer;
    let story = story
        .after(HOUR)
        .hears(CallbackStatus::Other)
        .then([At(Step::AwaitSignature), Noted("status"), NothingOrdered])
        .hears(CallbackStatus::Other)
        .then([Unchanged]);
    assert_eq!(story.saga.timer, timer, "the clockwork goes on as it was");
}

#[test]
fn the_first_terminal_state_wins_in_either_order() {
    use CallbackStatus::{Refused, Signed};
    for (first, second, outcome) in [(Signed, Refused, Outcome::Signed), (Refused, Signed, Outcome::Refused)]
    {
        let story = given(Step::AwaitSignature).hears(first);
        let (step, work) = (story.saga.step, story.saga.work);
        let story =
            story.hears(second).then([Noted("callback_conflict"), NothingOrdered, Is::Outcome(outcome)]);
        assert_eq!((story.saga.step, story.saga.work), (step, work));
    }
}

#[test]
fn a_contradiction_after_the_end_is_shown_and_not_acted_on() {
    given(Step::Delivered).hears(CallbackStatus::Refused).then([
        At(Step::Delivered),
        Noted("callback_conflict"),
        NothingOrdered,
    ]);
    given(Step::Refused).hears(CallbackStatus::Signed).then([
        At(Step::Refused),
        Noted("callback_conflict"),
        NothingOrdered,
    ]);
}

#[test]
fn a_late_word_in_between_does_not_replace_the_final_one() {
    let story = given(Step::FetchSigned).hears(CallbackStatus::Other).then([Noted("status_late")]);
    assert_eq!(story.saga.provider_status.as_deref(), Some("signed"));
}

#[test]
fn a_callback_while_parked_goes_on_where_nothing_final_was_known() {
    for from in [Step::Create, Step::FindDocument, Step::AwaitSignature] {
        given_parked(from).hears(CallbackStatus::Signed).then([Ordered("fetch_signed")]);
        given_parked(from).hears(CallbackStatus::Refused).then([Ordered("add_comment")]);
    }
}

#[test]
fn a_callback_while_parked_after_the_final_word_leaves_the_dead_letter_alone() {
    for from in [
        Step::FetchSigned,
        Step::ScanFolder,
        Step::Upload,
        Step::FindUpload,
        Step::Comment,
        Step::FindComment,
        Step::Notify,
    ] {
        given_parked(from)
            .hears(CallbackStatus::Signed)
            .then([DeadLetter(from, "http_400"), Unchanged])
            .hears(CallbackStatus::Refused)
            .then([DeadLetter(from, "http_400"), Noted("callback_conflict"), NothingOrdered]);
    }
}

#[test]
fn a_callback_while_parked_before_the_create_is_recorded_only() {
    for from in [Step::ReadItem, Step::FetchSource] {
        given_parked(from).hears(CallbackStatus::Signed).then([
            DeadLetter(from, "http_400"),
            Noted("callback_unexpected"),
            NothingOrdered,
        ]);
    }
}

#[test]
fn a_word_in_between_does_not_lift_the_dead_letter_of_the_deadline() {
    given_parked(Step::AwaitSignature).hears(CallbackStatus::Other).then([
        DeadLetter(Step::AwaitSignature, "deadline"),
        Noted("status"),
        NothingOrdered,
    ]);
}

#[test]
fn a_callback_after_cancel_is_recorded_and_fetches_nothing() {
    given(Step::Cancelled).hears(CallbackStatus::Signed).then([
        At(Step::Cancelled),
        Noted("callback_unexpected"),
        NothingOrdered,
    ]);
}

#[test]
fn a_create_that_succeeds_after_cancel_is_named_so_that_a_person_finds_it() {
    given(Step::Create)
        .person(cancel())
        .then([At(Step::Cancelled), Noted("cancelled")])
        .late(3, created(DOCUMENT))
        .then([
            At(Step::Cancelled),
            Noted("created_late"),
            Took(Claim::ProviderDocument(DOCUMENT.into())),
            NothingOrdered,
        ]);
}

#[test]
fn an_id_that_belongs_to_another_document_stops_for_a_person_and_sends_nothing_twice() {
    let taken = Event::ClaimTaken { claim: Claim::ProviderDocument(DOCUMENT.into()), by: other_saga() };
    given_under(unsearchable(), Step::Create)
        .when(taken)
        .then([DeadLetter(Step::FindDocument, "identity_conflict"), NothingOrdered])
        .rejects(retry());
}

// ---- 5xx, limits, refusals ---------------------------------------------------------------------------------

#[test]
fn a_create_answered_with_5xx_is_searched_for_before_it_is_repeated() {
    given(Step::Create)
        .fails(server_error())
        .then([At(Step::FindDocument), Due(TimerKind::Start, 15 * SECOND)])
        .fires()
        .then([Ordered("find_document")]);
}

#[test]
fn a_create_answered_with_5xx_without_a_search_waits_for_its_callback() {
    given_under(unsearchable(), Step::Create).fails(server_error()).then([
        At(Step::FindDocument),
        Due(TimerKind::Grace, HOUR),
        NothingOrdered,
    ]);
}

#[test]
fn the_dangerous_switch_repeats_three_times_as_the_guide_says_then_asks() {
    let story = given_under(dangerous(), Step::Create)
        .fails(server_error())
        .then([At(Step::Create), Due(TimerKind::Start, 10 * SECOND), Tries(1)])
        .fires()
        .fails(server_error())
        .then([At(Step::Create), Due(TimerKind::Start, 30 * SECOND), Tries(2)])
        .fires()
        .fails(server_error())
        .then([DeadLetter(Step::Create, "http_502"), NothingOrdered]);
    assert_eq!(story.orders.iter().filter(|o| **o == "create_document").count(), 3);
    let dead = story.saga.dead_letter.expect("a dead letter");
    assert!(dead.reason.ru.contains("Попыток: 3"), "{}", dead.reason.ru);
    assert_eq!(dead.answer.as_deref(), Some("<html>"));
}

#[test]
fn the_dangerous_switch_covers_5xx_and_nothing_else() {
    given_under(dangerous(), Step::Create)
        .fails(no_answer())
        .then([At(Step::FindDocument), Due(TimerKind::Grace, HOUR)]);
}

#[test]
fn where_the_service_can_be_searched_the_dangerous_switch_is_not_needed_and_not_used() {
    let policy = super::super::transition::Policy { search_available: true, ..dangerous() };
    given_under(policy, Step::Create).fails(server_error()).then([At(Step::FindDocument)]);
}

#[test]
fn a_create_that_was_certainly_not_executed_is_simply_repeated() {
    given(Step::Create)
        .fails(unreachable())
        .then([At(Step::Create), Due(TimerKind::Start, SECOND), Tries(1), Rounds(0)])
        .fires()
        .then([Ordered("create_document")]);
}

#[test]
fn a_create_refused_with_4xx_stops_at_once_with_the_answer_in_the_letter() {
    let story = given(Step::Create).fails(permanent()).then([DeadLetter(Step::Create, "http_400")]);
    assert_eq!(story.saga.dead_letter.and_then(|d| d.answer).as_deref(), Some("<html>"));
}

#[test]
fn a_crash_during_the_create_is_looked_for_and_not_counted() {
    given(Step::Create).crashes().then([
        At(Step::FindDocument),
        Rounds(0),
        Tries(0),
        Due(TimerKind::Start, 15 * SECOND),
    ]);
}

#[test]
fn an_attempt_lost_twice_is_lost_once() {
    let token = AttemptToken(3);
    given(Step::Create).crashes().when(Event::AttemptLost { token }).then([Unchanged]);
}

#[test]
fn after_sending_again_the_first_id_that_is_heard_wins_and_the_double_is_shown() {
    given_under(unsearchable(), Step::Create)
        .fails(no_answer())
        .fires()
        .person(super::super::event::OperatorAction::SendAgain)
        .late(3, created(DOCUMENT))
        .then([At(Step::AwaitSignature), Noted("bound")])
        .late(4, created("doc-2"))
        .then([At(Step::AwaitSignature), Noted("second_document"), NothingOrdered]);
}
