//! Two HTTP servers: opened together, stopped in order, with bounds on everything a client can keep us waiting with.

use super::admin::Desk;
use super::intake::{Intake, Reception};
use super::operator_access::OperatorAccess;
use super::routes::{self, PublicDoors};
use super::settings::{
    OPERATOR_CONNECTIONS_MAX, OPERATOR_WORKERS, OperatorSettings, PublicSettings, Settings,
};
use super::signing_page::{self, SignatureApi, SigningParts};
use super::slow_clients::{self, Connections};
use super::{bitrix24, easydocs, headers, idocs, install};
use crate::actors::Engine;
use crate::domain::{Secret, Text};
use crate::telemetry::metrics::Metrics;
use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::rt::{self, task::JoinHandle};
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How often connections without a request are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// actix-http reads a clock that is up to half a second old, so that shorter times would cut off honest clients.
const TIME_MIN: Duration = Duration::from_secs(1);
/// How long a closing connection may take to take its answer.
const DISCONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Seconds that running requests of the operator get at a stop.
const OPERATOR_DRAIN_S: u64 = 2;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// For strangers; `[public]` in the configuration.
    Public,
    /// For the operator; `[operator]` in the configuration.
    Operator,
}

impl Listener {
    /// The name of its section in the configuration.
    pub fn section(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Operator => "operator",
        }
    }
}

/// A listener could not be opened, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be listened on.
    #[error("the {} listener cannot be opened on {address}", listener.section())]
    Bind {
        /// Which one.
        listener: Listener,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended without having been told to.
    #[error("the {} listener has ended by itself", listener.section())]
    Ended {
        /// Which one.
        listener: Listener,
        /// What it said.
        #[source]
        source: Option<io::Error>,
    },
}

impl ListenError {
    /// The sentence for a person, with the remedy.
    pub fn text(&self) -> Text {
        match self {
            Self::Bind { listener, address, source } => bind_text(*listener, *address, source),
            Self::Ended { listener, source } => {
                let why = source.as_ref().map(ToString::to_string).unwrap_or_default();
                let section = listener.section();
                Text::new(
                    format!("Приём [{section}] прекратился сам: {why}. Перезапустите edobridge."),
                    format!("The listener [{section}] has ended by itself: {why}. Restart edobridge."),
                )
            }
        }
    }
}

fn bind_text(listener: Listener, address: SocketAddr, source: &io::Error) -> Text {
    let section = listener.section();
    let (ru, en) = match source.kind() {
        io::ErrorKind::AddrInUse => (
            format!(
                "адрес занят другой программой. Остановите её (ss -ltnp покажет какую) или смените [{section}] listen"
            ),
            format!(
                "another program listens there. Stop it (ss -ltnp shows which), or change [{section}] listen"
            ),
        ),
        io::ErrorKind::PermissionDenied => (
            format!("порты ниже 1024 требуют прав. Выберите другой порт в [{section}] listen"),
            format!("ports below 1024 need a privilege. Choose another port in [{section}] listen"),
        ),
        io::ErrorKind::AddrNotAvailable => (
            format!("у этой машины нет такого адреса. Исправьте [{section}] listen"),
            format!("this machine does not have that address. Correct [{section}] listen"),
        ),
        _ => {
            (format!("{source}. Проверьте [{section}] listen"), format!("{source}. Check [{section}] listen"))
        }
    };
    Text::new(format!("Не удалось открыть {address}: {ru}."), format!("Cannot listen on {address}: {en}."))
}

/// Both listeners, open.
pub struct Running {
    /// Where the public listener really is, with the port that the system chose for port 0.
    pub public_addr: SocketAddr,
    /// The same of the operator's listener.
    pub operator_addr: SocketAddr,
    public: Task,
    operator: Task,
    sweeper: JoinHandle<()>,
}

struct Task {
    handle: ServerHandle,
    ended: JoinHandle<io::Result<()>>,
}

impl Task {
    fn start(server: Server) -> Self {
        Self { handle: server.handle(), ended: rt::spawn(server) }
    }
    async fn stop(self) {
        self.handle.stop(true).await;
    }
    async fn ended(&mut self, listener: Listener) -> ListenError {
        let source = match (&mut self.ended).await {
            Ok(result) => result.err(),
            Err(panicked) => Some(io::Error::other(panicked)),
        };
        ListenError::Ended { listener, source }
    }
}

impl Running {
    /// Takes no new connections, lets running requests end within the configured time, closes. The public listener
    /// goes first, so that health and metrics can be watched meanwhile.
    pub async fn stop(self) {
        self.public.stop().await;
        self.operator.stop().await;
        self.sweeper.abort();
    }
    /// Waits until one of them ends by itself, which none does in health.
    pub async fn failed(&mut self) -> ListenError {
        let public = std::pin::pin!(self.public.ended(Listener::Public));
        let operator = std::pin::pin!(self.operator.ended(Listener::Operator));
        futures_util::future::select(public, operator).await.factor_first().0
    }
}

/// Opens both listeners; they serve when this returns. To be called within an actix system.
///
/// # Errors
/// [`ListenError::Bind`] names the address and what to do; then neither is open.
pub fn serve(engine: Engine, settings: Settings) -> Result<Running, ListenError> {
    serve_with(engine, settings, None)
}

/// The same with the page where our own signer signs.
///
/// # Errors
/// [`ListenError::Bind`].
pub fn serve_with(
    engine: Engine,
    settings: Settings,
    signing: Option<SigningParts>,
) -> Result<Running, ListenError> {
    let reception = Reception::new(Arc::new(engine.clone()), Arc::clone(engine.metrics()));
    let connections = Connections::new(idle_max(&settings.public));
    let mut doors =
        with_apps(public_doors(&reception, &settings.public), &engine, &reception, &settings.public);
    doors.signing = signing.map(|parts| signing_door(parts, &reception, &settings.public));
    let signing = doors.signing.clone();
    let (public_addr, public) =
        public_server(doors, Arc::clone(engine.metrics()), &settings.public, &connections)?;
    let (operator_addr, operator) = operator_server(engine, reception, signing, &settings.operator)?;
    tracing::info!(public = %public_addr, operator = %operator_addr, "listening");
    Ok(Running {
        public_addr,
        operator_addr,
        public: Task::start(public),
        operator: Task::start(operator),
        sweeper: rt::spawn(sweep(connections)),
    })
}

/// Opens the public listener alone, in front of any intake, without the sweep over idle connections: for measuring
/// the doors apart from what is behind them. The address is bound when this returns; the server runs when awaited.
///
/// # Errors
/// [`ListenError::Bind`].
pub fn public_alone(
    intake: Arc<dyn Intake>,
    metrics: Arc<Metrics>,
    settings: &PublicSettings,
) -> Result<(SocketAddr, Server), ListenError> {
    let reception = Reception::new(intake, Arc::clone(&metrics));
    let connections = Connections::new(idle_max(settings));
    public_server(public_doors(&reception, settings), metrics, settings, &connections)
}

/// The public listener with the signing page, alone, and the door for signatures made elsewhere on the same address:
/// for tests of both apart from what is behind them. Whoever has `token` is the operator.
///
/// # Errors
/// [`ListenError::Bind`].
pub fn signing_alone(
    intake: Arc<dyn Intake>,
    metrics: Arc<Metrics>,
    settings: &PublicSettings,
    parts: SigningParts,
    token: &Secret,
) -> Result<(SocketAddr, Server), ListenError> {
    let reception = Reception::new(intake, Arc::clone(&metrics));
    let connections = Connections::new(idle_max(settings));
    let mut doors = public_doors(&reception, settings);
    let door = signing_door(parts, &reception, settings);
    doors.signatures = Some(Data::new(SignatureApi::new(door.clone(), OperatorAccess::new(token))));
    doors.signing = Some(door);
    public_server(doors, metrics, settings, &connections)
}

fn signing_door(
    parts: SigningParts,
    reception: &Reception,
    settings: &PublicSettings,
) -> Data<signing_page::Door> {
    Data::new(signing_page::Door::new(parts, reception.clone(), settings))
}

/// An honest client is silent for the keep-alive time at most, and then needs the time of a head at most.
fn idle_max(settings: &PublicSettings) -> Duration {
    settings.keep_alive.max(TIME_MIN) + settings.head_timeout.max(TIME_MIN)
}

async fn sweep(connections: Arc<Connections>) {
    let mut tick = rt::time::interval(SWEEP_EVERY);
    loop {
        tick.tick().await;
        let cut = connections.cut_idle();
        if cut > 0 {
            tracing::debug!(cut, open = connections.open_count(), "slow clients cut off");
        }
    }
}

/// The same doors, with those of applications where there are any.
fn with_apps(
    mut doors: PublicDoors,
    engine: &Engine,
    reception: &Reception,
    settings: &PublicSettings,
) -> PublicDoors {
    let registry = engine.installations();
    if registry.has_apps() {
        let bitrix = bitrix24::Door::new(reception.clone(), settings).with_installations(registry.clone());
        doors.bitrix = Data::new(bitrix);
        doors.apps = Some(Data::new(install::Door::new(engine.clone(), reception.clone(), settings)));
    }
    doors
}

/// The doors of the public listener, for any intake.
pub fn public_doors(reception: &Reception, settings: &PublicSettings) -> PublicDoors {
    let easydocs = settings.easydocs.clone().map(|easydocs| {
        Data::new(easydocs::Door::new(
            reception.clone(),
            easydocs,
            settings.body_timeout,
            settings.trusted_proxies.clone(),
        ))
    });
    let idocs = settings.idocs.clone().map(|idocs| {
        Data::new(idocs::Door::new(
            reception.clone(),
            idocs,
            settings.body_timeout,
            settings.trusted_proxies.clone(),
        ))
    });
    PublicDoors {
        bitrix: Data::new(bitrix24::Door::new(reception.clone(), settings)),
        apps: None,
        easydocs,
        idocs,
        signing: None,
        signatures: None,
    }
}

fn public_server(
    doors: PublicDoors,
    metrics: Arc<Metrics>,
    settings: &PublicSettings,
    connections: &Arc<Connections>,
) -> Result<(SocketAddr, Server), ListenError> {
    let connections = Arc::clone(connections);
    let workers = settings.workers.max(1);
    let server = HttpServer::new(move || {
        let (doors, metrics) = (doors.clone(), Arc::clone(&metrics));
        App::new()
            .configure(|config| routes::public(config, &doors))
            .wrap(from_fn(move |request, next| routes::measure(Arc::clone(&metrics), request, next)))
            .wrap(headers::security())
            .wrap(from_fn(headers::framing))
            .wrap(from_fn(slow_clients::mark_busy))
    })
    .workers(workers)
    .max_connections(settings.max_connections.div_ceil(workers).max(1))
    .client_request_timeout(settings.head_timeout.max(TIME_MIN))
    .client_disconnect_timeout(DISCONNECT_TIME_MAX)
    .keep_alive(settings.keep_alive.max(TIME_MIN))
    .shutdown_timeout(settings.drain.as_secs().max(1))
    .on_connect(move |io, data| connections.opened(io, data))
    .disable_signals();
    bound(server.bind(settings.listen), Listener::Public, settings.listen)
        .map(|server| (server.addrs()[0], server.run()))
}

fn operator_server(
    engine: Engine,
    reception: Reception,
    signing: Option<Data<signing_page::Door>>,
    settings: &OperatorSettings,
) -> Result<(SocketAddr, Server), ListenError> {
    let metrics = Arc::clone(engine.metrics());
    let signatures =
        signing.map(|door| Data::new(SignatureApi::new(door, OperatorAccess::new(&settings.token))));
    let access = OperatorAccess::new(&settings.token);
    let desk = Data::new(Desk::new(engine.clone(), access, reception, settings.zone.clone()));
    let server = HttpServer::new(move || {
        let (engine, desk, metrics) = (engine.clone(), desk.clone(), Arc::clone(&metrics));
        App::new()
            .configure(|config| signatures.iter().for_each(|api| routes::signatures(config, api)))
            .configure(|config| routes::operator(config, &engine, &desk))
            .wrap(from_fn(move |request, next| routes::measure(Arc::clone(&metrics), request, next)))
            .wrap(headers::security())
    })
    .workers(OPERATOR_WORKERS)
    .max_connections(OPERATOR_CONNECTIONS_MAX)
    .client_disconnect_timeout(DISCONNECT_TIME_MAX)
    .shutdown_timeout(OPERATOR_DRAIN_S)
    .disable_signals();
    bound(server.bind(settings.listen), Listener::Operator, settings.listen)
        .map(|server| (server.addrs()[0], server.run()))
}

fn bound<T>(opened: io::Result<T>, listener: Listener, address: SocketAddr) -> Result<T, ListenError> {
    opened.map_err(|source| ListenError::Bind { listener, address, source })
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{FakeIntake, public_settings, reception};
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Instant;

    const EVENT: &str = "event=ONCRMDEALUPDATE&data[FIELDS][ID]=1&auth[application_token]=first-token-0001";

    struct Served {
        address: SocketAddr,
        intake: Arc<FakeIntake>,
        metrics: Arc<Metrics>,
        task: Task,
        sweeper: JoinHandle<()>,
    }

    /// The public listener as it runs, with short times and a fake behind it.
    fn serve_public() -> Served {
        let short = TIME_MIN;
        let settings = PublicSettings {
            head_timeout: short,
            body_timeout: short,
            keep_alive: short,
            ..public_settings()
        };
        let intake = Arc::new(FakeIntake::default());
        let (reception, metrics) = reception(&intake);
        let connections = Connections::new(idle_max(&settings));
        let doors = public_doors(&reception, &settings);
        let (address, server) = public_server(doors, Arc::clone(&metrics), &settings, &connections).unwrap();
        let (task, sweeper) = (Task::start(server), rt::spawn(sweep(connections)));
        Served { address, intake, metrics, task, sweeper }
    }

    fn request(body: &str) -> String {
        format!(
            "POST /bitrix/webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Sends `sent` and nothing more; what came until the server closed, and after how long.
    async fn talk(address: SocketAddr, sent: Vec<u8>) -> (String, Duration) {
        let talk = move || {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let since = Instant::now();
            client.write_all(&sent).unwrap();
            let mut all = Vec::new();
            let closed = client.read_to_end(&mut all);
            assert!(!closed.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock), "never cut off");
            (String::from_utf8_lossy(&all).into_owned(), since.elapsed())
        };
        actix_web::web::block(talk).await.unwrap()
    }

    #[actix_web::test]
    async fn a_client_that_stops_within_head_body_or_next_request_is_cut_off() {
        let served = serve_public();
        let whole = request(EVENT);
        let (answer, took) = talk(served.address, whole[..40].into()).await;
        assert!(took < Duration::from_secs(10) && answer.starts_with("HTTP/1.1 408"), "head: {answer}");
        let (answer, took) = talk(served.address, whole[..whole.len() - 5].into()).await;
        assert!(took < Duration::from_secs(10) && answer.starts_with("HTTP/1.1 408"), "body: {answer}");
        assert!(answer.contains("too_slow"), "{answer}");
        assert_eq!(served.intake.taken().len(), 0);
        let (answer, took) = talk(served.address, format!("{whole}POST /bit").into()).await;
        assert!(took < Duration::from_secs(10) && answer.starts_with("HTTP/1.1 200"), "next: {answer}");
        assert_eq!(served.intake.taken().len(), 1);
        served.sweeper.abort();
        served.task.stop().await;
    }

    #[actix_web::test]
    async fn every_answer_carries_the_security_headers_and_is_counted_by_its_route() {
        let served = serve_public();
        for (sent, status) in [
            (request(EVENT), "200"),
            (request("event=X"), "403"),
            ("GET /bitrix/webhook HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "405"),
            ("GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "404"),
        ] {
            let (answer, _) = talk(served.address, sent.into()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            for header in
                ["nosniff", "no-store", "default-src 'none'", "no-referrer", "x-frame-options: DENY"]
            {
                assert!(answer.to_lowercase().contains(&header.to_lowercase()), "{header} in {answer}");
            }
            assert!(!answer.to_lowercase().contains("server:"), "{answer}");
        }
        let text = served.metrics.encode();
        for line in [
            r#"{route="/bitrix/webhook",status="200"} 1"#,
            r#"{route="/bitrix/webhook",status="403"} 1"#,
            r#"{route="/bitrix/webhook",status="405"} 1"#,
            r#"{route="other",status="404"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        served.sweeper.abort();
        served.task.stop().await;
    }

    #[actix_web::test]
    async fn a_stopped_listener_accepts_nobody() {
        let served = serve_public();
        let (answer, _) = talk(served.address, request(EVENT).into()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        served.sweeper.abort();
        served.task.stop().await;
        assert!(TcpStream::connect(served.address).is_err());
    }

    #[test]
    fn a_taken_address_is_named_with_the_remedy() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let server = HttpServer::new(App::new).disable_signals();
        let error = bound(server.bind(address), Listener::Public, address).err().unwrap();
        let text = error.text();
        assert!(text.en.contains(&address.to_string()) && text.en.contains("[public] listen"), "{text:?}");
        assert!(text.ru.contains("занят"), "{text:?}");
    }
}
