//! The server's certificate: made on the spot for development, read from PEM files in production, replaced while running.
//!
//! Owns: identities, their files, and the TLS configurations of both transports. Must not know: sockets, HTTP. TCP and
//! QUIC ask the same [`CertificateStore`] at each handshake, so that a new certificate takes effect at the next
//! handshake and no open link notices.

mod identity;
mod pem;
mod store;

use std::path::PathBuf;

pub use identity::{DEV_DAYS, DEV_NAMES, Generated, Identity, generate};
pub use store::CertificateStore;

/// Why there is no certificate to serve with. One line each, naming what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{}: cannot read the {what} ({reason}): check the path and its permissions", path.display())]
    Unreadable {
        /// What was looked for in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The private key belongs to another certificate.
    #[error(
        "{}: does not match the certificate in {}: use the key that the certificate was made for",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A name that no certificate can be made for.
    #[error("{name:?} cannot stand in a certificate: use a host name or an IP address")]
    Name {
        /// The name.
        name: String,
    },
    /// The cryptographic library refused; a fault of the server or of the machine.
    #[error("the certificate cannot be made: {0}")]
    Library(String),
}
