//! The server as a whole: what is made, in which order it starts, and in which order it stops.
//!
//! A studio that has a game of its own uses this room: register the game, start, wait.
//!
//! ```no_run
//! use muster::config::{Config, Settings};
//! use muster::game::Registry;
//! use muster::server::Server;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new(Settings::dev_preset(), true)?;
//! let server = Server::start(config, Registry::built_in()).await?;
//! println!("serving on {}", server.address());
//! server.stop_on_signal().await;
//! # Ok(()) }
//! ```

mod backend;
mod check;
mod desk;
mod files;
mod key_files;
mod keys;
mod listen;
mod outbound;
mod port;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::check::{check, verifier};

use self::backend::NodeBackend;
use self::desk::Desk;
use self::keys::Keys;
use self::port::Port;
use crate::admin::admin_router;
use crate::admission::Admission;
use crate::certificate::{CertificateError, CertificateStore};
use crate::clock::Clock;
use crate::config::{Config, ListenError};
use crate::directory::{Embedded, StoreFault};
use crate::game::{BadGame, Registry};
use crate::http::{Http, metrics_router};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::ticket::{self, Ticket};
use crate::transport::websocket::WebSockets;
use crate::transport::webtransport;
use crate::wire::Code;

/// A server that runs. Dropping it stops nothing; see [`Server::stop`].
pub struct Server {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    hub: Hub,
    admission: Admission,
    keys: Arc<Keys>,
    desk: Arc<Desk>,
    certificates: Option<CertificateStore>,
    /// No new QUIC connections. TCP is accepted to the end, for `/readyz` to say what is going on.
    closing: CancellationToken,
    /// Everything ends.
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Why a server could not start: the operator's to mend, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is taken, or the address is not this machine's.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The same for UDP.
    #[error(transparent)]
    WebTransport(#[from] webtransport::BindError),
    /// WebSocket links cannot be driven.
    #[error("the system gives no epoll: {0}")]
    WebSocket(std::io::Error),
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A certificate is good no longer. A start warns of it; a check refuses it.
    #[error("{0}")]
    Expired(String),
    /// A key file cannot be used.
    #[error("{0}")]
    Keys(String),
    /// The admin API's token cannot be used.
    #[error("{0}")]
    Admin(String),
    /// The operator's list or the store of revocations is broken.
    #[error(transparent)]
    Revocations(#[from] StoreFault),
    /// What is to be asked elsewhere cannot be.
    #[error("{0}")]
    Outbound(String),
    /// The games cannot run at the rate that is configured.
    #[error("sessions.tick_rate: {0}")]
    Game(BadGame),
    /// The system gives no randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

impl Server {
    /// Binds, makes what is missing in development, and serves.
    ///
    /// # Errors
    /// [`ServeError`], before anything is served.
    ///
    /// # Cancel safety
    /// A cancelled call may have served for a moment.
    pub async fn start(config: Config, games: Registry) -> Result<Self, ServeError> {
        ticket::install_crypto();
        let clock = Clock::start();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(ServeError::Random)?;
        let keys = Arc::new(Keys::new(&config)?);
        let certificates = CertificateStore::from_config(&config, clock.unix().0)?;
        let metrics = Arc::new(Metrics::new());
        let games = match config.sessions.tick_rate {
            Some(rate) => games.with_tick_hz(u8::try_from(rate).unwrap_or(u8::MAX)).map_err(ServeError::Game)?,
            None => games,
        };
        let (mut limits, reservation) = (config.limits.clone(), config.sessions.reservation);
        limits.pending_links = files::pending_links(limits.pending_links, files::raise_limit());
        let hub = Hub::new(limits, reservation, games, Arc::clone(&metrics), clock, seed);
        let admin_token = desk::read_token(&config)?;
        let directory = Arc::new(match &config.revocations.store {
            Some(store) => Embedded::with_store(MAX_USED_TICKETS, store, clock.unix())?,
            None => Embedded::new(MAX_USED_TICKETS),
        });
        let verifier = keys.load(|verifier| verifier)?;
        let elsewhere = outbound::elsewhere(&config, clock, &metrics)?;
        let origins = config.origin_policy();
        let admission =
            Admission::asking(hub.clone(), verifier, directory, &config.ticket_settings(), origins, elsewhere);
        let desk = Arc::new(Desk::new(&config, Arc::clone(&keys), admission.clone()));
        admission.replace_listed(&desk.read_list()?);
        admission.tidy_revocations().await;
        let flag = "--listen";
        let (listener, address) = bind(config.listen, flag)?;
        let port = Port::new(listener).map_err(|reason| ListenError { flag, address, reason })?;

        let (closing, stop, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        tasks.spawn(hub.clone().run(stop.clone()));
        tasks.spawn(admission.clone().run_renewals(stop.clone()));
        outbound::follow_issuers(&admission, &keys, &stop, &tasks);
        let backend =
            Arc::new(NodeBackend { hub: hub.clone(), certificates: certificates.clone(), keys: Arc::clone(&keys) });
        let websockets = WebSockets::start(admission.clone(), &stop, &tasks).map_err(ServeError::WebSocket)?;
        let http = Http::new(&config, backend, Arc::clone(&metrics), websockets.clone());
        let acceptor = listen::Acceptor::new(&config, admission.clone(), http, certificates.as_ref())?;
        let door = websockets.door(acceptor.encryption(), acceptor.beside_door(&stop, &tasks));
        tasks.spawn(acceptor.run(port, door, stop.clone()));
        if let Some(store) = certificates.as_ref().filter(|_| config.transport.webtransport) {
            // The same port in UDP as was given in TCP.
            let buffer = config.transport.socket_buffer;
            let listener = webtransport::Listener::bind(address, buffer, store.quic_config()?, &config.limits)?;
            tasks.spawn(listener.run(admission.clone(), closing.clone()));
        }
        let beside = |listener, router| {
            let (limits, stop) = (config.limits.clone(), stop.clone());
            tasks.spawn(listen::serve_beside(listener, router, limits, stop, tasks.clone()));
        };
        if let Some(address) = config.metrics.listen {
            beside(bind_beside(address, "--metrics-listen")?.0, metrics_router(Arc::clone(&metrics)));
        }
        let mut admin_address = None;
        if let (Some(address), Some(token)) = (config.admin.listen, admin_token) {
            if config.revocations.store.is_none() {
                tracing::warn!("revocations are kept in memory only: name a file in revocations.store");
            }
            let (listener, address) = bind_beside(address, "admin.listen")?;
            admin_address = Some(address);
            let desk: Arc<Desk> = Arc::clone(&desk);
            beside(listener, admin_router(token, admission.clone(), desk));
        }
        tasks.spawn(listen::tidy_revocations(admission.clone(), stop.clone()));
        if let Some(store) = &certificates {
            tasks.spawn(listen::watch_expiry(store.clone(), Arc::clone(&metrics), stop.clone()));
            tasks.spawn(store.clone().follow(CertificateStore::CHECK_EVERY, move || clock.unix().0, stop.clone()));
        }
        Ok(Self { address, admin_address, hub, admission, keys, desk, certificates, closing, stop, tasks })
    }

    /// Where it listens; the port is the one that was given for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin API listens, where there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// SHA-256 of the certificate, where there is one.
    pub fn certificate_hash(&self) -> Option<[u8; 32]> {
        self.certificates.as_ref().map(|store| store.current().hash())
    }

    /// The players, lobbies and sessions.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Who decides who gets in.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// A ticket for development, where the server made its own key.
    pub fn dev_ticket(&self, sub: &str) -> Option<Ticket> {
        self.keys.mint(sub, serde_json::Map::new(), self.hub.clock().unix())?.ok()
    }

    /// Serves until SIGTERM or Ctrl-C, then stops. SIGHUP reads certificates, keys and the list of revocations again.
    ///
    /// # Cancel safety
    /// Cancelling leaves the server running.
    pub async fn stop_on_signal(self) {
        listen::wait_for_stop(|| self.reload()).await;
        self.stop().await;
    }

    /// Reads certificates, keys and the list of revocations again; what cannot be read stays as it was, and the log says
    /// so. Who is newly on the list is sent away by a task of its own.
    pub fn reload(&self) {
        if let Some(store) = &self.certificates {
            store.log(store.reload(self.hub.clock().unix().0).map(|()| true));
        }
        // What is wrong is logged there.
        let _ = self.desk.reload_keys();
        if let Some(list) = self.desk.reload_list() {
            self.admission.replace_listed(&list);
            let admission = self.admission.clone();
            self.tasks.spawn(async move {
                let sent_away = admission.send_listed_away().await;
                tracing::info!(revocations = list.len(), sent_away, "the list of revocations is in force");
            });
        }
    }

    /// Stops: not ready at once, no new players, everybody is told Goodbye 4001, and everything is over within 5 s.
    ///
    /// # Cancel safety
    /// Cancelling leaves a server that is closing.
    pub async fn stop(self) {
        tracing::info!("stopping: no new players, and goodbye to those who are here");
        self.hub.drain(Code::Draining);
        self.closing.cancel();
        // A link needs a moment to say goodbye and to hear it answered; then everything ends.
        let quiet = async {
            while self.hub.links() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(LINK_WAIT, quiet).await;
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(TASK_WAIT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
}

/// Binds TCP with a backlog that a burst of arrivals fits into; tells the port that was given for port 0.
fn bind(address: SocketAddr, flag: &'static str) -> Result<(std::net::TcpListener, SocketAddr), ListenError> {
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // Every connection has it from its listener: frames are small and due now, and to wait for more would cost a round trip.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(4_096)?;
        let listener = std::net::TcpListener::from(socket);
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound().map_err(|reason| ListenError { flag, address, reason })
}

/// The same, in tokio's epoll.
fn bind_beside(address: SocketAddr, flag: &'static str) -> Result<(TcpListener, SocketAddr), ListenError> {
    let (listener, bound) = bind(address, flag)?;
    let listener = TcpListener::from_std(listener).map_err(|reason| ListenError { flag, address, reason })?;
    Ok((listener, bound))
}

/// Used tickets that are remembered at a time: as many as 50,000 players bring in ten minutes of coming and going.
const MAX_USED_TICKETS: usize = 1_000_000;
/// How long links have to say goodbye.
const LINK_WAIT: Duration = Duration::from_millis(2_500);
/// How long what is left has to end.
const TASK_WAIT: Duration = Duration::from_secs(2);
