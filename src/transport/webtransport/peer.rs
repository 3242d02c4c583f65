//! One connection, from the handshake to the close.
//!
//! Owns: which step of its life it is in, what each of QUIC's events means there, the deadline of each step. Must not
//! know: sockets, other connections, what makes a ticket valid, what a message says.
//!
//! Nothing here waits. A connection that is told something takes it as far as it goes, and says by
//! [`Peer::next_deadline`] when it wants to be called if nothing comes. A live link is `live`'s.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::{Connection, Dir, Event, StreamEvent, StreamId, VarInt};
use tokio::runtime::Handle;
use tracing::debug;

use super::h3::{self, BadHttp};
use super::link::Link;
use super::live::Live;
use super::mailbox::{Command, Farewell, Mailbox, PeerId};
use super::request::Request;
use super::streams::{self, Read, Writer};
use crate::admission::{Admission, Pending};
use crate::hub::{Attached, Place};
use crate::outbox::{Outlet, Transport};
use crate::request::OpenRequest;
use crate::transport::at_once;
use crate::transport::timers::Alarm;
use crate::wire::{Code, ControlReader};

/// What every connection shares.
pub(super) struct House {
    pub(super) admission: Admission,
    pub(super) mailbox: Arc<Mailbox>,
    /// Where admission runs: a directory may be far away.
    pub(super) runtime: Handle,
}

/// One connection.
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) quic: Connection,
    pub(super) alarm: Alarm,
    /// Whether the driver has it in its list.
    pub(super) listed: bool,
    /// Whether it is to be forgotten without a word: work on it panicked, or its address proved nothing in its time.
    pub(super) forgotten: bool,
    /// Whether the driver counts it as a handshake.
    pub(super) was_opening: bool,
    pub(super) stage: Stage,
    pub(super) deadline: Option<Instant>,
    /// Counted against its address until it is admitted or gone.
    pending: Option<Pending>,
    /// The server's HTTP/3 control stream, which lives as long as the connection.
    settings: Option<StreamId>,
    settings_writer: Writer,
    /// The stream of the request and of its answer, which is the session.
    request: Option<StreamId>,
    answer: Writer,
    browser: bool,
    /// HTTP/3's own streams of the peer: nothing is learnt from them, but stopping one would end the connection.
    kept: Vec<(StreamId, Kind)>,
    pub(super) control: Option<StreamId>,
    pub(super) writer: Writer,
    pub(super) link: Option<Arc<Link>>,
    /// Whether a snapshot waits for room.
    pub(super) behind: bool,
    /// When a snapshot went out last.
    pub(super) ticked: Option<Instant>,
}

/// The step of a connection's life.
pub(super) enum Stage {
    /// QUIC and TLS.
    Handshake,
    /// The request is under way; it will be refused with the code, if there is one.
    Request { refused: Option<Code>, head: BytesMut },
    /// The request got a status; the peer has not acknowledged it yet.
    Refused,
    /// The session is open; the control stream or the verdict is missing.
    Opening(Box<Opening>),
    /// A player's link.
    Live(Live),
    /// The Goodbye is under way. The hub counts the link until QUIC has all of it.
    Farewell { _counted: Option<Attached> },
    /// The peer has time to read the Goodbye and to go by itself.
    Lingering,
    /// A browser is told the code by a capsule.
    Capsule(Code),
    /// All that is left is QUIC's.
    Closed,
}

/// A session between the answer to its request and its first message.
pub(super) struct Opening {
    control: Control,
    asked: Asked,
}

enum Control {
    Head(BytesMut),
    Open(ControlReader),
}

enum Asked {
    /// The ticket comes by the first message.
    Hello(Box<OpenRequest>),
    /// Admission is at it.
    Judging,
    Judged(Result<Place, Farewell>),
}

/// What kind of stream a unidirectional one is, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unread,
    /// The first byte of [`WEBTRANSPORT_UNI`] was read.
    Half,
    Known,
}

impl Peer {
    pub(super) fn new(id: PeerId, quic: Connection, pending: Option<Pending>, now: Instant, house: &House) -> Self {
        Self {
            id,
            quic,
            alarm: Alarm::default(),
            listed: false,
            forgotten: false,
            was_opening: true,
            stage: Stage::Handshake,
            deadline: Some(now + house.admission.limits().handshake),
            pending,
            settings: None,
            settings_writer: Writer::default(),
            request: None,
            answer: Writer::default(),
            browser: false,
            kept: Vec::new(),
            control: None,
            writer: Writer::default(),
            link: None,
            behind: false,
            ticked: None,
        }
    }

    /// How many datagrams it may be sent at once, up to `most`. An address that has proven nothing gets no more than
    /// three times its bytes (RFC 9000 8.1); QUIC's own count lets one datagram through that goes over it.
    pub(super) fn datagrams_allowed(&self, most: usize) -> usize {
        if !self.is_unproven() {
            return most;
        }
        let stats = self.quic.stats();
        // Its first packet is in no statistic. It is as long as this, or nobody would have looked at it.
        let received = FIRST_PACKET + stats.udp_rx.bytes;
        let left = (3 * received).saturating_sub(stats.udp_tx.bytes) / DATAGRAM;
        most.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Whether its address may be a victim's: it came without a proof, and the handshake is not done.
    fn is_unproven(&self) -> bool {
        matches!(self.stage, Stage::Handshake) && self.pending.is_none()
    }

    /// Whether it counts as a handshake: nothing was asked for yet.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Handshake | Stage::Request { .. })
    }

    /// When it wants to be called at the latest.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        let quic = self.quic.poll_timeout();
        // A link whose snapshots come in a steady beat needs no timer in between: what QUIC has to say (mostly that
        // something arrived) rides on the next snapshot. See `tuning::MAX_ACK_DELAY` for why the peer is at ease.
        let quic = match self.ticked {
            Some(ticked) => quic.map(|at| if at < ticked + BEAT { at + SLACK } else { at }),
            None => quic,
        };
        match (quic, self.deadline) {
            (Some(quic), Some(own)) => Some(quic.min(own)),
            (quic, own) => quic.or(own),
        }
    }

    /// Takes what QUIC has learnt from packets and timers.
    pub(super) fn handle_events(&mut self, now: Instant, house: &House) {
        while let Some(event) = self.quic.poll() {
            match event {
                Event::HandshakeDataReady | Event::DatagramsUnblocked => {}
                Event::Connected => self.handle_connected(now, house),
                Event::ConnectionLost { reason } => {
                    debug!(peer = %self.quic.remote_address(), %reason, "connection lost");
                    self.lose();
                }
                Event::DatagramReceived => self.read_datagrams(now),
                Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => self.accept_two_way(now, house),
                Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => self.accept_one_way(),
                Event::Stream(StreamEvent::Readable { id }) => self.handle_readable(id, now, house),
                Event::Stream(StreamEvent::Finished { id } | StreamEvent::Stopped { id, .. }) => {
                    self.handle_finished(id, now);
                }
                Event::Stream(StreamEvent::Available { .. }) => self.send_settings(),
                Event::Stream(StreamEvent::Writable { id }) => self.handle_writable(id, now),
            }
        }
    }

    /// Takes what admission decided.
    pub(super) fn handle_verdict(&mut self, verdict: Result<Place, Farewell>, now: Instant, house: &House) {
        if let Stage::Opening(opening) = &mut self.stage {
            opening.asked = Asked::Judged(verdict);
            self.advance(now, house);
        }
    }

    /// Does what is due when the step has taken too long.
    pub(super) fn handle_deadline(&mut self, now: Instant, house: &House) {
        if self.deadline.is_none_or(|at| now < at) {
            return;
        }
        self.deadline = None;
        match &mut self.stage {
            Stage::Handshake | Stage::Request { .. } => {
                debug!(peer = %self.quic.remote_address(), "no request in time");
                self.close(now, H3_REQUEST_INCOMPLETE, "");
            }
            Stage::Refused => self.close(now, H3_NO_ERROR, ""),
            Stage::Opening(opening) => match (&opening.control, &opening.asked) {
                (Control::Open(_), Asked::Hello(asked)) => {
                    let refused = house.admission.refuse_link(asked.peer, Code::TicketTimeout);
                    opening.asked = Asked::Judged(Err((refused.code, refused.goodbye())));
                    self.advance(now, house);
                }
                (Control::Open(_), _) => {}
                (Control::Head(_), _) => self.give_up(Code::TicketTimeout, now, house),
            },
            Stage::Live(live) => match live.silent_at() {
                at if now < at => self.deadline = Some(at),
                _ => self.depart(now, Code::HeartbeatLost),
            },
            Stage::Farewell { .. } | Stage::Lingering => {
                let code = self.farewell();
                self.close_session(now, code);
            }
            Stage::Capsule(code) => {
                let code = *code;
                self.close(now, told(code), code.slug());
            }
            Stage::Closed => {}
        }
    }

    /// Ends the session with a code, after the capsule where the peer is a browser.
    pub(super) fn close_session(&mut self, now: Instant, code: Code) {
        debug!(peer = %self.quic.remote_address(), code = code.slug(), "link closed");
        if let (Some(stream), true) = (self.request, self.browser && !self.quic.is_closed()) {
            self.answer.push(h3::close_capsule(told(code), code.slug()));
            self.answer.finish();
            if self.answer.pump(&mut self.quic, stream).is_ok() {
                self.stage = Stage::Capsule(code);
                self.deadline = Some(now + PARTING);
                return;
            }
        }
        self.close(now, told(code), code.slug());
    }

    /// Closes the connection.
    pub(super) fn close(&mut self, now: Instant, code: impl Into<u32>, reason: &'static str) {
        if self.is_unproven() {
            // The address may be a victim's, and QUIC counts this packet on top of the three times that are allowed.
            self.forgotten = true;
        }
        let code = VarInt::from_u32(code.into());
        self.quic.close(now, code, Bytes::from_static(reason.as_bytes()));
        self.lose();
    }

    /// Lets go of all that only a connection that lives needs.
    fn lose(&mut self) {
        if let Some(link) = self.link.take() {
            link.lose();
        }
        self.stage = Stage::Closed;
        (self.deadline, self.pending, self.ticked) = (None, None, None);
        (self.answer, self.writer, self.settings_writer) = Default::default();
        (self.request, self.control) = (None, None);
        self.kept = Vec::new();
    }

    fn handle_connected(&mut self, now: Instant, house: &House) {
        if !matches!(self.stage, Stage::Handshake) {
            return;
        }
        let limits = house.admission.limits();
        let mut refused = None;
        if self.pending.is_none() {
            match house.admission.knock(self.address()) {
                Ok(pending) => self.pending = Some(pending),
                Err(code) => refused = Some(code),
            }
        }
        // Who is refused anyway gets its status, but no time to hold a handshake's slot.
        let patience = if refused.is_some() { limits.handshake.min(IMPATIENCE) } else { limits.handshake };
        self.deadline = Some(now + patience);
        self.stage = Stage::Request { refused, head: BytesMut::new() };
        self.settings_writer.push(h3::settings());
        self.send_settings();
        self.accept_two_way(now, house);
    }

    /// The peer may be slow to allow the stream or its bytes.
    fn send_settings(&mut self) {
        if self.settings.is_none() && !self.settings_writer.is_done() {
            self.settings = self.quic.streams().open(Dir::Uni);
        }
        if let Some(stream) = self.settings {
            // A peer that stops the stream has itself to blame.
            let _ = self.settings_writer.pump(&mut self.quic, stream);
        }
    }

    fn accept_two_way(&mut self, now: Instant, house: &House) {
        loop {
            let place = match &self.stage {
                Stage::Request { .. } if self.request.is_none() => Some(&mut self.request),
                Stage::Opening(_) if self.control.is_none() => Some(&mut self.control),
                // What is opened ahead of its time waits; QUIC bounds the number.
                Stage::Handshake | Stage::Request { .. } => return,
                _ => None,
            };
            let Some(stream) = self.quic.streams().accept(Dir::Bi) else { return };
            match place {
                Some(place) => {
                    *place = Some(stream);
                    self.handle_readable(stream, now, house);
                }
                None => streams::refuse(&mut self.quic, stream),
            }
        }
    }

    fn accept_one_way(&mut self) {
        while let Some(stream) = self.quic.streams().accept(Dir::Uni) {
            self.kept.push((stream, Kind::Unread));
            self.read_one_way(stream);
        }
    }

    fn handle_readable(&mut self, stream: StreamId, now: Instant, house: &House) {
        if Some(stream) == self.request {
            match &self.stage {
                Stage::Request { .. } => self.read_request(stream, now, house),
                // All that may come is a capsule, and the only one that matters is followed by the end of the stream.
                _ => {
                    if streams::skip(&mut self.quic, stream) == Read::End {
                        self.handle_end(now);
                    }
                }
            }
        } else if Some(stream) == self.control {
            match &self.stage {
                Stage::Opening(_) => self.read_opening(stream, now, house),
                Stage::Live(_) => self.read_control(stream, now),
                _ => {
                    if streams::skip(&mut self.quic, stream) == Read::End {
                        self.handle_end(now);
                    }
                }
            }
        } else {
            self.read_one_way(stream);
        }
    }

    fn handle_writable(&mut self, stream: StreamId, now: Instant) {
        if Some(stream) == self.control {
            self.send(now);
        } else if Some(stream) == self.request {
            // Whether it is stopped shows on the stream's other events.
            let _ = self.answer.pump(&mut self.quic, stream);
        } else {
            self.send_settings();
        }
    }

    /// A stream of the server was acknowledged to its end, or the peer takes no more of it.
    fn handle_finished(&mut self, stream: StreamId, now: Instant) {
        match self.stage {
            Stage::Refused if Some(stream) == self.request => self.close(now, H3_NO_ERROR, ""),
            Stage::Capsule(code) if Some(stream) == self.request => self.close(now, told(code), code.slug()),
            Stage::Live(_) | Stage::Farewell { .. } if Some(stream) == self.control => self.handle_end(now),
            _ => {}
        }
    }

    /// The peer has ended the session, in whichever way.
    pub(super) fn handle_end(&mut self, now: Instant) {
        match self.stage {
            Stage::Opening(_) | Stage::Live(_) | Stage::Farewell { .. } | Stage::Lingering => {
                let code = self.farewell();
                self.close_session(now, code);
            }
            _ => {}
        }
    }

    fn read_request(&mut self, stream: StreamId, now: Instant, house: &House) {
        let Stage::Request { head, .. } = &mut self.stage else { return };
        let end = streams::read(&mut self.quic, stream, |bytes| {
            head.extend_from_slice(bytes);
            ControlFlow::Continue(())
        });
        match h3::take_request(head) {
            Ok(Some(request)) => self.handle_request(stream, &Request::new(request), now, house),
            Ok(None) if end == Read::More => {}
            Ok(None) => self.refuse_http(now, BadHttp::Stream),
            Err(error) => self.refuse_http(now, error),
        }
    }

    fn refuse_http(&mut self, now: Instant, error: BadHttp) {
        debug!(peer = %self.quic.remote_address(), %error, "no request");
        self.close(now, error.number(), "");
    }

    fn handle_request(&mut self, stream: StreamId, request: &Request, now: Instant, house: &House) {
        let Stage::Request { refused, .. } = self.stage else { return };
        let (admission, peer) = (&house.admission, self.address());
        self.browser = request.is_browser();
        // Who was turned away at the knock has been counted there.
        if let Err(code) = request.check(peer, admission).and(refused.map_or(Ok(()), Err)) {
            self.answer.push(h3::answer(code.http_status(), None));
            self.answer.finish();
            self.stage = Stage::Refused;
            self.deadline = Some(now + PARTING);
        } else {
            let asked = request.read(peer, admission);
            let protocol = request.protocol(admission).filter(|_| asked.is_ok());
            self.answer.push(h3::answer(200, protocol));
            self.link = Some(Arc::new(Link::new(self.id, Arc::clone(&house.mailbox), admission.limits().queue_bytes)));
            let asked = match asked {
                Err(bad) => {
                    let refused = admission.refuse_request(peer, bad);
                    Asked::Judged(Err((refused.code, refused.goodbye())))
                }
                // The ticket is verified while the control stream is under way.
                Ok(asked) if asked.credentials.is_some() => judge(self.id, asked, house),
                Ok(asked) => Asked::Hello(Box::new(asked)),
            };
            self.stage = Stage::Opening(Box::new(Opening { control: Control::Head(BytesMut::new()), asked }));
            self.deadline = Some(now + admission.limits().first_message);
        }
        if self.answer.pump(&mut self.quic, stream).is_err() {
            return self.close(now, H3_NO_ERROR, "");
        }
        self.accept_two_way(now, house);
    }

    /// Reads the control stream up to what is needed now: its head, and the first message if that brings the ticket.
    fn read_opening(&mut self, stream: StreamId, now: Instant, house: &House) {
        let Stage::Opening(opening) = &mut self.stage else { return };
        let Opening { control, asked } = &mut **opening;
        if matches!((&*control, &*asked), (Control::Open(_), Asked::Judging | Asked::Judged(_))) {
            return;
        }
        let end = streams::read(&mut self.quic, stream, |bytes| {
            match control {
                Control::Head(head) => head.extend_from_slice(bytes),
                Control::Open(reader) => reader.handle_bytes(bytes),
            }
            ControlFlow::Continue(())
        });
        if let Control::Head(head) = control {
            match h3::take_stream_head(head) {
                Ok(Some(())) => {
                    let mut reader = ControlReader::new(house.admission.limits().message_bytes);
                    reader.handle_bytes(head);
                    *control = Control::Open(reader);
                }
                Ok(None) if end == Read::More => return,
                Ok(None) | Err(_) => return self.give_up(Code::ProtocolError, now, house),
            }
        }
        self.advance(now, house);
        if end == Read::End && matches!(self.stage, Stage::Opening(_)) {
            self.handle_end(now);
        }
    }

    /// Ends an opening that got no control stream. There is nowhere to say goodbye; the close code says it.
    fn give_up(&mut self, code: Code, now: Instant, house: &House) {
        debug!(peer = %self.quic.remote_address(), "no control stream");
        let code = match &self.stage {
            // Refused already for what it asked.
            Stage::Opening(opening) if let Asked::Judged(Err((code, _))) = &opening.asked => *code,
            _ => house.admission.refuse_link(self.address(), code).code,
        };
        self.close_session(now, code);
    }

    /// Goes on with the opening as far as it can be.
    fn advance(&mut self, now: Instant, house: &House) {
        let Stage::Opening(opening) = &mut self.stage else { return };
        let Opening { control: Control::Open(reader), asked } = &mut **opening else { return };
        if let Asked::Hello(request) = asked {
            let hello = match reader.poll_message() {
                Ok(None) => return,
                Ok(Some(message)) => house.admission.read_hello(request, &message),
                Err(_) => Err(Code::MessageTooBig),
            };
            match hello {
                Ok(complete) => *asked = judge(self.id, complete, house),
                Err(code) => {
                    let refused = house.admission.refuse_link(request.peer, code);
                    *asked = Asked::Judged(Err((refused.code, refused.goodbye())));
                }
            }
        }
        // From here on it waits for admission alone.
        self.deadline = None;
        let Stage::Opening(opening) = &self.stage else { return };
        if matches!(opening.asked, Asked::Judged(_))
            && let Stage::Opening(opening) = std::mem::replace(&mut self.stage, Stage::Closed)
        {
            self.open(*opening, now, house);
        }
    }

    fn open(&mut self, opening: Opening, now: Instant, house: &House) {
        let (Some(link), Some(control)) = (self.link.clone(), self.control) else { return };
        match opening {
            Opening { control: Control::Open(reader), asked: Asked::Judged(Ok(place)) } => {
                house.admission.hub().metrics().handshakes.of(Transport::WebTransport).inc();
                let attached = place.attach(link);
                self.pending = None;
                let live = Live::new(attached, reader, now, house.admission.limits().heartbeat);
                self.deadline = Some(live.silent_at());
                self.stage = Stage::Live(live);
                self.send(now);
                self.read_control(control, now);
            }
            Opening { asked: Asked::Judged(Err((code, goodbye))), .. } => {
                debug!(peer = %self.quic.remote_address(), code = code.slug(), "told goodbye");
                link.close(code, &goodbye);
                self.stage = Stage::Farewell { _counted: None };
                self.deadline = Some(now + LINGER);
                self.send(now);
            }
            Opening { .. } => self.close_session(now, Code::ProtocolError),
        }
    }

    /// Stops a unidirectional stream that belongs to the session; forgets what HTTP/3's own say.
    fn read_one_way(&mut self, stream: StreamId) {
        let Some(at) = self.kept.iter().position(|(kept, _)| *kept == stream) else { return };
        let Some((_, kind)) = self.kept.get_mut(at) else { return };
        let mut foreign = false;
        let end = streams::read(&mut self.quic, stream, |bytes| {
            for byte in bytes {
                *kind = match *kind {
                    Kind::Unread if *byte == WEBTRANSPORT_UNI[0] => Kind::Half,
                    Kind::Half if *byte == WEBTRANSPORT_UNI[1] => {
                        foreign = true;
                        return ControlFlow::Break(());
                    }
                    _ => Kind::Known,
                };
                if *kind == Kind::Known {
                    break;
                }
            }
            ControlFlow::Continue(())
        });
        if foreign {
            streams::refuse_one_way(&mut self.quic, stream);
        }
        if foreign || end == Read::End {
            self.kept.swap_remove(at);
        }
    }

    /// The code that the link was closed with.
    fn farewell(&self) -> Code {
        self.link.as_ref().and_then(|link| link.closed_with()).unwrap_or(Code::Left)
    }

    /// IPv4 as IPv4, whichever kind of socket it came through.
    fn address(&self) -> SocketAddr {
        canonical(self.quic.remote_address())
    }
}

/// Lets admission decide. Where it has to ask elsewhere, its verdict comes by the mailbox.
fn judge(id: PeerId, asked: OpenRequest, house: &House) -> Asked {
    let (admission, mailbox) = (house.admission.clone(), Arc::clone(&house.mailbox));
    let judging = async move { admission.admit(&asked).await.map_err(|refused| (refused.code, refused.goodbye())) };
    match at_once(judging) {
        Ok(verdict) => Asked::Judged(verdict),
        Err(judging) => {
            house.runtime.spawn(async move { mailbox.command(Command::Judged(id, judging.await)) });
            Asked::Judging
        }
    }
}

/// IPv4 as IPv4, whichever kind of socket it came through.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What the peer sees as a session's close code.
fn told(code: Code) -> u16 {
    if code == Code::Left { 0 } else { code.number() }
}

/// For the Goodbye to be written, and again for the peer to go.
pub(super) const LINGER: Duration = Duration::from_millis(500);
/// Bytes of a first packet, at least (RFC 9000 14.1), and of any datagram, at most: `tuning` looks for no larger ones.
const FIRST_PACKET: u64 = 1_200;
const DATAGRAM: u64 = 1_200;
/// How long a peer has to acknowledge the last thing it is told.
const PARTING: Duration = Duration::from_millis(250);
/// Time for the request of an address that is over its bounds.
const IMPATIENCE: Duration = Duration::from_millis(500);
/// Snapshots at least this often are a steady beat: ten a second, with some jitter.
const BEAT: Duration = Duration::from_millis(110);
/// How late QUIC's timers may be served in a steady beat: with the delay of acknowledgements, 25 ms, one tick at 20 Hz.
const SLACK: Duration = Duration::from_millis(30);
/// Stream type 0x54 as a varint of two bytes, as everybody writes it.
const WEBTRANSPORT_UNI: [u8; 2] = [0x40, 0x54];
const H3_NO_ERROR: u32 = 0x0100;
const H3_REQUEST_INCOMPLETE: u32 = 0x010d;
