//! A TCP connection from its first byte until it is known what it wants.
//!
//! Owns: connections that have asked nothing yet, their TLS handshakes, and the way of a plain request for a WebSocket past every
//! other layer: it is read, judged and answered by the driver that will read the link. Must not know: HTTP beyond such a request.
//! Whatever else is asked is left, with the bytes, to those who gave the connection (`docs/decisions/0011-the-door.md`).

use std::borrow::Cow;
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use rustls::ServerConnection;

use super::driver::Rooms;
use super::head::Head;
use super::link::{Arrival, Link};
use super::mailbox::{Drivers, Letter, LinkKey, Mailbox};
use super::outlet::WebSocketOutlet;
use super::upgrade::{Verdict, agreed_protocol, judge, stage_of};
use crate::admission::{Admission, Pending};
use crate::http::{MAX_HEAD_BYTES, Response, begins_tls};
use crate::transport::at_once;
use crate::transport::timers::Alarm;

/// Where fresh TCP connections are left. Clones are the same door.
#[derive(Clone)]
pub struct Door {
    inside: Arc<Inside>,
    drivers: Drivers,
}

struct Inside {
    admission: Admission,
    encryption: Encryption,
    elsewhere: Box<dyn Fn(Unread) + Send + Sync>,
}

/// Whether connections are encrypted.
#[derive(Clone)]
pub enum Encryption {
    /// None is.
    Off,
    /// Those that begin like TLS are.
    Spoken(Arc<rustls::ServerConfig>),
    /// All are, and what does not begin like it is closed.
    Always(Arc<rustls::ServerConfig>),
}

/// A connection that wants something else than a link, or that is refused one: for an HTTP server.
pub struct Unread {
    /// It does not block.
    pub socket: TcpStream,
    /// The session, where it is encrypted: the handshake is done.
    pub tls: Option<Box<ServerConnection>>,
    /// What it has said so far, in plain; nothing of it was answered.
    pub bytes: Vec<u8>,
    /// Its other end.
    pub peer: SocketAddr,
    /// Its place among those that have shown no ticket.
    pub pending: Arc<Pending>,
    /// The answer to the request that `bytes` begin with, where that was judged already.
    pub refusal: Option<Response>,
}

/// A connection that has yet to say what it wants.
pub(super) struct Opening {
    pub(super) key: LinkKey,
    /// The entry of its deadline.
    pub(super) alarm: Alarm,
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    peer: SocketAddr,
    pending: Arc<Pending>,
    door: Arc<Inside>,
    until: Instant,
    /// The beginning of a request, in plain.
    said: Vec<u8>,
    /// The request that admission is at.
    asked: Option<Asked>,
}

/// A request and what is right behind it, and whether there may be more to read.
type Request<'a> = (Cow<'a, [u8]>, bool);

/// A request on its way through admission.
struct Asked {
    /// As it came, and what came behind it.
    bytes: Vec<u8>,
    length: usize,
    answer: Vec<u8>,
}

/// What became of a connection that was looked at.
pub(super) enum Opened {
    /// It has yet to say what it wants, or admission is at it.
    Waits(Box<Opening>),
    /// It is a link. `true`: there may be more to read.
    Link(Arrival, bool),
    /// It wants something else.
    Leaves(Leaving),
    /// It is over.
    Gone,
}

/// A connection that is over: its peer has gone, or does not keep to TLS.
struct Over;

/// A connection on its way to others, to be let go by the driver's epoll first.
pub(super) struct Leaving {
    unread: Box<Unread>,
    door: Arc<Inside>,
}

impl Leaving {
    pub(super) fn socket(&self) -> &TcpStream {
        &self.unread.socket
    }

    pub(super) fn go(self) {
        (self.door.elsewhere)(*self.unread);
    }
}

impl Door {
    pub(super) fn new(
        admission: Admission,
        drivers: Drivers,
        encryption: Encryption,
        elsewhere: impl Fn(Unread) + Send + Sync + 'static,
    ) -> Self {
        Self { inside: Arc::new(Inside { admission, encryption, elsewhere: Box::new(elsewhere) }), drivers }
    }

    /// Takes a fresh connection that does not block. It has the time of a handshake to say what it wants, and as long before that
    /// for TLS.
    pub fn enter(&self, socket: TcpStream, peer: SocketAddr, pending: Pending, now: Instant) {
        let opening = Opening {
            key: LinkKey::default(),
            alarm: Alarm::default(),
            socket,
            tls: None,
            peer,
            pending: Arc::new(pending),
            until: now + self.inside.admission.limits().handshake,
            door: Arc::clone(&self.inside),
            said: Vec::new(),
            asked: None,
        };
        if let Some(driver) = self.drivers.next() {
            driver.post(Letter::Open(Box::new(opening)));
        }
    }
}

impl Opening {
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// When it is to be closed; admission has bounds of its own.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.asked.is_none().then_some(self.until)
    }

    /// Reads what it wants. `ended`: the peer says no more after it.
    pub(super) fn handle_readable(
        mut self: Box<Self>,
        rooms: &mut Rooms,
        ended: bool,
        mailbox: &Arc<Mailbox>,
        now: Instant,
    ) -> Opened {
        if self.asked.is_some() {
            return Opened::Waits(self);
        }
        let (bytes, more) = match self.request(rooms, ended, now) {
            Ok(Some(request)) => request,
            Ok(None) => return Opened::Waits(self),
            Err(Over) => return Opened::Gone,
        };
        let Some(head) = Head::read(&bytes) else { return self.leave(bytes.into_owned(), None) };
        let protocol = agreed_protocol(&self.door.admission, head.request.headers());
        let (answer, length) = (head.answer(protocol), head.length);
        let (admission, request, peer) = (self.door.admission.clone(), head.request, self.peer);
        match at_once(async move { judge(&admission, request.headers(), request.uri(), peer).await }) {
            Ok(Ok(verdict)) => {
                let early = bytes.get(length..).unwrap_or_default().to_vec();
                self.become_link(verdict, answer, early, more, now)
            }
            Ok(Err(refusal)) => self.leave(bytes.into_owned(), Some(refusal)),
            Err(judging) => {
                self.asked = Some(Asked { bytes: bytes.into_owned(), length, answer });
                let (key, mailbox) = (self.key, Arc::clone(mailbox));
                tokio::spawn(async move { mailbox.post(Letter::Decided(key, judging.await)) });
                Opened::Waits(self)
            }
        }
    }

    /// The request, once it is whole or no request, and whether there may be more behind it. One that comes in pieces waits here
    /// for the rest, so that whoever is slow holds what it has said and no more.
    fn request<'a>(&mut self, rooms: &'a mut Rooms, ended: bool, now: Instant) -> Result<Option<Request<'a>>, Over> {
        loop {
            let Some((count, more)) = self.hear(rooms, ended, now)? else { return Ok(None) };
            let room = if self.tls.is_some() { &rooms.plain } else { &rooms.raw };
            let bytes = room.get(..count).unwrap_or_default();
            let first = self.said.is_empty();
            if first && !Head::is_partial(bytes) {
                // The rule, without a copy. Taken anew: the borrow of a loop would outlive it.
                let room = if self.tls.is_some() { &rooms.plain } else { &rooms.raw };
                return Ok(Some((room.get(..count).unwrap_or_default().into(), more)));
            }
            if first {
                self.until = now + self.door.admission.limits().handshake;
            }
            let from = self.said.len();
            self.said.extend_from_slice(bytes);
            let whole = !first && Head::may_end(&self.said, from) && !Head::is_partial(&self.said);
            if whole || self.said.len() > MAX_HEAD_BYTES {
                return Ok(Some((std::mem::take(&mut self.said).into(), more)));
            }
            if !more {
                return Ok(None);
            }
        }
    }

    /// How much it says in plain, if anything, and whether there may be more.
    fn hear(&mut self, rooms: &mut Rooms, ended: bool, now: Instant) -> Result<Option<(usize, bool)>, Over> {
        let Rooms { raw, plain } = rooms;
        let mut reads = 0;
        // A record of TLS may say more than there is room for at a time.
        if let Some(tls) = &mut self.tls
            && let Ok(count @ 1..) = tls.reader().read(plain)
        {
            return Ok(Some((count, true)));
        }
        loop {
            let count = match self.socket.read(raw) {
                Ok(0) => return Err(Over),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(Over),
            };
            let more = ended || count == raw.len();
            match self.decrypt(raw.get(..count).unwrap_or_default(), plain, now)? {
                None => return Ok(Some((count, more))),
                Some(0) if !more => return Ok(None),
                // No handshake is that long.
                Some(0) if reads == READS => return Err(Over),
                Some(0) => reads += 1,
                Some(count) => return Ok(Some((count, more || count == plain.len()))),
            }
        }
    }

    /// Goes on with TLS where it is spoken; returns how many bytes it says in plain, or nothing where they are plain already.
    fn decrypt(&mut self, mut raw: &[u8], plain: &mut [u8], now: Instant) -> Result<Option<usize>, Over> {
        if self.tls.is_none() {
            let config = match &self.door.encryption {
                Encryption::Off => return Ok(None),
                Encryption::Spoken(config) if begins_tls(raw) => config,
                Encryption::Spoken(_) => return Ok(None),
                Encryption::Always(config) => config,
            };
            let session = ServerConnection::new(Arc::clone(config)).map_err(|_| Over)?;
            self.tls = Some(Box::new(session));
        }
        let Some(tls) = &mut self.tls else { return Ok(None) };
        let begins = tls.is_handshaking();
        let mut outcome = Ok(());
        while !raw.is_empty() && outcome.is_ok() {
            outcome = tls.read_tls(&mut raw).map_err(|_| Over).and_then(|_| {
                let processed = tls.process_new_packets().map(|_| ());
                processed.map_err(|error| {
                    tracing::debug!(peer = %self.peer, %error, "a TLS handshake failed");
                    Over
                })
            });
        }
        // A fresh connection has room for a flight; the alert that says what was wrong is among what is written.
        while tls.wants_write() {
            if tls.write_tls(&mut &self.socket).is_err() {
                return Err(Over);
            }
        }
        outcome?;
        if begins && !tls.is_handshaking() {
            self.until = now + self.door.admission.limits().handshake;
        }
        Ok(Some(tls.reader().read(plain).unwrap_or(0)))
    }

    /// Admission, which had to ask elsewhere, has decided.
    pub(super) fn handle_verdict(mut self: Box<Self>, verdict: Result<Verdict, Response>, now: Instant) -> Opened {
        let Some(Asked { bytes, length, answer }) = self.asked.take() else { return Opened::Waits(self) };
        match verdict {
            // What came meanwhile is not told again.
            Ok(verdict) => {
                self.become_link(verdict, answer, bytes.get(length..).unwrap_or_default().to_vec(), true, now)
            }
            Err(refusal) => self.leave(bytes, Some(refusal)),
        }
    }

    fn become_link(self, verdict: Verdict, answer: Vec<u8>, early: Vec<u8>, more: bool, now: Instant) -> Opened {
        let Self { socket, tls, pending, door, alarm, .. } = self;
        let admission = &door.admission;
        let outlet = Arc::new(WebSocketOutlet::new(socket, tls, answer, admission.limits().queue_bytes));
        let stage = stage_of(verdict, &outlet, admission, now);
        let mut link = Link::new(outlet, stage, admission, Some(pending), now);
        link.alarm = alarm;
        Opened::Link(Arrival { link, early }, more)
    }

    fn leave(self, bytes: Vec<u8>, refusal: Option<Response>) -> Opened {
        let Self { socket, tls, peer, pending, door, .. } = self;
        Opened::Leaves(Leaving { unread: Box::new(Unread { socket, tls, bytes, peer, pending, refusal }), door })
    }
}

/// Full buffers of a connection whose TLS handshake is not done, before it is too much.
const READS: usize = 4;
