//! The command line.

pub mod play;
