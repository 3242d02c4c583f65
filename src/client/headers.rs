//! Headers that say who the player is, in place of a ticket: a session cookie, an API key.
//!
//! Owns: which can stand in a request. Must not know: what they mean; a value never reaches a log.

use std::fmt;

use hyper::header::{HeaderName, HeaderValue};

use super::error::{ConnectError, printable};

/// Further headers of the request that opens a link. Its `Debug` shows names alone.
#[derive(Clone, Default)]
pub(super) struct Headers(Vec<(String, String)>);

impl Headers {
    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.to_ascii_lowercase(), value.to_owned()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The headers as they go into the request.
    ///
    /// # Errors
    /// [`ConnectError::NoTicket`] names the one that cannot stand there.
    pub(super) fn checked(&self) -> Result<Vec<(HeaderName, HeaderValue)>, ConnectError> {
        let read = |(name, value): &(String, String)| {
            let bad = || ConnectError::NoTicket(format!("the header {:?} cannot be sent", printable(name)));
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            if OWN.contains(&header.as_str()) {
                return Err(bad());
            }
            let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            Ok((header, value))
        };
        self.0.iter().map(read).collect()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Headers of the transports' own.
const OWN: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_header_that_would_break_the_request_is_refused_and_no_value_is_shown() {
        let with = |name: &str, value: &str| {
            let mut headers = Headers::default();
            headers.add(name, value);
            headers
        };
        assert_eq!(with("Cookie", "sessionid=canary").checked().unwrap().len(), 1);
        assert_eq!(format!("{:?}", with("Cookie", "sessionid=canary")), "[\"cookie\"]");
        for (name, value) in
            [("a b", "x"), ("", "x"), ("a", "canary\r\nb: c"), ("Host", "canary"), ("Upgrade", "canary")]
        {
            let error = with(name, value).checked().unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
