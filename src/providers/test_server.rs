//! A tiny HTTP/1.1 server for the tests of this folder: it records what arrives and answers with scripted bytes.
//!
//! One request per connection; the order of the replies is the order of the connections.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What to do with one request after it was read.
pub(crate) enum Reply {
    /// Send these bytes, then close.
    Bytes(Vec<u8>),
    /// Close without a byte.
    Close,
    /// Say nothing for this long, then close.
    Hold(Duration),
    /// Send a head and then a byte per pause.
    Trickle(Duration, usize),
}

impl Reply {
    pub(crate) fn raw(bytes: &[u8]) -> Self {
        Reply::Bytes(bytes.to_vec())
    }
    pub(crate) fn hold(time: Duration) -> Self {
        Reply::Hold(time)
    }
    pub(crate) fn trickle(pause: Duration, count: usize) -> Self {
        Reply::Trickle(pause, count)
    }
    pub(crate) fn ok(body: &str) -> Self {
        Self::status(200, "", body)
    }
    /// `headers` are whole lines.
    pub(crate) fn status(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
        Reply::Bytes([head.as_bytes(), body.as_bytes()].concat())
    }
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// The request line and the headers.
    pub head: String,
    pub body: Vec<u8>,
    /// Whether the announced length arrived.
    pub complete: bool,
}

impl Recorded {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a test asks for JSON only where JSON was sent")
    }
}

pub(crate) struct TestServer {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Recorded>>>,
}

impl TestServer {
    pub(crate) fn start(replies: Vec<Reply>) -> Self {
        Self::start_with(|_| replies)
    }

    /// The same for replies that must know the server's own address (`http://127.0.0.1:port`).
    pub(crate) fn start_with(replies: impl FnOnce(&str) -> Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let replies = replies(&format!("http://{addr}"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        std::thread::spawn(move || {
            for reply in replies {
                let Ok((stream, _)) = listener.accept() else { return };
                // A held connection must not hold up the next one.
                let record = record.clone();
                std::thread::spawn(move || serve(stream, reply, &record));
            }
        });
        Self { addr, seen }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, reply: Reply, record: &Mutex<Vec<Recorded>>) {
    let request = read_request(&mut stream);
    let complete = request.complete;
    record.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    if !complete {
        return;
    }
    // A client that has gone away is part of some tests.
    let _ = match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes),
        Reply::Close => Ok(()),
        Reply::Hold(time) => {
            std::thread::sleep(time);
            Ok(())
        }
        Reply::Trickle(pause, count) => trickle(&mut stream, pause, count),
    };
}

fn trickle(stream: &mut TcpStream, pause: Duration, count: usize) -> std::io::Result<()> {
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n").as_bytes())?;
    for _ in 0..count {
        std::thread::sleep(pause);
        stream.write_all(b"x")?;
    }
    Ok(())
}

fn read_request(stream: &mut TcpStream) -> Recorded {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 65_536];
    let mut head_len = None;
    loop {
        if head_len.is_none() {
            head_len = bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|n| n + 4);
        }
        if let Some(head_len) = head_len {
            let head = String::from_utf8_lossy(&bytes[..head_len]).into_owned();
            let mut request = Recorded { head, body: bytes[head_len..].to_vec(), complete: false };
            let length = request.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
            request.complete = request.body.len() >= length;
            if request.complete {
                return request;
            }
        }
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&buffer[..n]),
            Ok(_) | Err(_) => {
                let head_len = head_len.unwrap_or(bytes.len());
                let head = String::from_utf8_lossy(&bytes[..head_len]).into_owned();
                return Recorded { head, body: bytes[head_len..].to_vec(), complete: false };
            }
        }
    }
}
