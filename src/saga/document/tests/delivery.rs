//! Upload, comment, notices: once each, whatever is lost on the way.

use super::super::effect::Effect;
use super::super::event::{Answer, CallbackStatus};
use super::super::state::{Claim, DeliveredFile, Outcome, Step, TimerKind};
use super::fixture::{Is::*, *};

#[test]
fn the_signed_copy_is_remembered_by_folder_and_name_before_it_is_uploaded_and_by_id_after() {
    let by_name = Claim::EchoName { portal: portal(), folder_id: FOLDER, name: COPY_NAME.into() };
    let by_id = Claim::EchoFile { portal: portal(), file_id: copy().file_id };
    given(Step::ScanFolder)
        .goes_on()
        .then([Ordered("upload"), Took(by_name)])
        .goes_on()
        .then([Took(by_id), Noted("uploaded")]);
}

#[test]
fn an_upload_of_unknown_outcome_is_looked_for_and_adopted() {
    let story = given(Step::Upload).fails(no_answer()).then([
        At(Step::FindUpload),
        NothingOrdered,
        Due(TimerKind::Start, 15 * SECOND),
        Rounds(1),
    ]);
    let story = story.fires().then([Ordered("find_upload")]);
    let Effect::FindUpload { folder_id, name, above_id, .. } = story.order() else { panic!("a look") };
    assert_eq!((folder_id, name.as_str(), above_id), (FOLDER, COPY_NAME, 9_050));
    let story = story.goes_on().then([Ordered("add_comment"), Noted("uploaded"), Rounds(0)]);
    assert_eq!(story.orders.iter().filter(|o| **o == "upload").count(), 1);
}

#[test]
fn an_upload_that_left_no_trace_is_repeated_under_the_same_name() {
    let first = given(Step::Upload).order();
    let story = given(Step::FindUpload)
        .finds_nothing()
        .fires()
        .finds_nothing()
        .then([Ordered("upload"), Noted("not_found")]);
    assert_eq!(story.order(), first, "so that the portal refuses a double that surfaces late");
}

#[test]
fn a_repeat_refused_because_the_first_upload_surfaced_late_adopts_it() {
    given(Step::FindUpload)
        .finds_nothing()
        .fires()
        .finds_nothing()
        .fails(name_taken())
        .then([At(Step::FindUpload), Due(TimerKind::Start, 15 * SECOND)])
        .fires()
        .goes_on()
        .then([Ordered("add_comment")]);
}

#[test]
fn a_name_taken_by_somebody_elses_file_is_replaced_by_a_free_one() {
    let story = given(Step::Upload)
        .fails(name_taken())
        .then([At(Step::FindUpload), Rounds(1)])
        .fires()
        .finds_nothing()
        .fires()
        .finds_nothing()
        .then([Ordered("scan_folder"), Noted("name_taken"), Rounds(1)]);
    let other = "contract_signed (1).pdf";
    let story = story.answers(Answer::FolderScanned { highest_id: 9_060, free_name: other.into() });
    let Effect::Upload { name, .. } = story.order() else { panic!("an upload") };
    assert_eq!(name, other);
}

#[test]
fn a_name_that_is_always_taken_ends_with_a_person() {
    let mut story = given(Step::Upload);
    for _ in 0..2 {
        story = story.fails(name_taken()).fires().finds_nothing().fires().finds_nothing().goes_on();
    }
    story
        .fails(name_taken())
        .then([Rounds(3)])
        .fires()
        .finds_nothing()
        .fires()
        .finds_nothing()
        .then([DeadLetter(Step::FindUpload, "unknown_outcome")]);
}

#[test]
fn the_answer_to_an_overdue_upload_ends_the_search_for_it() {
    given(Step::Upload)
        .fires()
        .then([At(Step::FindUpload)])
        .late(6, Answer::Uploaded { file: copy() })
        .then([Ordered("add_comment"), Noted("uploaded")]);
}

#[test]
fn a_copy_that_surfaces_beside_the_delivered_one_is_shown_and_never_signed_again() {
    let second = DeliveredFile { file_id: 9_200, ..copy() };
    given(Step::Notify)
        .late(6, Answer::Uploaded { file: copy() })
        .then([Unchanged])
        .late(6, Answer::Uploaded { file: second })
        .then([
            At(Step::Notify),
            Noted("uploaded_late"),
            Took(Claim::EchoFile { portal: portal(), file_id: 9_200 }),
            NothingOrdered,
        ]);
}

#[test]
fn a_late_answer_from_the_folder_that_was_given_up_is_not_taken_for_the_new_one() {
    let retry = super::super::event::OperatorAction::Retry(folder(OTHER_FOLDER));
    given(Step::Upload)
        .fails(permanent())
        .person(retry)
        .goes_on()
        .fires()
        .then([At(Step::FindUpload)])
        .late(6, Answer::Uploaded { file: copy() })
        .then([At(Step::FindUpload), Noted("uploaded_late"), NothingOrdered]);
}

#[test]
fn a_comment_of_unknown_outcome_is_looked_for_by_our_mark() {
    let story =
        given(Step::Comment).fails(server_error()).then([At(Step::FindComment), NothingOrdered]).fires();
    let Effect::FindComment { item, mark: looked_for } = story.order() else { panic!("a look") };
    assert_eq!((item, &looked_for), (ITEM, &mark(&story.saga)));
    let Effect::AddComment { text, .. } = given(Step::Comment).order() else { panic!("a comment") };
    assert!(text.contains(&looked_for), "what is written carries what is looked for");
    story.goes_on().then([Ordered("notify"), Noted("commented")]);
}

#[test]
fn a_comment_that_left_no_trace_is_written_again() {
    given(Step::FindComment)
        .finds_nothing()
        .fires()
        .finds_nothing()
        .then([Ordered("add_comment"), Rounds(1)])
        .goes_on()
        .then([Ordered("notify"), Rounds(0)]);
}

#[test]
fn the_answer_to_an_overdue_comment_ends_the_search_for_it() {
    given(Step::Comment).fires().late(7, Answer::Commented { comment_id: 41 }).then([Ordered("notify")]);
}

#[test]
fn every_person_is_told_once_and_in_order() {
    let told = |story: &Story| match story.order() {
        Effect::Notify { user_id, tag, .. } => (user_id, tag),
        other => panic!("{other:?}"),
    };
    let story = given(Step::Notify);
    assert_eq!(told(&story), (7, "edobridge|89abcdef|7".into()));
    let story = story.goes_on();
    assert_eq!(told(&story), (8, "edobridge|89abcdef|8".into()));
    let story = story.goes_on().then([At(Step::Delivered), Noted("notified"), Noted("delivered")]);
    assert_eq!(story.saga.notified, 2);
}

#[test]
fn a_notice_of_unknown_outcome_is_repeated_with_the_same_tag() {
    let story = given(Step::Notify);
    let first = story.order();
    let story = story.fails(no_answer()).then([At(Step::Notify), Due(TimerKind::Start, SECOND)]).fires();
    assert_eq!(story.order(), first);
    let story = story.crashes().then([Ordered("notify"), Tries(1)]);
    assert_eq!(story.order(), first);
}

#[test]
fn nobody_to_tell_and_no_comment_wanted_ends_with_the_upload() {
    let mut story = given(Step::Upload);
    story.saga.delivery.comment = false;
    story.saga.delivery.notify.clear();
    story.goes_on().then([At(Step::Delivered), Noted("uploaded"), Noted("delivered")]);
}

#[test]
fn a_document_without_a_crm_item_gets_no_comment() {
    let mut story = given(Step::Upload);
    story.saga.crm_item = None;
    story.goes_on().then([Ordered("notify")]);
}

#[test]
fn a_refusal_is_announced_with_the_services_word_and_nothing_is_uploaded() {
    let story = given(Step::AwaitSignature).hears(CallbackStatus::Refused).then([Ordered("add_comment")]);
    let Effect::AddComment { text, .. } = story.order() else { panic!("a comment") };
    assert!(text.contains("rejected") && text.contains("contract.pdf"), "{text}");
    let story = story.goes_on().goes_on().goes_on().then([At(Step::Refused), Outcome(Outcome::Refused)]);
    assert!(!story.orders.iter().any(|o| *o == "upload" || *o == "fetch_signed"), "{:?}", story.orders);
}

#[test]
fn the_whole_way_gives_each_order_once() {
    let story = given(Step::Delivered);
    assert_eq!(
        story.orders,
        [
            "read_item",
            "fetch_source",
            "create_document",
            "fetch_signed",
            "scan_folder",
            "upload",
            "add_comment",
            "notify",
            "notify",
        ]
    );
    assert_eq!(story.saga.timer, None);
}
