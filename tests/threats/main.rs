//! The attacker's side: each row of `docs/threats.md` that other tests do not show already, with its numbers.
//!
//! What is measured on the server is measured on a server process of its own; the attackers are raw sockets here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "../common/mod.rs"]
mod common;

mod floods;
mod names;
mod origins;
mod secrets;
mod tickets;
mod traced;
mod udp;
