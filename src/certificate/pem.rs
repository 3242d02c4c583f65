//! Reading an identity from PEM files, with errors that name the file and what to do.

use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{CertificateError, Identity};

/// Reads a chain and its key.
pub(super) fn read(certificate: &Path, key: &Path) -> Result<Identity, CertificateError> {
    let chain = read_chain(certificate)?;
    let private = read_key(key)?;
    Identity::new(chain, private).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            CertificateError::Mismatch { key: key.to_owned(), certificate: certificate.to_owned() }
        }
        rustls::Error::InvalidCertificate(_) => CertificateError::Pem {
            path: certificate.to_owned(),
            problem: "the certificate does not parse: get it from its issuer again".to_owned(),
        },
        error => CertificateError::Pem {
            path: key.to_owned(),
            problem: format!("the private key cannot be used ({error}): use ECDSA P-256, Ed25519 or RSA in PKCS#8"),
        },
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = read_bytes("certificate", path)?;
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>().map_err(|e| not_pem(path, &e))?;
    if chain.is_empty() {
        let problem = "no certificate in it: it must be PEM, with a line -----BEGIN CERTIFICATE-----".to_owned();
        return Err(CertificateError::Pem { path: path.to_owned(), problem });
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let bytes = read_bytes("private key", path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound => {
            let encrypted = String::from_utf8_lossy(&bytes).contains("ENCRYPTED PRIVATE KEY");
            let problem = if encrypted {
                "the private key is encrypted: decrypt it with `openssl pkey -in FILE -out FILE.new`"
            } else {
                "no private key in it: it must be PEM, with a line -----BEGIN PRIVATE KEY-----"
            };
            CertificateError::Pem { path: path.to_owned(), problem: problem.to_owned() }
        }
        error => not_pem(path, &error),
    })
}

fn read_bytes(what: &'static str, path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|reason| CertificateError::Unreadable { what, path: path.to_owned(), reason })
}

fn not_pem(path: &Path, error: &PemError) -> CertificateError {
    // The library prints the offending bytes of some faults; a key's bytes do not belong in an error.
    let problem = match error {
        PemError::MissingSectionEnd { .. } => "cut short: a BEGIN line has no END line; copy the whole file",
        PemError::Base64Decode(_) => "damaged: what stands between BEGIN and END is not base64; copy the file again",
        _ => "not PEM: it must be text with lines -----BEGIN ...----- and -----END ...-----",
    };
    CertificateError::Pem { path: path.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::certificate::generate;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("muster-pem-{}-{test}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn put(&self, name: &str, text: &str) -> std::path::PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn each_bad_pair_of_files_is_refused_in_one_line_that_names_the_file() {
        let folder = Folder::new("bad");
        let made = generate(&["localhost"], 13, 1_800_000_000).unwrap();
        let other = generate(&["localhost"], 13, 1_800_000_000).unwrap();
        let cert = folder.put("cert.pem", &made.certificate_pem);
        let key = folder.put("key.pem", &made.key_pem);
        assert_eq!(read(&cert, &key).unwrap().hash(), made.identity.hash());

        let cut: String = made.key_pem.chars().take(80).collect();
        let missing = folder.0.join("missing.pem");
        for (cert, key, file, says) in [
            (&missing, &key, "missing.pem", "cannot read the certificate"),
            (&cert, &missing, "missing.pem", "cannot read the private key"),
            (&folder.put("junk.pem", "junk"), &key, "junk.pem", "no certificate in it"),
            (&key, &key, "key.pem", "no certificate in it"),
            (&cert, &cert, "cert.pem", "no private key in it"),
            (&cert, &folder.put("cut.pem", &cut), "cut.pem", "cut short"),
            (&cert, &folder.put("other.pem", &other.key_pem), "other.pem", "does not match the certificate in"),
            (
                &cert,
                &folder.put("locked.pem", &made.key_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
                "locked.pem",
                "is encrypted",
            ),
            (
                &folder.put("empty.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                &key,
                "empty.pem",
                "does not parse",
            ),
        ] {
            let error = read(cert, key).expect_err(says).to_string();
            assert!(error.contains(file) && error.contains(says) && !error.contains('\n'), "{error}");
        }
    }
}
