//! Nothing is allocated per player and tick: counted by the allocator itself.
//!
//! A global allocator cannot be written without `unsafe`; this one counts and hands everything on to the system's.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use muster::codec;
use muster::game::arena::{Arena, Input, Settings};
use muster::game::{GameKind, Player};
use muster::ids::{InputSeq, PlayerId, SeatId};
use muster::session::{Batch, InputOutcome, Mailbox, Simulation};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to `System` as it came; counting touches a thread-local number that needs no allocation and
// no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    run();
    ALLOCATIONS.get() - before
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocations(|| drop(Box::new(7u64))), 1);
}

#[test]
fn a_tick_of_64_players_with_inputs_allocates_nothing() {
    let settings = codec::encode(&Settings { size: 20_000, time_limit: 3_600, target_score: 10_000 });
    let game = GameKind::of::<Arena>().unwrap().create(&settings, 7).unwrap();
    let (mut mailbox, mut batch) = (Mailbox::new(64), Batch::default());
    let mut simulation = Simulation::new(game, 64, 20);
    for seat in 0..64 {
        let id = PlayerId::new(&format!("player-{seat}")).unwrap();
        mailbox.push_join(SeatId(seat), Player { id, name: "Ada".into(), rating: None });
    }
    let (mut state, mut input) = (Vec::new(), Vec::new());
    let mut applied = 0;
    let mut play = |ticks: std::ops::Range<u32>| {
        for tick in ticks {
            for seat in 0..64 {
                input.clear();
                let turned = (tick / 20 + u32::from(seat)) as u8;
                codec::encode_into(&Input { dx: turned as i8, dy: 127, aim: turned }, &mut input);
                // Every fifth player is held up and then sends five in a bunch, more than one tick applies.
                let (held_up, bunch) = (seat % 5 == 0, tick % 5 == 0);
                if held_up && !bunch {
                    continue;
                }
                for seq in if held_up { tick - 4 } else { tick }..=tick {
                    assert_eq!(mailbox.push_input(SeatId(seat), InputSeq(seq), &input), InputOutcome::Accepted);
                    assert_eq!(mailbox.push_input(SeatId(seat), InputSeq(seq), &input), InputOutcome::Duplicate);
                }
            }
            mailbox.drain_into(&mut batch);
            assert_eq!(simulation.run_tick(&batch).unwrap().undecodable, 0);
            state.clear();
            simulation.write_state(&mut state).unwrap();
            applied += simulation.applied().count();
        }
    };
    play(1..101);
    assert_eq!(allocations(|| play(101..601)), 0);
    assert!(applied > 64 * 590 && state.len() > 64 * 8);
}
