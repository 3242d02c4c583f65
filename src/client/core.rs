//! The client's side of the protocol as a state machine: no sockets, no clock, no tasks.
//!
//! Owns: the count of numbered messages and the resume point, requests and whether they are answered, the seat, the
//! window of inputs, when to ping, and the clock. Must not know: transports, attempts, how to wait.
//!
//! Contract: hand messages to `handle_message`, then take `poll_event` until `None` and `poll_message` until `false`;
//! call again by `next_deadline`. `now` is the time since any fixed moment and never goes back. No order of calls panics.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::clock::Clock;
use super::error::{ConnectError, InputError, Refused, RequestError, printable};
use super::event::{Arrival, Event, Stats};
use super::inputs::InputWindow;
use super::link::Transport;
use super::renewal::Renewal;
use super::snapshot::SnapshotView;
use crate::codec;
use crate::ids::{InputSeq, SeatId, SessionTag, Tick};
use crate::wire::{
    ClientMessage, Goodbye, Refusal, Renewed, Request, ResumeOutcome, ResumePoint, ResumeToken, Seated, ServerMessage,
    Welcome,
};

/// The state of one player's conversation with a server, across links.
#[derive(Debug, Default)]
pub(super) struct Core {
    place: Option<Place>,
    received: u64,
    outstanding: VecDeque<Outstanding>,
    last_request: u32,
    session: Option<Session>,
    inputs: InputWindow,
    clock: Clock,
    heartbeat: Heartbeat,
    leaving: bool,
    renewal: Renewal,
    events: VecDeque<Event>,
    stats: Stats,
}

/// What a Welcome gave.
#[derive(Debug)]
struct Place {
    token: ResumeToken,
    grace: Duration,
    max_message: usize,
}

#[derive(Debug)]
struct Outstanding {
    id: u32,
    body: Request,
    sent: bool,
}

#[derive(Debug)]
struct Session {
    tag: SessionTag,
    seat: Option<SeatId>,
    newest: Tick,
}

#[derive(Debug, Default)]
struct Heartbeat {
    every: Duration,
    silence: Duration,
    next_ping: Duration,
    /// Pings since the Welcome: the first few come quickly, for the clock's sake.
    pings: u32,
    last_heard: Duration,
    nonce: u32,
    waiting: Option<(u32, Duration)>,
}

/// What the server sent is no message of the protocol, or not one that may come now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

impl Core {
    /// What brings the player back to its place; `None` before the first Welcome.
    pub(super) fn resume_point(&self) -> Option<ResumePoint> {
        self.place.as_ref().map(|place| ResumePoint { token: place.token.clone(), received: self.received })
    }

    /// How long the place waits for a lost link.
    pub(super) fn grace(&self) -> Duration {
        self.place.as_ref().map_or(Duration::ZERO, |place| place.grace)
    }

    /// Figures of the link and counts.
    pub(super) fn stats(&self) -> Stats {
        Stats {
            round_trip: self.clock.round_trip(),
            clock_offset_us: self.clock.offset_us(),
            inputs_shed: self.inputs.shed(),
            ..self.stats
        }
    }

    /// Takes the first message of a new link.
    pub(super) fn handle_welcome(&mut self, welcome: Welcome, transport: Transport, now: Duration) {
        self.heartbeat = Heartbeat::new(Duration::from_millis(welcome.heartbeat_ms.into()), now);
        self.clock.handle_welcome(now, welcome.server_time_us);
        match welcome.outcome {
            ResumeOutcome::Arrived => {
                self.received = welcome.counted;
                self.forget_requests(u32::MAX);
                self.last_request = welcome.last_request;
                self.session = None;
                let arrival = Arrival { player: welcome.player, name: printable(&welcome.name), transport };
                self.events.push_back(Event::Arrived(arrival));
            }
            // What is resent is counted as it comes.
            ResumeOutcome::Resumed => {
                self.stats.resumes += 1;
                self.events.push_back(Event::Resumed);
            }
            ResumeOutcome::Restarted => {
                self.received = welcome.counted;
                self.stats.resumes += 1;
                self.forget_requests(welcome.last_request);
                self.session = None;
                self.events.push_back(Event::Restarted);
            }
        }
        for request in &mut self.outstanding {
            request.sent = request.id <= welcome.last_request;
        }
        self.place = Some(Place {
            token: welcome.resume,
            grace: Duration::from_millis(welcome.grace_ms.into()),
            max_message: welcome.max_message as usize,
        });
        self.stats.transport = Some(transport);
    }

    /// The link is gone. What was sent and not answered is decided by the next Welcome.
    pub(super) fn handle_loss(&mut self) {
        self.inputs.handle_loss();
        self.heartbeat.waiting = None;
        self.renewal.handle_loss();
        self.stats.transport = None;
    }

    /// It is over: every request that has no answer gets its error.
    pub(super) fn handle_close(&mut self) {
        self.handle_loss();
        for request in self.outstanding.drain(..) {
            self.events.push_back(Event::Replied { request: request.id, outcome: Err(RequestError::Closed) });
        }
    }

    /// Takes a message of the server; a Goodbye is handed back.
    ///
    /// # Errors
    /// [`Broken`] when it is none.
    pub(super) fn handle_message(&mut self, message: Bytes, now: Duration) -> Result<Option<Goodbye>, Broken> {
        self.heartbeat.last_heard = now;
        self.stats.bytes_received += message.len() as u64;
        let seat = self.session.as_ref().and_then(|session| session.seat);
        match SnapshotView::read(&message, seat) {
            Ok(Some(view)) => {
                self.handle_snapshot(view, now);
                return Ok(None);
            }
            Ok(None) => {}
            Err(_) => return Err(Broken("a snapshot that does not decode")),
        }
        if codec::decode_prefix::<u32>(&message).is_ok_and(|(kind, _)| kind >= ServerMessage::KINDS) {
            // Of a newer server; all that come later are numbered.
            self.received += 1;
            return Ok(None);
        }
        let message = codec::decode::<ServerMessage>(&message).map_err(|_| Broken("a message that does not decode"))?;
        if message.is_numbered() {
            self.received += 1;
        }
        let event = match message {
            ServerMessage::Goodbye(goodbye) => return Ok(Some(goodbye)),
            ServerMessage::Welcome(_) => return Err(Broken("a second Welcome")),
            ServerMessage::Pong { nonce, server_time_us } => {
                if let Some((_, sent)) = self.heartbeat.waiting.take_if(|(waiting, _)| *waiting == nonce) {
                    self.clock.handle_pong(sent, now, server_time_us);
                }
                return Ok(None);
            }
            ServerMessage::Reply(reply) => {
                self.outstanding.retain(|request| request.id != reply.request);
                let outcome = reply.refusal.map_or(Ok(()), |refusal| Err(RequestError::Refused(refused(refusal))));
                Event::Replied { request: reply.request, outcome }
            }
            ServerMessage::Seated(seated) => {
                self.take_seat(&seated);
                Event::Seated(seated)
            }
            ServerMessage::Ended(ended) => {
                self.session = None;
                Event::Ended(ended)
            }
            ServerMessage::LobbyLeft { lobby, reason } => {
                self.session = None;
                Event::Left { lobby, reason }
            }
            ServerMessage::List(lobbies) => Event::List(lobbies),
            ServerMessage::Lobby(view) => Event::Lobby(view),
            ServerMessage::Chat(line) => Event::Chat(line),
            ServerMessage::Roster(roster) => Event::Roster(roster),
            ServerMessage::TicketWanted { within_ms } => {
                self.renewal.handle_wanted();
                Event::TicketWanted { within: Duration::from_millis(within_ms.into()) }
            }
            ServerMessage::Renewed(Renewed { refusal: None, ends_in_ms }) => {
                self.renewal.handle_taken();
                Event::Renewed { ends_in: ends_in_ms.map(|ms| Duration::from_millis(ms.into())) }
            }
            ServerMessage::Renewed(Renewed { refusal: Some(refusal), .. }) => {
                self.renewal.handle_refused();
                Event::NotRenewed { cause: refused(refusal).into() }
            }
            // `SnapshotView` reads these.
            ServerMessage::Snapshot(_) => return Ok(None),
        };
        self.events.push_back(event);
        Ok(None)
    }

    fn handle_snapshot(&mut self, mut view: SnapshotView, now: Duration) {
        match self.session.as_mut().filter(|session| session.tag == view.tag && session.newest < view.tick) {
            Some(session) => session.newest = view.tick,
            None => {
                self.stats.snapshots_stale += 1;
                return;
            }
        }
        view.age = self.clock.age(view.time_us, now);
        self.inputs.handle_snapshot(view.tick, view.applied);
        self.stats.snapshots += 1;
        self.events.push_back(Event::Snapshot(view));
    }

    fn take_seat(&mut self, seated: &Seated) {
        let same = self.session.as_ref().is_some_and(|s| s.tag == seated.tag && s.seat == seated.seat);
        if !same {
            self.session = Some(Session { tag: seated.tag, seat: seated.seat, newest: Tick::default() });
            self.inputs.reset(seated.last_input);
        }
    }

    /// The number of the newest input of the seat; inputs go on from there.
    pub(super) fn last_input(&self) -> InputSeq {
        self.inputs.last()
    }

    /// The longest input the server takes now.
    ///
    /// # Errors
    /// [`InputError::NoSeat`].
    pub(super) fn input_room(&self) -> Result<usize, InputError> {
        if self.session.as_ref().is_none_or(|session| session.seat.is_none()) {
            return Err(InputError::NoSeat);
        }
        Ok(self.place.as_ref().map_or(0, |place| place.max_message.saturating_sub(INPUT_FRAMING)))
    }

    /// Takes an input that the caller numbered. Without a seat it is dropped.
    pub(super) fn handle_input(&mut self, seq: InputSeq, data: Vec<u8>) {
        if self.input_room().is_ok_and(|room| data.len() <= room) {
            self.inputs.push(seq, data);
        }
    }

    /// Takes a request and returns its number; [`Event::Replied`] tells what came of it.
    pub(super) fn handle_request(&mut self, body: Request) -> u32 {
        self.last_request = self.last_request.saturating_add(1);
        self.outstanding.push_back(Outstanding { id: self.last_request, body, sent: false });
        self.last_request
    }

    /// How many requests have no answer yet.
    pub(super) fn unanswered(&self) -> usize {
        self.outstanding.len()
    }

    /// The player leaves for good.
    pub(super) fn handle_leave(&mut self) {
        self.leaving = true;
    }

    /// Whether the player is leaving.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// The next thing that happened.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Writes the next control message to `out` (cleared first); `false` when there is none now.
    pub(super) fn poll_message(&mut self, now: Duration, out: &mut Vec<u8>) -> bool {
        out.clear();
        if let Some(request) = self.outstanding.iter_mut().find(|request| !request.sent) {
            request.sent = true;
            let message = ClientMessage::Request { id: request.id, body: request.body.clone() };
            codec::encode_into(&message, out);
            return true;
        }
        if let Some(ticket) = self.renewal.poll_ticket() {
            codec::encode_into(&ClientMessage::Renew { ticket }, out);
            return true;
        }
        if now < self.heartbeat.next_ping {
            return false;
        }
        let nonce = self.heartbeat.ping(now);
        codec::encode_into(&ClientMessage::Ping { nonce, received: self.received }, out);
        true
    }

    /// Writes the next message of inputs to `out` (cleared first); `false` when none is due.
    pub(super) fn poll_inputs(&mut self, over_datagrams: bool, out: &mut Vec<u8>) -> bool {
        out.clear();
        self.inputs.poll_message(over_datagrams, out)
    }

    /// Whether the server wants a fresh ticket, and nobody is getting one.
    pub(super) fn wants_ticket(&self) -> bool {
        self.renewal.is_wanted()
    }

    /// How long to wait before a fresh ticket is got, when the server wants one and nobody is getting it.
    pub(super) fn poll_ticket_want(&mut self, random: u64) -> Option<Duration> {
        self.renewal.poll_want(random)
    }

    /// Takes what came of getting one.
    pub(super) fn handle_ticket(&mut self, ticket: Result<String, ConnectError>) {
        match ticket {
            Ok(ticket) => self.renewal.handle_ticket(ticket),
            Err(cause) => {
                self.renewal.handle_refused();
                self.events.push_back(Event::NotRenewed { cause });
            }
        }
    }

    /// Whether nothing has been heard of the server for too long.
    pub(super) fn is_silent(&self, now: Duration) -> bool {
        now.saturating_sub(self.heartbeat.last_heard) >= self.heartbeat.silence
    }

    /// When to look again at the latest, even if nothing comes. Moves only with a Ping.
    pub(super) fn next_deadline(&self) -> Duration {
        self.heartbeat.next_ping
    }

    /// Requests up to `last`, carried out or not, will not be answered any more.
    fn forget_requests(&mut self, last: u32) {
        let events = &mut self.events;
        self.outstanding.retain(|request| {
            let lost = request.id <= last;
            if lost {
                let outcome = Err(RequestError::OutcomeLost);
                events.push_back(Event::Replied { request: request.id, outcome });
            }
            !lost
        });
    }
}

fn refused(refusal: Refusal) -> Refused {
    Refused { code: refusal.code, slug: printable(&refusal.reason), retry_after: None }
}

impl Heartbeat {
    fn new(asked: Duration, now: Duration) -> Self {
        let every = (asked / 2).clamp(QUICK_PING, SLOW_PING);
        // An answer may be lost with a stall of one interval; three without any word are the end.
        let silence = (every * 3).max(asked).clamp(SHORT_SILENCE, LONG_SILENCE);
        Self { every, silence, next_ping: now, last_heard: now, ..Self::default() }
    }

    fn ping(&mut self, now: Duration) -> u32 {
        self.nonce = self.nonce.wrapping_add(1);
        self.pings = self.pings.saturating_add(1);
        self.waiting = Some((self.nonce, now));
        self.next_ping = now + if self.pings < QUICK_PINGS { QUICK_PING.min(self.every) } else { self.every };
        self.nonce
    }
}

/// Bytes around one input in a message of its own, at most.
const INPUT_FRAMING: usize = 24;

/// Pings that come quickly after a Welcome.
const QUICK_PINGS: u32 = 4;
const QUICK_PING: Duration = Duration::from_millis(200);
/// The longest time between Pings, whatever the server allows.
const SLOW_PING: Duration = Duration::from_secs(2);
/// How long a server may say nothing before the link counts as lost: between these, three Pings or the server's own
/// heartbeat, whichever is longer.
const SHORT_SILENCE: Duration = Duration::from_secs(4);
const LONG_SILENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
