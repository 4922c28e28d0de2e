//! The world of a document that goes through V1: who signs, what a person does after a lost answer, and the judge.

use super::play::Play;
use super::support::{InProcess, pdf, wait_for};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edobridge::domain::signing::SignLink;
use edobridge::saga::document::{DocumentSaga, Mend, OperatorAction, Step};
use edobridge::sandbox::idocs::{FileOfV1, IDocsOptions, RepeatedNumber, V1Options};
use edobridge::sandbox::{Fault, Reach, Side};
use serde_json::json;

/// The keys that every configuration of these tests has besides those of [`Play`].
pub const V1: &str = "api_version = \"v1\"\nv1.process_poll = [\"100ms\", \"200ms\"]";

/// A person who is asked more often than this will not help.
const ASKED_MAX: usize = 20;

/// A number is taken twice, so that a double would be seen; and both files have signatures.
pub fn options() -> IDocsOptions {
    let v1 =
        V1Options { same_number: RepeatedNumber::Accept, file: FileOfV1::Archive, ..V1Options::default() };
    IDocsOptions { v1, ..IDocsOptions::default() }
}

/// A world in which iDocs is spoken to by the older interface.
pub struct Old {
    pub play: Play,
    /// What is to be signed.
    file: Vec<u8>,
    /// Codes of what a person was asked.
    pub letters: Vec<String>,
    encapsulate: bool,
}

impl Old {
    pub fn new(options: IDocsOptions, more: &str, faults: &[Fault]) -> Self {
        let mut old = Self::stopped(options, more);
        for fault in faults {
            old.play.stage.world.add_fault(fault.clone()).expect("a case has few faults");
        }
        old.start();
        old
    }

    /// The world without a service.
    pub fn stopped(options: IDocsOptions, more: &str) -> Self {
        let play = Play::stopped(options, &format!("{V1}\n{more}"), &[]);
        let encapsulate = !more.contains("encapsulate = false");
        Self { play, file: Vec::new(), letters: Vec::new(), encapsulate }
    }

    pub fn start(&mut self) {
        self.play.service = Some(InProcess::start(&self.play.stage));
    }

    /// Opens or closes the door of iDocs.
    pub fn reach(&self, reach: Reach) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(self.play.stage.world.set_reach(Side::IDocs, reach));
    }

    pub fn put(&mut self, file: &[u8]) {
        self.file = file.to_vec();
        self.play.put("contract.pdf", file.to_vec());
    }

    /// A file that differs from case to case.
    pub fn put_number(&mut self, n: u32) {
        self.put(&pdf(u64::from(n), 2_000));
    }

    pub fn calls(&self, call: &str) -> u64 {
        self.play.stage.world.calls().get(call).copied().unwrap_or_default()
    }

    /// The director follows a link with nothing but a browser, and signs the file; whether it was taken.
    pub fn sign_at(&self, link: &str) -> bool {
        let token = link.rsplit('/').next().and_then(|token| SignLink::parse(token).ok());
        let Some(token) = token else { return false };
        let signer = &self.play.signer;
        let cms = match self.encapsulate {
            true => signer.sign_attached(&self.file),
            false => signer.sign_detached(&self.file),
        };
        let document = json!({
            "document": token.document.to_string(), "unit": token.number, "cms": STANDARD.encode(cms),
        });
        let body = json!({ "documents": [document] }).to_string();
        let bytes = super::wire::post(link, &[("Content-Type", super::wire::JSON)], body.as_bytes());
        let heard = super::wire::send(self.play.stage.public, &bytes);
        heard.is_some_and(|heard| heard.body.contains("\"accepted\":true"))
    }

    pub fn sign_when_asked(&self) {
        wait_for("the director signs", || self.play.link().is_some_and(|link| self.sign_at(&link)));
    }

    /// Waits until the document stops for a person because of this.
    #[track_caller]
    pub fn stopped_at(&self, code: &str) -> DocumentSaga {
        let is = |saga: &DocumentSaga| saga.dead_letter.as_ref().is_some_and(|dead| dead.code == code);
        self.play.until(code, |sagas| sagas.iter().any(is));
        self.play.sagas().into_iter().find(is).expect("it stood there just now")
    }

    pub fn orders(&self, saga: &DocumentSaga, action: OperatorAction) -> Result<(), String> {
        let id = saga.id;
        let service = self.play.service.as_ref().expect("it runs");
        service
            .ask(|engine| async move { engine.operate(id, action).await.map(|_| ()) })
            .map_err(|error| error.to_string())
    }

    /// Codes of the history, oldest first.
    pub fn history(&self, saga: &DocumentSaga) -> Vec<String> {
        let id = saga.id;
        let service = self.play.service.as_ref().expect("it runs");
        let lines = service.ask(|engine| async move { engine.store().history(id, 200).await });
        lines.expect("the history").into_iter().map(|line| line.what).collect()
    }

    /// How often a person ordered to send again.
    pub fn decisions(&self, saga: &DocumentSaga) -> usize {
        self.history(saga).iter().filter(|what| *what == "sent_again").count()
    }

    /// Signs for both sides until the document is delivered; a person does what dead letters say, after a look at iDocs.
    pub fn run_to_the_end(&mut self) {
        wait_for("the document is delivered", || {
            for saga in self.play.sagas() {
                match saga.step {
                    Step::AwaitSigner => {
                        let _ = self.play.link().is_some_and(|link| self.sign_at(&link));
                    }
                    Step::AwaitSignature => self.play.counterparty_signs(),
                    Step::Parked => self.heal(&saga),
                    _ => {}
                }
            }
            self.play.sagas().iter().any(|saga| saga.step == Step::Delivered)
        });
    }

    fn heal(&mut self, saga: &DocumentSaga) {
        let code = saga.dead_letter.as_ref().map(|dead| dead.code.clone()).unwrap_or_default();
        assert!(self.letters.len() < ASKED_MAX, "{:?}", self.letters);
        let there = self.play.documents().first().map(|document| document.id.clone());
        let action = match (code.as_str(), there) {
            ("create_unknown", Some(document_id)) => OperatorAction::Bind { document_id },
            ("create_unknown", None) => OperatorAction::SendAgain,
            _ => OperatorAction::Retry(Mend::default()),
        };
        if self.orders(saga, action).is_ok() {
            self.letters.push(code);
        }
    }

    /// What the world holds in the end: one document, sent once, two files as iDocs gives them, one last comment.
    pub fn judge(&self) -> Result<(), String> {
        self.play.judge()?;
        let document = &self.play.documents()[0];
        let files = self.play.stage.world.files(self.play.folder);
        for (name, made) in [
            ("contract_signed.pdf", document.print_form_sha256),
            ("contract_signed.zip", document.archive_sha256),
        ] {
            let lies_there = files.iter().find(|file| file.name == name).map(|file| file.sha256);
            if lies_there != made {
                return Err(format!("{name} is not what iDocs gives: {files:?}"));
            }
        }
        Ok(())
    }
}
