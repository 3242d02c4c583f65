//! `[forward]` and `[outbound]`: what the server asks others for, and how.
//!
//! Owns: shape, defaults, and whether they can be served with. Must not know: HTTP.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::issuers::is_fetchable;
use super::settings::{Settings, seconds};

/// The backend that knows players by their cookies or headers.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardSettings {
    /// Where the backend is asked. Default none: nobody is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Cookies that are passed on; no other is. Default none.
    pub cookies: Vec<String>,
    /// Headers that are passed on; no other is. Default none.
    pub headers: Vec<String>,
    /// How long an answer may take. Default 2 s.
    #[serde(with = "seconds")]
    pub timeout: Duration,
    /// Questions under way at a time. Default 256.
    pub in_flight: usize,
    /// The longest that an answer is used again. Default 0: never.
    #[serde(with = "seconds")]
    pub cache: Duration,
}

impl Default for ForwardSettings {
    fn default() -> Self {
        Self {
            url: None,
            cookies: Vec::new(),
            headers: Vec::new(),
            timeout: Duration::from_secs(2),
            in_flight: 256,
            cache: Duration::ZERO,
        }
    }
}

/// How the server makes requests of its own.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbound {
    /// PEM file with certificate authorities that are believed beside the system's. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorities: Option<PathBuf>,
    /// From one fetch of an issuer's keys to the next. Default 300 s.
    #[serde(with = "seconds")]
    pub jwks_interval: Duration,
    /// The least time between fetches that unknown keys make. Default 10 s.
    #[serde(with = "seconds")]
    pub jwks_pause: Duration,
}

impl Default for Outbound {
    fn default() -> Self {
        Self { authorities: None, jwks_interval: Duration::from_secs(300), jwks_pause: Duration::from_secs(10) }
    }
}

/// Checks both sections.
pub(super) fn check_forward(settings: &Settings) -> Result<(), ConfigError> {
    let forward = &settings.forward;
    let within = |key, value: Duration, least: f64, most: f64| {
        let value = value.as_secs_f64();
        if (least..=most).contains(&value) {
            return Ok(());
        }
        refuse(key, format!("is {value}: choose a value from {least} to {most}"))
    };
    within("outbound.jwks_interval", settings.outbound.jwks_interval, 1.0, 86_400.0)?;
    within("outbound.jwks_pause", settings.outbound.jwks_pause, 0.05, 3_600.0)?;
    within("forward.timeout", forward.timeout, 0.05, 30.0)?;
    within("forward.cache", forward.cache, 0.0, 300.0)?;
    if !(1..=65_536).contains(&forward.in_flight) {
        return refuse("forward.in_flight", format!("is {}: choose a value from 1 to 65536", forward.in_flight));
    }
    for (key, names) in [("forward.cookies", &forward.cookies), ("forward.headers", &forward.headers)] {
        // A token of RFC 9110 5.6.2, and of RFC 6265 4.1.1.
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if let Some(name) = names.iter().find(|name| name.is_empty() || !name.bytes().all(token)) {
            return refuse(key, format!("{name:?} is not a name: use letters, digits, - and _"));
        }
        if names.len() > MOST_NAMES {
            return refuse(key, format!("are {}: at most {MOST_NAMES}", names.len()));
        }
    }
    if let Some(name) = forward.headers.iter().find(|name| OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str())) {
        return refuse(
            "forward.headers",
            format!("{name:?} is muster's own to send: leave it out (cookies are listed in forward.cookies)"),
        );
    }
    match &forward.url {
        None if forward.cookies.is_empty() && forward.headers.is_empty() => Ok(()),
        None => refuse("forward.url", "is missing: say where the cookies and headers go".to_owned()),
        Some(url) if !is_fetchable(url) => {
            let problem = "must be https://host/path without user or fragment (http only for this machine itself)";
            refuse("forward.url", problem.to_owned())
        }
        Some(_) if forward.cookies.is_empty() && forward.headers.is_empty() => refuse(
            "forward.cookies",
            "is empty, and forward.headers too: name what tells the backend who it is".to_owned(),
        ),
        Some(_) => Ok(()),
    }
}

fn refuse(key: &'static str, problem: String) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid { key, problem })
}

/// Names of cookies or headers that are passed on.
const MOST_NAMES: usize = 16;

/// Headers that belong to the connection, or that muster says itself.
const OWN_HEADERS: [&str; 16] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "origin",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-forwarded-for",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        check_forward(&toml::from_str(text).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_documented_defaults_ask_nobody() {
        let forward = ForwardSettings::default();
        assert_eq!((forward.url, forward.timeout.as_secs(), forward.in_flight), (None, 2, 256));
        assert!(forward.cache.is_zero());
        let outbound = Outbound::default();
        assert_eq!((outbound.jwks_interval.as_secs(), outbound.jwks_pause.as_secs()), (300, 10));
        assert_eq!(check(""), Ok(()));
    }

    #[test]
    fn what_cannot_be_served_with_is_refused_by_its_key() {
        let url = "url = 'http://127.0.0.1:8000/whoami'\n";
        assert_eq!(check(&format!("[forward]\n{url}cookies = ['sessionid']")), Ok(()));
        assert_eq!(check(&format!("[forward]\n{url}headers = ['Authorization', 'X-Session']")), Ok(()));
        for (text, key) in [
            ("[forward]\ncookies = ['sessionid']", "forward.url"),
            ("[forward]\nurl = 'http://game.example/'\ncookies = ['a']", "forward.url"),
            ("[forward]\nurl = 'https://game.example/'", "forward.cookies"),
            ("[forward]\nurl = 'https://game.example/'\ncookies = ['a=b']", "forward.cookies"),
            ("[forward]\nurl = 'https://game.example/'\nheaders = ['Host']", "forward.headers"),
            ("[forward]\nurl = 'https://game.example/'\nheaders = ['']", "forward.headers"),
            ("[forward]\ntimeout = 0", "forward.timeout"),
            ("[forward]\ncache = 301", "forward.cache"),
            ("[forward]\nin_flight = 0", "forward.in_flight"),
            ("[outbound]\njwks_interval = 0", "outbound.jwks_interval"),
            ("[outbound]\njwks_pause = 0", "outbound.jwks_pause"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.starts_with(key) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
