//! A whole edobridge as an application of a portal, and what only an application meets: workflows that hang, the push
//! server, the offline queue by its event, generated documents, and the life of the installation itself.

mod support;

use edobridge::domain::{Clock, Timestamp};
use edobridge::saga::document::{DocumentSaga, Step};
use edobridge::sandbox::{
    AppSpec, Fault, FaultKind, FrameSpec, Mode, RobotSpec, SandboxOptions, WorkflowState,
};
use edobridge::store::DocumentFilter;
use edobridge::telemetry::SystemClock;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use support::{DEAL, InProcess, Setting, Stage, pdf, wait_for};

/// The administrator who installs, in the sandbox.
const INSTALLER: u64 = 1;

/// The outside world with an application that is reached by it alone.
struct AppStage {
    stage: Stage,
    spec: AppSpec,
}

impl AppStage {
    /// `rules` end the configuration, `portal` are further keys of the portal, `app` of the application.
    fn new(setting: &Setting, portal: &str, app: &str) -> Self {
        Self::of(AppSpec::local, setting, portal, app)
    }

    fn of(spec: fn(&url::Url) -> AppSpec, setting: &Setting, portal: &str, app: &str) -> Self {
        let options = SandboxOptions { mode: Mode::Explicit, ..SandboxOptions::default() };
        let stage = Stage::with_sandbox(setting, options);
        let spec = spec(&format!("http://{}/", stage.public).parse().expect("an address"));
        stage.world.register_app(spec.clone());
        let it = Self { stage, spec };
        it.write_config(portal, app);
        it
    }

    fn write_config(&self, portal: &str, app: &str) {
        let text = self.config();
        let way_in = |line: &&str| line.starts_with("webhook_url") || line.starts_with("application_tokens");
        let kept: Vec<&str> = text.lines().filter(|line| !way_in(line)).collect();
        let member = self.stage.world.member_id();
        let named = format!("id = \"main\"\napp = \"sign\"\nmember_id = \"{member}\"\n{portal}");
        let text = kept.join("\n").replacen("id = \"main\"", &named, 1);
        let end = format!(
            "\n[[apps]]\nid = \"sign\"\nkind = \"local\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n\
             oauth_hosts = [\"{}\"]\ndangerous_allow_http = true\n{app}\n",
            self.spec.client_id,
            self.spec.client_secret.expose(),
            self.stage.world.oauth_url()
        );
        std::fs::write(&self.stage.config_path, text + &end).expect("the configuration is written");
    }

    fn config(&self) -> String {
        std::fs::read_to_string(&self.stage.config_path).expect("the configuration is there")
    }

    /// The administrator installs the application, opens its page, and its bindings are made.
    fn install(&self) {
        let world = &self.stage.world;
        world.install_app(&self.spec.client_id).expect("it is registered");
        let page = block_on(world.open_frame(&self.spec.client_id, &FrameSpec::main_page()));
        assert_eq!(page.expect("it is installed").status, 200);
        self.wait_bound();
    }

    fn wait_bound(&self) {
        wait_for("the bindings", || {
            self.stage.world.apps().iter().any(|app| {
                let has = |name: &str| app.events.iter().any(|(event, _)| event == name);
                has("ONAPPUNINSTALL") && has("ONAPPMETHODCONFIRM")
            })
        });
    }

    fn run_robot(&self, properties: Value) -> String {
        let spec = RobotSpec { code: "edobridge_send".into(), item: DEAL, properties, timeout_s: 0 };
        self.stage.world.run_robot(&self.spec.client_id, &spec).expect("the robot is registered").workflow_id
    }

    fn state_of(&self, workflow: &str) -> WorkflowState {
        self.stage.world.workflow(workflow).expect("it was started").state
    }

    /// What the operator is told of the portal.
    fn shown(&self) -> Value {
        self.verb(&["portals", "show", "main", "--json"]).1
    }

    fn verb(&self, args: &[&str]) -> (Option<i32>, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_edobridge"))
            .args(args)
            .arg("--config")
            .arg(&self.stage.config_path)
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    fn metric(&self, name: &str) -> String {
        let (_, text) = support::get(self.stage.operator, "/metrics").expect("it answers");
        text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn sagas(service: &InProcess) -> Vec<DocumentSaga> {
    let page =
        service.ask(|engine| async move { engine.store().list(DocumentFilter::default(), None, 200).await });
    page.expect("the store can be read").items
}

fn wait_step(service: &InProcess, step: Step) -> DocumentSaga {
    let found = || sagas(service).into_iter().find(|saga| saga.step == step);
    wait_for(step.name(), || found().is_some());
    found().expect("just found")
}

/// A clock that a test puts forward.
#[derive(Default)]
struct LateClock(AtomicI64);

impl LateClock {
    fn skip(&self, ms: u64) {
        self.0.fetch_add(i64::try_from(ms).expect("not for ever"), Ordering::SeqCst);
    }
}

impl Clock for LateClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0.load(Ordering::SeqCst))
    }
}

// ---- workflows that hang -----------------------------------------------------------------------------------------

const ROBOT: &str = r#"
[[rules]]
id = "papers"
portal = "main"
route_id = "route-1"
trigger = { kind = "robot" }
deliver_to = "none"
comment_file = true
notify = []
notify_on = []
"#;

/// Looks for hanging workflows all the time, and suspects them at once.
const EAGER: &str = "workflow_check_interval = \"100ms\"\nworkflow_silent_after = \"0s\"";

fn with_robots() -> (AppStage, InProcess) {
    let setting = Setting { more: ROBOT.to_owned(), ..Setting::default() };
    let it = AppStage::new(&setting, EAGER, "");
    let service = InProcess::start(&it.stage);
    it.install();
    wait_for("the robots", || it.stage.world.apps().iter().any(|app| app.robots.len() == 2));
    (it, service)
}

impl AppStage {
    fn paper(&self, name: &str, seed: u64) -> Value {
        let file = self.stage.world.add_file(self.stage.folder, name, pdf(seed, 600)).expect("a new file");
        json!({"source": "drive", "file": file.to_string()})
    }

    fn looks(&self) -> usize {
        self.stage.world.ledger_of("bizproc.workflow.instances").len()
    }

    fn hanging(&self) -> Vec<String> {
        let shown = self.shown()["workflows"]["hanging"].as_array().cloned().unwrap_or_default();
        shown.iter().filter_map(|one| one["workflow_id"].as_str().map(str::to_owned)).collect()
    }
}

#[test]
fn a_workflow_whose_call_was_lost_is_told_once_and_shown_until_somebody_stops_it() {
    let (it, service) = with_robots();
    let world = &it.stage.world;
    // one that calls teaches which template has our robot; it waits for its document
    let heard = it.run_robot(it.paper("услышан.pdf", 1));
    wait_step(&service, Step::AwaitSignature);
    let looks = it.looks();
    wait_for("a look", || it.looks() > looks + 1);
    assert_eq!(world.notices(INSTALLER).len(), 0, "nothing hangs");
    world.add_fault(Fault::first("robot", 1, FaultKind::Refuse)).expect("there is room");
    let lost = it.run_robot(it.paper("потерян.pdf", 2));
    wait_for("the notice", || world.notices(INSTALLER).len() == 1);
    let notice = world.notices(INSTALLER)[0].text.clone();
    assert!(notice.contains(&lost) && !notice.contains(&heard), "{notice}");
    assert_eq!(it.hanging(), [lost.clone()]);
    assert_eq!(
        it.metric("edobridge_portal_hanging_workflows"),
        "edobridge_portal_hanging_workflows{portal=\"main\"} 1"
    );
    let (code, report) = it.verb(&["doctor", "--json"]);
    assert!(code == Some(1) && report.to_string().contains(&lost), "{report}");
    assert_eq!(it.state_of(&heard), WorkflowState::Waiting, "whose document is on its way is left alone");
    service.stop();

    // after a restart nobody is told again
    let told = world.ledger_of("im.notify.system.add").len();
    let service = InProcess::start(&it.stage);
    wait_for("it is known again", || it.hanging() == [lost.clone()]);
    let looks = it.looks();
    wait_for("a look", || it.looks() > looks + 1);
    assert_eq!(world.ledger_of("im.notify.system.add").len(), told);
    assert_eq!(world.ledger_of("bizproc.event.send").len(), 0, "nobody is answered by guessing");
    service.stop();
}

#[test]
fn a_workflow_that_waits_although_its_document_is_finished_is_released_once() {
    let (it, service) = with_robots();
    let world = &it.stage.world;
    // the portal refuses the answer for a reason of its own, and it is taken for "nobody waits any more"
    let denied = FaultKind::status(403, "ACCESS_DENIED");
    world.add_fault(Fault::first("bizproc.event.send", 1, denied)).expect("there is room");
    let workflow = it.run_robot(it.paper("готов.pdf", 3));
    let saga = wait_step(&service, Step::AwaitSignature);
    world.sign(&saga.provider_document.expect("it waits for one")).expect("it is there");
    wait_step(&service, Step::Delivered);
    wait_for("the release", || matches!(it.state_of(&workflow), WorkflowState::Released(_)));
    let WorkflowState::Released(values) = it.state_of(&workflow) else { panic!("just released") };
    assert_eq!((&values["status"], &values["document"]), (&json!("signed"), &json!(saga.id.to_string())));
    wait_for("the count", || it.metric("edobridge_portal_released_workflows_total").ends_with(" 1"));
    let looks = it.looks();
    wait_for("more looks", || it.looks() > looks + 1);
    assert_eq!(
        world.ledger_of("bizproc.event.send").len(),
        2,
        "answered once by the document, once by the watch"
    );
    assert_eq!(it.hanging(), Vec::<String>::new());
    service.stop();
}
