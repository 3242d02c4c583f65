//! When sessions tick, and what carries a tick out to the links.
//!
//! Owns: the fixed schedule of each session, and its task. Must not know: what a tick does to the game.

mod run;
pub mod schedule;

pub use run::{Outcome, SessionRun};
