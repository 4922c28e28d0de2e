//! The signing service: documents, callbacks, scripts.

use super::*;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::json;

#[actix_web::test]
async fn a_document_is_signed_reported_with_a_right_signature_and_downloaded() {
    let receiver = Receiver::start(0).await;
    let stage = Stage::plain().await;
    let id = stage.create("a.pdf", &receiver.url).await;
    until("the callback", || stage.world.document(&id).is_some_and(|d| d.callbacks_acknowledged == 1)).await;
    let callback = &receiver.all()[0];
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"sandbox-callback-secret").expect("any length");
    mac.update(&callback.body);
    let digest: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(callback.signature.as_deref(), Some(digest.as_str()));
    let url = format!("{}documents/{id}/download", stage.sandbox.easydocs_url());
    let start = format!(
        r#"{{"event":"document.status_changed","document_id":"{id}","external_id":"x-a.pdf","status":"signed","signed_file_url":"{url}","timestamp":""#
    );
    assert!(callback.text().starts_with(&start) && callback.text().ends_with("Z\"}"), "{}", callback.text());
    assert_eq!(callback.kind, "application/json");
    let file =
        stage.easydocs(Method::GET, &format!("documents/{id}/download")).send().await.expect("an answer");
    let bytes = file.bytes().await.expect("bytes");
    assert_eq!(&bytes[..], &signed_copy(b"%PDF-1.4\n", &id)[..]);
    let document = stage.world.document(&id).expect("it was created");
    assert_eq!(bitrix24::tree::digest_of(&bytes), document.signed_sha256);
    assert_ne!(document.signed_sha256, document.sha256);
    assert_eq!(document.downloads, 1);
}

#[tokio::test]
async fn a_create_is_not_idempotent_and_both_documents_are_found() {
    let stage = Stage::explicit().await;
    let first = stage.create("a.pdf", "http://127.0.0.1:9/").await;
    let second = stage.create("a.pdf", "http://127.0.0.1:9/").await;
    assert_ne!(first, second);
    assert_eq!(stage.world.documents_of("x-a.pdf").len(), 2);
    let (_, found) = answer_of(stage.easydocs(Method::GET, "api/v1/documents?external_id=x-a.pdf")).await;
    assert_eq!((&found["total"], &found["items"][0]["id"]), (&json!(2), &json!(first)));
    let (_, one) = answer_of(stage.easydocs(Method::GET, &format!("api/v1/documents/{second}"))).await;
    assert_eq!((&one["status"], &one["external_id"]), (&json!("pending"), &json!("x-a.pdf")));
    assert_eq!(answer_of(stage.easydocs(Method::GET, "api/v1/me")).await.0, 200);
    let off =
        EasyDocsOptions { search: Capability::Off, status: Capability::Off, ..EasyDocsOptions::default() };
    stage.world.set_easydocs(off);
    assert_eq!(answer_of(stage.easydocs(Method::GET, "api/v1/documents?external_id=x-a.pdf")).await.0, 404);
    assert_eq!(answer_of(stage.easydocs(Method::GET, &format!("api/v1/documents/{first}"))).await.0, 404);
}

#[tokio::test]
async fn what_the_guide_does_not_allow_is_refused_without_a_document() {
    let stage = Stage::explicit().await;
    stage
        .world
        .set_easydocs(EasyDocsOptions { routes: vec!["route-1".into()], ..EasyDocsOptions::default() });
    let changed = |member: &str, value: Value| {
        let mut body = create_body("a.pdf", "http://127.0.0.1:9/");
        body[member] = value;
        body
    };
    let bad = [
        changed("no_such_member", json!(1)),
        changed("file_content", json!("not base64!")),
        changed("file_content", json!("")),
        changed("route_id", json!("route-2")),
        changed("external_id", Value::Null),
    ];
    for body in bad {
        let (status, answer) = answer_of(stage.easydocs(Method::POST, "api/v1/documents").json(&body)).await;
        assert_eq!((status, answer["error"].as_str()), (400, Some("validation_error")), "{body}");
    }
    let url = stage.sandbox.easydocs_url().join("api/v1/documents").expect("a path");
    let keyless = stage.http.post(url).json(&create_body("a.pdf", "http://127.0.0.1:9/"));
    assert_eq!(answer_of(keyless).await.0, 401);
    assert!(stage.world.documents().is_empty());
    let id = stage.create("a.pdf", "http://127.0.0.1:9/").await;
    assert_eq!(answer_of(stage.easydocs(Method::GET, &format!("documents/{id}/download"))).await.0, 409);
    assert_eq!(answer_of(stage.easydocs(Method::GET, "documents/none/download")).await.0, 404);
}

#[actix_web::test]
async fn a_callback_is_repeated_until_it_is_acknowledged_and_then_no_more() {
    let receiver = Receiver::start(2).await;
    let callback_policy = CallbackPolicy { interval: Duration::from_millis(10), ..CallbackPolicy::default() };
    let options = SandboxOptions { mode: Mode::Explicit, callback_policy, ..SandboxOptions::default() };
    let stage = Stage::set(options).await;
    let id = stage.create("a.pdf", &receiver.url).await;
    stage.world.refuse(&id).expect("it is there");
    until("the acknowledgement", || stage.world.callbacks().len() == 3).await;
    let statuses: Vec<_> = stage.world.callbacks().iter().map(|c| c.status).collect();
    assert_eq!(statuses, [Some(500), Some(500), Some(200)]);
    let bodies: Vec<_> = receiver.all().into_iter().map(|r| r.body).collect();
    assert!(bodies.iter().all(|b| *b == bodies[0]), "a repeat has the same bytes");
    stage.world.report(&id, "in_approval").expect("it is there");
    until("the next callback", || receiver.count() == 4).await;
    assert_eq!(receiver.statuses(), ["rejected", "rejected", "rejected", "in_approval"]);
    assert!(!receiver.all()[0].text().contains("signed_file_url"));
}

#[actix_web::test]
async fn markers_in_file_names_are_obeyed() {
    let receiver = Receiver::start(0).await;
    let stage = Stage::explicit().await;
    stage.create("a~decline~thrice.pdf", &receiver.url).await;
    until("three callbacks", || receiver.count() == 3).await;
    assert_eq!(receiver.statuses(), ["declined", "declined", "declined"]);
    let id = stage.create("b~early.pdf", &receiver.url).await;
    assert_eq!(receiver.count(), 4, "the callback came before the create's answer");
    assert_eq!(receiver.all()[3].json()["document_id"], id);
    let create = stage.world.ledger_of("easydocs.create").pop().expect("the second create");
    let callback = stage.world.ledger_of("callback").pop().expect("its callback");
    assert!(create.n > callback.n && create.at_ms <= callback.at_ms, "{create:?} {callback:?}");
    let lost = stage
        .easydocs(Method::POST, "api/v1/documents")
        .json(&create_body("c~lost~never.pdf", &receiver.url));
    assert!(lost.send().await.is_err(), "the create's answer is lost");
    assert_eq!(stage.world.documents_of("x-c~lost~never.pdf").len(), 1);
    let entry = stage.world.ledger_of("easydocs.create").pop().expect("the third create");
    assert_eq!((entry.effect, entry.status), (true, None));
}

#[actix_web::test]
async fn a_script_set_by_hand_and_the_intermediate_mode_report_on_the_way() {
    let receiver = Receiver::start(0).await;
    let mode = Mode::Auto { sign_after: Duration::from_millis(20), intermediate: Chosen::Yes };
    let stage = Stage::set(SandboxOptions { mode, ..SandboxOptions::default() }).await;
    stage.create("a.pdf", &receiver.url).await;
    until("both callbacks", || receiver.count() == 2).await;
    assert_eq!(receiver.statuses(), ["in_approval", "signed"]);
    stage.world.script("offer", Script { outcome: Outcome::Rejected, ..Script::default() });
    let id = stage.create("offer.pdf", &receiver.url).await;
    until("the refusal", || stage.world.document(&id).is_some_and(|d| d.callbacks_acknowledged == 1)).await;
    assert_eq!(receiver.statuses()[2], "rejected");
}

#[actix_web::test]
async fn callbacks_come_late_forged_reordered_and_with_foreign_urls_on_order() {
    let receiver = Receiver::start(0).await;
    let stage = Stage::explicit().await;
    let id = stage.create("a.pdf", "http://127.0.0.1:9/nowhere").await;
    stage.world.set_callback_url(receiver.target());
    let late = CallbackSpec { delay: Duration::from_millis(400), ..CallbackSpec::of_status("in_approval") };
    stage.world.send_callback(&id, late).expect("it is there");
    stage.world.sign(&id).expect("it is there");
    until("both", || receiver.count() == 2).await;
    assert_eq!(receiver.statuses(), ["signed", "in_approval"]);
    let forged = CallbackSpec {
        signature: Signature::Missing,
        file_url: Member::Other("http://169.254.169.254/x".into()),
        external_id: Member::Omitted,
        ..CallbackSpec::of_status("signed")
    };
    stage.world.send_callback(&id, forged).expect("it is there");
    until("the third", || receiver.count() == 3).await;
    let third = &receiver.all()[2];
    assert_eq!((third.signature.as_ref(), third.json().get("external_id")), (None, None));
    assert_eq!(third.json()["signed_file_url"], "http://169.254.169.254/x");
    let raw = CallbackSpec { raw_body: Some("{broken".into()), ..CallbackSpec::of_status("signed") };
    stage.world.send_callback(&id, raw).expect("it is there");
    until("the fourth", || receiver.count() == 4).await;
    let fourth = &receiver.all()[3];
    assert_eq!(
        fourth.signature.as_deref(),
        Some(callbacks::sign("sandbox-callback-secret", b"{broken").as_str())
    );
}
