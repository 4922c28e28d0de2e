//! Successful answers: what each step does with its own, and what an answer that comes too late is still worth.

use super::super::effect;
use super::super::event::{Answer, WantedFile};
use super::super::own_signature::{SignedPart, Telling};
use super::super::rule::{self, SourceFacts};
use super::super::state::{
    Claim, DeliveredFile, Delivery, DriveCopy, Occasion, Outcome, Source, SourceFile, Step, WaitWork,
};
use super::super::words;
use super::{Draft, IllegalEvent, Spawn, reading_claim_of, source_claim, wrong};
use crate::domain::{CrmItem, SpoolFile, Text};

/// The runner's code for a source that no rule wants.
pub(crate) const NO_RULE: &str = "no_rule";

impl Draft<'_> {
    pub(super) fn answered(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        if let Answer::Own(own) = answer {
            return self.own_answered(own);
        }
        match self.next.saga.step {
            Step::ReadItem => self.item_read(answer),
            Step::FetchSource => self.source_answered(answer),
            Step::AwaitPdf => self.source_answered(answer),
            Step::Create | Step::FindDocument => self.document_answered(answer),
            Step::AwaitSignature | Step::AwaitSigner => self.wait_answered(answer),
            Step::FetchSigned | Step::ScanFolder | Step::Upload | Step::FindUpload => {
                self.delivery_answered(answer)
            }
            Step::ScanField | Step::AttachField | Step::FindFieldFile | Step::MoveStage => {
                self.item_answered(answer)
            }
            Step::Comment | Step::FindComment | Step::Notify => self.announcement_answered(answer),
            Step::AnswerRobot => self.robot_answered(answer),
            step @ (Step::Delivered
            | Step::Refused
            | Step::Ignored
            | Step::Cancelled
            | Step::Parked
            | Step::UploadBlob
            | Step::CreateDraft
            | Step::FindDraft
            | Step::SetRoute
            | Step::FindRoute
            | Step::PrepareContent
            | Step::TellSigner
            | Step::SendSignature
            | Step::SaveSignature
            | Step::FindSave
            | Step::FetchArchive
            | Step::SendSigned
            | Step::FindSent
            | Step::AwaitProcess) => Err(wrong(step, answer)),
        }
    }

    // ---- the source ----------------------------------------------------------------------------------------

    fn item_read(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        if self.next.saga.read_again > 0 {
            return self.start();
        }
        match answer {
            Answer::ItemWanted { item, files, delivery } => match files.split_first() {
                Some((first, rest)) if self.is_reading(*item) => {
                    let of = |f: &WantedFile| Source::CrmFile {
                        item: *item,
                        field: f.field.clone(),
                        file_id: f.file_id,
                    };
                    let rule = &delivery.rule;
                    self.next.spawn =
                        rest.iter().map(|f| Spawn { source: of(f), rule: rule.clone() }).collect();
                    self.item_wanted(*item, of(first), delivery)
                }
                Some(_) | None => Err(wrong(Step::ReadItem, answer)),
            },
            Answer::DocumentPicked { document_id, delivery } => match self.next.saga.source {
                Source::OfItem { item, .. } => {
                    self.item_wanted(item, Source::Generated { document_id: *document_id }, delivery)
                }
                Source::CrmItem { .. }
                | Source::DriveFile { .. }
                | Source::CrmFile { .. }
                | Source::Generated { .. } => Err(wrong(Step::ReadItem, answer)),
            },
            Answer::NotWanted { code, reason } => self.not_wanted(code, reason),
            _ => Err(wrong(Step::ReadItem, answer)),
        }
    }

    /// Whether this item is what the saga reads.
    fn is_reading(&self, item: CrmItem) -> bool {
        match &self.next.saga.source {
            Source::CrmItem { item: ours } | Source::OfItem { item: ours, .. } => *ours == item,
            Source::DriveFile { .. } | Source::CrmFile { .. } | Source::Generated { .. } => false,
        }
    }

    fn item_wanted(
        &mut self,
        item: CrmItem,
        source: Source,
        delivery: &Delivery,
    ) -> Result<(), IllegalEvent> {
        let portal = self.next.saga.portal.clone();
        self.next.release.extend(reading_claim_of(&portal, &self.next.saga.source));
        self.next.claims.push(source_claim(&portal, &source));
        let external_id = effect::external_id(&portal, &source, self.next.saga.id);
        self.next.claims.push(Claim::External(external_id.clone()));
        self.settled();
        self.choose_delivery(delivery);
        let saga = self.saga();
        saga.external_id = external_id;
        saga.source = source;
        saga.crm_item = Some(item);
        self.note(
            "item_wanted",
            format!("Карточка {item}: правило подошло"),
            format!("Item {item}: a rule wants it"),
        );
        self.go(Step::FetchSource)
    }

    /// Takes the rule's wishes, except where something is chosen already: by an earlier answer or by a person.
    fn choose_delivery(&mut self, wanted: &Delivery) {
        let chosen = &mut self.saga().delivery;
        let mut delivery = wanted.clone();
        if !chosen.route_id.is_empty() {
            delivery.route_id.clone_from(&chosen.route_id);
        }
        if chosen.folder_id.is_some() {
            delivery.folder_id = chosen.folder_id;
        }
        if !chosen.notify.is_empty() {
            delivery.notify.clone_from(&chosen.notify);
        }
        *chosen = delivery;
    }

    pub(super) fn not_wanted(&mut self, code: &str, reason: &Text) -> Result<(), IllegalEvent> {
        let portal = self.next.saga.portal.clone();
        if let Some(reading) = reading_claim_of(&portal, &self.next.saga.source) {
            self.next.release.push(reading);
        } else if code == NO_RULE {
            // A rule that is mended later must be able to take the file up.
            self.next.release.push(source_claim(&portal, &self.next.saga.source));
            // The same file gets the same id when it is taken up again.
            self.next.release.push(Claim::External(self.next.saga.external_id.clone()));
        }
        self.close(Step::Ignored, code, reason.clone())
    }

    fn source_answered(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        match answer {
            Answer::SourceFetched { facts, bytes, delivery, crm_item } => {
                self.source_fetched(facts, *bytes, delivery, *crm_item)
            }
            Answer::NotWanted { code, reason } => self.not_wanted(code, reason),
            Answer::PdfPending => {
                self.pdf_pending();
                Ok(())
            }
            _ => Err(wrong(self.next.saga.step, answer)),
        }
    }

    fn source_fetched(
        &mut self,
        facts: &SourceFacts,
        bytes: SpoolFile,
        delivery: &Delivery,
        crm_item: Option<CrmItem>,
    ) -> Result<(), IllegalEvent> {
        self.settled();
        self.choose_delivery(delivery);
        let saga = self.saga();
        saga.crm_item = saga.crm_item.or(crm_item);
        saga.file = Some(SourceFile {
            name: facts.name.clone(),
            folder_id: facts.folder_id,
            version: facts.version,
            bytes,
        });
        let (name, size) = (words::plain(&facts.name), bytes.size_bytes);
        self.note(
            "fetched",
            format!("Файл «{name}» получен, {size} байт"),
            format!("The file \"{name}\" was fetched, {size} bytes"),
        );
        if !self.has_place() {
            self.no_folder();
            return Ok(());
        }
        if self.may_be_own_copy() {
            self.park_possible_copy();
            return Ok(());
        }
        self.note_no_item();
        if self.signs_first() { self.begin_own_signature() } else { self.go(Step::Create) }
    }

    /// Found before people sign, not after.
    fn no_folder(&mut self) {
        self.enter(Step::Create);
        self.park(
            "no_folder",
            Text::new(
                "Некуда положить подписанный файл: исходный лежит не на Диске, а правило не называет папку.",
                "There is no folder for the signed file: the original is not on the Drive, and the rule names none.",
            ),
            Text::new(
                "Укажите папку: retry с folder. Чтобы не повторялось, задайте deliver_to в правиле.",
                "Name a folder: retry with folder. So that it does not happen again, set deliver_to in the rule.",
            ),
            None,
        );
    }

    // ---- the signing service -------------------------------------------------------------------------------

    fn document_answered(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        match (self.next.saga.step, answer) {
            (Step::Create, Answer::Created { document_id, raw_status }) => {
                self.created(document_id, raw_status);
                Ok(())
            }
            (Step::FindDocument, Answer::DocumentFound { document_id, status, raw_status }) => {
                self.bind(document_id);
                self.heard(status, raw_status, Self::wait)
            }
            // It exists: a search that does not see it says nothing (only a restored store asks for it then).
            (Step::FindDocument, Answer::DocumentNotFound) if self.next.saga.provider_document.is_some() => {
                self.wait();
                Ok(())
            }
            (Step::FindDocument, Answer::DocumentNotFound) => self.not_found(Step::Create),
            (step, _) => Err(wrong(step, answer)),
        }
    }

    fn created(&mut self, document_id: &str, raw_status: &str) {
        self.bind(document_id);
        self.saga().provider_status = Some(raw_status.to_owned());
        self.wait();
    }

    fn wait_answered(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        match (self.waiting_for(), answer) {
            (WaitWork::Poll, Answer::StatusRead { status, raw_status }) => {
                self.heard(status, raw_status, Self::polled)
            }
            (WaitWork::Reminder, Answer::Notified) => {
                self.reminded();
                Ok(())
            }
            (WaitWork::Escalation, Answer::Notified) => self.escalated(),
            (WaitWork::Nothing | WaitWork::Poll | WaitWork::Reminder | WaitWork::Escalation, _) => {
                Err(wrong(self.next.saga.step, answer))
            }
        }
    }

    // ---- the delivery --------------------------------------------------------------------------------------

    fn delivery_answered(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        match (self.next.saga.step, answer) {
            (Step::FetchSigned, Answer::SignedFetched { bytes }) => self.signed_fetched(*bytes),
            (Step::ScanFolder, Answer::FolderScanned { highest_id, free_name }) => {
                self.scanned(*highest_id, free_name)
            }
            (Step::Upload, Answer::Uploaded { file }) | (Step::FindUpload, Answer::UploadFound { file }) => {
                self.delivered(file)
            }
            (Step::FindUpload, Answer::UploadNotFound) => self.not_found(Step::Upload),
            (step, _) => Err(wrong(step, answer)),
        }
    }

    fn signed_fetched(&mut self, bytes: SpoolFile) -> Result<(), IllegalEvent> {
        self.settled();
        self.saga().signed = Some(bytes);
        let size = bytes.size_bytes;
        self.note(
            "signed_fetched",
            format!("Подписанный файл получен, {size} байт"),
            format!("The signed file was fetched, {size} bytes"),
        );
        self.deliver_signed()
    }

    pub(super) fn deliver_signed(&mut self) -> Result<(), IllegalEvent> {
        match self.next.saga.delivery.drive {
            DriveCopy::Wanted => self.go(Step::ScanFolder),
            DriveCopy::NotWanted => self.deliver_to_field(),
        }
    }

    /// `rounds` stays: a name that is taken again and again must come to an end.
    fn scanned(&mut self, highest_id: u64, free_name: &str) -> Result<(), IllegalEvent> {
        let folder_id = super::destination::folder_of(&self.next.saga)?;
        let portal = self.next.saga.portal.clone();
        self.next.claims.push(Claim::EchoName { portal, folder_id, name: rule::normalised_name(free_name) });
        let saga = self.saga();
        saga.last_failure = None;
        saga.folder_baseline = Some(highest_id);
        saga.upload_name = Some(free_name.to_owned());
        self.go(Step::Upload)
    }

    fn delivered(&mut self, file: &DeliveredFile) -> Result<(), IllegalEvent> {
        self.claim_echo(file.file_id);
        self.settled();
        self.put_down(file);
        let name = words::plain(&file.name);
        self.note(
            "uploaded",
            format!("Подписанный файл «{name}» лежит в папке {}", file.folder_id),
            format!("The signed file \"{name}\" lies in folder {}", file.folder_id),
        );
        if self.next_part() { self.go(Step::ScanFolder) } else { self.deliver_to_field() }
    }

    /// The file in delivery lies there now. Where only an archive exists, it is the signed file.
    fn put_down(&mut self, file: &DeliveredFile) {
        let saga = self.saga();
        match saga.own.as_deref_mut() {
            Some(own) if own.part == SignedPart::Archive => {
                own.archive_delivered = Some(file.clone());
                saga.delivered.get_or_insert_with(|| file.clone());
            }
            _ => saga.delivered = Some(file.clone()),
        }
    }

    fn claim_echo(&mut self, file_id: u64) {
        let portal = self.next.saga.portal.clone();
        self.next.claims.push(Claim::EchoFile { portal, file_id });
    }

    // ---- people are told -----------------------------------------------------------------------------------

    pub(super) fn announce(&mut self) -> Result<(), IllegalEvent> {
        if self.next.saga.delivery.comment && self.next.saga.crm_item.is_some() {
            self.go(Step::Comment)
        } else {
            self.move_stage()
        }
    }

    fn announcement_answered(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        match (self.next.saga.step, answer) {
            (Step::Comment | Step::FindComment, Answer::Commented { comment_id }) => {
                self.commented(*comment_id)
            }
            (Step::FindComment, Answer::CommentNotFound) => self.not_found(Step::Comment),
            (Step::Notify, Answer::Notified) => {
                self.settled();
                self.saga().notified += 1;
                self.tell()
            }
            (step, _) => Err(wrong(step, answer)),
        }
    }

    fn commented(&mut self, comment_id: u64) -> Result<(), IllegalEvent> {
        self.settled();
        if self.telling() != Telling::TheEnd {
            return self.timeline_told();
        }
        self.saga().comment_id = Some(comment_id);
        self.note("commented", "Комментарий в карточке записан", "The timeline comment was written");
        self.move_stage()
    }

    /// The next person who is not told yet, or the end.
    pub(super) fn tell(&mut self) -> Result<(), IllegalEvent> {
        let occasion = match self.next.saga.outcome {
            Outcome::Refused => Occasion::Refused,
            Outcome::Signed | Outcome::Open => Occasion::Signed,
        };
        let delivery = &self.next.saga.delivery;
        if delivery.notify_on.contains(&occasion)
            && (self.next.saga.notified as usize) < delivery.notify.len()
        {
            return self.go(Step::Notify);
        }
        if self.next.saga.notified > 0 {
            self.note("notified", "Люди оповещены", "People were told");
        }
        let end = match self.next.saga.outcome {
            Outcome::Refused => Step::Refused,
            Outcome::Signed | Outcome::Open => Step::Delivered,
        };
        self.close(end, end.name(), words::step(end))
    }

    // ---- too late ------------------------------------------------------------------------------------------

    /// An answer to an older attempt. It is still worth something where it names a thing that exists: the look
    /// that would search for it is answered by it. Everything else is dropped (SG-3).
    pub(super) fn straggler(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        let step = self.stuck_at();
        match answer {
            Answer::Own(own) => self.own_straggler(own),
            Answer::Created { document_id, raw_status } => {
                self.late_document(document_id, raw_status);
                Ok(())
            }
            Answer::Uploaded { file } if step == Step::FindUpload && self.is_what_we_look_for(file) => {
                self.delivered(file)
            }
            Answer::Uploaded { file } if self.next.saga.upload_name.is_some() => {
                self.late_upload(file);
                Ok(())
            }
            Answer::Commented { comment_id } if step == Step::FindComment => self.commented(*comment_id),
            Answer::FieldAttached { file_id } if step == Step::FindFieldFile => self.attached(*file_id),
            _ => Ok(()),
        }
    }

    /// A person may have moved the delivery since the attempt began, and another of two files may be its turn now.
    fn is_what_we_look_for(&self, file: &DeliveredFile) -> bool {
        let saga = &self.next.saga;
        let wanted = saga.upload_name.as_deref().map(rule::normalised_name);
        super::destination::folder_of(saga).is_ok_and(|folder| folder == file.folder_id)
            && wanted.is_some_and(|wanted| wanted == rule::normalised_name(&file.name))
    }

    fn late_document(&mut self, document_id: &str, raw_status: &str) {
        if self.is_second_document(document_id) || self.next.saga.provider_document.is_some() {
            return;
        }
        match self.end_or_stuck() {
            Step::Create | Step::FindDocument => self.created(document_id, raw_status),
            // Cancelled while it was being created: the id lets a person find it, and its callbacks find us.
            Step::Cancelled => {
                self.bind(document_id);
                let id = words::plain(document_id);
                self.note(
                    "created_late",
                    format!("Документ {id} всё же создан и остаётся в EasyDocs: отзыва у сервиса нет"),
                    format!(
                        "Document {id} was created after all and stays in EasyDocs: the service has no recall"
                    ),
                );
            }
            _ => {}
        }
    }

    /// Not adopted, but never taken for a trigger, and shown.
    fn late_upload(&mut self, file: &DeliveredFile) {
        let archive = self.next.saga.own.as_deref().and_then(|own| own.archive_delivered.as_ref());
        let mut known = self.next.saga.delivered.iter().chain(archive);
        if known.any(|known| known.file_id == file.file_id) {
            return;
        }
        self.claim_echo(file.file_id);
        let (name, id, folder) = (words::plain(&file.name), file.file_id, file.folder_id);
        self.note(
            "uploaded_late",
            format!("Запоздалый ответ: файл «{name}» ({id}) тоже лежит в папке {folder}"),
            format!("A late answer: the file \"{name}\" ({id}) lies in folder {folder} too"),
        );
    }
}
