//! What the operator reaches: the admin API's token and keys, and the list of revocations.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::ServeError;
use super::keys::Keys;
use crate::admin::{AdminToken, Keyring, MintRefusal, Minted};
use crate::admission::Admission;
use crate::config::Config;
use crate::directory::{Revocation, StoreFault, read_list_file};
use crate::jwks::PublishedRing;
use crate::metrics::RevocationFault;
use crate::ticket::{Algorithm, Key, KeyId, UnixSeconds, Verifier};

/// Reads again what an operator may change, and signs for the admin API.
pub struct Desk {
    keys: Arc<Keys>,
    admission: Admission,
    list: Option<PathBuf>,
}

impl Desk {
    pub fn new(config: &Config, keys: Arc<Keys>, admission: Admission) -> Self {
        Self { keys, admission, list: config.revocations.file.clone() }
    }

    /// The operator's list; an empty one where none is named.
    ///
    /// # Errors
    /// [`StoreFault`] names file and line.
    pub fn read_list(&self) -> Result<Vec<Revocation>, StoreFault> {
        self.list.as_deref().map_or(Ok(Vec::new()), read_list_file)
    }

    /// The list, to be put in force; `None` where there is none, or a broken one: then the log and a metric say so, and
    /// the one before stays.
    pub fn reload_list(&self) -> Option<Vec<Revocation>> {
        self.list.as_ref()?;
        match self.read_list() {
            Ok(list) => Some(list),
            Err(fault) => {
                self.admission.hub().metrics().revocation_faults.of(RevocationFault::List).inc();
                tracing::error!(%fault, "the list of revocations stays as it was");
                None
            }
        }
    }

    /// Reads the keys again and puts them in force. Issuers that publish theirs are asked now; what they say is in force as
    /// soon as it is there.
    ///
    /// # Errors
    /// What is wrong; it was logged, and the keys stay as they were.
    pub fn reload_keys(&self) -> Result<Vec<(KeyId, Algorithm)>, ServeError> {
        self.admission.published().iter().for_each(PublishedRing::refresh);
        let facts = |key: &Key| (key.id().clone(), key.algorithm());
        let install = |verifier: Verifier| {
            let in_force: Vec<_> = verifier.issuers().iter().flat_map(|issuer| issuer.ring.keys()).map(facts).collect();
            self.admission.replace_verifier(verifier);
            in_force
        };
        let in_force = self.keys.load(install).inspect_err(|fault| {
            self.admission.hub().metrics().key_faults.inc();
            tracing::error!(%fault, "the keys stay as they were");
        })?;
        tracing::info!(keys = in_force.len(), "the keys were read again");
        Ok(in_force)
    }
}

impl Keyring for Desk {
    fn mint(
        &self,
        player: &str,
        more: Map<String, Value>,
        lifetime: Duration,
        now: UnixSeconds,
    ) -> Result<Minted, MintRefusal> {
        self.keys.mint_for_admin(player, more, lifetime, now)
    }

    fn reload(&self) -> Result<Vec<(KeyId, Algorithm)>, String> {
        self.reload_keys().map_err(|fault| fault.to_string())
    }

    fn longest_lifetime(&self) -> Duration {
        self.keys.lifetime()
    }

    fn longest_use(&self) -> Duration {
        // Issued by a clock that is ahead, judged by one that is behind.
        self.keys.longest_lifetime() + 2 * self.keys.leeway()
    }
}

/// The token of the admin API, where that is to listen.
///
/// # Errors
/// [`ServeError::Admin`] for a file that cannot be read, and for a token that could be guessed. It is not repeated.
pub fn read_token(config: &Config) -> Result<Option<AdminToken>, ServeError> {
    let admin = &config.admin;
    if admin.listen.is_none() {
        return Ok(None);
    }
    let (text, source) = match (&admin.token, &admin.token_file) {
        (Some(token), _) => (token.reveal().to_owned(), "admin.token".to_owned()),
        (None, Some(file)) => (read_token_file(file)?, format!("admin.token_file: {}", file.display())),
        (None, None) => (String::new(), "admin.token_file".to_owned()),
    };
    let weak = |why| ServeError::Admin(format!("{source}: {why}; make one with `openssl rand -hex 32`"));
    AdminToken::new(&text).map(Some).map_err(weak)
}

fn read_token_file(file: &Path) -> Result<String, ServeError> {
    let bad = |why: &dyn std::fmt::Display| ServeError::Admin(format!("admin.token_file: {}: {why}", file.display()));
    let text = std::fs::read(file).map_err(|error| bad(&error))?;
    String::from_utf8(text).map_err(|_| bad(&"not text"))
}
