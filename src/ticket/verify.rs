//! Decides whether a token is a ticket for this server, now.
//!
//! Owns: the order of the checks, cheapest first: size, header shape, key and algorithm, signature, times, issuer,
//! audience and kind, what it binds to. Must not know: whether the ticket was used or revoked; that is asked later,
//! when there is a place to give.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::claims::ClaimSet;
use super::strict_json::object_of_part;
use super::{KeyRing, TicketFacts, TicketFault, TicketPolicy, TokenKind, UnixSeconds, Verified};

/// Verifies tickets of one issuer or several. It holds no other state: to change keys, build another one.
#[derive(Clone, Debug)]
pub struct Verifier {
    issuers: Vec<Issuer>,
}

/// Somebody whose tickets are accepted: its keys, and what its tickets must say.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What logs and metrics call it.
    pub name: Arc<str>,
    /// Its keys.
    pub ring: KeyRing,
    /// What is asked of its tickets.
    pub policy: TicketPolicy,
}

/// Why a token is not a ticket for this server, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The first check that failed.
    pub fault: TicketFault,
    /// Who signed it: its own rules refuse it. None: nobody who is known, or it was not looked at so far.
    pub issuer: Option<Arc<str>>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.issuer {
            Some(issuer) => write!(f, "ticket of {issuer}: {}", self.fault),
            None => write!(f, "ticket: {}", self.fault),
        }
    }
}

impl From<TicketFault> for Refusal {
    fn from(fault: TicketFault) -> Self {
        Self { fault, issuer: None }
    }
}

impl Verifier {
    /// The most issuers that are asked about one ticket: signatures are checked one by one.
    pub const MAX_ISSUERS: usize = 9;

    /// A verifier for tickets that a key of `ring` has signed and that say what `policy` asks.
    pub fn new(ring: KeyRing, policy: TicketPolicy) -> Self {
        Self::of([Issuer { name: "muster".into(), ring, policy }])
    }

    /// A verifier for the tickets of several issuers. Whose a ticket is, its signature says and nothing else. Past
    /// [`Self::MAX_ISSUERS`] they are left out.
    pub fn of(issuers: impl IntoIterator<Item = Issuer>) -> Self {
        Self { issuers: issuers.into_iter().take(Self::MAX_ISSUERS).collect() }
    }

    /// Whose tickets are accepted.
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// Checks a token at the moment `now`.
    ///
    /// # Errors
    /// The first check that failed. Nothing of the claims is looked at before the signature is known to be good.
    pub fn verify(&self, token: &str, now: UnixSeconds) -> Result<Verified, TicketFault> {
        self.judge(token, now).map(|(verified, _)| verified).map_err(|refusal| refusal.fault)
    }

    /// As [`Self::verify`], and hands out all claims of the token, the unknown ones too.
    ///
    /// # Errors
    /// As [`Self::verify`], with whose the token is.
    pub fn judge(&self, token: &str, now: UnixSeconds) -> Result<(Verified, Map<String, Value>), Refusal> {
        if self.issuers.iter().all(|issuer| token.len() > issuer.policy.max_bytes) {
            return Err(TicketFault::TooLong.into());
        }
        let parts = Parts::of(token).ok_or(TicketFault::NotAToken)?;
        let header = object_of_part(parts.header).ok_or(TicketFault::NotAToken)?;
        let header = Header::of(&header)?;
        let issuer = self.issuer_of(&header, &parts)?;
        let judged = self.judge_claims(issuer, token, &header, &parts, now);
        judged.map_err(|fault| Refusal { fault, issuer: Some(Arc::clone(&issuer.name)) })
    }

    /// What is left to check once it is known whose the token is.
    fn judge_claims(
        &self,
        issuer: &Issuer,
        token: &str,
        header: &Header<'_>,
        parts: &Parts<'_>,
        now: UnixSeconds,
    ) -> Result<(Verified, Map<String, Value>), TicketFault> {
        if token.len() > issuer.policy.max_bytes {
            return Err(TicketFault::TooLong);
        }
        let claims = object_of_part(parts.claims).ok_or(TicketFault::UnreadableClaims)?;
        let verified = issuer.check_claims(header.typ, &claims, now)?;
        if self.is_anothers(issuer, verified.player.as_str()) {
            return Err(TicketFault::BadClaim("sub"));
        }
        Ok((verified, claims))
    }

    /// The first issuer with a key that has signed the token. Two issuers may have keys of one name.
    fn issuer_of(&self, header: &Header<'_>, parts: &Parts<'_>) -> Result<&Issuer, TicketFault> {
        let mut fault = TicketFault::UnknownKey;
        for issuer in &self.issuers {
            let Some(key) = issuer.ring.find(header.kid) else { continue };
            if header.alg != key.algorithm().name() {
                if fault == TicketFault::UnknownKey {
                    fault = TicketFault::AlgorithmMismatch;
                }
            } else if key.has_signed(parts.message, parts.signature) {
                return Ok(issuer);
            } else {
                fault = TicketFault::BadSignature;
            }
        }
        Err(fault)
    }

    /// Whether a player that this issuer names would be taken for one of another issuer, whose prefix is the longer.
    fn is_anothers(&self, issuer: &Issuer, player: &str) -> bool {
        let own = issuer.policy.player_prefix.len();
        let prefixes = self.issuers.iter().map(|other| other.policy.player_prefix.as_str());
        prefixes.into_iter().any(|prefix| prefix.len() > own && player.starts_with(prefix))
    }
}

impl Issuer {
    fn check_claims(
        &self,
        typ: Option<&str>,
        claims: &Map<String, Value>,
        now: UnixSeconds,
    ) -> Result<Verified, TicketFault> {
        let policy = &self.policy;
        let set = ClaimSet { claims, names: &policy.claims };
        let (issued_at, expires_at) = self.check_times(&set, now)?;
        let session_expires_at = set.optional_moment("session_exp")?;
        if session_expires_at.is_some_and(|end| end <= now) {
            return Err(TicketFault::Expired);
        }
        self.check_addressee(&set)?;
        policy.check_kind(typ, claims)?;
        let own = policy.kind == TokenKind::Ticket;
        let player = set.player(&policy.player_prefix, !own)?;
        let name = set.name()?;
        let jti = set.ticket_id()?;
        if jti.is_none() && (own || policy.single_use) {
            return Err(TicketFault::MissingClaim("jti"));
        }
        Ok(Verified {
            issuer: Arc::clone(&self.name),
            single_use: policy.single_use,
            player,
            name,
            facts: TicketFacts { jti, issued_at, session_expires_at },
            expires_at,
            burned_until: expires_at.plus(policy.leeway),
            grants: set.grants()?,
        })
    }

    /// `exp` is the first second at which a ticket is refused (RFC 7519 section 4.1.4), `nbf` and `iat` the first at
    /// which it is not; the leeway moves each edge outward by itself.
    fn check_times(&self, claims: &ClaimSet<'_>, now: UnixSeconds) -> Result<(UnixSeconds, UnixSeconds), TicketFault> {
        let expires_at = claims.moment("exp")?;
        let issued_at = claims.optional_moment("iat")?;
        if issued_at.is_none() && matches!(self.policy.kind, TokenKind::Ticket | TokenKind::SimpleJwtAccess) {
            return Err(TicketFault::MissingClaim("iat"));
        }
        let not_before = claims.optional_moment("nbf")?.unwrap_or_default();
        let leeway = self.policy.leeway;
        if now >= expires_at.plus(leeway) {
            return Err(TicketFault::Expired);
        }
        if now.plus(leeway) < issued_at.unwrap_or_default().max(not_before) {
            return Err(TicketFault::NotYetValid);
        }
        // A token that does not say since when it is good is from now at the latest, by the issuer's clock.
        let since = issued_at.unwrap_or(now.plus(leeway));
        let lifetime = Duration::from_secs(expires_at.0.saturating_sub(since.0));
        if lifetime > self.policy.max_lifetime {
            return Err(TicketFault::LifetimeTooLong);
        }
        let earliest = UnixSeconds(expires_at.0.saturating_sub(self.policy.max_lifetime.as_secs()));
        Ok((issued_at.unwrap_or(earliest), expires_at))
    }

    fn check_addressee(&self, claims: &ClaimSet<'_>) -> Result<(), TicketFault> {
        if let Some(issuer) = &self.policy.issuer
            && claims.text("iss")? != issuer
        {
            return Err(TicketFault::WrongIssuer);
        }
        match &self.policy.audience {
            Some(audience) if !claims.texts("aud")?.contains(&audience.as_str()) => {
                return Err(TicketFault::WrongAudience);
            }
            None if claims.optional_texts("aud")?.is_some() => return Err(TicketFault::WrongAudience),
            _ => {}
        }
        let Some(nodes) = claims.optional_texts("nodes")? else { return Ok(()) };
        let here = self.policy.node.as_deref();
        if here.is_some_and(|here| nodes.contains(&here)) { Ok(()) } else { Err(TicketFault::WrongNode) }
    }
}

/// The `kid` that a token claims to be signed by, unchecked: to look for the key, and for nothing else.
pub fn claimed_kid(token: &str) -> Option<String> {
    let header = object_of_part(Parts::of(token)?.header)?;
    header.get("kid")?.as_str().map(str::to_owned)
}

/// The parts of a compact JWS, still encoded.
struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    /// What is signed: header, dot, claims.
    message: &'a str,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let three = !claims.contains('.') && !header.is_empty() && !claims.is_empty();
        three.then_some(Self { header, claims, signature, message })
    }
}

/// The header members that count. All others are ignored, as RFC 7515 section 4 says.
struct Header<'a> {
    alg: &'a str,
    kid: Option<&'a str>,
    typ: Option<&'a str>,
}

impl<'a> Header<'a> {
    fn of(header: &'a Map<String, Value>) -> Result<Self, TicketFault> {
        if let Some(forbidden) = FORBIDDEN_HEADERS.into_iter().find(|name| header.contains_key(*name)) {
            return Err(TicketFault::ForbiddenHeader(forbidden));
        }
        let text = |name: &'static str| match header.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or(TicketFault::BadHeader(name)),
        };
        let alg = text("alg")?.ok_or(TicketFault::BadHeader("alg"))?;
        Ok(Self { alg, kid: text("kid")?, typ: text("typ")? })
    }
}

/// The first four bring a key of the token's own; `crit` asks for extensions, and none is understood here.
const FORBIDDEN_HEADERS: [&str; 5] = ["jku", "jwk", "x5u", "x5c", "crit"];
