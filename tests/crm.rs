//! Documents and the CRM, over real sockets: delivery into items, generated documents, robots of workflows.
//!
//! Each test has a portal, a signing service and an edobridge of its own. What the world holds in the end is the
//! judge, not what edobridge says of itself.

mod support;

use edobridge::saga::document::{DocumentSaga, Step};
use edobridge::sandbox::{
    AppSpec, Fault, FaultKind, FieldKind, FrameSpec, LedgerEntry, PdfPlan, PortalTraits, RobotSpec,
    WorkflowState,
};
use edobridge::store::DocumentFilter;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::{DEAL, InProcess, Setting, Stage, pdf, wait_for};

const CONTRACT: &str = "ufCrmContract";
const SIGNED: &str = "ufCrmSigned";

/// A rule for deals whose stage is EXECUTING; `more` are further keys of it.
fn deal_rule(more: &str) -> Setting {
    let rule = format!(
        r#"
[[rules]]
id = "deals"
portal = "main"
route_id = "route-1"
trigger = {{ kind = "deal_stage", stages = ["C1:EXECUTING"], file_field = "UF_CRM_CONTRACT" }}
deliver_to = "none"
notify = []
notify_on = []
{more}
"#
    );
    Setting { more: rule, ..Setting::default() }
}

fn rule_of(trigger: &str, more: &str) -> Setting {
    let rule = format!(
        r#"
[[rules]]
id = "papers"
portal = "main"
route_id = "route-1"
trigger = {trigger}
deliver_to = "none"
comment_file = true
notify = []
notify_on = []
{more}
"#
    );
    Setting { more: rule, ..Setting::default() }
}

/// The deal in its funnel, with a contract and a file that was in the other field before.
fn set(stage: &Stage) {
    let world = &stage.world;
    world.set_stages("DEAL_STAGE_1", &["C1:NEW", "C1:EXECUTING", "C1:PAY", "C1:WON", "C1:LOSE"]);
    world.put_item(
        DEAL,
        &[
            ("stageId", "C1:NEW".into()),
            ("categoryId", 1.into()),
            ("assignedById", stage.user.into()),
            ("title", "Сделка".into()),
        ],
    );
    world.declare_field(DEAL.entity_type_id, SIGNED, FieldKind::Files);
    world.put_item_file(DEAL, CONTRACT, "договор.pdf", pdf(1, 900)).expect("the deal is there");
    world.add_item_file(DEAL, SIGNED, "старый.pdf", pdf(2, 700)).expect("the deal is there");
}

/// The service comes first: it must stop before its directory goes.
struct Play {
    service: InProcess,
    stage: Stage,
    signed: BTreeSet<String>,
}

impl Play {
    fn start(setting: &Setting) -> Self {
        let stage = Stage::new(setting);
        set(&stage);
        Self::go(stage)
    }

    fn go(stage: Stage) -> Self {
        let service = InProcess::start(&stage);
        Self { service, stage, signed: BTreeSet::new() }
    }

    fn sagas(&self) -> Vec<DocumentSaga> {
        let page = self
            .service
            .ask(|engine| async move { engine.store().list(DocumentFilter::default(), None, 200).await });
        page.expect("the store can be read").items
    }

    /// Signs whatever waits for a signature, until one document has come to this step.
    fn until(&mut self, step: Step) -> DocumentSaga {
        self.until_decided(step, Verdict::Sign)
    }

    fn until_decided(&mut self, step: Step, verdict: Verdict) -> DocumentSaga {
        let mut found = None;
        let (stage, signed) = (&self.stage, &mut self.signed);
        let service = &self.service;
        wait_for(step.name(), || {
            let page = service
                .ask(|engine| async move { engine.store().list(DocumentFilter::default(), None, 200).await });
            let sagas = page.expect("the store can be read").items;
            for saga in sagas.iter().filter(|saga| saga.step == Step::AwaitSignature) {
                let Some(id) = saga.provider_document.clone() else { continue };
                if verdict != Verdict::Nobody && signed.insert(id.clone()) {
                    match verdict {
                        Verdict::Refuse => stage.world.refuse(&id),
                        Verdict::Sign | Verdict::Nobody => stage.world.sign(&id),
                    }
                    .expect("the document exists");
                }
            }
            found = sagas.into_iter().find(|saga| saga.step == step);
            found.is_some()
        });
        found.expect("just found")
    }

    fn history(&self, saga: &DocumentSaga) -> Vec<String> {
        let id = saga.id;
        let lines = self.service.ask(|engine| async move { engine.store().history(id, 500).await });
        lines.expect("the store can be read").into_iter().map(|line| line.what).collect()
    }

    fn field(&self, field: &str) -> Vec<String> {
        self.stage.world.item_files(DEAL, field).into_iter().map(|(name, _)| name).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Sign,
    Refuse,
    Nobody,
}

const ALL_WISHES: &str = r#"
into_field = "UF_CRM_SIGNED"
comment_file = true
stage_on_signed = "C1:WON"
stage_on_refused = "C1:LOSE"
"#;

// ---- delivery into the item --------------------------------------------------------------------------------------

#[test]
fn a_signed_file_goes_beside_the_old_ones_and_into_the_comment_and_the_deal_moves_on() {
    let mut play = Play::start(&deal_rule(ALL_WISHES));
    play.stage.world.move_item(DEAL, "C1:EXECUTING").expect("the deal is there");
    let saga = play.until(Step::Delivered);
    assert_eq!(play.field(SIGNED), ["старый.pdf", "договор_signed.pdf"]);
    let world = &play.stage.world;
    let comments = world.comments(DEAL);
    assert_eq!(comments.len(), 1);
    let attached: Vec<String> =
        world.comment_files(comments[0].id).into_iter().map(|file| file.name).collect();
    assert_eq!(attached, ["договор_signed.pdf"]);
    assert_eq!(world.item_stage(DEAL).as_deref(), Some("C1:WON"));
    assert!(play.stage.signed_copies().is_empty(), "nothing was asked of the Drive");
    assert_eq!(saga.delivered, None);
    assert!(play.history(&saga).iter().any(|what| what == "stage_moved"));
}

#[test]
fn a_refused_document_moves_the_deal_to_the_other_stage_and_leaves_the_field_alone() {
    let mut play = Play::start(&deal_rule(ALL_WISHES));
    play.stage.world.move_item(DEAL, "C1:EXECUTING").expect("the deal is there");
    play.until_decided(Step::Refused, Verdict::Refuse);
    assert_eq!(play.field(SIGNED), ["старый.pdf"]);
    assert_eq!(play.stage.world.item_stage(DEAL).as_deref(), Some("C1:LOSE"));
    let comments = play.stage.world.comments(DEAL);
    assert!(play.stage.world.comment_files(comments[0].id).is_empty(), "there is no signed file");
}

#[test]
fn a_deal_that_a_person_has_moved_stays_where_it_is() {
    for (moved_to, history) in
        [("C1:PAY", "stage_kept"), ("C1:WON", "stage_reached"), ("C1:LOSE", "stage_kept")]
    {
        let mut play = Play::start(&deal_rule(ALL_WISHES));
        play.stage.world.move_item(DEAL, "C1:EXECUTING").expect("the deal is there");
        play.until_decided(Step::AwaitSignature, Verdict::Nobody);
        play.stage.world.move_item(DEAL, moved_to).expect("the deal is there");
        let saga = play.until(Step::Delivered);
        assert_eq!(play.stage.world.item_stage(DEAL).as_deref(), Some(moved_to));
        assert!(play.history(&saga).iter().any(|what| what == history), "{moved_to}");
    }
}

#[test]
fn whatever_happens_to_a_write_into_the_item_it_is_made_once() {
    let calls = ["crm.item.update", "crm.timeline.comment.add"];
    let kinds = [FaultKind::CutAfter, FaultKind::CutBefore, FaultKind::HtmlAfter(502), FaultKind::Truncated];
    for (call, kind) in calls.iter().flat_map(|call| kinds.iter().map(move |kind| (call, kind))) {
        let mut play = Play::start(&deal_rule(ALL_WISHES));
        play.stage.world.add_fault(Fault::first(*call, 1, kind.clone())).expect("there is room");
        play.stage.world.move_item(DEAL, "C1:EXECUTING").expect("the deal is there");
        play.until(Step::Delivered);
        let seen = || format!("{call} {kind:?}: {:#?}", play.stage.world.ledger_of(call));
        assert_eq!(play.field(SIGNED), ["старый.pdf", "договор_signed.pdf"], "{}", seen());
        assert_eq!(play.stage.world.comments(DEAL).len(), 1, "{}", seen());
        assert_eq!(play.stage.world.item_stage(DEAL).as_deref(), Some("C1:WON"), "{}", seen());
        assert_eq!(play.stage.world.faults_struck(), 1, "{}", seen());
    }
}

#[test]
fn an_update_that_fails_while_moving_the_stage_is_made_in_the_end() {
    for kind in [FaultKind::CutAfter, FaultKind::CutBefore, FaultKind::Html(502)] {
        let mut play = Play::start(&deal_rule(ALL_WISHES));
        // the first update is the field's, the second the stage's
        play.stage.world.add_fault(Fault::nth("crm.item.update", 2, kind)).expect("there is room");
        play.stage.world.move_item(DEAL, "C1:EXECUTING").expect("the deal is there");
        play.until(Step::Delivered);
        assert_eq!(play.stage.world.item_stage(DEAL).as_deref(), Some("C1:WON"));
        assert_eq!(play.field(SIGNED).len(), 2);
    }
}

#[test]
fn a_copy_in_the_watched_field_is_not_signed_again() {
    let more = "into_field = \"UF_CRM_CONTRACTS\"\n";
    let setting = deal_rule(more);
    let setting =
        Setting { more: setting.more.replace("UF_CRM_CONTRACT\"", "UF_CRM_CONTRACTS\""), ..setting };
    let stage = Stage::new(&setting);
    set(&stage);
    stage.world.add_item_file(DEAL, "ufCrmContracts", "договор.pdf", pdf(3, 900)).expect("the deal is there");
    let mut play = Play::go(stage);
    play.stage.world.move_item(DEAL, "C1:EXECUTING").expect("the deal is there");
    play.until(Step::Delivered);
    assert_eq!(play.field("ufCrmContracts"), ["договор.pdf", "договор_signed.pdf"]);
    // Somebody changes the deal: its field is read again, and nothing in it is new to us.
    play.stage.world.change_item(DEAL, "title", "Другая".into()).expect("the deal is there");
    let reads = |play: &Play| {
        let count = |call: &str| play.stage.world.ledger_of(call).len();
        count("crm.item.get") + count("crm.item.list")
    };
    let before = reads(&play);
    play.stage.world.change_item(DEAL, "title", "Третья".into()).expect("the deal is there");
    wait_for("the deal is read again", || reads(&play) > before);
    wait_for("the inbox is empty", || {
        play.service.ask(|engine| async move { engine.store().counts().await.notices == 0 })
    });
    wait_for("nothing is under way", || play.sagas().iter().all(|saga| saga.step.is_finished()));
    assert_eq!(play.stage.world.documents().len(), 1);
}

#[test]
fn a_field_for_one_file_that_has_one_stops_the_document_and_keeps_the_file() {
    let setting = deal_rule("into_field = \"UF_CRM_ONE\"\n");
    let stage = Stage::new(&setting);
    set(&stage);
    stage.world.put_item_file(DEAL, "ufCrmOne", "важный.pdf", pdf(4, 500)).expect("the deal is there");
    let mut play = Play::go(stage);
    play.stage.world.move_item(DEAL, "C1:EXECUTING").expect("the deal is there");
    let parked = play.until(Step::Parked);
    assert_eq!(parked.dead_letter.map(|dead| dead.code), Some("field_is_taken".to_owned()));
    assert_eq!(play.field("ufCrmOne"), ["важный.pdf"]);
}

#[test]
fn an_old_box_without_crm_item_gets_everything_by_its_own_methods() {
    // the fetch itself is spoken to by the old methods too: a folder starts it, since old boxes have no item lists
    let setting = Setting::default();
    let stage = Stage::new(&setting);
    set(&stage);
    let text = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
    std::fs::write(&stage.config_path, format!("{text}\n{ALL_WISHES}")).expect("it can be written");
    let missing = ["crm.item.*"].map(str::to_owned).into();
    stage.world.set_traits(PortalTraits { missing, ..PortalTraits::cloud() });
    let mut play = Play::go(stage);
    play.stage.drop_file("акт.pdf", pdf(5, 800));
    play.until(Step::AwaitSignature);
    let saga = play.until(Step::Delivered);
    assert_eq!(play.field(SIGNED), ["старый.pdf", "акт_signed.pdf"]);
    assert!(saga.field_file.is_some() && saga.delivered.is_some());
    assert_eq!(play.stage.signed_copies().len(), 1);
    // it stood in NEW when it was sent
    assert_eq!(play.stage.world.item_stage(DEAL).as_deref(), Some("C1:WON"));
    let refused = |entry: &&LedgerEntry| entry.call.starts_with("crm.item.");
    assert!(play.stage.world.ledger().iter().filter(refused).count() <= 1, "learned from the first refusal");
}

// ---- generated documents -----------------------------------------------------------------------------------------

const GENERATED: &str = r#"{ kind = "generated_document" }"#;

fn generated_play(wait: &str) -> Play {
    let stage = Stage::new(&rule_of(GENERATED, ""));
    set(&stage);
    let text = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
    let text = text.replace("[retry]\n", &format!("[retry]\npdf_pause = \"1s\"\npdf_wait = \"{wait}\"\n"));
    std::fs::write(&stage.config_path, text).expect("it can be written");
    Play::go(stage)
}

#[test]
fn a_generated_document_is_sent_when_its_late_pdf_is_there() {
    let mut play = generated_play("1h");
    play.stage
        .world
        .generate_document(DEAL, 5, "Договор 7", pdf(6, 900), PdfPlan::After(1_500))
        .expect("the deal is there");
    let saga = play.until(Step::Delivered);
    assert!(play.history(&saga).iter().any(|what| what == "pdf_pending"));
    assert_eq!(saga.crm_item, Some(DEAL));
    let comments = play.stage.world.comments(DEAL);
    let attached = play.stage.world.comment_files(comments[0].id);
    assert_eq!(attached[0].name, "Договор 7_signed.pdf");
}

#[test]
fn a_pdf_that_fails_or_never_comes_stops_for_a_person_in_words() {
    for (plan, wait, code) in
        [(PdfPlan::Fails(10), "1h", "transformation_failed"), (PdfPlan::Never, "1s", "pdf_not_made")]
    {
        let mut play = generated_play(wait);
        play.stage
            .world
            .generate_document(DEAL, 5, "Договор 8", pdf(7, 900), plan)
            .expect("the deal is there");
        let dead = play.until(Step::Parked).dead_letter.expect("it is parked");
        assert_eq!(dead.code, code);
        assert!(!dead.next_action.ru.is_empty());
        assert!(play.stage.world.documents().is_empty(), "no half document is sent");
    }
}

// ---- robots ------------------------------------------------------------------------------------------------------

const ROBOT: &str = r#"{ kind = "robot" }"#;

/// A portal where edobridge is installed as an application; it has registered its robots there.
struct Robots {
    play: Play,
    client_id: String,
}

impl Robots {
    fn start() -> Self {
        let stage = Stage::new(&rule_of(ROBOT, ""));
        set(&stage);
        let base = url::Url::parse(&format!("http://{}/", stage.public)).expect("an address");
        let spec = AppSpec::local(&base);
        let client_id = spec.client_id.clone();
        stage.world.register_app(spec.clone());
        as_application(&stage, &spec);
        let play = Play::go(stage);
        let world = &play.stage.world;
        world.install_app(&client_id).expect("it is registered");
        let opened = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let page = opened.block_on(world.open_frame(&client_id, &FrameSpec::main_page()));
        assert_eq!(page.expect("it is installed").status, 200);
        wait_for("the robots", || world.apps().iter().any(|app| app.robots.len() == 2));
        Self { play, client_id }
    }

    fn run(&self, code: &str, properties: Value) -> String {
        let spec = RobotSpec { code: code.to_owned(), item: DEAL, properties, timeout_s: 0 };
        self.play.stage.world.run_robot(&self.client_id, &spec).expect("the robot is registered").workflow_id
    }

    fn released(&self, workflow: &str) -> Value {
        let mut values = Value::Null;
        wait_for("the workflow is released", || {
            match self.play.stage.world.workflow(workflow).map(|flow| flow.state) {
                Some(WorkflowState::Released(told)) => values = told,
                Some(_) | None => return false,
            }
            true
        });
        values
    }

    fn is_waiting(&self, workflow: &str) -> bool {
        let flow = self.play.stage.world.workflow(workflow).expect("it was started");
        flow.state == WorkflowState::Waiting
    }
}

/// Puts the application into the configuration, in the place of the webhook.
fn as_application(stage: &Stage, spec: &AppSpec) {
    let text = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
    let way_in = |line: &&str| line.starts_with("webhook_url") || line.starts_with("application_tokens");
    let kept: Vec<&str> = text.lines().filter(|line| !way_in(line)).collect();
    let member = stage.world.member_id();
    let text = kept.join("\n").replacen(
        "id = \"main\"",
        &format!("id = \"main\"\napp = \"sign\"\nmember_id = \"{member}\""),
        1,
    );
    let app = format!(
        "\n[[apps]]\nid = \"sign\"\nkind = \"local\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n\
         oauth_hosts = [\"{}\"]\ndangerous_allow_http = true\n",
        spec.client_id,
        spec.client_secret.expose(),
        stage.world.oauth_url()
    );
    std::fs::write(&stage.config_path, text + &app).expect("the configuration is written");
}

#[test]
fn a_workflow_waits_until_the_end_and_learns_status_file_and_reason() {
    let mut robots = Robots::start();
    let file = robots.play.stage.world.add_file(robots.play.stage.folder, "доверенность.pdf", pdf(8, 600));
    let file = file.expect("the folder is there");
    let workflow = robots.run("edobridge_send", json!({"source": "drive", "file": file.to_string()}));
    robots.play.until_decided(Step::AwaitSignature, Verdict::Nobody);
    assert!(robots.is_waiting(&workflow));
    // Meanwhile another branch asks where it stands, by the file.
    let asking = robots.run("edobridge_status", json!({"file": file.to_string()}));
    assert_eq!(robots.released(&asking)["status"], "waiting");
    let saga = robots.play.until(Step::Delivered);
    let told = robots.released(&workflow);
    assert_eq!((&told["status"], &told["document"]), (&json!("signed"), &json!(saga.id.to_string())));
    assert!(told["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{told}");
    let after = robots.run("edobridge_status", json!({"document": saga.id.to_string()}));
    assert_eq!(robots.released(&after)["status"], "signed");
    // The same file once more: it is signed already, the workflow learns that at once.
    let again = robots.run("edobridge_send", json!({"source": "drive", "file": file.to_string()}));
    assert_eq!(robots.released(&again)["status"], "signed");
    assert_eq!(robots.play.stage.world.documents().len(), 1);
}

#[test]
fn a_robot_sends_the_generated_document_of_its_deal_and_a_second_order_is_told_so() {
    let mut robots = Robots::start();
    let world = robots.play.stage.world.clone();
    world
        .generate_document_quietly(DEAL, 5, "Договор 9", pdf(9, 900), PdfPlan::After(0))
        .expect("the deal is there");
    let first = robots.run("edobridge_send", json!({"source": "generated"}));
    let saga = robots.play.until_decided(Step::AwaitSignature, Verdict::Nobody);
    let second = robots.run("edobridge_send", json!({"source": "generated"}));
    // The latest document is on its way already, and this workflow is told so.
    assert_eq!(robots.released(&second)["status"], "not_sent");
    assert!(robots.is_waiting(&first));
    robots.play.until_decided(Step::Refused, Verdict::Refuse);
    assert_eq!(robots.released(&first)["status"], "refused");
    assert_eq!(world.documents_of(&saga.external_id).len(), 1);
}

#[test]
fn a_workflow_that_does_not_wait_goes_on_as_soon_as_the_document_is_taken_up() {
    let mut robots = Robots::start();
    let file = robots.play.stage.world.add_file(robots.play.stage.folder, "приказ.pdf", pdf(10, 600));
    let properties = json!({"source": "drive", "file": file.expect("the folder is there"), "wait": "N"});
    let workflow = robots.run("edobridge_send", properties);
    assert_eq!(robots.released(&workflow)["status"], "accepted");
    robots.play.until(Step::Delivered);
    // Only one answer was ever given.
    let sent = robots.play.stage.world.ledger_of("bizproc.event.send");
    assert_eq!(sent.len(), 1);
}

#[test]
fn what_cannot_be_sent_is_told_to_the_workflow_and_never_hangs() {
    let robots = Robots::start();
    for properties in [
        json!({"source": "field", "file": "UF_CRM_NOWHERE"}),
        json!({"source": "drive", "file": "none"}),
        json!({"source": "generated"}),
    ] {
        let workflow = robots.run("edobridge_send", properties.clone());
        assert_eq!(robots.released(&workflow)["status"], "not_sent", "{properties}");
    }
    let unknown = robots.run("edobridge_status", json!({}));
    assert_eq!(robots.released(&unknown)["status"], "unknown");
    assert!(robots.play.stage.world.documents().is_empty());
}

#[test]
fn an_answer_of_unknown_outcome_releases_the_workflow_once_and_the_document_ends() {
    for kind in [FaultKind::CutAfter, FaultKind::CutBefore, FaultKind::Html(502), FaultKind::Truncated] {
        let mut robots = Robots::start();
        let world = robots.play.stage.world.clone();
        world.add_fault(Fault::first("bizproc.event.send", 1, kind.clone())).expect("there is room");
        let file = world.add_file(robots.play.stage.folder, "заявление.pdf", pdf(11, 600));
        let file = file.expect("the folder is there").to_string();
        let workflow = robots.run("edobridge_send", json!({"source": "drive", "file": file}));
        let saga = robots.play.until(Step::Delivered);
        assert_eq!(robots.released(&workflow)["status"], "signed", "{kind:?}");
        let history = robots.play.history(&saga);
        let answered =
            history.iter().filter(|what| what.starts_with("robot_answered") || *what == "robot_too_late");
        assert_eq!(answered.count(), 1, "{history:?}");
    }
}

#[test]
fn a_discarded_document_releases_its_workflow() {
    let mut robots = Robots::start();
    let world = robots.play.stage.world.clone();
    let file = world.add_file(robots.play.stage.folder, "спор.pdf", pdf(12, 600));
    let file = file.expect("the folder is there").to_string();
    let workflow = robots.run("edobridge_send", json!({"source": "drive", "file": file}));
    let saga = robots.play.until_decided(Step::AwaitSignature, Verdict::Nobody);
    let cancel = edobridge::saga::document::OperatorAction::Cancel { reason: "не нужен".into() };
    robots
        .play
        .service
        .ask(|engine| async move { engine.operate(saga.id, cancel).await })
        .expect("cancelled");
    robots.play.until_decided(Step::Cancelled, Verdict::Nobody);
    let told = robots.released(&workflow);
    assert_eq!(told["status"], "cancelled");
    assert!(told["reason"].as_str().is_some_and(|reason| reason.contains("не нужен")), "{told}");
}

#[test]
fn a_forged_robot_starts_nothing() {
    let robots = Robots::start();
    let spec = RobotSpec {
        code: "edobridge_send".into(),
        item: DEAL,
        properties: json!({"source": "generated"}),
        timeout_s: 0,
    };
    let (_, body) = robots.play.stage.world.robot_body(&robots.client_id, &spec).expect("registered");
    let at = body.find("application_token").expect("it carries one");
    let forged = format!("{}application_token]=forged", &body[..at]);
    let address = robots.play.stage.public;
    let text = format!(
        "POST /bitrix/robot/edobridge_send HTTP/1.1\r\nHost: {address}\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{forged}",
        forged.len()
    );
    let (status, _) = support::request(address, &text).expect("edobridge answers");
    assert!(matches!(status, 400 | 403), "{status}");
    assert!(robots.play.sagas().is_empty());
}
