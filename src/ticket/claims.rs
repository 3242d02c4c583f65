//! What a verified ticket says: who the player is, and what it may join.
//!
//! Owns: reading claims into types, each with its bound. Must not know: signatures; it is called after they are checked.

use serde_json::{Map, Value};

use super::{TicketFault, TicketId, UnixSeconds};
use crate::ids::{GameName, JoinCode, LobbyId, PlayerId, SessionId};

/// A ticket that passed every check. It holds nothing of the token itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// `sub`.
    pub player: PlayerId,
    /// `name`: 1 to 128 bytes without control characters. Not yet fit to be shown: the rule for names is the lobby's.
    pub name: Option<String>,
    /// What is known of the ticket for as long as its player is here.
    pub facts: TicketFacts,
    /// `exp`.
    pub expires_at: UnixSeconds,
    /// The first moment at which no clock within the leeway accepts the ticket any more: how long to keep it burned.
    pub burned_until: UnixSeconds,
    /// What the ticket allows.
    pub grants: Grants,
}

/// By what a player is here: enough to find it again when its ticket is revoked, and to know when to ask for another.
/// It opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketFacts {
    /// `jti`: what is burned when the ticket gets its place. None: the issuer gives none, so that it cannot be burned.
    pub jti: Option<TicketId>,
    /// `iat`.
    pub issued_at: UnixSeconds,
    /// `session_exp`: when the player must have shown a fresh ticket. None: the ticket sets no end.
    pub session_expires_at: Option<UnixSeconds>,
}

/// What a ticket allows. An absent binding allows every value; the role is `player` when nothing is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grants {
    /// `role`.
    pub role: Role,
    /// `game`: the only game it opens.
    pub game: Option<GameName>,
    /// `lobby`: the only lobby it opens.
    pub lobby: Option<LobbyBinding>,
    /// `session`: the only game session it opens.
    pub session: Option<SessionId>,
    /// `rating`: the player's strength for matchmaking; finite.
    pub rating: Option<f64>,
    /// `party`: players with the same party are kept together; 1 to 64 bytes without control characters.
    pub party: Option<String>,
}

impl Grants {
    /// Whether the ticket opens this game.
    pub fn allows_game(&self, game: &GameName) -> bool {
        self.game.as_ref().is_none_or(|bound| bound == game)
    }

    /// Whether the ticket opens the lobby with this id and code.
    pub fn allows_lobby(&self, id: LobbyId, code: JoinCode) -> bool {
        match self.lobby {
            None => true,
            Some(LobbyBinding::Id(bound)) => bound == id,
            Some(LobbyBinding::Code(bound)) => bound == code,
        }
    }

    /// Whether the ticket opens this game session.
    pub fn allows_session(&self, session: SessionId) -> bool {
        self.session.is_none_or(|bound| bound == session)
    }

    /// Whether the ticket may open a lobby that is not there yet: not when it is bound to one that is.
    pub fn allows_creating(&self) -> bool {
        self.lobby.is_none() && self.session.is_none() && self.role != Role::Spectator
    }
}

/// What a player is in its lobby.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// `player`: takes a seat.
    #[default]
    Player,
    /// `spectator`: watches, and takes none.
    Spectator,
    /// `host`: a player who may also run the lobby.
    Host,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Player, Self::Spectator, Self::Host];

    /// The claim's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Player => "player",
            Self::Spectator => "spectator",
            Self::Host => "host",
        }
    }
}

/// How a ticket names its lobby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LobbyBinding {
    /// By id: 32 hexadecimal digits.
    Id(LobbyId),
    /// By join code: six letters.
    Code(JoinCode),
}

/// The claims of one token, read one by one.
pub(super) struct ClaimSet<'a>(pub &'a Map<String, Value>);

impl<'a> ClaimSet<'a> {
    /// A required moment: a whole number, not negative. Fractions are refused, since no two libraries round alike.
    pub fn moment(&self, name: &'static str) -> Result<UnixSeconds, TicketFault> {
        self.optional_moment(name)?.ok_or(TicketFault::MissingClaim(name))
    }

    pub fn optional_moment(&self, name: &'static str) -> Result<Option<UnixSeconds>, TicketFault> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.as_u64().map(|seconds| Some(UnixSeconds(seconds))).ok_or(TicketFault::BadClaim(name))
    }

    pub fn text(&self, name: &'static str) -> Result<&'a str, TicketFault> {
        self.optional_text(name)?.ok_or(TicketFault::MissingClaim(name))
    }

    fn optional_text(&self, name: &'static str) -> Result<Option<&'a str>, TicketFault> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or(TicketFault::BadClaim(name))
    }

    /// A required list of texts; a single text counts as a list of one, as RFC 7519 section 4.1.3 allows for `aud`.
    pub fn texts(&self, name: &'static str) -> Result<Vec<&'a str>, TicketFault> {
        self.optional_texts(name)?.ok_or(TicketFault::MissingClaim(name))
    }

    pub fn optional_texts(&self, name: &'static str) -> Result<Option<Vec<&'a str>>, TicketFault> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let texts = match value {
            Value::String(text) => Some(vec![text.as_str()]),
            Value::Array(items) => items.iter().map(Value::as_str).collect(),
            _ => None,
        };
        texts.filter(|texts| !texts.is_empty()).map(Some).ok_or(TicketFault::BadClaim(name))
    }

    pub fn player(&self) -> Result<PlayerId, TicketFault> {
        PlayerId::new(self.text("sub")?).map_err(|_| TicketFault::BadClaim("sub"))
    }

    pub fn ticket_id(&self) -> Result<TicketId, TicketFault> {
        TicketId::new(self.text("jti")?).map_err(|_| TicketFault::BadClaim("jti"))
    }

    pub fn name(&self) -> Result<Option<String>, TicketFault> {
        self.bounded_text("name", MAX_NAME_BYTES)
    }

    pub fn grants(&self) -> Result<Grants, TicketFault> {
        Ok(Grants {
            role: self.role()?,
            game: self.parsed("game", |text| GameName::new(text).ok())?,
            lobby: self.parsed("lobby", lobby_binding)?,
            session: self.parsed("session", |text| text.parse().ok())?,
            rating: self.rating()?,
            party: self.bounded_text("party", MAX_PARTY_BYTES)?,
        })
    }

    fn role(&self) -> Result<Role, TicketFault> {
        let role = self.parsed("role", |text| Role::ALL.into_iter().find(|role| role.as_str() == text))?;
        Ok(role.unwrap_or_default())
    }

    fn rating(&self) -> Result<Option<f64>, TicketFault> {
        let Some(value) = self.0.get("rating") else { return Ok(None) };
        value.as_f64().filter(|rating| rating.is_finite()).map(Some).ok_or(TicketFault::BadClaim("rating"))
    }

    fn bounded_text(&self, name: &'static str, max_bytes: usize) -> Result<Option<String>, TicketFault> {
        self.parsed(name, |text| {
            let fits = !text.is_empty() && text.len() <= max_bytes && !text.chars().any(char::is_control);
            fits.then(|| text.to_owned())
        })
    }

    fn parsed<T>(&self, name: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, TicketFault> {
        let Some(text) = self.optional_text(name)? else { return Ok(None) };
        parse(text).map(Some).ok_or(TicketFault::BadClaim(name))
    }
}

fn lobby_binding(text: &str) -> Option<LobbyBinding> {
    let by_id = || text.parse().ok().map(LobbyBinding::Id);
    let by_code = || text.parse().ok().map(LobbyBinding::Code);
    by_id().or_else(by_code)
}

const MAX_NAME_BYTES: usize = 128;
const MAX_PARTY_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn grants(claims: serde_json::Value) -> Result<Grants, TicketFault> {
        ClaimSet(claims.as_object().unwrap()).grants()
    }

    #[test]
    fn a_ticket_for_one_lobby_opens_no_other() {
        let (a, b) = (LobbyId(0xa), LobbyId(0xb));
        let (code_a, code_b) = (JoinCode::from_random(1), JoinCode::from_random(2));
        let by_id = grants(serde_json::json!({ "lobby": a.to_string() })).unwrap();
        assert!(by_id.allows_lobby(a, code_a) && !by_id.allows_lobby(b, code_a));
        let by_code = grants(serde_json::json!({ "lobby": code_a.as_str() })).unwrap();
        assert!(by_code.allows_lobby(a, code_a) && !by_code.allows_lobby(a, code_b));
        assert!(!by_id.allows_creating() && !by_code.allows_creating());
        assert!(Grants::default().allows_lobby(b, code_b) && Grants::default().allows_creating());
    }

    #[test]
    fn a_ticket_for_one_game_or_session_opens_no_other() {
        let bound = grants(serde_json::json!({ "game": "arena", "session": SessionId(7).to_string() })).unwrap();
        assert!(bound.allows_game(&GameName::new("arena").unwrap()));
        assert!(!bound.allows_game(&GameName::new("relay").unwrap()));
        assert!(bound.allows_session(SessionId(7)) && !bound.allows_session(SessionId(8)));
    }

    #[test]
    fn a_binding_that_cannot_be_read_is_never_taken_for_none() {
        let long = "x".repeat(129);
        for (name, bad) in
            [("role", "Host"), ("role", ""), ("game", "Arena"), ("lobby", "ABC"), ("session", "7"), ("party", &long)]
        {
            assert_eq!(grants(serde_json::json!({ name: bad })), Err(TicketFault::BadClaim(name)), "{name}={bad}");
        }
        assert_eq!(grants(serde_json::json!({ "rating": "1500" })), Err(TicketFault::BadClaim("rating")));
        assert_eq!(grants(serde_json::json!({ "rating": 1500 })).unwrap().rating, Some(1500.0));
    }
}
