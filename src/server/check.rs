//! What a configuration names, read as a start would read it, without serving.
//!
//! Owns: which files there are to read, and that a fault in one does not hide those of the others. Must not know: what is
//! in them. Nothing is written, nothing is asked over the network.

use std::path::Path;

use super::keys::Keys;
use super::{ServeError, desk, outbound};
use crate::certificate::CertificateStore;
use crate::config::Config;
use crate::directory::{check_store, read_list_file};
use crate::ticket::{self, Verifier};

/// Reads every file that the configuration names: certificate, keys and directories of keys, the admin API's token and key,
/// the list and the store of revocations, certificate authorities. `now` is Unix time, for certificates that have expired.
/// Nothing comes back where a server could start with them.
pub fn check(config: &Config, now: u64) -> Vec<ServeError> {
    ticket::install_crypto();
    let mut faults = Vec::new();
    let mut note = |outcome: Result<(), ServeError>| faults.extend(outcome.err());
    if let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) {
        note(check_certificate(certificate, key, now));
    }
    note(desk::read_token(config).map(drop));
    if config.outbound.authorities.is_some() {
        note(outbound::fetcher(config).map(drop));
    }
    if let Some(list) = &config.revocations.file {
        note(read_list_file(list).map(drop).map_err(ServeError::from));
    }
    if let Some(store) = &config.revocations.store {
        note(check_store(store).map_err(ServeError::from));
    }
    match Keys::new(config) {
        Ok(keys) => faults.extend(keys.faults()),
        Err(fault) => faults.push(fault),
    }
    faults
}

/// What judges tickets by the files that the configuration names, and by nothing that an issuer publishes elsewhere.
///
/// # Errors
/// [`ServeError::Keys`] for the first file that cannot be used.
pub fn verifier(config: &Config) -> Result<Verifier, ServeError> {
    ticket::install_crypto();
    Keys::new(config)?.load(|verifier| verifier)
}

fn check_certificate(certificate: &Path, key: &Path, now: u64) -> Result<(), ServeError> {
    let store = CertificateStore::from_files(certificate, key)?;
    if store.current().not_after() >= now {
        return Ok(());
    }
    let problem = "has expired: renew it, muster takes up the new one by itself";
    Err(ServeError::Expired(format!("{}: {problem}", certificate.display())))
}
