//! A running game without its type, so that one session can hold any game.
//!
//! Owns: the step from bytes to typed inputs and from typed state to bytes. Must not know: seats' holders, queues.

use super::{Flow, Game, Player, TickContext};
use crate::codec::{self, DecodeError};
use crate::ids::SeatId;

/// A [`Game`] whose types are not known. What it does is what the game does.
pub trait RunningGame: Send {
    /// [`Game::join`].
    fn join(&mut self, seat: SeatId, player: &Player);

    /// [`Game::leave`].
    fn leave(&mut self, seat: SeatId);

    /// [`Game::absent`].
    fn absent(&mut self, seat: SeatId);

    /// [`Game::present`].
    fn present(&mut self, seat: SeatId);

    /// Decodes an input and hands it to [`Game::input`].
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not an input of this game, which then hears nothing of it.
    fn handle_input(&mut self, seat: SeatId, bytes: &[u8]) -> Result<(), DecodeError>;

    /// [`Game::step`].
    fn step(&mut self, tick: &TickContext) -> Flow;

    /// [`Game::write_snapshot`].
    fn write_snapshot(&self, out: &mut Vec<u8>);
}

/// Hides the type of a game.
pub fn erase<G: Game>(game: G) -> Box<dyn RunningGame> {
    Box::new(Erased(game))
}

/// Keeps the trait's methods apart from the game's own of the same name.
struct Erased<G>(G);

impl<G: Game> RunningGame for Erased<G> {
    fn join(&mut self, seat: SeatId, player: &Player) {
        self.0.join(seat, player);
    }

    fn leave(&mut self, seat: SeatId) {
        self.0.leave(seat);
    }

    fn absent(&mut self, seat: SeatId) {
        self.0.absent(seat);
    }

    fn present(&mut self, seat: SeatId) {
        self.0.present(seat);
    }

    fn handle_input(&mut self, seat: SeatId, bytes: &[u8]) -> Result<(), DecodeError> {
        self.0.input(seat, codec::decode_peer(bytes)?);
        Ok(())
    }

    fn step(&mut self, tick: &TickContext) -> Flow {
        self.0.step(tick)
    }

    fn write_snapshot(&self, out: &mut Vec<u8>) {
        self.0.write_snapshot(out);
    }
}
