//! The desk behind the signing page, over the documents themselves: what a link opens is read from the store, and a
//! signature becomes an event of its document.
//!
//! Nothing is remembered here: a link proves itself against the document's present content, so a new content kills it.

use super::signing_desk::SigningDesk;
use super::signing_links::{SigningLinks, unit_of};
use super::{Engine, OperateError};
use crate::domain::signing::{
    DOCUMENTS_OF_A_PAGE_MAX, Encapsulation, LinkRenewal, SignLink, SignatureAccepted, SignatureEvidence,
    SignedDocument, SignerIdentity, SigningRefusal, SigningTask, TaskState,
};
use crate::domain::{SagaId, SpoolFile, Text};
use crate::providers::spool_io::FileSource;
use crate::saga::document::own_signature::{ContentUnit, OwnEvent, OwnSignature, OwnSigner, Telling};
use crate::saga::document::words;
use crate::saga::document::{DocumentSaga as Record, Step};
use crate::store::list::DocumentFilter;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use std::collections::BTreeMap;
use std::io;
use tokio::io::AsyncWriteExt as _;

/// How many waiting documents are looked through for others of the same signer.
const LOOKED_THROUGH_MAX: usize = 200;

/// The desk.
pub struct SigningRoom {
    engine: Engine,
    links: SigningLinks,
    /// Whose certificate is accepted, by the signer's name in the configuration.
    signers: BTreeMap<String, SignerIdentity>,
    encapsulation: Encapsulation,
}

/// A document that is, was or will be signed by one of us.
struct Waiting<'r> {
    record: &'r Record,
    signer: &'r OwnSigner,
    own: &'r OwnSignature,
    unit: &'r ContentUnit,
}

impl<'r> Waiting<'r> {
    fn of(record: &'r Record) -> Option<Self> {
        let own = record.own.as_deref()?;
        let signer = record.delivery.signer.as_deref()?;
        Some(Self { record, signer, own, unit: own.unit.as_ref()? })
    }

    /// Whether a signature would be taken now; the flow itself decides in the end.
    fn takes_signature(&self) -> bool {
        let stuck = self.record.dead_letter.as_ref().map_or(self.record.step, |dead| dead.from);
        match stuck {
            Step::AwaitSigner | Step::TellSigner => true,
            Step::Comment | Step::FindComment => self.own.telling == Telling::OurTurn,
            _ => false,
        }
    }

    fn state(&self) -> Result<TaskState, SigningRefusal> {
        match self.own.cms {
            Some(cms) => Ok(TaskState::Signed { by_cms: cms.digest }),
            None if self.takes_signature() => Ok(TaskState::Open),
            None => Err(SigningRefusal::NotNow),
        }
    }
}

impl SigningRoom {
    /// The desk of an engine.
    pub fn new(
        engine: Engine,
        links: SigningLinks,
        signers: BTreeMap<String, SignerIdentity>,
        encapsulation: Encapsulation,
    ) -> Self {
        Self { engine, links, signers, encapsulation }
    }

    fn task(&self, waiting: &Waiting<'_>, state: TaskState) -> SigningTask {
        let file = waiting.record.file.as_ref();
        SigningTask {
            unit: unit_of(waiting.record.id, waiting.unit),
            signer_name: waiting.signer.name.clone(),
            name: file.map_or_else(|| waiting.record.external_id.clone(), |file| file.name.clone()),
            document_number: waiting.own.number.clone(),
            counterparty: words::counterparty(waiting.signer).ru,
            encapsulate: self.encapsulation,
            signer: self.signers.get(&waiting.signer.name).cloned().unwrap_or_default(),
            state,
        }
    }

    async fn load(&self, document: SagaId) -> Result<Record, SigningRefusal> {
        let loaded = self.engine.store().load(document).await.map_err(|_| SigningRefusal::Busy)?;
        loaded.map(|stored| stored.saga).ok_or(SigningRefusal::Unknown)
    }

    /// The document of a link that is ours, whether it is over or not.
    async fn proven(&self, token: &str) -> Result<(SignLink, Record), SigningRefusal> {
        let link = SignLink::parse(token).map_err(|_| SigningRefusal::Unknown)?;
        let record = self.load(link.document).await?;
        let waiting = Waiting::of(&record).ok_or(SigningRefusal::Unknown)?;
        let unit = unit_of(record.id, waiting.unit);
        if !link.verify(self.links.key(), &unit, &waiting.signer.name) {
            return Err(SigningRefusal::Unknown);
        }
        Ok((link, record))
    }

    async fn opened(&self, token: &str) -> Result<Vec<SigningTask>, SigningRefusal> {
        let (link, record) = self.proven(token).await?;
        let now = self.engine.clock().now();
        let waiting = Waiting::of(&record).ok_or(SigningRefusal::Unknown)?;
        if link.is_expired(now) || waiting.unit.expires_at <= now {
            return Err(SigningRefusal::Expired);
        }
        let mut tasks = vec![self.task(&waiting, waiting.state()?)];
        tasks.extend(self.others(&record, waiting.signer).await?);
        Ok(tasks)
    }

    /// Other documents of the same portal that wait for the same signer.
    async fn others(&self, first: &Record, signer: &OwnSigner) -> Result<Vec<SigningTask>, SigningRefusal> {
        let filter = DocumentFilter {
            steps: vec![Step::AwaitSigner],
            portal: Some(first.portal.clone()),
            ..DocumentFilter::default()
        };
        let page = self.engine.store().list(filter, None, LOOKED_THROUGH_MAX).await;
        let page = page.map_err(|_| SigningRefusal::Busy)?;
        let now = self.engine.clock().now();
        let open = page.items.iter().filter(|record| record.id != first.id).filter_map(|record| {
            let waiting = Waiting::of(record)?;
            let lives = waiting.unit.expires_at > now && waiting.own.cms.is_none();
            let same = waiting.signer.name == signer.name && waiting.signer.employee_id == signer.employee_id;
            (lives && same).then(|| self.task(&waiting, TaskState::Open))
        });
        Ok(open.take(DOCUMENTS_OF_A_PAGE_MAX - 1).collect())
    }

    async fn store_signature(&self, cms: &[u8]) -> Result<SpoolFile, SigningRefusal> {
        let mut writer = self.engine.store().spool().create().await.map_err(|_| SigningRefusal::Busy)?;
        writer.write_all(cms).await.map_err(|_| SigningRefusal::Busy)?;
        writer.finish().await.map_err(|_| SigningRefusal::Busy)
    }

    /// Durable when it returns Ok.
    async fn give(&self, signed: &SignedDocument) -> Result<SignatureAccepted, SigningRefusal> {
        let before = self.load(signed.document).await?;
        let known = before.own.as_deref().and_then(|own| own.cms);
        if let Some(known) = known {
            let repeated = known.digest == signed.digest;
            return if repeated {
                Ok(SignatureAccepted { repeated })
            } else {
                Err(SigningRefusal::AlreadySigned)
            };
        }
        let cms = self.store_signature(&signed.cms).await?;
        let event = OwnEvent::SignatureGiven {
            unit: signed.number,
            cms,
            signer: signer_words(&signed.evidence),
            checks: checks_words(&signed.evidence),
        };
        match self.engine.tell_own(signed.document, event).await {
            Ok(after) => match after.own.as_deref().and_then(|own| own.cms) {
                Some(kept) if kept.digest == signed.digest => Ok(SignatureAccepted { repeated: false }),
                _ => Err(SigningRefusal::AlreadySigned),
            },
            Err(OperateError::Rejected(_)) => Err(self.why_refused(signed).await),
            Err(OperateError::NotFound) => Err(SigningRefusal::Unknown),
            Err(OperateError::Unavailable { .. }) => Err(SigningRefusal::Busy),
        }
    }

    async fn why_refused(&self, signed: &SignedDocument) -> SigningRefusal {
        let record = match self.load(signed.document).await {
            Ok(record) => record,
            Err(refusal) => return refusal,
        };
        let now = self.engine.clock().now();
        match Waiting::of(&record) {
            Some(waiting) if waiting.own.cms.is_some() => SigningRefusal::AlreadySigned,
            Some(waiting) if waiting.unit.number != signed.number || waiting.unit.expires_at <= now => {
                SigningRefusal::Expired
            }
            Some(_) | None => SigningRefusal::NotNow,
        }
    }

    async fn renewed(&self, token: &str) -> Result<LinkRenewal, SigningRefusal> {
        let (_, record) = self.proven(token).await?;
        let signer = record.delivery.signer.as_deref();
        let renewal = match signer.and_then(|signer| signer.user) {
            Some(_) => LinkRenewal::Sent,
            None => LinkRenewal::LeftToOperator,
        };
        if record.own.as_deref().is_some_and(|own| own.cms.is_some()) {
            return Err(SigningRefusal::AlreadySigned);
        }
        match self.engine.tell_own(record.id, OwnEvent::LinkAsked).await {
            // One was made just now: it is on its way.
            Ok(after) if after.step != Step::PrepareContent && renewal == LinkRenewal::Sent => {
                Err(SigningRefusal::NotNow)
            }
            Ok(_) => Ok(renewal),
            Err(OperateError::Rejected(_)) => Err(SigningRefusal::NotNow),
            Err(OperateError::NotFound) => Err(SigningRefusal::Unknown),
            Err(OperateError::Unavailable { .. }) => Err(SigningRefusal::Busy),
        }
    }

    async fn task_by_id(&self, document: SagaId) -> Result<SigningTask, SigningRefusal> {
        let record = self.load(document).await?;
        let waiting = Waiting::of(&record).ok_or(SigningRefusal::NotNow)?;
        let state = waiting.state()?;
        if state == TaskState::Open && waiting.unit.expires_at <= self.engine.clock().now() {
            return Err(SigningRefusal::Expired);
        }
        Ok(self.task(&waiting, state))
    }
}

impl SigningDesk for SigningRoom {
    fn open<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<Vec<SigningTask>, SigningRefusal>> {
        self.opened(token).boxed_local()
    }

    fn content(&self, task: &SigningTask) -> LocalBoxFuture<'_, io::Result<FileSource>> {
        let facts = task.unit.content;
        let found = async move {
            let path = self.engine.store().spool().readable(facts.digest).await?;
            Ok(FileSource::new(path, facts))
        };
        found.boxed_local()
    }

    fn submit<'a>(
        &'a self,
        token: &'a str,
        signed: Vec<SignedDocument>,
    ) -> LocalBoxFuture<'a, Vec<(SagaId, Result<SignatureAccepted, SigningRefusal>)>> {
        async move {
            let open = self.opened(token).await;
            let mut answers = Vec::with_capacity(signed.len());
            for one in signed {
                let answer = match &open {
                    Err(refusal) => Err(*refusal),
                    Ok(tasks) => {
                        let opens =
                            |t: &SigningTask| t.unit.document == one.document && t.unit.number == one.number;
                        if tasks.iter().any(opens) {
                            self.give(&one).await
                        } else {
                            Err(SigningRefusal::Unknown)
                        }
                    }
                };
                answers.push((one.document, answer));
            }
            answers
        }
        .boxed_local()
    }

    fn renew<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<LinkRenewal, SigningRefusal>> {
        self.renewed(token).boxed_local()
    }

    fn task_of(&self, document: SagaId) -> LocalBoxFuture<'_, Result<SigningTask, SigningRefusal>> {
        self.task_by_id(document).boxed_local()
    }

    fn submit_by_operator(
        &self,
        signed: SignedDocument,
    ) -> LocalBoxFuture<'_, Result<SignatureAccepted, SigningRefusal>> {
        async move { self.give(&signed).await }.boxed_local()
    }
}

/// Who signed, as the certificate says: for the history.
fn signer_words(evidence: &SignatureEvidence) -> String {
    let mut words = evidence.subject.clone();
    for (name, number) in [("ИИН", &evidence.signer.iin), ("БИН", &evidence.signer.bin)] {
        if let Some(number) = number {
            words.push_str(&format!(", {name} {number}"));
        }
    }
    words
}

/// What was checked, and what was not: no more is claimed than that.
fn checks_words(evidence: &SignatureEvidence) -> Text {
    let digest = if evidence.digest_checked {
        Text::new("дайджест содержимого сверен", "the content's digest was compared")
    } else {
        Text::new("дайджест содержимого не сверялся (ГОСТ)", "the content's digest was not compared (GOST)")
    };
    let value = if evidence.signature_checked {
        Text::new(
            "значение подписи проверено ключом сертификата",
            "the value was verified with the certificate's key",
        )
    } else {
        Text::new("значение подписи не проверялось", "the value was not verified")
    };
    Text::new(
        format!("{}, {}; законную силу проверяет iDocs при сохранении.", capital(&digest.ru), value.ru),
        format!(
            "{}, {}; legal validity is checked by iDocs when it is saved.",
            capital(&digest.en),
            value.en
        ),
    )
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + chars.as_str())
}
