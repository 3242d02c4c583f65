//! The attacker's side: each row of `docs/threats.md` that other tests do not show already, with its numbers.
//!
//! What is measured on the server is measured on a server process of its own; the attackers are raw sockets here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "../common/mod.rs"]
mod common;

mod clocks;
mod floods;
mod keys;
mod names;
mod origins;
mod secrets;
mod tickets;
mod traced;
mod udp;

/// For tests in which one address comes more often than anybody does: their subject is what it says, not how often.
const OFTEN: [(&str, &str); 2] =
    [("MUSTER_LIMITS__CONNECTS_PER_SECOND", "100000"), ("MUSTER_LIMITS__PENDING_PER_ADDRESS", "1000")];

/// Whether there is time for the numbers that figures are made of: `MUSTER_LONG=1`.
fn long() -> bool {
    std::env::var_os("MUSTER_LONG").is_some()
}
