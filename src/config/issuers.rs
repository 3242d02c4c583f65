//! The `[[issuers]]` tables: whose tokens are accepted beside muster's own tickets, and how they are read.
//!
//! Owns: the shape of a table, what each profile stands for, and whether a table can be served with. Must not know: keys,
//! tokens. Invariant: a field that is not set is what the profile says; nothing else fills it in.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::origin::is_loopback_authority;
use super::settings::Carrier;
use crate::ticket::Algorithm;

/// One `[[issuers]]` table. What is `None` is as the profile says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// What logs and metrics call the issuer: 1 to 32 of a-z, 0-9 and -. Required.
    pub name: String,
    /// Whose tokens these are. Required: it sets the defaults of all that follows.
    pub profile: Profile,
    /// Files and directories of keys. Default none; then `jwks_url` is required.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<PathBuf>,
    /// Where the issuer publishes its keys. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// The only algorithms whose keys are accepted. Default none: whatever the keys are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<Algorithm>>,
    /// The `iss` to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The `aud` to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The header's `typ` to insist on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// The claim that is the player.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub player: Option<String>,
    /// What is put before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub player_prefix: String,
    /// The claim that is the player's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub player_name: Option<String>,
    /// The claim that is the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The claim that binds to a game.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub game: Option<String>,
    /// The claim that binds to a lobby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lobby: Option<String>,
    /// The claim that lists what the player may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<String>,
    /// Whether a token opens one place only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_use: Option<bool>,
    /// The longest time from `iat` to `exp`.
    #[serde(default, with = "optional_seconds", skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<Duration>,
    /// Where a token may travel, beyond `tickets.carriers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carriers: Option<Vec<Carrier>>,
}

/// Whose tokens an issuer's are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Tickets as muster's own: one use, two minutes.
    #[default]
    Muster,
    /// Access tokens of djangorestframework-simplejwt. Its refresh tokens are refused.
    #[serde(rename = "simplejwt")]
    SimpleJwt,
    /// What FastAPI services sign with PyJWT or python-jose: `sub` and `exp`, and little else.
    #[serde(rename = "fastapi")]
    FastApi,
    /// Access tokens of an OpenID Connect provider. ID tokens are refused where they can be told apart.
    Oidc,
}

impl IssuerSettings {
    /// The most `[[issuers]]` tables.
    pub const MOST: usize = 8;

    /// Every field set, for tests that none is forgotten.
    #[cfg(test)]
    pub(super) fn full() -> Self {
        let claim = |name: &str| Some(name.to_owned());
        Self {
            name: "full".into(),
            profile: Profile::Oidc,
            keys: vec!["keys".into()],
            jwks_url: claim("https://id.example/jwks"),
            algorithms: Some(vec![Algorithm::EdDsa, Algorithm::Ps256]),
            issuer: claim("https://id.example"),
            audience: claim("game"),
            typ: claim("at+jwt"),
            player: claim("/account/id"),
            player_prefix: "id:".into(),
            player_name: claim("nick"),
            role: claim("role"),
            game: claim("game"),
            lobby: claim("lobby"),
            actions: claim("actions"),
            single_use: Some(false),
            max_lifetime: Some(Duration::from_millis(90_500)),
            carriers: Some(vec![Carrier::QueryToken, Carrier::BearerSubprotocol]),
        }
    }

    /// Whether a token opens one place only.
    pub fn single_use(&self) -> bool {
        self.single_use.unwrap_or(self.profile == Profile::Muster)
    }

    /// The longest time from `iat` to `exp`.
    pub fn max_lifetime(&self) -> Duration {
        self.max_lifetime.unwrap_or(Duration::from_secs(if self.profile == Profile::Muster { 120 } else { 3_600 }))
    }

    /// Where a token may travel, beyond `tickets.carriers`.
    pub fn carriers(&self) -> &[Carrier] {
        match (&self.carriers, self.profile) {
            (Some(listed), _) => listed,
            (None, Profile::Muster) => &[],
            (None, Profile::SimpleJwt | Profile::FastApi) => &[Carrier::QueryToken, Carrier::BearerSubprotocol],
            (None, Profile::Oidc) => &[Carrier::BearerSubprotocol],
        }
    }
}

/// Checks every table, and that no two have one name.
pub(super) fn check_issuers(issuers: &[IssuerSettings]) -> Result<(), ConfigError> {
    if issuers.len() > IssuerSettings::MOST {
        return refuse("issuers.name", format!("there are {}: at most {}", issuers.len(), IssuerSettings::MOST));
    }
    for (index, issuer) in issuers.iter().enumerate() {
        check_one(issuer)?;
        if issuers.iter().take(index).any(|other| other.name == issuer.name) {
            return refuse("issuers.name", format!("two issuers are called `{}`: rename one", issuer.name));
        }
    }
    Ok(())
}

fn check_one(issuer: &IssuerSettings) -> Result<(), ConfigError> {
    let name = &issuer.name;
    let named = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !named || name.is_empty() || name.len() > 32 {
        return refuse("issuers.name", format!("{name:?} is not a name: use 1 to 32 of a-z, 0-9 and -"));
    }
    if name == OWN_NAME {
        return refuse("issuers.name", format!("`{OWN_NAME}` is the issuer of [tickets]: choose another name"));
    }
    let of = |problem: &str| format!("of the issuer `{name}` {problem}");
    match &issuer.jwks_url {
        None if issuer.keys.is_empty() => return refuse("issuers.keys", of("is empty: name a file, or set jwks_url")),
        Some(url) if !is_fetchable(url) => {
            let problem = "must be https://host/path without user or fragment (http only for this machine itself)";
            return refuse("issuers.jwks_url", of(problem));
        }
        _ => {}
    }
    if issuer.algorithms.as_ref().is_some_and(Vec::is_empty) {
        return refuse("issuers.algorithms", of("is an empty list: no key would be accepted; leave it out for all"));
    }
    let texts =
        [("issuers.issuer", &issuer.issuer), ("issuers.audience", &issuer.audience), ("issuers.typ", &issuer.typ)];
    for (key, text) in texts {
        if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > 256) {
            return refuse(key, of("must be 1 to 256 bytes of text"));
        }
    }
    // Without both, a token for any other service of the same provider would open a link.
    if issuer.profile == Profile::Oidc && issuer.issuer.is_none() {
        return refuse(
            "issuers.issuer",
            of("is missing: set it to the provider's `iss`, as its discovery page has it"),
        );
    }
    if issuer.profile == Profile::Oidc && issuer.audience.is_none() {
        return refuse(
            "issuers.audience",
            of("is missing: set it to the `aud` that the provider writes for this game"),
        );
    }
    let claims = [
        ("issuers.player", &issuer.player),
        ("issuers.player_name", &issuer.player_name),
        ("issuers.role", &issuer.role),
        ("issuers.game", &issuer.game),
        ("issuers.lobby", &issuer.lobby),
        ("issuers.actions", &issuer.actions),
    ];
    for (key, claim) in claims {
        if claim.as_ref().is_some_and(|claim| !is_claim_path(claim)) {
            return refuse(key, of("must be a claim's name, or a JSON pointer such as /realm_access/player"));
        }
    }
    let prefix = &issuer.player_prefix;
    if prefix.len() > 16 || !prefix.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse("issuers.player_prefix", of("must be at most 16 visible ASCII characters"));
    }
    let seconds = issuer.max_lifetime().as_secs_f64();
    if !(1.0..=86_400.0).contains(&seconds) {
        return refuse("issuers.max_lifetime", of(&format!("is {seconds}: choose a value from 1 to 86400")));
    }
    Ok(())
}

fn refuse(key: &'static str, problem: String) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid { key, problem })
}

/// Whether the server may ask this address: https, or http on loopback; no user, no fragment.
pub(crate) fn is_fetchable(url: &str) -> bool {
    let (rest, plain) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (_, Some(rest)) => (rest, true),
        _ => return false,
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let clean = url.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\') && url.len() <= 2_048;
    clean && !authority.is_empty() && !authority.contains('@') && (!plain || is_loopback_authority(authority))
}

/// A name of 1 to 128 bytes; from `/` on a JSON pointer (RFC 6901), in which `~` stands before 0 or 1 only.
fn is_claim_path(text: &str) -> bool {
    let escapes = |part: &str| part.starts_with(['0', '1']);
    let pointer = !text.starts_with('/') || text.split('~').skip(1).all(escapes);
    (1..=128).contains(&text.len()) && text != "/" && !text.chars().any(char::is_control) && pointer
}

mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    use crate::config::settings::seconds;

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        seconds::deserialize(from).map(Some)
    }

    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => seconds::serialize(value, to),
            None => to.serialize_none(),
        }
    }
}

/// What logs and metrics call the issuer of `[tickets]`.
pub const OWN_NAME: &str = "muster";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn issuer(text: &str) -> Result<IssuerSettings, toml::de::Error> {
        toml::from_str(text)
    }

    fn fault(more: &str) -> String {
        let issuer = issuer(&format!("name = 'site'\nprofile = 'fastapi'\nkeys = ['k']\n{more}")).unwrap();
        check_issuers(&[issuer]).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_profile_sets_what_is_not_said() {
        let site = issuer("name = 'site'\nprofile = 'simplejwt'\nkeys = ['k']").unwrap();
        assert!(check_issuers(std::slice::from_ref(&site)).is_ok());
        assert!(!site.single_use() && site.max_lifetime() == Duration::from_secs(3_600));
        assert_eq!(site.carriers(), [Carrier::QueryToken, Carrier::BearerSubprotocol]);
        let own =
            issuer("name = 'own'\nprofile = 'muster'\nkeys = ['k']\nmax_lifetime = 60\ncarriers = ['query-token']");
        let own = own.unwrap();
        assert!(own.single_use() && own.max_lifetime() == Duration::from_secs(60));
        assert_eq!(own.carriers(), [Carrier::QueryToken]);
        assert!(issuer("name = 'a'\nkeys = ['k']").is_err(), "the profile must be said");
    }

    #[test]
    fn a_table_that_cannot_be_served_with_is_refused_by_its_key_and_name() {
        for (more, key) in [
            ("algorithms = []", "issuers.algorithms"),
            ("audience = ''", "issuers.audience"),
            ("player = '/'", "issuers.player"),
            ("player = '/a~2b'", "issuers.player"),
            ("role = ''", "issuers.role"),
            ("player_prefix = 'a b'", "issuers.player_prefix"),
            ("max_lifetime = 0", "issuers.max_lifetime"),
        ] {
            let error = fault(more);
            assert!(error.starts_with(key) && error.contains("`site`"), "{more}: {error}");
        }
        let refused = |text: &str| check_issuers(&[issuer(text).unwrap()]).unwrap_err().to_string();
        assert!(refused("name = 'Site'\nprofile = 'muster'\nkeys = ['k']").starts_with("issuers.name"));
        assert!(refused("name = 'muster'\nprofile = 'muster'\nkeys = ['k']").contains("[tickets]"));
        assert!(refused("name = 'a'\nprofile = 'muster'").starts_with("issuers.keys"));
        assert!(refused("name = 'a'\nprofile = 'oidc'\nkeys = ['k']\naudience = 'g'").starts_with("issuers.issuer"));
        assert!(refused("name = 'a'\nprofile = 'oidc'\nkeys = ['k']\nissuer = 'i'").starts_with("issuers.audience"));
        let one = issuer("name = 'a'\nprofile = 'muster'\nkeys = ['k']").unwrap();
        assert!(check_issuers(&[one.clone(), one.clone()]).unwrap_err().to_string().contains("two issuers"));
        let many: Vec<_> = (0..9).map(|n| IssuerSettings { name: n.to_string(), ..one.clone() }).collect();
        assert!(check_issuers(&many).is_err() && check_issuers(many.get(..8).unwrap()).is_ok());
    }

    #[test]
    fn keys_are_fetched_over_tls_or_from_this_machine_only() {
        for good in
            ["https://id.example/keys", "https://id.example:8443/a?b=c", "http://127.0.0.1:8000/jwks", "http://[::1]/"]
        {
            assert!(is_fetchable(good), "{good}");
        }
        for bad in [
            "http://id.example/keys",
            "https://",
            "https://user@id.example/",
            "https://id.example/#a",
            "http://localhost.evil.example/",
            "http://127.0.0.1@evil.example/",
            "file:///etc/passwd",
            "https://id.example/a b",
            "",
        ] {
            assert!(!is_fetchable(bad), "{bad}");
        }
    }
}
