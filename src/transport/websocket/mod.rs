//! WebSocket: over TCP, with or without TLS, on the port that HTTP is on.
//!
//! `door` takes TCP connections and `head` reads what they ask; `upgrade` answers the request, `driver` reads a share of all
//! links, `link` is one of them, `outlet` is its way out, `frames` reads what a peer sends, `mailbox` is where a driver is left
//! word.
//! Must not know: lobbies, sessions, games.

mod door;
mod driver;
pub mod frames;
mod head;
mod link;
mod mailbox;
mod outlet;
mod upgrade;

pub use door::{Door, Encryption, Unread};
pub use upgrade::WebSockets;
