//! muster
#![forbid(unsafe_code)]
pub mod certificate;
pub mod codec;
pub mod config;
pub mod ids;
pub mod limits;
pub mod wire;
