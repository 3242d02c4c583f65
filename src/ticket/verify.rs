//! Decides whether a token is a ticket for this server, now.
//!
//! Owns: the order of the checks, cheapest first: size, header shape, key and algorithm, signature, times, issuer,
//! audience and kind, what it binds to. Must not know: whether the ticket was used or revoked; that is asked later,
//! when there is a place to give.

use std::time::Duration;

use serde_json::{Map, Value};

use super::claims::ClaimSet;
use super::strict_json::object_of_part;
use super::{KeyRing, TicketFacts, TicketFault, TicketPolicy, UnixSeconds, Verified};

/// Verifies tickets against one key ring and one policy. It holds no other state: to change keys, build another one.
#[derive(Clone, Debug)]
pub struct Verifier {
    ring: KeyRing,
    policy: TicketPolicy,
}

impl Verifier {
    /// A verifier for tickets that a key of `ring` has signed and that say what `policy` asks.
    pub fn new(ring: KeyRing, policy: TicketPolicy) -> Self {
        Self { ring, policy }
    }

    /// The keys.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// What is asked of a ticket.
    pub fn policy(&self) -> &TicketPolicy {
        &self.policy
    }

    /// Checks a token at the moment `now`.
    ///
    /// # Errors
    /// The first check that failed. Nothing of the claims is looked at before the signature is known to be good.
    pub fn verify(&self, token: &str, now: UnixSeconds) -> Result<Verified, TicketFault> {
        self.verify_with_claims(token, now).map(|(verified, _)| verified)
    }

    /// As [`Self::verify`], and hands out all claims of the token, the unknown ones too.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_with_claims(
        &self,
        token: &str,
        now: UnixSeconds,
    ) -> Result<(Verified, Map<String, Value>), TicketFault> {
        if token.len() > self.policy.max_bytes {
            return Err(TicketFault::TooLong);
        }
        let parts = Parts::of(token).ok_or(TicketFault::NotAToken)?;
        let header = object_of_part(parts.header).ok_or(TicketFault::NotAToken)?;
        let header = Header::of(&header)?;
        let key = self.ring.find(header.kid).ok_or(TicketFault::UnknownKey)?;
        if header.alg != key.algorithm().name() {
            return Err(TicketFault::AlgorithmMismatch);
        }
        if !key.has_signed(parts.message, parts.signature) {
            return Err(TicketFault::BadSignature);
        }
        let claims = object_of_part(parts.claims).ok_or(TicketFault::UnreadableClaims)?;
        let verified = self.check_claims(header.typ, &ClaimSet(&claims), now)?;
        Ok((verified, claims))
    }

    fn check_claims(
        &self,
        typ: Option<&str>,
        claims: &ClaimSet<'_>,
        now: UnixSeconds,
    ) -> Result<Verified, TicketFault> {
        let (issued_at, expires_at) = self.check_times(claims, now)?;
        let session_expires_at = claims.optional_moment("session_exp")?;
        if session_expires_at.is_some_and(|end| end <= now) {
            return Err(TicketFault::Expired);
        }
        self.check_addressee(claims)?;
        self.check_typ(typ)?;
        Ok(Verified {
            player: claims.player()?,
            name: claims.name()?,
            facts: TicketFacts { jti: Some(claims.ticket_id()?), issued_at, session_expires_at },
            expires_at,
            burned_until: expires_at.plus(self.policy.leeway),
            grants: claims.grants()?,
        })
    }

    /// `exp` is the first second at which a ticket is refused (RFC 7519 section 4.1.4), `nbf` and `iat` the first at
    /// which it is not; the leeway moves each edge outward by itself.
    fn check_times(&self, claims: &ClaimSet<'_>, now: UnixSeconds) -> Result<(UnixSeconds, UnixSeconds), TicketFault> {
        let expires_at = claims.moment("exp")?;
        let issued_at = claims.moment("iat")?;
        let not_before = claims.optional_moment("nbf")?.unwrap_or_default();
        let leeway = self.policy.leeway;
        if now >= expires_at.plus(leeway) {
            return Err(TicketFault::Expired);
        }
        if now.plus(leeway) < issued_at.max(not_before) {
            return Err(TicketFault::NotYetValid);
        }
        let lifetime = Duration::from_secs(expires_at.0.saturating_sub(issued_at.0));
        if lifetime > self.policy.max_lifetime {
            return Err(TicketFault::LifetimeTooLong);
        }
        Ok((issued_at, expires_at))
    }

    fn check_addressee(&self, claims: &ClaimSet<'_>) -> Result<(), TicketFault> {
        if claims.text("iss")? != self.policy.issuer {
            return Err(TicketFault::WrongIssuer);
        }
        if !claims.texts("aud")?.contains(&self.policy.audience.as_str()) {
            return Err(TicketFault::WrongAudience);
        }
        let Some(nodes) = claims.optional_texts("nodes")? else { return Ok(()) };
        let here = self.policy.node.as_deref();
        if here.is_some_and(|here| nodes.contains(&here)) { Ok(()) } else { Err(TicketFault::WrongNode) }
    }

    fn check_typ(&self, typ: Option<&str>) -> Result<(), TicketFault> {
        let plain = |text: &str| {
            let lower = text.to_ascii_lowercase();
            lower.strip_prefix("application/").map(str::to_owned).unwrap_or(lower)
        };
        let passes = match typ.map(plain) {
            Some(typ) if typ == plain(&self.policy.typ) => true,
            Some(typ) => typ == "jwt" && !self.policy.require_typ,
            None => !self.policy.require_typ,
        };
        if passes { Ok(()) } else { Err(TicketFault::WrongType) }
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
