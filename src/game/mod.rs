//! The [`Game`] trait that a game's author implements, and the games that come with the server.
//!
//! Owns: the trait, its object-safe form, the registry, `arena` and `relay`. Must not know: links, lobbies, the wire,
//! the clock. A game sees seats, inputs and ticks; time and randomness are handed to it, so that the same inputs and
//! the same seed give the same bytes on every machine.
//!
//! A whole game, with its inputs and its state:
//!
//! ```
//! use muster::game::prelude::*;
//!
//! /// Two teams pull a rope: even seats to the left, odd seats to the right.
//! struct Tug {
//!     rope: i32,
//!     length: i32,
//! }
//!
//! #[derive(Encode, Decode)]
//! #[bincode(crate = "muster::codec::bincode")]
//! struct Pull(u8);
//!
//! #[derive(Encode, Decode)]
//! #[bincode(crate = "muster::codec::bincode")]
//! struct Rope {
//!     position: i32,
//! }
//!
//! impl Game for Tug {
//!     const NAME: &'static str = "tug";
//!     const PLAYERS: RangeInclusive<u16> = 2..=8;
//!
//!     type Settings = (); // nothing to choose
//!     type Input = Pull;
//!     type State = Rope;
//!
//!     fn new(_: (), _: &Setup) -> Self {
//!         Tug { rope: 0, length: 100 }
//!     }
//!
//!     fn input(&mut self, seat: SeatId, Pull(strength): Pull) {
//!         let pull = i32::from(strength.min(3)); // the server is the judge: nobody pulls harder than 3
//!         self.rope += if seat.0 % 2 == 0 { -pull } else { pull };
//!     }
//!
//!     fn step(&mut self, _: &TickContext) -> Flow {
//!         if self.rope.abs() < self.length { Flow::Continue } else { Flow::end(&(self.rope > 0)) }
//!     }
//!
//!     fn snapshot(&self) -> Rope {
//!         Rope { position: self.rope }
//!     }
//! }
//!
//! let mut games = Registry::built_in();
//! games.register::<Tug>()?;
//! # Ok::<(), muster::game::BadGame>(())
//! ```
//!
//! `#[bincode(crate = …)]` names where the derived code finds bincode; a crate that depends on `bincode = "=2.0.1"`
//! itself leaves it out.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::codec::{self, Decode, Encode};
use crate::ids::{PlayerId, SeatId, Tick};

pub mod arena;
mod erased;
mod registry;
pub mod relay;

pub use erased::{RunningGame, erase};
pub use registry::{BadGame, CreateError, GameInfo, GameKind, Registry};

/// What a file that implements a game needs.
pub mod prelude {
    pub use std::ops::RangeInclusive;

    pub use super::{BadSettings, Dice, Flow, Game, Player, Registry, Setup, TickContext};
    pub use crate::codec::{Decode, Encode};
    pub use crate::ids::{SeatId, Tick};
}

/// A game: what happens at each tick of one session.
///
/// The server calls it from one thread at a time, in this order at every tick: what happened since the last one, in
/// the order it arrived ([`join`](Self::join), [`leave`](Self::leave), [`absent`](Self::absent),
/// [`present`](Self::present), [`input`](Self::input)), then [`step`](Self::step), then [`snapshot`](Self::snapshot),
/// whose bytes go to everybody in the session. Inputs come only from seats that are taken, each at most once, in
/// rising order. A panic ends this session (`session-crashed`, 4011) and nothing else.
///
/// What a game does must follow from the arguments alone: no clock, no randomness of its own, no order of a hash map.
pub trait Game: Send + Sized + 'static {
    /// The name under which lobbies choose the game: 1 to 32 of `a-z`, `0-9`, `-`.
    const NAME: &'static str;

    /// How many players it takes to start, and how many seats there are.
    const PLAYERS: RangeInclusive<u16>;

    /// Ticks per second, 1 to 128.
    const TICK_HZ: u8 = 20;

    /// Whether a player may take a free seat after the start.
    const LATE_JOIN: bool = true;

    /// What a lobby's host can choose. An empty encoding stands for the default.
    type Settings: Decode<()> + Default;

    /// What a player sends. Bytes that are not one are counted and dropped before the game sees them.
    type Input: Decode<()>;

    /// What the players see after a tick.
    type State: Encode;

    /// Looks at the settings before a lobby is created with them.
    ///
    /// # Errors
    /// [`BadSettings`] says to the host what is wrong.
    fn check(_settings: &Self::Settings) -> Result<(), BadSettings> {
        Ok(())
    }

    /// Begins a game with settings that have passed [`check`](Self::check). Nobody has joined yet.
    fn new(settings: Self::Settings, setup: &Setup) -> Self;

    /// Somebody took a seat that was free.
    fn join(&mut self, _seat: SeatId, _player: &Player) {}

    /// Somebody gave a seat up for good. It may be taken again, by anybody.
    fn leave(&mut self, _seat: SeatId) {}

    /// The link of a player was lost; the seat waits.
    fn absent(&mut self, _seat: SeatId) {}

    /// A player whose link was lost is back.
    fn present(&mut self, _seat: SeatId) {}

    /// A player's input. Not to be trusted: only the seat is certain.
    fn input(&mut self, seat: SeatId, input: Self::Input);

    /// One tick passes.
    fn step(&mut self, tick: &TickContext) -> Flow;

    /// The state after the tick.
    fn snapshot(&self) -> Self::State;

    /// Appends the encoded state. The default encodes [`snapshot`](Self::snapshot); a game whose state is large
    /// overrides it to encode in place, with the same bytes, and so allocates nothing.
    fn write_snapshot(&self, out: &mut Vec<u8>) {
        codec::encode_into(&self.snapshot(), out);
    }
}

/// What a game is begun with besides its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// All the randomness there is. Secret: who knows it can foretell the game.
    pub seed: u64,
    /// Ticks per second, 1 to 128; [`Game::TICK_HZ`] unless the operator chose another.
    pub tick_hz: u8,
}

impl Setup {
    /// The game's own randomness, the same for the same seed.
    pub fn dice(&self) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(self.seed))
    }
}

/// Randomness that is the same on every machine for the same seed, and that what was seen of it does not foretell.
#[derive(Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 up to but not including `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.roll()) * u128::from(bound)) >> 64) as u32
    }
}

/// The tick that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickContext {
    /// Its number; the first is 1, each one more than the last.
    pub tick: Tick,
    /// Ticks per second.
    pub tick_hz: u8,
}

impl TickContext {
    /// How much game time one tick is.
    pub fn dt(&self) -> Duration {
        Duration::from_secs(1) / u32::from(self.tick_hz.max(1))
    }

    /// How much game time has passed with this tick: a multiple of the tick, without the errors of a sum.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(u64::from(self.tick.0) * 1_000_000_000 / u64::from(self.tick_hz.max(1)))
    }
}

/// Whether the game goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// There will be another tick.
    Continue,
    /// This was the last one; the players are told the encoded result.
    End(Vec<u8>),
}

impl Flow {
    /// The end, with a result.
    pub fn end(result: &impl Encode) -> Self {
        Self::End(codec::encode(result))
    }
}

/// Who takes a seat. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Player {
    /// The `sub` of the ticket.
    pub id: PlayerId,
    /// The name shown to others, already cleaned.
    pub name: Arc<str>,
    /// The rating that the ticket claims, if any.
    pub rating: Option<i32>,
}

/// Settings that a game does not take. The lobby's host is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSettings(
    /// What is wrong and what is allowed, in one line.
    pub String,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_from_the_ticks_and_does_not_drift() {
        let at = |tick, tick_hz| TickContext { tick: Tick(tick), tick_hz };
        assert_eq!(at(60 * 3_600, 60).elapsed(), Duration::from_secs(3_600));
        assert_eq!(at(u32::MAX, 128).elapsed(), Duration::from_nanos(u64::from(u32::MAX) * 7_812_500));
        assert_eq!(at(1, 20).dt(), Duration::from_millis(50));
        assert_eq!(at(1, 0).dt(), Duration::from_secs(1), "a rate of nothing is taken for one");
    }

    #[test]
    fn the_dice_of_a_seed_fall_the_same_for_ever() {
        let mut dice = Setup { seed: 42, tick_hz: 20 }.dice();
        let falls: Vec<u32> = (0..6).map(|_| dice.below(1_000)).collect();
        assert_eq!(falls, [681, 950, 427, 627, 288, 149]);
        assert_eq!(dice.below(0), 0);
        assert!((0..1_000).all(|_| dice.below(3) < 3));
    }
}
