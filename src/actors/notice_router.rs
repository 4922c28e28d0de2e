//! From an inbox entry to the saga it is meant for: decode, find or make the saga, deliver.
//!
//! It decides nothing about documents. A notice leaves the inbox in the commit that it causes, or is settled
//! here as done (a repeat, nothing for us) or parked for a person (authentic, but unusable).

use super::Parts;
use super::decision::HandleError;
use super::deliver::Deliver;
use super::effect_runner::EffectRunner;
use super::found::{Found, Subject};
use super::installations::{Registry, WorkedOff};
use super::item_reader::{ItemReader, Told};
use super::notice_way::{self, Way, unreadable};
use super::offline_queue::{self, Reservation};
use super::retry_scheduler::{Create, RetryScheduler};
use super::trigger::Trigger;
use crate::domain::{CrmItem, NoticeId, PortalId, Text};
use crate::limits;
use crate::providers::bitrix24::{BitrixTrigger, IncomingEvent, Topic};
use crate::saga::document::Source;
use crate::saga::document::rule::{self, GeneratedFacts, Trigger as RuleTrigger};
use crate::store::{Fate, Notice, NoticeKind, StoreError};
use crate::telemetry::metrics::{NoticeOutcome, TriggerKind, TriggerOutcome};
use actix::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Routes notices; shared by all that are in hand.
pub struct NoticeRouter {
    pub(super) parts: Arc<Parts>,
    /// Answers workflows.
    pub(super) runner: Arc<EffectRunner>,
    items: Arc<ItemReader>,
    failures: Mutex<HashMap<NoticeId, u32>>,
}

/// What became of a notice.
#[derive(Debug)]
pub enum Routed {
    /// It has left the inbox.
    Settled,
    /// It stays there while its CRM item is read together with others.
    Held,
    /// It stays there and is offered again.
    Later(String),
}

/// Why a notice could not be handled now.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouteError {
    #[error("the store is unavailable")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Handle(#[from] HandleError),
    #[error("the scheduler is gone")]
    Mailbox(#[from] MailboxError),
    /// A workflow could not be answered now.
    #[error("a workflow waits for its answer: {0}")]
    Workflow(String),
    /// A portal's word about an installation can be neither confirmed nor denied now.
    #[error("an installation waits to be confirmed: {0}")]
    Claim(String),
    /// A workflow can never be answered.
    #[error("a workflow cannot be answered: {}", .0.en)]
    Hopeless(Text),
}

impl NoticeRouter {
    /// A router over the store and rules of `parts`, which has items read by `items`.
    pub fn new(parts: Arc<Parts>, items: Arc<ItemReader>, runner: Arc<EffectRunner>) -> Self {
        Self { parts, runner, items, failures: Mutex::new(HashMap::new()) }
    }

    /// Why nothing is to be made of `notice`, if that can be told without looking at the store: events of no rule's
    /// concern are the most by far, and are settled many at once ([`NoticeRouter::settle`]).
    pub fn is_idle(&self, notice: &Notice) -> Option<&'static str> {
        let (NoticeKind::BitrixEvent, Some(portal)) = (notice.kind, &notice.portal) else { return None };
        // Thousands may wait for a portal that is down, and each look at the inbox meets them all.
        if self.items.holds(portal, notice.id) {
            return None;
        }
        let topic = IncomingEvent::topic_of_verified(&notice.content_type, &notice.body);
        if topic.is_some_and(|topic| !self.may_want(portal, topic)) {
            return Some("no_rule");
        }
        let event = IncomingEvent::decode_verified(&notice.content_type, &notice.body).ok()?;
        let trigger = event.trigger()?;
        (!self.wants(portal, &trigger)).then_some("no_rule")
    }

    /// Settles notices that are idle, all in one durable write.
    ///
    /// # Errors
    /// What the store says; they stay in the inbox then.
    pub async fn settle(&self, idle: Vec<(Notice, &'static str)>) -> Result<(), StoreError> {
        for (notice, why) in &idle {
            self.note_idle(notice, why);
        }
        self.parts.store.settle_done(idle.into_iter().map(|(notice, _)| notice.id).collect()).await
    }

    fn note_idle(&self, notice: &Notice, why: &'static str) {
        self.parts.metrics.triggered(kind_of(notice.kind), outcome_of(why));
        tracing::debug!(notice = %notice.id, why, "a notice needs no work");
    }

    /// Brings `notice` to its saga, or settles it.
    pub async fn route(&self, notice: Notice, scheduler: &Addr<RetryScheduler>) -> Routed {
        let id = notice.id;
        if notice.portal.as_ref().is_some_and(|portal| self.items.holds(portal, id)) {
            return Routed::Held;
        }
        let settled = |outcome: Result<(), RouteError>| outcome.map(|()| Routed::Settled);
        let outcome = match notice.kind {
            NoticeKind::BitrixEvent => self.bitrix_event(&notice, scheduler).await,
            NoticeKind::SecondChannel => self.found(&notice, scheduler).await,
            NoticeKind::OfflinePackage => self.clear_reservation(&notice).await,
            NoticeKind::AppClaim => self.app_claim(&notice).await,
            NoticeKind::EasyDocsCallback => settled(self.easydocs_callback(&notice, scheduler).await),
            NoticeKind::IdocsCallback => settled(self.idocs_callback(&notice, scheduler).await),
            NoticeKind::FolderFile | NoticeKind::FieldFile | NoticeKind::Operator => {
                settled(self.trigger(&notice, scheduler).await)
            }
            NoticeKind::Robot => settled(self.robot(&notice, scheduler).await),
        };
        match outcome {
            Ok(routed) => {
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                routed
            }
            Err(error) => self.failed(&notice, &error).await,
        }
    }

    async fn failed(&self, notice: &Notice, error: &RouteError) -> Routed {
        let poisonous =
            matches!(error, RouteError::Handle(HandleError::Panicked(_) | HandleError::Restless(_)));
        let count = {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let count = failures.entry(notice.id).or_insert(0);
            *count += u32::from(poisonous);
            *count
        };
        let reason = super::error_chain(error);
        if count >= limits::SAGA_PANICS_MAX {
            let text = Text::new(
                format!("Обработка уведомления трижды аварийно прервалась: {reason}"),
                format!("Handling the notice has failed three times: {reason}"),
            );
            if self.park(notice, text, None).await.is_ok() {
                return Routed::Settled;
            }
        }
        Routed::Later(reason)
    }

    /// What a portal says of an installation: carried out by the installations, which have written it down.
    async fn app_claim(&self, notice: &Notice) -> Result<Routed, RouteError> {
        match Registry::of(&self.parts) {
            None => Err(RouteError::Claim("the service is starting".to_owned())),
            Some(registry) => match registry.work_off(notice).await {
                WorkedOff::InHand => Ok(Routed::Held),
                WorkedOff::Settled(why) => {
                    self.done(notice, why).await?;
                    Ok(Routed::Settled)
                }
                WorkedOff::Hopeless(reason) => {
                    self.park(notice, reason, None).await?;
                    Ok(Routed::Settled)
                }
                WorkedOff::Later(reason) => Err(RouteError::Claim(reason)),
            },
        }
    }

    pub(super) async fn done(&self, notice: &Notice, why: &'static str) -> Result<(), RouteError> {
        self.note_idle(notice, why);
        Ok(self.parts.store.settle(notice.id, Fate::Done).await?)
    }

    pub(super) async fn park(
        &self,
        notice: &Notice,
        reason: Text,
        lookup: Option<String>,
    ) -> Result<(), RouteError> {
        tracing::warn!(notice = %notice.id, reason = %reason.en, "a notice was parked");
        self.parts.metrics.notice(
            super::webhook_ingress::source_of(notice.kind),
            NoticeOutcome::Parked,
            Duration::ZERO,
        );
        Ok(self.parts.store.settle(notice.id, Fate::Parked { reason, lookup }).await?)
    }

    // ---- Bitrix24 ------------------------------------------------------------------------------------------

    async fn bitrix_event(
        &self,
        notice: &Notice,
        scheduler: &Addr<RetryScheduler>,
    ) -> Result<Routed, RouteError> {
        let Some(portal) = notice.portal.clone() else {
            return self.unreadable(notice, "портал неизвестен", "the portal is unknown").await;
        };
        let event = match IncomingEvent::decode(Some(&notice.content_type), &notice.body) {
            Ok(event) => event,
            Err(error) => return self.unreadable(notice, &error.to_string(), &error.to_string()).await,
        };
        match event.trigger() {
            Some(trigger) if !self.wants(&portal, &trigger) => self.idle(notice, "no_rule").await,
            Some(BitrixTrigger::DriveFileAdded { file_id }) => {
                self.open(notice, portal, Source::DriveFile { file_id }, None, scheduler).await?;
                Ok(Routed::Settled)
            }
            Some(BitrixTrigger::CrmItemChanged { item }) => {
                self.parts.gaps.heard(&portal, Subject::Item(item), notice.received_at);
                Ok(self.read_item(notice, &portal, item, Told::ByEvent, scheduler))
            }
            Some(BitrixTrigger::DocumentGenerated { document_id, item }) => {
                let facts = GeneratedFacts { template_id: None, item };
                self.parts.gaps.heard(&portal, Subject::Generated(document_id), notice.received_at);
                self.generated(notice, portal, document_id, facts, scheduler).await
            }
            Some(BitrixTrigger::OfflineQueueFilled) => {
                self.parts.queue_bells.ring(&portal);
                self.idle(notice, "no_rule").await
            }
            Some(BitrixTrigger::Other { .. }) => self.idle(notice, "no_rule").await,
            None => {
                let (ru, en) = ("в событии нет пригодного идентификатора", "the event carries no usable id");
                self.unreadable(notice, ru, en).await
            }
        }
    }

    /// An event is a hint: the item is read before anything is made of it, together with others that wait.
    fn read_item(
        &self,
        notice: &Notice,
        portal: &PortalId,
        item: CrmItem,
        told: Told,
        scheduler: &Addr<RetryScheduler>,
    ) -> Routed {
        self.items.add(portal, notice.id, item, told, scheduler);
        Routed::Held
    }

    /// What a second channel found takes the way of an event.
    async fn found(&self, notice: &Notice, scheduler: &Addr<RetryScheduler>) -> Result<Routed, RouteError> {
        let (found, portal) = match (Found::decode(&notice.body), notice.portal.clone()) {
            (Ok(found), Some(portal)) => (found, portal),
            (Err(error), _) => return self.unreadable(notice, &error.to_string(), &error.to_string()).await,
            (Ok(_), None) => {
                return self.unreadable(notice, "портал неизвестен", "the portal is unknown").await;
            }
        };
        match found.subject {
            Subject::Item(item)
                if rule::listens_to_items(&self.parts.rules, &portal, item.entity_type_id) =>
            {
                self.parts.gaps.found(&portal, &found, notice.received_at);
                Ok(self.read_item(notice, &portal, item, Told::BySecondChannel, scheduler))
            }
            Subject::Item(_) => {
                self.done(notice, "no_rule").await?;
                Ok(Routed::Settled)
            }
            Subject::Generated(document_id) => {
                let facts = GeneratedFacts::default();
                if rule::rule_for_generated(&self.parts.rules, &portal, facts).is_some() {
                    self.parts.gaps.found(&portal, &found, notice.received_at);
                }
                self.generated(notice, portal, document_id, facts, scheduler).await
            }
        }
    }

    /// A generated document gets its saga, which waits for its PDF, if any rule may want it.
    async fn generated(
        &self,
        notice: &Notice,
        portal: PortalId,
        document_id: u64,
        facts: GeneratedFacts,
        scheduler: &Addr<RetryScheduler>,
    ) -> Result<Routed, RouteError> {
        if rule::rule_for_generated(&self.parts.rules, &portal, facts).is_none() {
            self.done(notice, "no_rule").await?;
            return Ok(Routed::Settled);
        }
        // The rule is chosen when the document was read: the event does not know its template.
        self.open(notice, portal, Source::Generated { document_id }, None, scheduler).await?;
        Ok(Routed::Settled)
    }

    /// The rows of the reservation came into the inbox with this notice, so the portal may forget them.
    async fn clear_reservation(&self, notice: &Notice) -> Result<Routed, RouteError> {
        let (reservation, portal) = match (Reservation::decode(&notice.body), notice.portal.clone()) {
            (Ok(reservation), Some(portal)) => (reservation, portal),
            (Err(error), _) => return self.unreadable(notice, &error.to_string(), &error.to_string()).await,
            (Ok(_), None) => {
                return self.unreadable(notice, "портал неизвестен", "the portal is unknown").await;
            }
        };
        if let Some(caller) = self.items.caller(&portal)
            && let Err(failure) = offline_queue::clear(&caller, &reservation).await
        {
            return Ok(Routed::Later(failure.reason.en));
        }
        Ok(self.parts.store.settle(notice.id, Fate::Done).await.map(|()| Routed::Settled)?)
    }

    async fn unreadable(&self, notice: &Notice, ru: &str, en: &str) -> Result<Routed, RouteError> {
        self.park(notice, unreadable(ru, en), None).await?;
        Ok(Routed::Settled)
    }

    async fn idle(&self, notice: &Notice, why: &'static str) -> Result<Routed, RouteError> {
        self.done(notice, why).await?;
        Ok(Routed::Settled)
    }

    /// Whether any rule is about this.
    fn wants(&self, portal: &PortalId, trigger: &BitrixTrigger) -> bool {
        let rules = &self.parts.rules;
        match trigger {
            BitrixTrigger::DriveFileAdded { .. } => self.wants_file_events(portal),
            BitrixTrigger::CrmItemChanged { item } => {
                rule::listens_to_items(rules, portal, item.entity_type_id)
            }
            BitrixTrigger::DocumentGenerated { item, .. } => {
                let facts = GeneratedFacts { template_id: None, item: *item };
                rule::rule_for_generated(rules, portal, facts).is_some()
            }
            // A bell, not a document: it is rung where the event is routed.
            BitrixTrigger::OfflineQueueFilled => true,
            BitrixTrigger::Other { .. } => false,
        }
    }

    /// Whether any rule may be about an event of which no more is known than this.
    fn may_want(&self, portal: &PortalId, topic: Topic) -> bool {
        match topic {
            Topic::DriveFile => self.wants_file_events(portal),
            Topic::CrmItem { entity_type_id } => {
                rule::listens_to_items(&self.parts.rules, portal, entity_type_id)
            }
            Topic::InItsData => true,
            Topic::Nothing => false,
        }
    }

    fn wants_file_events(&self, portal: &PortalId) -> bool {
        let of_files = |trigger: &RuleTrigger| {
            matches!(trigger, RuleTrigger::Folder { .. } | RuleTrigger::FileEvent { .. })
        };
        self.parts.rules.iter().any(|r| r.is_for(portal) && of_files(&r.trigger))
    }

    async fn trigger(&self, notice: &Notice, scheduler: &Addr<RetryScheduler>) -> Result<(), RouteError> {
        match (Trigger::decode(&notice.body), notice.portal.clone()) {
            (Ok(trigger), Some(portal)) => {
                self.open(notice, portal, trigger.source, trigger.rule, scheduler).await
            }
            (Err(error), _) => {
                self.park(notice, unreadable(&error.to_string(), &error.to_string()), None).await
            }
            (Ok(_), None) => {
                self.park(notice, unreadable("портал неизвестен", "the portal is unknown"), None).await
            }
        }
    }

    /// Makes a saga for the source, unless one has it.
    async fn open(
        &self,
        notice: &Notice,
        portal: PortalId,
        source: Source,
        rule: Option<String>,
        scheduler: &Addr<RetryScheduler>,
    ) -> Result<(), RouteError> {
        // Two rounds: a saga may take the source between our look and our commit.
        for _ in 0..2 {
            let way = notice_way::of_source(&self.parts.store, &portal, &source).await?;
            if let Way::Tell(saga, event) = way {
                let deliver = Deliver { saga, event: *event, notice: Some(notice.id) };
                return scheduler.send(deliver).await?.map(drop).map_err(RouteError::from);
            }
            if way != Way::Begin {
                return self.follow(notice, way, scheduler).await;
            }
            let (portal, source, rule) = (portal.clone(), source.clone(), rule.clone());
            let create = Create { portal, source, rule, robot: None, notice: Some(notice.id) };
            match scheduler.send(create).await? {
                Ok(_) => return Ok(()),
                Err(HandleError::Taken { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(HandleError::Panicked("the source is taken and yet has no owner".to_owned()).into())
    }

    // ---- EasyDocs ------------------------------------------------------------------------------------------

    async fn easydocs_callback(
        &self,
        notice: &Notice,
        scheduler: &Addr<RetryScheduler>,
    ) -> Result<(), RouteError> {
        let way = notice_way::of_easydocs(&self.parts.store, &self.parts.easydocs, &notice.body).await?;
        self.follow(notice, way, scheduler).await
    }

    // ---- iDocs ---------------------------------------------------------------------------------------------

    /// A hint: the document it names is asked for its status.
    async fn idocs_callback(
        &self,
        notice: &Notice,
        scheduler: &Addr<RetryScheduler>,
    ) -> Result<(), RouteError> {
        let Some(idocs) = &self.parts.idocs else {
            return self.park(notice, unreadable("iDocs не настроен", "iDocs is not configured"), None).await;
        };
        let way = notice_way::of_idocs(&self.parts.store, idocs.client.settings(), &notice.body).await?;
        self.follow(notice, way, scheduler).await
    }

    /// A notice that needs no saga of its own goes its way.
    async fn follow(
        &self,
        notice: &Notice,
        way: Way,
        scheduler: &Addr<RetryScheduler>,
    ) -> Result<(), RouteError> {
        match way {
            Way::Done(why) => self.done(notice, why).await,
            Way::Park { reason, lookup } => self.park(notice, reason, lookup).await,
            Way::Tell(saga, event) => {
                match scheduler.send(Deliver { saga, event: *event, notice: Some(notice.id) }).await? {
                    Ok(_) => Ok(()),
                    Err(HandleError::NotFound(_)) => self.done(notice, "forgotten").await,
                    Err(error) => Err(error.into()),
                }
            }
            Way::Begin => Err(HandleError::Panicked("only a trigger makes a document".to_owned()).into()),
        }
    }
}

fn kind_of(kind: NoticeKind) -> TriggerKind {
    match kind {
        NoticeKind::FolderFile => TriggerKind::Folder,
        NoticeKind::FieldFile
        | NoticeKind::SecondChannel
        | NoticeKind::OfflinePackage
        | NoticeKind::AppClaim => TriggerKind::DealStage,
        NoticeKind::BitrixEvent | NoticeKind::EasyDocsCallback | NoticeKind::IdocsCallback => {
            TriggerKind::FileEvent
        }
        NoticeKind::Operator | NoticeKind::Robot => TriggerKind::Request,
    }
}

fn outcome_of(why: &str) -> TriggerOutcome {
    match why {
        "own_copy" => TriggerOutcome::Echo,
        "duplicate" => TriggerOutcome::Duplicate,
        _ => TriggerOutcome::Filtered,
    }
}
