//! Tickets: the signed JWT that says who a player is and what it may join.
//!
//! Owns: claims, the key ring, verifying, minting, single use. The only user of jsonwebtoken.
//! Must not know: how a ticket arrived, which lobbies exist, what time it is; wall time comes in as [`UnixSeconds`].
//!
//! Invariants:
//! - a key's algorithm is the key's own and never read from a token;
//! - the checks run cheapest first, and nothing of the claims is believed before the signature has been checked;
//! - no error, `Debug` or `Display` of this room shows a token or a secret.

mod actions;
mod algorithm;
mod answer;
mod claims;
mod fault;
mod generate;
mod jwk;
mod key;
mod mint;
mod paths;
mod pem;
mod policy;
mod published;
mod ring;
mod strict_json;
mod used;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;

pub use actions::{Action, Actions};
pub use algorithm::Algorithm;
pub use claims::{Grants, LobbyBinding, Role, TicketFacts, Verified};
pub use fault::TicketFault;
pub use generate::{GenerateFault, GeneratedKey, generate_key};
pub use key::{Key, KeyFault, KeyHint, KeyId};
pub use mint::{Claims, MintFault, Signer};
pub use paths::{ClaimNames, ClaimPath};
pub use policy::{PolicyFault, TicketPolicy, TokenKind};
pub use published::PublishedKeys;
pub use ring::KeyRing;
pub use used::{Burn, UsedTickets};
pub use verify::{Issuer, Refusal, Verifier, claimed_kid};

use crate::ids::BadId;

/// A moment of wall time: whole seconds since 1970-01-01 UTC, as JWTs count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// The moment `by` later, a started second left out; stays at the last moment at the end of the range.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by.as_secs()))
    }
}

/// The text of a ticket, on its way from a carrier to the [`Verifier`] or from the [`Signer`] to a client.
///
/// It is a secret for as long as it is good: its `Debug` shows nothing of it, and it has no `Display`.
#[derive(Clone)]
pub struct Ticket(Box<str>);

impl Ticket {
    /// Takes any text; only a [`Verifier`] tells whether it is a ticket.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. It belongs on the wire and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Ticket {
    /// Compares in constant time for texts of one length.
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.0.as_bytes().ct_eq(other.0.as_bytes()))
    }
}

impl Eq for Ticket {}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket([redacted])")
    }
}

/// The `jti` of a ticket: 1 to 128 bytes of printable text, cheap to clone. It opens nothing, so it may be logged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TicketId(Arc<str>);

impl TicketId {
    /// The longest ticket id, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Accepts 1 to [`Self::MAX_BYTES`] bytes without control characters.
    ///
    /// # Errors
    /// [`BadId`] for anything else.
    pub fn new(text: &str) -> Result<Self, BadId> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        if fits && !text.chars().any(char::is_control) { Ok(Self(text.into())) } else { Err(BadId) }
    }

    /// The id that 128 random bits stand for: 32 hexadecimal digits.
    pub fn from_random(random: u128) -> Self {
        Self(format!("{random:032x}").into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Chooses aws-lc for jsonwebtoken, once for the process; every later call does nothing.
///
/// Reading a key calls it, so that no order of calls finds the choice unmade.
pub fn install_crypto() {
    // An error means that a choice was made before, which is all that is wanted here.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_shows_nothing_of_itself() {
        let ticket = Ticket::new("eyJhbGciOi.canary.canary");
        assert_eq!(format!("{ticket:?}"), "Ticket([redacted])");
        assert_eq!(ticket, ticket.clone());
        assert_ne!(ticket, Ticket::new("eyJhbGciOi.canary.canarz"));
        assert_ne!(ticket, Ticket::new("eyJhbGciOi.canary"));
    }

    #[test]
    fn a_ticket_id_is_bounded_and_printable() {
        assert!(TicketId::new(&"j".repeat(128)).is_ok());
        for bad in ["", "a\0b", &"j".repeat(129)] {
            assert_eq!(TicketId::new(bad), Err(BadId));
        }
        assert_eq!(TicketId::from_random(255).as_str(), "000000000000000000000000000000ff");
    }
}
