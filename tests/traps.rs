//! The traps of Bitrix24, and which test proves that nobody falls into each.
//!
//! The numbers are those of the sections of our notes on the platform (the sources are the vendor's documentation, its
//! SDKs and their trackers). A trap without a test, or a test that is gone, fails here.
//!
//! Links nothing: it reads the sources.

mod named_tests;

use named_tests::{has_test, source};
use std::collections::BTreeMap;

/// Section, the trap, and the tests: `file::name`.
const TRAPS: &[(&str, &str, &[&str])] = &[
    (
        "1.1 what a webhook may not call",
        "robots, events and offline queues are asked for as an application only",
        &["src/actors/second_channel.rs::no_portal_is_left_without_a_second_channel_unless_that_is_wished"],
    ),
    (
        "1.1 a secret in the path",
        "an address that carries a secret is never printed, and only real webhook addresses are taken",
        &[
            "src/providers/bitrix24/client.rs::only_webhook_addresses_are_taken",
            "src/providers/bitrix24/client.rs::unknown_outcomes_are_ambiguous_and_nothing_shows_the_secret",
            "tests/hostile.rs::no_secret_comes_out_anywhere",
        ],
    ),
    (
        "1.1 a webhook dies with its owner or its date",
        "people are warned before, and told at once after",
        &[
            "tests/portal_life.rs::people_are_warned_of_a_webhook_that_expires_soon_once_and_not_again_after_a_restart",
            "tests/portal_life.rs::a_dismissed_owner_is_an_alarm_until_the_webhook_works_again",
        ],
    ),
    (
        "1.2 a renamed portal answers 302",
        "the POST is repeated at the new place, and the new place is remembered",
        &[
            "src/providers/bitrix24/client.rs::a_renamed_portal_gets_the_same_post_at_its_new_place",
            "tests/portal_life.rs::a_document_in_flight_survives_a_rename_and_the_new_name_is_known_after_a_restart",
        ],
    ),
    (
        "1.3 a result of any type, numbers as texts, lists for maps",
        "the decoder takes them all",
        &[
            "src/providers/bitrix24/envelope.rs::every_type_of_result_is_a_success",
            "src/providers/bitrix24/wire.rs::numbers_come_as_numbers_or_texts",
            "src/providers/bitrix24/wire.rs::truth_has_many_spellings",
            "src/providers/bitrix24/wire.rs::rows_survive_php_lists_with_gaps",
        ],
    ),
    (
        "1.3 a stale `next`",
        "lists end at a short page",
        &["src/providers/bitrix24/drive.rs::pages_that_do_not_lead_on_end"],
    ),
    (
        "1.4 errors with HTTP 200, empty codes, numbers, sentences, objects",
        "the key `error` decides",
        &[
            "src/providers/bitrix24/envelope.rs::the_key_error_decides_whatever_the_status",
            "src/providers/bitrix24/error.rs::the_code_is_found_in_every_form_it_comes_in",
        ],
    ),
    (
        "1.5 codes whose status is a matter of taste",
        "the code decides, a table has them all",
        &[
            "src/providers/bitrix24/error.rs::every_documented_code_has_its_class",
            "src/providers/bitrix24/error.rs::an_unknown_code_is_judged_by_its_status",
        ],
    ),
    (
        "1.5 a 401 that is no expired token",
        "only two refusals cause a renewal",
        &[
            "src/providers/bitrix24/client.rs::a_401_with_another_code_renews_nothing",
            "src/providers/bitrix24/credentials.rs::only_two_refusals_are_a_reason_to_renew",
        ],
    ),
    (
        "1.5 pages of HTML instead of answers",
        "an unknown outcome, not a success",
        &[
            "src/providers/bitrix24/envelope.rs::what_is_no_envelope_is_an_unknown_outcome",
            "src/providers/bitrix24/error.rs::answers_without_an_envelope_are_judged_by_status",
        ],
    ),
    (
        "2 the bucket is shared by portal and source address",
        "one budget for all work and all credentials of a portal, over restarts",
        &[
            "tests/budget.rs::five_hundred_documents_at_once_take_the_least_time_that_the_bucket_allows",
            "src/actors/portal_session/shared_budget.rs::two_credentials_of_one_portal_share_one_bucket",
            "src/actors/portal_session/shared_budget.rs::nothing_is_sent_that_is_not_on_disk_as_spent",
        ],
    ),
    (
        "2 operating time is blocked by method",
        "that method rests and no other",
        &["tests/budget.rs::a_limit_of_one_method_pauses_that_method_and_nothing_else"],
    ),
    (
        "2 OVERLOAD_LIMIT is a block by people",
        "the portal is left alone and an alarm rings",
        &["tests/budget.rs::a_block_by_the_vendor_stops_the_portal_rings_the_alarm_and_ends_with_one_notice"],
    ),
    (
        "2 a batch answers 200 whatever its commands did",
        "each command has its own outcome, one that is in neither map was not executed",
        &[
            "src/providers/bitrix24/batch.rs::each_call_gets_its_own_outcome",
            "tests/portal_events.rs::a_refusal_within_a_batch_is_for_good_for_its_own_document_and_for_no_other",
            "src/providers/bitrix24/error.rs::within_a_batch_known_codes_keep_their_class_and_unknown_ones_leave_the_outcome_open",
        ],
    ),
    (
        "2 numeric names become lists",
        "names begin with a letter, empty maps may come as lists",
        &[
            "src/providers/bitrix24/batch.rs::names_are_never_numeric_and_at_most_fifty",
            "src/providers/bitrix24/batch.rs::empty_maps_come_as_lists",
        ],
    ),
    (
        "2 files and limits in batches",
        "uploads never share; a limit within a batch is obeyed",
        &[
            "src/providers/bitrix24/call.rs::uploads_never_share",
            "src/providers/bitrix24/batch.rs::limits_inside_a_batch_are_noted_by_method",
        ],
    ),
    (
        "2 sixty seconds for a request",
        "a portal that is slow gets smaller batches",
        &["tests/portal_life.rs::a_portal_too_slow_for_a_full_batch_is_asked_in_smaller_ones"],
    ),
    (
        "3 each renewal replaces the pair",
        "one renewal at a time, on disk before use, with a way back after a loss",
        &[
            "tests/apps.rs::a_hundred_calls_that_meet_an_expired_token_cause_one_renewal",
            "tests/apps.rs::a_death_between_the_storing_and_the_use_of_new_tokens_costs_nothing",
            "tests/apps.rs::a_death_before_the_new_tokens_are_stored_makes_documents_wait_for_the_administrator",
            "tests/portal_events.rs::a_rename_while_a_new_pair_waits_for_the_disk_keeps_both",
        ],
    ),
    (
        "3 no renewal by a timer, and none too late",
        "only refused and long idle tokens are renewed",
        &["tests/portal_events.rs::idle_tokens_are_renewed_well_inside_the_shortest_life_and_not_before"],
    ),
    (
        "3 the refresh token in an address",
        "a renewal is a form",
        &["src/providers/bitrix24/oauth.rs::a_refresh_is_a_form_that_keeps_secrets_out_of_the_address"],
    ),
    (
        "3 errors of the OAuth server with any status, `wrong_client` with 200",
        "each has its meaning",
        &["src/providers/bitrix24/oauth.rs::every_documented_error_has_its_meaning_whatever_its_status"],
    ),
    (
        "3 a token that anybody may bring",
        "app.info and an administrator are asked before anything is believed",
        &[
            "tests/apps.rs::an_employee_can_neither_install_nor_put_a_token_of_their_own_into_the_records",
            "tests/portal_events.rs::a_claim_that_the_authorisation_server_denies_leaves_no_trace_in_the_inbox",
            "src/providers/bitrix24/oauth.rs::a_host_that_nobody_configured_is_never_called",
        ],
    ),
    (
        "3 installFinish",
        "the installation page calls it; an application without pages gets an event",
        &[
            "tests/apps.rs::a_document_is_signed_at_a_portal_that_has_installed_the_application",
            "tests/apps.rs::an_application_without_pages_is_installed_by_its_event",
        ],
    ),
    (
        "3 bindings vanish with an update",
        "they are made again, with the new application token",
        &["tests/apps.rs::an_update_with_a_new_application_token_binds_everything_again"],
    ),
    (
        "3 bindings outlive an address",
        "those of a former address are taken away",
        &["tests/portal_events.rs::what_was_bound_to_a_former_address_is_taken_away"],
    ),
    (
        "3 ONAPPINSTALL comes once",
        "it is written down before anything is asked",
        &[
            "tests/portal_events.rs::an_installation_that_nobody_can_confirm_now_is_kept_over_a_restart_and_carried_out_later",
            "tests/portal_events.rs::a_death_while_an_installation_is_being_confirmed_loses_nothing",
        ],
    ),
    (
        "3 ONAPPUNINSTALL has one proof",
        "the application token; the removal is soft",
        &[
            "tests/apps.rs::a_forged_removal_leaves_no_trace_and_a_true_one_makes_work_wait",
            "tests/portal_events.rs::a_removed_application_is_remembered_for_seven_days_and_its_watches_end_at_once",
        ],
    ),
    (
        "3 older boxes lack fields of the frame",
        "they are not needed",
        &["src/providers/bitrix24/lifecycle.rs::an_older_box_lacks_three_fields_and_a_person_lacks_all"],
    ),
    (
        "4.1 PHP bracket forms",
        "decoded as PHP would, within bounds, or refused",
        &[
            "src/providers/bitrix24/forms.rs::every_recorded_shape_decodes_as_php_would",
            "src/providers/bitrix24/forms.rs::a_huge_index_allocates_nothing",
            "tests/fuzz.rs::bracket_forms_mean_one_thing_or_are_refused",
        ],
    ),
    (
        "4.2 events are never sent again",
        "answered after they are on disk; lost ones are healed",
        &[
            "src/http/bitrix24.rs::no_200_while_nothing_can_be_stored",
            "tests/channels.rs::an_event_that_the_webhook_loses_is_healed_by_the_sweep_and_reported",
            "tests/crash.rs::every_acknowledged_event_ends_once_however_often_the_process_is_killed",
        ],
    ),
    (
        "4.2 events come twice, late, in any order, and by the thousand",
        "the object is read again, many events are one reading",
        &[
            "tests/hostile.rs::an_event_replayed_a_hundred_times_at_once_makes_one_document",
            "tests/channels.rs::ten_thousand_updates_of_one_deal_are_a_handful_of_readings",
            "tests/channels.rs::a_bulk_edit_of_ten_thousand_deals_is_worked_off_in_a_few_requests_and_leaves_no_documents_behind",
        ],
    ),
    (
        "4.2 our own writes are events",
        "the echo is dropped",
        &["tests/crm.rs::a_copy_in_the_watched_field_is_not_signed_again"],
    ),
    (
        "4.3 bound already is an error",
        "and a success to us",
        &["src/providers/bitrix24/registration.rs::what_is_bound_already_is_a_success"],
    ),
    (
        "4.4 a move to another funnel is no update",
        "it is an event of its own, bound for applications",
        &["src/providers/bitrix24/events.rs::samples_start_what_they_should"],
    ),
    (
        "4.4 files have no event",
        "folders are polled with an overlap, whatever the portal filters",
        &[
            "src/providers/bitrix24/drive.rs::a_folder_is_read_page_by_page_by_growing_id",
            "src/providers/bitrix24/drive.rs::a_portal_that_ignores_the_filter_does_not_fool_us",
        ],
    ),
    (
        "5 reading deletes, and reservations are forgotten",
        "confirm mode where the plan has it, simple mode else, lost reservations are found",
        &[
            "tests/channels.rs::a_box_without_any_inbound_address_hears_of_changes_by_the_offline_queue",
            "tests/channels.rs::a_plan_without_reservations_is_read_in_the_simple_way",
            "tests/channels.rs::rows_reserved_by_an_answer_that_was_lost_are_found_and_taken_up",
        ],
    ),
    (
        "5 ONOFFLINEEVENT says only that there is something",
        "it has the queue read at once",
        &["tests/portal_events.rs::a_row_of_the_offline_queue_is_told_by_its_event_and_read_at_once"],
    ),
    (
        "6 a download needs a browser's headers, and 404 may mean them",
        "they are sent, and what is not the file is told apart",
        &[
            "src/providers/bitrix24/transfer.rs::a_download_looks_like_a_browser_and_keeps_its_name",
            "src/providers/bitrix24/transfer.rs::what_is_not_the_file_is_told_apart",
        ],
    ),
    (
        "6 an upload whose answer is lost, or whose name is taken",
        "the folder is looked into",
        &[
            "src/providers/bitrix24/transfer.rs::an_upload_with_an_unknown_outcome_or_a_taken_name_is_looked_into",
            "tests/failure_sweep.rs::nothing_is_lost_and_nothing_happens_twice_whatever_fails",
        ],
    ),
    (
        "6 links carry tokens",
        "foreign links are not called, redirects only at home",
        &[
            "src/providers/bitrix24/transfer.rs::a_foreign_link_is_not_called",
            "src/providers/bitrix24/transfer.rs::a_redirect_is_followed_at_home_only",
        ],
    ),
    (
        "7.2 a file left out of an update is deleted",
        "files that are there are named again, a single field is never overwritten",
        &[
            "src/providers/bitrix24/item_fields.rs::files_that_are_there_are_named_again",
            "src/providers/bitrix24/item_fields.rs::a_single_field_with_a_file_is_never_overwritten",
        ],
    ),
    (
        "7.2 unknown fields are ignored silently",
        "what was written is read back",
        &["src/providers/bitrix24/item_fields.rs::a_file_that_the_portal_ignored_is_not_called_delivered"],
    ),
    (
        "7.2 user fields have two names",
        "both are known",
        &["src/providers/bitrix24/crm.rs::user_fields_are_known_by_both_names"],
    ),
    (
        "7.1, 12 old boxes lack methods",
        "the old ones are used, learned from one refusal",
        &["tests/crm.rs::an_old_box_without_crm_item_gets_everything_by_its_own_methods"],
    ),
    (
        "7.3 comments cannot be searched by text",
        "the timeline is read in bounds, ours is known by its mark",
        &[
            "src/providers/bitrix24/crm.rs::a_comment_is_added_and_found_by_its_mark",
            "src/providers/bitrix24/crm.rs::the_search_for_a_comment_is_bounded",
        ],
    ),
    (
        "7.4 a tag needs CLIENT_ID, `false` is no success",
        "both are minded",
        &[
            "src/providers/bitrix24/notify.rs::a_notice_carries_its_tag_and_our_name",
            "src/providers/bitrix24/notify.rs::false_means_that_nobody_was_told",
        ],
    ),
    (
        "7.5 technical users are invisible",
        "a profile that is empty is not taken for a dismissed owner without asking",
        &["src/providers/bitrix24/account.rs::an_empty_profile_means_that_the_owner_is_not_active"],
    ),
    (
        "9 an empty USE_SUBSCRIPTION",
        "means to wait, and is always set by us",
        &[
            "src/providers/bitrix24/robots.rs::what_the_portal_is_told_is_what_it_takes",
            "src/providers/bitrix24/robots.rs::people_and_wishes_are_read_as_the_designer_writes_them",
        ],
    ),
    (
        "9 document ids end in a number after the last underscore",
        "they are read so",
        &["src/providers/bitrix24/robots.rs::the_item_is_read_after_the_last_underscore"],
    ),
    (
        "9 a robot's call that is lost hangs its workflow",
        "it is found and told; one whose document is finished is released",
        &[
            "tests/portal_events.rs::a_workflow_whose_call_was_lost_is_told_once_and_shown_until_somebody_stops_it",
            "tests/portal_events.rs::a_workflow_that_waits_although_its_document_is_finished_is_released_once",
        ],
    ),
    (
        "9 an event token works once",
        "a repeated answer is harmless",
        &[
            "src/providers/bitrix24/robots.rs::a_used_token_means_that_nobody_waits",
            "tests/crm.rs::an_answer_of_unknown_outcome_releases_the_workflow_once_and_the_document_ends",
        ],
    ),
    (
        "10 push servers differ, channels end, restarts are announced",
        "each kind is understood and obeyed",
        &[
            "src/providers/bitrix24/push.rs::both_kinds_of_servers_are_understood_and_the_place_moves_on",
            "src/providers/bitrix24/push.rs::what_the_server_says_of_itself_is_obeyed",
            "tests/portal_events.rs::a_box_without_an_inbound_address_is_woken_by_the_push_server",
        ],
    ),
    (
        "11 the PDF comes later, or never",
        "it is asked for again, and a person after that",
        &[
            "tests/portal_events.rs::a_generated_document_is_told_to_the_application_and_its_late_pdf_is_waited_for",
            "tests/crm.rs::a_pdf_that_fails_or_never_comes_stops_for_a_person_in_words",
        ],
    ),
    (
        "12.1 counting rows costs a minute",
        "lists are read without a count, by growing id",
        &["src/providers/bitrix24/item_pages.rs::changed_items_come_page_by_page"],
    ),
    (
        "12.8 writes are not idempotent",
        "an unknown outcome is looked for, at every call",
        &[
            "tests/crm.rs::whatever_happens_to_a_write_into_the_item_it_is_made_once",
            "tests/failure_sweep.rs::nothing_is_lost_and_nothing_happens_twice_whatever_fails",
        ],
    ),
    (
        "12.9 secrets in addresses",
        "are cut from logs and answers without being known",
        &["src/providers/redaction.rs::places_of_secrets_are_cut_without_knowing_the_secret"],
    ),
];

#[test]
fn every_trap_names_tests_that_exist() {
    let mut sources: BTreeMap<&str, String> = BTreeMap::new();
    for (section, trap, tests) in TRAPS {
        assert!(!tests.is_empty(), "{section}: nothing proves that {trap}");
        for test in *tests {
            let (file, name) = test.split_once("::").expect("a file and a name");
            let text = sources.entry(file).or_insert_with(|| source(file));
            assert!(has_test(text, name), "{section}: there is no test {test}");
        }
    }
}
