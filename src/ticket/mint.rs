//! Makes tickets: for development, for the command line, for backends that would rather ask than sign.
//!
//! Owns: what a ticket of muster's own looks like. Must not know: clocks and randomness; the claims bring both.

use std::fmt;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value};

use super::key::{Key, KeyFault, KeyHint, ReadKey};
use super::ring::read_keys;
use super::{KeyRing, Ticket, TicketId, TicketPolicy, UnixSeconds};

/// What a new ticket says.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// `sub`: the player.
    pub player: String,
    /// `jti`: a number never used before, or random bits.
    pub ticket_id: TicketId,
    /// `iat`.
    pub issued_at: UnixSeconds,
    /// `exp`.
    pub expires_at: UnixSeconds,
    /// Further claims (`name`, `role`, `game`, `lobby`, …). One that has the name of a field above replaces it.
    pub more: Map<String, Value>,
}

/// Signs tickets with one private key. Its `Debug` shows the key's id and algorithm alone.
pub struct Signer {
    key: Key,
    encoding: EncodingKey,
}

impl Signer {
    /// Reads a private key from a PEM (PKCS#8) or a JWK.
    ///
    /// # Errors
    /// [`KeyFault`] when the text is not exactly one private key that is good for tickets.
    pub fn from_text(text: &str, hint: &KeyHint) -> Result<Self, KeyFault> {
        let mut keys = read_keys(text, hint)?;
        let only = keys.pop().ok_or(KeyFault::Empty)?;
        if !keys.is_empty() {
            return Err(KeyFault::SeveralKeys);
        }
        let ReadKey { key, private } = only;
        Ok(Self { key, encoding: private.ok_or(KeyFault::NoPrivateKey)? })
    }

    /// The key that verifies what this signs.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// A ring of that key alone.
    ///
    /// # Errors
    /// Never in practice: one key has no other to clash with.
    pub fn ring(&self) -> Result<KeyRing, KeyFault> {
        KeyRing::from_keys([self.key.clone()])
    }

    /// Signs a ticket.
    ///
    /// # Errors
    /// [`MintFault`] when the key cannot sign.
    pub fn mint(&self, claims: &Claims) -> Result<Ticket, MintFault> {
        let header = Header {
            typ: Some(TicketPolicy::TYP.to_owned()),
            kid: Some(self.key.id().as_str().to_owned()),
            ..Header::new(self.key.algorithm().jwa())
        };
        let mut payload = Map::new();
        payload.insert("iss".into(), claims.issuer.as_str().into());
        payload.insert("aud".into(), claims.audience.as_str().into());
        payload.insert("sub".into(), claims.player.as_str().into());
        payload.insert("jti".into(), claims.ticket_id.as_str().into());
        payload.insert("iat".into(), claims.issued_at.0.into());
        payload.insert("exp".into(), claims.expires_at.0.into());
        payload.extend(claims.more.iter().map(|(name, value)| (name.clone(), value.clone())));
        jsonwebtoken::encode(&header, &payload, &self.encoding).map(Ticket::new).map_err(|_| MintFault)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, {}, [redacted])", self.key.id(), self.key.algorithm())
    }
}

/// The key did not sign, although it had been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key could not sign the ticket")]
pub struct MintFault;
