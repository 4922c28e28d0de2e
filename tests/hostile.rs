//! Strangers, forgers and remotes that have turned evil, over real sockets: the right answer, no effect outside, no
//! trace inside but what the design says, and no secret anywhere.

mod support;
mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edobridge::domain::Secret;
use edobridge::sandbox::callbacks::{SIGNATURE_HEADER, sign};
use edobridge::sandbox::{CallbackSpec, EventSpec, Fault, FaultKind, Member, Mode, SandboxOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Binary, DEAL, InProcess, Setting, Stage, get, pdf, wait_for};
use wire::{FORM, Heard, JSON, Trap};

// ---- the scene ---------------------------------------------------------------------------------------------

/// A running edobridge before a sandbox, and what is needed to see whether anything happened.
struct Scene {
    // Before the stage: it stops before its world ends.
    service: InProcess,
    stage: Stage,
}

/// Everything durable, in numbers, and everything outside. Equal before and after: no trace.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    sequence: u64,
    notices: u64,
    parked_notices: u64,
    documents: u64,
    spool_bytes: u64,
    calls: BTreeMap<String, u64>,
}

impl Scene {
    fn new() -> Self {
        Self::of(&Setting::default(), SandboxOptions::default(), |config| config)
    }

    /// Nobody signs unless a test presses the button.
    fn explicit() -> Self {
        Self::of(&Setting::default(), explicit(), |config| config)
    }

    fn of(setting: &Setting, options: SandboxOptions, edit: impl FnOnce(String) -> String) -> Self {
        let stage = Stage::with_sandbox(setting, options);
        edit_config(&stage, edit);
        Self { service: InProcess::start(&stage), stage }
    }

    fn public(&self) -> SocketAddr {
        self.stage.public
    }

    fn trace(&self) -> Trace {
        self.service
            .ask(|engine| async move {
                let health = engine.store().health();
                let counts = engine.store().counts().await;
                (health.sequence, health.spool_bytes, counts)
            })
            .into_trace(self.stage.world.calls())
    }

    /// Runs `act` and fails if it left anything, inside or outside.
    #[track_caller]
    fn leaves_no_trace(&self, what: &str, act: impl FnOnce()) {
        let before = self.trace();
        act();
        assert_eq!(self.trace(), before, "{what} left a trace");
    }

    fn admin(&self, path: &str) -> Value {
        admin(&self.stage, path)
    }

    fn parked_notices(&self) -> Vec<Value> {
        self.admin("parked-notices?limit=500")["items"].as_array().cloned().unwrap_or_default()
    }

    /// The only document there is, whole.
    ///
    /// The event of our own signed copy may overtake the answer to its upload. Then nobody knows its id yet, it is
    /// looked at, and stays on record as not wanted, with that reason: such a record is no document.
    fn only_document(&self) -> Value {
        let list = self.admin("documents");
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let (echoes, meant): (Vec<_>, Vec<_>) = items.iter().partition(|item| item["step"] == "ignored");
        assert_eq!(meant.len(), 1, "{list}");
        let ours =
            |item: &&Value| item["why"]["en"].as_str().is_some_and(|why| why.contains("our own signed copy"));
        assert!(echoes.iter().all(ours) && echoes.len() <= 1, "{list}");
        self.admin(&format!("documents/{}", meant[0]["id"].as_str().unwrap_or_default()))
    }

    fn step(&self) -> String {
        self.only_document()["step"].as_str().unwrap_or_default().to_owned()
    }

    /// Puts a file into the folder, tells edobridge, and waits until people have to sign. The service's id of it.
    fn waiting_document(&self) -> String {
        self.stage.drop_file("contract.pdf", pdf(1, 2_000));
        wait_for("the document waits for signatures", || {
            !self.stage.world.documents().is_empty() && self.step() == "await_signature"
        });
        self.stage.world.documents()[0].id.clone()
    }

    fn sign(&self, body: &[u8]) -> String {
        sign(&self.stage.secrets().callback, body)
    }

    /// An authentic callback.
    #[track_caller]
    fn callback(&self, body: &[u8]) -> Heard {
        wire::callback(self.public(), &self.sign(body), body).expect("a callback gets an answer")
    }

    /// The flow still works from end to end.
    #[track_caller]
    fn still_works(&self) {
        let (folder, name) = (self.stage.folder, "afterwards.pdf");
        let before = self.stage.signed_copies().len();
        let file = self.stage.world.add_file(folder, name, pdf(77, 1_500)).expect("a new name");
        assert_eq!(wire::event(self.public(), &authentic(&self.stage, file)).expect("an answer").status, 200);
        wait_for("the document is created", || {
            self.stage.world.documents().iter().any(|d| d.file_name == name)
        });
        let documents = self.stage.world.documents();
        let document = documents.iter().find(|d| d.file_name == name).expect("it was just there");
        if document.status == "pending" {
            self.stage.world.sign(&document.id).expect("it exists");
        }
        wait_for("the signed copy comes back", || self.stage.signed_copies().len() == before + 1);
    }
}

trait IntoTrace {
    fn into_trace(self, calls: BTreeMap<String, u64>) -> Trace;
}

impl IntoTrace for (u64, u64, edobridge::store::Counts) {
    fn into_trace(self, calls: BTreeMap<String, u64>) -> Trace {
        let (sequence, spool_bytes, counts) = self;
        Trace {
            sequence,
            notices: counts.notices,
            parked_notices: counts.parked_notices,
            documents: counts.sagas.iter().map(|s| s.count).sum(),
            spool_bytes,
            calls,
        }
    }
}

fn explicit() -> SandboxOptions {
    SandboxOptions { mode: Mode::Explicit, ..SandboxOptions::default() }
}

fn edit_config(stage: &Stage, edit: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
    std::fs::write(&stage.config_path, edit(text)).expect("the configuration is written");
}

/// The text with something put after a line, which must be there.
fn after(text: &str, line: &str, more: &str) -> String {
    let line = format!("{line}\n");
    assert!(text.contains(&line), "no line {line:?} in the configuration");
    text.replacen(&line, &format!("{line}{more}\n"), 1)
}

fn admin(stage: &Stage, path: &str) -> Value {
    let heard = wire::admin(stage.operator, &stage.secrets().operator, path).expect("the admin API answers");
    assert_eq!(heard.status, 200, "{path}: {}", heard.body);
    heard.json()
}

/// The body of an event that this portal really sends.
fn authentic(stage: &Stage, file_id: u64) -> String {
    stage.world.event_body(&EventSpec::new("ONDISKFILEADD", json!({"FIELDS": {"ID": file_id}})))
}

/// The same as short as possible, with whatever token.
fn event_with(token: &str, file_id: u64) -> String {
    format!("event=ONDISKFILEADD&data[FIELDS][ID]={file_id}&auth[application_token]={token}")
}

fn status_word(document_id: &str, status: &str) -> String {
    json!({"event": "document.status_changed", "document_id": document_id, "status": status}).to_string()
}

#[track_caller]
fn assert_status(heard: Option<Heard>, wanted: u16, what: &str) {
    let heard = heard.unwrap_or_else(|| panic!("no answer: {what}"));
    assert_eq!(heard.status, wanted, "{what}: {}", heard.body);
}

#[test]
fn a_trap_hears_who_falls_for_it() {
    let trap = Trap::set();
    let heard = wire::send(trap.address, &wire::post("/x", &[("Authorization", "Bearer bait")], b""))
        .expect("an answer");
    assert_eq!((heard.status, trap.calls()), (200, 1));
    assert!(trap.heard().contains("Bearer bait"));
}

// ---- events of Bitrix24 --------------------------------------------------------------------------------------

#[test]
fn a_forged_event_is_refused_and_leaves_nothing() {
    let scene = Scene::new();
    let stage = &scene.stage;
    let file = stage.world.add_file(stage.folder, "bait.pdf", pdf(1, 900)).expect("a new file");
    let token = stage.secrets().application_token.clone();
    let bare = format!("event=ONDISKFILEADD&data[FIELDS][ID]={file}");
    let cases = [
        ("no token", bare.clone(), 403),
        ("an empty token", event_with("", file), 403),
        ("a wrong token", event_with("ffffffffffffffffffffffffffffffff", file), 403),
        ("the token of somebody else's portal", event_with("fa4eappt0ken002xxxxxxxxxxxxxxxxx", file), 403),
        ("the token in capitals", event_with(&token.to_uppercase(), file), 403),
        ("half the token", event_with(&token[..token.len() / 2], file), 403),
        ("the token and a blank", event_with(&format!("{token}+"), file), 403),
        ("the token beside auth", format!("{bare}&application_token={token}&auth={token}"), 403),
        ("the token as a list", format!("{bare}&auth[application_token][]={token}"), 403),
        ("the token in data", format!("{bare}&data[auth][application_token]={token}"), 403),
        ("two tokens", format!("{}&auth[application_token]={token}", event_with("wrong", file)), 400),
    ];
    scene.leaves_no_trace("forgery", || {
        for (what, body, status) in &cases {
            assert_status(wire::event(scene.public(), body), *status, what);
        }
        let hidden = [
            ("X-Application-Token", token.clone()),
            ("Authorization", format!("Bearer {token}")),
            ("Cookie", format!("application_token={token}")),
        ];
        for (name, value) in &hidden {
            let headers = [("Content-Type", FORM), (*name, value.as_str())];
            let request = wire::post("/bitrix/webhook", &headers, bare.as_bytes());
            assert_status(wire::send(scene.public(), &request), 403, name);
        }
        let query = format!("/bitrix/webhook?auth[application_token]={token}&application_token={token}");
        let request = wire::post(&query, &[("Content-Type", FORM)], bare.as_bytes());
        assert_status(wire::send(scene.public(), &request), 403, "the token in the address");
    });
    let metrics = get(stage.operator, "/metrics").expect("metrics").1;
    assert!(metrics.contains(r#"reason="forged""#), "refusals are counted:\n{metrics}");
    scene.still_works();
    assert_eq!(stage.world.documents().len(), 1, "nobody took the bait");
}

#[test]
fn the_token_of_one_portal_starts_nothing_at_another() {
    let setting = Setting {
        more: r#"
[[portals]]
id = "other"
webhook_url = "https://other.example/rest/7/othersecretothersecret/"
application_tokens = ["token-of-the-other-portal-0123456"]
"#
        .to_owned(),
        ..Setting::default()
    };
    let scene = Scene::of(&setting, SandboxOptions::default(), |config| config);
    let stage = &scene.stage;
    let file = stage.world.add_file(stage.folder, "bait.pdf", pdf(1, 900)).expect("a new file");
    let body = event_with("token-of-the-other-portal-0123456", file);
    assert_status(wire::event(scene.public(), &body), 200, "it is authentic, for its own portal");
    scene.still_works();
    assert_eq!(stage.world.documents().len(), 1, "the file of the first portal was not taken");
    assert_eq!(stage.world.calls().get("disk.file.get"), Some(&1));
}

#[test]
fn an_event_replayed_a_hundred_times_at_once_makes_one_document() {
    let scene = Scene::new();
    let stage = &scene.stage;
    let file = stage.world.add_file(stage.folder, "contract.pdf", pdf(1, 4_000)).expect("a new file");
    let body = authentic(stage, file);
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| assert_status(wire::event(scene.public(), &body), 200, "a replay"));
        }
    });
    wait_for("the end of it", || stage.world.all_notices().len() == 1 && scene.step() == "delivered");
    for _ in 0..5 {
        assert_status(wire::event(scene.public(), &body), 200, "a late replay");
    }
    wait_for("the replays are settled", || scene.admin("counts")["notices"] == json!(0));
    scene.only_document();
    assert_eq!(stage.world.documents().len(), 1);
    assert_eq!(stage.signed_copies().len(), 1);
    assert_eq!(stage.world.comments(DEAL).len(), 1);
    assert_eq!(stage.world.all_notices().len(), 1);
}

#[test]
fn an_event_that_cannot_be_read_is_refused_even_with_the_right_token() {
    let scene = Scene::new();
    let stage = &scene.stage;
    let file = stage.world.add_file(stage.folder, "bait.pdf", pdf(1, 900)).expect("a new file");
    let good = event_with(&stage.secrets().application_token, file);
    let token = stage.secrets().application_token.clone();
    let json_event = format!(
        r#"{{"event":"ONDISKFILEADD","data":{{"FIELDS":{{"ID":{file}}}}},"auth":{{"application_token":"{token}"}}}}"#
    );
    let deep = format!("{good}&data{}=1", "[a]".repeat(100));
    let deep_json = json_event
        .replace("\"data\":", &format!("\"x\":{}{},\"data\":", "[".repeat(5_000), "]".repeat(5_000)));
    let pairs = format!("{good}{}", "&a".repeat(100_000));
    let too_long = format!("{good}&x={}", "x".repeat(257 * 1_024));
    let duplicate = json_event.replace("\"data\":", "\"event\":\"ONDISKFILEADD\",\"data\":");
    let escaped = json_event.replace("\"data\":", "\"\\u0065vent\":\"ONDISKFILEADD\",\"data\":");
    let mut not_utf8 = good.clone().into_bytes();
    not_utf8.extend_from_slice(b"&x=\xff\xfe");
    let cases: Vec<(&str, &str, Vec<u8>, u16)> = vec![
        ("an oversized form", FORM, too_long.into_bytes(), 413),
        ("a deep form", FORM, deep.into_bytes(), 400),
        ("a hundred thousand pairs", FORM, pairs.into_bytes(), 400),
        ("raw bytes that are not UTF-8", FORM, not_utf8, 400),
        ("escaped bytes that are not UTF-8", FORM, format!("{good}&x=%ff%fe").into_bytes(), 400),
        ("a NUL in a key", FORM, format!("{good}&a%00b=1").into_bytes(), 400),
        ("a key of many kilobytes", FORM, format!("{good}&{}=1", "k".repeat(5_000)).into_bytes(), 400),
        ("brackets that do not pair", FORM, format!("{good}&a[b=1").into_bytes(), 400),
        ("a text that is also a map", FORM, format!("{good}&event[x]=1").into_bytes(), 400),
        ("a picture", "image/png", good.clone().into_bytes(), 400),
        ("a multipart form", "multipart/form-data; boundary=x", good.clone().into_bytes(), 400),
        ("deep JSON", JSON, deep_json.into_bytes(), 400),
        ("a member twice", JSON, duplicate.into_bytes(), 400),
        ("a member twice, once escaped", JSON, escaped.into_bytes(), 400),
        ("JSON and something after it", JSON, format!("{json_event}{{}}").into_bytes(), 400),
        ("JSON that breaks off", JSON, json_event.as_bytes()[..json_event.len() - 2].to_vec(), 400),
        ("a list", JSON, format!("[{json_event}]").into_bytes(), 400),
        ("a name with markup", FORM, good.replace("ONDISKFILEADD", "<script>").into_bytes(), 400),
        ("nothing", FORM, Vec::new(), 400),
    ];
    scene.leaves_no_trace("what cannot be read", || {
        for (what, content_type, body, status) in &cases {
            let request = wire::post("/bitrix/webhook", &[("Content-Type", content_type)], body);
            assert_status(wire::send(scene.public(), &request), *status, what);
        }
        for encoding in ["gzip", "br", "deflate", "identity, gzip", "x"] {
            let headers = [("Content-Type", FORM), ("Content-Encoding", encoding)];
            let request = wire::post("/bitrix/webhook", &headers, good.as_bytes());
            assert_status(wire::send(scene.public(), &request), 415, encoding);
        }
        for cut in [0, 1, good.len() / 2, good.len() - 1] {
            let request = wire::post("/bitrix/webhook", &[("Content-Type", FORM)], good.as_bytes());
            let mut stream = wire::connect(scene.public()).expect("a connection");
            stream.write_all(&request[..request.len() - good.len() + cut]).expect("the beginning is sent");
            stream.shutdown(std::net::Shutdown::Write).expect("the end is told");
            let heard = wire::drain(&mut stream);
            assert!(!heard.starts_with(b"HTTP/1.1 2"), "a body cut at {cut} of {}", good.len());
        }
    });
    scene.still_works();
    assert_eq!(stage.world.documents().len(), 1, "nobody took the bait");
}

#[test]
fn an_authentic_event_that_names_nothing_is_kept_for_a_person() {
    let scene = Scene::new();
    let token = &scene.stage.secrets().application_token;
    for id in ["", "0", "-1", "x", "99999999999999999999999"] {
        let body = format!("event=ONDISKFILEADD&data[FIELDS][ID]={id}&auth[application_token]={token}");
        assert_status(wire::event(scene.public(), &body), 200, id);
    }
    wait_for("they are parked", || scene.parked_notices().len() == 5);
    for parked in scene.parked_notices() {
        assert!(parked["reason"]["en"].as_str().is_some_and(|r| r.contains("id")), "{parked}");
        assert!(!parked.to_string().contains(token.as_str()), "{parked}");
    }
    assert_eq!(scene.stage.world.calls(), BTreeMap::new());
    scene.still_works();
}

#[test]
fn other_methods_and_the_operators_paths_are_closed_to_strangers() {
    let scene = Scene::new();
    scene.leaves_no_trace("knocking", || {
        for path in ["/bitrix/webhook", "/easydocs/callback"] {
            for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                );
                let heard = wire::send(scene.public(), request.as_bytes()).expect("an answer");
                assert_eq!(heard.status, 405, "{method} {path}");
                assert_eq!(heard.header("Allow"), Some("POST"), "{method} {path}");
            }
        }
        for path in [
            "/metrics",
            "/health/ready",
            "/admin/v1/documents",
            "/",
            "/bitrix/webhook/",
            "//bitrix/webhook",
            "/bitrix/../metrics",
            "/bitrix/%2e%2e/metrics",
            "/%62itrix/webhook/x",
            "/_sandbox/state",
        ] {
            for method in ["GET", "POST"] {
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                );
                assert_status(wire::send(scene.public(), request.as_bytes()), 404, path);
            }
        }
        for token in ["", "wrong", "Bearer"] {
            let heard = wire::admin(scene.stage.operator, token, "documents").expect("an answer");
            assert_eq!(heard.status, 401, "{token}");
        }
    });
}

// ---- HTTP itself -----------------------------------------------------------------------------------------------

#[test]
fn requests_that_two_readers_would_frame_differently_are_refused() {
    let scene = Scene::new();
    let stage = &scene.stage;
    let bait = stage.world.add_file(stage.folder, "bait.pdf", pdf(1, 900)).expect("a new file");
    let good = event_with(&stage.secrets().application_token, bait);
    let length = good.len();
    let head =
        format!("POST /bitrix/webhook HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nConnection: close\r\n");
    let chunk = format!("{length:x}\r\n{good}\r\n0\r\n\r\n");
    // What a second reader would take for a request of its own.
    let inner = String::from_utf8(wire::post("/bitrix/webhook", &[("Content-Type", FORM)], good.as_bytes()))
        .expect("the request is text");
    let shapes = [
        ("two lengths", format!("{head}Content-Length: 3\r\nContent-Length: {length}\r\n\r\n{good}")),
        ("two lengths in one line", format!("{head}Content-Length: 3, {length}\r\n\r\n{good}")),
        ("a length with a sign", format!("{head}Content-Length: +{length}\r\n\r\n{good}")),
        ("a negative length", format!("{head}Content-Length: -1\r\n\r\n{good}")),
        ("a hexadecimal length", format!("{head}Content-Length: 0x{length:x}\r\n\r\n{good}")),
        ("a length that overflows", format!("{head}Content-Length: 18446744073709551617\r\n\r\n{good}")),
        ("a blank before the colon", format!("{head}Content-Length : {length}\r\n\r\n{good}")),
        (
            "length and chunks",
            format!("{head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"),
        ),
        (
            "chunks and length",
            format!("{head}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{good}"),
        ),
        ("chunked that is not last", format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n{chunk}")),
        ("an unknown coding", format!("{head}Transfer-Encoding: xchunked\r\n\r\n{chunk}")),
        (
            "two codings",
            format!("{head}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"),
        ),
        (
            "a chunk size that overflows",
            format!("{head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{good}"),
        ),
        ("a chunk size with a sign", format!("{head}Transfer-Encoding: chunked\r\n\r\n+{chunk}")),
        ("garbage for chunks", format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{good}\r\n0\r\n\r\n")),
        (
            "a chunk without its end",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{good}0\r\n\r\n"),
        ),
        (
            "a folded header",
            format!("{head}X: a\r\n Content-Length: 1\r\nContent-Length: {length}\r\n\r\n{good}"),
        ),
        ("a NUL in a header", format!("{head}X: a\0b\r\nContent-Length: {length}\r\n\r\n{good}")),
        (
            "a lone CR in a header",
            format!("{head}X: a\rContent-Length: 1\r\nContent-Length: {length}\r\n\r\n{good}"),
        ),
        (
            "an unknown version",
            format!("{}Content-Length: {length}\r\n\r\n{good}", head.replace("HTTP/1.1", "HTTP/9.9")),
        ),
        ("no version", format!("{}Content-Length: {length}\r\n\r\n{good}", head.replace(" HTTP/1.1", ""))),
        ("not HTTP at all", format!("\x16\x03\x01\x02\x00{good}")),
        (
            "a request hidden behind a length",
            format!("{head}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
        ),
        (
            "a request hidden in a body",
            format!(
                "{}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n",
                head.replace("Connection: close\r\n", ""),
                inner.len()
            ),
        ),
    ];
    scene.leaves_no_trace("odd framing", || {
        for (what, shape) in &shapes {
            let heard = wire::raw(scene.public(), shape.as_bytes()).expect("a connection");
            let text = String::from_utf8_lossy(&heard);
            assert!(!text.contains("HTTP/1.1 200"), "{what} was taken: {text}");
        }
    });
    let too_many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let too_long = format!("X: {}\r\n", "x".repeat(300 * 1_024));
    scene.leaves_no_trace("an oversized head", || {
        for more in [too_many, too_long] {
            let request = format!("{head}{more}Content-Length: {length}\r\n\r\n{good}");
            let heard = wire::raw(scene.public(), request.as_bytes()).expect("a connection");
            assert!(!heard.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&heard));
        }
    });
    scene.still_works();
    assert_eq!(stage.world.documents().len(), 1, "nobody took the bait");
}

#[test]
fn a_flood_of_chunks_is_cut_at_the_limit() {
    let scene = Scene::new();
    scene.leaves_no_trace("endless chunks", || {
        let head = format!(
            "POST /bitrix/webhook HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let mut stream = wire::connect(scene.public()).expect("a connection");
        stream.write_all(head.as_bytes()).expect("the head is sent");
        let piece = format!("10000\r\n{}\r\n", "a".repeat(0x1_0000));
        // Far more than the limit of 256 KiB; at some point the server has closed.
        let refused = (0..1_000).any(|_| stream.write_all(piece.as_bytes()).is_err());
        let heard = wire::drain(&mut stream);
        assert!(refused || heard.starts_with(b"HTTP/1.1 413"), "64 MiB were taken");
    });
    scene.still_works();
}

#[test]
fn slow_clients_are_cut_off_and_hold_up_nobody() {
    let scene = Scene::of(&Setting::default(), SandboxOptions::default(), |config| {
        after(&config, "[public]", "head_timeout = \"1s\"\nbody_timeout = \"1s\"\nkeep_alive = \"1s\"")
    });
    let body = event_with(&scene.stage.secrets().application_token, 1);
    let head = format!("POST /bitrix/webhook HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n");
    let slow_head = format!("{head}X-Slow: {}", "x".repeat(10_000));
    let slow_body = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len() + 10_000);
    let slow_chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\nffff\r\n{body}");
    let silent = String::new();
    let address = scene.public();
    scene.leaves_no_trace("slowness", || {
        std::thread::scope(|scope| {
            for (what, request) in
                [("head", &slow_head), ("body", &slow_body), ("chunks", &slow_chunks), ("silence", &silent)]
            {
                for _ in 0..20 {
                    scope.spawn(move || drip(address, what, request.as_bytes()));
                }
            }
            let asked = Instant::now();
            assert_status(wire::event(scene.public(), &event_with("wrong", 1)), 403, "an honest client");
            assert!(
                asked.elapsed() < Duration::from_secs(2),
                "an honest client waited {:?}",
                asked.elapsed()
            );
        });
    });
    scene.still_works();
}

/// Sends a byte now and then until the server has had enough, which must be soon.
fn drip(address: SocketAddr, what: &str, request: &[u8]) {
    let mut stream = wire::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
    let since = Instant::now();
    // Quickly up to the end of the head where that is not what is slow.
    let at_once =
        request.windows(4).position(|w| w == b"\r\n\r\n").map_or(request.len().min(40), |end| end + 4);
    let (first, rest) = request.split_at(at_once);
    stream.write_all(first).expect("the beginning is sent");
    let mut piece = [0; 4_096];
    for byte in rest.iter().chain(std::iter::repeat(&b'x')) {
        use std::io::Read as _;
        let closed = match stream.read(&mut piece) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => {
                !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            }
        };
        if closed || (!request.is_empty() && stream.write_all(&[*byte]).is_err()) {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(15), "a slow {what} is never cut off");
    }
}

// ---- callbacks of EasyDocs -----------------------------------------------------------------------------------

#[test]
fn a_callback_that_is_not_signed_once_and_right_is_refused_and_leaves_nothing() {
    let scene = Scene::explicit();
    let id = scene.waiting_document();
    let body = status_word(&id, "signed");
    let reserialised =
        serde_json::to_string_pretty(&serde_json::from_str::<Value>(&body).expect("it is JSON"))
            .expect("it is JSON");
    let right = scene.sign(body.as_bytes());
    let as_base64 = STANDARD.encode(bytes_of(&right));
    let forged = [
        ("another secret", sign("not the secret", body.as_bytes())),
        ("an empty secret", sign("", body.as_bytes())),
        ("the signature of the body written anew", scene.sign(reserialised.as_bytes())),
        ("the signature of the body and a line end", scene.sign(format!("{body}\n").as_bytes())),
        ("the signature of nothing", scene.sign(b"")),
        ("base64 where hex is agreed", as_base64.clone()),
        ("base64 of the hex", STANDARD.encode(&right)),
        ("a prefix that is not agreed", format!("sha256={right}")),
        ("half a signature", right[..32].to_owned()),
        ("a signature and a half", format!("{right}{}", &right[..32])),
        ("two in one line", format!("{right}, {right}")),
        ("quotes", format!("\"{right}\"")),
        ("nothing", String::new()),
        ("something very long", "0".repeat(8_000)),
    ];
    scene.leaves_no_trace("forged callbacks", || {
        for (what, signature) in &forged {
            assert_status(wire::callback(scene.public(), signature, body.as_bytes()), 401, what);
        }
        let path = "/easydocs/callback";
        let unsigned = wire::post(path, &[("Content-Type", JSON)], body.as_bytes());
        assert_status(wire::send(scene.public(), &unsigned), 401, "no signature");
        for second in [right.as_str(), "wrong"] {
            let headers = [
                ("Content-Type", JSON),
                (SIGNATURE_HEADER, right.as_str()),
                ("x-easydocs-signature", second),
            ];
            let twice = wire::post(path, &headers, body.as_bytes());
            assert_status(wire::send(scene.public(), &twice), 401, "two signatures");
        }
        let elsewhere = [("X-Signature", right.as_str()), ("Authorization", right.as_str())];
        for (name, value) in elsewhere {
            let request = wire::post(path, &[("Content-Type", JSON), (name, value)], body.as_bytes());
            assert_status(wire::send(scene.public(), &request), 401, name);
        }
        let in_query = format!("{path}?{SIGNATURE_HEADER}={right}");
        let request = wire::post(&in_query, &[("Content-Type", JSON)], body.as_bytes());
        assert_status(wire::send(scene.public(), &request), 401, "the signature in the address");
        // Whether it parses is nobody's business before the signature is right.
        for unreadable in ["{", "\u{feff}{}", "[]", ""] {
            assert_status(wire::callback(scene.public(), &right, unreadable.as_bytes()), 401, unreadable);
        }
    });
    assert_eq!(scene.step(), "await_signature");
    assert_status(
        wire::callback(scene.public(), &right.to_uppercase(), body.as_bytes()),
        200,
        "capitals are hex too",
    );
    wait_for("the true one works", || scene.stage.world.calls().contains_key("easydocs.download"));
}

#[test]
fn an_authentic_callback_that_cannot_be_read_is_refused_in_the_order_of_the_rules() {
    let scene = Scene::explicit();
    let id = scene.waiting_document();
    let body = status_word(&id, "signed");
    let long = format!("{body}{}", " ".repeat(64 * 1_024));
    let deep = body.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(2_000), "]".repeat(2_000)), 1);
    let many = body.replacen('{', &format!("{{\"x\":[{}0],", "0,".repeat(15_000)), 1);
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("too long", long.into_bytes(), 413),
        ("too deep", deep.into_bytes(), 400),
        ("too many values", many.into_bytes(), 400),
        ("a member twice", body.replacen('{', "{\"status\":\"rejected\",", 1).into_bytes(), 400),
        (
            "a member twice, once escaped",
            body.replacen('{', "{\"st\\u0061tus\":\"rejected\",", 1).into_bytes(),
            400,
        ),
        ("something after it", format!("{body} {body}").into_bytes(), 400),
        ("broken off", body.as_bytes()[..body.len() - 1].to_vec(), 400),
        ("not UTF-8", [&body.as_bytes()[..body.len() - 1], b",\"x\":\"\xff\"}"].concat(), 400),
        ("a byte order mark", format!("\u{feff}{body}").into_bytes(), 400),
        ("no JSON", b"event=document.status_changed".to_vec(), 400),
        ("nothing", Vec::new(), 400),
    ];
    scene.leaves_no_trace("unreadable callbacks", || {
        for (what, body, status) in &cases {
            assert_status(wire::callback(scene.public(), &scene.sign(body), body), *status, what);
        }
        let right = scene.sign(body.as_bytes());
        for kind in ["text/plain", FORM, "application/xml", "application/json; charset=windows-1251", ""] {
            let headers = [("Content-Type", kind), (SIGNATURE_HEADER, right.as_str())];
            let request = wire::post("/easydocs/callback", &headers, body.as_bytes());
            assert_status(wire::send(scene.public(), &request), 415, kind);
        }
        let headers =
            [("Content-Type", JSON), ("Content-Encoding", "gzip"), (SIGNATURE_HEADER, right.as_str())];
        let request = wire::post("/easydocs/callback", &headers, body.as_bytes());
        assert_status(wire::send(scene.public(), &request), 415, "an encoding");
        let forged_and_long = vec![b' '; 70 * 1_024];
        assert_status(
            wire::callback(scene.public(), "00", &forged_and_long),
            413,
            "size goes before signature",
        );
    });
    assert_eq!(scene.step(), "await_signature");
}

#[test]
fn an_authentic_callback_that_cannot_be_used_is_kept_for_a_person_and_touches_nothing() {
    let scene = Scene::explicit();
    let id = scene.waiting_document();
    let ids = [
        "../../api/v1/me",
        "..",
        "%2e%2e%2fapi%2fv1%2fme",
        "a/b",
        "a\\b",
        "x?y=1",
        "x#y",
        "http://127.0.0.1/",
        "ид",
        "a b",
        "a\u{0}b",
        "\r\nX-Injected: 1",
        "ed-doc-of-somebody-else",
    ];
    let calls = scene.stage.world.calls();
    let mut expected = 0;
    for odd in ids {
        assert_eq!(scene.callback(status_word(odd, "signed").as_bytes()).status, 200, "{odd}");
        expected += 1;
    }
    assert_eq!(
        scene.callback(status_word(&"x".repeat(60_000), "signed").as_bytes()).status,
        200,
        "a huge id"
    );
    for odd in [
        json!({"event": "document.status_changed", "document_id": id}),
        json!({"event": "document.status_changed", "document_id": id, "status": {"a": 1}}),
        json!({"event": "document.status_changed", "document_id": [id], "status": "signed"}),
        json!({"event": "document.status_changed", "document_id": null, "status": "signed"}),
        json!({"event": "document.deleted", "document_id": id, "status": "signed"}),
        json!({"document_id": id, "status": "signed"}),
        json!({}),
        json!([]),
        json!("signed"),
    ] {
        assert_eq!(scene.callback(odd.to_string().as_bytes()).status, 200, "{odd}");
        expected += 1;
    }
    wait_for("they are parked", || scene.parked_notices().len() == expected + 1);
    for parked in scene.parked_notices() {
        let reason = parked["reason"]["ru"].as_str().unwrap_or_default();
        assert!(!reason.is_empty() && reason.chars().count() < 600, "{parked}");
        assert!(!reason.contains(['\u{0}', '\r', '\n']), "{parked}");
    }
    assert_eq!(scene.stage.world.calls(), calls, "nobody was called because of them");
    assert_eq!(scene.step(), "await_signature");
    // A foreign external_id and a second document with ours are recorded and change nothing.
    let ours = scene.only_document()["external_id"].as_str().unwrap_or_default().to_owned();
    for (document, external) in
        [(id.as_str(), "b24-main-file-1-00000000"), ("second-document", ours.as_str())]
    {
        let body = json!({"event": "document.status_changed", "document_id": document, "external_id": external, "status": "signed"});
        assert_eq!(scene.callback(body.to_string().as_bytes()).status, 200);
    }
    wait_for("both are in the history", || {
        let history = scene.only_document()["history"].to_string();
        history.contains("callback_foreign") && history.contains("second_document")
    });
    assert_eq!(scene.stage.world.calls(), calls, "nobody was called because of them");
    assert_eq!(scene.step(), "await_signature");
}

#[test]
fn words_that_only_look_like_the_end_change_nothing_and_the_first_end_wins() {
    let scene = Scene::explicit();
    let id = scene.waiting_document();
    let calls = scene.stage.world.calls();
    for word in [
        "pending",
        "in_approval",
        "partially_signed",
        "unsigned",
        "Signed",
        "SIGNED",
        " signed",
        "signed ",
        "подписан",
        "<b>signed</b>",
    ] {
        assert_eq!(scene.callback(status_word(&id, word).as_bytes()).status, 200, "{word}");
        wait_for("it is in the history", || scene.admin("counts")["notices"] == json!(0));
    }
    assert_eq!(scene.step(), "await_signature");
    assert_eq!(scene.stage.world.calls(), calls, "nobody was called because of them");
    assert_eq!(scene.callback(status_word(&id, "declined").as_bytes()).status, 200);
    wait_for("it is refused", || scene.step() == "refused");
    let calls = scene.stage.world.calls();
    for late in ["signed", "rejected", "declined", "pending"] {
        assert_eq!(scene.callback(status_word(&id, late).as_bytes()).status, 200, "{late}");
    }
    wait_for("all are settled", || {
        scene.admin("counts")["notices"] == json!(0)
            && scene.only_document()["history"].to_string().contains("callback_conflict")
    });
    assert_eq!(scene.stage.world.calls(), calls, "nobody was called because of them");
    assert_eq!(scene.step(), "refused");
    assert!(scene.stage.signed_copies().is_empty());
    assert_eq!(scene.stage.world.all_notices().len(), 1);
}

/// The references' samples, with digests made by another implementation.
#[test]
fn every_sample_callback_is_authentic_by_its_own_digest_and_by_no_other() {
    let options = SandboxOptions { callback_secret: Secret::new("test-secret"), ..SandboxOptions::default() };
    let scene = Scene::of(&Setting::default(), options, |config| config);
    let samples = samples();
    assert_eq!(samples.len(), 11);
    scene.leaves_no_trace("samples with wrong digests", || {
        for (n, (name, body, _, base64)) in samples.iter().enumerate() {
            let next = &samples[(n + 1) % samples.len()];
            assert_status(wire::callback(scene.public(), &next.2, body), 401, name);
            assert_status(wire::callback(scene.public(), base64, body), 401, name);
            let rewritten = serde_json::from_slice::<Value>(body).expect("it is JSON").to_string();
            if rewritten.as_bytes() != body.as_slice() {
                assert_status(wire::callback(scene.public(), &samples[n].2, rewritten.as_bytes()), 401, name);
            }
        }
    });
    for (name, body, hex, _) in &samples {
        assert_status(wire::callback(scene.public(), hex, body), 200, name);
    }
    // They are about documents that are not ours: kept, shown, and nobody is called.
    wait_for("they are parked", || scene.parked_notices().len() == samples.len());
    let parked = scene.parked_notices();
    assert!(
        parked.iter().all(|p| p["lookup"].as_str().is_some_and(|l| l.starts_with("ed-doc-uuid-"))),
        "{parked:#?}"
    );
    assert_eq!(scene.stage.world.calls(), BTreeMap::new());
}

#[test]
fn samples_are_authentic_in_base64_where_that_is_agreed() {
    let options = SandboxOptions { callback_secret: Secret::new("test-secret"), ..SandboxOptions::default() };
    let scene = Scene::of(&Setting::default(), options, |config| {
        after(&config, "[easydocs.signature]", "encoding = \"base64\"\nprefix = \"sha256=\"")
    });
    for (name, body, hex, base64) in samples() {
        assert_status(wire::callback(scene.public(), &base64, &body), 401, "no prefix");
        assert_status(wire::callback(scene.public(), &format!("sha256={hex}"), &body), 401, "hex");
        assert_status(wire::callback(scene.public(), &format!("sha256={base64}"), &body), 200, &name);
    }
}

/// Name, body, digest in hex, digest in base64.
fn samples() -> Vec<(String, Vec<u8>, String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let index = std::fs::read(dir.join("easydocs/index.json")).expect("the samples' index");
    let index: Value = serde_json::from_slice(&index).expect("the index is JSON");
    let text = |sample: &Value, member: &str| sample[member].as_str().expect("a text").to_owned();
    let callbacks = index["callbacks"].as_array().expect("a list of samples");
    let read = |sample: &Value| {
        let name = text(sample, "file");
        let body = std::fs::read(dir.join(&name)).expect("the sample is there");
        (name, body, text(sample, "hmac_sha256_hex"), text(sample, "hmac_sha256_base64"))
    };
    callbacks.iter().map(read).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digit).collect()
}

#[test]
fn a_signed_file_is_fetched_from_easydocs_whatever_a_callback_says() {
    let trap = Trap::set();
    let scene = Scene::of(&Setting::default(), explicit(), |config| config);
    let port = trap.address.port();
    let own = scene.stage.sandbox.easydocs_url();
    let (own_host, own_port) = (own.host_str().unwrap_or_default(), own.port().unwrap_or_default());
    let urls = [
        format!("http://127.0.0.1:{port}/documents/ID/download"),
        format!("http://localhost:{port}/documents/ID/download"),
        format!("http://[::ffff:127.0.0.1]:{port}/documents/ID/download"),
        format!("http://0x7f000001:{port}/documents/ID/download"),
        format!("http://{own_host}:{own_port}@127.0.0.1:{port}/documents/ID/download"),
        format!("http://user:secret@{own_host}:{own_port}/documents/ID/download"),
        format!("http://127.0.0.1:{port}\\@{own_host}:{own_port}/documents/ID/download"),
        format!("http://{own_host}:{own_port}.127.0.0.1.nip.io/documents/ID/download"),
        format!("https://{own_host}:{own_port}/documents/ID/download"),
        format!("//127.0.0.1:{port}/documents/ID/download"),
        format!("gopher://127.0.0.1:{port}/documents/ID/download"),
        "file:///etc/passwd".to_owned(),
        "data:application/pdf,%25PDF-evil".to_owned(),
        format!("{own}api/v1/me"),
        format!("{own}documents/other/download"),
        format!("{own}documents/ID/../../api/v1/me"),
        "x".repeat(30_000),
        String::new(),
    ];
    for (n, url) in urls.iter().enumerate() {
        scene.stage.drop_file(&format!("contract-{n}.pdf"), pdf(n as u64, 1_000));
        wait_for("it is created", || scene.stage.world.documents().len() == n + 1);
        let id = scene.stage.world.documents()[n].id.clone();
        let spec = CallbackSpec {
            file_url: Member::Other(url.replace("ID", &id)),
            ..CallbackSpec::of_status("signed")
        };
        scene.stage.world.change_quietly(&id, "signed").expect("it exists");
        scene.stage.world.send_callback(&id, spec).expect("it exists");
    }
    // Too long an address makes the callback unusable: it is parked, and a plain one helps.
    wait_for("all but the endless one are back", || scene.stage.signed_copies().len() >= urls.len() - 1);
    for document in scene.stage.world.documents() {
        scene.stage.world.sign(&document.id).expect("it exists");
    }
    wait_for("all are back", || scene.stage.signed_copies().len() == urls.len());
    assert_eq!(trap.calls(), 0, "somebody fell for it: {}", trap.heard());
    let calls = scene.stage.world.calls();
    assert_eq!(calls.get("easydocs.unknown"), None, "{calls:?}");
    assert_eq!(calls.get("easydocs.me"), None, "{calls:?}");
    for document in scene.stage.world.documents() {
        let copies = scene.stage.signed_copies();
        assert_eq!(copies.iter().filter(|c| c.sha256 == document.signed_sha256).count(), 1, "{document:?}");
    }
}

#[test]
fn over_the_limit_a_source_is_told_when_to_come_again_and_what_was_taken_stays() {
    let scene = Scene::of(&Setting::default(), SandboxOptions::default(), |config| {
        let config = config.replace("callback_per_minute = 100000", "callback_per_minute = 5");
        after(&config, "[public]", "webhook_per_minute = 7")
    });
    let callbacks: Vec<Heard> =
        (0..8).map(|n| scene.callback(status_word(&format!("unknown-{n}"), "signed").as_bytes())).collect();
    let statuses: Vec<u16> = callbacks.iter().map(|heard| heard.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
    let pause: u64 = callbacks[7].header("Retry-After").and_then(|s| s.parse().ok()).expect("Retry-After");
    assert!((1..=60).contains(&pause), "{pause}");
    let token = &scene.stage.secrets().application_token;
    let event = format!("event=ONCRMLEADADD&data[FIELDS][ID]=1&auth[application_token]={token}");
    let statuses: Vec<u16> =
        (0..9).map(|_| wire::event(scene.public(), &event).map_or(0, |heard| heard.status)).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 429, 429]);
    // A forged address in a header buys nothing.
    let headers =
        [("Content-Type", FORM), ("X-Forwarded-For", "198.51.100.7"), ("Forwarded", "for=198.51.100.7")];
    let request = wire::post("/bitrix/webhook", &headers, event.as_bytes());
    assert_status(wire::send(scene.public(), &request), 429, "a forged source");
    wait_for("what was taken is kept", || scene.parked_notices().len() == 5);
}

// ---- what the portal says ------------------------------------------------------------------------------------

#[test]
fn names_from_the_portal_are_only_names() {
    let scene = Scene::of(&Setting::default(), SandboxOptions::default(), |config| {
        after(&config, "id = \"contracts\"", "include = [\"*\"]\nexclude = []")
    });
    let stage = &scene.stage;
    let outside = files_below(stage.dir.path());
    let long: String = "Д".repeat(300);
    let names = [
        "../../../../tmp/escaped-1.pdf".to_owned(),
        "..\\..\\escaped-2.pdf".to_owned(),
        "/etc/escaped-3.pdf".to_owned(),
        "[URL=http://evil.example]click-4[/URL].pdf".to_owned(),
        "[USER=1]boss-5[/USER] [B]b[/B].pdf".to_owned(),
        "invoice-6\u{202e}fdp.exe".to_owned(),
        "<script>alert(7)</script>\"'&.pdf".to_owned(),
        "nul-8\u{0}.pdf".to_owned(),
        "line-9\r\nX-Injected: 1.pdf".to_owned(),
        format!("{long}-10.pdf"),
        "%2e%2e%2f-11.pdf".to_owned(),
        "\u{feff}\u{200b}-12.pdf".to_owned(),
        "{id}-13-{external_id}.pdf".to_owned(),
        "noextension-14".to_owned(),
        ".pdf".to_owned(),
    ];
    for (n, name) in names.iter().enumerate() {
        stage.world.drop_file(stage.folder, name, pdf(n as u64, 1_200)).expect("a new name");
    }
    wait_for("all are delivered", || {
        stage.signed_copies().len() == names.len() && stage.world.all_notices().len() == names.len()
    });
    assert_eq!(stage.world.documents().len(), names.len());
    for document in stage.world.documents() {
        let copies = stage.signed_copies();
        assert_eq!(copies.iter().filter(|c| c.sha256 == document.signed_sha256).count(), 1, "{document:?}");
    }
    let told = stage.world.all_notices().into_iter().map(|n| n.text);
    let commented = stage.world.comments(DEAL).into_iter().map(|c| c.text);
    for text in told.chain(commented) {
        assert!(!text.contains("[URL") && !text.contains("[USER") && !text.contains("[B]"), "{text}");
        assert!(!text.contains('\u{202e}'), "a name turns the text around: {text:?}");
        assert!(!text.contains(['\u{0}', '\r']), "{text:?}");
        assert!(text.chars().count() < 1_000, "{text}");
    }
    let page = get(stage.operator, "/").expect("the page").1;
    assert!(!page.contains("<script>"), "{page}");
    // Everything on disk lies in the data directory under a name of ours.
    for path in files_below(stage.dir.path()) {
        let ours = path.starts_with(stage.data_dir().to_string_lossy().as_ref()) || outside.contains(&path);
        assert!(ours && !path.contains("escaped"), "{path}");
    }
    for escaped in ["/tmp/escaped-1.pdf", "/etc/escaped-3.pdf"] {
        assert!(!Path::new(escaped).exists(), "{escaped}");
    }
}

fn files_below(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        // A running store removes files while we look.
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                all.push(path.to_string_lossy().into_owned());
            }
        }
    }
    all
}

// ---- remotes that have turned evil -----------------------------------------------------------------------------

/// Answers of EasyDocs that no honest service gives.
#[test]
fn an_evil_signing_service_gets_nothing_and_breaks_nothing() {
    let foreign = Trap::set();
    let to_foreign = |status: u16| {
        format!(
            "HTTP/1.1 {status} Moved\r\nLocation: http://{}/steal\r\nContent-Length: 0\r\n\r\n",
            foreign.address
        )
        .into_bytes()
    };
    let huge =
        http_answer("application/json", "", format!("{{\"id\":\"{}\"}}", "x".repeat(10_000_000)).as_bytes());
    let zipped =
        http_answer("application/json", "Content-Encoding: gzip\r\n", b"\x1f\x8b\x08\x00\x00\x00\x00\x00");
    let odd_id = http_answer("application/json", "", br#"{"id":"../../api/v1/me","status":"pending"}"#);
    let deep = http_answer("application/json", "", &[b"[".repeat(100_000), b"]".repeat(100_000)].concat());
    let lying =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{".to_vec();
    let cases = [
        ("a redirect of the create", to_foreign(302)),
        ("a redirect that keeps the method", to_foreign(307)),
        ("a permanent redirect", to_foreign(308)),
        ("ten megabytes of JSON", huge),
        ("a compressed answer nobody asked for", zipped),
        ("an id with a path in it", odd_id),
        ("very deep JSON", deep),
        ("a length that is a lie", lying),
    ];
    for (what, answer) in cases {
        let evil = Trap::answering(answer);
        let scene = Scene::of(
            &Setting { search: false, ..Setting::default() },
            SandboxOptions::default(),
            |config| {
                let own = config.lines().find(|l| {
                    l.starts_with("base_url = ") && l.contains("127.0.0.1") && !l.contains("public")
                });
                assert!(own.is_some());
                replace_base_url(&config, &format!("http://{}/", evil.address))
            },
        );
        scene.stage.drop_file("contract.pdf", pdf(1, 2_000));
        wait_for("the create is over", || {
            evil.calls() > 0 && scene.only_document()["last_failure"] != Value::Null
        });
        let card = scene.only_document();
        assert!(
            ["find_document", "parked", "create"].contains(&card["step"].as_str().unwrap_or_default()),
            "{what}: {card}"
        );
        assert!(card.to_string().len() < 20_000, "{what}: a card of {} bytes", card.to_string().len());
        assert!(!card.to_string().contains(&scene.stage.secrets().api_key), "{what}: {card}");
        assert_eq!(foreign.calls(), 0, "{what}: {}", foreign.heard());
        let paths = evil.heard();
        assert!(!paths.contains("/api/v1/me"), "{what}: {paths}");
    }
}

/// The base address of EasyDocs, which stands right after its section's name.
fn replace_base_url(config: &str, url: &str) -> String {
    let (before, section) = config.split_once("[easydocs]\n").expect("there is a section");
    let (_, rest) = section.split_once('\n').expect("it has lines");
    format!("{before}[easydocs]\nbase_url = \"{url}\"\n{rest}")
}

fn http_answer(content_type: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The download of a signed file by a service that wants the key sent elsewhere, or us to drown.
#[test]
fn an_evil_download_is_not_followed_abroad_and_not_swallowed_whole() {
    let foreign = Trap::set();
    let abroad = foreign.address;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a redirect abroad", format!("HTTP/1.1 302 F\r\nLocation: http://{abroad}/x\r\nContent-Length: 0\r\n\r\n").into()),
        ("a redirect with a user", format!("HTTP/1.1 302 F\r\nLocation: http://a:b@{abroad}/x\r\nContent-Length: 0\r\n\r\n").into()),
        ("a redirect to a file", b"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("a page", http_answer("text/html", "", b"<html>login</html>")),
        ("a bomb", http_answer("application/pdf", "Content-Encoding: gzip\r\n", b"%PDF-\x1f\x8b")),
        ("more than is taken", b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\nContent-Length: 99999999999\r\n\r\n%PDF-1.4".to_vec()),
        ("less than promised", b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\nContent-Length: 500\r\n\r\n%PDF-1.4".to_vec()),
    ];
    for (what, answer) in cases {
        let evil = Trap::scripted(move |request| {
            if request.starts_with("POST") {
                http_answer("application/json", "", br#"{"id":"evil-1","status":"pending"}"#)
            } else {
                answer.clone()
            }
        });
        let scene = Scene::of(
            &Setting { search: false, ..Setting::default() },
            SandboxOptions::default(),
            |config| replace_base_url(&config, &format!("http://{}/", evil.address)),
        );
        scene.stage.drop_file("contract.pdf", pdf(1, 2_000));
        wait_for("it waits", || evil.calls() > 0 && scene.step() == "await_signature");
        assert_eq!(scene.callback(status_word("evil-1", "signed").as_bytes()).status, 200);
        wait_for("the download was tried", || scene.only_document()["last_failure"] != Value::Null);
        assert!(["fetch_signed", "parked"].contains(&scene.step().as_str()), "{what}: {}", scene.step());
        assert_eq!(foreign.calls(), 0, "{what}: {}", foreign.heard());
        assert!(scene.stage.signed_copies().is_empty(), "{what}");
        assert!(scene.stage.world.all_notices().is_empty(), "{what}");
        assert!(scene.trace().spool_bytes < 1_000_000, "{what}");
    }
}

/// A portal whose links lead elsewhere.
#[test]
fn an_evil_portal_sends_us_nowhere() {
    let foreign = Trap::set();
    let abroad = foreign.address;
    let links = [
        format!("http://{abroad}/disk/download/?token=x"),
        format!("http://user:pw@{abroad}/x"),
        format!("//{abroad}/x"),
        "file:///etc/passwd".to_owned(),
        "HERE/redirect".to_owned(),
        format!("HERE@{abroad}/x"),
    ];
    for link in links {
        let given = link.clone();
        let evil = Trap::scripted(move |request| {
            let host = request.lines().find_map(|l| l.strip_prefix("host: ").or(l.strip_prefix("Host: ")));
            let here = format!("http://{}", host.unwrap_or_default());
            if request.starts_with("GET") {
                return format!("HTTP/1.1 302 F\r\nLocation: http://{abroad}/x\r\nContent-Length: 0\r\n\r\n")
                    .into();
            }
            let file = json!({"result": {"ID": "5", "NAME": "contract.pdf", "PARENT_ID": "1", "SIZE": "100",
                "DELETED_TYPE": "0", "DOWNLOAD_URL": given.replace("HERE", &here)}});
            http_answer("application/json", "", file.to_string().as_bytes())
        });
        let scene = Scene::of(&Setting::default(), SandboxOptions::default(), |config| {
            let webhook = format!("http://{}/rest/1/sandboxwebhooksecret/", evil.address);
            let own = config.lines().find(|l| l.starts_with("webhook_url")).expect("a line").to_owned();
            config
                .replace(&own, &format!("webhook_url = \"{webhook}\""))
                .replace("folders = [", "folders = [1, ")
        });
        let token = &scene.stage.secrets().application_token;
        assert_status(wire::event(scene.public(), &event_with(token, 5)), 200, "the event");
        wait_for("the download was tried", || {
            evil.calls() > 0 && scene.only_document()["last_failure"] != Value::Null
        });
        let card = scene.only_document();
        assert!(
            ["fetch_source", "parked"].contains(&card["step"].as_str().unwrap_or_default()),
            "{link}: {card}"
        );
        assert_eq!(foreign.calls(), 0, "{link}: {}", foreign.heard());
        assert!(!card.to_string().contains("sandboxwebhooksecret"), "{link}: {card}");
        assert!(scene.stage.world.documents().is_empty(), "{link}");
    }
}

// ---- secrets ---------------------------------------------------------------------------------------------------

/// A token that applications get with their events.
const ACCESS_TOKEN: &str = "planted-access-token-4f5e6d7c8b9a";

/// Plants secrets, lets everything go wrong that can, and looks for them everywhere.
#[test]
fn no_secret_comes_out_anywhere() {
    let planted = SandboxOptions {
        webhook_secret: Secret::new("plantedwebhook0a1b2c3d4e5f"),
        application_token: Secret::new("plantedapptoken6a7b8c9d0e1f"),
        easydocs_api_key: Secret::new("planted-api-key-2a3b4c5d6e7f"),
        callback_secret: Secret::new("planted-callback-8a9b0c1d2e3f"),
        ..SandboxOptions::default()
    };
    let stage = Stage::with_sandbox(&Setting::default(), planted);
    edit_config(&stage, |config| {
        config
            .replace("filter = \"info\"", "filter = \"trace\"")
            .replace("easydocs_server_error = [\"100ms\", \"200ms\"]", "easydocs_server_error = [\"100ms\"]")
    });
    let secrets = stage.secrets().clone();
    let mut binary = Binary::start(&stage);
    everything_goes_wrong(&stage, &secrets);
    let operator = everything_the_operator_sees(&stage);
    let log = std::fs::read(&binary.log).expect("the log");
    assert!(log.len() > 10_000, "the log says something");
    // Without their first letter, which some of the notices write in an escaped form.
    let all = [
        &secrets.webhook,
        &secrets.application_token,
        &secrets.api_key,
        &secrets.callback,
        &secrets.operator,
    ];
    let needles = all.into_iter().map(|secret| &secret[1..]).chain([ACCESS_TOKEN]);
    for secret in needles {
        for (what, text) in &operator {
            assert!(!text.contains(secret), "{what} shows {secret}:\n{text}");
        }
        assert_absent(&log, secret, "the log");
        for path in files_below(&stage.data_dir()) {
            assert_absent(&std::fs::read(&path).unwrap_or_default(), secret, &path);
        }
    }
    // Links carry tokens of their own: used at once, kept nowhere.
    for (what, text) in &operator {
        assert!(
            !text.contains("token=disk%7C") && !text.contains("token=disk|"),
            "{what} shows a link:\n{text}"
        );
    }
    assert_absent(&log, "token=disk", "the log");
    for path in files_below(&stage.data_dir()) {
        assert_absent(&std::fs::read(&path).unwrap_or_default(), "token=disk", &path);
    }
    assert!(binary.child.try_wait().expect("the process can be asked").is_none(), "it lives");
    binary.kill();
}

fn everything_goes_wrong(stage: &Stage, secrets: &support::Secrets) {
    let world = &stage.world;
    let fault = |fault| world.add_fault(fault).expect("there is room for a fault");
    // Remotes that repeat our secrets back at us, each its own, in every answer that is kept for a person.
    let echo = format!("bad key {0} or Bearer {0}, signed with {1}", secrets.api_key, secrets.callback);
    let portal_echo = format!("bad call {0} at /rest/1/{0}/disk.file.get?auth={0}", secrets.webhook);
    fault(Fault::nth("easydocs.create", 1, FaultKind::status(400, echo.clone())));
    fault(Fault::nth("easydocs.create", 2, FaultKind::status(503, echo.clone())));
    fault(Fault::nth("easydocs.create", 3, FaultKind::Html(502)));
    fault(Fault::nth("easydocs.create", 4, FaultKind::status(401, echo.clone())));
    fault(Fault::nth("easydocs.download", 1, FaultKind::status(400, echo.clone())));
    fault(Fault::nth("disk.file.get", 3, FaultKind::status(403, portal_echo.clone())));
    fault(Fault::nth("download", 2, FaultKind::Truncated));
    fault(Fault::nth("download", 4, FaultKind::status(403, portal_echo.clone())));
    fault(Fault::nth("disk.folder.uploadfile", 1, FaultKind::status(400, portal_echo)));
    fault(Fault::nth("crm.timeline.comment.add", 1, FaultKind::CutAfter));
    for n in 0..9 {
        stage.drop_file(&format!("contract-{n}.pdf"), pdf(n, 2_500));
    }
    // Authentic, forged, unreadable and unusable notices; what is kept for a person must not hold the token.
    for body in [
        event_with(&secrets.application_token, 123_456),
        format!("event=ONDISKFILEADD&auth[application_token]={}", secrets.application_token),
        format!(
            "event=ONDISKFILEADD&x={0}&auth%5Bapplication%5Ftoken%5D=%70{1}",
            secrets.application_token,
            &secrets.application_token[1..]
        ),
        format!("event=ONDISKFILEADD&auth[application_token]={}x", secrets.application_token),
        format!(
            r#"{{"event":"ONDISKFILEADD","auth":{{"application_token":"\u0070{}","access_token":"{}"}}}}"#,
            &secrets.application_token[1..],
            ACCESS_TOKEN
        ),
    ] {
        wire::event(stage.public, &body).expect("an answer");
    }
    let body = json!({"event": "document.status_changed", "document_id": "unknown", "status": "signed",
        "signed_file_url": "https://internal-api.easydocs.ru/x?token=hunter2hunter2"})
    .to_string();
    wire::callback(stage.public, &sign(&secrets.callback, body.as_bytes()), body.as_bytes())
        .expect("an answer");
    wire::callback(stage.public, &secrets.callback, body.as_bytes()).expect("an answer");
    wire::admin(stage.operator, &format!("{}x", secrets.operator), "documents").expect("an answer");
    wait_for("some are delivered and some are stopped", || {
        !stage.signed_copies().is_empty() && !documents(stage, "parked").is_empty()
    });
    wait_for("nothing moves any more", || {
        admin(stage, "counts")["notices"] == json!(0)
            && admin(stage, "parked-notices")["items"].as_array().is_some_and(|i| i.len() >= 4)
    });
}

fn documents(stage: &Stage, step: &str) -> Vec<Value> {
    admin(stage, &format!("documents?step={step}"))["items"].as_array().cloned().unwrap_or_default()
}

/// Every answer of the operator's listener, by its path.
fn everything_the_operator_sees(stage: &Stage) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    for path in ["/", "/metrics", "/health/live", "/health/ready"] {
        seen.push((path.to_owned(), get(stage.operator, path).expect("an answer").1));
    }
    let mut paths: Vec<String> =
        ["documents?limit=500", "parked-notices?limit=500", "portals", "counts"].map(str::to_owned).into();
    for document in admin(stage, "documents?limit=500")["items"].as_array().into_iter().flatten() {
        paths.push(format!("documents/{}", document["id"].as_str().unwrap_or_default()));
    }
    assert!(paths.len() > 8, "there are documents to look at");
    for path in paths {
        let text = admin(stage, &path).to_string();
        seen.push((path, text));
    }
    seen
}

#[track_caller]
fn assert_absent(hay: &[u8], needle: &str, place: &str) {
    let at = hay.windows(needle.len()).position(|window| window == needle.as_bytes());
    if let Some(at) = at {
        let around = &hay[at.saturating_sub(300)..hay.len().min(at + 200)];
        panic!("{place} holds {needle} at {at}: {}", String::from_utf8_lossy(around));
    }
}
