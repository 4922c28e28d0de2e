//! Documents that go to a service without drafts, file and signature together: nothing is asked before the signature, the
//! one blind call is never repeated by itself, and the document's id comes later.

use super::super::effect::Effect;
use super::super::event::{Answer, Event, OperatorAction};
use super::super::own_signature::{OwnAnswer, OwnEffect, OwnEvent, OwnStatus, Process};
use super::super::state::{Outcome, Step, TimerKind};
use super::super::transition::{Policy, own_document_claim, step_class};
use super::super::words;
use super::fixture::*;
use crate::domain::{FailureClass, FailureKind, Language};
use crate::saga::step::StepClass;
use Is::{At, DeadLetter, Due, Noted, NothingOrdered, Ordered, Took, Unchanged};

fn running() -> Answer {
    Answer::Own(OwnAnswer::ProcessRead(Process::Running))
}

fn sent(key: &str) -> Answer {
    Answer::Own(OwnAnswer::Sent { process: key.into() })
}

fn became(id: &str) -> Answer {
    Answer::Own(OwnAnswer::ProcessRead(Process::Document { document_id: id.into() }))
}

#[test]
fn the_signer_signs_the_file_itself_and_nothing_is_asked_over_there_before() {
    let story = given_whole(Step::AwaitSigner);
    assert_eq!(story.orders, ["fetch_source", "add_comment", "tell_signer"]);
    let (own, file) = (story.saga.own.clone().expect("own"), story.saga.file.clone().expect("a file"));
    let unit = own.unit.clone().expect("a content");
    assert_eq!(unit.content, file.bytes);
    assert!(unit.ticket.is_none() && own.is_sent_whole());
    assert_eq!(story.saga.provider_document, None);
    // There is nothing to ask about: the first thing that happens is a reminder.
    story.then([Due(TimerKind::Wait, DAY)]).fires().then([Ordered("tell_signer")]);
}

#[test]
fn one_call_sends_everything_and_the_document_is_asked_for_with_growing_pauses() {
    let story = given_whole(Step::SendSigned).then([Ordered("send_signed"), Noted("signature_given")]);
    let Effect::Own(OwnEffect::SendSigned(order)) = story.order() else { panic!("a sending") };
    assert_eq!((order.cms, Some(order.file.bytes)), (spool(40), story.saga.file.as_ref().map(|f| f.bytes)));
    assert_eq!((order.group.as_str(), order.employee_id.as_str()), ("Legal", "employee-1"));
    let story = story.goes_on().then([At(Step::AwaitProcess), Noted("sent_whole"), NothingOrdered]);
    let story = story.then([Due(TimerKind::Start, 2 * SECOND)]).fires().then([Ordered("read_process")]);
    let story = story.answers(running()).then([Due(TimerKind::Start, 10 * SECOND), At(Step::AwaitProcess)]);
    let story = story.fires().answers(running()).then([Due(TimerKind::Start, MINUTE)]).fires();
    let story = story.answers(became(DOCUMENT)).then([Took(own_document_claim(DOCUMENT)), At(Step::Comment)]);
    let story = story.goes_on().then([At(Step::AwaitSignature), NothingOrdered]);
    let story = story.fires().answers(own_status(OwnStatus::Signed));
    story.then([Ordered("fetch_print_form"), Is::Outcome(Outcome::Signed)]);
}

#[test]
fn a_sending_that_may_have_arrived_is_never_repeated_by_itself() {
    assert_eq!(step_class(Step::SendSigned), StepClass::Blind);
    let stories = [
        given_whole(Step::SendSigned).fails(no_answer()),
        given_whole(Step::SendSigned).fails(server_error()),
        given_whole(Step::SendSigned).crashes(),
        // a lease that ran out
        given_whole(Step::SendSigned).fires(),
    ];
    for story in stories {
        let story = story.then([At(Step::FindSent), Noted("outcome_unknown"), NothingOrdered]);
        let story = story.then([Due(TimerKind::Grace, 15 * SECOND)]).fires();
        let story = story.then([DeadLetter(Step::FindSent, "create_unknown"), NothingOrdered]);
        assert!(story.orders.iter().filter(|name| **name == "send_signed").count() == 1);
        let dead = story.saga.dead_letter.clone().expect("a dead letter");
        let number = &story.saga.own.as_ref().expect("own").number;
        assert!(dead.next_action.en.contains(number.as_str()) && dead.next_action.ru.contains("bind"));
        story.rejects(retry());
    }
}

#[test]
fn what_certainly_did_not_arrive_is_sent_again_with_the_same_signature() {
    let sending = || given_whole(Step::SendSigned);
    for story in
        [sending().fails(unreachable()), sending().fails(throttled()), sending().fails(unauthorised())]
    {
        let story = story.then([At(Step::SendSigned), NothingOrdered]).fires().then([Ordered("send_signed")]);
        let Effect::Own(OwnEffect::SendSigned(order)) = story.order() else { panic!("a sending") };
        assert_eq!(order.cms, spool(40));
    }
    // Unpaid: the signature is good.
    let unpaid = failure(FailureClass::Permanent, FailureKind::Refused, "billing_error");
    let story = sending().fails(unpaid).then([DeadLetter(Step::SendSigned, "billing_error")]);
    story.person(retry()).then([Ordered("send_signed")]);
    // Something on our side: nothing was refused over there.
    let local = failure(FailureClass::Permanent, FailureKind::Local, "not_supported");
    sending().fails(local).then([DeadLetter(Step::SendSigned, "not_supported")]);
}

#[test]
fn what_was_refused_in_plain_words_is_mended_by_a_person_and_signed_anew() {
    let story = given_whole(Step::SendSigned).fails(permanent());
    let story = story.then([DeadLetter(Step::PrepareContent, "http_400"), NothingOrdered]);
    assert_eq!(story.saga.own.as_ref().and_then(|own| own.cms), None);
    let story = story.person(retry()).then([Ordered("tell_signer")]).goes_on().then([At(Step::AwaitSigner)]);
    assert!(story.tries(&signature(1, 40)).is_err(), "the old link is dead");
    story.when(signature(2, 44)).then([Ordered("send_signed")]);
}

#[test]
fn after_a_lost_answer_a_person_binds_what_is_there_or_sends_again() {
    let lost = || given_whole(Step::SendSigned).fails(no_answer()).fires();
    let story =
        lost().person(bind(DOCUMENT)).then([Noted("bound_by_hand"), Took(own_document_claim(DOCUMENT))]);
    let story = story.then([At(Step::Comment)]).goes_on().then([At(Step::AwaitSignature)]);
    assert_eq!(story.saga.provider_document.as_deref(), Some(DOCUMENT));
    let story = lost().person(OperatorAction::SendAgain).then([Noted("sent_again"), Ordered("send_signed")]);
    let Effect::Own(OwnEffect::SendSigned(order)) = story.order() else { panic!("a sending") };
    assert_eq!(order.number, story.saga.own.as_ref().expect("own").number);
    // The service has seen the number: that is an error as any other, and proves nothing.
    story
        .fails(server_error())
        .then([At(Step::FindSent)])
        .fires()
        .then([DeadLetter(Step::FindSent, "create_unknown")]);
    let story = lost().person(cancel()).then([At(Step::Cancelled)]);
    let text = &story.last.history.last().expect("a line").text;
    assert!(text.en.contains("iDocs may have the document"), "{text:?}");
    // While the person has not been asked yet, both orders are good too.
    let waits = || given_whole(Step::SendSigned).fails(no_answer());
    waits().person(bind(DOCUMENT)).then([At(Step::Comment)]);
    waits().person(OperatorAction::SendAgain).then([Ordered("send_signed")]);
    // Under way it will bring an answer of its own.
    given_whole(Step::SendSigned).rejects(bind(DOCUMENT)).rejects(OperatorAction::SendAgain);
    given_whole(Step::AwaitSigner).rejects(bind(DOCUMENT)).rejects(OperatorAction::SendAgain);
}

#[test]
fn a_late_answer_is_worth_more_than_a_person() {
    let late = given_whole(Step::SendSigned);
    let token = late.saga.last_token;
    let story = late.fails(no_answer()).late(token, sent("process-7"));
    story.then([At(Step::AwaitProcess), Noted("sent_whole")]);
    let parked = given_whole(Step::SendSigned).fails(no_answer()).fires();
    let story = parked.late(token, sent("process-7")).then([At(Step::AwaitProcess)]);
    // It was sent twice by a person, and the second answer tells so.
    let story = story.late(token, sent("process-7")).then([Unchanged]);
    story.late(token, sent("process-8")).then([At(Step::AwaitProcess), Noted("sent_late")]);
    let cancelled = given_whole(Step::SendSigned).person(cancel());
    cancelled.late(token, sent("process-7")).then([At(Step::Cancelled), Noted("sent_late")]);
}

#[test]
fn a_process_that_tells_nothing_for_long_or_fails_is_a_persons_matter() {
    let mut story = given_whole(Step::AwaitProcess);
    for _ in 0..200 {
        if story.saga.step == Step::Parked {
            break;
        }
        story = story.answers(running());
        story = if story.saga.step == Step::Parked { story } else { story.fires() };
    }
    let story = story.then([DeadLetter(Step::AwaitProcess, "process_overdue")]);
    let story = story.person(retry()).then([Ordered("read_process")]);
    // Asked while it is still worked on, a second sending would be a double.
    let story = story.answers(running()).rejects(OperatorAction::SendAgain);
    story.person(bind(DOCUMENT)).then([At(Step::Comment)]);
    let failed = || {
        let answer = Answer::Own(OwnAnswer::ProcessRead(Process::Failed));
        let story = given_whole(Step::AwaitProcess).answers(answer);
        story.then([DeadLetter(Step::AwaitProcess, "process_failed")])
    };
    failed().person(OperatorAction::SendAgain).then([Ordered("send_signed"), Noted("sent_again")]);
    failed().person(bind(DOCUMENT)).then([At(Step::Comment)]);
}

#[test]
fn an_outage_uses_up_no_patience_with_a_process() {
    let story = given_whole(Step::AwaitProcess).fails(unreachable());
    // The time is up, but nobody has answered in it.
    let story = story.after(2 * HOUR).fires().answers(running());
    let story = story.then([At(Step::AwaitProcess), NothingOrdered]);
    // Nonsense is an answer: it moves the clock only.
    let story = story.fires().fails(server_error()).then([At(Step::AwaitProcess), NothingOrdered]);
    story.fires().crashes().then([Ordered("read_process")]);
}

#[test]
fn a_process_read_too_late_is_bound_or_told_of() {
    let asked = given_whole(Step::AwaitProcess);
    let token = asked.saga.last_token;
    let parked = asked.when(Event::Panicked { text: "broken".into() });
    parked.late(token, became(DOCUMENT)).then([At(Step::Comment)]);
    let bound = given_whole(Step::AwaitProcess).person(bind("doc-2"));
    let bound = bound.late(token, became(DOCUMENT)).then([Noted("second_document"), At(Step::Comment)]);
    bound.late(token, became("doc-2")).then([Unchanged]);
}

#[test]
fn the_reason_of_a_refusal_is_not_there_and_the_words_say_so() {
    let refused = own_status(OwnStatus::Refused(None));
    let story = given_whole(Step::AwaitSignature).fires().answers(refused).then([Ordered("add_comment")]);
    let Effect::AddComment { text, .. } = story.order() else { panic!("a comment") };
    assert!(text.contains("интерфейс iDocs (V1) не передаёт"), "{text}");
    assert!(words::notice(&story.saga, Language::En).contains("does not pass the reason on"));
}

#[test]
fn what_comes_back_unsigned_is_not_delivered_as_the_signed_file() {
    let files = |print_form: Option<u8>, file: u8| {
        let story = given_whole(Step::FetchSigned);
        let story = story.answers(Answer::Own(OwnAnswer::PrintForm(print_form.map(spool))));
        story.answers(Answer::Own(OwnAnswer::Archive(Some(spool(file)))))
    };
    let ours = given_whole(Step::FetchSigned).saga.file.expect("a file").bytes.digest.0[0];
    let story = files(Some(2), ours).then([Noted("file_is_ours"), Noted("no_archive")]);
    assert_eq!(story.saga.own.as_ref().and_then(|own| own.archive), None);
    files(None, ours).then([DeadLetter(Step::FetchSigned, "no_signed_file")]);
    // Anything else is, under the end that the configuration says.
    let story = files(None, 31).then([Ordered("scan_folder")]);
    let Effect::ScanFolder { wanted_name, .. } = story.order() else { panic!("the folder") };
    assert_eq!(wanted_name, "contract_signed.p7m");
}

#[test]
fn a_hint_about_a_document_that_is_not_there_moves_nothing_and_later_it_does() {
    let hint = || Event::Own(OwnEvent::StatusHint);
    given_whole(Step::AwaitSigner).when(hint()).then([Unchanged]);
    given_whole(Step::AwaitProcess).when(hint()).then([Unchanged]);
    given_whole(Step::AwaitSignature).when(hint()).then([Ordered("read_own_status")]);
}

#[test]
fn a_store_from_a_backup_sends_nothing_before_a_person_has_looked() {
    let restored = Policy { doubt_until: Some(START.plus_ms(DAY)), ..whole() };
    let mut story = given_whole(Step::AwaitSigner);
    story.policy = restored;
    let story = story.signs().then([At(Step::FindSent), Noted("restored"), NothingOrdered]);
    let story = story.fires().then([DeadLetter(Step::FindSent, "create_unknown")]);
    story.person(OperatorAction::SendAgain).then([Ordered("send_signed")]);
}

#[test]
fn a_document_that_was_begun_without_a_draft_ends_so_whatever_the_configuration_says_by_then() {
    let mut story = given_whole(Step::AwaitSigner);
    story.policy = policy();
    story.signs().then([Ordered("send_signed")]);
    let mut story = given_own(Step::AwaitSigner);
    story.policy = whole();
    story.signs().then([Ordered("send_signature")]);
}

#[test]
fn why_it_stands_still_is_said_for_each_of_the_steps() {
    let why = |step| words::why(&given_whole(step).saga, START).en;
    assert!(why(Step::SendSigned).contains("sending the file with its signature"));
    assert!(why(Step::FindSent).contains("for a late answer, then ask a person"));
    assert!(why(Step::AwaitProcess).contains("asking what has become of it"));
}
