//! An emulated signing agent: TLS WebSocket on loopback, frames as `reference/signing-samples/ncalayer` has them.
//!
//! It shares nothing with the page's script but the protocol. Signatures are made by whatever the test gives it.
#![allow(dead_code)]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tungstenite::{Message, WebSocket};

type Socket = WebSocket<StreamOwned<ServerConnection, TcpStream>>;
/// Makes a signature of the content; `true`: with the content inside.
pub type Sign = dyn Fn(&[u8], bool) -> Vec<u8> + Send + Sync;

/// How the agent behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A present NCALayer: PEM, an array for an array.
    Present,
    /// Base64 instead of PEM, and an array for one document too.
    Base64,
    /// Signs an array as if it were one text, as older agents do.
    ArrayAsText,
    /// Answers an array with an error.
    NoArrays,
    /// KAZTOKEN: knows the module of the probe.
    Kaztoken,
    /// Knows only the old module.
    Old,
    /// The person closes the dialogue.
    Cancels,
    /// The person closes the dialogue of the old module.
    OldCancels,
    /// The method fails.
    Fails,
    /// Accepts the connection and says nothing, not even hello.
    Silent,
    /// The dialogue stays open: the person is looking for the key.
    Dawdles,
    /// Ends in the middle of the dialogue.
    Closes,
}

/// The agent.
pub struct Ncalayer {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    manner: Mutex<Manner>,
    sign: Box<Sign>,
    requests: Mutex<Vec<Value>>,
    connections: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
}

impl Ncalayer {
    /// Starts one on a free port with a certificate of its own, in PEM files.
    pub fn start(manner: Manner, certificate: &Path, key: &Path, sign: Box<Sign>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            manner: Mutex::new(manner),
            sign,
            requests: Mutex::default(),
            connections: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let tls = Arc::new(tls(certificate, key));
        let own = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if own.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (state, tls) = (Arc::clone(&own), Arc::clone(&tls));
                std::thread::spawn(move || {
                    let end = stream.try_clone();
                    state.serve(stream, tls);
                    // another copy is kept for the end of the test, and would hold the connection open
                    let _ = end.map(|stream| stream.shutdown(Shutdown::Both));
                });
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("wss://{}/", self.address)
    }
    pub fn behave(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }
    /// Every request so far.
    pub fn requests(&self) -> Vec<Value> {
        self.state.requests.lock().unwrap().clone()
    }
    /// How often something was asked of a module.
    pub fn asked(&self, module: &str) -> usize {
        self.requests().iter().filter(|request| request["module"] == module).count()
    }
}

impl Drop for Ncalayer {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        for stream in self.state.connections.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect(self.address);
    }
}

fn tls(certificate: &Path, key: &Path) -> ServerConfig {
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("key and certificate fit")
}

impl State {
    fn serve(&self, stream: TcpStream, tls: Arc<ServerConfig>) {
        if let Ok(copy) = stream.try_clone() {
            self.connections.lock().unwrap().push(copy);
        }
        let Ok(connection) = ServerConnection::new(tls) else { return };
        let Ok(mut socket) = tungstenite::accept(StreamOwned::new(connection, stream)) else { return };
        let manner = *self.manner.lock().unwrap();
        if manner != Manner::Silent && say(&mut socket, &json!({ "result": { "version": "1.4" } })).is_none()
        {
            return;
        }
        while let Some(request) = hear(&mut socket) {
            self.requests.lock().unwrap().push(request.clone());
            let manner = *self.manner.lock().unwrap();
            match self.answer(manner, &request) {
                Some(answer) => {
                    if say(&mut socket, &answer).is_none() {
                        return;
                    }
                }
                None if matches!(manner, Manner::Silent | Manner::Dawdles) => {}
                None => return,
            }
        }
    }

    /// None: nothing is said.
    fn answer(&self, manner: Manner, request: &Value) -> Option<Value> {
        let no_module = || json!({ "success": false, "errorCode": "MODULE_NOT_FOUND" });
        let is_old = matches!(manner, Manner::Old | Manner::OldCancels);
        if manner == Manner::Silent {
            return None;
        }
        Some(match request["module"].as_str().unwrap_or_default() {
            "kz.digiflow.mobile.extensions" if manner == Manner::Kaztoken => {
                json!({ "success": true, "version": "2.1" })
            }
            "kz.gov.pki.knca.basics" if !is_old => return self.basics(manner, &request["args"]),
            "kz.gov.pki.knca.commonUtils" => self.common_utils(manner, request),
            _ => no_module(),
        })
    }

    fn basics(&self, manner: Manner, args: &Value) -> Option<Value> {
        let attached = args["signingParams"]["encapsulate"] == true;
        assert_eq!(args["signingParams"]["decode"], true, "the data is Base64: {args}");
        let pem = |content: &Value| {
            let text = content.as_str().expect("data is text");
            let cms = (self.sign)(&BASE64_STANDARD.decode(text).expect("data is Base64"), attached);
            let text = BASE64_STANDARD.encode(cms);
            if manner == Manner::Base64 {
                return text;
            }
            let lines: Vec<&str> =
                text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
            format!("-----BEGIN CMS-----\n{}\n-----END CMS-----\n", lines.join("\n"))
        };
        let failure = || {
            json!({
                "status": false, "code": "INVOCATION_ERROR",
                "message": "An invoked method threw an exception.", "details": "synthetic detail",
            })
        };
        let result = match (manner, &args["data"]) {
            (Manner::Cancels, _) => return Some(json!({ "status": true, "body": {} })),
            (Manner::Fails, _) => return Some(failure()),
            (Manner::Closes | Manner::Dawdles, _) => return None,
            (Manner::NoArrays, Value::Array(_)) => return Some(failure()),
            (Manner::ArrayAsText, Value::Array(list)) => {
                let cms = (self.sign)(format!("{list:?}").as_bytes(), attached);
                let text = BASE64_STANDARD.encode(cms);
                json!(vec![text; list.len()])
            }
            (_, Value::Array(list)) => json!(list.iter().map(pem).collect::<Vec<_>>()),
            (Manner::Base64, one) => json!([pem(one)]),
            (_, one) => json!(pem(one)),
        };
        Some(json!({ "status": true, "body": { "result": result } }))
    }

    fn common_utils(&self, manner: Manner, request: &Value) -> Value {
        let args = &request["args"];
        match request["method"].as_str().unwrap_or_default() {
            "getActiveTokens" => json!({ "code": "200", "responseObject": ["AKKaztokenStore"] }),
            "createCAdESFromBase64" if manner == Manner::OldCancels => {
                json!({ "code": "500", "message": "action.canceled" })
            }
            "createCAdESFromBase64" => {
                assert_eq!((&args[0], &args[1]), (&json!("AKKaztokenStore"), &json!("SIGNATURE")));
                let content = BASE64_STANDARD.decode(args[2].as_str().expect("text")).expect("Base64");
                let cms = (self.sign)(&content, args[3] == true);
                json!({ "code": "200", "responseObject": BASE64_STANDARD.encode(cms) })
            }
            _ => json!({ "code": "500" }),
        }
    }
}

fn say(socket: &mut Socket, value: &Value) -> Option<()> {
    socket.send(Message::text(value.to_string())).ok()
}

/// The next request; none when the page has gone.
fn hear(socket: &mut Socket) -> Option<Value> {
    loop {
        match socket.read().ok()? {
            Message::Text(text) => return serde_json::from_str(&text).ok(),
            Message::Close(_) => return None,
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}
