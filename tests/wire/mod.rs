//! A client as rude as a test needs: any bytes over a socket, in any rhythm.
#![allow(dead_code)]

use edobridge::sandbox::callbacks::SIGNATURE_HEADER;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Content type of an event.
pub const FORM: &str = "application/x-www-form-urlencoded";
/// Content type of a callback.
pub const JSON: &str = "application/json";

/// How long an answer is waited for: longer than every bound of the server.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug, Clone)]
pub struct Heard {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Heard {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Self { status, head: head.to_owned(), body: body.to_owned() })
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.head.lines().find(named).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.body))
    }
}

/// A whole POST with its length, after which the connection is to be closed.
pub fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: edo.example\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

/// Sends bytes and reads until the server closes. None if nothing that is an answer came.
///
/// A server may answer and close before it has read everything, so a failed write is not the end.
pub fn send(address: SocketAddr, bytes: &[u8]) -> Option<Heard> {
    Heard::parse(&raw(address, bytes)?)
}

/// The same, all bytes that came back: there may be several answers in them.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stream = connect(address)?;
    let _ = stream.write_all(bytes);
    Some(drain(&mut stream))
}

/// A connection that gives up waiting at last.
pub fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
    stream.set_write_timeout(Some(ANSWER_MAX)).ok()?;
    Some(stream)
}

/// Everything until the other side closes, resets, or is silent for too long.
pub fn drain(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = [0; 16 * 1024];
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        all.extend_from_slice(&piece[..n]);
    }
    all
}

/// Sends an event's body to the webhook.
pub fn event(address: SocketAddr, body: &str) -> Option<Heard> {
    send(address, &post("/bitrix/webhook", &[("Content-Type", FORM)], body.as_bytes()))
}

/// The same over a connection that stands already.
pub fn event_over(mut stream: TcpStream, body: &str) -> Option<Heard> {
    let _ = stream.write_all(&post("/bitrix/webhook", &[("Content-Type", FORM)], body.as_bytes()));
    Heard::parse(&drain(&mut stream))
}

/// Sends a callback with this signature.
pub fn callback(address: SocketAddr, signature: &str, body: &[u8]) -> Option<Heard> {
    let headers = [("Content-Type", JSON), (SIGNATURE_HEADER, signature)];
    send(address, &post("/easydocs/callback", &headers, body))
}

/// A question to the admin API.
pub fn admin(address: SocketAddr, token: &str, path: &str) -> Option<Heard> {
    let request = format!(
        "GET /admin/v1/{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    send(address, request.as_bytes())
}

/// A place that nobody should ever call: it counts who does, and keeps what they say.
pub struct Trap {
    pub address: SocketAddr,
    calls: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<u8>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Trap {
    /// Listens on loopback and answers everything with a PDF, so that whoever falls for it goes on.
    pub fn set() -> Self {
        Self::answering(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\nContent-Length: 9\r\n\r\n%PDF-evil"
                .to_vec(),
        )
    }

    /// Answers every connection with these bytes after its first piece of a request, and closes it.
    pub fn answering(answer: Vec<u8>) -> Self {
        Self::scripted(move |_| answer.clone())
    }

    /// Answers each request by what it says: for a remote that has turned evil.
    pub fn scripted(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (calls, heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let over = Arc::new(AtomicBool::new(false));
        let (count, keep, stop) = (calls.clone(), heard.clone(), over.clone());
        let answer = Arc::new(answer);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                let (keep, answer) = (keep.clone(), answer.clone());
                std::thread::spawn(move || {
                    let request = read_request(&mut stream);
                    keep.lock().expect("no panic while it is held").extend_from_slice(&request);
                    let _ = stream.write_all(&answer(&String::from_utf8_lossy(&request)));
                    let _ = stream.shutdown(Shutdown::Write);
                    drain(&mut stream);
                });
            }
        });
        Self { address, calls, heard, over, thread: Some(thread) }
    }

    /// How often somebody connected.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// What they said.
    pub fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().expect("no panic while it is held")).into_owned()
    }
}

/// A head and the body that its length promises.
fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let (mut all, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        if let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            if all.len() >= end + 4 + length.unwrap_or(0) {
                return all;
            }
        }
        match stream.read(&mut piece) {
            Ok(n @ 1..) => all.extend_from_slice(&piece[..n]),
            Ok(0) | Err(_) => return all,
        }
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
