//! One game session: who sits where, and the game that ticks.
//!
//! Owns: the seats, the inputs on their way into a tick, the tick step. Must not know: links, the wire, the clock.
//!
//! It comes in three parts, because two sides work on a session at different times:
//!
//! - [`Seats`] belongs to the side that knows lobbies and links: who holds which seat, and until when it waits.
//! - [`Mailbox`] stands between the two, plain data under the caller's lock: what happened since the last tick.
//! - [`Simulation`] belongs to the tick: it takes a [`Batch`] out of the mailbox, hands it to the game and steps it.
//!
//! Invariants: a seat has at most one holder; an input is applied at most once, and a seat's inputs in rising order;
//! ticks rise by exactly 1; a snapshot never claims an input that was not received; the same seed and the same
//! batches give the same snapshots, byte for byte; a game that panics is not called again.

mod inputs;
mod seats;
mod simulation;

pub use inputs::{Batch, Event, InputOutcome, MAX_INPUT_BYTES, Mailbox, SEAT_QUEUE, SEAT_QUEUE_BYTES};
pub use seats::{Freed, NoSeat, SeatView, Seats};
pub use simulation::{Halted, INPUTS_PER_TICK, Simulation, Stepped};
