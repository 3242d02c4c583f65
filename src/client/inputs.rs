//! The inputs on their way to the server: numbered, few, and the newest first to survive.
//!
//! Owns: the window of inputs that are to be sent, or sent again. Must not know: sockets, what an input says.
//! Invariant: numbers rise; at most [`WINDOW`] inputs wait; past it the oldest is shed.

use crate::ids::{InputSeq, Tick};
use crate::wire::{Input, Inputs, PIECE_BYTES, encode_inputs};

/// The inputs of one seat that the server may not have yet.
#[derive(Clone, Debug, Default)]
pub struct InputWindow {
    window: Inputs,
    last: InputSeq,
    unsent: bool,
    /// Whether anything was sent since the last snapshot: if so, a repetition is on its way already.
    sent_since_snapshot: bool,
    shed: u64,
}

impl InputWindow {
    /// Starts over for a seat whose newest input the server holds is `last`.
    pub fn reset(&mut self, last: InputSeq) {
        *self = Self { last, shed: self.shed, ..Self::default() };
    }

    /// The number of the newest input.
    pub fn last(&self) -> InputSeq {
        self.last
    }

    /// How many inputs were dropped unsent because newer ones came before the link took them.
    pub fn shed(&self) -> u64 {
        self.shed
    }

    /// Takes an input to send. A number that does not rise is ignored.
    pub fn push(&mut self, seq: InputSeq, data: Vec<u8>) {
        if seq <= self.last {
            return;
        }
        if self.window.inputs.len() == WINDOW {
            self.window.inputs.remove(0);
            self.shed += 1;
        }
        self.last = seq;
        self.unsent = true;
        self.window.inputs.push(Input { seq, data });
    }

    /// Learns from a snapshot: which tick was seen, and that inputs up to `applied` need no repetition.
    ///
    /// When nothing was sent since the snapshot before, what is still not applied is sent again.
    pub fn handle_snapshot(&mut self, tick: Tick, applied: InputSeq) {
        self.window.seen = tick;
        self.window.inputs.retain(|input| input.seq > applied);
        if !self.sent_since_snapshot && !self.window.inputs.is_empty() {
            self.unsent = true;
        }
        self.sent_since_snapshot = false;
    }

    /// The link is gone: what waits for an acknowledgement is sent again on the next one.
    pub fn handle_loss(&mut self) {
        self.unsent = !self.window.inputs.is_empty();
    }

    /// Appends the next message of inputs to `out`, if one is due, and says whether it did.
    ///
    /// With `repeat` (datagrams get lost) it holds the last [`REPEATS`] inputs that are not known to be applied, as far
    /// as they fit one datagram; without, each input goes once.
    pub fn poll_message(&mut self, repeat: bool, out: &mut Vec<u8>) -> bool {
        if !self.unsent || self.window.inputs.is_empty() {
            return false;
        }
        let start = out.len();
        encode_inputs(&self.window, out);
        while repeat && out.len() - start >= PIECE_BYTES && self.window.inputs.len() > 1 {
            self.window.inputs.remove(0);
            out.truncate(start);
            encode_inputs(&self.window, out);
        }
        let keep = if repeat { REPEATS - 1 } else { 0 };
        let over = self.window.inputs.len().saturating_sub(keep);
        self.window.inputs.drain(..over);
        self.unsent = false;
        self.sent_since_snapshot = true;
        true
    }
}

/// Inputs that wait at most.
const WINDOW: usize = 8;

/// Inputs that are repeated over datagrams, the new one counted.
pub const REPEATS: usize = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::wire::{ClientFrame, decode_client};

    fn sent(window: &mut InputWindow, repeat: bool) -> Vec<u32> {
        let mut out = Vec::new();
        if !window.poll_message(repeat, &mut out) {
            return Vec::new();
        }
        match decode_client(&out).unwrap() {
            ClientFrame::Inputs(batch) => batch.map(|(seq, _)| seq.0).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn with(numbers: impl IntoIterator<Item = u32>) -> InputWindow {
        let mut window = InputWindow::default();
        numbers.into_iter().for_each(|seq| window.push(InputSeq(seq), vec![seq as u8]));
        window
    }

    #[test]
    fn over_a_reliable_link_each_input_goes_once() {
        let mut window = with([1, 2]);
        assert_eq!(sent(&mut window, false), [1, 2]);
        assert!(sent(&mut window, false).is_empty());
        window.push(InputSeq(3), vec![]);
        assert_eq!(sent(&mut window, false), [3]);
    }

    #[test]
    fn over_datagrams_the_last_few_are_repeated_until_they_are_applied() {
        let mut window = with([]);
        for seq in 1..=6 {
            window.push(InputSeq(seq), vec![]);
            sent(&mut window, true);
        }
        window.push(InputSeq(7), vec![]);
        assert_eq!(sent(&mut window, true), [4, 5, 6, 7]);
        window.handle_snapshot(Tick(1), InputSeq(6));
        window.push(InputSeq(8), vec![]);
        assert_eq!(sent(&mut window, true), [7, 8]);
    }

    #[test]
    fn a_lone_input_that_was_lost_goes_again_with_the_second_snapshot_that_lacks_it() {
        let mut window = with([1]);
        assert_eq!(sent(&mut window, true), [1]);
        window.handle_snapshot(Tick(1), InputSeq(0));
        assert!(sent(&mut window, true).is_empty(), "it may just have been on its way");
        window.handle_snapshot(Tick(2), InputSeq(0));
        assert_eq!(sent(&mut window, true), [1]);
        window.handle_snapshot(Tick(3), InputSeq(1));
        window.handle_snapshot(Tick(4), InputSeq(1));
        assert!(sent(&mut window, true).is_empty());
    }

    #[test]
    fn past_the_bound_the_oldest_is_shed() {
        let mut window = with(1..=10);
        assert_eq!(window.shed(), 2);
        assert_eq!(sent(&mut window, false), (3..=10).collect::<Vec<_>>());
    }

    #[test]
    fn a_datagram_never_grows_past_one_packet() {
        let mut window = InputWindow::default();
        (1..=4).for_each(|seq| window.push(InputSeq(seq), vec![0; 500]));
        let mut out = Vec::new();
        assert!(window.poll_message(true, &mut out));
        assert!(out.len() < PIECE_BYTES, "{}", out.len());
    }

    #[test]
    fn a_number_that_does_not_rise_is_ignored_and_a_new_seat_starts_over() {
        let mut window = with([5, 5, 4]);
        assert_eq!(sent(&mut window, true), [5]);
        window.handle_loss();
        assert_eq!(sent(&mut window, true), [5]);
        window.reset(InputSeq(0));
        assert!(sent(&mut window, true).is_empty());
        window.push(InputSeq(1), vec![]);
        assert_eq!(sent(&mut window, true), [1]);
    }
}
