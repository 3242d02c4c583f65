//! The keys that tickets are judged by, and in development the one that signs them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::ServeError;
use crate::config::Config;
use crate::ticket::{
    Algorithm, Claims, KeyFault, KeyHint, KeyRing, MintFault, Signer, Ticket, TicketId, TicketPolicy, UnixSeconds,
    Verifier, generate_key,
};

/// Where keys come from.
pub struct Keys {
    files: Vec<PathBuf>,
    policy: TicketPolicy,
    /// With `--dev` and no key files: muster's own.
    own: Option<Signer>,
    held: Mutex<Held>,
}

/// The keys in force, by where they came from.
#[derive(Default)]
struct Held {
    read: KeyRing,
    /// By the name of the issuer who publishes them.
    published: BTreeMap<String, KeyRing>,
}

impl Keys {
    /// Remembers where keys are; in development without any, makes one.
    pub fn new(config: &Config) -> Result<Self, ServeError> {
        let tickets = &config.tickets;
        let policy = TicketPolicy {
            issuer: tickets.issuer.clone(),
            audience: tickets.audience.clone(),
            leeway: tickets.leeway,
            max_lifetime: tickets.max_lifetime,
            max_bytes: config.limits.ticket_bytes,
            ..TicketPolicy::default()
        };
        let own = if config.dev() && tickets.keys.is_empty() { Some(own_key()?) } else { None };
        Ok(Self { files: tickets.keys.clone(), policy, own, held: Mutex::default() })
    }

    /// Reads every file, and hands what judges tickets by them, and by what issuers have published, to `install`.
    ///
    /// # Errors
    /// [`ServeError::Keys`] names the file and what is wrong with it. One bad file refuses all; the keys stay as they were.
    pub fn load<T>(&self, install: impl FnOnce(Verifier) -> T) -> Result<T, ServeError> {
        let read = self.read()?;
        let mut held = self.held.lock();
        let verifier = self.compose(&read, &held.published)?;
        held.read = read;
        Ok(install(verifier))
    }

    /// Takes an issuer's published keys in place of those it published before, and hands what judges by them to `install`.
    ///
    /// # Errors
    /// What does not fit together with the issuer's other keys; all stay as they were.
    pub fn publish<T>(
        &self,
        issuer: &str,
        ring: &KeyRing,
        install: impl FnOnce(Verifier) -> T,
    ) -> Result<T, ServeError> {
        // Held until it is installed: of two changes at a time neither undoes the other.
        let mut held = self.held.lock();
        let mut published = held.published.clone();
        published.insert(issuer.to_owned(), ring.clone());
        let verifier = self.compose(&held.read, &published)?;
        held.published = published;
        Ok(install(verifier))
    }

    fn compose(&self, read: &KeyRing, published: &BTreeMap<String, KeyRing>) -> Result<Verifier, ServeError> {
        let mut ring = read.clone();
        for (issuer, keys) in published {
            let bad = |fault: KeyFault| ServeError::Keys(format!("the issuer {issuer}: {fault}"));
            ring = ring.joined(keys).map_err(bad)?;
        }
        Ok(Verifier::new(ring, self.policy.clone()))
    }

    fn read(&self) -> Result<KeyRing, ServeError> {
        let mut ring = match &self.own {
            Some(signer) => signer.ring().map_err(|fault| ServeError::Keys(fault.to_string()))?,
            None => KeyRing::default(),
        };
        for file in &self.files {
            let bad = |why: &dyn std::fmt::Display| {
                ServeError::Keys(format!("{}: {why}; mend or remove it in tickets.keys", file.display()))
            };
            let text = std::fs::read_to_string(file).map_err(|error| bad(&error))?;
            let read = KeyRing::from_text(&text, &KeyHint::default()).map_err(|fault| bad(&fault))?;
            ring = ring.joined(&read).map_err(|fault| bad(&fault))?;
        }
        Ok(ring)
    }

    /// How long a ticket of [`Self::mint`] is good.
    pub fn lifetime(&self) -> Duration {
        self.policy.max_lifetime
    }

    /// Signs a ticket for development; `None` where the keys are somebody else's.
    pub fn mint(&self, player: &str, more: Map<String, Value>, now: UnixSeconds) -> Option<Result<Ticket, MintFault>> {
        let signer = self.own.as_ref()?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let claims = Claims {
            issuer: self.policy.issuer.clone(),
            audience: self.policy.audience.clone(),
            player: player.to_owned(),
            ticket_id: TicketId::from_random(u128::from_ne_bytes(random)),
            issued_at: now,
            expires_at: now.plus(self.policy.max_lifetime),
            more,
        };
        Some(signer.mint(&claims))
    }
}

fn own_key() -> Result<Signer, ServeError> {
    let key = generate_key(Algorithm::EdDsa).map_err(|fault| ServeError::Keys(fault.to_string()))?;
    Signer::from_text(&key.private, &KeyHint::default()).map_err(|fault| ServeError::Keys(fault.to_string()))
}
