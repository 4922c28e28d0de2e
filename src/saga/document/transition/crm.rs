//! Delivery into a CRM item: the file field and the stage; and the wait for the PDF of a generated document.
//!
//! What lies in the item already is never dropped, and an item that a person has moved is never moved: the effects
//! look before they write, and what they find is told here.

use super::super::event::{Answer, StageKept};
use super::super::state::{Claim, CommentFile, DriveCopy, Step};
use super::super::words;
use super::destination::{folder_of, wanted_stage};
use super::{Draft, IllegalEvent, missing, wrong};
use crate::domain::Text;

/// Whether the step comes after the copy on the Drive, so that its folder can be changed no more.
pub(super) fn is_after_drive(step: Step) -> bool {
    matches!(
        step,
        Step::ScanField
            | Step::AttachField
            | Step::FindFieldFile
            | Step::Comment
            | Step::FindComment
            | Step::MoveStage
            | Step::Notify
            | Step::AnswerRobot
    )
}

impl Draft<'_> {
    // ---- a generated document ------------------------------------------------------------------------------

    /// The generator makes the PDF some time after the document (Bitrix24 docs: ask again after 30 to 40 s).
    pub(super) fn pdf_pending(&mut self) {
        if self.next.saga.step != Step::AwaitPdf {
            self.note(
                "pdf_pending",
                "Битрикс24 ещё готовит PDF: спросим позже",
                "Bitrix24 is still making the PDF: we ask again later",
            );
            self.enter(Step::AwaitPdf);
        }
        if self.cx.now.ms_since(self.next.saga.step_since) >= self.cx.policy.pdf_wait_ms {
            self.park_without_pdf();
            return;
        }
        let saga = self.saga();
        saga.tries = 0;
        saga.last_failure = None;
        self.later(self.cx.policy.pdf_pause_ms);
    }

    fn park_without_pdf(&mut self) {
        let minutes = self.cx.policy.pdf_wait_ms / 60_000;
        self.park(
            "pdf_not_made",
            Text::new(
                format!("Битрикс24 не сделал PDF документа за {minutes} мин."),
                format!("Bitrix24 has not made the PDF of the document within {minutes} min."),
            ),
            Text::new(
                "Откройте документ в карточке: если PDF есть, повторите (retry). На коробке проверьте службу преобразования файлов (модуль transformer): без неё PDF не появится.",
                "Open the document in its item: if the PDF is there, retry. On a self-hosted portal check the conversion service (module transformer): there is no PDF without it.",
            ),
            None,
        );
    }

    // ---- is there a place for the signed file? -------------------------------------------------------------

    pub(super) fn has_place(&self) -> bool {
        let (saga, delivery) = (&self.next.saga, &self.next.saga.delivery);
        match delivery.drive {
            DriveCopy::Wanted => folder_of(saga).is_ok(),
            DriveCopy::NotWanted => {
                let attached = delivery.comment && delivery.comment_file == CommentFile::Attached;
                saga.crm_item.is_some() && (delivery.field.is_some() || attached)
            }
        }
    }

    /// Wishes about an item that nobody knows are not silently forgotten.
    pub(super) fn note_no_item(&mut self) {
        let delivery = &self.next.saga.delivery;
        let wished = delivery.field.is_some()
            || delivery.stage_on_signed.is_some()
            || delivery.stage_on_refused.is_some();
        if wished && self.next.saga.crm_item.is_none() {
            self.note(
                "no_item",
                "Карточка CRM неизвестна: поле и стадия останутся как есть",
                "The CRM item is unknown: its field and stage stay as they are",
            );
        }
    }

    // ---- the file field ------------------------------------------------------------------------------------

    pub(super) fn deliver_to_field(&mut self) -> Result<(), IllegalEvent> {
        let saga = &self.next.saga;
        if saga.delivery.field.is_some() && saga.crm_item.is_some() && saga.field_file.is_none() {
            return self.go(Step::ScanField);
        }
        self.announce()
    }

    pub(super) fn item_answered(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        match (self.next.saga.step, answer) {
            (Step::ScanField, Answer::FieldScanned { file_ids }) => self.field_scanned(file_ids),
            (Step::AttachField, Answer::FieldAttached { file_id })
            | (Step::FindFieldFile, Answer::FieldFileFound { file_id }) => self.attached(*file_id),
            (Step::FindFieldFile, Answer::FieldFileNotFound) => self.not_found(Step::AttachField),
            (Step::MoveStage, Answer::StageMoved { from }) => self.stage_moved(from),
            (Step::MoveStage, Answer::StageKept { stage, why }) => self.stage_kept(stage, *why),
            (step, _) => Err(wrong(step, answer)),
        }
    }

    /// From now on these bytes in this item are ours: the portal tells of the change before it answers.
    fn field_scanned(&mut self, file_ids: &[u64]) -> Result<(), IllegalEvent> {
        let saga = &self.next.saga;
        let item = saga.crm_item.ok_or_else(|| missing(saga, "the CRM item"))?;
        let digest = saga.signed.ok_or_else(|| missing(saga, "the signed file"))?.digest;
        let portal = saga.portal.clone();
        self.next.claims.push(Claim::EchoBytes { portal, item, digest });
        let saga = self.saga();
        saga.last_failure = None;
        saga.field_baseline = Some(file_ids.to_vec());
        self.go(Step::AttachField)
    }

    pub(super) fn attached(&mut self, file_id: u64) -> Result<(), IllegalEvent> {
        self.settled();
        self.saga().field_file = Some(file_id);
        let field = words::plain(self.next.saga.delivery.field.as_deref().unwrap_or_default());
        self.note(
            "attached",
            format!("Подписанный файл лежит в поле {field} карточки"),
            format!("The signed file is in field {field} of the item"),
        );
        self.announce()
    }

    // ---- the stage -----------------------------------------------------------------------------------------

    pub(super) fn move_stage(&mut self) -> Result<(), IllegalEvent> {
        if wanted_stage(&self.next.saga).is_some() && self.next.saga.crm_item.is_some() {
            self.go(Step::MoveStage)
        } else {
            self.tell()
        }
    }

    fn stage_moved(&mut self, from: &str) -> Result<(), IllegalEvent> {
        self.settled();
        let to = words::plain(wanted_stage(&self.next.saga).unwrap_or_default());
        let from = words::plain(from);
        if from == to {
            self.note(
                "stage_reached",
                format!("Карточка уже в стадии {to}"),
                format!("The item stands in stage {to} already"),
            );
        } else {
            self.note(
                "stage_moved",
                format!("Карточка переведена из стадии {from} в {to}"),
                format!("The item was moved from stage {from} to {to}"),
            );
        }
        self.tell()
    }

    fn stage_kept(&mut self, stage: &str, why: StageKept) -> Result<(), IllegalEvent> {
        self.settled();
        let stage = words::plain(stage);
        let text = match why {
            StageKept::MovedByOthers => Text::new(
                format!("Карточка уже в стадии {stage}, её перевёл кто-то другой: стадию не меняем"),
                format!("The item stands in stage {stage}, moved by somebody else: it is left there"),
            ),
            StageKept::Backwards => Text::new(
                format!("Карточка уже дальше, в стадии {stage}: назад не переводим"),
                format!("The item is further already, in stage {stage}: it is not moved back"),
            ),
            StageKept::OtherFunnel => Text::new(
                format!("Карточка в другой воронке, в стадии {stage}: стадию не меняем"),
                format!("The item is in another funnel, in stage {stage}: it is left there"),
            ),
        };
        self.note("stage_kept", text.ru, text.en);
        self.tell()
    }
}
