//! The beginning: triggers, items, files, the names that keep one file with one document.

use super::super::effect::Effect;
use super::super::event::{Answer, Event};
use super::super::rule::SourceFacts;
use super::super::state::{Claim, Delivery, Source, Step, TimerKind};
use super::super::transition::{Context, Spawn, begin, reading_claim, source_claim};
use super::fixture::{Is::*, *};
use crate::domain::{CrmItem, PortalId};

fn file(file_id: u64) -> Source {
    Source::CrmFile { item: ITEM, field: "ufCrmContract".into(), file_id }
}

#[test]
fn a_drive_file_is_claimed_at_once_together_with_our_id() {
    let source = Source::DriveFile { file_id: 9_043 };
    let cx = Context { now: START, policy: &policy(), chance: 0 };
    let next = begin(saga_id(), &portal(), source.clone(), None, cx).expect("a beginning");
    assert_eq!(next.saga.external_id, "b24-main-file-9043-89abcdef");
    assert_eq!(
        next.claims,
        [source_claim(&portal(), &source), Claim::External("b24-main-file-9043-89abcdef".into())]
    );
    assert_eq!(next.effect, Some(Effect::FetchSource { source, rule: None }));
}

#[test]
fn an_item_is_claimed_for_reading_and_its_file_when_it_is_known() {
    let story = Story::new(Source::CrmItem { item: ITEM }, policy()).then([
        Ordered("read_item"),
        Took(reading_claim(&portal(), ITEM)),
        Due(TimerKind::Lease, 2 * MINUTE),
    ]);
    let story = story.answers(item_wanted(ITEM, &[9_001])).then([
        Ordered("fetch_source"),
        GaveBack(reading_claim(&portal(), ITEM)),
        Took(source_claim(&portal(), &file(9_001))),
        Took(Claim::External("b24-main-deal-501-9001-89abcdef".into())),
    ]);
    assert_eq!(story.saga.external_id, "b24-main-deal-501-9001-89abcdef");
}

#[test]
fn further_files_of_an_item_get_documents_of_their_own() {
    let story = given(Step::ReadItem).answers(item_wanted(ITEM, &[9_001, 9_002, 9_003]));
    let spawn = |id| Spawn { source: file(id), rule: "contracts".into() };
    assert_eq!(story.last.spawn, [spawn(9_002), spawn(9_003)]);
}

#[test]
fn a_file_of_an_item_knows_its_item_and_its_rule_from_the_beginning() {
    let cx = Context { now: START, policy: &policy(), chance: 0 };
    let next = begin(saga_id(), &portal(), file(9_002), Some("contracts".into()), cx).expect("a beginning");
    assert_eq!(next.saga.crm_item, Some(ITEM));
    let order = Effect::FetchSource { source: file(9_002), rule: Some("contracts".into()) };
    assert_eq!(next.effect, Some(order));
}

#[test]
fn an_item_that_changed_while_it_was_read_is_read_again() {
    given(Step::ReadItem)
        .when(Event::TriggeredAgain)
        .then([NothingOrdered])
        .when(Event::TriggeredAgain)
        .answers(not_wanted())
        .then([At(Step::ReadItem), Ordered("read_item")])
        .goes_on()
        .then([Ordered("fetch_source")]);
}

#[test]
fn a_trigger_before_the_repeat_of_a_failed_read_costs_no_second_read() {
    given(Step::ReadItem)
        .when(Event::TriggeredAgain)
        .fails(unreachable())
        .when(Event::TriggeredAgain)
        .then([Unchanged])
        .fires()
        .then([Ordered("read_item")])
        .goes_on()
        .then([Ordered("fetch_source")]);
}

#[test]
fn an_item_whose_file_is_taken_is_read_again_without_it() {
    let taken = || Event::ClaimTaken { claim: source_claim(&portal(), &file(9_001)), by: other_saga() };
    given(Step::ReadItem)
        .when(taken())
        .then([Ordered("read_item"), Tries(0)])
        .answers(item_wanted(ITEM, &[9_002]))
        .then([Ordered("fetch_source")]);
}

#[test]
fn failed_reads_do_not_shorten_the_patience_with_taken_files() {
    let taken = || Event::ClaimTaken { claim: source_claim(&portal(), &file(9_001)), by: other_saga() };
    let mut story = given(Step::ReadItem);
    for _ in 0..5 {
        story = story.fails(unreachable()).fires();
    }
    for _ in 0..5 {
        story = story.when(taken()).then([Ordered("read_item")]);
    }
    story.when(taken()).then([DeadLetter(Step::ReadItem, "claims_contended"), NothingOrdered]);
}

#[test]
fn a_taken_source_never_drops_a_document_that_is_out_there() {
    let taken = || Event::ClaimTaken { claim: source_claim(&portal(), &file(9_001)), by: other_saga() };
    for step in Step::ALL.into_iter().filter(|s| !matches!(s, Step::ReadItem | Step::FetchSource)) {
        given(step).when(taken()).then([Unchanged]);
    }
}

#[test]
fn what_no_rule_wants_ends_quietly_and_says_why() {
    let story = given(Step::ReadItem).answers(not_wanted()).then([
        At(Step::Ignored),
        Noted("no_rule"),
        GaveBack(reading_claim(&portal(), ITEM)),
    ]);
    let why = super::super::words::why(&story.saga, story.now);
    assert!(why.ru.contains("Нет правила."), "{}", why.ru);
    given(Step::FetchSource).answers(not_wanted()).then([At(Step::Ignored)]);
}

#[test]
fn an_answer_about_another_item_or_without_files_is_a_fault() {
    given(Step::ReadItem).faults(item_wanted(CrmItem { id: 502, ..ITEM }, &[9_001]));
    given(Step::ReadItem).faults(item_wanted(ITEM, &[]));
}

#[test]
fn a_signed_copy_without_a_folder_is_found_out_before_people_sign() {
    let facts = SourceFacts { name: "contract.pdf".into(), ..SourceFacts::default() };
    let nowhere = Delivery { folder_id: None, ..delivery() };
    let mut story = given(Step::FetchSource);
    story.saga.delivery = Delivery::default();
    let story = story
        .answers(Answer::SourceFetched { facts, bytes: spool(1), delivery: nowhere, crm_item: None })
        .then([DeadLetter(Step::Create, "no_folder"), NothingOrdered, Noted("fetched")]);
    assert!(!story.orders.contains(&"create_document"));
    let mended = super::super::event::OperatorAction::Retry(folder(OTHER_FOLDER));
    story.person(mended).then([Ordered("create_document")]);
}

#[test]
fn the_copy_of_a_drive_file_goes_to_its_own_folder_if_the_rule_names_none() {
    let mut story = given(Step::FetchSource);
    story.saga.delivery = Delivery::default();
    let facts = SourceFacts { name: "act.docx".into(), folder_id: Some(12), ..SourceFacts::default() };
    let same = Delivery { folder_id: None, ..delivery() };
    let answer = Answer::SourceFetched { facts, bytes: spool(1), delivery: same, crm_item: None };
    let story = story.answers(answer).goes_on().hears(super::super::event::CallbackStatus::Signed).goes_on();
    let order = Effect::ScanFolder { folder_id: 12, wanted_name: "act_signed.pdf".into() };
    assert_eq!(story.order(), order);
}

#[test]
fn the_lasting_text_of_a_claim_is_what_it_was_in_the_first_version() {
    for (claim, text) in [
        (Claim::Source("main/drive/9043".into()), r#"Source("main/drive/9043")"#),
        (Claim::Source("main/crm/deal:501/UF_CRM_1/7".into()), r#"Source("main/crm/deal:501/UF_CRM_1/7")"#),
        (Claim::Reading("b24-\"q\"\\/crm/deal:501".into()), r#"Reading("b24-\"q\"\\/crm/deal:501")"#),
        (Claim::External("x".into()), r#"External("x")"#),
        (Claim::ProviderDocument("idocs/y".into()), r#"ProviderDocument("idocs/y")"#),
    ] {
        assert_eq!(claim.lasting_text(), text);
        assert_eq!(format!("{claim:?}"), text, "ids were made from this before");
    }
    let portal = PortalId("main".into());
    let file = Claim::EchoFile { portal, file_id: 7 };
    assert_eq!(file.lasting_text(), r#"EchoFile("main/7")"#);
}
