//! The players: their plan, what they share with whoever watches, and what they saw.

mod datagrams;
pub mod orders;
pub mod revoke;
mod tally;
mod websocket;
mod webtransport;

pub use webtransport::WebTransportDoor;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use hdrhistogram::Histogram;

use crate::fault::Fault;
use crate::tickets::Mint;

/// What a group of players on one transport is to do.
#[derive(Clone)]
pub struct Plan {
    /// Where the server is.
    pub address: SocketAddr,
    /// Host and port as they stand in requests.
    pub authority: String,
    /// Path and query of the request: with the wish.
    pub path: String,
    /// TLS, where WebSocket goes over it.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The certificate's SHA-256, where it is known.
    pub certificate: Option<[u8; 32]>,
    /// The game to join.
    pub game: String,
    /// Who signs.
    pub mint: Arc<Mint>,
    /// Who takes tickets back, where that is the scenario.
    pub admin: Option<revoke::Admin>,
    /// Number of the first player; the others count up by `stride`.
    pub first: u64,
    /// From one player to the next.
    pub stride: u64,
    /// How many players.
    pub players: usize,
    /// Arrivals per second, of this group.
    pub ramp: f64,
    /// Inputs per second and player.
    pub input_rate: u32,
    /// Ticks per second that are expected.
    pub tick: u8,
    /// What else they do.
    pub behaviour: Behaviour,
}

/// Players on one transport.
pub enum Crowd {
    /// TCP, with TLS or without.
    WebSocket(Plan),
    /// QUIC.
    WebTransport(Plan),
    /// The datagrams of the floor.
    Datagrams(Plan),
}

impl Crowd {
    /// Lets them play until told to stop.
    ///
    /// # Errors
    /// [`Fault`] when this machine does not let them.
    pub fn run(&self, shared: &Arc<Shared>) -> Result<Seen, Fault> {
        match self {
            Self::WebSocket(plan) => websocket::run(plan, shared),
            Self::WebTransport(plan) => webtransport::run(plan, shared),
            Self::Datagrams(plan) => datagrams::run(plan, shared),
        }
    }
}

/// What players do besides playing.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub enum Behaviour {
    /// Nothing.
    Steady,
    /// All links drop when told, without a word, and come back with their resume tokens.
    Storm,
    /// One in so many stops reading once it is seated.
    Slow(usize),
    /// As [`Self::Churn`]; and once told to, ten times as many come with forged tickets.
    Forged(u64),
    /// While the window is open, each stays for about so many microseconds; then it leaves and somebody new comes.
    Churn(u64),
    /// While the window is open, the ticket of one after the other is taken back; each tries it once more, and somebody new
    /// comes.
    Revoke(revoke::Pace),
}

impl Behaviour {
    /// Whether who comes now stands in for somebody revoked: only those count who were there before and go on.
    fn replaces_revoked(self, tally: &tally::Tally) -> bool {
        matches!(self, Self::Revoke(_)) && tally.is_open()
    }
}

/// How long a player stays that came into the open window: half of `about` to one and a half, by its number, so that a
/// run can be repeated.
pub fn stay_us(about: u64, number: u64) -> u64 {
    about / 2 + rest_us(about, number)
}

/// How long one stays that was there before the window opened: anything up to `about`, as if it had come at any time.
pub fn rest_us(about: u64, number: u64) -> u64 {
    // Neighbouring numbers end up far apart.
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % about.max(1)
}

/// A phase of a run, as the players are told (0 comes first): what is seen now is reported.
pub const OPEN: u8 = 1;
/// No more.
pub const AFTER: u8 = 2;

/// What the players and whoever watches them have in common.
#[derive(Debug, Default)]
pub struct Shared {
    /// 0, [`OPEN`] or [`AFTER`].
    pub phase: AtomicU8,
    /// Everybody goes.
    pub stop: AtomicBool,
    /// All links are to drop now; counts up.
    pub storm: AtomicU64,
    /// Forged tickets come from now on, where that is the scenario.
    pub flood: AtomicBool,
    /// Players that have a seat now.
    pub seated: AtomicU64,
    /// Players that will not get one.
    pub failed: AtomicU64,
    /// Snapshots within the window.
    pub snapshots: AtomicU64,
    /// The smallest of (own clock less the server's) that was seen, in microseconds: the clocks' distance and the
    /// shortest way.
    offset_us: AtomicI64,
}

impl Shared {
    /// Nobody is there yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { offset_us: AtomicI64::new(i64::MAX), ..Self::default() })
    }

    /// Notes a server's time and when it came.
    pub fn saw_clock(&self, server_us: u64, now_us: u64) {
        self.offset_us.fetch_min(now_us as i64 - server_us as i64, Ordering::Relaxed);
    }

    /// How long ago the server's clock stood there; `None` before the first sample.
    pub fn age_us(&self, server_us: u64, now_us: u64) -> Option<u64> {
        let offset = self.offset_us.load(Ordering::Relaxed);
        (offset != i64::MAX).then(|| (now_us as i64 - server_us as i64 - offset).max(0) as u64)
    }
}

/// A distribution of microseconds, up to a minute.
pub type Micros = Histogram<u64>;

/// An empty distribution.
#[allow(clippy::expect_used)]
pub fn micros() -> Micros {
    Histogram::new_with_bounds(1, MINUTE_US, 3).expect("constant bounds that the crate takes")
}

/// What one second of the window looked like.
#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize)]
pub struct Second {
    /// Snapshots that came.
    pub snapshots: u64,
    /// Age of state on arrival, median.
    pub age_p50_us: u64,
    /// And the 99th percentile.
    pub age_p99_us: u64,
}

/// What a group of players saw.
#[derive(serde::Deserialize, serde::Serialize)]
pub struct Seen {
    /// From the scheduled arrival until the transport stood (TCP, TLS or QUIC).
    #[serde(with = "orders::distribution")]
    pub connect: Micros,
    /// From the request with the ticket to Welcome.
    #[serde(with = "orders::distribution")]
    pub welcome: Micros,
    /// The same, of players who came within the window before forged tickets did.
    #[serde(with = "orders::distribution")]
    pub calm: Micros,
    /// The same, of players who came among forged tickets.
    #[serde(with = "orders::distribution")]
    pub flooded: Micros,
    /// From the request with the ticket to the seat.
    #[serde(with = "orders::distribution")]
    pub seat: Micros,
    /// From the loss of all links until each was back.
    #[serde(with = "orders::distribution")]
    pub back: Micros,
    /// From the request that takes a ticket back to the Goodbye of who is in by it.
    #[serde(with = "orders::distribution")]
    pub revoked: Micros,
    /// From the same request to its answer.
    #[serde(with = "orders::distribution")]
    pub revoke_answer: Micros,
    /// Age of the state on arrival.
    #[serde(with = "orders::distribution")]
    pub age: Micros,
    /// How far the time between two snapshots was from the tick.
    #[serde(with = "orders::distribution")]
    pub jitter: Micros,
    /// The window, second by second.
    pub seconds: Vec<Second>,
    /// Snapshots within the window.
    pub snapshots: u64,
    /// Snapshots that were due within it.
    pub due: f64,
    /// Bytes that came within it.
    pub bytes_in: u64,
    /// Bytes that were sent within it.
    pub bytes_out: u64,
    /// Inputs sent within it.
    pub inputs: u64,
    /// Inputs that the socket did not take.
    pub inputs_shed: u64,
    /// Links that were lost though nobody asked for it.
    pub lost: u64,
    /// Players who left and were followed by others.
    pub turnover: u64,
    /// Refusals and other failures, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Forged tickets that were refused.
    pub forged_refused: u64,
    /// Forged tickets that were let in: must be 0.
    pub forged_accepted: u64,
    /// Players who were not told by the end of the window that their tickets had been taken back: must be 0.
    pub untold: u64,
    /// Tickets that had been taken back and were refused.
    pub revoked_refused: u64,
    /// Tickets that had been taken back and were let in: must be 0.
    pub revoked_accepted: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            connect: micros(),
            welcome: micros(),
            calm: micros(),
            flooded: micros(),
            seat: micros(),
            back: micros(),
            revoked: micros(),
            revoke_answer: micros(),
            age: micros(),
            jitter: micros(),
            seconds: Vec::new(),
            snapshots: 0,
            due: 0.0,
            bytes_in: 0,
            bytes_out: 0,
            inputs: 0,
            inputs_shed: 0,
            lost: 0,
            turnover: 0,
            failures: BTreeMap::new(),
            forged_refused: 0,
            forged_accepted: 0,
            untold: 0,
            revoked_refused: 0,
            revoked_accepted: 0,
        }
    }
}

impl Seen {
    /// Notes how long a player waited who came within the window, before the flood or in it.
    pub fn welcomed(&mut self, micros: u64, open: bool, flooded: bool) {
        record(&mut self.welcome, micros);
        if open {
            record(if flooded { &mut self.flooded } else { &mut self.calm }, micros);
        }
    }

    /// Notes why something failed.
    pub fn fail(&mut self, why: impl Into<String>) {
        *self.failures.entry(why.into()).or_default() += 1;
    }

    /// The most frequent reason of failure.
    pub fn worst_failure(&self) -> Option<&str> {
        self.failures.iter().max_by_key(|(_, count)| **count).map(|(why, _)| why.as_str())
    }

    /// Puts two groups together.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.connect, &other.connect),
            (&mut self.welcome, &other.welcome),
            (&mut self.calm, &other.calm),
            (&mut self.flooded, &other.flooded),
            (&mut self.seat, &other.seat),
            (&mut self.back, &other.back),
            (&mut self.revoked, &other.revoked),
            (&mut self.revoke_answer, &other.revoke_answer),
            (&mut self.age, &other.age),
            (&mut self.jitter, &other.jitter),
        ];
        for (to, from) in pairs {
            // Both have the same bounds.
            let _ = to.add(from);
        }
        for (index, second) in other.seconds.iter().enumerate() {
            match self.seconds.get_mut(index) {
                Some(own) => {
                    own.snapshots += second.snapshots;
                    own.age_p50_us = own.age_p50_us.max(second.age_p50_us);
                    own.age_p99_us = own.age_p99_us.max(second.age_p99_us);
                }
                None => self.seconds.push(second.clone()),
            }
        }
        self.snapshots += other.snapshots;
        self.due += other.due;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.inputs += other.inputs;
        self.inputs_shed += other.inputs_shed;
        self.lost += other.lost;
        self.turnover += other.turnover;
        self.forged_refused += other.forged_refused;
        self.forged_accepted += other.forged_accepted;
        self.untold += other.untold;
        self.revoked_refused += other.revoked_refused;
        self.revoked_accepted += other.revoked_accepted;
        for (why, count) in &other.failures {
            *self.failures.entry(why.clone()).or_default() += count;
        }
    }
}

/// Notes a time in a distribution; what is beyond its bounds counts as the bound.
pub fn record(to: &mut Micros, micros: u64) {
    to.saturating_record(micros.max(1));
}

/// Forged tickets for each honest player who comes.
pub const FORGED_FOR_ONE: u64 = 10;
const MINUTE_US: u64 = 60_000_000;
