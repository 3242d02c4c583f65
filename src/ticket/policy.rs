//! What a ticket must say to be accepted here.
//!
//! Owns: the settings and their defaults, and what sets one kind of token apart from another. Must not know: keys.

use std::time::Duration;

use serde_json::{Map, Value};

use super::TicketFault;
use super::paths::ClaimNames;

/// What is asked of a ticket, beyond a good signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketPolicy {
    /// Which tokens these are. Default muster's own tickets.
    pub kind: TokenKind,
    /// The `iss` that a ticket must have, byte for byte. Default `muster`. Another: `wrong-issuer`. None: not asked.
    pub issuer: Option<String>,
    /// The `aud` that a ticket must have, or have among its list. Default `muster`. Another: `wrong-audience`. None: a
    /// ticket must have none, since one that has is for somebody else (RFC 7519 section 4.1.3).
    pub audience: Option<String>,
    /// The header's `typ` of a ticket. Default `muster-ticket+jwt`. Case and a leading `application/` do not count,
    /// as RFC 7515 section 4.1.9 says.
    pub typ: String,
    /// Whether `typ` must be there. Default false: absent and `JWT` pass too, since that is what plain JWT libraries
    /// write; any other kind of token (`logout+jwt`) is refused either way. Set it where the same key also signs other
    /// tokens for the same audience.
    pub require_typ: bool,
    /// Where a token says what. Default as muster's own tickets.
    pub claims: ClaimNames,
    /// What is put before the player, so that two issuers never mean one player by one id. Default nothing.
    pub player_prefix: String,
    /// Whether a ticket opens one place only; then it must have a `jti`. Default true.
    pub single_use: bool,
    /// How far the issuer's clock may be off, in seconds. Default 5, at most 60.
    pub leeway: Duration,
    /// The longest time from `iat` to `exp`, in seconds. Default 120, at most a day. Over it: `lifetime-too-long`.
    pub max_lifetime: Duration,
    /// The longest token, in bytes, checked before anything is decoded. Default 2,048, at most 16,384.
    pub max_bytes: usize,
    /// This node's name, for tickets whose claim `nodes` lists where they may be used. Default none: such tickets are
    /// refused (`wrong-node`). Tickets without the claim are good on every node.
    pub node: Option<String>,
}

/// Which tokens an issuer's are: what they must have, and how one is told from the issuer's other tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// muster's own: `iss`, `aud`, `sub`, `jti`, `iat` and `exp`, each of its type.
    #[default]
    Ticket,
    /// Access tokens of djangorestframework-simplejwt: `token_type` is `access`.
    SimpleJwtAccess,
    /// What a service signs with a plain JWT library: `exp` and the player; `iat` and `jti` where it likes.
    Plain,
    /// Access tokens of an OpenID Connect provider (RFC 9068, or what providers issued before it). ID tokens are refused
    /// where they show what they are: `typ` or `token_use` in the claims, or a claim that ID tokens alone have.
    OidcAccess,
}

impl TicketPolicy {
    /// The `typ` of muster's own tickets.
    pub const TYP: &'static str = "muster-ticket+jwt";

    /// What is asked of a kind of token when nothing else is said. Of an [`TokenKind::OidcAccess`] an issuer and an
    /// audience should be asked too: its keys sign for everybody.
    pub fn of(kind: TokenKind) -> Self {
        let foreign = |typ: &str, claims| Self {
            kind,
            issuer: None,
            audience: None,
            typ: typ.to_owned(),
            claims,
            single_use: false,
            max_lifetime: Duration::from_secs(3_600),
            ..Self::default()
        };
        match kind {
            TokenKind::Ticket => Self::default(),
            TokenKind::SimpleJwtAccess => foreign("JWT", ClaimNames::only_player("user_id")),
            TokenKind::Plain => foreign("JWT", ClaimNames::only_player("sub")),
            TokenKind::OidcAccess => {
                let name = Some("preferred_username".into());
                foreign("at+jwt", ClaimNames { name, ..ClaimNames::only_player("sub") })
            }
        }
    }

    /// Checks the bounds that the fields' types cannot hold.
    ///
    /// # Errors
    /// [`PolicyFault`] names the field and its bound.
    pub fn check(&self) -> Result<(), PolicyFault> {
        let texts = [("issuer", &self.issuer), ("audience", &self.audience), ("typ", &Some(self.typ.clone()))];
        for (name, text) in texts {
            if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > 256) {
                return Err(PolicyFault(name, "1 to 256 bytes of text"));
            }
        }
        if self.leeway > Duration::from_secs(60) {
            return Err(PolicyFault("leeway", "at most 60 seconds"));
        }
        if self.max_lifetime < Duration::from_secs(1) || self.max_lifetime > Duration::from_secs(86_400) {
            return Err(PolicyFault("max_lifetime", "between 1 and 86400 seconds"));
        }
        if !(128..=16_384).contains(&self.max_bytes) {
            return Err(PolicyFault("max_bytes", "between 128 and 16384 bytes"));
        }
        Ok(())
    }

    /// Whether the header's `typ` and the claims are those of the kind that is asked for.
    pub(super) fn check_kind(&self, typ: Option<&str>, claims: &Map<String, Value>) -> Result<(), TicketFault> {
        let typ = typ.map(plain_type);
        let passes = match &typ {
            Some(typ) if *typ == plain_type(&self.typ) => true,
            Some(typ) => typ == "jwt" && !self.require_typ,
            None => !self.require_typ,
        };
        let text = |name: &str| claims.get(name).map(|value| value.as_str().unwrap_or_default());
        let fits = match self.kind {
            TokenKind::Ticket | TokenKind::Plain => true,
            TokenKind::SimpleJwtAccess => text("token_type") == Some("access"),
            TokenKind::OidcAccess => {
                // Keycloak writes the one, Cognito the other; where neither does, no access token has a hash of itself
                // or the nonce of a login.
                let said = [
                    text("typ").map(|typ| typ.eq_ignore_ascii_case("bearer")),
                    text("token_use").map(|u| u == "access"),
                ];
                let shown = said.contains(&Some(true)) || typ.as_deref() == Some("at+jwt");
                !said.contains(&Some(false))
                    && (shown || !ID_TOKEN_CLAIMS.iter().any(|name| claims.contains_key(*name)))
            }
        };
        if passes && fits { Ok(()) } else { Err(TicketFault::WrongType) }
    }
}

impl Default for TicketPolicy {
    fn default() -> Self {
        Self {
            kind: TokenKind::Ticket,
            issuer: Some("muster".to_owned()),
            audience: Some("muster".to_owned()),
            typ: Self::TYP.to_owned(),
            require_typ: false,
            claims: ClaimNames::default(),
            player_prefix: String::new(),
            single_use: true,
            leeway: Duration::from_secs(5),
            max_lifetime: Duration::from_secs(120),
            max_bytes: 2_048,
            node: None,
        }
    }
}

/// A field of the policy that is out of its bounds: the operator's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ticket.{0} must be {1}")]
pub struct PolicyFault(pub &'static str, pub &'static str);

/// A media type as it is compared: RFC 7515 section 4.1.9.
fn plain_type(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    lower.strip_prefix("application/").map(str::to_owned).unwrap_or(lower)
}

/// OpenID Connect Core 2 and 3.3.2.11: what ties an ID token to the login it came from.
const ID_TOKEN_CLAIMS: [&str; 4] = ["nonce", "at_hash", "c_hash", "s_hash"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn the_defaults_are_the_documented_ones_and_within_their_bounds() {
        let policy = TicketPolicy::default();
        assert_eq!((policy.leeway.as_secs(), policy.max_lifetime.as_secs(), policy.max_bytes), (5, 120, 2_048));
        let kinds = [TokenKind::Ticket, TokenKind::SimpleJwtAccess, TokenKind::Plain, TokenKind::OidcAccess];
        for kind in kinds {
            let policy = TicketPolicy::of(kind);
            assert_eq!((policy.check(), policy.kind), (Ok(()), kind));
            assert_eq!(policy.single_use, kind == TokenKind::Ticket);
        }
    }

    #[test]
    fn a_field_out_of_its_bounds_is_refused() {
        let bad = [
            ("issuer", TicketPolicy { issuer: Some(String::new()), ..TicketPolicy::default() }),
            ("typ", TicketPolicy { typ: "x".repeat(257), ..TicketPolicy::default() }),
            ("leeway", TicketPolicy { leeway: Duration::from_secs(61), ..TicketPolicy::default() }),
            ("max_lifetime", TicketPolicy { max_lifetime: Duration::ZERO, ..TicketPolicy::default() }),
            ("max_bytes", TicketPolicy { max_bytes: 1_000_000, ..TicketPolicy::default() }),
        ];
        for (field, policy) in bad {
            assert_eq!(policy.check().unwrap_err().0, field);
        }
    }

    #[test]
    fn an_id_token_is_told_from_an_access_token_by_what_it_shows() {
        let policy = TicketPolicy::of(TokenKind::OidcAccess);
        let judge = |typ: Option<&str>, claims: Value| policy.check_kind(typ, claims.as_object().unwrap()).is_ok();
        for (what, typ, claims) in [
            ("RFC 9068", Some("at+jwt"), json!({ "nonce": "n" })),
            ("RFC 9068, the long form", Some("application/AT+JWT"), json!({})),
            ("plain", Some("JWT"), json!({ "scope": "openid" })),
            ("no typ", None, json!({})),
            ("Keycloak", Some("JWT"), json!({ "typ": "Bearer", "nonce": "n" })),
            ("Cognito", None, json!({ "token_use": "access" })),
        ] {
            assert!(judge(typ, claims), "{what}");
        }
        for (what, typ, claims) in [
            ("Keycloak's ID token", Some("JWT"), json!({ "typ": "ID" })),
            ("Keycloak's refresh token", Some("JWT"), json!({ "typ": "Refresh" })),
            ("Cognito's ID token", None, json!({ "token_use": "id" })),
            ("an ID token of the code flow", Some("JWT"), json!({ "nonce": "n" })),
            ("an ID token with a hash", None, json!({ "at_hash": "h" })),
            ("a typ that is no text", None, json!({ "typ": 1 })),
            ("says both", Some("at+jwt"), json!({ "typ": "ID" })),
            ("a logout token", Some("logout+jwt"), json!({})),
        ] {
            assert!(!judge(typ, claims), "{what}");
        }
    }
}
