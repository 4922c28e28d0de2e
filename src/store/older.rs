//! A document's record as an earlier released version of the program wrote it, for tests of an upgrade in mid-flight.
//!
//! Compiled in always, used by tests only: production writes the newest version.

use super::document_v1::{DeliveryV1, DocumentSagaV1};
use super::document_v2::{DeliveryV2, DocumentSagaV2};
use super::records::{Kind, encode_version};
use crate::saga::document::{DocumentSaga, Source, Step};

/// The bytes that the release with this version of the record would have stored; `None` if the record holds what that
/// release did not know.
pub(super) fn document_as(version: u16, saga: &DocumentSaga) -> Option<Vec<u8>> {
    match version {
        1 => {
            let old = v1(saga.clone());
            let known = knows(saga, Step::Parked) && !is_of_the_second(&saga.source);
            (known && DocumentSaga::from(old.clone()) == *saga)
                .then(|| encode_version(Kind::Document, 1, &old))
                .flatten()
        }
        2 => {
            let old = v2(saga.clone());
            (knows(saga, Step::AnswerRobot) && DocumentSaga::from(old.clone()) == *saga)
                .then(|| encode_version(Kind::Document, 2, &old))
                .flatten()
        }
        _ => None,
    }
}

/// Whether the record names no later step than `last`, the last one of that release.
fn knows(saga: &DocumentSaga, last: Step) -> bool {
    let steps = [Some(saga.step), saga.dead_letter.as_ref().map(|dead| dead.from)];
    steps.into_iter().flatten().all(|step| step.code() <= last.code())
}

fn is_of_the_second(source: &Source) -> bool {
    match source {
        Source::DriveFile { .. } | Source::CrmItem { .. } | Source::CrmFile { .. } => false,
        Source::Generated { .. } | Source::OfItem { .. } => true,
    }
}

fn v1(saga: DocumentSaga) -> DocumentSagaV1 {
    let delivery = saga.delivery;
    DocumentSagaV1 {
        id: saga.id,
        revision: saga.revision,
        created_at: saga.created_at,
        updated_at: saga.updated_at,
        step_since: saga.step_since,
        step: saga.step,
        work: saga.work,
        timer: saga.timer,
        last_token: saga.last_token,
        tries: saga.tries,
        rounds: saga.rounds,
        looks: saga.looks,
        portal: saga.portal,
        source: saga.source,
        read_again: saga.read_again,
        delivery: DeliveryV1 {
            rule: delivery.rule,
            route_id: delivery.route_id,
            folder_id: delivery.folder_id,
            suffix: delivery.suffix,
            comment: delivery.comment,
            notify: delivery.notify,
            notify_on: delivery.notify_on,
        },
        crm_item: saga.crm_item,
        file: saga.file,
        external_id: saga.external_id,
        provider_document: saga.provider_document,
        outcome: saga.outcome,
        provider_status: saga.provider_status,
        waiting: saga.waiting,
        signed: saga.signed,
        folder_baseline: saga.folder_baseline,
        upload_name: saga.upload_name,
        delivered: saga.delivered,
        comment_id: saga.comment_id,
        notified: saga.notified,
        dead_letter: saga.dead_letter,
        last_failure: saga.last_failure,
    }
}

fn v2(saga: DocumentSaga) -> DocumentSagaV2 {
    let delivery = saga.delivery;
    DocumentSagaV2 {
        id: saga.id,
        revision: saga.revision,
        created_at: saga.created_at,
        updated_at: saga.updated_at,
        step_since: saga.step_since,
        step: saga.step,
        work: saga.work,
        timer: saga.timer,
        last_token: saga.last_token,
        tries: saga.tries,
        rounds: saga.rounds,
        looks: saga.looks,
        portal: saga.portal,
        source: saga.source,
        read_again: saga.read_again,
        delivery: DeliveryV2 {
            rule: delivery.rule,
            route_id: delivery.route_id,
            folder_id: delivery.folder_id,
            suffix: delivery.suffix,
            comment: delivery.comment,
            notify: delivery.notify,
            notify_on: delivery.notify_on,
            drive: delivery.drive,
            field: delivery.field,
            comment_file: delivery.comment_file,
            stage_on_signed: delivery.stage_on_signed,
            stage_on_refused: delivery.stage_on_refused,
            stages_from: delivery.stages_from,
            item_stage: delivery.item_stage,
        },
        crm_item: saga.crm_item,
        file: saga.file,
        external_id: saga.external_id,
        provider_document: saga.provider_document,
        outcome: saga.outcome,
        provider_status: saga.provider_status,
        waiting: saga.waiting,
        signed: saga.signed,
        folder_baseline: saga.folder_baseline,
        upload_name: saga.upload_name,
        delivered: saga.delivered,
        comment_id: saga.comment_id,
        notified: saga.notified,
        dead_letter: saga.dead_letter,
        last_failure: saga.last_failure,
        field_baseline: saga.field_baseline,
        field_file: saga.field_file,
        robots: saga.robots,
        ending: saga.ending,
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::decode;
    use super::super::samples::Samples;
    use super::*;

    #[test]
    fn what_an_older_release_would_have_written_reads_back_as_the_same_document() {
        for seed in 1..200 {
            let newest = Samples::new(seed).saga();
            let second = DocumentSaga::from(Samples::new(seed).saga_v2());
            let first = DocumentSaga::from(Samples::new(seed).saga_v1());
            for (version, saga) in [(1, first), (2, second), (1, newest.clone()), (2, newest)] {
                if let Some(bytes) = document_as(version, &saga) {
                    assert_eq!(bytes[4], u8::try_from(version).expect("small"));
                    assert_eq!(decode::<DocumentSaga>(&bytes), Ok(saga));
                }
            }
        }
    }

    #[test]
    fn wishes_that_a_release_did_not_know_are_not_written_as_its_record() {
        let mut saga = DocumentSaga::from(Samples::new(0).saga_v1());
        saga.step = Step::Create;
        saga.dead_letter = None;
        assert!(document_as(1, &saga).is_some() && document_as(2, &saga).is_some());
        saga.delivery.field = Some("UF".into());
        assert!(document_as(1, &saga).is_none() && document_as(2, &saga).is_some());
        saga.own = Some(Box::default());
        assert!(document_as(2, &saga).is_none());
    }
}
