//! The adapter of iDocs against the emulated iDocs over real sockets: two readings of the same samples, written apart
//! from each other, must understand each other; and what one side does in doubt, the other side must bear.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use edobridge::domain::{Clock as _, Failure, FailureClass, FileDigest, Secret, SpoolFile, Timestamp};
use edobridge::providers::http_client::{HttpClient, HttpSettings};
use edobridge::providers::idocs::bulk::{BulkOrder, Operation, OperationResult, OperationState};
use edobridge::providers::idocs::content_check::{self, ContentCheck};
use edobridge::providers::idocs::events;
use edobridge::providers::idocs::outbox::NodeState;
use edobridge::providers::idocs::route_template::RouteTemplate;
use edobridge::providers::idocs::settings::History;
use edobridge::providers::idocs::signing::CONTENT_GONE;
use edobridge::providers::idocs::{
    Client, Content, Counterparty, CounterpartyKind, Fetched, FoundDraft, NewDraft, Settings, StatusClass,
};
use edobridge::providers::spool_io::FileSource;
use edobridge::sandbox::idocs::{
    AnswerStyle, IDocsOptions, LinkForm, Presence, RepeatedSave, RouteShape, SignatureCheck, StatusForm,
};
use edobridge::sandbox::signer::ScriptedSigner;
use edobridge::sandbox::{Fault, FaultKind, Mode, Sandbox, SandboxOptions, World};
use edobridge::telemetry::SystemClock;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const DIRECTOR: &str = "11111111-2222-4333-8444-555555555555";
const ACCOUNTANT: &str = "11111111-2222-4333-8444-666666666666";
const PDF: &[u8] = b"%PDF-1.4\nstartxref\n9\n%%EOF\n";
const NAME: &str = "Договор поставки №1";
/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    sandbox: Sandbox,
    world: Arc<World>,
    client: Client,
    signer: ScriptedSigner,
    dir: TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    /// An account that behaves as `change` says, and a client that was set up as `set` says.
    async fn with(change: impl FnOnce(&mut IDocsOptions), set: impl FnOnce(&mut Settings)) -> Self {
        let options = SandboxOptions { mode: Mode::Explicit, ..SandboxOptions::default() };
        let token = options.idocs_token.expose().to_owned();
        let sandbox = Sandbox::start(options).await.unwrap();
        let world = sandbox.world();
        let mut behaviour = world.idocs_options();
        change(&mut behaviour);
        world.set_idocs(behaviour);
        let mut settings = Settings {
            base_url: sandbox.idocs_url().to_string(),
            webhooks_base_url: world.idocs_webhooks_url().to_string(),
            token: Secret::new(token),
            ..Settings::default()
        };
        set(&mut settings);
        let client = Client::new(HttpClient::new(&HttpSettings::default()).unwrap(), settings).unwrap();
        let signer = ScriptedSigner::new("000000000000", "210987654321");
        Self { sandbox, world, client, signer, dir: TempDir::new().unwrap() }
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> FileSource {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let digest = FileDigest(Sha256::digest(bytes).into());
        FileSource::new(path, SpoolFile { digest, size_bytes: bytes.len() as u64 })
    }

    async fn draft(&self, number: &str) -> Result<String, Failure> {
        let blob = self.client.upload_blob(&self.keep("a.pdf", PDF), "Договор.pdf").await?;
        let draft = NewDraft {
            name: NAME.into(),
            number: number.into(),
            date: now(),
            group: "Purchase".into(),
            author: Some(DIRECTOR.into()),
            blob_ids: vec![blob],
        };
        Ok(self.client.create_draft(&draft).await?.document_id)
    }

    async fn find(&self, number: &str) -> FoundDraft {
        self.client.find_draft(number, NAME, now(), Some(DIRECTOR)).await.unwrap()
    }

    /// One unit: where its bytes lie, and what goes with them.
    async fn content(&self, document: &str) -> Result<(Content, PathBuf), Failure> {
        let unit = self.client.generate_content(document, DIRECTOR).await?;
        let path = self.dir.path().join("content.zip");
        let mut sink = tokio::fs::File::create(&path).await.unwrap();
        self.client.download_content(&unit.link, &mut sink).await?;
        Ok((unit, path))
    }

    /// Our signature over a unit, uploaded; gives its blob.
    async fn signature(&self, content: &PathBuf) -> String {
        let cms = self.signer.sign_attached(&std::fs::read(content).unwrap());
        self.client.upload_signature(&self.keep("signature", &cms)).await.unwrap()
    }

    /// A document that our side has sent.
    async fn sent(&self, number: &str) -> String {
        let document = self.draft(number).await.unwrap();
        self.client.create_route(&document, DIRECTOR, &counterparty()).await.unwrap();
        let (unit, path) = self.content(&document).await.unwrap();
        let blob = self.signature(&path).await;
        self.client.save_signature(&document, DIRECTOR, &blob, &unit.ticket).await.unwrap();
        document
    }

    async fn class(&self, document: &str) -> StatusClass {
        self.client.status(document).await.unwrap().class
    }

    fn strike(&self, call: &str, kind: FaultKind) {
        self.world.add_fault(Fault::first(call, 1, kind)).unwrap();
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn counterparty() -> Counterparty {
    Counterparty {
        bin: "123456789012".into(),
        emails: vec!["signer@example.com".into()],
        kind: CounterpartyKind::Company,
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waiting.await.is_ok(), "waited in vain: {what}");
}

#[tokio::test]
async fn a_document_goes_the_whole_way_and_comes_back_signed() {
    let stage = Stage::new().await;
    let (client, world) = (&stage.client, &stage.world);
    let company = client.check_token().await.unwrap();
    assert_eq!(company.bin.as_deref(), Some("210987654321"));
    let employees = client.employees().await.unwrap();
    assert!(employees.iter().any(|employee| employee.id == DIRECTOR));
    assert!(!client.permissions(DIRECTOR).await.unwrap().is_empty());

    let document = stage.draft("B24-k3x9").await.unwrap();
    assert_eq!(stage.class(&document).await, StatusClass::NotSent);
    assert!(matches!(stage.find("B24-k3x9").await, FoundDraft::One(found) if found.document_id == document));
    assert_eq!(stage.find("B24-k3x").await, FoundDraft::None);
    assert!(!client.route_is_set(&document).await.unwrap());
    client.create_route(&document, DIRECTOR, &counterparty()).await.unwrap();
    assert!(client.route_is_set(&document).await.unwrap());

    let (unit, path) = stage.content(&document).await.unwrap();
    assert!(unit.dispose_on > now());
    let ours = stage.keep("ours", PDF).facts;
    let looked = content_check::content_holds(path.clone(), ours).await.unwrap();
    assert!(matches!(looked, ContentCheck::Holds { others: 0, .. }), "{looked:?}");
    let blob = stage.signature(&path).await;
    client.save_signature(&document, DIRECTOR, &blob, &unit.ticket).await.unwrap();
    assert_eq!(stage.class(&document).await, StatusClass::InWork);
    assert!(
        matches!(stage.find("B24-k3x9").await, FoundDraft::One(found) if found.document_id == document),
        "it is found though it is no draft any more"
    );

    world.idocs_sign(&document).unwrap();
    assert_eq!(stage.class(&document).await, StatusClass::Success);
    let mut print_form = Vec::new();
    assert!(matches!(client.print_form(&document, &mut print_form).await.unwrap(), Fetched::File(_)));
    let mut archive = Vec::new();
    assert!(matches!(client.archive(&document, &mut archive).await.unwrap(), Fetched::File(_)));
    let digest = FileDigest(Sha256::digest(&archive).into());
    assert_eq!(Some(digest), world.idocs().document(&document).unwrap().archive_sha256);
    std::fs::write(&path, &archive).unwrap();
    assert!(content_check::check(&path, ours).unwrap().holds(), "the original is in the evidence");
    assert!(world.idocs().numbers_sent_twice().is_empty() && world.idocs().routed_twice().is_empty());
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn every_style_of_answer_status_link_and_route_is_understood() {
    let routes = [
        (RouteShape::Guide, RouteTemplate::guide("SIGN", "Просим подписать")),
        (RouteShape::Snapshot, RouteTemplate::snapshot("")),
        (RouteShape::SnapshotWithPayer, RouteTemplate::snapshot_payer("")),
    ];
    let styles = [AnswerStyle::Observed, AnswerStyle::Declared, AnswerStyle::Enveloped];
    let forms = [StatusForm::Name, StatusForm::Number, StatusForm::BareNumber];
    let links = [LinkForm::Both, LinkForm::AsGiven, LinkForm::Collapsed];
    for (((route, style), form), link) in routes.into_iter().zip(styles).zip(forms).zip(links) {
        let (shape, template) = route;
        let change = |options: &mut IDocsOptions| {
            options.route_shape = shape;
            options.answers = style;
            options.statuses = form;
            options.link_form = link;
            options.signature = SignatureCheck::Attached;
        };
        let stage = Stage::with(change, |settings| settings.route = template).await;
        let document = stage.sent("B24-1").await;
        stage.world.idocs_sign(&document).unwrap();
        assert_eq!(
            stage.class(&document).await,
            StatusClass::Success,
            "{shape:?} {style:?} {form:?} {link:?}"
        );
        stage.sandbox.stop().await;
    }
}

#[tokio::test]
async fn a_route_of_the_wrong_shape_is_a_refusal_that_tells_what_to_change() {
    let payer = |options: &mut IDocsOptions| options.route_shape = RouteShape::SnapshotWithPayer;
    let stage = Stage::with(payer, |_| {}).await;
    let document = stage.draft("B24-1").await.unwrap();
    let failure = stage.client.create_route(&document, DIRECTOR, &counterparty()).await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, "billing_error"));
    assert!(failure.reason.en.contains("snapshot_payer"));
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn a_create_route_or_save_whose_answer_is_lost_is_ambiguous_and_is_found() {
    for kind in [FaultKind::CutAfter, FaultKind::HtmlAfter(502), FaultKind::Truncated] {
        let stage = Stage::new().await;
        let client = &stage.client;
        stage.strike("idocs.create", kind.clone());
        let failure = stage.draft("B24-1").await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Ambiguous, "{kind:?} {failure:?}");
        let FoundDraft::One(found) = stage.find("B24-1").await else { panic!("{kind:?}: not found") };
        let document = found.document_id;
        if kind != FaultKind::Truncated {
            stage.strike("idocs.route", kind.clone());
            let failure = client.create_route(&document, DIRECTOR, &counterparty()).await.unwrap_err();
            assert_eq!(failure.class, FailureClass::Ambiguous, "{kind:?} {failure:?}");
        } else {
            client.create_route(&document, DIRECTOR, &counterparty()).await.unwrap();
        }
        assert!(client.route_is_set(&document).await.unwrap());
        let (unit, path) = stage.content(&document).await.unwrap();
        let blob = stage.signature(&path).await;
        if kind != FaultKind::Truncated {
            stage.strike("idocs.save", kind.clone());
            let failure = client.save_signature(&document, DIRECTOR, &blob, &unit.ticket).await.unwrap_err();
            assert_eq!(failure.class, FailureClass::Ambiguous, "{kind:?} {failure:?}");
            assert_eq!(stage.class(&document).await, StatusClass::InWork, "it has left the drafts");
        }
        // the same ticket and the same signature once more
        client.save_signature(&document, DIRECTOR, &blob, &unit.ticket).await.unwrap();
        let view = stage.world.idocs();
        assert_eq!(view.of_number("B24-1").len(), 1);
        assert!(view.routed_twice().is_empty());
        stage.sandbox.stop().await;
    }
}

#[tokio::test]
async fn a_call_that_never_arrived_is_not_found_and_may_be_repeated() {
    let stage = Stage::new().await;
    stage.strike("idocs.create", FaultKind::CutBefore);
    assert_eq!(stage.draft("B24-1").await.unwrap_err().class, FailureClass::Ambiguous);
    assert_eq!(stage.find("B24-1").await, FoundDraft::None);
    stage.draft("B24-1").await.unwrap();
    assert_eq!(stage.world.idocs().of_number("B24-1").len(), 1);
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn what_a_person_has_to_mend_is_refused_for_good() {
    let refuse = |options: &mut IDocsOptions| {
        options.repeated_save = RepeatedSave::Refuse;
        options.refusal_status = 200;
    };
    let stage = Stage::with(refuse, |_| {}).await;
    let client = &stage.client;
    let document = stage.draft("B24-1").await.unwrap();
    client.create_route(&document, DIRECTOR, &counterparty()).await.unwrap();
    let failure = client.generate_content(&document, ACCOUNTANT).await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, "permission_error"));
    let (unit, path) = stage.content(&document).await.unwrap();
    let foreign = stage.signer.sign_attached(b"something else");
    let foreign = client.upload_signature(&stage.keep("foreign", &foreign)).await.unwrap();
    let failure = client.save_signature(&document, DIRECTOR, &foreign, &unit.ticket).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Permanent, "a signature over other bytes: {failure:?}");
    stage.world.idocs_expire_units(&document).unwrap();
    let failure = client.download_content(&unit.link, &mut Vec::new()).await.unwrap_err();
    assert_eq!(failure.code, CONTENT_GONE);
    let blob = stage.signature(&path).await;
    let failure = client.save_signature(&document, DIRECTOR, &blob, &unit.ticket).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Permanent, "a dead ticket: {failure:?}");
    assert_eq!(stage.class(&document).await, StatusClass::NotSent);
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn a_refusal_a_recall_and_missing_files_are_told_as_such() {
    let missing = |options: &mut IDocsOptions| options.print_form = Presence::Missing;
    let stage = Stage::with(missing, |_| {}).await;
    let client = &stage.client;
    let refused = stage.sent("B24-1").await;
    stage.world.idocs_refuse(&refused, "Неверная сумма").unwrap();
    assert_eq!(stage.class(&refused).await, StatusClass::Refused);
    let seen = client.outbox_document(&refused).await.unwrap();
    assert_eq!(seen.refusal_reason().as_deref(), Some("Неверная сумма"));
    assert_eq!(seen.counterparties[0].state, NodeState::CompletedWithFail);
    let recalled = stage.sent("B24-2").await;
    stage.world.idocs_recall(&recalled).unwrap();
    assert_eq!(stage.class(&recalled).await, StatusClass::Withdrawn);
    assert_eq!(client.print_form(&refused, &mut Vec::new()).await.unwrap(), Fetched::Missing);
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn operations_on_many_documents_are_pushed_one_by_one_and_come_to_their_results() {
    let stage = Stage::new().await;
    let client = &stage.client;
    let blob = client.upload_blob(&stage.keep("a.pdf", PDF), "a.pdf").await.unwrap();
    let draft = |number: &str| NewDraft {
        name: NAME.into(),
        number: number.into(),
        date: now(),
        group: "General".into(),
        author: None,
        blob_ids: vec![blob.clone()],
    };
    let mut pushed = Vec::new();
    for number in ["B24-1", "B24-2", "B24-3"] {
        pushed.push(client.push(&BulkOrder::CreateDraft(draft(number))).await.unwrap());
    }
    let mut documents = Vec::new();
    for operation in &pushed {
        let OperationResult::Draft(made) = result(client, operation).await else { panic!("no draft") };
        documents.push(made.document_id);
    }
    let document = documents[1].clone();
    let route = BulkOrder::CreateRoute {
        document: document.clone(),
        employee: DIRECTOR.into(),
        counterparty: counterparty(),
    };
    assert_eq!(result(client, &client.push(&route).await.unwrap()).await, OperationResult::Done);
    let content = BulkOrder::GenerateContent { document: document.clone(), employee: DIRECTOR.into() };
    let OperationResult::Content(unit) = result(client, &client.push(&content).await.unwrap()).await else {
        panic!("no content")
    };
    let path = stage.dir.path().join("bulk.zip");
    let mut sink = tokio::fs::File::create(&path).await.unwrap();
    client.download_content(&unit.link, &mut sink).await.unwrap();
    let save = BulkOrder::SaveSignature {
        document: document.clone(),
        employee: DIRECTOR.into(),
        blob: stage.signature(&path).await,
        ticket: unit.ticket,
    };
    assert_eq!(result(client, &client.push(&save).await.unwrap()).await, OperationResult::Done);
    assert_eq!(stage.class(&document).await, StatusClass::InWork);

    stage.world.idocs_forget_operations();
    let states = client.outcomes(pushed[0].kind, &pushed).await.unwrap();
    assert!(states.values().all(|state| *state == OperationState::Lost), "{states:?}");
    stage.sandbox.stop().await;
}

async fn result(client: &Client, operation: &Operation) -> OperationResult {
    let asking = async {
        loop {
            let asked = std::slice::from_ref(operation);
            match client.outcomes(operation.kind, asked).await.unwrap().remove(&operation.id).unwrap() {
                OperationState::Running => tokio::time::sleep(Duration::from_millis(10)).await,
                OperationState::Done(result) => return result,
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

#[tokio::test]
async fn we_subscribe_and_past_statuses_are_read_where_the_path_is_known() {
    let history = |settings: &mut Settings| {
        settings.history = Some(History {
            document_path: "/webhooks/document-events/document-status-changed-event/{id}".into(),
            period_path: String::new(),
            items: "/events".into(),
            fields: settings.webhook.fields.clone(),
        });
    };
    let stage = Stage::with(|_| {}, history).await;
    let url = "http://127.0.0.1:1/idocs/callback/0123456789abcdef";
    for _ in 0..2 {
        stage.client.subscribe(url).await.unwrap();
    }
    assert_eq!(stage.world.idocs().subscription.map(String::from).as_deref(), Some(url));
    let document = stage.sent("B24-1").await;
    stage.world.idocs_sign(&document).unwrap();
    until("the end", || stage.world.idocs().document(&document).is_some_and(|d| d.status == "FINISHED"))
        .await;
    let past = stage.client.history(&document).await.unwrap();
    assert_eq!(past.last().map(|entry| entry.status.class), Some(StatusClass::Success), "{past:?}");
    stage.sandbox.stop().await;
}

#[test]
fn the_notice_of_the_emulator_is_a_hint() {
    let body = br#"{"documentId":"3F2C1D50-6A7B-4C8D-9E01-23456789ABCD","documentStatus":"FINISHED","occurredOn":1}"#;
    let hint = events::parse_event(&Settings::default(), body).unwrap();
    assert_eq!(hint.document_id, "3f2c1d50-6a7b-4c8d-9e01-23456789abcd");
}
