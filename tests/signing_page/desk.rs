//! A desk in memory: the rules of `SigningDesk` without a saga behind them.

use crate::pki::{BIN, IIN};
use edobridge::actors::signing_desk::SigningDesk;
use edobridge::domain::signing::{
    DOCUMENTS_OF_A_PAGE_MAX, Encapsulation, LinkKey, LinkRenewal, SignLink, SignatureAccepted,
    SignedDocument, SignerIdentity, SigningRefusal, SigningTask, SigningUnit, TaskState,
};
use edobridge::domain::{FileDigest, SagaId, SpoolFile, Timestamp};
use edobridge::providers::spool_io::FileSource;
use futures_util::future::{FutureExt as _, LocalBoxFuture, ready};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tempfile::TempDir;

/// When every test plays, and how long its links live.
pub const NOW: Timestamp = Timestamp(1_800_000_000_000);
const LIFE_MS: u64 = 3 * 24 * 3_600_000;

type Stored = Vec<SignedDocument>;

/// The desk.
pub struct MemoryDesk {
    key: LinkKey,
    now: Mutex<Timestamp>,
    tasks: Mutex<Vec<SigningTask>>,
    stored: Mutex<Stored>,
    renewed: Mutex<Vec<SagaId>>,
    busy: AtomicBool,
    without_user: AtomicBool,
    number: AtomicU32,
    dir: TempDir,
}

impl MemoryDesk {
    pub fn new() -> Self {
        Self {
            key: LinkKey::new([7; 32]),
            now: Mutex::new(NOW),
            tasks: Mutex::default(),
            stored: Mutex::default(),
            renewed: Mutex::default(),
            busy: AtomicBool::new(false),
            without_user: AtomicBool::new(false),
            number: AtomicU32::new(0),
            dir: TempDir::new().expect("a temporary directory"),
        }
    }

    /// A document that waits for Aigul; the token opens it.
    pub fn add(&self, name: &str, content: &[u8], encapsulate: Encapsulation) -> (SigningTask, String) {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let digest = FileDigest(Sha256::digest(content).into());
        std::fs::write(self.dir.path().join(digest.to_hex()), content).expect("the content is written");
        let task = SigningTask {
            unit: SigningUnit {
                document: SagaId::from_u128(0x0198_f00d_dead_beef_0000_0000_0000_0000 + u128::from(number)),
                number: 1,
                content: SpoolFile { digest, size_bytes: content.len() as u64 },
                expires_at: NOW.plus_ms(LIFE_MS),
            },
            signer_name: "Айгуль Серикова".into(),
            name: name.into(),
            document_number: format!("B24-{}", 9043 + number),
            counterparty: "ТОО «Ромашка»".into(),
            encapsulate,
            signer: SignerIdentity { iin: Some(IIN.into()), bin: Some(BIN.into()) },
            state: TaskState::Open,
        };
        self.tasks.lock().unwrap().push(task.clone());
        let token = SignLink::issue(&self.key, &task.unit, &task.signer_name, task.unit.expires_at).token();
        (task, token)
    }

    /// Changes how a document stands.
    pub fn change(&self, document: SagaId, change: impl FnOnce(&mut SigningTask)) {
        let mut tasks = self.tasks.lock().unwrap();
        change(tasks.iter_mut().find(|task| task.unit.document == document).expect("the document is known"));
    }
    pub fn forget_all(&self) {
        self.tasks.lock().unwrap().clear();
    }
    /// The document has moved on, and its file with it.
    pub fn drop_content(&self, task: &SigningTask) {
        std::fs::remove_file(self.content_path(task)).expect("the content was there");
    }
    fn content_path(&self, task: &SigningTask) -> PathBuf {
        self.dir.path().join(task.unit.content.digest.to_hex())
    }
    pub fn set_now(&self, now: Timestamp) {
        *self.now.lock().unwrap() = now;
    }
    pub fn after_the_link(&self) {
        self.set_now(NOW.plus_ms(LIFE_MS + 1));
    }
    pub fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::SeqCst);
    }
    /// Links reach the signer only through an operator.
    pub fn forget_user(&self) {
        self.without_user.store(true, Ordering::SeqCst);
    }
    pub fn stored(&self) -> Stored {
        self.stored.lock().unwrap().clone()
    }
    pub fn renewed(&self) -> Vec<SagaId> {
        self.renewed.lock().unwrap().clone()
    }

    /// The document of a link that proves itself, whatever the time.
    fn proven(&self, token: &str) -> Result<(SigningTask, SignLink), SigningRefusal> {
        let link = SignLink::parse(token).map_err(|_| SigningRefusal::Unknown)?;
        let tasks = self.tasks.lock().unwrap();
        let task = tasks.iter().find(|task| task.unit.document == link.document);
        let task = task.filter(|task| link.verify(&self.key, &task.unit, &task.signer_name));
        task.cloned().map(|task| (task, link)).ok_or(SigningRefusal::Unknown)
    }

    fn look(&self, token: &str) -> Result<Vec<SigningTask>, SigningRefusal> {
        if self.busy.load(Ordering::SeqCst) {
            return Err(SigningRefusal::Busy);
        }
        let (own, link) = self.proven(token)?;
        if link.is_expired(*self.now.lock().unwrap()) {
            return Err(SigningRefusal::Expired);
        }
        let tasks = self.tasks.lock().unwrap();
        let others = tasks.iter().filter(|task| {
            task.unit.document != own.unit.document
                && task.signer_name == own.signer_name
                && task.state == TaskState::Open
        });
        Ok(std::iter::once(own.clone()).chain(others.cloned()).take(DOCUMENTS_OF_A_PAGE_MAX).collect())
    }

    fn keep(&self, signed: SignedDocument) -> Result<SignatureAccepted, SigningRefusal> {
        let mut tasks = self.tasks.lock().unwrap();
        let task = tasks
            .iter_mut()
            .find(|task| task.unit.document == signed.document && task.unit.number == signed.number)
            .ok_or(SigningRefusal::Unknown)?;
        match task.state {
            TaskState::Signed { by_cms } if by_cms == signed.digest => {
                Ok(SignatureAccepted { repeated: true })
            }
            TaskState::Signed { .. } => Err(SigningRefusal::AlreadySigned),
            TaskState::Open => {
                task.state = TaskState::Signed { by_cms: signed.digest };
                self.stored.lock().unwrap().push(signed);
                Ok(SignatureAccepted { repeated: false })
            }
        }
    }
}

impl SigningDesk for MemoryDesk {
    fn open<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<Vec<SigningTask>, SigningRefusal>> {
        ready(self.look(token)).boxed_local()
    }

    fn content(&self, task: &SigningTask) -> LocalBoxFuture<'_, std::io::Result<FileSource>> {
        ready(Ok(FileSource::new(self.content_path(task), task.unit.content))).boxed_local()
    }

    fn submit<'a>(
        &'a self,
        token: &'a str,
        signed: Vec<SignedDocument>,
    ) -> LocalBoxFuture<'a, Vec<(SagaId, Result<SignatureAccepted, SigningRefusal>)>> {
        let opened = self.look(token);
        let answers = signed.into_iter().map(|signed| {
            let is_open =
                |tasks: &Vec<SigningTask>| tasks.iter().any(|task| task.unit.document == signed.document);
            let document = signed.document;
            let answer = match &opened {
                Ok(tasks) if is_open(tasks) => self.keep(signed),
                Ok(_) => Err(SigningRefusal::Unknown),
                Err(refusal) => Err(*refusal),
            };
            (document, answer)
        });
        ready(answers.collect()).boxed_local()
    }

    fn renew<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<LinkRenewal, SigningRefusal>> {
        let renewed = self.proven(token).map(|(task, _)| {
            self.renewed.lock().unwrap().push(task.unit.document);
            match self.without_user.load(Ordering::SeqCst) {
                true => LinkRenewal::LeftToOperator,
                false => LinkRenewal::Sent,
            }
        });
        ready(renewed).boxed_local()
    }

    fn task_of(&self, document: SagaId) -> LocalBoxFuture<'_, Result<SigningTask, SigningRefusal>> {
        let tasks = self.tasks.lock().unwrap();
        let task = tasks.iter().find(|task| task.unit.document == document).cloned();
        ready(task.ok_or(SigningRefusal::Unknown)).boxed_local()
    }

    fn submit_by_operator(
        &self,
        signed: SignedDocument,
    ) -> LocalBoxFuture<'_, Result<SignatureAccepted, SigningRefusal>> {
        ready(self.keep(signed)).boxed_local()
    }
}
