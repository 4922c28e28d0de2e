//! The calls of iDocs over real sockets: what is sent is what the samples show, what comes back is read in every style,
//! and every fault has its class.

use super::bulk::{BulkKind, BulkOrder, Operation, OperationResult, OperationState, PollPlan};
use super::bulk_contents::{ContentOperation, ContentWish};
use super::events::{self, Unreadable};
use super::outbox::{DraftRef, NodeState};
use super::settings::{History, Version};
use super::v1::{Process, SignedDocument};
use super::*;
use crate::domain::{Failure, FailureClass, FailureKind, Secret, Timestamp};
use crate::providers::http_client::{HttpClient, HttpSettings};
use crate::providers::spool_io::FileSource;
use crate::providers::spool_io::tests::{pattern, source_of};
use crate::providers::test_server::{Reply, TestServer};
use crate::providers::url_rules::Origin;
use base64::Engine as _;
use serde_json::{Value, json};
use std::time::Duration;

const TOKEN: &str = "s3cret-token";
const DOCUMENT: &str = "3f2c1d50-6a7b-4c8d-9e01-23456789abcd";
const EMPLOYEE: &str = "11111111-2222-4333-8444-555555555555";
const BLOB: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
const SIGNATURE_BLOB: &str = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d";
const TICKET: &str = "5f0c4a6e-8d0b-4a5e-9a53-0d7f3b7a1c11";
const OPERATION: &str = "d3b07384-d9a0-4c9b-8f6e-1d2c3b4a5f60";

/// Every sample, by the tests of this file and of its neighbours: a new one wants a test.
const SAMPLES: [&str; 36] = [
    "01-blob-upload-error-extension.json",
    "01-blob-upload-error-size.json",
    "01-blob-upload-response.json",
    "02-document-create-request.json",
    "02-document-create-response.enveloped.assumed.json",
    "02-document-create-response.json",
    "03-quick-route-request.guide.json",
    "03-quick-route-request.openapi.json",
    "03-quick-route-response.empty.txt",
    "04-content-to-sign-request.json",
    "04-content-to-sign-response.json",
    "04-content-to-sign.zip",
    "05-signature-attached.cms",
    "05-signature-blob-response.json",
    "05-signature-detached.cms",
    "05-signature-over-other-content.cms",
    "06-quick-sign-save-request.json",
    "06-quick-sign-save-response.empty.txt",
    "07-status-response-finished.json",
    "07-status-response.json",
    "07-status-response.numeric.txt",
    "08-single-outbox-response.json",
    "09-outbox-query-request.json",
    "09-outbox-query-response.json",
    "10-bulk-push-request.json",
    "10-bulk-push-response.json",
    "10-bulk-status-request.json",
    "10-bulk-status-response-error.json",
    "10-bulk-status-response-not-found.json",
    "10-bulk-status-response-ok.json",
    "10-bulk-status-response-running.json",
    "11-company-token-response.json",
    "12-company-employees-response.json",
    "20-webhook-subscription-request.assumed.json",
    "21-status-changed-event-rejected.assumed.json",
    "21-status-changed-event.assumed.json",
];
/// The same, where the list would become too long for one constant.
const MORE_SAMPLES: [&str; 3] =
    ["22-event-history-response.assumed.json", "error-envelope-401.json", "error-envelope-multi.json"];

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/idocs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn text(name: &str) -> String {
    String::from_utf8(bytes(name)).unwrap()
}

fn sample(name: &str) -> Value {
    serde_json::from_str(&text(&format!("{name}.json"))).unwrap()
}

/// A sample as an answer, with the content type that the guide shows for JSON.
fn answer(name: &str) -> Reply {
    plain(200, &text(name))
}

fn plain(status: u16, body: &str) -> Reply {
    Reply::status(status, "Content-Type: text/plain; charset=utf-8\r\n", body)
}

fn html(status: u16) -> Reply {
    Reply::status(status, "Content-Type: text/html\r\n", "<html><body>nginx</body></html>")
}

fn settings(server: &TestServer) -> Settings {
    Settings {
        base_url: server.url("/"),
        webhooks_base_url: server.url("/api/1/"),
        token: Secret::new(TOKEN),
        ..Settings::default()
    }
}

fn client(settings: Settings) -> Client {
    let http = HttpSettings { read_timeout: Duration::from_millis(400), ..HttpSettings::default() };
    Client::new(HttpClient::new(&http).unwrap(), settings).unwrap()
}

fn serving(replies: Vec<Reply>) -> (TestServer, Client) {
    let server = TestServer::start(replies);
    let client = client(settings(&server));
    (server, client)
}

fn draft() -> NewDraft {
    NewDraft {
        name: "Договор поставки №1".into(),
        number: "CTR-2025-1".into(),
        date: Timestamp(1_748_772_000_999),
        group: "Purchase".into(),
        author: Some(EMPLOYEE.to_uppercase()),
        blob_ids: vec![BLOB.into()],
    }
}

fn counterparty() -> Counterparty {
    Counterparty {
        bin: "123456789012".into(),
        emails: vec!["signer@example.com".into()],
        kind: CounterpartyKind::Company,
    }
}

fn seen(failure: &Failure) -> (FailureClass, &str) {
    (failure.class, failure.code.as_str())
}

#[test]
fn every_sample_is_in_the_list() {
    let folder = format!("{}/tests/data/idocs", env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut listed: Vec<&str> = SAMPLES.iter().chain(&MORE_SAMPLES).copied().collect();
    listed.sort_unstable();
    assert_eq!(found, listed);
}

#[tokio::test]
async fn the_token_tells_the_company_and_is_sent_as_bearer_with_an_empty_post() {
    let (server, client) = serving(vec![answer("11-company-token-response.json"), plain(200, "")]);
    let company = client.check_token().await.unwrap();
    assert_eq!(company.bin.as_deref(), Some("210987654321"));
    assert_eq!(company.name.as_deref(), Some("Synthetic LLP"));
    let request = server.requests().remove(0);
    assert_eq!(request.line(), "POST /api/v3/sync/references/company-token HTTP/1.1");
    assert_eq!(request.header("authorization").unwrap(), format!("Bearer {TOKEN}"));
    assert_eq!(request.header("content-length").as_deref(), Some("0"));
    assert_eq!(seen(&client.check_token().await.unwrap_err()), (FailureClass::Transient, "no_company"));
}

#[tokio::test]
async fn a_refused_token_is_a_matter_of_access_whatever_the_body_says() {
    let envelope = text("error-envelope-401.json");
    let (_server, client) = serving(vec![plain(401, &envelope), html(401), plain(401, "")]);
    for _ in 0..3 {
        let failure = client.check_token().await.unwrap_err();
        assert_eq!(seen(&failure), (FailureClass::Auth, "http_401"));
        assert_eq!(failure.kind, FailureKind::Credentials);
        assert!(!format!("{failure:?}").contains(TOKEN));
    }
}

#[tokio::test]
async fn employees_are_read_page_by_page_and_their_rights_as_words() {
    let page = |items: Value, total: u32| {
        plain(200, &json!({"response": {"pageItems": items, "totalSize": total}, "errors": null}).to_string())
    };
    let one = sample("12-company-employees-response")["response"]["pageItems"][0].clone();
    let (server, client) = serving(vec![
        answer("12-company-employees-response.json"),
        page(json!([one, one]), 3),
        page(json!([one]), 3),
        page(Value::Null, 0),
        plain(
            200,
            &json!({"response": {"employeeId": EMPLOYEE, "accountPermissions": ["Sign", 7, null]}})
                .to_string(),
        ),
        plain(200, r#"{"response":{"accountPermissions":null}}"#),
    ]);
    let employees = client.employees().await.unwrap();
    assert_eq!((employees.len(), employees[0].id.as_str()), (1, EMPLOYEE));
    assert_eq!(employees[0].iin.as_deref(), Some("000000000000"));
    assert_eq!(client.employees().await.unwrap().len(), 3);
    assert_eq!(client.employees().await.unwrap().len(), 0);
    assert_eq!(client.permissions(EMPLOYEE).await.unwrap(), ["Sign"]);
    assert_eq!(client.permissions(EMPLOYEE).await.unwrap().len(), 0);
    let requests = server.requests();
    assert_eq!(requests[0].json(), json!({"skip": 0, "top": 50}));
    assert_eq!(requests[2].json(), json!({"skip": 2, "top": 50}));
    let path = format!("GET /api/v3/sync/references/company-employees/permission/{EMPLOYEE} HTTP/1.1");
    assert_eq!(requests[4].line(), path);
    assert_eq!(client.permissions("../x").await.unwrap_err().code, "bad_id");
}

#[tokio::test]
async fn a_file_is_uploaded_as_one_part_in_constant_memory() {
    let dir = tempfile::tempdir().unwrap();
    let content = pattern(250_000);
    let (server, client) = serving(vec![answer("01-blob-upload-response.json")]);
    let blob = client.upload_blob(&source_of(&dir, &content), "Договор \"1\".PDF").await.unwrap();
    assert_eq!(blob, BLOB);
    let request = server.requests().remove(0);
    assert_eq!(request.line(), "POST /api/v3/sync/blobs/document-content HTTP/1.1");
    assert_eq!(request.header("content-length").unwrap(), request.body.len().to_string());
    let kind = request.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"documentContent\"; filename=\"Договор _1_.PDF\"\r\n\
         Content-Type: application/pdf\r\n\r\n"
    );
    let expected = [head.as_bytes(), &content, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
    assert!(request.body == expected, "the body is not the one part");
}

#[tokio::test]
async fn a_signature_goes_up_as_the_settings_describe_it() {
    let dir = tempfile::tempdir().unwrap();
    for cms in
        ["05-signature-attached.cms", "05-signature-detached.cms", "05-signature-over-other-content.cms"]
    {
        let (server, client) = serving(vec![answer("05-signature-blob-response.json")]);
        let blob = client.upload_signature(&source_of(&dir, &bytes(cms))).await.unwrap();
        assert_eq!(blob, SIGNATURE_BLOB);
        let request = server.requests().remove(0);
        assert_eq!(request.line(), "POST /api/v3/sync/blobs/document-signature-content HTTP/1.1");
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(body.contains("name=\"signatureContent\"; filename=\"signature.cms\""));
        assert!(body.contains("Content-Type: application/octet-stream\r\n"));
        assert!(request.body.windows(bytes(cms).len()).any(|window| window == bytes(cms)));
    }
}

#[tokio::test]
async fn what_idocs_does_not_take_is_refused_here_or_there_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let source = source_of(&dir, b"%PDF-1.7");
    let (server, client) = serving(vec![
        answer("01-blob-upload-error-size.json"),
        plain(400, &text("01-blob-upload-error-extension.json")),
        plain(200, r#"{"response":{"blobId":"../x"}}"#),
    ]);
    let failure = client.upload_blob(&source, "a.pdf").await.unwrap_err();
    assert_eq!(seen(&failure), (FailureClass::Permanent, "uploaded_file_size_error"));
    assert!(failure.answer.unwrap().contains("larger than 15 MB"));
    let failure = client.upload_blob(&source, "a.pdf").await.unwrap_err();
    assert_eq!(seen(&failure), (FailureClass::Permanent, "uploaded_file_extension_error"));
    let failure = client.upload_blob(&source, "a.pdf").await.unwrap_err();
    assert_eq!(seen(&failure), (FailureClass::Transient, "no_blob_id"));
    for (name, code) in [("a.exe", "extension_not_accepted"), ("pdf", "extension_not_accepted")] {
        assert_eq!(client.upload_blob(&source, name).await.unwrap_err().code, code);
    }
    let mut large: FileSource = source.clone();
    large.facts.size_bytes = 15_000_001;
    assert_eq!(client.upload_blob(&large, "a.pdf").await.unwrap_err().code, "file_too_large");
    assert_eq!(server.requests().len(), 3, "what is refused here is never sent");
}

#[tokio::test]
async fn a_draft_is_the_guides_request_and_both_styles_of_answer_are_read() {
    let (server, client) = serving(vec![
        answer("02-document-create-response.json"),
        answer("02-document-create-response.enveloped.assumed.json"),
    ]);
    for _ in 0..2 {
        let created = client.create_draft(&draft()).await.unwrap();
        let status = Status { class: StatusClass::NotSent, raw: "DRAFT".into() };
        assert_eq!(created, DraftRef { document_id: DOCUMENT.into(), status: Some(status) });
    }
    let request = server.requests().remove(0);
    assert_eq!(request.line(), "POST /api/v3/sync/external/outbox/document/create HTTP/1.1");
    assert_eq!(request.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(request.json(), sample("02-document-create-request"));
}

#[tokio::test]
async fn a_create_whose_outcome_is_not_certain_is_ambiguous_and_only_that() {
    let multi = text("error-envelope-multi.json");
    let cases = vec![
        (Reply::Close, FailureClass::Ambiguous, "connection_cut"),
        (Reply::hold(Duration::from_secs(2)), FailureClass::Ambiguous, "timeout"),
        (html(200), FailureClass::Ambiguous, "html"),
        (html(502), FailureClass::Ambiguous, "http_502"),
        (plain(500, ""), FailureClass::Ambiguous, "http_500"),
        (plain(200, ""), FailureClass::Ambiguous, "no_document_id"),
        (plain(200, r#"{"id":"17"}"#), FailureClass::Ambiguous, "no_document_id"),
        (plain(200, "{\"id\":"), FailureClass::Ambiguous, "garbled_answer"),
        (plain(200, r#"{"errors":[{"errorCode":"UNKNOWN"}]}"#), FailureClass::Ambiguous, "unknown"),
        (
            plain(400, r#"{"errors":[{"errorCode":"INTERNAL_SERVER_ERROR"}]}"#),
            FailureClass::Ambiguous,
            "internal_server_error",
        ),
        (Reply::status(302, "Location: http://127.0.0.1:1/\r\n", ""), FailureClass::Ambiguous, "http_302"),
        (plain(200, &multi), FailureClass::Permanent, "validation_error"),
        (plain(400, &multi), FailureClass::Permanent, "validation_error"),
        (plain(400, "{}"), FailureClass::Permanent, "http_400"),
        (plain(415, ""), FailureClass::Permanent, "http_415"),
        (plain(429, ""), FailureClass::Throttled, "http_429"),
        (html(404), FailureClass::Transient, "http_404"),
    ];
    let (replies, expected): (Vec<_>, Vec<_>) =
        cases.into_iter().map(|(reply, class, code)| (reply, (class, code))).unzip();
    let (_server, client) = serving(replies);
    for (class, code) in expected {
        let failure = client.create_draft(&draft()).await.unwrap_err();
        assert_eq!(seen(&failure), (class, code));
    }
    let gone = TestServer::start(Vec::new()).url("/");
    let unreachable = super::Client::new(
        HttpClient::new(&HttpSettings::default()).unwrap(),
        Settings {
            base_url: gone.replace("127.0.0.1", "127.0.0.9"),
            token: Secret::new(TOKEN),
            ..Settings::default()
        },
    );
    let failure = unreachable.unwrap().create_draft(&draft()).await.unwrap_err();
    assert_eq!((failure.class, failure.kind), (FailureClass::Transient, FailureKind::Unreachable));
}

#[tokio::test]
async fn a_draft_with_an_impossible_number_or_author_is_not_sent() {
    let (server, client) = serving(Vec::new());
    for number in ["", " ", &"1".repeat(257)] {
        let bad = NewDraft { number: number.into(), ..draft() };
        assert_eq!(client.create_draft(&bad).await.unwrap_err().code, "bad_document_number");
    }
    let bad = NewDraft { author: Some("director".into()), ..draft() };
    assert_eq!(client.create_draft(&bad).await.unwrap_err().code, "bad_id");
    assert_eq!(server.requests().len(), 0);
    let long = NewDraft { name: "Ж".repeat(300), ..draft() };
    let body = client.draft_body(&long).unwrap();
    assert_eq!(body["documentMetadata"]["documentName"].as_str().unwrap().chars().count(), 256);
}

fn listed(items: &[(&str, &str, &str)], total: usize) -> Reply {
    let items: Vec<Value> = items
        .iter()
        .map(|(id, number, name)| {
            json!({"id": id, "documentNumber": number, "documentName": name, "documentStatus": "DRAFT", "documentRoute": null})
        })
        .collect();
    plain(200, &json!({"response": {"pageItems": items, "totalSize": total}, "errors": null}).to_string())
}

async fn find(client: &Client) -> Result<FoundDraft, Failure> {
    client.find_draft("CTR-2025-1", "Договор поставки №1", draft().date, Some(EMPLOYEE)).await
}

#[tokio::test]
async fn a_lost_draft_is_found_by_its_number_among_the_drafts_of_these_days() {
    let (server, client) = serving(vec![answer("09-outbox-query-response.json")]);
    let FoundDraft::One(found) = find(&client).await.unwrap() else { panic!("not found") };
    assert_eq!(found.document_id, DOCUMENT);
    let request = server.requests().remove(0);
    assert_eq!(request.line(), "POST /api/v3/sync/external/documents-query/outbox HTTP/1.1");
    let mut expected = sample("09-outbox-query-request");
    expected["documentDateFrom"] = json!(1_748_772_000 - 86_400);
    expected["documentDateTo"] = json!(1_748_772_000 + 86_400);
    expected["top"] = json!(50);
    assert_eq!(request.json(), expected);
}

#[tokio::test]
async fn a_lost_document_that_went_on_is_found_on_a_later_page_of_later_statuses() {
    let other = "00000000-0000-4000-8000-000000000001";
    let (server, client) = serving(vec![
        listed(&[], 0),
        listed(&[(other, "CTR-2025-11", "x"), (other, "ctr-2025-1", "x")], 3),
        listed(&[(DOCUMENT, "CTR-2025-1", "renamed over there")], 3),
    ]);
    let FoundDraft::One(found) = find(&client).await.unwrap() else { panic!("not found") };
    assert_eq!(found.document_id, DOCUMENT);
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    let statuses = requests[1].json()["documentStatuses"].as_array().unwrap().clone();
    assert!(statuses.contains(&json!("FINISHED")) && !statuses.contains(&json!("DRAFT")));
    assert_eq!(requests[2].json()["skip"], json!(2));
}

#[tokio::test]
async fn a_number_that_nobody_or_several_have_is_told_as_that() {
    let (one, two) = ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002");
    let number = "CTR-2025-1";
    let (_server, client) = serving(vec![
        listed(&[], 0),
        listed(&[(one, "other", "x")], 1),
        // the same one on two pages, as a list that grows meanwhile shows it
        listed(&[(one, number, "x")], 2),
        listed(&[(one, number, "x")], 2),
        listed(&[(one, number, "x"), (two, number, "y")], 2),
        listed(&[(one, number, "x"), (two, number, "Договор поставки №1")], 2),
    ]);
    assert_eq!(find(&client).await.unwrap(), FoundDraft::None);
    assert!(matches!(find(&client).await.unwrap(), FoundDraft::One(found) if found.document_id == one));
    assert_eq!(find(&client).await.unwrap(), FoundDraft::Several(vec![one.into(), two.into()]));
    assert!(matches!(find(&client).await.unwrap(), FoundDraft::One(found) if found.document_id == two));
}

#[tokio::test]
async fn a_list_that_cannot_be_read_to_its_end_is_not_taken_for_an_absence() {
    let other = "00000000-0000-4000-8000-000000000001";
    let replies = vec![
        listed(&[(other, "x", "x")], 1_000_000),
        listed(&[(other, "x", "x")], 1_000_000),
        plain(200, "{}"),
        plain(200, ""),
        plain(
            200,
            &json!({"pageItems": [{"id": "17", "documentNumber": "CTR-2025-1"}], "totalSize": 1}).to_string(),
        ),
    ];
    let server = TestServer::start(replies);
    let mut settings = settings(&server);
    settings.query.pages_max = 2;
    let client = client(settings);
    for code in ["too_many_documents", "no_list", "no_list", "bad_document_id"] {
        assert_eq!(find(&client).await.unwrap_err().code, code);
    }
}

#[tokio::test]
async fn a_route_is_the_samples_request_and_an_empty_answer_is_success() {
    for (template, name) in [
        (RouteTemplateOf::Guide, "03-quick-route-request.guide"),
        (RouteTemplateOf::Snapshot, "03-quick-route-request.openapi"),
    ] {
        let server = TestServer::start(vec![answer("03-quick-route-response.empty.txt")]);
        let mut settings = settings(&server);
        settings.route = match template {
            RouteTemplateOf::Guide => route_template::RouteTemplate::guide("SIGN", "Просим подписать"),
            RouteTemplateOf::Snapshot => route_template::RouteTemplate::snapshot("Просим подписать"),
        };
        client(settings).create_route(DOCUMENT, EMPLOYEE, &counterparty()).await.unwrap();
        let request = server.requests().remove(0);
        assert_eq!(request.line(), "POST /api/v3/sync/external/outbox/route/quick-route/create HTTP/1.1");
        assert_eq!(request.json(), sample(name));
    }
}

#[derive(Clone, Copy)]
enum RouteTemplateOf {
    Guide,
    Snapshot,
}

#[tokio::test]
async fn a_document_tells_its_route_and_why_it_was_refused() {
    let without = json!({"response": {"id": DOCUMENT, "documentStatus": "DRAFT", "documentRoute": null}});
    let inside = json!({"id": DOCUMENT, "documentStatus": 14, "documentRoute": {"external": {"nodes": null}, "internal": {"nodes": [
        {"state": {"status": "CompletedWithFail", "rejectMetadata": {"rejectReason": " нет\nвизы "}}}]}}});
    let other = json!({"response": {"id": BLOB, "documentStatus": "DRAFT"}});
    let (server, client) = serving(vec![
        answer("08-single-outbox-response.json"),
        plain(200, &without.to_string()),
        plain(200, &inside.to_string()),
        plain(200, &other.to_string()),
        plain(404, ""),
        plain(200, r#"{"response":null,"errors":null}"#),
    ]);
    let document = client.outbox_document(DOCUMENT).await.unwrap();
    assert_eq!(document.status.as_ref().unwrap().class, StatusClass::Refused);
    assert_eq!(document.counterparties[0].state, NodeState::CompletedWithFail);
    assert_eq!(document.counterparties[0].completed_on, Some(Timestamp(1_748_780_000_000)));
    assert_eq!(document.refusal_reason().as_deref(), Some("Неверная сумма"));
    assert!(document.route_is_set());
    assert!(!client.route_is_set(DOCUMENT).await.unwrap());
    let document = client.outbox_document(DOCUMENT).await.unwrap();
    assert_eq!(document.refusal_reason().as_deref(), Some("нет визы"));
    assert_eq!(document.status.unwrap().class, StatusClass::Refused);
    assert_eq!(client.outbox_document(DOCUMENT).await.unwrap_err().code, "other_document");
    for (class, code) in [(FailureClass::Permanent, "http_404"), (FailureClass::Transient, "empty_answer")] {
        let failure = client.outbox_document(DOCUMENT).await.unwrap_err();
        assert_eq!(seen(&failure), (class, code));
    }
    let path = format!("GET /api/v3/sync/external/documents-query/single/outbox/{DOCUMENT} HTTP/1.1");
    assert_eq!(server.requests()[0].line(), path);
}

#[tokio::test]
async fn content_to_sign_is_one_unit_of_link_ticket_and_expiry() {
    let lacking = |member: &str| {
        let mut value = sample("04-content-to-sign-response");
        value.as_object_mut().unwrap().remove(member);
        plain(200, &value.to_string())
    };
    let mut foreign = sample("04-content-to-sign-response");
    foreign["documentId"] = json!(BLOB);
    let (server, client) = serving(vec![
        answer("04-content-to-sign-response.json"),
        lacking("downloadLink"),
        lacking("disposeOn"),
        lacking("idempotencyTicket"),
        plain(200, &foreign.to_string()),
        plain(500, ""),
    ]);
    let content = client.generate_content(DOCUMENT, EMPLOYEE).await.unwrap();
    assert_eq!((content.ticket.as_str(), content.dispose_on), (TICKET, Timestamp(1_748_775_660_000)));
    assert!(content.link.contains("download//0a4d55a8"));
    for code in ["no_download_link", "no_dispose_on", "no_ticket", "other_document", "http_500"] {
        let failure = client.generate_content(DOCUMENT, EMPLOYEE).await.unwrap_err();
        assert_eq!(seen(&failure), (FailureClass::Transient, code), "a repeat is safe");
    }
    let request = server.requests().remove(0);
    assert_eq!(
        request.line(),
        "POST /api/v3/sync/external/outbox/signature/content-to-sign/generate HTTP/1.1"
    );
    assert_eq!(request.json(), sample("04-content-to-sign-request"));
}

/// A server that gives these bytes as a file.
fn file(bytes: &[u8]) -> Reply {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: application/zip\r\nConnection: close\r\n\r\n",
        bytes.len()
    );
    Reply::Bytes([head.as_bytes(), bytes].concat())
}

const LINK: &str = "/api/v3/sync/sign-content/download//0a4d55a8-d778-4f70-8c2b-9f4f0b1e6f21";

#[tokio::test]
async fn the_link_is_used_as_given_and_in_its_other_spelling_after_a_404() {
    let zip = bytes("04-content-to-sign.zip");
    let (server, client) =
        serving(vec![file(&zip), plain(404, ""), file(&zip), plain(404, ""), plain(410, "")]);
    for _ in 0..2 {
        let mut sink = Vec::new();
        let facts = client.download_content(&server.url(LINK), &mut sink).await.unwrap();
        assert!(sink == zip && facts.size_bytes == zip.len() as u64);
    }
    let mut sink = Vec::new();
    let failure = client.download_content(&server.url(LINK), &mut sink).await.unwrap_err();
    assert_eq!(seen(&failure), (FailureClass::Permanent, signing::CONTENT_GONE));
    let lines: Vec<String> = server.requests().iter().map(|request| request.line().to_owned()).collect();
    let (double, single) =
        (format!("GET {LINK} HTTP/1.1"), format!("GET {} HTTP/1.1", LINK.replace("//", "/")));
    assert_eq!(lines, [&double, &double, &single, &double, &single].map(String::clone));
    assert!(server.requests().iter().all(|request| request.header("authorization").is_some()));
}

#[tokio::test]
async fn a_foreign_link_or_redirect_gets_neither_token_nor_request() {
    let stranger = TestServer::start(vec![Reply::ok("PK"), Reply::ok("PK")]);
    let to_stranger = format!("Location: {}\r\n", stranger.url("/x"));
    let (server, client) = serving(vec![Reply::status(302, &to_stranger, "")]);
    let mut sink = Vec::new();
    for link in
        [stranger.url("/x"), server.url(LINK), "https://evil.example/x".into(), "file:///etc/passwd".into()]
    {
        let failure = client.download_content(&link, &mut sink).await.unwrap_err();
        assert_eq!(seen(&failure), (FailureClass::Permanent, "address_not_allowed"), "{link}");
    }
    assert_eq!(stranger.requests().len(), 0);
    assert!(sink.is_empty());
}

#[tokio::test]
async fn an_allowed_origin_may_be_redirected_to_a_few_times() {
    let zip = bytes("04-content-to-sign.zip");
    let storage = TestServer::start(vec![file(&zip)]);
    let there = format!("Location: {}\r\n", storage.url("/file"));
    let around = "Location: /again\r\n";
    let mut replies = vec![Reply::status(302, around, ""), Reply::status(302, &there, "")];
    replies.extend((0..4).map(|_| Reply::status(302, around, "")));
    let server = TestServer::start(replies);
    let mut settings = settings(&server);
    settings.download_origins = vec![Origin::parse(&storage.url("/")).unwrap()];
    let client = client(settings);
    let mut sink = Vec::new();
    client.download_content(&server.url("/a"), &mut sink).await.unwrap();
    assert!(sink == zip);
    let failure = client.download_content(&server.url("/a"), &mut Vec::new()).await.unwrap_err();
    assert_eq!(seen(&failure), (FailureClass::Transient, "http_302"));
}

#[tokio::test]
async fn what_is_no_file_to_sign_is_told_as_what_it_is() {
    let server = TestServer::start(vec![
        html(200),
        plain(200, r#"{"response":null,"errors":[{"errorCode":"RESOURCE_NOT_FOUND"}]}"#),
        plain(200, r#"{"ok":true}"#),
        html(404),
        plain(401, ""),
        file(&[b"PK".as_slice(), &[0; 200]].concat()),
        Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nPK34"),
        plain(503, ""),
    ]);
    let mut settings = settings(&server);
    settings.limits.content_bytes = 100;
    let client = client(settings);
    for (class, code) in [
        (FailureClass::Transient, "html"),
        (FailureClass::Permanent, "resource_not_found"),
        (FailureClass::Transient, "unexpected_content"),
        (FailureClass::Transient, "http_404"),
        (FailureClass::Auth, "http_401"),
        (FailureClass::Permanent, "file_too_large"),
        (FailureClass::Transient, "connection_cut"),
        (FailureClass::Transient, "http_503"),
    ] {
        let failure = client.download_content(&server.url("/a"), &mut Vec::new()).await.unwrap_err();
        assert_eq!(seen(&failure), (class, code));
    }
}

#[tokio::test]
async fn a_signature_is_saved_with_its_ticket_and_a_lost_answer_is_ambiguous() {
    let (server, client) =
        serving(vec![answer("06-quick-sign-save-response.empty.txt"), Reply::Close, plain(200, "null")]);
    let save = || client.save_signature(DOCUMENT, EMPLOYEE, SIGNATURE_BLOB, TICKET);
    save().await.unwrap();
    assert_eq!(save().await.unwrap_err().class, FailureClass::Ambiguous);
    save().await.unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].line(), "POST /api/v3/sync/external/outbox/signature/quick-sign/save HTTP/1.1");
    assert_eq!(requests[0].json(), sample("06-quick-sign-save-request"));
    assert_eq!(requests[0].body, requests[2].body, "a repeat is the same request");
    let failure = client.save_signature(DOCUMENT, EMPLOYEE, SIGNATURE_BLOB, "").await.unwrap_err();
    assert_eq!(failure.code, "no_ticket");
}

#[tokio::test]
async fn a_status_is_read_as_name_as_number_and_in_an_envelope() {
    let (server, client) = serving(vec![
        answer("07-status-response.json"),
        answer("07-status-response-finished.json"),
        answer("07-status-response.numeric.txt"),
        plain(200, "REJECTED_BY_RECIPIENT"),
        plain(200, "\"RECALLED_BY_SENDER\""),
        plain(200, r#"{"response":{"documentStatus":17},"errors":null}"#),
        plain(200, r#"{"documentStatus":"SIGNED_ON_MARS"}"#),
        plain(200, "{}"),
        plain(200, ""),
        plain(404, ""),
        html(502),
    ]);
    for (class, raw) in [
        (StatusClass::InWork, "SENT_BY_SENDER"),
        (StatusClass::Success, "FINISHED"),
        (StatusClass::Success, "10"),
        (StatusClass::Refused, "REJECTED_BY_RECIPIENT"),
        (StatusClass::Withdrawn, "RECALLED_BY_SENDER"),
        (StatusClass::Unsure, "17"),
        (StatusClass::Unknown, "SIGNED_ON_MARS"),
    ] {
        assert_eq!(client.status(DOCUMENT).await.unwrap(), Status { class, raw: raw.into() });
    }
    for (class, code) in [
        (FailureClass::Transient, "no_status"),
        (FailureClass::Transient, "no_status"),
        (FailureClass::Permanent, "http_404"),
        (FailureClass::Transient, "http_502"),
    ] {
        assert_eq!(seen(&client.status(DOCUMENT).await.unwrap_err()), (class, code));
    }
    let path = format!("GET /api/v3/sync/single/document/GetDocumentStatusByDocumentId/{DOCUMENT} HTTP/1.1");
    assert_eq!(server.requests()[0].line(), path);
}

#[tokio::test]
async fn print_form_and_archive_come_as_files_and_may_be_missing() {
    let zip = bytes("04-content-to-sign.zip");
    let (server, client) = serving(vec![
        file(b"%PDF-1.7 x"),
        plain(404, "{}"),
        file(&zip),
        plain(404, ""),
        file(&zip),
        plain(200, &text("error-envelope-multi.json")),
    ]);
    let mut sink = Vec::new();
    let Fetched::File(facts) = client.print_form(DOCUMENT, &mut sink).await.unwrap() else {
        panic!("missing")
    };
    assert_eq!((facts.size_bytes, sink.as_slice()), (10, b"%PDF-1.7 x".as_slice()));
    assert_eq!(client.print_form(DOCUMENT, &mut Vec::new()).await.unwrap(), Fetched::Missing);
    assert!(matches!(client.archive(DOCUMENT, &mut Vec::new()).await.unwrap(), Fetched::File(_)));
    assert_eq!(client.archive(DOCUMENT, &mut Vec::new()).await.unwrap(), Fetched::Missing);
    let failure = client.print_form(DOCUMENT, &mut Vec::new()).await.unwrap_err();
    assert_eq!(seen(&failure), (FailureClass::Transient, "garbled_answer"), "a zip is no print form");
    let failure = client.archive(DOCUMENT, &mut Vec::new()).await.unwrap_err();
    assert_eq!(seen(&failure), (FailureClass::Permanent, "validation_error"));
    let lines: Vec<String> = server.requests().iter().map(|request| request.line().to_owned()).collect();
    assert!(lines[0].contains("/api/v3/sync/single/document/GetDocumentPrintFormByDocumentId/3f2c"));
    assert!(lines[2].contains("/api/v3/sync/single/document/GetDocumentArchiveByDocumentId/3f2c"));
}

#[tokio::test]
async fn a_subscription_is_told_to_the_other_host_with_the_guides_word() {
    let (server, client) = serving(vec![plain(200, ""), html(200), plain(400, "")]);
    let url = "https://middleware.example.com/idocs/webhook";
    client.subscribe(url).await.unwrap();
    let request = server.requests().remove(0);
    let path = "/api/1/webhooks/document-events/subscription/document-status-changed-event";
    assert_eq!(request.line(), format!("POST {path} HTTP/1.1"));
    assert_eq!(request.json(), sample("20-webhook-subscription-request.assumed"));
    assert_eq!(client.subscribe(url).await.unwrap_err().class, FailureClass::Transient);
    assert_eq!(client.subscribe(url).await.unwrap_err().class, FailureClass::Permanent);
}

#[test]
fn a_notice_is_only_a_hint_at_a_document() {
    let settings = Settings::default();
    for (name, status) in [
        ("21-status-changed-event.assumed.json", "FINISHED"),
        ("21-status-changed-event-rejected.assumed.json", "REJECTED_BY_RECIPIENT"),
    ] {
        let hint = events::parse_event(&settings, &bytes(name)).unwrap();
        assert_eq!((hint.document_id.as_str(), hint.raw_status.as_deref()), (DOCUMENT, Some(status)));
        assert_eq!(hint.occurred_on.as_deref(), Some("1748780000"));
    }
    let bare = format!("{{\"documentId\":\"{}\",\"documentStatus\":{{}}}}", DOCUMENT.to_uppercase());
    let hint = events::parse_event(&settings, bare.as_bytes()).unwrap();
    assert_eq!((hint.document_id.as_str(), hint.raw_status), (DOCUMENT, None));
}

#[test]
fn a_notice_that_names_no_document_is_told_apart_from_one_that_is_no_json() {
    let mut settings = Settings::default();
    for bad in ["{}", "[]", "{\"documentId\":17}", "{\"documentId\":\"../../x\"}"] {
        let refused = events::parse_event(&settings, bad.as_bytes());
        assert!(matches!(refused, Err(Unreadable::NoDocument { .. })), "{bad}");
    }
    for bad in ["", "documentId=1", "{\"documentId\":\"a\",\"documentId\":\"b\"}", "<xml/>"] {
        assert!(matches!(events::parse_event(&settings, bad.as_bytes()), Err(Unreadable::Json(_))), "{bad}");
    }
    settings.limits.callback_bytes = 10;
    assert_eq!(events::parse_event(&settings, &[b' '; 11]), Err(Unreadable::TooLong { max: 10 }));
}

#[tokio::test]
async fn past_statuses_are_read_where_their_path_is_configured() {
    let server = TestServer::start(vec![
        answer("22-event-history-response.assumed.json"),
        answer("22-event-history-response.assumed.json"),
        plain(200, "{\"items\":[]}"),
        plain(200, ""),
    ]);
    let mut configured = settings(&server);
    let without = client(configured.clone());
    assert!(!without.can_read_history());
    assert_eq!(without.history(DOCUMENT).await.unwrap_err().code, "no_history_path");
    configured.history = Some(History {
        document_path: "/history/{id}".into(),
        period_path: "/history?from={from}&to={to}".into(),
        items: "/events".into(),
        fields: configured.webhook.fields.clone(),
    });
    let client = client(configured);
    let past = client.history(DOCUMENT).await.unwrap();
    let names: Vec<&str> = past.iter().map(|entry| entry.status.raw.as_str()).collect();
    assert_eq!(names, ["DRAFT", "SENT_BY_SENDER", "FINISHED"]);
    assert_eq!(past[2].occurred_on, Some(Timestamp(1_748_780_000_000)));
    assert_eq!(client.events_between(Timestamp(1_000), Timestamp(2_999)).await.unwrap().len(), 3);
    assert_eq!(
        client.history(DOCUMENT).await.unwrap_err().code,
        "no_list",
        "a wrong pointer is no empty history"
    );
    assert_eq!(client.history(DOCUMENT).await.unwrap().len(), 0);
    let lines: Vec<String> = server.requests().iter().map(|request| request.line().to_owned()).collect();
    assert_eq!(lines[0], format!("GET /api/1/history/{DOCUMENT} HTTP/1.1"));
    assert_eq!(lines[1], "GET /api/1/history?from=1&to=2 HTTP/1.1");
}

fn operation(kind: BulkKind) -> Operation {
    Operation { kind, id: OPERATION.into(), document: Some(DOCUMENT.into()) }
}

async fn outcome(client: &Client, kind: BulkKind) -> OperationState {
    client.outcomes(kind, &[operation(kind)]).await.unwrap().remove(OPERATION).unwrap()
}

#[tokio::test]
async fn one_operation_goes_with_each_push_and_is_asked_about_by_its_id() {
    let (server, client) = serving(vec![
        answer("10-bulk-push-response.json"),
        answer("10-bulk-status-response-running.json"),
        answer("10-bulk-status-response-ok.json"),
        answer("10-bulk-status-response-error.json"),
        answer("10-bulk-status-response-not-found.json"),
    ]);
    let pushed = client.push(&BulkOrder::CreateDraft(draft())).await.unwrap();
    assert_eq!(pushed, Operation { document: None, ..operation(BulkKind::CreateDraft) });
    assert_eq!(outcome(&client, BulkKind::CreateDraft).await, OperationState::Running);
    let done = outcome(&client, BulkKind::CreateDraft).await;
    assert!(
        matches!(&done, OperationState::Done(OperationResult::Draft(draft)) if draft.document_id == DOCUMENT),
        "{done:?}"
    );
    let failed = outcome(&client, BulkKind::CreateDraft).await;
    assert!(
        matches!(&failed, OperationState::Failed(failure) if seen(failure) == (FailureClass::Permanent, "resource_not_found")),
        "{failed:?}"
    );
    assert_eq!(outcome(&client, BulkKind::CreateDraft).await, OperationState::Lost);
    let requests = server.requests();
    assert_eq!(requests[0].line(), "POST /api/v3/async/bulk/external/outbox/document/create HTTP/1.1");
    assert_eq!(requests[0].json(), sample("10-bulk-push-request"));
    assert_eq!(requests[1].line(), "POST /api/v3/async/bulk/external/outbox/document/create/status HTTP/1.1");
    assert_eq!(requests[1].json(), sample("10-bulk-status-request"));
}

#[tokio::test]
async fn a_push_that_may_have_been_taken_is_ambiguous_for_writes_only() {
    let content = BulkOrder::GenerateContent { document: DOCUMENT.into(), employee: EMPLOYEE.into() };
    let save = BulkOrder::SaveSignature {
        document: DOCUMENT.into(),
        employee: EMPLOYEE.into(),
        blob: SIGNATURE_BLOB.into(),
        ticket: TICKET.into(),
    };
    let route = BulkOrder::CreateRoute {
        document: DOCUMENT.into(),
        employee: EMPLOYEE.into(),
        counterparty: counterparty(),
    };
    let download = BulkOrder::Download { document: DOCUMENT.into(), employee: None };
    let orders = [content, save, route, download];
    let (_server, client) = serving((0..4).map(|_| plain(200, r#"{"operations":[]}"#)).collect());
    let mut classes = Vec::new();
    for order in &orders {
        let failure = client.push(order).await.unwrap_err();
        assert_eq!(failure.code, "not_one_operation");
        classes.push(failure.class);
    }
    use FailureClass::{Ambiguous, Transient};
    assert_eq!(classes, [Transient, Ambiguous, Ambiguous, Transient]);
}

#[tokio::test]
async fn results_of_every_kind_of_operation_are_read() {
    let told = |status: &str, data: Value| {
        plain(200, &json!({"operations": [
            {"operationId": BLOB, "operationStatus": "CompletedWithOk", "data": null},
            {"operationId": OPERATION.to_uppercase(), "operationStatus": status, "data": data, "operationErrors": null}]}).to_string())
    };
    let (_server, client) = serving(vec![
        told("CompletedWithOk", sample("04-content-to-sign-response")),
        told("CompletedWithOk", Value::Null),
        told("CompletedWithOk", json!({"downloadLink": "https://h/x", "disposeOn": 1})),
        told("CompletedWithOk", json!({})),
        told("CompletedWithProcessingException", Value::Null),
        told("Paused", Value::Null),
    ]);
    assert!(matches!(
        outcome(&client, BulkKind::GenerateContent).await,
        OperationState::Done(OperationResult::Content(content)) if content.ticket == TICKET
    ));
    assert_eq!(outcome(&client, BulkKind::SaveSignature).await, OperationState::Done(OperationResult::Done));
    let link = OperationResult::Link { link: "https://h/x".into(), dispose_on: Some(Timestamp(1_000)) };
    assert_eq!(outcome(&client, BulkKind::Download).await, OperationState::Done(link));
    for code in ["no_document_id", "errors", "operation_status"] {
        let state = outcome(&client, BulkKind::CreateDraft).await;
        assert!(
            matches!(&state, OperationState::Failed(failure) if seen(failure) == (FailureClass::Ambiguous, code)),
            "{state:?}"
        );
    }
}

#[test]
fn results_are_asked_for_with_growing_pauses_until_the_time_is_over() {
    let plan = PollPlan { pauses_ms: vec![2_000, 60_000], deadline_ms: 100_000 };
    let since = Timestamp(1_000_000);
    for (asked, after_ms, pause) in [
        (0, 0, Some(2_000)),
        (1, 2_000, Some(60_000)),
        (9, 30_000, Some(60_000)),
        (9, 90_000, Some(10_000)),
        (9, 100_000, None),
        (u32::MAX, 200_000, None),
    ] {
        assert_eq!(plan.pause_ms(asked, since, since.plus_ms(after_ms)), pause, "{asked} {after_ms}");
    }
    let empty = PollPlan { pauses_ms: Vec::new(), deadline_ms: 1 };
    assert_eq!(empty.pause_ms(0, since, since), None);
}

fn v1(server: &TestServer) -> Client {
    let mut settings = settings(server);
    settings.version = Version::V1;
    settings.v1.document_type = "Outbox".into();
    client(settings)
}

#[tokio::test]
async fn v1_sends_file_and_signature_in_one_call_and_tells_the_document_later() {
    let (dir, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content = pattern(100_000);
    let server = TestServer::start(vec![
        plain(200, "\"process-1\""),
        html(500),
        plain(200, "{}"),
        plain(200, r#"{"DocumentId":"doc-7"}"#),
        plain(200, r#"{"SystemDocumentStatus":"FINISHED"}"#),
        file(b"%PDF-1.7"),
        file(b"anything"),
    ]);
    let client = v1(&server);
    let cms = bytes("05-signature-detached.cms");
    let document = SignedDocument {
        name: "Договор".into(),
        number: "N1".into(),
        group: "General".into(),
        counterparty: counterparty(),
        file: source_of(&dir, &content),
        file_name: "a.pdf".into(),
        employee: EMPLOYEE.into(),
        cms: source_of(&beside, &cms),
    };
    let key = client.send_signed(&document).await.unwrap();
    assert_eq!(key, "process-1");
    assert_eq!(client.process(&key).await.unwrap(), Process::NotYet);
    assert_eq!(client.process(&key).await.unwrap(), Process::NotYet);
    assert_eq!(client.process(&key).await.unwrap(), Process::Document("doc-7".into()));
    assert_eq!(client.status("doc-7").await.unwrap().class, StatusClass::Success);
    assert!(matches!(client.print_form("doc-7", &mut Vec::new()).await.unwrap(), Fetched::File(_)));
    assert!(matches!(client.archive("doc-7", &mut Vec::new()).await.unwrap(), Fetched::File(_)));
    let requests = server.requests();
    assert_eq!(requests[0].line(), "POST /api/v1/ExternalDocumentFromFiles HTTP/1.1");
    let body = requests[0].json();
    let decode =
        |value: &Value| base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap();
    assert!(decode(&body["FileBodyAsBase64String"]) == content);
    assert!(decode(&body["Steps"][0]["SignBodyAsBase64String"]) == cms);
    assert_eq!((&body["Steps"][0]["SignType"], &body["Type"]), (&json!("CMS"), &json!("Outbox")));
    assert_eq!(
        body["Reciever"],
        json!({"BIN": "123456789012", "Email": "signer@example.com", "IsIndividual": false})
    );
    assert_eq!(requests[4].line(), "GET /api/v1/ExternalDocuments/doc-7 HTTP/1.1");
    assert_eq!(requests[5].line(), "GET /api/v1/ExternalDocuments/doc-7/PrintForm HTTP/1.1");
    assert_eq!(requests[6].line(), "GET /api/v1/ExternalDocuments/doc-7/File HTTP/1.1");
}

#[tokio::test]
async fn of_a_process_of_v1_the_settings_say_where_the_document_is_and_what_a_failure_is() {
    let answers = vec![
        plain(404, ""),
        plain(200, r#"{"errors":null,"Document":{"Id":7},"Fault":null}"#),
        plain(200, r#"{"Document":{"Id":null},"Fault":"bad certificate"}"#),
        plain(200, r#"{"Document":null,"Fault":""}"#),
        plain(200, r#"{"Document":{"Id":"a/b"}}"#),
        plain(401, ""),
    ];
    let server = TestServer::start(answers);
    let mut told = settings(&server);
    told.version = Version::V1;
    (told.v1.document_id, told.v1.failed) = ("/Document/Id".into(), "/Fault".into());
    let client = client(told);
    for expected in [Process::NotYet, Process::Document("7".into()), Process::Failed, Process::NotYet] {
        assert_eq!(client.process("key").await.unwrap(), expected);
    }
    assert_eq!(client.process("key").await.unwrap_err().code, "bad_document_id");
    assert_eq!(client.process("key").await.unwrap_err().class, FailureClass::Auth);
    assert_eq!(client.process("../key").await.unwrap_err().code, "bad_id");
    assert_eq!(server.requests().len(), 6);
}

#[tokio::test]
async fn what_v1_is_said_to_lack_is_not_asked_for() {
    let server = TestServer::start(Vec::new());
    let mut told = settings(&server);
    told.version = Version::V1;
    (told.v1.print_form, told.v1.file) = (false, false);
    let client = client(told);
    assert!(matches!(client.print_form("doc-7", &mut Vec::new()).await.unwrap(), Fetched::Missing));
    assert!(matches!(client.archive("doc-7", &mut Vec::new()).await.unwrap(), Fetched::Missing));
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_page_or_nothing_is_not_taken_for_the_file_of_v1_whose_form_nobody_knows() {
    let server = TestServer::start(vec![html(200), file(b""), file(b"anything")]);
    let client = v1(&server);
    for _ in 0..2 {
        let failure = client.archive("doc-7", &mut Vec::new()).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Transient, "{failure:?}");
    }
    assert!(matches!(client.archive("doc-7", &mut Vec::new()).await.unwrap(), Fetched::File(_)));
}

#[tokio::test]
async fn what_a_version_lacks_is_not_sent_and_says_so() {
    let server = TestServer::start(Vec::new());
    let (old, new) = (v1(&server), client(settings(&server)));
    for failure in [
        old.check_token().await.unwrap_err(),
        old.create_draft(&draft()).await.unwrap_err(),
        old.generate_content(DOCUMENT, EMPLOYEE).await.unwrap_err(),
        new.process("x").await.unwrap_err(),
    ] {
        assert_eq!(seen(&failure), (FailureClass::Permanent, NotSupported::CODE));
    }
    let refused = old.require(Call::FindDraft).unwrap_err();
    assert_eq!(refused, NotSupported { call: Call::FindDraft, version: Version::V1 });
    assert_eq!(refused.to_string(), "iDocs V1 has no call find_draft");
    assert!(new.require(Call::Bulk).is_ok());
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_client_shows_its_token_to_nobody_and_refuses_bad_addresses() {
    let server = TestServer::start(Vec::new());
    let shown = format!("{:?}", client(settings(&server)));
    assert!(!shown.contains(TOKEN), "{shown}");
    let http = || HttpClient::new(&HttpSettings::default()).unwrap();
    let plain = Settings { base_url: "http://idocs.example/".into(), ..Settings::default() };
    assert!(Client::new(http(), plain).unwrap_err().to_string().contains("idocs.base_url"));
    let odd = Settings { token: Secret::new("a\nb"), ..Settings::default() };
    let error = Client::new(http(), odd).unwrap_err();
    assert_eq!(error.to_string(), "`token` of iDocs cannot be sent in a request");
}

const OTHER_DOCUMENT: &str = "0a1b2c3d-6a7b-4c8d-9e01-23456789abcd";

fn wish(document: &str) -> ContentWish {
    ContentWish::new(document, EMPLOYEE).unwrap()
}

/// An answer about operations: id, status, data, errors.
fn operations(told: &[(&str, &str, Value, Value)]) -> Reply {
    let told: Vec<Value> = told
        .iter()
        .map(|(id, status, data, errors)| {
            json!({"operationId": id, "operationStatus": status, "data": data, "operationErrors": errors})
        })
        .collect();
    plain(200, &json!({"operations": told}).to_string())
}

#[tokio::test]
async fn content_for_several_documents_goes_with_one_push_whatever_the_order_of_its_answer() {
    let created = |id| (id, "Created", Value::Null, Value::Null);
    let (server, client) = serving(vec![
        operations(&[created(BLOB), created(OPERATION)]),
        operations(&[]),
        operations(&[("no id", "Created", Value::Null, json!([{"errorCode": "PERMISSION_ERROR"}]))]),
    ]);
    let wishes = [wish(DOCUMENT), wish(&OTHER_DOCUMENT.to_uppercase())];
    let known = client.push_contents(&wishes).await.unwrap();
    assert_eq!(known, [BLOB, OPERATION].map(str::to_owned).into());
    let request = &server.requests()[0];
    let path = "/api/v3/async/bulk/external/outbox/signature/content-to-sign/generate";
    assert_eq!(request.line(), format!("POST {path} HTTP/1.1"));
    let data = |document: &str| json!({"data": {"documentId": document, "signedByEmployeeId": EMPLOYEE}});
    assert_eq!(request.json(), json!({"operations": [data(DOCUMENT), data(OTHER_DOCUMENT)]}));
    let nothing = client.push_contents(&wishes).await.unwrap_err();
    assert_eq!(seen(&nothing), (FailureClass::Transient, "no_operation_id"));
    let refused = client.push_contents(&wishes).await.unwrap_err();
    assert_eq!(seen(&refused), (FailureClass::Permanent, "permission_error"));
    assert_eq!(
        ContentWish::new("x", EMPLOYEE).unwrap_err().code,
        "bad_id",
        "it would spoil the others' push"
    );
}

#[tokio::test]
async fn made_content_belongs_to_the_document_that_it_names_and_to_nobody_if_it_names_none() {
    let unit = sample("04-content-to-sign-response");
    let mut nameless = unit.clone();
    nameless["documentId"] = Value::Null;
    let refused = json!([{"errorCode": "VALIDATION_ERROR"}]);
    let ids: Vec<String> = (0..8).map(|n| format!("d3b07384-d9a0-4c9b-8f6e-1d2c3b4a5f6{n}")).collect();
    let named = json!({"documentId": OTHER_DOCUMENT});
    let states = [
        ("CompletedWithOk", unit.clone(), Value::Null),
        ("CompletedWithOk", nameless, Value::Null),
        ("InProcessing", Value::Null, Value::Null),
        ("CompletedWithProcessingError", Value::Null, refused.clone()),
        ("CompletedWithProcessingError", named.clone(), refused),
        ("CompletedWithProcessingException", named.clone(), Value::Null),
        ("NotFound", Value::Null, Value::Null),
        ("CompletedWithOk", named, Value::Null),
    ];
    let told: Vec<_> = ids
        .iter()
        .zip(states)
        .rev()
        .map(|(id, (status, data, errors))| (id.as_str(), status, data, errors))
        .collect();
    let (_server, client) = serving(vec![operations(&told), plain(200, "{}")]);
    let asked: std::collections::BTreeSet<String> = ids.iter().take(7).cloned().collect();
    let heard = client.content_operations(&asked).await.unwrap();
    assert_eq!(heard.len(), 7, "what was not asked for is not listened to");
    assert!(
        matches!(&heard[&ids[0]], ContentOperation::Done { document, content } if document == DOCUMENT && content.ticket == TICKET)
    );
    assert_eq!((&heard[&ids[1]], &heard[&ids[2]]), (&ContentOperation::Over, &ContentOperation::Running));
    assert_eq!((&heard[&ids[3]], &heard[&ids[6]]), (&ContentOperation::Over, &ContentOperation::Over));
    for (id, class, code) in
        [(&ids[4], FailureClass::Permanent, "validation_error"), (&ids[5], FailureClass::Transient, "errors")]
    {
        let state = &heard[id];
        assert!(
            matches!(state, ContentOperation::Failed { document, failure } if document == OTHER_DOCUMENT && seen(failure) == (class, code)),
            "{state:?}"
        );
    }
    assert_eq!(client.content_operations(&asked).await.unwrap_err().code, "no_list");
}
