//! The transports, in one vocabulary: a request opens a link, bytes come in, an [`Outlet`](crate::outbox::Outlet) leads out.
//!
//! Owns: what both transports share, above all how a connection request is read. `websocket` and `webtransport` have the
//! same file names inside: `listen` accepts, `link` is one live link. Must not know: lobbies, sessions, games.

pub mod request;
pub mod webtransport;
