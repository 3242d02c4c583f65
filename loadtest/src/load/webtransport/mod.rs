//! Players over WebTransport: one task each, on one thread, on wtransport itself.
//!
//! A player's link is opened step by step, so that QUIC's handshake and the ticket's way to a seat are measured apart.
//! Inputs go out from one pacer for all players, by schedule.

mod besides;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use muster::codec;
use muster::wire::{
    Assembler, ClientMessage, ControlReader, PLAY_PATH, ResumeOutcome, ResumePoint, ResumeToken, ServerMessage,
    put_control,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use tokio::time::sleep;
use wtransport::endpoint::endpoint_side;
use wtransport::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};

use super::revoke::{Revoker, Sent};
use super::tally::{Tally, Turn, Watch};
use super::{Behaviour, Plan, Seen, Shared, record};
use crate::clock::now_us;
use crate::fault::Fault;
use crate::game::PUSH;
use crate::{frames, tls};

/// Lets a group of players play until told to stop.
///
/// # Errors
/// [`Fault::Local`] when there is no socket, no runtime or no TLS to be had.
pub fn run(plan: &Plan, shared: &Arc<Shared>) -> Result<Seen, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Fault::local("a runtime", error))?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let endpoints = (0..SOCKETS).map(|_| endpoint(plan)).collect::<Result<Vec<_>, _>>()?;
        let crowd = Rc::new(Crowd {
            plan: plan.clone(),
            shared: Arc::clone(shared),
            endpoints,
            start: now_us(),
            tally: RefCell::new(Tally::new(plan.tick)),
            places: RefCell::new(vec![None; plan.players]),
            tickets: RefCell::new(vec![Default::default(); plan.players]),
            next_new: Cell::new(plan.first + plan.players as u64 * plan.stride),
            storms: Cell::new(0),
            opened: watch::Sender::new(false),
            beat: Cell::new(BEAT),
        });
        for index in 0..plan.players {
            tokio::task::spawn_local(live(Rc::clone(&crowd), index));
        }
        if let Behaviour::Forged(stay) = plan.behaviour {
            tokio::task::spawn_local(besides::forge(Rc::clone(&crowd), stay));
        }
        crowd.pace().await;
        let seen = std::mem::take(&mut crowd.tally.borrow_mut().seen);
        Ok(seen)
    })
}

/// A way in and out again, for those who only measure handshakes.
pub struct WebTransportDoor(Endpoint<endpoint_side::Client>);

impl WebTransportDoor {
    /// Makes a socket for it.
    ///
    /// # Errors
    /// [`Fault::Local`] when there is none.
    pub fn new(plan: &Plan) -> Result<Self, Fault> {
        endpoint(plan).map(Self)
    }

    /// In with a ticket, up to the seat, and out.
    ///
    /// # Errors
    /// What failed.
    pub async fn pass(&self, plan: &Plan, ticket: String) -> Result<(), String> {
        self.enter(plan, ticket).await.map_err(|end| match end {
            End::Failed(why) => why,
            End::Storm | End::Left | End::Revoked => "left".to_owned(),
        })
    }

    async fn enter(&self, plan: &Plan, ticket: String) -> Result<(), End> {
        let connection = self.0.connect(format!("https://{}{PLAY_PATH}", plan.authority)).await?;
        let (mut send, mut receive) = connection.open_bi().await?.await?;
        let hello = ClientMessage::Hello { ticket, join: format!("quick:{}", plan.game), resume: None };
        let mut framed = Vec::new();
        put_control(&codec::encode(&hello), &mut framed);
        send.write_all(&framed).await?;
        let mut reader = ControlReader::new(MOST);
        loop {
            while let Some(message) = reader.poll_message()? {
                match message.first() {
                    Some(&frames::SEATED) => {
                        connection.close(0u32.into(), b"");
                        return Ok(());
                    }
                    Some(&GOODBYE) => return Err(End::Failed("refused".into())),
                    _ => {}
                }
            }
            match receive.quic_stream_mut().read_chunk(CHUNK, true).await? {
                Some(chunk) => reader.handle_bytes(&chunk.bytes),
                None => return Err(End::Failed("the server hung up".into())),
            }
        }
    }
}

struct Crowd {
    plan: Plan,
    shared: Arc<Shared>,
    endpoints: Vec<Endpoint<endpoint_side::Client>>,
    start: u64,
    tally: RefCell<Tally>,
    /// Those who have a seat.
    places: RefCell<Vec<Option<Place>>>,
    /// What each place's player came with, where it is to be taken back: its number and the ticket.
    tickets: RefCell<Vec<(u64, String)>>,
    next_new: Cell<u64>,
    storms: Cell<u64>,
    /// Whether the window has been opened.
    opened: watch::Sender<bool>,
    /// How often each player says that it lives.
    beat: Cell<Duration>,
}

#[derive(Clone)]
struct Place {
    connection: Connection,
    watch: Watch,
    seq: u32,
    deaf: bool,
    /// When its ticket began to be taken back.
    revoked: Option<Sent>,
}

/// A player across its links.
struct Player {
    number: u64,
    resume: Option<ResumeToken>,
    received: u64,
    lost_at: u64,
    /// Its ticket was taken back, and is tried once more.
    retries: bool,
}

/// Why a link ended.
enum End {
    /// All links were to drop.
    Storm,
    /// The player left for good.
    Left,
    /// Its ticket was taken back, and it was told.
    Revoked,
    /// Something failed.
    Failed(String),
}

impl Player {
    fn new(number: u64) -> Self {
        Self { number, resume: None, received: 0, lost_at: 0, retries: false }
    }
}

impl<T: std::error::Error> From<T> for End {
    fn from(error: T) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A player's life: arrives on schedule, comes back after a storm, is followed by another when it leaves.
async fn live(crowd: Rc<Crowd>, index: usize) {
    let number = crowd.plan.first + index as u64 * crowd.plan.stride;
    let mut player = Player::new(number);
    let mut due = crowd.start + (index as f64 * 1e6 / crowd.plan.ramp) as u64;
    sleep(Duration::from_micros(due.saturating_sub(now_us()))).await;
    loop {
        let Err(end) = crowd.visit(&mut player, index, due).await;
        let was_seated = crowd.leave_place(index);
        due = now_us();
        match end {
            End::Storm => player.lost_at = due,
            End::Left => {
                crowd.tally.borrow_mut().seen.turnover += 1;
                player = Player::new(crowd.next_number());
            }
            End::Revoked => player.retries = true,
            End::Failed(why) if player.retries && why.starts_with("bad-ticket") => {
                crowd.tally.borrow_mut().seen.revoked_refused += 1;
                player = Player::new(crowd.next_number());
            }
            End::Failed(why) => {
                let mut tally = crowd.tally.borrow_mut();
                tally.seen.fail(why);
                if was_seated {
                    tally.seen.lost += 1;
                } else {
                    crowd.shared.failed.fetch_add(1, Ordering::Relaxed);
                }
                return;
            }
        }
    }
}

/// A link with its control stream.
struct Link {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    reader: ControlReader,
}

impl Crowd {
    /// One link from its opening to its end.
    async fn visit(&self, player: &mut Player, index: usize, due: u64) -> Result<std::convert::Infallible, End> {
        let resuming = player.lost_at > 0 && player.resume.is_some();
        let hello = match player.resume.take().filter(|_| resuming) {
            Some(token) => self.hello(String::new(), Some(ResumePoint { token, received: player.received })),
            None => self.hello(self.ticket(player, index), None),
        };
        let (mut link, asked, first) = self.ask_from(index, &hello, Some(due)).await?;
        match first {
            ServerMessage::Welcome(welcome) => {
                let now = now_us();
                self.shared.saw_clock(welcome.server_time_us, now);
                self.beat.set(Duration::from_millis(u64::from(welcome.heartbeat_ms) / 3).max(Duration::from_secs(1)));
                player.resume = Some(welcome.resume);
                if welcome.outcome != ResumeOutcome::Resumed {
                    player.received = welcome.counted;
                }
                let mut tally = self.tally.borrow_mut();
                if player.retries {
                    tally.seen.revoked_accepted += 1;
                }
                if resuming {
                    record(&mut tally.seen.back, now.saturating_sub(player.lost_at));
                } else {
                    let (open, flooded) = (tally.is_open(), self.shared.flood.load(Ordering::Relaxed));
                    tally.seen.welcomed(now.saturating_sub(asked), open, flooded);
                }
            }
            ServerMessage::Goodbye(goodbye) => {
                return Err(End::Failed(format!("{} ({})", goodbye.reason, goodbye.code)));
            }
            _ => return Err(End::Failed("neither Welcome nor Goodbye".into())),
        }
        player.lost_at = 0;
        if resuming {
            self.take_place(index, &link.connection, 0);
        }
        self.play(player, index, &mut link, asked).await
    }

    /// Listens, until the link ends.
    async fn play(
        &self,
        player: &mut Player,
        index: usize,
        link: &mut Link,
        asked: u64,
    ) -> Result<std::convert::Infallible, End> {
        let Link { connection, send, receive, reader } = link;
        let mut leaving = pin!(self.time_to_leave(player.number));
        let mut beat = pin!(sleep(self.beat.get()));
        let mut assembler = Assembler::default();
        let storms = self.storms.get();
        let mut open = true;
        let mut chunk = Box::pin(receive.quic_stream_mut().read_chunk(CHUNK, true));
        loop {
            tokio::select! {
                biased;
                datagram = connection.receive_datagram(), if open => {
                    if self.storms.get() != storms {
                        return Err(End::Storm);
                    }
                    let payload = match datagram {
                        Ok(datagram) => datagram.payload(),
                        Err(_) if self.was_revoked(index).is_some() => {
                            // What it was told before the end may wait to be read.
                            open = false;
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    };
                    let now = now_us();
                    if let Some(message) = payload.strip_prefix(&[WHOLE]) {
                        self.handle_snapshot(index, message, payload.len(), now);
                    } else if let Ok(Some(message)) = assembler.handle_datagram(payload) {
                        self.handle_snapshot(index, &message, message.len(), now);
                    }
                    if self.is_deaf(index) {
                        // It keeps its link and takes nothing from it any more.
                        pending::<()>().await;
                    }
                }
                read = &mut chunk => {
                    if self.storms.get() != storms {
                        return Err(End::Storm);
                    }
                    let Some(read) = read? else { return Err(End::Failed("the server hung up".into())) };
                    reader.handle_bytes(&read.bytes);
                    while let Some(message) = reader.poll_message()? {
                        let message = codec::decode::<ServerMessage>(&message)?;
                        self.handle_message(player, index, connection, message, asked)?;
                    }
                    drop(chunk);
                    chunk = Box::pin(receive.quic_stream_mut().read_chunk(CHUNK, true));
                }
                () = &mut beat => {
                    let ping = ClientMessage::Ping { nonce: 1, received: player.received };
                    let mut framed = Vec::new();
                    put_control(&codec::encode(&ping), &mut framed);
                    send.write_all(&framed).await?;
                    beat.set(sleep(self.beat.get()));
                }
                () = &mut leaving => {
                    let mut framed = Vec::new();
                    put_control(&codec::encode(&ClientMessage::Bye), &mut framed);
                    // Nothing is due for it any more.
                    self.leave_place(index);
                    send.write_all(&framed).await?;
                    // As the client does it: the server closes once it has read all. A second is more than it needs.
                    let _ = send.finish().await;
                    let _ = tokio::time::timeout(Duration::from_secs(1), connection.closed()).await;
                    return Err(End::Left);
                }
            }
        }
    }

    fn handle_snapshot(&self, index: usize, message: &[u8], length: usize, now: u64) {
        let Some(head) = frames::snapshot_head(message) else { return };
        let mut tally = self.tally.borrow_mut();
        if tally.is_open() {
            tally.seen.bytes_in += length as u64;
        }
        if let Some(Some(place)) = self.places.borrow_mut().get_mut(index) {
            tally.snapshot(&mut place.watch, head, &self.shared, now);
        }
    }

    fn handle_message(
        &self,
        player: &mut Player,
        index: usize,
        connection: &Connection,
        message: ServerMessage,
        asked: u64,
    ) -> Result<(), End> {
        let now = now_us();
        match message {
            ServerMessage::Goodbye(goodbye) => {
                if let Some(sent) = self.was_revoked(index).filter(|_| goodbye.reason == "revoked") {
                    let mut tally = self.tally.borrow_mut();
                    // Once the window is closed it has been counted among those who were not told.
                    if tally.is_open() {
                        tally.seen.told_revoked(&sent, now);
                    }
                    return Err(End::Revoked);
                }
                return Err(End::Failed(format!("{} ({})", goodbye.reason, goodbye.code)));
            }
            ServerMessage::Pong { server_time_us, .. } => self.shared.saw_clock(server_time_us, now),
            // One too large for datagrams.
            ServerMessage::Snapshot(snapshot) => {
                let head = frames::SnapshotHead { tick: snapshot.tick.0, time_us: snapshot.time_us };
                if let Some(Some(place)) = self.places.borrow_mut().get_mut(index) {
                    self.tally.borrow_mut().snapshot(&mut place.watch, head, &self.shared, now);
                }
            }
            message => {
                player.received += u64::from(message.is_numbered());
                if let ServerMessage::Seated(seated) = message
                    && self.take_place(index, connection, seated.last_input.0)
                {
                    record(&mut self.tally.borrow_mut().seen.seat, now.saturating_sub(asked));
                }
            }
        }
        Ok(())
    }

    /// Opens a link, shows what is to be shown, and hears the first word.
    async fn ask(&self, index: usize, hello: &[u8]) -> Result<(Link, u64, ServerMessage), End> {
        self.ask_from(index, hello, None).await
    }

    async fn ask_from(&self, index: usize, hello: &[u8], due: Option<u64>) -> Result<(Link, u64, ServerMessage), End> {
        let Some(endpoint) = self.endpoints.get(index % SOCKETS) else { return Err(End::Failed("no socket".into())) };
        let connection = endpoint.connect(format!("https://{}{PLAY_PATH}", self.plan.authority)).await?;
        if let Some(due) = due {
            record(&mut self.tally.borrow_mut().seen.connect, now_us().saturating_sub(due));
        }
        let (mut send, mut receive) = connection.open_bi().await?.await?;
        let asked = now_us();
        send.write_all(hello).await?;
        let mut reader = ControlReader::new(MOST);
        loop {
            if let Some(first) = reader.poll_message()? {
                let first = codec::decode::<ServerMessage>(&first)?;
                return Ok((Link { connection, send, receive, reader }, asked, first));
            }
            match receive.quic_stream_mut().read_chunk(CHUNK, true).await? {
                Some(chunk) => reader.handle_bytes(&chunk.bytes),
                None => return Err(End::Failed("the server hung up".into())),
            }
        }
    }

    fn hello(&self, ticket: String, resume: Option<ResumePoint>) -> Vec<u8> {
        let join = if resume.is_some() { String::new() } else { format!("quick:{}", self.plan.game) };
        let mut framed = Vec::new();
        put_control(&codec::encode(&ClientMessage::Hello { ticket, join, resume }), &mut framed);
        framed
    }

    /// Returns whether the seat is new.
    fn take_place(&self, index: usize, connection: &Connection, seq: u32) -> bool {
        let mut places = self.places.borrow_mut();
        let Some(place) = places.get_mut(index) else { return false };
        if let Some(place) = place {
            place.seq = place.seq.max(seq);
            return false;
        }
        let deaf = matches!(self.plan.behaviour, Behaviour::Slow(one_in) if index.is_multiple_of(one_in));
        let mut watch = Watch::default();
        if !deaf && !self.plan.behaviour.replaces_revoked(&self.tally.borrow()) {
            self.tally.borrow().start(&mut watch, now_us());
        }
        *place = Some(Place { connection: connection.clone(), watch, seq, deaf, revoked: None });
        self.shared.seated.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn leave_place(&self, index: usize) -> bool {
        let place = self.places.borrow_mut().get_mut(index).and_then(Option::take);
        let Some(mut place) = place else { return false };
        self.tally.borrow_mut().stop(&mut place.watch, now_us());
        self.shared.seated.fetch_sub(1, Ordering::Relaxed);
        true
    }

    fn is_deaf(&self, index: usize) -> bool {
        self.places.borrow().get(index).is_some_and(|place| place.as_ref().is_some_and(|place| place.deaf))
    }

    /// The number of somebody new.
    fn next_number(&self) -> u64 {
        self.next_new.replace(self.next_new.get() + self.plan.stride)
    }

    /// Sends everybody's inputs on schedule, and follows the watcher.
    async fn pace(&self) {
        let Plan { players, input_rate, ramp, .. } = self.plan;
        let rate = u64::from(input_rate) * players as u64;
        let from = self.start + (players as f64 * 1e6 / ramp) as u64;
        let mut turn = 0u64;
        let mut message = Vec::new();
        let mut revoker = None;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now = now_us();
            match self.follow(now) {
                Turn::Opened => revoker = self.revoker(now),
                Turn::Closed => revoker.take().iter().for_each(|revoker| self.end_revocations(revoker, now)),
                Turn::Same => revoker.iter_mut().for_each(|revoker| self.follow_revocations(revoker, now)),
            }
            while rate > 0 && from + turn * 1_000_000 / rate <= now {
                self.send_input((turn % players as u64) as usize, &mut message);
                turn += 1;
            }
            let next = (turn * 1_000_000).checked_div(rate).map_or(u64::MAX, |after| from + after);
            let next = next.min(revoker.as_ref().map_or(u64::MAX, Revoker::next_at));
            let wait = next.saturating_sub(now_us()).clamp(500, 10_000);
            sleep(Duration::from_micros(wait)).await;
        }
        let now = now_us();
        self.follow(now);
        revoker.iter().for_each(|revoker| self.end_revocations(revoker, now));
    }

    fn follow(&self, now: u64) -> Turn {
        let mut tally = self.tally.borrow_mut();
        let turn = tally.follow(&self.shared, now);
        if turn == Turn::Opened {
            self.opened.send_replace(true);
        }
        if turn != Turn::Same {
            for place in self.places.borrow_mut().iter_mut().flatten().filter(|place| !place.deaf) {
                match turn {
                    Turn::Opened => tally.start(&mut place.watch, now),
                    _ => tally.stop(&mut place.watch, now),
                }
            }
        }
        drop(tally);
        let storms = self.shared.storm.load(Ordering::Relaxed);
        if storms != self.storms.replace(storms) {
            for place in self.places.borrow().iter().flatten() {
                place.connection.close(0u32.into(), b"");
            }
        }
        turn
    }

    fn send_input(&self, index: usize, message: &mut Vec<u8>) {
        let mut places = self.places.borrow_mut();
        let Some(Some(place)) = places.get_mut(index) else { return };
        if place.deaf {
            return;
        }
        place.seq += 1;
        message.clear();
        message.push(WHOLE);
        frames::put_input(place.watch.tick, place.seq, &PUSH, message);
        let mut tally = self.tally.borrow_mut();
        if tally.is_open() {
            tally.seen.inputs += 1;
            tally.seen.bytes_out += message.len() as u64;
        }
        if place.connection.send_datagram(&*message).is_err() {
            tally.seen.inputs_shed += 1;
        }
    }
}

fn endpoint(plan: &Plan) -> Result<Endpoint<endpoint_side::Client>, Fault> {
    let failed = |error: std::io::Error| Fault::local("UDP", error);
    let tls = tls::client(plan.certificate, b"h3")?;
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_idle_timeout(Some(quinn::VarInt::from_u32(60_000).into()))
        .datagram_receive_buffer_size(Some(64 * 1_024))
        .datagram_send_buffer_size(16 * 1_024)
        // As muster's own client does.
        .mtu_discovery_config(None);
    let socket = bind(plan.address).map_err(failed)?;
    let config = ClientConfig::builder().with_bind_socket(socket).with_custom_tls_and_transport(tls, transport).build();
    Endpoint::client(config).map_err(failed)
}

fn bind(to: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: std::net::IpAddr = if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel caps these; what it grants is enough, or shows as snapshots that are missing.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&SocketAddr::new(any, 0).into())?;
    Ok(socket.into())
}

/// Sockets that the players share.
const SOCKETS: usize = 4;
const BUFFER: usize = 4 * 1_024 * 1_024;
/// The first byte of a datagram that holds a whole message.
const WHOLE: u8 = 0;
/// The number of the message Goodbye.
const GOODBYE: u8 = 1;
const CHUNK: usize = 16 * 1_024;
const MOST: usize = 1 << 20;
/// How often a player says that it lives, before the server has said how often it must.
const BEAT: Duration = Duration::from_secs(5);
