//! What an outside witness remembers: what was acknowledged, ordered, done and known. It judges after every commit,
//! every call and every restart, and over everything at the end.

use super::laws::{Broken, Law};
use super::plan::Portal;
use super::world::{Order, SECRET};
use edobridge::domain::{AttemptToken, NoticeId, SagaId};
use edobridge::saga::document::own_signature::{OwnAnswer, OwnEffect};
use edobridge::saga::document::{Answer, DocumentSaga, Effect, Event, Outcome, Source, Step, Work};
use std::collections::{BTreeMap, BTreeSet};

/// What the sender of a notice wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A file or an item of a portal is to be looked at.
    Source(Portal, Source),
    /// People have decided about this document of EasyDocs.
    Verdict(String),
    /// A workflow of a portal waits with this token.
    Robot(Portal, String),
    /// Nothing that must have an effect.
    Nothing,
}

/// A panic that the simulation itself ordered.
pub const ORDERED_PANIC: &str = "ordered by the simulation";

#[derive(Default)]
pub struct Witness {
    /// The last record that was acknowledged, or read after a restart.
    pub known: BTreeMap<SagaId, DocumentSaga>,
    /// Whose commits were under way when the process died, or were refused by a disk that is not mended yet.
    doubts: BTreeSet<SagaId>,
    /// Orders that are on disk.
    ordered: BTreeSet<(SagaId, AttemptToken)>,
    /// Orders that a remote has carried out.
    done: BTreeSet<(SagaId, AttemptToken)>,
    /// Notices to people that are known to have arrived.
    arrived: BTreeSet<(SagaId, AttemptToken)>,
    sent: BTreeMap<(u64, String), Vec<(SagaId, AttemptToken)>>,
    /// Sendings that may have arrived and that nothing finds.
    sendings: BTreeMap<SagaId, u32>,
    /// So many of them had been made when a person said last that it be sent again.
    sent_again: BTreeMap<SagaId, u32>,
    /// Notices that were settled for good.
    ended: BTreeSet<NoticeId>,
    /// What was acknowledged to its sender.
    pub acknowledged: Vec<About>,
}

impl Witness {
    /// A commit of this saga begins.
    pub fn commits(&mut self, saga: SagaId) {
        self.doubts.insert(saga);
    }

    /// The disk has refused a commit, and the store works again: what was refused never comes back.
    pub fn refusals_are_certain(&mut self) {
        self.doubts.clear();
    }

    /// A record is on disk.
    pub fn committed(&mut self, saga: &DocumentSaga, event: Option<&Event>) -> Result<(), Broken> {
        self.doubts.clear();
        if let Some(Event::Answered { token, answer }) = event
            && matches!(answer, Answer::Notified | Answer::Own(OwnAnswer::SignerTold))
        {
            self.arrived.insert((saga.id, *token));
        }
        self.learn(saga)
    }

    fn learn(&mut self, saga: &DocumentSaga) -> Result<(), Broken> {
        if let Some(before) = self.known.get(&saga.id) {
            moves_on(before, saga)?;
        }
        if saga.step.is_live() != saga.timer.is_some() {
            return Err(Broken::new(Law::I6, format!("{saga:#?}")));
        }
        let letter = saga.dead_letter.as_ref().filter(|letter| letter.code == "panic");
        if let Some(letter) = letter.filter(|letter| !letter.reason.en.contains(ORDERED_PANIC)) {
            return Err(Broken::new(Law::I14, letter.reason.en.clone()));
        }
        if let Work::InFlight { token, .. } = saga.work {
            self.ordered.insert((saga.id, token));
        }
        self.known.insert(saga.id, saga.clone());
        Ok(())
    }

    /// What is found after a restart: what was known, and nothing less.
    pub fn found(&mut self, sagas: &[DocumentSaga]) -> Result<(), Broken> {
        let found: BTreeMap<SagaId, &DocumentSaga> = sagas.iter().map(|saga| (saga.id, saga)).collect();
        for (id, known) in &self.known {
            let Some(saga) = found.get(id) else {
                return Err(Broken::new(Law::I12, format!("{id} is gone, it stood at {:?}", known.step)));
            };
            let doubtful = self.doubts.contains(id) && saga.revision == known.revision + 1;
            if !doubtful && *saga != known {
                let what =
                    format!("{id} was {:?} {known:?}, is {:?} {saga:?}", known.revision, saga.revision);
                return Err(Broken::new(Law::I12, what));
            }
        }
        for (id, saga) in &found {
            if !self.known.contains_key(id) && !self.doubts.contains(id) {
                return Err(Broken::new(Law::I12, format!("{id} is there and was never committed")));
            }
            self.learn(saga)?;
        }
        self.doubts.clear();
        Ok(())
    }

    /// A remote is about to carry an order out.
    pub fn carries_out(&mut self, order: &Order) -> Result<(), Broken> {
        let key = (order.saga, order.token);
        let name = order.effect.name();
        if !self.ordered.contains(&key) {
            return Err(Broken::new(Law::I5, format!("{name} {key:?} is on no disk")));
        }
        if !self.done.insert(key) {
            return Err(Broken::new(Law::I5, format!("{name} {key:?} is carried out again")));
        }
        match &order.effect {
            Effect::Notify { user_id, tag, .. } | Effect::Own(OwnEffect::TellSigner { user_id, tag, .. }) => {
                self.tells(*user_id, tag, key)
            }
            Effect::Own(OwnEffect::SendSigned(_)) => self.sends(order.saga),
            _ => Ok(()),
        }
    }

    /// Something is sent that nothing finds again, and it may arrive.
    pub fn sends(&mut self, saga: SagaId) -> Result<(), Broken> {
        let before = self.sendings.entry(saga).or_default();
        if *before > self.sent_again.get(&saga).copied().unwrap_or_default() {
            let what = format!("{saga} sends again what may have arrived, and nobody has said so");
            return Err(Broken::new(Law::I1, what));
        }
        *before += 1;
        Ok(())
    }

    /// A person has said that it be sent again, once.
    pub fn is_to_send_again(&mut self, saga: SagaId) {
        let so_far = self.sendings.get(&saga).copied().unwrap_or_default();
        self.sent_again.insert(saga, so_far);
    }

    /// Reminders share a tag by intention: the portal shows the newest one.
    fn tells(&mut self, user: u64, tag: &str, key: (SagaId, AttemptToken)) -> Result<(), Broken> {
        let before = self.sent.entry((user, tag.to_owned())).or_default();
        let repeats = tag.ends_with("reminder") || tag.contains("escalation");
        // An older request that arrives late was ordered before that was known; the tag makes both one.
        let known = |sent: &(SagaId, AttemptToken)| *sent < key && self.arrived.contains(sent);
        if !repeats && before.iter().any(known) {
            return Err(Broken::new(
                Law::I4,
                format!("{tag} is sent to {user} again, though it had arrived"),
            ));
        }
        before.push(key);
        Ok(())
    }

    /// A notice is taken up; one that has ended must never come back.
    pub fn takes_up(&self, notice: NoticeId) -> Result<(), Broken> {
        if self.ended.contains(&notice) {
            return Err(Broken::new(Law::I10, format!("notice {notice} is back though it had ended")));
        }
        Ok(())
    }

    pub fn ended(&mut self, notice: NoticeId) {
        self.ended.insert(notice);
    }
}

fn moves_on(before: &DocumentSaga, after: &DocumentSaga) -> Result<(), Broken> {
    let id = after.id;
    if after.revision < before.revision {
        let what = format!("{id} went from revision {} to {}", before.revision, after.revision);
        return Err(Broken::new(Law::I12, what));
    }
    if before.outcome != Outcome::Open && after.outcome != before.outcome {
        let what = format!("{id} was {:?} and is {:?}", before.outcome, after.outcome);
        return Err(Broken::new(Law::I8, what));
    }
    if before.step.is_finished() && after.step != before.step {
        return Err(Broken::new(Law::I8, format!("{id} was {:?} and is {:?}", before.step, after.step)));
    }
    if matches!(after.step, Step::Delivered) && after.outcome != Outcome::Signed {
        return Err(Broken::new(Law::I8, format!("{id} is delivered and not signed")));
    }
    Ok(())
}

/// Whether a text holds what nobody may read.
pub fn secret_in(where_from: &str, text: &str) -> Result<(), Broken> {
    match text.find(SECRET) {
        None => Ok(()),
        Some(at) => {
            let shown: String = text.get(at..).unwrap_or_default().chars().take(60).collect();
            Err(Broken::new(Law::I9, format!("{where_from}: {shown}")))
        }
    }
}
