//! The routes, and the one door through which every request comes.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;

use super::problem::{method_not_allowed, problem};
use super::{Backend, DevTicketWish, LobbyQuery, Peer, Response, dev};
use crate::config::{Config, OriginPolicy};
use crate::metrics::{Metrics, OPEN_METRICS};
use crate::wire::{Code, PLAY_PATH};

/// Takes requests for [`PLAY_PATH`]: the upgrade to a link.
pub trait Play: Clone + Send + Sync + 'static {
    /// Answers one request, by switching protocols or by refusing. The [`Peer`] is among the request's extensions too.
    fn handle_play(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Response> + Send;
}

/// Everything that is answered on the main port. Clones are cheap.
#[derive(Clone)]
pub struct Http<P> {
    router: Router,
    origins: Arc<OriginPolicy>,
    play: P,
}

impl<P: Play> Http<P> {
    /// Puts the routes together as the configuration asks: `/metrics` unless it has a listener of its own, a page and
    /// `/dev/ticket` only for development.
    pub fn new(config: &Config, backend: Arc<dyn Backend>, metrics: Arc<Metrics>, play: P) -> Self {
        Self { router: router(config, backend, metrics), origins: Arc::new(config.origin_policy()), play }
    }

    /// Answers one request.
    ///
    /// # Cancel safety
    /// Cancel safe but for what the [`Play`] does: the routes change nothing.
    pub async fn answer(&self, mut request: Request<Incoming>, peer: Peer) -> Result<Response, Infallible> {
        request.extensions_mut().insert(peer);
        let origin = request.headers().get(header::ORIGIN).cloned();
        let shared = is_shared(request.uri().path());
        let response = if request.uri().path() == PLAY_PATH {
            self.play.handle_play(request, peer).await
        } else {
            route(&self.router, request).await?
        };
        Ok(self.finish(response, origin, shared))
    }

    /// Gives an answer that was made elsewhere to a request what no answer is without.
    pub fn finish_for<B>(&self, request: &Request<B>, response: Response) -> Response {
        let origin = request.headers().get(header::ORIGIN).cloned();
        self.finish(response, origin, is_shared(request.uri().path()))
    }

    fn finish(&self, mut response: Response, origin: Option<HeaderValue>, shared: bool) -> Response {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            harden(response.headers_mut());
        }
        if shared {
            share(response.headers_mut(), origin, &self.origins);
        }
        response
    }
}

/// Only `/metrics`, for a listener of its own.
pub fn metrics_router(metrics: Arc<Metrics>) -> Router {
    finished(Router::new().route("/metrics", get(expose)).with_state(metrics))
}

/// Hands a request to a router.
pub(super) async fn route<B>(router: &Router, request: Request<B>) -> Result<Response, Infallible>
where
    B: hyper::body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    TowerToHyperService::new(router.clone()).call(request).await
}

/// Headers that no answer is without: nothing is guessed, framed, run or kept.
pub(super) fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Lets an allowed page read the answer (CORS). Credentials are never allowed: nothing here depends on them.
fn share(headers: &mut HeaderMap, origin: Option<HeaderValue>, policy: &OriginPolicy) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin.filter(|origin| origin.to_str().is_ok_and(|origin| policy.may_read(origin))) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let readable = HeaderValue::from_static("Retry-After");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, readable);
    }
}

fn router(config: &Config, backend: Arc<dyn Backend>, metrics: Arc<Metrics>) -> Router {
    let mut routes = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/v1/lobbies", get(lobbies))
        .route("/v1/certificate-hash", get(certificate_hash));
    if config.dev() {
        routes = routes.route("/dev/ticket", get(dev_ticket));
        for (path, ..) in dev::FILES {
            routes = routes.route(path, get(dev::file));
        }
    }
    let mut routes = routes.with_state(backend);
    if config.metrics.listen.is_none() {
        routes = routes.merge(Router::new().route("/metrics", get(expose)).with_state(metrics));
    }
    finished(routes)
}

/// Completes a router: what is not there is told in the same form as every other refusal.
pub fn finished(router: Router) -> Router {
    router
        .fallback(|| async { problem(Code::NotFound, None, None) })
        .method_not_allowed_fallback(|| async { method_not_allowed() })
}

/// `/healthz`: the process answers.
async fn health() -> &'static str {
    "ok\n"
}

/// `/readyz`: new players are taken.
async fn readiness(State(backend): State<Arc<dyn Backend>>) -> Response {
    if backend.ready() { "ready\n".into_response() } else { problem(Code::Draining, None, None) }
}

/// `/metrics`.
async fn expose(State(metrics): State<Arc<Metrics>>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.expose()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LobbyParameters {
    game: Option<String>,
    open: Option<bool>,
    limit: Option<usize>,
}

/// `/v1/lobbies`: the public list.
async fn lobbies(
    State(backend): State<Arc<dyn Backend>>,
    parameters: Result<Query<LobbyParameters>, QueryRejection>,
) -> Response {
    let Ok(Query(parameters)) = parameters else {
        return problem(Code::Malformed, Some("known parameters: game=NAME, open=true|false, limit=1..200"), None);
    };
    let query = LobbyQuery {
        game: parameters.game,
        open_only: parameters.open.unwrap_or(false),
        most: parameters.limit.unwrap_or(LISTED).min(LISTED_MOST),
    };
    let mut listed = backend.lobbies(&query);
    listed.truncate(query.most);
    Json(serde_json::json!({ "lobbies": listed })).into_response()
}

/// `/v1/certificate-hash`: what a browser is given as `serverCertificateHashes`. Whoever could change it on its way
/// could pose as this server, so that it is told over TLS, or on this machine.
async fn certificate_hash(State(backend): State<Arc<dyn Backend>>, Extension(peer): Extension<Peer>) -> Response {
    if !peer.tls && !peer.address.ip().to_canonical().is_loopback() {
        return problem(Code::Forbidden, Some("ask over https"), None);
    }
    let Some(facts) = backend.certificate() else {
        return problem(Code::NotFound, Some("this server has no certificate"), None);
    };
    Json(serde_json::json!({
        "algorithm": "sha-256",
        "value": base64::engine::general_purpose::STANDARD.encode(facts.hash),
        "not_after": facts.not_after,
        "usable_by_browsers": facts.usable_by_browsers,
    }))
    .into_response()
}

/// `/dev/ticket`: a ticket for whoever sits at this machine.
async fn dev_ticket(
    State(backend): State<Arc<dyn Backend>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    wish: Result<Query<DevTicketWish>, QueryRejection>,
) -> Response {
    if !dev::may_have_ticket(peer, &headers) {
        return problem(Code::Forbidden, Some("only for this machine, asked by its loopback name"), None);
    }
    let Ok(Query(wish)) = wish else {
        return problem(Code::Malformed, Some("known parameters: sub, name, game, lobby, role"), None);
    };
    match backend.dev_ticket(&wish) {
        Ok(ticket) => Json(ticket).into_response(),
        Err(code) => problem(code, None, None),
    }
}

/// Lobbies that are listed unless asked otherwise, and at the most: an answer waits in memory for whoever reads it slowly.
const LISTED: usize = 100;
const LISTED_MOST: usize = 200;

fn is_shared(path: &str) -> bool {
    SHARED_PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// Whose answers allowed pages may read.
const SHARED_PREFIXES: [&str; 2] = ["/v1/", "/dev/"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use serde_json::Value;

    use super::super::{CertificateFacts, DevTicket, LobbyEntry};
    use super::*;
    use crate::config::{Origin, Settings};

    #[derive(Default)]
    struct Node {
        draining: AtomicBool,
    }

    impl Backend for Node {
        fn lobbies(&self, query: &LobbyQuery) -> Vec<LobbyEntry> {
            let entry = |n: u16| LobbyEntry {
                id: n.to_string(),
                game: query.game.clone().unwrap_or_else(|| "arena".into()),
                name: "<b>".into(),
                players: n,
                capacity: 8,
                playing: !query.open_only,
                open: true,
            };
            (0..2_000).map(entry).collect()
        }

        fn ready(&self) -> bool {
            !self.draining.load(Ordering::Relaxed)
        }

        fn certificate(&self) -> Option<CertificateFacts> {
            Some(CertificateFacts { hash: [0; 32], not_after: 7, usable_by_browsers: true })
        }

        fn dev_ticket(&self, wish: &DevTicketWish) -> Result<DevTicket, Code> {
            let sub = wish.sub.clone().ok_or(Code::Malformed)?;
            Ok(DevTicket { ticket: "a.b.c".into(), sub, expires_at: 9 })
        }
    }

    fn production() -> Config {
        let mut settings = Settings::default();
        settings.tickets.keys = vec!["k".into()];
        settings.transport.webtransport = false;
        settings.origins.allowed = vec![Origin::parse("https://game.example").unwrap()];
        Config::new(settings, false).unwrap()
    }

    fn development() -> Config {
        Config::new(Settings::dev_preset(), true).unwrap()
    }

    /// Status and body of a request, from loopback or from afar.
    async fn ask_from(config: &Config, peer: &str, path: &str) -> (u16, Value) {
        let peer = Peer { address: peer.parse().unwrap(), tls: false };
        let router = router(config, Arc::new(Node::default()), Arc::new(Metrics::new()));
        let request = Request::get(path).header(header::HOST, "localhost").extension(peer).body(Body::empty()).unwrap();
        let response = route(&router, request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| text()))
    }

    async fn ask(config: &Config, path: &str) -> (u16, Value) {
        ask_from(config, "127.0.0.1:1", path).await
    }

    #[tokio::test]
    async fn a_production_server_has_only_the_listed_routes() {
        let config = production();
        for path in ["/healthz", "/readyz", "/metrics", "/v1/lobbies", "/v1/certificate-hash"] {
            assert_eq!(ask(&config, path).await.0, 200, "{path}");
        }
        for path in ["/", "/dev/ticket?sub=a", "/admin", "/v1", "/v1/lobbies/", "/../etc/passwd", "//"] {
            let (status, body) = ask(&config, path).await;
            assert_eq!((status, &body["type"]), (404, &"not-found".into()), "{path}");
        }
    }

    #[tokio::test]
    async fn the_public_list_is_filtered_and_bounded() {
        let config = production();
        let (_, body) = ask(&config, "/v1/lobbies").await;
        assert_eq!(body["lobbies"].as_array().unwrap().len(), 100);
        let (_, body) = ask(&config, "/v1/lobbies?limit=1000000").await;
        assert_eq!(body["lobbies"].as_array().unwrap().len(), 200);
        let (_, body) = ask(&config, "/v1/lobbies?game=relay&open=true&limit=1").await;
        assert_eq!(body["lobbies"][0]["game"], "relay");
        assert_eq!(body["lobbies"][0]["playing"], false);
        for bad in ["?open=perhaps", "?limit=-1", "?gmae=arena"] {
            let (status, body) = ask(&config, &format!("/v1/lobbies{bad}")).await;
            assert_eq!((status, &body["type"]), (400, &"malformed".into()), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_draining_node_is_alive_but_not_ready() {
        let node = Arc::new(Node::default());
        let router = router(&production(), node.clone(), Arc::new(Metrics::new()));
        let status = |path: &'static str| {
            let router = router.clone();
            async move {
                let response = route(&router, Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
                (response.status().as_u16(), response.headers().contains_key(header::RETRY_AFTER))
            }
        };
        assert_eq!(status("/readyz").await, (200, false));
        node.draining.store(true, Ordering::Relaxed);
        assert_eq!(status("/readyz").await, (503, true));
        assert_eq!(status("/healthz").await, (200, false));
    }

    #[tokio::test]
    async fn the_hash_is_told_to_this_machine_and_not_in_the_clear_to_others() {
        let config = production();
        let (_, body) = ask(&config, "/v1/certificate-hash").await;
        assert_eq!(body["algorithm"], "sha-256");
        assert_eq!(body["value"], "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        assert_eq!(ask_from(&config, "203.0.113.9:1", "/v1/certificate-hash").await.0, 403);
    }

    #[tokio::test]
    async fn development_tickets_are_for_this_machine() {
        let config = development();
        let (status, body) = ask(&config, "/dev/ticket?sub=ada&game=arena").await;
        assert_eq!((status, &body["ticket"], &body["sub"]), (200, &"a.b.c".into(), &"ada".into()));
        assert_eq!(ask_from(&config, "192.168.0.9:1", "/dev/ticket?sub=ada").await.0, 403);
        assert_eq!(ask(&config, "/dev/ticket?admin=true").await.0, 400);
        assert_eq!(ask(&config, "/").await.0, 200);
    }

    #[tokio::test]
    async fn metrics_leave_the_main_port_when_they_have_their_own() {
        let mut settings = Settings::dev_preset();
        settings.metrics.listen = Some("127.0.0.1:9100".parse().unwrap());
        let config = Config::new(settings, true).unwrap();
        assert_eq!(ask(&config, "/metrics").await.0, 404);
        let own = metrics_router(Arc::new(Metrics::new()));
        let response = route(&own, Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], OPEN_METRICS);
        let response = route(&own, Request::get("/healthz").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn another_method_is_refused_with_the_allowed_one() {
        let router = router(&production(), Arc::new(Node::default()), Arc::new(Metrics::new()));
        let response = route(&router, Request::post("/healthz").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
    }

    #[test]
    fn an_answer_is_shared_with_allowed_pages_only() {
        let shared = |config: &Config, origin: &'static str| {
            let mut headers = HeaderMap::new();
            share(&mut headers, Some(HeaderValue::from_static(origin)), &config.origin_policy());
            assert_eq!(headers[header::VARY], "Origin");
            headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
        };
        assert!(shared(&production(), "https://game.example"));
        assert!(!shared(&production(), "https://evilgame.example"));
        assert!(!shared(&production(), "http://localhost:7777"));
        assert!(shared(&development(), "http://localhost:5173"));
        assert!(!shared(&development(), "https://evil.example"));
    }
}
