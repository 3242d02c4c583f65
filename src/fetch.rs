//! The HTTP requests that the server itself makes: to an issuer's key set, to the backend that knows who a player is.
//!
//! Owns: the only HTTP client of the server, and its bounds. Must not know: what an answer means.
//!
//! Invariants: only addresses from the configuration are asked, over TLS unless they are this machine's own; no
//! redirect is followed and no cookie is kept; an answer is bounded in bytes and in time, from the first packet to the
//! last byte. No error shows what was sent, or anything of the body.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::header::{ACCEPT, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::config::is_fetchable;

/// An address that may be asked: `https`, or `http` on this machine itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Uri);

/// An address that is never asked. The operator is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not https://host/path without user or fragment (http only for this machine itself)")]
pub struct BadUrl;

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if !is_fetchable(text) {
            return Err(BadUrl);
        }
        text.parse().map(Self).map_err(|_| BadUrl)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an answer may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From the first packet to the last byte. Over it: [`FetchFault::Timeout`].
    pub timeout: Duration,
    /// Bytes of the body. Over it: [`FetchFault::TooLarge`], as soon as it is known.
    pub body: usize,
}

/// An answer, whichever status it has.
#[derive(Debug)]
pub struct Answer {
    /// The status; a redirect is one like any other.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer. The service or the network is at fault in every variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchFault {
    /// Not reached, or the TLS handshake failed.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// Reached, and then not HTTP or cut off.
    #[error("broke off: {0}")]
    Broken(String),
    /// The whole did not come in time.
    #[error("did not answer within {0:?}")]
    Timeout(Duration),
    /// More body than is taken.
    #[error("answered with more than {0} bytes")]
    TooLarge(usize),
}

/// A status that is no answer to what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OddStatus(pub StatusCode);

impl fmt::Display for OddStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redirects = if self.0.is_redirection() { "; redirects are not followed" } else { "" };
        write!(f, "status {}{redirects}", self.0.as_u16())
    }
}

/// Authorities that cannot be used. The operator is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthorities {
    /// The PEM text cannot be read.
    #[error("not certificates in PEM: {0}")]
    Pem(String),
    /// No certificate in the text.
    #[error("there is no certificate in it")]
    Empty,
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
}

/// Makes requests over pooled connections. Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

impl Fetcher {
    /// A client that believes what the system's certificate authorities have signed, and those in this PEM text.
    ///
    /// # Errors
    /// [`BadAuthorities`] for a text that holds none.
    pub fn new(authorities: Option<&[u8]>) -> Result<Self, BadAuthorities> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(pem) = authorities {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let bad = |error: &dyn fmt::Display| BadAuthorities::Pem(error.to_string());
                roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
            }
            if roots.len() == before {
                return Err(BadAuthorities::Empty);
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| BadAuthorities::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Plain http reaches loopback only: `Url` lets no other through.
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Ok(Self { client })
    }

    /// Gets `url` with these headers, over HTTP/1.1.
    ///
    /// # Errors
    /// [`FetchFault`] when there is no whole answer within the bounds.
    ///
    /// # Cancel safety
    /// Dropping the future drops the request; the service may have answered it.
    pub async fn get(&self, url: &Url, headers: HeaderMap, bounds: Bounds) -> Result<Answer, FetchFault> {
        let late = |_| FetchFault::Timeout(bounds.timeout);
        tokio::time::timeout(bounds.timeout, self.exchange(url, headers, bounds.body)).await.map_err(late)?
    }

    async fn exchange(&self, url: &Url, headers: HeaderMap, body: usize) -> Result<Answer, FetchFault> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url.0.clone();
        *request.headers_mut() = headers;
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let response = self.client.request(request).await.map_err(|error| {
            let why = innermost(&error);
            if error.is_connect() { FetchFault::Unreachable(why) } else { FetchFault::Broken(why) }
        })?;
        let (head, stream) = response.into_parts();
        let collected = Limited::new(stream, body).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                FetchFault::TooLarge(body)
            } else {
                FetchFault::Broken(innermost(error.as_ref()))
            }
        })?;
        Ok(Answer { status: head.status, headers: head.headers, body: collected.to_bytes() })
    }
}

/// The last cause of an error, which is the one that says something.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

const AGENT: &str = concat!("muster/", env!("CARGO_PKG_VERSION"));
/// Shorter than what backends usually keep a quiet connection for.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS: usize = 64;
/// The most bytes of an answer's head.
const MAX_HEAD: usize = 64 * 1_024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_tls_and_this_machine_are_asked() {
        for good in
            ["https://id.example/keys?a=b", "http://127.0.0.1:8000/whoami", "http://[::1]:1/", "http://localhost/a"]
        {
            assert_eq!(good.parse::<Url>().unwrap().to_string(), good);
        }
        for bad in ["http://id.example/", "http://127.0.0.1@evil.example/", "file:///etc/passwd", "https://u:p@a/", ""]
        {
            assert_eq!(bad.parse::<Url>(), Err(BadUrl), "{bad}");
        }
    }

    #[test]
    fn authorities_that_are_none_are_refused_at_the_start() {
        assert_eq!(Fetcher::new(Some(b"")).unwrap_err(), BadAuthorities::Empty);
        let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(Fetcher::new(Some(broken)), Err(BadAuthorities::Pem(_))));
        assert!(Fetcher::new(None).is_ok());
    }
}
