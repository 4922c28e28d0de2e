//! Those who speak to us: the portal's events, the signing services' callbacks, our signer, and operators. And the door
//! and the router behind it.

use super::laws::{Broken, Law};
use super::life::{Happening, Letter, Life, Stop, moment_ms};
use super::plan::{DAY, HOUR, MINUTE, Portal, Sort, Wish, deal};
use super::sabotage::Sabotage;
use super::sent_whole::is_about_the_cabinet;
use super::witness::About;
use super::world::{SECRET, own_word};
use edobridge::actors::decision::{Beginning, Decider};
use edobridge::actors::document_saga::HandleError;
use edobridge::actors::notice_way::{self, Way};
use edobridge::actors::trigger::{self, Trigger};
use edobridge::domain::{SagaId, Text};
use edobridge::providers::bitrix24::{BitrixTrigger, IncomingEvent};
use edobridge::saga::document::effect::RobotStatus;
use edobridge::saga::document::own_signature::{OwnEvent, OwnStatus};
use edobridge::saga::document::transition::source_claim;
use edobridge::saga::document::{
    Announcement, CallbackStatus, DocumentSaga, Event, EventToken, Mend, OperatorAction, Outcome, RobotOrder,
    RobotWait, RobotWishes, Source, Step,
};
use edobridge::store::{Commit, Fate, NewNotice, Notice, NoticeKind, StoreError};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn letter(
    portal: Portal,
    kind: NoticeKind,
    content_type: &'static str,
    body: String,
    about: About,
) -> Letter {
    Letter { portal, kind, content_type, body, about, tries: 4 }
}

fn trigger_letter(portal: Portal, kind: NoticeKind, source: Source, rule: Option<String>) -> Letter {
    let body = Trigger { source: source.clone(), rule }.encode();
    let body = String::from_utf8(body).expect("a trigger is JSON");
    letter(portal, kind, trigger::CONTENT_TYPE, body, About::Source(portal, source))
}

fn event_letter(portal: Portal, name: &str, id: u64, about: About) -> Letter {
    let body = format!("event={name}&data[FIELDS][ID]={id}&auth[application_token]={SECRET}-application");
    letter(portal, NoticeKind::BitrixEvent, FORM, body, about)
}

impl Life {
    // ---- triggers ------------------------------------------------------------------------------------------

    /// The first word of a document, and its repeats in other forms.
    pub fn write_triggers(&mut self, wish: &Wish) {
        self.tally.documents += 1;
        let repeats = self.chance.below(3);
        for n in 0..=repeats {
            let pause = if n == 0 { 0 } else { self.chance.wait_ms(2 * DAY) };
            let letter = self.trigger_of(wish);
            self.later(wish.at_ms + pause, Happening::Send(letter));
        }
    }

    fn trigger_of(&mut self, wish: &Wish) -> Letter {
        let portal = wish.portal;
        match wish.sort {
            Sort::Plain | Sort::Own => {
                let source = Source::DriveFile { file_id: wish.file };
                match self.chance.below(3) {
                    0 => event_letter(portal, "ONDISKFILEADD", wish.file, About::Source(portal, source)),
                    1 => trigger_letter(portal, NoticeKind::FolderFile, source, None),
                    _ => {
                        trigger_letter(portal, NoticeKind::Operator, source, Some(format!("{:?}", wish.sort)))
                    }
                }
            }
            Sort::OfItem => {
                let source = Source::CrmItem { item: deal(wish.item) };
                match self.chance.below(2) {
                    0 => event_letter(portal, "ONCRMDEALUPDATE", wish.item, About::Source(portal, source)),
                    _ => trigger_letter(portal, NoticeKind::Operator, source, None),
                }
            }
            Sort::OfRobot | Sort::OwnOfRobot => {
                let token = format!("{SECRET}-robot-{portal:?}-{}-{}", wish.file, self.chance.below(2));
                let body = format!("{token} {} {}", wish.file, wish.item);
                letter(portal, NoticeKind::Robot, "text/plain", body, About::Robot(portal, token))
            }
        }
    }

    pub fn file_appears(&mut self, portal: Portal, file: u64) {
        let source = Source::DriveFile { file_id: file };
        let pause = moment_ms(&mut self.chance);
        self.later(pause, Happening::Send(event_letter(portal, "ONDISKFILEADD", file, About::Nothing)));
        let pause = self.chance.below(2 * MINUTE);
        let mut found = trigger_letter(portal, NoticeKind::FolderFile, source, None);
        found.about = About::Nothing;
        self.later(pause, Happening::Send(found));
    }

    pub fn item_changes(&mut self, portal: Portal, item: u64) {
        let pause = moment_ms(&mut self.chance);
        self.later(pause, Happening::Send(event_letter(portal, "ONCRMDEALUPDATE", item, About::Nothing)));
    }

    // ---- EasyDocs ------------------------------------------------------------------------------------------

    pub fn paper_appears(&mut self, id: String) {
        if self.chance.percent(40) {
            let pause = self.chance.wait_ms(HOUR);
            self.call_back(&id, "in_approval", pause, About::Nothing);
        }
        if self.chance.percent(92) {
            let pause = self.chance.wait_ms(10 * DAY);
            self.later(pause, Happening::Decide(id));
        }
    }

    fn call_back(&mut self, paper: &str, status: &str, pause_ms: u64, about: About) {
        let portal = self.portal_of(paper);
        let Some(known) = self.world(portal).papers.get(paper) else { return };
        let ours = format!(r#""external_id":"{}","#, known.external_id);
        let ours = if self.chance.percent(70) { ours } else { String::new() };
        let nonce = self.chance.below(1_000);
        let body = format!(
            r#"{{"event":"document.status_changed","document_id":"{paper}",{ours}"status":"{status}","signed_file_url":"https://easydocs.example/{paper}?token={SECRET}-url","timestamp":"{nonce}"}}"#
        );
        self.later(
            pause_ms,
            Happening::Send(letter(portal, NoticeKind::EasyDocsCallback, JSON, body, about)),
        );
    }

    pub fn people_decide(&mut self, id: &str) {
        let signed = self.chance.percent(75);
        let portal = self.portal_of(id);
        let Some(paper) = self.world_mut(portal).papers.get_mut(id) else { return };
        if paper.status == CallbackStatus::Other {
            paper.status = if signed { CallbackStatus::Signed } else { CallbackStatus::Refused };
        }
        let (status, other) = match paper.status {
            CallbackStatus::Refused => ("rejected", "signed"),
            CallbackStatus::Signed | CallbackStatus::Other => ("signed", "rejected"),
        };
        if self.calm || self.chance.percent(85) {
            let pause = moment_ms(&mut self.chance);
            self.call_back(id, status, pause, About::Verdict(id.to_owned()));
        }
        if self.chance.percent(15) {
            let pause = self.chance.wait_ms(DAY);
            self.call_back(id, other, pause, About::Verdict(id.to_owned()));
        }
        if self.chance.percent(10) {
            let body = r#"{"event":"document.status_changed","document_id":"ed-not-ours","status":"signed"}"#;
            let foreign = letter(portal, NoticeKind::EasyDocsCallback, JSON, body.to_owned(), About::Nothing);
            self.later(0, Happening::Send(foreign));
        }
    }

    // ---- iDocs ---------------------------------------------------------------------------------------------

    pub fn link_arrives(&mut self, saga: SagaId, unit: u32) {
        let times = self.chance.pick(&[0, 1, 1, 1, 1, 2]);
        for _ in 0..times {
            let pause = self.chance.wait_ms(4 * DAY);
            self.later(pause, Happening::Signs(saga, unit));
        }
    }

    /// Our signer signs, and tries again if nobody says that it worked.
    pub async fn signer_signs(&mut self, saga: SagaId, unit: u32) -> Result<(), Stop> {
        let again = self.insert(MINUTE, Happening::Signs(saga, unit));
        self.may_die()?;
        let bytes = format!("cms {saga} {unit} {}", self.chance.below(2));
        let Some(cms) = self.keep(bytes.as_bytes()).await? else { return Ok(()) };
        let checks = Text::new("Проверено.", "Checked.");
        let given = OwnEvent::SignatureGiven { unit, cms, signer: "CN=Director".into(), checks };
        match self.deliver(saga, Event::Own(given), None).await? {
            Ok(()) | Err(HandleError::Rejected(_)) => {
                self.remove(again);
                Ok(())
            }
            // He is told so, and tries again.
            Err(HandleError::Store(StoreError::Unavailable { .. })) => Ok(()),
            Err(error) => Err(Broken::new(Law::I14, format!("a signature: {error}")).into()),
        }
    }

    pub fn draft_is_sent(&mut self, id: String) {
        if self.chance.percent(90) {
            let pause = self.chance.wait_ms(10 * DAY);
            self.later(pause, Happening::Counterparty(id));
        }
    }

    pub fn counterparty_decides(&mut self, id: &str) {
        let signed = self.chance.percent(75);
        let portal = self.portal_of(id);
        let Some(draft) = self.world_mut(portal).drafts.get_mut(id) else { return };
        if draft.status == OwnStatus::InWork {
            draft.status = if signed {
                OwnStatus::Signed
            } else {
                OwnStatus::Refused(Some("Не та сумма".into()))
            };
        }
        if self.calm || self.chance.percent(70) {
            self.hint(id);
        }
    }

    fn hint(&mut self, id: &str) {
        let portal = self.portal_of(id);
        let status = self.world(portal).drafts.get(id).map_or("DRAFT", |draft| own_word(&draft.status));
        let body = format!(r#"{{"documentId":"{id}","documentStatus":"{status}"}}"#);
        let pause = moment_ms(&mut self.chance);
        let hint = letter(portal, NoticeKind::IdocsCallback, JSON, body, About::Nothing);
        self.later(pause, Happening::Send(hint));
    }

    // ---- the door ------------------------------------------------------------------------------------------

    /// Acknowledged when it is on disk; who hears nothing sends again.
    pub async fn receive(&mut self, letter: Letter) -> Result<(), Stop> {
        let again = (letter.tries > 0).then(|| {
            let pause = MINUTE + self.chance.below(HOUR);
            let once_more = Letter { tries: letter.tries - 1, ..letter.clone() };
            self.insert(pause, Happening::Send(once_more))
        });
        if self.sabotage == Some(Sabotage::AcknowledgesEarly) {
            self.acknowledge(&letter, again);
            if !self.calm && self.chance.percent(20) {
                return Err(Stop::Crashed);
            }
        }
        self.may_die()?;
        let notice = NewNotice {
            kind: letter.kind,
            portal: (letter.kind != NoticeKind::EasyDocsCallback).then(|| letter.portal.id()),
            received_at: self.wall(),
            content_type: letter.content_type.to_owned(),
            body: letter.body.clone().into(),
        };
        self.before_write();
        let accepted = self.store().accept(notice).await;
        self.after_write()?;
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The sender hears 503.
                self.refused(&error)?;
                if self.sabotage == Some(Sabotage::IgnoresRefusals) {
                    self.acknowledge(&letter, again);
                }
                return Ok(());
            }
        };
        self.trace.note(self.now_ms, format_args!("notice {} {:?}", accepted.id, letter.kind));
        self.tally.notices += 1;
        self.may_die()?;
        self.acknowledge(&letter, again);
        if !self.calm && self.chance.percent(15) {
            let pause = self.chance.wait_ms(DAY);
            self.later(pause, Happening::Send(Letter { tries: 0, ..letter }));
        }
        Ok(())
    }

    fn acknowledge(&mut self, letter: &Letter, again: Option<(u64, u64)>) {
        self.witness.acknowledged.push(letter.about.clone());
        if let Some(again) = again {
            self.remove(again);
        }
    }

    // ---- the router ----------------------------------------------------------------------------------------

    pub async fn route(&mut self, notice: &Notice) -> Result<(), Stop> {
        self.witness.takes_up(notice.id)?;
        let store = self.store();
        let unread = |error| Broken::new(Law::I13, format!("the store does not read: {error}"));
        let way = match notice.kind {
            NoticeKind::BitrixEvent => {
                drop(store);
                return self.route_event(notice).await;
            }
            NoticeKind::FolderFile | NoticeKind::FieldFile | NoticeKind::Operator => {
                drop(store);
                if self.sabotage == Some(Sabotage::ForgetsSiblings) && notice.kind == NoticeKind::FieldFile {
                    return self.settle(notice, Fate::Done).await;
                }
                let trigger = Trigger::decode(&notice.body);
                let trigger =
                    trigger.map_err(|error| Broken::new(Law::I10, format!("a trigger: {error}")))?;
                return self.open_source(notice, trigger.source, trigger.rule).await;
            }
            NoticeKind::Robot => {
                drop(store);
                return self.robot_asks(notice).await;
            }
            NoticeKind::EasyDocsCallback => {
                notice_way::of_easydocs(&store, &self.easydocs, &notice.body).await.map_err(unread)?
            }
            NoticeKind::IdocsCallback => {
                notice_way::of_idocs(&store, &self.idocs, &notice.body).await.map_err(unread)?
            }
            NoticeKind::SecondChannel | NoticeKind::OfflinePackage | NoticeKind::AppClaim => {
                return Err(Broken::new(Law::I10, "a notice that nobody sent").into());
            }
        };
        drop(store);
        self.follow(notice, way).await
    }

    async fn route_event(&mut self, notice: &Notice) -> Result<(), Stop> {
        let event = IncomingEvent::decode(Some(&notice.content_type), &notice.body);
        let event = event.map_err(|error| Broken::new(Law::I10, format!("an event: {error}")))?;
        match event.trigger() {
            Some(BitrixTrigger::DriveFileAdded { file_id }) => {
                self.open_source(notice, Source::DriveFile { file_id }, None).await
            }
            // Production reads items in batches and then goes the same way.
            Some(BitrixTrigger::CrmItemChanged { item }) => {
                self.open_source(notice, Source::CrmItem { item }, None).await
            }
            _ => self.settle(notice, Fate::Done).await,
        }
    }

    /// Where a notice comes from.
    fn portal_in(&self, notice: &Notice) -> Portal {
        let said = notice.portal.as_ref().map_or(Portal::Main, Portal::of);
        if self.sabotage == Some(Sabotage::MixesPortals) { Portal::Main } else { said }
    }

    async fn open_source(
        &mut self,
        notice: &Notice,
        source: Source,
        rule: Option<String>,
    ) -> Result<(), Stop> {
        let portal = self.portal_in(notice).id();
        let way = notice_way::of_source(&self.store(), &portal, &source).await;
        let way = way.map_err(|error| Broken::new(Law::I13, format!("the store does not read: {error}")))?;
        if way != Way::Begin {
            return self.follow(notice, way).await;
        }
        self.begin(notice, Beginning { portal, source, rule, robot: None, notice: Some(notice.id) }).await
    }

    async fn begin(&mut self, notice: &Notice, mut beginning: Beginning) -> Result<(), Stop> {
        self.may_die()?;
        let (id, store) = (self.new_saga_id(), self.store());
        if self.sabotage == Some(Sabotage::KeepsNotices) {
            beginning.notice = None;
        }
        self.witness.commits(id);
        self.before_write();
        let outcome = {
            let (moment, policy, metrics) = (self.moments(), &self.plan.policy, &self.metrics);
            let decider = Decider { id, store: &store, policy, metrics, moment: &moment };
            decider.begin(beginning).await
        };
        drop(store);
        self.after_write()?;
        match outcome {
            // It will be looked at again, and found to be a repeat.
            Err(HandleError::Taken { .. }) => Ok(()),
            outcome => match self.concluded(outcome, Some(notice.id))? {
                Ok(()) | Err(HandleError::Store(StoreError::Unavailable { .. })) => Ok(()),
                Err(error) => Err(Broken::new(Law::I14, format!("a beginning: {error}")).into()),
            },
        }
    }

    async fn follow(&mut self, notice: &Notice, way: Way) -> Result<(), Stop> {
        match way {
            Way::Done(_) => self.settle(notice, Fate::Done).await,
            Way::Park { reason, lookup } => self.settle(notice, Fate::Parked { reason, lookup }).await,
            Way::Begin => Err(Broken::new(Law::I10, "only a trigger makes a document").into()),
            Way::Tell(saga, event) => {
                if self.sabotage == Some(Sabotage::LastStateWins) {
                    self.overwrite_outcome(saga, &event).await?;
                }
                match self.deliver(saga, *event, Some(notice.id)).await? {
                    Ok(()) | Err(HandleError::Store(StoreError::Unavailable { .. })) => Ok(()),
                    Err(error) => Err(Broken::new(Law::I14, format!("a callback: {error}")).into()),
                }
            }
        }
    }

    pub async fn settle(&mut self, notice: &Notice, fate: Fate) -> Result<(), Stop> {
        self.may_die()?;
        if self.sabotage != Some(Sabotage::KeepsNotices) {
            self.before_write();
            let settled = self.store().settle(notice.id, fate).await;
            self.after_write()?;
            if let Err(error) = settled {
                return Ok(self.refused(&error)?);
            }
        }
        self.witness.ended(notice.id);
        Ok(())
    }

    async fn overwrite_outcome(&mut self, id: SagaId, event: &Event) -> Result<(), Stop> {
        let Event::CallbackArrived { status, .. } = event else { return Ok(()) };
        let Ok(Some(stored)) = self.store().load(id).await else { return Ok(()) };
        let outcome = match status {
            CallbackStatus::Signed => Outcome::Signed,
            CallbackStatus::Refused => Outcome::Refused,
            CallbackStatus::Other => return Ok(()),
        };
        if stored.saga.outcome == Outcome::Open || stored.saga.outcome == outcome {
            return Ok(());
        }
        let mut saga = stored.saga.clone();
        saga.outcome = outcome;
        saga.revision += 1;
        let stored = self.store().commit(Commit::new(Some(stored), saga)).await;
        let stored = stored.map_err(|error| Broken::new(Law::I13, error.to_string()))?;
        Ok(self.witness.committed(&stored.saga, None)?)
    }

    // ---- robots: the desk of production is modelled here ---------------------------------------------------

    async fn robot_asks(&mut self, notice: &Notice) -> Result<(), Stop> {
        let body = String::from_utf8_lossy(&notice.body).into_owned();
        let mut parts = body.split(' ');
        let token = parts.next().unwrap_or_default().to_owned();
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok()).unwrap_or_default();
        let (document_id, item) = (number(), number());
        let source = Source::Generated { document_id };
        let order = RobotOrder {
            workflow_id: format!("workflow-{document_id}"),
            event_token: EventToken::new(token.clone()),
            waits: RobotWait::UntilTheEnd,
            answered_at: None,
        };
        let portal = self.portal_in(notice);
        let owner = self.store().claimed(&source_claim(&portal.id(), &source)).await;
        let owner = owner.map_err(|error| Broken::new(Law::I13, error.to_string()))?;
        let Some(owner) = owner else {
            let wishes = RobotWishes { item: Some(deal(item)), order: Some(order), ..RobotWishes::default() };
            let rule = Some(format!("{:?}", Sort::OfRobot));
            let (portal, notice_id) = (portal.id(), Some(notice.id));
            return self
                .begin(notice, Beginning { portal, source, rule, robot: Some(wishes), notice: notice_id })
                .await;
        };
        match self.deliver(owner, Event::RobotAsked { order }, Some(notice.id)).await? {
            Ok(()) | Err(HandleError::Store(StoreError::Unavailable { .. })) => Ok(()),
            Err(HandleError::Rejected(_)) => {
                let answers = self.world_mut(portal).answered.entry(token).or_default();
                if answers.is_empty() {
                    answers.push(RobotStatus::Waiting);
                }
                self.settle(notice, Fate::Done).await
            }
            Err(error) => Err(Broken::new(Law::I14, format!("a robot: {error}")).into()),
        }
    }

    // ---- operators -----------------------------------------------------------------------------------------

    fn some_saga(&mut self) -> Option<DocumentSaga> {
        let count = self.witness.known.len() as u64;
        let which = usize::try_from(self.chance.below(count)).expect("small");
        self.witness.known.values().nth(which).cloned()
    }

    pub async fn order(&mut self, saga: SagaId, event: Event) -> Result<bool, Stop> {
        match self.deliver(saga, event, None).await? {
            Ok(()) => Ok(true),
            Err(HandleError::Rejected(_) | HandleError::Store(StoreError::Unavailable { .. })) => Ok(false),
            Err(error) => Err(Broken::new(Law::I14, format!("an operator's order: {error}")).into()),
        }
    }

    /// Something that an operator may do at any time.
    pub async fn meddle(&mut self) -> Result<(), Stop> {
        let Some(saga) = self.some_saga() else { return Ok(()) };
        let action = match self.chance.below(12) {
            0 => OperatorAction::Cancel { reason: "не нужен".into() },
            1 => OperatorAction::Bind { document_id: "no id at all".into() },
            2 if saga.step == Step::Parked => {
                let skip = self.chance.pick(&Announcement::ALL);
                OperatorAction::Retry(Mend { skip: vec![skip], ..Mend::default() })
            }
            3 => return self.order(saga.id, Event::Own(OwnEvent::LinkAsked)).await.map(drop),
            4 | 5 => return self.discard_one().await,
            6 => return self.order(saga.id, Event::TriggeredAgain).await.map(drop),
            _ if saga.step == Step::Parked => return self.heal(&saga).await,
            _ => OperatorAction::Retry(Mend::default()),
        };
        self.order(saga.id, Event::Operator(action)).await.map(drop)
    }

    /// Throws one parked notice away that nobody will miss.
    async fn discard_one(&mut self) -> Result<(), Stop> {
        let parked = self.store().parked_notices(None, 10).await;
        let parked = parked.map_err(|error| Broken::new(Law::I13, error.to_string()))?;
        let foreign = parked.iter().find(|parked| parked.lookup.as_deref() == Some("ed-not-ours"));
        if let Some(parked) = foreign {
            self.before_write();
            let discarded = self.store().discard_parked(parked.notice.id).await;
            self.after_write()?;
            if let Err(error) = discarded {
                self.refused(&error)?;
            }
        }
        Ok(())
    }

    /// Does what the dead letter says: looks into the cabinet where that is needed.
    async fn heal(&mut self, saga: &DocumentSaga) -> Result<(), Stop> {
        self.tally.healings += 1;
        if let Some(letter) = saga.dead_letter.as_ref().filter(|letter| is_about_the_cabinet(letter)) {
            return self.look_into_cabinet(saga, letter).await;
        }
        if self.order(saga.id, Event::Operator(OperatorAction::Retry(Mend::default()))).await? {
            return Ok(());
        }
        let papers = &self.world(Portal::of(&saga.portal)).papers;
        let paper = papers.iter().find(|(_, paper)| paper.external_id == saga.external_id);
        let action = match paper {
            Some((id, _)) => OperatorAction::Bind { document_id: id.clone() },
            None => OperatorAction::SendAgain,
        };
        self.order(saga.id, Event::Operator(action)).await.map(drop)
    }

    /// What people do in the calm about a document that is not at its end.
    pub async fn help(&mut self, saga: &DocumentSaga, heals: bool) -> Result<(), Stop> {
        match saga.step {
            Step::Parked if heals => self.heal(saga).await,
            Step::AwaitSigner => {
                let unit = saga.own.as_ref().map_or(0, |own| own.units);
                let expired = saga
                    .own
                    .as_ref()
                    .and_then(|own| own.unit.as_ref())
                    .is_some_and(|unit| unit.expires_at <= self.wall());
                if expired {
                    return self.order(saga.id, Event::Own(OwnEvent::LinkAsked)).await.map(drop);
                }
                self.signer_signs(saga.id, unit).await
            }
            Step::AwaitSignature if saga.own.is_some() => {
                if let Some(id) = saga.provider_document.clone() {
                    self.counterparty_decides(&id);
                }
                Ok(())
            }
            Step::AwaitSignature | Step::FindDocument | Step::Parked => {
                let ours = |paper: &super::world::Paper| paper.external_id == saga.external_id;
                let papers = &self.world(Portal::of(&saga.portal)).papers;
                let paper = papers.iter().find(|(_, paper)| ours(paper)).map(|(id, _)| id.clone());
                if let Some(id) = paper {
                    self.people_decide(&id);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
