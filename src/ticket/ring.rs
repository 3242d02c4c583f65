//! The keys that tickets are verified with, found by `kid`.
//!
//! Owns: reading a key set from its text, and what may be in one set together. Must not know: files, addresses,
//! when to load again: the owner builds a new ring and swaps it in.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::jwk::read_jwk;
use super::key::{Key, KeyFault, KeyHint, KeyId, ReadKey};
use super::pem::read_pem;
use super::strict_json::Object;

/// A set of keys with unique names, either all public or all secret; at most 64. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Arc<BTreeMap<KeyId, Key>>,
}

impl KeyRing {
    /// The most keys in one ring.
    pub const MAX_KEYS: usize = 64;
    /// The longest text of a key or key set, in bytes.
    pub const MAX_TEXT_BYTES: usize = 256 * 1_024;

    /// Reads a PEM, a JWK or a JWK set; private keys count as their public parts.
    ///
    /// # Errors
    /// [`KeyFault`]: one bad key refuses the whole text, so that a half-loaded set never serves.
    pub fn from_text(text: &str, hint: &KeyHint) -> Result<Self, KeyFault> {
        Self::from_keys(read_keys(text, hint)?.into_iter().map(|read| read.key))
    }

    /// Makes a ring of keys.
    ///
    /// # Errors
    /// [`KeyFault`] for two keys of one name, secrets beside public keys, or too many keys.
    pub fn from_keys(keys: impl IntoIterator<Item = Key>) -> Result<Self, KeyFault> {
        let mut by_id = BTreeMap::new();
        for key in keys {
            let id = key.id().clone();
            if by_id.insert(id.clone(), key).is_some() {
                return Err(KeyFault::DuplicateKid(id));
            }
        }
        if by_id.len() > Self::MAX_KEYS {
            return Err(KeyFault::TooMany(Self::MAX_KEYS));
        }
        let secrets = by_id.values().filter(|key| key.algorithm().is_shared_secret()).count();
        if secrets != 0 && secrets != by_id.len() {
            return Err(KeyFault::MixedKinds);
        }
        Ok(Self { keys: Arc::new(by_id) })
    }

    /// The keys of both rings: for keys that come from several files.
    ///
    /// # Errors
    /// As [`Self::from_keys`].
    pub fn joined(&self, other: &Self) -> Result<Self, KeyFault> {
        Self::from_keys(self.keys().chain(other.keys()).cloned())
    }

    /// The key that a token asks for. A token without `kid` gets the only key there is, if there is only one.
    pub fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match kid {
            Some(kid) => self.keys.get(kid),
            None if self.keys.len() == 1 => self.keys.values().next(),
            None => None,
        }
    }

    /// The keys, in order of their names.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// How many keys there are. A ring of none refuses every ticket.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The JWK set of the public keys; secrets are left out.
    pub fn public_jwk_set(&self) -> Value {
        json!({ "keys": self.keys().filter_map(Key::public_jwk).collect::<Vec<_>>() })
    }
}

/// Reads the keys of a text, with what signs where the text holds it.
pub(super) fn read_keys(text: &str, hint: &KeyHint) -> Result<Vec<ReadKey>, KeyFault> {
    if text.len() > KeyRing::MAX_TEXT_BYTES {
        return Err(KeyFault::TooLarge);
    }
    let text = text.trim_start_matches('\u{feff}').trim();
    if !text.starts_with('{') {
        let is_pem = text.contains("-----BEGIN ");
        return if is_pem { Ok(vec![read_pem(text, hint)?]) } else { Err(KeyFault::NotAKey) };
    }
    let object: Object = serde_json::from_str(text).map_err(|_| KeyFault::NotAKey)?;
    if !object.0.contains_key("keys") {
        return Ok(vec![read_jwk(&object.0, hint)?]);
    }
    let set: JwkSet = serde_json::from_str(text).map_err(|_| KeyFault::NotAKey)?;
    match set.keys.len() {
        0 => return Err(KeyFault::Empty),
        1 => {}
        2..=KeyRing::MAX_KEYS if *hint != KeyHint::default() => return Err(KeyFault::HintForSeveral),
        2..=KeyRing::MAX_KEYS => {}
        _ => return Err(KeyFault::TooMany(KeyRing::MAX_KEYS)),
    }
    let read_one = |(index, jwk): (usize, &Object)| {
        read_jwk(&jwk.0, hint).map_err(|fault| KeyFault::InSet { position: index + 1, fault: Box::new(fault) })
    };
    set.keys.iter().enumerate().map(read_one).collect()
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Object>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ring(text: &str) -> Result<KeyRing, KeyFault> {
        KeyRing::from_text(text, &KeyHint::default())
    }

    fn oct(kid: &str) -> Value {
        json!({ "kty": "oct", "kid": kid, "k": "A".repeat(43) })
    }

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn a_token_without_kid_gets_the_only_key_and_never_one_of_several() {
        let one = ring(&oct("a").to_string()).unwrap();
        assert!(one.find(None).is_some() && one.find(Some("a")).is_some() && one.find(Some("A")).is_none());
        let two = ring(&json!({ "keys": [oct("a"), oct("b")] }).to_string()).unwrap();
        assert!(two.find(None).is_none() && two.find(Some("b")).is_some());
        assert!(KeyRing::default().find(None).is_none());
    }

    #[test]
    fn a_set_that_is_not_sound_is_refused_whole() {
        let set = |keys: Vec<Value>| ring(&json!({ "keys": keys }).to_string()).unwrap_err();
        let ed: Value = serde_json::from_str(ED).unwrap();
        assert_eq!(set(vec![oct("a"), oct("a")]), KeyFault::DuplicateKid(KeyId::new("a").unwrap()));
        assert_eq!(set(vec![oct("a"), ed.clone()]), KeyFault::MixedKinds);
        assert_eq!(set(vec![]), KeyFault::Empty);
        assert_eq!(set((0..65).map(|n| oct(&n.to_string())).collect()), KeyFault::TooMany(64));
        let in_set = |fault| KeyFault::InSet { position: 2, fault: Box::new(fault) };
        let with = |name: &str, value: Value| {
            let mut jwk = ed.clone();
            jwk[name] = value;
            set(vec![ed.clone(), jwk])
        };
        assert_eq!(with("use", json!("enc")), in_set(KeyFault::NotForSignatures));
        assert_eq!(with("use", json!(1)), in_set(KeyFault::JwkMember("use")));
        assert_eq!(with("key_ops", json!(["deriveKey"])), in_set(KeyFault::NotForSignatures));
        assert_eq!(with("alg", json!("ES256")), in_set(KeyFault::AlgorithmMismatch(crate::ticket::Algorithm::Es256)));
        assert_eq!(with("alg", json!("none")), in_set(KeyFault::UnknownAlgorithm));
        assert_eq!(with("kid", json!("../../etc/passwd")), in_set(KeyFault::BadKid));
        assert_eq!(with("crv", json!("X25519")), in_set(KeyFault::UnsupportedKey));
        assert_eq!(with("x", json!("AAAA")), in_set(KeyFault::BadPublicKey));
        assert_eq!(with("x", json!("not base64url!")), in_set(KeyFault::JwkMember("x")));
        assert_eq!(with("d", json!("A".repeat(43))), in_set(KeyFault::BadPrivateKey));
    }

    #[test]
    fn text_that_is_no_key_is_refused_with_a_reason() {
        for text in ["", "hello", "[]", "{", r#"{"keys":1}"#, r#"{"keys":[1]}"#, r#"{"kty":"oct","kty":"oct"}"#] {
            assert_eq!(ring(text).unwrap_err(), KeyFault::NotAKey, "{text}");
        }
        assert_eq!(ring(&" ".repeat(300_000)).unwrap_err(), KeyFault::TooLarge);
        assert_eq!(ring("{}").unwrap_err(), KeyFault::JwkMember("kty"));
    }

    #[test]
    fn rings_join_when_their_names_differ() {
        let (a, b) = (ring(&oct("a").to_string()).unwrap(), ring(&oct("b").to_string()).unwrap());
        assert_eq!(a.joined(&b).unwrap().len(), 2);
        assert_eq!(a.joined(&a).unwrap_err(), KeyFault::DuplicateKid(KeyId::new("a").unwrap()));
        assert_eq!(a.joined(&ring(ED).unwrap()).unwrap_err(), KeyFault::MixedKinds);
    }
}
