//! Keys as JWKs (RFC 7517, RFC 7518 section 6, RFC 8037).
//!
//! Owns: the members of a JWK. Must not know: which keys are strong enough (`key`).

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Map, Value};

use super::Algorithm;
use super::key::{Curve, Key, KeyFault, KeyHint, Material, ReadKey, without_leading_zeros};
use super::pem::rsa_encoding_key;

/// Reads one JWK, public or private.
pub(super) fn read_jwk(members: &Map<String, Value>, hint: &KeyHint) -> Result<ReadKey, KeyFault> {
    let jwk = Jwk(members);
    jwk.check_purpose()?;
    let said = jwk.optional_text("alg")?.map(str::parse::<Algorithm>).transpose()?;
    let algorithm = match (said, hint.algorithm) {
        (Some(jwk), Some(asked)) if jwk != asked => return Err(KeyFault::AlgorithmDispute { jwk, asked }),
        (said, asked) => said.or(asked),
    };
    let (material, private) = match jwk.text("kty")? {
        "OKP" => jwk.ed25519()?,
        "EC" => jwk.ec()?,
        "RSA" => jwk.rsa()?,
        "oct" => jwk.secret()?,
        _ => return Err(KeyFault::UnsupportedKey),
    };
    let kid = match &hint.kid {
        Some(kid) => Some(kid.as_str()),
        None => jwk.optional_text("kid")?,
    };
    Ok(ReadKey { key: Key::new(material, kid, algorithm)?, private })
}

struct Jwk<'a>(&'a Map<String, Value>);

impl<'a> Jwk<'a> {
    fn check_purpose(&self) -> Result<(), KeyFault> {
        let for_signatures = self.optional_text("use")?.is_none_or(|purpose| purpose == "sig");
        let may_sign = match self.0.get("key_ops") {
            None => true,
            Some(Value::Array(ops)) => ops.iter().any(|op| matches!(op.as_str(), Some("sign" | "verify"))),
            Some(_) => return Err(KeyFault::JwkMember("key_ops")),
        };
        if for_signatures && may_sign { Ok(()) } else { Err(KeyFault::NotForSignatures) }
    }

    fn ed25519(&self) -> Result<(Material, Option<EncodingKey>), KeyFault> {
        if self.text("crv")? != "Ed25519" {
            return Err(KeyFault::UnsupportedKey);
        }
        let x = self.bytes("x")?;
        let private = match self.optional_bytes("d")? {
            None => None,
            Some(seed) if seed.len() == 32 => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &x).map_err(|_| KeyFault::BadPrivateKey)?;
                let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyFault::BadPrivateKey)?;
                Some(EncodingKey::from_ed_der(pkcs8.as_ref()))
            }
            Some(_) => return Err(KeyFault::BadPrivateKey),
        };
        Ok((Material::Ed25519(x), private))
    }

    fn ec(&self) -> Result<(Material, Option<EncodingKey>), KeyFault> {
        let name = self.text("crv")?;
        let curve = Curve::ALL.into_iter().find(|curve| curve.name() == name).ok_or(KeyFault::UnsupportedKey)?;
        let (x, y) = (self.bytes("x")?, self.bytes("y")?);
        if x.len() != curve.bytes() || y.len() != curve.bytes() {
            return Err(KeyFault::BadPublicKey);
        }
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        let private = match self.optional_bytes("d")? {
            None => None,
            Some(d) if d.len() == curve.bytes() => {
                let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing(), &d, &point)
                    .map_err(|_| KeyFault::BadPrivateKey)?;
                let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyFault::BadPrivateKey)?;
                Some(EncodingKey::from_ec_der(pkcs8.as_ref()))
            }
            Some(_) => return Err(KeyFault::BadPrivateKey),
        };
        Ok((Material::Ec(curve, point), private))
    }

    fn rsa(&self) -> Result<(Material, Option<EncodingKey>), KeyFault> {
        let n = without_leading_zeros(&self.bytes("n")?).to_vec();
        let e = without_leading_zeros(&self.bytes("e")?).to_vec();
        let private = if self.0.contains_key("d") { Some(self.rsa_private(&n, &e)?) } else { None };
        Ok((Material::Rsa { n, e }, private))
    }

    fn rsa_private(&self, n: &[u8], e: &[u8]) -> Result<EncodingKey, KeyFault> {
        let components = aws_lc_rs::rsa::KeyPairComponents {
            public_key: RsaPublicKeyComponents { n, e },
            d: &self.bytes("d")?,
            p: &self.bytes("p")?,
            q: &self.bytes("q")?,
            dP: &self.bytes("dp")?,
            dQ: &self.bytes("dq")?,
            qInv: &self.bytes("qi")?,
        };
        let pair = RsaKeyPair::from_components(&components).map_err(|_| KeyFault::BadPrivateKey)?;
        let pkcs8 = pair.as_der().map_err(|_| KeyFault::BadPrivateKey)?;
        rsa_encoding_key(pkcs8.as_ref())
    }

    fn secret(&self) -> Result<(Material, Option<EncodingKey>), KeyFault> {
        let secret = self.bytes("k")?;
        let encoding = EncodingKey::from_secret(&secret);
        Ok((Material::Secret(secret), Some(encoding)))
    }

    fn text(&self, name: &'static str) -> Result<&'a str, KeyFault> {
        self.optional_text(name)?.ok_or(KeyFault::JwkMember(name))
    }

    fn optional_text(&self, name: &'static str) -> Result<Option<&'a str>, KeyFault> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or(KeyFault::JwkMember(name))
    }

    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, KeyFault> {
        self.optional_bytes(name)?.ok_or(KeyFault::JwkMember(name))
    }

    fn optional_bytes(&self, name: &'static str) -> Result<Option<Vec<u8>>, KeyFault> {
        let Some(text) = self.optional_text(name)? else { return Ok(None) };
        URL_SAFE_NO_PAD.decode(text).map(Some).map_err(|_| KeyFault::JwkMember(name))
    }
}
