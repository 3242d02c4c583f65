//! A key set as an issuer publishes it for everybody, among others for us.
//!
//! Owns: which of its keys are taken. Must not know: where it was fetched.
//!
//! Providers publish keys for other uses and algorithms beside those for signatures; such keys are left out. Of the keys
//! that are taken one bad one refuses the whole set, as in a file, and so does anything secret: whoever can read the set could
//! sign with it.

use serde::Deserialize;

use super::jwk::read_jwk;
use super::strict_json::Object;
use super::{Algorithm, Key, KeyFault, KeyHint, KeyRing};

/// What a published set holds for us.
#[derive(Clone, Debug)]
pub struct PublishedKeys {
    /// The keys that were taken; at least one.
    pub ring: KeyRing,
    /// How many were left out.
    pub skipped: usize,
}

impl PublishedKeys {
    /// Reads a JWK set. `only` leaves out keys of other algorithms; if it names one alone, that is what a key without
    /// `alg` is for.
    ///
    /// # Errors
    /// [`KeyFault`]: not a JWK set, too large, no key to take, two of one name, weak or malformed, or a secret in it.
    pub fn from_text(text: &str, only: Option<&[Algorithm]>) -> Result<Self, KeyFault> {
        if text.len() > KeyRing::MAX_TEXT_BYTES {
            return Err(KeyFault::TooLarge);
        }
        let set: JwkSet = serde_json::from_str(text).map_err(|_| KeyFault::NotASet)?;
        if set.keys.len() > KeyRing::MAX_KEYS {
            return Err(KeyFault::TooMany(KeyRing::MAX_KEYS));
        }
        let mut taken = Vec::new();
        for (index, jwk) in set.keys.iter().enumerate() {
            match read_public(jwk, only) {
                Ok(key) => taken.extend(key),
                Err(fault) => return Err(KeyFault::InSet { position: index + 1, fault: Box::new(fault) }),
            }
        }
        if taken.is_empty() {
            return Err(KeyFault::NoneUsable);
        }
        let skipped = set.keys.len() - taken.len();
        Ok(Self { ring: KeyRing::from_keys(taken)?, skipped })
    }
}

/// The key, or nothing when it is not one for us.
fn read_public(jwk: &Object, only: Option<&[Algorithm]>) -> Result<Option<Key>, KeyFault> {
    let text = |name: &str| jwk.0.get(name).and_then(|value| value.as_str());
    if text("kty") == Some("oct") || jwk.0.contains_key("d") {
        return Err(KeyFault::NotPublic);
    }
    let alone = match only {
        Some([algorithm]) if text("alg").is_none() => Some(*algorithm),
        _ => None,
    };
    match read_jwk(&jwk.0, &KeyHint { kid: None, algorithm: alone }) {
        Ok(read) if only.is_none_or(|only| only.contains(&read.key.algorithm())) => Ok(Some(read.key)),
        Ok(_) => Ok(None),
        Err(KeyFault::AlgorithmMismatch(_)) if alone.is_some() => Ok(None),
        // No ticket can ask for a key whose name is none: it does no harm.
        Err(KeyFault::NotForSignatures | KeyFault::UnsupportedKey | KeyFault::UnknownAlgorithm | KeyFault::BadKid) => {
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Object>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::ticket::KeyId;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn ed(kid: &str) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": X })
    }

    fn read(keys: &[Value]) -> Result<PublishedKeys, KeyFault> {
        PublishedKeys::from_text(&json!({ "keys": keys, "more": 1 }).to_string(), None)
    }

    #[test]
    fn keys_that_are_not_for_us_are_left_out_and_the_others_are_taken() {
        let mut kid = ed("a");
        kid["kid"] = json!("not/a+kid=");
        let keys = [
            json!({ "kty": "RSA", "use": "enc", "kid": "enc", "n": "AQAB", "e": "AQAB", "alg": "RSA-OAEP" }),
            json!({ "kty": "EC", "crv": "secp256k1", "kid": "k1", "x": "AA", "y": "AA" }),
            json!({ "kty": "AKP", "alg": "ML-DSA-44", "kid": "pq", "pub": "AA" }),
            kid,
            ed("ours"),
        ];
        let published = read(&keys).unwrap();
        assert_eq!((published.ring.len(), published.skipped), (1, 4));
        assert!(published.ring.find(Some("ours")).is_some());
        assert_eq!(read(&keys[..4]).unwrap_err(), KeyFault::NoneUsable);
    }

    #[test]
    fn a_set_that_is_hostile_is_refused_whole() {
        let second = |jwk: Value| match read(&[ed("a"), jwk]).unwrap_err() {
            KeyFault::InSet { position: 2, fault } => *fault,
            fault => fault,
        };
        let with = |name: &str, value: Value| {
            let mut jwk = ed("b");
            jwk[name] = value;
            jwk
        };
        assert_eq!(second(ed("a")), KeyFault::DuplicateKid(KeyId::new("a").unwrap()));
        assert_eq!(second(json!({ "kty": "oct", "kid": "s", "k": "A".repeat(43) })), KeyFault::NotPublic);
        assert_eq!(second(with("d", json!("A".repeat(43)))), KeyFault::NotPublic);
        assert_eq!(second(with("x", json!("AAAA"))), KeyFault::BadPublicKey);
        assert_eq!(second(with("alg", json!("ES256"))), KeyFault::AlgorithmMismatch(Algorithm::Es256));
        let weak = json!({ "kty": "RSA", "kid": "w", "n": "_".repeat(168), "e": "AQAB" });
        assert!(matches!(second(weak), KeyFault::WeakRsa(_)));
        let many: Vec<_> = (0..65).map(|n| ed(&n.to_string())).collect();
        assert_eq!(read(&many).unwrap_err(), KeyFault::TooMany(64));
        for text in
            ["", "<html>", "[]", "{}", r#"{"keys":1}"#, r#"{"keys":[1]}"#, r#"{"keys":[{"kty":"OKP","kty":"OKP"}]}"#]
        {
            assert_eq!(PublishedKeys::from_text(text, None).unwrap_err(), KeyFault::NotASet, "{text}");
        }
        assert_eq!(PublishedKeys::from_text(&" ".repeat(300_000), None).unwrap_err(), KeyFault::TooLarge);
    }

    #[test]
    fn only_the_algorithms_that_are_asked_for_are_taken() {
        let text = json!({ "keys": [ed("a")] }).to_string();
        let read = |only: &[Algorithm]| PublishedKeys::from_text(&text, Some(only)).map(|keys| keys.ring.len());
        assert_eq!(read(&[Algorithm::EdDsa, Algorithm::Es256]), Ok(1));
        assert_eq!(read(&[Algorithm::EdDsa]), Ok(1));
        assert_eq!(read(&[Algorithm::Es256]), Err(KeyFault::NoneUsable));
        assert_eq!(read(&[Algorithm::Es256, Algorithm::Rs256]), Err(KeyFault::NoneUsable));
    }
}
