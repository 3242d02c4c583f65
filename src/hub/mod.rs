//! Who is where: players, their links, their lobbies and their sessions; and the carrying of events between them.
//!
//! Owns: the tables and the one lock over them. Every change is one `Turn`: take the lock, let the pure rooms decide,
//! queue what they say at the links, let go of the lock, and only then write to sockets. The hot path (inputs, ticks,
//! snapshots) does not come through here. Must not know: tickets, sockets, how messages are encoded.

mod expel;
mod link;
mod lobbies;
mod log;
mod overview;
mod player;
mod renewal;
mod requests;
mod sessions;
mod translate;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use link::Attached;
pub use lobbies::{JoinFault, Target};
pub use overview::PlayerFacts;
pub use player::{Arrival, Place};
pub use renewal::Renewal;

use self::link::Link;
use self::lobbies::{LobbyEntry, QuickIndex};
use self::player::Presence;
use self::renewal::Renewals;
use crate::clock::Clock;
use crate::game::Registry;
use crate::ids::{JoinCode, LobbyId, PlayerId, SessionId};
use crate::limits::Limits;
use crate::lobby::ListFilter;
use crate::metrics::Metrics;
use crate::outbox::Outlet;
use crate::wire::{Code, Goodbye, LobbySummary, ServerMessage, encode_server};

/// The players, lobbies and sessions of one node. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    limits: Limits,
    /// How long a place is held for somebody who has been admitted and is not here yet.
    reservation: Duration,
    registry: Registry,
    metrics: Arc<Metrics>,
    clock: Clock,
    draining: AtomicBool,
    /// Links that are attached.
    links: AtomicUsize,
    /// Rung when an earlier deadline came up.
    timer: Notify,
    /// Fresh tickets on their way to be judged.
    renewals: Renewals,
    state: Mutex<State>,
}

struct State {
    /// Boxed: a table that grows moves its entries.
    players: HashMap<PlayerId, Box<Presence>>,
    /// By the SHA-256 of the resume token.
    resumes: HashMap<[u8; 32], PlayerId>,
    lobbies: HashMap<LobbyId, LobbyEntry>,
    codes: HashMap<JoinCode, LobbyId>,
    sessions: HashMap<SessionId, LobbyId>,
    quick: QuickIndex,
    timers: BTreeSet<(Duration, Timer)>,
    watchers: HashSet<PlayerId>,
    list_due: Option<Duration>,
    next_link: u64,
    next_arrival: u64,
    next_tag: u32,
    next_renewal: u64,
    random: StdRng,
}

/// What a deadline belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The lobby's own next deadline.
    Lobby(LobbyId),
    /// The members are told how the lobby looks.
    View(LobbyId),
    /// A player whose link is lost goes.
    Grace(PlayerId),
    /// Those who watch are told the list.
    List,
    /// A player is asked for a fresh ticket, or goes for want of one.
    Ticket(PlayerId),
}

/// One change to the hub, under its lock. When it is over, what was queued is written.
struct Turn<'a> {
    hub: &'a Hub,
    state: MutexGuard<'a, State>,
    now: Duration,
    touched: Vec<Arc<dyn Outlet>>,
}

impl Hub {
    /// An empty hub that seats players in the registered games.
    pub fn new(
        limits: Limits,
        reservation: Duration,
        registry: Registry,
        metrics: Arc<Metrics>,
        clock: Clock,
        seed: [u8; 32],
    ) -> Self {
        let state = State {
            players: HashMap::new(),
            resumes: HashMap::new(),
            lobbies: HashMap::new(),
            codes: HashMap::new(),
            sessions: HashMap::new(),
            quick: QuickIndex::default(),
            timers: BTreeSet::new(),
            watchers: HashSet::new(),
            list_due: None,
            next_link: 1,
            next_arrival: 1,
            next_tag: 1,
            next_renewal: 1,
            random: StdRng::from_seed(seed),
        };
        Self(Arc::new(Shared {
            limits,
            reservation,
            registry,
            metrics,
            clock,
            draining: AtomicBool::new(false),
            links: AtomicUsize::new(0),
            timer: Notify::new(),
            renewals: Renewals::default(),
            state: Mutex::new(state),
        }))
    }

    /// The node's clock.
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// The node's bounds.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The node's figures.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Whether new players are turned away because the node is about to stop.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// How many links are attached.
    pub fn links(&self) -> usize {
        self.0.links.load(Ordering::Relaxed)
    }

    /// The public lobbies that a filter lets through, fullest first, at most [`LIST_MAX`].
    pub fn list(&self, filter: &ListFilter) -> Vec<LobbySummary> {
        self.0.state.lock().list(filter)
    }

    /// Carries out what is due, until cancelled.
    ///
    /// # Cancel safety
    /// May be dropped at any await; nothing is lost but the waking.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let next = self.turn(|turn| {
                turn.handle_timers();
                turn.state.timers.first().map(|(at, _)| *at)
            });
            let due = next.map(|at| self.0.clock.instant(at));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.0.timer.notified() => {}
                () = async { match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {}
            }
        }
    }

    /// Turns new players away and says goodbye to everybody; sessions end with the node.
    pub fn drain(&self, code: Code) {
        self.0.draining.store(true, Ordering::Relaxed);
        let links: Vec<Arc<Link>> = {
            let state = self.0.state.lock();
            state.players.values().filter_map(|presence| presence.link.clone()).collect()
        };
        let goodbye = encode_goodbye(code, Some(DRAIN_RETRY));
        for link in links {
            link.close(code, &goodbye, &self.0.metrics);
        }
    }

    fn turn<T>(&self, change: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        let mut turn = Turn { hub: self, now: self.0.clock.now(), state: self.0.state.lock(), touched: Vec::new() };
        let earliest = turn.state.timers.first().map(|(at, _)| *at);
        let outcome = change(&mut turn);
        let rung = match (earliest, turn.state.timers.first()) {
            (Some(before), Some((at, _))) => *at < before,
            (None, Some(_)) => true,
            _ => false,
        };
        let Turn { state, touched, .. } = turn;
        drop(state);
        if rung {
            self.0.timer.notify_one();
        }
        for outlet in touched {
            outlet.flush();
        }
        outcome
    }
}

impl Turn<'_> {
    /// Queues a message for a player: numbered ones also for a resume, when no link is up.
    fn send(&mut self, player: &PlayerId, message: &ServerMessage) {
        let encoded = encode_server(message);
        self.send_encoded(player, &encoded, message.is_numbered());
    }

    fn send_encoded(&mut self, player: &PlayerId, encoded: &Bytes, numbered: bool) {
        let Some(presence) = self.state.players.get_mut(player) else { return };
        if numbered {
            presence.log.push(encoded.clone(), self.hub.0.limits.resume_bytes);
        }
        let Some(link) = &presence.link else { return };
        let outlet = Arc::clone(&link.outlet);
        if outlet.queue(encoded).is_err() {
            self.hub.0.metrics.queue_overflows.inc();
            self.cut(player, Code::SlowReader);
        } else if !self.touched.last().is_some_and(|last| Arc::ptr_eq(last, &outlet)) {
            self.touched.push(outlet);
        }
    }

    /// Takes the link from a player and closes it; the place waits.
    fn cut(&mut self, player: &PlayerId, code: Code) {
        self.cut_for(player, code, code.slug());
    }

    /// As [`Self::cut`], with a reason more telling than the code's own.
    fn cut_for(&mut self, player: &PlayerId, code: Code, reason: &'static str) {
        let Some(link) = self.state.players.get(player).and_then(|presence| presence.link.clone()) else { return };
        link.close(code, &encode_reason(code, reason, None), &self.hub.0.metrics);
        self.handle_link_lost(player, link.id);
    }

    fn set_timer(&mut self, old: Option<Duration>, new: Option<Duration>, timer: Timer) {
        if old == new {
            return;
        }
        if let Some(at) = old {
            self.state.timers.remove(&(at, timer.clone()));
        }
        if let Some(at) = new {
            self.state.timers.insert((at, timer));
        }
    }

    fn handle_timers(&mut self) {
        while let Some((at, _)) = self.state.timers.first()
            && *at <= self.now
        {
            let Some((_, timer)) = self.state.timers.pop_first() else { return };
            match timer {
                Timer::Lobby(id) => self.handle_lobby_timeout(id),
                Timer::View(id) => self.send_views(id),
                Timer::Grace(player) => self.handle_grace_end(&player),
                Timer::List => self.send_lists(),
                Timer::Ticket(player) => self.handle_ticket_timeout(&player),
            }
        }
    }
}

/// Encodes the last message of a link.
pub fn encode_goodbye(code: Code, retry_after: Option<Duration>) -> Bytes {
    encode_reason(code, code.slug(), retry_after)
}

/// As [`encode_goodbye`], with a reason more telling than the code's own.
fn encode_reason(code: Code, reason: &'static str, retry_after: Option<Duration>) -> Bytes {
    let retry_after_ms = retry_after.map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX));
    encode_server(&ServerMessage::Goodbye(Goodbye { code: code.number(), reason: reason.to_owned(), retry_after_ms }))
}

/// When those who were told to go may look for the node's successor.
const DRAIN_RETRY: Duration = Duration::from_secs(1);
/// The most lobbies in one list.
pub const LIST_MAX: usize = 200;
