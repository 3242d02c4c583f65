//! The request that becomes a WebSocket: read, admitted or refused, upgraded, and handed to its link.
//!
//! A native client is refused with an HTTP status before the upgrade. A browser cannot read that: a page that offers
//! `muster.1` (or `bearer`, where that is switched on) is upgraded, told Goodbye and closed; nothing is held for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, Uri, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::{Door, Encryption, Unread};
use super::driver::Driver;
use super::link::{Arrival, Asking, Link, Stage};
use super::mailbox::{Drivers, Letter};
use super::outlet::WebSocketOutlet;
use crate::admission::{Admission, Pending, Refused};
use crate::http::{Held, Hold, Peer, Play, Response, TlsStream, problem};
use crate::hub::Place;
use crate::outbox::{Outlet, Transport};
use crate::request::{OpenRequest, RequestParts};
use crate::wire::Code;

/// Turns requests for the play path into links.
#[derive(Clone)]
pub struct WebSockets {
    admission: Admission,
    drivers: Drivers,
}

/// What is known before the upgrade.
pub(super) enum Verdict {
    /// Admitted; the link is all that is missing.
    Place(Place),
    /// The first message is to bring the credentials.
    Ask(OpenRequest),
    /// A browser, to be told why not.
    Refuse(Refused),
}

impl WebSockets {
    /// Admits players here. Their links are driven by tasks of this runtime, one for each core, until `stop`.
    ///
    /// # Errors
    /// When the system gives no epoll.
    pub fn start(admission: Admission, stop: &CancellationToken, tasks: &TaskTracker) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let start = |_| {
            let (driver, mailbox) = Driver::new()?;
            tasks.spawn(driver.run(stop.clone()));
            Ok(mailbox)
        };
        let drivers = Drivers::new((0..cores).map(start).collect::<io::Result<_>>()?);
        Ok(Self { admission, drivers })
    }

    /// Where fresh TCP connections are left. What does not begin with a plain request for a link goes to `elsewhere`, which is
    /// called on the runtime and must not wait.
    pub fn door(&self, encryption: Encryption, elsewhere: impl Fn(Unread) + Send + Sync + 'static) -> Door {
        Door::new(self.admission.clone(), self.drivers.clone(), encryption, elsewhere)
    }
}

/// Reads the request and decides, as far as that is possible before the upgrade.
// The refusal is the response itself, passed on at once: a box would be one more allocation for each.
#[allow(clippy::result_large_err)]
pub(super) async fn judge(
    admission: &Admission,
    headers: &HeaderMap,
    uri: &Uri,
    peer: SocketAddr,
) -> Result<Verdict, Response> {
    let origin = headers.get(header::ORIGIN).map(HeaderValue::to_str);
    let origin = match (origin.transpose(), headers.get_all(header::ORIGIN).iter().nth(1)) {
        (Ok(origin), None) => origin,
        _ => return Err(forbidden(admission, peer)),
    };
    if admission.check_origin(origin).is_err() {
        return Err(forbidden(admission, peer));
    }
    // Only a browser is upgraded to be told why not; one that offers another version understands no Goodbye.
    let explains = origin.is_some() && agreed_protocol(admission, headers).is_some();
    let refuse = |refused: Refused| if explains { Ok(Verdict::Refuse(refused)) } else { Err(answer(refused)) };
    let passed = admission.passed_names(origin);
    let parts = RequestParts {
        query: uri.query().unwrap_or_default(),
        authorization: texts(headers, header::AUTHORIZATION).collect(),
        protocols: offers(headers).collect(),
        cookies: texts(headers, header::COOKIE).collect(),
        ticket_cookie: admission.ticket_cookie(origin),
        carriers: admission.carriers(),
        passed_cookies: passed.map(|names| names.cookies.as_slice()).unwrap_or_default(),
        passed_headers: passed
            .into_iter()
            .flat_map(|names| &names.headers)
            .flat_map(|name| headers.get_all(name).iter().map(move |value| (name.as_str(), value)))
            .filter_map(|(name, value)| Some((name, value.to_str().ok()?)))
            .collect(),
    };
    let (credentials, wish) = match parts.read() {
        Ok(read) => read,
        Err(fault) => return refuse(admission.refuse_request(peer, fault)),
    };
    let transport = Transport::WebSocket;
    let open = OpenRequest { transport, peer, origin: origin.map(str::to_owned), credentials, wish };
    if open.credentials.is_none() {
        return Ok(Verdict::Ask(open));
    }
    match admission.admit(&open).await {
        Ok(place) => Ok(Verdict::Place(place)),
        Err(refused) => refuse(refused),
    }
}

/// The subprotocol to answer with.
pub(super) fn agreed_protocol(admission: &Admission, headers: &HeaderMap) -> Option<&'static str> {
    admission.carriers().answer(offers(headers))
}

/// Lets an upgraded connection be what the verdict makes of it.
pub(super) fn stage_of(verdict: Verdict, outlet: &Arc<WebSocketOutlet>, admission: &Admission, now: Instant) -> Stage {
    admission.hub().metrics().handshakes.of(Transport::WebSocket).inc();
    match verdict {
        Verdict::Place(place) => Stage::Live(place.attach(Arc::clone(outlet) as Arc<dyn Outlet>)),
        Verdict::Refuse(refused) => {
            outlet.close(refused.code, &refused.goodbye());
            Stage::refused(now)
        }
        Verdict::Ask(open) => Stage::Asking(Box::new(Asking::new(admission.clone(), open, now))),
    }
}

impl Play for WebSockets {
    async fn handle_play(&self, mut request: Request<Incoming>, peer: Peer) -> Response {
        if !fastwebsockets::upgrade::is_upgrade_request(&request) || request.method() != hyper::Method::GET {
            self.admission.refuse_link(peer.address, Code::Malformed);
            return problem(Code::Malformed, Some("this path opens links: ask for a WebSocket upgrade"), None);
        }
        let pending = request.extensions_mut().remove::<Arc<Pending>>();
        let protocol = agreed_protocol(&self.admission, request.headers());
        // Before the ticket is looked at: one that came with a broken handshake is not to be used up for nothing.
        let Ok((response, upgrade)) = fastwebsockets::upgrade::upgrade(&mut request) else {
            self.admission.refuse_link(peer.address, Code::ProtocolError);
            return problem(Code::ProtocolError, Some("not a WebSocket upgrade of version 13"), None);
        };
        let verdict = match judge(&self.admission, request.headers(), request.uri(), peer.address).await {
            Ok(verdict) => verdict,
            Err(response) => return response,
        };
        let mut response = response.map(|_| Body::empty());
        if let Some(protocol) = protocol {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        // The link's first messages are about to follow, in the same packet.
        if let Some(hold) = request.extensions().get::<Hold>() {
            hold.begin();
        }
        let admission = self.admission.clone();
        let drivers = self.drivers.clone();
        tokio::spawn(async move {
            let Ok(socket) = upgrade.await else { return };
            if let Err(error) = hand_over(socket.into_inner().into_inner(), verdict, &admission, pending, &drivers) {
                tracing::error!(%error, "an upgraded connection cannot be taken over");
            }
        });
        response
    }
}

/// Hands a link to its driver, in the state that the verdict leaves it in.
fn hand_over(
    socket: hyper::upgrade::Upgraded,
    verdict: Verdict,
    admission: &Admission,
    pending: Option<Arc<Pending>>,
    drivers: &Drivers,
) -> io::Result<()> {
    let (outlet, early) = split(socket, admission)?;
    let now = tokio::time::Instant::now().into_std();
    let stage = stage_of(verdict, &outlet, admission, now);
    let link = Link::new(outlet, stage, admission, pending, now);
    if let Some(driver) = drivers.next() {
        driver.post(Letter::Enter(Box::new(Arrival { link, early })));
    }
    Ok(())
}

/// Takes the connection back from hyper and from tokio, so that its bytes pass no other layer.
fn split(upgraded: hyper::upgrade::Upgraded, admission: &Admission) -> io::Result<(Arc<WebSocketOutlet>, Vec<u8>)> {
    let bound = admission.limits().queue_bytes;
    let (stream, tls, unread, answer, read) = match upgraded.downcast::<TokioIo<Held<TcpStream>>>() {
        Ok(parts) => {
            let (stream, unread, answer) = parts.io.into_inner().into_parts();
            (stream, None, unread, answer, parts.read_buf)
        }
        Err(upgraded) => {
            let unknown = |_| io::Error::other("an upgraded connection is of an unknown kind");
            let parts = upgraded.downcast::<TokioIo<Held<TlsStream>>>().map_err(unknown)?;
            let (stream, unread, answer) = parts.io.into_inner().into_parts();
            let (stream, tls) = stream.into_parts();
            (stream, Some(tls), unread, answer, parts.read_buf)
        }
    };
    let early = [&read[..], &unread[..]].concat();
    Ok((Arc::new(WebSocketOutlet::new(stream.into_std()?, tls, answer, bound)), early))
}

fn offers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    texts(headers, header::SEC_WEBSOCKET_PROTOCOL).flat_map(|list| list.split(',')).map(str::trim)
}

fn texts(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

fn forbidden(admission: &Admission, peer: SocketAddr) -> Response {
    answer(admission.refuse_link(peer, Code::Forbidden))
}

fn answer(refused: Refused) -> Response {
    problem(refused.code, Some(refused.reason), refused.retry_after)
}
