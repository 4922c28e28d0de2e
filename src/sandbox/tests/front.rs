//! The HTTP/1.1 of the front, beyond what an ordinary client does.

use super::*;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Sends bytes and reads until the other side closes.
fn exchange(sandbox: &Sandbox, parts: &[&str]) -> String {
    let address = sandbox.bitrix_url().socket_addrs(|| None).expect("a loopback address")[0];
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    for part in parts {
        stream.write_all(part.as_bytes()).expect("the request is taken");
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn sandbox() -> Sandbox {
    Sandbox::start_blocking(SandboxOptions::default()).expect("ports on loopback are free")
}

const CALL: &str = "/rest/1/sandboxwebhooksecret";

#[test]
fn a_client_that_waits_for_leave_to_send_gets_it() {
    let head = format!(
        "POST {CALL}/method.get HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 10\r\nConnection: close\r\n\r\n"
    );
    let answer = exchange(&sandbox(), &[&head, "name=", "scope"]);
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(r#""isExisting":true"#), "{answer}");
}

#[test]
fn two_requests_in_one_piece_get_two_answers() {
    let one = format!("GET {CALL}/method.get?name=scope HTTP/1.1\r\nHost: x\r\n\r\n");
    let last = format!("GET {CALL}/profile.json HTTP/1.1\r\nConnection: close\r\n\r\n");
    let answer = exchange(&sandbox(), &[&format!("{one}{last}")]);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.contains(r#""isExisting":true"#) && answer.contains(r#""ADMIN":true"#), "{answer}");
}

#[test]
fn what_is_no_http_is_cut_off_and_what_is_too_large_is_named() {
    let sandbox = sandbox();
    assert_eq!(exchange(&sandbox, &["hello\r\n\r\n"]), "");
    let huge = format!("POST {CALL}/scope HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n");
    assert!(exchange(&sandbox, &[&huge]).starts_with("HTTP/1.1 413 "));
    assert!(sandbox.world().ledger().is_empty());
}

#[tokio::test]
async fn a_body_of_unknown_length_is_read_in_chunks() {
    let stage = Stage::plain().await;
    let root = stage.world.root_folder();
    let content = "QUFB".repeat(100_000);
    let body = json!({"id": root, "data": {"NAME": "a"}, "fileContent": ["a", content]}).to_string();
    let chunks: Vec<_> = body.as_bytes().chunks(70_001).map(|c| Ok::<_, io::Error>(c.to_vec())).collect();
    let url = stage.sandbox.webhook_url().join("disk.folder.uploadfile").expect("a path");
    let post = stage.http.post(url).header("Content-Type", "application/json");
    let (status, answer) =
        answer_of(post.body(reqwest::Body::wrap_stream(futures_util::stream::iter(chunks)))).await;
    assert_eq!((status, &answer["result"]["SIZE"]), (200, &json!("300000")), "{answer}");
}
