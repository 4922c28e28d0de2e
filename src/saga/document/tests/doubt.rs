//! Documents of a restored store: every write is looked for before it is made, and nothing is done twice.

use super::super::effect::Effect;
use super::super::event::{Answer, CallbackStatus};
use super::super::state::{Claim, Source, Step, TimerKind};
use super::super::transition::Policy;
use super::fixture::{Is::*, *};
use crate::domain::Timestamp;

/// A store that was restored after all the documents of these tests were taken up.
fn restored() -> Policy {
    Policy { doubt_until: Some(START.plus_ms(DAY)), ..policy() }
}

fn file() -> Source {
    Source::DriveFile { file_id: 9_001 }
}

#[test]
fn a_document_that_was_sent_after_the_backup_is_found_and_not_sent_again() {
    let story = Story::new(file(), restored()).goes_on().then([
        At(Step::FindDocument),
        NothingOrdered,
        Noted("restored"),
        Rounds(1),
    ]);
    let story = story.fires().then([Ordered("find_document")]).goes_on();
    assert!(!story.orders.contains(&"create_document"), "{:?}", story.orders);
    assert!(story.saga.provider_document.is_some());
}

#[test]
fn a_document_that_was_never_sent_is_sent_once_after_two_looks() {
    let story = Story::new(file(), restored()).goes_on().fires().finds_nothing().fires().finds_nothing();
    story.then([Ordered("create_document"), Rounds(1)]).goes_on().then([At(Step::AwaitSignature), Rounds(0)]);
}

#[test]
fn what_cannot_be_looked_for_is_asked_and_goes_on_when_a_person_says_so() {
    let unsearchable = Policy { search_available: false, ..restored() };
    let story = Story::new(file(), unsearchable).goes_on();
    let story = story.then([At(Step::FindDocument), NothingOrdered, Due(TimerKind::Grace, HOUR)]).fires();
    let story = story.then([DeadLetter(Step::FindDocument, "create_unknown")]);
    assert!(!story.orders.contains(&"create_document"));
    story.person(super::super::event::OperatorAction::SendAgain).then([Ordered("create_document")]);
}

#[test]
fn a_callback_answers_the_question_by_itself() {
    let unsearchable = Policy { search_available: false, ..restored() };
    let story = Story::new(file(), unsearchable).goes_on().hears(CallbackStatus::Signed);
    story.then([At(Step::FetchSigned), Ordered("fetch_signed")]);
}

#[test]
fn a_copy_that_lies_there_already_is_adopted_under_whatever_name() {
    let story = Story::new(file(), restored()).goes_on().fires().goes_on().hears(CallbackStatus::Signed);
    // The name that we would like is taken: by our own copy.
    let other = Answer::FolderScanned { highest_id: 9_999, free_name: "contract_signed (1).pdf".into() };
    let story = story.goes_on().answers(other).then([At(Step::FindUpload), NothingOrdered]).fires();
    let Effect::FindUpload { name, above_id, .. } = story.order() else { panic!("a look") };
    assert_eq!((name.as_str(), above_id), ("", 9_001), "any name, anything younger than the original");
    let story = story.goes_on();
    assert!(!story.orders.contains(&"upload"), "{:?}", story.orders);
}

#[test]
fn the_file_field_and_the_comment_are_looked_for_too() {
    let mut story = Story::rich(restored());
    while !story.saga.step.is_finished() {
        story = match story.saga.timer.map(|t| t.kind) {
            Some(TimerKind::Start) => story.fires(),
            Some(TimerKind::Wait) => story.hears(CallbackStatus::Signed),
            _ => {
                if let Effect::FindFieldFile { known, .. } = story.order() {
                    assert!(known.is_empty(), "what lay there at the scan may be ours");
                }
                story.goes_on()
            }
        };
    }
    for write in ["create_document", "upload", "attach_field", "add_comment"] {
        assert!(!story.orders.contains(&write), "{write} was made blindly: {:?}", story.orders);
    }
    assert_eq!(story.saga.step, Step::Delivered);
}

#[test]
fn a_draft_of_ours_is_looked_for_before_it_is_made() {
    let story = Story::own(restored()).goes_on().goes_on();
    story.then([At(Step::FindDraft), NothingOrdered]).fires().then([Ordered("find_draft")]);
}

#[test]
fn what_is_taken_up_long_after_the_restore_is_sent_as_ever() {
    let long_ago = Policy { doubt_until: Some(Timestamp(START.0 - 1)), ..policy() };
    Story::new(file(), long_ago).goes_on().then([Ordered("create_document")]);
}

#[test]
fn a_service_that_takes_one_id_once_is_simply_asked() {
    let keyed = Policy { create_is_idempotent: true, ..restored() };
    Story::new(file(), keyed).goes_on().then([Ordered("create_document")]);
}

#[test]
fn who_waits_asks_what_was_told_meanwhile() {
    let waiting = |policy| Story::new(file(), policy).goes_on().fires().goes_on();
    let polled = Policy { poll: polling().poll, ..restored() };
    let asked = super::super::event::Event::Restored;
    waiting(polled).when(asked.clone()).then([Ordered("read_status")]);
    let searched =
        waiting(restored()).when(asked.clone()).then([Ordered("find_document"), Noted("restored")]);
    // A search that does not see it is no reason to send it again.
    let searched = searched.finds_nothing().then([At(Step::AwaitSignature), NothingOrdered]);
    let refused = searched.when(asked.clone()).fails(permanent());
    refused.then([At(Step::AwaitSignature), NothingOrdered]);
    given(Step::AwaitSignature).when(asked).then([Unchanged]);
}

#[test]
fn what_looks_like_a_signed_copy_is_not_sent_to_be_signed_again() {
    let copy = super::super::rule::signed_name("contract.pdf", "_signed").replace(".pdf", " (1).pdf");
    let mut answer = good_answer(&Story::new(file(), restored()).order());
    if let Answer::SourceFetched { facts, .. } = &mut answer {
        facts.name = copy;
    }
    let story = Story::new(file(), restored()).answers(answer.clone());
    let story = story.then([DeadLetter(Step::Create, "maybe_own_copy")]);
    story.person(retry()).then([At(Step::FindDocument)]);
    Story::new(file(), policy()).answers(answer).then([Ordered("create_document")]);
}

#[test]
fn a_file_that_no_rule_wants_can_get_the_same_id_again() {
    let story = Story::new(file(), policy());
    let external = Claim::External(story.saga.external_id.clone());
    story.answers(not_wanted()).then([At(Step::Ignored), GaveBack(external)]);
}
