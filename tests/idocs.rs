//! iDocs end to end over real sockets: our director signs by the link in a notice, the counterparty after.
//!
//! The director is a script with a throw-away key; the page is spoken to as a browser would. What the world holds in
//! the end is the judge, not what edobridge says of itself.

mod support;
mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edobridge::saga::document::{DocumentSaga, Step};
use edobridge::sandbox::signer::ScriptedSigner;
use edobridge::sandbox::{Fault, FaultKind, IDocsDocument, IDocsOptions};
use edobridge::store::DocumentFilter;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{DEAL, InProcess, Setting, Stage, pdf, wait_for};
use wire::Heard;

const DIRECTOR_IIN: &str = "000000000000";
const OUR_BIN: &str = "123456789012";
const PATH_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The rule and the account; `idocs` are further keys of the section.
fn setting(stage_url: &str, webhooks_url: &str, director: u64, idocs: &str) -> String {
    format!(
        r#"
[idocs]
base_url = "{stage_url}"
webhooks_base_url = "{webhooks_url}"
token = "sandbox-idocs-token"
poll = ["200ms", "300ms"]
settle = "100ms"
dangerous_allow_http = true
{idocs}
[idocs.timeouts]
connect = "2s"
read = "1s"
call = "2s"
transfer = "20s"
[idocs.webhook]
path_secret = "{PATH_SECRET}"
[idocs.limits]
callback_per_minute = 100000
[[idocs.signers]]
name = "Директор"
employee_id = "11111111-2222-4333-8444-555555555555"
iin = "{DIRECTOR_IIN}"
bitrix_user = {director}
[signing_page]
submissions_per_minute = 10000
[[rules]]
id = "kz"
portal = "main"
service = "idocs"
signer = "Директор"
document_group = "Legal"
counterparty_bin_field = "UF_CRM_BIN"
counterparty_email = "office@example.kz"
trigger = {{ kind = "folder", folder_id = KZ_FOLDER, interval = "300ms", existing = "send" }}
notify = [{director}]
crm_item = {{ entity = "deal", id = {deal} }}
"#,
        deal = DEAL.id,
    )
}

/// The service comes first: it must stop before its directory goes.
struct Play {
    service: Option<InProcess>,
    stage: Stage,
    folder: u64,
    director: u64,
    signer: ScriptedSigner,
    decided: BTreeSet<String>,
}

impl Play {
    fn new(options: IDocsOptions, idocs: &str) -> Self {
        let stage = Stage::new(&Setting::default());
        let world = &stage.world;
        world.set_idocs(options);
        let director = world.add_user("Айгуль", "Директорова");
        let folder = world.add_folder(world.root_folder(), "KZ").expect("a new folder");
        world.put_item(
            DEAL,
            &[
                ("stageId", "C1:NEW".into()),
                ("assignedById", stage.user.into()),
                ("title", "Сделка".into()),
                ("ufCrmBin", "987 654 321 098".into()),
            ],
        );
        let more = setting(world.idocs_url().as_str(), world.idocs_webhooks_url().as_str(), director, idocs);
        append(&stage.config_path, &more.replace("KZ_FOLDER", &folder.to_string()));
        let signer = ScriptedSigner::new(DIRECTOR_IIN, OUR_BIN);
        let service = Some(InProcess::start(&stage));
        Self { service, stage, folder, director, signer, decided: BTreeSet::new() }
    }

    fn put(&self, name: &str, bytes: Vec<u8>) {
        self.stage.world.add_file(self.folder, name, bytes).expect("a new file");
    }

    fn sagas(&self) -> Vec<DocumentSaga> {
        let Some(service) = &self.service else { return Vec::new() };
        let page = service
            .ask(|engine| async move { engine.store().list(DocumentFilter::default(), None, 200).await });
        page.expect("the store can be read").items
    }

    fn documents(&self) -> Vec<IDocsDocument> {
        self.stage.world.idocs().documents
    }

    /// The newest link that the director was sent.
    fn link(&self) -> Option<String> {
        let notices = self.stage.world.notices(self.director);
        let text = &notices.iter().rev().find(|notice| notice.text.contains("/sign/"))?.text;
        let start = text.find("/sign/")?;
        let path: String = text[start..].chars().take_while(|c| !c.is_whitespace()).collect();
        Some(path)
    }

    fn links(&self) -> usize {
        self.stage.world.notices(self.director).iter().filter(|n| n.text.contains("/sign/")).count()
    }

    fn get(&self, path: &str) -> Heard {
        let request = format!("GET {path} HTTP/1.1\r\nHost: edo.example\r\nConnection: close\r\n\r\n");
        wire::send(self.stage.public, request.as_bytes()).expect("an answer")
    }

    fn post(&self, path: &str, body: &Value) -> Heard {
        let bytes = wire::post(path, &[("Content-Type", wire::JSON)], body.to_string().as_bytes());
        wire::send(self.stage.public, &bytes).expect("an answer")
    }

    /// What the director's browser would post for this document.
    fn submission(&self, saga: &DocumentSaga) -> Value {
        let id = saga.provider_document.as_deref().expect("a draft");
        let content = self.stage.world.idocs_content(id).expect("content to sign");
        let cms = STANDARD.encode(self.signer.sign_attached(&content));
        let unit = saga.own.as_ref().expect("its own signature").units;
        json!({"documents": [{"document": saga.id.to_string(), "unit": unit, "cms": cms}]})
    }

    /// The document that waits for the director, once its link is there.
    fn waiting(&self) -> DocumentSaga {
        let mut found = None;
        wait_for("the director is asked", || {
            found = self.sagas().into_iter().find(|saga| saga.step == Step::AwaitSigner);
            found.is_some() && self.link().is_some()
        });
        found.expect("found")
    }

    fn director_signs(&self) -> DocumentSaga {
        let saga = self.waiting();
        let link = self.link().expect("a link");
        let heard = self.post(&link, &self.submission(&saga));
        assert_eq!(heard.status, 200, "{}", heard.body);
        saga
    }

    /// Signs for both sides until `name` lies in the folder with its archive, healing what is parked.
    fn run_to_the_end(&mut self) {
        let mut tries = 0_u32;
        wait_for("the document is delivered", || {
            for saga in self.sagas() {
                match saga.step {
                    Step::AwaitSigner if self.link().is_some() => {
                        // A link of an older content is dead: the newest notice has the right one.
                        let link = self.link().expect("a link");
                        let _ = self.post(&link, &self.submission(&saga));
                    }
                    Step::AwaitSignature => {
                        let id = saga.provider_document.clone().expect("bound");
                        let sent = self.documents().iter().any(|d| d.id == id && d.is_sent());
                        if sent && self.decided.insert(id.clone()) {
                            self.stage.world.idocs_sign(&id).expect("the counterparty signs");
                        }
                    }
                    Step::Parked if tries < 20 => {
                        tries += 1;
                        self.retry(&saga);
                    }
                    _ => {}
                }
            }
            self.sagas().iter().any(|saga| saga.step == Step::Delivered)
        });
    }

    fn retry(&self, saga: &DocumentSaga) {
        use edobridge::saga::document::{Mend, OperatorAction};
        let id = saga.id;
        let Some(service) = &self.service else { return };
        let _ = service.ask(|engine| async move {
            engine.operate(id, OperatorAction::Retry(Mend::default())).await.map(|_| ())
        });
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.stage.world.files(self.folder).into_iter().map(|f| f.name).collect();
        names.sort();
        names
    }

    #[track_caller]
    fn one_of_each(&self, what: &str) {
        let view = self.stage.world.idocs();
        let sent: Vec<_> = view.sent().collect();
        assert_eq!(sent.len(), 1, "sent; {what}: {view:?}");
        assert_eq!(view.documents.len(), 1, "drafts; {what}: {view:?}");
        assert_eq!(sent[0].routes, 1, "routes; {what}");
        assert_eq!(view.numbers_sent_twice(), Vec::<String>::new(), "{what}");
        assert_eq!(
            self.files(),
            ["contract.pdf", "contract_signed.pdf", "contract_signed.zip"],
            "files; {what}"
        );
        let comments = self.stage.world.comments(DEAL);
        let with = |mark: &str| comments.iter().filter(|c| c.text.contains(mark)).count();
        assert_eq!(with("edobridge:"), 1, "the last comment; {what}: {comments:?}");
        assert!(
            with("edobridge-our-turn:") <= 1 && with("edobridge-their-turn:") <= 1,
            "{what}: {comments:?}"
        );
    }
}

fn append(path: &Path, text: &str) {
    let before = std::fs::read_to_string(path).expect("the configuration is there");
    std::fs::write(path, before + text).expect("the configuration is written");
}

#[test]
fn our_director_signs_by_the_link_the_counterparty_after_and_both_files_come_back() {
    let mut play = Play::new(IDocsOptions::default(), "");
    play.put("contract.pdf", pdf(1, 5_000));
    let saga = play.waiting();
    let link = play.link().expect("a link");
    let page = play.get(&link);
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains("contract.pdf") && page.body.contains("987654321098"), "{}", page.body);
    assert!(page.header("content-security-policy").is_some_and(|csp| csp.contains("default-src 'none'")));
    let content = play.get(&format!("{link}/content/{}", saga.id));
    assert_eq!(content.status, 200);
    // A stranger's key is refused, and so is a signature over something else.
    let mut wrong = play.submission(&saga);
    wrong["documents"][0]["cms"] =
        json!(STANDARD.encode(ScriptedSigner::new("999999999999", OUR_BIN).sign_attached(b"x")));
    let heard = play.post(&link, &wrong);
    assert!(!heard.body.contains("\"accepted\":true"), "{}", heard.body);
    assert!(play.documents().iter().all(|d| !d.is_sent()));
    play.director_signs();
    play.run_to_the_end();
    play.one_of_each("without faults");
    let comments = play.stage.world.comments(DEAL);
    let texts: Vec<&str> = comments.iter().map(|c| c.text.as_str()).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].contains("ждёт нашей подписи") && texts[1].contains("ждёт контрагента"), "{texts:?}");
    // The link is used up: it shows that the document is signed, and takes nothing else.
    let late = play.post(&link, &wrong);
    assert!(!late.body.contains("\"accepted\":true"), "{}", late.body);
    let calls = play.stage.world.calls();
    assert_eq!(calls.get("idocs.save"), Some(&1), "{calls:?}");
    assert_eq!(calls.get("idocs.create"), Some(&1), "{calls:?}");
}

#[test]
fn a_repeated_post_is_answered_as_before_and_another_signature_is_refused() {
    let play = Play::new(IDocsOptions::default(), "");
    play.put("contract.pdf", pdf(2, 3_000));
    let saga = play.waiting();
    let link = play.link().expect("a link");
    let submission = play.submission(&saga);
    for _ in 0..3 {
        assert_eq!(play.post(&link, &submission).status, 200);
    }
    let other = play.post(&link, &play.submission(&saga));
    assert!(other.body.contains("already_signed"), "{}", other.body);
    wait_for("it is sent", || play.documents().iter().any(IDocsDocument::is_sent));
    assert_eq!(play.stage.world.calls().get("idocs.save"), Some(&1));
}

#[test]
fn a_refusal_of_the_counterparty_comes_back_with_its_reason() {
    let play = Play::new(IDocsOptions::default(), "");
    play.put("contract.pdf", pdf(3, 3_000));
    let saga = play.director_signs();
    let id = saga.provider_document.expect("bound");
    wait_for("it is sent", || play.documents().iter().any(IDocsDocument::is_sent));
    play.stage.world.idocs_refuse(&id, "не та цена").expect("the counterparty refuses");
    wait_for("the refusal is told", || play.sagas().iter().any(|saga| saga.step == Step::Refused));
    let comments = play.stage.world.comments(DEAL);
    assert!(comments.iter().any(|c| c.text.contains("не та цена")), "{comments:?}");
    assert_eq!(play.files(), ["contract.pdf"]);
}

#[test]
fn a_link_dies_with_its_content_and_a_new_one_is_sent_on_request() {
    let options = IDocsOptions { unit_life_ms: 3_000, ..IDocsOptions::default() };
    let mut play = Play::new(options, "");
    play.put("contract.pdf", pdf(4, 3_000));
    let saga = play.waiting();
    let first = play.link().expect("a link");
    let stale = play.submission(&saga);
    wait_for("the link has expired", || play.get(&first).status == 410);
    play.stage.world.set_idocs(IDocsOptions::default());
    assert_ne!(play.post(&first, &stale).status, 200, "an expired link takes nothing");
    // A new link is made at most once a minute: ask until it is granted.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while play.links() < 2 {
        assert!(std::time::Instant::now() < until, "no new link");
        let _ = play.post(&format!("{first}/renew"), &json!({}));
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    assert_eq!(play.get(&first).status, 404, "the old link is dead");
    play.run_to_the_end();
    play.one_of_each("after a renewal");
}

#[test]
fn hints_of_the_service_spare_the_wait_for_the_next_poll() {
    let mut play = Play::new(IDocsOptions::default(), "");
    play.stage.world.set_idocs_subscription(
        url::Url::parse(&format!("http://{}/idocs/callback/{PATH_SECRET}", play.stage.public)).ok(),
    );
    play.put("contract.pdf", pdf(5, 3_000));
    play.director_signs();
    play.run_to_the_end();
    play.one_of_each("with hints");
    let wrong = play.post("/idocs/callback/0000", &json!({}));
    assert_eq!(wrong.status, 404);
}

#[test]
fn what_is_given_to_sign_must_hold_what_was_sent() {
    let play = Play::new(IDocsOptions::default(), "");
    play.put("contract.pdf", pdf(6, 3_000));
    let saga = play.waiting();
    let history = |play: &Play| {
        let id = saga.id;
        let service = play.service.as_ref().expect("it runs");
        let lines = service.ask(|engine| async move { engine.store().history(id, 100).await });
        lines.expect("the history").into_iter().map(|line| line.what).collect::<Vec<_>>()
    };
    assert!(history(&play).contains(&"content_ready".to_owned()), "{:?}", history(&play));
}

/// A fault, made anew for each case.
type MakeFault = fn() -> FaultKind;

/// Every call, each fault: one document, one route, one save, two files.
fn sweep(kinds: &[MakeFault], calls: &[&str]) {
    let cases: Vec<(&str, MakeFault)> =
        calls.iter().flat_map(|call| kinds.iter().map(move |kind| (*call, *kind))).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((call, kind)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    case(call, kind());
                }
            });
        }
    });
}

/// Cases at one time: most of each is waiting.
const AT_ONCE: usize = 4;

fn case(call: &str, fault: FaultKind) {
    let what = format!("{call} {}", fault.name());
    let mut play = Play::new(IDocsOptions::default(), "");
    play.stage.world.add_fault(Fault::nth(call, 1, fault)).expect("a fault");
    play.put("contract.pdf", pdf(7, 2_000));
    play.run_to_the_end();
    play.one_of_each(&what);
    assert_eq!(play.stage.world.faults_struck(), 1, "{what} was never struck");
}

const CALLS: [&str; 11] = [
    "idocs.blob.document",
    "idocs.create",
    "idocs.single",
    "idocs.route",
    "idocs.content",
    "idocs.content.download",
    "idocs.blob.signature",
    "idocs.save",
    "idocs.status",
    "idocs.print_form",
    "idocs.archive",
];

#[test]
fn a_lost_answer_of_any_call_makes_nothing_twice() {
    sweep(&[|| FaultKind::CutAfter, || FaultKind::CutBefore], &CALLS);
}

#[test]
fn an_error_after_the_effect_of_any_call_makes_nothing_twice() {
    sweep(&[|| FaultKind::status_after(500, "INTERNAL_SERVER_ERROR"), || FaultKind::HtmlAfter(502)], &CALLS);
}

#[test]
fn an_error_before_the_effect_of_any_call_is_only_a_delay() {
    sweep(&[|| FaultKind::Refuse, || FaultKind::status(503, "UNKNOWN")], &CALLS);
    // A limit without a pause of its own means ten seconds: a read and two writes stand for all.
    sweep(&[|| FaultKind::status(429, "UNKNOWN")], &["idocs.create", "idocs.save", "idocs.status"]);
}
