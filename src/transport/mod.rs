//! The transports, in one vocabulary: a request opens a link, bytes come in, an [`Outlet`](crate::outbox::Outlet) leads out.
//!
//! Owns: what both transports share, that a link is a reader, an outlet and a task. `websocket` and `webtransport` have the
//! same file names inside: `listen` accepts, `link` is one live link. `memory` is their twin without sockets, for tests.
//! Must not know: lobbies, sessions, games.

pub mod memory;
pub mod websocket;
pub mod webtransport;
