//! muster
#![forbid(unsafe_code)]
pub mod admission;
pub mod codec;
pub mod ids;
pub mod limits;
pub mod outbox;
pub mod transport;
pub mod wire;
