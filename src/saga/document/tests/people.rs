//! What people order: retry with a mend at each step, send again, bind, cancel. Nothing half-applies.

use super::super::effect::Effect;
use super::super::event::{Announcement, Mend, OperatorAction};
use super::super::state::{Claim, CommentFile, DriveCopy, Step, TimerKind};
use super::fixture::{Is::*, *};

fn route(id: &str) -> OperatorAction {
    OperatorAction::Retry(Mend { route_id: Some(id.into()), ..Mend::default() })
}

fn people(ids: &[u64]) -> OperatorAction {
    OperatorAction::Retry(Mend { notify: Some(ids.to_vec()), ..Mend::default() })
}

fn into(folder_id: u64) -> OperatorAction {
    OperatorAction::Retry(folder(folder_id))
}

#[test]
fn a_retry_goes_on_with_the_step_that_stopped() {
    // What was sent whole is found by a person only.
    let waits = |s: &Step| matches!(s, Step::AwaitSignature | Step::AwaitSigner | Step::FindSent);
    for step in Step::ALL.into_iter().filter(|s| s.is_live() && !waits(s)) {
        let story =
            given_parked(step).person(retry()).then([At(step), Noted("retried"), Rounds(0), Tries(0)]);
        assert_eq!(story.saga.dead_letter, None);
        assert_eq!(story.order(), given(step).order(), "the same order as ever");
    }
}

#[test]
fn a_retry_of_what_waits_for_its_turn_does_not_wait_any_longer() {
    given(Step::Upload)
        .fails(unreachable())
        .then([NothingOrdered])
        .person(retry())
        .then([Ordered("upload"), Tries(0)]);
}

#[test]
fn nothing_is_retried_while_a_request_is_under_way() {
    for step in Step::ALL.into_iter().filter(|s| s.is_live()) {
        given(step).rejects(retry());
    }
}

#[test]
fn a_finished_document_takes_no_orders() {
    for step in Step::ALL.into_iter().filter(|s| s.is_finished()) {
        given(step)
            .rejects(retry())
            .rejects(OperatorAction::SendAgain)
            .rejects(bind("doc-2"))
            .rejects(cancel());
    }
}

#[test]
fn a_mended_route_is_the_one_that_is_sent() {
    let story = given_parked(Step::Create).person(route("route-2"));
    assert!(matches!(story.order(), Effect::CreateDocument { route_id, .. } if route_id == "route-2"));
}

#[test]
fn a_route_mended_before_a_rule_is_applied_survives_the_rule() {
    let story = given_parked(Step::ReadItem).person(route("route-2")).goes_on().goes_on();
    assert!(matches!(story.order(), Effect::CreateDocument { route_id, .. } if route_id == "route-2"));
    assert_eq!(story.saga.delivery.rule, "contracts");
}

#[test]
fn a_folder_mended_before_a_rule_is_applied_survives_the_rule() {
    let story = given_parked(Step::FetchSource).person(into(OTHER_FOLDER)).goes_on();
    assert_eq!(story.saga.delivery.folder_id, Some(OTHER_FOLDER));
}

#[test]
fn a_route_cannot_be_changed_under_a_document_that_is_on_it() {
    given_parked(Step::AwaitSignature).rejects(route("route-2"));
    given_parked(Step::Upload).rejects(route("route-2"));
}

#[test]
fn a_mended_folder_is_scanned_before_anything_is_put_there() {
    let story = given_parked(Step::Upload).person(into(OTHER_FOLDER)).then([Ordered("scan_folder")]);
    assert!(matches!(story.order(), Effect::ScanFolder { folder_id: OTHER_FOLDER, .. }));
    let echo = Claim::EchoName { portal: portal(), folder_id: OTHER_FOLDER, name: COPY_NAME.into() };
    let story = story.goes_on().then([Ordered("upload"), Took(echo)]);
    assert!(matches!(story.order(), Effect::Upload { folder_id: OTHER_FOLDER, .. }));
}

#[test]
fn a_folder_mended_after_an_unknown_upload_tells_that_a_copy_may_lie_in_the_old_one() {
    given_parked(Step::FindUpload)
        .person(into(OTHER_FOLDER))
        .then([Ordered("scan_folder"), Noted("folder_changed")]);
}

#[test]
fn the_same_folder_named_again_does_not_skip_the_look() {
    given_parked(Step::FindUpload).person(into(FOLDER)).then([Ordered("find_upload")]);
}

#[test]
fn a_folder_cannot_be_changed_after_the_delivery() {
    for step in [Step::Comment, Step::FindComment, Step::Notify] {
        given_parked(step).rejects(into(OTHER_FOLDER));
    }
}

#[test]
fn people_mended_at_the_end_are_told_instead_and_nobody_is_told_twice() {
    let story = given(Step::Notify).goes_on().fails(permanent()).person(people(&[9, 7, 9]));
    assert!(matches!(story.order(), Effect::Notify { user_id: 9, .. }), "8 is replaced, 7 was told");
    let story = story.goes_on().then([At(Step::Delivered)]);
    assert_eq!(story.saga.delivery.notify, [7, 9]);
}

#[test]
fn people_mended_away_end_the_document() {
    given_parked(Step::Notify).person(people(&[])).then([At(Step::Delivered), NothingOrdered]);
}

#[test]
fn people_mended_early_are_the_ones_told_in_the_end() {
    let story = given_parked(Step::FetchSource).person(people(&[33]));
    assert_eq!(story.goes_on().saga.delivery.notify, [33]);
    given_parked(Step::FetchSource).rejects(people(&[]));
}

fn without(skip: &[Announcement]) -> OperatorAction {
    OperatorAction::Retry(Mend { skip: skip.to_vec(), ..Mend::default() })
}

/// Where a document that stopped at `step` goes on when a person gives `skip` up; none = the order makes no sense.
fn goes_on_without(step: Step, skip: Announcement) -> Option<Step> {
    use Announcement::{Comment, Field, Notices, Robot, Stage};
    let is_rich = given_parked(step).is_rich();
    match (step, skip) {
        (_, Robot) if !is_rich => None,
        (Step::AnswerRobot, Robot) => Some(Step::Delivered),
        (other, Robot) => Some(other),
        (_, Field | Stage) if !is_rich => None,
        (Step::MoveStage, Field) => None,
        (Step::AwaitPdf | Step::AnswerRobot, Field | Stage) => None,
        (Step::ScanField | Step::AttachField | Step::FindFieldFile, Field) => Some(Step::Comment),
        (Step::MoveStage, Stage) => Some(Step::Notify),
        (other, Field | Stage) => Some(other),
        (Step::ReadItem | Step::FetchSource | Step::AwaitPdf | Step::AnswerRobot, _) => None,
        (Step::MoveStage | Step::Notify, Comment) => None,
        // Nothing is looked for there: a person binds or sends again.
        (Step::FindSent, _) => None,
        (Step::Comment | Step::FindComment, Comment) => Some(Step::Notify),
        (Step::Notify, Notices) => Some(Step::Delivered),
        // The link may be dead: a new one is made.
        (Step::AwaitSigner, _) => Some(Step::PrepareContent),
        (other, _) => Some(other),
    }
}

#[test]
fn a_person_may_give_up_each_part_of_the_delivery_where_it_is_still_to_come() {
    for step in Step::ALL.into_iter().filter(|s| s.is_live()) {
        for skip in Announcement::ALL {
            match goes_on_without(step, skip) {
                None => drop(given_parked(step).rejects(without(&[skip]))),
                Some(next) => {
                    let noted = Noted(match skip {
                        Announcement::Comment => "comment_skipped",
                        Announcement::Notices => "notices_skipped",
                        Announcement::Field => "field_skipped",
                        Announcement::Stage => "stage_skipped",
                        Announcement::Robot => "robot_skipped",
                    });
                    given_parked(step).person(without(&[skip])).then([At(next), noted, Noted("retried")]);
                }
            }
        }
    }
}

#[test]
fn a_document_without_comment_and_notices_is_delivered_in_silence() {
    let both = [Announcement::Comment, Announcement::Notices];
    let story = given_parked(Step::FindUpload).person(without(&both)).goes_on();
    let story = story.then([At(Step::Delivered), NothingOrdered]);
    assert_eq!((story.saga.comment_id, story.saga.notified), (None, 0));
    given_parked(Step::Comment).person(without(&both)).then([At(Step::Delivered), NothingOrdered]);
}

#[test]
fn the_only_way_back_of_the_signed_file_is_not_given_up() {
    let mut story = given_parked(Step::AttachField);
    story.saga.delivery.drive = DriveCopy::NotWanted;
    story.saga.delivery.comment_file = CommentFile::None;
    story.rejects(without(&[Announcement::Field]));
}

#[test]
fn a_field_of_unknown_outcome_that_is_given_up_is_said_to_have_the_file_perhaps() {
    let story = given_parked(Step::FindFieldFile).person(without(&[Announcement::Field]));
    let noted = story.last.history.iter().find(|entry| entry.what == "field_skipped").unwrap();
    assert!(noted.text.en.contains("may be in it"), "{noted:?}");
}

#[test]
fn workflows_that_were_let_go_early_are_not_answered_at_the_end() {
    let story = given_parked(Step::MoveStage).person(without(&[Announcement::Robot, Announcement::Stage]));
    let mut story = story.then([At(Step::Notify), Noted("robot_skipped"), Noted("stage_skipped")]);
    while story.saga.step == Step::Notify {
        story = story.goes_on();
    }
    let story = story.then([At(Step::Delivered), NothingOrdered]);
    assert!(story.saga.robots.iter().all(|robot| robot.answered_at.is_none()));
}

#[test]
fn a_comment_of_unknown_outcome_that_is_given_up_is_said_to_be_possibly_there() {
    let story = given_parked(Step::FindComment).person(without(&[Announcement::Comment]));
    let noted = story.last.history.iter().find(|entry| entry.what == "comment_skipped").unwrap();
    assert!(noted.text.en.contains("may have been written"), "{noted:?}");
}

#[test]
fn who_was_told_stays_told_and_nothing_is_skipped_twice() {
    let story = given(Step::Notify).goes_on().fails(permanent()).person(without(&[Announcement::Notices]));
    let story = story.then([At(Step::Delivered)]);
    assert_eq!((story.saga.delivery.notify.as_slice(), story.saga.notified), ([7].as_slice(), 1));
    let twice = [Announcement::Comment, Announcement::Comment];
    let story = given_parked(Step::Comment);
    let before = story.saga.clone();
    assert_eq!(story.rejects(without(&twice)).saga, before);
}

#[test]
fn a_dead_letter_about_an_announcement_names_the_way_on_without_it() {
    for (step, way) in [
        (Step::Comment, "--skip comment"),
        (Step::FindComment, "--skip comment"),
        (Step::Notify, "--skip notices"),
        (Step::ScanField, "--skip field"),
        (Step::AttachField, "--skip field"),
        (Step::FindFieldFile, "--skip field"),
        (Step::MoveStage, "--skip stage"),
        (Step::AnswerRobot, "--skip robot"),
    ] {
        let story = given(step).fails(permanent());
        let dead = story.saga.dead_letter.as_ref().unwrap();
        assert!(dead.next_action.ru.contains(way) && dead.next_action.en.contains(way), "{dead:?}");
    }
}

#[test]
fn a_rejected_mend_leaves_nothing_behind() {
    let story = given_parked(Step::Upload);
    let before = story.saga.clone();
    let both = Mend {
        folder_id: Some(OTHER_FOLDER),
        route_id: Some("r".into()),
        notify: Some(vec![1]),
        skip: Vec::new(),
    };
    assert_eq!(story.rejects(OperatorAction::Retry(both)).saga, before);
}

#[test]
fn only_what_was_never_bound_can_be_sent_again_or_bound() {
    for step in Step::ALL.into_iter().filter(|s| s.is_live()) {
        let unsent = matches!(step, Step::Create | Step::FindDocument);
        let story = given_parked(step);
        if unsent {
            story.person(OperatorAction::SendAgain).then([Ordered("create_document")]);
        } else if is_whole(step) {
            story.person(OperatorAction::SendAgain).then([Ordered("send_signed")]);
        } else {
            story.rejects(OperatorAction::SendAgain).rejects(bind(DOCUMENT));
        }
    }
}

#[test]
fn nothing_is_sent_again_while_the_first_is_under_way() {
    given(Step::Create).rejects(OperatorAction::SendAgain).rejects(bind(DOCUMENT));
    given(Step::FindDocument).rejects(OperatorAction::SendAgain);
}

#[test]
fn what_cannot_be_an_id_is_not_bound() {
    let long = "x".repeat(129);
    for id in ["", "  ", "doc 1", "../me", "doc-1?x=1", "документ", long.as_str()] {
        given_parked(Step::FindDocument).rejects(bind(id));
    }
    given_parked(Step::FindDocument).person(bind(&"x".repeat(128))).then([At(Step::AwaitSignature)]);
}

#[test]
fn cancelling_says_what_stays_behind_at_the_service() {
    for (story, words) in [
        (given(Step::AwaitSignature), "остаётся"),
        (given(Step::Create), "Возможно"),
        (given(Step::FindDocument), "Возможно"),
        (given_parked(Step::FindDocument), "Возможно"),
    ] {
        let story = story.person(cancel()).then([At(Step::Cancelled), Noted("cancelled"), NothingOrdered]);
        assert!(story.last.history[0].text.ru.contains(words), "{:?}", story.last.history);
    }
    let story = given_parked(Step::Create).person(cancel());
    assert!(!story.last.history[0].text.ru.contains("EasyDocs"), "refused, so nothing is there");
}

#[test]
fn cancelling_a_reader_gives_its_item_back() {
    let reading = Claim::Reading(format!("main/crm/{ITEM}"));
    given(Step::ReadItem).person(cancel()).then([At(Step::Cancelled), GaveBack(reading)]);
}

#[test]
fn a_cancelled_attempt_that_answers_late_changes_nothing() {
    let story = given(Step::FetchSigned);
    let (token, answer) = (story.saga.last_token, good_answer(&story.order()));
    story.person(cancel()).late(token, answer).then([Unchanged]);
}

#[test]
fn a_document_healed_by_a_person_has_all_its_patience_again() {
    let mut story = given(Step::FetchSigned);
    for _ in 0..2 {
        story = story.fails(server_error()).fires();
    }
    story
        .fails(server_error())
        .then([DeadLetter(Step::FetchSigned, "http_502")])
        .person(retry())
        .fails(server_error())
        .then([Due(TimerKind::Start, 10 * SECOND), Tries(1)]);
}
