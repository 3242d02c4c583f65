//! What a backend says of a player who comes without a ticket, read as the claims of one.
//!
//! Owns: which claims count. Must not know: how the backend was asked.

use super::claims::ClaimSet;
use super::strict_json::Object;
use super::{ClaimNames, TicketFacts, TicketFault, UnixSeconds, Verified};

impl Verified {
    /// What logs and metrics call a backend that is asked.
    pub const ASKED: &str = "forward";

    /// Reads a JSON object with `sub`, a text or a whole number, and as a ticket may have them: `name`, `role`, `game`, `lobby`, `session`,
    /// `session_exp` and what else grants something, each with the bounds that it has in a ticket. It can neither be burned nor
    /// revoked by its id; it counts as issued at `now`.
    ///
    /// # Errors
    /// [`TicketFault`] with the claim that is missing or malformed, and for a `session_exp` that has passed.
    pub fn from_answer(text: &[u8], now: UnixSeconds) -> Result<Self, TicketFault> {
        let object: Object = serde_json::from_slice(text).map_err(|_| TicketFault::UnreadableClaims)?;
        let names = ClaimNames::default();
        let claims = ClaimSet { claims: &object.0, names: &names };
        let session_expires_at = claims.optional_moment("session_exp")?;
        if session_expires_at.is_some_and(|end| end <= now) {
            return Err(TicketFault::Expired);
        }
        Ok(Self {
            issuer: Self::ASKED.into(),
            single_use: false,
            // Many backends number their users.
            player: claims.player("", true)?,
            name: claims.name()?,
            facts: TicketFacts { jti: None, issued_at: now, session_expires_at },
            expires_at: now,
            burned_until: now,
            grants: claims.grants()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ticket::Role;

    const NOW: UnixSeconds = UnixSeconds(1_000);

    #[test]
    fn an_answer_says_what_a_ticket_would() {
        let text = br#"{"sub":"7","name":"Ada","role":"spectator","game":"arena","session_exp":1001,"email":"x"}"#;
        let verified = Verified::from_answer(text, NOW).unwrap();
        assert_eq!((verified.player.as_str(), verified.name.as_deref()), ("7", Some("Ada")));
        assert_eq!((verified.grants.role, verified.facts.jti), (Role::Spectator, None));
        assert_eq!(verified.facts.session_expires_at, Some(UnixSeconds(1_001)));
        assert_eq!(Verified::from_answer(br#"{"sub":7}"#, NOW).unwrap().player, verified.player);
    }

    #[test]
    fn nonsense_is_refused_with_what_is_wrong() {
        let fault = |text: &str| Verified::from_answer(text.as_bytes(), NOW).unwrap_err();
        for text in ["", "<html>", "[]", "null", "7", r#"{"sub":"a","sub":"b"}"#] {
            assert_eq!(fault(text), TicketFault::UnreadableClaims, "{text}");
        }
        assert_eq!(fault("{}"), TicketFault::MissingClaim("sub"));
        assert_eq!(fault(r#"{"sub":7.5}"#), TicketFault::BadClaim("sub"));
        assert_eq!(fault(r#"{"sub":null}"#), TicketFault::BadClaim("sub"));
        assert_eq!(fault(r#"{"sub":"a","role":"admin"}"#), TicketFault::BadClaim("role"));
        assert_eq!(fault(r#"{"sub":"a","session_exp":1000}"#), TicketFault::Expired);
    }
}
