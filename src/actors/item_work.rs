//! The calls of one effect at a CRM item: file field, comment with a file, stage, generated documents, and the answer
//! to a workflow. A part of the runner: it translates and decides nothing about a document.

use super::local_failure::local;
use super::own_write;
use super::portal_session::{Learned, Transfer};
use super::portal_work::{PortalWork, not_wanted};
use super::spooled_file::spooled;
use crate::domain::{CrmItem, Failure, FailureClass, FailureKind, SpoolFile, Text};
use crate::providers::bitrix24::documentgenerator::{self, GeneratedDocument, Pdf};
use crate::providers::bitrix24::item_access::{self, Change};
use crate::providers::bitrix24::item_fields::{self, FieldState, Written};
use crate::providers::bitrix24::{crm, drive, robots};
use crate::providers::spool_io::FileSource;
use crate::saga::document::rule::{self, GeneratedFacts, Rule, SourceFacts};
use crate::saga::document::stage::{self, StageMove};
use crate::saga::document::transition::source_claim;
use crate::saga::document::{
    Answer, EventToken, ItemPick, NamedFile, RobotHeard, RobotReply, Source, WantedFile, words,
};
use serde_json::json;

/// How many files of a field are looked into for ours: a field with more new ones is not a field of contracts.
const LOOKED_INTO_MAX: usize = 20;

impl PortalWork<'_> {
    // ---- the file field ------------------------------------------------------------------------------------

    pub(super) async fn scan_field(&self, item: CrmItem, field: &str) -> Result<Answer, Failure> {
        let file_ids = self.field_state(item, field).await?.file_ids;
        Ok(Answer::FieldScanned { file_ids })
    }

    async fn field_state(&self, item: CrmItem, field: &str) -> Result<FieldState, Failure> {
        item_fields::field_state(&self.items, &self.caller, item, field).await
    }

    pub(super) async fn attach_field(
        &self,
        item: CrmItem,
        field: &str,
        file: &NamedFile,
    ) -> Result<Answer, Failure> {
        let state = self.field_state(item, field).await?;
        let pass = self.pass(Transfer::FieldFile).await?;
        let source = self.file_source(file.bytes).await?;
        let written = item_fields::attach(&self.items, &pass.client, item, &state, &file.name, &source).await;
        let attached = self.learned(written).await?;
        self.remember_change(item, attached.change).await?;
        let file_id = match attached.file_id {
            Some(file_id) => Some(file_id),
            None => self.new_file(item, field, &file.bytes, &state.file_ids).await?,
        };
        match file_id {
            Some(file_id) => Ok(Answer::FieldAttached { file_id }),
            // The portal said yes and shows nothing: the look decides.
            None => Err(local(
                FailureClass::Ambiguous,
                "field_file_unseen",
                "Портал принял файл, но в поле его пока не видно.",
                "The portal took the file, but it is not seen in the field yet.",
            )),
        }
    }

    pub(super) async fn find_field_file(
        &self,
        item: CrmItem,
        field: &str,
        bytes: &SpoolFile,
        known: &[u64],
    ) -> Result<Answer, Failure> {
        let found = self.new_file(item, field, bytes, known).await?;
        Ok(found.map_or(Answer::FieldFileNotFound, |file_id| Answer::FieldFileFound { file_id }))
    }

    /// Ours is what was not there before and has our bytes: a field tells neither names nor sizes.
    async fn new_file(
        &self,
        item: CrmItem,
        field: &str,
        bytes: &SpoolFile,
        known: &[u64],
    ) -> Result<Option<u64>, Failure> {
        let files = self.items.get(&self.caller, item).await?.files(field).unwrap_or_default();
        let new = files.into_iter().filter(|file| !known.contains(&file.id));
        for file in new.take(LOOKED_INTO_MAX) {
            // Larger ones are not ours, and a file that cannot be read now is asked for again.
            match self.download(&file.url_machine, bytes.size_bytes).await {
                Ok((found, _)) if found.digest == bytes.digest => return Ok(Some(file.id)),
                Ok(_) => {}
                Err(failure) if failure.code == "file_too_large" => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(None)
    }

    /// The portal tells us of our own change as of anybody's: it must start nothing.
    async fn remember_change(&self, item: CrmItem, change: Option<Change>) -> Result<(), Failure> {
        let Some(change) = change else { return Ok(()) };
        let kept = own_write::remember(self.parts, &self.portal, item, change.at, change.by).await;
        // Written in any case: the outcome is looked for, or harmlessly repeated.
        kept.map_err(|error| Failure::new(FailureClass::Ambiguous, FailureKind::Local, "store", error.text()))
    }

    async fn file_source(&self, bytes: SpoolFile) -> Result<FileSource, Failure> {
        spooled(self.parts.store.spool(), bytes).await
    }

    async fn learned<T>(&self, written: Written<T>) -> Result<T, Failure> {
        let learned = Learned { observed: written.observed, succeeded: written.result.is_ok() };
        // The outcome of the write counts, whatever became of the session.
        let _ = self.session.send(learned).await;
        written.result
    }

    // ---- the comment ---------------------------------------------------------------------------------------

    pub(super) async fn add_comment(
        &self,
        item: CrmItem,
        text: &str,
        files: &[NamedFile],
    ) -> Result<Answer, Failure> {
        if files.is_empty() {
            let comment_id = crm::comment_add(&self.caller, item, text).await?;
            return Ok(Answer::Commented { comment_id });
        }
        let pass = self.pass(Transfer::CommentFile).await?;
        let mut sources = Vec::with_capacity(files.len());
        for file in files {
            sources.push((file.name.as_str(), self.file_source(file.bytes).await?));
        }
        let written = item_fields::comment_with_files(&pass.client, item, text, &sources).await;
        let comment_id = self.learned(written).await?;
        Ok(Answer::Commented { comment_id })
    }

    // ---- the stage -----------------------------------------------------------------------------------------

    pub(super) async fn move_stage(
        &self,
        item: CrmItem,
        to: &str,
        from: &[String],
    ) -> Result<Answer, Failure> {
        let read = self.items.get(&self.caller, item).await?;
        let present = read.stage_id.unwrap_or_default();
        if present == to {
            return Ok(Answer::StageMoved { from: present });
        }
        let order = item_access::stages(&self.caller, item, read.category_id).await?;
        match stage::decide(&present, to, from, &order) {
            StageMove::Keep(why) => return Ok(Answer::StageKept { stage: present, why }),
            StageMove::Reached => {}
            StageMove::Go => {
                let change = self.items.set_stage(&self.caller, item, to).await?;
                self.remember_change(item, change).await?;
            }
        }
        Ok(Answer::StageMoved { from: present })
    }

    // ---- what a robot wants signed -------------------------------------------------------------------------

    pub(super) async fn pick_source(
        &self,
        item: CrmItem,
        pick: &ItemPick,
        rule_id: &str,
    ) -> Result<Answer, Failure> {
        let Some(rule) = self.parts.rules.iter().find(|r| r.id == rule_id && r.is_for(&self.portal)) else {
            return Ok(rule_is_gone(rule_id));
        };
        match pick {
            ItemPick::Field(field) => self.pick_files(item, field, rule).await,
            ItemPick::LatestGenerated => self.pick_generated(item, rule).await,
        }
    }

    async fn pick_files(&self, item: CrmItem, field: &str, rule: &Rule) -> Result<Answer, Failure> {
        let read = self.items.get(&self.caller, item).await?;
        let Some(all) = read.files(field) else {
            return Ok(not_wanted(
                "no_such_field",
                format!("У карточки {item} нет файлового поля {field}: проверьте настройку робота."),
                format!("Item {item} has no file field {field}: check the robot's settings."),
            ));
        };
        let mut files = Vec::new();
        for file in all {
            if !self.is_taken(item, field, file.id).await? {
                files.push(WantedFile { field: field.to_owned(), file_id: file.id });
            }
        }
        if files.is_empty() {
            return Ok(not_wanted(
                "no_file",
                format!("В поле {field} карточки {item} нет файла, который ещё не отправлен на подпись."),
                format!("Field {field} of item {item} has no file that was not sent for signature yet."),
            ));
        }
        let delivery = self.delivery(rule, Some(&read), None);
        Ok(Answer::ItemWanted { item, files, delivery })
    }

    async fn pick_generated(&self, item: CrmItem, rule: &Rule) -> Result<Answer, Failure> {
        let listed = documentgenerator::of_item(&self.caller, item).await?;
        let Some(latest) = listed.first() else {
            return Ok(not_wanted(
                "no_file",
                format!("В карточке {item} нет документа, созданного по шаблону."),
                format!("Item {item} has no document that was generated from a template."),
            ));
        };
        if self.is_generated_taken(latest.id).await? {
            return Ok(not_wanted(
                "duplicate",
                format!("Последний документ по шаблону ({}) уже отправлен на подпись.", latest.id),
                format!("The latest generated document ({}) was sent for signature already.", latest.id),
            ));
        }
        let read = self.items.get(&self.caller, item).await?;
        let delivery = self.delivery(rule, Some(&read), None);
        Ok(Answer::DocumentPicked { document_id: latest.id, delivery })
    }

    // ---- a generated document ------------------------------------------------------------------------------

    pub(super) async fn fetch_generated(
        &self,
        document_id: u64,
        rule_id: Option<&str>,
    ) -> Result<Answer, Failure> {
        let document = documentgenerator::get(&self.caller, document_id).await?;
        let Some(rule) = self.rule_for_document(rule_id, &document) else {
            return Ok(not_wanted(
                "no_rule",
                format!("Ни одно правило не подходит к документу {document_id}, созданному по шаблону."),
                format!("No rule wants generated document {document_id}."),
            ));
        };
        let url = match &document.pdf {
            Pdf::NotYet => return Ok(Answer::PdfPending),
            Pdf::Failed { message } => return Err(not_converted(message)),
            Pdf::Ready { url } => url,
        };
        let (bytes, name) = self.download(url, rule.size_max).await?;
        let facts = SourceFacts {
            name: pdf_name(&document, name),
            size_bytes: Some(bytes.size_bytes),
            ..SourceFacts::default()
        };
        let read = self.item_facts(rule, document.item).await?;
        let delivery = self.delivery(rule, read.as_ref(), None);
        Ok(Answer::SourceFetched { facts, bytes, delivery, crm_item: document.item })
    }

    fn rule_for_document(&self, rule_id: Option<&str>, document: &GeneratedDocument) -> Option<&Rule> {
        match rule_id {
            Some(id) => self.parts.rules.iter().find(|r| r.id == id && r.is_for(&self.portal)),
            None => {
                let facts = GeneratedFacts { template_id: document.template_id, item: document.item };
                rule::rule_for_generated(&self.parts.rules, &self.portal, facts)
            }
        }
    }

    // ---- the answer to a workflow --------------------------------------------------------------------------

    pub(super) async fn answer_robot(
        &self,
        token: &EventToken,
        reply: &RobotReply,
    ) -> Result<Answer, Failure> {
        let heard = self.send_reply(token, reply).await?;
        Ok(Answer::RobotAnswered { heard })
    }

    pub(super) async fn send_reply(
        &self,
        token: &EventToken,
        reply: &RobotReply,
    ) -> Result<RobotHeard, Failure> {
        let link = match &reply.file {
            Some(file) => self.link_of(file.file_id).await?,
            None => String::new(),
        };
        let values = json!({
            "status": reply.status.word(),
            "file_id": reply.file.as_ref().map_or(0, |file| file.file_id),
            "link": link,
            "reason": reply.reason,
            "document": reply.document.map(|id| id.to_string()).unwrap_or_default(),
        });
        match robots::event_send(&self.caller, token.expose(), values, &reply.reason).await? {
            robots::Heard::Yes => Ok(RobotHeard::Yes),
            robots::Heard::TooLate => Ok(RobotHeard::TooLate),
        }
    }

    /// The page of the file for people; none where the file is gone by now.
    async fn link_of(&self, file_id: u64) -> Result<String, Failure> {
        match drive::file_page(&self.caller, file_id).await {
            Ok(link) => Ok(link.unwrap_or_default()),
            Err(failure) if failure.class == FailureClass::Permanent => Ok(String::new()),
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn is_generated_taken(&self, document_id: u64) -> Result<bool, Failure> {
        self.is_claimed(&source_claim(&self.portal, &Source::Generated { document_id })).await
    }
}

/// By its title where it has one: the download calls every document alike.
fn pdf_name(document: &GeneratedDocument, downloaded: Option<String>) -> String {
    let title = document.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
    match (title, downloaded) {
        (Some(title), _) if title.to_lowercase().ends_with(".pdf") => title.to_owned(),
        (Some(title), _) => {
            let plain: String =
                title.chars().map(|c| if matches!(c, '/' | '\\') { '-' } else { c }).collect();
            format!("{plain}.pdf")
        }
        (None, Some(name)) => name,
        (None, None) => format!("document-{}.pdf", document.id),
    }
}

/// The portal's conversion has failed: only a person can make it anew.
fn not_converted(message: &str) -> Failure {
    let message = words::plain(message);
    let reason = Text::new(
        format!(
            "Битрикс24 не смог преобразовать документ в PDF: {message}. Откройте документ в карточке, обновите его (или проверьте модуль transformer на коробке) и повторите."
        ),
        format!(
            "Bitrix24 could not convert the document to PDF: {message}. Open the document in its item, update it (or check the module transformer of a self-hosted portal), then retry."
        ),
    );
    Failure::new(FailureClass::Permanent, FailureKind::Refused, "transformation_failed", reason)
}

fn rule_is_gone(rule_id: &str) -> Answer {
    not_wanted(
        "no_rule",
        format!("Правила {rule_id} больше нет в конфигурации."),
        format!("Rule {rule_id} is no longer in the configuration."),
    )
}
