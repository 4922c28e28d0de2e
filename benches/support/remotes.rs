//! Remotes that answer at once: the few methods of a portal and of EasyDocs that one document needs, in one process,
//! with canned bytes. They keep nothing but counts, so that what is measured is edobridge and not its world.
//!
//! Told by `external_id` whose document it is; a signed document's callback is sent as soon as it was created, if
//! there is somebody to tell.

use super::process;
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Bytes, Data, Path};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// Size of a source file and of a signed one.
pub const FILE_BYTES: usize = 100 << 10;
/// The folder that files lie in.
pub const FOLDER: u64 = 9_000_000;
/// Connections on which callbacks are sent.
const CALLBACK_SENDERS: usize = 8;

/// What was asked, and what is answered.
struct Remotes {
    address: SocketAddr,
    source: Bytes,
    signed: Bytes,
    creates: AtomicU64,
    uploads: AtomicU64,
    notices: AtomicU64,
    requests: AtomicU64,
    callbacks: Option<mpsc::UnboundedSender<(String, String)>>,
}

/// What was done, as `/counts` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Documents that were created.
    pub creates: u64,
    /// Signed files that came back.
    pub uploads: u64,
    /// Notices: the last of a document's effects.
    pub notices: u64,
    /// All requests.
    pub requests: u64,
}

impl Counts {
    /// From the answer of `/counts`.
    pub fn of(body: &str) -> Self {
        let counts: Value = serde_json::from_str(body).expect("the remotes answer with JSON");
        let number = |name: &str| counts[name].as_u64().expect("a count");
        Self {
            creates: number("creates"),
            uploads: number("uploads"),
            notices: number("notices"),
            requests: number("requests"),
        }
    }
}

/// Points a stage's configuration, in which `folder` is watched and `public` is our own address, at these remotes instead
/// of its world.
pub fn point_at(config: &std::path::Path, folder: u64, public: SocketAddr, remotes: SocketAddr) {
    let text = std::fs::read_to_string(config).expect("the configuration is there");
    let pointed: Vec<String> = text
        .lines()
        .map(|line| {
            if line.starts_with("webhook_url =") {
                format!("webhook_url = \"http://{remotes}/rest/1/benchsecret/\"")
            } else if line.starts_with("base_url = ") && !line.contains(&public.to_string()) {
                format!("base_url = \"http://{remotes}/\"")
            } else {
                line.replace(&format!("folders = [{folder}]"), &format!("folders = [{FOLDER}]"))
            }
        })
        .collect();
    std::fs::write(config, pointed.join("\n")).expect("the configuration is written");
}

/// Serves until the process is killed. `target`: where callbacks go, and the secret that signs them.
pub async fn serve(target: Option<(SocketAddr, String)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a socket has an address");
    let remotes = Data::new(Remotes {
        address,
        source: pdf(b's'),
        signed: pdf(b't'),
        creates: AtomicU64::new(0),
        uploads: AtomicU64::new(0),
        notices: AtomicU64::new(0),
        requests: AtomicU64::new(0),
        callbacks: target.map(|(target, secret)| callback_senders(target, &secret)),
    });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::clone(&remotes))
            .app_data(web::PayloadConfig::new(FILE_BYTES * 2))
            .route("/rest/1/benchsecret/{method}", web::post().to(method))
            .route(
                "/file/{id}",
                web::get().to(|id: Path<String>, r: Data<Remotes>| async move { file(&r, &r.source, &id) }),
            )
            .route("/api/v1/documents", web::post().to(create))
            .route("/api/v1/documents/{id}", web::get().to(status))
            .route(
                "/documents/{id}/download",
                web::get().to(|id: Path<String>, r: Data<Remotes>| async move { file(&r, &r.signed, &id) }),
            )
            .route("/counts", web::get().to(counts))
    })
    .workers(1)
    // As nginx has it: longer than clients keep what they do not use, so that no request meets a closing connection.
    .keep_alive(Duration::from_secs(75))
    .disable_signals()
    .listen(listener)
    .expect("the port is ours");
    process::announce(address);
    server.run().await.expect("the server runs until it is killed");
}

fn pdf(fill: u8) -> Bytes {
    let mut bytes = b"%PDF-1.4\n".to_vec();
    bytes.resize(FILE_BYTES, fill);
    bytes.into()
}

/// The file of `id`: like `bytes`, and like no other. Of equal ones a store need keep only one.
fn file(remotes: &Remotes, bytes: &Bytes, id: &str) -> HttpResponse {
    remotes.requests.fetch_add(1, Ordering::Relaxed);
    let mut bytes = bytes.to_vec();
    let end = bytes.len();
    bytes[end - id.len()..].copy_from_slice(id.as_bytes());
    HttpResponse::Ok()
        .content_type("application/pdf")
        .insert_header(("Content-Disposition", "attachment; filename=\"contract.pdf\""))
        .body(bytes)
}

async fn counts(remotes: Data<Remotes>) -> HttpResponse {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    HttpResponse::Ok().json(json!({
        "creates": count(&remotes.creates),
        "uploads": count(&remotes.uploads),
        "notices": count(&remotes.notices),
        "requests": count(&remotes.requests),
    }))
}

// ---- the portal ----------------------------------------------------------------------------------------------

async fn method(name: Path<String>, body: Bytes, remotes: Data<Remotes>) -> HttpResponse {
    remotes.requests.fetch_add(1, Ordering::Relaxed);
    let name = name.trim_end_matches(".json");
    let result = if name == "batch" { batch(&body, &remotes) } else { called(name, &body, &remotes) };
    HttpResponse::Ok().json(json!({ "result": result, "total": 0, "time": { "operating": 0 } }))
}

fn batch(body: &[u8], remotes: &Remotes) -> Value {
    let body: Value = serde_json::from_slice(body).expect("a batch is JSON");
    let commands = body["cmd"].as_object().expect("a batch has commands");
    let results: Map<String, Value> = commands
        .iter()
        .map(|(name, command)| {
            let command = command.as_str().expect("a command is a text");
            let (method, query) = command.split_once('?').unwrap_or((command, ""));
            (name.clone(), called(method, query.as_bytes(), remotes))
        })
        .collect();
    json!({ "result": results, "result_error": [], "result_total": [], "result_next": [], "result_time": [] })
}

/// `parameters` in either form: what is looked for in them is found in both.
fn called(method: &str, parameters: &[u8], remotes: &Remotes) -> Value {
    match method {
        "disk.file.get" => {
            let id = first_number(parameters);
            json!({
                "ID": id, "NAME": format!("contract {id}.pdf"), "PARENT_ID": FOLDER.to_string(), "TYPE": "file",
                "SIZE": FILE_BYTES, "GLOBAL_CONTENT_VERSION": 1, "CREATED_BY": "1", "DELETED_TYPE": 0,
                "DOWNLOAD_URL": format!("http://{}/file/{id}", remotes.address),
                "DETAIL_URL": format!("http://{}/page/{id}", remotes.address),
            })
        }
        "disk.folder.uploadfile" => {
            let id = FOLDER + 1 + remotes.uploads.fetch_add(1, Ordering::Relaxed);
            json!({ "ID": id, "NAME": uploaded_name(parameters), "SIZE": FILE_BYTES })
        }
        "im.notify.system.add" => json!(1 + remotes.notices.fetch_add(1, Ordering::Relaxed)),
        "crm.timeline.comment.add" => json!(1),
        "disk.folder.getchildren" | "crm.timeline.comment.list" => json!([]),
        other => panic!("the bench's portal does not know {other}"),
    }
}

fn first_number(text: &[u8]) -> u64 {
    text.iter()
        .skip_while(|byte| !byte.is_ascii_digit())
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

fn uploaded_name(body: &[u8]) -> String {
    let beginning = String::from_utf8_lossy(&body[..body.len().min(512)]);
    let rest = beginning.split_once(r#""NAME":""#).expect("the upload names its file").1;
    rest.split('"').next().unwrap_or_default().to_owned()
}

// ---- EasyDocs ------------------------------------------------------------------------------------------------

async fn create(body: Bytes, remotes: Data<Remotes>) -> HttpResponse {
    remotes.requests.fetch_add(1, Ordering::Relaxed);
    let number = remotes.creates.fetch_add(1, Ordering::Relaxed);
    let document_id = format!("bench-doc-{number}");
    if let Some(callbacks) = &remotes.callbacks {
        // The file is no one's business here; our id stands before or after it.
        let marker = br#""external_id":""#;
        let at = [&body[..body.len().min(1_024)], &body[body.len().saturating_sub(1_024)..]]
            .into_iter()
            .find_map(|part| {
                let at = part.windows(marker.len()).position(|window| window == marker)?;
                let rest = &part[at + marker.len()..];
                let end = rest.iter().position(|byte| *byte == b'"')?;
                Some(String::from_utf8_lossy(&rest[..end]).into_owned())
            });
        let external_id = at.expect("a create names our id");
        callbacks.send((document_id.clone(), external_id)).expect("the senders live as long as the server");
    }
    HttpResponse::Created().json(json!({ "id": document_id, "status": "in_approval" }))
}

async fn status(id: Path<String>, remotes: Data<Remotes>, _: HttpRequest) -> HttpResponse {
    remotes.requests.fetch_add(1, Ordering::Relaxed);
    HttpResponse::Ok().json(json!({ "id": *id, "status": "signed" }))
}

fn callback_senders(target: SocketAddr, secret: &str) -> mpsc::UnboundedSender<(String, String)> {
    let (sender, receiver) = mpsc::unbounded_channel::<(String, String)>();
    let receiver = std::rc::Rc::new(tokio::sync::Mutex::new(receiver));
    for _ in 0..CALLBACK_SENDERS {
        let (receiver, secret) = (std::rc::Rc::clone(&receiver), secret.to_owned());
        actix::spawn(async move {
            let mut stream: Option<TcpStream> = None;
            loop {
                let next = receiver.lock().await.recv().await;
                let Some((document_id, external_id)) = next else { return };
                let request = callback(target, &secret, &document_id, &external_id);
                if stream.is_none() {
                    stream = TcpStream::connect(target).await.ok();
                }
                let stream = stream.as_mut().expect("edobridge listens before documents are made");
                stream.write_all(request.as_bytes()).await.expect("a callback is sent");
                let mut answer = [0; 2_048];
                let read = stream.read(&mut answer).await.expect("a callback is answered");
                assert!(
                    answer[..read].starts_with(b"HTTP/1.1 200"),
                    "{}",
                    String::from_utf8_lossy(&answer[..read])
                );
            }
        });
    }
    sender
}

fn callback(target: SocketAddr, secret: &str, document_id: &str, external_id: &str) -> String {
    let body = format!(
        r#"{{"event":"document.status_changed","document_id":"{document_id}","external_id":"{external_id}","status":"signed","timestamp":"2026-06-01T12:31:00Z"}}"#
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(body.as_bytes());
    let signature = mac.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!(
        "POST /easydocs/callback HTTP/1.1\r\nHost: {target}\r\nContent-Type: application/json\r\n\
         X-EasyDocs-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
