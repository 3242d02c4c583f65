//! TLS for bare clients.

use std::path::Path;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// QUIC's TLS for a client that trusts the certificate file in a server's directory.
pub fn client_crypto(directory: &Path) -> QuicClientConfig {
    QuicClientConfig::try_from(client_tls(directory, b"h3")).unwrap()
}

/// TLS for a client that trusts the certificate file in a server's directory.
pub fn client_tls(directory: &Path, protocol: &[u8]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![protocol.to_vec()];
    tls
}
