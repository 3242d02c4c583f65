//! muster
#![forbid(unsafe_code)]
pub mod cli;
pub mod client;
pub mod codec;
pub mod game;
pub mod ids;
pub mod limits;
pub mod session;
pub mod ticker;
pub mod wire;
