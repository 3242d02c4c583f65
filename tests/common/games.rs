//! Games that do what a test asks for.

use std::ops::RangeInclusive;

use muster::codec;
use muster::game::{Flow, Game, Player, Registry, Setup, TickContext};
use muster::ids::SeatId;

/// What a lobby of these games is set to.
#[derive(Clone, Debug, Default, PartialEq, codec::Encode, codec::Decode)]
pub struct Script {
    /// Bytes of padding in every snapshot.
    pub padding: u32,
    /// Ticks until the end; 0 for never.
    pub ticks: u32,
}

/// What the games show.
#[derive(Clone, Debug, Default, PartialEq, codec::Encode, codec::Decode)]
pub struct Shown {
    /// How many inputs were applied.
    pub inputs: u32,
    /// The sum of them.
    pub sum: u64,
    /// Seats that are taken and whose player is there.
    pub present: Vec<u16>,
    pub padding: Vec<u8>,
}

/// An input of this value makes a game panic.
pub const BOMB: u8 = 13;
/// An input of this value ends a game.
pub const END: u8 = 14;
/// What an ended game has for a result.
pub const RESULT: &[u8] = b"over";

/// For any number of players, at 50 ticks per second.
#[derive(Default)]
pub struct Tiny {
    script: Script,
    shown: Shown,
    over: bool,
}

/// For two, who must be there from the start.
pub struct Duel(Tiny);

/// Over after five ticks.
pub struct Short(Tiny);

impl Game for Tiny {
    const NAME: &'static str = "tiny";
    const PLAYERS: RangeInclusive<u16> = 1..=64;
    const TICK_HZ: u8 = 50;
    type Settings = Script;
    type Input = u8;
    type State = Shown;

    fn new(script: Script, _: &Setup) -> Self {
        let padding = vec![7; script.padding as usize];
        Self { script, shown: Shown { padding, ..Shown::default() }, over: false }
    }

    fn join(&mut self, seat: SeatId, _: &Player) {
        self.present(seat);
    }

    fn leave(&mut self, seat: SeatId) {
        self.absent(seat);
    }

    fn absent(&mut self, seat: SeatId) {
        self.shown.present.retain(|here| *here != seat.0);
    }

    fn present(&mut self, seat: SeatId) {
        self.absent(seat);
        self.shown.present.push(seat.0);
    }

    fn input(&mut self, _: SeatId, input: u8) {
        assert_ne!(input, BOMB, "the game's own bug");
        self.over |= input == END;
        self.shown.inputs += 1;
        self.shown.sum += u64::from(input);
    }

    fn step(&mut self, tick: &TickContext) -> Flow {
        let last = self.script.ticks != 0 && tick.tick.0 >= self.script.ticks;
        if last || self.over { Flow::End(RESULT.to_vec()) } else { Flow::Continue }
    }

    fn snapshot(&self) -> Shown {
        self.shown.clone()
    }

    fn write_snapshot(&self, out: &mut Vec<u8>) {
        codec::encode_into(&self.shown, out);
    }
}

macro_rules! wrapped {
    ($game:ident, $name:literal, $players:expr, $late:literal, $script:expr) => {
        impl Game for $game {
            const NAME: &'static str = $name;
            const PLAYERS: RangeInclusive<u16> = $players;
            const TICK_HZ: u8 = 50;
            const LATE_JOIN: bool = $late;
            type Settings = Script;
            type Input = u8;
            type State = Shown;

            fn new(script: Script, setup: &Setup) -> Self {
                let change: fn(Script) -> Script = $script;
                Self(Tiny::new(change(script), setup))
            }

            fn join(&mut self, seat: SeatId, player: &Player) {
                self.0.join(seat, player);
            }

            fn leave(&mut self, seat: SeatId) {
                self.0.leave(seat);
            }

            fn absent(&mut self, seat: SeatId) {
                self.0.absent(seat);
            }

            fn present(&mut self, seat: SeatId) {
                self.0.present(seat);
            }

            fn input(&mut self, seat: SeatId, input: u8) {
                self.0.input(seat, input);
            }

            fn step(&mut self, tick: &TickContext) -> Flow {
                self.0.step(tick)
            }

            fn snapshot(&self) -> Shown {
                self.0.snapshot()
            }
        }
    };
}

wrapped!(Duel, "duel", 2..=2, false, |script| script);
wrapped!(Short, "short", 1..=64, true, |script| Script { ticks: 5, ..script });

pub fn registry() -> Registry {
    let mut games = Registry::built_in();
    games.register::<Tiny>().unwrap();
    games.register::<Duel>().unwrap();
    games.register::<Short>().unwrap();
    games
}

/// What a snapshot of one of these games shows.
pub fn shown(state: &[u8]) -> Shown {
    codec::decode(state).unwrap()
}
