//! iDocs by its older interface (V1): file and signature go over in one call, and the document's id comes later. Nothing
//! over there finds a document whose answer was lost: a person looks into the cabinet, and decides.

use super::laws::{Broken, Law};
use super::life::{Life, Stop};
use super::plan::Portal;
use super::sabotage::Sabotage;
use super::world::{News, Order, Reply, World, failure, own};
use edobridge::domain::{Failure, FailureClass, FailureKind, SagaId};
use edobridge::saga::document::own_signature::{OwnAnswer, OwnEffect, OwnStatus, Process, SignedOrder};
use edobridge::saga::document::state::DeadLetter;
use edobridge::saga::document::{Answer, DocumentSaga, Effect, Event, Mend, OperatorAction, Step};
use sha2::{Digest as _, Sha256};

/// What a sending has come to over there.
pub struct Sending {
    /// Its document; none: nothing comes of it.
    document: Option<String>,
    /// So many questions come too early; none: it never tells.
    early: Option<u64>,
    asked: u64,
}

impl World {
    /// The cabinet shows the document at once; its process tells it later, or never.
    pub fn send_signed(
        &mut self,
        saga: SagaId,
        sent: &SignedOrder,
    ) -> Result<Result<Reply, Failure>, Broken> {
        let number = &sent.number;
        let is_sent = |bytes: &Vec<u8>| Sha256::digest(bytes)[..] == sent.file.bytes.digest.0;
        let Some(file) = self.originals().find(is_sent) else {
            return Err(Broken::new(
                Law::I1,
                format!("{number} is sent with a file that is none of the portal's"),
            ));
        };
        if self.drafts.values().any(|draft| draft.number == *number) {
            if self.refuses_repeats {
                // The answer of everything that goes wrong.
                return Ok(Err(failure(FailureClass::Ambiguous, FailureKind::ServerError, "http_500")));
            }
            return Err(Broken::new(Law::I1, format!("a second document with number {number} is sent")));
        }
        let id = self.id();
        let document = (!id.is_multiple_of(7)).then(|| self.new_sent(saga, number, file));
        let early = Some(id % 5).filter(|n| *n > 0).map(|n| n * n - 1);
        let key = format!("process-{id}");
        self.sendings.insert(key.clone(), Sending { document, early, asked: 0 });
        Ok(own(OwnAnswer::Sent { process: key }))
    }

    /// What its file is fetched as is written nowhere: at times it is only what was sent.
    fn new_sent(&mut self, saga: SagaId, number: &str, file: Vec<u8>) -> String {
        let id = self.new_draft(saga, number);
        let bare_file = self.id().is_multiple_of(3).then_some(file);
        let sent = self.drafts.get_mut(&id).expect("it was made just now");
        sent.bare_file = bare_file;
        (sent.is_routed, sent.saves, sent.status) = (true, 1, OwnStatus::InWork);
        self.news.push(News::Sent(id.clone()));
        id
    }

    /// Of a key that it does not know the service says nothing either.
    pub fn process(&mut self, key: &str) -> Process {
        let Some(sending) = self.sendings.get_mut(key) else { return Process::Running };
        sending.asked += 1;
        if sending.early.is_none_or(|early| sending.asked <= early) {
            return Process::Running;
        }
        match sending.document.clone() {
            Some(document_id) => Process::Document { document_id },
            None => Process::Failed,
        }
    }
}

impl Life {
    /// A person looks for the document by its number, and then says what is to be done.
    pub async fn look_into_cabinet(&mut self, saga: &DocumentSaga, letter: &DeadLetter) -> Result<(), Stop> {
        // Whoever opens the cabinet is slower than a request on its way.
        if self.is_on_its_way(saga.id) {
            return Ok(());
        }
        let number = saga.own.as_deref().map_or("", |own| own.number.as_str());
        let drafts = &self.world(Portal::of(&saga.portal)).drafts;
        let there = drafts.iter().find(|(_, draft)| draft.number == number).map(|(id, _)| id.clone());
        // Where the service refuses a second one, somebody may be careless: its error must prove nothing.
        let careless = self.plan.refuses_repeats && self.chance.percent(50);
        let found = there.filter(|_| !careless && self.sabotage != Some(Sabotage::LooksNowhere));
        let action = match found {
            Some(document_id) => OperatorAction::Bind { document_id },
            None if letter.code == "process_overdue" && self.chance.percent(50) => {
                OperatorAction::Retry(Mend::default())
            }
            None if !self.calm && self.chance.percent(10) => {
                OperatorAction::Cancel { reason: "поздно".into() }
            }
            None => OperatorAction::SendAgain,
        };
        if !self.order(saga.id, Event::Operator(action.clone())).await? {
            return Ok(());
        }
        match action {
            OperatorAction::Bind { .. } => self.tally.bound += 1,
            OperatorAction::SendAgain => {
                self.witness.is_to_send_again(saga.id);
                self.tally.sent_again += 1;
            }
            OperatorAction::Retry(_) | OperatorAction::Cancel { .. } => {}
        }
        Ok(())
    }

    /// What the service says of one sending is taken for what it says of another.
    pub fn mix_processes(&self, order: &Order, event: &mut Event) {
        let Event::Answered { answer: Answer::Own(OwnAnswer::ProcessRead(process)), .. } = event else {
            return;
        };
        let others = self.world(order.portal).drafts.iter().find(|(_, draft)| draft.saga != order.saga);
        if let (Process::Document { document_id }, Some((id, _))) = (process, others) {
            document_id.clone_from(id);
        }
    }
}

/// The one call that nothing can be asked about afterwards.
pub fn is_sending(effect: &Effect) -> bool {
    matches!(effect, Effect::Own(OwnEffect::SendSigned(_)))
}

/// Whether a dead letter tells a person to look for a document by its number.
pub fn is_about_the_cabinet(letter: &DeadLetter) -> bool {
    letter.from == Step::FindSent || matches!(letter.code.as_str(), "process_overdue" | "process_failed")
}
