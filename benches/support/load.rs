//! A light load: so many keep-alive senders on loopback, each sends its next webhook when the last was answered.
//! One thread serves them all and does as little as possible per request, because it shares the machine with the
//! server that is measured.

use actix_web::rt::net::TcpStream;
use futures_util::future::try_join_all;
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Digits of the id that makes each event a fresh one.
const ID_DIGITS: usize = 10;
/// No answer of a webhook is larger.
const ANSWER_BYTES_MAX: usize = 4 << 10;
/// More requests are not sent in one run, however quick the server is: bounds memory and the store's growth.
const REQUESTS_MAX: u64 = 1_000_000;
/// Sent before the clock starts: connections, caches, first pages.
const WARM_UP: Duration = Duration::from_millis(300);
/// A given number of requests is not sent for longer.
const EXACTLY_MAX: Duration = Duration::from_secs(300);

/// A webhook with a place for an id.
#[derive(Clone)]
pub struct Webhook {
    bytes: Vec<u8>,
    id_at: usize,
}

impl Webhook {
    /// An event of an outgoing webhook as a portal sends it (`tests/data/bitrix24-events/01-*`): a changed deal, in
    /// which no rule of the test's configuration is interested.
    pub fn deal_changed(address: SocketAddr, token: &str) -> Self {
        Self::of_event("ONCRMDEALUPDATE", address, token)
    }

    /// A new file in a folder of the Drive.
    pub fn file_added(address: SocketAddr, token: &str) -> Self {
        Self::of_event("ONDISKFILEADD", address, token)
    }

    fn of_event(event: &str, address: SocketAddr, token: &str) -> Self {
        let zeros = "0".repeat(ID_DIGITS);
        let body = format!(
            "event={event}&event_handler_id=975&data%5BFIELDS%5D%5BID%5D={zeros}&ts=1766047124\
             &auth%5Bdomain%5D=portal.romashka.example\
             &auth%5Bclient_endpoint%5D=https%3A%2F%2Fportal.romashka.example%2Frest%2F\
             &auth%5Bserver_endpoint%5D=https%3A%2F%2Foauth.bitrix24.tech%2Frest%2F\
             &auth%5Bmember_id%5D=fa4e0001000000000000000000000000&auth%5Bapplication_token%5D={token}"
        );
        let head = format!(
            "POST /bitrix/webhook HTTP/1.1\r\nHost: {address}\r\nUser-Agent: Bitrix24 Webhook Engine\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let id_at = head.len() + body.find(&zeros).expect("the id stands in the body");
        Self { bytes: [head, body].concat().into_bytes(), id_at }
    }

    fn set_id(&mut self, id: u64) {
        let mut rest = id;
        for digit in self.bytes[self.id_at..self.id_at + ID_DIGITS].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
    }
}

/// What a run found.
pub struct Outcome {
    /// Requests that were answered with 200.
    pub answered: u64,
    /// Requests that were answered with something else.
    pub refused: u64,
    /// How long it took.
    pub took: Duration,
    /// Times from the first byte sent to the last byte received, microseconds, sorted.
    pub sorted_us: Vec<u32>,
}

struct Shared {
    /// The last id that was sent.
    id: Cell<u64>,
    last_id: u64,
    refused: Cell<u64>,
    until: Instant,
}

impl Shared {
    fn next_id(&self) -> Option<u64> {
        let id = self.id.get() + 1;
        (id <= self.last_id && Instant::now() < self.until).then(|| {
            self.id.set(id);
            id
        })
    }
}

/// Sends `webhook` with ids above `last_id` from `senders` connections at once for about `time`, after a warm-up.
/// Sets `last_id` to the last one that was used.
///
/// # Errors
/// A connection broke, or an answer is not HTTP.
pub async fn run(
    address: SocketAddr,
    webhook: &Webhook,
    senders: usize,
    time: Duration,
    last_id: &mut u64,
) -> io::Result<Outcome> {
    let mut connections = try_join_all((0..senders).map(|_| Sender::connect(address, webhook))).await?;
    storm(&mut connections, WARM_UP.min(time), last_id).await?;
    storm(&mut connections, time, last_id).await
}

/// Sends `webhook` so many times, with ids above `last_id`, as fast as it is answered.
///
/// # Errors
/// As [`run`].
pub async fn exactly(
    address: SocketAddr,
    webhook: &Webhook,
    senders: usize,
    count: u64,
    last_id: &mut u64,
) -> io::Result<Outcome> {
    let mut connections = try_join_all((0..senders).map(|_| Sender::connect(address, webhook))).await?;
    storm_of(&mut connections, count, EXACTLY_MAX, last_id).await
}

async fn storm(connections: &mut [Sender], time: Duration, last_id: &mut u64) -> io::Result<Outcome> {
    storm_of(connections, REQUESTS_MAX, time, last_id).await
}

async fn storm_of(
    connections: &mut [Sender],
    count: u64,
    time: Duration,
    last_id: &mut u64,
) -> io::Result<Outcome> {
    let since = Instant::now();
    let shared = Shared {
        id: Cell::new(*last_id),
        last_id: *last_id + count,
        refused: Cell::new(0),
        until: since + time,
    };
    let times = try_join_all(connections.iter_mut().map(|sender| sender.send_all(&shared))).await?;
    let took = since.elapsed();
    *last_id = shared.id.get();
    let mut sorted_us = times.concat();
    sorted_us.sort_unstable();
    let refused = shared.refused.get();
    Ok(Outcome { answered: sorted_us.len() as u64 - refused, refused, took, sorted_us })
}

struct Sender {
    stream: TcpStream,
    webhook: Webhook,
    answer: Box<[u8; ANSWER_BYTES_MAX]>,
    /// Length of the last answer: all of a server's are alike.
    usual_bytes: usize,
}

impl Sender {
    async fn connect(address: SocketAddr, webhook: &Webhook) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let answer = Box::new([0; ANSWER_BYTES_MAX]);
        Ok(Self { stream, webhook: webhook.clone(), answer, usual_bytes: 0 })
    }

    async fn send_all(&mut self, shared: &Shared) -> io::Result<Vec<u32>> {
        let mut times = Vec::new();
        while let Some(id) = shared.next_id() {
            self.webhook.set_id(id);
            let since = Instant::now();
            self.stream.write_all(&self.webhook.bytes).await?;
            let is_fine = self.read_answer().await?;
            times.push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
            shared.refused.set(shared.refused.get() + u64::from(!is_fine));
        }
        Ok(times)
    }

    /// Whether the answer is a 200.
    async fn read_answer(&mut self) -> io::Result<bool> {
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.answer[filled..]).await?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            if filled == self.usual_bytes || whole_bytes(&self.answer[..filled])? == Some(filled) {
                self.usual_bytes = filled;
                return Ok(self.answer.starts_with(b"HTTP/1.1 200"));
            }
        }
    }
}

/// The length of the answer that begins here; none if its head is not complete.
fn whole_bytes(answer: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..head]).map_err(|_| ErrorKind::InvalidData)?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.map(|length| Some(head + 4 + length)).ok_or_else(|| ErrorKind::InvalidData.into())
}
