//! The nginx of `deploy/nginx` in front of the real binary, over TLS: what gets through, what does not, and whom the
//! service believes.
//!
//! Needs nginx and openssl; says so and passes where they are missing, and fails there under `CI=true`.
#![allow(clippy::print_stderr, reason = "a test that could not be made says so")]

mod support;

use edobridge::config::Environment;
use edobridge::sandbox::callbacks::{SIGNATURE_HEADER, sign};
use reqwest::StatusCode;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Binary, Setting, Stage, free_address, pdf, wait_for};
use tempfile::TempDir;

/// The name in the sample.
const NAME: &str = "edo.example.ru";
/// Where Debian puts it; not in everybody's PATH.
const NGINX: [&str; 2] = ["nginx", "/usr/sbin/nginx"];

/// An nginx with the sample's configuration, in which only places and ports are others.
struct Proxy {
    child: Child,
    dir: TempDir,
    plain: SocketAddr,
    tls: SocketAddr,
    // The runtime outlives the client.
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

fn nginx() -> Option<&'static str> {
    let works = |name: &&str| Command::new(name).arg("-v").stderr(Stdio::null()).status().is_ok();
    let found = NGINX.into_iter().find(works);
    if found.is_none() {
        assert!(Environment::of_process().get("CI").is_none_or(|ci| ci != "true"), "nginx is not installed");
        eprintln!("skipped: nginx is not installed (Debian: apt-get install nginx-light)");
    }
    found
}

/// Replaces what must be there.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the sample has no `{from}`");
    text.replace(from, to)
}

fn sample(dir: &Path, backend: SocketAddr, plain: SocketAddr, tls: SocketAddr) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx/edobridge.conf");
    let text = std::fs::read_to_string(path).expect("the sample is there");
    let text = replaced(&text, "server 127.0.0.1:8080;", &format!("server {backend};"));
    let text = replaced(&text, "    listen [::]:80;\n", "");
    let text = replaced(&text, "    listen [::]:443 ssl;\n", "");
    let text = replaced(&text, "listen 80;", &format!("listen {plain};"));
    let text = replaced(&text, "listen 443 ssl;", &format!("listen {tls} ssl;"));
    replaced(&text, "/etc/letsencrypt/live/edo.example.ru", &dir.display().to_string())
}

fn certificate(dir: &Path) -> Vec<u8> {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=edo.example.ru"])
        .args([
            "-addext",
            "subjectAltName=DNS:edo.example.ru",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(dir.join("privkey.pem"))
        .arg("-out")
        .arg(dir.join("fullchain.pem"))
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read(dir.join("fullchain.pem")).expect("openssl has written the certificate")
}

impl Proxy {
    fn start(nginx: &str, stage: &Stage) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let (plain, tls) = (free_address(), free_address());
        let pem = certificate(dir.path());
        let inner = sample(dir.path(), stage.public, plain, tls);
        let at = dir.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name};\n"))
            .concat();
        let whole = format!(
            "daemon off;\nworker_processes 1;\npid {at}/pid;\nerror_log {at}/error.log info;\nevents {{}}\n\
             http {{\naccess_log {at}/access.log;\n{temporary}{inner}\n}}\n"
        );
        let config = dir.path().join("nginx.conf");
        std::fs::write(&config, whole).expect("the configuration is written");
        // The workers give up root's rights and must still reach their files.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("the directory is ours");
        let child = Command::new(nginx)
            .args(["-p".as_ref(), dir.path().as_os_str(), "-c".as_ref(), config.as_os_str()])
            .args(["-e".as_ref(), dir.path().join("error.log").as_os_str()])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let root = reqwest::Certificate::from_pem(&pem).expect("a certificate");
        let client = reqwest::Client::builder()
            .tls_certs_only([root])
            .resolve(NAME, tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client is made");
        let mut proxy = Self { child, dir, plain, tls, client, runtime };
        wait_for("nginx listens", || {
            let ended = proxy.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "nginx ended:\n{}", proxy.log("error.log"));
            std::net::TcpStream::connect(tls).is_ok()
        });
        proxy
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    fn address(&self, path: &str) -> String {
        format!("https://{NAME}:{}{path}", self.tls.port())
    }

    fn get(&self, path: &str) -> (StatusCode, String) {
        self.sent(self.client.get(self.address(path)))
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (StatusCode, String) {
        let request = self.client.post(self.address(path)).body(body);
        self.sent(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
    }

    fn sent(&self, request: reqwest::RequestBuilder) -> (StatusCode, String) {
        self.runtime.block_on(async {
            let answer = request.send().await.expect("nginx answers");
            (answer.status(), answer.text().await.expect("a whole answer"))
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // SIGTERM, so that its workers end with it; it may have ended by itself.
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// The stage behind a proxy: its address is the proxy's, which is believed.
fn behind(stage: &Stage) {
    let text = std::fs::read_to_string(&stage.config_path).expect("the configuration was written");
    let base = format!("base_url = \"http://{}/\"\n", stage.public);
    let text = replaced(
        &text,
        &base,
        &format!("base_url = \"https://{NAME}/\"\ntrusted_proxies = [\"127.0.0.1\"]\n"),
    );
    let text = replaced(&text, "[easydocs]\n", "[easydocs]\ncallback_from = [\"10.9.8.7\"]\n");
    std::fs::write(&stage.config_path, text).expect("the configuration is written again");
}

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn event(stage: &Stage, file: u64) -> Vec<u8> {
    let token = &stage.secrets().application_token;
    format!(
        "event=ONDISKFILEADD&event_handler_id=1&data%5BFIELDS%5D%5BID%5D={file}&ts=1766047124&\
         auth%5Bdomain%5D=portal.example&auth%5Bmember_id%5D=fa4e0001000000000000000000000000&\
         auth%5Bapplication_token%5D={token}"
    )
    .into_bytes()
}

#[test]
fn the_sample_proxy_lets_through_what_it_should_and_nothing_else() {
    let Some(nginx) = nginx() else { return };
    let stage = Stage::new(&Setting { status: true, ..Setting::default() });
    behind(&stage);
    // Only the proxy brings events and callbacks here.
    stage.world.set_event_target(None);
    stage.world.set_callback_url(None);
    let binary = Binary::start(&stage);
    let proxy = Proxy::start(nginx, &stage);

    let file = stage.drop_file("Договор.pdf", pdf(1, 5_000));
    let (status, body) = proxy.post("/bitrix/webhook", &[FORM], event(&stage, file));
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"ok":true}"#));
    wait_for("the signed copy", || stage.signed_copies().len() == 1);

    for path in
        ["/", "/metrics", "/health/live", "/health/ready", "/admin/v1/documents", "/bitrix/../metrics"]
    {
        let (status, body) = proxy.get(path);
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {body}");
    }
    let (status, _) = proxy.post("/bitrix/webhook", &[FORM], vec![b'a'; 2 << 20]);
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);

    // What a stranger says about where they come from is not passed on.
    let callback = br#"{"event":"document.status_changed","document_id":"d-1","status":"signed"}"#;
    let signature = sign(&stage.secrets().callback, callback);
    let claims = [
        ("Content-Type", "application/json"),
        (SIGNATURE_HEADER, signature.as_str()),
        ("X-Forwarded-For", "10.9.8.7"),
    ];
    let (status, body) = proxy.post("/easydocs/callback", &claims, callback.to_vec());
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");

    let (status, _) = proxy.get("/sign/aLinkThatNobodyMadeAndThatMustNotBeLogged");
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = proxy.get("/bitrix/nothing");
    assert_eq!(status, StatusCode::NOT_FOUND);
    wait_for("the log is written", || proxy.log("access.log").contains("/bitrix/nothing"));
    let log = [proxy.log("access.log"), proxy.log("error.log")].concat();
    assert!(!log.contains("aLinkThatNobodyMade"), "{log}");
    assert!(!log.contains(&stage.secrets().application_token), "{log}");

    let (status, head) = support::request(
        proxy.plain,
        &format!("GET /bitrix/webhook HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"),
    )
    .expect("nginx answers");
    assert_eq!(status, 301, "{head}");

    // A proxy that answered for a dead service would lose events for good.
    binary.kill();
    let (status, _) = proxy.post("/bitrix/webhook", &[FORM], event(&stage, file + 1));
    assert!(status.is_server_error(), "{status}");
}
