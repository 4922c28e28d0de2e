//! EffectRunner: an ordered effect becomes remote calls, and always comes back as an event, failure included.
//!
//! It decides nothing about a document: it translates. What may be repeated, looked for or given up is the
//! saga's business, told by the failure's class.

use super::Parts;
use super::circuit::{Circuit, CircuitView};
use super::circuit_call::through;
use super::crash_point::{self, CrashPoint};
use super::decision::HandleError;
use super::deliver::Deliver;
use super::fair_turns::{FairTurns, Turn};
use super::idocs_bulk::ContentBulk;
use super::local_failure::local;
use super::notice_way::status_of;
use super::order::Order;
use super::portal_session::PortalCaller;
use super::portal_work::PortalWork;
use super::session_registry::Sessions;
use super::spooled_file::{spool_failed, spooled};
use crate::domain::{AttemptToken, Failure, FailureClass, PortalId, SagaId};
use crate::limits;
use crate::providers::bitrix24::crm;
use crate::providers::easydocs;
use crate::providers::idocs::Content;
use crate::saga::document::{
    Answer, CallbackStatus, Effect, Event, EventToken, RobotHeard, RobotReply, SourceFile,
};
use crate::store::StoreError;
use crate::telemetry::metrics::{CallOutcome, Provider};
use actix::prelude::*;
use futures_util::FutureExt;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

    /// Starts the effect; its event reaches the saga through `answers_to`, sooner or later.
    pub fn start(self: &Arc<Self>, order: Order, answers_to: Recipient<Deliver>) {
        let key = (order.saga, order.token);
        if !self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
            return;
        }
        let me = self.clone();
        self.arbiter.spawn(async move {
            let event = me.event_of(&order, &answers_to).await;
            crash_point::reach(CrashPoint::EffectDone);
            me.report(&order, event, &answers_to).await;
            me.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        });
    }

    async fn event_of(&self, order: &Order, answers_to: &Recipient<Deliver>) -> Event {
        // a wait for others is no call, and holds none of the things that calls hold
        let made = match &self.idocs_bulk {
            Some(bulk) => bulk.unit_for(order, answers_to).await,
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
    async fn report(&self, order: &Order, mut event: Event, answers_to: &Recipient<Deliver>) {
        loop {
            let deliver = Deliver { saga: order.saga, event: event.clone(), notice: None };
            match answers_to.send(deliver).await {
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

/// A search may tell the status or not; its word is not repeated for the terminal ones.
fn found_status(status: Option<easydocs::CallbackStatus>) -> (CallbackStatus, String) {
    match status {
        None => (CallbackStatus::Other, String::new()),
        Some(easydocs::CallbackStatus::Signed) => (CallbackStatus::Signed, "signed".to_owned()),
        Some(easydocs::CallbackStatus::Refused) => (CallbackStatus::Refused, "rejected".to_owned()),
        Some(easydocs::CallbackStatus::Other(word)) => (CallbackStatus::Other, word),
    }
}

fn unknown_portal(portal: &PortalId) -> Failure {
    local(
        FailureClass::Permanent,
        "unknown_portal",
        &format!("Портала «{portal}» больше нет в конфигурации."),
        &format!("Portal \"{portal}\" is no longer in the configuration."),
    )
}

fn provider_of(effect: &Effect) -> Provider {
    match effect {
        Effect::Own(own) if own.is_for_signing_service() => Provider::Idocs,
        _ if effect.is_for_signing_service() => Provider::Easydocs,
        _ => Provider::Bitrix24,
    }
}
