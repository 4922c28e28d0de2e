//! A whole edobridge as an application of a portal: installed, with tokens that end, updated, removed, forged.

mod support;

use edobridge::actors::token_keeper::{TokenKeeper, Tokens};
use edobridge::domain::{
    AppId, Installation, InstallationKey, InstallationStatus, PortalId, Secret, Timestamp, TokenPair,
};
use edobridge::providers::bitrix24::oauth::{ClientKeys, OauthClient};
use edobridge::providers::bitrix24::{AppAccess, Call, Client};
use edobridge::providers::http_client::{HttpClient, HttpSettings};
use edobridge::providers::url_rules::Origin;
use edobridge::sandbox::{
    AppSpec, Clean, Fault, FaultKind, FrameAnswer, FrameSpec, Installed, Mode, NewToken, SandboxOptions,
};
use edobridge::store::{Installations, KeyPlace, SealKey, SealRing, Store, StoreOptions};
use edobridge::telemetry::{Metrics, SystemClock};
use serde_json::{Value, json};
use std::future::Future;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Binary, InProcess, Setting, Stage, pdf, request, wait_for};

/// The name of the application in the configuration of these tests.
const APP: &str = "sign";

/// The outside world with an application, and an edobridge that is reached by it alone.
struct AppStage {
    stage: Stage,
    spec: AppSpec,
}

impl AppStage {
    fn new() -> Self {
        Self::of(AppSpec::local)
    }

    fn of(spec: fn(&url::Url) -> AppSpec) -> Self {
        let setting = Setting { watched: true, ..Setting::default() };
        let options = SandboxOptions { mode: Mode::Explicit, ..SandboxOptions::default() };
        let stage = Stage::with_sandbox(&setting, options);
        let spec = spec(&format!("http://{}/", stage.public).parse().expect("an address"));
        stage.world.register_app(spec.clone());
        let it = Self { stage, spec };
        it.write_config("[log]\nformat = \"json\"\nfilter = \"debug\"");
        it
    }

    /// The configuration of the stage with the application in the place of the webhook.
    fn write_config(&self, log: &str) {
        let path = &self.stage.config_path;
        let text = std::fs::read_to_string(path).expect("the configuration is there");
        let way_in = |line: &str| line.starts_with("webhook_url") || line.starts_with("application_tokens");
        let kept: Vec<&str> = text.lines().filter(|line| !way_in(line)).collect();
        let (oauth, member) = (self.stage.world.oauth_url(), self.stage.world.member_id());
        let text = kept
            .join("\n")
            .replace("id = \"main\"", &format!("id = \"main\"\napp = \"{APP}\"\nmember_id = \"{member}\""))
            .replace("[log]\nformat = \"json\"\nfilter = \"info\"", log);
        let app = format!(
            "\n[[apps]]\nid = \"{APP}\"\nkind = \"local\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n\
             oauth_hosts = [\"{oauth}\"]\ndangerous_allow_http = true\n",
            self.spec.client_id,
            self.spec.client_secret.expose()
        );
        std::fs::write(path, text + &app).expect("the configuration is written");
    }

    fn client_id(&self) -> &str {
        &self.spec.client_id
    }

    /// The administrator installs the application and opens its page.
    fn install(&self) -> Installed {
        let installed = self.stage.world.install_app(self.client_id()).expect("it is registered");
        let page = self.open(&FrameSpec::main_page());
        assert_eq!(page.status, 200, "{}", page.body);
        assert!(page.body.contains("BX24.installFinish"), "{}", page.body);
        installed
    }

    fn open(&self, spec: &FrameSpec) -> FrameAnswer {
        block_on(self.stage.world.open_frame(self.client_id(), spec)).expect("it is installed")
    }

    /// The events that the portal has bound for us.
    fn events(&self) -> Vec<String> {
        let apps = self.stage.world.apps();
        apps.into_iter().flat_map(|app| app.events).map(|(name, _)| name).collect()
    }

    fn wait_bound(&self) {
        wait_for("the bindings", || {
            let events = self.events();
            ["ONAPPUNINSTALL", "ONAPPUPDATE", "ONAPPPAYMENT"]
                .iter()
                .all(|one| events.iter().any(|e| e == one))
        });
    }

    /// A document is found, signed and delivered.
    fn one_document(&self, name: &str, seed: u64) {
        self.stage.drop_file(name, pdf(seed, 3_000));
        self.wait_signed(name);
    }

    fn wait_signed(&self, name: &str) {
        let world = &self.stage.world;
        let document = || world.documents().into_iter().find(|document| document.file_name == name);
        wait_for("the document", || document().is_some());
        let id = document().expect("it was there").id;
        world.sign(&id).expect("it is there");
        let copy = name.replace(".pdf", "_signed.pdf");
        wait_for("the signed copy", || self.stage.signed_copies().iter().any(|file| file.name == copy));
    }

    /// What `portals show` says of the installation.
    fn shown(&self) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_edobridge"))
            .args(["portals", "show", "main", "--json", "--config"])
            .arg(&self.stage.config_path)
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()["installation"].clone()
    }

    fn post(&self, path: &str, body: &str) -> (u16, String) {
        let host = self.stage.public;
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        );
        request(host, &text).expect("edobridge answers")
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn status_of(service: &InProcess) -> Option<InstallationStatus> {
    service.ask(|engine| async move { engine.installations().views().first().map(|view| view.status) })
}

#[test]
fn a_document_is_signed_at_a_portal_that_has_installed_the_application() {
    let it = AppStage::new();
    let service = InProcess::start(&it.stage);
    it.install();
    it.wait_bound();
    it.one_document("contract.pdf", 1);
    let world = &it.stage.world;
    wait_for("the notice", || world.notices(it.stage.user).len() == 1);
    assert_eq!(world.refreshes(), 0, "tokens are not renewed before they are refused");
    let page = it.open(&FrameSpec::main_page());
    assert!(page.status == 200 && page.body.contains("contract"), "{}", page.body);
    let policy = &page.headers["content-security-policy"];
    let portal = world.bitrix_url();
    assert!(
        policy.contains(&format!("frame-ancestors {}", portal.as_str().trim_end_matches('/'))),
        "{policy}"
    );
    assert!(!page.headers.contains_key("x-frame-options"), "{:?}", page.headers);
    service.stop();
}

#[test]
fn an_application_without_pages_is_installed_by_its_event() {
    let it = AppStage::of(AppSpec::local_api_only);
    let service = InProcess::start(&it.stage);
    it.stage.world.install_app(it.client_id()).expect("it is registered");
    it.wait_bound();
    it.one_document("api.pdf", 1);
    service.stop();
}

#[test]
fn a_hundred_calls_that_meet_an_expired_token_cause_one_renewal() {
    let it = AppStage::new();
    let installed = it.stage.world.install_app(it.client_id()).expect("it is registered");
    let dir = tempfile::tempdir().expect("a directory");
    let (store, _) = Store::open(StoreOptions::new(dir.path().join("store")), &mut |_| {}).expect("it opens");
    let ring = SealRing::new(SealKey::generate(), Vec::new());
    let records = Installations::new(store, ring, KeyPlace::Configured);
    it.stage.world.expire_tokens();
    let (outcomes, kept) = block_on(hundred_calls(&it, &installed, records));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 100, "{outcomes:?}");
    assert_eq!(it.stage.world.refreshes(), 1);
    let uses = it.stage.world.token_uses();
    let old = uses.get(installed.access_token.expose()).copied().unwrap_or_default();
    let new: u64 = uses.iter().filter(|(t, _)| *t != installed.access_token.expose()).map(|(_, n)| n).sum();
    assert_eq!((new, old), (100, 100), "each call was refused once and repeated once");
    let pair = kept.expect("the new pair is on disk");
    assert!(uses.contains_key(pair.access.expose()));
}

/// A hundred calls at once with the tokens of `installed`; what became of them, and the pair that is on disk.
async fn hundred_calls(
    it: &AppStage,
    installed: &Installed,
    records: Installations,
) -> (Vec<Result<Value, edobridge::domain::Failure>>, Option<TokenPair>) {
    let world = &it.stage.world;
    let (portal, oauth) =
        (Origin::parse(world.bitrix_url().as_str()), Origin::parse(world.oauth_url().as_str()));
    let (portal, oauth) = (portal.expect("an origin"), oauth.expect("an origin"));
    let key = InstallationKey {
        app: AppId(APP.into()),
        member_id: installed.member_id.parse().expect("a member_id"),
    };
    let installation = Installation {
        key: key.clone(),
        portal: PortalId("main".into()),
        origin: portal.to_string(),
        oauth_origin: oauth.to_string(),
        scopes: Vec::new(),
        user_id: 1,
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
    records.put(&installation).await.expect("the store takes it");
    let http = HttpClient::new(&HttpSettings::default()).expect("a client");
    let keys =
        ClientKeys { client_id: it.spec.client_id.clone(), client_secret: it.spec.client_secret.clone() };
    let oauth = OauthClient::new(http.clone(), keys, vec![oauth]);
    let metrics = Arc::new(Metrics::new());
    let keeper = TokenKeeper::new(oauth, records.clone(), Arc::new(SystemClock), metrics, installation);
    let access = AppAccess { tokens: Arc::new(Tokens(keeper)), auth_connector: None };
    let client = Client::of_app(http, portal, access);
    let call = [Call::new("profile", json!({}))];
    let calls = (0..100).map(|_| client.execute(&call));
    let outcomes = futures_util::future::join_all(calls).await;
    let kept = records.get(&key).await.expect("the store answers").and_then(|it| it.tokens);
    (outcomes.into_iter().map(|mut executed| executed.results.remove(0)).collect(), kept)
}

/// Starts the binary so that it dies at a named place of its first renewal, and lets it come there.
fn die_while_renewing(it: &AppStage, place: &str) {
    let mut binary = Binary::spawn(&it.stage, &[(place, "1".to_owned())]);
    binary.wait_ready(it.stage.operator);
    it.install();
    it.wait_bound();
    it.stage.world.expire_tokens();
    let until = Instant::now() + support::PATIENCE;
    // the folder is polled every second, so a renewal comes by itself
    while binary.child.try_wait().expect("it can be asked").is_none() {
        assert!(Instant::now() < until, "it did not die:\n{}", binary.log_tail());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(it.stage.world.refreshes(), 1);
}

#[test]
fn a_death_between_the_storing_and_the_use_of_new_tokens_costs_nothing() {
    let it = AppStage::new();
    die_while_renewing(&it, "EDOBRIDGE_TEST_CRASH_AFTER_TOKENS_STORED");
    let binary = Binary::start(&it.stage);
    it.one_document("after.pdf", 1);
    assert_eq!(it.stage.world.refreshes(), 1, "the stored pair is used as it is");
    drop(binary);
}

#[test]
fn a_death_before_the_new_tokens_are_stored_makes_documents_wait_for_the_administrator() {
    let it = AppStage::new();
    die_while_renewing(&it, "EDOBRIDGE_TEST_CRASH_AFTER_TOKENS_RECEIVED");
    let binary = Binary::start(&it.stage);
    let sent = Command::new(env!("CARGO_BIN_EXE_edobridge"))
        .args(["documents", "send", "--portal", "main", "--file"])
        .arg(it.stage.drop_file("waits.pdf", pdf(1, 900)).to_string())
        .args(["--config"])
        .arg(&it.stage.config_path)
        .output()
        .expect("the binary starts");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    wait_for("the old pair to be refused", || it.shown()["status"] == "needs_authorisation");
    let advice = it.shown()["advice"]["ru"].as_str().unwrap_or_default().to_owned();
    assert!(advice.contains("потерян") && advice.contains("Администратор"), "{advice}");
    let (_, health) = support::get(it.stage.operator, "/health/ready").expect("it answers");
    assert!(health.contains("администратор") || health.contains("Администратор"), "{health}");
    let refreshes = it.stage.world.ledger_of("oauth.token").len();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(it.stage.world.ledger_of("oauth.token").len(), refreshes, "nobody asks again and again");
    // an administrator opens the page, and what waited goes on
    assert_eq!(it.open(&FrameSpec::main_page()).status, 200);
    wait_for("the installation to be healed", || it.shown()["status"] == "active");
    it.wait_signed("waits.pdf");
    drop(binary);
}

#[test]
fn an_employee_can_neither_install_nor_put_a_token_of_their_own_into_the_records() {
    let it = AppStage::new();
    let service = InProcess::start(&it.stage);
    let world = &it.stage.world;
    world.install_app(it.client_id()).expect("it is registered");
    let employee = FrameSpec { user_id: it.stage.user, ..FrameSpec::main_page() };
    let page = it.open(&employee);
    assert_eq!(page.status, 403, "{}", page.body);
    assert_eq!(status_of(&service), None);
    // an event with their own valid access token and a proof of their choice
    let (access, refresh) = world.grant_tokens(it.client_id(), it.stage.user);
    let member = world.member_id();
    let forged = format!(
        "event=ONAPPINSTALL&auth[member_id]={member}&auth[application_token]=mine-mine-mine&auth[access_token]={}&auth[refresh_token]={}",
        access.expose(),
        refresh.expose()
    );
    assert_eq!(it.post("/bitrix/install", &forged).0, 403);
    assert_eq!(it.post("/bitrix/webhook", &forged).0, 403);
    assert_eq!(status_of(&service), None);
    service.stop();
}

#[test]
fn a_forged_removal_leaves_no_trace_and_a_true_one_makes_work_wait() {
    let it = AppStage::new();
    let service = InProcess::start(&it.stage);
    it.install();
    it.wait_bound();
    wait_for("the bindings are on record", || {
        let views = service.ask(|engine| async move { engine.installations().views() });
        views.iter().all(|view| !view.bindings.is_empty())
    });
    let before = service.ask(|engine| async move { engine.installations().views() });
    let member = it.stage.world.member_id();
    for proof in ["", "forged-token-0123456789", "null"] {
        let body = format!("event=ONAPPUNINSTALL&auth[member_id]={member}&auth[application_token]={proof}");
        let (status, _) = it.post("/bitrix/webhook", &body);
        assert_eq!(status, 403, "{proof}");
    }
    assert_eq!(service.ask(|engine| async move { engine.installations().views() }), before);
    it.stage.world.uninstall_app(it.client_id(), Clean::Nothing).expect("it is installed");
    wait_for("the removal", || status_of(&service) == Some(InstallationStatus::Uninstalled));
    // installed again, it goes on
    it.install();
    wait_for("the return", || status_of(&service) == Some(InstallationStatus::Active));
    it.one_document("again.pdf", 1);
    service.stop();
}

#[test]
fn an_update_with_a_new_application_token_binds_everything_again() {
    let it = AppStage::of(AppSpec::local_api_only);
    let service = InProcess::start(&it.stage);
    it.stage.world.install_app(it.client_id()).expect("it is registered");
    it.wait_bound();
    it.stage.world.update_app(it.client_id(), NewToken::Fresh).expect("it is installed");
    it.wait_bound();
    it.stage.world.uninstall_app(it.client_id(), Clean::Everything).expect("it is installed");
    wait_for("the removal, proven by the new token", || {
        status_of(&service) == Some(InstallationStatus::Uninstalled)
    });
    service.stop();
}

#[test]
fn an_authorisation_server_that_gives_no_answer_makes_work_wait_and_not_die() {
    let it = AppStage::new();
    let service = InProcess::start(&it.stage);
    it.install();
    it.wait_bound();
    let down = FaultKind::status(503, "SERVICE_UNAVAILABLE");
    it.stage.world.add_fault(Fault::always("oauth.token", down)).expect("room for a fault");
    it.stage.world.expire_tokens();
    it.stage.drop_file("late.pdf", pdf(3, 900));
    wait_for("some tries", || it.stage.world.ledger_of("oauth.token").len() >= 2);
    assert_eq!(status_of(&service), Some(InstallationStatus::Active), "an outage is no refusal");
    it.stage.world.clear_faults();
    it.wait_signed("late.pdf");
    assert_eq!(it.stage.world.refreshes(), 1);
    service.stop();
}

#[test]
fn a_full_authorisation_needs_a_state_of_ours_and_works_once() {
    let it = AppStage::of(AppSpec::local_api_only);
    let service = InProcess::start(&it.stage);
    let world = &it.stage.world;
    let (portal, client) = (world.bitrix_url().to_string(), it.client_id().to_owned());
    world.install_app(&client).expect("it is registered");
    let url = service.ask(|engine| async move { engine.installations().authorize_url(APP, &portal) });
    let url: url::Url = url.expect("it is configured").parse().expect("an address");
    let state = url.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned();
    let back = |state: &str| {
        let there = world.authorize_url(&client, state);
        let target = format!("{}?{}", there.path(), there.query().unwrap_or_default());
        let host = format!("{}:{}", there.host_str().unwrap_or_default(), there.port().unwrap_or_default());
        let address = host.parse().expect("an address");
        let asked = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        location(address, &asked)
    };
    let get = |url: &url::Url| {
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        support::get(it.stage.public, &target).expect("edobridge answers").0
    };
    let forged = back("a-state-of-a-stranger");
    assert_eq!(get(&forged), 403);
    let good = back(&state);
    assert_eq!(get(&good), 200);
    assert_eq!(get(&good), 403, "the state was used");
    assert_eq!(status_of(&service), Some(InstallationStatus::Active));
    service.stop();
}

/// Where a redirect leads.
fn location(address: std::net::SocketAddr, text: &str) -> url::Url {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("the sandbox listens");
    stream.write_all(text.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let line = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("location").then_some(value)
    });
    line.unwrap_or_else(|| panic!("no redirect: {answer}")).trim().parse().expect("an address")
}

#[test]
fn no_log_and_no_file_holds_a_token() {
    let it = AppStage::new();
    let mut binary = Binary::spawn(&it.stage, &[]);
    binary.wait_ready(it.stage.operator);
    let installed = it.install();
    it.wait_bound();
    it.stage.world.expire_tokens();
    it.one_document("quiet.pdf", 1);
    let used: Vec<String> = it.stage.world.token_uses().into_keys().collect();
    assert!(used.len() >= 2, "the installed token and its successor were used");
    let secrets: Vec<Secret> = used
        .into_iter()
        .map(Secret::new)
        .chain([installed.application_token, installed.refresh_token, it.spec.client_secret.clone()])
        .collect();
    let log = std::fs::read_to_string(&binary.log).expect("there is a log");
    assert!(log.contains("the tokens were renewed"), "the log is that of this run");
    binary.kill();
    for secret in &secrets {
        assert!(!log.contains(secret.expose()), "a secret is in the log");
        assert!(!holds(&it.stage.data_dir(), secret.expose().as_bytes()), "a secret is on disk");
    }
    assert!(holds(&it.stage.data_dir(), b"quiet.pdf"), "the search finds what is there");
}

fn holds(dir: &std::path::Path, needle: &[u8]) -> bool {
    std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).any(|path| {
        if path.is_dir() {
            return holds(&path, needle);
        }
        std::fs::read(&path).expect("a file").windows(needle.len()).any(|window| window == needle)
    })
}

#[test]
fn the_seal_key_is_changed_while_the_service_runs_and_while_it_does_not() {
    let it = AppStage::new();
    let rekey = || {
        let output = Command::new(env!("CARGO_BIN_EXE_edobridge"))
            .args(["portals", "rekey", "--json", "--config"])
            .arg(&it.stage.config_path)
            .output()
            .expect("the binary starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{text}"));
        report["resealed"].as_u64()
    };
    let key = || std::fs::read_to_string(it.stage.data_dir().join("seal-key")).expect("there is a key");
    let binary = Binary::start(&it.stage);
    it.install();
    it.wait_bound();
    let first = key();
    assert_eq!(rekey(), Some(1));
    let second = key();
    assert_ne!(first, second);
    binary.kill();
    assert_eq!(rekey(), Some(1));
    assert_ne!(second, key());
    assert!(!it.stage.data_dir().join("seal-key.old").exists());
    let binary = Binary::start(&it.stage);
    it.one_document("sealed.pdf", 1);
    drop(binary);
}

#[test]
fn a_portal_without_an_entry_is_served_by_rules_for_every_portal_once_it_is_admitted() {
    let it = AppStage::new();
    let path = &it.stage.config_path;
    let text = std::fs::read_to_string(path).expect("the configuration is there");
    let (before, rest) = text.split_once("[[portals]]").expect("an entry");
    let (_, after) = rest.split_once("[easydocs]").expect("the next section");
    let text = format!("{before}[easydocs]{after}").replace("portal = \"main\"", "portal = \"*\"");
    let members =
        |members: &str| std::fs::write(path, format!("{text}members = {members}\n")).expect("written");
    members("\"none\"");
    let service = InProcess::start(&it.stage);
    it.stage.world.install_app(it.client_id()).expect("it is registered");
    let page = it.open(&FrameSpec::main_page());
    assert_eq!(page.status, 403);
    assert!(page.body.contains(&it.stage.world.member_id()), "the page tells what to ask for: {}", page.body);
    service.stop();
    members(&format!("[\"{}\"]", it.stage.world.member_id()));
    let service = InProcess::start(&it.stage);
    assert_eq!(it.open(&FrameSpec::main_page()).status, 200);
    it.wait_bound();
    it.one_document("every.pdf", 1);
    let id = service.ask(|engine| async move { engine.portals().await[0].id.to_string() });
    assert_eq!(id, it.stage.world.member_id());
    service.stop();
}

#[test]
fn an_event_of_an_installed_portal_is_proven_by_its_application_token() {
    let it = AppStage::new();
    let service = InProcess::start(&it.stage);
    let installed = it.install();
    it.wait_bound();
    let event = |token: &str| {
        let member = it.stage.world.member_id();
        format!(
            "event=ONCRMDEALUPDATE&data[FIELDS][ID]=501&auth[member_id]={member}&auth[application_token]={token}"
        )
    };
    assert_eq!(it.post("/bitrix/webhook", &event(installed.application_token.expose())).0, 200);
    assert_eq!(it.post("/bitrix/webhook", &event("forged-token-0123456789")).0, 403);
    let stranger =
        event(installed.application_token.expose()).replace(&it.stage.world.member_id(), "0123456789abcdef");
    assert_eq!(it.post("/bitrix/webhook", &stranger).0, 403, "a token is good for its own portal only");
    service.stop();
}

#[test]
fn the_checklist_sees_an_installed_application_and_one_whose_keys_are_wrong() {
    let it = AppStage::new();
    let doctor = || {
        let output = Command::new(env!("CARGO_BIN_EXE_edobridge"))
            .args(["doctor", "--json", "--config"])
            .arg(&it.stage.config_path)
            .output()
            .expect("the binary starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let binary = Binary::start(&it.stage);
    let before = doctor();
    assert!(before.contains("not installed at the portal") || before.contains("не установлено"), "{before}");
    it.install();
    it.wait_bound();
    wait_for("the bindings to be seen", || {
        it.shown()["bindings"].as_array().is_some_and(|bindings| !bindings.is_empty())
    });
    let after = doctor();
    assert!(after.contains("the access works"), "{after}");
    assert!(after.contains("knows the application") && after.contains("seal-key"), "{after}");
    drop(binary);
    let text = std::fs::read_to_string(&it.stage.config_path).expect("the configuration is there");
    std::fs::write(&it.stage.config_path, text.replace(it.client_id(), "local.unknown")).expect("written");
    let wrong = doctor();
    assert!(wrong.contains("did not accept the keys"), "{wrong}");
}
