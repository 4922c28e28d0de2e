//! The second channels: the offline queue, robots and workflows, the push server.

use super::apps::Played;
use super::*;
use crate::domain::CrmItem;
use serde_json::json;

fn deal(id: u64) -> CrmItem {
    CrmItem { entity_type_id: 2, id }
}

async fn bound() -> Played {
    let played = Played::set(Interface::ApiOnly).await;
    until("ONAPPINSTALL", || played.receiver.count() == 1).await;
    played.stage.world.put_item(deal(1), &[("stageId", "NEW".into())]);
    played.stage.world.put_item(deal(2), &[("stageId", "NEW".into())]);
    played
}

fn rows(answer: &Value) -> Vec<(String, String)> {
    let events = answer["events"].as_array().expect("a list");
    let id = |row: &Value| row["EVENT_DATA"]["FIELDS"]["ID"].as_str().unwrap_or("").to_owned();
    events.iter().map(|row| (row["EVENT_NAME"].as_str().unwrap_or("").to_owned(), id(row))).collect()
}

#[actix_web::test]
async fn the_queue_keeps_one_row_for_an_object_and_deletes_on_read_unless_told_otherwise() {
    let played = bound().await;
    let world = &played.stage.world;
    played.result("event.bind", json!({"event": "ONCRMDEALUPDATE", "event_type": "offline"})).await;
    for stage in ["A", "B", "C"] {
        world.move_item(deal(1), stage).expect("it is there");
    }
    world.move_item(deal(2), "A").expect("it is there");
    assert_eq!(world.offline_rows().len(), 2);
    let taken = played.result("event.offline.get", json!({"clear": 0})).await;
    let process = taken["process_id"].clone();
    assert_eq!(rows(&taken).len(), 2);
    assert!(rows(&played.result("event.offline.get", json!({"clear": 0})).await).is_empty(), "reserved");
    world.move_item(deal(1), "D").expect("it is there");
    assert_eq!(world.offline_rows().len(), 3, "a reserved row is not touched by a later change");
    let again = played.result("event.offline.get", json!({"clear": 0, "process_id": process})).await;
    assert_eq!(rows(&again).len(), 2);
    let message = taken["events"][0]["MESSAGE_ID"].clone();
    let failed = json!({"process_id": process, "message_id": [message]});
    assert_eq!(played.result("event.offline.error", failed).await, json!(true));
    assert_eq!(rows(&played.result("event.offline.get", json!({"clear": 0, "error": 1})).await).len(), 1);
    played.result("event.offline.clear", json!({"process_id": process})).await;
    let rest = played.result("event.offline.get", json!({})).await;
    assert_eq!((rest["process_id"].clone(), rows(&rest).len()), (Value::Null, 1));
    assert!(rows(&played.result("event.offline.get", json!({})).await).is_empty(), "deleted on read");
}

#[actix_web::test]
async fn own_changes_with_the_key_of_the_queue_are_not_queued_and_others_do_not_see_it() {
    let played = bound().await;
    let bind = json!({"event": "ONCRMDEALUPDATE", "event_type": "offline", "auth_connector": "edo"});
    played.result("event.bind", bind).await;
    let change = |stage: &str| json!({"entityTypeId": 2, "id": 1, "fields": {"stageId": stage}});
    let mut own = change("A");
    own["auth_connector"] = "edo".into();
    played.result("crm.item.update", own).await;
    let query = "crm.item.update?entityTypeId=2&id=1&fields[stageId]=B&auth_connector=edo";
    played.result("batch", json!({"cmd": {"a": query}})).await;
    assert!(played.stage.world.offline_rows().is_empty());
    played.result("crm.item.update", change("C")).await;
    assert!(
        rows(&played.result("event.offline.get", json!({})).await).is_empty(),
        "looks like an empty queue"
    );
    let seen = played.result("event.offline.get", json!({"auth_connector": "edo"})).await;
    assert_eq!(rows(&seen), [("ONCRMDEALUPDATE".to_owned(), "1".to_owned())]);
    played.stage.world.set_feature("rest_offline_extended", false);
    assert_eq!(played.result("feature.get", json!({"CODE": "rest_offline_extended"})).await["value"], "N");
    let token = played.installed.access_token.expose();
    assert_eq!(played.call(token, "event.offline.get", json!({"clear": 0})).await.0, 403);
}

#[actix_web::test]
async fn an_offline_event_wakes_once_in_its_least_pause_and_survives_a_lost_webhook() {
    let played = bound().await;
    let world = &played.stage.world;
    world.set_event_target(played.receiver.target());
    let wake =
        json!({"event": "ONOFFLINEEVENT", "handler": played.receiver.url, "options": {"minTimeout": 1}});
    played.result("event.bind", wake).await;
    played.result("event.bind", json!({"event": "ONCRMDEALUPDATE", "event_type": "offline"})).await;
    world.set_event_target(None);
    for stage in ["A", "B", "C"] {
        world.move_item(deal(1), stage).expect("it is there");
    }
    until("the first waking", || played.receiver.count() == 2).await;
    let body = played.bodies().remove(1);
    assert!(body.starts_with("event=ONOFFLINEEVENT&") && body.contains("auth[refresh_token]="), "{body}");
    assert!(!body.contains("data["), "{body}");
    world.move_item(deal(2), "A").expect("it is there");
    world.move_item(deal(2), "B").expect("it is there");
    until("the second waking", || played.receiver.count() == 3).await;
    assert_eq!(world.offline_rows().len(), 2);
}

#[actix_web::test]
async fn a_robot_is_released_once_and_a_second_answer_is_refused() {
    let played = bound().await;
    let world = &played.stage.world;
    let robot = json!({
        "CODE": "edobridge_send", "HANDLER": played.receiver.url, "AUTH_USER_ID": 1, "USE_SUBSCRIPTION": "Y",
        "NAME": {"ru": "Отправить на подпись"}, "PROPERTIES": {"route": {"Name": "Маршрут", "Type": "string"}},
    });
    let token = played.installed.access_token.expose();
    assert_eq!(played.result("bizproc.robot.add", robot.clone()).await, json!(true));
    let (status, body) = played.call(token, "bizproc.robot.add", robot).await;
    assert_eq!((status, &body["error"]), (400, &json!("ERROR_ACTIVITY_ALREADY_INSTALLED")));
    assert_eq!(played.result("bizproc.robot.list", json!({})).await, json!(["edobridge_send"]));
    let spec = RobotSpec {
        code: "edobridge_send".into(),
        item: deal(1),
        properties: json!({"route": "route-1", "tell": ["user_1"]}),
        timeout_s: 0,
    };
    let run = world.run_robot(&played.spec.client_id, &spec).expect("the robot is registered");
    until("the robot's call", || played.receiver.count() == 2).await;
    let body = played.bodies().remove(1);
    let start = format!("workflow_id={}&code=edobridge_send&document_id[0]=crm", run.workflow_id);
    assert!(body.starts_with(&start) && !body.contains("event="), "{body}");
    for part in [
        "document_id[2]=DEAL_1&",
        "properties[tell][0]=user_1&",
        "use_subscription=Y&",
        "auth[refresh_token]=",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    let running = played.result("bizproc.workflow.instances", json!({"SELECT": ["ID", "DOCUMENT_ID"]})).await;
    assert_eq!(running, json!([{"ID": run.workflow_id, "DOCUMENT_ID": "DEAL_1"}]));
    let log = json!({"EVENT_TOKEN": run.event_token, "LOG_MESSAGE": "Отправлено"});
    assert_eq!(played.result("bizproc.activity.log", log).await, json!(true));
    let send = json!({"event_token": run.event_token, "return_values": {"status": "signed"}});
    assert_eq!(played.result("bizproc.event.send", send.clone()).await, json!(true));
    let (status, again) = played.call(token, "bizproc.event.send", send).await;
    assert_eq!((status, &again["error"]), (403, &json!("ACCESS_DENIED")));
    let flow = world.workflow(&run.workflow_id).expect("it was started");
    assert_eq!(flow.state, WorkflowState::Released(json!({"status": "signed"})));
    assert_eq!(flow.log, ["Отправлено"]);
    assert_eq!(played.result("bizproc.workflow.instances", json!({})).await, json!([]));
}

#[actix_web::test]
async fn a_robot_that_does_not_wait_has_nothing_to_release_and_a_template_starts_one() {
    let played = bound().await;
    let world = &played.stage.world;
    let robot = json!({"CODE": "r", "HANDLER": played.receiver.url, "USE_SUBSCRIPTION": "Y", "NAME": "R"});
    played.result("bizproc.robot.add", robot).await;
    let fields = json!({"CODE": "r", "FIELDS": {"USE_SUBSCRIPTION": "N"}});
    played.result("bizproc.robot.update", fields).await;
    world.set_template(77, &played.spec.client_id, "r", json!({"a": 1}));
    let document = json!(["crm", "CCrmDocumentDeal", "DEAL_2"]);
    let id =
        played.result("bizproc.workflow.start", json!({"TEMPLATE_ID": 77, "DOCUMENT_ID": document})).await;
    until("the robot's call", || played.receiver.count() == 2).await;
    assert!(played.bodies()[1].contains("use_subscription=N&"));
    let flow = world.workflow(id.as_str().expect("text")).expect("it was started");
    assert_eq!((flow.state, flow.item), (WorkflowState::Ended, deal(2)));
    world.add_fault(Fault::first("robot", 1, FaultKind::CutBefore)).expect("there is room");
    played.result("bizproc.robot.update", json!({"CODE": "r", "FIELDS": {"USE_SUBSCRIPTION": ""}})).await;
    let spec = RobotSpec { code: "r".into(), item: deal(1), properties: json!({}), timeout_s: 0 };
    let run = world.run_robot(&played.spec.client_id, &spec).expect("the robot is registered");
    until("the lost call", || world.ledger_of("robot").len() == 2).await;
    assert_eq!(world.workflow(&run.workflow_id).expect("it hangs").state, WorkflowState::Waiting);
    let stop = json!({"ID": run.workflow_id, "STATUS": "остановлен"});
    assert_eq!(played.result("bizproc.workflow.terminate", stop).await, json!(true));
}

#[actix_web::test]
async fn a_poll_ends_with_news_or_after_its_hold_and_resumes_by_position() {
    let played = bound().await;
    let (world, client) = (&played.stage.world, played.spec.client_id.as_str());
    world.set_push(PushVersion::CloudV5, Duration::from_millis(100));
    let config = played.result("pull.application.config.get", json!({})).await;
    assert_eq!((&config["server"]["version"], config["clientId"].is_string()), (&json!(5), true), "{config}");
    let private = config["channels"]["private"]["id"].as_str().expect("an id").to_owned();
    let poll = async |query: &str| {
        let url = format!(
            "{}{private}?format=json&{query}",
            config["server"]["long_pooling_secure"].as_str().unwrap_or("")
        );
        answer_of(played.stage.http.get(url)).await
    };
    assert_eq!(poll("clientId=x").await.0, 304);
    world.set_push(PushVersion::CloudV5, Duration::from_secs(10));
    let (answer, ()) = tokio::join!(poll("clientId=x"), async {
        until("the poll", || world.calls().get("push.poll") == Some(&2)).await;
        tokio::task::yield_now().await;
        // Counted is not yet listening: what is said before that is fetched by position below.
        world.push_message(client, "look", json!({"n": 1}));
    });
    let first = if answer.0 == 200 { answer.1 } else { poll("mid=0").await.1 };
    assert_eq!(first[0]["text"]["command"], "look", "{first}");
    played.result("pull.application.event.add", json!({"COMMAND": "more", "USER_ID": 1})).await;
    let mid = first[0]["mid"].as_str().expect("text").to_owned();
    let (_, second) = poll(&format!("mid={mid}")).await;
    assert_eq!((second.as_array().map(Vec::len), &second[0]["text"]["command"]), (Some(1), &json!("more")));
    world.push_control(PushControl::Reconnect);
    let (_, third) = poll(&format!("mid={}", second[0]["mid"].as_str().expect("text"))).await;
    let params = &third[0]["text"]["params"];
    assert_eq!(
        (&third[0]["text"]["command"], &params["action"]),
        (&json!("channel_expire"), &json!("reconnect"))
    );
    let again = played.result("pull.application.config.get", json!({})).await;
    assert_eq!(again["channels"]["private"]["id"], params["new_channel"]["id"]);
    let last = format!("mid={}", third[0]["mid"].as_str().expect("text"));
    assert_eq!(poll(&last).await.0, 404, "the old channel is gone");
}

#[actix_web::test]
async fn the_older_server_frames_its_messages() {
    let played = bound().await;
    let world = &played.stage.world;
    world.set_push(PushVersion::BoxV3, Duration::from_secs(5));
    let config = played.result("pull.application.config.get", json!({"CACHE": "N", "REOPEN": "Y"})).await;
    assert!(config.get("clientId").is_none());
    let private = config["channels"]["private"]["id"].as_str().expect("an id");
    world.push_message(&played.spec.client_id, "look", json!({}));
    let url =
        format!("{}?CHANNEL_ID={private}&mid=0", config["server"]["long_polling"].as_str().expect("a URL"));
    let (status, body) = answer_of(played.stage.http.get(url)).await;
    let body = body.as_str().expect("no JSON");
    assert!(status == 200 && body.starts_with("#!NGINXNMS!#{") && body.ends_with("}#!NGINXNME!#"), "{body}");
}
