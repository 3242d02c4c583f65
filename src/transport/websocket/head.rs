//! The head of a request that asks for a WebSocket and nothing else. Pure.
//!
//! Owns: which bytes are plain enough to be answered without an HTTP server. Must not know: sockets, whether a ticket is good.
//! Whatever is unusual (more to come, a body, another path, a header too many) is no such head: the HTTP server sees it,
//! with the same bytes, and judges it by all of its rules.

use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use fastwebsockets::upgrade::{is_upgrade_request, upgrade};

use crate::wire::PLAY_PATH;

/// A whole request for a WebSocket on the play path.
#[derive(Debug)]
pub(super) struct Head {
    /// What was asked.
    pub(super) request: Request<()>,
    /// How many bytes it took; what is behind them is the WebSocket's.
    pub(super) length: usize,
    /// The answer that switches protocols, but for the subprotocol.
    answer: HeaderMap,
}

impl Head {
    /// Reads a request that lies whole in `bytes`; `None` for any that needs more than a glance.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(length)) = parsed.parse(bytes) else { return None };
        if parsed.method != Some("GET") || parsed.version != Some(1) {
            return None;
        }
        let path = PathAndQuery::try_from(parsed.path?).ok().filter(|path| path.path() == PLAY_PATH)?;
        let mut request = Request::new(());
        *request.method_mut() = Method::GET;
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = Uri::from(path);
        let map = request.headers_mut();
        map.reserve(parsed.headers.len());
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            if [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT].contains(&name) {
                return None;
            }
            map.append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
        if !is_upgrade_request(&request) {
            return None;
        }
        let (answer, _) = upgrade(&mut request).ok()?;
        Some(Self { request, length, answer: answer.into_parts().0.headers })
    }

    /// Whether `bytes` are the beginning of a request that may yet become whole.
    pub(super) fn is_partial(bytes: &[u8]) -> bool {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        matches!(httparse::Request::new(&mut headers).parse(bytes), Ok(httparse::Status::Partial))
    }

    /// Whether the bytes from `from` on can end a head: with an empty line, in either spelling. Spares reading it all again for each
    /// piece of it.
    pub(super) fn may_end(bytes: &[u8], from: usize) -> bool {
        let tail = bytes.get(from.saturating_sub(2)..).unwrap_or_default();
        tail.windows(2).any(|two| two == b"\n\n") || tail.windows(3).any(|three| three == b"\n\r\n")
    }

    /// The bytes that switch protocols (RFC 6455 4.2.2), with the subprotocol where one was agreed on.
    pub(super) fn answer(&self, protocol: Option<&str>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ANSWER_BYTES);
        bytes.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        let mut field = |name: &str, value: &[u8]| {
            [name.as_bytes(), b": ", value, b"\r\n"].iter().for_each(|part| bytes.extend_from_slice(part));
        };
        self.answer.iter().for_each(|(name, value)| field(name.as_str(), value.as_bytes()));
        if let Some(protocol) = protocol {
            field(header::SEC_WEBSOCKET_PROTOCOL.as_str(), protocol.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

/// As many as the HTTP server takes; with more, it says so.
const MAX_HEADERS: usize = 64;
/// Room for an answer, and for the first messages of the link, which go out with it.
const ANSWER_BYTES: usize = 1_024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PLAIN: &str = "GET /v1/play?join=quick:arena HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    #[test]
    fn a_plain_request_is_read_and_answered_as_the_standard_says() {
        let head = Head::read([PLAIN, "behind"].concat().as_bytes()).unwrap();
        assert_eq!(head.length, PLAIN.len());
        assert_eq!(head.request.uri().query(), Some("join=quick:arena"));
        assert_eq!(head.request.headers()["host"], "localhost");
        let answer = String::from_utf8(head.answer(Some("muster.1"))).unwrap();
        assert_eq!(
            answer,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: muster.1\r\n\r\n",
            "RFC 6455 1.3 has the key and its answer"
        );
        assert!(!String::from_utf8(head.answer(None)).unwrap().contains("protocol:"));
    }

    #[test]
    fn a_request_is_partial_until_its_empty_line_and_what_is_none_never_is() {
        for spelt in [PLAIN.to_owned(), PLAIN.replace("\r\n", "\n")] {
            let bytes = spelt.as_bytes();
            for cut in 1..bytes.len() {
                assert!(Head::is_partial(&bytes[..cut]), "{cut} bytes of it");
                assert!(!Head::may_end(&bytes[..cut], cut - 1), "{cut} bytes of it");
            }
            assert!(!Head::is_partial(bytes));
            for from in 0..bytes.len() {
                assert!(Head::may_end(bytes, from), "in pieces of which the last begins at {from}");
            }
        }
        for junk in [&b"\x00\x01\x02"[..], b"GET / HTTP/9.9\r\n", b"a\x7fb /", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            assert!(!Head::is_partial(junk), "{}", junk.escape_ascii());
        }
    }

    #[test]
    fn whatever_is_unusual_is_left_to_the_http_server() {
        assert!(Head::read(PLAIN.as_bytes()).is_some());
        for cut in 0..PLAIN.len() {
            assert!(Head::read(&PLAIN.as_bytes()[..cut]).is_none(), "{cut} bytes of it");
        }
        for (from, to) in [
            ("GET", "POST"),
            ("GET", "get"),
            ("GET /", "GET  /"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("HTTP/1.1", "HTTP/2.0"),
            ("/v1/play", "/v1/lobbies"),
            ("/v1/play", "/v1/play/"),
            ("/v1/play", "//v1/play"),
            ("/v1/play", "/v1/%70lay"),
            ("/v1/play", "http://localhost/v1/play"),
            ("Upgrade: websocket", "Upgrade: h2c"),
            ("keep-alive, Upgrade", "keep-alive"),
            ("Version: 13", "Version: 8"),
            ("Sec-WebSocket-Key", "X-Key"),
            ("Host: localhost", "Content-Length: 5"),
            ("Host: localhost", "Transfer-Encoding: chunked"),
            ("Host: localhost", "Expect: 100-continue"),
            ("Host: localhost", "Host : localhost"),
            ("Host: localhost", "Host: local\u{0}host"),
            ("Host: localhost\r\n", "Host: localhost\r\n folded\r\n"),
            ("\r\n\r\n", "\r\n"),
        ] {
            let odd = PLAIN.replacen(from, to, 1);
            assert_ne!(odd, PLAIN);
            assert!(Head::read(odd.as_bytes()).is_none(), "{to}");
        }
        let many: String = (0..MAX_HEADERS).map(|number| format!("h{number}: v\r\n")).collect();
        assert!(Head::read(PLAIN.replacen("Host", &format!("{many}Host"), 1).as_bytes()).is_none());
        assert!(Head::read(b"\x16\x03\x01\x02\x00\x01").is_none(), "a TLS handshake");
        assert!(Head::read(b"").is_none());
    }
}
