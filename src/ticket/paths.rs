//! Where a token says what: the names of claims, and paths into nested ones.
//!
//! Owns: the names and how a path is followed. Must not know: what a value must be; that is the `claims` module's.

use std::fmt;

use serde_json::{Map, Value};

/// The place of a claim: its name, or from `/` on a JSON pointer (RFC 6901) into nested claims: `/realm_access/player`.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimPath(Box<str>);

impl ClaimPath {
    /// What is there, if something is. Of a claim with several names the path says which; none is searched for.
    pub(super) fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let Some(pointer) = self.0.strip_prefix('/') else { return claims.get(&*self.0) };
        let end = pointer.find('/').unwrap_or(pointer.len());
        let (first, rest) = pointer.split_at(end);
        claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
    }
}

impl From<&str> for ClaimPath {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a token says what. What is `None` is not looked for: the token may have a claim of that name that means
/// something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// Who the player is.
    pub player: ClaimPath,
    /// Its name.
    pub name: Option<ClaimPath>,
    /// `player`, `spectator` or `host`.
    pub role: Option<ClaimPath>,
    /// The only game.
    pub game: Option<ClaimPath>,
    /// The only lobby.
    pub lobby: Option<ClaimPath>,
    /// The only session.
    pub session: Option<ClaimPath>,
    /// The only actions.
    pub actions: Option<ClaimPath>,
    /// The strength for matchmaking.
    pub rating: Option<ClaimPath>,
    /// Who is kept together.
    pub party: Option<ClaimPath>,
}

impl ClaimNames {
    /// A token that says who the player is, and nothing else to muster.
    pub fn only_player(claim: &str) -> Self {
        Self {
            player: claim.into(),
            name: None,
            role: None,
            game: None,
            lobby: None,
            session: None,
            actions: None,
            rating: None,
            party: None,
        }
    }
}

impl Default for ClaimNames {
    fn default() -> Self {
        let claim = |name: &str| Some(ClaimPath::from(name));
        Self {
            player: "sub".into(),
            name: claim("name"),
            role: claim("role"),
            game: claim("game"),
            lobby: claim("lobby"),
            session: claim("session"),
            actions: claim("actions"),
            rating: claim("rating"),
            party: claim("party"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_a_name_or_a_pointer_into_nested_claims() {
        let claims = json!({
            "sub": "a", "a/b": "b", "m~n": { "x": "c" }, "https://game.example/player": "d",
            "realm": { "roles": ["e", "f"] }, "": "g",
        });
        let claims = claims.as_object().unwrap();
        let find = |path: &str| ClaimPath::from(path).find(claims).and_then(Value::as_str);
        assert_eq!(find("sub"), Some("a"));
        assert_eq!(find("/sub"), Some("a"));
        assert_eq!(find("/a~1b"), Some("b"));
        assert_eq!(find("/m~0n/x"), Some("c"));
        assert_eq!(find("https://game.example/player"), Some("d"), "a name with slashes is a name");
        assert_eq!(find("/realm/roles/1"), Some("f"));
        for nowhere in ["/realm/roles/2", "/realm/nothing", "/sub/a", "nothing", "/Sub", "realm.roles"] {
            assert_eq!(find(nowhere), None, "{nowhere}");
        }
    }
}
