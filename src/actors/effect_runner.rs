//! EffectRunner: an ordered effect becomes remote calls, and always comes back as an event, failure included.
//!
//! It decides nothing about a document: it translates. What may be repeated, looked for or given up is the
//! saga's business, told by the failure's class.

use super::Parts;
use super::circuit::{self, Circuit, CircuitView};
use super::crash_point::{self, CrashPoint};
use super::document_saga::HandleError;
use super::fair_turns::{FairTurns, Turn};
use super::features::{Feature, SYSTEM_NOTICE};
use super::folder;
use super::idocs_bulk::ContentBulk;
use super::item_work::delivery_of;
use super::notice_way::status_of;
use super::portal_session::{Learned, Pass, PortalCaller, PortalSession, Transfer, TransferPass};
use super::retry_scheduler::{Deliver, RetryScheduler};
use super::session_registry::Sessions;
use crate::domain::{
    AttemptToken, CrmItem, Failure, FailureClass, FailureKind, PortalId, SagaId, SpoolFile, Text, Timestamp,
};
use crate::limits;
use crate::providers::bitrix24::crm::Item;
use crate::providers::bitrix24::item_access::ItemAccess;
use crate::providers::bitrix24::notify::NoticeMethod;
use crate::providers::bitrix24::{crm, drive, notify, transfer};
use crate::providers::easydocs;
use crate::providers::idocs::Content;
use crate::providers::spool_io::FileSource;
use crate::saga::document::rule::{self, SourceFacts};
use crate::saga::document::transition::source_claim;
use crate::saga::document::{
    Answer, CallbackStatus, Claim, CommentFile, DeliveredFile, Delivery, DriveCopy, Effect, Event,
    EventToken, RobotHeard, RobotReply, Rule, Source, SourceFile, WantedFile,
};
use crate::store::{Spool, StoreError};
use crate::telemetry::metrics::{CallOutcome, Provider};
use actix::prelude::*;
use futures_util::FutureExt;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One ordered effect.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose it is.
    pub saga: SagaId,
    /// The portal of the document.
    pub portal: PortalId,
    /// When the document was taken up: at a busy portal the older one goes first.
    pub since: Timestamp,
    /// The fence of the attempt.
    pub token: AttemptToken,
    /// What to do.
    pub effect: Effect,
}

/// Runs effects on an arbiter of their own, so that a slow remote holds up no decision.
pub struct EffectRunner {
    pub(super) parts: Arc<Parts>,
    arbiter: ArbiterHandle,
    portals: Sessions,
    easydocs: Arc<easydocs::Client>,
    easydocs_circuit: Arc<Mutex<Circuit>>,
    signing_calls: FairTurns,
    idocs_circuit: Arc<Mutex<Circuit>>,
    pub(super) idocs_calls: FairTurns,
    idocs_bulk: Option<Arc<ContentBulk>>,
    running: Mutex<HashSet<(SagaId, AttemptToken)>>,
}

impl EffectRunner {
    /// A runner for the given remotes.
    pub fn new(
        parts: Arc<Parts>,
        arbiter: ArbiterHandle,
        portals: Sessions,
        easydocs: Arc<easydocs::Client>,
    ) -> Self {
        let idocs_circuit = Arc::new(Mutex::new(Circuit::new(parts.circuit)));
        let idocs_calls = FairTurns::new(parts.idocs.as_ref().map_or(1, |idocs| idocs.calls_max));
        Self {
            easydocs_circuit: Arc::new(Mutex::new(Circuit::new(parts.circuit))),
            idocs_bulk: ContentBulk::new(&parts, &idocs_circuit, &idocs_calls, &arbiter),
            arbiter,
            portals,
            easydocs,
            signing_calls: FairTurns::new(parts.signing_calls_max),
            idocs_circuit,
            idocs_calls,
            running: Mutex::new(HashSet::new()),
            parts,
        }
    }

    /// Whether this attempt is still under way in this process.
    pub fn is_running(&self, saga: SagaId, token: AttemptToken) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).contains(&(saga, token))
    }

    /// Effects under way.
    pub fn running_count(&self) -> usize {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// With how many others the content to sign of this document is being made.
    pub fn made_together(&self, saga: SagaId) -> Option<u32> {
        self.idocs_bulk.as_ref()?.others_of(saga)
    }

    /// The circuits, for people: remote, state.
    pub fn circuits(&self) -> Vec<(String, CircuitView)> {
        let view = |c: &Mutex<Circuit>| c.lock().unwrap_or_else(PoisonError::into_inner).view();
        let mut all = vec![("easydocs".to_owned(), view(&self.easydocs_circuit))];
        if self.parts.idocs.is_some() {
            all.push(("idocs".to_owned(), view(&self.idocs_circuit)));
        }
        all.extend(self.portals.circuits().into_iter().map(|(id, view)| (id.to_string(), view)));
        all
    }

    /// Starts the effect; its event reaches the saga through `scheduler`, sooner or later.
    pub fn start(self: &Arc<Self>, order: Order, scheduler: Addr<RetryScheduler>) {
        let key = (order.saga, order.token);
        if !self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
            return;
        }
        let me = self.clone();
        self.arbiter.spawn(async move {
            let event = me.event_of(&order, &scheduler).await;
            crash_point::reach(CrashPoint::EffectDone);
            me.report(&order, event, &scheduler).await;
            me.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        });
    }

    async fn event_of(&self, order: &Order, scheduler: &Addr<RetryScheduler>) -> Event {
        // a wait for others is no call, and holds none of the things that calls hold
        let made = match &self.idocs_bulk {
            Some(bulk) => bulk.unit_for(order, scheduler).await,
            None => Ok(None),
        };
        let (token, began) = (order.token, Instant::now());
        let outcome = match made {
            Ok(made) => AssertUnwindSafe(self.perform(order, made)).catch_unwind().await,
            Err(failure) => Ok(Err(failure)),
        };
        let outcome = outcome.unwrap_or_else(|panic| {
            let text = super::panic_text(&*panic);
            tracing::error!(saga = %order.saga, effect = order.effect.name(), panic = %text, "an effect panicked");
            Err(local(FailureClass::Ambiguous, "panic", "Сбой внутри edobridge.", "A fault inside edobridge."))
        });
        let remote = provider_of(&order.effect);
        let label = outcome.as_ref().map_or_else(|f| CallOutcome::from(f.class), |_| CallOutcome::Ok);
        self.parts.metrics.called(remote, order.effect.name(), label, began.elapsed());
        match outcome {
            Ok(answer) => Event::Answered { token, answer },
            Err(failure) => {
                self.parts.metrics.will_retry(remote, failure.kind);
                tracing::warn!(
                    saga.id = %order.saga,
                    effect = order.effect.name(),
                    class = label.as_str(),
                    code = %failure.code,
                    reason = %failure.reason.en,
                    "an effect failed"
                );
                Event::Failed { token, failure }
            }
        }
    }

    /// Until the decision is durable: an answer in memory only would be an answer lost.
    async fn report(&self, order: &Order, mut event: Event, scheduler: &Addr<RetryScheduler>) {
        loop {
            let deliver = Deliver { saga: order.saga, event: event.clone(), notice: None };
            match scheduler.send(deliver).await {
                // The file is gone between download and commit: fetch it again, do not offer this answer for ever.
                Ok(Err(HandleError::Store(StoreError::SpoolFileMissing { .. }))) => {
                    let text = ("Файл пропал из хранилища.", "The file has vanished from the spool.");
                    let failure = local(FailureClass::Transient, "spool_file_missing", text.0, text.1);
                    event = Event::Failed { token: order.token, failure };
                }
                Ok(Err(HandleError::Store(error))) => {
                    tracing::warn!(saga = %order.saga, %error, "the store cannot take an answer now, will try again");
                }
                Ok(Ok(_) | Err(_)) => return,
                Err(_) if self.parts.is_draining() => return,
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(limits::SCAN_INTERVAL_MS)).await;
        }
    }

    /// Through the circuit of the remote. `made`: the content that is wanted was made together with others' already.
    async fn perform(&self, order: &Order, made: Option<Content>) -> Result<Answer, Failure> {
        let (name, circuit) = match provider_of(&order.effect) {
            Provider::Easydocs => ("EasyDocs", self.easydocs_circuit.clone()),
            Provider::Idocs => ("iDocs", self.idocs_circuit.clone()),
            Provider::Bitrix24 => {
                let entry = self.portals.get(&order.portal).ok_or_else(|| unknown_portal(&order.portal))?;
                ("Битрикс24", entry.circuit)
            }
        };
        through(&circuit, name, &self.parts, self.call(order, made)).await
    }

    async fn call(&self, order: &Order, made: Option<Content>) -> Result<Answer, Failure> {
        match &order.effect {
            Effect::CreateDocument { file, route_id, external_id } => {
                let _turn = self.signing_turn(order).await;
                self.create_document(file, route_id, external_id).await
            }
            Effect::FindDocument { external_id } => {
                let _turn = self.signing_turn(order).await;
                self.find_document(external_id).await
            }
            Effect::ReadStatus { document_id } => {
                let _turn = self.signing_turn(order).await;
                self.read_status(document_id).await
            }
            Effect::FetchSigned { document_id } => {
                let _turn = self.signing_turn(order).await;
                self.fetch_signed(document_id).await
            }
            Effect::ReadItem { item } => self.portal(order)?.read_item(*item).await,
            Effect::FetchSource { source, rule } => {
                self.portal(order)?.fetch_source(source, rule.as_deref()).await
            }
            Effect::ScanFolder { folder_id, wanted_name } => {
                self.portal(order)?.scan_folder(*folder_id, wanted_name).await
            }
            Effect::Upload { folder_id, name, bytes } => {
                self.portal(order)?.upload(*folder_id, name, bytes).await
            }
            Effect::FindUpload { folder_id, name, bytes, above_id } => {
                self.portal(order)?.find_upload(*folder_id, name, bytes, *above_id).await
            }
            Effect::AddComment { item, text, files } => {
                self.portal(order)?.add_comment(*item, text, files).await
            }
            Effect::FindComment { item, mark } => {
                let found = crm::comment_find(&self.portal(order)?.caller, *item, mark).await?;
                Ok(found.map_or(Answer::CommentNotFound, |comment_id| Answer::Commented { comment_id }))
            }
            Effect::Notify { user_id, text, tag } => self.portal(order)?.tell(*user_id, text, tag).await,
            Effect::PickSource { item, pick, rule } => {
                self.portal(order)?.pick_source(*item, pick, rule).await
            }
            Effect::ScanField { item, field } => self.portal(order)?.scan_field(*item, field).await,
            Effect::AttachField { item, field, file } => {
                self.portal(order)?.attach_field(*item, field, file).await
            }
            Effect::FindFieldFile { item, field, bytes, known } => {
                self.portal(order)?.find_field_file(*item, field, bytes, known).await
            }
            Effect::MoveStage { item, to, from } => self.portal(order)?.move_stage(*item, to, from).await,
            Effect::AnswerRobot { event_token, reply } => {
                self.portal(order)?.answer_robot(event_token, reply).await
            }
            Effect::Own(own) => self.own_signature(order, own, made).await,
        }
    }

    /// Answers a workflow outside of any document: a question, or an order that came to nothing.
    ///
    /// # Errors
    /// As [`robots::event_send`](crate::providers::bitrix24::robots::event_send).
    pub async fn answer_workflow(
        &self,
        portal: &PortalId,
        token: &EventToken,
        reply: &RobotReply,
    ) -> Result<RobotHeard, Failure> {
        let effect = Effect::AnswerRobot { event_token: token.clone(), reply: reply.clone() };
        let since = self.parts.clock.now();
        let order = Order {
            saga: SagaId::from_u128(0),
            portal: portal.clone(),
            since,
            token: AttemptToken(0),
            effect,
        };
        match self.perform(&order, None).await? {
            Answer::RobotAnswered { heard } => Ok(heard),
            _ => Err(local(
                FailureClass::Transient,
                "wrong_answer",
                "Сбой внутри edobridge.",
                "A fault inside edobridge.",
            )),
        }
    }

    pub(super) fn portal(&self, order: &Order) -> Result<PortalWork<'_>, Failure> {
        let session = self.portals.session(&order.portal).ok_or_else(|| unknown_portal(&order.portal))?;
        Ok(PortalWork {
            parts: &self.parts,
            portal: order.portal.clone(),
            session: session.clone(),
            caller: PortalCaller::background(session.clone()).since(order.since),
            since: order.since,
            items: self.parts.capabilities.items(&order.portal),
        })
    }

    // ---- EasyDocs ------------------------------------------------------------------------------------------

    async fn create_document(
        &self,
        file: &SourceFile,
        route_id: &str,
        external_id: &str,
    ) -> Result<Answer, Failure> {
        let request = easydocs::CreateRequest {
            name: file.name.clone(),
            file_name: file.name.clone(),
            route_id: route_id.to_owned(),
            external_id: external_id.to_owned(),
            callback_url: self.parts.callback_url.clone(),
            source: spooled(self.parts.store.spool(), file.bytes).await?,
        };
        let created = self.easydocs.create(&request).await?;
        Ok(Answer::Created {
            document_id: created.document_id,
            raw_status: created.status.unwrap_or_default(),
        })
    }

    async fn find_document(&self, external_id: &str) -> Result<Answer, Failure> {
        let found = self.easydocs.search(external_id).await?;
        if found.len() > 1 {
            tracing::error!(
                external_id,
                count = found.len(),
                "EasyDocs has several documents with one external id"
            );
        }
        Ok(found.into_iter().next().map_or(Answer::DocumentNotFound, |first| {
            let (status, raw_status) = found_status(first.status);
            Answer::DocumentFound { document_id: first.document_id, status, raw_status }
        }))
    }

    async fn read_status(&self, document_id: &str) -> Result<Answer, Failure> {
        let read = self.easydocs.status(document_id).await?;
        Ok(Answer::StatusRead { status: status_of(&read.status), raw_status: read.raw_status })
    }

    async fn fetch_signed(&self, document_id: &str) -> Result<Answer, Failure> {
        let mut writer = self.parts.store.spool().create().await.map_err(spool_failed)?;
        self.easydocs.download(document_id, None, &mut writer).await?;
        let bytes = writer.finish().await.map_err(spool_failed)?;
        Ok(Answer::SignedFetched { bytes })
    }

    async fn signing_turn(&self, order: &Order) -> Turn {
        self.signing_calls.take(&order.portal).await
    }
}

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

    async fn tell(&self, user_id: u64, text: &str, tag: &str) -> Result<Answer, Failure> {
        let client_id = &self.parts.notify_client_id;
        if self.parts.capabilities.lacks(&self.portal, SYSTEM_NOTICE) {
            notify::system_by(NoticeMethod::Old, &self.caller, user_id, text, tag, client_id).await?;
        } else {
            notify::system(&self.caller, user_id, text, tag, client_id).await?;
        }
        Ok(Answer::Notified)
    }

    async fn read_item(&self, item: CrmItem) -> Result<Answer, Failure> {
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

    async fn fetch_source(&self, source: &Source, rule_id: Option<&str>) -> Result<Answer, Failure> {
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

    async fn scan_folder(&self, folder_id: u64, wanted_name: &str) -> Result<Answer, Failure> {
        let (stem, _) = rule::split_name(wanted_name);
        // The highest id is asked in the same words by every document of the folder: those that wait share one answer.
        let highest_id = drive::highest_id(&self.caller, folder_id).await?;
        let alike = folder::names_with_prefix(&self.caller, folder_id, stem).await?;
        Ok(Answer::FolderScanned { highest_id, free_name: rule::free_name(wanted_name, &alike) })
    }

    async fn upload(&self, folder_id: u64, name: &str, bytes: &SpoolFile) -> Result<Answer, Failure> {
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
    async fn find_upload(
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

/// A search may tell the status or not; its word is not repeated for the terminal ones.
fn found_status(status: Option<easydocs::CallbackStatus>) -> (CallbackStatus, String) {
    match status {
        None => (CallbackStatus::Other, String::new()),
        Some(easydocs::CallbackStatus::Signed) => (CallbackStatus::Signed, "signed".to_owned()),
        Some(easydocs::CallbackStatus::Refused) => (CallbackStatus::Refused, "rejected".to_owned()),
        Some(easydocs::CallbackStatus::Other(word)) => (CallbackStatus::Other, word),
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

pub(super) fn local(class: FailureClass, code: &str, ru: &str, en: &str) -> Failure {
    Failure::new(class, FailureKind::Local, code, Text::new(ru, en))
}

pub(super) fn stopping() -> Failure {
    local(FailureClass::Throttled, "stopping", "edobridge останавливается.", "edobridge is stopping.")
}

fn unknown_portal(portal: &PortalId) -> Failure {
    local(
        FailureClass::Permanent,
        "unknown_portal",
        &format!("Портала «{portal}» больше нет в конфигурации."),
        &format!("Portal \"{portal}\" is no longer in the configuration."),
    )
}

/// A file of the spool, to be sent; with its bytes, if it came in a moment ago.
///
/// # Errors
/// The disk does not give it.
pub(super) async fn spooled(spool: &Spool, file: SpoolFile) -> Result<FileSource, Failure> {
    let bytes = match spool.take_fresh(file.digest) {
        Some(bytes) => Some(bytes),
        None => spool.small(file.digest).await.map_err(|error| spool_failed(error.into()))?,
    };
    Ok(FileSource::new(spool.path(file.digest), file).at_hand(bytes))
}

fn unread(error: &StoreError) -> Failure {
    Failure::new(FailureClass::Transient, FailureKind::Local, "store", error.text())
}

pub(super) fn spool_failed(error: crate::store::SpoolError) -> Failure {
    Failure::new(FailureClass::Transient, FailureKind::Local, "spool", error.text())
}

/// A call through the circuit of its remote, which learns from the outcome how the remote is.
pub(super) async fn through<T>(
    circuit: &Mutex<Circuit>,
    remote: &str,
    parts: &Parts,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let open = || circuit.lock().unwrap_or_else(PoisonError::into_inner);
    let entered = open().enter(parts.clock.now(), super::chance());
    entered.map_err(|pause_ms| circuit::refused(remote, pause_ms))?;
    let outcome = call.await;
    let mut circuit = open();
    match &outcome {
        Err(f) if matches!(f.kind, FailureKind::Unreachable | FailureKind::NoAnswer) => {
            circuit.failed(parts.clock.now());
        }
        Err(f) if f.kind == FailureKind::Local => {}
        Ok(_) | Err(_) => circuit.answered(),
    }
    outcome
}

fn provider_of(effect: &Effect) -> Provider {
    match effect {
        Effect::Own(own) if own.is_for_signing_service() => Provider::Idocs,
        _ if effect.is_for_signing_service() => Provider::Easydocs,
        _ => Provider::Bitrix24,
    }
}
