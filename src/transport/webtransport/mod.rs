//! WebTransport, server side: one session per QUIC connection, one control stream, datagrams for the hot path.
//!
//! `listen` is the door for the rest of the house; `driver` is the one thread behind it, which owns the socket and all
//! connections; `peer` is one connection from the handshake to the close, `live` its life as a link, `link` what other
//! threads see of it, `mailbox` how they reach the driver. It stands on quinn's protocol crate and on wtransport's, not
//! on their own drivers: a task and several queues per connection cost more than the protocol
//! (`docs/decisions/0009-quic-loop.md`).

mod driver;
mod h3;
mod link;
mod listen;
mod live;
mod mailbox;
mod peer;
mod qpack;
mod request;
mod streams;
mod tuning;

pub use listen::{BindError, Handle, Listener};
