//! A real server in this process, tickets with any claims, and peers that speak bytes over either transport.
//!
//! A peer keeps the client's side of the protocol (counts, request numbers), and checks on the way what must always hold:
//! ticks of a session rise, and nothing follows a Goodbye.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, dead_code)]

pub mod games;
pub mod process;
pub mod trust;
pub mod watch;
pub mod websocket;
pub mod webtransport;

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster::codec;
use muster::config::{Config, Origin, Settings};
use muster::ids::{InputSeq, JoinCode, LobbyId, PlayerId, SessionTag, Tick};
use muster::limits::Limits;
use muster::metrics::Metrics;
use muster::outbox::Transport;
use muster::request::resume_text;
use muster::server::Server;
use muster::ticket::{Algorithm, Claims, KeyHint, Signer, TicketId, UnixSeconds, generate_key};
use muster::wire::*;
use serde_json::{Map, Value};

pub use websocket::{HttpAnswer, WsPeer};
pub use webtransport::WtPeer;

/// How long anything may take before a test gives up.
pub const SOON: Duration = Duration::from_secs(20);

pub const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::WebTransport];

/// The one page that may come.
pub const ORIGIN: &str = "https://game.example";

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("never happened: {what}"),
    }
}

/// A server on a free port, and the key that its tickets are signed with.
pub struct World {
    pub server: Server,
    pub signer: Signer,
    pub hash: [u8; 32],
    directory: PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A directory of its own for a test's files.
pub fn scratch() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("muster-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

impl World {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with_limits(change: impl Fn(&mut Limits)) -> Self {
        Self::with(|settings| change(&mut settings.limits)).await
    }

    pub async fn with(change: impl Fn(&mut Settings)) -> Self {
        Self::with_files(|_| {}, change).await
    }

    /// The directory of the server's files.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// As [`Self::with`], with more files in the directory where the keys are.
    pub async fn with_files(files: impl Fn(&std::path::Path), change: impl Fn(&mut Settings)) -> Self {
        muster::ticket::install_crypto();
        watch::watch_the_log();
        let directory = scratch();
        files(&directory);
        let key = generate_key(Algorithm::EdDsa).unwrap();
        let keys = directory.join("keys.json");
        std::fs::write(&keys, key.public.unwrap()).unwrap();
        let signer = Signer::from_text(&key.private, &KeyHint::default()).unwrap();
        for attempt in 0.. {
            let mut settings = Settings::dev_preset();
            settings.listen = "127.0.0.1:0".parse().unwrap();
            settings.tickets.keys = vec![keys.clone()];
            settings.origins.allowed = vec![Origin::parse(ORIGIN).unwrap()];
            // Nobody in these tests plays for a day, but a busy machine must not lose anybody's link.
            settings.limits.heartbeat = Duration::from_secs(60);
            settings.transport.socket_buffer = 1 << 18;
            change(&mut settings);
            match Server::start(Config::new(settings, true).unwrap(), games::registry()).await {
                Ok(server) => {
                    let hash = server.certificate_hash().unwrap();
                    return Self { server, signer, hash, directory };
                }
                // The port that was free in TCP may be somebody's in UDP.
                Err(error) => assert!(attempt < 20, "{error}"),
            }
        }
        unreachable!()
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn metrics(&self) -> &Metrics {
        self.server.hub().metrics()
    }

    pub fn ticket(&self, sub: &str) -> String {
        self.ticket_with(sub, &[])
    }

    /// A ticket with further claims, which may also replace the usual ones.
    pub fn ticket_with(&self, sub: &str, more: &[(&str, Value)]) -> String {
        let more: Map<String, Value> = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        mint(&self.signer, sub, more)
    }

    /// A player over a transport, with a ticket of its own; its Welcome has been read.
    pub async fn player(&self, transport: Transport, sub: &str, join: &str) -> Peer {
        let ticket = self.ticket(sub);
        self.arrive(transport, Opening { ticket: Some(&ticket), join, ..Opening::default() }).await
    }

    /// As [`Self::player`], with any opening that must be welcomed.
    pub async fn arrive(&self, transport: Transport, opening: Opening<'_>) -> Peer {
        let mut peer = self.open(transport, opening).await.expect("let in");
        peer.welcomed().await;
        peer
    }

    pub async fn open(&self, transport: Transport, opening: Opening<'_>) -> Result<Peer, HttpAnswer> {
        let link = match transport {
            Transport::WebSocket => Link::Ws(Box::new(WsPeer::open(self.address(), &opening).await?)),
            _ => match WtPeer::open(self.address(), self.hash, &opening).await {
                Ok(peer) => Link::Wt(Box::new(peer)),
                Err(status) => return Err(HttpAnswer { status, ..HttpAnswer::default() }),
            },
        };
        Ok(Peer::over(link))
    }

    /// Waits until something holds of the server.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        soon(what, async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// After everybody has gone nothing is left of anybody.
    pub async fn is_empty(&self) {
        self.until("nothing is left", |world| {
            let metrics = world.metrics();
            world.server.hub().links() == 0
                && [&metrics.players, &metrics.lobbies, &metrics.sessions, &metrics.pending_links]
                    .iter()
                    .all(|gauge| gauge.get() == 0)
                && Transport::ALL.iter().all(|transport| metrics.links.of(*transport).get() == 0)
        })
        .await;
    }

    pub fn figures(&self, code: Code) -> Figures {
        let metrics = self.metrics();
        Figures {
            refusals: metrics.refusals.of(code).get(),
            closes: metrics.closes.of(code).get(),
            sessions: metrics.sessions_allocated.get(),
            tickets: metrics.tickets_consumed.get(),
        }
    }
}

/// What a refusal must or must not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    pub refusals: u64,
    pub closes: u64,
    pub sessions: u64,
    pub tickets: u64,
}

#[allow(clippy::disallowed_methods)]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn mint(signer: &Signer, sub: &str, more: Map<String, Value>) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let claims = Claims {
        issuer: "muster".into(),
        audience: "muster".into(),
        player: sub.into(),
        ticket_id: TicketId::from_random(
            (u128::from(std::process::id()) << 64) | u128::from(NEXT.fetch_add(1, Ordering::Relaxed)),
        ),
        issued_at: UnixSeconds(now()),
        expires_at: UnixSeconds(now() + 120),
        more,
    };
    signer.mint(&claims).unwrap().reveal().to_owned()
}

/// How a peer asks to be let in.
#[derive(Clone, Debug, Default)]
pub struct Opening<'a> {
    pub ticket: Option<&'a str>,
    pub resume: Option<ResumePoint>,
    pub join: &'a str,
    /// A page's origin: the peer is a browser.
    pub origin: Option<&'a str>,
    /// What is offered in place of `muster.1`.
    pub protocols: Option<&'a str>,
}

impl Opening<'_> {
    /// The query, with the ticket in it for WebTransport.
    pub fn query(&self, with_ticket: bool) -> String {
        let mut parts = Vec::new();
        if !self.join.is_empty() {
            parts.push(format!("join={}", self.join));
        }
        if let Some(ticket) = self.ticket.filter(|_| with_ticket) {
            parts.push(format!("ticket={ticket}"));
        }
        if let Some(point) = &self.resume {
            parts.push(format!("resume={}", resume_text(point)));
        }
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }
}

/// What a peer hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Message(ServerMessage),
    /// The end, with the close code if there was one.
    End(Option<u16>),
}

pub enum Link {
    Ws(Box<WsPeer>),
    Wt(Box<WtPeer>),
}

/// One player's end of a link.
pub struct Peer {
    pub link: Link,
    pub welcome: Option<Welcome>,
    /// Numbered messages received since the arrival.
    pub received: u64,
    pub last_request: u32,
    pub seated: Option<Seated>,
    pub last_seq: u32,
    /// Every message as it came, but for Welcomes.
    pub raw: Vec<Vec<u8>>,
    newest: Option<(SessionTag, Tick)>,
    /// A new link begins with the newest snapshot, which the old one may have brought already.
    may_repeat: bool,
    waiting: VecDeque<ServerMessage>,
}

impl Peer {
    pub fn over(link: Link) -> Self {
        Self {
            link,
            welcome: None,
            received: 0,
            last_request: 0,
            seated: None,
            last_seq: 0,
            raw: Vec::new(),
            newest: None,
            may_repeat: false,
            waiting: VecDeque::new(),
        }
    }

    pub fn transport(&self) -> Transport {
        match &self.link {
            Link::Ws(_) => Transport::WebSocket,
            Link::Wt(_) => Transport::WebTransport,
        }
    }

    pub async fn say_bytes(&mut self, message: &[u8]) {
        match &mut self.link {
            Link::Ws(peer) => peer.frame(0x82, message).await,
            Link::Wt(peer) => peer.control(message).await,
        }
    }

    pub async fn say(&mut self, message: &ClientMessage) {
        self.say_bytes(&codec::encode(message)).await;
    }

    /// The next that is heard, in order; what was passed over before comes first.
    pub async fn next(&mut self) -> Heard {
        match self.waiting.pop_front() {
            Some(message) => Heard::Message(message),
            None => self.hear().await,
        }
    }

    async fn hear(&mut self) -> Heard {
        loop {
            let bytes = match &mut self.link {
                Link::Ws(peer) => peer.message().await,
                Link::Wt(peer) => peer.message().await,
            };
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(code) => return Heard::End(code),
            };
            let message: ServerMessage = codec::decode(&bytes).expect("a message of the protocol");
            match &message {
                ServerMessage::Welcome(welcome) => {
                    assert!(self.welcome.is_none(), "one Welcome for a link");
                    self.welcome = Some(welcome.clone());
                }
                ServerMessage::Snapshot(snapshot) => {
                    // A datagram may be late or overtake; a client drops it.
                    let fresh = match self.newest {
                        Some((tag, tick)) if tag == snapshot.tag => snapshot.tick > tick,
                        _ => true,
                    };
                    let repeats =
                        std::mem::take(&mut self.may_repeat) && self.newest == Some((snapshot.tag, snapshot.tick));
                    let overtaken = self.transport() == Transport::WebTransport;
                    assert!(fresh || repeats || overtaken, "{:?} {snapshot:?}", self.newest);
                    if !fresh {
                        continue;
                    }
                    self.newest = Some((snapshot.tag, snapshot.tick));
                }
                ServerMessage::Seated(seated) => {
                    self.last_seq = seated.last_input.0;
                    self.seated = Some(seated.clone());
                }
                _ => {}
            }
            self.received += u64::from(message.is_numbered());
            if !matches!(message, ServerMessage::Welcome(_)) {
                self.raw.push(bytes);
            }
            return Heard::Message(message);
        }
    }

    /// Waits for the first message that `pick` takes; the others, snapshots excepted, wait for later.
    pub async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(&ServerMessage) -> Option<T>) -> T {
        for at in 0..self.waiting.len() {
            if let Some(found) = pick(&self.waiting[at]) {
                self.waiting.remove(at);
                return found;
            }
        }
        soon(what, async {
            loop {
                match self.hear().await {
                    Heard::Message(message) => match pick(&message) {
                        Some(found) => return found,
                        None if matches!(message, ServerMessage::Snapshot(_)) => {}
                        None => self.waiting.push_back(message),
                    },
                    Heard::End(code) => {
                        panic!("waiting for {what}, the link ended with {code:?} behind {:?}", self.waiting)
                    }
                }
            }
        })
        .await
    }

    /// Reads the Welcome, which must come before anything numbered; takes its counts as a client does.
    pub async fn welcomed(&mut self) -> Welcome {
        let welcome = soon("a Welcome", async {
            loop {
                match self.hear().await {
                    Heard::Message(ServerMessage::Welcome(welcome)) => return welcome,
                    Heard::Message(ServerMessage::Snapshot(_)) if self.transport() == Transport::WebTransport => {}
                    other => panic!("not a Welcome first: {other:?}"),
                }
            }
        })
        .await;
        if welcome.outcome != ResumeOutcome::Resumed {
            self.received = welcome.counted;
        }
        self.last_request = welcome.last_request;
        welcome
    }

    /// Asks and waits for the answer.
    pub async fn request(&mut self, body: Request) -> Result<(), Refusal> {
        let id = self.ask(body).await;
        self.reply(id).await
    }

    /// Asks without waiting.
    pub async fn ask(&mut self, body: Request) -> u32 {
        self.last_request += 1;
        let id = self.last_request;
        self.say(&ClientMessage::Request { id, body }).await;
        id
    }

    pub async fn reply(&mut self, id: u32) -> Result<(), Refusal> {
        let refusal = self
            .until(&format!("the reply to {id}"), |message| match message {
                ServerMessage::Reply(reply) if reply.request == id => Some(reply.refusal.clone()),
                _ => None,
            })
            .await;
        refusal.map_or(Ok(()), Err)
    }

    pub async fn is_refused(&mut self, body: Request, code: Code, reason: &str) {
        let refusal = self.request(body.clone()).await.expect_err("refused");
        assert_eq!((refusal.code, refusal.reason.as_str()), (code.number(), reason), "{body:?}");
    }

    /// A round trip: everything that was said before has been handled.
    pub async fn ping(&mut self) -> u64 {
        let nonce = 0x5eed_0000 | (self.raw.len() as u32 & 0xffff);
        self.say(&ClientMessage::Ping { nonce, received: self.received }).await;
        self.until("a Pong", |message| match message {
            ServerMessage::Pong { nonce: back, server_time_us } if *back == nonce => Some(*server_time_us),
            _ => None,
        })
        .await
    }

    pub async fn lobby(&mut self, what: &str, holds: impl Fn(&LobbyView) -> bool) -> LobbyView {
        self.until(what, |message| match message {
            ServerMessage::Lobby(view) if holds(view) => Some(view.clone()),
            _ => None,
        })
        .await
    }

    pub async fn chat(&mut self) -> (PlayerId, String) {
        self.until("a line of chat", |message| match message {
            ServerMessage::Chat(line) => Some((line.player.clone(), line.text.clone())),
            _ => None,
        })
        .await
    }

    pub async fn seat(&mut self) -> Seated {
        self.until("a seat", |message| match message {
            ServerMessage::Seated(seated) => Some(seated.clone()),
            _ => None,
        })
        .await
    }

    pub async fn ended(&mut self) -> SessionEnded {
        self.until("the end of the session", |message| match message {
            ServerMessage::Ended(ended) => Some(ended.clone()),
            _ => None,
        })
        .await
    }

    /// A snapshot of the newest session for which something holds.
    pub async fn snapshot(&mut self, what: &str, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let tag = self.seated.as_ref().expect("seated").tag;
        self.until(what, |message| match message {
            ServerMessage::Snapshot(snapshot) if snapshot.tag == tag && holds(snapshot) => Some(snapshot.clone()),
            _ => None,
        })
        .await
    }

    /// Sends one input, on the way that its transport has for it; returns its number.
    pub async fn input(&mut self, data: u8) -> InputSeq {
        self.last_seq += 1;
        let seq = InputSeq(self.last_seq);
        self.inputs(&[(seq.0, &[data])]).await;
        seq
    }

    pub async fn inputs(&mut self, inputs: &[(u32, &[u8])]) {
        let inputs = inputs.iter().map(|(seq, data)| Input { seq: InputSeq(*seq), data: data.to_vec() }).collect();
        let tag = self.seated.as_ref().map(|seated| seated.tag);
        let seen = self.newest.filter(|(of, _)| Some(*of) == tag).map_or(Tick(0), |(_, tick)| tick);
        let mut bytes = Vec::new();
        encode_inputs(&Inputs { seen, inputs }, &mut bytes);
        match &mut self.link {
            Link::Ws(peer) => peer.frame(0x82, &bytes).await,
            Link::Wt(peer) => peer.datagram(&bytes),
        }
    }

    /// Sends an input and waits for the snapshot that tells it is applied; repeats it as datagrams may be lost.
    pub async fn input_is_applied(&mut self, data: u8) -> Snapshot {
        let seat = self.seated.as_ref().and_then(|seated| seated.seat).expect("a seat");
        let seq = self.input(data).await;
        soon("the input applied", async {
            loop {
                let snapshot = self.snapshot("a snapshot", |_| true).await;
                if snapshot.applied.iter().any(|(whose, newest)| *whose == seat && *newest >= seq) {
                    return snapshot;
                }
                if self.transport() == Transport::WebTransport {
                    self.inputs(&[(seq.0, &[data])]).await;
                }
            }
        })
        .await
    }

    /// Where this player would go on.
    pub fn resume_point(&self) -> ResumePoint {
        let token = self.welcome.as_ref().expect("welcomed").resume.clone();
        ResumePoint { token, received: self.received }
    }

    /// Expects Goodbye with the code and the reason, then the close with the same code, and nothing between.
    pub async fn is_told(&mut self, code: Code, reason: &str) -> Goodbye {
        let goodbye = soon(reason, async {
            loop {
                match self.next().await {
                    Heard::Message(ServerMessage::Goodbye(goodbye)) => return goodbye,
                    Heard::Message(_) => {}
                    Heard::End(end) => panic!("ended with {end:?} without a Goodbye; expected {code:?}"),
                }
            }
        })
        .await;
        assert_eq!((goodbye.code, goodbye.reason.as_str()), (code.number(), reason));
        self.is_closed(code).await;
        goodbye
    }

    /// Expects the close with the code, and no message before it but snapshots already under way.
    pub async fn is_closed(&mut self, code: Code) {
        let number = match (&self.link, code) {
            // RFC 9220 and the draft know no 1000: an orderly end is 0.
            (Link::Wt(_), Code::Left) => 0,
            _ => code.number(),
        };
        if let Link::Wt(peer) = &mut self.link {
            // Having read why, a client goes; the server need not wait for it.
            let _ = peer.send.finish().await;
        }
        soon("a close", async {
            loop {
                match self.next().await {
                    Heard::Message(ServerMessage::Snapshot(_)) if self.transport() == Transport::WebTransport => {}
                    Heard::Message(message) => panic!("{message:?} after the Goodbye"),
                    Heard::End(None) if matches!(&self.link, Link::Wt(peer) if peer.page) => return,
                    Heard::End(end) => return assert_eq!(end, Some(number)),
                }
            }
        })
        .await;
    }

    /// Cuts the link as a failing network would.
    pub fn cut(self) -> Memory {
        Memory::of(&self)
    }
}

/// What a client keeps of a link that is gone.
#[derive(Clone)]
pub struct Memory {
    pub point: ResumePoint,
    pub last_request: u32,
    pub seated: Option<Seated>,
    pub last_seq: u32,
    newest: Option<(SessionTag, Tick)>,
}

impl Memory {
    pub fn of(peer: &Peer) -> Self {
        Self {
            point: peer.resume_point(),
            last_request: peer.last_request,
            seated: peer.seated.clone(),
            last_seq: peer.last_seq,
            newest: peer.newest,
        }
    }
}

impl World {
    /// Comes back over a transport; the Welcome has been read.
    pub async fn resume(&self, transport: Transport, memory: Memory) -> Peer {
        let opening = Opening { resume: Some(memory.point.clone()), ..Opening::default() };
        let mut peer = self.open(transport, opening).await.expect("let in again");
        peer.received = memory.point.received;
        (peer.seated, peer.last_seq, peer.newest) = (memory.seated, memory.last_seq, memory.newest);
        peer.may_repeat = true;
        peer.welcomed().await;
        peer
    }

    /// Opens and expects to be refused: over HTTP for native WebSockets, else by Goodbye and close code.
    pub async fn is_refused(&self, transport: Transport, opening: Opening<'_>, code: Code, reason: &str) {
        match self.open(transport, opening).await {
            Ok(mut peer) => drop(peer.is_told(code, reason).await),
            Err(answer) => answer.is_problem(code, reason),
        }
    }
}

pub fn player(sub: &str) -> PlayerId {
    PlayerId::new(sub).unwrap()
}

pub fn lobby_wish(id: LobbyId) -> String {
    format!("lobby:{id}")
}

pub fn code_wish(code: JoinCode) -> String {
    format!("code:{code}")
}

/// A lobby of the tiny game.
pub fn spec(name: &str) -> LobbySpec {
    LobbySpec { game: "tiny".into(), name: name.into(), public: true, ..LobbySpec::default() }
}

/// Creates a lobby and returns how it looks.
pub async fn create(peer: &mut Peer, spec: LobbySpec) -> LobbyView {
    let name = spec.name.clone();
    peer.request(Request::Create(spec)).await.expect("created");
    peer.lobby("one's own lobby", |view| view.name == name).await
}
