//! New keys.
//!
//! Owns: how a fresh key is made and written. Must not know: files. This is the one place of the room that draws
//! randomness: aws-lc makes keys from its own generator and takes no other.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::key::{Curve, KeyFault, KeyHint, KeyId};
use super::pem::write_pkcs8;
use super::{Algorithm, Signer};

/// A fresh key as texts. Its `Debug` shows no private part.
pub struct GeneratedKey {
    /// The private key: a PKCS#8 PEM, or a JWK for a shared secret. A secret.
    pub private: String,
    /// The JWK set of the public key, which is what a server is given. None for a shared secret.
    pub public: Option<String>,
    /// The key's name.
    pub kid: KeyId,
    /// What it is good for.
    pub algorithm: Algorithm,
}

impl fmt::Debug for GeneratedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GeneratedKey({}, {}, [redacted])", self.kid, self.algorithm)
    }
}

/// Makes a new key. RSA keys have 2,048 bits and take a good part of a second; the others take microseconds.
///
/// # Errors
/// [`GenerateFault`] when aws-lc has no randomness to give.
pub fn generate_key(algorithm: Algorithm) -> Result<GeneratedKey, GenerateFault> {
    let private = match algorithm {
        Algorithm::EdDsa => write_pkcs8(Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref()),
        Algorithm::Es256 => write_pkcs8(EcdsaKeyPair::generate(Curve::P256.signing())?.to_pkcs8v1()?.as_ref()),
        Algorithm::Es384 => write_pkcs8(EcdsaKeyPair::generate(Curve::P384.signing())?.to_pkcs8v1()?.as_ref()),
        Algorithm::Rs256 | Algorithm::Ps256 => write_pkcs8(RsaKeyPair::generate(KeySize::Rsa2048)?.as_der()?.as_ref()),
        Algorithm::Hs256 => fresh_secret()?,
    };
    let signer = Signer::from_text(&private, &KeyHint { kid: None, algorithm: Some(algorithm) })?;
    let key = signer.key();
    let public = key.public_jwk().map(|jwk| format!("{:#}\n", json!({ "keys": [jwk] })));
    Ok(GeneratedKey { private, public, kid: key.id().clone(), algorithm })
}

fn fresh_secret() -> Result<String, GenerateFault> {
    let mut secret = [0; 32];
    let mut name = [0; 12];
    aws_lc_rs::rand::fill(&mut secret)?;
    aws_lc_rs::rand::fill(&mut name)?;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    // The name is random: a thumbprint of a secret would be one more thing to guess it by (RFC 7638 section 7).
    let jwk = json!({ "kty": "oct", "use": "sig", "alg": "HS256", "kid": encode(&name), "k": encode(&secret) });
    Ok(format!("{jwk:#}\n"))
}

/// The crypto library failed to make a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the crypto library could not make a key")]
pub struct GenerateFault;

impl From<aws_lc_rs::error::Unspecified> for GenerateFault {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self
    }
}

impl From<KeyFault> for GenerateFault {
    fn from(_: KeyFault) -> Self {
        Self
    }
}
