//! Every kind of fault as a real client sees it.

use super::*;
use reqwest::Method;
use serde_json::json;

/// What a client got of an answer.
#[derive(Debug, PartialEq)]
enum Seen {
    /// No answer: refused, reset or closed.
    Nothing,
    /// A head and a part of the body.
    Broken,
    Json(u16),
    Html(u16),
    Empty(u16),
}

async fn see(request: reqwest::RequestBuilder) -> Seen {
    let Ok(answer) = request.send().await else { return Seen::Nothing };
    let status = answer.status().as_u16();
    match answer.text().await {
        Err(_) => Seen::Broken,
        Ok(text) if text.is_empty() => Seen::Empty(status),
        Ok(text) if text.starts_with("<html>") => Seen::Html(status),
        Ok(text) => {
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
            Seen::Json(status)
        }
    }
}

/// Each kind, what a client sees of it, and whether the effect is done.
fn kinds() -> Vec<(FaultKind, Seen, bool)> {
    vec![
        (FaultKind::Refuse, Seen::Nothing, false),
        (FaultKind::CutBefore, Seen::Nothing, false),
        (FaultKind::CutAfter, Seen::Nothing, true),
        (FaultKind::status(503, "busy"), Seen::Json(503), false),
        (FaultKind::status_after(500, "late"), Seen::Json(500), true),
        (FaultKind::Html(502), Seen::Html(502), false),
        (FaultKind::HtmlAfter(200), Seen::Html(200), true),
        (FaultKind::Truncated, Seen::Broken, true),
        (FaultKind::Slow(30), Seen::Json(0), true),
        (FaultKind::SlowBefore(30), Seen::Json(0), true),
        (FaultKind::Duplicate, Seen::Json(0), true),
        (FaultKind::EmptyBody, Seen::Empty(200), true),
    ]
}

/// A good answer's status differs by side.
fn expected(seen: Seen, good: u16) -> Seen {
    if seen == Seen::Json(0) { Seen::Json(good) } else { seen }
}

#[tokio::test]
async fn each_kind_strikes_a_create_before_or_after_its_effect() {
    for (kind, seen, effect) in kinds() {
        let stage = Stage::explicit().await;
        let name = kind.name();
        stage.world.add_fault(Fault::nth("easydocs.create", 1, kind)).expect("there is room");
        let create = || {
            stage
                .easydocs(Method::POST, "api/v1/documents")
                .json(&create_body("a.pdf", "http://127.0.0.1:9/"))
        };
        assert_eq!(see(create()).await, expected(seen, 201), "{name}");
        assert_eq!(stage.world.documents().len(), usize::from(effect), "{name}");
        let entry = stage.world.ledger_of("easydocs.create").pop().expect("an entry");
        assert_eq!((entry.effect, entry.fault), (effect, Some(name)));
        assert_eq!(see(create()).await, Seen::Json(201), "{name}: only the first is struck");
        assert_eq!(stage.world.faults_struck(), 1);
    }
}

#[tokio::test]
async fn each_kind_strikes_both_steps_of_an_upload_and_a_batch() {
    for (kind, seen, effect) in kinds() {
        let stage = Stage::plain().await;
        let name = kind.name();
        let root = stage.world.root_folder();
        let step =
            stage.result("disk.folder.uploadfile", json!({"id": root, "data": {"NAME": "a.pdf"}})).await;
        stage.world.add_fault(Fault::always("upload.second_step", kind.clone())).expect("there is room");
        let part = reqwest::multipart::Part::bytes(vec![7; 200_000]).file_name("a.pdf");
        let form = reqwest::multipart::Form::new().part("file", part);
        let post = stage.http.post(step["uploadUrl"].as_str().expect("a link")).multipart(form);
        assert_eq!(see(post).await, expected(seen, 200), "{name}");
        assert_eq!(stage.world.files(root).len(), usize::from(effect), "{name}");
        stage.world.clear_faults();
        stage
            .world
            .add_fault(Fault::always("disk.folder.addsubfolder", kind.clone()))
            .expect("there is room");
        let command = format!("disk.folder.addsubfolder?id={root}&data[NAME]=x");
        let batch = stage.call_if_any("batch", json!({"cmd": {"other": "scope", "add": command}})).await;
        assert_eq!(stage.world.folders().len(), 1 + usize::from(effect), "{name}");
        if kind.fits_one_command() {
            let (_, body) = batch.expect("one command fails alone");
            assert!(body["result"]["result_error"]["add"].is_object(), "{body}");
            assert!(body["result"]["result"]["other"].is_array(), "{body}");
        }
    }
}

impl Stage {
    async fn call_if_any(&self, method: &str, params: Value) -> Option<(u16, Value)> {
        let url = self.sandbox.webhook_url().join(method).expect("a method name is a path");
        let answer = self.http.post(url).json(&params).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, serde_json::from_str(&answer.text().await.ok()?).ok()?))
    }
}

#[tokio::test]
async fn a_truncated_download_promises_more_bytes_than_it_sends() {
    let stage = Stage::plain().await;
    let id =
        stage.world.add_file(stage.world.root_folder(), "a.bin", vec![1_u8; 100_000]).expect("a free name");
    stage.world.add_fault(Fault::first("download", 1, FaultKind::Truncated)).expect("there is room");
    let link = stage.result("disk.file.get", json!({"id": id})).await["DOWNLOAD_URL"].clone();
    let get = || stage.http.get(link.as_str().expect("a link")).header("User-Agent", "t/1");
    let answer = get().send().await.expect("the head comes");
    assert_eq!(answer.content_length(), Some(100_000));
    assert!(answer.bytes().await.is_err());
    assert_eq!(get().send().await.expect("an answer").bytes().await.expect("whole").len(), 100_000);
}

#[tokio::test]
async fn a_slow_answer_has_its_effect_before_the_client_gives_up() {
    let stage = Stage::explicit().await;
    stage.world.add_fault(Fault::always("easydocs.create", FaultKind::Slow(60_000))).expect("there is room");
    let body = create_body("a.pdf", "http://127.0.0.1:9/");
    let create =
        stage.easydocs(Method::POST, "api/v1/documents").json(&body).timeout(Duration::from_millis(200));
    assert!(create.send().await.expect_err("the client gives up").is_timeout());
    assert_eq!(stage.world.documents().len(), 1);
}

#[tokio::test]
async fn closed_ports_refuse_connections_and_open_again_on_the_same_address() {
    let stage = Stage::explicit().await;
    // A connection of its own for each call: none is left over from before the closing.
    let me = || {
        let url = stage.sandbox.easydocs_url().join("api/v1/me").expect("a path");
        let client = http_client(PATIENCE).expect("a client can be built");
        client.get(url).bearer_auth("sandbox-easydocs-key").send()
    };
    assert!(me().await.is_ok());
    stage.world.set_reach(Side::EasyDocs, Reach::Down).await;
    assert!(me().await.expect_err("nobody listens").is_connect());
    stage.result("scope", json!({})).await;
    stage.world.set_reach(Side::EasyDocs, Reach::Up).await;
    assert!(me().await.is_ok());
    stage.world.set_reach(Side::Bitrix24, Reach::Down).await;
    assert!(stage.call_if_any("scope", json!({})).await.is_none());
}

#[actix_web::test]
async fn deliveries_are_lost_doubled_and_unacknowledged_on_order() {
    let receiver = Receiver::start(0).await;
    let callback_policy = CallbackPolicy { interval: Duration::from_millis(5), ..CallbackPolicy::default() };
    let options = SandboxOptions { mode: Mode::Explicit, callback_policy, ..SandboxOptions::default() };
    let stage = Stage::set(options).await;
    stage.world.set_event_target(receiver.target());
    stage.world.add_fault(Fault::nth("event", 1, FaultKind::CutBefore)).expect("there is room");
    stage.world.add_fault(Fault::nth("event", 2, FaultKind::Duplicate)).expect("there is room");
    stage.world.fire_file_added(1);
    until("the lost event", || stage.world.ledger_of("event").len() == 1).await;
    assert_eq!(receiver.count(), 0);
    stage.world.fire_file_added(2);
    until("the doubled event", || stage.world.ledger_of("event").len() == 3).await;
    assert_eq!(receiver.count(), 2);
    stage.world.add_fault(Fault::nth("callback", 1, FaultKind::Refuse)).expect("there is room");
    stage.world.add_fault(Fault::nth("callback", 2, FaultKind::CutAfter)).expect("there is room");
    let id = stage.create("a.pdf", &receiver.url).await;
    stage.world.sign(&id).expect("it is there");
    until("the acknowledgement", || stage.world.callbacks().len() == 3).await;
    assert_eq!(receiver.count(), 4, "one attempt was lost, one arrived unacknowledged, one was acknowledged");
}

#[actix_web::test]
async fn a_doubled_upload_fires_its_event_twice() {
    let receiver = Receiver::start(0).await;
    let stage = Stage::plain().await;
    stage.world.set_event_target(receiver.target());
    stage
        .world
        .add_fault(Fault::always("disk.folder.uploadfile", FaultKind::Duplicate))
        .expect("there is room");
    let root = stage.world.root_folder();
    stage
        .result(
            "disk.folder.uploadfile",
            json!({"id": root, "data": {"NAME": "a"}, "fileContent": ["a", "QUE="]}),
        )
        .await;
    until("both events", || receiver.count() == 2).await;
    assert_eq!(stage.world.files(root).len(), 1);
}
