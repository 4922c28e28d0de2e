//! The calls of one effect at one portal: files of the Drive and of CRM items, notices, and what all its calls share.
//! A part of the runner: it translates and decides nothing about a document.

use super::Parts;
use super::features::{Feature, SYSTEM_NOTICE};
use super::folder;
use super::local_failure::{local, stopping};
use super::portal_session::{Learned, Pass, PortalCaller, PortalSession, Transfer, TransferPass};
use super::spooled_file::{spool_failed, spooled};
use crate::domain::{CrmItem, Failure, FailureClass, FailureKind, PortalId, SpoolFile, Text, Timestamp};
use crate::providers::bitrix24::crm::Item;
use crate::providers::bitrix24::item_access::ItemAccess;
use crate::providers::bitrix24::notify::NoticeMethod;
use crate::providers::bitrix24::{drive, notify, transfer};
use crate::saga::document::rule::{self, SourceFacts};
use crate::saga::document::transition::source_claim;
use crate::saga::document::{
    Answer, Claim, CommentFile, DeliveredFile, Delivery, DriveCopy, Rule, Source, WantedFile,
};
use crate::store::StoreError;
use actix::prelude::*;
use std::sync::Arc;

/// The calls of one effect at one portal.
pub(super) struct PortalWork<'a> {
    pub(super) parts: &'a Parts,
    pub(super) portal: PortalId,
    pub(super) session: Addr<PortalSession>,
    pub(super) caller: PortalCaller,
    pub(super) since: Timestamp,
    /// Its way to CRM items.
    pub(super) items: Arc<ItemAccess>,
}

impl PortalWork<'_> {
    pub(super) async fn pass(&self, transfer: Transfer) -> Result<Pass, Failure> {
        let wanted = TransferPass { transfer, due: Some(self.since) };
        self.session.send(wanted).await.map_err(|_| stopping())?
    }

    /// What the rule wants of the delivery, without what this portal cannot do at all. The signed file itself is never
    /// dropped: a comment that is its only place is tried, and a person hears of the failure.
    pub(super) fn delivery(&self, rule: &Rule, read: Option<&Item>, creator: Option<u64>) -> Delivery {
        let mut delivery = delivery_of(rule, read, creator);
        let is_off = |feature| self.parts.capabilities.is_off(&self.portal, feature);
        let has_another_place = delivery.drive == DriveCopy::Wanted || delivery.field.is_some();
        if is_off(Feature::Timeline) && has_another_place {
            delivery.comment = false;
            delivery.comment_file = CommentFile::None;
        }
        if is_off(Feature::Notices) {
            delivery.notify.clear();
        }
        delivery
    }

    pub(super) async fn tell(&self, user_id: u64, text: &str, tag: &str) -> Result<Answer, Failure> {
        let client_id = &self.parts.notify_client_id;
        if self.parts.capabilities.lacks(&self.portal, SYSTEM_NOTICE) {
            notify::system_by(NoticeMethod::Old, &self.caller, user_id, text, tag, client_id).await?;
        } else {
            notify::system(&self.caller, user_id, text, tag, client_id).await?;
        }
        Ok(Answer::Notified)
    }

    pub(super) async fn read_item(&self, item: CrmItem) -> Result<Answer, Failure> {
        let read = self.items.get(&self.caller, item).await?;
        let stage = read.stage_id.clone().unwrap_or_default();
        for (rule, field) in
            rule::rules_for_item(&self.parts.rules, &self.portal, item.entity_type_id, &stage)
        {
            let mut files = Vec::new();
            for file in read.files(field).ok_or_else(|| no_such_field(item, field))? {
                if !self.is_taken(item, field, file.id).await? {
                    files.push(WantedFile { field: field.to_owned(), file_id: file.id });
                }
            }
            if !files.is_empty() {
                let delivery = self.delivery(rule, Some(&read), None);
                return Ok(Answer::ItemWanted { item, files, delivery });
            }
        }
        Ok(not_wanted(
            "no_rule",
            format!("Карточка {item} в стадии «{stage}»: правил нет или все файлы уже отправлены."),
            format!("Item {item} in stage \"{stage}\": no rule, or all its files were sent already."),
        ))
    }

    pub(super) async fn is_taken(&self, item: CrmItem, field: &str, file_id: u64) -> Result<bool, Failure> {
        let source = Source::CrmFile { item, field: field.to_owned(), file_id };
        self.is_claimed(&source_claim(&self.portal, &source)).await
    }

    pub(super) async fn is_claimed(&self, claim: &Claim) -> Result<bool, Failure> {
        let found = self.parts.store.claimed(claim).await;
        found.map(|owner| owner.is_some()).map_err(|error| unread(&error))
    }

    pub(super) async fn fetch_source(
        &self,
        source: &Source,
        rule_id: Option<&str>,
    ) -> Result<Answer, Failure> {
        match source {
            Source::DriveFile { file_id } => self.fetch_drive_file(*file_id, rule_id).await,
            Source::CrmFile { item, field, file_id } => {
                self.fetch_crm_file(*item, field, *file_id, rule_id).await
            }
            Source::Generated { document_id } => self.fetch_generated(*document_id, rule_id).await,
            Source::CrmItem { item } | Source::OfItem { item, .. } => Err(local(
                FailureClass::Permanent,
                "no_file",
                &format!("У карточки {item} файл ещё не выбран."),
                &format!("No file is chosen for item {item} yet."),
            )),
        }
    }

    async fn fetch_drive_file(&self, file_id: u64, rule_id: Option<&str>) -> Result<Answer, Failure> {
        let info = drive::file_get(&self.caller, file_id).await?;
        let facts = SourceFacts {
            name: info.name.clone(),
            folder_id: Some(info.folder_id),
            size_bytes: info.size_bytes,
            version: Some(info.version),
            created_by: info.created_by,
        };
        if info.in_trash {
            return Ok(not_wanted("gone", "Файл в корзине.", "The file is in the trash."));
        }
        if self.is_own_copy(file_id, &facts).await? {
            return Ok(not_wanted("own_copy", "Это наша подписанная копия.", "This is our own signed copy."));
        }
        let Some(rule) = self.rule_for(rule_id, &facts) else {
            return Ok(no_rule_for(&facts));
        };
        let crm_item = rule.item_of(&facts.name);
        let read = self.item_facts(rule, crm_item).await?;
        let delivery = self.delivery(rule, read.as_ref(), facts.created_by);
        let max = rule.size_max;
        let (bytes, _) = self.download(&info.download_url, max).await?;
        if facts.size_bytes.is_some_and(|size| size != bytes.size_bytes) {
            return Err(not_the_whole_file(&facts, bytes));
        }
        Ok(Answer::SourceFetched { facts, bytes, delivery, crm_item })
    }

    async fn is_own_copy(&self, file_id: u64, facts: &SourceFacts) -> Result<bool, Failure> {
        let portal = self.portal.clone();
        let by_id = Claim::EchoFile { portal: portal.clone(), file_id };
        let Some(folder_id) = facts.folder_id else {
            return self.is_claimed(&by_id).await;
        };
        let by_name = Claim::EchoName { portal, folder_id, name: rule::normalised_name(&facts.name) };
        let owners = self.parts.store.claimed_each([by_id, by_name]).await.map_err(|error| unread(&error))?;
        Ok(owners.iter().any(Option::is_some))
    }

    /// The rule by its id (a person or an item has chosen it), else the first that wants the file.
    fn rule_for(&self, rule_id: Option<&str>, facts: &SourceFacts) -> Option<&Rule> {
        match rule_id {
            Some(id) => self.parts.rules.iter().find(|r| r.id == id && r.is_for(&self.portal)),
            None => rule::rule_for_file(&self.parts.rules, &self.portal, facts),
        }
    }

    /// The item, read only if the rule tells its responsible user, moves it or finds the counterparty in it.
    pub(super) async fn item_facts(
        &self,
        rule: &Rule,
        item: Option<CrmItem>,
    ) -> Result<Option<Item>, Failure> {
        let wanted = rule.notify.contains(&rule::Addressee::Responsible)
            || rule.into_item.moves()
            || rule.counterparty_fields().next().is_some();
        match item.filter(|_| wanted) {
            Some(item) => Ok(Some(self.items.get(&self.caller, item).await?)),
            None => Ok(None),
        }
    }

    async fn fetch_crm_file(
        &self,
        item: CrmItem,
        field: &str,
        file_id: u64,
        rule_id: Option<&str>,
    ) -> Result<Answer, Failure> {
        let read = self.items.get(&self.caller, item).await?;
        let files = read.files(field).ok_or_else(|| no_such_field(item, field))?;
        let Some(file) = files.into_iter().find(|f| f.id == file_id) else {
            return Ok(not_wanted(
                "gone",
                format!("Файла {file_id} больше нет в поле {field} карточки {item}."),
                format!("File {file_id} is no longer in field {field} of item {item}."),
            ));
        };
        let Some(rule) = self.rule_for(rule_id, &SourceFacts::default()) else {
            return Ok(no_rule_for(&SourceFacts::default()));
        };
        let (bytes, name) = self.download(&file.url_machine, rule.size_max).await?;
        let facts = SourceFacts {
            name: name.unwrap_or_else(|| format!("{}-{}-{file_id}.pdf", item.timeline_type(), item.id)),
            size_bytes: Some(bytes.size_bytes),
            ..SourceFacts::default()
        };
        let echo = Claim::EchoBytes { portal: self.portal.clone(), item, digest: bytes.digest };
        if self.is_claimed(&echo).await? {
            return Ok(not_wanted("own_copy", "Это наша подписанная копия.", "This is our own signed copy."));
        }
        if !rule.wants(&facts) {
            return Ok(no_rule_for(&facts));
        }
        let delivery = self.delivery(rule, Some(&read), None);
        Ok(Answer::SourceFetched { facts, bytes, delivery, crm_item: Some(item) })
    }

    pub(super) async fn download(
        &self,
        url: &crate::domain::Secret,
        max_bytes: u64,
    ) -> Result<(SpoolFile, Option<String>), Failure> {
        let pass = self.pass(Transfer::Download).await?;
        let mut writer = self.parts.store.spool().create().await.map_err(spool_failed)?;
        let allowed = transfer::allowed_at(&pass.client.origin(), pass.allowed.iter().cloned());
        let got = transfer::download(&pass.client, url, &allowed, &mut writer, max_bytes).await?;
        // What follows is our disk's business: the next transfer need not wait for it.
        drop(pass);
        let bytes = writer.finish().await.map_err(spool_failed)?;
        Ok((bytes, got.name))
    }

    pub(super) async fn scan_folder(&self, folder_id: u64, wanted_name: &str) -> Result<Answer, Failure> {
        let (stem, _) = rule::split_name(wanted_name);
        // The highest id is asked in the same words by every document of the folder: those that wait share one answer.
        let highest_id = drive::highest_id(&self.caller, folder_id).await?;
        let alike = folder::names_with_prefix(&self.caller, folder_id, stem).await?;
        Ok(Answer::FolderScanned { highest_id, free_name: rule::free_name(wanted_name, &alike) })
    }

    pub(super) async fn upload(
        &self,
        folder_id: u64,
        name: &str,
        bytes: &SpoolFile,
    ) -> Result<Answer, Failure> {
        let pass = self.pass(Transfer::Upload).await?;
        let source = spooled(self.parts.store.spool(), *bytes).await?;
        let uploaded = if bytes.size_bytes <= self.parts.small_upload_bytes_max {
            let uploaded = transfer::upload_small(&pass.client, folder_id, name, &source).await;
            let succeeded = uploaded.result.is_ok();
            // The outcome of the upload counts, whatever became of the session.
            let _ = self.session.send(Learned { observed: uploaded.observed, succeeded }).await;
            uploaded.result?
        } else {
            let slot = transfer::upload_slot(&self.caller, folder_id, name).await.map_err(not_done)?;
            let allowed = transfer::allowed_at(&pass.client.origin(), pass.allowed.iter().cloned());
            transfer::upload_large(&pass.client, &slot, &allowed, name, &source).await?
        };
        let file = DeliveredFile { file_id: uploaded.id, name: uploaded.name, folder_id };
        Ok(Answer::Uploaded { file })
    }

    /// Ours is what came into the folder after our look at it, under our name and with our size.
    pub(super) async fn find_upload(
        &self,
        folder_id: u64,
        name: &str,
        bytes: &SpoolFile,
        above_id: u64,
    ) -> Result<Answer, Failure> {
        let wanted = rule::normalised_name(name);
        let newer = folder::files_above(&self.caller, folder_id, above_id).await?;
        for entry in newer {
            let alike = (name.is_empty() || rule::normalised_name(&entry.name) == wanted)
                && entry.size_bytes.is_none_or(|size| size == bytes.size_bytes);
            if alike && self.is_ours(entry.id, bytes).await? {
                let file = DeliveredFile { file_id: entry.id, name: entry.name, folder_id };
                return Ok(Answer::UploadFound { file });
            }
        }
        Ok(Answer::UploadNotFound)
    }

    /// Two documents may want one name in one folder: only the bytes tell whose copy it is.
    async fn is_ours(&self, file_id: u64, bytes: &SpoolFile) -> Result<bool, Failure> {
        let echo = Claim::EchoFile { portal: self.portal.clone(), file_id };
        if self.is_claimed(&echo).await? {
            return Ok(false);
        }
        let info = drive::file_get(&self.caller, file_id).await?;
        let (found, _) = self.download(&info.download_url, bytes.size_bytes).await?;
        Ok(found.digest == bytes.digest)
    }
}

/// How the rule wants it, for the item as it is now.
fn delivery_of(rule: &Rule, read: Option<&Item>, creator: Option<u64>) -> Delivery {
    Delivery {
        item_stage: read.and_then(|item| item.stage_id.clone()),
        signer: rule.signer_for(|field| read.and_then(|item| item.text(field))),
        ..rule.delivery(read.and_then(|item| item.assigned_by), creator)
    }
}

pub(super) fn not_wanted(code: &str, ru: impl Into<String>, en: impl Into<String>) -> Answer {
    Answer::NotWanted { code: code.to_owned(), reason: Text::new(ru, en) }
}

fn no_such_field(item: CrmItem, field: &str) -> Failure {
    local(
        FailureClass::Permanent,
        "no_such_field",
        &format!("У карточки {item} нет поля {field}; проверьте trigger.file_field правила."),
        &format!("Item {item} has no field {field}; check trigger.file_field of the rule."),
    )
}

fn no_rule_for(facts: &SourceFacts) -> Answer {
    let name = crate::saga::document::words::plain(&facts.name);
    not_wanted(
        "no_rule",
        format!("Ни одно правило не подходит к файлу «{name}»."),
        format!("No rule wants the file \"{name}\"."),
    )
}

/// Cut by something between us and the portal, or changed between two calls: half a contract must not be signed.
fn not_the_whole_file(facts: &SourceFacts, bytes: SpoolFile) -> Failure {
    let (wanted, got) = (facts.size_bytes.unwrap_or_default(), bytes.size_bytes);
    let reason = Text::new(
        format!("Портал назвал размер файла {wanted} байт, а отдал {got}. Файл будет взят заново."),
        format!("The portal says that the file has {wanted} bytes and gave {got}. It is fetched again."),
    );
    Failure::new(FailureClass::Transient, FailureKind::Garbled, "not_the_whole_file", reason)
}

/// The first step of a large upload changes nothing: whatever became of it, nothing was uploaded.
fn not_done(mut failure: Failure) -> Failure {
    if failure.class == FailureClass::Ambiguous {
        failure.class = FailureClass::Transient;
    }
    failure
}

fn unread(error: &StoreError) -> Failure {
    Failure::new(FailureClass::Transient, FailureKind::Local, "store", error.text())
}
