//! When sessions tick.
//!
//! Owns: the fixed schedule of each session. Must not know: what a tick does.

pub mod schedule;
