//! The people and the world of an iDocs document: our director, the counterparty, and what is true in the end.

use super::support::kazakhstan::{DIRECTOR_IIN, Kazakhstan, Manners, OUR_BIN};
use super::support::{DEAL, InProcess, PATIENCE, Setting, Stage, wait_for};
use super::wire::{self, Heard};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edobridge::domain::Clock as _;
use edobridge::domain::signing::SignLink;
use edobridge::saga::document::{DocumentSaga, Step, words};
use edobridge::sandbox::signer::ScriptedSigner;
use edobridge::sandbox::{Fault, IDocsDocument, IDocsOptions};
use edobridge::store::DocumentFilter;
use edobridge::telemetry::SystemClock;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where the sandbox lists the events of a period: iDocs' own path is not published.
pub const EVENTS_PATH: &str = "/webhooks/document-events/document-status-changed-event?from={from}&to={to}";

/// A person who retries more often than this will not help.
const HEALED_MAX: u32 = 20;

/// The service comes first: it must stop before its directory goes.
pub struct Play {
    pub service: Option<InProcess>,
    pub stage: Stage,
    pub folder: u64,
    pub director: u64,
    pub signer: ScriptedSigner,
    pub decided: BTreeSet<String>,
    /// How often a person had to retry what was stopped.
    pub healed: u32,
}

impl Play {
    /// A world with our director in it, and a running service.
    pub fn new(options: IDocsOptions, idocs: &str) -> Self {
        Self::with(options, idocs, &[], &[])
    }

    /// The same with faults from the very beginning, and replacements in the text of the configuration.
    pub fn with(options: IDocsOptions, idocs: &str, edits: &[(&str, &str)], faults: &[Fault]) -> Self {
        let mut play = Self::stopped(options, idocs, edits);
        for fault in faults {
            play.stage.world.add_fault(fault.clone()).expect("a case has few faults");
        }
        play.service = Some(InProcess::start(&play.stage));
        play
    }

    /// The world without a service.
    pub fn stopped(options: IDocsOptions, idocs: &str, edits: &[(&str, &str)]) -> Self {
        let stage = Stage::new(&Setting::default());
        stage.world.set_idocs(options);
        let there = Kazakhstan::settle_in(&stage);
        let manners = Manners {
            settle: "100ms",
            patience: ("1s", "2s"),
            trigger: "{ kind = \"folder\", folder_id = FOLDER, interval = \"300ms\", existing = \"send\" }",
            more: idocs,
        };
        let mut more = there.config(&stage, &manners);
        for (from, to) in edits {
            assert!(more.contains(from), "nothing to replace by `{to}`");
            more = more.replace(from, to);
        }
        append(&stage.config_path, &more);
        let signer = ScriptedSigner::new(DIRECTOR_IIN, OUR_BIN);
        let Kazakhstan { director, folder } = there;
        Self { service: None, stage, folder, director, signer, decided: BTreeSet::new(), healed: 0 }
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.stage.world.add_file(self.folder, name, bytes).expect("a new file");
    }

    pub fn sagas(&self) -> Vec<DocumentSaga> {
        let Some(service) = &self.service else { return Vec::new() };
        let page = service
            .ask(|engine| async move { engine.store().list(DocumentFilter::default(), None, 200).await });
        page.expect("the store can be read").items
    }

    /// Waits until the documents are so; else says where they stand and why.
    #[track_caller]
    pub fn until(&self, what: &str, done: impl Fn(&[DocumentSaga]) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let sagas = self.sagas();
            if done(&sagas) {
                return;
            }
            if Instant::now() > end {
                let now = SystemClock.now();
                let why: Vec<String> = sagas.iter().map(|saga| words::why(saga, now).en).collect();
                panic!("waited in vain: {what}; {why:#?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The value of a metric, by all that stands before it.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.service.as_ref().map(|service| service.engine.metrics().encode()).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        line.unwrap_or_else(|| panic!("no metric {name}"))
    }

    pub fn documents(&self) -> Vec<IDocsDocument> {
        self.stage.world.idocs().documents
    }

    /// The newest link that the director was sent.
    pub fn link(&self) -> Option<String> {
        let notices = self.stage.world.notices(self.director);
        let text = &notices.iter().rev().find(|notice| notice.text.contains("/sign/"))?.text;
        let start = text.find("/sign/")?;
        let path: String = text[start..].chars().take_while(|c| !c.is_whitespace()).collect();
        Some(path)
    }

    pub fn links(&self) -> usize {
        self.stage.world.notices(self.director).iter().filter(|n| n.text.contains("/sign/")).count()
    }

    pub fn get(&self, path: &str) -> Heard {
        let request = format!("GET {path} HTTP/1.1\r\nHost: edo.example\r\nConnection: close\r\n\r\n");
        wire::send(self.stage.public, request.as_bytes()).expect("an answer")
    }

    pub fn post(&self, path: &str, body: &Value) -> Heard {
        let bytes = wire::post(path, &[("Content-Type", wire::JSON)], body.to_string().as_bytes());
        wire::send(self.stage.public, &bytes).expect("an answer")
    }

    /// What the director's browser would post for this document.
    pub fn submission(&self, saga: &DocumentSaga) -> Value {
        let id = saga.provider_document.as_deref().expect("a draft");
        let unit = saga.own.as_ref().expect("its own signature").units;
        self.signature(&saga.id.to_string(), unit, id).expect("content to sign")
    }

    /// A signature over what iDocs gives to sign for its document `id`.
    fn signature(&self, document: &str, unit: u32, id: &str) -> Option<Value> {
        let content = self.stage.world.idocs_content(id)?;
        let cms = STANDARD.encode(self.signer.sign_attached(&content));
        Some(json!({"documents": [{"document": document, "unit": unit, "cms": cms}]}))
    }

    /// The director follows the newest link with nothing but a browser; whether the signature was taken.
    pub fn director_tries(&self) -> bool {
        self.link().is_some_and(|link| self.director_tries_at(&link))
    }

    /// The same with a link that came another way.
    pub fn director_tries_at(&self, link: &str) -> bool {
        let token = link.rsplit('/').next().and_then(|token| SignLink::parse(token).ok());
        let (Some(token), Some(draft)) = (token, self.documents().pop()) else { return false };
        let signature = self.signature(&token.document.to_string(), token.number, &draft.id);
        let Some(body) = signature.map(|signature| signature.to_string()) else { return false };
        let bytes = wire::post(link, &[("Content-Type", wire::JSON)], body.as_bytes());
        let heard = wire::send(self.stage.public, &bytes);
        heard.is_some_and(|heard| heard.body.contains("\"accepted\":true"))
    }

    /// The document that waits for the director, once its link is there.
    pub fn waiting(&self) -> DocumentSaga {
        let mut found = None;
        wait_for("the director is asked", || {
            found = self.sagas().into_iter().find(|saga| saga.step == Step::AwaitSigner);
            found.is_some() && self.link().is_some()
        });
        found.expect("found")
    }

    pub fn director_signs(&self) -> DocumentSaga {
        let saga = self.waiting();
        let link = self.link().expect("a link");
        let heard = self.post(&link, &self.submission(&saga));
        assert_eq!(heard.status, 200, "{}", heard.body);
        saga
    }

    /// Signs for both sides until `name` lies in the folder with its archive, healing what is parked.
    pub fn run_to_the_end(&mut self) {
        wait_for("the document is delivered", || {
            for saga in self.sagas() {
                match saga.step {
                    Step::AwaitSigner if self.link().is_some() => {
                        // A link of an older content is dead: the newest notice has the right one.
                        let link = self.link().expect("a link");
                        let _ = self.post(&link, &self.submission(&saga));
                    }
                    Step::AwaitSignature => self.counterparty_signs(),
                    Step::Parked if self.healed < HEALED_MAX => {
                        self.healed += 1;
                        self.retry(&saga);
                    }
                    _ => {}
                }
            }
            self.sagas().iter().any(|saga| saga.step == Step::Delivered)
        });
    }

    /// Every document that was sent is signed by the other side, once.
    pub fn counterparty_signs(&mut self) {
        for document in self.documents().into_iter().filter(IDocsDocument::is_sent) {
            if self.decided.insert(document.id.clone()) {
                self.stage.world.idocs_sign(&document.id).expect("the counterparty signs");
            }
        }
    }

    pub fn retry(&self, saga: &DocumentSaga) {
        use edobridge::saga::document::{Mend, OperatorAction};
        let id = saga.id;
        let Some(service) = &self.service else { return };
        let _ = service.ask(|engine| async move {
            engine.operate(id, OperatorAction::Retry(Mend::default())).await.map(|_| ())
        });
    }

    pub fn files(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.stage.world.files(self.folder).into_iter().map(|f| f.name).collect();
        names.sort();
        names
    }

    #[track_caller]
    pub fn one_of_each(&self, what: &str) {
        if let Err(problem) = self.judge() {
            panic!("{what}: {problem}");
        }
    }

    /// What the world holds in the end: one document, one route, one save, two files, one last comment.
    pub fn judge(&self) -> Result<(), String> {
        let view = self.stage.world.idocs();
        let sent: Vec<_> = view.sent().collect();
        if view.documents.len() != 1 || sent.len() != 1 || sent[0].routes != 1 {
            return Err(format!("not one document with one route: {view:?}"));
        }
        if !view.numbers_sent_twice().is_empty() {
            return Err(format!("a number was sent twice: {view:?}"));
        }
        let files = self.files();
        if files != ["contract.pdf", "contract_signed.pdf", "contract_signed.zip"] {
            return Err(format!("files: {files:?}"));
        }
        let comments = self.stage.world.comments(DEAL);
        let with = |mark: &str| comments.iter().filter(|c| c.text.contains(mark)).count();
        if with("edobridge:") != 1 || with("edobridge-our-turn:") > 1 || with("edobridge-their-turn:") > 1 {
            return Err(format!("comments: {comments:?}"));
        }
        Ok(())
    }
}

fn append(path: &Path, text: &str) {
    let before = std::fs::read_to_string(path).expect("the configuration is there");
    std::fs::write(path, before + text).expect("the configuration is written");
}
