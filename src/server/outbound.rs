//! What the server asks of others: the keys of issuers, and who players are.
//!
//! Owns: making those who ask, out of the configuration. Must not know: when they ask, or what comes of it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ServeError;
use super::keys::Keys;
use crate::admission::{Admission, Elsewhere};
use crate::clock::Clock;
use crate::config::Config;
use crate::fetch::Fetcher;
use crate::forward::Forward;
use crate::jwks::{PublishedRing, Source};
use crate::metrics::Metrics;
use crate::request::PassedNames;

/// Makes whom admission may ask. Nobody, and no HTTP client, where nothing is configured.
///
/// # Errors
/// [`ServeError::Outbound`] for certificate authorities or addresses that cannot be used.
pub fn elsewhere(config: &Config, clock: Clock, metrics: &Arc<Metrics>) -> Result<Elsewhere, ServeError> {
    let with_url: Vec<_> =
        config.issuers.iter().filter_map(|issuer| Some((issuer, issuer.jwks_url.as_ref()?))).collect();
    if with_url.is_empty() && config.forward.url.is_none() {
        return Ok(Elsewhere::default());
    }
    let fetcher = fetcher(config)?;
    let mut published = Vec::new();
    for (issuer, url) in with_url {
        let source = Source {
            issuer: issuer.name.clone(),
            url: url.parse().map_err(|fault| bad("issuers.jwks_url", &fault))?,
            algorithms: issuer.algorithms.clone(),
            interval: config.outbound.jwks_interval,
            pause: config.outbound.jwks_pause,
        };
        published.push(PublishedRing::new(source, fetcher.clone(), clock, metrics.of_issuer(&issuer.name)));
    }
    let forward = Forward::new(&config.forward, &fetcher, clock, metrics);
    let lower = |name: &String| name.to_ascii_lowercase();
    let passed = PassedNames {
        cookies: config.forward.cookies.clone(),
        headers: config.forward.headers.iter().map(lower).collect(),
    };
    Ok(Elsewhere { published, forward: forward.map_err(|fault| bad("forward.url", &fault))?, passed })
}

/// The HTTP client, which believes the certificate authorities that are named beside the system's.
///
/// # Errors
/// [`ServeError::Outbound`] names the file and what is wrong with it.
pub fn fetcher(config: &Config) -> Result<Fetcher, ServeError> {
    let Some(file) = &config.outbound.authorities else {
        return Fetcher::new(None).map_err(|fault| bad("outbound.authorities", &fault));
    };
    let named = |why: &dyn std::fmt::Display| bad("outbound.authorities", &format_args!("{}: {why}", file.display()));
    let text = std::fs::read(file).map_err(|error| named(&error))?;
    Fetcher::new(Some(&text)).map_err(|fault| named(&fault))
}

fn bad(key: &str, why: &dyn std::fmt::Display) -> ServeError {
    ServeError::Outbound(format!("{key}: {why}"))
}

/// Begins to fetch the issuers' keys; each set is in force as soon as it is read.
pub fn follow_issuers(admission: &Admission, keys: &Arc<Keys>, stop: &CancellationToken, tasks: &TaskTracker) {
    for ring in admission.published() {
        let (admission, keys, issuer) = (admission.clone(), Arc::clone(keys), ring.issuer().to_owned());
        let publish = move |ring: &_| {
            let installed = keys.publish(&issuer, ring, |verifier| admission.replace_verifier(verifier));
            installed.map_err(|fault| fault.to_string())
        };
        tasks.spawn(ring.clone().run(publish, stop.clone()));
    }
}
