//! WorkflowWatch: looks now and then for workflows that stand still because of our robots.
//!
//! A robot's call comes once: lost on the way, its workflow waits for an answer that nobody can give, since only the
//! call carries the event token. And an answer may have met a refusal that was none of the workflow's: then its
//! document is finished, and it waits all the same. The second kind is answered again (the event token makes a
//! repeat harmless); the first kind can only be told to people.
//!
//! Which of a portal's running workflows are meant to call us is learned: a template from which one has called our
//! robots has one in it. So the first lost call of a template that never called before is not noticed.
//!
//! Invariants: **WW-1** nothing is answered but what a document of ours was ordered with; **WW-2** a workflow whose
//! document is on its way is left alone; **WW-3** a look asks for a bounded number of pages and gives a bounded
//! number of answers.

use super::Parts;
use super::effect_runner::EffectRunner;
use super::portal_session::{PortalCaller, PortalSession};
use super::session_registry::Tenure;
use crate::domain::portal_workflows::WorkflowRecord;
use crate::domain::{Failure, PortalId, SagaId, Text, Timestamp};
use crate::providers::bitrix24::notify;
use crate::providers::bitrix24::robots::{self, Running, WorkflowInstance};
use crate::saga::document::rule::Trigger;
use crate::saga::document::transition::reply_of;
use crate::saga::document::{Claim, DocumentSaga, EventToken, RobotHeard, RobotWait};
use crate::store::StoreError;
use actix::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The first look after a start comes this late at most: after the work that waited, and not at every portal at once.
const FIRST_LOOK_MS_MAX: u64 = 60_000;
/// Answers that one look gives at most; the next look goes on. Each is a call of its own.
const ANSWERS_MAX: usize = 50;
/// Workflows that are remembered as having called us; more than the portal is asked for.
const HEARD_MAX: usize = 5_000;
/// Templates that are remembered; a portal has tens.
const TEMPLATES_MAX: usize = 1_000;
/// Suspects that a notice names; the others are counted.
const NAMED_MAX: usize = 5;

/// How the workflows of a portal are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowSettings {
    /// Pause between two looks, in milliseconds; none: nobody looks.
    pub interval_ms: Option<u64>,
    /// A silent workflow is suspected after it has not moved for so long, in milliseconds.
    pub silent_ms: u64,
    /// Users of the portal who are told; empty: whoever installed the application.
    pub administrators: Vec<u64>,
}

/// A workflow that probably waits for an answer to a call that never reached us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// The workflow's instance.
    pub workflow_id: String,
    /// Its template.
    pub template_id: u64,
    /// In what it runs, as the portal names it: `DEAL_501`.
    pub document: Option<String>,
    /// When it last moved.
    pub moved_at: Timestamp,
}

impl Suspect {
    /// For people, with the remedy.
    pub fn text(&self) -> Text {
        let (id, template) = (&self.workflow_id, self.template_id);
        let document = self.document.as_deref().unwrap_or("?");
        Text::new(
            format!(
                "Бизнес-процесс {id} ({document}, шаблон {template}) давно не движется, а его робот к нам не обращался: вызов, вероятно, потерян в пути. Остановите процесс в карточке и запустите снова; задайте роботу срок ожидания."
            ),
            format!(
                "Workflow {id} ({document}, template {template}) has not moved for long, and its robot has not called us: the call was probably lost. Stop the workflow in its item and start it again; give the robot a time limit."
            ),
        )
    }
}

/// What is known of a portal's workflows, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkflowsView {
    /// When the portal was asked last in this process.
    pub checked_at: Option<Timestamp>,
    /// Those that hang, as far as can be told.
    pub suspects: Vec<Suspect>,
    /// How many were released since the start: their documents were finished and they waited all the same.
    pub released: u64,
    /// Why the last look saw nothing.
    pub unseen: Option<Text>,
}

/// What the robots' calls of this process have told, and what the looks saw, of all portals.
#[derive(Debug, Default)]
pub struct WorkflowBoard(Mutex<BTreeMap<PortalId, Known>>);

#[derive(Debug, Default)]
struct Known {
    heard: BTreeSet<String>,
    view: Option<WorkflowsView>,
}

impl WorkflowBoard {
    /// A workflow has called one of our robots.
    pub fn heard(&self, portal: &PortalId, workflow_id: &str) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = board.entry(portal.clone()).or_default();
        if known.heard.len() < HEARD_MAX {
            known.heard.insert(workflow_id.to_owned());
        }
    }

    /// What is known of a portal's workflows; none before the first look.
    pub fn of(&self, portal: &PortalId) -> Option<WorkflowsView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(portal).and_then(|known| known.view.clone())
    }

    fn heard_of(&self, portal: &PortalId) -> BTreeSet<String> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.get(portal).map(|known| known.heard.clone()).unwrap_or_default()
    }

    /// These need not be known by heart any more: they are on record, or do not run.
    fn forget(&self, portal: &PortalId, heard: &BTreeSet<String>) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = board.get_mut(portal) {
            known.heard.retain(|id| !heard.contains(id));
        }
    }

    fn put(&self, portal: &PortalId, view: WorkflowsView) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.entry(portal.clone()).or_default().view = Some(view);
    }
}

/// Starts the watch of `portal` in `arbiter`, if one is wanted, for as long as `tenure` lasts. `installer` is told
/// where nobody else is named.
#[allow(clippy::too_many_arguments, reason = "one call, and a struct for it would be built there only")]
pub fn start(
    parts: &Arc<Parts>,
    portal: &PortalId,
    session: &Addr<PortalSession>,
    tenure: Tenure,
    settings: &WorkflowSettings,
    installer: u64,
    runner: &Arc<EffectRunner>,
    arbiter: &ArbiterHandle,
) {
    let Some(interval_ms) = settings.interval_ms else { return };
    let has_robots = parts.rules.iter().any(|rule| rule.is_for(portal) && rule.trigger == Trigger::Robot);
    if !has_robots {
        return;
    }
    let told = match settings.administrators.as_slice() {
        [] => vec![installer],
        named => named.to_vec(),
    };
    let watch = WorkflowWatch {
        parts: parts.clone(),
        portal: portal.clone(),
        caller: PortalCaller::background(session.clone()),
        runner: runner.clone(),
        silent_ms: settings.silent_ms,
        told,
        interval_ms,
    };
    arbiter.spawn(tenure.through(watch.run()));
}

/// The watch of one portal's workflows.
struct WorkflowWatch {
    parts: Arc<Parts>,
    portal: PortalId,
    caller: PortalCaller,
    runner: Arc<EffectRunner>,
    silent_ms: u64,
    told: Vec<u64>,
    interval_ms: u64,
}

impl WorkflowWatch {
    async fn run(self) {
        let first = FIRST_LOOK_MS_MAX.min(self.interval_ms);
        let mut pause_ms = first / 2 + super::chance() % (first / 2 + 1);
        while !self.parts.is_draining() {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            if let Err(error) = self.watch().await {
                tracing::warn!(portal = %self.portal, %error, "the workflows cannot be looked after without the store");
            }
            pause_ms = self.interval_ms;
        }
    }

    /// One look, and what follows from it. Without the store nobody is told: they would be told again and again.
    async fn watch(&self) -> Result<(), StoreError> {
        let before = self.parts.store.portal_workflows(&self.portal).await?;
        // before the portal is asked: a call that comes meanwhile belongs to a workflow that the list may have
        let heard = self.parts.workflows.heard_of(&self.portal);
        let earlier = self.parts.workflows.of(&self.portal).unwrap_or_default();
        let running = match robots::workflows(&self.caller).await {
            Ok(running) => running,
            Err(failure) => {
                tracing::warn!(portal = %self.portal, code = %failure.code, "running workflows cannot be listed");
                self.show(WorkflowsView { unseen: Some(failure.reason), ..earlier });
                return Ok(());
            }
        };
        let now = self.parts.clock.now();
        let mut after = remembered(&before, &heard, &running);
        let late = self.parts.workflows.heard_of(&self.portal);
        let suspects: Vec<Suspect> = suspects(&after, &running, now, self.silent_ms)
            .into_iter()
            .filter(|suspect| !late.contains(&suspect.workflow_id))
            .collect();
        let released = self.release(&running, &mut after).await?;
        self.show(WorkflowsView {
            checked_at: Some(now),
            suspects: suspects.clone(),
            released: earlier.released + released,
            unseen: None,
        });
        self.tell_news(&suspects, &mut after).await;
        if after != before {
            self.parts.store.put_portal_workflows(&self.portal, &after).await?;
        }
        self.parts.workflows.forget(&self.portal, &heard);
        Ok(())
    }

    fn show(&self, view: WorkflowsView) {
        self.parts.metrics.set_hanging_workflows(self.portal.as_str(), view.suspects.len() as u64);
        self.parts.workflows.put(&self.portal, view);
    }

    /// Answers workflows whose documents are finished; says how many had waited.
    async fn release(&self, running: &Running, after: &mut WorkflowRecord) -> Result<u64, StoreError> {
        let (mut released, mut given) = (0, 0);
        for workflow in &running.instances {
            for owed in self.owed_to(workflow, &after.settled).await? {
                if given == ANSWERS_MAX {
                    return Ok(released);
                }
                given += 1;
                match self.answer(&owed).await {
                    Some(RobotHeard::Yes) => released += 1,
                    Some(RobotHeard::TooLate) => after.settled.push(owed.key),
                    None => {}
                }
            }
        }
        Ok(released)
    }

    /// The answers that a workflow may still wait for.
    async fn owed_to(
        &self,
        workflow: &WorkflowInstance,
        settled: &[String],
    ) -> Result<Vec<Owed>, StoreError> {
        let claim = Claim::Workflow { portal: self.portal.clone(), workflow_id: workflow.id.clone() };
        let Some(saga) = self.parts.store.claimed(&claim).await? else { return Ok(Vec::new()) };
        let Some(stored) = self.parts.store.load(saga).await? else { return Ok(Vec::new()) };
        let owed = owed(&stored.saga, &workflow.id);
        Ok(owed
            .into_iter()
            .filter(|owed| !settled.contains(&owed.key))
            .map(|o| o.of(stored.saga.clone()))
            .collect())
    }

    /// None: it could not be told now, and the next look tries again.
    async fn answer(&self, owed: &Owed) -> Option<RobotHeard> {
        let reply = reply_of(owed.saga.as_ref()?, self.parts.policy.language);
        match self.runner.answer_workflow(&self.portal, &owed.token, &reply).await {
            Ok(RobotHeard::Yes) => {
                self.parts.metrics.released_workflow(self.portal.as_str());
                tracing::warn!(portal = %self.portal, answer = %owed.key, status = reply.status.word(), "a workflow that hung was released");
                Some(RobotHeard::Yes)
            }
            Ok(RobotHeard::TooLate) => Some(RobotHeard::TooLate),
            Err(failure) => {
                tracing::warn!(portal = %self.portal, code = %failure.code, "a workflow cannot be answered now");
                None
            }
        }
    }

    /// Tells people of the suspects that they were not told of yet.
    async fn tell_news(&self, suspects: &[Suspect], after: &mut WorkflowRecord) {
        let news: Vec<&Suspect> =
            suspects.iter().filter(|suspect| !after.told.contains(&suspect.workflow_id)).collect();
        if news.is_empty() {
            return;
        }
        for suspect in &news {
            tracing::error!(portal = %self.portal, workflow = %suspect.workflow_id, template = suspect.template_id, "{}", suspect.text().en);
        }
        match self.tell(suspects).await {
            Ok(()) => after.told.extend(news.iter().map(|suspect| suspect.workflow_id.clone())),
            Err(failure) => tracing::warn!(
                portal = %self.portal, code = %failure.code,
                "nobody could be told of workflows that hang, will try again"
            ),
        }
    }

    async fn tell(&self, suspects: &[Suspect]) -> Result<(), Failure> {
        let text = notice(suspects);
        let text = notify::plain(text.get(self.parts.policy.language));
        // one tag: a later notice takes the place of this one
        let tag = format!("edobridge|workflows|{}", self.portal);
        for user in &self.told {
            notify::system(&self.caller, *user, &text, &tag, &self.parts.notify_client_id).await?;
        }
        Ok(())
    }
}

/// An answer that a workflow may still wait for.
struct Owed {
    /// Its name in the record: workflow, document, place of the order.
    key: String,
    token: EventToken,
    saga: Option<DocumentSaga>,
}

impl Owed {
    fn of(self, saga: DocumentSaga) -> Self {
        Self { saga: Some(saga), ..self }
    }
}

/// What a document still owes to a workflow: nothing while it is on its way, unless it was not to be waited for.
fn owed(saga: &DocumentSaga, workflow_id: &str) -> Vec<Owed> {
    let orders = saga.robots.iter().enumerate();
    let of_it = orders.filter(|(_, order)| order.workflow_id == workflow_id);
    of_it
        .filter(|(_, order)| saga.step.is_finished() || order.waits == RobotWait::No)
        .map(|(place, order)| Owed {
            key: key_of(workflow_id, saga.id, place),
            token: order.event_token.clone(),
            saga: None,
        })
        .collect()
}

fn key_of(workflow_id: &str, saga: SagaId, place: usize) -> String {
    format!("{workflow_id}|{saga}|{place}")
}

/// What the next look is to know: of what runs only, since everything else is over.
fn remembered(before: &WorkflowRecord, heard: &BTreeSet<String>, running: &Running) -> WorkflowRecord {
    let runs: BTreeSet<&str> = running.instances.iter().map(|workflow| workflow.id.as_str()).collect();
    // where not all could be listed, what is not in the list may run all the same
    let may_run = |id: &str| running.more || runs.contains(id);
    let all: BTreeSet<&String> = before.heard.iter().chain(heard).collect();
    let heard: Vec<String> =
        all.iter().filter(|id| may_run(id)).take(HEARD_MAX).map(|id| (*id).clone()).collect();
    let calling = running.instances.iter().filter(|workflow| all.contains(&workflow.id));
    let templates: BTreeSet<u64> =
        before.templates.iter().copied().chain(calling.filter_map(|workflow| workflow.template_id)).collect();
    let of_running = |key: &&String| may_run(key.split('|').next().unwrap_or_default());
    WorkflowRecord {
        templates: templates.into_iter().take(TEMPLATES_MAX).collect(),
        heard,
        settled: before.settled.iter().filter(of_running).take(HEARD_MAX).cloned().collect(),
        told: before.told.iter().filter(|id| may_run(id)).take(HEARD_MAX).cloned().collect(),
    }
}

/// Workflows of templates with our robots that have never called and have not moved for long.
fn suspects(known: &WorkflowRecord, running: &Running, now: Timestamp, silent_ms: u64) -> Vec<Suspect> {
    let suspect = |workflow: &WorkflowInstance| {
        let template_id = workflow.template_id.filter(|id| known.templates.contains(id))?;
        let moved_at = workflow.moved_at.filter(|at| now.ms_since(*at) >= silent_ms)?;
        let is_silent = !known.heard.contains(&workflow.id);
        is_silent.then(|| Suspect {
            workflow_id: workflow.id.clone(),
            template_id,
            document: workflow.document.clone(),
            moved_at,
        })
    };
    running.instances.iter().filter_map(suspect).collect()
}

fn notice(suspects: &[Suspect]) -> Text {
    let named = suspects.iter().take(NAMED_MAX).map(Suspect::text);
    let (mut ru, mut en) = (Vec::new(), Vec::new());
    for text in named {
        ru.push(text.ru);
        en.push(text.en);
    }
    let more = suspects.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        ru.push(format!("И ещё: {more} (edobridge portals show)."));
        en.push(format!("And {more} more (edobridge portals show)."));
    }
    Text::new(ru.join("\n"), en.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const SILENT: u64 = 3_600_000;

    fn workflow(id: &str, template: u64, idle_ms: i64) -> WorkflowInstance {
        WorkflowInstance {
            id: id.into(),
            template_id: Some(template),
            moved_at: Some(Timestamp(NOW.0 - idle_ms)),
            document: Some("DEAL_501".into()),
        }
    }

    fn ids(found: &[Suspect]) -> Vec<&str> {
        found.iter().map(|suspect| suspect.workflow_id.as_str()).collect()
    }

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_silent_workflow_is_suspected_only_by_a_template_that_has_called() {
        let long = 2 * SILENT as i64;
        let instances = vec![
            workflow("called", 7, long),
            workflow("silent", 7, long),
            workflow("moving", 7, 1_000),
            workflow("of-others", 8, long),
        ];
        let running = Running { instances, more: false };
        let strangers = remembered(&WorkflowRecord::default(), &BTreeSet::new(), &running);
        assert_eq!(suspects(&strangers, &running, NOW, SILENT), [], "nothing is known of any template");
        let known = remembered(&WorkflowRecord::default(), &set(&["called", "over"]), &running);
        assert_eq!(
            (known.templates.as_slice(), known.heard.as_slice()),
            (&[7][..], &["called".to_owned()][..])
        );
        assert_eq!(ids(&suspects(&known, &running, NOW, SILENT)), ["silent"]);
        // the template is known for ever, the workflow that taught it is over
        let running = Running { instances: vec![workflow("next", 7, long)], more: false };
        let known = remembered(&known, &BTreeSet::new(), &running);
        assert!(known.heard.is_empty());
        assert_eq!(ids(&suspects(&known, &running, NOW, SILENT)), ["next"]);
    }

    #[test]
    fn what_is_over_is_forgotten_unless_the_list_had_more() {
        let before = WorkflowRecord {
            templates: vec![7],
            heard: vec!["a".into(), "b".into()],
            settled: vec!["a|d|0".into(), "b|d|0".into()],
            told: vec!["c".into()],
        };
        let running = Running { instances: vec![workflow("a", 7, 0)], more: false };
        let after = remembered(&before, &BTreeSet::new(), &running);
        assert_eq!(
            (after.heard, after.settled, after.told),
            (vec!["a".to_owned()], vec!["a|d|0".to_owned()], vec![])
        );
        let cut = Running { more: true, ..running };
        assert_eq!(remembered(&before, &BTreeSet::new(), &cut), before);
    }

    #[test]
    fn a_notice_names_some_and_counts_the_rest() {
        let one = |n: usize| Suspect {
            workflow_id: format!("w{n}"),
            template_id: 7,
            document: None,
            moved_at: NOW,
        };
        let text = notice(&(0..7).map(one).collect::<Vec<_>>());
        assert!(
            text.en.contains("w4") && !text.en.contains("w5") && text.en.contains("2 more"),
            "{}",
            text.en
        );
        assert!(text.ru.contains("ещё: 2"), "{}", text.ru);
    }
}
