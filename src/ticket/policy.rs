//! What a ticket must say to be accepted here.
//!
//! Owns: the settings and their defaults. Must not know: keys.

use std::time::Duration;

use serde::Deserialize;

/// What is asked of a ticket, beyond a good signature. The configuration's `[ticket]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TicketPolicy {
    /// The `iss` that a ticket must have, byte for byte. Default `muster`. Another: `wrong-issuer`.
    pub issuer: String,
    /// The `aud` that a ticket must have, or have among its list. Default `muster`. Another: `wrong-audience`.
    pub audience: String,
    /// The header's `typ` of a ticket. Default `muster-ticket+jwt`. Case and a leading `application/` do not count,
    /// as RFC 7515 section 4.1.9 says.
    pub typ: String,
    /// Whether `typ` must be there. Default false: absent and `JWT` pass too, since that is what plain JWT libraries
    /// write; any other kind of token (`at+jwt`, `logout+jwt`) is refused either way. Set it where the same key also
    /// signs other tokens for the same audience.
    pub require_typ: bool,
    /// How far the issuer's clock may be off, in seconds. Default 5, at most 60.
    #[serde(with = "crate::limits::seconds")]
    pub leeway: Duration,
    /// The longest time from `iat` to `exp`, in seconds. Default 120, at most a day. Over it: `lifetime-too-long`.
    #[serde(with = "crate::limits::seconds")]
    pub max_lifetime: Duration,
    /// The longest token, in bytes, checked before anything is decoded. Default 2,048, at most 16,384.
    pub max_bytes: usize,
    /// This node's name, for tickets whose claim `nodes` lists where they may be used. Default none: such tickets are
    /// refused (`wrong-node`). Tickets without the claim are good on every node.
    pub node: Option<String>,
}

impl TicketPolicy {
    /// The `typ` of muster's own tickets.
    pub const TYP: &'static str = "muster-ticket+jwt";

    /// Checks the bounds that the fields' types cannot hold.
    ///
    /// # Errors
    /// [`PolicyFault`] names the field and its bound.
    pub fn check(&self) -> Result<(), PolicyFault> {
        for (name, text) in [("issuer", &self.issuer), ("audience", &self.audience), ("typ", &self.typ)] {
            if text.is_empty() || text.len() > 256 {
                return Err(PolicyFault(name, "1 to 256 bytes of text"));
            }
        }
        if self.leeway > Duration::from_secs(60) {
            return Err(PolicyFault("leeway", "at most 60 seconds"));
        }
        if self.max_lifetime < Duration::from_secs(1) || self.max_lifetime > Duration::from_secs(86_400) {
            return Err(PolicyFault("max_lifetime", "between 1 and 86400 seconds"));
        }
        if !(256..=16_384).contains(&self.max_bytes) {
            return Err(PolicyFault("max_bytes", "between 256 and 16384 bytes"));
        }
        Ok(())
    }
}

impl Default for TicketPolicy {
    fn default() -> Self {
        Self {
            issuer: "muster".to_owned(),
            audience: "muster".to_owned(),
            typ: Self::TYP.to_owned(),
            require_typ: false,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_defaults_are_the_documented_ones_and_within_their_bounds() {
        let policy = TicketPolicy::default();
        assert_eq!(policy.check(), Ok(()));
        assert_eq!(policy, toml::from_str("").unwrap());
        assert_eq!((policy.leeway.as_secs(), policy.max_lifetime.as_secs(), policy.max_bytes), (5, 120, 2_048));
    }

    #[test]
    fn a_misspelt_field_and_one_out_of_bounds_are_refused() {
        assert!(toml::from_str::<TicketPolicy>("isuer = 'me'").is_err());
        assert!(toml::from_str::<TicketPolicy>("leeway = -1").is_err());
        for (text, field) in [
            ("issuer = ''", "issuer"),
            ("leeway = 61", "leeway"),
            ("max_lifetime = 0", "max_lifetime"),
            ("max_bytes = 1000000", "max_bytes"),
        ] {
            let policy: TicketPolicy = toml::from_str(text).unwrap();
            assert_eq!(policy.check().unwrap_err().0, field);
        }
    }
}
