//! A whole edobridge as an application of a portal, and what only an application meets: workflows that hang, the push
//! server, the offline queue by its event, generated documents, and the life of the installation itself.

mod support;

use edobridge::actors::token_keeper::{TokenKeeper, Tokens};
use edobridge::domain::{
    AppId, Clock, Installation, InstallationKey, InstallationStatus, PortalId, Timestamp, TokenPair,
};
use edobridge::providers::bitrix24::TokenSource as _;
use edobridge::providers::bitrix24::credentials::BorrowedToken;
use edobridge::providers::bitrix24::credentials::Stale;
use edobridge::providers::bitrix24::oauth::{ClientKeys, OauthClient};
use edobridge::providers::bitrix24::registration::unbind_event;
use edobridge::providers::bitrix24::{AppAccess, Client};
use edobridge::providers::http_client::{HttpClient, HttpSettings};
use edobridge::providers::url_rules::Origin;
use edobridge::saga::document::{DocumentSaga, Step};
use edobridge::sandbox::{
    AppSpec, Clean, Fault, FaultKind, FrameSpec, Installed, Mode, PdfPlan, PushVersion, RobotSpec,
    SandboxOptions, WorkflowState,
};
use edobridge::store::DocumentFilter;
use edobridge::store::disk::{Disk, Host};
use edobridge::store::faults::{Fault as DiskFault, FaultAt, FaultyDisk};
use edobridge::store::{Installations, KeyPlace, SealKey, SealRing, Store, StoreOptions};
use edobridge::telemetry::Metrics;
use edobridge::telemetry::SystemClock;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use support::{Binary, DEAL, InProcess, Setting, Stage, pdf, wait_for};

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
        // there is no outgoing webhook: whatever comes, comes to the application
        stage.world.set_event_target(None);
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
    assert_eq!(it.hanging(), std::slice::from_ref(&lost));
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
    wait_for("it is known again", || it.hanging() == std::slice::from_ref(&lost));
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

// ---- the life of an installation ---------------------------------------------------------------------------------

const DAY_MS: u64 = 86_400_000;

fn statuses(service: &InProcess) -> Vec<InstallationStatus> {
    service
        .ask(|engine| async move { engine.installations().views().iter().map(|view| view.status).collect() })
}

fn notices(service: &InProcess) -> u64 {
    service.ask(|engine| async move { engine.store().counts().await.notices })
}

fn api_only() -> AppStage {
    AppStage::of(AppSpec::local_api_only, &Setting::default(), "", "")
}

/// How the portal's posts of `event` were answered.
fn answers(it: &AppStage, event: &str) -> Vec<Option<u16>> {
    let posts = it.stage.world.ledger_of("event").into_iter();
    posts.filter(|entry| entry.facts["event"] == event).map(|entry| entry.status).collect()
}

#[test]
fn an_installation_that_nobody_can_confirm_now_is_kept_over_a_restart_and_carried_out_later() {
    let it = api_only();
    let world = &it.stage.world;
    world.add_fault(Fault::always("oauth.app.info", FaultKind::status(503, "busy"))).expect("there is room");
    let service = InProcess::start(&it.stage);
    world.install_app(&it.spec.client_id).expect("it is registered");
    wait_for("the answer", || answers(&it, "ONAPPINSTALL") == [Some(200)]);
    assert_eq!(statuses(&service), [], "it is not believed yet");
    assert_eq!(notices(&service), 1, "it is kept");
    service.stop();
    let service = InProcess::start(&it.stage);
    world.clear_faults();
    service.engine.hint();
    it.wait_bound();
    assert_eq!(statuses(&service), [InstallationStatus::Active]);
    wait_for("the inbox to be empty", || notices(&service) == 0);
    service.stop();
}

#[test]
fn a_death_while_an_installation_is_being_confirmed_loses_nothing() {
    let it = api_only();
    let world = &it.stage.world;
    // held until we are dead
    world.add_fault(Fault::always("oauth.app.info", FaultKind::SlowBefore(120_000))).expect("there is room");
    let binary = Binary::start(&it.stage);
    world.install_app(&it.spec.client_id).expect("it is registered");
    wait_for("the question", || world.calls().contains_key("oauth.app.info"));
    binary.kill();
    world.clear_faults();
    let service = InProcess::start(&it.stage);
    it.wait_bound();
    wait_for("the inbox to be empty", || notices(&service) == 0);
    service.stop();
}

#[test]
fn a_claim_that_the_authorisation_server_denies_leaves_no_trace_in_the_inbox() {
    let it = api_only();
    let service = InProcess::start(&it.stage);
    let member = it.stage.world.member_id();
    let forged = format!(
        "event=ONAPPINSTALL&auth[member_id]={member}&auth[application_token]=mine-mine-mine&auth[access_token]=forged\
         &auth[refresh_token]=forged"
    );
    let text = format!(
        "POST /bitrix/webhook HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{forged}",
        it.stage.public,
        forged.len()
    );
    let (status, _) = support::request(it.stage.public, &text).expect("edobridge answers");
    assert_eq!(status, 403);
    assert_eq!((statuses(&service), notices(&service)), (Vec::new(), 0));
    service.stop();
}

#[test]
fn a_removed_application_is_remembered_for_seven_days_and_its_watches_end_at_once() {
    let setting = Setting { watched: true, ..Setting::default() };
    let it = AppStage::new(&setting, "", "");
    let clock = Arc::new(LateClock::default());
    let service = InProcess::start_at(&it.stage, clock.clone());
    it.install();
    let portal = || service.ask(|engine| async move { engine.portals().await.len() });
    it.stage.world.uninstall_app(&it.spec.client_id, Clean::Nothing).expect("it is installed");
    wait_for("the removal", || statuses(&service) == [InstallationStatus::Uninstalled]);
    // it comes back within the week, and everything goes on by itself
    it.install();
    wait_for("the return", || statuses(&service) == [InstallationStatus::Active]);
    it.stage.world.add_file(it.stage.folder, "снова.pdf", pdf(21, 900)).expect("a new file");
    wait_step(&service, Step::AwaitSignature);
    it.stage.world.uninstall_app(&it.spec.client_id, Clean::Nothing).expect("it is installed");
    wait_for("the second removal", || statuses(&service) == [InstallationStatus::Uninstalled]);
    clock.skip(7 * DAY_MS - 3_600_000);
    service.engine.hint();
    let saga = sagas(&service)[0].id;
    let waits = service.ask(|engine| async move { engine.store().load(saga).await });
    assert!(waits.expect("readable").is_some(), "its documents wait");
    assert_eq!((statuses(&service).len(), portal()), (1, 1), "an hour is missing");
    clock.skip(2 * 3_600_000);
    service.engine.hint();
    wait_for("the portal is forgotten", || statuses(&service).is_empty() && portal() == 0);
    service.stop();
}

#[test]
fn the_watches_of_a_removed_application_end_without_a_restart() {
    let setting = Setting { watched: true, ..Setting::default() };
    let it = AppStage::new(&setting, "", "");
    let mut binary = Binary::spawn(&it.stage, &[]);
    binary.wait_ready(it.stage.operator);
    it.install();
    let ended = || {
        let log = std::fs::read_to_string(&binary.log).expect("there is a log");
        log.lines().filter(|line| line.contains("a watch ends with the session")).count()
    };
    assert_eq!(ended(), 0);
    it.stage.world.uninstall_app(&it.spec.client_id, Clean::Nothing).expect("it is installed");
    // the folder's and the one for workflows is not there: no rule has a robot
    wait_for("the end of the watches", || ended() >= 1);
    let before = ended();
    it.install();
    it.stage.world.add_file(it.stage.folder, "после.pdf", pdf(22, 900)).expect("a new file");
    wait_for("the folder is watched again", || it.stage.world.documents().len() == 1);
    assert_eq!(ended(), before, "what runs now is meant");
    drop(binary);
}

#[test]
fn idle_tokens_are_renewed_well_inside_the_shortest_life_and_not_before() {
    let it = AppStage::new(&Setting::default(), "second_channel.mode = \"off\"", "keep_alive = \"14d\"");
    let clock = Arc::new(LateClock::default());
    let service = InProcess::start_at(&it.stage, clock.clone());
    it.install();
    let refreshed = || {
        let views = service.ask(|engine| async move { engine.installations().views() });
        views[0].refreshed_at
    };
    let installed = refreshed();
    clock.skip(13 * DAY_MS);
    service.engine.hint();
    assert_eq!(it.stage.world.refreshes(), 0, "no proactive renewal");
    clock.skip(2 * DAY_MS);
    service.engine.hint();
    wait_for("one renewal", || it.stage.world.refreshes() == 1);
    wait_for("it is on record", || refreshed() > installed);
    service.engine.hint();
    service.stop();
    assert_eq!(it.stage.world.refreshes(), 1, "one is enough");
}

#[test]
fn the_administrator_is_told_by_a_webhook_of_the_same_portal_that_tokens_are_lost() {
    let setting = Setting { watched: true, ..Setting::default() };
    let it = AppStage::new(&setting, "", "");
    let second = format!(
        "[[portals]]\nid = \"hook\"\nwebhook_url = \"{}\"\nmember_id = \"{}\"\nrate = \"box\"\n\
         owner_check_interval = \"0s\"\ndangerous_allow_http = true\n[easydocs]\n",
        it.stage.sandbox.webhook_url(),
        it.stage.world.member_id()
    );
    let text = it.config().replacen("[easydocs]\n", &second, 1);
    std::fs::write(&it.stage.config_path, text).expect("the configuration is written");
    let service = InProcess::start(&it.stage);
    it.install();
    it.stage.world.expire_tokens();
    it.stage.world.expire_refresh_tokens();
    wait_for("the access is lost", || statuses(&service) == [InstallationStatus::NeedsAuthorisation]);
    service.engine.hint();
    let told = || it.stage.world.notices(INSTALLER);
    wait_for("the notice", || told().len() == 1);
    assert!(told()[0].text.contains("Администратор"), "{}", told()[0].text);
    // health says it too, and the documents wait
    let (_, health) = support::get(it.stage.operator, "/health/ready").expect("it answers");
    assert!(health.contains("Администратор") || health.contains("администратор"), "{health}");
    service.stop();
}

#[test]
fn what_was_bound_to_a_former_address_is_taken_away() {
    let it = AppStage::new(&Setting::default(), "", "");
    let base = format!("base_url = \"http://{}/\"", it.stage.public);
    let text = it.config();
    assert!(text.contains(&base));
    std::fs::write(&it.stage.config_path, text.replace(&base, &base.replace("/\"", "/former/\"")))
        .expect("written");
    let service = InProcess::start(&it.stage);
    it.install();
    service.stop();
    let handlers = || {
        let apps = it.stage.world.apps();
        apps.into_iter().flat_map(|app| app.events).map(|(_, handler)| handler).collect::<Vec<String>>()
    };
    assert!(handlers().iter().all(|handler| handler.contains("/former/bitrix/webhook")), "{:?}", handlers());
    let count = handlers().len();
    std::fs::write(&it.stage.config_path, text).expect("written");
    let service = InProcess::start(&it.stage);
    wait_for("only the present address is bound", || {
        let handlers = handlers();
        handlers.len() == count && !handlers.iter().any(|handler| handler.contains("/former/"))
    });
    service.stop();
}

#[test]
fn whatever_happens_to_an_unbinding_only_the_present_address_stays_bound() {
    let kinds = [
        FaultKind::Refuse,
        FaultKind::CutBefore,
        FaultKind::CutAfter,
        FaultKind::Truncated,
        FaultKind::EmptyBody,
        FaultKind::Html(502),
        FaultKind::HtmlAfter(200),
        FaultKind::status(500, "INTERNAL_SERVER_ERROR"),
        FaultKind::status_after(500, "INTERNAL_SERVER_ERROR"),
        FaultKind::status(503, "QUERY_LIMIT_EXCEEDED"),
    ];
    std::thread::scope(|scope| {
        for kinds in kinds.chunks(2) {
            scope.spawn(|| kinds.iter().for_each(an_unbinding_meets));
        }
    });
}

fn an_unbinding_meets(kind: &FaultKind) {
    let it = AppStage::new(&Setting::default(), "", "");
    let base = format!("base_url = \"http://{}/\"", it.stage.public);
    let text = it.config().replace("rate = \"box\"", "rate = \"box\"\nquery_limit_pause = \"300ms\"");
    std::fs::write(&it.stage.config_path, text.replace(&base, &base.replace("/\"", "/former/\"")))
        .expect("written");
    let service = InProcess::start(&it.stage);
    it.install();
    service.stop();
    let handlers = || {
        let apps = it.stage.world.apps();
        apps.into_iter().flat_map(|app| app.events).map(|(_, handler)| handler).collect::<Vec<String>>()
    };
    let count = handlers().len();
    assert!(count > 0 && handlers().iter().all(|handler| handler.contains("/former/")), "{kind:?}");
    std::fs::write(&it.stage.config_path, &text).expect("written");
    it.stage.world.add_fault(Fault::nth("event.unbind", 1, kind.clone())).expect("the fault is set");
    let service = InProcess::start(&it.stage);
    let present = || handlers().iter().filter(|handler| !handler.contains("/former/")).count();
    wait_for("the present address is bound", || present() == count);
    let calls = || it.stage.world.calls().get("event.unbind").copied().unwrap_or(0);
    wait_for("the former one is being taken away", || calls() > 0);
    service.stop();
    // What one start leaves, the next one finds.
    let service = InProcess::start(&it.stage);
    wait_for("only the present address is bound", || present() == count && handlers().len() == count);
    service.stop();
}

/// An installation on record with the tokens of `installed`, and who keeps them.
fn keeper_of(
    it: &AppStage,
    installed: &Installed,
    records: Installations,
) -> (Arc<TokenKeeper>, Installation) {
    let world = &it.stage.world;
    let origin = |url: url::Url| Origin::parse(url.as_str()).expect("an origin");
    let (portal, oauth) = (origin(world.bitrix_url()), origin(world.oauth_url()));
    let installation = Installation {
        key: InstallationKey {
            app: AppId("sign".into()),
            member_id: installed.member_id.parse().expect("a member_id"),
        },
        portal: PortalId("main".into()),
        origin: portal.to_string(),
        oauth_origin: oauth.to_string(),
        scopes: Vec::new(),
        user_id: INSTALLER,
        status: InstallationStatus::Active,
        plan: "L".into(),
        version: 1,
        installed_at: Timestamp(0),
        updated_at: Timestamp(0),
        uninstalled_at: None,
        refreshed_at: Timestamp(0),
        refresh_began_at: None,
        tokens: Some(TokenPair {
            access: installed.access_token.clone(),
            refresh: installed.refresh_token.clone(),
            expires_at: Timestamp(0),
        }),
        application_tokens: Vec::new(),
    };
    let keys =
        ClientKeys { client_id: it.spec.client_id.clone(), client_secret: it.spec.client_secret.clone() };
    let http = HttpClient::new(&HttpSettings::default()).expect("a client");
    let oauth = OauthClient::new(http, keys, vec![oauth]);
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
    (TokenKeeper::new(oauth, records, clock, metrics, installation.clone()), installation)
}

#[test]
fn a_rename_while_a_new_pair_waits_for_the_disk_keeps_both() {
    let it = AppStage::new(&Setting::default(), "", "");
    let world = &it.stage.world;
    let installed = world.install_app(&it.spec.client_id).expect("it is registered");
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Arc::new(FaultyDisk::default());
    let host = Host { disk: Disk::hooked(faults.clone()), boot_id: Some("boot".into()) };
    let options = StoreOptions::new(dir.path().join("store"));
    let (store, _) = Store::open_on(options, host, &mut |_| {}).expect("it opens");
    let ring = SealRing::new(SealKey::generate(), Vec::new());
    let records = Installations::new(store, ring, KeyPlace::Configured);
    let (keeper, installation) = keeper_of(&it, &installed, records.clone());
    // held, so that the disk fails after the mark of the renewal and before its answer
    world.add_fault(Fault::always("oauth.token", FaultKind::SlowBefore(1_000))).expect("there is room");
    block_on(async {
        records.put(&installation).await.expect("the store takes it");
        let tokens = Tokens(keeper.clone());
        let renewal = tokens.instead_of(&installed.access_token, Stale::Expired);
        let failing_disk = async {
            while !world.calls().contains_key("oauth.token") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            faults.plan(DiskFault::always(FaultAt::Write, "", 28));
        };
        let (renewed, ()) = tokio::join!(renewal, failing_disk);
        assert!(renewed.is_err(), "a pair that is not on disk is not used");
        faults.clear();
        let until = std::time::Instant::now() + support::PATIENCE;
        while keeper.change(|it| it.origin = "https://renamed.example".into()).await.is_err() {
            assert!(std::time::Instant::now() < until, "the store does not recover");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let access = tokens.access().await.expect("the pair that waited is stored and used");
        assert!(access != installed.access_token);
        let kept = records.get(&installation.key).await.expect("readable").expect("it is there");
        assert_eq!(kept.origin, "https://renamed.example");
        assert!(kept.tokens.is_some_and(|pair| pair.access == access));
    });
    assert_eq!(world.refreshes(), 1, "the server was asked once");
}

// ---- second channels ---------------------------------------------------------------------------------------------

const DEALS: &str = r#"
[[rules]]
id = "deals"
portal = "main"
route_id = "route-2"
trigger = { kind = "deal_stage", stages = ["C1:SIGN"], file_field = "UF_CRM_CONTRACT" }
deliver_to = "none"
comment_file = true
notify = []
notify_on = []
"#;

const GENERATED: &str = r#"
[[rules]]
id = "papers"
portal = "main"
route_id = "route-2"
trigger = { kind = "generated_document" }
deliver_to = "none"
comment_file = true
notify = []
notify_on = []
"#;

impl AppStage {
    /// The portal posts no change of a deal to us any more; the offline queue has them all the same.
    fn silence_deals(&self) {
        wait_for("the bindings", || {
            self.stage.world.apps().iter().any(|app| {
                ["ONCRMDEALUPDATE", "ONOFFLINEEVENT"]
                    .iter()
                    .all(|name| app.events.iter().any(|(e, _)| e == name))
                    && app.offline_events.iter().any(|(e, _)| e == "ONCRMDEALUPDATE")
            })
        });
        let world = &self.stage.world;
        let (access, _) = world.grant_tokens(&self.spec.client_id, INSTALLER);
        let http = HttpClient::new(&HttpSettings::default()).expect("a client");
        let portal = Origin::parse(world.bitrix_url().as_str()).expect("an origin");
        let access = AppAccess { tokens: Arc::new(BorrowedToken(access)), auth_connector: None };
        let client = Client::of_app(http, portal, access);
        let handler = format!("http://{}/bitrix/webhook", self.stage.public);
        block_on(unbind_event(&client, "ONCRMDEALUPDATE", &handler)).expect("it was bound");
    }

    fn move_the_deal(&self, name: &str, seed: u64) {
        let world = &self.stage.world;
        world.put_item_file(DEAL, "ufCrmContract", name, pdf(seed, 900)).expect("the deal is there");
        world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    }

    fn queue_reads(&self) -> usize {
        self.stage.world.ledger_of("event.offline.get").len()
    }
}

fn with_a_queue(more: &str) -> (AppStage, InProcess) {
    let setting = Setting { more: DEALS.to_owned(), ..Setting::default() };
    // nothing but the bell can have the queue read within a test
    let channel = format!("second_channel = {{ offline_interval = \"1h\", sweep_interval = \"1h\"{more} }}");
    let it = AppStage::new(&setting, &channel, "");
    let service = InProcess::start(&it.stage);
    it.install();
    it.silence_deals();
    wait_for("the queue was read at the start", || it.queue_reads() >= 1);
    (it, service)
}

#[test]
fn a_row_of_the_offline_queue_is_told_by_its_event_and_read_at_once() {
    let (it, service) = with_a_queue("");
    it.move_the_deal("очередь.pdf", 31);
    let saga = wait_step(&service, Step::AwaitSignature);
    assert_eq!(saga.crm_item, Some(DEAL));
    assert_eq!(answers(&it, "ONCRMDEALUPDATE"), [], "nobody posted the change itself");
    assert!(answers(&it, "ONOFFLINEEVENT").contains(&Some(200)));
    wait_for("the queue is empty", || it.stage.world.offline_rows().is_empty());
    service.stop();
}

#[test]
fn a_box_without_an_inbound_address_is_woken_by_the_push_server() {
    for version in [PushVersion::CloudV5, PushVersion::BoxV4, PushVersion::BoxV3] {
        let setting = Setting { more: DEALS.to_owned(), ..Setting::default() };
        let channel =
            "second_channel = { offline_interval = \"1h\", sweep_interval = \"1h\", push = \"on\" }";
        let it = AppStage::new(&setting, channel, "");
        let world = &it.stage.world;
        world.set_push(version, Duration::from_secs(20));
        let service = InProcess::start(&it.stage);
        it.install();
        it.silence_deals();
        wait_for("somebody listens", || !world.ledger_of("pull.application.config.get").is_empty());
        wait_for("the queue was read at the start", || it.queue_reads() >= 1);
        // from now on nothing comes in
        world.add_fault(Fault::always("event", FaultKind::Refuse)).expect("there is room");
        it.move_the_deal("коробка.pdf", 32);
        wait_for("a row", || !world.offline_rows().is_empty());
        world.push_message(&it.spec.client_id, "wake", json!({}));
        wait_step(&service, Step::AwaitSignature);
        wait_for("the queue is empty", || world.offline_rows().is_empty());
        service.stop();
    }
}

#[test]
fn a_generated_document_is_told_to_the_application_and_its_late_pdf_is_waited_for() {
    let setting = Setting { more: GENERATED.to_owned(), ..Setting::default() };
    let it = AppStage::new(&setting, "", "");
    let text = it.config().replace("[retry]\n", "[retry]\npdf_pause = \"1s\"\npdf_wait = \"1h\"\n");
    std::fs::write(&it.stage.config_path, text).expect("the configuration is written");
    let service = InProcess::start(&it.stage);
    it.install();
    let world = &it.stage.world;
    wait_for("the binding", || {
        let apps = world.apps();
        apps.iter().any(|app| app.events.iter().any(|(name, _)| name == "ONCRMDOCUMENTGENERATORDOCUMENTADD"))
    });
    world
        .generate_document(DEAL, 5, "Договор 31", pdf(33, 900), PdfPlan::After(1_200))
        .expect("the deal is there");
    let saga = wait_step(&service, Step::AwaitSignature);
    assert_eq!(saga.crm_item, Some(DEAL));
    assert_eq!(answers(&it, "ONCRMDOCUMENTGENERATORDOCUMENTADD"), [Some(200)]);
    assert_eq!(world.documents()[0].file_name, "Договор 31.pdf");
    service.stop();
}

// ---- one call within a batch -------------------------------------------------------------------------------------

#[test]
fn a_refusal_within_a_batch_is_for_good_for_its_own_document_and_for_no_other() {
    let stage = Stage::with_sandbox(
        &Setting::default(),
        SandboxOptions { mode: Mode::Explicit, ..SandboxOptions::default() },
    );
    let text = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
    let text = text.replace("rate = \"box\"", "rate = \"box\"\nbatch_gather = \"300ms\"");
    std::fs::write(&stage.config_path, text).expect("it can be written");
    let (denied, strange) = (FaultKind::status(403, "ACCESS_DENIED"), FaultKind::status(400, "BRAND_NEW"));
    stage.world.add_fault(Fault::nth("disk.file.get", 2, denied)).expect("there is room");
    // a code that nobody has ever named: a read is simply repeated
    stage.world.add_fault(Fault::nth("disk.file.get", 3, strange)).expect("there is room");
    for n in 0..6 {
        stage.world.add_file(stage.folder, &format!("пачка-{n}.pdf"), pdf(40 + n, 700)).expect("a new file");
    }
    let service = InProcess::start(&stage);
    for file in stage.world.files(stage.folder) {
        stage.world.fire_file_added(file.id);
    }
    let in_step = |step| sagas(&service).iter().filter(|saga| saga.step == step).count();
    wait_for("five go on", || in_step(Step::AwaitSignature) == 5);
    wait_for("one stops", || in_step(Step::Parked) == 1);
    let parked = wait_step(&service, Step::Parked).dead_letter.expect("it is parked");
    assert_eq!(parked.code, "access_denied");
    assert!(!stage.world.ledger_of("batch").is_empty(), "they shared requests");
    service.stop();
}
