//! What happened to a session since its last tick, in order, and what is let in at all.
//!
//! Owns: the numbering rule of inputs and the bounds of what waits. Must not know: the game, what an input means.
//!
//! Nothing is allocated for an input once the buffers have grown to what a tick needs: inputs lie one after the other
//! in one buffer, and the buffers of a [`Mailbox`] and a [`Batch`] change places at each tick.

use super::INPUTS_PER_TICK;
use crate::game::Player;
use crate::ids::{InputSeq, SeatId};

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum InputOutcome {
    /// It will be applied, unless the game cannot decode it or the seat is given up before.
    Accepted,
    /// It is the newest one accepted, again.
    Duplicate,
    /// A newer one of this seat has been accepted.
    Old,
    /// Nobody has the seat.
    NotSeated,
    /// The seat has as much waiting as it may. It is as if the input had never come: when it is repeated, as clients
    /// do, it may be accepted.
    Full,
    /// It is longer than [`MAX_INPUT_BYTES`].
    TooLong,
}

/// What the tick takes out of a mailbox at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    events: Vec<Event>,
    bytes: Vec<u8>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody took a seat. Whoever had it has left. Boxed, so that the many inputs take a third of the room.
    Join(SeatId, Box<Player>),
    /// The seat was given up.
    Leave(SeatId),
    /// The link of the seat's player was lost.
    Absent(SeatId),
    /// The seat's player is back.
    Present(SeatId),
    /// An input, whose bytes are the next `length` ones of the batch.
    Input {
        /// Whose.
        seat: SeatId,
        /// The client's number for it.
        seq: InputSeq,
        /// Bytes; at most [`MAX_INPUT_BYTES`].
        length: u16,
    },
}

impl Batch {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What happened, in order, each with the bytes of its input.
    pub fn iter(&self) -> impl Iterator<Item = (&Event, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.events.iter().map(move |event| {
            let length = if let Event::Input { length, .. } = event { usize::from(*length) } else { 0 };
            let (input, after) = rest.split_at_checked(length).unwrap_or_default();
            rest = after;
            (event, input)
        })
    }

    /// Forgets everything and keeps the room, unless that is far more than a tick needs.
    pub fn clear(&mut self) {
        let (events, bytes) = (self.events.len(), self.bytes.len());
        self.events.clear();
        self.bytes.clear();
        // One burst must not keep its memory for as long as the session lives.
        if self.bytes.capacity() > KEPT_BYTES && bytes < self.bytes.capacity() / 8 {
            self.bytes.shrink_to(KEPT_BYTES);
        }
        if self.events.capacity() > KEPT_EVENTS && events < self.events.capacity() / 8 {
            self.events.shrink_to(KEPT_EVENTS);
        }
    }

    /// Takes out what waits of a seat whose player has left. Rare, so it may copy.
    pub(super) fn forget_inputs(&mut self, of: SeatId) {
        let mut kept = Self::default();
        for (event, bytes) in self.iter() {
            match event {
                Event::Input { seat, .. } if *seat == of => {}
                Event::Input { seat, seq, .. } => kept.push_input(*seat, *seq, bytes),
                other => kept.push(other.clone()),
            }
        }
        *self = kept;
    }

    pub(super) fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    pub(super) fn push_input(&mut self, seat: SeatId, seq: InputSeq, bytes: &[u8]) {
        let Ok(length) = u16::try_from(bytes.len()) else {
            return;
        };
        self.events.push(Event::Input { seat, seq, length });
        self.bytes.extend_from_slice(bytes);
    }
}

/// What waits for the next tick.
///
/// A seat has at most [`SEAT_QUEUE`] inputs and [`SEAT_QUEUE_BYTES`] waiting, counting those that the simulation has
/// taken and not applied yet; more are refused, and what was accepted before stays. Inputs repeated over datagrams
/// are known by their number and cost no more than a look at it.
#[derive(Debug)]
pub struct Mailbox {
    waiting: Batch,
    gates: Vec<Gate>,
    /// Counts the times the mailbox was emptied.
    drains: u32,
    refused: u64,
}

/// What is let in for one seat.
#[derive(Clone, Copy, Debug, Default)]
struct Gate {
    open: bool,
    waiting: u16,
    waiting_bytes: u32,
    last: InputSeq,
    /// The count of drains at which `waiting` was right.
    drains: u32,
}

impl Mailbox {
    /// An empty mailbox for a session with so many seats.
    pub fn new(seats: u16) -> Self {
        Self { waiting: Batch::default(), gates: vec![Gate::default(); usize::from(seats)], drains: 0, refused: 0 }
    }

    /// Somebody took the seat; inputs number from 1 again. Whoever had it has left. A seat that the session does not
    /// have is ignored.
    pub fn push_join(&mut self, seat: SeatId, player: Player) {
        let drains = self.drains;
        if let Some(gate) = self.gates.get_mut(usize::from(seat.0)) {
            *gate = Gate { open: true, drains, ..Gate::default() };
            self.waiting.push(Event::Join(seat, Box::new(player)));
        }
    }

    /// The seat was given up. Inputs of it that the tick has not applied yet are dropped, except those taken out
    /// before.
    pub fn push_leave(&mut self, seat: SeatId) {
        if let Some(gate) = self.open_gate(seat) {
            *gate = Gate::default();
            self.waiting.push(Event::Leave(seat));
        }
    }

    /// The link of the seat's player was lost.
    pub fn push_absent(&mut self, seat: SeatId) {
        if self.open_gate(seat).is_some() {
            self.waiting.push(Event::Absent(seat));
        }
    }

    /// The seat's player is back.
    pub fn push_present(&mut self, seat: SeatId) {
        if self.open_gate(seat).is_some() {
            self.waiting.push(Event::Present(seat));
        }
    }

    /// Takes an input when it is newer than the last one taken from this seat. Numbers may leave gaps; 0 is never
    /// new.
    pub fn push_input(&mut self, seat: SeatId, seq: InputSeq, bytes: &[u8]) -> InputOutcome {
        let outcome = self.admit(seat, seq, bytes.len());
        match outcome {
            InputOutcome::Accepted => self.waiting.push_input(seat, seq, bytes),
            InputOutcome::Duplicate | InputOutcome::Old => {}
            InputOutcome::NotSeated | InputOutcome::Full | InputOutcome::TooLong => self.refused += 1,
        }
        outcome
    }

    /// The newest input accepted from the seat; 0 when there is none.
    pub fn last_input(&self, seat: SeatId) -> InputSeq {
        self.gates.get(usize::from(seat.0)).map_or(InputSeq(0), |gate| gate.last)
    }

    /// How many inputs were refused so far: full, too long, or without a seat. Repeated ones do not count.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Empties the mailbox into `batch`, whose own content is lost and whose room the mailbox goes on with. Once per
    /// tick: it counts as the time in which each seat gets [`INPUTS_PER_TICK`] applied.
    pub fn drain_into(&mut self, batch: &mut Batch) {
        batch.clear();
        std::mem::swap(&mut self.waiting, batch);
        self.drains = self.drains.wrapping_add(1);
    }

    fn open_gate(&mut self, seat: SeatId) -> Option<&mut Gate> {
        self.gates.get_mut(usize::from(seat.0)).filter(|gate| gate.open)
    }

    fn admit(&mut self, seat: SeatId, seq: InputSeq, length: usize) -> InputOutcome {
        let drains = self.drains;
        let Some(gate) = self.open_gate(seat) else {
            return InputOutcome::NotSeated;
        };
        if seq <= gate.last {
            return if seq == gate.last { InputOutcome::Duplicate } else { InputOutcome::Old };
        }
        if length > MAX_INPUT_BYTES {
            return InputOutcome::TooLong;
        }
        gate.forget_applied(drains);
        let bytes = gate.waiting_bytes as usize + length;
        if gate.waiting >= SEAT_QUEUE || bytes > SEAT_QUEUE_BYTES {
            return InputOutcome::Full;
        }
        gate.last = seq;
        gate.waiting += 1;
        gate.waiting_bytes = bytes as u32;
        InputOutcome::Accepted
    }
}

impl Gate {
    /// Takes off what the ticks since have applied. Bytes are freed only when nothing waits any more, since which
    /// inputs were applied is not known here.
    fn forget_applied(&mut self, drains: u32) {
        let ticks = drains.wrapping_sub(self.drains);
        self.drains = drains;
        let applied = ticks.saturating_mul(u32::from(INPUTS_PER_TICK));
        self.waiting = u32::from(self.waiting).saturating_sub(applied) as u16;
        if self.waiting == 0 {
            self.waiting_bytes = 0;
        }
    }
}

/// The longest input, in bytes: no longer than the longest message.
pub const MAX_INPUT_BYTES: usize = 4_096;

/// The most inputs of one seat that wait.
pub const SEAT_QUEUE: u16 = 8;

/// The most bytes of inputs of one seat that wait.
pub const SEAT_QUEUE_BYTES: usize = 8_192;

const KEPT_BYTES: usize = 64 * 1_024;
const KEPT_EVENTS: usize = 1_024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::ids::PlayerId;

    const SEAT: SeatId = SeatId(1);

    fn player() -> Player {
        Player { id: PlayerId::new("ada").unwrap(), name: "Ada".into(), rating: None }
    }

    fn seated() -> Mailbox {
        let mut mailbox = Mailbox::new(2);
        mailbox.push_join(SEAT, player());
        mailbox
    }

    #[test]
    fn a_repeated_or_older_input_is_dropped_and_a_gap_is_allowed() {
        let mut mailbox = seated();
        assert_eq!(mailbox.push_input(SEAT, InputSeq(0), b"x"), InputOutcome::Duplicate);
        assert_eq!(mailbox.push_input(SEAT, InputSeq(5), b"a"), InputOutcome::Accepted);
        assert_eq!(mailbox.push_input(SEAT, InputSeq(5), b"b"), InputOutcome::Duplicate);
        assert_eq!(mailbox.push_input(SEAT, InputSeq(4), b"c"), InputOutcome::Old);
        assert_eq!(mailbox.push_input(SEAT, InputSeq(9), b"d"), InputOutcome::Accepted);
        assert_eq!(mailbox.last_input(SEAT), InputSeq(9));

        let mut batch = Batch::default();
        mailbox.drain_into(&mut batch);
        let inputs: Vec<_> = batch.iter().skip(1).map(|(_, bytes)| bytes).collect();
        assert_eq!(inputs, [b"a", b"d"]);
        assert_eq!(mailbox.push_input(SEAT, InputSeq(9), b"d"), InputOutcome::Duplicate, "also after the tick");
    }

    #[test]
    fn nobody_and_a_seat_that_does_not_exist_have_no_inputs() {
        let mut mailbox = Mailbox::new(2);
        assert_eq!(mailbox.push_input(SEAT, InputSeq(1), b""), InputOutcome::NotSeated);
        assert_eq!(mailbox.push_input(SeatId(9), InputSeq(1), b""), InputOutcome::NotSeated);
        mailbox.push_join(SeatId(9), player());
        mailbox.push_leave(SEAT);
        mailbox.push_absent(SEAT);
        mailbox.push_present(SEAT);
        let mut batch = Batch::default();
        mailbox.drain_into(&mut batch);
        assert!(batch.is_empty());
        assert_eq!(mailbox.refused(), 2);
    }

    #[test]
    fn a_flood_fills_its_own_seat_and_no_more() {
        let mut mailbox = seated();
        mailbox.push_join(SeatId(0), player());
        let accepted = (1..=1_000)
            .filter(|seq| mailbox.push_input(SEAT, InputSeq(*seq), b"flood") == InputOutcome::Accepted)
            .count();
        assert_eq!(accepted, usize::from(SEAT_QUEUE));
        assert_eq!(mailbox.last_input(SEAT), InputSeq(8), "what was refused may come again");
        assert_eq!(mailbox.push_input(SeatId(0), InputSeq(1), b"honest"), InputOutcome::Accepted);
        assert_eq!(mailbox.refused(), 992);

        let mut batch = Batch::default();
        mailbox.drain_into(&mut batch);
        let more = (1..=1_000)
            .filter(|seq| mailbox.push_input(SEAT, InputSeq(*seq), b"flood") == InputOutcome::Accepted)
            .count();
        assert_eq!(more, usize::from(INPUTS_PER_TICK), "only as many as a tick applies");
    }

    #[test]
    fn long_inputs_are_bounded_one_by_one_and_together() {
        let mut mailbox = seated();
        let long = vec![7; MAX_INPUT_BYTES];
        assert_eq!(mailbox.push_input(SEAT, InputSeq(1), &vec![7; MAX_INPUT_BYTES + 1]), InputOutcome::TooLong);
        assert_eq!(mailbox.push_input(SEAT, InputSeq(1), &long), InputOutcome::Accepted);
        assert_eq!(mailbox.push_input(SEAT, InputSeq(2), &long), InputOutcome::Accepted);
        assert_eq!(mailbox.push_input(SEAT, InputSeq(3), b"x"), InputOutcome::Full);
        mailbox.drain_into(&mut Batch::default());
        assert_eq!(mailbox.push_input(SEAT, InputSeq(3), &long), InputOutcome::Accepted);
    }

    #[test]
    fn who_takes_a_seat_after_another_numbers_inputs_from_the_start() {
        let mut mailbox = seated();
        assert_eq!(mailbox.push_input(SEAT, InputSeq(700), b"old"), InputOutcome::Accepted);
        mailbox.push_leave(SEAT);
        assert_eq!(mailbox.push_input(SEAT, InputSeq(701), b"late"), InputOutcome::NotSeated);
        mailbox.push_join(SEAT, player());
        assert_eq!(mailbox.push_input(SEAT, InputSeq(1), b"new"), InputOutcome::Accepted);
    }

    #[test]
    fn the_memory_of_a_burst_is_given_back() {
        let mut batch = Batch::default();
        for seq in 0..10_000 {
            batch.push_input(SEAT, InputSeq(seq), &[0; 64]);
        }
        batch.clear();
        batch.clear();
        assert!(batch.bytes.capacity() <= KEPT_BYTES && batch.events.capacity() <= KEPT_EVENTS);
    }
}
