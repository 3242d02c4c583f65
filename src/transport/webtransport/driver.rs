//! The one thread that drives QUIC: all of its packets, timers and connections.
//!
//! Owns: the UDP socket, the endpoint, the table of connections, when to work and when to sleep. Must not know: what a
//! connection is for.
//!
//! It works in rounds: receive what has come, take what other threads left, serve the timers that are due, and then
//! look once at every connection that any of it has touched. While many play (`transport/pace.rs`), rounds begin
//! a millisecond apart, so that the snapshots and the inputs of many links share one round, and nobody has to wake the thread;
//! so does the one behind a snapshot, since those of a whole session come together. Else, and when a round finds nothing to do, the
//! thread sleeps until a packet, a letter or a timer: who is on the way in waits for no clock.

use std::io::{self, ErrorKind, IoSliceMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use quinn_proto::{ConnectionHandle, DatagramEvent, EcnCodepoint, Endpoint, EndpointConfig, Incoming, ServerConfig};
use quinn_proto::{EndpointEvent, Transmit};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};

use super::mailbox::{Command, Letters, Mailbox, PeerId};
use super::peer::{House, Peer, Stage, canonical};
use crate::transport::pace::Pace;
use crate::transport::timers::Timers;
use crate::wire::Code;

/// The socket and QUIC above it.
pub(super) struct Driver {
    wire: Wire,
    endpoint: Endpoint,
    mailbox: Arc<Mailbox>,
    letters: Letters,
    /// By the endpoint's own handles.
    peers: Vec<Option<Box<Peer>>>,
    serials: u64,
    timers: Timers,
    pace: Pace,
    /// Connections to look at in this round.
    touched: Vec<usize>,
    /// Connections whose request has not come.
    handshakes: usize,
    /// Since when it is stopping, and whether everybody was cut off.
    stopping: Option<(Instant, bool)>,
}

/// What came in one round.
#[derive(Default)]
struct Received {
    batches: usize,
    packets: usize,
    /// Packets of those who play.
    spoke: usize,
}

/// The socket, and what it did not take.
struct Wire {
    poll: Poll,
    events: Events,
    socket: UdpSocket,
    state: UdpSocketState,
    received: Vec<u8>,
    /// Room for packets that are being built.
    scratch: Vec<u8>,
    /// A packet that the kernel has no room for. Nothing else is built until it has gone.
    stuck: Option<(Transmit, Vec<u8>)>,
}

impl Driver {
    /// Takes a bound socket. The mailbox is where to leave word.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn new(socket: std::net::UdpSocket, server: ServerConfig) -> io::Result<(Self, Arc<Mailbox>)> {
        let poll = Poll::new()?;
        let mailbox = Arc::new(Mailbox::new(Waker::new(poll.registry(), WAKER)?));
        socket.set_nonblocking(true)?;
        let mut socket = UdpSocket::from_std(socket);
        poll.registry().register(&mut socket, SOCKET, Interest::READABLE)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), Some(Arc::new(server)), false, None);
        let received = vec![0; BATCH_SIZE * BUFFER_BYTES.min(PACKET_BYTES * state.gro_segments())];
        let wire = Wire {
            poll,
            events: Events::with_capacity(8),
            socket,
            state,
            received,
            scratch: Vec::with_capacity(BUFFER_BYTES),
            stuck: None,
        };
        let driver = Self {
            wire,
            endpoint,
            mailbox: Arc::clone(&mailbox),
            letters: Letters::default(),
            peers: Vec::new(),
            serials: 0,
            timers: Timers::default(),
            pace: Pace::default(),
            touched: Vec::new(),
            handshakes: 0,
            stopping: None,
        };
        Ok((driver, mailbox))
    }

    /// Works until it is told to stop and the last connection is gone.
    ///
    /// # Errors
    /// When the system's poll fails; the socket is of no use then.
    pub(super) fn run(mut self, house: &House) -> io::Result<()> {
        loop {
            let now = clock();
            let Received { batches, packets, spoke } = self.receive(now, house);
            let snapshots = self.handle_letters(now, house);
            self.pace.note(spoke + snapshots, now);
            self.handle_timers(now, house);
            self.stop_late(now);
            self.settle(now, house);
            self.mailbox.set_open(self.endpoint.open_connections());
            if self.is_over(now) {
                return Ok(());
            }
            if batches == RECEIVE_AT_ONCE {
                continue;
            }
            let waits = snapshots > 0 || (packets > 0 && self.pace.is_timed());
            if (waits && self.handshakes < MANY_HANDSHAKES) || self.wire.stuck.is_some() {
                let round = if self.handshakes > 0 { ROUND_OPENING } else { ROUND };
                std::thread::sleep((now + round).saturating_duration_since(clock()));
            } else {
                self.sleep(now)?;
            }
        }
    }

    /// Sleeps until something comes. What has come before is seen by the next round in any case.
    fn sleep(&mut self, now: Instant) -> io::Result<()> {
        if !self.mailbox.fall_asleep() {
            return Ok(());
        }
        let stop = self.stopping.map(|(since, cut)| since + if cut { 2 * STOPPING } else { STOPPING });
        let next = [self.timers.next(), stop].into_iter().flatten().min();
        let patience = next.map(|at| at.saturating_duration_since(now));
        let woken = self.wire.poll.poll(&mut self.wire.events, patience);
        self.mailbox.rise();
        match woken {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes packets from the socket, a bounded number of batches.
    fn receive(&mut self, now: Instant, house: &House) -> Received {
        let buffer = self.wire.received.len() / BATCH_SIZE;
        let mut received = std::mem::take(&mut self.wire.received);
        let mut came = Received::default();
        while came.batches < RECEIVE_AT_ONCE {
            let mut meta = [RecvMeta::default(); BATCH_SIZE];
            let mut rooms = received.chunks_mut(buffer);
            let mut rooms: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()));
            let socket = UdpSockRef::from(&self.wire.socket);
            let count = match self.wire.state.recv(socket, &mut rooms, &mut meta) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    // What happened to an earlier packet (an unreachable peer) concerns nobody; the next round goes on.
                    tracing::debug!(%error, "receiving from UDP");
                    came.batches += 1;
                    break;
                }
            };
            came.batches += 1;
            for (meta, room) in meta.iter().zip(&rooms).take(count) {
                let bytes = room.get(..meta.len).unwrap_or_default();
                for packet in bytes.chunks(meta.stride.max(1)) {
                    came.packets += 1;
                    came.spoke += usize::from(self.handle_packet(now, meta, BytesMut::from(packet), house));
                }
            }
            if count < BATCH_SIZE / 2 {
                break;
            }
        }
        self.wire.received = received;
        came
    }

    /// Takes one packet; returns whether it is of somebody who plays.
    fn handle_packet(&mut self, now: Instant, meta: &RecvMeta, packet: BytesMut, house: &House) -> bool {
        let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
        let (endpoint, scratch) = (&mut self.endpoint, &mut self.wire.scratch);
        scratch.clear();
        let event = whole(|| endpoint.handle(now, meta.addr, meta.dst_ip, ecn, packet, scratch)).flatten();
        match event {
            None => {}
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(Some(peer)) = self.peers.get_mut(handle.0) {
                    work(peer, |peer| peer.quic.handle_event(event));
                    touch(&mut self.touched, peer);
                    return matches!(peer.stage, Stage::Live(_));
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.let_in(now, incoming, house),
            Some(DatagramEvent::Response(transmit)) => self.wire.answer(&transmit),
        }
        false
    }

    /// Decides what a first packet gets: a handshake, a Retry that proves its address, or a refusal.
    fn let_in(&mut self, now: Instant, incoming: Incoming, house: &House) {
        let scratch = &mut self.wire.scratch;
        scratch.clear();
        if self.handshakes >= HANDSHAKES || self.stopping.is_some() {
            let refusal = self.endpoint.refuse(incoming, scratch);
            return self.wire.answer(&refusal);
        }
        let mut pending = None;
        if incoming.remote_address_validated() {
            // An address that is proven can be held to its rate before the costly part. One that is not could be a
            // victim's.
            match house.admission.knock(canonical(incoming.remote_address())) {
                Ok(knocked) => pending = Some(knocked),
                Err(_) => {
                    let refusal = self.endpoint.refuse(incoming, scratch);
                    return self.wire.answer(&refusal);
                }
            }
        } else if self.handshakes >= HANDSHAKES_BEFORE_RETRY && incoming.may_retry() {
            // It fails only for an address that is proven.
            if let Ok(retry) = self.endpoint.retry(incoming, scratch) {
                self.wire.answer(&retry);
            }
            return;
        }
        let endpoint = &mut self.endpoint;
        match whole(|| endpoint.accept(incoming, now, scratch, None).map_err(|error| error.response)) {
            None => {}
            Some(Ok((handle, quic))) => {
                self.serials += 1;
                let id = PeerId { index: handle.0, serial: self.serials };
                let mut peer = Box::new(Peer::new(id, quic, pending, now, house));
                self.handshakes += 1;
                touch(&mut self.touched, &mut peer);
                if self.peers.len() <= handle.0 {
                    self.peers.resize_with(handle.0 + 1, || None);
                }
                if let Some(place) = self.peers.get_mut(handle.0) {
                    *place = Some(peer);
                }
            }
            Some(Err(Some(response))) => self.wire.answer(&response),
            Some(Err(None)) => {}
        }
    }

    /// Takes what other threads left; returns how many snapshots were among it.
    fn handle_letters(&mut self, now: Instant, house: &House) -> usize {
        let mut letters = std::mem::take(&mut self.letters);
        self.mailbox.collect(&mut letters);
        let mut snapshots = 0;
        for command in letters.commands.drain(..) {
            match command {
                Command::Serve(server) if self.stopping.is_none() => {
                    self.endpoint.set_server_config(Some(server));
                }
                Command::Serve(_) => {}
                Command::Judged(id, verdict) => {
                    if let Some(peer) = find(&mut self.peers, id) {
                        work(peer, |peer| peer.handle_verdict(verdict, now, house));
                        touch(&mut self.touched, peer);
                    }
                }
                Command::Stop => {
                    self.stopping.get_or_insert((now, false));
                    self.endpoint.set_server_config(None);
                }
            }
        }
        for id in letters.links.drain(..) {
            if let Some(peer) = find(&mut self.peers, id) {
                work(peer, |peer| peer.send(now));
                snapshots += usize::from(peer.ticked == Some(now));
                touch(&mut self.touched, peer);
            }
        }
        self.letters = letters;
        snapshots
    }

    fn handle_timers(&mut self, now: Instant, house: &House) {
        while let Some((at, index)) = self.timers.pop(now) {
            let Some(Some(peer)) = self.peers.get_mut(index) else { continue };
            if !peer.alarm.rings(at) {
                continue;
            }
            match peer.next_deadline() {
                Some(due) if due <= now => {
                    // Only QUIC knows which of its timers are due; all that are not stay.
                    work(peer, |peer| {
                        peer.quic.handle_timeout(now);
                        peer.handle_deadline(now, house);
                    });
                    touch(&mut self.touched, peer);
                }
                later => self.timers.set(index, &mut peer.alarm, later),
            }
        }
    }

    /// Cuts off whoever is still there when links have had their time to go.
    fn stop_late(&mut self, now: Instant) {
        let Some((since, cut)) = &mut self.stopping else { return };
        if *cut || now < *since + STOPPING {
            return;
        }
        *cut = true;
        for peer in self.peers.iter_mut().flatten() {
            peer.close(now, Code::Draining.number(), Code::Draining.slug());
            touch(&mut self.touched, peer);
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.stopping.is_some_and(|(since, _)| self.endpoint.open_connections() == 0 || now >= since + 2 * STOPPING)
    }

    /// Looks at every connection that was touched: what it learnt, what it sends, when it is to be called again.
    fn settle(&mut self, now: Instant, house: &House) {
        if !self.wire.unstick() {
            return;
        }
        let mut touched = std::mem::take(&mut self.touched);
        let mut settled = 0;
        for index in &touched {
            if self.wire.stuck.is_some() {
                break;
            }
            settled += 1;
            self.settle_one(*index, now, house);
        }
        touched.drain(..settled);
        self.touched = touched;
    }

    fn settle_one(&mut self, index: usize, now: Instant, house: &House) {
        let Some(Some(peer)) = self.peers.get_mut(index) else { return };
        peer.listed = false;
        let (wire, endpoint) = (&mut self.wire, &mut self.endpoint);
        work(peer, |peer| {
            peer.handle_events(now, house);
            if peer.behind {
                // With the peer's packet came acknowledgements, which may have made room.
                peer.send(now);
            }
            loop {
                wire.transmit(peer, now);
                let mut changed = false;
                while let Some(event) = peer.quic.poll_endpoint_events() {
                    if let Some(answer) = endpoint.handle_event(ConnectionHandle(index), event) {
                        peer.quic.handle_event(answer);
                        changed = true;
                    }
                }
                if !changed || wire.stuck.is_some() {
                    break;
                }
            }
        });
        if peer.was_opening && (peer.forgotten || !peer.is_opening()) {
            peer.was_opening = false;
            self.handshakes -= 1;
        }
        if peer.forgotten || peer.quic.is_drained() {
            if peer.forgotten {
                self.endpoint.handle_event(ConnectionHandle(index), EndpointEvent::drained());
            }
            if let Some(place) = self.peers.get_mut(index) {
                *place = None;
            }
            return;
        }
        if self.wire.stuck.is_some() {
            touch(&mut self.touched, peer);
        }
        let due = peer.next_deadline();
        self.timers.set(index, &mut peer.alarm, due);
    }
}

impl Wire {
    /// Sends all that a connection has to send now.
    fn transmit(&mut self, peer: &mut Peer, now: Instant) {
        for _ in 0..TRANSMITS_AT_ONCE {
            if self.stuck.is_some() {
                return;
            }
            self.scratch.clear();
            let most = peer.datagrams_allowed(self.state.max_gso_segments());
            if most == 0 {
                return;
            }
            let Some(transmit) = peer.quic.poll_transmit(now, most, &mut self.scratch) else { return };
            if !self.send(&transmit, &self.scratch) {
                self.stuck = Some((transmit, self.scratch.clone()));
            }
        }
    }

    /// Sends an answer of the endpoint's own, which nobody misses when the kernel has no room.
    fn answer(&self, transmit: &Transmit) {
        if self.stuck.is_none() {
            self.send(transmit, &self.scratch);
        }
    }

    /// Sends what was stuck; `false` when it still is.
    fn unstick(&mut self) -> bool {
        let Some((transmit, bytes)) = self.stuck.take() else {
            return true;
        };
        let sent = self.send(&transmit, &bytes);
        if !sent {
            self.stuck = Some((transmit, bytes));
        }
        sent
    }

    /// Whether the kernel had room. Other errors are losses, which QUIC knows to deal with.
    fn send(&self, transmit: &Transmit, bytes: &[u8]) -> bool {
        let packet = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents: bytes.get(..transmit.size).unwrap_or(bytes),
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        !matches!(
            self.state.send(UdpSockRef::from(&self.socket), &packet),
            Err(error) if error.kind() == ErrorKind::WouldBlock
        )
    }
}

/// The only place where time enters: quinn-proto takes the standard library's, and there is no runtime to hold it still.
#[allow(clippy::disallowed_methods)]
fn clock() -> Instant {
    Instant::now()
}

/// Does something for one connection. Should it panic, that is the end of this connection, and of no other.
fn work(peer: &mut Peer, work: impl FnOnce(&mut Peer)) {
    if !peer.forgotten && whole(|| work(peer)).is_none() {
        peer.forgotten = true;
    }
}

/// What comes out, unless it panics; the panic hook has logged it then. One thread serves everybody: what a stranger's
/// packet sets off in a library must not end it.
fn whole<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

fn touch(touched: &mut Vec<usize>, peer: &mut Peer) {
    if !std::mem::replace(&mut peer.listed, true) {
        touched.push(peer.id.index);
    }
}

fn find(peers: &mut [Option<Box<Peer>>], id: PeerId) -> Option<&mut Peer> {
    peers.get_mut(id.index)?.as_deref_mut().filter(|peer| peer.id == id)
}

/// Rounds begin this far apart while there is work.
const ROUND: Duration = Duration::from_millis(1);
/// And this far while somebody is on the way in: a handshake has five flights, and each waits for its round.
const ROUND_OPENING: Duration = Duration::from_micros(250);
/// With so many on the way in something has always come by the time a round is over, and to wait would only make them wait.
const MANY_HANDSHAKES: usize = 8;
/// Batches of packets before the connections get their turn.
const RECEIVE_AT_ONCE: usize = 32;
/// Packets, or trains of packets, that one connection may send at a time.
const TRANSMITS_AT_ONCE: usize = 32;
/// Room for one train of packets.
const BUFFER_BYTES: usize = 64 * 1024;
const PACKET_BYTES: usize = 1_500;
/// Handshakes at the same time, up to the request. Over it: CONNECTION_REFUSED.
const HANDSHAKES: usize = 1_024;
/// Handshakes at the same time before addresses must be proven by a Retry, which costs their owners a round trip.
const HANDSHAKES_BEFORE_RETRY: usize = 128;
/// How long links have to go when the listener stops, and once more to be told that the socket closed.
const STOPPING: Duration = Duration::from_secs(2);
const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);
