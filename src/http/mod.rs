//! HTTP on the main port: health, metrics, the public list, the certificate's hash, and tickets for development.
//!
//! Owns: routes, answers, who may read them, the bounds of a connection. Must not know: what a lobby is, how a link
//! works. What it tells comes through [`Backend`]; a request for [`crate::wire::PLAY_PATH`] goes to a [`Play`]
//! untouched. A request costs nothing but its own task, and a connection lives for a bounded time unless it becomes a
//! link.

mod api;
mod dev;
mod held;
mod problem;
mod serve;
mod tls;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use api::{Http, Play, finished, metrics_router};
pub use held::{Held, Hold};
pub use problem::{problem, refusal_bytes, status_problem};
pub use serve::{HttpBounds, MAX_HEAD_BYTES, begins_tls, serve_connection, serve_router};
pub use tls::TlsStream;

use crate::wire::Code;

/// An answer.
pub type Response = axum::response::Response;

/// The other end of a TCP connection. Every request carries it among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// What the HTTP interface tells about the node. Called on the runtime: answers from memory, at once.
pub trait Backend: Send + Sync + 'static {
    /// The public lobbies that match, `most` of them at the most.
    fn lobbies(&self, query: &LobbyQuery) -> Vec<LobbyEntry>;

    /// Whether new players are taken: false before everything listens and as soon as the node drains.
    fn ready(&self) -> bool;

    /// The certificate in force, if there is one.
    fn certificate(&self) -> Option<CertificateFacts>;

    /// A ticket for development. Asked for only with `--dev`, and only by loopback.
    ///
    /// # Errors
    /// The code to refuse with: `malformed` for a wish that no ticket can carry.
    fn dev_ticket(&self, wish: &DevTicketWish) -> Result<DevTicket, Code>;
}

/// Which public lobbies are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LobbyQuery {
    /// Only this game's.
    pub game: Option<String>,
    /// Only those that one can join now.
    pub open_only: bool,
    /// No more than this many: 100 unless asked otherwise, at most 200.
    pub most: usize,
}

/// A public lobby, as `/v1/lobbies` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LobbyEntry {
    /// Its id, as `join=lobby:ID` takes it.
    pub id: String,
    /// Its game.
    pub game: String,
    /// Its name, as its host wrote it: text, never markup.
    pub name: String,
    /// Members now.
    pub players: u16,
    /// Places in all.
    pub capacity: u16,
    /// Whether a session runs.
    pub playing: bool,
    /// Whether one can join now.
    pub open: bool,
}

/// What `/v1/certificate-hash` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SHA-256 of the certificate.
    pub hash: [u8; 32],
    /// The last second, in Unix time, in which it is valid.
    pub not_after: u64,
    /// Whether browsers take it by its hash: ECDSA P-256 and at most 14 days.
    pub usable_by_browsers: bool,
}

/// Who asks for a ticket for development, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevTicketWish {
    /// The player. Without it the backend makes one up.
    pub sub: Option<String>,
    /// The name that others see.
    pub name: Option<String>,
    /// Only this game.
    pub game: Option<String>,
    /// Only this lobby.
    pub lobby: Option<String>,
    /// `player`, `spectator` or `host`.
    pub role: Option<String>,
}

/// A ticket for development.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct DevTicket {
    /// The ticket. A secret, if a short one.
    pub ticket: String,
    /// The player it is for.
    pub sub: String,
    /// When it expires, in Unix time.
    pub expires_at: u64,
}
