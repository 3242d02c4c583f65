//! The keys that tickets are judged by, and in development the one that signs them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde_json::{Map, Value};

use super::ServeError;
use super::key_files::{files_faults, read_ring};
use crate::admin::{MintRefusal, Minted};
use crate::config::{Config, IssuerSettings, OWN_NAME, Profile};
use crate::ticket::{
    Algorithm, Claims, Issuer, KeyFault, KeyHint, KeyRing, MintFault, Signer, Ticket, TicketId, TicketPolicy,
    TokenKind, UnixSeconds, Verifier, generate_key,
};

/// Where keys come from.
pub struct Keys {
    /// muster's own first, where it has keys.
    sources: Vec<Source>,
    policy: TicketPolicy,
    /// With `--dev` and no key files: muster's own.
    own: Option<Signer>,
    /// The private key of the admin API, where one is named.
    signing_file: Option<PathBuf>,
    signing: RwLock<Option<Arc<Signer>>>,
    held: Mutex<Held>,
}

/// The keys in force, by where they came from.
#[derive(Default)]
struct Held {
    /// Of each source, in order.
    read: Vec<KeyRing>,
    /// By the name of the issuer who publishes them.
    published: BTreeMap<String, KeyRing>,
}

/// An issuer, and where its keys are.
struct Source {
    name: Arc<str>,
    paths: Vec<PathBuf>,
    algorithms: Option<Vec<Algorithm>>,
    policy: TicketPolicy,
}

impl Keys {
    /// Remembers where keys are; in development without any, makes one.
    pub fn new(config: &Config) -> Result<Self, ServeError> {
        let tickets = &config.tickets;
        let policy = TicketPolicy {
            issuer: Some(tickets.issuer.clone()),
            audience: Some(tickets.audience.clone()),
            single_use: tickets.single_use,
            leeway: tickets.leeway,
            max_lifetime: tickets.max_lifetime,
            max_bytes: config.limits.ticket_bytes,
            ..TicketPolicy::default()
        };
        let signing_file = config.admin.signing_key.clone();
        let alone = tickets.keys.is_empty() && signing_file.is_none();
        let own = if config.dev() && alone { Some(own_key()?) } else { None };
        let muster =
            Source { name: OWN_NAME.into(), paths: tickets.keys.clone(), algorithms: None, policy: policy.clone() };
        let others = config.issuers.iter().map(|issuer| Source {
            name: issuer.name.as_str().into(),
            paths: issuer.keys.clone(),
            algorithms: issuer.algorithms.clone(),
            policy: policy_of(issuer, config),
        });
        let sources = std::iter::once(muster).chain(others).collect();
        Ok(Self { sources, policy, own, signing_file, signing: RwLock::default(), held: Mutex::default() })
    }

    /// Reads every file, and hands what judges tickets by them, and by what issuers have published, to `install`.
    ///
    /// # Errors
    /// [`ServeError::Keys`] names the file and what is wrong with it. One bad file refuses all; the keys stay as they were.
    pub fn load<T>(&self, install: impl FnOnce(Verifier) -> T) -> Result<T, ServeError> {
        let signing = match &self.signing_file {
            Some(file) => Some((file.as_path(), read_signer(file)?)),
            None => None,
        };
        let read = self.read(signing.as_ref())?;
        let mut held = self.held.lock();
        let verifier = self.compose(&read, &held.published)?;
        held.read = read;
        *self.signing.write() = signing.map(|(_, signer)| Arc::new(signer));
        Ok(install(verifier))
    }

    /// What is wrong with the files, one by one; where each is good by itself, what does not fit together.
    pub fn faults(&self) -> Vec<ServeError> {
        let of = |source: &Source| files_faults(&source.paths, source.algorithms.as_deref());
        let mut faults: Vec<_> = self.sources.iter().flat_map(of).collect();
        faults.extend(self.signing_file.as_deref().and_then(|file| read_signer(file).err()));
        if faults.is_empty() {
            faults.extend(self.load(drop).err());
        }
        faults
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

    fn compose(&self, read: &[KeyRing], published: &BTreeMap<String, KeyRing>) -> Result<Verifier, ServeError> {
        let issuers = self.sources.iter().zip(read).map(|(source, read)| {
            let Source { name, policy, .. } = source;
            let bad = |fault: KeyFault| ServeError::Keys(format!("the issuer {name}: {fault}"));
            let ring = match published.get(&**name) {
                Some(keys) => read.joined(keys).map_err(bad)?,
                None => read.clone(),
            };
            Ok(Issuer { name: Arc::clone(name), ring, policy: policy.clone() })
        });
        Ok(Verifier::of(issuers.collect::<Result<Vec<_>, ServeError>>()?))
    }

    /// The keys of each source's files, and of those who sign here.
    fn read(&self, signing: Option<&(&Path, Signer)>) -> Result<Vec<KeyRing>, ServeError> {
        let rings = self.sources.iter().map(|source| {
            let mut ring = read_ring(&source.paths, source.algorithms.as_deref())?;
            if &*source.name != OWN_NAME {
                return Ok(ring);
            }
            if let Some(own) = &self.own {
                ring = own.ring().map_err(|fault| ServeError::Keys(fault.to_string()))?;
            }
            signing.map_or(Ok(ring.clone()), |(file, signer)| with_signer(&ring, file, signer))
        });
        rings.collect()
    }

    /// How far the clocks may differ.
    pub fn leeway(&self) -> Duration {
        self.policy.leeway
    }

    /// How long the longest-lived token of any issuer is good.
    pub fn longest_lifetime(&self) -> Duration {
        self.sources.iter().map(|source| source.policy.max_lifetime).max().unwrap_or_default()
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
            issuer: self.policy.issuer.clone().unwrap_or_default(),
            audience: self.policy.audience.clone().unwrap_or_default(),
            player: player.to_owned(),
            ticket_id: TicketId::from_random(u128::from_ne_bytes(random)),
            issued_at: now,
            expires_at: now.plus(lifetime),
            more,
        })
    }
}

/// What an issuer's tokens must say: what its profile says, and over that what its table says.
fn policy_of(issuer: &IssuerSettings, config: &Config) -> TicketPolicy {
    let base = TicketPolicy::of(match issuer.profile {
        Profile::Muster => TokenKind::Ticket,
        Profile::SimpleJwt => TokenKind::SimpleJwtAccess,
        Profile::FastApi => TokenKind::Plain,
        Profile::Oidc => TokenKind::OidcAccess,
    });
    let mut claims = base.claims.clone();
    if let Some(player) = &issuer.player {
        claims.player = player.as_str().into();
    }
    let set = [
        (&mut claims.name, &issuer.player_name),
        (&mut claims.role, &issuer.role),
        (&mut claims.game, &issuer.game),
        (&mut claims.lobby, &issuer.lobby),
        (&mut claims.actions, &issuer.actions),
    ];
    for (place, said) in set {
        if let Some(said) = said {
            *place = Some(said.as_str().into());
        }
    }
    TicketPolicy {
        issuer: issuer.issuer.clone().or(base.issuer.clone()),
        audience: issuer.audience.clone().or(base.audience.clone()),
        typ: issuer.typ.clone().unwrap_or(base.typ.clone()),
        require_typ: issuer.typ.is_some(),
        claims,
        player_prefix: issuer.player_prefix.clone(),
        single_use: issuer.single_use(),
        leeway: config.tickets.leeway,
        max_lifetime: issuer.max_lifetime(),
        max_bytes: config.limits.ticket_bytes,
        ..base
    }
}

/// The ring with the public half of the admin API's key. It may stand in it already; another key of its name may not.
fn with_signer(ring: &KeyRing, file: &Path, signer: &Signer) -> Result<KeyRing, ServeError> {
    let known = ring.find(Some(signer.key().id().as_str()));
    if known.is_some_and(|known| known.public_jwk() == signer.key().public_jwk()) {
        return Ok(ring.clone());
    }
    signer.ring().and_then(|own| ring.joined(&own)).map_err(|fault| in_signing_key(file, &fault))
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
