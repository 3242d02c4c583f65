//! Which server certificates are believed, the same for both transports.
//!
//! Owns: the TLS configuration. Must not know: sockets, URLs.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use wtransport::tls::Sha256Digest;
use wtransport::tls::client::ServerHashVerification;

/// Which server certificates are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// On loopback, the certificate whose hash the development server tells at `/v1/certificate-hash`; else
    /// [`Trust::System`].
    #[default]
    Auto,
    /// What the system's certificate authorities have signed.
    System,
    /// What the authorities in this PEM text have signed.
    Authorities(Vec<u8>),
    /// Certificates with these SHA-256 hashes (of their DER), under the rules of browsers' `serverCertificateHashes`:
    /// ECDSA P-256, valid now, for at most 14 days in all.
    Hashes(Vec<[u8; 32]>),
}

impl Trust {
    /// The TLS configuration that believes these, and speaks `alpn`.
    ///
    /// # Errors
    /// One line on what is wrong with the authorities.
    pub(super) fn tls_config(&self, alpn: &[u8]) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = match self {
            Self::Hashes(hashes) => {
                let hashes = hashes.iter().copied().map(Sha256Digest::new);
                let verifier = Arc::new(ServerHashVerification::new(hashes));
                builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
            }
            Self::Authorities(pem) => builder.with_root_certificates(roots_in(pem)?).with_no_client_auth(),
            Self::Auto | Self::System => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }
}

fn roots_in(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("the authorities are not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("an authority's certificate cannot be used: {error}"))?;
    }
    if roots.is_empty() { Err("there is no certificate in the authorities' PEM".into()) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err("this system has no certificate authorities".into()) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn authorities_that_are_none_are_said_so() {
        let refuse = |pem: &[u8]| Trust::Authorities(pem.to_vec()).tls_config(b"h3").unwrap_err();
        assert!(refuse(b"").contains("no certificate"));
        assert!(refuse(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").contains("PEM"));
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::new(["a".into()]).unwrap().self_signed(&key).unwrap().pem();
        assert_eq!(Trust::Authorities(pem.into_bytes()).tls_config(b"h3").unwrap().alpn_protocols, [b"h3"]);
    }
}
