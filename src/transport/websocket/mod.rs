//! WebSocket: over TCP, with or without TLS, on the port that HTTP is on.
//!
//! `upgrade` answers the request, `link` carries one live link, `outlet` is its way out, `frames` reads what a peer sends.
//! Must not know: lobbies, sessions, games.

pub mod frames;
mod link;
mod outlet;
mod upgrade;

pub use upgrade::WebSockets;
