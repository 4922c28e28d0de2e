//! Robots of workflows: their requests become documents, and questions about documents are answered.
//!
//! A part of the notice router. A request stays in the inbox until its document exists, or until its workflow has
//! been answered: whatever dies in between, it is offered again, and the event token makes a repeated answer
//! harmless. Where nothing can be sent the workflow is told so, in words: a workflow must never hang silently.

use super::decision::HandleError;
use super::deliver::Deliver;
use super::notice_router::{NoticeRouter, RouteError};
use super::retry_scheduler::{Create, RetryScheduler};
use crate::domain::{FailureClass, PortalId, SagaId, Text};
use crate::providers::bitrix24::robots::{self, RobotRequest, WantedSource};
use crate::saga::document::rule::{Rule, Trigger};
use crate::saga::document::transition::{reading_claim_of, reply_of, source_claim};
use crate::saga::document::{
    Claim, Event, EventToken, ItemPick, RobotOrder, RobotReply, RobotStatus, RobotWait, RobotWishes, Source,
};
use crate::store::Notice;
use actix::prelude::*;

/// How often a document is looked for anew because it ended or came up between a look and an order.
const ROUNDS_MAX: usize = 3;

impl NoticeRouter {
    /// Brings a robot's request to its document, or answers it.
    pub(super) async fn robot(
        &self,
        notice: &Notice,
        scheduler: &Addr<RetryScheduler>,
    ) -> Result<(), RouteError> {
        let Some(portal) = notice.portal.clone() else {
            let text = unusable("портал неизвестен", "the portal is unknown");
            return self.park(notice, text, None).await;
        };
        let request = match RobotRequest::decode(&notice.body) {
            Ok(request) => request,
            Err(error) => {
                let error = error.to_string();
                return self.park(notice, unusable(&error, &error), None).await;
            }
        };
        self.parts.workflows.heard(&portal, &request.workflow_id);
        match request.code.as_str() {
            robots::SEND => self.send_for_signature(notice, &portal, &request, scheduler).await,
            robots::STATUS => self.tell_status(notice, &portal, &request).await,
            _ => self.park(notice, unusable("робот не наш", "the robot is not ours"), None).await,
        }
    }

    // ---- "Send for signature" ------------------------------------------------------------------------------

    async fn send_for_signature(
        &self,
        notice: &Notice,
        portal: &PortalId,
        request: &RobotRequest,
        scheduler: &Addr<RetryScheduler>,
    ) -> Result<(), RouteError> {
        let (rule, source) = match (self.rule_for_robot(portal, request), source_of(request)) {
            (Some(rule), Ok(source)) => (rule, source),
            (None, _) => return self.not_sent(notice, portal, request, &no_rule()).await,
            (Some(_), Err(reason)) => return self.not_sent(notice, portal, request, &reason).await,
        };
        let order = order_of(request);
        for _ in 0..ROUNDS_MAX {
            let Some(owner) = self.owner_of(portal, &source).await? else {
                if request.waits && order.waits == RobotWait::No {
                    self.answer_early(portal, request).await?;
                }
                let wishes = RobotWishes {
                    route_id: route_of(request, rule),
                    notify: request.people("notify"),
                    item: request.item,
                    order: Some(order.clone()),
                };
                let create = Create {
                    portal: portal.clone(),
                    source: source.clone(),
                    rule: Some(rule.id.clone()),
                    robot: Some(wishes),
                    notice: Some(notice.id),
                };
                match scheduler.send(create).await? {
                    Ok(_) => return Ok(()),
                    Err(HandleError::Taken { .. }) => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            if self.join(notice, portal, request, owner, &order, scheduler).await? {
                return Ok(());
            }
        }
        Err(RouteError::Workflow("the document keeps changing".to_owned()))
    }

    /// The document exists: its end answers this robot too, or it is answered at once. Says whether it is done.
    async fn join(
        &self,
        notice: &Notice,
        portal: &PortalId,
        request: &RobotRequest,
        owner: SagaId,
        order: &RobotOrder,
        scheduler: &Addr<RetryScheduler>,
    ) -> Result<bool, RouteError> {
        let Some(stored) = self.parts.store.load(owner).await? else {
            // Forgotten long ago; the file was signed all the same.
            let reason = Text::new(
                "Этот файл уже отправлялся на подпись; подробности удалены по сроку хранения.",
                "This file was sent for signature before; the details were removed after their time.",
            );
            self.not_sent(notice, portal, request, &reason).await?;
            return Ok(true);
        };
        if stored.saga.step.is_finished() || order.waits == RobotWait::No {
            let reply = reply_of(&stored.saga, self.language());
            self.answer_and_settle(notice, portal, request, &reply).await?;
            return Ok(true);
        }
        let event = Event::RobotAsked { order: order.clone() };
        match scheduler.send(Deliver { saga: owner, event, notice: Some(notice.id) }).await? {
            Ok(_) => Ok(true),
            // It has ended meanwhile, or too many robots wait for it: look again, then answer.
            Err(HandleError::Rejected(reason)) if !self.has_ended(owner).await? => {
                self.not_sent(notice, portal, request, &reason).await?;
                Ok(true)
            }
            Err(HandleError::Rejected(_) | HandleError::NotFound(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn has_ended(&self, saga: SagaId) -> Result<bool, RouteError> {
        let stored = self.parts.store.load(saga).await?;
        Ok(stored.is_none_or(|stored| stored.saga.step.is_finished()))
    }

    async fn owner_of(&self, portal: &PortalId, source: &Source) -> Result<Option<SagaId>, RouteError> {
        let claim = reading_claim_of(portal, source).unwrap_or_else(|| source_claim(portal, source));
        Ok(self.parts.store.claimed(&claim).await?)
    }

    /// The rule that the robot names, else the first one for robots.
    fn rule_for_robot(&self, portal: &PortalId, request: &RobotRequest) -> Option<&Rule> {
        let named = request.property("route");
        let ours = || self.parts.rules.iter().filter(|rule| rule.is_for(portal));
        let by_name = ours().find(|rule| Some(&rule.id) == named.as_ref());
        by_name.or_else(|| ours().find(|rule| rule.trigger == Trigger::Robot))
    }

    async fn not_sent(
        &self,
        notice: &Notice,
        portal: &PortalId,
        request: &RobotRequest,
        reason: &Text,
    ) -> Result<(), RouteError> {
        tracing::warn!(%portal, workflow = %request.workflow_id, reason = %reason.en, "a robot's order was not carried out");
        let reply = RobotReply {
            status: RobotStatus::NotSent,
            file: None,
            reason: reason.get(self.language()).to_owned(),
            document: None,
        };
        self.answer_and_settle(notice, portal, request, &reply).await
    }

    // ---- "Check signature status" --------------------------------------------------------------------------

    async fn tell_status(
        &self,
        notice: &Notice,
        portal: &PortalId,
        request: &RobotRequest,
    ) -> Result<(), RouteError> {
        let stored = match self.asked_about(portal, request).await? {
            Some(saga) => self.parts.store.load(saga).await?,
            None => None,
        };
        let reply = match stored.filter(|stored| stored.saga.portal == *portal) {
            Some(stored) => reply_of(&stored.saga, self.language()),
            None => {
                let reason = Text::new(
                    "Такого документа нет: этот бизнес-процесс ничего не отправлял на подпись.",
                    "There is no such document: this workflow has sent nothing for signature.",
                );
                RobotReply::unknown(reason.get(self.language()).to_owned())
            }
        };
        self.answer_and_settle(notice, portal, request, &reply).await
    }

    /// By our own id, by the original file, or by the workflow that asks.
    async fn asked_about(
        &self,
        portal: &PortalId,
        request: &RobotRequest,
    ) -> Result<Option<SagaId>, RouteError> {
        if let Some(id) = request.property("document") {
            return Ok(id.parse().ok());
        }
        let claim = match request.property("file").map(|file| file.parse()) {
            Some(Ok(file_id)) => source_claim(portal, &Source::DriveFile { file_id }),
            Some(Err(_)) => return Ok(None),
            None => {
                let workflow_id = request.workflow_id.clone();
                Claim::Workflow { portal: portal.clone(), workflow_id }
            }
        };
        Ok(self.parts.store.claimed(&claim).await?)
    }

    // ---- answers -------------------------------------------------------------------------------------------

    /// Answers the workflow if it waits; the notice leaves the inbox only after that.
    async fn answer_and_settle(
        &self,
        notice: &Notice,
        portal: &PortalId,
        request: &RobotRequest,
        reply: &RobotReply,
    ) -> Result<(), RouteError> {
        if request.waits {
            match self.answer(portal, request, reply).await {
                Err(RouteError::Hopeless(reason)) => return self.park(notice, reason, None).await,
                outcome => outcome?,
            }
        }
        self.done(notice, "answered").await
    }

    /// The workflow goes on; the document is made whether or not it could be told.
    async fn answer_early(&self, portal: &PortalId, request: &RobotRequest) -> Result<(), RouteError> {
        match self.answer(portal, request, &accepted(self.language())).await {
            Err(RouteError::Hopeless(reason)) => {
                tracing::error!(%portal, workflow = %request.workflow_id, reason = %reason.en, "a workflow cannot be answered");
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn answer(
        &self,
        portal: &PortalId,
        request: &RobotRequest,
        reply: &RobotReply,
    ) -> Result<(), RouteError> {
        let token = EventToken::new(request.event_token.expose());
        match self.runner.answer_workflow(portal, &token, reply).await {
            Ok(heard) => {
                tracing::info!(%portal, workflow = %request.workflow_id, ?heard, status = reply.status.word(), "a workflow was answered");
                Ok(())
            }
            Err(failure) if failure.class == FailureClass::Permanent => {
                Err(RouteError::Hopeless(failure.reason))
            }
            Err(failure) => Err(RouteError::Workflow(failure.reason.en)),
        }
    }

    fn language(&self) -> crate::domain::Language {
        self.parts.policy.language
    }
}

fn order_of(request: &RobotRequest) -> RobotOrder {
    let waits = request.waits && request.wish("wait").unwrap_or(true);
    RobotOrder {
        workflow_id: request.workflow_id.clone(),
        event_token: EventToken::new(request.event_token.expose()),
        waits: if waits { RobotWait::UntilTheEnd } else { RobotWait::No },
        answered_at: None,
    }
}

/// The route that the robot names, if it is not the name of a rule.
fn route_of(request: &RobotRequest, rule: &Rule) -> Option<String> {
    request.property("route").filter(|named| *named != rule.id)
}

fn source_of(request: &RobotRequest) -> Result<Source, Text> {
    match (request.wanted_source(), request.item) {
        (Some(WantedSource::DriveFile(file_id)), _) => Ok(Source::DriveFile { file_id }),
        (Some(WantedSource::Field(field)), Some(item)) => {
            Ok(Source::OfItem { item, pick: ItemPick::Field(field) })
        }
        (Some(WantedSource::Generated), Some(item)) => {
            Ok(Source::OfItem { item, pick: ItemPick::LatestGenerated })
        }
        (Some(_), None) => Err(Text::new(
            "Робот запущен не в карточке CRM: укажите файл Диска.",
            "The robot runs in no CRM item: name a file of the Drive.",
        )),
        (None, _) => Err(Text::new(
            "В настройке робота не указан файл: код поля (UF_CRM_…) или номер файла на Диске.",
            "The robot's settings name no file: the code of a field (UF_CRM_…) or the id of a Drive file.",
        )),
    }
}

fn no_rule() -> Text {
    Text::new(
        "В настройках edobridge нет правила для робота: добавьте правило с trigger = { kind = \"robot\" }.",
        "The configuration of edobridge has no rule for the robot: add one with trigger = { kind = \"robot\" }.",
    )
}

fn accepted(language: crate::domain::Language) -> RobotReply {
    let reason = Text::new("Документ принят в работу.", "The document was taken up.");
    RobotReply {
        status: RobotStatus::Accepted,
        file: None,
        reason: reason.get(language).to_owned(),
        document: None,
    }
}

fn unusable(ru: &str, en: &str) -> Text {
    Text::new(
        format!("Подлинный, но непригодный запрос робота: {ru}."),
        format!("An authentic but unusable request of a robot: {en}."),
    )
}
