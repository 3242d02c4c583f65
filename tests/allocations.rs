//! Nothing is allocated per player and tick: counted by the allocator itself.
//!
//! A global allocator cannot be written without `unsafe`; this one counts and hands everything on to the system's.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{BOTH, Heard, World, soon};
use muster::codec;
use muster::game::arena::{Arena, Input, Settings};
use muster::game::{GameKind, Player};
use muster::ids::{InputSeq, PlayerId, SeatId};
use muster::session::{Batch, InputOutcome, Mailbox, Simulation};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Whether this is one of the server's own threads.
    static SERVES: Cell<bool> = const { Cell::new(false) };
}

/// Allocations of all the server's threads.
static SERVED: AtomicU64 = AtomicU64::new(0);

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    if SERVES.get() {
        SERVED.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to `System` as it came; counting touches numbers that need no allocation and no
// destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
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

/// From the socket to the game and back: what the server's threads allocate in 100 ticks of one session in which every
/// player sends an input for each snapshot it reads.
fn allocations_of_100_ticks(players: usize) -> u64 {
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(|| SERVES.set(true))
        .build()
        .unwrap();
    let clients = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // On a thread of the server's runtime, so that all that it spawns is there as well.
    let world = clients.block_on(server.spawn(World::start())).unwrap();
    let counted = clients.block_on(async {
        let mut playing = tokio::task::JoinSet::new();
        for index in 0..players {
            let mut peer = world.player(BOTH[0], &format!("p{index}"), "quick:tiny").await;
            peer.seat().await;
            playing.spawn(async move {
                loop {
                    match peer.next().await {
                        Heard::Message(muster::wire::ServerMessage::Snapshot(_)) => drop(peer.input(1).await),
                        Heard::Message(_) => peer.raw.clear(),
                        Heard::End(end) => panic!("{end:?}"),
                    }
                }
            });
        }
        let ticks = || world.metrics().ticks.get();
        let ticks_later = async |count: u64| {
            let until = ticks() + count;
            soon("so many ticks", async {
                while ticks() < until {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            })
            .await;
        };
        // Everybody is seated, the lobby has told everybody so, and buffers have their size.
        ticks_later(50).await;
        let (allocated, inputs) = (SERVED.load(Ordering::Relaxed), world.metrics().inputs_accepted.get());
        ticks_later(100).await;
        let counted = SERVED.load(Ordering::Relaxed) - allocated;
        let inputs = world.metrics().inputs_accepted.get() - inputs;
        assert!(inputs > 50 * players as u64, "{inputs} inputs: the way in was used as well");
        playing.abort_all();
        counted
    });
    // The sessions tick in the server's runtime, which ends here.
    server.shutdown_background();
    counted
}

#[test]
fn forty_players_over_websocket_cost_no_more_allocations_than_ten() {
    let (ten, forty) = (allocations_of_100_ticks(10), allocations_of_100_ticks(40));
    // One for each player and tick would be 3,000 more. Timers of the node that happen to fire are not the players'.
    assert!(forty.saturating_sub(ten) < 300, "{ten} for ten players, {forty} for forty");
    assert!(ten < 100 * 12, "{ten} in 100 ticks of one session");
}
