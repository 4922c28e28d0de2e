//! Cuts off connections on which a next request is begun and not finished.
//!
//! actix-http times the head of the *first* request of a connection and the silence between requests, but as soon as
//! one byte of a second request has come, neither clock runs: such a connection would live for ever (seen in
//! `h1/dispatcher.rs` of 3.20, and in the test below). So we keep a handle of every connection and shut down those
//! that have been without a running request for longer than any honest client needs.

use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::rt::net::TcpStream;
use std::any::Any;
use std::collections::HashMap;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The moment at which a connection became idle while a request of it is running.
const BUSY: u64 = u64::MAX;

/// All open connections of a listener.
#[derive(Debug)]
pub struct Connections {
    idle_max_ms: u64,
    started: Instant,
    next_id: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
}

#[derive(Debug)]
struct Connection {
    socket: std::net::TcpStream,
    idle_since_ms: AtomicU64,
}

/// Lives as long as its connection, in the connection's data.
#[derive(Debug)]
pub struct Ticket {
    id: u64,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
}

impl Connections {
    /// Connections may be without a running request for `idle_max`.
    pub fn new(idle_max: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle_max_ms: u64::try_from(idle_max.as_millis()).unwrap_or(BUSY - 1),
            started: Instant::now(),
            next_id: AtomicU64::new(0),
            open: Mutex::default(),
        })
    }

    /// To be called by the listener for each new connection. Without a spare file descriptor a connection is served
    /// unwatched, bounded by the framework's own timers only.
    pub fn opened(self: &Arc<Self>, io: &dyn Any, data: &mut Extensions) {
        let Some(stream) = io.downcast_ref::<TcpStream>() else { return };
        let Ok(descriptor) = stream.as_fd().try_clone_to_owned() else { return };
        let connection = Arc::new(Connection {
            socket: std::net::TcpStream::from(descriptor),
            idle_since_ms: AtomicU64::new(self.now_ms()),
        });
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&connection));
        data.insert(Ticket { id, connection, connections: Arc::clone(self) });
    }

    /// Shuts down what has been idle for too long; says how many.
    pub fn cut_idle(&self) -> usize {
        let now_ms = self.now_ms();
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = open.values().filter(|connection| {
            let since_ms = connection.idle_since_ms.load(Ordering::Relaxed);
            since_ms != BUSY && now_ms.saturating_sub(since_ms) > self.idle_max_ms
        });
        // the dispatcher sees the end of the stream, drops the connection, and with it the ticket
        idle.filter(|connection| connection.socket.shutdown(Shutdown::Both).is_ok()).count()
    }

    /// How many connections are open.
    pub fn open_count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.connections.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// Middleware: marks the connection as busy while a request of it runs.
///
/// # Errors
/// Those of the handler.
pub async fn mark_busy<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let connection = request
        .conn_data::<Ticket>()
        .map(|ticket| (Arc::clone(&ticket.connection), Arc::clone(&ticket.connections)));
    if let Some((connection, _)) = &connection {
        connection.idle_since_ms.store(BUSY, Ordering::Relaxed);
    }
    let answer = next.call(request).await;
    if let Some((connection, connections)) = &connection {
        connection.idle_since_ms.store(connections.now_ms(), Ordering::Relaxed);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::middleware::from_fn;
    use actix_web::{App, HttpResponse, HttpServer, rt, web};
    use std::io::{Read as _, Write as _};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    fn serve(connections: &Arc<Connections>) -> (std::net::SocketAddr, actix_web::dev::ServerHandle) {
        let watched = Arc::clone(connections);
        let server = HttpServer::new(|| {
            App::new().wrap(from_fn(mark_busy)).route("/", web::get().to(HttpResponse::Ok))
        })
        .workers(1)
        .keep_alive(Duration::from_millis(100))
        .client_request_timeout(Duration::from_millis(100))
        .on_connect(move |io, data| watched.opened(io, data))
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        rt::spawn(server);
        (address, handle)
    }

    /// Reads until the server closes the connection; fails if it does not within 10 s.
    fn read_to_end(mut client: std::net::TcpStream) -> Vec<u8> {
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut all = Vec::new();
        match client.read_to_end(&mut all) {
            Ok(_) => all,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => all,
            Err(error) => panic!("not cut off: {error}"),
        }
    }

    #[actix_web::test]
    async fn a_second_request_that_is_begun_and_not_finished_is_cut_off() {
        let connections = Connections::new(Duration::from_millis(300));
        let (address, handle) = serve(&connections);
        let client = web::block(move || {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            client.write_all(REQUEST).unwrap();
            let mut first = [0; 12];
            client.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200");
            client.write_all(b"G").unwrap();
            client
        })
        .await
        .unwrap();
        let reader = web::block(move || read_to_end(client));
        let cutter = async {
            let since = Instant::now();
            while connections.cut_idle() == 0 {
                assert!(since.elapsed() < Duration::from_secs(10), "the framework cut it off by itself");
                rt::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (read, ()) = futures_util::join!(reader, cutter);
        assert!(read.is_ok());
        let since = Instant::now();
        while connections.open_count() > 0 {
            assert!(since.elapsed() < Duration::from_secs(10), "the connection is not forgotten");
            rt::time::sleep(Duration::from_millis(5)).await;
        }
        handle.stop(false).await;
    }
}
