//! The arena's movement is what `docs/games.md` says, on every machine: `tests/vectors/arena_movement.json` is read
//! here and by the browser client's tests. `MUSTER_WRITE_VECTORS=1` writes the file anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use muster::game::arena::{Arena, Field, Input, Point, State};
use muster::game::prelude::*;
use muster::game::{Dice, GameKind, erase};
use muster::ids::{InputSeq, PlayerId};
use muster::session::{Batch, Mailbox, Simulation};
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/arena_movement.json");

fn dice(seed: u64) -> Dice {
    Setup { seed, tick_hz: 20 }.dice()
}

/// `docs/games.md`, word by word, in floating point as a browser computes: not one line shared with the server's.
fn as_a_browser_does(size: f64, hz: f64, (x, y): (f64, f64), (dx, dy): (f64, f64)) -> (f64, f64) {
    let step = (4_000.0 / hz).trunc().min(200.0);
    let (mut dx, mut dy) = (dx, dy);
    let square = dx * dx + dy * dy;
    if square > 16_129.0 {
        let length = square.sqrt().ceil();
        dx = (dx * 127.0 / length).trunc();
        dy = (dy * 127.0 / length).trunc();
    }
    let mut x = x + (dx * step / 127.0).trunc();
    let mut y = y + (dy * step / 127.0).trunc();
    let (half, near) = ((size / 2.0).trunc(), (size / 4.0).trunc());
    let far = size - near;
    let (large, small) = ((size / 16.0).trunc(), (size / 24.0).trunc());
    for (px, py, radius) in
        [(half, half, large), (near, near, small), (far, near, small), (near, far, small), (far, far, small)]
    {
        let reach = radius + 200.0;
        let (ox, oy) = (x - px, y - py);
        let square = ox * ox + oy * oy;
        if square < reach * reach {
            let length = square.sqrt().floor();
            if length == 0.0 {
                (x, y) = (px + reach, py);
            } else {
                (x, y) = (px + (ox * reach / length).trunc(), py + (oy * reach / length).trunc());
            }
        }
    }
    (x.max(200.0).min(size - 200.0), y.max(200.0).min(size - 200.0))
}

/// Walks that cross the whole field, bump into every pillar and run along the walls.
fn walks() -> Value {
    let mut dice = dice(2026);
    let walks = [(4_000u16, 20u8), (10_000, 20), (10_000, 60), (10_000, 1), (60_000, 128)].map(|(size, tick_hz)| {
        let field = Field::new(size, tick_hz);
        let mut at = Point { x: 300, y: 300 };
        let start = json!([at.x, at.y]);
        let (mut dx, mut dy) = (0, 0);
        let moves: Vec<_> = (0..300)
            .map(|n| {
                if n % 12 == 0 {
                    (dx, dy) = (dice.below(256) as u8 as i8, dice.below(256) as u8 as i8);
                }
                if n % 100 == 50 {
                    // Straight at the large pillar.
                    dx = if u32::from(at.x) * 2 < u32::from(size) { 127 } else { -127 };
                    dy = if u32::from(at.y) * 2 < u32::from(size) { 127 } else { -127 };
                }
                at = field.advance(at, dx, dy);
                json!([dx, dy, at.x, at.y])
            })
            .collect();
        json!({ "size": size, "tick_hz": tick_hz, "start": start, "moves": moves })
    });
    json!({ "about": "docs/games.md, arena: each move is [dx, dy, x after, y after]", "walks": walks })
}

#[test]
fn the_movement_vectors_hold() {
    let now = walks();
    if std::env::var_os("MUSTER_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string(&now).unwrap().replace("{\"moves\"", "\n{\"moves\"") + "\n";
        std::fs::write(FILE, text).unwrap();
    }
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    assert!(golden == now, "the arena's movement has changed: browsers out there foretell the old one");
}

#[test]
fn a_browser_that_follows_the_documentation_comes_to_the_same_places() {
    let mut dice = dice(7);
    for (size, tick_hz) in [(4_000u16, 20u8), (10_000, 20), (10_001, 30), (59_999, 7), (60_000, 128)] {
        let field = Field::new(size, tick_hz);
        for n in 0..40_000u32 {
            // Half of them near a pillar, where it matters.
            let pillar = field.pillars()[n as usize % 5];
            let within = (pillar.radius + 400) as u32;
            let from = if n % 2 == 0 {
                let near =
                    |middle: i32, dice: &mut Dice| (middle - within as i32 + dice.below(2 * within) as i32) as u16;
                Point { x: near(pillar.x, &mut dice), y: near(pillar.y, &mut dice) }
            } else {
                Point { x: dice.below(u32::from(size)) as u16, y: dice.below(u32::from(size)) as u16 }
            };
            let (dx, dy) = (dice.below(256) as u8 as i8, dice.below(256) as u8 as i8);
            let to = field.advance(from, dx, dy);
            let theirs =
                as_a_browser_does(size.into(), tick_hz.into(), (from.x.into(), from.y.into()), (dx.into(), dy.into()));
            assert_eq!((f64::from(to.x), f64::from(to.y)), theirs, "{from:?} by {dx}, {dy} on {size} at {tick_hz} Hz");
        }
    }
}

/// A whole round of four who run after the nearest pick-up, each sending one input per tick.
fn round(seed: u64) -> (Vec<Vec<u8>>, Vec<u8>) {
    let kind = GameKind::of::<Arena>().unwrap();
    let (mut mailbox, mut batch) = (Mailbox::new(64), Batch::default());
    let mut simulation = Simulation::new(kind.create(&[], seed).unwrap(), 64, 20);
    for seat in 0..4 {
        let id = PlayerId::new(&format!("p{seat}")).unwrap();
        mailbox.push_join(SeatId(seat), Player { id, name: "Ada".into(), rating: None });
    }
    let mut snapshots: Vec<Vec<u8>> = Vec::new();
    for seq in 1.. {
        if let Some(state) = snapshots.last() {
            let state: State = muster::codec::decode(state).unwrap();
            for body in &state.bodies {
                let toward = |to: u16, from: u16| (i32::from(to) - i32::from(from)).clamp(-127, 127);
                let offsets = state.pickups.iter().map(|at| (toward(at.x, body.at.x), toward(at.y, body.at.y)));
                let apart = |at: &Point| u32::from(at.x.abs_diff(body.at.x)) + u32::from(at.y.abs_diff(body.at.y));
                let nearest = offsets.zip(&state.pickups).min_by_key(|(_, at)| apart(at));
                let ((dx, dy), _) = nearest.unwrap();
                let input = Input { dx: dx as i8, dy: dy as i8, aim: 0 };
                let _ = mailbox.push_input(SeatId(body.seat), InputSeq(seq), &muster::codec::encode(&input));
            }
        }
        mailbox.drain_into(&mut batch);
        let stepped = simulation.run_tick(&batch).unwrap();
        let mut state = Vec::new();
        simulation.write_state(&mut state).unwrap();
        snapshots.push(state);
        if let Some(result) = stepped.ended {
            return (snapshots, result);
        }
    }
    unreachable!()
}

#[test]
fn a_round_comes_to_the_same_end_every_time_and_to_another_with_another_seed() {
    let (snapshots, result) = round(1);
    assert_eq!(round(1), (snapshots.clone(), result.clone()));
    assert_ne!(round(2).0, snapshots);
    let scores: muster::game::arena::Scores = muster::codec::decode(&result).unwrap();
    assert_eq!(scores.0.len(), 4);
    assert_eq!(scores.0[0].score, 30, "the target score ended it: {scores:?}");
    assert!(scores.0.windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert!(snapshots.len() > 100);
}

#[test]
fn a_game_begun_by_hand_and_by_name_is_the_same() {
    let settings = muster::game::arena::Settings::default();
    let by_hand = erase(Arena::new(settings, &Setup { seed: 5, tick_hz: 20 }));
    let by_name = GameKind::of::<Arena>().unwrap().create(&[], 5).unwrap();
    let (mut one, mut other) = (Vec::new(), Vec::new());
    by_hand.write_snapshot(&mut one);
    by_name.write_snapshot(&mut other);
    assert_eq!(one, other);
}
