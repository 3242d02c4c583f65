//! What only a development server answers: a page at `/`, and tickets for loopback.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::IntoResponse as _;

use super::{Peer, Response};
use crate::config::{Origin, is_loopback_authority};

/// A file of the page, the browser client or an example.
pub(super) async fn file(request: axum::http::Uri) -> Response {
    let Some((_, kind, text)) = FILES.iter().find(|(path, ..)| *path == request.path()) else {
        return axum::http::StatusCode::NOT_FOUND.into_response();
    };
    let mut response = (*text).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss: https:; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($path:literal $kind:ident $file:literal),* $(,)?) => {
        &[$(($path, $kind, include_str!(concat!("../../web/", $file)))),*]
    };
}

/// Every path and what stands there.
pub(super) const FILES: &[(&str, &str, &str)] = files![
    "/" HTML "page/index.html",
    "/style.css" CSS "page/style.css",
    "/app.js" SCRIPT "page/app.js",
    "/arena.js" SCRIPT "page/arena.js",
    "/dom.js" SCRIPT "page/dom.js",
    "/draw.js" SCRIPT "page/draw.js",
    "/game.js" SCRIPT "page/game.js",
    "/words.js" SCRIPT "page/words.js",
    "/client/clock.js" SCRIPT "client/clock.js",
    "/client/codec.js" SCRIPT "client/codec.js",
    "/client/codes.js" SCRIPT "client/codes.js",
    "/client/index.js" SCRIPT "client/index.js",
    "/client/links.js" SCRIPT "client/links.js",
    "/client/messages.js" SCRIPT "client/messages.js",
    "/client/muster.js" SCRIPT "client/muster.js",
    "/client/play.js" SCRIPT "client/play.js",
    "/examples/board.html" HTML "examples/board.html",
    "/examples/board.css" CSS "examples/board.css",
    "/examples/board.js" SCRIPT "examples/board.js",
];

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
