//! The signature algorithms that tickets may use: a closed list.
//!
//! Owns: their names. Must not know: keys.

use std::fmt;
use std::str::FromStr;

use jsonwebtoken::Algorithm as Jwa;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use super::KeyFault;

/// A signature algorithm of RFC 7518 or RFC 8037. `none` is not among them and cannot be added by configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519, the default: short keys and tickets, fast on both sides.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// RSA with PKCS#1 v1.5 padding and SHA-256.
    Rs256,
    /// RSA with PSS padding and SHA-256.
    Ps256,
    /// HMAC with SHA-256: one secret, shared between the backend and muster.
    Hs256,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] = [Self::EdDsa, Self::Es256, Self::Es384, Self::Rs256, Self::Ps256, Self::Hs256];

    /// The name in a token's header and in a JWK. It is compared byte for byte: other casings are other names.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Hs256 => "HS256",
        }
    }

    /// Whether signer and verifier hold the same secret.
    pub fn is_shared_secret(self) -> bool {
        self == Self::Hs256
    }

    pub(super) fn jwa(self) -> Jwa {
        match self {
            Self::EdDsa => Jwa::EdDSA,
            Self::Es256 => Jwa::ES256,
            Self::Es384 => Jwa::ES384,
            Self::Rs256 => Jwa::RS256,
            Self::Ps256 => Jwa::PS256,
            Self::Hs256 => Jwa::HS256,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl FromStr for Algorithm {
    type Err = KeyFault;

    fn from_str(text: &str) -> Result<Self, KeyFault> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or(KeyFault::UnknownAlgorithm)
    }
}
