//! Version 2 of a document's record, as released. Frozen: never edited, only read and turned into the present one.

use crate::domain::{CrmItem, PortalId, SagaId, SpoolFile, Timestamp};
use crate::saga::document::state::{DeadLetter, DeliveredFile, LastFailure, Occasion, SourceFile, Waiting};
use crate::saga::document::{
    CommentFile, Delivery, DocumentSaga, DriveCopy, Ending, Outcome, RobotOrder, Source, Step, Timer, Work,
};
use serde::{Deserialize, Serialize};

/// How a rule wanted the document to be handled: Drive, file field, comment, stages, notices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeliveryV2 {
    pub rule: String,
    pub route_id: String,
    pub folder_id: Option<u64>,
    pub suffix: String,
    pub comment: bool,
    pub notify: Vec<u64>,
    pub notify_on: Vec<Occasion>,
    pub drive: DriveCopy,
    pub field: Option<String>,
    pub comment_file: CommentFile,
    pub stage_on_signed: Option<String>,
    pub stage_on_refused: Option<String>,
    pub stages_from: Vec<String>,
    pub item_stage: Option<String>,
}

/// Everything that was known of one document on its way to a service whose participants sign there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DocumentSagaV2 {
    pub id: SagaId,
    pub revision: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub step_since: Timestamp,
    pub step: Step,
    pub work: Work,
    pub timer: Option<Timer>,
    pub last_token: u64,
    pub tries: u32,
    pub rounds: u32,
    pub looks: u32,
    pub portal: PortalId,
    pub source: Source,
    pub read_again: u32,
    pub delivery: DeliveryV2,
    pub crm_item: Option<CrmItem>,
    pub file: Option<SourceFile>,
    pub external_id: String,
    pub provider_document: Option<String>,
    pub outcome: Outcome,
    pub provider_status: Option<String>,
    pub waiting: Option<Waiting>,
    pub signed: Option<SpoolFile>,
    pub folder_baseline: Option<u64>,
    pub upload_name: Option<String>,
    pub delivered: Option<DeliveredFile>,
    pub comment_id: Option<u64>,
    pub notified: u32,
    pub dead_letter: Option<DeadLetter>,
    pub last_failure: Option<LastFailure>,
    pub field_baseline: Option<Vec<u64>>,
    pub field_file: Option<u64>,
    pub robots: Vec<RobotOrder>,
    pub ending: Option<Ending>,
}

impl From<DeliveryV2> for Delivery {
    fn from(old: DeliveryV2) -> Self {
        Self {
            rule: old.rule,
            route_id: old.route_id,
            folder_id: old.folder_id,
            suffix: old.suffix,
            comment: old.comment,
            notify: old.notify,
            notify_on: old.notify_on,
            drive: old.drive,
            field: old.field,
            comment_file: old.comment_file,
            stage_on_signed: old.stage_on_signed,
            stage_on_refused: old.stage_on_refused,
            stages_from: old.stages_from,
            item_stage: old.item_stage,
            signer: None,
        }
    }
}

impl From<DocumentSagaV2> for DocumentSaga {
    fn from(old: DocumentSagaV2) -> Self {
        Self {
            id: old.id,
            revision: old.revision,
            created_at: old.created_at,
            updated_at: old.updated_at,
            step_since: old.step_since,
            step: old.step,
            work: old.work,
            timer: old.timer,
            last_token: old.last_token,
            tries: old.tries,
            rounds: old.rounds,
            looks: old.looks,
            portal: old.portal,
            source: old.source,
            read_again: old.read_again,
            delivery: old.delivery.into(),
            crm_item: old.crm_item,
            file: old.file,
            external_id: old.external_id,
            provider_document: old.provider_document,
            outcome: old.outcome,
            provider_status: old.provider_status,
            waiting: old.waiting,
            signed: old.signed,
            folder_baseline: old.folder_baseline,
            upload_name: old.upload_name,
            delivered: old.delivered,
            comment_id: old.comment_id,
            notified: old.notified,
            dead_letter: old.dead_letter,
            last_failure: old.last_failure,
            field_baseline: old.field_baseline,
            field_file: old.field_file,
            robots: old.robots,
            ending: old.ending,
            own: None,
        }
    }
}
