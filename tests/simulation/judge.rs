//! The last look: everything has come to its end, and the world shows what was done.

use super::laws::{Broken, Law};
use super::life::Life;
use super::plan::{FIELD, Portal, Sort, deal, files_of};
use super::witness::{About, secret_in};
use super::world::{Card, World};
use edobridge::domain::Timestamp;
use edobridge::saga::document::effect::comment_mark;
use edobridge::saga::document::state::Occasion;
use edobridge::saga::document::transition::source_claim;
use edobridge::saga::document::{Claim, DocumentSaga, DriveCopy, Outcome, Source, Step};
use edobridge::store::ParkedNotice;

impl Life {
    pub async fn judge(&mut self) -> Result<(), Broken> {
        let sagas = self.all().await?;
        self.judge_store(&sagas).await?;
        for saga in &sagas {
            self.judge_signing(saga)?;
            self.judge_delivery(saga)?;
            self.judge_telling(saga)?;
            self.judge_secrets(saga).await?;
            match saga.step {
                Step::Delivered => {
                    self.tally.delivered += 1;
                    let whole = saga.own.as_ref().is_some_and(|own| own.is_sent_whole());
                    self.tally.delivered_whole += u64::from(whole);
                }
                Step::Refused => self.tally.refused += 1,
                _ => {}
            }
        }
        self.judge_world(&sagas)?;
        self.judge_notices(&sagas).await
    }

    async fn judge_store(&self, sagas: &[DocumentSaga]) -> Result<(), Broken> {
        let report = self.store().check_invariants().await;
        let report = report.map_err(|error| Broken::new(Law::I13, error.to_string()))?;
        if let Some(violation) = report.violations.first() {
            return Err(Broken::new(Law::I13, violation.to_string()));
        }
        let due = self.store().due(Timestamp(i64::MAX), 1_000).await;
        let timers = due.map_err(|error| Broken::new(Law::I13, error.to_string()))?.len();
        let live = sagas.iter().filter(|saga| saga.step.is_live()).count();
        if timers != live {
            return Err(Broken::new(Law::I6, format!("{timers} timers of {live} live documents")));
        }
        Ok(())
    }

    fn judge_signing(&self, saga: &DocumentSaga) -> Result<(), Broken> {
        let world = self.world_of(saga);
        let papers = world.papers.values().filter(|paper| paper.saga == saga.id).count();
        let drafts: Vec<_> = world.drafts.values().filter(|draft| draft.saga == saga.id).collect();
        let saves: usize = drafts.iter().map(|draft| draft.saves).sum();
        let ended = matches!(saga.step, Step::Delivered | Step::Refused);
        let (made, signed) = if saga.own.is_some() { (drafts.len(), saves) } else { (papers, 1) };
        let fits = if ended { (made, signed) == (1, 1) } else { made <= 1 && signed <= 1 };
        if !fits || (saga.step == Step::Ignored && papers + drafts.len() > 0) {
            let what = format!(
                "{} at {:?}: {papers} documents, {} drafts, {saves} saves",
                saga.id,
                saga.step,
                drafts.len()
            );
            return Err(Broken::new(Law::I1, what));
        }
        Ok(())
    }

    /// Whatever a document is bound to was made for it.
    pub fn judge_binding(&self, saga: &DocumentSaga) -> Result<(), Broken> {
        let Some(id) = &saga.provider_document else { return Ok(()) };
        let world = self.world_of(saga);
        let made_for = match saga.own {
            Some(_) => world.drafts.get(id).map(|draft| draft.saga),
            None => world.papers.get(id).map(|paper| paper.saga),
        };
        if made_for == Some(saga.id) {
            return Ok(());
        }
        Err(Broken::new(Law::I1, format!("{} is bound to {id}, which was made for {made_for:?}", saga.id)))
    }

    fn world_of(&self, saga: &DocumentSaga) -> &World {
        self.world(Portal::of(&saga.portal))
    }

    fn card(&self, saga: &DocumentSaga) -> Option<&Card> {
        saga.crm_item.and_then(|item| self.world_of(saga).cards.get(&item.id))
    }

    fn judge_delivery(&self, saga: &DocumentSaga) -> Result<(), Broken> {
        let copies: Vec<_> =
            self.world_of(saga).files.iter().filter(|(_, file)| file.put_by == Some(saga.id)).collect();
        let in_field = self
            .card(saga)
            .map_or(0, |card| card.files.iter().filter(|(_, file)| Self::is_ours(file, saga.id)).count());
        let draft = saga.provider_document.as_ref().and_then(|id| self.world_of(saga).drafts.get(id));
        let parts = match draft {
            Some(draft) if draft.bare_file.is_none() => 2,
            Some(_) | None => 1,
        };
        let delivered = saga.step == Step::Delivered;
        let copies_fit = match (delivered, saga.delivery.drive) {
            (true, DriveCopy::Wanted) => copies.len() == parts,
            (true, DriveCopy::NotWanted) => copies.is_empty(),
            (false, _) => copies.len() <= parts && (saga.step != Step::Refused || copies.is_empty()),
        };
        let field_fits = match (delivered, &saga.delivery.field) {
            (true, Some(_)) => in_field == 1,
            (_, None) | (false, Some(_)) => in_field <= 1,
        };
        if !copies_fit || !field_fits {
            let what =
                format!("{} at {:?}: {} copies, {in_field} in the field", saga.id, saga.step, copies.len());
            return Err(Broken::new(Law::I2, what));
        }
        let adopted = saga.delivered.as_ref().map(|file| file.file_id);
        let right = |id: u64| {
            copies.iter().any(|(known, file)| **known == id && file.digest == saga.signed.map(|f| f.digest))
        };
        if delivered && adopted.is_some_and(|id| !right(id)) {
            return Err(Broken::new(
                Law::I2,
                format!("{} took another file for its own: {adopted:?}", saga.id),
            ));
        }
        Ok(())
    }

    fn judge_telling(&self, saga: &DocumentSaga) -> Result<(), Broken> {
        let ended = matches!(saga.step, Step::Delivered | Step::Refused);
        if let Some(card) = self.card(saga)
            && ended
            && saga.delivery.comment
        {
            let mark = comment_mark(saga);
            let count = card.comments.iter().filter(|(_, text)| text.lines().last() == Some(&mark)).count();
            if count != 1 {
                return Err(Broken::new(Law::I3, format!("{count} comments {mark}")));
            }
        }
        let occasion = if saga.outcome == Outcome::Refused { Occasion::Refused } else { Occasion::Signed };
        if ended && saga.delivery.notify_on.contains(&occasion) {
            for user in &saga.delivery.notify {
                let tag = format!("edobridge|{}|{user}", saga.id.short());
                if !self.world_of(saga).notices.contains_key(&(*user, tag)) {
                    return Err(Broken::new(Law::I4, format!("{user} was never told of {}", saga.id)));
                }
            }
        }
        for robot in saga.robots.iter().filter(|robot| robot.answered_at.is_some()) {
            let answers = self.world_of(saga).answered.get(robot.event_token.expose()).map_or(0, Vec::len);
            if answers != 1 {
                return Err(Broken::new(Law::I4, format!("{answers} answers to {}", robot.workflow_id)));
            }
        }
        Ok(())
    }

    async fn judge_secrets(&self, saga: &DocumentSaga) -> Result<(), Broken> {
        let lines = self.store().history(saga.id, 1_000).await;
        for line in lines.map_err(|error| Broken::new(Law::I13, error.to_string()))? {
            secret_in("a line of history", &line.text.ru)?;
            secret_in("a line of history", &line.text.en)?;
        }
        // Debug is what logs and dumps show; it holds dead letter, outcome and last failure.
        secret_in("a record", &format!("{saga:?}"))
    }

    fn judge_world(&self, sagas: &[DocumentSaga]) -> Result<(), Broken> {
        for text in self.worlds().iter().flat_map(|world| &world.told) {
            secret_in("what people were told", text)?;
        }
        let ours = self.worlds().iter().flat_map(|world| {
            let files = world.files.values().filter_map(|file| file.put_by);
            files.chain(world.papers.values().map(|paper| paper.saga))
        });
        for saga in ours {
            if !sagas.iter().any(|known| known.id == saga) {
                return Err(Broken::new(Law::I12, format!("{saga} did something and is not known")));
            }
        }
        Ok(())
    }

    // ---- what was acknowledged -----------------------------------------------------------------------------

    async fn judge_notices(&self, sagas: &[DocumentSaga]) -> Result<(), Broken> {
        for about in &self.witness.acknowledged {
            match about {
                About::Nothing => {}
                About::Source(portal, source) => self.judge_source(*portal, source, sagas).await?,
                About::Verdict(paper) => self.judge_verdict(paper, sagas)?,
                About::Robot(portal, token) => self.judge_robot(*portal, token, sagas)?,
            }
        }
        let parked = self.store().parked_notices(None, 1_000).await;
        for parked in parked.map_err(|error| Broken::new(Law::I13, error.to_string()))? {
            self.judge_parked(&parked).await?;
        }
        Ok(())
    }

    async fn is_claimed(&self, claim: &Claim) -> Result<bool, Broken> {
        let found = self.store().claimed(claim).await;
        Ok(found.map_err(|error| Broken::new(Law::I13, error.to_string()))?.is_some())
    }

    async fn judge_source(
        &self,
        portal: Portal,
        source: &Source,
        sagas: &[DocumentSaga],
    ) -> Result<(), Broken> {
        let files: Vec<Source> = match source {
            Source::CrmItem { item } => {
                let of_item = |saga: &&DocumentSaga| saga.source == *source && saga.portal == portal.id();
                let cancelled = sagas.iter().filter(of_item).any(|saga| saga.step == Step::Cancelled);
                let wish = self.plan.wishes.iter().find(|wish| {
                    wish.sort == Sort::OfItem && wish.portal == portal && deal(wish.item) == *item
                });
                let count = wish.filter(|_| !cancelled).map_or(0, |wish| files_of(wish.item));
                let file = wish.map_or(0, |wish| wish.file);
                let field = FIELD.to_owned();
                (0..count)
                    .map(|n| Source::CrmFile { item: *item, field: field.clone(), file_id: file + n })
                    .collect()
            }
            _ => vec![source.clone()],
        };
        for file in files {
            if !self.is_claimed(&source_claim(&portal.id(), &file)).await? {
                return Err(Broken::new(
                    Law::I10,
                    format!("{source:?} was accepted, and {file:?} has no document"),
                ));
            }
        }
        Ok(())
    }

    fn judge_verdict(&self, paper: &str, sagas: &[DocumentSaga]) -> Result<(), Broken> {
        let Some(known) = self.world(self.portal_of(paper)).papers.get(paper) else { return Ok(()) };
        let saga = sagas.iter().find(|saga| saga.id == known.saga);
        let open = saga.filter(|saga| saga.outcome == Outcome::Open && saga.step != Step::Cancelled);
        match open {
            None => Ok(()),
            Some(saga) => {
                Err(Broken::new(Law::I10, format!("a verdict on {} was accepted and lost", saga.id)))
            }
        }
    }

    fn judge_robot(&self, portal: Portal, token: &str, sagas: &[DocumentSaga]) -> Result<(), Broken> {
        let answers = self.world(portal).answered.get(token).map_or(0, Vec::len);
        let given_up = sagas
            .iter()
            .flat_map(|saga| &saga.robots)
            .any(|robot| robot.event_token.expose() == token && robot.answered_at.is_none());
        if answers == 1 || given_up {
            return Ok(());
        }
        Err(Broken::new(Law::I10, format!("a robot was accepted and has {answers} answers")))
    }

    /// Only what is nobody's may still be parked: what a document claims comes back by itself.
    async fn judge_parked(&self, parked: &ParkedNotice) -> Result<(), Broken> {
        secret_in("why a notice is parked", &format!("{:?}", parked.reason))?;
        let Some(lookup) = &parked.lookup else {
            return Err(Broken::new(Law::I10, format!("parked without a way back: {}", parked.reason.en)));
        };
        for claim in [Claim::ProviderDocument(lookup.clone()), Claim::External(lookup.clone())] {
            if self.is_claimed(&claim).await? {
                return Err(Broken::new(Law::I10, format!("{lookup} is ours, and its notice is parked")));
            }
        }
        Ok(())
    }
}
