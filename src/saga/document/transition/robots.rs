//! Workflows of the portal that ordered a document by a robot and wait for our word.
//!
//! Every order is answered before the document's end is sealed, so that no finished document leaves a workflow
//! hanging. The event token is the idempotency key: the portal takes one answer for each, and "used or ended" means
//! that nobody waits any more.

use super::super::effect::{Effect, RobotReply, RobotStatus};
use super::super::event::{Answer, RobotHeard};
use super::super::state::{Claim, DocumentSaga, RobotOrder, RobotWait, Source, Step};
use super::super::words;
use super::{Context, Draft, IllegalEvent, Next, missing, opened, rejected, wrong};
use crate::domain::{CrmItem, Language, PortalId, SagaId};

/// How many robots may wait for one document: more is a workflow that turns in a circle.
pub(crate) const ROBOTS_MAX: usize = 32;

/// What a robot wants besides the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RobotWishes {
    /// Another route than the rule's.
    pub route_id: Option<String>,
    /// Whom to tell; empty = whom the rule tells.
    pub notify: Vec<u64>,
    /// The item in which the workflow runs.
    pub item: Option<CrmItem>,
    /// Whom to answer, if the workflow waits.
    pub order: Option<RobotOrder>,
}

/// As [`super::begin`], by order of a robot.
///
/// # Errors
/// As [`super::begin`].
pub fn begin_for_robot(
    id: SagaId,
    portal: &PortalId,
    source: Source,
    rule: Option<String>,
    wishes: RobotWishes,
    cx: Context<'_>,
) -> Result<Next, IllegalEvent> {
    let mut draft = opened(id, portal, source, rule, cx);
    let saga = draft.saga();
    saga.delivery.route_id = wishes.route_id.unwrap_or_default();
    saga.delivery.notify = wishes.notify;
    saga.crm_item = saga.crm_item.or(wishes.item);
    if let Some(order) = wishes.order {
        draft.take_order(order);
    }
    draft.start()?;
    Ok(draft.next)
}

/// What a workflow is told of the document as it stands.
pub fn reply_of(saga: &DocumentSaga, language: Language) -> RobotReply {
    let end = saga.ending.as_ref().map_or(saga.step, |ending| ending.step);
    let reason = match (&saga.ending, &saga.dead_letter, &saga.last_failure) {
        (Some(ending), _, _) => ending.reason.get(language).to_owned(),
        (None, Some(dead), _) => dead.reason.get(language).to_owned(),
        (None, None, Some(failure)) => failure.reason.get(language).to_owned(),
        (None, None, None) => words::step(end).get(language).to_owned(),
    };
    RobotReply { status: status_of(end), file: saga.delivered.clone(), reason, document: Some(saga.id) }
}

fn status_of(step: Step) -> RobotStatus {
    match step {
        Step::Delivered => RobotStatus::Signed,
        Step::Refused => RobotStatus::Refused,
        Step::Cancelled => RobotStatus::Cancelled,
        Step::Ignored => RobotStatus::NotSent,
        Step::Parked => RobotStatus::Stopped,
        Step::AwaitSignature | Step::FindDocument => RobotStatus::Waiting,
        Step::ReadItem
        | Step::FetchSource
        | Step::AwaitPdf
        | Step::Create
        | Step::UploadBlob
        | Step::CreateDraft
        | Step::FindDraft
        | Step::SetRoute
        | Step::FindRoute
        | Step::PrepareContent => RobotStatus::Accepted,
        Step::FetchSigned
        | Step::ScanFolder
        | Step::Upload
        | Step::FindUpload
        | Step::ScanField
        | Step::AttachField
        | Step::FindFieldFile
        | Step::Comment
        | Step::FindComment
        | Step::MoveStage
        | Step::Notify
        | Step::AnswerRobot
        | Step::TellSigner
        | Step::AwaitSigner
        | Step::SendSignature
        | Step::SaveSignature
        | Step::FindSave
        | Step::FetchArchive
        | Step::SendSigned
        | Step::FindSent
        | Step::AwaitProcess => RobotStatus::Waiting,
    }
}

impl Draft<'_> {
    /// A robot asks for a document that is under way: it is answered with the others.
    pub(super) fn robot_asked(&mut self, order: &RobotOrder) -> Result<(), IllegalEvent> {
        let saga = &self.next.saga;
        if saga.robots.iter().any(|known| known.event_token == order.event_token) {
            return Ok(());
        }
        if saga.step.is_finished() {
            return Err(rejected(
                "Документ уже завершён: ответ можно дать сразу.",
                "The document is already finished: the answer can be given at once.",
            ));
        }
        if saga.robots.len() >= ROBOTS_MAX {
            return Err(rejected(
                "Слишком много роботов ждут этого документа: проверьте, не зациклен ли бизнес-процесс.",
                "Too many robots wait for this document: check whether the workflow turns in a circle.",
            ));
        }
        self.take_order(order.clone());
        Ok(())
    }

    fn take_order(&mut self, order: RobotOrder) {
        let (portal, workflow_id) = (self.next.saga.portal.clone(), order.workflow_id.clone());
        let id = words::plain(&workflow_id);
        self.next.claims.push(Claim::Workflow { portal, workflow_id });
        self.saga().robots.push(order);
        self.note(
            "robot_asked",
            format!("Бизнес-процесс {id} ждёт результата"),
            format!("Workflow {id} waits for the result"),
        );
    }

    /// Where it stands, or where it will end once the robots are answered.
    pub(super) fn end_or_stuck(&self) -> Step {
        self.next.saga.ending.as_ref().map_or_else(|| self.stuck_at(), |ending| ending.step)
    }

    pub(super) fn robot_answered(&mut self, answer: &Answer) -> Result<(), IllegalEvent> {
        let Answer::RobotAnswered { heard } = answer else {
            return Err(wrong(Step::AnswerRobot, answer));
        };
        self.settled();
        let now = self.cx.now;
        let order = self.saga().robots.iter_mut().find(|robot| robot.is_pending());
        let workflow = order.map(|order| {
            order.answered_at = Some(now);
            words::plain(&order.workflow_id)
        });
        let workflow = workflow.unwrap_or_default();
        match heard {
            RobotHeard::Yes => self.note(
                "robot_answered",
                format!("Бизнес-процесс {workflow} получил ответ"),
                format!("Workflow {workflow} has its answer"),
            ),
            RobotHeard::TooLate => self.note(
                "robot_too_late",
                format!("Бизнес-процесс {workflow} ответа больше не ждёт: он завершён или уже получил его"),
                format!("Workflow {workflow} waits no more: it has ended or has its answer already"),
            ),
        }
        if self.next.saga.robots.iter().any(RobotOrder::is_pending) {
            return self.go(Step::AnswerRobot);
        }
        self.seal_ending()
    }

    pub(super) fn seal_ending(&mut self) -> Result<(), IllegalEvent> {
        let saga = &self.next.saga;
        let ending = saga.ending.clone().ok_or_else(|| missing(saga, "how it ends"))?;
        self.seal(ending);
        Ok(())
    }

    /// A person gives up the answer; everything else is done, and how it ended stays true.
    pub(super) fn leave_unanswered(&mut self) -> Result<(), IllegalEvent> {
        self.let_robots_go(
            "robot_unanswered",
            "Бизнес-процесс остался без ответа по решению человека",
            "The workflow was left without an answer by a person",
        );
        self.seal_ending()
    }

    /// Nobody waits for the end of this document any more.
    pub(super) fn let_robots_go(&mut self, code: &'static str, ru: &str, en: &str) {
        for robot in self.saga().robots.iter_mut().filter(|robot| robot.is_pending()) {
            robot.waits = RobotWait::No;
        }
        self.note(code, ru, en);
    }
}

/// Used by the runner's answer outside of a saga: nothing of a document is known.
impl RobotReply {
    /// There is no document for what was asked.
    pub fn unknown(reason: String) -> Self {
        Self { status: RobotStatus::Unknown, file: None, reason, document: None }
    }
}

impl Effect {
    /// Whether a workflow of the portal is answered.
    pub fn is_for_workflow(&self) -> bool {
        matches!(self, Self::AnswerRobot { .. })
    }
}
