//! One live WebSocket, from its upgrade to its end: a state machine that the driver feeds.
//!
//! Owns: what the link is at, the heartbeat and the closing handshake. Must not know: what a message says, when it is
//! called next. It is kept small, since each of its cache lines is cold whenever its peer says something.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::driver::Rooms;
use super::frames::{Event, FrameReader};
use super::mailbox::{Letter, LinkKey, Mailbox};
use super::outlet::{Phase, WebSocketOutlet};
use crate::admission::{Admission, Pending, Refused, goodbye};
use crate::hub::{Attached, Place};
use crate::outbox::Outlet;
use crate::request::OpenRequest;
use crate::transport::at_once;
use crate::transport::timers::Alarm;
use crate::wire::Code;

/// A link on its way to its driver.
pub(super) struct Arrival {
    pub(super) link: Link,
    /// What was read behind the upgrade request.
    pub(super) early: Vec<u8>,
}

/// A link whose upgrade is done.
pub(super) struct Link {
    outlet: Arc<WebSocketOutlet>,
    stage: Stage,
    reader: FrameReader,
    heard: Instant,
    /// When it was last asked whether it is there.
    probed: Instant,
    heartbeat: Duration,
    /// The entry of its deadline.
    pub(super) alarm: Alarm,
    /// Its place among the links that have shown no ticket, while it is one.
    pending: Option<Arc<Pending>>,
}

/// What a link is at.
pub(super) enum Stage {
    /// The first message is to bring the credentials.
    Asking(Box<Asking>),
    /// Admission is at it; nothing is read meanwhile. With what came right behind Hello.
    Judging(Vec<Vec<u8>>),
    /// Admitted.
    Live(Attached),
    /// The last word is said or waits; what the peer still says is thrown away until it closes too, or a deadline: ending
    /// with unread bytes would reset the connection and lose the goodbye.
    Closing(Instant, Option<Attached>),
}

/// A link whose request carried no credentials.
pub(super) struct Asking {
    pub(super) admission: Admission,
    pub(super) request: OpenRequest,
    hello: Option<OpenRequest>,
    behind: Vec<Vec<u8>>,
    behind_bytes: usize,
    until: Instant,
}

/// What the driver is to do for a link now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until it is ready again.
    Rest,
    /// Its deadline may have come nearer.
    Changed,
    /// It has more to read, and its deadline may have come nearer.
    Again,
    /// It is over.
    Gone,
}

impl Asking {
    pub(super) fn new(admission: Admission, request: OpenRequest, now: Instant) -> Self {
        let until = now + admission.limits().first_message;
        Self { admission, request, hello: None, behind: Vec::new(), behind_bytes: 0, until }
    }

    fn handle_message(&mut self, message: &[u8]) -> Result<(), Code> {
        if self.hello.is_none() {
            self.hello = Some(self.admission.read_hello(&self.request, message)?);
            return Ok(());
        }
        self.behind_bytes += message.len().max(MIN_MESSAGE);
        if self.behind_bytes > BEHIND_HELLO {
            return Err(Code::Malformed);
        }
        self.behind.push(message.to_vec());
        Ok(())
    }
}

impl Stage {
    /// A link that was refused: the goodbye is the outlet's already.
    pub(super) fn refused(now: Instant) -> Self {
        Self::Closing(now + CLOSE_WAIT, None)
    }

    fn handle_message(&mut self, message: &[u8]) -> Result<(), Code> {
        match self {
            Self::Live(attached) => attached.handle_message(message),
            Self::Asking(asking) => asking.handle_message(message),
            Self::Judging(_) | Self::Closing(..) => Ok(()),
        }
    }
}

impl Link {
    pub(super) fn new(
        outlet: Arc<WebSocketOutlet>,
        stage: Stage,
        admission: &Admission,
        pending: Option<Arc<Pending>>,
        now: Instant,
    ) -> Self {
        let limits = admission.limits();
        // Who is admitted is no stranger any more.
        let pending = pending.filter(|_| !matches!(stage, Stage::Live(_)));
        Self {
            outlet,
            stage,
            reader: FrameReader::new(limits.message_bytes, limits.fragments),
            heard: now,
            probed: now,
            heartbeat: limits.heartbeat,
            alarm: Alarm::default(),
            pending,
        }
    }

    /// It has its place in a driver's table.
    pub(super) fn enter(&mut self, key: LinkKey, mailbox: &Arc<Mailbox>, now: Instant) {
        self.outlet.enter(key, Arc::clone(mailbox));
        self.heard = now;
    }

    pub(super) fn is(&self, key: LinkKey) -> bool {
        self.outlet.key() == Some(key)
    }

    pub(super) fn socket(&self) -> &TcpStream {
        self.outlet.socket()
    }

    /// Has the processor fetch what a message touches, without waiting for it.
    pub(super) fn warm(&self) {
        self.outlet.warm();
        if let Stage::Live(attached) = &self.stage {
            attached.warm();
        }
    }

    /// When it wants to be called at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Asking(asking) => Some(asking.until),
            Stage::Judging(_) => None,
            Stage::Live(_) => Some(self.heard.max(self.probed) + self.heartbeat / 3),
            Stage::Closing(until, _) => Some(*until),
        }
    }

    /// Handles what had been read when the link came into being, and what was written to it.
    pub(super) fn handle_early(&mut self, mut early: Vec<u8>, rooms: &mut Rooms, now: Instant) -> Next {
        if self.handle_writable(now) == Next::Changed || matches!(self.stage, Stage::Closing(..)) {
            return Next::Changed;
        }
        let Self { reader, outlet, stage, .. } = self;
        let mut read = handle_plain(reader, outlet, stage, &mut early);
        if read.is_ok() && outlet.is_tls() {
            read = outlet.read_tls(&[], &mut rooms.plain, &mut |plain| handle_plain(reader, outlet, stage, plain));
        }
        match self.conclude(read, rooms, now) {
            Next::Rest => Next::Changed,
            next => next,
        }
    }

    /// Reads what there is, up to a bound. `ended`: the peer says no more after it.
    pub(super) fn handle_readable(&mut self, rooms: &mut Rooms, ended: bool, now: Instant) -> Next {
        if self.outlet.needs_driver() && self.handle_writable(now) == Next::Changed {
            return self.go_on_reading(Next::Changed, rooms);
        }
        match self.stage {
            Stage::Judging(_) => return Next::Rest,
            Stage::Closing(..) => return self.drop_input(rooms),
            Stage::Live(_) | Stage::Asking(_) => {}
        }
        for _ in 0..READS {
            let count = match self.outlet.socket().read(&mut rooms.raw) {
                Ok(0) => return Next::Gone,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Rest,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Next::Gone,
            };
            self.heard = now;
            let drained = count < rooms.raw.len() && !ended;
            let Self { reader, outlet, stage, .. } = self;
            let bytes = rooms.raw.get_mut(..count).unwrap_or_default();
            let read = if outlet.is_tls() {
                outlet.read_tls(bytes, &mut rooms.plain, &mut |plain| handle_plain(reader, outlet, stage, plain))
            } else {
                handle_plain(reader, outlet, stage, bytes)
            };
            match self.conclude(read, rooms, now) {
                Next::Rest if drained => return Next::Rest,
                Next::Rest => {}
                next => return self.go_on_reading(next, rooms),
            }
        }
        Next::Again
    }

    /// Admission has decided.
    pub(super) fn handle_verdict(&mut self, verdict: Result<Place, Refused>, rooms: &mut Rooms, now: Instant) -> Next {
        let Stage::Judging(behind) = &mut self.stage else { return Next::Rest };
        let behind = std::mem::take(behind);
        let place = match verdict {
            Ok(place) => place,
            Err(refused) => {
                let next = self.say_goodbye(refused.code, &refused.goodbye(), now);
                return self.go_on_reading(next, rooms);
            }
        };
        let attached = place.attach(Arc::clone(&self.outlet) as Arc<dyn Outlet>);
        self.pending = None;
        self.heard = now;
        let read = behind.iter().try_for_each(|message| attached.handle_message(message));
        self.stage = Stage::Live(attached);
        match self.conclude(read, rooms, now) {
            // What came meanwhile is not told again.
            Next::Rest => match self.handle_readable(rooms, true, now) {
                Next::Rest => Next::Changed,
                next => next,
            },
            next => self.go_on_reading(next, rooms),
        }
    }

    /// The socket may have room again, or the outlet has come to its end.
    pub(super) fn handle_writable(&mut self, now: Instant) -> Next {
        if self.outlet.drive() == Phase::Open {
            return Next::Rest;
        }
        self.wait_for_close(now)
    }

    /// Its time has come, or has moved.
    pub(super) fn handle_timeout(&mut self, rooms: &mut Rooms, now: Instant) -> Next {
        match &self.stage {
            Stage::Asking(asking) if now >= asking.until => self.conclude(Err(Code::TicketTimeout), rooms, now),
            Stage::Closing(until, _) if now >= *until => Next::Gone,
            Stage::Live(_) => {
                // A peer that was quiet for a third of the heartbeat is asked whether it is there; browsers answer by
                // themselves.
                let quiet = now.saturating_duration_since(self.heard);
                if quiet >= self.heartbeat {
                    return self.conclude(Err(Code::HeartbeatLost), rooms, now);
                }
                if self.deadline().is_some_and(|due| now >= due) {
                    self.outlet.ping();
                    self.probed = now;
                }
                Next::Changed
            }
            Stage::Asking(_) | Stage::Judging(_) | Stage::Closing(..) => Next::Changed,
        }
    }

    /// It is over: nobody writes to it any more, and the hub learns of it.
    pub(super) fn leave(self) {
        self.outlet.lose();
    }

    /// Acts on how reading went.
    fn conclude(&mut self, read: Result<(), Code>, rooms: &mut Rooms, now: Instant) -> Next {
        match read {
            Ok(()) => self.ask_admission(rooms, now),
            // The peer's Close was answered, or the last word had been said before.
            Err(Code::Left) if self.outlet.phase() != Phase::Open => self.wait_for_close(now),
            Err(Code::Left) => Next::Gone,
            Err(code) => {
                let last = match &self.stage {
                    Stage::Asking(asking) => asking.admission.refuse_link(asking.request.peer, code).goodbye(),
                    Stage::Live(attached) => {
                        attached.closing(code);
                        goodbye(code, None)
                    }
                    Stage::Judging(_) | Stage::Closing(..) => goodbye(code, None),
                };
                self.say_goodbye(code, &last, now)
            }
        }
    }

    /// A Hello that was read goes to admission.
    fn ask_admission(&mut self, rooms: &mut Rooms, now: Instant) -> Next {
        let Stage::Asking(asking) = &mut self.stage else { return Next::Rest };
        let (Some(open), Some((key, mailbox))) = (asking.hello.take(), self.outlet.driver()) else { return Next::Rest };
        let (admission, mailbox) = (asking.admission.clone(), Arc::clone(mailbox));
        self.stage = Stage::Judging(std::mem::take(&mut asking.behind));
        match at_once(async move { admission.admit(&open).await }) {
            Ok(verdict) => self.handle_verdict(verdict, rooms, now),
            Err(judging) => {
                tokio::spawn(async move { mailbox.post(Letter::Judged(key, judging.await)) });
                Next::Changed
            }
        }
    }

    /// The place waits from now on, however long the peer takes to read why.
    fn say_goodbye(&mut self, code: Code, goodbye: &Bytes, now: Instant) -> Next {
        self.stage = Stage::Closing(now + CLOSE_WAIT, None);
        self.outlet.close(code, goodbye);
        Next::Changed
    }

    fn wait_for_close(&mut self, now: Instant) -> Next {
        if let Stage::Closing(..) = self.stage {
            return Next::Rest;
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Closing(now + CLOSE_WAIT, None));
        if let (Stage::Live(attached), Stage::Closing(_, kept)) = (stage, &mut self.stage) {
            *kept = Some(attached);
        }
        Next::Changed
    }

    /// Throws away what a link that is closing has yet to read: readiness is told once.
    fn go_on_reading(&mut self, next: Next, rooms: &mut Rooms) -> Next {
        if next != Next::Changed || !matches!(self.stage, Stage::Closing(..)) {
            return next;
        }
        match self.drop_input(rooms) {
            Next::Rest => next,
            dropped => dropped,
        }
    }

    fn drop_input(&mut self, rooms: &mut Rooms) -> Next {
        for _ in 0..READS {
            match self.outlet.socket().read(&mut rooms.raw) {
                Ok(0) => return Next::Gone,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Rest,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Next::Gone,
            }
        }
        Next::Again
    }
}

fn handle_plain(
    reader: &mut FrameReader,
    outlet: &WebSocketOutlet,
    stage: &mut Stage,
    bytes: &mut [u8],
) -> Result<(), Code> {
    reader.handle_bytes(bytes, |event| match event {
        Event::Message(message) => stage.handle_message(message),
        Event::Ping(payload) => {
            outlet.pong(payload);
            Ok(())
        }
        Event::Pong => Ok(()),
        Event::Close => {
            outlet.answer_close();
            Err(Code::Left)
        }
    })
}

/// What an empty message behind Hello counts for, so that their number is bounded as well.
const MIN_MESSAGE: usize = 64;
/// What may come right behind Hello.
const BEHIND_HELLO: usize = 8 * 1_024;
/// Reads of one link before the others get their turn.
const READS: usize = 4;
/// How long a peer may take to answer a Close (security: at most 2 s).
const CLOSE_WAIT: Duration = Duration::from_secs(2);
