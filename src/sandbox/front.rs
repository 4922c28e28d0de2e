//! The socket-level front: accepts connections, reads requests, lets faults strike, writes answers.
//!
//! A small HTTP/1.1 server of its own, because a fault must be able to close or reset a connection at any moment,
//! break an answer in its middle or leave a port closed, which a framework does not let one do. It knows no method
//! of Bitrix24 or the signing services: a [`Site`] names the call and answers it.
//!
//! Invariants: every request that was answered or cut has exactly one ledger entry (control calls have none); a
//! fault "before" leaves the world unchanged; after a cut the connection is closed.

use super::faults::{ErrorAnswer, FaultKind};
use super::ledger::{Note, Side};
use super::world::World;
use super::{bitrix24, control, easydocs, idocs, oauth, push};
use actix_web::rt::net::{TcpListener, TcpSocket, TcpStream};
use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Longest head of a request; browsers and proxies stay below a quarter of it.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Longest body: a 256 MB file in base64, with room.
const BODY_BYTES_MAX: usize = 384 * 1024 * 1024;
/// How long a connection may stand idle or a body may stall, and how long an answer may take to be read.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// How long a closed port is tried again when it is to be opened.
const REBIND_PAUSE: Duration = Duration::from_millis(20);
/// Longest injected pause: longer ones are a lost answer, which is another fault.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Which emulated server a listener belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// The portal at its first address.
    Portal,
    /// The portal at the address it gets when it is renamed.
    RenamedPortal,
    /// The signing service.
    EasyDocs,
    /// The authorisation server.
    OAuth,
    /// The push server.
    Push,
    /// The other signing service, with its webhooks' host.
    IDocs,
}

impl Site {
    /// All of them, in the order of their gates.
    pub(crate) const ALL: [Self; 6] =
        [Self::Portal, Self::RenamedPortal, Self::EasyDocs, Self::OAuth, Self::Push, Self::IDocs];

    pub(crate) fn side(self) -> Side {
        match self {
            Self::Portal | Self::RenamedPortal => Side::Bitrix24,
            Self::EasyDocs => Side::EasyDocs,
            Self::OAuth => Side::OAuth,
            Self::Push => Side::Push,
            Self::IDocs => Side::IDocs,
        }
    }

    fn call_name(self, head: &Head) -> String {
        match self {
            Self::Portal | Self::RenamedPortal => bitrix24::call_name(head),
            Self::EasyDocs => easydocs::call_name(head),
            Self::OAuth => oauth::call_name(head),
            Self::Push => push::call_name(head),
            Self::IDocs => idocs::call_name(head),
        }
    }

    async fn answer(self, world: &Arc<World>, request: &Request) -> Reply {
        match self {
            Self::Portal | Self::RenamedPortal => bitrix24::answer(world, self, request).await,
            Self::EasyDocs => easydocs::answer(world, request).await,
            Self::OAuth => oauth::answer(world, request),
            Self::Push => push::answer(world, request).await,
            Self::IDocs => idocs::answer(world, request).await,
        }
    }
}

/// First line and headers of a request; header names are in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    headers: Vec<(String, String)>,
    /// Where the request comes from: the portal's bucket is one per source.
    pub(crate) source: IpAddr,
}

impl Head {
    /// The value of a header, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    /// The path's segments, without empty ones.
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|s| !s.is_empty()).collect()
    }
    /// The first value of a query parameter, decoded.
    pub(crate) fn query_value(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes()).find(|(k, _)| k == name).map(|(_, v)| v.into_owned())
    }
}

/// A whole request, with what faults want of its handler.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
    /// For a batch: what strikes each command, in order.
    pub(crate) command_faults: Vec<Option<FaultKind>>,
    /// How often what the call sets off is delivered.
    pub(crate) deliveries: u32,
}

/// Whether an answer reaches the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fate {
    /// It does.
    #[default]
    Sent,
    /// The connection is closed instead.
    Lost,
}

/// An answer and its line for the ledger.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    pub(crate) note: Note,
    pub(crate) fate: Fate,
}

impl Reply {
    /// A JSON answer that changed nothing.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("Content-Type", "application/json; charset=utf-8".to_owned())];
        Self { status, headers, body: body.to_string().into(), ..Self::default() }
    }
    /// A page, as the web server in front of the application writes it.
    pub(crate) fn html(status: u16) -> Self {
        let reason = reason(status);
        let body = format!(
            "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1>\
             </center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        let headers = vec![("Content-Type", "text/html".to_owned())];
        Self { status, headers, body: body.into(), ..Self::default() }
    }
    #[must_use]
    pub(crate) fn noted(mut self, note: Note) -> Self {
        self.note = note;
        self
    }
    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Connections that may wait to be accepted; as much as the standard library asks for.
const BACKLOG: u32 = 1_024;

/// Keeps one site open or closed, as the world wants it, for as long as the sandbox lives.
pub(crate) async fn keep(site: Site, listener: TcpListener, addr: SocketAddr, world: Arc<World>) {
    let gate = world.gate(site);
    let mut wanted = gate.wanted.subscribe();
    let (mut listener, mut held) = (Some(listener), None);
    loop {
        if *wanted.borrow_and_update() {
            let open = match listener.take() {
                Some(listener) => listener,
                None => open_again(held.take(), addr).await,
            };
            gate.applied.send_replace(true);
            accept(site, &open, &world, wanted.clone()).await;
            drop(open);
            // bound and deaf: who connects is refused, and no other program gets the port meanwhile
            held = bound(addr).ok();
        }
        gate.applied.send_replace(false);
        if !*wanted.borrow() && wanted.changed().await.is_err() {
            return;
        }
    }
}

fn bound(addr: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // connections of the closed listener may linger
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

async fn open_again(held: Option<TcpSocket>, addr: SocketAddr) -> TcpListener {
    if let Some(listener) = held.and_then(|socket| socket.listen(BACKLOG).ok()) {
        return listener;
    }
    loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(REBIND_PAUSE).await,
        }
    }
}

/// Accepts until the site is to be closed, and closes its connections with it.
async fn accept(site: Site, listener: &TcpListener, world: &Arc<World>, mut wanted: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = wanted.wait_for(|open| !open) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors or the like: leave the processor to others for a moment.
            tokio::time::sleep(REBIND_PAUSE).await;
            continue;
        };
        let world = Arc::clone(world);
        connections.spawn_local(async move {
            Connection { stream, buffer: BytesMut::new(), source: peer.ip() }.converse(site, &world).await;
        });
    }
    connections.shutdown().await;
}

/// What to do with the connection after an exchange.
enum After {
    Keep,
    Close,
}

/// The bytes of a request do not make sense, or stopped coming.
struct Unreadable;

struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    source: IpAddr,
}

impl Connection {
    async fn converse(&mut self, site: Site, world: &Arc<World>) {
        let _ = self.stream.set_nodelay(true);
        while let Ok(After::Keep) = self.exchange(site, world).await {}
    }

    /// One request and its answer, or what a fault makes of them.
    async fn exchange(&mut self, site: Site, world: &Arc<World>) -> Result<After, Unreadable> {
        let Some(head) = self.read_head().await? else { return Ok(After::Close) };
        if control::is_control(&head) {
            let request = self.request(head).await?;
            let reply = control::answer(world, &request).await;
            return self.finish(&request.head, &reply).await;
        }
        let call = site.call_name(&head);
        let mut fault = world.strike(&call);
        if fault == Some(FaultKind::Refuse) {
            return Ok(self.refuse(site, world, &call));
        }
        let mut request = self.request(head).await?;
        if call == "batch" {
            request.command_faults = command_faults(world, &request, &mut fault);
        }
        if fault == Some(FaultKind::Refuse) {
            return Ok(self.refuse(site, world, &call));
        }
        let reply = match before(site, fault.as_ref()).await {
            Before::Cut => {
                world.record(site.side(), &call, Note::read(), fault.as_ref(), None);
                return Ok(After::Close);
            }
            Before::Answer(reply) => reply,
            Before::GoOn => {
                request.deliveries = if fault == Some(FaultKind::Duplicate) { 2 } else { 1 };
                let reply = site.answer(world, &request).await;
                if request.head.segments().first() == Some(&"rest") {
                    let busy = world.time_of_calls(request.command_faults.len().max(1));
                    // Not even for no time: a port that is closed in between would lose the line of what was done.
                    if !busy.is_zero() {
                        tokio::time::sleep(busy).await;
                    }
                }
                reply
            }
        };
        self.deliver(site, world, &call, &request.head, reply, fault).await
    }

    /// Records the exchange and sends the answer as far as the fault lets it through.
    async fn deliver(
        &mut self,
        site: Site,
        world: &Arc<World>,
        call: &str,
        head: &Head,
        mut reply: Reply,
        fault: Option<FaultKind>,
    ) -> Result<After, Unreadable> {
        let note = std::mem::take(&mut reply.note);
        let mut half = false;
        match &fault {
            Some(FaultKind::CutAfter) => reply.fate = Fate::Lost,
            Some(FaultKind::StatusAfter(answer)) => reply = error_reply(site, answer),
            Some(FaultKind::HtmlAfter(status)) => reply = Reply::html(*status),
            Some(FaultKind::EmptyBody) => reply = Reply { status: 200, ..Reply::default() },
            Some(FaultKind::Truncated) => half = true,
            Some(
                FaultKind::Refuse
                | FaultKind::CutBefore
                | FaultKind::Status(_)
                | FaultKind::Html(_)
                | FaultKind::Slow(_)
                | FaultKind::SlowBefore(_)
                | FaultKind::Duplicate,
            )
            | None => {}
        }
        let status = (reply.fate == Fate::Sent).then_some(reply.status);
        world.record(site.side(), call, note, fault.as_ref(), status);
        if let Some(FaultKind::Slow(ms)) = fault {
            pause(ms).await;
        }
        match (reply.fate, half) {
            (Fate::Lost, _) => Ok(After::Close),
            (Fate::Sent, true) => {
                self.write(&reply, reply.body.len() / 2, "close").await.map(|()| After::Close)
            }
            (Fate::Sent, false) => self.finish(head, &reply).await,
        }
    }

    fn refuse(&mut self, site: Site, world: &Arc<World>, call: &str) -> After {
        world.record(site.side(), call, Note::read(), Some(&FaultKind::Refuse), None);
        // Without lingering the close is a reset: the client sees an error, never a clean end.
        let _ = self.stream.set_zero_linger();
        After::Close
    }

    async fn finish(&mut self, head: &Head, reply: &Reply) -> Result<After, Unreadable> {
        let close = head.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        let connection = if close { "close" } else { "keep-alive" };
        self.write(reply, reply.body.len(), connection).await?;
        Ok(if close { After::Close } else { After::Keep })
    }

    async fn request(&mut self, head: Head) -> Result<Request, Unreadable> {
        let body = self.read_body(&head).await?;
        Ok(Request { head, body, command_faults: Vec::new(), deliveries: 1 })
    }

    /// The next head; nothing when the client closed the connection between two requests.
    async fn read_head(&mut self) -> Result<Option<Head>, Unreadable> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let text = self.buffer.split_to(end + 4);
                return parse_head(&text).map(|head| Some(Head { source: self.source, ..head }));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(Unreadable);
            }
            match self.fill().await {
                Err(Unreadable) if self.buffer.is_empty() => return Ok(None),
                other => other?,
            }
        }
    }

    async fn read_body(&mut self, head: &Head) -> Result<Bytes, Unreadable> {
        if head.header("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|_| Unreadable)?;
        }
        if head.header("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked")) {
            return self.read_chunks().await;
        }
        let length: usize = match head.header("content-length") {
            None => 0,
            Some(text) => text.parse().map_err(|_| Unreadable)?,
        };
        if length > BODY_BYTES_MAX {
            let refusal = Reply::html(413);
            self.write(&refusal, refusal.body.len(), "close").await?;
            return Err(Unreadable);
        }
        self.take(length).await
    }

    async fn read_chunks(&mut self) -> Result<Bytes, Unreadable> {
        let mut body = BytesMut::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| Unreadable)?;
            if body.len().saturating_add(size) > BODY_BYTES_MAX {
                return Err(Unreadable);
            }
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body.freeze());
            }
            body.extend_from_slice(&self.take(size).await?);
            if !self.line().await?.is_empty() {
                return Err(Unreadable);
            }
        }
    }

    async fn line(&mut self) -> Result<String, Unreadable> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                return String::from_utf8(line.to_vec()).map_err(|_| Unreadable);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(Unreadable);
            }
            self.fill().await?;
        }
    }

    async fn take(&mut self, length: usize) -> Result<Bytes, Unreadable> {
        self.buffer.reserve(length.saturating_sub(self.buffer.len()));
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn fill(&mut self) -> Result<(), Unreadable> {
        match tokio::time::timeout(IDLE_MAX, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(read)) if read > 0 => Ok(()),
            _ => Err(Unreadable),
        }
    }

    /// Writes the head, which promises the whole body, and the first `bytes` of the body.
    async fn write(&mut self, reply: &Reply, bytes: usize, connection: &str) -> Result<(), Unreadable> {
        let mut head = format!("HTTP/1.1 {} {}\r\nServer: nginx\r\n", reply.status, reason(reply.status));
        head.push_str(&format!("Date: {}\r\n", http_date()));
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\nConnection: {connection}\r\n\r\n", reply.body.len()));
        let sending = async {
            self.stream.write_all(head.as_bytes()).await?;
            self.stream.write_all(&reply.body[..bytes]).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(IDLE_MAX, sending).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Unreadable),
        }
    }
}

/// What a fault makes of a request before its handler sees it.
enum Before {
    GoOn,
    Cut,
    Answer(Reply),
}

async fn before(site: Site, fault: Option<&FaultKind>) -> Before {
    match fault {
        Some(FaultKind::CutBefore | FaultKind::Refuse) => Before::Cut,
        Some(FaultKind::Status(answer)) => Before::Answer(error_reply(site, answer)),
        Some(FaultKind::Html(status)) => Before::Answer(Reply::html(*status)),
        Some(FaultKind::SlowBefore(ms)) => {
            pause(*ms).await;
            Before::GoOn
        }
        Some(
            FaultKind::CutAfter
            | FaultKind::StatusAfter(_)
            | FaultKind::HtmlAfter(_)
            | FaultKind::Truncated
            | FaultKind::Slow(_)
            | FaultKind::Duplicate
            | FaultKind::EmptyBody,
        )
        | None => Before::GoOn,
    }
}

/// Counts the commands of a batch under their own names; what one command cannot suffer alone strikes them all.
fn command_faults(
    world: &Arc<World>,
    request: &Request,
    whole: &mut Option<FaultKind>,
) -> Vec<Option<FaultKind>> {
    let mut faults = Vec::new();
    for name in bitrix24::command_names(request) {
        let fault = world.strike(&name);
        match fault {
            Some(kind) if !kind.fits_one_command() => {
                whole.get_or_insert(kind);
                faults.push(None);
            }
            other => faults.push(other),
        }
    }
    faults
}

fn error_reply(site: Site, answer: &ErrorAnswer) -> Reply {
    match site {
        Site::Portal | Site::RenamedPortal | Site::Push => bitrix24::error_reply(answer),
        Site::OAuth => oauth::error_reply(answer),
        Site::EasyDocs => easydocs::error_reply(answer),
        Site::IDocs => idocs::error_reply(answer),
    }
}

pub(crate) async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms).min(PAUSE_MAX)).await;
}

fn parse_head(text: &[u8]) -> Result<Head, Unreadable> {
    let text = std::str::from_utf8(text).map_err(|_| Unreadable)?;
    let mut lines = text.trim_end().split("\r\n");
    let mut first = lines.next().unwrap_or("").split(' ');
    let (Some(method), Some(target), Some(_)) = (first.next(), first.next(), first.next()) else {
        return Err(Unreadable);
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines
        .map(|line| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())))
        .collect::<Option<Vec<_>>>()
        .ok_or(Unreadable)?;
    let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Ok(Head { method: method.to_owned(), path: path.to_owned(), query: query.to_owned(), headers, source })
}

/// The present as HTTP writes it.
fn http_date() -> String {
    jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => "Status",
    }
}
