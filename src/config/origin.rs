//! Which web pages may open links and read answers: exact origins, nothing looser.
//!
//! An origin is scheme, host and port (RFC 6454). No wildcards and no suffix matching: `https://evilgame.example` must
//! never pass for `https://game.example`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One origin in the form that browsers send: lower case, without the scheme's own port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    secure: bool,
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `scheme://host[:port]`, http or https only. None for anything else, `null` included.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = scheme.eq_ignore_ascii_case("https");
        if !secure && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let (host, port) = split_authority(rest)?;
        Some(Self { secure, host, port: port.unwrap_or(own_port(secure)) })
    }

    /// Whether the host is this machine's loopback, by name or by address.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.host)?;
        if self.port == own_port(self.secure) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| {
            format!("{text:?} is not an origin: write scheme, host and port only, as in https://game.example:8443")
        })
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

/// What is done with a request's `Origin` header. Requests without one are not from a web page and pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPolicy {
    /// Any page may open links; only with `--dev` and no origin listed. Answers are readable by loopback pages only.
    Dev,
    /// Only these pages. With an empty set, no page at all.
    Listed(BTreeSet<Origin>),
}

impl OriginPolicy {
    /// Whether a page with this `Origin` header may open a link.
    pub fn may_link(&self, header: &str) -> bool {
        match self {
            Self::Dev => true,
            Self::Listed(_) => self.may_read(header),
        }
    }

    /// Whether a page with this `Origin` header may read the answers of the HTTP interface (CORS), and be trusted with
    /// cookies.
    pub fn may_read(&self, header: &str) -> bool {
        let Some(origin) = Origin::parse(header) else { return false };
        match self {
            Self::Dev => origin.is_loopback(),
            Self::Listed(listed) => listed.contains(&origin),
        }
    }
}

/// Whether a `Host` header names this machine's loopback, whatever the port. What does not parse does not.
pub(crate) fn is_loopback_authority(authority: &str) -> bool {
    split_authority(authority).is_some_and(|(host, _)| is_loopback_host(&host))
}

/// The port that an address without one means.
fn own_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

fn is_loopback_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `host[:port]` with the host in lower case; IPv6 in brackets.
fn split_authority(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let address = address.parse::<std::net::Ipv6Addr>().ok()?;
        (format!("[{address}]"), after)
    } else {
        let at = text.find(':').unwrap_or(text.len());
        let (host, after) = text.split_at(at);
        let named =
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if !named {
            return None;
        }
        (host.to_ascii_lowercase(), after)
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0).map(|port| (host, Some(port)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn listed(text: &str) -> OriginPolicy {
        OriginPolicy::Listed(BTreeSet::from([Origin::parse(text).unwrap()]))
    }

    #[test]
    fn an_origin_matches_by_scheme_host_and_port_and_nothing_looser() {
        let policy = listed("https://game.example");
        for same in ["https://game.example", "https://GAME.example:443"] {
            assert!(policy.may_link(same) && policy.may_read(same), "{same}");
        }
        for other in [
            "http://game.example",
            "https://game.example:8443",
            "https://evilgame.example",
            "https://game.example.evil.example",
            "https://game.example/",
            "https://game.example@evil.example",
            "null",
            "",
        ] {
            assert!(!policy.may_link(other) && !policy.may_read(other), "{other}");
        }
    }

    #[test]
    fn a_development_server_lets_any_page_link_but_only_loopback_pages_read() {
        assert!(OriginPolicy::Dev.may_link("https://elsewhere.example"));
        assert!(!OriginPolicy::Dev.may_read("https://elsewhere.example"));
        assert!(!OriginPolicy::Dev.may_read("http://localhost.evil.example"));
        for page in ["http://localhost:5173", "http://127.0.0.1:7777", "https://[::1]:7777"] {
            assert!(OriginPolicy::Dev.may_read(page), "{page}");
        }
    }

    #[test]
    fn an_origin_prints_as_browsers_send_it() {
        for (text, printed) in [
            ("HTTPS://Game.Example:443", "https://game.example"),
            ("http://[0:0::1]:80", "http://[::1]"),
            ("http://localhost:8080", "http://localhost:8080"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), printed);
        }
        for bad in [
            "game.example",
            "ftp://game.example",
            "https://",
            "https://a b",
            "https://a:",
            "https://a:0",
            "https://a:70000",
        ] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_host_header_is_loopback_only_if_it_names_loopback_exactly() {
        for yes in ["localhost", "localhost:7777", "127.0.0.1:7777", "127.8.8.8", "[::1]:7777"] {
            assert!(is_loopback_authority(yes), "{yes}");
        }
        for no in ["localhost.evil.example", "127.0.0.1.evil.example", "", "evil@localhost", "192.168.0.1:7777"] {
            assert!(!is_loopback_authority(no), "{no}");
        }
    }
}
