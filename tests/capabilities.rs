//! What a portal can do, and portals in closed networks: old boxes, own token validators, own certificate authorities,
//! lists of senders, no inbound address at all.

mod support;

use edobridge::actors::sender_list::Listed;
use edobridge::commands::wiring;
use edobridge::config::{Config, Environment, Severity};
use edobridge::providers::bitrix24::account;
use edobridge::sandbox::{AppSpec, Fault, FaultKind, FieldKind, FrameSpec, PortalKind, PortalTraits};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use support::{Binary, DEAL, InProcess, Setting, Stage, pdf, request, wait_for};

/// Rewrites the configuration of a stage: each pair is looked for, which must be there, and replaced.
fn rewrite(stage: &Stage, pairs: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(&stage.config_path).expect("the configuration was written");
    for (from, to) in pairs {
        assert!(text.contains(from), "the stage's configuration has {from}");
        text = text.replacen(from, to, 1);
    }
    std::fs::write(&stage.config_path, text).expect("the configuration is written again");
}

const LOOKS: (&str, &str) = ("capability_check_interval = \"0s\"\n", "capability_check_interval = \"1h\"\n");

/// The admin API's word about the portal `main`.
fn portal(stage: &Stage) -> Value {
    let token = &stage.secrets().operator;
    let text = format!(
        "GET /admin/v1/portals HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n",
        stage.operator
    );
    let (status, body) = request(stage.operator, &text).expect("the operator's listener answers");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).expect("JSON")["items"][0].clone()
}

/// Features that do not work as they should: name and state.
fn features(stage: &Stage) -> Vec<(String, String)> {
    let portal = portal(stage);
    let list = portal["capability"]["features"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.iter().map(|one| (text(&one["feature"]), text(&one["state"]))).collect()
}

fn is_known(stage: &Stage) -> bool {
    portal(stage)["capability"]["checked_at"].is_string()
}

fn count(stage: &Stage, call: &str) -> u64 {
    stage.world.calls().get(call).copied().unwrap_or(0)
}

/// A deal whose file field gets the signed file, and a rule that moves it.
const ALL_WISHES: &str =
    "into_field = \"UF_CRM_SIGNED\"\nstage_on_signed = \"C1:WON\"\nstages_from = [\"C1:NEW\"]\n";

fn stage_with_wishes() -> Stage {
    let stage = Stage::new(&Setting { more: ALL_WISHES.to_owned(), ..Setting::default() });
    stage.world.set_stages("DEAL_STAGE_1", &["C1:NEW", "C1:SIGN", "C1:WON"]);
    stage.world.put_item(
        DEAL,
        &[
            ("stageId", "C1:NEW".into()),
            ("categoryId", 1.into()),
            ("assignedById", stage.user.into()),
            ("title", "Сделка".into()),
        ],
    );
    stage.world.declare_field(DEAL.entity_type_id, "ufCrmSigned", FieldKind::Files);
    stage.world.add_item_file(DEAL, "ufCrmSigned", "старый.pdf", pdf(9, 400)).expect("the deal is there");
    stage
}

fn delivered(stage: &Stage, name: &str) {
    wait_for("the signed copy", || stage.signed_copies().iter().any(|file| file.name == name));
    wait_for("the stage", || stage.world.item_stage(DEAL).as_deref() == Some("C1:WON"));
}

#[test]
fn an_old_box_is_never_asked_for_what_it_said_it_does_not_have() {
    let stage = stage_with_wishes();
    rewrite(&stage, &[LOOKS]);
    stage.world.set_traits(PortalTraits::old_box());
    let app = InProcess::start(&stage);
    wait_for("the portal is asked", || is_known(&stage));
    stage.drop_file("акт.pdf", pdf(1, 900));
    delivered(&stage, "акт_signed.pdf");
    wait_for("the notice", || !stage.world.notices(stage.user).is_empty());
    assert_eq!(
        count(&stage, "crm.item.get") + count(&stage, "crm.item.update") + count(&stage, "crm.item.fields"),
        0
    );
    assert_eq!(count(&stage, "im.notify.system.add"), 0, "{:?}", stage.world.calls());
    assert!(count(&stage, "im.notify") >= 1 && count(&stage, "crm.deal.get") >= 1);
    let expected = [("items", "otherwise"), ("notices", "otherwise")];
    let known = features(&stage);
    for (feature, state) in expected {
        assert!(known.contains(&(feature.to_owned(), state.to_owned())), "{known:?}");
    }
    let text = app.engine.metrics().encode();
    assert!(text.contains("edobridge_portal_features_otherwise{portal=\"main\"} 2"), "{text}");
    app.stop();
}

#[test]
fn a_restart_knows_the_portal_without_asking_it() {
    let stage = stage_with_wishes();
    rewrite(&stage, &[LOOKS]);
    stage.world.set_traits(PortalTraits::old_box());
    let app = InProcess::start(&stage);
    wait_for("the portal is asked", || is_known(&stage));
    app.stop();
    let asked = (count(&stage, "method.get"), count(&stage, "methods"));
    // From now on it does not tell any more.
    for call in ["method.get", "methods", "scope", "feature.get"] {
        stage
            .world
            .add_fault(Fault::always(call, FaultKind::status(500, "INTERNAL_SERVER_ERROR")))
            .expect("set");
    }
    let app = InProcess::start(&stage);
    assert!(
        features(&stage).iter().any(|(feature, _)| feature == "items"),
        "known before anything was asked"
    );
    stage.drop_file("акт.pdf", pdf(2, 900));
    delivered(&stage, "акт_signed.pdf");
    assert_eq!(count(&stage, "crm.item.get"), 0);
    assert_eq!((count(&stage, "method.get"), count(&stage, "methods")), asked, "the answer is of today");
    app.stop();
}

#[test]
fn a_map_that_cannot_be_read_changes_nothing() {
    let kinds = || {
        [
            FaultKind::status(500, "INTERNAL_SERVER_ERROR"),
            FaultKind::status(403, "ACCESS_DENIED"),
            FaultKind::status(404, "ERROR_METHOD_NOT_FOUND"),
            FaultKind::CutAfter,
        ]
    };
    for kind in kinds() {
        let stage = stage_with_wishes();
        rewrite(&stage, &[LOOKS]);
        for call in ["method.get", "methods", "scope", "feature.get"] {
            stage.world.add_fault(Fault::always(call, kind.clone())).expect("set");
        }
        let app = InProcess::start(&stage);
        wait_for("the portal was asked in vain", || count(&stage, "method.get") > 0);
        stage.drop_file("акт.pdf", pdf(3, 900));
        delivered(&stage, "акт_signed.pdf");
        assert!(count(&stage, "crm.item.get") > 0, "what is unknown is tried");
        assert!(features(&stage).is_empty());
        app.stop();
    }
}

/// What can happen to a question. None of it is an answer.
fn troubles() -> [(&'static str, FaultKind); 11] {
    [
        ("refused", FaultKind::Refuse),
        ("cut before", FaultKind::CutBefore),
        ("cut after", FaultKind::CutAfter),
        ("truncated", FaultKind::Truncated),
        ("nothing", FaultKind::EmptyBody),
        ("a page with 200", FaultKind::Html(200)),
        ("a page with 404", FaultKind::Html(404)),
        ("a page with 502", FaultKind::Html(502)),
        ("too late", FaultKind::Slow(1_500)),
        ("an error", FaultKind::status(500, "INTERNAL_SERVER_ERROR")),
        ("a limit", FaultKind::status(503, "QUERY_LIMIT_EXCEEDED")),
    ]
}

/// Runs the cases a few at a time: most of each is waiting.
fn side_by_side<T: Sync>(cases: &[T], play: impl Fn(&T) + Sync) {
    const AT_ONCE: usize = 6;
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst)) {
                    play(case);
                }
            });
        }
    });
}

#[test]
fn trouble_with_a_question_about_abilities_is_never_taken_for_an_answer() {
    let calls = ["method.get", "methods", "events", "scope", "feature.get"];
    let cases: Vec<(&str, &str, FaultKind)> =
        calls.iter().flat_map(|call| troubles().map(|(name, kind)| (*call, name, kind))).collect();
    side_by_side(&cases, |(call, name, kind)| {
        let stage = stage_with_wishes();
        rewrite(&stage, &[LOOKS, ("rate = \"box\"", "rate = \"box\"\nquery_limit_pause = \"300ms\"")]);
        // `methods` is only asked where `method.get` does not help.
        if *call == "methods" {
            let missing = FaultKind::status(404, "ERROR_METHOD_NOT_FOUND");
            stage.world.add_fault(Fault::always("method.get", missing)).expect("set");
        }
        stage.world.add_fault(Fault::nth(*call, 1, kind.clone())).expect("set");
        let app = InProcess::start(&stage);
        wait_for("the portal is asked", || count(&stage, call) > 0 || is_known(&stage));
        stage.drop_file("акт.pdf", pdf(5, 900));
        delivered(&stage, "акт_signed.pdf");
        wait_for("the notice", || stage.world.notices(stage.user).len() == 1);
        assert_eq!(stage.signed_copies().len(), 1, "{call}, {name}");
        let off: Vec<_> = features(&stage).into_iter().filter(|(_, state)| state == "off").collect();
        assert_eq!(off, [], "{call}, {name}: nothing is off at a portal that has everything");
        app.stop();
    });
}

#[test]
fn a_box_without_timelines_and_notices_still_delivers_and_says_what_is_off() {
    let stage = stage_with_wishes();
    rewrite(&stage, &[LOOKS]);
    let missing = ["crm.timeline.*", "im.notify*"].map(str::to_owned).into();
    stage.world.set_traits(PortalTraits { missing, kind: PortalKind::Box, ..PortalTraits::cloud() });
    let app = InProcess::start(&stage);
    wait_for("the portal is asked", || is_known(&stage));
    stage.drop_file("акт.pdf", pdf(4, 900));
    delivered(&stage, "акт_signed.pdf");
    let off = features(&stage);
    assert_eq!(off, [("timeline".to_owned(), "off".to_owned()), ("notices".to_owned(), "off".to_owned())]);
    assert_eq!(count(&stage, "crm.timeline.comment.add") + count(&stage, "im.notify"), 0);
    let text = portal(&stage)["capability"]["features"][0]["text"]["ru"].clone();
    assert!(text.as_str().is_some_and(|text| text.contains("crm.timeline.comment.add")), "{text}");
    let parked =
        app.ask(
            |engine| async move { engine.store().counts().await.of(edobridge::saga::document::Step::Parked) },
        );
    assert_eq!(parked, 0);
    app.stop();
}

#[test]
fn doctor_says_what_an_old_box_cannot_do() {
    let stage = stage_with_wishes();
    stage.world.set_traits(PortalTraits::old_box());
    let output = Command::new(env!("CARGO_BIN_EXE_edobridge"))
        .args(["doctor", "--json", "--config"])
        .arg(&stage.config_path)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("crm.item.get") && text.contains("старыми методами"), "{text}");
    assert!(text.contains("crm.timeline") || !text.contains("Комментарии в таймлайн не пишутся"), "{text}");
}

// ---- boxes with a validator of their own ------------------------------------------------------------------------

/// The stage's portal, reached by an application instead of the webhook; the configuration is rewritten for it.
fn as_application(stage: &Stage, of_portal: &str, of_app: &str) -> AppSpec {
    let spec = AppSpec::local(&format!("http://{}/", stage.public).parse().expect("an address"));
    stage.world.register_app(spec.clone());
    let text = std::fs::read_to_string(&stage.config_path).expect("the configuration was written");
    let way_in = |line: &&str| !line.starts_with("webhook_url") && !line.starts_with("application_tokens");
    let kept: Vec<&str> = text.lines().filter(way_in).collect();
    let member = stage.world.member_id();
    let named = format!("id = \"main\"\napp = \"sign\"\nmember_id = \"{member}\"\n{of_portal}");
    let app = format!(
        "\n[[apps]]\nid = \"sign\"\nkind = \"local\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n\
         oauth_hosts = [\"{}\"]\ndangerous_allow_http = true\n{of_app}\n",
        spec.client_id,
        spec.client_secret.expose(),
        stage.world.oauth_url(),
    );
    let text = kept.join("\n").replacen("id = \"main\"", &named, 1) + &app;
    std::fs::write(&stage.config_path, text).expect("the configuration is written again");
    spec
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// The administrator installs the application and opens its page.
fn install(stage: &Stage, spec: &AppSpec) {
    stage.world.install_app(&spec.client_id).expect("it is registered");
    let page = block_on(stage.world.open_frame(&spec.client_id, &FrameSpec::main_page())).expect("installed");
    assert_eq!(page.status, 200, "{}", page.body);
    // what the page's BX24.installFinish does: until then the portal keeps and sends no events
    stage.world.finish_install(&spec.client_id).expect("it is installed");
}

const BOX_SECRET: &str = "directory-of-the-company-7";

#[test]
fn a_box_with_its_own_validator_gets_its_parameter_and_no_log_does() {
    let stage = Stage::new(&Setting { watched: true, ..Setting::default() });
    rewrite(&stage, &[LOOKS, ("filter = \"info\"", "filter = \"trace\"")]);
    let extra = format!("extra_auth = {{ name = \"auth_provider\", value = \"{BOX_SECRET}\" }}\n");
    let spec = as_application(&stage, &extra, "");
    stage.world.set_traits(PortalTraits {
        validator: Some(("auth_provider".into(), BOX_SECRET.into())),
        kind: PortalKind::Box,
        ..PortalTraits::cloud()
    });
    let binary = Binary::start(&stage);
    install(&stage, &spec);
    stage.drop_file("договор.pdf", pdf(5, 900));
    wait_for("the signed copy", || !stage.signed_copies().is_empty());
    let log = std::fs::read_to_string(&binary.log).expect("the log can be read");
    assert!(log.len() > 1_000 && !log.contains(BOX_SECRET), "the log has the box's secret in it");
    let shown = portal(&stage).to_string();
    assert!(!shown.contains(BOX_SECRET), "{shown}");
    binary.kill();
}

// ---- certificates of a private authority ------------------------------------------------------------------------

const AUTHORITY: &[u8] = include_bytes!("data/private_authority/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("data/private_authority/server.pem");
const KEY: &[u8] = include_bytes!("data/private_authority/server.key");

/// Answers every TLS connection with what `behind` answers to the same bytes in the clear; one request each.
fn tls_before(behind: SocketAddr) -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a configuration");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for line in listener.incoming().flatten() {
            let config = config.clone();
            std::thread::spawn(move || carry(line, config, behind));
        }
    });
    address
}

/// Whatever breaks ends this connection only, as with any proxy.
fn carry(line: TcpStream, config: Arc<rustls::ServerConfig>, behind: SocketAddr) {
    let session = rustls::ServerConnection::new(config).expect("a session");
    let mut tls = rustls::StreamOwned::new(session, line);
    let mut request = Vec::new();
    let mut part = [0; 4_096];
    while !is_whole(&request) {
        match tls.read(&mut part) {
            Ok(read) if read > 0 => request.extend_from_slice(&part[..read]),
            Ok(_) | Err(_) => return,
        }
    }
    let Ok(mut plain) = TcpStream::connect(behind) else { return };
    let text = String::from_utf8_lossy(&request).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let mut answer = Vec::new();
    if plain.write_all(text.as_bytes()).is_ok() && plain.read_to_end(&mut answer).is_ok() {
        drop(tls.write_all(&answer));
        tls.conn.send_close_notify();
        drop(tls.flush());
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or(0)
}

fn loaded(stage: &Stage) -> Config {
    let loaded = Config::load(Some(&stage.config_path), &Environment::of([("", ""); 0]));
    loaded.unwrap_or_else(|errors| panic!("the configuration is refused: {:#?}", errors.problems)).config
}

#[test]
fn a_box_with_a_certificate_of_its_own_authority_is_trusted_by_name_of_the_file_only() {
    let stage = Stage::new(&Setting::default());
    let webhook = stage.sandbox.webhook_url().to_string();
    let behind =
        url::Url::parse(&webhook).expect("an address").socket_addrs(|| None).expect("it is local")[0];
    let front = tls_before(behind);
    let by_tls =
        webhook.replacen(&format!("http://{behind}"), &format!("https://localhost:{}", front.port()), 1);
    assert_ne!(by_tls, webhook);
    rewrite(&stage, &[(&webhook, &by_tls)]);
    let ask = |config: &Config| {
        let client = wiring::portal_client(&config.portals[0], None).expect("usable");
        block_on(async move { account::profile(&client).await })
    };
    let stranger = ask(&loaded(&stage)).expect_err("nobody vouches for it");
    assert_eq!(stranger.code, "unreachable", "not one byte was sent: {stranger:?}");
    assert!(!stage.world.calls().contains_key("profile"));
    std::fs::write(stage.dir.path().join("company-ca.pem"), AUTHORITY).expect("written");
    rewrite(&stage, &[("[portals.timeouts]", "ca_file = \"company-ca.pem\"\n[portals.timeouts]")]);
    assert!(ask(&loaded(&stage)).expect("it is trusted").is_admin);
    // without the file the start is refused, and the words name it
    rewrite(&stage, &[("company-ca.pem", "other-ca.pem")]);
    let errors =
        Config::load(Some(&stage.config_path), &Environment::of([("", ""); 0])).expect_err("refused");
    assert!(errors.to_string().contains("other-ca.pem"), "{errors}");
}

#[test]
fn plain_http_to_a_box_needs_its_dangerous_key_and_is_warned_of() {
    let stage = Stage::new(&Setting { watched: true, ..Setting::default() });
    let webhook = stage.sandbox.webhook_url().to_string();
    // an address that is not loopback by its name, and leads here
    let elsewhere = webhook.replacen("127.0.0.1", "0.0.0.0", 1);
    let links = format!("allowed_download_origins = [\"{}\"]\n", stage.world.bitrix_url());
    rewrite(&stage, &[(&webhook, &elsewhere), ("[portals.timeouts]", &format!("{links}[portals.timeouts]"))]);
    let errors =
        Config::load(Some(&stage.config_path), &Environment::of([("", ""); 0])).expect_err("refused");
    assert!(errors.to_string().contains("webhook_url"), "{errors}");
    rewrite(&stage, &[("[portals.timeouts]", "dangerous_http_to_box = true\n[portals.timeouts]")]);
    let loaded = Config::load(Some(&stage.config_path), &Environment::of([("", ""); 0])).expect("accepted");
    let warned = |note: &edobridge::config::Problem| {
        note.severity == Severity::Warning
            && note.key == "portals[0].webhook_url"
            && note.text.en.contains("http://")
    };
    assert!(loaded.notes.iter().any(warned), "{:?}", loaded.notes);
    let app = InProcess::start(&stage);
    stage.drop_file("договор.pdf", pdf(6, 900));
    wait_for("the signed copy", || !stage.signed_copies().is_empty());
    app.stop();
}

// ---- who may send -----------------------------------------------------------------------------------------------

fn metric(app: &InProcess, line: &str) -> Option<f64> {
    let text = app.engine.metrics().encode();
    text.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok())
}

fn refused_senders(app: &InProcess) -> f64 {
    metric(app, "edobridge_ingress_refused_total{source=\"bitrix24\",reason=\"sender\"}").unwrap_or(0.0)
}

fn listed(app: &InProcess) -> Option<Listed> {
    app.engine.sender_list().map(|list| list.verdict("127.0.0.1".parse().expect("an address")))
}

fn copy_of(stage: &Stage, name: &str) -> bool {
    stage.signed_copies().iter().any(|file| file.name == name)
}

#[test]
fn only_published_senders_get_in_and_a_list_whose_source_is_down_goes_on_counting() {
    let stage = Stage::new(&Setting::default());
    let list = format!(
        "[sender_list]\nurl = \"{}webhook/app.json\"\nrefresh = \"100ms\"\ndangerous_allow_http = true\n[[portals]]",
        stage.world.bitrix_url()
    );
    rewrite(
        &stage,
        &[("[portals.timeouts]", "senders = \"published\"\n[portals.timeouts]"), ("[[portals]]", &list)],
    );
    let app = InProcess::start(&stage);
    wait_for("the list is there", || listed(&app) == Some(Listed::Yes));
    stage.drop_file("первый.pdf", pdf(7, 900));
    wait_for("the first copy", || copy_of(&stage, "первый_signed.pdf"));
    stage.world.set_sender_nodes(&["203.0.113.7", "198.51.100.0/24"]);
    wait_for("the new list counts", || listed(&app) == Some(Listed::No));
    let before = refused_senders(&app);
    stage.drop_file("чужой.pdf", pdf(8, 900));
    wait_for("the event is refused", || refused_senders(&app) > before);
    // the source goes down: the list that is known goes on counting
    let looks = count(&stage, "sender.nodes");
    stage.world.add_fault(Fault::always("sender.nodes", FaultKind::status(503, "DOWN"))).expect("set");
    wait_for("some looks in vain", || count(&stage, "sender.nodes") >= looks + 3);
    assert_eq!(listed(&app), Some(Listed::No));
    assert_eq!(metric(&app, "edobridge_ingress_sender_list_counts"), Some(1.0));
    assert_eq!(stage.world.documents().len(), 1, "what was refused has left nothing");
    app.stop();
    // a restart while the source is down changes nothing; a box that posts by itself is let in by its own range
    rewrite(
        &stage,
        &[("senders = \"published\"", "senders = \"published\"\nevents_from = [\"127.0.0.0/8\"]")],
    );
    let app = InProcess::start(&stage);
    assert_eq!(listed(&app), Some(Listed::No), "the kept list counts from the start");
    stage.drop_file("свой.pdf", pdf(9, 900));
    wait_for("the box's own event", || copy_of(&stage, "свой_signed.pdf"));
    app.stop();
}

// ---- no inbound address at all ----------------------------------------------------------------------------------

/// A rule that wants the file of a deal in the stage C1:SIGN.
const DEALS: &str = r#"[[rules]]
id = "deals"
portal = "main"
route_id = "route-2"
trigger = { kind = "deal_stage", stages = ["C1:SIGN"], file_field = "UF_CRM_CONTRACT" }
deliver_to = @FOLDER@
"#;

/// Nobody can reach us: neither the portal nor EasyDocs, which is asked for the status.
fn closed_stage(second_channel: &str) -> Stage {
    let setting = Setting { more: DEALS.to_owned(), status: true, watched: true, ..Setting::default() };
    let stage = Stage::new(&setting);
    let channel = format!("[portals.second_channel]\n{second_channel}\n[portals.timeouts]");
    let base = format!("base_url = \"http://{}/\"", stage.public);
    rewrite(
        &stage,
        &[
            ("@FOLDER@", &stage.folder.to_string()),
            ("[portals.timeouts]", &channel),
            (&base, "base_url = \"http://127.0.0.1:1/\""),
        ],
    );
    stage.world.set_event_target(None);
    stage.world.set_callback_url(None);
    stage
        .world
        .put_item_file(DEAL, "ufCrmContract", "contract.pdf", pdf(10, 900))
        .expect("the deal is there");
    stage
}

fn heard_anything(app: &InProcess) -> bool {
    let accepted = |source: &str| {
        let line = format!("edobridge_ingress_notices_total{{source=\"{source}\",outcome=\"accepted\"}}");
        metric(app, &line).unwrap_or(0.0)
    };
    accepted("bitrix24") + accepted("easydocs") > 0.0
}

#[test]
fn a_portal_that_can_only_be_polled_brings_a_document_through_by_the_sweep() {
    let stage = closed_stage("sweep_interval = \"200ms\"\nsweep_overlap = \"10s\"");
    let token = format!("application_tokens = [\"{}\"]\n", stage.secrets().application_token);
    rewrite(&stage, &[(&token, "")]);
    let app = InProcess::start(&stage);
    wait_for("the sweep has looked", || portal(&stage)["channel"]["looked_at"].is_string());
    stage.world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    wait_for("the signed copy", || !stage.signed_copies().is_empty());
    assert!(!heard_anything(&app), "nobody has told us anything");
    let channel = portal(&stage)["channel"].clone();
    assert_eq!((&channel["mode"], &channel["running"]), (&"auto".into(), &serde_json::json!(["sweep"])));
    assert!(channel["found_at"].is_string() && channel["failure"].is_null(), "{channel}");
    let output = Command::new(env!("CARGO_BIN_EXE_edobridge"))
        .args(["doctor", "--json", "--config"])
        .arg(&stage.config_path)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("второй канал (auto): sweep"), "{text}");
    app.stop();
}

#[test]
fn an_application_whose_portal_cannot_reach_us_brings_a_document_through_by_the_offline_queue() {
    let stage = closed_stage("offline_interval = \"200ms\"\nsweep_interval = \"1h\"");
    let spec = as_application(&stage, "", "");
    let app = InProcess::start(&stage);
    // the administrator's browser stands in the same network as we do
    install(&stage, &spec);
    wait_for("the offline events are bound", || offline_marks(&stage).len() == DEAL_EVENTS);
    wait_for("the queue is read", || portal(&stage)["channel"]["looked_at"].is_string());
    stage.world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    wait_for("the signed copy", || !stage.signed_copies().is_empty());
    assert!(!heard_anything(&app), "nobody has told us anything");
    assert!(count(&stage, "event.offline.get") > 0);
    app.stop();
}

// ---- the mark of our own changes --------------------------------------------------------------------------------

/// Events that a rule for deals has the portal keep: added, updated, moved to another funnel.
const DEAL_EVENTS: usize = 3;

/// The connectors under which offline events are bound.
fn offline_marks(stage: &Stage) -> Vec<String> {
    let apps = stage.world.apps();
    apps.into_iter().flat_map(|app| app.offline_events).map(|(_, connector)| connector).collect()
}

#[test]
fn events_are_bound_under_our_mark_only_while_the_plan_has_it() {
    let stage = closed_stage("offline_interval = \"200ms\"\nsweep_interval = \"1h\"");
    rewrite(&stage, &[("capability_check_interval = \"0s\"", "capability_check_interval = \"1s\"")]);
    let spec = as_application(&stage, "", "auth_connector = \"edobridge\"");
    stage.world.set_feature("rest_auth_connector", false);
    let app = InProcess::start(&stage);
    install(&stage, &spec);
    let all_are = |mark: &str| {
        let marks = offline_marks(&stage);
        marks.len() == DEAL_EVENTS && marks.iter().all(|one| one == mark)
    };
    wait_for("the events are bound without a mark", || all_are(""));
    assert!(features(&stage).contains(&("own_changes_mark".to_owned(), "otherwise".to_owned())));
    stage.world.set_feature("rest_auth_connector", true);
    wait_for("the events are bound anew under the mark", || all_are("edobridge"));
    stage.world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    wait_for("the signed copy", || !stage.signed_copies().is_empty());
    stage.world.set_feature("rest_auth_connector", false);
    wait_for("and back", || all_are(""));
    app.stop();
}
