//! Which games this server has, by name.
//!
//! Owns: the table and what is known of each game without running it. Must not know: who plays what.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{BadSettings, Game, RunningGame, Setup, arena::Arena, erase, relay::Relay};
use crate::codec;
use crate::ids::GameName;

/// The games of a server.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    games: BTreeMap<GameName, GameKind>,
}

impl Registry {
    /// No game at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The games that come with muster: `arena` and `relay`.
    pub fn built_in() -> Self {
        let kinds = [GameKind::of::<Arena>(), GameKind::of::<Relay>()];
        Self { games: kinds.into_iter().flatten().map(|kind| (kind.info.name.clone(), kind)).collect() }
    }

    /// Adds a game.
    ///
    /// # Errors
    /// [`BadGame`] when the game's constants are out of bounds or the name is taken.
    pub fn register<G: Game>(&mut self) -> Result<(), BadGame> {
        let kind = GameKind::of::<G>()?;
        if self.games.contains_key(&kind.info.name) {
            return Err(BadGame::NameTaken(G::NAME));
        }
        self.games.insert(kind.info.name.clone(), kind);
        Ok(())
    }

    /// The same games, all at another rate.
    ///
    /// # Errors
    /// [`BadGame::TickRate`] unless it is 1 to 128 ticks per second.
    pub fn with_tick_hz(self, tick_hz: u8) -> Result<Self, BadGame> {
        let games = self.games.into_iter().map(|(name, kind)| Ok((name, kind.with_tick_hz(tick_hz)?)));
        Ok(Self { games: games.collect::<Result<_, BadGame>>()? })
    }

    /// Looks a game up.
    pub fn game(&self, name: &GameName) -> Option<&GameKind> {
        self.games.get(name)
    }

    /// Looks a game up by a name that nobody has checked.
    pub fn game_named(&self, name: &str) -> Option<&GameKind> {
        GameName::new(name).ok().and_then(|name| self.games.get(&name))
    }

    /// All games, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &GameKind> {
        self.games.values()
    }
}

/// What is known of a game without running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GameInfo {
    /// Its name.
    pub name: GameName,
    /// Players needed to start, and seats in all.
    pub players: RangeInclusive<u16>,
    /// Ticks per second.
    pub tick_hz: u8,
    /// Whether a player may take a free seat after the start.
    pub late_join: bool,
}

/// A game that can be begun any number of times.
#[derive(Clone, Debug)]
pub struct GameKind {
    info: GameInfo,
    check: fn(&[u8]) -> Result<(), CreateError>,
    create: fn(&[u8], &Setup) -> Created,
}

impl GameKind {
    /// The kind of a game.
    ///
    /// # Errors
    /// [`BadGame`] when the game's constants are out of bounds.
    pub fn of<G: Game>() -> Result<Self, BadGame> {
        let name = GameName::new(G::NAME).map_err(|_| BadGame::Name(G::NAME))?;
        if *G::PLAYERS.start() == 0 || G::PLAYERS.is_empty() || *G::PLAYERS.end() > MAX_SEATS {
            return Err(BadGame::Players(G::NAME));
        }
        let kind = Self {
            info: GameInfo { name, players: G::PLAYERS, tick_hz: G::TICK_HZ, late_join: G::LATE_JOIN },
            check: |settings| caught(|| read_settings::<G>(settings).map(drop)),
            create: |settings, setup| caught(|| Ok(erase(G::new(read_settings::<G>(settings)?, setup)))),
        };
        kind.with_tick_hz(G::TICK_HZ)
    }

    /// The same game at another rate.
    ///
    /// # Errors
    /// [`BadGame::TickRate`] unless it is 1 to 128 ticks per second.
    pub fn with_tick_hz(mut self, tick_hz: u8) -> Result<Self, BadGame> {
        if !(1..=128).contains(&tick_hz) {
            return Err(BadGame::TickRate(tick_hz));
        }
        self.info.tick_hz = tick_hz;
        Ok(self)
    }

    /// What is known of it.
    pub fn info(&self) -> &GameInfo {
        &self.info
    }

    /// Looks at encoded settings without beginning a game. Empty means the game's defaults.
    ///
    /// # Errors
    /// [`CreateError`] says whose fault it is.
    pub fn check_settings(&self, settings: &[u8]) -> Result<(), CreateError> {
        (self.check)(settings)
    }

    /// Begins a game, at the kind's tick rate. Empty settings mean the game's defaults.
    ///
    /// # Errors
    /// [`CreateError`] says whose fault it is; a game that panics is caught.
    pub fn create(&self, settings: &[u8], seed: u64) -> Result<Box<dyn RunningGame>, CreateError> {
        (self.create)(settings, &Setup { seed, tick_hz: self.info.tick_hz })
    }
}

/// Why a game was not begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The bytes are not this game's settings. The host is at fault.
    #[error("not settings of this game")]
    Undecodable,
    /// The game does not take these settings. The host is at fault.
    #[error(transparent)]
    Settings(#[from] BadSettings),
    /// The game panicked. The game is at fault.
    #[error("the game panicked")]
    Panicked,
}

/// A game whose constants make no sense. Its author is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGame {
    /// The name is not 1 to 32 of `a-z`, `0-9`, `-`.
    #[error("{0:?} is not a name for a game: 1 to 32 of a-z, 0-9 and hyphen")]
    Name(&'static str),
    /// Another game has the name.
    #[error("there is a game called {0:?} already")]
    NameTaken(&'static str),
    /// No seats, an empty range, or more than 1,000 seats.
    #[error("the game {0:?} must have from 1 to 1000 players, the lower bound first")]
    Players(&'static str),
    /// The rate is not 1 to 128 ticks per second.
    #[error("{0} ticks per second: the rate must be from 1 to 128")]
    TickRate(u8),
}

type Created = Result<Box<dyn RunningGame>, CreateError>;

fn read_settings<G: Game>(settings: &[u8]) -> Result<G::Settings, CreateError> {
    let settings = match settings {
        [] => G::Settings::default(),
        bytes => codec::decode_peer(bytes).map_err(|_| CreateError::Undecodable)?,
    };
    G::check(&settings)?;
    Ok(settings)
}

fn caught<T>(run: impl FnOnce() -> Result<T, CreateError>) -> Result<T, CreateError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(CreateError::Panicked))
}

/// The most seats that a game can have.
const MAX_SEATS: u16 = 1_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::prelude::*;
    use super::*;

    struct Odd<const MIN: u16, const MAX: u16, const HZ: u8>;

    impl<const MIN: u16, const MAX: u16, const HZ: u8> Game for Odd<MIN, MAX, HZ> {
        const NAME: &'static str = "odd";
        const PLAYERS: RangeInclusive<u16> = MIN..=MAX;
        const TICK_HZ: u8 = HZ;
        type Settings = u32;
        type Input = ();
        type State = ();

        fn check(settings: &u32) -> Result<(), BadSettings> {
            if *settings == 1 { Err(BadSettings("one is too few".into())) } else { Ok(()) }
        }

        fn new(settings: u32, _: &Setup) -> Self {
            assert_ne!(settings, 2, "the game's own bug");
            Self
        }

        fn input(&mut self, _: SeatId, (): ()) {}

        fn step(&mut self, _: &TickContext) -> Flow {
            Flow::Continue
        }

        fn snapshot(&self) {}
    }

    #[test]
    fn the_games_that_come_with_muster_are_registered() {
        let games = Registry::built_in();
        let names: Vec<_> = games.iter().map(|kind| kind.info().name.as_str()).collect();
        assert_eq!(names, ["arena", "relay"]);
        for kind in games.iter() {
            assert!(kind.create(&[], 7).is_ok());
        }
    }

    #[test]
    fn a_game_with_constants_that_make_no_sense_is_refused() {
        assert_eq!(GameKind::of::<Odd<0, 4, 20>>().unwrap_err(), BadGame::Players("odd"));
        assert_eq!(GameKind::of::<Odd<5, 4, 20>>().unwrap_err(), BadGame::Players("odd"));
        assert_eq!(GameKind::of::<Odd<1, 1_001, 20>>().unwrap_err(), BadGame::Players("odd"));
        assert_eq!(GameKind::of::<Odd<1, 4, 0>>().unwrap_err(), BadGame::TickRate(0));
        assert_eq!(GameKind::of::<Odd<1, 4, 129>>().unwrap_err(), BadGame::TickRate(129));
        let mut games = Registry::empty();
        assert_eq!(games.register::<Odd<1, 4, 128>>(), Ok(()));
        assert_eq!(games.register::<Odd<1, 4, 128>>(), Err(BadGame::NameTaken("odd")));
    }

    #[test]
    fn settings_are_refused_before_a_game_begins() {
        let kind = GameKind::of::<Odd<1, 4, 20>>().unwrap();
        assert_eq!(kind.check_settings(&[]), Ok(()));
        assert_eq!(kind.check_settings(&[7]), Ok(()));
        assert_eq!(kind.check_settings(&[7, 7]), Err(CreateError::Undecodable));
        assert_eq!(kind.check_settings(&[1]), Err(BadSettings("one is too few".into()).into()));
        assert_eq!(kind.create(&[1], 0).err(), Some(BadSettings("one is too few".into()).into()));
        assert_eq!(kind.create(&[2], 0).err(), Some(CreateError::Panicked));
        assert!(kind.create(&[3], 0).is_ok());
    }
}
