//! What a verified ticket says: who the player is, and what it may join.
//!
//! Owns: reading claims into types, each with its bound. Must not know: signatures; it is called after they are checked.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::paths::ClaimPath;
use super::{Action, Actions, ClaimNames, TicketFault, TicketId, UnixSeconds};
use crate::ids::{GameName, JoinCode, LobbyId, PlayerId, SessionId};

/// A ticket that passed every check. It holds nothing of the token itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// What its issuer is called here.
    pub issuer: Arc<str>,
    /// Whether it opens one place only: then it is burned when it gets one. It has a `jti`.
    pub single_use: bool,
    /// `sub`, or what its issuer calls the player, after the issuer's prefix.
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
    /// `iat`. Of a token without one, the earliest moment that it can be from: its `exp` less the longest lifetime that
    /// its issuer may give.
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
    /// `actions`: all that the player may do besides joining and leaving, as far as its role allows. None: all of it.
    pub actions: Option<Actions>,
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

    /// Whether the ticket says nothing against this action. The role and the lobby's rules are asked besides.
    pub fn allows(&self, action: Action) -> bool {
        self.actions.is_none_or(|actions| actions.contains(action))
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

/// The claims of one token, read one by one. A fault names a claim as muster's own tickets do, wherever it stood.
pub(super) struct ClaimSet<'a> {
    pub claims: &'a Map<String, Value>,
    pub names: &'a ClaimNames,
}

impl<'a> ClaimSet<'a> {
    /// A required moment: a whole number, not negative. Fractions are refused, since no two libraries round alike.
    pub fn moment(&self, name: &'static str) -> Result<UnixSeconds, TicketFault> {
        self.optional_moment(name)?.ok_or(TicketFault::MissingClaim(name))
    }

    pub fn optional_moment(&self, name: &'static str) -> Result<Option<UnixSeconds>, TicketFault> {
        let Some(value) = self.claims.get(name) else { return Ok(None) };
        value.as_u64().map(|seconds| Some(UnixSeconds(seconds))).ok_or(TicketFault::BadClaim(name))
    }

    pub fn text(&self, name: &'static str) -> Result<&'a str, TicketFault> {
        let value = self.claims.get(name).ok_or(TicketFault::MissingClaim(name))?;
        value.as_str().ok_or(TicketFault::BadClaim(name))
    }

    /// A required list of texts; a single text counts as a list of one, as RFC 7519 section 4.1.3 allows for `aud`.
    pub fn texts(&self, name: &'static str) -> Result<Vec<&'a str>, TicketFault> {
        self.optional_texts(name)?.ok_or(TicketFault::MissingClaim(name))
    }

    pub fn optional_texts(&self, name: &'static str) -> Result<Option<Vec<&'a str>>, TicketFault> {
        let Some(value) = self.claims.get(name) else { return Ok(None) };
        let texts = match value {
            Value::String(text) => Some(vec![text.as_str()]),
            Value::Array(items) => items.iter().map(Value::as_str).collect(),
            _ => None,
        };
        texts.filter(|texts| !texts.is_empty()).map(Some).ok_or(TicketFault::BadClaim(name))
    }

    /// Who the player is, after `prefix`. With `numbers` a whole number counts as its digits: that is what a table's key is.
    pub fn player(&self, prefix: &str, numbers: bool) -> Result<PlayerId, TicketFault> {
        let value = self.names.player.find(self.claims).ok_or(TicketFault::MissingClaim("sub"))?;
        let id = match value {
            Value::String(text) if prefix.is_empty() => PlayerId::new(text),
            // By itself first, or white space at its start would hide behind the prefix.
            Value::String(text) => PlayerId::new(text).and_then(|_| PlayerId::new(&format!("{prefix}{text}"))),
            Value::Number(number) if numbers && !number.is_f64() => PlayerId::new(&format!("{prefix}{number}")),
            _ => return Err(TicketFault::BadClaim("sub")),
        };
        id.map_err(|_| TicketFault::BadClaim("sub"))
    }

    pub fn ticket_id(&self) -> Result<Option<TicketId>, TicketFault> {
        if !self.claims.contains_key("jti") {
            return Ok(None);
        }
        TicketId::new(self.text("jti")?).map(Some).map_err(|_| TicketFault::BadClaim("jti"))
    }

    pub fn name(&self) -> Result<Option<String>, TicketFault> {
        self.parsed("name", &self.names.name, |text| bounded(text, MAX_NAME_BYTES))
    }

    pub fn grants(&self) -> Result<Grants, TicketFault> {
        let names = self.names;
        let role = |text: &str| Role::ALL.into_iter().find(|role| role.as_str() == text);
        Ok(Grants {
            role: self.parsed("role", &names.role, role)?.unwrap_or_default(),
            game: self.parsed("game", &names.game, |text| GameName::new(text).ok())?,
            lobby: self.parsed("lobby", &names.lobby, lobby_binding)?,
            session: self.parsed("session", &names.session, |text| text.parse().ok())?,
            actions: self.actions()?,
            rating: self.rating()?,
            party: self.parsed("party", &names.party, |text| bounded(text, MAX_PARTY_BYTES))?,
        })
    }

    /// A list that may be empty. A name that is no action is refused: left out, a slip of the pen would be a right less.
    fn actions(&self) -> Result<Option<Actions>, TicketFault> {
        let bad = TicketFault::BadClaim("actions");
        let Some(value) = self.at(&self.names.actions) else { return Ok(None) };
        let named = |item: &Value| Action::ALL.into_iter().find(|action| item.as_str() == Some(action.as_str()));
        value.as_array().ok_or(bad)?.iter().map(named).collect::<Option<Actions>>().map(Some).ok_or(bad)
    }

    fn rating(&self) -> Result<Option<f64>, TicketFault> {
        let Some(value) = self.at(&self.names.rating) else { return Ok(None) };
        value.as_f64().filter(|rating| rating.is_finite()).map(Some).ok_or(TicketFault::BadClaim("rating"))
    }

    fn parsed<T>(
        &self,
        name: &'static str,
        path: &Option<ClaimPath>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, TicketFault> {
        let Some(value) = self.at(path) else { return Ok(None) };
        value.as_str().and_then(parse).map(Some).ok_or(TicketFault::BadClaim(name))
    }

    fn at(&self, path: &Option<ClaimPath>) -> Option<&'a Value> {
        path.as_ref()?.find(self.claims)
    }
}

fn bounded(text: &str, max_bytes: usize) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= max_bytes && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
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
        ClaimSet { claims: claims.as_object().unwrap(), names: &ClaimNames::default() }.grants()
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
    fn a_list_of_actions_allows_what_it_lists_and_no_list_allows_all() {
        let some = grants(serde_json::json!({ "actions": ["chat", "pass-host"] })).unwrap();
        assert!(some.allows(Action::Chat) && some.allows(Action::PassHost) && !some.allows(Action::Kick));
        let none = grants(serde_json::json!({ "actions": [] })).unwrap();
        assert!(Action::ALL.into_iter().all(|action| !none.allows(action) && Grants::default().allows(action)));
        for bad in [serde_json::json!(["Chat"]), serde_json::json!("chat"), serde_json::json!([1]), Value::Null] {
            assert_eq!(grants(serde_json::json!({ "actions": bad })), Err(TicketFault::BadClaim("actions")));
        }
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
