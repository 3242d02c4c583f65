//! The transports, in one vocabulary: a request opens a link, bytes come in, an [`Outlet`](crate::outbox::Outlet) leads out.
//!
//! Owns: what both transports share, that a link is a reader and an outlet, and when it is called again. `websocket` and `webtransport` have the
//! same file names inside: `listen` accepts, `link` is one live link. `memory` is their twin without sockets, for tests.
//! Must not know: lobbies, sessions, games.

pub mod memory;
mod timers;
pub mod websocket;
pub mod webtransport;
