//! A real browser, driven through its driver (W3C WebDriver, plain JSON over HTTP).

use crate::exchange::exchange;
use crate::support::PATIENCE;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use edobridge::config::Environment;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tempfile::TempDir;

/// The member by which a WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// One browser at a time: each is half a dozen processes.
static TURN: Mutex<()> = Mutex::new(());

/// A browser with an empty profile.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// Where pictures are put, if somebody wants to look at them.
fn pictures() -> Option<PathBuf> {
    Environment::of_process().get("EDOBRIDGE_TEST_PICTURES").map(PathBuf::from)
}

impl Browser {
    /// None where there is no browser: said on the console, a failure where `CI` is `true`.
    pub fn start(width: u32, height: u32) -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(chromium) = ["/usr/bin/chromium", "/usr/bin/chromium-browser"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists())
        else {
            return absent("chromium is not installed");
        };
        let driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = driver else { return absent("chromedriver is not installed") };
        let address = address_of(&mut driver);
        let profile = TempDir::new().expect("a temporary directory");
        let mut args: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-default-apps",
            "--disable-sync",
            "--no-first-run",
            "--no-proxy-server",
            // the agent's certificate is its own
            "--ignore-certificate-errors",
        ]
        .map(str::to_owned)
        .to_vec();
        args.push(format!("--window-size={width},{height}"));
        args.push(format!("--user-data-dir={}", profile.path().display()));
        let mut options = json!({ "binary": chromium, "args": args });
        // no window is narrower than this; a telephone is
        if width < 500 {
            options["mobileEmulation"] =
                json!({ "deviceMetrics": { "width": width, "height": height, "pixelRatio": 2.0 } });
        }
        let wish = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let answer = exchange(address, "POST", "/session", &[], wish.to_string().as_bytes());
        let session = answer.json()["value"]["sessionId"].as_str().map(str::to_owned);
        let session = session.unwrap_or_else(|| panic!("the browser does not start: {}", answer.text()));
        Some(Self { driver, address, session, _profile: profile, _turn: turn })
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let path = format!("/session/{}{path}", self.session);
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let answer = exchange(self.address, method, &path, &[], body.as_bytes());
        let value = answer.json()["value"].clone();
        if answer.status == 200 { Ok(value) } else { Err(value["message"].to_string()) }
    }

    #[track_caller]
    fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        self.command(method, path, body).unwrap_or_else(|why| panic!("{path}: {why}"))
    }

    /// Opens a page.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.must("POST", "/url", &json!({ "url": url }));
    }

    /// Waits until the page's own script has run.
    #[track_caller]
    pub fn ready(&self) {
        self.wait("the script has run", || {
            self.script("return document.documentElement.dataset.ready") == "yes"
        });
    }

    #[track_caller]
    pub fn script(&self, script: &str) -> Value {
        self.must("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Presses what the selector finds, as a person would.
    #[track_caller]
    pub fn press(&self, selector: &str) {
        let found = self.must("POST", "/element", &json!({ "using": "css selector", "value": selector }));
        let element = found[ELEMENT].as_str().expect("an element").to_owned();
        self.must("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Types keys to whatever has the focus.
    #[track_caller]
    pub fn keys(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                let key = key.to_string();
                [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
            })
            .collect();
        let source = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.must("POST", "/actions", &source);
    }

    /// The visible text of what the selector finds.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        self.script(&script).as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done() {
            if Instant::now() >= until {
                self.picture("failed");
                panic!("waited in vain: {what}; the page says: {}", self.text("body"));
            }
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
    }

    /// Waits until the status line is of this kind (`ok`, `bad`, `note`), and gives its text.
    #[track_caller]
    pub fn told(&self, kind: &str) -> String {
        let script = "const s = document.getElementById('status'); \
                      const busy = document.querySelector('main').getAttribute('aria-busy') === 'true'; \
                      return s.hidden || busy ? '' : s.dataset.kind";
        self.wait(&format!("the page tells {kind}"), || self.script(script) == kind);
        self.text("#status")
    }

    /// Answers a question for permission beforehand; none if this browser does not know it.
    pub fn permit(&self, name: &str, state: &str) -> Option<()> {
        let wish = json!({ "descriptor": { "name": name }, "state": state });
        self.command("POST", "/permissions", &wish).ok().map(|_| ())
    }

    /// What the browser has complained about: breaches of the page's policy, errors of its script.
    #[track_caller]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.must("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The person prefers dark pages from now on, as the system would say.
    #[track_caller]
    pub fn prefer_dark(&self) {
        let features = json!([{ "name": "prefers-color-scheme", "value": "dark" }]);
        let order = json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
        self.must("POST", "/goog/cdp/execute", &order);
    }

    /// A second tab, which has the focus from now on; gives the handle of the first.
    #[track_caller]
    pub fn second_tab(&self) -> String {
        let first = self.must("GET", "/window", &Value::Null);
        let second = self.must("POST", "/window/new", &json!({ "type": "tab" }));
        self.turn_to(second["handle"].as_str().expect("a handle"));
        first.as_str().expect("a handle").to_owned()
    }

    #[track_caller]
    pub fn turn_to(&self, handle: &str) {
        self.must("POST", "/window", &json!({ "handle": handle }));
    }

    /// Puts a picture of the window into the folder of pictures, if there is one.
    #[track_caller]
    pub fn picture(&self, name: &str) {
        let Some(folder) = pictures() else { return };
        if let Ok(png) = self.command("GET", "/screenshot", &Value::Null) {
            let bytes = BASE64_STANDARD.decode(png.as_str().unwrap_or_default()).expect("Base64");
            std::fs::create_dir_all(&folder).expect("the folder of the pictures");
            std::fs::write(folder.join(format!("{name}.png")), bytes).expect("the picture is written");
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.command("DELETE", "", &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn absent(why: &str) -> Option<Browser> {
    assert!(Environment::of_process().get("CI") != Some("true"), "{why}, and CI must not skip this test");
    println!("SKIPPED: {why} (Debian: chromium, chromium-driver)");
    None
}

/// The driver says on which port it listens.
fn address_of(driver: &mut Child) -> SocketAddr {
    let output = BufReader::new(driver.stdout.take().expect("its output is piped"));
    let mut lines = output.lines().map_while(Result::ok);
    let port = lines.find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').trim().parse::<u16>().ok()
    });
    SocketAddr::from(([127, 0, 0, 1], port.expect("the driver names its port")))
}
