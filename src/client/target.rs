//! Where to connect to, and what is wished for there.
//!
//! Owns: reading URLs and wishes. Must not know: sockets.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::error::ConnectError;
use crate::ids::{BadId, GameName, JoinCode, LobbyId, SessionId};
use crate::wire::PLAY_PATH;

/// A server's address, from a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP and UDP port.
    pub port: u16,
    /// Whether WebSocket goes over TLS. WebTransport always does.
    pub tls: bool,
}

impl Target {
    /// Reads `muster://HOST:PORT`, or the same with `http`, `https`, `ws` or `wss`.
    ///
    /// `http` and `ws` mean WebSocket without TLS, `https` and `wss` with it; `muster` means with it except on loopback.
    /// The port is 7777 for `muster`, else 80 or 443, if none is given. The path may be missing or `/v1/play`.
    ///
    /// # Errors
    /// [`ConnectError::BadUrl`] for anything else.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let bad = |why| ConnectError::BadUrl { url: super::error::printable(url), why };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("no scheme"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if !matches!(path, "" | "/") && path != PLAY_PATH {
            return Err(bad("a path"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| bad("no host, or a bad port"))?;
        let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if host.parse::<IpAddr>().is_err() && (host.is_empty() || !host.bytes().all(name)) {
            return Err(bad("a bad host name"));
        }
        let (tls, default_port) = match scheme {
            "muster" => (None, 7_777),
            "http" | "ws" => (Some(false), 80),
            "https" | "wss" => (Some(true), 443),
            _ => return Err(bad("an unknown scheme")),
        };
        let mut target = Self { host: host.to_owned(), port: port.unwrap_or(default_port), tls: false };
        target.tls = tls.unwrap_or_else(|| !target.is_loopback());
        Ok(target)
    }

    /// Whether the server runs on this machine, by its name or address.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Host and port as they stand in a URL.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    match port.map(str::parse::<u16>) {
        None => Some((host, None)),
        Some(Ok(port)) if port > 0 => Some((host, Some(port))),
        Some(_) => None,
    }
}

/// Where a player wants to go on arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// Nowhere yet.
    #[default]
    Nowhere,
    /// Any open public lobby of the game; a new one if there is none.
    Quick(GameName),
    /// The lobby with this id.
    Lobby(LobbyId),
    /// The lobby with this code.
    Code(JoinCode),
    /// The lobby whose session this is.
    Session(SessionId),
}

impl Join {
    /// Any open public lobby of the game.
    ///
    /// # Errors
    /// [`BadId`] when no game can have this name.
    pub fn quick(game: &str) -> Result<Self, BadId> {
        GameName::new(game).map(Self::Quick)
    }
}

impl fmt::Display for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => Ok(()),
            Self::Quick(game) => write!(f, "quick:{game}"),
            Self::Lobby(id) => write!(f, "lobby:{id}"),
            Self::Code(code) => write!(f, "code:{code}"),
            Self::Session(id) => write!(f, "session:{id}"),
        }
    }
}

impl FromStr for Join {
    type Err = BadJoin;

    fn from_str(text: &str) -> Result<Self, BadJoin> {
        if text.is_empty() {
            return Ok(Self::Nowhere);
        }
        let (kind, value) = text.split_once(':').ok_or(BadJoin)?;
        match kind {
            "quick" => GameName::new(value).map(Self::Quick),
            "lobby" => value.parse().map(Self::Lobby),
            "code" => value.parse().map(Self::Code),
            "session" => value.parse().map(Self::Session),
            _ => return Err(BadJoin),
        }
        .map_err(|_| BadJoin)
    }
}

/// A text that says no place to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected quick:GAME, lobby:ID, code:ABCDEF or session:ID")]
pub struct BadJoin;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_form_of_url_is_read() {
        let read = |url| Target::parse(url).map(|t| (t.authority(), t.tls)).unwrap();
        assert_eq!(read("muster://127.0.0.1:7777"), ("127.0.0.1:7777".into(), false));
        assert_eq!(read("muster://localhost"), ("localhost:7777".into(), false));
        assert_eq!(read("muster://play.example.org"), ("play.example.org:7777".into(), true));
        assert_eq!(read("https://play.example.org/v1/play"), ("play.example.org:443".into(), true));
        assert_eq!(read("ws://play.example.org/"), ("play.example.org:80".into(), false));
        assert_eq!(read("wss://[::1]:7777"), ("[::1]:7777".into(), true));
    }

    #[test]
    fn anything_else_is_no_url_of_a_server() {
        for bad in [
            "",
            "127.0.0.1:7777",
            "ftp://a",
            "ws://",
            "ws://a:0",
            "ws://a:99999",
            "ws://a:b",
            "ws://user@a",
            "ws://a/b",
            "ws://a?x=1",
            "ws://a b",
            "ws://[::1",
            "ws://[::1]7",
            "ws://a\r\nHost: b",
        ] {
            assert!(matches!(Target::parse(bad), Err(ConnectError::BadUrl { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_wish_reads_back_what_it_writes() {
        for text in ["", "quick:arena", "code:ABCDEF", "lobby:0123456789abcdef0123456789abcdef"] {
            assert_eq!(text.parse::<Join>().map(|join| join.to_string()), Ok(text.into()));
        }
        assert_eq!("quick:Ä".parse::<Join>(), Err(BadJoin));
        assert_eq!("arena".parse::<Join>(), Err(BadJoin));
    }
}
