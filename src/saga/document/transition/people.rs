//! Orders of people: retry with something mended, send again, bind, cancel.
//!
//! An order that makes no sense here is rejected with words that say what would; it never half-applies.

use super::super::event::{Announcement, Mend, OperatorAction};
use super::super::state::{CommentFile, DriveCopy, Outcome, RobotOrder, Step};
use super::super::words;
use super::crm::is_after_drive;
use super::destination::folder_of;
use super::{Draft, IllegalEvent, reading_claim_of, rejected};
use crate::domain::Text;

/// What the adapters accept as an id of the signing service; longer or stranger ones never came from it.
const DOCUMENT_ID_BYTES_MAX: usize = 128;

/// Whether a mend moves the signed copy to another folder than the one that was scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folder {
    Same,
    Moved,
}

impl Draft<'_> {
    pub(super) fn operator(&mut self, action: &OperatorAction) -> Result<(), IllegalEvent> {
        if self.next.saga.step.is_finished() {
            return Err(rejected("Документ уже завершён.", "The document is already finished."));
        }
        match action {
            OperatorAction::Retry(mend) => self.retry(mend),
            OperatorAction::SendAgain => self.send_again(),
            OperatorAction::Bind { document_id } => self.bind_by_hand(document_id),
            OperatorAction::Cancel { reason } => self.cancel(reason),
        }
    }

    // ---- retry ---------------------------------------------------------------------------------------------

    fn retry(&mut self, mend: &Mend) -> Result<(), IllegalEvent> {
        let stuck = self.stuck_at();
        self.not_busy()?;
        if matches!(self.next.saga.step, Step::AwaitSignature | Step::AwaitSigner) {
            return Err(rejected(
                "Документ ждёт подписей; повторять нечего.",
                "The document waits for signatures; there is nothing to retry.",
            ));
        }
        let folder = self.mend(stuck, mend)?;
        self.note("retried", "Повтор по решению человека", "Retried by a person");
        self.saga().rounds = 0;
        match (stuck, folder) {
            (Step::AwaitSignature, _) => {
                self.wait();
                Ok(())
            }
            (Step::FindDocument, _) if !self.cx.policy.search_available => Err(rejected(
                "Исход создания неизвестен, а поиск в EasyDocs не настроен: используйте send-again или bind <id>.",
                "The create's outcome is unknown and EasyDocs cannot be searched: use send-again or bind <id>.",
            )),
            // Stopped before anything was sent: its beginning is another one than that of a route over there.
            (Step::Create, _) if self.signs_first() => self.begin_own_signature(),
            (Step::FindSent, _) => Err(rejected(
                "Исход отправки неизвестен, и искать документ в iDocs этим интерфейсом нечем: используйте send-again или bind <id>.",
                "The outcome of the sending is unknown, and this interface of iDocs finds nothing: use send-again or bind <id>.",
            )),
            (Step::FindUpload, Folder::Moved) => {
                self.left_behind();
                self.go(Step::ScanFolder)
            }
            // The name and the baseline belong to the old folder.
            (Step::Upload, Folder::Moved) => self.go(Step::ScanFolder),
            // The comment may have been given up, the people mended away: then this is the end.
            (Step::Comment | Step::FindComment, _) if !self.next.saga.delivery.comment => {
                self.timeline_or_stage()
            }
            (Step::ScanField | Step::AttachField | Step::FindFieldFile, _)
                if self.next.saga.delivery.field.is_none() =>
            {
                self.announce()
            }
            (Step::MoveStage, _) => self.move_stage(),
            (Step::AnswerRobot, _) if !self.next.saga.robots.iter().any(RobotOrder::is_pending) => {
                self.seal_ending()
            }
            // The unit may be dead: a new one is made in any case, and the signer told.
            (Step::AwaitSigner, _) => {
                self.saga().waiting = None;
                self.go(Step::PrepareContent)
            }
            (Step::Notify, _) => self.tell(),
            (step, Folder::Same | Folder::Moved) => self.go(step),
        }
    }

    fn timeline_or_stage(&mut self) -> Result<(), IllegalEvent> {
        if self.next.saga.own.is_some() { self.timeline_told() } else { self.move_stage() }
    }

    fn not_busy(&self) -> Result<(), IllegalEvent> {
        if self.is_in_flight() {
            return Err(rejected(
                "Запрос уже выполняется, дождитесь его исхода.",
                "A request is already under way, wait for its outcome.",
            ));
        }
        Ok(())
    }

    fn mend(&mut self, stuck: Step, mend: &Mend) -> Result<Folder, IllegalEvent> {
        if let Some(route) = &mend.route_id {
            self.mend_route(stuck, route)?;
        }
        if let Some(people) = &mend.notify {
            self.mend_people(stuck, people)?;
        }
        for what in &mend.skip {
            match what {
                Announcement::Comment => self.skip_comment(stuck)?,
                Announcement::Notices => self.skip_notices(stuck)?,
                Announcement::Field => self.skip_field(stuck)?,
                Announcement::Stage => self.skip_stage(stuck)?,
                Announcement::Robot => self.skip_robot()?,
            }
        }
        match mend.folder_id {
            Some(folder) => self.mend_folder(stuck, folder),
            None => Ok(Folder::Same),
        }
    }

    fn mend_route(&mut self, stuck: Step, route: &str) -> Result<(), IllegalEvent> {
        if !matches!(
            stuck,
            Step::ReadItem | Step::FetchSource | Step::AwaitPdf | Step::Create | Step::FindDocument
        ) {
            return Err(rejected(
                "Документ уже отправлен по маршруту; маршрут изменить нельзя.",
                "The document is on its route already; the route cannot be changed.",
            ));
        }
        self.saga().delivery.route_id = route.to_owned();
        Ok(())
    }

    fn mend_folder(&mut self, stuck: Step, folder_id: u64) -> Result<Folder, IllegalEvent> {
        if is_after_drive(stuck) {
            return Err(rejected(
                "Подписанный файл уже доставлен или не ожидается; папку изменить нельзя.",
                "The signed file is delivered already, or none is expected; the folder cannot be changed.",
            ));
        }
        let before = folder_of(&self.next.saga).ok();
        let delivery = &mut self.saga().delivery;
        delivery.folder_id = Some(folder_id);
        delivery.drive = DriveCopy::Wanted;
        Ok(if before == Some(folder_id) { Folder::Same } else { Folder::Moved })
    }

    /// Who is told already stays told; the others are told instead of the rest.
    fn mend_people(&mut self, stuck: Step, people: &[u64]) -> Result<(), IllegalEvent> {
        // No one is what the record says before a rule is chosen: the wish could not be told from that.
        if people.is_empty() && matches!(stuck, Step::ReadItem | Step::FetchSource | Step::AwaitPdf) {
            return Err(rejected(
                "Правило ещё не применено; оповещение можно отключить, когда файл получен.",
                "No rule is applied yet; notices can be switched off once the file is fetched.",
            ));
        }
        if stuck == Step::AnswerRobot {
            return Err(rejected(
                "Люди уже оповещены; осталось ответить бизнес-процессу.",
                "People were told already; only the workflow waits for its answer.",
            ));
        }
        let saga = self.saga();
        saga.delivery.notify.truncate(saga.notified as usize);
        for user in people {
            if !saga.delivery.notify.contains(user) {
                saga.delivery.notify.push(*user);
            }
        }
        Ok(())
    }

    /// What is skipped is not only postponed: it is noted, since nobody will miss it by looking at the end.
    fn skip_comment(&mut self, stuck: Step) -> Result<(), IllegalEvent> {
        self.may_skip(stuck)?;
        let is_past = matches!(stuck, Step::MoveStage | Step::Notify | Step::AnswerRobot);
        if is_past || !self.next.saga.delivery.comment {
            return Err(rejected(
                "Комментария этот документ не ждёт: пропускать нечего.",
                "This document waits for no comment: there is nothing to skip.",
            ));
        }
        let delivery = &self.next.saga.delivery;
        let brings_the_file = delivery.comment_file == CommentFile::Attached
            && delivery.drive == DriveCopy::NotWanted
            && delivery.field.is_none();
        if brings_the_file {
            return Err(rejected(
                "Подписанный файл возвращается только этим комментарием; укажите папку (folder), чтобы обойтись без него.",
                "The signed file comes back by this comment alone; name a folder to do without it.",
            ));
        }
        self.saga().delivery.comment = false;
        match stuck {
            Step::FindComment => self.note(
                "comment_skipped",
                "Комментарий больше не ищем, по решению человека; возможно, он записан",
                "The comment is not looked for any more, by a person's decision; it may have been written",
            ),
            _ => self.note(
                "comment_skipped",
                "Без комментария в карточке, по решению человека",
                "Without a timeline comment, by a person's decision",
            ),
        }
        Ok(())
    }

    fn skip_notices(&mut self, stuck: Step) -> Result<(), IllegalEvent> {
        self.may_skip(stuck)?;
        if stuck == Step::AnswerRobot {
            return Err(rejected(
                "Люди уже оповещены; осталось ответить бизнес-процессу.",
                "People were told already; only the workflow waits for its answer.",
            ));
        }
        let saga = self.saga();
        let untold = saga.delivery.notify.len().saturating_sub(saga.notified as usize);
        if untold == 0 {
            return Err(rejected(
                "Оповещать больше некого: пропускать нечего.",
                "There is nobody left to tell: there is nothing to skip.",
            ));
        }
        saga.delivery.notify.truncate(saga.notified as usize);
        self.note(
            "notices_skipped",
            format!("Без уведомлений, по решению человека; не оповещено: {untold}"),
            format!("Without notices, by a person's decision; not told: {untold}"),
        );
        Ok(())
    }

    fn skip_field(&mut self, stuck: Step) -> Result<(), IllegalEvent> {
        self.may_skip(stuck)?;
        let saga = &self.next.saga;
        // a document that we sign ourselves has comments in between, too
        let is_past = saga.outcome != Outcome::Open
            && matches!(
                stuck,
                Step::Comment | Step::FindComment | Step::MoveStage | Step::Notify | Step::AnswerRobot
            );
        if is_past || saga.delivery.field.is_none() || saga.field_file.is_some() {
            return Err(rejected(
                "Поля карточки этот документ не ждёт: пропускать нечего.",
                "This document waits for no field: there is nothing to skip.",
            ));
        }
        let by_comment = saga.delivery.comment && saga.delivery.comment_file == CommentFile::Attached;
        if saga.delivery.drive == DriveCopy::NotWanted && !by_comment {
            return Err(rejected(
                "Подписанный файл возвращается только в это поле: освободите поле или исправьте правило и повторите.",
                "The signed file comes back into this field alone: mend the field or the rule, then retry.",
            ));
        }
        self.saga().delivery.field = None;
        match stuck {
            Step::FindFieldFile => self.note(
                "field_skipped",
                "Поле карточки больше не проверяем, по решению человека; возможно, файл в нём есть",
                "The field is not looked at any more, by a person's decision; the file may be in it",
            ),
            _ => self.note(
                "field_skipped",
                "Без файла в поле карточки, по решению человека",
                "Without a file in the item's field, by a person's decision",
            ),
        }
        Ok(())
    }

    fn skip_stage(&mut self, stuck: Step) -> Result<(), IllegalEvent> {
        self.may_skip(stuck)?;
        let delivery = &self.next.saga.delivery;
        let is_past = matches!(stuck, Step::Notify | Step::AnswerRobot);
        if is_past || (delivery.stage_on_signed.is_none() && delivery.stage_on_refused.is_none()) {
            return Err(rejected(
                "Смены стадии этот документ не ждёт: пропускать нечего.",
                "This document waits for no change of stage: there is nothing to skip.",
            ));
        }
        let delivery = &mut self.saga().delivery;
        delivery.stage_on_signed = None;
        delivery.stage_on_refused = None;
        self.note(
            "stage_skipped",
            "Стадию карточки не меняем, по решению человека",
            "The item's stage is left as it is, by a person's decision",
        );
        Ok(())
    }

    /// Robots are nobody's rule: they can be given up at any step.
    fn skip_robot(&mut self) -> Result<(), IllegalEvent> {
        if !self.next.saga.robots.iter().any(RobotOrder::is_pending) {
            return Err(rejected(
                "Ни один бизнес-процесс не ждёт этого документа: пропускать нечего.",
                "No workflow waits for this document: there is nothing to skip.",
            ));
        }
        self.let_robots_go(
            "robot_skipped",
            "Бизнес-процесс не ждёт ответа от документа, по решению человека",
            "The workflow gets no answer of this document, by a person's decision",
        );
        Ok(())
    }

    /// The rule that is still to be chosen would bring back what was given up.
    fn may_skip(&self, stuck: Step) -> Result<(), IllegalEvent> {
        if matches!(stuck, Step::ReadItem | Step::FetchSource | Step::AwaitPdf) {
            return Err(rejected(
                "Правило ещё не применено; пропустить часть доставки можно, когда файл получен.",
                "No rule is applied yet; a part of the delivery can be skipped once the file is fetched.",
            ));
        }
        Ok(())
    }

    fn left_behind(&mut self) {
        self.note(
            "folder_changed",
            "Исход загрузки в прежнюю папку неизвестен: в ней может лежать копия",
            "The outcome of the upload into the old folder is unknown: a copy may lie there",
        );
    }

    // ---- a create of unknown outcome -----------------------------------------------------------------------

    fn send_again(&mut self) -> Result<(), IllegalEvent> {
        self.is_unsent(
            "Отправить заново можно только документ с неизвестным исходом создания.",
            "Only a document whose create has an unknown outcome can be sent again.",
        )?;
        self.not_busy()?;
        if self.next.saga.own.is_some() {
            return self.send_whole_again();
        }
        // A person has looked: nothing is left to doubt.
        self.saga().rounds = u32::from(super::doubt::is_in_doubt(&self.next.saga, self.cx));
        self.note("sent_again", "Отправлен заново по решению человека", "Sent again by a person");
        self.go(Step::Create)
    }

    fn bind_by_hand(&mut self, document_id: &str) -> Result<(), IllegalEvent> {
        self.is_unsent(
            "Привязать id можно только к документу с неизвестным исходом создания.",
            "An id can be bound only to a document whose create has an unknown outcome.",
        )?;
        // A create under way will bring an id of its own; a search under way is only read.
        if matches!(self.next.saga.step, Step::Create | Step::SendSigned) {
            self.not_busy()?;
        }
        let document_id = document_id.trim();
        let is_id = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
        if document_id.is_empty()
            || document_id.len() > DOCUMENT_ID_BYTES_MAX
            || !document_id.bytes().all(is_id)
        {
            return Err(rejected(
                "Это не похоже на id документа: ожидаются латинские буквы, цифры и знаки . _ ~ -, не более 128.",
                "This does not look like a document's id: letters, digits and . _ ~ - are expected, at most 128.",
            ));
        }
        self.note("bound_by_hand", "Привязан по решению человека", "Bound by a person");
        if self.next.saga.own.is_some() {
            return self.bound_whole(document_id);
        }
        self.bind(document_id);
        self.wait();
        Ok(())
    }

    fn is_unsent(&self, ru: &str, en: &str) -> Result<(), IllegalEvent> {
        let unsent = match self.stuck_at() {
            Step::Create | Step::FindDocument => !self.signs_first(),
            Step::SendSigned | Step::FindSent | Step::AwaitProcess => true,
            _ => false,
        };
        if unsent && self.next.saga.provider_document.is_none() { Ok(()) } else { Err(rejected(ru, en)) }
    }

    // ---- cancel --------------------------------------------------------------------------------------------

    fn cancel(&mut self, reason: &str) -> Result<(), IllegalEvent> {
        if self.stuck_at() == Step::AnswerRobot {
            return self.leave_unanswered();
        }
        let reading = reading_claim_of(&self.next.saga.portal, &self.next.saga.source);
        self.next.release.extend(reading);
        let (ru, en) = self.what_stays();
        let reason = words::plain(reason);
        let reason = Text::new(
            format!("Отменён человеком: {reason}.{ru}"),
            format!("Cancelled by a person: {reason}.{en}"),
        );
        self.close(Step::Cancelled, "cancelled", reason)
    }

    /// What cancelling cannot take back at the signing service.
    fn what_stays(&self) -> (String, String) {
        let stuck = self.stuck_at();
        let service = words::service(&self.next.saga);
        let maybe =
            matches!(stuck, Step::FindDocument | Step::FindDraft | Step::FindSent | Step::AwaitProcess)
                || (matches!(stuck, Step::Create | Step::CreateDraft | Step::SendSigned)
                    && self.is_in_flight());
        if self.next.saga.provider_document.is_some() {
            (
                format!(" В {service} документ остаётся: отзыва у сервиса нет."),
                format!(" It stays in {service}: the service has no recall."),
            )
        } else if maybe {
            (
                format!(" Возможно, документ создан в {service} и останется там: отзыва у сервиса нет."),
                format!(
                    " {service} may have the document, and it would stay there: the service has no recall."
                ),
            )
        } else {
            (String::new(), String::new())
        }
    }
}
