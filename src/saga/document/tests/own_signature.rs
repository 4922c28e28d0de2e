//! Our own signer signs first: links, refusals, expiry, hints, and the two signed files.

use super::super::effect::Effect;
use super::super::event::Event;
use super::super::own_signature::{Holds, LINK, OwnAnswer, OwnEffect, OwnEvent, OwnStatus};
use super::super::state::{Outcome, Step, TimerKind};
use super::fixture::*;
use crate::domain::{FailureClass, FailureKind};
use Is::{At, DeadLetter, Noted, NothingOrdered, Ordered, Unchanged};

fn hint() -> Event {
    Event::Own(OwnEvent::StatusHint)
}

fn link_asked() -> Event {
    Event::Own(OwnEvent::LinkAsked)
}

/// A unit that dies after [`UNIT_LIFE`].
fn short_lived() -> Story {
    let story = given(Step::PrepareContent);
    let answer = content_ready(story.now, Holds::Original);
    story.answers(answer).goes_on().goes_on()
}

#[test]
fn the_signer_gets_a_link_and_the_timeline_says_whose_turn_it_is() {
    let story = given(Step::PrepareContent).goes_on().then([At(Step::Comment), Ordered("add_comment")]);
    let Effect::AddComment { text, files, .. } = story.order() else { panic!("a comment") };
    assert!(text.contains("ждёт нашей подписи") && files.is_empty(), "{text}");
    let story = story.goes_on().then([Ordered("tell_signer")]);
    let Effect::Own(OwnEffect::TellSigner { user_id, text, unit, signer, .. }) = story.order() else {
        panic!("the signer is told")
    };
    assert_eq!((user_id, unit.number, signer.as_str()), (17, 1, "director"));
    assert!(text.contains(LINK), "{text}");
    let story = story.goes_on().then([At(Step::AwaitSigner), NothingOrdered]).signs().goes_on().goes_on();
    let Effect::AddComment { text, .. } = story.order() else { panic!("a comment") };
    assert!(text.contains("ждёт контрагента (БИН 123456789012)"), "{text}");
    story.goes_on().then([At(Step::AwaitSignature), NothingOrdered]);
}

#[test]
fn a_document_without_a_counterparty_is_stopped_before_anything_is_sent() {
    let mut nobody = own_delivery();
    if let Some(signer) = nobody.signer.as_mut() {
        signer.counterparty.bin = "12345".into();
    }
    let story = Story::own(policy()).answers(source_fetched_for(nobody, Some(FOLDER)));
    let story = story.then([DeadLetter(Step::FetchSource, "no_counterparty")]);
    // The item was mended: it is read again.
    let story = story.person(retry()).then([Ordered("fetch_source")]);
    story.answers(source_fetched_for(own_delivery(), Some(FOLDER))).then([Ordered("upload_blob")]);
}

#[test]
fn a_comment_in_between_that_cannot_be_written_holds_up_nothing() {
    given(Step::PrepareContent)
        .goes_on()
        .fails(permanent())
        .then([Noted("comment_left_out"), Ordered("tell_signer")]);
    given(Step::SaveSignature)
        .goes_on()
        .then([At(Step::Comment)])
        .fails(permanent())
        .then([Noted("comment_left_out"), At(Step::AwaitSignature)]);
}

#[test]
fn the_first_signature_stands_and_its_repeat_is_harmless() {
    let story = given(Step::AwaitSigner).signs().then([Ordered("send_signature"), Noted("signature_given")]);
    let story = story.when(signature(1, 40)).then([Unchanged]);
    assert!(story.tries(&signature(1, 41)).is_err());
    let story = story.goes_on().goes_on();
    assert!(story.tries(&signature(1, 41)).is_err());
    story.when(signature(1, 40)).then([Unchanged]);
}

#[test]
fn a_signature_while_the_status_is_read_or_the_notice_is_on_its_way_is_taken() {
    given(Step::AwaitSigner)
        .fires()
        .then([Ordered("read_own_status")])
        .signs()
        .then([Ordered("send_signature")]);
    given(Step::TellSigner).signs().then([Ordered("send_signature")]);
    given(Step::PrepareContent).goes_on().signs().then([Ordered("send_signature")]);
    given_parked(Step::AwaitSigner).when(signature(1, 40)).then([Ordered("send_signature")]);
}

#[test]
fn nobody_is_asked_to_sign_what_we_did_not_send() {
    let story = given(Step::PrepareContent);
    let other = content_ready(story.now, Holds::SomethingElse);
    story.answers(other).then([DeadLetter(Step::PrepareContent, "content_differs")]);
    let story = given(Step::PrepareContent);
    let unreadable = content_ready(story.now, Holds::Unreadable);
    story.answers(unreadable).then([Noted("content_unchecked"), At(Step::Comment)]);
}

#[test]
fn an_expired_link_takes_no_signature_and_a_new_one_kills_it() {
    let story = short_lived().after(UNIT_LIFE);
    assert!(story.tries(&signature(1, 40)).is_err(), "expired");
    let story = story.when(link_asked()).then([Ordered("prepare_content"), Noted("link_asked")]);
    let answer = content_ready(story.now, Holds::Original);
    let story = story.answers(answer).then([Ordered("tell_signer")]).goes_on().then([At(Step::AwaitSigner)]);
    assert!(story.tries(&signature(1, 40)).is_err(), "the old link is dead");
    story.when(signature(2, 40)).then([Ordered("send_signature")]);
}

#[test]
fn a_new_link_for_a_signer_without_a_user_is_left_to_the_operator_and_the_history_says_so() {
    let mut story = short_lived();
    let signer = story.saga.delivery.signer.as_deref_mut().expect("one of us signs");
    signer.user = None;
    let story = story.after(UNIT_LIFE);
    let story = story.when(link_asked()).then([Ordered("prepare_content"), Noted("link_wanted")]);
    let line = &story.last.history.last().expect("a line").text;
    assert!(line.ru.contains("sign-link") && line.en.contains("sign-link"), "{line:?}");
    let answer = content_ready(story.now, Holds::Original);
    story.answers(answer).then([At(Step::AwaitSigner)]);
}

#[test]
fn a_link_is_not_made_anew_every_second() {
    let story = short_lived();
    story.when(link_asked()).then([Unchanged]);
}

#[test]
fn content_that_is_made_with_that_of_others_is_told_to_the_history_and_changes_nothing_else() {
    let together = || Event::Own(OwnEvent::MadeTogether { others: 39 });
    let story = given_own(Step::PrepareContent);
    let stood = (story.saga.step, story.saga.timer, story.saga.work);
    let story = story.when(together()).then([Noted("made_together"), NothingOrdered]);
    let line = story.last.history.last().expect("a line").text.clone();
    assert!(line.ru.contains("39") && line.en.contains("39 more"), "{line:?}");
    assert_eq!((story.saga.step, story.saga.timer, story.saga.work), stood, "the attempt goes on");
    let answer = content_ready(story.now, Holds::Original);
    story.answers(answer).then([Noted("content_ready")]);
    for step in [Step::SetRoute, Step::AwaitSigner, Step::SendSignature] {
        given_own(step).when(together()).then([Unchanged]);
    }
}

#[test]
fn a_link_is_given_to_the_operator_only_while_it_can_be_used_and_the_history_says_who_asked() {
    let given_to = |who: &str| Event::Own(OwnEvent::LinkGiven { asked_by: who.into() });
    let story = short_lived();
    let stood = (story.saga.step, story.saga.timer);
    let story = story.when(given_to("anna [b]")).then([Noted("link_given"), NothingOrdered]);
    let line = story.last.history.last().expect("a line").text.clone();
    assert!(line.ru.contains("anna ［b］") && line.en.contains("anna ［b］"), "{line:?}");
    assert_eq!((story.saga.step, story.saga.timer), stood);
    let story = story.after(UNIT_LIFE);
    assert!(story.tries(&given_to("anna")).is_err(), "the content has expired");
    for step in [Step::SetRoute, Step::SendSignature, Step::FetchSigned] {
        assert!(given_own(step).tries(&given_to("anna")).is_err(), "{step:?}");
    }
    assert!(awaits_counterparty().tries(&given_to("anna")).is_err());
}

#[test]
fn a_reminder_brings_a_link_that_works() {
    let mut story = short_lived().after(3 * DAY);
    story = story.fires().then([Ordered("read_own_status")]).answers(own_status(OwnStatus::NotSent));
    story.fires().then([Ordered("prepare_content")]);
}

#[test]
fn who_does_not_sign_is_reported_and_in_the_end_a_person_decides() {
    let mut story = given(Step::AwaitSigner);
    let mut seen = Vec::new();
    for _ in 0..400 {
        if story.saga.step == Step::Parked {
            break;
        }
        story = match story.saga.work {
            super::super::state::Work::Idle => story.fires(),
            super::super::state::Work::InFlight { .. } => match story.order() {
                Effect::Own(OwnEffect::ReadStatus { .. }) => story.answers(own_status(OwnStatus::NotSent)),
                _ => story.goes_on(),
            },
        };
        seen.extend(story.last.history.iter().map(|line| line.what.clone()));
    }
    story.then([DeadLetter(Step::AwaitSigner, "signer_deadline")]);
    let count = |what: &str| seen.iter().filter(|seen| *seen == what).count();
    assert_eq!((count("signer_told"), count("escalated")), (2, 1), "{seen:?}");
}

#[test]
fn a_document_signed_in_the_cabinet_goes_on_without_our_link() {
    given(Step::AwaitSigner)
        .fires()
        .answers(own_status(OwnStatus::InWork))
        .then([At(Step::AwaitSignature), Noted("signed_elsewhere")])
        .fires()
        .answers(own_status(OwnStatus::Signed))
        .then([Ordered("fetch_print_form"), Is::Outcome(Outcome::Signed)]);
    given(Step::AwaitSigner)
        .fires()
        .answers(own_status(OwnStatus::Signed))
        .then([Ordered("fetch_print_form")]);
}

#[test]
fn a_save_of_unknown_outcome_is_looked_for_before_it_is_repeated_with_the_same_ticket() {
    let story = given(Step::SaveSignature).fails(no_answer()).then([At(Step::FindSave)]).fires();
    let story = story.answers(own_status(OwnStatus::NotSent)).then([At(Step::FindSave)]).fires();
    let story = story.answers(own_status(OwnStatus::NotSent)).then([Ordered("save_signature")]);
    story.fails(no_answer()).fires().answers(own_status(OwnStatus::InWork)).then([Noted("signature_saved")]);
}

#[test]
fn a_route_of_unknown_outcome_is_looked_for_after_a_pause_and_set_again_only_when_two_looks_found_none() {
    let looks = || given(Step::SetRoute).crashes().then([At(Step::FindRoute), NothingOrdered]);
    looks().then([Is::Due(TimerKind::Start, 15 * SECOND), Noted("outcome_unknown")]);
    looks().fires().then([Ordered("find_route")]).goes_on().then([Ordered("prepare_content")]);
    let story = given(Step::SetRoute).fails(no_answer()).then([At(Step::FindRoute), Is::Rounds(1)]);
    let story = story.fires().finds_nothing().then([At(Step::FindRoute), NothingOrdered]);
    let story = story.then([Is::Due(TimerKind::Start, 15 * SECOND)]).fires().finds_nothing();
    let story = story.then([Ordered("set_route"), Noted("not_found")]);
    // That it stays unknown is for a person in the end.
    let story = story.fails(no_answer()).fires().finds_nothing().fires().finds_nothing();
    let story = story.then([Ordered("set_route")]).fails(no_answer()).fires().finds_nothing().fires();
    story.finds_nothing().then([DeadLetter(Step::FindRoute, "unknown_outcome")]);
}

#[test]
fn what_is_made_anew_each_time_is_not_repeated_while_the_first_request_may_be_at_work() {
    for step in [Step::UploadBlob, Step::PrepareContent, Step::SendSignature] {
        let settled = [At(step), NothingOrdered, Is::Due(TimerKind::Start, 15 * SECOND)];
        given(step).crashes().then(settled);
        given(step).fails(server_error()).then([At(step), Is::Due(TimerKind::Start, 15 * SECOND)]);
        given(step).fails(unreachable()).then([Is::Due(TimerKind::Start, SECOND)]);
    }
}

#[test]
fn a_refused_save_needs_a_new_signature_and_a_repeat_of_a_done_one_does_not() {
    given(Step::SaveSignature)
        .fails(permanent())
        .then([Ordered("read_own_status"), Noted("save_refused")])
        .answers(own_status(OwnStatus::InWork))
        .then([Noted("signature_saved")]);
    let mut story = given(Step::SaveSignature);
    for round in 1..=3_u32 {
        story = story.fails(permanent()).answers(own_status(OwnStatus::NotSent)).then([Noted("sign_anew")]);
        if round < 3 {
            let unit = round + 1;
            story = story.goes_on().goes_on().when(signature(unit, 50)).goes_on();
            story = story.then([Ordered("save_signature")]);
        }
    }
    story.then([DeadLetter(Step::PrepareContent, "signature_refused")]);
}

#[test]
fn an_unpaid_account_asks_a_person_and_not_the_signer() {
    let unpaid = failure(FailureClass::Permanent, FailureKind::Refused, "billing_error");
    given(Step::SaveSignature)
        .fails(unpaid)
        .then([DeadLetter(Step::SaveSignature, "billing_error")])
        .person(retry())
        .then([Ordered("save_signature")]);
}

#[test]
fn a_hint_makes_the_status_be_read_and_one_during_the_read_makes_it_be_read_again() {
    let story = awaits_counterparty().when(hint()).then([Ordered("read_own_status")]);
    let story = story.when(hint()).answers(own_status(OwnStatus::InWork)).then([Ordered("read_own_status")]);
    story.answers(own_status(OwnStatus::InWork)).then([NothingOrdered, At(Step::AwaitSignature)]);
}

#[test]
fn a_refusal_tells_who_must_know_why() {
    let refused = own_status(OwnStatus::Refused(Some("не та [b]цена[/b]".into())));
    let story = awaits_counterparty().fires().answers(refused).then([Ordered("add_comment")]);
    let Effect::AddComment { text, .. } = story.order() else { panic!("a comment") };
    assert!(text.contains("Причина: не та ［b］цена［/b］."), "{text}");
}

#[test]
fn a_withdrawn_document_is_over_and_an_unknown_status_asks_a_person() {
    awaits_counterparty()
        .fires()
        .answers(own_status(OwnStatus::Withdrawn))
        .then([At(Step::Cancelled), Noted("withdrawn")]);
    awaits_counterparty()
        .fires()
        .answers(own_status(OwnStatus::Unclear))
        .then([DeadLetter(Step::AwaitSignature, "status_unclear")])
        .person(retry())
        .then([At(Step::AwaitSignature)]);
}

#[test]
fn without_a_print_form_the_archive_is_the_signed_file_and_with_neither_a_person_is_asked() {
    let none = || super::super::event::Answer::Own(OwnAnswer::PrintForm(None));
    let no_archive = || super::super::event::Answer::Own(OwnAnswer::Archive(None));
    let story = given_own(Step::FetchSigned).answers(none()).then([Ordered("fetch_archive")]).goes_on();
    let Effect::ScanFolder { wanted_name, .. } = story.order() else { panic!("the folder") };
    assert_eq!(wanted_name, "contract_signed.zip");
    let story = story.goes_on().goes_on().then([At(Step::Comment)]);
    assert!(story.saga.delivered.is_some());
    given_own(Step::FetchSigned)
        .answers(none())
        .answers(no_archive())
        .then([DeadLetter(Step::FetchSigned, "no_signed_file")]);
    given_own(Step::FetchArchive).answers(no_archive()).then([Ordered("scan_folder"), Noted("no_archive")]);
}

#[test]
fn cancelling_says_that_the_service_has_no_recall() {
    let story = awaits_counterparty().person(cancel()).then([At(Step::Cancelled)]);
    let text = &story.last.history.last().expect("a line").text;
    assert!(text.ru.contains("В iDocs документ остаётся"), "{text:?}");
}

#[test]
fn a_notice_of_another_service_moves_nothing() {
    use super::super::event::CallbackStatus;
    awaits_counterparty()
        .hears(CallbackStatus::Signed)
        .then([At(Step::AwaitSignature), Noted("callback_unexpected")]);
}

#[test]
fn the_wait_for_the_counterparty_is_asked_by_its_own_schedule() {
    awaits_counterparty().then([Is::Due(TimerKind::Wait, HOUR)]);
}

fn awaits_counterparty() -> Story {
    Story::own(policy()).to(Step::AwaitSignature)
}
