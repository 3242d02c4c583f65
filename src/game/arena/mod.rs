//! `arena`: players run about a field with pillars, push each other, and collect. Who collects enough first wins.
//!
//! Owns: the rules. Must not know: who plays. The server is the judge of every move; an input is one move of one
//! tick, so that a client can foretell its own exactly and correct itself at each snapshot. `docs/games.md` has the
//! bytes.

use std::ops::RangeInclusive;

use super::{BadSettings, Dice, Flow, Game, Player, Setup, TickContext};
use crate::codec::{self, Decode, Encode};
use crate::ids::SeatId;

mod movement;

pub use movement::{Field, MIN_SIZE, Pillar, Point, RADIUS, SPEED};

/// The running game.
#[derive(Debug)]
pub struct Arena {
    field: Field,
    dice: Dice,
    target_score: u16,
    last_tick: u32,
    /// What the next snapshot says; kept in the form in which it is sent, so that sending allocates nothing.
    state: State,
    /// For each player of `state`, how many moves it may still make in this tick.
    budgets: Vec<u8>,
}

/// What the host chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Settings {
    /// The side of the field in units, 4,000 to 60,000; 10,000 by default.
    pub size: u16,
    /// Seconds until the end, 10 to 3,600; 180 by default.
    pub time_limit: u16,
    /// The score that wins at once, 1 to 10,000; 30 by default.
    pub target_score: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self { size: 10_000, time_limit: 180, target_score: 30 }
    }
}

/// One move of one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Input {
    /// Direction to the right; a length of 127 is full speed, longer is no faster.
    pub dx: i8,
    /// Direction down.
    pub dy: i8,
    /// Where the player looks, in 256ths of a turn; others see it.
    pub aim: u8,
}

/// What everybody sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct State {
    /// Ticks until the end.
    pub ticks_left: u32,
    /// What can be collected.
    pub pickups: Vec<Point>,
    /// In order of the seats.
    pub bodies: Vec<Body>,
}

/// A player on the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Body {
    /// Whose.
    pub seat: u16,
    /// Its middle.
    pub at: Point,
    /// Where it looks, in 256ths of a turn.
    pub aim: u8,
    /// How much it has collected.
    pub score: u16,
    /// Whether its player's link is lost.
    pub absent: bool,
}

/// How it ended: the best first; of equal ones the lower seat.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Scores(
    /// Those who were there at the end.
    pub Vec<Score>,
);

/// What a player had at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Score {
    /// Whose.
    pub seat: u16,
    /// How much.
    pub score: u16,
}

impl Game for Arena {
    const NAME: &'static str = "arena";
    const PLAYERS: RangeInclusive<u16> = 1..=64;

    type Settings = Settings;
    type Input = Input;
    type State = State;

    fn check(settings: &Settings) -> Result<(), BadSettings> {
        let wrong = |what, range: RangeInclusive<u16>| {
            Err(BadSettings(format!("{what} must be from {} to {}", range.start(), range.end())))
        };
        match settings {
            Settings { size, .. } if !SIZES.contains(size) => wrong("size", SIZES),
            Settings { time_limit, .. } if !TIME_LIMITS.contains(time_limit) => wrong("time limit", TIME_LIMITS),
            Settings { target_score, .. } if !SCORES.contains(target_score) => wrong("target score", SCORES),
            _ => Ok(()),
        }
    }

    fn new(settings: Settings, setup: &Setup) -> Self {
        let last_tick = u32::from(settings.time_limit) * u32::from(setup.tick_hz);
        let mut arena = Self {
            field: Field::new(settings.size, setup.tick_hz),
            dice: setup.dice(),
            target_score: settings.target_score,
            last_tick,
            state: State { ticks_left: last_tick, ..State::default() },
            budgets: Vec::new(),
        };
        for _ in 0..PICKUPS {
            let place = arena.somewhere();
            arena.state.pickups.push(place);
        }
        arena
    }

    fn join(&mut self, seat: SeatId, _: &Player) {
        let at = self.somewhere();
        let body = Body { seat: seat.0, at, aim: 0, score: 0, absent: false };
        if let Err(place) = self.place_of(seat) {
            self.state.bodies.insert(place, body);
            self.budgets.insert(place, MAX_BUDGET);
        }
    }

    fn leave(&mut self, seat: SeatId) {
        if let Ok(place) = self.place_of(seat) {
            self.state.bodies.remove(place);
            self.budgets.remove(place);
        }
    }

    fn absent(&mut self, seat: SeatId) {
        if let Some((body, _)) = self.body(seat) {
            body.absent = true;
        }
    }

    fn present(&mut self, seat: SeatId) {
        if let Some((body, _)) = self.body(seat) {
            body.absent = false;
        }
    }

    fn input(&mut self, seat: SeatId, input: Input) {
        let Ok(place) = self.place_of(seat) else {
            return;
        };
        let (Some(body), Some(budget)) = (self.state.bodies.get_mut(place), self.budgets.get_mut(place)) else {
            return;
        };
        body.aim = input.aim;
        if let Some(left) = budget.checked_sub(1) {
            *budget = left;
            body.at = self.field.advance(body.at, input.dx, input.dy);
        }
    }

    fn step(&mut self, tick: &TickContext) -> Flow {
        self.push_apart();
        self.collect();
        for budget in &mut self.budgets {
            *budget = (*budget + 1).min(MAX_BUDGET);
        }
        self.state.ticks_left = self.last_tick.saturating_sub(tick.tick.0);
        let won = self.state.bodies.iter().any(|body| body.score >= self.target_score);
        if won || self.state.ticks_left == 0 { Flow::end(&self.scores()) } else { Flow::Continue }
    }

    fn snapshot(&self) -> State {
        self.state.clone()
    }

    fn write_snapshot(&self, out: &mut Vec<u8>) {
        codec::encode_into(&self.state, out);
    }
}

impl Arena {
    fn place_of(&self, seat: SeatId) -> Result<usize, usize> {
        self.state.bodies.binary_search_by_key(&seat.0, |body| body.seat)
    }

    fn body(&mut self, seat: SeatId) -> Option<(&mut Body, &mut u8)> {
        let place = self.place_of(seat).ok()?;
        Some((self.state.bodies.get_mut(place)?, self.budgets.get_mut(place)?))
    }

    fn somewhere(&mut self) -> Point {
        let size = self.field.size();
        let (x, y) = (self.dice.below(size as u32), self.dice.below(size as u32));
        self.field.contain(x as i32, y as i32)
    }

    /// Each pair once, in order of the seats.
    fn push_apart(&mut self) {
        let mut rest = self.state.bodies.as_mut_slice();
        while let Some((one, others)) = std::mem::take(&mut rest).split_first_mut() {
            for other in others.iter_mut() {
                if let Some(apart) = self.field.separate(one.at, other.at) {
                    (one.at, other.at) = apart;
                }
            }
            rest = others;
        }
    }

    /// Each pick-up goes to the player nearest to it, of equal ones to the lower seat, and comes back somewhere else.
    fn collect(&mut self) {
        for index in 0..self.state.pickups.len() {
            let Some(place) = self.state.pickups.get(index).copied() else {
                continue;
            };
            let near = self.state.bodies.iter_mut().map(|body| (square_apart(body.at, place), body));
            let nearest = near.filter(|(apart, _)| *apart < REACH * REACH).min_by_key(|(apart, _)| *apart);
            if let Some((_, body)) = nearest {
                body.score = body.score.saturating_add(1);
                let elsewhere = self.somewhere();
                if let Some(pickup) = self.state.pickups.get_mut(index) {
                    *pickup = elsewhere;
                }
            }
        }
    }

    fn scores(&self) -> Scores {
        let mut scores: Vec<_> =
            self.state.bodies.iter().map(|body| Score { seat: body.seat, score: body.score }).collect();
        scores.sort_by_key(|score| std::cmp::Reverse(score.score));
        Scores(scores)
    }
}

fn square_apart(a: Point, b: Point) -> i64 {
    let (dx, dy) = (i64::from(a.x) - i64::from(b.x), i64::from(a.y) - i64::from(b.y));
    dx * dx + dy * dy
}

/// How many things lie about.
const PICKUPS: usize = 12;

/// How near a player's middle must come to a pick-up.
const REACH: i64 = 300;

/// The most moves a player can have saved up, so that inputs that come in a bunch all count. One is gained per tick:
/// in the long run nobody moves faster than that.
const MAX_BUDGET: u8 = 4;

const SIZES: RangeInclusive<u16> = MIN_SIZE..=60_000;
const TIME_LIMITS: RangeInclusive<u16> = 10..=3_600;
const SCORES: RangeInclusive<u16> = 1..=10_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::ids::{PlayerId, Tick};

    const RIGHT: Input = Input { dx: 127, dy: 0, aim: 64 };

    fn arena(settings: Settings) -> Arena {
        Arena::new(settings, &Setup { seed: 1, tick_hz: 20 })
    }

    fn join(arena: &mut Arena, seat: u16, x: u16, y: u16) {
        let player = Player { id: PlayerId::new("ada").unwrap(), name: "Ada".into(), rating: None };
        arena.join(SeatId(seat), &player);
        arena.body(SeatId(seat)).unwrap().0.at = Point { x, y };
    }

    fn step(arena: &mut Arena, tick: u32) -> Flow {
        arena.step(&TickContext { tick: Tick(tick), tick_hz: 20 })
    }

    fn at(arena: &Arena, seat: u16) -> Point {
        arena.state.bodies.iter().find(|body| body.seat == seat).unwrap().at
    }

    #[test]
    fn in_the_long_run_nobody_moves_faster_than_a_step_a_tick() {
        let mut arena = arena(Settings { size: 60_000, ..Settings::default() });
        join(&mut arena, 0, 1_000, 1_000);
        for tick in 1..=20 {
            (0..100).for_each(|_| arena.input(SeatId(0), RIGHT));
            let _ = step(&mut arena, tick);
        }
        assert_eq!(at(&arena, 0), Point { x: 1_000 + 200 * (19 + u16::from(MAX_BUDGET)), y: 1_000 });
        assert_eq!(arena.state.bodies[0].aim, 64);
    }

    #[test]
    fn players_push_each_other_and_cannot_run_through() {
        let mut arena = arena(Settings::default());
        join(&mut arena, 0, 1_000, 5_000);
        join(&mut arena, 1, 1_900, 5_000);
        for tick in 1..=10 {
            arena.input(SeatId(0), RIGHT);
            arena.input(SeatId(1), Input { dx: -127, ..RIGHT });
            let _ = step(&mut arena, tick);
            let (left, right) = (at(&arena, 0), at(&arena, 1));
            assert!(left.x < right.x && right.x - left.x >= 2 * RADIUS as u16 - 2, "{left:?} {right:?}");
        }
    }

    #[test]
    fn the_nearest_player_collects_and_the_target_score_ends_the_game() {
        let mut arena = arena(Settings { target_score: 2, ..Settings::default() });
        join(&mut arena, 3, 2_000, 5_000);
        join(&mut arena, 5, 2_450, 5_000);
        for tick in 1..=2 {
            arena.state.pickups = vec![Point { x: 2_230, y: 5_000 }];
            let flow = step(&mut arena, tick);
            assert_ne!(arena.state.pickups, [Point { x: 2_230, y: 5_000 }]);
            if tick == 1 {
                assert_eq!(flow, Flow::Continue);
            } else {
                let scores = Scores(vec![Score { seat: 5, score: 2 }, Score { seat: 3, score: 0 }]);
                assert_eq!(flow, Flow::end(&scores));
            }
        }
    }

    #[test]
    fn the_time_limit_ends_the_game() {
        let mut arena = arena(Settings { time_limit: 10, ..Settings::default() });
        join(&mut arena, 0, 1_000, 1_000);
        assert_eq!(step(&mut arena, 199), Flow::Continue);
        assert_eq!(arena.state.ticks_left, 1);
        assert_eq!(step(&mut arena, 200), Flow::end(&Scores(vec![Score { seat: 0, score: 0 }])));
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        let good = Settings::default();
        assert_eq!(Arena::check(&good), Ok(()));
        for bad in [
            Settings { size: 3_999, ..good },
            Settings { size: 60_001, ..good },
            Settings { time_limit: 9, ..good },
            Settings { target_score: 0, ..good },
        ] {
            assert!(Arena::check(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_bytes_are_those_that_are_documented() {
        let body = Body { seat: 7, at: Point { x: 250, y: 1_000 }, aim: 64, score: 3, absent: true };
        let state = State { ticks_left: 300, pickups: vec![Point { x: 1, y: 251 }], bodies: vec![body] };
        let expected = [251, 44, 1, 1, 1, 251, 251, 0, 1, 7, 250, 251, 0xe8, 3, 64, 3, 1];
        assert_eq!(codec::encode(&state), expected);
        assert_eq!(codec::encode(&Input { dx: -1, dy: 127, aim: 255 }), [0xff, 127, 255]);
        assert_eq!(codec::encode(&Settings::default()), [251, 0x10, 0x27, 180, 30]);
    }

    #[test]
    fn the_same_bytes_are_written_as_the_snapshot_has() {
        let mut arena = arena(Settings::default());
        (0..10).for_each(|seat| join(&mut arena, seat, 1_000 + 500 * seat, 3_000));
        let mut out = Vec::new();
        arena.write_snapshot(&mut out);
        assert_eq!(out, codec::encode(&arena.snapshot()));
        assert!(out.len() < 256, "ten players fit in {} bytes", out.len());
    }
}
