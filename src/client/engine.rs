//! The client without a task of its own: the caller's task drives it.
//!
//! Owns: one player's link and, when it is lost, the way back: when to try, with which credentials, and when to stop.
//! Must not know: how links are opened, what messages mean.
//!
//! One task, one timer and one reusable buffer per player: made for load testers as much as for [`super::Client`].

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use super::backoff::Backoff;
use super::connect::Connector;
use super::core::{Broken, Core};
use super::error::{Closed, ConnectError, InputError, Refused};
use super::event::{Event, Stats};
use super::link::{Link, LinkEnd, Transport};
use crate::codec::{self, Encode};
use crate::ids::InputSeq;
use crate::wire::{Act, ClientMessage, Code, Request, Welcome};

/// One connected player. Lives as long as [`Self::next`] is called.
pub struct Engine {
    connector: Connector,
    core: Core,
    state: State,
    /// What follows the core's own events: the end, the attempts.
    events: VecDeque<Event>,
    epoch: Instant,
    timer: Pin<Box<Sleep>>,
    scratch: Vec<u8>,
    backoff: Backoff,
    last_transport: Transport,
    /// When the link was lost; `None` while it is up.
    lost_at: Option<Duration>,
    /// Whether the place is given up: the way back is a new arrival.
    anew: bool,
    /// When a new ticket was last asked for because the server wanted one.
    renewed_at: Option<Duration>,
    /// A fresh ticket for this link, on its way from the source.
    fetch: Option<Fetch>,
}

type Fetch = Pin<Box<dyn Future<Output = Result<String, ConnectError>> + Send>>;

/// Boxed, so that dropping `next` does not drop the attempt.
type Attempt = Pin<Box<dyn Future<Output = Result<(Link, Welcome), ConnectError>> + Send>>;

enum State {
    Up(Link),
    /// The timer runs; then an attempt is made.
    Waiting,
    Connecting(Attempt),
    Over,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("core", &self.core).finish_non_exhaustive()
    }
}

impl Engine {
    pub(super) fn new(connector: Connector, link: Link, welcome: Welcome) -> Self {
        let epoch = Instant::now();
        let last_transport = link.transport();
        let mut core = Core::default();
        core.handle_welcome(welcome, last_transport, Duration::ZERO);
        Self {
            connector,
            core,
            state: State::Up(link),
            events: VecDeque::new(),
            epoch,
            timer: Box::pin(tokio::time::sleep_until(epoch)),
            scratch: Vec::new(),
            backoff: Backoff::default(),
            last_transport,
            lost_at: None,
            anew: false,
            renewed_at: None,
            fetch: None,
        }
    }

    /// The next event; `None` after [`Event::Closed`]. Sends and receives, keeps the link alive, and regains it when it
    /// is lost: with the resume token within the grace, after it with a new ticket if the source has one.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.core.poll_event().or_else(|| self.events.pop_front()) {
                return Some(event);
            }
            self.turn().await?;
        }
    }

    /// One step: sends what is due and waits for what comes first. `None` when it is over.
    async fn turn(&mut self) -> Option<()> {
        let now = self.now();
        self.fetch_ticket();
        match &mut self.state {
            State::Up(link) => {
                if !self.core.is_leaving() {
                    send_due(link, &mut self.core, &mut self.scratch, now);
                    let due = self.core.next_deadline();
                    // Where the backlog holds a Ping back, look again a little later.
                    let at = self.epoch + if due > now { due } else { now + LATE_PING };
                    if self.timer.deadline() != at {
                        self.timer.as_mut().reset(at);
                    }
                }
                tokio::select! {
                    biased;
                    received = link.receive() => match received {
                        Ok(message) => self.handle_message(message),
                        Err(end) => self.handle_end(end),
                    },
                    fetched = async { match &mut self.fetch {
                        Some(fetch) => fetch.await,
                        None => std::future::pending().await,
                    } } => {
                        self.fetch = None;
                        self.core.handle_ticket(fetched);
                    }
                    () = &mut self.timer => self.handle_timer(),
                }
            }
            State::Waiting => {
                (&mut self.timer).await;
                let resume = if self.anew { None } else { self.core.resume_point() };
                let (connector, prefer) = (self.connector.clone(), self.last_transport);
                self.state = State::Connecting(Box::pin(async move { connector.open(resume, Some(prefer)).await }));
            }
            State::Connecting(attempt) => match attempt.await {
                Ok((link, welcome)) => self.handle_link(link, welcome),
                Err(error) => self.handle_failure(error),
            },
            State::Over => return None,
        }
        Some(())
    }

    /// Asks for something and returns the request's number; [`Event::Replied`] brings the answer. It is sent by
    /// [`Self::next`], and again after a lost link if the server has not carried it out.
    pub fn request(&mut self, body: Request) -> u32 {
        self.core.handle_request(body)
    }

    /// How many requests have no answer yet.
    pub fn unanswered(&self) -> usize {
        self.core.unanswered()
    }

    /// Sends an input to the session: never waits. When the way to the server is full, older inputs are shed.
    /// Over datagrams the last few go again with each until the server has applied them. [`Self::next`] sends it.
    ///
    /// # Errors
    /// [`InputError`] when there is no seat, or it is too long.
    pub fn send_input(&mut self, data: &[u8]) -> Result<InputSeq, InputError> {
        let max = self.core.input_room()?;
        if data.len() > max {
            return Err(InputError::TooLong { length: data.len(), max });
        }
        let seq = InputSeq(self.core.last_input().0.saturating_add(1));
        self.core.handle_input(seq, data.to_vec());
        Ok(seq)
    }

    /// As [`Self::send_input`], for a value in the crate's encoding.
    ///
    /// # Errors
    /// As [`Self::send_input`].
    pub fn send_encoded(&mut self, input: &impl Encode) -> Result<InputSeq, InputError> {
        self.send_input(&codec::encode(input))
    }

    /// Takes an input that was numbered elsewhere.
    pub(super) fn send_numbered(&mut self, seq: InputSeq, data: Vec<u8>) {
        self.core.handle_input(seq, data);
    }

    /// The longest input that is taken now, in bytes.
    pub(super) fn input_room(&self) -> Result<usize, InputError> {
        self.core.input_room()
    }

    /// The number of the newest input.
    pub fn last_input(&self) -> InputSeq {
        self.core.last_input()
    }

    /// Figures of the link and counts.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// QUIC's own estimate of the round trip, on WebTransport.
    pub fn transport_round_trip(&self) -> Option<Duration> {
        match &self.state {
            State::Up(link) => link.round_trip(),
            _ => None,
        }
    }

    /// Leaves for good: the seat is free at once. [`Self::next`] says goodbye and ends with [`Event::Closed`], within a
    /// second.
    pub fn leave(&mut self) {
        if self.core.is_leaving() || matches!(self.state, State::Over) {
            return;
        }
        let now = self.now();
        if let State::Up(link) = &mut self.state {
            send_due(link, &mut self.core, &mut self.scratch, now);
            self.core.handle_leave();
            link.queue(&mut codec::encode(&ClientMessage::Bye));
            link.finish();
            self.timer.as_mut().reset(Instant::now() + FAREWELL);
        } else {
            self.close(Closed::Left);
        }
    }

    /// Cuts the connection without a word, as a failing network would; the way back begins at once.
    pub fn cut(&mut self) {
        if matches!(self.state, State::Up(_)) {
            self.handle_end(LinkEnd::Broken("cut on purpose".into()));
        }
    }

    /// Shows a fresh ticket, after [`Event::TicketWanted`]. Not needed where tickets come from a
    /// [`super::TicketSource::Function`]: that one is asked by itself.
    pub fn renew(&mut self, ticket: impl Into<String>) {
        if matches!(self.state, State::Up(_)) {
            self.fetch = None;
            self.core.handle_ticket(Ok(ticket.into()));
        }
    }

    /// Begins to get a fresh ticket when the server wants one.
    fn fetch_ticket(&mut self) {
        if !self.core.wants_ticket() || !self.connector.has_more_tickets() {
            return;
        }
        if let Some(wait) = self.core.poll_ticket_want(getrandom::u64().unwrap_or(u64::MAX)) {
            let connector = self.connector.clone();
            self.fetch = Some(Box::pin(async move {
                tokio::time::sleep(wait).await;
                connector.fresh_ticket().await
            }));
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn handle_message(&mut self, message: Bytes) {
        let now = self.now();
        match self.core.handle_message(message, now) {
            Ok(None) => {}
            Ok(Some(goodbye)) => self.handle_end(LinkEnd::Closed(goodbye.into())),
            Err(Broken(what)) => self.handle_end(LinkEnd::Violation(what)),
        }
    }

    fn handle_timer(&mut self) {
        if self.core.is_leaving() {
            self.close(Closed::Left);
        } else if self.core.is_silent(self.now()) {
            self.handle_end(LinkEnd::Broken("nothing was heard of the server for too long".into()));
        }
    }

    /// The link has ended: decides by the code what comes of it.
    fn handle_end(&mut self, end: LinkEnd) {
        self.core.handle_loss();
        self.fetch = None;
        if self.core.is_leaving() {
            return self.close(Closed::Left);
        }
        let over = self.last_transport.as_str();
        match end {
            LinkEnd::Closed(refused) => self.handle_refusal(refused),
            LinkEnd::Broken(why) => {
                let cause = ConnectError::Unreachable { address: "the server".into(), over, why };
                self.schedule(cause, Duration::ZERO);
            }
            LinkEnd::Violation(what) => self.close(Closed::Protocol(what)),
        }
    }

    fn handle_refusal(&mut self, refused: Refused) {
        let at_least = refused.retry_after.unwrap_or_default();
        match refused.act() {
            Act::Resume | Act::Retry => self.schedule(refused.into(), at_least),
            Act::NewTicket if refused.is(Code::TooFast) => self.schedule(refused.into(), at_least),
            // Two clients of one player that both came back would put each other out for ever.
            Act::NewTicket if refused.is(Code::Replaced) => self.close(refused.into()),
            Act::NewTicket => self.arrive_anew(refused),
            Act::Stop | Act::Report => self.close(refused.into()),
        }
    }

    /// Comes back with a new ticket, once; a second time only if the first held for a while.
    fn arrive_anew(&mut self, refused: Refused) {
        let now = self.now();
        let again = self.renewed_at.is_some_and(|at| now.saturating_sub(at) < RENEWAL_HOLDS);
        if again || !self.connector.has_more_tickets() {
            return self.close(refused.into());
        }
        self.renewed_at = Some(now);
        self.lost_at.get_or_insert(now);
        self.anew = true;
        self.wait(refused.into(), Duration::ZERO);
    }

    /// An attempt has failed.
    fn handle_failure(&mut self, error: ConnectError) {
        match error {
            ConnectError::Refused(refused) => self.handle_refusal(refused),
            error @ ConnectError::BadUrl { .. } => self.close(Closed::Lost(error)),
            error => self.schedule(error, Duration::ZERO),
        }
    }

    /// Waits before the next attempt; decides whether there is one.
    fn schedule(&mut self, cause: ConnectError, at_least: Duration) {
        let now = self.now();
        let lost_at = *self.lost_at.get_or_insert(now);
        let grace_end = lost_at + self.core.grace();
        let wait = self.backoff.next_wait(getrandom::u64().unwrap_or(u64::MAX)).max(at_least);
        let left = grace_end.saturating_sub(now).saturating_sub(LAST_CHANCE);
        if left > at_least {
            // The last attempt is made shortly before the place is given away.
            self.wait(cause, wait.min(left));
        } else if self.connector.has_more_tickets() && now < grace_end + self.connector.patience() {
            self.anew = true;
            self.wait(cause, wait);
        } else {
            self.close(Closed::Lost(cause));
        }
    }

    fn wait(&mut self, cause: ConnectError, wait: Duration) {
        self.timer.as_mut().reset(Instant::now() + wait);
        self.state = State::Waiting;
        let attempt = self.backoff.attempts().max(1);
        self.events.push_back(Event::Reconnecting { attempt, wait, cause });
    }

    fn handle_link(&mut self, link: Link, welcome: Welcome) {
        let now = self.now();
        self.last_transport = link.transport();
        self.core.handle_welcome(welcome, self.last_transport, now);
        self.backoff.reset();
        self.lost_at = None;
        self.anew = false;
        self.state = State::Up(link);
    }

    fn close(&mut self, why: Closed) {
        self.core.handle_close();
        self.state = State::Over;
        self.events.push_back(Event::Closed(why));
    }
}

/// Hands the link what is to go out, as far as it has room.
fn send_due(link: &mut Link, core: &mut Core, scratch: &mut Vec<u8>, now: Duration) {
    while link.queued() < CONTROL_BACKLOG && core.poll_message(now, scratch) {
        link.queue(scratch);
    }
    let datagrams = link.transport() == Transport::WebTransport;
    if link.queued() < INPUT_BACKLOG && core.poll_inputs(datagrams, scratch) {
        link.send_inputs(scratch);
    }
}

/// Bytes that may wait on the link before requests and Pings wait in the core.
const CONTROL_BACKLOG: usize = 64 * 1_024;
/// Bytes that may wait on the link before inputs wait, and are shed, in the core.
const INPUT_BACKLOG: usize = 4 * 1_024;
/// When to look again for room for a Ping that is due.
const LATE_PING: Duration = Duration::from_millis(100);
/// How long leaving may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long before the end of the grace the last attempt is made.
const LAST_CHANCE: Duration = Duration::from_millis(500);
/// A new ticket that did not hold this long is not followed by another.
const RENEWAL_HOLDS: Duration = Duration::from_secs(30);

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
