//! The transports, in one vocabulary: a request opens a link, bytes come in, an [`Outlet`](crate::outbox::Outlet) leads out.
//!
//! Owns: what both transports share: that a link is a reader and an outlet, when it is called again (`timers`), and whether
//! sockets are looked at when they have something or by the clock (`pace`). `memory` is their twin without sockets, for tests.
//! Must not know: lobbies, sessions, games.

pub mod memory;
mod pace;
mod timers;
pub mod websocket;
pub mod webtransport;
