//! The game of the measurements: a state of a chosen size, and an input of 24 bytes that is decoded and applied.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};

use muster::game::prelude::*;

/// The name under which it is registered, in lower case.
pub const NAME: &str = "bench";

/// How many bytes of state every session of this process writes.
static STATE_BYTES: AtomicUsize = AtomicUsize::new(256);

/// Says how many bytes the state has. For sessions that begin after it.
pub fn set_state_bytes(bytes: usize) {
    STATE_BYTES.store(bytes, Ordering::Relaxed);
}

/// Players that move about.
pub struct Bench<const HZ: u8> {
    size: usize,
    bodies: Vec<Body>,
}

/// What a player wants: 24 bytes on the wire.
#[derive(Clone, Copy, Debug, Encode, Decode)]
pub struct Push {
    force: [f32; 3],
    aim: [f32; 3],
}

/// Bytes of a [`Push`].
pub const INPUT_BYTES: usize = 24;

/// An encoded input: six numbers of one half.
pub const PUSH: [u8; INPUT_BYTES] = {
    let mut bytes = [0; INPUT_BYTES];
    let mut at = 0;
    while at < INPUT_BYTES {
        bytes[at + 3] = 0x3f;
        at += 4;
    }
    bytes
};

#[derive(Clone, Copy, Default)]
struct Body {
    at: [f32; 3],
    speed: [f32; 3],
}

/// The state as the players see it: so many bytes, and no length before them.
pub struct Field(Vec<u8>);

impl Encode for Field {
    fn encode<E: bincode::enc::Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        bincode::enc::write::Writer::write(encoder.writer(), &self.0)
    }
}

impl<const HZ: u8> Game for Bench<HZ> {
    const NAME: &'static str = NAME;
    const PLAYERS: RangeInclusive<u16> = 1..=1_000;
    const TICK_HZ: u8 = HZ;

    type Settings = ();
    type Input = Push;
    type State = Field;

    fn new((): (), _: &Setup) -> Self {
        Self { size: STATE_BYTES.load(Ordering::Relaxed), bodies: Vec::new() }
    }

    fn join(&mut self, seat: SeatId, _: &muster::game::Player) {
        let needed = usize::from(seat.0) + 1;
        if self.bodies.len() < needed {
            self.bodies.resize(needed, Body::default());
        }
    }

    fn input(&mut self, seat: SeatId, input: Push) {
        let Some(body) = self.bodies.get_mut(usize::from(seat.0)) else { return };
        for ((speed, force), aim) in body.speed.iter_mut().zip(input.force).zip(input.aim) {
            *speed = (*speed + force * 0.1 + aim * 0.01).clamp(-100.0, 100.0);
        }
    }

    fn step(&mut self, tick: &TickContext) -> Flow {
        let dt = tick.dt().as_secs_f32();
        for body in &mut self.bodies {
            for (at, speed) in body.at.iter_mut().zip(body.speed) {
                *at += speed * dt;
            }
        }
        Flow::Continue
    }

    fn snapshot(&self) -> Field {
        let mut state = Vec::with_capacity(self.size);
        self.write_snapshot(&mut state);
        Field(state)
    }

    fn write_snapshot(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.size;
        for body in &self.bodies {
            for value in body.at.iter().chain(&body.speed) {
                if out.len() + 4 <= end {
                    out.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
        out.resize(end, 0xa5);
    }
}

/// The tick rates that the game comes in: a game's rate is part of its type.
pub const RATES: [u8; 9] = [5, 10, 15, 20, 30, 40, 60, 100, 128];

/// A registry with the game at one of [`RATES`]; `None` at any other.
pub fn registry(hz: u8) -> Option<Registry> {
    let mut games = Registry::empty();
    let registered = match hz {
        5 => games.register::<Bench<5>>(),
        10 => games.register::<Bench<10>>(),
        15 => games.register::<Bench<15>>(),
        20 => games.register::<Bench<20>>(),
        30 => games.register::<Bench<30>>(),
        40 => games.register::<Bench<40>>(),
        60 => games.register::<Bench<60>>(),
        100 => games.register::<Bench<100>>(),
        128 => games.register::<Bench<128>>(),
        _ => return None,
    };
    registered.is_ok().then_some(games)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use muster::codec;

    use super::*;

    #[test]
    fn the_state_is_exactly_as_long_as_asked_and_the_input_24_bytes() {
        let mut game = Bench::<20> { size: 256, bodies: Vec::new() };
        for seats in 0..40 {
            let mut out = vec![1, 2];
            game.write_snapshot(&mut out);
            assert_eq!(out.len(), 258);
            assert_eq!(codec::encode(&game.snapshot()), out[2..]);
            game.bodies.push(Body { at: [seats as f32; 3], speed: [1.0; 3] });
        }
        assert_eq!(codec::encode(&Push { force: [1.0; 3], aim: [2.0; 3] }).len(), INPUT_BYTES);
        assert_eq!(codec::encode(&Push { force: [0.5; 3], aim: [0.5; 3] }), PUSH);
    }

    #[test]
    fn every_rate_has_a_registry() {
        assert!(RATES.iter().all(|hz| registry(*hz).is_some_and(|games| games.iter().count() == 1)));
        assert!(registry(21).is_none());
    }
}
