//! One live link as the hub knows it, and the inbound way of its messages.
//!
//! The hot path is here: an input goes from whoever reads the link straight into its session's mailbox, past the hub's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::Hub;
use crate::ids::{PlayerId, SeatId};
use crate::limits::{Limits, TokenBucket};
use crate::metrics::{InputDrop, Metrics};
use crate::outbox::{Outlet, Transport};
use crate::ticker::SessionRun;
use crate::ticket::Ticket;
use crate::wire::{ClientFrame, ClientMessage, Code, InputBatch, ServerMessage, decode_client, encode_server};

/// A link's number on this node. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// One live link. What an input touches of it comes first and lies together: it is cold whenever its peer sends one.
#[repr(C, align(64))]
pub struct Link {
    inbound: Mutex<Inbound>,
    pub id: LinkId,
    pub player: PlayerId,
    pub outlet: Arc<dyn Outlet>,
    /// Numbered messages the client says it has; spares the hub's lock when that is nothing new.
    received: AtomicU64,
    closing: AtomicBool,
}

#[repr(C)]
struct Inbound {
    route: Option<Route>,
    /// Its clock is the session's: a second stands for a tick, so that an input asks no other clock.
    inputs: TokenBucket,
    /// Only while it is over a rate, so that it takes no room otherwise.
    over: Option<Box<Strain>>,
    /// An input before the first seat is out of order; one after the last is only late.
    was_seated: bool,
    messages: TokenBucket,
}

/// A link that is over one of its rates.
#[derive(Clone, Copy)]
struct Strain {
    since: Duration,
    last: Duration,
}

/// Where this link's inputs go.
#[derive(Clone)]
pub struct Route {
    pub run: Arc<SessionRun>,
    pub seat: SeatId,
}

impl Link {
    pub fn new(id: LinkId, player: PlayerId, outlet: Arc<dyn Outlet>, limits: &Limits, now: Duration) -> Self {
        let inbound = Inbound {
            route: None,
            was_seated: false,
            messages: TokenBucket::full(limits.messages_per_second * MESSAGE_BURST, now),
            inputs: TokenBucket::full(0, now),
            over: None,
        };
        Self {
            id,
            player,
            outlet,
            inbound: Mutex::new(inbound),
            received: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        }
    }

    /// Leads inputs to a seat, or nowhere.
    pub fn set_route(&self, route: Option<Route>, limits: &Limits) {
        let mut inbound = self.inbound.lock();
        if let Some(route) = &route {
            inbound.was_seated = true;
            inbound.inputs = TokenBucket::full(input_burst(limits, route.run.hz()), route.run.game_time());
        }
        inbound.route = route;
    }

    /// Takes inputs for late ones, where the player had a seat over an earlier link: it may not know yet that it is over.
    pub fn was_seated_before(&self) {
        self.inbound.lock().was_seated = true;
    }

    /// Counts the link's end under the first code that anybody closes it with.
    pub fn count_close(&self, code: Code, metrics: &Metrics) {
        if !self.closing.swap(true, Ordering::Relaxed) {
            metrics.closes.of(code).inc();
            tracing::debug!(player = %self.player.in_log(), code = code.number(), slug = code.slug(), "closing a link");
        }
    }

    /// Closes the link from the hub's side.
    pub fn close(&self, code: Code, goodbye: &Bytes, metrics: &Metrics) {
        self.count_close(code, metrics);
        self.outlet.close(code, goodbye);
    }
}

/// The inbound half of an admitted link. Dropping it says that the link is lost.
pub struct Attached {
    hub: Hub,
    link: Arc<Link>,
    transport: Transport,
}

impl Attached {
    pub(super) fn new(hub: Hub, link: Arc<Link>) -> Self {
        let transport = link.outlet.transport();
        Self { hub, link, transport }
    }

    /// Has the processor fetch what an input touches, without waiting for it.
    pub fn warm(&self) {
        std::hint::black_box(self.link.inbound.is_locked());
    }

    /// Takes one whole message, from whichever path of the transport.
    ///
    /// # Errors
    /// The code to close the link with.
    pub fn handle_message(&self, bytes: &[u8]) -> Result<(), Code> {
        let metrics = self.hub.metrics();
        metrics.messages_in.of(self.transport).inc();
        metrics.bytes_in.of(self.transport).inc_by(bytes.len() as u64);
        match decode_client(bytes) {
            Ok(ClientFrame::Inputs(batch)) => self.handle_inputs(batch),
            Ok(ClientFrame::Message(message)) => {
                let fits = self.takes_message()?;
                if !fits {
                    self.hub.metrics().refusals.of(Code::TooFast).inc();
                }
                self.handle_control(message, fits)
            }
            Err(_) => Err(Code::Malformed),
        }
    }

    /// Records that the link's own transport closes it, with this code.
    pub fn closing(&self, code: Code) {
        self.link.count_close(code, self.hub.metrics());
    }

    fn handle_inputs(&self, batch: InputBatch<'_>) -> Result<(), Code> {
        let limits = self.hub.limits();
        let mut inbound = self.link.inbound.lock();
        let Inbound { route, inputs, was_seated, over, .. } = &mut *inbound;
        let Some(Route { run, seat }) = route else {
            return if *was_seated { Ok(()) } else { Err(Code::Malformed) };
        };
        let fits = inputs.take(limits.inputs_per_tick, input_burst(limits, run.hz()), run.game_time());
        if !fits || over.is_some() {
            hold_to_rate(over, fits, self.hub.clock().now(), limits.flood_grace)?;
        }
        if fits {
            run.push_inputs(*seat, batch);
        } else {
            self.hub.metrics().inputs_dropped.of(InputDrop::TooMany).inc();
        }
        Ok(())
    }

    fn takes_message(&self) -> Result<bool, Code> {
        let limits = self.hub.limits();
        let now = self.hub.clock().now();
        let mut inbound = self.link.inbound.lock();
        let rate = limits.messages_per_second;
        let fits = inbound.messages.take(rate, rate * MESSAGE_BURST, now);
        hold_to_rate(&mut inbound.over, fits, now, limits.flood_grace)?;
        Ok(fits)
    }

    /// One that is over the rate is not carried out; a request is still answered, since its number is used up.
    fn handle_control(&self, message: ClientMessage, fits: bool) -> Result<(), Code> {
        let Link { player, outlet, id, .. } = &*self.link;
        match message {
            ClientMessage::Ping { .. } if !fits => Ok(()),
            ClientMessage::Ping { nonce, received } => {
                if self.link.received.swap(received, Ordering::Relaxed) != received {
                    self.hub.acknowledge(player, *id, received);
                }
                let server_time_us = self.hub.clock().now().as_micros() as u64;
                let pong = encode_server(&ServerMessage::Pong { nonce, server_time_us });
                if outlet.queue(&pong).is_err() {
                    return Err(Code::SlowReader);
                }
                outlet.flush();
                Ok(())
            }
            ClientMessage::Request { id: request, body } => {
                self.hub.request(player, *id, request, fits.then_some(body))
            }
            ClientMessage::Bye => {
                self.hub.bye(player, *id);
                Ok(())
            }
            ClientMessage::Renew { ticket } => self.hub.renew(player, *id, fits.then(|| Ticket::new(ticket))),
            // The first and only Hello was read at admission; inputs were read before this.
            ClientMessage::Hello { .. } | ClientMessage::Inputs(_) => Err(Code::Malformed),
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.hub.link_lost(&self.link);
    }
}

impl Hub {
    /// Forgets what the player has received. The count of a link that was replaced may be of an earlier arrival.
    fn acknowledge(&self, player: &PlayerId, link: LinkId, received: u64) {
        if let Some(presence) = self.0.state.lock().players.get_mut(player)
            && presence.link.as_ref().is_some_and(|current| current.id == link)
        {
            presence.log.acknowledge(received);
        }
    }

    fn bye(&self, player: &PlayerId, link: LinkId) {
        self.turn(|turn| {
            let current = turn.state.players.get(player).and_then(|presence| presence.link.as_ref());
            if current.is_some_and(|current| current.id == link) {
                turn.cut(player, Code::Left);
                turn.depart(player);
            }
        });
    }

    fn link_lost(&self, link: &Arc<Link>) {
        self.turn(|turn| turn.handle_link_lost(&link.player, link.id));
        link.set_route(None, &self.0.limits);
        self.0.links.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.links.of(link.outlet.transport()).dec();
    }
}

/// Ends a link that has been over its rate for the grace time. A second within the rate clears it.
fn hold_to_rate(over: &mut Option<Box<Strain>>, fits: bool, now: Duration, grace: Duration) -> Result<(), Code> {
    match over {
        Some(strain) if fits && now.saturating_sub(strain.last) > Duration::from_secs(1) => *over = None,
        Some(_) if fits => {}
        Some(strain) => {
            strain.last = now;
            if now.saturating_sub(strain.since) >= grace {
                return Err(Code::TooFast);
            }
        }
        None if !fits => *over = Some(Box::new(Strain { since: now, last: now })),
        None => {}
    }
    Ok(())
}

fn input_burst(limits: &Limits, hz: u8) -> u32 {
    limits.inputs_per_tick * u32::from(hz)
}

/// A burst is this many seconds' worth of control messages.
const MESSAGE_BURST: u32 = 4;
