//! Nothing is allocated per player and tick: counted by the allocator itself.
//!
//! A global allocator cannot be written without `unsafe`; this one counts and hands everything on to the system's.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Heard, World, soon};
use muster::codec;
use muster::game::arena::{Arena, Input, Settings};
use muster::game::{GameKind, Player};
use muster::ids::{InputSeq, PlayerId, SeatId};
use muster::outbox::Transport;
use muster::session::{Batch, InputOutcome, Mailbox, Simulation};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Whether this is one of the server's own threads.
    static SERVES: Cell<bool> = const { Cell::new(false) };
}

/// Allocations of the threads of the server's runtime.
static SERVED: AtomicU64 = AtomicU64::new(0);
/// Allocations of all threads.
static ALL: AtomicU64 = AtomicU64::new(0);

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    ALL.fetch_add(1, Ordering::Relaxed);
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

/// Counts over all threads are of one test only.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

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
    let _turn = one_at_a_time();
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
fn allocations_of_100_ticks(transport: Transport, players: usize) -> u64 {
    let _turn = one_at_a_time();
    // QUIC has a thread of its own, which nobody marks: there it is whatever is not the players', who share this thread.
    let counted = move || match transport {
        Transport::WebSocket | Transport::Memory => SERVED.load(Ordering::Relaxed),
        Transport::WebTransport => ALL.load(Ordering::Relaxed) - ALLOCATIONS.get(),
    };
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(|| SERVES.set(true))
        .build()
        .unwrap();
    let clients = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // On a thread of the server's runtime, so that all that it spawns is there as well.
    let world = clients.block_on(server.spawn(World::start())).unwrap();
    let allocated = clients.block_on(async {
        let mut playing = tokio::task::JoinSet::new();
        for index in 0..players {
            let mut peer = world.player(transport, &format!("p{index}"), "quick:tiny").await;
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
        let (before, inputs) = (counted(), world.metrics().inputs_accepted.get());
        ticks_later(100).await;
        let allocated = counted() - before;
        let inputs = world.metrics().inputs_accepted.get() - inputs;
        assert!(inputs > 50 * players as u64, "{inputs} inputs: the way in was used as well");
        playing.abort_all();
        allocated
    });
    // The sessions tick in the server's runtime, which ends here.
    server.shutdown_background();
    allocated
}

#[test]
fn forty_players_over_websocket_cost_no_more_allocations_than_ten() {
    let [ten, forty] = [10, 40].map(|players| allocations_of_100_ticks(Transport::WebSocket, players));
    // One for each player and tick would be 3,000 more. Timers of the node that happen to fire are not the players'.
    assert!(forty.saturating_sub(ten) < 300, "{ten} for ten players, {forty} for forty");
    assert!(ten < 100 * 12, "{ten} in 100 ticks of one session");
}

#[test]
fn a_player_over_webtransport_costs_a_known_number_of_allocations_a_tick() {
    let [ten, forty] = [10, 40].map(|players| allocations_of_100_ticks(Transport::WebTransport, players));
    let each = forty.saturating_sub(ten) as f64 / f64::from(30 * 100);
    println!("{each:.1} allocations per player and tick ({ten} for ten players, {forty} for forty)");
    // The figure stands in docs/performance.md. Below the bound is what QUIC allocates for its own packets.
    assert!(each < BOUND, "{each:.1} allocations per player and tick: {ten} for ten players, {forty} for forty");
}

/// Allocations per player and tick over WebTransport that no change may bring about unseen.
const BOUND: f64 = 8.0;
