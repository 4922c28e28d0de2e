//! The buttons over HTTP.

use super::*;
use serde_json::json;

impl Stage {
    async fn press(
        &self,
        method: reqwest::Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let url = self.sandbox.bitrix_url().join("_sandbox/").and_then(|u| u.join(path)).expect("a path");
        answer_of(self.http.request(method, url).body(body)).await
    }
    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.press(reqwest::Method::POST, path, body.to_string()).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }
    async fn show(&self, path: &str) -> Value {
        self.press(reqwest::Method::GET, path, "").await.1
    }
}

#[actix_web::test]
async fn a_person_with_curl_can_play_the_whole_day() {
    let receiver = Receiver::start(0).await;
    let stage = Stage::explicit().await;
    stage
        .post("settings", json!({"event_target": receiver.url, "callback_url": receiver.url, "echo": "off"}))
        .await;
    let folder = stage.post("folders", json!({"name": "Договоры"})).await["id"].clone();
    let path = format!("files?name=a.pdf&folder={folder}&event=1");
    let (_, file) = stage.press(reqwest::Method::POST, &path, "%PDF-1.4").await;
    until("the event of the file", || receiver.count() == 1).await;
    assert!(receiver.all()[0].text().contains(&format!("ID%5D={}&", file["id"])));
    let user = stage.post("users", json!({"name": "Пётр"})).await["id"].clone();
    stage.post("deals", json!({"id": 7, "fields": {"stageId": "NEW", "assignedById": user}})).await;
    stage.press(reqwest::Method::POST, "deals/7/files?field=ufCrmContract&name=c.pdf", "C").await;
    stage.post("deals/7/stage", json!({"stage": "SIGN"})).await;
    until("the event of the deal", || receiver.count() == 2).await;
    let deal = stage.result("crm.item.get", json!({"entityTypeId": 2, "id": 7})).await;
    assert_eq!((&deal["item"]["stageId"], deal["item"]["ufCrmContract"].is_object()), (&json!("SIGN"), true));
    let id = stage.create("b.pdf", "http://127.0.0.1:9/").await;
    stage.post(&format!("documents/{id}/sign"), json!({})).await;
    stage.post(&format!("documents/{id}/callback"), json!({"status": "signed", "copies": 2})).await;
    until("three callbacks", || receiver.count() == 5).await;
    stage.post("events", json!({"name": "ONAPPTEST", "data": {"QUERY": {"a": 1}}})).await;
    until("the event fired by hand", || receiver.count() == 6).await;
    let state = stage.show("state").await;
    assert_eq!(state["documents"][0]["callbacks_acknowledged"], 3);
    assert_eq!(state["files"][0]["sha256"].as_str().map(str::len), Some(64));
}

#[tokio::test]
async fn faults_and_ledger_are_worked_over_http() {
    let stage = Stage::explicit().await;
    let fault = json!([{"target": "scope", "on_calls": {"first": 1}, "kind": {"status": {"status": 503, "error": "X"}}}]);
    stage.post("faults", fault).await;
    assert_eq!(stage.error("scope", json!({})).await, (503, "X".into()));
    stage.result("scope", json!({})).await;
    assert_eq!(stage.show("faults").await[0]["struck"], 1);
    let ledger = stage.show("ledger?after=1").await;
    assert_eq!((ledger.as_array().map(Vec::len), &ledger[0]["call"]), (Some(1), &json!("scope")));
    stage.press(reqwest::Method::DELETE, "ledger", "").await;
    assert_eq!(stage.show("ledger").await, json!([]));
    stage.press(reqwest::Method::DELETE, "faults", "").await;
    assert_eq!(stage.show("faults").await, json!([]));
}

#[tokio::test]
async fn a_wrong_button_is_named_and_nothing_happens() {
    let stage = Stage::explicit().await;
    let press =
        async |path: &str, body: &str| stage.press(reqwest::Method::POST, path, body.to_owned()).await.0;
    assert_eq!(press("documents/none/sign", "").await, 404);
    assert_eq!(press("nothing", "{}").await, 404);
    assert_eq!(press("folders", "{").await, 400);
    assert_eq!(press("folders", r#"{"name": "x", "parent": 1}"#).await, 404);
    assert_eq!(press("files", "bytes").await, 400);
    assert_eq!(press("faults", r#"{"target": "scope", "kind": "no such kind"}"#).await, 400);
    assert_eq!(stage.world.folders().len(), 1);
}

#[tokio::test]
async fn an_outage_begins_and_ends_by_itself() {
    let stage = Stage::explicit().await;
    let me = async || stage.easydocs(reqwest::Method::GET, "api/v1/me").send().await.is_ok();
    stage.post("outage", json!({"side": "easy_docs", "ms": 100})).await;
    for wanted in [false, true] {
        let seen = tokio::time::timeout(PATIENCE, async {
            while me().await != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(seen.await.is_ok(), "waited in vain for {wanted}");
    }
}

#[tokio::test]
async fn with_a_key_no_button_can_be_pressed_without_it() {
    let control_key = Some(Secret::new("a-key-of-the-test"));
    let stage = Stage::set(SandboxOptions { control_key, ..SandboxOptions::default() }).await;
    assert_eq!(stage.press(reqwest::Method::GET, "state", "").await.0, 401);
    assert_eq!(stage.press(reqwest::Method::POST, "rename", "").await.0, 401);
    let url = stage.sandbox.bitrix_url().join("_sandbox/state").expect("a path");
    for (key, status) in [("a-key-of-the-tes", 401), ("a-key-of-the-test", 200)] {
        assert_eq!(answer_of(stage.http.get(url.clone()).header(KEY_HEADER, key)).await.0, status);
    }
    assert_eq!(stage.call("profile", json!({})).await.0, 200, "the portal itself asks for its own key only");
}

#[actix_web::test]
async fn applications_items_and_robots_are_played_over_http_too() {
    let receiver = Receiver::start(0).await;
    let stage = Stage::explicit().await;
    let app = stage.post("apps", json!({"form": "local", "base": receiver.url})).await;
    let client = app["client_id"].as_str().expect("text").to_owned();
    let made = stage.post(&format!("apps/{client}/install"), json!({})).await;
    assert_eq!(made["member_id"], MEMBER_ID);
    let opened = stage.post(&format!("apps/{client}/open"), json!({})).await;
    assert_eq!(opened["status"], 200);
    stage.post(&format!("apps/{client}/finish"), json!({})).await;
    assert_eq!(stage.show("apps").await[0]["finished"], true);
    let token = made["access_token"].as_str().expect("a token");
    let call = async |method: &str, mut params: Value| {
        params["auth"] = token.into();
        let url = stage.sandbox.bitrix_url().join(&format!("rest/{method}")).expect("a path");
        answer_of(stage.http.post(url).json(&params)).await
    };
    let robot = json!({"CODE": "r", "HANDLER": receiver.url, "NAME": "R", "USE_SUBSCRIPTION": "Y"});
    assert_eq!(call("bizproc.robot.add", robot).await.0, 200);
    let offline = json!({"event": "ONCRMDEALUPDATE", "event_type": "offline"});
    assert_eq!(call("event.bind", offline).await.0, 200);
    stage.post("items", json!({"entity_type_id": 2, "id": 5, "fields": {"stageId": "NEW"}})).await;
    stage.post("fields", json!({"entity_type_id": 2, "name": "ufCrmSigned", "kind": "files"})).await;
    let path = "items/2/5/files?field=ufCrmSigned&name=a.pdf&several=1";
    assert_eq!(stage.press(reqwest::Method::POST, path, "A").await.0, 200);
    stage.post("items/2/5", json!({"fields": {"stageId": "WON"}})).await;
    assert_eq!(stage.show("offline").await[0]["event"], "ONCRMDEALUPDATE");
    let spec = json!({"code": "r", "item": {"entity_type_id": 2, "id": 5}, "properties": {}});
    let run = stage.post("robots", json!({"client_id": client, "robot": spec})).await;
    until("the page and the robot", || receiver.count() == 2).await;
    let flow = stage.show("workflows").await[0].clone();
    assert_eq!((&flow["id"], &flow["state"]), (&run["workflow_id"], &json!("waiting")));
    let plan = json!({"entity_type_id": 2, "id": 5, "template_id": 1, "title": "Акт", "plan": {"after": 0}});
    assert!(stage.post("generated", plan).await["id"].is_u64());
    stage.post("tokens", json!({"what": "expire"})).await;
    assert_eq!(call("scope", json!({})).await.1["error"], "expired_token");
    assert_eq!(stage.show("tokens").await["uses"][&token[..8]], 3);
    stage.post("portal", json!({"overload": "blocked", "limits": {"per_second": 2.0, "burst": 50.0}})).await;
    assert_eq!(stage.error("scope", json!({})).await, (503, "OVERLOAD_LIMIT".into()));
    let unknown = stage.press(reqwest::Method::GET, "nothing", "").await;
    assert_eq!(unknown.0, 404);
}
