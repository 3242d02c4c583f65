//! Keys in PEM: `PUBLIC KEY` (SPKI, RFC 5280) and `PRIVATE KEY` (PKCS#8, RFC 5958).
//!
//! Owns: the two forms. Must not know: which keys are strong enough (`key`).

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::EncodingKey;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::key::{Curve, Key, KeyFault, KeyHint, Material, ReadKey, without_leading_zeros};

/// Reads a PEM text of one block.
pub(super) fn read_pem(text: &str, hint: &KeyHint) -> Result<ReadKey, KeyFault> {
    let mut blocks = Pem::iter_from_buffer(text.as_bytes());
    let block = blocks.next().ok_or(KeyFault::BadPem)?.map_err(|_| KeyFault::BadPem)?;
    let label = block.label.as_str();
    // Judged before the blocks are counted: openssl writes an old EC key as two, its parameters first.
    if LEGACY_LABELS.contains(&label) {
        return Err(KeyFault::LegacyPem);
    }
    if blocks.next().is_some() {
        return Err(KeyFault::SeveralPemBlocks);
    }
    let (material, private) = match label {
        "PUBLIC KEY" => (read_spki(&block.contents)?, None),
        "PRIVATE KEY" => read_pkcs8(&block.contents).map(|(material, private)| (material, Some(private)))?,
        "ENCRYPTED PRIVATE KEY" => return Err(KeyFault::EncryptedPem),
        _ => return Err(KeyFault::NotAKeyPem),
    };
    let key = Key::new(material, hint.kid.as_ref().map(|kid| kid.as_str()), hint.algorithm)?;
    Ok(ReadKey { key, private })
}

/// The PEM text of a private key.
pub(super) fn write_pkcs8(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    for (index, letter) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str("\n-----END PRIVATE KEY-----\n");
    text
}

/// What signs with a PKCS#8 key of RSA. jsonwebtoken wants the PKCS#1 inside it, and takes it out of a PEM only.
pub(super) fn rsa_encoding_key(pkcs8: &[u8]) -> Result<EncodingKey, KeyFault> {
    EncodingKey::from_rsa_pem(write_pkcs8(pkcs8).as_bytes()).map_err(|_| KeyFault::BadPrivateKey)
}

fn read_spki(der: &[u8]) -> Result<Material, KeyFault> {
    let (rest, spki) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyFault::BadPem)?;
    if !rest.is_empty() {
        return Err(KeyFault::BadPem);
    }
    let bits = spki.subject_public_key.data.as_ref();
    match spki.algorithm.algorithm.to_id_string().as_str() {
        ED25519 => Ok(Material::Ed25519(bits.to_vec())),
        EC_PUBLIC_KEY => {
            let curve = spki.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
            match curve.map(|curve| curve.to_id_string()).as_deref() {
                Some(P256) => Ok(Material::Ec(Curve::P256, bits.to_vec())),
                Some(P384) => Ok(Material::Ec(Curve::P384, bits.to_vec())),
                _ => Err(KeyFault::UnsupportedKey),
            }
        }
        RSA_ENCRYPTION => match spki.parsed() {
            Ok(PublicKey::RSA(rsa)) => Ok(Material::Rsa {
                n: without_leading_zeros(rsa.modulus).to_vec(),
                e: without_leading_zeros(rsa.exponent).to_vec(),
            }),
            _ => Err(KeyFault::BadPublicKey),
        },
        _ => Err(KeyFault::UnsupportedKey),
    }
}

fn read_pkcs8(der: &[u8]) -> Result<(Material, EncodingKey), KeyFault> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
        return Ok((Material::Ed25519(pair.public_key().as_ref().to_vec()), EncodingKey::from_ed_der(der)));
    }
    for curve in Curve::ALL {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(curve.signing(), der) {
            return Ok((Material::Ec(curve, pair.public_key().as_ref().to_vec()), EncodingKey::from_ec_der(der)));
        }
    }
    match RsaKeyPair::from_pkcs8(der) {
        Ok(pair) => {
            let spki = pair.public_key().as_der().map_err(|_| KeyFault::BadPrivateKey)?;
            Ok((read_spki(spki.as_ref())?, rsa_encoding_key(der)?))
        }
        // aws-lc refuses a short RSA key itself; its public part says how short, for the operator.
        Err(_) => Err(short_rsa(der).unwrap_or(KeyFault::UnsupportedKey)),
    }
}

fn short_rsa(pkcs8: &[u8]) -> Option<KeyFault> {
    let key = rsa_encoding_key(pkcs8).ok()?;
    let (_, pkcs1) = x509_parser::der_parser::der::parse_der_sequence(key.as_bytes()).ok()?;
    let modulus = pkcs1.as_sequence().ok()?.get(1)?.as_slice().ok()?;
    let bits = without_leading_zeros(modulus).len() * 8;
    (bits < 2_048).then_some(KeyFault::WeakRsa(bits))
}

const LEGACY_LABELS: [&str; 4] = ["RSA PRIVATE KEY", "EC PRIVATE KEY", "EC PARAMETERS", "RSA PUBLIC KEY"];

const ED25519: &str = "1.3.101.112";
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
