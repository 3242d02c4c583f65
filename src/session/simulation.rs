//! The tick: what happened goes into the game, the game steps, its state comes out.
//!
//! Owns: the game, the tick number, the last input applied of each seat. Must not know: who is behind a seat, when a
//! tick is due. A panic of the game is caught here, at one place per call; a game that has panicked is dropped.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::inputs::{Batch, Event};
use crate::game::{Flow, RunningGame, TickContext};
use crate::ids::{InputSeq, SeatId, Tick};

/// A game that ticks.
///
/// Per player and tick it allocates nothing: it reads inputs where they lie, and what is put off to the next tick
/// goes into buffers that are used again.
pub struct Simulation {
    /// `None` once it has panicked.
    game: Option<Box<dyn RunningGame>>,
    halted: Option<Halted>,
    tick: Tick,
    tick_hz: u8,
    seats: Vec<Slot>,
    /// Inputs beyond [`INPUTS_PER_TICK`], in order, for the next tick. Bounded by what the mailbox lets in.
    put_off: Batch,
    spare: Batch,
}

/// What a tick brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// The tick that passed.
    pub tick: Tick,
    /// The game's result, encoded, when this was its last tick.
    pub ended: Option<Vec<u8>>,
    /// How many inputs the game could not decode. Their senders are at fault.
    pub undecodable: u32,
}

/// Why a simulation does not tick any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halted {
    /// The game came to its end.
    #[error("the game is over")]
    Ended,
    /// The game panicked. The game is at fault: the session ends with `session-crashed` (4011).
    #[error("the game panicked: {0}")]
    Panicked(
        /// What the panic said, for the log.
        String,
    ),
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    taken: bool,
    applied: InputSeq,
    applied_now: u8,
    undecodable: u32,
}

impl Simulation {
    /// A game before its first tick, with so many seats, nobody in them.
    pub fn new(game: Box<dyn RunningGame>, seats: u16, tick_hz: u8) -> Self {
        Self {
            game: Some(game),
            halted: None,
            tick: Tick(0),
            tick_hz,
            seats: vec![Slot::default(); usize::from(seats)],
            put_off: Batch::default(),
            spare: Batch::default(),
        }
    }

    /// Hands what happened to the game and steps it. The batch is read, not emptied.
    ///
    /// A seat has at most [`INPUTS_PER_TICK`] inputs applied; those beyond wait for the next tick, before any newer
    /// one. Inputs the game cannot decode are counted and dropped, and take their turn as any other does.
    ///
    /// # Errors
    /// [`Halted`] when the game panics in this tick, or is over already.
    pub fn run_tick(&mut self, batch: &Batch) -> Result<Stepped, Halted> {
        let (Some(game), None) = (&mut self.game, &self.halted) else {
            return Err(self.halted());
        };
        self.tick = self.tick.next();
        let context = TickContext { tick: self.tick, tick_hz: self.tick_hz };
        std::mem::swap(&mut self.put_off, &mut self.spare);
        self.put_off.clear();
        let mut applier =
            Applier { game: game.as_mut(), seats: &mut self.seats, put_off: &mut self.put_off, undecodable: 0 };
        applier.seats.iter_mut().for_each(|slot| slot.applied_now = 0);
        let spare = &self.spare;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            spare.iter().chain(batch.iter()).for_each(|(event, bytes)| applier.apply(event, bytes));
            (applier.game.step(&context), applier.undecodable)
        }));
        match outcome {
            Ok((Flow::Continue, undecodable)) if self.tick.0 < u32::MAX => {
                Ok(Stepped { tick: self.tick, ended: None, undecodable })
            }
            Ok((flow, undecodable)) => {
                self.halted = Some(Halted::Ended);
                let result = if let Flow::End(result) = flow { result } else { Vec::new() };
                Ok(Stepped { tick: self.tick, ended: Some(result), undecodable })
            }
            Err(panic) => Err(self.bury(panic)),
        }
    }

    /// Appends the state after the last tick. A game that is over still has its last one.
    ///
    /// # Errors
    /// [`Halted::Panicked`] when the game panics in it (what it had written is taken back), or has before.
    pub fn write_state(&mut self, out: &mut Vec<u8>) -> Result<(), Halted> {
        let Some(game) = &self.game else {
            return Err(self.halted());
        };
        let before = out.len();
        catch_unwind(AssertUnwindSafe(|| game.write_snapshot(out))).map_err(|panic| {
            out.truncate(before);
            self.bury(panic)
        })
    }

    /// The tick that passed last; 0 before the first.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// For each seat that has any, the newest input applied, in order of the seats.
    pub fn applied(&self) -> impl Iterator<Item = (SeatId, InputSeq)> {
        let some = |(slot, number): (&Slot, u16)| (slot.applied.0 > 0).then_some((SeatId(number), slot.applied));
        self.seats.iter().zip(0..).filter_map(some)
    }

    /// How many inputs of the player in the seat the game could not decode.
    pub fn undecodable(&self, seat: SeatId) -> u32 {
        self.seats.get(usize::from(seat.0)).map_or(0, |slot| slot.undecodable)
    }
}

impl Simulation {
    fn halted(&self) -> Halted {
        self.halted.clone().unwrap_or(Halted::Ended)
    }

    /// Drops a game that has panicked. What it was in the middle of may make it panic again; that, too, ends here.
    fn bury(&mut self, panic: Box<dyn Any + Send>) -> Halted {
        let halted = Halted::Panicked(said(panic.as_ref()));
        self.halted = Some(halted.clone());
        drop_game(self.game.take());
        drop_payload(panic);
        halted
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        drop_game(self.game.take());
    }
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation").field("tick", &self.tick).field("halted", &self.halted).finish_non_exhaustive()
    }
}

/// Everything a tick touches while the game's own code may panic.
struct Applier<'a> {
    game: &'a mut dyn RunningGame,
    seats: &'a mut [Slot],
    put_off: &'a mut Batch,
    undecodable: u32,
}

impl Applier<'_> {
    fn apply(&mut self, event: &Event, bytes: &[u8]) {
        match event {
            Event::Join(seat, player) => {
                if self.vacate(*seat, true) {
                    self.game.join(*seat, player);
                }
            }
            Event::Leave(seat) => {
                self.vacate(*seat, false);
            }
            Event::Absent(seat) if self.slot(*seat).is_some() => self.game.absent(*seat),
            Event::Present(seat) if self.slot(*seat).is_some() => self.game.present(*seat),
            Event::Absent(_) | Event::Present(_) => {}
            Event::Input { seat, seq, .. } => self.input(*seat, *seq, bytes),
        }
    }

    /// Whoever has the seat leaves it; then it is taken anew, or not. Says whether there is such a seat.
    fn vacate(&mut self, seat: SeatId, taken: bool) -> bool {
        let Some(slot) = self.seats.get_mut(usize::from(seat.0)) else {
            return false;
        };
        let before = std::mem::replace(slot, Slot { taken, ..Slot::default() });
        if before.taken {
            self.put_off.forget_inputs(seat);
            self.game.leave(seat);
        }
        true
    }

    fn input(&mut self, seat: SeatId, seq: InputSeq, bytes: &[u8]) {
        let Some(slot) = self.slot(seat).filter(|slot| seq > slot.applied) else {
            return;
        };
        if slot.applied_now >= INPUTS_PER_TICK {
            self.put_off.push_input(seat, seq, bytes);
            return;
        }
        slot.applied_now += 1;
        if self.game.handle_input(seat, bytes).is_ok() {
            if let Some(slot) = self.slot(seat) {
                slot.applied = seq;
            }
        } else {
            self.undecodable = self.undecodable.saturating_add(1);
            if let Some(slot) = self.slot(seat) {
                slot.undecodable = slot.undecodable.saturating_add(1);
            }
        }
    }

    fn slot(&mut self, seat: SeatId) -> Option<&mut Slot> {
        self.seats.get_mut(usize::from(seat.0)).filter(|slot| slot.taken)
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").chars().take(200).collect()
}

fn drop_game(game: Option<Box<dyn RunningGame>>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(game))) {
        drop_payload(panic);
    }
}

/// A panic's payload can be anything, even something that panics when it is dropped.
fn drop_payload(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}

/// The most inputs of one seat that a tick applies: what comes late in a bunch is caught up with, and no faster.
pub const INPUTS_PER_TICK: u8 = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::codec::{Decode, Encode};
    use crate::game::{Game, Player, Setup, erase};
    use crate::ids::PlayerId;
    use crate::session::{InputOutcome, Mailbox};

    /// Writes down all that it hears.
    struct Diary(Vec<String>);

    #[derive(Debug, Encode, Decode)]
    enum Said {
        Number(u8),
        Panic,
        End,
        PanicInSnapshot,
    }

    impl Game for Diary {
        const NAME: &'static str = "diary";
        const PLAYERS: std::ops::RangeInclusive<u16> = 1..=2;
        type Settings = ();
        type Input = Said;
        type State = String;

        fn new((): (), _: &Setup) -> Self {
            Self(Vec::new())
        }

        fn join(&mut self, seat: SeatId, player: &Player) {
            self.0.push(format!("{seat} is {}", player.name));
        }

        fn leave(&mut self, seat: SeatId) {
            self.0.push(format!("{seat} left"));
        }

        fn absent(&mut self, seat: SeatId) {
            self.0.push(format!("{seat} lost"));
        }

        fn present(&mut self, seat: SeatId) {
            self.0.push(format!("{seat} back"));
        }

        fn input(&mut self, seat: SeatId, input: Said) {
            assert!(!matches!(input, Said::Panic), "asked to panic");
            self.0.push(format!("{seat} says {input:?}"));
        }

        fn step(&mut self, tick: &TickContext) -> Flow {
            self.0.push(format!("tick {}", tick.tick));
            if self.0.iter().any(|line| line.contains("End")) { Flow::end(&7u8) } else { Flow::Continue }
        }

        fn snapshot(&self) -> String {
            self.0.join(", ")
        }

        fn write_snapshot(&self, out: &mut Vec<u8>) {
            crate::codec::encode_into(&self.snapshot(), out);
            assert!(!self.0.iter().any(|line| line.contains("PanicInSnapshot")), "asked to panic");
        }
    }

    struct World {
        mailbox: Mailbox,
        batch: Batch,
        simulation: Simulation,
    }

    impl World {
        fn new() -> Self {
            let game = erase(Diary::new((), &Setup { seed: 1, tick_hz: 20 }));
            Self { mailbox: Mailbox::new(2), batch: Batch::default(), simulation: Simulation::new(game, 2, 20) }
        }

        fn join(&mut self, seat: u16, name: &str) {
            let player = Player { id: PlayerId::new(name).unwrap(), name: name.into(), rating: None };
            self.mailbox.push_join(SeatId(seat), player);
        }

        fn say(&mut self, seat: u16, seq: u32, said: &Said) {
            let outcome = self.mailbox.push_input(SeatId(seat), InputSeq(seq), &crate::codec::encode(said));
            assert_eq!(outcome, InputOutcome::Accepted);
        }

        fn tick(&mut self) -> Result<Stepped, Halted> {
            self.mailbox.drain_into(&mut self.batch);
            self.simulation.run_tick(&self.batch)
        }

        fn state(&mut self) -> String {
            let mut out = Vec::new();
            self.simulation.write_state(&mut out).unwrap();
            crate::codec::decode(&out).unwrap()
        }

        fn applied(&self) -> Vec<(u16, u32)> {
            self.simulation.applied().map(|(seat, seq)| (seat.0, seq.0)).collect()
        }
    }

    #[test]
    fn a_game_hears_what_happened_in_order_and_then_steps() {
        let mut world = World::new();
        world.join(1, "ada");
        world.say(1, 3, &Said::Number(5));
        world.mailbox.push_absent(SeatId(1));
        world.mailbox.push_present(SeatId(1));
        world.join(0, "bob");
        world.mailbox.push_leave(SeatId(1));
        let stepped = world.tick().unwrap();
        assert_eq!(stepped, Stepped { tick: Tick(1), ended: None, undecodable: 0 });
        assert_eq!(world.state(), "1 is ada, 1 says Number(5), 1 lost, 1 back, 0 is bob, 1 left, tick 1");
        assert_eq!(world.tick().unwrap().tick, Tick(2));
    }

    #[test]
    fn the_newest_input_applied_is_told_for_each_seat_that_has_one() {
        let mut world = World::new();
        world.join(0, "ada");
        world.join(1, "bob");
        world.say(1, 3, &Said::Number(1));
        world.say(1, 9, &Said::Number(2));
        world.tick().unwrap();
        assert_eq!(world.applied(), [(1, 9)]);
        world.join(1, "eve");
        world.tick().unwrap();
        assert_eq!(world.applied(), [], "a new player has had nothing applied");
        assert!(world.state().ends_with("tick 1, 1 left, 1 is eve, tick 2"));
    }

    #[test]
    fn a_bunch_of_inputs_is_applied_over_several_ticks_in_order() {
        let mut world = World::new();
        world.join(0, "ada");
        (1..=8).for_each(|seq| world.say(0, seq, &Said::Number(seq as u8)));
        world.tick().unwrap();
        assert_eq!(world.applied(), [(0, 4)]);
        world.say(0, 9, &Said::Number(9));
        world.tick().unwrap();
        assert_eq!(world.applied(), [(0, 8)]);
        world.tick().unwrap();
        assert_eq!(world.applied(), [(0, 9)]);
        let said: Vec<_> = world.state().split(", ").filter(|line| line.contains("says")).map(String::from).collect();
        assert_eq!(said, (1..=9).map(|n| format!("0 says Number({n})")).collect::<Vec<_>>());
    }

    #[test]
    fn inputs_put_off_go_with_the_player_who_sent_them() {
        let mut world = World::new();
        world.join(0, "ada");
        world.join(1, "bob");
        (1..=6).for_each(|seq| world.say(0, seq, &Said::Number(seq as u8)));
        (1..=6).for_each(|seq| world.say(1, seq, &Said::Number(seq as u8)));
        world.mailbox.push_leave(SeatId(0));
        world.join(0, "eve");
        world.tick().unwrap();
        world.tick().unwrap();
        assert_eq!(world.applied(), [(1, 6)]);
        assert!(world.state().ends_with("0 is eve, tick 1, 1 says Number(5), 1 says Number(6), tick 2"));
    }

    #[test]
    fn an_input_that_does_not_decode_is_counted_and_the_game_does_not_hear_of_it() {
        let mut world = World::new();
        world.join(0, "ada");
        for (seq, bad) in [(1, &[][..]), (2, &[9]), (3, &[1, 1])] {
            assert_eq!(world.mailbox.push_input(SeatId(0), InputSeq(seq), bad), InputOutcome::Accepted);
        }
        assert_eq!(world.tick().unwrap().undecodable, 3);
        assert_eq!(world.simulation.undecodable(SeatId(0)), 3);
        assert_eq!(world.state(), "0 is ada, tick 1");
        assert_eq!(world.applied(), []);
    }

    #[test]
    fn a_game_that_panics_halts_and_is_not_called_again() {
        let mut world = World::new();
        world.join(0, "ada");
        world.say(0, 1, &Said::Panic);
        let panicked = Halted::Panicked("asked to panic".into());
        assert_eq!(world.tick(), Err(panicked.clone()));
        assert_eq!(world.tick(), Err(panicked.clone()));
        assert_eq!(world.simulation.write_state(&mut Vec::new()), Err(panicked));
    }

    #[test]
    fn a_panic_in_the_snapshot_leaves_nothing_half_written() {
        let mut world = World::new();
        world.join(0, "ada");
        world.say(0, 1, &Said::PanicInSnapshot);
        world.tick().unwrap();
        let mut out = b"before".to_vec();
        assert!(matches!(world.simulation.write_state(&mut out), Err(Halted::Panicked(_))));
        assert_eq!(out, b"before");
        assert!(world.tick().is_err());
    }

    #[test]
    fn a_game_that_is_over_has_a_result_and_a_last_state_and_no_more_ticks() {
        let mut world = World::new();
        world.join(0, "ada");
        world.say(0, 1, &Said::End);
        assert_eq!(world.tick().unwrap().ended, Some(vec![7]));
        assert_eq!(world.state(), "0 is ada, 0 says End, tick 1");
        assert_eq!(world.tick(), Err(Halted::Ended));
        assert_eq!(world.simulation.tick(), Tick(1));
    }

    #[test]
    fn the_last_tick_there_is_ends_the_session() {
        let mut world = World::new();
        world.simulation.tick = Tick(u32::MAX - 1);
        assert_eq!(world.tick().unwrap().ended, Some(Vec::new()));
        assert_eq!(world.tick(), Err(Halted::Ended));
    }
}
