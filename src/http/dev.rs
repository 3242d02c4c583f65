//! What only a development server answers: a page at `/`, and tickets for loopback.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse as _};

use super::{Peer, Response};
use crate::config::{Origin, is_loopback_authority};

/// The page at `/`.
pub(super) async fn page() -> Response {
    let mut response = Html(include_str!("dev.html")).into_response();
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// Whether a request may have a ticket: from this machine (the address), meant for this machine (the host, against
/// names that were made to resolve to loopback), and not on behalf of a page from elsewhere.
pub(super) fn may_have_ticket(peer: Peer, headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
    let all = |name: header::HeaderName| headers.get_all(name).iter().map(text).collect::<Vec<_>>();
    let hosts = all(header::HOST);
    let meant_for_here = matches!(hosts.as_slice(), [host] if is_loopback_authority(host));
    let local_page = all(header::ORIGIN).iter().all(|origin| Origin::parse(origin).is_some_and(|o| o.is_loopback()));
    let foreign = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    // A proxy on this machine speaks for somebody else.
    let proxied = headers.contains_key(header::FORWARDED) || headers.contains_key("x-forwarded-for");
    peer.address.ip().to_canonical().is_loopback() && meant_for_here && local_page && !foreign && !proxied
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(peer: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        may_have_ticket(Peer { address: peer.parse().unwrap(), tls: false }, &map)
    }

    #[test]
    fn only_this_machine_for_itself_gets_a_ticket() {
        let host = ("host", "localhost:7777");
        assert!(asked("127.0.0.1:1", &[host]));
        assert!(asked("[::ffff:127.0.0.1]:1", &[host]), "IPv4 on a dual-stack socket");
        assert!(asked("[::1]:1", &[("host", "[::1]:7777"), ("origin", "http://[::1]:7777")]));
        assert!(asked("127.0.0.1:1", &[host, ("origin", "http://localhost:5173"), ("sec-fetch-site", "same-site")]));

        assert!(!asked("192.168.1.2:1", &[host]), "another machine");
        assert!(!asked("127.0.0.1:1", &[]), "no host");
        assert!(!asked("127.0.0.1:1", &[("host", "rebound.example:7777")]), "a name made to resolve to loopback");
        assert!(!asked("127.0.0.1:1", &[host, ("host", "localhost")]), "two hosts");
        assert!(!asked("127.0.0.1:1", &[host, ("origin", "https://evil.example")]), "a foreign page");
        assert!(!asked("127.0.0.1:1", &[host, ("origin", "null")]), "a page without an origin");
        assert!(!asked("127.0.0.1:1", &[host, ("sec-fetch-site", "cross-site")]), "a foreign page's image");
        assert!(!asked("127.0.0.1:1", &[host, ("x-forwarded-for", "203.0.113.1")]), "through a proxy");
    }
}
