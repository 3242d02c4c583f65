//! muster
#![forbid(unsafe_code)]
pub mod codec;
pub mod ids;
pub mod limits;
pub mod ticket;
pub mod wire;
/// Temporary: only what the ticket room needs of the command line.
pub mod cli {
    pub mod key;
    pub mod ticket;
}
