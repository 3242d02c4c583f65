//! The certificate in force, shared by both transports, and how it is replaced while they run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustls::CipherSuite;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{CertificateError, DEV_DAYS, DEV_NAMES, Identity, generate, pem};
use crate::config::Config;

/// A shared handle on the current identity. Clones are the same store.
#[derive(Clone, Debug)]
pub struct CertificateStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    current: watch::Sender<Arc<Identity>>,
}

#[derive(Debug)]
enum Source {
    /// Made here, and made anew at half of its life.
    Dev,
    Files {
        certificate: PathBuf,
        key: PathBuf,
        /// What the files looked like when they were last tried, in use or refused.
        tried: Mutex<Option<Stamp>>,
    },
}

/// Times of change and sizes of both files.
type Stamp = [(Option<SystemTime>, u64); 2];

impl CertificateStore {
    /// How often a node looks whether a replacement is due.
    pub const CHECK_EVERY: Duration = Duration::from_secs(30);

    /// A self-made certificate for loopback. `now` is Unix time in seconds.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn dev(now: u64) -> Result<Self, CertificateError> {
        let identity = generate(&DEV_NAMES, DEV_DAYS, now)?.identity;
        Ok(Self::holding(Source::Dev, identity))
    }

    /// A certificate chain and its key from PEM files.
    ///
    /// # Errors
    /// When a file is missing or not PEM, or the key does not match.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        // Looked at before reading: a change in between is then seen as one.
        let tried = Mutex::new(stamp(certificate, key));
        let identity = pem::read(certificate, key)?;
        Ok(Self::holding(Source::Files { certificate: certificate.to_owned(), key: key.to_owned(), tried }, identity))
    }

    /// What a configuration asks for: its files, a self-made one for development, or none.
    ///
    /// # Errors
    /// As [`CertificateStore::from_files`] and [`CertificateStore::dev`].
    pub fn from_config(config: &Config, now: u64) -> Result<Option<Self>, CertificateError> {
        match (&config.tls.certificate, &config.tls.key) {
            (Some(certificate), Some(key)) => {
                let store = Self::from_files(certificate, key)?;
                if store.current().not_after() < now {
                    let file = certificate.display();
                    tracing::warn!(%file, "the certificate has expired: renew it, the new one is taken up by itself");
                }
                Ok(Some(store))
            }
            _ if config.dev() => Self::dev(now).map(Some),
            _ => Ok(None),
        }
    }

    fn holding(source: Source, identity: Identity) -> Self {
        Self { shared: Arc::new(Shared { source, current: watch::Sender::new(Arc::new(identity)) }) }
    }

    /// The identity in force.
    pub fn current(&self) -> Arc<Identity> {
        self.shared.current.borrow().clone()
    }

    /// Follows the identity: the receiver is woken at each replacement.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Identity>> {
        self.shared.current.subscribe()
    }

    /// Replaces the identity at once: files are read again, a self-made one is made anew. `now` is Unix time.
    ///
    /// # Errors
    /// When the new one cannot be used. The old one stays in force.
    pub fn reload(&self, now: u64) -> Result<(), CertificateError> {
        let identity = match &self.shared.source {
            Source::Dev => generate(&DEV_NAMES, DEV_DAYS, now)?.identity,
            Source::Files { certificate, key, tried } => {
                *tried.lock() = stamp(certificate, key);
                pem::read(certificate, key)?
            }
        };
        self.shared.current.send_replace(Arc::new(identity));
        Ok(())
    }

    /// Replaces the identity if that is due: the files have changed since they were last tried, or half of a self-made
    /// one's life is over. Says whether it was replaced.
    ///
    /// # Errors
    /// As [`CertificateStore::reload`]. The same files are not tried, nor complained of, a second time.
    pub fn refresh(&self, now: u64) -> Result<bool, CertificateError> {
        let due = match &self.shared.source {
            Source::Dev => now >= self.current().half_life(),
            // Files that are away for a moment are being replaced.
            Source::Files { certificate, key, tried } => {
                let seen = stamp(certificate, key);
                seen.is_some() && seen != *tried.lock()
            }
        };
        if due { self.reload(now).map(|()| true) } else { Ok(false) }
    }

    /// Calls [`CertificateStore::refresh`] every so often (see [`CertificateStore::CHECK_EVERY`]) until told to stop, and logs what came of it. `clock` tells
    /// Unix time in seconds.
    ///
    /// # Cancel safety
    /// Cancel safe: a replacement is made between two awaits, or not at all.
    pub async fn follow(self, every: Duration, clock: impl Fn() -> u64 + Send, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            self.log(self.refresh(clock()));
        }
    }

    /// Writes the outcome of a replacement to the log.
    pub fn log(&self, outcome: Result<bool, CertificateError>) {
        match outcome {
            Ok(true) => tracing::info!(not_after = self.current().not_after(), "certificate replaced"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "certificate not replaced, the old one stays in force"),
        }
    }

    /// TLS for TCP: HTTP/1.1, TLS 1.3 and 1.2, resumption by tickets. To be made once; it follows the store.
    ///
    /// # Errors
    /// When the machine gives no randomness for the ticket keys.
    pub fn tcp_config(&self) -> Result<rustls::ServerConfig, CertificateError> {
        let mut config = self.tls_config(rustls::ALL_VERSIONS)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(library)?;
        Ok(config)
    }

    /// TLS for QUIC: HTTP/3, TLS 1.3, no early data, since that can be replayed. To be made once; it follows the store.
    ///
    /// # Errors
    /// When the cryptographic provider has no TLS 1.3.
    pub fn quic_config(&self) -> Result<rustls::ServerConfig, CertificateError> {
        let mut config = self.tls_config(&[&rustls::version::TLS13])?;
        config.alpn_protocols = vec![wtransport::tls::WEBTRANSPORT_ALPN.to_vec()];
        // Nobody resumes: a page that is back brings its place's own token, and two tickets cost each handshake more than
        // they would ever spare.
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn tls_config(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Result<rustls::ServerConfig, CertificateError> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // AES-128 before AES-256, as browsers ask for it, and whatever else a client prefers: its hash, which every key of a
        // handshake goes through, is one that processors have instructions for.
        provider.cipher_suites.sort_by_key(|suite| !matches!(suite.suite(), CipherSuite::TLS13_AES_128_GCM_SHA256));
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions);
        let mut config = builder.map_err(library)?.with_no_client_auth().with_cert_resolver(Arc::new(self.clone()));
        config.ignore_client_order = true;
        Ok(config)
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shared.current.borrow().certified.clone())
    }
}

/// None while either file is away.
fn stamp(certificate: &Path, key: &Path) -> Option<Stamp> {
    let look = |path| std::fs::metadata(path).ok().map(|found| (found.modified().ok(), found.len()));
    Some([look(certificate)?, look(key)?])
}

fn library(error: rustls::Error) -> CertificateError {
    CertificateError::Library(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::certificate::Generated;
    use crate::config::Settings;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;

    struct Files(PathBuf);

    impl Files {
        fn new(test: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("muster-store-{}-{test}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn certificate(&self) -> PathBuf {
            self.0.join("cert.pem")
        }

        fn key(&self) -> PathBuf {
            self.0.join("key.pem")
        }

        /// Writes both files and gives them a time of change of their own, as real renewals have.
        fn put(&self, certificate: &str, key: &str, minute: u64) {
            for (path, text) in [(self.certificate(), certificate), (self.key(), key)] {
                std::fs::write(&path, text).unwrap();
                let at = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + minute * 60);
                std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
            }
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    fn made() -> Generated {
        generate(&DEV_NAMES, DEV_DAYS, NOW).unwrap()
    }

    #[test]
    fn a_self_made_certificate_is_renewed_at_half_of_its_life_and_not_before() {
        let store = CertificateStore::dev(NOW).unwrap();
        let mut watcher = store.subscribe();
        let first = store.current().hash();
        assert!(!store.refresh(NOW + 6 * DAY).unwrap());
        assert_eq!(store.current().hash(), first);
        assert!(store.refresh(NOW + 7 * DAY).unwrap());
        assert_ne!(store.current().hash(), first);
        assert!(store.current().not_after() > NOW + 19 * DAY);
        assert!(watcher.has_changed().unwrap());
        assert_eq!(watcher.borrow_and_update().hash(), store.current().hash());
    }

    #[test]
    fn a_configuration_decides_where_the_certificate_comes_from() {
        let files = Files::new("config");
        let one = made();
        files.put(&one.certificate_pem, &one.key_pem, 0);
        let mut settings = Settings::dev_preset();
        let own = CertificateStore::from_config(&Config::new(settings.clone(), true).unwrap(), NOW).unwrap();
        assert!(own.unwrap().current().hash_usable_by_browsers());
        settings.tls.certificate = Some(files.certificate());
        settings.tls.key = Some(files.key());
        let given = CertificateStore::from_config(&Config::new(settings.clone(), true).unwrap(), NOW).unwrap();
        assert_eq!(given.unwrap().current().hash(), one.identity.hash());
        settings.tls = Default::default();
        settings.transport.webtransport = false;
        settings.tickets.keys = vec!["k".into()];
        assert!(CertificateStore::from_config(&Config::new(settings, false).unwrap(), NOW).unwrap().is_none());
    }

    #[test]
    fn changed_files_are_taken_up_and_broken_ones_leave_the_old_certificate_in_force() {
        let files = Files::new("reload");
        let (one, two) = (made(), made());
        files.put(&one.certificate_pem, &one.key_pem, 0);
        let store = CertificateStore::from_files(&files.certificate(), &files.key()).unwrap();
        assert!(!store.refresh(NOW).unwrap(), "nothing has changed");

        files.put(&two.certificate_pem, &one.key_pem, 1);
        assert!(matches!(store.refresh(NOW), Err(CertificateError::Mismatch { .. })));
        assert!(!store.refresh(NOW).unwrap(), "the same fault is told once");
        assert!(store.reload(NOW).is_err(), "but a reload that was asked for says it again");
        assert_eq!(store.current().hash(), one.identity.hash());

        std::fs::remove_file(files.key()).unwrap();
        assert!(!store.refresh(NOW).unwrap(), "a file that is being replaced is waited for");

        files.put(&two.certificate_pem, &two.key_pem, 2);
        assert!(store.refresh(NOW).unwrap());
        assert_eq!(store.current().hash(), two.identity.hash());
    }

    /// What certificate a client is shown by a server with this configuration.
    async fn shown(config: &Arc<rustls::ServerConfig>, trusted: &Identity) -> Result<Vec<u8>, std::io::Error> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.chain()[0].clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(config.clone());
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let (server, client) = tokio::join!(acceptor.accept(theirs), connector.connect(name, ours));
        let client = client?;
        server.expect("the server agrees when the client does");
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        Ok(client.get_ref().1.peer_certificates().unwrap()[0].to_vec())
    }

    #[tokio::test]
    async fn a_configuration_made_once_shows_each_new_certificate_at_the_next_handshake() {
        // The verifier reads the machine's clock, so this one identity lives now.
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let store = CertificateStore::dev(now).unwrap();
        let config = Arc::new(store.tcp_config().unwrap());
        let first = store.current();
        assert_eq!(shown(&config, &first).await.unwrap(), first.chain()[0].to_vec());
        store.reload(now).unwrap();
        assert!(shown(&config, &first).await.is_err(), "the old one is not shown any more");
        assert_eq!(shown(&config, &store.current()).await.unwrap(), store.current().chain()[0].to_vec());
    }

    #[test]
    fn the_quic_configuration_suits_wtransport() {
        let config = CertificateStore::dev(NOW).unwrap().quic_config().unwrap();
        assert_eq!(config.alpn_protocols, [b"h3".to_vec()]);
        assert_eq!(config.max_early_data_size, 0);
        let _built = wtransport::ServerConfig::builder().with_bind_default(0).with_custom_tls(config).build();
    }

    #[tokio::test(start_paused = true)]
    async fn following_renews_by_the_clock_and_stops_when_told() {
        let store = CertificateStore::dev(NOW).unwrap();
        let first = store.current().hash();
        let mut watcher = store.subscribe();
        let stop = CancellationToken::new();
        let follow = tokio::spawn(store.clone().follow(Duration::from_secs(30), || NOW + 8 * DAY, stop.clone()));
        watcher.changed().await.unwrap();
        assert_ne!(store.current().hash(), first);
        stop.cancel();
        follow.await.unwrap();
    }
}
