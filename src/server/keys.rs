//! The keys that tickets are judged by, and in development the one that signs them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use serde_json::{Map, Value};

use super::ServeError;
use crate::admin::{MintRefusal, Minted};
use crate::config::Config;
use crate::ticket::{
    Algorithm, Claims, KeyHint, KeyRing, MintFault, Signer, Ticket, TicketId, TicketPolicy, UnixSeconds, Verifier,
    generate_key,
};

/// Where keys come from.
pub struct Keys {
    files: Vec<PathBuf>,
    policy: TicketPolicy,
    /// With `--dev` and no key files: muster's own.
    own: Option<Signer>,
    /// The private key of the admin API, where one is named.
    signing_file: Option<PathBuf>,
    signing: RwLock<Option<Arc<Signer>>>,
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
        let signing_file = config.admin.signing_key.clone();
        let alone = tickets.keys.is_empty() && signing_file.is_none();
        let own = if config.dev() && alone { Some(own_key()?) } else { None };
        Ok(Self { files: tickets.keys.clone(), policy, own, signing_file, signing: RwLock::default() })
    }

    /// Reads every file and makes what judges tickets by them.
    ///
    /// # Errors
    /// [`ServeError::Keys`] names the file and what is wrong with it. One bad file refuses all.
    pub fn verifier(&self) -> Result<Verifier, ServeError> {
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
        if let Some(file) = &self.signing_file {
            let signer = read_signer(file)?;
            // It may stand among the others as well; another key of its name may not.
            let known = ring.find(Some(signer.key().id().as_str()));
            if known.is_none_or(|known| known.public_jwk() != signer.key().public_jwk()) {
                let own = signer.ring().and_then(|own| ring.joined(&own));
                ring = own.map_err(|fault| in_signing_key(file, &fault))?;
            }
            *self.signing.write() = Some(Arc::new(signer));
        }
        Ok(Verifier::new(ring, self.policy.clone()))
    }

    /// How far the clocks may differ.
    pub fn leeway(&self) -> Duration {
        self.policy.leeway
    }

    /// How long a ticket of [`Self::mint`] is good.
    pub fn lifetime(&self) -> Duration {
        self.policy.max_lifetime
    }

    /// Signs a ticket for development; `None` where the keys are somebody else's.
    pub fn mint(&self, player: &str, more: Map<String, Value>, now: UnixSeconds) -> Option<Result<Ticket, MintFault>> {
        let claims = self.claims(player, more, self.policy.max_lifetime, now)?;
        Some(self.own.as_ref()?.mint(&claims))
    }

    /// Signs a ticket with the key of the admin API, in development without one with the server's own.
    ///
    /// # Errors
    /// [`MintRefusal`].
    pub fn mint_for_admin(
        &self,
        player: &str,
        more: Map<String, Value>,
        lifetime: Duration,
        now: UnixSeconds,
    ) -> Result<Minted, MintRefusal> {
        let signing = self.signing.read().clone();
        let signer = signing.as_deref().or(self.own.as_ref()).ok_or(MintRefusal::NoKey)?;
        let claims = self.claims(player, more, lifetime, now).ok_or(MintRefusal::Failed)?;
        let ticket = signer.mint(&claims).map_err(|_| MintRefusal::Failed)?;
        Ok(Minted { ticket, jti: claims.ticket_id.as_str().to_owned(), expires_at: claims.expires_at })
    }

    /// `None` when the system gives no randomness.
    fn claims(&self, player: &str, more: Map<String, Value>, lifetime: Duration, now: UnixSeconds) -> Option<Claims> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        Some(Claims {
            issuer: self.policy.issuer.clone(),
            audience: self.policy.audience.clone(),
            player: player.to_owned(),
            ticket_id: TicketId::from_random(u128::from_ne_bytes(random)),
            issued_at: now,
            expires_at: now.plus(lifetime),
            more,
        })
    }
}

fn read_signer(file: &Path) -> Result<Signer, ServeError> {
    let text = std::fs::read_to_string(file).map_err(|error| in_signing_key(file, &error))?;
    Signer::from_text(&text, &KeyHint::default()).map_err(|fault| in_signing_key(file, &fault))
}

fn in_signing_key(file: &Path, why: &dyn std::fmt::Display) -> ServeError {
    ServeError::Keys(format!("{}: {why}; mend or remove it in admin.signing_key", file.display()))
}

fn own_key() -> Result<Signer, ServeError> {
    let key = generate_key(Algorithm::EdDsa).map_err(|fault| ServeError::Keys(fault.to_string()))?;
    Signer::from_text(&key.private, &KeyHint::default()).map_err(|fault| ServeError::Keys(fault.to_string()))
}
