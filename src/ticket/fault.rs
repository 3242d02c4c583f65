//! Why a ticket was refused: for logs, metrics and `--explain`.
//!
//! Owns: the closed list. Must not know: the wire, which says `bad-ticket` (4401) for all of them.

/// The first check that a ticket failed. No variant holds anything of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TicketFault {
    /// More bytes than the policy's `max_bytes`; nothing was decoded.
    #[error("the token is longer than is allowed")]
    TooLong,
    /// Not three base64url parts with a JSON object in the first.
    #[error("this is not a signed JWT in compact form")]
    NotAToken,
    /// A header member that would bring its own key or asks for an extension: `jku`, `jwk`, `x5u`, `x5c`, `crit`.
    #[error("the header holds `{0}`, which is never allowed")]
    ForbiddenHeader(&'static str),
    /// A header member that is missing or is not a string.
    #[error("the header's `{0}` is missing or not a string")]
    BadHeader(&'static str),
    /// The `kid` names no key of the ring, or is absent while the ring holds several keys.
    #[error("no key in force has the token's `kid`")]
    UnknownKey,
    /// The header's `alg` is not the algorithm of the key.
    #[error("the token's `alg` is not the algorithm of its key")]
    AlgorithmMismatch,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    BadSignature,
    /// Signed, but the claims are not a JSON object with unique names and representable numbers.
    #[error("the claims are not a JSON object with unique names")]
    UnreadableClaims,
    /// `exp`, or `session_exp`, has passed. The signature was good.
    #[error("the ticket has expired")]
    Expired,
    /// `nbf` or `iat` lies in the future.
    #[error("the ticket is not valid yet: its `iat` or `nbf` is ahead of this clock")]
    NotYetValid,
    /// `exp` lies further behind `iat` than the policy's `max_lifetime`.
    #[error("the ticket's lifetime is longer than is allowed")]
    LifetimeTooLong,
    /// `iss` is another issuer.
    #[error("the ticket is from another issuer")]
    WrongIssuer,
    /// `aud` does not name this server.
    #[error("the ticket is for another audience")]
    WrongAudience,
    /// The header's `typ` is that of another kind of token.
    #[error("the token is of another kind: its `typ` is not that of a ticket")]
    WrongType,
    /// `nodes` does not list this node.
    #[error("the ticket is for other nodes")]
    WrongNode,
    /// A required claim is not there.
    #[error("the claim {} is missing", named(.0))]
    MissingClaim(&'static str),
    /// A claim of the wrong type, out of its bounds, or not a valid identifier.
    #[error("the claim {} is not of the right type or form", named(.0))]
    BadClaim(&'static str),
}

/// A claim as its issuer may know it: some stand in others for those that a ticket has.
fn named(claim: &str) -> String {
    let mapped = matches!(claim, "sub" | "name" | "role" | "game" | "lobby" | "actions");
    format!("`{claim}`{}", if mapped { ", or the one that stands for it," } else { "" })
}

impl TicketFault {
    /// A stable name in ASCII, for logs and metric labels.
    pub fn slug(self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::NotAToken => "not-a-token",
            Self::ForbiddenHeader(_) => "forbidden-header",
            Self::BadHeader(_) => "bad-header",
            Self::UnknownKey => "unknown-key",
            Self::AlgorithmMismatch => "algorithm-mismatch",
            Self::BadSignature => "bad-signature",
            Self::UnreadableClaims => "unreadable-claims",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::LifetimeTooLong => "lifetime-too-long",
            Self::WrongIssuer => "wrong-issuer",
            Self::WrongAudience => "wrong-audience",
            Self::WrongType => "wrong-type",
            Self::WrongNode => "wrong-node",
            Self::MissingClaim(_) => "missing-claim",
            Self::BadClaim(_) => "bad-claim",
        }
    }

    /// Whether the ticket was genuine and is merely too old: the one detail that a client may be told, since only
    /// the holder of a well-signed ticket learns it, and it is what tells it to fetch a fresh one.
    pub fn is_expired_but_genuine(self) -> bool {
        self == Self::Expired
    }
}
