//! muster
#![forbid(unsafe_code)]
pub mod codec;
pub mod ids;
pub mod limits;
pub mod text;
pub mod wire;
