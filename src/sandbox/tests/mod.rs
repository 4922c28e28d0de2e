//! The sandbox against its references, over real sockets.

mod apps;
mod channels;
mod control;
mod crm;
mod faults;
mod front;
mod idocs;
mod portal;
mod signing;

use super::*;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// How long a condition is waited for before the test gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A sandbox with a client that shares nothing with it.
struct Stage {
    sandbox: Sandbox,
    world: Arc<World>,
    http: reqwest::Client,
}

impl Stage {
    async fn set(options: SandboxOptions) -> Self {
        let sandbox = Sandbox::start(options).await.expect("ports on loopback are free");
        let world = sandbox.world();
        let http = http_client(PATIENCE).expect("a client can be built");
        Self { sandbox, world, http }
    }
    async fn plain() -> Self {
        Self::set(SandboxOptions::default()).await
    }
    async fn explicit() -> Self {
        Self::set(SandboxOptions { mode: Mode::Explicit, ..SandboxOptions::default() }).await
    }

    /// Calls a method of the portal; status and body.
    async fn call(&self, method: &str, params: Value) -> (u16, Value) {
        let url = self.sandbox.webhook_url().join(method).expect("a method name is a path");
        answer_of(self.http.post(url).json(&params)).await
    }
    /// Calls a method that must succeed; its `result`.
    async fn result(&self, method: &str, params: Value) -> Value {
        let (status, body) = self.call(method, params).await;
        assert_eq!(status, 200, "{method}: {body}");
        assert!(body["time"]["operating_reset_at"].is_i64(), "{method}: {body}");
        body["result"].clone()
    }
    /// Calls a method that must fail; status and code.
    async fn error(&self, method: &str, params: Value) -> (u16, String) {
        let (status, body) = self.call(method, params).await;
        (status, body["error"].as_str().unwrap_or("no error").to_owned())
    }
    fn easydocs(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let url = self.sandbox.easydocs_url().join(path).expect("a path");
        self.http.request(method, url).bearer_auth("sandbox-easydocs-key")
    }
    /// Creates a document named `file_name`; its id.
    async fn create(&self, file_name: &str, callback_url: &str) -> String {
        let request = self.easydocs(reqwest::Method::POST, "api/v1/documents");
        let (status, body) = answer_of(request.json(&create_body(file_name, callback_url))).await;
        assert_eq!((status, &body["status"]), (201, &Value::from("pending")), "{body}");
        body["id"].as_str().expect("an id is text").to_owned()
    }
}

fn create_body(file_name: &str, callback_url: &str) -> Value {
    serde_json::json!({
        "name": file_name, "file_content": "JVBERi0xLjQK", "file_name": file_name, "route_id": "route-1",
        "external_id": format!("x-{file_name}"), "callback_url": callback_url,
    })
}

async fn answer_of(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("the sandbox answers");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("the answer is whole");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Polls until the condition holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {what}");
}

/// One request that a receiver got.
#[derive(Debug, Clone)]
struct Received {
    signature: Option<String>,
    kind: String,
    agent: String,
    body: Vec<u8>,
}

impl Received {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("bodies are UTF-8")
    }
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// A server that takes events and callbacks; it refuses the first few.
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    async fn start(refuse_first: u32) -> Self {
        let got: Arc<Mutex<Vec<Received>>> = Arc::default();
        let refused = Arc::new(AtomicU32::new(0));
        let shared = Arc::clone(&got);
        let server = HttpServer::new(move || {
            let (got, refused) = (Arc::clone(&shared), Arc::clone(&refused));
            App::new().default_service(web::to(move |request: HttpRequest, body: web::Bytes| {
                let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
                got.lock().expect("no receiver panics").push(Received {
                    signature: header("x-easydocs-signature").map(str::to_owned),
                    kind: header("content-type").unwrap_or("").to_owned(),
                    agent: header("user-agent").unwrap_or("").to_owned(),
                    body: body.to_vec(),
                });
                let refuse = refused.fetch_add(1, Ordering::SeqCst) < refuse_first;
                async move {
                    if refuse { HttpResponse::InternalServerError() } else { HttpResponse::Ok() }.finish()
                }
            }))
        });
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).expect("a port is free");
        let url = format!("http://{}/in", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, got }
    }
    fn all(&self) -> Vec<Received> {
        self.got.lock().expect("no receiver panics").clone()
    }
    fn count(&self) -> usize {
        self.all().len()
    }
    fn target(&self) -> Option<Url> {
        self.url.parse().ok()
    }
    /// Statuses of the callbacks, in the order of their arrival.
    fn statuses(&self) -> Vec<String> {
        self.all().iter().map(|r| r.json()["status"].as_str().unwrap_or("").to_owned()).collect()
    }
}

#[test]
fn it_starts_and_answers_without_any_runtime_around() {
    let sandbox = Sandbox::start_blocking(SandboxOptions::default()).expect("ports on loopback are free");
    let host = sandbox.bitrix_url().socket_addrs(|| None).expect("a loopback address")[0];
    let mut stream = std::net::TcpStream::connect(host).expect("the port is open");
    std::io::Write::write_all(&mut stream, b"GET /_sandbox/state HTTP/1.1\r\nConnection: close\r\n\r\n")
        .expect("the request is taken");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("the answer is text");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_stopped_sandbox_has_closed_its_ports() {
    let stage = Stage::plain().await;
    let url = stage.sandbox.bitrix_url();
    stage.sandbox.stop().await;
    let refused = stage.http.get(url).send().await.expect_err("nobody listens any more");
    assert!(refused.is_connect());
}
