//! muster
#![forbid(unsafe_code)]
pub mod codec;
pub mod ids;
pub mod limits;
pub mod lobby;
pub mod text;
pub mod wire;
