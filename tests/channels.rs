//! How changes of a portal are learned: storms of events, events that get lost, and what heals them.

mod support;
mod wire;

use edobridge::actors::Engine;
use edobridge::actors::second_channel::CalledAs;
use edobridge::commands::wiring;
use edobridge::config::{Config, Environment};
use edobridge::domain::{CrmItem, Failure, Secret, Timestamp};
use edobridge::providers::bitrix24::Client;
use edobridge::providers::bitrix24::credentials::{AppAccess, Stale, TokenSource};
use edobridge::providers::bitrix24::registration::bind_event;
use edobridge::providers::http_client::{HttpClient, HttpSettings};
use edobridge::providers::url_rules::Origin;
use edobridge::saga::document::Step;
use edobridge::sandbox::{AppSpec, Echo, EventSpec, Fault, FaultKind};
use edobridge::store::{DocumentFilter, Store};
use edobridge::telemetry::{Metrics, SystemClock};
use futures_util::future::BoxFuture;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use support::{DEAL, InProcess, Setting, Stage, pdf, wait_for};

/// Events of the storms: what a bulk edit of a CRM list can send at once.
const STORM: u64 = 10_000;
/// Senders at the same time.
const SENDERS: u64 = 16;

/// A rule that wants the file of a deal in the stage C1:SIGN.
const DEALS: &str = r#"[[rules]]
id = "deals"
portal = "main"
route_id = "route-2"
trigger = { kind = "deal_stage", stages = ["C1:SIGN"], file_field = "UF_CRM_CONTRACT" }
deliver_to = @FOLDER@
notify = [@USER@]
"#;

fn stage(rule: &str, second_channel: &str) -> Stage {
    adapted(Stage::new(&Setting { more: rule.to_owned(), ..Setting::default() }), second_channel)
}

fn adapted(stage: Stage, second_channel: &str) -> Stage {
    let text = std::fs::read_to_string(&stage.config_path).expect("the configuration was written");
    let text = text
        .replace("@FOLDER@", &stage.folder.to_string())
        .replace("@USER@", &stage.user.to_string())
        .replace(
            "[portals.timeouts]",
            &format!("[portals.second_channel]\n{second_channel}\n[portals.timeouts]"),
        )
        .replace(
            "connect = \"2s\"\nread = \"1s\"\ncall = \"2s\"",
            "connect = \"5s\"\nread = \"20s\"\ncall = \"20s\"",
        );
    std::fs::write(&stage.config_path, text).expect("the configuration is written again");
    stage
}

fn deal(id: u64) -> CrmItem {
    CrmItem { entity_type_id: 2, id }
}

/// The body of an update of a deal. Bodies differ, as those of real events do, so that none is taken for a repeat.
fn update(stage: &Stage, item: CrmItem, n: u64) -> String {
    let event = EventSpec::new("ONCRMDEALUPDATE", json!({"FIELDS": {"ID": item.id}}));
    stage.world.event_body(&event).replace("event_handler_id=975", &format!("event_handler_id={n}"))
}

/// Sends bodies over kept connections, from several senders at once; every one must be accepted.
fn send_all(stage: &Stage, bodies: &[String]) {
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let mine = bodies.iter().skip(sender as usize).step_by(SENDERS as usize);
            scope.spawn(move || {
                let mut line = TcpStream::connect(stage.public).expect("edobridge listens");
                line.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
                for body in mine {
                    let head = format!(
                        "POST /bitrix/webhook HTTP/1.1\r\nHost: edo.example\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
                        wire::FORM,
                        body.len()
                    );
                    line.write_all(format!("{head}{body}").as_bytes()).expect("the event is sent");
                    let mut answer = [0; 2_048];
                    let read = line.read(&mut answer).expect("an answer comes");
                    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "an event was not accepted");
                }
            });
        }
    });
}

/// Whatever runs the engine that a test asks.
trait Asked {
    fn engine(&self) -> Engine;
}

impl Asked for InProcess {
    fn engine(&self) -> Engine {
        self.engine.clone()
    }
}

impl Asked for AsApplication {
    fn engine(&self) -> Engine {
        self.engine.clone()
    }
}

fn ask<T>(app: &impl Asked, question: impl AsyncFnOnce(Engine) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(question(app.engine()))
}

fn documents(app: &impl Asked) -> Vec<(Step, String)> {
    ask(app, async |engine| {
        let page =
            engine.store().list(DocumentFilter::default(), None, 1_000).await.expect("the store lists");
        let name = |saga: &edobridge::saga::document::DocumentSaga| {
            saga.file.as_ref().map(|file| file.name.clone()).unwrap_or_default()
        };
        page.items.iter().map(|saga| (saga.step, name(saga))).collect()
    })
}

fn inbox(app: &impl Asked) -> u64 {
    ask(app, async |engine| engine.store().counts().await.notices)
}

fn delivered(app: &impl Asked) -> usize {
    documents(app).iter().filter(|(step, _)| *step == Step::Delivered).count()
}

fn put_deal(stage: &Stage, item: CrmItem, stage_id: &str) {
    stage.world.put_item(
        item,
        &[("stageId", stage_id.into()), ("assignedById", stage.user.into()), ("title", "Сделка".into())],
    );
}

#[test]
fn a_bulk_edit_of_ten_thousand_deals_is_worked_off_in_a_few_requests_and_leaves_no_documents_behind() {
    let stage = stage(DEALS, "mode = \"off\"");
    for n in 0..STORM {
        put_deal(&stage, deal(1_000 + n), "C1:NEW");
    }
    // One deal among them is meant.
    let meant = deal(1_000 + STORM / 2);
    put_deal(&stage, meant, "C1:SIGN");
    stage
        .world
        .put_item_file(meant, "ufCrmContract", "contract.pdf", pdf(1, 2_000))
        .expect("the deal is there");
    // The echo of our own upload may overtake the upload's answer; it then is a document that ends as ignored, and no
    // business of this test.
    stage.world.set_echo(Echo::Off);
    let app = InProcess::start(&stage);
    let bodies: Vec<String> = (0..STORM).map(|n| update(&stage, deal(1_000 + n), n)).collect();
    send_all(&stage, &bodies);
    wait_for("the inbox is worked off", || inbox(&app) == 0);
    wait_for("the one meant deal is signed", || delivered(&app) == 1);
    let all = documents(&app);
    assert_eq!(
        all,
        [(Step::Delivered, "contract.pdf".to_owned())],
        "unwanted deals leave no documents behind"
    );
    let calls = stage.world.calls();
    let count = |call: &str| calls.get(call).copied().unwrap_or(0);
    assert!(count("crm.item.list") <= 2 * STORM / 50, "{calls:?}");
    assert!(count("crm.item.get") <= 4, "items are not read one by one: {calls:?}");
    assert!(count("batch") <= 60, "the lists share requests: {calls:?}");
    let text = app.engine.metrics().encode();
    let filtered = r#"edobridge_trigger_files_total{trigger="deal_stage",outcome="filtered"} "#;
    let line = text.lines().find(|line| line.starts_with(filtered)).expect("unwanted deals are counted");
    let counted: u64 = line.trim_start_matches(filtered).parse().expect("a number");
    assert_eq!(counted, STORM - 1, "each unwanted deal is judged once");
    app.stop();
}

#[test]
fn ten_thousand_updates_of_one_deal_are_a_handful_of_readings() {
    let stage = stage(DEALS, "mode = \"off\"");
    let app = InProcess::start(&stage);
    let bodies: Vec<String> = (0..STORM).map(|n| update(&stage, DEAL, n)).collect();
    send_all(&stage, &bodies);
    wait_for("the inbox is worked off", || inbox(&app) == 0);
    let calls = stage.world.calls();
    let readings = calls.get("crm.item.list").copied().unwrap_or(0);
    assert!((1..=8).contains(&readings), "{readings} readings: {calls:?}");
    assert!(documents(&app).is_empty());
    // The last change counts: after the storm the deal is still watched.
    stage.world.put_item_file(DEAL, "ufCrmContract", "late.pdf", pdf(2, 2_000)).expect("the deal is there");
    stage.world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    wait_for("the late file is signed", || delivered(&app) == 1);
    app.stop();
}

#[test]
fn an_event_that_the_webhook_loses_is_healed_by_the_sweep_and_reported() {
    let quick = "sweep_interval = \"200ms\"\nsweep_overlap = \"10s\"\ngrace = \"100ms\"";
    let stage = stage(DEALS, quick);
    stage.world.put_item_file(DEAL, "ufCrmContract", "lost.pdf", pdf(3, 2_000)).expect("the deal is there");
    let app = InProcess::start(&stage);
    // Nobody is told.
    stage.world.set_event_target(None);
    stage.world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    wait_for("the lost move is healed", || delivered(&app) == 1);
    let report = || {
        let (totals, gaps) = app.engine.gaps();
        (totals.into_values().next().unwrap_or_default(), gaps)
    };
    wait_for("the gap is reported", || report().0.lost == 1);
    let (totals, gaps) = report();
    assert_eq!((totals.found, totals.confirmed), (1, 0), "{totals:?}");
    assert_eq!(gaps.len(), 1);
    assert!(gaps[0].changed_at.is_some_and(|at| at > Timestamp(0)));
    let text = app.engine.metrics().encode();
    let line = r#"edobridge_channel_gaps_total{portal="main",channel="sweep",cause="lost"} 1"#;
    assert!(text.contains(line), "{text}");
    assert_eq!(stage.signed_copies().len(), 1);
    app.stop();
}

#[test]
fn what_the_webhook_told_is_no_gap_and_starts_nothing_twice() {
    let quick = "sweep_interval = \"100ms\"\nsweep_overlap = \"1m\"\ngrace = \"100ms\"";
    let stage = stage(DEALS, quick);
    stage.world.put_item_file(DEAL, "ufCrmContract", "told.pdf", pdf(4, 2_000)).expect("the deal is there");
    let app = InProcess::start(&stage);
    stage.world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    wait_for("the told move is signed", || delivered(&app) == 1);
    let sweeps = stage.world.calls().get("crm.item.list").copied().unwrap_or(0);
    wait_for("a few sweeps more", || {
        stage.world.calls().get("crm.item.list").copied().unwrap_or(0) >= sweeps + 5
    });
    let (totals, _) = app.engine.gaps();
    assert_eq!(totals.into_values().map(|t| t.lost + t.before_start).sum::<u64>(), 0);
    // A sweep between the reading and the claim of the file may begin a document, which then finds its file taken.
    let meant = documents(&app).iter().filter(|(step, _)| *step != Step::Ignored).count();
    assert_eq!((meant, stage.signed_copies().len()), (1, 1));
    app.stop();
}

#[test]
fn a_change_made_while_nobody_listened_is_healed_at_the_next_start() {
    let stage = stage(DEALS, "sweep_interval = \"1h\"");
    stage.world.put_item_file(DEAL, "ufCrmContract", "night.pdf", pdf(5, 2_000)).expect("the deal is there");
    let app = InProcess::start(&stage);
    wait_for("the sweep has its cursor", || {
        app.ask(
            |engine| async move { engine.store().cursor("items/main/2").await.expect("readable").is_some() },
        )
    });
    app.stop();
    stage.world.set_event_target(None);
    stage.world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    stage.aim();
    let app = InProcess::start(&stage);
    wait_for("the change of the night is signed", || delivered(&app) == 1);
    app.stop();
}

/// An edobridge without doors that calls the portal as an installed application: what it hears, it has fetched.
struct AsApplication {
    engine: Engine,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A token that never ends.
#[derive(Debug)]
struct Token(Secret);

impl TokenSource for Token {
    fn access(&self) -> BoxFuture<'_, Result<Secret, Failure>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
    fn instead_of<'a>(&'a self, refused: &'a Secret, _: Stale) -> BoxFuture<'a, Result<Secret, Failure>> {
        Box::pin(async move { Ok(refused.clone()) })
    }
    fn moved(&self, _: &Origin) {}
}

/// The portal's administrator in the sandbox.
const ADMINISTRATOR: u64 = 1;

/// A client of an application that is installed in the sandbox, with what the offline queue needs bound.
fn application(stage: &Stage) -> Client {
    let spec = AppSpec::local(&format!("http://{}/", stage.public).parse().expect("an address"));
    stage.world.register_app(spec.clone());
    stage.world.install_app(&spec.client_id).expect("the application is registered");
    stage.world.finish_install(&spec.client_id).expect("the application is installed");
    let (access, _) = stage.world.grant_tokens(&spec.client_id, ADMINISTRATOR);
    let settings = HttpSettings { read_timeout: Duration::from_secs(5), ..HttpSettings::default() };
    let http = HttpClient::new(&settings).expect("a client");
    let portal = Origin::parse(stage.world.bitrix_url().as_str()).expect("the portal has an origin");
    Client::of_app(http, portal, AppAccess { tokens: Arc::new(Token(access)), auth_connector: None })
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

impl AsApplication {
    fn start(stage: &Stage) -> Self {
        let client = application(stage);
        block_on(async {
            bind_event(&client, "ONCRMDEALUPDATE", None).await.expect("the event is bound");
        });
        let loaded = Config::load(Some(&stage.config_path), &Environment::of([("", ""); 0]))
            .unwrap_or_else(|errors| panic!("the configuration is refused: {:#?}", errors.problems));
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let config = &loaded.config;
                let (store, _) =
                    Store::open(wiring::store_options(config), &mut |_| {}).expect("the store opens");
                let metrics = Arc::new(Metrics::new());
                let parts =
                    wiring::parts(config, store.clone(), Arc::new(SystemClock), metrics).expect("usable");
                let mut portals = wiring::portals(config, &store).await.expect("usable");
                portals[0].client = Arc::new(client);
                portals[0].channel.called_as = CalledAs::Application;
                let easydocs = Arc::new(wiring::easydocs_client(config).expect("usable"));
                let engine = Engine::start(Arc::new(parts), portals, easydocs, Vec::new(), None);
                ready.send(engine.clone()).expect("the test waits");
                let _ = stopped.await;
                engine.drain().await;
                engine.stop_actors();
                store.close().await.expect("the store closes");
            });
        });
        let engine = started.recv_timeout(support::PATIENCE).expect("edobridge starts");
        Self { engine, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for AsApplication {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A world in which no event ever reaches us, and EasyDocs is asked for the status.
fn silent_stage(second_channel: &str) -> Stage {
    let setting = Setting { more: DEALS.to_owned(), status: true, ..Setting::default() };
    let stage = adapted(Stage::new(&setting), second_channel);
    stage.world.set_event_target(None);
    stage.world.put_item_file(DEAL, "ufCrmContract", "queued.pdf", pdf(6, 2_000)).expect("the deal is there");
    stage
}

const QUICK_QUEUE: &str = "offline_interval = \"100ms\"\nsweep_interval = \"1h\"";

#[test]
fn a_box_without_any_inbound_address_hears_of_changes_by_the_offline_queue() {
    let stage = silent_stage(QUICK_QUEUE);
    let app = AsApplication::start(&stage);
    stage.world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    wait_for("the queued change is signed", || delivered(&app) == 1);
    wait_for("the queue is cleared", || stage.world.offline_rows().is_empty());
    let calls = stage.world.calls();
    assert!(calls.get("event.offline.clear").copied().unwrap_or(0) >= 1, "{calls:?}");
    let (totals, _) = app.engine.gaps();
    assert!(totals.values().any(|t| t.found >= 1), "{totals:?}");
}

#[test]
fn a_plan_without_reservations_is_read_in_the_simple_way() {
    let stage = silent_stage(QUICK_QUEUE);
    stage.world.set_feature("rest_offline_extended", false);
    let app = AsApplication::start(&stage);
    stage.world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    wait_for("the queued change is signed", || delivered(&app) == 1);
    assert!(stage.world.offline_rows().is_empty());
    assert_eq!(stage.world.calls().get("event.offline.clear"), None);
}

#[test]
fn rows_reserved_by_an_answer_that_was_lost_are_found_and_taken_up() {
    let stage = silent_stage(QUICK_QUEUE);
    let app = AsApplication::start(&stage);
    wait_for("the queue is read", || stage.world.calls().get("event.offline.get").copied().unwrap_or(0) > 0);
    stage.world.add_fault(Fault::always("event.offline.get", FaultKind::CutAfter)).expect("the fault is set");
    stage.world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    let lost = || stage.world.offline_rows().iter().any(|row| row.reserved_by.is_some());
    wait_for("a row is reserved by an answer that nobody got", lost);
    stage.world.clear_faults();
    wait_for("the forgotten row is signed", || delivered(&app) == 1);
    wait_for("the queue is cleared", || stage.world.offline_rows().is_empty());
}

#[test]
fn a_queue_that_cannot_be_read_is_replaced_by_the_sweep() {
    let stage =
        silent_stage("offline_interval = \"100ms\"\nsweep_interval = \"200ms\"\nsweep_overlap = \"10s\"");
    stage
        .world
        .add_fault(Fault::always("event.offline.*", FaultKind::status(500, "INTERNAL_SERVER_ERROR")))
        .expect("set");
    let app = AsApplication::start(&stage);
    wait_for("the sweep has its cursor", || {
        ask(&app, async |engine| engine.store().cursor("items/main/2").await.expect("readable").is_some())
    });
    stage.world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
    wait_for("the change is found by the sweep", || delivered(&app) == 1);
}
