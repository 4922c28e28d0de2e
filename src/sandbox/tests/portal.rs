//! The portal's methods, limits and events.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

fn deal(id: u64) -> crate::domain::CrmItem {
    crate::domain::CrmItem { entity_type_id: 2, id }
}

fn path_of(url: &Value) -> String {
    url.as_str().expect("a link is text").to_owned()
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_changes_nothing() {
    let stage = Stage::plain().await;
    let folder = stage.world.root_folder();
    let url = stage.sandbox.bitrix_url().join("rest/1/wrong/disk.folder.addsubfolder.json").expect("a path");
    let (status, body) =
        answer_of(stage.http.post(url).json(&json!({"id": folder, "data": {"NAME": "x"}}))).await;
    assert_eq!((status, body["error"].as_str()), (401, Some("INVALID_CREDENTIALS")));
    assert_eq!(stage.world.folders().len(), 1);
}

#[tokio::test]
async fn a_file_is_described_in_texts_and_its_link_wants_a_user_agent() {
    let stage = Stage::plain().await;
    let id =
        stage.world.add_file(stage.world.root_folder(), "Договор 1.pdf", "%PDF-1.4").expect("a free name");
    let file = stage.result("disk.file.get", json!({"id": id})).await;
    assert_eq!(file["ID"], id.to_string());
    assert_eq!((&file["SIZE"], &file["DELETED_TYPE"]), (&json!("8"), &json!("0")));
    assert_eq!(file["PARENT_ID"], stage.world.root_folder().to_string());
    let link = path_of(&file["DOWNLOAD_URL"]);
    let rude = stage.http.get(&link).send().await.expect("an answer");
    assert_eq!(rude.status(), 404);
    assert!(rude.headers().contains_key("content-disposition"));
    let polite = stage.http.get(&link).header("User-Agent", "test/1").send().await.expect("an answer");
    let shown = polite.headers()["content-disposition"].to_str().expect("ASCII").to_owned();
    assert!(shown.contains("filename*=utf-8''%D0%94"), "{shown}");
    assert_eq!(polite.bytes().await.expect("bytes"), "%PDF-1.4");
    assert_eq!(stage.error("disk.file.get", json!({"id": 1})).await, (400, "ERROR_NOT_FOUND".into()));
}

#[tokio::test]
async fn a_link_dies_with_its_time_its_use_and_any_change() {
    for (lifetime, statuses) in
        [(Duration::from_secs(60), [200, 403, 403]), (Duration::ZERO, [403, 403, 403])]
    {
        let links = DownloadLinks { lifetime, uses: LinkUses::Once };
        let stage = Stage::set(SandboxOptions { links, ..SandboxOptions::default() }).await;
        let id = stage.world.add_file(stage.world.root_folder(), "a.pdf", "A").expect("a free name");
        let link = path_of(&stage.result("disk.file.get", json!({"id": id})).await["DOWNLOAD_URL"]);
        let other = path_of(&stage.result("disk.file.get", json!({"id": id})).await["DOWNLOAD_URL"]);
        let mut seen = Vec::new();
        for link in [link.clone(), link, other.replace("token=disk", "token=dusk")] {
            let request = stage.http.get(link).header("User-Agent", "test/1");
            seen.push(request.send().await.expect("an answer").status().as_u16());
        }
        assert_eq!(seen, statuses, "{lifetime:?}");
    }
}

#[tokio::test]
async fn an_upload_in_base64_answers_numbers_and_keeps_names_apart() {
    let stage = Stage::plain().await;
    let folder = stage.world.root_folder();
    let params =
        json!({"id": folder, "data": {"NAME": "a.pdf"}, "fileContent": ["a.pdf", STANDARD.encode("AAA")]});
    let first = stage.result("disk.folder.uploadfile", params.clone()).await;
    assert!(first["ID"].is_u64() && first["DELETED_TYPE"] == 0 && first["DELETED_BY"].is_null(), "{first}");
    assert_eq!(stage.error("disk.folder.uploadfile", params.clone()).await, (400, "DISK_OBJ_22000".into()));
    let mut numbered = params;
    numbered["generateUniqueName"] = true.into();
    assert_eq!(stage.result("disk.folder.uploadFile.json", numbered).await["NAME"], "a (1).pdf");
    // The same by PHP's form, as a browser or curl sends it.
    let url = stage.sandbox.webhook_url().join("disk.folder.uploadfile").expect("a path");
    let id = folder.to_string();
    let content = STANDARD.encode("BBB");
    let form = [
        ("id", id.as_str()),
        ("data[NAME]", "b.pdf"),
        ("fileContent[0]", "b.pdf"),
        ("fileContent[1]", &content),
    ];
    let (status, body) = answer_of(stage.http.post(url).form(&form)).await;
    assert_eq!((status, &body["result"]["NAME"]), (200, &json!("b.pdf")), "{body}");
    let names: Vec<String> = stage.world.files(folder).into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["a.pdf", "a (1).pdf", "b.pdf"]);
    let uploads = stage.world.ledger_of("disk.folder.uploadfile");
    assert_eq!(uploads.iter().filter(|e| e.effect).count(), 3);
}

#[tokio::test]
async fn an_upload_in_two_steps_stores_once_per_token() {
    let stage = Stage::plain().await;
    let folder = stage.world.root_folder();
    let params = json!({"id": folder, "data": {"NAME": "big.pdf"}, "generateUniqueName": true});
    let step = stage.result("disk.folder.uploadfile", params).await;
    let send = async |field: &str| {
        let part = reqwest::multipart::Part::bytes(b"0123\r\n--x\r\n4567".to_vec()).file_name("other.pdf");
        let form = reqwest::multipart::Form::new().part(field.to_owned(), part);
        answer_of(stage.http.post(path_of(&step["uploadUrl"])).multipart(form)).await
    };
    assert!(stage.world.files(folder).is_empty());
    let (status, body) = send(step["field"].as_str().expect("a name")).await;
    assert_eq!((status, &body["result"]["NAME"]), (200, &json!("big.pdf")), "{body}");
    assert_eq!(
        stage.world.file_bytes(stage.world.files(folder)[0].id).expect("stored"),
        &b"0123\r\n--x\r\n4567"[..]
    );
    assert_eq!(send("file").await.0, 403);
    assert_eq!(stage.world.files(folder).len(), 1);
    assert_eq!(stage.world.ledger_of("upload.second_step").len(), 2);
}

#[tokio::test]
async fn children_come_in_pages_and_a_deleted_file_leaves_the_list_only() {
    let stage = Stage::plain().await;
    let folder = stage.world.add_folder(stage.world.root_folder(), "Входящие").expect("a free name");
    let ids: Vec<u64> = (0..53)
        .map(|i| stage.world.add_file(folder, &format!("{i}.pdf"), "x").expect("a free name"))
        .collect();
    let (_, page) =
        stage.call("disk.folder.getchildren", json!({"id": folder, "order": {"ID": "ASC"}})).await;
    assert_eq!((page["total"].as_u64(), page["next"].as_u64()), (Some(53), Some(50)));
    assert_eq!(page["result"].as_array().map(Vec::len), Some(50));
    let filter = json!({"id": folder, "order": {"ID": "ASC"}, "filter": {">ID": ids[50], "TYPE": "file"}, "start": -1});
    let (_, page) = stage.call("disk.folder.getchildren", filter).await;
    assert_eq!(page["result"][0]["ID"], ids[51].to_string());
    assert!(page.get("total").is_none() && page.get("next").is_none());
    stage.result("disk.file.markdeleted", json!({"id": ids[51]})).await;
    assert_eq!(stage.world.files(folder).len(), 52);
    assert_eq!(stage.result("disk.file.get", json!({"id": ids[51]})).await["DELETED_TYPE"], "3");
    let roots = stage.result("disk.storage.getlist", json!({})).await;
    assert_eq!(roots[0]["ROOT_OBJECT_ID"], stage.world.root_folder().to_string());
    let made = stage.result("disk.folder.addsubfolder", json!({"id": folder, "data": {"NAME": "n"}})).await;
    let again = stage.error("disk.folder.addsubfolder", json!({"id": folder, "data": {"NAME": "n"}})).await;
    assert_eq!((made["TYPE"].as_str(), again), (Some("folder"), (400, "DISK_OBJ_22000".into())));
}

#[tokio::test]
async fn a_deal_shows_its_file_in_both_generations_of_methods() {
    let stage = Stage::plain().await;
    stage.world.put_item(
        deal(501),
        &[("title", json!("Поставка")), ("stageId", json!("NEW")), ("assignedById", json!(1))],
    );
    let file =
        stage.world.put_item_file(deal(501), "ufCrmContract", "c.pdf", "%PDF-c").expect("the deal is there");
    let item = stage.result("crm.item.get", json!({"entityTypeId": 2, "id": 501})).await["item"].clone();
    assert_eq!((&item["stageId"], &item["ufCrmContract"]["id"]), (&json!("NEW"), &json!(file)));
    let link = path_of(&item["ufCrmContract"]["urlMachine"]);
    let bytes =
        stage.http.get(link).header("User-Agent", "t/1").send().await.expect("an answer").bytes().await;
    assert_eq!(bytes.expect("bytes"), "%PDF-c");
    let original = json!({"entityTypeId": 2, "id": 501, "useOriginalUfNames": "Y"});
    assert_eq!(stage.result("crm.item.get", original).await["item"]["UF_CRM_CONTRACT"]["id"], file);
    let old = stage.result("crm.deal.get", json!({"id": "501"})).await;
    assert_eq!((&old["ASSIGNED_BY_ID"], &old["UF_CRM_CONTRACT"]["id"]), (&json!("1"), &json!(file)));
    let found =
        stage.result("crm.item.list", json!({"entityTypeId": 2, "filter": {"=stageId": "NEW"}})).await;
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    let fields = stage.result("crm.item.fields", json!({"entityTypeId": 2})).await;
    assert_eq!(fields["fields"]["ufCrmContract"]["type"], "file");
    assert_eq!(
        stage.error("crm.item.get", json!({"entityTypeId": 2, "id": 1})).await,
        (400, "NOT_FOUND".into())
    );
    assert_eq!(stage.error("crm.deal.get", json!({"id": 1})).await, (400, String::new()));
}

#[actix_web::test]
async fn an_update_without_a_change_fires_no_event() {
    let receiver = Receiver::start(0).await;
    let stage = Stage::plain().await;
    stage.world.set_event_target(receiver.target());
    stage.world.put_item(deal(7), &[("stageId", json!("NEW"))]);
    let update =
        |stage: &str| json!({"entityTypeId": 2, "id": 7, "fields": {"stageId": stage, "noSuchField": 1}});
    stage.result("crm.item.update", update("NEW")).await;
    let item = stage.result("crm.item.update", update("WON")).await;
    assert_eq!((&item["item"]["stageId"], item["item"].get("noSuchField")), (&json!("WON"), None));
    until("the event of the second update", || receiver.count() == 1).await;
    let effects: Vec<bool> = stage.world.ledger_of("crm.item.update").iter().map(|e| e.effect).collect();
    assert_eq!(effects, [false, true]);
}

#[tokio::test]
async fn comments_are_listed_with_their_marks() {
    let stage = Stage::plain().await;
    stage.world.put_item(deal(7), &[]);
    let add = |kind: &str, id: u64| json!({"fields": {"ENTITY_ID": id, "ENTITY_TYPE": kind, "COMMENT": "Подписано [m1]"}});
    let id = stage.result("crm.timeline.comment.add", add("deal", 7)).await;
    assert!(id.is_u64());
    let filter = json!({"filter": {"ENTITY_ID": 7, "ENTITY_TYPE": "deal"}, "order": {"ID": "DESC"}});
    let listed = stage.result("crm.timeline.comment.list", filter).await;
    assert_eq!((&listed[0]["ID"], &listed[0]["COMMENT"]), (&json!(id.to_string()), &json!("Подписано [m1]")));
    assert_eq!(stage.result("crm.timeline.comment.get", json!({"id": id})).await["ENTITY_TYPE"], "deal");
    assert_eq!(
        stage.error("crm.timeline.comment.add", add("lead", 7)).await,
        (400, "OWNER_NOT_FOUND".into())
    );
    let capitals = json!({"FIELDS": {"ENTITY_ID": 7, "ENTITY_TYPE": "deal", "COMMENT": "x"}});
    assert_eq!(stage.error("crm.timeline.comment.add", capitals).await, (400, "100".into()));
    assert_eq!(stage.world.comments(deal(7)).len(), 1);
}

#[tokio::test]
async fn a_tag_replaces_a_notice_only_together_with_a_client_id() {
    let stage = Stage::plain().await;
    let user = stage.world.add_user("Пётр", "Иванов");
    let notice = |text: &str, client: Option<&str>| json!({"USER_ID": user, "MESSAGE": text, "TAG": "t", "CLIENT_ID": client});
    stage.result("im.notify.system.add", notice("one", None)).await;
    stage.result("im.notify.system.add", notice("two", None)).await;
    assert_eq!(stage.world.notices(user).len(), 2);
    stage.result("im.notify.system.add", notice("three", Some("c"))).await;
    stage.result("im.notify.personal.add", notice("four", Some("c"))).await;
    let texts: Vec<String> = stage.world.notices(user).into_iter().map(|n| n.text).collect();
    assert_eq!(texts, ["one", "two", "four"]);
    let guide = json!({"to": user, "message": "five", "type": "SYSTEM"});
    assert!(stage.result("im.notify", guide).await.is_u64());
    assert_eq!(stage.result("im.notify", json!({"to": 9999, "message": "x"})).await, json!(false));
    assert_eq!(stage.error("im.notify", json!({"to": user})).await, (400, "MESSAGE_EMPTY".into()));
}

#[tokio::test]
async fn service_methods_say_who_and_what_the_webhook_is() {
    let stage = Stage::plain().await;
    let user = stage.world.add_user("Пётр", "Иванов");
    assert!(stage.result("scope", json!({})).await.as_array().expect("a list").contains(&json!("disk")));
    assert_eq!(stage.result("profile", json!({})).await["ADMIN"], true);
    assert_eq!(stage.result("user.current", json!({})).await["ID"], "1");
    let found = stage.result("user.get", json!({"FILTER": {"ID": user}})).await;
    assert_eq!((found.as_array().map(Vec::len), &found[0]["LAST_ACTIVITY_DATE"]), (Some(1), &json!({})));
    assert_eq!(stage.result("user.get", json!({"ID": 9999})).await, json!([]));
    let known = stage.result("method.get", json!({"name": "disk.file.get"})).await;
    assert_eq!(known, json!({"isExisting": true, "isAvailable": true}));
    assert!(stage.result("app.info", json!({})).await["SCOPE"].is_array());
    assert!(stage.result("server.time", json!({})).await.as_str().expect("a date").ends_with("+03:00"));
    assert_eq!(stage.error("no.such.method", json!({})).await, (404, "ERROR_METHOD_NOT_FOUND".into()));
    assert_eq!(stage.error("event.bind", json!({})).await, (403, "WRONG_AUTH_TYPE".into()));
}

#[tokio::test]
async fn a_batch_has_the_quirks_of_php() {
    let stage = Stage::plain().await;
    let id = stage.world.add_file(stage.world.root_folder(), "a.pdf", "A").expect("a free name");
    let good = format!("disk.file.get?id={id}");
    let numeric = stage.result("batch", json!({"cmd": [good, "profile"]})).await;
    assert!(numeric["result"].is_array() && numeric["result_error"] == json!([]), "{numeric}");
    let named = json!({"cmd": {"b": good, "a": "disk.file.get?id=1", "c": "disk.folder.uploadfile?id=1", "d": "batch"}});
    let named = stage.result("batch", named).await;
    assert_eq!(named["result"]["b"]["ID"], id.to_string());
    assert_eq!(named["result_error"]["a"]["error"], "ERROR_NOT_FOUND");
    assert_eq!(named["result_error"]["c"]["error"], "ERROR_BATCH_METHOD_NOT_ALLOWED");
    assert_eq!(named["result_error"]["d"]["error"], "ERROR_BATCH_METHOD_NOT_ALLOWED");
    assert_eq!((&named["result_total"], &named["result_next"]), (&json!([]), &json!([])));
    assert!(named["result_time"]["b"]["operating"].is_number());
    // Written by hand: the order of the body counts, and a map would be sorted.
    let body = format!(r#"{{"halt":1,"cmd":{{"z":"disk.file.get?id=1","a":"{good}"}}}}"#);
    let url = stage.sandbox.webhook_url().join("batch").expect("a path");
    let post = stage.http.post(url).header("Content-Type", "application/json").body(body);
    let halted = answer_of(post).await.1["result"].clone();
    assert_eq!((&halted["result"], halted["result_error"].get("z").is_some()), (&json!([]), true));
    let reference = json!({"cmd": {"one": good, "two": "disk.folder.get?id=$result[one][PARENT_ID]"}});
    let reference = stage.result("batch", reference).await;
    assert_eq!(reference["result"]["two"]["ID"], stage.world.root_folder().to_string());
    let many: serde_json::Map<_, _> = (0..51).map(|i| (format!("c{i:02}"), json!("scope"))).collect();
    let many = stage.result("batch", json!({"cmd": many})).await;
    assert_eq!(many["result_error"]["c50"]["error"], "ERROR_BATCH_LENGTH_EXCEEDED");
    assert_eq!(many["result"].as_object().map(serde_json::Map::len), Some(50));
    assert_eq!(stage.world.ledger_of("disk.file.get").len(), 5, "commands have entries of their own");
}

#[tokio::test]
async fn a_batch_is_read_from_a_form_and_its_lists_are_counted() {
    let stage = Stage::plain().await;
    let root = stage.world.root_folder();
    stage.world.add_file(root, "a b.pdf", "A").expect("a free name");
    let url = stage.sandbox.webhook_url().join("batch.json").expect("a path");
    let command = format!("disk.folder.getchildren?id={root}&filter%5BNAME%5D=a%20b.pdf");
    let (_, body) =
        answer_of(stage.http.post(url).form(&[("cmd[x]", command.as_str()), ("halt", "0")])).await;
    assert_eq!(body["result"]["result_total"]["x"], 1);
    assert_eq!(body["result"]["result"]["x"][0]["NAME"], "a b.pdf");
}

#[tokio::test]
async fn a_full_bucket_and_a_tired_method_are_refused_without_effect() {
    let limits = Limits {
        bucket_rate: Some(BucketRate { per_second: 0.001, burst: 5.0 }),
        operating_limit_ms: Some(50),
        operating_call_ms: 60,
        ..Limits::default()
    };
    let stage = Stage::set(SandboxOptions { limits, ..SandboxOptions::default() }).await;
    let root = stage.world.root_folder();
    let add = |name: &str| json!({"id": root, "data": {"NAME": name}});
    stage.result("disk.folder.addsubfolder", add("a")).await;
    let (status, body) = stage.call("disk.folder.addsubfolder", add("b")).await;
    assert_eq!((status, body["error"].as_str()), (429, Some("OPERATION_TIME_LIMIT")));
    assert!(body["time"]["operating_reset_at"].as_i64() > Some(world::now_ms() / 1_000), "{body}");
    stage.result("scope", json!({})).await;
    let batch = stage.result("batch", json!({"cmd": {"x": "disk.folder.addsubfolder?id=1"}})).await;
    assert_eq!(batch["result_error"]["x"]["error"], "OPERATION_TIME_LIMIT");
    stage.result("profile", json!({})).await;
    assert_eq!(stage.error("profile", json!({})).await, (503, "QUERY_LIMIT_EXCEEDED".into()));
    assert_eq!(stage.world.folders().len(), 2);
}

#[tokio::test]
async fn a_renamed_portal_sends_on_with_302_and_works_at_its_new_address() {
    let stage = Stage::plain().await;
    let old = stage.sandbox.webhook_url();
    let new = stage.world.rename_portal();
    let answer =
        stage.http.post(old.join("scope").expect("a path")).json(&json!({})).send().await.expect("an answer");
    assert_eq!(answer.status(), 302);
    let location = answer.headers()["location"].to_str().expect("ASCII").to_owned();
    assert!(location.starts_with(new.as_str()) && location.ends_with("/scope"), "{location}");
    assert!(serde_json::from_str::<Value>(&answer.text().await.expect("text")).is_err());
    assert_eq!(answer_of(stage.http.post(&location).json(&json!({}))).await.0, 200);
}

#[tokio::test]
async fn a_dismissed_owner_and_a_missing_scope_are_refused() {
    let stage = Stage::plain().await;
    stage.world.set_scopes(&["disk"]);
    assert_eq!(
        stage.error("crm.item.get", json!({"entityTypeId": 2, "id": 1})).await,
        (403, "insufficient_scope".into())
    );
    let known = stage.result("method.get", json!({"name": "crm.item.get"})).await;
    assert_eq!(known, json!({"isExisting": true, "isAvailable": false}));
    stage.world.set_owner(Owner::Dismissed);
    assert_eq!(stage.error("scope", json!({})).await, (401, "authorization_error".into()));
}

#[actix_web::test]
async fn events_have_the_true_wire_form_and_are_never_resent() {
    let receiver = Receiver::start(1).await;
    let stage = Stage::plain().await;
    stage.world.set_event_target(receiver.target());
    stage.world.fire(EventSpec::new("ONCRMDEALUPDATE", json!({"FIELDS": {"ID": 7405}})));
    until("the event", || stage.world.ledger_of("event").len() == 1).await;
    assert_eq!(stage.world.ledger_of("event")[0].status, Some(500));
    let root = stage.world.root_folder();
    let params =
        json!({"id": root, "data": {"NAME": "a_signed.pdf"}, "fileContent": ["a", STANDARD.encode("A")]});
    let id = stage.result("disk.folder.uploadfile", params).await["ID"].clone();
    until("the echo of the upload", || receiver.count() == 2).await;
    let (first, echo) = (&receiver.all()[0], &receiver.all()[1]);
    let host = stage.sandbox.bitrix_url().authority().replace(':', "%3A");
    let oauth = stage.sandbox.oauth_url().authority().replace(':', "%3A");
    let body = first.text();
    let start = "event=ONCRMDEALUPDATE&event_handler_id=975&data%5BFIELDS%5D%5BID%5D=7405&ts=";
    let end = format!(
        "&auth%5Bdomain%5D={host}&auth%5Bclient_endpoint%5D=http%3A%2F%2F{host}%2Frest%2F\
         &auth%5Bserver_endpoint%5D=http%3A%2F%2F{oauth}%2Frest%2F\
         &auth%5Bmember_id%5D={MEMBER_ID}&auth%5Bapplication_token%5D=sandboxapplicationtoken"
    );
    assert!(body.starts_with(start) && body.ends_with(&end), "{body}");
    assert_eq!(
        (first.kind.as_str(), first.agent.as_str()),
        ("application/x-www-form-urlencoded", "Bitrix24 Webhook Engine")
    );
    assert!(
        echo.text()
            .starts_with(&format!("event=ONDISKFILEADD&event_handler_id=975&data%5BFIELDS%5D%5BID%5D={id}&"))
    );
    stage.world.set_echo(Echo::Off);
    stage.world.drop_file(root, "b.pdf", "B").expect("a free name");
    until("the event of the file put by hand", || receiver.count() == 3).await;
}

#[tokio::test]
async fn every_source_has_a_bucket_of_its_own() {
    let limits =
        Limits { bucket_rate: Some(BucketRate { per_second: 0.001, burst: 2.0 }), ..Limits::default() };
    let stage = Stage::set(SandboxOptions { limits, ..SandboxOptions::default() }).await;
    for _ in 0..2 {
        stage.result("scope", json!({})).await;
    }
    assert_eq!(stage.error("scope", json!({})).await, (503, "QUERY_LIMIT_EXCEEDED".into()));
    let elsewhere = std::net::IpAddr::from([127, 0, 0, 2]);
    let http = reqwest::Client::builder().no_proxy().local_address(elsewhere).build().expect("a client");
    let url = stage.sandbox.webhook_url().join("scope").expect("a path");
    assert_eq!(answer_of(http.post(url)).await.0, 200);
}

#[tokio::test]
async fn a_box_may_count_nothing_and_the_cloud_may_count_a_batch_as_one() {
    let limits = |counters| Limits {
        operating_limit_ms: Some(50),
        operating_call_ms: 60,
        counters,
        ..Limits::default()
    };
    let stage =
        Stage::set(SandboxOptions { limits: limits(Counters::ByBatch), ..SandboxOptions::default() }).await;
    let commands = json!({"cmd": {"a": "scope", "b": "profile"}});
    let batch = stage.result("batch", commands.clone()).await;
    assert_eq!(batch["result_error"]["b"]["error"], "OPERATION_TIME_LIMIT", "both are charged to the batch");
    stage.result("scope", json!({})).await;
    stage.world.set_limits(limits(Counters::Absent));
    let (_, body) = stage.call("scope", json!({})).await;
    assert!(body["time"].get("operating").is_none() && body["time"]["start"].is_number(), "{body}");
    let (status, body) = stage.call("batch", commands).await;
    assert_eq!((status, &body["result"]["result_error"]), (200, &json!([])));
    stage.world.set_overload(Overload::Blocked);
    assert_eq!(stage.error("scope", json!({})).await, (503, "OVERLOAD_LIMIT".into()));
}
