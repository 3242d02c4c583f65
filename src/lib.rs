//! muster
#![forbid(unsafe_code)]
pub mod admission;
pub mod certificate;
pub mod cli;
pub mod client;
pub mod clock;
pub mod codec;
pub mod config;
pub mod directory;
pub mod game;
pub mod http;
pub mod hub;
pub mod ids;
pub mod limits;
pub mod lobby;
pub mod logging;
pub mod metrics;
pub mod outbox;
pub mod request;
pub mod server;
pub mod session;
pub mod text;
pub mod ticker;
pub mod ticket;
pub mod transport;
pub mod wire;
