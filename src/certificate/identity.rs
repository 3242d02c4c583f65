//! One certificate chain with its private key, and how a self-made one is made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::CertificateError;

/// Who the server is: the chain that it shows and the key that it signs with. Its `Debug` has no key in it.
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    hash: [u8; 32],
    not_before: u64,
    not_after: u64,
    p256: bool,
}

impl Identity {
    /// Puts a chain and a PKCS#8, SEC1 or PKCS#1 key together.
    ///
    /// # Errors
    /// When the chain is empty or does not parse, or the key does not parse or belongs to another certificate.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, rustls::Error> {
        let first = chain.first().ok_or(rustls::Error::NoCertificatesPresented)?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|_| rustls::CertificateError::BadEncoding)?;
        let validity = parsed.validity();
        let seconds = |at: x509_parser::time::ASN1Time| u64::try_from(at.timestamp()).unwrap_or(0);
        let (not_before, not_after) = (seconds(validity.not_before), seconds(validity.not_after));
        let curve = parsed.public_key().algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        let p256 = curve.is_some_and(|curve| curve.to_id_string() == P256_OID);
        let hash = sha256(first);
        let certified = CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())?;
        Ok(Self { certified: Arc::new(certified), hash, not_before, not_after, p256 })
    }

    /// SHA-256 of the server's own certificate, as a browser's `serverCertificateHashes` wants it.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The chain, the server's own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The first second, in Unix time, in which it is valid.
    pub fn not_before(&self) -> u64 {
        self.not_before
    }

    /// The last second, in Unix time, in which it is valid.
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// Whether a browser takes it by its hash: ECDSA P-256, valid for at most 14 days (W3C WebTransport 6.9).
    pub fn hash_usable_by_browsers(&self) -> bool {
        self.p256 && self.not_after.saturating_sub(self.not_before) <= BROWSER_DAYS * DAY
    }

    /// When half of its life is over, in Unix time.
    pub(super) fn half_life(&self) -> u64 {
        self.not_before + self.not_after.saturating_sub(self.not_before) / 2
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("chain", &self.certified.cert.len())
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A self-made certificate, ready to serve with and ready to be written to files.
pub struct Generated {
    /// To serve with.
    pub identity: Identity,
    /// The certificate as PEM.
    pub certificate_pem: String,
    /// The private key as PEM, PKCS#8. A secret.
    pub key_pem: String,
}

/// Makes an ECDSA P-256 certificate, signed with its own key, valid from five minutes before `now` (Unix seconds), so
/// that a clock that is a little behind accepts it, and for `days` days in all.
///
/// # Errors
/// When a name is neither a host name nor an IP address.
pub fn generate(names: &[&str], days: u32, now: u64) -> Result<Generated, CertificateError> {
    let library = |error: rcgen::Error| CertificateError::Library(error.to_string());
    let mut params = rcgen::CertificateParams::default();
    for name in names {
        let one = rcgen::CertificateParams::new(vec![(*name).to_owned()])
            .map_err(|_| CertificateError::Name { name: (*name).to_owned() })?;
        params.subject_alt_names.extend(one.subject_alt_names);
    }
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // A year past 9999 has no place in a certificate.
    let from = now.saturating_sub(CLOCK_SLACK).min(LATEST);
    params.not_before = epoch + Duration::from_secs(from);
    params.not_after = epoch + Duration::from_secs(from + (u64::from(days) * DAY).min(MAX_DAYS * DAY) - 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "muster self-made");
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(library)?;
    let certificate = params.self_signed(&key).map_err(library)?;
    let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let identity = Identity::new(vec![certificate.der().clone()], der)
        .map_err(|error| CertificateError::Library(error.to_string()))?;
    Ok(Generated { identity, certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

/// How long a self-made certificate is valid. A browser takes at most 14 days, counted by its own rounding.
pub const DEV_DAYS: u32 = 13;

/// Whom a self-made certificate is for: this machine's loopback, by name and by address.
pub const DEV_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const DAY: u64 = 86_400;
const BROWSER_DAYS: u64 = 14;
const MAX_DAYS: u64 = 36_500;
const CLOCK_SLACK: u64 = 300;
/// The year 2200.
const LATEST: u64 = 7_258_118_400;
/// prime256v1, RFC 5480 2.1.1.1.
const P256_OID: &str = "1.2.840.10045.3.1.7";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use x509_parser::prelude::GeneralName;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_self_made_certificate_is_what_browsers_take_by_hash() {
        let identity = generate(&DEV_NAMES, DEV_DAYS, NOW).unwrap().identity;
        assert!(identity.hash_usable_by_browsers());
        assert!(identity.not_before() < NOW && NOW < identity.not_after());
        assert!(identity.not_after() - identity.not_before() <= 13 * DAY);
        let (_, parsed) = X509Certificate::from_der(&identity.chain()[0]).unwrap();
        assert_eq!(parsed.version(), x509_parser::x509::X509Version::V3);
        let names = parsed.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
        assert_eq!(names[0], GeneralName::DNSName("localhost"));
        assert_eq!(names[1], GeneralName::IPAddress(&[127, 0, 0, 1]));
        assert_eq!(names.len(), 3);
        assert_eq!(identity.hash(), sha256(&identity.chain()[0]));
    }

    #[test]
    fn a_certificate_of_fifteen_days_is_not_offered_by_hash() {
        assert!(generate(&DEV_NAMES, 14, NOW).unwrap().identity.hash_usable_by_browsers());
        assert!(!generate(&DEV_NAMES, 15, NOW).unwrap().identity.hash_usable_by_browsers());
    }

    #[test]
    fn no_clock_and_no_length_make_the_maker_panic() {
        for now in [0, 1, u64::MAX] {
            for days in [1, u32::MAX] {
                assert!(generate(&DEV_NAMES, days, now).is_ok(), "{now} {days}");
            }
        }
        assert!(matches!(generate(&["ü"], 1, NOW), Err(CertificateError::Name { .. })));
    }

    #[test]
    fn the_debug_text_of_an_identity_has_no_key() {
        let made = generate(&DEV_NAMES, DEV_DAYS, NOW).unwrap();
        let text = format!("{:?}", made.identity);
        assert!(text.starts_with("Identity { chain: 1") && text.len() < 120, "{text}");
    }
}
