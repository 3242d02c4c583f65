//! WebTransport, server side: one session per QUIC connection, one control stream, datagrams for the hot path.
//!
//! [`listen`](self::Listener) accepts connections, `request` reads what they ask for, `open` answers it and lets the
//! player through admission, `link` is one live link. It stands on quinn and on wtransport's protocol crate, not on
//! wtransport's own driver: that one keeps a task and a one-place queue per kind of stream between a link and its
//! datagrams, cannot be told to close a connection whose request never came, and answers with three statuses only.

mod h3;
mod link;
mod listen;
mod open;
mod qpack;
mod request;
mod tuning;

pub use listen::{BindError, Handle, Listener};
