//! One TCP connection that speaks HTTP/1.1, held to its bounds.
//!
//! HTTP/2 is not spoken, and with it none of its floods. What hyper refuses by itself stays refused: headers past the
//! bounds, two lengths, requests that do not parse. Transfer codings are refused here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request, header};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::api::{harden, route};
use super::held::{Held, Hold};
use super::problem::problem;
use super::{Peer, Response};
use crate::limits::Limits;
use crate::wire::Code;

/// The bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub struct HttpBounds {
    /// Time for the headers of a request, from the first byte or from the last answer. Over it: closed.
    pub headers: Duration,
    /// Life of a connection that does not become a link. Over it: closed. It holds against peers that do not read.
    pub life: Duration,
}

impl From<&Limits> for HttpBounds {
    fn from(limits: &Limits) -> Self {
        Self { headers: limits.handshake, life: CONNECTION_LIFE }
    }
}

/// Serves requests on one connection, of which `begun` was read before, until it ends, becomes a link, outlives its bounds,
/// or is told to stop; then the request at hand is still answered. Upgrades go on after this returns, in tasks of their
/// own; every request carries a [`Hold`] for those that have more to say.
///
/// # Errors
/// What hyper says of a connection that broke or did not keep to HTTP: the peer's fault, worth a line at debug level.
///
/// # Cancel safety
/// Cancelling closes the connection; a link that came of it is not touched.
pub async fn serve_connection<I, S, F>(
    io: I,
    begun: Bytes,
    service: S,
    bounds: HttpBounds,
    stop: &CancellationToken,
) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response, Infallible>>,
{
    let hold = Hold::default();
    let guarded = |mut request: Request<Incoming>| {
        request.extensions_mut().insert(hold.clone());
        let answer = (!request.headers().contains_key(header::TRANSFER_ENCODING)).then(|| service(request));
        async {
            match answer {
                Some(answer) => answer.await,
                None => Ok(chunked_refused()),
            }
        }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.headers)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(true)
        .serve_connection(TokioIo::new(Held::new(io, begun, hold.clone())), service_fn(guarded))
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut life = pin!(tokio::time::sleep(bounds.life));
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = life.as_mut() => return Ok(()),
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// As [`serve_connection`], with a router and nothing else: for the metrics' own listener.
///
/// # Errors
/// As [`serve_connection`].
///
/// # Cancel safety
/// As [`serve_connection`].
pub async fn serve_router<I>(
    io: I,
    router: &Router,
    peer: Peer,
    bounds: HttpBounds,
    stop: &CancellationToken,
) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = |mut request: Request<Incoming>| async move {
        request.extensions_mut().insert(peer);
        let mut response = route(router, request).await?;
        harden(response.headers_mut());
        Ok(response)
    };
    serve_connection(io, Bytes::new(), service, bounds, stop).await
}

/// Whether the first bytes of a connection begin TLS: with a handshake record (RFC 8446 5.1).
pub fn begins_tls(bytes: &[u8]) -> bool {
    bytes.first() == Some(&TLS_HANDSHAKE)
}

/// No route takes a body, so that no request needs a coded one; and `Transfer-Encoding` beside `Content-Length` is how
/// a request is smuggled past a proxy (RFC 9112 6.1). hyper would take the former and drop the latter.
fn chunked_refused() -> Response {
    let mut response = problem(Code::Malformed, Some("no transfer coding is taken"), None);
    harden(response.headers_mut());
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The content type of a TLS handshake record; no HTTP method begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// The bytes and the number of a request's headers. Over it: 431.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

const CONNECTION_LIFE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use axum::body::Body;
    use axum::http::StatusCode;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::task::JoinHandle;

    use super::super::{
        Backend, CertificateFacts, DevTicket, DevTicketWish, Http, LobbyEntry, LobbyQuery, Play, problem,
    };
    use super::*;
    use crate::config::{Config, Settings};
    use crate::metrics::Metrics;
    use crate::wire::Code;

    struct Node;

    impl Backend for Node {
        fn lobbies(&self, query: &LobbyQuery) -> Vec<LobbyEntry> {
            let name = "x".repeat(1_000);
            let entry = |n: usize| LobbyEntry {
                id: n.to_string(),
                game: "arena".into(),
                name: name.clone(),
                players: 0,
                capacity: 8,
                playing: false,
                open: true,
            };
            (0..query.most).map(entry).collect()
        }

        fn ready(&self) -> bool {
            true
        }

        fn certificate(&self) -> Option<CertificateFacts> {
            None
        }

        fn dev_ticket(&self, _: &DevTicketWish) -> Result<DevTicket, Code> {
            Err(Code::Internal)
        }
    }

    /// Upgrades and sends back what it hears; refuses what does not ask for an upgrade.
    #[derive(Clone)]
    struct Echo;

    impl Play for Echo {
        async fn handle_play(&self, mut request: Request<Incoming>, _: Peer) -> Response {
            if !request.headers().contains_key("upgrade") {
                return problem(Code::BadTicket, None, None);
            }
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let mut bytes = [0; 4];
                io.read_exact(&mut bytes).await.unwrap();
                io.write_all(&bytes).await.unwrap();
            });
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("connection", "upgrade".parse().unwrap());
            response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
            response
        }
    }

    const BOUNDS: HttpBounds = HttpBounds { headers: Duration::from_secs(5), life: Duration::from_secs(60) };

    fn serving(stop: &CancellationToken) -> (DuplexStream, JoinHandle<Result<(), hyper::Error>>) {
        let config = Config::new(Settings::dev_preset(), true).unwrap();
        let http = Http::new(&config, Arc::new(Node), Arc::new(Metrics::new()), Echo);
        let peer = Peer { address: "127.0.0.1:1".parse().unwrap(), tls: false };
        let (ours, theirs) = tokio::io::duplex(4 * 1024);
        let stop = stop.clone();
        let served = tokio::spawn(async move {
            let answer = |request| {
                let http = http.clone();
                async move { http.answer(request, peer).await }
            };
            serve_connection(theirs, Bytes::new(), answer, BOUNDS, &stop).await
        });
        (ours, served)
    }

    /// What the server says to these bytes until it closes.
    async fn said(bytes: &[u8]) -> String {
        let (io, _) = serving(&CancellationToken::new());
        let (mut from, mut to) = tokio::io::split(io);
        let mut answer = String::new();
        // The server may close before it has taken everything.
        let (_, read) = tokio::join!(to.write_all(bytes), from.read_to_string(&mut answer));
        read.unwrap();
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn headers_that_come_too_slowly_close_the_connection() {
        let (mut io, served) = serving(&CancellationToken::new());
        let began = tokio::time::Instant::now();
        let drip = async {
            loop {
                if io.write_all(b"GET").await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(900)).await;
            }
        };
        drip.await;
        assert!(served.await.unwrap().unwrap_err().is_timeout());
        assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_after_its_answer() {
        let began = tokio::time::Instant::now();
        let answer = said(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_reads_loses_its_connection() {
        let (mut io, served) = serving(&CancellationToken::new());
        io.write_all(b"GET /v1/lobbies?limit=200 HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let began = tokio::time::Instant::now();
        served.await.unwrap().unwrap();
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_could_be_read_in_two_ways_are_refused() {
        for request in [
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG",
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "POST /v1/play HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nhost : localhost\r\n\r\n",
            "junk\r\n\r\n",
        ] {
            let answer = said(request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "nothing after the refusal: {answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_headers_and_too_long_ones_are_refused() {
        let many: String = (0..65).map(|n| format!("h{n}: v\r\n")).collect();
        let long = format!("cookie: {}\r\n", "x".repeat(MAX_HEAD_BYTES));
        for headers in [many, long] {
            let answer = said(format!("GET /healthz HTTP/1.1\r\n{headers}\r\n").as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_answer_is_hardened_and_a_refusal_of_play_too() {
        for (path, status) in [("/healthz", 200), ("/nowhere", 404), ("/v1/play", 401), ("/v1/certificate-hash", 404)] {
            let answer = said(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            for header in ["x-content-type-options: nosniff", "content-security-policy: default-src 'none'"] {
                assert!(answer.contains(header), "{path}: {answer}");
            }
        }
        let page = said(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(page.matches("content-security-policy").count(), 1, "the page has its own policy: {page}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgraded_connection_outlives_the_bounds_of_http() {
        let (mut io, served) = serving(&CancellationToken::new());
        let request = "GET /v1/play HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        io.write_all(request.as_bytes()).await.unwrap();
        let mut head = vec![0; 12];
        io.read_exact(&mut head).await.unwrap();
        assert_eq!(head, b"HTTP/1.1 101");
        served.await.unwrap().unwrap();
        tokio::time::sleep(BOUNDS.life * 2).await;
        io.write_all(b"ping").await.unwrap();
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(b"\r\n\r\nping"), "{}", String::from_utf8_lossy(&rest));
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_closes_idle_connections_at_once() {
        let stop = CancellationToken::new();
        let (mut io, served) = serving(&stop);
        io.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        io.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        let began = tokio::time::Instant::now();
        stop.cancel();
        served.await.unwrap().unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[test]
    fn the_first_byte_tells_tls_from_plain() {
        for (says, tls) in [(&b"\x16\x03\x01"[..], true), (b"GET", false), (b"", false)] {
            assert_eq!(begins_tls(says), tls);
        }
    }
}
