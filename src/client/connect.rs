//! Getting a link: both transports are raced to the door, and only the one that gets there shows the ticket.
//!
//! Owns: the [`Connector`], the race, the first exchange of a link. Must not know: what happens on the link afterwards.
//!
//! A ticket is good for one connection, so it must not travel twice. What is raced is therefore the way to the server
//! only: TCP (and TLS) for WebSocket; QUIC and a WebTransport session whose request carries no ticket for WebTransport.
//! The loser is dropped then. The winner shows the ticket: WebSocket in its upgrade request, WebTransport in `Hello`, the
//! first message on the control stream, which costs no round trip since the stream is opened at that moment anyway.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wtransport::config::DnsResolver;
use wtransport::endpoint::{ConnectOptions, endpoint_side};
use wtransport::{ClientConfig, Endpoint};

use super::error::{ConnectError, Refused};
use super::headers::Headers;
use super::link::{Link, LinkEnd, Transport};
use super::target::{Join, Target};
use super::tickets::TicketSource;
use super::trust::Trust;
use super::websocket::{self, Stream};
use super::webtransport::{WebTransportLink, connecting_error};
use super::{Client, Engine, http};
use crate::codec;
use crate::wire::{ClientMessage, PLAY_PATH, ResumePoint, ServerMessage, Welcome};

/// Which transports are tried, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportChoice {
    /// Both, raced; this one gets the head start.
    Any {
        /// The one that is tried first.
        prefer: Transport,
    },
    /// This one alone.
    Only(Transport),
}

impl Default for TransportChoice {
    fn default() -> Self {
        Self::Any { prefer: Transport::WebTransport }
    }
}

/// What a link is opened with. Its text never reaches a log.
pub(super) enum Credentials {
    Ticket(String),
    Resume(ResumePoint),
    /// The request's own headers.
    Headers,
}

/// How to connect. Cheap to clone: clones share one UDP socket and one TLS configuration, so that thousands of players
/// fit a process.
#[derive(Clone, Debug)]
pub struct Connector {
    url: String,
    tickets: TicketSource,
    headers: Headers,
    join: Join,
    choice: TransportChoice,
    head_start: Duration,
    deadline: Duration,
    give_up: Duration,
    trust: Trust,
    shared: Arc<Mutex<Shared>>,
}

/// What clones share once it is made.
#[derive(Default)]
struct Shared {
    quic: Option<Arc<Endpoint<endpoint_side::Client>>>,
    tls: Option<TlsConnector>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("quic", &self.quic.is_some()).field("tls", &self.tls.is_some()).finish()
    }
}

/// A way to the server that is open; no ticket has gone over it.
enum Door {
    WebSocket(Box<dyn Stream>),
    WebTransport(wtransport::Connection),
}

impl Connector {
    /// A connector to the server at `url`: `muster://HOST:PORT`, or the same with `http`, `https`, `ws`, `wss` (see
    /// [`Target::parse`]). Defaults: both transports with a head start for WebTransport, no lobby, [`Trust::Auto`].
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tickets: TicketSource::Fixed(String::new()),
            headers: Headers::default(),
            join: Join::Nowhere,
            choice: TransportChoice::default(),
            head_start: Duration::from_millis(250),
            deadline: Duration::from_secs(10),
            give_up: Duration::from_secs(120),
            trust: Trust::Auto,
            shared: Arc::default(),
        }
    }

    /// Takes tickets from `source`: a ticket, or [`TicketSource::from_fn`].
    #[must_use]
    pub fn ticket(mut self, source: impl Into<TicketSource>) -> Self {
        self.tickets = source.into();
        self
    }

    /// Sends a header with the request that opens a link, where the server lets its backend say who the player is (such as
    /// `Cookie: sessionid=...`). It travels only in place of a ticket: not beside one, and not when coming back to a place.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.add(name, value);
        if matches!(&self.tickets, TicketSource::Fixed(ticket) if ticket.is_empty()) {
            self.tickets = TicketSource::None;
        }
        self
    }

    /// Joins on arrival.
    #[must_use]
    pub fn join(mut self, join: Join) -> Self {
        self.join = join;
        self
    }

    /// Chooses the transports.
    #[must_use]
    pub fn transport(mut self, choice: TransportChoice) -> Self {
        self.choice = choice;
        self
    }

    /// How long the preferred transport is tried alone. Default 250 ms.
    #[must_use]
    pub fn head_start(mut self, head_start: Duration) -> Self {
        self.head_start = head_start;
        self
    }

    /// How long one attempt may take, from the first packet to Welcome. Default 10 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long a lost link is sought with new tickets after the grace, when the source has any. Default 2 minutes.
    #[must_use]
    pub fn give_up_after(mut self, give_up: Duration) -> Self {
        self.give_up = give_up;
        self
    }

    /// Chooses which certificates are believed.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self.shared = Arc::default();
        self
    }

    /// Believes the certificate with this SHA-256 hash alone. See [`Trust::Hashes`].
    #[must_use]
    pub fn certificate_hash(self, hash: [u8; 32]) -> Self {
        self.trust(Trust::Hashes(vec![hash]))
    }

    /// Believes what the system's certificate authorities have signed, on loopback too.
    #[must_use]
    pub fn trust_system_roots(self) -> Self {
        self.trust(Trust::System)
    }

    /// Connects, with one ticket; a task of its own then keeps the link.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing is tried again.
    ///
    /// # Cancel safety
    /// Dropping the future drops the attempt; the ticket may be used up.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        Ok(Client::spawn(self.connect_engine().await?))
    }

    /// Connects, with one ticket; the caller's own task keeps the link by calling [`Engine::next`].
    ///
    /// # Errors
    /// [`ConnectError`]; nothing is tried again.
    ///
    /// # Cancel safety
    /// As [`Self::connect`].
    pub async fn connect_engine(&self) -> Result<Engine, ConnectError> {
        let (link, welcome) = self.open(None, None).await?;
        Ok(Engine::new(self.clone(), link, welcome))
    }

    pub(super) fn has_more_tickets(&self) -> bool {
        self.tickets.is_renewable()
    }

    pub(super) fn patience(&self) -> Duration {
        self.give_up
    }

    /// Gets another ticket from the source.
    pub(super) async fn fresh_ticket(&self) -> Result<String, ConnectError> {
        let nothing =
            || ConnectError::NoTicket("the request's headers stand for one, and cannot be shown again".into());
        self.tickets.ticket().await?.ok_or_else(nothing)
    }

    /// Opens a link, up to its Welcome. `resume` comes back to a place; without it, a ticket is taken from the source.
    /// `prefer` is the transport that is known to get through.
    pub(super) async fn open(
        &self,
        resume: Option<ResumePoint>,
        prefer: Option<Transport>,
    ) -> Result<(Link, Welcome), ConnectError> {
        let target = Target::parse(&self.url)?;
        let credentials = match resume {
            Some(point) => Credentials::Resume(point),
            None => match self.tickets.ticket().await? {
                Some(ticket) => Credentials::Ticket(ticket),
                None if self.headers.is_empty() => return Err(ConnectError::NoTicket("and no header either".into())),
                None => Credentials::Headers,
            },
        };
        self.headers.checked()?;
        let choice = match (self.choice, prefer) {
            (TransportChoice::Any { .. }, Some(prefer)) => TransportChoice::Any { prefer },
            (choice, _) => choice,
        };
        match tokio::time::timeout(self.deadline, self.attempt(&target, &credentials, choice)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ConnectError::Timeout { address: target.authority(), after: self.deadline }),
        }
    }

    async fn attempt(
        &self,
        target: &Target,
        credentials: &Credentials,
        choice: TransportChoice,
    ) -> Result<(Link, Welcome), ConnectError> {
        let (door, other) = match choice {
            TransportChoice::Only(transport) => (self.reach(target, transport, credentials).await?, None),
            // The request for a WebTransport session shows the headers, so whoever races would arrive twice.
            TransportChoice::Any { prefer } if matches!(credentials, Credentials::Headers) => {
                let first = tokio::time::timeout(self.deadline / 3, self.reach(target, prefer, credentials)).await;
                match first {
                    Ok(Ok(door)) => (door, Some(prefer.other())),
                    Ok(Err(_)) | Err(_) => (self.reach(target, prefer.other(), credentials).await?, None),
                }
            }
            TransportChoice::Any { prefer } => {
                let door = self.race(target, prefer, credentials).await?;
                let other = door.transport().other();
                (door, Some(other))
            }
        };
        // Where another way is left, a door that opens on nothing must leave time for it.
        let patience = if other.is_some() { self.deadline / 2 } else { self.deadline };
        let entering = tokio::time::timeout(patience, self.enter(target, door, credentials)).await;
        let timed_out = |_| Err(ConnectError::Timeout { address: target.authority(), after: patience });
        match (entering.unwrap_or_else(timed_out), other) {
            (Err(error), Some(other)) if error.is_transport() => {
                let door = self.reach(target, other, credentials).await.map_err(|_| error.clone())?;
                // If the ticket was used up on the first way, the first error tells more than "used".
                self.enter(target, door, credentials).await.map_err(|second| match second {
                    ConnectError::Refused(refused) if refused.is(crate::wire::Code::TicketUsed) => error,
                    second => second,
                })
            }
            (outcome, _) => outcome,
        }
    }

    /// Tries both ways; the first that is open wins and the other is dropped.
    async fn race(&self, target: &Target, prefer: Transport, credentials: &Credentials) -> Result<Door, ConnectError> {
        let mut first = pin!(self.reach(target, prefer, credentials));
        let mut second = pin!(self.reach(target, prefer.other(), credentials));
        match tokio::time::timeout(self.head_start, &mut first).await {
            Ok(Ok(door)) => return Ok(door),
            Ok(Err(error)) => return last_way(second, error, more_telling).await,
            Err(_) => {}
        }
        tokio::select! {
            outcome = &mut first => match outcome {
                Ok(door) => Ok(door),
                Err(error) => last_way(second, error, more_telling).await,
            },
            outcome = &mut second => match outcome {
                Ok(door) => Ok(door),
                Err(error) => last_way(first, error, |second, first| more_telling(first, second)).await,
            },
        }
    }

    async fn reach(
        &self,
        target: &Target,
        transport: Transport,
        credentials: &Credentials,
    ) -> Result<Door, ConnectError> {
        match transport {
            Transport::WebSocket => self.reach_websocket(target).await.map(Door::WebSocket),
            Transport::WebTransport => self.reach_webtransport(target, credentials).await.map(Door::WebTransport),
        }
    }

    async fn reach_websocket(&self, target: &Target) -> Result<Box<dyn Stream>, ConnectError> {
        let unreachable = |why: std::io::Error| ConnectError::Unreachable {
            address: target.authority(),
            over: "WebSocket",
            why: why.to_string(),
        };
        let tcp = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        if !target.tls {
            return Ok(Box::new(tcp));
        }
        let failed = |why: String| ConnectError::Tls { address: target.authority(), why };
        let name = ServerName::try_from(target.host.clone()).map_err(|error| failed(error.to_string()))?;
        let tls = self.tls_connector().map_err(failed)?;
        let stream = tls.connect(name, tcp).await.map_err(|error| failed(error.to_string()))?;
        Ok(Box::new(stream))
    }

    fn tls_connector(&self) -> Result<TlsConnector, String> {
        let mut shared = self.shared.lock();
        if let Some(tls) = &shared.tls {
            return Ok(tls.clone());
        }
        let tls = TlsConnector::from(Arc::new(self.trust.tls_config(b"http/1.1")?));
        Ok(shared.tls.insert(tls).clone())
    }

    async fn reach_webtransport(
        &self,
        target: &Target,
        credentials: &Credentials,
    ) -> Result<wtransport::Connection, ConnectError> {
        let known = self.shared.lock().quic.is_some();
        match self.dial_quic(target, credentials).await {
            // A development server makes a new certificate now and then: ask for its hash again, once.
            Err(ConnectError::Tls { .. }) if known && self.trust == Trust::Auto => {
                self.shared.lock().quic = None;
                self.dial_quic(target, credentials).await
            }
            outcome => outcome,
        }
    }

    async fn dial_quic(
        &self,
        target: &Target,
        credentials: &Credentials,
    ) -> Result<wtransport::Connection, ConnectError> {
        let endpoint = self.quic_endpoint(target).await?;
        let url = format!("https://{}{PLAY_PATH}", target.authority());
        let options = match credentials {
            // The request is all there is: the wish goes with it.
            Credentials::Headers => {
                let query = if self.join == Join::Nowhere { String::new() } else { format!("?join={}", self.join) };
                let mut options = ConnectOptions::builder(url + &query);
                for (name, value) in self.headers.checked()? {
                    options = options.add_header(name, value.to_str().unwrap_or_default());
                }
                options.build()
            }
            Credentials::Ticket(_) | Credentials::Resume(_) => ConnectOptions::builder(url).build(),
        };
        let outcome = endpoint.connect(options).await;
        outcome.map_err(|error| connecting_error(error, target.authority()))
    }

    async fn quic_endpoint(&self, target: &Target) -> Result<Arc<Endpoint<endpoint_side::Client>>, ConnectError> {
        if let Some(endpoint) = &self.shared.lock().quic {
            return Ok(Arc::clone(endpoint));
        }
        let failed = |why: String| ConnectError::Tls { address: target.authority(), why };
        let unreachable = |why: std::io::Error| ConnectError::Unreachable {
            address: target.authority(),
            over: "WebTransport",
            why: why.to_string(),
        };
        let trust = match &self.trust {
            Trust::Auto if target.is_loopback() => match fetch_certificate_hash(target).await {
                Some(hash) => Trust::Hashes(vec![hash]),
                None => Trust::System,
            },
            trust => trust.clone(),
        };
        let tls = trust.tls_config(b"h3").map_err(failed)?;
        let found: Vec<_> =
            tokio::net::lookup_host((target.host.as_str(), target.port)).await.map_err(unreachable)?.collect();
        let ipv6 = found.iter().all(|address| address.is_ipv6());
        let config = ClientConfig::builder()
            .with_bind_socket(bind_udp(ipv6).map_err(unreachable)?)
            .with_custom_tls_and_transport(tls, transport_config())
            .dns_resolver(Family { ipv6 })
            .build();
        let endpoint = Arc::new(Endpoint::client(config).map_err(unreachable)?);
        if !(self.trust == Trust::Auto && trust == Trust::System && target.is_loopback()) {
            // A server that was not up yet could not tell its hash: ask it again next time.
            self.shared.lock().quic = Some(Arc::clone(&endpoint));
        }
        Ok(endpoint)
    }

    /// Shows the ticket at an open door, and waits for the answer.
    async fn enter(
        &self,
        target: &Target,
        door: Door,
        credentials: &Credentials,
    ) -> Result<(Link, Welcome), ConnectError> {
        let transport = door.transport();
        let ended = |end: LinkEnd| match end {
            LinkEnd::Closed(refused) => ConnectError::Refused(refused),
            LinkEnd::Broken(why) => {
                ConnectError::Unreachable { address: target.authority(), over: transport.as_str(), why }
            }
            LinkEnd::Violation(why) => ConnectError::Protocol { address: target.authority(), why: why.into() },
        };
        let mut link = match door {
            Door::WebSocket(stream) => {
                Link::WebSocket(websocket::upgrade(stream, target, &self.join, credentials, &self.headers).await?)
            }
            Door::WebTransport(connection) => {
                let link = WebTransportLink::open(connection).await.map_err(ended)?;
                let mut link = Link::WebTransport(Box::new(link));
                if let Some(hello) = self.hello(credentials) {
                    link.queue(&mut codec::encode(&hello));
                }
                link
            }
        };
        loop {
            let first = link.receive().await.map_err(ended)?;
            return match codec::decode(&first) {
                Ok(ServerMessage::Welcome(welcome)) => Ok((link, welcome)),
                Ok(ServerMessage::Goodbye(goodbye)) => Err(Refused::from(goodbye).into()),
                // A datagram may overtake the Welcome on its stream; the next snapshot is due soon.
                Ok(ServerMessage::Snapshot(_)) => continue,
                _ => Err(ended(LinkEnd::Violation("its first message is neither Welcome nor Goodbye"))),
            };
        }
    }

    /// What shows the credentials on a link whose request has not.
    fn hello(&self, credentials: &Credentials) -> Option<ClientMessage> {
        let join = self.join.to_string();
        match credentials {
            Credentials::Ticket(ticket) => Some(ClientMessage::Hello { ticket: ticket.clone(), join, resume: None }),
            Credentials::Resume(point) => {
                Some(ClientMessage::Hello { ticket: String::new(), join, resume: Some(point.clone()) })
            }
            Credentials::Headers => None,
        }
    }
}

/// Connects with the defaults: both transports raced, no lobby yet.
///
/// # Errors
/// [`ConnectError`] as [`Connector::connect`].
///
/// # Cancel safety
/// As [`Connector::connect`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use muster::client::{Event, connect};
///
/// let mut client = connect("muster://127.0.0.1:7777", "eyJ...").await?;
/// client.join("quick:arena").await?;
/// while let Some(event) = client.next().await {
///     if let Event::Snapshot(snapshot) = event {
///         println!("tick {}: {} bytes", snapshot.tick, snapshot.state.len());
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub async fn connect(url: &str, ticket: impl Into<TicketSource>) -> Result<Client, ConnectError> {
    Connector::new(url).ticket(ticket).connect().await
}

impl Door {
    fn transport(&self) -> Transport {
        match self {
            Self::WebSocket(_) => Transport::WebSocket,
            Self::WebTransport(_) => Transport::WebTransport,
        }
    }
}

/// Waits for the way that is left after the other one has failed, but not for long: a closed UDP port does not answer.
/// `choose` picks the error to show of the failed way's and this one's.
async fn last_way(
    way: impl Future<Output = Result<Door, ConnectError>>,
    failed: ConnectError,
    choose: fn(ConnectError, ConnectError) -> ConnectError,
) -> Result<Door, ConnectError> {
    match tokio::time::timeout(LONE_WAIT, way).await {
        Ok(outcome) => outcome.map_err(|error| choose(failed, error)),
        Err(_) => Err(failed),
    }
}

/// Of two errors, the one to show: a server that is there and says what is wrong beats one that was not reached; else
/// the preferred transport's, unless it timed out behind a closed UDP port while TCP was told the reason.
fn more_telling(preferred: ConnectError, other: ConnectError) -> ConnectError {
    match (&preferred, &other) {
        (ConnectError::Unreachable { over: "WebTransport", .. } | ConnectError::TurnedAway, _) => other,
        (ConnectError::Tls { .. }, ConnectError::Unreachable { .. }) => other,
        _ => preferred,
    }
}

/// Asks a development server on this machine for the hash of its certificate. A server that does not tell has another
/// kind of certificate: no error.
async fn fetch_certificate_hash(target: &Target) -> Option<[u8; 32]> {
    #[derive(serde::Deserialize)]
    struct Told {
        algorithm: String,
        value: String,
    }
    let body = http::get(target, "/v1/certificate-hash").await.ok()?;
    let told: Told = serde_json::from_slice(&body).ok()?;
    if told.algorithm != "sha-256" {
        return None;
    }
    STANDARD.decode(told.value).ok()?.try_into().ok()
}

/// A UDP socket with room for thousands of players, as far as the kernel grants it.
fn bind_udp(ipv6: bool) -> std::io::Result<std::net::UdpSocket> {
    let (domain, any): (_, std::net::IpAddr) = if ipv6 {
        (Domain::IPV6, std::net::Ipv6Addr::UNSPECIFIED.into())
    } else {
        (Domain::IPV4, std::net::Ipv4Addr::UNSPECIFIED.into())
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&std::net::SocketAddr::new(any, 0).into())?;
    let buffers = SockRef::from(&socket);
    // The kernel caps these at net.core.rmem_max and wmem_max; less is slower, not wrong.
    let _ = buffers.set_recv_buffer_size(UDP_BUFFER);
    let _ = buffers.set_send_buffer_size(UDP_BUFFER);
    Ok(socket.into())
}

fn transport_config() -> quinn::TransportConfig {
    let mut config = quinn::TransportConfig::default();
    config
        .max_idle_timeout(Some(quinn::VarInt::from_u32(20_000).into()))
        .stream_receive_window(quinn::VarInt::from_u32(64 * 1_024))
        .receive_window(quinn::VarInt::from_u32(256 * 1_024))
        .datagram_receive_buffer_size(Some(64 * 1_024))
        .datagram_send_buffer_size(16 * 1_024)
        // No packet of muster's needs more than the 1,200 bytes that every path carries, and a server takes probes for larger
        // ones apart byte by byte: they were a fifth of what a handshake cost it.
        .mtu_discovery_config(None);
    config
}

/// Resolves names to addresses of the family that the socket was bound for.
#[derive(Debug)]
struct Family {
    ipv6: bool,
}

impl DnsResolver for Family {
    fn resolve(&self, host: &str) -> Pin<Box<dyn wtransport::config::DnsLookupFuture>> {
        let (host, ipv6) = (host.to_owned(), self.ipv6);
        Box::pin(async move { Ok(tokio::net::lookup_host(host).await?.find(|address| address.is_ipv6() == ipv6)) })
    }
}

/// How long a way that says nothing is waited for once the other one is known to be closed.
const LONE_WAIT: Duration = Duration::from_secs(2);

/// Bytes asked of the kernel for each direction of the UDP socket.
const UDP_BUFFER: usize = 4 * 1_024 * 1_024;
