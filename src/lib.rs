//! Muster is a game lobby server: it checks a player's signed ticket before it allocates anything, gathers players in
//! lobbies, seats them in a game session, and broadcasts the session's binary state on every tick, over WebTransport or,
//! where that does not get through, over WebSocket.
//!
//! It is a command (`muster serve`, `muster play`) and a library. A studio uses it from three sides:
//!
//! - write a game: [`game::Game`], of which [`game`] shows a whole one
//! - serve it: [`server::Server`], with a [`config::Config`] and a [`game::Registry`]
//! - play it from Rust: [`client::connect()`]
//!
//! # Layout
//! A module is a room: it owns something, must not know other things, and uses rooms below it only. The walk through
//! them, function by function, is in `docs/architecture.md`.
//!
//! Pure rooms, without runtime, sockets, clock or locks; time and randomness come in as values:
//!
//! - [`ids`]: the newtypes
//! - [`limits`]: every hard bound, and the token bucket
//! - [`codec`]: values to bytes and back; the only user of bincode
//! - [`text`]: names and chat that are safe to show
//! - [`wire`]: the protocol `muster.1`: messages, framing, codes
//! - [`ticket`]: claims, keys, verifying, minting, single use
//! - [`lobby`]: the rules of one lobby
//! - [`game`]: the trait, the registry, `arena` and `relay`
//! - [`session`]: seats, inputs, the tick step
//!
//! Runtime rooms:
//!
//! - [`clock`], [`config`], [`logging`], [`metrics`]: time, settings, lines, figures
//! - [`outbox`]: the way out to one link; [`directory`]: what must be true across nodes
//! - [`certificate`]: the certificate in force; [`request`]: what a request that opens a link says
//! - [`fetch`]: the requests the server makes; [`jwks`]: keys that issuers publish; [`forward`]: asking a backend who it is
//! - [`ticker`]: sessions on their schedule
//! - [`hub`]: who is where; [`admission`]: who gets in
//! - [`http`], [`transport`]: the edges of the server; [`client`]: the other end
//! - [`server`]: assembly; [`cli`]: the commands
//!
//! The protocol is specified in `docs/protocol.md`, every setting in `docs/configuration.md`.
#![forbid(unsafe_code)]
pub mod admission;
pub mod certificate;
pub mod cli;
pub mod client;
pub mod clock;
pub mod codec;
pub mod config;
pub mod directory;
pub mod fetch;
pub mod forward;
pub mod game;
pub mod http;
pub mod hub;
pub mod ids;
pub mod jwks;
pub mod limits;
pub mod lobby;
pub mod logging;
pub mod metrics;
pub mod outbox;
pub mod request;
pub mod server;
pub mod session;
pub mod text;
pub mod ticker;
pub mod ticket;
pub mod transport;
pub mod wire;
