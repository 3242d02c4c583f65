//! One key: its id, its algorithm, and what checks a signature with it.
//!
//! Owns: what makes a key acceptable. Must not know: the texts that keys come in (`pem`, `jwk`).
//!
//! Invariant: a [`Key`] that exists is strong enough, well formed, and good for exactly one algorithm.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self as aws, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};

use super::{Algorithm, install_crypto};

/// The name of a key in its ring: 1 to 64 of `A-Z`, `a-z`, `0-9`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// The longest key id, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Accepts 1 to [`Self::MAX_BYTES`] of ASCII letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// [`KeyFault::BadKid`] for anything else.
    pub fn new(text: &str) -> Result<Self, KeyFault> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        let clean = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits && clean { Ok(Self(text.into())) } else { Err(KeyFault::BadKid) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lookup by the text of a token's `kid`, without making an id of it first.
impl std::borrow::Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the operator says about a key whose text does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHint {
    /// The key's name. Default: the `kid` of a JWK, else the thumbprint of RFC 7638.
    pub kid: Option<KeyId>,
    /// The algorithm. Default: the `alg` of a JWK, else what the kind of key says; for RSA, RS256.
    pub algorithm: Option<Algorithm>,
}

/// A key that tickets are verified with. Its `Debug` shows the id and the algorithm alone.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    algorithm: Algorithm,
    material: Arc<Material>,
    decoding: Arc<DecodingKey>,
}

impl Key {
    /// The key's name in its ring.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The only algorithm that the key is good for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public JWK, with `kid`, `alg` and `use`. None for a shared secret, which has no public part.
    pub fn public_jwk(&self) -> Option<Value> {
        if self.algorithm.is_shared_secret() {
            return None;
        }
        let mut jwk = self.material.members();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".into(), self.id.as_str().into());
            members.insert("alg".into(), self.algorithm.name().into());
            members.insert("use".into(), "sig".into());
        }
        Some(jwk)
    }

    pub(super) fn new(material: Material, kid: Option<&str>, alg: Option<Algorithm>) -> Result<Self, KeyFault> {
        install_crypto();
        material.check()?;
        let algorithm = alg.unwrap_or_else(|| material.usual_algorithm());
        if !material.fits(algorithm) {
            return Err(KeyFault::AlgorithmMismatch(algorithm));
        }
        let id = match kid {
            Some(kid) => KeyId::new(kid)?,
            None => KeyId::new(&material.thumbprint())?,
        };
        let decoding = Arc::new(material.decoding_key());
        Ok(Self { id, algorithm, material: Arc::new(material), decoding })
    }

    /// Whether `signature`, still in base64url, is this key's over `message`.
    pub(super) fn has_signed(&self, message: &str, signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, self.algorithm.jwa())
            .unwrap_or(false)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {}, [redacted])", self.id, self.algorithm)
    }
}

/// A key as read from a text: what verifies, and what signs if the text held it.
pub(super) struct ReadKey {
    pub key: Key,
    pub private: Option<EncodingKey>,
}

/// The curves of ECDSA that are spoken here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Curve {
    pub const ALL: [Self; 2] = [Self::P256, Self::P384];

    /// The name in a JWK.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }

    /// Bytes of one coordinate, and of the private number.
    pub fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    pub fn signing(self) -> &'static aws::EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &aws::ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &aws::ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }

    fn verification(self) -> &'static aws::EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &aws::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &aws::ECDSA_P384_SHA384_FIXED,
        }
    }
}

/// What a signature is checked with: a public key, or the shared secret.
pub(super) enum Material {
    /// 32 bytes, when [`Material::check`] has passed.
    Ed25519(Vec<u8>),
    /// The uncompressed point: 4, x, y.
    Ec(Curve, Vec<u8>),
    /// Big-endian, without leading zeros.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    Secret(Vec<u8>),
}

impl Material {
    fn check(&self) -> Result<(), KeyFault> {
        match self {
            Self::Ed25519(bytes) => {
                let well_formed = bytes.len() == 32 && UnparsedPublicKey::new(&aws::ED25519, bytes).parse().is_ok();
                well_formed.then_some(()).ok_or(KeyFault::BadPublicKey)
            }
            Self::Ec(curve, point) => {
                let plain = point.len() == 1 + 2 * curve.bytes() && point.first() == Some(&4);
                let well_formed = plain && UnparsedPublicKey::new(curve.verification(), point).parse().is_ok();
                well_formed.then_some(()).ok_or(KeyFault::BadPublicKey)
            }
            Self::Rsa { n, e } => {
                let bits = bit_length(n);
                if bits < MIN_RSA_BITS {
                    return Err(KeyFault::WeakRsa(bits));
                }
                // Small exponents are the classic way to forge RSA signatures; every key made today has 65537.
                if bit_length(e) < MIN_RSA_EXPONENT_BITS {
                    return Err(KeyFault::WeakExponent);
                }
                let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(&aws::RSA_PKCS1_2048_8192_SHA256);
                let odd = e.last().is_some_and(|last| last % 2 == 1);
                let well_formed = bits <= MAX_RSA_BITS && odd && parsed.is_ok();
                well_formed.then_some(()).ok_or(KeyFault::BadPublicKey)
            }
            Self::Secret(secret) if secret.len() < MIN_SECRET_BYTES => Err(KeyFault::WeakSecret(secret.len())),
            Self::Secret(_) => Ok(()),
        }
    }

    fn usual_algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::Ec(Curve::P256, _) => Algorithm::Es256,
            Self::Ec(Curve::P384, _) => Algorithm::Es384,
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::Secret(_) => Algorithm::Hs256,
        }
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let rsa = matches!(self, Self::Rsa { .. });
        algorithm == self.usual_algorithm() || (rsa && algorithm == Algorithm::Ps256)
    }

    fn decoding_key(&self) -> DecodingKey {
        match self {
            // Named "DER" there, but the raw 32 bytes are what it takes.
            Self::Ed25519(bytes) => DecodingKey::from_ed_der(bytes),
            Self::Ec(_, point) => DecodingKey::from_ec_der(point),
            Self::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            Self::Secret(secret) => DecodingKey::from_secret(secret),
        }
    }

    /// The members of the JWK that RFC 7638 counts, written in the order of their names, as its thumbprint wants them.
    fn members(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed25519(x) => json!({ "crv": "Ed25519", "kty": "OKP", "x": encode(x) }),
            Self::Ec(curve, point) => {
                let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(curve.bytes()).unwrap_or_default();
                json!({ "crv": curve.name(), "kty": "EC", "x": encode(x), "y": encode(y) })
            }
            Self::Rsa { n, e } => json!({ "e": encode(e), "kty": "RSA", "n": encode(n) }),
            Self::Secret(k) => json!({ "k": encode(k), "kty": "oct" }),
        }
    }

    fn thumbprint(&self) -> String {
        let digest = digest::digest(&digest::SHA256, self.members().to_string().as_bytes());
        URL_SAFE_NO_PAD.encode(digest.as_ref())
    }
}

/// Why a key was refused when it was loaded. One line each, and nothing of the key in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// The text is none of the three forms.
    #[error("neither a PEM key nor a JWK nor a JWK set")]
    NotAKey,
    /// What an issuer publishes is something else.
    #[error("not a JWK set in JSON, with a list of `keys`")]
    NotASet,
    /// More text than any key set needs.
    #[error("larger than 256 KiB, which is no key")]
    TooLarge,
    /// The PEM armour or what is in it cannot be decoded.
    #[error("the PEM text is damaged")]
    BadPem,
    /// More than one block in a PEM.
    #[error("the PEM holds more than one block; several keys belong into a JWK set")]
    SeveralPemBlocks,
    /// A PEM block in an older form.
    #[error(
        "the PEM is in a form of its own algorithm; convert it with `openssl pkcs8 -topk8 -nocrypt` (or, if it is public, `openssl pkey -pubin`)"
    )]
    LegacyPem,
    /// An encrypted private key.
    #[error("the PEM is encrypted; decrypt it with `openssl pkcs8 -topk8 -nocrypt`")]
    EncryptedPem,
    /// A PEM block that holds no key.
    #[error("the PEM holds no `PUBLIC KEY` and no `PRIVATE KEY`")]
    NotAKeyPem,
    /// A kind of key for which there is no algorithm here.
    #[error(
        "this kind of key is not supported; there are Ed25519, P-256, P-384, RSA, and secrets as a JWK of kind `oct`"
    )]
    UnsupportedKey,
    /// A member of a JWK.
    #[error("the JWK's `{0}` is missing or not what it must be")]
    JwkMember(&'static str),
    /// A key for encryption, or one that may neither sign nor verify.
    #[error("the JWK is not for signatures (`use`, `key_ops`)")]
    NotForSignatures,
    /// A name of no known algorithm.
    #[error("the algorithm must be one of EdDSA, ES256, ES384, RS256, PS256, HS256")]
    UnknownAlgorithm,
    /// The algorithm that was asked for needs another kind of key.
    #[error("a key of this kind cannot be used for {0}")]
    AlgorithmMismatch(Algorithm),
    /// The JWK says one algorithm, the operator another.
    #[error("the JWK says {jwk}, the configuration {asked}")]
    AlgorithmDispute {
        /// What the JWK says.
        jwk: Algorithm,
        /// What was asked for.
        asked: Algorithm,
    },
    /// An RSA key of too few bits.
    #[error("an RSA key of {0} bits is too weak; it needs 2048")]
    WeakRsa(usize),
    /// An RSA key with a small public exponent.
    #[error("the RSA key's public exponent is too small; it needs 65537 or more")]
    WeakExponent,
    /// An HMAC secret of too few bytes.
    #[error("a secret of {0} bytes is too short; it needs 32 random ones")]
    WeakSecret(usize),
    /// Not a point on its curve, an impossible modulus, the wrong length.
    #[error("the public key is malformed")]
    BadPublicKey,
    /// The private key is malformed, or belongs to another public key.
    #[error("the private key is malformed or does not belong to its public key")]
    BadPrivateKey,
    /// A name that no token can ask for.
    #[error("a `kid` must be 1 to 64 letters, digits, `-` and `_`")]
    BadKid,
    /// Two keys of one name.
    #[error("two keys have the kid `{0}`")]
    DuplicateKid(KeyId),
    /// Secrets and public keys in one ring.
    #[error("secrets (HS256) and public keys cannot be in one ring")]
    MixedKinds,
    /// A JWK set without keys.
    #[error("the key set is empty")]
    Empty,
    /// A published set in which nothing is for us.
    #[error("the key set holds no key of an algorithm that is accepted")]
    NoneUsable,
    /// A secret or a private key in a set that everybody can read.
    #[error("the key is secret, but published: anybody could sign with it")]
    NotPublic,
    /// A JWK set with very many keys.
    #[error("more than {0} keys")]
    TooMany(usize),
    /// A name was given for several keys.
    #[error("one kid or algorithm cannot be given to a whole key set")]
    HintForSeveral,
    /// A public key where a private one is needed.
    #[error("signing needs a private key, and this is a public one")]
    NoPrivateKey,
    /// A JWK set where one key is needed.
    #[error("signing needs one key, not a key set")]
    SeveralKeys,
    /// A key of a set was refused.
    #[error("key {position} of the set: {fault}")]
    InSet {
        /// Counted from 1.
        position: usize,
        /// What is wrong with it.
        fault: Box<KeyFault>,
    },
}

fn bit_length(big_endian: &[u8]) -> usize {
    match big_endian.first() {
        Some(first) => big_endian.len() * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

/// The number without the zeros that DER puts before it.
pub(super) fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

const MIN_RSA_BITS: usize = 2_048;
const MAX_RSA_BITS: usize = 8_192;
const MIN_RSA_EXPONENT_BITS: usize = 17;
const MIN_SECRET_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn decode(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
        let ed = Material::Ed25519(decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"));
        assert_eq!(ed.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "RFC 8037 A.3");
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let rsa = Material::Rsa { n: decode(n), e: decode("AQAB") };
        assert_eq!(rsa.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "RFC 7638 3.1");
    }

    #[test]
    fn weak_and_malformed_keys_are_refused() {
        let fault = |material: Material| Key::new(material, None, None).unwrap_err();
        assert_eq!(fault(Material::Secret(vec![7; 31])), KeyFault::WeakSecret(31));
        assert_eq!(fault(Material::Ed25519(vec![7; 31])), KeyFault::BadPublicKey);
        assert_eq!(fault(Material::Ed25519(vec![7; 33])), KeyFault::BadPublicKey);
        assert_eq!(fault(Material::Rsa { n: vec![0xff; 128], e: vec![1, 0, 1] }), KeyFault::WeakRsa(1_024));
        assert_eq!(fault(Material::Rsa { n: vec![0xff; 256], e: vec![3] }), KeyFault::WeakExponent);
        assert_eq!(fault(Material::Rsa { n: vec![0xff; 4_096], e: vec![1, 0, 1] }), KeyFault::BadPublicKey);
        assert_eq!(fault(Material::Ec(Curve::P256, [vec![4], vec![1; 64]].concat())), KeyFault::BadPublicKey);
        assert_eq!(fault(Material::Ec(Curve::P256, vec![4; 97])), KeyFault::BadPublicKey);
    }

    #[test]
    fn a_key_shows_its_name_and_nothing_of_itself() {
        let key = Key::new(Material::Secret(b"canary-canary-canary-canary-canary".to_vec()), Some("k1"), None).unwrap();
        assert_eq!(format!("{key:?}"), "Key(k1, HS256, [redacted])");
        assert_eq!(key.public_jwk(), None);
    }
}
