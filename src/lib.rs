//! muster
#![forbid(unsafe_code)]
pub mod certificate;
pub mod cli;
pub mod client;
pub mod codec;
pub mod config;
pub mod game;
pub mod http;
pub mod ids;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod session;
pub mod ticker;
pub mod wire;
