//! The CRM: items in both generations of methods, file fields, stages, comments with files, generated documents.

use super::*;
use crate::domain::CrmItem;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

const DEAL: CrmItem = CrmItem { entity_type_id: 2, id: 501 };
const DYNAMIC: CrmItem = CrmItem { entity_type_id: 135, id: 7 };

fn file(name: &str, content: &str) -> Value {
    json!([name, STANDARD.encode(content)])
}

fn names(stage: &Stage, field: &str) -> Vec<String> {
    stage.world.item_files(DEAL, field).into_iter().map(|(name, _)| name).collect()
}

#[actix_web::test]
async fn a_file_that_an_update_does_not_name_again_is_gone() {
    let stage = Stage::plain().await;
    stage.world.put_item(DEAL, &[("title", "Поставка".into())]);
    stage.world.declare_field(2, "ufCrmSigned", FieldKind::Files);
    let key = json!({"entityTypeId": 2, "id": 501, "useOriginalUfNames": "Y"});
    let empty = stage.result("crm.item.get", key.clone()).await;
    assert_eq!(empty["item"]["UF_CRM_SIGNED"], json!([]));
    let update = async |files: Value| {
        let mut params = key.clone();
        params["fields"] = json!({"UF_CRM_SIGNED": files});
        stage.result("crm.item.update", params).await["item"]["UF_CRM_SIGNED"].clone()
    };
    let first = update(json!([file("a.pdf", "A"), file("b.pdf", "B")])).await;
    assert_eq!(names(&stage, "ufCrmSigned"), ["a.pdf", "b.pdf"]);
    let kept = json!({"id": first[1]["id"]});
    update(json!([kept, file("c.pdf", "C"), {"id": 999_999}])).await;
    assert_eq!(names(&stage, "ufCrmSigned"), ["b.pdf", "c.pdf"]);
    update(json!([])).await;
    assert!(names(&stage, "ufCrmSigned").is_empty());
}

#[actix_web::test]
async fn the_deprecated_methods_keep_files_and_speak_in_capitals() {
    let stage = Stage::plain().await;
    stage.world.put_item(DEAL, &[("title", "Поставка".into()), ("stageId", "NEW".into())]);
    stage.world.add_item_file(DEAL, "ufCrmSigned", "a.pdf", "A").expect("the deal is there");
    let fields = json!({"STAGE_ID": "WON", "UF_CRM_SIGNED": [{"fileData": file("b.pdf", "B")}]});
    assert_eq!(stage.result("crm.deal.update", json!({"id": 501, "fields": fields})).await, json!(true));
    assert_eq!(names(&stage, "ufCrmSigned"), ["a.pdf", "b.pdf"]);
    let deal = stage.result("crm.deal.get", json!({"ID": 501})).await;
    assert_eq!((&deal["STAGE_ID"], &deal["ID"]), (&json!("WON"), &json!("501")));
    assert_eq!(deal["UF_CRM_SIGNED"].as_array().map(Vec::len), Some(2));
    let lead =
        stage.result("crm.lead.add", json!({"fields": {"TITLE": "Заявка", "STATUS_ID": "IN_PROCESS"}})).await;
    let got = stage.result("crm.lead.get", json!({"id": lead})).await;
    assert_eq!((&got["STATUS_ID"], &got["TITLE"]), (&json!("IN_PROCESS"), &json!("Заявка")));
    assert_eq!(stage.error("crm.deal.get", json!({"id": 1})).await, (400, String::new()));
}

#[actix_web::test]
async fn every_change_has_its_event_and_another_funnel_has_one_of_its_own() {
    let receiver = Receiver::start(0).await;
    let stage = Stage::plain().await;
    let base: Url = receiver.url.parse().expect("a URL");
    let spec = AppSpec::local(&base);
    stage.world.register_app(spec.clone());
    let token = stage.world.install_app(&spec.client_id).expect("registered").access_token;
    stage.world.finish_install(&spec.client_id).expect("installed");
    for event in ["ONCRMDEALADD", "ONCRMDEALUPDATE", "ONCRMDEALMOVETOCATEGORY", "ONCRMDYNAMICITEMUPDATE_135"]
    {
        let url = stage.sandbox.bitrix_url().join("rest/event.bind").expect("a path");
        let params = json!({"event": event, "handler": receiver.url, "auth": token.expose()});
        assert_eq!(answer_of(stage.http.post(url).json(&params)).await.0, 200);
    }
    let made = json!({"entityTypeId": 2, "fields": {"title": "Новая", "categoryId": 1, "unknownField": 1}});
    let deal = stage.result("crm.item.add", made).await["item"].clone();
    assert_eq!((&deal["stageId"], deal.get("unknownField")), (&json!("C1:NEW"), None));
    until("the event of the new deal", || receiver.count() == 1).await;
    let change = |fields: Value| json!({"entityTypeId": 2, "id": deal["id"], "fields": fields});
    stage.result("crm.item.update", change(json!({"title": "Новая"}))).await;
    stage.result("crm.item.update", change(json!({"stageId": "C1:WON"}))).await;
    until("the event of the change", || receiver.count() == 2).await;
    stage.result("crm.item.update", change(json!({"categoryId": 2, "stageId": "C2:NEW"}))).await;
    until("the event of the move", || receiver.count() == 3).await;
    stage.world.put_item(DYNAMIC, &[("stageId", "DT135_20:NEW".into())]);
    stage.world.move_item(DYNAMIC, "DT135_20:SUCCESS").expect("it is there");
    until("the event of the smart process", || receiver.count() == 4).await;
    let events: Vec<String> = receiver
        .all()
        .iter()
        .map(|got| form_urlencoded::parse(&got.body).find(|(k, _)| k == "event").map(|(_, v)| v.into_owned()))
        .map(Option::unwrap_or_default)
        .collect();
    assert_eq!(
        events,
        ["ONCRMDEALADD", "ONCRMDEALUPDATE", "ONCRMDEALMOVETOCATEGORY", "ONCRMDYNAMICITEMUPDATE_135"]
    );
    let moved = receiver.all()[2].text();
    assert!(moved.contains("%5BCATEGORY_ID%5D=2&") && moved.contains("%5BSTAGE_ID%5D=C2%3ANEW&"), "{moved}");
}

#[actix_web::test]
async fn stages_are_listed_by_their_directory() {
    let stage = Stage::plain().await;
    let listed = async |directory: &str| {
        let rows = stage.result("crm.status.list", json!({"filter": {"ENTITY_ID": directory}})).await;
        let rows = rows.as_array().expect("a list").clone();
        rows.iter().map(|r| r["STATUS_ID"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("DEAL_STAGE_3").await[..2], ["C3:NEW", "C3:PREPARATION"]);
    assert_eq!(listed("DYNAMIC_135_STAGE_20").await[3], "DT135_20:SUCCESS");
    stage.world.set_stages("DEAL_STAGE_3", &["C3:NEW", "C3:SIGN"]);
    assert_eq!(listed("DEAL_STAGE_3").await, ["C3:NEW", "C3:SIGN"]);
    assert!(listed("NOTHING").await.is_empty());
}

#[actix_web::test]
async fn a_comment_carries_files_that_no_folder_shows() {
    let stage = Stage::plain().await;
    stage.world.put_item(DEAL, &[]);
    let fields = json!({"ENTITY_ID": 501, "ENTITY_TYPE": "deal", "COMMENT": "Подписано",
        "FILES": [file("a.pdf", "A"), file("a.pdf", "AA")]});
    let id = stage.result("crm.timeline.comment.add", json!({"fields": fields})).await;
    let files = stage.world.comment_files(id.as_u64().expect("a number"));
    assert_eq!(files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["a.pdf", "a (1).pdf"]);
    assert_eq!(stage.world.folders().len(), 1);
    let comment = stage.result("crm.timeline.comment.get", json!({"id": id})).await;
    let shown = &comment["FILES"][files[0].id.to_string()];
    assert_eq!((&shown["name"], &shown["size"]), (&json!("a.pdf"), &json!(1)), "{comment}");
    let drive = stage.result("disk.file.get", json!({"id": files[1].id})).await;
    let link = drive["DOWNLOAD_URL"].as_str().expect("a link");
    let answer = stage.http.get(link).header("User-Agent", "test/1").send().await.expect("an answer");
    assert_eq!(answer.bytes().await.expect("bytes"), "AA");
}

#[actix_web::test]
async fn the_pdf_of_a_generated_document_comes_later_or_fails_or_never_comes() {
    let stage = Stage::plain().await;
    stage.world.put_item(DEAL, &[]);
    let get = async |id: u64| {
        stage.result("crm.documentgenerator.document.get", json!({"id": id})).await["document"].clone()
    };
    let make = |plan| {
        stage.world.generate_document(DEAL, 3, "Договор", "%PDF-1.4", plan).expect("the deal is there")
    };
    let (soon, ready, failed, never) = (
        make(PdfPlan::After(60_000)),
        make(PdfPlan::After(0)),
        make(PdfPlan::Fails(0)),
        make(PdfPlan::Never),
    );
    let mut absent = 0;
    for id in [soon, never] {
        let document = get(id).await;
        assert_eq!(document["id"], id.to_string());
        assert_eq!(document["isTransformationError"], false);
        assert!(document["downloadUrlMachine"].as_str().is_some_and(|url| url.contains("/disk/download/")));
        absent += u32::from(document.get("pdfUrlMachine").is_none());
        assert!(document.get("pdfUrlMachine").is_none_or(|url| url == ""));
    }
    assert_eq!(absent, 1, "absent and empty by turns");
    let link = get(ready).await["pdfUrlMachine"].as_str().expect("a link").to_owned();
    let answer = stage.http.get(link).header("User-Agent", "test/1").send().await.expect("an answer");
    assert_eq!(answer.bytes().await.expect("bytes"), "%PDF-1.4");
    assert_eq!(get(failed).await["isTransformationError"], true);
    let filter =
        json!({"filter": {"entityTypeId": 2, "entityId": 501, ">id": soon}, "select": ["id", "pdfId"]});
    let rows = stage.result("crm.documentgenerator.document.list", filter).await["documents"].clone();
    assert_eq!(rows.as_array().map(Vec::len), Some(3));
    assert!(rows[0]["pdfId"].is_string() && rows[0].get("title").is_none(), "{rows}");
}

#[actix_web::test]
async fn a_list_by_ids_answers_those_and_the_clock_is_in_the_head() {
    let stage = Stage::plain().await;
    for id in 1..=60 {
        stage.world.put_item(CrmItem { entity_type_id: 2, id }, &[("stageId", "NEW".into())]);
    }
    let params = json!({"entityTypeId": 2, "filter": {"@id": [3, 59, 70]}, "select": ["id", "stageId"]});
    let items = stage.result("crm.item.list", params).await["items"].clone();
    assert_eq!(items, json!([{"id": 3, "stageId": "NEW"}, {"id": 59, "stageId": "NEW"}]));
    let url = stage.sandbox.webhook_url().join("server.time").expect("a path");
    let answer = stage.http.get(url).send().await.expect("an answer");
    let date = answer.headers()["date"].to_str().expect("ASCII");
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
}
