//! What holds of a session whatever players send: the invariants of `muster::session`, against simple models.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use muster::codec::{self, Decode, Encode};
use muster::game::prelude::*;
use muster::game::{GameKind, erase};
use muster::ids::{InputSeq, PlayerId};
use muster::session::{Batch, INPUTS_PER_TICK, InputOutcome, Mailbox, NoSeat, SEAT_QUEUE, Seats, Simulation};
use proptest::prelude::*;

const SEATS: u16 = 3;

/// Remembers which input of each seat it got last, and panics when they do not rise.
struct Ledger(BTreeMap<u16, u32>);

#[derive(Encode, Decode)]
struct Numbered(u32);

impl Game for Ledger {
    const NAME: &'static str = "ledger";
    const PLAYERS: RangeInclusive<u16> = 1..=SEATS;
    type Settings = ();
    type Input = Numbered;
    type State = BTreeMap<u16, u32>;

    fn new((): (), _: &Setup) -> Self {
        Self(BTreeMap::new())
    }

    fn join(&mut self, seat: SeatId, _: &Player) {
        assert_eq!(self.0.insert(seat.0, 0), None, "a seat has one holder");
    }

    fn leave(&mut self, seat: SeatId) {
        assert!(self.0.remove(&seat.0).is_some(), "only who joined leaves");
    }

    fn input(&mut self, seat: SeatId, Numbered(seq): Numbered) {
        let last = self.0.insert(seat.0, seq).expect("only who joined sends");
        assert!(seq > last, "{seq} came after {last}");
    }

    fn step(&mut self, _: &TickContext) -> Flow {
        Flow::Continue
    }

    fn snapshot(&self) -> BTreeMap<u16, u32> {
        self.0.clone()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Join(u16),
    Leave(u16),
    Absent(u16),
    Present(u16),
    Input { seat: u16, seq: u32 },
    Garbage { seat: u16, seq: u32, bytes: Vec<u8> },
    Tick,
}

fn op(seqs: u32) -> impl Strategy<Value = Op> {
    let seat = || 0..SEATS + 1; // one more than there are
    prop_oneof![
        1 => seat().prop_map(Op::Join),
        1 => seat().prop_map(Op::Leave),
        1 => seat().prop_map(Op::Absent),
        1 => seat().prop_map(Op::Present),
        20 => (seat(), 0..seqs).prop_map(|(seat, seq)| Op::Input { seat, seq }),
        1 => (seat(), 0..seqs, proptest::collection::vec(251u8.., 0..3))
            .prop_map(|(seat, seq, bytes)| Op::Garbage { seat, seq, bytes }),
        4 => Just(Op::Tick),
    ]
}

fn player(name: &str) -> Player {
    Player { id: PlayerId::new(name).unwrap(), name: name.into(), rating: None }
}

/// What a seat must be like, told in the plainest way.
#[derive(Default)]
struct Model {
    taken: bool,
    last: u32,
    /// Accepted and not applied yet; `None` stands for garbage.
    queue: VecDeque<Option<u32>>,
    applied: u32,
}

impl Model {
    fn expect(&self, seq: u32) -> InputOutcome {
        match () {
            () if !self.taken => InputOutcome::NotSeated,
            () if seq == self.last => InputOutcome::Duplicate,
            () if seq < self.last => InputOutcome::Old,
            () if self.queue.len() >= usize::from(SEAT_QUEUE) => InputOutcome::Full,
            () => InputOutcome::Accepted,
        }
    }

    fn push(&mut self, seq: u32, good: bool) {
        self.last = seq;
        self.queue.push_back(good.then_some(seq));
    }

    fn tick(&mut self) {
        for _ in 0..INPUTS_PER_TICK {
            if let Some(Some(seq)) = self.queue.pop_front() {
                self.applied = seq;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_of_inputs_is_applied_as_the_model_says(ops in proptest::collection::vec(op(60), 1..300)) {
        let game = erase(Ledger::new((), &Setup { seed: 0, tick_hz: 20 }));
        let (mut mailbox, mut batch) = (Mailbox::new(SEATS), Batch::default());
        let mut simulation = Simulation::new(game, SEATS, 20);
        let mut models: Vec<Model> = (0..=SEATS).map(|_| Model::default()).collect();
        let mut ticks = 0;

        for op in ops.into_iter().chain([Op::Tick, Op::Tick, Op::Tick]) {
            match op {
                Op::Join(seat) => {
                    mailbox.push_join(SeatId(seat), player("ada"));
                    models[usize::from(seat)] = Model { taken: seat < SEATS, ..Model::default() };
                }
                Op::Leave(seat) => {
                    mailbox.push_leave(SeatId(seat));
                    models[usize::from(seat)] = Model::default();
                }
                Op::Absent(seat) => mailbox.push_absent(SeatId(seat)),
                Op::Present(seat) => mailbox.push_present(SeatId(seat)),
                Op::Input { seat, seq } => {
                    let model = &mut models[usize::from(seat)];
                    let outcome = mailbox.push_input(SeatId(seat), InputSeq(seq), &codec::encode(&Numbered(seq)));
                    prop_assert_eq!(outcome, model.expect(seq));
                    if outcome == InputOutcome::Accepted {
                        model.push(seq, true);
                    }
                }
                Op::Garbage { seat, seq, bytes } => {
                    let model = &mut models[usize::from(seat)];
                    let outcome = mailbox.push_input(SeatId(seat), InputSeq(seq), &bytes);
                    prop_assert_eq!(outcome, model.expect(seq));
                    if outcome == InputOutcome::Accepted {
                        model.push(seq, false);
                    }
                }
                Op::Tick => {
                    mailbox.drain_into(&mut batch);
                    let stepped = simulation.run_tick(&batch).expect("the ledger finds no fault");
                    ticks += 1;
                    prop_assert_eq!(stepped.tick, Tick(ticks));
                    models.iter_mut().for_each(Model::tick);

                    let applied: Vec<_> = simulation.applied().map(|(seat, seq)| (seat.0, seq.0)).collect();
                    let model = models.iter().zip(0u16..).map(|(model, seat)| (seat, model.applied));
                    let expected: Vec<_> = model.filter(|(_, seq)| *seq > 0).collect();
                    prop_assert_eq!(&applied, &expected);
                    let mut state = Vec::new();
                    simulation.write_state(&mut state).unwrap();
                    let mut heard: Vec<(u16, u32)> =
                        codec::decode::<BTreeMap<u16, u32>>(&state).unwrap().into_iter().collect();
                    heard.retain(|(_, seq)| *seq > 0);
                    prop_assert_eq!(heard, expected, "a snapshot claims just what the game has heard");
                }
            }
        }
        for (model, seat) in models.iter().zip(0u16..) {
            prop_assert!(model.queue.is_empty(), "what was accepted has been applied");
            prop_assert_eq!(mailbox.last_input(SeatId(seat)), InputSeq(model.last));
        }
    }

    #[test]
    fn the_same_seed_and_the_same_batches_give_the_same_bytes(
        ops in proptest::collection::vec(op(1_000), 1..200),
        seed: u64,
        game in prop_oneof![Just("arena"), Just("relay")],
    ) {
        let kind: GameKind = Registry::built_in().game_named(game).unwrap().clone();
        let begin = || Simulation::new(kind.create(&[], seed).unwrap(), SEATS, kind.info().tick_hz);
        let (mut mailbox, mut simulation) = (Mailbox::new(SEATS), begin());
        let (mut batches, mut snapshots) = (Vec::new(), Vec::new());
        let state = |simulation: &mut Simulation| {
            let mut out = Vec::new();
            simulation.write_state(&mut out).unwrap();
            (out, simulation.applied().collect::<Vec<_>>())
        };

        for op in ops.into_iter().chain([Op::Tick]) {
            match op {
                Op::Join(seat) => mailbox.push_join(SeatId(seat), player("ada")),
                Op::Leave(seat) => mailbox.push_leave(SeatId(seat)),
                Op::Absent(seat) => mailbox.push_absent(SeatId(seat)),
                Op::Present(seat) => mailbox.push_present(SeatId(seat)),
                Op::Input { seat, seq } => {
                    // Right for the arena; for the relay a message now and then.
                    let bytes = [seq as u8, (seq % 2) as u8, 1, seq as u8];
                    let length = if game == "arena" { 3 } else { 2 + 2 * (seq as usize % 2) };
                    let _ = mailbox.push_input(SeatId(seat), InputSeq(seq), &bytes[..length]);
                }
                Op::Garbage { seat, seq, bytes } => {
                    let _ = mailbox.push_input(SeatId(seat), InputSeq(seq), &bytes);
                }
                Op::Tick => {
                    let mut batch = Batch::default();
                    mailbox.drain_into(&mut batch);
                    let stepped = simulation.run_tick(&batch).unwrap();
                    snapshots.push((stepped, state(&mut simulation)));
                    batches.push(batch);
                }
            }
        }
        let mut replayed = begin();
        for (batch, expected) in batches.iter().zip(snapshots) {
            let stepped = replayed.run_tick(batch).unwrap();
            prop_assert_eq!((stepped, state(&mut replayed)), expected);
        }
    }

    #[test]
    fn no_order_of_calls_gives_a_seat_two_holders_or_a_player_two_places(
        calls in proptest::collection::vec((0..8u8, 0..6u8, 0..10u64), 1..200),
    ) {
        let mut seats = Seats::new(SEATS, 2);
        let mut now = Duration::ZERO;
        for (call, who, time) in calls {
            let who = player(&format!("p{who}"));
            let later = now + Duration::from_secs(time);
            let held_before: BTreeSet<_> = seats.roster().map(|view| view.seat).collect();
            let lowest_free = (0..SEATS).map(SeatId).find(|seat| !held_before.contains(seat));
            let had = seats.seat_of(&who.id);
            match call {
                0 => prop_assert_eq!(seats.reserve(who.clone(), later), had.or(lowest_free).ok_or(NoSeat::Full)),
                1 => {
                    let claimed = seats.claim(&who.id, now);
                    prop_assert!(claimed == Err(NoSeat::NotHeld) || claimed.ok() == had);
                }
                2 => prop_assert_eq!(seats.release(&who.id), had),
                3 => prop_assert!(seats.lost(&who.id, later).is_none_or(|seat| Some(seat) == had)),
                4 => {
                    let back = seats.back(&who.id, now);
                    prop_assert!(back == Err(NoSeat::NotHeld) || back.ok() == had);
                }
                5 => prop_assert!(seats.watch(&who.id).is_ok() <= had.is_none()),
                _ => {
                    now = later;
                    for freed in seats.handle_timeout(now) {
                        prop_assert!(held_before.contains(&freed.seat));
                        prop_assert_eq!(seats.seat_of(&freed.player), None);
                    }
                    prop_assert!(seats.next_deadline().is_none_or(|deadline| deadline > now));
                }
            }
            let roster: Vec<_> = seats.roster().map(|view| (view.seat, view.player.id.clone())).collect();
            let players: BTreeSet<_> = roster.iter().map(|(_, player)| player.clone()).collect();
            prop_assert!(roster.windows(2).all(|pair| pair[0].0 < pair[1].0));
            prop_assert_eq!(players.len(), roster.len());
            prop_assert_eq!(seats.held(), roster.len());
            prop_assert!(seats.spectators() <= 2);
            for (seat, player) in &roster {
                prop_assert!(!seats.is_spectator(player));
                prop_assert_eq!(seats.seat_of(player), Some(*seat));
            }
        }
    }
}
