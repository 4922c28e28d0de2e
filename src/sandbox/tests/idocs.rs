//! iDocs: the send scenario with the bodies of the samples, its repeats and refusals, the counterparty, webhooks.

use super::*;
use crate::sandbox::idocs::{
    AnswerStyle, Employee, LinkForm, OlderUnits, Presence, RepeatedRoute, RepeatedSave, RouteShape,
    SameNumber, SignatureCheck, StatusForm,
};
use reqwest::Method;
use serde_json::json;

const DIRECTOR: &str = "11111111-2222-4333-8444-555555555555";
const ACCOUNTANT: &str = "11111111-2222-4333-8444-666666666666";
const NOBODY: &str = "3f2c1d50-6a7b-4c8d-9e01-23456789abcd";
const DATE: i64 = 1_748_772_000;
const OUTBOX: &str = "api/v3/sync/external/outbox";
const PDF: &[u8] = b"%PDF-1.4\nstartxref\n9\n%%EOF\n";

/// Makes the body of a route for a document.
type Body = fn(&str) -> Value;

/// An answer before it is looked into.
struct Raw {
    status: u16,
    kind: String,
    body: bytes::Bytes,
}

impl Raw {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
    /// `response` of an envelope without errors.
    fn response(&self) -> Value {
        let body = self.json();
        assert_eq!((self.status, &body["errors"]), (200, &Value::Null), "{body}");
        body["response"].clone()
    }
    /// Status and code of a refusal.
    fn refusal(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body["response"], Value::Null, "{body}");
        (self.status, body["errors"][0]["errorCode"].as_str().unwrap_or("no error").to_owned())
    }
}

fn invalid() -> (u16, String) {
    (400, "VALIDATION_ERROR".to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Content to sign, as a client has it.
struct Unit {
    link: Url,
    ticket: String,
    bytes: bytes::Bytes,
}

impl Stage {
    /// Sends a request with the token to a path that is taken as it is.
    async fn idocs(&self, method: Method, path: &str, body: Option<Value>) -> Raw {
        let url: Url = format!("{}{path}", self.sandbox.idocs_url()).parse().expect("a path");
        self.idocs_at(method, url, body).await
    }
    async fn idocs_at(&self, method: Method, url: Url, body: Option<Value>) -> Raw {
        let mut request = self.http.request(method, url).bearer_auth("sandbox-idocs-token");
        if let Some(body) = body {
            // The guide's content type.
            request = request.header("content-type", "application/json-patch+json").body(body.to_string());
        }
        raw(request).await
    }
    async fn get(&self, path: &str) -> Raw {
        self.idocs(Method::GET, path, None).await
    }
    async fn say(&self, path: &str, body: Value) -> Raw {
        self.idocs(Method::POST, path, Some(body)).await
    }
    async fn upload(&self, path: &str, part: &'static str, name: &str, bytes: &[u8]) -> Raw {
        let file = reqwest::multipart::Part::bytes(bytes.to_vec()).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new().part(part, file);
        let url = self.sandbox.idocs_url().join(path).expect("a path");
        raw(self.http.post(url).bearer_auth("sandbox-idocs-token").multipart(form)).await
    }
    async fn upload_document(&self, name: &str) -> String {
        let answer = self.upload("api/v3/sync/blobs/document-content", "documentContent", name, PDF).await;
        text(&answer.response()["blobId"])
    }
    async fn upload_signature(&self, cms: &[u8]) -> String {
        let path = "api/v3/sync/blobs/document-signature-content";
        let answer = self.upload(path, "signatureContent", "signature.cms", cms).await;
        text(&answer.response()["blobId"])
    }
    /// A draft of a file with this name and with this number; its id.
    async fn draft(&self, file_name: &str, number: &str) -> String {
        let blob = self.upload_document(file_name).await;
        let answer = self.say(&format!("{OUTBOX}/document/create"), create_body(number, &blob)).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        text(&answer.json()["id"])
    }
    async fn route(&self, id: &str) -> Raw {
        self.say(&format!("{OUTBOX}/route/quick-route/create"), route_body(id)).await
    }
    async fn generate(&self, id: &str) -> Raw {
        let body = json!({"documentId": id, "signedByEmployeeId": DIRECTOR});
        self.say(&format!("{OUTBOX}/signature/content-to-sign/generate"), body).await
    }
    /// Content to sign, fetched by its link.
    async fn unit(&self, id: &str) -> Unit {
        let answer = self.generate(id).await.json();
        let link: Url = text(&answer["downloadLink"]).parse().expect("the link is a URL");
        let fetched = self.idocs_at(Method::GET, link.clone(), None).await;
        assert_eq!(fetched.status, 200);
        Unit { link, ticket: text(&answer["idempotencyTicket"]), bytes: fetched.body }
    }
    async fn save(&self, id: &str, blob: &str, ticket: &str) -> Raw {
        self.say(&format!("{OUTBOX}/signature/quick-sign/save"), save_body(id, blob, ticket)).await
    }
    /// A document on its way to the counterparty; its id.
    async fn sent(&self, file_name: &str, number: &str) -> String {
        let id = self.draft(file_name, number).await;
        assert_eq!(self.route(&id).await.status, 200);
        let unit = self.unit(&id).await;
        let blob = self.upload_signature(&director().sign_detached(&unit.bytes)).await;
        let saved = self.save(&id, &blob, &unit.ticket).await;
        assert_eq!((saved.status, saved.body.len()), (200, 0));
        id
    }
    async fn status_of(&self, id: &str) -> Raw {
        self.get(&format!("api/v3/sync/single/document/GetDocumentStatusByDocumentId/{id}")).await
    }
    async fn until_status(&self, id: &str, status: &str) {
        until(status, || self.world.idocs_document(id).is_some_and(|d| d.status == status)).await;
    }
    fn seen(&self, id: &str) -> IDocsDocument {
        self.world.idocs_document(id).expect("it is there")
    }
    fn with_options(&self, change: impl FnOnce(&mut IDocsOptions)) {
        let mut options = self.world.idocs_options();
        change(&mut options);
        self.world.set_idocs(options);
    }
}

async fn raw(request: reqwest::RequestBuilder) -> Raw {
    let answer = request.send().await.expect("the sandbox answers");
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or("");
    Raw { status, kind: kind.to_owned(), body: answer.bytes().await.expect("the answer is whole") }
}

fn text(value: &Value) -> String {
    value.as_str().expect("the member is text").to_owned()
}

fn director() -> ScriptedSigner {
    ScriptedSigner::new("000000000000", "210987654321")
}

/// `02-document-create-request.json` with another number.
fn create_body(number: &str, blob: &str) -> Value {
    json!({
        "documentMetadata": {
            "documentName": "Договор поставки №1", "documentNumber": number, "documentDate": DATE,
            "documentGroup": "Purchase", "documentAuthorEmployeeId": DIRECTOR,
        },
        "documentBinaryContents": [{"blobId": blob}],
    })
}

/// `03-quick-route-request.openapi.json`.
fn route_body(id: &str) -> Value {
    json!({
        "documentId": id, "employeeId": DIRECTOR,
        "route": {"external": {
            "routeOrderType": "SEQUENTIAL", "isSignRequiredBySender": true,
            "nodes": [{
                "order": 0, "counterpartyBin": "123456789012", "comment": "Просим подписать",
                "isIndividual": false, "counterpartyEmails": ["signer@example.com"],
                "isSignRequiredByCounterparty": true, "orgUnitId": null,
            }],
        }},
    })
}

/// `03-quick-route-request.guide.json`.
fn guide_route_body(id: &str) -> Value {
    json!({
        "documentId": id, "employeeId": DIRECTOR,
        "route": {"external": {"nodes": [{
            "order": 0, "counterpartyBin": "123456789012", "comment": "Просим подписать",
            "isIndividual": false, "counterpartyEmails": ["signer@example.com"], "requiredActionType": "SIGN",
        }]}},
    })
}

/// The same with the member that an integrator added against a payment error.
fn payer_route_body(id: &str) -> Value {
    let mut body = route_body(id);
    body["route"]["external"]["isSenderPayer"] = json!(true);
    body
}

/// `06-quick-sign-save-request.json`.
fn save_body(id: &str, blob: &str, ticket: &str) -> Value {
    json!({
        "documentId": id, "signedByEmployeeId": DIRECTOR, "signatureBinaryContent": {"blobId": blob},
        "idempotencyTicket": ticket,
    })
}

#[tokio::test]
async fn the_scenario_of_the_guide_sends_a_document_and_the_counterparty_signs() {
    let stage = Stage::explicit().await;
    let blob =
        stage.upload("api/v3/sync/blobs/document-content", "documentContent", "contract.pdf", PDF).await;
    assert_eq!(blob.kind, "text/plain; charset=utf-8");
    let card = blob.response();
    let shape = (&card["fileName"], &card["extension"], &card["mimeType"], &card["fileLength"]);
    assert_eq!(shape, (&json!("contract.pdf"), &json!(".pdf"), &json!("application/pdf"), &json!(1)));
    let created =
        stage.say(&format!("{OUTBOX}/document/create"), create_body("CTR-1", &text(&card["blobId"]))).await;
    let draft = created.json();
    assert_eq!((&draft["documentStatus"], &draft["documentDirection"]), (&json!("DRAFT"), &json!("Outbox")));
    assert_eq!(draft["documentDate"], DATE);
    let id = text(&draft["id"]);
    let routed = stage.route(&id).await;
    assert_eq!((routed.status, routed.body.len()), (200, 0), "the answer is empty");
    let unit = stage.unit(&id).await;
    assert!(unit.link.path().starts_with("/api/v3/sync/sign-content/download//"), "{}", unit.link);
    assert!(unit.bytes.starts_with(b"PK\x03\x04"));
    assert!(unit.bytes.windows(PDF.len()).any(|window| window == PDF), "the original is inside");
    let blob = stage.upload_signature(&director().sign_attached(&unit.bytes)).await;
    assert_eq!(stage.status_of(&id).await.json(), json!({"documentStatus": "DRAFT"}));
    assert_eq!(stage.save(&id, &blob, &unit.ticket).await.body.len(), 0);
    stage.until_status(&id, "IN_PROCESS_BY_RECIPIENT").await;
    stage.world.idocs_sign(&id).expect("it is there");
    assert_eq!(stage.status_of(&id).await.json(), json!({"documentStatus": "FINISHED"}));
    let base = "api/v3/sync/single/document/GetDocument";
    let print_form = stage.get(&format!("{base}PrintFormByDocumentId/{id}")).await;
    let archive = stage.get(&format!("{base}ArchiveByDocumentId/{id}")).await;
    assert!(print_form.body.starts_with(b"%PDF-") && archive.body.starts_with(b"PK\x03\x04"));
    let seen = stage.seen(&id);
    assert_eq!(Some(bitrix24::tree::digest_of(&print_form.body)), seen.print_form_sha256);
    assert_eq!(Some(bitrix24::tree::digest_of(&archive.body)), seen.archive_sha256);
    for name in ["contract.pdf", "print-form.pdf", "signatures/1-sender.cms", "signatures/2-recipient.cms"] {
        let inside = archive.body.windows(name.len()).any(|window| window == name.as_bytes());
        assert!(inside, "{name} is in the archive");
    }
    let signature = seen.signature.expect("our signer signed");
    assert_eq!(signature.content_sha256, bitrix24::tree::digest_of(&unit.bytes));
}

#[tokio::test]
async fn without_the_token_nothing_is_told() {
    let stage = Stage::explicit().await;
    let url = stage.sandbox.idocs_url().join("api/v3/sync/references/company-token").expect("a path");
    for request in [stage.http.post(url.clone()), stage.http.post(url).bearer_auth("another")] {
        assert_eq!(raw(request).await.refusal(), refused(401, "PERMISSION_ERROR"));
    }
}

#[tokio::test]
async fn references_tell_company_people_and_rights() {
    let stage = Stage::explicit().await;
    let company = stage.idocs(Method::POST, "api/v3/sync/references/company-token", None).await.response();
    assert_eq!(
        (&company["companyBin"], &company["companyName"]),
        (&json!("210987654321"), &json!("Synthetic LLP"))
    );
    let path = "api/v3/sync/references/company-employees";
    let page = stage.say(path, json!({"skip": 0, "top": 10})).await.response();
    assert_eq!((&page["totalSize"], &page["pageItems"][0]["id"]), (&json!(2), &json!(DIRECTOR)));
    assert_eq!(page["pageItems"][0]["nationalIdentificationNumber"], "000000000000");
    let second = stage.say(path, json!({"skip": 1, "top": 1})).await.response();
    assert_eq!(second["pageItems"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["pageItems"][0]["id"], ACCOUNTANT);
    let rights = stage.get(&format!("{path}/permission/{ACCOUNTANT}")).await.response();
    assert_eq!(rights["accountPermissions"], json!(["CREATE_EXTERNAL_DOCUMENT"]));
    let unknown = stage.get(&format!("{path}/permission/{NOBODY}")).await.refusal();
    assert_eq!(unknown, refused(400, "RESOURCE_NOT_FOUND"));
}

#[tokio::test]
async fn uploads_of_wrong_size_kind_or_content_are_refused_by_name() {
    let stage = Stage::explicit().await;
    stage.with_options(|options| options.upload_bytes_max = 100);
    let documents = "api/v3/sync/blobs/document-content";
    let signatures = "api/v3/sync/blobs/document-signature-content";
    let long = [b'a'; 101];
    let cases: [(&str, &'static str, &str, &[u8], &str); 7] = [
        (documents, "documentContent", "a.exe", PDF, "UPLOADED_FILE_EXTENSION_ERROR"),
        (documents, "documentContent", "a", PDF, "UPLOADED_FILE_EXTENSION_ERROR"),
        (documents, "documentContent", "a.pdf", &long, "UPLOADED_FILE_SIZE_ERROR"),
        (documents, "documentContent", "a.pdf", b"", "UPLOADED_FILE_CONTENT_PARSING_ERROR"),
        (documents, "file", "a.pdf", PDF, "VALIDATION_ERROR"),
        (signatures, "signatureContent", "a.p7s", b"0", "UPLOADED_FILE_EXTENSION_ERROR"),
        (signatures, "signatureContent", "a.cms", b"-----BEGIN", "UPLOADED_FILE_CONTENT_PARSING_ERROR"),
    ];
    for (path, part, name, bytes, code) in cases {
        let answer = stage.upload(path, part, name, bytes).await;
        assert_eq!(answer.refusal(), refused(400, code), "{name}");
    }
    assert_eq!(stage.world.idocs().document_blobs, 0);
    for name in ["Договор.PDF", "a.docx", "a.xlsx", "a.txt"] {
        let answer = stage.upload(documents, "documentContent", name, PDF).await;
        assert_eq!(answer.response()["fileName"], name);
    }
}

#[tokio::test]
async fn a_wrong_create_makes_no_document() {
    let stage = Stage::explicit().await;
    let blob = stage.upload_document("a.pdf").await;
    let path = format!("{OUTBOX}/document/create");
    let changed = |member: &str, value: Value| {
        let mut body = create_body("CTR-1", &blob);
        body["documentMetadata"][member] = value;
        body
    };
    let mut without_file = create_body("CTR-1", &blob);
    without_file["documentBinaryContents"] = json!([]);
    let mut surplus = create_body("CTR-1", &blob);
    surplus["externalId"] = json!("ours");
    let bad = [
        (changed("documentNumber", json!("")), invalid()),
        (changed("documentNumber", json!("n".repeat(257))), invalid()),
        (changed("documentDate", json!(DATE * 1_000)), invalid()),
        (changed("documentGroup", json!("purchase")), invalid()),
        (changed("documentID", json!("x")), invalid()),
        (changed("documentAuthorEmployeeId", json!(NOBODY)), refused(400, "RESOURCE_NOT_FOUND")),
        (create_body("CTR-1", NOBODY), refused(400, "RESOURCE_NOT_FOUND")),
        (without_file, invalid()),
        (surplus, invalid()),
    ];
    for (body, expected) in bad {
        assert_eq!(stage.say(&path, body.clone()).await.refusal(), expected, "{body}");
    }
    let url = stage.sandbox.idocs_url().join(&path).expect("a path");
    let form = stage.http.post(url).bearer_auth("sandbox-idocs-token").form(&[("a", "b")]);
    assert_eq!(raw(form).await.refusal(), refused(415, "VALIDATION_ERROR"));
    assert!(stage.world.idocs().documents.is_empty());
    stage.with_options(|options| options.refusal_status = 200);
    let quiet = stage.say(&path, changed("documentNumber", json!(""))).await;
    assert_eq!(quiet.refusal(), refused(200, "VALIDATION_ERROR"));
    stage.with_options(|options| options.same_number = SameNumber::Refuse);
    assert_eq!(stage.say(&path, create_body("CTR-1", &blob)).await.status, 200);
    assert_eq!(stage.say(&path, create_body("CTR-1", &blob)).await.refusal().1, "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_second_create_and_a_second_route_are_seen_by_the_witness() {
    let stage = Stage::explicit().await;
    let first = stage.draft("a.pdf", "CTR-1").await;
    let second = stage.draft("a.pdf", "CTR-1").await;
    assert_ne!(first, second);
    assert_eq!(stage.world.idocs().numbers_created_twice(), ["CTR-1"]);
    assert!(stage.world.idocs().numbers_sent_twice().is_empty());
    stage.route(&first).await;
    assert!(stage.world.idocs().routed_twice().is_empty());
    stage.route(&first).await;
    assert_eq!(stage.world.idocs().routed_twice(), std::slice::from_ref(&first));
    assert_eq!(stage.seen(&first).nodes.len(), 2);
    stage.with_options(|options| options.repeated_route = RepeatedRoute::Replace);
    stage.route(&first).await;
    assert_eq!(stage.seen(&first).nodes.len(), 1);
    stage.with_options(|options| options.repeated_route = RepeatedRoute::Refuse);
    assert_eq!(stage.route(&first).await.refusal(), invalid());
    for id in [&first, &second] {
        stage.route(id).await;
        let unit = stage.unit(id).await;
        let blob = stage.upload_signature(&director().sign_detached(&unit.bytes)).await;
        stage.save(id, &blob, &unit.ticket).await;
    }
    assert_eq!(stage.world.idocs().numbers_sent_twice(), ["CTR-1"]);
    assert_eq!(stage.world.idocs().files_sent_twice().len(), 1);
}

#[tokio::test]
async fn each_preset_of_the_route_has_its_own_members() {
    let stage = Stage::explicit().await;
    let bodies: [(&str, Body); 3] =
        [("guide", guide_route_body), ("snapshot", route_body), ("payer", payer_route_body)];
    let shapes = [
        (RouteShape::Any, [200, 200, 200]),
        (RouteShape::Guide, [200, 400, 400]),
        (RouteShape::Snapshot, [400, 200, 400]),
        (RouteShape::SnapshotWithPayer, [400, 400, 200]),
    ];
    for (column, (name, body)) in bodies.into_iter().enumerate() {
        for (shape, expected) in shapes {
            let id = stage.draft("a.pdf", "CTR-1").await;
            stage.with_options(|options| options.route_shape = shape);
            let answer = stage.say(&format!("{OUTBOX}/route/quick-route/create"), body(&id)).await;
            assert_eq!(answer.status, expected[column], "{name} against {shape:?}");
            if (name, shape) == ("snapshot", RouteShape::SnapshotWithPayer) {
                assert_eq!(answer.refusal().1, "BILLING_ERROR");
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_route_is_refused_and_a_full_one_has_our_own_people() {
    let stage = Stage::explicit().await;
    let id = stage.draft("a.pdf", "CTR-1").await;
    let path = format!("{OUTBOX}/route/quick-route/create");
    let changed = |member: &str, value: Value| {
        let mut body = route_body(&id);
        body["route"]["external"]["nodes"][0][member] = value;
        body
    };
    let inner = json!({"routeActionOrderingType": "SEQUENTIAL", "nodes": [
        {"order": 0, "employeeId": ACCOUNTANT, "requiredAction": "APPROVE"},
    ]});
    let mut full = route_body(&id);
    full["route"]["internal"] = inner;
    let bad = [
        changed("counterpartyBin", json!("12345678901")),
        changed("counterpartyBin", json!("12345678901x")),
        changed("bin", json!("123456789012")),
        changed("orgUnitId", json!("none")),
        full.clone(),
    ];
    for body in bad {
        assert_eq!(stage.say(&path, body.clone()).await.refusal(), invalid(), "{body}");
    }
    assert_eq!(stage.seen(&id).routes, 0);
    assert_eq!(stage.generate(&id).await.refusal(), invalid(), "there is no route yet");
    assert_eq!(stage.route(NOBODY).await.refusal(), refused(400, "RESOURCE_NOT_FOUND"));
    let done = stage.say(&format!("{OUTBOX}/route/create"), full).await;
    assert_eq!((done.status, stage.seen(&id).routes), (200, 1));
    let card =
        stage.get(&format!("api/v3/sync/external/documents-query/single/outbox/{id}")).await.response();
    assert_eq!(card["documentRoute"]["internal"]["nodes"][0]["employeeId"], ACCOUNTANT);
}

#[tokio::test]
async fn content_to_sign_dies_with_its_end_and_with_newer_content() {
    let stage = Stage::explicit().await;
    let id = stage.draft("a.pdf", "CTR-1").await;
    stage.route(&id).await;
    let first = stage.unit(&id).await;
    let second = stage.unit(&id).await;
    assert_ne!((&first.bytes, &first.ticket), (&second.bytes, &second.ticket));
    let fetch = |link: Url| stage.idocs_at(Method::GET, link, None);
    assert_eq!(fetch(first.link.clone()).await.status, 404);
    assert_eq!(fetch(second.link.clone()).await.body, second.bytes);
    let blob = stage.upload_signature(&director().sign_detached(&first.bytes)).await;
    assert_eq!(stage.save(&id, &blob, &first.ticket).await.refusal(), invalid());
    assert_eq!(stage.save(&id, &blob, &second.ticket).await.refusal(), invalid(), "signed other content");
    stage.world.idocs_expire_units(&id).expect("it is there");
    assert_eq!(fetch(second.link).await.refusal(), refused(404, "RESOURCE_NOT_FOUND"));
    let blob = stage.upload_signature(&director().sign_detached(&second.bytes)).await;
    assert_eq!(stage.save(&id, &blob, &second.ticket).await.refusal(), invalid(), "expired");
    stage.with_options(|options| {
        options.older_units = OlderUnits::Live;
        options.unit_life_ms = 0;
    });
    let third = stage.generate(&id).await.json();
    let ends_ms = third["disposeOn"].as_i64().expect("a moment") * 1_000;
    let link: Url = text(&third["downloadLink"]).parse().expect("a URL");
    until("the end that was told", || world::now_ms() >= ends_ms).await;
    assert_eq!(fetch(link).await.status, 404);
    assert!(!stage.seen(&id).is_sent());
}

#[tokio::test]
async fn content_made_of_another_file_can_be_ordered() {
    let stage = Stage::explicit().await;
    let id = stage.draft("a.pdf", "CTR-1").await;
    stage.route(&id).await;
    stage.world.idocs_replace_file(&id, &b"%PDF-another"[..]).expect("it is there");
    let unit = stage.unit(&id).await;
    assert!(unit.bytes.windows(12).any(|window| window == b"%PDF-another"));
    assert!(!unit.bytes.windows(PDF.len()).any(|window| window == PDF));
    assert!(stage.world.idocs_replace_file(NOBODY, PDF).is_err());
}

#[tokio::test]
async fn the_double_slash_of_the_link_can_be_made_to_matter() {
    let stage = Stage::explicit().await;
    let id = stage.draft("a.pdf", "CTR-1").await;
    stage.route(&id).await;
    let unit = stage.unit(&id).await;
    let collapsed: Url = unit.link.as_str().replace("download//", "download/").parse().expect("a URL");
    for (form, as_given, without) in
        [(LinkForm::Both, 200, 200), (LinkForm::AsGiven, 200, 404), (LinkForm::Collapsed, 404, 200)]
    {
        stage.with_options(|options| options.link_form = form);
        assert_eq!(stage.idocs_at(Method::GET, unit.link.clone(), None).await.status, as_given, "{form:?}");
        assert_eq!(stage.idocs_at(Method::GET, collapsed.clone(), None).await.status, without, "{form:?}");
    }
    stage.with_options(|options| options.link_origin = Some("http://169.254.169.254".into()));
    let foreign = text(&stage.generate(&id).await.json()["downloadLink"]);
    assert!(foreign.starts_with("http://169.254.169.254/api/v3/"), "{foreign}");
    assert_eq!(raw(stage.http.get(unit.link)).await.status, 401, "the link needs the token too");
}

#[tokio::test]
async fn a_repeated_save_has_no_second_effect() {
    let stage = Stage::explicit().await;
    let id = stage.draft("a.pdf", "CTR-1").await;
    stage.route(&id).await;
    let unit = stage.unit(&id).await;
    let blob = stage.upload_signature(&director().sign_detached(&unit.bytes)).await;
    stage.world.add_fault(Fault::first("idocs.save", 1, FaultKind::CutAfter)).expect("there is room");
    let url = stage.sandbox.idocs_url().join(&format!("{OUTBOX}/signature/quick-sign/save")).expect("a path");
    let lost =
        stage.http.post(url).bearer_auth("sandbox-idocs-token").json(&save_body(&id, &blob, &unit.ticket));
    assert!(lost.send().await.is_err(), "the answer is lost");
    assert!(stage.seen(&id).is_sent());
    stage.until_status(&id, "IN_PROCESS_BY_RECIPIENT").await;
    let again = stage.save(&id, &blob, &unit.ticket).await;
    assert_eq!((again.status, again.body.len()), (200, 0));
    let other = stage.upload_signature(&director().sign_detached(&unit.bytes)).await;
    assert_eq!(stage.save(&id, &other, &unit.ticket).await.refusal(), invalid());
    assert_eq!(stage.save(&id, &blob, NOBODY).await.refusal(), invalid());
    stage.with_options(|options| options.repeated_save = RepeatedSave::Refuse);
    assert_eq!(stage.save(&id, &blob, &unit.ticket).await.refusal(), invalid());
    let saves: Vec<bool> = stage.world.ledger_of("idocs.save").iter().map(|entry| entry.effect).collect();
    assert_eq!(saves, [true, false, false, false, false]);
    assert_eq!(stage.seen(&id).repeated_saves, 1);
    assert_eq!(stage.seen(&id).status, "IN_PROCESS_BY_RECIPIENT", "no step back");
}

#[tokio::test]
async fn a_save_needs_signer_signature_and_the_right_form() {
    let stage = Stage::explicit().await;
    let id = stage.draft("a.pdf", "CTR-1").await;
    stage.route(&id).await;
    let unit = stage.unit(&id).await;
    assert_eq!(stage.save(&id, NOBODY, &unit.ticket).await.refusal(), refused(400, "RESOURCE_NOT_FOUND"));
    let blob = stage.upload_signature(&director().sign_detached(&unit.bytes)).await;
    let mut body = save_body(&id, &blob, &unit.ticket);
    body["signedByEmployeeId"] = json!(ACCOUNTANT);
    let path = format!("{OUTBOX}/signature/quick-sign/save");
    assert_eq!(stage.say(&path, body).await.refusal(), refused(400, "PERMISSION_ERROR"));
    stage.with_options(|options| options.signature = SignatureCheck::Attached);
    assert_eq!(stage.save(&id, &blob, &unit.ticket).await.refusal(), invalid());
    let document = stage.upload_document("a.pdf").await;
    let wrong_kind = stage.save(&id, &document, &unit.ticket).await;
    assert_eq!(wrong_kind.refusal(), refused(400, "RESOURCE_NOT_FOUND"));
    let blob = stage.upload_signature(&director().sign_attached(&unit.bytes)).await;
    assert_eq!(stage.save(&id, &blob, &unit.ticket).await.status, 200);
    assert_eq!(stage.generate(&id).await.refusal(), invalid(), "a sent document is no draft");
    assert_eq!(stage.route(&id).await.refusal(), invalid());
}

#[tokio::test]
async fn drafts_are_listed_by_status_date_and_author_and_never_by_number() {
    let stage = Stage::explicit().await;
    let path = "api/v3/sync/external/documents-query/outbox";
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(stage.draft("a.pdf", &format!("CTR-{number}")).await);
    }
    let sent = stage.sent("b.pdf", "CTR-S").await;
    // `09-outbox-query-request.json`
    let query = json!({
        "documentStatuses": ["DRAFT"], "documentDateFrom": 1_748_735_999, "documentDateTo": 1_748_822_400,
        "documentAuthorId": DIRECTOR, "skip": 0, "top": 2,
    });
    let with = |member: &str, value: Value| {
        let mut query = query.clone();
        query[member] = value;
        query
    };
    let mut found = Vec::new();
    for skip in [0, 2, 4] {
        let page = stage.say(path, with("skip", json!(skip))).await.response();
        assert_eq!((&page["totalSize"], &page["top"]), (&json!(5), &json!(2)));
        let items = page["pageItems"].as_array().expect("a list").clone();
        found.extend(items.iter().map(|item| text(&item["id"])));
    }
    found.reverse();
    assert_eq!(found, ids, "the newest come first");
    for query in [
        with("documentAuthorId", json!(ACCOUNTANT)),
        with("documentDateTo", json!(DATE)),
        with("documentDateFrom", json!(DATE)),
        with("documentStatuses", json!(["FINISHED"])),
    ] {
        assert_eq!(stage.say(path, query.clone()).await.response()["totalSize"], 0, "{query}");
    }
    for query in [with("documentNumber", json!("CTR-1")), with("documentStatuses", json!(["SIGNED"]))] {
        assert_eq!(stage.say(path, query.clone()).await.refusal(), invalid(), "{query}");
    }
    let all = stage.say(path, json!({})).await.response();
    assert_eq!((&all["totalSize"], &all["pageItems"][0]["id"]), (&json!(6), &json!(sent)));
    stage.with_options(|options| options.page_max = 3);
    let cut = stage.say(path, json!({"top": 1_000})).await.response();
    assert_eq!((cut["pageItems"].as_array().map(Vec::len), &cut["top"]), (Some(3), &json!(3)));
    let inbox = stage.say("api/v3/sync/external/documents-query/inbox", json!({})).await.response();
    assert_eq!(inbox["totalSize"], 0);
}

#[tokio::test]
async fn a_refusal_leaves_its_reason_in_the_node() {
    let stage = Stage::explicit().await;
    let id = stage.sent("a.pdf", "CTR-1").await;
    stage.until_status(&id, "IN_PROCESS_BY_RECIPIENT").await;
    let single = format!("api/v3/sync/external/documents-query/single/outbox/{id}");
    let state = |card: &Value| card["documentRoute"]["external"]["nodes"][0]["state"].clone();
    let before = state(&stage.get(&single).await.response());
    assert_eq!(before, json!({"status": "Active", "completedOn": null, "rejectMetadata": null}));
    stage.world.idocs_refuse(&id, "Неверная сумма").expect("it is there");
    let card = stage.get(&single).await.response();
    assert_eq!(card["documentStatus"], "REJECTED_BY_RECIPIENT");
    let after = state(&card);
    assert_eq!(after["status"], "CompletedWithFail");
    assert_eq!(after["rejectMetadata"]["rejectReason"], "Неверная сумма");
    let signer = &card["documentRoute"]["internal"]["nodes"][0];
    assert_eq!(
        (&signer["employeeId"], &signer["state"]["status"]),
        (&json!(DIRECTOR), &json!("CompletedWithOk"))
    );
    let draft = stage.draft("b.pdf", "CTR-2").await;
    let single = format!("api/v3/sync/external/documents-query/single/outbox/{draft}");
    assert_eq!(stage.get(&single).await.response()["documentRoute"], Value::Null);
    assert!(stage.world.idocs_refuse(NOBODY, "").is_err());
}

#[tokio::test]
async fn what_is_not_there_is_a_404_without_a_body() {
    let stage = Stage::explicit().await;
    let draft = stage.draft("a.pdf", "CTR-1").await;
    let base = "api/v3/sync/single/document/GetDocument";
    let missing = [
        format!("{base}StatusByDocumentId/{NOBODY}"),
        format!("{base}PrintFormByDocumentId/{draft}"),
        format!("{base}ArchiveByDocumentId/{draft}"),
        format!("api/v3/sync/external/documents-query/single/outbox/{NOBODY}"),
    ];
    for path in missing {
        let answer = stage.get(&path).await;
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{path}");
    }
    let id = stage.sent("b.pdf", "CTR-2").await;
    stage.with_options(|options| options.print_form = Presence::Missing);
    assert_eq!(stage.get(&format!("{base}PrintFormByDocumentId/{id}")).await.status, 404);
    assert_eq!(stage.get(&format!("{base}ArchiveByDocumentId/{id}")).await.status, 200);
    stage.with_options(|options| options.archive = Presence::Missing);
    assert_eq!(stage.get(&format!("{base}ArchiveByDocumentId/{id}")).await.status, 404);
    assert_eq!(stage.get("api/v3/sync/no/such/path").await.refusal(), refused(404, "RESOURCE_NOT_FOUND"));
}

#[tokio::test]
async fn statuses_and_answers_can_be_dressed_in_every_known_way() {
    let stage = Stage::explicit().await;
    let id = stage.sent("a.pdf", "CTR-1").await;
    stage.world.idocs_sign(&id).expect("it is there");
    stage.with_options(|options| options.statuses = StatusForm::Number);
    assert_eq!(stage.status_of(&id).await.json(), json!({"documentStatus": 10}));
    stage.with_options(|options| options.statuses = StatusForm::BareNumber);
    assert_eq!(&stage.status_of(&id).await.body[..], b"10");
    stage.with_options(|options| {
        options.statuses = StatusForm::Name;
        options.answers = AnswerStyle::Enveloped;
    });
    assert_eq!(stage.status_of(&id).await.response(), json!({"documentStatus": "FINISHED"}));
    let blob = stage.upload_document("b.pdf").await;
    let created = stage.say(&format!("{OUTBOX}/document/create"), create_body("CTR-2", &blob)).await;
    let draft = text(&created.response()["id"]);
    stage.with_options(|options| options.answers = AnswerStyle::Declared);
    assert_eq!(stage.route(&draft).await.json(), json!({}));
    stage.world.idocs_report(&id, "SOMETHING_NEW", None).expect("it is there");
    stage.with_options(|options| options.statuses = StatusForm::Number);
    assert_eq!(stage.status_of(&id).await.json(), json!({"documentStatus": "SOMETHING_NEW"}));
}

#[tokio::test]
async fn faults_strike_the_calls_of_idocs_by_name() {
    let stage = Stage::explicit().await;
    let blob = stage.upload_document("a.pdf").await;
    let path = format!("{OUTBOX}/document/create");
    for (kind, documents) in [
        (FaultKind::status(500, "INTERNAL_SERVER_ERROR"), 0),
        (FaultKind::status(200, "BILLING_ERROR"), 0),
        (FaultKind::Status(ErrorAnswer::new(429, "UNKNOWN").retry_after_s(7)), 0),
        (FaultKind::Html(502), 0),
        (FaultKind::status_after(500, "UNKNOWN"), 1),
        (FaultKind::HtmlAfter(502), 2),
    ] {
        stage.world.clear_faults();
        stage.world.add_fault(Fault::always("idocs.create", kind.clone())).expect("there is room");
        let answer = stage.say(&path, create_body("CTR-1", &blob)).await;
        match &kind {
            FaultKind::Status(expected) | FaultKind::StatusAfter(expected) => {
                assert_eq!(answer.refusal(), (expected.status, expected.error.clone()));
            }
            _ => assert!(answer.body.starts_with(b"<html>")),
        }
        assert_eq!(stage.world.idocs().documents.len(), documents, "{kind:?}");
    }
    stage.world.clear_faults();
    stage.world.add_fault(Fault::always("idocs.*", FaultKind::Refuse)).expect("there is room");
    let url = stage.sandbox.idocs_url().join("api/v3/sync/references/company-token").expect("a path");
    assert!(stage.http.post(url).send().await.is_err(), "the connection is reset");
    let entry = stage.world.ledger_of("idocs.token").pop().expect("it is in the ledger");
    assert_eq!((entry.side, entry.fault, entry.status), (Side::IDocs, Some("refuse"), None));
}

#[actix_web::test]
async fn webhooks_go_to_the_subscriber_and_history_tells_the_same() {
    let receiver = Receiver::start(1).await;
    let callback_policy = CallbackPolicy { interval: Duration::from_millis(10), ..CallbackPolicy::default() };
    let stage = Stage::set(SandboxOptions { callback_policy, ..SandboxOptions::default() }).await;
    let base = "api/1/webhooks/document-events";
    let subscription = format!("{base}/subscription/document-status-changed-event");
    // `20-webhook-subscription-request.assumed.json`
    let told = stage.say(&subscription, json!({"subscriptionUrl": receiver.url})).await;
    assert_eq!(told.response()["subscriptionUrl"], receiver.url);
    assert_eq!(stage.say(&subscription, json!({"url": receiver.url})).await.refusal(), invalid());
    let id = stage.sent("a.pdf", "CTR-1").await;
    until("three acknowledged webhooks", || stage.seen(&id).webhooks_acknowledged == 3).await;
    assert_eq!(stage.seen(&id).status, "FINISHED");
    assert_eq!(receiver.count(), 4, "the refused one came again");
    let mut statuses: Vec<String> =
        receiver.all().iter().map(|webhook| text(&webhook.json()["documentStatus"])).collect();
    statuses.sort();
    statuses.dedup();
    assert_eq!(statuses, ["FINISHED", "IN_PROCESS_BY_RECIPIENT", "SENT_BY_SENDER"]);
    assert_eq!(receiver.all()[0].json()["documentId"], id);
    let history = stage.get(&format!("{base}/document-status-changed-event/{id}")).await.json();
    let statuses: Vec<String> =
        history["events"].as_array().expect("a list").iter().map(|e| text(&e["documentStatus"])).collect();
    assert_eq!(statuses, ["DRAFT", "SENT_BY_SENDER", "IN_PROCESS_BY_RECIPIENT", "FINISHED"]);
    let period = stage.get(&format!("{base}/document-status-changed-event?from=0")).await.json();
    assert_eq!(period["events"].as_array().map(Vec::len), Some(4));
    stage.idocs(Method::DELETE, &subscription, None).await;
    assert_eq!(stage.get(&subscription).await.response()["subscriptionUrl"], Value::Null);
    stage.world.idocs_send_webhook(&id, WebhookSpec::of_status("FINISHED")).expect("it is there");
    assert_eq!(receiver.count(), 4, "nobody is subscribed");
}

#[actix_web::test]
async fn webhooks_are_lost_late_repeated_and_wrong_on_order() {
    let receiver = Receiver::start(0).await;
    let callback_policy = CallbackPolicy { interval: Duration::from_millis(10), ..CallbackPolicy::default() };
    let mode = Mode::Explicit;
    let stage = Stage::set(SandboxOptions { callback_policy, mode, ..SandboxOptions::default() }).await;
    stage.world.set_idocs_subscription(receiver.target());
    let id = stage.draft("a.pdf", "CTR-1").await;
    let late = WebhookSpec { delay: Duration::from_millis(400), ..WebhookSpec::of_status("SENT_BY_SENDER") };
    stage.world.idocs_send_webhook(&id, late).expect("it is there");
    stage.world.idocs_report(&id, "FINISHED", None).expect("it is there");
    until("both", || receiver.count() == 2).await;
    let order: Vec<Value> = receiver.all().iter().map(|w| w.json()["documentStatus"].clone()).collect();
    assert_eq!(order, ["FINISHED", "SENT_BY_SENDER"]);
    stage.world.add_fault(Fault::first("idocs.webhook", 1, FaultKind::CutBefore)).expect("there is room");
    let once = WebhookSpec { repeats: Repeats::None, ..WebhookSpec::of_status("FINISHED") };
    stage.world.idocs_send_webhook(&id, once).expect("it is there");
    until("the loss", || stage.world.faults_struck() == 1).await;
    stage.world.clear_faults();
    stage.world.add_fault(Fault::first("idocs.webhook", 1, FaultKind::Duplicate)).expect("there is room");
    stage.world.idocs_send_webhook(&id, WebhookSpec::of_status("FINISHED")).expect("it is there");
    until("the double", || receiver.count() == 4).await;
    let foreign =
        WebhookSpec { document_id: Member::Other("../x".into()), ..WebhookSpec::of_status("FINISHED") };
    stage.world.idocs_send_webhook(&id, foreign).expect("it is there");
    until("the foreign one", || receiver.count() == 5).await;
    assert_eq!(receiver.all()[4].json()["documentId"], "../x");
    let broken = WebhookSpec { raw_body: Some("{broken".into()), ..WebhookSpec::of_status("FINISHED") };
    stage.world.idocs_send_webhook(&id, broken).expect("it is there");
    until("the broken one", || receiver.count() == 6).await;
    assert_eq!(receiver.all()[5].text(), "{broken");
}

#[actix_web::test]
async fn markers_in_file_names_and_scripts_are_obeyed() {
    let receiver = Receiver::start(0).await;
    let stage = Stage::explicit().await;
    stage.world.set_idocs_subscription(receiver.target());
    let refused = stage.sent("a~refuse.pdf", "CTR-1").await;
    stage.until_status(&refused, "REJECTED_BY_RECIPIENT").await;
    assert_eq!(stage.seen(&refused).nodes[0].reject_reason.as_deref(), Some("Неверная сумма"));
    let blob = stage.upload_document("b~lost.pdf").await;
    let url = stage.sandbox.idocs_url().join(&format!("{OUTBOX}/document/create")).expect("a path");
    let lost = stage.http.post(url).bearer_auth("sandbox-idocs-token").json(&create_body("CTR-2", &blob));
    assert!(lost.send().await.is_err(), "the create's answer is lost");
    assert_eq!(stage.world.idocs().of_number("CTR-2").len(), 1);
    let early = stage.sent("c~early.pdf", "CTR-3").await;
    let told = |status: &str| {
        receiver.all().iter().any(|w| w.json()["documentId"] == early && w.json()["documentStatus"] == status)
    };
    assert!(told("FINISHED"), "the webhook came before the save's answer");
    let script =
        Script { intermediate: vec!["IN_NEW".into()], outcome: Outcome::Declined, ..Script::default() };
    stage.world.script("offer", script);
    let declined = stage.sent("offer.pdf", "CTR-4").await;
    stage.until_status(&declined, "REJECTED_BY_COMPANY").await;
    let base = "api/1/webhooks/document-events/document-status-changed-event";
    let history = stage.get(&format!("{base}/{declined}")).await.json();
    assert_eq!(history["events"][3]["documentStatus"], "IN_NEW");
}

#[tokio::test]
async fn whoever_only_has_to_be_informed_ends_it_by_receiving_it() {
    let stage = Stage::explicit().await;
    let id = stage.draft("a.pdf", "CTR-1").await;
    let mut body = route_body(&id);
    body["route"]["external"]["nodes"][0]["isSignRequiredByCounterparty"] = json!(false);
    stage.say(&format!("{OUTBOX}/route/quick-route/create"), body).await;
    let unit = stage.unit(&id).await;
    let blob = stage.upload_signature(&director().sign_detached(&unit.bytes)).await;
    stage.save(&id, &blob, &unit.ticket).await;
    stage.until_status(&id, "FINISHED").await;
}

#[tokio::test]
async fn bulk_operations_run_by_themselves_and_are_asked_about() {
    let stage = Stage::explicit().await;
    let blob = stage.upload_document("a.pdf").await;
    let path = "api/v3/async/bulk/external/outbox/document/create";
    let push = |body: Value| stage.say(path, json!({"operations": [{"data": body}]}));
    let pushed = push(create_body("CTR-1", &blob)).await.json()["operations"][0].clone();
    assert_eq!((&pushed["operationStatus"], &pushed["data"]), (&json!("Created"), &Value::Null));
    let ask = async |id: &Value| {
        let body = json!({"operations": [{"operationId": id}]});
        stage.say(&format!("{path}/status"), body).await.json()["operations"][0].clone()
    };
    until("the document", || stage.world.idocs().documents.len() == 1).await;
    until("the end of the operation", || !stage.world.ledger_of("idocs.create.bulk").is_empty()).await;
    let done = ended(&ask, &pushed["operationId"]).await;
    assert_eq!(
        (&done["operationStatus"], &done["data"]["documentNumber"]),
        (&json!("CompletedWithOk"), &json!("CTR-1"))
    );
    let wrong = push(create_body("CTR-2", NOBODY)).await.json()["operations"][0]["operationId"].clone();
    let failed = ended(&ask, &wrong).await;
    assert_eq!(failed["operationStatus"], "CompletedWithProcessingError");
    assert_eq!(failed["operationErrors"][0]["errorCode"], "RESOURCE_NOT_FOUND");
    stage.world.add_fault(Fault::first("idocs.create.bulk", 1, FaultKind::CutAfter)).expect("there is room");
    let doubtful = push(create_body("CTR-3", &blob)).await.json()["operations"][0]["operationId"].clone();
    assert_eq!(ended(&ask, &doubtful).await["operationStatus"], "CompletedWithProcessingException");
    assert_eq!(stage.world.idocs().of_number("CTR-3").len(), 1, "an exception after the effect");
    let all = stage.say("api/v3/sync/bulk/operations", json!({"top": 10})).await.response();
    assert_eq!((&all["totalSize"], &all["pageItems"][2]["data"]), (&json!(3), &Value::Null));
    stage.world.idocs_forget_operations();
    let gone = ask(&pushed["operationId"]).await;
    assert_eq!((&gone["operationStatus"], &gone["createdOn"]), (&json!("NotFound"), &Value::Null));
}

/// Asks until an operation has ended.
async fn ended(ask: &impl AsyncFn(&Value) -> Value, id: &Value) -> Value {
    let asking = async {
        loop {
            let card = ask(id).await;
            if !card["completedOn"].is_null() {
                return card;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the operation ends")
}

#[actix_web::test]
async fn the_buttons_of_idocs_work_over_http() {
    let receiver = Receiver::start(0).await;
    let stage = Stage::explicit().await;
    let url = stage.sandbox.bitrix_url();
    let press = async |path: &str, body: Value| {
        let request =
            stage.http.post(url.join("_sandbox/idocs/").and_then(|u| u.join(path)).expect("a path"));
        answer_of(request.json(&body)).await
    };
    assert_eq!(press("subscription", json!({"url": receiver.url})).await.0, 200);
    let id = stage.draft("a.pdf", "CTR-1").await;
    stage.route(&id).await;
    let unit = stage.unit(&id).await;
    let (_, made) = press(&format!("documents/{id}/cms"), json!({"form": "attached"})).await;
    let cms = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text(&made["cms"]))
        .expect("it is base64");
    let blob = stage.upload_signature(&cms).await;
    assert_eq!(stage.save(&id, &blob, &unit.ticket).await.status, 200);
    stage.until_status(&id, "IN_PROCESS_BY_RECIPIENT").await;
    assert_eq!(press(&format!("documents/{id}/refuse"), json!({"reason": "нет"})).await.0, 200);
    until("the refusal's webhook", || stage.seen(&id).webhooks_acknowledged == 3).await;
    let state = answer_of(stage.http.get(url.join("_sandbox/state").expect("a path"))).await.1;
    assert_eq!(state["idocs"]["documents"][0]["nodes"][0]["reject_reason"], "нет");
    assert_eq!(press("settings", json!({"statuses": "number", "unit_life_ms": 5})).await.0, 200);
    assert_eq!(stage.world.idocs_options().unit_life_ms, 5);
    assert_eq!(stage.world.idocs_options().employees, Employee::samples(), "the others stay");
    assert_eq!(press("settings", json!({"no_such": 1})).await.0, 400);
    assert_eq!(press(&format!("documents/{NOBODY}/sign"), json!({})).await.0, 404);
    for verb in ["sign", "recall", "expire"] {
        assert_eq!(press(&format!("documents/{id}/{verb}"), json!({})).await.0, 200, "{verb}");
    }
    let last = press(&format!("documents/{id}/status"), json!({"status": "FINISHED", "quiet": true})).await;
    assert_eq!((last.0, stage.seen(&id).status.as_str()), (200, "FINISHED"));
}
