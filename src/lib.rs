//! muster
#![forbid(unsafe_code)]
pub mod certificate;
pub mod cli;
pub mod codec;
pub mod config;
pub mod http;
pub mod ids;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod wire;
